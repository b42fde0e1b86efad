"""What moves elements without a look at them, and the sizes of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...aten.arguments import as_traced, dim_of, few, known
from ...aten.operators.picking import picked, place
from ...aten.operators.shapes import alone, sliced
from ...aten.sizes import AnySize, Size, divided, product, quotient, symbol
from ...aten.tensors import Constant, RefusedError, Traced
from .table import Context, aten, ints, operator, shape, sizes, vector

_ENDLESS = (1 << 31) - 1  # what exporters write for "to the end", or more


@operator("Identity")
def identity(context: Context, input: Any) -> Any:
    del context
    return input


# ---- Sizes ---------------------------------------------------------------------------------------


@operator("Shape")
def shape_of(context: Context, data: Any, *, start: int = 0, end: int | None = None) -> Any:
    return vector(_sizes_of(context, data)[start:end])


@operator("Size")
def size_of(context: Context, data: Any) -> Any:
    total = vector([product(_sizes_of(context, data))])
    return Constant.of(total.array.reshape(()))


def _sizes_of(context: Context, data: Any) -> list[AnySize]:
    """Return the shape of a value.

    Where sizes have met that no rule of a call can say to be equal (of a sum of names), one might
    be 1, and repeated, and the size be the other.
    """
    for axis in (axis for dim in getattr(data, "dims", ()) for axis in dim):
        met = sorted(map(str, (axis.size, *axis.alike)))
        known = isinstance(axis.size, int) or len(met) == 1
        if not known and not context.size_names.issuperset(met):
            raise RefusedError(f"of a size that may be {' or '.join(met)}")
    return list(shape(data))


# ---- Views ---------------------------------------------------------------------------------------


@operator("Reshape")
def reshape(context: Context, data: Any, shape: Any, *, allowzero: int = 0) -> Any:
    wanted, own = sizes(shape, "shape"), data.sizes
    if not allowzero:
        if any(size == 0 and k >= len(own) for k, size in enumerate(wanted)):
            raise RefusedError(f"keeps a size of {len(own)} that is not there")
        wanted = [own[k] if size == 0 else size for k, size in enumerate(wanted)]
    _settle(context, own, wanted)
    return aten(context, "view", self=data, size=wanted)


def _settle(context: Context, own: Sequence[AnySize], wanted: Sequence[AnySize]) -> None:
    """Note sizes that vary and that a Reshape says to be numbers, as far as both say the same."""
    for size, found in zip(wanted, own, strict=False):
        if not isinstance(found, int) and isinstance(size, int) and size > 0:
            context.settle(found, size)
        if size != found and (size != -1 or len(wanted) != len(own)):
            break


@operator("Flatten")
def flatten(context: Context, input: Any, *, axis: int = 1) -> Any:
    own = shape(input)
    at = len(own) if axis == len(own) else dim_of(axis, len(own))
    if isinstance(input, Traced):
        halves = (input.dims[:at], input.dims[at:])
        return input.seen_as(tuple(axis for dim in half for axis in dim) for half in halves)
    return aten(context, "view", self=input, size=[product(own[:at]), product(own[at:])])


@operator("Transpose")
def transpose(context: Context, data: Any, *, perm: Sequence[int] | None = None) -> Any:
    rank = len(shape(data))
    order = range(rank)[::-1] if perm is None else perm
    if sorted(order) != list(range(rank)):
        raise RefusedError(f"perm={perm} of {rank} axes")
    return aten(context, "permute", self=data, dims=list(order))


@operator("Squeeze")
def squeeze(context: Context, data: Any, axes: Any = None) -> Any:
    own = shape(data)
    if axes is None:
        varying = [size for size in own if not isinstance(size, int)]
        if varying:
            raise RefusedError(f"without axes, of a size, {varying[0]}, that may be 1")
        gone = [at for at, size in enumerate(own) if size == 1]
    else:
        gone = [dim_of(axis, len(own)) for axis in ints(axes, "axes")]
    for at in gone:
        if own[at] != 1:
            raise RefusedError(f"axis {at} is of size {own[at]}, not 1")
    return aten(context, "squeeze", self=data, dim=gone) if gone else data


@operator("Unsqueeze")
def unsqueeze(context: Context, data: Any, axes: Any = None) -> Any:
    wanted = ints(axes, "axes")
    rank = len(shape(data)) + len(wanted)
    places = sorted(dim_of(axis, rank) for axis in wanted)
    if len(set(places)) < len(places):
        raise RefusedError(f"axes {wanted}, of which two are the same")
    for at in places:
        data = aten(context, "unsqueeze", self=data, dim=at)
    return data


# ---- Repeating -----------------------------------------------------------------------------------


@operator("Expand")
def expand(context: Context, input: Any, shape: Any) -> Any:
    wanted = sizes(shape, "shape")
    own = list(input.sizes)
    more = len(wanted) - len(own)
    wanted = [*[1] * -more, *wanted]
    own = [*[1] * more, *own]
    target = [_broadcast(*pair) for pair in zip(own, wanted, strict=True)]
    made = aten(context, "expand", self=input, size=target)
    return _in_rows(context, made, own, target)


def _broadcast(own: AnySize, wanted: AnySize) -> AnySize:
    """Return a size that a tensor of this one has when it is expanded: one may be 1."""
    if wanted in (1, own):
        return own
    if own == 1:
        return wanted
    if isinstance(own, int) and isinstance(wanted, Size):
        return own  # it is 1 or the same
    raise RefusedError(f"a size of {own} as {wanted}")


def _in_rows(context: Context, made: Any, own: Sequence[AnySize], target: Sequence[AnySize]) -> Any:
    """Return what was repeated for as many rows as the batch as a row each."""
    if not isinstance(made, Traced) or made.batch_dim is not None:
        return made
    size = context.batch.size
    dims = list(made.dims)
    for at, (before, now) in enumerate(zip(own, target, strict=True)):
        if isinstance(size, Size) and before == 1 and now == size:
            dims[at] = (context.batch,)
            return made.seen_as(dims)
    return made


@operator("Tile")
def tile(context: Context, input: Any, repeats: Any) -> Any:
    times = sizes(repeats, "repeats")
    if len(times) != len(shape(input)):
        raise RefusedError(f"{len(times)} repeats of {len(shape(input))} axes")
    least = 0 if isinstance(input, Constant) else 1
    if any(isinstance(count, int) and count < least for count in times):
        raise RefusedError(f"repeats of {times}")
    if isinstance(input, Constant) or sum(count != 1 for count in times) < 2:
        return aten(context, "repeat", self=input, repeats=times)
    for at, count in enumerate(times):  # one after the other: each is an axis more for a while
        if count != 1:
            alone_here = [count if k == at else 1 for k in range(len(times))]
            input, _ = alone(aten(context, "repeat", self=input, repeats=alone_here), at)
    return input


# ---- Joining -------------------------------------------------------------------------------------


@operator("Concat")
def concat(context: Context, *inputs: Any, axis: int) -> Any:
    at = dim_of(axis, len(shape(inputs[0])))
    if any(len(shape(each)) != len(shape(inputs[0])) for each in inputs):
        raise RefusedError("of inputs of different ranks")
    kept = [each for each in inputs if shape(each)[at] != 0] or [inputs[0]]
    if len(kept) == 1:
        return kept[0]
    return _joined(kept, at) or aten(context, "cat", tensors=kept, dim=at)


def _joined(inputs: Sequence[Any], at: int) -> Constant | None:
    """Return constants that repeat along sizes that vary, joined along another; else None."""
    if not all(isinstance(each, Constant) for each in inputs):
        return None
    sizes = [each.sizes[at] for each in inputs]
    arrays = [each.array for each in inputs]
    if all(array.size == 1 for array in arrays) and len({array.item() for array in arrays}) == 1:
        total = sum(sizes[1:], sizes[0])
        return Constant(arrays[0], (*inputs[0].sizes[:at], total, *inputs[0].sizes[at + 1 :]))
    return None


@operator("SequenceConstruct")
def sequence(context: Context, *inputs: Any) -> Any:
    del context
    return list(inputs)


@operator("SequenceAt")
def of_sequence(context: Context, input_sequence: Any, position: Any) -> Any:
    del context
    (at,) = ints(position, "position")
    return _listed(input_sequence)[at]


@operator("ConcatFromSequence")
def joined_sequence(context: Context, input_sequence: Any, *, axis: int, new_axis: int = 0) -> Any:
    parts = _listed(input_sequence)
    if new_axis:
        at = dim_of(axis, len(shape(parts[0])) + 1)
        parts = [aten(context, "unsqueeze", self=part, dim=at) for part in parts]
    return concat(context, *parts, axis=axis)


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise RefusedError("of a sequence that no node here makes")
    return value


# ---- Parts ---------------------------------------------------------------------------------------


@operator("Slice")
def cut(
    context: Context, data: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None
) -> Any:
    first, last = sizes(starts, "starts"), sizes(ends, "ends")
    where = list(range(len(first))) if axes is None else ints(axes, "axes")
    by = [1] * len(first) if steps is None else ints(steps, "steps")
    rank = len(shape(data))
    for axis, start, end, step in zip(where, first, last, by, strict=True):
        data = part(context, data, dim_of(axis, rank), start, end, step)
    return data


def part(context: Context, value: Any, at: int, start: AnySize, end: AnySize, step: int = 1) -> Any:
    """Return value[start:end:step] of one axis, counted as ONNX's Slice does."""
    size = shape(value)[at]
    if step == 0:
        raise RefusedError("with step 0")
    if step < 0:
        value = flipped(context, value, at)
        start, end, step = _mirrored(start, size), _mirrored(end, size), -step
    begin, stop = _bound(start, size), _bound(end, size)
    if begin == 0 and stop is None and step == 1:
        return value
    count = 0 if begin is None else _between(context, size, begin, stop)
    left = quotient(count + (step - 1), step)
    sizes = (*shape(value)[:at], left, *shape(value)[at + 1 :])
    if left == 0:
        return nothing(value, sizes)
    if left == size and isinstance(size, int):  # of one element, by whatever steps
        return value
    if isinstance(value, Traced):
        return sliced(value, at, begin, stop, step, left)
    array = value.array
    if array.shape[at] == size:
        array = array[(slice(None),) * at + (slice(begin, stop, step),)]
    return Constant(array, sizes)


def nothing(value: Any, sizes: Sequence[AnySize]) -> Constant:
    """Return a tensor without elements, of the dtype of another."""
    kind = {"int64": np.int64, "bool": np.bool_}.get(value.dtype, np.float32)
    return Constant(np.zeros([1] * len(sizes), kind), tuple(sizes))


def _mirrored(place: AnySize, size: AnySize) -> AnySize:
    """Return where a place is in an axis that is turned round: the last one is 0."""
    if isinstance(place, Size):
        return size - place - 1
    return -place - 1


def _bound(place: AnySize, size: AnySize) -> int | None:
    """Return a bound as Python takes it, below 0 from the end; None is the end itself."""
    if isinstance(size, int):
        inside = max(0, known(place, "a bound") + (size if known(place, "a bound") < 0 else 0))
        return None if inside >= size else inside
    if isinstance(place, Size):
        from_end = place - size
        if not isinstance(from_end, int) or from_end > 0:
            raise RefusedError(f"to {place} of an axis of {size}")
        return from_end or None
    if place >= _ENDLESS:
        return None
    return max(place, -_ENDLESS) if place > -_ENDLESS else 0


def _between(context: Context, size: AnySize, begin: int, stop: int | None) -> AnySize:
    """Return how many elements are between two bounds of an axis."""
    if isinstance(size, int):
        return len(range(size)[begin:stop])
    if begin >= 0 and (stop is None or stop < 0):
        context.bound(size, begin - (stop or 0))
        return size + ((stop or 0) - begin)
    if begin < 0 <= (0 if stop is None else stop):
        if stop is not None:
            raise RefusedError(f"from {begin} to {stop} of an axis of {size}")
        return _exactly(context, size, -begin, -begin)
    assert stop is not None
    count = max(0, stop - begin)
    if begin < 0:
        return _exactly(context, size, count, -begin)
    if count == 1:
        return _exactly(context, size, 1, stop)
    context.bound(size, begin)
    return symbol(f"min({size}, {stop})") - begin if count else 0


def _exactly(context: Context, size: AnySize, count: int, least: int) -> AnySize:
    """Return a count that there is in an axis that is long enough; only such may be given."""
    if context.bound(size, least) or count <= 1:
        return count
    return symbol(f"min({size}, {count})")


def flipped(context: Context, value: Any, at: int) -> Any:
    if isinstance(value, Constant) and value.array.shape[at] == 1:
        return value
    return aten(context, "flip", self=value, dims=[at])


@operator("Split")
def split(
    context: Context, input: Any, split: Any = None, *, axis: int = 0,
    num_outputs: int | None = None,
) -> Any:  # fmt: skip
    at = dim_of(axis, len(shape(input)))
    size = shape(input)[at]
    if split is None:
        count = few(context.made if num_outputs is None else num_outputs, "parts")
        lengths = _even(size, count)
    else:
        lengths = sizes(split, "split")
        if not _fits(context, size, lengths):
            raise RefusedError(f"a size of {size} into {lengths}")
    made: list[Any] = []
    start: AnySize = 0
    for length in lengths:
        made.append(part(context, input, at, start, start + length))
        start = start + length
    return tuple(made)


def _even(size: AnySize, count: int) -> list[AnySize]:
    """Return the sizes of so many parts, of which the last may be smaller."""
    if isinstance(size, int):
        each = -(-size // count)
        return [max(0, min(each, size - at * each)) for at in range(count)]
    one = divided(size, count)
    if one is None:
        raise RefusedError(f"{count} parts of a size of {size}")
    return [one] * count


def _fits(context: Context, size: AnySize, lengths: Sequence[AnySize]) -> bool:
    total: AnySize = sum(lengths[1:], lengths[0])
    return total == size or (isinstance(total, int) and context.bound(size, total, total))


# ---- Turned round --------------------------------------------------------------------------------


@operator("ReverseSequence")
def reverse_sequence(
    context: Context, input: Any, sequence_lens: Any, *, batch_axis: int = 1, time_axis: int = 0
) -> Any:
    rank = len(shape(input))
    time, rows = dim_of(time_axis, rank), dim_of(batch_axis, rank)
    if time == rows:
        raise RefusedError("time is the batch")
    size = shape(input)[time]
    if isinstance(sequence_lens, Constant) and all(
        length == size for length in sequence_lens.array.reshape(-1).tolist()
    ):
        return flipped(context, input, time)
    if isinstance(input, Traced) and input.batch in input.dims[time]:
        raise RefusedError("rows of the batch change places")
    tensor, lengths = as_traced(context, input), as_traced(context, sequence_lens)
    lengths = lengths.seen_as(lengths.dims[0] if k == rows else () for k in range(rank))
    places = place(context, tensor, time, rank)
    turned = aten(context, "sub", self=aten(context, "sub", self=lengths, other=1), other=places)
    inside = aten(context, "lt", self=places, other=lengths)
    index = aten(context, "where", condition=inside, self=turned, other=places)
    wide = aten(context, "unsqueeze", self=tensor, dim=time + 1)
    made = picked(context, wide, time, aten(context, "unsqueeze", self=index, dim=time))
    return made.seen_as(dim for k, dim in enumerate(made.dims) if k != time)
