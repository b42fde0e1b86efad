"""Operations of Keras 2's functional configs: TFOpLambda and SlicingOpLambda, against NumPy.

The entries are as TensorFlow 2.15 writes them: the first argument is inbound_nodes', all others are
by name. What each operation gives stands beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from keras_files import agree, outputs
from tolerances import FLOAT32

import seqcore as sc
from seqcore.errors import UnsupportedLayerError

TIME, FEATURES, UNITS = 6, 3, 4
RNG = np.random.default_rng(7)
KERNEL, BIAS = RNG.normal(size=(FEATURES, UNITS)), RNG.normal(size=UNITS)


def layer(kind: str, name: str, nodes: list[Any], **config: Any) -> dict[str, Any]:
    return {
        "class_name": kind,
        "config": {"name": name, "trainable": True, "dtype": "float32", **config},
        "name": name,
        "inbound_nodes": nodes,
    }


def operation(name: str, function: str, nodes: list[Any]) -> dict[str, Any]:
    slicing = function == "__operators__.getitem"
    kind = "SlicingOpLambda" if slicing else "TFOpLambda"
    return layer(kind, name, nodes, function=function)


def write(path: Path, operations: list[dict[str, Any]], ends: list[str]) -> Path:
    """Write x -> Dense "dense" -> operations as a legacy file of Keras 2.15."""
    shape = [None, TIME, FEATURES]
    source = layer("InputLayer", "x", [], batch_input_shape=shape, sparse=False, ragged=False)
    dense = layer(
        "Dense", "dense", [[["x", 0, 0, {}]]], units=UNITS, activation="linear", use_bias=True
    )
    config = {
        "name": "model",
        "trainable": True,
        "layers": [source, dense, *operations],
        "input_layers": [["x", 0, 0]],
        "output_layers": [[name, 0, 0] for name in ends],
    }
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": config})
        top = file.create_group("model_weights")
        top.attrs["layer_names"] = ["x", "dense"]
        top.attrs["keras_version"], top.attrs["backend"] = "2.15.0", "tensorflow"
        top.create_group("x").attrs["weight_names"] = np.array([], "S1")
        group = top.create_group("dense")
        group.attrs["weight_names"] = [b"dense/kernel:0", b"dense/bias:0"]
        group["dense/kernel:0"] = KERNEL.astype(np.float32)
        group["dense/bias:0"] = BIAS.astype(np.float32)
    return path


D, X = ["dense", 0, 0], ["x", 0, 0]
WHOLE = {"start": None, "stop": None, "step": None}
Case = tuple[str, list[Any], Callable[..., Any]]


def on(tensor: list[Any], **arguments: Any) -> list[Any]:
    """Return the call of an operation on one tensor."""
    return [[*tensor, {**arguments, "name": None}]]


def sigmoid(v: Any) -> Any:
    return 1 / (1 + np.exp(-v))


def softmax(v: Any, axis: int = -1) -> Any:
    e = np.exp(v - v.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


# Before a division. Those that nobody reads are left out.
POSITIVE = operation("positive", "math.exp", on(D))

# Function, call, and the same of d, which is Dense's result, and perhaps of x.
OPERATIONS: dict[str, Case] = {
    "times a number": ("math.multiply", on(D, y=2.0), lambda d: d * 2),
    "plus a number": ("__operators__.add", on(D, y=1.5), lambda d: d + 1.5),
    "a number minus": (
        "math.subtract", [["_CONSTANT_VALUE", -1, 1.0, {"y": D, "name": None}]],
        lambda d: 1 - d,
    ),
    "by a number": ("math.truediv", on(D, y=4.0), lambda d: d / 4),
    "a number by": (
        "math.truediv", [["_CONSTANT_VALUE", -1, 2.0, {"y": ["positive", 0, 0], "name": None}]],
        lambda d: 2 / np.exp(d),
    ),
    "two": ("math.multiply", on(D, y=D), lambda d: d * d),
    "a product": (
        "linalg.matmul", on(D, b=D, transpose_b=True), lambda d: d @ d.transpose(0, 2, 1)
    ),
    "a turned product": (
        "linalg.matmul", on(D, b=X, transpose_a=True), lambda d, x: d.transpose(0, 2, 1) @ x
    ),
    "concat": (
        "concat", [[[*D, {"axis": -1, "name": None}], [*X, {"axis": -1, "name": None}]]],
        lambda d, x: np.concatenate([d, x], -1),
    ),
    "concat over time": (
        "concat", [[[*D, {"axis": 1}], [*D, {"axis": 1}]]], lambda d: np.concatenate([d, d], 1)
    ),
    "mean": ("math.reduce_mean", on(D, axis=1), lambda d: d.mean(1)),
    "sum": (
        "math.reduce_sum", on(D, axis=-1, keepdims=True), lambda d: d.sum(-1, keepdims=True)
    ),
    "max": ("math.reduce_max", on(D, axis=[1, 2]), lambda d: d.max((1, 2))),
    "min": ("math.reduce_min", on(D, axis=1), lambda d: d.min(1)),
    "last": ("__operators__.getitem", on(D, slice_spec=[WHOLE, -1]), lambda d: d[:, -1]),
    "some": (
        "__operators__.getitem",
        on(D, slice_spec=[WHOLE, {"start": 1, "stop": -1, "step": 2}]),
        lambda d: d[:, 1:-1:2],
    ),
    "expanded": ("expand_dims", on(D, axis=-1), lambda d: d[..., None]),
    "reshaped": ("reshape", on(D, shape=[-1, 12, 2]), lambda d: d.reshape(-1, 12, 2)),
    "transposed": ("transpose", on(D, perm=[0, 2, 1]), lambda d: d.transpose(0, 2, 1)),
    "power": ("math.pow", on(D, y=2.0), lambda d: d**2),
    "abs": ("math.abs", on(D), lambda d: np.abs(d)),
    "square": ("math.square", on(D), lambda d: d**2),
    "exp": ("math.exp", on(D), lambda d: np.exp(d)),
    "negative": ("math.negative", on(D), lambda d: -d),
    "tanh": ("math.tanh", on(D), lambda d: np.tanh(d)),
    "sigmoid": ("math.sigmoid", on(D), lambda d: sigmoid(d)),
    "relu": ("nn.relu", on(D), lambda d: np.maximum(d, 0)),
    "softmax": ("nn.softmax", on(D, axis=-1), lambda d: softmax(d)),
    "softmax over time": ("nn.softmax", on(D, axis=1), lambda d: softmax(d, 1)),
    "maximum": ("math.maximum", on(D, y=D), lambda d: d),
    "cast": ("cast", on(D, dtype="float32"), lambda d: d),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation(name: str, tmp_path: Path) -> None:
    function, call, meaning = OPERATIONS[name]
    path = write(tmp_path / "m.h5", [POSITIVE, operation("op", function, call)], ["op"])
    x = RNG.normal(size=(2, TIME, FEATURES)).astype(np.float32)
    given = (x @ KERNEL + BIAS, x)[: meaning.__code__.co_argcount]
    agree(outputs(sc.load(path), x), [meaning(*given)], FLOAT32[1])


def test_what_is_not_arithmetic_is_refused_by_name(tmp_path: Path) -> None:
    """Each offender once, none of what is supported, and none of what reads them."""
    path = write(
        tmp_path / "m.h5",
        [
            operation("shape", "shape", on(D)),
            operation("twice", "math.multiply", on(D, y=2.0)),
            operation("running", "math.cumsum", on(["twice", 0, 0], axis=1)),
            operation("behind", "math.add", on(["running", 0, 0], y=1.0)),
            operation("sine", "math.sin", on(["behind", 0, 0])),
        ],
        ["shape", "sine"],
    )
    with pytest.raises(UnsupportedLayerError) as caught:
        sc.load(path)
    labels = sorted(label for label, _ in caught.value.layers)
    assert labels == ["running (TFOpLambda)", "shape (TFOpLambda)", "sine (TFOpLambda)"]
    assert "cumsum" in str(caught.value)


@pytest.mark.parametrize(
    ("function", "call"),
    [
        ("math.reduce_mean", on(D)),
        ("math.reduce_sum", on(D, axis=0)),
        ("math.truediv", on(D, y=0.0)),
        ("math.pow", on(D, y=3.7)),
        ("reshape", on(D, shape=[24, -1])),
        ("transpose", on(D, perm=[1, 0, 2])),
        ("expand_dims", on(D, axis=0)),
        ("__operators__.getitem", on(D, slice_spec=[0])),
        ("math.multiply", on(D, y=2.0, unheard_of=1)),
    ],
    ids=str,
)
def test_what_mixes_rows_or_has_no_meaning_here_is_refused(
    function: str, call: list[Any], tmp_path: Path
) -> None:
    path = write(tmp_path / "m.h5", [operation("op", function, call)], ["op"])
    with pytest.raises(UnsupportedLayerError, match="op "):
        sc.load(path)
