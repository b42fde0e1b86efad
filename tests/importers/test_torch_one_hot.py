"""torch's one_hot: what reads the vectors reads the ids in their place, by whatever way it came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch_ways import agree, exported, in_ours, in_torch

import seqcore as sc

VOCABULARY, BATCH, TIME = 11, 3, 6


class Reads(nn.Module):
    """A recurrent module and a linear one over vectors, which nobody reads as such."""

    def __init__(self, kind: Any, **options: Any) -> None:
        super().__init__()
        self.rnn = kind(VOCABULARY, 7, **options)
        self.head = nn.Linear(VOCABULARY, 4)

    def forward(self, ids: Any) -> Any:
        x = F.one_hot(ids, VOCABULARY).float()
        out, state = self.rnn(x)
        return out, state, self.head(x).softmax(-1)


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(VOCABULARY, 5, batch_first=True, bidirectional=True)

    def forward(self, ids: Any, lengths: Any) -> Any:
        x = F.one_hot(ids, VOCABULARY).to(torch.float32)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=TIME)
        return out


class Adds(nn.Module):
    """The vectors themselves, too."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(VOCABULARY, 5, batch_first=True)

    def forward(self, ids: Any) -> Any:
        x = F.one_hot(ids, VOCABULARY)
        return self.rnn(x.float())[0], x.float() * 2 + 1, x


class Steps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(VOCABULARY, 5)

    def forward(self, ids: Any, h: Any) -> Any:
        return self.cell(F.one_hot(ids, VOCABULARY).float(), h)


def ids(*shape: int) -> Any:
    return torch.from_numpy(np.random.default_rng(5).integers(0, VOCABULARY, shape))


def one_hot_of(model: sc.Model) -> list[tuple[str, int]]:
    """Return the ops that make vectors, or read ids for them."""
    nodes = model._graph.document["nodes"]
    hot = [(node["op"], node["attrs"].get("one_hot", 0)) for node in nodes]
    return [(op, rows) for op, rows in hot if op in ("one_hot", "embedding") or rows]


KINDS = {
    "RNN": (nn.RNN, {}), "LSTM": (nn.LSTM, {}), "GRU": (nn.GRU, {}),
    "time first": (nn.LSTM, {"batch_first": False}),
    "two ways": (nn.GRU, {"num_layers": 2, "bidirectional": True}),
    "projection": (nn.LSTM, {"proj_size": 3}),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_modules(name: str, tmp_path: Path) -> None:
    kind, options = KINDS[name]
    torch.manual_seed(1)
    module = Reads(kind, **{"batch_first": True} | options).eval()
    given = (ids(BATCH, TIME),)
    wanted = in_torch(module, given)
    op = {nn.RNN: "simple_rnn", nn.GRU: "gru", nn.LSTM: "lstm"}[kind]
    first = [(op, VOCABULARY)] * (2 if options.get("bidirectional") else 1)
    for model in (sc.from_torch(module, given), exported(module, given, tmp_path)):
        assert one_hot_of(model) == [*first, ("dense", VOCABULARY)]
        agree(in_ours(model, given), wanted, 2)
    longer = (ids(BATCH + 2, TIME + 3),)
    agree(in_ours(sc.from_torch(module, given), longer), in_torch(module, longer), 2)


def test_packed() -> None:
    torch.manual_seed(2)
    module, given = Packed().eval(), (ids(BATCH, TIME), torch.tensor([6, 2, 4]))
    model = sc.from_torch(module, given)
    assert one_hot_of(model) == [("gru", VOCABULARY)] * 2
    agree(in_ours(model, given), in_torch(module, given), 1)


def test_vectors_that_are_read_are_made() -> None:
    torch.manual_seed(3)
    module, given = Adds().eval(), (ids(BATCH, TIME),)
    model = sc.from_torch(module, given)
    assert sorted(one_hot_of(model)) == [("lstm", VOCABULARY), ("one_hot", 0)]
    agree(in_ours(model, given), in_torch(module, given), 1)


def test_a_step() -> None:
    torch.manual_seed(4)
    module, given = Steps().eval(), (ids(BATCH), torch.randn(BATCH, 5))
    agree(in_ours(sc.from_torch(module, given), given), in_torch(module, given), 1)


class Large(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(20_000, 4, batch_first=True)

    def forward(self, words: Any) -> Any:
        return self.rnn(F.one_hot(words, 20_000).float())[0]


def test_a_large_vocabulary_has_no_square_table() -> None:
    """An identity of 20,000 would be 1.6 GB."""
    torch.manual_seed(5)
    module, given = Large().eval(), (torch.tensor([[0, 19_999, 7]]),)
    model = sc.from_torch(module, given)
    assert model.plan["bytes"] < 2 * 4 * 20_000 * 3 * 16  # lanes of a vector past 4 units
    agree(in_ours(model, given), in_torch(module, given), 1)


def test_an_id_that_is_none_raises_as_in_torch() -> None:
    module, given = Reads(nn.GRU, batch_first=True).eval(), (ids(BATCH, TIME),)
    model = sc.from_torch(module, given)
    bad = given[0].clone()
    bad[1, 2] = VOCABULARY
    with pytest.raises(RuntimeError):
        module(bad)
    with pytest.raises(sc.IdRangeError, match=f"id {VOCABULARY} in row 1"):
        model(bad.numpy())
