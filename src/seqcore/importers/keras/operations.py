"""Operations outside of layers, which functional configs hold as nodes: of Keras 3, and Keras 2's
TFOpLambda and SlicingOpLambda.

Where an operation is arithmetic that we have, it becomes one of our layers; masks become
expressions (booleans.py); all others are refused by their names. Names are dispatched on together
with where they come from: Add is a layer too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ... import layers
from ...errors import OptionError
from ...graph import ActivationSpec
from ...layers import Input, Layer, Symbol
from .booleans import BOOLEANS, Boolean
from .calls import ONE_HOT
from .config import Config, NotSupportedError, short

__all__ = ["COMPARISONS", "OPERATIONS", "is_known", "is_operation", "name_of", "reads_ids", "run"]

_LAMBDAS = ("TFOpLambda", "SlicingOpLambda")
_KERAS_OPS = ("keras.src.ops.", "keras.ops.", "keras.src.layers.core.tf_op")
# Names of arguments, which TensorFlow's and Keras 3's functions give differently.
_AXIS = ("axis", "axes")
_PLAIN_AXES = (-1, 1, 2, 3, 4, 5)  # the last one, or one behind the batch


def is_operation(c: Config) -> bool:
    module = c.entry.get("module")
    if module is None and c.major == 3:
        # A legacy .h5 does not say where a class is from; every layer can be trained or not.
        return (c.kind in OPERATIONS or c.kind in BOOLEANS) and "trainable" not in c.values
    return c.kind in _LAMBDAS or (isinstance(module, str) and module.startswith(_KERAS_OPS))


def name_of(c: Config) -> str:
    """Return the operation's name: "Multiply" of Keras 3, "math.multiply" of TensorFlow."""
    name = c.values.get("function") if c.kind in _LAMBDAS else c.kind
    return name if isinstance(name, str) else c.contradicts(f"its function is {short(name)}")


def is_known(c: Config) -> bool:
    """Whether an operation is supported with some arguments."""
    return name_of(c) in OPERATIONS or name_of(c) in BOOLEANS


def reads_ids(c: Config) -> bool:
    """Whether token ids may go into it."""
    return is_operation(c) and name_of(c) in COMPARISONS


def returns_its_input(c: Config) -> bool:
    """Whether an operation of Keras 3 returns the very tensor that it is given, mask and all."""
    return is_operation(c) and c.kind in _CONVERSIONS


COMPARISONS = ("NotEqual", "math.not_equal")
_CONVERSIONS = ("Cast", "ConvertToTensor")  # float32, which it was, to float32


def run(c: Config, args: list[Any], kwargs: dict[str, Any]) -> Sequence[Any]:
    """Return what an operation gives: symbols, or a boolean.

    Raises
    ------
    NotSupportedError
        Naming the operation.
    """
    name = name_of(c)
    options = {} if c.kind in _LAMBDAS else _settings(c)
    given = {key: value for key, value in (options | kwargs).items() if key != "name"}
    booleans = any(isinstance(value, Boolean) for value in _flat([args, given]))
    if name in BOOLEANS and (booleans or name not in OPERATIONS or given.get("dtype") == "bool"):
        ids = bool(args) and isinstance(args[0], Input) and args[0].dtype == "int64"
        return [_called(name, BOOLEANS[name], [ids, *args], given)]
    if booleans:
        raise NotSupportedError(f"{name} of a mask is not supported")
    if name not in OPERATIONS:
        raise NotSupportedError(f"the operation {name} is not supported")
    try:
        made = _called(name, OPERATIONS[name], [c.name, *args], given)
        return [made if returns_its_input(c) else _unmasked(made)]
    except OptionError as error:
        raise NotSupportedError(f"{name}: {error}") from error


def _unmasked(made: Symbol) -> Symbol:
    """Return what an operation gives: unlike the layer that computes it here, it drops masks."""
    call = made.call
    assert call is not None
    return Symbol(replace(call, masks=(None,) * len(call.inputs)), made.index)


def _settings(c: Config) -> dict[str, Any]:
    """Return what the config of a Keras 3 operation says; null is what it was not given."""
    return {
        key: value
        for key, value in c.values.items()
        if key not in ("name", "dtype", "trainable")
        or (key == "dtype" and (value == "bool" or c.kind in (*_CONVERSIONS, ONE_HOT)))
    }


def _called(name: str, function: Callable[..., Any], args: list[Any], given: dict[str, Any]) -> Any:
    try:
        return function(*args, **given)
    except TypeError as error:
        raise NotSupportedError(
            f"{name} with these arguments is not supported ({error})"
        ) from error


def _flat(value: Any) -> Any:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _flat(item)
    else:
        yield value


# ---- Arithmetic ---------------------------------------------------------------------------------


def _number(value: Any, what: str) -> Any:
    """Return a constant, of any shape."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        array = np.asarray(None)
    # float32's range: Keras would compute with infinity
    if array.dtype.kind not in "fiu" or not (abs(array) <= float(np.finfo(np.float32).max)).all():
        raise NotSupportedError(f"{what} with {short(value)} is not supported")
    return array.astype(np.float64)


def _affine(name: str, x: Symbol, scale: Any, offset: Any) -> Any:
    return layers.Rescaling(scale, offset, name=name)(x)


def _binary(
    merge: type[Layer], constant: Callable[[str, Symbol, Any, bool], Any]
) -> Callable[..., Any]:
    """Return an operation of two values, of which one can be a constant (the first if `turned`)."""

    def run(name: str, x1: Any = None, x2: Any = None, **tf: Any) -> Any:
        a, b = tf.pop("x", x1), tf.pop("y", x2 if "x" not in tf else x1)
        if a is None and x1 is not None:
            a = x1
        if tf:
            raise TypeError(f"unknown {sorted(tf)}")
        if isinstance(a, Symbol) and isinstance(b, Symbol):
            return _aligned(merge(name=name))(a, b)
        if isinstance(a, Symbol):
            return constant(name, a, _number(b, merge.__name__), False)
        if isinstance(b, Symbol):
            return constant(name, b, _number(a, merge.__name__), True)
        raise NotSupportedError("an operation of constants alone")

    return run


def _aligned(layer: Any) -> Any:
    """Let a layer take values of one rank: operations align the last axes, layers the batch."""
    layer.same_ranks = True
    return layer


def _subtract(name: str, x: Symbol, number: Any, turned: bool) -> Any:
    return _affine(name, x, -1.0, number) if turned else _affine(name, x, 1.0, -number)


def _divide(name: str, x: Symbol, number: Any, turned: bool) -> Any:
    if not turned:
        if (abs(number) < np.finfo(np.float32).tiny).any():
            raise NotSupportedError("a division by 0")
        return _affine(name, x, 1 / number, 0.0)
    inverse = layers.Unary("reciprocal", name=f"{name}/inverse")(x)
    return _affine(name, inverse, number, 0.0)


def _bound(function: str) -> Callable[[str, Symbol, Any, bool], Any]:
    def run(name: str, x: Symbol, number: Any, _turned: bool) -> Any:
        if function == "maximum" and number.ndim == 0 and number == 0:
            return layers.Activation("relu", name=name)(x)
        raise NotSupportedError(f"the {function} of a value and a number is not supported")

    return run


def _unary(function: str) -> Callable[..., Any]:
    return lambda name, x: layers.Unary(function, name=name)(_symbol(x))


def _activation(kind: str, last: Sequence[int | None] = (-1,)) -> Callable[..., Any]:
    """Return an activation; of those over an axis, `last` says that it is the last one."""

    def run(name: str, x: Any = None, **options: Any) -> Any:
        x = options.pop("features", options.pop("logits", x))
        axis = options.pop("axis", -1)
        if kind == "softmax" and axis is not None and axis not in last:
            return layers.Softmax(axis, name=name)(_symbol(x))
        if axis not in last:
            raise NotSupportedError(f"{kind} over axis {axis} is not supported")
        spec = ActivationSpec(kind, **_renamed(options))
        return layers.Activation(spec, name=name)(_symbol(x))

    return run


def _renamed(options: dict[str, Any]) -> dict[str, Any]:
    known = {"negative_slope": "alpha", "alpha": "alpha"}
    if not set(options) <= set(known):
        raise TypeError(f"unknown {sorted(options)}")
    return {known[name]: value for name, value in options.items() if value is not None}


def _gelu(name: str, x: Any, approximate: Any = True) -> Any:
    if not isinstance(approximate, bool):
        raise NotSupportedError(f"approximate={short(approximate)} is not supported")
    return layers.Activation("gelu_tanh" if approximate else "gelu", name=name)(_symbol(x))


def _power(name: str, x1: Any = None, x2: Any = None, x: Any = None, y: Any = None) -> Any:
    base, exponent = (x1 if x is None else x), (x2 if y is None else y)
    functions = {2.0: "square", 0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}
    if not isinstance(base, Symbol) or isinstance(exponent, (Symbol, list)):
        raise NotSupportedError("a power whose exponent is no number is not supported")
    if exponent not in functions:
        raise NotSupportedError(f"a power of {short(exponent)} is not supported")
    return layers.Unary(functions[exponent], name=name)(base)


# ---- Axes ---------------------------------------------------------------------------------------


def _symbol(value: Any) -> Symbol:
    if not isinstance(value, Symbol):
        raise NotSupportedError(f"an operation on the constant {short(value)}")
    return value


def _reduce(function: str) -> Callable[..., Any]:
    def run(name: str, x: Any = None, axis: Any = None, keepdims: Any = False, **tf: Any) -> Any:
        x = tf.pop("input_tensor", x)
        if tf.pop("initial", None) is not None:
            raise NotSupportedError(f"{function} with an initial value is not supported")
        if tf or axis is None or 0 in (axis if isinstance(axis, (list, tuple)) else [axis]):
            raise NotSupportedError(
                f"{function} over all axes, or over the batch, is not supported"
            )
        made = layers.Reduce(
            function, axis, keepdims=False if keepdims is None else keepdims, name=name
        )
        return made(_symbol(x))

    return run


def _get_item(name: str, x: Any, key: Any = None, slice_spec: Any = None) -> Any:
    found = key if slice_spec is None else slice_spec
    parts = found if isinstance(found, list) else [found]
    return layers.GetItem(tuple(parts), name=name)(_symbol(x))


def _expand_dims(name: str, x: Any = None, axis: Any = None, **tf: Any) -> Any:
    x = tf.pop("input", x)
    if tf or type(axis) is not int or axis not in _PLAIN_AXES:
        raise NotSupportedError(f"a new axis {short(axis)} is not supported")
    key = (..., None) if axis == -1 else (*[slice(None)] * axis, None)
    return layers.GetItem(key, name=name)(_symbol(x))


def _squeeze(name: str, x: Any = None, axis: Any = None, **tf: Any) -> Any:
    x = tf.pop("input", x)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if tf or type(axis) is not int or axis not in _PLAIN_AXES:
        raise NotSupportedError(f"taking out axis {short(axis)} is not supported")
    key = (..., 0) if axis == -1 else (*[slice(None)] * axis, 0)
    return layers.GetItem(key, name=name)(_symbol(x))


def _reshape(name: str, x: Any = None, newshape: Any = None, **tf: Any) -> Any:
    x, shape = tf.pop("tensor", x), tf.pop("shape", newshape)
    if tf or not isinstance(shape, list) or len(shape) < 2 or shape[0] not in (-1, None):
        raise NotSupportedError(
            f"a reshape to {short(shape)}, the batch included, is not supported"
        )
    sizes = [-1 if size is None else size for size in shape[1:]]
    return layers.Reshape(tuple(sizes), name=name)(_symbol(x))


def _transpose(name: str, x: Any = None, axes: Any = None, **tf: Any) -> Any:
    x, axes = tf.pop("a", x), tf.pop("perm", axes)
    if tf or not isinstance(axes, list) or not axes or axes[0] != 0:
        raise NotSupportedError(f"a transposition {short(axes)} is not supported")
    return layers.Permute(tuple(axes[1:]), name=name)(_symbol(x))


def _concatenate(name: str, xs: Any = None, axis: Any = 0, **tf: Any) -> Any:
    xs = tf.pop("values", xs)
    if tf or not isinstance(xs, list) or len(xs) < 2:
        raise NotSupportedError("a concatenation of one value is not supported")
    return layers.Concatenate(axis, name=name)(*map(_symbol, xs))


def _matmul(name: str, x1: Any = None, x2: Any = None, **tf: Any) -> Any:
    a, b = tf.pop("a", x1), tf.pop("b", x2)
    turned = [tf.pop("transpose_a", False), tf.pop("transpose_b", False)]
    if any(value not in (False, None) for value in tf.values()):
        raise NotSupportedError(f"a product with {sorted(tf)} is not supported")
    if not isinstance(a, Symbol) or not isinstance(b, Symbol):
        raise NotSupportedError("a product with a constant is not supported")
    axes = (1 if turned[0] else 2, 2 if turned[1] else 1)
    return _aligned(layers.Dot(axes, name=name))(a, b)


def _same(name: str, x: Any = None, **_options: Any) -> Any:
    return layers.Activation("linear", name=name)(_symbol(x))


def _cast(name: str, x: Any = None, dtype: Any = "float32", **layout: Any) -> Any:
    if dtype not in ("float32", None) or any(layout.values()):
        raise NotSupportedError(f"a conversion to {short(dtype)} is not supported")
    return _same(name, x)


def _one_hot(
    name: str, x: Any = None, num_classes: Any = None, axis: Any = -1, dtype: Any = None,
    sparse: Any = False,
) -> Any:  # fmt: skip
    if axis != -1 or dtype not in ("float32", None) or sparse not in (False, None):
        options = f"axis={short(axis)}, dtype={short(dtype)}, sparse={short(sparse)}"
        raise NotSupportedError(f"one-hot vectors with {options} are not supported")
    return layers.OneHot(num_classes, name=name)(_symbol(x))


_ADD = _binary(layers.Add, lambda name, x, number, _: _affine(name, x, 1.0, number))
_SUBTRACT = _binary(layers.Subtract, _subtract)
_MULTIPLY = _binary(layers.Multiply, lambda name, x, number, _: _affine(name, x, number, 0.0))
_DIVIDE = _binary(layers.Divide, _divide)

# By the names of Keras 3 and of TensorFlow. Each takes the node's name, then its arguments.
OPERATIONS: Mapping[str, Callable[..., Any]] = {
    **dict.fromkeys(["Add", "math.add", "__operators__.add"], _ADD),
    **dict.fromkeys(["Subtract", "math.subtract", "__operators__.subtract"], _SUBTRACT),
    **dict.fromkeys(["Multiply", "math.multiply", "__operators__.multiply"], _MULTIPLY),
    **dict.fromkeys(["Divide", "TrueDivide", "math.truediv", "math.divide"], _DIVIDE),
    **dict.fromkeys(["Maximum", "math.maximum"], _binary(layers.Maximum, _bound("maximum"))),
    **dict.fromkeys(["Minimum", "math.minimum"], _binary(layers.Minimum, _bound("minimum"))),
    **dict.fromkeys(["Negative", "math.negative"], _unary("negative")),
    **dict.fromkeys(["Absolute", "Abs", "math.abs"], _unary("abs")),
    **dict.fromkeys(["Square", "math.square"], _unary("square")),
    **dict.fromkeys(["Sqrt", "math.sqrt"], _unary("sqrt")),
    **dict.fromkeys(["Rsqrt", "math.rsqrt"], _unary("rsqrt")),
    **dict.fromkeys(["Reciprocal", "math.reciprocal"], _unary("reciprocal")),
    **dict.fromkeys(["Log", "math.log"], _unary("log")),
    **dict.fromkeys(["Exp", "math.exp"], _activation("exponential")),
    **dict.fromkeys(["Power", "math.pow"], _power),
    **dict.fromkeys(["Tanh", "math.tanh", "nn.tanh"], _activation("tanh")),
    **dict.fromkeys(["Sigmoid", "math.sigmoid", "nn.sigmoid"], _activation("sigmoid")),
    **dict.fromkeys(["Relu", "nn.relu"], _activation("relu")),
    "Relu6": _activation("relu6"),
    # None is the last axis in TensorFlow; in Keras 3 it is all of them, the batch included
    "Softmax": _activation("softmax"),
    "nn.softmax": _activation("softmax", (-1, None)),
    "LogSoftmax": _activation("log_softmax"),
    "nn.log_softmax": _activation("log_softmax", (-1, None)),
    **dict.fromkeys(["Softplus", "math.softplus"], _activation("softplus")),
    **dict.fromkeys(["Softsign", "nn.softsign"], _activation("softsign")),
    **dict.fromkeys(["Silu", "nn.silu"], _activation("silu")),
    "HardSigmoid": _activation("hard_sigmoid"),
    "HardSilu": _activation("hard_silu"),
    "LogSigmoid": _activation("log_sigmoid"),
    "LeakyRelu": _activation("leaky_relu"),
    "Elu": _activation("elu"),
    "Selu": _activation("selu"),
    "Gelu": _gelu,
    **dict.fromkeys(["Mean", "math.reduce_mean"], _reduce("mean")),
    **dict.fromkeys(["Sum", "math.reduce_sum"], _reduce("sum")),
    **dict.fromkeys(["Max", "math.reduce_max"], _reduce("max")),
    **dict.fromkeys(["Min", "math.reduce_min"], _reduce("min")),
    **dict.fromkeys(["GetItem", "__operators__.getitem"], _get_item),
    **dict.fromkeys(["ExpandDims", "expand_dims"], _expand_dims),
    **dict.fromkeys(["Squeeze", "squeeze"], _squeeze),
    **dict.fromkeys(["Reshape", "reshape"], _reshape),
    **dict.fromkeys(["Transpose", "transpose"], _transpose),
    **dict.fromkeys(["Concatenate", "concat"], _concatenate),
    **dict.fromkeys(["Matmul", "linalg.matmul"], _matmul),
    ONE_HOT: _one_hot,
    **dict.fromkeys(["Cast", "cast", "ConvertToTensor", "convert_to_tensor"], _cast),
    **dict.fromkeys(
        [
            "Identity",
            "identity",
            "StopGradient",
            "stop_gradient",
        ],
        _same,
    ),
}
