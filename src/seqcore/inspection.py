"""What a model tells of its layers: their shapes and parameters, and what each takes of a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._binding import Plan

__all__ = ["LayerInfo", "LayerTime", "layer_table", "layer_times"]


class LayerInfo(NamedTuple):
    """A layer of a model, as `Model.layers` and `Model.summary` tell of it.

    Attributes
    ----------
    name, kind : str
        The layer's name, and the name of its class.
    output_shape : tuple of (int or None)
        None for the batch and for axes whose size is known at a call.
    parameters : int
        Counted as the framework does in which the layer was trained.
    """

    name: str
    kind: str
    output_shape: tuple[int | None, ...]
    parameters: int


class LayerTime(NamedTuple):
    """What one layer takes of a call: `Model.profile`.

    Attributes
    ----------
    name, kind : str
        As in `LayerInfo`.
    seconds : float
        Median of one call, on one thread.
    share : float
        Of the sum over all layers, 0..1.
    """

    name: str
    kind: str
    seconds: float
    share: float


def layer_table(layers: Sequence[LayerInfo]) -> str:
    """Return a table of layers, a line each, with the sum of their parameters."""
    rows = [("Layer (type)", "Output shape", "Parameters")]
    rows += [
        (f"{info.name} ({info.kind})", str(info.output_shape), f"{info.parameters:,}")
        for info in layers
    ]
    first, second, third = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = [f"{a:<{first}}  {b:<{second}}  {c:>{third}}" for a, b, c in rows]
    rule = "-" * len(lines[0])
    total = sum(info.parameters for info in layers)
    return "\n".join([lines[0], rule, *lines[1:], rule, f"Total parameters: {total:,}"])


def layer_times(
    plan: Plan, kinds: Mapping[str, str], arrays: list[NDArray[Any] | None], rounds: int
) -> list[LayerTime]:
    """Measure calls of a plan, layer by layer: medians of `rounds` behind one that warms up."""
    layers = plan.node_layers()
    times = np.zeros((1 + rounds, len(layers)))
    for row in times:
        plan.run(arrays, None, row)
    medians: dict[str, float] = {}
    for name, seconds in zip(layers, np.median(times[1:], axis=0).tolist(), strict=True):
        medians[name] = medians.get(name, 0.0) + seconds
    total = sum(medians.values())
    return [
        LayerTime(name, kinds.get(name, ""), seconds, seconds / total)
        for name, seconds in medians.items()
        if seconds > 0
    ]
