"""Pooling over time, and frames added or cut at its ends."""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import GraphBuilder, Site, Value
from .base import Layer, choice, flag, whole

__all__ = [
    "AveragePooling1D",
    "Cropping1D",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "MaxPooling1D",
    "ZeroPadding1D",
]


# ---- Pooling ------------------------------------------------------------------------------------


class _Pooling(Layer):
    op: str

    def __init__(
        self,
        pool_size: int = 2,
        *,
        strides: int | None = None,
        padding: str = "valid",
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.pool_size = whole(pool_size, self.label, "pool_size")
        self.strides = self.pool_size if strides is None else whole(strides, self.label, "strides")
        self.padding = choice(padding, self.label, "padding", ("valid", "same"))

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        attrs = {"pool_size": self.pool_size, "strides": self.strides, "padding": self.padding}
        return graph.node(self.op, site, inputs, attrs=attrs, time="mapped")


class MaxPooling1D(_Pooling):
    """The maximum of each window over time, (B, T, C) to (B, T', C). A mask is dropped.

    Parameters
    ----------
    pool_size : int
    strides : int, optional
        Left out: pool_size.
    padding : "valid" or "same"
        The frames of "same" padding are no candidates.
    name : str, optional

    Raises
    ------
    OptionError
    """

    op = "max_pool1d"


class AveragePooling1D(_Pooling):
    """The mean of each window over time, (B, T, C) to (B, T', C). A mask is dropped.

    Parameters
    ----------
    pool_size : int
    strides : int, optional
        Left out: pool_size.
    padding : "valid" or "same"
        The frames of "same" padding do not count.
    name : str, optional

    Raises
    ------
    OptionError
    """

    op = "avg_pool1d"


class _GlobalPooling(Layer):
    op: str

    def __init__(self, *, keepdims: bool = False, name: str | None = None) -> None:
        super().__init__(name)
        self.keepdims = flag(keepdims, self.label, "keepdims")

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        if not self.keepdims:
            return graph.node(self.op, site, inputs, time="gone")
        name = [f"{site.value}:pooled"]
        pooled = graph.node(self.op, site, inputs, outputs=name, time="gone")
        return graph.node("expand", site, pooled, attrs={"axis": 1})


class GlobalAveragePooling1D(_GlobalPooling):
    """The mean over time, (B, T, C) to (B, C); with lengths, over each row's own frames.

    Parameters
    ----------
    keepdims : bool
        True: (B, 1, C).
    name : str, optional

    Raises
    ------
    OptionError

    Notes
    -----
    With a mask it is the mean of the frames that count. A row without any is NaN, as in Keras; a
    row of no frames is 0.
    """

    op = "global_avg_pool1d"
    reads_mask = True

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        mask = graph.mask(inputs[0])
        return super().lower(graph, site, [*inputs] if mask is None else [*inputs, mask])


class GlobalMaxPooling1D(_GlobalPooling):
    """The maximum over time, (B, T, C) to (B, C); with lengths, over each row's own frames.

    A mask is dropped: all frames are candidates, as in Keras.

    Parameters
    ----------
    keepdims : bool
        True: (B, 1, C).
    name : str, optional

    Raises
    ------
    OptionError
    """

    op = "global_max_pool1d"


# ---- Ends ---------------------------------------------------------------------------------------


def _pair(value: int | Sequence[int], layer: str, option: str) -> tuple[int, int]:
    """Return an option that is one count for both ends, or one for each."""
    counts = tuple(value) if isinstance(value, (tuple, list)) and len(value) == 2 else (value,) * 2
    first, last = (whole(count, layer, option, least=0) for count in counts)
    return first, last


class Cropping1D(Layer):
    """A sequence without its first and last frames, (B, T, C) to (B, T', C). A mask is dropped.

    With lengths, the last frames of a row are those before its own end. A row with fewer frames
    than are cut has none left.

    Parameters
    ----------
    cropping : int or pair of int
        Frames cut at either end, or at the start and at the end.
    name : str, optional

    Raises
    ------
    OptionError
    """

    def __init__(self, cropping: int | Sequence[int] = (1, 1), *, name: str | None = None) -> None:
        super().__init__(name)
        self.cropping = _pair(cropping, self.label, "cropping")

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        attrs = {"left": -self.cropping[0], "right": -self.cropping[1]}
        return graph.node("pad1d", site, inputs, attrs=attrs, time="mapped")


class ZeroPadding1D(Layer):
    """A sequence with frames of zeros at its ends, (B, T, C) to (B, T', C). A mask is dropped.

    With lengths, the frames at the end stand behind a row's own last frame, and count as its own.

    Parameters
    ----------
    padding : int or pair of int
        Frames added at either end, or at the start and at the end.
    name : str, optional

    Raises
    ------
    OptionError
    """

    def __init__(self, padding: int | Sequence[int] = 1, *, name: str | None = None) -> None:
        super().__init__(name)
        self.padding = _pair(padding, self.label, "padding")

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        attrs = {"left": self.padding[0], "right": self.padding[1]}
        return graph.node("pad1d", site, inputs, attrs=attrs, time="mapped")
