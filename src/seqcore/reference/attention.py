"""Attention, and products of two values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .common import ACTIVATIONS, Array

_HIDDEN = -2.4e38  # of a masked score, whatever it was
_LESS = 1e9  # or how much less it becomes, in float32: numbers there are 64 apart


def attention(
    query: ArrayLike,
    value: ArrayLike,
    key: ArrayLike | None = None,
    query_mask: ArrayLike | None = None,
    value_mask: ArrayLike | None = None,
    *,
    score: str,
    masking: str,
    heads: int = 0,
    scale: float = 1.0,
    causal: bool = False,
    shared: bool = False,  # noqa: ARG001  # W's shape tells it
    W: ArrayLike | None = None,
    lengths: Sequence[ArrayLike | None] | None = None,
) -> tuple[Array, Array]:
    """softmax(scores).value, a mean of the value's frames for each frame of the query.

    score "dot" is scale * q.k, "additive" is sum_d W_d tanh(scale * (q_d + k_d)).

    Parameters
    ----------
    query, value, key : (B, Tq, D), (B, Tv, Dv), (B, Tv, D)
        Without a key, it is the value.
    query_mask, value_mask : (B, Tq), (B, Tv)
        0 where a frame does not count.
    masking : "subtract", "replace" or "zero"
        Of a score that is masked: it becomes less by 1e9 (so much that
        what sees nothing gets the mean of all), or the lowest; "zero" is "replace", and
        what sees nothing gives zeros. "subtract" gives zeros for a masked frame of the query,
        in the others it sees nothing.
    heads : int
        How many parts the features have, each with weights of its own; 0 for one, and no axis.
    causal : bool
        Frame i sees frames 0 to i.
    W : (D,) or (1,)
        Of additive scores.
    lengths : list of (B,) or None
        Of the inputs, in their order.

    Returns
    -------
    (B, Tq, Dv), and the weights (B, Tq, Tv) or (B, heads, Tq, Tv), both 0 past each end.
    """
    q, v = np.asarray(query, np.float64), np.asarray(value, np.float64)
    k = v if key is None else np.asarray(key, np.float64)
    parts = heads or 1
    y = np.zeros((*q.shape[:2], v.shape[2]))
    weights = np.zeros((len(q), parts, q.shape[1], v.shape[1]))
    for i in range(len(q)):
        frames: list[Any] = [None if n is None else np.asarray(n)[i] for n in lengths or [None]]
        queries = q.shape[1] if frames[0] is None else int(frames[0])
        values = min([v.shape[1], *(int(n) for n in frames[1:3] if n is not None)])
        if not values:
            continue
        seen_query = np.ones(queries, bool)
        if query_mask is not None:
            seen_query = np.asarray(query_mask)[i, :queries] != 0
        seen = np.ones((queries, values), bool)
        if value_mask is not None:
            seen &= np.asarray(value_mask)[i, :values] != 0
        if causal:
            seen &= np.tri(queries, values, dtype=bool)
        if masking != "subtract":
            seen &= seen_query[:, None]
        out = []
        for h in range(parts):
            qh, kh, vh = (np.split(a[i], parts, axis=1)[h] for a in (q, k, v))
            s = _scores(qh[:queries], kh[:values], score, scale, W)
            hidden = (s - _LESS).astype(np.float32) if masking == "subtract" else _HIDDEN
            s = np.where(seen, s, hidden)
            p = ACTIVATIONS["softmax"](s, 0, 0)
            if masking == "zero":
                p = np.where(seen, p, 0)
            weights[i, h, :queries, :values] = p
            out.append(p @ vh[:values])
        y[i, :queries] = np.concatenate(out, axis=1)
        if masking == "subtract":
            y[i, :queries][~seen_query] = 0
    return y, weights if heads else weights[:, 0]


def _scores(q: Array, k: Array, score: str, scale: float, W: ArrayLike | None) -> Array:
    if score == "dot":
        return np.asarray(scale * (q @ k.T))
    together = np.tanh(scale * (q[:, None] + k[None]))
    return np.asarray(np.sum(np.asarray(W, np.float64) * together, axis=-1))


def batch_matmul(a: ArrayLike, b: ArrayLike) -> Array:
    """(B, ..., M, K) and (B, ..., K, N) to (B, ..., M, N)."""
    return np.asarray(np.matmul(np.asarray(a, np.float64), np.asarray(b, np.float64)))


def dot(a: ArrayLike, b: ArrayLike, *, axes: Sequence[int], normalize: bool = False) -> Array:
    """Sum over one axis of each: the others of `a`, then those of `b`; (B, 1) where none is left.

    With normalize, vectors along the axes are multiplied by min(1/norm, 1e7) first.
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    x, y = np.moveaxis(x, axes[0], -1), np.moveaxis(y, axes[1], -1)
    if normalize:
        x, y = (v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-7) for v in (x, y))
    left = x.shape[1:-1] + y.shape[1:-1] or (1,)
    made = [np.tensordot(one, other, axes=(-1, -1)) for one, other in zip(x, y, strict=True)]
    return np.reshape(np.array(made), (len(x), *left))
