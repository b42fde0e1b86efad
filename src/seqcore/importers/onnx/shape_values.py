"""Arithmetic on shapes: operators on whole numbers of which some are sizes that vary.

Exporters compute shapes in the graph: ``Concat(Gather(Shape(x), 0), -1, 64)``. Such a vector is a
`Constant` of an array of objects, `Size` or int, and NumPy's functions do on it what ONNX's do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..aten.sizes import Size, product, quotient
from ..aten.tensors import Constant, RefusedError

__all__ = ["of_sizes"]

Array = NDArray[Any]


def of_sizes(op: str, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """Return what an operator makes of constants of which one holds sizes that vary.

    NotImplemented: there is none, or the operator is not one of those that shapes go through.

    Raises
    ------
    RefusedError
        The result depends on what a size is.
    """
    arrays = [value.array for value in given if isinstance(value, Constant)]
    function = _FUNCTIONS.get(op)
    if function is None or not any(array.dtype == object for array in arrays):
        return NotImplemented
    if any(isinstance(value, Constant) and value.array.shape != value.sizes for value in given):
        raise RefusedError("of shapes of which one is as long as another is large")
    whole = [None if value is None else value.array for value in given]
    made = function(*whole, **dict(attributes))
    if isinstance(made, tuple):
        return tuple(_settled(each) for each in made)
    return _settled(made)


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


def _divided(a: Any, b: Any) -> Any:
    """Integers are divided towards zero; sizes are not negative."""
    if isinstance(a, float) or isinstance(b, float):
        raise RefusedError("a quotient of sizes that vary")
    if not isinstance(a, Size) and not isinstance(b, Size):
        return math.trunc(a / b) if abs(a) < 1 << 52 else a // b
    return quotient(a, b)


def _remainder(a: Any, b: Any) -> Any:
    return a - _divided(a, b) * b if isinstance(a, Size) or isinstance(b, Size) else a % b


def _equal(a: Any, b: Any) -> bool:
    """A size is one of an axis: it is no negative number."""
    if not isinstance(a, Size) and not isinstance(b, Size):
        return bool(a == b)
    if a == b:
        return True
    least = a if isinstance(b, Size) else b
    if not isinstance(least, Size) and least < 0:
        return False
    raise RefusedError(f"asks whether {a} is {b}")


def _above(a: Any, b: Any) -> bool:
    if not isinstance(a, Size) and not isinstance(b, Size):
        return bool(a > b)
    if isinstance(a, Size) and not isinstance(b, Size) and b < 0:
        return True
    if isinstance(b, Size) and not isinstance(a, Size) and a < 0:
        return False
    raise RefusedError(f"asks whether {a} is greater than {b}")


def _extreme(name: str) -> Callable[..., Any]:
    """Max and Min: of a size and a number that no size is below, it is the size or the number."""

    def choose(a: Any, b: Any) -> Any:
        larger = a if a == b or _above(a, b) else b
        return larger if name == "max" else (b if larger is a else a)

    def apply(*arrays: Array) -> Array:
        total = arrays[0]
        for array in arrays[1:]:
            total = _each(choose)(total, array)
        return total

    return apply


def _gather(data: Array, indices: Array, axis: int = 0) -> Array:
    made: Array = np.take(data, np.asarray(indices, np.int64), axis=axis)
    return made


def _ints(value: Any) -> list[int]:
    entries = np.asarray(value).reshape(-1).tolist()
    if any(isinstance(entry, Size) for entry in entries):
        raise RefusedError("of a part of a shape that depends on a size")
    return [int(entry) for entry in entries]


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
    "Mul": _each(lambda a, b: a * b), "Div": _each(_divided),
    "Mod": lambda a, b, **_: _each(_remainder)(a, b), "Neg": _each(lambda a: -a, 1),
    "Pow": _each(_power), "Max": _extreme("max"), "Min": _extreme("min"),
    "Equal": _each(_equal), "Greater": _each(_above), "Less": _each(lambda a, b: _above(b, a)),
    "GreaterOrEqual": _each(lambda a, b: not _above(b, a)),
    "LessOrEqual": _each(lambda a, b: not _above(a, b)),
    "Where": _where, "Identity": lambda x: x, "Gather": _gather, "Slice": _slice,
    "Concat": lambda *arrays, axis: np.concatenate(arrays, axis=axis),
    "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Split": _split,
    "Reshape": lambda x, shape, **_: x.reshape(_ints(shape)),
    "Flatten": lambda x, axis=1: x.reshape(math.prod(x.shape[:axis]), -1),
    "Cast": lambda x, **_: x, "CastLike": lambda x, *_, **__: x,
    "ReduceProd": _reduce(product), "ReduceSum": _reduce(sum),
    "Tile": lambda x, repeats: np.tile(x, _ints(repeats)),
    "Expand": lambda x, to: np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(_ints(to)))),
}  # fmt: skip
