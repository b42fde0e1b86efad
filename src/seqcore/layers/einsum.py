"""EinsumDense, where it is a dense layer over the last axes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import layouts
from ..errors import OptionError, WeightsError
from ..graph import ActivationSpec, GraphBuilder, Site, Value, told
from .base import Array, Layer, Shape, Slot, whole
from .feedforward import ActivationLike, features
from .shapes import Step, chain, check_rank, reshape

__all__ = ["EinsumDense"]


class EinsumDense(Layer):
    """``activation(einsum(equation, x, kernel) + bias)`` over the last axes of x.

    Parameters
    ----------
    equation : str
        As in Keras, with the last axes of x, all of them, joined with axes of the kernel, and the
        kernel's other axes the last of the result: "abc,cd->abd", "...x,xy->...y", "ab,bcd->acd",
        "abcd,cde->abe".
    output_shape : int, tuple of (int or None), or array
        As in Keras: without the batch, and without what an ellipsis stands for. Or the kernel.
    bias : array, optional
        With a kernel; its axes are those of the result from the first of `bias_axes` on, of size 1
        where they are not among them.
    activation : str, ActivationSpec or None
    bias_axes : str, optional
        Axes of the result that the bias has; left out, there is no bias.
    name : str, optional

    Raises
    ------
    OptionError
        Also for equations that are no dense layer.
    WeightsError, DtypeError
    """

    def __init__(
        self,
        equation: str,
        output_shape: int | Sequence[int | None] | ArrayLike,
        bias: ArrayLike | None = None,
        *,
        activation: ActivationLike = None,
        bias_axes: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self._read(equation)
        self.activation = ActivationSpec.of(activation, f"{self.label}: activation")
        if bias_axes is not None and not (
            isinstance(bias_axes, str) and bias_axes and set(bias_axes) <= set(self.made)
        ):
            raise OptionError(
                f"{self.label}: bias_axes are axes that the kernel gives to {equation!r}, of "
                f"{self.made!r}; found {told(bias_axes)}"
            )
        self.bias_axes = bias_axes
        self.W: Array | None = None
        self.b: Array | None = None
        sizes = (output_shape,) if isinstance(output_shape, (int, np.integer)) else output_shape
        if isinstance(sizes, (tuple, list)) and all(n is None or np.ndim(n) == 0 for n in sizes):
            self._size(sizes, bias)
        else:
            self._take(output_shape, bias)

    def _read(self, equation: Any) -> None:
        """Take the equation apart: which axes of x are joined, which the kernel makes."""
        text = equation if isinstance(equation, str) else ""
        match = re.fullmatch(r"(\.\.\.)?([a-zA-Z]+),([a-zA-Z]+)->(\.\.\.)?([a-zA-Z]+)", text)
        fits = match is not None
        if match is not None:
            before, x, self.kernel_axes, behind, y = match.groups()
            self.elided = before is not None
            self.joined = "".join(c for c in x if c in self.kernel_axes)
            self.made = "".join(c for c in y if c in self.kernel_axes)
            lead = x[: len(x) - len(self.joined)]
            fits = (
                (before is None) == (behind is None)
                and all(len(set(axes)) == len(axes) for axes in (x, self.kernel_axes, y))
                and bool(self.joined and self.made)
                and x == lead + self.joined
                and y == lead + self.made
                and sorted(self.kernel_axes) == sorted(self.joined + self.made)
                and (self.elided or bool(lead))
            )
            self.rank = None if self.elided else len(x)
            self.result_rank = len(y) if self.elided else len(y) - 1
        if not fits:
            raise OptionError(
                f"{self.label}: equation {told(equation)} is no dense layer over the last axes, as "
                "'abc,cd->abd' or '...x,xy->...y'"
            )
        self.equation: str = equation

    def _size(self, sizes: Sequence[Any], bias: Any) -> None:
        """Check the sizes given to a constructor."""
        if bias is not None:
            raise OptionError(f"{self.label}: a bias needs a kernel in place of output_shape")
        if len(sizes) != self.result_rank:
            raise OptionError(
                f"{self.label}: output_shape has {self.result_rank} sizes for {self.equation!r}; "
                f"found {told(sizes)}"
            )
        last = sizes[-len(self.made) :]
        self.output_sizes = tuple(whole(n, self.label, "a size in output_shape") for n in last)
        self.input_sizes: tuple[int, ...] | None = None

    def _take(self, kernel: Any, bias: ArrayLike | None) -> None:
        """Keep the weights given to a constructor, as those of a dense layer."""
        given = layouts.weight(kernel, self.label, "kernel", (None,) * len(self.kernel_axes))
        size = dict(zip(self.kernel_axes, given.shape, strict=True))
        self.input_sizes = tuple(size[c] for c in self.joined)
        self.output_sizes = tuple(size[c] for c in self.made)
        order = [self.kernel_axes.index(c) for c in self.joined + self.made]
        units = math.prod(self.output_sizes)
        W = given.transpose(order).reshape(math.prod(self.input_sizes), units)
        b = np.zeros(self.output_sizes, np.float32)
        if (bias is None) != (self.bias_axes is None):
            raise OptionError(f"{self.label}: a bias and bias_axes belong together")
        if bias is not None and self.bias_axes is not None:
            b += layouts.weight(bias, self.label, "bias", self._bias_shape(size))
        self.W, self.b = np.ascontiguousarray(W), b.reshape(units)
        self.W.flags.writeable = self.b.flags.writeable = False

    @classmethod
    def from_keras(cls, arrays: Sequence[ArrayLike], equation: str, **options: Any) -> EinsumDense:
        """Make the layer from a Keras EinsumDense's ``get_weights()``."""
        name = options.get("name") or "EinsumDense"
        given = layouts.keras_arrays(arrays, name, ("kernel", "bias"))
        expected = 1 if options.get("bias_axes") is None else 2
        if len(given) != expected:
            raise WeightsError(
                f"layer {name!r}: expected {expected} arrays, a bias where there are bias_axes; "
                f"found {len(given)}"
            )
        return cls(equation, *given, **options)

    @property
    def built(self) -> bool:
        return self.W is not None

    def keras_weights(self) -> list[Slot]:
        size = dict(zip(self.made, self.output_sizes, strict=True))
        found = [Slot("kernel", tuple(size.get(c) for c in self.kernel_axes))]
        if self.bias_axes is not None:
            found.append(Slot("bias", self._bias_shape(size)))
        return found

    def loaded(self, arrays: Sequence[Array]) -> EinsumDense:
        return EinsumDense.from_keras(
            arrays, self.equation, activation=self.activation, bias_axes=self.bias_axes,
            name=self.name,
        )  # fmt: skip

    def _bias_shape(self, size: Mapping[str, int]) -> tuple[int, ...]:
        """Return the sizes of the result's axes from the first on that the bias has."""
        axes = self.bias_axes or ""
        first = min(self.made.index(c) for c in axes)
        return tuple(size[c] if c in axes else 1 for c in self.made[first:])

    def input_spec(self) -> tuple[Shape, str] | None:
        if self.input_sizes is None or self.rank is None:
            return None
        return (None,) * (self.rank - 1 - len(self.joined)) + self.input_sizes, "float32"

    def parameters(self, shape: Shape) -> int:
        sizes = self.input_sizes
        if sizes is None:
            sizes = tuple(features(n, self.label) for n in shape[-len(self.joined) :])
        made = zip(self.made, self.output_sizes, strict=True)
        bias = math.prod(n for c, n in made if c in self.bias_axes) if self.bias_axes else 0
        return math.prod(sizes) * math.prod(self.output_sizes) + bias

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        x = inputs[0]
        rank = x.rank if self.rank is None else self.rank
        if rank is None:
            raise OptionError(f"{self.label}: the number of axes of its input is not known")
        check_rank(self, x, rank, f"of {rank} axes ({self.equation})")
        lead = rank - len(self.joined)
        if len(self.joined) > 1:
            inner = site.inner("joined")
            (x,) = chain(graph, inner, x, [reshape(lead, (-1,), self.input_sizes)])
        several = len(self.made) > 1
        # over the last axis of the result, which a dense of several axes in one does not have
        apart = several and self.activation.kind == "softmax"
        linear = ActivationSpec("linear")
        attrs = {
            "units": math.prod(self.output_sizes),
            "activation": (linear if apart else self.activation).attr(),
        }
        steps: list[Step] = [reshape(lead, self.output_sizes)] if several else []
        if apart:
            steps.append(("activation", {"activation": self.activation.attr()}, "kept"))
        outputs = [f"{site.value}:dense"] if several else None
        weights = {"W": self.W, "b": self.b}
        (y,) = graph.node("dense", site, [x], outputs=outputs, weights=weights, attrs=attrs)
        return chain(graph, site, y, steps) if steps else [y]
