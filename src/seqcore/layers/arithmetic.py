"""What exported arithmetic is made of, for importers: functions, products, sums, constants."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

from .. import layouts
from ..errors import OptionError, WeightsError
from ..graph import GraphBuilder, Site, Value
from .base import _MAX_RANK, Layer, Shape, axes_of, choice, flag, real, whole

__all__ = ["Constant", "Cumsum", "MatMul", "Power", "Reduce", "Unary"]


_FUNCTIONS = (
    "abs", "negative", "square", "sqrt", "rsqrt", "reciprocal", "log", "exp", "sin", "cos", "floor",
    "ceil", "round", "trunc", "sign", "erf", "log1p", "expm1",
)  # fmt: skip
_SPREADS = ("var", "std")
_REDUCTIONS = ("mean", "sum", "max", "min", "prod", "norm1", "norm2", "logsumexp", *_SPREADS)


class Unary(Layer):
    """A function of every element alone, of any shape.

    Parameters
    ----------
    function : str
        "abs", "negative", "square", "sqrt", "rsqrt", "reciprocal", "log", "exp", "log1p", "expm1",
        "sin", "cos", "erf"; "floor", "ceil", "trunc", "round" (halves to even) or "sign" (0 of NaN,
        as in torch).
    name : str, optional

    Raises
    ------
    OptionError
    """

    framewise = True

    def __init__(self, function: str, *, name: str | None = None) -> None:
        super().__init__(name)
        self.function = choice(function, self.label, "function", _FUNCTIONS)

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return graph.node("unary", site, inputs, attrs={"function": self.function})


class Power(Layer):
    """A power of every element alone, of any shape.

    Parameters
    ----------
    exponent : float
        Any number of float32, to which it is rounded. 2 multiplies; 0.5 is the root, as in torch.
    name : str, optional

    Raises
    ------
    OptionError
    """

    framewise = True

    def __init__(self, exponent: float, *, name: str | None = None) -> None:
        super().__init__(name)
        self.exponent = real(exponent, self.label, "exponent")

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return graph.node("power", site, inputs, attrs={"exponent": self.exponent})


class Cumsum(Layer):
    """Running sums along one axis, but the batch. Along time it is not stepped.

    Parameters
    ----------
    axis : int
        Negative ones count from the end.
    name : str, optional

    Raises
    ------
    OptionError
    """

    def __init__(self, axis: int, *, name: str | None = None) -> None:
        super().__init__(name)
        (self.axis,) = axes_of([axis], self.label)

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        rank, axis = inputs[0].rank, self.axis
        if axis < 0 and rank is None:
            raise OptionError(
                f"{self.label}: the number of axes of its input is not known; count from the start"
            )
        axis += 0 if axis > 0 else rank or 0
        if axis < 1 or axis >= (rank or _MAX_RANK):
            raise OptionError(
                f"{self.label}: axis is one of {rank}, not the batch; found {self.axis}"
            )
        return graph.node("cumsum", site, inputs, attrs={"axis": axis})


class MatMul(Layer):
    """Products of matrices, (B, ..., M, K) and (B, ..., K, N) to (B, ..., M, N)."""

    inputs = (2, 2)

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return graph.node("batch_matmul", site, inputs)


class Reduce(Layer):
    """What one or several axes, but the batch, make together: their mean, for one.

    Along time, of a row's own frames; zeros for a row without any.

    Parameters
    ----------
    function : str
        "mean", "sum", "max", "min", "prod", "norm1" (the sum of absolute values), "norm2" (the root
        of the sum of squares), "logsumexp", "var" or "std".
    axis : int or tuple of int
        Negative ones count from the end.
    keepdims : bool
        Whether they stay as axes of size 1.
    correction : 0 or 1
        Of "var" and "std": how many less than the elements the divisor is. With 1, which is torch's
        own, of one element they are NaN.
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
        correction: int = 1,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.function = choice(function, self.label, "function", _REDUCTIONS)
        axes = axis if isinstance(axis, (tuple, list)) else (axis,)
        self.axis = tuple(whole(a, self.label, "an axis", least=-5) for a in axes)
        self.keepdims = flag(keepdims, self.label, "keepdims")
        self.correction = whole(correction, self.label, "correction", least=0)
        if self.correction > 1:
            raise OptionError(f"{self.label}: correction is 0 or 1; found {self.correction}")
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
        if self.function in _SPREADS:
            attrs["correction"] = self.correction
        return graph.node(
            "reduce", site, inputs, attrs=attrs, time="gone" if axes[0] == 1 else "kept"
        )


class Constant(Layer):
    """An array that every row gets, whatever the layer is called on: (B, ...) to (B, *shape).

    Parameters
    ----------
    array : array
        Of 1 to 5 axes, none of size 0. Infinite numbers and NaN may stand in it.
    name : str, optional

    Raises
    ------
    WeightsError, DtypeError

    Notes
    -----
    Of what it is called on, which may be ids, nothing is read but how many rows it has. As the
    initial state of a recurrent layer it is the state that every stream begins with.
    """

    def __init__(self, array: ArrayLike, *, name: str | None = None) -> None:
        super().__init__(name)
        rank = layouts.as_array(array, self.label, "array").ndim
        self.W = layouts.weight(array, self.label, "array", (None,) * rank)
        if not 1 <= rank < _MAX_RANK or not self.W.size:
            raise WeightsError(
                f"layer {self.label!r}, weight array: expected 1 to {_MAX_RANK - 1} axes, none of "
                f"size 0; found shape {self.W.shape}"
            )

    def parameters(self, shape: Shape) -> int:  # noqa: ARG002
        return self.W.size

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        attrs = {"shape": list(self.W.shape)}
        return graph.node("constant", site, inputs, weights={"W": self.W}, attrs=attrs, time="gone")
