"""Quantised weights and activations of ONNX against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import model, node, refused, same_as_onnxruntime, same_at_sizes
from tolerances import FLOAT32

from seqcore.importers.onnx import from_onnx

RANGES = {
    "INT8": (-128, 127), "UINT8": (0, 255), "INT16": (-32768, 32767), "UINT16": (0, 65535),
    "INT4": (-8, 7), "UINT4": (0, 15), "INT2": (-2, 1), "UINT2": (0, 3),
    "INT32": (-(1 << 20), 1 << 20),
}  # fmt: skip
SIZES = ({"B": 2, "T": 5}, {"B": 1, "T": 3})
OPSET = {"INT2": 25, "UINT2": 25}


def stored(name: str, kind: str, *shape: int, seed: int = 0) -> onnx.TensorProto:
    least, most = RANGES[kind]
    random = np.random.default_rng(seed)
    numbers = random.integers(least, most, shape, endpoint=True)
    return helper.make_tensor(name, getattr(TensorProto, kind), shape, numbers.reshape(-1).tolist())


def steps(*shape: int) -> Any:
    return np.random.default_rng(len(shape)).uniform(0.001, 0.01, shape).astype(np.float32)


def weighted(
    kind: str, scale: Any, zero: bool, axis: int, opset: int, **options: Any
) -> onnx.ModelProto:
    """Return x.w of weights (4, 6) of a type; without a zero point it is 0."""
    inputs = "q scale zero" if zero else "q scale"
    nodes = [
        node("DequantizeLinear", inputs, "w", axis=axis, **options),
        node("MatMul", "x w", "y"),
    ]
    built = model(nodes, {"x": ("B", "T", 4)}, {"y": "float32"}, {"scale": scale}, opset=opset)
    built.graph.initializer.append(stored("q", kind, 4, 6))
    if zero:
        offsets = stored("zero", kind, *scale.shape, seed=1)
        if kind == "INT32":  # whose zero point is 0
            offsets = helper.make_tensor("zero", TensorProto.INT32, scale.shape, [0] * scale.size)
        built.graph.initializer.append(offsets)
    return built


@pytest.mark.parametrize("kind", RANGES)
def test_weights(kind: str) -> None:
    opset = OPSET.get(kind, 21)
    for scale, axis, options in (
        (steps(), 1, {}), (steps(1), 1, {}), (steps(6), 1, {}), (steps(6), -1, {}),
        (steps(4), 0, {}), (steps(2, 6), 0, {"block_size": 2}), (steps(4, 2), 1, {"block_size": 3}),
        (steps(4, 2), -1, {"block_size": 4}),
    ):  # fmt: skip
        for zero in (True, False):
            if kind == "INT32" and options:
                continue
            built = weighted(kind, scale, zero, axis, opset, **options)
            same_at_sizes(built, *SIZES, tolerance=FLOAT32[1])


def test_weights_of_old_files() -> None:
    built = model(
        [node("DequantizeLinear", "q scale zero", "w"), node("MatMul", "x w", "y")],
        {"x": ("B", "T", 4)}, "y",
        {"q": np.arange(24, dtype=np.uint8).reshape(4, 6), "scale": np.float32(0.02),
         "zero": np.uint8(7)}, opset=10,
    )  # fmt: skip
    same_at_sizes(built, *SIZES, tolerance=FLOAT32[1])
    ops = [each["op"] for each in from_onnx(built)._graph.document["nodes"]]
    assert ops == ["dense"]


def test_floats_of_eight_bits() -> None:
    numbers = [0.5, -2.0, 448.0, 0.0625, 1.5, -0.25]
    q = helper.make_tensor("q", TensorProto.FLOAT8E4M3FN, (2, 3), numbers)
    nodes = [node("DequantizeLinear", "q scale", "w"), node("MatMul", "x w", "y")]
    scale = {"scale": np.float32(0.5)}
    built = model(nodes, {"x": ("B", 2)}, {"y": "float32"}, scale, opset=21)
    built.graph.initializer.append(q)
    same_at_sizes(built, *SIZES)


@pytest.mark.parametrize("kind", ["uint8", "int8", "uint16", "int16"])
def test_activations(kind: str) -> None:
    """Steps are onnxruntime's to the bit: ties, ends of the range, and divisions that round."""
    least, most = np.iinfo(kind).min, np.iinfo(kind).max
    weights = {
        "s": np.float32(0.1), "z": np.array(least // 2 + most // 3, kind), "s4": steps(4) * 10,
        "z4": np.array([least, 1, most, 3], kind), "half": np.float32(0.25),
        "none": np.array(0, kind),
    }  # fmt: skip
    nodes = []
    for k, (scale, zero) in enumerate([("s", "z"), ("s4", "z4"), ("half", "none")]):
        options = {"axis": 2} if scale == "s4" else {}
        nodes.append(node("QuantizeLinear", f"x {scale} {zero}", f"q{k}", **options))
        nodes.append(node("DequantizeLinear", f"q{k} {scale} {zero}", f"y{k}", **options))
    ends = {f"y{k}": "float32" for k in range(3)} | {f"q{k}": kind for k in range(2)}
    built = model(nodes, {"x": ("B", "T", 4)}, _known(ends), weights, opset=21)
    _typed(built, ends)
    random = np.random.default_rng(0)
    x = (random.standard_normal((3, 50, 4)) * 40).astype(np.float32)
    x[0] = np.round(x[0] * 4) / 8  # ties of half
    x[1, :4] = [[1e9, -1e9, 3e4, -3e4]]
    same_as_onnxruntime(built, {"x": x}, tolerance=0.0)


def _known(ends: dict[str, str]) -> dict[str, str]:
    return dict.fromkeys(ends, "float32")


def _typed(built: onnx.ModelProto, ends: dict[str, str]) -> None:
    for each in built.graph.output:
        each.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(ends[each.name]))


def test_activations_without_a_zero_point() -> None:
    nodes = [
        node("QuantizeLinear", "x s", "a"), node("DequantizeLinear", "a s", "y0"),
        node("QuantizeLinear", "x s", "b", output_dtype=TensorProto.INT8),
        node("DequantizeLinear", "b s", "y1"),
    ]  # fmt: skip
    built = model(nodes, {"x": ("B", "T", 4)}, "y0 y1", {"s": np.float32(0.03)}, opset=21)
    same_at_sizes(built, *SIZES, tolerance=0.0)


def test_whole_inputs() -> None:
    weights = {"s": np.float32(0.1), "z": np.uint8(100), "s4": steps(4)}
    nodes = [
        node("DequantizeLinear", "x s z", "y0"),
        node("DequantizeLinear", "x s4", "y1", axis=2),
    ]
    built = model(nodes, {"x": (("B", "T", 4), "uint8")}, "y0 y1", weights)
    same_at_sizes(built, *SIZES, tolerance=0.0, below=256)


def test_refusals() -> None:
    x, s = {"x": ("B", "T", 4)}, {"s": np.float32(0.1)}
    eight = node("QuantizeLinear", "x s", "q", output_dtype=TensorProto.FLOAT8E4M3FN)
    back = node("DequantizeLinear", "q s", "y")
    refused(model([eight, back], x, "y", s, opset=21), "the_q", "QuantizeLinear", "float8_e4m3fn")
    nodes = [node("QuantizeLinear", "x s", "q", axis=1), node("DequantizeLinear", "q s", "y")]
    refused(model(nodes, x, "y", {"s": steps(3)}, opset=21), "QuantizeLinear", "varies")
    whole = [node("DynamicQuantizeLinear", "x", "q s z"), node("DequantizeLinear", "q s z", "y")]
    refused(model(whole, x, "y"), "DynamicQuantizeLinear, opset 17")
    wrong = model([node("DequantizeLinear", "x s", "y", axis=7)], {"x": (("B", 4), "int8")},
                  {"y": "float32"}, {"s": steps(4)})  # fmt: skip
    refused(wrong, "DequantizeLinear", "axis=7")
