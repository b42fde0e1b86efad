"""Rows that a graph sorts and puts back; sizes that a graph leaves from its exporter's example."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx_models import constant, feeds_of, model, node, refused, run_onnxruntime, same_at_sizes
from tolerances import FLOAT32, close

from seqcore.errors import ShapeError
from seqcore.importers.onnx import from_onnx

SIZES = ({"B": 4, "T": 5}, {"B": 1, "T": 3})
INPUTS = {"x": ("B", "T", 3), "n": (("B",), "int64")}
CONSTANTS = {"zero": np.int64(0), "one": np.int64(1)}

# An order of the rows by n, and its inverse, as torch's exporter writes them.
SORT = [
    node("Shape", "n", "count"),
    node("TopK", "n count", "sorted order"),
    node("Shape", "order", "again"),
    node("ReduceProd", "again", "rows", keepdims=0),
    node("Range", "zero rows one", "places"),
    node("ConstantOfShape", "again", "nothing", value=constant("zeros", np.zeros(1, np.int64))),
    node("ScatterElements", "nothing order places", "back"),
    node("Gather", "x order", "sx"),
    node("Cast", "sorted", "size", to=onnx.TensorProto.FLOAT),
]


def sorting(*nodes: onnx.NodeProto, outputs: str = "y") -> onnx.ModelProto:
    return model([*SORT, *nodes], INPUTS, outputs, CONSTANTS)


def test_rows_are_sorted_and_put_back() -> None:
    built = sorting(
        node("ReduceMax", "sx", "most", axes=[1, 2], keepdims=0),
        node("Add", "most size", "sum"),
        node("Gather", "sum back", "y"),
        node("Transpose", "sx", "tx", perm=[1, 0, 2]),
        node("Tanh", "tx", "ty"),
        node("Gather", "ty back", "z", axis=1),
        outputs="y z",
    )
    same_at_sizes(built, *SIZES)


def test_nothing_is_moved() -> None:
    made = from_onnx(sorting(node("Tanh", "sx", "ty"), node("Gather", "ty back", "y")))
    assert [each["op"] for each in made._graph.document["nodes"]] == ["activation"]


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ([node("Tanh", "sx", "y")], "'y', whose rows are sorted"),
        ([node("Add", "sx x", "y")], "rows that are sorted meet rows that are not"),
        ([node("Gather", "sx order", "y")], "rows that are sorted are put in another order"),
        ([node("Gather", "x back", "z"), node("Gather", "z back", "y")], "in another order"),
        ([node("Gather", "x order", "y", axis=1)], "by the order of rows, along another axis"),
        ([node("Add", "order order", "y")], "computes with the numbers of the batch's rows"),
        ([node("Identity", "places", "y")], "a size"),
    ],
)
def test_an_order_that_would_show_is_refused(nodes: Any, why: str) -> None:
    refused(sorting(*nodes), why)


def test_a_size_that_the_graph_fixes_is_the_only_one() -> None:
    """A Reshape that says 5 of T + 1: T is 4, whatever the inputs say."""
    nodes = [
        node("Concat", "x first", "longer", axis=1),
        node("Reshape", "longer shape", "flat"),
        node("Relu", "flat", "y"),
    ]
    shapes = {"x": ("B", "T", 3), "first": ("B", 1, 3)}
    built = model(nodes, shapes, "y", {"shape": np.array([-1, 5, 3])})
    made = from_onnx(built)
    feeds = feeds_of(built, {"B": 3, "T": 4})
    close(made(*feeds.values()), run_onnxruntime(built, feeds)[0], FLOAT32[0])
    with pytest.raises(ShapeError, match="4"):
        made(*feeds_of(built, {"B": 3, "T": 9}).values())


def test_a_size_that_cannot_be_is_refused() -> None:
    nodes = [node("Reshape", "x shape", "y")]
    built = model(nodes, {"x": ("T", "B", 4)}, "y", {"shape": np.array([3, -1, 7])})
    refused(built, "Reshape, opset 17")
