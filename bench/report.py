"""Writes a page of Markdown with plots from pytest-benchmark's JSON.

    python bench/report.py build/bench.json [build/bench-avx2.json] [--output docs/benchmarks]

It only reads the files: nothing is measured here, and seqcore need not be installed. Without
matplotlib there are no plots.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

from results import Row, Run, read
from tables import SHORT, SWEEP_TITLES, cases_table, limits_table, size, sweep_table

NOISY = 0.10  # an interquartile range above this part of the median is worth a word
BUSY = 0.90  # a one-thread run that had less of its core than this was not alone

LEGEND = f"""Median time of one warm call in us, ± the interquartile range as a part of it; the \
fastest in bold.

- `× best peer`: the fastest peer's median / seqcore's; above 1, ours is faster.
- `× alone`: seqcore's own median on one thread / on two.
- `GF/s`: floating-point operations of the products, 2 (I + H) for each row, frame, gate and unit.
- `of peak`: that rate / the multiply-adds that the machine's vectors can do ("Limits").
- `of limit`: the least time that arithmetic, weights and activations allow on this machine / the \
median ([bench/README.md](../../bench/README.md) has the equation).
- {SHORT}: misses the target."""

AVX2 = """Every runner capped to AVX2 by the environment. ONNX Runtime is not here: its kernels \
choose by the processor alone and nothing caps them, so that its figures would be AVX-512's."""


def facts(run: Run, others: list[Run]) -> str:
    """Return machine, versions, commands and date."""
    ours, machine = run.facts, run.document["machine_info"]
    cpu, commit = ours["cpu"], run.document["commit_info"]
    caches = ", ".join(f"{n.upper()} {size(cpu[f'{n}_bytes'])}" for n in ("l1d", "l2", "l3"))
    runners = ours["runners"].values()
    versions = ", ".join(f"{r['title']} {r['version']}" for r in runners if not r["missing"])
    system = f"{machine['system']} {machine['release']}"
    revision = str(commit.get("id", "unknown"))[:12] + ", with changes" * bool(commit.get("dirty"))
    model = machine.get("cpu", {}).get("brand_raw") or machine.get("processor") or "unknown"
    lines = [
        f"- Machine: {model}, {cpu['cores']} cores, {caches}; kernels {cpu['isa']}; load "
        f"average before the run {ours['load_average'][0]:.2f}",
        f"- Versions: {versions}; Python {ours['python']}, {system}",
        *(f"- Command: `{each.facts['command']}`" for each in [run, *others]),
        f"- Date: {run.document['datetime'][:16]} UTC; commit {revision}",
    ]
    lines += [
        f"- Left out: {r['title']} ({', '.join(r['missing'])} not installed)"
        for r in runners
        if r["missing"]
    ]
    return "\n".join(lines)


def _names(rows: list[Row]) -> str:
    """Return rows by name, with threads where there are several."""
    labels = [
        f"{row.case.label} ({row.case.threads} threads)" if row.case.threads > 1 else row.case.label
        for row in rows
    ]
    return f": {'; '.join(labels)}" if labels else ""


def findings(run: Run) -> str:
    """Return where seqcore is slower, what misses its target, and what is to be distrusted."""
    # a sweep marks what falls short in its own table
    rows = [row for row in run.rows if row.parts[0] != "alone" and "sweep" not in row.parts[0]]
    judged = [row for row in run.rows if row.ratio is not None]
    slower = [row for row in judged if row.ratio is not None and row.ratio < 1]
    lines = [f"- {run.isa}: slower than the best peer in {len(slower)} of {len(judged)} cases"]
    lines[0] += _names(slower)
    titles = {
        "ratio": "times the best peer",
        "peak": "share of the peak",
        "limit": "share of the limit",
        "alone": "two threads against one",
    }
    for name, title in titles.items():
        short = [row for row in rows if name in row.short(run.isa, row.parts[0])]
        if short:
            lines.append(f"- {run.isa}: short of the target in {title}{_names(short)}")
    beaten = [row for row in run.rows if (row.over_ours(row.limit) or 0) > 1]
    if beaten:
        lines.append(f"- **Faster than the limit**, which is then none{_names(beaten)}")
    noisy = [row for row in run.rows if any(c.spread > NOISY for c in row.cells.values())]
    if noisy:
        lines.append(f"- Noisy (a spread above {NOISY:.0%}){_names(noisy)}")
    shares = [c.cpu_share for row in run.rows if row.case.threads == 1 for c in row.cells.values()]
    if shares and min(shares) < BUSY:
        lines.append(
            f"- **The machine was busy**: a one-thread run had as little as {min(shares):.0%} of a "
            "core. These figures are not to be quoted."
        )
    return "\n".join(lines)


def section(title: str, *blocks: str) -> list[str]:
    """Return a section's blocks; none when the last one, its table, is empty."""
    return [f"## {title}", *blocks] if blocks[-1] else []


def report(runs: list[Run], pictures: dict[str, str]) -> str:
    """Return the whole page as Markdown.

    Parameters
    ----------
    runs : list of Run
        The default tables, the AVX2 table, or both, in any order.
    pictures : dict of str to str
        Files by title.
    """
    capped = [run for run in runs if run.part("avx2")]
    run, *others = sorted(runs, key=lambda each: each in capped)
    sweeps = "\n\n".join(filter(None, (sweep_table(run, name) for name in SWEEP_TITLES)))
    blocks = ["# Recurrent layers, float32", facts(run, others), LEGEND]
    blocks += section("One thread", cases_table(run, "one thread"))
    blocks += section("Two threads", cases_table(run, "two threads"))
    for each in capped:
        blocks += section("AVX2, one thread", AVX2, cases_table(each, "avx2"))
    blocks += section("Findings", "\n".join(map(findings, [run, *others])))
    links = "\n\n".join(f"![{title}]({name})" for title, name in pictures.items())
    blocks += section("Plots", links)
    blocks += section("Sweeps, one thread", sweeps)
    blocks += section("Limits", limits_table(run))
    return "\n\n".join(blocks) + "\n"


def write(runs: list[Run], folder: Path | None) -> str:
    """Return the page; with a folder, write it there as <date>.md with <date>-<plot>.png."""
    if folder is None:
        return report(runs, {})
    run = min(runs, key=lambda each: bool(each.part("avx2")))
    stem = str(run.document["datetime"])[:10]
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {}
    if importlib.util.find_spec("matplotlib") is not None:
        import plots

        pictures = plots.save(run, folder, stem)
    else:
        print("matplotlib is not installed: no plots", file=sys.stderr)
    text = report(runs, pictures)
    (folder / f"{stem}.md").write_text(text, encoding="utf-8")
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description="Tabulate a benchmark.")
    parser.add_argument("json", type=Path, nargs="+", help="what --benchmark-json wrote")
    parser.add_argument("--output", type=Path, help="a folder for page and plots, besides printing")
    options = parser.parse_args()
    runs = []
    for path in options.json:
        try:
            runs.append(read(path))
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"{path}: {type(error).__name__}: {error}", file=sys.stderr)
            return 1
    print(write(runs, options.output), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
