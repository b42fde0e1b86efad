"""Every layer of the importer's table against Keras, options crossed pairwise; and flipped.

Each model is saved by Keras in both formats and loaded, taken over live, and its weights are laid
onto layers of ours: the same bits in all four ways, and Keras's numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras_files import outputs
from keras_matrix import FAMILIES, Family, arrays_for, randomise, run
from keras_ways import agree, same_in_all_ways
from pairs import pairwise

import seqcore as sc
from seqcore.errors import SeqcoreError
from seqcore.importers.keras.classes import CLASSES


@cache
def rows(index: int) -> list[dict[str, Any]]:
    family = FAMILIES[index]
    return pairwise(family.options, family.fits)


CASES = [
    pytest.param(family, row, id=f"{family.label}-{k}")
    for index, family in enumerate(FAMILIES)
    for k, row in enumerate(rows(index))
]


@pytest.mark.parametrize(("family", "row"), CASES)
def test_layer(family: Family, row: dict[str, Any], tmp_path: Path) -> None:
    same_in_all_ways(randomise(family.model(row)), tmp_path)


# ---- Flipped ------------------------------------------------------------------------------------


class Flipped:
    """A model whose config says one thing, and whose weights are those of another one."""

    built = True

    def __init__(self, config: keras.Model, weights: keras.Model) -> None:
        self.name, self.to_json = "flipped", config.to_json
        self.layers, self.weights = weights.layers, weights.weights


Made = tuple[keras.Model, list[np.ndarray], list[np.ndarray]]


def notices(made: Made, flipped: keras.Model) -> bool:
    """Tell whether `test_layer` would fail if a model were loaded as `flipped` says."""
    model, arrays, expected = made
    try:
        agree(outputs(sc.from_keras(Flipped(flipped, model)), *arrays), expected)
    except (SeqcoreError, AssertionError):
        return True
    return False


# What no input can tell apart.
INERT = {
    ("Attention", "dropout", 0.0): "it trains alone",
    ("Attention", "dropout", 0.3): "it trains alone",
    ("AdditiveAttention", "dropout", 0.0): "it trains alone",
    ("AdditiveAttention", "dropout", 0.3): "it trains alone",
    ("PReLU", "shared_axes", "[1, 2]"): "one slope for all is so whatever it is called",
    ("MultiHeadAttention", "output_shape", 5): "the kernel's shape says it too",
}


def flips(family: Family, index: int) -> Iterator[tuple[str, Any, list[tuple[Any, Any]]]]:
    """Yield each option and value with the rows that have it, and those rows with another one."""
    for option, values in family.options.items():
        for k, value in enumerate(values):
            for other in (*values[k + 1 :], *values[:k]):
                pairs = [
                    (row, row | {option: other})
                    for row in rows(index)
                    if row[option] is value and family.fits(row | {option: other})
                ]
                if pairs:
                    break
            yield option, value, pairs


@pytest.mark.parametrize("index", range(len(FAMILIES)), ids=[f.label for f in FAMILIES])
def test_every_option_is_noticed(index: int) -> None:
    """With any one option of the config wrong, some comparison of `test_layer` fails."""
    family = FAMILIES[index]
    unnoticed = []
    all_made: dict[int, Made] = {}

    def made(row: dict[str, Any]) -> Made:
        if id(row) not in all_made:
            model = randomise(family.model(row))
            arrays = arrays_for(model)
            all_made[id(row)] = model, arrays, run(model, arrays)
        return all_made[id(row)]

    for option, value, pairs in flips(family, index):
        key = value if isinstance(value, (int, float)) else str(value)
        inert = (family.kind, option, key) in INERT
        noticed = False
        for row, flipped in pairs[: 3 if inert else None]:
            noticed = notices(made(row), family.model(flipped))
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
