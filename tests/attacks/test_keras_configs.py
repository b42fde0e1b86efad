"""Attacks on the importer of Keras models by configs, one test an attack.

A config and arrays in, a model or an error of seqcore that names the file out: quickly, and with
nothing imported by a name. Not here: what HDF5 and zip archives do to the readers (test_hdf5.py,
test_keras_archive.py), and honest configs that are not supported (tests/importers).
"""

from __future__ import annotations

import copy
import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqcore as sc
from seqcore.errors import ModelFileError, SeqcoreError, UnsupportedLayerError, WeightsError
from seqcore.formats.hdf5 import parse_config, read_keras_h5
from seqcore.formats.keras_archive import read_keras_archive
from seqcore.formats.keras_trees import WeightTree
from seqcore.importers import keras as importer

FILE = "hostile.keras"
GOLDEN = Path(__file__).parents[1] / "golden"
Entry = dict[str, Any]


def loaded(config: Any, weights: Any = None, version: str = "3.15.1") -> sc.Model:
    """Import a config as if a file had held it."""
    parsed = parse_config(json.dumps(config), FILE)  # as large and as deep as a file's may be
    with importer._about(FILE):
        known = importer._version(FILE, version, parsed)
        return importer._model(FILE, known, parsed, WeightTree() if weights is None else weights)


def refused(config: Any, match: str, weights: Any = None, version: str = "3.15.1") -> SeqcoreError:
    with pytest.raises((ModelFileError, UnsupportedLayerError, WeightsError), match=match) as error:
        loaded(config, weights, version)
    told = str(error.value)
    assert FILE in told
    assert len(told) < 2000
    told.encode()
    return error.value


# ---- Configs of Keras 3 and 2 -------------------------------------------------------------------


def tensor(name: Any, call: Any = 0, output: Any = 0) -> Entry:
    return {"class_name": "__keras_tensor__", "config": {"keras_history": [name, call, output]}}


def layer(kind: str, name: Any, *reads: Any, **options: Any) -> Entry:
    """A layer of Keras 3, called once on what it reads."""
    nodes = [
        {"args": [r if isinstance(r, (dict, list)) else tensor(r)], "kwargs": {}} for r in reads
    ]
    return {
        "module": "keras.layers", "class_name": kind, "name": name,
        "config": {"name": name, **options}, "inbound_nodes": nodes,
    }  # fmt: skip


def given(name: str = "x", shape: Any = (None, None, 3), dtype: str = "float32") -> Entry:
    return layer("InputLayer", name, batch_shape=list(shape), dtype=dtype)


def graph(*layers: Entry, name: str = "model", inputs: Any = None, outputs: Any = None) -> Entry:
    config = {
        "name": name,
        "layers": list(layers),
        "input_layers": [["x", 0, 0]] if inputs is None else inputs,
        "output_layers": [[layers[-1]["name"], 0, 0]] if outputs is None else outputs,
    }
    return {"class_name": "Functional", "config": config}


def chain(*layers: Entry, name: str = "chain") -> Entry:
    return {"class_name": "Sequential", "config": {"name": name, "layers": list(layers)}}


def operation(kind: str, name: str, *args: Any, **kwargs: Any) -> Entry:
    return {
        "module": "keras.src.ops.numpy", "class_name": kind, "name": name, "config": {"name": name},
        "inbound_nodes": [{"args": list(args), "kwargs": kwargs}],
    }  # fmt: skip


def relu(name: Any, *reads: Any) -> Entry:
    return layer("Activation", name, *reads, activation="relu")


def test_the_configs_of_this_file_are_honest_but_for_the_attack() -> None:
    x = np.array([[[-1.0, 2.0, 0.0]]], np.float32)
    assert loaded(graph(given(), relu("a", "x")))(x).tolist() == [[[0, 2, 0]]]
    assert loaded(chain(given(), relu("a")))(x).tolist() == [[[0, 2, 0]]]
    doubled = loaded(graph(given(), operation("Add", "a", tensor("x"), tensor("x"))))
    assert doubled(x).tolist() == [[[-2, 4, 0]]]


# ---- Graphs that are none -----------------------------------------------------------------------


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
    "ends", [None, [], {}, [[]], [[[]]], "x", 5, True, [None], {"a": {}}, ["x", 0], [["x", 0, 0], 1]],
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


# ---- Names --------------------------------------------------------------------------------------

NAMES = [
    "", "a:b", "a\nb", "a\x00b", "\ud800", "\u202e", "n" * 100_000, "a\x1b[2J", 5, [], {}, True, None,
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


# ---- Models inside of models --------------------------------------------------------------------


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


# ---- Layers inside of layers --------------------------------------------------------------------


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
        try:
            loaded(chain(given(), wrapped("TimeDistributed", depth, relu("r"))))
        except SeqcoreError as error:
            assert FILE in str(error)
    refused(chain(given(), wrapped("TimeDistributed", 50, relu("r"))), "nested deeper")


def test_cells_nested_deeply_and_in_masses() -> None:
    cell = layer("GRUCell", "c", units=1)
    deep = wrapped("StackedRNNCells", 17, cell, "cells")
    refused(chain(given(), layer("RNN", "r", cell=deep)), "expected the weights|weight")
    many = layer("StackedRNNCells", "s", cells=[cell] * 20_000)
    refused(chain(given(), layer("RNN", "r", cell=many)), "expected the weights|weight")
    arrays = [(f"kernel_{k}", np.zeros((3, 3), np.float32)) for k in range(60_000)]
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
        5, True, [], {}, ["relu"], "os.system", "lambda x: x", "__lambda__", {"class_name": "function"},
        {"class_name": "function", "config": "relu", "module": "os"},
        {"class_name": "function", "config": ["relu"], "module": "keras.activations"},
        {"class_name": "function", "config": "system", "module": "builtins", "registered_name": "x"},
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


# ---- Nothing is imported ------------------------------------------------------------------------


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


# ---- Options ------------------------------------------------------------------------------------

ODD = [
    None, True, False, 0, -1, -7, 7, 1 << 31, (1 << 31) - 1, 1 << 62, -(1 << 62), 0.5, 1e300, -1e300,
    1e-320, 1.5e9, "", "1", "x" * 1000, [], [0], [1, 1], [-1, -1], [1 << 31], [1e9, 1e9],
    [1_000_000_000] * 2, [(1 << 31) - 1] * 5, [[1]], [None], {}, {"a": 1}, {"value": 1},
    {"config": 5}, {"config": {"value": [1]}}, {"class_name": "__tuple__", "items": [1]},
    {"type": "ndarray", "value": [1.0]}, "nan", "inf", [1] * 70,
]  # fmt: skip
KINDS: dict[str, tuple[Entry, tuple[Any, ...]]] = {
    "Dense": ({"units": 3}, (None, None, 3)),
    "LSTM": ({"units": 3}, (None, None, 3)),
    "GRU": ({"units": 3, "reset_after": True}, (None, None, 3)),
    "Embedding": ({"input_dim": 3, "output_dim": 3, "mask_zero": True}, (None, None)),
    "Masking": ({"mask_value": 0.0}, (None, None, 3)),
    "Conv1D": ({"filters": 3, "kernel_size": 2, "strides": 1, "dilation_rate": 1, "groups": 1,
                "padding": "same"}, (None, None, 3)),
    "Conv1DTranspose": ({"filters": 3, "kernel_size": 2, "strides": 1, "dilation_rate": 1,
                         "output_padding": None}, (None, None, 3)),
    "DepthwiseConv1D": ({"kernel_size": 2, "depth_multiplier": 1}, (None, 8, 3)),
    "MaxPooling1D": ({"pool_size": 2, "strides": 2, "padding": "same"}, (None, 8, 3)),
    "AveragePooling1D": ({"pool_size": 2, "strides": 2, "padding": "valid"}, (None, None, 3)),
    "GlobalAveragePooling1D": ({"keepdims": False}, (None, None, 3)),
    "Cropping1D": ({"cropping": [1, 1]}, (None, 8, 3)),
    "ZeroPadding1D": ({"padding": [1, 1]}, (None, 8, 3)),
    "UpSampling1D": ({"size": 2}, (None, 8, 3)),
    "RepeatVector": ({"n": 2}, (None, 3)),
    "Reshape": ({"target_shape": [8, 3]}, (None, 8, 3)),
    "Permute": ({"dims": [2, 1]}, (None, 8, 3)),
    "EinsumDense": ({"equation": "abc,cd->abd", "output_shape": [None, 3], "bias_axes": "d"},
                    (None, 8, 3)),
    "BatchNormalization": ({"axis": -1, "epsilon": 1e-3, "center": True, "scale": True},
                           (None, 8, 3)),
    "LayerNormalization": ({"axis": [-1], "epsilon": 1e-3}, (None, 8, 3)),
    "GroupNormalization": ({"groups": 1, "axis": -1}, (None, 8, 3)),
    "UnitNormalization": ({"axis": -1}, (None, 8, 3)),
    "Normalization": ({"axis": -1, "mean": [1.0] * 3, "variance": [1.0] * 3, "invert": False},
                      (None, 8, 3)),
    "Rescaling": ({"scale": 2.0, "offset": [1.0, 2.0, 3.0]}, (None, 8, 3)),
    "PReLU": ({"shared_axes": [1]}, (None, 8, 3)),
    "ReLU": ({"max_value": 6.0, "negative_slope": 0.1, "threshold": 0.0}, (None, 8, 3)),
    "LeakyReLU": ({"negative_slope": 0.1}, (None, 8, 3)),
    "ELU": ({"alpha": 1.0}, (None, 8, 3)),
    "Softmax": ({"axis": -1}, (None, 8, 3)),
    "InputLayer": ({"batch_shape": [None, 3], "dtype": "float32"}, (None, 3)),
}  # fmt: skip
CALLED: dict[str, Entry] = {
    "Concatenate": {"axis": -1},
    "Dot": {"axes": [1, 1], "normalize": False},
    "Attention": {"use_scale": False, "score_mode": "dot", "dropout": 0.0, "seed": 3},
    "AdditiveAttention": {"use_scale": True},
    "MultiHeadAttention": {"num_heads": 1, "key_dim": 2, "value_dim": 2, "output_shape": 3},
}


def fits(config: Any, kind: str = "") -> sc.Model:
    """Load with the weights that the layer `a` says it has, as long as they are small."""
    parsed = parse_config(json.dumps(config), FILE)
    reader = importer.ModelReader(FILE, importer._version(FILE, "3.15.1", parsed))
    with importer._about(FILE):
        network = reader.read(parsed)
    lists = {}
    for inner in network.layers:
        slots = inner.keras_weights()
        shapes = [tuple(3 if n is None else n for n in slot.shape or ()) for slot in slots]
        if kind == "PReLU":
            shapes = [(1, 3)]
        if sum(np.prod([float(n) for n in shape]) for shape in shapes) < 1e5:
            lists[reader.names[inner]] = [
                (slot.role, np.ones(shape, np.float32))
                for slot, shape in zip(slots, shapes, strict=True)
            ]
    return loaded(config, lists)


def survives(config: Any) -> None:
    try:
        fits(config)
    except SeqcoreError as error:
        assert FILE in str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_options_of_layers(kind: str) -> None:
    options, shape = KINDS[kind]
    dtype = "int32" if kind == "Embedding" else "float32"
    if kind != "InputLayer":
        fits(chain(given(shape=shape, dtype=dtype), layer(kind, "a", **options)), kind)
    for option in [*options, "dtype", "name", "trainable", "batch_shape", "data_format", "unknown"]:
        for value in ODD:
            made = layer(kind, "a", **options)
            made["config"][option] = value
            first = [made] if kind == "InputLayer" else [given(shape=shape, dtype=dtype), made]
            survives(chain(*first, relu("r")))


@pytest.mark.parametrize("kind", CALLED)
def test_options_of_layers_of_two_inputs(kind: str) -> None:
    for option in CALLED[kind]:
        for value in [CALLED[kind][option], *ODD]:
            made = layer(kind, "a", [tensor("x"), tensor("x")], **{**CALLED[kind], option: value})
            if kind == "MultiHeadAttention":
                made["inbound_nodes"] = [{"args": [tensor("x"), tensor("x")], "kwargs": {}}]
            survives(graph(given(shape=(None, 8, 3)), made))


def test_sizes_whose_products_overflow() -> None:
    """Sizes that no memory holds are refused as the plan is made, or need no memory."""
    huge = (1 << 31) - 1
    for layers in (
        [layer("RepeatVector", "a", n=huge), layer("UpSampling1D", "b", size=huge)],
        [
            layer("RepeatVector", "a", n=huge),
            layer("Flatten", "b"),
            layer("RepeatVector", "c", n=huge),
        ],
        [layer("Reshape", "a", target_shape=[huge] * 5)],
        [layer("RepeatVector", "a", n=huge), layer("ZeroPadding1D", "b", padding=[huge, huge])],
        [layer("Reshape", "a", target_shape=[3, 1]), layer("Dot", "b", axes=9)],
    ):
        survives(chain(given(shape=(None, 3)), *layers))


def test_equations_of_any_length() -> None:
    for equation in (
        "a" * 100_000 + ",b->c", "..." * 30_000, "abc,cd->abd" * 10_000, "a" * 50_000,
        "ab,bc->ac\n", "ab,bc->a" + "c" * 100_000, ",".join("a" * 50_000), "ä,äb->b",
    ):  # fmt: skip
        made = layer("EinsumDense", "a", equation=equation, output_shape=[None, 3])
        refused(chain(given(), made), "equation|no dense")


# ---- Operations ---------------------------------------------------------------------------------

ARGUMENTS = [
    *ODD, tensor("x"), [tensor("x")], [tensor("x"), 1.0], [tensor("x"), tensor("x"), None],
    {"class_name": "__slice__", "config": {"start": None, "stop": None, "step": 0}},
    {"class_name": "__slice__", "config": {"start": 1 << 62, "stop": -(1 << 62), "step": -(1 << 62)}},
    {"class_name": "__slice__", "config": {"start": 0.5}}, {"class_name": "__slice__", "config": []},
    {"class_name": "__ellipsis__", "config": {}}, {"class_name": "__lambda__", "config": {}},
    {"class_name": "__numpy__", "config": {"value": [1.0, 2.0], "dtype": "float32"}},
    {"class_name": "__numpy__", "config": {"value": [[1.0], [2.0, 3.0]]}},
    {"class_name": "__numpy__", "config": {"value": ["1.0"]}},
    {"class_name": "__numpy__", "config": {"value": [[[[[[[[1.0]]]]]]]]}},
    {"class_name": "__numpy__", "config": {"value": [[[1.0]], [[2.0]], [[3.0]]]}},
    {"class_name": "__numpy__", "config": {}}, {"class_name": "__tensor__", "config": None},
    [{"class_name": "__ellipsis__", "config": {}}] * 2, [None] * 9, [0] * 9,
]  # fmt: skip


def test_arguments_of_operations() -> None:
    from seqcore.importers.keras.booleans import BOOLEANS
    from seqcore.importers.keras.operations import OPERATIONS

    messages = 0
    for name in {*OPERATIONS, *BOOLEANS}:
        for value in ARGUMENTS:
            for args, kwargs in (
                ([tensor("x"), value], {}),
                ([value, tensor("x")], {}),
                ([tensor("x")], {"axis": value}),
                ([tensor("x"), -1], {"keepdims": value, "axis": 1}),
            ):
                made = operation(name, "a", *args, **kwargs)
                try:
                    loaded(graph(given(shape=(None, 8, 3)), made, relu("r", "a")))
                except SeqcoreError as error:
                    messages += 1
                    assert FILE in str(error)
    assert messages > 1000


@pytest.mark.parametrize("kind", ["TFOpLambda", "SlicingOpLambda"])
@pytest.mark.parametrize(
    "function", [None, 5, [], {}, "", "os.system", "math.add" * 99, "io.read_file"], ids=repr
)
def test_functions_of_keras_2_that_are_none(kind: str, function: Any) -> None:
    made = layer(kind, "a", function=function)
    made["inbound_nodes"] = [["x", 0, 0, {"y": 1.0}]]
    refused(graph(given(), made), "function|operation", version="2.15.0")


def test_numbers_past_float32() -> None:
    """Keras would compute with infinity there; nothing is rounded to it silently."""
    for kind in ("Add", "Multiply", "Subtract", "TrueDivide"):
        for value in (1e39, -1e300, [1.0, 1e39, 0.0], "1.0", True, None):
            refused(
                graph(given(), operation(kind, "a", tensor("x"), value)), "not supported|constant"
            )
    for value in (0.0, 1e-320, [1.0, 0.0, 2.0]):
        made = operation("TrueDivide", "a", tensor("x"), value)
        refused(graph(given(), made), "division by 0|constant")


def test_constants_that_would_join_the_batch() -> None:
    value = {"class_name": "__numpy__", "config": {"value": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]}}
    made = operation("Add", "a", tensor("x"), value)
    refused(graph(given(shape=(None, 3)), made), "")


def test_masks_and_values_in_each_others_places() -> None:
    compare = operation("NotEqual", "e", tensor("x"), 0.0)
    mask = operation("Any", "m", tensor("e"), axis=-1)
    for reader in (
        relu("a", "m"), relu("a", "e"), operation("Add", "a", tensor("m"), tensor("x")),
        operation("LogicalOr", "a", tensor("m"), tensor("x")), layer("LSTM", "a", "m", units=2),
        operation("Any", "a", tensor("x"), axis=-1), operation("Concatenate", "a", [tensor("m"), tensor("x")]),
    ):  # fmt: skip
        refused(graph(given(), compare, mask, reader), "")
    refused(graph(given(), compare, mask), "")  # a mask as an output
    lstm = layer("LSTM", "a", "x", units=2)
    for value in (True, 1.0, [True], tensor("x"), tensor("e"), [[tensor("m")]]):
        lstm["inbound_nodes"][0]["kwargs"] = {"mask": value}
        refused(graph(given(), compare, mask, lstm), "")


# ---- Masks of masks -----------------------------------------------------------------------------


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


# ---- Masses -------------------------------------------------------------------------------------


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


# ---- Keras 1 ------------------------------------------------------------------------------------


def merge(layers: Any, **options: Any) -> Entry:
    return {"class_name": "Merge", "config": {"name": "merge", "layers": layers, **options}}


def branch(name: str) -> Entry:
    dense = {"class_name": "Activation", "config": {
        "name": name, "activation": "relu", "batch_input_shape": [None, 3]}}  # fmt: skip
    return {"class_name": "Sequential", "config": [dense]}


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "4wEAAAABAAAAAQAAAEMAAABz"}, {"mode": "sum", "mode_type": "lambda"},
        {"mode": ["sum"]}, {"mode": {}}, {"mode": None}, {"mode": 5}, {"mode": "cos"},
        {"mode": "concat", "concat_axis": 0}, {"mode": "concat", "concat_axis": "x"},
        {"mode": "dot", "dot_axes": [[1], [1], [1]]}, {"mode": "sum", "mode_type": ["raw"]},
        {"mode": "concat", "concat_axis": 9}, {"mode": "dot", "dot_axes": None},
    ],
    ids=repr,
)  # fmt: skip
def test_merges_of_keras_1(options: Entry) -> None:
    config = {"class_name": "Sequential", "config": [merge([branch("a"), branch("b")], **options)]}
    refused(config, "", {}, "1.2.2")


@pytest.mark.parametrize("layers", [None, [], {}, [None], [[]], [{}], [chain()], [branch("a"), branch("a")],
                                    [{"class_name": "Sequential", "config": {}}]], ids=repr)  # fmt: skip
def test_branches_of_keras_1_that_are_none(layers: Any) -> None:
    config = {"class_name": "Sequential", "config": [merge(layers, mode="sum")]}
    refused(config, "", {}, "1.2.2")


def test_a_merge_of_many_branches() -> None:
    branches = [branch(f"b{k}") for k in range(4000)]
    config = {"class_name": "Sequential", "config": [merge(branches, mode="sum")]}
    assert len(loaded(config, {}, "1.2.2").inputs) == 4000


def test_weights_of_gates_that_do_not_fit_together() -> None:
    lstm = {"class_name": "LSTM", "config": {
        "name": "l", "output_dim": 2, "batch_input_shape": [None, None, 3], "activation": "tanh",
        "inner_activation": "sigmoid"}}  # fmt: skip
    config = {"class_name": "Sequential", "config": [lstm]}
    for shapes in ([(3, 2), (4, 2)], [(), ()], [(3, 2), (3,)]):
        arrays = [
            (f"l_W_{gate}", np.zeros(shape, "f4")) for gate, shape in zip("if", shapes, strict=True)
        ]
        refused(config, "weight", {"l": arrays}, "1.2.2")
    twice = [("l_W_i", np.zeros((3, 2), "f4")), ("other/l_W_i", np.ones((3, 2), "f4"))]
    refused(config, "two weights", {"l": twice}, "1.2.2")
    refused(config, "weight", {"l": [("W" * 100_000, np.zeros(3, "f4"))]}, "1.2.2")


# ---- Weights ------------------------------------------------------------------------------------

DENSE = chain(given(), layer("Dense", "d", units=2))
KERNEL, BIAS = np.ones((3, 2), np.float32), np.zeros(2, np.float32)


@pytest.mark.parametrize(
    "arrays",
    [
        [], [KERNEL], [KERNEL, BIAS, BIAS], [BIAS, KERNEL], [KERNEL.astype(int), BIAS],
        [KERNEL.astype(complex), BIAS], [KERNEL.astype(bool), BIAS], [KERNEL[:0], BIAS],
        [KERNEL[:, :0], BIAS[:0]], [KERNEL[None], BIAS], [KERNEL.astype("U"), BIAS],
        [KERNEL.astype(object), BIAS], [KERNEL * 1e30 * np.float64(1e30), BIAS], [np.float32(1), BIAS],
        [np.ones((4, 2), np.float32), BIAS], [np.ones((3, 3), np.float32), BIAS],
    ],
    ids=lambda arrays: " ".join(f"{np.dtype(a.dtype).name}{np.shape(a)}" for a in arrays),
)  # fmt: skip
def test_arrays_that_do_not_fit(arrays: list[Any]) -> None:
    arrays = [np.asarray(array) for array in arrays]
    for names in (
        ["kernel", "bias", "bias"],
        ["d/kernel:0", "d/bias:0", "e/bias:0"],
        ["a", "b", "c"],
    ):
        refused(DENSE, "", {"d": list(zip(names, arrays, strict=False))})
    refused(
        DENSE, "", WeightTree(groups={"layers": WeightTree(groups={"dense": WeightTree(arrays)})})
    )


def test_numbers_that_are_not_finite_are_weights() -> None:
    weights = {"d": [("kernel", KERNEL * np.nan), ("bias", BIAS + np.inf)]}
    assert np.isnan(loaded(DENSE, weights)(np.ones((1, 1, 3), np.float32))).all()


def test_negative_variances() -> None:
    norm = chain(given(), layer("BatchNormalization", "b"))
    roles = ("gamma", "beta", "moving_mean", "moving_variance")
    refused(norm, "variance", {"b": [(role, -np.ones(3, "f4")) for role in roles]})


def test_names_that_match_two_weights() -> None:
    both = chain(
        given(),
        layer("Bidirectional", "b", layer=layer("SimpleRNN", "r", units=2), merge_mode="sum"),
    )
    shapes = [(3, 2), (2, 2), (2,)]
    roles = ("kernel", "recurrent_kernel", "bias")
    twice = [(role, np.ones(shape, "f4")) for role, shape in zip(roles, shapes, strict=True)] * 2
    loaded(both, {"b": twice})  # in their order
    refused(both, "b", {"b": [twice[0], *twice[:5]]})
    refused(both, "b", {"b": [("forward_r/backward_r/kernel", np.ones((3, 2), "f4"))] * 6})


def dense_tree(**more: WeightTree) -> WeightTree:
    layers = WeightTree(groups={"dense": WeightTree([KERNEL, BIAS])})
    return WeightTree(groups={"layers": layers, **more})


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree.groups["layers"].groups.update(lstm=WeightTree([KERNEL])),
        lambda tree: tree.groups["layers"].groups.update(dense_1=WeightTree([KERNEL])),
        lambda tree: tree.groups["layers"].groups.update(dense_1=tree.groups["layers"].groups.pop("dense")),
        lambda tree: tree.groups["layers"].groups["dense"].groups.update(cell=WeightTree([KERNEL])),
        lambda tree: tree.groups["layers"].groups["dense"].vars.reverse(),
        lambda tree: tree.groups["layers"].vars.append(KERNEL),
        lambda tree: tree.vars.append(KERNEL),
        lambda tree: tree.groups.update(other=WeightTree([KERNEL])),
        lambda tree: setattr(tree.groups["layers"].groups["dense"], "name", "e"),
        lambda tree: tree.groups.clear(),
    ],
)  # fmt: skip
def test_trees_of_weights_that_are_not_the_models(change: Callable[[WeightTree], Any]) -> None:
    tree = dense_tree()
    loaded(DENSE, tree)
    change(tree)
    refused(DENSE, "", tree)


def test_a_group_of_weights_for_a_layer_without() -> None:
    config = chain(given(), relu("r"), layer("Dense", "d", units=2))
    tree = dense_tree()
    tree.groups["layers"].groups["activation"] = WeightTree([BIAS])
    refused(config, "expected 0 arrays", tree)


def test_names_of_weights_in_masses() -> None:
    """A model inside of another has all weights in one list."""
    inner = chain(*(layer("Dense", f"d{k}", units=3) for k in range(2000)), name="inner")
    config = chain(given(), inner)
    arrays = [
        (f"inner/d{k}/{role}:0", np.full(shape, k, np.float32))
        for k in range(2000)
        for role, shape in (("kernel", (3, 3)), ("bias", (3,)))
    ]
    random.Random(3).shuffle(arrays)
    loaded(config, {"inner": arrays})
    refused(config, "and 3992 more", {"inner": [("x" * 65_000, arrays[0][1])] * 3})


# ---- Configs changed at random ------------------------------------------------------------------


def _keras_3() -> Iterator[tuple[str, str, Any, Any]]:
    """Yield configs of Keras 3 with masks, models inside of models, operations and attention."""
    keras = pytest.importorskip("keras")
    layers, ops = keras.layers, keras.ops

    x = layers.Input((None, 3), name="x")
    ids = layers.Input((None,), dtype="int32", name="ids")
    one, two = layers.Masking()(x), layers.Embedding(5, 3, mask_zero=True)(ids)
    y = layers.Bidirectional(layers.GRU(2, return_sequences=True))(layers.Concatenate()([one, two]))
    z, h = layers.GRU(2, return_state=True)(layers.Concatenate(axis=1)([one, two]))
    models = [keras.Model([x, ids], [layers.Attention(use_scale=True)([y, y]), z, h])]

    x = layers.Input((None, 3))
    inner = keras.Model(x, layers.Dense(3)(layers.LSTM(3, return_sequences=True)(x)), name="inner")
    x = layers.Input((None, 3))
    tail = keras.Sequential([layers.Input((3,)), layers.Dense(2), layers.LeakyReLU()])
    models.append(keras.Model(x, [layers.TimeDistributed(tail)(inner(inner(x))), inner(x)]))

    x, y = layers.Input((4, 3)), layers.Input((4, 3))
    a = ops.mean(ops.maximum(x * 2.0 + y, 0.0), axis=1)
    b = ops.concatenate([x[:, 1:, :], x], axis=1)
    c = ops.matmul(x, ops.transpose(x, (0, 2, 1)))
    d = ops.reshape(ops.sqrt(ops.square(x)), (-1, 12))
    models.append(keras.Model([x, y], [a, b, c, d, 1.0 / (x[:, -1] + 5.0)]))

    x = layers.Input((None, 4))
    a = layers.LayerNormalization()(layers.MultiHeadAttention(2, 3)(x, x) + x)
    b = layers.EinsumDense("abc,cd->abd", output_shape=(None, 5), bias_axes="d")(a)
    c = layers.RNN([layers.LSTMCell(2), layers.GRUCell(3)])(layers.Conv1D(3, 3)(x))
    models.append(keras.Model(x, [b, c]))
    for model in models:
        lists = {
            part.name: [(weight.path, importer._array(weight)) for weight in part.weights]
            for part in model.layers
        }
        yield model.name, keras.__version__, json.loads(model.to_json()), lists


def _golden() -> Iterator[tuple[str, str, Any, Any]]:
    for path in sorted([*GOLDEN.glob("*.h5"), *GOLDEN.glob("*.keras")]):
        if "_only" not in path.name:
            file = read_keras_h5(path) if path.suffix == ".h5" else read_keras_archive(path)
            yield path.name, file.version, file.config, file.weights


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else ()
    for key, item in enumerate(value) if isinstance(value, list) else items:
        yield from _paths(item, (*path, key))


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _changed(config: Any, rng: random.Random) -> Any:
    """Return a config of which one to three parts are replaced, exchanged, added or gone."""
    config = copy.deepcopy(config)
    for _ in range(rng.choice([1, 1, 2, 3])):
        paths = list(_paths(config))
        path = rng.choice(paths)
        parent, key = _at(config, path[:-1]), path[-1]
        alike = [other for other in paths if other[-1] == key]
        change = rng.randrange(7)
        if change <= 1:
            parent[key] = copy.deepcopy(rng.choice(ARGUMENTS))
        elif change == 2:
            parent[key] = copy.deepcopy(_at(config, rng.choice(paths)))
        elif change == 3:
            parent[key] = copy.deepcopy(_at(config, rng.choice(alike)))
        elif change == 4:
            del parent[key]
        elif change == 5:
            parent[key] = [parent[key]]
        elif isinstance(parent, list):
            parent.insert(rng.randrange(len(parent) + 1), copy.deepcopy(rng.choice(parent)))
        else:
            option = rng.choice(
                ["axis", "mask", "units", "keepdims", "layers", "x", "initial_state"]
            )
            parent[option] = copy.deepcopy(rng.choice(ARGUMENTS))
    return config


@pytest.mark.parametrize("source", [_golden, _keras_3])
def test_configs_changed_at_random(source: Callable[[], Iterator[Any]]) -> None:
    """A model or an error of ours, whatever becomes of a config."""
    models = errors = 0
    for name, version, config, weights in source():
        for seed in range(25 if source is _golden else 60):
            rng = random.Random(f"{name} {seed}")
            try:
                loaded(_changed(config, rng), weights, version)
                models += 1
            except SeqcoreError as error:
                errors += 1
                assert FILE in str(error)
    assert models > 40
    assert errors > 80


# ---- Objects that are no models -----------------------------------------------------------------


@pytest.mark.parametrize(
    "thing", [None, 5, "m", [], {}, object(), type, sc.LSTM(2), np.ones(3)], ids=repr
)
def test_live_things_that_are_no_models(thing: Any) -> None:
    with pytest.raises(SeqcoreError, match="Keras model"):
        sc.from_keras(thing)
