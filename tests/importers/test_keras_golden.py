"""Every Keras file of tests/golden against the outputs that its own Keras gave.

The scripts there say how the files were made. Weights without a network go onto layers of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_files import GOLDEN, agree, arrays_of, outputs
from tolerances import FLOAT32

import seqcore as sc
from seqcore.errors import ModelFileError, UnsupportedLayerError, WeightsError
from seqcore.formats.hdf5 import read_keras_h5
from seqcore.importers import keras as importer
from seqcore.importers.keras.config import Version

DEPTH = 3
FILES = sorted(path for end in ("h5", "keras") for path in GOLDEN.glob(f"keras*.{end}"))
ONLY = [path for path in FILES if "_only" in path.name]
THEANO = GOLDEN / "keras1_convolution.h5"
WHOLE = [path for path in FILES if path not in [*ONLY, THEANO]]


def test_all_files_are_here() -> None:
    """A folder that was not found would make no test below."""
    assert len(WHOLE) >= 22
    assert len(ONLY) == 3


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.name)
def test_whole_models(path: Path) -> None:
    x, y = arrays_of(path)
    assert y
    agree(outputs(sc.load(path), *x), y, FLOAT32[DEPTH])


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.name)
def test_rows_alone_and_backwards_give_the_same_bits(path: Path) -> None:
    """A row's numbers are those of no other row: masks and states do not cross the batch."""
    x, _ = arrays_of(path)
    model = sc.load(path)
    whole = outputs(model, *x)
    turned = outputs(model, *(array[::-1] for array in x))
    alone = outputs(model, *(array[:1] for array in x))
    for a, b, c in zip(whole, turned, alone, strict=True):
        np.testing.assert_array_equal(a, b[::-1])
        np.testing.assert_array_equal(a[:1], c)


@pytest.mark.parametrize("path", ONLY, ids=lambda path: path.name)
def test_weights_alone_are_no_model(path: Path) -> None:
    with pytest.raises(ModelFileError, match="load_weights"):
        sc.load(path)


# ---- Weights alone ------------------------------------------------------------------------------


def masks() -> sc.Model:
    """The layers of make_keras_versions.py's function of this name."""
    words, frames = sc.Input((None,), "int64"), sc.Input((None, 3))
    x = sc.Embedding(7, 4, mask_zero=True)(words)
    both = sc.Bidirectional(sc.LSTM(2, return_sequences=True))(x)
    y = sc.GRU(3, return_sequences=True, reset_after=True)(sc.Masking(0.5)(frames))
    y = sc.GRU(2, return_sequences=True, reset_after=False, go_backwards=True)(y)
    return sc.Model([words, frames], [both, y, sc.GRU(2, reset_after=False)(both)])


ONLY_ON: dict[str, Callable[[], sc.Model]] = {"keras3.0.5_masks_only.weights.h5": masks}


@pytest.mark.parametrize("name", ONLY_ON)
def test_weights_alone_onto_layers(name: str) -> None:
    path = GOLDEN / name
    x, y = arrays_of(path)
    model = ONLY_ON[name]()
    model.load_weights(path)
    agree(outputs(model, *x), y, FLOAT32[DEPTH])


@pytest.mark.parametrize(
    ("only", "twin"),
    [
        ("keras2.2.4_nested_only.h5", "keras2.2.4_nested.h5"),
        ("keras2.15.0_nested_only.weights.h5", "keras2.15.0_nested.keras"),
        ("keras3.0.5_masks_only.weights.h5", "keras3.0.5_masks.keras"),
    ],
)
def test_weights_alone_onto_the_network_of_another_file(
    only: str, twin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layers that the importer makes of the whole model, and those weights: the same bits."""
    networks: list[Any] = []
    finished = importer._finished

    def noted(network: Any, *arguments: Any) -> Any:
        networks.append(network)
        return finished(network, *arguments)

    monkeypatch.setattr(importer, "_finished", noted)
    whole = sc.load(GOLDEN / twin)
    (network,) = networks
    model = sc.Model(list(network.sources), list(network.results))
    model.load_weights(GOLDEN / only)
    x, y = arrays_of(GOLDEN / only)
    found = outputs(model, *x)
    agree(found, y, FLOAT32[DEPTH])
    for a, b in zip(found, outputs(whole, *x), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_onto_other_layers_are_refused() -> None:
    path = GOLDEN / "keras3.0.5_masks_only.weights.h5"
    x = sc.Input((None, 3))
    model = sc.Model(x, sc.GRU(3)(sc.Masking()(x)))
    with pytest.raises(WeightsError, match=path.name):
        model.load_weights(path)


# ---- Theano -------------------------------------------------------------------------------------


def test_a_convolution_of_keras_1_is_refused_for_its_backend() -> None:
    with pytest.raises(UnsupportedLayerError, match="Theano") as caught:
        sc.load(THEANO)
    assert {name.split()[1] for name, _ in caught.value.layers} == {"(Conv1D)"}
    assert len(caught.value.layers) == 2


@pytest.mark.parametrize("backend", ["theano", "tensorflow"])
def test_kernels_of_theano_are_turned_round(backend: str) -> None:
    """Told that the backend was Theano, the importer gives Theano's numbers; else others."""
    file = read_keras_h5(THEANO)
    version = Version.of("1.2.2", backend)
    assert version is not None
    model = importer._model(str(THEANO), version, file.config, file.weights)
    x, y = arrays_of(THEANO)
    found = outputs(model, *x)
    if backend == "theano":
        agree(found, y, FLOAT32[DEPTH])
    else:
        assert np.abs(found[0] - y[0]).max() > 0.01
