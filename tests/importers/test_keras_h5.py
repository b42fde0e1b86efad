"""Keras models in HDF5 against Keras's own outputs, layer by layer and by kinds of calls.

Keras 2 files are in tests/golden with Keras 2's outputs; Keras 3 makes its files here.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers as L
from keras_files import (
    GOLDEN,
    agree,
    compared,
    edit,
    features,
    golden,
    outputs,
    saved,
)
from tolerances import FLOAT32, close

import seqcore
from seqcore.importers.keras import load_h5

DEPTH = {"bidirectional": 2, "convolution": 1, "hard_sigmoid": 3, "states": 3}


@pytest.mark.parametrize("name", DEPTH)
def test_keras_2(name: str) -> None:
    path, inputs, expected = golden(name)
    assert all(np.std(wanted) > 0.01 for wanted in expected)
    agree(outputs(load_h5(path), *inputs), expected, FLOAT32[DEPTH[name]])


def test_load_finds_the_importer(tmp_path: Path) -> None:
    path, inputs, expected = golden("states")
    renamed = shutil.copy(path, tmp_path / "model.bin")
    close(outputs(seqcore.load(renamed), *inputs)[0], expected[0], FLOAT32[3])


def test_inputs_and_layers_keep_their_names() -> None:
    model = load_h5(GOLDEN / "keras2_bidirectional.h5")
    assert list(model.inputs)[:2] == ["words", "extra"]
    kinds = {layer.name: layer.kind for layer in model.layers}
    assert kinds["embedding"] == "Embedding"
    assert kinds["bidirectional_1"] == "Bidirectional"


def test_a_model_from_2018() -> None:
    """dgaintel's classifier (MIT), by tf.keras 2.2.4; expected values from TensorFlow."""
    spec = importlib.util.find_spec("dgaintel")
    assert spec is not None, "dgaintel is a test requirement: requirements/data.txt"
    assert spec.origin is not None
    model = seqcore.load(Path(spec.origin).with_name("domain_classifier_model.h5"))
    alphabet = "-.0123456789_abcdefghijklmnopqrstuvwxyz"
    ids = np.zeros((3, 82), np.int64)
    for row, domain in enumerate(["microsoft.com", "wikipedia.com", "vlurgpeddygdy.com"]):
        ids[row, : len(domain)] = [alphabet.index(character) for character in domain]
    close(model(ids)[:, 0], [0.0005084535, 0.0003309245, 0.9760094], FLOAT32[1])


# ---- Keras 3 ------------------------------------------------------------------------------------


RECURRENT: dict[str, Callable[[], Any]] = {
    "rnn": lambda: L.SimpleRNN(7, activation="relu", return_sequences=True),
    "rnn, no bias": lambda: L.SimpleRNN(5, use_bias=False),
    "lstm": lambda: L.LSTM(5),
    "lstm, hard_sigmoid": lambda: L.LSTM(5, recurrent_activation="hard_sigmoid"),
    "lstm, backwards": lambda: L.LSTM(5, go_backwards=True, return_sequences=True),
    "lstm, activations": lambda: L.LSTM(4, activation="softsign", recurrent_activation="relu"),
    "gru, after": lambda: L.GRU(5, return_sequences=True),
    "gru, before": lambda: L.GRU(5, reset_after=False),
    "gru, no bias": lambda: L.GRU(5, use_bias=False),
    "gru, before, no bias": lambda: L.GRU(5, reset_after=False, use_bias=False),
    "gru, square": lambda: L.GRU(6),  # kernel and recurrent kernel of one shape
    "gru, dropout": lambda: L.GRU(5, dropout=0.3, recurrent_dropout=0.2, seed=1),
    "bidirectional, sum": lambda: L.Bidirectional(L.LSTM(4, return_sequences=True), "sum"),
    "bidirectional, mul": lambda: L.Bidirectional(L.GRU(4), "mul"),
    "bidirectional, ave": lambda: L.Bidirectional(L.SimpleRNN(4), "ave"),
    "bidirectional, unlike": lambda: L.Bidirectional(
        L.LSTM(4), backward_layer=L.GRU(4, go_backwards=True, reset_after=False)
    ),
}


@pytest.mark.parametrize("make", RECURRENT.values(), ids=RECURRENT)
def test_recurrent_layers(make: Callable[[], Any], tmp_path: Path) -> None:
    model = keras.Sequential([L.Input((None, 6)), make(), L.Dense(3)])
    compared(model, tmp_path / "m.h5", features(4, 7, 6))


ONE_LAYER: dict[str, Callable[[], Any]] = {
    "dense, no bias": lambda: L.Dense(4, use_bias=False, activation="gelu"),
    "layer as activation": lambda: L.Dense(4, activation=L.LeakyReLU(0.15)),
    "conv, causal": lambda: L.Conv1D(6, 3, padding="causal", dilation_rate=2, activation="selu"),
    "conv, same": lambda: L.Conv1D(4, 4, padding="same", strides=2, use_bias=False),
    "conv, valid": lambda: L.Conv1D(4, 3, strides=3, activation="exponential"),
    "conv, groups": lambda: L.Conv1D(6, 2, groups=3),
    "pool": lambda: L.MaxPooling1D(3, strides=2, padding="same"),
    "pool, default": lambda: L.MaxPooling1D(),
    "mean": lambda: L.GlobalAveragePooling1D(),
    "max": lambda: L.GlobalMaxPooling1D(),
    "flatten": lambda: L.Flatten(),
    "dropout": lambda: L.Dropout(0.4, noise_shape=(None, 1, 6), seed=3),
    "spatial": lambda: L.SpatialDropout1D(0.4),
    "time, dense": lambda: L.TimeDistributed(L.Dense(3, activation="softplus")),
    "relu": lambda: L.ReLU(),
    "relu, slope": lambda: L.ReLU(negative_slope=0.2),
    "leaky": lambda: L.LeakyReLU(),
    "leaky, given": lambda: L.LeakyReLU(negative_slope=0.07),
    "elu": lambda: L.ELU(alpha=0.7),
    "softmax": lambda: L.Softmax(),
    "mask": lambda: L.Masking(0.5),
    "pooled, an axis kept": lambda: L.GlobalMaxPooling1D(keepdims=True),
    "relu6": lambda: L.ReLU(max_value=6),
    "relu, threshold": lambda: L.ReLU(threshold=1),
    "softmax, over time": lambda: L.Softmax(axis=1),
    "norm": lambda: L.LayerNormalization(),
    "nested": lambda: keras.Sequential([L.Input((9, 6)), L.Dense(3)]),
}


@pytest.mark.parametrize("make", ONE_LAYER.values(), ids=ONE_LAYER)
def test_layers_without_state(make: Callable[[], Any], tmp_path: Path) -> None:
    compared(keras.Sequential([L.Input((9, 6)), make()]), tmp_path / "m.h5", features(3, 9, 6))


@pytest.mark.parametrize(
    "name",
    [
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
        "silu",
        "swish",
        "hard_sigmoid",
        "leaky_relu",
        "softmax",
    ],
)
def test_activations_by_name(name: str, tmp_path: Path) -> None:
    model = keras.Sequential([L.Input((5,)), L.Dense(6, activation=name), L.Activation(name)])
    compared(model, tmp_path / "m.h5", features(8, 5) * 2)


def test_a_mixed_policy_is_computed_in_float32(tmp_path: Path) -> None:
    """Its variables are float32; Keras rounds to float16 on the way, by some thousandths."""
    path, x = tmp_path / "m.h5", features(3, 9, 6)
    model = keras.Sequential([L.Input((9, 6)), L.Dense(3, dtype="mixed_float16")])
    found = load_h5(saved(model, path))(x)
    kernel, bias = (np.asarray(w, np.float64) for w in model.get_weights())
    close(found, x @ kernel + bias, FLOAT32[0])
    close(found, model.predict(x, verbose=0), 2e-3)


def test_a_graph_of_all_kinds_of_calls(tmp_path: Path) -> None:
    """Several inputs and outputs, merges, one layer called twice, states given and returned."""
    words, extra = L.Input((None,), dtype="int32"), L.Input((None, 6))
    table = L.Embedding(12, 6)
    y = L.Add()([table(words), extra, L.Multiply()([extra, extra])])
    out, fh, fc, bh, bc = L.Bidirectional(L.LSTM(4, return_sequences=True, return_state=True))(y)
    shared = L.GRU(4, return_sequences=True)
    a, b = shared(y, initial_state=fh), shared(extra)
    decoded = L.Bidirectional(L.LSTM(4))(out, initial_state=[bh, bc, fh, fc])
    both = L.Bidirectional(L.SimpleRNN(3, return_sequences=True), merge_mode=None)(a)
    joined = L.Concatenate(axis=1)([a, b])
    model = keras.Model([extra, words], [joined, decoded, *both, fc])
    ids = np.random.default_rng(0).integers(0, 12, (3, 6))
    compared(model, tmp_path / "m.h5", features(3, 6, 6), ids, depth=3)


def test_characters_within_words(tmp_path: Path) -> None:
    characters = L.Input((5, 7))
    x = L.TimeDistributed(L.Embedding(9, 4))(characters)
    x = L.TimeDistributed(L.Bidirectional(L.LSTM(3)))(x)
    x = L.TimeDistributed(L.Dropout(0.1))(x)
    model = keras.Model(characters, L.LSTM(2)(x))
    ids = np.random.default_rng(0).integers(0, 9, (2, 5, 7))
    compared(model, tmp_path / "m.h5", ids)


@pytest.mark.parametrize(
    "make",
    [
        lambda: L.LSTM(4, return_state=True),
        lambda: L.Bidirectional(L.GRU(3, return_sequences=True), merge_mode=None),
    ],
)
def test_a_sequential_that_ends_with_several_outputs(
    make: Callable[[], Any], tmp_path: Path
) -> None:
    compared(keras.Sequential([L.Input((None, 6)), make()]), tmp_path / "m.h5", features(2, 5, 6))


def test_a_vector_that_is_added_to_every_frame(tmp_path: Path) -> None:
    frames, vector = L.Input((3, 4)), L.Input((4,))
    model = keras.Model([frames, vector], L.Add()([frames, vector]))
    compared(model, tmp_path / "m.h5", features(2, 3, 4), features(2, 4))


def test_outputs_in_a_dictionary_come_in_the_order_of_its_keys(tmp_path: Path) -> None:
    path = Path(shutil.copy(GOLDEN / "keras2_states.h5", tmp_path / "model.h5"))
    _, inputs, expected = golden("states")

    def named(config: Any) -> None:
        first, second = config["config"]["output_layers"]
        config["class_name"] = "Functional"
        config["config"]["output_layers"] = {"b": first, "a": second}

    found = outputs(load_h5(edit(path, named)), *inputs)
    agree(found, expected[::-1], FLOAT32[3])
