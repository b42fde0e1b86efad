"""Activations, and where rows end: what every op shares."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Activation = Sequence[Any]  # [kind, alpha, beta]

_erfc = np.vectorize(math.erfc, otypes=[np.float64])

# ---- Activations ---------------------------------------------------------------------------------


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))  # never overflows, and keeps the relative accuracy of both tails
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def _elu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _softmax(x: Array) -> Array:
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return np.asarray(e / np.sum(e, axis=-1, keepdims=True))


def _log_softmax(x: Array) -> Array:
    shifted = x - np.max(x, axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True)))


ACTIVATIONS: dict[str, Callable[[Array, float, float], Array]] = {
    "linear": lambda x, *_: x,
    "tanh": lambda x, *_: np.tanh(x),
    "sigmoid": lambda x, *_: _sigmoid(x),
    "relu": lambda x, *_: np.maximum(x, 0),
    "softplus": lambda x, *_: np.logaddexp(x, 0),
    "softsign": lambda x, *_: x / (1 + np.abs(x)),
    "exponential": lambda x, *_: np.exp(x),
    "silu": lambda x, *_: x * _sigmoid(x),
    "hard_sigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "leaky_relu": lambda x, a, *_: np.where(x >= 0, x, a * x),
    "elu": lambda x, a, *_: _elu(x, a),
    "selu": lambda x, *_: 1.0507009873554805 * _elu(x, 1.6732632423543772),
    # x * Phi(x), with Phi(x) = erfc(-x/sqrt(2)) / 2
    "gelu": lambda x, *_: x * _erfc(-x / math.sqrt(2)) / 2,
    # (1 + tanh(u)) / 2 = sigmoid(2u), which does not cancel for negative u
    "gelu_tanh": lambda x, *_: x * _sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)),
    "relu6": lambda x, *_: np.clip(x, 0, 6),
    "celu": lambda x, a, *_: _elu(x / a, 1) * a,
    "log_sigmoid": lambda x, *_: -np.logaddexp(-x, 0),
    "mish": lambda x, *_: x * np.tanh(np.logaddexp(x, 0)),
    "hard_silu": lambda x, *_: x * np.clip(x + 3, 0, 6) / 6,
    "hard_tanh": lambda x, *_: np.clip(x, -1, 1),
    "hard_shrink": lambda x, a, *_: np.where(np.abs(x) <= a, 0, x),
    "soft_shrink": lambda x, a, *_: x - np.clip(x, -a, a),
    "tanh_shrink": lambda x, *_: x - np.tanh(x),
    "threshold": lambda x, a, b: np.where(x <= a, b, x),
    "squareplus": lambda x, a, *_: (x + np.sqrt(x**2 + a)) / 2,
    "sparse_plus": lambda x, *_: np.where(x < 1, np.clip(x + 1, 0, 2) ** 2 / 4, x),
    "affine": lambda x, a, b: a * x + b,
    "scaled_tanh": lambda x, a, b: a * np.tanh(b * x),
    "softmax": lambda x, *_: _softmax(x),
    "log_softmax": lambda x, *_: _log_softmax(x),
}


def activate(x: ArrayLike, activation: Activation) -> Array:
    """Apply an explicit activation.

    Parameters
    ----------
    x : array_like
        Any shape; softmax and log_softmax take the last axis.
    activation : sequence
        ``[kind, alpha, beta]``, a row of the table of activations in docs/design.md.

    Returns
    -------
    ndarray of float64
        Same shape as `x`.
    """
    kind, alpha, beta = activation
    x = np.asarray(x, np.float64)
    return ACTIVATIONS[kind](x, float(alpha), float(beta)) if x.size else x


def moved(x: ArrayLike) -> Array:
    """Return `x` for an op that only moves elements: whole numbers as they are, else float64."""
    array = np.asarray(x)
    return array if array.dtype.kind in "iu" else array.astype(np.float64)


# ---- Lengths -------------------------------------------------------------------------------------


def zero_past(y: Array, lengths: ArrayLike | None) -> Array:
    """Return `y` (B, T, ...) with every frame at or past its row's length set to 0."""
    if lengths is None:
        return y
    valid = np.arange(y.shape[1]) < np.asarray(lengths)[:, None]
    return np.where(valid.reshape(valid.shape + (1,) * (y.ndim - 2)), y, 0)


def row_lengths(x: Array, lengths: ArrayLike | None) -> list[int]:
    """Return how many frames of `x` (B, T, ...) each row has."""
    return [x.shape[1]] * len(x) if lengths is None else [int(n) for n in np.asarray(lengths)]
