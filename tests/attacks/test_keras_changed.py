"""Configs of Keras models changed at random: a model or an error of ours, whatever becomes of them.

As test_keras_configs.py, which has the attacks by hand.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hostile_configs import ARGUMENTS, loaded, survives

from seqcore.formats.hdf5 import read_keras_h5
from seqcore.formats.keras_archive import read_keras_archive
from seqcore.importers import keras as importer

GOLDEN = Path(__file__).parents[1] / "golden"


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
    results = []
    for name, version, config, weights in source():
        for seed in range(25 if source is _golden else 60):
            rng = random.Random(f"{name} {seed}")
            changed = _changed(config, rng)
            results.append(survives(partial(loaded, changed, weights, version)))
    assert sum(results) > 40
    assert results.count(False) > 80
