"""Graphs that confuse int64 with float32, or one batch axis with the other, given to the core.

Python lowers none of them. Each must be refused by a plan, or a call, that names the layer. Not
here: what the ops compute (parity/test_parity_indices.py).
"""

from __future__ import annotations

import numpy as np
import pytest
from stream_models import stream_of
from test_graphs import CELL, CELL_TENSORS, CELL_WEIGHTS, LINEAR, data, graph, node, ones, plan_of

from seqcore import reference as ref
from seqcore.errors import (
    GraphError,
    IdRangeError,
    ShapeError,
    UnsupportedLayerError,
    WeightsError,
)

BEST = {"axis": 2, "keepdims": False, "function": "max"}
ONE = {"axis": 1, "keepdims": False, "function": "max"}
TWO = {"k": 2, "axis": 2, "largest": True}
TABLE = {"rows": 4, "units": 2}

# How many values each op reads that computes with floats. It is refused before it reads attributes.
FLOATS = {
    "activation": 1, "unary": 1, "conv1d": 1,
    "depthwise_conv1d": 1, "conv1d_transpose": 1, "max_pool1d": 1, "avg_pool1d": 1, "pad1d": 1,
    "global_max_pool1d": 1, "global_avg_pool1d": 1, "mask_frames": 1, "masking": 1,
    "mask_merge": 1, "mask_concat": 2, "masked_merge": 2, "add": 1, "average": 1, "multiply": 1,
    "subtract": 2, "divide": 2, "remainder": 2, "maximum": 1, "minimum": 1, "reduce": 1,
    "affine": 1, "prelu": 1,
    "clipped_relu": 1, "normalize": 1, "softmax": 1, "attention": 2, "batch_matmul": 2, "dot": 2,
    "argmax": 1, "topk": 1, "crf": 1,
}  # fmt: skip
# What reads floats, or ids for the one-hot vectors of them.
EITHER = {
    "simple_rnn": CELL, "gru": CELL | {"reset_after": False}, "lstm": CELL,
    "dense": {"units": 2, "activation": LINEAR},
}  # fmt: skip
CARRIERS = {
    "permute": {"dims": [1]}, "repeat": {"axis": 1, "repeats": 2}, "index": {"axis": 1, "index": 0},
    "slice": {"axis": 1, "start": 1, "stop": None, "step": 1}, "concat": {"axis": 1},
    "cast": {"dtype": "int64"}, "batch_second": {}, "stack": {}, "flatten": {}, "fold": {},
    "expand": {"axis": 2}, "reshape": {"keep": 1, "sizes": None, "shape": [-1]},
}  # fmt: skip
SECOND = {"select": {"index": 0}, "batch_first": {}}


@pytest.mark.parametrize("op", FLOATS)
def test_what_computes_reads_no_whole_numbers(op):
    """Neither those that an op made nor those of an input, in whichever place."""
    for name in ("best", "ids"):
        wrong = node(op, " ".join([name] * FLOATS[op]), ["y"])
        nodes = [node("argmax", "x", ["best"], BEST), wrong]
        document = graph([data("x", None, 3), data("ids", None, dtype="int64")], nodes, "y")
        with pytest.raises(GraphError, match=f"my_{op}.*'{name}' is integers"):
            plan_of(document)


@pytest.mark.parametrize(
    "wrong",
    [
        node("lstm", "x h", ["y"], CELL, CELL_WEIGHTS), node("add", "x h", ["y"]),
        node("concat", "x h", ["y"], {"axis": -1}), node("stack", "s h", ["y"]),
        node("mask_merge", "m h", ["y"], {"all": True}), node("concat", "h s", ["y"], {"axis": 1}),
        node("global_avg_pool1d", "x h", ["y"]), node("stack", "h s", ["y"]),
    ],
    ids=lambda entry: f"{entry['op']} {entry['inputs']}",
)  # fmt: skip
def test_a_mixture_is_refused_in_any_place(wrong):
    nodes = [
        node("argmax", "x", ["h"], ONE),
        node("reduce", "x", ["s"], {"function": "max", "axes": [1], "keepdims": False}),
        node("mask_frames", "x", ["m"], {"value": 0}),
        wrong,
    ]
    with pytest.raises(GraphError, match=rf"my_{wrong['op']}.*'[hs]' is (integers|of a kind)"):
        plan_of(graph([data("x", None, 3)], nodes, "y"), CELL_TENSORS)


@pytest.mark.parametrize("op", ["embedding", "mask_ids", "one_hot"])
def test_what_reads_ids_reads_no_floats(op):
    for name in ("x", "values", "back"):
        nodes = [
            node("topk", "x", ["values", "places"], TWO),
            node("cast", "places", ["back"], {"dtype": "float32"}),
            node(op, name, ["y"], TABLE | {"depth": 4}, {"W": "W"}),
        ]
        with pytest.raises(GraphError, match=f"my_{op}.*'{name}' is of a kind"):
            plan_of(graph([data("x", None, 3)], nodes, "y"), {"W": ones(4, 2)})


@pytest.mark.parametrize("op", EITHER)
def test_what_reads_either_says_which(op):
    """Ids in place of one-hot vectors, of so many rows as W has."""
    attrs, weights = EITHER[op], {"W": "W"} if op == "dense" else {"W": "W", "U": "U"}
    width = {"dense": 2, "simple_rnn": 2, "gru": 6, "lstm": 8}[op]
    weights |= {"b": "b"}
    tensors = {"W": ones(3, width), "U": ones(2, width), "b": ones(width)}
    inputs = [data("x", None, 3), data("ids", None, dtype="int64")]

    def planned(name, **more):
        made = node(op, name, ["y"], attrs | more, weights)
        return plan_of(graph(inputs, [made], "y"), tensors)

    for name, more in (("ids", {}), ("ids", {"one_hot": 0}), ("x", {"one_hot": 3})):
        with pytest.raises(GraphError, match=f"my_{op}.*'one_hot' is the number of rows"):
            planned(name, **more)
    for wrong in (-1, 2**24 + 1, 1.5, "3", None, [], True):
        with pytest.raises(GraphError, match=f"my_{op}.*attribute 'one_hot' must be a whole"):
            planned("ids", one_hot=wrong)
    for rows in (2, 4, 2**24):
        with pytest.raises(WeightsError, match=rf"my_{op}.*'W' must be .*\({rows}, {width}\)"):
            planned("ids", one_hot=rows)
    plan = planned("ids", one_hot=3)
    with pytest.raises(IdRangeError, match=rf"my_{op}' \({op}\): id 3 in row 0, expected 0 to 2"):
        plan.run([ones(1, 2, 3), np.array([[0, 3]])])
    lengths = {"name": "n", "kind": "lengths", "of": "x"}
    made = node(op, "n", ["y"], attrs | {"one_hot": 3}, weights)
    with pytest.raises(GraphError, match=f"my_{op}.*'n' is integers"):
        plan_of(graph([*inputs, lengths], [made], "y"), tensors)
    turned = data("ids", None, dtype="int64", batch_axis=1)
    made = node(op, "ids", ["y"], attrs | {"one_hot": 3}, weights)
    with pytest.raises(GraphError, match=f"my_{op}.*'ids' is of another batch axis"):
        plan_of(graph([turned], [made], "y"), tensors)


@pytest.mark.parametrize("depth", [0, -1, 2**24 + 1, 1.5, "4", None])
def test_depths_that_are_none(depth):
    made = node("one_hot", "ids", ["y"], {"depth": depth})
    with pytest.raises(GraphError, match=r"my_one_hot.*attribute 'depth'"):
        plan_of(graph([data("ids", None, dtype="int64")], [made], "y"))


@pytest.mark.parametrize("op", ["simple_rnn", "gru", "lstm"])
def test_ids_are_no_initial_state(op):
    made = node(op, "x ids", ["y"], EITHER[op])
    with pytest.raises(GraphError, match=f"my_{op}.*'ids' is integers"):
        plan_of(graph([data("x", None, 3), data("ids", 2, dtype="int64")], [made], "y"))


@pytest.mark.parametrize("op", CARRIERS)
def test_what_only_moves_takes_both(op):
    """The same elements, as whole numbers that no float holds."""
    ids = np.array([[5, 2**53 + 1, -7], [0, 1, 2**62 + 3]])
    made = node(op, "ids", ["y"], CARRIERS[op])
    document = graph([data("ids", 3, dtype="int64")], [made], "y")
    (y,) = plan_of(document).run([ids])
    (expected,) = ref.run(document, {}, {"ids": ids})
    assert y.dtype == np.int64
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("reader", ["slice", "cast", "embedding", "batch_second", "argmax"])
def test_lengths_are_nobodys_numbers(reader):
    attrs = {**CARRIERS, "embedding": TABLE, "argmax": ONE}[reader]
    inputs = [data("x", None, 3), {"name": "n", "kind": "lengths", "of": "x"}]
    with pytest.raises(GraphError, match=f"my_{reader}.*'n' is integers"):
        plan_of(graph(inputs, [node(reader, "n", ["y"], attrs, {"W": "W"})], "y"))


def test_whole_numbers_are_nobodys_lengths():
    dense = node("dense", "x", ["y"], {"units": 2, "activation": LINEAR}, lengths="n")
    nodes = [node("argmax", "x", ["n"], ONE), dense]
    with pytest.raises(GraphError, match="'n' is not a lengths value"):
        plan_of(graph([data("x", None, 3)], nodes, "y"))


@pytest.mark.parametrize(
    ("op", "attrs", "message"),
    [
        ("cast", {"dtype": "int32"}, "'dtype'"), ("cast", {"dtype": 1}, "'dtype'"),
        ("cast", {}, "'dtype'"),
        ("argmax", BEST | {"axis": 0}, "'axis'"), ("argmax", BEST | {"axis": 3}, "'axis'"),
        ("argmax", BEST | {"axis": -1}, "'axis'"), ("argmax", BEST | {"axis": 1.5}, "'axis'"),
        ("argmax", BEST | {"keepdims": 0}, "'keepdims'"), ("argmax", {}, "'axis'"),
        ("argmax", BEST | {"function": "mean"}, "'function'"),
        ("topk", TWO | {"k": 0}, "'k'"), ("topk", TWO | {"k": 2**25}, "'k'"),
        ("topk", TWO | {"k": -1}, "'k'"), ("topk", TWO | {"axis": 0}, "'axis'"),
        ("topk", TWO | {"largest": 1}, "'largest'"), ("topk", TWO | {"axis": None}, "'axis'"),
    ],
)  # fmt: skip
def test_attributes_out_of_range(op, attrs, message):
    with pytest.raises(GraphError, match=f"my_{op}.*attribute {message}"):
        plan_of(graph([data("x", None, 3)], [node(op, "x", ["y"], attrs)], "y"))


@pytest.mark.parametrize("k", [4, 2**24])
def test_more_than_there_are(k):
    with pytest.raises(ShapeError, match=f"my_topk.*axis 2 has 3 elements, of which it takes {k}"):
        plan_of(graph([data("x", None, 3)], [node("topk", "x", ["y"], TWO | {"k": k})], "y"))
    plan = plan_of(graph([data("x", None, None)], [node("topk", "x", ["y"], TWO | {"k": k})], "y"))
    with pytest.raises(ShapeError, match=f"my_topk.*axis 2 has 3 elements, of which it takes {k}"):
        plan.run([ones(1, 2, 3)])


def test_outputs_that_nobody_wants():
    x = np.float32([[[3, 1, 2]]])
    for outputs, expected in (
        (["v", "i"], [[[3, 2]]]), (["v", None], [[[3, 2]]]), (["v"], [[[3, 2]]]),
        ([None, "v"], [[[0, 2]]]),
    ):  # fmt: skip
        plan = plan_of(graph([data("x", None, 3)], [node("topk", "x", outputs, TWO)], "v"))
        assert plan.run([x])[0].tolist() == expected
    nothing = node("topk", "x", [None, None], TWO)
    assert plan_of(graph([data("x", None, 3)], [nothing], "x")).run([x])[0].tolist() == x.tolist()


# ---- Batch axes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "op", [*FLOATS, *EITHER, *CARRIERS, "embedding", "one_hot", "mask_ids", "unfold"]
)
def test_no_other_op_reads_a_batch_in_axis_1(op):
    ids = op in ("embedding", "one_hot", "mask_ids")
    inputs = " ".join(["x"] * {**FLOATS, "unfold": 2}.get(op, 1))
    source = data("x", None, dtype="int64", batch_axis=1) if ids else data("x", 4, 3, batch_axis=1)
    with pytest.raises(GraphError, match=f"my_{op}.*'x' is of another batch axis"):
        plan_of(graph([source], [node(op, inputs, ["y"])], "y"))


@pytest.mark.parametrize("op", SECOND)
def test_what_reads_it_reads_no_other(op):
    with pytest.raises(GraphError, match=f"my_{op}.*'x' is of another batch axis"):
        plan_of(graph([data("x", 4, 3)], [node(op, "x", ["y"], SECOND[op])], "y"))


def test_a_batch_in_axis_1_lies_in_the_callers_memory():
    turn = node("batch_second", "x", ["y"])
    with pytest.raises(GraphError, match="'y' has its batch in axis 1, but is no output"):
        plan_of(graph([data("x", 4, 3)], [turn, node("add", "x x", ["z"])], "z"))
    with pytest.raises(GraphError, match="'y' has its batch in axis 1 and cannot be two"):
        plan_of(graph([data("x", 4, 3)], [turn], "y", "y"))
    with pytest.raises(GraphError, match="'x' cannot be an output"):
        plan_of(graph([data("x", 4, 3, batch_axis=1)], [], "x"))
    both = graph([data("x", 4, 3)], [turn, node("batch_first", "y", ["z"])], "y", "z")
    x = np.arange(60, dtype=np.float32).reshape(5, 4, 3)
    y, z = plan_of(both).run([x])
    np.testing.assert_array_equal(y, x.swapaxes(0, 1))
    np.testing.assert_array_equal(z, x)


def test_folded_rows_are_no_batch():
    nodes = [node("fold", "x", ["f"]), node("batch_second", "f", ["y"])]
    with pytest.raises(ShapeError, match=r"my_batch_second.*not folded"):
        plan_of(graph([data("x", 4, 3)], nodes, "y"))
    plan = plan_of(graph([data("x", 1, 3)], nodes, "y"))  # of one frame it is the batch
    np.testing.assert_array_equal(plan.run([ones(2, 1, 3)])[0], ones(3, 2))
    with pytest.raises(UnsupportedLayerError, match="folded"):
        stream_of(plan, 2)


def test_frames_of_nothing_end():
    """2^40 frames of no features are an array of no bytes: none of them is visited."""
    nodes = [
        node("batch_first", "x", ["a"]),
        node("batch_second", "a", ["b"]),
        node("add", "z z", ["y"]),
    ]
    inputs = [data("x", None, 0, batch_axis=1), data("z", 2)]
    b, y = plan_of(graph(inputs, nodes, "b", "y")).run(
        [np.empty((2**40, 1, 0), np.float32), ones(1, 2)]
    )
    assert b.shape == (2**40, 1, 0)
    assert y.tolist() == [[2, 2]]


@pytest.mark.parametrize(
    "last",
    [
        node("select", "wide", ["y"], {"index": 0}), node("stack", "ids ids", ["y"]),
        node("argmax", "x", ["y"], ONE), node("topk", "x", ["y"], TWO | {"k": 1, "axis": 1}),
    ],
    ids=lambda entry: entry["op"],
)  # fmt: skip
def test_time_does_not_become_units_in_a_step(last):
    """A step would have given memory for one number where there are as many as units."""
    wide = data("wide", None, 40, dtype="int64", batch_axis=1)
    inputs = [wide, data("ids", None, dtype="int64"), data("x", None, 3)]
    document = graph(inputs, [last], "y", "x")
    with pytest.raises(UnsupportedLayerError, match=f"my_{last['op']}"):
        stream_of(plan_of(document), 3)
