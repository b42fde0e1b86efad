"""RNN, LSTM and GRU of ONNX against onnxruntime: all options with each other, many nodes a model.

What onnxruntime does not run is compared with a float64 loop (onnx_recurrent.py), which other tests
here compare with onnxruntime.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_models import (
    Array,
    model,
    node,
    refused,
    run_onnxruntime,
    same_as_onnxruntime,
    same_at_sizes,
)
from onnx_recurrent import DIRECTIONS, GATES, OUTPUTS, by_loop, recurrent, weights_of
from tolerances import FLOAT32, close

import seqcore as sc
from seqcore.errors import UnsupportedLayerError
from seqcore.importers.onnx import from_onnx

FEATURES, UNITS = 3, 5
ALWAYS = {"X": ("T", "B", FEATURES), "lens": (("B",), "int32")}
CELLS: dict[str, list[dict[str, Any]]] = {
    "RNN": [{}],
    "GRU": [{"linear_before_reset": k} for k in (0, 1)],
    "LSTM": [{"input_forget": k, "peepholes": p} for k in (0, 1) for p in (False, True)],
}
ACTIVATIONS: dict[str, list[dict[str, Any]]] = {
    "RNN": [
        {},
        {"activations": ["Relu"]},
        {"activations": ["ScaledTanh"], "activation_alpha": [1.2], "activation_beta": [0.7]},
    ],
    "GRU": [
        {},
        {"activations": ["HardSigmoid", "Softsign"], "activation_alpha": [0.3]},
        {"activations": ["Sigmoid", "LeakyRelu"], "activation_alpha": [0.2]},
    ],
    "LSTM": [
        {},
        {"activations": ["HardSigmoid", "Tanh", "Softsign"]},
        {"activations": ["Sigmoid", "Affine", "ThresholdedRelu"], "activation_alpha": [0.4, 0.1],
         "activation_beta": [0.2]},
    ],
}  # fmt: skip


def states_of(kind: str, directions: int) -> dict[str, Any]:
    """Return the inputs of states of nodes of so many directions."""
    names = ("h", "c") if kind == "LSTM" else ("h",)
    return {f"{name}{directions}": (directions, "B", UNITS) for name in names}


def feeds_of(kind: str, time: int, batch: int, lens: list[int], seed: int) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    made = {"X": random.standard_normal((time, batch, FEATURES)).astype(np.float32)}
    made["lens"] = np.array(lens, np.int32)
    for directions in (1, 2):
        for name in states_of(kind, directions):
            made[name] = random.standard_normal((directions, batch, UNITS)).astype(np.float32)
    return made


def repeated(activations: dict[str, Any], directions: int) -> dict[str, Any]:
    return {name: given * directions for name, given in activations.items()}


def wanted(kind: str, number: int) -> list[str]:
    """Return the outputs of a node: all combinations, in turn, without that of none."""
    some = number % (2 ** len(OUTPUTS[kind]) - 1) + 1
    return [name for k, name in enumerate(OUTPUTS[kind]) if some >> k & 1]


# ---- All options with each other -----------------------------------------------------------------


def matrix(kind: str, *, every: int = 1, met: bool = False) -> onnx.ModelProto:
    """Return a model of a node for all options with each other, or every so many.

    `met`: there is an output in which rows stand one behind the other in one axis.
    """
    nodes, constants, outputs = [], {}, []
    rows = itertools.product(
        DIRECTIONS, (False, True), (False, True), (None, 0.6), ACTIVATIONS[kind], CELLS[kind]
    )
    for number, (direction, lens, states, clip, activations, options) in enumerate(rows):
        if number % every:
            continue
        count, name, cell = DIRECTIONS[direction], f"n{number}", dict(options)
        weights = weights_of(
            kind, FEATURES, UNITS, count, number, peepholes=cell.pop("peepholes", False),
            bias=number % 5 > 0,
        )  # fmt: skip
        inputs = {"X": "X", **({"lens": "lens"} if lens else {})}
        if states:
            inputs.update((each[0], each) for each in states_of(kind, count))
        if clip:
            cell["clip"] = clip
        made, stored, names = recurrent(
            kind, name, weights, wanted(kind, number), inputs=inputs, direction=direction,
            **cell, **repeated(activations, count),
        )  # fmt: skip
        nodes.append(made)
        constants.update(stored)
        outputs += names
    if met:
        nodes.append(node("Reshape", f"{outputs[0]} all", "flat"))
        constants["all"] = np.array([-1])
        outputs.append("flat")
    given = {**ALWAYS, **states_of(kind, 1), **states_of(kind, 2)}
    return model(nodes, given, " ".join(outputs), constants)


@pytest.mark.parametrize("kind", GATES)
def test_all_options_with_each_other(kind: str) -> None:
    """Batch and time are free; rows of no frames, of some and of all."""
    built = matrix(kind)
    several = feeds_of(kind, 5, 4, [5, 2, 0, 3], 1)
    ours = same_as_onnxruntime(
        built, feeds_of(kind, 1, 2, [1, 0], 2), feeds_of(kind, 7, 1, [4], 3), several,
        tolerance=FLOAT32[2],
    )  # fmt: skip
    check_rows_alone(from_onnx(built), built, several, ours)


def check_rows_alone(
    ours: sc.Model, built: onnx.ModelProto, feeds: Mapping[str, Array], together: Sequence[Array]
) -> None:
    """Assert that every row has the bits that it has among others."""
    names = [each.name for each in built.graph.input]
    for row in range(feeds["lens"].size):
        one = [np.take(feeds[name], [row], 0 if name == "lens" else 1) for name in names]
        for end, whole, alone in zip(built.graph.output, together, ours(*one), strict=True):
            # (T, D, B, H), (D, B, H)
            np.testing.assert_array_equal(np.take(whole, [row], -2), alone, end.name)


@pytest.mark.parametrize("kind", GATES)
def test_rows_that_are_none_of_the_model(kind: str) -> None:
    """Where they meet, one call of the graph is a row here, and the graph's rows an axis of it."""
    built = matrix(kind, every=5, met=True)
    same_as_onnxruntime(
        built, feeds_of(kind, 5, 4, [5, 2, 0, 3], 1), feeds_of(kind, 1, 1, [1], 2),
        tolerance=FLOAT32[2], whole=True,
    )  # fmt: skip


@pytest.mark.parametrize("opset", [9, 14, 22])
def test_opsets(opset: int) -> None:
    nodes, constants, outputs = [], {}, []
    for kind in GATES:
        weights = weights_of(kind, FEATURES, UNITS, 2, 3)
        made, stored, names = recurrent(
            kind, kind, weights, OUTPUTS[kind][1:], inputs={"X": "X"}, direction="bidirectional"
        )
        nodes.append(made)
        constants.update(stored)
        outputs += names
    built = model(nodes, {"X": ALWAYS["X"]}, " ".join(outputs), constants, opset=opset)
    same_at_sizes(built, {"T": 6, "B": 3}, tolerance=FLOAT32[1])


# ---- Batch first: layout -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_layout(kind: str, direction: str) -> None:
    """onnxruntime refuses layout=1: the loop does both, and layout=0 as onnxruntime does."""
    count = DIRECTIONS[direction]
    weights = weights_of(kind, FEATURES, UNITS, count, 7, peepholes=kind == "LSTM")
    options = {"direction": direction, "clip": 0.8}
    inputs = {name[0]: name for name in (*ALWAYS, *states_of(kind, count)) if name != "lens"}
    inputs["lens"] = "lens"
    feeds = feeds_of(kind, 5, 3, [5, 0, 2], 4)
    for layout in (0, 1):
        made, stored, names = recurrent(
            kind, "n", weights, OUTPUTS[kind], inputs=inputs, layout=layout, **options
        )
        shapes = {"X": ALWAYS["X"], **states_of(kind, count)}
        if layout:
            shapes = {name: (shape[1], shape[0], *shape[2:]) for name, shape in shapes.items()}
        built = model([made], {**shapes, "lens": ALWAYS["lens"]}, dict.fromkeys(names, "float32"),
                      stored, opset=14)  # fmt: skip
        given = {name: feeds[name].swapaxes(0, 1) if layout else feeds[name] for name in shapes}
        given["lens"] = feeds["lens"]
        expected = by_loop(
            kind, given["X"], **weights, lens=given["lens"], layout=layout,
            **{name[0]: given[name] for name in states_of(kind, count)}, **options,
        )  # fmt: skip
        found = from_onnx(built)(*given.values()) if layout else run_onnxruntime(built, given)
        for actual, wanted_of, name in zip(found, expected, names, strict=True):
            close(actual, wanted_of, FLOAT32[1], name)


# ---- Activations ---------------------------------------------------------------------------------

CONSTANTS = {
    "Relu": 0, "Tanh": 0, "Sigmoid": 0, "Softsign": 0, "Softplus": 0, "Affine": 2, "LeakyRelu": 1,
    "ThresholdedRelu": 1, "ScaledTanh": 2, "HardSigmoid": 2, "Elu": 1,
}  # fmt: skip


def activations_of(kind: str) -> list[dict[str, Any]]:
    """Return every activation in every place, with constants and without, and lists of several."""
    usual = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}[kind]
    made: list[dict[str, Any]] = []
    for place, (name, count) in itertools.product(range(len(usual)), CONSTANTS.items()):
        names = [name if k == place else each for k, each in enumerate(usual)]
        if kind != "RNN":  # onnxruntime's RNN wants the case that ONNX writes
            names = [each.upper() if place else each.lower() for each in names]
        made.append({"activations": names, "activation_alpha": [0.4], "activation_beta": [0.3]})
        if name not in ("Affine", "ScaledTanh"):
            made.append({"activations": names})
        if count == 2 and name != "ScaledTanh":
            made.append({"activations": names, "activation_alpha": [-0.5]})
    return made


@pytest.mark.parametrize("kind", GATES)
def test_activations(kind: str) -> None:
    nodes, constants, outputs = [], {}, []
    weights = weights_of(kind, FEATURES, UNITS, 1, 5)
    for number, options in enumerate(activations_of(kind)):
        made, stored, names = recurrent(
            kind, f"n{number}", weights, ["Y_h"], inputs={"X": "X"}, **options
        )
        nodes.append(made)
        constants.update(stored)
        outputs += names
    built = model(nodes, {"X": ALWAYS["X"]}, " ".join(outputs), constants)
    same_at_sizes(built, {"T": 4, "B": 3}, tolerance=FLOAT32[3])


def test_constants_of_activations_go_to_whom_has_a_use_for_them() -> None:
    """In the order of the names, over both directions."""
    names = ["HardSigmoid", "LeakyRelu", "Elu", "Sigmoid", "Elu", "Affine"]
    alpha, beta = [0.3, 0.4, 0.6, 0.7, 0.8], [0.6, 0.2]
    weights = weights_of("LSTM", FEATURES, UNITS, 2, 6)
    made, stored, outputs = recurrent(
        "LSTM", "n", weights, ["Y_h", "Y_c"], inputs={"X": "X"}, direction="bidirectional",
        activations=names, activation_alpha=alpha, activation_beta=beta,
    )  # fmt: skip
    built = model([made], {"X": ALWAYS["X"]}, " ".join(outputs), stored)
    same_at_sizes(built, {"T": 4, "B": 2}, tolerance=FLOAT32[1])


# ---- What exporters write around it --------------------------------------------------------------


def ops_of(built: onnx.ModelProto) -> list[str]:
    return [each["op"] for each in from_onnx(built)._graph.document["nodes"]]


def stack(kind: str, direction: str, layers: int, *, torch: bool) -> onnx.ModelProto:
    """Return layers over x (B, T, F), whose outputs are put together as exporters do."""
    count, nodes, constants = DIRECTIONS[direction], [], {}
    nodes.append(node("Transpose", "x", "n.x", perm=[1, 0, 2]))
    below, finals = "n.x", []
    for layer in range(layers):
        features = FEATURES if layer == 0 else count * UNITS
        weights = weights_of(kind, features, UNITS, count, layer)
        made, stored, names = recurrent(
            kind, f"n{layer}", weights, ["Y", "Y_h"], inputs={"X": below}, direction=direction
        )
        nodes.append(made)
        constants.update(stored)
        finals.append(names[1])
        below = f"n{layer}.out"
        if count == 1:
            nodes.append(node("Squeeze", f"{names[0]} one", below))
        else:
            nodes.append(node("Transpose", names[0], f"n{layer}.turned", perm=[0, 2, 1, 3]))
            nodes.append(node("Reshape", f"n{layer}.turned joined", below))
    nodes.append(node("Transpose", below, "y", perm=[1, 0, 2]))
    constants |= {"one": np.array([1]), "joined": np.array([0, 0, -1 if torch else count * UNITS])}
    outputs = "y"
    if torch:
        nodes.append(node("Concat", " ".join(finals), "h_n", axis=0))
        outputs += " h_n"
    return model(nodes, {"x": ("B", "T", FEATURES)}, outputs, constants)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", GATES)
def test_stacks_as_exporters_write_them(kind: str, direction: str) -> None:
    same_at_sizes(
        stack(kind, direction, 2, torch=True), {"B": 3, "T": 5}, {"B": 1, "T": 1},
        tolerance=FLOAT32[2],
    )  # fmt: skip


def test_directions_are_joined_without_a_copy() -> None:
    """Transpose and Reshape, which put two directions into one axis, are no nodes."""
    for kind, op in (("LSTM", "lstm"), ("GRU", "gru"), ("RNN", "simple_rnn")):
        built = stack(kind, "bidirectional", 2, torch=False)
        assert ops_of(built) == [op, op, "concat", op, op, "concat"]
        assert ops_of(stack(kind, "forward", 3, torch=False)) == [op] * 3
        same_at_sizes(built, {"B": 2, "T": 3}, tolerance=FLOAT32[2])


def test_final_states_are_joined_as_directions_are() -> None:
    weights = weights_of("GRU", FEATURES, UNITS, 2, 8)
    made, stored, _ = recurrent(
        "GRU", "n", weights, ["Y_h"], inputs={"X": "X"}, direction="bidirectional"
    )
    nodes = [
        made,
        node("Transpose", "n.Y_h", "turned", perm=[1, 0, 2]),
        node("Reshape", "turned joined", "both"),
        node("Gather", "n.Y_h last", "backward", axis=0),
    ]
    constants = {**stored, "joined": np.array([0, -1]), "last": np.array(1)}
    built = model(nodes, {"X": ALWAYS["X"]}, "both", constants)
    assert ops_of(built) == ["batch_first", "gru", "gru", "concat"]
    built = model(nodes, {"X": ALWAYS["X"]}, "both backward", constants)
    same_at_sizes(built, {"T": 4, "B": 3}, tolerance=FLOAT32[1])


def test_weights_made_of_constants_and_shared() -> None:
    """Weights that other nodes put together, and two nodes that have the same."""
    weights = weights_of("LSTM", FEATURES, UNITS, 1, 9)
    stored = {"W0": weights["W"][:, :10], "W1": weights["W"][:, 10:],
              "R0": weights["R"][0].T.copy(), "B": weights["B"], "zero": np.array([0])}  # fmt: skip
    nodes = [
        node("Concat", "W0 W1", "W", axis=1),
        node("Transpose", "R0", "R1", perm=[1, 0]),
        node("Unsqueeze", "R1 zero", "R"),
        node("LSTM", "X W R B", "- h", hidden_size=UNITS),
        node("LSTM", "Z W R B", "- other", hidden_size=UNITS),
    ]
    nodes[-2].name, nodes[-1].name = "first", "second"
    built = model(nodes, {"X": ALWAYS["X"], "Z": ALWAYS["X"]}, "h other", stored)
    same_at_sizes(built, {"T": 4, "B": 3}, tolerance=FLOAT32[1])
    first, second = (each["weights"] for each in from_onnx(built)._graph.document["nodes"]
                     if each["op"] == "lstm")  # fmt: skip
    assert first == second


def test_weights_that_are_quantised() -> None:
    """As whole numbers and a scale, of which DequantizeLinear makes them."""
    nodes, stored, outputs = [], {"scale": np.float32(0.02)}, []
    for kind in GATES:
        weights = weights_of(kind, FEATURES, UNITS, 2, 10)
        for name in "WR":
            whole = np.clip(np.round(weights[name] / 0.02), -127, 127).astype(np.int8)
            stored[f"{kind}{name}8"] = whole
            nodes.append(node("DequantizeLinear", f"{kind}{name}8 scale", f"{kind}{name}"))
        stored[f"{kind}B"] = weights["B"]
        taken = f"X {kind}W {kind}R {kind}B"
        options = {"hidden_size": UNITS, "direction": "bidirectional"}
        nodes.append(node(kind, taken, f"{kind}.Y {kind}.h", **options))
        outputs += [f"{kind}.Y", f"{kind}.h"]
    built = model(nodes, {"X": ALWAYS["X"]}, " ".join(outputs), stored)
    same_at_sizes(built, {"T": 4, "B": 3}, tolerance=FLOAT32[1])


# ---- Lengths and states that are constants -------------------------------------------------------


def with_constants(kind: str, nodes: list[Any], constants: dict[str, Any], shape: Any,
                   inputs: dict[str, str], outputs: Sequence[str] = ("Y", "Y_h"),
                   direction: str = "bidirectional") -> onnx.ModelProto:  # fmt: skip
    """Return a model of a node that reads constants, whose Y is (B, T, D, H)."""
    weights = weights_of(kind, FEATURES, UNITS, DIRECTIONS[direction], 11)
    made, stored, names = recurrent(
        kind, "n", weights, outputs, inputs={"X": "X", **inputs}, direction=direction
    )
    turned = node("Transpose", "n.Y", "rows", perm=[2, 0, 1, 3])
    ends = " ".join(["rows", *names[1:]])
    return model([*nodes, made, turned], {"X": shape}, ends, {**constants, **stored})


@pytest.mark.parametrize("kind", GATES)
def test_lengths_of_all_rows(kind: str) -> None:
    """Of a constant that all rows share, the batch is free; whole rows need no mask."""
    short = {"lens": np.array([3, 3], np.int32)}
    built = with_constants(kind, [], short, ("T", 2, FEATURES), {"lens": "lens"})
    same_at_sizes(built, {"T": 5}, {"T": 3}, tolerance=FLOAT32[1])
    assert from_onnx(built)(np.zeros((5, 3, FEATURES)))[0].shape == (3, 5, 2, UNITS)
    whole = {"lens": np.array([5, 5], np.int32)}
    built = with_constants(kind, [], whole, (5, 2, FEATURES), {"lens": "lens"})
    same_at_sizes(built, {}, tolerance=FLOAT32[1])
    assert "compare" not in ops_of(built)
    nodes = [
        node("Shape", "X", "shape"),
        node("Gather", "shape zero", "time"),
        node("Gather", "shape one", "rows_of"),
        node("Expand", "time rows_of", "wide"),
        node("Cast", "wide", "lens", to=onnx.TensorProto.INT32),
    ]
    given = {"zero": np.array([0]), "one": np.array([1])}
    built = with_constants(kind, nodes, given, ALWAYS["X"], {"lens": "lens"})
    same_at_sizes(built, {"T": 5, "B": 3}, {"T": 1, "B": 1}, tolerance=FLOAT32[1])
    assert "compare" not in ops_of(built)


@pytest.mark.parametrize("kind", GATES)
def test_constants_that_differ_from_row_to_row(kind: str) -> None:
    """The graph's batch is then fixed, and one call of it is a row here."""
    random = np.random.default_rng(12)
    constants = {"lens": np.array([4, 0, 2], np.int32)}
    inputs = {"lens": "lens"}
    for name in states_of(kind, 2):
        constants[name] = random.standard_normal((2, 3, UNITS)).astype(np.float32)
        inputs[name[0]] = name
    for taken in ({"lens": "lens"}, inputs):
        built = with_constants(kind, [], constants, ("T", 3, FEATURES), taken)
        same_at_sizes(built, {"T": 5}, {"T": 4}, tolerance=FLOAT32[1], whole=True)


@pytest.mark.parametrize("kind", GATES)
def test_states_that_all_rows_begin_with(kind: str) -> None:
    """Learned, as one row or as equal ones; zeros of a size that varies."""
    random = np.random.default_rng(13)
    learned = {name: random.standard_normal((2, 1, UNITS)).astype(np.float32)
               for name in states_of(kind, 2)}  # fmt: skip
    repeated_rows = {name: np.repeat(array, 2, 1) for name, array in learned.items()}
    inputs = {name[0]: name for name in learned}
    built = with_constants(kind, [], repeated_rows, ("T", 2, FEATURES), inputs)
    same_at_sizes(built, {"T": 3}, tolerance=FLOAT32[1])
    x = random.standard_normal((3, 4, FEATURES)).astype(np.float32)
    close(from_onnx(built)(x)[0][2:], from_onnx(built)(x[:, 2:])[0], FLOAT32[0])

    sizes = {"two": np.array([2]), "units": np.array([UNITS]), "one": np.array([1])}
    shape = [
        node("Shape", "X", "shape"),
        node("Gather", "shape one", "rows_of"),
        node("Concat", "two rows_of units", "wide", axis=0),
    ]
    nodes = [*shape, *(node("Expand", f"{name} wide", f"{name}.all") for name in learned)]
    given = {name[0]: f"{name}.all" for name in learned}
    built = with_constants(kind, nodes, {**sizes, **learned}, ALWAYS["X"], given)
    same_at_sizes(built, {"T": 3, "B": 4}, {"T": 1, "B": 1}, tolerance=FLOAT32[1])

    zeros = [*shape, node("ConstantOfShape", "wide", "zeros")]
    built = with_constants(kind, zeros, sizes, ALWAYS["X"], dict.fromkeys(given, "zeros"))
    same_at_sizes(built, {"T": 3, "B": 4}, tolerance=FLOAT32[1])
    assert "constant" not in ops_of(built)


def test_one_state_of_two() -> None:
    random = np.random.default_rng(14)
    for name in ("h", "c"):
        state = {name: random.standard_normal((1, 1, UNITS)).astype(np.float32)}
        built = with_constants(
            "LSTM", [], state, ("T", 1, FEATURES), {name: name}, OUTPUTS["LSTM"], "reverse"
        )
        same_at_sizes(built, {"T": 4}, tolerance=FLOAT32[1])


@pytest.mark.parametrize("shape", [(1, 1, FEATURES), (1, "B", FEATURES), (4, 1, FEATURES)])
def test_sizes_that_are_fixed(shape: Any) -> None:
    """One frame, one row: sizes of 1 that are no axis."""
    for kind in GATES:
        inputs = {name[0]: name for name in states_of(kind, 1)}
        weights = weights_of(kind, FEATURES, UNITS, 1, 15)
        made, stored, names = recurrent(
            kind, "n", weights, OUTPUTS[kind], inputs={"X": "X", "lens": "lens", **inputs}
        )
        states = dict.fromkeys(states_of(kind, 1), (1, shape[1], UNITS))
        built = model(
            [made, node("Squeeze", "n.Y one", "y")],
            {"X": shape, "lens": ((shape[1],), "int32"), **states},
            " ".join(["y", *names[1:]]), {**stored, "one": np.array([1])},
        )  # fmt: skip
        same_at_sizes(built, {"B": 3}, {"B": 1}, below=2, tolerance=FLOAT32[1])


# ---- State in and out ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", GATES)
def test_in_pieces(kind: str) -> None:
    """A graph that takes states and gives them back, a piece after the other, has the same bits."""
    options = {"clip": 0.9, **CELLS[kind][-1]}
    peepholes = options.pop("peepholes", False)
    weights = weights_of(kind, FEATURES, UNITS, 1, 16, peepholes=peepholes)
    states = dict.fromkeys(states_of(kind, 1), (1, "B", UNITS))
    made, stored, names = recurrent(
        kind, "n", weights, OUTPUTS[kind],
        inputs={"X": "X", **{name[0]: name for name in states}}, **options,
    )  # fmt: skip
    nodes = [made, node("Squeeze", "n.Y one", "y")]
    built = model(nodes, {"X": ALWAYS["X"], **states}, " ".join(["y", *names[1:]]),
                  {**stored, "one": np.array([1])})  # fmt: skip
    feeds = {name: array for name, array in feeds_of(kind, 9, 2, [9, 9], 17).items()
             if name in ("X", *states)}  # fmt: skip
    whole = same_as_onnxruntime(built, feeds, tolerance=FLOAT32[1])
    ours, given = from_onnx(built), [feeds[name] for name in states]
    pieces = []
    for start, end in ((0, 1), (1, 4), (4, 9)):
        piece, *given = ours(feeds["X"][start:end], *given)
        pieces.append(piece)
    np.testing.assert_array_equal(np.concatenate(pieces), whole[0])
    for last, expected in zip(given, whole[1:], strict=True):
        np.testing.assert_array_equal(last, expected)


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"direction": "sideways"}, "direction='sideways'"),
        ({"direction": "bidirectional"}, "weights of 1 directions"),
        ({"activations": ["Relu"]}, "with 1 activations; expected 3"),
        ({"activations": ["Sigmoid", "Softmax", "Tanh"]}, "'Softmax', which ONNX does not have"),
        ({"activations": ["Sigmoid", "Affine", "Tanh"]}, "alpha nothing says: activation_alpha"),
        ({"activations": ["ScaledTanh", "Tanh", "Tanh"], "activation_alpha": [1.0]},
         "beta nothing says: activation_beta"),
        ({"activations": ["Elu", "Tanh", "Tanh"], "activation_alpha": [np.inf]}, "finite"),
        ({"clip": 0.0}, "clip is a normal number of float32 above 0"),
        ({"clip": -1.0}, "clip is a normal number of float32 above 0"),
        ({"hidden_size": 6}, "hidden_size=6 and weights of 5 units"),
        ({"layout": 2}, "layout=2"),
        ({"linear_before_reset": 1}, "linear_before_reset"),
    ],
)  # fmt: skip
def test_options_that_are_refused(options: dict[str, Any], words: str) -> None:
    weights = weights_of("LSTM", FEATURES, UNITS, 1, 18)
    one = node("LSTM", "X W R B", "- h", **{"hidden_size": UNITS, **options})
    one.name = "the_lstm"
    built = model([one], {"X": ALWAYS["X"]}, {"h": "float32"}, weights)
    refused(built, "node 'the_lstm', LSTM, opset 17", words)


def test_arrays_that_are_refused() -> None:
    weights = weights_of("GRU", FEATURES, UNITS, 1, 19)

    def built(inputs: str, constants: Mapping[str, Any], **more: Any) -> onnx.ModelProto:
        one = node("GRU", inputs, "- h", hidden_size=UNITS)
        one.name = "the_gru"
        return model([one], {"X": ALWAYS["X"], **more}, {"h": "float32"}, constants)

    short = {**weights, "R": weights["R"][:, :-1]}
    refused(built("X W R B", short), "weight R: expected shape (directions, 3*units, units)")
    lens = {**weights, "lens": np.array([1, 2], np.int32)}
    refused(built("X W R B lens", lens), "the_gru")
    refused(
        built("X W R B lens", {**weights, "lens": np.array([[1]])}), "sequence_lens is no vector"
    )
    state = {**weights, "h0": np.ones((2, 1, UNITS), np.float32)}
    words = "of states (2, 1, 5); expected those of 1 directions and 5 units"
    refused(built("X W R B - h0", state), words)
    with pytest.raises(UnsupportedLayerError, match="its W must be known") as caught:
        from_onnx(built("X W R B", {k: v for k, v in weights.items() if k != "W"}, W=(1, 15, 3)))
    assert caught.value.inputs == ["W"]
    flat = model([node("GRU", "X W R", "- h", hidden_size=UNITS)], {"X": ("B", FEATURES)},
                 {"h": "float32"}, {k: weights[k] for k in "WR"})  # fmt: skip
    refused(flat, "of 2 axes")
    for features in (4, "F"):
        wide = model([node("GRU", "X W R", "- h", hidden_size=UNITS)], {"X": ("T", "B", features)},
                     {"h": "float32"}, {k: weights[k] for k in "WR"})  # fmt: skip
        refused(wide, f"of {features} features, and weights of 3")
