"""How long a step takes from Python: one row, one thread, the state carried, every step timed.

Each form's results are compared with seqcore's before it is timed.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import numpy as np
from cases import Array
from peers import RUNNERS
from test_recurrent import TOLERANCE

from streams import timing
from streams.models import SIGNAL, TEXT, Streamed, lone
from streams.steppers import FORMS, Form, Stepper

MODELS = (
    lone("LSTM", 1, 16),
    lone("LSTM", 1, 32),
    lone("LSTM", 64, 64),
    lone("LSTM", 128, 128),
    lone("GRU", 64, 64),
    TEXT,
    SIGNAL,
)
COMPARED = 50  # steps


def forms() -> list[Form]:
    """Return those whose modules are installed."""
    return [form for form in FORMS if not RUNNERS[form.runner].missing()]


def _results(stepper: Stepper) -> list[Array]:
    return [stepper.to_array(stepper.step(x)) for x in stepper.frames[:COMPARED]]


def _of(model: Streamed, steps: dict[str, int]) -> dict[str, Any]:
    """Return a model's forms with their times."""
    found: dict[Form, dict[str, Any]] = {form: {"ns": [], "share": []} for form in forms()}
    with ExitStack() as stack:
        steppers = {form: stack.enter_context(form.prepare(model))() for form in found}
        expected: list[Array] = []
        for form, stepper in steppers.items():
            results = _results(stepper)
            expected = expected or results  # ours come first
            np.testing.assert_allclose(
                results, expected, rtol=0, atol=TOLERANCE, strict=True, err_msg=str(form)
            )
        for _ in range(timing.TURNS):
            for form, stepper in steppers.items():
                count = steps["seqcore" if form.runner == "seqcore" else "peers"] // timing.TURNS
                wall, cpu = time.perf_counter(), time.process_time()
                found[form]["ns"].append(timing.each(stepper.step, stepper.frames, count))
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                found[form]["share"].append(cpu / wall)
    return {
        "title": model.title,
        "forms": [
            {"runner": form.runner, "form": form.name, "cpu_share": min(kept["share"])}
            | timing.summary(np.concatenate(kept["ns"]))
            for form, kept in found.items()
        ],
    }


def measure(quick: bool) -> dict[str, Any]:
    """Return the clock's cost and each model's forms, ns."""
    steps = {"seqcore": 10_000 if quick else 1_000_000, "peers": 10_000 if quick else 100_000}
    return {
        "clock": timing.clock_cost(),
        "compared": COMPARED,
        "tolerance": TOLERANCE,
        "models": [_of(model, steps) for model in MODELS],
    }
