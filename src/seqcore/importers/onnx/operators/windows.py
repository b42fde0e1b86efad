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

from ....layers import Add, DepthwiseConv1D, Padding1D
from ...aten.arguments import as_float, as_traced, known
from ...aten.operators.elementwise import merged
from ...aten.operators.windows import Window, convolved, pooled, unfolded, windowed
from ...aten.sizes import AnySize
from ...aten.tensors import Axis, Constant, RefusedError, Traced, split
from .table import Context, aten, ints, number, operator, text, weights

Array = NDArray[Any]
_MOST_ROWS = 64  # elements of a window along an axis that is made channels


# ---- Where windows lie ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
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


def _each(value: Any, what: str, count: int, default: int) -> list[int]:
    """Return an attribute that has a number for each axis."""
    numbers = [default] * count if value is None else ints(value, what)
    if len(numbers) != count:
        raise RefusedError(f"with {what}={numbers} of {count} axes")
    return numbers


def _ends(pads: Any, count: int) -> list[tuple[int, int]]:
    numbers = [0] * (2 * count) if pads is None else ints(pads, "pads")
    if len(numbers) != 2 * count:
        raise RefusedError(f"with pads={numbers} of {count} axes")
    return list(zip(numbers[:count], numbers[count:], strict=True))


def _places(
    sizes: Sequence[AnySize], kernel: Sequence[int], auto_pad: Any, dilations: Any, pads: Any,
    strides: Any, ceil: bool = False,
) -> list[_Place]:  # fmt: skip
    count = len(kernel)
    steps, spreads = _each(strides, "strides", count, 1), _each(dilations, "dilations", count, 1)
    if min([1, *kernel, *steps, *spreads]) < 1:
        raise RefusedError(f"with kernel_shape={kernel}, strides={steps}, dilations={spreads}")
    ends = _ends(pads, count)
    if min(0, *(end for pair in ends for end in pair)) < 0:
        raise RefusedError(f"with pads={ints(pads, 'pads')}")
    auto = text(auto_pad)
    made = []
    for size, width, step, spread, (left, right) in zip(
        sizes, kernel, steps, spreads, ends, strict=True
    ):
        window = Window(width, step, spread, ceil=ceil)
        if auto == "NOTSET":
            made.append(_Place(replace(window, left=left, right=right)))
        elif auto == "VALID":
            made.append(_Place(window))
        elif auto in ("SAME_UPPER", "SAME_LOWER"):
            made.append(_same(size, replace(window, ceil=False), auto == "SAME_LOWER"))
        else:
            raise RefusedError(f"with auto_pad={auto!r}")
    return made


def _same(size: AnySize, window: Window, lower: bool) -> _Place:
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
        return _Place(replace(window, same=True), turned=lower)
    less, more = total // 2, total - total // 2
    left, right = (more, less) if lower else (less, more)
    return _Place(replace(window, left=left, right=right))


def _along(
    context: Context, tensor: Traced, at: int, function: Callable[[Traced], Traced],
    turned: bool = False,
) -> Traced:  # fmt: skip
    """Apply a function of (B, C, T) along one dim, with all but that and dim 1 beside the batch."""
    if turned:
        tensor = aten(context, "flip", self=tensor, dims=[at])
        made = _along(context, tensor, at, function)
        return aten(context, "flip", self=made, dims=[at])  # type: ignore[no-any-return]
    others = [dim for k, dim in enumerate(tensor.dims) if k not in (1, at)]
    beside = [axis for dim in others for axis in dim if not axis.is_batch and axis.size != 1]
    rows = (context.batch, *beside)
    made = function(tensor.seen_as([rows, tensor.dims[1], tensor.dims[at]]))
    first, channels, time = made.dims
    parts: Sequence[Axis] = first[1:]
    if len(beside) > 1:
        made, parts = split(made, parts[0], [axis.size for axis in beside])
    names = dict(zip(beside, parts, strict=True)) | {context.batch: context.batch}
    dims = [tuple(names[axis] for axis in dim if axis in names) for dim in tensor.dims]
    dims[1], dims[at] = channels, time
    return made.seen_as(dims)


def _image(context: Context, value: Any, count: int | None = None) -> Traced:
    """Return an input (N, C, D1 ...) as floats."""
    tensor = as_float(as_traced(context, value))
    rank = len(tensor.dims)
    if rank < 3 or (count is not None and rank != 2 + count):
        raise RefusedError(f"of an input of {rank} axes, with a kernel of {count}" if count
                           else f"of an input of {rank} axes")  # fmt: skip
    return tensor


def _real(places: Sequence[_Place]) -> list[int]:
    """Return the dims along which there are windows."""
    return [2 + k for k, place in enumerate(places) if not place.trivial]


def _longest(tensor: Traced, dims: Sequence[int]) -> int:
    """Return the dim to take for time: one that varies, else that of the most elements."""
    sizes = {dim: tensor.sizes[dim] for dim in dims}
    varying = [dim for dim, size in sizes.items() if not isinstance(size, int)]
    return varying[0] if varying else max(dims, key=lambda dim: sizes[dim])  # type: ignore[arg-type,return-value]


# ---- Convolution ---------------------------------------------------------------------------------


@operator("Conv")
def conv(
    context: Context, X: Any, W: Any, B: Any = None, *, auto_pad: str = "NOTSET",
    dilations: Any = None, group: int = 1, kernel_shape: Any = None, pads: Any = None,
    strides: Any = None,
) -> Any:  # fmt: skip
    kernel, bias = _kernel(W, kernel_shape, group), _bias(B)
    tensor = _image(context, X, len(kernel.sizes) - 2)
    channels = known(tensor.sizes[1], "the number of channels")
    if channels != group * known(kernel.sizes[1], "") or known(kernel.sizes[0], "") % group:
        raise RefusedError(f"of {channels} channels in {group} groups, by {kernel.sizes}")
    places = _places(
        tensor.sizes[2:], ints(list(kernel.sizes[2:]), "W"), auto_pad, dilations, pads, strides
    )
    return _convolution(context, tensor, kernel, bias, places, group)


def _kernel(value: Any, shape: Any, groups: int) -> Constant:
    """Return the weights of a convolution, whole."""
    array = weights(value, "W")
    if array.ndim < 3 or 0 in array.shape:
        raise RefusedError(f"with weights of shape {array.shape}")
    if shape is not None and ints(shape, "kernel_shape") != list(array.shape[2:]):
        raise RefusedError(f"with kernel_shape={shape} and weights of shape {array.shape}")
    if groups < 1:
        raise RefusedError(f"with group={groups}")
    return Constant.of(array, value.name)


def _bias(value: Any) -> Constant | None:
    if value is None:
        return None
    array = weights(value, "B")
    if array.ndim != 1:
        raise RefusedError(f"with a bias of shape {array.shape}")
    return Constant.of(array, value.name)


def _convolution(
    context: Context, tensor: Traced, kernel: Constant, bias: Constant | None,
    places: Sequence[_Place], groups: int,
) -> Any:  # fmt: skip
    real = _real(places)
    if not real and len(places) > 1 and groups == 1:
        return _pointwise(context, tensor, kernel, bias)
    at = _longest(tensor, real or range(2, 2 + len(places)))
    across = next((dim for dim in real if dim != at), None)
    if across is not None:
        return _across(context, tensor, kernel, bias, places, groups, across)
    place = places[at - 2]
    array = kernel.array.reshape(*kernel.array.shape[:2], place.window.size)
    weight = Constant.of(array[:, :, ::-1] if place.turned else array, kernel.name)

    def function(rows: Traced) -> Traced:
        rows, window = _with_ends(rows, place.window)
        return convolved(context, rows, weight, bias, window, groups)

    return _along(context, tensor, at, function, place.turned)


def _pointwise(context: Context, tensor: Traced, kernel: Constant, bias: Constant | None) -> Any:
    """Every element alone: a product of its channels."""
    last = aten(context, "movedim", self=tensor, source=1, destination=-1)
    weight = Constant.of(kernel.array.reshape(kernel.array.shape[:2]), kernel.name)
    made = aten(context, "linear", input=last, weight=weight, bias=bias)
    return aten(context, "movedim", self=made, source=-1, destination=1)


def _with_ends(rows: Traced, window: Window) -> tuple[Traced, Window]:
    """Let a convolution add the zeros that a layer before it has added."""
    call, time = rows.symbol.call, rows.dims[2]
    if call is None or not isinstance(call.layer, Padding1D) or window.same:
        return rows, window
    layer = call.layer
    ends = (layer.left, layer.right)
    if layer.mode not in ("zero", "constant") or layer.value != 0 or min(ends) < 0:
        return rows, window
    if len(time) != 1 or time[0] is not rows.axes[1]:
        return rows, window
    before = Axis(time[0].size - sum(ends))
    axes = (rows.axes[0], before, *rows.axes[2:])
    rows = Traced(call.inputs[0], axes, (*rows.dims[:2], (before,)), rows.dtype)
    return rows, replace(window, left=window.left + ends[0], right=window.right + ends[1])


def _across(
    context: Context, tensor: Traced, kernel: Constant, bias: Constant | None,
    places: Sequence[_Place], groups: int, at: int,
) -> Any:  # fmt: skip
    """Make one axis of the windows channels, or, of channels by themselves, a sum of its rows."""
    window = places[at - 2].window
    pieces = _rows(context, tensor, at, places[at - 2])
    rest = [_Place(Window(1)) if k == at - 2 else place for k, place in enumerate(places)]
    array = kernel.array
    if groups > 1 and array.shape[1] == 1:
        made = [
            _convolution(
                context, _rows_back(context, piece, at),
                Constant.of(array.take([k], axis=at), kernel.name), None if k else bias, rest,
                groups,
            )
            for k, piece in enumerate(pieces)
        ]  # fmt: skip
        return merged(context, Add(), *made)
    filters, each = array.shape[:2]
    array = np.moveaxis(array, at, 1)  # (F, k, C/g, ...)
    array = np.expand_dims(array.reshape(filters, window.size * each, *array.shape[3:]), at)
    tensor = _rows_back(context, _side_by_side(context, pieces, groups), at)
    return _convolution(context, tensor, Constant.of(array, kernel.name), bias, rest, groups)


def _rows(context: Context, tensor: Traced, at: int, place: _Place) -> list[Traced]:
    """Return the first elements of all windows along a dim, the second ..., as (N, Dat, ..., C)."""
    window, size = place.window, tensor.sizes[at]
    if window.same:
        raise RefusedError(f"with auto_pad, of an axis {at} that varies beside another")
    count = window.count(size)
    if isinstance(count, int) and count < 1:
        raise RefusedError(f"of {size} elements along axis {at}, fewer than a window has")
    rows = aten(context, "permute", self=tensor, dims=_rows_first(len(tensor.dims), at))
    return _pieces(context, rows, window, at)


def _pieces(context: Context, rows: Traced, window: Window, at: int) -> list[Traced]:
    """Return the first elements of all windows along dim 1, the second ...; at: its name."""
    if window.size > _MOST_ROWS:
        raise RefusedError(f"with windows of {window.size} along axis {at} beside another")
    ends = [0] * (2 * len(rows.dims) - 4) + [window.left, window.right]
    count = window.count(rows.sizes[1])
    rows = aten(context, "pad", self=rows, pad=ends)
    made = []
    for first in range(0, window.reach + 1, window.spread):
        last = first + (count - 1) * window.step + 1
        options = {"dim": 1, "start": first, "end": last, "step": window.step}
        made.append(aten(context, "slice", self=rows, **options))
    return made


def _rows_first(rank: int, at: int) -> list[int]:
    """Return the order in which rows are computed: channels last."""
    return [0, at, *(k for k in range(2, rank) if k != at), 1]


def _rows_back(context: Context, tensor: Traced, at: int) -> Traced:
    order = _rows_first(len(tensor.dims), at)
    dims = [order.index(k) for k in range(len(order))]
    return aten(context, "permute", self=tensor, dims=dims)  # type: ignore[no-any-return]


def _side_by_side(context: Context, pieces: Sequence[Traced], groups: int) -> Any:
    """Return (..., groups, pieces, C/groups) as one last dim of several (..., C)."""
    sizes = [groups, known(pieces[0].sizes[-1], "the number of channels") // groups]
    apart = [aten(context, "unflatten", self=each, dim=-1, sizes=sizes) for each in pieces]
    joined = aten(context, "cat", tensors=apart, dim=-1)
    return aten(context, "flatten", self=joined, start_dim=-2, end_dim=-1)


# ---- Transposed convolution ----------------------------------------------------------------------


@operator("ConvTranspose")
def conv_transpose(
    context: Context, X: Any, W: Any, B: Any = None, *, auto_pad: str = "NOTSET",
    dilations: Any = None, group: int = 1, kernel_shape: Any = None, output_padding: Any = None,
    output_shape: Any = None, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    kernel, bias = _kernel(W, kernel_shape, group), _bias(B)
    widths = kernel.array.shape[2:]
    count = len(widths)
    tensor = _image(context, X, count)
    if tensor.sizes[1] != len(kernel.array) or len(kernel.array) % group:
        raise RefusedError(f"of {tensor.sizes[1]} channels, by weights of {kernel.array.shape}")
    places = _places(tensor.sizes[2:], widths, "VALID", dilations, None, strides)
    more = _each(output_padding, "output_padding", count, 0)
    ends = [
        _cut(place.window, size, add, pair, text(auto_pad), wanted)
        for place, size, add, pair, wanted in zip(
            places,
            tensor.sizes[2:],
            more,
            _ends(pads, count),
            _shape(output_shape, count),
            strict=True,
        )
    ]
    axes = [_Spread(place.window, *pair) for place, pair in zip(places, ends, strict=True)]
    return _transposed(context, tensor, kernel, bias, axes, group)


@dataclass(frozen=True)
class _Spread:
    """What windows add up to along one axis.

    Attributes
    ----------
    window : Window
    crop : int
        Elements cut off at the start.
    tail : int
        There are (n - 1) * step + tail.
    """

    window: Window
    crop: int
    tail: int

    @property
    def trivial(self) -> bool:
        return self.window.size == self.window.step == self.tail == 1 and self.crop == 0


def _shape(value: Any, count: int) -> list[int | None]:
    numbers = [] if value is None else ints(value, "output_shape")
    if len(numbers) not in (0, count, count + 2):
        raise RefusedError(f"with output_shape={numbers} of {count} axes")
    return [*numbers[-count:]] or [None] * count


def _cut(
    window: Window, size: AnySize, more: int, pads: tuple[int, int], auto: str, wanted: int | None
) -> tuple[int, int]:
    """Return how much is cut off at the start, and the tail."""
    full = window.reach + 1 + more  # of what is not cut
    if more < 0:
        raise RefusedError(f"with output_padding={more}")
    if wanted is not None:
        tail = wanted - (known(size, "with output_shape, a size") - 1) * window.step
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        tail = window.step
    elif auto in ("NOTSET", "VALID"):
        left, right = pads if auto == "NOTSET" else (0, 0)
        return left, full - left - right
    else:
        raise RefusedError(f"with auto_pad={auto!r}")
    total = max(0, full - tail)
    return total // 2 if auto == "SAME_UPPER" else total - total // 2, tail


def _transposed(
    context: Context, tensor: Traced, kernel: Constant, bias: Constant | None,
    axes: Sequence[_Spread], groups: int,
) -> Any:  # fmt: skip
    real = [2 + k for k, axis in enumerate(axes) if not axis.trivial]
    at = _longest(tensor, real or range(2, 2 + len(axes)))
    across = next((dim for dim in real if dim != at), None)
    if across is not None:
        return _transposed_across(context, tensor, kernel, bias, axes, groups, across)
    (window, crop, tail), array = _alone(axes[at - 2], kernel.array)
    weight = Constant.of(array, kernel.name)
    less = max(0, 1 - tail)  # what no window reaches is cut off behind

    def function(rows: Traced) -> Traced:
        return unfolded(context, rows, weight, bias, window, crop, tail + less, groups)

    made = _along(context, tensor, at, function)
    if less:
        made = aten(context, "slice", self=made, dim=at, end=made.sizes[at] - less)
    return made


def _transposed_across(
    context: Context, tensor: Traced, kernel: Constant, bias: Constant | None,
    axes: Sequence[_Spread], groups: int, at: int,
) -> Any:  # fmt: skip
    """Make one axis channels: what adds to an element is a window of what has zeros between."""
    axis = axes[at - 2]
    window, step = axis.window, axis.window.step
    size = known(tensor.sizes[at], f"the size of axis {at} beside another")
    rows = aten(context, "permute", self=tensor, dims=_rows_first(len(tensor.dims), at))
    if step > 1:
        rows = aten(context, "unsqueeze", self=rows, dim=2)
        rows = aten(context, "pad", self=rows, pad=[0] * (2 * len(rows.dims) - 6) + [0, step - 1])
        rows = aten(context, "flatten", self=rows, start_dim=1, end_dim=2)
        rows = aten(context, "slice", self=rows, dim=1, start=0, end=(size - 1) * step + 1)
    left, right = window.reach - axis.crop, axis.tail - 1 + axis.crop
    pieces = _pieces(context, rows, Window(window.size, 1, window.spread, left, right), at)
    array = np.flip(np.moveaxis(kernel.array, at, 0), 0)  # (k, C, F/g, ...)
    apart = array.reshape(len(array), groups, -1, *array.shape[2:])
    array = apart.swapaxes(0, 1).reshape(-1, *array.shape[2:])  # as channels stand side by side
    rest = [_Spread(Window(1), 0, 1) if k == at - 2 else each for k, each in enumerate(axes)]
    tensor = _rows_back(context, _side_by_side(context, pieces, groups), at)
    weight = Constant.of(np.expand_dims(array, at), kernel.name)
    return _transposed(context, tensor, weight, bias, rest, groups)


def _alone(axis: _Spread, kernel: Array) -> tuple[tuple[Window, int, int], Array]:
    """Return windows that either step or are spread, with the kernel (C, F/groups, k)."""
    window, array = axis.window, kernel.reshape(*kernel.shape[:2], axis.window.size)
    if window.step > 1 and window.spread > 1:
        wide = np.zeros((*array.shape[:2], window.reach + 1), np.float32)
        wide[:, :, :: window.spread] = array
        window, array = Window(window.reach + 1, window.step), wide
    return (window, axis.crop, axis.tail), array


# ---- Pooling -------------------------------------------------------------------------------------


@operator("MaxPool")
def max_pool(
    context: Context, X: Any, *, auto_pad: str = "NOTSET", ceil_mode: int = 0,
    dilations: Any = None, kernel_shape: Any, pads: Any = None, storage_order: int = 0,
    strides: Any = None,
) -> Any:  # fmt: skip
    del storage_order  # of the indices
    if context.wanted(1):
        raise RefusedError("with the indices of what it takes")
    tensor = _image(context, X, len(kernel_shape))
    places = _places(
        tensor.sizes[2:], ints(kernel_shape, "kernel_shape"), auto_pad, dilations, pads, strides,
        bool(ceil_mode),
    )  # fmt: skip
    return (_pooled(context, tensor, places, _most),)


_Pooling = Callable[[Context, Traced, Window], Traced]


def _pooled(context: Context, tensor: Traced, places: Sequence[_Place], function: _Pooling) -> Any:
    """Pool along one axis after the other: windows are boxes."""
    for at in _real(places):
        place = places[at - 2]
        pooling = _of_window(context, function, place.window)
        tensor = _along(context, tensor, at, pooling, place.turned)
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
    tensor = _image(context, X, len(kernel_shape))
    places = _places(
        tensor.sizes[2:], ints(kernel_shape, "kernel_shape"), auto_pad, dilations, pads, strides,
        bool(ceil_mode),
    )  # fmt: skip
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
    starts = np.arange(known(whole.count(size), "")) * window.step - window.left
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
    tensor = _image(context, X, len(kernel_shape))
    places = _places(
        tensor.sizes[2:], ints(kernel_shape, "kernel_shape"), auto_pad, dilations, pads, strides,
        bool(ceil_mode),
    )  # fmt: skip
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
        tensor = _image(context, X)
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
    ends = _ends(ints(pads, "pads"), len(where))
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
