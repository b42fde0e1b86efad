"""What gates and states are, one row and one frame after the other, with nothing of `trace.py`.

Sums and activations are torch's in float64, the next state is that of the reference's op over the
one frame. Weights are canonical: LSTM gates i,f,g,o; GRU gates r,z,n.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from seqcore import reference as ref

# By kind: of x, alpha and beta (docs/design.md).
ACTIVATIONS = {
    "linear": lambda x, *_: x,
    "tanh": lambda x, *_: torch.tanh(x),
    "sigmoid": lambda x, *_: torch.sigmoid(x),
    "relu": lambda x, *_: F.relu(x),
    "relu6": lambda x, *_: F.relu6(x),
    "hard_sigmoid": lambda x, a, b: torch.clamp(a * x + b, 0, 1),
    "hard_tanh": lambda x, *_: F.hardtanh(x),
    "hard_silu": lambda x, *_: F.hardswish(x),
    "softplus": lambda x, *_: F.softplus(x, threshold=700),
    "softsign": lambda x, *_: F.softsign(x),
    "exponential": lambda x, *_: torch.exp(x),
    "silu": lambda x, *_: F.silu(x),
    "mish": lambda x, *_: F.mish(x),
    "leaky_relu": lambda x, a, *_: F.leaky_relu(x, a),
    "elu": lambda x, a, *_: F.elu(x, a),
    "celu": lambda x, a, *_: F.celu(x, a),
    "selu": lambda x, *_: F.selu(x),
    "gelu": lambda x, *_: F.gelu(x),
    "gelu_tanh": lambda x, *_: F.gelu(x, approximate="tanh"),
    "log_sigmoid": lambda x, *_: F.logsigmoid(x),
    "hard_shrink": lambda x, a, *_: F.hardshrink(x, a),
    "soft_shrink": lambda x, a, *_: F.softshrink(x, a),
    "tanh_shrink": lambda x, *_: F.tanhshrink(x),
    "threshold": lambda x, a, b: F.threshold(x, a, b),
    "squareplus": lambda x, a, *_: (x + torch.sqrt(x**2 + a)) / 2,
    "sparse_plus": lambda x, *_: torch.where(x < 1, torch.clamp(x + 1, min=0) ** 2 / 4, x),
    "affine": lambda x, a, b: a * x + b,
    "scaled_tanh": lambda x, a, b: a * torch.tanh(b * x),
    "softmax": lambda x, *_: F.softmax(x, dim=-1),
    "log_softmax": lambda x, *_: F.log_softmax(x, dim=-1),
}
GATES = {"lstm": "ifgo", "gru": "rzn", "simple_rnn": ""}


def gates_of(op, x, h, weights, attrs, before=None, behind=None):
    """Return the gates (H,) of one frame x (I,) that meets a state h.

    The peepholes of an LSTM see c `before` the frame, and o's c `behind` it.
    """
    x, h = torch.from_numpy(x.astype(np.float64)), torch.from_numpy(h.astype(np.float64))
    w = {name: torch.from_numpy(array.astype(np.float64)) for name, array in weights.items()}
    units = len(w["b"]) // max(1, len(GATES[op]))
    products = {"input": x @ w["W"], "recurrent": h @ w["U"]}
    if attrs.get("layer_norm") == "products":
        products = {part: _normed(z, w, part, attrs) for part, z in products.items()}
    made = {}
    for number, name in enumerate(GATES[op]):
        part = slice(number * units, (number + 1) * units)
        share, recurrent = products["input"][part] + w["b"][part], products["recurrent"][part]
        if name == "n" and attrs["reset_after"]:
            recurrent = made["r"] * (recurrent + w["bn"])
        elif name == "n":
            recurrent = (made["r"] * h) @ w["U"][:, part]
        z = share + recurrent
        if attrs.get("layer_norm") == "gates":
            z = _normed(z, {k: a[part] for k, a in w.items() if "gate_" in k}, "gate", attrs)
        if "peepholes" in w and name in "ifo":
            seen = torch.from_numpy(behind if name == "o" else before).double()
            z = z + w["peepholes"]["ifo".index(name)] * seen
        if "clip" in attrs:
            z = torch.clamp(z, -attrs["clip"], attrs["clip"])
        default = attrs["activation" if name in "gn" else "recurrent_activation"]
        kind, *constants = attrs.get("gate_activations", {}).get(name, default)
        made[name] = ACTIVATIONS[kind](z, *constants)
    if attrs.get("input_forget"):
        made["f"] = 1 - made["i"]
    return {name: gate.numpy() for name, gate in made.items()}


def _normed(z, w, part, attrs):
    scale, offset = w[f"{part}_scale"], w[f"{part}_offset"]
    return F.layer_norm(z, z.shape, scale, offset, attrs["epsilon"])


def row_by_hand(op, weights, attrs, x, initial, counts):
    """Return gates, c and h by name, (T, ...) each, of one row x (T, I) that is T frames long.

    `counts` (T,) are the frames that no mask leaves out; the others have no gates, NaN. Ids (T,) in
    place of one-hot vectors become these.
    """
    if attrs.get("one_hot"):
        x = np.eye(attrs["one_hot"])[np.where(counts, x, 0).astype(int)]
    options = {k: v for k, v in attrs.items() if k not in ("units", "projection", "one_hot")}
    options |= {"return_sequences": False, "reverse": False, "realign": False}
    units = weights["U"].shape[1] // max(1, len(GATES[op]))
    sizes = [len(weights["U"]), units][: 1 + (op == "lstm")]
    state = [np.zeros(n) if s is None else s for s, n in zip(initial, sizes, strict=False)]
    made = {name: np.full((len(x), units), np.nan) for name in GATES[op]}
    made |= {name: np.zeros((len(x), len(s))) for name, s in zip("hc", state, strict=False)}
    for t in range(len(x))[:: -1 if attrs["reverse"] else 1]:
        if counts[t]:
            given = [s[None] for s in state]
            _, *new = ref.OPS[op](x[None, [t]], *given, **weights, **options)
            new = [s[0] for s in new]
            cells = (state[1], new[1]) if op == "lstm" else ()
            for name, gate in gates_of(op, x[t], state[0], weights, attrs, *cells).items():
                made[name][t] = gate
            state = new
        for name, s in zip("hc", state, strict=False):
            made[name][t] = s
    return made
