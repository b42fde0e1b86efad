"""A walk over the bytes of a protocol buffer before it is parsed: what would the parser make of it?

A sub-message without content takes 2 bytes in a file and a hundred in memory, a packed zero 1 and
8; some kilobytes can nest a thousand messages. The walk follows the schema of the package that
parses, skips what is neither message nor packed numbers (names, raw data), and charges a budget
with what parsing will allocate. It refuses what no writer makes: a field that cannot be repeated
and is, as in two files that were joined.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ModelFileError
from .arrays import Budget

__all__ = ["MAX_DEPTH", "MAX_FIELDS", "MAX_FILE", "check_wire", "leading_fields"]

MAX_FILE = (2 << 30) - 1  # bytes: what a protocol buffer may have, by its definition
# Fields of all messages together; a node of some attributes has 20, a model of 2000 nodes 50,000.
MAX_FIELDS = 1 << 20
# Messages in messages; a graph in an attribute of a node of a graph adds 3, a type has 4.
MAX_DEPTH = 64
# A message as the parser holds it with its place in a list, and as it is handed on.
_MESSAGE_BYTES = 256
_FIELD_BYTES = 32  # a string's place in a list
# Lists grow by doubling.
_GROWTH = 2

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT = 10  # bytes

# By number: whether a field may be repeated, its message's own fields, and the bytes that a packed
# number of it has: 4 or 8, 1 of a varint, which has at least one, and 0 of what is no number.
_Fields = dict[int, tuple[bool, "_Fields | None", int]]


def check_wire(data: bytes, descriptor: Any, budget: Budget) -> None:
    """Refuse a message that is none, or that the parser would make too much of.

    Parameters
    ----------
    data : bytes
    descriptor : google.protobuf.descriptor.Descriptor
        Of the message that `data` should be.
    budget : Budget
        Charged with what the parser allocates besides the bytes of strings.

    Raises
    ------
    ModelFileError
        It is truncated, nested deeper than MAX_DEPTH, has more than MAX_FIELDS fields, or gives a
        field twice that may be there once; where in the file is said.
    """
    if len(data) > MAX_FILE:
        raise ModelFileError(f"{len(data)} bytes; a protocol buffer has at most {MAX_FILE}")
    walk = _Walk(data, budget)
    walk.message(0, len(data), _fields_of(descriptor, {}), 0)


def _fields_of(descriptor: Any, known: dict[str, _Fields]) -> _Fields:
    """The fields of a message and, in one table for each kind, of all messages in it."""
    name = descriptor.full_name
    if name not in known:
        fields = known[name] = {}
        for field in descriptor.fields:
            inner = None
            if field.message_type is not None:
                inner = _fields_of(field.message_type, known)
            width = {
                field.CPPTYPE_STRING: 0,
                field.CPPTYPE_MESSAGE: 0,
                field.CPPTYPE_FLOAT: 4,
                field.CPPTYPE_DOUBLE: 8,
            }.get(field.cpp_type, 1)
            fields[field.number] = (_is_repeated(field), inner, width)
    return known[name]


def _is_repeated(field: Any) -> bool:
    # Newer versions of protobuf warn of `label`, older ones lack what replaces it.
    repeated = getattr(field, "is_repeated", None)
    return bool(field.label == field.LABEL_REPEATED if repeated is None else repeated)


class _Walk:
    def __init__(self, data: bytes, budget: Budget) -> None:
        self.data, self.budget = data, budget
        self.fields = 0

    def message(self, at: int, end: int, fields: _Fields, depth: int) -> None:
        """Check the message of data[at:end], and those in it."""
        if depth > MAX_DEPTH:
            raise ModelFileError(f"messages nested more than {MAX_DEPTH} deep, at byte {at}")
        self.budget.charge(_MESSAGE_BYTES, "the messages of the file")
        seen = 0  # a bit for each number
        while at < end:
            start = at
            number, wire, at, size = self.field(at, end)
            repeated, inner, width = fields.get(number, (True, None, 0))
            if not repeated:
                if seen >> number & 1:
                    raise ModelFileError(
                        f"field {number} is given twice, at byte {start}; are these two files?"
                    )
                seen |= 1 << number
            if wire == _BYTES and inner is not None:
                self.message(at, at + size, inner, depth + 1)
            elif wire == _BYTES and width:
                self.packed(at, at + size, width)
            at += size

    def field(self, at: int, end: int) -> tuple[int, int, int, int]:
        """Number and wire type of a field, where its content begins, and the bytes of that."""
        self.fields += 1
        if self.fields > MAX_FIELDS:
            raise ModelFileError(f"more than {MAX_FIELDS} fields")
        self.budget.charge(_FIELD_BYTES, "the fields of the file")
        start = at
        tag, at = read_varint(self.data, at, end)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise ModelFileError(f"no protocol buffer: a field numbered {number} at byte {start}")
        if wire == _BYTES:
            size, at = read_varint(self.data, at, end)
        elif wire == _VARINT:
            size = read_varint(self.data, at, end)[1] - at
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise ModelFileError(f"no protocol buffer: wire type {wire} at byte {start}")
        if size > end - at:
            raise ModelFileError(
                f"truncated: field {number} at byte {start} has {size} bytes, and {end - at} are "
                "left of its message"
            )
        return number, wire, at, size

    def packed(self, at: int, end: int, width: int) -> None:
        count = (end - at) // width
        if width == 1:  # a varint ends in a byte below 128, and takes 8 in memory
            count = 8 * int((np.frombuffer(self.data, np.uint8, end - at, at) < 128).sum())
        self.budget.charge(_GROWTH * count * width, "the numbers of the file")


def read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The number at a place, and where it ends."""
    value = shift = 0
    start = at
    while True:
        if at >= end:
            raise ModelFileError(f"truncated: a number at byte {start} has no end")
        if at - start >= _MAX_VARINT:
            raise ModelFileError(f"no protocol buffer: a number of over 64 bits at byte {start}")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def leading_fields(head: bytes) -> list[tuple[int, int, int | bytes]]:
    """Number, wire type and content of the fields with which a file begins, as far as is seen.

    Content is the number of a varint and the bytes of all else, cut off where `head` ends. What is
    no protocol buffer gives the fields before that, and (0, 0, 0).
    """
    found: list[tuple[int, int, int | bytes]] = []
    at = 0
    try:
        while at < len(head):
            tag, at = read_varint(head, at, len(head))
            number, wire = tag >> 3, tag & 7
            content: int | bytes
            if wire == _VARINT:
                content, at = read_varint(head, at, len(head))
            elif wire == _BYTES:
                size, at = read_varint(head, at, len(head))
                content, at = head[at : at + size], at + size
            else:
                size = {_FIXED32: 4, _FIXED64: 8}.get(wire, 0)
                content, at = head[at : at + size], at + size
                number = number if size else 0
            found.append((number, wire, content))
            if number == 0:
                return [*found[:-1], (0, 0, 0)]
    except ModelFileError:
        if len(head) - at > _MAX_VARINT:  # not only cut off
            found.append((0, 0, 0))
    return found
