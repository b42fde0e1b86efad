"""SimpleRNN, LSTM and GRU over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from .common import Activation, Array, activate, row_lengths
from .frames import one_hot as vectors


def _scan(
    step: Callable[..., tuple[Array, ...]],
    x: Array,
    states: Sequence[ArrayLike | None],
    sizes: Sequence[int],
    mask: ArrayLike | None,
    lengths: ArrayLike | None,
    reverse: bool,
    realign: bool,
    return_sequences: bool,
    zero_output_for_mask: bool,
) -> tuple[Array, ...]:
    """Advance ``states = step(x_t, *states)`` over each row's own frames; return y, last states.

    Step s reads frame s or, with `reverse`, frame length-1-s of a row. Its output stands at s or,
    with `realign`, at the frame that it read. A row whose frames are over is left out, state too.
    A masked frame leaves the state as it is, and puts out what the step before did: zeros before
    the first that counts, and everywhere with `zero_output_for_mask`.
    """
    batch, time = x.shape[:2]
    ends = np.array(row_lengths(x, lengths), np.int64)
    counts = np.ones((batch, time), bool) if mask is None else np.asarray(mask) != 0
    state = [
        np.zeros((batch, size)) if s is None else np.array(s, np.float64)
        for s, size in zip(states, sizes, strict=True)
    ]
    y = np.zeros((batch, time, sizes[0]))
    # Without a frame the last output is the state.
    last = np.where((ends == 0)[:, None], state[0], 0.0)
    for s in range(time):
        rows = np.flatnonzero(s < ends)
        frame = ends[rows] - 1 - s if reverse else np.full(len(rows), s)
        counted = counts[rows, frame][:, None]
        new = step(x[rows, frame], *(values[rows] for values in state))
        for values, value in zip(state, new, strict=True):
            values[rows] = np.where(counted, value, values[rows])
        before = 0.0 if zero_output_for_mask else last[rows]
        y[rows, frame if realign else s] = last[rows] = np.where(counted, new[0], before)
    return (y if return_sequences else last, *state)


def simple_rnn(
    x: ArrayLike,
    h0: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    *,
    W: ArrayLike,
    U: ArrayLike,
    b: ArrayLike,
    activation: Activation,
    reverse: bool = False,
    realign: bool = False,
    return_sequences: bool = True,
    zero_output_for_mask: bool = False,
    one_hot: int = 0,
    lengths: ArrayLike | None = None,
) -> tuple[Array, Array]:
    """Elman network, h = act(x.W + h.U + b).

    Parameters
    ----------
    x : (B, T, I)
    h0 : (B, H), optional
        Zero when absent.
    mask : (B, T), optional
        0 for frames that do not count.
    W, U, b : (I, H), (H, H), (H,)
    activation : [kind, alpha, beta]
    reverse, realign, return_sequences, zero_output_for_mask : bool
        See docs/design.md: process from the last valid frame; store y at the frame that made it;
        y is every state or the last one; a masked frame puts out zeros.
    one_hot : int
        I, where x is ids (B, T), each in place of its one-hot vector; else 0.
    lengths : (B,), optional

    Returns
    -------
    y : (B, T, H) or (B, H)
    h : (B, H)
        The state at each row's end.
    """
    x = vectors(x, depth=one_hot, lengths=lengths) if one_hot else x
    x, W, U, b = (np.asarray(a, np.float64) for a in (x, W, U, b))

    def step(x_t: Array, h: Array) -> tuple[Array]:
        return (activate(x_t @ W + h @ U + b, activation),)

    y, h = _scan(
        step, x, [h0], [len(U)], mask, lengths, reverse, realign, return_sequences,
        zero_output_for_mask,
    )  # fmt: skip
    return y, h


def lstm(
    x: ArrayLike,
    h0: ArrayLike | None = None,
    c0: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    *,
    W: ArrayLike,
    U: ArrayLike,
    b: ArrayLike,
    P: ArrayLike | None = None,
    activation: Activation,
    recurrent_activation: Activation,
    reverse: bool = False,
    realign: bool = False,
    return_sequences: bool = True,
    zero_output_for_mask: bool = False,
    one_hot: int = 0,
    lengths: ArrayLike | None = None,
) -> tuple[Array, Array, Array]:
    """Long short-term memory; W (I, 4H), U (H, 4H), b (4H,) with gates i,f,g,o.

    Parameters and results are those of `simple_rnn`, with the cell state c beside h, in and out. A
    projection `P` makes h = (o * act(c)) . P, of as many features as it has columns; so U has rows.
    """
    x = vectors(x, depth=one_hot, lengths=lengths) if one_hot else x
    x, W, U, b = (np.asarray(a, np.float64) for a in (x, W, U, b))

    def step(x_t: Array, h: Array, c: Array) -> tuple[Array, Array]:
        i, f, g, o = np.split(x_t @ W + h @ U + b, 4, axis=-1)
        i, f, o = (activate(gate, recurrent_activation) for gate in (i, f, o))
        c = f * c + i * activate(g, activation)
        h = o * activate(c, activation)
        return h if P is None else h @ np.asarray(P, np.float64), c

    y, h, c = _scan(
        step, x, [h0, c0], [len(U), len(b) // 4], mask, lengths, reverse, realign, return_sequences,
        zero_output_for_mask,
    )  # fmt: skip
    return y, h, c


def gru(
    x: ArrayLike,
    h0: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    *,
    W: ArrayLike,
    U: ArrayLike,
    b: ArrayLike,
    bn: ArrayLike | None = None,
    activation: Activation,
    recurrent_activation: Activation,
    reset_after: bool,
    reverse: bool = False,
    realign: bool = False,
    return_sequences: bool = True,
    zero_output_for_mask: bool = False,
    one_hot: int = 0,
    lengths: ArrayLike | None = None,
) -> tuple[Array, Array]:
    """Gated recurrent unit; W (I, 3H), U (H, 3H), b (3H,) with gates r,z,n, and h = (1-z)*n + z*h.

    `reset_after` applies r to the product, n = act(x.Wn + b_n + r*(h.Un + bn)) with bn (H,);
    otherwise to the state, n = act(x.Wn + b_n + (r*h).Un). The rest is as in `simple_rnn`.
    """
    x = vectors(x, depth=one_hot, lengths=lengths) if one_hot else x
    x, W, U, b = (np.asarray(a, np.float64) for a in (x, W, U, b))
    U_r, U_z, U_n = np.split(U, 3, axis=1)
    b_hn = np.zeros(len(U)) if bn is None else np.asarray(bn, np.float64)

    def step(x_t: Array, h: Array) -> tuple[Array]:
        x_r, x_z, x_n = np.split(x_t @ W + b, 3, axis=-1)
        r = activate(x_r + h @ U_r, recurrent_activation)
        z = activate(x_z + h @ U_z, recurrent_activation)
        n = activate(x_n + (r * (h @ U_n + b_hn) if reset_after else (r * h) @ U_n), activation)
        return ((1 - z) * n + z * h,)

    y, h = _scan(
        step, x, [h0], [len(U)], mask, lengths, reverse, realign, return_sequences,
        zero_output_for_mask,
    )  # fmt: skip
    return y, h
