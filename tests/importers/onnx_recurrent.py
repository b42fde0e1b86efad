"""ONNX's RNN, LSTM and GRU: nodes with random weights, and their definition as a float64 loop.

The loop goes frame by frame and row by row, as ONNX's text has it; where onnxruntime does something
else, as onnxruntime does: docs/design.md, "ONNX".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx_models import node

Array = NDArray[Any]

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
OUTPUTS = {"RNN": ("Y", "Y_h"), "GRU": ("Y", "Y_h"), "LSTM": ("Y", "Y_h", "Y_c")}
_INPUTS = ("X", "W", "R", "B", "lens", "h", "c", "P")


# ---- Nodes ---------------------------------------------------------------------------------------


def weights_of(
    kind: str, features: int, units: int, directions: int, seed: int, *, peepholes: bool = False,
    bias: bool = True,
) -> dict[str, Array]:  # fmt: skip
    """Return random weights of a node, W, R, B and P."""
    random, width = np.random.default_rng(seed), GATES[kind] * units
    shapes = {"W": (width, features), "R": (width, units)}
    if bias:
        shapes["B"] = (2 * width,)
    if peepholes:
        shapes["P"] = (3 * units,)
    return {
        name: (0.6 * random.standard_normal((directions, *shape))).astype(np.float32)
        for name, shape in shapes.items()
    }


def recurrent(
    kind: str, name: str, weights: Mapping[str, Array], outputs: Sequence[str], *,
    inputs: Mapping[str, str], **attributes: Any,
) -> tuple[onnx.NodeProto, dict[str, Array], list[str]]:  # fmt: skip
    """Return a node, its weights by their names in the graph, and the names of its outputs.

    `inputs` are the names of X, lens, h and c.
    """
    stored = {f"{name}.{each}": array for each, array in weights.items()}
    names = {**inputs, **{each: f"{name}.{each}" for each in weights}}
    taken = " ".join(names.get(each, "-") for each in _INPUTS)
    while taken.endswith(" -"):
        taken = taken[:-2]
    made = [f"{name}.{each}" if each in outputs else "-" for each in OUTPUTS[kind]]
    while made[-1] == "-":
        made.pop()
    units = weights["R"].shape[-1]
    one = node(kind, taken, " ".join(made), hidden_size=units, **attributes)
    one.name = name  # its first output may be none
    return one, stored, [each for each in made if each != "-"]


# ---- The definition ------------------------------------------------------------------------------


def _sigmoid(x: Array) -> Array:
    made: Array = 1 / (1 + np.exp(-x))
    return made


_FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[float, ...]]] = {
    "Relu": (lambda x: np.maximum(x, 0), ()),
    "Tanh": (np.tanh, ()),
    "Sigmoid": (_sigmoid, ()),
    "Softsign": (lambda x: x / (1 + abs(x)), ()),
    "Softplus": (lambda x: np.log1p(np.exp(x)), ()),
    "Affine": (lambda x, a, b: a * x + b, (1.0, 0.0)),
    "LeakyRelu": (lambda x, a: np.where(x >= 0, x, a * x), (0.01,)),
    "ThresholdedRelu": (lambda x, a: np.where(x > a, x, 0), (0.0,)),
    "ScaledTanh": (lambda x, a, b: a * np.tanh(b * x), (1.0, 1.0)),
    "HardSigmoid": (lambda x, a, b: np.clip(a * x + b, 0, 1), (0.2, 0.5)),
    "Elu": (lambda x, a: np.where(x > 0, x, a * np.expm1(x)), (1.0,)),
}


def _functions(names: Sequence[str], alpha: Sequence[float], beta: Sequence[float]) -> list[Any]:
    lists = (list(alpha), list(beta))
    made = []
    for name in names:
        function, usual = _FUNCTIONS[name]
        own = [each.pop(0) if each else default
               for each, default in zip(lists, usual, strict=False)]  # fmt: skip
        made.append(lambda x, function=function, own=tuple(own): function(x, *own))
    return made


def by_loop(
    kind: str, X: Array, W: Array, R: Array, B: Array | None = None, lens: Array | None = None,
    h: Array | None = None, c: Array | None = None, P: Array | None = None, *,
    activations: Sequence[str] | None = None, activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (), clip: float = np.inf, direction: str = "forward",
    layout: int = 0, **options: int,
) -> list[Array]:  # fmt: skip
    """Return Y, Y_h and, of an LSTM, Y_c."""
    usual = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}[kind]
    directions, units = W.shape[0], R.shape[-1]
    names = list(activations or usual * directions)
    functions = _functions(names, activation_alpha, activation_beta)
    x = np.asarray(X, np.float64).swapaxes(0, 1) if not layout else np.asarray(X, np.float64)
    lengths = [x.shape[1]] * len(x) if lens is None else [int(n) for n in lens]
    Y = np.zeros((x.shape[1], directions, len(x), units))
    finals = [np.zeros((directions, len(x), units)) for _ in range(2)]
    for way in range(directions):
        backward = direction == "reverse" or way == 1
        own = functions[way * len(usual) : (way + 1) * len(usual)]
        parts = [None if a is None else a[way].astype(np.float64) for a in (W, R, B, P)]
        for row in range(len(x)):
            state = [_started(each, way, row, units, layout) for each in (h, c)]
            steps = range(lengths[row])
            for t in reversed(steps) if backward else steps:
                state = _STEPS[kind](x[row, t], state, parts, own, clip, options)
                Y[t, way, row] = state[0]
            for final, last in zip(finals, state, strict=True):
                final[way, row] = last if lengths[row] else 0
    if layout:
        Y, finals = Y.transpose(2, 0, 1, 3), [each.swapaxes(0, 1) for each in finals]
    return [Y, *finals][: len(OUTPUTS[kind])]


def _started(state: Array | None, way: int, row: int, units: int, layout: int) -> Array:
    if state is None:
        return np.zeros(units)
    return np.asarray(state[row, way] if layout else state[way, row], np.float64)


def _sums(x: Array, h: Array, parts: Sequence[Any], count: int) -> tuple[Array, Array]:
    """Return the shares of input and state, (G, H) each, with their biases."""
    W, R, B, _ = parts
    both = np.zeros((2, len(W))) if B is None else B.reshape(2, -1)
    return (W @ x + both[0]).reshape(count, -1), (R @ h + both[1]).reshape(count, -1)


def _rnn(x: Array, state: Any, parts: Any, f: Any, clip: float, _: Any) -> list[Array]:
    x_part, h_part = _sums(x, state[0], parts, 1)
    return [f[0](np.clip(x_part[0] + h_part[0], -clip, clip)), state[1]]


def _gru(x: Array, state: Any, parts: Any, f: Any, clip: float, options: Any) -> list[Array]:
    h, units = state[0], len(state[0])
    x_part, h_part = _sums(x, h, parts, 3)
    z, r = (f[0](np.clip(x_part[k] + h_part[k], -clip, clip)) for k in range(2))
    inner = r * h_part[2]
    if not options.get("linear_before_reset"):
        bias = h_part[2] - parts[1][2 * units :] @ h
        inner = parts[1][2 * units :] @ (r * h) + bias
    n = f[1](np.clip(x_part[2] + inner, -clip, clip))
    return [(1 - z) * n + z * h, state[1]]


def _lstm(x: Array, state: Any, parts: Any, f: Any, clip: float, options: Any) -> list[Array]:
    h, c = state
    x_part, h_part = _sums(x, h, parts, 4)
    i, o, forget, g = x_part + h_part
    looking = np.zeros((3, len(h))) if parts[3] is None else parts[3].reshape(3, -1)
    i = f[0](np.clip(i + looking[0] * c, -clip, clip))
    kept = f[0](np.clip(forget + looking[2] * c, -clip, clip))
    c = (1 - i if options.get("input_forget") else kept) * c + i * f[1](np.clip(g, -clip, clip))
    o = f[0](np.clip(o + looking[1] * c, -clip, clip))
    return [o * f[2](c), c]


_STEPS: dict[str, Callable[..., list[Array]]] = {"RNN": _rnn, "GRU": _gru, "LSTM": _lstm}
