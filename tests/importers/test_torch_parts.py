"""torch's own modules that are not recurrent: options crossed pairwise, in all ways; flipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch_parts import (
    FAMILIES,
    NORMS,
    Family,
    Several,
    chain_input,
    input_of,
    inputs_for,
    randomise,
)
from torch_ways import agree, exported, in_ours, in_torch, notices, pickled

import seqcore as sc
from seqcore.importers.torch.modules import MODULES, RECURRENT

pytestmark = pytest.mark.filterwarnings("ignore")  # torch calls the old weight_norm deprecated
DEPTH = 1
TIME = 10


def same_bits(model: sc.Model, given: tuple[Any, ...], found: list[np.ndarray]) -> None:
    for a, b in zip(in_ours(model, given), found, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_in_a_chain(family: Family, tmp_path: Path) -> None:
    """Live and in a file of either kind, wrapped or not: the same bits, and torch's numbers."""
    for k, row in enumerate(family.rows()):
        chain = family.chain(row)
        model = sc.from_torch(chain)
        for batch in (5, 1):
            given = (chain_input(family, batch, TIME, seed=batch),)
            found = in_ours(model, given)
            agree(found, in_torch(chain, given), DEPTH, [row])
        wrapped = nn.DataParallel(chain) if k % 3 else nn.Sequential(nn.Sequential(chain))
        if family.wraps is not NORMS["new"]:  # which torch does not pickle
            same_bits(pickled(wrapped, tmp_path, zipped=bool(k % 2)), given, found)
        same_bits(sc.from_torch(wrapped.train()), given, found)


GROUPS = [
    pytest.param(takes, fixed, id=takes + "-fixed" * fixed)
    for takes, fixed in (
        ("vectors", False), ("frames", False), ("channels", False), ("channels", True),
    )
]  # fmt: skip


@pytest.mark.parametrize(("takes", "fixed"), GROUPS)
def test_with_an_example_and_exported(takes: str, fixed: bool, tmp_path: Path) -> None:
    """The modules themselves, all that take the same side by side."""
    chosen = [
        (family, row)
        for family in FAMILIES
        if family.takes == takes and family.fixed == fixed and family.kind != "Embedding"
        for row in family.rows()
    ]
    module = Several([family.make(row) for family, row in chosen]).eval()
    labels = [f"{family.name} {row}" for family, row in chosen]
    example = (inputs_for(takes, 4, TIME),)
    live = sc.from_torch(module, example)
    static = exported(module, example, tmp_path)
    dynamic = exported(module, example, tmp_path, {"x": {0: torch.export.Dim("batch", min=1)}})
    for batch, time, models in (
        (4, TIME, [live, static, dynamic]),
        (5, TIME, [live, dynamic]),
        (1, TIME, [live, dynamic]),
        (3, TIME if fixed or takes == "vectors" else 13, [live]),
    ):
        given = (inputs_for(takes, batch, time, seed=batch),)
        wanted = in_torch(module, given)
        for model in models if time == TIME else [live]:
            agree(in_ours(model, given), wanted, DEPTH, labels)


# ---- Flipped -------------------------------------------------------------------------------------

INERT = {("Embedding", "padding_idx"): "its row is learned from nobody, and used as any other"}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_option_is_noticed(family: Family) -> None:
    """A module with one option wrong, and the same weights, does not give torch's numbers."""
    unnoticed = []
    for option, values in family.options.items():
        for k, value in enumerate(values):
            others = (*values[k + 1 :], *values[:k])
            pairs = [
                (row, row | {option: other})
                for row in family.rows()
                for other in others[:1]
                if row[option] == value and family.fits(row | {option: other})
            ]
            noticed = any(
                notices(
                    lambda flipped=flipped: sc.from_torch(family.chain(flipped)),
                    given, in_torch(family.chain(row), given), DEPTH,
                )
                for row, flipped in pairs
                for time in (TIME, TIME + 1, TIME + 2)
                for given in [(chain_input(family, 5, time, seed=1),)]
            )  # fmt: skip
            if pairs and noticed == ((family.kind, option) in INERT):
                unnoticed.append(f"{option}={value!r}, of {len(pairs)}")
    assert not unnoticed


def test_every_module_is_here() -> None:
    assert {family.kind for family in FAMILIES} == set(MODULES) - set(RECURRENT)


# ---- weight_norm ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", NORMS)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_recurrent_modules_with_weight_norm(form: str, kind: str, tmp_path: Path) -> None:
    """Live alone, in a chain and with an example; in a file; of named weights."""
    module = getattr(nn, kind)(4, 3, 2, bidirectional=True, batch_first=True)
    for name in ("weight_hh_l0", "weight_ih_l1_reverse", "bias_hh_l1"):
        NORMS[form](module, name, dim=None if "bias" in name else 0)
    randomise(module)
    given = (inputs_for("frames", 5, TIME),)
    wanted = in_torch(module.eval(), given)[:1]
    found = in_ours(sc.from_torch(module), given)
    agree(found, wanted, 2)
    agree(in_ours(sc.from_torch(nn.Sequential(module)), given)[:1], wanted, 2)
    agree(in_ours(sc.from_torch(module, (inputs_for("frames", 3, 4),)), given)[:1], wanted, 2)
    if form == "old":
        same_bits(pickled(module, tmp_path, zipped=True), given, found)
    weights = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    x = sc.Input((None, 4))
    same_bits(sc.Model(x, getattr(sc, kind).from_torch(weights)(x)), given, found)


@pytest.mark.parametrize("form", NORMS)
def test_a_bias_with_weight_norm_is_not_lost(form: str) -> None:
    linear = NORMS[form](nn.Linear(4, 3), "bias", dim=None)
    given = (inputs_for("vectors", 5, TIME),)
    agree(in_ours(sc.from_torch(linear), given), in_torch(linear.eval(), given), 0)


# ---- Apart ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Embedding(7, 3, max_norm=1.0), "max_norm"),
        (nn.MaxPool1d(2, return_indices=True), "return_indices"),
        (nn.AdaptiveMaxPool1d(2, return_indices=True), "return_indices"),
        (nn.ConvTranspose1d(4, 2, 3, stride=2, dilation=2), "found 2 and 2"),
        (nn.Upsample(scale_factor=2, mode="linear"), "mode 'linear'"),
        (nn.Upsample(scale_factor=1.5), "1.5, which is not whole"),
        (nn.RReLU(), "not supported"),
        (nn.Softmax(), "dim varies"),
        (nn.BatchNorm1d(4, track_running_stats=False), "statistics of the batch"),
        (nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)), "parametrization of weight"),
    ],
)
def test_what_would_be_wrong_is_refused(module: nn.Module, message: str) -> None:
    head = [] if isinstance(module, nn.Embedding) else [nn.Conv1d(4, 4, 1)]
    with pytest.raises(sc.UnsupportedLayerError, match=message):
        sc.from_torch(nn.Sequential(*head, module))


def test_indices_that_an_example_shows_are_refused() -> None:
    for module in (nn.MaxPool1d(2, return_indices=True), nn.AdaptiveMaxPool1d(2, True)):
        with pytest.raises(sc.UnsupportedLayerError):
            sc.from_torch(module, (inputs_for("channels", 3, TIME),))
    with pytest.raises(sc.UnsupportedLayerError):
        sc.from_torch(nn.Embedding(7, 3, max_norm=1.0), (inputs_for("ids", 3, TIME),))


def test_embeddings_with_an_example(tmp_path: Path) -> None:
    (family,) = (family for family in FAMILIES if family.kind == "Embedding")
    module = Several([family.make(row) for row in family.rows()]).eval()
    given = (input_of(family, 5, TIME, seed=1),)
    wanted = in_torch(module, given)
    found = in_ours(sc.from_torch(module, (input_of(family, 3, 4),)), given)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    same_bits(exported(module, given, tmp_path), given, found)


def test_weights_that_are_made_on_the_way_are_told_apart() -> None:
    """Many of one shape, each of which is gone from memory before the next is made."""

    class Products(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.weights = nn.ParameterList(torch.randn(4, 4) for _ in range(40))

        def forward(self, x: Any) -> Any:
            return [(x @ w, torch.einsum("bi,ij->bj", x, w)) for w in self.weights]

    module, given = Products(), (inputs_for("vectors", 5, TIME),)
    model = sc.from_torch(module, (inputs_for("vectors", 3, TIME),))
    agree(in_ours(model, given), in_torch(module, given), 0)
