"""Where frames stand, as values, for importers: Positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..graph import GraphBuilder, Site, Value
from .base import Layer

__all__ = ["Positions"]


class Positions(Layer):
    """0, 1, 2 ... along time, (B, T, ...) to (B, T), past a row's end too; nothing is read."""

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        (made,) = graph.node("positions", site, inputs)
        return [replace(made, lengths=None, rank=2)]
