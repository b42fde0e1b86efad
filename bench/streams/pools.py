"""What a pool's step costs for each stream: beside a batch of as many rows, and separate steps.

A batch has no state to carry: it is the same arithmetic without a pool's work. Only seqcore is
timed; no peer has pools. The pool's results must be those of separate streams, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np
from cases import Array

import seqcore
from streams import timing
from streams.models import Streamed, lone

MODELS = (lone("LSTM", 128, 128), lone("LSTM", 64, 64), lone("GRU", 128, 128))
STREAMS = 1000
CHOICES = 32  # orders and halves, over and over


def _stepper(pool: seqcore.StreamPool, x: Array, choices: list[Any]) -> Callable[[], Any]:
    """Return a call that steps the next choice of streams; its frames are laid out beforehand."""
    arguments = cycle([(ids, np.ascontiguousarray(x[: len(ids)])) for ids in choices])
    return lambda: pool.step(*next(arguments))


def _separate(streams: list[seqcore.Stream], x: Array) -> Callable[[], None]:
    steps = [(stream.step, x[k : k + 1]) for k, stream in enumerate(streams)]

    def call() -> None:
        for step, row in steps:
            step(row)

    return call


def _check(pool: seqcore.StreamPool, ids: Any, streams: list[seqcore.Stream], x: Array) -> None:
    for _ in range(3):
        alone = np.concatenate([stream.step(x[k : k + 1]) for k, stream in enumerate(streams)])
        np.testing.assert_array_equal(pool.step(ids, x), alone)


def _of(model: Streamed, threads: int, count: int) -> dict[str, Any]:
    """Return a model's seconds a row by way of stepping."""
    rng = np.random.default_rng(8)
    built = model.build().with_options(threads=threads)
    x = rng.standard_normal((STREAMS, model.cell.inputs), dtype=np.float32)
    pool = built.pool(STREAMS)
    ids = np.array([pool.open() for _ in range(STREAMS)], np.uint64)
    streams = [built.stream() for _ in range(STREAMS)]
    _check(pool, ids, streams, x)
    batch = np.ascontiguousarray(x[:, None])
    shuffled = [rng.permutation(ids) for _ in range(CHOICES)]
    calls: dict[str, Callable[[], Any]] = {
        "all": _stepper(pool, x, shuffled),
        "half": _stepper(pool, x, [order[: STREAMS // 2].copy() for order in shuffled]),
        "batch": lambda: built(batch),
    }
    if threads == 1:
        calls["separate"] = _separate(streams, x)
    seconds = timing.rounds(calls, count)
    rows = {"half": STREAMS // 2}
    return {
        "title": model.title,
        "threads": threads,
        "row": {name: each / rows.get(name, STREAMS) for name, each in seconds.items()},
    }


def measure(quick: bool) -> dict[str, Any]:
    """Return seconds a row of each model, with one thread and, where there are cores, with two."""
    count = 7 if quick else 100
    threads = range(1, 1 + min(2, seqcore.cpu_info()["cores"]))
    return {"streams": STREAMS, "models": [_of(m, n, count) for n in threads for m in MODELS]}
