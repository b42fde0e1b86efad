"""Windows and paddings as torch has them: explicit padding, ceil_mode, dilation, parts of a row.

Against torch's own functions, on every instruction set, and against the reference. Rows of
different lengths are compared with the reference and with the same rows alone.
"""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from frameworks import all_close, floats, on_every_isa
from stream_models import check_steps
from tolerances import FLOAT32, close

import seqcore as sc
from seqcore import reference as ref
from seqcore._binding import Plan
from seqcore.layers import AdaptiveAveragePooling1D, AdaptiveMaxPooling1D, Padding1D

CHANNELS = (1, 7, 16, 17, 33)
LENGTHS = np.array([7, 0, 3, 1, 6, 2])
MODES = ("constant", "reflect", "replicate", "circular")
INF = float("inf")


def model_of(layer, channels, time=None):
    source = sc.Input((time, channels))
    return sc.Model(source, layer(source))


def by_torch(function, x, *args, **options):
    """A function of (B, C, T) over (B, T, C)."""
    return function(torch.from_numpy(x).transpose(1, 2), *args, **options).transpose(1, 2).numpy()


def of_reference(model, x, lengths=None):
    given = {model.inputs[0]: x, f"{model.inputs[0]}:lengths": lengths}
    return ref.run(model._graph.document, model._graph.tensors, given)[0]


def agrees(model, expected, x, tolerance=FLOAT32[0]):
    all_close(model, [expected], tolerance, x)
    close(of_reference(model, x), expected, tolerance, "reference")


def rows(model, x, lengths=LENGTHS, alone=LENGTHS):
    """Rows by the reference, and bit by bit the same alone, where they can be called alone."""
    x = x.copy()
    x[np.arange(x.shape[1]) >= lengths[:, None]] = np.nan
    expected = of_reference(model, x, lengths)
    for isa, planned in on_every_isa(model):
        y = planned(x, lengths=lengths)
        np.testing.assert_array_equal(np.isinf(y), np.isinf(expected), isa)
        finite = np.isfinite(expected)
        close(np.where(finite, y, 0), np.where(finite, expected, 0), FLOAT32[1], isa)
        for m, n in enumerate(lengths):
            if n in alone:
                single = planned(x[m : m + 1, :n])
                assert single.tobytes() == y[m : m + 1, : single.shape[1]].tobytes(), f"row {m}"
                assert not y[m, single.shape[1] :].any(), f"{isa}, past the end of row {m}"


# ---- Padding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_padding(rng, mode):
    """Of as many frames as the mode takes, and of more; more than the row has, to replicate."""
    value = -INF if mode == "constant" else 0.0
    for left, right in itertools.product((0, 1, 3, 5), (0, 1, 4, 5)):
        for channels in CHANNELS:
            x = floats(rng, 3, 6, channels)
            expected = by_torch(F.pad, x, (left, right), mode=mode, value=value)
            model = model_of(Padding1D(left, right, mode=mode, value=value), channels)
            for isa, planned in on_every_isa(model):
                np.testing.assert_array_equal(planned(x), expected, isa)
            np.testing.assert_array_equal(of_reference(model, x), expected)
    x = floats(rng, 2, 6, 3)
    if mode == "circular":
        expected = by_torch(F.pad, x, (6, 6), mode=mode)
        np.testing.assert_array_equal(model_of(Padding1D(6, 6, mode=mode), 3)(x), expected)
    if mode == "replicate":
        expected = by_torch(F.pad, x[:, :1], (9, 6), mode=mode)
        np.testing.assert_array_equal(model_of(Padding1D(9, 6, mode=mode), 3)(x[:, :1]), expected)


@pytest.mark.parametrize(("left", "right"), [(-2, 1), (3, -1), (-1, -2), (-9, 4), (0, -9), (2, 2)])
@pytest.mark.parametrize("value", [0.0, 2.5, -INF])
def test_padding_that_cuts(rng, left, right, value):
    x = floats(rng, 3, 7, 5)
    model = model_of(Padding1D(left, right, mode="constant", value=value), 5)
    if 7 + left + right > 0:
        expected = np.full((3, 7 + left + right, 5), value, np.float32)
        inside = x[:, max(-left, 0) : 7 + min(right, 0)]
        expected[:, max(left, 0) : max(left, 0) + inside.shape[1]] = inside
        agrees(model, expected, x) if np.isfinite(value) else np.testing.assert_array_equal(
            model(x), expected
        )
    rows(model, floats(rng, 6, 7, 5))


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize(("left", "right"), [(2, 3), (0, 6), (5, 0), (0, 0)])
def test_padding_of_rows_of_different_lengths(rng, mode, left, right):
    """Short rows go on being turned round, or begin once more; a row of no frames has none."""
    most = max(left, right)
    least = {"reflect": most + 1 if most else 0, "circular": most, "replicate": 0}[mode]
    alone = [n for n in LENGTHS if n >= least]
    rows(model_of(Padding1D(left, right, mode=mode), 5), floats(rng, 6, 7, 5), alone=alone)


def test_a_short_row_is_turned_round_again(rng):
    """As NumPy pads, which knows no shortest row."""
    x, lengths = floats(rng, 3, 7, 2), np.array([2, 1, 3])
    for mode, name in (("reflect", "reflect"), ("circular", "wrap"), ("replicate", "edge")):
        y = model_of(Padding1D(5, 4, mode=mode), 2)(x, lengths=lengths)
        for m, n in enumerate(lengths):
            expected = np.pad(x[m, :n], ((5, 4), (0, 0)), mode=name)
            np.testing.assert_array_equal(y[m, : n + 9], expected)


@pytest.mark.parametrize(
    ("mode", "frames", "enough"), [("reflect", 3, 4), ("circular", 2, 3), ("reflect", 0, 4)]
)
def test_padding_of_too_few_frames_is_refused(mode, frames, enough):
    layer = Padding1D(1, 3, mode=mode, name="guilty")
    model = model_of(layer, 2)
    assert model(np.ones((1, enough, 2), np.float32)).shape == (1, enough + 4, 2)
    with pytest.raises(sc.ShapeError, match=rf"'guilty'.*at least {enough} frames, found {frames}"):
        model(np.ones((1, frames, 2), np.float32))
    with pytest.raises(sc.ShapeError, match="'guilty'"):
        model_of(layer, 2, max(frames, 1))


def test_padding_in_steps(rng):
    for mode in MODES:
        check_steps(model_of(Padding1D(0, 0, mode=mode), 5), [floats(rng, 2, 4, 5)], mode)
        with pytest.raises(sc.UnsupportedLayerError, match=r"'guilty'.*adds or cuts"):
            model_of(Padding1D(1, 0, mode=mode, name="guilty"), 5).stream()


def plan_of(op, attrs, weights=()):
    """A plan of one node, its attributes as they are."""
    node = {"op": op, "layer": "guilty", "inputs": ["x"], "outputs": ["y"], "attrs": attrs}
    document = {
        "format": "seqcore", "version": 1,
        "inputs": [{"name": "x", "kind": "data", "dtype": "float32", "shape": [None, 2]}],
        "nodes": [node | {"weights": {name: name for name in weights}}],
        "outputs": [{"name": "y", "value": "y"}],
    }  # fmt: skip
    return Plan(json.dumps(document).encode(), dict(weights))


def test_graphs_of_before_there_were_these_attributes(rng):
    x = floats(rng, 2, 5, 2)
    (y,) = plan_of("pad1d", {"left": 1, "right": -1}).run([x])
    np.testing.assert_array_equal(y, np.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1])
    old = {"pool_size": 2, "strides": 2, "padding": "same"}
    (y,) = plan_of("max_pool1d", old).run([x])
    np.testing.assert_array_equal(y, model_of(sc.MaxPooling1D(2, padding="same"), 2)(x))
    (y,) = plan_of("avg_pool1d", old).run([x])
    np.testing.assert_array_equal(y, model_of(sc.AveragePooling1D(2, padding="same"), 2)(x))


# ---- Pooling -------------------------------------------------------------------------------------

POOLS = [
    (size, strides, padding, ceil)
    for size, strides, ceil in itertools.product((1, 2, 3, 4), (1, 2, 5), (False, True))
    for padding in range(size // 2 + 1)
]


@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_maximum_of_padded_windows(rng, dilation):
    """Numbers below zero, so that padding that was a candidate would win."""
    checked = 0
    for size, strides, padding, ceil in POOLS:
        for time in (1, 5, 8):
            channels = CHANNELS[checked % len(CHANNELS)]
            x = -np.abs(floats(rng, 2, time, channels)) - 1
            try:
                expected = by_torch(F.max_pool1d, x, size, strides, padding, dilation, ceil)
            except RuntimeError:  # no output, or a padding that torch does not take
                continue
            layer = sc.MaxPooling1D(
                size, strides=strides, padding=(padding, padding), dilation=dilation, ceil_mode=ceil
            )
            model = model_of(layer, channels)
            for isa, planned in on_every_isa(model):
                np.testing.assert_array_equal(planned(x), expected, f"{isa} {layer.options} {time}")
            np.testing.assert_array_equal(of_reference(model, x), expected)
            checked += 1
    assert checked > 60


@pytest.mark.parametrize("counts", [False, True])
def test_average_of_padded_windows(rng, counts):
    checked = 0
    for size, strides, padding, ceil in POOLS:
        for time in (1, 5, 8):
            channels = CHANNELS[checked % len(CHANNELS)]
            x = floats(rng, 2, time, channels) + 3
            try:
                expected = by_torch(F.avg_pool1d, x, size, strides, padding, ceil, counts)
            except RuntimeError:
                continue
            layer = sc.AveragePooling1D(
                size, strides=strides, padding=(padding, padding), ceil_mode=ceil,
                count_include_pad=counts,
            )  # fmt: skip
            agrees(model_of(layer, channels), expected, x)
            checked += 1
    assert checked > 60


@pytest.mark.parametrize("padding", [(0, 2), (2, 0), (1, 2)])
@pytest.mark.parametrize("ceil", [False, True])
def test_ends_that_differ(rng, padding, ceil):
    """The reference; and without counting, frames that torch's zeros put there do not matter."""
    for strides, counts in itertools.product((1, 2, 3), (False, True)):
        options = {"strides": strides, "padding": padding, "ceil_mode": ceil}
        average = sc.AveragePooling1D(3, count_include_pad=counts, **options)
        for layer in (average, sc.MaxPooling1D(3, **options)):
            model, x = model_of(layer, 5), floats(rng, 6, 7, 5)
            all_close(model, [of_reference(model, x)], FLOAT32[0], x)
            rows(model, x)
        if not ceil and counts:
            padded = np.pad(floats(rng, 2, 7, 5), ((0, 0), padding, (0, 0)))
            inner = padded[:, padding[0] : padding[0] + 7].copy()
            expected = by_torch(F.avg_pool1d, padded, 3, strides)
            all_close(model_of(average, 5), [expected], FLOAT32[0], inner)


@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("padding", ["valid", "same", (1, 1), (1, 0)])
def test_maximum_of_dilated_windows_of_rows(rng, padding, dilation):
    for strides in (1, 2):
        layer = sc.MaxPooling1D(2, strides=strides, padding=padding, dilation=dilation)
        rows(model_of(layer, 5), floats(rng, 6, 7, 5) - 3)


def test_a_window_of_no_frame_is_the_least():
    """As in torch: two taps beside the only frame."""
    x = np.ones((1, 1, 3), np.float32)
    expected = by_torch(F.max_pool1d, x, 2, 1, 1, 2)
    assert (expected == -INF).all()
    layer = sc.MaxPooling1D(2, strides=1, padding=(1, 1), dilation=2)
    np.testing.assert_array_equal(model_of(layer, 3)(x), expected)


def test_ceil_mode_of_valid_windows_is_that_of_no_padding(rng):
    x = floats(rng, 2, 8, 3)
    for kind in (sc.MaxPooling1D, sc.AveragePooling1D):
        valid, none = (kind(3, padding=p, ceil_mode=True) for p in ("valid", (0, 0)))
        y = model_of(valid, 3)(x)
        assert y.shape[1] == 3
        np.testing.assert_array_equal(y, model_of(none, 3)(x))


@pytest.mark.parametrize(
    ("kind", "function"),
    [
        (AdaptiveAveragePooling1D, F.adaptive_avg_pool1d),
        (AdaptiveMaxPooling1D, F.adaptive_max_pool1d),
    ],
)
def test_parts_of_a_row(rng, kind, function):
    for n, time in itertools.product((1, 2, 3, 7, 16), (1, 2, 5, 7, 12, 50)):
        x = floats(rng, 3, time, CHANNELS[n % len(CHANNELS)])
        agrees(model_of(kind(n), x.shape[2]), by_torch(function, x, n), x)
    model = model_of(kind(3), 5)
    assert model.layers[0].output_shape == (None, 3, 5)
    x = floats(rng, 6, 7, 5) + 9
    x[np.arange(7) >= LENGTHS[:, None]] = np.nan
    y = model(x, lengths=LENGTHS)
    for m, n in enumerate(LENGTHS):
        if n:
            np.testing.assert_array_equal(y[m], model(x[m : m + 1, :n])[0])
    assert not y[1].any()
    close(y, of_reference(model, x, LENGTHS), FLOAT32[0])
    with pytest.raises(sc.UnsupportedLayerError, match="whole sequence"):
        model.stream()


# ---- Convolution ---------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (2, 2), (0, 3), (4, 1), (7, 9)])
@pytest.mark.parametrize(("strides", "dilation", "groups"), [(1, 1, 1), (2, 1, 3), (1, 3, 1)])
def test_padded_convolutions(rng, padding, strides, dilation, groups):
    for channels, filters in ((3, 9), (33, 6)):
        kernel = floats(rng, 3, channels // groups, filters) / channels**0.5
        bias, x = floats(rng, filters), floats(rng, 6, 7, channels)
        options = {"strides": strides, "padding": padding, "dilation_rate": dilation}
        model = model_of(sc.Conv1D(kernel, bias, groups=groups, **options), channels)
        w = torch.from_numpy(np.ascontiguousarray(kernel.transpose(2, 1, 0)))
        padded = np.pad(x, ((0, 0), padding, (0, 0)))
        conv = {"stride": strides, "dilation": dilation, "groups": groups}
        if padded.shape[1] > 2 * dilation:
            expected = by_torch(F.conv1d, padded, w, torch.from_numpy(bias), **conv)
            agrees(model, expected, x, FLOAT32[1])
        rows(model, x)
        depthwise = sc.DepthwiseConv1D(
            floats(rng, 3, channels, 2), floats(rng, 2 * channels), **options
        )
        zeros = sc.ZeroPadding1D(padding)
        plain = sc.DepthwiseConv1D(
            depthwise.W, depthwise.b, strides=strides, dilation_rate=dilation
        )
        source = sc.Input((None, channels))
        behind = sc.Model(source, plain(zeros(source)))
        np.testing.assert_array_equal(model_of(depthwise, channels)(x), behind(x))
        rows(model_of(depthwise, channels), x)


@pytest.mark.parametrize("dilation", [1, 2])
def test_causal_padding_in_other_words(rng, dilation):
    """(span - 1, 0) is causal, and so is stepped; no other pair is."""
    kernel = floats(rng, 3, 5, 4)
    pair = sc.Conv1D(kernel, padding=(2 * dilation, 0), dilation_rate=dilation)
    causal = sc.Conv1D(kernel, padding="causal", dilation_rate=dilation)
    x = floats(rng, 2, 6, 5)
    np.testing.assert_array_equal(model_of(pair, 5)(x), model_of(causal, 5)(x))
    check_steps(model_of(pair, 5), [x], "pair")
    one = sc.Conv1D(floats(rng, 1, 5, 4), padding=(0, 0))
    check_steps(model_of(one, 5), [x], "window of one frame")
    for k, padding in ((3, (2 * dilation, 1)), (3, (dilation, dilation)), (1, (1, 0)), (1, (0, 1))):
        wide = sc.Conv1D(
            floats(rng, k, 5, 4), padding=padding, dilation_rate=dilation, name="guilty"
        )
        with pytest.raises(sc.UnsupportedLayerError, match=r"'guilty'.*not causal"):
            model_of(wide, 5).stream()


@pytest.mark.parametrize("padding", [(1, 1), (2, 0), "same"])
def test_windows_that_keep_the_frames_keep_the_lengths(rng, padding):
    """So that a residual connection is served: the lengths are the same, not only equal."""
    source = sc.Input((None, 5))
    y = sc.Add()(source, sc.Conv1D(floats(rng, 3, 5, 5), padding=padding)(source))
    y = sc.Add()(y, sc.MaxPooling1D(3, strides=1, padding=padding)(y))
    rows(sc.Model(source, y), floats(rng, 6, 7, 5))


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: sc.MaxPooling1D(2, padding="causal", name="guilty"),
        lambda: sc.MaxPooling1D(2, padding=(1, 2), name="guilty"),
        lambda: sc.MaxPooling1D(2, padding=(-1, 0), name="guilty"),
        lambda: sc.MaxPooling1D(2, padding=(1,), name="guilty"),
        lambda: sc.MaxPooling1D(2, padding=1, name="guilty"),
        lambda: sc.MaxPooling1D(2, padding="same", ceil_mode=True, name="guilty"),
        lambda: sc.MaxPooling1D(2, ceil_mode=1, name="guilty"),
        lambda: sc.MaxPooling1D(2, dilation=0, name="guilty"),
        lambda: sc.AveragePooling1D(3, padding=(3, 0), name="guilty"),
        lambda: sc.AveragePooling1D(3, count_include_pad=None, name="guilty"),
        lambda: AdaptiveMaxPooling1D(0, name="guilty"),
        lambda: AdaptiveAveragePooling1D(None, name="guilty"),
        lambda: Padding1D(1, 1, mode="edge", name="guilty"),
        lambda: Padding1D(-1, 1, mode="reflect", name="guilty"),
        lambda: Padding1D(1, 1.5, name="guilty"),
        lambda: Padding1D(1, 1, value=1, name="guilty"),
        lambda: Padding1D(1, 1, mode="constant", value="x", name="guilty"),
        lambda: sc.Conv1D(1, 1, padding=(1, -1), name="guilty"),
        lambda: sc.Conv1D(1, 1, padding=(1, 1, 1), name="guilty"),
        lambda: sc.Conv1D(1, 1, padding="full", name="guilty"),
        lambda: sc.Conv1DTranspose(1, 1, padding=(1, 1), name="guilty"),
    ],
)
def test_bad_options(make):
    with pytest.raises(sc.OptionError, match="guilty"):
        make()


POOL = {"pool_size": 2, "strides": 1, "padding": [1, 1]}
PAD = {"left": 1, "right": 1}
CONV = {"filters": 1, "kernel_size": 1, "strides": 1, "dilation": 1, "groups": 1}
CONV |= {"activation": ["linear", 0, 0]}


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        *((op, POOL | {"padding": p}) for op in ("max_pool1d", "avg_pool1d") for p in (
            [1], [1, 1, 1], [-1, 0], [0, 2], [2, 0], ["1", 1], [0.5, 0], [2**60, 2**60], {},
            "causal",
        )),
        ("max_pool1d", POOL | {"dilation": 0}), ("max_pool1d", POOL | {"dilation": None}),
        ("max_pool1d", POOL | {"ceil_mode": 1}),
        ("max_pool1d", POOL | {"ceil_mode": True, "padding": "same"}),
        ("avg_pool1d", POOL | {"ceil_mode": True, "padding": "valid"}),
        ("avg_pool1d", POOL | {"count_include_pad": True, "padding": "same"}),
        ("avg_pool1d", POOL | {"count_include_pad": 0}),
        *(("conv1d", CONV | {"padding": p}) for p in ([1], [-1, 0], [2**25, 0], [0, 2**63], None)),
        *(("pad1d", PAD | more) for more in (
            {"mode": "edge"}, {"mode": None}, {"mode": "constant"}, {"left": 2**25},
            {"mode": "constant", "value": None}, {"mode": "constant", "value": "big"},
            {"mode": "reflect", "left": -1}, {"mode": "circular", "right": -1},
        )),
        ("adaptive_pool1d", {"function": "mean", "n": 0}), ("adaptive_pool1d", {"n": 1}),
        ("adaptive_pool1d", {"function": "sum", "n": 1}), ("adaptive_pool1d", {"function": "max"}),
        ("adaptive_pool1d", {"function": "max", "n": 2**25}),
    ],
)  # fmt: skip
def test_attributes_that_no_layer_has(op, attrs):
    weights = {"W": np.ones((1, 2, 1), np.float32), "b": np.ones(1, np.float32)}
    with pytest.raises(sc.GraphError, match="'guilty'"):
        plan_of(op, attrs, weights if op == "conv1d" else {})


def test_old_attributes_with_new_ones_are_served():
    for op in ("max_pool1d", "avg_pool1d"):
        assert plan_of(op, POOL)
    assert plan_of("pad1d", PAD | {"mode": "constant", "value": "-inf"})
