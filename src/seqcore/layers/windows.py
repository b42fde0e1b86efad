"""Pooling over time, and frames added or cut at its ends.

The adaptive poolings and Padding1D are for importers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import OptionError
from ..graph import GraphBuilder, Site, Value, told
from .base import Layer, choice, flag, padding_of, pair, real, whole

__all__ = [
    "AdaptiveAveragePooling1D",
    "AdaptiveMaxPooling1D",
    "AveragePooling1D",
    "Cropping1D",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "MaxPooling1D",
    "Padding1D",
    "ZeroPadding1D",
]


# ---- Pooling ------------------------------------------------------------------------------------


class _Pooling(Layer):
    op: str

    def __init__(
        self,
        pool_size: int,
        strides: int | None,
        padding: str | Sequence[int],
        ceil_mode: bool,
        dilation: int,
        name: str | None,
    ) -> None:
        super().__init__(name)
        self.pool_size = whole(pool_size, self.label, "pool_size")
        self.strides = self.pool_size if strides is None else whole(strides, self.label, "strides")
        self.padding = padding_of(padding, self.label, ("valid", "same"))
        self.ceil_mode = flag(ceil_mode, self.label, "ceil_mode")
        self.dilation = whole(dilation, self.label, "dilation")
        if self.ceil_mode and self.padding == "same":
            raise OptionError(f"{self.label}: padding 'same' has no ceil_mode")
        if self.ceil_mode and self.padding == "valid":
            self.padding = [0, 0]
        window = (self.pool_size - 1) * self.dilation + 1
        if not isinstance(self.padding, str) and max(self.padding) >= window:
            raise OptionError(
                f"{self.label}: padding is less than a window of {window} frames at either end; "
                f"found {told(padding)}"
            )

    def _attrs(self) -> dict[str, Any]:
        sizes = {"pool_size": self.pool_size, "strides": self.strides}
        return sizes | {"padding": self.padding, "ceil_mode": self.ceil_mode}

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return graph.node(self.op, site, inputs, attrs=self._attrs(), time="mapped")


class MaxPooling1D(_Pooling):
    """The maximum of each window over time, (B, T, C) to (B, T', C). A mask is dropped.

    Parameters
    ----------
    pool_size : int
    strides : int, optional
        Left out: pool_size.
    padding : "valid", "same" or pair of int
        Frames of padding at the start and the end, which are less than a window, are no candidates.
    ceil_mode : bool
        As torch's, not with "same": a last window may end past the padding at the end, if it does
        not begin in there.
    dilation : int
        As torch's: from one frame of a window to the next.
    name : str, optional

    Raises
    ------
    OptionError

    Notes
    -----
    A window without any frame, as dilation can make them of a short row, is minus infinity.
    """

    op = "max_pool1d"

    def __init__(
        self,
        pool_size: int = 2,
        *,
        strides: int | None = None,
        padding: str | Sequence[int] = "valid",
        ceil_mode: bool = False,
        dilation: int = 1,
        name: str | None = None,
    ) -> None:
        super().__init__(pool_size, strides, padding, ceil_mode, dilation, name)

    def _attrs(self) -> dict[str, Any]:
        return super()._attrs() | {"dilation": self.dilation}


class AveragePooling1D(_Pooling):
    """The mean of each window over time, (B, T, C) to (B, T', C). A mask is dropped.

    Parameters
    ----------
    pool_size : int
    strides : int, optional
        Left out: pool_size.
    padding : "valid", "same" or pair of int
        The frames of "same" padding do not count. A pair is of frames at the start and the end,
        less than a window.
    ceil_mode : bool
        As torch's, not with "same": a last window may end past the padding at the end, if it does
        not begin in there.
    count_include_pad : bool
        As torch's: whether a pair's frames of padding count, as zeros. What a last window has past
        them never does.
    name : str, optional

    Raises
    ------
    OptionError
    """

    op = "avg_pool1d"

    def __init__(
        self,
        pool_size: int = 2,
        *,
        strides: int | None = None,
        padding: str | Sequence[int] = "valid",
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(pool_size, strides, padding, ceil_mode, 1, name)
        self.count_include_pad = flag(count_include_pad, self.label, "count_include_pad")

    def _attrs(self) -> dict[str, Any]:
        counts = self.count_include_pad and not isinstance(self.padding, str)
        return super()._attrs() | {"count_include_pad": counts}


class _AdaptivePooling(Layer):
    function: str

    def __init__(self, output_size: int, *, name: str | None = None) -> None:
        super().__init__(name)
        self.output_size = whole(output_size, self.label, "output_size")

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        attrs = {"function": self.function, "n": self.output_size}
        return graph.node("adaptive_pool1d", site, inputs, attrs=attrs, time="gone")


class AdaptiveAveragePooling1D(_AdaptivePooling):
    """The means of n windows that divide a sequence, (B, T, C) to (B, n, C). A mask is dropped.

    Frame i is made of those from floor(i*T/n) to ceil((i+1)*T/n). With lengths, T is a row's own; a
    row of no frames is 0.

    Parameters
    ----------
    output_size : int
        n.
    name : str, optional

    Raises
    ------
    OptionError
    """

    function = "mean"


class AdaptiveMaxPooling1D(_AdaptivePooling):
    """The maxima of n windows that divide a sequence, as `AdaptiveAveragePooling1D` their means."""

    function = "max"


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


def _padded(
    graph: GraphBuilder,
    site: Site,
    inputs: Sequence[Value],
    left: int,
    right: int,
    mode: str = "zero",
    value: float | str = 0.0,
) -> list[Value]:
    attrs = {"left": left, "right": right, "mode": mode}
    attrs |= {"value": value} if mode == "constant" else {}
    return graph.node("pad1d", site, inputs, attrs=attrs, time="mapped")


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
        self.cropping = pair(cropping, self.label, "cropping")

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        left, right = self.cropping
        return _padded(graph, site, inputs, -left, -right)


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
        self.padding = pair(padding, self.label, "padding")

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return _padded(graph, site, inputs, *self.padding)


class Padding1D(Layer):
    """A sequence with frames added at its ends, (B, T, C) to (B, T', C). A mask is dropped.

    With lengths, a row's ends are its own.

    Parameters
    ----------
    left, right : int
        Frames added; negative ones are cut, with "zero" and "constant" alone.
    mode : "zero", "constant", "reflect", "replicate" or "circular"
        What stands there, as torch's: zeros; `value`; the row turned round at its first and last
        frame; that frame again; the row from its other end on.
    value : float
        Of "constant"; any number of float32.
    name : str, optional

    Raises
    ------
    OptionError

    Notes
    -----
    A batch is refused whose sequences have fewer frames than "circular" adds at an end, or no more
    than "reflect" does. A row of a batch may be shorter: it goes on being turned round, or begins
    once more. Of a row of no frames those two and "replicate" make none.
    """

    def __init__(
        self,
        left: int,
        right: int,
        *,
        mode: str = "zero",
        value: float = 0.0,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        modes = ("zero", "constant", "reflect", "replicate", "circular")
        self.mode = choice(mode, self.label, "mode", modes)
        least = -(2**24) if mode in modes[:2] else 0
        self.left = whole(left, self.label, "left", least=least)
        self.right = whole(right, self.label, "right", least=least)
        self.value = real(value, self.label, "value")
        if mode != "constant" and self.value != 0:
            raise OptionError(f"{self.label}: mode {mode!r} has no value; found {told(value)}")

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return _padded(graph, site, inputs, self.left, self.right, self.mode, self.value)
