"""Layers that make one value of several: Add, Multiply, Concatenate."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import OptionError
from ..graph import GraphBuilder, Site, Value
from .base import Layer, Plain, whole

__all__ = ["Add", "Concatenate", "Merge", "Multiply"]


class Merge(Plain):
    inputs = (2, 2**31 - 1)
    time = "kept"


class Add(Merge):
    """The sum of two or more values of one rank; an axis of size 1 is broadcast, but the batch."""

    op = "add"


class Multiply(Merge):
    """The product of two or more values of one rank, broadcast as in `Add`."""

    op = "multiply"


class Concatenate(Layer):
    """Two or more values joined along one axis.

    Parameters
    ----------
    axis : int
        As in Keras: 1 is the axis after the batch, -1 the last. Never the batch.
    name : str, optional

    Raises
    ------
    OptionError
    """

    inputs = Merge.inputs

    def __init__(self, axis: int = -1, *, name: str | None = None) -> None:
        super().__init__(name)
        self.axis = whole(axis, self.label, "axis", least=-5)
        if self.axis == 0:
            raise OptionError(f"{self.label}: axis 0 is the batch, whose rows stay apart")

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return graph.node("concat", site, inputs, attrs={"axis": self.axis})
