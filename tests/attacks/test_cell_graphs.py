"""Recurrent cells that lie: options and weights that contradict each other, or mean nothing.

Each is refused with the layer's name and what was expected. Not here: what cells compute
(test_cells_core.py), other graphs (test_graphs.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cells_by_hand import SIGMOID, TANH, Array, changed, graph_of, model_of, weights_of
from stream_models import floats

from seqcore._binding import Plan
from seqcore.errors import GraphError, SeqcoreError, UnsupportedLayerError, WeightsError
from seqcore.graph import Graph

PRODUCTS = {"layer_norm": "products", "epsilon": 0.1}
GATES = {"layer_norm": "gates", "epsilon": 0.1}


def cell(op: str, attrs: dict[str, Any] | None = None) -> Graph:
    """A cell that is in order; "peepholes" among its attributes brings the weight."""
    attrs = dict(attrs or {}) | ({"reset_after": True} if op == "gru" else {})
    weights = weights_of(np.random.default_rng(0), op, attrs, 4)
    return graph_of(op, attrs, weights, 4)


def with_weights(graph: Graph, **weights: Array | None) -> Graph:
    """The same with other weights; None takes one away."""
    document = dict(changed(graph).document)
    names = dict(document["nodes"][0]["weights"])
    for role, array in weights.items():
        names[role] = f"cell.{role}"
        if array is None:
            del names[role]
    document["nodes"][0]["weights"] = names
    given = {f"cell.{role}": array for role, array in weights.items() if array is not None}
    return Graph(document, dict(graph.tensors) | given)


def refused(graph: Graph, error: type[SeqcoreError], message: str) -> None:
    with pytest.raises(error, match=rf"layer 'cell' .*{message}"):
        Plan(graph.to_json(), dict(graph.tensors))
    if error is not WeightsError:  # options are refused before there are any weights
        with pytest.raises(error, match=rf"layer 'cell' .*{message}"):
            Plan(graph.to_json(), {}, shapes_only=True)


@pytest.mark.parametrize("key", ["clip", "cell_clip", "projection_clip"])
@pytest.mark.parametrize(
    "value", [0, -1, -0.0, 1e-46, 1e-38, 1e39, "nan", "inf", True, None, [1], {"clip": 1}]
)
def test_limits_are_numbers_above_zero(key: str, value: Any) -> None:
    graph = cell("lstm", {"projection": 3, "clip": 1, "cell_clip": 1, "projection_clip": 1})
    document = dict(changed(graph).document)
    document["nodes"][0]["attrs"][key] = value
    message = f"'{key}' must be a normal float32 number above 0"
    refused(Graph(document, graph.tensors), GraphError, message)


def test_a_projections_limit_needs_a_projection() -> None:
    refused(cell("lstm", {"projection_clip": 1}), GraphError, "'projection_clip', but there is no")


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("simple_rnn", {"gate_activations": {}}),
        *(
            (op, {key: value})
            for op in ("simple_rnn", "gru")
            for key, value in {
                "cell_clip": 1, "projection_clip": 1, "input_forget": True, "layer_norm": "gates",
                "norm_state": "none", "epsilon": 0.1,
            }.items()
        ),
        ("simple_rnn", {"update_keeps": True}), ("lstm", {"update_keeps": False}),
    ],
)  # fmt: skip
def test_options_of_other_cells(op: str, attrs: dict[str, Any]) -> None:
    (key,) = attrs
    refused(changed(cell(op), **attrs), GraphError, f"attribute '{key}' is none of this cell's")


@pytest.mark.parametrize("op", ["lstm", "gru"])
@pytest.mark.parametrize("letter", ["x", "", "ii", "I", "if", "\u0131", "activation"])
def test_letters_that_are_no_gates(op: str, letter: str) -> None:
    graph = changed(cell(op), gate_activations={letter: TANH})
    refused(graph, GraphError, f"'gate_activations': '{letter}' is no gate; the cell's are")


def test_letters_of_the_other_cell() -> None:
    for op, letters in (("lstm", "rzn"), ("gru", "ifgoh")):
        for letter in letters:
            graph = changed(cell(op), gate_activations={letter: TANH})
            refused(graph, GraphError, f"'{letter}' is no gate")


@pytest.mark.parametrize("value", [[], "tanh", 1, False, None, [["i", *TANH]]])
def test_gate_activations_are_an_object(value: Any) -> None:
    graph = cell("lstm")
    document = dict(changed(graph).document)
    document["nodes"][0]["attrs"]["gate_activations"] = value
    refused(Graph(document, graph.tensors), GraphError, "'gate_activations' must be an object")


@pytest.mark.parametrize("value", ["tanh", ["tanh"], ["tanh", 0], [0, 0, 0], ["celu", 0, 0], None])
def test_an_activation_is_said_in_full(value: Any) -> None:
    refused(changed(cell("lstm"), gate_activations={"g": value}), GraphError, "'gate g' must be an")


def test_an_activation_that_nobody_knows() -> None:
    graph = changed(cell("gru"), gate_activations={"z": ["sigmoide", 0, 0]})
    refused(graph, UnsupportedLayerError, "gate z 'sigmoide' is not known")


def test_coupled_gates_have_no_f() -> None:
    """What is said of an f that nobody computes is refused; input_forget: false says nothing."""
    for attrs, found in (
        ({"gate_activations": {"o": SIGMOID, "f": TANH}}, "'gate_activations' has an f"),
        (PRODUCTS, "'input_forget' leaves no f"),
    ):  # fmt: skip
        refused(cell("lstm", attrs | {"input_forget": True}), GraphError, found)
        model_of(cell("lstm", attrs | {"input_forget": False}))


@pytest.mark.parametrize("key", ["input_forget", "update_keeps"])
@pytest.mark.parametrize("value", [0, 1, "true", [True]])
def test_switches_are_true_or_false(key: str, value: Any) -> None:
    graph = changed(cell("lstm" if key == "input_forget" else "gru"), **{key: value})
    refused(graph, GraphError, f"'{key}' must be true or false")


@pytest.mark.parametrize("value", ["none", "Products", "", 1, True, ["gates"]])
def test_a_norm_is_of_products_or_gates(value: Any) -> None:
    refused(changed(cell("lstm", GATES), layer_norm=value), GraphError, "'layer_norm' must be")


@pytest.mark.parametrize("value", [-1e-9, "nan", 1e39, True, "1e-5"])
def test_an_epsilon_is_not_negative(value: Any) -> None:
    refused(changed(cell("lstm", GATES), epsilon=value), GraphError, "'epsilon' must be")


def test_a_norm_has_an_epsilon_and_no_epsilon_is_alone() -> None:
    refused(changed(cell("lstm", PRODUCTS), epsilon=None), GraphError, "'epsilon' must be")
    for key, value in (("epsilon", 0.1), ("norm_state", "kept"), ("norm_state", "none")):
        refused(changed(cell("lstm"), **{key: value}), GraphError, f"'{key}' has no meaning")


@pytest.mark.parametrize("value", ["", "Kept", 1, True, "products"])
def test_a_states_norm_is_one_of_three(value: Any) -> None:
    refused(changed(cell("lstm", GATES), norm_state=value), GraphError, "'norm_state' must be")


@pytest.mark.parametrize("attrs", [PRODUCTS, GATES])
def test_peepholes_and_norms_exclude_each_other(attrs: dict[str, Any]) -> None:
    graph = with_weights(cell("lstm", attrs), peepholes=np.ones((3, 4), np.float32))
    refused(graph, GraphError, "'peepholes' and 'layer_norm' exclude each other")


@pytest.mark.parametrize("op", ["gru", "simple_rnn"])
def test_peepholes_are_an_lstms(op: str) -> None:
    graph = with_weights(cell(op), peepholes=np.ones((3, 4), np.float32))
    refused(graph, GraphError, "weight 'peepholes' is none of this cell's")


@pytest.mark.parametrize(
    ("attrs", "roles"),
    [
        ({}, ["input_scale", "recurrent_offset", "gate_scale", "state_offset"]),
        (PRODUCTS, ["gate_scale", "gate_offset", "state_scale"]),
        (GATES | {"norm_state": "kept"}, ["input_offset", "recurrent_scale"]),
        (GATES | {"norm_state": "none"}, ["state_scale"]),
    ],
)
def test_weights_that_no_norm_reads(attrs: dict[str, Any], roles: list[str]) -> None:
    for role in roles:
        graph = with_weights(cell("lstm", attrs), **{role: np.ones(16, np.float32)})
        refused(graph, GraphError, f"weight '{role}' is named, but no norm reads it")


@pytest.mark.parametrize("shape", [(3, 3), (3, 5), (12,), (1, 12), (4, 3), (3, 4, 1), (2, 4), ()])
def test_peepholes_have_three_rows_of_units(shape: tuple[int, ...]) -> None:
    graph = with_weights(cell("lstm"), peepholes=np.ones(shape, np.float32))
    refused(graph, WeightsError, r"'peepholes' must be float32 of shape \(3, 4\), found")


@pytest.mark.parametrize(
    ("attrs", "roles"),
    [
        (PRODUCTS, ["input_scale", "input_offset", "recurrent_scale", "recurrent_offset"]),
        (GATES, ["gate_scale", "gate_offset"]),
        (GATES | {"norm_state": "output"}, ["state_scale", "state_offset"]),
    ],
)
def test_weights_of_norms(attrs: dict[str, Any], roles: list[str]) -> None:
    size = 4 if "norm_state" in attrs else 16
    graph = cell("lstm", attrs)
    for role in roles:
        for shape in ((size - 1,), (size + 1,), (1, size), (size, 1), (0,)):
            wrong = with_weights(graph, **{role: np.ones(shape, np.float32)})
            refused(wrong, WeightsError, rf"'{role}' must be float32 of shape \({size},?\)")
        whole = with_weights(graph, **{role: np.ones(size, np.int64)})
        refused(whole, WeightsError, f"'{role}' must be float32 .*found int64")
        refused(with_weights(graph, **{role: None}), GraphError, f"weight '{role}' is not named")
        tensors = {name: array for name, array in graph.tensors.items() if not name.endswith(role)}
        refused(Graph(graph.document, tensors), WeightsError, f"weight '{role}' is missing")


def test_a_plan_without_weights_tells_shapes_and_does_not_run() -> None:
    for attrs in ({"peepholes": True}, PRODUCTS | {"norm_state": "kept"}, GATES):
        graph = cell("lstm", attrs)
        for role in graph.document["nodes"][0]["weights"]:
            tensors = {n: a for n, a in graph.tensors.items() if n != f"cell.{role}"}
            plan = Plan(graph.to_json(), tensors, shapes_only=True)
            assert plan.value_shape("y") == (None, None, 4)
            with pytest.raises(WeightsError, match="shapes only"):
                plan.run([floats(np.random.default_rng(0), 1, 2, 5), None, None, None, None])


def test_weights_may_be_anything_and_nothing_crashes() -> None:
    """NaN, infinities, huge and tiny numbers everywhere: results are numbers or NaN."""
    odd = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-40, 0, -0.0], np.float32)
    rng = np.random.default_rng(1)
    for attrs in (
        {"peepholes": True, "clip": 1.0, "cell_clip": 1.0, "projection": 3, "projection_clip": 1.0},
        PRODUCTS | {"norm_state": "kept", "epsilon": 0}, GATES | {"norm_state": "output"},
    ):  # fmt: skip
        graph = cell("lstm", attrs)
        for role in graph.document["nodes"][0]["weights"]:
            array = graph.tensors[f"cell.{role}"]
            there = with_weights(graph, **{role: rng.choice(odd, array.shape)})
            y, h, c = model_of(there)(floats(rng, 2, 3, 5))
            assert (y.shape[:2], h.shape[0], c.shape) == ((2, 3), 2, (2, 4))


def test_constant_sums_have_no_deviation() -> None:
    """Of equal sums, 0 deviation: the offset alone, and no NaN but where epsilon is 0."""
    for epsilon, finite in ((0.1, True), (0, False)):
        graph = cell("lstm", GATES | {"epsilon": epsilon})
        zeros = {role: np.zeros_like(graph.tensors[f"cell.{role}"]) for role in ("W", "U")}
        ones = np.full(16, 5, np.float32)
        model = model_of(with_weights(graph, **zeros, b=ones))
        y = model(np.ones((1, 3, 5), np.float32))[0]
        assert np.isfinite(y).all() == finite


def test_plain_activations_are_read_where_gates_have_their_own() -> None:
    """The two defaults stay required, and are checked: a graph says all of its options."""
    gates = dict.fromkeys("ifgoh", SIGMOID)
    graph = cell("lstm", {"gate_activations": gates})
    refused(changed(graph, activation=None), GraphError, "'activation' must be an activation")
    missing = changed(graph, recurrent_activation=None)
    refused(missing, GraphError, "'recurrent_activation' must be an activation")
