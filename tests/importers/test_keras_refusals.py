"""Keras models that are refused: by layer with every reason, or because they contradict themselves.

Broken and hostile files are in tests/attacks/.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
from keras import layers as L
from keras_files import (
    GOLDEN,
    edit,
    layer,
)

from seqcore.errors import ModelFileError, UnsupportedLayerError
from seqcore.importers.keras import load_h5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(shutil.copy(GOLDEN / "keras2_hard_sigmoid.h5", tmp_path / "model.h5"))


OPTIONS: dict[str, tuple[str, dict[str, Any], str]] = {
    "time_major": ("LSTM", {"time_major": True}, "time_major=True"),
    "dtype": ("Dense", {"dtype": "float16"}, "dtype 'float16'; only float32"),
    "policy": (
        "Dense",
        {"dtype": {"class_name": "Policy", "config": {"name": "float16"}}},
        "dtype 'float16'",
    ),
    "unknown": ("LSTM", {"peepholes": True}, "unknown option peepholes=True"),
    "two": ("LSTM", {"time_major": True, "zoneout": 0.1}, "time_major=True.*zoneout=0.1"),
    "number for flag": ("LSTM", {"time_major": 0}, "time_major=0"),
    "activation": ("Dense", {"activation": "celu"}, "'celu' is not supported for Keras 2"),
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
    "text": ("InputLayer", {"dtype": "string"}, "an input of dtype 'string'"),
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
    "channels": ([lambda: L.Reshape((5, 1)), lambda: L.Flatten("channels_first")], "channels_f"),
    "lambda": ([lambda: L.Lambda(lambda x: x)], "Lambda is code"),
    "multi-hot": ([lambda: L.CategoryEncoding(7)], "output_mode='multi_hot' is not supported"),
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
        layer(config, "SimpleRNN")["time_major"] = True

    with pytest.raises(UnsupportedLayerError) as caught:
        load_h5(edit(path, change))
    names = [name for name, _ in caught.value.layers]
    assert names == ["lstm (CuDNNLSTM)", "gru (os.system)", "simple_rnn (SimpleRNN)"]
    assert "CuDNN" in str(caught.value)


def test_subclassed_models(tmp_path: Path) -> None:
    path = Path(shutil.copy(GOLDEN / "keras2_states.h5", tmp_path / "model.h5"))
    edit(path, lambda config: config.update(class_name="MyModel"))
    with pytest.raises(UnsupportedLayerError, match="'MyModel' is not Sequential"):
        load_h5(path)


@pytest.mark.parametrize(
    "arguments", [{"training": True}, {"mask": ["words", 0, 0]}, {"scale": 2.0}], ids=str
)
def test_arguments_of_a_call(tmp_path: Path, arguments: dict[str, Any]) -> None:
    path = Path(shutil.copy(GOLDEN / "keras2_bidirectional.h5", tmp_path / "model.h5"))

    def change(config: Any) -> None:
        entries = {entry["name"]: entry for entry in config["config"]["layers"]}
        entries["bidirectional"]["inbound_nodes"][0][0][3] = arguments

    with pytest.raises(UnsupportedLayerError, match=rf"bidirectional.*{next(iter(arguments))}"):
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
    frames, ids, one = L.Input((3, 4)), L.Input((5,)), L.Input((1,), dtype="int32")
    models = {
        r"join \(Concatenate\).*axis 0 is the batch": keras.Model(
            frames, L.Concatenate(axis=0, name="join")([frames, frames])
        ),
        r"join \(\w+\).*axis": keras.Model(
            frames, L.Concatenate(axis=-3, name="join")([frames, frames])
        ),
        r"codes \(CategoryEncoding\).*last axis has size 1": keras.Model(
            one, L.CategoryEncoding(7, output_mode="one_hot", name="codes")(one)
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
    refused(stranger, "no call 0 of a layer 'nobody'")
    refused(output, "no output 7")
    refused(end, "no call 3 of a layer 'lstm'")
    refused(start, "no InputLayer")
    refused(missing, "not among the model's inputs")
    refused(twice, "two layers are named")
