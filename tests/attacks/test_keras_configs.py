"""Attacks on the importer of Keras models by configs, one test an attack.

A config and arrays in, a model or an error of seqcore that names the file out: quickly, and with
nothing imported by a name. Here are graphs, names and what is inside of something else. Not here:
options, operations and weights (test_keras_options.py), random changes (test_keras_changed.py).
"""

from __future__ import annotations

import copy
import sys
from functools import partial
from typing import Any

import numpy as np
import pytest
from hostile_configs import (
    Entry,
    chain,
    given,
    graph,
    layer,
    loaded,
    operation,
    refused,
    relu,
    survives,
    tensor,
)

import seqcore as sc
from seqcore.errors import SeqcoreError, UnsupportedLayerError


def test_the_configs_of_this_file_are_honest_but_for_the_attack() -> None:
    x = np.array([[[-1.0, 2.0, 0.0]]], np.float32)
    assert loaded(graph(given(), relu("a", "x")))(x).tolist() == [[[0, 2, 0]]]
    assert loaded(chain(given(), relu("a")))(x).tolist() == [[[0, 2, 0]]]
    doubled = loaded(graph(given(), operation("Add", "a", tensor("x"), tensor("x"))))
    assert doubled(x).tolist() == [[[-2, 4, 0]]]


# ---- Graphs that are none ------------------------------------------------------------------------


def test_layers_that_read_each_other() -> None:
    refused(graph(given(), relu("a", "b"), relu("b", "a")), "read each other.*'a', 'b'")


def test_a_layer_that_reads_itself() -> None:
    refused(graph(given(), relu("a", "a")), "read each other.*'a'")
    refused(graph(given(), operation("Add", "a", tensor("x"), tensor("a"))), "read each other")


def test_a_cycle_through_a_mask() -> None:
    masked = layer("LSTM", "a", "x", units=2, return_sequences=True)
    masked["inbound_nodes"][0]["kwargs"] = {"mask": tensor("m")}
    compare = operation("NotEqual", "e", tensor("a"), 0.0)
    mask = operation("Any", "m", tensor("e"), axis=-1)
    refused(graph(given(), masked, compare, mask, outputs=[["a", 0, 0]]), "read each other")


def test_a_cycle_through_an_initial_state() -> None:
    first = layer("GRU", "a", "x", units=2, return_state=True)
    first["inbound_nodes"][0]["kwargs"] = {"initial_state": tensor("a", 0, 1)}
    refused(graph(given(), first), "read each other")


@pytest.mark.parametrize(("call", "output"), [(1, 0), (0, 1), (1 << 40, 0), (0, 1 << 40)])
@pytest.mark.parametrize("source", ["x", "a"])
def test_calls_and_outputs_that_are_not_there(source: str, call: int, output: int) -> None:
    reader = layer("Flatten", "b", tensor(source, call, output))
    refused(graph(given(), relu("a", "x"), reader), "no (call|output)")
    refused(graph(given(), relu("a", "x"), outputs=[[source, call, output]]), "no (call|output)")


HISTORIES = [
    None, [], ["x"], ["x", 0], ["x", 0, 0, 0], ["x", -1, 0], ["x", 0, -1], ["x", 0.0, 0],
    ["x", True, 0], ["x", "0", 0], [None, 0, 0], [["x"], 0, 0], {"x": 0}, "x", 7, [0, "x", 0],
]  # fmt: skip


@pytest.mark.parametrize("history", HISTORIES, ids=repr)
def test_references_that_are_none(history: Any) -> None:
    value = {"class_name": "__keras_tensor__", "config": {"keras_history": history}}
    refused(graph(given(), layer("Flatten", "a", value)), r"expected \[layer, call, output\]")


@pytest.mark.parametrize("key", ["input_layers", "output_layers"])
@pytest.mark.parametrize(
    "ends",
    [None, [], {}, [[]], [[[]]], "x", 5, True, [None], {"a": {}}, ["x", 0], [["x", 0, 0], 1]],
    ids=repr,
)  # fmt: skip
def test_ends_that_are_none(key: str, ends: Any) -> None:
    config = graph(given(), relu("a", "x"))
    config["config"][key] = ends
    refused(config, r"expected (a list|\[layer, call, output\])")


def test_inputs_that_are_layers_and_inputs_twice() -> None:
    refused(graph(given(), relu("a", "x"), inputs=[["a", 0, 0]]), "no InputLayer|not among")
    refused(graph(given(), relu("a", "x"), inputs=[["x", 0, 0], ["x", 0, 0]]), "given twice")
    refused(graph(given(), relu("a", "x"), inputs=[["y", 0, 0]]), "no (call|output)")


NODES = [
    None, {}, "x", 5, [None], [5], [[]], [{}], [{"args": None, "kwargs": {}}],
    [{"args": [], "kwargs": None}], [{"args": {}, "kwargs": {}}], [[[["x", 0, 0]]]],
    [{"args": [], "kwargs": {"class_name": "__ellipsis__", "config": {}}}],
    [{"args": {"class_name": "__slice__", "config": {}}, "kwargs": {}}],
    [{"args": [[[[]]]], "kwargs": {}}], [{"args": [tensor("x")], "kwargs": {"mask": 3}}],
    [{"args": [tensor("x"), tensor("x")], "kwargs": {}}], [{"args": [True], "kwargs": {}}],
    [{"args": [tensor("x")], "kwargs": {"mask": tensor("x")}}],
    [{"args": [tensor("x")], "kwargs": {"mask": [None] * 9}}],
    [{"args": [tensor("x")], "kwargs": {"initial_state": tensor("x")}}],
]  # fmt: skip


@pytest.mark.parametrize("version", ["3.15.1", "2.15.0", "1.2.2"])
@pytest.mark.parametrize("nodes", NODES, ids=repr)
def test_calls_of_every_shape(nodes: Any, version: str) -> None:
    config = graph(given(), {**relu("a", "x"), "inbound_nodes": nodes})
    refused(config, "", version=version)


@pytest.mark.parametrize(
    "node",
    [
        [["x", 0, 0, []]], [["x", 0, 0, 5]], [["x", 0]], [["x", 0, 0, {}, {}]], [["x", 0.0, 0, {}]],
        [["_CONSTANT_VALUE", -1, [[1.0]], {}]], [["_CONSTANT_VALUE", -1, {"a": 1}, {}]],
        [["x", 0, 0, {"mask": ["x", 0, 0]}]], [["x", 0, 0, {"initial_state": [["x", 0, 0]]}]],
        ["x", 0, 0, {"training": "yes"}], [["nobody", 0, 0, {}]], [[["x", 0, 0, {}]]],
    ],
    ids=repr,
)  # fmt: skip
def test_calls_of_keras_2(node: Any) -> None:
    refused(graph(given(), {**relu("a"), "inbound_nodes": [node]}), "", version="2.15.0")


# ---- Names ---------------------------------------------------------------------------------------

NAMES = [
    "", "a:b", "a\nb", "a\x00b", "\ud800", "\u202e", "n" * 100_000, "a\x1b[2J", 5, [], {}, True,
    None,
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:12])
def test_names_that_are_none(name: Any) -> None:
    """As layer, as input, of a class and in messages."""
    for config in (
        graph(given(), {**relu("a", "x"), "name": name, "config": {"name": name, "activation": 5}}),
        graph(given(), {**relu("a", "x"), "name": name, "config": {"name": name, name or "": 5}})
        if isinstance(name, str)
        else graph(given(), relu(name, tensor(name))),
        graph(given(), {**relu("a", "x"), "class_name": name}),
        {"class_name": name, "config": {}},
    ):
        refused(config, "")


@pytest.mark.parametrize("name", ["a:b", "a\nb", "\ud800", "n" * 1000], ids=lambda n: ascii(n)[:8])
def test_names_of_layers_that_are_supported(name: str) -> None:
    refused(graph(given(), relu(name, "x")), "name")
    refused(graph(given(name), relu("a", name), inputs=[[name, 0, 0]]), "name")
    refused({**graph(given(), relu("a", "x"), name=name)}, "name")


def test_names_given_twice() -> None:
    refused(graph(given(), relu("a", "x"), relu("a", "x")), "two layers are named 'a'")
    refused(chain(given(), relu("a"), relu("a")), "two layers are named 'a'")
    refused(graph(given(), relu("x", "x")), "two layers are named 'x'")
    many = [relu(f"a{k}", "x") for k in range(8000)]
    refused(graph(given(), *many, relu("a7999", "x")), "two layers are named 'a7999'")


def test_a_layer_that_is_called_like_one_inside_of_a_model() -> None:
    """Inside of `a`, the layer `b` is a/b."""
    inner = {**graph(given(), relu("b", "x"), name="a"), "name": "a"}
    inner["inbound_nodes"] = layer("", "", "x")["inbound_nodes"]
    refused(graph(given(), inner, relu("a/b", "a")), "a/b")
    doubled = {**inner, "config": {**inner["config"], "layers": [given(), relu("a", "x")]}}
    doubled["config"]["output_layers"] = [["a", 0, 0]]
    x = np.array([[[-1.0, 2.0, 0.0]]], np.float32)
    assert loaded(graph(given(), doubled, relu("b", "a")))(x).tolist() == [[[0, 2, 0]]]


# ---- Models inside of models ---------------------------------------------------------------------


def nested(depth: int, calls: int, innermost: Entry, name: str = "m{}") -> Entry:
    """A model that calls one `calls` times, one after the other, which does the same, and so on."""
    made = graph(given(), innermost, name="m")
    for level in range(depth):
        title = name.format(level)
        inner = {**made, "name": title, "inbound_nodes": []}
        inner["config"] = {**made["config"], "name": title}
        for call in range(calls):
            reads = tensor(title, call - 1) if call else tensor("x")
            inner["inbound_nodes"].append({"args": [reads], "kwargs": {}})
        made = graph(given(), inner, outputs=[[title, calls, 0]])
    return made


def test_models_nested_deeply() -> None:
    x = np.array([[[-1.0, 2.0, 0.0]]], np.float32)
    assert loaded(nested(15, 1, relu("a", "x")))(x).tolist() == [[[0, 2, 0]]]
    refused(nested(60, 1, relu("a", "x")), "nested deeper than")


@pytest.mark.parametrize("innermost", [relu("a", "x"), operation("GetItem", "a", tensor("x"), [])])
def test_models_that_call_a_model_many_times(innermost: Entry) -> None:
    """Ten kilobytes that mean 2**15, or 100**15, calls; the second makes no node at all."""
    refused(nested(15, 2, innermost), "called more than 10000 times|key")
    refused(nested(6, 100, innermost), "called more than 10000 times|key")


def test_calls_that_compute_nothing() -> None:
    """A model whose output is its input has no node that could be counted."""
    made = graph(given(), relu("a", "x"), outputs=[["x", 0, 0]])
    for level in range(14):
        name = f"m{level}"
        inner = {**made, "name": name, "config": {**made["config"], "name": name}}
        reads = [tensor("x"), *(tensor(name, call) for call in range(19))]
        inner["inbound_nodes"] = [{"args": [read], "kwargs": {}} for read in reads]
        made = graph(given(), inner, outputs=[[name, 20, 0]])
    refused(made, "called more than 10000 times")


def test_names_that_grow_with_every_model() -> None:
    """Each value's name has those of all models around it."""
    refused(nested(12, 2, relu("a", "x"), "n" * 190 + "{}"), "names have more than")


def test_a_model_that_is_called_twice_is_what_keras_says() -> None:
    """Keras 3 counts a model's calls from 0, and from 1 in output_layers."""
    config = nested(1, 2, operation("Add", "a", tensor("x"), 1.0))
    config["config"]["output_layers"] = [["m0", 1, 0], ["m0", 2, 0]]
    first, second = loaded(config)(np.zeros((1, 1, 3), np.float32))
    assert (first == 1).all()
    assert (second == 2).all()
    config["config"]["output_layers"] = [["m0", 0, 0]]
    refused(config, "no call -1")


def test_a_model_called_like_itself() -> None:
    inner = {**graph(given(), relu("model", "x")), "name": "model"}
    inner["inbound_nodes"] = [{"args": [tensor("x")], "kwargs": {}}]
    config = graph(given(), inner, outputs=[["model", 1, 0]])
    assert loaded(config).inputs == ("x",)
    recursive = copy.deepcopy(inner)
    recursive["inbound_nodes"][0]["args"] = [tensor("model")]
    refused(graph(given(), recursive, outputs=[["model", 1, 0]]), "read each other")


@pytest.mark.parametrize(
    "layers", [None, [], {}, [None], [5], "x", [[]], [{}], [chain()]], ids=repr
)
def test_models_without_layers(layers: Any) -> None:
    for kind in ("Sequential", "Functional", "Model"):
        for version in ("1.2.2", "2.15.0", "3.15.1"):
            config = {"class_name": kind, "config": {"name": "m", "layers": layers}}
            refused(config, "", version=version)
            refused(chain(given(), config), "", version=version)
            refused(chain(config), "", version=version)
            wrapped = layer("TimeDistributed", "t", layer=config)
            refused(chain(given(), wrapped), "", version=version)


# ---- Layers inside of layers ---------------------------------------------------------------------


def wrapped(
    kind: str, depth: int, innermost: Entry, option: str = "layer", **options: Any
) -> Entry:
    made = innermost
    for level in range(depth):
        value = [made] if option == "cells" else made
        made = layer(kind, f"w{level}", **{option: value}, **options)
    return made


def test_wrappers_nested_deeply() -> None:
    lstm = layer("LSTM", "l", units=2)
    both = wrapped("Bidirectional", 28, lstm, merge_mode="concat")
    refused(chain(given(), both), "of Bidirectional is not supported")
    for depth in (1, 3, 10, 28):  # ranks of more than 6 axes
        config = chain(given(), wrapped("TimeDistributed", depth, relu("r")))
        survives(partial(loaded, config))
    refused(chain(given(), wrapped("TimeDistributed", 50, relu("r"))), "nested deeper")


def test_cells_nested_deeply_and_in_masses() -> None:
    cell = layer("GRUCell", "c", units=1)
    deep = wrapped("StackedRNNCells", 17, cell, "cells")
    refused(chain(given(), layer("RNN", "r", cell=deep)), "expected the weights|weight")
    many = layer("StackedRNNCells", "s", cells=[cell] * 8000)
    refused(chain(given(), layer("RNN", "r", cell=many)), "expected the weights|weight")
    arrays = [(f"kernel_{k}", np.zeros((3, 3), np.float32)) for k in range(24_000)]
    refused(chain(given(), layer("RNN", "r", cell=many)), "kernel", {"r": arrays})


@pytest.mark.parametrize(
    "inner", [None, 5, [], {}, "LSTM", {"class_name": "LSTM"}, relu("a")], ids=repr
)
@pytest.mark.parametrize(
    ("kind", "option"),
    [("Bidirectional", "layer"), ("Bidirectional", "backward_layer"), ("TimeDistributed", "layer"),
     ("RNN", "cell"), ("StackedRNNCells", "cells"), ("RNN", "cells")],
)  # fmt: skip
def test_layers_that_are_none(kind: str, option: str, inner: Any) -> None:
    options = {"layer": layer("LSTM", "l", units=2), "merge_mode": "sum"}
    known = options if kind == "Bidirectional" else {}
    if (kind, option) == ("TimeDistributed", "layer") and inner == relu("a"):
        inner = layer("InputLayer", "i", batch_shape=[None, 3])
    if (option, inner) == ("backward_layer", None) or (not inner and option == "backward_layer"):
        inner = [None]
    refused(chain(given(), layer(kind, "w", **{**known, option: inner})), "")


def test_activations_nested_deeply() -> None:
    made: Any = "relu"
    for level in range(25):
        made = layer("Activation", f"a{level}", activation=made)
    x = np.array([[[-1.0, 2.0, 0.0]]], np.float32)
    assert loaded(chain(given(), made))(x).tolist() == [[[0, 2, 0]]]


@pytest.mark.parametrize(
    "value",
    [
        5, True, [], {}, ["relu"], "os.system", "lambda x: x", "__lambda__",
        {"class_name": "function"},
        {"class_name": "function", "config": "relu", "module": "os"},
        {"class_name": "function", "config": ["relu"], "module": "keras.activations"},
        {"class_name": "function", "config": "system", "module": "builtins"},
        {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}},
        {"class_name": "ReLU", "config": {"max_value": "6"}},
        {"class_name": "ReLU", "config": None}, {"class_name": "LeakyReLU", "config": {}},
        {"class_name": "ReLU", "config": {}, "module": "subprocess"},
        {"class_name": ["ReLU"], "config": {}}, {"class_name": "Dense", "config": {"units": 2}},
        {"class_name": "Softmax", "config": {"axis": [1, 2]}},
    ],
    ids=repr,
)  # fmt: skip
def test_activations_that_are_none(value: Any) -> None:
    refused(chain(given(), layer("Dense", "d", units=3, activation=value)), "")


# ---- Nothing is imported -------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["3.15.1", "2.15.0"])
@pytest.mark.parametrize(
    "origin",
    [
        {"module": "os", "class_name": "system"}, {"module": "builtins", "class_name": "eval"},
        {"class_name": "__lambda__"}, {"class_name": "Lambda"}, {"class_name": "antigravity"},
        {"module": "antigravity", "class_name": "Activation"},
        {"module": "keras.layers", "class_name": "Activation", "registered_name": "antigravity>A"},
        {"module": "antigravity", "class_name": "Functional"},
        {"module": "keras.src.ops.antigravity", "class_name": "antigravity"},
        {"module": ["os"], "class_name": "Activation"}, {"module": {}, "class_name": "Activation"},
    ],
    ids=repr,
)  # fmt: skip
def test_nothing_is_imported_by_a_name(origin: Entry, version: str) -> None:
    before = set(sys.modules)
    entry = {**relu("a", "x"), **origin}
    if version == "2.15.0":
        entry["inbound_nodes"] = [[["x", 0, 0, {}]]]
    refused(graph(given(), entry), "", version=version)
    refused(chain(given(), entry), "", version=version)
    assert "antigravity" not in sys.modules
    assert not [name for name in set(sys.modules) - before if not name.startswith("seqcore")]


# ---- Masks of masks ------------------------------------------------------------------------------


def masked(*more: Entry) -> Entry:
    """Two different masks, m0 and n0, and what is made of them."""
    start = [given(shape=(None, None, 2))]
    for name, number in (("m0", 0.0), ("n0", 1.0)):
        start.append(operation("NotEqual", f"{name}e", tensor("x"), number))
        start.append(operation("Any", name, tensor(f"{name}e"), axis=-1))
    last = layer("SimpleRNN", "a", "x", units=1)
    last["inbound_nodes"][0]["kwargs"] = {"mask": tensor(more[-1]["name"])}
    return graph(*start, *more, last)


RNN = {"a": [("kernel", np.ones((2, 1), "f4")), ("recurrent_kernel", np.ones((1, 1), "f4")),
             ("bias", np.zeros(1, "f4"))]}  # fmt: skip


@pytest.mark.parametrize("levels", [30, 400])
def test_masks_that_double(levels: int) -> None:
    """Each mask reads the one before twice: written out it would have 2**30 parts."""
    layers = []
    for k in range(levels):
        both = tensor(f"m{k}"), tensor(f"n{k}")
        layers += [
            operation("LogicalOr", f"m{k + 1}", *both),
            operation("LogicalAnd", f"n{k + 1}", *both),
        ]
    config = masked(*layers)
    if levels > 100:
        refused(config, "deep", RNN)
    else:
        loaded(config, RNN)


def test_the_same_mask_again_and_again() -> None:
    """As a stack of Adds writes it."""
    layers = [
        operation("LogicalOr", f"m{k + 1}", tensor(f"m{k}"), tensor(f"m{k}")) for k in range(900)
    ]
    assert loaded(masked(*layers), RNN).inputs == ("x",)


def test_sequences_joined_in_masses() -> None:
    """The mask of a sequence joined with others is made of the mask of all before."""
    masking = layer("Masking", "m", "x", mask_value=0.0)
    for count in (40, 20_000):
        joined = layer("Concatenate", "c", [tensor("m")] * count, axis=1)
        rnn = layer("SimpleRNN", "a", "c", units=1)
        config = graph(given(shape=(None, None, 2)), masking, joined, rnn)
        if count == 40:
            loaded(config, RNN)
        else:
            refused(config, "deep|more than", RNN)


# ---- Masses --------------------------------------------------------------------------------------


def test_many_inputs_and_layers() -> None:
    """Files of a megabyte: what takes the square of their size would be seen."""
    inputs = [given(f"x{k}", (None, 3)) for k in range(4000)]
    added = layer("Add", "a", [tensor(f"x{k}") for k in range(4000)])
    loaded(graph(*inputs, added, inputs=[[f"x{k}", 0, 0] for k in range(4000)]))
    refused(chain(given(), *(relu(f"r{k}") for k in range(10_001))), "10000")
    loaded(chain(given(), *(relu(f"r{k}") for k in range(3000))))
    loaded(graph(given(), layer("Add", "a", [tensor("x")] * 10_000)))


def test_unsupported_layers_in_masses() -> None:
    layers = [layer("Lambda", f"l{k}") for k in range(5000)]
    with pytest.raises(UnsupportedLayerError) as error:
        loaded(chain(given(), *layers))
    assert len(error.value.layers) == 5000


# ---- Objects that are no models ------------------------------------------------------------------


class _Model:
    """A class, not an object, that has all that a model of Keras has."""

    to_json = layers = weights = built = name = None


@pytest.mark.parametrize(
    "thing",
    [None, 5, "m", [], {}, object(), type, _Model, sc.LSTM(2), np.ones(3)],
    ids=lambda thing: type(thing).__name__,
)
def test_live_things_that_are_no_models(thing: Any) -> None:
    with pytest.raises(SeqcoreError, match="Keras model"):
        sc.from_keras(thing)
