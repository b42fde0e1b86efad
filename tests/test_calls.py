"""What a call does in the thread that makes it: Python work, denormals, rows in blocks, `out`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import seqcore as sc


def make(rng: np.random.Generator, units: int = 64) -> sc.Model:
    """Two LSTMs, the second backwards in a Bidirectional, and a Dense: several kinds of node."""

    def lstm(inputs: int, **options: Any) -> sc.LSTM:
        W, U = rng.normal(size=(inputs, 4 * units)) / 8, rng.normal(size=(units, 4 * units)) / 8
        return sc.LSTM(W, U, np.zeros(4 * units), return_sequences=True, **options)

    return sc.Sequential(
        [
            lstm(8),
            sc.Bidirectional(lstm(units), backward_layer=lstm(units, go_backwards=True)),
            sc.Dense(rng.normal(size=(2 * units, 3)) / 8, np.zeros(3)),
        ]
    )


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(251)


def count_calls(call: Callable[[], Any]) -> int:
    """Return how many Python and built-in functions a call enters."""
    events = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal events
        events += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(None)
    return events


def test_a_time_step_costs_no_python_call(rng: np.random.Generator) -> None:
    model = make(rng)
    short, long = (rng.normal(size=(2, T, 8)).astype(np.float32) for T in (1, 300))
    model(short), model(long)
    assert count_calls(lambda: model(long)) == count_calls(lambda: model(short)) > 0


def test_denormals_of_the_caller_are_left_alone(rng: np.random.Generator) -> None:
    model, tiny = make(rng), np.full(64, 1e-40, np.float32)
    for threads in (1, 2):
        model.with_options(threads=threads)(rng.normal(size=(8, 50, 8)))
        assert (tiny + tiny > 0).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_rows_of_several_blocks_are_as_alone(rng: np.random.Generator, threads: int) -> None:
    """Workers take the rows in blocks of at most 48: batches on both sides of one and two."""
    model = make(rng, units=16).with_options(threads=threads)
    x = rng.normal(size=(1100, 3, 8)).astype(np.float32)
    lengths = rng.integers(0, 4, size=len(x))
    alone = np.concatenate(
        [model(row[None], lengths=[n]) for row, n in zip(x, lengths, strict=True)]
    )
    for batch in (47, 48, 49, 96, 97, 1100):
        assert np.array_equal(model(x[:batch], lengths=lengths[:batch]), alone[:batch])


def test_out_may_be_a_memmap(tmp_path: Any, rng: np.random.Generator) -> None:
    """A subclass of ndarray whose memory the core can write into."""
    model, x = make(rng), rng.normal(size=(2, 5, 8)).astype(np.float32)
    out = np.memmap(tmp_path / "y", np.float32, "w+", shape=(2, 5, 3))
    assert model(x, out=out) is out
    assert np.array_equal(out, model(x))
