"""What operators have in common: what they may ask of their program, and of their arguments.

An operator is a function of a `Context` and of its arguments, tensors and options, which returns
what the framework returns: `Traced`, `Constant`, a size, or a tuple of these.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

import numpy as np

from ...layers import Activation, Add, Cast, Layer, Reduce, Rescaling, Symbol
from ...layers import Constant as Fixed
from .sizes import AnySize, Size, product
from .tensors import Axis, Constant, Dims, RefusedError, Traced, matched

__all__ = [
    "Context", "activated", "affine", "as_float", "as_traced", "dim_of", "few",
    "floats", "is_bool", "joined_size", "known", "mapped", "named", "rejoined",
    "scalar", "size_or", "together", "traced",
]  # fmt: skip


class Context(Protocol):
    """What an operator may ask of the program that it is in."""

    batch: Axis
    rows: object  # what arange gives for the size of the batch

    @property
    def like(self) -> Symbol:
        """Some value of the program: it tells the batch."""

    def once(self, key: Hashable, make: Callable[[str | None], Layer], name: str = "") -> Layer:
        """Return the layer made for `key`, the same every time.

        `make` gets a name that no other layer has: `name`, or that of the module at hand.
        """

    def positions(self, size: AnySize) -> Traced:
        """Return 0, 1, 2 ... (n,) for a size that varies."""

    def positions_of(self, tensor: Traced, axis: Axis) -> Traced:
        """Return 0, 1, 2 ... (n,) along an axis of a tensor."""

    def holder(self, size: AnySize) -> Traced | None:
        """Return a tensor that has an axis of a size that varies."""

    def whole(self) -> bool:
        """Tell whether what the node at hand makes is whole numbers to torch."""

    def longest_is(self, size: AnySize) -> None:
        """Let a call have this size as the longest of the lengths of the node at hand.

        Unless nothing behind it sees more than one frame at a time.
        """

    def wanted(self, index: int) -> bool:
        """Tell whether anybody uses the output of that number of the node at hand."""


_MOST_PARTS = 1 << 12


# ---- Arguments -----------------------------------------------------------------------------------


def known(value: Any, what: str) -> int:
    """Return a size or number that must not vary."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise RefusedError(f"{what} varies, or is no whole number")
    return value


def few(count: int, what: str) -> int:
    """Return how many parts an operator makes, if they can be made one by one."""
    if not 0 <= count <= _MOST_PARTS:
        raise RefusedError(f"with {what}={count}")
    return count


def dim_of(dim: Any, rank: int) -> int:
    """Return a dim counted from the start."""
    number = known(dim, "dim")
    if not -max(rank, 1) <= number < max(rank, 1):
        raise RefusedError(f"dim {number} of a tensor of {rank} dims")
    return number % max(rank, 1)


def traced(value: Any) -> Traced:
    """Return an argument that must be a tensor that depends on the inputs."""
    if not isinstance(value, Traced):
        raise RefusedError("of a constant")
    return value


def floats(value: Any) -> Traced:
    """Return an argument as a tensor of floats (truth values are 0 and 1)."""
    tensor = traced(value)
    if tensor.dtype == "int64":
        raise RefusedError("of whole numbers")
    return tensor


def is_bool(value: Any) -> bool:
    """Tell whether an argument is a truth value, or a tensor of them."""
    return isinstance(value, bool) or getattr(value, "dtype", None) == "bool"


def scalar(value: Any) -> float | None:
    """Return the number that an argument is, be it a constant tensor of one; else None."""
    if isinstance(value, (bool, int, float)):
        return float(value)
    if isinstance(value, Constant) and value.array.size == 1 and value.array.dtype != object:
        return float(value.array.reshape(()))
    return None


def as_float(tensor: Traced) -> Traced:
    """Return a tensor of whole numbers as floats."""
    if tensor.dtype != "int64":
        return tensor
    return Traced(Cast("float32")(tensor.symbol), tensor.axes, tensor.dims)


def as_traced(context: Context, value: Any) -> Traced:
    """Return a tensor, or a constant as one: every row of the batch has it."""
    if isinstance(value, Traced):
        return value
    if isinstance(value, (bool, int, float)):
        value = Constant.of(np.float32(value))
    if isinstance(value, Size):
        return _counted(context, value)
    if not isinstance(value, Constant):
        raise RefusedError(f"of {type(value).__name__}, which is no tensor")
    array = value.array
    if array.dtype == object:
        return _count_of(context, value)
    if array.size == 0:  # which a size of 0 tells well enough
        array = np.zeros([1] * array.ndim, array.dtype)
    axes: list[Axis] = []
    dims: list[tuple[Axis, ...]] = []
    for size, own in zip(value.sizes, array.shape, strict=True):
        axis = Axis(size, holder=context.holder(size))
        if isinstance(size, Size) and size == context.batch.size and (context.batch,) not in dims:
            axis = context.batch  # a row of it for every row
        if own != 1:
            axes.append(axis)
        dims.append(() if size == 1 else (axis,))
    numbers = array.astype(np.float32).reshape([axis.size for axis in axes] or [1])
    layer = context.once(("constant", value.key), lambda _: Fixed(numbers))
    own_axes = axes or [Axis(1)]
    return Traced(layer(context.like), (context.batch, *own_axes), tuple(dims))


def _count_of(context: Context, value: Constant) -> Traced:
    """Return one size that varies, in a constant of whatever rank, as a tensor."""
    if value.array.size != 1:
        raise RefusedError("computes with several sizes that vary")
    counted = _counted(context, value.array.reshape(()).item())
    return counted.seen_as(() for _ in value.sizes)


def _counted(context: Context, size: Size) -> Traced:
    """Return a size that varies as a tensor (): 1 + the last of its positions; or sums of such."""
    if context.holder(size) is None and len(size.terms) > 1:
        parts = [Size(((names, 1),)) for names, _ in size.terms if names]
        counts = [_counted(context, part) for part in parts]
        scales = [factor for names, factor in size.terms if names]
        offset = sum(factor for names, factor in size.terms if not names)
        symbols = [Rescaling(float(scale))(count.symbol)
                   for scale, count in zip(scales, counts, strict=True)]  # fmt: skip
        total = symbols[0] if len(symbols) == 1 else Add()(*symbols)
        return Traced(Rescaling(1.0, float(offset))(total), counts[0].axes, ())
    places = context.positions(size)
    last = Reduce("max", 1, keepdims=True)(places.symbol)
    return Traced(Rescaling(1.0, 1.0)(last), (context.batch, Axis(1)), ())


# ---- Element by element --------------------------------------------------------------------------


def together(tensors: Sequence[Traced]) -> tuple[list[Symbol], tuple[Axis, ...], Dims]:
    """Return symbols that can be merged element by element, and axes and dims of the result."""
    named, dims = matched(tensors)
    order = [axis for dim in dims for axis in dim if not axis.is_batch]
    real = [axis for axis in order if any(axis in tensor.axes for tensor in named)]
    symbols = [
        tensor.arranged([(axis,) if axis in tensor.axes else () for axis in real] or [()])
        for tensor in named
    ]
    return symbols, (tensors[0].batch, *(real or [Axis(1)])), dims


def mapped(tensor: Traced, *layers: Layer, dtype: str = "float32") -> Traced:
    """Return what layers make of every element alone."""
    symbol = as_float(tensor).symbol
    for layer in layers:
        symbol = layer(symbol)
    return Traced(symbol, tensor.axes, tensor.dims, dtype)


def affine(tensor: Traced, scale: float, offset: float) -> Traced:
    """Return scale * x + offset."""
    return mapped(tensor, Rescaling(scale, offset))


def activated(tensor: Traced, activation: Any) -> Traced:
    return mapped(tensor, Activation(activation))


def named(weight: Constant) -> str:
    """Return the path of the module that a parameter belongs to."""
    return (weight.name or "").rpartition(".")[0]


def joined_size(dim: Sequence[Axis]) -> AnySize:
    """Return the size of a dim."""
    return product(axis.size for axis in dim)


def size_or(value: AnySize | None, default: AnySize) -> AnySize:
    return default if value is None else value


def rejoined(
    tensor: Traced, symbol: Symbol, axes: Sequence[Axis], at: int, size: AnySize | None = None
) -> Traced:
    """Return a symbol whose last axis is a whole dim as a tensor of the same dims.

    It comes from ``tensor.apart(tensor.dims[at])``; `size` is what the dim has become.
    """
    group = tensor.dims[at]
    one = Axis(product(axis.size for axis in group) if size is None else size)
    dims = tuple((one,) if k == at else dim for k, dim in enumerate(tensor.dims))
    return Traced(symbol, (*axes, one), dims)
