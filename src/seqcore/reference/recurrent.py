"""SimpleRNN, LSTM and GRU over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

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


def _within(a: Array, limit: float | None) -> Array:
    """Return a, or a clipped to -limit .. limit."""
    return a if limit is None else np.clip(a, -limit, limit)


def _by_letter(
    letters: str, defaults: Sequence[Activation], own: Mapping[str, Activation] | None
) -> dict[str, Activation]:
    """Return the activation of every letter: its own, or else its default."""
    return dict(zip(letters, defaults, strict=True)) | dict(own or {})


def _normed(a: Array, epsilon: float, scale: ArrayLike | None, offset: ArrayLike | None) -> Array:
    """(a - mean)/sqrt(variance + epsilon) * scale + offset over the last axis."""
    assert scale is not None
    assert offset is not None
    mean = a.mean(axis=-1, keepdims=True)
    variance = ((a - mean) ** 2).mean(axis=-1, keepdims=True)
    normal = (a - mean) / np.sqrt(variance + epsilon)
    return np.asarray(normal * np.asarray(scale, np.float64) + np.asarray(offset, np.float64))


def simple_rnn(
    x: ArrayLike,
    h0: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    *,
    W: ArrayLike,
    U: ArrayLike,
    b: ArrayLike,
    activation: Activation,
    clip: float | None = None,
    reverse: bool = False,
    realign: bool = False,
    return_sequences: bool = True,
    zero_output_for_mask: bool = False,
    one_hot: int = 0,
    lengths: ArrayLike | None = None,
) -> tuple[Array, Array]:
    """Elman network, h = act(x.W + h.U + b), with `clip` of the sum clipped to +-clip.

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
        return (activate(_within(x_t @ W + h @ U + b, clip), activation),)

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
    peepholes: ArrayLike | None = None,
    activation: Activation,
    recurrent_activation: Activation,
    gate_activations: Mapping[str, Activation] | None = None,
    clip: float | None = None,
    cell_clip: float | None = None,
    projection_clip: float | None = None,
    input_forget: bool = False,
    layer_norm: str | None = None,
    epsilon: float = 0.0,
    norm_state: str = "none",
    input_scale: ArrayLike | None = None,
    input_offset: ArrayLike | None = None,
    recurrent_scale: ArrayLike | None = None,
    recurrent_offset: ArrayLike | None = None,
    gate_scale: ArrayLike | None = None,
    gate_offset: ArrayLike | None = None,
    state_scale: ArrayLike | None = None,
    state_offset: ArrayLike | None = None,
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

    `gate_activations` overrides, by letter, `activation` (of g, and of h, which c goes through) and
    `recurrent_activation` (of i, f, o). `peepholes` (3, H) of i, f, o: those of i and f see c
    before the frame, o's sees c behind it. `clip` bounds the inputs of the gates' activations,
    `cell_clip` c, `projection_clip` the projected h. With `input_forget` f is 1 - i.

    `layer_norm`: "products", (4H,) scales and offsets of x.W and h.U, each normalised over all 4H
    numbers; "gates", (4H,) of the sums, each gate normalised over its H numbers. `norm_state`
    "kept": c is normalised and kept so; "output": only h sees it normalised.
    """
    x = vectors(x, depth=one_hot, lengths=lengths) if one_hot else x
    x, W, U, b = (np.asarray(a, np.float64) for a in (x, W, U, b))
    units = len(b) // 4
    p_i, p_f, p_o = np.zeros((3, units)) if peepholes is None else np.asarray(peepholes, np.float64)
    # in the order of the gates, then what c goes through
    kinds = _by_letter(
        "ifgoh", [*[recurrent_activation] * 2, activation, recurrent_activation, activation],
        gate_activations,
    )  # fmt: skip

    def sums(x_t: Array, h: Array) -> list[Array]:
        products = x_t @ W, h @ U
        if layer_norm == "products":
            products = (
                _normed(products[0], epsilon, input_scale, input_offset),
                _normed(products[1], epsilon, recurrent_scale, recurrent_offset),
            )
        z = np.split(products[0] + products[1] + b, 4, axis=-1)
        if layer_norm == "gates":
            scales, offsets = (np.split(np.asarray(w), 4) for w in (gate_scale, gate_offset))
            z = [_normed(*each) for each in zip(z, [epsilon] * 4, scales, offsets, strict=True)]
        return z

    def gate(letter: str, z: Array) -> Array:
        return activate(_within(z, clip), kinds[letter])

    def step(x_t: Array, h: Array, c: Array) -> tuple[Array, Array]:
        z_i, z_f, z_g, z_o = sums(x_t, h)
        i = gate("i", z_i + p_i * c)
        f = 1 - i if input_forget else gate("f", z_f + p_f * c)
        c = f * c + i * gate("g", z_g)
        if norm_state == "kept":
            c = _normed(c, epsilon, state_scale, state_offset)
        c = _within(c, cell_clip)
        o = gate("o", z_o + p_o * c)
        shown = _normed(c, epsilon, state_scale, state_offset) if norm_state == "output" else c
        h = o * activate(shown, kinds["h"])
        return h if P is None else _within(h @ np.asarray(P, np.float64), projection_clip), c

    y, h, c = _scan(
        step, x, [h0, c0], [len(U), units], mask, lengths, reverse, realign, return_sequences,
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
    gate_activations: Mapping[str, Activation] | None = None,
    clip: float | None = None,
    update_keeps: bool = True,
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
    otherwise to the state, n = act(x.Wn + b_n + (r*h).Un). Without `update_keeps`
    h = (1-z)*h + z*n. `gate_activations` overrides, by letter, `activation` (of n) and
    `recurrent_activation` (of r and z); `clip` bounds what they all take. The rest is as in
    `simple_rnn`.
    """
    x = vectors(x, depth=one_hot, lengths=lengths) if one_hot else x
    x, W, U, b = (np.asarray(a, np.float64) for a in (x, W, U, b))
    U_r, U_z, U_n = np.split(U, 3, axis=1)
    b_hn = np.zeros(len(U)) if bn is None else np.asarray(bn, np.float64)
    kinds = _by_letter(
        "rzn", [recurrent_activation, recurrent_activation, activation], gate_activations
    )

    def gate(letter: str, z: Array) -> Array:
        return activate(_within(z, clip), kinds[letter])

    def step(x_t: Array, h: Array) -> tuple[Array]:
        x_r, x_z, x_n = np.split(x_t @ W + b, 3, axis=-1)
        r = gate("r", x_r + h @ U_r)
        z = gate("z", x_z + h @ U_z)
        n = gate("n", x_n + (r * (h @ U_n + b_hn) if reset_after else (r * h) @ U_n))
        return ((1 - z) * n + z * h,) if update_keeps else ((1 - z) * h + z * n,)

    y, h = _scan(
        step, x, [h0], [len(U)], mask, lengths, reverse, realign, return_sequences,
        zero_output_for_mask,
    )  # fmt: skip
    return y, h
