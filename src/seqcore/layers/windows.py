"""Convolution and pooling over time: Conv1D, MaxPooling1D and the global poolings."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

from ..errors import OptionError
from ..graph import ActivationSpec, GraphBuilder, Site, Value
from .base import Layer, Plain, Shape, choice, is_size, whole
from .feedforward import ActivationLike, Affine, features

__all__ = ["Conv1D", "GlobalAveragePooling1D", "GlobalMaxPooling1D", "MaxPooling1D"]


class Conv1D(Affine):
    """Convolution over time as in Keras (the kernel is not flipped), (B, T, C) to (B, T', F).

    Parameters
    ----------
    filters : int or array (k, C/groups, F)
        The number of filters F, or the kernel.
    kernel_size : int or array (F,), optional
        With a number of filters: frames in a window. With a kernel: the bias, if there is one.
    strides, dilation_rate, groups : int
    padding : "valid", "same" or "causal"
    activation : str, ActivationSpec or None
    use_bias : bool
    name : str, optional

    Raises
    ------
    OptionError, WeightsError, DtypeError
    """

    def __init__(
        self,
        filters: int | ArrayLike,
        kernel_size: int | ArrayLike | None = None,
        *,
        strides: int = 1,
        padding: str = "valid",
        dilation_rate: int = 1,
        groups: int = 1,
        activation: ActivationLike = None,
        use_bias: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.strides = whole(strides, self.label, "strides")
        self.dilation_rate = whole(dilation_rate, self.label, "dilation_rate")
        self.groups = whole(groups, self.label, "groups")
        self.padding = choice(padding, self.label, "padding", ("valid", "same", "causal"))
        self.activation = ActivationSpec.of(activation, f"{self.label}: activation")
        if is_size(filters):
            self.kernel_size = whole(kernel_size, self.label, "kernel_size")
            self.filters = self._size(filters, None, use_bias, "filters")
        else:
            self.filters = self._take(filters, kernel_size, use_bias, rank=3)
            assert self.W is not None
            self.kernel_size = self.W.shape[0]
        if self.filters % self.groups:
            raise OptionError(
                f"{self.label}: {self.filters} filters do not divide into {self.groups} groups"
            )

    def input_spec(self) -> tuple[Shape, str] | None:
        return None if self.W is None else ((None, self.W.shape[1] * self.groups), "float32")

    def parameters(self, shape: Shape) -> int:
        if self.W is None:
            kernel = self.kernel_size * (features(shape[-1], self.label) // self.groups)
        else:
            kernel = self.kernel_size * self.W.shape[1]
        return self.filters * (kernel + self.use_bias)

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        attrs = {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "dilation": self.dilation_rate,
            "groups": self.groups,
            "padding": self.padding,
            "activation": self.activation.attr(),
        }
        weights = {"W": self.W, "b": self.b}
        return graph.node("conv1d", site, inputs, weights=weights, attrs=attrs, time="mapped")


class MaxPooling1D(Layer):
    """The maximum of each window over time, (B, T, C) to (B, T', C).

    Parameters
    ----------
    pool_size : int
    strides : int, optional
        Left out: pool_size.
    padding : "valid" or "same"
    name : str, optional

    Raises
    ------
    OptionError
    """

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
        return graph.node("max_pool1d", site, inputs, attrs=attrs, time="mapped")


class GlobalAveragePooling1D(Plain):
    """The mean over time, (B, T, C) to (B, C); with lengths, over each row's own frames."""

    op = "global_avg_pool1d"


class GlobalMaxPooling1D(Plain):
    """The maximum over time, (B, T, C) to (B, C); with lengths, over each row's own frames."""

    op = "global_max_pool1d"
