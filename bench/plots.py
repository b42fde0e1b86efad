"""A run's rows as small plots in one style. What is in a row: results.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from limits import flops, traffic
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from results import OURS, Row, Run
from tables import SWEEP_TITLES

STYLE = {
    "figure.figsize": (6.4, 4.0),
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
}
COLOURS = {
    "seqcore": "#c1272d",
    "torch": "#e69f00",
    "onnxruntime": "#0072b2",
    "openvino": "#009e73",
    "numpy": "0.55",
    "scipy": "0.75",
}
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")
LIMIT = {"color": "0.2", "linestyle": ":", "label": "limit"}


def _lines(
    run: Run, rows: list[Row], size: Callable[[Row], int], scale: Callable[[Row], float]
) -> Any:
    """Draw each runner's times over a size, and the limit."""
    figure, axes = plt.subplots()
    axes.set_xscale("log")
    for name in reversed(run.runners(rows)):
        own = [row for row in rows if name in row.cells]
        if len(own) < len(rows):  # a runner of some rows would seem to be one of all
            continue
        times = [row.cells[name].median * scale(row) for row in own]
        wide = {"linewidth": 2.2, "zorder": 3} if name == OURS else {}
        title = run.title(name)
        axes.plot(list(map(size, own)), times, "o-", label=title, color=COLOURS[name], **wide)
    if all(row.limit is not None for row in rows):
        axes.plot(list(map(size, rows)), [row.limit * scale(row) for row in rows], **LIMIT)
    axes.set_xticks(list(map(size, rows)), labels=[str(size(row)) for row in rows])
    axes.minorticks_off()
    axes.tick_params(axis="x", labelrotation=60 if len(rows) > 10 else 0)
    axes.legend()
    return figure, axes


def time_by_units(run: Run) -> Any:
    """Draw the time of a step over H."""
    rows = run.sweep("units")
    if len(rows) < 2:
        return None
    figure, axes = _lines(run, rows, lambda r: r.case.units, lambda r: 1e6 / r.case.time)
    axes.set(title=f"{SWEEP_TITLES['units'][0]}, 1 thread", xlabel="H", ylabel="us a step")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(PLAIN)
    return figure


def time_by_batch(run: Run) -> Any:
    """Draw the time of a row over the batch."""
    rows = run.sweep("batch")
    if len(rows) < 2:
        return None
    figure, axes = _lines(run, rows, lambda r: r.case.batch, lambda r: 1e6 / r.case.batch)
    axes.set(title=f"{SWEEP_TITLES['batch'][0]}, 1 thread", xlabel="batch", ylabel="us a row")
    axes.set_ylim(bottom=0)
    return figure


def speed_up(run: Run) -> Any:
    """Draw one thread's time / two threads', ours and, where it was measured, each peer's."""
    rows = [row for row in run.part("two threads") if row.over_ours(row.alone) is not None]
    if not rows:
        return None
    alone = {row.case.label: row for row in run.rows if row.case.threads == 1}
    figure, axes = plt.subplots()
    places = np.arange(len(rows))[::-1]
    ours = [row.over_ours(row.alone) for row in rows]
    axes.barh(places, ours, height=0.6, color=COLOURS[OURS], label=run.title(OURS))
    for name in ("torch", "onnxruntime", "openvino"):
        pairs = [
            (place, alone[row.case.label].cells[name].median / row.cells[name].median)
            for place, row in zip(places, rows, strict=True)
            if name in row.cells and name in alone[row.case.label].cells
        ]
        if pairs:
            y, x = zip(*pairs, strict=True)
            axes.plot(x, y, "D", color=COLOURS[name], label=run.title(name), markeredgecolor="w")
    axes.axvline(1, color="0.2", linewidth=0.8)
    axes.set_yticks(places, labels=[row.case.label for row in rows])
    axes.grid(visible=False, axis="y")
    axes.set(title="Two threads", xlabel="time on 1 thread / time on 2")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def roofline(run: Run) -> Any:
    """Draw our rates over the FLOP for each byte of recurrent weights read, under the ceilings."""
    machine = run.machines.get(1)
    rows = [row for row in run.rows if row.case.threads == 1 and row.rate is not None]
    if machine is None or not rows:
        return None
    figure, axes = plt.subplots()
    intensity = [flops(row.case) / traffic(row.case) for row in rows]
    span = np.geomspace(min(intensity) / 1.5, max(intensity) * 1.5, 100)
    styles = {"L1": "-", "L2": "--", "past L2": ":"}
    for name, style in styles.items():
        speed = machine.speeds[name]
        ceiling = np.minimum(speed * span, machine.peak) / 1e9
        label = f"{name}: {speed / 1e9:.0f} GB/s"
        axes.loglog(span, ceiling, style, color="0.4", label=label, zorder=1)
    colours = {"LSTM": COLOURS[OURS], "GRU": COLOURS["onnxruntime"], "RNN": COLOURS["openvino"]}
    for cell, colour in colours.items():
        points = [
            (x, row.rate / 1e9)
            for x, row in zip(intensity, rows, strict=True)
            if row.case.cell == cell
        ]
        if points:
            x, y = zip(*points, strict=True)
            axes.loglog(x, y, "o", color=colour, label=cell, alpha=0.75)
    axes.annotate(f"{machine.peak / 1e9:.0f} GF/s", (span[-1], machine.peak / 1e9), ha="right",
                  xytext=(0, 3), textcoords="offset points")  # fmt: skip
    axes.set(
        title=f"seqcore, {run.isa}, 1 thread",
        xlabel="FLOP per byte of recurrent weights",
        ylabel="GF/s",
    )
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PLAIN)
    axes.legend(loc="lower right")
    return figure


PLOTS = {
    "units": (time_by_units, "Time of a step over the hidden size"),
    "batch": (time_by_batch, "Time of a row over the batch"),
    "threads": (speed_up, "What the second thread gives"),
    "roofline": (roofline, "Rate over arithmetic intensity"),
}


def save(run: Run, folder: Path, stem: str) -> dict[str, str]:
    """Write folder/stem-<name>.png for each plot that has data; return file names by title."""
    written = {}
    with plt.rc_context(STYLE):
        for name, (draw, title) in PLOTS.items():
            figure = draw(run)
            if figure is None:
                continue
            path = folder / f"{stem}-{name}.png"
            # no date or version inside: the same figures give the same file
            figure.savefig(path, metadata={"Software": None})
            plt.close(figure)
            written[title] = path.name
    return written
