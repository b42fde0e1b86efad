"""Several values become one, element by element."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .common import Array


def _broadcast(values: Sequence[ArrayLike]) -> list[Array]:
    """Give all values one rank: missing axes come after the batch, so that the last axes meet."""
    arrays = [np.asarray(v, np.float64) for v in values]
    rank = max(a.ndim for a in arrays)
    return [a.reshape(a.shape[:1] + (1,) * (rank - a.ndim) + a.shape[1:]) for a in arrays]


def add(*values: ArrayLike) -> Array:
    """Sum, broadcast over the axes that are not the batch."""
    first, *rest = _broadcast(values)
    return np.asarray(sum(rest, first))


def multiply(*values: ArrayLike) -> Array:
    """Product, broadcast over the axes that are not the batch."""
    first, *rest = _broadcast(values)
    return math.prod(rest, start=first)


def average(*values: ArrayLike) -> Array:
    """Mean of the values, broadcast over the axes that are not the batch."""
    return add(*values) / len(values)
