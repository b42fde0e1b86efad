"""What treats every element alone: arithmetic, comparisons, choices, conversions.

Broadcasting is NumPy's, whatever the ranks. Activations are in activations.py.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ....errors import ModelFileError
from ....formats.onnx_tensors import dtype_name
from ....layers import Cast
from ...aten.arguments import as_traced, is_bool, mapped, scalar
from ...aten.reader import WHOLE
from ...aten.tensors import Constant, RefusedError, Traced
from .products import with_bias
from .table import Context, NotKnownError, aten, number, operator, shape

__all__ = ["computed"]

_MOST_EXPONENTS = 16  # different ones of one tensor
_FLOATS = frozenset(["float32", "float64", "float16", "bfloat16"])
_NARROW: dict[str, type[np.integer[Any]]] = {
    "uint8": np.uint8,
    "int8": np.int8,
    "uint16": np.uint16,
    "int16": np.int16,
}


def computed(context: Context, name: str, **given: Any) -> Any:
    """Return what ATen's operator makes of numbers; a size that varies is one of them."""
    for key, value in given.items():
        if isinstance(value, Constant) and value.array.dtype == object:
            given[key] = as_traced(context, value)
    return aten(context, name, **given)


# ---- Arithmetic ----------------------------------------------------------------------------------


def _unary(name: str) -> Callable[..., Any]:
    def apply(context: Context, X: Any) -> Any:
        return computed(context, name, self=X)

    return apply


for _name, _function in {
    "Abs": "abs", "Neg": "neg", "Sqrt": "sqrt", "Exp": "exp", "Log": "log", "Erf": "erf",
    "Reciprocal": "reciprocal", "Floor": "floor", "Ceil": "ceil", "Round": "round", "Sin": "sin",
    "Cos": "cos", "Tan": "tan", "Sinh": "sinh", "Cosh": "cosh", "IsNaN": "isnan",
    "Not": "logical_not",
}.items():  # fmt: skip
    operator(_name)(_unary(_function))


def _binary(name: str) -> Callable[..., Any]:
    def apply(context: Context, A: Any, B: Any) -> Any:
        made = computed(context, name, self=A, other=B)
        return _in_width(context, made) if name in ("sub", "mul") else made

    return apply


def _in_width(context: Context, made: Any) -> Any:
    """Return what numbers of 8 or 16 bits come to, which is as long."""
    if not isinstance(made, Traced) or not context.whole():
        return made
    kind = next((k for k in map(context.declared, range(2)) if k in _NARROW), None)
    return made if kind is None else _wrapped(context, made, kind)


for _name, _function in {
    "Sub": "sub", "Mul": "mul", "Equal": "eq", "Greater": "gt", "Less": "lt",
    "GreaterOrEqual": "ge", "LessOrEqual": "le", "And": "logical_and", "Or": "logical_or",
    "Xor": "logical_xor",
}.items():  # fmt: skip
    operator(_name)(_binary(_function))


@operator("Add")
def add(context: Context, A: Any, B: Any) -> Any:
    made = with_bias(context, A, B)
    made = computed(context, "add", self=A, other=B) if made is None else made
    return _in_width(context, made)


def _many(name: str) -> Callable[..., Any]:
    def apply(context: Context, *values: Any) -> Any:
        return functools.reduce(lambda a, b: computed(context, name, self=a, other=b), values)

    return apply


for _name, _function in {"Max": "maximum", "Min": "minimum", "Sum": "add"}.items():
    operator(_name)(_many(_function))


@operator("Mean")
def mean(context: Context, *values: Any) -> Any:
    return computed(context, "div", self=_many("add")(context, *values), other=len(values))


@operator("Sign")
def sign(context: Context, input: Any) -> Any:
    """Return -1, 0 or 1; NaN of NaN."""
    made = computed(context, "sign", self=input)
    if context.whole() or isinstance(input, Constant):
        return made
    return _where(context, computed(context, "isnan", self=input), input, made)


def _divisor(value: Any) -> None:
    if isinstance(value, Constant) and not np.all(value.array):
        raise RefusedError("divides whole numbers by zero")


@operator("Div")
def divide(context: Context, A: Any, B: Any) -> Any:
    if not context.whole():
        return computed(context, "div", self=A, other=B)
    _divisor(B)
    return computed(context, "div", self=A, other=B, rounding_mode="trunc")


@operator("Mod")
def modulo(context: Context, A: Any, B: Any, *, fmod: int = 0) -> Any:
    """A - q*B, q the quotient rounded down, or, `fmod`, towards zero."""
    if context.whole():
        _divisor(B)
    if fmod:
        return computed(context, "fmod", self=A, other=B)
    return computed(context, "remainder", self=A, other=B)


# ---- Powers --------------------------------------------------------------------------------------


@operator("Pow")
def power(context: Context, X: Any, Y: Any) -> Any:
    """Return X**Y, of the kind of X: whole numbers are cut towards zero.

    To the powers of 0.5 and -0.5 go the root and one over it, which minus infinity has not.
    """
    whole = context.whole()
    if isinstance(X, Constant) and isinstance(Y, Constant):
        return _constant_power(context, X, Y)
    if whole and not isinstance(Y, Constant):
        raise NotKnownError("exponent", Y)
    if isinstance(Y, Constant) and isinstance(X, Traced):
        values = np.unique(Y.array)
        if values.dtype != object and len(values) <= _MOST_EXPONENTS and not np.isnan(values).any():
            return _known_power(context, X, Y, values.tolist(), whole)
    base = scalar(X)
    small = all(size == 1 for size in shape(X)) and len(shape(X)) <= len(shape(Y))
    if small and base is not None and base > 0 and math.isfinite(base):
        return computed(context, "pow", self=base, exponent=Y)
    if whole:
        raise RefusedError(f"of whole numbers, of more than {_MOST_EXPONENTS} exponents")
    return _any_power(context, X, Y)


def _constant_power(context: Context, X: Constant, Y: Constant) -> Any:
    if X.array.dtype.kind != "i":
        return aten(context, "pow", self=X, exponent=Y)
    if (
        Y.array.dtype.kind == "f"
        and np.all(Y.array == np.trunc(Y.array))
        and np.all(np.abs(Y.array) < 64)
    ):
        Y = Constant(Y.array.astype(np.int64), Y.sizes)
    if Y.array.dtype.kind == "i" and np.all(Y.array >= 0):
        return aten(context, "pow", self=X, exponent=Y)
    base = Constant(X.array.astype(np.float32), X.sizes)
    made = aten(context, "pow", self=base, exponent=Y)
    if not np.all(np.abs(made.array) < 1 << 24):
        raise RefusedError("of whole numbers, to powers that are not")
    return _constant_as(made, "int64")


def _known_power(context: Context, X: Traced, Y: Constant, values: list[Any], whole: bool) -> Any:
    """Return X to the power of each of a few numbers, where that is the exponent."""

    def raised(exponent: Any) -> Any:
        made = computed(context, "pow", self=X, exponent=exponent)
        if whole and (exponent < 0 or exponent != int(exponent)):
            return computed(context, "trunc", self=made)
        return made

    total = raised(values[0])
    if all(size == 1 for size in Y.sizes):
        return _of_rank(total, X, Y)
    for value in values:  # the first too: the exponent may be the larger one
        here = Constant(Y.array == value, Y.sizes)
        total = _where(context, here, raised(value), total)
    return total


def _any_power(context: Context, X: Any, Y: Any) -> Any:
    """exp(Y log|X|) with the sign of what is below 0: off by 6e-6 at most, next to overflow.

    1 to any power is 1, and so is any number to the power of 0, NaN too; of finite numbers below 0
    there are whole powers only.
    """

    def of(name: str, self: Any, other: Any = None) -> Any:
        given = {"self": self} if other is None else {"self": self, "other": other}
        return computed(context, name, **given)

    size = of("abs", X)
    made = of("exp", of("mul", Y, of("log", size)))
    made = _where(context, of("logical_or", of("eq", size, 1.0), of("eq", Y, 0.0)), 1.0, made)
    half, is_whole = of("mul", Y, 0.5), of("eq", Y, of("trunc", Y))
    odd = of("logical_and", is_whole, of("ne", half, of("trunc", half)))
    exists = of("logical_or", is_whole, of("eq", size, math.inf))
    signed = _where(context, odd, of("neg", made), made)
    signed = _where(context, exists, signed, math.nan)
    return _where(context, of("lt", X, 0.0), signed, made)


def _of_rank(value: Any, *operands: Any) -> Any:
    """Return a tensor with as many dims as the operands that it was made of."""
    more = max(len(shape(each)) for each in operands) - len(value.dims)
    return value.seen_as([*[()] * more, *value.dims]) if more > 0 else value


# ---- Choices -------------------------------------------------------------------------------------


def _where(context: Context, condition: Any, a: Any, b: Any) -> Any:
    made = computed(context, "where", condition=condition, self=a, other=b)
    if isinstance(made, Traced) and is_bool(a) and is_bool(b):
        return Traced(made.symbol, made.axes, made.dims, "bool")
    return made


@operator("Where")
def where(context: Context, condition: Any, X: Any, Y: Any) -> Any:
    return _where(context, condition, X, Y)


@operator("IsInf")
def is_infinite(
    context: Context, X: Any, *, detect_negative: int = 1, detect_positive: int = 1
) -> Any:
    if detect_negative and detect_positive:
        return computed(context, "isinf", self=X)
    if not detect_negative and not detect_positive:
        return computed(context, "lt", self=computed(context, "abs", self=X), other=0.0)
    return computed(context, "eq", self=X, other=math.inf if detect_positive else -math.inf)


@operator("Clip")
def clip(context: Context, input: Any, min: Any = None, max: Any = None) -> Any:
    """Min(max, Max(input, min)); a bound that is NaN bounds nothing."""
    low, high = (_bound(value, what) for value, what in ((min, "min"), (max, "max")))
    if low is None and high is None:
        return input
    if isinstance(input, Traced) and low == 0 and high is None and not context.whole():
        return computed(context, "relu", self=input)
    if isinstance(input, Traced) and all(isinstance(bound, float) for bound in (low, high)):
        return computed(context, "hardtanh", self=input, min_val=low, max_val=high)
    return computed(context, "clamp", self=input, min=low, max=high)


def _bound(value: Any, what: str) -> Any:
    if value is None or isinstance(value, Traced):
        return value
    made = number(value, what)
    return None if isinstance(made, float) and math.isnan(made) else made


@operator("Dropout")
def dropout(
    context: Context, data: Any, ratio: Any = 0.5, training_mode: Any = None, *,
    seed: int | None = None,
) -> Any:  # fmt: skip
    """Return the data and, of each element, that it is kept."""
    del seed
    training = training_mode is not None and bool(number(training_mode, "training_mode"))
    if training and (ratio is None or number(ratio, "ratio")):
        raise RefusedError("in training mode")
    if not context.wanted(1):
        return (data,)
    if context.opset < 12:
        raise RefusedError("with its mask, of which nobody says what it holds before opset 12")
    if isinstance(data, Constant):
        ones = np.ones((1,) * len(data.sizes), np.bool_)
        return data, Constant(ones, data.sizes)
    kept = computed(context, "where", condition=data, self=1.0, other=1.0)
    return data, Traced(kept.symbol, kept.axes, kept.dims, "bool")


# ---- Conversions ---------------------------------------------------------------------------------


@operator("Cast")
def cast(
    context: Context, input: Any, *, to: int, saturate: int = 1, round_mode: str = "up"
) -> Any:
    """Return the input as another kind of numbers. How floats of 8 bits are rounded is refused."""
    del saturate, round_mode
    try:
        wanted = dtype_name(to, "to")
    except ModelFileError as error:
        raise RefusedError(str(error)) from None
    return _converted(context, input, wanted)


@operator("CastLike")
def cast_like(
    context: Context, input: Any, target_type: Any, *, saturate: int = 1, round_mode: str = "up"
) -> Any:
    del saturate, round_mode
    wanted = context.declared(1) or target_type.dtype
    return _converted(context, input, wanted)


def _converted(context: Context, value: Any, wanted: str | None) -> Any:
    if wanted not in WHOLE | _FLOATS | {"bool"}:
        raise RefusedError(f"to {wanted}")
    if isinstance(value, Constant):
        return value if value.array.dtype == object else _constant_as(value, wanted)
    if wanted == "bool":
        return value if is_bool(value) else computed(context, "ne", self=value, other=0)
    if wanted in _FLOATS:
        return mapped(value)
    whole = context.whole()
    if whole and wanted in ("uint32", "uint64"):
        raise RefusedError(f"whole numbers, some of which may be below 0, to {wanted}")
    if wanted in _NARROW and whole:
        value = _wrapped(context, value, wanted)
    if value.dtype == "int64":
        return value
    return Traced(Cast("int64")(value.symbol), value.axes, value.dims, "int64")


def _wrapped(context: Context, value: Any, wanted: str) -> Any:
    """Return whole numbers as their lowest bits, of which the first is a sign or not."""
    limits = np.iinfo(_NARROW[wanted])
    count, least = int(limits.max) - int(limits.min) + 1, int(limits.min)
    places = computed(context, "sub", self=value, other=least)
    left = computed(context, "remainder", self=places, other=count)
    return computed(context, "add", self=left, other=least)


def _constant_as(value: Constant, wanted: str) -> Constant:
    array = value.array
    if wanted == "bool":
        return Constant(array != 0, value.sizes)
    if wanted in _FLOATS:
        return Constant(array.astype(np.float32, copy=False), value.sizes, value.name)
    if array.dtype.kind == "f":  # as the op `cast`: what int64 does not hold is 0
        with np.errstate(invalid="ignore"):
            array = np.where(np.abs(array) < 2.0**63, array, 0).astype(np.int64)
    array = array.astype(_NARROW.get(wanted, np.int64)).astype(np.int64)
    if wanted in ("uint32", "uint64") and np.any(array < 0):
        raise RefusedError(f"whole numbers below 0 to {wanted}")
    return Constant(array, value.sizes)
