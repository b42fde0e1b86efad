"""Tensors of a program as values of ours: which axis of torch's is which axis of a value.

torch moves axes about: time first, channels first, heads beside the batch, batch and time in one.
Here the batch is always axis 0. So a `Traced` remembers of every dim of torch's which axes of the
value it is made of, in order: none for a size of 1, several where torch has joined them. transpose,
view, unsqueeze and the like then compute nothing, and only who needs an order asks for it
(`arranged`). Two transposes cancel out, and a batch that was joined with something is still known.

Nothing here knows an operator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...layers import Add, Positions, Rearrange, Rescaling, Symbol
from ...layers.shapes import Step, expand, reshape
from .sizes import AnySize, Size, divided, product

__all__ = [
    "Axis", "Constant", "Dims", "Memory", "RefusedError", "Traced", "matched", "split",
    "told_sizes", "viewed",
]  # fmt: skip


class RefusedError(Exception):
    """What an operator does cannot be said in a graph; the message says why."""


@dataclass(eq=False)
class Axis:
    """An axis, the same object wherever the same axis is meant.

    Attributes
    ----------
    size : int or Size
    is_batch : bool
    holder : Traced, optional
        A value that has an axis of this size, of an axis that is only repeated (`expand`).
    alike : frozenset of Size
        Sizes of other names that it was taken to be equal to, where tensors met.
    """

    size: AnySize
    is_batch: bool = False
    holder: Traced | None = field(default=None, repr=False)
    alike: frozenset[Size] = frozenset()


Dims = tuple[tuple[Axis, ...], ...]

_MOST_DIMS = 64  # torch's own bound
_MOST_REPEATED = 1 << 24  # numbers of a constant that are more than it stores


class Memory:
    """An array as a key: equal for the same memory seen alike, which it keeps alive."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self.place = (array.ctypes.data, array.shape, array.strides, array.dtype)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Memory) and self.place == other.place

    def __hash__(self) -> int:
        return hash(self.place)


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that does not depend on the inputs.

    Attributes
    ----------
    array : array
        Has size 1 where it repeats, so that sizes need not be known.
    sizes : tuple of (int or Size)
        torch's shape.
    name : str or None
        In the state_dict, of a parameter as it stands there.
    """

    array: NDArray[Any]
    sizes: tuple[AnySize, ...]
    name: str | None = None

    @classmethod
    def of(cls, array: Any, name: str | None = None) -> Constant:
        array = np.asarray(array)
        return cls(array, array.shape, name)

    @property
    def dtype(self) -> str:
        return str(self.array.dtype)

    @property
    def key(self) -> Memory:
        """Equal for constants that are the same numbers in memory."""
        return Memory(self.array)

    def full(self) -> NDArray[Any]:
        """Return the whole array, read-only.

        Raises
        ------
        RefusedError
            A size varies, or there are far more numbers than are stored.
        """
        if not all(isinstance(size, int) for size in self.sizes):
            raise RefusedError("a constant of a size that varies")
        total = product(self.sizes)
        if not isinstance(total, int) or total > max(_MOST_REPEATED, self.array.size):
            raise RefusedError("of too many elements")
        return np.broadcast_to(self.array, self.sizes)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Traced:
    """A tensor that depends on the inputs.

    Attributes
    ----------
    symbol : Symbol
    axes : tuple of Axis
        Of the symbol, the batch first. Some of size 1 may stand in no dim.
    dims : tuple of tuples of Axis
        What each of torch's dims is made of, the outermost first. An axis that the symbol does not
        have repeats.
    dtype : "float32", "int64" or "bool"
        torch's; "bool" is float32 of 0 and 1 in ours.
    root : object
        The same for a tensor and its views, of which torch may change one through the other.
    mask : Symbol, optional
        Which of its frames a recurrent operator takes, (B, T) of 0 and 1.
    whole : (Symbol, Symbol, tuple of tuples of Axis), optional
        A symbol of which an axis was divided, as it is divided and as it was, and what the latter's
        axes are now: who joins them again takes it as it was.

    The batch's axis is one object in all tensors of a program.
    """

    symbol: Symbol
    axes: tuple[Axis, ...]
    dims: Dims
    dtype: str = "float32"
    root: object = field(default_factory=object)
    mask: Symbol | None = None
    whole: tuple[Symbol, Symbol, Dims] | None = None

    def __post_init__(self) -> None:
        if len(self.dims) > _MOST_DIMS or sum(map(len, self.dims)) > _MOST_DIMS:
            raise RefusedError(f"of more than {_MOST_DIMS} dims")

    @property
    def sizes(self) -> tuple[AnySize, ...]:
        """torch's shape."""
        return tuple(product(axis.size for axis in dim) for dim in self.dims)

    @property
    def batch(self) -> Axis:
        return self.axes[0]

    @property
    def batch_dim(self) -> int | None:
        """Which dim has the batch; None if torch's tensor has none."""
        for index, dim in enumerate(self.dims):
            if self.batch in dim:
                return index
        return None

    def axis_of(self, size: AnySize) -> Axis:
        """Return an axis of this size, which the value has."""
        found = next((axis for axis in self.axes[1:] if axis.size == size), None)
        if found is None:
            raise RefusedError(f"of a size, {size}, that no tensor has")
        return found

    def solid(self, axis: Axis) -> Traced:
        """Return the same tensor with a value that has this axis, should it be only repeated."""
        symbol, axes = self._with_all([axis])
        return replace(self, symbol=symbol, axes=tuple(axes))

    def seen_as(self, dims: Iterable[tuple[Axis, ...]]) -> Traced:
        """Return the same value with other dims."""
        return replace(self, dims=tuple(dims))

    def without_batch(self) -> Dims:
        """Return the dims but the batch's, which must stand alone."""
        where = self.batch_dim
        if where is not None and len(self.dims[where]) > 1:
            raise RefusedError("the batch is joined with another axis")
        return tuple(dim for index, dim in enumerate(self.dims) if index != where)

    def arranged(self, groups: Sequence[Sequence[Axis]]) -> Symbol:
        """Return a symbol of axes (batch, one for each group), every group's axes joined in order.

        Raises
        ------
        RefusedError
            The groups lack an axis of the value, or what is asked cannot be said.
        """
        wanted = [axis for group in groups for axis in group]
        if any(axis.is_batch for axis in wanted):
            raise RefusedError("the batch is joined with another axis")
        if self.whole is not None and self.whole[0] is self.symbol:
            _, before, parts = self.whole
            if parts == tuple(map(tuple, groups)):
                return before
        missing = [axis for axis in self.axes[1:] if axis not in wanted and axis.size != 1]
        if missing:
            raise RefusedError(f"an axis of size {missing[0].size} has no place")
        symbol, axes = self._with_all(wanted)
        if not wanted and len(axes) > 1 and groups:  # sizes of 1, all of them
            same = len(axes) == 1 + len(groups)
            return symbol if same else Rearrange([reshape(1, [1] * len(groups))])(symbol)
        steps: list[Step] = []
        for index in reversed(range(1, len(axes))):
            if axes[index] not in wanted:
                steps.append(("index", {"axis": index, "index": 0}, _time(index == 1)))
                del axes[index]
        if axes[1:] != wanted:
            dims = [axes.index(axis) for axis in wanted]
            steps.append(("permute", {"dims": dims}, _time(dims[0] != 1)))
        steps += _joined(groups)
        if not steps:
            return symbol
        made: Symbol = Rearrange(steps)(symbol)
        return made

    def _with_all(self, wanted: Sequence[Axis]) -> tuple[Symbol, list[Axis]]:
        """Return a symbol that has all axes that are wanted, and its axes."""
        symbol, axes = self.symbol, list(self.axes)
        for axis in wanted:
            if axis in axes:
                continue
            steps: list[Step] = [expand(len(axes))]
            if isinstance(axis.size, int):
                if axis.size > 1:
                    attrs = {"axis": len(axes), "repeats": axis.size}
                    steps.append(("repeat", attrs, "kept"))
                elif axis.size == 0:
                    attrs = {"axis": len(axes), "start": 0, "stop": 0, "step": 1}
                    steps.append(("slice", attrs, "kept"))
                symbol = Rearrange(steps)(symbol)
            else:
                zeros = _zeros_along(axis, len(axes))
                symbol = Add()(Rearrange(steps)(symbol), zeros)
            axes.append(axis)
        return symbol, axes

    def apart(self, *last: tuple[Axis, ...]) -> tuple[Symbol, tuple[Axis, ...]]:
        """Return a symbol whose axes stand in the order of the dims, and these axes.

        Each is an axis of its own, but those of each of the groups `last`, which are joined and
        stand at the end. The batch comes first, and is among the axes returned; a group is not.
        """
        behind = {axis for group in last for axis in group}
        first = [
            axis for dim in self.dims for axis in dim if axis not in behind and not axis.is_batch
        ]
        symbol = self.arranged([*((axis,) for axis in first), *last])
        return symbol, (self.axes[0], *first)


def _time(gone: bool) -> str:
    return "gone" if gone else "kept"


def _zeros_along(axis: Axis, rank: int) -> Symbol:
    """Return zeros (B, 1 ..., n) of `rank` + 1 axes, of an axis whose size another value tells."""
    if axis.holder is None:
        raise RefusedError(f"it is repeated {axis.size} times, which no value here tells")
    held = axis.holder
    own = held.axis_of(axis.size)
    rest = [(each,) for each in held.axes[1:] if each is not own and each.size != 1]
    symbol = held.arranged([(own,), *rest])
    zeros = Rescaling(0.0)(Positions()(symbol))
    inserted = [expand(1) for _ in range(rank - 1)]
    made: Symbol = Rearrange(inserted)(zeros) if inserted else zeros
    return made


def _joined(groups: Sequence[Sequence[Axis]]) -> list[Step]:
    """Return the steps from one axis each to one axis a group."""
    steps: list[Step] = []
    if any(len(group) > 1 for group in groups):
        full = [group for group in groups if group]
        same = next(index for index, group in enumerate(full) if len(group) > 1)
        shape = [product(axis.size for axis in group) for group in full[same:]]
        if sum(not isinstance(size, int) for size in shape) > 1:
            raise RefusedError("axes are joined beside another whose size varies too")
        target = [size if isinstance(size, int) else -1 for size in shape]
        steps.append(reshape(1 + same, target))
    for index, group in enumerate(groups):
        if not group:
            steps.append(expand(1 + index))
    return steps


# ---- Views ---------------------------------------------------------------------------------------


def split(tensor: Traced, axis: Axis, sizes: Sequence[AnySize]) -> tuple[Traced, list[Axis]]:
    """Return the tensor with one axis as several, the outermost first, and these."""
    if axis.is_batch:
        raise RefusedError("the batch is divided: its rows must stay apart")
    parts = [Axis(size, holder=axis.holder) for size in sizes]
    symbol, axes, whole = tensor.symbol, list(tensor.axes), None
    if axis in axes:
        groups = tuple(tuple(parts) if each is axis else (each,) for each in axes[1:])
        before = symbol
        index = axes.index(axis)
        rest = [part.size for part in [*parts, *axes[index + 1 :]]]
        if sum(not isinstance(size, int) for size in rest) > 1:
            raise RefusedError("an axis is divided beside another whose size varies too")
        target = [size if isinstance(size, int) else -1 for size in rest]
        symbol = Rearrange([reshape(index, target)])(symbol)
        axes[index : index + 1] = parts
        whole = symbol, before, groups
    dims = tuple(
        tuple(part for each in dim for part in (parts if each is axis else [each]))
        for dim in tensor.dims
    )
    made = replace(tensor, symbol=symbol, axes=tuple(axes), dims=dims, whole=whole)
    return made, parts


def viewed(tensor: Traced, sizes: Sequence[AnySize]) -> Traced:
    """Return the tensor with another shape: torch's view. One size may be -1.

    Raises
    ------
    RefusedError
        It does not divide into these sizes, or divides the batch.
    """
    total = product(tensor.sizes)
    if -1 in sizes:
        left = divided(total, product(size for size in sizes if size != -1))
        if left is None:
            raise _other_shape(tensor, sizes)
        sizes = [left if size == -1 else size for size in sizes]
    if product(sizes) != total:
        raise _other_shape(tensor, sizes)
    left_axes = [axis for dim in tensor.dims for axis in dim if axis.size != 1]
    dims: list[tuple[Axis, ...]] = []
    for size in sizes:
        taken: list[Axis] = []
        need = size
        while need != 1:
            if not left_axes:
                raise _other_shape(tensor, sizes)
            axis = left_axes.pop(0)
            rest = divided(need, axis.size)
            while rest is None and divided(axis.size, need) is None:
                if not left_axes or axis.is_batch or left_axes[0].is_batch:
                    raise RefusedError(
                        f"a shape of {told_sizes(tensor.sizes)} as {told_sizes(sizes)}"
                    )
                tensor, axis = _welded(tensor, axis, left_axes.pop(0))
                rest = divided(need, axis.size)
            if rest is None:
                inner = divided(axis.size, need)
                assert inner is not None
                tensor, parts = split(tensor, axis, [need, inner])
                axis, rest = parts[0], 1
                left_axes.insert(0, parts[1])
            taken.append(axis)
            need = rest
        dims.append(tuple(taken))
    return tensor.seen_as(_with_lone_batch(tensor, dims))


def _welded(tensor: Traced, first: Axis, second: Axis) -> tuple[Traced, Axis]:
    """Return the tensor with two axes that stand one behind the other as one, and that one."""
    one = Axis(first.size * second.size)
    rest = [axis for dim in tensor.dims for axis in dim if not axis.is_batch]
    groups = [(first, second) if a is first else (a,) for a in rest if a is not second]
    made = [one if axis is first else axis for axis in rest if axis is not second]
    dims = tuple(
        tuple(one if axis is first else axis for axis in dim if axis is not second)
        for dim in tensor.dims
    )
    symbol = tensor.arranged(groups)
    return replace(tensor, symbol=symbol, axes=(tensor.batch, *made), dims=dims), one


def _with_lone_batch(tensor: Traced, dims: list[tuple[Axis, ...]]) -> list[tuple[Axis, ...]]:
    """Find a place for a batch that was one row when the program was made.

    A size of 1 may stand anywhere. It goes to a dim of 1: the one that stands behind as many others
    as the batch did before, or else the first; without one, before the dim that stands there, or
    before the first if that is the last, whose elements are features.
    """
    where = tensor.batch_dim
    if where is None or tensor.batch.size != 1 or not dims:
        return dims
    before = sum(len(_real(dim)) for dim in tensor.dims[:where])
    there = [k for k in range(len(dims)) if sum(map(len, dims[:k])) == before]
    lone = [k for k, dim in enumerate(dims) if not dim]
    near = [k for k in there if k in lone]
    place = (near or lone or [k for k in there if k < len(dims) - 1] or [0])[0]
    dims[place] = (tensor.batch, *dims[place])
    return dims


def _other_shape(tensor: Traced, sizes: Sequence[AnySize]) -> RefusedError:
    return RefusedError(f"a shape of {told_sizes(tensor.sizes)} as {told_sizes(sizes)}")


def told_sizes(sizes: Iterable[AnySize]) -> str:
    return f"({', '.join(map(str, sizes))})"


# ---- Several tensors of one shape ----------------------------------------------------------------


def matched(tensors: Sequence[Traced]) -> tuple[list[Traced], Dims]:
    """Divide and name axes so that tensors that are broadcast have the same axes, dim by dim.

    Returns
    -------
    tensors : list of Traced
        The same tensors, of as many dims as the longest, whose dims have either the axes of the
        result or are ().
    dims : Dims
        Of the result.

    Raises
    ------
    RefusedError
        Their shapes do not fit, or rows of the batch meet other rows.
    """
    rank = max(len(tensor.dims) for tensor in tensors)
    made = [
        tensor.seen_as([()] * (rank - len(tensor.dims)) + [_real(dim) for dim in tensor.dims])
        for tensor in tensors
    ]
    result: list[tuple[Axis, ...]] = []
    names: list[dict[Axis, Axis]] = [{} for _ in made]
    for index in range(rank):
        having = [number for number, tensor in enumerate(made) if tensor.dims[index]]
        sizes = _refined([[axis.size for axis in made[number].dims[index]] for number in having])
        for number in having:
            made[number] = _divided(made[number], index, sizes)
        parts = [made[number].dims[index] for number in having]
        dim = tuple(
            _common([(made[number], axis) for number, axis in zip(having, own, strict=True)], size)
            for size, *own in zip(sizes, *parts, strict=True)
        )
        for number, own in zip(having, parts, strict=True):
            names[number] |= dict(zip(own, dim, strict=True))
        result.append(dim)
    named = [_renamed(tensor, renames) for tensor, renames in zip(made, names, strict=True)]
    return named, tuple(result)


def _real(dim: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """Leave out axes of size 1, which are in every tensor."""
    return tuple(axis for axis in dim if axis.size != 1 or axis.is_batch)


def _refined(lists: Sequence[Sequence[AnySize]]) -> list[AnySize]:
    """Return the sizes into which all of several dims, made of axes of these sizes, divide."""
    left = [list(each) for each in lists]
    sizes: list[AnySize] = []
    while any(left):
        if not all(left):
            raise RefusedError("shapes that do not fit")
        heads = [each[0] for each in left]
        if all(len(each) == 1 for each in left) and _may_be_equal(heads):
            return [*sizes, next((h for h in heads if isinstance(h, int)), heads[0])]
        small = next((h for h in heads if all(divided(other, h) for other in heads)), None)
        if small is None:
            raise RefusedError("shapes that do not fit, or are joined in different ways")
        sizes.append(small)
        for each in left:
            rest = divided(each[0], small)
            each[:1] = [] if rest in (None, 1) else [rest]
    return sizes


def _may_be_equal(sizes: Sequence[AnySize]) -> bool:
    """Tell whether sizes are the same, or may be when the program runs (torch would raise)."""
    return len({size for size in sizes if isinstance(size, int)}) <= 1


def _divided(tensor: Traced, index: int, sizes: Sequence[AnySize]) -> Traced:
    """Divide the axes of one dim until they have these sizes."""
    for at, size in enumerate(sizes):
        axis = tensor.dims[index][at]
        rest = divided(axis.size, size)
        if rest not in (None, 1):  # else they are equal, or may be
            tensor, _ = split(tensor, axis, [size, rest])
    return tensor


def _common(own: Sequence[tuple[Traced, Axis]], size: AnySize) -> Axis:
    """Return the axis of a result where several tensors have one each, of the same size."""
    real = [axis for tensor, axis in own if axis in tensor.axes]
    batch = next((axis for axis in real if axis.is_batch), None)
    if batch is not None:
        if not all(axis.is_batch for axis in real):
            raise RefusedError("rows of the batch meet other rows")
        return batch
    if any(axis.is_batch for _, axis in own):
        raise RefusedError("rows of the batch meet other rows")
    having = [tensor for tensor, axis in own if axis in tensor.axes]
    known = having + [axis.holder for _, axis in own if axis.holder is not None]
    alike = {each for _, axis in own for each in (axis.size, *axis.alike) if isinstance(each, Size)}
    return Axis(size, holder=known[0] if known else None, alike=frozenset(alike - {size}))


def _renamed(tensor: Traced, names: Mapping[Axis, Axis]) -> Traced:
    """Give axes other names, of the same sizes, all at once."""
    axes = tuple(names.get(axis, axis) for axis in tensor.axes)
    dims = tuple(tuple(names.get(axis, axis) for axis in dim) for dim in tensor.dims)
    return replace(tensor, axes=axes, dims=dims)
