"""Truth, for importers: Compare, Logical, Where.

True is any number but 0, a NaN too; what these layers make is 1 or 0. Values meet as in `Add`, and
no mask is left behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..graph import GraphBuilder, Site, Value
from .base import Layer, choice, real

__all__ = ["Compare", "Logical", "Where"]


class Compare(Layer):
    """1 where a comparison holds, else 0: of two values, or of one with a number.

    Parameters
    ----------
    function : "equal", "not_equal", "less", "less_equal", "greater" or "greater_equal"
    number : float, optional
        What the one value is compared with, rounded to float32; left out, a call takes two values.
        Ids are compared with the number as it is, whole or not.
    name : str, optional

    Raises
    ------
    OptionError

    Notes
    -----
    As IEEE has it: NaN is equal to nothing, and neither less nor greater.
    """

    def __init__(
        self, function: str, number: float | None = None, *, name: str | None = None
    ) -> None:
        super().__init__(name)
        known = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
        self.function = choice(function, self.label, "function", known)
        self.number = None if number is None else real(number, self.label, "number")
        self.inputs = (2, 2) if number is None else (1, 1)

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        attrs = {"function": self.function, "number": self.number}
        return graph.node("compare", site, inputs, attrs=attrs)


class Logical(Layer):
    """1 where a connective of two truths holds, else 0; "not" is of one.

    Parameters
    ----------
    function : "and", "or", "xor" or "not"
    name : str, optional

    Raises
    ------
    OptionError
    """

    def __init__(self, function: str, *, name: str | None = None) -> None:
        super().__init__(name)
        known = ("and", "or", "xor", "not")
        self.function = choice(function, self.label, "function", known)
        self.inputs = (1, 1) if function == "not" else (2, 2)

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return graph.node("logical", site, inputs, attrs={"function": self.function})


class Where(Layer):
    """One value where a condition is true, another where it is not: (condition, [a], [b]).

    What is not taken has no part in the result, NaN or infinite as it may be.

    Parameters
    ----------
    a, b : float, optional
        Numbers that stand for the values; what is left out is given at the call.
    name : str, optional

    Raises
    ------
    OptionError
    """

    def __init__(
        self, a: float | None = None, b: float | None = None, *, name: str | None = None
    ) -> None:
        super().__init__(name)
        self.numbers: dict[str, Any] = {
            which: None if number is None else real(number, self.label, which)
            for which, number in (("a", a), ("b", b))
        }
        count = 1 + sum(number is None for number in self.numbers.values())
        self.inputs = (count, count)

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return graph.node("where", site, inputs, attrs=self.numbers)
