"""Attacks through graphs of ONNX that are none, attributes that lie, and functions without end."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from typing import Any

import onnx
import pytest
from hostile_onnx import (
    MIB,
    blob,
    changed,
    refused,
    refused_within,
    sparse,
    varint,
    with_graph,
)
from onnx import helper
from onnx_files import function, graph, model, small, value

from seqcore.formats import onnx_linking
from seqcore.formats.onnx_files import read_onnx

node = helper.make_node


# ---- Graphs --------------------------------------------------------------------------------------


def of_nodes(*nodes: Any, outputs: Sequence[str] = ("y",)) -> onnx.ModelProto:
    return model(graph(nodes, ["x"], list(outputs)))


def test_cycles():
    refused(
        of_nodes(
            node("Neg", ["x"], ["y"]),
            node("Add", ["x", "c"], ["a"], "first"),
            node("Neg", ["a"], ["b"], "second"),
            node("Neg", ["b"], ["c"], "third"),
            node("Neg", ["c"], ["d"], "outside"),
        ),
        "node '(first|second|third)' .*: a circle",
    )


def test_a_node_that_reads_itself():
    refused(of_nodes(node("Add", ["x", "y"], ["y"], "self")), "node 'self' .*: a circle")


def test_a_cycle_through_a_branch():
    branches = {
        name: graph([node("Neg", ["y"], ["r"])], [], [value("r")])
        for name in ("then_branch", "else_branch")
    }
    refused(of_nodes(node("If", ["x"], ["y"], "choice", **branches)), "'choice' .*: a circle")


def test_dangling_names():
    refused(of_nodes(node("Add", ["x", "none"], ["y"], "sum")), "'sum' .*'none', which nothing")


def test_dangling_names_in_a_branch():
    """What one branch makes, the other does not see."""
    made = {
        "then_branch": graph([node("Neg", ["x"], ["r"])], [], [value("r")]),
        "else_branch": graph([node("Neg", ["r"], ["s"])], [], [value("s")]),
    }
    refused(of_nodes(node("If", ["x"], ["y"], **made)), "'r', which nothing")


def test_dangling_names_of_what_a_branch_makes():
    branches = {
        name: graph([node("Neg", ["x"], ["r"])], [], [value("r")])
        for name in ("then_branch", "else_branch")
    }
    nodes = [node("If", ["x"], ["z"], **branches), node("Neg", ["r"], ["y"], "out")]
    refused(of_nodes(*nodes), "'out' .*'r', which nothing")


def test_dangling_names_in_a_function():
    """A function does not see the graph that calls it."""
    inner = function("f", ["a"], ["b"], [node("Add", ["a", "x"], ["b"])])
    call = graph([node("f", ["x"], ["y"], domain="own")], ["x"], ["y"])
    refused(model(call, functions=[inner], domains={"own": 1}), "'x', which nothing")


def test_missing_initialisers():
    refused(changed(lambda m: m.graph.ClearField("initializer")), "'w', which nothing")


def test_outputs_that_nothing_makes():
    refused(of_nodes(node("Neg", ["x"], ["z"])), "output 'y' is made by nothing")


def test_outputs_twice():
    refused(of_nodes(node("Neg", ["x"], ["y"]), outputs=("y", "y")), "two outputs are named 'y'")


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Neg", ["x"], ["y"]), node("Abs", ["x"], ["y"])],
        [node("Split", ["x"], ["y", "y"])],
        [node("Neg", ["x"], ["x"]), node("Neg", ["x"], ["y"])],
    ],
    ids=["nodes", "outputs", "input"],
)
def test_names_that_are_made_twice(nodes):
    refused(of_nodes(*nodes), "made twice")


def test_inputs_twice():
    refused(changed(lambda m: m.graph.input.add().CopyFrom(value("x"))), "'x' is made twice")


def test_initialisers_twice():
    made = small()
    made.graph.initializer.add().CopyFrom(made.graph.initializer[0])
    refused(made, "two initialisers are named 'w'")


def test_initialisers_twice_one_of_them_sparse():
    made = sparse([3], [0, 1])
    made.graph.initializer.add().CopyFrom(small().graph.initializer[0])
    refused(made, "two initialisers are named 'w'")


def test_initialisers_that_a_node_makes():
    refused(changed(lambda m: m.graph.node.append(node("Neg", ["x"], ["w"]))), "made twice")


def test_an_initialiser_of_another_shape_than_its_input():
    refused(changed(lambda m: m.graph.input.add().CopyFrom(value("w", (4,)))), "'w' has shape")


def test_a_branch_that_makes_a_name_of_the_graph_around():
    """ONNX Runtime refuses it too; which of the two is meant?"""
    branches = {
        name: graph([node("Neg", ["x"], ["t"])], [], [value("t")])
        for name in ("then_branch", "else_branch")
    }
    nodes = [node("Abs", ["x"], ["t"]), node("If", ["t"], ["y"], **branches)]
    refused(of_nodes(*nodes), "'t' is made twice")


def test_nameless_initialisers_and_values():
    refused(changed(lambda m: setattr(m.graph.initializer[0], "name", "")), "without a name")
    refused(changed(lambda m: setattr(m.graph.input[0], "name", "")), "without a name")


def test_a_node_without_an_operator():
    refused(changed(lambda m: m.graph.node[0].ClearField("op_type")), "no operator")


def test_a_model_without_a_graph():
    refused(changed(lambda m: m.ClearField("graph")), "without a graph")


def test_a_long_chain_in_reverse():
    """No recursion, and no square of its length."""
    count = 10_000
    nodes = [node("Neg", [f"v{at}"], [f"v{at + 1}"]) for at in reversed(range(count))]
    made = model(graph(nodes, ["v0"], [f"v{count}"]))
    found = read_onnx(made).graph.nodes
    assert [n.inputs[0] for n in found] == [f"v{at}" for at in range(count)]


def test_branches_in_branches():
    """ONNX Runtime and protobuf itself would follow a hundred."""
    inner = graph([node("Neg", ["x"], ["r"])], [], [value("r")])
    for _ in range(30):
        inner = graph([node("If", ["x"], ["r"], then_branch=inner)], [], [value("r")])
    refused(of_nodes(node("If", ["x"], ["y"], then_branch=inner)), "nested more than 64 deep")


# ---- Attributes ----------------------------------------------------------------------------------


def with_attribute(**fields: Any) -> onnx.ModelProto:
    return changed(lambda m: m.graph.node[0].attribute.add(**{"name": "k"} | fields))


@pytest.mark.parametrize("kind", [0, 15, 99])
def test_attributes_of_no_kind(kind):
    made = with_attribute(i=1)
    made.graph.node[0].attribute[0].ClearField("type")
    data = made.SerializeToString()
    refused(data, "of kind 0")
    # protobuf drops numbers that its enumeration has not
    refused(
        with_graph(blob(1, blob(4, b"A") + blob(5, blob(1, b"k") + b"\xa0\1" + varint(kind)))),
        "of kind 0",
    )


def test_attributes_of_two_kinds():
    refused(with_attribute(type=onnx.AttributeProto.INT, i=1, f=2.0), "'k': has a value in f")


def test_attributes_without_a_value():
    refused(with_attribute(type=onnx.AttributeProto.TENSOR), "'k': has no value")
    refused(with_attribute(type=onnx.AttributeProto.GRAPH), "'k': has no value")


def test_attributes_twice():
    made = with_attribute(type=onnx.AttributeProto.INT, i=1)
    made.graph.node[0].attribute.add().CopyFrom(made.graph.node[0].attribute[0])
    refused(made, "'k' is given twice")


def test_references_outside_of_functions():
    refused(with_attribute(type=onnx.AttributeProto.INT, ref_attr_name="z"), "outside of one")


# ---- Functions -----------------------------------------------------------------------------------


def calling(*functions: onnx.FunctionProto, **attributes: Any) -> onnx.ModelProto:
    """A graph that calls the last one."""
    call = node(functions[-1].name, ["x"], ["y"], domain="own", **attributes)
    return model(graph([call], ["x"], ["y"]), functions=functions, domains={"own": 1})


def test_functions_that_call_themselves():
    refused(
        calling(function("f", ["a"], ["b"], [node("f", ["a"], ["b"], domain="own")])),
        "calls itself",
    )


def test_functions_that_call_each_other():
    pair = [
        function(f, ["a"], ["b"], [node(g, ["a"], ["b"], domain="own")])
        for f, g in (("f", "g"), ("g", "f"))
    ]
    refused(calling(*pair), "calls itself")


def test_functions_that_call_themselves_in_a_branch():
    inner = graph([node("f", ["a"], ["r"], domain="own")], [], [value("r")])
    body = [node("If", ["a"], ["b"], then_branch=inner, else_branch=inner)]
    refused(calling(function("f", ["a"], ["b"], body)), "calls itself")


def doubling(levels: int, first: onnx.FunctionProto) -> list[onnx.FunctionProto]:
    functions = [first]
    for level in range(levels):
        last = functions[-1].name
        body = [node(last, ["a"], ["t"], domain="own"), node(last, ["t"], ["b"], domain="own")]
        functions.append(function(f"f{level}", ["a"], ["b"], body))
    return functions


def test_functions_that_double(monkeypatch):
    """Memory and time end with the bound: 2^40 nodes in 2 KB."""
    monkeypatch.setattr(onnx_linking, "MAX_PARTS", 1 << 14)
    functions = doubling(40, function("leaf", ["a"], ["b"], [node("Neg", ["a"], ["b"])]))
    refused_within(calling(*functions).SerializeToString(), "more than 16384 parts", 20 * MIB)


def test_empty_functions_that_double(monkeypatch):
    """Calls that leave no node behind take time all the same."""
    monkeypatch.setattr(onnx_linking, "MAX_PARTS", 1 << 14)
    functions = [function("leaf", [], [], [])]
    for level in range(40):
        call = node(functions[-1].name, [], [], domain="own")
        functions.append(function(f"f{level}", [], [], [call, call]))
    refused_within(
        calling_nothing(functions).SerializeToString(), "more than 16384 parts", 20 * MIB
    )


def calling_nothing(functions: list[onnx.FunctionProto]) -> onnx.ModelProto:
    call = node(functions[-1].name, [], [], domain="own")
    made = graph([call, node("Neg", ["x"], ["y"])], ["x"], ["y"])
    return model(made, functions=functions, domains={"own": 1})


def test_long_names_that_double():
    """Names with numbers are cut: 4000 characters a copy would be gigabytes."""
    long = "n" * 4000
    leaf = function(
        "leaf", ["a"], ["b"], [node("Neg", ["a"], [long], long), node("Abs", [long], ["b"])]
    )
    functions = doubling(8, leaf)
    tracemalloc.start()
    try:
        assert len(read_onnx(calling(*functions)).graph.nodes) == 512
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


def test_functions_in_functions():
    functions = [function("f0", ["a"], ["b"], [node("Neg", ["a"], ["b"])])]
    for level in range(1, 200):
        body = [node(f"f{level - 1}", ["a"], ["b"], domain="own")]
        functions.append(function(f"f{level}", ["a"], ["b"], body))
    refused(calling(*functions), "nested more than 64 deep")


def test_functions_twice():
    same = function("f", ["a"], ["b"], [node("Neg", ["a"], ["b"])])
    refused(calling(same, same), "two functions are named 'f'")


def test_calls_with_too_much():
    leaf = function("f", ["a"], ["b"], [node("Neg", ["a"], ["b"])])
    made = calling(leaf)
    made.graph.node[0].input.append("x")
    refused(made, "2 inputs, and its function has 1")
    made = calling(leaf)
    made.graph.node[0].output.append("z")
    refused(made, "2 outputs, and its function has 1")
    refused(calling(leaf, alpha=1.0), "'alpha', which its function has not")


def test_attributes_of_another_kind_than_the_function_says():
    leaf = function("f", ["a"], ["b"], [node("Elu", ["a"], ["b"])], attributes=["k"])
    leaf.node[0].attribute.add(name="alpha", ref_attr_name="k", type=onnx.AttributeProto.FLOAT)
    refused(calling(leaf, k="text"), "another kind")


def test_outputs_of_functions_that_nothing_makes():
    refused(calling(function("f", ["a"], ["b"], [node("Neg", ["a"], ["c"])])), "'b' is made by")


def test_inputs_of_functions_that_are_made_again():
    refused(calling(function("f", ["a"], ["b"], [node("Neg", ["b"], ["a"])])), "made twice")


def test_functions_with_inputs_of_one_name():
    refused(calling(function("f", ["a", "a"], ["b"], [node("Neg", ["a"], ["b"])])), "the same name")
