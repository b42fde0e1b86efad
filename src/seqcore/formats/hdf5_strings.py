"""Variable-length strings in the attributes of an HDF5 file, read from its bytes.

HDF5 2.0 fills memory of the length that a reference declares before it looks at what the heap
holds (a 5 KB file: 4 GB, 15 s), and loops for ever in a heap whose free space has size 0. So h5py
reads everything but these strings. References are to the HDF5 File Format Specification 3.0; here
are addresses and sizes of 8 bytes alone, and attributes in the object's own header.

    object header --> attribute message --> (length, heap, index) each --> heap --> bytes
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator

__all__ = ["HeapStrings"]

_CONTINUATION, _ATTRIBUTE = 0x10, 0x0C
_SHARED = 0x02  # flag of a message that is stored elsewhere
_HEAP_HEADER = _OBJECT_HEADER = _REFERENCE = 16
_MAX_HEADER = 4 << 20  # bytes of one object header; an attribute has at most 64 KB
_MAX_OBJECTS = 1 << 20  # of all heaps


class HeapStrings:
    """The variable-length strings of one file.

    Parameters
    ----------
    data : bytes or mmap.mmap
        The file.
    base : int
        The size of its user block, from whose end addresses count.

    Notes
    -----
    Methods raise ValueError for what does not add up, or is stored in a form that is not read.
    """

    def __init__(self, data: bytes | mmap.mmap, base: int) -> None:
        self._data = data
        self._base = base
        self._heaps: dict[int, dict[int, tuple[int, int]]] = {}
        self._objects_left = _MAX_OBJECTS

    def read(self, header: int, name: bytes, count: int, limit: int) -> list[bytes]:
        """Return the strings of an attribute.

        Parameters
        ----------
        header : int
            Address of the object header that has the attribute.
        name : bytes
        count : int
            How many strings the attribute has.
        limit : int
            How many bytes they may have together.
        """
        value = self._attribute(header, name)
        if len(value) < count * _REFERENCE:
            raise ValueError(f"attribute {name!r}: {len(value)} bytes hold no {count} strings")
        places = []
        for length, heap, index in struct.iter_unpack("<IQI", value[: count * _REFERENCE]):
            start, held = self._object(heap, index) if length else (0, 0)
            if length > held:
                raise ValueError(f"attribute {name!r}: {length} bytes of a string of {held}")
            limit -= length
            if limit < 0:
                raise ValueError(f"attribute {name!r}: its strings are too long")
            places.append((start, length))
        return [self._bytes(start, length).split(b"\0", 1)[0] for start, length in places]

    def _bytes(self, start: int, length: int) -> bytes:
        if start < 0 or length < 0 or start + length > len(self._data):
            raise ValueError(f"{length} bytes at {start}, past the end of the file")
        return self._data[start : start + length]

    # ---- Object headers (IV.A)

    def _attribute(self, header: int, name: bytes) -> bytes:
        """Return the raw value of an attribute (IV.A.2.m)."""
        for kind, flags, body in self._messages(header + self._base):
            if kind != _ATTRIBUTE or flags & _SHARED or len(body) < 9:
                continue
            version, shared, *sizes = struct.unpack_from("<BBHHH", body)
            # Name, datatype and dataspace stand before the value; version 1 pads each to 8 bytes.
            at = 9 if version == 3 else 8
            if version == 1:
                sizes = [-(-size // 8) * 8 for size in sizes]
            found = body[at : at + sizes[0]].split(b"\0", 1)[0]
            if found == name and version in (1, 2, 3) and not (shared and version > 1):
                return body[at + sum(sizes) :]
        raise ValueError(f"attribute {name!r} is not in its object's header")

    def _messages(self, at: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield type, flags and body of every message of an object header, version 1 or 2."""
        if self._bytes(at, 4) == b"OHDR":
            flags = self._bytes(at, 6)[5]
            at += 6 + 16 * (flags >> 5 & 1) + 4 * (flags >> 4 & 1)
            width = 1 << (flags & 3)
            blocks = [(at + width, int.from_bytes(self._bytes(at, width), "little"))]
            layout, prefix = "<BHB" + "xx" * (flags >> 2 & 1), 4
        else:
            (size,) = struct.unpack("<8xI", self._bytes(at, 12))
            blocks = [(at + 16, size)]
            layout, prefix = "<HHB3x", 0
        length = struct.calcsize(layout)
        left = _MAX_HEADER
        for start, size in blocks:  # grows as continuations are found
            left -= size + length  # so that empty blocks come to an end as well
            if left < 0:
                raise ValueError(f"an object header of more than {_MAX_HEADER} bytes")
            block = self._bytes(start, size)
            at = 0
            while at + length <= size:
                kind, extent, flags = struct.unpack_from(layout, block, at)
                body = block[at + length : at + length + extent]
                at += length + extent
                if kind == _CONTINUATION and len(body) >= 16:
                    where, extent = struct.unpack_from("<QQ", body)
                    # "OCHK" before and a checksum behind, in version 2
                    blocks.append((where + self._base + prefix, extent - 2 * prefix))
                else:
                    yield kind, flags, body

    # ---- Global heaps (III.E)

    def _object(self, heap: int, index: int) -> tuple[int, int]:
        """Return where an object of a heap starts in the file, and its size."""
        if heap not in self._heaps:
            self._heaps[heap] = self._objects(heap)
        if index not in self._heaps[heap]:
            raise ValueError(f"the heap at {heap} has no object {index}")
        return self._heaps[heap][index]

    def _objects(self, heap: int) -> dict[int, tuple[int, int]]:
        """Return start and size of every object of a heap.

        "GCOL", version 1, three reserved bytes, u64 size of it all; then objects: u16 index, u16
        references, four reserved bytes, u64 size, and the data padded to 8 bytes. Index 0 is free
        space, which reaches to the end.
        """
        start = heap + self._base
        signature, size = struct.unpack("<4s4xQ", self._bytes(start, _HEAP_HEADER))
        if signature != b"GCOL":
            raise ValueError(f"there is no heap at {heap}")
        self._bytes(start + size, 0)
        found: dict[int, tuple[int, int]] = {}
        at, end = start + _HEAP_HEADER, start + size
        while at + _OBJECT_HEADER <= end:
            index, length = struct.unpack_from("<H6xQ", self._data, at)
            if index == 0:
                break
            self._objects_left -= 1
            if self._objects_left < 0:
                raise ValueError(f"more than {_MAX_OBJECTS} objects in heaps")
            found[index] = (at + _OBJECT_HEADER, length)
            at += _OBJECT_HEADER + -(-length // 8) * 8
            if at > end:
                raise ValueError(f"the heap at {heap} has an object of {length} bytes")
        return found
