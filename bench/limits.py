"""The machine's own limit: what probe.c measures, and the least time in which a case can be done.

`measure` compiles and runs the probe once for each instruction set; `Machine.limit` is the model.
No library is timed here, and nothing of one is needed but the sources of the core.
"""

from __future__ import annotations

import json
import os
import runpy
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from cases import Case

ROOT = Path(__file__).resolve().parents[1]
PROBE = Path(__file__).with_name("probe.c")
SECONDS = 60  # far above what the probe takes
MOST_THREADS = 2  # of the probe


def measure(cpu: dict[str, Any]) -> dict[str, Any]:
    """Return what the probe prints, by instruction set, best first.

    Parameters
    ----------
    cpu : dict
        ``seqcore.cpu_info()``: which sets there are, the caches, the cores.

    Returns
    -------
    dict
        ``{"compiler": ..., "caches": [L1, L2], "isas": {name: figures}}``, or ``{"missing": why}``
        where there is no compiler or it fails.
    """
    compiler = shlex.split(os.environ.get("CC", "cc"))
    build = runpy.run_path(str(ROOT / "setup.py"))
    threads = str(min(cpu["cores"], MOST_THREADS))
    caches = [cpu["l1d_bytes"] or 32 << 10, cpu["l2_bytes"] or 512 << 10]
    isas = {}
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "probe"
        for isa in cpu["isas"]:
            flags = [*build["COMMON_FLAGS"], *build["TABLES"][isa]]
            flags += [f"-I{ROOT / 'src/core'}", f'-DPROBE_SIMD="simd_{isa}.h"']
            try:
                _run([*compiler, *flags, str(PROBE), "-lpthread", "-o", str(program)])
                isas[isa] = json.loads(_run([str(program), *map(str, caches), threads]))
            except (OSError, subprocess.SubprocessError) as error:
                return {"missing": f"{isa}: {_reason(error)}"}
    return {"compiler": _run([*compiler, "--version"]).splitlines()[0], "caches": caches,
            "isas": isas}  # fmt: skip


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS)
    return done.stdout


def _reason(error: Exception) -> str:
    """Return one line that says what failed."""
    text = getattr(error, "stderr", None) or str(error)
    return text.strip().splitlines()[0]


class Read(NamedTuple):
    """A set that each thread reads again and again: its bytes, and the seconds of one sweep."""

    size: float
    seconds: float


class Machine(NamedTuple):
    """One instruction set on n threads, SI units.

    Attributes
    ----------
    threads, lanes : int
        n; floats of a vector.
    peak : float
        Multiply-adds count twice: FLOP/s of all threads.
    reads : list of Read
        By size, each in the better of the two orders.
    caches : tuple of int
        Bytes of L1 and L2.
    latency, vector : dict of str to float
        Of each cell: from a gate's sum to the state; for each vector of units when there are many.
    """

    threads: int
    lanes: int
    peak: float
    reads: list[Read]
    caches: tuple[int, ...]
    latency: dict[str, float]
    vector: dict[str, float]

    @classmethod
    def of(cls, limits: dict[str, Any], isa: str, threads: int) -> Machine | None:
        """Return the machine that `measure` found; None where it did not measure that."""
        figures = limits.get("isas", {}).get(isa)
        if figures is None or str(threads) not in figures["threads"]:
            return None
        found = figures["threads"][str(threads)]
        speed: dict[int, float] = {}
        for read in found["reads"]:
            speed[read["bytes"]] = max(speed.get(read["bytes"], 0.0), read["gb_s"] * 1e9)
        reads = [Read(size, size * threads / speed[size]) for size in sorted(speed)]
        return cls(
            threads,
            figures["lanes"],
            found["gflop_s"] * 1e9,
            reads,
            tuple(limits["caches"]),
            {cell: ns * 1e-9 for cell, ns in figures["latency_ns"].items()},
            {cell: ns * 1e-9 for cell, ns in figures["vector_ns"].items()},
        )

    @property
    def speeds(self) -> dict[str, float]:
        """Return bytes/s of all threads out of L1, L2 and what is behind, for an overview."""
        l1, l2 = self.caches
        sizes = {"L1": l1 * 0.5, "L2": l2 * 0.5, "past L2": l2 * 4.0}
        return {name: n * self.threads / self.read(n * self.threads) for name, n in sizes.items()}

    def read(self, size: float) -> float:
        """Return the least seconds in which all threads together read `size` bytes once, again and
        again: each its share, out of its own caches.

        Between the measured sets the time is linear in the size: what is in a cache comes at the
        cache's speed, what is added at the next one's.
        """
        share = size / self.threads
        last = self.reads[-1]
        if share >= last.size:
            return share / last.size * last.seconds
        sizes, seconds = zip(Read(0.0, 0.0), *self.reads, strict=True)
        return float(np.interp(share, sizes, seconds))

    def limit(self, case: Case) -> float:
        """Return the least seconds of a call of `case`.

        Of one direction of one layer, a step of B rows cannot be faster than ::

            step   = X.W + max(H.U + cells, weights + latency)

            X.W     = 2 B I G H / peak       H.U = 2 B H G H / peak
            cells   = B ceil(H / lanes) vectors of units, at the cell's throughput
            weights = the bytes of U, 4 H G H, at the speed at which a set of that size can be read
            latency = the chain from a gate's sum to the next state, which must end before the next
                      step begins; for many rows it hides behind other rows' sums

        The first term of the maximum is what the arithmetic takes, the second what one row waits
        for. W is read once for many frames, and counts nowhere but for a sequence of one frame:
        there weights are those of W and U, and nothing but the latency adds to the maximum.
        With n threads, peak and speeds are those of n threads at once, each core reads the n-th
        part of U, and cells divide by n; latency does not. Directions, layers and steps follow each
        other; a ragged batch counts the rows that run.
        """
        H, GH = case.units, case.gates * case.units
        vectors = -(-H // self.lanes)
        latency, vector = self.latency[case.cell], self.vector[case.cell] / self.threads
        total = 0.0
        for inputs in case.layer_inputs:
            weights = self.read(4 * H * GH)
            for rows in case.active().tolist():
                forward, back = 2 * rows * inputs * GH / self.peak, 2 * rows * H * GH / self.peak
                cells = rows * vectors * vector
                if case.time == 1:
                    both = self.read(4 * (inputs + H) * GH)
                    step = max(forward + back + cells, both + latency)
                else:
                    step = forward + max(back + cells, weights + latency)
                total += case.directions * step
        return total


def flops(case: Case) -> float:
    """Return the floating-point operations of a call's products; a multiply-add is two."""
    frames = int(case.active().sum())
    columns = case.gates * case.units * case.directions
    return sum(2.0 * frames * (inputs + case.units) * columns for inputs in case.layer_inputs)


def traffic(case: Case) -> float:
    """Return the bytes of U that a call's steps read, whatever the cache: each step once, and W
    too where there is one step."""
    columns = case.gates * case.units * case.directions
    steps = int(case.lengths().max())
    if case.time == 1:
        return 4.0 * columns * sum(inputs + case.units for inputs in case.layer_inputs)
    return 4.0 * columns * case.units * case.layers * steps
