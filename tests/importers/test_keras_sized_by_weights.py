"""Layers whose weights Keras lists in ways of their own: EinsumDense and Normalization."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from tolerances import FLOAT32, close

import seqcore as sc

DATA = np.random.default_rng(0).normal(size=(9, 3, 4)).astype(np.float32)


def adapted(**options):
    layer = keras.layers.Normalization(**options)
    layer.adapt(DATA * [1, 2, 3, 4] + [4, 3, 2, 1])
    return layer


LAYERS = {
    "bias": lambda: keras.layers.EinsumDense(
        "abc,cd->abd", (None, 5), bias_axes="d", activation="tanh"
    ),
    "bias of one axis": lambda: keras.layers.EinsumDense(
        "abc,cde->abde", (None, 5, 2), bias_axes="d"
    ),
    "no bias": lambda: keras.layers.EinsumDense("...x,xy->...y", 5),
    "adapted": adapted,
    "adapted, one for all": lambda: adapted(axis=None),
    "adapted, inverse": lambda: adapted(invert=True),
    "of the config": lambda: keras.layers.Normalization(
        mean=[1.0, 2, 3, 4], variance=[4.0, 3, 2, 1]
    ),
    "of the config, one for all": lambda: keras.layers.Normalization(
        axis=None, mean=0.5, variance=2.0
    ),
}


@pytest.mark.parametrize("ending", ["keras", "h5"])
@pytest.mark.parametrize("name", LAYERS)
def test_layer_computes_what_keras_computes(name, ending, tmp_path):
    layer = LAYERS[name]()
    trained = keras.Sequential([keras.Input((None, 4)), layer])
    if "bias" in name:
        rng = np.random.default_rng(1)
        layer.set_weights([rng.normal(size=weight.shape) for weight in layer.weights])
    path = tmp_path / f"model.{ending}"
    trained.save(path)
    expected = trained.predict(DATA, verbose=0)
    close(sc.load(path)(DATA), expected, FLOAT32[0])
    close(sc.from_keras(trained)(DATA), expected, FLOAT32[0])
