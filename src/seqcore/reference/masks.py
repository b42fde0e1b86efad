"""Masks: values (B, T) of 0 and 1 that say which frames count; None where every one does."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import ArrayLike

from .common import Array


def mask_ids(ids: ArrayLike) -> Array:
    """Where ids (B, T, ...) are not 0."""
    return np.asarray(np.asarray(ids) != 0, np.float64)


def mask_frames(x: ArrayLike, *, value: float) -> Array:
    """Where any feature of x (B, T, ..., F) is not `value`."""
    return np.asarray((np.asarray(x) != np.float32(value)).any(axis=-1), np.float64)


def masking(x: ArrayLike, *, value: float) -> Array:
    """x (B, T, ..., F), 0 where all features of a frame are `value`."""
    x = np.asarray(x, np.float64)
    return np.asarray(np.where(mask_frames(x, value=value)[..., None] != 0, x, 0))


def mask_merge(*masks: ArrayLike | None, all: bool) -> Array | None:
    """Where all masks (B, T), or (B, 1) for all frames, say so; or any of them."""
    given = [np.asarray(m) != 0 for m in masks if m is not None]
    if not given or (not all and len(given) < len(masks)):
        return None
    return np.asarray(functools.reduce(np.logical_and if all else np.logical_or, given), np.float64)


def mask_concat(
    a: ArrayLike, b: ArrayLike, mask_a: ArrayLike | None = None, mask_b: ArrayLike | None = None
) -> Array:
    """The masks of a (B, T1, ...) and b (B, T2, ...) end to end, ones for one that is None."""
    masks = [
        np.ones(np.shape(v)[:2]) if m is None else np.asarray(m) != 0
        for v, m in ((a, mask_a), (b, mask_b))
    ]
    return np.concatenate(masks, axis=1).astype(np.float64)
