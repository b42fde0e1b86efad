"""Every layer of the importer's table against Keras, options crossed pairwise; and flipped.

Each model is saved by Keras in both formats and loaded, taken over live, and its weights are laid
onto layers of ours: the same bits in all four ways, and Keras's numbers.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers as L
from keras_files import outputs
from keras_matrix import FAMILIES, Family, arrays_for, randomise, run
from pairs import pairwise
from tolerances import FLOAT32, close

import seqcore as sc
from seqcore.errors import SeqcoreError
from seqcore.importers.keras.classes import CLASSES
from seqcore.importers.keras.config import Version
from seqcore.importers.keras.graphs import ModelReader

TOLERANCE = FLOAT32[3]  # a layer, and another one that reads it
logging.getLogger("absl").setLevel(logging.ERROR)  # Keras's warning of its legacy format


@cache
def rows(index: int) -> list[dict[str, Any]]:
    family = FAMILIES[index]
    return pairwise(family.options, family.fits)


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
        model.save_weights(folder / "m.weights.h5")
        ours.load_weights(folder / "m.weights.h5")
    yield "weights", ours


CASES = [
    pytest.param(family, row, id=f"{family.label}-{k}")
    for index, family in enumerate(FAMILIES)
    for k, row in enumerate(rows(index))
]


@pytest.mark.parametrize(("family", "row"), CASES)
def test_layer(family: Family, row: dict[str, Any], tmp_path: Path) -> None:
    model = randomise(family.model(row))
    arrays = arrays_for(model)
    expected = run(model, arrays)
    assert all(np.isfinite(y).mean() > 0.3 for y in expected)
    first = None
    for way, ours in ways(model, tmp_path):
        found = outputs(ours, *arrays)
        if first is None:
            agree(found, expected)
            first = found
        for a, b in zip(found, first, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=way)


# ---- Flipped ------------------------------------------------------------------------------------


class Flipped:
    """A model whose config says one thing, and whose weights are those of another one."""

    built = True

    def __init__(self, config: keras.Model, weights: keras.Model) -> None:
        self.name, self.to_json = "flipped", config.to_json
        self.layers, self.weights = weights.layers, weights.weights


def notices(model: keras.Model, flipped: keras.Model) -> bool:
    """Tell whether `test_layer` would fail if `model` were loaded as `flipped` says."""
    arrays = arrays_for(model)
    try:
        found = outputs(sc.from_keras(Flipped(flipped, model)), *arrays)
        agree(found, run(model, arrays))
    except (SeqcoreError, AssertionError):
        return True
    return False


# What no input can tell apart.
INERT = {
    ("Attention", "dropout"): "it trains",
}


def flips(family: Family, index: int) -> Iterator[tuple[str, Any, list[tuple[Any, Any]]]]:
    """Yield each option and value with the rows that have it, and those rows with another one."""
    for option, values in family.options.items():
        for k, value in enumerate(values):
            other = values[(k + 1) % len(values)]
            pairs = [
                (row, row | {option: other})
                for row in rows(index)
                if row[option] is value and family.fits(row | {option: other})
            ]
            yield option, value, pairs


@pytest.mark.parametrize("index", range(len(FAMILIES)), ids=[f.label for f in FAMILIES])
def test_every_option_is_noticed(index: int) -> None:
    """With any one option of the config wrong, some comparison of `test_layer` fails."""
    family = FAMILIES[index]
    unnoticed = []
    for option, value, pairs in flips(family, index):
        inert = (family.kind, option) in INERT
        noticed = False
        for row, flipped in pairs[: 3 if inert else None]:
            # names of layers are counted from the last model that was begun
            noticed = notices(randomise(family.model(row)), family.model(flipped))
            if noticed:
                break
        if noticed == inert:
            unnoticed.append(f"{option}={value!r}, of {len(pairs)}")
    assert not unnoticed


def test_every_class_and_option_is_here() -> None:
    """No class of the table, and no option that changes results, is left out."""
    families: dict[str, set[str]] = {}
    for family in FAMILIES:
        families.setdefault(family.kind, set()).update(family.options, family.apart)
    missing = {kind for kind, known in CLASSES.items() if 3 in known.keras} - set(families)
    assert not missing
    for kind, options in families.items():
        kept = {name for name, option in CLASSES[kind].options.items() if option.kept}
        kept |= set(CLASSES[kind].calls)
        assert kept <= options, (kind, kept - options)
