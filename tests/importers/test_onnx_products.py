"""ONNX's Gemm, MatMul and Einsum against onnxruntime, and where biases go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_models import Shape, model, node, refused, same_at_sizes
from pairs import pairwise
from tolerances import FLOAT32

from seqcore.importers.onnx import from_onnx

Weights = dict[str, Any]
SIZES = ({"B": 3, "T": 5}, {"B": 1, "T": 2}, {"B": 2, "T": 1})


def numbers(*shape: int, seed: int = 0) -> Any:
    made = np.random.default_rng(seed + sum(shape)).standard_normal(shape)
    return (made / 2).astype(np.float32)


def compared(
    nodes: Sequence[onnx.NodeProto], weights: Weights, inputs: dict[str, Shape], opset: int = 17,
    **options: Any,
) -> None:  # fmt: skip
    """Compare nodes of one model; outputs whose names begin with "y" are its outputs."""
    ends = " ".join(name for each in nodes for name in each.output if name.startswith("y"))
    built = model(nodes, inputs, ends, weights, opset=opset)
    same_at_sizes(built, *SIZES, tolerance=FLOAT32[1], **options)


def ops_of(built: onnx.ModelProto) -> list[str]:
    return [each["op"] for each in from_onnx(built)._graph.document["nodes"]]


# ---- Gemm ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("opset", [9, 22])
def test_gemm(opset: int) -> None:
    nodes = []
    weights: Weights = {
        "row": numbers(6), "wide": numbers(1, 6), "one": numbers(1), "none": numbers(1)[0],
        "w": numbers(4, 6), "t": numbers(6, 4), "thin": numbers(1, 1),
    }  # fmt: skip
    rows = pairwise({
        "alpha": [None, 0.5], "beta": [None, 2.0, 0.0], "transB": [None, 1],
        "C": ["row", "wide", "one", "none", "thin", "v", "z", "" if opset > 10 else "row"],
    })  # fmt: skip
    for k, row in enumerate(rows):
        options = {n: row[n] for n in ("alpha", "beta", "transB") if row[n] is not None}
        inputs = f"x {'t' if row['transB'] else 'w'} {row['C']}".strip()
        nodes.append(node("Gemm", inputs, f"y{k}", **options))
    compared(nodes, weights, {"x": ("B", 4), "z": ("B", 6), "v": ("B", 1)}, opset)


def test_gemm_of_inputs() -> None:
    """Whatever varies: both factors, and a factor on the left, along whose rows no batch lies."""
    weights: Weights = {
        "w": numbers(6, 4), "t": numbers(4, 6), "c": numbers(6, 1), "u": numbers(4, 2),
        "b": numbers(4),
    }  # fmt: skip
    nodes = [
        node("Gemm", "w x c", "y0", alpha=0.5), node("Gemm", "t x", "y1", transA=1),
        node("Gemm", "w x", "y2", transB=0), node("Gemm", "x u", "y3", transA=1),
    ]  # fmt: skip
    built = model(nodes[:3], {"x": (4, "B")}, "y0 y1 y2", weights)
    same_at_sizes(built, *SIZES, tolerance=FLOAT32[1])
    built = model(nodes[3:], {"x": (4, "B")}, "y3", weights)
    same_at_sizes(built, *SIZES, tolerance=FLOAT32[1])
    both = [node("Gemm", "x z", "y0", transB=1), node("Gemm", "z x b", "y1", transB=1, beta=0.5)]
    built = model(both, {"x": (4, "T"), "z": (4, "T")}, "y0 y1", weights)
    same_at_sizes(built, *SIZES, tolerance=FLOAT32[1], whole=True)


def test_layers_of_gemm() -> None:
    weights = {"w": numbers(6, 4), "b": numbers(6), "one": numbers(1)}
    nodes = [node("Gemm", "x w b", "y", transB=1), node("Gemm", "x w one", "z", transB=1)]
    assert ops_of(model(nodes, {"x": ("B", 4)}, "y z", weights)) == ["dense", "dense"]


# ---- MatMul --------------------------------------------------------------------------------------


def test_products_of_constants_and_inputs() -> None:
    weights = {
        "w": numbers(4, 6), "v": numbers(4), "one": numbers(1, 4, 6), "ones": numbers(1, 1, 4, 3),
        "left": numbers(3, 5), "many": numbers(5, 4, 2), "row": numbers(5),
        "heads": numbers(2, 4, 3),
    }  # fmt: skip
    nodes = [
        node("MatMul", "x w", "y0"), node("MatMul", "x v", "y1"), node("MatMul", "x one", "y2"),
        node("MatMul", "z w", "y3"), node("MatMul", "z v", "y4"), node("MatMul", "z ones", "y5"),
        node("MatMul", "left s", "y6"), node("MatMul", "row s", "y7"),
        node("MatMul", "z many", "y8"),
        node("MatMul", "f w", "y9"), node("MatMul", "f v", "y10"), node("MatMul", "h heads", "y11"),
        node("MatMul", "x ones", "y12"),
    ]  # fmt: skip
    inputs = {"x": ("B", "T", 4), "z": ("B", 5, "T", 4), "s": ("B", 5, 4), "f": ("B", 4),
              "h": ("B", 2, "T", 4)}  # fmt: skip
    compared(nodes, weights, inputs)
    compared(nodes[:1], weights, {"x": ("T", "B", 4)})


def test_products_of_inputs() -> None:
    nodes = [
        node("MatMul", "a b", "y0"), node("MatMul", "p q", "y1"), node("MatMul", "a v", "y2"),
        node("MatMul", "p b3", "y3"), node("MatMul", "a one", "y4"),
    ]  # fmt: skip
    inputs: dict[str, Shape] = {
        "a": ("B", "T", 4), "b": ("B", 4, 3), "p": ("B", 2, "T", 4), "q": ("B", 2, 4, "T"),
        "v": ("B", 4, 1), "b3": ("B", 1, 4, 3), "one": ("B", 4, "T"),
    }  # fmt: skip
    compared(nodes, {}, inputs)


def test_products_of_whole_numbers() -> None:
    weights = {"w": np.arange(8).reshape(4, 2)}
    nodes = [node("MatMul", "n w", "y0"), node("MatMul", "n m", "y1")]
    inputs: dict[str, Any] = {"n": (("B", "T", 4), "int64"), "m": (("B", 4, 3), "int64")}
    built = model(nodes, inputs, {"y0": "int64", "y1": "int64"}, weights)
    same_at_sizes(built, *SIZES, tolerance=0.0)


def test_rows_that_meet() -> None:
    built = model([node("MatMul", "a b", "y")], {"a": (3, "B"), "b": ("B", 3)}, "y")
    same_at_sizes(built, *SIZES, tolerance=FLOAT32[1], whole=True)  # one call is a row


# ---- Biases --------------------------------------------------------------------------------------


def test_biases_behind_products() -> None:
    """An Add of a constant vector is the layer's bias, whichever side it stands on."""
    weights = {
        "w": numbers(4, 6), "b": numbers(6), "wide": numbers(1, 1, 6), "k": numbers(6, 4, 3),
        "tall": numbers(6, 1), "c": numbers(6, seed=1),
    }  # fmt: skip
    nodes = [
        node("MatMul", "x w", "a0"), node("Add", "a0 b", "y0"),
        node("MatMul", "x w", "a1"), node("Add", "wide a1", "y1"),
        node("MatMul", "x w", "a2"), node("Add", "a2 c", "y2"),
        node("Conv", "z k", "a3"), node("Add", "a3 tall", "y3"),
        node("MatMul", "x w", "a4"), node("Identity", "a4", "i4"), node("Add", "i4 c", "y4"),
    ]  # fmt: skip
    inputs: dict[str, Shape] = {"x": ("B", "T", 4), "z": ("B", 4, 8)}
    compared(nodes, weights, inputs)
    made = ops_of(model(nodes, inputs, "y0 y1 y2 y3 y4", weights))
    assert sorted(made) == ["conv1d", *["dense"] * 4, "permute", "permute"]


def test_names_of_layers_with_biases() -> None:
    weights = {"w": numbers(4, 4), "b": numbers(4)}
    nodes = [node("MatMul", "x w", "a"), node("Add", "a b", "y")]
    built = model(nodes, {"x": ("B", "T", 4)}, "y", weights)
    assert [layer.name for layer in from_onnx(built).layers] == ["the_a"]


def test_biases_that_stay() -> None:
    """What is read without the bias too is not computed twice; others are no vectors."""
    weights = {
        "w": numbers(4, 6), "b": numbers(6), "full": numbers(5, 6), "one": numbers(1),
        "k": numbers(5, 5, 1), "kb": numbers(5),
    }  # fmt: skip
    nodes = [
        node("MatMul", "x w", "a"), node("Add", "a b", "y0"), node("Relu", "a", "y1"),
        node("MatMul", "x w", "y2"), node("Add", "y2 b", "y3"), node("MatMul", "x w", "c"),
        node("Add", "c full", "y4"), node("MatMul", "x w", "d"), node("Add", "d one", "y5"),
        node("Conv", "x k kb", "e"), node("Add", "e kb4", "y6"), node("MatMul", "x w", "f"),
        node("Add", "f f", "y7"),
    ]  # fmt: skip
    compared(nodes, weights | {"kb4": numbers(4)}, {"x": ("B", 5, 4)})
    built = model(nodes[:3], {"x": ("B", 5, 4)}, "y0 y1", weights)
    assert ops_of(built).count("dense") == 1


# ---- Einsum --------------------------------------------------------------------------------------


def test_einsum() -> None:
    two = [
        "btc,bcd->btd", "btc,bsc->bts", "btc,bcd->bdt", "...tc,...cd->...td", "btc,bsc->bt",
        "b t c , b s c -> b s t", "btc,bcd->b",
    ]  # fmt: skip
    nodes = []
    for k, equation in enumerate(two):
        right = "q" if "bsc" in equation.replace(" ", "") else "p"
        nodes.append(node("Einsum", f"x {right}", f"y{k}", equation=equation))
    for k, equation in enumerate(["btc->bct", "btc->bt", "btc->b", "...c->...", "bt...", "bca"]):
        nodes.append(node("Einsum", "x", f"z{k}", equation=equation))
    nodes += [
        node("Einsum", "x w", "w0", equation="btc,cd->btd"),
        node("Einsum", "x w p", "w1", equation="btc,cd,bcd->bt"),
        node("Einsum", "s", "d0", equation="bii->bi"),
        node("Einsum", "s", "d1", equation="...ii->..."),
        node("Einsum", "s s", "d2", equation="bii,bij->bj"),
    ]  # fmt: skip
    inputs: dict[str, Shape] = {"x": ("B", "T", 4), "p": ("B", 4, 3), "q": ("B", "T", 4),
                                "s": ("B", 3, 3)}  # fmt: skip
    ends = " ".join(each.output[0] for each in nodes)
    built = model(nodes, inputs, ends, {"w": numbers(4, 3)})
    same_at_sizes(built, *SIZES, tolerance=FLOAT32[1])


def test_refusals() -> None:
    weights = {"w": numbers(4, 3)}
    three = model([node("Gemm", "x w", "y")], {"x": ("B", "T", 4)}, {"y": "float32"}, weights)
    refused(three, "the_y", "Gemm", "opset 17", "3 and 2 axes")
    rows = model([node("Einsum", "x", "y", equation="bii->bi")], {"x": ("B", "T", "T")}, "y")
    refused(rows, "Einsum", "diagonal")
    letters = model([node("Einsum", "x", "y", equation="ab1->ab1")], {"x": ("B", "T", 4)},
                    {"y": "float32"})  # fmt: skip
    refused(letters, "Einsum", "ab1")
