"""Random graphs that a plan must accept, with weights and arguments for the core and the reference.

A graph is drawn node by node: each takes values that fit it, so that every op, option and way to
connect them turns up, also the rare ones (no frame, no channel, frames that a mask leaves out,
states through `select`, frames of their own through `fold`). Numbers stay near 1, as trained ones
do: weights shrink with their fan-in, products are squashed, and a path has few layers with weights.
What a float32 result can then be off by is known (tolerances.py). Not here: graphs that are wrong
(attacks/).

graph.py is what is drawn, parts.py what all readers of values use; elements.py, sequences.py,
masks.py, truth.py and shapes.py are the readers, by kind of op; builder.py draws; steps.py tells
from a graph alone whether it can be stepped.
"""

from __future__ import annotations

from .builder import random_graph
from .graph import ACTIVATIONS, PAST_END, ROWS, Arguments, Array, RandomGraph, Value, floats

__all__ = [
    "ACTIVATIONS",
    "PAST_END",
    "ROWS",
    "Arguments",
    "Array",
    "RandomGraph",
    "Value",
    "floats",
    "random_graph",
]
