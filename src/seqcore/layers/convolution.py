"""Convolution over time: Conv1D, DepthwiseConv1D, SeparableConv1D, Conv1DTranspose.

As in Keras kernels are not flipped, channels stand last, and a mask of the input is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import layouts
from ..errors import OptionError
from ..graph import ActivationSpec, GraphBuilder, Site, Value
from .base import Layer, Shape, Slot, choice, is_size, padding_of, whole
from .feedforward import ActivationLike, Affine, features

__all__ = ["Conv1D", "Conv1DTranspose", "DepthwiseConv1D", "SeparableConv1D"]

_PADDINGS = ("valid", "same", "causal")


class _Convolution(Affine):
    """The options that all convolutions have."""

    kernel_size: int

    def __init__(
        self,
        name: str | None,
        strides: int,
        padding: str | Sequence[int],
        dilation_rate: int,
        activation: ActivationLike,
    ) -> None:
        super().__init__(name)
        self.strides = whole(strides, self.label, "strides")
        self.dilation_rate = whole(dilation_rate, self.label, "dilation_rate")
        self.padding = padding_of(padding, self.label, _PADDINGS)
        self.activation = ActivationSpec.of(activation, f"{self.label}: activation")

    def _attrs(self) -> dict[str, Any]:
        return {
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "dilation": self.dilation_rate,
            "activation": self.activation.attr(),
        }

    def _node(
        self,
        op: str,
        graph: GraphBuilder,
        site: Site,
        inputs: Sequence[Value],
        **attrs: Any,
    ) -> list[Value]:
        weights = {"W": self.W, "b": self.b}
        attrs = self._attrs() | attrs
        return graph.node(op, site, inputs, weights=weights, attrs=attrs, time="mapped")


def _torch_padding(padding: int | str, size: int, strides: int, dilation: int, label: str) -> str:
    """Return torch's padding, frames of zeros at each end or a name, as the layer's."""
    span = (size - 1) * whole(dilation, label, "dilation_rate")
    if isinstance(padding, str):
        name: str = choice(padding, label, "padding", ("valid", "same"))
        if name == "same" and whole(strides, label, "strides") != 1:
            raise OptionError(f"{label}: torch has padding='same' with strides=1 only")
        return name
    frames = whole(padding, label, "padding", 0)
    if frames == 0:
        return "valid"
    if whole(strides, label, "strides") == 1 and 2 * frames == span:
        return "same"
    raise OptionError(
        f"{label}: padding={frames} is a layer of its own: ZeroPadding1D({frames}) in front of "
        "this one with padding=0"
    )


class Conv1D(_Convolution):
    """Convolution over time as in Keras (the kernel is not flipped), (B, T, C) to (B, T', F).

    Parameters
    ----------
    filters : int or array (k, C/groups, F)
        The number of filters F, or the kernel.
    kernel_size : int or array (F,), optional
        With a number of filters: frames in a window. With a kernel: the bias, if there is one.
    strides, dilation_rate, groups : int
    padding : "valid", "same", "causal" or pair of int
        A pair: frames of zeros at the start and the end.
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
        padding: str | Sequence[int] = "valid",
        dilation_rate: int = 1,
        groups: int = 1,
        activation: ActivationLike = None,
        use_bias: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name, strides, padding, dilation_rate, activation)
        self.groups = whole(groups, self.label, "groups")
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

    @classmethod
    def from_torch(
        cls,
        weights: Mapping[str, ArrayLike],
        prefix: str = "",
        *,
        strides: int = 1,
        padding: int | str = 0,
        dilation_rate: int = 1,
        groups: int = 1,
        activation: ActivationLike = None,
        name: str | None = None,
    ) -> Conv1D:
        """Make the layer from an nn.Conv1d's ``<prefix>.weight`` and ``<prefix>.bias``.

        Parameters
        ----------
        weights : mapping of str to array
            A state_dict, or what `seqcore.read_weights` returns.
        prefix : str
            Of the module within `weights`, with or without the trailing dot; "" for the root.
        strides, padding, dilation_rate, groups
            The module's ``stride``, ``padding`` (of zeros), ``dilation`` and ``groups``, which
            named weights do not tell; by default torch's own. Wrong groups do not fit to the
            number of channels of the input; the others are not found out.
        activation : str, ActivationSpec or None
        name : str, optional

        Raises
        ------
        WeightsError, OptionError, DtypeError
            Also for a padding that neither is 0 nor keeps the number of frames, which is a
            ZeroPadding1D in front of the layer.
        """
        label = name or cls.__name__
        kernel, bias = layouts.torch_conv1d(weights, prefix, label)
        return cls(
            kernel,
            bias,
            strides=strides,
            padding=_torch_padding(padding, len(kernel), strides, dilation_rate, label),
            dilation_rate=dilation_rate,
            groups=groups,
            activation=activation,
            name=name,
        )

    def input_spec(self) -> tuple[Shape, str] | None:
        return None if self.W is None else ((None, self.W.shape[1] * self.groups), "float32")

    def parameters(self, shape: Shape) -> int:
        if self.W is None:
            kernel = self.kernel_size * (features(shape[-1], self.label) // self.groups)
        else:
            kernel = self.kernel_size * self.W.shape[1]
        return self.filters * (kernel + self.use_bias)

    def keras_weights(self) -> list[Slot]:
        return self._slots(self.kernel_size, None, self.filters)

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        sizes = {"filters": self.filters, "groups": self.groups, "padding": self.padding}
        return self._node("conv1d", graph, site, inputs, **sizes)


class DepthwiseConv1D(_Convolution):
    """Convolution over time of every channel by itself, (B, T, C) to (B, T', C*m).

    Parameters
    ----------
    kernel_size : int or array (k, C, m)
        Frames in a window, or the kernel.
    bias : array (C*m,), optional
        With a kernel. Left out, there is no bias.
    strides, dilation_rate : int
    padding : "valid", "same", "causal" or pair of int
        As of `Conv1D`. Keras has neither a causal one nor pairs here.
    depth_multiplier : int, optional
        Filters m of each channel: those of channel c are c*m to c*m + m - 1. Left out, it is 1 or
        what the kernel says.
    activation : str, ActivationSpec or None
    use_bias : bool
    name : str, optional

    Raises
    ------
    OptionError, WeightsError, DtypeError
    """

    def __init__(
        self,
        kernel_size: int | ArrayLike,
        bias: ArrayLike | None = None,
        *,
        strides: int = 1,
        padding: str | Sequence[int] = "valid",
        depth_multiplier: int | None = None,
        dilation_rate: int = 1,
        activation: ActivationLike = None,
        use_bias: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name, strides, padding, dilation_rate, activation)
        given = 1 if depth_multiplier is None else depth_multiplier
        self.depth_multiplier = whole(given, self.label, "depth_multiplier")
        if is_size(kernel_size):
            self.kernel_size = self._size(kernel_size, bias, use_bias, "kernel_size")
            return
        self._take(kernel_size, bias, use_bias, rank=3)
        assert self.W is not None
        self.kernel_size = self.W.shape[0]
        if depth_multiplier is not None and self.depth_multiplier != self.W.shape[2]:
            raise OptionError(
                f"{self.label}: depth_multiplier is {self.depth_multiplier}, the kernel has "
                f"{self.W.shape[2]} filters for each channel"
            )
        self.depth_multiplier = self.W.shape[2]

    @staticmethod
    def _units(kernel: Sequence[int]) -> int:
        return kernel[1] * kernel[2]

    def input_spec(self) -> tuple[Shape, str] | None:
        return None if self.W is None else ((None, self.W.shape[1]), "float32")

    def parameters(self, shape: Shape) -> int:
        channels = features(shape[-1], self.label) if self.W is None else self.W.shape[1]
        return channels * self.depth_multiplier * (self.kernel_size + self.use_bias)

    def keras_weights(self) -> list[Slot]:
        kernel = Slot("kernel", (self.kernel_size, None, self.depth_multiplier))
        return [kernel, Slot("bias", (None,))][: 1 + self.use_bias]

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        sizes = {"multiplier": self.depth_multiplier, "padding": self.padding}
        return self._node("depthwise_conv1d", graph, site, inputs, **sizes)


class SeparableConv1D(Layer):
    """A convolution of every channel by itself, then one over all channels of each frame.

    (B, T, C) to (B, T', F). The bias and the activation are the second one's.

    Parameters
    ----------
    filters : int or array (k, C, m)
        The number of filters F, or the kernel of the first convolution.
    kernel_size : int or array (1, C*m, F)
        With a number of filters: frames in a window. With a kernel: that of the second convolution.
    bias : array (F,), optional
        With kernels. Left out, there is no bias.
    strides, dilation_rate : int
        Of the first convolution.
    padding : "valid", "same", "causal" or pair of int
        Of the first convolution, as of `Conv1D`. Keras 3 has no causal one here.
    depth_multiplier : int, optional
        Filters m of each channel. Left out, it is 1 or what the kernel says.
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
        kernel_size: int | ArrayLike,
        bias: ArrayLike | None = None,
        *,
        strides: int = 1,
        padding: str | Sequence[int] = "valid",
        depth_multiplier: int | None = None,
        dilation_rate: int = 1,
        activation: ActivationLike = None,
        use_bias: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        options: dict[str, Any] = {
            "strides": strides, "padding": padding, "dilation_rate": dilation_rate,
            "depth_multiplier": depth_multiplier, "use_bias": False, "name": self.label,
        }  # fmt: skip
        second: tuple[Any, Any] = (kernel_size, bias)
        if is_size(filters):
            if bias is not None:
                raise OptionError(f"{self.label}: a bias needs kernels in place of filters")
            self.depthwise = DepthwiseConv1D(
                whole(kernel_size, self.label, "kernel_size"), **options
            )
            second = (whole(filters, self.label, "filters"), 1)
        else:
            shape = (None, None, None)
            kernel = layouts.weight(filters, self.label, "depthwise_kernel", shape, "(k, C, m)")
            self.depthwise = DepthwiseConv1D(kernel, **options)
            shape = (1, kernel.shape[1] * kernel.shape[2], None)  # type: ignore[assignment]
            second = (
                layouts.weight(kernel_size, self.label, "pointwise_kernel", shape, "(1, C*m, F)"),
                bias,
            )
        self.pointwise = Conv1D(*second, activation=activation, use_bias=use_bias, name=self.label)
        self.filters = self.pointwise.filters

    @classmethod
    def from_keras(cls, arrays: Sequence[ArrayLike], **options: Any) -> SeparableConv1D:
        """Make the layer from a Keras SeparableConv1D's ``get_weights()``, with its options."""
        roles = ("depthwise_kernel", "pointwise_kernel", "bias")
        return cls(*layouts.keras_affine(arrays, roles, options, cls.__name__), **options)

    @property
    def built(self) -> bool:
        return self.depthwise.built

    def input_spec(self) -> tuple[Shape, str] | None:
        return self.depthwise.input_spec()

    def parameters(self, shape: Shape) -> int:
        between: Shape = ()
        if not self.built:
            channels = features(shape[-1], self.label) * self.depthwise.depth_multiplier
            between = (*shape[:-1], channels)
        return self.depthwise.parameters(shape) + self.pointwise.parameters(between)

    def keras_weights(self) -> list[Slot]:
        first, (second, *bias) = self.depthwise.keras_weights(), self.pointwise.keras_weights()
        return [
            replace(first[0], role="depthwise_kernel"),
            replace(second, role="pointwise_kernel"),
            *bias,
        ]

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        between = self.depthwise.lower(graph, site.inner("depthwise"), inputs)
        return self.pointwise.lower(
            graph, replace(site, tensor=f"{site.tensor}.pointwise"), between
        )


class Conv1DTranspose(_Convolution):
    """Transposed convolution over time: every frame adds a window, (B, T, C) to (B, T', F).

    Parameters
    ----------
    filters : int or array (k, F, C)
        The number of filters F, or the kernel as Keras has it.
    kernel_size : int or array (F,), optional
        With a number of filters: frames in a window. With a kernel: the bias, if there is one.
    strides, dilation_rate : int
        One of them is 1.
    padding : "valid" or "same"
    output_padding : int, optional
        Frames of the output behind the last stride, fewer than `strides`. Left out, the output has
        T * strides frames, and what the last window has more if padding is "valid".
    activation : str, ActivationSpec or None
    use_bias : bool
    name : str, optional

    Raises
    ------
    OptionError, WeightsError, DtypeError

    Notes
    -----
    T' = (T - 1) * strides + tail, and 0 of 0 frames. With span = (k - 1) * dilation_rate + 1, tail
    is max(span, strides), or span + output_padding, if padding is "valid"; if it is "same", tail is
    strides, or span % 2 + output_padding, and (span - tail) // 2 frames of the first window stand
    before the output.
    """

    def __init__(
        self,
        filters: int | ArrayLike,
        kernel_size: int | ArrayLike | None = None,
        *,
        strides: int = 1,
        padding: str = "valid",
        output_padding: int | None = None,
        dilation_rate: int = 1,
        activation: ActivationLike = None,
        use_bias: bool = True,
        name: str | None = None,
    ) -> None:
        choice(padding, name or self.kind, "padding", ("valid", "same"))
        super().__init__(name, strides, padding, dilation_rate, activation)
        self.output_padding = output_padding
        if output_padding is not None:
            self.output_padding = whole(output_padding, self.label, "output_padding", least=0)
            if self.output_padding >= self.strides:
                raise OptionError(
                    f"{self.label}: output_padding is less than strides, {self.strides}; "
                    f"found {self.output_padding}"
                )
        if self.strides > 1 and self.dilation_rate > 1:
            raise OptionError(
                f"{self.label}: strides or dilation_rate is 1; found {self.strides} and "
                f"{self.dilation_rate}"
            )
        if is_size(filters):
            self.kernel_size = whole(kernel_size, self.label, "kernel_size")
            self.filters = self._size(filters, None, use_bias, "filters")
        else:
            self.filters = self._take(filters, kernel_size, use_bias, rank=3)
            assert self.W is not None
            self.kernel_size = self.W.shape[0]
            self.W = np.ascontiguousarray(self.W.swapaxes(1, 2))
            self.W.flags.writeable = False

    @staticmethod
    def _units(kernel: Sequence[int]) -> int:
        return kernel[1]

    def input_spec(self) -> tuple[Shape, str] | None:
        return None if self.W is None else ((None, self.W.shape[1]), "float32")

    def parameters(self, shape: Shape) -> int:
        channels = features(shape[-1], self.label) if self.W is None else self.W.shape[1]
        return self.filters * (self.kernel_size * channels + self.use_bias)

    def keras_weights(self) -> list[Slot]:
        kernel = Slot("kernel", (self.kernel_size, self.filters, None))
        return [kernel, Slot("bias", (self.filters,))][: 1 + self.use_bias]

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        span = (self.kernel_size - 1) * self.dilation_rate + 1
        more, same = self.output_padding, self.padding == "same"
        if more is None:
            tail = self.strides if same else max(span, self.strides)
        else:
            tail = (span % 2 if same else span) + more
        crop = max(span - tail, 0) // 2 if same else 0
        sizes = {"filters": self.filters, "crop": crop, "tail": tail}
        return self._node("conv1d_transpose", graph, site, inputs, **sizes)
