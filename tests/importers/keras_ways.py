"""From a Keras model to ours by all ways there are, compared with Keras; no test is here."""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from keras import layers as L
from keras_files import outputs
from keras_matrix import arrays_for, run
from tolerances import FLOAT32, close

import seqcore as sc
from seqcore.importers.keras.config import Version
from seqcore.importers.keras.graphs import ModelReader

TOLERANCE = FLOAT32[3]  # a layer or two, and another one that reads them
logging.getLogger("absl").setLevel(logging.ERROR)  # Keras's warning of its legacy format


def agree(actual: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Assert equal outputs; a mean of no frames is 0/0 on both sides."""
    assert len(actual) == len(expected)
    for k, (found, wanted) in enumerate(zip(actual, expected, strict=True)):
        assert found.shape == wanted.shape, f"output {k}: {found.shape}, not {wanted.shape}"
        np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted), err_msg=f"output {k}")
        close(np.nan_to_num(found), np.nan_to_num(wanted), TOLERANCE, f"output {k}")


def unbuilt(model: keras.Model) -> sc.Model:
    """Return our layers of a Keras model, without its weights."""
    version = Version.of(keras.__version__)
    assert version is not None
    network = ModelReader("live", version).read(json.loads(model.to_json()))
    return sc.Model(list(network.sources), list(network.results))


def ways(model: keras.Model, folder: Path) -> Iterator[tuple[str, sc.Model]]:
    """Yield our model, by all ways that lead from Keras's."""
    for name in ("m.keras", "m.h5"):
        model.save(folder / name)
        yield name, sc.load(folder / name)
    yield "live", sc.from_keras(model)
    if any(
        isinstance(layer, L.MultiHeadAttention) and layer._output_shape is None
        for layer in model.layers
    ):  # which ours must be told, without weights
        return
    ours = unbuilt(model)
    if model.weights:
        # what save_weights writes; Keras takes long to write it once more
        with zipfile.ZipFile(folder / "m.keras") as archive:
            ours.load_weights(archive.extract("model.weights.h5", folder))
    yield "weights", ours


def same_in_all_ways(model: keras.Model, folder: Path) -> None:
    """Assert Keras's outputs within the tolerance, and the same bits whatever the way."""
    arrays = arrays_for(model)
    expected = run(model, arrays)
    assert all(np.isfinite(y).mean() > 0.3 for y in expected)
    first = None
    for way, ours in ways(model, folder):
        found = outputs(ours, *arrays)
        if first is None:
            agree(found, expected)
            first = found
        for a, b in zip(found, first, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=way)
