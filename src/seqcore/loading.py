"""`load`: a model from a file, whichever kind its content says it is.

Our own model files are read by the core, others by importers: keras, torch and onnx.
Every other kind that is known is refused with what to do instead.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from numpy.typing import ArrayLike

from ._binding import read_model_file
from .assets import ASSETS_TEXT, SEQUENCE, Assets
from .errors import GraphError, ModelFileError, OptionError, ShapeError, WeightsError
from .formats.tensorflow_files import foreign_kind
from .graph import GRAPH_TEXT
from .model import Model, checked_options, from_graph

__all__ = ["check_regular", "load"]

_MOST_HEADER = 16 << 20  # bytes of a safetensors header that are read for a better message
_HEAD = 64  # bytes by which kinds of files are told apart
_EXPORTED = ("/archive_format", "serialized_exported_program.json")
_LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ONNX = b"\x08"  # the tag of the version, which is first; what follows says whether it is ONNX


def load(
    path: str | os.PathLike[str],
    *,
    isa: str | None = None,
    threads: int | None = None,
    precision: str = "float32",
    mmap: bool = False,
    prefix: str = "",
    constants: Mapping[str, ArrayLike] | None = None,
    external_data: bool = False,
) -> Model:
    """Load a model: a file of `Model.save`, of Keras, of ONNX, or an exported PyTorch one.

    The kind of file follows from its content, never from its name: what `Model.save` wrote
    (safetensors), Keras's .h5 and .keras, .onnx, torch.export's .pt2, and a module that torch.save
    pickled whole, if it is one of torch's own or an nn.Sequential of these.

    Parameters
    ----------
    path : str or path-like
    isa, threads, precision
        As in `Model.with_options`.
    mmap : bool
        Whether to map a file that ``Model.save(path, packed=True)`` wrote instead of reading it:
        all processes that do so share one copy of the weights, and nothing is packed again. (Packed
        weights of another instruction set are left alone.) Replace such a file by rename, as `save`
        does: who truncates a mapped file in place kills the processes that use it.
    prefix : str
        Where a checkpoint of torch has the module that was pickled whole: keys and names of
        modules, joined with dots, "model.encoder".
    constants : mapping of str to array, optional
        Of an ONNX file: inputs that are fixed to these numbers, as in `from_onnx`.
    external_data : bool
        Of an ONNX file: whether weights may be read from other files in its folder.

    Raises
    ------
    OSError
        The file cannot be opened.
    ModelFileError
        It is damaged, or holds no model that can be loaded.
    UnsupportedLayerError
        Naming every layer or operator that is not supported.
    OptionError
        An option that is for other kinds of files.
    MissingExtraError
        h5py or onnx is needed and not installed.
    """
    checked_isa, checked_threads = checked_options(isa, threads, precision)
    name = os.fspath(path)
    check_regular(name)
    with open(name, "rb") as file:
        head = file.read(_HEAD)
        is_hdf5 = head.startswith(_HDF5) or _has_user_block(file)
    load_foreign = _loader(name, head, is_hdf5)
    if prefix:
        load_foreign = _below(name, load_foreign, prefix)
    if constants is not None or external_data:
        load_foreign = _with_onnx_options(name, load_foreign, constants, external_data)
    if load_foreign is not None:
        if mmap:
            raise OptionError(f"{name}: mmap=True is for files that Model.save wrote")
        model = load_foreign(path)
        if checked_isa is None and checked_threads is None:
            return model
        return model.with_options(isa=checked_isa, threads=checked_threads)
    _refuse_foreign(name, head)
    try:
        return _model_of(name, mmap, checked_isa, checked_threads or 0)
    except (GraphError, ShapeError, WeightsError) as error:
        raise ModelFileError(f"{name}: {error}") from None
    except ModelFileError:
        if kind := foreign_kind(name):
            raise ModelFileError(f"{name}: {kind}") from None
        if what := _other_weights(name, head):
            raise ModelFileError(f"{name}: {_weights_alone(name, what)}") from None
        raise


def _model_of(name: str, mmap: bool, isa: str | None, threads: int) -> Model:
    """Return the model of a file of our own, of its main graph, with its assets."""
    texts, tensors = read_model_file(name, mmap)
    assets = Assets.from_text(texts[ASSETS_TEXT], name) if ASSETS_TEXT in texts else None
    described = None if assets is None else assets.own(SEQUENCE)
    if isinstance(described, dict):
        kind = described.get("class")
        raise ModelFileError(
            f"{name}: a model that makes sequences: seqcore.{kind!s:.20}.load reads it"
        )
    return from_graph(Model, texts[GRAPH_TEXT], tensors, name, isa, threads, mmap, assets)


def check_regular(name: str) -> None:
    """Refuse what is no file before it is opened: a FIFO would wait for ever."""
    try:
        regular = stat.S_ISREG(os.stat(name).st_mode)
    except FileNotFoundError:
        if kind := foreign_kind(name):
            raise ModelFileError(f"{name}: {kind}") from None
        raise
    if not regular:
        raise ModelFileError(f"{name}: {foreign_kind(name) or 'not a regular file'}")


def _other_weights(name: str, head: bytes) -> str | None:
    """Return what a file that is no model seems to be, if it is one that `read_weights` knows."""
    from .formats.sharded import looks_like_index  # imported on first use
    from .formats.torch_legacy import looks_like_tar

    if looks_like_index(head):
        return "JSON, an index of files"
    if looks_like_tar(head):
        return "a tar archive"
    return "a safetensors file without '__graph__'" if _lacks_graph(name, head) else None


def _lacks_graph(name: str, head: bytes) -> bool:
    """Tell whether a file that is no model is safetensors all the same, with weights alone."""
    size = int.from_bytes(head[:8], "little")
    if not 2 <= size <= _MOST_HEADER:
        return False
    with open(name, "rb") as file:
        file.seek(8)
        try:
            header = json.loads(file.read(size))
        except (ValueError, RecursionError):
            return False
    return isinstance(header, dict) and GRAPH_TEXT not in header


def _has_user_block(file: Any) -> bool:
    """Tell whether HDF5 begins behind a block of 512, 1024, 2048 ... other bytes."""
    for exponent in range(9, 21):
        file.seek(1 << exponent)
        if file.read(8) == _HDF5:
            return True
    return False


def _loader(name: str, head: bytes, is_hdf5: bool) -> Callable[..., Model] | None:
    """Return what loads a file of another framework, imported on first use; None if nothing does.

    Raises
    ------
    ModelFileError
        A zip archive that is damaged, or of nobody's.
    """
    if is_hdf5:
        from .importers.keras import load_h5

        return load_h5
    members = _members(name) if head.startswith(b"PK") else []
    if "config.json" in members:
        from .importers.keras import load_archive

        return load_archive
    if any(member.endswith(_EXPORTED) for member in members):
        from .importers.torch import load_pt2

        return load_pt2
    pickled = any(member.endswith("data.pkl") for member in members)
    if pickled or head.startswith(_LEGACY_TORCH):
        from .importers.torch import load_module

        return load_module
    if members:
        raise ModelFileError(f"{name}: a zip archive that holds no model (read_weights reads .npz)")
    if head.startswith(_ONNX) and head[5:9] != b"\0\0\0{":  # that is safetensors
        from .formats.onnx_files import is_onnx

        if is_onnx(head):
            from .importers.onnx import load_onnx

            return load_onnx
    return None


def _below(name: str, loader: Callable[..., Model] | None, prefix: str) -> Callable[..., Model]:
    from .importers.torch import load_module

    if loader is not load_module or not isinstance(prefix, str):
        raise OptionError(
            f"{name}: prefix is a string, of a checkpoint of torch that has a whole module there; "
            f"found {prefix!r:.80}"
        )
    return partial(load_module, prefix=prefix)


def _with_onnx_options(
    name: str, loader: Callable[..., Model] | None, constants: Any, external_data: Any
) -> Callable[..., Model]:
    from .importers.onnx import load_onnx

    if loader is not load_onnx:
        option = "external_data" if constants is None else "constants"
        raise OptionError(f"{name}: {option}= is for ONNX files, which this is not")
    return partial(load_onnx, constants=constants, external_data=external_data)


def _members(name: str) -> list[str]:
    import zipfile  # takes a tenth of the time in which all of seqcore is imported

    try:
        with zipfile.ZipFile(name) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise ModelFileError(f"{name}: a damaged zip archive ({error})") from None


def _weights_alone(name: str, what: str) -> str:
    from .importers.torch import weights_alone  # imported on first use

    return weights_alone(name, what)


def _refuse_foreign(name: str, head: bytes) -> None:
    """Tell the user of a known kind of file what to do with it instead."""
    if head.startswith(b"\x80") and head[5:9] != b"\0\0\0{":  # that is safetensors
        raise ModelFileError(f"{name}: {_weights_alone(name, 'a pickle')}")
    if head.startswith(b"\x93NUMPY"):
        raise ModelFileError(f"{name}: a NumPy array, not a model")
