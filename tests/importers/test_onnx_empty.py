"""What has no elements: constants of size 0, and parts of inputs, against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
from onnx_models import refused, same_as_onnxruntime, same_at_sizes
from onnx_nodes import Nodes

import seqcore.onnx_backend as backend

SIZES = ({"B": 3, "T": 5}, {"B": 1, "T": 2})
INPUTS = {"x": ("B", "T", 4)}
REDUCTIONS = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2",
              "ReduceProd", "ReduceSumSquare", "ReduceLogSumExp", "ReduceLogSum")  # fmt: skip
NOTHING = np.zeros((0, 4), np.float32)
ONES = np.ones((1, 4), np.float32)


def _part_of_none(n: Nodes, axis: int) -> str:
    return n("Slice", "x", np.array([0]), np.array([0]), np.array([axis]), inner=True)


def test_reductions_over_no_element() -> None:
    """Of constants and of what depends on the input; some give constants back as they are."""
    n = Nodes()
    for op in REDUCTIONS:
        n("Add", "x", n(op, NOTHING, np.array([0]), inner=True))
        n("Add", "x", n(op, NOTHING, keepdims=0, inner=True))
        n(op, _part_of_none(n, 2), np.array([2]), keepdims=0)
        n(op, _part_of_none(n, 2), np.array([-1]))
        n(op, _part_of_none(n, 1), np.array([1, 2]), keepdims=0)
        n(op, _part_of_none(n, 1), np.array([2]))  # of some elements, of which there are none
    same_at_sizes(n.model(INPUTS, 18), *SIZES)


def test_whole_numbers() -> None:
    """No number is the largest of none, or the smallest: they are the ends of the dtype there."""
    n = Nodes()
    for op in ("ReduceSum", "ReduceMean", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare"):
        none = np.zeros((3, 0), np.int32)
        n("Add", "n", n(op, none, np.array([1]), inner=True))
    same_at_sizes(n.model({"n": (("B", "T", 3, 2), "int32")}, 18), *SIZES)
    for op in ("ReduceMax", "ReduceMin"):
        n = Nodes()
        n("Add", "n", n(op, np.zeros(0, np.int32), inner=True))
        refused(n.model({"n": (("B", 3), "int32")}, 18), "of whole numbers over an axis of size 0")


def _where_nothing_stands() -> Nodes:
    n = Nodes()
    turned = n("Transpose", NOTHING, inner=True)
    nothings = [
        NOTHING,
        n("Slice", np.ones((3, 4), np.float32), np.array([1]), np.array([1]), inner=True),
        n("Reshape", turned, np.array([0, 4]), allowzero=1, inner=True),
        n("Transpose", turned, inner=True),
        n("Expand", ONES, np.array([0, 4]), inner=True),
        n("Tile", np.ones((2, 4), np.float32), np.array([0, 1]), inner=True),
        n("Gather", np.ones((3, 4), np.float32), np.zeros(0, np.int64), inner=True),
        n("ConstantOfShape", np.array([0, 4]), inner=True),
        n("Mul", NOTHING, ONES, inner=True),
        n("Sqrt", NOTHING, inner=True),
        n("Softmax", NOTHING, axis=0, inner=True),
        n("CumSum", NOTHING, np.int64(0), inner=True),
        n("Flatten", n("Unsqueeze", NOTHING, np.array([2]), inner=True), inner=True),
    ]
    for nothing in nothings:
        n("Add", "x", n("Concat", nothing, ONES, axis=0, inner=True))
        length = n("Cast", n("Shape", nothing, inner=True), to=onnx.TensorProto.FLOAT, inner=True)
        n("Add", "x", n("Reshape", length, np.array([2, 1, 1]), inner=True))
    return n


def test_where_nothing_can_stand() -> None:
    built = _where_nothing_stands().model({"x": ("B", 2, "T", 4)})
    same_at_sizes(built, *SIZES)


def test_parts_of_an_input() -> None:
    n = Nodes()
    n("Concat", _part_of_none(n, 1), "x", axis=1)
    n("Concat", n("Mul", _part_of_none(n, 2), 2.0, inner=True), "x", axis=2)
    n("Concat", "x", n("Relu", _part_of_none(n, 1), inner=True), axis=1)
    none, whole = n("Split", "x", np.array([0, 4]), axis=2, outputs=2)
    n("Concat", whole, none, axis=2)
    n("Gather", "x", np.zeros(0, np.int64), axis=2)
    n("Gather", "x", np.zeros((0, 2), np.int64), axis=1)
    same_at_sizes(n.model(INPUTS), *SIZES)


def test_an_initialiser_in_front_of_a_sequence() -> None:
    """A cache that is still empty; its batch is the graph's."""
    n = Nodes()
    n("Concat", np.zeros((2, 0, 4), np.float32), "x", axis=1)
    same_at_sizes(n.model({"x": (2, "T", 4)}), *SIZES)


def test_an_input_of_no_elements_is_fixed() -> None:
    """The backend does so by itself; others are told that they can."""
    n = Nodes()
    n("Add", "x", n("ReduceMax", "none", inner=True, keepdims=0))
    n("Concat", "none", "x", axis=1)
    built = n.model({"x": (2, 3, 4), "none": (2, 0, 4)}, 18)
    assert "it has no elements" in refused(built)
    feeds = {"x": np.ones((2, 3, 4), np.float32), "none": np.zeros((2, 0, 4), np.float32)}
    same_as_onnxruntime(built, feeds, constants=["none"])
    added, joined = backend.prepare(built).run(feeds)
    assert np.array_equal(added, np.full((2, 3, 4), -np.inf))
    assert np.array_equal(joined, feeds["x"])


def test_an_input_is_repeated_once_at_least() -> None:
    n = Nodes()
    n("Tile", "x", np.array([1, 0, 1]))
    refused(n.model(INPUTS), "repeats of [1, 0, 1]")
