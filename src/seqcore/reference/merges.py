"""Several values become one, element by element; one becomes another, or fewer axes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from .common import Array, row_lengths


def broadcast(values: Sequence[ArrayLike]) -> list[Array]:
    """Give all values one rank: missing axes come after the batch, so that the last axes meet."""
    arrays = [np.asarray(v, np.float64) for v in values]
    rank = max(a.ndim for a in arrays)
    return [a.reshape(a.shape[:1] + (1,) * (rank - a.ndim) + a.shape[1:]) for a in arrays]


def add(*values: ArrayLike) -> Array:
    """Sum, broadcast over the axes that are not the batch."""
    first, *rest = broadcast(values)
    return np.asarray(sum(rest, first))


def multiply(*values: ArrayLike) -> Array:
    """Product, broadcast over the axes that are not the batch."""
    first, *rest = broadcast(values)
    return math.prod(rest, start=first)


def average(*values: ArrayLike) -> Array:
    """Mean of the values, broadcast over the axes that are not the batch."""
    return add(*values) / len(values)


def subtract(a: ArrayLike, b: ArrayLike) -> Array:
    """Difference, broadcast over the axes that are not the batch."""
    x, y = broadcast([a, b])
    return np.asarray(x - y)


def divide(a: ArrayLike, b: ArrayLike) -> Array:
    """Quotient, broadcast over the axes that are not the batch."""
    x, y = broadcast([a, b])
    return np.asarray(x / y)


def maximum(*values: ArrayLike) -> Array:
    """The largest of the values, broadcast over the axes that are not the batch; NaN stays."""
    return np.asarray(functools.reduce(np.maximum, broadcast(values)))


def minimum(*values: ArrayLike) -> Array:
    """The smallest of the values, broadcast over the axes that are not the batch; NaN stays."""
    return np.asarray(functools.reduce(np.minimum, broadcast(values)))


def masked_merge(
    a: ArrayLike,
    b: ArrayLike,
    mask_a: ArrayLike | None = None,
    mask_b: ArrayLike | None = None,
    *,
    function: str,
) -> Array:
    """Merge two values; a frame that counts in one of them only is that one's.

    In neither: zeros of a product, else the first's. Masks are (B, T), None where all frames count.
    """
    both = {"multiply": multiply, "maximum": maximum, "minimum": minimum}[function](a, b)
    first, second = (np.broadcast_to(v, both.shape) for v in broadcast([a, b]))
    frames = both.shape[:2] + (1,) * (both.ndim - 2)
    masks = (True if m is None else np.asarray(m) != 0 for m in (mask_a, mask_b))
    at, bt = (np.broadcast_to(m, both.shape[:2]).reshape(frames) for m in masks)
    neither = np.zeros_like(both) if function == "multiply" else first
    return np.select([at & bt, at, bt & ~at], [both, first, second], neither)


UNARY: dict[str, Callable[[Array], Array]] = {
    "abs": np.abs,
    "negative": np.negative,
    "square": np.square,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": np.reciprocal,
    "log": np.log,
}


def unary(x: ArrayLike, *, function: str) -> Array:
    """A function of every element."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(UNARY[function](np.asarray(x, np.float64)))


def reduce(
    x: ArrayLike,
    *,
    function: str,
    axes: Sequence[int],
    keepdims: bool,
    lengths: ArrayLike | None = None,
) -> Array:
    """Reduce over `axes` ("mean", "sum", "max", "min"); zeros of nothing.

    Over axis 1, of each row's first `lengths` frames.
    """
    x = np.asarray(x, np.float64)
    axes = [axis % x.ndim for axis in axes]
    ends = row_lengths(x, lengths if 1 in axes else None)
    over = tuple(axis - 1 for axis in axes)
    shape = [1 if axis in axes else n for axis, n in enumerate(x.shape)]
    y = np.zeros(shape)
    for i, n in enumerate(ends):
        row = x[i, :n]
        if math.prod(row.shape[axis] for axis in over):
            y[i] = getattr(np, function)(row, axis=over, keepdims=True)
    kept = [n for axis, n in enumerate(x.shape) if axis not in axes]
    return y if keepdims else y.reshape(kept)
