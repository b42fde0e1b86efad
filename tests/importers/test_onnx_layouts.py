"""Windows and products in the layouts that exporters write: which nodes come of them.

Transposes are written as Einsum and axes of size 1 as Reshape: what matters is that they cost
nothing between layers that want their channels last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx_models import Shape, model, node, same_at_sizes
from test_onnx_windows import Weights, numbers
from tolerances import FLOAT32

from seqcore.importers.onnx import from_onnx

SIZES = ({"B": 3, "T": 12}, {"B": 1, "T": 17})
TURN = "btc->bct"
BACK = "bct->btc"


def ops_of(
    nodes: Sequence[onnx.NodeProto], weights: Weights, inputs: dict[str, Shape], ends: str = "y",
    **options: Any,
) -> list[str]:  # fmt: skip
    """Compare a model with onnxruntime, and return the ops of its graph."""
    built = model(nodes, inputs, ends, weights)
    same_at_sizes(built, *SIZES, tolerance=FLOAT32[1], **options)
    return [each["op"] for each in from_onnx(built)._graph.document["nodes"]]


def turned(name: str, result: str, equation: str = TURN) -> onnx.NodeProto:
    return node("Einsum", name, result, equation=equation)


def shaped(name: str, shape: str, result: str) -> onnx.NodeProto:
    return node("Reshape", f"{name} {shape}", result)


def test_torch_front_end() -> None:
    """Channels first, between frames in front and behind."""
    weights = {"w": numbers(8, 4, 5), "b": numbers(8), "d": numbers(8, 1, 3), "m": numbers(8, 3),
               "mb": numbers(3)}  # fmt: skip
    nodes = [
        turned("x", "t"), node("Conv", "t w b", "h", pads=[2, 2]), node("Relu", "h", "r"),
        node("Conv", "r d", "g", group=8, strides=[2], pads=[1, 1]), node("Relu", "g", "s"),
        node("MaxPool", "s", "p", kernel_shape=[2], strides=[2]), turned("p", "q", BACK),
        node("MatMul", "q m", "o"), node("Add", "mb o", "y"),
    ]  # fmt: skip
    made = ops_of(nodes, weights, {"x": ("B", "T", 4)})
    assert made == [
        "conv1d", "activation", "depthwise_conv1d", "activation", "max_pool1d", "dense",
    ]  # fmt: skip


def test_tensorflow_front_end() -> None:
    """A convolution of one axis in two, its bias behind the axis that goes."""
    for kernel, shape, strides in (
        ((1, 3), [0, 4, 1, -1], [1, 2]),
        ((3, 1), [0, 4, -1, 1], [2, 1]),
    ):
        weights = {"w": numbers(8, 4, *kernel), "b": numbers(8), "tall": numbers(8, 1),
                   "wide": np.array(shape), "flat": np.array([0, 8, -1])}  # fmt: skip
        nodes = [
            turned("x", "t"), shaped("t", "wide", "u"),
            node("Conv", "u w", "h", auto_pad="SAME_UPPER", strides=strides),
            shaped("h", "flat", "s"), node("Add", "s tall", "a"), node("Relu", "a", "r"),
            turned("r", "y", BACK),
        ]  # fmt: skip
        made = ops_of(nodes, weights, {"x": ("B", "T", 4)})
        assert made == ["conv1d", "activation"]


def test_pooling_of_one_axis_in_two() -> None:
    weights = {"wide": np.array([0, 4, 1, -1]), "flat": np.array([0, 4, -1])}
    for op, own in (("MaxPool", "max_pool1d"), ("AveragePool", "avg_pool1d")):
        nodes = [
            turned("x", "t"), shaped("t", "wide", "u"),
            node(op, "u", "h", kernel_shape=[1, 2], strides=[1, 2], auto_pad="SAME_UPPER"),
            shaped("h", "flat", "s"), turned("s", "y", BACK),
        ]  # fmt: skip
        assert ops_of(nodes, weights, {"x": ("B", "T", 4)}) == [own]


def test_causal_convolution() -> None:
    """Frames of zeros in front are the convolution's own, which can be stepped then."""
    weights: Weights = {"w": numbers(8, 4, 3), "p": np.array([0, 0, 4, 0, 0, 0])}
    nodes = [
        turned("x", "t"), node("Pad", "t p", "q"), node("Conv", "q w", "h", dilations=[2]),
        turned("h", "y", BACK),
    ]  # fmt: skip
    assert ops_of(nodes, weights, {"x": ("B", "T", 4)}) == ["conv1d"]
    built = from_onnx(model(nodes, {"x": ("B", "T", 4)}, "y", weights))
    x = np.random.default_rng(0).standard_normal((1, 9, 4)).astype(np.float32)
    stream = built.stream()
    stepped = np.stack([stream.step(x[:, t]) for t in range(9)], axis=1)
    np.testing.assert_array_equal(stepped, built(x))


def test_padding_that_stays() -> None:
    """What is no zeros, or is read elsewhere too, or is along another axis."""
    weights: Weights = {
        "w": numbers(8, 4, 3), "u": numbers(8, 6, 3), "p": np.array([0, 0, 2, 0, 0, 1]),
        "c": np.array([0, 1, 0, 0, 1, 0]), "n": np.array([0, 0, 2, 0, 0, -1]), "one": np.float32(1),
    }  # fmt: skip
    nodes = [
        node("Pad", "x p one", "a"), node("Conv", "a w", "y0"), node("Pad", "x p", "y1"),
        node("Conv", "y1 w", "y2"), node("Pad", "x c", "b"), node("Conv", "b u", "y3"),
        node("Pad", "x p", "d", mode="edge"), node("Conv", "d w", "y4", pads=[1, 0]),
        node("Pad", "x n", "e"), node("Conv", "e w", "y5"),
        node("Pad", "x p", "f"), node("Conv", "f w", "y6", auto_pad="SAME_UPPER", strides=[2]),
        node("Pad", "x p", "g"), node("Conv", "g w", "y7", pads=[1, 1], strides=[2]),
    ]  # fmt: skip
    ops_of(nodes, weights, {"x": ("B", 4, "T")}, "y0 y1 y2 y3 y4 y5 y6 y7")


def test_time_before_the_batch() -> None:
    weights = {"w": numbers(8, 4, 3), "k": numbers(8, 4, 1, 3), "b": numbers(8),
               "wide": np.array([0, 0, 1, -1])}  # fmt: skip
    nodes = [
        turned("x", "t", "tbc->bct"), node("Conv", "t w b", "h", pads=[1, 1]),
        turned("h", "y", "bct->tbc"), shaped("t", "wide", "u"), node("Conv", "u k", "g"),
        turned("g", "z", "bcst->tbsc"),
    ]  # fmt: skip
    made = ops_of(nodes, weights, {"x": ("T", "B", 4)}, "y z")
    assert "permute" not in made


def test_the_batch_beside_windows() -> None:
    """An axis without windows stands beside the batch, and so may be it."""
    weights = {"k": numbers(8, 4, 1, 3)}
    nodes = [
        turned("x", "t", "tbc->cbt"), shaped("t", "one", "u"),
        node("Conv", "u k", "h", pads=[0, 1, 0, 1]),
        node("MaxPool", "h", "p", kernel_shape=[1, 2], strides=[1, 2]),
        turned("p", "y", "scbt->tbc"),
    ]  # fmt: skip
    ops_of(nodes, weights | {"one": np.array([1, 4, -1, 12])}, {"x": (12, "B", 4)})


def test_a_graph_without_a_batch() -> None:
    weights = {"w": numbers(8, 4, 3), "b": numbers(8), "lead": np.array([1, 4, -1]),
               "drop": np.array([8, -1])}  # fmt: skip
    nodes = [
        shaped("x", "lead", "u"), node("Conv", "u w b", "h", pads=[1, 1]), shaped("h", "drop", "y"),
    ]  # fmt: skip
    ops_of(nodes, weights, {"x": (4, "T")}, whole=True)


def test_speech_front_end() -> None:
    """Images of time and frequency, then vectors of all channels and frequencies."""
    weights = {
        "w": numbers(6, 1, 3, 3), "v": numbers(6, 6, 3, 3), "b": numbers(6),
        "d": numbers(6, 1, 5, 3),
        "image": np.array([0, 1, -1, 20]), "m": numbers(24, 5), "flat": np.array([0, -1, 24]),
    }  # fmt: skip
    nodes = [
        shaped("x", "image", "i"), node("Conv", "i w b", "h", strides=[2, 2]),
        node("Relu", "h", "r"),
        node("Conv", "r v b", "g", strides=[1, 2]), node("Relu", "g", "s"),
        node("Conv", "s d", "e", group=6, pads=[2, 1, 2, 1]), turned("e", "t", "bctf->btcf"),
        shaped("t", "flat", "v2"), node("MatMul", "v2 m", "y"),
    ]  # fmt: skip
    made = ops_of(nodes, weights, {"x": ("B", "T", 20)})
    assert made.count("permute") == 2  # frequency before time, and back
