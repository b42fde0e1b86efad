"""Masking: frames of one value do not count. Where masks go is `Layer.mask` and graph.py."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import OptionError
from ..graph import GraphBuilder, Mask, Site, Value, finite, told
from .base import Layer

__all__ = ["Masking"]


class Masking(Layer):
    """Masks the frames whose features all are `mask_value`, and sets them to 0; any shape.

    Parameters
    ----------
    mask_value : float
    name : str, optional

    Raises
    ------
    OptionError

    Examples
    --------
    >>> import numpy as np, seqcore as sc
    >>> total = sc.SimpleRNN(np.eye(1), np.eye(1), activation=None)
    >>> model = sc.Sequential([sc.Input((None, 1)), sc.Masking(-1.0), total])
    >>> model(np.array([[[3], [-1], [4]]])).tolist()
    [[7.0]]
    """

    def __init__(self, mask_value: float = 0.0, *, name: str | None = None) -> None:
        super().__init__(name)
        number = finite(mask_value)
        if number is None:
            raise OptionError(f"{self.label}: mask_value is a number; found {told(mask_value)}")
        self.mask_value = number

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return graph.node("masking", site, inputs, attrs={"value": self.mask_value})

    def mask(self, inputs: Sequence[Value]) -> Mask:
        return Mask("frames", (inputs[0].name,), self.mask_value)
