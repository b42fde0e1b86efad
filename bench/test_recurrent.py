"""Times one recurrent layer in every runner, after comparing its numbers: speed alone is nothing.

What is timed is one warm call, from input ready in memory to output ready in memory.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import naive
import numpy as np
from cases import Array, Case
from peers import RUNNERS

# Two float32 evaluations of the same layer, in different orders of summation and with different
# approximations of tanh and sigmoid; states are within [-1, 1]. Largest seen over the cases: 8e-7.
TOLERANCE = 5e-6


@lru_cache(maxsize=1)  # a case's runners follow each other
def _naive(case: Case) -> Array:
    return naive.run(case, case.input(), case.weights(), naive.numpy_product)


@lru_cache(maxsize=1)
def _ours(case: Case) -> Array:
    with RUNNERS["seqcore"].prepare(case) as prepared:
        return prepared.to_array(prepared.call())


def _wake(call: Callable[[], Any]) -> None:
    """Keep all cores busy for a while: a virtual machine's host may let idle ones share its own."""
    end = time.perf_counter() + 0.2
    while time.perf_counter() < end:
        call()


def test_recurrent_layer(benchmark: Any, case: Case, parts: list[str], runner: str) -> None:
    expected = _naive(case) if runner == "seqcore" else _ours(case)
    with RUNNERS[runner].prepare(case) as prepared:
        found = prepared.to_array(prepared.call())
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE, strict=True)
        benchmark.extra_info.update(case=dataclasses.asdict(case), parts=parts, runner=runner)
        if case.threads > 1:
            _wake(prepared.call)
        wall, cpu = time.perf_counter(), time.process_time()
        benchmark(prepared.call)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        # Below `threads` by much: the runner waits for itself, or another program has the cores.
        benchmark.extra_info["cpu_share"] = cpu / wall
