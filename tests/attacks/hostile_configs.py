"""Configs of Keras models as attacks need them, and how they are imported without a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import seqcore as sc
from seqcore.errors import ModelFileError, SeqcoreError, UnsupportedLayerError, WeightsError
from seqcore.formats.hdf5 import parse_config
from seqcore.formats.keras_trees import WeightTree
from seqcore.importers import keras as importer

FILE = "hostile.keras"
Entry = dict[str, Any]


def loaded(config: Any, weights: Any = None, version: str = "3.15.1") -> sc.Model:
    """Import a config as if a file had held it."""
    parsed = parse_config(json.dumps(config), FILE)  # as large and as deep as a file's may be
    with importer._about(FILE):
        known = importer._version(FILE, version, parsed)
        return importer._model(FILE, known, parsed, WeightTree() if weights is None else weights)


def refused(config: Any, match: str, weights: Any = None, version: str = "3.15.1") -> SeqcoreError:
    with pytest.raises(
        (ModelFileError, UnsupportedLayerError, WeightsError), match=match or None
    ) as error:
        loaded(config, weights, version)
    told = str(error.value)
    assert FILE in told
    assert len(told) < 2000
    told.encode()
    return error.value


def outcome(load: Callable[[], Any]) -> str | None:
    """Return why a model is refused; None for a model."""
    try:
        load()
    except SeqcoreError as error:
        return str(error)
    return None


def survives(load: Callable[[], Any]) -> bool:
    """Assert that there is a model or an error of ours; return whether it is a model."""
    why = outcome(load)
    assert why is None or FILE in why
    return why is None


# ---- Configs of Keras 3 --------------------------------------------------------------------------


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


# ---- Values in places of others ------------------------------------------------------------------

ODD = [
    None, True, False, 0, -1, -7, 7, 1 << 31, (1 << 31) - 1, 1 << 62, -(1 << 62), 0.5, 1e300,
    -1e300, 1e-320, 1.5e9, "", "1", "x" * 1000, [], [0], [1, 1], [-1, -1], [1 << 31], [1e9, 1e9],
    [1_000_000_000] * 2, [(1 << 31) - 1] * 5, [[1]], [None], {}, {"a": 1}, {"value": 1},
    {"config": 5}, {"config": {"value": [1]}}, {"class_name": "__tuple__", "items": [1]},
    {"type": "ndarray", "value": [1.0]}, "nan", "inf", [1] * 70,
]  # fmt: skip

ARGUMENTS = [
    *ODD, tensor("x"), [tensor("x")], [tensor("x"), 1.0], [tensor("x"), tensor("x"), None],
    {"class_name": "__slice__", "config": {"start": None, "stop": None, "step": 0}},
    {"class_name": "__slice__", "config": {"start": 1 << 62, "stop": -(1 << 62), "step": -9}},
    {"class_name": "__slice__", "config": {"start": 0.5}},
    {"class_name": "__slice__", "config": []},
    {"class_name": "__ellipsis__", "config": {}}, {"class_name": "__lambda__", "config": {}},
    {"class_name": "__numpy__", "config": {"value": [1.0, 2.0], "dtype": "float32"}},
    {"class_name": "__numpy__", "config": {"value": [[1.0], [2.0, 3.0]]}},
    {"class_name": "__numpy__", "config": {"value": ["1.0"]}},
    {"class_name": "__numpy__", "config": {"value": [[[[[[[[1.0]]]]]]]]}},
    {"class_name": "__numpy__", "config": {"value": [[[1.0]], [[2.0]], [[3.0]]]}},
    {"class_name": "__numpy__", "config": {}}, {"class_name": "__tensor__", "config": None},
    [{"class_name": "__ellipsis__", "config": {}}] * 2, [None] * 9, [0] * 9,
]  # fmt: skip
