"""Every option of every layer changes the numbers: the parity tests can fail.

Each case makes our layer as the framework's is, which must agree, and once more with one option (or
one fact about the weights) wrong, which must not. Cases are chosen so that shapes stay as they are
wherever that is possible: then only the numbers can tell.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import keras
import keras_matrix
import numpy as np
import pytest
import torch
from frameworks import filled, floats, outputs, run_keras, run_torch, torch_module
from tolerances import FLOAT32, close

import seqcore as sc

K = keras.layers
FEATURES, UNITS, TIME = 9, 17, 12  # 9 channels divide into 3 groups


@dataclass
class Case:
    """A Keras layer, the name of ours, the options of both, and those of ours that go wrong."""

    theirs: Any
    ours: str
    wrong: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    arguments: tuple[Any, ...] = (UNITS,)
    tolerance: float = FLOAT32[1]

    @property
    def name(self):
        return f"{self.ours}-" + "-".join(f"{k}={v}" for k, v in self.wrong.items())


def recurrent(kind, wrong, **options):
    return Case(getattr(K, kind), kind, wrong, {"return_sequences": True} | options)


LEAKY = sc.ActivationSpec("leaky_relu", 0.3)  # Keras's layer; the string means 0.2
KERAS_2 = sc.ActivationSpec("hard_sigmoid", 0.2, 0.5)
SAME, DILATED, KEEP = {"padding": "same"}, {"dilation_rate": 2}, {"keepdims": True}
SEPARATE = ("DepthwiseConv1D", "SeparableConv1D")
CONVOLUTIONS = (*SEPARATE, "Conv1DTranspose")


def convolution(kind, wrong, options=None):
    arguments = (3,) if kind == "DepthwiseConv1D" else (UNITS, 3)
    return Case(getattr(K, kind), kind, wrong, options or {}, arguments)


CASES = [
    *(recurrent(kind, {"go_backwards": True}) for kind in ("SimpleRNN", "LSTM", "GRU")),
    *(recurrent(kind, {"return_sequences": False}) for kind in ("SimpleRNN", "LSTM", "GRU")),
    *(recurrent(kind, {"activation": "relu"}) for kind in ("SimpleRNN", "LSTM", "GRU")),
    *(recurrent(kind, {"recurrent_activation": "hard_sigmoid"}) for kind in ("LSTM", "GRU")),
    *(
        recurrent(kind, {"recurrent_activation": KERAS_2}, recurrent_activation="hard_sigmoid")
        for kind in ("LSTM", "GRU")
    ),
    *(
        recurrent(kind, {"activation": LEAKY}, activation="leaky_relu")
        for kind in ("SimpleRNN", "LSTM", "GRU")
    ),
    # a bias (3H,) does not tell reset_after by its shape
    recurrent("GRU", {"reset_after": True}, reset_after=False),
    recurrent("GRU", {"reset_after": False}, reset_after=True, use_bias=False),
    Case(K.Dense, "Dense", {"activation": "gelu_tanh"}, {"activation": "gelu"}),
    Case(K.Dense, "Dense", {"activation": "sigmoid"}, {"activation": "softmax"}),
    Case(K.Dense, "Dense", {"activation": sc.ActivationSpec("elu", 0.9)}, {"activation": "elu"}),
    Case(K.Conv1D, "Conv1D", {"padding": "causal"}, {"padding": "same"}, (UNITS, 3)),
    Case(K.Conv1D, "Conv1D", {"padding": "same"}, {"padding": "valid"}, (UNITS, 3)),
    Case(K.Conv1D, "Conv1D", {"strides": 2}, {"padding": "same"}, (UNITS, 3)),
    Case(K.Conv1D, "Conv1D", {"dilation_rate": 1}, {"dilation_rate": 2} | SAME, (UNITS, 3)),
    Case(K.Conv1D, "Conv1D", {"activation": "relu"}, {}, (UNITS, 3)),
    Case(K.MaxPooling1D, "MaxPooling1D", {"padding": "valid"}, {"strides": 5} | SAME, (4,)),
    Case(K.MaxPooling1D, "MaxPooling1D", {"strides": 2}, {"strides": 1, "padding": "same"}, (3,)),
    Case(K.AveragePooling1D, "AveragePooling1D", {"padding": "valid"}, {"strides": 5} | SAME, (4,)),
    Case(K.AveragePooling1D, "AveragePooling1D", {"strides": 2}, {"strides": 1} | SAME, (3,)),
    Case(K.GlobalMaxPooling1D, "GlobalMaxPooling1D", {"keepdims": True}, {}, ()),
    Case(K.GlobalAveragePooling1D, "GlobalAveragePooling1D", {"keepdims": False}, KEEP, ()),
    Case(K.Cropping1D, "Cropping1D", {"cropping": (2, 1)}, {"cropping": (1, 2)}, ()),
    Case(K.ZeroPadding1D, "ZeroPadding1D", {"padding": (2, 1)}, {"padding": (1, 2)}, ()),
    *(convolution(kind, {"padding": "causal"}, SAME) for kind in SEPARATE),
    *(convolution(kind, {"strides": 2}, SAME) for kind in SEPARATE),
    *(convolution(kind, {"dilation_rate": 1}, SAME | DILATED) for kind in CONVOLUTIONS),
    *(convolution(kind, {"activation": "relu"}) for kind in CONVOLUTIONS),
    convolution("Conv1DTranspose", {"padding": "valid"}, SAME),
    convolution("Conv1DTranspose", {"strides": 1}, {"strides": 2}),
    convolution("Conv1DTranspose", {"output_padding": 1}, {"strides": 2, "output_padding": 0}),
    convolution("Conv1DTranspose", {"output_padding": None}, {"strides": 4, "output_padding": 3}),
    convolution(
        "Conv1DTranspose", {"output_padding": None}, SAME | {"strides": 3, "output_padding": 1}
    ),
    Case(K.Concatenate, "Concatenate", {"axis": 1}, {"axis": 2}, ()),
]  # fmt: skip


def our_layer(case, arrays, options):
    kind = getattr(sc, case.ours)
    return kind.from_keras(arrays, **options) if arrays else kind(*case.arguments, **options)


def same(actual, expected, tolerance):
    for a, e in zip(actual, expected, strict=True):
        close(a, e, tolerance)


def differ(run, expected, tolerance):
    """Assert that a run fails the very comparison that the parity tests make."""
    with pytest.raises(AssertionError):
        same(outputs(run), expected, tolerance)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_keras_option(rng, case):
    theirs = case.theirs(*case.arguments, **case.options)
    x = [floats(rng, 3, TIME, FEATURES) for _ in range(2 if case.ours == "Concatenate" else 1)]
    if case.ours != "Concatenate":
        filled(rng, theirs, (None, TIME, FEATURES))
    expected = run_keras(theirs, *x)
    sources = [sc.Input((TIME, FEATURES)) for _ in x]
    for options, check in ((case.options, None), (case.options | case.wrong, differ)):
        layer = our_layer(case, theirs.get_weights(), options)
        result = sc.Model(sources, layer(*sources))(*x)
        if check:
            check(result, expected, case.tolerance)
        else:
            close(result, expected[0], case.tolerance)


def bidirectional(rng, merge_mode="concat", swapped=False, **options):
    """Return Keras's layer and a function that makes ours of it."""
    theirs = K.Bidirectional(K.LSTM(UNITS, **options), merge_mode=merge_mode)
    filled(rng, theirs, (None, TIME, FEATURES))
    arrays = [theirs.forward_layer.get_weights(), theirs.backward_layer.get_weights()]
    if swapped:
        arrays.reverse()

    def ours(**merge):
        return sc.Bidirectional(
            sc.LSTM.from_keras(arrays[0], **options),
            sc.LSTM.from_keras(arrays[1], go_backwards=True, **options),
            **({"merge_mode": merge_mode} | merge),
        )

    return theirs, ours


@pytest.mark.parametrize("wrong", ["sum", "mul", "ave"])
def test_merge_mode(rng, wrong):
    right = "ave" if wrong != "ave" else "sum"
    theirs, ours = bidirectional(rng, right, return_sequences=True)
    x = floats(rng, 3, TIME, FEATURES)
    expected = run_keras(theirs, x)
    close(sc.Sequential([ours()])(x), expected[0], FLOAT32[1])
    differ(sc.Sequential([ours(merge_mode=wrong)])(x), expected, FLOAT32[1])


def test_which_direction_is_which(rng):
    theirs, ours = bidirectional(rng, return_sequences=True, swapped=True)
    x = floats(rng, 3, TIME, FEATURES)
    differ(sc.Sequential([ours()])(x), run_keras(theirs, x), FLOAT32[1])


def test_the_backward_output_is_realigned(rng):
    """Two layers side by side, one with go_backwards, are no Bidirectional."""
    theirs, ours = bidirectional(rng, return_sequences=True)
    x, source = floats(rng, 3, TIME, FEATURES), sc.Input((TIME, FEATURES))
    layer = ours()
    apart = sc.Concatenate()(layer.forward(source), layer.backward(source))
    expected = run_keras(theirs, x)
    close(sc.Model(source, layer(source))(x), expected[0], FLOAT32[1])
    differ(sc.Model(source, apart)(x), expected, FLOAT32[1])


@pytest.mark.parametrize(
    ("kind", "order"),
    [("LSTM", order) for order in ((0, 1, 3, 2), (0, 2, 1, 3), (1, 0, 2, 3), (0, 3, 2, 1))]
    + [("GRU", order) for order in ((1, 0, 2), (0, 2, 1), (2, 1, 0))],
)
def test_gate_order(rng, kind, order):
    theirs = filled(rng, getattr(K, kind)(UNITS, return_sequences=True), (None, TIME, FEATURES))
    x = floats(rng, 3, TIME, FEATURES)
    arrays, expected = theirs.get_weights(), run_keras(theirs, x)

    def run(arrays):
        return sc.Sequential([getattr(sc, kind).from_keras(arrays, return_sequences=True)])(x)

    close(run(arrays), expected[0], FLOAT32[1])
    gates = len(order)
    for k in range(3):  # kernel, recurrent kernel, bias: each one alone
        wrong = list(arrays)
        wrong[k] = np.concatenate([np.split(wrong[k], gates, -1)[g] for g in order], -1)
        differ(run(wrong), expected, FLOAT32[1])


@pytest.mark.parametrize("layer", ["SimpleRNN", "LSTM", "GRU", "Dense", "Conv1D"])
def test_bias(rng, layer):
    arguments = (UNITS, 3) if layer == "Conv1D" else (UNITS,)
    theirs = filled(rng, getattr(K, layer)(*arguments), (None, TIME, FEATURES))
    x, source = floats(rng, 3, TIME, FEATURES), sc.Input((TIME, FEATURES))
    kind = getattr(sc, layer)
    make = kind if layer == "Conv1D" else lambda *arrays, **o: kind.from_keras(arrays, **o)
    arrays, expected = theirs.get_weights(), run_keras(theirs, x)
    close(sc.Model(source, make(*arrays)(source))(x), expected[0], FLOAT32[1])
    differ(sc.Model(source, make(*arrays[:-1], use_bias=False)(source))(x), expected, FLOAT32[1])


def test_groups(rng):
    """Groups over the same arrays: three blocks on a diagonal are not one group's kernel."""
    theirs = filled(rng, K.Conv1D(9, 2, groups=3), (None, TIME, FEATURES))
    x, source = floats(rng, 3, TIME, FEATURES), sc.Input((TIME, FEATURES))
    kernel, bias = theirs.get_weights()
    expected = run_keras(theirs, x)
    close(sc.Model(source, sc.Conv1D(kernel, bias, groups=3)(source))(x), expected[0], FLOAT32[0])
    one = sc.Conv1D(np.tile(kernel, (1, 3, 1)), bias, groups=1)
    differ(sc.Model(source, one(source))(x), expected, FLOAT32[0])


def test_pool_size(rng):
    x, source = floats(rng, 3, TIME, FEATURES), sc.Input((TIME, FEATURES))
    options = {"strides": 2, "padding": "same"}
    expected = run_keras(K.MaxPooling1D(3, **options), x)
    close(sc.Model(source, sc.MaxPooling1D(3, **options)(source))(x), expected[0], FLOAT32[0])
    differ(sc.Model(source, sc.MaxPooling1D(2, **options)(source))(x), expected, FLOAT32[0])


def test_kernel_size_is_read_from_the_front(rng):
    theirs = filled(rng, K.Conv1D(UNITS, 3), (None, TIME, FEATURES))
    x, source = floats(rng, 3, TIME, FEATURES), sc.Input((TIME, FEATURES))
    kernel, bias = theirs.get_weights()
    differ(
        sc.Model(source, sc.Conv1D(kernel[::-1], bias)(source))(x), run_keras(theirs, x), FLOAT32[0]
    )


@pytest.mark.parametrize("kind", ["tanh", "LSTM", "GRU"])
def test_what_a_torch_call_is_given(rng, kind):
    """lengths, initial_state, the second layer, the two biases of n: each one left out."""
    module = torch_module(kind, FEATURES, UNITS, num_layers=2, bidirectional=True)
    model = sc.from_torch(module, return_state=True)
    x, lengths = floats(rng, 4, TIME, FEATURES), np.array([12, 3, 7, 1])
    states = tuple(floats(rng, 4, 4, UNITS) for _ in model.states)
    expected = run_torch(module, x, states, lengths)
    for a, e in zip(model(x, lengths=lengths, initial_state=states), expected, strict=True):
        close(a, e, FLOAT32[2])
    for wrong in (
        {"initial_state": states}, {"lengths": lengths},
        {"lengths": lengths, "initial_state": tuple(s[::-1] for s in states)},
        {"lengths": lengths[::-1], "initial_state": states},
    ):  # fmt: skip
        differ(model(x, **wrong), expected, FLOAT32[2])


def test_the_recurrent_bias_of_n_stays_apart(rng):
    module = torch_module("GRU", FEATURES, UNITS)
    x = floats(rng, 3, TIME, FEATURES)
    weights = {name: tensor.numpy().copy() for name, tensor in module.state_dict().items()}
    expected = run_torch(module, x)[:1]
    close(sc.Sequential([sc.GRU.from_torch(weights)])(x), expected[0], FLOAT32[1])
    weights["bias_ih_l0"] += weights["bias_hh_l0"]
    weights["bias_hh_l0"] *= 0
    differ(sc.Sequential([sc.GRU.from_torch(weights)])(x), expected, FLOAT32[1])


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # slower, says torch
def test_projection(rng):
    """Of other columns or other units; and left out, where that is possible by the shapes."""
    module = torch_module("LSTM", FEATURES, UNITS, proj_size=5)
    x = floats(rng, 3, TIME, FEATURES)
    weights = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    expected = run_torch(module, x)[:1]
    close(sc.Sequential([sc.LSTM.from_torch(weights)])(x), expected[0], FLOAT32[1])
    P = weights["weight_hr_l0"]
    for wrong in (P[::-1], P[:, ::-1], P * np.float32(1.001)):
        changed = sc.LSTM.from_torch(weights | {"weight_hr_l0": wrong})
        differ(sc.Sequential([changed])(x), expected, FLOAT32[1])
    W, U, b = floats(rng, 4, 12), floats(rng, 3, 12), floats(rng, 12)
    plain, one = sc.LSTM(W, U, b), sc.LSTM(W, U, b, projection=floats(rng, 3, 3))
    x = floats(rng, 3, TIME, 4)
    differ(sc.Sequential([one])(x), [sc.Sequential([plain])(x)], FLOAT32[1])


def test_nonlinearity(rng):
    module = torch_module("relu", FEATURES, UNITS)
    weights = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    x = floats(rng, 3, TIME, FEATURES)
    tanh = sc.Sequential([sc.SimpleRNN.from_torch(weights, activation="tanh")])
    differ(tanh(x), run_torch(module, x)[:1], FLOAT32[1])


def test_a_dilated_kernel_of_torch(rng):
    """torch's convolution is a third witness for the direction of the kernel and the dilation."""
    module = torch.nn.Conv1d(FEATURES, UNITS, 3, dilation=2)
    x, source = floats(rng, 3, TIME, FEATURES), sc.Input((TIME, FEATURES))
    kernel = module.weight.detach().numpy().transpose(2, 1, 0)
    channels_first = torch.from_numpy(x.transpose(0, 2, 1).copy())
    with torch.no_grad():
        expected = [module(channels_first).numpy().transpose(0, 2, 1)]
    bias = module.bias.detach().numpy()
    right = sc.Conv1D(kernel, bias, dilation_rate=2)
    wrong = sc.Conv1D(kernel[::-1], bias, dilation_rate=2)
    close(sc.Model(source, right(source))(x), expected[0], FLOAT32[0])
    differ(sc.Model(source, wrong(source))(x), expected, FLOAT32[0])


OF_TORCH = {"dilation": 2, "ceil_mode": True, "count_include_pad": False, "padding": (2, 1)}


@pytest.mark.parametrize("option", OF_TORCH)
@pytest.mark.parametrize("name", ["MaxPooling1D", "AveragePooling1D"])
def test_pooling_as_torch_has_it(rng, name, option):
    kind = getattr(sc, name)
    if option not in inspect.signature(kind).parameters:
        return  # a maximum counts no padding, an average has no dilation
    theirs = {"MaxPooling1D": torch.nn.MaxPool1d, "AveragePooling1D": torch.nn.AvgPool1d}[name]
    x = floats(rng, 3, TIME, FEATURES) + 3
    module = theirs(4, stride=3, padding=1)
    expected = [module(torch.from_numpy(x).transpose(1, 2)).transpose(1, 2).numpy()]
    right = {"strides": 3, "padding": (1, 1)}
    source = sc.Input((TIME, FEATURES))
    close(sc.Model(source, kind(4, **right)(source))(x), expected[0], FLOAT32[0])
    wrong = kind(4, **right | {option: OF_TORCH[option]})
    differ(sc.Model(source, wrong(source))(x), expected, FLOAT32[0])


# ---- Nothing is left out -------------------------------------------------------------------------

# Options that the cases above turn; and those that change no number, or are a size or an array.
TURNED = {
    "activation", "recurrent_activation", "use_bias", "return_sequences", "go_backwards",
    "reset_after", "merge_mode", "strides", "padding", "dilation_rate", "groups", "pool_size",
    "axis", "output_padding", "keepdims", "cropping", "projection",
}  # fmt: skip
NOT_NUMBERS = {
    "name", "units", "U", "b", "bias", "input_dim", "output_dim", "filters", "kernel_size", "layer",
    "backward_layer", "rate", "depth_multiplier", "gamma", "beta", "moving_mean", "moving_variance",
    "mean", "variance", "concat_score_weight", "weights", "options", "l1", "l2", "stddev",
    "transitions", "start", "end", "return_score", "depth",
    "return_state",  # it adds outputs: tests/parity/test_parity_keras.py compares them
}  # fmt: skip
# What today's Keras does not have: tests/parity/test_parity_shapes.py and test_parity_norms.py.
OF_KERAS_2 = {"mask_rule", "theta"}
# No framework here has these; tests/test_cells.py turns every one of them.
OF_CELLS = {
    "peepholes", "clip", "cell_clip", "projection_clip", "input_forget", "layer_norm",
    "norm_weights", "norm_state", "initial_state", "update_keeps",
}  # fmt: skip
# Nor these; tests/test_alignment.py holds every score against its own equation.
OF_ALIGNMENT = {"W", "W_query", "W_memory", "v", "score", "query_features"}


def test_every_option_of_every_layer_is_turned():
    """Here, or by tests/importers/test_keras_matrix.py, which turns those of Keras's layers."""
    layers = [
        value for value in vars(sc).values()
        if inspect.isclass(value) and issubclass(value, sc.Layer) and value is not sc.Layer
    ]  # fmt: skip
    options = {name for layer in layers for name in inspect.signature(layer).parameters}
    assert len(layers) > 10
    by_keras = {option for family in keras_matrix.FAMILIES for option in family.options}
    elsewhere = NOT_NUMBERS | OF_KERAS_2 | OF_CELLS | OF_ALIGNMENT | set(OF_TORCH)
    assert options <= TURNED | elsewhere | by_keras
    assert options >= TURNED | elsewhere
    turned = {option for case in CASES for option in case.wrong}
    # these have tests of their own, above
    apart = {"merge_mode", "use_bias", "groups", "pool_size", "projection"}
    assert turned | apart == TURNED
