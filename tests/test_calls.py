"""What a call does to the program around it: Python work, the GIL, denormals, threads, forks."""

from __future__ import annotations

import os
import signal
import sys
import threading
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


def test_gil_is_released(rng: np.random.Generator) -> None:
    """Only this thread counts, so a count that moves during a call shows that both ran."""
    model = make(rng).with_options(threads=1)
    x = rng.normal(size=(64, 200, 8)).astype(np.float32)
    ticks, during = 0, 0

    def work() -> None:
        nonlocal during
        before = ticks
        model(x)
        during = ticks - before

    interval = sys.getswitchinterval()
    sys.setswitchinterval(10.0)  # nobody is made to give up the GIL: the call gives it, or none
    try:
        thread = threading.Thread(target=work)
        thread.start()
        while thread.is_alive():
            ticks += 1
            if ticks % 1000 == 0:
                thread.join(1e-4)  # lets the thread take the GIL to begin, and to end
    finally:
        sys.setswitchinterval(interval)
    assert during > 1000


def test_denormals_of_the_caller_are_left_alone(rng: np.random.Generator) -> None:
    model, tiny = make(rng), np.full(64, 1e-40, np.float32)
    for threads in (1, 2):
        model.with_options(threads=threads)(rng.normal(size=(8, 50, 8)))
        assert (tiny + tiny > 0).all()


def test_many_threads_share_a_model(rng: np.random.Generator) -> None:
    model = make(rng)
    inputs = [rng.normal(size=(B, T, 8)).astype(np.float32) for B in (1, 3, 9) for T in (1, 7, 40)]
    expected = [model(x) for x in inputs]
    wrong: list[int] = []

    def work(seed: int) -> None:
        for k in np.random.default_rng(seed).integers(len(inputs), size=60):
            if not np.array_equal(model(inputs[k]), expected[k]):
                wrong.append(int(k))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_child_runs(rng: np.random.Generator) -> None:
    """After the parent has used a team of threads, a child must not wait for one that it lacks."""
    model = make(rng).with_options(threads=2)
    x = rng.normal(size=(8, 100, 8)).astype(np.float32)
    expected = model(x)
    assert not sc.cpu_info()["openmp"] or model.plan["last_threads"] == 2
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a child that hangs is killed and so fails
        os._exit(0 if np.array_equal(model(x), expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert np.array_equal(model(x), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_child_runs_though_others_were_in_a_call() -> None:
    """Whatever the other threads held when the process forked, nobody in the child gives back."""
    model = sc.Sequential([sc.LSTM(np.ones((4, 16)), np.ones((4, 16)), return_sequences=False)])
    x = np.ones((2, 1, 4), np.float32)
    expected, done = model(x), threading.Event()

    def call_often() -> None:
        while not done.is_set():
            model(x)

    others = [threading.Thread(target=call_often) for _ in range(3)]
    for thread in others:
        thread.start()
    try:
        for _ in range(300):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                os._exit(0 if np.array_equal(model(x), expected) else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        done.set()
        for thread in others:
            thread.join()


def test_out_may_be_a_memmap(tmp_path: Any, rng: np.random.Generator) -> None:
    """A subclass of ndarray whose memory the core can write into."""
    model, x = make(rng), rng.normal(size=(2, 5, 8)).astype(np.float32)
    out = np.memmap(tmp_path / "y", np.float32, "w+", shape=(2, 5, 3))
    assert model(x, out=out) is out
    assert np.array_equal(out, model(x))
