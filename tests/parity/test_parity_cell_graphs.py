"""The core's cells against onnxruntime, where ONNX's operators have the same options.

Graphs of one cell are written out (cells_by_hand.py); its canonical weights are put in ONNX's
order: LSTM gates i o f c and peepholes i o f, GRU gates z r h. What clip bounds, and what a coupled
gate leaves unread, is what onnxruntime's run says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from cells_by_hand import ELU, FEATURES, HARD, LEAKY, RELU, SOFTSIGN, graph_of, model_of, weights_of
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from stream_models import floats
from tolerances import FLOAT32, close

Array = NDArray[Any]

OPERATORS = {"lstm": "LSTM", "gru": "GRU", "simple_rnn": "RNN"}
ORDER = {"lstm": [0, 3, 1, 2], "gru": [1, 0, 2], "simple_rnn": [0]}
NAMES = {
    "sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "hard_sigmoid": "HardSigmoid",
    "leaky_relu": "LeakyRelu", "softsign": "Softsign", "elu": "Elu", "softplus": "Softplus",
}  # fmt: skip
SIGMOID, TANH, SOFTPLUS = ["sigmoid", 0, 0], ["tanh", 0, 0], ["softplus", 0, 0]

LSTMS: list[dict[str, Any]] = [
    {"peepholes": True},
    {"clip": 0.3},
    {"input_forget": True, "peepholes": True},
    {"peepholes": True, "clip": 0.5, "input_forget": True, "activations": [HARD, RELU, SOFTSIGN]},
    {"peepholes": True, "activations": [SIGMOID, SOFTPLUS, ELU]},
    {"clip": 0.9, "activations": [LEAKY, TANH, LEAKY]},
]
GRUS: list[dict[str, Any]] = [
    {"clip": 0.3},
    {"activations": [HARD, SOFTSIGN]},
    {"clip": 0.6, "activations": [SOFTPLUS, LEAKY]},
]
RNNS: list[dict[str, Any]] = [{"clip": 0.3}, {"clip": 0.5, "activations": [LEAKY]}]


def letters(op: str, activations: list[Any]) -> dict[str, Any]:
    """Our attributes of ONNX's activations: f g h of an LSTM, f g of a GRU, f of an RNN."""
    if op == "simple_rnn":
        return {"activation": activations[0]}
    if op == "gru":
        return {"gate_activations": dict(zip("rzn", [activations[0], *activations], strict=True))}
    f, g, h = activations
    return {"gate_activations": {"i": f, "f": f, "g": g, "o": f, "h": h}}


def gate_order(op: str, array: Array) -> Array:
    """(in, G*H) -> ONNX's (1, G*H, in)."""
    parts = np.split(array, len(ORDER[op]), axis=-1)
    return np.concatenate([parts[k] for k in ORDER[op]], axis=-1).T[None]


def run_onnx(
    op: str, options: dict[str, Any], weights: dict[str, Array], x: Array, states: list[Array]
) -> list[Array]:
    """Return y (B, T, H) and the last states (B, H) of onnxruntime."""
    b = gate_order(op, weights["b"])
    recurrent = np.zeros_like(b)
    if "bn" in weights:
        recurrent[:, -weights["bn"].size :] = weights["bn"]
    arrays = {
        "W": gate_order(op, weights["W"]), "R": gate_order(op, weights["U"]),
        "B": np.concatenate([b, recurrent], axis=1), "h0": states[0][None],
    }  # fmt: skip
    names = ["x", "W", "R", "B", "", "h0"]
    if op == "lstm":
        arrays["c0"] = states[1][None]
        names.append("c0")
        if "peepholes" in weights:
            arrays["P"] = weights["peepholes"][[0, 2, 1]].reshape(1, -1)
            names.append("P")
    attributes: dict[str, Any] = {"hidden_size": states[0].shape[1]}
    attributes |= {key: options[key] for key in ("clip", "linear_before_reset") if key in options}
    if options.get("input_forget"):
        attributes["input_forget"] = 1
    if "activations" in options:
        kinds = options["activations"]
        attributes |= {
            "activations": [NAMES[kind] for kind, *_ in kinds],
            # onnxruntime deals them out to the functions that have one
            "activation_alpha": [float(alpha) for _, alpha, _ in kinds if alpha] or [0.0],
            "activation_beta": [float(beta) for *_, beta in kinds if beta] or [0.0],
        }
    results = ["y", "y_h", "y_c"][: 1 + len(states)]
    node = helper.make_node(OPERATORS[op], names, results, **attributes)
    graph = helper.make_graph(
        [node], "cell", [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in results],
        [numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in arrays.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    y, *last = session.run(None, {"x": np.ascontiguousarray(x.transpose(1, 0, 2))})
    return [y[:, 0].transpose(1, 0, 2), *(state[0] for state in last)]


def agrees(rng: np.random.Generator, isa: str, op: str, options: dict[str, Any]) -> None:
    attrs = {k: v for k, v in options.items() if k not in ("activations", "linear_before_reset")}
    if op == "gru":
        attrs["reset_after"] = bool(options["linear_before_reset"])
    if "activations" in options:
        attrs |= letters(op, options["activations"])
    if options.get("input_forget"):
        attrs.get("gate_activations", {}).pop("f", None)  # there is none
    for units, batch in ((7, 1), (20, 3), (33, 2)):
        weights = weights_of(rng, op, attrs, units)
        x = 2 * floats(rng, batch, 6, FEATURES)
        states = [floats(rng, batch, units) for _ in range(1 + (op == "lstm"))]
        model = model_of(graph_of(op, attrs, weights, units), isa=isa)
        expected = run_onnx(op, options, weights, x, states)
        for got, want in zip(model(x, initial_state=states), expected, strict=True):
            close(got, want, FLOAT32[1], f"{op} {options}, {units} units")


@pytest.mark.parametrize("options", LSTMS, ids=str)
def test_lstm(isa: str, options: dict[str, Any], rng: np.random.Generator) -> None:
    agrees(rng, isa, "lstm", options)


@pytest.mark.parametrize("linear_before_reset", [0, 1])
@pytest.mark.parametrize("options", GRUS, ids=str)
def test_gru(
    isa: str, options: dict[str, Any], linear_before_reset: int, rng: np.random.Generator
) -> None:
    agrees(rng, isa, "gru", options | {"linear_before_reset": linear_before_reset})


@pytest.mark.parametrize("options", RNNS, ids=str)
def test_rnn(isa: str, options: dict[str, Any], rng: np.random.Generator) -> None:
    agrees(rng, isa, "simple_rnn", options)
