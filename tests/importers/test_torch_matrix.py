"""Recurrent modules of torch by all ways that lead to a model, options pairwise; and flipped."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pairs import pairwise
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch_matrix import (
    CALL,
    FEATURES,
    MODULE,
    ROWS,
    Row,
    Several,
    fits,
    groups,
    inputs,
    owners,
    recurrent,
)
from torch_ways import agree, differs, exported, in_ours, in_torch, pickled

import seqcore as sc

DEPTH = 2  # num_layers, at most
SIZES = ((5, 6), (1, 1), (4, 4))  # rows, frames: others than the example's


# ---- In modules that use them -------------------------------------------------------------------


@pytest.mark.parametrize("rows", groups(ROWS), ids=lambda rows: f"{len(rows)}-rows")
def test_with_an_example(rows: list[Row]) -> None:
    module = Several(rows).eval()
    model = sc.from_torch(module, inputs(rows, 3, 4))
    for batch, time in SIZES:
        given = inputs(rows, batch, time, seed=1)
        agree(in_ours(model, given), in_torch(module, given), DEPTH, owners(rows))


WITHOUT_LENGTHS = pairwise({**MODULE, **CALL, "lengths": ("none",)}, fits)


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("first", [True, False], ids=["batch-first", "time-first"])
def test_exported_programs(first: bool, dynamic: bool, tmp_path: Path) -> None:
    """Without packed sequences, which torch.export itself does not follow."""
    rows = [row for row in WITHOUT_LENGTHS if row["batch_first"] == first][dynamic::2]
    module, example = Several(rows).eval(), inputs(rows, 3, 4)
    batch = torch.export.Dim("batch", min=1)
    states = example[3:]
    shapes = {
        "x": {0 if first else 1: batch}, "ordered": {0: batch}, "lengths": {0: batch},
        "states": tuple({1: batch} for _ in states),
    }  # fmt: skip
    model = exported(module, example, tmp_path, shapes if dynamic else None)
    for size in (5, 1) if dynamic else (3,):
        given = inputs(rows, size, 4, seed=1)
        agree(in_ours(model, given), in_torch(module, given), DEPTH, owners(rows))


# ---- Alone ---------------------------------------------------------------------------------------

ALONE = pairwise({**MODULE, "lengths": ("none", "any"), "initial": ("none", "given")})
LAYERS = {
    "LSTM": sc.LSTM, "projected": sc.LSTM, "GRU": sc.GRU, "tanh": sc.SimpleRNN,
    "relu": sc.SimpleRNN,
}  # fmt: skip


def run_alone(module: nn.RNNBase, row: Row, x: Any, lengths: Any, states: Any) -> Any:
    """Return torch's (out, finals ...) of rows, batch first."""
    given = () if not states else (tuple(states) if len(states) > 1 else states[0],)
    turned = x if row["batch_first"] else x.transpose(0, 1)
    if row["lengths"] != "none":
        turned = pack_padded_sequence(turned, lengths, row["batch_first"], enforce_sorted=False)
    out, final = module(turned, *given)
    if row["lengths"] != "none":
        out, _ = pad_packed_sequence(out, row["batch_first"])
    out = out if row["batch_first"] else out.transpose(0, 1)
    return [out, *(final if isinstance(final, tuple) else [final])]


def call_alone(model: sc.Model, row: Row, x: Any, lengths: Any, states: Any) -> list[np.ndarray]:
    options: dict[str, Any] = {}
    if row["lengths"] != "none":
        options["lengths"] = lengths.numpy()
    if states:
        options["initial_state"] = [state.numpy() for state in states]
    results = model(x.numpy(), **options)
    return list(results) if isinstance(results, tuple) else [results]


def weights_of(module: nn.Module, folder: Path) -> Any:
    torch.save({"state": {"rnn." + k: v for k, v in module.state_dict().items()}}, folder / "w.pt")
    return sc.read_weights(folder / "w.pt")


def inputs_alone(row: Row) -> tuple[Any, ...]:
    return inputs([{**row, "batch_first": True}], 5, 6)


@pytest.mark.parametrize("row", ALONE, ids=lambda row: "-".join(map(str, row.values())))
def test_alone(row: Row, tmp_path: Path) -> None:
    """Live, in files of both kinds, and of named weights: the same bits."""
    module = recurrent(row).eval()
    x, _, lengths, *states = inputs_alone(row)
    with torch.no_grad():
        wanted = [y.numpy() for y in run_alone(module, row, x, lengths, states)]
    model = sc.from_torch(module, return_state=True)
    found = call_alone(model, row, x, lengths, states)
    agree(found, wanted, DEPTH)
    for other in (
        sc.from_torch(module),
        pickled(module, tmp_path, zipped=True),
        pickled(nn.DataParallel(module), tmp_path, zipped=False),
    ):
        (y,) = call_alone(other, row, x, lengths, states)
        np.testing.assert_array_equal(y, found[0])
    activation = {"activation": row["kind"]} if row["kind"] in ("tanh", "relu") else {}
    layer = LAYERS[row["kind"]].from_torch(
        weights_of(module, tmp_path), "state.rnn", return_state=True, **activation
    )
    frames = sc.Input((None, FEATURES))
    named = sc.Model(frames, layer(frames))
    by_cell = [state for cell in zip(*states, strict=True) for state in cell]
    (y, *finals) = call_alone(named, row, x, lengths, by_cell)
    np.testing.assert_array_equal(y, found[0])
    for k, final in enumerate(finals):
        np.testing.assert_array_equal(final, found[1 + k % len(found[1:])][k // len(found[1:])])


def test_alone_in_a_chain_and_with_an_example(tmp_path: Path) -> None:
    """(out, states) in the module's own layout."""
    for row in ALONE[:6]:
        module = nn.Sequential(recurrent(row)).eval()
        given = inputs([row], 5, 6)[:1]
        chain, example = sc.from_torch(module), sc.from_torch(module, inputs([row], 2, 3)[:1])
        found = in_ours(chain, given)
        agree(found, in_torch(module, given), DEPTH, [row] * len(found))
        for model in (example, pickled(module, tmp_path, zipped=row["bias"])):
            for a, b in zip(in_ours(model, given), found, strict=True):
                np.testing.assert_array_equal(a, b)


# ---- Flipped -------------------------------------------------------------------------------------


@cache
def _outputs(options: tuple[tuple[str, Any], ...]) -> list[np.ndarray]:
    row = dict(options)
    return in_torch(Several([row]).eval(), inputs([row], 4, 4))


def outputs(row: Row) -> list[np.ndarray]:
    """Return torch's outputs of one row, of as many frames as rows, so that axes may be taken for
    one another."""
    return _outputs(tuple(row.items()))


OPTIONS = {**MODULE, **CALL}


@cache
def flips() -> dict[tuple[str, Any, Any], tuple[Row, Row]]:
    """Return by option, value and other: a row, and itself flipped, that torch tells apart."""
    found: dict[tuple[str, Any, Any], tuple[Row, Row]] = {}
    for option, values in OPTIONS.items():
        for value, other in itertools.permutations(values, 2):
            rows = [row for row in ROWS if row[option] == value and fits(row | {option: other})]
            pairs = ((row, row | {option: other}) for row in rows)
            told = (pair for pair in pairs if differs(outputs(pair[1]), outputs(pair[0]), DEPTH))
            first = next(told, None)
            if first is not None:
                found[option, value, other] = first
    return found


def test_every_option_matters_to_torch() -> None:
    """An importer that ignored one, or took a value for another, would fail in a test above."""
    pairs = [
        (option, *pair)
        for option, values in OPTIONS.items()
        for pair in itertools.permutations(values, 2)
    ]
    assert set(flips()) == set(pairs)


def test_every_flip_is_noticed() -> None:
    """What is made of a module with one option wrong is not what the right one gives."""
    chosen = {(option, value): pair for (option, value, _), pair in flips().items()}
    assert len(chosen) == sum(map(len, OPTIONS.values()))
    for rows in groups([flipped | {"was": row} for row, flipped in chosen.values()], size=99):
        model = sc.from_torch(Several(rows).eval(), inputs(rows, 4, 4))
        found = iter(in_ours(model, inputs(rows, 4, 4)))
        for row in rows:
            own = [next(found) for _ in owners([row])]
            assert differs(own, outputs(row["was"]), DEPTH), row
