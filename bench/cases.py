"""The questions that the benchmark asks: which cell, which sizes, how many threads, and in which
table of the report the answer stands.

A case also makes its own input and weights, from fixed seeds and with torch's names and gate
orders (LSTM i,f,g,o; GRU r,z,n), so that every runner computes the same function. Nothing is timed
here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

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
    batch, time, inputs, units : int
        x is (batch, time, inputs), y is (batch, time, directions * units).
    bidirectional : bool
    layers : int
        How many layers, each on the sequence of the one before.
    reset_after : bool
        Of a GRU: whether r applies to the recurrent product, as in torch, or to the state before
        it, which torch cannot.
    ragged : bool
        Whether rows end early, each at its own length; y is 0 from there on.
    counts : float, optional
        The share of frames that a mask leaves, anywhere in a row; the others repeat the output of
        the frame before. Other runners have no masks, so that only ours is timed.
    out : bool
        Whether the caller gives the memory of y. Other runners have this or not, so that only ours
        is timed.
    threads : int
        The most threads that a runner may use.
    """

    cell: str
    batch: int
    time: int
    inputs: int
    units: int
    bidirectional: bool = False
    layers: int = 1
    reset_after: bool = True
    ragged: bool = False
    counts: float | None = None
    out: bool = False
    threads: int = 1

    @property
    def label(self) -> str:
        """Cell, batch, time, input and hidden size as a reader writes them, and what is special."""
        sizes = f"{self.batch},{self.time},{self.inputs},{self.units}"
        words = [f"{'Bi' * self.bidirectional}{self.cell} {sizes}"]
        words += [f"{self.layers} layers"] * (self.layers > 1)
        words += ["reset before"] * (not self.reset_after)
        words += ["ragged"] * self.ragged
        words += [] if self.counts is None else [f"mask {self.counts:.0%}"]
        words += ["out="] * self.out
        return " ".join(words)

    @property
    def id(self) -> str:
        """A name for ``-k``, such as ``lstm-1x100x64x64-1t``."""
        name = (
            self.label.lower().replace("=", "").replace("%", "").replace(" ", "-").replace(",", "x")
        )
        return f"{name}-{self.threads}t"

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def gates(self) -> int:
        return GATES[self.cell]

    @property
    def layer_inputs(self) -> list[int]:
        """The input features of each layer."""
        return [self.inputs] + [self.directions * self.units] * (self.layers - 1)

    def input(self) -> Array:
        """Return x (batch, time, inputs), standard normal."""
        rng = np.random.default_rng(1)
        return rng.standard_normal((self.batch, self.time, self.inputs), dtype=np.float32)

    def lengths(self) -> NDArray[np.int64]:
        """Return the frames of each row (batch,): uniform in 1..time when ragged.

        The first row is whole: torch's time axis ends with the longest one.
        """
        if not self.ragged:
            return np.full(self.batch, self.time)
        lengths = np.random.default_rng(3).integers(1, self.time + 1, self.batch)
        lengths[0] = self.time
        return lengths

    def active(self) -> NDArray[np.int64]:
        """Return how many rows run in each step (time,)."""
        frames = self.lengths() if self.counts is None else self.mask().sum(axis=1)
        return (frames[:, None] > np.arange(self.time)).sum(axis=0)

    def mask(self) -> NDArray[np.bool_]:
        """Return which frames count (batch, time)."""
        share = 1.0 if self.counts is None else self.counts
        return np.random.default_rng(4).random((self.batch, self.time)) < share

    def weights(self) -> dict[str, Array]:
        """Return weight_ih (G*H, I), weight_hh (G*H, H) and two biases (G*H,) of each direction of
        each layer.

        Uniform within 1/sqrt(H), as torch initialises them.
        """
        rng = np.random.default_rng(2)
        bound = self.units**-0.5
        rows = self.gates * self.units
        weights = {}
        for layer, inputs in enumerate(self.layer_inputs):
            shapes = {
                "weight_ih": (rows, inputs),
                "weight_hh": (rows, self.units),
                "bias_ih": (rows,),
                "bias_hh": (rows,),
            }
            for suffix in self.suffixes(layer):
                for name, shape in shapes.items():
                    weights[name + suffix] = rng.uniform(-bound, bound, shape).astype(np.float32)
        return weights

    def suffixes(self, layer: int) -> tuple[str, ...]:
        """Ends of the names of a layer's weights, by direction."""
        return (f"_l{layer}", f"_l{layer}_reverse")[: self.directions]


def _two_threads(case: Case) -> Case:
    return replace(case, threads=2)


ONE_THREAD = [
    Case("LSTM", 1, 1, 64, 64),
    Case("LSTM", 1, 1, 64, 64, out=True),
    Case("LSTM", 1, 100, 32, 32),
    Case("LSTM", 1, 100, 64, 64),
    Case("LSTM", 1, 10_000, 64, 64),
    Case("LSTM", 1, 100, 128, 128),
    Case("LSTM", 1, 100, 256, 256),
    Case("LSTM", 1, 100, 512, 512),
    Case("LSTM", 1, 100, 1024, 1024),
    *(Case("LSTM", batch, 100, 128, 128) for batch in (2, 4, 6, 8, 12, 24, 32)),
    Case("LSTM", 16, 100, 256, 256),
    Case("LSTM", 64, 100, 128, 128),
    Case("LSTM", 64, 100, 128, 128, ragged=True),
    Case("LSTM", 64, 100, 256, 256),
    Case("LSTM", 256, 50, 512, 512),
    Case("LSTM", 32, 200, 128, 128),
    Case("LSTM", 32, 200, 128, 128, counts=0.7),
    Case("LSTM", 32, 200, 128, 128, counts=1.0),
    Case("LSTM", 1, 100, 128, 128, layers=2),
    Case("LSTM", 32, 100, 128, 128, layers=2),
    Case("LSTM", 1, 200, 128, 128, bidirectional=True),
    Case("LSTM", 32, 200, 128, 128, bidirectional=True),
    Case("GRU", 1, 100, 64, 64),
    Case("GRU", 1, 100, 256, 256),
    Case("GRU", 64, 100, 256, 256),
    Case("GRU", 1, 100, 128, 128, reset_after=False),
    Case("GRU", 64, 100, 128, 128, reset_after=False),
    Case("RNN", 1, 100, 64, 64),
    Case("RNN", 64, 100, 256, 256),
]

TWO_THREADS = [
    _two_threads(case)
    for case in (
        Case("LSTM", 1, 100, 64, 64),
        Case("LSTM", 1, 100, 128, 128),
        Case("LSTM", 1, 100, 256, 256),
        Case("LSTM", 1, 100, 512, 512),
        Case("LSTM", 1, 100, 1024, 1024),
        Case("LSTM", 2, 100, 512, 512),
        Case("LSTM", 8, 100, 128, 128),
        Case("LSTM", 8, 50, 1024, 1024),
        Case("LSTM", 64, 100, 256, 256),
        Case("LSTM", 1, 200, 128, 128, bidirectional=True),
        Case("LSTM", 1, 100, 256, 256, bidirectional=True),
        Case("LSTM", 32, 200, 128, 128, bidirectional=True),
        Case("GRU", 1, 100, 512, 512),
    )
]

AVX2 = [
    Case("LSTM", 1, 100, 64, 64),
    Case("LSTM", 1, 100, 128, 128),
    Case("LSTM", 1, 100, 256, 256),
    Case("LSTM", 8, 100, 128, 128),
    Case("LSTM", 16, 100, 256, 256),
    Case("LSTM", 64, 100, 128, 128),
    Case("LSTM", 64, 100, 256, 256),
    Case("LSTM", 256, 50, 512, 512),
    Case("GRU", 64, 100, 256, 256),
]

# One size varied and the others held
SWEEPS = {
    "units": [
        Case("LSTM", 1, 100, units, units)
        for units in (8, 16, 32, 48, 64, 96, 128, 160, 192, 256, 384, 512, 768, 1024)
    ],
    "batch": [Case("LSTM", batch, 50, 128, 128) for batch in (1, 2, 4, 8, 16, 32, 64, 128, 256)],
    "time": [Case("LSTM", 1, time, 64, 64) for time in (1, 10, 100, 1000)],
    "inputs": [Case("LSTM", 1, 100, inputs, 64) for inputs in (1, 4, 16, 64, 256, 1024)],
}

QUICK = [
    Case("LSTM", 1, 1, 64, 64),
    Case("LSTM", 1, 100, 64, 64),
    Case("LSTM", 1, 100, 256, 256),
    Case("LSTM", 8, 100, 128, 128),
    Case("LSTM", 64, 100, 128, 128),
    Case("LSTM", 64, 100, 128, 128, ragged=True),
    Case("LSTM", 1, 100, 128, 128, layers=2),
    Case("LSTM", 1, 200, 128, 128, bidirectional=True),
    Case("GRU", 1, 100, 64, 64),
    Case("GRU", 1, 100, 128, 128, reset_after=False),
    Case("RNN", 1, 100, 64, 64),
    Case("LSTM", 1, 100, 512, 512, threads=2),
    Case("LSTM", 8, 100, 128, 128, threads=2),
]

TABLES = ("default", "avx2")


def _without_twin(cases: Iterable[Case], known: Iterable[Case]) -> list[Case]:
    """Return, for the cases of two threads, those of one thread that nobody has asked for."""
    twins = (replace(case, threads=1) for case in cases if case.threads > 1)
    return [case for case in twins if case not in known]


def selection(table: str, quick: bool) -> dict[Case, list[str]]:
    """Return each case to be measured, once, with the parts of the report in which it stands.

    Parts are "one thread", "two threads", "alone" (what two threads are compared with; only ours
    is timed), "avx2", and "sweep units" and so on.
    """
    if table == "avx2":
        parts = {"avx2": AVX2}
    elif quick:
        parts = {
            "one thread": [case for case in QUICK if case.threads == 1],
            "two threads": [case for case in QUICK if case.threads > 1],
        }
    else:
        parts = {"one thread": ONE_THREAD, "two threads": TWO_THREADS}
        parts |= {f"sweep {name}": cases for name, cases in SWEEPS.items()}
    chosen: dict[Case, list[str]] = {}
    for part, cases in parts.items():
        for case in cases:
            chosen.setdefault(case, []).append(part)
    for case in _without_twin(list(chosen), list(chosen)):
        chosen[case] = ["alone"]
    return chosen
