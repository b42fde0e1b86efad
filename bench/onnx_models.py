"""A case as an ONNX model, one node a layer, for ONNX Runtime and OpenVINO alike.

Input and output are time-major, ONNX's own order, and every shape is fixed: both engines are at
their best so (a batch-major model with Transpose nodes around was measured and wins nothing).
Nothing is run here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from cases import Array, Case
from onnx import TensorProto, helper, numpy_helper

# Where torch's gates go: ONNX has LSTM i,o,f,c and GRU z,r,h.
_GATE_ORDER = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2)}


def _reordered(weight: Array, cell: str) -> Array:
    """Return a weight (G*H, ...) with its gates in ONNX's order."""
    order = _GATE_ORDER[cell]
    gates = np.split(weight, len(order))
    return np.concatenate([gates[k] for k in order])


def layer_nodes(
    case: Case, layer: int, x: str
) -> tuple[list[onnx.NodeProto], dict[str, Array], str]:
    """Return a layer's nodes and constants, and the name of y (T, D, B, H)."""
    weights = {name: _reordered(w, case.cell) for name, w in case.weights().items()}
    suffixes = case.suffixes(layer)
    biases = [np.concatenate([weights[f"bias_ih{s}"], weights[f"bias_hh{s}"]]) for s in suffixes]
    constants = {
        f"W{layer}": np.stack([weights[f"weight_ih{s}"] for s in suffixes]),  # (D, G*H, I)
        f"R{layer}": np.stack([weights[f"weight_hh{s}"] for s in suffixes]),  # (D, G*H, H)
        f"B{layer}": np.stack(biases),  # (D, 2*G*H)
    }
    attributes: dict[str, Any] = {
        "hidden_size": case.units,
        "direction": "bidirectional" if case.bidirectional else "forward",
    }
    if case.cell == "GRU":
        attributes["linear_before_reset"] = int(case.reset_after)
    inputs, y = [x, *constants], f"y{layer}"
    if case.ragged:
        inputs.append("lengths")
    nodes = [helper.make_node(case.cell, inputs, [y], **attributes)]
    return nodes, constants, y


def build(case: Case) -> bytes:
    """Return the serialised model: x (T, B, I), and lengths (B,) when ragged, to y (T, D, B, H).

    Between layers D is 1, and Squeeze takes that axis away.
    """
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, Any] = {}
    x = "x"
    for layer in range(case.layers):
        made, arrays, y = layer_nodes(case, layer, x)
        nodes += made
        constants |= arrays
        if layer < case.layers - 1:
            x = f"x{layer + 1}"
            nodes.append(helper.make_node("Squeeze", [y, "axis"], [x]))
            constants["axis"] = np.array([1])
    inputs = {"x": (TensorProto.FLOAT, [case.time, case.batch, case.inputs])}
    if case.ragged:
        inputs["lengths"] = (TensorProto.INT32, [case.batch])
    y_shape = [case.time, case.directions, case.batch, case.units]
    graph = helper.make_graph(
        nodes,
        case.id,
        [helper.make_tensor_value_info(name, *spec) for name, spec in inputs.items()],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, y_shape)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()
