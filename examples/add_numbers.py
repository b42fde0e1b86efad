"""Which two numbers were marked, a hundred frames ago? A GRU keeps them, and tells their sum.

    python examples/add_numbers.py 0.3 0.9
    python examples/add_numbers.py --check

Many to one, a regression: the adding problem of Hochreiter and Schmidhuber (1997). Each frame is a
number between 0 and 1 and a mark; one frame of each half is marked. The network sees nothing but
one frame after the other, and says what the two marked ones add up to. Here your two numbers stand
among others, in rows of several lengths, all of them one call. The file is a whole model of Keras,
which need not be here; tests/golden/train_adding.py trained it on rows of up to 100 frames.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from package_code import fastest
from trained_here import GOLDEN

import seqcore as sc

FILE = GOLDEN / "trained_adding.keras"
FRAMES = [10, 30, 100, 200]  # of the rows that are shown; the last is longer than any trained on
HELD_OUT, HELD_OUT_FRAMES = 1000, 100  # rows that --check makes


def load() -> sc.Model:
    """Load the model: numbers and marks (B, T, 2) -> sums (B, 1)."""
    return sc.load(FILE)


def problem(
    rows: int, frames: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw x (rows, frames, 2), numbers and marks, and the sums (rows, 1) of what is marked."""
    x = np.zeros((rows, frames, 2), np.float32)
    x[..., 0] = rng.random((rows, frames), np.float32)
    every, half = np.arange(rows), frames // 2
    x[every, rng.integers(0, half, rows), 1] = 1
    x[every, rng.integers(half, frames, rows), 1] = 1
    return x, (x[..., 0] * x[..., 1]).sum(1, keepdims=True)


def hidden(numbers: Sequence[float], seed: int = 0) -> list[NDArray[np.float32]]:
    """Make a row (T, 2) of each length of `FRAMES`, with the two numbers where the marks are."""
    rng = np.random.default_rng(seed)
    rows = [problem(1, frames, rng)[0][0] for frames in FRAMES]
    for row in rows:
        row[row[:, 1] == 1, 0] = numbers
    return rows


def add(model: sc.Model, rows: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the network's sum for each row (T, 2), of whatever lengths, in one call."""
    x, lengths = sc.sequence.pad(rows)
    return model(x, lengths=lengths)[:, 0]


def in_short(row: NDArray[np.float32]) -> str:
    """Write a row with the marked numbers in brackets, and of the others only the neighbours."""
    marked = np.flatnonzero(row[:, 1])
    near = {int(place) + step for place in marked for step in (-1, 0, 1)}
    shown = {0, len(row) - 1, *near} & {*range(len(row))}
    words, before = [], -1
    for place in sorted(shown):
        if place > before + 1:
            words.append(f"({place - before - 1} more)")
        words.append(f"[{row[place, 0]:.2f}]" if place in marked else f"{row[place, 0]:.2f}")
        before = place
    return " ".join(words)


def check(model: sc.Model) -> None:
    """Print the error on rows that nobody trained on, and Keras's answers and speed beside it."""
    x, sums = problem(HELD_OUT, HELD_OUT_FRAMES, np.random.default_rng(1997))
    found = model(x)
    print(f"mean squared error of {HELD_OUT:,} rows of {HELD_OUT_FRAMES} frames, never trained on:")
    print(f"  the network      {np.square(found - sums).mean():.5f}")
    print(f"  always 1         {np.square(1 - sums).mean():.5f}  (the mean of all sums)")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        import keras
    except ImportError:
        print("Keras is not installed: there is nothing to compare with")
        return
    theirs = keras.saving.load_model(FILE)
    expected = theirs.predict_on_batch(x)
    apart = np.abs(found - expected).max()
    print(f"Keras on {keras.backend.backend()}: largest difference {apart:.1e}")
    for title, rows in (("one row", x[:1]), ("all rows", x)):
        slow = fastest(lambda rows=rows: theirs.predict_on_batch(rows))[0] * 1e3
        fast = fastest(lambda rows=rows: model(rows))[0] * 1e3
        times = f"Keras {slow:8.2f} ms, seqcore {fast:6.2f} ms"
        print(f"  {title:<9}{times}: {slow / fast:.1f} times as fast")


def main(arguments: Sequence[str]) -> None:
    """Print rows with the two numbers, their sum, and what the network says."""
    parser = argparse.ArgumentParser(description="Add two numbers that stand far apart.")
    parser.add_argument("numbers", nargs="*", type=float, help="two, between 0 and 1")
    parser.add_argument("--check", action="store_true", help="measure it, and run Keras beside it")
    given = parser.parse_args(arguments)
    numbers = given.numbers or [0.3, 0.9]
    if len(numbers) != 2 or not all(0 <= number <= 1 for number in numbers):
        parser.error(f"expected two numbers between 0 and 1; found {given.numbers}")
    model = load()
    if given.check:
        check(model)
        return
    rows = hidden(numbers)
    for row, found in zip(rows, add(model, rows), strict=True):
        print(f"{len(row):3} frames: {in_short(row)}")
        print(f"{'sum':>10}: {sum(numbers):.3f}; the network says {found:.3f}\n")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, sc.SeqcoreError) as error:
        sys.exit(f"add_numbers: {error}")
