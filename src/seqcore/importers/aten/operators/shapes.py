"""Operators that move elements: views, slices, cat, stack, expand, and the sizes of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ....layers import Cast, Compare, Concatenate, Rearrange
from ....layers.shapes import expand
from ..arguments import Context, as_float, as_traced, dim_of, few, known, size_or, traced
from ..sizes import AnySize, product, quotient
from ..tensors import Axis, Constant, RefusedError, Traced, matched, viewed
from .table import operator

_ENDLESS = (1 << 63) - 1


@operator("aten.clone", "aten.lift_fresh_copy")
def copied(context: Context, self: Any, memory_format: Any = None) -> Any:
    """Return a tensor that does not change with the one that it is copied from."""
    del context, memory_format
    return replace(traced(self), root=object())


@operator(
    "aten.contiguous", "aten.detach", "aten.detach_", "aten.alias", "aten.dropout",
    "aten.feature_dropout", "aten.alpha_dropout", "aten.feature_alpha_dropout", "aten.dropout_",
    "aten.lift_fresh", "aten.lift", "aten.cpu", "aten.native_dropout",
    "aten.resolve_conj", "aten.resolve_neg", "aten.requires_grad_", "aten.positive",
)  # fmt: skip
def same(
    context: Context, self: Any = None, input: Any = None, p: float = 0.0,
    train: bool | None = False, memory_format: Any = None, requires_grad: bool = False,
) -> Any:  # fmt: skip
    """Return the tensor itself, or a copy; dropout does nothing outside of training."""
    del context, memory_format, requires_grad
    if train and p:
        raise RefusedError("in training mode; export module.eval()")
    return _maybe_copied(input if self is None else self)


def _maybe_copied(value: Any) -> Any:
    """Return what torch may copy, or not: nobody knows what becomes of one if the other changes."""
    return replace(value) if isinstance(value, Traced) else value


@operator("aten.to", "aten._to_copy", "aten.type_as", "aten.float", "aten.long")
def convert(context: Context, self: Any, dtype: Any = None, other: Any = None, **where: Any) -> Any:
    """Return the tensor in another dtype; where it lies does not matter."""
    del context
    for name, value in where.items():
        if name not in ("device", "layout", "pin_memory", "non_blocking", "copy", "memory_format"):
            raise RefusedError(f"with {name}={value!r}")
    wanted = getattr(dtype, "name", None) or getattr(other, "dtype", None)
    if wanted is None or isinstance(self, Constant):
        return self  # constants are converted where they are folded
    tensor = traced(self)
    kind = {"float64": "float32", "float16": "float32", "bfloat16": "float32", "int32": "int64"}
    target = kind.get(wanted, wanted)
    if target == tensor.dtype:
        return _maybe_copied(tensor)
    if target == "float32":
        if tensor.dtype == "bool":
            return replace(tensor, dtype="float32", root=object())
        return Traced(Cast("float32")(tensor.symbol), tensor.axes, tensor.dims)
    if target == "int64":
        return Traced(Cast("int64")(tensor.symbol), tensor.axes, tensor.dims, "int64")
    if target == "bool":
        truth = Compare("not_equal", 0)(tensor.symbol)
        return Traced(truth, tensor.axes, tensor.dims, "bool")
    raise RefusedError(f"a conversion from {tensor.dtype} to {wanted}")


# ---- Views ---------------------------------------------------------------------------------------


@operator("aten.view", "aten.reshape", "aten._unsafe_view", "aten.view_as", "aten.reshape_as")
def view(
    context: Context, self: Any, size: Sequence[AnySize] | None = None,
    shape: Sequence[AnySize] | None = None, other: Any = None,
) -> Any:  # fmt: skip
    del context
    wanted = size if size is not None else shape
    return viewed(traced(self), other.sizes if wanted is None else list(wanted))


@operator("aten.flatten")
def flatten(context: Context, self: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    del context
    tensor = traced(self)
    first, last = dim_of(start_dim, len(tensor.dims)), dim_of(end_dim, len(tensor.dims))
    joined = tuple(axis for dim in tensor.dims[first : last + 1] for axis in dim)
    return tensor.seen_as([*tensor.dims[:first], joined, *tensor.dims[last + 1 :]])


@operator("aten.unflatten")
def unflatten(context: Context, self: Any, dim: int, sizes: Sequence[AnySize]) -> Any:
    del context
    tensor = traced(self)
    at = dim_of(dim, len(tensor.dims))
    inner = viewed(tensor.seen_as([tensor.dims[at]]), sizes)
    return inner.seen_as([*tensor.dims[:at], *inner.dims, *tensor.dims[at + 1 :]])


@operator("aten.unsqueeze")
def unsqueeze(context: Context, self: Any, dim: int) -> Any:
    del context
    tensor = traced(self)
    at = dim_of(dim, len(tensor.dims) + 1)
    return tensor.seen_as([*tensor.dims[:at], (), *tensor.dims[at:]])


@operator("aten.squeeze")
def squeeze(context: Context, self: Any, dim: Any = None) -> Any:
    del context
    tensor = traced(self)
    rank = len(tensor.dims)
    dims = range(rank) if dim is None else dim if isinstance(dim, list) else [dim]
    given = {dim_of(d, rank) for d in dims}
    gone = {d for d in given if tensor.sizes[d] == 1}
    if tensor.batch_dim in gone and dim is None:
        raise RefusedError("all dims of size 1, of which the batch may be one")
    return tensor.seen_as(d for k, d in enumerate(tensor.dims) if k not in gone)


@operator("aten.permute", "aten.movedim")
def permute(
    context: Context, self: Any, dims: Any = None, source: Any = None, destination: Any = None
) -> Any:
    del context
    tensor = traced(self)
    rank = len(tensor.dims)
    if dims is None:
        sources = source if isinstance(source, list) else [source]
        targets = destination if isinstance(destination, list) else [destination]
        places = {dim_of(t, rank): dim_of(s, rank) for s, t in zip(sources, targets, strict=True)}
        rest = iter([k for k in range(rank) if k not in places.values()])
        dims = [places[k] if k in places else next(rest) for k in range(rank)]
    order = [dim_of(d, rank) for d in dims]
    if sorted(order) != list(range(rank)):
        raise RefusedError(f"dims {order} of {rank}")
    return tensor.seen_as(tensor.dims[k] for k in order)


@operator("aten.transpose", "aten.swapaxes", "aten.swapdims")
def transpose(context: Context, self: Any, dim0: int = 0, dim1: int = 1, **names: Any) -> Any:
    dim0, dim1 = names.pop("axis0", dim0), names.pop("axis1", dim1)
    if names:
        raise RefusedError(f"with {sorted(names)}")
    rank = len(traced(self).dims)
    order = list(range(rank))
    a, b = dim_of(dim0, rank), dim_of(dim1, rank)
    order[a], order[b] = order[b], order[a]
    return permute(context, self, order)


@operator("aten.numpy_T")
def reversed_dims(context: Context, self: Any) -> Any:
    return permute(context, self, list(range(len(traced(self).dims)))[::-1])


@operator("aten.t", "aten.mT", "aten.adjoint")
def turned(context: Context, self: Any) -> Any:
    rank = len(traced(self).dims)
    return self if rank < 2 else transpose(context, self, rank - 2, rank - 1)


@operator("aten.expand", "aten.expand_as", "aten.broadcast_to")
def expanded(
    context: Context, self: Any, size: Any = None, other: Any = None, implicit: bool = False
) -> Any:
    del implicit
    tensor = traced(self)
    sizes = list(other.sizes if size is None else size)
    dims = [()] * (len(sizes) - len(tensor.dims)) + list(tensor.dims)
    own = [1] * (len(sizes) - len(tensor.dims)) + list(tensor.sizes)
    for index, (wanted, found) in enumerate(zip(sizes, own, strict=True)):
        if wanted in (-1, found):
            continue
        if found != 1 or tensor.batch in dims[index]:
            raise RefusedError(f"a size of {found} as {wanted}")
        dims[index] = (Axis(wanted, holder=context.holder(wanted)),)
    return tensor.seen_as(dims)


# ---- Parts ---------------------------------------------------------------------------------------


def alone(tensor: Traced, at: int) -> tuple[Traced, Axis | None]:
    """Return a tensor and the one axis that a dim is; None of a size of 1 that no axis is."""
    dim = [axis for axis in tensor.dims[at] if axis.size != 1]
    if any(axis.is_batch for axis in dim):
        raise RefusedError("rows of the batch are picked out")
    if len(dim) > 1:
        symbol, order = tensor.apart(tuple(dim))
        one = Axis(product(axis.size for axis in dim))
        dims = [(one,) if k == at else each for k, each in enumerate(tensor.dims)]
        return replace(tensor, symbol=symbol, axes=(*order, one), dims=tuple(dims)), one
    return tensor, dim[0] if dim else None


def _at(tensor: Traced, axis: Axis) -> int:
    return tensor.axes.index(axis)


@operator("aten.select")
def select(context: Context, self: Any, dim: int, index: AnySize) -> Any:
    del context
    at = dim_of(dim, len(traced(self).dims))
    tensor, axis = alone(traced(self), at)
    number = known(index, "index")
    size = tensor.sizes[at]
    if isinstance(size, int) and not -size <= number < size:
        raise RefusedError(f"index {number} of an axis of {size}")
    rest = [each for k, each in enumerate(tensor.dims) if k != at]
    if axis is None or (axis not in tensor.axes and isinstance(size, int)):
        return tensor.seen_as(rest)
    tensor = tensor.solid(axis)
    where = _at(tensor, axis)
    step = ("index", {"axis": where, "index": number}, "gone" if where == 1 else "kept")
    return _moved(tensor, [step], [each for each in tensor.axes if each is not axis], rest)


def _moved(tensor: Traced, steps: list[Any], axes: Sequence[Axis], dims: Sequence[Any]) -> Traced:
    axes = list(axes)
    if len(axes) == 1:  # values here have two axes at least
        steps, axes = [*steps, expand(1)], [*axes, Axis(1)]
    symbol = Rearrange(steps)(tensor.symbol)
    return replace(tensor, symbol=symbol, axes=tuple(axes), dims=tuple(dims))


def _bound(value: AnySize | None, size: AnySize, end: bool) -> AnySize | None:
    """Return a slice's bound as Python takes it, of an axis of this size; None for its end."""
    if value is None or value in (_ENDLESS, size):
        return None if end else 0 if value is None else value
    if isinstance(value, int):
        if isinstance(size, int):
            value = max(0, value + size) if value < 0 else min(value, size)
        return value
    from_end = value - size
    if isinstance(from_end, int) and from_end < 0:
        return from_end
    raise RefusedError("a slice whose bound varies")


@operator("aten.slice", "aten.narrow")
def part(
    context: Context, self: Any, dim: int = 0, start: AnySize | None = None,
    end: AnySize | None = None, step: int = 1, length: AnySize | None = None,
) -> Any:  # fmt: skip
    del context
    at = dim_of(dim, len(traced(self).dims))
    size = traced(self).sizes[at]
    if length is not None:
        first = size_or(start, 0)
        end = first + length
    begin, stop = _bound(start, size, False), _bound(end, size, True)
    stride = known(step, "step")
    if begin == 0 and stop is None and stride == 1:
        return self
    if isinstance(size, int) and begin == 0 and stop == size and stride == 1:
        return self
    return sliced(traced(self), at, begin, stop, stride, _left(size, begin, stop, stride))


def sliced(
    tensor: Traced, at: int, begin: AnySize | None, stop: AnySize | None, stride: int, left: AnySize
) -> Traced:
    """Return x[begin:stop:stride] of a dim, as in Python, of which `left` elements are left."""
    tensor, axis = alone(tensor, at)
    if axis is None or left == 0:
        raise RefusedError("a slice of nothing")
    made = Axis(left, holder=axis.holder)
    dims = [(made,) if k == at else each for k, each in enumerate(tensor.dims)]
    if axis not in tensor.axes and isinstance(left, int):
        return tensor.seen_as(dims)
    tensor = tensor.solid(axis)
    where = _at(tensor, axis)
    attrs = {"axis": where, "start": begin, "stop": stop, "step": stride}
    steps = [("slice", attrs, "mapped" if where == 1 else "kept")]
    axes = [made if each is axis else each for each in tensor.axes]
    return _moved(tensor, steps, axes, dims)


def _left(size: AnySize, start: Any, stop: Any, step: int) -> AnySize:
    """Return how many elements a slice of an axis has."""
    if isinstance(size, int):
        return len(range(size)[start:stop:step])
    first = start + size if isinstance(start, int) and start < 0 else start
    last = size if stop is None else stop + size if isinstance(stop, int) and stop < 0 else stop
    return quotient(last - first + (step - 1), step)


@operator("aten.unbind")
def unbind(context: Context, self: Any, dim: int = 0) -> Any:
    tensor = traced(self)
    size = few(known(tensor.sizes[dim_of(dim, len(tensor.dims))], "the number of parts"), "parts")
    return tuple(select(context, tensor, dim, index) for index in range(size))


@operator("aten.split", "aten.split_with_sizes", "aten.chunk", "aten.unsafe_split",
          "aten.split_copy", "aten.unsafe_chunk")  # fmt: skip
def parts(
    context: Context, self: Any, split_size: Any = None, split_sizes: Any = None,
    chunks: int | None = None, dim: int = 0,
) -> Any:  # fmt: skip
    tensor = traced(self)
    size = tensor.sizes[dim_of(dim, len(tensor.dims))]
    sizes = split_sizes if split_sizes is not None else split_size
    if not isinstance(sizes, list):
        total = known(size, "the size that is divided")
        each = -(-total // known(chunks, "chunks")) if sizes is None else known(sizes, "split_size")
        if each < 1:
            raise RefusedError(f"into parts of {each}")
        few(-(-total // each), "parts")
        sizes = [min(each, total - at) for at in range(0, total, each)]
    made, at = [], 0
    for length in sizes:
        made.append(part(context, tensor, dim, at, at + length))
        at = at + length
    return tuple(made)


@operator("aten.fliplr")
def fliplr(context: Context, self: Any) -> Any:
    return flip(context, self, [1])


@operator("aten.flip")
def flip(context: Context, self: Any, dims: Sequence[int]) -> Any:
    del context
    tensor = traced(self)
    for dim in dims:
        at = dim_of(dim, len(tensor.dims))
        tensor, axis = alone(tensor, at)
        if axis is not None and axis in tensor.axes:
            where = _at(tensor, axis)
            attrs = {"axis": where, "start": None, "stop": None, "step": -1}
            steps = [("slice", attrs, "mapped" if where == 1 else "kept")]
            tensor = _moved(tensor, steps, tensor.axes, tensor.dims)
    return tensor


# ---- Joining -------------------------------------------------------------------------------------


@operator("aten.cat", "aten.concat", "aten.concatenate")
def cat(context: Context, tensors: Sequence[Any], dim: int = 0) -> Any:
    given = [t for t in tensors if not (isinstance(t, Constant) and t.sizes == (0,))]
    made = [as_traced(context, tensor) for tensor in given]
    rank = len(made[0].dims)
    at = dim_of(dim, rank)
    if len({tensor.dtype for tensor in made}) > 1:
        made = [replace(as_float(tensor), dtype="float32") for tensor in made]
    if any(tensor.batch in tensor.dims[at] for tensor in made):
        raise RefusedError("rows of batches are joined")
    # All dims but the one along which they are joined must have the same axes.
    others = [tensor.seen_as(d for k, d in enumerate(tensor.dims) if k != at) for tensor in made]
    along = [tensor.dims[at] for tensor in made]
    return _cat(made, others, along, at)


def _cat(
    made: Sequence[Traced], others: Sequence[Traced], along: Sequence[tuple[Axis, ...]], at: int
) -> Traced:
    named, dims = matched(others)
    order = [axis for dim in dims for axis in dim if not axis.is_batch]
    place = sum(not axis.is_batch for dim in dims[:at] for axis in dim)
    groups = [(axis,) for axis in order]
    symbols = [
        tensor.arranged([*groups[:place], group, *groups[place:]])
        for tensor, group in zip(named, along, strict=True)
    ]
    sizes = [product(axis.size for axis in group) for group in along]
    joined = Axis(sum(sizes[1:], sizes[0]))
    symbol = symbols[0] if len(symbols) == 1 else Concatenate(1 + place)(*symbols)
    axes = (made[0].batch, *order[:place], joined, *order[place:])
    return Traced(symbol, axes, (*dims[:at], (joined,), *dims[at:]), made[0].dtype)


@operator("aten.hstack")
def hstack(context: Context, tensors: Sequence[Any]) -> Any:
    rank = len(tensors[0].sizes)
    if rank == 0:
        raise RefusedError("of single numbers")
    return cat(context, tensors, 0 if rank == 1 else 1)


@operator("aten.vstack")
def vstack(context: Context, tensors: Sequence[Any]) -> Any:
    rank = len(tensors[0].sizes)
    if rank == 0:
        raise RefusedError("of single numbers")
    return stack(context, tensors) if rank == 1 else cat(context, tensors)


@operator("aten.column_stack")
def column_stack(context: Context, tensors: Sequence[Any]) -> Any:
    if any(len(tensor.sizes) < 2 for tensor in tensors):
        raise RefusedError("of vectors")
    return cat(context, tensors, 1)


@operator("aten.dstack")
def dstack(context: Context, tensors: Sequence[Any]) -> Any:
    if any(len(tensor.sizes) < 2 for tensor in tensors):
        raise RefusedError("of vectors")
    made = [as_traced(context, tensor) for tensor in tensors]
    return cat(context, [t if len(t.dims) > 2 else unsqueeze(context, t, 2) for t in made], 2)


@operator("aten.stack")
def stack(context: Context, tensors: Sequence[Any], dim: int = 0) -> Any:
    made = [as_traced(context, tensor) for tensor in tensors]
    at = dim_of(dim, len(made[0].dims) + 1)
    return cat(context, [unsqueeze(context, tensor, at) for tensor in made], at)


@operator("aten.repeat", "aten.tile")
def repeat(context: Context, self: Any, repeats: Any = None, dims: Any = None) -> Any:
    tensor = traced(self)
    times = list(repeats if repeats is not None else dims)
    if len(times) < len(tensor.dims):
        times = [1] * (len(tensor.dims) - len(times)) + times
    tensor = tensor.seen_as([()] * (len(times) - len(tensor.dims)) + list(tensor.dims))
    for index, count in enumerate(times):
        if count == 1:
            continue
        if tensor.batch in tensor.dims[index]:
            raise RefusedError("rows of the batch are repeated")
        again = Axis(count, holder=context.holder(count))
        tensor = tensor.seen_as(
            (again, *dim) if k == index else dim for k, dim in enumerate(tensor.dims)
        )
    return replace(tensor, root=object())


@operator("aten.repeat_interleave")
def repeat_interleave(
    context: Context, self: Any, repeats: Any, dim: int | None = None, output_size: Any = None
) -> Any:
    del context, output_size
    if dim is None:
        raise RefusedError("without dim")
    tensor = traced(self)
    at = dim_of(dim, len(tensor.dims))
    if tensor.batch in tensor.dims[at]:
        raise RefusedError("rows of the batch are repeated")
    count = known(repeats, "repeats")
    if count < 1:
        raise RefusedError(f"with repeats={count}")
    dims = [(*d, Axis(count)) if k == at and count > 1 else d for k, d in enumerate(tensor.dims)]
    return replace(tensor.seen_as(dims), root=object())


@operator("aten.sym_size")
def size(context: Context, self: Any, dim: int) -> AnySize:
    del context
    sizes: tuple[AnySize, ...] = self.sizes
    return sizes[dim_of(dim, len(sizes))]


@operator("aten.sym_numel", "aten.numel")
def numel(context: Context, self: Any) -> AnySize:
    del context
    return product(self.sizes)
