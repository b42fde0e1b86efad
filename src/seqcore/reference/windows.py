"""Convolution and pooling over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .common import Activation, Array, activate, row_lengths


def window_length(length: int, window: int, strides: int, padding: str) -> int:
    """Count the windows over `length` frames; `window` is the span of one, dilation included."""
    if padding == "valid":
        return max(0, (length - window) // strides + 1)
    return -(-length // strides)  # same, causal: one window for every stride that has begun


def conv1d_length(length: int, attrs: Mapping[str, Any]) -> int:
    """Count the frames of a conv1d's output, from those of its input."""
    window = (attrs["kernel_size"] - 1) * attrs["dilation"] + 1
    return window_length(length, window, attrs["strides"], attrs["padding"])


def pool1d_length(length: int, attrs: Mapping[str, Any]) -> int:
    """Count the frames of a max_pool1d's output, from those of its input."""
    return window_length(length, attrs["pool_size"], attrs["strides"], attrs["padding"])


def _pad_left(length: int, window: int, strides: int, padding: str) -> int:
    """Count the frames that the first window begins before frame 0.

    "same" pads exactly what the windows need, half on either side, the odd frame at the end.
    """
    if padding == "valid":
        return 0
    if padding == "causal":
        return window - 1
    windows = window_length(length, window, strides, padding)
    return max(0, (windows - 1) * strides + window - length) // 2


def conv1d(
    x: ArrayLike,
    *,
    W: ArrayLike,
    b: ArrayLike,
    strides: int = 1,
    dilation: int = 1,
    groups: int = 1,
    padding: str = "valid",
    activation: Activation = ("linear", 0, 0),
    lengths: ArrayLike | None = None,
) -> Array:
    """Convolution over time (correlation: the kernel is not flipped).

    y[t] = act(b + sum_j x[t*strides + j*dilation - left].W[j]) with zeros outside of the row.

    Parameters
    ----------
    x : (B, T, C)
    W, b : (k, C/groups, F), (F,)
        The filters of group g, F/groups of them, see the g-th C/groups channels.
    padding : "valid", "same" or "causal"

    Returns
    -------
    (B, T', F), T' from `window_length`.
    """
    x, W, b = (np.asarray(a, np.float64) for a in (x, W, b))
    kernel, _, filters = W.shape
    window = (kernel - 1) * dilation + 1
    y = np.zeros((len(x), window_length(x.shape[1], window, strides, padding), filters))
    for i, n in enumerate(row_lengths(x, lengths)):
        left = _pad_left(n, window, strides, padding)
        for t in range(window_length(n, window, strides, padding)):
            total = b.copy()
            for j in range(kernel):
                frame = t * strides + j * dilation - left
                if 0 <= frame < n:
                    parts = zip(
                        np.split(x[i, frame], groups), np.split(W[j], groups, axis=1), strict=True
                    )
                    total += np.concatenate([channels @ kernels for channels, kernels in parts])
            y[i, t] = activate(total, activation)
    return y


def max_pool1d(
    x: ArrayLike,
    *,
    pool_size: int,
    strides: int,
    padding: str = "valid",
    lengths: ArrayLike | None = None,
) -> Array:
    """Maximum of each window's frames that lie within the row: (B, T, C) to (B, T', C)."""
    x = np.asarray(x, np.float64)
    y = np.zeros((len(x), window_length(x.shape[1], pool_size, strides, padding), x.shape[2]))
    for i, n in enumerate(row_lengths(x, lengths)):
        left = _pad_left(n, pool_size, strides, padding)
        for t in range(window_length(n, pool_size, strides, padding)):
            begin = t * strides - left
            y[i, t] = x[i, max(0, begin) : min(n, begin + pool_size)].max(axis=0)
    return y


def global_avg_pool1d(x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
    """Mean over a row's frames: (B, T, C) to (B, C); zeros for a row without any."""
    x = np.asarray(x, np.float64)
    y = np.zeros((len(x), x.shape[2]))
    for i, n in enumerate(row_lengths(x, lengths)):
        if n:
            y[i] = x[i, :n].mean(axis=0)
    return y


def global_max_pool1d(x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
    """Maximum over a row's frames: (B, T, C) to (B, C); zeros for a row without any."""
    x = np.asarray(x, np.float64)
    y = np.zeros((len(x), x.shape[2]))
    for i, n in enumerate(row_lengths(x, lengths)):
        if n:
            y[i] = x[i, :n].max(axis=0)
    return y
