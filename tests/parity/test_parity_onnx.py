"""seqcore against ONNX's RNN, LSTM and GRU operators, which onnxruntime computes.

The weights are drawn in ONNX's layout, (directions, G*H, in) with LSTM gates i o f c and GRU gates
z r h, and brought into the canonical one here: a third statement of the gate orders.
"""

from __future__ import annotations

import numpy as np
import pytest
from frameworks import SIZES, all_close, dealt, floats, lengths_of
from onnx_operator import run_onnx
from tolerances import FLOAT32

import seqcore as sc

# operator, gates, where the canonical gates stand in ONNX's order, attributes
OPERATORS = {
    "RNN": ("RNN", 1, [0], {}),
    "LSTM": ("LSTM", 4, [0, 2, 3, 1], {}),
    "GRU-after": ("GRU", 3, [1, 0, 2], {"linear_before_reset": 1}),
    "GRU-before": ("GRU", 3, [1, 0, 2], {"linear_before_reset": 0}),
}
DIRECTIONS = ("forward", "reverse", "bidirectional")


def canonical(name, weights, direction):
    """Return W (I, G*H), U (H, G*H) and b of one direction; b (2, 3H) for a reset-after GRU."""
    _, gates, order, attributes = OPERATORS[name]

    def gate_major(rows):
        return np.concatenate([np.split(rows, gates)[k] for k in order])

    W, U = gate_major(weights["W"][direction]).T, gate_major(weights["R"][direction]).T
    b_w, b_r = (gate_major(half) for half in np.split(weights["B"][direction], 2))
    b = np.stack([b_w, b_r]) if attributes.get("linear_before_reset") else b_w + b_r
    return W, U, b


def ours(name, direction, weights):
    """Return our model: out, then final states by direction."""
    kind = {"RNN": sc.SimpleRNN, "LSTM": sc.LSTM, "GRU": sc.GRU}[OPERATORS[name][0]]
    options = {"return_sequences": True, "return_state": True}

    def layer(index, **more):
        return kind(*canonical(name, weights, index), **options, **more)

    if direction == "bidirectional":
        return sc.Sequential([sc.Bidirectional(layer(0), layer(1, go_backwards=True))])
    return sc.Sequential([layer(0, go_backwards=direction == "reverse")])


@pytest.mark.parametrize("index", range(len(SIZES)))
@pytest.mark.parametrize("name", OPERATORS)
def test_operator(rng, name, index):
    features, units, batch, time = dealt(index)
    direction = DIRECTIONS[index % 3]
    count, gates = (2 if direction == "bidirectional" else 1), OPERATORS[name][1]
    weights = {
        "W": floats(rng, count, gates * units, features) / features**0.5,
        "R": floats(rng, count, gates * units, units) / units**0.5,
        "B": floats(rng, count, 2 * gates * units) / 2,
    }
    model = ours(name, direction, weights)
    x = floats(rng, batch, time, features)
    states = [floats(rng, count, batch, units) for _ in range(len(model.states) // count)]
    lengths = lengths_of(rng, batch, time)
    operator, _, _, attributes = OPERATORS[name]
    y, last = run_onnx(operator, weights, x, states, lengths, direction=direction, **attributes)
    y = y.reshape(*y.shape[:2], -1)
    if direction == "reverse":  # ONNX leaves every output at its frame, go_backwards does not
        y = np.stack([
            np.concatenate([row[:n][::-1], row[n:]]) for row, n in zip(y, lengths, strict=True)
        ])  # fmt: skip
    by_direction = [state[d] for d in range(count) for state in last]
    initial = [state[d] for d in range(count) for state in states]
    expected = [y, *by_direction]
    all_close(model, expected, FLOAT32[1], x, lengths=lengths, initial_state=initial)
