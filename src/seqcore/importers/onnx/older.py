"""Opsets before the oldest whose meaning is known: read where their operators meant the same.

A file of opset 7 that adds and multiplies is one of opset 9 in all but the number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...errors import ModelFileError
from ...formats.onnx_programs import OnnxGraph, OnnxProgram

__all__ = ["read_as"]


def read_as(program: OnnxProgram, oldest: int, newest: int, source: str) -> int:
    """Return as of which opset a program's operators are read.

    Raises
    ------
    ModelFileError
        It is newer than `newest`, or older than `oldest` and of an operator that meant another
        thing.
    """
    opset = program.opsets.get("", newest)
    if oldest <= opset <= newest:
        return opset
    known = f"{source}: opset {opset}; {oldest} to {newest} are known"
    if opset > newest:
        raise ModelFileError(known)
    changed = sorted({op for op in _operators(program.graph) if _changes(op, opset, oldest)})
    if changed:
        names = ", ".join(changed[:9])
        raise ModelFileError(f"{known}, and before these {names} meant other things")
    return oldest


def _operators(graph: OnnxGraph) -> Iterator[str]:
    """Yield the operators of ONNX's own domain, those of graphs in attributes too."""
    for node in graph.nodes:
        if not node.domain:
            yield node.op
        for value in node.attributes.values():
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, OnnxGraph):
                    yield from _operators(inner)


def _changes(op: str, opset: int, oldest: int) -> bool:
    import onnx  # which has read the file

    def since(version: int) -> Any:
        return onnx.defs.get_schema(op, max_inclusive_version=version).since_version

    try:
        return bool(since(opset) != since(oldest))
    except onnx.defs.SchemaError:  # there was none, or is none at all
        return True
