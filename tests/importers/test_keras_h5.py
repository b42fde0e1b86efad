"""Keras models in HDF5 against Keras's own outputs, and everything that is refused by name.

Keras 2 files are in tests/golden with Keras 2's outputs; Keras 3 makes its files here. Broken and
hostile files are in tests/attacks/test_hdf5.py.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers as L
from tolerances import FLOAT32, close

import seqcore
from seqcore.errors import ModelFileError, UnsupportedLayerError, WeightsError
from seqcore.importers.keras import load_h5

GOLDEN = Path(__file__).parents[1] / "golden"
DEPTH = {"bidirectional": 2, "convolution": 1, "hard_sigmoid": 3, "states": 3}


def outputs(model: seqcore.Model, *inputs: np.ndarray) -> list[np.ndarray]:
    result = model(*inputs)
    return list(result) if isinstance(result, tuple) else [result]


# ---- Keras 2 ------------------------------------------------------------------------------------


def golden(name: str) -> tuple[Path, list[np.ndarray], list[np.ndarray]]:
    with np.load(GOLDEN / f"keras2_{name}.npz") as arrays:
        pairs = [[arrays[key] for key in sorted(arrays) if key[0] == first] for first in "xy"]
    return GOLDEN / f"keras2_{name}.h5", *pairs


@pytest.mark.parametrize("name", DEPTH)
def test_keras_2(name: str) -> None:
    path, inputs, expected = golden(name)
    actual = outputs(load_h5(path), *inputs)
    assert len(actual) == len(expected)
    for found, wanted in zip(actual, expected, strict=True):
        assert np.std(wanted) > 0.01
        close(found, wanted, FLOAT32[DEPTH[name]])


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


def saved(model: keras.Model, path: Path) -> Path:
    """Save a model with random weights, biases too, so that each shows when it is misplaced."""
    rng = np.random.default_rng(3)
    weights = [rng.normal(scale=0.4, size=w.shape).astype(np.float32) for w in model.get_weights()]
    model.set_weights(weights)
    model.save(path)
    return path


def compared(model: keras.Model, path: Path, *inputs: np.ndarray, depth: int = 2) -> None:
    actual = outputs(load_h5(saved(model, path)), *inputs)
    expected = model.predict(inputs[0] if len(inputs) == 1 else list(inputs), verbose=0)
    expected = expected if isinstance(expected, (list, tuple)) else [expected]
    assert len(actual) == len(expected)
    for found, wanted in zip(actual, expected, strict=True):
        close(found, wanted, FLOAT32[depth])


def features(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


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


# ---- Versions -----------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(shutil.copy(GOLDEN / "keras2_hard_sigmoid.h5", tmp_path / "model.h5"))


def edit(path: Path, change: Callable[[Any], object], **attributes: str) -> Path:
    """Change the config of a file."""
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        change(config)
        file.attrs["model_config"] = json.dumps(config)
        for name, value in attributes.items():
            file.attrs[name] = value
            file["model_weights"].attrs[name] = value
    return path


def layer(config: Any, kind: str) -> Any:
    """Return the config of the first layer of a class."""
    entries = config["config"]["layers"]
    return next(entry["config"] for entry in entries if entry["class_name"] == kind)


def test_hard_sigmoid_follows_the_version(path: Path) -> None:
    """clip(0.2*x + 0.5) in Keras 2, relu6(x + 3)/6 in Keras 3."""
    _, inputs, expected = golden("hard_sigmoid")
    as_3 = load_h5(edit(path, lambda _: None, keras_version="3.1.0"))
    assert np.max(np.abs(outputs(as_3, *inputs)[0] - expected[0])) > 1e-3


@pytest.mark.parametrize("version", ["2.0.8", "2.1.6-tf", "2.2.4-tf", "2.3.0-tf"])
def test_all_of_keras_2(path: Path, version: str) -> None:
    def older(config: Any) -> None:
        for entry in config["config"]["layers"]:
            for late in ("time_major", "groups", "ragged"):
                entry["config"].pop(late, None)

    _, inputs, expected = golden("hard_sigmoid")
    close(load_h5(edit(path, older, keras_version=version))(*inputs), expected[0], FLOAT32[3])


def test_a_sequential_that_is_a_list_and_has_no_input_layer(path: Path) -> None:
    """Keras before 2.2.3: the shape of the input stands in the first layer."""

    def older(config: Any) -> None:
        config["config"] = config["config"]["layers"][1:]
        assert "batch_input_shape" in config["config"][0]["config"]

    _, inputs, expected = golden("hard_sigmoid")
    close(load_h5(edit(path, older))(*inputs), expected[0], FLOAT32[3])


def test_a_gru_that_does_not_say_reset_after(path: Path) -> None:
    """The first Keras 2 had no such option and reset before; the bias then is (3H,)."""
    edit(path, lambda config: layer(config, "GRU").pop("reset_after"))
    with pytest.raises(WeightsError, match=r"gru.*bias.*expected shape \(12\), found \(2, 12\)"):
        load_h5(path)
    with h5py.File(path, "a") as file:
        group = file["model_weights/gru/gru/gru_cell"]
        bias = group["bias:0"][0]
        del group["bias:0"]
        group["bias:0"] = bias
    assert load_h5(path)


@pytest.mark.parametrize("version", ["1.2.2", "4.0.0", "theano", ""])
def test_other_versions_are_refused(path: Path, version: str) -> None:
    with pytest.raises(ModelFileError, match=f"model.h5: .*Keras 2 or 3.*{version}"):
        load_h5(edit(path, lambda _: None, keras_version=version))


# ---- Refusals -----------------------------------------------------------------------------------

OPTIONS: dict[str, tuple[str, dict[str, Any], str]] = {
    "stateful": ("LSTM", {"stateful": True}, "stateful=True"),
    "time_major": ("LSTM", {"time_major": True}, "time_major=True"),
    "zero_output": ("GRU", {"zero_output_for_mask": True}, "zero_output_for_mask=True"),
    "dtype": ("Dense", {"dtype": "float16"}, "dtype float16"),
    "policy": (
        "Dense",
        {"dtype": {"class_name": "Policy", "config": {"name": "mixed_float16"}}},
        "dtype mixed_float16",
    ),
    "unknown": ("LSTM", {"peepholes": True}, "unknown option peepholes=True"),
    "two": ("LSTM", {"stateful": True, "zoneout": 0.1}, "stateful=True, .*zoneout=0.1"),
    "number for flag": ("LSTM", {"stateful": 0}, "stateful=0"),
    "activation": ("Dense", {"activation": "mish"}, "'mish' is not supported for Keras 2"),
    "of Keras 3": ("Dense", {"activation": "leaky_relu"}, "'leaky_relu' is not supported"),
    "no class": ("Dense", {"activation": {"class_name": ["x"]}}, "the activation .*'x'"),
    "lambda": (
        "Dense",
        {"activation": {"class_name": "__lambda__", "config": {"value": "4wEAAA=="}}},
        "__lambda__",
    ),
    "own function": (
        "Dense",
        {
            "activation": {
                "module": "builtins",
                "class_name": "function",
                "config": "relu",
                "registered_name": "relu",
            }
        },
        "builtins",
    ),
    "own layer": (
        "Dense",
        {
            "activation": {
                "module": "mine",
                "class_name": "ReLU",
                "config": {},
                "registered_name": "mine>ReLU",
            }
        },
        "mine>ReLU",
    ),
    "input": ("InputLayer", {"sparse": True}, "sparse=True"),
    "text": ("InputLayer", {"dtype": "string"}, "an input of string"),
}


@pytest.mark.parametrize(("kind", "options", "reason"), OPTIONS.values(), ids=OPTIONS)
def test_options_that_change_numbers(
    path: Path, kind: str, options: dict[str, Any], reason: str
) -> None:
    edit(path, lambda config: layer(config, kind).update(options))
    with pytest.raises(UnsupportedLayerError, match=reason) as caught:
        load_h5(path)
    assert caught.value.layers[0][0].endswith(f"({kind})")
    assert "model.h5" in str(caught.value)


KERAS_3: dict[str, tuple[list[Callable[[], Any]], str]] = {
    "mask_zero": ([lambda: L.Embedding(9, 4, mask_zero=True)], "mask_zero=True"),
    "channels": ([lambda: L.Reshape((5, 1)), lambda: L.Flatten("channels_first")], "channels_f"),
    "keepdims": ([lambda: L.Reshape((5, 1)), lambda: L.GlobalMaxPooling1D(keepdims=True)], "keepd"),
    "relu6": ([lambda: L.ReLU(max_value=6)], "max_value"),
    "threshold": ([lambda: L.ReLU(threshold=1)], "threshold"),
    "axis": ([lambda: L.Reshape((5, 1)), lambda: L.Softmax(axis=1)], "axis"),
    "norm": ([lambda: L.BatchNormalization()], "BatchNormalization"),
    "policy": ([lambda: L.Dense(3, dtype="mixed_bfloat16")], "mixed_bfloat16"),
    "nested": ([lambda: keras.Sequential([L.Input((5,)), L.Dense(3)])], "nested"),
    "lambda": ([lambda: L.Lambda(lambda x: x)], "Lambda is code"),
    "float64": ([lambda: L.Dense(3, dtype="float64")], "float64"),
}


@pytest.mark.parametrize(("make", "reason"), KERAS_3.values(), ids=KERAS_3)
def test_layers_of_keras_3(make: list[Callable[[], Any]], reason: str, tmp_path: Path) -> None:
    keras.Sequential([L.Input((5,)), *[one() for one in make]]).save(tmp_path / "m.h5")
    with pytest.raises(UnsupportedLayerError, match=reason):
        load_h5(tmp_path / "m.h5")


def test_a_layer_of_the_users_own(tmp_path: Path) -> None:
    """Registered classes and subclasses may do anything; also one that is named like Keras's."""

    @keras.saving.register_keras_serializable(package="mine")
    class Dense(L.Dense):
        def call(self, x: Any) -> Any:
            return 2 * super().call(x)

    keras.Sequential([L.Input((5,)), Dense(3)]).save(tmp_path / "m.h5")
    with pytest.raises(UnsupportedLayerError, match="mine>Dense"):
        load_h5(tmp_path / "m.h5")


def test_every_offender_is_listed(path: Path) -> None:
    def change(config: Any) -> None:
        for entry in config["config"]["layers"]:
            entry["class_name"] = {"LSTM": "CuDNNLSTM", "GRU": "os.system"}.get(
                entry["class_name"], entry["class_name"]
            )
        layer(config, "SimpleRNN")["stateful"] = True

    with pytest.raises(UnsupportedLayerError) as caught:
        load_h5(edit(path, change))
    names = [name for name, _ in caught.value.layers]
    assert names == ["lstm (CuDNNLSTM)", "gru (os.system)", "simple_rnn (SimpleRNN)"]
    assert "CuDNN" in str(caught.value)


def test_subclassed_models_and_dictionaries(tmp_path: Path) -> None:
    path = Path(shutil.copy(GOLDEN / "keras2_states.h5", tmp_path / "model.h5"))
    edit(path, lambda config: config.update(class_name="MyModel"))
    with pytest.raises(UnsupportedLayerError, match="'MyModel' is not Sequential"):
        load_h5(path)

    def named(config: Any) -> None:
        config["class_name"] = "Functional"
        config["config"]["output_layers"] = {"y": ["lstm", 0, 0]}

    with pytest.raises(UnsupportedLayerError, match="dictionary"):
        load_h5(edit(path, named))


@pytest.mark.parametrize(
    "arguments", [{"training": True}, {"mask": ["words", 0, 0]}, {"scale": 2.0}], ids=str
)
def test_arguments_of_a_call(tmp_path: Path, arguments: dict[str, Any]) -> None:
    path = Path(shutil.copy(GOLDEN / "keras2_bidirectional.h5", tmp_path / "model.h5"))

    def change(config: Any) -> None:
        entries = {entry["name"]: entry for entry in config["config"]["layers"]}
        entries["bidirectional"]["inbound_nodes"][0][0][3] = arguments

    with pytest.raises(UnsupportedLayerError, match=f"bidirectional.*{next(iter(arguments))}="):
        load_h5(edit(path, change))


def test_training_true_in_keras_3(tmp_path: Path) -> None:
    x = L.Input((5,))
    keras.Model(x, L.Dropout(0.5)(x, training=True)).save(tmp_path / "m.h5")
    with pytest.raises(UnsupportedLayerError, match="training=True"):
        load_h5(tmp_path / "m.h5")


def test_several_outputs_within_a_sequential(path: Path) -> None:
    edit(path, lambda config: layer(config, "LSTM").update(return_state=True))
    with pytest.raises(UnsupportedLayerError, match=r"lstm \(LSTM\).*several outputs"):
        load_h5(path)


def test_an_input_layer_in_the_middle(path: Path) -> None:
    def change(config: Any) -> None:
        entry = copy.deepcopy(config["config"]["layers"][0])
        entry["config"]["name"] = "again"
        config["config"]["layers"].insert(2, entry)

    with pytest.raises(ModelFileError, match=r"model.h5: layer 'again' \(InputLayer\)"):
        load_h5(edit(path, change))


@pytest.mark.parametrize("arguments", [None, "missing", [], "initial_state"], ids=str)
def test_a_call_without_arguments_by_name(tmp_path: Path, arguments: Any) -> None:
    """Its initial_state would be lost."""
    x, state = L.Input((None, 6)), L.Input((4,))
    y = L.GRU(4, name="gru")(x, initial_state=state)
    keras.Model([x, state], y).save(tmp_path / "m.h5")

    def change(config: Any) -> None:
        entries = {entry["name"]: entry for entry in config["config"]["layers"]}
        call = entries["gru"]["inbound_nodes"][0]
        assert call["kwargs"]["initial_state"]
        call["kwargs"] = arguments
        if arguments == "missing":
            del call["kwargs"]

    with pytest.raises(ModelFileError, match=r"m.h5: layer 'gru' \(GRU\): a call without kwargs"):
        load_h5(edit(tmp_path / "m.h5", change))


def test_merges_and_inputs_that_are_not_supported(tmp_path: Path) -> None:
    frames, vector, ids = L.Input((3, 4)), L.Input((4,)), L.Input((5,))
    models = {
        r"sum \(\w+\)": keras.Model([frames, vector], L.Add(name="sum")([frames, vector])),
        r"join \(\w+\).*axis=0": keras.Model(
            frames, L.Concatenate(axis=0, name="join")([frames, frames])
        ),
        r"join \(\w+\).*axis": keras.Model(
            frames, L.Concatenate(axis=-3, name="join")([frames, frames])
        ),
        r"head \(\w+\).*int64": keras.Model(
            ids, [L.Embedding(9, 2)(ids), L.Dense(2, name="head")(ids)]
        ),
    }
    for match, model in models.items():
        model.save(tmp_path / "m.h5")
        with pytest.raises(UnsupportedLayerError, match=f"m.h5: .*{match}") as caught:
            load_h5(tmp_path / "m.h5")
        assert len(caught.value.layers) == 1


def test_a_graph_that_is_none(tmp_path: Path) -> None:
    source = GOLDEN / "keras2_states.h5"

    def damaged(change: Callable[[dict[str, Any], Any], None]) -> Path:
        path = Path(shutil.copy(source, tmp_path / "model.h5"))
        return edit(
            path, lambda c: change({e["name"]: e for e in c["config"]["layers"]}, c["config"])
        )

    def refused(change: Callable[[dict[str, Any], Any], None], match: str) -> None:
        with pytest.raises(ModelFileError, match=f"model.h5.*{match}"):
            load_h5(damaged(change))

    def cycle(layers: dict[str, Any], _: Any) -> None:
        layers["lstm"]["inbound_nodes"] = [[["lstm_1", 0, 0, {}]]]

    def stranger(layers: dict[str, Any], _: Any) -> None:
        layers["lstm"]["inbound_nodes"] = [[["nobody", 0, 0, {}]]]

    def output(layers: dict[str, Any], _: Any) -> None:
        layers["lstm_1"]["inbound_nodes"][0][1][2] = 7

    def end(_: dict[str, Any], config: Any) -> None:
        config["output_layers"] = [["lstm", 3, 0]]

    def start(_: dict[str, Any], config: Any) -> None:
        config["input_layers"] = [["lstm", 0, 0]]

    def missing(_: dict[str, Any], config: Any) -> None:
        config["input_layers"] = [["source", 0, 0]]

    def twice(_: dict[str, Any], config: Any) -> None:
        config["layers"].append(copy.deepcopy(config["layers"][-1]))

    refused(cycle, "read each other")
    refused(stranger, "not there")
    refused(output, "no output 7")
    refused(end, "no output 0 of call 3")
    refused(start, "no InputLayer")
    refused(missing, "not among the model's inputs")
    refused(twice, "two layers are named")


# ---- Weights ------------------------------------------------------------------------------------


def reweigh(path: Path, change: Callable[[dict[str, list[tuple[str, Any]]]], None]) -> Path:
    """Change names and arrays of the weights of a file."""
    with h5py.File(path, "a") as file:
        top = file["model_weights"]
        weights = {
            name: [(key, top[name][key][()]) for key in top[name].attrs["weight_names"]]
            for name in top.attrs["layer_names"]
        }
        change(weights)
        attributes = dict(top.attrs) | {"layer_names": list(weights)}
        del file["model_weights"]
        top = file.create_group("model_weights")
        top.attrs.update(attributes)
        for name, pairs in weights.items():
            group = top.create_group(name)
            group.attrs["weight_names"] = [key for key, _ in pairs]
            for key, array in pairs:
                group[key] = array
    return path


def test_weights_are_found_by_name(path: Path) -> None:
    def reverse(weights: dict[str, list[Any]]) -> None:
        for pairs in weights.values():
            pairs.reverse()

    _, inputs, expected = golden("hard_sigmoid")
    close(load_h5(reweigh(path, reverse))(*inputs), expected[0], FLOAT32[3])


@pytest.mark.parametrize("names", [["param_{}"], ["kernel:0", "recurrent_kernel:0", "bias:0"]])
def test_weights_are_found_by_order_where_names_tell_nothing(
    tmp_path: Path, names: list[str]
) -> None:
    """Names without forward_ and backward_, or with a number alone."""
    path = Path(shutil.copy(GOLDEN / "keras2_bidirectional.h5", tmp_path / "model.h5"))

    def rename(weights: dict[str, list[Any]]) -> None:
        for name in ("bidirectional", "bidirectional_1"):
            weights[name] = [
                (f"part{k // 3}/{names[k % len(names)].format(k)}", array)
                for k, (_, array) in enumerate(weights[name])
            ]

    _, inputs, expected = golden("bidirectional")
    close(outputs(load_h5(reweigh(path, rename)), *inputs)[0], expected[0], FLOAT32[2])


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_weights_stored_in_other_floats_become_float32(path: Path, dtype: type) -> None:
    def convert(weights: dict[str, list[Any]]) -> None:
        for pairs in weights.values():
            pairs[:] = [(key, array.astype(np.float16).astype(dtype)) for key, array in pairs]

    _, inputs, _ = golden("hard_sigmoid")
    found = load_h5(reweigh(path, convert))(*inputs)

    def back(weights: dict[str, list[Any]]) -> None:
        for pairs in weights.values():
            pairs[:] = [(key, array.astype(np.float32)) for key, array in pairs]

    np.testing.assert_array_equal(found, load_h5(reweigh(path, back))(*inputs))


BROKEN: dict[str, tuple[Callable[[dict[str, list[Any]]], Any], str]] = {
    "missing": (lambda w: w["lstm"].pop(), "lstm.*missing .'bias'"),
    "no layer": (lambda w: w.pop("gru"), "gru.*missing"),
    "left over": (lambda w: w["gru"].append(("gru/gamma:0", np.ones(3))), "left over .'gru/gamma"),
    "stranger": (lambda w: w.update(nobody=[("kernel:0", np.ones(3))]), "nobody: kernel:0"),
    "units": (
        lambda w: w["lstm"].__setitem__(1, ("lstm/recurrent_kernel:0", np.ones((4, 20), "f4"))),
        r"'lstm'.*recurrent_kernel.*expected shape \(5, 20\), found \(4, 20\)",
    ),
    "rank": (
        lambda w: w["dense"].__setitem__(0, ("dense/kernel:0", np.ones((3, 2, 1), "f4"))),
        r"'dense'.*kernel.*expected shape \(any, 2\), found \(3, 2, 1\)",
    ),
    "features": (
        lambda w: w["dense"].__setitem__(0, ("dense/kernel:0", np.ones((4, 2), "f4"))),
        r"'dense'",
    ),
    "cudnn": (
        lambda w: w["lstm"].__setitem__(2, ("lstm/bias:0", np.ones(40, "f4"))),
        r"'lstm'.*bias.*expected shape \(20\), found \(40,\)",
    ),
    "integers": (
        lambda w: w["dense"].__setitem__(1, ("dense/bias:0", np.ones(2, "i4"))),
        "'dense'.*expected floats, found int32",
    ),
    "an input's": (
        lambda w: w.update(lstm_input=[("lstm_input/kernel:0", np.ones(3, "f4"))]),
        "lstm_input.*left over",
    ),
}


@pytest.mark.parametrize(("change", "match"), BROKEN.values(), ids=BROKEN)
def test_weights_that_do_not_fit(
    path: Path, change: Callable[[dict[str, list[Any]]], Any], match: str
) -> None:
    with pytest.raises(WeightsError, match=re.compile(f"model.h5: .*{match}")):
        load_h5(reweigh(path, change))
