"""Decoders written in PyTorch, imported as they stand, and decoded here and by torch's loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tolerances import FLOAT32, close
from torch import nn

import seqcore as sc

V, H, TOKENS = 30, 24, 12


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.gru = nn.Embedding(V, H), nn.GRU(H, H, batch_first=True)

    def forward(self, ids: Any) -> Any:
        return self.gru(self.embedding(ids))


class Attending(nn.Module):
    """Additive attention of the state before, joined before the GRU; hidden is (1, B, H)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.gru = nn.Embedding(V, H), nn.GRU(2 * H, H, batch_first=True)
        self.query, self.key, self.score = nn.Linear(H, H), nn.Linear(H, H), nn.Linear(H, 1)
        self.out = nn.Linear(H, V)

    def forward(self, token: Any, hidden: Any, memory: Any) -> Any:
        seen = torch.tanh(self.query(hidden.permute(1, 0, 2)) + self.key(memory))
        weights = self.score(seen).squeeze(2).unsqueeze(1).softmax(-1)
        x = torch.cat([self.embedding(token), torch.bmm(weights, memory)], dim=2)
        y, hidden = self.gru(x, hidden)
        return self.out(y), hidden, weights


class Cell(nn.Module):
    """An LSTMCell, padding masked by an argument."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.cell = nn.Embedding(V, H), nn.LSTMCell(2 * H, H)
        self.query, self.out = nn.Linear(H, H, bias=False), nn.Linear(H, V)

    def forward(self, token: Any, h: Any, c: Any, memory: Any, real: Any) -> Any:
        scores = torch.bmm(memory, self.query(h).unsqueeze(2)).squeeze(2)
        weights = scores.masked_fill(real == 0, -1e9).softmax(-1)
        context = torch.bmm(weights.unsqueeze(1), memory).squeeze(1)
        h, c = self.cell(torch.cat([self.embedding(token), context], 1), (h, c))
        return self.out(h).log_softmax(-1), h, c


@pytest.fixture
def encoder() -> tuple[nn.Module, sc.Model]:
    torch.manual_seed(1)
    module = Encoder().eval()
    return module, sc.from_torch(module, torch.zeros(2, 5, dtype=torch.long))


def test_a_decoder_with_stacked_states_and_attention(encoder: Any) -> None:
    module, model = encoder
    step = Attending().eval()
    example = (torch.zeros(2, 1, dtype=torch.long), torch.zeros(1, 2, H), torch.zeros(2, 5, H))
    whole = sc.from_torch(step, example)
    seq2seq = sc.Seq2Seq(
        model, whole, connect={"memory": model.outputs[0], "hidden": model.outputs[1]},
        carry={"hidden": whole.outputs[1]}, start=1, max_length=TOKENS,
    )  # fmt: skip
    ids = torch.randint(0, V, (4, 9))
    found = seq2seq(ids.numpy(), extras=True, return_state=True)
    (extra,) = seq2seq.extras
    with torch.no_grad():
        memory, hidden = module(ids)
        token = torch.ones(4, 1, dtype=torch.long)
        for t in range(TOKENS):
            logits, hidden, weights = step(token, hidden, memory)
            token = logits[:, -1].argmax(-1, keepdim=True)
            assert token[:, 0].tolist() == found.ids[:, t].tolist()
            close(found.extras[extra][:, t], weights.numpy(), FLOAT32[2])
    assert found.states[0].shape == (1, 4, H)
    close(found.states[0], hidden.numpy(), FLOAT32[3])


def test_a_search_over_a_cell_whose_padding_is_an_argument(encoder: Any) -> None:
    module, model = encoder
    step = Cell().eval()
    example = (
        torch.zeros(2, dtype=torch.long), torch.zeros(2, H), torch.zeros(2, H),
        torch.zeros(2, 5, H), torch.ones(2, 5),
    )  # fmt: skip
    whole = sc.from_torch(step, example)
    _, h_name, c_name = whole.outputs
    seq2seq = sc.Seq2Seq(
        model, whole, connect={"memory": model.outputs[0], "h": model.outputs[1]},
        carry={"h": h_name, "c": c_name}, context="real", pass_lengths=False, start=1,
        max_length=6,
    )  # fmt: skip
    assert seq2seq.scores == "log_probabilities"
    ids, ends = torch.randint(0, V, (3, 9)), (9, 4, 6)
    real = (np.arange(9) < np.array(ends)[:, None]).astype(np.float32)
    found = seq2seq.beam(ids.numpy(), lengths=ends, context=real, width=4, results=4)
    for row, n in enumerate(ends):
        with torch.no_grad():
            memory, hidden = module(ids[row : row + 1, :n])
            beams = [(0.0, [1], hidden[0], torch.zeros(1, H))]
            for _ in range(6):
                made = []
                for total, tokens, h, c in beams:
                    logs, h, c = step(torch.tensor(tokens[-1:]), h, c, memory, torch.ones(1, n))
                    made += [(total + float(logs[0, k]), [*tokens, k], h, c) for k in range(V)]
                beams = sorted(made, key=lambda beam: -beam[0])[:4]
        assert found.ids[row].tolist() == [tokens[1:] for _, tokens, _, _ in beams]
        close(found.scores[row], [beam[0] for beam in beams], FLOAT32[3])


def test_lengths_of_a_memory_that_an_importer_cannot_follow_are_refused(encoder: Any) -> None:
    _, model = encoder
    example = (torch.zeros(2, 1, dtype=torch.long), torch.zeros(1, 2, H), torch.zeros(2, 5, H))
    whole = sc.from_torch(Attending().eval(), example)
    seq2seq = sc.Seq2Seq(
        model, whole, connect={"memory": model.outputs[0], "hidden": model.outputs[1]},
        carry={"hidden": whole.outputs[1]}, start=1, max_length=TOKENS,
    )  # fmt: skip
    with pytest.raises(sc.UnsupportedLayerError, match="rows of different lengths"):
        seq2seq(np.zeros((2, 5), np.int64), lengths=[5, 3])


def test_padding_may_be_seen_if_that_is_wanted(encoder: Any) -> None:
    module, model = encoder
    step = Attending().eval()
    example = (torch.zeros(2, 1, dtype=torch.long), torch.zeros(1, 2, H), torch.zeros(2, 5, H))
    whole = sc.from_torch(step, example)
    seq2seq = sc.Seq2Seq(
        model, whole, connect={"memory": model.outputs[0], "hidden": model.outputs[1]},
        carry={"hidden": whole.outputs[1]}, pass_lengths=False, start=1, max_length=TOKENS,
    )  # fmt: skip
    ids = torch.randint(0, V, (2, 7))
    found = seq2seq(ids.numpy(), lengths=[7, 4])
    with torch.no_grad():
        packed = nn.utils.rnn.pack_padded_sequence(
            module.embedding(ids), torch.tensor([7, 4]), batch_first=True
        )
        memory, hidden = module.gru(packed)
        memory, _ = nn.utils.rnn.pad_packed_sequence(memory, batch_first=True)
        token = torch.ones(2, 1, dtype=torch.long)
        for t in range(TOKENS):
            logits, hidden, _ = step(token, hidden, memory)
            token = logits[:, -1].argmax(-1, keepdim=True)
            assert token[:, 0].tolist() == found.ids[:, t].tolist()
