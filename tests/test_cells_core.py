"""Cells in full, in the core: against float64 by hand, and what every cell promises.

Graphs are written out (cells_by_hand.py). Not here: the layers' constructors, ONNX Runtime
(parity/), graphs that lie (attacks/) and kernels one by one (c/test_cells.c).
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cells_by_hand import (
    CASES,
    FEATURES,
    SIGMOID,
    TANH,
    Array,
    ByHand,
    changed,
    graph_of,
    model_of,
    weights_of,
)
from stream_models import floats, same_bits
from tolerances import FLOAT32, close

import seqcore as sc
from seqcore.graph import Graph

SIZES = (7, 16, 17, 33, 64, 97)


def made(
    rng: np.random.Generator, case: str, units: int, **more: Any
) -> tuple[Graph, dict[str, Array]]:
    op, attrs = CASES[case]
    features = more.get("one_hot", FEATURES)
    weights = weights_of(rng, op, attrs, units, features)
    return graph_of(op, attrs, weights, units, **more), weights


def states(rng: np.random.Generator, case: str, weights: dict[str, Array], batch: int) -> Any:
    sizes = [len(weights["U"])]
    if CASES[case][0] == "lstm":
        sizes.append(weights["U"].shape[1] // 4)
    return [floats(rng, batch, size) for size in sizes]


def tolerance(case: str) -> float:
    """A norm passes on the errors that it receives, as a layer does."""
    attrs = CASES[case][1]
    norms = ("layer_norm" in attrs) + (attrs.get("norm_state", "none") != "none")
    return FLOAT32[1 + norms]


# ---- Numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_every_cell_is_what_its_equations_say(
    isa: str, case: str, rng: np.random.Generator
) -> None:
    for units in SIZES:
        graph, weights = made(rng, case, units)
        model = model_of(graph, isa=isa, threads=1)
        for batch in (1, 9):
            x, initial = floats(rng, batch, 5, FEATURES), states(rng, case, weights, batch)
            expected = ByHand(*CASES[case], weights)(x, *initial)
            for got, want in zip(model(x, initial_state=initial), expected, strict=True):
                close(got, want, tolerance(case), f"{case}, {units} units, batch {batch}")


def test_a_cell_that_says_the_defaults_is_the_plain_one(isa: str, rng: np.random.Generator) -> None:
    said = {"lstm": dict.fromkeys("ifo", SIGMOID) | dict.fromkeys("gh", TANH)}
    said["gru"] = {"r": SIGMOID, "z": SIGMOID, "n": TANH}
    for op, gates in said.items():
        attrs = {"reset_after": True} if op == "gru" else {}
        weights = weights_of(rng, op, attrs, 33)
        x = floats(rng, 3, 5, FEATURES)
        plain = graph_of(op, attrs, weights, 33)
        expected = model_of(plain, isa=isa)(x)
        own = {"gate_activations": gates, **({"update_keeps": True} if op == "gru" else {})}
        same_bits(model_of(changed(plain, **own), isa=isa)(x), expected, op)
        far = {"clip": 1e30} | ({"cell_clip": 1e30} if op == "lstm" else {})
        same_bits(model_of(changed(plain, **far), isa=isa)(x), expected, f"{op}, far limits")


def test_norms_keep_their_digits(isa: str, rng: np.random.Generator) -> None:
    """Products far from 0, and units far from the others: an epsilon of frameworks, wide layers."""
    for case in ("products, output", "gates, kept"):
        op, attrs = CASES[case][0], CASES[case][1] | {"epsilon": 1e-5}
        weights = weights_of(rng, op, attrs, 300)
        weights["b"] += 20  # of "gates", all sums
        weights["b"].reshape(4, -1)[:, :16] += 50
        weights["W"] += 5
        x = floats(rng, 2, 4, FEATURES) + 3
        initial = [floats(rng, 2, len(weights["U"])), floats(rng, 2, 300)]
        expected = ByHand(op, attrs, weights)(x, *initial)
        model = model_of(graph_of(op, attrs, weights, 300), isa=isa)
        # sums near 100 are off by some of their own ulp, beside deviations of about 10
        for got, want in zip(model(x, initial_state=initial), expected, strict=True):
            close(got, want, 4 * FLOAT32[3], case)


def test_a_projection_without_limit_is_torchs(rng: np.random.Generator) -> None:
    lstm = torch.nn.LSTM(FEATURES, 12, proj_size=7, batch_first=True)
    arrays = {name: p.detach().numpy() for name, p in lstm.named_parameters()}
    weights = {
        "W": arrays["weight_ih_l0"].T.copy(), "U": arrays["weight_hh_l0"].T.copy(),
        "b": arrays["bias_ih_l0"] + arrays["bias_hh_l0"], "P": arrays["weight_hr_l0"].T.copy(),
        "peepholes": np.zeros((3, 12), np.float32),
    }  # fmt: skip
    attrs = {"projection": 7, "projection_clip": 100.0, "clip": 1e9}
    x = floats(rng, 3, 9, FEATURES)
    with torch.inference_mode():
        y, (h, c) = lstm(torch.from_numpy(x))
    model = model_of(graph_of("lstm", attrs, weights, 12))
    for got, want in zip(model(x), (y, h[0], c[0]), strict=True):
        close(got, want.numpy(), FLOAT32[1])


def test_nan_stays_nan(isa: str, rng: np.random.Generator) -> None:
    """No limit hides one: it is in all that follows in its row, and in no other row."""
    for case in CASES:
        graph, _ = made(rng, case, 17)
        model = model_of(graph, isa=isa)
        x = floats(rng, 3, 4, FEATURES)
        expected = model(x)
        x[1, 2] = np.nan
        for got, before in zip(model(x), expected, strict=True):
            same_bits(got[[0, 2]], before[[0, 2]], case)
            assert np.isnan(got[1, 2:] if got.ndim == 3 else got[1]).all(), case


# ---- Promises ------------------------------------------------------------------------------------


def test_a_row_is_the_same_in_any_batch_and_length(isa: str, rng: np.random.Generator) -> None:
    for case in CASES:
        graph, weights = made(rng, case, 33)
        model = model_of(graph, isa=isa, threads=1)
        x, initial = floats(rng, 20, 9, FEATURES), states(rng, case, weights, 20)
        lengths = rng.integers(0, 10, 20)
        y, *last = model(x, lengths=lengths, initial_state=initial)
        for row in (0, 7, 19):
            n, own = lengths[row], [s[[row]] for s in initial]
            alone = model(x[[row], :n], initial_state=own)
            same_bits((y[[row], :n], *(s[[row]] for s in last)), alone, f"{case}, row {row}")
            assert not y[row, n:].any()


def test_masks(isa: str, rng: np.random.Generator) -> None:
    for case in CASES:
        graph, weights = made(rng, case, 17)
        x, initial = floats(rng, 3, 8, FEATURES), states(rng, case, weights, 3)
        model, mask = model_of(graph, isa=isa), rng.random((3, 8)) < 0.6
        y, *last = model(x, mask=mask, initial_state=initial)
        for row in range(3):
            kept = model(x[[row]][:, mask[row]], initial_state=[s[[row]] for s in initial])
            same_bits((y[[row]][:, mask[row]], *(s[[row]] for s in last)), kept, case)


def test_reversed_rows(isa: str, rng: np.random.Generator) -> None:
    for case in CASES:
        graph, weights = made(rng, case, 17)
        x, initial = floats(rng, 3, 8, FEATURES), states(rng, case, weights, 3)
        y, *last = model_of(graph, isa=isa)(x[:, ::-1], initial_state=initial)
        back = model_of(changed(graph, reverse=True), isa=isa)
        same_bits(back(x, initial_state=initial), (y, *last), case)
        aligned = model_of(changed(graph, reverse=True, realign=True), isa=isa)
        turned = np.ascontiguousarray(y[:, ::-1])
        same_bits(aligned(x, initial_state=initial), (turned, *last), f"{case}, realigned")
        only = model_of(changed(graph, reverse=True, return_sequences=False), isa=isa)
        same_bits(only(x, initial_state=initial), (y[:, -1], *last), f"{case}, the last")


@pytest.mark.parametrize("team", [1, 2])
def test_threads(isa: str, team: int, rng: np.random.Generator) -> None:
    for case in CASES:
        graph, weights = made(rng, case, 70)
        one = model_of(graph, isa=isa, threads=1)
        several = model_of(graph, isa=isa, threads=2, team=team)
        for batch in (1, 9)[team == 1 :]:
            x, initial = floats(rng, batch, 5, FEATURES), states(rng, case, weights, batch)
            expected = one(x, initial_state=initial)
            same_bits(several(x, initial_state=initial), expected, f"{case}, batch {batch}")
            assert several.plan["last_threads"] == 2


def test_ids_in_place_of_vectors(isa: str, rng: np.random.Generator) -> None:
    for case in CASES:
        for units in (17, 32):
            graph, weights = made(rng, case, units, one_hot=11)
            vectors = graph_of(*CASES[case], weights, units)
            for batch in (1, 9):
                ids = rng.integers(0, 11, (batch, 5))
                expected = model_of(vectors, isa=isa)(np.eye(11, dtype=np.float32)[ids])
                same_bits(model_of(graph, isa=isa)(ids), expected, f"{case}, batch {batch}")


def test_streams_and_pools_give_what_a_call_gives(isa: str, rng: np.random.Generator) -> None:
    for case, batch in itertools.product(CASES, (1, 3)):
        graph, weights = made(rng, case, 33)
        model = model_of(graph, isa=isa)
        x, initial = floats(rng, batch, 5, FEATURES), states(rng, case, weights, batch)
        y, *last = model(x, initial_state=initial)
        stream, pool = model.stream(batch), model.pool(batch)
        stream.state = initial
        numbers = [pool.open() for _ in range(batch)]
        for row, number in enumerate(numbers):
            pool.set_state(number, [s[[row]] for s in initial])
        for t in range(5):
            stepped = stream.step(x[:, t])
            same_bits(stepped[0], y[:, t], f"{case}, frame {t}")
            order = list(range(batch))[:: 1 if t % 2 else -1]
            pooled = pool.step([numbers[row] for row in order], x[order, t])
            same_bits(pooled, tuple(part[order] for part in stepped), f"{case}, pool, frame {t}")
        same_bits(stepped[1:], tuple(last), f"{case}, last states")


# ---- Files ---------------------------------------------------------------------------------------


def test_packed_weights_in_a_file(isa: str, tmp_path: Path, rng: np.random.Generator) -> None:
    for case, ids in itertools.product(CASES, (False, True)):
        graph, _ = made(rng, case, 20, **({"one_hot": 6} if ids else {}))
        model, file = model_of(graph, isa=isa), tmp_path / "cell.safetensors"
        model.save(file, packed=True)
        loaded = sc.load(file, isa=isa, mmap=True)
        assert loaded.plan["bytes_in_place"] == loaded.plan["bytes"] == model.plan["bytes"]
        x = rng.integers(0, 6, (2, 4)) if ids else floats(rng, 2, 4, FEATURES)
        same_bits(loaded(x), model(x), case)


def test_every_weight_and_option_is_in_the_fingerprint(rng: np.random.Generator) -> None:
    for case, option in (("everything", "clip"), ("products, kept", "epsilon")):
        graph, weights = made(rng, case, 16)
        saved = model_of(graph).stream(1).save_state()
        others = [
            Graph(graph.document, dict(graph.tensors) | {f"cell.{role}": array + 1})
            for role, array in weights.items()
        ]
        others.append(changed(graph, **{option: 2.0}))
        for other in others:
            with pytest.raises(sc.StateError, match="another model"):
                model_of(other).stream(1).load_state(saved)
        model_of(graph).stream(1).load_state(saved)
