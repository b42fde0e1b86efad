"""Quantised numbers: as floats, and floats in their steps.

A number q of a small type stands for (q - zero_point) * scale. What is computed with such numbers
as they are (QLinearConv and its kin) is no operator here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....layers import Divide
from ...aten.arguments import as_float
from ...aten.operators.elementwise import merged
from ...aten.tensors import Constant, RefusedError, Traced
from .table import Context, aten, operator, shape, weights

Array = NDArray[Any]

# The smallest and largest number of each type, by ONNX's number of it too.
_RANGES = {
    "uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 65535), "int16": (-32768, 32767),
    "uint4": (0, 15), "int4": (-8, 7), "uint2": (0, 3), "int2": (-2, 1),
}  # fmt: skip
_TYPES = {
    2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 17: "float8_e4m3fn", 18: "float8_e4m3fnuz",
    19: "float8_e5m2", 20: "float8_e5m2fnuz", 21: "uint4", 22: "int4", 23: "float4_e2m1fn",
    25: "uint2", 26: "int2",
}  # fmt: skip
_FLOATS = (0, 1, 10, 11, 16)  # float32, float16, float64, bfloat16; 0: as the scale


@operator("DequantizeLinear")
def dequantize(
    context: Context, x: Any, x_scale: Any, x_zero_point: Any = None, *, axis: int = 1,
    block_size: int = 0, output_dtype: int = 0,
) -> Any:  # fmt: skip
    if output_dtype not in _FLOATS:
        raise RefusedError(f"with output_dtype={output_dtype}")
    scale, zero = _steps(x, x_scale, x_zero_point, axis, block_size)
    if isinstance(x, Constant):
        away = weights(x, "x") if zero is None else weights(x, "x") - zero
        return Constant.of(away.astype(np.float32) * scale, x.name)
    made = as_float(x)
    if zero is not None and zero.any():
        made = aten(context, "sub", self=made, other=Constant.of(zero.astype(np.float32)))
    return aten(context, "mul", self=made, other=Constant.of(scale))


@operator("QuantizeLinear")
def quantize(
    context: Context, x: Any, y_scale: Any, y_zero_point: Any = None, *, axis: int = 1,
    block_size: int = 0, output_dtype: int = 0, precision: int = 0, saturate: int = 1,
) -> Any:  # fmt: skip
    """saturate(round(x / y_scale) + y_zero_point), ties to the even number, in float32."""
    del saturate  # of floats of 8 bits
    kind = _kind(context, y_zero_point, output_dtype)
    if kind not in _RANGES or precision not in _FLOATS[:2]:
        raise RefusedError(f"to {kind}" if kind not in _RANGES else f"with precision={precision}")
    scale, zero = _steps(x, y_scale, y_zero_point, axis, block_size)
    divisor = Constant.of(scale)
    if isinstance(x, Traced):  # a product with 1 / scale would round otherwise
        made: Any = merged(context, Divide(), x, divisor)
    else:
        made = aten(context, "div", self=x, other=divisor)
    made = aten(context, "round", self=made)
    if zero is not None and zero.any():
        made = aten(context, "add", self=made, other=Constant.of(zero.astype(np.float32)))
    least, most = _RANGES[kind]
    return aten(context, "clamp", self=made, min=least, max=most)


def _kind(context: Context, zero: Any, number: int) -> str:
    """Return the type of what is made."""
    told = None if zero is None else context.declared(2)
    if zero is None:
        told = _TYPES.get(number, f"type {number}") if number else "uint8"
    if told is None:
        raise RefusedError("with a zero point of a type that the file does not say")
    return told


def _steps(x: Any, scale: Any, zero: Any, axis: int, block: int) -> tuple[Array, Array | None]:
    """Return scale and zero point such that they broadcast with what is quantised."""
    sizes = shape(x)
    step = weights(scale, "scale").astype(np.float32)
    offset = None if zero is None else weights(zero, "zero point")
    if offset is not None and offset.size == step.size == 1:
        offset = offset.reshape(step.shape)
    if offset is not None and offset.shape != step.shape:
        raise RefusedError(f"with scales {step.shape} and zero points {offset.shape}")
    arrays = [step] if offset is None else [step, offset]
    if step.size == 1 and step.ndim < 2 and block == 0:
        made = [array.reshape(()) for array in arrays]
    else:
        if not -len(sizes) <= axis < len(sizes):
            raise RefusedError(f"with axis={axis} of {len(sizes)}")
        size = sizes[axis]
        if not isinstance(size, int):
            raise RefusedError(f"with scales along axis {axis}, whose size varies")
        spread = _of_blocks if block else _of_axis
        made = [spread(array, sizes, axis % len(sizes), size, block) for array in arrays]
    return made[0], made[1] if len(made) > 1 else None


def _of_axis(array: Array, sizes: Any, axis: int, size: int, block: int) -> Array:
    """One number for each element of an axis."""
    del block
    if array.shape != (size,):
        raise RefusedError(f"with scales of shape {array.shape} for {size} along axis {axis}")
    return array.reshape([size if k == axis else 1 for k in range(len(sizes))])


def _of_blocks(array: Array, sizes: Any, axis: int, size: int, block: int) -> Array:
    """One number for each `block` elements of an axis, at every place of the others."""
    wanted = tuple(-(-size // block) if k == axis else other for k, other in enumerate(sizes))
    if not 0 < block <= size or array.shape != wanted:
        raise RefusedError(f"with scales of shape {array.shape} for blocks of {block}")
    return np.repeat(array, block, axis).take(range(size), axis)
