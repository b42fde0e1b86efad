"""Graphs that lie about what their inputs are in steps: "context" and "next", given to the core.

What contradicts itself is no graph. What cannot be stepped runs all the same, and says why when
somebody wants a stream of it.
"""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import numpy as np
import pytest
from stream_models import stream_of
from test_graphs import data, graph, lengths, node, ones, plan_of

from seqcore._binding import Steps, decode_tokens, feed_back
from seqcore.errors import GraphError, IdRangeError, SeqcoreError, ShapeError, StateError
from seqcore.errors import UnsupportedLayerError as Unsupported

LOOK = {
    "score": "dot", "scale": 1, "heads": 0, "causal": False, "masking": "zero", "shared": False,
}  # fmt: skip


def summed(*inputs: str, out: str = "y") -> dict[str, Any]:
    return node("add", " ".join(inputs), [out])


def attending(**context: Any) -> dict[str, Any]:
    """A sequence x that looks at a context c."""
    inputs = [data("x", None, 3), data("c", None, 3, **{"context": True} | context)]
    nodes = [node("attention", "x c", ["y", "w"], LOOK)]
    return graph(inputs, nodes, "y", "w")


# ---- What is no graph ----------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [0, 1, 1.0, "true", None, [], {}, [True]])
def test_context_is_a_truth_value(wrong: Any) -> None:
    with pytest.raises(GraphError, match="input 'c': context must be true or false"):
        plan_of(attending(context=wrong))


@pytest.mark.parametrize("wrong", [0, 1.5, True, False, [], {}, ["y"], {"y": 1}])
def test_next_is_a_name(wrong: Any) -> None:
    with pytest.raises(GraphError, match=r"input 'x': .*next the name of an output"):
        plan_of(graph([data("x", 3, next=wrong)], [summed("x", "x")], "y"))


@pytest.mark.parametrize("wrong", ["", "x", "s", "Y", "y ", "\u0443", "y" * 200])
def test_next_names_an_output(wrong: str) -> None:
    inputs = [data("x", 3, next=wrong)]
    nodes = [summed("x", "x", out="s"), summed("s", "x")]
    with pytest.raises(GraphError, match=r"input 'x' is output '.*' in the next step.*no such"):
        plan_of(graph(inputs, nodes, "y"))


def test_next_names_one_output() -> None:
    document = graph(
        [data("x", 3, next="y")], [summed("x", "x"), summed("y", "x", out="s")], "y", "s"
    )
    document["outputs"][1]["name"] = "y"
    with pytest.raises(GraphError, match="more than one of that name"):
        plan_of(document)


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        (data("x", 3, 4, batch_axis=1), "both"),
        ({"name": "s", "kind": "state", "shape": [3]}, "both"),
        (lengths("z"), "both"),
        ({"name": "m", "kind": "mask", "of": "z"}, "both"),
        (data("x", 3, dtype="int64"), "next"),
    ],
    ids=["batch in axis 1", "state", "lengths", "mask", "ids"],
)
@pytest.mark.parametrize("value", [{"context": True}, {"next": "y"}], ids=["context", "next"])
def test_only_some_inputs_can_be_either(entry: Any, key: str, value: dict[str, Any]) -> None:
    document = graph([data("z", None, 3), entry | value], [summed("z", "z")], "y")
    if key == "next" and "context" in value:
        plan_of(document)
        return
    with pytest.raises(GraphError, match="of inputs of kind data"):
        plan_of(document)


def test_nothing_is_both() -> None:
    with pytest.raises(GraphError, match="none is both"):
        plan_of(attending(next="y"))


def test_what_is_carried_on_is_no_index() -> None:
    attrs = {"axis": 1, "keepdims": False, "function": "max"}
    document = graph([data("x", 3, next="y")], [node("argmax", "x", ["y"], attrs)], "y")
    with pytest.raises(GraphError, match=r"input 'x' is output 'y' in the next step.*int64"):
        plan_of(document)


def test_false_and_null_are_neither() -> None:
    document = graph([data("x", None, 3, context=False, next=None)], [summed("x", "x")], "y")
    np.testing.assert_array_equal(stream_of(plan_of(document), 1).step(ones(1, 3)), 2 * ones(1, 3))


# ---- What cannot be stepped ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "nodes", "says"),
    [
        ([data("x", 3, next="y")], [node("concat", "x x", ["y"], {"axis": 1})], "another shape"),
        ([data("x", 3, next="y")], [node("expand", "x", ["y"], {"axis": 1})], "another shape"),
        ([data("x", None, 3, next="y")], [summed("x", "x")], "of unknown size that is not time"),
        ([data("x", 2**32, 2**32, next="x"), data("y", 1)], [], "its size is not known, or too"),
        ([data("x", 2**21, 2**21, next="x"), data("y", 1)], [], "its size is not known, or too"),
        ([data("x", None, 3, context=True)], [summed("x", "x")], "none of its inputs has a time"),
    ],
    ids=["features", "rank", "time", "2^64", "2^42", "a context alone"],
)
def test_what_cannot_be_stepped_runs(inputs: Any, nodes: Any, says: str) -> None:
    outputs = ["x", "y"] if not nodes else ["y"]
    plan = plan_of(graph(inputs, nodes, *outputs))
    with pytest.raises(Unsupported, match=says):
        stream_of(plan, 1)
    if nodes:
        shape = [2 if n is None else n for n in inputs[0]["shape"]]
        assert plan.run([ones(1, *shape)])[0].shape[0] == 1


def test_frames_of_a_context_are_no_frames_of_a_sequence() -> None:
    """A convolution over them looks at all, and a stream cannot be told that they are steps."""
    pooled = node("global_avg_pool1d", "c", ["p"])
    inputs = [data("x", None, 3), data("c", None, 3, context=True)]
    stream = stream_of(plan_of(graph(inputs, [pooled, summed("x", "p")], "y")), 2)
    c = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    stream.set_context([None, c])
    np.testing.assert_array_equal(stream.step(ones(2, 3)), 1 + c.mean(1))


# ---- What can -----------------------------------------------------------------------------------


def test_two_inputs_may_be_one_output() -> None:
    """Each has a state of its own, which differ only until the first step."""
    inputs = [data("x", 3), data("a", 3, next="y"), data("b", 3, next="y")]
    stream = stream_of(plan_of(graph(inputs, [summed("x", "a", "b")], "y")), 1)
    assert stream.states == ("a", "b")
    stream.state = (ones(1, 3), 5 * ones(1, 3))
    document = graph(inputs, [summed("x", "a", "b"), summed("y", "x", out="z")], "y", "z")
    stream = stream_of(plan_of(document), 1)
    stream.state = (ones(1, 3), 5 * ones(1, 3))
    found = [stream.step(ones(1, 3))[0, 0] for _ in range(3)]
    assert found == [7 + 1, (7 + 7 + 1) + 1, (15 + 15 + 1) + 1]
    assert [array[0, 0] for array in stream.state] == [31, 31]


def test_what_is_carried_on_may_go_round() -> None:
    """a becomes b, b becomes a, and c stays what it is: copies are made before any is written."""
    inputs = [data("x", 3)] + [data(name, 3, next=to) for name, to in ("ab", "ba", "cc")]
    nodes = [node("add", "x a b", ["y"])]
    document = graph(inputs, nodes, "y", "a", "b", "c")
    stream = stream_of(plan_of(document), 2)
    before = [k * ones(2, 3) for k in (1, 2, 4)]
    stream.state = before
    for turn in range(4):
        np.testing.assert_array_equal(stream.step(np.zeros((2, 3), np.float32)), 3 * ones(2, 3))
        for name, array in zip("abc", stream.state, strict=True):
            k = "abc".index(name) if name == "c" or turn % 2 else 1 - "abc".index(name)
            np.testing.assert_array_equal(array, before[k])


def test_a_context_that_nobody_reads_is_wanted_all_the_same() -> None:
    inputs = [data("x", None, 3), data("c", None, 2, context=True)]
    stream = stream_of(plan_of(graph(inputs, [summed("x", "x")], "y")), 1)
    with pytest.raises(StateError, match="no context yet: 'c'"):
        stream.step(ones(1, 3))
    stream.set_context([None, ones(1, 0, 2)])
    np.testing.assert_array_equal(stream.step(ones(1, 3)), 2 * ones(1, 3))


def test_one_array_may_be_several_contexts() -> None:
    inputs = [data("x", None, 3), *(data(name, None, 3, context=True) for name in "cd")]
    nodes = [node("attention", f"x {name}", [f"{name}y"], LOOK) for name in "cd"]
    document = graph(inputs, [*nodes, summed("cy", "dy")], "y", "cy")
    stream = stream_of(plan_of(document), 2)
    shared = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
    stream.set_context([None, shared, shared])
    y, half = stream.step(ones(2, 3))
    np.testing.assert_array_equal(y, 2 * half)
    with pytest.raises(ShapeError, match="context 'd' has 1 rows, expected 2"):
        stream.set_context([None, shared, shared[:1]])
    np.testing.assert_array_equal(stream.step(ones(2, 3))[0], y)


def test_ids_of_a_context_end_where_its_rows_do() -> None:
    inputs = [data("x", None, 2), data("c", None, dtype="int64", context=True), lengths("c")]
    table = {"W": np.arange(6, dtype=np.float32).reshape(3, 2)}
    embedded = node(
        "embedding", "c", ["e"], {"rows": 3, "units": 2}, {"W": "W"}, lengths="n"
    )  # fmt: skip
    document = graph(
        inputs,
        [embedded, node("attention", "x e", ["y"], LOOK, lengths=[None, "n"])],
        "y",
        ("e", "n"),
    )
    stream = stream_of(plan_of(document, table), 2)
    c = np.array([[2, -1, 99], [0, 1, 2]])
    with pytest.raises(IdRangeError, match="id -1 in row 0, expected 0 to 2"):
        stream.set_context([None, c, None])
    stream.set_context([None, c, np.array([1, 3])])
    y, e = stream.step(ones(2, 2))
    np.testing.assert_array_equal(y[0], [4, 5])
    np.testing.assert_array_equal(e, [[[4, 5], [0, 0], [0, 0]], [[0, 1], [2, 3], [4, 5]]])
    with pytest.raises(ShapeError, match="row 1 has length 4, expected 0 to 3"):
        stream.set_context([None, c, np.array([1, 4])])


def test_a_state_is_no_state_of_another_wiring() -> None:
    inputs = [data("x", 3), data("a", 3, next="y"), data("b", 3)]
    document = graph(inputs, [summed("x", "a", "b")], "y", "x")
    other = copy.deepcopy(document)
    other["inputs"][1]["next"] = "x"
    saved = stream_of(plan_of(document), 1).save_state()
    with pytest.raises(StateError, match="another model"):
        stream_of(plan_of(other), 1).load_state(saved)


# ---- Twisted wirings -----------------------------------------------------------------------------


def twisted(draw: random.Random) -> tuple[dict[str, Any], int]:
    """A few inputs that meet in some way, of which any may be a context or carried on."""
    features = draw.choice([1, 3, 4])
    inputs = [data("t", *draw.choice([[], [1], [None]]), dtype="int64")]
    nodes = [node("embedding", "t", ["v0"], {"rows": 4, "units": features}, {"W": "W"})]
    for i in range(draw.randint(1, 4)):
        sizes = draw.choice([[features], [1, features], [1, features], [None, features]])
        inputs.append(data(f"x{i}", *sizes))
    values = ["v0", *(spec["name"] for spec in inputs[1:])]
    for i in range(1, draw.randint(2, 6)):
        a, b = draw.choice(values[-2:]), draw.choice(values)
        nodes.append(draw.choice([
            node("add", f"{a} {b}", [f"v{i}"]),
            node("concat", f"{a} {b}", [f"v{i}"], {"axis": draw.choice([1, -1])}),
            node("attention", f"{a} {b}", [f"v{i}"], LOOK),
            node("batch_matmul", f"{a} {b}", [f"v{i}"]),
            node("expand", a, [f"v{i}"], {"axis": 1}),
            node("flatten", a, [f"v{i}"]),
            node("global_max_pool1d", a, [f"v{i}"]),
        ]))  # fmt: skip
        values.append(f"v{i}")
    outputs = ["v0", *draw.sample(values[1:], min(3, len(values) - 1))]
    for spec in inputs[1:]:
        spec.update(draw.choice([
            {}, {"context": True}, {"context": True}, {"next": draw.choice([*outputs, "none"])},
        ]))  # fmt: skip
    return graph(inputs, nodes, *outputs), features


def use(document: dict[str, Any], features: int, draw: random.Random) -> set[str]:
    """Step it, decode with it and feed it back, with contexts that fit or nearly do."""
    rng, found = np.random.default_rng(draw.randrange(2**32)), set()
    plan = plan_of(document, {"W": rng.standard_normal((4, features)).astype(np.float32)})
    rows = draw.choice([1, 2, 5])
    given = [
        rng.standard_normal(
            [rows, *(draw.choice([0, 1, 3]) if n is None else n for n in spec["shape"])]
        ).astype(np.float32)
        if spec.get("context")
        else None
        for spec in document["inputs"]
    ]  # fmt: skip

    def attempt(what: str, work: Any) -> None:
        try:
            work()
            found.add(what)
        except SeqcoreError:
            pass

    steps = Steps(plan)
    found.add("steps")
    stream = stream_of(plan, rows)
    attempt("context", lambda: stream.set_context(given))
    tokens = rng.integers(0, 4, (rows, *([1] if len(steps.inputs[0].shape) == 2 else [])))
    others = [
        rng.standard_normal([rows, *port.shape[1:]]).astype(np.float32) for port in steps.inputs[1:]
    ]
    for _ in range(2):
        attempt("step", lambda: stream.step(tokens, *others))
    for width in (1, 3):
        attempt("decode", lambda width=width: decode_tokens(
            steps, given, None, np.zeros(rows, np.int64), 4, -1, 0, None, None, width, 0.0, 1,
            None, 1.0, 0, 1.0, [True] * (len(steps.outputs) - 1), True, width == 1,
        ))  # fmt: skip
    history = rng.standard_normal((rows, 2, *steps.inputs[0].shape[1:])).astype(np.float32)
    attempt("fed back", lambda: feed_back(steps, given, None, history, None, 3, True))
    return found


def test_no_twisted_wiring_crashes() -> None:
    counts: dict[str, int] = {}
    for seed in range(8000):
        draw = random.Random(seed)
        document, features = twisted(draw)
        try:
            found = use(json.loads(json.dumps(document)), features, draw)
        except SeqcoreError:
            found = {"refused"}
        for what in found:
            counts[what] = counts.get(what, 0) + 1
    assert counts["refused"] > 1000, counts
    ways = ("steps", "context", "step", "decode", "fed back")
    assert min(counts[what] for what in ways[:4]) > 400, counts
