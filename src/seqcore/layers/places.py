"""Where frames stand and where rows end, as values, for importers: Positions, RowLengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..graph import GraphBuilder, Site, Value
from .base import Layer

__all__ = ["Positions", "RowLengths"]


class Positions(Layer):
    """0, 1, 2 ... along time, (B, T, ...) to (B, T), past a row's end too; nothing is read."""

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        (made,) = graph.node("positions", site, inputs)
        return [replace(made, lengths=None, rank=2)]


class RowLengths(Layer):
    """A sequence whose padding is as good as any frame, and the rows' lengths (B, 1) as numbers.

    From here on lengths are numbers like any other: nothing ends at them but what computes with
    them. So torch has it.
    """

    outputs = 2

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        (x,) = inputs
        (made,) = graph.node("row_lengths", site, inputs, time="gone")
        return [replace(x, lengths=None, mask=None), replace(made, rank=2)]
