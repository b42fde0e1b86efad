"""What one writes without a library: a Python loop over time around float32 matrix products.

`run` is also what seqcore's numbers are compared with before they are timed. The products come from
NumPy, or from BLAS called by hand into memory that is there already.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from cases import Array, Case

Product = Callable[[Array], Array]  # (rows, K) -> (rows, N), which the next call may overwrite
MakeProduct = Callable[[int, Array, Array], Product]
Step = Callable[[Array, Array], Array]  # a frame's sums of x (B, G, H) and h (B, H) -> h


def numpy_product(rows: int, weight: Array, bias: Array) -> Product:  # noqa: ARG001
    """Return a function of a (rows, K): a . weight^T + bias, for weight (N, K), bias (N,)."""
    transposed = weight.T
    return lambda a: a @ transposed + bias


def blas_product(rows: int, weight: Array, bias: Array) -> Product:
    """Return the same by sgemv or sgemm of SciPy, always into the same memory.

    BLAS counts columns first: to it, C-ordered arrays are their transposes.
    """
    from scipy.linalg.blas import sgemm, sgemv

    matrix = np.ascontiguousarray(weight).T
    out = np.empty((rows, len(bias)), np.float32)
    transposed = out.T

    def multiply(a: Array) -> Array:
        out[:] = bias
        if rows == 1:
            sgemv(1.0, matrix, a[0], beta=1.0, y=out[0], trans=1, overwrite_y=1)
        else:
            sgemm(1.0, matrix, a.T, beta=1.0, c=transposed, trans_a=1, overwrite_c=1)
        return out

    return multiply


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _rnn_step(case: Case, product: MakeProduct, U: Array, bu: Array) -> Step:
    recurrent = product(case.batch, U, bu)
    return lambda x, h: np.tanh(x[:, 0] + recurrent(h))


def _lstm_step(case: Case, product: MakeProduct, U: Array, bu: Array) -> Step:
    recurrent = product(case.batch, U, bu)
    c = np.zeros((case.batch, case.units), np.float32)

    def step(x: Array, h: Array) -> Array:
        nonlocal c
        i, f, g, o = (x + recurrent(h).reshape(x.shape)).swapaxes(0, 1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        return _sigmoid(o) * np.tanh(c)

    return step


def _gru_step(case: Case, product: MakeProduct, U: Array, bu: Array) -> Step:
    recurrent = product(case.batch, U, bu)

    def step(x: Array, h: Array) -> Array:
        hr, hz, hn = recurrent(h).reshape(x.shape).swapaxes(0, 1)
        z = _sigmoid(x[:, 1] + hz)
        return (1 - z) * np.tanh(x[:, 2] + _sigmoid(x[:, 0] + hr) * hn) + z * h

    return step


def _reset_before_step(case: Case, product: MakeProduct, U: Array, bu: Array) -> Step:
    two = 2 * case.units
    gates = product(case.batch, U[:two], bu[:two])
    candidate = product(case.batch, U[two:], bu[two:])

    def step(x: Array, h: Array) -> Array:
        r, z = _sigmoid(x[:, :2] + gates(h).reshape(x[:, :2].shape)).swapaxes(0, 1)
        return (1 - z) * np.tanh(x[:, 2] + candidate(r * h)) + z * h

    return step


def _step(case: Case) -> Callable[[Case, MakeProduct, Array, Array], Step]:
    if not case.reset_after:
        return _reset_before_step
    return {"RNN": _rnn_step, "LSTM": _lstm_step, "GRU": _gru_step}[case.cell]


def _scan(
    case: Case, product: MakeProduct, x: Array, weights: dict[str, Array], suffix: str
) -> Array:
    """Return y (B, T, H) of one direction of one layer, in the order of x."""
    W, U = weights[f"weight_ih{suffix}"], weights[f"weight_hh{suffix}"]
    b, bu = weights[f"bias_ih{suffix}"], weights[f"bias_hh{suffix}"]
    frames = np.ascontiguousarray(x).reshape(-1, x.shape[2])
    projected = product(len(frames), W, b)(frames)
    projected = projected.reshape(case.batch, case.time, case.gates, case.units)
    step = _step(case)(case, product, U, bu)
    h = np.zeros((case.batch, case.units), np.float32)
    y = np.empty((case.batch, case.time, case.units), np.float32)
    for t in range(case.time):
        h = step(projected[:, t], h)
        y[:, t] = h
    return y


def run(case: Case, x: Array, weights: dict[str, Array], product: MakeProduct) -> Array:
    """Return y (B, T, D*H).

    Rows that end early are computed to the end and then cleared; frames that a mask leaves stand
    side by side in front of the others, and their outputs are spread behind them.
    """
    mask = case.mask()
    x = np.take_along_axis(x, np.argsort(~mask, axis=1, kind="stable")[..., None], axis=1)
    for layer in range(case.layers):
        parts = [
            _scan(case, product, x[:, ::step], weights, suffix)[:, ::step]
            for suffix, step in zip(case.suffixes(layer), (1, -1), strict=False)
        ]
        x = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
    if case.ragged:
        x[np.arange(case.time) >= case.lengths()[:, None]] = 0
    if case.counts is not None:
        last = mask.cumsum(axis=1)[..., None] - 1  # of the frames that count so far
        x = np.where(last < 0, 0, np.take_along_axis(x, np.maximum(last, 0), axis=1))
    return x
