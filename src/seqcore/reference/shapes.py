"""Ops that move values and compute nothing."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from .common import Array


def flatten(x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
    """(B, ...) to (B, n). Rows of different lengths have no common n: `lengths` is a ValueError."""
    x = np.asarray(x, np.float64)
    if lengths is not None:
        raise ValueError("flatten takes no lengths")
    return x.reshape(len(x), math.prod(x.shape[1:]))


def concat(*values: ArrayLike, axis: int) -> Array:
    """Join along `axis`, which is not the batch; negative counts from the end."""
    return np.concatenate([np.asarray(v, np.float64) for v in values], axis=axis)


def fold(x: ArrayLike) -> Array:
    """(B, T, ...) to (B*T, ...): every frame a row of its own."""
    batch, time, *frame = np.shape(x)
    return np.reshape(x, (batch * time, *frame))


def unfold(x: ArrayLike, like: ArrayLike) -> Array:
    """(B*T, ...) to (B, T, ...), with B and T of `like`."""
    x = np.asarray(x, np.float64)
    return x.reshape(*np.shape(like)[:2], *x.shape[1:])


def select(x: ArrayLike | None, *, index: int) -> Array | None:
    """(n, B, H) to (B, H). Of an absent state, an absent state."""
    return None if x is None else np.asarray(x, np.float64)[index]


def stack(*values: ArrayLike) -> Array:
    """n values (B, H) to (n, B, H)."""
    return np.stack([np.asarray(v, np.float64) for v in values])
