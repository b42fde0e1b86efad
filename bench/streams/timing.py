"""Single calls timed one by one, and what is kept of their times. Nothing of a library is here."""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

TURNS = 3  # of each runner of a case, one after the other: a drift of the machine meets all alike
WARM = 200  # calls before the first that counts, in every turn
WAKE_SECONDS = 0.4
BLOCK = 8192  # times that are kept in place: 64 KiB

Times = NDArray[np.int64]


@contextmanager
def without_collector() -> Iterator[None]:
    """Switch the garbage collector off."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def each(step: Callable[[Any], Any], frames: list[Any], count: int) -> Times:
    """Return the ns of `count` steps, each timed alone, frame after frame; the clock is in them."""
    clock = time.perf_counter_ns
    block = array("q", bytes(8 * BLOCK))
    parts: list[Times] = []
    endless = [frames[k % len(frames)] for k in range(BLOCK)]
    with without_collector():
        for x in endless[:WARM]:
            step(x)
        for begin in range(0, count, BLOCK):
            for k, x in enumerate(endless[: count - begin]):
                start = clock()
                step(x)
                block[k] = clock() - start
            parts.append(np.array(block[: count - begin]))
    return np.concatenate(parts)


def clock_cost(count: int = 100_000) -> float:
    """Return the median ns between two looks at the clock with nothing between."""
    clock = time.perf_counter_ns
    times = array("q", bytes(8 * count))
    with without_collector():
        for k in range(count):
            start = clock()
            times[k] = clock() - start
    return float(np.median(times))


def summary(times: Times) -> dict[str, float]:
    """Return steps, median, mean, p99, p999 and worst, in ns."""
    median, p99, p999 = np.percentile(times, [50, 99, 99.9])
    return {
        "steps": len(times),
        "median": float(median),
        "mean": float(times.mean()),
        "p99": float(p99),
        "p999": float(p999),
        "worst": float(times.max()),
    }


def _wake(call: Callable[[], Any]) -> None:
    """Keep the cores busy for a while: a virtual machine's host may let idle ones share its own."""
    end = time.perf_counter() + WAKE_SECONDS
    while time.perf_counter() < end:
        call()


def rounds(calls: dict[str, Callable[[], Any]], count: int) -> dict[str, float]:
    """Return each call's median seconds over TURNS turns of `count` calls."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    with without_collector():
        for _ in range(TURNS):
            for name, call in calls.items():
                _wake(call)
                for _ in range(count):
                    start = time.perf_counter()
                    call()
                    found[name].append(time.perf_counter() - start)
    return {name: float(np.median(times)) for name, times in found.items()}
