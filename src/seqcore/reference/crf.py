"""The best path through a linear-chain conditional random field."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .common import Array, row_lengths


def crf(
    x: ArrayLike,
    mask: ArrayLike | None = None,
    *,
    W: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    lengths: ArrayLike | None = None,
) -> tuple[Array, Array]:
    """Tags of the best path, and its score, for a score of every tag of every frame.

    score(y) = start[y_0] + sum_t x[t, y_t] + sum_t W[y_(t-1), y_t] + end[y_last]; of equal paths
    the one with the lowest last tag, then the lowest tag before it, and so on.

    Parameters
    ----------
    x : (B, T, N)
    mask : (B, T), optional
        0 for a frame that is no part of the path.
    W : (N, N)
        From tag i to tag j.
    start, end : (N,)

    Returns
    -------
    tags : (B, T) of int64
        0 for what is no part of the path. -1 at all frames of a row without any: each is forbidden
        by a -inf, or the row holds NaN or +inf.
    score : (B,)
        0 of no frame, -inf where every path is forbidden, NaN where the row holds NaN or +inf.
    """
    x, W, start, end = (np.asarray(a, np.float64) for a in (x, W, start, end))
    counts = np.ones(x.shape[:2], bool) if mask is None else np.asarray(mask) != 0
    tags, score = np.zeros(x.shape[:2], np.int64), np.zeros(len(x))
    for row, n in enumerate(row_lengths(x, lengths)):
        taken = np.flatnonzero(counts[row, :n])
        if not len(taken):
            continue
        if not (x[row, taken] < np.inf).all():
            tags[row, taken], score[row] = -1, np.nan
            continue
        best = start + x[row, taken[0]]
        before = []  # of each tag of the later frames, the best tag one frame earlier
        for t in taken[1:]:
            through = best[:, None] + W
            before.append(through.argmax(axis=0))
            best = through.max(axis=0) + x[row, t]
        best = best + end
        path = [int(best.argmax())]
        for pointers in reversed(before):
            path.append(int(pointers[path[-1]]))
        score[row] = best.max()
        tags[row, taken] = -1 if score[row] == -np.inf else path[::-1]
    return tags, score
