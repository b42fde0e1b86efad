"""Operators that pick by indices: of frames by numbers that are computed, and of constants.

A frame that is picked by a computed number is the sum over all frames of those whose place it is:
exact, because all others are zero. An index outside of an axis picks zeros, where torch raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....layers import OneHot
from ..arguments import Context, as_traced, dim_of, known, traced
from ..tensors import Axis, Constant, RefusedError, Traced
from .elementwise import add, chosen, compare, subtract
from .reductions import reduced
from .shapes import cat, part, unsqueeze
from .table import operator

_MOST_PIECES = 256
_MOST_PLACES = 1 << 24  # beyond, floats are not exact


def place(context: Context, tensor: Traced, at: int, rank: int) -> Any:
    """Return 0, 1, 2 ... along a dim of a tensor, with as many dims behind it as there are."""
    size = tensor.sizes[at]
    if isinstance(size, int):
        if size > _MOST_PLACES:
            raise RefusedError(f"of {size} places")
        return Constant.of(
            np.arange(size, dtype=np.float32).reshape([size] + [1] * (rank - at - 1))
        )
    (axis,) = tensor.dims[at]
    made = context.positions_of(tensor, axis)
    return made.seen_as([*made.dims, *[()] * (rank - at - 1)])


def picked(context: Context, tensor: Traced, at: int, index: Traced) -> Traced:
    """Return tensor[..., index, ...], index of as many dims, of size 1 along `at`."""
    if tensor.batch in tensor.dims[at]:
        raise RefusedError("rows of the batch are picked out")
    rank = len(tensor.dims)
    here = compare(context, "equal", place(context, tensor, at, rank), index)
    return reduced(chosen(context, here, tensor, 0.0), "sum", at, keepdim=True)


@operator("aten.gather", "aten.take_along_dim")
def gather(
    context: Context, self: Any, dim: int = -1, index: Any = None, sparse_grad: bool = False,
    indices: Any = None,
) -> Any:  # fmt: skip
    """self[i][index[i][j][k]][k] for dim 1."""
    del sparse_grad
    tensor, picks = traced(self), as_traced(context, index if indices is None else indices)
    at = dim_of(dim, len(tensor.dims))
    if picks.sizes[at] == 1:
        return picked(context, tensor, at, _fitted(tensor, picks, at))
    wide = unsqueeze(context, tensor, at + 1)
    picks = unsqueeze(context, picks, at)
    made = picked(context, wide, at, picks)
    return made.seen_as(d for k, d in enumerate(made.dims) if k != at)


def _fitted(tensor: Traced, picks: Traced, at: int) -> Traced:
    """Return the index without axes that only repeat it along the tensor's own."""
    dims = [
        () if k == at or all(axis not in picks.axes for axis in dim) else dim
        for k, dim in enumerate(picks.dims)
    ]
    for k, dim in enumerate(dims):
        if k != at and tensor.sizes[k] != picks.sizes[k]:
            raise RefusedError(f"a part of dim {k} alone")
        del dim
    return picks.seen_as(dims)


@operator("aten.index_select")
def index_select(context: Context, self: Any, dim: int, index: Any) -> Any:
    tensor = traced(self)
    at = dim_of(dim, len(tensor.dims))
    if not isinstance(index, Constant):
        raise RefusedError("by an index that varies")
    return _by_constant(context, tensor, at, index.full())


def _by_constant(context: Context, tensor: Traced, at: int, index: Any) -> Any:
    """Return the parts of a dim that a constant index names, joined."""
    size = known(tensor.sizes[at], "the size of what is picked from")
    if index.ndim != 1 or not index.size or index.dtype.kind not in "iu":
        raise RefusedError(f"by an index of shape {index.shape} and dtype {index.dtype}")
    if index.min() < -size or index.max() >= size:
        raise RefusedError(f"by an index outside of {size}")
    places = [int(i) % size for i in index]
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][1]:
            runs[-1][1] = place + 1
        else:
            runs.append([place, place + 1])
    if len(runs) > _MOST_PIECES:
        raise RefusedError(f"by an index of {len(runs)} pieces")
    pieces = [part(context, tensor, at, first, last) for first, last in runs]
    return pieces[0] if len(pieces) == 1 else cat(context, pieces, at)


@operator("aten.index")
def index(context: Context, self: Any, indices: Sequence[Any]) -> Any:
    """self[:, index], or self[rows, index] where rows are all rows of the batch in order."""
    tensor = traced(self)
    given = [(dim, value) for dim, value in enumerate(indices) if value is not None]
    if len(given) == 1 and isinstance(given[0][1], Constant):
        dim, value = given[0]
        if value.array.dtype == np.bool_:
            raise RefusedError("by a mask, which gives rows of different sizes")
        return _by_constant(context, tensor, dim, value.full())
    if len(given) == 1 and isinstance(given[0][1], Traced) and len(given[0][1].dims) == 1:
        at, picks = given[0]
        if picks.dtype == "bool":
            raise RefusedError("by a mask, which gives rows of different sizes")
        behind = [()] * (len(tensor.dims) - at - 1)
        picks = picks.seen_as([*[()] * (at + 1), *picks.dims, *behind])
        made = picked(context, unsqueeze(context, tensor, at + 1), at, picks)
        return made.seen_as(d for k, d in enumerate(made.dims) if k != at)
    if len(given) == 2 and [dim for dim, _ in given] == [0, 1] and tensor.batch_dim == 0:
        rows, picks = given[0][1], given[1][1]
        if _all_rows(context, rows) and isinstance(picks, Traced) and len(picks.dims) == 1:
            shaped = picks.seen_as([*picks.dims, *[()] * (len(tensor.dims) - 1)])
            made = picked(context, tensor, 1, _from_the_end(context, tensor, shaped))
            return made.seen_as(d for k, d in enumerate(made.dims) if k != 1)
    raise RefusedError("by indices that vary")


def _from_the_end(context: Context, tensor: Traced, picks: Traced) -> Traced:
    """Return indices along dim 1 counted from its start: those below 0 count from its end."""
    count: Any = tensor.sizes[1]
    if not isinstance(count, int):
        (axis,) = tensor.dims[1]
        count = add(context, reduced(context.positions_of(tensor, axis), "max", 0), 1)
    return chosen(context, compare(context, "less", picks, 0), add(context, picks, count), picks)


def _all_rows(context: Context, rows: Any) -> bool:
    """Tell whether an index is 0, 1, 2 ... over the batch."""
    if isinstance(rows, Constant):
        size = context.batch.size
        return isinstance(size, int) and np.array_equal(rows.full(), np.arange(size))
    return rows is context.rows


@operator("aten.one_hot")
def one_hot(context: Context, self: Any, num_classes: int = -1) -> Any:
    del context
    tensor, count = traced(self), known(num_classes, "num_classes")
    if not 1 <= count <= _MOST_PLACES or tensor.dtype != "int64":
        raise RefusedError(f"with num_classes={count} of {tensor.dtype}")
    made = Axis(count)
    return Traced(OneHot(count)(tensor.symbol), (*tensor.axes, made), (*tensor.dims, (made,)))


@operator("aten.tril", "aten.tril_")
def tril(context: Context, self: Any, diagonal: int = 0) -> Any:
    return _triangle(context, traced(self), "less_equal", diagonal)


@operator("aten.triu", "aten.triu_")
def triu(context: Context, self: Any, diagonal: int = 0) -> Any:
    return _triangle(context, traced(self), "greater_equal", diagonal)


def _triangle(context: Context, tensor: Traced, function: str, diagonal: int) -> Traced:
    """Return the elements whose column is so to their row + diagonal, of the last two dims."""
    rank = len(tensor.dims)
    rows, columns = (_place_of(context, tensor, at, rank) for at in (rank - 2, rank - 1))
    sees = compare(context, function, columns, add(context, rows, known(diagonal, "diagonal")))
    return chosen(context, sees, tensor, 0)


def _place_of(context: Context, tensor: Traced, at: int, rank: int) -> Any:
    """Return 0, 1, 2 ... along a dim that may be one of a constant, which no tensor has."""
    size = tensor.sizes[at]
    if tensor.batch in tensor.dims[at]:
        raise RefusedError("over the rows of the batch")
    if isinstance(size, int):
        return as_traced(context, place(context, tensor, at, rank))
    made = context.positions(size)
    return made.seen_as([*made.dims, *[()] * (rank - at - 1)])


@operator("aten.diff")
def diff(context: Context, self: Any, n: int = 1, dim: int = -1) -> Any:
    tensor = traced(self)
    at = dim_of(dim, len(tensor.dims))
    for _ in range(known(n, "n")):
        later, sooner = (part(context, tensor, at, *ends) for ends in ((1, None), (0, -1)))
        tensor = subtract(context, later, sooner)
    return tensor


@operator("aten.roll")
def roll(context: Context, self: Any, shifts: Sequence[int], dims: Sequence[int] = ()) -> Any:
    tensor = traced(self)
    if len(dims) != len(shifts):
        raise RefusedError("over all dims at once")
    for shift, dim in zip(shifts, dims, strict=True):
        at = dim_of(dim, len(tensor.dims))
        size = tensor.sizes[at]
        if not isinstance(size, int) and abs(shift) != 1:  # it may be rolled round and round
            raise RefusedError(f"by {shift} of a size that varies")
        cut = -shift % size if isinstance(size, int) else -shift
        if cut:
            halves = [part(context, tensor, at, cut, None), part(context, tensor, at, 0, cut)]
            tensor = cat(context, halves, at)
    return tensor
