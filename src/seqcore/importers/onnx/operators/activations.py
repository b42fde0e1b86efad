"""Activations, of every element alone; Softmax is in reductions.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ....graph import ActivationSpec
from ...aten.arguments import activated, as_traced, scalar
from ...aten.tensors import RefusedError
from .elementwise import computed
from .table import Context, operator

_SELU_ALPHA, _SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875


def _simple(name: str) -> Callable[..., Any]:
    def apply(context: Context, X: Any) -> Any:
        return computed(context, name, self=X)

    return apply


for _name, _function in {
    "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Softplus": "softplus", "Mish": "mish",
    "HardSwish": "hardswish",
}.items():  # fmt: skip
    operator(_name)(_simple(_function))


@operator("Softsign")
def softsign(context: Context, X: Any) -> Any:
    return activated(as_traced(context, X), "softsign")


def _with_alpha(kind: str, default: float) -> Callable[..., Any]:
    def apply(context: Context, X: Any, *, alpha: float = default) -> Any:
        return activated(as_traced(context, X), ActivationSpec(kind, float(alpha)))

    return apply


operator("LeakyRelu")(_with_alpha("leaky_relu", 0.01))
operator("Elu")(_with_alpha("elu", 1.0))


@operator("Celu")
def celu(context: Context, X: Any, *, alpha: float = 1.0) -> Any:
    if not alpha:
        raise RefusedError("with alpha=0")
    return activated(as_traced(context, X), ActivationSpec("celu", float(alpha)))


@operator("Selu")
def selu(
    context: Context, X: Any, *, alpha: float = _SELU_ALPHA, gamma: float = _SELU_GAMMA
) -> Any:
    """gamma * Elu(X)."""
    tensor = as_traced(context, X)
    if abs(alpha - _SELU_ALPHA) < 1e-6 and abs(gamma - _SELU_GAMMA) < 1e-6:
        return activated(tensor, "selu")
    made = activated(tensor, ActivationSpec("elu", float(alpha)))
    return computed(context, "mul", self=made, other=float(gamma))


@operator("HardSigmoid")
def hard_sigmoid(context: Context, X: Any, *, alpha: float = 0.2, beta: float = 0.5) -> Any:
    spec = ActivationSpec("hard_sigmoid", float(alpha), float(beta))
    return activated(as_traced(context, X), spec)


@operator("Gelu")
def gelu(context: Context, X: Any, *, approximate: str = "none") -> Any:
    return computed(context, "gelu", self=X, approximate=approximate)


@operator("Swish")
def swish(context: Context, X: Any, *, alpha: float = 1.0) -> Any:
    """X * sigmoid(alpha X)."""
    if alpha == 1:
        return computed(context, "silu", self=X)
    gate = computed(context, "sigmoid", self=computed(context, "mul", self=X, other=float(alpha)))
    return computed(context, "mul", self=X, other=gate)


@operator("ThresholdedRelu")
def thresholded_relu(context: Context, X: Any, *, alpha: float = 1.0) -> Any:
    """Return X where it is above alpha, else 0; NaN is not."""
    above = computed(context, "gt", self=X, other=float(alpha))
    return computed(context, "where", condition=above, self=X, other=0.0)


@operator("Shrink")
def shrink(context: Context, input: Any, *, lambd: float = 0.5, bias: float = 0.0) -> Any:
    """Return what is further from 0 than lambd, nearer to it by bias; else 0, also of NaN."""
    if context.whole():
        raise RefusedError("of whole numbers")
    made: Any = 0.0
    for name, limit, nearer in (("lt", -float(lambd), float(bias)), ("gt", lambd, -float(bias))):
        beyond = computed(context, name, self=input, other=float(limit))
        moved = computed(context, "add", self=input, other=nearer) if nearer else input
        made = computed(context, "where", condition=beyond, self=moved, other=made)
    return made


@operator("PRelu")
def prelu(context: Context, X: Any, slope: Any) -> Any:
    """Return X, and slope * X of what is below 0; the slopes are broadcast to X."""
    one = scalar(slope)
    if one is not None and not context.whole():
        return activated(as_traced(context, X), ActivationSpec("leaky_relu", one))
    sloped = computed(context, "mul", self=X, other=slope)
    below = computed(context, "lt", self=X, other=0)
    return computed(context, "where", condition=below, self=sloped, other=X)
