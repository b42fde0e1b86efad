"""What makes elements comparable along axes, and elementwise ops with weights or several constants.

Weights have one axis for each of `axes`, of size 1 or that axis's; axes are ascending, count from
the end where they are negative, and never name the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .common import Array, row_lengths, zero_past


def _over(weight: ArrayLike, x: Array, axes: Sequence[int]) -> Array:
    """Reshape a weight so that it broadcasts over `x`."""
    weight = np.asarray(weight, np.float64)
    shape = [1] * x.ndim
    for axis, size in zip(axes, weight.shape, strict=True):
        shape[axis] = size
    return weight.reshape(shape)


def affine(
    x: ArrayLike, *, c: ArrayLike, W: ArrayLike, b: ArrayLike, axes: Sequence[int],
    lengths: ArrayLike | None = None,
) -> Array:  # fmt: skip
    """(x - c) W + b."""
    x = np.asarray(x, np.float64)
    return zero_past((x - _over(c, x, axes)) * _over(W, x, axes) + _over(b, x, axes), lengths)


def prelu(
    x: ArrayLike, *, alpha: ArrayLike, axes: Sequence[int], lengths: ArrayLike | None = None
) -> Array:
    """x if x > 0, else alpha x."""
    x = np.asarray(x, np.float64)
    return zero_past(np.where(x > 0, x, _over(alpha, x, axes) * x), lengths)


def clipped_relu(
    x: ArrayLike, *, negative_slope: float, threshold: float, max_value: float | None,
    lengths: ArrayLike | None = None,
) -> Array:  # fmt: skip
    """min(x, max_value) if x > threshold, else negative_slope (x - threshold)."""
    x = np.asarray(x, np.float64)
    above = x if max_value is None else np.minimum(x, max_value)
    return zero_past(np.where(x > threshold, above, negative_slope * (x - threshold)), lengths)


def _normalized(x: Array, axes: tuple[int, ...], kind: str, epsilon: float) -> Array:
    """Return `x` (...) with its statistics over `axes` taken out."""
    if kind == "unit":
        norm = np.sqrt(np.sum(x**2, axis=axes, keepdims=True))
        return np.asarray(x / np.maximum(norm, epsilon))
    if kind == "rms":
        return np.asarray(x / np.sqrt(np.mean(x**2, axis=axes, keepdims=True) + epsilon))
    scaled = 1 / np.sqrt(np.var(x, axis=axes, keepdims=True) + epsilon)
    mean = np.mean(x, axis=axes, keepdims=True) if kind == "layer" else 0
    return np.asarray((x - mean) * scaled)


def _grouped(x: Array, axis: int, groups: int, kind: str, epsilon: float) -> Array:
    """Return a row `x` with the statistics of each group of channels, over all axes, taken out."""
    parts = np.split(x, x.shape[axis] if groups == -1 else groups, axis=axis)
    every = tuple(range(x.ndim))
    return np.concatenate([_normalized(part, every, kind, epsilon) for part in parts], axis=axis)


def normalize(
    x: ArrayLike, *, W: ArrayLike, b: ArrayLike, kind: str, axes: Sequence[int], groups: int,
    epsilon: float, lengths: ArrayLike | None = None,
) -> Array:  # fmt: skip
    """normalized(x) W + b, with statistics over `axes` of each row.

    With `groups` they run over all axes, and over so many parts of the one axis named (-1: every
    channel is a part). kind: "layer" (x - mean)/sqrt(var + epsilon); "variance"
    x/sqrt(var + epsilon); "rms" x/sqrt(mean x^2 + epsilon); "unit" x/max(norm, epsilon).
    """
    x = np.asarray(x, np.float64)
    inside = tuple(axis % x.ndim - 1 for axis in axes)
    y = np.zeros_like(x)
    for row, n in enumerate(row_lengths(x, lengths)):
        own = x[row, :n]
        if own.size and groups:
            y[row, :n] = _grouped(own, inside[0], groups, kind, epsilon)
        elif own.size:
            y[row, :n] = _normalized(own, inside, kind, epsilon)
    return zero_past(y * _over(W, x, axes) + _over(b, x, axes), lengths)


def softmax(x: ArrayLike, *, axes: Sequence[int], lengths: ArrayLike | None = None) -> Array:
    """exp(x) divided by its sum over `axes` of each row."""
    x = np.asarray(x, np.float64)
    inside = tuple(axis % x.ndim - 1 for axis in axes)
    y = np.zeros_like(x)
    for row, n in enumerate(row_lengths(x, lengths)):
        if x[row, :n].size:
            e = np.exp(x[row, :n] - np.max(x[row, :n], axis=inside, keepdims=True))
            y[row, :n] = e / np.sum(e, axis=inside, keepdims=True)
    return zero_past(y, lengths)
