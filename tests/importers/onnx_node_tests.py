"""The onnx package's own node tests of every operator that is supported, run as they stand.

    python tests/importers/onnx_node_tests.py

prints a table by operator: how many pass, how many are refused, and why. Models, numbers and
tolerances are the package's, and so is the code that compares. A node test belongs here if every
operator in its graph is in the table of operators; those that are made of an operator's definition
("expanded") are counted with that operator.
"""

from __future__ import annotations

import functools
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import onnx
from onnx.backend.test import BackendTest
from onnx.backend.test.loader import load_model_tests

import seqcore.onnx_backend as backend
from seqcore.errors import SeqcoreError
from seqcore.importers.onnx.operators import OPERATORS

_EXPANDED = re.compile(r"_expanded(_ver\d+)?$")


class Refusal(NamedTuple):
    """Why node tests are refused, and which: regular expressions of the error and of all names."""

    why: str
    said: str
    tests: str


# Every node test that is refused; all others pass.
REFUSED = (
    Refusal(
        "results of 2, 4 and 8 bits that NumPy has not",
        r"\(to (u?int[24]|float[48]_\w+)\)",
        r"test_cast(like)?_(no_saturate_|e8m0_)?\w+_to_(FLOAT[48]|U?INT[24])\w*"
        r"|test_quantizelinear_(e4m3fn|e5m2|float4e2m1)",
    ),
    Refusal("strings", "is string", r"test_equal_string(_broadcast)?"),
    Refusal(
        "sequences and optionals at the graph's ends",
        r"it is no tensor .(optional|sequence)|a sequence of tensors",
        r"test_identity_(opt|sequence)|test_if_(opt|seq)",
    ),
    Refusal(
        "training",
        "in training mode",
        r"test_batchnorm_(epsilon|example)_training_mode|test_training_dropout(_default)?(_mask)?",
    ),
    Refusal(
        "more than five axes beside the batch",
        "a tuple of 0 to 5 sizes",
        r"test_nllloss_NCd1d2d3d4d5_\w+_expanded",
    ),
)


# ---- Which there are -----------------------------------------------------------------------------


@functools.cache
def node_tests() -> Mapping[str, str]:
    """Return the operator of every node test whose operators are all supported, by its name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, where onnx makes infinities
        cases = {case.name: case for case in load_model_tests(kind="node")}
    first = {name: _title(case.model.graph.node[0]) for name, case in cases.items()}
    return {
        name: first.get(_EXPANDED.sub("", name), first[name])
        for name, case in cases.items()
        if set(map(_title, _nodes(case.model.graph))) <= set(OPERATORS)
    }


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield all nodes, those of graphs in attributes too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _title(node: onnx.NodeProto) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain else str(node.op_type)


# ---- Running them --------------------------------------------------------------------------------


@functools.cache
def _tests() -> Any:
    return BackendTest(backend, __name__).test_cases["OnnxBackendNodeModelTest"]


def outcome(name: str) -> Exception | None:
    """Run a node test of onnx's; return what it raises, None if it passes."""
    test: Callable[[Any], None] = getattr(_tests(), f"{name}_cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            test(None)
        except Exception as error:
            return error
    return None


def refusal_of(name: str) -> Refusal | None:
    """Return why a node test is refused, None if it shall pass."""
    found = [refusal for refusal in REFUSED if re.fullmatch(refusal.tests, name)]
    assert len(found) < 2, name
    return found[0] if found else None


def is_as_listed(name: str, error: Exception | None) -> bool:
    """Tell whether a node test passes, or is refused for the reason that is listed."""
    refusal = refusal_of(name)
    if refusal is None:
        return error is None
    return isinstance(error, SeqcoreError) and bool(re.search(refusal.said, str(error)))


def told(error: Exception | None) -> str:
    """Return an outcome in a line."""
    said = " ".join(str(error).split())
    return "passes, and is listed" if error is None else f"{type(error).__name__}: {said[:500]}"


# ---- A table -------------------------------------------------------------------------------------


def by_operator() -> dict[str, tuple[list[str], dict[str, str]]]:
    """Return the node tests of every operator: those that pass, and why others are refused."""
    found: dict[str, tuple[list[str], dict[str, str]]] = {}
    for name, operator in sorted(node_tests().items(), key=lambda item: (item[1], item[0])):
        passed, refused = found.setdefault(operator, ([], {}))
        refusal = refusal_of(name)
        if refusal is None:
            passed.append(name)
        else:
            refused[name] = refusal.why
    return found


def main() -> int:
    """Run all, and print the table; what is not as REFUSED says comes behind it."""
    wrong = []
    print("| operator | passed | refused | why |\n| --- | ---: | ---: | --- |")
    totals = [0, 0]
    for operator, (passed, refused) in by_operator().items():
        for name in (*passed, *refused):
            error = outcome(name)
            if not is_as_listed(name, error):
                wrong.append(f"{name}: {told(error)}")
        totals[0] += len(passed)
        totals[1] += len(refused)
        reasons = "; ".join(dict.fromkeys(refused.values()))
        print(f"| {operator} | {len(passed)} | {len(refused)} | {reasons} |")
    print(f"| all | {totals[0]} | {totals[1]} | |")
    if wrong:
        print(f"\n{len(wrong)} are not as they are said to be:", *wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
