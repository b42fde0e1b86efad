"""Weights of legacy .h5 files: found by name or order, converted, refused where they do not fit."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_files import (
    GOLDEN,
    golden,
    outputs,
    reweigh,
)
from tolerances import FLOAT32, close

from seqcore.errors import WeightsError
from seqcore.importers.keras import load_h5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(shutil.copy(GOLDEN / "keras2_hard_sigmoid.h5", tmp_path / "model.h5"))


def test_weights_are_found_by_name(path: Path) -> None:
    def reverse(weights: dict[str, list[Any]]) -> None:
        for pairs in weights.values():
            pairs.reverse()

    _, inputs, expected = golden("hard_sigmoid")
    close(load_h5(reweigh(path, reverse))(*inputs), expected[0], FLOAT32[3])


@pytest.mark.parametrize("names", [["param_{}"], ["kernel:0", "recurrent_kernel:0", "bias:0"]])
def test_weights_are_found_by_order_where_names_tell_nothing(
    tmp_path: Path, names: list[str]
) -> None:
    """Names without forward_ and backward_, or with a number alone."""
    path = Path(shutil.copy(GOLDEN / "keras2_bidirectional.h5", tmp_path / "model.h5"))

    def rename(weights: dict[str, list[Any]]) -> None:
        for name in ("bidirectional", "bidirectional_1"):
            weights[name] = [
                (f"part{k // 3}/{names[k % len(names)].format(k)}", array)
                for k, (_, array) in enumerate(weights[name])
            ]

    _, inputs, expected = golden("bidirectional")
    close(outputs(load_h5(reweigh(path, rename)), *inputs)[0], expected[0], FLOAT32[2])


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_weights_stored_in_other_floats_become_float32(path: Path, dtype: type) -> None:
    def convert(weights: dict[str, list[Any]]) -> None:
        for pairs in weights.values():
            pairs[:] = [(key, array.astype(np.float16).astype(dtype)) for key, array in pairs]

    _, inputs, _ = golden("hard_sigmoid")
    found = load_h5(reweigh(path, convert))(*inputs)

    def back(weights: dict[str, list[Any]]) -> None:
        for pairs in weights.values():
            pairs[:] = [(key, array.astype(np.float32)) for key, array in pairs]

    np.testing.assert_array_equal(found, load_h5(reweigh(path, back))(*inputs))


BROKEN: dict[str, tuple[Callable[[dict[str, list[Any]]], Any], str]] = {
    "missing": (lambda w: w["lstm"].pop(), "lstm.*missing .'bias'"),
    "no layer": (lambda w: w.pop("gru"), "gru.*missing"),
    "left over": (lambda w: w["gru"].append(("gru/gamma:0", np.ones(3))), "left over .'gru/gamma"),
    "stranger": (lambda w: w.update(nobody=[("kernel:0", np.ones(3))]), "nobody: kernel:0"),
    "units": (
        lambda w: w["lstm"].__setitem__(1, ("lstm/recurrent_kernel:0", np.ones((4, 20), "f4"))),
        r"'lstm'.*recurrent_kernel.*expected shape \(5, 20\), found \(4, 20\)",
    ),
    "rank": (
        lambda w: w["dense"].__setitem__(0, ("dense/kernel:0", np.ones((3, 2, 1), "f4"))),
        r"'dense'.*kernel.*expected shape \(any, 2\), found \(3, 2, 1\)",
    ),
    "features": (
        lambda w: w["dense"].__setitem__(0, ("dense/kernel:0", np.ones((4, 2), "f4"))),
        r"'dense'",
    ),
    "cudnn": (
        lambda w: w["lstm"].__setitem__(2, ("lstm/bias:0", np.ones(40, "f4"))),
        r"'lstm'.*bias.*expected shape \(20\), found \(40,\)",
    ),
    "integers": (
        lambda w: w["dense"].__setitem__(1, ("dense/bias:0", np.ones(2, "i4"))),
        "'dense'.*expected floats, found int32",
    ),
    "an input's": (
        lambda w: w.update(lstm_input=[("lstm_input/kernel:0", np.ones(3, "f4"))]),
        "not in the config: .*lstm_input: lstm_input/kernel:0",
    ),
}


@pytest.mark.parametrize(("change", "match"), BROKEN.values(), ids=BROKEN)
def test_weights_that_do_not_fit(
    path: Path, change: Callable[[dict[str, list[Any]]], Any], match: str
) -> None:
    with pytest.raises(WeightsError, match=re.compile(f"model.h5: .*{match}")):
        load_h5(reweigh(path, change))
