"""The table of operators.

An operator is a function of a `Context` and of the arguments of torch's schema by their names,
which returns what torch returns: `Traced`, `Constant`, a size, or a tuple of these. Arguments that
it does not name are refused, for nobody knows that they do not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["OPERATORS", "operator"]

OPERATORS: dict[str, Callable[..., Any]] = {}


def operator(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function into the table, under names without their overload: "aten.view"."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            assert name not in OPERATORS, name
            OPERATORS[name] = function
        return function

    return enter
