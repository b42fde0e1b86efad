"""Rules for sizes of inputs: those that contradict themselves, and calls that break them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from seqcore._binding import Plan
from seqcore.errors import GraphError, ShapeError

TWO = [["x", 1], ["y", 1]]


def plan(sizes):
    inputs = [
        {"name": name, "kind": "data", "dtype": "float32", "shape": [None, 3]} for name in "xy"
    ]
    inputs += [{"name": "x:lengths", "kind": "lengths", "of": "x"}]
    node = {
        "op": "unary", "layer": "abs", "inputs": ["x"], "outputs": ["z"], "weights": {},
        "attrs": {"function": "abs"},
    }  # fmt: skip
    document = {
        "format": "seqcore", "version": 1, "inputs": inputs, "nodes": [node],
        "outputs": [{"name": "z", "value": "z"}], "sizes": sizes,
    }  # fmt: skip
    return Plan(json.dumps(document).encode(), {})


@pytest.mark.parametrize(
    "sizes",
    [
        "x", 1, {}, [1], [None], [[]], [{}], [{"axes": []}], [{"axes": "x"}], [{"axes": ["x"]}],
        [{"axes": [["x"]]}], [{"axes": [["x", 1, 2]]}], [{"axes": [["x", 3]]}],
        [{"axes": [["x", -1]]}], [{"axes": [["x", 0.5]]}], [{"axes": [["x", "1"]]}],
        [{"axes": [["w", 1]]}], [{"axes": [["z", 1]]}], [{"axes": [["x:lengths", 0]]}],
        [{"axes": [[1, "x"]]}], [{"axes": [["x", 2**60]]}], [{"axes": TWO, "min": -1}],
        [{"axes": TWO, "max": "3"}], [{"axes": TWO, "multiple": 0}], [{"axes": TWO, "min": None}],
        [{"axes": TWO, "multiple": 1.5}], [{"axes": TWO}] * 10_001,
    ],
)  # fmt: skip
def test_rules_that_are_none_are_refused(sizes):
    with pytest.raises(GraphError):
        plan(sizes)


def array(time, rows=2):
    return np.ones((rows, time, 3), np.float32)


@pytest.mark.parametrize(
    ("rule", "fits", "breaks", "message"),
    [
        ({}, [(4, 4), (0, 0)], [(4, 5)], "'x' has size 4 in axis 1, and input 'y' 5"),
        ({"min": 3}, [(3, 3)], [(2, 2)], "at least 3 in axis 1, found 2"),
        ({"max": 3}, [(3, 3), (0, 0)], [(4, 4)], "at most 3 in axis 1, found 4"),
        ({"min": 2**53}, [], [(4, 4)], "at least"),
        ({"multiple": 3}, [(3, 3), (0, 0)], [(4, 4)], "a multiple of 3 in axis 1, found 4"),
        ({"min": 5, "max": 3}, [], [(4, 4), (3, 3)], "at least 5"),
    ],
)
def test_a_call_keeps_to_the_rules(rule, fits, breaks, message):
    made = plan([{"axes": TWO, **rule}])
    for x, y in fits:
        (found,) = made.run([array(x), array(y), None])
        assert found.shape == (2, x, 3)
    for x, y in breaks:
        with pytest.raises(ShapeError, match=message):
            made.run([array(x), array(y), None])
