"""The table of operators.

An operator is a function of a `Context` and of the arguments of torch's schema by their names,
which returns what torch returns: `Traced`, `Constant`, a size, or a tuple of these. Arguments that
it does not name are refused, for nobody knows that they do not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["OPERATORS", "entering", "operator"]

Operator = Callable[..., Any]


def entering(table: dict[str, Operator]) -> Callable[..., Callable[[Operator], Operator]]:
    """Return a decorator that enters a function into a table, under all names that it is given."""

    def under(*names: str) -> Callable[[Operator], Operator]:
        def enter(function: Operator) -> Operator:
            for name in names:
                assert name not in table, name
                table[name] = function
            return function

        return enter

    return under


OPERATORS: dict[str, Operator] = {}
operator = entering(OPERATORS)  # names are without their overload: "aten.view"
