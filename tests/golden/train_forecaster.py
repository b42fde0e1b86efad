"""Trains trained_forecaster.*: sea-surface temperatures of the coming two years, month by month.

A GRU tells the next month's temperature from all before it; fed its own answers, it goes on for as
long as one likes. Trained on the years to 1989 that way; 1990 to 1995 chose its size and the noise,
1996 to 2010 are held out. The series is the mean temperature of the Pacific off Peru (NOAA's Nino
1+2, 1950 to 2010, public domain), a file of statsmodels (BSD-3-Clause, a wheel of 12 MB), of which
nothing else is used and nothing imported:

    pip install --no-deps statsmodels==0.15.0
    python tests/golden/train_forecaster.py
"""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from training import begin, load, save, train

YEAR = 12
HISTORY, HORIZON = 5 * YEAR, 2 * YEAR  # months that are seen, and that are then told
FIRST, TEST = 1950, 1996
TRAINED = (1990 - FIRST) * YEAR  # months
NOISE = 0.5  # of the history, in deviations: the model must not lean on a single month

# ---- The data -----------------------------------------------------------------------------------


def temperatures() -> np.ndarray:
    """Return the series (732,) in degrees Celsius, from January 1950 on."""
    spec = importlib.util.find_spec("statsmodels")
    if spec is None:
        raise SystemExit("the series is a file of statsmodels 0.15.0, which is not installed")
    path = Path(spec.submodule_search_locations[0], "datasets", "elnino", "elnino.csv")
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return np.array([float(month) for row in rows for month in row[1:]])


# ---- The model ----------------------------------------------------------------------------------


class Forecaster(nn.Module):
    """Standardised values (B, T, 1), state (1, B, H) -> the values after them (B, T, 1), state."""

    def __init__(self, units: int = 32) -> None:
        super().__init__()
        self.gru = nn.GRU(1, units, batch_first=True)
        self.output = nn.Linear(units, 1)
        self.register_buffer("mean", torch.zeros(1))  # of the series: what standardises it
        self.register_buffer("std", torch.ones(1))

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, h = self.gru(x, h)
        return self.output(y), h

    def forecast(self, x: Tensor, steps: int) -> Tensor:
        """Return the `steps` values (B, steps, 1) that come after x (B, T, 1), all standardised."""
        y, h = self(x)
        told = [y[:, -1:]]
        while len(told) < steps:
            y, h = self(told[-1], h)
            told.append(y)
        return torch.cat(told, 1)


def trained() -> Forecaster:
    """Return the module with the weights of trained_forecaster.safetensors."""
    return load(Forecaster(), "forecaster")


# ---- What it is worth ---------------------------------------------------------------------------


def windows(series: np.ndarray, begin: int) -> tuple[np.ndarray, np.ndarray]:
    """Return histories (N, 60) and what came after each (N, 24), the first of it at `begin`."""
    both = np.lib.stride_tricks.sliding_window_view(series[begin - HISTORY :], HISTORY + HORIZON)
    return both[:, :HISTORY], both[:, HISTORY:]


@torch.no_grad()
def forecasts(module: Forecaster, histories: np.ndarray) -> np.ndarray:
    """Return what the module tells (N, 24) after histories (N, 60), in degrees."""
    x = (torch.from_numpy(histories.astype(np.float32))[..., None] - module.mean) / module.std
    return (module.forecast(x, HORIZON) * module.std + module.mean)[..., 0].numpy()


def errors(module: Forecaster, series: np.ndarray, begin: int) -> dict[str, float]:
    """Return root mean squared errors in degrees over all windows whose answer begins there."""
    histories, truth = windows(series, begin)
    of_month = series[:TRAINED].reshape(-1, YEAR).mean(0)
    months = (begin + np.arange(len(truth)))[:, None] + np.arange(HORIZON)
    told = {
        "model": forecasts(module, histories),
        "last value": histories[:, -1:],
        "same month, last year": np.tile(histories[:, -YEAR:], HORIZON // YEAR),
        "mean of the month": of_month[months % YEAR],
        "mean": series[:TRAINED].mean(),
    }
    return {name: float(np.sqrt(np.square(y - truth).mean())) for name, y in told.items()}


# ---- Training -----------------------------------------------------------------------------------


def main() -> None:
    rng = begin(7)
    series = temperatures()
    module = Forecaster()
    module.mean.fill_(series[:TRAINED].mean())
    module.std.fill_(series[:TRAINED].std())
    histories, after = windows((series[:TRAINED] - float(module.mean)) / float(module.std), HISTORY)
    x, y = (torch.from_numpy(each.astype(np.float32))[..., None] for each in (histories, after))

    def loss_of() -> Tensor:
        rows = rng.integers(0, len(x), 32)
        told = module.forecast(x[rows] + NOISE * torch.randn(len(rows), HISTORY, 1), HORIZON)
        return nn.functional.mse_loss(told, y[rows])

    seconds = train(module, loss_of, steps=1000, rate=5e-3, decay=0.1)
    print(f"after {seconds:.0f} s of one core; root mean squared error of {HORIZON} months:")
    held_out = errors(module, series, (TEST - FIRST) * YEAR)
    chosen_by = errors(module, series[: (TEST - FIRST) * YEAR], TRAINED)
    for name, error in held_out.items():
        print(f"{name:<22} {error:.3f} from {TEST} on, {chosen_by[name]:.3f} before")
    save(module, "forecaster", {"rmse": held_out})


if __name__ == "__main__":
    main()
