"""Arithmetic on shapes: operators on whole numbers of which some are sizes that vary.

Exporters compute shapes in the graph: ``Concat(Gather(Shape(x), 0), -1, 64)``. Such a vector is a
`Constant` of an array of objects, `Size` or int, and NumPy's functions do on it what ONNX's do.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..aten.sizes import AnySize, Size, product, quotient
from ..aten.tensors import Constant, RefusedError

__all__ = ["of_sizes"]

Array = NDArray[Any]
Bound = Callable[[AnySize, int], bool]

_MOST_ENTRIES = 1 << 16
_WHOLE_TYPES = (5, 6, 7, 12, 13)  # of TensorProto, of 16 bits or more: int32, int64 ...


def of_sizes(op: str, given: Sequence[Any], attributes: Mapping[str, Any], bound: Bound) -> Any:
    """Return what an operator makes of constants of which one holds sizes that vary.

    NotImplemented: there is none, or the operator is not one of those that shapes go through.
    `bound` lets a size be at least so large, and tells whether that can be said: a size is never
    equal to 1 (torch asks that before it squeezes) if calls in which it is are refused.

    Raises
    ------
    RefusedError
        The result depends on what a size is.
    """
    arrays = [value.array for value in given if isinstance(value, Constant)]
    if op not in _OPERATORS or not any(array.dtype == object for array in arrays):
        return NotImplemented
    if op in _MOVING and (given[0] is None or given[0].array.dtype != object):
        return NotImplemented  # sizes are not what it moves, but say where to
    if sum(_length(value) for value in given) > _MOST_ENTRIES:
        raise RefusedError("of shapes of too many entries")
    if any(_is_as_long(value) for value in given):
        if op == "Cast" and _cast(arrays[0], **dict(attributes)) is arrays[0]:
            return given[0]
        raise RefusedError("of shapes of which one is as long as another is large")
    whole: list[Any] = [None if value is None else value.full() for value in given]
    if op in _COMPARING:
        made = _each(functools.partial(_COMPARING[op], bound))(*whole[:2])
    elif op in ("Max", "Min"):
        made = _extreme(bound, op == "Max", whole)
    else:
        made = _FUNCTIONS[op](*whole, **dict(attributes))
    if made is NotImplemented:
        return made
    if isinstance(made, tuple):
        return tuple(_settled(each) for each in made)
    return _settled(made)


def _length(value: Constant | None) -> int:
    return 0 if value is None else math.prod(s for s in value.sizes if isinstance(s, int))


def _is_as_long(value: Constant | None) -> bool:
    """Tell whether a vector itself, and not only what is in it, is as long as a size."""
    return value is not None and any(isinstance(size, Size) for size in value.sizes)


def _settled(made: Any) -> Constant:
    """Return a result, of whole numbers or truth values if that is what all of it is."""
    array = np.asarray(made)
    if array.dtype == object:
        entries = array.reshape(-1).tolist()
        if all(isinstance(entry, (bool, np.bool_)) for entry in entries):
            array = array.astype(np.bool_)
        elif not any(isinstance(entry, Size) for entry in entries):
            kind = np.float32 if any(isinstance(e, float) for e in entries) else np.int64
            array = array.astype(kind)
    return Constant.of(array)


def _each(function: Callable[..., Any], count: int = 2) -> Callable[..., Any]:
    """Let a function of numbers take arrays of objects, broadcast."""
    made = np.frompyfunc(function, count, 1)
    return lambda *arrays: np.asarray(made(*arrays), object)


def _reaches(bound: Bound, size: AnySize, least: int) -> bool:
    """Tell whether a size is so large in every call, or in all that are not refused."""
    if isinstance(size, int):
        return size >= least
    if all(factor > 0 for _, factor in size.terms) and dict(size.terms).get((), 0) >= least:
        return True
    return bound(size, least)


def _divided(bound: Bound, a: Any, b: Any) -> Any:
    """Integers are divided towards zero."""
    if isinstance(a, float) or isinstance(b, float):
        raise RefusedError("a quotient of sizes that vary")
    if not isinstance(a, Size) and not isinstance(b, Size):
        return math.trunc(a / b) if abs(a) < 1 << 52 else a // b
    if not _reaches(bound, a, 0) or not _reaches(bound, b, 0):
        raise RefusedError(f"a quotient of {a} and {b}, which may be negative")
    return quotient(a, b)


def _remainder(bound: Bound, a: Any, b: Any) -> Any:
    if isinstance(a, Size) or isinstance(b, Size):
        return a - _divided(bound, a, b) * b
    return a % b


def _equal(bound: Bound, a: Any, b: Any) -> bool:
    if not isinstance(a, Size) and not isinstance(b, Size):
        return bool(a == b)
    if a == b:
        return True
    size, other = (a, b) if isinstance(a, Size) else (b, a)
    if not isinstance(other, Size) and other <= 1 and _reaches(bound, size, other + 1):
        return False
    raise RefusedError(f"asks whether {a} is {b}")


def _above(bound: Bound, a: Any, b: Any) -> bool:
    if not isinstance(a, Size) and not isinstance(b, Size):
        return bool(a > b)
    if isinstance(a, Size) and not isinstance(b, Size) and b <= 1 and _reaches(bound, a, b + 1):
        return True
    if isinstance(b, Size) and not isinstance(a, Size) and a <= 1 and _reaches(bound, b, a):
        return False
    raise RefusedError(f"asks whether {a} is greater than {b}")


def _extreme(bound: Bound, largest: bool, arrays: Sequence[Array]) -> Array:
    """Max and Min: of a size and a number that no size is below, it is the size or the number."""

    def choose(a: Any, b: Any) -> Any:
        size, other = (a, b) if isinstance(a, Size) else (b, a)
        if a != b and not _above(bound, other, size):
            size, other = other, size  # the larger one is last
        return other if largest else size

    total = np.asarray(arrays[0], object)
    for array in arrays[1:]:
        total = _each(choose)(total, array)
    return total


_COMPARING: Mapping[str, Callable[..., Any]] = {
    "Equal": _equal, "Greater": _above, "Less": lambda bound, a, b: _above(bound, b, a),
    "GreaterOrEqual": lambda bound, a, b: not _above(bound, b, a),
    "LessOrEqual": lambda bound, a, b: not _above(bound, a, b),
    "Div": _divided, "Mod": _remainder,
}  # fmt: skip


def _few(entries: float) -> None:
    if entries > _MOST_ENTRIES:
        raise RefusedError("of shapes of too many entries")


def _gather(data: Array, indices: Array, axis: int = 0) -> Array:
    _few(data.size / max(1, data.shape[axis]) * indices.size)
    made: Array = np.take(data, np.asarray(indices, np.int64), axis=axis)
    return made


def _varies(value: Any) -> bool:
    return any(isinstance(entry, Size) for entry in np.asarray(value).reshape(-1).tolist())


def _ints(value: Any) -> list[int]:
    if _varies(value):
        raise RefusedError("of a part of a shape that depends on a size")
    return [int(entry) for entry in np.asarray(value).reshape(-1).tolist()]


def _slice(data: Array, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Array:
    first, last = _ints(starts), _ints(ends)
    where = range(len(first)) if axes is None else _ints(axes)
    by = [1] * len(first) if steps is None else _ints(steps)
    key = [slice(None)] * data.ndim
    for axis, start, end, step in zip(where, first, last, by, strict=True):
        key[axis] = slice(start, None if step < 0 and end < -data.shape[axis] else end, step)
    return data[tuple(key)]


def _squeeze(data: Array, axes: Any = None) -> Array:
    return np.squeeze(data, None if axes is None else tuple(_ints(axes)))


def _unsqueeze(data: Array, axes: Any) -> Array:
    return np.expand_dims(data, tuple(_ints(axes)))


def _split(data: Array, split: Any = None, axis: int = 0, num_outputs: int = 0) -> Any:
    if split is None and not num_outputs:
        return NotImplemented  # into as many as the node has outputs
    if split is None:
        each = -(-data.shape[axis] // num_outputs)
        return tuple(np.split(data, range(each, data.shape[axis], each), axis))
    return tuple(np.split(data, np.cumsum(_ints(split))[:-1], axis))


def _reduce(function: Callable[..., Any]) -> Callable[..., Any]:
    def apply(
        data: Array, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Any:
        if axes is None and noop_with_empty_axes:
            return data
        if data.ndim != 1 or (axes is not None and _ints(axes) not in ([0], [-1])):
            raise RefusedError("of a shape along an axis that it has not")
        total = np.empty(1, object)
        total[0] = function(data.tolist())
        return total if keepdims else total.reshape(())

    return apply


def _tile(data: Array, repeats: Any) -> Any:
    if _varies(repeats):
        return NotImplemented
    times = _ints(repeats)
    _few(data.size * math.prod(times))
    return np.tile(data, times)


def _expand(data: Array, shape: Any) -> Any:
    if _varies(shape):
        return NotImplemented
    sizes = np.broadcast_shapes(data.shape, tuple(_ints(shape)))
    _few(math.prod(sizes))
    return np.broadcast_to(data, sizes)


def _cast(data: Array, to: int, saturate: int = 1) -> Any:
    """Whole numbers of another width; floats are computed with, and no shape."""
    del saturate
    return data if to in _WHOLE_TYPES else NotImplemented


def _where(condition: Array, a: Array, b: Array) -> Array:
    if condition.dtype == object:
        raise RefusedError("chooses by a size")
    return np.where(condition, np.asarray(a, object), np.asarray(b, object))


def _power(a: Any, b: Any) -> Any:
    if isinstance(b, int) and 0 <= b <= 4:
        return product([a] * b)
    raise RefusedError(f"a size to the power of {b}")


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "Add": _each(lambda a, b: a + b), "Sub": _each(lambda a, b: a - b),
    "Mul": _each(lambda a, b: a * b), "Neg": _each(lambda a: -a, 1), "Pow": _each(_power),
    "Where": _where, "Identity": lambda x: x, "Gather": _gather, "Slice": _slice,
    "Concat": lambda *arrays, axis: np.concatenate(arrays, axis=axis),
    "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Split": _split,
    "Reshape": lambda x, shape, **_: x.reshape(_ints(shape)),
    "Flatten": lambda x, axis=1: x.reshape(math.prod(x.shape[:axis]), -1),
    "Cast": _cast, "Size": lambda x: np.asarray(x.size),
    "ReduceProd": _reduce(product), "ReduceSum": _reduce(sum),
    "Tile": _tile, "Expand": _expand,
}  # fmt: skip
_MOVING = frozenset([
    "Cast", "CastLike", "Expand", "Flatten", "Gather", "ReduceProd", "ReduceSum", "Reshape", "Size",
    "Slice", "Split", "Squeeze", "Tile", "Unsqueeze",
])  # fmt: skip
_OPERATORS = frozenset([*_FUNCTIONS, *_COMPARING, "Max", "Min"])
