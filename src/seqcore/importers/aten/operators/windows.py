"""Operators over windows of time, on (B, C, T) as torch has it: convolutions, pooling, padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from ..tensors import Axis, Constant, RefusedError, Traced, split
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


@dataclass(frozen=True)
class Window:
    """Windows over time.

    Attributes
    ----------
    size, step, spread : int
        Frames in one; from one window to the next; from a frame of a window to its next.
    left, right : int
        Frames of padding at either end.
    same : bool
        In place of these as many as give a window for each `step` frames, an odd one at the end.
    ceil : bool
        Whether a last window may begin inside and end outside.
    """

    size: int
    step: int = 1
    spread: int = 1
    left: int = 0
    right: int = 0
    same: bool = False
    ceil: bool = False

    @property
    def reach(self) -> int:
        """Frames from the first of a window to its last."""
        return self.spread * (self.size - 1)

    @property
    def padding(self) -> str | tuple[int, int]:
        """As layers have it."""
        if self.same:
            return "same"
        return (self.left, self.right) if self.left or self.right else "valid"

    def count(self, size: AnySize) -> AnySize:
        """Return how many windows a sequence of so many frames has."""
        if self.same:
            return quotient(size + (self.step - 1), self.step)
        room = size + (self.left + self.right - self.reach - 1)
        if not self.ceil:
            return quotient(room, self.step) + 1
        count = quotient(room + (self.step - 1), self.step) + 1
        if isinstance(count, int) and isinstance(size, int):
            count -= (count - 1) * self.step >= size + self.left
        return count


def windowed(
    context: Context, tensor: Traced, layer: Layer, channels: int | None, size: AnySize
) -> Traced:
    """Apply a layer over (B, T, C) to a tensor (B, C, T) or (C, T).

    The result has `channels`, or as many as there were, and `size` frames. Where B is more than the
    batch, which stands first in it, the others are one axis behind it.
    """
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
    step, spread = one(stride, "stride"), one(dilation, "dilation")
    reach = spread * (_array(weight, 3).shape[2] - 1)
    if padding == "same":
        left, right = reach // 2, reach - reach // 2
    else:
        left = right = 0 if padding == "valid" else one(padding, "padding")
    window = Window(weight.sizes[2], step, spread, left, right)
    return convolved(context, floats(input), weight, bias, window, groups)


def convolved(
    context: Context, tensor: Traced, weight: Any, bias: Any, window: Window, groups: int
) -> Traced:
    """Return the convolution of (B, C, T) with constants (F, C/groups, k) and (F,) or None."""
    numbers, offset = _array(weight, 3), _offset(bias)
    filters, _, width = numbers.shape

    def make(name: str | None) -> Layer:
        options: dict[str, Any] = {
            "strides": window.step, "padding": window.padding, "dilation_rate": window.spread,
            "use_bias": offset is not None, "name": name,
        }  # fmt: skip
        kernel = numbers.transpose(2, 1, 0)
        if groups > 1 and numbers.shape[1] == 1:
            if filters % groups:
                raise RefusedError(f"with groups={groups} of {filters} filters")
            kernel = numbers[:, 0].T.reshape(width, groups, filters // groups)
            return DepthwiseConv1D(kernel, offset, **options)
        return Conv1D(kernel, offset, groups=groups, **options)

    key = ("conv1d", weight.key, getattr(bias, "key", None), window, groups)
    layer = context.once(key, make, named(weight))
    return windowed(context, tensor, layer, filters, window.count(tensor.sizes[-1]))


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
    step, spread = one(stride, "stride"), one(dilation, "dilation")
    crop, more = one(padding, "padding"), one(output_padding, "output_padding")
    tail = spread * (_array(weight, 3).shape[2] - 1) + 1 + more - 2 * crop
    if tail < 1:
        raise RefusedError(f"with padding={crop}, which takes more than a window")
    window = Window(weight.sizes[2], step, spread)
    return unfolded(context, floats(input), weight, bias, window, crop, tail, groups)


def unfolded(
    context: Context, tensor: Traced, weight: Any, bias: Any, window: Window, crop: int, tail: int,
    groups: int,
) -> Traced:  # fmt: skip
    """Return the transposed convolution of (B, C, T) with constants (C, F/groups, k) and (F,).

    The first `crop` frames are cut off, and (T - 1) * step + `tail` are left.
    """
    numbers, offset = _array(weight, 3), _offset(bias)
    if groups != 1:
        whole = (tensor, numbers, offset, weight.name)
        return _by_group(context, *whole, groups, (window, crop, tail))
    kernel = numbers.transpose(2, 1, 0)  # (k, F, C)

    def make(name: str | None) -> Layer:
        return _Transposed(
            kernel, offset, crop, tail, strides=window.step, dilation_rate=window.spread,
            use_bias=offset is not None, name=name,
        )  # fmt: skip

    key = ("transposed", weight.key, getattr(bias, "key", None), window, crop, tail)
    layer = context.once(key, make, named(weight))
    size = (tensor.sizes[-1] - 1) * window.step + tail
    return windowed(context, tensor, layer, numbers.shape[1], size)


def _by_group(
    context: Context, tensor: Traced, kernel: Any, offset: Any, name: str | None, groups: int,
    options: tuple[Window, int, int],
) -> Traced:  # fmt: skip
    """Apply a transposed convolution to each group of channels by itself."""
    if len(kernel) % groups:
        raise RefusedError(f"with groups={groups} of {len(kernel)} channels")
    kernels = np.split(kernel, groups)
    offsets = [None] * groups if offset is None else np.split(offset, groups)
    made = [
        unfolded(
            context, piece, Constant.of(own, name), None if b is None else Constant.of(b),
            *options, 1,
        )
        for piece, own, b in zip(
            parts(context, tensor, chunks=groups, dim=-2), kernels, offsets, strict=True
        )
    ]  # fmt: skip
    return cat(context, made, -2)  # type: ignore[no-any-return]


def _array(weight: Any, rank: int) -> Any:
    if not isinstance(weight, Constant) or len(weight.sizes) != rank:
        raise RefusedError("with a weight that varies, or of another rank")
    return weight.full()


def _offset(bias: Any) -> Any:
    return None if bias is None else _array(bias, 1)


# ---- Pooling -------------------------------------------------------------------------------------


def pooled(
    context: Context, tensor: Traced, function: str, window: Window, count_padding: bool = False
) -> Traced:
    """Return the "max" or "mean" of each window of (B, C, T).

    The mean is of the frames that are there, or of the padding too (not that of `same`).
    """
    options: dict[str, Any] = {
        "strides": window.step, "padding": window.padding, "ceil_mode": window.ceil,
    }  # fmt: skip
    layer: Layer
    if function == "max":
        layer = MaxPooling1D(window.size, dilation=window.spread, **options)
    else:
        layer = AveragePooling1D(window.size, count_include_pad=count_padding, **options)
    return windowed(context, tensor, layer, None, window.count(tensor.sizes[-1]))


def _pool(kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> Window:
    width = one(kernel_size, "kernel_size")
    step, pad = one(stride, "stride", width), one(padding, "padding")
    return Window(width, step, one(dilation, "dilation"), pad, pad, ceil=ceil)


@operator("aten.max_pool1d")
def max_pool1d(
    context: Context, self: Any, kernel_size: Any, stride: Any = (), padding: Any = 0,
    dilation: Any = 1, ceil_mode: bool = False,
) -> Any:  # fmt: skip
    window = _pool(kernel_size, stride, padding, dilation, ceil_mode)
    return pooled(context, floats(self), "max", window)


@operator("aten.avg_pool1d")
def avg_pool1d(
    context: Context, self: Any, kernel_size: Any, stride: Any = (), padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True,
) -> Any:  # fmt: skip
    window = _pool(kernel_size, stride, padding, 1, ceil_mode)
    return pooled(context, floats(self), "mean", window, count_include_pad)


@operator("aten.adaptive_avg_pool1d")
def adaptive_avg_pool1d(context: Context, self: Any, output_size: Any) -> Any:
    count = one(output_size, "output_size")
    return windowed(context, floats(self), AdaptiveAveragePooling1D(count), None, count)


@operator("aten.adaptive_max_pool1d")
def adaptive_max_pool1d(context: Context, self: Any, output_size: Any) -> Any:
    if context.wanted(1):
        raise RefusedError("with its indices")
    count = one(output_size, "output_size")
    made = windowed(context, floats(self), AdaptiveMaxPooling1D(count), None, count)
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
    rest = [
        axis for k, dim in enumerate(tensor.dims) if k != at
        for axis in dim if not axis.is_batch and axis.size != 1
    ]  # fmt: skip
    if sum(not isinstance(axis.size, int) for axis in rest) > 1 and mode == "constant":
        return _between(context, tensor, at, left, right, value)
    symbol = tensor.arranged([group, rest])  # the layer pads (B, T, C)
    options: dict[str, Any] = {"mode": mode} | ({"value": value} if mode == "constant" else {})
    made, joined = Axis(size), rest[0] if len(rest) == 1 else Axis(joined_size(rest))
    dims = tuple((made,) if k == at else dim for k, dim in enumerate(tensor.dims))
    padded = Traced(Padding1D(left, right, **options)(symbol), (context.batch, made, joined), dims)
    return padded if len(rest) < 2 else _divided(padded, joined, rest)


def _divided(tensor: Traced, joined: Axis, axes: Sequence[Axis]) -> Traced:
    """Return a tensor with an axis as these again, of which dims are made."""
    made, parts = split(tensor, joined, [axis.size for axis in axes])
    names = dict(zip(axes, parts, strict=True))
    return made.seen_as(tuple(names.get(axis, axis) for axis in dim) for dim in made.dims)


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
    return windowed(context, tensor, layer, None, tensor.sizes[-1] * int(times))
