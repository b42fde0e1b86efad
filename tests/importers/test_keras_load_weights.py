"""Weights alone, onto models that are written here: which layer is which."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras_files import outputs
from tolerances import FLOAT32, close

import seqcore as sc

logging.getLogger("absl").setLevel(logging.ERROR)  # Keras's warning of its legacy format
FEATURES = 4
FILES = ["m.weights.h5", "m.h5", "m.keras"]
RNG = np.random.default_rng(3)
X = RNG.normal(size=(2, FEATURES)).astype("f4")


def branches(layers: Any, x: Any, names: tuple[str | None, ...]) -> Any:
    """Two layers side by side, of which the first to be made is the last to be read."""
    first = layers.Dense(FEATURES, name=names[0])(x)
    second = layers.Dense(FEATURES, name=names[1])(x)
    return layers.Subtract()([second, first])


def chain(layers: Any, x: Any, names: tuple[str | None, ...]) -> Any:
    """The same layers, each behind the other, and around the first one."""
    first = layers.Dense(FEATURES, name=names[0])(x)
    return layers.Subtract()([layers.Dense(FEATURES, name=names[1])(first), first])


def both(make: Any, names: tuple[str | None, ...], folder: Path) -> tuple[sc.Model, np.ndarray]:
    """Save a Keras model in all forms; return ours without weights, and what Keras computes."""
    keras.utils.clear_session()
    x = keras.Input((FEATURES,))
    theirs = keras.Model(x, make(keras.layers, x, names))
    for weight in theirs.weights:
        weight.assign(RNG.normal(size=weight.shape))
    theirs.save_weights(folder / "m.weights.h5")
    theirs.save(folder / "m.h5")
    theirs.save(folder / "m.keras")
    y = sc.Input((FEATURES,))
    return sc.Model(y, make(sc, y, names)), keras.ops.convert_to_numpy(theirs(X))


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(("make", "names"), [(branches, ("a", "b")), (chain, (None, None))])
def test_what_names_or_order_tell(make: Any, names: Any, file: str, tmp_path: Path) -> None:
    ours, expected = both(make, names, tmp_path)
    ours.load_weights(tmp_path / file)
    close(outputs(ours, X)[0], expected, FLOAT32[2])


@pytest.mark.parametrize("file", FILES)
def test_layers_side_by_side_without_names_are_refused(file: str, tmp_path: Path) -> None:
    """The names that they are given here count otherwise than Keras's."""
    ours, _ = both(branches, (None, None), tmp_path)
    with pytest.raises(sc.WeightsError, match="'dense' and 'dense_1' have weights of the same"):
        ours.load_weights(tmp_path / file)


def test_options_and_assets_that_a_model_has_before_its_weights(tmp_path: Path) -> None:
    ours, expected = both(chain, (None, None), tmp_path)
    other = ours.with_options(isa="scalar", threads=1).with_assets(labels=["a", "b"])
    ours = other.with_assets(n=3)
    ours.load_weights(tmp_path / "m.h5")
    close(outputs(ours, X)[0], expected, FLOAT32[2])
    assert (ours.plan["isa"], ours.plan["threads"]) == ("scalar", 1)
    assert dict(ours.assets) == {"labels": ["a", "b"], "n": 3}
    with pytest.raises(sc.NotBuiltError):
        other(X)
    with pytest.raises(sc.OptionError, match="this model has its weights"):
        ours.load_weights(tmp_path / "m.h5")
