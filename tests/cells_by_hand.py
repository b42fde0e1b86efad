"""Cells in full: their graphs, written out, and what they mean, in a float64 loop over frames.

Nothing here is of `seqcore.layers` or `seqcore.reference`. Weights are canonical: LSTM gates
i,f,g,o; GRU gates r,z,n; peepholes of i,f,o.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

import seqcore as sc
from seqcore._binding import Plan
from seqcore.graph import Graph

Array = NDArray[Any]

FEATURES = 5
GATES = {"lstm": "ifgo", "gru": "rzn", "simple_rnn": "h"}
SIGMOID, TANH, RELU, LINEAR = ([kind, 0, 0] for kind in ("sigmoid", "tanh", "relu", "linear"))
HARD, LEAKY, SOFTSIGN = ["hard_sigmoid", 0.2, 0.5], ["leaky_relu", 0.3, 0], ["softsign", 0, 0]
SOFTMAX, ELU = ["softmax", 0, 0], ["elu", 0.7, 0]
PRODUCTS = {"layer_norm": "products", "epsilon": 0.01}
EACH_GATE = {"layer_norm": "gates", "epsilon": 0.01}

# op, attributes beside those of the plain cell; "peepholes" and "projection" bring their weights
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "peepholes": ("lstm", {"peepholes": True}),
    "clip": ("lstm", {"clip": 0.4}),
    "cell_clip": ("lstm", {"cell_clip": 0.3, "peepholes": True}),
    "coupled": ("lstm", {"input_forget": True, "peepholes": True}),
    "own activations": (
        "lstm",
        {"gate_activations": {"i": HARD, "f": SOFTSIGN, "g": LEAKY, "o": LINEAR, "h": SIGMOID}},
    ),
    "everything": (
        "lstm",
        {
            "peepholes": True, "clip": 0.7, "cell_clip": 0.5, "input_forget": True,
            "projection": 9, "projection_clip": 0.2, "gate_activations": {"o": HARD, "h": ELU},
        },
    ),
    "projection_clip": ("lstm", {"projection": 20, "projection_clip": 0.05}),
    "a gate of shares": (
        "lstm",
        {"gate_activations": {"f": SOFTMAX, "h": SOFTMAX}, "peepholes": True, "clip": 0.6},
    ),
    "products": ("lstm", PRODUCTS),
    "products, kept": ("lstm", PRODUCTS | {"norm_state": "kept", "cell_clip": 0.8, "clip": 1.5}),
    "products, output": (
        "lstm", PRODUCTS | {"norm_state": "output", "projection": 9, "cell_clip": 0.8},
    ),
    "gates": ("lstm", EACH_GATE | {"norm_state": "none", "input_forget": True}),
    "gates, kept": ("lstm", EACH_GATE | {"norm_state": "kept"}),
    "gates, output": (
        "lstm", EACH_GATE | {"norm_state": "output", "gate_activations": {"o": SOFTMAX}},
    ),
    "gru clip": ("gru", {"clip": 0.4, "reset_after": True}),
    "gru update": ("gru", {"update_keeps": False, "reset_after": True}),
    "gru own activations": (
        "gru",
        {"gate_activations": {"r": LEAKY, "z": HARD, "n": SOFTSIGN}, "reset_after": True},
    ),
    "gru of shares": (
        "gru",
        {
            "gate_activations": {"z": SOFTMAX, "n": SOFTMAX}, "reset_after": True, "clip": 0.9,
            "update_keeps": False,
        },
    ),
    "gru before": (
        "gru",
        {
            "clip": 0.5, "reset_after": False, "update_keeps": False,
            "gate_activations": {"r": HARD, "n": RELU},
        },
    ),
    "gru before, of shares": (
        "gru",
        {"clip": 0.8, "reset_after": False, "gate_activations": {"r": SOFTMAX, "n": SOFTMAX}},
    ),
    "simple_rnn clip": ("simple_rnn", {"clip": 0.4}),
    "simple_rnn relu clip": ("simple_rnn", {"clip": 0.4, "activation": RELU}),
}  # fmt: skip


# ---- Graphs --------------------------------------------------------------------------------------


def weights_of(
    rng: np.random.Generator, op: str, attrs: dict[str, Any], units: int, features: int = FEATURES
) -> dict[str, Array]:
    """Draw what a cell reads, by role; the recurrent weights let errors fade."""
    wide, state = len(GATES[op]) * units, attrs.get("projection", units)
    shapes: dict[str, tuple[int, ...]] = {"W": (features, wide), "U": (state, wide), "b": (wide,)}
    if attrs.get("reset_after"):
        shapes["bn"] = (units,)
    if "projection" in attrs:
        shapes["P"] = (units, state)
    if "peepholes" in attrs:
        shapes["peepholes"] = (3, units)
    parts = {"products": ("input", "recurrent"), "gates": ("gate",)}
    for part in parts.get(attrs.get("layer_norm", ""), ()):
        shapes |= {f"{part}_scale": (wide,), f"{part}_offset": (wide,)}
    if attrs.get("norm_state", "none") != "none":
        shapes |= {"state_scale": (units,), "state_offset": (units,)}
    scale = {"U": 0.5 / state**0.5, "W": 1 / features**0.5, "P": 1 / units**0.5}
    return {
        role: (rng.standard_normal(shape) * scale.get(role, 0.5)).astype(np.float32)
        for role, shape in shapes.items()
    }


def graph_of(
    op: str, attrs: dict[str, Any], weights: dict[str, Array], units: int, **more: Any
) -> Graph:
    """Return a graph of one cell that puts out y, h and c; `more` are attributes, too.

    Its inputs are x, its lengths and mask, and the initial states.
    """
    own = {
        "units": units, "activation": TANH, "reverse": False, "realign": False,
        "return_sequences": True, "zero_output_for_mask": False,
    }  # fmt: skip
    own |= {} if op == "simple_rnn" else {"recurrent_activation": SIGMOID}
    own |= {key: value for key, value in (attrs | more).items() if key != "peepholes"}
    ids = "one_hot" in own
    x: dict[str, Any] = {"name": "x", "kind": "data", "dtype": "int64", "shape": [None]}
    if not ids:
        x |= {"dtype": "float32", "shape": [None, len(weights["W"])]}
    states = {"h": len(weights["U"])} | ({"c": units} if op == "lstm" else {})
    document = {
        "format": "seqcore", "version": 1,
        "inputs": [
            x, {"name": "x:lengths", "kind": "lengths", "of": "x"},
            {"name": "x:mask", "kind": "mask", "of": "x"},
            *({"name": f"{n}0", "kind": "state", "shape": [size]} for n, size in states.items()),
        ],
        "nodes": [{
            "op": op, "layer": "cell", "inputs": ["x", *(f"{n}0" for n in states), "x:mask"],
            "lengths": "x:lengths", "outputs": ["y", *states], "attrs": own,
            "weights": {role: f"cell.{role}" for role in weights},
        }],
        "outputs": [
            {"name": "y", "value": "y", "lengths": "x:lengths"},
            *({"name": n, "value": n} for n in states),
        ],
        "layers": [{"name": "cell", "class": "Cell", "value": "y", "parameters": 0}],
    }  # fmt: skip
    return Graph(document, {f"cell.{role}": array for role, array in weights.items()})


def model_of(graph: Graph, **options: Any) -> sc.Model:
    """Return a model of a graph; `options` are those of its plan."""
    made = object.__new__(sc.Model)
    made._set_up(Plan(graph.to_json(), dict(graph.tensors), **options), graph, {}, None, 0)
    return made


def changed(graph: Graph, **attrs: Any) -> Graph:
    """Return the graph with other attributes of its cell; None takes one away."""
    document = copy.deepcopy(dict(graph.document))
    own = document["nodes"][0]["attrs"] | attrs
    document["nodes"][0]["attrs"] = {k: v for k, v in own.items() if v is not None}
    return Graph(document, graph.tensors)


# ---- What they mean ------------------------------------------------------------------------------


def activated(spec: list[Any], z: Array) -> Array:
    """The activation of some units (B, H)."""
    kind, alpha, beta = spec
    if kind == "softmax":
        e = np.exp(z - z.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)
    return {
        "sigmoid": lambda: 1 / (1 + np.exp(-z)),
        "tanh": lambda: np.tanh(z),
        "relu": lambda: np.maximum(z, 0),
        "linear": lambda: z,
        "hard_sigmoid": lambda: np.clip(alpha * z + beta, 0, 1),
        "leaky_relu": lambda: np.where(z >= 0, z, alpha * z),
        "softsign": lambda: z / (1 + np.abs(z)),
        "elu": lambda: np.where(z > 0, z, alpha * np.expm1(z)),
    }[kind]()


def normal(z: Array, epsilon: float, scale: Array, offset: Array) -> Array:
    centred = z - z.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * scale + offset


class ByHand:
    """A cell in float64."""

    def __init__(self, op: str, attrs: dict[str, Any], weights: dict[str, Array]) -> None:
        self.op, self.attrs = op, attrs
        self.w = {role: array.astype(np.float64) for role, array in weights.items()}
        outer = attrs.get("activation", TANH)
        self.kinds = dict.fromkeys("ifozr", SIGMOID) | dict.fromkeys("ghn", outer)
        self.kinds |= attrs.get("gate_activations", {})

    def gate(self, letter: str, z: Array) -> Array:
        limit = self.attrs.get("clip", np.inf)
        return activated(self.kinds[letter], np.clip(z, -limit, limit))

    def normed(self, role: str, z: Array) -> Array:
        w = self.w
        return normal(z, self.attrs["epsilon"], w[f"{role}_scale"], w[f"{role}_offset"])

    def sums(self, x: Array, h: Array) -> list[Array]:
        xw, hu, norm = x @ self.w["W"], h @ self.w["U"], self.attrs.get("layer_norm")
        if norm == "products":
            xw, hu = self.normed("input", xw), self.normed("recurrent", hu)
        z = np.split(xw + hu + self.w["b"], len(GATES[self.op]), axis=-1)
        if norm == "gates":
            scales, offsets = (np.split(self.w[f"gate_{what}"], 4) for what in ("scale", "offset"))
            epsilons = [self.attrs["epsilon"]] * 4
            z = [normal(*each) for each in zip(z, epsilons, scales, offsets, strict=True)]
        return z

    def lstm(self, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        z, attrs = dict(zip("ifgo", self.sums(x, h), strict=True)), self.attrs
        p = dict(zip("ifo", self.w.get("peepholes", np.zeros((3, 1))), strict=True))
        i = self.gate("i", z["i"] + p["i"] * c)
        f = 1 - i if attrs.get("input_forget") else self.gate("f", z["f"] + p["f"] * c)
        c = f * c + i * self.gate("g", z["g"])
        c = self.normed("state", c) if attrs.get("norm_state") == "kept" else c
        c = np.clip(c, -attrs.get("cell_clip", np.inf), attrs.get("cell_clip", np.inf))
        o = self.gate("o", z["o"] + p["o"] * c)
        shown = self.normed("state", c) if attrs.get("norm_state") == "output" else c
        h = o * activated(self.kinds["h"], shown)
        if "P" in self.w:
            limit = attrs.get("projection_clip", np.inf)
            h = np.clip(h @ self.w["P"], -limit, limit)
        return h, c

    def gru(self, x: Array, h: Array) -> tuple[Array]:
        (xr, xz, xn), u = np.split(x @ self.w["W"] + self.w["b"], 3, axis=-1), self.w["U"]
        ur, uz, un = np.split(u, 3, axis=1)
        r, z = self.gate("r", xr + h @ ur), self.gate("z", xz + h @ uz)
        if self.attrs["reset_after"]:
            n = self.gate("n", xn + r * (h @ un + self.w["bn"]))
        else:
            n = self.gate("n", xn + (r * h) @ un)
        kept, new = (h, n) if self.attrs.get("update_keeps", True) else (n, h)
        return (z * kept + (1 - z) * new,)

    def simple_rnn(self, x: Array, h: Array) -> tuple[Array]:
        return (self.gate("h", self.sums(x, h)[0]),)

    def __call__(self, x: Array, *states: Array) -> list[Array]:
        """Return y (B, T, N) and the last states of x (B, T, I)."""
        state = tuple(s.astype(np.float64) for s in states)
        made = []
        for t in range(x.shape[1]):
            state = getattr(self, self.op)(x[:, t].astype(np.float64), *state)
            made.append(state[0])
        return [np.stack(made, axis=1), *state]
