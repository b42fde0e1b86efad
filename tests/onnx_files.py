"""ONNX files for tests of reading them, made by the package `onnx`; programs as models again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from seqcore.formats.onnx_files import OnnxGraph, OnnxNode, OnnxProgram, OnnxValue

FLOAT = TensorProto.FLOAT
_ELEMENTS = {"float32": FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}


def value(name: str, shape: Sequence[int | str | None] | None = (2, 3), kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def graph(
    nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any], **more: Any
) -> onnx.GraphProto:
    """Inputs and outputs are names of float32 (2, 3), or values."""
    sides = [[value(v) if isinstance(v, str) else v for v in side] for side in (inputs, outputs)]
    weights = [numpy_helper.from_array(a, name) for name, a in more.pop("weights", {}).items()]
    return helper.make_graph(nodes, "main", *sides, initializer=weights, **more)


def model(made: onnx.GraphProto, opset: int = 18, **more: Any) -> onnx.ModelProto:
    domains = more.pop("domains", {})
    opsets = [helper.make_opsetid(*each) for each in ({"": opset} | domains).items()]
    return helper.make_model(
        made, opset_imports=opsets, **{"ir_version": 10, "producer_name": "hand", **more}
    )


def function(
    name: str, inputs: Sequence[str], outputs: Sequence[str], nodes: Sequence[Any], **more: Any
) -> onnx.FunctionProto:
    opsets = [helper.make_opsetid("", more.pop("opset", 18)), helper.make_opsetid("own", 1)]
    return helper.make_function("own", name, inputs, outputs, nodes, opsets, **more)


def small() -> onnx.ModelProto:
    """y = relu(x + w)."""
    nodes = [
        helper.make_node("Add", ["x", "w"], ["sum"], "plus"),
        helper.make_node("Relu", ["sum"], ["y"]),
    ]
    return model(graph(nodes, ["x"], ["y"], weights={"w": np.arange(3, dtype=np.float32)}))


# ---- Back again ----------------------------------------------------------------------------------


def rebuilt(program: OnnxProgram) -> onnx.ModelProto:
    """A model that is what the program says, for ONNX Runtime."""
    opsets = [helper.make_opsetid(*each) for each in program.opsets.items()]
    return helper.make_model(_graph(program.graph), opset_imports=opsets, ir_version=10)


def _graph(made: OnnxGraph) -> onnx.GraphProto:
    return helper.make_graph(
        [_node(node) for node in made.nodes],
        made.name or "g",
        [_value(v) for v in made.inputs],
        [_value(v) for v in made.outputs],
        [numpy_helper.from_array(array, name) for name, array in made.constants.items()],
    )


def _value(given: OnnxValue) -> Any:
    return helper.make_tensor_value_info(given.name, _ELEMENTS[given.dtype or ""], given.shape)


def _node(node: OnnxNode) -> onnx.NodeProto:
    attributes = {name: _attribute(item) for name, item in node.attributes.items()}
    # Without its name: only in messages it need not be unique.
    return helper.make_node(node.op, node.inputs, node.outputs, domain=node.domain, **attributes)


def _attribute(item: Any) -> Any:
    if isinstance(item, OnnxGraph):
        return _graph(item)
    return numpy_helper.from_array(item) if isinstance(item, np.ndarray) else item
