"""Hundreds of random graphs: what they compute, and that their bits depend on nothing else.

The graphs come from random_graphs/. Values are compared with the float64 reference; bits with the
same rows on one thread or two, behind calls of other shapes on the same plan, alone, and cut to
their lengths. A mean of frames none of which counts is NaN, and only there is NaN expected.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import pytest
from random_graphs import ACTIVATIONS, Value, random_graph
from random_graphs.elements import EXPONENTS, FUNCTIONS, STEPS
from random_graphs.graph import CONSTANTS, PADS
from random_graphs.shapes import REDUCTIONS
from random_graphs.steps import RECURRENT
from random_graphs.truth import CHOICES, COMPARISONS, FAR
from tolerances import FLOAT32, close

import seqcore as sc
from seqcore import reference as ref

SEEDS = range(1500)
BATCHES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 23, 40)


@cache
def calls(seed):
    """Return (graph, arguments of its calls): a batch, another, often without a row, the first.

    The shapes change twice, so that a plan also comes back to those it had before.
    """
    graph, rng = random_graph(seed), np.random.default_rng(seed)
    first, second = rng.choice(BATCHES), rng.choice([0, 0, 1, 5, 12, 31])
    sizes = [(first, graph.times[0]), (second, graph.times[-1]), (first, graph.times[0])]
    return graph, [graph.arguments(rng, int(batch), time) for batch, time in sizes]


def run(plan, arguments):
    return plan.run(list(arguments.values()))


def numbers(y):
    """Return `y` with 0 for NaN, which has no bits that anybody promises."""
    return np.where(np.isnan(y), y.dtype.type(0), y)


def same_bits(actual, expected, where):
    for index, (a, e) in enumerate(zip(actual, expected, strict=True)):
        assert a.shape == e.shape, f"{where}, output {index}: shape {a.shape}, not {e.shape}"
        assert np.array_equal(np.isnan(a), np.isnan(e)), f"{where}, output {index}: NaN"
        same = numbers(a).tobytes() == numbers(e).tobytes()
        assert same, f"{where}, output {index}: bits differ"


def batch_of(graph, call):
    """The rows of a call."""
    axes = {spec["name"]: spec.get("batch_axis", 0) for spec in graph.inputs}
    return call["x0"].shape[axes["x0"]]


def rows_of(output: Value, y, m, batch):
    """The part of an output that belongs to row `m` of the batch."""
    count = len(y) // batch if output.kind == "frames" else 1  # folded: a row for every frame
    return y[:, m : m + 1] if output.kind in ("stack", "turned") else y[m * count : (m + 1) * count]


def test_the_seeds_cover_every_op_and_option():
    nodes, inputs, outputs, absent, sizes = [], [], [], set(), set()
    for graph, arguments in map(calls, SEEDS):
        nodes += graph.nodes
        inputs += graph.inputs
        outputs += graph.outputs
        for call in arguments:
            absent |= {(spec["kind"], call[spec["name"]] is None) for spec in graph.inputs}
            sizes |= {size for array in call.values() if array is not None for size in array.shape}
    assert {node["op"] for node in nodes} == set(ref.OPS)
    for option, expected in {
        "activation": ACTIVATIONS,
        "padding": ["valid", "same", "causal", *PADS],
        "ceil_mode": [False, True],
        "count_include_pad": [False, True],
        "mode": ["zero", "constant", "reflect", "replicate", "circular"],
        "n": [1, 2, 3, 7],
        "groups": [-1, 0, 1, 2, 3],  # of normalize: none, or one of everything
        "reverse": [False, True],
        "realign": [False, True],
        "return_sequences": [False, True],
        "reset_after": [False, True],
        "projection": [0, 1, 3, 16, 20, 33, 70],
        "clip": [0.3, 1.5],
        "cell_clip": [0.2, 1.0],
        "projection_clip": [0.1, 0.7],
        "input_forget": [False, True],
        "update_keeps": [False, True],
        "layer_norm": ["products", "gates"],
        "norm_state": ["none", "kept", "output"],
        "score": ["dot", "additive"],
        "masking": ["subtract", "replace", "zero"],
        "heads": [0, 1, 2, 3],
        "causal": [False, True],
        "shared": [False, True],
        "zero_output_for_mask": [False, True],
        "all": [False, True],
        "value": [*CONSTANTS, 0.25, -1.5],
        "keepdims": [False, True],
        "keep": [1, 2],
        "repeats": [1, 2, 3],
        "largest": [False, True],
        "dtype": ["float32", "int64"],
        "function": {
            *("multiply", "maximum", "minimum"), *REDUCTIONS, *FUNCTIONS, *STEPS,
            *COMPARISONS, *("and", "or", "xor", "not"),
        },
        "number": [None, *CONSTANTS, -0.25, *FAR],
        "exponent": EXPONENTS,
        "correction": [0, 1],
        "a": CHOICES,
        "b": CHOICES,
    }.items():  # fmt: skip
        found = {str(node["attrs"][option]) for node in nodes if option in node["attrs"]}
        assert found == set(map(str, expected)), option
    assert {spec["kind"] for spec in inputs} == {"data", "lengths", "state", "mask"}
    assert {
        (kind, gone) for kind in ("lengths", "state", "mask") for gone in (False, True)
    } <= absent
    assert {value.kind for value in outputs} == {
        "sequence", "vector", "frames", "flat", "stack", "box", "line", "mask", "ids", "places",
        "turned",
    }  # fmt: skip
    assert {spec.get("batch_axis", 0) for spec in inputs if spec["kind"] == "data"} == {0, 1}
    masked = [n for n in nodes if n["op"] in RECURRENT and "zero_output_for_mask" in n["attrs"]]
    flags = ("reverse", "realign", "return_sequences", "zero_output_for_mask")
    assert len({(n["op"], *(n["attrs"][f] for f in flags)) for n in masked}) == 3 * 2 ** len(flags)
    assert {(n["op"], "lengths" in n) for n in masked} == set(product(RECURRENT, (False, True)))
    assert {0, 1, 65} <= sizes
    assert any(0 in graph.times for graph, _ in map(calls, SEEDS))
    assert any(len(node["outputs"]) > 1 and node["outputs"][0] is None for node in nodes)


@cache
def expected(seed):
    graph, arguments = calls(seed)
    with np.errstate(divide="ignore", invalid="ignore"):  # NaN and zeros past the ends
        return [ref.run(graph.document, graph.tensors, call) for call in arguments]


def test_values_are_those_of_the_reference(isa):
    for seed in SEEDS:
        graph, arguments = calls(seed)
        plan = graph.plan(isa=isa)
        for number, call in enumerate(arguments):
            results = zip(graph.outputs, run(plan, call), expected(seed)[number], strict=True)
            for output, y, wanted in results:
                where = f"seed {seed}, call {number}, {output.name}"
                assert np.array_equal(np.isnan(y), np.isnan(wanted)), where
                close(numbers(y), numbers(wanted), FLOAT32[output.depth], where)


def test_bits_depend_neither_on_threads_nor_on_the_calls_before(isa):
    parallel = 0
    for seed in SEEDS:
        graph, arguments = calls(seed)
        plan = graph.plan(isa=isa, threads=2)
        for number, call in enumerate(arguments):
            fresh = graph.plan(isa=isa, threads=1)
            same_bits(run(plan, call), run(fresh, call), f"seed {seed}, call {number}")
            parallel += plan.last_threads == 2
    assert parallel > len(SEEDS) / 10


@pytest.mark.parametrize(("threads", "team"), [(2, 2), (2, 1), (3, 3), (4, 2), (5, 5)])
def test_bits_do_not_depend_on_how_teams_divide_a_call(isa, threads, team):
    for seed in SEEDS[:: 2 * threads]:  # more threads than cores wait for each other
        graph, arguments = calls(seed)
        alone = graph.plan(isa=isa, threads=1)
        teams = graph.plan(isa=isa, threads=threads, team=team)
        for number, call in enumerate(arguments):
            results = run(teams, call)
            same_bits(results, run(alone, call), f"seed {seed}, call {number}")
            computed = any(y.size for y in results)  # nothing needs nobody
            if sc.cpu_info()["openmp"] and computed:
                assert teams.last_threads == threads


def test_a_row_does_not_see_its_batch(isa):
    for seed in SEEDS:
        graph, arguments = calls(seed)
        plan, alone = graph.plan(isa=isa, threads=2), graph.plan(isa=isa, threads=1)
        for number, call in enumerate(arguments[:2]):
            batch = batch_of(graph, call)
            together = run(plan, call)
            for m in {0, batch // 2, batch - 1} if batch else ():
                rows = [
                    rows_of(output, y, m, batch)
                    for output, y in zip(graph.outputs, together, strict=True)
                ]
                where = f"seed {seed}, call {number}, row {m} of {batch}"
                same_bits(run(alone, graph.row(call, m)), rows, where)


def cut(graph, arguments, m, length):
    """Row `m` alone, of only so many frames."""
    specs = {spec["name"]: spec for spec in graph.inputs}
    row = graph.row(arguments, m)
    for name, array in row.items():
        if specs[name]["kind"] == "lengths":
            row[name] = None
        elif specs[name]["kind"] in ("data", "mask") and array is not None:
            turned = specs[name].get("batch_axis", 0)
            row[name] = np.ascontiguousarray(array[:length] if turned else array[:, :length])
    return row


def test_a_row_that_ends_is_as_if_there_were_no_more_frames(isa):
    """Of the values that end where it does; nothing of them is known of how far others go."""
    checked = set()
    for seed in SEEDS:
        graph, arguments = calls(seed)
        if len(graph.times) == 1:
            continue  # some of its times are fixed
        plan, alone = graph.plan(isa=isa, threads=2), graph.plan(isa=isa, threads=1)
        for number, call in enumerate(arguments[:2]):
            lengths = call.get("x0:lengths")
            if lengths is None:
                continue
            batch, together = len(lengths), run(plan, call)
            for m in {0, batch // 2, batch - 1} if batch else ():
                results = run(alone, cut(graph, call, m, lengths[m]))
                for output, y, row in zip(graph.outputs, together, results, strict=True):
                    if output.kind in ("flat", "frames", "stack"):
                        continue
                    y = rows_of(output, y, m, batch)
                    if output.kind == "turned":
                        y, row = y.swapaxes(0, 1), row.swapaxes(0, 1)
                    where = f"seed {seed}, call {number}, row {m}, {output.name}"
                    if output.lengths is not None:
                        assert not y[:, row.shape[1] :].any(), where
                        y = y[:, : row.shape[1]]
                    same_bits([row], [y], where)
                    checked.add(output.kind)
    assert checked == {"sequence", "vector", "box", "line", "mask", "ids", "places", "turned"}
