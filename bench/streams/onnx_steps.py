"""A streamed model as an ONNX model of one step: frame and states in, result and states out.

The recurrent nodes are those of ../onnx_models.py. Every shape is fixed. Nothing is run here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_models
from onnx import TensorProto, helper, numpy_helper

from streams.models import Streamed


class Step(NamedTuple):
    """A serialised model.

    Attributes
    ----------
    model : bytes
    frame : tuple of int
        Shape of the input "x": ids (1, 1), features (1, 1, I), or one frame of channels (1, C, 1).
    states : dict of str to tuple of int
        Shapes; the state "s" is the input "s" and the output "s_next".
    output : str
        Which output is the result; the last layer's h where nothing follows it.
    """

    model: bytes
    frame: tuple[int, ...]
    states: dict[str, tuple[int, ...]]
    output: str


class _Graph:
    """Nodes, constants and states, as they are added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.states: dict[str, tuple[int, ...]] = {}

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: Any) -> str:
        self.constants[name] = np.asarray(value)
        return name


def _front(graph: _Graph, model: Streamed) -> str:
    """Add what stands before the recurrent part; return the name of its input (1, 1, I)."""
    if model.rows:
        return graph.add("Gather", [graph.constant("table", model.embedding()), "x"], "embedded")
    if not model.kernel:
        return "x"
    graph.states["frames"] = (1, model.channels, model.kernel - 1)
    kernel, bias = model.convolution()
    window = graph.add("Concat", ["frames", "x"], "window", axis=2)
    ends = [graph.constant("one", [1]), graph.constant("end", [model.kernel])]
    graph.add("Slice", [window, *ends, graph.constant("time", [2])], "frames_next")
    weights = [graph.constant("kernel", kernel), graph.constant("kernel_bias", bias)]
    convolved = graph.add("Relu", [graph.add("Conv", [window, *weights], "sums")], "convolved")
    shape = graph.constant("row", [1, 1, model.cell.inputs])
    return graph.add("Reshape", [convolved, shape], "filtered")


def _recurrent(graph: _Graph, model: Streamed, x: str) -> str:
    """Add the recurrent layers; return the name of the last one's h (1, 1, H)."""
    kinds = ("h", "c") if model.cell.cell == "LSTM" else ("h",)
    for layer in range(model.cell.layers):
        (node,), constants, _ = onnx_models.layer_nodes(model.cell, layer, x)
        graph.constants |= constants
        states = [f"{kind}{layer}" for kind in kinds]
        graph.states |= dict.fromkeys(states, (1, 1, model.cell.units))
        node.input.extend(["", *states])  # no lengths
        del node.output[:]
        node.output.extend(["", *(f"{state}_next" for state in states)])  # h is all of y here
        graph.nodes.append(node)
        x = f"h{layer}_next"
    return x


def build(model: Streamed) -> Step:
    """Return the step of a model."""
    graph = _Graph()
    output = _recurrent(graph, model, _front(graph, model))
    if model.classes:
        kernel, bias = model.dense()
        sums = graph.add("MatMul", [output, graph.constant("dense", kernel.T)], "products")
        sums = graph.add("Add", [sums, graph.constant("dense_bias", bias)], "logits")
        output = graph.add("Softmax", [sums], "y", axis=-1)
    frame = (1, model.channels, 1) if model.kernel else (1, 1, model.cell.inputs)
    kind = TensorProto.FLOAT
    inputs = {"x": (TensorProto.INT64, (1, 1)) if model.rows else (kind, frame)}
    inputs |= {name: (kind, shape) for name, shape in graph.states.items()}
    outputs = {f"{name}_next": (kind, shape) for name, shape in graph.states.items()}
    if model.classes:
        outputs["y"] = (kind, (1, 1, model.classes))
    made = helper.make_graph(
        graph.nodes,
        "step",
        [helper.make_tensor_value_info(name, *spec) for name, spec in inputs.items()],
        [helper.make_tensor_value_info(name, *spec) for name, spec in outputs.items()],
        [numpy_helper.from_array(np.ascontiguousarray(a), n) for n, a in graph.constants.items()],
    )
    whole = helper.make_model(made, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(whole)
    return Step(whole.SerializeToString(), inputs["x"][1], graph.states, output)
