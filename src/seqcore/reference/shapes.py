"""Ops that move values and compute nothing."""

from __future__ import annotations

import builtins
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .common import Array, moved, row_lengths


def flatten(x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
    """(B, ...) to (B, n). Rows of different lengths have no common n: `lengths` is a ValueError."""
    x = np.asarray(x, np.float64)
    if lengths is not None:
        raise ValueError("flatten takes no lengths")
    return x.reshape(len(x), math.prod(x.shape[1:]))


def concat(*values: ArrayLike, axis: int) -> Array:
    """Join along `axis`, which is not the batch; negative counts from the end."""
    return np.concatenate([moved(v) for v in values], axis=axis)


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
    return None if x is None else moved(x)[index]


def stack(*values: ArrayLike) -> Array:
    """n values (B, H) to (n, B, H)."""
    return np.stack([moved(v) for v in values])


def batch_first(x: ArrayLike | None, *, axis: int = 1) -> Array | None:
    """(n, B, ...) to (B, n, ...), with `axis` axes before the batch. Of an absent state, that."""
    return None if x is None else np.moveaxis(moved(x), axis, 0)


def batch_second(x: ArrayLike, *, axis: int = 1) -> Array:
    """(B, n, ...) to (n, B, ...), with `axis` axes before the batch."""
    return np.moveaxis(moved(x), 0, axis)


def keeps_time(x: ArrayLike, shape: Sequence[int], keep: int) -> bool:
    """Whether the frames of x (B, T, ...) are frames of reshape's result too."""
    _, time, *frame = np.shape(x)
    rest = [n for n in shape[1:] if n != -1]
    same_frames = len(rest) == len(shape) - 1 and math.prod(rest) == math.prod(frame)
    return keep > 1 or shape[0] == time or (shape[0] == -1 and same_frames)


def reshape(
    x: ArrayLike,
    *,
    keep: int,
    sizes: Sequence[int] | None,
    shape: Sequence[int],
    lengths: ArrayLike | None = None,
) -> Array:
    """The axes from `keep` on, of these `sizes` if they are told, in another `shape`.

    At most one size of `shape` is -1, which is what is left. ValueError with lengths where frames
    do not stay.
    """
    x = np.asarray(x)
    if sizes is not None and x.shape[keep:] != tuple(sizes):
        raise ValueError(f"reshape: {x.shape} does not end in {sizes}")
    if lengths is not None and not keeps_time(x, shape, keep):
        raise ValueError("this reshape takes no lengths")
    known = math.prod(n for n in shape if n != -1)
    left = math.prod(x.shape[keep:]) // known
    return x.reshape(x.shape[:keep] + tuple(left if n == -1 else n for n in shape))


def expand(x: ArrayLike, *, axis: int) -> Array:
    """A new axis of size 1."""
    return np.asarray(np.expand_dims(np.asarray(x), axis))


def permute(x: ArrayLike, *, dims: Sequence[int]) -> Array:
    """Axis d of the result is axis dims[d-1] of x; the batch stays."""
    return np.transpose(moved(x), (0, *dims))


def repeat(x: ArrayLike, *, axis: int, repeats: int) -> Array:
    """Every slice along `axis` so many times, one behind the other."""
    return np.repeat(moved(x), repeats, axis=axis)


def repeat_length(length: int, attrs: Mapping[str, Any]) -> int:
    """Count the frames of repeat's result, from those of its input."""
    return length * attrs["repeats"] if attrs["axis"] == 1 else length


def _range(attrs: Mapping[str, Any]) -> builtins.slice:
    return builtins.slice(attrs["start"], attrs["stop"], attrs["step"])


def slice_length(length: int, attrs: Mapping[str, Any]) -> int:
    """Count the frames of slice's result, from those of its input."""
    return len(range(*_range(attrs).indices(length))) if attrs["axis"] == 1 else length


def slice(
    x: ArrayLike,
    *,
    axis: int,
    start: int | None,
    stop: int | None,
    step: int,
    lengths: ArrayLike | None = None,
) -> Array:
    """x[start:stop:step] along one axis; along axis 1 of each row's own frames, and then zeros."""
    x = moved(x)
    key = _range({"start": start, "stop": stop, "step": step})
    if axis > 1 or lengths is None:
        return x[(builtins.slice(None),) * axis + (key,)]
    y = np.zeros_like(x[:, key])
    for i, n in enumerate(row_lengths(x, lengths)):
        taken = x[i, :n][key]
        y[i, : len(taken)] = taken
    return y


def index(x: ArrayLike, *, axis: int, index: int, lengths: ArrayLike | None = None) -> Array:
    """x[index] along one axis, which goes; along axis 1 from a row's own end.

    Zeros for a row without that frame, and for all rows of a sequence without it.
    """
    x = moved(x)
    if axis > 1:
        return np.asarray(x.take(index, axis))
    y = np.zeros(x.shape[:1] + x.shape[2:], x.dtype)
    for i, n in enumerate(row_lengths(x, lengths)):
        if -n <= index < n:
            y[i] = x[i, index if index >= 0 else n + index]
    return y
