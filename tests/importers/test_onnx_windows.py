"""ONNX's convolutions, pooling and padding against onnxruntime: many nodes of one model each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_models import (
    model,
    node,
    refused,
    run_onnxruntime,
    same_as_onnxruntime,
    same_at_sizes,
)
from pairs import Row, pairwise
from tolerances import FLOAT32, close

from seqcore.errors import UnsupportedLayerError
from seqcore.importers.onnx import from_onnx

SIZES = ({"B": 3, "T": 11}, {"B": 1, "T": 12}, {"B": 2, "T": 16}, {"B": 2, "T": 17})
FREE = ("B", 4, "T")
Weights = dict[str, Any]


def numbers(*shape: int, seed: int = 0) -> Any:
    made = np.random.default_rng(seed + sum(shape)).standard_normal(shape)
    return (made / np.sqrt(max(1, np.prod(shape[1:])))).astype(np.float32)


def chosen(row: Row, *names: str) -> dict[str, Any]:
    """Return the options of a row that are attributes, those that are None left out."""
    return {name: row[name] for name in names if row[name] is not None}


def side_by_side(
    nodes: Sequence[onnx.NodeProto], weights: Weights, *sizes: Mapping[str, int],
    inputs: Mapping[str, Any] | None = None, opset: int = 22,
) -> None:  # fmt: skip
    """Compare nodes of one model, whose first outputs are its outputs."""
    ends = " ".join(each.output[0] for each in nodes if each.output[0].startswith("y"))
    built = model(nodes, inputs or {"x": FREE}, ends, weights, opset=opset)
    same_at_sizes(built, *(sizes or SIZES))


# ---- Convolution ---------------------------------------------------------------------------------

CONVOLUTIONS = pairwise(
    {
        "kernel": [3, 1, 2, 5], "strides": [None, [2], [3]], "dilations": [None, [2]],
        "pads": [None, [1, 1], [2, 0], [0, 3]], "bias": [True, False], "group": [1, 2, 4],
        "auto_pad": ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"], "filters": [8, 4],
        "kernel_shape": [False, True],
    },
    lambda row: row["auto_pad"] == "NOTSET" or (row["pads"] is None and row["dilations"] is None),
)  # fmt: skip


def test_convolutions() -> None:
    nodes, weights = [], {}
    for k, row in enumerate(CONVOLUTIONS):
        weights[f"w{k}"] = numbers(row["filters"], 4 // row["group"], row["kernel"], seed=k)
        weights[f"b{k}"] = numbers(row["filters"], seed=k)
        options = chosen(row, "strides", "dilations", "pads", "group", "auto_pad")
        if row["kernel_shape"]:
            options["kernel_shape"] = [row["kernel"]]
        bias = f" b{k}" if row["bias"] else ""
        nodes.append(node("Conv", f"x w{k}{bias}", f"y{k}", **options))
    side_by_side(nodes, weights)
    side_by_side(nodes, weights, {}, inputs={"x": (2, 4, 13)}, opset=9)


TRANSPOSED = pairwise(
    {
        "kernel": [3, 1, 2, 5], "strides": [None, [2], [3]], "dilations": [None, [2]],
        "pads": [None, [1, 1], [2, 0], [0, 3]], "bias": [True, False], "group": [1, 2, 4],
        "auto_pad": ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"], "filters": [8, 4],
        "output_padding": [None, [1]],
    },
    lambda row: (row["auto_pad"] == "NOTSET" or row["pads"] is None)
    and (row["output_padding"] is None or row["strides"] is not None)
    and (row["auto_pad"] in ("NOTSET", "VALID") or row["kernel"] >= (row["strides"] or [1])[0]),
)  # fmt: skip


def test_transposed_convolutions() -> None:
    nodes, weights = [], {}
    for k, row in enumerate(TRANSPOSED):
        weights[f"w{k}"] = numbers(4, row["filters"] // row["group"], row["kernel"], seed=k)
        weights[f"b{k}"] = numbers(row["filters"], seed=k)
        names = ("strides", "dilations", "pads", "group", "auto_pad", "output_padding")
        bias = f" b{k}" if row["bias"] else ""
        nodes.append(node("ConvTranspose", f"x w{k}{bias}", f"y{k}", **chosen(row, *names)))
    side_by_side(nodes, weights)
    side_by_side(nodes, weights, {}, inputs={"x": (2, 4, 13)}, opset=11)


def test_transposed_convolutions_to_a_shape() -> None:
    weights: Weights = {"w": numbers(4, 3, 5), "b": numbers(3)}
    nodes = [
        node("ConvTranspose", "x w b", f"y{k}", strides=[3], output_shape=[shape], **options)
        for k, (shape, options) in enumerate([
            (30, {}), (31, {"auto_pad": "SAME_UPPER"}), (31, {"auto_pad": "SAME_LOWER"}),
            (30, {"auto_pad": "SAME_LOWER", "output_padding": [1]}), (31, {"output_padding": [2]}),
            (34, {}),
        ])
    ]  # fmt: skip
    side_by_side(nodes, weights, {"B": 2}, inputs={"x": ("B", 4, 10)})
    refused(model(nodes[:1], {"x": FREE}, "y0", weights), "ConvTranspose", "output_shape")


# ---- Pooling -------------------------------------------------------------------------------------

POOLS: dict[str, Sequence[Any]] = {
    "kernel_shape": [[3], [2], [5], [1]], "strides": [None, [2], [3], [4]],
    "pads": [None, [1, 1], [0, 1], [1, 0]],
    "auto_pad": ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"], "ceil_mode": [None, 1],
}  # fmt: skip


def fits(row: Row) -> bool:
    (width,), (step,) = row["kernel_shape"], row["strides"] or [1]
    named = row["auto_pad"] != "NOTSET"
    padded = row["pads"] is not None
    return not (
        (named and (padded or row["ceil_mode"])) or (padded and width <= max(row["pads"]))
        or (row["auto_pad"].startswith("SAME") and width < step)
    )  # fmt: skip


@pytest.mark.parametrize("opset", [11, 22])
def test_pooling(opset: int) -> None:
    nodes = []
    rows = pairwise(POOLS | {"dilations": [None, [2]]}, fits)
    for k, row in enumerate(
        row for row in rows if row["auto_pad"] == "NOTSET" or not row["dilations"]
    ):
        nodes.append(node("MaxPool", "x", f"ym{k}", **chosen(row, *row)))
    for k, row in enumerate(pairwise(POOLS | {"count_include_pad": [None, 1]}, fits)):
        nodes.append(node("AveragePool", "x", f"ya{k}", **chosen(row, *row)))
    for k, row in enumerate(pairwise(POOLS | {"p": [None, 1, 3]}, fits)):
        if not row["ceil_mode"]:
            nodes.append(node("LpPool", "x", f"yl{k}", **chosen(row, *row)))
    side_by_side(nodes, {}, opset=opset)
    side_by_side(nodes, {}, {}, inputs={"x": (2, 4, 13)}, opset=opset)


def test_pooling_of_spread_windows() -> None:
    rows = pairwise({
        "kernel_shape": [[3], [2]], "dilations": [[2], [3]], "strides": [None, [2], [3]],
        "pads": [None, [1, 1], [0, 1]], "ceil_mode": [None, 1], "count_include_pad": [None, 1],
    })  # fmt: skip
    nodes = [node("AveragePool", "x", f"y{k}", **chosen(row, *row)) for k, row in enumerate(rows)]
    free = [
        node("LpPool", "x", f"y{k + len(rows)}", kernel_shape=[3], dilations=[2], strides=[step])
        for k, step in enumerate((1, 2))
    ]
    free.append(node("AveragePool", "x", "yf", kernel_shape=[3], dilations=[2], count_include_pad=1,
                     pads=[1, 2]))  # fmt: skip
    for size in (12, 13):
        side_by_side(nodes + free, {}, {"B": 2}, inputs={"x": ("B", 4, size)})
    side_by_side(free, {})
    one = node("AveragePool", "x", "y", kernel_shape=[3], dilations=[2])
    refused(model([one], {"x": FREE}, "y", opset=22), "AveragePool", "dilations")


def test_pooling_of_everything() -> None:
    names = ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
    nodes = [node(name, "x", f"y{k}") for k, name in enumerate(names)]
    nodes += [node("GlobalLpPool", "x", f"yp{p}", p=p) for p in (1, 3)]
    side_by_side(nodes, {}, opset=17)
    for shape in (("B", 3, 4, "T"), ("B", 3, "T", 4), ("B", 2, 3, 2, "T")):
        side_by_side(nodes, {}, inputs={"x": shape}, opset=17)


INDICES: dict[int, dict[str, Sequence[Any]]] = {
    1: {
        "kernel_shape": [[2], [3], [1]], "strides": [None, [2], [3]], "dilations": [None, [2]],
        "pads": [None, [1, 0], [0, 1]], "ceil_mode": [None, 1],
    },
    2: {
        "kernel_shape": [[2, 2], [3, 2], [1, 3]], "strides": [None, [2, 2], [1, 3]],
        "dilations": [None, [2, 1]], "pads": [None, [1, 0, 0, 1], [0, 1, 1, 0]],
        "storage_order": [None, 1], "ceil_mode": [None, 1],
    },
    3: {
        "kernel_shape": [[2, 2, 3]], "strides": [None, [2, 1, 3]], "pads": [None, [1, 0, 1] * 2],
        "storage_order": [None, 1],
    },
}  # fmt: skip


@pytest.mark.parametrize("axes", INDICES)
def test_indices_of_pooling(axes: int) -> None:
    """Few different numbers, whose first one counts, in windows that lie over each other."""
    shape = (2, 3, *(9, 7, 5)[:axes])
    nodes, ends = [], []
    rows = pairwise(
        INDICES[axes], lambda row: max(row["pads"] or [0]) < min(row["kernel_shape"]) or axes == 3
    )
    for k, row in enumerate(rows):
        nodes.append(node("MaxPool", "x", f"y{k} i{k}", **chosen(row, *INDICES[axes])))
        ends += [f"y{k}", f"i{k}"]
    built = model(nodes, {"x": shape}, " ".join(ends), opset=12)
    random = np.random.default_rng(axes)
    x = random.integers(0, 5, shape).astype(np.float32)
    same_as_onnxruntime(built, {"x": x}, {"x": -x}, whole=True)
    none = np.nan if axes == 1 else 0  # of boxes a NaN is where onnxruntime happens to meet it
    odd = random.choice(np.float32([none, -np.inf, -np.inf, 1, np.inf]), shape)
    made = from_onnx(built)(odd[None])
    for end, ours, theirs in zip(ends, made, run_onnxruntime(built, {"x": odd}), strict=True):
        np.testing.assert_array_equal(ours[0], theirs, end)


def test_indices_that_nobody_can_tell() -> None:
    """They count all that the tensor has, rows of a batch too."""
    pool = node("MaxPool", "x", "y i", kernel_shape=[2])
    side_by_side([pool], {})  # nobody reads them
    for shape in (FREE, (2, 4, "T"), ("N", 4, 8)):
        message = refused(model([pool], {"x": shape}, "y i"), "MaxPool", "opset 17", "indices")
        assert "the_y" in message


# ---- Padding -------------------------------------------------------------------------------------


def test_padding() -> None:
    shapes = {"x": ("B", 4, "T"), "z": ("B", 3, "T", 4), "f": ("B", "T")}
    nodes, weights, count = [], {}, 0
    for name, shape in shapes.items():
        rank = len(shape)
        for mode in ("constant", "reflect", "edge", "wrap"):
            for axis in range(1, rank):
                for k, (left, right) in enumerate(
                    [(2, 1), (0, 1), (1, 0), (-1, 1), (1, -1), (-1, -1)]
                ):
                    if min(left, right) < 0 and mode not in ("constant", "edge", "reflect"):
                        continue
                    count += 1
                    weights[f"p{count}"] = np.array([left, right])
                    weights[f"a{count}"] = np.array([axis - (k % 2) * rank])
                    nodes.append(node("Pad", f"{name} p{count} - a{count}", f"y{count}", mode=mode))
    side_by_side(nodes, weights, {"B": 2, "T": 4}, {"B": 1, "T": 7}, inputs=shapes, opset=19)


def test_padding_of_old_files() -> None:
    """Ends are an attribute until opset 10; from 11 on inputs, of all axes until 17."""
    nodes = [
        node("Pad", "x", f"y{k}", pads=[0, 0, 2, 0, 1, end], mode=mode, **options)
        for k, (mode, end, options) in enumerate([
            ("constant", 1, {}), ("constant", -1, {"value": 2.5}), ("edge", 3, {}),
        ])
    ]  # fmt: skip
    side_by_side(nodes, {}, opset=10)
    weights: Weights = {"p": np.array([0, 1, 2, 0, 0, 1]), "v": np.float32(-np.inf)}
    nodes = [
        node("Pad", "x p v", "y0"), node("Pad", "x p", "y1", mode="reflect"),
        node("Pad", "x p", "y2", mode="edge"),
    ]  # fmt: skip
    side_by_side(nodes[1:], weights, opset=11)
    built = model(nodes[:1], {"x": FREE}, "y0", weights, opset=13)
    x = np.ones((2, 4, 6), np.float32)
    (expected,) = run_onnxruntime(built, {"x": x})
    np.testing.assert_array_equal(from_onnx(built)(x), expected)


def test_padding_of_constants() -> None:
    weights: Weights = {"c": numbers(2, 4, 5)}
    nodes = []
    for mode in ("constant", "reflect", "edge", "wrap"):
        for k, ends in enumerate([[0, 1, 2, 0, 0, 1], [0, 0, 3, 0, 1, 0], [0, -1, 2, 0, 2, 1]]):
            if k < 2 or mode == "constant":
                weights[f"p{k}"] = np.array(ends)
                nodes.append(node("Pad", f"c p{k}", f"{mode}{k}", mode=mode))
                nodes.append(node("Add", f"x {mode}{k}", f"y{mode}{k}"))
    side_by_side(nodes, weights, {"B": 2}, inputs={"x": ("B", 2, 5, 8)}, opset=19)


# ---- What is refused -----------------------------------------------------------------------------


def test_named_padding_of_spread_windows() -> None:
    """It is as much as makes T / stride windows, as TensorFlow has it; onnxruntime has none."""
    weights: Weights = {"w3": numbers(2, 4, 3), "w2": numbers(2, 4, 2)}
    for name, ends in (("SAME_UPPER", [(2, 2), (1, 2)]), ("SAME_LOWER", [(2, 2), (2, 1)])):
        options: list[Row] = [{"dilations": [2], "strides": [2]}, {"dilations": [3]}]
        written = [
            node("Conv", f"x w{3 - k}", f"y{k}", **row, pads=list(pads))
            for k, (row, pads) in enumerate(zip(options, ends, strict=True))
        ]
        named = [
            node("Conv", f"x w{3 - k}", f"y{k}", **row, auto_pad=name)
            for k, row in enumerate(options)
        ]
        x = np.random.default_rng(0).standard_normal((2, 4, 11)).astype(np.float32)
        built = model(written, {"x": FREE}, "y0 y1", weights)
        expected = run_onnxruntime(built, {"x": x})
        made = from_onnx(model(named, {"x": FREE}, "y0 y1", weights))(x)
        for ours, theirs in zip(made, expected, strict=True):
            close(ours, theirs, FLOAT32[0], name)


@pytest.mark.parametrize(
    ("op", "words", "options"),
    [
        ("Conv", "auto_pad='SAME_UPPER' and pads", {"auto_pad": "SAME_UPPER", "pads": [1, 1]}),
        ("Conv", "auto_pad='WIDE'", {"auto_pad": "WIDE"}),
        ("Conv", "pads=[-1, 1]", {"pads": [-1, 1]}),
        ("Conv", "strides=[0]", {"strides": [0]}),
        ("Conv", "dilations=[1, 1] of 1 axes", {"dilations": [1, 1]}),
        ("Conv", "kernel_shape=[4]", {"kernel_shape": [4]}),
        ("Conv", "group=0", {"group": 0}),
        ("Conv", "4 channels in 3 groups", {"group": 3}),
        ("Conv", "layout", {"layout": 1}),
        ("ConvTranspose", "pads", {"auto_pad": "VALID", "pads": [1, 1]}),
        ("ConvTranspose", "output_padding=[-1]", {"output_padding": [-1]}),
        ("ConvTranspose", "dilations", {"dilations": [1 << 40], "strides": [2]}),
        ("ConvTranspose", "longer than a window", {"auto_pad": "SAME_UPPER", "strides": [9]}),
        ("MaxPool", "padding is less", {"kernel_shape": [2], "pads": [2, 2]}),
        ("MaxPool", "kernel_shape", {}),
        ("AveragePool", "1 axes", {"kernel_shape": [2], "strides": [1, 1]}),
        ("AveragePool", "windows of", {"kernel_shape": [1 << 30], "dilations": [2],
                                       "count_include_pad": 1}),
        ("LpPool", "windows of", {"kernel_shape": [1 << 30]}),
        ("LpPool", "p=0", {"kernel_shape": [2], "p": 0}),
    ],
)  # fmt: skip
def test_refusals(op: str, words: str, options: Row) -> None:
    inputs = "x w" if "Conv" in op else "x"
    built = model([node(op, inputs, "y", **options)], {"x": FREE}, {"y": "float32"},
                  {"w": numbers(4, 4, 3)}, opset=19)  # fmt: skip
    refused(built, "the_y", f"{op}, opset 19", words)


def test_weights_that_vary() -> None:
    built = model([node("Conv", "x w", "y")], {"x": FREE, "w": (4, 4, 3)}, "y")
    with pytest.raises(UnsupportedLayerError, match="Conv, opset 17") as caught:
        from_onnx(built)
    assert caught.value.inputs == ["w"]
    fixed = from_onnx(built, constants={"w": numbers(4, 4, 3)})
    assert fixed(np.zeros((2, 4, 5), np.float32)).shape == (2, 4, 3)
