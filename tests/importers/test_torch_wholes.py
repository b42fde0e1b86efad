"""Modules as people write them, against torch: of an example, and as .pt2 where torch can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch_parts import randomise
from torch_ways import agree, exported, in_ours, in_torch

import seqcore as sc

DEPTH = 3
LETTERS, SOUNDS = 12, 9


class Pronounces(nn.Module):
    """Letters to sounds: what has been said is fed back, for a fixed number of steps."""

    def __init__(self, steps: int = 5) -> None:
        super().__init__()
        self.letters, self.sounds = nn.Embedding(LETTERS, 6), nn.Embedding(SOUNDS, 6)
        self.encoder = nn.GRU(6, 8, batch_first=True)
        self.decoder, self.head = nn.GRUCell(6, 8), nn.Linear(8, SOUNDS)
        self.steps = steps

    def forward(self, word: Any) -> Any:
        _, h = self.encoder(self.letters(word))
        state, said = h.squeeze(0), torch.zeros(word.size(0), dtype=torch.long)
        made = []
        for _ in range(self.steps):
            state = self.decoder(self.sounds(said), state)
            scores = self.head(state)
            said = scores.argmax(-1)
            made.append(said)
        return torch.stack(made, 1), scores


class Tags(nn.Module):
    """Tags of words of sentences of their own lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(LETTERS, 6, padding_idx=0)
        self.lstm = nn.LSTM(6, 5, 2, bidirectional=True, batch_first=True, dropout=0.4)
        self.head = nn.Linear(10, 4)

    def forward(self, words: Any, lengths: Any) -> Any:
        x = F.dropout(self.embedding(words), 0.5, self.training)
        packed = pack_padded_sequence(x, lengths.cpu(), True, enforce_sorted=False)
        out, _ = self.lstm(packed)
        out, _ = pad_packed_sequence(out, batch_first=True, total_length=words.size(1))
        return self.head(out).log_softmax(-1)


class TagsLetters(nn.Module):
    """Words by a convolution over their letters, which the time of a BiLSTM then counts."""

    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(LETTERS, 5)
        self.conv = nn.Conv1d(5, 7, 3, padding=1)
        self.lstm = nn.LSTM(7, 5, bidirectional=True, batch_first=True)
        self.head = nn.Linear(10, 4)

    def forward(self, letters: Any) -> Any:
        rows, words, width = letters.shape
        x = self.letters(letters.view(rows * words, width)).transpose(1, 2)
        x = torch.relu(self.conv(x)).max(dim=2)[0].view(rows, words, -1)
        out, _ = self.lstm(x)
        return self.head(out), self.head(out).argmax(-1)


class Bahdanau(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(LETTERS, 6)
        self.encoder = nn.GRU(6, 5, batch_first=True, bidirectional=True)
        self.query, self.key = nn.Linear(5, 7), nn.Linear(10, 7, bias=False)
        self.score, self.first = nn.Linear(7, 1, bias=False), nn.Linear(10, 5)
        self.cell, self.head = nn.GRUCell(6 + 10, 5), nn.Linear(5 + 10 + 6, SOUNDS)

    def forward(self, x: Any, said: Any) -> Any:
        enc, h = self.encoder(self.embedding(x))
        state = torch.tanh(self.first(torch.cat([h[-2], h[-1]], dim=1)))
        keys, made, seen = self.key(enc), [], []
        for step in range(said.shape[1]):
            energy = self.score(torch.tanh(self.query(state).unsqueeze(1) + keys)).squeeze(2)
            weights = energy.masked_fill(x == 0, -1e10).softmax(dim=1)
            context = torch.bmm(weights.unsqueeze(1), enc).squeeze(1)
            own = self.embedding(said[:, step])
            state = self.cell(torch.cat([own, context], dim=1), state)
            made.append(self.head(torch.cat([state, context, own], dim=1)))
            seen.append(weights)
        return torch.stack(made, dim=1), torch.stack(seen, dim=1)


class Luong(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(LETTERS, 6)
        self.encoder = nn.LSTM(6, 5, batch_first=True)
        self.decoder = nn.LSTM(6, 5, batch_first=True)
        self.general, self.mixed = nn.Linear(5, 5, bias=False), nn.Linear(10, 5)
        self.head = nn.Linear(5, SOUNDS)

    def forward(self, x: Any, said: Any) -> Any:
        enc, state = self.encoder(self.embedding(x))
        dec, _ = self.decoder(self.embedding(said), state)
        scores = torch.bmm(self.general(dec), enc.transpose(1, 2))
        weights = F.softmax(scores.masked_fill((x == 0).unsqueeze(1), float("-inf")), dim=-1)
        mixed = torch.tanh(self.mixed(torch.cat([weights @ enc, dec], dim=-1)))
        return F.log_softmax(self.head(mixed), dim=-1), weights


class Acoustic(nn.Module):
    """Time first, as nn.LSTM has it; frames are stacked in threes by a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)
        self.conv = nn.Conv1d(6, 7, 3, stride=2, padding=1)
        self.lstm = nn.LSTM(7, 8, 2, proj_size=4)
        self.gru, self.head = nn.GRU(4, 5, bidirectional=True), nn.Linear(10, SOUNDS)

    def forward(self, x: Any) -> Any:
        x = F.hardtanh(self.conv(self.norm(x.permute(1, 2, 0))), 0, 20).permute(2, 0, 1)
        out, (h, c) = self.lstm(x)
        y, _ = self.gru(out)
        return self.head(y).log_softmax(2), h, c


class Regresses(nn.Module):
    """One number of each row, (B,)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.norm = nn.LSTM(3, 6, 2, batch_first=True), nn.LayerNorm(6)
        self.head = nn.Sequential(nn.Linear(12, 5), nn.ReLU(), nn.Dropout(0.2), nn.Linear(5, 1))

    def forward(self, x: Any) -> Any:
        out, (h, _) = self.lstm(x)
        pooled = torch.cat([self.norm(h[-1]), out.mean(dim=1)], dim=1)
        return self.head(pooled).squeeze(-1)


def ids(*shape: int, high: int = LETTERS) -> torch.Tensor:
    return torch.randint(1, high, shape)


def words(rows: int, time: int) -> torch.Tensor:
    """Return ids that end in zeros; the first row has none."""
    made, ends = ids(rows, time), torch.randint(1, time + 1, (rows, 1))
    ends[0] = time
    return made.masked_fill(torch.arange(time) >= ends, 0)


def sentences(rows: int, time: int) -> tuple[Any, ...]:
    made = words(rows, time)
    return made, (made != 0).sum(1)


WHOLES: dict[type[nn.Module], Any] = {
    Pronounces: lambda rows, time: (words(rows, time),),
    Tags: sentences,
    TagsLetters: lambda rows, time: (ids(rows, time, 6),),
    Bahdanau: lambda rows, time: (words(rows, time), ids(rows, 3)),
    Luong: lambda rows, time: (words(rows, time), ids(rows, 3)),
    Acoustic: lambda rows, time: (torch.randn(time, rows, 6),),
    Regresses: lambda rows, time: (torch.randn(rows, time, 3),),
}


@pytest.mark.parametrize("make", WHOLES, ids=lambda make: make.__name__)
def test_whole_modules(make: type[nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(7)
    module, inputs = make(), WHOLES[make]
    randomise(module)
    module.eval()
    example = inputs(3, 8)
    model = sc.from_torch(module, example)
    for rows, time in ((3, 8), (5, 13), (1, 3)):
        given = inputs(rows, time)
        found, wanted = in_ours(model, given), in_torch(module, given)
        agree(found, wanted, DEPTH)
        assert [ours.dtype for ours in found] == [theirs.dtype for theirs in wanted]
    if make is Tags:  # torch.export does not follow packed sequences
        return
    static = exported(module, example, tmp_path)
    place = 1 if make is Acoustic else 0
    batch = torch.export.Dim("batch", min=1)
    shapes = tuple({place: batch} for _ in example)
    dynamic = exported(module, example, tmp_path, shapes)
    for loaded, rows in ((static, 3), (dynamic, 3), (dynamic, 5), (dynamic, 1)):
        given = inputs(rows, 8)
        agree(in_ours(loaded, given), in_torch(module, given), DEPTH)


def test_rows_do_not_depend_on_their_batch() -> None:
    torch.manual_seed(8)
    module = Luong().eval()
    model = sc.from_torch(module, WHOLES[Luong](3, 6))
    x, said = (given.numpy() for given in WHOLES[Luong](7, 9))
    whole = model(x, said)
    for row in range(7):
        for y, part in zip(whole, model(x[row : row + 1], said[row : row + 1]), strict=True):
            np.testing.assert_array_equal(y[row : row + 1], part)
