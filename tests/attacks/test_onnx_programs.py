"""Attacks through ONNX graphs that are in order as files, and absurd as programs.

Each is refused by an error of ours, or is a small model: within seconds and little memory.
"""

from __future__ import annotations

import itertools
import tracemalloc
from typing import Any

import numpy as np
import onnx
import pytest
from hostile_onnx import MIB
from numpy.typing import ArrayLike
from onnx import helper, numpy_helper

from seqcore.errors import ModelFileError, SeqcoreError, UnsupportedLayerError
from seqcore.importers.onnx import from_onnx

HUGE = [1 << 31, 1 << 40, 1 << 60, (1 << 63) - 1, -(1 << 63)]
BOUND = 64 * MIB


def ints(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


def array(*shape: int) -> Any:
    return np.ones(shape, np.float32)


def made_of(
    *nodes: onnx.NodeProto, outputs: str = "y", opset: int = 19,
    x: Any = ("B", "T", 4), **constants: ArrayLike,
) -> onnx.ModelProto:  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", 1, x)],
        [helper.make_tensor_value_info(name, 1, None) for name in outputs.split()],
        [numpy_helper.from_array(np.asarray(each), name) for name, each in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def node(op: str, inputs: str, outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), outputs.split(), name="bad", **attributes)


def within(built: onnx.ModelProto) -> None:
    """Read a model, which may be refused, in little memory."""
    tracemalloc.start()
    try:
        from_onnx(built)
    except SeqcoreError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < BOUND


def refused(built: onnx.ModelProto, match: str) -> None:
    with pytest.raises(UnsupportedLayerError, match=match):
        from_onnx(built)


# ---- Sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", HUGE)
def test_bombs(size):
    second = node("Add", "x t")
    for built in (
        made_of(node("Tile", "x r"), r=ints(1, 1, size)),
        made_of(node("Tile", "c r", "t"), second, r=ints(1, size), c=array(1, 1)),
        made_of(node("Expand", "c r", "t"), second, r=ints(size, 1), c=array(1, 1)),
        made_of(node("Expand", "c r", "t"), node("MatMul", "x t"), r=ints(4, size), c=array(1, 1)),
        made_of(node("ConstantOfShape", "r", "t"), second, r=ints(1, 1, size)),
        made_of(node("ConstantOfShape", "r", "t"), node("Tanh", "t"), r=ints(1 << 20, size)),
        made_of(node("Pad", "x r"), r=ints(0, 0, 0, 0, 0, size)),
        made_of(node("Pad", "c r", "t"), second, r=ints(0, size), c=array(1)),
        made_of(
            node("Range", "z r d", "t"), second, z=np.int64(0), r=np.int64(size), d=np.int64(1)
        ),
        made_of(node("OneHot", "x r v"), r=ints(size), v=array(2)),
        made_of(node("TopK", "x r", "y i"), r=ints(size)),
        made_of(node("Split", "x", "y z", axis=2, num_outputs=size)),
        made_of(node("Slice", "x s r a"), s=ints(size), r=ints(size), a=ints(1)),
        made_of(node("Reshape", "x r"), r=ints(0, size, size)),
        made_of(node("Conv", "x w", pads=[size, 0]), x=("B", 4, "T"), w=array(3, 4, 2)),
        made_of(node("Conv", "x w", dilations=[size]), x=("B", 4, "T"), w=array(3, 4, 2)),
        made_of(node("ConvTranspose", "x w", strides=[size]), x=("B", 4, "T"), w=array(4, 3, 2)),
        made_of(node("AveragePool", "x", kernel_shape=[size]), x=("B", 4, "T")),
        made_of(node("LpPool", "x", kernel_shape=[3], dilations=[size]), x=("B", 4, 9)),
        made_of(node("GRU", "x w r", "y", hidden_size=size), w=array(1, 9, 4), r=array(1, 9, 3)),
        made_of(node("Flatten", "x"), x=("B", max(size, 1), max(size, 1))),
    ):
        within(built)


def test_windows_that_would_be_zeros_all_but():
    wide = node("ConvTranspose", "x w", strides=[2], dilations=[1 << 20])
    refused(made_of(wide, x=("B", 4, "T"), w=array(4, 3, 2)), "strides and with dilations")


def test_branches_in_branches():
    def branches(depth: int) -> dict[str, Any]:
        inner = [
            node("If", "c", f"r{depth}", **branches(depth - 1)) if depth
            else helper.make_node("Tanh", ["x"], [f"r{depth}"])
        ]  # fmt: skip
        ends = [helper.make_tensor_value_info(f"r{depth}", 1, None)]
        return {
            which: helper.make_graph(inner, which, [], ends)
            for which in ("then_branch", "else_branch")
        }

    built = made_of(node("If", "c", **branches(6)), c=np.bool_(True))
    np.testing.assert_array_equal(from_onnx(built)(array(2, 3, 4)), np.tanh(array(2, 3, 4)))


def test_more_nodes_than_a_model_has_layers():
    """Of which those beyond are not read."""
    names = ["x", *(f"n{k}" for k in range(10_999)), "y"]
    chain = [helper.make_node("Neg", [a], [b]) for a, b in itertools.pairwise(names)]
    refused(made_of(*chain), r"'n10001', Neg, opset 19 \(more than 10000 values are computed\)")


# ---- Nodes that lie ------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["Relu", "Dropout", "BatchNormalization"])
def test_more_outputs_than_an_operator_has(op):
    inputs = "x s s s s" if op == "BatchNormalization" else "x"
    lying = node(op, inputs, "y a b c d e f")
    refused(made_of(lying, outputs="y f", s=array(4)), f"'bad', {op}, opset 19 .*'f'")
    refused(made_of(lying, node("Add", "y f", "z"), outputs="z", s=array(4)), "'bad'.*'f'")


def test_whole_numbers_that_nothing_here_has():
    built = made_of(node("Cast", "c", "t", to=1), node("Add", "x t"), c=np.uint64([1 << 63]))
    with pytest.raises(ModelFileError, match="'c': whole numbers outside of int64's range"):
        from_onnx(built)


KINDS = [7, -7, 1 << 40, 1.5, float("nan"), "s", [1], [1.5], ["a"], [1 << 40, -1], array(2, 2)]
ATTRIBUTES = {
    "ArgMax": "axis keepdims select_last_index", "Cast": "to saturate", "Concat": "axis",
    "Flatten": "axis", "Gelu": "approximate", "HardSigmoid": "alpha beta",
    "LayerNormalization": "axis epsilon stash_type", "LpNormalization": "axis p",
    "MeanVarianceNormalization": "axes", "ReduceMax": "keepdims noop_with_empty_axes",
    "Shape": "start end", "Softmax": "axis", "Split": "axis num_outputs", "Transpose": "perm",
    "MaxPool": "kernel_shape strides pads auto_pad", "Einsum": "equation", "Pad": "mode",
    "RNN": "activations activation_alpha clip hidden_size direction layout",
    "Conv": "auto_pad dilations group kernel_shape pads strides",
    "ConvTranspose": "output_padding output_shape strides",
}  # fmt: skip
TAKEN = {"LayerNormalization": "x s", "RNN": "x W R", "Conv": "x k", "ConvTranspose": "x k"}


@pytest.mark.parametrize("op", ATTRIBUTES)
def test_attributes_of_wrong_kinds(op):
    constants = {"s": array(4), "W": array(1, 3, 4), "R": array(1, 3, 3), "k": array(4, 4, 2)}
    for name, value in itertools.product(ATTRIBUTES[op].split(), KINDS):
        given = numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
        bad = node(op, TAKEN.get(op, "x"), **{name: given})
        for opset in (9, 24):
            within(made_of(bad, x=("B", 4, 4), opset=opset, **constants))


@pytest.mark.parametrize(
    ("op", "name", "value", "kind"),
    [("ReduceMax", "keepdims", "no", "int"), ("Elu", "alpha", [1.0], "float"),
     ("Gelu", "approximate", 1, "str"), ("LSTM", "input_forget", "no", "int")],
)  # fmt: skip
def test_attributes_that_would_pass_for_true(op, name, value, kind):
    bad = node(op, "x w r" if op == "LSTM" else "x", **{name: value})
    built = made_of(bad, opset=24, w=array(1, 12, 4), r=array(1, 12, 3))
    refused(built, rf"'bad', {op}, opset 24 \(with {name}=.*; expected {kind}\)")
