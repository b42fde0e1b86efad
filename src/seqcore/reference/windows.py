"""Convolution, pooling and padding over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .common import Activation, Array, activate, row_lengths

Padding = str | Sequence[int]


def window_length(
    length: int, window: int, strides: int, padding: Padding, ceil_mode: bool = False
) -> int:
    """Count the windows over `length` frames; `window` is the span of one, dilation included.

    With `ceil_mode` a window may end behind the padding, but not begin in the one at the end.
    """
    if padding in ("same", "causal"):
        return -(-length // strides)  # one window for every stride that has begun
    left, right = (0, 0) if isinstance(padding, str) else padding
    room = length + left + right - window + (strides - 1 if ceil_mode else 0)
    count = max(0, room // strides + 1)
    begins_behind = count > 0 and (count - 1) * strides >= length + left
    return count - 1 if ceil_mode and begins_behind else count


def conv1d_length(length: int, attrs: Mapping[str, Any]) -> int:
    """Count the frames of a conv1d's output, from those of its input."""
    window = (attrs["kernel_size"] - 1) * attrs["dilation"] + 1
    return window_length(length, window, attrs["strides"], attrs["padding"])


def pool1d_length(length: int, attrs: Mapping[str, Any]) -> int:
    """Count the frames of a max_pool1d's or avg_pool1d's output, from those of its input."""
    window = (attrs["pool_size"] - 1) * attrs.get("dilation", 1) + 1
    ceil_mode = attrs.get("ceil_mode", False)
    made = window_length(length, window, attrs["strides"], attrs["padding"], ceil_mode)
    return made if length else 0


def transpose_length(length: int, attrs: Mapping[str, Any]) -> int:
    """Count the frames of a conv1d_transpose's output, from those of its input."""
    return (length - 1) * attrs["strides"] + attrs["tail"] if length else 0


def pad1d_length(length: int, attrs: Mapping[str, Any]) -> int:
    """Count the frames of a pad1d's output, from those of its input."""
    if not length and attrs.get("mode", "zero") not in ("zero", "constant"):
        return 0
    return max(0, length + int(attrs["left"]) + int(attrs["right"]))


def _pad_left(length: int, window: int, strides: int, padding: Padding) -> int:
    """Count the frames that the first window begins before frame 0.

    "same" pads exactly what the windows need, half on either side, the odd frame at the end.
    """
    if padding == "valid":
        return 0
    if not isinstance(padding, str):
        return padding[0]
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
    padding: Padding = "valid",
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
    padding : "valid", "same", "causal" or (left, right)

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


def depthwise_conv1d(
    x: ArrayLike,
    *,
    W: ArrayLike,
    b: ArrayLike,
    strides: int = 1,
    dilation: int = 1,
    padding: Padding = "valid",
    activation: Activation = ("linear", 0, 0),
    lengths: ArrayLike | None = None,
) -> Array:
    """Convolution over time of each channel by itself: a conv1d with a group for each.

    Parameters
    ----------
    x : (B, T, C)
    W, b : (k, C, m), (C*m,)
        Filters c*m to c*m + m - 1 see channel c.

    Returns
    -------
    (B, T', C*m), T' from `window_length`.
    """
    kernel, channels, multiplier = np.shape(W)
    W = np.reshape(W, (kernel, 1, channels * multiplier))
    return conv1d(
        x, W=W, b=b, strides=strides, dilation=dilation, groups=channels, padding=padding,
        activation=activation, lengths=lengths,
    )  # fmt: skip


def conv1d_transpose(
    x: ArrayLike,
    *,
    W: ArrayLike,
    b: ArrayLike,
    strides: int,
    dilation: int,
    crop: int,
    tail: int,
    activation: Activation = ("linear", 0, 0),
    lengths: ArrayLike | None = None,
) -> Array:
    """Transposed convolution over time: every frame adds a window of frames to the output.

    y[t*strides + j*dilation - crop] += x[t].W[j], from a y of b, for all frames that y has; then
    act(y).

    Parameters
    ----------
    x : (B, T, C)
    W, b : (k, C, F), (F,)
    crop : int
        Frames of the first window that stand before the output.
    tail : int
        Frames from the place of the last frame to the output's end.

    Returns
    -------
    (B, T', F), T' = (T - 1)*strides + tail, or 0 of 0 frames.
    """
    x, W, b = (np.asarray(a, np.float64) for a in (x, W, b))
    attrs = {"strides": strides, "tail": tail}
    y = np.zeros((len(x), transpose_length(x.shape[1], attrs), W.shape[2]))
    for i, n in enumerate(row_lengths(x, lengths)):
        made = transpose_length(n, attrs)
        total = np.tile(b, (made, 1))
        for t in range(n):
            for j, kernel in enumerate(W):
                frame = t * strides + j * dilation - crop
                if 0 <= frame < made:
                    total[frame] += x[i, t] @ kernel
        if made:
            y[i, :made] = activate(total, activation)
    return y


def pad1d(
    x: ArrayLike,
    *,
    left: int,
    right: int,
    mode: str = "zero",
    value: float | str = 0,
    lengths: ArrayLike | None = None,
) -> Array:
    """Frames before and behind a row's own; a negative count cuts frames there instead.

    They are zeros, a value ("constant"), the row turned round at its ends ("reflect"), its first or
    last frame ("replicate"), or the row from its other end on ("circular").
    """
    x = np.asarray(x, np.float64)
    attrs = {"left": left, "right": right, "mode": mode}
    y = np.zeros((len(x), pad1d_length(x.shape[1], attrs), x.shape[2]))
    for i, n in enumerate(row_lengths(x, lengths)):
        for t in range(pad1d_length(n, attrs)):
            at = t - left
            if mode == "reflect" and n > 1:  # there and back again: 0 1 2 1 0 1 2 ...
                at = n - 1 - abs(at % (2 * n - 2) - (n - 1))
            elif mode in ("replicate", "reflect"):
                at = min(max(at, 0), n - 1)
            elif mode == "circular":
                at %= n
            y[i, t] = x[i, at] if 0 <= at < n else float(value)
    return y


def _pool1d(
    x: ArrayLike,
    of_frames: Callable[[Array, int], Array],
    attrs: Mapping[str, Any],
    lengths: ArrayLike | None,
) -> Array:
    """Apply of_frames(frames within the row, frames within the row and its padding)."""
    x = np.asarray(x, np.float64)
    size, strides, padding = attrs["pool_size"], attrs["strides"], attrs["padding"]
    dilation = attrs.get("dilation", 1)
    window = (size - 1) * dilation + 1
    y = np.zeros((len(x), pool1d_length(x.shape[1], attrs), x.shape[2]))
    for i, n in enumerate(row_lengths(x, lengths)):
        left = _pad_left(n, window, strides, padding)
        end = n if isinstance(padding, str) else n + padding[1]
        for t in range(pool1d_length(n, attrs)):
            begin = t * strides - left
            taps = [begin + j * dilation for j in range(size)]
            inside = [at for at in taps if 0 <= at < n]
            y[i, t] = of_frames(x[i, inside], min(end, begin + size) - begin)
    return y


def max_pool1d(
    x: ArrayLike,
    *,
    pool_size: int,
    strides: int,
    padding: Padding = "valid",
    dilation: int = 1,
    ceil_mode: bool = False,
    lengths: ArrayLike | None = None,
) -> Array:
    """Maximum of each window's frames that lie within the row: (B, T, C) to (B, T', C).

    Minus infinity where a window has none.
    """
    attrs = {
        "pool_size": pool_size, "strides": strides, "padding": padding, "dilation": dilation,
        "ceil_mode": ceil_mode,
    }  # fmt: skip
    return _pool1d(x, lambda frames, _: frames.max(axis=0, initial=-np.inf), attrs, lengths)


def avg_pool1d(
    x: ArrayLike,
    *,
    pool_size: int,
    strides: int,
    padding: Padding = "valid",
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    lengths: ArrayLike | None = None,
) -> Array:
    """Mean of each window's frames that lie within the row: (B, T, C) to (B, T', C).

    With `count_include_pad`, of those that lie within its padding too, which are zeros.
    """
    attrs = {
        "pool_size": pool_size, "strides": strides, "padding": padding, "ceil_mode": ceil_mode,
    }  # fmt: skip

    def mean(frames: Array, padded: int) -> Array:
        return np.asarray(frames.sum(axis=0) / (padded if count_include_pad else len(frames)))

    return _pool1d(x, mean, attrs, lengths)


def adaptive_pool1d(
    x: ArrayLike, *, function: str, n: int, lengths: ArrayLike | None = None
) -> Array:
    """(B, T, C) to (B, n, C): means or maxima of n windows that divide each row's own frames."""
    x = np.asarray(x, np.float64)
    y = np.zeros((len(x), n, x.shape[2]))
    for row, T in enumerate(row_lengths(x, lengths)):
        for i in range(n if T else 0):
            frames = x[row, i * T // n : -(-(i + 1) * T // n)]
            y[row, i] = frames.mean(axis=0) if function == "mean" else frames.max(axis=0)
    return y


def global_avg_pool1d(
    x: ArrayLike, mask: ArrayLike | None = None, *, lengths: ArrayLike | None = None
) -> Array:
    """Mean over a row's frames that the mask keeps: (B, T, C) to (B, C).

    Parameters
    ----------
    x : (B, T, C)
    mask : (B, T), optional
        0 for a frame that does not count.

    Returns
    -------
    (B, C). Zeros for a row of no frames; NaN for one whose frames do not count, as in Keras.
    """
    x = np.asarray(x, np.float64)
    counts = np.ones(x.shape[:2], bool) if mask is None else np.asarray(mask) != 0
    y = np.zeros((len(x), x.shape[2]))
    for i, n in enumerate(row_lengths(x, lengths)):
        if n:
            frames = x[i, :n][counts[i, :n]]
            y[i] = frames.mean(axis=0) if len(frames) else np.nan
    return y


def global_max_pool1d(x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
    """Maximum over a row's frames: (B, T, C) to (B, C); zeros for a row without any."""
    x = np.asarray(x, np.float64)
    y = np.zeros((len(x), x.shape[2]))
    for i, n in enumerate(row_lengths(x, lengths)):
        if n:
            y[i] = x[i, :n].max(axis=0)
    return y
