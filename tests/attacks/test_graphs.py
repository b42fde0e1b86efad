"""Graphs that lie, given to the core itself: what a model file could hold and Python never lowers.

Each is the smallest of its kind. A plan or a call must refuse it, or give what the reference gives;
the twisted ones (twisted_graphs.py) must not crash. Not here: JSON and files (test_modelfile.py).
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tolerances import FLOAT32, close

from seqcore import reference as ref
from seqcore._binding import Plan
from seqcore.errors import DtypeError, GraphError, IdRangeError, ShapeError, WeightsError

MAX_NODES = 10_000  # plan.c
HANGS = 20  # seconds: no measure of speed, but the end of what would take minutes

LINEAR = ["linear", 0, 0]
CELL = {
    "units": 2,
    "activation": ["tanh", 0, 0],
    "recurrent_activation": ["sigmoid", 0, 0],
    "reverse": False,
    "realign": False,
    "return_sequences": True,
}
CELL_WEIGHTS = {"W": "W", "U": "U", "b": "b"}


def ones(*shape):
    return np.ones(shape, np.float32)


CELL_TENSORS = {"W": ones(3, 8), "U": ones(2, 8), "b": ones(8)}


def data(name, *shape, dtype="float32", **more):
    return {"name": name, "kind": "data", "dtype": dtype, "shape": list(shape), **more}


def lengths(of):
    """The lengths of input `of`; every graph here has one such input, "n"."""
    return {"name": "n", "kind": "lengths", "of": of}


def node(op, inputs, outputs, attrs=None, weights=None, **more):
    return {
        "op": op, "layer": f"my_{op}", "inputs": inputs.split(), "outputs": outputs,
        "attrs": attrs or {}, "weights": weights or {}, **more,
    }  # fmt: skip


def graph(inputs, nodes, *outputs):
    """A document; an output is the name of a value, or (name, lengths)."""
    pairs = [(o, None) if isinstance(o, str) else o for o in outputs]
    entries = [{"name": value, "value": value, "lengths": ends} for value, ends in pairs]
    return {
        "format": "seqcore", "version": 1, "inputs": inputs, "nodes": nodes, "outputs": entries,
    }  # fmt: skip


def plan_of(document, tensors=None, **options):
    return Plan(json.dumps(document).encode(), tensors or {}, **options)


def dense(units=2):
    return {"units": units, "activation": LINEAR}, {"W": "W", "b": "b"}


# ---- Plans ---------------------------------------------------------------------------------------


def test_a_plan_without_weights_tells_shapes_and_does_not_run():
    document = graph([data("x", None, 3)], [node("lstm", "x", ["y"], CELL, CELL_WEIGHTS)], "y")
    plan = plan_of(document, shapes_only=True)
    assert plan.value_shape("y") == (None, None, 2)
    with pytest.raises(WeightsError, match="shapes only"):
        plan.run([ones(1, 5, 3)])


@pytest.mark.parametrize(
    "absent",
    [
        node("dense", "x", [None], *dense()),
        node("activation", "x", [None], {"activation": LINEAR}),
        node("global_max_pool1d", "x", [None], lengths="n"),
        node(
            "max_pool1d", "x", [None], {"pool_size": 2, "strides": 2, "padding": "valid"},
            lengths="n", lengths_out="m",
        ),
        node("fold", "x", [None]),
    ],
    ids=lambda entry: entry["op"],
)  # fmt: skip
def test_only_a_recurrent_layer_may_leave_out_an_output(absent):
    document = graph([data("x", None, 3), lengths("x")], [absent, node("add", "x x", ["y"])], "y")
    with pytest.raises(GraphError, match="has no name"):
        plan_of(document, {"W": ones(3, 2), "b": ones(2)})


def test_lengths_count_the_axis_beside_the_batch():
    """They were counted against the batch itself: a row then had as many frames as rows."""
    inputs = [data("x", 2, 4, batch_axis=1), lengths("x"), data("z", None, 64)]
    plan = plan_of(graph(inputs, [node("global_avg_pool1d", "z", ["y"], lengths="n")], "y"))
    for frames in (5, 3):
        with pytest.raises(ShapeError, match=r"my_global_avg_pool1d.*'n' are not those of its"):
            plan.run([ones(2, 5, 4), np.full(5, 2), ones(5, frames, 64)])
    with pytest.raises(ShapeError, match="row 1 has length 3, expected 0 to 2"):
        plan.run([ones(2, 5, 4), np.array([2, 3, 0, 0, 0]), ones(5, 2, 64)])
    (y,) = plan.run([ones(2, 5, 4), np.full(5, 2), ones(5, 2, 64)])
    assert y.tolist() == [[1] * 64] * 5


def test_a_missing_array_is_named():
    with pytest.raises(DtypeError, match="tensor 'w' is missing"):
        plan_of(graph([data("x", 3)], [], "x"), {"w": None})
    with pytest.raises(DtypeError, match="an output is missing"):
        plan_of(graph([data("x", 3)], [], "x")).run([ones(1, 3)], [None])


NORM = {"kind": "layer", "axes": [-1], "groups": 0, "epsilon": 0.1}
SPREAD = {"W": "W", "b": "b"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"axes": []}, "'axes'"), ({"axes": [0]}, "'axes'"), ({"axes": [3]}, "'axes'"),
        ({"axes": [-3]}, "'axes'"), ({"axes": [2, 1]}, "'axes'"), ({"axes": [2, -1]}, "'axes'"),
        ({"axes": [1.5]}, "'axes'"), ({"axes": ["1"]}, "'axes'"), ({"axes": 1}, "'axes'"),
        ({"axes": [1e300]}, "'axes'"), ({"axes": [1, 2, 3, 4, 5, 6, 7]}, "'axes'"),
        ({"axes": [None]}, "'axes'"), ({"kind": "batch"}, "'kind'"), ({"kind": 1}, "'kind'"),
        ({"epsilon": -1e-9}, "'epsilon'"), ({"epsilon": 1e39}, "'epsilon'"),
        ({"epsilon": None}, "'epsilon'"), ({"groups": -2}, "'groups'"),
        ({"groups": 2**25}, "'groups'"), ({"groups": None}, "'groups'"),
        ({"groups": 1, "axes": [1, 2]}, "groups divide one axis, found 2"),
    ],
    ids=str,
)  # fmt: skip
def test_normalisation_that_names_what_there_is_not(change, message):
    document = graph(
        [data("x", None, 6)], [node("normalize", "x", ["y"], NORM | change, SPREAD)], "y"
    )
    with pytest.raises(GraphError, match=message):
        plan_of(document, {"W": ones(6), "b": ones(6)})


@pytest.mark.parametrize("groups", [4, 7, 2**24])
def test_groups_that_do_not_divide_the_channels(groups):
    nodes = [node("normalize", "x", ["y"], NORM | {"groups": groups}, SPREAD)]
    tensors = {"W": ones(1), "b": ones(1)}
    with pytest.raises(ShapeError, match=f"6 channels do not divide into {groups} groups"):
        plan_of(graph([data("x", None, 6)], nodes, "y"), tensors)
    plan = plan_of(graph([data("x", None, None)], nodes, "y"), tensors)
    with pytest.raises(ShapeError, match=f"6 channels do not divide into {groups} groups"):
        plan.run([ones(1, 2, 6)])


@pytest.mark.parametrize(
    "weight",
    [ones(5), ones(0), ones(6, 1), ones(1, 6), np.float32(1), np.ones(6, np.int64)],
    ids=lambda w: f"{w.dtype} {w.shape}",
)
@pytest.mark.parametrize("op", ["normalize", "affine", "prelu"])
def test_weights_that_do_not_spread_over_the_input(op, weight):
    weight = np.asarray(weight)
    roles = {"normalize": "Wb", "affine": "cWb", "prelu": ["alpha"]}[op]
    attrs = NORM if op == "normalize" else {"axes": [2]}
    document = graph(
        [data("x", None, 6)], [node(op, "x", ["y"], attrs, {role: role for role in roles})], "y"
    )
    for wrong in roles:
        tensors = {role: weight if role == wrong else ones(6) for role in roles}
        with pytest.raises(WeightsError, match=f"my_{op}.*weight '{wrong}' must be float32"):
            plan_of(document, tensors)


def test_weights_along_an_axis_of_unknown_size_are_checked_at_the_call():
    nodes = [node("affine", "x", ["y"], {"axes": [1, 2]}, {"c": "c", "W": "W", "b": "b"})]
    tensors = {"c": ones(4, 1), "W": ones(1, 6), "b": ones(1, 1)}
    plan = plan_of(graph([data("x", None, 6), lengths("x")], nodes, "y"), tensors)
    for time in (0, 1, 3, 5):
        with pytest.raises(ShapeError, match=f"axis 1 of the input must have size 4, found {time}"):
            plan.run([ones(2, time, 6), None])
    close(plan.run([2 * ones(2, 4, 6), None])[0], 2 * ones(2, 4, 6), FLOAT32[0])
    with pytest.raises(WeightsError, match="like the others"):
        plan_of(graph([data("x", None, 6)], nodes, "y"), tensors | {"b": ones(3, 1)})


@pytest.mark.parametrize("axes", [[1], [2], [1, 2]])
@pytest.mark.parametrize("shape", [(0, 2, 3), (2, 0, 3), (2, 3, 0), (2, 0, 0)])
def test_normalisation_of_nothing(shape, axes):
    nodes = [
        node("normalize", "x", ["y"], NORM | {"axes": axes}, SPREAD),
        node("normalize", "y", ["z"], NORM | {"groups": -1}, SPREAD | {"W": "w", "b": "w"}),
        node("softmax", "z", ["s"], {"axes": axes}),
    ]
    one = ones(*[1] * len(axes))
    plan = plan_of(graph([data("x", None, None)], nodes, "s"), {"W": one, "b": one, "w": ones(1)})
    assert plan.run([ones(*shape)])[0].shape == shape


@pytest.mark.parametrize(
    "change", [{"negative_slope": -1}, {"threshold": None}, {"max_value": "6"}, {"max_value": -1},
               {"max_value": 1e300}, {"negative_slope": True}], ids=str,
)  # fmt: skip
def test_clipped_relu_out_of_range(change):
    attrs = {"negative_slope": 0, "threshold": 0, "max_value": 6} | change
    with pytest.raises(GraphError, match="a number from 0 on"):
        plan_of(graph([data("x", 6)], [node("clipped_relu", "x", ["y"], attrs)], "y"))


@pytest.mark.parametrize(
    "spec", [["celu", 0, 0], ["celu", 1e-300, 0], ["celu", -1, 0], ["squareplus", -4, 0],
             ["soft_shrink", -0.5, 0]], ids=str,
)  # fmt: skip
def test_activations_out_of_range(spec):
    with pytest.raises(GraphError, match="alpha is in its range"):
        plan_of(graph([data("x", 6)], [node("activation", "x", ["y"], {"activation": spec})], "y"))


PROJECTED = CELL | {"projection": 3}
PROJECTED_TENSORS = CELL_TENSORS | {"U": ones(3, 8), "P": ones(2, 3)}


def lstm(attrs, weights, inputs="x"):
    states = [{"name": name, "kind": "state", "shape": [size]} for name, size in inputs_of(inputs)]
    nodes = [node("lstm", inputs, ["y", "h", "c"], attrs, {name: name for name in weights})]
    return graph([data("x", None, 3), *states], nodes, "y", "h", "c")


def inputs_of(inputs):
    """States by names such as "s3", whose number is their size."""
    return [(name, int(name[1:])) for name in inputs.split()[1:]]


@pytest.mark.parametrize(
    ("attrs", "weights", "change", "message"),
    [
        (PROJECTED, "WUb", {}, "weight 'P' is not named"),
        (PROJECTED, "WUbP", {"P": None}, "'P' is missing"),
        (PROJECTED, "WUbP", {"P": ones(3, 2)}, r"'P' must be.*\(2, 3\), found \(3, 2\)"),
        (PROJECTED, "WUbP", {"P": ones(2, 4)}, r"'P' must be.*\(2, 3\), found \(2, 4\)"),
        (PROJECTED, "WUbP", {"P": ones(6)}, r"'P' must be.*\(2, 3\), found \(6,\)"),
        (PROJECTED, "WUbP", {"P": np.ones((2, 3), np.int64)}, "'P' must be.*found int64"),
        (PROJECTED, "WUbP", {"U": ones(2, 8)}, r"'U' must be.*\(3, 8\), found \(2, 8\)"),
        (CELL | {"projection": 2}, "WUbP", {}, r"'U' must be.*\(2, 8\), found \(3, 8\)"),
        (CELL | {"projection": 0}, "WUbP", {}, "'P' is named, but there is no attribute"),
        (CELL, "WUbP", {}, "'P' is named, but there is no attribute"),
        (CELL, "WUb", {}, r"'U' must be.*\(2, 8\), found \(3, 8\)"),
        *(
            (CELL | {"projection": wrong}, "WUbP", {}, "attribute 'projection' must be")
            for wrong in (-1, 1.5, "3", None, True, [3], 2**25, 1e300)
        ),
    ],
)
def test_projections_that_contradict_themselves(attrs, weights, change, message):
    tensors = {name: t for name, t in (PROJECTED_TENSORS | change).items() if t is not None}
    with pytest.raises((GraphError, WeightsError), match=f"my_lstm.*{message}"):
        plan_of(lstm(attrs, weights), tensors)


@pytest.mark.parametrize("inputs", ["x s2 s2", "x s2", "x s3 s3"])
def test_states_of_a_projection_have_sizes_of_their_own(inputs):
    names = {"s3 s3": "s3 t3", "s2 s2": "s2 t2"}
    renamed = "x " + names.get(inputs[2:], inputs[2:])
    with pytest.raises(ShapeError, match=r"initial state must be \(batch, [23]\)"):
        plan_of(lstm(PROJECTED, "WUbP", renamed), PROJECTED_TENSORS)
    plan = plan_of(lstm(PROJECTED, "WUbP", "x s3 s2"), PROJECTED_TENSORS)
    y, h, c = plan.run([ones(4, 5, 3), ones(4, 3), ones(4, 2)])
    assert (y.shape, h.shape, c.shape) == ((4, 5, 3), (4, 3), (4, 2))


def test_a_projection_of_0_and_none_are_the_same():
    """Files from before there were projections have no such attribute."""
    x = ones(2, 4, 3) / 7
    plans = [plan_of(lstm(a, "WUb"), CELL_TENSORS) for a in (CELL, CELL | {"projection": 0})]
    for old, new in zip(*(plan.run([x]) for plan in plans), strict=True):
        np.testing.assert_array_equal(old, new)
    shapes = plan_of(lstm(PROJECTED, "WUbP"), shapes_only=True)
    assert [shapes.value_shape(name)[-1] for name in "yhc"] == [3, 3, 2]


# ---- Lengths and ids -----------------------------------------------------------------------------


def test_lengths_of_an_absent_input_are_refused():
    absent = node("lstm", "x", ["y"], CELL, CELL_WEIGHTS, lengths=["n", "n"])
    absent["inputs"] += [None, None]
    plan = plan_of(graph([data("x", None, 3), lengths("x")], [absent], "y"), CELL_TENSORS)
    with pytest.raises(ShapeError, match=r"my_lstm.*lengths 'n' are not those of its input"):
        plan.run([ones(1, 4, 3), np.array([3])])


def test_ids_are_checked_in_the_shape_in_which_a_layer_reads_them():
    """Rows of 12 ids become 4 frames of 3: a length of 4 covers all of them, not the first 4."""
    inputs = [data("ids", 12, dtype="int64"), data("like", 4, 3), data("x", 4), lengths("x")]
    nodes = [
        node("fold", "ids", ["flat_ids"]),
        node("fold", "like", ["flat_like"]),
        node("unfold", "flat_ids flat_like", ["rows"]),
        node("unfold", "rows x", ["frames"]),
        node("embedding", "frames", ["y"], {"rows": 2, "units": 8}, {"W": "W"}, lengths="n"),
    ]
    plan = plan_of(graph(inputs, nodes, "y"), {"W": np.arange(16, dtype=np.float32).reshape(2, 8)})
    ids = np.arange(12)[None] % 2
    arguments = [ids, ones(1, 4, 3), ones(1, 4), np.array([4])]
    assert plan.run(arguments)[0][..., 0].ravel().tolist() == (8 * ids).ravel().tolist()
    ids[0, 4] = 1 << 30
    with pytest.raises(IdRangeError, match="id 1073741824 in row 0"):
        plan.run(arguments)
    arguments[3] = np.array([1])  # frame 1 lies past the end
    assert plan.run(arguments)[0].shape == (1, 4, 3, 8)


def test_a_check_of_ids_ends_with_the_ids():
    """4 frames of 3000 ids, read as 12000 frames of one: 12000 frames of 3000 lie far outside."""
    inputs = [data("ids", 4, 3000, dtype="int64"), data("x", 12000), lengths("x")]
    attrs = {"rows": 2, "units": 1}
    nodes = [
        node("flatten", "ids", ["flat"]),
        node("embedding", "flat", ["y"], attrs, {"W": "W"}, lengths="n"),
    ]
    plan = plan_of(graph(inputs, nodes, "y"), {"W": np.array([[3], [5]], np.float32)})
    ids = np.arange(12000).reshape(1, 4, 3000) % 2
    y = plan.run([ids, ones(1, 12000), np.array([12000])])[0]
    np.testing.assert_array_equal(y.ravel(), 3 + 2 * ids.ravel())


# ---- Sizes ---------------------------------------------------------------------------------------


def test_an_output_beyond_memory_is_refused():
    """An input of 2^57 frames without features is an array of no bytes; 1024 units of it are."""
    plan = plan_of(
        graph([data("x", None, 0)], [node("dense", "x", ["y"], *dense(1024))], "x"),
        {"W": ones(0, 1024), "b": ones(1024)},
    )
    with pytest.raises(ShapeError, match=r"my_dense.*too large"):
        plan.run([np.empty((1, 2**57, 0), np.float32)])


# ---- Work out of proportion ----------------------------------------------------------------------


def sizes_of_a_huge_batch_of_nothing():
    plan = plan_of(graph([data("x", 0)], [node("add", "x x", ["y"])], "y"))
    assert plan.run([np.empty((2**40, 0), np.float32)])[0].shape == (2**40, 0)
    with pytest.raises(ShapeError, match="too large"):
        plan.run([np.empty((2**50, 0), np.float32)])


def sum_of_many_values_alive_at_once():
    """Each has a place of its own: the search for it must not compare all with all."""
    count = MAX_NODES - 1
    nodes = [node("add", " ".join(["x"] * (i % 3 + 1)), [f"v{i}"]) for i in range(count)]
    nodes.append(node("add", " ".join(f"v{i}" for i in range(count)), ["y"]))
    x = np.arange(3, dtype=np.float32)[None]
    y = plan_of(graph([data("x", 3)], nodes, "y")).run([x])[0]
    np.testing.assert_array_equal(y, sum(i % 3 + 1 for i in range(count)) * x)


def sum_of_a_value_named_a_million_times():
    """The last of a chain as long as a graph may be: finding it must not pass by all others."""
    count, uses = MAX_NODES - 1, 900_000
    nodes = [node("add", f"v{i}", [f"v{i + 1}"]) for i in range(count)]
    nodes.append(node("add", f"v{count} " * uses, ["y"]))
    plan = plan_of(graph([data("v0", 3)], nodes, "y"))
    np.testing.assert_array_equal(plan.run([ones(2, 3)])[0], np.full((2, 3), uses))


@pytest.mark.parametrize(
    "case",
    [
        sizes_of_a_huge_batch_of_nothing,
        sum_of_many_values_alive_at_once,
        sum_of_a_value_named_a_million_times,
    ],
    ids=lambda case: case.__name__,
)
def test_a_small_graph_does_not_take_for_ever(case):
    """A process of its own can be ended; each takes well below a second of it."""
    process = multiprocessing.get_context("spawn").Process(target=case)
    process.start()
    process.join(HANGS)
    process.kill()  # where it still runs
    process.join()
    assert process.exitcode == 0


# ---- Outputs of one storage ----------------------------------------------------------------------


@pytest.mark.parametrize("outputs", [(("y", "n"), "y"), ("y", ("y", "n"))], ids=["first", "last"])
def test_two_outputs_of_one_value_end_each_by_its_own_lengths(outputs):
    document = graph([data("x", None, 3), lengths("x")], [node("add", "x x", ["y"])], *outputs)
    x, ends = np.arange(24, dtype=np.float32).reshape(2, 4, 3) + 1, np.array([2, 0])
    results = plan_of(document).run([x, ends])
    for y, expected in zip(results, ref.run(document, {}, {"x": x, "n": ends}), strict=True):
        close(y, expected, FLOAT32[0])


# ---- Twisted graphs ------------------------------------------------------------------------------


def test_no_twisted_graph_crashes():
    """In a process of its own, so that a crash is one failure and names its seed."""
    count = 6000
    script = Path(__file__).with_name("twisted_graphs.py")
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", script, "0", str(count)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    *seeds, last = done.stdout.split("\n")[:-1]
    assert done.returncode == 0, f"seed {last}: exit status {done.returncode}\n{done.stderr}"
    found = json.loads(last)
    assert len(seeds) == count
    # enough got as far as a call, and enough calls as far as the kernels
    assert found["ran"] > count / 3, found
    assert found["call: ShapeError"] > count / 10, found
    assert found["plan: GraphError"] > count / 10, found
