"""Where the batch and time go in ONNX graphs: the same axis is another one at every node.

Every size is free where the graph leaves it so, and onnxruntime is the judge at several.
"""

from __future__ import annotations

import numpy as np
import pytest
from onnx_models import (
    constant,
    feeds_of,
    model,
    node,
    refused,
    run_onnxruntime,
    same_as_onnxruntime,
    same_at_sizes,
)
from tolerances import FLOAT32, close

import seqcore as sc
from seqcore.importers.onnx import from_onnx

F, H, N = 4, 6, 5
SIZES = ({"B": 3, "T": 7, "S": 2}, {"B": 1, "T": 4, "S": 5}, {"B": 4, "T": 2, "S": 3})


def ints(*numbers):
    return np.array(numbers, np.int64)


def weights(name, features=F, units=H, directions=1, seed=0):
    """W, R and B of a GRU, under these names with `name` before them."""
    rng = np.random.default_rng(seed)
    shapes = {"W": (3 * units, features), "R": (3 * units, units), "B": (6 * units,)}
    return {
        name + key: (rng.standard_normal((directions, *shape)) / 2).astype(np.float32)
        for key, shape in shapes.items()
    }


def gru(name, x, outputs, **options):
    options = {"hidden_size": H, "linear_before_reset": 1} | options
    return node("GRU", f"{x} {name}W {name}R {name}B", outputs, **options)


def array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# ---- Time first and back -------------------------------------------------------------------------


def test_time_first_and_back():
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        gru("g", "t", "Y Yh"),
        node("Squeeze", "Y one", "s"),
        node("Transpose", "s", "back", perm=[1, 0, 2]),
        node("MatMul", "back w", "y"),
        node("Gather", "s last", "h", axis=0),
        node("Squeeze", "Yh zero", "f"),
        node("Add", "h f", "sum"),
    ]
    constants = {
        **weights("g"),
        "w": array(H, N),
        "one": ints(1),
        "zero": ints(0),
        "last": np.int64(-1),
    }
    built = model(nodes, {"x": ("B", "T", F)}, "y h f sum s", constants)
    same_at_sizes(built, *SIZES, tolerance=FLOAT32[1])


@pytest.mark.parametrize("layout", ["T B", "B T"])
def test_what_an_rnn_gives_as_it_is(layout):
    """Y is (T, directions, B, H): its batch is the third axis."""
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2] if layout == "B T" else [0, 1, 2]),
        gru("g", "t", "Y Yh", direction="bidirectional"),
        node("Relu", "Y", "R"),
    ]
    built = model(nodes, {"x": (*layout.split(), F)}, "Y Yh R", weights("g", directions=2))
    same_at_sizes(built, *SIZES, tolerance=FLOAT32[1])


def test_directions_become_features():
    """(T, 2, B, H) to (T, B, 2*H), and again through another layer."""
    first = gru("g", "x", "Y", direction="bidirectional")
    nodes = [
        first,
        node("Transpose", "Y", "t", perm=[0, 2, 1, 3]),
        node("Reshape", "t to", "r"),
        gru("h", "r", "Z Zh"),
        node("Transpose", "Z", "z", perm=[2, 0, 1, 3]),
        node("Reshape", "z to", "y"),
    ]
    constants = {**weights("g", directions=2), **weights("h", 2 * H, seed=1), "to": ints(0, 0, -1)}
    built = model(nodes, {"x": ("T", "B", F)}, "y Zh Y", constants)
    same_at_sizes(built, *SIZES, tolerance=FLOAT32[2])


def test_inputs_whose_batch_is_anywhere():
    rows = {"a": ("B", "T", F), "b": ("T", "B", F), "c": ("T", 2, "B", F), "d": ("T", F, 2, "B")}
    for name, shape in rows.items():
        nodes = [node("Relu", "x", "y"), node("ReduceMean", "x", "z", axes=[0], keepdims=0)]
        wanted = "y" if name == "a" else "y z"
        same_at_sizes(model(nodes[: len(wanted.split())], {"x": shape}, wanted), *SIZES)
    nodes = [
        node("Transpose", "b", "bt", perm=[1, 0, 2]),
        node("Transpose", "c", "ct", perm=[1, 2, 0, 3]),
        node("Transpose", "d", "dt", perm=[2, 3, 0, 1]),
        node("Add", "a bt", "ab"),
        node("Add", "ab ct", "abc"),
        node("Add", "abc dt", "y"),
        node("Transpose", "y", "z", perm=[2, 3, 0, 1]),
    ]
    same_at_sizes(model(nodes, rows, "y z ab"), *SIZES)


def test_the_batch_as_columns():
    """W x of columns (F, B), as textbooks have it."""
    nodes = [
        node("MatMul", "w x", "a"),
        node("Relu", "a", "r"),
        node("MatMul", "v r", "y"),
        node("Transpose", "y", "z"),
    ]
    built = model(nodes, {"x": (F, "B")}, "y z", {"w": array(H, F), "v": array(N, H)})
    same_at_sizes(built, *SIZES)


# ---- Joined and apart ----------------------------------------------------------------------------


def sizes_of(value, **names):
    """Return nodes that read sizes of a value, (1,) each, and the constants that they need."""
    nodes, constants = [node("Shape", value, f"{value}_shape")], {}
    for name, axis in names.items():
        constants[f"{name}_at"] = ints(axis)
        nodes.append(node("Gather", f"{value}_shape {name}_at", name))
    return nodes, constants


@pytest.mark.parametrize("order", ["B T", "T B"])
def test_batch_and_time_in_one_and_back(order):
    read, constants = sizes_of("x", first=0, second=1)
    nodes = [
        *read,
        node("Reshape", "x flat", "rows"),
        node("MatMul", "rows w", "m"),
        node("Relu", "m", "r"),
        node("Concat", "first second n", "to", axis=0),
        node("Reshape", "r to", "y"),
        node("Concat", "first rest n", "to2", axis=0),
        node("Reshape", "r to2", "y2"),
        node("Mul", "first second", "both"),
        node("Concat", "both n", "to3", axis=0),
        node("Reshape", "y to3", "again"),
        node("Reshape", "again to", "y3"),
        node("Softmax", "y3", "y4", axis=1 if order == "B T" else 0),
    ]
    constants |= {"flat": ints(-1, F), "w": array(F, N), "n": ints(N), "rest": ints(-1)}
    built = model(nodes, {"x": (*order.split(), F)}, "y y2 y3 y4", constants)
    same_at_sizes(built, *SIZES)


@pytest.mark.parametrize("order", ["B T", "T B"])
def test_heads_beside_the_batch(order):
    """Attention whose heads are joined with the batch, (B*h, T, d), or stand behind it."""
    (read, constants), heads, each = sizes_of("x", first=0, second=1), 2, 3
    time_first = order == "T B"
    batch, time = ("second", "first") if time_first else ("first", "second")
    nodes = [*read, node("MatMul", "x w", "e")]
    if time_first:
        nodes += [
            node("Mul", f"{batch} h", "rows"),
            node("Concat", f"{time} rows d", "to", axis=0),
            node("Reshape", "e to", "apart"),
            node("Transpose", "apart", "q", perm=[1, 0, 2]),
        ]
    else:
        nodes += [
            node("Reshape", "e split", "four"),
            node("Transpose", "four", "moved", perm=[0, 2, 1, 3]),
            node("Concat", "any second d", "to", axis=0),
            node("Reshape", "moved to", "q"),
        ]
    nodes += [
        node("Transpose", "q", "k", perm=[0, 2, 1]),
        node("MatMul", "q k", "scores"),
        node("Softmax", "scores", "p", axis=-1),
        node("MatMul", "p q", "mixed"),
    ]
    if time_first:
        nodes += [
            node("Transpose", "mixed", "m", perm=[1, 0, 2]),
            node("Concat", "first second e6", "home", axis=0),
            node("Reshape", "m home", "y"),
        ]
    else:
        nodes += [
            node("Concat", f"{batch} h {time} d", "unjoin", axis=0),
            node("Reshape", "mixed unjoin", "u"),
            node("Transpose", "u", "m", perm=[0, 2, 1, 3]),
            node("Concat", "first second e6", "home", axis=0),
            node("Reshape", "m home", "y"),
        ]
    constants |= {
        "w": array(F, heads * each),
        "split": ints(0, 0, heads, each),
        "h": ints(heads),
        "d": ints(each),
        "any": ints(-1),
        "e6": ints(heads * each),
    }
    built = model(nodes, {"x": (*order.split(), F)}, "y", constants)
    same_at_sizes(built, *SIZES, tolerance=FLOAT32[1])


def test_words_in_sentences_in_documents():
    """An RNN over the words of each sentence, with B*S rows, and one over the sentences."""
    read, constants = sizes_of("x", first=0, second=1)
    nodes = [
        *read,
        node("Shape", "x", "whole"),
        node("Slice", "whole two end", "words"),
        node("Concat", "any words", "to", axis=0),
        node("Reshape", "x to", "rows"),
        node("Transpose", "rows", "t", perm=[1, 0, 2]),
        gru("g", "t", "- h"),
        node("Concat", "first second n", "back", axis=0),
        node("Reshape", "h back", "sentences"),
        node("Transpose", "sentences", "u", perm=[1, 0, 2]),
        gru("k", "u", "Y Yh"),
        node("Squeeze", "Yh zero", "y"),
    ]
    constants |= {
        **weights("g"),
        **weights("k", H, seed=1),
        "any": ints(-1),
        "n": ints(H),
        "zero": ints(0),
        "two": ints(2),
        "end": ints(4),
    }
    built = model(nodes, {"x": ("B", "S", "T", F)}, "y sentences", constants)
    same_at_sizes(built, *SIZES, tolerance=FLOAT32[2])


def test_rows_and_columns_of_an_image():
    """An RNN along each line, whose lines are its batch, and one along each column."""
    read, constants = sizes_of("x", b=0, s=1, t=2)
    nodes = [
        *read,
        node("Mul", "b s", "bs"),
        node("Mul", "b t", "bt"),
        node("Concat", "bs t f", "to", axis=0),
        node("Reshape", "x to", "lines"),
        node("Transpose", "lines", "l", perm=[1, 0, 2]),
        gru("g", "l", "Y"),
        node("Squeeze", "Y one", "Ys"),
        node("Transpose", "Ys", "Yt", perm=[1, 0, 2]),
        node("Concat", "b s t n", "to4", axis=0),
        node("Reshape", "Yt to4", "image"),
        node("Transpose", "image", "turned", perm=[0, 2, 1, 3]),
        node("Concat", "bt s n", "to5", axis=0),
        node("Reshape", "turned to5", "columns"),
        node("Transpose", "columns", "c", perm=[1, 0, 2]),
        gru("k", "c", "Z"),
        node("Squeeze", "Z one", "Zs"),
        node("Transpose", "Zs", "Zt", perm=[1, 0, 2]),
        node("Concat", "b t s n", "to6", axis=0),
        node("Reshape", "Zt to6", "y"),
    ]
    constants |= {
        **weights("g"),
        **weights("k", H, seed=1),
        "f": ints(F),
        "n": ints(H),
        "one": ints(1),
    }
    built = model(nodes, {"x": ("B", "S", "T", F)}, "y", constants)
    same_at_sizes(built, *SIZES, tolerance=FLOAT32[2])


def test_the_batch_of_one_node_is_the_features_of_the_next():
    """An RNN whose rows are mixed behind it: they are no batch, and another axis is none either."""
    nodes = [
        gru("g", "x", "Y Yh"),
        node("Squeeze", "Y one", "s"),
        node("Transpose", "s", "t", perm=[0, 2, 1]),
        node("MatMul", "t w", "y"),
    ]
    built = model(nodes, {"x": (7, 3, F)}, "y", {**weights("g"), "w": array(3, N), "one": ints(1)})
    same_at_sizes(built, {}, tolerance=FLOAT32[1], whole=True)


# ---- Sizes that the file fixes -------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 4])
def test_a_batch_that_the_file_fixes_is_free(batch):
    """Also in shapes that the exporter wrote as numbers, and states of so many zeros."""
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        node("GRU", "t gW gR gB - zeros", "Y Yh", hidden_size=H),
        node("Reshape", "Yh flat", "f"),
        node("MatMul", "f w", "y"),
        node("Squeeze", "Y one", "s"),
        node("Transpose", "s", "b", perm=[1, 0, 2]),
        node("Reshape", "b joined", "j"),
        node("MatMul", "j w", "m"),
        node("Reshape", "m apart", "z"),
    ]
    constants = {
        **weights("g"),
        "zeros": np.zeros((1, batch, H), np.float32),
        "w": array(H, N),
        "flat": ints(batch, H),
        "one": ints(1),
        "joined": ints(-1, H),
        "apart": ints(batch, -1, N),
    }
    built = model(nodes, {"x": (batch, "T", F)}, "y z", constants)
    same_at_sizes(built, *SIZES, tolerance=FLOAT32[1])
    ours, rows = from_onnx(built), array(3 * batch, 5, F)
    parts = [run_onnxruntime(built, {"x": rows[k : k + batch]}) for k in range(0, 3 * batch, batch)]
    for made, theirs in zip(ours(rows), zip(*parts, strict=True), strict=True):
        close(made, np.concatenate(theirs), FLOAT32[1])


def test_time_that_the_file_fixes():
    nodes = [
        node("Flatten", "x", "f"),
        node("MatMul", "f w", "y"),
        node("Add", "x places", "p"),
        node("Transpose", "p", "t", perm=[1, 0, 2]),
        gru("g", "t", "Y"),
    ]
    constants = {**weights("g"), "w": array(7 * F, N), "places": array(7, F)}
    built = model(nodes, {"x": ("B", 7, F)}, "y Y", constants)
    same_at_sizes(built, *SIZES, tolerance=FLOAT32[1])
    with pytest.raises(sc.ShapeError, match="size 7 in axis 1, found 6"):
        from_onnx(built)(np.zeros((2, 6, F), np.float32))


def test_equal_names_are_equal_sizes():
    built = model(
        [node("Concat", "x z", "y", axis=2)], {"x": ("B", "T", 2), "z": ("B", "T", 3)}, "y"
    )
    same_at_sizes(built, *SIZES)
    ours = from_onnx(built)
    with pytest.raises(sc.ShapeError, match=r"'z'.*axis 1"):
        ours(np.zeros((2, 5, 2), np.float32), np.zeros((2, 1, 3), np.float32))
    other = model(
        [node("Relu", "x", "y"), node("Relu", "z", "w")],
        {"x": ("B", "T", 2), "z": ("B", "S", 3)},
        "y w",
    )
    same_at_sizes(other, *SIZES)


def test_batch_and_time_of_the_same_name():
    """A square of (N, N, F): one axis is the batch, and the other one is as long."""
    built = model([node("Softmax", "x", "y", axis=1)], {"x": ("N", "N", F)}, "y")
    same_at_sizes(built, {"N": 3}, {"N": 5})
    with pytest.raises(sc.ShapeError, match="'x'"):
        from_onnx(built)(np.zeros((2, 3, F), np.float32))


# ---- What a graph gives back ---------------------------------------------------------------------


def test_outputs_that_nobody_computes():
    """Inputs as they came, in any layout; a value given back twice; ids that are not touched."""
    nodes = [
        node("Relu", "x", "r"),
        node("Identity", "r", "again"),
        node("Identity", "t", "u"),
        node("Identity", "ids", "same"),
    ]
    inputs = {"x": ("B", "T", F), "t": ("T", "B", F), "ids": (("B", "T"), "int64")}
    outputs = {"r": "float32", "again": "float32", "u": "float32", "same": "int64"}
    built = model(nodes, inputs, outputs)
    same_at_sizes(built, *SIZES)


def test_constants_that_every_row_has():
    """Zeros of as many rows as the batch, a row of weights for each; and none without a batch."""
    read, constants = sizes_of("x", b=0, t=1)
    nodes = [
        *read,
        node("Concat", "b h", "to", axis=0),
        node("ConstantOfShape", "to", "zeros"),
        node("Expand", "w to", "rows"),
        node("Concat", "two b h", "to3", axis=0),
        node("ConstantOfShape", "to3", "states"),
        node("Concat", "b t", "bt", axis=0),
        node("ConstantOfShape", "bt", "ones", value=constant("", np.float32([1.5]))),
        node("Relu", "x", "y"),
    ]
    constants |= {"h": ints(H), "w": array(1, H), "two": ints(2)}
    built = model(nodes, {"x": ("B", "T", F)}, "y zeros rows states ones", constants)
    same_at_sizes(built, *SIZES)
    built = model(
        [node("Relu", "x", "y"), node("Identity", "w", "z")],
        {"x": (3, F)},
        "y z",
        {"w": array(2, 5)},
    )
    same_at_sizes(built, {}, whole=True)


# ---- What cannot be right ------------------------------------------------------------------------


def test_rows_that_meet_are_no_batch():
    """Softmax over B leaves another axis to be the batch; over all of them, none."""
    one = model([node("Softmax", "x", "y", axis=0)], {"x": ("B", F)}, "y")
    same_at_sizes(one, *SIZES)
    nodes = [node("Softmax", "x", "a", axis=0), node("Softmax", "a", "y", axis=1)]
    same_at_sizes(model(nodes, {"x": ("B", F)}, "y"), *SIZES, whole=True)
    joined = [node("Concat", "x x", "y", axis=0), node("Softmax", "y", "z", axis=-1)]
    same_at_sizes(model(joined, {"x": ("B", F)}, "z"), *SIZES, whole=True)


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([node("Squeeze", "x", "y")], ["'the_y'", "Squeeze", "opset 17", "may be 1"]),
        ([node("Squeeze", "x one", "y")], ["'the_y'", "of size T, not 1"]),
        ([node("Shape", "x", "s"), node("Reshape", "x turned", "y")], ["'the_y'", "Reshape"]),
        ([node("NonZero", "x", "y")], ["'the_y'", "NonZero", "opset 17", "is not supported"]),
        ([node("Slice", "x minus one one", "y")], ["'the_y'", "from -3 to 1"]),
        ([node("EyeLike", "m", "y")], ["'the_y'", "EyeLike"]),
    ],
)
def test_what_is_refused(nodes, words):
    constants = {"one": ints(1), "turned": ints(-1, 5, 3), "minus": ints(-3)}
    inputs = {"x": ("B", "T", F), "m": ("B", "T")}
    refused(model(nodes, inputs, "y", constants), *words)


def test_feeds_are_random():
    """The comparisons here are of numbers that differ."""
    built = model([node("Relu", "x", "y")], {"x": ("B", "T", F)}, "y")
    first, second = (feeds_of(built, SIZES[0], seed)["x"] for seed in (0, 1))
    assert not np.array_equal(first, second)
    same_as_onnxruntime(built, {"x": first}, {"x": second})


# ---- Sizes of other names ------------------------------------------------------------------------


def test_inputs_that_never_meet_have_no_size_in_common():
    """Of x time alone could be the batch, which z does not have: so a call is a row."""
    nodes = [
        node("ArgMax", "x", "i", axis=0),
        node("Tanh", "z", "y"),
    ]
    built = model(nodes, {"x": ("B", "T", F), "z": ("B", 6)}, {"i": "int64", "y": "float32"})
    same_at_sizes(built, *SIZES, whole=True)


def test_what_is_as_long_as_a_constant_where_it_is_not_1():
    nodes = [
        node("Add", "x five", "sum"),
        node("Shape", "sum", "shape"),
        node("Gather", "shape one", "size", axis=0),
        node("Cast", "size", "number", to=1),
        node("Mul", "sum number", "y"),
    ]
    built = model(nodes, {"x": ("B", "T")}, "y", {"five": array(5), "one": np.int64(1)})
    same_at_sizes(built, {"B": 3, "T": 5}, {"B": 2, "T": 1})


def test_sizes_of_two_names_that_meet_are_equal():
    """One might be 1, and the sum as long as the other: then its size would be another."""
    nodes = [
        node("Add", "x z", "sum"),
        node("Shape", "sum", "shape"),
        node("Gather", "shape one", "size", axis=0),
        node("Cast", "size", "number", to=1),
        node("Mul", "sum number", "y"),
    ]
    built = model(nodes, {"x": ("B", "T"), "z": ("B", "S")}, "y", {"one": np.int64(1)})
    same_at_sizes(built, {"B": 3, "T": 5, "S": 5}, {"B": 2, "T": 1, "S": 1})
    with pytest.raises(sc.ShapeError, match="'x' has size 1 in axis 1, and input 'z' 5"):
        from_onnx(built)(array(2, 1), array(2, 5))


def test_bounds_of_sizes_that_meet_are_those_of_both():
    nodes = [
        node("Slice", "x start end at", "last"),
        node("Add", "x z", "sum"),
        node("Slice", "z far end at", "more"),
    ]
    constants = {"start": ints(-2), "far": ints(-3), "end": ints(1 << 40), "at": ints(1)}
    built = model(nodes, {"x": ("B", "T"), "z": ("B", "S")}, "last sum more", constants)
    same_at_sizes(built, {"B": 3, "T": 3, "S": 3})
    with pytest.raises(sc.ShapeError, match="at least 3"):
        from_onnx(built)(array(2, 2), array(2, 2))


def test_sizes_that_meet_and_cannot_be_equal():
    nodes = [
        node("Split", "x five", "a b", axis=1),
        node("Split", "z six", "c d", axis=1),
        node("Add", "x z", "sum"),
    ]
    constants = {"five": ints(2, 3), "six": ints(3, 3)}
    built = model(nodes, {"x": ("B", "T"), "z": ("B", "S")}, "a b c d sum", constants)
    refused(built, "Add", "would have to be of different sizes at once")
