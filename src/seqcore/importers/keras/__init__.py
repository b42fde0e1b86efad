"""Keras models -> Model: files of every version, and live models.

config.py      options and activations of one layer
classes.py     class and options -> a layer without weights; refused.py why some are not
calls.py       how configs write calls
graphs.py      config of a model -> layers called on each other
operations.py  operations outside of layers
booleans.py    masks that a graph computes itself
weights.py     arrays of a file -> weights of layers
keras1.py      configs of Keras 1 as those of Keras 2

Bytes are formats/; gate orders layouts/.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...errors import (
    DtypeError,
    GraphError,
    ModelFileError,
    OptionError,
    ShapeError,
    UnsupportedLayerError,
    WeightsError,
)
from ...formats.hdf5 import read_keras_h5
from ...formats.keras_archive import read_keras_archive, read_keras_weights
from ...formats.keras_trees import WeightTree
from ...graph import unique_names
from ...layers import Composite, Layer, TimeDistributed, snake_case
from ...model import Model
from .config import Version, short
from .graphs import ModelReader
from .keras1 import as_keras_2, is_keras_1, weights_as_keras_2
from .weights import Lists, check_told_apart, from_lists, from_tree, mirrored

__all__ = ["from_keras", "load_archive", "load_h5", "load_weights"]


def load_h5(path: str | os.PathLike[str]) -> Model:
    """Load a whole model that Keras 1, 2 or 3 saved with ``model.save("x.h5")``.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Model
        Inputs and outputs in Keras's order. An input that an Embedding reads takes integer ids,
        whatever dtype the file gives it. Weights stored as float16 or float64 are converted to
        float32, as Keras does on loading.

    Raises
    ------
    UnsupportedLayerError
        Listing every layer that is not supported, or has an option that is not.
    WeightsError
        A weight is missing, left over, or has another shape than the config says.
    ModelFileError
        The file is damaged, contradicts itself, or carries no config.
    MissingExtraError
        h5py is not installed.
    """
    file = read_keras_h5(path)
    with _about(file.source):
        version = _version(file.source, file.version, file.config, file.backend)
        return _model(file.source, version, file.config, file.weights)


def load_archive(path: str | os.PathLike[str]) -> Model:
    """Load a ``.keras`` archive of Keras 2 or 3; as `load_h5`."""
    file = read_keras_archive(path)
    with _about(file.source):
        version = _version(file.source, file.version, file.config)
        return _model(file.source, version, file.config, file.weights)


def from_keras(model: Any) -> Model:
    """Take over a live Keras 3 model, of any backend.

    Parameters
    ----------
    model : keras.Model
        Sequential or functional, built.

    Returns
    -------
    Model
        As `seqcore.load` makes it of the saved model. Later changes of the Keras model do not reach
        it.

    Raises
    ------
    UnsupportedLayerError
        Listing every layer that is not supported.
    OptionError
        It is no Keras 3 model, or has no weights yet.
    """
    label = f"the model {getattr(model, 'name', '')!r}"
    known = all(hasattr(model, name) for name in ("to_json", "layers", "weights", "built"))
    if not known or isinstance(model, type):
        raise OptionError(f"from_keras: expected a Keras model; found {type(model).__name__}")
    if not model.built:
        raise OptionError(f"from_keras: {label} has no weights yet; call it or build it first")
    version = _live_version(model)
    if not (version or "").startswith("3."):
        raise OptionError(
            f"from_keras: {label} is of Keras {version or 'of an unknown version'}; save it, and "
            "load the file"
        )
    try:
        config = json.loads(model.to_json())
    except (TypeError, ValueError, NotImplementedError) as error:
        why = f"its config cannot be written ({short(str(error))})"
        raise UnsupportedLayerError([(model.name, why)], label) from error
    lists = {
        layer.name: [
            (weight.path, _array(weight))  # in the order of files
            for weight in (*layer.trainable_weights, *layer.non_trainable_weights)
        ]
        for layer in model.layers
    }
    with _about(label):
        return _model(label, _version(label, version, config), config, lists)


def load_weights(model: Model, path: str | os.PathLike[str]) -> Model:
    """Return a model with the weights of a file: `Model.load_weights`."""
    file = read_keras_weights(path)
    network, names = model.network()
    names = {**names, **_names_inside(network)}
    stems = {layer: _stem(layer, file.weights) for layer in names}
    with _about(file.source):
        if isinstance(file.weights, WeightTree):
            arrays = from_tree(network, file.weights, names, stems)
            by_name = file.weights.is_named
        else:
            lists = _by_order(network, file.weights, names)
            arrays = from_lists(network, lists, names, ())
            by_name = lists.keys() <= file.weights.keys()
        check_told_apart(network, arrays, names, by_name)
        return _finished(network, arrays)


def _names_inside(layer: Layer) -> dict[Layer, str]:
    """Return what the layers inside of the models in a model are called."""
    found: dict[Layer, str] = {}
    for part in _parts(layer):
        inner = part.layer if isinstance(part, TimeDistributed) else part
        parts = _parts(inner)
        given = unique_names((each.name, each.stem) for each in parts)
        found |= dict(zip(parts, given, strict=True)) | _names_inside(inner)
    return found


def _parts(layer: Layer) -> list[Layer]:
    return layer.layers if isinstance(layer, Composite) else []


def _stem(layer: Layer, weights: WeightTree | Lists) -> str:
    """Return a layer's Keras class in snake_case; of a model, the one that the file has."""
    if not isinstance(layer, Composite):
        return snake_case(layer.kind)
    groups = weights.groups.get("layers") if isinstance(weights, WeightTree) else None
    return "functional" if groups and "functional" in groups.groups else "sequential"


def _by_order(network: Composite, lists: Lists, names: Mapping[Layer, str]) -> Lists:
    """Return lists by the names of the caller's layers: as they are, or in their order."""
    filled = {name: found for name, found in lists.items() if found}
    wanted = [names[layer] for layer in network.layers if layer.keras_weights()]
    if set(filled) == set(wanted):
        return filled
    if len(filled) != len(wanted):
        raise WeightsError(
            f"the model has {len(wanted)} layers with weights, {wanted[:8]}; the file has "
            f"{len(filled)}, {list(filled)[:8]}"
        )
    return dict(zip(wanted, filled.values(), strict=True))


@contextmanager
def _about(source: str) -> Iterator[None]:
    """Name the file in errors of layers, which know nothing of it."""
    try:
        yield
    except (OptionError, GraphError, ShapeError, DtypeError) as error:
        raise ModelFileError(f"{source}: {error}") from error
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from error


def _model(source: str, version: Version, config: Any, weights: WeightTree | Lists) -> Model:
    if version.major == 1:
        config = as_keras_2(source, config)
        weights = weights if isinstance(weights, WeightTree) else weights_as_keras_2(weights)
    reader = ModelReader(source, version)
    network = reader.read(config)
    if isinstance(weights, WeightTree):
        arrays = from_tree(network, weights, reader.names, reader.stems)
    else:
        arrays = from_lists(network, weights, reader.names, reader.frozen)
    if version.mirrors:
        arrays = mirrored(network, arrays)
    return _finished(network, arrays, source)


def _finished(network: Composite, arrays: list[Any], source: str = "") -> Model:
    loaded = network.loaded(arrays)
    try:
        return Model(list(loaded.sources), list(loaded.results))
    except (GraphError, ShapeError) as error:
        # What the plan says of one layer is about what Keras runs and this library does not, such
        # as token ids that another layer than Embedding reads.
        found = re.fullmatch(r"layer '(.+?)' \((\w+)\): (.+)", str(error), re.DOTALL)
        if not found or not source:
            raise
        reason = (f"{found[1]} ({found[2]})", found[3])
        raise UnsupportedLayerError([reason], source) from error


def _version(source: str, text: str | None, config: Any, backend: str | None = None) -> Version:
    """Return Keras's version; Keras 1 did not always say."""
    version = Version.of(text or "", backend)
    if version is None and text is None and is_keras_1(config):
        version = Version((1, 0, 0))
    if version is not None:
        return version
    told = "does not say" if text is None else f"says {short(text)}"
    raise ModelFileError(f"{source}: expected a file of Keras 1, 2 or 3; its keras_version {told}")


def _live_version(model: Any) -> str | None:
    import sys

    keras = sys.modules.get(type(model).__module__.split(".")[0])
    found = getattr(keras, "__version__", None)
    if found is None and "keras" in sys.modules:
        found = sys.modules["keras"].__version__
    return found if isinstance(found, str) else None


def _array(weight: Any) -> Any:
    """Return a Keras variable as an array, whatever the backend."""
    value = weight.value
    if callable(getattr(value, "detach", None)):  # NumPy reads few of torch's tensors
        value = value.detach().cpu()
        return (value.float() if value.is_floating_point() else value).numpy()
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.kind == "V" else array  # bfloat16
