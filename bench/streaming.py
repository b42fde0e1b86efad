"""Life as a stream and inside a program: steps, pools, callers, cold starts.

    python bench/streaming.py [--quick] [--only latency pools ...] [--output docs/benchmarks]

Prints a page of Markdown; with a folder, writes it there as <date>-streams.md, and the figures as
<date>-streams.json. The questions are in streams/, a module each.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

from peers import RUNNERS
from pytest_benchmark.plugin import pytest_benchmark_generate_machine_info
from pytest_benchmark.utils import get_commit_info
from streams import callers, cold_start, latency, native, page, pools

import seqcore

QUESTIONS = ("latency", "native", "pools", "callers", "cold_start")
SHOWN = ("seqcore", "onnxruntime", "torch", "numpy")


def _about(load_average: tuple[float, ...], quick: bool) -> dict[str, Any]:
    """Return what report.facts wants to know of a run, as pytest-benchmark's JSON has it."""
    runners = {
        name: {
            "title": runner.title,
            "missing": runner.missing(),
            "version": None if runner.missing() else runner.version(),
        }
        for name, runner in RUNNERS.items()
        if name in SHOWN
    }
    machine = pytest_benchmark_generate_machine_info()
    del machine["node"]
    return {
        "machine_info": machine,
        "commit_info": get_commit_info(),
        "datetime": datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None).isoformat(),
        "quick": quick,
        "seqcore": {
            "command": shlex.join(["python", *sys.argv]),
            "python": sys.version.split()[0],
            "cpu": seqcore.cpu_info(),
            "load_average": load_average,
            "runners": runners,
        },
    }


def measure(questions: list[str], quick: bool) -> dict[str, Any]:
    """Return the answers by question; a text says why there is none."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # first, so that nothing compiles while something is timed
        needed = {"native", "cold_start"} & set(questions)
        programs = native.build(folder, ("step", "first")) if needed else "not asked for"
        built = programs if isinstance(programs, dict) else {}
        for question in questions:
            print(question, file=sys.stderr, flush=True)
            if question == "native":
                step = built.get("step")
                found[question] = native.measure(quick, step, folder) if step else programs
            elif question == "cold_start":
                found[question] = cold_start.measure(quick, built.get("first"), folder)
            else:
                module = {"latency": latency, "pools": pools, "callers": callers}[question]
                found[question] = module.measure(quick)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure streams and what surrounds them.")
    parser.add_argument("--quick", action="store_true", help="few repeats: that it works")
    parser.add_argument("--only", nargs="+", choices=QUESTIONS, default=list(QUESTIONS))
    parser.add_argument("--output", type=Path, help="a folder for page and JSON, besides printing")
    options = parser.parse_args()
    document = _about(os.getloadavg(), options.quick)
    document |= measure([name for name in QUESTIONS if name in options.only], options.quick)
    text = page.report(document)
    print(text, end="")
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        stem = options.output / f"{document['datetime'][:10]}-streams"
        stem.with_suffix(".md").write_text(text, encoding="utf-8")
        stem.with_suffix(".json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
