"""Normalisation and activations that are layers, against Keras 3, torch and the reference.

Keras's torch backend hands LayerNormalization and RMSNormalization over axes other than the last
ones to a torch function that takes no such axes, so there the reference alone is the judge.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch
from frameworks import (
    BATCHES,
    SIZES,
    all_close,
    dealt,
    filled,
    floats,
    lengths_of,
    on_every_isa,
    outputs,
    run_keras,
)
from tolerances import ACCURACY_MEDIAN, FLOAT32, close

import seqcore as sc
from seqcore import reference as ref

L = keras.layers
EXACT = FLOAT32[0]


def positive(rng, layer, shape):
    """A Keras layer with weights; those that are variances are positive."""
    layer = filled(rng, layer, shape)
    names = [weight.path.split("/")[-1] for weight in layer.weights]
    layer.set_weights([
        np.abs(value) + 0.1 if "variance" in name else value
        for name, value in zip(names, layer.get_weights(), strict=True)
    ])  # fmt: skip
    return layer


def model_of(layer, shape):
    x = sc.Input(shape[1:])
    return sc.Model(x, layer(x))


def check(layer, theirs, x):
    """Both layers give the same, and count the same parameters."""
    model = model_of(layer, (None, *[None] * (x.ndim - 2), x.shape[-1]))
    if any(axis != -1 for axis in getattr(layer, "axes", (-1,))) or isinstance(layer, sc.PReLU):
        model = model_of(layer, x.shape)
    all_close(model, run_keras(theirs, x), EXACT, x)
    assert model.layers[0].parameters == theirs.count_params()


# ---- Fixed statistics ----------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(len(SIZES)))
@pytest.mark.parametrize("axis", [-1, 1, 2])
def test_batch_normalization(index, axis):
    rng = np.random.default_rng(index)
    features, _, batch, time = dealt(index)
    x = floats(rng, batch, time, features)
    options = {"axis": axis, "center": index % 3 != 0, "scale": index % 2 == 0, "epsilon": 0.01}
    theirs = positive(rng, L.BatchNormalization(**options), x.shape)
    check(sc.BatchNormalization.from_keras(theirs.get_weights(), **options), theirs, x)


def test_batch_normalization_of_two_and_four_axes():
    rng = np.random.default_rng(1)
    for shape, axis in [((5, 17), -1), ((3, 4, 5, 6), 2), ((3, 4, 5, 6), -3)]:
        theirs = positive(rng, L.BatchNormalization(axis=axis), shape)
        ours = sc.BatchNormalization.from_keras(theirs.get_weights(), axis=axis)
        check(ours, theirs, floats(rng, *shape))


def test_a_large_mean_does_not_cancel():
    rng = np.random.default_rng(2)
    x = floats(rng, 4, 9, 16) + np.float32(1000)
    weights = [floats(rng, 16), floats(rng, 16), x.mean((0, 1)), x.var((0, 1))]
    layer = sc.BatchNormalization.from_keras(weights, epsilon=0)
    gamma, beta, mean, variance = (w.astype(np.float64) for w in weights)
    expected = (x - mean) / np.sqrt(variance) * gamma + beta
    all_close(model_of(layer, (None, None, 16)), [expected], EXACT, x)


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize(
    ("axis", "shape"), [(-1, (4, 7, 5)), (None, (4, 7, 5)), ((1, 2), (4, 7, 5)), (1, (4, 7, 5)),
                        ((-2, -1), (4, 3, 7, 5))]
)  # fmt: skip
def test_normalization(axis, shape, invert):
    rng = np.random.default_rng(3)
    theirs = L.Normalization(axis=axis, invert=invert)
    theirs.adapt(3 + 2 * floats(rng, *shape))
    ours = sc.Normalization.from_keras(theirs.get_weights(), axis=axis, invert=invert)
    x = floats(rng, *shape)
    all_close(model_of(ours, shape), run_keras(theirs, x), EXACT, x)
    assert model_of(ours, shape).layers[0].parameters == theirs.count_params()


@pytest.mark.parametrize(
    ("axis", "mean", "variance"),
    [(-1, 2.0, 0.5), (-1, [1, 2, 3, 4, 5], [1, 4, 9, 0, 25]), ((1, 2), [1, 2, 3, 4, 5], [2] * 5)],
)
def test_normalization_by_numbers(axis, mean, variance):
    x = floats(np.random.default_rng(4), 3, 4, 5)
    theirs = L.Normalization(axis=axis, mean=mean, variance=variance)
    theirs.build(x.shape)
    check(sc.Normalization(axis, mean, variance), theirs, x)


@pytest.mark.parametrize(("scale", "offset"), [(1 / 255, 0.0), (2.0, [1, 2, 3]), ([[1], [2]], 0.5)])
def test_rescaling(scale, offset):
    x = floats(np.random.default_rng(5), 4, 2, 3)
    theirs = L.Rescaling(np.array(scale, np.float32), np.array(offset, np.float32))
    all_close(model_of(sc.Rescaling(scale, offset), x.shape), run_keras(theirs, x), EXACT, x)


# ---- Statistics of the input ---------------------------------------------------------------------


@pytest.mark.parametrize("index", range(len(SIZES)))
def test_layer_normalization(index):
    rng = np.random.default_rng(index)
    features, units, batch, time = dealt(index)
    x = floats(rng, batch, time, features * units % 1000 + 1)
    options = {"center": index % 3 != 0, "scale": index % 2 == 0, "epsilon": 1e-3 * index}
    theirs = filled(rng, L.LayerNormalization(**options), x.shape)
    check(sc.LayerNormalization.from_keras(theirs.get_weights(), **options), theirs, x)


@pytest.mark.parametrize("axis", [[1, 2], [-1, -2], [2, 3], [1, 2, 3], [-3, -1], 3])
def test_layer_normalization_over_axes(axis):
    rng = np.random.default_rng(6)
    x = floats(rng, 3, 6, 5, 7)
    theirs = L.LayerNormalization(axis=axis)
    theirs.build(x.shape)
    gamma, beta = (floats(rng, *w.shape) for w in theirs.get_weights())
    ours = sc.LayerNormalization(axis=axis, gamma=gamma, beta=beta)
    expected = ref.normalize(
        x, W=gamma, b=beta, kind="layer", axes=ours.axes, groups=0, epsilon=1e-3
    )
    all_close(model_of(ours, x.shape), [expected], EXACT, x)
    if axis in ([2, 3], [1, 2, 3], [-3, -1]):
        theirs.set_weights([gamma, beta])
        check(ours, theirs, x)


def test_layer_normalization_with_rms_scaling():
    rng = np.random.default_rng(7)
    x = floats(rng, 3, 4, 33)
    theirs = filled(rng, L.LayerNormalization(rms_scaling=True), x.shape)
    check(sc.LayerNormalization.from_keras(theirs.get_weights(), rms_scaling=True), theirs, x)


@pytest.mark.parametrize("size", SIZES)
def test_rms_and_unit_normalization(size):
    rng = np.random.default_rng(size)
    x = floats(rng, 5, 3, size)
    theirs = filled(rng, L.RMSNormalization(), x.shape)
    check(sc.RMSNormalization.from_keras(theirs.get_weights()), theirs, x)
    for axis in (-1, 1, [1, 2]):
        check(sc.UnitNormalization(axis), L.UnitNormalization(axis), x)


def test_the_least_norm():
    """Keras 3 divides by at least 1e-12, Keras 2 by at least 1e-6."""
    x = np.array([[3e-9, 4e-9], [3e-15, 4e-15], [0, 0], [3e-7, 4e-7]], np.float32)
    all_close(model_of(sc.UnitNormalization(), (None, 2)), run_keras(L.UnitNormalization(), x),
              EXACT, x)  # fmt: skip
    keras2 = x / np.maximum(np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True), 1e-6)
    all_close(model_of(sc.UnitNormalization(epsilon=1e-6), (None, 2)), [keras2], EXACT, x)


@pytest.mark.parametrize("groups", [1, 2, 3, 6, -1])
@pytest.mark.parametrize(
    ("shape", "axis"), [((4, 7, 6), -1), ((4, 6, 7), 1), ((3, 6), -1), ((2, 3, 6, 5), -2)]
)
def test_group_normalization(groups, shape, axis):
    rng = np.random.default_rng(groups + 1)
    options = {"groups": groups, "axis": axis, "center": groups != 2, "scale": groups != 3}
    theirs = filled(rng, L.GroupNormalization(**options), shape)
    ours = sc.GroupNormalization.from_keras(theirs.get_weights(), **options)
    x = floats(rng, *shape)
    all_close(model_of(ours, shape), run_keras(theirs, x), EXACT, x)
    assert model_of(ours, shape).layers[0].parameters == theirs.count_params()


def test_against_torch():
    rng = np.random.default_rng(8)
    x = floats(rng, 5, 12, 9)
    layer, group = torch.nn.LayerNorm(9), torch.nn.GroupNorm(4, 12)
    instance = torch.nn.InstanceNorm1d(12)
    with torch.no_grad():
        for parameter in [*layer.parameters(), *group.parameters()]:
            parameter.copy_(torch.from_numpy(floats(rng, *parameter.shape)))
        wanted = [module(torch.from_numpy(x)).numpy() for module in (layer, group, instance)]
    arrays = [[p.detach().numpy() for p in module.parameters()] for module in (layer, group)]
    ours = [
        sc.LayerNormalization(epsilon=1e-5, gamma=arrays[0][0], beta=arrays[0][1]),
        sc.GroupNormalization(4, 1, 1e-5, gamma=arrays[1][0], beta=arrays[1][1]),
        sc.GroupNormalization(-1, 1, 1e-5, center=False, scale=False),
    ]
    for mine, expected in zip(ours, wanted, strict=True):
        all_close(model_of(mine, x.shape), [expected], EXACT, x)


@pytest.mark.parametrize("mean", [0.0, 30.0, 1e4])
@pytest.mark.parametrize("size", [17, 512, 5000])
def test_accuracy_is_torchs_or_better(mean, size):
    x = floats(np.random.default_rng(size), 20, size) + np.float32(mean)
    wide = torch.from_numpy(x.astype(np.float64))
    expected = torch.nn.functional.layer_norm(wide, (size,)).numpy()
    theirs = torch.nn.functional.layer_norm(torch.from_numpy(x), (size,)).numpy()
    scale = 1 + np.abs(expected)
    model = model_of(sc.LayerNormalization(epsilon=1e-5, center=False, scale=False), (None, size))
    for isa, planned in on_every_isa(model):
        error, others = (np.abs((y - expected) / scale).max() for y in (planned(x), theirs))
        assert error <= ACCURACY_MEDIAN * others, isa
        assert error < 3e-7, isa


def test_constant_rows_and_special_values():
    x = np.full((6, 40), 1e4, np.float32)
    x[1], x[2, 3], x[3, 3], x[4], x[5] = 0, np.nan, np.inf, -0.3, 1e-30
    model = model_of(sc.LayerNormalization(center=False, scale=False), (None, 40))
    for isa, planned in on_every_isa(model):
        y = planned(x)
        assert np.isnan(y[2:4]).all(), isa
        np.testing.assert_allclose(y[[0, 1, 4, 5]], 0, atol=1e-6, err_msg=isa)


# ---- Lengths, rows, steps ------------------------------------------------------------------------

ALONG_TIME = {
    "layer": lambda _: sc.LayerNormalization(axis=[1, 2], center=False, scale=False),
    "time": lambda _: sc.LayerNormalization(axis=1, center=False, scale=False),
    "unit": lambda _: sc.UnitNormalization(axis=1),
    "group": lambda rng: sc.GroupNormalization(3, gamma=floats(rng, 6), beta=floats(rng, 6)),
    "instance": lambda rng: sc.GroupNormalization(-1, gamma=floats(rng, 6), beta=floats(rng, 6)),
    "softmax": lambda _: sc.Softmax(1),
}
ALONE = {
    "layer": lambda rng: sc.LayerNormalization(gamma=floats(rng, 6), beta=floats(rng, 6)),
    "rms": lambda rng: sc.RMSNormalization(scale=floats(rng, 6)),
    "batch": lambda rng: sc.BatchNormalization(
        moving_mean=floats(rng, 6), moving_variance=[1, 2, 3, 4, 5, 6]
    ),
    "prelu": lambda rng: sc.PReLU(floats(rng, 1, 6), shared_axes=1),
    "rescaling": lambda _: sc.Rescaling(2, 1),
    "relu": lambda _: sc.ReLU(1.5, 0.2, 0.5),
}


@pytest.mark.parametrize("name", [*ALONG_TIME, *(f"{name} alone" for name in ALONE)])
def test_rows_end_at_their_lengths(name):
    """Each row is as if alone with its own frames, to the bit, and 0 past its end."""
    rng = np.random.default_rng(9)
    makers = {**ALONG_TIME, **{f"{n} alone": maker for n, maker in ALONE.items()}}
    model = model_of(makers[name](rng), (None, None, 6))
    batch, time = 9, 21
    x, n = floats(rng, batch, time, 6), lengths_of(rng, batch, time)
    n[0] = 0
    for row in range(batch):
        x[row, n[row] :] = np.nan
    for isa, planned in on_every_isa(model):
        for threads in (1, 2):
            y = planned.with_options(threads=threads)(x, lengths=n)
            for row in range(batch):
                own = planned(x[row : row + 1, : n[row]])[0]
                np.testing.assert_array_equal(y[row, : n[row]], own, f"{isa} {row}")
                assert not y[row, n[row] :].any()


@pytest.mark.parametrize("name", ALONE)
def test_steps_have_the_bits_of_runs(name):
    rng = np.random.default_rng(10)
    model = model_of(ALONE[name](rng), (None, None, 6))
    x = floats(rng, 3, 7, 6)
    for isa, planned in on_every_isa(model):
        whole, stream = planned(x), planned.stream(3)
        steps = np.stack([np.array(stream.step(x[:, t])) for t in range(7)], axis=1)
        np.testing.assert_array_equal(steps, whole, isa)


@pytest.mark.parametrize("name", ALONG_TIME)
def test_what_looks_at_the_whole_sequence_cannot_be_stepped(name):
    model = model_of(ALONG_TIME[name](np.random.default_rng(11)), (None, None, 6))
    with pytest.raises(sc.UnsupportedLayerError, match="it looks at the whole sequence"):
        model.stream()


def test_weights_that_differ_from_frame_to_frame_cannot_be_stepped():
    model = model_of(sc.PReLU(np.ones((4, 6))), (None, 4, 6))
    with pytest.raises(sc.UnsupportedLayerError, match="its weights differ from frame to frame"):
        model.stream()


def test_channels_that_come_first_refuse_lengths():
    model = model_of(sc.GroupNormalization(2, 1, center=False, scale=False), (None, 6, 5))
    with pytest.raises(sc.UnsupportedLayerError, match="cannot take rows of different lengths"):
        model(np.ones((2, 6, 5)), lengths=[6, 3])


@pytest.mark.parametrize("batch", BATCHES[:4])
def test_a_row_has_the_same_bits_in_every_batch(batch):
    rng = np.random.default_rng(12)
    layer = sc.LayerNormalization(axis=[1, 2], gamma=floats(rng, 5, 7), beta=floats(rng, 5, 7))
    x = floats(rng, batch, 5, 7)
    for isa, planned in on_every_isa(model_of(layer, (None, 5, 7))):
        alone = np.concatenate([planned(x[row : row + 1]) for row in range(batch)])
        np.testing.assert_array_equal(planned.with_options(threads=2)(x), alone, isa)


def test_inside_time_distributed():
    rng = np.random.default_rng(13)
    x = floats(rng, 3, 4, 5, 6)
    gamma, beta = floats(rng, 5), floats(rng, 5)
    inner = sc.LayerNormalization(axis=1, gamma=gamma, beta=beta)
    expected = ref.normalize(x, W=gamma, b=beta, kind="layer", axes=[2], groups=0, epsilon=1e-3)
    all_close(model_of(sc.TimeDistributed(inner), (None, None, 5, 6)), [expected], EXACT, x)


# ---- Activations ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "shared"),
    [
        ((3, 9), None),
        ((3, 4, 5), [1]),
        ((3, 4, 5), None),
        ((2, 3, 4, 5), [1, 3]),
        ((3, 4, 5), [1, 2]),
    ],
)
def test_prelu(shape, shared):
    rng = np.random.default_rng(14)
    theirs = filled(rng, L.PReLU(shared_axes=shared), shape)
    ours = sc.PReLU.from_keras(theirs.get_weights(), shared_axes=shared)
    check(ours, theirs, floats(rng, *shape))


@pytest.mark.parametrize("max_value", [None, 0.0, 0.7, 6.0])
@pytest.mark.parametrize("negative_slope", [0.0, 0.25])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_relu(max_value, negative_slope, threshold):
    options = {
        "max_value": max_value, "negative_slope": negative_slope, "threshold": threshold,
    }  # fmt: skip
    x = np.concatenate([8 * floats(np.random.default_rng(15), 300), [0, 0.5, 0.7, 1, 6, -np.inf]])
    x = x.astype(np.float32)[None]
    model = model_of(sc.ReLU(**options), (None, x.shape[1]))
    expected = run_keras(L.ReLU(**options), x)[0]
    for isa, planned in on_every_isa(model):
        y = planned(x)
        close(y[:, :-1], expected[:, :-1], EXACT, isa)
        assert y[0, -1] == (-np.inf if negative_slope else 0)
        assert np.isnan(planned(np.full((1, x.shape[1]), np.nan, np.float32))).all()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (sc.LeakyReLU(), L.LeakyReLU()),
        (sc.LeakyReLU(0.1), L.LeakyReLU(0.1)),
        (sc.ELU(), L.ELU()),
        (sc.ELU(0.5), L.ELU(0.5)),
        (sc.Softmax(), L.Softmax()),
        (sc.Softmax(1), L.Softmax(1)),
        (sc.Softmax([1, 2]), L.Softmax([1, 2])),
        (sc.GaussianNoise(0.3), L.GaussianNoise(0.3)),
        (sc.GaussianDropout(0.3), L.GaussianDropout(0.3)),
        (sc.AlphaDropout(0.3), L.AlphaDropout(0.3)),
        (sc.SpatialDropout1D(0.3), L.SpatialDropout1D(0.3)),
        (sc.ActivityRegularization(0.1, 0.2), L.ActivityRegularization(0.1, 0.2)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_without_weights(ours, theirs):
    x = 2 * floats(np.random.default_rng(16), 4, 5, 19)
    all_close(model_of(ours, (None, None, 19)), run_keras(theirs, x), EXACT, x)


def test_thresholded_relu():
    x = np.array([[-3, 0.5, 1, 1.5, np.nan]], np.float32)
    for _, planned in on_every_isa(model_of(sc.ThresholdedReLU(1.0), (None, 5))):
        np.testing.assert_array_equal(planned(x), [[0, 0, 0, 1.5, np.nan]])


KERAS_KINDS = [
    "relu6", "celu", "log_sigmoid", "mish", "hard_silu", "hard_swish", "hard_tanh", "hard_shrink",
    "soft_shrink", "tanh_shrink", "squareplus", "sparse_plus", "sparse_sigmoid", "log_softmax",
    "leaky_relu", "exponential", "softmax",
]  # fmt: skip


@pytest.mark.parametrize("kind", KERAS_KINDS)
def test_activations_by_their_keras_names(kind):
    x = (4 * floats(np.random.default_rng(17), 7, 37)).astype(np.float32)
    x[0, :5] = -1, 1, 0.5, -3, 3
    model = model_of(sc.Activation(kind), (None, 37))
    all_close(model, run_keras(L.Activation(kind), x), EXACT, x)


@pytest.mark.parametrize(
    ("spec", "module"),
    [
        (("celu", 0.3), torch.nn.CELU(0.3)),
        (("hard_shrink", 1.25), torch.nn.Hardshrink(1.25)),
        (("soft_shrink", 1.25), torch.nn.Softshrink(1.25)),
        (("threshold", 0.5, -2), torch.nn.Threshold(0.5, -2)),
    ],
)
def test_activations_with_constants(spec, module):
    x = 4 * floats(np.random.default_rng(18), 7, 37)
    model = model_of(sc.Activation(sc.ActivationSpec(*spec)), (None, 37))
    all_close(model, [module(torch.from_numpy(x)).numpy()], EXACT, x)


@pytest.mark.parametrize("kind", [k for k in KERAS_KINDS if k != "hard_swish"])
@pytest.mark.parametrize("cell", [sc.LSTM, sc.GRU, sc.SimpleRNN])
def test_activations_in_cells(kind, cell):
    """Also those over an axis, of a reset-before GRU too."""
    rng = np.random.default_rng(19)
    gates = {sc.LSTM: 4, sc.GRU: 3, sc.SimpleRNN: 1}[cell]
    kernel, recurrent = floats(rng, 5, gates * 17) / 5, floats(rng, 17, gates * 17) / 17
    options = {} if cell is sc.SimpleRNN else {"recurrent_activation": "sigmoid"}
    if cell is sc.GRU:
        options = {"reset_after": False, "recurrent_activation": "log_softmax"}
        kind = "tanh" if kind == "log_softmax" else kind
    ours = cell.from_keras([kernel, recurrent], activation=kind, use_bias=False, **options)
    theirs = getattr(L, cell.__name__)(17, activation=kind, use_bias=False, **options)
    theirs.build((None, 6, 5))
    theirs.set_weights([kernel, recurrent])
    x = floats(rng, 3, 3, 5) / 2
    all_close(model_of(ours, (None, None, 5)), run_keras(theirs, x), 4 * FLOAT32[1], x)


# ---- Unbuilt, wrong ------------------------------------------------------------------------------

UNBUILT = {
    "BatchNormalization": {}, "LayerNormalization": {}, "RMSNormalization": {}, "PReLU": {},
    "GroupNormalization": {"groups": 2}, "Normalization": {},
}  # fmt: skip


@pytest.mark.parametrize("name", UNBUILT)
def test_layers_without_arrays_count_their_parameters(name):
    ours, theirs = getattr(sc, name)(**UNBUILT[name]), getattr(L, name)(**UNBUILT[name])
    model = model_of(ours, (None, 6, 4))
    theirs.build((None, 6, 4))
    assert model.layers[0].parameters == theirs.count_params()
    assert model.layers[0].output_shape == (None, 6, 4)
    with pytest.raises(sc.NotBuiltError):
        model(np.ones((1, 6, 4)))


def test_saved_and_loaded(tmp_path):
    rng = np.random.default_rng(20)
    x = sc.Input((None, 6))
    layers = [maker(rng) for maker in (*ALONE.values(), *ALONG_TIME.values())]
    y = x
    for layer in layers:
        y = layer(y)
    model, data = sc.Model(x, y), floats(rng, 3, 8, 6)
    for packed in (False, True):
        path = tmp_path / f"{packed}.safetensors"
        model.save(path, packed=packed)
        np.testing.assert_array_equal(outputs(sc.load(path)(data))[0], model(data))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sc.BatchNormalization(0), "axis 0 is the batch"),
        (lambda: sc.BatchNormalization([1, 2]), "axis is one axis"),
        (lambda: sc.LayerNormalization([1, -1]), "all counted from the start or all from the end"),
        (lambda: sc.LayerNormalization([1, 1]), "different axes"),
        (lambda: sc.LayerNormalization(7), "different axes"),
        (lambda: sc.LayerNormalization(epsilon=-1), "epsilon is a number from 0 on"),
        (lambda: sc.LayerNormalization(center=1), "center is True or False"),
        (lambda: sc.LayerNormalization(scale=False, gamma=[1.0]), "gamma is given"),
        (lambda: sc.LayerNormalization(gamma=[1.0, 2], beta=[1.0]), r"expected shape \(2,\)"),
        (lambda: sc.BatchNormalization(gamma=[1.0]), "moving_mean, moving_variance is missing"),
        (
            lambda: sc.BatchNormalization(moving_mean=[1.0], moving_variance=[-1.0]),
            "a variance is negative",
        ),
        (lambda: sc.BatchNormalization.from_keras([[1.0]] * 3), "found 3 arrays"),
        (lambda: sc.GroupNormalization(4, gamma=np.ones(6)), "6 channels do not divide"),
        (lambda: sc.GroupNormalization(0), "groups is a whole number"),
        (lambda: sc.Normalization(mean=1.0), "mean and variance come together"),
        (lambda: sc.Normalization(None, [1.0], [1.0]), "expected at most 0 axes"),
        (lambda: sc.Rescaling("x"), "expected floats"),
        (lambda: sc.ReLU(-1.0), "max_value is a number from 0 on"),
        (lambda: sc.LeakyReLU(-0.1), "negative_slope is a number from 0 on"),
        (lambda: sc.ELU(np.nan), "alpha is a finite number"),
        (lambda: sc.Softmax(0), "axis 0 is the batch"),
        (lambda: sc.PReLU(np.ones((2, 3)), shared_axes=[1]), r"expected shape \(1, any\)"),
        (lambda: sc.PReLU(np.ones(3), shared_axes=[2]), "expected the axes of the input"),
        (lambda: sc.PReLU(shared_axes=-1), "count from 1"),
        (lambda: sc.GaussianNoise(-1), "stddev is a number from 0 on"),
        (lambda: sc.ActivationSpec("celu", 0.0), "alpha is a number above 0"),
        (lambda: sc.ActivationSpec("soft_shrink", -1.0), "alpha is a number from 0 on"),
        (lambda: sc.ActivationSpec("squareplus", -4), "alpha is a number from 0 on"),
        (lambda: sc.ActivationSpec("sparse_sigmoid", 0.2), "expected one of"),
        (lambda: sc.Activation("glu"), "found 'glu'"),
        (lambda: sc.Activation("sparsemax"), "found 'sparsemax'"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises((sc.OptionError, sc.WeightsError, sc.DtypeError), match=message):
        make()


def test_inputs_that_do_not_fit_the_weights():
    layer = sc.LayerNormalization(gamma=np.ones(6), beta=np.ones(6))
    with pytest.raises((sc.ShapeError, sc.WeightsError), match="layer_normalization"):
        model_of(layer, (None, None, 5))
    with pytest.raises(sc.GraphError, match="'axes'"):
        model_of(sc.UnitNormalization(axis=2), (None, 5))
    with pytest.raises(sc.ShapeError, match="5 channels do not divide into 2 groups"):
        model_of(sc.GroupNormalization(2, center=False, scale=False), (None, 3, 5))
    model = model_of(sc.PReLU(np.ones((4, 6))), (None, None, 6))
    with pytest.raises(sc.ShapeError, match="axis 1 of the input must have size 4, found 3"):
        model(np.ones((2, 3, 6)))
