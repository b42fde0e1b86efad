"""Conv and ConvTranspose, of any number of axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....layers import Add, Padding1D
from ...aten.arguments import known
from ...aten.operators.elementwise import merged
from ...aten.operators.windows import Window, convolved, unfolded
from ...aten.sizes import AnySize
from ...aten.tensors import Axis, Constant, RefusedError, Traced
from .table import Context, aten, ints, operator, weights
from .windows import Place, along, image, longest, moving, padding_named, pairs, per_axis, placed

Array = NDArray[Any]
_MOST_WEIGHTS = 1 << 24  # that are made here
_MOST_SPREAD = 1 << 12  # elements of a window that is written out with zeros in between
_MOST_ROWS = 64  # elements of a window along an axis that is made channels


# ---- Convolution ---------------------------------------------------------------------------------


@operator("Conv")
def conv(
    context: Context, X: Any, W: Any, B: Any = None, *, auto_pad: str = "NOTSET",
    dilations: Any = None, group: int = 1, kernel_shape: Any = None, pads: Any = None,
    strides: Any = None,
) -> Any:  # fmt: skip
    kernel, bias = _kernel(W, kernel_shape, group), _bias(B)
    tensor = image(context, X, len(kernel.sizes) - 2)
    channels = known(tensor.sizes[1], "the number of channels")
    if channels != group * known(kernel.sizes[1], "") or known(kernel.sizes[0], "") % group:
        raise RefusedError(f"of {channels} channels in {group} groups, by {kernel.sizes}")
    places = placed(
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
    places: Sequence[Place], groups: int,
) -> Any:  # fmt: skip
    real = moving(places)
    if not real and len(places) > 1 and groups == 1:
        return _pointwise(context, tensor, kernel, bias)
    at = longest(tensor, real or range(2, 2 + len(places)))
    across = next((dim for dim in real if dim != at), None)
    if across is not None:
        return _across(context, tensor, kernel, bias, places, groups, across)
    place = places[at - 2]
    array = kernel.array.reshape(*kernel.array.shape[:2], place.window.size)
    weight = Constant.of(array[:, :, ::-1] if place.turned else array, kernel.name)

    def function(rows: Traced) -> Traced:
        rows, window = _with_ends(rows, place.window)
        return convolved(context, rows, weight, bias, window, groups)

    return along(context, tensor, at, function, place.turned)


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
    places: Sequence[Place], groups: int, at: int,
) -> Any:  # fmt: skip
    """Make one axis of the windows channels, or, of channels by themselves, a sum of its rows."""
    window = places[at - 2].window
    pieces = _rows(context, tensor, at, places[at - 2])
    rest = [Place(Window(1)) if k == at - 2 else place for k, place in enumerate(places)]
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
        made = [_rows_first(context, each, at) for each in made]
        total = made[0] if len(made) == 1 else merged(context, Add(), *made)
        return _rows_back(context, total, at)
    filters, each = array.shape[:2]
    array = np.moveaxis(array, at, 1)  # (F, k, C/g, ...)
    array = np.expand_dims(array.reshape(filters, window.size * each, *array.shape[3:]), at)
    tensor = _rows_back(context, _side_by_side(context, pieces, groups), at)
    return _convolution(context, tensor, Constant.of(array, kernel.name), bias, rest, groups)


def _rows(context: Context, tensor: Traced, at: int, place: Place) -> list[Traced]:
    """Return the first elements of all windows along a dim, the second ..., as (N, Dat, ..., C)."""
    window, size = place.window, tensor.sizes[at]
    if window.same:
        raise RefusedError(f"with auto_pad, of an axis {at} that varies beside another")
    count = window.count(size)
    if isinstance(count, int) and count < 1:
        raise RefusedError(f"of {size} elements along axis {at}, fewer than a window has")
    rows = _rows_first(context, tensor, at)
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


def _order(rank: int, at: int) -> list[int]:
    """Return the order in which rows are computed: channels last."""
    return [0, at, *(k for k in range(2, rank) if k != at), 1]


def _rows_first(context: Context, tensor: Traced, at: int) -> Traced:
    """Return (N, Dat, ..., C), which lies so in memory."""
    dims = _order(len(tensor.dims), at)
    rows: Traced = aten(context, "permute", self=tensor, dims=dims)
    rows = rows.seen_as(
        tuple(axis for axis in dim if axis.size != 1 or axis.is_batch) for dim in rows.dims
    )
    symbol, axes = rows.apart()
    return replace(rows, symbol=symbol, axes=axes)


def _rows_back(context: Context, tensor: Traced, at: int) -> Traced:
    order = _order(len(tensor.dims), at)
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
    tensor = image(context, X, count)
    if tensor.sizes[1] != len(kernel.array) or len(kernel.array) % group:
        raise RefusedError(f"of {tensor.sizes[1]} channels, by weights of {kernel.array.shape}")
    windows = placed(tensor.sizes[2:], widths, "VALID", dilations, None, strides)
    more = per_axis(output_padding, "output_padding", count, 0)
    given = pairs(pads, count)
    auto = padding_named(auto_pad, given)
    if min(0, *more, *(end for pair in given for end in pair)) < 0:
        raise RefusedError(f"with pads={pads}, output_padding={more}")
    ends = [
        _cut(place.window, size, add, pair, auto, wanted)
        for place, size, add, pair, wanted in zip(
            windows, tensor.sizes[2:], more, given, _shape(output_shape, count), strict=True
        )
    ]
    axes = [_Spread(place.window, *pair) for place, pair in zip(windows, ends, strict=True)]
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
    if wanted is not None:
        tail = wanted - (known(size, "with output_shape, a size") - 1) * window.step
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        tail = window.step
        if full < tail:
            raise RefusedError(f"with auto_pad={auto!r} and strides longer than a window")
    else:
        return pads[0], full - sum(pads)
    total = max(0, full - tail)  # past what windows reach there is the bias alone
    return total // 2 if auto == "SAME_UPPER" else total - total // 2, tail


def _transposed(
    context: Context, tensor: Traced, kernel: Constant, bias: Constant | None,
    axes: Sequence[_Spread], groups: int,
) -> Any:  # fmt: skip
    real = [2 + k for k, axis in enumerate(axes) if not axis.trivial]
    at = longest(tensor, real or range(2, 2 + len(axes)))
    across = next((dim for dim in real if dim != at), None)
    if across is not None:
        return _transposed_across(context, tensor, kernel, bias, axes, groups, across)
    (window, crop, tail), array = _alone(axes[at - 2], kernel.array)
    weight = Constant.of(array, kernel.name)
    less = max(0, 1 - tail)  # what no window reaches is cut off behind

    def function(rows: Traced) -> Traced:
        return unfolded(context, rows, weight, bias, window, crop, tail + less, groups)

    made = along(context, tensor, at, function)
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
    rows = _rows_first(context, tensor, at)
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
        if window.reach >= _MOST_SPREAD or array[:, :, 0].size * window.reach > _MOST_WEIGHTS:
            raise RefusedError(f"with strides and with dilations of {window.spread}")
        wide = np.zeros((*array.shape[:2], window.reach + 1), np.float32)
        wide[:, :, :: window.spread] = array
        window, array = Window(window.reach + 1, window.step), wide
    return (window, axis.crop, axis.tail), array
