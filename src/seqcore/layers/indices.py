"""Values of int64 that a network computes, for importers: ArgMax, TopK; and Cast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..errors import OptionError
from ..graph import GraphBuilder, Site, Value
from .base import Layer, choice, flag, whole

__all__ = ["ArgMax", "Cast", "TopK"]


def _from_start(layer: Layer, axis: int, x: Value) -> int:
    """Return an axis of `x` counted from 0; it is not the batch."""
    if axis < 0 and x.rank is None:
        raise OptionError(
            f"{layer.label}: the number of axes of its input is not known; count from the start"
        )
    place = axis + (x.rank or 0) if axis < 0 else axis
    if place < 1 or (x.rank is not None and place >= x.rank):
        raise OptionError(
            f"{layer.label}: axis names one of {x.rank} and not the batch; found {axis}"
        )
    return place


class ArgMax(Layer):
    """Where the greatest element of an axis stands, or the least: int64, the first of equal ones.

    A NaN is further out than all numbers, as in torch. Along time, of a row's own frames; 0 for a
    row without any.

    Parameters
    ----------
    axis : int
        Negative ones count from the end; not the batch.
    keepdims : bool
        Whether it stays as an axis of size 1.
    function : "max" or "min"
    name : str, optional

    Raises
    ------
    OptionError
    """

    def __init__(
        self,
        axis: int,
        *,
        keepdims: bool = False,
        function: str = "max",
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.axis = whole(axis, self.label, "axis", least=-5)
        self.keepdims = flag(keepdims, self.label, "keepdims")
        self.function = choice(function, self.label, "function", ("max", "min"))

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        axis = _from_start(self, self.axis, inputs[0])
        attrs = {"axis": axis, "keepdims": self.keepdims, "function": self.function}
        return graph.node("argmax", site, inputs, attrs=attrs, time="gone" if axis == 1 else "kept")


class TopK(Layer):
    """The k greatest elements of an axis, or the least, in order: values, and int64 indices.

    Of equal elements the first come first, and a NaN is the greatest.

    Parameters
    ----------
    k : int
    axis : int
        Negative ones count from the end; not the batch. Along time, rows of different lengths are
        refused at a call.
    largest : bool
    name : str, optional

    Raises
    ------
    OptionError
        And ShapeError, when the model is made or at a call, where the axis has fewer elements.
    """

    def __init__(
        self, k: int, axis: int = -1, *, largest: bool = True, name: str | None = None
    ) -> None:
        super().__init__(name)
        self.k = whole(k, self.label, "k")
        self.axis = whole(axis, self.label, "axis", least=-5)
        self.largest = flag(largest, self.label, "largest")

    @property
    def outputs(self) -> int:
        return 2

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        axis = _from_start(self, self.axis, inputs[0])
        names = [site.value, f"{site.value}:indices"]
        attrs = {"k": self.k, "axis": axis, "largest": self.largest}
        time = "gone" if axis == 1 else "kept"
        (values, _) = graph.node("topk", site, inputs, outputs=names, attrs=attrs, time=time)
        return [values, replace(values, name=names[1], dtype="int64")]


class Cast(Layer):
    """Floats as whole numbers, towards zero, or whole numbers as floats.

    What int64 does not hold, and NaN, becomes 0.

    Parameters
    ----------
    dtype : "float32" or "int64"
    name : str, optional

    Raises
    ------
    OptionError
    """

    framewise = True

    def __init__(self, dtype: str, *, name: str | None = None) -> None:
        super().__init__(name)
        self.dtype = choice(dtype, self.label, "dtype", ("float32", "int64"))

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return graph.node("cast", site, inputs, attrs={"dtype": self.dtype})
