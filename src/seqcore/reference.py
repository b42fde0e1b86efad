"""What "correct" means: every op of the lowered graph (docs/design.md), in float64 NumPy.

One function per op, written as its equation, and `run`, which evaluates a whole graph with them.
All of it is slow on purpose, shares no code with the rest of the package, and checks little: a
caller gives what the design page says. Arrays are canonical: LSTM gates i,f,g,o; GRU gates r,z,n.

Wherever an op takes ``lengths`` (B,), row i comes out exactly as if it were alone with its first
``lengths[i]`` frames; what stands past an end never matters, and time-shaped outputs are 0 there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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


_ACTIVATIONS: dict[str, Callable[[Array, float, float], Array]] = {
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
    "softmax": lambda x, *_: _softmax(x),
}


def activate(x: ArrayLike, activation: Activation) -> Array:
    """Apply an explicit activation.

    Parameters
    ----------
    x : array_like
        Any shape; softmax takes the last axis.
    activation : sequence
        ``[kind, alpha, beta]``, a row of the table of activations in docs/design.md.

    Returns
    -------
    ndarray of float64
        Same shape as `x`.
    """
    kind, alpha, beta = activation
    x = np.asarray(x, np.float64)
    return _ACTIVATIONS[kind](x, float(alpha), float(beta)) if x.size else x


# ---- Lengths -------------------------------------------------------------------------------------


def zero_past(y: Array, lengths: ArrayLike | None) -> Array:
    """Return `y` (B, T, ...) with every frame at or past its row's length set to 0."""
    if lengths is None:
        return y
    valid = np.arange(y.shape[1]) < np.asarray(lengths)[:, None]
    return np.where(valid.reshape(valid.shape + (1,) * (y.ndim - 2)), y, 0)


def window_length(length: int, window: int, strides: int, padding: str) -> int:
    """Count the windows over `length` frames; `window` is the span of one, dilation included."""
    if padding == "valid":
        return max(0, (length - window) // strides + 1)
    return -(-length // strides)  # same, causal: one window for every stride that has begun


def _row_lengths(x: Array, lengths: ArrayLike | None) -> list[int]:
    return [x.shape[1]] * len(x) if lengths is None else [int(n) for n in np.asarray(lengths)]


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


# ---- Recurrent layers ----------------------------------------------------------------------------


def _scan(
    step: Callable[..., tuple[Array, ...]],
    x: Array,
    states: Sequence[ArrayLike | None],
    units: int,
    lengths: ArrayLike | None,
    reverse: bool,
    realign: bool,
    return_sequences: bool,
) -> tuple[Array, ...]:
    """Advance ``states = step(x_t, *states)`` over each row's own frames; return y, last states.

    Step s reads frame s or, with `reverse`, frame length-1-s of a row. Its output stands at s or,
    with `realign`, at the frame that it read. A row whose frames are over is left out, state too.
    """
    batch, time = x.shape[:2]
    ends = np.array(_row_lengths(x, lengths), np.int64)
    state = [np.zeros((batch, units)) if s is None else np.array(s, np.float64) for s in states]
    y = np.zeros((batch, time, units))
    for s in range(time):
        rows = np.flatnonzero(s < ends)
        frame = ends[rows] - 1 - s if reverse else np.full(len(rows), s)
        new = step(x[rows, frame], *(values[rows] for values in state))
        for values, value in zip(state, new, strict=True):
            values[rows] = value
        y[rows, frame if realign else s] = new[0]
    return (y if return_sequences else state[0], *state)


def simple_rnn(
    x: ArrayLike,
    h0: ArrayLike | None = None,
    *,
    W: ArrayLike,
    U: ArrayLike,
    b: ArrayLike,
    activation: Activation,
    reverse: bool = False,
    realign: bool = False,
    return_sequences: bool = True,
    lengths: ArrayLike | None = None,
) -> tuple[Array, Array]:
    """Elman network, h = act(x.W + h.U + b).

    Parameters
    ----------
    x : (B, T, I)
    h0 : (B, H), optional
        Zero when absent.
    W, U, b : (I, H), (H, H), (H,)
    activation : [kind, alpha, beta]
    reverse, realign, return_sequences : bool
        See docs/design.md: process from the last valid frame; store y at the frame that made it;
        y is every state or the last one.
    lengths : (B,), optional

    Returns
    -------
    y : (B, T, H) or (B, H)
    h : (B, H)
        The state at each row's end.
    """
    x, W, U, b = (np.asarray(a, np.float64) for a in (x, W, U, b))

    def step(x_t: Array, h: Array) -> tuple[Array]:
        return (activate(x_t @ W + h @ U + b, activation),)

    y, h = _scan(step, x, [h0], len(U), lengths, reverse, realign, return_sequences)
    return y, h


def lstm(
    x: ArrayLike,
    h0: ArrayLike | None = None,
    c0: ArrayLike | None = None,
    *,
    W: ArrayLike,
    U: ArrayLike,
    b: ArrayLike,
    activation: Activation,
    recurrent_activation: Activation,
    reverse: bool = False,
    realign: bool = False,
    return_sequences: bool = True,
    lengths: ArrayLike | None = None,
) -> tuple[Array, Array, Array]:
    """Long short-term memory; W (I, 4H), U (H, 4H), b (4H,) with gates i,f,g,o.

    Parameters and results are those of `simple_rnn`, with the cell state c beside h, in and out.
    """
    x, W, U, b = (np.asarray(a, np.float64) for a in (x, W, U, b))

    def step(x_t: Array, h: Array, c: Array) -> tuple[Array, Array]:
        i, f, g, o = np.split(x_t @ W + h @ U + b, 4, axis=-1)
        i, f, o = (activate(gate, recurrent_activation) for gate in (i, f, o))
        c = f * c + i * activate(g, activation)
        return o * activate(c, activation), c

    y, h, c = _scan(step, x, [h0, c0], len(U), lengths, reverse, realign, return_sequences)
    return y, h, c


def gru(
    x: ArrayLike,
    h0: ArrayLike | None = None,
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
    lengths: ArrayLike | None = None,
) -> tuple[Array, Array]:
    """Gated recurrent unit; W (I, 3H), U (H, 3H), b (3H,) with gates r,z,n, and h = (1-z)*n + z*h.

    `reset_after` applies r to the product, n = act(x.Wn + b_n + r*(h.Un + bn)) with bn (H,);
    otherwise to the state, n = act(x.Wn + b_n + (r*h).Un). The rest is as in `simple_rnn`.
    """
    x, W, U, b = (np.asarray(a, np.float64) for a in (x, W, U, b))
    U_r, U_z, U_n = np.split(U, 3, axis=1)
    b_hn = np.zeros(len(U)) if bn is None else np.asarray(bn, np.float64)

    def step(x_t: Array, h: Array) -> tuple[Array]:
        x_r, x_z, x_n = np.split(x_t @ W + b, 3, axis=-1)
        r = activate(x_r + h @ U_r, recurrent_activation)
        z = activate(x_z + h @ U_z, recurrent_activation)
        n = activate(x_n + (r * (h @ U_n + b_hn) if reset_after else (r * h) @ U_n), activation)
        return ((1 - z) * n + z * h,)

    y, h = _scan(step, x, [h0], len(U), lengths, reverse, realign, return_sequences)
    return y, h


# ---- Layers of one frame -------------------------------------------------------------------------


def embedding(ids: ArrayLike, *, W: ArrayLike, lengths: ArrayLike | None = None) -> Array:
    """Row `ids` (B, ...) of the table W (rows, D): (B, ..., D).

    Raises
    ------
    IndexError
        An id within its row's length is negative or not below rows.
    """
    ids, W = np.asarray(ids), np.asarray(W, np.float64)
    ids = zero_past(ids, lengths)
    if ids.size and (ids.min() < 0 or ids.max() >= len(W)):
        raise IndexError(
            f"embedding: ids lie in {ids.min()}..{ids.max()}, the table has {len(W)} rows"
        )
    return zero_past(W[ids], lengths)


def dense(
    x: ArrayLike,
    *,
    W: ArrayLike,
    b: ArrayLike,
    activation: Activation,
    lengths: ArrayLike | None = None,
) -> Array:
    """act(x.W + b) over the last axis: (..., I) to (..., N)."""
    x, W, b = (np.asarray(a, np.float64) for a in (x, W, b))
    return zero_past(activate(x @ W + b, activation), lengths)


def activation(x: ArrayLike, *, activation: Activation, lengths: ArrayLike | None = None) -> Array:
    """The activation alone, of any shape."""
    return zero_past(activate(x, activation), lengths)


# ---- Windows over time ---------------------------------------------------------------------------


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
    for i, n in enumerate(_row_lengths(x, lengths)):
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
    for i, n in enumerate(_row_lengths(x, lengths)):
        left = _pad_left(n, pool_size, strides, padding)
        for t in range(window_length(n, pool_size, strides, padding)):
            begin = t * strides - left
            y[i, t] = x[i, max(0, begin) : min(n, begin + pool_size)].max(axis=0)
    return y


def global_avg_pool1d(x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
    """Mean over a row's frames: (B, T, C) to (B, C); zeros for a row without any."""
    x = np.asarray(x, np.float64)
    y = np.zeros((len(x), x.shape[2]))
    for i, n in enumerate(_row_lengths(x, lengths)):
        if n:
            y[i] = x[i, :n].mean(axis=0)
    return y


def global_max_pool1d(x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
    """Maximum over a row's frames: (B, T, C) to (B, C); zeros for a row without any."""
    x = np.asarray(x, np.float64)
    y = np.zeros((len(x), x.shape[2]))
    for i, n in enumerate(_row_lengths(x, lengths)):
        if n:
            y[i] = x[i, :n].max(axis=0)
    return y


# ---- Shapes and merges ---------------------------------------------------------------------------


def flatten(x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
    """(B, ...) to (B, n). Rows of different lengths have no common n: `lengths` is a ValueError."""
    x = np.asarray(x, np.float64)
    if lengths is not None:
        raise ValueError("flatten takes no lengths")
    return x.reshape(len(x), math.prod(x.shape[1:]))


def concat(*values: ArrayLike, axis: int) -> Array:
    """Join along `axis`, which is not the batch; negative counts from the end."""
    return np.concatenate([np.asarray(v, np.float64) for v in values], axis=axis)


def _broadcast(values: Sequence[ArrayLike]) -> list[Array]:
    """Give all values one rank: missing axes come after the batch, so that the last axes meet."""
    arrays = [np.asarray(v, np.float64) for v in values]
    rank = max(a.ndim for a in arrays)
    return [a.reshape(a.shape[:1] + (1,) * (rank - a.ndim) + a.shape[1:]) for a in arrays]


def add(*values: ArrayLike) -> Array:
    """Sum, broadcast over the axes that are not the batch."""
    first, *rest = _broadcast(values)
    return np.asarray(sum(rest, first))


def multiply(*values: ArrayLike) -> Array:
    """Product, broadcast over the axes that are not the batch."""
    first, *rest = _broadcast(values)
    return math.prod(rest, start=first)


def average(*values: ArrayLike) -> Array:
    """Mean of the values, broadcast over the axes that are not the batch."""
    return add(*values) / len(values)


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
    return None if x is None else np.asarray(x, np.float64)[index]


def stack(*values: ArrayLike) -> Array:
    """n values (B, H) to (n, B, H)."""
    return np.stack([np.asarray(v, np.float64) for v in values])


# ---- Graphs --------------------------------------------------------------------------------------

OPS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        embedding, dense, activation, simple_rnn, lstm, gru, conv1d, max_pool1d, global_avg_pool1d,
        global_max_pool1d, flatten, concat, add, multiply, average, fold, unfold, select, stack,
    )
}  # fmt: skip

# Ops whose rows end somewhere; the others keep whatever stands past an end, which nobody reads.
_WITH_LENGTHS = frozenset((
    "embedding", "dense", "activation", "simple_rnn", "lstm", "gru", "conv1d", "max_pool1d",
    "global_avg_pool1d", "global_max_pool1d", "flatten",
))  # fmt: skip
# Sizes that the weights' shapes already tell.
_SIZES = frozenset(("units", "rows", "filters", "kernel_size"))


def run(
    graph: Mapping[str, Any],
    tensors: Mapping[str, ArrayLike],
    inputs: Mapping[str, ArrayLike | None],
) -> list[Array]:
    """Evaluate a lowered graph.

    Parameters
    ----------
    graph : mapping
        The graph's JSON (docs/design.md, "The lowered graph") as Python objects.
    tensors : mapping
        Weights by the names that the nodes use.
    inputs : mapping
        Inputs by name. Those of kind ``lengths`` and ``state`` may be absent or None.

    Returns
    -------
    list of ndarray
        float64, in the order of ``graph["outputs"]``; an output with lengths is 0 past each end.

    Raises
    ------
    ValueError
        An input of kind ``data`` is absent, or an input is none of the graph's.
    """
    values: dict[str, Any] = {spec["name"]: inputs.get(spec["name"]) for spec in graph["inputs"]}
    absent = [
        s["name"] for s in graph["inputs"] if s["kind"] == "data" and values[s["name"]] is None
    ]
    foreign = sorted(set(inputs) - set(values))
    if absent or foreign:
        raise ValueError(f"inputs: absent {absent}, not of this graph {foreign}")
    for node in graph["nodes"]:
        _evaluate(node, tensors, values)
    return [
        zero_past(np.asarray(values[o["value"]], np.float64), _value(values, o.get("lengths")))
        for o in graph["outputs"]
    ]


def _value(values: Mapping[str, Any], name: str | None) -> Any:
    return None if name is None else values[name]


def _evaluate(
    node: Mapping[str, Any], tensors: Mapping[str, ArrayLike], values: dict[str, Any]
) -> None:
    """Compute one node's outputs, and the lengths that it gives on, into `values`."""
    op, attrs = node["op"], node.get("attrs", {})
    arguments = {name: tensors[tensor] for name, tensor in node.get("weights", {}).items()}
    arguments.update((name, value) for name, value in attrs.items() if name not in _SIZES)
    if op in _WITH_LENGTHS:
        arguments["lengths"] = lengths = _value(values, node.get("lengths"))
    result = OPS[op](*(_value(values, name) for name in node["inputs"]), **arguments)
    results = result if isinstance(result, tuple) else (result,)
    for name, value in zip(node["outputs"], results, strict=True):
        if name is not None:
            values[name] = value
    if node.get("lengths_out") is not None:
        values[node["lengths_out"]] = None if lengths is None else _window_lengths(lengths, attrs)


def _window_lengths(lengths: ArrayLike, attrs: Mapping[str, Any]) -> Array:
    """Return the lengths (B,) behind a conv1d or a max_pool1d with these attrs."""
    if "pool_size" in attrs:
        window = attrs["pool_size"]
    else:
        window = (attrs["kernel_size"] - 1) * attrs["dilation"] + 1
    strides, padding = attrs["strides"], attrs["padding"]
    ends = [window_length(int(n), window, strides, padding) for n in np.asarray(lengths)]
    return np.array(ends, np.int64)
