"""Opens a file, finds out by its first bytes what it is, and reads its arrays.

The readers beside this file get bytes and know no paths; here their errors get the file's name.
Extensions are never looked at. A file that no reader takes is told what it seems to be.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import ModelFileError, OptionError
from .arrays import Budget
from .numpy_files import NPY_MAGIC, parse_npy, read_npz
from .numpy_pickles import load_pickle
from .onnx_files import check_size, is_onnx, read_initializers
from .opening import WRAPPED, budget_of, reading, whole
from .safetensors_files import looks_like_safetensors, read_safetensors
from .sharded import ShardIndex, looks_like_index, parse_index, shard_path
from .tensorflow_files import foreign_kind
from .torch_archive import load_torch, torch_root
from .torch_legacy import load_legacy, looks_like_legacy, looks_like_tar
from .torch_modules import module_arrays
from .torch_script import is_script, load_script
from .values import flatten, settle
from .zips import MAGIC as ZIP_MAGIC
from .zips import Archive

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"

# Members of what torch.export writes, new and old.
_EXPORTED = ("/archive_format", "/models/model.json", "serialized_exported_program.json")

_FOREIGN = (
    (ZIP_MAGIC[:2] + b"\x05\x06", "an empty zip archive"),
    *WRAPPED,
    (b"GGUF", "a GGUF file, which is not supported"),
    (b"\x7fELF", "a program or a shared library"),
    (b"<", "HTML or XML, perhaps a web page saved in place of the file"),
    (b"{", "JSON, which holds no arrays (of weights in shards, read each .h5 that it names)"),
    (b"\x08", "a protocol buffer, perhaps a TensorFlow graph, which is not supported"),
)


def read_weights(
    path: str | os.PathLike[str],
    *,
    prefix: str = "",
    max_bytes: int | None = None,
    external_data: bool = False,
) -> dict[str, np.ndarray]:
    """Reads the weights of a file that another framework wrote. Nothing in it is executed.

    Parameters
    ----------
    path : str or path-like
        A torch ``.pt``, ``.pth`` or ``.ckpt`` of any version since 0.4 (a state_dict, nested dicts,
        whole modules or TorchScript), ``.safetensors``, an index of files in shards
        (``model.safetensors.index.json``, ``pytorch_model.bin.index.json``) beside them, ``.npz``,
        ``.npy``, a pickle of NumPy arrays, HDF5, a ``.keras`` archive, or ``.onnx``. The kind is
        found by content, not by extension.
    prefix : str
        Only what lies below it is returned, and it is taken off the names: "module." of
        DataParallel, "_orig_mod." of torch.compile, "state_dict.model." of a Lightning checkpoint
        ... The trailing dot may be left out.
    max_bytes : int, optional
        The most bytes that the file, or all shards together, may unpack to, what is read on the way
        included. Default: 256 MiB and 16 times the size. HDF5 has bounds of its own.
    external_data : bool
        Whether weights of ONNX that lie in other files are read, from the folder of this one.

    Returns
    -------
    dict of str to ndarray
        Nested dicts are flattened with ``'.'``, and what is no tensor is left out. A whole module
        and TorchScript give their parameters and buffers as their state_dict names them. HDF5 names
        are the file's own paths, in a ``.keras`` archive those of its weights
        ("layers/dense/vars/0"), ONNX's those of the graph's initialisers; a lone array is named by
        the file's stem. The arrays are C-contiguous, in native byte order, writable, and own their
        memory. bfloat16 becomes float32, as do smaller floats of ONNX, whose integers of 2 and 4
        bits become 8; every other dtype stays as it was.

    Raises
    ------
    ModelFileError
        The file is truncated, hostile, contradicts itself, or is of a kind that is not supported;
        or nothing lies below the prefix.
    OptionError
        The prefix is no string, or max_bytes no positive integer.
    MissingExtraError
        The kind needs a package that is not installed (safetensors, onnx, or h5py for HDF5).
    OSError
        The file is missing or cannot be read.

    Examples
    --------
    >>> weights = read_weights("model.pt")                      # doctest: +SKIP
    >>> weights["encoder.lstm.weight_ih_l0"].shape              # doctest: +SKIP
    (512, 64)
    """
    if not isinstance(prefix, str):
        raise OptionError(f"prefix: expected a string, found {prefix!r}")
    return _below(_read_file(path, max_bytes, external_data), prefix, os.fsdecode(path))


def _read_file(
    path: str | os.PathLike[str], max_bytes: int | None, external_data: bool
) -> dict[str, np.ndarray]:
    with reading(path) as (file, size):
        head = file.read(64)
        if looks_like_index(head):
            index = parse_index(file, size)
            if index is not None:
                return _read_shards(Path(os.fsdecode(path)).parent, index, size, max_bytes)
        if is_onnx(head):
            check_size(size)
            budget = budget_of(size, max_bytes)
            folder = os.path.dirname(os.path.abspath(os.fsdecode(path)))
            data = whole(file, size, budget)
            return read_initializers(data, folder, budget, external_data=external_data)
        if not head.startswith(_HDF5_MAGIC):
            return _read(Path(os.fsdecode(path)), file, head, size, budget_of(size, max_bytes))
    # Opened again by h5py, and errors name the file already. Imported late: h5py is an extra.
    from .hdf5 import read_h5_arrays

    return read_h5_arrays(path)


def _read_shards(
    folder: Path, index: ShardIndex, size: int, max_bytes: int | None
) -> dict[str, np.ndarray]:
    """The tensors of an index, each from the file that it names."""
    paths = {name: shard_path(folder, name) for name in index}
    sizes = sum(path.stat().st_size for path in paths.values())
    budget = budget_of(size + sizes, max_bytes)
    found: dict[str, np.ndarray] = {}
    for name, tensors in index.items():
        with reading(paths[name]) as (file, length):
            arrays = _read(paths[name], file, file.read(64), length, budget)
            missing = [tensor for tensor in tensors if tensor not in arrays]
            if missing:
                raise ModelFileError(f"tensor {missing[0]!r:.250} is missing from this shard")
            found.update((tensor, arrays[tensor]) for tensor in tensors)
    return dict(sorted(found.items()))


def _below(arrays: dict[str, np.ndarray], prefix: str, file: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin with a prefix and a dot, without these."""
    stem = prefix.removesuffix(".")
    if not stem:
        return arrays
    start = stem + "."
    found = {name[len(start) :]: a for name, a in arrays.items() if name.startswith(start)}
    if not found:
        heads = sorted({name.rpartition(".")[0] for name in arrays} - {""})
        some = ", ".join(f"{head + '.'!r:.100}" for head in heads[:12])
        there = f"there are {some}" if some else "no name has one"
        raise ModelFileError(f"{file}: no weight has the prefix {start!r:.100}; {there}")
    return found


def read_pickle(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> Any:
    """Reads a pickle of plain data, such as a vocabulary. Nothing in it is executed.

    Parameters
    ----------
    path : str or path-like
    max_bytes : int, optional
        As for `read_weights`.

    Returns
    -------
    object
        None, bool, int, float, str, bytes, list, tuple, dict and NumPy arrays, nested. NumPy
        scalars become Python numbers; OrderedDict, defaultdict and Counter become dict, a set a
        list.

    Raises
    ------
    ModelFileError
        It is no pickle of protocol 2 to 5, is truncated or hostile, or needs any other class.
    OSError
        The file is missing or cannot be read.
    """
    with reading(path) as (file, size):
        budget = budget_of(size, max_bytes)
        return settle(load_pickle(whole(file, size, budget), budget), keep_stubs=False)


def _read(
    path: Path, file: BinaryIO, head: bytes, size: int, budget: Budget
) -> dict[str, np.ndarray]:
    if head.startswith(ZIP_MAGIC):
        return _read_zip(path, Archive(file, budget), budget)
    if head.startswith(NPY_MAGIC):
        array = parse_npy(whole(file, size, budget), f"array {path.stem!r}", budget)
        if array is None:
            raise ModelFileError("the array holds text or dates instead of numbers")
        return {path.stem: array}
    if looks_like_safetensors(head, size):
        return read_safetensors(whole(file, size, budget), budget)
    if looks_like_legacy(head):
        loaded = load_legacy(whole(file, size, budget), budget)
        return flatten(settle(loaded, keep_stubs=True, expand=module_arrays), path.stem, budget)
    if looks_like_tar(head):
        raise ModelFileError(
            "this is a tar archive of torch 0.1, which is not supported; load it in torch "
            "(weights_only=False) and save the state_dict() again"
        )
    if head[:1] == b"\x80" and b"\x02" <= head[1:2] <= b"\x05":
        loaded = load_pickle(whole(file, size, budget), budget)
        return flatten(settle(loaded, keep_stubs=True), path.stem, budget)
    raise ModelFileError(foreign_kind(path) or _describe(head, size))


def _read_zip(path: Path, archive: Archive, budget: Budget) -> dict[str, np.ndarray]:
    # Imported late: it knows HDF5 as well, whose h5py is an extra.
    from .keras_archive import archive_arrays, is_keras_archive
    from .keras_trees import is_npz, npz_paths

    names = archive.names
    if is_npz(archive):
        return npz_paths(archive, budget)
    if names and all(name.endswith(".npy") for name in names):
        return read_npz(archive, budget)
    if is_keras_archive(archive):
        return archive_arrays(archive, budget)
    root = torch_root(archive)
    if root is not None:
        if is_script(archive, root):
            loaded, expand = load_script(archive, root, budget)
        else:
            loaded, expand = load_torch(archive, root, budget), module_arrays
        return flatten(settle(loaded, keep_stubs=True, expand=expand), path.stem, budget)
    if any(name.endswith(_EXPORTED) for name in names):
        raise ModelFileError(
            "this is a program of torch.export (.pt2): seqcore.load makes a model of it; for its "
            "weights alone save the module's state_dict() with torch.save"
        )
    if any(name.endswith("/model.json") for name in names):
        raise ModelFileError(
            "this seems to be TorchScript of torch before 1.4, which is not supported; load it "
            "in torch and save the state_dict()"
        )
    some = ", ".join(repr(name[:60]) for name in names[:4])
    raise ModelFileError(f"a zip archive, yet neither of torch.save nor of NumPy; it holds {some}")


def _describe(head: bytes, size: int) -> str:
    if size == 0:
        return "the file is empty"
    for magic, kind in _FOREIGN:
        if head.startswith(magic):
            return f"this seems to be {kind}"
    if head[4:8] == b"TFL3":
        return "this seems to be a TensorFlow Lite model, which is not supported"
    return (
        f"not a file of weights that is known (it begins with {head[:8].hex(' ')}): expected "
        "torch, safetensors, NumPy (.npz, .npy), a pickle of protocol 2 to 5, HDF5, .keras or .onnx"
    )
