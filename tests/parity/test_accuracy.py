"""How exact float32 results are, beside torch's.

A case is a torch module with torch's own initial weights and standard normal inputs, all float32.
The truth is `reference.py` in float64 on the same weights, converted by tests/canonical.py,
which shares nothing with the package. Per case, of seqcore's and of torch's output sequence:

    E = max |y - truth|        R = sqrt(mean (y - truth)^2)

and from these the ratios E_ours / E_torch and R_ours / R_torch. Over all cases, on every ISA:

    median of the E ratios, and of the R ratios, <= ACCURACY_MEDIAN
    largest E ratio                              <= ACCURACY_WORST

Cases have at least 1000 outputs: the largest error of a handful of numbers tells chance alone.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from canonical import torch_stack
from frameworks import TORCH_KINDS, floats, run_torch, torch_module
from tolerances import ACCURACY_MEDIAN, ACCURACY_WORST

import seqcore as sc

# features, units, batch, time, layers, bidirectional
SHAPES = (
    (1, 7, 33, 20, 1, False),
    (7, 15, 9, 20, 1, True),
    (8, 16, 16, 12, 1, False),
    (16, 17, 8, 31, 1, True),
    (5, 31, 7, 16, 1, False),
    (31, 32, 1, 50, 1, False),
    (33, 33, 5, 20, 2, False),
    (12, 63, 4, 31, 1, False),
    (64, 64, 2, 50, 1, False),
    (64, 64, 17, 12, 1, True),
    (17, 65, 3, 31, 1, False),
    (97, 33, 4, 20, 2, True),
    (32, 97, 1, 31, 1, False),
    (3, 97, 8, 12, 1, False),
    (97, 97, 2, 20, 2, False),
    (64, 128, 1, 20, 1, False),
)
CASES = [(kind, *shape, 0) for kind in TORCH_KINDS for shape in SHAPES]
CASES += [("LSTM", *shape, 2 * shape[1] // 3 + 1) for shape in SHAPES]  # with proj_size


def error(actual, truth):
    """Return E and R."""
    difference = np.abs(actual - truth)
    return difference.max(), np.sqrt(np.mean(difference**2))


@cache
def measured(kind, features, units, batch, time, layers, bidirectional, projection):
    """Return our model, its input, the truth and torch's errors."""
    options = {"proj_size": projection} if projection else {}
    module = torch_module(
        kind, features, units, num_layers=layers, bidirectional=bidirectional, **options
    )
    x = floats(np.random.default_rng(units), batch, time, features)
    sizes = (projection or units, units)[: 2 if kind == "LSTM" else 1]
    zeros = [np.zeros((layers * (1 + bidirectional), batch, size)) for size in sizes]
    truth, _ = torch_stack(module, kind, x, zeros)
    assert truth.size >= 1000
    return sc.from_torch(module), x, truth, error(run_torch(module, x)[0], truth)


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # slower, says torch
def test_as_exact_as_torch(isa, record_property):
    assert len(CASES) >= 60
    ratios = []
    for case in CASES:
        model, x, truth, theirs = measured(*case)
        ours = error(model.with_options(isa=isa)(x), truth)
        ratios.append([a / b for a, b in zip(ours, theirs, strict=True)])
    largest, rms = np.array(ratios).T
    worst = int(largest.argmax())
    found = {
        "median of E ratios": np.median(largest), "median of R ratios": np.median(rms),
        "largest E ratio": largest[worst],
    }  # fmt: skip
    for name, value in found.items():
        record_property(name, float(value))
    assert found["median of E ratios"] <= ACCURACY_MEDIAN
    assert found["median of R ratios"] <= ACCURACY_MEDIAN
    assert largest[worst] <= ACCURACY_WORST, f"{CASES[worst]}"


def test_a_less_exact_result_would_show():
    """The truth with a relative error of 2^-21, four times the last bit, would not pass."""
    ratios = []
    for case in CASES[:: len(SHAPES) // 4]:
        _, _, truth, theirs = measured(*case)
        coarse = truth.astype(np.float32) * np.float32(1 + 2.0**-21)
        ratios.append(error(coarse, truth)[1] / theirs[1])
    assert np.median(ratios) > ACCURACY_MEDIAN
