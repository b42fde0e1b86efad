"""Layers that make one value of several: Add and its kin, Concatenate, Dot.

Their masks follow Keras 3, or Keras 2 where an importer says so (`mask_rule`): the two differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..errors import OptionError, ShapeError
from ..graph import GraphBuilder, Mask, Site, Value
from .base import Layer, choice, flag, whole

__all__ = [
    "Add",
    "Average",
    "Concatenate",
    "Divide",
    "Dot",
    "Maximum",
    "Merge",
    "Minimum",
    "Multiply",
    "Remainder",
    "Subtract",
]

_MANY = (2, 2**31 - 1)
_RULES = ("keras3", "keras2")


def _joined(masks: Sequence[Mask | None], rule: str) -> Mask | None:
    """Return the mask of frames that are made of one frame each: Keras 3 ORs, Keras 2 ANDs."""
    given = tuple(dict.fromkeys(mask for mask in masks if mask is not None))
    if not given or (rule == "keras3" and None in masks):
        return None
    return given[0] if len(given) == 1 else Mask("any" if rule == "keras3" else "all", given)


def _with_own_masks(inputs: Sequence[Value]) -> list[Value]:
    """Drop the masks of values of fewer axes than others: their frames are another axis."""
    rank = max(value.rank or 0 for value in inputs)
    return [value if value.rank == rank else replace(value, mask=None) for value in inputs]


def _check_ranks(layer: Merge | Dot, inputs: Sequence[Value]) -> None:
    """Refuse values of different ranks where they stand for arrays, which align the last axes."""
    ranks = {value.rank for value in inputs} - {None}
    if layer.same_ranks and len(ranks) > 1:
        raise ShapeError(
            f"layer {layer.label!r} ({layer.kind}): expected values of equally many axes, the "
            f"batch's being the first; found {[value.rank for value in inputs]}"
        )


class Merge(Layer):
    """Base of the layers that merge values element by element.

    An axis of size 1 repeats, but the batch; a value of fewer axes gets some of size 1 after its
    batch, so that a vector joins every frame of a sequence.

    Parameters
    ----------
    mask_rule : "keras3" or "keras2"
        Which masks the result has: in Keras 3 the OR of all, none if one input has none; in Keras 2
        the AND of those that there are.
    name : str, optional

    Raises
    ------
    OptionError
    """

    inputs = _MANY
    op: str
    masked = False  # Keras 3 leaves out what does not count
    same_ranks = False  # set where it stands for an operation on arrays

    def __init__(self, name: str | None = None, *, mask_rule: str = "keras3") -> None:
        super().__init__(name)
        self.mask_rule = choice(mask_rule, self.label, "mask_rule", _RULES)

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        _check_ranks(self, inputs)
        skips = self.masked and self.mask_rule == "keras3"
        if not skips or all(value.mask is None for value in inputs):
            return graph.node(self.op, site, inputs)
        return [self._without_masked(graph, site, inputs)]

    def _without_masked(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> Value:
        """Merge two by two: a frame that counts in one of them only is that one's."""
        first, *rest = _with_own_masks(inputs)
        for number, value in enumerate(rest, 1):
            name = site.value if number == len(rest) else f"{site.value}:part{number}"
            taken = [first, value, graph.mask(first), graph.mask(value)]
            attrs = {"function": self.op}
            (made,) = graph.node("masked_merge", site, taken, outputs=[name], attrs=attrs)
            first = replace(made, mask=_joined([first.mask, value.mask], self.mask_rule))
        return first

    def mask(self, inputs: Sequence[Value]) -> Mask | None:
        return _joined([value.mask for value in _with_own_masks(inputs)], self.mask_rule)


class Add(Merge):
    """The sum of two or more values, broadcast as `Merge` tells."""

    op = "add"


class Subtract(Merge):
    """The first of two values minus the second, broadcast as in `Add`."""

    inputs = (2, 2)
    op = "subtract"


class Multiply(Merge):
    """The product of two or more values, broadcast as in `Add`.

    Of masked sequences: a frame is the product of those that count, zeros if none does (Keras 3).
    """

    op = "multiply"
    masked = True


class Divide(Merge):
    """The first of two values over the second, broadcast as in `Add`."""

    inputs = (2, 2)
    op = "divide"


class Remainder(Merge):
    """What is left of the first of two values, divided by the second; broadcast as in `Add`.

    Of a number divided by 0, of an infinite one and of NaN it is NaN.

    Parameters
    ----------
    rounding : "floor" or "trunc"
        How the quotient is made whole: down, which leaves something with the sign of the second
        value, or towards zero, with that of the first.
    mask_rule, name
        As of `Merge`.

    Raises
    ------
    OptionError
    """

    inputs = (2, 2)
    op = "remainder"

    def __init__(
        self, rounding: str, name: str | None = None, *, mask_rule: str = "keras3"
    ) -> None:
        super().__init__(name, mask_rule=mask_rule)
        self.rounding = choice(rounding, self.label, "rounding", ("floor", "trunc"))

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        _check_ranks(self, inputs)
        return graph.node(self.op, site, inputs, attrs={"rounding": self.rounding})


class Average(Merge):
    """The mean of two or more values, broadcast as in `Add`."""

    op = "average"


class Maximum(Merge):
    """The largest of two or more values, element by element, broadcast as in `Add`; NaN stays.

    Of masked sequences: a frame is the largest of those that count (Keras 3).
    """

    op = "maximum"
    masked = True


class Minimum(Merge):
    """The smallest of two or more values, as `Maximum` the largest."""

    op = "minimum"
    masked = True


class Concatenate(Layer):
    """Two or more values joined along one axis.

    Parameters
    ----------
    axis : int
        As in Keras: 1 is the axis after the batch, -1 the last. Never the batch.
    mask_rule : "keras3" or "keras2"
        As in `Add`, where frames are joined and not sequences.
    name : str, optional

    Raises
    ------
    OptionError
    """

    inputs = _MANY

    def __init__(
        self, axis: int = -1, *, mask_rule: str = "keras3", name: str | None = None
    ) -> None:
        super().__init__(name)
        self.axis = whole(axis, self.label, "axis", least=-5)
        self.mask_rule = choice(mask_rule, self.label, "mask_rule", _RULES)
        if self.axis == 0:
            raise OptionError(f"{self.label}: axis 0 is the batch, whose rows stay apart")

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return graph.node("concat", site, inputs, attrs={"axis": self.axis})

    def mask(self, inputs: Sequence[Value]) -> Mask | None:
        masks = [value.mask for value in inputs]
        if self.axis != 1 and self.axis + (inputs[0].rank or 0) != 1:
            return _joined(masks, self.mask_rule)
        if all(mask is None for mask in masks):
            return None
        # Two by two: what is joined so far is its own mask.
        so_far: str | Mask = inputs[0].name
        mask = masks[0]
        for value in inputs[1:]:
            so_far = mask = Mask("concat", (so_far, value.name, mask, value.mask))
        return mask


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
    same_ranks = False  # as of `Merge`

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
        _check_ranks(self, inputs)
        attrs = {"axes": list(self.axes), "normalize": self.normalize}
        (y,) = graph.node("dot", site, inputs, attrs=attrs)
        # What has lengths has three axes: the first value keeps its time, or is summed over it.
        return [replace(y, lengths=inputs[0].lengths if self.axes[0] in (2, -1) else None)]
