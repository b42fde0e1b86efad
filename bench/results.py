"""pytest-benchmark's JSON as rows of times, each with its limit and its targets.

Nothing is measured or formatted here. A ratio is a peer's time / ours, a share is limit / time:
more is better in both.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from cases import Case
from limits import Machine, flops

OURS = "seqcore"


class Cell(NamedTuple):
    """One runner on one case: median and interquartile range in s, CPU seconds per second."""

    median: float
    iqr: float
    cpu_share: float

    @property
    def spread(self) -> float:
        """The interquartile range as a part of the median."""
        return self.iqr / self.median


class Targets(NamedTuple):
    """What a row is to reach; None where nothing is asked for."""

    ratio: float | None = None
    alone: float | None = None  # one thread's time / this
    peak: float | None = None
    limit: float | None = None

    def __str__(self) -> str:
        parts = [
            f"{self.ratio:g}× peer" if self.ratio else "",
            f"{self.peak:.0%} of peak" if self.peak else "",
            f"{self.limit:.0%} of limit" if self.limit else "",
            f"{self.alone:g}× alone" if self.alone else "",
        ]
        return ", ".join(filter(None, parts)) or "–"


def targets(case: Case, isa: str, part: str) -> Targets:
    """Return what the project asks of a case, on the best instruction set or capped to AVX2."""
    if case.out or case.counts is not None:
        return Targets()
    if part == "two threads":  # never slower than one, but for noise
        past_cache = case.batch == 1 and case.units >= 512
        return Targets((1.4 if case.units < 1024 else 1.2) if past_cache else None, alone=0.97)
    if case.batch >= 64:
        wide = case.units >= 128 and not case.ragged
        return Targets(peak=(0.85 if isa == "avx2" else 0.88) if wide else None)
    if part == "avx2":
        return Targets()
    if case.batch > 1:
        return Targets(1.2)
    if case.time == 1:
        return Targets(8, limit=0.9)
    for units, ratio in ((32, 3.0), (160, 2.0), (256, 1.7)):
        if case.units <= units:
            return Targets(ratio, limit=0.9)
    return Targets(limit=0.9)


@dataclass
class Row:
    """One case with the times of all runners, seconds.

    Attributes
    ----------
    limit, peak : float or None
        Least seconds of a call, most FLOP/s; None where the machine was not measured.
    alone : float or None
        Our seconds on one thread, for a case of two.
    """

    case: Case
    parts: list[str]
    cells: dict[str, Cell] = field(default_factory=dict)
    limit: float | None = None
    peak: float | None = None
    alone: float | None = None

    @property
    def ours(self) -> float | None:
        return self.cells[OURS].median if OURS in self.cells else None

    @property
    def best_peer(self) -> float | None:
        return min((c.median for name, c in self.cells.items() if name != OURS), default=None)

    def over_ours(self, value: float | None) -> float | None:
        """Return value / our seconds; None if one is absent."""
        return value / self.ours if value is not None and self.ours is not None else None

    @property
    def ratio(self) -> float | None:
        return self.over_ours(self.best_peer)

    @property
    def rate(self) -> float | None:
        """Our FLOP/s."""
        return self.over_ours(flops(self.case))

    def reached(self) -> Targets:
        """Return what was reached of whatever might be a target."""
        rate = self.rate
        of_peak = rate / self.peak if rate is not None and self.peak is not None else None
        return Targets(self.ratio, self.over_ours(self.alone), of_peak, self.over_ours(self.limit))

    def short(self, isa: str, part: str) -> list[str]:
        """Return the names of the targets that this row misses, as shown: 1.995 is 2."""
        wanted, found = targets(self.case, isa, part), self.reached()
        names = []
        for name, digits in (("ratio", 2), ("alone", 2), ("peak", 2), ("limit", 2)):
            target, value = getattr(wanted, name), getattr(found, name)
            if target is not None and value is not None and round(value, digits) < target:
                names.append(name)
        return names


@dataclass
class Run:
    """One JSON: the document, its rows in the order of measurement, and the machine by threads."""

    document: dict[str, Any]
    rows: list[Row]
    machines: dict[int, Machine]

    @property
    def isa(self) -> str:
        return str(self.document["seqcore"]["cpu"]["isa"])

    @property
    def facts(self) -> dict[str, Any]:
        """What conftest.py put into the document."""
        facts: dict[str, Any] = self.document["seqcore"]
        return facts

    @property
    def limits(self) -> dict[str, Any]:
        return self.facts.get("limits") or {"missing": "not measured"}

    def part(self, name: str) -> list[Row]:
        """Return the rows of a part of the report."""
        return [row for row in self.rows if name in row.parts]

    def sweep(self, name: str) -> list[Row]:
        """Return the rows of a sweep, by the size that varies."""
        return sorted(self.part(f"sweep {name}"), key=lambda row: getattr(row.case, name))

    def runners(self, rows: list[Row]) -> list[str]:
        """Return those that measured something in these rows."""
        return [name for name in self.facts["runners"] if any(name in r.cells for r in rows)]

    def title(self, runner: str) -> str:
        return str(self.facts["runners"][runner]["title"])


def _pooled(turns: list[dict[str, Any]]) -> Cell:
    """Return the cell of a runner that took several turns, over the rounds of all of them."""
    q1, median, q3 = np.percentile(np.concatenate([turn["rounds"] for turn in turns]), [25, 50, 75])
    return Cell(
        float(median), float(q3 - q1), float(np.mean([turn["cpu_share"] for turn in turns]))
    )


def read(path: Path) -> Run:
    """Return the run that a JSON holds.

    Raises
    ------
    ValueError
        The file is no JSON, or does not come from this benchmark.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict) or "seqcore" not in document:
        raise ValueError("expected the JSON of `pytest bench --benchmark-json`")
    rows: dict[Case, Row] = {}
    turns: dict[tuple[Case, str], list[dict[str, Any]]] = {}
    for entry in document["benchmarks"]:
        info, stats = entry["extra_info"], entry["stats"]
        if not isinstance(info["case"], dict):
            raise ValueError("it was written by an older version of this benchmark")
        case = Case(**info["case"])
        rows.setdefault(case, Row(case, info["parts"]))
        turn = {"rounds": stats["data"], "cpu_share": info["cpu_share"]}
        turns.setdefault((case, info["runner"]), []).append(turn)
    for (case, runner), parts in turns.items():
        rows[case].cells[runner] = _pooled(parts)
    run = Run(document, list(rows.values()), {})
    for row in run.rows:
        threads = row.case.threads
        machine = Machine.of(run.limits, run.isa, threads)
        if machine is not None:
            run.machines[threads] = machine
            row.limit, row.peak = machine.limit(row.case), machine.peak
        twin = rows.get(replace(row.case, threads=1))
        row.alone = twin.ours if threads > 1 and twin is not None else None
    return run
