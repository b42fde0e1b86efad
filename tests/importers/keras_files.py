"""Keras models saved and compared, files changed by hand, golden files; no test is here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from tolerances import FLOAT32, close

import seqcore

GOLDEN = Path(__file__).parents[1] / "golden"


def outputs(model: seqcore.Model, *inputs: np.ndarray) -> list[np.ndarray]:
    result = model(*inputs)
    return list(result) if isinstance(result, tuple) else [result]


def features(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def arrays_of(path: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the inputs x0, x1 ... and outputs y0, y1 ... that belong to a golden file."""
    stem = path.name.removesuffix(".weights.h5").removesuffix(".h5").removesuffix(".keras")
    with np.load(path.with_name(stem + ".npz")) as arrays:
        x, y = ([arrays[key] for key in sorted(arrays) if key[0] == first] for first in "xy")
    return x, y


def golden(name: str) -> tuple[Path, list[np.ndarray], list[np.ndarray]]:
    """Return a file that Keras 2.15 wrote, its inputs and Keras's outputs."""
    path = GOLDEN / f"keras2_{name}.h5"
    return path, *arrays_of(path)


def agree(actual: list[np.ndarray], expected: list[np.ndarray], tolerance: float) -> None:
    assert len(actual) == len(expected)
    for index, (found, wanted) in enumerate(zip(actual, expected, strict=True)):
        close(found, wanted, tolerance, f"output {index}")


def saved(model: keras.Model, path: Path) -> Path:
    """Save a model with random weights, biases too, so that each shows when it is misplaced."""
    rng = np.random.default_rng(3)
    weights = [rng.normal(scale=0.4, size=w.shape).astype(np.float32) for w in model.get_weights()]
    model.set_weights(weights)
    model.save(path)
    return path


def compared(model: keras.Model, path: Path, *inputs: np.ndarray, depth: int = 2) -> None:
    """Assert that a model, saved and loaded, gives what it gives in Keras."""
    actual = outputs(seqcore.load(saved(model, path)), *inputs)
    expected = model.predict(inputs[0] if len(inputs) == 1 else list(inputs), verbose=0)
    expected = expected if isinstance(expected, (list, tuple)) else [expected]
    agree(actual, expected, FLOAT32[depth])


# ---- Files changed by hand ----------------------------------------------------------------------


def edit(path: Path, change: Callable[[Any], object], **attributes: str) -> Path:
    """Change the config of a file."""
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        change(config)
        file.attrs["model_config"] = json.dumps(config)
        for name, value in attributes.items():
            file.attrs[name] = value
            file["model_weights"].attrs[name] = value
    return path


def layer(config: Any, kind: str) -> Any:
    """Return the config of the first layer of a class."""
    entries = config["config"]["layers"]
    return next(entry["config"] for entry in entries if entry["class_name"] == kind)


def reweigh(path: Path, change: Callable[[dict[str, list[tuple[str, Any]]]], object]) -> Path:
    """Change names and arrays of the weights of a file."""
    with h5py.File(path, "a") as file:
        top = file["model_weights"]
        weights = {
            name: [(key, top[name][key][()]) for key in top[name].attrs["weight_names"]]
            for name in top.attrs["layer_names"]
        }
        change(weights)
        attributes = dict(top.attrs) | {"layer_names": list(weights)}
        del file["model_weights"]
        top = file.create_group("model_weights")
        top.attrs.update(attributes)
        for name, pairs in weights.items():
            group = top.create_group(name)
            group.attrs["weight_names"] = [key for key, _ in pairs]
            for key, array in pairs:
                group[key] = array
    return path
