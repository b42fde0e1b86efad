"""Layers of a Keras config: class and options in, one of our layers without weights out.

Classes come from the fixed table `CLASSES`; nothing is imported by a name from a file. Weights are
weights.py's, and how layers are called graphs.py's. Options: config.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ... import layers
from ...graph import ActivationSpec
from ...layers import Layer
from .config import (
    LAYERS_AS_FUNCTIONS,
    Config,
    NotSupportedError,
    Option,
    activation,
    any_of,
    flag,
    ignored,
    number,
    only,
    raw,
    short,
    size,
)

__all__ = ["CLASSES", "REFUSED", "KerasClass", "layer_of"]

Options = dict[str, Any]


@dataclass(frozen=True)
class KerasClass:
    """What is known of a class of layers.

    Attributes
    ----------
    make : callable
        (config, options) -> layer without weights.
    options : mapping of str to Option
    takes : "one", "many", "states" or tuple of str
        What a call takes: one value; several; one and initial states; or values by these names.
    calls : tuple of str
        Arguments of a call that are options here.
    keras : tuple of int
        The major versions that have it.
    note : str
        For docs/keras.md.
    """

    make: Callable[[Config, Options], Layer]
    options: Mapping[str, Option]
    takes: str | tuple[str, ...] = "one"
    calls: tuple[str, ...] = ()
    keras: tuple[int, ...] = (1, 2, 3)
    note: str = ""


def _same(kind: str) -> Callable[[Config, Options], Layer]:
    """Make our layer of the same name with the same options."""
    return lambda c, options: getattr(layers, kind)(name=c.name, **options)


_NO_EFFECT = ignored("it does nothing when a trained network runs")
_CARRIED = ignored("a call begins with zeros; carry states by initial_state or a stream")

# ---- Recurrent ----------------------------------------------------------------------------------

_TIME = {
    "return_sequences": flag(False),
    "return_state": flag(False),
    "go_backwards": flag(False),
    "zero_output_for_mask": flag(False),
    "stateful": _CARRIED,
    "unroll": _NO_EFFECT,
    "time_major": only(False, "the batch is axis 0 here"),
}
_CELL = {
    "units": size(),
    "activation": activation("tanh"),
    "use_bias": flag(True),
    "dropout": _NO_EFFECT,
    "recurrent_dropout": _NO_EFFECT,
    "implementation": _NO_EFFECT,
    "unit_forget_bias": _NO_EFFECT,
}
# Before Keras 2.3 a file always names it.
_GATED = {**_CELL, "recurrent_activation": activation("sigmoid")}
# The first Keras 2 had no such option, and reset the state before the product.
_GRU = {**_GATED, "reset_after": flag(False)}
# GPU layers, whose options are fixed.
_CUDNN = {"units": size(), "unit_forget_bias": _NO_EFFECT, **_TIME}


def _cudnn(kind: str, **fixed: Any) -> Callable[[Config, Options], Layer]:
    return lambda c, options: getattr(layers, kind)(name=c.name, cudnn=True, **options, **fixed)


def _inner(c: Config, entry: Any, wanted: type[Layer]) -> Any:
    """Make the layer that is an option of another one."""
    child = c.child(entry)
    made = layer_of(child)
    if not isinstance(made, wanted):
        raise NotSupportedError(f"of {child.kind} is not supported")
    return made


def _rnn(c: Config, options: Options) -> Layer:
    return layers.RNN(_inner(c, options.pop("cell"), layers.Step), name=c.name, **options)


def _stacked_cells(c: Config, options: Options) -> Layer:
    cells = options["cells"]
    if not isinstance(cells, list):
        c.contradicts(f"cells is a list; found {short(cells)}")
    made = [_inner(c, cell, layers.Step) for cell in cells]
    return layers.StackedRNNCells(made, name=c.name)


def _bidirectional(c: Config, options: Options) -> Layer:
    forward = c.child(options["layer"])
    backward = c.child(options["backward_layer"] or options["layer"])
    if options["backward_layer"] is None:
        turned = not forward.values.get("go_backwards")
        values = {**backward.values, "go_backwards": turned}
        backward = c.child({**backward.entry, "config": values})
    if forward.values.get("go_backwards"):
        raise NotSupportedError("a forward layer with go_backwards=True is not supported")
    halves = [_inner(c, half.entry, layers.Sequencer) for half in (forward, backward)]
    return layers.Bidirectional(*halves, merge_mode=options["merge_mode"], name=c.name)


def _time_distributed(c: Config, options: Options) -> Layer:
    return layers.TimeDistributed(_inner(c, options["layer"], Layer), name=c.name)


_INNER = raw("a layer of this page")
_RECURRENT = {
    "SimpleRNN": KerasClass(_same("SimpleRNN"), {**_CELL, **_TIME}, "states"),
    "LSTM": KerasClass(_same("LSTM"), {**_GATED, **_TIME}, "states"),
    "GRU": KerasClass(_same("GRU"), {**_GRU, **_TIME}, "states"),
    "CuDNNLSTM": KerasClass(_cudnn("LSTM"), _CUDNN, "states", keras=(2,)),
    "CuDNNGRU": KerasClass(_cudnn("GRU", reset_after=True), _CUDNN, "states", keras=(2,)),
    "SimpleRNNCell": KerasClass(_same("SimpleRNNCell"), _CELL, "states", keras=(2, 3)),
    "LSTMCell": KerasClass(_same("LSTMCell"), _GATED, "states", keras=(2, 3)),
    "GRUCell": KerasClass(_same("GRUCell"), _GRU, "states", keras=(2, 3)),
    "StackedRNNCells": KerasClass(
        _stacked_cells,
        {
            "cells": raw("a list of cells of this page"),
            "reverse_state_order": only(False, "states are in the order of the cells"),
        },
        "states",
        keras=(2, 3),
    ),
    "RNN": KerasClass(_rnn, {"cell": raw("a cell of this page"), **_TIME}, "states", keras=(2, 3)),
    "Bidirectional": KerasClass(
        _bidirectional,
        {
            "layer": raw("a recurrent layer of this page with go_backwards=False"),
            "backward_layer": raw("a recurrent layer of this page", None),
            "merge_mode": any_of("concat", "sum", "mul", "ave", None),
        },
        "states",
    ),
    "TimeDistributed": KerasClass(_time_distributed, {"layer": _INNER}),
}

# ---- Each frame by itself -----------------------------------------------------------------------

_AFFINE = {"use_bias": flag(True), "activation": activation("linear")}


def _embedding(c: Config, options: Options) -> Layer:
    return layers.Embedding(options.pop("input_dim"), options.pop("output_dim"), name=c.name, **options)


_FRAMES = {
    "Dense": KerasClass(_same("Dense"), {"units": size(), **_AFFINE}),
    "Embedding": KerasClass(
        _embedding, {"input_dim": size(), "output_dim": size(), "mask_zero": flag(False)}
    ),
    "Masking": KerasClass(_same("Masking"), {"mask_value": number(0.0)}),
}

# ---- Activations --------------------------------------------------------------------------------


def _function(kind: str) -> Callable[[Config], ActivationSpec]:
    """Return what a layer computes that stands for a function: in Keras an option can be one."""

    def read(c: Config) -> ActivationSpec:
        made = layer_of(c)
        if not isinstance(made, layers.Activation):
            raise NotSupportedError(f"{kind} with these options is no activation of a layer")
        return made.activation

    return read


_SLOPE = "negative_slope"
_ACTIVATIONS = {
    "Activation": KerasClass(_same("Activation"), {"activation": activation()}),
}
CLASSES: dict[str, KerasClass] = {**_RECURRENT, **_FRAMES, **_ACTIVATIONS}
LAYERS_AS_FUNCTIONS.update({kind: _function(kind) for kind in _ACTIVATIONS})

REFUSED: Mapping[str, str] = {
    "Lambda": "a Lambda is code, and code in a file is not run",
}


def layer_of(c: Config, **calls: Any) -> Layer:
    """Return the layer of a config, without weights.

    Parameters
    ----------
    c : Config
    **calls
        Options that a call gives.

    Raises
    ------
    NotSupportedError
        With all that stands against it.
    """
    if c.kind not in CLASSES:
        raise NotSupportedError(REFUSED.get(c.kind, f"the class {short(c.kind)} is not supported"))
    c.check_origin()
    known = CLASSES[c.kind]
    return known.make(c, c.options(known.options) | calls)
