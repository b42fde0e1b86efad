"""Operators over windows: convolutions, pooling, padding.

Tensors are (N, C, D1, D2 ...). An axis of windows of one element is no matter: it stands beside the
batch, which makes one axis of what exporters write as two. Of several, each axis of a pooling is
pooled alone, and all but one of a convolution are made channels: what its windows see along them,
side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....layers import Cast, DepthwiseConv1D
from ...aten.arguments import as_float, as_traced, few, known, mapped
from ...aten.operators.windows import Window, pooled, windowed
from ...aten.sizes import AnySize
from ...aten.tensors import Axis, Constant, RefusedError, Traced, split
from .shapes import part
from .table import Context, aten, ints, number, operator, text

Array = NDArray[Any]

_MOST_WEIGHTS = 1 << 24  # that are made here
_MOST_INDICES = 1 << 24  # float32 has each


# ---- Where windows lie ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Windows along one axis.

    Attributes
    ----------
    window : Window
    turned : bool
        Whether they are those of the sequence turned round.
    """

    window: Window
    turned: bool = False

    @property
    def trivial(self) -> bool:
        """Whether every element is a window."""
        w = self.window
        return w.size == w.step == 1 and w.left == w.right == 0


def per_axis(value: Any, what: str, count: int, default: int) -> list[int]:
    """Return an attribute that has a number for each axis."""
    numbers = [default] * count if value is None else ints(value, what)
    if len(numbers) != count:
        raise RefusedError(f"with {what}={numbers} of {count} axes")
    return numbers


def pairs(pads: Any, count: int) -> list[tuple[int, int]]:
    numbers = [0] * (2 * count) if pads is None else ints(pads, "pads")
    if len(numbers) != 2 * count:
        raise RefusedError(f"with pads={numbers} of {count} axes")
    return list(zip(numbers[:count], numbers[count:], strict=True))


def placed(
    sizes: Sequence[AnySize], kernel: Sequence[int], auto_pad: Any, dilations: Any, pads: Any,
    strides: Any, ceil: bool = False,
) -> list[Place]:  # fmt: skip
    count = len(kernel)
    steps = per_axis(strides, "strides", count, 1)
    spreads = per_axis(dilations, "dilations", count, 1)
    if min([1, *kernel, *steps, *spreads]) < 1:
        raise RefusedError(f"with kernel_shape={kernel}, strides={steps}, dilations={spreads}")
    ends = pairs(pads, count)
    if min(0, *(end for pair in ends for end in pair)) < 0:
        raise RefusedError(f"with pads={ints(pads, 'pads')}")
    auto = padding_named(auto_pad, ends)
    made = []
    for size, width, step, spread, (left, right) in zip(
        sizes, kernel, steps, spreads, ends, strict=True
    ):
        window = Window(width, step, spread, ceil=ceil)
        if auto == "NOTSET":
            made.append(Place(replace(window, left=left, right=right)))
        elif auto == "VALID":
            made.append(Place(window))
        else:
            made.append(_same(size, replace(window, ceil=False), auto == "SAME_LOWER"))
    return made


def padding_named(auto_pad: Any, ends: Sequence[tuple[int, int]]) -> str:
    """Return auto_pad, beside which there are no pads."""
    auto = text(auto_pad)
    if auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise RefusedError(f"with auto_pad={auto!r}")
    if auto != "NOTSET" and any(end for pair in ends for end in pair):
        raise RefusedError(f"with auto_pad={auto!r} and pads")
    return auto


def _same(size: AnySize, window: Window, lower: bool) -> Place:
    """Return the windows of which there is one for each `step`, an odd end first if `lower`."""
    if window.step == 1:
        total = window.reach
    elif isinstance(size, int):
        total = max(0, (-(-size // window.step) - 1) * window.step + window.reach + 1 - size)
    elif window.reach == 0:
        total = 0
    elif lower and window.reach + 1 < window.step:
        raise RefusedError("with auto_pad='SAME_LOWER' and strides longer than a window, of a size "
                           "that varies")  # fmt: skip
    else:  # turned round, its last window ends where the sequence begins, as far outside
        return Place(replace(window, same=True), turned=lower)
    less, more = total // 2, total - total // 2
    left, right = (more, less) if lower else (less, more)
    return Place(replace(window, left=left, right=right))


def along(
    context: Context, tensor: Traced, at: int, function: Callable[[Traced], Traced],
    turned: bool = False, inside: Sequence[Axis] | None = None,
) -> Traced:  # fmt: skip
    """Apply a function of (B, C, T) along one dim.

    C is dim 1, or axes `inside` of which each element stays one; all others stand beside the batch.
    """
    if turned:
        tensor = aten(context, "flip", self=tensor, dims=[at])
        made = along(context, tensor, at, function, inside=inside and behind(tensor, at))
        return aten(context, "flip", self=made, dims=[at])  # type: ignore[no-any-return]
    channels = tensor.dims[1] if inside is None else tuple(inside)
    others = [axis for k, dim in enumerate(tensor.dims) if k != at for axis in dim]
    beside = [
        axis for axis in others
        if axis not in channels and not axis.is_batch and axis.size != 1
    ]  # fmt: skip
    made = function(tensor.seen_as([(context.batch, *beside), channels, tensor.dims[at]]))
    first, width, time = made.dims
    names = {context.batch: context.batch}
    for axes, own in ((beside, first[1:]), (inside or (), width)):
        parts: Sequence[Axis] = own
        if len(axes) > 1:
            made, parts = split(made, own[0], [axis.size for axis in axes])
        names |= dict(zip(axes, parts, strict=False))
    dims = [tuple(names[axis] for axis in dim if axis in names) for dim in tensor.dims]
    dims[at] = time
    if inside is None:
        dims[1] = width
    return made.seen_as(dims)


def behind(tensor: Traced, at: int) -> list[Axis] | None:
    """Return the axes that lie behind a dim in memory; None if they are no axis of channels."""
    own = [axis for axis in tensor.dims[at] if axis.size != 1]
    if len(own) != 1 or own[0] not in tensor.axes:
        return None
    standing = [axis for dim in tensor.dims for axis in dim if axis.size != 1]
    place = tensor.axes.index(own[0])
    found = [axis for axis in tensor.axes[place + 1 :] if axis in standing]
    varying = sum(not isinstance(axis.size, int) for axis in found)
    return found if found and varying <= 1 else None


def image(context: Context, value: Any, count: int | None = None) -> Traced:
    """Return an input (N, C, D1 ...) as floats."""
    tensor = as_float(as_traced(context, value))
    rank = len(tensor.dims)
    if rank < 3 or (count is not None and rank != 2 + count):
        raise RefusedError(f"of an input of {rank} axes, with a kernel of {count}" if count
                           else f"of an input of {rank} axes")  # fmt: skip
    return tensor


def moving(places: Sequence[Place]) -> list[int]:
    """Return the dims along which there are windows."""
    return [2 + k for k, place in enumerate(places) if not place.trivial]


def longest(tensor: Traced, dims: Sequence[int]) -> int:
    """Return the dim to take for time: one that varies, else that of the most elements."""
    sizes = {dim: tensor.sizes[dim] for dim in dims}
    varying = [dim for dim, size in sizes.items() if not isinstance(size, int)]
    return varying[0] if varying else max(dims, key=lambda dim: sizes[dim])  # type: ignore[arg-type,return-value]


# ---- Pooling -------------------------------------------------------------------------------------


def _boxes(
    context: Context, X: Any, kernel_shape: Any, auto_pad: str, dilations: Any, pads: Any,
    strides: Any, ceil_mode: int,
) -> tuple[Traced, list[Place]]:  # fmt: skip
    """Return what is pooled, and the windows along each of its axes."""
    tensor = image(context, X, len(kernel_shape))
    sizes = ints(kernel_shape, "kernel_shape")
    return tensor, placed(
        tensor.sizes[2:], sizes, auto_pad, dilations, pads, strides, bool(ceil_mode)
    )


@operator("MaxPool")
def max_pool(
    context: Context, X: Any, *, auto_pad: str = "NOTSET", ceil_mode: int = 0,
    dilations: Any = None, kernel_shape: Any, pads: Any = None, storage_order: int = 0,
    strides: Any = None,
) -> Any:  # fmt: skip
    tensor, places = _boxes(context, X, kernel_shape, auto_pad, dilations, pads, strides, ceil_mode)
    if context.wanted(1):
        return _with_indices(context, tensor, places, bool(storage_order))
    return (_pooled(context, tensor, places, _most),)


def _with_indices(
    context: Context, tensor: Traced, places: Sequence[Place], columns: bool
) -> tuple[Any, Any]:
    """Return the largest elements, and where in all of the tensor the first of each lies.

    `columns`: a channel's elements are counted along its first axis first.
    """
    if tensor.batch_dim is not None:
        raise RefusedError("with indices, which count the rows of the batch")
    sizes = [known(size, "with indices, a size") for size in tensor.sizes]
    if math.prod(sizes) > _MOST_INDICES:
        raise RefusedError("with indices of too many elements")
    order = [0, 1, *(range(len(sizes) - 1, 1, -1) if columns else range(2, len(sizes)))]
    numbered = np.arange(math.prod(sizes)).reshape([sizes[at] for at in order])
    most: Any = tensor
    index: Any = Constant.of(numbered.transpose(order))
    for at in reversed(moving(places)):
        most, index = _first_most(context, most, index, at, places[at - 2].window)
    if isinstance(index, Traced):
        index = mapped(index, Cast("int64"), dtype="int64")
    return most, index


def _first_most(
    context: Context, most: Any, index: Any, at: int, window: Window
) -> tuple[Any, Any]:
    """Compare the elements of windows along one axis, one after the other.

    The first one that is no padding stays unless another is greater, be it NaN or -inf.
    """
    size = known(most.sizes[at], "a size")
    window = _closed(size, window)
    ends = [0] * (2 * (len(most.sizes) - 1 - at)) + [window.left, window.right]
    if any(ends):
        most = aten(context, "pad", self=most, pad=ends, mode="constant", value=-math.inf)
        index = aten(context, "pad", self=index, pad=ends, mode="constant", value=0)
    count = known(window.count(size), "the number of windows")
    starts, last = np.arange(count) * window.step, (count - 1) * window.step
    beside = [1] * (len(most.sizes) - 1 - at)
    best, where = None, None
    for first in range(0, few(window.reach, "a window's reach") + 1, window.spread):
        one, here = (
            part(context, each, at, first, first + last + 1, window.step) for each in (most, index)
        )
        if best is None:
            best, where = one, here
            continue
        above = aten(context, "gt", self=one, other=best)
        padding = starts + first - window.spread < window.left
        if padding.any():
            instead = Constant.of(padding.reshape([count, *beside]))
            above = aten(context, "logical_or", self=above, other=instead)
        best, where = (
            aten(context, "where", condition=above, self=a, other=b)
            for a, b in ((one, best), (here, where))
        )
    return best, where


_Pooling = Callable[[Context, Traced, Window], Traced]


def _pooled(context: Context, tensor: Traced, places: Sequence[Place], function: _Pooling) -> Any:
    """Pool along one axis after the other: windows are boxes."""
    for at in moving(places):
        place = places[at - 2]
        pooling = _of_window(context, function, place.window)
        plain = function is _most or (
            function in (_mean, _counting) and place.window.spread == 1 and not place.window.same
        )
        inside = behind(tensor, at) if plain else None
        tensor = along(context, tensor, at, pooling, place.turned, inside)
    return tensor


def _of_window(context: Context, function: _Pooling, window: Window) -> Callable[[Traced], Traced]:
    return lambda rows: function(context, rows, window)


def _most(context: Context, rows: Traced, window: Window) -> Traced:
    return pooled(context, rows, "max", window)


@operator("AveragePool")
def average_pool(
    context: Context, X: Any, *, auto_pad: str = "NOTSET", ceil_mode: int = 0,
    count_include_pad: int = 0, dilations: Any = None, kernel_shape: Any, pads: Any = None,
    strides: Any = None,
) -> Any:  # fmt: skip
    tensor, places = _boxes(context, X, kernel_shape, auto_pad, dilations, pads, strides, ceil_mode)
    return _pooled(context, tensor, places, _counting if count_include_pad else _mean)


def _mean(context: Context, rows: Traced, window: Window) -> Traced:
    """Return the means of what is there."""
    if window.spread == 1:
        return pooled(context, rows, "mean", window)
    return _shares(context, rows, window, counts_padding=False)


def _counting(context: Context, rows: Traced, window: Window) -> Traced:
    """Return the means with padding as zeros."""
    if window.spread == 1 and not window.same:
        return pooled(context, rows, "mean", window, count_padding=True)
    return _shares(context, rows, window, counts_padding=True)


def _shares(context: Context, rows: Traced, window: Window, counts_padding: bool) -> Traced:
    """Return sums over how many elements a window has, of windows that no pooling knows."""
    size = rows.sizes[-1]
    if counts_padding and not window.ceil:
        return _sums(context, rows, window, 1 / window.size)
    if not isinstance(size, int):
        raise RefusedError("with dilations, of an axis that varies")
    whole = _closed(size, window)
    count = known(whole.count(size), "the number of windows")
    if not 0 < count * window.size <= _MOST_WEIGHTS:
        raise RefusedError(f"with {count} windows of {window.size}")
    starts = np.arange(count) * window.step - window.left
    places = starts[:, None] + np.arange(0, window.reach + 1, window.spread)
    inside = (places >= 0) & (places < size)
    if counts_padding:
        inside = places < size + window.right
    counts = inside.sum(axis=1)
    if not counts.all():
        raise RefusedError("with a window of padding alone")
    sums = _sums(context, rows, whole, 1.0)
    return aten(  # type: ignore[no-any-return]
        context, "mul", self=sums, other=Constant.of((1 / counts).astype(np.float32))
    )


def _closed(size: AnySize, window: Window) -> Window:
    """Return windows with a last one that ends within the padding."""
    if not window.ceil:
        return window
    count = known(window.count(known(size, "with ceil_mode, a size")), "")
    last = (count - 1) * window.step + window.reach + 1  # seen from the padding's start
    right = max(0, last - window.left - known(size, ""))
    return replace(window, right=right, ceil=False)


def _sums(context: Context, rows: Traced, window: Window, scale: float) -> Traced:
    """Return the sums of windows, times a number."""
    channels = known(rows.sizes[1], "the number of channels")
    if window.size * channels > _MOST_WEIGHTS:
        raise RefusedError(f"with windows of {window.size} of {channels} channels")
    kernel = np.full((window.size, channels, 1), scale, np.float32)
    options: dict[str, Any] = {"strides": window.step, "padding": window.padding}

    def make(name: str | None) -> Any:
        del name  # it has no weights that anybody knows of
        return DepthwiseConv1D(kernel, dilation_rate=window.spread, use_bias=False, **options)

    layer = context.once(("sums", window, channels, scale), make)
    return windowed(context, rows, layer, None, window.count(rows.sizes[-1]))


@operator("LpPool")
def lp_pool(
    context: Context, X: Any, *, auto_pad: str = "NOTSET", ceil_mode: int = 0,
    dilations: Any = None, kernel_shape: Any, p: float = 2, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    """(sum of |x|^p)^(1/p), padding being zeros."""
    order = _order(p)
    tensor, places = _boxes(context, X, kernel_shape, auto_pad, dilations, pads, strides, ceil_mode)
    sizes = _power(context, aten(context, "abs", self=tensor), order)

    def sums(context: Context, rows: Traced, window: Window) -> Traced:
        return _sums(context, rows, _closed(rows.sizes[-1], window), 1.0)

    return _power(context, _pooled(context, sizes, places, sums), 1 / order)


def _order(p: float) -> float:
    if not (math.isfinite(p) and p > 0):
        raise RefusedError(f"with p={p}")
    return float(p)


def _power(context: Context, tensor: Any, exponent: float) -> Any:
    return tensor if exponent == 1 else aten(context, "pow", self=tensor, exponent=exponent)


def _over_all(name: str, **options: Any) -> Callable[..., Any]:
    """Return what reduces all axes but the first two."""

    def apply(context: Context, X: Any) -> Any:
        tensor = image(context, X)
        dims = list(range(2, len(tensor.dims)))
        return aten(context, name, self=tensor, dim=dims, keepdim=True, **options)

    return apply


operator("GlobalAveragePool")(_over_all("mean"))
operator("GlobalMaxPool")(_over_all("amax"))


@operator("GlobalLpPool")
def global_lp_pool(context: Context, X: Any, *, p: float = 2) -> Any:
    return _over_all("linalg_vector_norm", ord=_order(p))(context, X)


# ---- Padding -------------------------------------------------------------------------------------

_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


@operator("Pad")
def pad(
    context: Context, data: Any, pads: Any = None, constant_value: Any = None, axes: Any = None, *,
    mode: str = "constant", value: float = 0.0,
) -> Any:  # fmt: skip
    """Pads are an attribute until opset 10, and those of some axes alone from 18 on."""
    if text(mode) not in _MODES:
        raise RefusedError(f"with mode={mode!r}")
    rank = len(data.sizes)
    where = list(range(rank)) if axes is None else ints(axes, "axes")
    ends = pairs(ints(pads, "pads"), len(where))
    if any(not -rank <= axis < rank for axis in where):
        raise RefusedError(f"with axes={where} of {rank}")
    where = [axis % rank for axis in where]
    if len(set(where)) < len(where):
        raise RefusedError(f"with axes={where}")
    filler = value if constant_value is None else number(constant_value, "constant_value")
    cut, add = [0] * (2 * rank), [0] * (2 * rank)
    for axis, pair in zip(where, ends, strict=True):
        for side, end in enumerate(pair):  # ATen's are those of the last dim first
            (cut if end < 0 else add)[2 * (rank - 1 - axis) + side] = end
    for numbers, own in ((cut, "constant"), (add, _MODES[mode])):
        if any(numbers):
            options = {"value": filler} if own == "constant" else {}
            data = aten(context, "pad", self=data, pad=numbers, mode=own, **options)
    return data
