"""What picks by indices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...aten.arguments import as_traced, dim_of, few, known
from ...aten.operators.picking import picked
from ...aten.sizes import AnySize, Size
from ...aten.tensors import Constant, RefusedError, Traced
from .shapes import nothing, part
from .table import Context, aten, number, operator, shape, weights

_MOST_ELEMENTS = 1 << 24  # of a constant that is picked out of another


# ---- Gather --------------------------------------------------------------------------------------


@operator("Gather")
def gather(context: Context, data: Any, indices: Any, *, axis: int = 0) -> Any:
    """data[..., indices, ...], the axes of the indices in the place of the one of the data."""
    own = shape(data)
    if not own:
        raise RefusedError("of a single number")
    at = dim_of(axis, len(own))
    if isinstance(indices, Constant):
        places = _places(context, own[at], indices)
        if isinstance(data, Constant):
            return _of_constant(data, at, places)
        return _at_places(context, data, at, places)
    if isinstance(data, Constant):
        return _looked_up(context, data, at, indices)
    return _at_computed(context, data, at, indices)


def _places(context: Context, size: AnySize, indices: Constant) -> NDArray[Any]:
    """Return indices as whole numbers, below 0 if they count from the end."""
    array = indices.full()
    if array.dtype.kind not in "iO":
        raise RefusedError("by indices that are no whole numbers")
    few(array.size, "indices")
    places = np.zeros(array.size, np.int64)
    for k, index in enumerate(array.reshape(-1).tolist()):
        place = index - size if isinstance(index, Size) else index
        if not isinstance(place, int) or (isinstance(index, Size) and place >= 0):
            raise RefusedError(f"index {index} of an axis of {size}")
        if isinstance(size, int) and not -size <= place < size:
            raise RefusedError(f"index {place} of an axis of {size}")
        context.bound(size, max(place + 1, -place))
        places[k] = place
    return places.reshape(array.shape)


def _of_constant(data: Constant, at: int, places: NDArray[Any]) -> Constant:
    sizes = (*data.sizes[:at], *places.shape, *data.sizes[at + 1 :])
    array = data.array
    if array.shape[at] != data.sizes[at]:  # it repeats
        ones = [1] * places.ndim
        return Constant(array.reshape((*array.shape[:at], *ones, *array.shape[at + 1 :])), sizes)
    if array.size // max(1, array.shape[at]) * places.size > max(_MOST_ELEMENTS, array.size):
        raise RefusedError("of too many elements")
    return Constant(np.take(array, places, axis=at), sizes)


def _at_places(context: Context, data: Traced, at: int, places: NDArray[Any]) -> Any:
    if places.ndim == 0:
        return aten(context, "select", self=data, dim=at, index=int(places))
    if not places.size:
        return nothing(data, (*data.sizes[:at], *places.shape, *data.sizes[at + 1 :]))
    flat = places.reshape(-1)
    if isinstance(data.sizes[at], int):
        made = aten(context, "index_select", self=data, dim=at, index=Constant.of(flat))
    else:
        parts = [aten(context, "select", self=data, dim=at, index=int(place)) for place in flat]
        made = aten(context, "stack", tensors=parts, dim=at)
    if places.ndim == 1:
        return made
    return aten(context, "unflatten", self=made, dim=at, sizes=list(places.shape))


def _looked_up(context: Context, table: Constant, at: int, indices: Traced) -> Any:
    """Return rows of a table by ids: an embedding, whose rows may have any shape."""
    rest = [*table.sizes[:at], *table.sizes[at + 1 :]]
    is_bool = table.dtype == "bool"
    if is_bool:
        table = Constant(table.array.astype(np.float32), table.sizes)
    if at == 0 and len(table.sizes) == 2:
        rows = table
    else:
        moved = np.moveaxis(table.full(), at, 0)
        rows = Constant.of(np.ascontiguousarray(moved.reshape(len(moved), -1)))
    made = aten(context, "embedding", weight=rows, indices=indices)
    if is_bool:
        made = Traced(made.symbol, made.axes, made.dims, "bool")
    rank = len(indices.dims)
    if not rest:
        return made.seen_as(made.dims[:-1])
    made = aten(context, "unflatten", self=made, dim=rank, sizes=rest)
    order = [*range(rank, rank + at), *range(rank), *range(rank + at, rank + len(rest))]
    return aten(context, "permute", self=made, dims=order)


def _at_computed(context: Context, data: Traced, at: int, indices: Traced) -> Any:
    if data.batch_dim is not None and indices.batch_dim is not None:
        raise RefusedError("rows of the batch meet other rows")
    if data.batch in data.dims[at]:
        raise RefusedError("rows of the batch are picked out")
    places = _from_start(context, indices, data.sizes[at])
    more, behind = len(places.dims), len(data.dims) - at - 1
    wide = data.seen_as([*data.dims[: at + 1], *[()] * more, *data.dims[at + 1 :]])
    places = places.seen_as([*[()] * (at + 1), *places.dims, *[()] * behind])
    made = picked(context, wide, at, places)
    return made.seen_as(dim for k, dim in enumerate(made.dims) if k != at)


def _from_start(context: Context, indices: Traced, size: AnySize) -> Traced:
    """Return indices counted from the start: those below 0 count from the end."""
    below = aten(context, "lt", self=indices, other=0)
    turned = aten(context, "add", self=indices, other=size)
    made: Traced = aten(context, "where", condition=below, self=turned, other=indices)
    return made


@operator("GatherElements")
def gather_elements(context: Context, data: Any, indices: Any, *, axis: int = 0) -> Any:
    """data[i][indices[i][j][k]][k] for axis 1."""
    own, wanted = shape(data), shape(indices)
    at = dim_of(axis, len(own))
    if len(own) != len(wanted):
        raise RefusedError(f"{len(wanted)} axes of indices of {len(own)}")
    for k, (size, picks) in enumerate(zip(own, wanted, strict=True)):
        if k != at and size != picks:
            data = part(context, data, k, 0, picks)
    if isinstance(data, Constant) and isinstance(indices, Constant):
        if weights(indices, "indices").dtype.kind != "i":
            raise RefusedError("by indices that are no whole numbers")
        return Constant.of(np.take_along_axis(data.full(), indices.full(), at))
    tensor = as_traced(context, data)
    places = _from_start(context, as_traced(context, indices), own[at])
    wide = aten(context, "unsqueeze", self=tensor, dim=at + 1)
    made = picked(context, wide, at, aten(context, "unsqueeze", self=places, dim=at))
    return made.seen_as(dim for k, dim in enumerate(made.dims) if k != at)


# ---- Others --------------------------------------------------------------------------------------


@operator("OneHot")
def one_hot(context: Context, indices: Any, depth: Any, values: Any, *, axis: int = -1) -> Any:
    """values[1] where an axis of `depth` is at its index, else values[0].

    Indices below 0 count from the end; what lies outside picks none.
    """
    count = few(int(number(depth, "depth")), "depth")
    off, on = weights(values, "values").reshape(-1)
    rank = len(shape(indices))
    at = dim_of(axis, rank + 1)
    places = np.arange(count).reshape([-1] + [1] * (rank - at))
    if isinstance(indices, Constant):
        wide = np.expand_dims(np.trunc(indices.full()), at)
        return Constant.of(np.where((wide == places) | (wide == places - count), on, off))
    wide = aten(context, "unsqueeze", self=indices, dim=at)
    if indices.dtype == "float32":
        wide = aten(context, "trunc", self=wide)
    hits = [aten(context, "eq", self=wide, other=Constant.of(np.float32(each)))
            for each in (places, places - count)]  # fmt: skip
    hit = aten(context, "logical_or", self=hits[0], other=hits[1])
    return aten(context, "where", condition=hit, self=float(on), other=float(off))


@operator("Trilu")
def triangle(context: Context, input: Any, k: Any = None, *, upper: int = 1) -> Any:
    if len(shape(input)) < 2:
        raise RefusedError(f"of {len(shape(input))} axes")
    diagonal = 0 if k is None else known(int(number(k, "k")), "k")
    return aten(context, "triu" if upper else "tril", self=input, diagonal=diagonal)
