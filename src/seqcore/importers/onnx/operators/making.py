"""What makes tensors of nothing but sizes and numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import ModelFileError
from ....formats.onnx_tensors import dtype_name
from ...aten.arguments import known
from ...aten.reader import WHOLE
from ...aten.tensors import Constant, RefusedError, Traced
from .table import Context, aten, number, numbers_of, operator, shape, sizes

_FLOATS = frozenset(["float32", "float64", "float16", "bfloat16"])


def kind_of(dtype: int) -> Any:
    """Return the dtype in which numbers of one of ONNX's are kept here."""
    try:
        name = dtype_name(dtype, "dtype")
    except ModelFileError as error:
        raise RefusedError(str(error)) from None
    if name in WHOLE:
        return np.int64
    if name in _FLOATS or name == "bool":
        return np.bool_ if name == "bool" else np.float32
    raise RefusedError(f"of dtype {name}")


@operator("Constant")
def constant(
    context: Context, *, value: NDArray[Any] | None = None, value_float: float | None = None,
    value_floats: list[float] | None = None, value_int: int | None = None,
    value_ints: list[int] | None = None,
) -> Any:  # fmt: skip
    del context
    if value is not None:
        return numbers_of(value)
    for floats in (value_float, value_floats):
        if floats is not None:
            return Constant.of(np.asarray(floats, np.float32))
    for whole in (value_int, value_ints):
        if whole is not None:
            return Constant.of(np.asarray(whole, np.int64))
    raise RefusedError("without a value")


@operator("ConstantOfShape")
def filled(context: Context, input: Any, *, value: NDArray[Any] | None = None) -> Any:
    del context
    wanted = sizes(input, "shape")
    if any(isinstance(size, int) and size < 0 for size in wanted):
        raise RefusedError(f"of shape {wanted}")
    one = Constant.of(np.zeros(1, np.float32)) if value is None else numbers_of(value)
    return Constant(one.array.reshape([1] * len(wanted)), tuple(wanted))


@operator("Range")
def counted(context: Context, start: Any, limit: Any, delta: Any) -> Any:
    bounds = [(start, "start"), (limit, "limit"), (delta, "delta")]
    if not any(_is_size(value) for value, _ in bounds):
        first, last, step = (number(*each) for each in bounds)
        return _of_numbers(context, first, last, step, whole=start.array.dtype.kind == "i")
    begin, end, by = (sizes(*each)[0] for each in bounds)
    return aten(context, "arange", start=begin, end=end, step=by)


def _is_size(value: Any) -> bool:
    return isinstance(value, Constant) and value.array.dtype == object and value.array.size == 1


def _of_numbers(
    context: Context, start: float, limit: float, delta: float, *, whole: bool
) -> Constant:
    """Return start + k*delta below the limit, in float32 as every element is computed there."""
    if delta == 0:
        raise RefusedError("by steps of 0")
    count = max(0, math.ceil((limit - start) / delta))
    places = aten(context, "arange", start=0, end=count, step=1).array  # it knows what is too much
    kind = np.int64 if whole else np.float32
    return Constant.of(np.asarray(start + places * np.asarray(delta, kind), kind))


@operator("EyeLike")
def eye(context: Context, input: Any, *, dtype: int | None = None, k: int = 0) -> Any:
    own = shape(input)
    if len(own) != 2:
        raise RefusedError(f"of {len(own)} axes")
    rows, columns = (known(size, "its shape") for size in own)
    kind = kind_of(dtype) if dtype is not None else _kind(context, input)
    aten(context, "eye", n=rows, m=columns)  # it knows what is too large
    return Constant.of(np.eye(rows, columns, k, dtype=kind))


def _kind(context: Context, value: Any) -> Any:
    if isinstance(value, Traced) and value.dtype == "float32":
        return np.int64 if context.whole() else np.float32
    return {"bool": np.bool_, "int64": np.int64}.get(value.dtype, np.float32)
