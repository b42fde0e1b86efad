"""Writes the tables of docs/onnx.md from the importer's code and from what it makes of models.

    python docs/onnx_page.py

pages.py says how. It needs the package onnx. What an operator takes is its function's parameters,
what it refuses is read out of it (operator_tables.py), and its opsets are those that onnx knows.
Which node tests are refused is what tests/importers/onnx_node_tests.py lists, and its test proves.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from operator_tables import described, reached, texts_given, title, told_of
from pages import code, table, tables_of, write

import seqcore as sc
from seqcore.importers.aten import arguments, folding, reader, tensors
from seqcore.importers.onnx import graph, shape_values
from seqcore.importers.onnx.graph import NEWEST, OLDEST
from seqcore.importers.onnx.operators import OPERATORS
from seqcore.importers.onnx.operators import table as shared

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "importers"))

import onnx_node_tests

PAGE = Path(__file__).with_name("onnx.md")


# ---- Operators -----------------------------------------------------------------------------------


def operator_files() -> str:
    """Return a table for every file of operators."""
    modules = {function.__module__ for function in OPERATORS.values()}
    parts = []
    for name in sorted(modules):
        module = sys.modules[name]
        parts.append(f"**{title(module)}**\n\n{_operators(module)}")
    return "\n".join(parts)


def _operators(module: ModuleType) -> str:
    """Return the operators that a file defines; those of one code in one row."""
    entered = frozenset(made.__code__ for made in OPERATORS.values())
    rows = []
    for each in described(module, OPERATORS):
        told = code(each.arguments) + (f" (any: {code(each.ignored)})" if each.ignored else "")
        names = ", ".join(f"`{name}` {_opsets(name)}".strip() for name in each.names)
        calls = dict.fromkeys(
            call
            for function in each.functions
            for part in reached(function, entered)
            for call in texts_given(part, ("aten", "computed"))
        )
        rows.append([names, told, code(calls), "; ".join(each.refused)])
    head = ["operators, opsets", "inputs and attributes", "by ATen's", "refused"]
    return table(head, rows)


def _opsets(name: str) -> str:
    """Return the opsets in which what an operator means was written, as far as they are read."""
    domain, _, own = name.rpartition(".")
    versions = sorted(
        schema.since_version
        for schema in onnx.defs.get_all_schemas_with_history()
        if (schema.name, schema.domain) == (own, domain)
    )
    before = [version for version in versions if version <= OLDEST][-1:]
    after = [version for version in versions if OLDEST < version <= NEWEST]
    return f"({', '.join(map(str, before + after))})" if before + after else ""


def anywhere() -> str:
    """Return what may be said of any operator: by what they share."""
    told = {
        "inputs that must be known": shared, "arguments": arguments, "axes": tensors,
        "shapes as numbers": shape_values, "constants": folding, "the program": reader,
        "the graph": graph,
    }  # fmt: skip
    rows = [[what, "; ".join(said)] for what, module in told.items() if (said := told_of(module))]
    return table(["of", "refused"], rows)


def opsets() -> str:
    return f"Opsets {OLDEST} to {NEWEST} are read, with {len(OPERATORS)} operators.\n"


# ---- Node tests ----------------------------------------------------------------------------------


def node_tests() -> str:
    """Return how many of onnx's node tests of every operator pass."""
    rows = []
    totals = [0, 0]
    for name, (passed, refused) in onnx_node_tests.by_operator().items():
        why = "; ".join(dict.fromkeys(refused.values()))
        rows.append([f"`{name}`", str(len(passed)), str(len(refused)), why])
        totals = [totals[0] + len(passed), totals[1] + len(refused)]
    rows.append(["all", *map(str, totals), ""])
    return f"Of onnx {onnx.__version__}:\n\n" + table(["operator", "pass", "refused", "why"], rows)


# ---- Layouts -------------------------------------------------------------------------------------


def _weights(gates: int, units: int, features: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shapes = {"W": (1, gates * units, features), "R": (1, gates * units, units)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def model_of(
    nodes: Iterable[Any], inputs: Mapping[str, Any], outputs: Iterable[str],
    constants: Mapping[str, Any],
) -> onnx.ModelProto:  # fmt: skip
    """Return an ONNX model; inputs are shapes, of int64 where a name ends in "ids"."""
    taken = [
        helper.make_tensor_value_info(
            name, TensorProto.INT64 if name.endswith("ids") else TensorProto.FLOAT, shape
        )
        for name, shape in inputs.items()
    ]
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    made = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    body = helper.make_graph(list(nodes), "graph", taken, given, made)
    imports = [helper.make_opsetid("", 17)]
    return helper.make_model(body, opset_imports=imports, ir_version=8)


def layouts() -> str:
    """Import graphs of several layouts; return shapes of inputs and outputs."""
    node = helper.make_node
    cells = {"h0": ["D", "batch", 5], "c0": ["D", "batch", 5]}
    lstm = node("LSTM", ["x", "W", "R"], ["y", "h", "c"], hidden_size=5)
    stateful = node("LSTM", ["x", "W", "R", "", "", "h0", "c0"], ["y", "h", "c"], hidden_size=5)
    to_front = node("Transpose", ["x"], ["t"], perm=[1, 0, 2])
    gru = node("GRU", ["t", "W", "R"], ["y", "h"], hidden_size=5)
    flat = node("Reshape", ["x", "all"], ["y"])
    cases: list[tuple[str, Any, dict[str, Any], list[str], dict[str, Any]]] = [
        ("LSTM, as ONNX has it", [lstm], {"x": ["time", "batch", 4]}, ["y", "h", "c"],
         _weights(4, 5, 4)),
        ("LSTM with states in and out", [stateful],
         {"x": ["time", "batch", 4], **{k: [1, *v[1:]] for k, v in cells.items()}},
         ["y", "h", "c"], _weights(4, 5, 4)),
        ("GRU behind a Transpose, batch and time fixed by the exporter", [to_front, gru],
         {"x": [2, 7, 4]}, ["h"], _weights(3, 5, 4)),
        ("Reshape of all there is: rows meet", [flat], {"x": ["batch", 4]}, ["y"],
         {"all": np.array([-1])}),
    ]  # fmt: skip
    rows = []
    for what, nodes, inputs, outputs, constants in cases:
        model = sc.from_onnx(model_of(nodes, inputs, outputs, constants))
        plan, document = model._plan, model._graph.document
        taken = [each["name"] for each in document["inputs"] if each["kind"] == "data"]
        given = [each["value"] for each in document["outputs"]]
        shapes = [[_shape(plan.value_shape(name)) for name in names] for names in (taken, given)]
        graph_has = "; ".join(f"({', '.join(map(str, shape))})" for shape in inputs.values())
        rows.append([what, graph_has, "; ".join(shapes[0]), "; ".join(shapes[1])])
    return table(["graph", "its inputs", "inputs of the model", "outputs"], rows)


def _shape(sizes: Iterable[int | None]) -> str:
    return f"({', '.join('?' if size is None else str(size) for size in sizes)})"


TABLES: Mapping[str, Callable[[], str]] = tables_of(
    layouts, opsets, operator_files, anywhere, node_tests
)

if __name__ == "__main__":
    write(PAGE, TABLES)
