"""Random graphs against onnxruntime at several sizes, and a row alone against itself in a batch.

All are in order, so few may be refused. More of them by hand: SEQCORE_GRAPHS=3000.
"""

from __future__ import annotations

import os

import numpy as np
import onnx_random_layers  # noqa: F401  # enters operators
import onnx_random_operators  # noqa: F401
import pytest
from onnx_models import run_onnxruntime
from onnx_random import RandomGraph
from tolerances import RANDOM_GRAPH

from seqcore.errors import ShapeError, UnsupportedLayerError
from seqcore.importers.onnx import from_onnx

GRAPHS, PARTS = int(os.environ.get("SEQCORE_GRAPHS", "300")), 4


def listed(made):
    return list(made) if isinstance(made, tuple) else [made]


def same_alone(model, arrays, made, axes):
    """Assert that the last row has the same bits without the others."""
    last = arrays[0].shape[axes[0]] - 1
    alone = listed(model(*(a.take([last], axis) for a, axis in zip(arrays, axes, strict=True))))
    for one, many in zip(alone, made, strict=True):
        (at,) = [k for k, sizes in enumerate(zip(one.shape, many.shape, strict=True))
                 if sizes[0] != sizes[1]] or [0]  # fmt: skip
        assert one.tobytes() == many.take([last], at).tobytes()


def compared(seed):
    """Compare one graph; return whether it is read."""
    graph = RandomGraph(seed)
    try:
        model = from_onnx(graph.model)
    except UnsupportedLayerError:
        return False
    inputs = [each for each in model._graph.document["inputs"] if each["kind"] == "data"]
    whole = len(inputs[0]["shape"]) == len(graph.shapes["x0"])  # a call of the graph is a row
    for sizes in graph.sizes:
        feeds = graph.feeds(sizes, seed)
        arrays = [*feeds.values()]
        try:
            made = listed(model(*(a[None] if whole else a for a in arrays)))
        except ShapeError:  # a call that a rule of sizes refuses
            continue
        expected = run_onnxruntime(graph.model, feeds)
        for ours, theirs in zip(made, expected, strict=True):
            np.testing.assert_allclose(
                ours[0] if whole else ours, theirs, RANDOM_GRAPH, RANDOM_GRAPH,
                err_msg=f"seed {seed}, {sizes}",
            )  # fmt: skip
        axes = [each.get("batch_axis", 0) for each in inputs]
        if not whole and arrays[0].shape[axes[0]] > 1:
            same_alone(model, arrays, made, axes)
    return True


@pytest.mark.parametrize("part", range(PARTS))
def test_same_as_onnxruntime(part):
    read = [compared(seed) for seed in range(part, GRAPHS, PARTS)]
    assert sum(read) > 0.8 * len(read)
