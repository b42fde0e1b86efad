"""Tensors that ONNX graphs make of sizes and numbers, arithmetic on shapes, and If; against
onnxruntime.
"""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from onnx_models import (
    constant,
    graph,
    model,
    node,
    refused,
    run_onnxruntime,
    same_at_sizes,
)

import seqcore as sc
from seqcore.errors import ModelFileError
from seqcore.importers.onnx import from_onnx

SIZES = ({"B": 3, "T": 7}, {"B": 2, "T": 9}, {"B": 5, "T": 6})
X = {"x": ("B", "T", 6)}


def ints(*numbers):
    return np.array(numbers, np.int64)


def beside(rows, constants=None, opset=17, inputs=X, sizes=SIZES, **options):
    """Compare x + what each list of nodes makes, which calls it "c"; each one is an output."""
    nodes = []
    for k, own in enumerate(rows):
        for each in own:
            copy = type(each)()
            copy.CopyFrom(each)
            taken = [
                n if n in inputs or n in (constants or {}) or not n else f"{n}_{k}"
                for n in each.input
            ]
            copy.input[:] = taken
            copy.output[:] = [f"{name}_{k}" for name in each.output]
            copy.name = f"{each.name}_{k}"
            nodes.append(copy)
        nodes.append(node("Add", f"x c_{k}", f"y{k}"))
    names = " ".join(f"y{k}" for k in range(len(rows)))
    return same_at_sizes(model(nodes, inputs, names, constants, opset=opset), *sizes, **options)


# ---- Constants, ranges ---------------------------------------------------------------------------


def test_constants():
    rows = [
        [node("Constant", "", "c", value=constant("", np.arange(6, dtype=np.float32)))],
        [node("Constant", "", "c", value_float=1.5)],
        [node("Constant", "", "c", value_floats=[1.0, 2.0, 3.0, 4.0, 5.0, 6.5])],
        [node("Constant", "", "n", value_ints=[6]), node("ConstantOfShape", "n", "c")],
        [node("Constant", "", "n", value_int=4), node("Gather", "w n", "c")],
        [node("ConstantOfShape", "six", "c", value=constant("", np.float32([2.5])))],
        [node("ConstantOfShape", "none", "c", value=constant("", np.float32([-2.5])))],
        [node("EyeLike", "w", "e"), node("Gather", "e one", "c")],
        [node("EyeLike", "w", "e", k=2, dtype=1), node("Gather", "e one", "c")],
        [node("EyeLike", "w", "e", k=-1), node("Gather", "e one", "c")],
        [node("OneHot", "one1 six v", "c")],
        [node("Trilu", "w", "e", upper=0), node("Gather", "e one", "c")],
    ]
    constants = {
        "six": ints(6),
        "none": np.zeros(0, np.int64),
        "one": np.int64(1),
        "one1": ints(1),
        "v": np.float32([1, 3]),
        "w": np.random.default_rng(0).standard_normal((6, 6)).astype(np.float32),
    }
    for opset in (14, 22):
        beside(rows, constants, opset)


@pytest.mark.parametrize(
    ("start", "limit", "delta"),
    [
        (0, 6, 1),
        (10, 4, -1),
        (3, 14, 2),
        (5, -7, -2),
        (0.5, 6.5, 1),
        (0, 1.5, 0.25),
        (1, -0.8, -0.3),
    ],
)
def test_ranges_of_numbers(start, limit, delta):
    kind = np.int64 if isinstance(delta, int) else np.float32
    bounds = {"start": kind(start), "limit": kind(limit), "delta": kind(delta)}
    nodes = [node("Range", "start limit delta", "r")]
    if kind is np.int64:
        nodes.append(node("Gather", "w r", "c", axis=0))
    else:
        nodes.append(node("Identity", "r", "c"))
    beside([nodes], {**bounds, "w": np.arange(20, dtype=np.float32) ** 2})


def test_ranges_of_sizes():
    """0 ... T-1, 1 ... T, T-1 ... 0: places that look up a table of learned places."""
    size = [node("Shape", "x", "s"), node("Gather", "s one", "T")]
    rows = [
        [*size, node("Range", "zero T one", "r"), node("Gather", "w r", "c")],
        [
            *size,
            node("Add", "T one", "end"),
            node("Range", "one end one", "r"),
            node("Gather", "w r", "c"),
        ],
        [
            *size,
            node("Add", "T back", "last"),
            node("Range", "last back back", "r"),
            node("Gather", "w r", "c"),
        ],
    ]
    constants = {
        "zero": np.int64(0),
        "one": np.int64(1),
        "back": np.int64(-1),
        "w": np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32),
    }
    beside(rows, constants)


def test_a_range_of_the_rows_leaves_no_batch():
    """Rows have no numbers; so all rows are one here."""
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n"),
        node("Range", "zero n one", "r"),
        node("Gather", "w r", "c"),
        node("Relu", "x", "y"),
    ]
    constants = {"zero": np.int64(0), "one": np.int64(1), "w": np.arange(9, dtype=np.float32)}
    same_at_sizes(model(nodes, X, "y c", constants), *SIZES, whole=True)


def test_a_graph_that_takes_nothing():
    """It is given as many numbers as there are rows, and gives each the same."""
    nodes = [node("Range", "zero six one", "r"), node("Constant", "", "c", value_floats=[1.5, 2.5])]
    constants = {"zero": np.int64(0), "six": np.int64(6), "one": np.int64(1)}
    built = model(nodes, {}, {"r": "int64", "c": "float32"}, constants)
    ours = from_onnx(built)
    assert ours.inputs == ("rows",)
    for rows in (1, 3):
        places, numbers = ours(np.zeros(rows, np.float32))
        for row in range(rows):
            for made, theirs in zip((places, numbers), run_onnxruntime(built, {}), strict=True):
                assert made.dtype == theirs.dtype
                assert np.array_equal(made[row], theirs)


def test_whole_numbers_that_float32_has_not():
    """A constant that is given back is exact, or refused."""
    nodes = [node("Relu", "x", "y"), node("Identity", "n", "z")]
    kinds = {"y": "float32", "z": "int64"}
    built = model(nodes, {"x": (3, 6)}, kinds, {"n": ints(-(2**24), 5)})
    same_at_sizes(built, {}, whole=True)
    with pytest.raises(sc.UnsupportedLayerError, match=r"whole numbers beyond 2\^24"):
        from_onnx(model(nodes, {"x": (3, 6)}, kinds, {"n": ints(2**24 + 1)}))


def test_inputs_that_are_no_tensors():
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, ["T"]))
    built = model([node("Identity", "x", "y")], X, {"y": "float32"})
    built.graph.input[0].type.CopyFrom(kind)
    with pytest.raises(sc.UnsupportedLayerError, match=r"input 'x' .it is no tensor .sequence"):
        from_onnx(built)


# ---- Shapes --------------------------------------------------------------------------------------


def test_shapes():
    """Of every part that `start` and `end` name, told by what is made of as many zeros."""
    rows = [
        [
            node("Shape", "x", "s", **part),
            node("ConstantOfShape", "s", "z"),
            node("Shape", "z", "again"),
            node("ConstantOfShape", "again", "c", value=constant("", np.float32([2.0]))),
        ]
        for part in ({}, {"start": 1}, {"start": -1}, {"start": -2}, {"start": -100})
    ]
    beside(rows)
    for part in ({"start": 1, "end": 2}, {"start": 1, "end": -1}, {"start": 2, "end": 1}):
        nodes = [
            node("Shape", "x", "s", **part),
            node("Concat", "s six", "to", axis=0),
            node("ConstantOfShape", "to", "c"),
            node("Add", "x c", "y"),
        ]
        same_at_sizes(model(nodes, X, "y", {"six": ints(6)}), *SIZES)


def test_sizes_of_tensors():
    nodes = [
        node("Size", "x", "n"),
        node("Reshape", "n one", "to"),
        node("Reshape", "x to", "flat"),
        node("Reshape", "flat home", "y"),
    ]
    constants = {"one": ints(1), "home": ints(-1, 5, 6)}
    same_at_sizes(model(nodes, {"x": ("B", 5, 6)}, "y", constants), {"B": 3}, {"B": 1})


def test_expand_as_torch_writes_it():
    """-1 keeps a size: ConstantOfShape, Mul, Equal and Where around Expand."""
    read = [node("Shape", "x", "s"), node("Gather", "s zero", "B"), node("Gather", "s one", "T")]
    nodes = [
        *read,
        node("Concat", "B T minus", "wanted", axis=0),
        node("Shape", "wanted", "count"),
        node("ConstantOfShape", "count", "ones", value=constant("", ints(1))),
        node("Mul", "ones minus", "kept"),
        node("Equal", "wanted kept", "keeps"),
        node("Where", "keeps ones wanted", "to"),
        node("Expand", "w to", "wide"),
        node("Add", "x wide", "y"),
    ]
    constants = {
        "zero": ints(0),
        "one": ints(1),
        "minus": ints(-1),
        "w": np.arange(6, dtype=np.float32).reshape(1, 1, 6),
    }
    for opset in (13, 19):
        same_at_sizes(model(nodes, X, "y", constants, opset=opset), *SIZES)


def test_arithmetic_on_shapes():
    """Halves, products, larger ones: what is known to hold of every size, or of all that a call may
    have.
    """
    read = [node("Shape", "x", "s"), node("Gather", "s at", "T")]
    ways = [
        [node("Mul", "T six", "m"), node("Div", "m six", "n")],
        [node("Sub", "T one", "m"), node("Add", "m one", "n")],
        [node("Max", "T one", "n")],
        [node("Min", "T minus", "m"), node("Sub", "T m", "k"), node("Sub", "k one", "n")],
        [node("Cast", "T", "n", to=7)],
        [node("Neg", "T", "m"), node("Neg", "m", "n")],
        [node("Greater", "T zero", "g"), node("Where", "g T minus", "n")],
        [node("Mod", "T T", "m"), node("Add", "T m", "n")],
        [node("Unsqueeze", "T zero", "u"), node("Squeeze", "u zero", "n")],
        [
            node("ReduceProd", "T", "p", keepdims=1),
            node("Split", "s", "l m r", axis=0),
            node("Identity", "m", "n"),
        ],
    ]
    rows = [
        [
            *read,
            *way,
            node("Concat", "n six", "to", axis=0),
            node("ConstantOfShape", "to", "z"),
            node("Identity", "z", "c"),
        ]
        for way in ways
    ]
    constants = {"at": ints(1), "six": ints(6), "one": ints(1), "minus": ints(-1), "zero": ints(0)}
    beside(rows, constants)


# ---- If ------------------------------------------------------------------------------------------


def branches(then, other, **constants):
    """A pair of branches, each of nodes whose last one's output is "out"."""
    sides = {"then_branch": ("t", then), "else_branch": ("e", other)}
    return {
        name: graph(nodes, {}, "out" + side, constants, name)
        for name, (side, nodes) in sides.items()
    }


@pytest.mark.parametrize("known", [True, False])
def test_a_condition_that_is_known(known):
    parts = branches(
        [node("Add", "x w", "outt")], [node("Add", "x v", "a"), node("Relu", "a", "oute")]
    )
    nodes = [node("If", "known", "c", **parts), node("Add", "c x", "y")]
    constants = {"known": np.array(known), "w": np.float32(2), "v": np.float32(-1)}
    same_at_sizes(model(nodes, X, {"y": "float32"}, constants), *SIZES)


def test_branches_within_branches():
    """Names of a branch are its own; what is around it is seen through several."""
    inner = branches([node("Add", "a x", "outt")], [node("Identity", "x", "oute")])
    within = branches(
        [node("Add", "x x", "a"), node("If", "yes", "outt", **inner)], [node("Relu", "x", "oute")]
    )
    nodes = [node("If", "yes", "c", **within), node("Relu", "c", "y")]
    same_at_sizes(model(nodes, X, {"y": "float32"}, {"yes": np.array([True])}), *SIZES)


def test_whole_numbers_out_of_a_branch():
    parts = branches([node("Add", "ids ids", "outt")], [node("Identity", "ids", "oute")])
    nodes = [node("If", "yes", "c", **parts), node("Gather", "w c", "y")]
    constants = {
        "yes": np.array(True),
        "w": np.random.default_rng(0).standard_normal((9, 2)).astype("f4"),
    }
    inputs = {"ids": (("B", "T"), "int64")}
    same_at_sizes(model(nodes, inputs, {"y": "float32", "c": "int64"}, constants), *SIZES)


@pytest.mark.parametrize(("shape", "squeezed"), [(("B", 1, 6), True), (("B", "T", 6), False)])
def test_squeeze_as_torch_writes_it(shape, squeezed):
    """If(Shape(x)[1] == 1) Squeeze(x) else x. Where that varies, a call of 1 is refused."""
    parts = branches([node("Squeeze", "x one", "outt")], [node("Identity", "x", "oute")])
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s one", "n"),
        node("Equal", "n one", "is"),
        node("If", "is", "c", **parts),
        node("Relu", "c", "y"),
    ]
    built = model(nodes, {"x": shape}, {"y": "float32"}, {"one": ints(1)})
    (made,) = same_at_sizes(built, *SIZES)
    assert made.ndim == 3 - squeezed
    if shape[1] == "T":
        with pytest.raises(sc.ShapeError, match=r"'x'.*axis 1"):
            from_onnx(built)(np.zeros((2, 1, 6), np.float32))


def test_a_condition_that_varies_is_refused():
    parts = branches([node("Relu", "x", "outt")], [node("Identity", "x", "oute")])
    built = model([node("If", "flag", "y", **parts)], {**X, "flag": ((), "bool")}, {"y": "float32"})
    with pytest.raises(
        sc.UnsupportedLayerError, match=r"'the_y', If.*condition must be known"
    ) as caught:
        from_onnx(built)
    assert caught.value.inputs == ["flag"]
    for flag in (True, False):
        x = np.linspace(-1, 1, 36, dtype=np.float32).reshape(2, 3, 6)
        made = from_onnx(built, constants={"flag": flag})(x)
        assert np.array_equal(made, np.maximum(x, 0) if flag else x)
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s one", "n"),
        node("Greater", "n ten", "is"),
        node("If", "is", "y", **parts),
    ]
    built = model(nodes, X, {"y": "float32"}, {"one": np.int64(1), "ten": np.int64(10)})
    refused(built, "Greater", "asks whether T is greater than 10")


# ---- Hostile -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (
            [node("Range", "zero huge one", "r"), node("Add", "r x", "y")],
            ["Range", "too many elements"],
        ),
        ([node("Range", "zero huge zero", "r"), node("Add", "r x", "y")], ["Range", "steps of 0"]),
        (
            [node("ConstantOfShape", "minus", "r"), node("Add", "r x", "y")],
            ["ConstantOfShape", "-1"],
        ),
        (
            [node("Shape", "x", "s"), node("Tile", "s huge", "t"), node("Reshape", "x t", "y")],
            ["Tile", "too many entries"],
        ),
        (
            [node("Shape", "x", "s"), node("Expand", "s big", "t"), node("Reshape", "x t", "y")],
            ["Expand", "too many entries"],
        ),
        (
            [node("Gather", "w nine", "r"), node("Add", "r x", "y")],
            ["Gather", "index 9 of an axis of 6"],
        ),
        ([node("Concat", "x w", "y", axis=7)], ["Concat", "dim 7"]),
        ([node("Transpose", "x", "y", perm=[0, 0, 1])], ["Transpose", "perm"]),
        ([node("Unsqueeze", "x twice", "y")], ["Unsqueeze", "two are the same"]),
        ([node("Split", "x five", "y a", axis=2)], ["Split", "a size of 6"]),
        ([node("Slice", "x minus minus minus zero1", "y")], ["Slice", "step 0"]),
    ],
)
def test_arguments_that_no_exporter_writes(nodes, words):
    constants = {
        "zero": np.int64(0),
        "one": np.int64(1),
        "huge": np.int64(2**40),
        "minus": ints(-1),
        "big": ints(1 << 30, 3),
        "w": np.ones(6, np.float32),
        "nine": ints(9),
        "twice": ints(1, 1),
        "five": ints(2, 3),
        "zero1": ints(0),
    }
    constants["huge"] = ints(2**40) if "Tile" in words else np.int64(2**40)
    refused(model(nodes, X, {"y": "float32"}, constants), *words)


def test_numbers_that_float32_has_not():
    built = model(
        [node("Add", "x w", "y")], {"x": (("B", 2), "float64")}, "y", {"w": np.float64([1e300, 1])}
    )
    with pytest.raises(ModelFileError, match="outside of float32's range"):
        from_onnx(built)
