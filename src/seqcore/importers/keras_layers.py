"""Layers of a Keras config: class and options in, a recipe for one of our layers out; and weights
by name.

Here is what one layer's JSON and arrays mean. Files are formats/hdf5.py's, gate orders
layouts.py's, and how layers are called keras.py's.

Classes come from the fixed table `_CLASSES`. An option is read, known to change no result
(`_is_harmless`), or refused unless it has the one value of `_FIXED`: none is ignored because it is
unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from numpy.typing import NDArray

from .. import layers, layouts
from ..errors import ModelFileError, WeightsError
from ..graph import ActivationSpec
from ..layers import Layer

__all__ = [
    "Config",
    "NotSupportedError",
    "Recipe",
    "check_input",
    "checked_weights",
    "recipe_of",
    "short",
]

Array = NDArray[Any]


class NotSupportedError(Exception):
    """Why one layer is not supported; the importer collects them into UnsupportedLayerError."""


@dataclass(frozen=True)
class Recipe:
    """A layer that waits for its weights.

    Attributes
    ----------
    build : callable
        Makes the layer of its weights, given in the order of `weights`.
    weights : tuple of (str, shape)
        Names such as "kernel", in a Bidirectional "forward_kernel"; None in a shape is a size that
        the config leaves open: the features of the input, which the model's plan checks.
    recurrent, ids : bool
        Whether values after the first are initial states; whether it reads token ids.
    """

    build: Callable[[list[Array]], Layer]
    weights: tuple[tuple[str, tuple[int | None, ...]], ...] = ()
    recurrent: bool = False
    ids: bool = False


# ---- The config of one layer --------------------------------------------------------------------

# Options that must have one value, because another would change results.
_FIXED: Mapping[str, Any] = {
    "mask_zero": False,
    "stateful": False,
    "time_major": False,
    "zero_output_for_mask": False,
    "data_format": "channels_last",
    "keepdims": False,
    "sparse": False,
    "ragged": False,
    "optional": False,
    "lora_rank": None,
    "quantization_config": None,
}
# Options that are read elsewhere, or change nothing when a trained network runs.
_HARMLESS = frozenset(
    [
        "name",
        "trainable",
        "batch_input_shape",
        "batch_shape",
        "input_length",
        "seed",
        "noise_shape",
        "dropout",
        "recurrent_dropout",
        "unroll",
        "implementation",
        "unit_forget_bias",
    ]
)
_HARMLESS_ENDINGS = ("_initializer", "_regularizer", "_constraint")
_REQUIRED = object()


def _is_harmless(option: str) -> bool:
    return option in _HARMLESS or option.endswith(_HARMLESS_ENDINGS)


class Config:
    """Class and options of one layer. Each option is taken; `finish` refuses what nobody took."""

    def __init__(self, source: str, major: int, entry: Any, name: str | None = None) -> None:
        self.source = source
        self.major = major
        values = entry.get("config") if isinstance(entry, dict) else None
        if not isinstance(values, dict) or not isinstance(entry.get("class_name"), str):
            raise ModelFileError(
                f"{source}: expected a layer's class_name and config; found {short(entry)}"
            )
        self.entry = entry
        self.kind: str = entry["class_name"]
        self.values: dict[str, Any] = values
        own = name or values.get("name") or entry.get("name") or self.kind
        if not isinstance(own, str):
            raise ModelFileError(f"{source}: a layer's name is a string; found {short(own)}")
        self.name = own
        self._left = dict(values)

    def contradicts(self, what: str) -> NoReturn:
        raise ModelFileError(f"{self.source}: layer {self.name!r} ({self.kind}): {what}")

    def take(self, option: str, default: Any = _REQUIRED) -> Any:
        self._left.pop(option, None)
        value = self.values.get(option, default)
        return self.contradicts(f"the config lacks {option!r}") if value is _REQUIRED else value

    def size(self, option: str, default: Any = _REQUIRED) -> int:
        """Take a whole number of at least 1, which 1-D layers write as a list of one."""
        value = self.take(option, default)
        number = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number < 1 << 31:
            self.contradicts(f"{option} is a whole number of at least 1; found {short(value)}")
        return number

    def flag(self, option: str, default: Any = _REQUIRED) -> bool:
        value = self.take(option, default)
        if not isinstance(value, bool):
            self.contradicts(f"{option} is true or false; found {short(value)}")
        return value

    def number(self, option: str, default: Any = _REQUIRED) -> float:
        value = self.take(option, default)
        if isinstance(value, dict) and value.get("type") == "ndarray":  # early Keras 2
            value = value.get("value")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.contradicts(f"{option} is a number; found {short(value)}")
        return value

    def activation(self, option: str) -> ActivationSpec:
        return _activation(self.take(option), self)

    def child(self, entry: Any) -> Config:
        """Return the config of a layer inside this one."""
        return Config(self.source, self.major, entry)

    def finish(self) -> None:
        """Refuse every option that is left, for all of them at once."""
        reasons = []
        dtype = _dtype(self._left.pop("dtype", None))
        if dtype != "float32":
            reasons.append(f"dtype {dtype}; only float32 is")
        for option, value in self._left.items():
            if option in _FIXED:
                fixed = _FIXED[option]
                if value != fixed or type(value) is not type(fixed):
                    reasons.append(f"{option}={short(value)}")
            elif not _is_harmless(option):
                reasons.append(f"unknown option {option}={short(value)}")
        if reasons:
            raise NotSupportedError("not supported: " + ", ".join(reasons))


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _dtype(value: Any) -> str:
    """Return the name of a dtype or policy, in the forms of all versions."""
    if isinstance(value, dict):
        config = value.get("config")
        value = config.get("name") if isinstance(config, dict) else value
    return "float32" if value is None else value if isinstance(value, str) else short(value)


# ---- Activations --------------------------------------------------------------------------------

_BY_NAME: Mapping[str, ActivationSpec] = {
    name: ActivationSpec(name)
    for name in [
        "linear",
        "tanh",
        "sigmoid",
        "relu",
        "softplus",
        "softsign",
        "exponential",
        "elu",
        "selu",
        "gelu",
        "swish",
        "softmax",
    ]
}
# A name outside of its own version's table is a function of the user's, whatever it is called.
_ACTIVATIONS: Mapping[int, Mapping[str, ActivationSpec]] = {
    2: {**_BY_NAME, "hard_sigmoid": ActivationSpec("hard_sigmoid", 0.2, 0.5)},
    3: {
        **_BY_NAME,
        "silu": ActivationSpec("silu"),
        "hard_sigmoid": ActivationSpec("hard_sigmoid", 1 / 6, 0.5),
        "leaky_relu": ActivationSpec("leaky_relu", 0.2),
    },
}


def _activation(value: Any, config: Config) -> ActivationSpec:
    """Return what an option means: None, a name, a Keras 3 function, or a layer as function."""
    if value is None:
        return ActivationSpec("linear")
    if isinstance(value, dict):
        kind = value.get("class_name")
        if isinstance(kind, str) and kind in _ACTIVATION_LAYERS:
            inner = config.child(value)
            _check_origin(inner)
            return _layer_activation(inner)
        if kind == "function" and value.get("module") == "keras.activations":
            value = value.get("config")
    known = _ACTIVATIONS[config.major]
    if not isinstance(value, str) or value not in known:
        raise NotSupportedError(
            f"the activation {short(value)} is not supported for Keras {config.major}"
        )
    return known[value]


def _layer_activation(c: Config) -> ActivationSpec:
    """Return what a layer that is nothing but an activation computes."""
    spec = _ACTIVATION_LAYERS[c.kind](c)
    c.finish()
    return spec


def _relu(c: Config) -> ActivationSpec:
    if c.take("max_value", None) is not None:
        raise NotSupportedError("max_value is not supported")
    if c.take("threshold", 0.0) not in (0.0, None):
        raise NotSupportedError("threshold is not supported")
    slope = c.number("negative_slope", 0.0)
    return ActivationSpec("leaky_relu", slope) if slope else ActivationSpec("relu")


def _softmax(c: Config) -> ActivationSpec:
    if c.take("axis", -1) != -1:
        raise NotSupportedError("an axis other than the last (-1) is not supported")
    return ActivationSpec("softmax")


_ACTIVATION_LAYERS: Mapping[str, Callable[[Config], ActivationSpec]] = {
    "Activation": lambda c: c.activation("activation"),
    "ReLU": _relu,
    "LeakyReLU": lambda c: ActivationSpec(
        "leaky_relu", c.number("negative_slope" if c.major == 3 else "alpha")
    ),
    "ELU": lambda c: ActivationSpec("elu", c.number("alpha")),
    "Softmax": _softmax,
}

# ---- Classes ------------------------------------------------------------------------------------


def _activation_recipe(c: Config) -> Recipe:
    spec = _ACTIVATION_LAYERS[c.kind](c)
    return Recipe(lambda _: layers.Activation(spec, name=c.name))


def _recurrent(c: Config) -> Recipe:
    kind: Any = getattr(layers, c.kind)
    units = c.size("units")
    width = layouts.GATES[c.kind] * units
    options = {name: c.flag(name) for name in ("return_sequences", "go_backwards")}
    options["return_state"] = c.flag("return_state", False)
    options["use_bias"] = c.flag("use_bias")
    activations = {"activation": c.activation("activation")}
    if c.kind != "SimpleRNN":
        activations["recurrent_activation"] = c.activation("recurrent_activation")
    bias: tuple[int, ...] = (width,)
    if c.kind == "GRU":
        # The first Keras 2 had no such option, and reset the state before the product.
        options["reset_after"] = c.flag("reset_after", False)
        bias = (2, width) if options["reset_after"] else bias
    weights: list[Any] = [("kernel", (None, width)), ("recurrent_kernel", (units, width))]
    if options["use_bias"]:
        weights.append(("bias", bias))
    return Recipe(
        lambda arrays: kind.from_keras(arrays, name=c.name, **options, **activations),
        tuple(weights),
        recurrent=True,
    )


def _bidirectional(c: Config) -> Recipe:
    merge_mode = c.take("merge_mode")
    entry = c.take("layer")
    backward_entry = c.take("backward_layer", None)
    halves = [c.child(entry), c.child(backward_entry or entry)]
    if backward_entry is None:
        halves[1] = _with_options(halves[1], go_backwards=not halves[1].values.get("go_backwards"))
    if halves[0].values.get("go_backwards"):
        raise NotSupportedError("a forward layer with go_backwards=True is not supported")
    recipes = []
    for half in halves:
        if half.kind not in ("SimpleRNN", "LSTM", "GRU"):
            raise NotSupportedError(f"of {half.kind} is not supported")
        # Bidirectional sets it so, and it matters to masks alone, which are refused where they
        # arise.
        if half.values.get("zero_output_for_mask") == half.values.get("return_sequences"):
            half = _with_options(half, zero_output_for_mask=False)
        recipes.append(recipe_of(half))
    count = len(recipes[0].weights)
    weights = [
        (f"{way}_{name}", shape)
        for way, recipe in zip(_WAYS, recipes, strict=True)
        for name, shape in recipe.weights
    ]

    def build(arrays: list[Array]) -> Layer:
        forward, backward = recipes[0].build(arrays[:count]), recipes[1].build(arrays[count:])
        assert isinstance(forward, layers.Recurrent)
        assert isinstance(backward, layers.Recurrent)
        return layers.Bidirectional(forward, backward, merge_mode=merge_mode, name=c.name)

    return Recipe(build, tuple(weights), recurrent=True)


def _with_options(config: Config, **options: Any) -> Config:
    return config.child({**config.entry, "config": {**config.values, **options}})


def _time_distributed(c: Config) -> Recipe:
    child = c.child(c.take("layer"))
    if child.kind in ("Add", "Multiply", "Concatenate", "InputLayer"):
        raise NotSupportedError(f"of {child.kind} is not supported")
    inner = recipe_of(child)
    return Recipe(
        lambda arrays: layers.TimeDistributed(inner.build(arrays), name=c.name),
        inner.weights,
        ids=inner.ids,
    )


def _affine_weights(use_bias: bool, *kernel: int | None) -> tuple[Any, ...]:
    weights = (("kernel", kernel), ("bias", (kernel[-1],)))
    return weights if use_bias else weights[:1]


def _dense(c: Config) -> Recipe:
    units, use_bias, activation = c.size("units"), c.flag("use_bias"), c.activation("activation")
    return Recipe(
        lambda arrays: layers.Dense.from_keras(arrays, activation=activation, name=c.name),
        _affine_weights(use_bias, None, units),
    )


def _conv1d(c: Config) -> Recipe:
    filters, width, use_bias = c.size("filters"), c.size("kernel_size"), c.flag("use_bias")
    options: dict[str, Any] = {
        name: c.size(name, 1) for name in ("strides", "dilation_rate", "groups")
    }
    padding, activation = c.take("padding"), c.activation("activation")
    return Recipe(
        lambda arrays: layers.Conv1D(
            *arrays, padding=padding, activation=activation, name=c.name, **options
        ),
        _affine_weights(use_bias, width, None, filters),
    )


def _embedding(c: Config) -> Recipe:
    shape = (c.size("input_dim"), c.size("output_dim"))
    return Recipe(
        lambda arrays: layers.Embedding.from_keras(arrays, name=c.name),
        (("embeddings", shape),),
        ids=True,
    )


def _max_pooling(c: Config) -> Recipe:
    pool_size, padding = c.size("pool_size"), c.take("padding")
    strides = None if c.values.get("strides") is None else c.size("strides")
    c.take("strides", None)
    return Recipe(
        lambda _: layers.MaxPooling1D(pool_size, strides=strides, padding=padding, name=c.name)
    )


def _concatenate(c: Config) -> Recipe:
    axis = c.take("axis")
    if axis == 0:
        raise NotSupportedError("axis=0, the batch, is not supported")
    return Recipe(lambda _: layers.Concatenate(axis, name=c.name))


def _dropout(c: Config) -> Recipe:
    rate = c.number("rate")
    return Recipe(lambda _: layers.Dropout(rate, name=c.name))


def _plain(c: Config) -> Recipe:
    return Recipe(lambda _: getattr(layers, c.kind)(name=c.name))


_CLASSES: Mapping[str, Callable[[Config], Recipe]] = {
    **dict.fromkeys(["SimpleRNN", "LSTM", "GRU"], _recurrent),
    **dict.fromkeys(["Add", "Multiply", "Flatten"], _plain),
    **dict.fromkeys(["GlobalAveragePooling1D", "GlobalMaxPooling1D"], _plain),
    **dict.fromkeys(["Dropout", "SpatialDropout1D"], _dropout),
    **dict.fromkeys(_ACTIVATION_LAYERS, _activation_recipe),
    "Bidirectional": _bidirectional,
    "Concatenate": _concatenate,
    "Conv1D": _conv1d,
    "Dense": _dense,
    "Embedding": _embedding,
    "MaxPooling1D": _max_pooling,
    "TimeDistributed": _time_distributed,
}
_WHY_NOT: Mapping[str, str] = {
    "Lambda": "a Lambda is code, and code in a file is not run",
    "TFOpLambda": "operations outside of layers are not supported",
    "Masking": "masks are not supported",
    **dict.fromkeys(["CuDNNLSTM", "CuDNNGRU"], "CuDNN's own layers are not supported"),
    **dict.fromkeys(["Model", "Functional", "Sequential"], "nested models are not supported"),
}


def _check_origin(c: Config) -> None:
    """Refuse a class that is not Keras's own, where the file says whose it is."""
    if c.entry.get("registered_name") or c.entry.get("module") not in (None, "keras.layers"):
        origin = c.entry.get("registered_name") or f"{c.entry.get('module')}.{c.kind}"
        raise NotSupportedError(f"{short(origin)} is not one of Keras's own layers")


_INPUT_DTYPES = frozenset(
    ["float32", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"]
)


def check_input(c: Config) -> None:
    """Refuse an InputLayer with options that change results."""
    _check_origin(c)
    dtype = _dtype(c.take("dtype", None))
    if dtype not in _INPUT_DTYPES:
        raise NotSupportedError(f"an input of {dtype} is not supported")
    c.finish()


def recipe_of(c: Config) -> Recipe:
    """Translate one layer; raise `NotSupportedError` with what stands against it."""
    if c.kind not in _CLASSES:
        raise NotSupportedError(_WHY_NOT.get(c.kind, f"the class {short(c.kind)} is not supported"))
    _check_origin(c)
    recipe = _CLASSES[c.kind](c)
    c.finish()
    return recipe


# ---- Weights ------------------------------------------------------------------------------------

_WAYS = ("forward", "backward")


def _role(path: str, roles: Iterable[str]) -> str:
    """Return which weight a path such as "bidirectional/forward_lstm/lstm_cell/kernel:0" names."""
    *scopes, leaf = re.sub(r":\d+$", "", path).split("/")
    known = {role.removeprefix("forward_").removeprefix("backward_") for role in roles}
    if leaf not in known:
        leaf = re.sub(r"_\d+$", "", leaf)  # TensorFlow 1 numbers a name that is taken
    ways = [way for scope in scopes for way in _WAYS if scope.startswith(way + "_")]
    return f"{ways[-1]}_{leaf}" if ways and f"{ways[-1]}_{leaf}" in roles else leaf


def _arranged(
    roles: Sequence[str], found: Sequence[tuple[str, Array]], where: str
) -> list[tuple[str, Array]]:
    """Return a layer's weights in the order of `roles`: by name, or as they come."""
    named = [_role(path, roles) for path, _ in found]
    if sorted(named) == sorted(roles):
        return [found[named.index(role)] for role in roles]
    leaves = [re.sub("^(forward|backward)_", "", role) for role in roles]
    if len(found) == len(roles):
        # The two layers of a Bidirectional need not be called forward_ and backward_ something.
        in_order = all(
            n in (role, leaf) for n, role, leaf in zip(named, roles, leaves, strict=True)
        )
        if in_order or not set(named) & {*leaves, *roles}:
            return list(found)
    missing = [role for role in roles if role not in named]
    left_over = [path for (path, _), role in zip(found, named, strict=True) if role not in roles]
    raise WeightsError(
        f"{where}: expected the weights {list(roles)}; found {[path for path, _ in found]} "
        f"(missing {missing}, left over {left_over})"
    )


def checked_weights(recipe: Recipe, found: Sequence[tuple[str, Array]], where: str) -> list[Array]:
    """Return a layer's weights in its recipe's order, each of the shape that the config says."""
    arranged = _arranged([role for role, _ in recipe.weights], found, where)
    for (role, shape), (path, array) in zip(recipe.weights, arranged, strict=True):
        fits = array.ndim == len(shape) and all(
            size in (None, given) for size, given in zip(shape, array.shape, strict=True)
        )
        if not fits:
            expected = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
            raise WeightsError(
                f"{where}, weight {path!r} ({role}): expected shape {expected}, found {array.shape}"
            )
        if array.dtype.kind != "f":
            raise WeightsError(f"{where}, weight {path!r}: expected floats, found {array.dtype}")
    return [array for _, array in arranged]
