"""Graphs within graphs: If, where it is known which of its branches runs."""

from __future__ import annotations

from typing import Any

from ....formats.onnx_programs import OnnxGraph
from ...aten.tensors import RefusedError
from .table import Context, operator, weights


@operator("If")
def branch(context: Context, cond: Any, *, then_branch: OnnxGraph, else_branch: OnnxGraph) -> Any:
    condition = weights(cond, "condition")
    if condition.size != 1:
        raise RefusedError(f"of {condition.size} conditions")
    return context.read_branch(then_branch if condition.reshape(()) else else_branch)
