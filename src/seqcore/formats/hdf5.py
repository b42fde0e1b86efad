"""HDF5 files: the model that Keras's ``model.save("x.h5")`` wrote, and the arrays of any file.

Here are bytes and bounds: names, a parsed config and arrays come out. What a layer is, and which
weight means what, is known to importers/keras.py. The ``.keras`` archive and the groups in which
``.weights.h5`` keeps weights are keras_archive.py's and keras_trees.py's.

A file is not trusted. Objects are reached one hard link at a time, never by a path that HDF5
resolves; what a dataset declares must be stored, in the file itself; a filter inflates no more than
its chunk. h5py parses the file's structures and is trusted with that, but for strings of variable
length (hdf5_strings.py).
"""

from __future__ import annotations

import io
import itertools
import math
import mmap
import os
import stat
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtraError, ModelFileError, SeqcoreError
from .hdf5_strings import HeapStrings
from .json_texts import parse_json

__all__ = [
    "H5Reader",
    "KerasH5",
    "LayerWeights",
    "opened",
    "opened_bytes",
    "parse_config",
    "read_h5_arrays",
    "read_keras_h5",
]

Array = NDArray[Any]
LayerWeights = dict[str, list[tuple[str, Array]]]  # by layer; names and arrays in the file's order

MAX_OBJECTS = 1 << 14  # groups and datasets of a file; a model of 200 layers has 1500
MAX_LINK_DEPTH = 32  # Keras nests five deep
MAX_CHUNKS = 1 << 16  # of all datasets together
MAX_NAMES = 1 << 16  # in one list of layers or weights
MAX_CONFIG_BYTES = 4 << 20  # a model of 200 layers has 0.3 MB
MAX_CONFIG_DEPTH = 64  # a Bidirectional in a functional model has 12
MAX_STRING_BYTES = 16 << 20  # of one attribute
# Deflate reaches 1032:1. Trained weights compress little, but a bias of zeros does: small arrays
# are free.
MAX_COMPRESSION = 100
FREE_BYTES = 1 << 16


@dataclass(frozen=True)
class KerasH5:
    """A Keras model file, before anything in it is understood.

    Attributes
    ----------
    source : str
        The file, for messages.
    version : str or None
        Keras's, such as "2.2.4-tf"; None when the file does not say.
    config : dict
        ``model_config``, parsed.
    weights : LayerWeights
        By layer, in the file's order; names without the layer's group, such as
        "lstm/lstm_cell/kernel:0".
    backend : str or None
        On which Keras was trained, such as "theano"; Keras 1 does not say.
    """

    source: str
    version: str | None
    config: dict[str, Any]
    weights: LayerWeights
    backend: str | None = None


def read_keras_h5(path: str | os.PathLike[str]) -> KerasH5:
    """Read a whole model that Keras saved as HDF5. Optimizer slots are not read.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    KerasH5

    Raises
    ------
    ModelFileError
        The file is truncated, foreign or hostile, contradicts itself, or holds weights without a
        config.
    MissingExtraError
        h5py is not installed.
    """
    with opened(path) as reader:
        return reader.keras_model()


def read_h5_arrays(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read every numeric dataset of an HDF5 file.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict of str to ndarray
        By the path in the file, such as "model_weights/lstm/lstm/kernel:0". Arrays own their
        memory, in C order and native byte order; bfloat16 as Keras 3 stores it becomes float32.
        Strings and other non-numbers are left out.

    Raises
    ------
    ModelFileError, MissingExtraError
        As for `read_keras_h5`.
    """
    with opened(path) as reader:
        return reader.arrays()


def parse_config(text: str, what: str) -> dict[str, Any]:
    """Parse the JSON of a config, within bounds of size and depth; `what` names it in messages.

    Raises
    ------
    ModelFileError
        It is no JSON object, is too large or too deep, repeats a key, or holds a number that is not
        finite.
    """
    return parse_json(text, what, max_length=MAX_CONFIG_BYTES, max_depth=MAX_CONFIG_DEPTH)


# ---- Opening ------------------------------------------------------------------------------------


def _h5py() -> ModuleType:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError(
            "reading HDF5 files (.h5) needs h5py: pip install seqcore[keras]"
        ) from error
    module: ModuleType = h5py
    return module


@contextmanager
def _guarded(source: str) -> Iterator[None]:
    """Turn what h5py raises on a broken file into ModelFileError."""
    try:
        yield
    except SeqcoreError:
        raise
    # What h5py raises depends on where it stumbles: TypeError for a type it cannot map, KeyError
    # for a broken link.
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise ModelFileError(
            f"{source}: foreign, truncated or damaged HDF5 file: {error}"
        ) from error


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[H5Reader]:
    """Open a file; whatever goes wrong within the block is a ModelFileError."""
    h5py = _h5py()
    source = os.fsdecode(path)
    if not stat.S_ISREG(os.stat(path).st_mode):  # reading a FIFO would wait for ever
        raise ModelFileError(f"{source}: expected a regular file")
    with (
        _guarded(source),
        open(path, "rb") as raw,
        mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data,
        h5py.File(source, "r") as file,
    ):
        yield H5Reader(h5py, file, source, data)


@contextmanager
def opened_bytes(data: bytes, source: str) -> Iterator[H5Reader]:
    """Open a file that is in memory, such as a member of an archive, as `opened` does."""
    h5py = _h5py()
    with _guarded(source), h5py.File(io.BytesIO(data), "r") as file:
        yield H5Reader(h5py, file, source, data)


class H5Reader:
    """An open file, and what has been spent of its bounds."""

    def __init__(self, h5py: ModuleType, file: Any, source: str, data: bytes | mmap.mmap) -> None:
        self.h5py = h5py
        self.file = file
        self.source = source
        self.size = self.bytes_left = len(data)
        self.chunks_left = MAX_CHUNKS
        self.objects: set[tuple[int, int]] = set()
        self.heap_strings = HeapStrings(data, file.userblock_size)
        if file.id.get_create_plist().get_sizes() != (8, 8):  # HeapStrings counts on it
            self.refuse("expected addresses and sizes of 8 bytes, as HDF5 writes them by default")

    def refuse(self, why: str) -> NoReturn:
        raise ModelFileError(f"{self.source}: {why}")

    # ---- Structure

    def member(self, group: Any, name: bytes, where: str) -> Any:
        """Open what a group's own hard link leads to: GroupID, DatasetID, or None for a type."""
        h5py = self.h5py
        if name in (b"", b".") or b"/" in name:
            self.refuse(f"{where!r} has a link with the impossible name {name!r}")
        if group.links.get_info(name).type != h5py.h5l.TYPE_HARD:
            self.refuse(f"{where!r}: soft and external links are not followed ({name!r})")
        info = h5py.h5o.get_info(group, name)
        if (info.fileno, info.addr) in self.objects:
            self.refuse(f"{where!r}: {name!r} is an object that another link has led to")
        self.objects.add((info.fileno, info.addr))
        if len(self.objects) > MAX_OBJECTS:
            self.refuse(f"more than {MAX_OBJECTS} objects")
        if info.type == h5py.h5o.TYPE_GROUP:
            return h5py.h5g.open(group, name)
        return h5py.h5d.open(group, name) if info.type == h5py.h5o.TYPE_DATASET else None

    def walk(
        self, root: Any, skip: Collection[bytes] = ()
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return all groups and all datasets below a group, each by its path from there.

        What `root` itself has under a name of `skip` is not looked at.
        """
        groups: dict[str, Any] = {}
        datasets: dict[str, Any] = {}
        pending = [("", root, 1)]
        while pending:
            where, group, depth = pending.pop()
            if depth > MAX_LINK_DEPTH:
                self.refuse(f"groups nested deeper than {MAX_LINK_DEPTH}")
            for name in group:
                if group is root and name in skip:
                    continue
                item = self.member(group, name, where or "/")
                path = where + "/" * bool(where) + name.decode("utf-8", "surrogateescape")
                if isinstance(item, self.h5py.h5g.GroupID):
                    groups[path] = item
                    pending.append((path, item, depth + 1))
                elif item is not None:
                    datasets[path] = item
        return groups, datasets

    # ---- Arrays

    def arrays(self) -> dict[str, Array]:
        """Read every dataset that holds numbers, by path."""
        datasets = self.walk(self.file.id)[1]
        arrays = {name: self.array(name, dataset) for name, dataset in datasets.items()}
        return {name: array for name, array in arrays.items() if array is not None}

    def array(self, name: str, dataset: Any) -> Array | None:
        """Read a dataset within bounds; None when it holds no numbers."""
        wide = self._dtype(name, dataset)
        if wide is None:
            return None
        self._check_stored(name, dataset)
        stored = np.empty(dataset.shape, wide)
        if stored.size:
            self.h5py.Dataset(dataset).read_direct(stored)
        if wide.kind == "V":  # the upper half of a float32
            floats: Array = (stored.view("<u2").astype(np.uint32) << 16).view(np.float32).copy()
            return floats
        native: Array = stored.astype(wide.newbyteorder("="), copy=False)
        return native

    def _dtype(self, name: str, dataset: Any) -> np.dtype[Any] | None:
        dtype = dataset.dtype
        if dtype.kind == "V" and dtype.itemsize == 2 and dtype.names is None and not dtype.subdtype:
            tag = self.strings(dataset, "dtype", name)
            return dtype if tag == ["bfloat16"] else None
        return dtype if dtype.kind in "fiub" and dataset.shape is not None else None

    def _check_stored(self, name: str, dataset: Any) -> None:
        """Refuse a dataset that declares more than the file itself stores."""
        h5py = self.h5py
        plist = dataset.get_create_plist()
        layout = plist.get_layout()
        if plist.get_external_count():
            self.refuse(f"{name!r} keeps its data in another file")
        if layout not in (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED):
            self.refuse(f"{name!r} is a virtual dataset")
        shape = dataset.shape
        itemsize = dataset.get_type().get_size()
        if itemsize != dataset.dtype.itemsize:
            self.refuse(f"{name!r}: numbers of {itemsize} bytes that are no {dataset.dtype}")
        declared = math.prod(shape) * itemsize
        if layout == h5py.h5d.CHUNKED:
            least = self._check_chunks(name, dataset, plist, declared, itemsize)
        else:
            least = declared
            if dataset.get_storage_size() != declared:
                stored = dataset.get_storage_size()
                self.refuse(
                    f"{name!r} of shape {shape} declares {declared} bytes and stores {stored}"
                )
        self.bytes_left -= least
        if self.bytes_left < 0:
            self.refuse(f"{name!r} of shape {shape}: the datasets declare more than the file holds")

    def _check_chunks(
        self, name: str, dataset: Any, plist: Any, declared: int, itemsize: int
    ) -> int:
        """Check the chunks of a dataset; return the least that they can plausibly occupy."""
        h5py = self.h5py
        shape, chunk = dataset.shape, plist.get_chunk()
        chunk_bytes = math.prod(chunk) * itemsize
        expected = math.prod(-(-n // c) for n, c in zip(shape, chunk, strict=True))
        self.chunks_left -= expected
        if self.chunks_left < 0:
            self.refuse(f"{name!r}: more than {MAX_CHUNKS} chunks")
        if dataset.get_num_chunks() != expected:
            found = dataset.get_num_chunks()
            self.refuse(f"{name!r} of shape {shape} has {expected} chunks and stores {found}")
        declared = max(declared, expected * chunk_bytes)
        filters = [plist.get_filter(k)[0] for k in range(plist.get_nfilters())]
        known = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)
        if len(set(filters)) < len(filters) or not set(filters) <= set(known):
            self.refuse(f"{name!r}: filters {filters}; only gzip, shuffle and fletcher32 are read")
        if h5py.h5z.FILTER_DEFLATE not in filters:
            return declared
        least = max(0, declared - FREE_BYTES) // MAX_COMPRESSION
        if least > dataset.get_storage_size():
            self.refuse(f"{name!r} declares {declared} bytes and stores a hundredth: a bomb")
        # HDF5 inflates a chunk to whatever is in it. Each is inflated here first, no further than
        # its declared size.
        deflate = filters.index(h5py.h5z.FILTER_DEFLATE)
        for corner in itertools.product(
            *(range(0, n, c) for n, c in zip(shape, chunk, strict=True))
        ):
            if dataset.get_chunk_info_by_coord(corner).size > self.size:
                self.refuse(f"{name!r}: a chunk is larger than the file")
            skipped, data = dataset.read_direct_chunk(corner)
            if not skipped >> deflate & 1:
                self._check_inflates(name, data, chunk_bytes)
        return least

    def _check_inflates(self, name: str, data: bytes, chunk_bytes: int) -> None:
        stream = zlib.decompressobj()
        limit = chunk_bytes + 4  # a checksum may be inside
        try:
            found = len(stream.decompress(data, limit + 1))
        except zlib.error as error:
            self.refuse(f"{name!r}: a damaged chunk: {error}")
        if found > limit:
            self.refuse(f"{name!r}: a chunk of {chunk_bytes} bytes inflates to more: a bomb")

    # ---- Attributes

    def strings(self, owner: Any, name: str, where: str) -> list[str] | None:
        """Return the strings of an attribute, of one alone as a list; None without attribute."""
        h5py = self.h5py
        key = name.encode()
        if not h5py.h5a.exists(owner, key):
            return None
        attribute = h5py.h5a.open(owner, key)
        what = f"attribute {name!r} of {where!r}"
        count = math.prod(attribute.shape) if attribute.shape is not None else 0
        if count == 0:  # Keras writes an empty list as float64
            return []
        kind = attribute.get_type()
        if kind.get_class() != h5py.h5t.STRING:
            self.refuse(f"{what}: expected strings")
        if len(attribute.shape) > 1 or count > MAX_NAMES:
            self.refuse(f"{what}: shape {attribute.shape}; at most {MAX_NAMES} strings are read")
        if kind.is_variable_str():
            header = h5py.h5o.get_info(owner).addr
            value = self.heap_strings.read(header, key, count, MAX_STRING_BYTES)
        elif count * kind.get_size() > MAX_STRING_BYTES:
            self.refuse(f"{what}: {count} strings of {kind.get_size()} bytes")
        else:
            fixed = np.empty(count, attribute.dtype)
            attribute.read(fixed)
            value = fixed.tolist()
        return [text.decode("utf-8", "surrogateescape") for text in value]

    # ---- Keras

    def keras_model(self) -> KerasH5:
        """Read config, version and the weights that the lists of names name."""
        text = self.strings(self.file.id, "model_config", "/")
        if text is None:
            self.refuse(
                "expected a whole Keras model; there is no model_config. If it holds weights alone "
                "(save_weights), the layers are yours to give: make the model without weights, and "
                "call its load_weights; seqcore.read_weights reads the arrays"
            )
        if len(text) != 1:
            self.refuse(f"attribute 'model_config': expected one string; found {len(text)}")
        config = parse_config(text[0], f"{self.source}: model_config")
        if b"model_weights" not in self.file.id:
            self.refuse("a model_config, but no group 'model_weights'")
        version, weights = self._layers_in("model_weights")
        backend = self.strings(self.file.id, "backend", "/")
        return KerasH5(self.source, version, config, weights, backend[0] if backend else None)

    def keras_layers(self) -> tuple[str | None, LayerWeights] | None:
        """Read version and weights by layer, of weights alone or of a whole model.

        None for a file that lists no layers.
        """
        root = self.file.id
        if any(self.h5py.h5a.exists(root, key) for key in (b"layer_names", b"layer_names0")):
            return self._layers_in("/")
        return self._layers_in("model_weights") if b"model_weights" in root else None

    def _layers_in(self, where: str) -> tuple[str | None, LayerWeights]:
        """Read what the root, or one of its groups, lists."""
        root = top = self.file.id
        if where != "/":
            top = self.member(root, where.encode(), "/")
            if not isinstance(top, self.h5py.h5g.GroupID):
                self.refuse(f"{where!r} is no group")
        version = self.strings(root, "keras_version", "/")
        version = version or self.strings(top, "keras_version", where)
        return version[0] if version else None, self._listed_weights(top, where)

    def _listed_weights(self, top: Any, where: str) -> LayerWeights:
        groups, datasets = self.walk(top)
        weights: LayerWeights = {}
        for layer in self._names(top, "layer_names", where):
            if layer not in groups or layer in weights:
                self.refuse(f"layer_names lists {layer!r} twice, or has no group for it")
            weights[layer] = []
            for name in self._names(groups[layer], "weight_names", layer):
                path = f"{layer}/{name}"
                if path not in datasets:
                    self.refuse(
                        f"layer {layer!r}: weight {name!r} is listed twice or is no dataset"
                    )
                array = self.array(path, datasets.pop(path))
                if array is None:
                    self.refuse(f"layer {layer!r}: weight {name!r} holds no numbers")
                weights[layer].append((name, array))
        if datasets:
            self.refuse(f"weights that no layer lists: {_some(datasets)}")
        return weights

    def _names(self, owner: Any, name: str, where: str) -> list[str]:
        """Return a list of names, which Keras splits into name0, name1 ... past 64,512 bytes."""
        names = self.strings(owner, name, where)
        if names is not None:
            return names
        names = []
        for k in range(MAX_NAMES):
            part = self.strings(owner, f"{name}{k}", where)
            if part is None:
                break
            names += part
        if k == 0:
            self.refuse(f"{where!r} has no attribute {name!r}")
        return names


def _some(names: Any) -> str:
    """Return up to five names for a message."""
    listed = sorted(names)
    return ", ".join(map(repr, listed[:5])) + f" and {len(listed) - 5} more" * (len(listed) > 5)
