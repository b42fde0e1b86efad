"""What the keras_version of a file means for its config, and which versions are refused.

Whole files of old versions are test_keras_golden.py's.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from keras_files import (
    GOLDEN,
    edit,
    golden,
    layer,
    outputs,
)
from tolerances import FLOAT32, close

from seqcore.errors import ModelFileError, WeightsError
from seqcore.importers.keras import load_h5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(shutil.copy(GOLDEN / "keras2_hard_sigmoid.h5", tmp_path / "model.h5"))


def test_hard_sigmoid_follows_the_version(path: Path) -> None:
    """clip(0.2*x + 0.5) in Keras 2, relu6(x + 3)/6 in Keras 3."""
    _, inputs, expected = golden("hard_sigmoid")
    as_3 = load_h5(edit(path, lambda _: None, keras_version="3.1.0"))
    assert np.max(np.abs(outputs(as_3, *inputs)[0] - expected[0])) > 1e-3


@pytest.mark.parametrize("version", ["2.0.8", "2.1.6-tf", "2.2.4-tf", "2.3.0-tf"])
def test_all_of_keras_2(path: Path, version: str) -> None:
    def older(config: Any) -> None:
        for entry in config["config"]["layers"]:
            for late in ("time_major", "groups", "ragged"):
                entry["config"].pop(late, None)

    _, inputs, expected = golden("hard_sigmoid")
    close(load_h5(edit(path, older, keras_version=version))(*inputs), expected[0], FLOAT32[3])


def test_a_sequential_that_is_a_list_and_has_no_input_layer(path: Path) -> None:
    """Keras before 2.2.3: the shape of the input stands in the first layer."""

    def older(config: Any) -> None:
        config["config"] = config["config"]["layers"][1:]
        assert "batch_input_shape" in config["config"][0]["config"]

    _, inputs, expected = golden("hard_sigmoid")
    close(load_h5(edit(path, older))(*inputs), expected[0], FLOAT32[3])


def test_a_gru_that_does_not_say_reset_after(path: Path) -> None:
    """The first Keras 2 had no such option and reset before; the bias then is (3H,)."""
    edit(path, lambda config: layer(config, "GRU").pop("reset_after"))
    with pytest.raises(WeightsError, match=r"gru.*bias.*expected shape \(12\), found \(2, 12\)"):
        load_h5(path)
    with h5py.File(path, "a") as file:
        group = file["model_weights/gru/gru/gru_cell"]
        bias = group["bias:0"][0]
        del group["bias:0"]
        group["bias:0"] = bias
    assert load_h5(path)


@pytest.mark.parametrize("version", ["0.3.3", "4.0.0", "theano", ""])
def test_other_versions_are_refused(path: Path, version: str) -> None:
    with pytest.raises(ModelFileError, match=f"model.h5: .*Keras 1, 2 or 3.*'{version}'"):
        load_h5(edit(path, lambda _: None, keras_version=version))
