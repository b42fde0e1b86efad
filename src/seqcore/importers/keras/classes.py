"""Layers of a Keras config: class and options in, one of our layers without weights out.

Classes come from the fixed table `CLASSES`; nothing is imported by a name from a file. Those that
are not supported are in refused.py. Weights are weights.py's, how layers are called graphs.py's,
and the options of one config.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ... import layers
from ...errors import OptionError, UnsupportedLayerError
from ...graph import ActivationSpec
from ...layers import Layer
from .config import (
    LAYERS_AS_FUNCTIONS,
    MODELS,
    Config,
    NotSupportedError,
    Option,
    activation,
    any_of,
    axis,
    flag,
    ignored,
    maybe,
    number,
    only,
    plain,
    raw,
    short,
    size,
)
from .refused import REFUSED

__all__ = ["CLASSES", "KerasClass", "layer_of"]

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
    return lambda c, options: getattr(layers, kind)(
        name=c.name, **{name: value for name, value in options.items() if value is not None}
    )


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
    return lambda c, options: getattr(layers, kind)(name=c.name, **options, **fixed).as_cudnn()


_CELLS = ("SimpleRNNCell", "LSTMCell", "GRUCell", "StackedRNNCells")
_SEQUENCERS = ("SimpleRNN", "LSTM", "GRU", "CuDNNLSTM", "CuDNNGRU", "RNN")


def _inner(c: Config, entry: Any, kinds: Collection[str] | None = None) -> Any:
    """Make the layer that is an option of another one, of one of these kinds."""
    child = c.child(entry)
    # Before it is made: a Bidirectional makes what is in it twice.
    if kinds is not None and child.kind not in kinds:
        raise NotSupportedError(f"of {plain(child.kind)} is not supported")
    made = layer_of(child)
    if isinstance(made, layers.Cell) and child.values.get("trainable") is False:
        made.trainable = False
    return made


def _rnn(c: Config, options: Options) -> Layer:
    return layers.RNN(_inner(c, options.pop("cell"), _CELLS), name=c.name, **options)


def _stacked_cells(c: Config, options: Options) -> Layer:
    cells = options["cells"]
    if not isinstance(cells, list):
        c.contradicts(f"cells is a list; found {short(cells)}")
    made = [_inner(c, cell, _CELLS) for cell in cells]
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
    halves = [_inner(c, half.entry, _SEQUENCERS) for half in (forward, backward)]
    return layers.Bidirectional(
        *halves, merge_mode=options["merge_mode"],
        zero_output_for_mask=c.version.zeroes_masked, name=c.name,
    )  # fmt: skip


def _time_distributed(c: Config, options: Options) -> Layer:
    inner = _inner(c, options["layer"])
    masks = isinstance(inner, layers.Masking) or getattr(inner, "mask_zero", False)
    if masks and c.major < 3:  # Keras 3 hands no such mask on
        raise NotSupportedError("masks of the frames inside of frames, as Keras 2 hands them on")
    return layers.TimeDistributed(inner, name=c.name)


_INNER = raw("a layer of this page")
_RECURRENT = {
    "SimpleRNN": KerasClass(_same("SimpleRNN"), {**_CELL, **_TIME}, "states"),
    "LSTM": KerasClass(_same("LSTM"), {**_GATED, **_TIME}, "states"),
    "GRU": KerasClass(
        _same("GRU"),
        {**_GRU, **_TIME},
        "states",
        note="A file without `reset_after` is of the first Keras 2, or of Keras 1.",
    ),
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
    return layers.Embedding(
        options.pop("input_dim"), options.pop("output_dim"), name=c.name, **options
    )


class CategoryEncoding(layers.OneHot):
    """Keras's, which drops masks, and makes no axis where there is one of size 1 to replace."""

    keeps_mask = False

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if any(isinstance(ids, layers.Input) and ids.shape[-1:] == (1,) for ids in inputs):
            raise NotSupportedError("of ids whose last axis has size 1, which it replaces")
        return super().__call__(*inputs, **options)


_FRAMES = {
    "Dense": KerasClass(_same("Dense"), {"units": size(), **_AFFINE}),
    "Embedding": KerasClass(
        _embedding,
        {"input_dim": size(), "output_dim": size(), "mask_zero": flag(False)},
        note="An input that it reads takes integers, whatever dtype the file gives it.",
    ),
    "CategoryEncoding": KerasClass(
        lambda c, options: CategoryEncoding(options["num_tokens"], name=c.name),
        {"num_tokens": size(), "output_mode": replace(any_of("one_hot"), kept=False)},
        keras=(2, 3),
        note="An input that it reads takes integers, and has no last axis of size 1.",
    ),
    "Masking": KerasClass(_same("Masking"), {"mask_value": number(0.0)}),
}

# ---- Activations --------------------------------------------------------------------------------


def _function(kind: str) -> Callable[[Config], ActivationSpec]:
    """Return what a layer computes that stands for a function: in Keras an option can be one."""

    def read(c: Config) -> ActivationSpec:
        made = layer_of(c)
        if isinstance(made, layers.Softmax) and made.axes == (-1,):
            return ActivationSpec("softmax")
        spec = getattr(made, "activation", None)
        if not isinstance(spec, ActivationSpec):
            raise NotSupportedError(f"{kind} with these options is no activation of a layer")
        return spec

    return read


def _leaky_relu(c: Config, options: Options) -> Layer:
    slope = options["negative_slope"] if c.major == 3 else options["alpha"]
    if slope is None:
        c.contradicts("the config lacks its slope")
    return layers.LeakyReLU(slope, name=c.name)


def _prelu(c: Config, options: Options) -> Layer:
    shared = options["shared_axes"]
    return layers.PReLU(shared_axes=shared, name=c.name)


_ACTIVATIONS = {
    "Activation": KerasClass(_same("Activation"), {"activation": activation()}),
    "ReLU": KerasClass(
        _same("ReLU"),
        {
            "max_value": maybe(number()),
            "negative_slope": maybe(number()),
            "threshold": maybe(number()),
        },
        keras=(2, 3),
    ),
    "LeakyReLU": KerasClass(
        _leaky_relu,
        {"negative_slope": maybe(number()), "alpha": maybe(number())},
        note="The slope is `negative_slope` in Keras 3, `alpha` before.",
    ),
    "ELU": KerasClass(_same("ELU"), {"alpha": number()}),
    "Softmax": KerasClass(_same("Softmax"), {"axis": axis(-1)}, keras=(2, 3)),
    "ThresholdedReLU": KerasClass(_same("ThresholdedReLU"), {"theta": number()}, keras=(1, 2)),
}

# ---- Windows over time --------------------------------------------------------------------------


def _convolution(kind: str) -> Callable[[Config, Options], Layer]:
    def make(c: Config, options: Options) -> Layer:
        if c.version.mirrors is None and options["kernel_size"] > 1:
            raise NotSupportedError(
                "a file of Keras 1 does not say whether it was trained on Theano, which turns "
                "kernels round in time: load it in Keras 2, on its own backend, and save it there"
            )
        return _same(kind)(c, options)

    return make


_PADDING = {"padding": any_of("valid", "same", "causal", default="valid")}
_POOLING_PADDING = {"padding": any_of("valid", "same", default="valid")}
_WINDOW = {"kernel_size": size(), "strides": size(1), "dilation_rate": size(1), **_AFFINE}
_CONVOLUTION = {**_WINDOW, **_PADDING}
_DEPTH = {"depth_multiplier": size(1)}
_NOT_GROUPED = {"groups": only(1, "channels have groups of their own")}
_POOLING = {"pool_size": size(), "strides": maybe(size()), **_POOLING_PADDING}
_GLOBAL = {"keepdims": flag(False)}
_PAIR = raw("one or two whole numbers")


def _cropping(c: Config, options: Options) -> Layer:
    (option, given) = next(iter(options.items()))
    return {"cropping": layers.Cropping1D, "padding": layers.ZeroPadding1D}[option](
        given, name=c.name
    )


_WINDOWS = {
    "Conv1D": KerasClass(
        _convolution("Conv1D"), {"filters": size(), "groups": size(1), **_CONVOLUTION}
    ),
    "DepthwiseConv1D": KerasClass(
        _convolution("DepthwiseConv1D"), {**_CONVOLUTION, **_DEPTH, **_NOT_GROUPED}, keras=(2, 3)
    ),
    "SeparableConv1D": KerasClass(
        _convolution("SeparableConv1D"),
        {"filters": size(), **_CONVOLUTION, **_DEPTH, **_NOT_GROUPED},
        keras=(2, 3),
    ),
    "Conv1DTranspose": KerasClass(
        _convolution("Conv1DTranspose"),
        {
            "filters": size(), "output_padding": maybe(raw("whole number")), **_WINDOW,
            **_POOLING_PADDING, **_NOT_GROUPED,
        },
        keras=(2, 3),
    ),
    "MaxPooling1D": KerasClass(_same("MaxPooling1D"), _POOLING),
    "AveragePooling1D": KerasClass(_same("AveragePooling1D"), _POOLING),
    "GlobalMaxPooling1D": KerasClass(_same("GlobalMaxPooling1D"), _GLOBAL),
    "GlobalAveragePooling1D": KerasClass(_same("GlobalAveragePooling1D"), _GLOBAL),
    "Cropping1D": KerasClass(_cropping, {"cropping": _PAIR}),
    "ZeroPadding1D": KerasClass(_cropping, {"padding": _PAIR}),
    "UpSampling1D": KerasClass(_same("UpSampling1D"), {"size": size()}),
}  # fmt: skip

# ---- Shapes and merges --------------------------------------------------------------------------


def _merge(kind: str) -> Callable[[Config, Options], Layer]:
    def make(c: Config, options: Options) -> Layer:
        rule = c.version.mask_rule
        return getattr(layers, kind)(name=c.name, mask_rule=rule, **options)  # type: ignore[no-any-return]

    return make


def _einsum_dense(c: Config, options: Options) -> Layer:
    options["output_shape"] = _tuple(options["output_shape"])
    return layers.EinsumDense(name=c.name, **options)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


_SHAPES = {
    "Flatten": KerasClass(_same("Flatten"), {}),
    "Reshape": KerasClass(_same("Reshape"), {"target_shape": raw("sizes, of which one may be -1")}),
    "Permute": KerasClass(_same("Permute"), {"dims": raw("the axes in their new order")}),
    "RepeatVector": KerasClass(_same("RepeatVector"), {"n": size()}),
    **{
        kind: KerasClass(_merge(kind), {}, "many", keras=versions)
        for kind, versions in [
            ("Add", (1, 2, 3)), ("Multiply", (1, 2, 3)), ("Average", (1, 2, 3)),
            ("Maximum", (1, 2, 3)), ("Minimum", (2, 3)), ("Subtract", (2, 3)),
        ]
    },
    "Concatenate": KerasClass(_merge("Concatenate"), {"axis": axis()}, "many"),
    "Dot": KerasClass(
        _same("Dot"),
        {"axes": raw("1, 2, -1 or -2, or two of them"), "normalize": flag(False)},
        "many",
    ),
    "EinsumDense": KerasClass(
        _einsum_dense,
        {
            "equation": raw("where it is a dense: the last axes of the input, in order"),
            "output_shape": raw("sizes"),
            "bias_axes": raw("axes of the output, or null", None),
            "activation": activation("linear"),
        },
        keras=(2, 3),
    ),
}  # fmt: skip

# ---- Normalisation ------------------------------------------------------------------------------


def _unit(c: Config, options: Options) -> Layer:
    # Keras 2 divides by sqrt(max(sum of squares, 1e-12))
    least = 1e-12 if c.major == 3 else 1e-6
    return layers.UnitNormalization(epsilon=least, name=c.name, **options)


def _normalization(c: Config, options: Options) -> Layer:
    given = {name: value for name, value in options.items() if value is not None}
    given["axis"] = options["axis"] or None  # Keras 3 writes no axis as []
    return layers.Normalization(name=c.name, **given)


_BETA_GAMMA = {"center": flag(True), "scale": flag(True)}
_EPSILON = {"epsilon": number(1e-3)}
_NORMS = {
    "BatchNormalization": KerasClass(
        _same("BatchNormalization"),
        {
            "axis": axis(-1), **_EPSILON, **_BETA_GAMMA, "momentum": _NO_EFFECT,
            "renorm": only(False, "renormalisation is not supported"),
            "renorm_clipping": _NO_EFFECT, "renorm_momentum": _NO_EFFECT, "fused": _NO_EFFECT,
            "virtual_batch_size": _NO_EFFECT, "mode": only(0, "other modes are of Keras 1 alone"),
        },
    ),
    "LayerNormalization": KerasClass(
        _same("LayerNormalization"),
        {"axis": axis(-1), **_EPSILON, **_BETA_GAMMA, "rms_scaling": flag(False)},
        keras=(2, 3),
    ),
    "GroupNormalization": KerasClass(
        _same("GroupNormalization"),
        {"groups": raw("whole number, or -1", 32), "axis": axis(-1), **_EPSILON, **_BETA_GAMMA},
        keras=(2, 3),
    ),
    "RMSNormalization": KerasClass(
        _same("RMSNormalization"), {"axis": axis(-1), "epsilon": number(1e-6)}, keras=(3,)
    ),
    "UnitNormalization": KerasClass(
        _unit, {"axis": axis(-1), "order": only(2, "the norm is L2")},
        keras=(2, 3),
    ),
    "Normalization": KerasClass(
        _normalization,
        {
            "axis": raw("axis or axes, not the batch; null or [] for none", -1),
            "mean": raw("array, or null", None), "variance": raw("array, or null", None),
            "invert": flag(False),
        },
        keras=(2, 3),
    ),
    "Rescaling": KerasClass(
        _same("Rescaling"),
        {"scale": raw("number or array"), "offset": raw("number or array", 0.0)},
        keras=(2, 3),
    ),
    "PReLU": KerasClass(_prelu, {"shared_axes": raw("axes, or null", None)}),
}  # fmt: skip

# ---- Attention ----------------------------------------------------------------------------------


def _attention(kind: str) -> Callable[[Config, Options], Layer]:
    def make(c: Config, options: Options) -> Layer:
        causal = options.pop("causal")  # an option of the layer before Keras 2.11
        options["use_causal_mask"] = options.get("use_causal_mask", causal)
        return getattr(layers, kind)(name=c.name, **options)  # type: ignore[no-any-return]

    return make


def _multi_head(c: Config, options: Options) -> Layer:
    options["output_shape"] = _tuple(options["output_shape"])
    del options["attention_axes"]
    if not c.version.zeroes_unseen:
        options["dropout"] = 0.0  # with which Keras's way through softmax differs
    return layers.MultiHeadAttention(name=c.name, **options)


_CALLED = ("use_causal_mask", "return_attention_scores")
_HEADS = {
    "num_heads": size(),
    "key_dim": size(),
    "value_dim": maybe(size()),
    "use_bias": flag(True),
    "output_shape": raw("sizes, or null", None),
    "dropout": number(0.0),
    "attention_axes": any_of(None, [1], default=None),
    "use_gate": only(False, "gated attention is not supported"),
    "sliding_window": only(None, "every frame is seen"),
    "flash_attention": _NO_EFFECT,
    "query_shape": _NO_EFFECT,
    "key_shape": _NO_EFFECT,
    "value_shape": _NO_EFFECT,
}
_SCORES = {"causal": flag(False), "dropout": number(0.0)}
_ATTENTION = {
    "Attention": KerasClass(
        _attention("Attention"),
        {"use_scale": flag(False), "score_mode": any_of("dot", "concat", default="dot"), **_SCORES},
        "many",
        _CALLED,
        keras=(2, 3),
    ),
    "AdditiveAttention": KerasClass(
        _attention("AdditiveAttention"),
        {"use_scale": flag(True), **_SCORES, "score_mode": _NO_EFFECT},
        "many",
        _CALLED,
        keras=(2, 3),
    ),
    "MultiHeadAttention": KerasClass(
        _multi_head, _HEADS, ("query", "value", "key"), _CALLED, keras=(2, 3)
    ),
}

# ---- What trains alone --------------------------------------------------------------------------


def _identity(kind: str) -> Callable[[Config, Options], Layer]:
    return lambda c, _options: getattr(layers, kind)(name=c.name)


_TRAINING = {
    kind: KerasClass(_identity(kind), dict.fromkeys(options, _NO_EFFECT))
    for kind, options in {
        "Dropout": ("rate", "noise_shape"),
        "SpatialDropout1D": ("rate", "noise_shape"),
        "GaussianDropout": ("rate",),
        "GaussianNoise": ("stddev",),
        "AlphaDropout": ("rate", "noise_shape"),
        "ActivityRegularization": ("l1", "l2"),
    }.items()
} | {
    "Identity": KerasClass(lambda c, _: layers.Activation("linear", name=c.name), {}, keras=(2, 3))
}

CLASSES: Mapping[str, KerasClass] = {
    **_RECURRENT, **_FRAMES, **_ACTIVATIONS, **_WINDOWS, **_SHAPES, **_NORMS, **_ATTENTION,
    **_TRAINING,
}  # fmt: skip
LAYERS_AS_FUNCTIONS.update({kind: _function(kind) for kind in _ACTIVATIONS})


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
    if c.kind in MODELS and c.nested is not None:
        return c.nested(c)  # type: ignore[no-any-return]
    if c.kind not in CLASSES:
        raise NotSupportedError(REFUSED.get(c.kind, f"the class {short(c.kind)} is not supported"))
    c.check_origin()
    known = CLASSES[c.kind]
    if c.major not in known.keras:
        raise NotSupportedError(f"Keras {c.major} has no layer {c.kind}")
    options = c.options(known.options) | calls
    try:
        return known.make(c, options)
    except UnsupportedLayerError as error:
        raise NotSupportedError("; ".join(why for _, why in error.layers)) from error
    except OptionError as error:  # what Keras takes and our layer does not
        raise NotSupportedError(str(error)) from error
