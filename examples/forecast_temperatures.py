"""How warm will the Pacific off Peru be, month by month, for two years? A GRU fed its own answers.

    python examples/forecast_temperatures.py
    python examples/forecast_temperatures.py --picture forecast.png
    python examples/forecast_temperatures.py --check

A time series: the network reads five years of standardised monthly temperatures, tells the next
month, reads what it told, and goes on so for two years (`Model.forecast`, one call). What
standardises them, a Scaler, is kept in the model. Every window of the years from 1996 on, which the
training never saw, is forecast at once and held against what anybody could say without a network.
tests/golden/train_forecaster.py trained it in PyTorch, which need not be here.

    model.save("temperatures.safetensors")       # all of it in one file, the scaler too: --save
    model = sc.load("temperatures.safetensors")  # --model

The series is NOAA's Nino 1+2, 1950 to 2010, a file of statsmodels, which is read and not run:
pip install --no-deps statsmodels==0.15.0; --picture needs matplotlib.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from model_files import kept_by, model_file
from numpy.typing import NDArray
from trained_here import ratio, torch_script, trained

import seqcore as sc

Array = NDArray[Any]

YEAR = 12
HISTORY, HORIZON = 5 * YEAR, 2 * YEAR  # months that are read, and that are then told
FIRST, TEST = 1950, 1996  # years in which the series and the held-out months begin
TRAINED = (1990 - FIRST) * YEAR  # months that the network was trained on


class HeldOut(NamedTuple):
    """Every window whose answer nobody trained on, N of them, a month apart."""

    histories: Array  # (N, 60), degrees Celsius
    truth: Array  # (N, 24)
    months: Array  # (N, 24), counted from the start of the series


def temperatures() -> Array:
    """Return the series (732,) in degrees Celsius, from January 1950 on."""
    path = model_file("statsmodels", "datasets/elnino/elnino.csv", "statsmodels==0.15.0", "series")
    with path.open(newline="") as file:
        years = list(csv.reader(file))[1:]
    return np.array([float(month) for year in years for month in year[1:]])


def load() -> sc.Model:
    """Build the network, standardised values (B, T, 1) -> the values after them, and its scaler."""
    w, _ = trained("forecaster")
    network = sc.Sequential([sc.GRU.from_torch(w, "gru"), sc.Dense.from_torch(w, "output")])
    return network.with_assets(scaler=sc.sequence.Scaler().fit(temperatures()[:TRAINED]))


def held_out(series: Array) -> HeldOut:
    """See the years from `TEST` on as windows; nothing is copied."""
    begin = (TEST - FIRST) * YEAR
    histories, truth = sc.sequence.windows(series[begin - HISTORY :], HISTORY, horizon=HORIZON)
    return HeldOut(histories, truth, sc.sequence.windows(np.arange(begin, len(series)), HORIZON))


def forecast(model: sc.Model, histories: Array, steps: int = HORIZON) -> Array:
    """Return what comes after each history (N, T), (N, steps), in degrees Celsius."""
    (scaler,) = kept_by(model, "scaler")
    frames = scaler.transform(histories)[..., None].astype(np.float32)
    return scaler.inverse(model.forecast(frames, steps)[..., 0])


def forecasts(model: sc.Model, series: Array) -> dict[str, Array]:
    """Return the network's answers to all held-out windows, and those that need no network."""
    histories, truth, months = held_out(series)
    of_month = series[:TRAINED].reshape(-1, YEAR).mean(axis=0)
    told = {
        "the network": forecast(model, histories),
        "mean of the month": of_month[months % YEAR],
        "same month, last year": np.tile(histories[:, -YEAR:], HORIZON // YEAR),
        "last value": histories[:, -1:],
    }
    return {name: np.broadcast_to(values, truth.shape) for name, values in told.items()}


def rmse(told: Array, truth: Array, axis: int | None = None) -> Array:
    """Return the root of the mean squared error, of all or along an axis."""
    return np.sqrt(np.square(told - truth).mean(axis=axis))


def calendar(months: Array) -> Array:
    """Return dates of months that are counted from the start of the series."""
    return np.datetime64(f"{FIRST}-01", "M") + months


def report(model: sc.Model, series: Array) -> None:
    """Print the last two years beside their forecast, and the errors of all windows."""
    _, truth, months = held_out(series)
    told = forecasts(model, series)
    print("month     truth  forecast  mean of the month   (degrees Celsius)")
    columns = (calendar(months), truth, told["the network"], told["mean of the month"])
    for month, was, said, mean in zip(*(column[-1] for column in columns), strict=True):
        print(f"{month}  {was:6.2f}  {said:8.2f}  {mean:17.2f}")
    print(f"\nroot mean squared error of {len(truth)} forecasts of {HORIZON} months each,")
    print(f"which begin from {TEST} on; and of how far ahead:")
    ahead = [1, 3, 6, 12, 24]
    print(f"{'':<23}{'all':>6}" + "".join(f"{f'month {k}':>10}" for k in ahead))
    for name, values in told.items():
        by_month = rmse(values, truth, axis=0)[np.array(ahead) - 1]
        print(f"{name:<23}{rmse(values, truth):6.3f}" + "".join(f"{e:10.3f}" for e in by_month))


def picture(model: sc.Model, series: Array) -> Any:
    """Draw the last two years and their forecast, and errors by how far ahead they are told."""
    from matplotlib.dates import ConciseDateFormatter, YearLocator
    from matplotlib.figure import Figure

    _, truth, months = held_out(series)
    told = forecasts(model, series)
    figure = Figure(figsize=(9, 7), layout="constrained")
    above, below = figure.subplots(2)
    shown = 3 * YEAR + HORIZON
    dates, ahead = calendar(months[-1]), np.arange(1, HORIZON + 1)
    styles = dict(zip(told, ("C3-", "C7--", "C2:", "C1:"), strict=True))

    every = calendar(np.arange(len(series)))[-shown:]
    above.plot(every, series[-shown:], "C0-", linewidth=1.5, label="measured")
    for name in ("mean of the month", "the network"):
        above.plot(dates, told[name][-1], styles[name], label=name)
    above.axvspan(dates[0], dates[-1], color="0.95", zorder=0, label="told from here on")
    above.xaxis.set_major_locator(YearLocator())
    above.xaxis.set_major_formatter(ConciseDateFormatter(YearLocator()))
    above.set(
        title=f"The {HORIZON} months from {dates[0]} on, told in one go", ylabel="°C",
        ylim=(None, series[-shown:].max() + 2),  # room for the legend
    )  # fmt: skip

    for name, values in told.items():
        below.plot(ahead, rmse(values, truth, axis=0), styles[name], label=name)
    below.set(
        title=f"Errors of {len(truth)} such forecasts, which begin from {TEST} on",
        xlabel="months ahead", ylabel="root mean squared error, °C", xlim=(1, HORIZON), ylim=(0, 5),
        xticks=[1, *range(3, HORIZON + 1, 3)],
    )  # fmt: skip
    for axes in (above, below):
        axes.grid(color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="upper left", ncols=2, frameon=False, fontsize="small")
    return figure


def check(model: sc.Model, series: Array) -> None:
    """Print how torch's own module compares, in answers and in speed."""
    script = torch_script("forecaster")
    if script is None:
        print("torch is not installed: there is nothing to compare with")
        return
    theirs = partial(script.forecasts, script.trained())
    ours = partial(forecast, model.with_options(threads=1))
    histories = held_out(series).histories
    apart = np.abs(ours(histories) - theirs(histories)).max()
    print(f"torch's module: largest difference {apart:.1e} °C; on one thread")
    ratio("  one forecast", 1, lambda: theirs(histories[:1]), lambda: ours(histories[:1]))
    ratio("  all at once, each", len(histories), lambda: theirs(histories), lambda: ours(histories))


def main(arguments: Sequence[str]) -> None:
    """Print the forecast of the last two years of the series, and what such forecasts are worth."""
    parser = argparse.ArgumentParser(description="Forecast temperatures of the sea off Peru.")
    parser.add_argument("--picture", metavar="FILE", help="draw it too, as .png, .svg ...")
    parser.add_argument("--check", action="store_true", help="run torch beside it too")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the model as one file")
    parser.add_argument("--model", type=Path, metavar="FILE", help="which is then read instead")
    given = parser.parse_args(arguments)
    model, series = sc.load(given.model) if given.model else load(), temperatures()
    if given.save:
        model.save(given.save)
    report(model, series)
    if given.check:
        check(model, series)
    if given.picture:
        picture(model, series).savefig(given.picture, dpi=150)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (ImportError, OSError, sc.SeqcoreError) as error:
        sys.exit(f"forecast_temperatures: {error}")
