"""What exported arithmetic is made of, for importers: Unary, Reduce, MatMul."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import OptionError
from ..graph import GraphBuilder, Site, Value
from .base import Layer, choice, flag, whole

__all__ = ["MatMul", "Reduce", "Unary"]


class Unary(Layer):
    """A function of every element alone, of any shape.

    Parameters
    ----------
    function : "abs", "negative", "square", "sqrt", "rsqrt", "reciprocal" or "log"
    name : str, optional

    Raises
    ------
    OptionError
    """

    framewise = True

    def __init__(self, function: str, *, name: str | None = None) -> None:
        super().__init__(name)
        known = ("abs", "negative", "square", "sqrt", "rsqrt", "reciprocal", "log")
        self.function = choice(function, self.label, "function", known)

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return graph.node("unary", site, inputs, attrs={"function": self.function})


class MatMul(Layer):
    """Products of matrices, (B, ..., M, K) and (B, ..., K, N) to (B, ..., M, N)."""

    inputs = (2, 2)

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return graph.node("batch_matmul", site, inputs)


class Reduce(Layer):
    """The mean, sum, maximum or minimum over one or several axes, but the batch.

    Along time, of a row's own frames; zeros for a row without any.

    Parameters
    ----------
    function : "mean", "sum", "max" or "min"
    axis : int or tuple of int
        Negative ones count from the end.
    keepdims : bool
        Whether they stay as axes of size 1.
    name : str, optional

    Raises
    ------
    OptionError
    """

    def __init__(
        self,
        function: str,
        axis: int | Sequence[int],
        *,
        keepdims: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.function = choice(function, self.label, "function", ("mean", "sum", "max", "min"))
        axes = axis if isinstance(axis, (tuple, list)) else (axis,)
        self.axis = tuple(whole(a, self.label, "an axis", least=-5) for a in axes)
        self.keepdims = flag(keepdims, self.label, "keepdims")
        if not self.axis:
            raise OptionError(f"{self.label}: there is no axis to reduce")

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        rank = inputs[0].rank
        if rank is None and min(self.axis) < 0:
            raise OptionError(
                f"{self.label}: the number of axes of its input is not known; count from the start"
            )
        axes = sorted(a if a > 0 else a + (rank or 0) for a in self.axis)
        if axes[0] < 1 or (rank is not None and axes[-1] >= rank) or len(set(axes)) < len(axes):
            raise OptionError(
                f"{self.label}: axis names axes of {rank}, not the batch and none twice; found "
                f"{self.axis}"
            )
        attrs = {"function": self.function, "axes": axes, "keepdims": self.keepdims}
        return graph.node(
            "reduce", site, inputs, attrs=attrs, time="gone" if axes[0] == 1 else "kept"
        )
