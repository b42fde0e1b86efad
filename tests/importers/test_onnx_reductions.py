"""ONNX's reductions, places of extremes, running sums and Softmax, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_models import feeds_of, model, node, refused, same_as_onnxruntime, same_at_sizes
from onnx_nodes import Nodes, same_with_none
from tolerances import FLOAT32

from seqcore.errors import ShapeError
from seqcore.importers.onnx import from_onnx

SIZES = ({"B": 3, "T": 5}, {"B": 1, "T": 2})
INPUTS = {"x": ("B", "T", 4), "z": ("B", 3, "T", 2), "v": ("B", 4)}
REDUCTIONS = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2",
              "ReduceProd", "ReduceSumSquare", "ReduceLogSumExp", "ReduceLogSum")  # fmt: skip


def _taken(opset: int, op: str) -> bool:
    """Tell whether axes are an input, and no attribute."""
    return opset >= (13 if op == "ReduceSum" else 18)


def _reduce(n: Nodes, opset: int, op: str, x: str, axes: Any = None, **attributes: Any) -> None:
    if axes is None:
        n(op, x, **attributes)
    elif _taken(opset, op):
        n(op, x, np.array(axes, np.int64), **attributes)
    else:
        n(op, x, axes=list(axes), **attributes)


def _reductions(opset: int) -> Nodes:
    """All of them over time, features, both, and axes of one element."""
    n = Nodes()
    above = {name: n("Add", n("Abs", name, inner=True), 0.1, inner=True) for name in ("x", "z")}
    for op in REDUCTIONS:
        x, z = (above[name] if op == "ReduceLogSum" else name for name in ("x", "z"))
        one = n("Reshape", x, np.array([0, 0, 1, 4]), inner=True)
        _reduce(n, opset, op, x, [1])
        _reduce(n, opset, op, x, [2], keepdims=0)
        _reduce(n, opset, op, x, [2, 1], keepdims=0)
        _reduce(n, opset, op, z, [1, 3], keepdims=1)
        _reduce(n, opset, op, z, [3], keepdims=0)
        _reduce(n, opset, op, one, [2], keepdims=0)
        if opset >= 11:
            _reduce(n, opset, op, x, [-1])
            _reduce(n, opset, op, z, [-3, -1], keepdims=0)
        if _taken(opset, op):
            _reduce(n, opset, op, x, [], noop_with_empty_axes=1)
            _reduce(n, opset, op, x, noop_with_empty_axes=1)
    return n


@pytest.mark.parametrize("opset", [9, 11, 13, 18, 20])
def test_reductions(opset: int) -> None:
    same_at_sizes(_reductions(opset).model(INPUTS, opset), *SIZES, tolerance=FLOAT32[1])


@pytest.mark.parametrize("opset", [9, 13, 18])
def test_all_axes_of_one_call(opset: int) -> None:
    """Rows meet: a call is a row then, and what comes of it has one axis or none."""
    n = Nodes()
    above = n("Abs", "x", inner=True)
    for op in REDUCTIONS:
        x = above if op == "ReduceLogSum" else "x"
        _reduce(n, opset, op, x)
        _reduce(n, opset, op, x, keepdims=0)
        _reduce(n, opset, op, x, [0])
        _reduce(n, opset, op, x, [0, 1], keepdims=0)
    built = n.model({"x": (3, 4)}, opset)
    same_at_sizes(built, {}, whole=True, tolerance=FLOAT32[1])


def test_time_first() -> None:
    n = Nodes()
    for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceL2"):
        _reduce(n, 17, op, "x", [0], keepdims=0)
        _reduce(n, 17, op, "x", [0, 2])
    for op in ("ArgMax", "ArgMin"):
        n(op, "x", keepdims=0)
    n("TopK", "x", np.array([2]), outputs=2)
    n("CumSum", "x", np.int64(0))
    n("Softmax", "x", axis=0)
    sizes = ({"B": 3, "T": 5}, {"B": 1, "T": 2})
    same_at_sizes(n.model({"x": ("T", "B", 4)}), *sizes, tolerance=FLOAT32[1])


@pytest.mark.parametrize("opset", [11, 18])
def test_whole_numbers_stay_whole(opset: int) -> None:
    n = Nodes()
    low = n("Sub", "n", np.int32(4), inner=True)
    for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2",
               "ReduceProd", "ReduceSumSquare"):  # fmt: skip
        _reduce(n, opset, op, low, [1], keepdims=0)
        _reduce(n, opset, op, low, [2])
    n("Div", n("ReduceMean", low, inner=True, **({"axes": [2]} if opset < 18 else {})), np.int32(3))
    if opset >= 18:
        n.nodes[-2].input.append(n._name(np.array([2]), "last"))
    n("ArgMax", low, axis=-1)
    n("TopK", low, np.array([2]), outputs=2)
    n("CumSum", low, np.int64(1))
    same_at_sizes(n.model({"n": (("B", "T", 5), "int32")}, opset), *SIZES, below=9)


def test_whole_numbers_have_no_logarithm() -> None:
    n = Nodes()
    n("ReduceLogSum", "n", axes=[1])
    refused(n.model({"n": (("B", 5), "int32")}), "ReduceLogSum, opset 17", "of whole numbers")


@pytest.mark.parametrize("opset", [9, 11, 12, 13])
def test_places_of_extremes(opset: int) -> None:
    n = Nodes()
    ties = n("Floor", "x", inner=True)
    for op in ("ArgMax", "ArgMin"):
        for keepdims in (0, 1):
            n(op, ties, axis=1, keepdims=keepdims)
            n(op, ties, axis=2, keepdims=keepdims)
            n(op, "z", axis=2, keepdims=keepdims)
        if opset >= 11:
            n(op, ties, axis=-1)
        if opset >= 12:
            n(op, ties, axis=1, select_last_index=1)
            n(op, ties, axis=-1, keepdims=0, select_last_index=1)
            n("Sub", n(op, ties, axis=-1, select_last_index=1, inner=True), np.int64(1))
    same_at_sizes(n.model(INPUTS, opset), *SIZES)


@pytest.mark.parametrize("opset", [9, 10, 11, 13, 24])
def test_topk(opset: int) -> None:
    n = Nodes()
    ties = n("Floor", "x", inner=True)
    for x, axis in ((ties, 2), (ties, -1), ("z", 1), ("v", 1)):
        k = {} if opset > 9 else {"k": 2}
        given = [x] if opset == 9 else [x, np.array([2])]
        n("TopK", *given, axis=axis, outputs=2, **k)
        if opset >= 11:
            n("TopK", *given, axis=axis, outputs=2, largest=0)
    if opset >= 11:
        n("TopK", "x", np.array([4]), outputs=2, sorted=1)
        largest, _ = n("TopK", "x", np.array([4]), outputs=2, sorted=0, inner=True)
        n("ReduceSum", largest, axes=[-1]) if opset < 13 else n("ReduceSum", largest, [-1])
    n("Div", n("Cast", ties, to=7, inner=True), np.int64(2))
    same_at_sizes(n.model(INPUTS, opset), *SIZES)


@pytest.mark.parametrize("opset", [11, 14])
def test_running_sums(opset: int) -> None:
    n = Nodes()
    for axis in (1, 2, -1):
        for exclusive in (0, 1):
            for reverse in (0, 1):
                n("CumSum", "x", np.int64(axis), exclusive=exclusive, reverse=reverse)
    n("CumSum", "z", np.array([1], np.int32), exclusive=1)
    one = n("Reshape", "x", np.array([0, 0, 1, 4]), inner=True)
    n("CumSum", one, np.int64(2), exclusive=1)
    n("CumSum", one, np.int64(2))
    for exclusive in (0, 1):
        of_constants = n("CumSum", np.arange(4.0), np.int64(0), exclusive=exclusive, reverse=1,
                         inner=True)  # fmt: skip
        n("Add", "x", of_constants)
    same_at_sizes(n.model(INPUTS, opset), *SIZES, tolerance=FLOAT32[1])


@pytest.mark.parametrize("opset", [9, 11, 13])
def test_softmax(opset: int) -> None:
    n = Nodes()
    for op in ("Softmax", "LogSoftmax"):
        for x, axes in (("x", (1, 2)), ("z", (1, 2, 3)), ("v", (1,))):
            n(op, x)
            for axis in axes:
                n(op, x, axis=axis)
        if opset >= 11:
            n(op, "x", axis=-1)
            n(op, "z", axis=-2)
        n("Add", "x", n(op, np.arange(12.0).reshape(3, 4)[:1], inner=True))
    same_at_sizes(n.model(INPUTS, opset), *SIZES, tolerance=FLOAT32[1])


def test_axes_of_one_element() -> None:
    n = Nodes()
    one = n("Reshape", "x", np.array([0, 0, 1, 4]), inner=True)
    for op in ("ArgMax", "ArgMin"):
        n(op, one, axis=2)
        n(op, one, axis=2, keepdims=0, select_last_index=1)
    n("TopK", one, np.array([1]), axis=2, outputs=2)
    for op in ("Softmax", "LogSoftmax"):
        n(op, one, axis=2)
    n("LpNormalization", one, axis=2)
    flat = n("Reshape", "x", np.array([0, 0, 4, 1]), inner=True)
    n("LayerNormalization", flat, np.float32([2]), np.float32([3]))
    n("LayerNormalization", flat, np.float32([2]), np.float32([3]), outputs=3)
    same_at_sizes(n.model(INPUTS), *SIZES)


def test_what_is_no_number() -> None:
    """But of largest and smallest: where NaN stands decides whether onnxruntime keeps it."""
    n = Nodes()
    for op in ("ReduceSum", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceProd"):
        _reduce(n, 17, op, "s", [0])
        _reduce(n, 17, op, "s", [2])
    n("CumSum", "s", np.int64(0))
    n("Softmax", "s")
    nan, inf = np.float32("nan"), np.float32("inf")
    some = np.array([[1, nan, 2], [inf, 1, 0], [-inf, 1, 0], [inf, -inf, 2]], np.float32)
    built = n.model({"s": ("T", "B", 3)})
    same_with_none(built, {"s": some[:, None]}, FLOAT32[0])


def test_axes_that_are_given_can_be_fixed() -> None:
    n = Nodes()
    n("ReduceSum", "x", "axes", keepdims=0)
    built = n.model({"x": ("B", "T", 4), "axes": ((1,), "int64")}, 13)
    refused(built, "its axes must be known")
    feeds = feeds_of(built, SIZES[0]) | {"axes": np.array([1])}
    same_as_onnxruntime(built, feeds, constants=["axes"])


def _one(op: str, *inputs: Any, opset: int = 17, outputs: int = 1, **attributes: Any) -> Any:
    n = Nodes()
    n(op, *inputs, outputs=outputs, **attributes)
    return n.model(INPUTS | {"k": ((1,), "int64")}, opset)


@pytest.mark.parametrize(
    ("built", "words"),
    [
        (_one("ReduceSum", "x", np.array([1, 1])), "over axes [1, 1]"),
        (_one("TopK", "x", "k", outputs=2), "its K must be known"),
    ],
)
def test_refusals(built: Any, words: str) -> None:
    refused(built, words)


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
def test_extremes_of_nothing_are_refused(op):
    """They are infinite to onnxruntime, and 0 to a layer."""
    built = model([node(op, "x", "y", axes=[1])], {"x": ("B", "T", 3)}, "y")
    with pytest.raises(ShapeError, match="at least 1"):
        from_onnx(built)(np.zeros((2, 0, 3), np.float32))
