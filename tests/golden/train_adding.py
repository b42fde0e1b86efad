"""Trains trained_adding.keras: the sum of the two marked numbers of a long row. Many to one.

The adding problem of Hochreiter and Schmidhuber (Long short-term memory, 1997): each frame is a
number between 0 and 1 and a mark, and two frames of each row are marked, one in each half. What was
seen must be kept over frames that say nothing, which a plain recurrent network does not learn.
The file is the whole model as Keras saves it, optimiser and all.

    pip install keras==3.15.1 torch==2.13.0
    python tests/golden/train_adding.py
"""

from __future__ import annotations

import os
import time
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"
import keras
import numpy as np
import torch
from keras import layers

FILE = Path(__file__).parent / "trained_adding.keras"
SHORTEST, LONGEST = 10, 100  # frames of the rows that are trained on
STEPS, BATCH, RATE = 6000, 64, 5e-3

# ---- The data -----------------------------------------------------------------------------------


def problem(rows: int, frames: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return x (rows, frames, 2), numbers and marks, and the sums (rows, 1) of what is marked."""
    x = np.zeros((rows, frames, 2), np.float32)
    x[..., 0] = rng.random((rows, frames), np.float32)
    every, half = np.arange(rows), frames // 2
    x[every, rng.integers(0, half, rows), 1] = 1
    x[every, rng.integers(half, frames, rows), 1] = 1
    return x, (x[..., 0] * x[..., 1]).sum(1, keepdims=True)


# ---- The model ----------------------------------------------------------------------------------


def build(units: int = 32) -> keras.Model:
    """Return a model of x (B, T, 2) -> sums (B, 1), not trained."""
    return keras.Sequential([layers.Input((None, 2)), layers.GRU(units), layers.Dense(1)])


def trained() -> keras.Model:
    """Return the model of trained_adding.keras, as Keras loads it."""
    return keras.saving.load_model(FILE)


# ---- Training -----------------------------------------------------------------------------------


def train(model: keras.Model, rng: np.random.Generator) -> float:
    """Train on rows that get longer in the first half; return the seconds of the processor."""
    rate = keras.optimizers.schedules.CosineDecay(RATE, STEPS)
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), "mse")
    begun = time.process_time()
    losses = []
    for step in range(1, STEPS + 1):
        longest = min(SHORTEST + (LONGEST - SHORTEST) * 2 * step // STEPS, LONGEST)
        x, sums = problem(BATCH, int(rng.integers(SHORTEST, longest + 1)), rng)
        losses.append(float(model.train_on_batch(x, sums)))
        if step % (STEPS // 10) == 0:
            print(f"step {step}: mean squared error {np.mean(losses[-STEPS // 10 :]):.5f}")
    return time.process_time() - begun


def main() -> None:
    torch.set_num_threads(1)  # sums have one order on any machine
    keras.utils.set_random_seed(7)
    model = build()
    seconds = train(model, np.random.default_rng(7))
    model.save(FILE)
    print(f"after {seconds:.0f} s of one core: mean squared error of 2,000 held-out rows:")
    for frames in (50, 100, 200):  # the last are twice as long as any that were trained on
        x, sums = problem(2000, frames, np.random.default_rng(frames))
        error = np.square(model.predict(x, verbose=0, batch_size=500) - sums).mean()
        print(f"{frames} frames: {error:.5f}; always the mean, 1: {np.square(1 - sums).mean():.4f}")


if __name__ == "__main__":
    main()
