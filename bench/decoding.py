"""What a token of a decoded sequence costs, greedily and by beam search, beside PyTorch.

    python bench/decoding.py [--threads N] [--seconds S] [name ...]

The same weights in both; torch decodes as its users write it: one step of the module for all rows
(and beams) at a time, `argmax` or `topk` over all beams, states gathered by `index_select`, under
`inference_mode`. Every result is compared before it is timed: equal tokens, scores within the
tolerance. Turns alternate, threads are pinned alike. Medians; the encoder is part of both.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from modules import median_us
from torch import nn

import seqcore as sc

TOKENS, SOURCE, TOLERANCE = 20, 20, 1e-4
States = tuple[torch.Tensor, ...]


# ---- The networks, in torch and here -------------------------------------------------------------


class Dates(nn.Module):
    """BiLSTM, and an LSTMCell that sees an additive attention's context before it."""

    vocabulary = 40

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(40, 32), nn.Embedding(40, 32)
        self.encoder = nn.LSTM(32, 64, bidirectional=True, batch_first=True)
        self.begin = nn.Linear(128, 128)
        self.query, self.memory = nn.Linear(128, 64, bias=False), nn.Linear(128, 64)
        self.v = nn.Linear(64, 1, bias=False)
        self.cell, self.head = nn.LSTMCell(32 + 128, 128), nn.Linear(128, 40)

    def encode(self, ids: torch.Tensor) -> tuple[States, States]:
        memory, (h, _) = self.encoder(self.source(ids))
        h = torch.tanh(self.begin(torch.cat([h[0], h[1]], -1)))
        return (h, torch.zeros_like(h)), (memory, self.memory(memory))

    def step(self, token: torch.Tensor, states: States, contexts: States) -> tuple[Any, States]:
        (h, c), (memory, keys) = states, contexts
        scores = self.v(torch.tanh(self.query(h).unsqueeze(1) + keys)).squeeze(-1)
        context = torch.bmm(scores.softmax(-1).unsqueeze(1), memory).squeeze(1)
        h, c = self.cell(torch.cat([self.target(token), context], -1), (h, c))
        return self.head(h), (h, c)

    def seqcore(self) -> sc.Seq2Seq:
        w = {name: array.numpy() for name, array in self.state_dict().items()}
        ids = sc.Input((None,), dtype="int64", name="source")
        lstm = sc.LSTM.from_torch(w, "encoder", return_state=True, name="memory")
        memory, h, _, back, _ = lstm(sc.Embedding.from_torch(w, "source")(ids))
        begin = sc.Dense.from_torch(w, "begin", activation="tanh", name="begin")
        encoder = sc.Model(ids, [memory, begin(sc.Concatenate()(h, back))])
        token, seen = sc.Input((), "int64", "token"), sc.Input((None, 128), name="memory")
        h, c = sc.Input((128,), name="h"), sc.Input((128,), name="c")
        look = sc.BahdanauAttention(
            w["query.weight"].T, w["memory.weight"].T, w["v.weight"][0], w["memory.bias"]
        )
        x = sc.Concatenate()(sc.Embedding.from_torch(w, "target")(token), look(h, seen))
        cell = sc.layouts.torch_recurrent("LSTM", w, "cell", "cell")[0][0]
        y, new_h, new_c = sc.LSTMCell(cell.W, cell.U, cell.b, name="cell")(x, [h, c])
        decoder = sc.Model(
            [token, h, c, seen], [sc.Dense.from_torch(w, "head", name="head")(y), new_h, new_c]
        )
        return sc.Seq2Seq(
            encoder, decoder, connect={"memory": "memory", "h": "begin"},
            carry={"h": "cell:h", "c": "cell:c"}, start=1, max_length=TOKENS,
        )  # fmt: skip


class Words(nn.Module):
    """GRU, and a GRU whose output is joined with a multiplicative attention's context."""

    vocabulary = 5000

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(5000, 128), nn.Embedding(5000, 128)
        self.encoder = nn.GRU(128, 256, batch_first=True)
        self.cell, self.general = (
            nn.GRU(128, 256, batch_first=True),
            nn.Linear(256, 256, bias=False),
        )
        self.join, self.head = nn.Linear(512, 256), nn.Linear(256, 5000)

    def encode(self, ids: torch.Tensor) -> tuple[States, States]:
        memory, h = self.encoder(self.source(ids))
        return (h[0],), (memory, self.general(memory))

    def step(self, token: torch.Tensor, states: States, contexts: States) -> tuple[Any, States]:
        memory, keys = contexts
        y, h = self.cell(self.target(token).unsqueeze(1), states[0].unsqueeze(0))
        weights = torch.bmm(y, keys.transpose(1, 2)).softmax(-1)
        joined = torch.cat([torch.bmm(weights, memory), y], -1).squeeze(1)
        return self.head(torch.tanh(self.join(joined))), (h[0],)

    def seqcore(self) -> sc.Seq2Seq:
        w = {name: array.numpy() for name, array in self.state_dict().items()}
        ids = sc.Input((None,), dtype="int64", name="source")
        gru = sc.GRU.from_torch(w, "encoder", return_state=True, name="memory")
        memory, h = gru(sc.Embedding.from_torch(w, "source")(ids))
        token, seen = sc.Input((None,), "int64", "token"), sc.Input((None, 256), name="memory")
        gru = sc.GRU.from_torch(w, "cell", name="cell")
        y = gru(sc.Embedding.from_torch(w, "target")(token))
        # keys = memory.G' of torch, so that the score is query.(G.memory)
        look = sc.LuongAttention(w["general.weight"], score="general")
        join = sc.Dense.from_torch(w, "join", activation="tanh")
        scores = sc.Dense.from_torch(w, "head")(join(sc.Concatenate()(look(y, seen), y)))
        return sc.Seq2Seq(
            sc.Model(ids, [memory, h]), sc.Model([token, seen], scores), start=1,
            connect={"memory": "memory", "cell:h": "memory:h"}, max_length=TOKENS,
        )  # fmt: skip


class Text(nn.Module):
    """A language model of two LSTMs; the source is read by nobody."""

    vocabulary = 100

    def __init__(self) -> None:
        super().__init__()
        self.target = nn.Embedding(100, 64)
        self.cell, self.head = nn.LSTM(64, 256, 2, batch_first=True), nn.Linear(256, 100)

    def encode(self, ids: torch.Tensor) -> tuple[States, States]:
        zeros = torch.zeros(2, len(ids), 256)  # by rows, as all states here are
        return (zeros.transpose(0, 1), zeros.transpose(0, 1)), ()

    def step(self, token: torch.Tensor, states: States, contexts: States) -> tuple[Any, States]:
        del contexts
        h, c = (state.transpose(0, 1).contiguous() for state in states)
        y, (h, c) = self.cell(self.target(token).unsqueeze(1), (h, c))
        return self.head(y).squeeze(1), (h.transpose(0, 1), c.transpose(0, 1))

    def seqcore(self) -> sc.Generator:
        w = {name: array.numpy() for name, array in self.state_dict().items()}
        token = sc.Input((None,), "int64", "token")
        y = sc.LSTM.from_torch(w, "cell")(sc.Embedding.from_torch(w, "target")(token))
        decoder = sc.Model(token, sc.Dense.from_torch(w, "head")(y))
        return sc.Generator(decoder, start=1, max_length=TOKENS)


NETWORKS: dict[str, type[Any]] = {"dates": Dates, "words": Words, "text": Text}


# ---- Decoding in torch ---------------------------------------------------------------------------


def greedy(net: Any, source: torch.Tensor) -> torch.Tensor:
    states, contexts = net.encode(source)
    token = torch.ones(len(source), dtype=torch.long)
    made = []
    for _ in range(TOKENS):
        scores, states = net.step(token, states, contexts)
        token = scores.argmax(-1)
        made.append(token)
    return torch.stack(made, 1)


def beam(net: Any, source: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the best sequence of each row and its log-probability; nothing ends one."""
    B, V = len(source), net.vocabulary
    states, contexts = net.encode(source)
    states = tuple(s.repeat_interleave(width, 0) for s in states)
    contexts = tuple(c.repeat_interleave(width, 0) for c in contexts)
    sums = torch.full((B, width), -torch.inf)
    sums[:, 0] = 0
    token = torch.ones(B * width, dtype=torch.long)
    first = torch.arange(B).unsqueeze(1) * width
    made = torch.empty(B, width, 0, dtype=torch.long)
    for _ in range(TOKENS):
        scores, states = net.step(token, states, contexts)
        total = sums.unsqueeze(-1) + scores.log_softmax(-1).view(B, width, V)
        sums, chosen = total.view(B, -1).topk(width)
        parent, token = chosen // V, chosen % V
        rows = (first + parent).view(-1)
        states = tuple(s.index_select(0, rows) for s in states)
        made = torch.cat([made.gather(1, parent.unsqueeze(-1).expand(-1, -1, made.shape[2])),
                          token.unsqueeze(-1)], -1)  # fmt: skip
        token = token.view(-1)
    return made[:, 0], sums[:, 0]


# ---- Side by side --------------------------------------------------------------------------------


class Row(NamedTuple):
    name: str
    batch: int
    width: int
    ours: float  # us a token and row
    torchs: float


def measure(name: str, batch: int, width: int, threads: int, seconds: float) -> Row:
    torch.manual_seed(0)
    net = NETWORKS[name]().eval()
    with torch.no_grad():
        net.head.weight *= 4  # scores that differ, as a trained network's do
    model = net.seqcore().with_options(threads=threads)
    source = torch.randint(0, net.vocabulary, (batch, SOURCE))
    given = (source.numpy(),) if isinstance(model, sc.Seq2Seq) else ()
    rows = {} if given else {"batch": batch}
    ours: Callable[[], Any]
    if width == 1:
        ours, theirs = lambda: model.greedy(*given, **rows), lambda: greedy(net, source)
    else:
        ours = lambda: model.beam(*given, width=width, **rows)  # noqa: E731
        theirs = lambda: beam(net, source, width)  # type: ignore[assignment]  # noqa: E731
    with torch.inference_mode():
        check(ours(), theirs(), width)
        ours_us, torchs_us = median_us([ours, theirs], seconds)
    return Row(name, batch, width, ours_us / (batch * TOKENS), torchs_us / (batch * TOKENS))


def check(found: sc.Decoded, expected: Any, width: int) -> None:
    """Equal tokens; of a search, equally good sequences where two are as good."""
    if width == 1:
        np.testing.assert_array_equal(found.ids, expected.numpy())
        return
    np.testing.assert_allclose(found.scores, expected[1].numpy(), rtol=TOLERANCE, strict=False)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NETWORKS)}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each measurement")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"us a token and row, {options.threads} thread(s), {TOKENS} tokens, source {SOURCE}")
    print(
        "| network | search | batch | seqcore | torch | x |\n"
        "| --- | --- | ---: | ---: | ---: | ---: |"
    )
    for name in options.names or NETWORKS:
        for width in (1, 5):
            for batch in (1, 32):
                row = measure(name, batch, width, options.threads, options.seconds)
                search = "greedy" if width == 1 else f"beam {width}"
                print(
                    f"| {name} | {search} | {batch} | {row.ours:.2f} | {row.torchs:.1f} | "
                    f"{row.torchs / row.ours:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
