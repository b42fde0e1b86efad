"""Whole PyTorch modules, imported by from_torch, beside PyTorch itself: what a user gets.

    python bench/modules.py [--threads N] [--seconds S] [name ...]

Each module is exported once and compared with torch on the input that is then timed. Turns
alternate, so that a drift of the machine meets both; threads are pinned alike. Medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import seqcore as sc

TOLERANCE = 2e-5
TURNS = 5


class Tagger(nn.Module):
    """Embedding, a BiLSTM over packed rows, Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5000, 64)
        self.lstm = nn.LSTM(64, 128, bidirectional=True, batch_first=True)
        self.head = nn.Linear(256, 20)

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        x = pack_padded_sequence(self.embed(ids), lengths, True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.lstm(x)[0], True, total_length=ids.size(1))
        return self.head(y)


class Frames(nn.Module):
    """Convolutions and pooling, a BiGRU, Linear: a reader of sounds or lines of text."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Sequential(
            nn.Conv1d(40, 64, 5, padding=2), nn.BatchNorm1d(64), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(64, 64, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2),
        )  # fmt: skip
        self.gru = nn.GRU(64, 128, bidirectional=True, batch_first=True)
        self.head = nn.Linear(256, 30)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.front(x.transpose(1, 2)).transpose(1, 2)
        return self.head(self.gru(y)[0]).log_softmax(-1)


class Attending(nn.Module):
    """A BiGRU read by a GRUCell with additive attention, step by step."""

    def __init__(self, steps: int = 20) -> None:
        super().__init__()
        self.embed, self.steps = nn.Embedding(60, 64), steps
        self.encoder = nn.GRU(64, 64, bidirectional=True, batch_first=True)
        self.query, self.key = nn.Linear(128, 64), nn.Linear(128, 64)
        self.score, self.cell = nn.Linear(64, 1, bias=False), nn.GRUCell(64 + 128, 128)
        self.head = nn.Linear(256, 60)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        encoded, h = self.encoder(self.embed(source))
        h, keys, inputs = torch.cat([h[0], h[1]], -1), self.key(encoded), self.embed(target)
        outputs = []
        for t in range(self.steps):
            scores = self.score(torch.tanh(self.query(h).unsqueeze(1) + keys)).squeeze(-1)
            weights = scores.masked_fill(source == 0, -1e9).softmax(-1)
            context = torch.bmm(weights.unsqueeze(1), encoded).squeeze(1)
            h = self.cell(torch.cat([inputs[:, t], context], -1), h)
            outputs.append(self.head(torch.cat([h, context], -1)))
        return torch.stack(outputs, 1)


class Mixed(nn.Module):
    """An LSTM under a layer of a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(64, 64, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.lstm(x)[0]).mean(1)


class Projected(nn.Module):
    """A stacked LSTM with projections, time first."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(80, 256, 2, proj_size=64)
        self.head = nn.Linear(64, 40)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.log_softmax(self.head(self.lstm(x)[0]), -1)


def features(*shape: int) -> torch.Tensor:
    return torch.randn(*shape)


def ids(below: int, *shape: int) -> torch.Tensor:
    return torch.randint(1, below, shape)


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[int], tuple[torch.Tensor, ...]]]] = {
    "tagger": (Tagger, lambda b: (ids(5000, b, 50), torch.randint(10, 51, (b,)))),
    "frames": (Frames, lambda b: (features(b, 200, 40),)),
    "attending": (Attending, lambda b: (ids(60, b, 30), ids(60, b, 20))),
    "mixed": (Mixed, lambda b: (features(b, 50, 64),)),
    "projected": (Projected, lambda b: (features(100, b, 80),)),
}


def median_us(calls: list[Callable[[], Any]], seconds: float) -> list[float]:
    """Return the median time of each call, in turns."""
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(TURNS):
        for call, taken in zip(calls, times, strict=True):
            end = time.perf_counter() + seconds / TURNS
            while time.perf_counter() < end:
                begin = time.perf_counter()
                call()
                taken.append(time.perf_counter() - begin)
    return [1e6 * statistics.median(taken) for taken in times]


def measure(name: str, batch: int, threads: int, seconds: float) -> str:
    torch.manual_seed(0)
    make, inputs = CASES[name]
    module, given = make().eval(), inputs(batch)
    model = sc.from_torch(module, given).with_options(threads=threads)
    arrays = [tensor.numpy() for tensor in given]
    with torch.inference_mode():
        expected = module(*given).numpy()
        np.testing.assert_allclose(model(*arrays), expected, rtol=0, atol=TOLERANCE, strict=True)
        ours, torchs = median_us([lambda: model(*arrays), lambda: module(*given)], seconds)
    return f"| {name} | {batch} | {threads} | {ours:,.0f} | {torchs:,.0f} | {torchs / ours:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(CASES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each call")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sc.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {sc.cpu_info()['isa']}; microseconds, medians\n")
    print("| module | batch | threads | seqcore | torch | x torch |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in options.names or CASES:
        for batch in (1, 32):
            print(measure(name, batch, options.threads, options.seconds), flush=True)


if __name__ == "__main__":
    main()
