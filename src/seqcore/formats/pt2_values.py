"""Values in the JSON of torch.export: names, numbers, dtypes, sizes, what is said of a tensor.

Each reader takes one value and returns it, or raises ModelFileError where it is of another type. A
value that may be of several kinds is an object of one key, which names the kind ({"as_int": 3}).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ModelFileError
from .arrays import MAX_RANK, shorten
from .pt2_symbols import size_expression

MAX_NAME = 1000
_MAX_SIZE = 1 << 62

Json = Any

# ScalarType, Layout and MemoryFormat of torch's schema.
DTYPES = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    9: "complex32",
    10: "complex64",
    11: "complex128",
    12: "bool",
    13: "bfloat16",
    28: "uint16",
    29: "float8_e4m3fn",
    30: "float8_e5m2",
    31: "float8_e4m3fnuz",
    32: "float8_e5m2fnuz",
    33: "float8_e8m0fnu",
    34: "uint32",
    35: "uint64",
}
_LAYOUTS = {
    1: "sparse_coo",
    2: "sparse_csr",
    3: "sparse_csc",
    4: "sparse_bsr",
    5: "sparse_bsc",
    6: "_mkldnn",
    7: "strided",
}
_MEMORY_FORMATS = {
    1: "contiguous_format",
    2: "channels_last",
    3: "channels_last_3d",
    4: "preserve_format",
}
# JSON has no such numbers: torch writes them as strings.
_NOT_FINITE = {"Infinity": float("inf"), "-Infinity": float("-inf"), "NaN": float("nan")}


@dataclass(frozen=True)
class TensorMeta:
    """What the file says of a tensor: dtype, sizes (ints and expressions), strides, offset."""

    dtype: str
    sizes: tuple[int | str, ...]
    strides: tuple[int | str, ...]
    offset: int | str


def member(value: Json, key: str, kind: type) -> Any:
    """The member `key` of an object, which must be of the type `kind`."""
    if not isinstance(value, dict):
        raise ModelFileError(f"expected an object with {key!r}, found {_kind(value)}")
    if key not in value:
        raise ModelFileError(f"{key!r} is missing")
    if type(value[key]) is not kind:
        raise ModelFileError(f"{key!r} is {_kind(value[key])}, expected {_KINDS[kind]}")
    return value[key]


def union(value: Json, what: str) -> tuple[str, Json]:
    """Kind and content of an object that has one key."""
    if not isinstance(value, dict) or len(value) != 1:
        raise ModelFileError(f"{what} is {_kind(value)}, expected an object of one key")
    return next(iter(value.items()))


_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    type(None): "null",
}


def _kind(value: Json) -> str:
    return _KINDS[type(value)]


def _plain(kind: type) -> Callable[[Json], Any]:
    def read(value: Json) -> Any:
        if type(value) is not kind:
            raise ModelFileError(f"expected {_KINDS[kind]}, found {_kind(value)}")
        return value

    return read


read_bool, read_int, read_string, read_list = (_plain(kind) for kind in (bool, int, str, list))


def read_real(value: Json) -> float:
    if type(value) in (int, float):
        return float(value)
    if type(value) is str and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    raise ModelFileError(f"expected a number, found {_kind(value)}")


def read_none(_: Json) -> None:
    return None


def read_name(value: Json) -> str:
    name = member(value, "name", str)
    return checked_name(name)


def checked_name(name: str) -> str:
    """A name of a file, which must not be empty or endless."""
    if not 0 < len(name) <= MAX_NAME:
        raise ModelFileError(f"a name of {len(name)} characters, expected 1 to {MAX_NAME}")
    return name


def _numbered(table: Mapping[int, str], what: str) -> Callable[[Json], str]:
    def read(value: Json) -> str:
        if type(value) is not int or value not in table:
            raise ModelFileError(f"{what} {shorten(value)} is not known")
        return table[value]

    return read


read_dtype = _numbered(DTYPES, "dtype number")
read_layout = _numbered(_LAYOUTS, "layout number")
read_memory_format = _numbered(_MEMORY_FORMATS, "memory format number")


def read_device(value: Json) -> str:
    kind = member(value, "type", str)
    index = value.get("index")
    if index is None:
        return checked_name(kind)
    return f"{checked_name(kind)}:{read_int(index)}"


def read_complex(value: Json) -> complex:
    if not isinstance(value, dict) or value.keys() != {"real", "imag"}:
        raise ModelFileError("a complex number without real and imag")
    return complex(read_real(value["real"]), read_real(value["imag"]))


def describe_graph(value: Json) -> str:
    return f"graph {read_name(value)}"


def describe_object(value: Json) -> str:
    return f"object {read_name(value)} of {checked_name(member(value, 'class_fqn', str))}"


def describe_dictionary(value: Json) -> str:
    return f"dictionary of {len(_plain(dict)(value))}"


def read_size(value: Json) -> int | str:
    """A size, stride or offset: a number, or an expression."""
    kind, content = union(value, "a size")
    if kind == "as_int":
        size: int = read_int(content)
        if not 0 <= size <= _MAX_SIZE:
            raise ModelFileError(f"a size of {size}")
        return size
    if kind == "as_expr":
        return size_expression(member(content, "expr_str", str))
    raise ModelFileError(f"a size of kind {shorten(kind)}")


def read_meta(value: Json) -> TensorMeta:
    """Read what the file says of a tensor; raises ModelFileError for a layout but strided."""
    layout = read_layout(member(value, "layout", int))
    if layout != "strided":
        raise ModelFileError(f"layout {layout} is not supported, only strided")
    sizes = tuple(read_size(size) for size in member(value, "sizes", list))
    strides = tuple(read_size(size) for size in member(value, "strides", list))
    if len(sizes) > MAX_RANK or len(sizes) != len(strides):
        raise ModelFileError(f"{len(sizes)} sizes and {len(strides)} strides, at most {MAX_RANK}")
    offset = read_size(member(value, "storage_offset", dict))
    return TensorMeta(read_dtype(member(value, "dtype", int)), sizes, strides, offset)
