"""Where a frame stands, as a number."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .common import Array


def positions(x: ArrayLike) -> Array:
    """x (B, T, ...) to (B, T): 0, 1, 2 ..."""
    rows, frames = np.shape(x)[:2]
    return np.array(np.broadcast_to(np.arange(frames, dtype=np.float64), (rows, frames)))
