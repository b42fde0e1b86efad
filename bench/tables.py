"""A run's rows as Markdown tables. What is in a row: results.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from results import Row, Run, targets

SHORT = "†"  # behind a figure that misses its target

SWEEP_TITLES = {
    "units": ("LSTM 1,100,H,H", "H"),
    "batch": ("LSTM B,50,128,128", "B"),
    "time": ("LSTM 1,T,64,64", "T"),
    "inputs": ("LSTM 1,100,I,64", "I"),
}
MOST_RISE = 1.10  # of the time per row, when the batch grows


def table(heads: list[str], lines: list[list[str]], texts: int = 1) -> str:
    """Return a table with its first columns, `texts`, to the left and the others to the right."""
    rule = ["---"] * texts + ["---:"] * (len(heads) - texts)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, rule, *lines])


def microseconds(seconds: float) -> str:
    """Return three digits or more, whole from 100 on."""
    value = seconds * 1e6
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{decimals}f}"


def _optional(value: float | None, form: Callable[[float], str], short: bool = False) -> str:
    return "–" if value is None else form(value) + SHORT * short


def _times(row: Row, runners: list[str]) -> list[str]:
    """Return each runner's median and spread, the fastest in bold."""
    best = min(row.cells, key=lambda name: row.cells[name].median)
    cells = []
    for name in runners:
        if name not in row.cells:
            cells.append("–")
            continue
        text = microseconds(row.cells[name].median)
        text = f"**{text}**" if name == best and len(row.cells) > 1 else text
        cells.append(f"{text} ±{row.cells[name].spread:.0%}")
    return cells


def _ratio(value: float) -> str:
    return f"{value:.2f}"


def _share(value: float) -> str:
    return f"{value:.0%}"


def _rate(value: float) -> str:
    return f"{value / 1e9:.3g}"


def cases_table(run: Run, part: str) -> str:
    """Return a part's table: times, ratios, rate, shares and targets; "" without rows."""
    rows = run.part(part)
    if not rows:
        return ""
    runners = run.runners(rows)
    two = part == "two threads"
    heads = ["case: batch,time,input,hidden", *(run.title(name) for name in runners)]
    heads += ["× best peer", *["× alone"] * two, "GF/s", "of peak", "of limit", "target"]
    lines = []
    for row in rows:
        found, short = row.reached(), row.short(run.isa, part)
        line = [row.case.label, *_times(row, runners)]
        line.append(_optional(found.ratio, _ratio, "ratio" in short))
        if two:
            line.append(_optional(found.alone, _ratio, "alone" in short))
        line += [
            _optional(row.rate, _rate),
            _optional(found.peak, _share, "peak" in short),
            _optional(found.limit, _share, "limit" in short),
            str(targets(row.case, run.isa, part)),
        ]
        lines.append(line)
    return table(heads, lines)


def sweep_table(run: Run, name: str) -> str:
    """Return a sweep's table, that of the batch with the time per row; "" without rows."""
    rows = run.sweep(name)
    if not rows:
        return ""
    runners = run.runners([row for row in rows if "one thread" not in row.parts]) or ["seqcore"]
    by_row = name == "batch"
    heads = [SWEEP_TITLES[name][1], *(run.title(runner) for runner in runners)]
    heads += ["× best peer", *["ours per row"] * by_row, "GF/s", "of peak", "of limit"]
    lines, least = [], float("inf")
    for row in rows:
        found, short = row.reached(), row.short(run.isa, f"sweep {name}")
        line = [str(getattr(row.case, name)), *_times(row, runners)]
        line.append(_optional(found.ratio, _ratio, "ratio" in short))
        if by_row:
            each = None if row.ours is None else row.ours / row.case.batch
            line.append(
                _optional(each, microseconds, each is not None and each > MOST_RISE * least)
            )
            least = least if each is None else min(least, each)
        line += [
            _optional(row.rate, _rate),
            _optional(found.peak, _share, "peak" in short),
            _optional(found.limit, _share, "limit" in short),
        ]
        lines.append(line)
    return f"### {SWEEP_TITLES[name][0]}\n\n{table(heads, lines)}"


def size(value: int) -> str:
    """Return bytes as a reader writes them."""
    return f"{value / (1 << 20):g} MiB" if value >= 1 << 20 else f"{value / 1024:g} KiB"


def limits_table(run: Run) -> str:
    """Return what the probe measured, a column for each instruction set and number of threads."""
    if "isas" not in run.limits:
        return f"Not measured ({run.limits['missing']}): there are no shares of a limit."
    columns = [
        (isa, threads, figures)
        for isa, figures in run.limits["isas"].items()
        for threads in figures["threads"]
    ]
    heads = ["", *(f"{isa}, {n} thread{'s' * (n != '1')}" for isa, n, _ in columns)]

    def line(title: str, value: Callable[[dict[str, Any], str], float | None]) -> list[str]:
        found = [value(figures, n) for _, n, figures in columns]
        return [title, *(_optional(v, lambda x: f"{x:,.3g}") for v in found)]

    def read_at(k: int) -> Callable[[dict[str, Any], str], float]:
        return lambda figures, n: float(figures["threads"][n]["reads"][k]["gb_s"])

    def of_cell(kind: str, cell: str) -> Callable[[dict[str, Any], str], float | None]:
        return lambda figures, n: float(figures[kind][cell]) if n == "1" else None

    lines = [line("multiply-adds, GFLOP/s", lambda f, n: float(f["threads"][n]["gflop_s"]))]
    first = columns[0][2]
    for k, read in enumerate(first["threads"]["1"]["reads"]):
        lines.append(line(f"read {size(read['bytes'])}, {read['order']}, GB/s", read_at(k)))
    for cell in first["latency_ns"]:
        lines.append(
            line(f"{cell}: from a gate's sum to the state, ns", of_cell("latency_ns", cell))
        )
    for cell in first["vector_ns"]:
        lines.append(line(f"{cell}: cell for a vector of units, ns", of_cell("vector_ns", cell)))
    return table(heads, lines)
