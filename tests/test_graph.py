"""What Python decides in a graph: activations, names, where lengths go, the text's bytes.

Documents are looked at as such; what they compute is tested in test_layers.py and in parity/.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

import seqcore as sc
from seqcore.graph import Graph, unique_names
from seqcore.layers.lowering import lower


def document(inputs, outputs):
    inputs = inputs if isinstance(inputs, list) else [inputs]
    outputs = outputs if isinstance(outputs, list) else [outputs]
    return lower(inputs, outputs)[0].document


def nodes(inputs, outputs, op):
    return [node for node in document(inputs, outputs)["nodes"] if node["op"] == op]


# ---- Activations --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "attr"),
    [
        (sc.ActivationSpec("tanh"), ["tanh", 0.0, 0.0]),
        (sc.ActivationSpec("hard_sigmoid"), ["hard_sigmoid", 1 / 6, 0.5]),
        (sc.ActivationSpec("hard_sigmoid", 0.2, 0.5), ["hard_sigmoid", 0.2, 0.5]),
        (sc.ActivationSpec("leaky_relu"), ["leaky_relu", 0.2, 0.0]),
        (sc.ActivationSpec("leaky_relu", 0), ["leaky_relu", 0.0, 0.0]),
        (sc.ActivationSpec("elu"), ["elu", 1.0, 0.0]),
        (sc.ActivationSpec("swish"), ["silu", 0.0, 0.0]),
        (sc.ActivationSpec.of(None, "x"), ["linear", 0.0, 0.0]),
    ],
)
def test_constants_of_an_activation_are_explicit(spec, attr):
    assert spec.attr() == attr


@pytest.mark.parametrize(
    "arguments",
    [
        ("Tanh",),
        ("glu",),
        (None,),
        (3,),
        ("leaky_relu", float("nan")),
        ("leaky_relu", "0.2"),
        ("leaky_relu", True),
        ("leaky_relu", 0.2, 0.5),
        ("tanh", 1.0),
    ],
)
def test_a_wrong_activation_is_refused(arguments):
    with pytest.raises(sc.OptionError):
        sc.ActivationSpec(*arguments)


def test_a_callable_is_no_activation():
    with pytest.raises(sc.OptionError, match="my_dense: activation"):
        sc.Dense(1, activation=np.tanh, name="my_dense")


# ---- Names --------------------------------------------------------------------------------------


def test_names_are_numbered_in_order_and_avoid_given_ones():
    wanted = [(None, "lstm"), ("lstm_1", "lstm"), (None, "lstm"), (None, "lstm"), (None, "dense")]
    assert unique_names(wanted) == ["lstm", "lstm_1", "lstm_2", "lstm_3", "dense"]


def test_a_name_given_twice_is_refused():
    x = sc.Input((4,))
    with pytest.raises(sc.GraphError, match="'head'"):
        document(x, sc.Dense(2, name="head")(sc.Dense(3, name="head")(x)))


def test_a_layer_and_an_input_share_one_space_of_names():
    x = sc.Input((4,), name="a")
    with pytest.raises(sc.GraphError, match="'a'"):
        document(x, sc.Dense(2, name="a")(x))


def test_tensors_of_different_layers_never_share_a_name():
    x = sc.Input((None, 2))
    cell = np.zeros((2, 2)), np.zeros((2, 2))
    both = sc.Bidirectional(sc.SimpleRNN(*cell), sc.SimpleRNN(*cell, go_backwards=True), name="a")
    other = sc.SimpleRNN(*cell, name="a.forward")
    with pytest.raises(sc.GraphError, match=r"a\.forward\.W"):
        document(x, [both(x), other(x)])


@pytest.mark.parametrize("layer", [sc.GlobalAveragePooling1D(), sc.MaxPooling1D(), sc.LSTM(1)])
def test_stems_are_snake_case(layer):
    expected = {
        "GlobalAveragePooling1D": "global_average_pooling1d",
        "MaxPooling1D": "max_pooling1d",
        "LSTM": "lstm",
    }
    assert layer.stem == expected[type(layer).__name__]


# ---- Lengths ------------------------------------------------------------------------------------


def test_lengths_stay_with_sequences_and_end_with_the_last_state():
    x = sc.Input((None, 3), name="x")
    h = sc.Dropout(0.5)(sc.Dense(4)(sc.LSTM(4, return_sequences=True)(x)))
    made = document(x, [h, sc.Dense(1)(sc.GRU(2)(h))])
    assert [node.get("lengths") for node in made["nodes"]] == ["x:lengths"] * 3 + [None]
    assert [output.get("lengths") for output in made["outputs"]] == ["x:lengths", None]


def test_convolution_and_pooling_map_lengths():
    x = sc.Input((None, 3), name="x")
    h = sc.MaxPooling1D(2, name="pool")(sc.Conv1D(4, 3, name="conv")(x))
    made = document(x, [h, sc.GlobalMaxPooling1D()(h)])
    conv, pool, whole = made["nodes"]
    assert (conv["lengths"], conv["lengths_out"]) == ("x:lengths", "conv:lengths")
    assert (pool["lengths"], pool["lengths_out"]) == ("conv:lengths", "pool:lengths")
    assert whole["lengths"] == "pool:lengths"
    assert "lengths_out" not in whole
    assert made["outputs"][0]["lengths"] == "pool:lengths"
    assert "lengths" not in made["outputs"][1]


def test_flatten_is_told_of_lengths_so_that_it_can_refuse():
    x = sc.Input((7, 3), name="x")
    (node,) = nodes(x, sc.Flatten()(x), "flatten")
    assert node["lengths"] == "x:lengths"


def test_a_merge_has_the_lengths_of_each_input():
    a, b, c = sc.Input((None, 3), name="a"), sc.Input((3,), name="b"), sc.Input((None, 3), name="c")
    made = document([a, b, c], sc.Add()([a, b, c]))
    assert made["nodes"][0]["lengths"] == ["a:lengths", None, "c:lengths"]
    assert made["outputs"][0]["lengths"] == "a:lengths"
    # The first that there are: b has no time axis, the sum has c's.
    made = document([b, c], sc.Multiply()(b, c))
    assert made["outputs"][0]["lengths"] == "c:lengths"


def test_a_merge_without_sequences_has_no_lengths():
    a, b = sc.Input((3,)), sc.Input((3,))
    assert "lengths" not in document([a, b], sc.Concatenate()([a, b]))["nodes"][0]


def test_only_inputs_with_a_time_axis_have_lengths():
    inputs = [sc.Input((3,), name="a"), sc.Input((None,), "int64", name="b")]
    h = sc.Concatenate()([inputs[0], sc.GlobalMaxPooling1D()(sc.Embedding(5, 2)(inputs[1]))])
    kinds = [(spec["name"], spec["kind"]) for spec in document(inputs, h)["inputs"]]
    assert kinds == [("a", "data"), ("b", "data"), ("b:lengths", "lengths")]


def test_final_states_have_no_lengths():
    x = sc.Input((None, 3))
    made = document(x, list(sc.LSTM(2, return_sequences=True, return_state=True)(x)))
    assert ["lengths" in output for output in made["outputs"]] == [True, False, False]


# ---- Structure ----------------------------------------------------------------------------------


def test_an_lstm_is_the_node_of_the_design():
    x = sc.Input((None, 64), name="x")
    made = document(x, sc.LSTM(128, return_sequences=True, name="lstm")(x))
    assert made["inputs"] == [
        {"name": "x", "kind": "data", "dtype": "float32", "shape": [None, 64]},
        {"name": "x:lengths", "kind": "lengths", "of": "x"},
        {"name": "lstm:h0", "kind": "state", "shape": [128]},
        {"name": "lstm:c0", "kind": "state", "shape": [128]},
        {"name": "x:mask", "kind": "mask", "of": "x"},
    ]
    assert made["nodes"] == [
        {
            "op": "lstm",
            "layer": "lstm",
            "inputs": ["x", "lstm:h0", "lstm:c0", "x:mask"],
            "lengths": "x:lengths",
            "outputs": ["lstm", None, None],
            "weights": {"W": "lstm.W", "U": "lstm.U", "b": "lstm.b"},
            "attrs": {
                "units": 128,
                "activation": ["tanh", 0, 0],
                "recurrent_activation": ["sigmoid", 0, 0],
                "reverse": False,
                "realign": False,
                "return_sequences": True,
                "zero_output_for_mask": False,
            },
        }
    ]


def test_a_layer_called_twice_has_one_set_of_weights():
    a, b = sc.Input((None, 2)), sc.Input((None, 2))
    rnn = sc.SimpleRNN(np.ones((2, 3)), np.ones((3, 3)), name="rnn")
    graph, _ = lower([a, b], [rnn(a), rnn(b)])
    first, second = graph.document["nodes"]
    assert first["weights"] == second["weights"]
    assert set(graph.tensors) == {"rnn.W", "rnn.U", "rnn.b"}
    assert first["outputs"][0] != second["outputs"][0]
    assert first["inputs"][1] != second["inputs"][1]
    assert len(graph.document["layers"]) == 1


def test_dropout_is_no_node_and_still_a_layer():
    x = sc.Input((3,))
    made = document(x, sc.Dropout(0.1)(sc.Dense(2)(x)))
    assert [node["op"] for node in made["nodes"]] == ["dense"]
    assert [layer["class"] for layer in made["layers"]] == ["Dense", "Dropout"]
    assert made["layers"][1]["value"] == "dense"


def test_a_time_distributed_dense_is_a_dense_and_an_lstm_is_folded():
    x = sc.Input((None, 5, 3), name="x")
    dense = document(x, sc.TimeDistributed(sc.Dense(2))(x))
    assert [node["op"] for node in dense["nodes"]] == ["dense"]
    made = document(x, sc.TimeDistributed(sc.LSTM(2))(x))
    fold, lstm, unfold = made["nodes"]
    assert [fold["op"], lstm["op"], unfold["op"]] == ["fold", "lstm", "unfold"]
    assert unfold["inputs"] == [lstm["outputs"][0], "x"]
    assert unfold["lengths"] == "x:lengths"
    assert "lengths" not in lstm
    # a frame of a row has no state and no mask that a caller could give
    assert lstm["inputs"][1:] == [None, None, None]


def test_nodes_stand_in_order_of_execution_even_for_a_long_chain():
    x = value = sc.Input((2,))
    for _ in range(5000):  # deeper than Python's recursion limit
        value = sc.Add()(value, value)
    made = document(x, value)
    known = {"input"}
    for node in made["nodes"]:
        assert known >= set(node["inputs"])
        known.update(node["outputs"])
    assert len(made["nodes"]) == 5000


def test_the_same_model_gives_the_same_bytes():
    def build():
        x = sc.Input((None, 3))
        h = sc.Bidirectional(sc.GRU(2, return_sequences=True), merge_mode="ave")(x)
        y = sc.Concatenate()([h, sc.Activation("hard_sigmoid")(sc.Dense(2)(x))])
        return lower([x], [y])[0].to_json()

    text = build()
    assert text == build()
    assert json.loads(text)["format"] == "seqcore"


# ---- Graphs that are none -----------------------------------------------------------------------


def test_outputs_must_come_from_the_inputs():
    x, other = sc.Input((3,), name="x"), sc.Input((3,), name="other")
    with pytest.raises(sc.GraphError, match="other"):
        document(x, sc.Add()(x, other))


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [([], ["y"]), (["x"], []), (["x", "x"], ["y"]), (["y"], ["y"]), (["x"], [3]), ([3], ["y"])],
)
def test_inputs_and_outputs_are_checked(inputs, outputs):
    x = sc.Input((3,))
    known = {"x": x, "y": sc.Dense(1)(x), 3: 3}
    with pytest.raises(sc.GraphError):
        lower([known[name] for name in inputs], [known[name] for name in outputs])


def test_ids_go_to_embeddings_and_features_do_not():
    ids, x = sc.Input((None,), "int64"), sc.Input((None,))
    with pytest.raises(sc.GraphError, match=r"'dense'.*float32.*int64"):
        document(ids, sc.Dense(1)(ids))
    with pytest.raises(sc.GraphError, match=r"'embedding'.*Input\(\.\.\., dtype=\"int64\"\)"):
        document(x, sc.Embedding(3, 2)(x))


@pytest.mark.parametrize(
    "layers",
    [
        {},
        [3],
        [{"name": "a", "class": "Dense", "value": "nowhere", "parameters": 1}],
        [{"name": 1, "class": "Dense", "value": "x", "parameters": 1}],
        [{"name": "a", "class": None, "value": "x", "parameters": 1}],
        [{"name": "a", "class": "Dense", "value": "x", "parameters": -1}],
        [{"name": "a", "class": "Dense", "value": "x", "parameters": 1.5}],
        [{"name": "a", "class": "Dense", "value": ["x"], "parameters": 1}],
        [{"name": "a", "class": "Dense", "value": "x"}],
    ],
)
def test_the_list_of_layers_in_a_file_is_checked(layers):
    graph = {"inputs": [{"name": "x"}], "nodes": [], "outputs": [], "layers": layers}
    with pytest.raises(sc.ModelFileError, match=r"model\.safetensors"):
        Graph.from_json(json.dumps(graph).encode(), {}, "model.safetensors")
