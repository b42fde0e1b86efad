"""Convolution, pooling, padding and cropping against Keras 3 (torch backend), on every ISA.

Where the torch backend differs from what Keras documents and its TensorFlow backend does, torch's
own functions stand in by the definition: "same" average pooling, whose padding Keras-torch counts
wherever it is not even on both sides. Causal depthwise convolution is Keras's behind zeros.
"""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import torch
from frameworks import all_close, filled, floats, on_every_isa, outputs, run_keras
from tolerances import FLOAT32, close

import seqcore as sc
from seqcore._binding import Plan

K = keras.layers
CHANNELS = (1, 2, 7, 16, 33, 64, 65, 97)
TIMES = (13, 20)


def model_of(layer, channels, time=None):
    source = sc.Input((time, channels))
    return sc.Model(source, layer(source))


# ---- Average pooling ---------------------------------------------------------------------------


def average_pooling(x, pool_size, strides, padding):
    """Sums and counts of windows by torch, over zeros where TensorFlow pads."""
    time = x.shape[1]
    covered = (-(-time // strides) - 1) * strides + pool_size
    total = max(0, covered - time) if padding == "same" else 0
    ends = (total // 2, total - total // 2)
    sums, counts = (
        torch.nn.functional.avg_pool1d(torch.nn.functional.pad(v, ends), pool_size, strides)
        for v in (torch.from_numpy(x).transpose(1, 2), torch.ones(1, 1, time))
    )
    return (sums / counts).transpose(1, 2).numpy()


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("pool_size", "strides"), [(2, None), (3, 1), (3, 2), (2, 3), (4, 3)])
def test_average_pooling(rng, pool_size, strides, padding):
    ours = sc.AveragePooling1D(pool_size, strides=strides, padding=padding)
    theirs = K.AveragePooling1D(pool_size, strides=strides, padding=padding)
    for channels in (1, 7, 16, 33):
        for time in (12, 13):
            x = floats(rng, 3, time, channels) + 2  # a padding that counts would show
            expected = average_pooling(x, pool_size, strides or pool_size, padding)
            all_close(model_of(ours, channels), [expected], FLOAT32[0], x)
            if padding == "valid" or (pool_size, strides) == (3, 1):  # even on both sides
                close(run_keras(theirs, x)[0], expected, FLOAT32[0])


# ---- Global pooling ----------------------------------------------------------------------------


def masks(rng, batch, time):
    """Return any patterns, among them a row where all frames count and one where none does."""
    mask = rng.random((batch, time)) < 0.6
    mask[0], mask[1] = True, False
    return mask


def same_with_nan(actual, expected, tolerance):
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    close(np.nan_to_num(actual), np.nan_to_num(expected), tolerance)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("keepdims", [False, True])
def test_masked_average(rng, keepdims):
    """0/0 for a row where no frame counts, and what masked frames hold never matters."""
    theirs = K.GlobalAveragePooling1D(keepdims=keepdims)
    for channels in CHANNELS:
        x, mask = floats(rng, 9, 11, channels) + 2, masks(rng, 9, 11)
        x[~mask] = np.nan
        (expected,) = run_keras(theirs, x, mask=torch.from_numpy(mask))
        assert np.isnan(expected[1]).all()
        assert not np.isnan(expected[2:]).any()
        model = model_of(sc.GlobalAveragePooling1D(keepdims=keepdims), channels)
        for _, planned in on_every_isa(model):
            same_with_nan(planned(x, mask=mask), expected, FLOAT32[0])


def test_a_mask_that_ids_make_and_lengths_meet(rng):
    """Frames count that the mask keeps within the row; a row of no frames is 0."""
    table = floats(rng, 5, 17)
    model = sc.Sequential([sc.Embedding(table, mask_zero=True), sc.GlobalAveragePooling1D()])
    ids, lengths = rng.integers(0, 5, (7, 9)), np.array([9, 0, 3, 5, 1, 7, 4])
    ids[2, :3] = 0
    ids[2, 3:] = 1
    actual = model(ids, lengths=lengths)
    for i, n in enumerate(lengths):
        kept = table[ids[i, :n][ids[i, :n] > 0]]
        expected = kept.mean(axis=0) if len(kept) else np.full(17, np.nan if n else 0)
        same_with_nan(actual[i], expected, FLOAT32[0])
    assert np.isnan(actual[2]).all()
    assert not actual[1].any()


@pytest.mark.parametrize("name", ["GlobalAveragePooling1D", "GlobalMaxPooling1D"])
def test_kept_axes(rng, name):
    x = floats(rng, 5, 8, 17) - 4
    model = model_of(getattr(sc, name)(keepdims=True), 17)
    assert model.layers[0].output_shape == (None, 1, 17)
    all_close(model, run_keras(getattr(K, name)(keepdims=True), x), FLOAT32[0], x)


@pytest.mark.parametrize(
    "layer",
    [
        sc.MaxPooling1D(2), sc.AveragePooling1D(2), sc.Cropping1D(1), sc.ZeroPadding1D(1),
        sc.Conv1D(np.ones((1, 3, 3))), sc.DepthwiseConv1D(np.ones((1, 3, 1))),
        sc.SeparableConv1D(np.ones((1, 3, 1)), np.ones((1, 3, 3))),
        sc.Conv1DTranspose(np.ones((1, 3, 3))),
    ],
    ids=lambda layer: layer.kind,
)  # fmt: skip
def test_a_mask_ends_at_a_window(layer):
    """Masking zeroes frames; behind these layers all count again, as Keras drops the mask."""
    sizes = (3, 1) if layer.kind in ("Conv1D", "SeparableConv1D", "Conv1DTranspose") else (1,)
    assert not getattr(K, layer.kind)(*sizes).supports_masking
    model = sc.Sequential([sc.Input((None, 3)), sc.Masking(), layer, sc.GlobalAveragePooling1D()])
    plain = sc.Sequential([sc.Input((None, 3)), layer, sc.GlobalAveragePooling1D()])
    x = np.ones((2, 6, 3), np.float32)
    x[:, 2:4] = 0
    np.testing.assert_array_equal(model(x), plain(x))


# ---- Depthwise and separable convolution --------------------------------------------------------

WINDOWS = [
    (padding, strides, dilation)
    for padding in ("valid", "same", "causal")
    for strides, dilation in ((1, 1), (2, 1), (3, 1), (1, 2), (1, 3))
]


def behind_zeros(x, padding, kernel_size, dilation_rate):
    """Return input and padding with which Keras makes what causal padding does."""
    if padding != "causal":
        return x, padding
    return np.pad(x, ((0, 0), ((kernel_size - 1) * dilation_rate, 0), (0, 0))), "valid"


@pytest.mark.parametrize(("padding", "strides", "dilation_rate"), WINDOWS)
def test_depthwise(rng, padding, strides, dilation_rate):
    options = {"strides": strides, "dilation_rate": dilation_rate}
    for index, channels in enumerate(CHANNELS):
        kernel_size, multiplier = (3, 1, 4, 2)[index % 4], (1, 2, 1, 3, 17)[index % 5]
        x = floats(rng, 5, TIMES[index % 2], channels)
        feed, theirs_padding = behind_zeros(x, padding, kernel_size, dilation_rate)
        theirs = K.DepthwiseConv1D(
            kernel_size, depth_multiplier=multiplier, padding=theirs_padding, activation="tanh",
            use_bias=index % 3 > 0, **options,
        )  # fmt: skip
        filled(rng, theirs, (None, None, channels))
        ours = sc.DepthwiseConv1D.from_keras(
            theirs.get_weights(), padding=padding, activation="tanh", **options
        )
        model = sc.Sequential([ours])
        assert ours.parameters(()) == theirs.count_params()
        all_close(model, run_keras(theirs, feed), FLOAT32[0], x)


@pytest.mark.parametrize(("padding", "strides", "dilation_rate"), WINDOWS)
def test_separable(rng, padding, strides, dilation_rate):
    options = {"strides": strides, "dilation_rate": dilation_rate}
    for index, channels in enumerate((1, 7, 16, 33)):
        kernel_size, multiplier = (3, 1, 4, 2)[index % 4], (1, 2, 3)[index % 3]
        x = floats(rng, 5, TIMES[index % 2], channels)
        feed, theirs_padding = behind_zeros(x, padding, kernel_size, dilation_rate)
        theirs = K.SeparableConv1D(
            17, kernel_size, depth_multiplier=multiplier, padding=theirs_padding,
            activation="relu", use_bias=index % 2 > 0, **options,
        )  # fmt: skip
        filled(rng, theirs, (None, None, channels))
        ours = sc.SeparableConv1D.from_keras(
            theirs.get_weights(), padding=padding, activation="relu", **options
        )
        assert ours.parameters(()) == theirs.count_params()
        all_close(sc.Sequential([ours]), run_keras(theirs, feed), FLOAT32[0], x)


def test_depthwise_bits_are_those_of_groups(rng):
    """A conv1d of one channel a group is the same op, however many filters a channel has."""
    x = floats(rng, 3, 15, 33)
    for multiplier in (1, 3):
        kernel, bias = floats(rng, 4, 33, multiplier), floats(rng, 33 * multiplier)
        depthwise = sc.Sequential([sc.DepthwiseConv1D(kernel, bias, padding="same")])
        grouped = sc.Conv1D(kernel.reshape(4, 1, -1), bias, groups=33, padding="same")
        for isa, planned in on_every_isa(depthwise):
            other = sc.Sequential([grouped]).with_options(isa=isa)
            np.testing.assert_array_equal(planned(x), other(x))


# ---- Transposed convolution --------------------------------------------------------------------

TRANSPOSED = [
    (padding, kernel_size, strides, dilation_rate, output_padding)
    for padding in ("valid", "same")
    for kernel_size, strides, dilation_rate in (
        (1, 1, 1), (3, 1, 1), (4, 1, 1), (3, 2, 1), (4, 2, 1), (2, 3, 1), (5, 3, 1), (1, 2, 1),
        (3, 1, 2), (2, 1, 3), (7, 2, 1),
    )
    for output_padding in (None, 0, 1, 2)
    if output_padding is None or output_padding < strides
]  # fmt: skip


@pytest.mark.parametrize(
    ("padding", "kernel_size", "strides", "dilation_rate", "output_padding"), TRANSPOSED
)
def test_transposed(rng, padding, kernel_size, strides, dilation_rate, output_padding):
    options = {
        "padding": padding, "strides": strides, "dilation_rate": dilation_rate,
        "output_padding": output_padding,
    }  # fmt: skip
    for channels, filters, time in ((1, 1, 1), (7, 16, 2), (33, 65, 9), (16, 5, 150)):
        theirs = K.Conv1DTranspose(filters, kernel_size, activation="tanh", **options)
        filled(rng, theirs, (None, None, channels))
        ours = sc.Conv1DTranspose.from_keras(theirs.get_weights(), activation="tanh", **options)
        assert ours.parameters(()) == theirs.count_params()
        x = floats(rng, 3, time, channels)
        all_close(sc.Sequential([ours]), run_keras(theirs, x), FLOAT32[0], x)


# ---- Padding and cropping ----------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, (2, 0), (0, 3), [1, 2]])
def test_ends(rng, count):
    x = floats(rng, 3, 9, 5)
    for ours, theirs in (
        (sc.ZeroPadding1D(count), K.ZeroPadding1D(count)),
        (sc.Cropping1D(count), K.Cropping1D(count)),
    ):
        model = model_of(ours, 5)
        for _, planned in on_every_isa(model):
            np.testing.assert_array_equal(planned(x), run_keras(theirs, x)[0])


def test_nothing_is_left_of_a_short_row():
    model = model_of(sc.Cropping1D((2, 3)), 1)
    assert model(np.ones((2, 5, 1))).shape == (2, 0, 1)
    assert model(np.ones((2, 3, 1))).shape == (2, 0, 1)
    padded = model_of(sc.ZeroPadding1D((1, 2)), 1)
    assert padded(np.ones((2, 0, 1))).tolist() == [[[0.0]] * 3] * 2


# ---- Rows alone: lengths, batches, threads ------------------------------------------------------


def layers(rng, channels):
    """Return a layer of each kind and of every way through its op."""

    def kernel(*shape):
        return floats(rng, *shape), floats(rng, shape[-1])

    options = {"activation": "tanh"}
    return [
        *(sc.AveragePooling1D(3, strides=s, padding=p) for s, p in ((2, "same"), (1, "valid"))),
        *(
            sc.DepthwiseConv1D(
                floats(rng, 3, channels, m), floats(rng, channels * m), padding=p, **options
            )
            for m, p in ((1, "same"), (1, "causal"), (2, "valid"))
        ),
        sc.DepthwiseConv1D(floats(rng, 2, channels, 1), strides=2, padding="same"),
        sc.SeparableConv1D(floats(rng, 4, channels, 2), *kernel(1, 2 * channels, 9)),
        *(
            sc.Conv1DTranspose(
                floats(rng, 4, 17, channels), floats(rng, 17), padding=p, strides=s, **options
            )
            for s, p in ((1, "same"), (2, "same"), (3, "valid"), (6, "same"))
        ),
        sc.Conv1DTranspose(floats(rng, 3, 5, channels), dilation_rate=2),
        sc.ZeroPadding1D((2, 3)),
        sc.Cropping1D((1, 2)),
    ]


def test_rows_are_as_if_alone(rng):
    """With lengths, at any place of a large batch, divided among threads: the same bits."""
    channels, time, batch = 19, 23, 60
    lengths = rng.integers(0, time + 1, batch)
    lengths[:4] = 0, 1, 2, time
    x = floats(rng, batch, time, channels)
    x[np.arange(time) >= lengths[:, None]] = np.nan  # frames past an end are nobody's
    for layer in layers(rng, channels):
        model = model_of(layer, channels)
        for isa, planned in on_every_isa(model):
            rows = [outputs(planned(x[i : i + 1, :n]))[0][0] for i, n in enumerate(lengths)]
            for threads in (1, 3):
                made = planned.with_options(threads=threads)(x, lengths=lengths)
                for i, row in enumerate(rows):
                    where = f"{isa}, {layer.kind}, row {i}"
                    np.testing.assert_array_equal(made[i, : len(row)], row, where)
                    assert not made[i, len(row) :].any(), where


def test_lengths_travel_on(rng):
    """What comes behind sees the rows' new ends: a mean over each row's own frames."""
    channels, lengths = 4, np.array([7, 3, 1, 5])
    x = floats(rng, 4, 7, channels)
    for layer in layers(rng, channels):
        source = sc.Input((None, channels))
        model = sc.Model(source, sc.GlobalAveragePooling1D()(layer(source)))
        rows = [model(x[i : i + 1, :n])[0] for i, n in enumerate(lengths)]
        np.testing.assert_array_equal(model(x, lengths=lengths), np.stack(rows), layer.kind)


# ---- Steps --------------------------------------------------------------------------------------


@pytest.mark.parametrize("multiplier", [1, 3])
@pytest.mark.parametrize(("kernel_size", "dilation_rate"), [(1, 1), (3, 1), (2, 4)])
def test_causal_convolutions_are_stepped(rng, kernel_size, dilation_rate, multiplier):
    options = {"padding": "causal", "dilation_rate": dilation_rate, "activation": "tanh"}
    x = floats(rng, 150, 12, 33)
    kernel = floats(rng, kernel_size, 33, multiplier)
    for layer in (
        sc.DepthwiseConv1D(kernel, floats(rng, 33 * multiplier), **options),
        sc.SeparableConv1D(kernel, floats(rng, 1, 33 * multiplier, 5), **options),
    ):
        for isa, planned in on_every_isa(sc.Sequential([layer])):
            expected, stream = planned(x), planned.stream(150)
            for t in range(12):
                np.testing.assert_array_equal(stream.step(x[:, t]), expected[:, t], isa)


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (sc.AveragePooling1D(2), "still to come"),
        (sc.GlobalAveragePooling1D(), "whole sequence"),
        (sc.DepthwiseConv1D(np.ones((3, 2, 1)), padding="same"), "not causal"),
        (sc.DepthwiseConv1D(np.ones((3, 2, 1)), padding="causal", strides=2), "strides"),
        (sc.Conv1DTranspose(np.ones((2, 2, 2))), "later ones"),
        (sc.Cropping1D(1), "ends of the sequence"),
        (sc.ZeroPadding1D((1, 0)), "ends of the sequence"),
    ],
    ids=lambda value: getattr(value, "kind", value),
)
def test_what_cannot_be_stepped_says_why(layer, why):
    with pytest.raises(sc.UnsupportedLayerError, match=why):
        model_of(layer, 2).stream(1)


# ---- Layers without weights, files --------------------------------------------------------------


def test_layers_without_weights_know_their_sizes():
    source = sc.Input((20, 6))
    for layer, count, shape in (
        (sc.DepthwiseConv1D(3, depth_multiplier=2), 48, (None, 18, 12)),
        (sc.DepthwiseConv1D(3, use_bias=False), 18, (None, 18, 6)),
        (sc.SeparableConv1D(5, 3, depth_multiplier=2), 36 + 60 + 5, (None, 18, 5)),
        (sc.Conv1DTranspose(5, 3, strides=2), 95, (None, 41, 5)),
    ):
        (info,) = sc.Model(source, layer(source)).layers
        assert (info.parameters, info.output_shape) == (count, shape), layer.kind
        slots = [slot.role for slot in layer.keras_weights()]
        theirs = getattr(K, layer.kind)(
            *((3,) if layer.kind == "DepthwiseConv1D" else (5, 3)), use_bias=len(slots) > 1
        )
        theirs.build((None, 20, 6))
        assert slots == [w.name for w in theirs.weights]


def test_weights_are_loaded_into_layers_that_have_none(rng):
    x = floats(rng, 2, 9, 6)
    for theirs, ours in (
        (K.DepthwiseConv1D(3, depth_multiplier=2), sc.DepthwiseConv1D(3, depth_multiplier=2)),
        (K.SeparableConv1D(5, 3, padding="same"), sc.SeparableConv1D(5, 3, padding="same")),
        (K.Conv1DTranspose(5, 3, strides=2), sc.Conv1DTranspose(5, 3, strides=2)),
        (K.Conv1D(5, 3), sc.Conv1D(5, kernel_size=3)),
    ):
        filled(rng, theirs, (None, None, 6))
        layer = ours.loaded(theirs.get_weights())
        all_close(sc.Sequential([layer]), run_keras(theirs, x), FLOAT32[0], x)


@pytest.mark.parametrize("packed", [False, True])
def test_saved_and_loaded(rng, tmp_path, packed):
    x = floats(rng, 3, 11, 6)
    for layer in layers(rng, 6):
        model = model_of(layer, 6)
        model.save(tmp_path / "model", packed=packed)
        np.testing.assert_array_equal(sc.load(tmp_path / "model")(x), model(x), layer.kind)


# ---- Bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: sc.AveragePooling1D(0), sc.OptionError, "pool_size"),
        (lambda: sc.AveragePooling1D(2, padding="causal"), sc.OptionError, "padding"),
        (lambda: sc.GlobalMaxPooling1D(keepdims=1), sc.OptionError, "keepdims"),
        (lambda: sc.Cropping1D(-1), sc.OptionError, "cropping"),
        (lambda: sc.Cropping1D((1, 2, 3)), sc.OptionError, "cropping"),
        (lambda: sc.Cropping1D(True), sc.OptionError, "cropping"),
        (lambda: sc.ZeroPadding1D((1, 1.5)), sc.OptionError, "padding"),
        (lambda: sc.DepthwiseConv1D(0), sc.OptionError, "kernel_size"),
        (lambda: sc.DepthwiseConv1D(3, depth_multiplier=0), sc.OptionError, "depth_multiplier"),
        (lambda: sc.DepthwiseConv1D(3, np.ones(3)), sc.OptionError, "bias needs a kernel"),
        (lambda: sc.DepthwiseConv1D(np.ones((3, 2))), sc.WeightsError, "kernel"),
        (lambda: sc.DepthwiseConv1D(np.ones((3, 2, 2)), np.ones(2)), sc.WeightsError, r"\(4,\)"),
        (
            lambda: sc.DepthwiseConv1D(np.ones((3, 2, 2)), depth_multiplier=1),
            sc.OptionError, "2 filters for each channel",
        ),
        (
            lambda: sc.SeparableConv1D(np.ones((3, 2, 2)), np.ones((1, 3, 5))),
            sc.WeightsError, r"pointwise_kernel.*\(1, 4, any\)",
        ),
        (lambda: sc.SeparableConv1D(4, 3, np.ones(4)), sc.OptionError, "kernels in place"),
        (
            lambda: sc.SeparableConv1D.from_keras([np.ones((3, 2, 2))]),
            sc.WeightsError, "depthwise_kernel and pointwise_kernel",
        ),
        (lambda: sc.Conv1DTranspose(3, 2, padding="causal"), sc.OptionError, "padding"),
        (lambda: sc.Conv1DTranspose(3, 2, strides=2, dilation_rate=2), sc.OptionError, "strides"),
        (
            lambda: sc.Conv1DTranspose(3, 2, strides=2, output_padding=2),
            sc.OptionError, "less than strides",
        ),
        (lambda: sc.Conv1DTranspose(np.ones((2, 3, 4)), np.ones(4)), sc.WeightsError, r"\(3,\)"),
        (lambda: sc.Conv1D.from_keras([]), sc.WeightsError, "expected kernel"),
    ],
)  # fmt: skip
def test_bad_options(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "channels"),
    [
        (sc.DepthwiseConv1D(np.ones((3, 4, 1))), 5),
        (sc.SeparableConv1D(np.ones((3, 4, 1)), np.ones((1, 4, 2))), 5),
        (sc.Conv1DTranspose(np.ones((3, 2, 4))), 5),
    ],
    ids=lambda value: getattr(value, "kind", value),
)
def test_channels_that_do_not_fit_are_refused(layer, channels):
    with pytest.raises(sc.WeightsError, match=r"layer '\w*conv1d\w*' .* must be float32 of shape"):
        model_of(layer, channels)


@pytest.mark.parametrize("layer", layers(np.random.default_rng(0), 4), ids=lambda v: v.kind)
def test_other_ranks_are_refused(layer):
    source = sc.Input((4,))
    with pytest.raises(sc.ShapeError, match="time, channels"):
        sc.Model(source, layer(source))


LINEAR = ["linear", 0, 0]
CONV = {"kernel_size": 2, "strides": 1, "dilation": 1, "activation": LINEAR}
OPS = {
    "depthwise_conv1d": CONV | {"multiplier": 1, "padding": "same"},
    "conv1d_transpose": CONV | {"filters": 3, "crop": 0, "tail": 2},
    "avg_pool1d": {"pool_size": 2, "strides": 1, "padding": "same"},
    "pad1d": {"left": 1, "right": -1},
}


def plan_of(op, attrs, channels=3, time=None):
    node = {
        "op": op, "layer": f"my_{op}", "inputs": ["x"], "outputs": ["y"], "attrs": attrs,
        "weights": {"W": "W", "b": "b"},
    }  # fmt: skip
    document = {
        "format": "seqcore", "version": 1, "nodes": [node],
        "inputs": [{"name": "x", "kind": "data", "dtype": "float32", "shape": [time, channels]}],
        "outputs": [{"name": "y", "value": "y"}],
    }  # fmt: skip
    depth = 1 if op == "depthwise_conv1d" else 3
    tensors = {"W": np.ones((2, channels or 0, depth), np.float32), "b": np.ones(3, np.float32)}
    return Plan(json.dumps(document).encode(), tensors)


@pytest.mark.parametrize("value", [None, 1.5, -1, "1", 2**24 + 1, 2**53, 1e300, [], True])
@pytest.mark.parametrize(
    ("op", "attr"), [(op, attr) for op, attrs in OPS.items() for attr in attrs]
)
def test_attributes_that_no_layer_has(op, attr, value):
    plan_of(op, OPS[op])
    if op == "pad1d" and value == -1:
        return  # a frame cut
    with pytest.raises((sc.GraphError, sc.WeightsError, sc.ShapeError), match=f"my_{op}"):
        plan_of(op, OPS[op] | {attr: value})


def test_sizes_that_no_call_has():
    with pytest.raises(sc.GraphError, match="strides or dilation"):
        plan_of("conv1d_transpose", OPS["conv1d_transpose"] | {"strides": 2, "dilation": 2})
    with pytest.raises(sc.ShapeError, match="0 channels"):
        plan_of("depthwise_conv1d", OPS["depthwise_conv1d"], channels=0)
    huge = np.empty((1, 2**44, 0), np.float32)
    wide = OPS["conv1d_transpose"] | {"strides": 2**24, "kernel_size": 2}
    with pytest.raises(sc.ShapeError, match=r"my_conv1d_transpose.*too"):
        plan_of("conv1d_transpose", wide, channels=0).run([huge])
    long = OPS["conv1d_transpose"] | {"strides": 2**24, "tail": 1, "crop": 2**24}
    y = plan_of("conv1d_transpose", long).run([np.ones((1, 1, 3), np.float32)])[0]
    np.testing.assert_array_equal(y, np.ones((1, 1, 3)))  # the bias: no tap reaches this far
