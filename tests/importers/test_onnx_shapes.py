"""ONNX operators that move elements, against onnxruntime: over opsets, ranks and sizes that vary.

Many nodes side by side make one model of many outputs. `test_onnx_axes.py` is about where the batch
goes; refusals stand at the end.
"""

from __future__ import annotations

import numpy as np
import pytest
from onnx_models import (
    feeds_of,
    model,
    node,
    refused,
    same_as_onnxruntime,
    same_at_sizes,
)

import seqcore as sc
from seqcore.importers.onnx import from_onnx

SIZES = ({"B": 3, "T": 7}, {"B": 1, "T": 9}, {"B": 5, "T": 6})
X = {"x": ("B", "T", 6)}
BEYOND = np.iinfo(np.int64).max


def many(rows, inputs=X, sizes=SIZES, constants=(), opset=17, **options):
    """Compare a node for every row (op, names of inputs, attributes), each an output."""
    nodes = [node(op, taken, f"y{k}", **attrs) for k, (op, taken, attrs) in enumerate(rows)]
    names = " ".join(f"y{k}" for k in range(len(rows)))
    built = model(nodes, inputs, names, dict(constants), opset=opset)
    return same_at_sizes(built, *sizes, **options)


def ints(*numbers):
    return np.array(numbers, np.int64)


# ---- Slice, Split --------------------------------------------------------------------------------

CUTS = [  # starts, ends, axes, steps
    ([0], [4], [2], [1]),
    ([1], [-1], [2], [2]),
    ([-1], [-7], [2], [-1]),
    ([4], [1], [-1], [-2]),
    ([5], [-BEYOND], [2], [-3]),
    ([-4], [BEYOND], [-1], [1]),
    ([2], [2**31 - 1], [2], [1]),
    ([1], [BEYOND], [1], [1]),
    ([0], [-2], [1], [1]),
    ([1], [-1], [1], [2]),
    ([-1], [BEYOND], [1], [1]),
    ([-3], [BEYOND], [1], [2]),
    ([-4], [-1], [1], [1]),
    ([0], [1], [1], [1]),
    ([0], [5], [1], [2]),
    ([1], [100], [1], [1]),
    ([-1], [-BEYOND], [1], [-1]),
    ([-2], [-BEYOND - 1], [1], [-2]),
    ([3], [0], [1], [-1]),
    ([BEYOND], [2], [1], [-1]),
    ([-1], [-4], [1], [-1]),
    ([0, 1], [BEYOND, 3], [1, 2], [1, 1]),
    ([1, -1], [-1, -BEYOND], [2, 1], [1, -1]),
    ([0], [BEYOND], [0], [1]),
    ([0, 0], [2**31 - 1, -1], [0, 1], [1, 1]),
    ([-100], [100], [2], [1]),
]


def test_slices():
    constants, rows = {}, []
    for k, cut in enumerate(CUTS):
        names = [f"{what}{k}" for what in ("starts", "ends", "axes", "steps")]
        constants.update((name, ints(*values)) for name, values in zip(names, cut, strict=True))
        rows.append(("Slice", " ".join(["x", *names]), {}))
    for opset in (10, 13, 22):
        many(rows, constants=constants.items(), opset=opset)


def test_slices_by_attributes_and_defaults():
    rows = [
        ("Slice", "x", {"starts": s, "ends": [min(e, 2**31 - 1) for e in ends], "axes": a})
        for s, ends, a, steps in CUTS
        if set(steps) == {1}
    ]
    many([*rows, ("Slice", "x", {"starts": [0, 1], "ends": [2**31 - 1, 4]})], opset=9)
    constants = {
        "s": ints(0, 1, 2),
        "e": np.array([2**31 - 1, -1, 5], np.int32),
        "by": ints(1, 2, 1),
    }
    many(
        [("Slice", "x s32 e", {}), ("Slice", "x s e64 - by", {})],
        constants={
            **constants,
            "s32": constants["s"].astype(np.int32),
            "e64": constants["e"].astype(np.int64),
        },
    )


def test_bounds_that_are_sizes():
    """x[:, :T], x[:, T-2:], x[:, :T-1], of T as the graph reads it."""
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape one", "T"),
        node("Unsqueeze", "T zero", "Ts"),
        node("Add", "Ts two", "less"),
        node("Slice", "x zero Ts axis", "y0"),
        node("Slice", "x less Ts axis", "y1"),
        node("Slice", "x zero less axis", "y2"),
        node("Slice", "x zero Ts axis", "y3"),
    ]
    constants = {"one": np.int64(1), "zero": ints(0), "two": ints(-2), "axis": ints(1)}
    same_at_sizes(model(nodes, X, "y0 y1 y2 y3", constants), *SIZES)


def test_a_shorter_axis_than_a_slice_takes():
    """x[:, :5] of three frames is three; x[:, -5:] is refused at the call, as it is not five."""
    nodes = [node("Slice", "x start stop axis", "y"), node("Shape", "y", "s")]
    first = {"start": ints(0), "stop": ints(5), "axis": ints(1)}
    short = ({"B": 2, "T": 3}, {"B": 2, "T": 8})
    same_at_sizes(model([*nodes, node("Add", "y y", "z")], X, "z", first), *short)
    taken = model(nodes[:1], X, "y", {**first, "start": ints(-5), "stop": ints(BEYOND)})
    same_at_sizes(taken, {"B": 2, "T": 5})
    with pytest.raises(sc.ShapeError, match=r"'x'.*axis 1"):
        from_onnx(taken)(np.zeros((2, 4, 6), np.float32))


def test_splits():
    taken = {"a": ints(1, 2, 3), "x1": ints(6)}
    halves = [("Split", {"axis": 2}), ("Split", {"axis": -1})]
    for opset in (9, 11, 13):
        nodes = [node(op, "x", f"y{k} z{k}", **attrs) for k, (op, attrs) in enumerate(halves)]
        if opset < 13:
            nodes.append(node("Split", "x", "a0 a1 a2", axis=2, split=[1, 2, 3]))
        else:
            nodes.append(node("Split", "x a", "a0 a1 a2", axis=2))
        built = model(nodes, X, "y0 z0 y1 z1 a0 a1 a2", taken, opset=opset)
        same_at_sizes(built, *SIZES)
    nodes = [
        node("Concat", "x one", "z", axis=2),
        node("Split", "z", "b0 b1 b2 b3", axis=2, num_outputs=4),
        node("Split", "x", "c0 c1", axis=-1, num_outputs=2),
        node("Split", "x x1", "d0", axis=2),
    ]
    inputs = {**X, "one": ("B", "T", 1)}
    same_at_sizes(model(nodes, inputs, "b0 b1 b2 b3 c0 c1 d0", taken, opset=18), *SIZES)


def test_a_split_of_time_says_how_long_it_is():
    built = model([node("Split", "x s", "y z", axis=1)], X, "y z", {"s": ints(3, 4)})
    same_at_sizes(built, {"B": 2, "T": 7})
    with pytest.raises(sc.ShapeError, match=r"'x'.*axis 1"):
        from_onnx(built)(np.zeros((2, 8, 6), np.float32))


# ---- Views ---------------------------------------------------------------------------------------


def test_views():
    constants = {
        "flat": ints(0, -1),
        "heads": ints(0, 0, 2, 3),
        "rows": ints(-1, 6),
        "apart": ints(0, -1, 2, 3),
        "one": ints(0, 1, -1, 6),
        "frames": ints(0, 0, -1),
        "four": ints(0, 0, 3, 2),
        "u0": ints(0),
        "u13": ints(1, -2),
        "u31": ints(-1, 0, 3),
    }
    rows = [("Reshape", f"x {name}", {}) for name in ("heads", "apart", "one", "frames", "four")]
    rows += [("Unsqueeze", f"x {name}", {}) for name in ("u0", "u13", "u31")]
    rows += [("Transpose", "x", {"perm": [0, 2, 1]}), ("Identity", "x", {}), ("Flatten", "x", {})]
    rows += [("Flatten", "x", {"axis": axis}) for axis in (1, -2)]
    for opset in (13, 19, 23):
        many(rows, constants=constants.items(), opset=opset)


def test_views_by_attributes():
    nodes = [
        node("Unsqueeze", "x", "a", axes=[1, 3]),
        node("Squeeze", "a", "b", axes=[3]),
        node("Squeeze", "b", "c", axes=[1]),
        node("Reshape", "x s", "d"),
        node("Flatten", "d", "e"),
    ]
    for opset in (9, 11):
        built = model(nodes, X, "a b c d e", {"s": ints(0, 0, 2, 3)}, opset=opset)
        same_at_sizes(built, *SIZES)


def test_squeezes():
    nodes = [
        node("Squeeze", "x axis", "a"),
        node("Squeeze", "x negative", "b"),
        node("Squeeze", "x both", "e"),
        node("Squeeze", "w", "c"),
        node("Add", "e c", "d"),
    ]
    constants = {
        "axis": ints(1),
        "negative": ints(-1),
        "both": ints(1, 3),
        "w": np.arange(6, dtype=np.float32).reshape(1, 6, 1, 1),
    }
    built = model(nodes, {"x": ("B", 1, 6, 1)}, "a b d e", constants)
    same_at_sizes(built, {"B": 3}, {"B": 1})
    fixed = model([node("Squeeze", "x", "y")], {"x": (3, 1, 6)}, "y")
    same_at_sizes(fixed, {})


def test_no_frames_have_elements_in_another_order():
    """A view that neither joins nor divides axes: every element goes to another place."""
    rows = [("Reshape", f"x {name}", {}) for name in ("a", "b", "c")]
    constants = {"a": ints(0, 4, 3, 2), "b": ints(0, 6, 4), "c": ints(0, 8, -1)}
    many(rows, {"x": ("B", 2, 3, 4)}, constants=constants.items())


def test_repeats():
    constants = {
        "to4": ints(1, 1, 1, 1),
        "wide": ints(5, 1, 1, 1),
        "t": ints(1, 1, 2),
        "t3": ints(1, 3, 2),
        "last": ints(1, 1, 6),
        "k": ints(6),
    }
    rows = [
        ("Tile", "x t", {}),
        ("Tile", "x t3", {}),
        ("Expand", "x to4", {}),
        ("Expand", "x last", {}),
        ("Expand", "z last", {}),
        ("Expand", "z k", {}),
    ]
    many(rows, {**X, "z": ("B", "T", 1)}, constants=constants.items())


# ---- Joining, picking ----------------------------------------------------------------------------


def test_concatenations():
    constants = {"c": np.arange(4, dtype=np.float32).reshape(1, 1, 4), "n": np.int64(2)}
    rows = [
        ("Concat", "x x", {"axis": 2}),
        ("Concat", "x z x", {"axis": -1}),
        ("Concat", "x x", {"axis": 1}),
        ("Concat", "x", {"axis": 1}),
    ]
    many(rows, {**X, "z": ("B", "T", 2)})
    nodes = [
        node("Shape", "x", "s"),
        node("Slice", "s zero two", "bt"),
        node("Concat", "bt four", "to", axis=0),
        node("Expand", "c to", "wide"),
        node("Concat", "x wide x", "y", axis=2),
    ]
    constants = {"c": constants["c"], "zero": ints(0), "two": ints(2), "four": ints(4)}
    same_at_sizes(model(nodes, X, "y", constants), *SIZES)


def test_stacks():
    """Unsqueeze and Concat, and what torch.stack was exported as."""
    nodes = [
        node("Unsqueeze", "x axis", "a"),
        node("Unsqueeze", "z axis", "b"),
        node("Concat", "a b", "y", axis=1),
        node("SequenceConstruct", "x z x", "s"),
        node("ConcatFromSequence", "s", "w", axis=-1),
        node("ConcatFromSequence", "s", "v", axis=2, new_axis=1),
        node("SequenceAt", "s one", "u"),
    ]
    inputs = {**X, "z": ("B", "T", 6)}
    same_at_sizes(model(nodes, inputs, "y w v u", {"axis": ints(1), "one": np.int64(-2)}), *SIZES)


INDICES = {
    "scalar": np.int64(2),
    "negative": np.int64(-1),
    "some": ints(0, 3, 3, -2),
    "all": ints(*range(6)),
    "square": ints(0, 1, 2, -1).reshape(2, 2),
    "small": np.array([5, 0], np.int32),
    "one": ints(4),
    "deep": ints(1, 3, 5, 0).reshape(2, 1, 2),
}


def test_gathers_at_constant_places():
    rows = [("Gather", f"x {name}", {"axis": axis}) for name in INDICES for axis in (1, 2, -1)]
    for opset in (9, 13):
        names = rows if opset > 10 else [row for row in rows if not (INDICES[row[1][2:]] < 0).any()]
        many(names, constants=INDICES.items(), opset=opset)


def test_a_place_that_a_call_must_have():
    built = model([node("Gather", "x k", "y", axis=1)], X, "y", {"k": ints(2, 4)})
    same_at_sizes(built, {"B": 2, "T": 5})
    with pytest.raises(sc.ShapeError, match=r"'x'.*axis 1"):
        from_onnx(built)(np.zeros((2, 4, 6), np.float32))


def test_gathers_from_tables():
    """Ids of an input, of any rank, into tables of any, along any of their axes."""
    rng = np.random.default_rng(0)
    tables = {
        "w": rng.standard_normal((9, 5)),
        "v": rng.standard_normal(9),
        "m": rng.standard_normal((4, 9, 2)),
        "d": rng.standard_normal((9, 2, 3)),
        "e": rng.standard_normal((3, 9)),
    }
    tables = {name: array.astype(np.float32) for name, array in tables.items()}
    tables |= {"n": rng.integers(0, 9, 9), "b": rng.integers(0, 2, (9, 2)).astype(bool)}
    axes = {"m": 1, "e": -1}
    rows = [
        ("Gather", f"{name} {ids}", {"axis": axes.get(name, 0)})
        for name in tables
        for ids in ("ids", "pairs", "one")
    ]
    inputs = {
        "ids": (("B", "T"), "int64"),
        "pairs": (("B", 2, 3), "int64"),
        "one": (("B",), "int64"),
    }
    many(rows, inputs, constants=tables.items(), below=9)
    small = {"ids": (("B", "T"), "int32")}
    many([("Gather", "w ids", {})], small, constants=tables.items(), below=9)


def test_ids_that_flow():
    """Ids of ids, of a frame, of a Cast, of sums: they stay whole."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((20, 3)).astype(np.float32),
        "k": np.int64(-1),
        "map": rng.permutation(9),
        "two": np.int64(2),
    }
    nodes = [
        node("Gather", "ids k", "last", axis=1),
        node("Gather", "w last", "a"),
        node("Gather", "map ids", "mapped"),
        node("Gather", "w mapped", "b"),
        node("Add", "mapped mapped", "twice"),
        node("Gather", "w twice", "c"),
        node("Concat", "ids mapped", "both", axis=1),
        node("Gather", "w both", "d"),
        node("Unsqueeze", "last axis", "e0"),
        node("Gather", "w e0", "e"),
    ]
    built = model(
        nodes,
        {"ids": (("B", "T"), "int64")},
        "a b c d e mapped twice both last e0",
        {**constants, "axis": ints(1)},
    )
    same_at_sizes(built, *SIZES, below=9)


def test_gathers_at_places_that_are_computed():
    """Of data without a batch by ids of the batch, and of elements beside each other."""
    nodes = [
        node("GatherElements", "x ids", "a", axis=1),
        node("GatherElements", "x few", "b", axis=2),
        node("GatherElements", "x one", "c", axis=1),
    ]
    inputs = {
        **X,
        "ids": (("B", "T", 6), "int64"),
        "few": (("B", "T", 2), "int64"),
        "one": (("B", 1, 6), "int64"),
    }
    built = model(nodes, inputs, "a b c")
    feeds = [feeds_of(built, sizes, k) for k, sizes in enumerate(SIZES)]
    for feed in feeds:
        feed["ids"] -= 3
    same_as_onnxruntime(built, *feeds)
    whole = model(
        [node("Gather", "x i", "y", axis=1)], {"x": (3, 4, 5), "i": ((2, 3), "int64")}, "y"
    )
    same_at_sizes(whole, {}, {}, whole=True)


def test_one_hot():
    constants = {"n": np.int64(4), "v": np.array([-1, 2], np.float32), "w": ints(3, 7)}
    rows = [("OneHot", f"ids n {values}", {"axis": axis}) for values in "vw" for axis in (-1, 1, 2)]
    built = model(
        [node(op, taken, f"y{k}", **attrs) for k, (op, taken, attrs) in enumerate(rows)],
        {"ids": (("B", "T"), "int64")},
        " ".join(f"y{k}" for k in range(len(rows))),
        constants,
    )
    feeds = [feeds_of(built, sizes, below=7) for sizes in SIZES]
    for feed in feeds:
        feed["ids"] -= 5  # -5 is below what counts from the end
    same_as_onnxruntime(built, *feeds)


def test_triangles():
    constants = {"up": np.int64(1), "down": np.int64(-2)}
    rows = [
        ("Trilu", f"x {k}".rstrip(), {"upper": upper})
        for k in ("", "up", "down")
        for upper in (0, 1)
    ]
    many(rows, {"x": ("B", 5, 4)}, constants=constants.items())
    many(rows, {"x": ("B", "T", "T")}, constants=constants.items())
    many(rows, {"x": (("B", 5, 4), "int64")}, constants=constants.items())


def test_sequences_turned_round():
    """Whole ones, and as far as each row goes; the batch before time and behind it."""
    nodes = [
        node("ReverseSequence", "x n", "a", batch_axis=0, time_axis=1),
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        node("ReverseSequence", "t n", "b", batch_axis=1, time_axis=0),
    ]
    built = model(nodes, {**X, "n": (("B",), "int64")}, "a b")
    feeds = [feeds_of(built, sizes) for sizes in SIZES]
    for feed in feeds:
        feed["n"] = np.arange(len(feed["n"])) + 1
    same_as_onnxruntime(built, *feeds)
    whole = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "B"),
        node("Gather", "s one", "T"),
        node("Unsqueeze", "B axis", "Bs"),
        node("Expand", "T Bs", "n"),
        node("ReverseSequence", "x n", "y", batch_axis=0, time_axis=1),
    ]
    constants = {"zero": np.int64(0), "one": np.int64(1), "axis": ints(0)}
    same_at_sizes(model(whole, X, "y", constants), *SIZES)


def test_every_second_of_one_element():
    steps = {"start": np.int64([0]), "end": np.int64([9]), "axis": np.int64([1])}
    nodes = [node("Slice", "x start end axis two", "y")]
    built = model(nodes, {"x": ("B", 1, 3)}, "y", steps | {"two": np.int64([2])})
    same_at_sizes(built, {"B": 2})


def test_a_size_that_may_be_another_is_not_read() -> None:
    """T + 1 beside S: either may be 1, and no rule of a call says that they are equal."""
    nodes = [
        node("Concat", "x one", "longer", axis=1),
        node("Add", "longer z", "sum"),
        node("Shape", "sum", "sizes"),
        node("ConstantOfShape", "sizes", "zeros"),
        node("Add", "zeros sum", "y"),
    ]
    inputs = {"x": ("B", "T", 3), "one": ("B", 1, 3), "z": ("B", "S", 3)}
    refused(model(nodes, inputs, "y"), "Shape, opset 17", "of a size that may be 1 + T or S")
    sizes = [{"B": 2, "T": 4, "S": 5}, {"B": 2, "T": 0, "S": 5}, {"B": 3, "T": 4, "S": 1}]
    same_at_sizes(model(nodes[:2], inputs, "sum"), *sizes)
    plain = [node("Add", "x z", "sum"), *nodes[2:]]
    same_at_sizes(model(plain, inputs, "y"), {"B": 2, "T": 4, "S": 4})
