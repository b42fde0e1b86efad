"""Configs and weights of Keras 1 as those of Keras 2: other names for classes, options and arrays.

What is not translated keeps its name, and is refused by it like anything unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import ModelFileError, WeightsError
from .config import short
from .weights import Lists

__all__ = ["as_keras_2", "is_keras_1", "weights_as_keras_2"]

Entry = dict[str, Any]

_UNITS = {"output_dim": "units", "bias": "use_bias"}
_CELL = {**_UNITS, "inner_activation": "recurrent_activation"}
_WINDOW = {"pool_length": "pool_size", "stride": "strides", "border_mode": "padding"}
_CONVOLUTION = {
    "nb_filter": "filters", "filter_length": "kernel_size", "subsample_length": "strides",
    "atrous_rate": "dilation_rate", "border_mode": "padding", "bias": "use_bias",
}  # fmt: skip
# By class: its name in Keras 2, and the options that have another one.
_CLASSES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "AtrousConvolution1D": ("Conv1D", _CONVOLUTION),
    "AveragePooling1D": ("AveragePooling1D", _WINDOW),
    "Convolution1D": ("Conv1D", _CONVOLUTION),
    "Dense": ("Dense", _UNITS),
    "Dropout": ("Dropout", {"p": "rate"}),
    "GRU": ("GRU", _CELL),
    "GaussianDropout": ("GaussianDropout", {"p": "rate"}),
    "GaussianNoise": ("GaussianNoise", {"sigma": "stddev"}),
    "InputLayer": ("InputLayer", {"input_dtype": "dtype"}),
    "LSTM": ("LSTM", _CELL),
    "MaxPooling1D": ("MaxPooling1D", _WINDOW),
    "SimpleRNN": ("SimpleRNN", _CELL),
    "SpatialDropout1D": ("SpatialDropout1D", {"p": "rate"}),
    "TimeDistributedDense": ("Dense", _UNITS),
    "UpSampling1D": ("UpSampling1D", {"length": "size"}),
}
# What matters to training alone, or follows from the weights.
_DROPPED = frozenset([
    "init", "inner_init", "forget_bias_init", "W_regularizer", "U_regularizer", "b_regularizer",
    "gamma_regularizer", "beta_regularizer", "activity_regularizer", "W_constraint",
    "U_constraint", "b_constraint", "dropout_W", "dropout_U", "consume_less", "input_dtype",
    "weights", "gamma_init", "beta_init",
])  # fmt: skip
_MODES = {
    "sum": "Add", "mul": "Multiply", "concat": "Concatenate", "ave": "Average", "max": "Maximum",
    "dot": "Dot",
}  # fmt: skip


def is_keras_1(config: Any) -> bool:
    """Tell a config of Keras 1 by options that it has alone, where the file does not say."""
    return any(
        name in entry
        for entry in _objects(config)
        for name in ("inner_activation", "nb_filter", "border_mode", "output_dim")
        if "input_dim" not in entry or name != "output_dim" or "init" in entry
    )


def _objects(value: Any) -> list[Entry]:
    found, pending = [], [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            found.append(item)
            pending += item.values()
        elif isinstance(item, list):
            pending += item
    return found


def as_keras_2(source: str, entry: Any) -> Any:
    """Return a model's or layer's config in the words of Keras 2.

    Raises
    ------
    ModelFileError
        It has no class and config.
    """
    values = entry.get("config") if isinstance(entry, dict) else None
    if not isinstance(values, (dict, list)) or not isinstance(entry.get("class_name"), str):
        raise ModelFileError(
            f"{source}: expected a layer's class_name and config; found {short(entry)}"
        )
    kind: str = entry["class_name"]
    if isinstance(values, list):  # a Sequential
        return _chain(source, entry, values)
    values = dict(values)
    if isinstance(values.get("layers"), list) and kind != "Merge":
        values["layers"] = [as_keras_2(source, layer) for layer in values["layers"]]
    if isinstance(values.get("layer"), dict):
        values["layer"] = as_keras_2(source, values["layer"])
    if kind == "Merge":
        return {**entry, **_merge(values)}
    name, renamed = _CLASSES.get(kind, (kind, {}))
    values = {renamed.get(option, option): value for option, value in values.items()}
    dropped = _DROPPED | ({"dropout"} if kind == "Embedding" else {"input_dim"})
    values = {option: value for option, value in values.items() if option not in dropped}
    if kind in ("LSTM", "GRU", "SimpleRNN"):
        values["use_bias"] = True
    return {**entry, "class_name": name, "config": values}


def _merge(values: Entry) -> Entry:
    """Return the layer that a Merge of Keras 1 is by its mode."""
    mode = values.get("mode")
    if values.get("mode_type", "raw") != "raw" or not isinstance(mode, str) or mode not in _MODES:
        return {"class_name": f"Merge with mode {short(mode)}", "config": values}
    options: Entry = {"name": values.get("name", "merge")}
    if mode == "concat":
        options["axis"] = values.get("concat_axis", -1)
    if mode == "dot":
        options["axes"] = values.get("dot_axes", -1)
    return {"class_name": _MODES[str(mode)], "config": options}


def _chain(source: str, entry: Entry, entries: list[Any]) -> Entry:
    """Translate a Sequential; one that begins with the Merge of others is a functional model."""
    first = entries[0] if entries and isinstance(entries[0], dict) else {}
    values = first.get("config")
    if first.get("class_name") != "Merge" or not isinstance(values, dict):
        return {**entry, "config": {"layers": [as_keras_2(source, layer) for layer in entries]}}
    branches = values.get("layers")
    if not isinstance(branches, list) or not branches:
        raise ModelFileError(f"{source}: a Merge without layers")
    layers: list[Entry] = []
    inputs, ends = [], []
    for branch in branches:
        model = as_keras_2(source, branch)
        is_chain = model["class_name"] == "Sequential"
        chain = model["config"].get("layers") if is_chain else [model]
        if not isinstance(chain, list) or not chain:
            raise ModelFileError(f"{source}: a Merge of a Sequential without layers")
        layers.append(_input(chain[0]))
        inputs.append([layers[-1]["name"], 0, 0])
        for layer in chain:
            layers.append(_called(layer, [layers[-1]["name"]]))
        ends.append(layers[-1]["name"])
    layers.append(_called(_merge(values), ends))
    for layer in entries[1:]:
        layers.append(_called(as_keras_2(source, layer), [layers[-1]["name"]]))
    outputs = [[layers[-1]["name"], 0, 0]]
    config = {"layers": layers, "input_layers": inputs, "output_layers": outputs}
    return {**entry, "class_name": "Model", "config": config}


def _name(entry: Entry) -> str:
    return str(entry["config"].get("name", entry["class_name"]))


def _input(reader: Entry) -> Entry:
    name, shape = f"{_name(reader)}_input", reader["config"].get("batch_input_shape")
    values = {"name": name, "batch_input_shape": shape, "dtype": "float32"}
    return {"class_name": "InputLayer", "name": name, "config": values, "inbound_nodes": []}


def _called(entry: Entry, sources: list[str]) -> Entry:
    nodes = [[[source, 0, 0] for source in sources]]
    return {**entry, "name": _name(entry), "inbound_nodes": nodes}


# ---- Weights ------------------------------------------------------------------------------------

_NAME = re.compile(
    r"(.*?)_?(W|U|b|gamma|beta|running_mean|running_std|alphas)(?:_([ifcozrh]))?(?::\d+)?"
)
_ROLES = {
    "W": "kernel", "U": "recurrent_kernel", "b": "bias", "running_mean": "moving_mean",
    "running_std": "moving_variance", "alphas": "alpha",  # a variance, whatever its name says
}  # fmt: skip
_GATES = "ifcozrh"  # in Keras 2's orders: LSTM i f c o, GRU z r h


def weights_as_keras_2(lists: Lists) -> dict[str, list[tuple[str, Any]]]:
    """Return weights by the names of Keras 2, gates side by side."""
    return {layer: _renamed(layer, found) for layer, found in lists.items()}


def _renamed(layer: str, found: Any) -> list[tuple[str, Any]]:
    arrays: dict[str, dict[str, Any]] = {}
    for path, array in found:
        match = _NAME.fullmatch(path.split("/")[-1])
        if not match:
            return list(found)  # weights.py tells which names it expects
        role = _ROLES.get(match[2], match[2])
        scope = match[1] or layer
        if match[2] == "W" and "embedding" in scope:
            role = "embeddings"
        if role == "kernel" and array.ndim == 4 and array.shape[1] == 1:
            array = array[:, 0]  # convolutions of Keras 1 have two axes
        gates = arrays.setdefault(f"{scope}/{role}", {})
        if (match[3] or "") in gates:
            raise WeightsError(f"layer {short(layer)}: two weights are named {short(path)}")
        gates[match[3] or ""] = array
    return [(path, _joined(gates, layer)) for path, gates in arrays.items()]


def _joined(gates: Mapping[str, Any], layer: str) -> Any:
    if set(gates) == {""}:
        return gates[""]
    order = sorted(gates, key=_GATES.index)
    shapes = {gates[gate].shape for gate in order}
    if "" in gates or len(shapes) > 1 or () in shapes:
        raise WeightsError(
            f"layer {short(layer)}: weights of its gates have the shapes {sorted(shapes)}; "
            "expected one"
        )
    return np.concatenate([gates[gate] for gate in order], axis=-1)
