"""How long a step takes from C: ../step.c over files that seqcore saved, and the core built for it.

`build` is also how cold_start.py gets its program.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from streams import timing
from streams.models import lone

BENCH = Path(__file__).resolve().parents[1]
sys.path.append(str(BENCH.parent / "tests"))

import c_programs  # noqa: E402

MODELS = (lone("LSTM", 1, 16), lone("LSTM", 1, 32), lone("LSTM", 64, 64), lone("LSTM", 128, 128))


def build(folder: Path, names: Sequence[str]) -> dict[str, Path] | str:
    """Compile the core and bench/<name>.c for each name.

    Returns
    -------
    dict of str to Path, or str
        The programs; or why there are none.
    """
    try:
        link = c_programs.build_core(folder)
        for name in names:
            source = BENCH / f"{name}.c"
            # the program must stand before the libraries
            c_programs.run([link[0], source, *link[1:], "-O2", "-o", folder / name])
    except (OSError, subprocess.SubprocessError, AssertionError) as error:
        lines = str(error).strip().splitlines()
        return next((line for line in lines if "error: " in line), lines[0])
    return {name: folder / name for name in names}


def measure(quick: bool, program: Path, folder: Path) -> list[dict[str, Any]]:
    """Return each model's mean of the loop, clock's cost and single steps, ns."""
    steps = (10_000 if quick else 1_000_000) // timing.TURNS
    found: dict[str, dict[str, list[Any]]] = {}
    for model in MODELS:
        model.build().save(folder / f"{model.title}.safetensors")
        found[model.title] = {"loop": [], "clock": [], "ns": []}
    times = folder / "times"
    for _ in range(timing.TURNS):
        for title, kept in found.items():
            done = c_programs.run([program, folder / f"{title}.safetensors", steps, times])
            loop, clock = map(float, done.split())
            kept["loop"].append(loop)
            kept["clock"].append(clock)
            kept["ns"].append(np.fromfile(times, np.uint32).astype(np.int64))
    return [
        {"title": title, "loop": float(np.mean(kept["loop"])),
         "clock": float(np.median(kept["clock"])), **timing.summary(np.concatenate(kept["ns"]))}
        for title, kept in found.items()
    ]  # fmt: skip
