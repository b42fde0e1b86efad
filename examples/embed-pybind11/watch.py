"""The application's module beside the seqcore package, in one process.

    PYTHONPATH=build python watch.py

seqcore makes the model and says what is expected; the C++ monitor, which has a copy of the library
of its own, must say the same of the sensors that it watches. Prints the most surprising values.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import monitor
import numpy as np

import seqcore as sc

SENSORS, FRAMES, WIDTH, UNITS = 5, 60, 2, 16


def predictor() -> sc.Sequential:
    """Return a model (batch, time, WIDTH) -> (batch, time, WIDTH); it was never trained."""
    random = np.random.default_rng(1)
    gates = [random.normal(0, 0.4, shape) for shape in ((WIDTH, 3 * UNITS), (UNITS, 3 * UNITS))]
    gru = sc.GRU(*gates, np.zeros((2, 3 * UNITS)), return_sequences=True)
    return sc.Sequential([gru, sc.Dense(random.normal(0, 0.4, (UNITS, WIDTH)))])


def watch(model: sc.Sequential, values: np.ndarray) -> np.ndarray:
    """Return the scores (SENSORS, FRAMES) of values (SENSORS, FRAMES, WIDTH).

    Sensors report when they like: at each turn some of them, in any order.
    """
    random = np.random.default_rng(2)
    scores = np.full(values.shape[:2], np.nan)
    reported = np.zeros(SENSORS, int)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictor.safetensors"
        model.save(path)
        watcher = monitor.Monitor(str(path), capacity=SENSORS)
    while (reported < FRAMES).any():
        waiting = np.flatnonzero(reported < FRAMES)
        some = random.permutation(waiting)[: random.integers(1, len(waiting) + 1)]
        scores[some, reported[some]] = watcher.observe(some, values[some, reported[some]])
        reported[some] += 1
    return scores


def main() -> None:
    values = np.random.default_rng(3).normal(size=(SENSORS, FRAMES, WIDTH)).astype(np.float32)
    model = predictor()
    scores = watch(model, values)
    predicted = model(values)  # by the package, whole sequences at once
    distances = (values[:, 1:].astype(float) - predicted[:, :-1]) ** 2
    assert np.array_equal(scores[:, 1:], (distances[..., 0] + distances[..., 1]) / WIDTH)
    assert not scores[:, 0].any()
    for sensor in range(SENSORS):
        worst = int(scores[sensor].argmax())
        print(f"sensor {sensor}: frame {worst:2} scores {scores[sensor, worst]:.2f}")


if __name__ == "__main__":
    main()
