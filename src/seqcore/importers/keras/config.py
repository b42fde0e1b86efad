"""Configs of Keras layers, in the forms of all versions: class, options, activations.

A class declares the options that it takes (classes.py), each as an `Option`. All others are known
to change no result, or have the one value that is supported, or are refused: none is ignored
because it is unknown. docs/keras.md is written from these tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from ...errors import ModelFileError
from ...graph import ActivationSpec

__all__ = [
    "COMMON",
    "MODELS",
    "Config",
    "NotSupportedError",
    "Option",
    "Version",
    "activation",
    "any_of",
    "axis",
    "flag",
    "ignored",
    "maybe",
    "number",
    "only",
    "plain",
    "raw",
    "short",
    "size",
]


MODELS = ("Sequential", "Functional", "Model")


class NotSupportedError(Exception):
    """Why one layer is not supported; the importer collects them into UnsupportedLayerError."""


def plain(name: str) -> str:
    """Return a name out of a file for a message: as it is, if it can be read."""
    return name if name.isprintable() and len(name) <= 60 else short(name)


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# ---- Options ------------------------------------------------------------------------------------

_REQUIRED = object()


@dataclass(frozen=True)
class Option:
    """How one option of a config is read.

    Attributes
    ----------
    told : str
        What it may be, for docs/keras.md.
    read : callable
        (config, option, value) -> value, or an error.
    default : object
        What files without it mean, such as those of versions that had no such option.
    kept : bool
        Whether the layer is made with it.
    """

    told: str
    read: Callable[[Config, str, Any], Any]
    default: Any = _REQUIRED
    kept: bool = True


def _size(c: Config, option: str, value: Any) -> int:
    found = value[0] if isinstance(value, list) and len(value) == 1 else value
    if isinstance(found, bool) or not isinstance(found, int) or not 1 <= found < 1 << 31:
        c.contradicts(f"{option} is a whole number of at least 1; found {short(value)}")
    return found


def _flag(c: Config, option: str, value: Any) -> bool:
    if not isinstance(value, bool):
        c.contradicts(f"{option} is true or false; found {short(value)}")
    return value


def _number(c: Config, option: str, value: Any) -> float:
    if isinstance(value, dict) and value.get("type") == "ndarray":  # early Keras 2
        value = value.get("value")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        c.contradicts(f"{option} is a number; found {short(value)}")
    return value


def _axis(c: Config, option: str, value: Any) -> Any:
    if isinstance(value, dict):  # Keras 3 writes tuples so
        config = value.get("config")
        value = config.get("value") if isinstance(config, dict) else config
    many = value if isinstance(value, list) else [value]
    if not many or not all(type(item) is int and -6 <= item <= 6 for item in many):
        c.contradicts(f"{option} is the number of an axis, or a list of them; found {short(value)}")
    return value


def size(default: Any = _REQUIRED) -> Option:
    """A whole number of at least 1, which 1-D layers write as a list of one."""
    return Option("whole number", _size, default)


def flag(default: Any = _REQUIRED) -> Option:
    return Option("true or false", _flag, default)


def number(default: Any = _REQUIRED) -> Option:
    return Option("number", _number, default)


def axis(default: Any = _REQUIRED) -> Option:
    return Option("axis or axes, not the batch", _axis, default)


def raw(told: str, default: Any = _REQUIRED) -> Option:
    """What the layer itself checks."""

    def read(c: Config, option: str, value: Any) -> Any:
        if value is None and default is _REQUIRED:
            c.contradicts(f"{option} is null")
        return value

    return Option(told, read, default)


def maybe(option: Option) -> Option:
    """The same, or null."""

    def read(c: Config, name: str, value: Any) -> Any:
        return None if value is None else option.read(c, name, value)

    return Option(f"{option.told}, or null", read, None)


def any_of(*values: Any, default: Any = _REQUIRED) -> Option:
    def read(_c: Config, option: str, value: Any) -> Any:
        if not any(value == known and type(value) is type(known) for known in values):
            raise NotSupportedError(f"{option}={short(value)} is not supported")
        return value

    return Option(", ".join(repr(value) for value in values), read, default)


def activation(default: Any = _REQUIRED) -> Option:
    return Option("activation", lambda c, _option, value: activation_of(value, c), default)


def only(value: Any, why: str) -> Option:
    """An option that must have one value."""

    def read(_c: Config, option: str, found: Any) -> Any:
        if found != value or type(found) is not type(value):
            raise NotSupportedError(f"{option}={short(found)}: {why}")

    return Option(f"only {value!r}: {why}", read, value, kept=False)


def ignored(why: str) -> Option:
    """An option that changes no result."""
    return Option(f"any: {why}", lambda _c, _option, value: value, None, kept=False)


_POLICIES = {"float32", "mixed_float16", "mixed_bfloat16"}


def _dtype(_c: Config, option: str, value: Any) -> None:
    if isinstance(value, dict):
        config = value.get("config")
        value = config.get("name") if isinstance(config, dict) else value
    if value is not None and not (isinstance(value, str) and value in _POLICIES):
        raise NotSupportedError(f"{option} {short(value)}; only float32 is supported")


_TRAINING = ignored("it matters to training alone")

# What any class may have.
COMMON: Mapping[str, Option] = {
    "name": ignored("it names the layer"),
    "trainable": ignored("it tells the order of weights in old files"),
    "batch_input_shape": ignored("it is the input's shape"),
    "batch_shape": ignored("it is the input's shape"),
    "input_shape": ignored("it is the input's shape"),
    "input_length": ignored("it is the input's shape"),
    "input_dtype": ignored("an input that an Embedding reads takes ids, others floats"),
    "dtype": Option(
        "float32, or a mixed policy, which is computed in float32", _dtype, None, kept=False
    ),
    "seed": _TRAINING,
    "data_format": only("channels_last", "channels are the last axis here"),
    "lora_rank": only(None, "low-rank adapters must be merged first"),
    "lora_alpha": only(None, "low-rank adapters must be merged first"),
    "quantization_config": only(None, "quantised layers are not supported"),
    "gptq_unpacked_column_size": only(None, "quantised layers are not supported"),
    "sparse": only(False, "tensors are dense here"),
    "ragged": only(False, "tensors are dense here: give lengths"),
    "optional": only(False, "every input is needed here"),
    "activity_regularizer": _TRAINING,
    "synchronized": _TRAINING,
}
_COMMON_ENDINGS = ("_initializer", "_regularizer", "_constraint")


# ---- The config of one layer --------------------------------------------------------------------


@dataclass(frozen=True)
class Version:
    """Keras's version, and what of it changes the meaning of a config.

    Attributes
    ----------
    number : tuple of int
    tensorflow : bool
        Whether it is the Keras of TensorFlow before the two became one ("2.2.4-tf").
    backend : str or None
        On which it ran; Keras 1 did not say.
    """

    number: tuple[int, int, int]
    tensorflow: bool = False
    backend: str | None = None

    @classmethod
    def of(cls, text: str, backend: str | None = None) -> Version | None:
        """Read "3.15.1", "2.2.4-tf" and the like."""
        match = re.match(r"([123])\.(\d{1,4})\.(\d{1,4})(-tf)?", text)
        if not match:
            return None
        major, minor, patch = (int(match[k]) for k in (1, 2, 3))
        return cls((major, minor, patch), match[4] is not None, backend)

    @property
    def major(self) -> int:
        return self.number[0]

    @property
    def zeroes_masked(self) -> bool:
        """Whether both directions of Bidirectional put out zeros at masked frames.

        They do since TensorFlow 2.0; the Keras of its own never did.
        """
        return self.number >= ((2, 2, 4) if self.tensorflow else (2, 4, 0))

    @property
    def mirrors(self) -> bool | None:
        """Whether kernels of convolutions are turned round in time; None where nobody knows."""
        return None if self.major == 1 and self.backend is None else self.backend == "theano"

    @property
    def mask_rule(self) -> str:
        """Which masks merges have: those of Keras 3 came with 3.4."""
        return "keras3" if self.number >= (3, 4, 0) else "keras2"

    @property
    def attends_masks(self) -> bool:
        """Whether MultiHeadAttention sees the masks of what it reads, and hands one on."""
        return self.number >= (2, 10, 0)

    @property
    def strips_masks(self) -> bool:
        """Whether MultiHeadAttention takes the masks away from what it reads, for all others."""
        return self.number >= (3, 8, 0)

    @property
    def zeroes_unseen(self) -> bool:
        """Whether the softmax of MultiHeadAttention is 0, not uniform, where nothing is seen."""
        return self.number >= (3, 10, 0)


class Config:
    """Class and options of one layer.

    Parameters
    ----------
    source : str
        The file, for messages.
    version : Version
        Of Keras, whose meaning options and activations have.
    entry : object
        The layer's JSON.
    name : str, optional
        What a functional model calls the layer.
    nested : callable, optional
        Makes the layer that a model is, inside of this one.
    """

    def __init__(
        self,
        source: str,
        version: Version,
        entry: Any,
        name: str | None = None,
        nested: Callable[[Config], Any] | None = None,
    ) -> None:
        self.source = source
        self.version = version
        self.nested = nested
        values = entry.get("config") if isinstance(entry, dict) else None
        # A Sequential's config was a list before Keras 2.2.3
        if not isinstance(values, (dict, list)) or not isinstance(entry.get("class_name"), str):
            raise ModelFileError(
                f"{source}: expected a layer's class_name and config; found {short(entry)}"
            )
        self.entry = entry
        self.kind: str = entry["class_name"]
        self.values: dict[str, Any] = values if isinstance(values, dict) else {"layers": values}
        own = name or self.values.get("name") or entry.get("name") or self.kind
        if not isinstance(own, str):
            raise ModelFileError(f"{source}: a layer's name is a string; found {short(own)}")
        self.name = own

    @property
    def major(self) -> int:
        return self.version.major

    @property
    def label(self) -> str:
        return f"{plain(self.name)} ({plain(self.kind)})"

    def contradicts(self, what: str) -> NoReturn:
        raise ModelFileError(
            f"{self.source}: layer {short(self.name)} ({plain(self.kind)}): {what}"
        )

    def child(self, entry: Any, name: str | None = None) -> Config:
        """Return the config of a layer inside this one."""
        return Config(self.source, self.version, entry, name, self.nested)

    def options(self, table: Mapping[str, Option]) -> dict[str, Any]:
        """Read all options; refuse those that nobody knows, all of them at once."""
        reasons, found = [], {}
        for name, value in self.values.items():
            option = table.get(name) or COMMON.get(name)
            if option is None and not name.endswith(_COMMON_ENDINGS):
                reasons.append(f"unknown option {plain(name)}={short(value)}")
            elif option is not None:
                try:
                    read = option.read(self, name, value)
                except NotSupportedError as reason:
                    reasons.append(str(reason))
                    continue
                if option.kept:
                    found[name] = read
        if reasons:
            raise NotSupportedError("not supported: " + ", ".join(reasons))
        for name, option in table.items():
            if option.kept and name not in found:
                if option.default is _REQUIRED:
                    self.contradicts(f"the config lacks {name!r}")
                default = option.default
                found[name] = (
                    activation_of(default, self) if option.told == "activation" else default
                )
        return found

    def check_origin(self) -> None:
        """Refuse a class that is not Keras's own, where the file says whose it is."""
        module = self.entry.get("module")
        if self.entry.get("registered_name") and module != "builtins":
            raise NotSupportedError(
                f"{short(self.entry['registered_name'])} is a registered class of the user's; code "
                "is not run from a file"
            )
        if module not in (None, "keras.layers", "keras", "builtins"):
            raise NotSupportedError(
                f"{short(f'{module}.{self.kind}')} is not one of Keras's own layers"
            )


# ---- Activations --------------------------------------------------------------------------------


def _specs(*names: str) -> dict[str, ActivationSpec]:
    return {name: ActivationSpec(name) for name in names}


_FIRST = _specs("linear", "tanh", "sigmoid", "relu", "softplus", "softsign", "softmax")
_HARD_SIGMOID = ActivationSpec("hard_sigmoid", 0.2, 0.5)
_KERAS_2 = {
    **_FIRST, **_specs("exponential", "elu", "selu", "gelu", "swish"),
    "hard_sigmoid": _HARD_SIGMOID, "mish": ActivationSpec("mish"),
}  # fmt: skip
# A name outside of its own version's table is a function of the user's, whatever it is called.
ACTIVATIONS: Mapping[int, Mapping[str, ActivationSpec]] = {
    1: {**_FIRST, "hard_sigmoid": _HARD_SIGMOID},
    2: _KERAS_2,
    3: {
        **_KERAS_2,
        **_specs(
            "hard_sigmoid", "silu", "leaky_relu", "relu6", "celu", "log_sigmoid", "hard_silu",
            "hard_swish", "hard_tanh", "hard_shrink", "soft_shrink", "tanh_shrink", "squareplus",
            "sparse_plus", "log_softmax",
        ),
    },
}  # fmt: skip

# Layers that are nothing but an activation, as Keras lets one stand for a function: classes.py adds
# them.
LAYERS_AS_FUNCTIONS: dict[str, Callable[[Config], ActivationSpec]] = {}


def activation_of(value: Any, c: Config) -> ActivationSpec:
    """Return what an option means: None, a name, a Keras 3 function, or a layer as function."""
    if value is None:
        return ActivationSpec("linear")
    if isinstance(value, ActivationSpec):
        return value
    if isinstance(value, dict):
        kind = value.get("class_name")
        if isinstance(kind, str) and kind in LAYERS_AS_FUNCTIONS:
            inner = c.child(value)
            inner.check_origin()
            return LAYERS_AS_FUNCTIONS[kind](inner)
        if kind == "function" and value.get("module") == "keras.activations":
            value = value.get("config")
    known = ACTIVATIONS[c.major]
    if not isinstance(value, str) or value not in known:
        raise NotSupportedError(
            f"the activation {short(value)} is not supported for Keras {c.major}"
        )
    return known[value]
