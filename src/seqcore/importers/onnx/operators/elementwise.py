"""What treats every element alone."""

from __future__ import annotations

from typing import Any

from .table import Context, aten, operator


@operator("Add")
def add(context: Context, A: Any, B: Any) -> Any:
    return aten(context, "add", self=A, other=B)


@operator("Relu")
def relu(context: Context, X: Any) -> Any:
    return aten(context, "relu", self=X)
