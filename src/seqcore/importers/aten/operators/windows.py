"""Operators over windows of time, on (B, C, T) as torch has it: convolutions, pooling, padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....graph import GraphBuilder, Site, Value
from ....layers import (
    AdaptiveAveragePooling1D,
    AdaptiveMaxPooling1D,
    AveragePooling1D,
    Conv1D,
    Conv1DTranspose,
    DepthwiseConv1D,
    Layer,
    MaxPooling1D,
    Padding1D,
    UpSampling1D,
)
from ..arguments import (
    Context,
    as_float,
    dim_of,
    floats,
    joined_size,
    known,
    named,
    traced,
)
from ..sizes import AnySize, quotient
from ..tensors import Axis, Constant, RefusedError, Traced
from .shapes import cat, part, parts
from .table import operator


def one(value: Any, what: str, default: int | None = None) -> int:
    """Return an option of one dimension: a number, or a list of one."""
    if isinstance(value, (list, tuple)):
        if not value and default is not None:
            return default
        if len(value) != 1:
            raise RefusedError(f"with {what}={list(value)}")
        value = value[0]
    return known(value, what)


def _windowed(
    context: Context, tensor: Traced, layer: Layer, channels: int | None, size: AnySize
) -> Traced:
    """Apply a layer over (B, T, C) to a tensor (B, C, T) or (C, T)."""
    if len(tensor.dims) not in (2, 3):
        raise RefusedError(f"of {len(tensor.dims)} dims")
    *lead, features, time = tensor.dims
    batch = lead[0] if lead else ()
    more = tuple(axis for axis in batch if not axis.is_batch and axis.size != 1)
    if any(axis.is_batch for axis in (*features, *time)):
        raise RefusedError("over the rows of the batch")
    if more and batch[0] is not context.batch:
        raise RefusedError("the batch is joined with another axis")
    from .recurrent import Frames

    symbol = tensor.arranged([*([more] if more else []), time, features])
    made = (Frames(layer) if more else layer)(symbol)
    outer = [Axis(joined_size(more))] if more else []
    steps, width = Axis(size), Axis(joined_size(features) if channels is None else channels)
    first = [tuple(axis for axis in batch if axis.is_batch) + tuple(outer)] if lead else []
    return Traced(made, (context.batch, *outer, steps, width), (*first, (width,), (steps,)))


@operator("aten.conv1d", "aten.convolution")
def conv1d(
    context: Context, input: Any, weight: Any, bias: Any = None, stride: Any = 1,
    padding: Any = 0, dilation: Any = 1, transposed: bool = False, output_padding: Any = 0,
    groups: int = 1,
) -> Any:  # fmt: skip
    if transposed:
        return conv_transpose1d(
            context, input, weight, bias, stride, padding, output_padding, groups, dilation
        )
    tensor, numbers, offset = floats(input), _array(weight, 3), _offset(bias)
    filters, _, width = numbers.shape
    step, spread = one(stride, "stride"), one(dilation, "dilation")
    reach = spread * (width - 1)
    if padding == "same":
        left, right = reach // 2, reach - reach // 2
    else:
        left = right = 0 if padding == "valid" else one(padding, "padding")

    def make(name: str | None) -> Layer:
        options: dict[str, Any] = {
            "strides": step, "padding": (left, right) if left or right else "valid",
            "dilation_rate": spread, "use_bias": offset is not None, "name": name,
        }  # fmt: skip
        kernel = numbers.transpose(2, 1, 0)
        if groups > 1 and numbers.shape[1] == 1:
            kernel = numbers[:, 0].T.reshape(width, groups, filters // groups)
            return DepthwiseConv1D(kernel, offset, **options)
        return Conv1D(kernel, offset, groups=groups, **options)

    key = ("conv1d", weight.key, getattr(bias, "key", None), step, left, right, spread, groups)
    layer = context.once(key, make, named(weight))
    size = quotient(tensor.sizes[-1] + (left + right - reach - 1), step) + 1
    return _windowed(context, tensor, layer, filters, size)


class _Transposed(Conv1DTranspose):
    """A transposed convolution that cuts off as torch says: frames at both ends."""

    def __init__(self, kernel: Any, offset: Any, crop: int, tail: int, **options: Any) -> None:
        super().__init__(kernel, offset, **options)
        self.crop, self.tail = crop, tail

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        sizes = {"filters": self.filters, "crop": self.crop, "tail": self.tail}
        return self._node("conv1d_transpose", graph, site, inputs, **sizes)


@operator("aten.conv_transpose1d")
def conv_transpose1d(
    context: Context, input: Any, weight: Any, bias: Any = None, stride: Any = 1,
    padding: Any = 0, output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    tensor, numbers, offset = floats(input), _array(weight, 3), _offset(bias)
    step, spread = one(stride, "stride"), one(dilation, "dilation")
    if groups != 1:
        whole = (tensor, numbers, offset, weight.name)
        options = (stride, padding, output_padding, 1, dilation)
        return _by_group(context, *whole, groups, options)
    crop, more = one(padding, "padding"), one(output_padding, "output_padding")
    reach = spread * (numbers.shape[2] - 1)
    tail = reach + 1 + more - 2 * crop
    if tail < 1:
        raise RefusedError(f"with padding={crop}, which takes more than a window")
    kernel = numbers.transpose(2, 1, 0)  # (k, F, C)

    def make(name: str | None) -> Layer:
        return _Transposed(
            kernel, offset, crop, tail, strides=step, dilation_rate=spread,
            use_bias=offset is not None, name=name,
        )  # fmt: skip

    key = ("transposed", weight.key, getattr(bias, "key", None), step, crop, more, spread)
    layer = context.once(key, make, named(weight))
    size = (tensor.sizes[-1] - 1) * step + tail
    return _windowed(context, tensor, layer, numbers.shape[1], size)


def _by_group(
    context: Context, tensor: Traced, kernel: Any, offset: Any, name: str | None, groups: int,
    options: Sequence[Any],
) -> Any:  # fmt: skip
    """Apply a transposed convolution to each group of channels by itself."""
    if len(kernel) % groups:
        raise RefusedError(f"with groups={groups} of {len(kernel)} channels")
    kernels = np.split(kernel, groups)
    offsets = [None] * groups if offset is None else np.split(offset, groups)
    made = [
        conv_transpose1d(
            context, piece, Constant.of(own, name), None if b is None else Constant.of(b), *options
        )
        for piece, own, b in zip(
            parts(context, tensor, chunks=groups, dim=-2), kernels, offsets, strict=True
        )
    ]
    return cat(context, made, -2)


def _array(weight: Any, rank: int) -> Any:
    if not isinstance(weight, Constant) or len(weight.sizes) != rank:
        raise RefusedError("with a weight that varies, or of another rank")
    return weight.full()


def _offset(bias: Any) -> Any:
    return None if bias is None else _array(bias, 1)


# ---- Pooling -------------------------------------------------------------------------------------


def _pooled_size(
    size: AnySize, width: int, step: int, pad: int, spread: int, ceil: bool
) -> AnySize:
    """Return how many windows there are; with `ceil` one may begin inside and end outside."""
    room = size + (2 * pad - spread * (width - 1) - 1)
    if not ceil:
        return quotient(room, step) + 1
    count = quotient(room + (step - 1), step) + 1
    if isinstance(count, int) and isinstance(size, int) and (count - 1) * step >= size + pad:
        count -= 1
    return count


@operator("aten.max_pool1d")
def max_pool1d(
    context: Context, self: Any, kernel_size: Any, stride: Any = (), padding: Any = 0,
    dilation: Any = 1, ceil_mode: bool = False,
) -> Any:  # fmt: skip
    tensor, width = floats(self), one(kernel_size, "kernel_size")
    step, pad = one(stride, "stride", width), one(padding, "padding")
    spread = one(dilation, "dilation")
    layer = MaxPooling1D(
        width, strides=step, padding=(pad, pad), dilation=spread, ceil_mode=ceil_mode
    )
    size = _pooled_size(tensor.sizes[-1], width, step, pad, spread, ceil_mode)
    return _windowed(context, tensor, layer, None, size)


@operator("aten.avg_pool1d")
def avg_pool1d(
    context: Context, self: Any, kernel_size: Any, stride: Any = (), padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True,
) -> Any:  # fmt: skip
    tensor, width = floats(self), one(kernel_size, "kernel_size")
    step, pad = one(stride, "stride", width), one(padding, "padding")
    layer = AveragePooling1D(
        width, strides=step, padding=(pad, pad), ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
    )  # fmt: skip
    size = _pooled_size(tensor.sizes[-1], width, step, pad, 1, ceil_mode)
    return _windowed(context, tensor, layer, None, size)


@operator("aten.adaptive_avg_pool1d")
def adaptive_avg_pool1d(context: Context, self: Any, output_size: Any) -> Any:
    count = one(output_size, "output_size")
    return _windowed(context, floats(self), AdaptiveAveragePooling1D(count), None, count)


@operator("aten.adaptive_max_pool1d")
def adaptive_max_pool1d(context: Context, self: Any, output_size: Any) -> Any:
    if context.wanted(1):
        raise RefusedError("with its indices")
    count = one(output_size, "output_size")
    made = _windowed(context, floats(self), AdaptiveMaxPooling1D(count), None, count)
    return made, None


# ---- Padding, upsampling -------------------------------------------------------------------------

_MOST_PADDED = 1 << 20
_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "replicate",
          "circular": "circular"}  # fmt: skip


@operator("aten.pad", "aten.constant_pad_nd")
def pad(
    context: Context, self: Any, pad: Sequence[int], mode: str = "constant", value: Any = None
) -> Any:
    tensor = as_float(traced(self))
    if len(pad) % 2 or mode not in _MODES:
        raise RefusedError(f"with pad={pad}, mode={mode!r}")
    for index in range(len(pad) // 2):
        left, right = known(pad[2 * index], "pad"), known(pad[2 * index + 1], "pad")
        if left or right:
            at = dim_of(-1 - index, len(tensor.dims))
            tensor = _padded(context, tensor, at, left, right, mode, float(value or 0.0))
    return tensor


def _padded(
    context: Context, tensor: Traced, at: int, left: int, right: int, mode: str, value: float
) -> Traced:
    """Pad one dim, whatever it is, as the time of (B, T, all others)."""
    group = tensor.dims[at]
    if tensor.batch in group:
        raise RefusedError("rows are added to the batch")
    size = joined_size(group) + left + right
    if mode == "constant" and left <= 0 and right <= 0:
        return part(context, tensor, at, -left, joined_size(group) + right)  # type: ignore[no-any-return]
    rest: list[Axis] = [
        axis for dim in tensor.dims for axis in dim if axis not in group and not axis.is_batch
    ]
    if mode == "constant" and (len(rest) != 1 or rest[0].size == 1):
        return _between(context, tensor, at, left, right, value)
    symbol = tensor.arranged([group, *((axis,) for axis in rest)])
    options: dict[str, Any] = {"mode": mode} | ({"value": value} if mode == "constant" else {})
    layer = Padding1D(left, right, **options)
    made = Axis(size)
    if len(rest) != 1:  # the layer pads (B, T, C)
        raise RefusedError(f"of {1 + len(rest)} axes beside the batch")
    dims = tuple((made,) if k == at else dim for k, dim in enumerate(tensor.dims))
    return Traced(layer(symbol), (context.batch, made, *rest), dims)


def _between(
    context: Context, tensor: Traced, at: int, left: int, right: int, value: float
) -> Traced:
    """Pad with numbers that are joined, whatever other dims there are; or cut off."""
    if max(left, right) > _MOST_PADDED:
        raise RefusedError(f"by {max(left, right)} elements")
    inner = part(context, tensor, at, max(0, -left), tensor.sizes[at] + min(0, right))
    sizes = [[max(0, end) if k == at else 1 for k in range(len(tensor.dims))]
             for end in (left, right)]  # fmt: skip
    ends = [Constant.of(np.full(size, value, np.float32)) if size[at] else None for size in sizes]
    joined = cat(context, [each for each in (ends[0], inner, ends[1]) if each is not None], at)
    return joined  # type: ignore[no-any-return]


@operator("aten.upsample_nearest1d")
def upsample(
    context: Context, input: Any, output_size: Any = None, scale_factors: Any = None,
    scales: Any = None,
) -> Any:  # fmt: skip
    tensor = floats(input)
    times = scales if scales is not None else (scale_factors or [None])[0]
    if times is None:
        times = one(output_size, "output_size") / known(tensor.sizes[-1], "time")
    if float(times) != int(times):
        raise RefusedError(f"by {times}, which is not whole")
    layer = UpSampling1D(int(times))
    return _windowed(context, tensor, layer, None, tensor.sizes[-1] * int(times))
