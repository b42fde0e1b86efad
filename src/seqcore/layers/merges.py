"""Layers that make one value of several: Add, Multiply, Concatenate, Dot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..errors import OptionError
from ..graph import GraphBuilder, Site, Value
from .base import Layer, Plain, flag, whole

__all__ = ["Add", "Concatenate", "Dot", "Merge", "Multiply"]


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


class Dot(Layer):
    """The product of two values, summed over an axis of each.

    Of (B, K) or of sequences (B, T, F), each of whose two axes may be the one: (B, M, N), where M
    is left of the first value and N of the second; neither is there of what has two axes, and (B,
    1) is the product of two such.

    Parameters
    ----------
    axes : int or (int, int)
        The axis of each, as in Keras: 1 or 2, or from the end -1 or -2. Never the batch.
    normalize : bool
        Whether vectors along the axes have norm 1 first: the cosine of the angle between them.
    name : str, optional

    Raises
    ------
    OptionError

    Notes
    -----
    Rows of different lengths are refused at a call but where the first value's time axis is left,
    and the second value has none.
    """

    inputs = (2, 2)

    def __init__(
        self, axes: int | Sequence[int], normalize: bool = False, *, name: str | None = None
    ) -> None:
        super().__init__(name)
        both = list(axes) if isinstance(axes, (tuple, list)) else [axes, axes]
        if len(both) != 2:
            raise OptionError(f"{self.label}: axes is an axis or two of them; found {axes!r:.80}")
        self.axes = tuple(whole(axis, self.label, "axes", least=-2) for axis in both)
        if any(axis == 0 or axis > 2 for axis in self.axes):
            raise OptionError(f"{self.label}: axes are 1, 2, -1 or -2; found {axes!r:.80}")
        self.normalize = flag(normalize, self.label, "normalize")

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        attrs = {"axes": list(self.axes), "normalize": self.normalize}
        (y,) = graph.node("dot", site, inputs, attrs=attrs)
        # What has lengths has three axes: the first value keeps its time, or is summed over it.
        return [replace(y, lengths=inputs[0].lengths if self.axes[0] in (2, -1) else None)]
