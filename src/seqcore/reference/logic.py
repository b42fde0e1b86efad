"""Truth: any number but 0, NaN too, is true; what is made here is 1 or 0. And constants."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .common import Array
from .merges import broadcast

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "equal": operator.eq,
    "not_equal": operator.ne,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
}


def compare(*values: ArrayLike, function: str, number: float | str | None) -> Array:
    """1 where the comparison of two values, or of one with a number, holds.

    The number is rounded to float32 but beside integers, with which it is compared exactly.
    """
    if number is None:
        a, b = broadcast(values)
        return np.asarray(COMPARISONS[function](a, b), np.float64)
    (x,) = (np.asarray(value) for value in values)
    if x.dtype.kind == "i":  # Python compares whole numbers with others as what they are
        held = [COMPARISONS[function](n, float(number)) for n in x.ravel().tolist()]
        return np.array(held, np.float64).reshape(x.shape)
    return np.asarray(COMPARISONS[function](x, np.float64(np.float32(number))), np.float64)


def logical(*values: ArrayLike, function: str) -> Array:
    """1 where a connective of two values, or "not" of one, holds."""
    truths = [value != 0 for value in broadcast(values)]
    connectives: dict[str, Callable[..., Any]] = {
        "and": operator.and_, "or": operator.or_, "xor": operator.xor, "not": np.logical_not,
    }  # fmt: skip
    return np.asarray(connectives[function](*truths), np.float64)


def where(
    condition: ArrayLike,
    *values: ArrayLike,
    a: float | str | None = None,
    b: float | str | None = None,
) -> Array:
    """The value a where the condition is not 0, else b; numbers may stand for both."""
    c, *rest = broadcast([condition, *values])
    first, second = (rest.pop(0) if n is None else np.float64(np.float32(n)) for n in (a, b))
    return np.asarray(np.where(c != 0, first, second), np.float64)


def constant(x: ArrayLike, *, W: ArrayLike, shape: Sequence[int]) -> Array:
    """W (S) for every row of x: (B, *S)."""
    return np.array(np.broadcast_to(np.asarray(W, np.float64), (len(np.asarray(x)), *shape)))
