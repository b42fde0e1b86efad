"""Operators on every element alone: arithmetic, comparisons, activations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ....graph import ActivationSpec
from ....layers import (
    Activation,
    Add,
    Compare,
    Divide,
    Logical,
    Maximum,
    Minimum,
    Multiply,
    Power,
    PReLU,
    ReLU,
    Remainder,
    Rescaling,
    Softmax,
    Subtract,
    Unary,
    Where,
)
from ..arguments import (
    Context,
    activated,
    affine,
    as_float,
    as_traced,
    dim_of,
    floats,
    is_bool,
    mapped,
    rejoined,
    scalar,
    together,
    traced,
)
from ..tensors import Constant, RefusedError, Traced
from .shapes import parts
from .table import operator

# ---- Arithmetic ----------------------------------------------------------------------------------


def merged(context: Context, layer: Any, *values: Any, dtype: str = "float32") -> Traced:
    """Return what a layer that merges values makes of tensors and constants."""
    tensors = [as_float(as_traced(context, value)) for value in values]
    symbols, axes, dims = together(tensors)
    return Traced(layer(*symbols), axes, dims, dtype)


def _steady(value: Any) -> float | None:
    """Return a number that Rescaling can take."""
    number = scalar(value)
    return number if number is not None and math.isfinite(number) else None


def _spread(tensor: Any, value: Any) -> bool:
    """Tell whether a number leaves the tensor's shape and dtype as they are."""
    if not isinstance(tensor, Traced) or not isinstance(value, Constant):
        return isinstance(tensor, Traced)
    own = tensor.sizes
    return len(value.sizes) <= len(own) and all(
        size in (1, other) for size, other in zip(value.sizes[::-1], own[::-1], strict=False)
    )


@operator("aten.add", "aten.add_")
def add(context: Context, self: Any, other: Any, alpha: Any = 1) -> Any:
    if _both_true(self, other):
        return merged(context, Logical("or"), self, other, dtype="bool")
    if alpha != 1:
        other = multiply(context, other, alpha) if isinstance(other, Traced) else _times(
            other, alpha
        )  # fmt: skip
    elif is_bool(self) and is_bool(other):  # the sum of truth values is one
        return merged(context, Logical("or"), self, other, dtype="bool")
    for tensor, value in ((self, other), (other, self)):
        number = _steady(value)
        if number is not None and _spread(tensor, value):
            return affine(tensor, 1.0, number)
    return merged(context, Add(), self, other)


def _both_true(self: Any, other: Any) -> bool:
    return all(getattr(value, "dtype", "") == "bool" for value in (self, other))


def _times(value: Any, factor: Any) -> Any:
    if isinstance(value, Constant):
        return Constant(value.array * np.float32(factor), value.sizes)
    return value * factor


@operator("aten.sub", "aten.sub_", "aten.subtract")
def subtract(context: Context, self: Any, other: Any, alpha: Any = 1) -> Any:
    if alpha != 1:
        return add(context, self, other, -alpha)
    number = _steady(other)
    if number is not None and _spread(self, other):
        return affine(self, 1.0, -number)
    number = _steady(self)
    if number is not None and _spread(other, self):
        return affine(other, -1.0, number)
    return merged(context, Subtract(), self, other)


@operator("aten.rsub")
def reverse_subtract(context: Context, self: Any, other: Any, alpha: Any = 1) -> Any:
    return subtract(context, other, self, alpha)


@operator("aten.mul", "aten.mul_", "aten.multiply")
def multiply(context: Context, self: Any, other: Any) -> Any:
    if is_bool(self) and is_bool(other):
        return merged(context, Logical("and"), self, other, dtype="bool")
    for tensor, value in ((self, other), (other, self)):
        number = _steady(value)
        if number is not None and _spread(tensor, value):
            return affine(tensor, number, 0.0)
    return merged(context, Multiply(), self, other)


@operator("aten.div", "aten.div_", "aten.divide", "aten.true_divide")
def divide(context: Context, self: Any, other: Any, rounding_mode: str | None = None) -> Any:
    number = _steady(other)
    if rounding_mode is not None:
        return _whole_quotient(context, self, other, rounding_mode)
    if number and abs(number) > 1e-30 and _spread(self, other):
        return affine(self, 1 / number, 0.0)  # half a unit in the last place off at most
    return merged(context, Divide(), self, other)


def _whole_quotient(context: Context, self: Any, other: Any, rounding_mode: str) -> Traced:
    """Return a quotient towards zero ("trunc") or down ("floor").

    The quotient of two whole numbers, rounded, reaches a whole number only if it is one. That of
    others may, which torch looks after where it rounds down: 1 // 0.1 is 9.
    """
    if rounding_mode not in ("floor", "trunc"):
        raise RefusedError(f"with rounding_mode={rounding_mode!r}")
    number = _steady(other)
    exact = context.whole() or (number and math.frexp(number)[0] in (0.5, -0.5))
    if rounding_mode == "floor" and not exact:
        raise RefusedError("rounded down, of numbers that are not whole")
    return mapped(merged(context, Divide(), self, other), Unary(rounding_mode))


@operator("aten.floor_divide", "aten.floor_divide_")
def floor_divide(context: Context, self: Any, other: Any) -> Any:
    return _whole_quotient(context, self, other, "floor")


def _left_over(rounding: str) -> Callable[..., Any]:
    def apply(context: Context, self: Any, other: Any) -> Any:
        return merged(context, Remainder(rounding), self, other)

    return apply


operator("aten.remainder", "aten.remainder_")(_left_over("floor"))
operator("aten.fmod", "aten.fmod_")(_left_over("trunc"))


@operator("aten.addcdiv")
def addcdiv(context: Context, self: Any, tensor1: Any, tensor2: Any, value: Any = 1) -> Any:
    return add(context, self, divide(context, tensor1, tensor2), value)


@operator("aten.addcmul")
def addcmul(context: Context, self: Any, tensor1: Any, tensor2: Any, value: Any = 1) -> Any:
    return add(context, self, multiply(context, tensor1, tensor2), value)


@operator("aten.lerp")
def lerp(context: Context, self: Any, end: Any, weight: Any) -> Any:
    return add(context, self, multiply(context, weight, subtract(context, end, self)))


@operator("aten.pow", "aten.pow_")
def power(context: Context, self: Any, exponent: Any) -> Any:
    del context
    base, number = scalar(self), scalar(exponent)
    if base is not None and base > 0 and math.isfinite(base) and number is None:
        return mapped(affine(traced(exponent), math.log(base), 0.0), Unary("exp"))
    if number is None or not isinstance(self, Traced):
        raise RefusedError("of an exponent that varies")
    simple = {1.0: "", 2.0: "square", 0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}.get(number)
    if simple == "":
        return as_float(self)
    return mapped(self, Power(number) if simple is None else Unary(simple))


@operator("aten.maximum")
def maximum(context: Context, self: Any, other: Any) -> Any:
    return merged(context, Maximum(), self, other)


@operator("aten.minimum")
def minimum(context: Context, self: Any, other: Any) -> Any:
    return merged(context, Minimum(), self, other)


def _without_nan(extreme: Callable[..., Any]) -> Callable[..., Any]:
    """Return what takes the number of two where the other one is none, as C's fmax does."""

    def apply(context: Context, self: Any, other: Any) -> Any:
        made = chosen(context, isnan(context, self), other, extreme(context, self, other))
        return chosen(context, isnan(context, other), self, made)

    return apply


operator("aten.fmax")(_without_nan(maximum))
operator("aten.fmin")(_without_nan(minimum))


@operator("aten.clamp", "aten.clip", "aten.clamp_min", "aten.clamp_max", "aten.clamp_",
          "aten.clamp_min_", "aten.clamp_max_")  # fmt: skip
def clamp(context: Context, self: Any, min: Any = None, max: Any = None) -> Any:
    made = self
    if min is not None:
        made = maximum(context, made, min)
    return made if max is None else minimum(context, made, max)


def _unary(function: str) -> Callable[..., Any]:
    def apply(context: Context, self: Any) -> Any:
        del context
        return mapped(traced(self), Unary(function))

    return apply


for _name, _function in {
    "abs": "abs", "neg": "negative", "negative": "negative", "square": "square", "sqrt": "sqrt",
    "rsqrt": "rsqrt", "reciprocal": "reciprocal", "log": "log", "sin": "sin", "cos": "cos",
    "floor": "floor", "ceil": "ceil", "round": "round", "sign": "sign", "sgn": "sign",
    "erf": "erf", "log1p": "log1p", "expm1": "expm1", "trunc": "trunc", "fix": "trunc",
}.items():  # fmt: skip
    operator(f"aten.{_name}", f"aten.{_name}_")(_unary(_function))


# ---- Truth ---------------------------------------------------------------------------------------

_COMPARISONS = {
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater",
    "ge": "greater_equal",
}  # fmt: skip
_TURNED = {
    "less": "greater", "less_equal": "greater_equal", "greater": "less",
    "greater_equal": "less_equal",
}  # fmt: skip


def compare(context: Context, function: str, self: Any, other: Any) -> Traced:
    """Return where a comparison holds."""
    for tensor, value, name in ((self, other, function),
                                (other, self, _TURNED.get(function, function))):  # fmt: skip
        number = _steady(value)
        if number is not None and _spread(tensor, value):
            layer = Compare(name, number)
            return Traced(layer(tensor.symbol), tensor.axes, tensor.dims, "bool")
    return merged(context, Compare(function), self, other, dtype="bool")


def _comparison(function: str) -> Callable[..., Any]:
    def apply(context: Context, self: Any, other: Any) -> Any:
        return compare(context, function, self, other)

    return apply


for _name, _function in _COMPARISONS.items():
    operator(f"aten.{_name}")(_comparison(_function))


@operator("aten.bitwise_not", "aten.bitwise_not_")
def bitwise_not(context: Context, self: Any) -> Any:
    """~x: of a whole number -x - 1."""
    return negate(context, self) if self.dtype == "bool" else affine(self, -1.0, -1.0)


@operator("aten.logical_not")
def negate(context: Context, self: Any) -> Any:
    del context
    tensor = traced(self)
    return Traced(Compare("equal", 0)(tensor.symbol), tensor.axes, tensor.dims, "bool")


def _logical(function: str, bitwise: bool) -> Callable[..., Any]:
    def apply(context: Context, self: Any, other: Any) -> Any:
        if bitwise and not all(
            isinstance(value, bool) or getattr(value, "dtype", "") == "bool"
            for value in (self, other)
        ):
            raise RefusedError("of the bits of numbers")
        return merged(context, Logical(function), self, other, dtype="bool")

    return apply


for _function in ("and", "or", "xor"):
    operator(f"aten.logical_{_function}")(_logical(_function, False))
    operator(f"aten.bitwise_{_function}", f"aten.__{_function}__")(_logical(_function, True))


def chosen(context: Context, condition: Any, a: Any, b: Any) -> Traced:
    """Return a where the condition holds, else b; each a tensor, a constant or a number."""
    tensors = [value for value in (condition, a, b) if isinstance(value, Traced)]
    numbers = [
        scalar(value) if any(_spread(tensor, value) for tensor in tensors) else None
        for value in (a, b)
    ]
    layer = Where(*numbers)
    values = [value for value, number in zip((a, b), numbers, strict=True) if number is None]
    return merged(context, layer, condition, *values)


@operator("aten.where")
def where(context: Context, condition: Any, self: Any = None, other: Any = None) -> Any:
    if self is None or other is None:
        raise RefusedError("with a condition alone")
    return chosen(context, condition, self, other)


@operator("aten.masked_fill", "aten.masked_fill_")
def masked_fill(context: Context, self: Any, mask: Any, value: Any) -> Any:
    return chosen(context, mask, value, self)


@operator("aten.isnan")
def isnan(context: Context, self: Any) -> Any:
    return merged(context, Compare("not_equal"), self, self, dtype="bool")


@operator("aten.isinf")
def isinf(context: Context, self: Any) -> Any:
    return compare(context, "equal", mapped(traced(self), Unary("abs")), math.inf)


@operator("aten.isfinite")
def isfinite(context: Context, self: Any) -> Any:
    return compare(context, "less", mapped(traced(self), Unary("abs")), math.inf)


@operator("aten.nan_to_num")
def nan_to_num(
    context: Context, self: Any, nan: Any = None, posinf: Any = None, neginf: Any = None
) -> Any:
    most = float(np.finfo(np.float32).max)
    made = chosen(context, isnan(context, self), float(nan or 0.0), self)
    for limit, given, default in ((math.inf, posinf, most), (-math.inf, neginf, -most)):
        here = compare(context, "equal", self, limit)
        made = chosen(context, here, default if given is None else float(given), made)
    return made


@operator("aten.fill_", "aten.zero_")
def fill(context: Context, self: Any, value: Any = 0) -> Any:
    """A number in place of what was there, whatever that was."""
    if scalar(value) is None:
        raise RefusedError("with a value that varies")
    return chosen(context, traced(self), value, value)


# ---- Of several simple ones ----------------------------------------------------------------------


@operator("aten.log2")
def log2(context: Context, self: Any) -> Any:
    del context
    return mapped(traced(self), Unary("log"), Rescaling(1 / math.log(2)))


@operator("aten.log10")
def log10(context: Context, self: Any) -> Any:
    del context
    return mapped(traced(self), Unary("log"), Rescaling(1 / math.log(10)))


@operator("aten.exp2", "aten.special_exp2")
def exp2(context: Context, self: Any) -> Any:
    del context
    return mapped(traced(self), Rescaling(math.log(2)), Unary("exp"))


@operator("aten.tan")
def tan(context: Context, self: Any) -> Any:
    sine, cosine = (mapped(traced(self), Unary(name)) for name in ("sin", "cos"))
    return divide(context, sine, cosine)


@operator("aten.sinh")
def sinh(context: Context, self: Any) -> Any:
    """Of expm1, which keeps what is small."""
    grown = mapped(traced(self), Unary("expm1"))
    shrunk = mapped(traced(self), Unary("negative"), Unary("expm1"))
    return affine(subtract(context, grown, shrunk), 0.5, 0.0)


@operator("aten.cosh")
def cosh(context: Context, self: Any) -> Any:
    grown = mapped(traced(self), Unary("exp"))
    shrunk = mapped(traced(self), Unary("negative"), Unary("exp"))
    return affine(add(context, grown, shrunk), 0.5, 0.0)


@operator("aten.frac")
def frac(context: Context, self: Any) -> Any:
    return subtract(context, self, mapped(traced(self), Unary("trunc")))


@operator("aten.logaddexp")
def logaddexp(context: Context, self: Any, other: Any) -> Any:
    """max + log1p(exp(-|a - b|)), and of equal ones, which may be infinite, a + log 2."""
    a, b = as_traced(context, self), as_traced(context, other)
    apart = mapped(subtract(context, a, b), Unary("abs"), Unary("negative"))
    more = mapped(apart, Unary("exp"), Unary("log1p"))
    made = add(context, maximum(context, a, b), more)
    same = compare(context, "equal", a, b)
    return chosen(context, same, affine(a, 1.0, math.log(2)), made)


# ---- Activations ---------------------------------------------------------------------------------


def _activation(kind: str) -> Callable[..., Any]:
    def apply(context: Context, self: Any) -> Any:
        del context
        return activated(traced(self), kind)

    return apply


for _name, _function in {
    "relu": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "selu": "selu", "silu": "silu",
    "mish": "mish", "relu6": "relu6", "exp": "exponential", "log_sigmoid": "log_sigmoid",
    "hardsigmoid": "hard_sigmoid", "hardswish": "hard_silu", "special_expit": "sigmoid",
}.items():  # fmt: skip
    operator(f"aten.{_name}", f"aten.{_name}_")(_activation(_function))


@operator("aten.leaky_relu", "aten.leaky_relu_")
def leaky_relu(context: Context, self: Any, negative_slope: Any = 0.01) -> Any:
    del context
    return activated(traced(self), ActivationSpec("leaky_relu", float(negative_slope)))


@operator("aten.elu", "aten.elu_")
def elu(context: Context, self: Any, alpha: Any = 1, scale: Any = 1, input_scale: Any = 1) -> Any:
    del context
    if scale != 1 or input_scale != 1:
        raise RefusedError("with a scale")
    return activated(traced(self), ActivationSpec("elu", float(alpha)))


@operator("aten.rrelu", "aten.rrelu_")
def rrelu(
    context: Context, self: Any, lower: Any = 1 / 8, upper: Any = 1 / 3, training: bool = False
) -> Any:
    if training:
        raise RefusedError("in training mode; export module.eval()")
    return leaky_relu(context, self, (float(lower) + float(upper)) / 2)


@operator("seqcore.activation")
def activation(context: Context, self: Any, kind: str) -> Any:
    """What a module does that torch writes as several operators."""
    del context
    return activated(traced(self), kind)


@operator("aten.celu", "aten.celu_")
def celu(context: Context, self: Any, alpha: Any = 1.0) -> Any:
    del context
    return activated(traced(self), ActivationSpec("celu", float(alpha)))


@operator("aten.gelu", "aten.gelu_")
def gelu(context: Context, self: Any, approximate: str = "none") -> Any:
    del context
    kinds = {"none": "gelu", "tanh": "gelu_tanh"}
    if approximate not in kinds:
        raise RefusedError(f"with approximate={approximate!r}")
    return activated(traced(self), kinds[approximate])


@operator("aten.softplus")
def softplus(context: Context, self: Any, beta: Any = 1, threshold: Any = 20) -> Any:
    if float(beta) <= 0:
        raise RefusedError(f"with beta={beta}")
    scaled = self if beta == 1 else affine(traced(self), float(beta), 0.0)
    made = activated(scaled, "softplus")
    made = made if beta == 1 else affine(made, 1 / float(beta), 0.0)
    if float(threshold) >= 20:  # beyond, softplus(x) is x to the last bit
        return made
    above = compare(context, "greater", scaled, float(threshold))
    return chosen(context, above, self, made)


@operator("aten.hardtanh", "aten.hardtanh_")
def hardtanh(context: Context, self: Any, min_val: Any = -1, max_val: Any = 1) -> Any:
    limits = (float(min_val), float(max_val))
    kind = {(-1.0, 1.0): "hard_tanh", (0.0, 6.0): "relu6"}.get(limits)
    return clamp(context, self, *limits) if kind is None else activated(traced(self), kind)


def _shrink(kind: str) -> Callable[..., Any]:
    def apply(context: Context, self: Any, lambd: Any = 0.5) -> Any:
        del context
        return activated(traced(self), ActivationSpec(kind, float(lambd)))

    return apply


operator("aten.hardshrink")(_shrink("hard_shrink"))
operator("aten.softshrink")(_shrink("soft_shrink"))


@operator("aten.threshold", "aten.threshold_")
def threshold(context: Context, self: Any, threshold: Any, value: Any) -> Any:
    del context
    return activated(traced(self), ActivationSpec("threshold", float(threshold), float(value)))


@operator("aten.glu")
def glu(context: Context, self: Any, dim: int = -1) -> Any:
    at = dim_of(dim, len(traced(self).dims))
    halves = parts(context, self, chunks=2, dim=at)
    if len(halves) != 2 or halves[0].sizes != halves[1].sizes:
        raise RefusedError("of an axis that has no halves")
    return multiply(context, halves[0], activated(halves[1], "sigmoid"))


@operator("aten.prelu", "aten._prelu_kernel")
def prelu(context: Context, self: Any, weight: Any) -> Any:
    tensor = floats(self)
    if not isinstance(weight, Constant):
        raise RefusedError("with a weight that varies")
    numbers = weight.full().astype(np.float32).reshape(-1)
    if numbers.size == 1:
        slope = float(numbers[0])
        if slope >= 0:
            return mapped(tensor, ReLU(negative_slope=slope))
        shape = (1,) * (len(tensor.axes) - 1)
        return mapped(tensor, PReLU(np.full(shape, slope, np.float32)))
    channels = tensor.dims[1]  # torch's second dim, whatever its layout
    if tensor.batch in channels:
        raise RefusedError("of channels that are the batch")
    symbol, axes = tensor.apart(channels)
    shared = list(range(1, len(axes)))
    alpha = numbers.reshape([1] * len(shared) + [-1])
    layer = context.once(
        (weight.key, "prelu", len(axes)), lambda name: PReLU(alpha, shared_axes=shared, name=name)
    )
    return rejoined(tensor, layer(symbol), axes, 1)


# ---- Softmax -------------------------------------------------------------------------------------


def _softmax(log: bool) -> Callable[..., Any]:
    def apply(
        context: Context, self: Any, dim: int = -1, dtype: Any = None, half_to_float: bool = False
    ) -> Any:
        del context, dtype, half_to_float
        tensor = as_float(traced(self))
        at = dim_of(dim, len(tensor.dims))
        group = tensor.dims[at]
        if tensor.batch in group:
            raise RefusedError("over the rows of the batch")
        if len(group) == 1 and len(tensor.axes) > 1 and group[0] in tensor.axes and not log:
            layer = Softmax(tensor.axes.index(group[0]))
            return Traced(layer(tensor.symbol), tensor.axes, tensor.dims)
        symbol, axes = tensor.apart(group)
        made = Activation("log_softmax" if log else "softmax")(symbol)
        return rejoined(tensor, made, axes, at)

    return apply


softmax = operator("aten.softmax", "aten._softmax")(_softmax(False))
operator("aten.log_softmax", "aten._log_softmax")(_softmax(True))
