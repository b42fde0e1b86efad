"""Prints pytest-benchmark's JSON as one Markdown table: medians by case and runner, and ratios.

    python bench/report.py build/bench.json [--output report.md]

It only reads the file: nothing is measured here, and seqcore need not be installed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

OURS = "seqcore"
NOISY = 0.10  # an interquartile range above this part of the median is worth a word
BUSY = 0.90  # a one-thread run that had less of its core than this was not alone


class Cell(NamedTuple):
    """One runner on one case: median and interquartile range in us, CPU seconds per second."""

    median: float
    iqr: float
    cpu_share: float

    @property
    def spread(self) -> float:
        """The interquartile range as a part of the median."""
        return self.iqr / self.median


Row = tuple[str, int]  # label, threads


def read(path: Path) -> tuple[dict[str, Any], dict[Row, dict[str, Cell]]]:
    """Return the whole document, and its cells by row and runner in the order of measurement.

    Raises
    ------
    ValueError
        The file is no JSON, or does not come from this benchmark.
    """
    document = json.loads(path.read_text())
    if not isinstance(document, dict) or "seqcore" not in document:
        raise ValueError("expected the JSON of `pytest bench --benchmark-json`")
    rows: dict[Row, dict[str, Cell]] = {}
    for entry in document["benchmarks"]:
        info, stats = entry["extra_info"], entry["stats"]
        row = rows.setdefault((info["case"], info["threads"]), {})
        row[info["runner"]] = Cell(stats["median"] * 1e6, stats["iqr"] * 1e6, info["cpu_share"])
    return document, rows


def ratio(row: dict[str, Cell]) -> float | None:
    """Return best peer's median / seqcore's: above 1 seqcore is faster. None if one is absent."""
    peers = [cell.median for name, cell in row.items() if name != OURS]
    return min(peers) / row[OURS].median if peers and OURS in row else None


def _microseconds(value: float) -> str:
    """Return three digits or more, whole from 100 on."""
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{decimals}f}"


def _line(key: Row, row: dict[str, Cell], runners: list[str]) -> str:
    best = min(row, key=lambda name: row[name].median)
    cells = []
    for name in runners:
        if name not in row:
            cells.append("–")
            continue
        text = _microseconds(row[name].median)
        cells.append(f"{f'**{text}**' if name == best else text} ±{row[name].spread:.0%}")
    factor = ratio(row)
    times = "–" if factor is None else f"{factor:.2f}"
    return f"| {key[0]} | {key[1]} | {' | '.join(cells)} | {times} |"


def table(document: dict[str, Any], rows: dict[Row, dict[str, Cell]]) -> list[str]:
    """Return the table's lines; a runner that measured nothing has no column."""
    known = document["seqcore"]["runners"]
    runners = [name for name in known if any(name in row for row in rows.values())]
    titles = [known[name]["title"] for name in runners]
    return [
        f"| case: batch,time,input,hidden | threads | {' | '.join(titles)} | × best peer |",
        f"| --- | ---: | {' | '.join('---:' for _ in runners)} | ---: |",
        *(_line(key, row, runners) for key, row in rows.items()),
    ]


def _kib(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def _names(keys: list[Row]) -> str:
    """Return rows by name, with threads where there are several."""
    return "; ".join(f"{case} ({n} threads)" if n > 1 else case for case, n in keys)


def facts(document: dict[str, Any]) -> list[str]:
    """Return machine, versions, command and date."""
    ours, machine = document["seqcore"], document["machine_info"]
    cpu, commit = ours["cpu"], document["commit_info"]
    caches = ", ".join(
        f"{name.upper()} {_kib(cpu[f'{name}_bytes'])}" for name in ("l1d", "l2", "l3")
    )
    runners = ours["runners"].values()
    versions = ", ".join(f"{r['title']} {r['version']}" for r in runners if not r["missing"])
    system = f"{machine['system']} {machine['release']}"
    revision = str(commit.get("id", "unknown"))[:12] + ", with changes" * bool(commit.get("dirty"))
    model = machine.get("cpu", {}).get("brand_raw") or machine.get("processor") or "unknown"
    lines = [
        f"- Machine: {model}, {cpu['cores']} cores, {caches}; kernels {cpu['isa']}; load "
        f"average before the run {ours['load_average'][0]:.2f}",
        f"- Versions: {versions}; Python {ours['python']}, {system}",
        f"- Command: `{ours['command']}`",
        f"- Date: {document['datetime'][:16]} UTC; commit {revision}",
    ]
    lines += [
        f"- Left out: {r['title']} ({', '.join(r['missing'])} not installed)"
        for r in runners
        if r["missing"]
    ]
    return lines


def findings(rows: dict[Row, dict[str, Cell]]) -> list[str]:
    """Return where seqcore is slower, and what is to be distrusted."""
    factors = {key: factor for key, row in rows.items() if (factor := ratio(row)) is not None}
    slower = [key for key, factor in factors.items() if factor < 1]
    lines = []
    if factors:
        where = f": {_names(slower)}" if slower else ""
        lines.append(f"- Slower than the best peer in {len(slower)} of {len(factors)} cases{where}")
    noisy = [key for key, row in rows.items() if any(c.spread > NOISY for c in row.values())]
    if noisy:
        lines.append(f"- Noisy (a spread above {NOISY:.0%}): {_names(noisy)}")
    shares = [c.cpu_share for (_, n), row in rows.items() if n == 1 for c in row.values()]
    if shares and min(shares) < BUSY:
        lines.append(
            f"- **The machine was busy**: a one-thread run had as little as {min(shares):.0%} of a "
            "core. These figures are not to be quoted."
        )
    return lines


def report(document: dict[str, Any], rows: dict[Row, dict[str, Cell]]) -> str:
    """Return the whole report as Markdown."""
    legend = (
        "Median time of one warm call in us, ± the interquartile range as a part of it; the fastest"
        " in bold.\n`× best peer`: the fastest peer's median / seqcore's; above 1, ours is faster."
    )
    body = [
        "# Recurrent layers, float32",
        "\n".join(facts(document)),
        legend,
        "\n".join(table(document, rows)),
    ]
    remarks = findings(rows)
    if remarks:
        body.append("\n".join(remarks))
    return "\n\n".join(body) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Tabulate a benchmark.")
    parser.add_argument("json", type=Path, help="what --benchmark-json wrote")
    parser.add_argument("--output", type=Path, help="a file for the report, besides printing it")
    options = parser.parse_args()
    try:
        text = report(*read(options.json))
    except (OSError, ValueError, KeyError) as error:
        print(f"{options.json}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(text, end="")
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
