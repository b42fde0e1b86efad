"""ONNX's norms, and what exporters write in their place, against onnxruntime."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_models import feeds_of, refused, same_as_onnxruntime, same_at_sizes
from onnx_nodes import Nodes
from tolerances import FLOAT32

SIZES = ({"B": 3, "T": 5}, {"B": 1, "T": 2})
INPUTS = {"x": ("B", "T", 4), "z": ("B", 6, "T", 2), "v": ("B", 6), "c": ("B", 6, "T")}
RANDOM = np.random.default_rng(5)


def some(*shape: int) -> Any:
    return RANDOM.standard_normal(shape).astype(np.float32)


def above(*shape: int) -> Any:
    return np.abs(some(*shape)) + np.float32(0.25)


def test_layer_normalization() -> None:
    n = Nodes()
    n("LayerNormalization", "x", some(4), some(4))
    n("LayerNormalization", "x", some(4), axis=2, epsilon=0.1)
    n("LayerNormalization", "x", some(4), some(1), axis=-1)
    n("LayerNormalization", "z", some(2, 2)[0], some(2))
    n("LayerNormalization", "v", some(6), some(6), axis=1, stash_type=1)
    n("LayerNormalization", "x", some(4), some(4), axis=-1, outputs=3)
    n("LayerNormalization", "x", some(4), n("Sigmoid", "x", inner=True))
    same_at_sizes(n.model(INPUTS), *SIZES, tolerance=FLOAT32[1])


def test_layer_normalization_over_time_too() -> None:
    """Where a size varies the weights are repeated along it."""
    n = Nodes()
    n("LayerNormalization", "x", some(4), some(4), axis=1)
    n("LayerNormalization", "z", some(1, 1, 2), some(2), axis=-3)
    n("LayerNormalization", "w", some(3, 4), some(3, 4), axis=1)
    n("LayerNormalization", "w", some(4), some(3, 1), axis=-2)
    n("LayerNormalization", "w", some(3, 4), some(3, 4), axis=1, outputs=3)
    same_at_sizes(n.model(INPUTS | {"w": ("B", 3, 4)}), *SIZES, tolerance=FLOAT32[2])


def test_layer_normalization_time_first() -> None:
    n = Nodes()
    n("LayerNormalization", "x", some(4), some(4))
    n("LayerNormalization", "x", some(4), some(4), outputs=3)
    same_at_sizes(n.model({"x": ("T", "B", 4)}), *SIZES, tolerance=FLOAT32[1])


def test_rms_normalization() -> None:
    n = Nodes()
    n("RMSNormalization", "x", some(4))
    n("RMSNormalization", "x", some(1), epsilon=0.1)
    n("RMSNormalization", "x", some(4), axis=1)
    n("RMSNormalization", "z", some(2), axis=-1)
    same_at_sizes(n.model(INPUTS, 23), *SIZES, tolerance=FLOAT32[1])


@pytest.mark.parametrize("opset", [9, 14, 15])
def test_batch_normalization(opset: int) -> None:
    n = Nodes()
    for x in ("c", "z", "v"):
        n("BatchNormalization", x, above(6), some(6), some(6), above(6))
        n("BatchNormalization", x, above(6), some(6), some(6), above(6), epsilon=0.1, momentum=0.5)
    same_at_sizes(n.model(INPUTS, opset), *SIZES, tolerance=FLOAT32[1])


def test_instance_normalization() -> None:
    n = Nodes()
    for x in ("c", "z"):
        n("InstanceNormalization", x, some(6), some(6))
        n("InstanceNormalization", x, some(6), some(6), epsilon=0.1)
    sizes = ({"B": 3, "T": 5}, {"B": 1, "T": 4})
    same_at_sizes(n.model(INPUTS), *sizes, tolerance=FLOAT32[2])


@pytest.mark.parametrize("opset", [18, 21])
def test_group_normalization(opset: int) -> None:
    n = Nodes()
    for x in ("c", "z"):
        for groups in (1, 2, 6):
            weights = groups if opset < 21 else 6
            n("GroupNormalization", x, some(weights), some(weights), num_groups=groups)
            n("GroupNormalization", x, some(weights), some(weights), num_groups=groups, epsilon=0.1)
    sizes = ({"B": 3, "T": 5}, {"B": 1, "T": 4})
    same_at_sizes(n.model(INPUTS, opset), *sizes, tolerance=FLOAT32[2])


def test_lp_normalization() -> None:
    n = Nodes()
    none = n("Mul", "x", np.array([1.0, 0, 0, 0]).reshape(1, 1, 4), inner=True)
    for p in (1, 2):
        n("LpNormalization", "x", p=p)
        n("LpNormalization", "x", axis=1, p=p)
        n("LpNormalization", none, axis=1, p=p)
    same_at_sizes(n.model(INPUTS), *SIZES, tolerance=FLOAT32[1])


def test_mean_variance_normalization() -> None:
    n = Nodes()
    n("MeanVarianceNormalization", "z", axes=[2, 3])
    n("MeanVarianceNormalization", "z", axes=[1])
    same_at_sizes(n.model(INPUTS), *SIZES, tolerance=FLOAT32[2])
    n = Nodes()  # by default over axis 0 too: rows are those of axis 1
    n("MeanVarianceNormalization", "z")
    same_at_sizes(n.model({"z": (2, 3, 4, 5)}), {}, tolerance=FLOAT32[2])


def _one(op: str, *inputs: Any, opset: int = 17, outputs: int = 1, **attributes: Any) -> Any:
    n = Nodes()
    n(op, *inputs, outputs=outputs, **attributes)
    return n.model(INPUTS | {"k": (6,)}, opset)


def _batch(**options: Any) -> Any:
    return _one("BatchNormalization", "c", above(6), some(6), some(6), above(6), **options)


def test_batch_normalization_of_statistics_that_are_computed() -> None:
    """As tf2onnx writes it: LayerNormalization of a fused op, with a channel for every frame."""
    n = Nodes()
    n("BatchNormalization", "c", "k", some(6), n("Tanh", "k", inner=True),
      n("Exp", "k", inner=True), epsilon=0.01)  # fmt: skip
    built = n.model(INPUTS | {"k": (6,)})
    same_as_onnxruntime(built, feeds_of(built, SIZES[0]), whole=True, tolerance=FLOAT32[1])


@pytest.mark.parametrize(
    ("built", "words"),
    [
        (_batch(training_mode=1), "in training mode"),
        (_batch(outputs=5, opset=9), "in training mode"),
        (_one("LayerNormalization", "x", some(4), stash_type=10), "stash_type=10"),
        (_one("GroupNormalization", "c", some(4), some(4), num_groups=4, opset=18), "in 4 groups"),
        (_one("LpNormalization", "x", p=3), "p=3"),
    ],
)
def test_refusals(built: Any, words: str) -> None:
    refused(built, words)


def test_a_shape_that_is_told_makes_no_weights() -> None:
    """Of an input of 2^30 channels, which no file has weights for."""
    wide = 1 << 30
    n = Nodes()
    n("GroupNormalization", "x", some(1), some(1), num_groups=1)
    refused(n.model({"x": ("B", wide, "T")}, 18), "GroupNormalization, opset 18", "too many")
    n = Nodes()
    n("LayerNormalization", "x", some(1), some(1))
    refused(n.model({"x": ("B", wide)}), "LayerNormalization, opset 17", "too many")


# ---- What exporters write ------------------------------------------------------------------------


def _layer_norm(n: Nodes, x: str, opset: int, squared: Any) -> str:
    """Return torch's LayerNorm as it is written before opset 17."""

    def mean(y: str) -> str:
        axes = np.array([-1])
        made = n("ReduceMean", y, axes, inner=True) if opset >= 18 else n(
            "ReduceMean", y, axes=[-1], inner=True)  # fmt: skip
        return str(made)

    less = n("Sub", x, mean(x), inner=True)
    variance = mean(squared(less))
    root = n("Sqrt", n("Add", variance, np.float32(1e-5), inner=True), inner=True)
    made = n("Mul", n("Div", less, root, inner=True), some(4), inner=True)
    return str(n("Add", made, some(4)))


@pytest.mark.parametrize("opset", [9, 11, 13, 18])
def test_what_torch_writes(opset: int) -> None:
    n = Nodes()
    _layer_norm(n, "x", opset, lambda y: n("Pow", y, np.float32(2), inner=True))
    _layer_norm(n, "x", opset, lambda y: n("Mul", y, y, inner=True))
    half = n("Div", "x", np.float32(math.sqrt(2)), inner=True)  # gelu
    phi = n("Add", n("Erf", half, inner=True), np.float32(1), inner=True)
    n("Mul", n("Mul", "x", phi, inner=True), np.float32(0.5))
    n("Mul", "x", n("Sigmoid", "x", inner=True))  # silu
    n("Clip", "x", *([] if opset < 11 else [np.float32(0), np.float32(6)]),
      **({"min": 0.0, "max": 6.0} if opset < 11 else {}))  # fmt: skip
    same_at_sizes(n.model(INPUTS, opset), *SIZES, tolerance=FLOAT32[1])


def test_an_attention_of_one_query() -> None:
    """Scores, a mask of large negative numbers, Softmax on -1, and a mean over time."""
    n = Nodes()
    scores = n("Mul", "x", np.float32(1 / math.sqrt(4)), inner=True)
    hidden = n("Less", "x", np.float32(-0.5), inner=True)
    kept = n("Where", hidden, np.float32(-1e9), scores, inner=True)
    soft = n("Softmax", kept, axis=-1)
    n("ReduceMean", soft, axes=[1], keepdims=0)
    same_at_sizes(n.model(INPUTS), *SIZES, tolerance=FLOAT32[1])


def test_a_mean_of_rows_that_end() -> None:
    """A mask of lengths: positions below a length, a sum over it, and a division by its count."""
    n = Nodes()
    steps = np.arange(5).reshape(1, 5)
    length = n("Reshape", "n", np.array([-1, 1]), inner=True)
    within = n("Less", steps, length, inner=True)
    mask = n("Reshape", n("Cast", within, to=TensorProto.FLOAT, inner=True), np.array([-1, 5, 1]),
             inner=True)  # fmt: skip
    total = n("ReduceSum", n("Mul", "x", mask, inner=True), np.array([1]), keepdims=0, inner=True)
    count = n("ReduceSum", mask, np.array([1]), keepdims=0, inner=True)
    n("Div", total, n("Max", count, np.float32(1), inner=True))
    built = n.model({"x": ("B", 5, 4), "n": (("B",), "int64")})
    same_at_sizes(built, {"B": 4}, {"B": 1}, below=6, tolerance=FLOAT32[1])


def test_what_tf2onnx_writes() -> None:
    """Batch normalisation as a product and a sum, tanh-Gelu by Pow, hard sigmoid by Clip."""
    n = Nodes()
    n("Add", n("Mul", "x", some(1, 1, 4), inner=True), some(4))
    cube = n("Mul", n("Pow", "x", np.float32(3), inner=True), np.float32(0.044715), inner=True)
    wide = n("Mul", n("Add", "x", cube, inner=True), np.float32(math.sqrt(2 / math.pi)), inner=True)
    n("Mul", "x", n("Mul", n("Add", n("Tanh", wide, inner=True), np.float32(1), inner=True),
                    np.float32(0.5), inner=True))  # fmt: skip
    shifted = n("Add", n("Mul", "x", np.float32(0.2), inner=True), np.float32(0.5), inner=True)
    n("Clip", shifted, np.float32(0), np.float32(1))
    n("ReduceMean", "x", axes=[1], keepdims=0)
    n("ReduceMax", "x", axes=[1], keepdims=0)
    squares = n("ReduceSumSquare", "x", axes=[2], inner=True)
    n("Mul", "x", n("Reciprocal", n("Sqrt", n("Max", squares, np.float32(1e-12), inner=True),
                                    inner=True), inner=True))  # fmt: skip
    same_at_sizes(n.model(INPUTS), *SIZES, tolerance=FLOAT32[1])


def test_half_precision_is_computed_in_float32() -> None:
    made = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Add", ["h", "w"], ["s"]),
        helper.make_node("Cast", ["s"], ["y"], to=TensorProto.FLOAT),
    ]
    n = Nodes()
    n.nodes, n.made, n.constants = made, ["y"], {"w": np.array([1, 2, -0.5, 4], np.float16)}
    built = n.model({"x": ("B", 4)})
    x = np.arange(12, dtype=np.float32).reshape(3, 4) / 8  # exact in both
    same_as_onnxruntime(built, {"x": x})
    assert feeds_of(built, {"B": 2})["x"].dtype == np.float32
