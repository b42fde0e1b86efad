"""Reads what torch.save wrote before torch 1.6, and writes still if it is asked to: a stream.

    magic number, 1001, system     three pickles; nothing in them changes how the rest is read
    the object                     a pickle; a storage stands in it as a persistent id
    keys                           a pickle: the storages in the order in which they follow
    each storage                   int64 number of elements, then their bytes

Numbers are in little-endian order on every machine: torch turns them when it writes, whatever the
system's "little_endian" says. The tar archives of torch 0.1 are refused elsewhere, by `weights`.
"""

from __future__ import annotations

import re

from ..errors import ModelFileError
from .arrays import Budget, shorten
from .pickles import Limits, Stub, load_first
from .torch_tensors import MAX_OFFSET, Storage, Tensors, TypedStorage
from .values import refuse_stub

__all__ = ["load_legacy", "looks_like_legacy", "looks_like_tar"]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# The first pickle, of any protocol: a frame from 4 on, then the magic number.
_START = re.compile(
    rb"\x80[\x02-\x05](?:\x95.{8})?\x8a\n" + re.escape(_MAGIC.to_bytes(10, "little")), re.DOTALL
)


def looks_like_legacy(head: bytes) -> bool:
    """Whether a file begins with the pickled magic number."""
    return _START.match(head) is not None


def looks_like_tar(head: bytes) -> bool:
    """Whether a file begins as a tar archive does that torch 0.1 wrote, by its first member."""
    return head.split(b"\0", 1)[0] in (b"sys_info", b"pickle", b"storages", b"tensors")


class _Stretch(Storage):
    """Bytes of the file; where they lie is known once the object has been read."""

    def __init__(self, name: str, nbytes: int) -> None:
        self.name, self.nbytes = name, nbytes
        self.data: memoryview | None = None

    def read(self) -> memoryview:
        if self.data is None:
            raise ModelFileError(f"storage {self.name!r} is missing from the file")
        return self.data


class _Stream:
    """The pickles and storages, one behind the other."""

    def __init__(self, data: bytes, budget: Budget) -> None:
        self.data, self.budget = data, budget
        self.position = 0
        self.sizes: dict[object, int] = {}  # of a storage's elements, by its key
        self.unknown: dict[object, Stub] = {}  # kinds of storages that are not supported
        self.tensors = Tensors("<", budget, _Stretch)

    def pickle(self) -> object:
        value, self.position = load_first(
            self.data,
            self.position,
            find_global=self.tensors.find_global,
            persistent_load=self.persistent_load,
            limits=Limits(total_bytes=self.budget.total),
        )
        return value

    def persistent_load(self, key: object) -> object:
        if isinstance(key, tuple) and len(key) == 4 and key[0] == "module":
            return key[1]  # a class; beside it the name and text of its source file
        if not isinstance(key, tuple) or len(key) != 6 or key[0] != "storage":
            raise ModelFileError(f"persistent id of type {type(key).__name__} names no storage")
        _, kind, name, location, count, view = key
        storage = self.tensors.storage(kind, name, location, count)
        if not isinstance(storage, TypedStorage):
            if isinstance(storage, Stub) and isinstance(name, str):
                self.unknown[name] = storage
            return storage
        itemsize = storage.nbytes // count if count else 1
        if self.sizes.setdefault(name, itemsize) != itemsize and count:
            raise ModelFileError(f"storage {name!r} has elements of two sizes")
        return storage if view is None else _part(storage, view, itemsize)

    def storages(self) -> None:
        """Find the bytes of every storage."""
        keys = self.pickle()
        if not isinstance(keys, list):
            raise ModelFileError(f"the storages' keys are {shorten(keys)}, expected a list")
        found = self.tensors.storages
        view = memoryview(self.data)
        for key in keys:
            if isinstance(key, str) and key in self.unknown:
                refuse_stub(self.unknown[key], "a storage of a known dtype")
            storage = found.get(key) if isinstance(key, str) else None
            if not isinstance(storage, _Stretch) or storage.data is not None:
                raise ModelFileError(f"storage {shorten(key)} is there twice, or is no tensor's")
            start = self.position + 8
            count = int.from_bytes(self.data[self.position : start], "little", signed=True)
            end = start + storage.nbytes
            if start > len(view) or count * self.sizes[key] != storage.nbytes:
                raise ModelFileError(
                    f"storage {key!r}: {storage.nbytes} bytes expected, {count} elements of "
                    f"{self.sizes[key]} stored"
                )
            if end > len(view):
                raise ModelFileError(
                    f"truncated: storage {key!r} of {storage.nbytes} bytes, {len(view) - start} "
                    "left"
                )
            storage.data = view[start:end]
            self.position = end
        if self.position != len(view):
            raise ModelFileError(f"{len(view) - self.position} bytes follow the last storage")


def _part(storage: TypedStorage, view: object, itemsize: int) -> TypedStorage:
    """A view of a storage, as files from before torch 0.4 have it: its key, offset and size."""
    if not isinstance(view, tuple) or len(view) != 3:
        raise ModelFileError(f"a view of a storage is {shorten(view)}, expected three parts")
    _, offset, count = view
    if any(type(n) is not int or not 0 <= n <= MAX_OFFSET for n in (offset, count)) or (
        (offset + count) * itemsize > storage.nbytes
    ):
        raise ModelFileError(
            f"a view of {shorten(count)} elements from {shorten(offset)} on leaves its storage of "
            f"{storage.nbytes // itemsize}"
        )
    return TypedStorage(
        storage.storage, storage.dtype, storage.start + offset * itemsize, count * itemsize
    )


def load_legacy(data: bytes, budget: Budget) -> object:
    """The object of a stream, with a Pending for each tensor; not settled.

    Parameters
    ----------
    data : bytes
        The file, whole.
    budget : Budget
        Charged for the arrays; the file's bytes have been charged before.

    Raises
    ------
    ModelFileError
        The stream is truncated, contradicts itself or uses what is not supported.
    """
    stream = _Stream(data, budget)
    if stream.pickle() != _MAGIC:
        raise ModelFileError("not a stream of torch: another magic number")
    version = stream.pickle()
    if version != _PROTOCOL:
        raise ModelFileError(f"torch's protocol {shorten(version)}, expected {_PROTOCOL}")
    stream.pickle()  # the system
    value = stream.pickle()
    stream.storages()
    return value
