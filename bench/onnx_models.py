"""A case as an ONNX model of one node, for ONNX Runtime and OpenVINO alike.

Input and output are time-major, ONNX's own order, and every shape is fixed: both engines are at
their best so (a batch-major model with Transpose nodes around was measured and wins nothing).
Nothing is run here.
"""

from __future__ import annotations

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


def build(case: Case) -> bytes:
    """Return the serialised model: x (T, B, I) to y (T, D, B, H)."""
    weights = {name: _reordered(w, case.cell) for name, w in case.weights().items()}
    biases = [
        np.concatenate([weights[f"bias_ih_l0{s}"], weights[f"bias_hh_l0{s}"]])
        for s in case.suffixes
    ]
    constants = {
        "W": np.stack([weights[f"weight_ih_l0{s}"] for s in case.suffixes]),  # (D, G*H, I)
        "R": np.stack([weights[f"weight_hh_l0{s}"] for s in case.suffixes]),  # (D, G*H, H)
        "B": np.stack(biases),  # (D, 2*G*H)
    }
    attributes = {
        "hidden_size": case.units,
        "direction": "bidirectional" if case.bidirectional else "forward",
    }
    if case.cell == "GRU":
        attributes["linear_before_reset"] = 1  # torch's reset-after form
    x_shape = [case.time, case.batch, case.inputs]
    y_shape = [case.time, len(case.suffixes), case.batch, case.units]
    graph = helper.make_graph(
        [helper.make_node(case.cell, ["x", "W", "R", "B"], ["y"], **attributes)],
        case.id,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, y_shape)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()
