"""Masks that lie: graphs given to the core itself in which a mask is none, or of other frames.

A mask is a value (B, T) of the frames of one input; as an input of the graph it may be absent at a
call, and so be read only by what can do without. Random ones are in twisted_graphs.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from stream_models import stream_of
from test_graphs import (
    CELL,
    CELL_TENSORS,
    CELL_WEIGHTS,
    LINEAR,
    data,
    dense,
    graph,
    lengths,
    node,
    ones,
    plan_of,
)
from tolerances import FLOAT32, close

from seqcore import reference as ref
from seqcore.errors import GraphError, ShapeError, UnsupportedLayerError, WeightsError

MASKED = CELL | {"zero_output_for_mask": False}
GRU = MASKED | {"reset_after": False}
GRU_TENSORS = {"W": ones(3, 6), "U": ones(2, 6), "b": ones(6)}
CRF_WEIGHTS = {"W": "W", "start": "b", "end": "b"}
CRF_TENSORS = {"W": ones(3, 3), "b": ones(3)}
ATTENTION = {"score": "dot", "masking": "zero", "heads": 0, "scale": 1, "causal": False}


def mask(name="m", of="x"):
    return {"name": name, "kind": "mask", "of": of}


def lstm(*masks, **attrs):
    made = node("lstm", "x", ["y"], MASKED | attrs, CELL_WEIGHTS)
    made["inputs"] += [None, None, *masks]
    return made


X = data("x", None, 3)
# Every way to read a mask: (node, what it is called with beside x and m, weights).
READERS = {
    "lstm": (lstm("m"), CELL_TENSORS),
    "gru": (node("gru", "x h m", ["y"], GRU, CELL_WEIGHTS), GRU_TENSORS),
    "global_avg_pool1d": (node("global_avg_pool1d", "x m", ["y"]), {}),
    "crf": (node("crf", "x m", ["y"], {"tags": 3}, CRF_WEIGHTS), CRF_TENSORS),
    "mask_concat": (node("mask_concat", "x x m m", ["y"]), {}),
    "masked_merge": (node("masked_merge", "x x m m", ["y"], {"function": "multiply"}), {}),
    "attention": (node("attention", "x x x m m", ["y"], ATTENTION), {}),
    "mask_merge": (node("mask_merge", "m m", ["y"], {"all": True}), {}),
}


@pytest.fixture(params=READERS)
def reader(request):
    return READERS[request.param]


# ---- What is no mask -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry",
    [
        node("dense", "m", ["y"], *dense()),
        node("activation", "m", ["y"], {"activation": LINEAR}),
        node("mask_frames", "m", ["y"], {"value": 0}),
        node("mask_ids", "m", ["y"]),
        node("add", "x m", ["y"]),
        node("expand", "m", ["y"], {"axis": 2}),
        node("fold", "m", ["y"]),
        node("unfold", "x m", ["y"]),
        node("global_avg_pool1d", "m", ["y"]),
        node("crf", "m", ["y"], {"tags": 3}, CRF_WEIGHTS),
        node("mask_concat", "m x", ["y"]),
        node("masked_merge", "x m", ["y"], {"function": "maximum"}),
        node("lstm", "x m", ["y"], MASKED, CELL_WEIGHTS),
        node("attention", "x m", ["y"], ATTENTION),
        node("select", "m", ["y"], {"index": 0}),
        node("stack", "m", ["y"]),
    ],
    ids=lambda entry: entry["op"],
)
def test_an_absent_mask_is_no_data(entry):
    """What reads it as numbers would read nothing where the caller gives none."""
    with pytest.raises(GraphError, match="'m' is of a kind that it cannot take"):
        plan_of(graph([X, mask()], [entry], "y"), CELL_TENSORS)


def test_a_mask_of_the_caller_is_no_output():
    with pytest.raises(GraphError, match="cannot be an output"):
        plan_of(graph([X, mask()], [], "m"))


@pytest.mark.parametrize(
    "of",
    [data("x", dtype="int64"), data("x", 3, batch_axis=1), data("x"),
     {"name": "x", "kind": "state", "shape": [3, 4]}, None],
    ids=["ids", "stacked", "scalars", "state", "nothing"],
)  # fmt: skip
def test_a_mask_belongs_to_an_input_with_time(of):
    inputs = [data("z", None, 2), *([of] if of else []), mask()]
    with pytest.raises(
        GraphError, match=r"no time axis|not a value that stands before|batch in axis 1"
    ):
        plan_of(graph(inputs, [node("add", "z", ["y"])], "y"))


@pytest.mark.parametrize("of", ["m", "n", "y", "", None, 3])
def test_a_mask_of_what_is_no_data(of):
    inputs = [X, lengths("x"), mask(of=of)]
    with pytest.raises(GraphError, match=r"no time axis|not the name|not a value|no name"):
        plan_of(graph(inputs, [node("add", "x", ["y"])], "y"))


@pytest.mark.parametrize(
    "value",
    [data("m", None, 3), data("m", None, 1), data("m"), data("m", None, dtype="int64"),
     lengths("x") | {"name": "m"}, {"name": "m", "kind": "state", "shape": [4]}],
    ids=["features", "column", "scalars", "ids", "lengths", "state"],
)  # fmt: skip
def test_a_value_that_is_no_mask(reader, value):
    entry, tensors = reader
    inputs = [X, data("h", 2), value]
    with pytest.raises((GraphError, ShapeError)):
        plan_of(graph(inputs, [entry], "y"), tensors)


def test_a_mask_of_other_frames(reader):
    """Known when the plan is made, or at the call."""
    entry, tensors = reader
    if entry["op"] == "mask_merge":
        entry = node("mask_merge", "m k", ["y"], {"all": True})
    extra = [data("h", 2), data("k", 5)]
    fixed = [data("x", 5, 3), *extra, data("m", 4)]
    with pytest.raises(ShapeError):
        plan_of(graph(fixed, [entry], "y"), tensors)
    plan = plan_of(graph([X, *extra, data("m", None)], [entry], "y"), tensors)
    for frames in (0, 1, 4, 6, 100):
        if entry["op"] == "mask_merge" and frames == 1:
            continue  # one for all frames
        with pytest.raises(ShapeError):
            plan.run([ones(2, 5, 3), ones(2, 2), ones(2, 5), ones(2, frames)])


@pytest.mark.parametrize("shape", [(2, 4), (2, 6), (2, 0), (2, 1), (1, 5), (3, 5), (2, 5, 1), (2,)])
def test_a_call_with_a_mask_of_another_shape(shape):
    plan = plan_of(graph([X, mask()], [lstm("m")], "y"), CELL_TENSORS)
    with pytest.raises(ShapeError, match=r"'m'|mask of input 'x'"):
        plan.run([ones(2, 5, 3), ones(*shape)])


# ---- What is absent ------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [0, 1, 5])
@pytest.mark.parametrize("ends", [False, True])
def test_an_absent_mask_is_one_of_ones(reader, frames, ends):
    """Also for a row without a frame, whose last output is its state."""
    entry, tensors = reader
    rng = np.random.default_rng(frames)
    x = rng.standard_normal((3, frames, 3)).astype(np.float32)
    given = {"h": rng.standard_normal((3, 2)).astype(np.float32)}
    given["n"] = np.array([0, frames // 2, frames]) if ends else None
    more = {}
    if ends and entry["op"] == "masked_merge":
        more = {"lengths": ["n", "n"]}
    elif ends and entry["op"] == "attention":
        more = {"lengths": ["n", "n", "n"]}
    elif ends and not entry["op"].startswith("mask"):
        more = {"lengths": "n"}
    last = {"return_sequences": False} if "units" in entry["attrs"] else {}
    unwanted = [None] * {"lstm": 2, "gru": 1, "attention": 1, "crf": 1}.get(entry["op"], 0)
    entry = entry | more | {"attrs": entry["attrs"] | last, "outputs": ["y", *unwanted]}
    document = graph([X, data("h", 2), lengths("x"), mask()], [entry], "y")
    plan = plan_of(document, tensors)
    absent = plan.run([x, given["h"], given["n"], None])[0]
    np.testing.assert_array_equal(absent, plan.run([x, given["h"], given["n"], ones(3, frames)])[0])
    if entry["op"] != "mask_merge":  # of nothing but absent masks it is one
        close(absent, ref.run(document, tensors, {"x": x, **given})[0], FLOAT32[1])


def test_a_null_is_no_mask_to_merge():
    merge = node("mask_merge", "m", ["y"], {"all": False})
    merge["inputs"].append(None)
    with pytest.raises(ShapeError, match="masks 1 and 2 are not of the same frames"):
        plan_of(graph([X, mask()], [merge], "y"))


def test_more_masks_than_a_set_of_bits_has():
    rng = np.random.default_rng(1)
    x, m = ones(2, 6, 3), (rng.random((2, 6)) < 0.5).astype(np.float32)
    for number in (31, 32, 33, 70):
        nodes = [
            node("mask_frames", "x", ["all"], {"value": 0}),
            node("mask_merge", "all " * number + "m", ["y"], {"all": True}),
        ]
        y = plan_of(graph([X, mask()], nodes, "y")).run([x, m])[0]
        np.testing.assert_array_equal(y, m)


def test_any_number_but_zero_counts():
    odd = np.array([[np.nan, -0.0, 0.0, -1, 1e-30, np.inf]], np.float32)
    y = plan_of(graph([X, mask()], [node("mask_merge", "m", ["y"], {"all": True})], "y")).run(
        [ones(1, 6, 3), odd]
    )[0]
    np.testing.assert_array_equal(y, ref.mask_merge(odd, all=True))


# ---- Attributes and weights ----------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, "0", True, 1e39, -1e300, [0]])
@pytest.mark.parametrize("op", ["mask_frames", "masking"])
def test_a_masked_value_that_no_feature_can_have(op, value):
    with pytest.raises(GraphError, match="'value' must be a float32 number"):
        plan_of(graph([X], [node(op, "x", ["y"], {"value": value})], "y"))


@pytest.mark.parametrize(
    "entry",
    [
        node("mask_merge", "m", ["y"], {"all": 1}), node("mask_merge", "m", ["y"]),
        node("masked_merge", "x x m", ["y"], {"function": "add"}),
        node("masked_merge", "x x m", ["y"], {"function": 2}),
        lstm("m", zero_output_for_mask=None), lstm("m", zero_output_for_mask=0),
    ],
)  # fmt: skip
def test_attributes_of_another_kind(entry):
    with pytest.raises(GraphError, match="attribute '"):
        plan_of(graph([X, mask()], [entry], "y"), CELL_TENSORS)


@pytest.mark.parametrize(
    "weight", [ones(4), ones(0), ones(3, 1), np.float32(1), np.ones(3, np.int64), ones(1)],
    ids=lambda w: f"{w.dtype} {w.shape}",
)  # fmt: skip
def test_attention_with_weights_of_another_shape(weight):
    attrs = ATTENTION | {"score": "additive", "shared": False}
    document = graph([X, mask()], [node("attention", "x x x m", ["y"], attrs, {"W": "W"})], "y")
    with pytest.raises(WeightsError, match=r"my_attention.*'W' must be float32"):
        plan_of(document, {"W": np.asarray(weight)})


# ---- Steps ---------------------------------------------------------------------------------------

MASK_X = node("mask_frames", "x", ["m"], {"value": 0})


@pytest.mark.parametrize(
    ("inputs", "nodes"),
    [  # the mask is one frame's and the sequence is not, or the other way round
        ([X, data("z", 1, 3)], [MASK_X, lstm("m") | {"inputs": ["z", None, None, "m"]}]),
        ([X, data("m", 1)], [lstm("m")]),
        ([X, data("z", 1, 3)], [MASK_X, node("global_avg_pool1d", "z m", ["y"])]),
        ([X, data("z", 1, 3)],
         [MASK_X, node("crf", "z m", ["y"], {"tags": 3}, {"W": "K", "start": "k", "end": "k"})]),
        ([X, data("z", 1, 3)], [MASK_X, node("mask_concat", "z z m", ["y"])]),
        ([X, data("z", 1, 3)],
         [MASK_X, node("masked_merge", "z z m", ["y"], {"function": "maximum"})]),
        ([X, data("z", 1, 3)], [MASK_X, node("attention", "x z z m m", ["y"], ATTENTION)]),
    ],
    ids=["lstm", "whole mask", "pool", "crf", "concat", "merge", "attention"],
)  # fmt: skip
def test_a_mask_that_does_not_come_with_its_frames_is_not_stepped(inputs, nodes):
    plan = plan_of(graph(inputs, nodes, "y"), CELL_TENSORS | {"K": ones(3, 3), "k": ones(3)})
    with pytest.raises(UnsupportedLayerError, match="cannot be stepped: layer 'my_"):
        stream_of(plan, 2)
