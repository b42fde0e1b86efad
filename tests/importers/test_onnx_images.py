"""Convolutions and pooling of two and three axes, as exporters write those of one and as such."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
import pytest
from onnx_models import model, node, refused, same_at_sizes
from pairs import Row, pairwise
from test_onnx_windows import Weights, chosen, numbers

IMAGES = {"time first": ("B", 4, "T", 10), "time last": ("B", 4, 10, "T")}
SIZES = ({"B": 2, "T": 9}, {"B": 1, "T": 12})


def compared(
    nodes: Sequence[onnx.NodeProto], weights: Weights, shape: Sequence[Any], *sizes: dict[str, int]
) -> None:
    ends = " ".join(each.output[0] for each in nodes)
    built = model(nodes, {"x": shape}, ends, weights, opset=22)
    same_at_sizes(built, *(sizes or SIZES))


CONVOLUTIONS = pairwise(
    {
        "kernel": [(3, 3), (1, 3), (3, 1), (1, 1), (2, 5)],
        "strides": [None, [2, 1], [1, 2], [2, 2]], "dilations": [None, [2, 1], [1, 2]],
        "pads": [None, [1, 1, 1, 1], [0, 2, 1, 0]], "group": [1, 2, 4], "filters": [8, 4],
        "auto_pad": ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"], "bias": [True, False],
    },
    lambda row: row["auto_pad"] == "NOTSET" or (row["pads"] is None and row["dilations"] is None),
)  # fmt: skip


@pytest.mark.parametrize("layout", IMAGES)
def test_convolutions(layout: str) -> None:
    """A stride along the axis that varies is one that time takes, whichever it is."""
    nodes, weights = [], {}
    for k, row in enumerate(CONVOLUTIONS):
        weights[f"w{k}"] = numbers(row["filters"], 4 // row["group"], *row["kernel"], seed=k)
        weights[f"b{k}"] = numbers(row["filters"], seed=k)
        options = chosen(row, "strides", "dilations", "pads", "group", "auto_pad")
        nodes.append(node("Conv", f"x w{k}" + f" b{k}" * row["bias"], f"y{k}", **options))
    compared(nodes, weights, IMAGES[layout])


TRANSPOSED = pairwise(
    {
        "kernel": [(3, 3), (1, 3), (3, 1), (1, 1), (2, 5)],
        "strides": [None, [2, 1], [1, 2], [2, 2]], "dilations": [None, [2, 1], [1, 2]],
        "pads": [None, [1, 1, 1, 1], [0, 2, 1, 0]], "group": [1, 2], "filters": [8, 4],
        "auto_pad": ["NOTSET", "SAME_UPPER", "SAME_LOWER"],
        "output_padding": [None, [0, 1], [1, 1]],
    },
    lambda row: (row["auto_pad"] == "NOTSET" or row["pads"] is None)
    and (row["output_padding"] is None or row["strides"] == [2, 2])
    and (row["auto_pad"] == "NOTSET" or all(
        a >= b for a, b in zip(row["kernel"], row["strides"] or [1, 1], strict=True))),
)  # fmt: skip


@pytest.mark.parametrize("layout", IMAGES)
def test_transposed_convolutions(layout: str) -> None:
    nodes, weights = [], {"b": numbers(8)}
    for k, row in enumerate(TRANSPOSED):
        weights[f"w{k}"] = numbers(4, row["filters"] // row["group"], *row["kernel"], seed=k)
        names = ("strides", "dilations", "pads", "group", "auto_pad", "output_padding")
        bias = " b" * (row["filters"] == 8)
        nodes.append(node("ConvTranspose", f"x w{k}{bias}", f"y{k}", **chosen(row, *names)))
    compared(nodes, weights, IMAGES[layout])


def pool_fits(row: Row) -> bool:
    named = row["auto_pad"] != "NOTSET"
    strides = row["strides"] or [1, 1]
    return not (
        (named and (row["pads"] is not None or row["ceil_mode"]))
        or (row["pads"] is not None and 1 in row["kernel_shape"])
        or (named and any(a < b for a, b in zip(row["kernel_shape"], strides, strict=True)))
    )


@pytest.mark.parametrize("layout", IMAGES)
def test_pooling(layout: str) -> None:
    options = {
        "kernel_shape": [[2, 2], [1, 2], [2, 1], [3, 2], [3, 3]],
        "strides": [None, [2, 1], [1, 2], [2, 2]], "pads": [None, [1, 1, 1, 1], [0, 1, 1, 0]],
        "auto_pad": ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"], "ceil_mode": [None, 1],
    }  # fmt: skip
    nodes = [
        node("MaxPool", "x", f"m{k}", **chosen(row, *row))
        for k, row in enumerate(pairwise(options, pool_fits))
    ]
    nodes += [
        node("AveragePool", "x", f"a{k}", **chosen(row, *row))
        for k, row in enumerate(pairwise(options | {"count_include_pad": [None, 1]}, pool_fits))
    ]
    nodes += [
        node("LpPool", "x", f"l{k}", **chosen(row, *row))
        for k, row in enumerate(pairwise(options | {"p": [2, 1]}, pool_fits))
        if not row["ceil_mode"]
    ]
    compared(nodes, {}, IMAGES[layout])


def test_both_axes_vary() -> None:
    weights: Weights = {
        "r": numbers(6, 4, 1, 3),
        "c": numbers(6, 4, 3, 1),
        "p": numbers(6, 4, 1, 1),
        "w": numbers(6, 4, 3, 3),
    }
    nodes = [
        node("Conv", "x r", "y0", pads=[0, 1, 0, 1]), node("Conv", "x c", "y1", strides=[2, 1]),
        node("Conv", "x p", "y2"), node("MaxPool", "x", "y3", kernel_shape=[1, 2]),
        node("MaxPool", "x", "y4", kernel_shape=[2, 2], strides=[2, 2]),
        node("AveragePool", "x", "y5", kernel_shape=[3, 1], pads=[1, 0, 1, 0]),
        node("Conv", "x w", "y6", pads=[1, 0, 1, 1]),
    ]  # fmt: skip
    compared(nodes, weights, ("B", 4, "H", "T"), {"B": 2, "H": 5, "T": 7}, {"B": 1, "H": 8, "T": 6})
    both = node("Conv", "x w", "y", strides=[2, 2])
    built = model([both], {"x": ("B", 4, "H", "T")}, "y", {"w": numbers(6, 4, 3, 3)})
    refused(built, "Conv", "opset 17", "varies")


def test_three_axes() -> None:
    weights: Weights = {
        "w": numbers(4, 2, 3, 2, 3), "k": numbers(4, 2, 1, 1, 3), "t": numbers(4, 2, 2, 3, 2),
        "d": numbers(4, 1, 3, 2, 3), "b": numbers(4),
    }  # fmt: skip
    nodes = [
        node("Conv", "x w b", "y0", pads=[1, 0, 1, 1, 1, 1], group=2, strides=[1, 2, 1]),
        node("Conv", "x k", "y1", group=2),
        node("Conv", "x d b", "y2", group=4, dilations=[1, 2, 1]),
        node("ConvTranspose", "x t", "y3", strides=[2, 1, 2], pads=[1, 0, 0, 0, 1, 0]),
        node("MaxPool", "x", "y4", kernel_shape=[2, 1, 3]),
        node("AveragePool", "x", "y5", kernel_shape=[2, 2, 3], pads=[1, 1, 1, 0, 0, 0]),
    ]  # fmt: skip
    compared(nodes, weights, ("B", 4, 3, 4, "T"))
    compared(nodes, weights, ("B", 4, "T", 4, 3))
