"""Tensors of ONNX as arrays: every type of numbers, dense and sparse.

Numbers lie in `raw_data`, little-endian, in a field of their type, or in another file
(onnx_external.py); in one place only. Sizes are compared with what is there before memory is asked
for. A type that NumPy has stays as it is. Floats of 16 bits or less become float32, exactly; so do
all floats of 8, 6 and 4 bits, of which each pattern is looked up. Integers of 4 and 2 bits, packed
from the lowest bits of a byte on, become int8 or uint8.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelFileError
from .arrays import Budget, array_from, count_of, shorten, widen_bfloat16

__all__ = ["External", "dtype_name", "read_sparse", "read_tensor", "text_of"]

MAX_NAME = 4096  # characters; names of scopes in scopes have some hundreds
_STRING_BYTES = 128  # of a short string, and its place in an array

Array = NDArray[Any]
# Reads the bytes of a tensor that lie in another file: the tensor, their number, what it is called.
External = Callable[[Any, int, str], bytes]


@dataclass(frozen=True)
class _Kind:
    """How a type of numbers is stored.

    Attributes
    ----------
    name : str
        As NumPy or ml_dtypes call it.
    code : str
        NumPy's, of what is stored: of patterns where NumPy has not the type.
    field : str
        Where numbers lie that are not in raw_data.
    bits : int
        Of one number in raw_data.
    table : array, optional
        The number of each pattern, where patterns are stored.
    """

    name: str
    code: str
    field: str
    bits: int
    table: Array | None = None


def _floats(exponent: int, mantissa: int, bias: int, special: str) -> Array:
    """The float32 of every pattern: a sign, `exponent` bits and `mantissa` bits.

    `special` says which of them are no numbers: "ieee" the highest exponent, "fn" all bits one,
    "fnuz" the pattern of -0, "none" none.
    """
    count = 1 << (1 + exponent + mantissa)
    values = np.empty(count, np.float32)
    for pattern in range(count):
        power, part = pattern >> mantissa & (1 << exponent) - 1, pattern & (1 << mantissa) - 1
        value = math.ldexp(part + (1 << mantissa) * (power > 0), max(power, 1) - bias - mantissa)
        if special == "ieee" and power == (1 << exponent) - 1:
            value = math.nan if part else math.inf
        if special == "fn" and pattern & (count // 2 - 1) == count // 2 - 1:
            value = math.nan
        values[pattern] = -value if pattern >= count // 2 else value
    if special == "fnuz":
        values[count // 2] = math.nan
    return values


def _powers() -> Array:
    """E8M0: powers of two alone, without a sign."""
    values = np.full(256, np.nan, np.float32)
    values[:255] = np.ldexp(1.0, np.arange(255) - 127)
    return values


# By number, as the standard's TensorProto.DataType has them.
_KINDS = {
    1: _Kind("float32", "f4", "float_data", 32),
    2: _Kind("uint8", "u1", "int32_data", 8),
    3: _Kind("int8", "i1", "int32_data", 8),
    4: _Kind("uint16", "u2", "int32_data", 16),
    5: _Kind("int16", "i2", "int32_data", 16),
    6: _Kind("int32", "i4", "int32_data", 32),
    7: _Kind("int64", "i8", "int64_data", 64),
    9: _Kind("bool", "b1", "int32_data", 8),
    10: _Kind("float16", "f2", "int32_data", 16),
    11: _Kind("float64", "f8", "double_data", 64),
    12: _Kind("uint32", "u4", "uint64_data", 32),
    13: _Kind("uint64", "u8", "uint64_data", 64),
    14: _Kind("complex64", "c8", "float_data", 64),
    15: _Kind("complex128", "c16", "double_data", 128),
    16: _Kind("bfloat16", "u2", "int32_data", 16),
    17: _Kind("float8_e4m3fn", "u1", "int32_data", 8, _floats(4, 3, 7, "fn")),
    18: _Kind("float8_e4m3fnuz", "u1", "int32_data", 8, _floats(4, 3, 8, "fnuz")),
    19: _Kind("float8_e5m2", "u1", "int32_data", 8, _floats(5, 2, 15, "ieee")),
    20: _Kind("float8_e5m2fnuz", "u1", "int32_data", 8, _floats(5, 2, 16, "fnuz")),
    21: _Kind("uint4", "u1", "int32_data", 4, np.arange(16, dtype=np.uint8)),
    22: _Kind("int4", "u1", "int32_data", 4, (np.arange(16) + 8 & 15).astype(np.int8) - np.int8(8)),
    23: _Kind("float4_e2m1fn", "u1", "int32_data", 4, _floats(2, 1, 1, "none")),
    24: _Kind("float8_e8m0fnu", "u1", "int32_data", 8, _powers()),
    25: _Kind("uint2", "u1", "int32_data", 2, np.arange(4, dtype=np.uint8)),
    26: _Kind("int2", "u1", "int32_data", 2, np.array([0, 1, -2, -1], np.int8)),
    27: _Kind("float6_e2m3fn", "u1", "int32_data", 6, _floats(2, 3, 1, "none")),
    28: _Kind("float6_e3m2fn", "u1", "int32_data", 6, _floats(3, 2, 3, "none")),
}
_STRING = 8
_PACKED = {2: 4, 4: 2}  # by bits: how many patterns a byte, or a number of int32_data, holds
_CHUNK = 1 << 16
_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
_EXTERNAL = 1  # TensorProto.DataLocation


def dtype_name(number: int, what: str) -> str | None:
    """What a type's number in the standard is called here; None for 0, which says nothing."""
    if number == 0:
        return None
    if number == _STRING:
        return "string"
    if number not in _KINDS:
        raise ModelFileError(f"{what}: elements of type {number}, which is not known")
    return _KINDS[number].name


def text_of(value: Any, what: str, longest: int = MAX_NAME) -> str:
    """A name out of a file, which protobuf hands on as bytes where it is no UTF-8."""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError as error:
            raise ModelFileError(f"{what} {shorten(value)} is no UTF-8") from error
    if len(value) > longest:
        raise ModelFileError(f"{what} {shorten(value)} has {len(value)} characters")
    return str(value)


def read_tensor(tensor: Any, what: str, budget: Budget, external: External) -> Array:
    """The array of a TensorProto.

    Parameters
    ----------
    tensor : onnx.TensorProto
    what : str
        Names it in messages.
    budget : Budget
        Charged with the result.
    external : callable
        Reads what lies in another file, or refuses it.

    Returns
    -------
    array
        C-contiguous, native-endian, writable. Strings are objects, which nothing computes with.

    Raises
    ------
    ModelFileError
        Sizes are negative, overflow, or are not those of the numbers that are there; numbers are in
        two places, or outside of their type.
    """
    if tensor.HasField("segment"):
        raise ModelFileError(f"{what}: a segment of a tensor, which is not supported")
    shape = tuple(tensor.dims)
    there = [name for name in _FIELDS if getattr(tensor, name)]
    if tensor.HasField("raw_data"):
        there.append("raw_data")
    if tensor.data_location == _EXTERNAL:
        there.append("external_data")
    if len(there) > 1:
        raise ModelFileError(f"{what}: has numbers both in {there[0]} and in {there[1]}")
    place = there[0] if there else None
    if tensor.data_type == _STRING:
        return _strings(tensor, shape, place, what, budget)
    if tensor.data_type not in _KINDS:
        raise ModelFileError(f"{what}: elements of type {tensor.data_type}, which is not known")
    kind = _KINDS[tensor.data_type]
    count = count_of(shape, max(1, kind.bits // 8), what)
    size = -(-count * kind.bits // 8)
    if place == "external_data":
        raw = external(tensor, size, what)
    elif place == "raw_data":
        raw = tensor.raw_data
    elif place in (kind.field, None):
        return _finish(kind, _typed(getattr(tensor, kind.field), kind, shape, what, budget), shape)
    else:
        raise ModelFileError(f"{what}: numbers of {kind.name} lie in {kind.field}, not in {place}")
    if kind.bits % 8:
        array = _unpacked(raw, kind, shape, what, budget)
    else:
        array = array_from(raw, np.dtype("<" + kind.code), shape, what, budget)
    if kind.table is not None or kind.name == "bfloat16":
        budget.charge(4 * count, what)
    return _finish(kind, array, shape)


def _finish(kind: _Kind, stored: Array, shape: tuple[int, ...]) -> Array:
    if kind.name == "bfloat16":
        stored = widen_bfloat16(stored)
    elif kind.table is not None:
        patterns = stored.reshape(-1)
        array = np.empty(shape, kind.table.dtype)
        numbers = array.reshape(-1)
        for at in range(0, patterns.size, _CHUNK):  # indices take 8 bytes each
            numbers[at : at + _CHUNK] = kind.table[patterns[at : at + _CHUNK]]
        return array
    if stored.shape == shape and stored.flags.owndata:
        return stored
    array = np.empty(shape, stored.dtype)
    array.reshape(-1)[...] = stored.reshape(-1)
    return array


def _unpacked(raw: bytes, kind: _Kind, shape: tuple[int, ...], what: str, budget: Budget) -> Array:
    """Patterns of less than 8 bits, one behind the other, the first in the lowest bits."""
    count = math.prod(shape)
    size = -(-count * kind.bits // 8)
    if len(raw) != size:
        raise ModelFileError(
            f"{what}: shape {shorten(shape)} of {kind.name} takes {size} bytes, found {len(raw)}"
        )
    packed = np.frombuffer(raw, np.uint8)
    if kind.bits in _PACKED:
        budget.charge(2 * count, what)
        return _split(packed, kind.bits)[:count]
    budget.charge(12 * count, what)  # bit by bit
    bits = np.unpackbits(packed, bitorder="little", count=count * kind.bits)
    patterns: Array = np.packbits(bits.reshape(count, kind.bits), axis=1, bitorder="little")
    return patterns.reshape(count)


def _split(packed: Array, bits: int) -> Array:
    """The patterns of 2 or 4 bits that stand in bytes."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    patterns: Array = packed[:, None] >> shifts
    patterns &= np.uint8((1 << bits) - 1)
    return patterns.reshape(-1)


def _typed(numbers: Any, kind: _Kind, shape: tuple[int, ...], what: str, budget: Budget) -> Array:
    """Numbers of the field of their type, or patterns, which int32_data holds."""
    count = math.prod(shape)
    packs = _PACKED.get(kind.bits, 1)  # numbers in one of the field; 6 bits have their own
    parts = 2 if kind.code.startswith("c") else 1  # real and imaginary
    expected = -(-count // packs) * parts
    if len(numbers) != expected:
        raise ModelFileError(
            f"{what}: shape {shorten(shape)} of {kind.name} takes {expected} numbers of "
            f"{kind.field}, found {len(numbers)}"
        )
    width = {"float_data": "f4", "double_data": "f8", "int64_data": "i8", "uint64_data": "u8"}
    budget.charge(32 * expected + 16 * count, what)
    found = np.array(numbers, width.get(kind.field, "i4")).reshape(expected)
    if parts == 2:
        return found.view(kind.code)
    if kind.field in ("float_data", "double_data"):
        return found
    least, most = _range(kind, packs)
    if expected and not (least <= int(found.min()) and int(found.max()) <= most):
        raise ModelFileError(f"{what}: {kind.field} holds numbers that are none of {kind.name}")
    if packs > 1:
        return _split(found.astype(np.uint8), kind.bits)[:count]
    if kind.name == "float16":
        return found.astype(np.uint16).view(np.float16)
    return found.astype(kind.code)


def _range(kind: _Kind, packs: int) -> tuple[int, int]:
    if kind.name == "bool":
        return 0, 1
    if kind.name == "float16":
        return 0, 0xFFFF
    if packs == 1 and kind.bits < 8:
        return 0, (1 << kind.bits) - 1
    limits = np.iinfo(kind.code)
    return int(limits.min), int(limits.max)


def _strings(
    tensor: Any, shape: tuple[int, ...], place: str | None, what: str, budget: Budget
) -> Array:
    count = count_of(shape, 8, what)
    if place not in ("string_data", None):
        raise ModelFileError(f"{what}: strings lie in string_data, not in {place}")
    if len(tensor.string_data) != count:
        raise ModelFileError(
            f"{what}: shape {shorten(shape)} takes {count} strings, found {len(tensor.string_data)}"
        )
    budget.charge(_STRING_BYTES * count, what)
    strings = np.empty(count, object)
    for place_, value in enumerate(tensor.string_data):
        strings[place_] = text_of(value, f"{what}: string", len(value))
    return strings.reshape(shape)


def read_sparse(sparse: Any, what: str, budget: Budget, external: External) -> Array:
    """The dense array of a SparseTensorProto: zero but for its values.

    Raises
    ------
    ModelFileError
        As of `read_tensor`; or indices are not in ascending order, are outside, or not as many as
        the values.
    """
    values = read_tensor(sparse.values, what, budget, external)
    indices = read_tensor(sparse.indices, f"{what}: indices", budget, external)
    shape = tuple(sparse.dims)
    if values.dtype == object:
        raise ModelFileError(f"{what}: sparse strings")
    count = count_of(shape, values.itemsize, what)
    if values.ndim != 1 or indices.dtype != np.int64:
        raise ModelFileError(
            f"{what}: values of shape {shorten(values.shape)} with indices of {indices.dtype}; "
            "expected one axis, and int64"
        )
    if indices.shape not in ((len(values),), (len(values), len(shape))):
        raise ModelFileError(
            f"{what}: {len(values)} values of shape {shorten(shape)} have indices of shape "
            f"{shorten(indices.shape)}"
        )
    if indices.ndim == 2 and len(shape):
        if len(values) and ((indices < 0) | (indices >= np.array(shape, np.int64))).any():
            raise ModelFileError(f"{what}: an index outside of shape {shorten(shape)}")
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        indices = indices @ np.array(strides, np.int64)
    elif indices.ndim == 2:
        indices = np.zeros(len(values), np.int64)
    if len(values) and (int(indices.min()) < 0 or int(indices.max()) >= count):
        raise ModelFileError(f"{what}: an index outside of shape {shorten(shape)}")
    if (np.diff(indices) <= 0).any():
        raise ModelFileError(f"{what}: indices that do not ascend")
    budget.charge(count * values.itemsize, what)
    dense = np.zeros(shape, values.dtype)
    dense.reshape(-1)[indices.reshape(-1)] = values
    return dense
