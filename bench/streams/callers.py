"""How much more several Python threads get done than one, when they call one shared model.

Each thread calls in a loop until the time is over; what counts is calls a second of all together.
Streams belong to one thread each and share the model.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from itertools import cycle
from typing import Any

import numpy as np
from cases import Case
from peers import RUNNERS

from streams import timing
from streams.latency import forms
from streams.models import lone
from streams.steppers import Start, thread_context

CASE = Case("LSTM", 1, 100, 128, 128)
STREAMED = lone("LSTM", 256, 256)
CALLERS = (1, 2, 4)
STREAM_CALLERS = (1, 2)

MakeCall = Callable[[], Callable[[], Any]]  # in the thread that will call


def _rate(runner: str, make: MakeCall, callers: int, seconds: float) -> float:
    """Return the calls a second of so many threads."""
    counts, ends = [0] * callers, [0.0] * callers
    errors: list[BaseException] = []
    barrier = threading.Barrier(callers + 1)

    def work(number: int) -> None:
        try:
            with thread_context(runner):
                call = make()
                call()
                barrier.wait()
                count, clock = 0, time.perf_counter
                end = clock() + seconds
                while clock() < end:
                    call()
                    count += 1
                counts[number], ends[number] = count, clock()
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    try:
        barrier.wait()
        begin = time.perf_counter()
    except threading.BrokenBarrierError:
        begin = 0.0
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return sum(counts) / (max(ends) - begin)


def _rates(
    makes: dict[str, tuple[str, MakeCall]], numbers: tuple[int, ...], seconds: float
) -> list[dict[str, Any]]:
    """Return each title's median rate over the turns, by the number of callers."""
    found = {(title, n): [] for title in makes for n in numbers}
    with timing.without_collector():
        for _ in range(timing.TURNS):
            for title, n in found:
                found[title, n].append(_rate(*makes[title], n, seconds))
    return [
        {"title": title, "rates": {str(n): float(np.median(found[title, n])) for n in numbers}}
        for title in makes
    ]


def _calls(stack: ExitStack) -> dict[str, tuple[str, MakeCall]]:
    """Return what makes a call of CASE, by title, with its runner."""
    variants = [("seqcore", "seqcore, threads=1", CASE)]
    variants += [("seqcore", "seqcore, threads as they come", replace(CASE, threads=0))]
    variants += [
        (name, f"{RUNNERS[name].title}, 1 thread", CASE) for name in ("onnxruntime", "torch")
    ]
    makes = {}
    for runner, title, case in variants:
        if not RUNNERS[runner].missing():
            call = stack.enter_context(RUNNERS[runner].prepare(case)).call
            makes[title] = (runner, lambda call=call: call)
    return makes


def _stream_call(start: Start) -> MakeCall:
    def make() -> Callable[[], Any]:
        stepper = start()
        step, following = stepper.step, cycle(stepper.frames).__next__
        return lambda: step(following())

    return make


def _streams(stack: ExitStack) -> dict[str, tuple[str, MakeCall]]:
    """Return what starts a stream of STREAMED and makes a call of its step, for every form."""
    return {
        f"{RUNNERS[form.runner].title}, {form.name}": (
            form.runner,
            _stream_call(stack.enter_context(form.prepare(STREAMED))),
        )
        for form in forms()
    }


def measure(quick: bool) -> dict[str, Any]:
    """Return calls a second of whole sequences and of single steps."""
    seconds = 0.05 if quick else 0.5
    found: dict[str, Any] = {"sequence": CASE.label, "step": STREAMED.title}
    for name, makes, numbers in (("calls", _calls, CALLERS), ("steps", _streams, STREAM_CALLERS)):
        with ExitStack() as stack:
            found[name] = _rates(makes(stack), numbers, seconds)
    return found
