"""Where a frame stands and where a row ends, as numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .common import Array
from .common import row_lengths as lengths_of


def positions(x: ArrayLike) -> Array:
    """x (B, T, ...) to (B, T): 0, 1, 2 ..."""
    rows, frames = np.shape(x)[:2]
    return np.broadcast_to(np.arange(frames, dtype=np.float64), (rows, frames)).copy()


def row_lengths(x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
    """x (B, T, ...) to (B, 1): each row's length, or T."""
    return np.asarray(lengths_of(np.asarray(x), lengths), np.float64)[:, None]
