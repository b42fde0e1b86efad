"""Activations that are layers of their own, with Keras's names and options.

`Activation` itself, which takes any of them by name, is in feedforward.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import layouts
from ..errors import OptionError, WeightsError
from ..graph import ActivationSpec, GraphBuilder, Site, Value, finite, told
from .base import Array, Layer, Shape, Slot, axes_of, checked_axis
from .feedforward import Activation

__all__ = ["ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax", "ThresholdedReLU"]


def _not_negative(value: Any, layer: str, option: str) -> float:
    number = finite(value)
    if number is None or number < 0:
        raise OptionError(f"{layer}: {option} is a number from 0 on; found {told(value)}")
    return number


class LeakyReLU(Activation):
    """x where it is positive, else ``negative_slope * x``.

    Parameters
    ----------
    negative_slope : float
    name : str, optional

    Raises
    ------
    OptionError
    """

    def __init__(self, negative_slope: float = 0.3, *, name: str | None = None) -> None:
        slope = _not_negative(negative_slope, name or self.kind, "negative_slope")
        super().__init__(ActivationSpec("leaky_relu", slope), name=name)


class ELU(Activation):
    """x where it is positive, else ``alpha * (exp(x) - 1)``.

    Parameters
    ----------
    alpha : float
    name : str, optional

    Raises
    ------
    OptionError
    """

    def __init__(self, alpha: float = 1.0, *, name: str | None = None) -> None:
        if finite(alpha) is None:
            raise OptionError(f"{name or self.kind}: alpha is a finite number; found {told(alpha)}")
        super().__init__(ActivationSpec("elu", alpha), name=name)


class ThresholdedReLU(Activation):
    """x where it is above `theta`, else 0: a layer of Keras 2.

    Parameters
    ----------
    theta : float
    name : str, optional

    Raises
    ------
    OptionError
    """

    def __init__(self, theta: float = 1.0, *, name: str | None = None) -> None:
        limit = _not_negative(theta, name or self.kind, "theta")
        super().__init__(ActivationSpec("threshold", limit, 0.0), name=name)


class ReLU(Layer):
    """``min(x, max_value)`` above `threshold`, else ``negative_slope * (x - threshold)``.

    Parameters
    ----------
    max_value : float, optional
        Left out, there is no limit.
    negative_slope, threshold : float
    name : str, optional

    Raises
    ------
    OptionError
    """

    framewise = True
    keeps_mask = True

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.max_value = (
            None if max_value is None else _not_negative(max_value, self.label, "max_value")
        )
        self.negative_slope = _not_negative(negative_slope, self.label, "negative_slope")
        self.threshold = _not_negative(threshold, self.label, "threshold")

    def _activation(self) -> ActivationSpec | None:
        """Return the activation that says the same, if there is one."""
        slope, threshold, most = self.negative_slope, self.threshold, self.max_value
        if not threshold and most is None:
            return ActivationSpec("leaky_relu", slope) if slope else ActivationSpec("relu")
        if not slope and most is None:
            return ActivationSpec("threshold", threshold, 0.0)
        return ActivationSpec("relu6") if (slope, threshold, most) == (0, 0, 6) else None

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        spec = self._activation()
        if spec is not None:
            return graph.node("activation", site, inputs, attrs={"activation": spec.attr()})
        attrs = {
            "negative_slope": self.negative_slope,
            "threshold": self.threshold,
            "max_value": self.max_value,
        }
        return graph.node("clipped_relu", site, inputs, attrs=attrs)


class Softmax(Layer):
    """``exp(x)`` divided by its sum over an axis, or over several at once.

    Parameters
    ----------
    axis : int or sequence of int
        As in Keras: 1 is the axis after the batch, -1 the last. Never the batch. With lengths, an
        axis that is time ends where its row does.
    name : str, optional

    Raises
    ------
    OptionError
    """

    keeps_mask = True

    def __init__(self, axis: int | Sequence[int] = -1, *, name: str | None = None) -> None:
        super().__init__(name)
        self.axes = axes_of(axis, self.label)
        self.framewise = self.axes == (-1,)

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        if self.axes == (-1,):
            attrs = {"activation": ActivationSpec("softmax").attr()}
            return graph.node("activation", site, inputs, attrs=attrs)
        return graph.node("softmax", site, inputs, attrs={"axes": list(self.axes)})


class PReLU(Layer):
    """x where it is positive, else ``alpha * x`` with an alpha of its own for every element.

    Parameters
    ----------
    alpha : array, optional
        With the axes of the input but the batch; of size 1 in those that share it.
    shared_axes : int or sequence of int, optional
        Axes whose elements share alpha, counted from 1.
    name : str, optional

    Raises
    ------
    OptionError, WeightsError, DtypeError
    """

    keeps_mask = True

    def __init__(
        self,
        alpha: ArrayLike | None = None,
        *,
        shared_axes: int | Sequence[int] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        shared = () if shared_axes is None or shared_axes == [] else shared_axes
        self.shared_axes = () if shared == () else axes_of(shared, self.label, "shared_axes")
        if any(axis < 0 for axis in self.shared_axes):
            raise OptionError(f"{self.label}: shared_axes count from 1; found {shared_axes!r}")
        self.alpha: Array | None = None
        if alpha is not None:
            rank = np.ndim(layouts.as_array(alpha, self.label, "alpha"))
            if not max((1, *self.shared_axes)) <= rank <= 5:
                raise WeightsError(
                    f"layer {self.label!r}, weight alpha: expected the axes of the input but the "
                    f"batch, {max((1, *self.shared_axes))} to 5; found {rank}"
                )
            shape = tuple(1 if d + 1 in self.shared_axes else None for d in range(rank))
            self.alpha = layouts.weight(alpha, self.label, "alpha", shape)

    @classmethod
    def from_keras(cls, arrays: Sequence[ArrayLike], **options: Any) -> PReLU:
        """Make the layer from a Keras PReLU's ``get_weights()``."""
        name = options.get("name") or "PReLU"
        given = layouts.keras_arrays(arrays, name, ("alpha",))
        if len(given) != 1:
            raise WeightsError(f"layer {name!r}: expected one array, found {len(given)}")
        return cls(given[0], **options)

    @property
    def built(self) -> bool:
        return self.alpha is not None

    def keras_weights(self) -> list[Slot]:
        return [Slot("alpha", None)]

    def input_spec(self) -> tuple[Shape, str] | None:
        if self.alpha is None:
            return None
        sizes = enumerate(self.alpha.shape, start=1)
        return tuple(None if axis in self.shared_axes else n for axis, n in sizes), "float32"

    def parameters(self, shape: Shape) -> int:
        if self.alpha is not None:
            return int(self.alpha.size)
        count = 1
        for axis in range(1, len(shape)):
            count *= 1 if axis in self.shared_axes else checked_axis(shape, axis, self.label)
        return count

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        # Without alpha nobody knows the rank of the input; it is not needed for shapes.
        axes = [1] if self.alpha is None else list(range(1, self.alpha.ndim + 1))
        weights = {"alpha": self.alpha}
        return graph.node("prelu", site, inputs, weights=weights, attrs={"axes": axes})
