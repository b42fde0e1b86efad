"""The questions that the benchmark asks: which cell, which sizes, how many threads.

A case also makes its own input and weights, from fixed seeds and with torch's names and gate
orders (LSTM i,f,g,o; GRU r,z,n), so that every runner computes the same function. Nothing is timed
here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


@dataclass(frozen=True)
class Case:
    """One call of one recurrent layer that returns its whole sequence, float32, from a zero state.

    Attributes
    ----------
    cell : {"LSTM", "GRU", "RNN"}
        GRU is the reset-after form, the only one that torch has.
    batch, time, inputs, units : int
        x is (batch, time, inputs), y is (batch, time, directions * units).
    bidirectional : bool
    threads : int
        The most threads that a runner may use.
    quick : bool
        Part of the ``--quick`` selection.
    """

    cell: str
    batch: int
    time: int
    inputs: int
    units: int
    bidirectional: bool = False
    threads: int = 1
    quick: bool = False

    @property
    def label(self) -> str:
        """Cell, batch, time, input and hidden size as a reader writes them."""
        sizes = f"{self.batch},{self.time},{self.inputs},{self.units}"
        return f"{'Bi' * self.bidirectional}{self.cell} {sizes}"

    @property
    def id(self) -> str:
        """A name for ``-k``, such as ``lstm-1x100x64x64-1t``."""
        return f"{self.label.lower().replace(' ', '-').replace(',', 'x')}-{self.threads}t"

    def input(self) -> Array:
        """Return x (batch, time, inputs), standard normal."""
        rng = np.random.default_rng(1)
        return rng.standard_normal((self.batch, self.time, self.inputs), dtype=np.float32)

    def weights(self) -> dict[str, Array]:
        """Return weight_ih (G*H, I), weight_hh (G*H, H) and two biases (G*H,) of each direction.

        Uniform within 1/sqrt(H), as torch initialises them.
        """
        rng = np.random.default_rng(2)
        bound = self.units**-0.5
        rows = GATES[self.cell] * self.units
        shapes = {
            "weight_ih": (rows, self.inputs),
            "weight_hh": (rows, self.units),
            "bias_ih": (rows,),
            "bias_hh": (rows,),
        }
        return {
            f"{name}_l0{suffix}": rng.uniform(-bound, bound, shape).astype(np.float32)
            for suffix in self.suffixes
            for name, shape in shapes.items()
        }

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Ends of the weights' names, by direction."""
        return ("", "_reverse") if self.bidirectional else ("",)


ONE_THREAD = [
    Case("LSTM", 1, 1, 64, 64, quick=True),
    Case("LSTM", 1, 100, 32, 32),
    Case("LSTM", 1, 100, 64, 64, quick=True),
    Case("LSTM", 1, 100, 128, 128),
    Case("LSTM", 1, 100, 256, 256, quick=True),
    Case("LSTM", 1, 100, 512, 512),
    Case("LSTM", 1, 100, 1024, 1024),
    Case("LSTM", 8, 100, 128, 128, quick=True),
    Case("LSTM", 16, 100, 256, 256),
    Case("LSTM", 64, 100, 128, 128, quick=True),
    Case("LSTM", 64, 100, 256, 256),
    Case("LSTM", 256, 50, 512, 512),
    Case("GRU", 1, 100, 64, 64, quick=True),
    Case("GRU", 1, 100, 256, 256),
    Case("GRU", 64, 100, 256, 256),
    Case("RNN", 1, 100, 64, 64, quick=True),
    Case("LSTM", 1, 200, 128, 128, bidirectional=True, quick=True),
    Case("LSTM", 32, 200, 128, 128, bidirectional=True),
]

TWO_THREADS = [
    Case("LSTM", 1, 100, 256, 256, threads=2),
    Case("LSTM", 1, 100, 512, 512, threads=2),
    Case("LSTM", 1, 100, 1024, 1024, threads=2),
    Case("LSTM", 8, 100, 128, 128, threads=2, quick=True),
    Case("LSTM", 64, 100, 256, 256, threads=2),
    Case("LSTM", 32, 200, 128, 128, bidirectional=True, threads=2),
]

CASES = [*ONE_THREAD, *TWO_THREADS]
