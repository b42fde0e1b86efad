"""Layers that treat every frame alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .common import Activation, Array, activate, zero_past


def embedding(ids: ArrayLike, *, W: ArrayLike, lengths: ArrayLike | None = None) -> Array:
    """Row `ids` (B, ...) of the table W (rows, D): (B, ..., D).

    Raises
    ------
    IndexError
        An id within its row's length is negative or not below rows.
    """
    ids, W = np.asarray(ids), np.asarray(W, np.float64)
    ids = zero_past(ids, lengths)
    if ids.size and (ids.min() < 0 or ids.max() >= len(W)):
        raise IndexError(
            f"embedding: ids lie in {ids.min()}..{ids.max()}, the table has {len(W)} rows"
        )
    return zero_past(W[ids], lengths)


def one_hot(ids: ArrayLike, *, depth: int, lengths: ArrayLike | None = None) -> Array:
    """Vectors (B, ..., depth) of ids (B, ...): 1 in the place that the id says, else 0.

    Raises
    ------
    IndexError
        An id within its row's length is negative or not below depth.
    """
    ids = zero_past(np.asarray(ids), lengths)
    if ids.size and (ids.min() < 0 or ids.max() >= depth):
        raise IndexError(f"one_hot: ids lie in {ids.min()}..{ids.max()}, vectors have {depth}")
    return zero_past((ids[..., None] == np.arange(depth)).astype(np.float64), lengths)


def dense(
    x: ArrayLike,
    *,
    W: ArrayLike,
    b: ArrayLike,
    activation: Activation,
    one_hot: int = 0,
    lengths: ArrayLike | None = None,
) -> Array:
    """act(x.W + b) over the last axis: (..., I) to (..., N).

    With `one_hot` (I), x is ids (...), each in place of its one-hot vector.
    """
    if one_hot:
        x = _vectors(x, depth=one_hot, lengths=lengths)
    x, W, b = (np.asarray(a, np.float64) for a in (x, W, b))
    return zero_past(activate(x @ W + b, activation), lengths)


_vectors = one_hot  # under a name that no argument hides


def activation(x: ArrayLike, *, activation: Activation, lengths: ArrayLike | None = None) -> Array:
    """The activation alone, of any shape."""
    return zero_past(activate(x, activation), lengths)
