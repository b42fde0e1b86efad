"""The models that are stepped, and their weights, frames and seqcore form.

A model is a recurrent part, described as in ../cases.py, with an Embedding or a causal Conv1D in
front or nothing, and a softmax Dense behind or nothing. Peers build theirs from the same arrays.
Nothing is timed here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import peers
from cases import Array, Case
from numpy.typing import NDArray

import seqcore

FRAMES = 64  # different ones, over and over


@dataclass(frozen=True)
class Streamed:
    """A model of one row whose frames arrive one at a time.

    Attributes
    ----------
    cell : Case
        The recurrent part; batch and time are 1.
    rows : int
        Of an Embedding in front, whose width is the cell's inputs; 0: there is none.
    kernel, channels : int
        Of a causal Conv1D with relu in front, whose filters are the cell's inputs; 0: none.
    classes : int
        Units of a softmax Dense behind; 0: none.
    """

    cell: Case
    rows: int = 0
    kernel: int = 0
    channels: int = 0
    classes: int = 0

    @property
    def title(self) -> str:
        """The layers as a reader writes them."""
        kind, inputs, units = self.cell.cell, self.cell.inputs, self.cell.units
        if not (self.rows or self.kernel or self.classes):
            return f"{kind} {inputs}→{units}"
        parts = [f"Embedding {self.rows}→{inputs}"] if self.rows else []
        parts += [f"Conv1D {self.channels}→{inputs}, {self.kernel} frames"] if self.kernel else []
        parts += [f"{kind} {units}"] * self.cell.layers
        parts += [f"Dense {self.classes}"] if self.classes else []
        return ", ".join(parts)

    def embedding(self) -> Array:
        """Return the table (rows, inputs)."""
        shape = self.rows, self.cell.inputs
        return np.random.default_rng(4).standard_normal(shape, dtype=np.float32)

    def convolution(self) -> tuple[Array, Array]:
        """Return kernel (filters, channels, frames), as torch and ONNX have it, and bias."""
        return _uniform(5, (self.cell.inputs, self.channels, self.kernel), self.cell.inputs)

    def dense(self) -> tuple[Array, Array]:
        """Return kernel (classes, units), as torch has it, and bias."""
        return _uniform(6, (self.classes, self.cell.units), self.classes)

    def frames(self) -> list[NDArray[np.float32] | NDArray[np.int64]]:
        """Return frames as seqcore takes them: (1, features) floats, or (1,) ids."""
        rng = np.random.default_rng(7)
        if self.rows:
            return list(rng.integers(0, self.rows, (FRAMES, 1)))
        features = self.channels or self.cell.inputs
        return list(rng.standard_normal((FRAMES, 1, features), dtype=np.float32))

    def build(self) -> seqcore.Model:
        """Return seqcore's model, for one thread."""
        layers: list[seqcore.Layer] = [peers.layer(self.cell)]
        if self.rows:
            layers.insert(0, seqcore.Embedding(self.embedding()))
        if self.kernel:
            kernel, bias = self.convolution()
            conv = seqcore.Conv1D(
                kernel.transpose(2, 1, 0), bias, padding="causal", activation="relu"
            )
            layers.insert(0, conv)
        if self.classes:
            kernel, bias = self.dense()
            layers.append(seqcore.Dense(kernel.T, bias, activation="softmax"))
        return seqcore.Sequential(layers).with_options(threads=1)


def _uniform(seed: int, shape: tuple[int, ...], units: int) -> tuple[Array, Array]:
    """Return a kernel of a shape and a bias (units,), of the size that torch initialises."""
    rng = np.random.default_rng(seed)
    bound = float(np.prod(shape[1:])) ** -0.5
    kernel = rng.uniform(-bound, bound, shape).astype(np.float32)
    return kernel, rng.uniform(-bound, bound, units).astype(np.float32)


def lone(cell: str, inputs: int, units: int) -> Streamed:
    """Return a model of one recurrent layer."""
    return Streamed(Case(cell, 1, 1, inputs, units))


TEXT = Streamed(Case("LSTM", 1, 1, 64, 64, layers=2), rows=1000, classes=10)
SIGNAL = Streamed(Case("LSTM", 1, 1, 64, 64), kernel=5, channels=16, classes=10)
