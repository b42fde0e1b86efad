"""ONNX's activations, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_models import refused, same_at_sizes
from onnx_nodes import Nodes, same_with_none
from tolerances import FLOAT32

SIZES = ({"B": 3, "T": 5}, {"B": 1, "T": 2})
INPUTS = {"x": ("B", "T", 4), "z": ("B", "C", "T", 2)}


def _all(opset: int, x: str = "x") -> Nodes:
    n = Nodes()
    x = n("Mul", x, 3.0, inner=True)
    for op in ("Relu", "LeakyRelu", "Elu", "Selu", "Sigmoid", "HardSigmoid", "Tanh", "Softplus",
               "Softsign"):  # fmt: skip
        n(op, x)
    for alpha in (0.3, 0.0, 1.5, -0.5):
        n("LeakyRelu", x, alpha=alpha)
        n("Elu", x, alpha=alpha)
    n("Selu", x, alpha=1.5, gamma=0.5)
    n("HardSigmoid", x, alpha=1 / 6, beta=0.5)
    n("HardSigmoid", x, alpha=-0.3, beta=0.1)
    if opset >= 10:
        n("ThresholdedRelu", x)
        n("ThresholdedRelu", x, alpha=-0.5)
    n("Shrink", x)
    n("Shrink", x, lambd=0.7, bias=0.7)
    n("Shrink", x, lambd=1.0, bias=-0.25)
    if opset >= 12:
        n("Celu", x)
        n("Celu", x, alpha=0.5)
    if opset >= 14:
        n("HardSwish", x)
    if opset >= 18:
        n("Mish", x)
    if opset >= 20:
        n("Gelu", x)
        n("Gelu", x, approximate="tanh")
        n("Gelu", x, approximate="none")
    return n


@pytest.mark.parametrize("opset", [9, 12, 14, 20])
def test_activations(opset: int) -> None:
    same_at_sizes(_all(opset).model({"x": ("B", "T", 4)}, opset), *SIZES)


def test_swish() -> None:
    """onnxruntime knows it as a function, of which it runs what it consists of."""
    n = Nodes()
    n("Swish", "x")
    n("Swish", "x", alpha=1.7)
    same_at_sizes(n.model({"x": ("B", "T", 4)}, 24), *SIZES)


def test_slopes_of_prelu() -> None:
    n = Nodes()
    c = np.array([0.5, -0.25, 2.0, 0.0], np.float32)
    n("PRelu", "x", c)
    n("PRelu", "x", c[:1])
    n("PRelu", "x", np.float32(-0.5))
    n("PRelu", "x", c.reshape(1, 1, 4))
    n("PRelu", "z", c[:3].reshape(3, 1, 1))
    n("PRelu", "z", c[:2])
    n("PRelu", "z", np.float32([[[0.1]]]))
    n("PRelu", "x", n("Sigmoid", "x", inner=True))
    built = n.model({"x": ("B", "T", 4), "z": ("B", 3, "T", 2)})
    same_at_sizes(built, *SIZES)
    n = Nodes()
    n("PRelu", n("Sub", "n", np.int64(4), inner=True), np.array([2, -3]))
    same_at_sizes(n.model({"n": (("B", 2), "int64")}), {"B": 9}, below=9)


# What onnxruntime gives for minus infinity where x times 0 is no number.
OWN_LIMITS = ("HardSwish", "Mish", "Gelu", "Softsign")


def test_what_is_no_number() -> None:
    n = _all(20)
    kept = [k for k, each in enumerate(n.nodes) if each.op_type not in OWN_LIMITS]
    n.nodes = [n.nodes[k] for k in kept]
    made = {name for each in n.nodes for name in each.output}
    n.made = [name for name in n.made if name in made]
    inf = np.float32("inf")
    some = np.array([np.nan, inf, -inf, 0, -0.0, 1, -1, 60, -60], np.float32)
    same_with_none(n.model({"x": ("B", 9)}, 20), {"x": some[None]}, FLOAT32[0])


def test_they_are_the_same_of_constants() -> None:
    """Of weights that are made of others."""
    n = Nodes()
    c = np.linspace(-2, 2, 4)
    for op in ("Relu", "LeakyRelu", "Elu", "Selu", "Sigmoid", "HardSigmoid", "Tanh", "Softplus",
               "Softsign", "ThresholdedRelu", "Shrink", "Celu", "HardSwish", "Gelu"):  # fmt: skip
        n("Add", "x", n(op, c, inner=True))
    n("Add", "x", n("PRelu", c, np.float32(0.1), inner=True))
    n("Add", "x", n("PRelu", c, c + 3, inner=True))
    same_at_sizes(n.model({"x": ("B", "T", 4)}, 20), *SIZES)


def _one(op: str, *inputs: Any, opset: int = 17, **attributes: Any) -> Any:
    n = Nodes()
    n(op, *inputs, **attributes)
    return n.model(INPUTS | {"n": (("B", "T"), "int64")}, opset)


@pytest.mark.parametrize(
    ("built", "words"),
    [
        (_one("Gelu", "x", opset=20, approximate="erf"), "approximate='erf'"),
        (_one("Celu", "x", alpha=0.0), "alpha=0"),
        (_one("Shrink", "n"), "of whole numbers"),
        (_one("Elu", "x", alpha=float("nan")), "finite"),
    ],
)
def test_refusals(built: Any, words: str) -> None:
    refused(built, words)
