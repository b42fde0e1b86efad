"""The float64 reference against Keras 3, in float64.

Not here: the activations alone (test_reference.py), and the importers.
"""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import pytest
import torch
from canonical import TANH, from_keras
from tolerances import FLOAT64, close

from seqcore import reference as ref

LENGTHS = np.array([5, 9, 1, 0, 4])
B, T, IN, H = 5, 9, 6, 7


@pytest.fixture(autouse=True)
def keras_in_float64(monkeypatch):
    """Keras over torch computes some ops in float32, whatever the dtype, unless told so."""
    monkeypatch.setitem(keras.src.backend.common.dtypes.BIT64_TO_BIT32_DTYPE, "float64", "float64")
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])


@pytest.fixture
def rng():
    return np.random.default_rng(20)


def as_torch(x):
    return torch.from_numpy(np.ascontiguousarray(x))


def as_numpy(x):
    return keras.ops.convert_to_tensor(x).detach().numpy()


def ragged_rows_are_the_rows_alone(op, x, arguments, lengths):
    """Assert that `op` gives each row what the row alone gives, and zeros past its end."""
    lengths = np.minimum(lengths, x.shape[1])
    x = x.copy()
    for i, n in enumerate(lengths):
        x[i, n:] = np.nan
    y = op(x, **arguments, lengths=lengths)
    for i, n in enumerate(lengths):
        row = op(x[i : i + 1, :n], **arguments)[0]
        if y.ndim == 3:
            assert not y[i, len(row) :].any()
            close(y[i, : len(row)], row, FLOAT64)
        else:
            close(y[i], row, FLOAT64)


# ---- Keras ---------------------------------------------------------------------------------------


def keras_layer(rng, cls, **options):
    layer = getattr(keras.layers, cls)(H, **options)
    layer.build((B, T, IN))
    layer.set_weights([rng.normal(size=w.shape) / 2 for w in layer.get_weights()])
    return layer


@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(
    ("cls", "options"),
    [
        ("SimpleRNN", {}),
        ("LSTM", {}),
        ("GRU", {"reset_after": True}),
        ("GRU", {"reset_after": False}),
    ],
)
def test_keras_recurrent(rng, cls, options, use_bias, go_backwards, return_sequences):
    options = options | {"use_bias": use_bias, "go_backwards": go_backwards}
    layer = keras_layer(rng, cls, return_sequences=return_sequences, return_state=True, **options)
    x = rng.normal(size=(B, T, IN))
    initial = [rng.normal(size=(B, H)) for _ in range(2 if cls == "LSTM" else 1)]
    op, arguments = from_keras(layer)
    actual = op(x, *initial, **arguments)
    expected = layer(as_torch(x), initial_state=[as_torch(s) for s in initial])
    for a, e in zip(actual, expected, strict=True):
        close(a, as_numpy(e), FLOAT64)


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("recurrent_activation", ["hard_sigmoid", "softmax", "relu"])
@pytest.mark.parametrize("activation", ["relu", "softsign", "elu", "linear", "softmax"])
@pytest.mark.parametrize("cls", ["SimpleRNN", "LSTM", "GRU"])
def test_keras_activations(rng, cls, activation, recurrent_activation, reset_after):
    options = {"activation": activation}
    if cls != "SimpleRNN":
        options["recurrent_activation"] = recurrent_activation
    if cls == "GRU":
        options["reset_after"] = reset_after
    layer = keras_layer(rng, cls, return_sequences=True, **options)
    layer.set_weights([w / 4 for w in layer.get_weights()])  # relu twice would grow without bound
    x = rng.normal(size=(B, T, IN))
    op, arguments = from_keras(layer)
    close(op(x, **arguments)[0], as_numpy(layer(as_torch(x))), FLOAT64)


MERGES = {
    "concat": lambda f, b: ref.concat(f, b, axis=-1),
    "sum": ref.add,
    "mul": ref.multiply,
    "ave": ref.average,
}


@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize("merge_mode", MERGES)
@pytest.mark.parametrize("cls", ["SimpleRNN", "LSTM", "GRU"])
def test_keras_bidirectional(rng, cls, merge_mode, return_sequences):
    inner = getattr(keras.layers, cls)(H, return_sequences=return_sequences)
    layer = keras.layers.Bidirectional(inner, merge_mode=merge_mode)
    layer.build((B, T, IN))
    layer.set_weights([rng.normal(size=w.shape) / 2 for w in layer.get_weights()])
    x = rng.normal(size=(B, T, IN))
    (forward, f), (backward, b) = from_keras(layer.forward_layer), from_keras(layer.backward_layer)
    assert b["reverse"]
    halves = forward(x, **f)[0], backward(x, **b, realign=return_sequences)[0]
    close(MERGES[merge_mode](*halves), as_numpy(layer(as_torch(x))), FLOAT64)


WINDOWS = [
    {"padding": padding, "strides": strides, "dilation": dilation}
    for padding in ("valid", "same", "causal")
    for strides, dilation in ((1, 1), (2, 1), (3, 1), (1, 2), (1, 4))
]


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("kernel_size", [1, 2, 3])
@pytest.mark.parametrize("window", WINDOWS, ids=lambda w: "-".join(map(str, w.values())))
def test_keras_conv1d(rng, window, kernel_size, groups):
    layer = keras.layers.Conv1D(
        9,
        kernel_size,
        strides=window["strides"],
        padding=window["padding"],
        dilation_rate=window["dilation"],
        groups=groups,
        activation="tanh",
    )
    layer.build((B, T, IN))
    W, b = rng.normal(size=(kernel_size, IN // groups, 9)), rng.normal(size=9)
    layer.set_weights([W, b])
    arguments = {"W": W, "b": b, "groups": groups, "activation": TANH} | window
    x = rng.normal(size=(B, T, IN))
    close(ref.conv1d(x, **arguments), as_numpy(layer(as_torch(x))), FLOAT64)
    ragged_rows_are_the_rows_alone(ref.conv1d, x, arguments, LENGTHS)


@pytest.mark.parametrize("time", [9, 10])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("pool_size", "strides"), [(1, 1), (2, 2), (3, 2), (3, 1), (2, 3), (4, 3)])
def test_keras_max_pool1d(rng, pool_size, strides, padding, time):
    layer = keras.layers.MaxPooling1D(pool_size, strides, padding=padding)
    arguments = {"pool_size": pool_size, "strides": strides, "padding": padding}
    x = rng.normal(size=(B, time, IN)) - 4  # mostly below 0, so that a padding of zeros would show
    close(ref.max_pool1d(x, **arguments), as_numpy(layer(as_torch(x))), FLOAT64)
    ragged_rows_are_the_rows_alone(ref.max_pool1d, x, arguments, LENGTHS)


@pytest.mark.parametrize(
    ("op", "layer"),
    [
        (ref.global_avg_pool1d, keras.layers.GlobalAveragePooling1D),
        (ref.global_max_pool1d, keras.layers.GlobalMaxPooling1D),
    ],
)
def test_keras_global_pooling(rng, op, layer):
    x = rng.normal(size=(B, T, IN)) - 4
    close(op(x), as_numpy(layer()(as_torch(x))), FLOAT64)
    ragged_rows_are_the_rows_alone(op, x, {}, LENGTHS)
    assert not op(x, lengths=np.zeros(B, np.int64)).any()


@pytest.mark.parametrize("shapes", [[(T, IN)] * 3, [(T, IN), (1, IN), (T, 1)], [(T, IN), (IN,)]])
@pytest.mark.parametrize(
    ("op", "layer"),
    [(ref.add, "Add"), (ref.multiply, "Multiply"), (ref.average, "Average")],
)
def test_keras_merges(rng, op, layer, shapes):
    values = [rng.normal(size=(B, *shape)) for shape in shapes]
    expected = getattr(keras.layers, layer)()([as_torch(v) for v in values])
    close(op(*values), as_numpy(expected), FLOAT64)


@pytest.mark.parametrize("axis", [1, 2, -1, -2])
def test_keras_concatenate_and_flatten(rng, axis):
    values = [rng.normal(size=(B, 4, 4)) for _ in range(3)]
    joined = ref.concat(*values, axis=axis)
    layer = keras.layers.Concatenate(axis=axis)
    close(joined, as_numpy(layer([as_torch(v) for v in values])), FLOAT64)
    close(ref.flatten(joined), as_numpy(keras.layers.Flatten()(as_torch(joined))), FLOAT64)
    with pytest.raises(ValueError, match="lengths"):
        ref.flatten(joined, lengths=[4] * B)


def test_keras_time_distributed_is_fold_and_unfold(rng):
    inner = keras_layer(rng, "LSTM")
    x = rng.normal(size=(B, 3, T, IN))
    op, arguments = from_keras(inner)
    y = ref.unfold(op(ref.fold(x), **arguments)[0], x)
    close(y, as_numpy(keras.layers.TimeDistributed(inner)(as_torch(x))), FLOAT64)
