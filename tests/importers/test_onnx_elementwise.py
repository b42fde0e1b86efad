"""ONNX's operators on every element alone, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from onnx_models import (
    feeds_of,
    model,
    node,
    refused,
    run_onnxruntime,
    same_as_onnxruntime,
    same_at_sizes,
)
from onnx_nodes import Nodes, same_with_none
from tolerances import FLOAT32

from seqcore.importers.onnx import from_onnx

NAN, INF = np.float32("nan"), np.float32("inf")
SIZES = ({"B": 3, "T": 5}, {"B": 1, "T": 2})
FLOATS = {"x": ("B", "T", 4), "y": ("B", "T", 4), "v": ("B", "T", 1), "z": ("B", "T", 2, 4)}
WHOLES = {"n": (("B", "T"), "int64"), "m": (("B", "T"), "int64")}
C = np.array([1.0, -2.0, 0.5, 3.0], np.float32)


def _arithmetic(opset: int) -> Nodes:
    n = Nodes()
    for op in ("Add", "Sub", "Mul"):
        n(op, "x", "y")
        n(op, "x", "v")
        n(op, "v", "x")
        n(op, "x", C)
        n(op, C.reshape(1, 4), "x")
        n(op, "x", C.reshape(1, 1, 1, 4))  # of higher rank, as is what comes of it
        n(op, np.float32(3), "z")
        n(op, "x", np.full((1, 1, 1, 1), 2.5))
    size = n("Add", n("Abs", "y", inner=True), 0.5)
    n("Div", "x", size)
    n("Div", "x", C)
    n("Div", 1.0, size)
    n("Div", "z", np.float32(-3))
    n("Div", C.reshape(1, 1, 4), size)
    for op in ("Sqrt", "Log", "Reciprocal"):
        n(op, size)
    for op in ("Exp", "Neg", "Abs", "Floor", "Ceil", "Sin", "Cos", "Tan", "Sinh", "Cosh", "Erf"):
        n(op, "x")
    if opset >= 11:
        n("Round", n("Mul", "x", 2.0, inner=True))
    n("Sign", "x")
    for op in ("Max", "Min", "Sum", "Mean"):
        n(op, "x")
        n(op, "x", "y")
        n(op, "x", "v", "y", C)
        n(op, 0.25, "x")
    return n


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 21])
def test_arithmetic(opset: int) -> None:
    same_at_sizes(_arithmetic(opset).model(FLOATS, opset), *SIZES, tolerance=FLOAT32[1])


def test_time_first() -> None:
    inputs = {"x": ("T", "B", 4), "y": ("T", "B", 4), "v": ("T", "B", 1), "z": ("T", "B", 2, 4)}
    same_at_sizes(_arithmetic(17).model(inputs), *SIZES, tolerance=FLOAT32[1])


def test_sequences_and_vectors_together() -> None:
    """A state of every row meets a frame of each; a constant along time meets all rows."""
    n = Nodes()
    wide = n("Reshape", "h", np.array([-1, 1, 4]), inner=True)
    n("Add", "x", wide)
    n("Greater", wide, "x")
    n("Where", n("Less", "x", wide, inner=True), wide, "x")
    n("Mul", "h", C)
    n("Add", "h", C.reshape(1, 1, 4))
    built = n.model({"x": ("B", "T", 4), "h": ("B", 4)})
    same_at_sizes(built, *SIZES)


def test_powers() -> None:
    n = Nodes()
    size = n("Add", n("Abs", "y", inner=True), 0.5, inner=True)
    for exponent in (2.0, 3.0, 0.5, -0.5, -1.0, 1.0, 0.0, 1.5):
        n("Pow", size, exponent)
    n("Pow", "x", np.int64(3))
    n("Pow", "x", np.array([0.0, 1.0, 2.0, 3.0]))
    n("Pow", "x", np.full((1, 1, 1, 1), 2.0))
    n("Pow", "x", np.array([[[[1.0, 2.0, 1.0, 2.0]]]]))
    n("Pow", "v", np.full(4, 2.0))
    n("Pow", "v", np.array([1.0, 2.0]))
    n("Pow", 2.0, "x")
    n("Pow", C[:1], "x")
    n("Pow", size, "x")
    n("Pow", "x", n("Floor", n("Mul", "y", 2.0, inner=True), inner=True))
    same_at_sizes(n.model(FLOATS), *SIZES, tolerance=FLOAT32[2])


def test_powers_next_to_what_is_no_number() -> None:
    n = Nodes()
    n("Pow", "x", "y")
    for exponent in (-1.0, 0.0, 1.5, 2.0, 3.0, NAN):
        n("Pow", "x", np.float32(exponent))
    some = np.array([0, 1, -1, 2, -2, 0.5, INF, -INF, NAN], np.float32)
    x, y = (part.reshape(3, 27) for part in np.meshgrid(some, some))
    same_with_none(n.model({"x": ("B", 27), "y": ("B", 27)}), {"x": x, "y": y}, FLOAT32[1])


def _whole(opset: int, kind: type) -> Nodes:
    n = Nodes()
    low = n("Sub", "n", kind(4))  # some below 0
    odd = n("Add", n("Mul", n("Sub", "m", kind(3), inner=True), kind(2), inner=True), kind(1))
    n("Div", low, odd)
    n("Div", low, kind(2))
    n("Div", kind(-7), odd)
    n("Mul", low, odd)
    n("Neg", low)
    n("Abs", low)
    n("Sign", low)
    if opset >= 12:
        n("Max", low, odd, kind(1))
        n("Min", low, kind(-1))
        n("Pow", low, kind(3))
        n("Pow", low, np.float32(2))
        n("Pow", low, np.array([[3, 2, 0, 1]], kind))
        n("Clip", low, kind(-2), kind(1))
        n("Clip", low, None, kind(1))
    if opset >= 10:
        n("Mod", low, odd)
        n("Mod", low, odd, fmod=1)
        n("Mod", low, kind(3))
        n("Mod", kind(7), odd)
    n("Equal", low, odd)
    n("Greater", low, kind(0))
    n("Where", n("Less", low, odd, inner=True), low, kind(9))
    return n


@pytest.mark.parametrize("kind", [np.int64, np.int32])
@pytest.mark.parametrize("opset", [9, 13, 17])
def test_whole_numbers_stay_whole(opset: int, kind: Any) -> None:
    name = np.dtype(kind).name
    inputs = {"n": (("B", 4), name), "m": (("B", 4), name)}
    same_at_sizes(_whole(opset, kind).model(inputs, opset), {"B": 9}, {"B": 1}, below=9)


@pytest.mark.parametrize("opset", [9, 13, 19])
def test_truth(opset: int) -> None:
    n = Nodes()
    p, q = n("Greater", "x", "y"), n("Less", "x", C)
    for op in ("Greater", "Less"):
        n(op, "x", 0.0)
        n(op, 0.0, "x")
        n(op, C.reshape(1, 1, 1, 4), "x")
        n(op, "x", "v")
    if opset >= 12:
        for op in ("GreaterOrEqual", "LessOrEqual"):
            n(op, "x", "y")
            n(op, "x", np.full((1, 1, 1, 1), 0.25))
    for op in ("And", "Or", "Xor"):
        n(op, p, q)
        n(op, p, np.array([True, False, True, False]))
        n(op, np.ones((1, 1, 1, 1), np.bool_), p)
    n("Not", p)
    n("Equal", p, q)
    if opset >= 11:
        n("Equal", n("Cast", p, to=TensorProto.FLOAT), n("Cast", q, to=TensorProto.FLOAT))
    same_at_sizes(n.model(FLOATS, opset), *SIZES)


def test_choices() -> None:
    n = Nodes()
    p, q = n("Greater", "x", "y"), n("Less", "v", 0.0)
    n("Where", p, "x", "y")
    n("Where", p, 1.0, 0.0)
    n("Where", p, "x", np.float32(-INF))
    n("Where", q, "x", C)
    n("Where", n("Less", "z", C, inner=True), "z", 2.0)
    n("Where", p, "v", "y")
    n("Where", p, np.full((1, 1, 1, 1), 2.0), "x")
    n("Where", p, np.full((1, 1, 1, 1), 2.0), 3.0)
    n("Where", p, C.reshape(1, 1, 1, 4), 3.0)
    n("Where", np.array([True, False, True, False]), "x", "y")
    n("Where", np.array(True), "x", "v")
    same_at_sizes(n.model(FLOATS), *SIZES)


def test_a_choice_of_truths_is_one() -> None:
    """onnxruntime has no kernel for it."""
    n = Nodes()
    p, q = (n("Less", "x", limit, inner=True) for limit in (0.0, 1.0))
    n("Not", n("Where", p, q, p, inner=True))
    n("And", n("Where", q, p, np.array(True), inner=True), q)
    x = np.random.default_rng(1).standard_normal((7, 9)).astype(np.float32)
    first, second = from_onnx(n.model({"x": ("B", 9)}))(x)
    assert np.array_equal(first, ~np.where(x < 0, x < 1, x < 0))
    assert np.array_equal(second, np.where(x < 1, x < 0, True) & (x < 1))


def test_what_is_no_number() -> None:
    n = Nodes()
    for op in ("Max", "Min"):
        n(op, "s", "t")
        n(op, "s", 0.0)
        n(op, 0.0, "s", "t")
    n("Clip", "s", np.float32(-1), np.float32(2))
    n("Clip", "s", np.float32(3), np.float32(2))  # the last one wins
    n("Clip", "s", None, np.float32(2))
    n("Clip", "s", np.float32(0))
    n("Clip", "s", np.float32(0), np.float32(6))
    n("Clip", "s", np.float32(-1), np.float32(1))
    n("Clip", "s", NAN, np.float32(2))
    n("Sign", "s")
    for op in ("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"):
        n("Cast", n(op, "s", "t", inner=True), to=TensorProto.FLOAT)
    for op in ("Add", "Sub", "Mul", "Div"):
        n(op, "s", "t")
    for op in ("Abs", "Neg", "Exp", "Sqrt", "Log", "Floor", "Ceil", "Round", "Reciprocal", "Erf"):
        n(op, "s")
    nothing = n("IsNaN", "s", inner=True)
    n("Cast", nothing, to=TensorProto.FLOAT)
    n("Where", nothing, 7.0, "s")
    for attributes in ({}, {"detect_negative": 0}, {"detect_positive": 0},
                       {"detect_negative": 0, "detect_positive": 0}):  # fmt: skip
        n("Cast", n("IsInf", "s", inner=True, **attributes), to=TensorProto.FLOAT)
    some = np.array([NAN, INF, -INF, 0, -0.0, 1, -1, 2.5, -7], np.float32)
    s, t = (part.reshape(3, 27) for part in np.meshgrid(some, some))
    same_with_none(n.model({"s": ("B", 27), "t": ("B", 27)}), {"s": s, "t": t}, FLOAT32[0])


@pytest.mark.parametrize("opset", [9, 11, 13, 17])
def test_clip(opset: int) -> None:
    n = Nodes()
    limits = [(-0.5, 0.5), (None, 0.25), (0.0, None), (0.0, 6.0), (-1.0, 1.0), (None, None)]
    for low, high in limits:
        if opset < 11:
            given = {"min": low, "max": high}
            n("Clip", "x", **{key: value for key, value in given.items() if value is not None})
        else:
            n("Clip", "x", *(None if each is None else np.float32(each) for each in (low, high)))
    same_at_sizes(n.model(FLOATS, opset), *SIZES)


def test_clip_by_what_the_graph_computes() -> None:
    n = Nodes()
    one = n("ReduceMean", n("Mul", "y", 0.1, inner=True), axes=[0, 1, 2], keepdims=0, inner=True)
    n("Clip", "x", one)
    n("Clip", "x", None, one)
    same_at_sizes(n.model(FLOATS), *SIZES, whole=True)


def test_casts() -> None:
    n = Nodes()
    near = n("Mul", "x", 3.0, inner=True)
    whole = n("Cast", near, to=TensorProto.INT64)
    n("Cast", near, to=TensorProto.INT32)
    n("Cast", near, to=TensorProto.FLOAT)
    truth = n("Cast", near, to=TensorProto.BOOL)
    n("Cast", whole, to=TensorProto.BOOL)
    n("Cast", whole, to=TensorProto.FLOAT)
    n("Cast", truth, to=TensorProto.INT64)
    n("Cast", truth, to=TensorProto.UINT8)
    n("Cast", truth, to=TensorProto.FLOAT)
    n("Div", n("Cast", truth, to=TensorProto.INT32, inner=True), np.int32(2))
    n("Div", n("Cast", whole, to=TensorProto.FLOAT, inner=True), np.float32(2))
    large = n("Mul", whole, np.int64(97), inner=True)
    for kind in (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16):
        n("Cast", n("Cast", large, to=kind, inner=True), to=TensorProto.INT64)
    n("Add", "x", n("Cast", np.array([3, -2, 1, 0]), to=TensorProto.FLOAT, inner=True))
    n("Add", whole, n("Cast", 10 * C, to=TensorProto.INT64, inner=True))
    byte = n("Cast", np.array([300, -2, 1, 0]), to=TensorProto.UINT8, inner=True)
    n("Add", "x", n("Cast", byte, to=TensorProto.FLOAT, inner=True))
    n("Where", n("Cast", C - 1, to=TensorProto.BOOL, inner=True), "x", 0.0)
    n("CastLike", near, whole)
    n("CastLike", whole, "x")
    n("Div", n("CastLike", whole, "x", inner=True), np.float32(4))
    n("Div", n("CastLike", near, np.int32(1), inner=True), np.int32(4))
    n("CastLike", near, np.array([True]))
    same_at_sizes(n.model(FLOATS, 19), *SIZES)


@pytest.mark.parametrize(
    ("kind", "words"),
    [(TensorProto.STRING, "to string"), (TensorProto.FLOAT8E4M3FN, "to float8_e4m3fn"),
     (TensorProto.INT4, "to int4"), (TensorProto.COMPLEX64, "to complex64"),
     (99, "type 99"), (0, "to None")],
)  # fmt: skip
def test_casts_that_are_refused(kind: int, words: str) -> None:
    built = model([node("Cast", "x", "y", to=kind)], {"x": ("B", 3)}, {"y": "float32"}, opset=21)
    assert "node 'the_y', Cast, opset 21" in refused(built, words)


def test_whole_numbers_without_a_sign_are_not_made_of_others() -> None:
    built = model(
        [node("Cast", "n", "y", to=TensorProto.UINT64)], {"n": (("B", 3), "int64")}, {"y": "int64"}
    )
    refused(built, "below 0, to uint64")


@pytest.mark.parametrize("opset", [9, 10, 12, 13, 22])
def test_dropout(opset: int) -> None:
    n = Nodes()
    if opset < 12:
        n("Dropout", "x", ratio=0.3)
    else:
        n("Dropout", "x", np.float32(0.3))
        n("Dropout", "x", np.float32(0.3), np.array(False), seed=4)
        n("Dropout", "x", np.float32(0.0), np.array(True))
        n("Dropout", "x")
    if opset >= 12:
        _, mask = n("Dropout", "x", outputs=2)
        n("Where", mask, "x", 0.0)
    same_at_sizes(n.model(FLOATS, opset), *SIZES)


def test_dropout_in_training_is_refused() -> None:
    n = Nodes()
    n("Dropout", "x", np.float32(0.5), np.array(True))
    refused(n.model(FLOATS), "Dropout, opset 17", "in training mode")


def test_sizes_are_numbers() -> None:
    """What is computed with a size that varies, which is no constant then."""
    n = Nodes()
    length = n("Shape", "x", start=1, end=2, inner=True)
    steps = n("Cast", length, to=TensorProto.FLOAT, inner=True)
    n("Div", "x", steps)
    n("Div", steps, n("Add", n("Abs", "x", inner=True), 1.0, inner=True))
    n("Div", "x", n("Sqrt", steps, inner=True))
    n("Where", n("Less", "x", 0.0, inner=True), steps, "x")
    same_at_sizes(n.model(FLOATS), *SIZES, tolerance=FLOAT32[1])


def test_constants_are_worked_out() -> None:
    """Weights of other weights, as shapes are: whole numbers are divided as such."""
    n = Nodes()
    three = n("Div", np.array([7, -7]), np.array([2, 2]), inner=True)
    n("Add", "n", three)
    n("Add", "n", n("Mod", np.array([7, -7]), np.array([3, -3]), fmod=1, inner=True))
    n("Add", "n", n("Mod", np.array([7, -7]), np.array([-3, 3]), inner=True))
    n("Add", "n", n("Pow", np.array([3, -2]), np.array([2, 3]), inner=True))
    n("Add", "n", n("Pow", np.array([3, 2]), np.float32(0.5), inner=True))
    n("Add", "n", n("Pow", np.array([3, 2]), np.float32(20), inner=True))
    n("Add", "n", n("Pow", np.array([3, 2]), np.array([-1, 2]), inner=True))
    large = np.array([2**60 - 1, -(2**60) + 1])  # no float64 holds them
    n("Add", "n", n("Div", large, np.array([2**58, 2**58]), inner=True))
    n("Add", "n", n("Max", np.array([3, -2]), np.array([1]), inner=True))
    n("Where", n("Xor", np.array([True, False]), np.array(True), inner=True), "n", np.int64(0))
    n("Where", n("IsNaN", np.array([NAN, 1.0], np.float32), inner=True), "n", np.int64(0))
    built = n.model({"n": (("B", 2), "int64")})
    same_as_onnxruntime(built, feeds_of(built, {"B": 3}), tolerance=FLOAT32[0])


def test_constants_that_would_be_too_large() -> None:
    """A small file whose weights are to be multiplied into a large one."""
    tall = np.ones((1 << 15, 1), np.float32)
    for op in ("Add", "Pow", "Max", "Where"):
        n = Nodes()
        first = [np.array(True)] if op == "Where" else []
        n("ReduceSum", n(op, *first, tall, tall.T, inner=True), inner=True)
        n("Add", "x", n.nodes[-1].output[0])
        refused(n.model(FLOATS), f"{op}, opset 17", "too many elements")


def test_the_mask_of_an_old_dropout_is_refused() -> None:
    n = Nodes()
    n("Dropout", "x", outputs=2)
    refused(n.model(FLOATS, 10), "Dropout, opset 10", "its mask")


def _one(op: str, *inputs: Any, **attributes: Any) -> Any:
    n = Nodes()
    n(op, *inputs, **attributes)
    return n.model(FLOATS | WHOLES)


@pytest.mark.parametrize(
    ("built", "words"),
    [
        (_one("Div", "n", np.int64(0)), "divides whole numbers by zero"),
        (_one("Mod", "n", np.array([1, 0, 1])[:, None]), "divides whole numbers by zero"),
        (_one("Pow", "n", "m"), "its exponent must be known"),
    ],
)
def test_refusals(built: Any, words: str) -> None:
    refused(built, words)


def test_remainders_of_floats() -> None:
    """As C's fmod gives them, to the last bit; onnxruntime has no others of floats."""
    n = Nodes()
    for by in (0.5, -2.0, 1.0, 0.3, -0.1, "y"):
        n("Mod", "x", by, fmod=1)
    n("Mod", 7.3, "x", fmod=1)
    same_at_sizes(n.model(FLOATS), *SIZES, tolerance=0)


# ---- What numbers are of -------------------------------------------------------------------------


def test_powers_of_which_some_are_nan():
    exponents = np.float32([2, np.nan, 3])
    built = model([node("Pow", "x e", "y")], {"x": ("B", 3)}, "y", {"e": exponents})
    x = np.float32([[1, 2, 3], [-1, 1, 0.5]])
    (expected,) = run_onnxruntime(built, {"x": x})
    np.testing.assert_allclose(from_onnx(built)(x), expected, FLOAT32[0], FLOAT32[0])


@pytest.mark.parametrize("op", ["MatMul", "Einsum"])
def test_products_of_whole_numbers_are_whole(op):
    options = {"equation": "ij,jk->ik"} if op == "Einsum" else {}
    nodes = [node(op, "x w", "p", **options), node("Div", "p two", "h"), node("Mul", "h two", "y")]
    constants = {"w": np.arange(12).reshape(4, 3), "two": np.int64(2)}
    same_at_sizes(model(nodes, {"x": (("B", 4), "int64")}, "y", constants), {"B": 5})


def test_quantised_numbers_are_whole():
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("Cast", "q", "u", to=2),
        node("Cast", "u", "y", to=1),
    ]
    constants = {"s": np.float32(0.1), "z": np.int8(0)}
    same_at_sizes(model(nodes, {"x": ("B", 4)}, "y", constants), {"B": 5})


@pytest.mark.parametrize("kind", ["uint8", "int8"])
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
def test_small_whole_numbers_stay_small(op, kind):
    nodes = [node(op, "x c", "s"), node("Cast", "s", "y", to=7)]
    built = model(nodes, {"x": (("B", 4), kind)}, "y", {"c": np.array([[100, 3, 127, 1]], kind)})
    numbers = np.array([[0, 1, 2, 3], [100, 120, 5, 77]], kind)
    same_as_onnxruntime(built, {"x": numbers})
