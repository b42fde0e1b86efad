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


def remainder(a: ArrayLike, b: ArrayLike, *, rounding: str) -> Array:
    """What a quotient rounded down ("floor") or towards zero ("trunc") leaves, likewise."""
    x, y = broadcast([a, b])
    with np.errstate(invalid="ignore"):
        return np.asarray(np.remainder(x, y) if rounding == "floor" else np.fmod(x, y))


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
    "exp": np.exp,
    "sin": np.sin,
    "cos": np.cos,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "trunc": np.trunc,
    "sign": lambda x: np.sign(np.where(np.isnan(x), 0, x)),
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
    "log1p": np.log1p,
    "expm1": np.expm1,
}
REDUCTIONS: dict[str, Callable[..., Array]] = {
    "mean": np.mean,
    "sum": np.sum,
    "max": np.max,
    "min": np.min,
    "prod": np.prod,
    "norm1": lambda x, **over: np.sum(np.abs(x), **over),
    "norm2": lambda x, **over: np.sqrt(np.sum(np.square(x), **over)),
    "logsumexp": lambda x, axis, keepdims: np.logaddexp.reduce(x, axis=axis, keepdims=keepdims),
}


def unary(x: ArrayLike, *, function: str) -> Array:
    """A function of every element."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.asarray(UNARY[function](np.asarray(x, np.float64)))


def power(x: ArrayLike, *, exponent: float | str) -> Array:
    """A power of every element, of an exponent of float32; 0.5 is the root."""
    x, e = np.asarray(x, np.float64), np.float64(np.float32(exponent))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.asarray(np.sqrt(x) if e == 0.5 else np.power(x, e))


def cumsum(x: ArrayLike, *, axis: int) -> Array:
    """Running sums along one axis."""
    return np.cumsum(np.asarray(x, np.float64), axis)


def reduce(
    x: ArrayLike,
    *,
    function: str,
    axes: Sequence[int],
    keepdims: bool,
    correction: int = 0,
    lengths: ArrayLike | None = None,
) -> Array:
    """Reduce over `axes` by one of `REDUCTIONS`, or "var" or "std"; zeros of nothing.

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
            if function in ("var", "std"):
                spread = np.var if function == "var" else np.std
                count = math.prod(row.shape[axis] for axis in over)
                enough = count > correction  # else 0/0
                y[i] = spread(row, axis=over, keepdims=True, ddof=correction) if enough else np.nan
            else:
                y[i] = REDUCTIONS[function](row, axis=over, keepdims=True)
    kept = [n for axis, n in enumerate(x.shape) if axis not in axes]
    return y if keepdims else y.reshape(kept)
