"""Layers that do something in training and nothing when a network runs: Dropout and others.

A model can be written as it was trained; their options are checked and read by nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import OptionError
from ..graph import GraphBuilder, Site, Value, finite, told
from .base import Layer

__all__ = [
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout1D",
]


class TrainingOnly(Layer):
    """A layer that returns its input, of any shape."""

    framewise = True
    keeps_mask = True

    def _number(self, value: Any, option: str, most: float | None = None) -> float:
        number = finite(value)
        if number is None or number < 0 or (most is not None and number > most):
            expected = "from 0 on" if most is None else f"from 0 to {most:g}"
            raise OptionError(f"{self.label}: {option} is a number {expected}; found {told(value)}")
        return number

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:  # noqa: ARG002
        return list(inputs)


class Dropout(TrainingOnly):
    """Nothing, when a trained network runs; a model can be written as it was trained.

    Parameters
    ----------
    rate : float
        From 0 to 1; read by nobody.
    name : str, optional

    Raises
    ------
    OptionError
    """

    def __init__(self, rate: float = 0.5, *, name: str | None = None) -> None:
        super().__init__(name)
        self.rate = self._number(rate, "rate", 1)


class SpatialDropout1D(Dropout):
    """Nothing when a trained network runs, like `Dropout`."""


class GaussianDropout(Dropout):
    """Nothing when a trained network runs, like `Dropout`."""


class AlphaDropout(Dropout):
    """Nothing when a trained network runs, like `Dropout`."""


class GaussianNoise(TrainingOnly):
    """Nothing when a trained network runs.

    Parameters
    ----------
    stddev : float
        From 0 on; read by nobody.
    name : str, optional

    Raises
    ------
    OptionError
    """

    def __init__(self, stddev: float = 1.0, *, name: str | None = None) -> None:
        super().__init__(name)
        self.stddev = self._number(stddev, "stddev")


class ActivityRegularization(TrainingOnly):
    """Nothing when a trained network runs.

    Parameters
    ----------
    l1, l2 : float
        From 0 on; read by nobody.
    name : str, optional

    Raises
    ------
    OptionError
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0, *, name: str | None = None) -> None:
        super().__init__(name)
        self.l1, self.l2 = self._number(l1, "l1"), self._number(l2, "l2")
