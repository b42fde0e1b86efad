"""seqcore against Keras 3 (torch backend), layer by layer and as whole models.

A Keras layer gets random weights, biases included, and computes; ours is made of ``get_weights()``
with the same options. Every comparison is made on every instruction set.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch
from frameworks import SIZES, all_close, dealt, filled, floats, run_keras
from tolerances import FLOAT32

import seqcore as sc

K = keras.layers
CELLS = {
    "SimpleRNN": (K.SimpleRNN, sc.SimpleRNN, {}),
    "LSTM": (K.LSTM, sc.LSTM, {}),
    "GRU-after": (K.GRU, sc.GRU, {"reset_after": True}),
    "GRU-before": (K.GRU, sc.GRU, {"reset_after": False}),
}


def pair(rng, cell, features, units, **options):
    """Return a Keras recurrent layer with weights and our layer of them."""
    theirs, ours, fixed = CELLS[cell]
    options |= fixed
    layer = filled(rng, theirs(units, **options), (None, None, features))
    # A GRU without biases has no shape that tells reset_after; it is given anyway.
    return layer, ours.from_keras(layer.get_weights(), **options)


@pytest.mark.parametrize("index", range(len(SIZES)))
@pytest.mark.parametrize("cell", CELLS)
def test_recurrent(rng, cell, index):
    features, units, batch, time = dealt(index)
    options = {
        "return_sequences": index % 2 == 0,
        "go_backwards": index % 3 == 0,
        "use_bias": index % 4 != 0,
        "return_state": True,
    }
    theirs, ours = pair(rng, cell, features, units, **options)
    x = floats(rng, batch, time, features)
    model = sc.Sequential([ours])
    all_close(model, run_keras(theirs, x), FLOAT32[1], x)
    states = [floats(rng, batch, units) for _ in model.states]
    expected = run_keras(theirs, x, initial_state=[torch.from_numpy(s) for s in states])
    all_close(model, expected, FLOAT32[1], x, initial_state=states)


@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize("go_backwards", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_lengths_are_rows_alone(rng, cell, go_backwards, return_sequences):
    """Keras has no lengths; each row alone, cut to its length, is what they stand for."""
    options = {"return_sequences": return_sequences, "go_backwards": go_backwards}
    theirs, ours = pair(rng, cell, 9, 17, **options)
    x, lengths = floats(rng, 6, 8, 9), np.array([8, 1, 5, 3, 8, 2])
    rows = [run_keras(theirs, x[i : i + 1, :n])[0][0] for i, n in enumerate(lengths)]
    if return_sequences:
        rows = [np.pad(row, ((0, 8 - len(row)), (0, 0))) for row in rows]
    all_close(sc.Sequential([ours]), [np.stack(rows)], FLOAT32[1], x, lengths=lengths)


ACTIVATIONS = (
    "relu", "tanh", "sigmoid", "hard_sigmoid", "linear", "softplus", "softsign", "exponential",
    "silu", "leaky_relu", "elu", "selu", "gelu", "softmax",
)  # fmt: skip


@pytest.mark.parametrize("index", range(len(ACTIVATIONS)))
@pytest.mark.parametrize("cell", CELLS)
def test_cell_activations(rng, cell, index):
    """Each activation in both places of each cell, in pairs that change from cell to cell."""
    options = {"activation": ACTIVATIONS[index], "return_sequences": True}
    if cell != "SimpleRNN":
        step = 3 + 2 * list(CELLS).index(cell)
        options["recurrent_activation"] = ACTIVATIONS[(index + step) % len(ACTIVATIONS)]
    units = (17, 7, 33)[index % 3]
    theirs, _ = pair(rng, cell, 5, units, **options)
    # Unbounded activations of large sums would grow from step to step until nothing can be told.
    theirs.set_weights([w / 8 for w in theirs.get_weights()])
    ours = CELLS[cell][1].from_keras(theirs.get_weights(), **options, **CELLS[cell][2])
    x = floats(rng, 9, 6, 5)
    expected = run_keras(theirs, x)
    assert np.abs(expected[0]).max() < 100
    all_close(sc.Sequential([ours]), expected, FLOAT32[1], x)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_dense(rng, activation):
    for units in (1, 7, 16, 33, 65, 97):
        theirs = filled(rng, K.Dense(units, activation=activation), (None, 31))
        ours = sc.Dense.from_keras(theirs.get_weights(), activation=activation)
        x = floats(rng, 17, 31)
        all_close(sc.Sequential([ours]), run_keras(theirs, x), FLOAT32[0], x)


@pytest.mark.parametrize("use_bias", [True, False])
def test_dense_over_frames(rng, use_bias):
    theirs = filled(rng, K.Dense(15, use_bias=use_bias), (None, None, 33))
    x = floats(rng, 3, 8, 33)
    source = sc.Input((None, 33))
    for layer in (
        ours := sc.Dense.from_keras(theirs.get_weights(), use_bias=use_bias),
        sc.TimeDistributed(ours),
    ):
        all_close(sc.Model(source, layer(source)), run_keras(theirs, x), FLOAT32[0], x)


# ---- Bidirectional, TimeDistributed --------------------------------------------------------------


@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize("merge_mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("cell", CELLS)
def test_bidirectional(rng, cell, merge_mode, return_sequences):
    kind, ours, fixed = CELLS[cell]
    options = {"return_sequences": return_sequences, "return_state": True} | fixed
    theirs = filled(
        rng, K.Bidirectional(kind(33, **options), merge_mode=merge_mode), (None, None, 16)
    )
    halves = [theirs.forward_layer.get_weights(), theirs.backward_layer.get_weights()]
    layer = sc.Bidirectional(
        ours.from_keras(halves[0], **options),
        ours.from_keras(halves[1], go_backwards=True, **options),
        merge_mode=merge_mode,
    )
    x = floats(rng, 9, 7, 16)
    model = sc.Sequential([layer])
    all_close(model, run_keras(theirs, x), FLOAT32[1], x)
    states = [floats(rng, 9, 33) for _ in model.states]
    expected = run_keras(theirs, x, initial_state=[torch.from_numpy(s) for s in states])
    all_close(model, expected, FLOAT32[1], x, initial_state=states)


def test_time_distributed_recurrent(rng):
    theirs, ours = pair(rng, "LSTM", 7, 17)
    x = floats(rng, 3, 4, 6, 7)
    source = sc.Input((None, None, 7))
    model = sc.Model(source, sc.TimeDistributed(ours)(source))
    all_close(model, run_keras(K.TimeDistributed(theirs), x), FLOAT32[1], x)


# ---- Windows -------------------------------------------------------------------------------------

WINDOWS = [
    (padding, strides, dilation)
    for padding in ("valid", "same", "causal")
    for strides, dilation in ((1, 1), (2, 1), (3, 1), (1, 2), (1, 3))
]


@pytest.mark.parametrize(("padding", "strides", "dilation_rate"), WINDOWS)
def test_conv1d(rng, padding, strides, dilation_rate):
    options = {"padding": padding, "strides": strides, "dilation_rate": dilation_rate}
    for kernel_size, channels, filters, groups in (
        (1, 1, 1, 1), (3, 7, 16, 1), (2, 12, 33, 3), (4, 17, 65, 1), (5, 64, 64, 4), (3, 6, 6, 6),
    ):  # fmt: skip
        theirs = K.Conv1D(filters, kernel_size, groups=groups, activation="relu", **options)
        filled(rng, theirs, (None, None, channels))
        ours = sc.Conv1D(*theirs.get_weights(), groups=groups, activation="relu", **options)
        for time in (13, 20):
            x = floats(rng, 5, time, channels)
            all_close(sc.Sequential([ours]), run_keras(theirs, x), FLOAT32[0], x)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("pool_size", "strides"), [(2, None), (3, 1), (3, 2), (2, 3), (4, 3)])
def test_max_pooling(rng, pool_size, strides, padding):
    theirs = K.MaxPooling1D(pool_size, strides=strides, padding=padding)
    ours = sc.MaxPooling1D(pool_size, strides=strides, padding=padding)
    for channels in (1, 7, 16, 33):
        source = sc.Input((None, channels))
        for time in (12, 13):
            x = floats(rng, 3, time, channels) - 4  # below 0: a padding of zeros would show
            all_close(sc.Model(source, ours(source)), run_keras(theirs, x), FLOAT32[0], x)


@pytest.mark.parametrize("name", ["GlobalAveragePooling1D", "GlobalMaxPooling1D", "Flatten"])
def test_over_time(rng, name):
    for channels in (1, 16, 33):
        source = sc.Input((19, channels))
        x = floats(rng, 7, 19, channels) - 4
        model = sc.Model(source, getattr(sc, name)()(source))
        all_close(model, run_keras(getattr(K, name)(), x), FLOAT32[0], x)


# ---- Merges and whole models ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "shapes", [[(9, 17)] * 3, [(9, 17), (1, 17), (9, 1)], [(1, 17), (9, 1)], [(17,), (1,), (17,)]]
)
@pytest.mark.parametrize("name", ["Add", "Multiply"])
def test_merge(rng, name, shapes):
    arrays = [floats(rng, 5, *shape) for shape in shapes]
    sources = [sc.Input(shape) for shape in shapes]
    model = sc.Model(sources, getattr(sc, name)()(sources))
    all_close(model, run_keras(getattr(K, name)(), *arrays), FLOAT32[0], *arrays)


@pytest.mark.parametrize("axis", [1, 2, -1, -2])
def test_concatenate(rng, axis):
    shapes = [(4, 7), (4, 7), (4, 7)]
    arrays = [floats(rng, 5, *shape) for shape in shapes]
    sources = [sc.Input(shape) for shape in shapes]
    model = sc.Model(sources, sc.Concatenate(axis=axis)(*sources))
    all_close(model, run_keras(K.Concatenate(axis=axis), *arrays), FLOAT32[0], *arrays)


def test_a_text_classifier(rng):
    """Embedding, Conv1D, MaxPooling1D, Bidirectional(GRU), Dropout, Dense: a chain."""
    theirs = keras.Sequential([
        K.Embedding(57, 12), K.Conv1D(32, 3, padding="same", activation="relu"), K.MaxPooling1D(2),
        K.Bidirectional(K.GRU(17)), K.Dropout(0.3), K.Dense(5, activation="softmax"),
    ])  # fmt: skip
    filled(rng, theirs, (None, 20))
    embedding, conv, _, both, _, dense = theirs.layers
    ours = sc.Sequential([
        sc.Embedding.from_keras(embedding.get_weights()),
        sc.Conv1D(*conv.get_weights(), padding="same", activation="relu"),
        sc.MaxPooling1D(2),
        sc.Bidirectional(
            sc.GRU.from_keras(both.forward_layer.get_weights()),
            sc.GRU.from_keras(both.backward_layer.get_weights(), go_backwards=True),
        ),
        sc.Dropout(0.3),
        sc.Dense.from_keras(dense.get_weights(), activation="softmax"),
    ])  # fmt: skip
    ids = rng.integers(0, 57, (33, 20))
    all_close(ours, run_keras(theirs, ids), FLOAT32[1], ids)


def test_an_encoder_and_decoder(rng):
    """Two inputs, the encoder's states given to the decoder, two outputs: a graph, no chain."""
    source, target = keras.Input((None, 6)), keras.Input((None, 9))
    encoder = K.LSTM(33, return_state=True)
    _, h, c = encoder(source)
    decoder = K.LSTM(33, return_sequences=True)
    decoded = decoder(target, initial_state=[h, c])
    head = K.Dense(4, activation="softmax")
    theirs = keras.Model([source, target], [head(decoded), h])
    for layer, shape in ((encoder, 6), (decoder, 9), (head, 33)):
        filled(rng, layer, (None, None, shape))

    x, y = sc.Input((None, 6)), sc.Input((None, 9))
    _, h, c = sc.LSTM.from_keras(encoder.get_weights(), return_state=True)(x)
    decoded = sc.LSTM.from_keras(decoder.get_weights(), return_sequences=True)(
        y, initial_state=[h, c]
    )
    last = sc.Dense.from_keras(head.get_weights(), activation="softmax")(decoded)
    model = sc.Model([x, y], [last, h])
    arrays = floats(rng, 7, 12, 6), floats(rng, 7, 5, 9)
    all_close(model, run_keras(theirs, *arrays), FLOAT32[2], *arrays)
