"""Trains trained_dates.*: dates as people write them -> 1979-05-03, letter by letter.

A bidirectional LSTM reads the text, an LSTM cell with additive attention writes the date; context
and embedding of the last token are joined before the cell (Bahdanau, Cho and Bengio, 2014). No
held-out day occurs in training, in whatever way it is written.

    python tests/golden/train_dates.py
"""

from __future__ import annotations

import datetime
from collections import Counter

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from training import END, PAD, START, begin, greedy, load, padded, save, train

# ---- The data -----------------------------------------------------------------------------------

LETTERS = ["<pad>", *" '+,-./", *"0123456789", *"abcdefghijklmnopqrstuvwxyz"]
DIGITS = ["<pad>", "<start>", "<end>", *"0123456789", "-"]
MAX_LENGTH = 12

MONTHS = [
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
]  # fmt: skip
WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]

# Between slashes the month is first, between dots the day. Years of two digits are those of POSIX.
FORMATS = [
    "{d} {month} {yyyy}", "{d} {mon} {yyyy}", "{d} {mon} {yy}", "{d} {month} {yy}",
    "{dd} {mon} {yyyy}", "{d} {month}, {yyyy}", "{month} {d}, {yyyy}", "{mon} {d}, {yyyy}",
    "{month} {d} {yyyy}", "{mon} {d} {yyyy}", "{mon} {d} {yy}", "{mon}. {d}, {yyyy}",
    "{month} {nth}, {yyyy}", "{month} {nth} {yyyy}", "{nth} {month} {yyyy}",
    "{nth} of {month} {yyyy}", "the {nth} of {month}, {yyyy}", "{weekday} {d} {month} {yyyy}",
    "{weekday}, {d} {month} {yyyy}", "{weekday}, {month} {d}, {yyyy}",
    "{weekday} {nth} {month} {yyyy}", "{wd} {d} {mon} {yyyy}", "{wd}, {dd} {mon} {yyyy}",
    "{wd} {mon} {d} {yyyy}", "{wd} {d} {mon} {yy}", "{m}/{d}/{yyyy}", "{mm}/{dd}/{yyyy}",
    "{m}/{d}/{yy}", "{mm}/{dd}/{yy}", "{d}.{m}.{yyyy}", "{dd}.{mm}.{yyyy}", "{d}.{m}.{yy}",
    "{dd}.{mm}.{yy}", "{yyyy}-{mm}-{dd}", "{yyyy}/{mm}/{dd}", "{yyyy} {month} {d}",
    "{yyyy}, {mon} {d}", "{d}-{mon}-{yyyy}", "{dd}-{mon}-{yy}", "{dd}{mon}{yyyy}", "{d}{mon}{yy}",
    "{yyyy}{mm}{dd}", "{mon} {d} '{yy}", "{d} {month} '{yy}",
]  # fmt: skip


def written(day: datetime.date, form: str) -> str:
    """Write a day in a form of FORMATS."""
    teens = 11 <= day.day <= 13
    month, weekday = MONTHS[day.month - 1], WEEKDAYS[day.weekday()]
    ending = "th" if teens else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
    return form.format(
        d=day.day, dd=f"{day.day:02}", nth=f"{day.day}{ending}", m=day.month, mm=f"{day.month:02}",
        month=month, mon=month[:3], weekday=weekday, wd=weekday[:3], yyyy=day.year,
        yy=f"{day.year % 100:02}",
    )  # fmt: skip


def split(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Divide the days from 1900 to 2099, a tenth of them held out; ordinals, in random order."""
    first, last = datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)
    days = rng.permutation(np.arange(first.toordinal(), last.toordinal() + 1))
    held_out = len(days) // 10
    return days[held_out:], days[:held_out]


def examples(days: np.ndarray, count: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Return `count` days drawn with a form each: [("3 may 1979", "1979-05-03"), ...]."""
    pairs = []
    while len(pairs) < count:
        day = datetime.date.fromordinal(int(rng.choice(days)))
        form = FORMATS[rng.integers(len(FORMATS))]
        if "{yy}" not in form or 1969 <= day.year < 2069:
            pairs.append((written(day, form), day.isoformat()))
    return pairs


def letters_of(text: str) -> list[int]:
    """Return the ids of a text in lower case; a character that no date has is a blank."""
    return [LETTERS.index(c) if c in LETTERS else LETTERS.index(" ") for c in text.lower()]


# ---- The model ----------------------------------------------------------------------------------


class Encoder(nn.Module):
    """Letters (B, T), lengths (B,) -> memory (B, T, 2 H), the decoder's first h (B, Q)."""

    def __init__(self, letters: int, embedded: int, units: int, decoder_units: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(letters, embedded, padding_idx=PAD)
        self.lstm = nn.LSTM(embedded, units, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(2 * units, decoder_units)

    def forward(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = pack_padded_sequence(
            self.embedding(ids), lengths, batch_first=True, enforce_sorted=False
        )
        y, (h, _) = self.lstm(x)
        memory, _ = pad_packed_sequence(y, batch_first=True, total_length=ids.shape[1])
        return memory, torch.tanh(self.bridge(torch.cat([h[0], h[1]], -1)))


class BahdanauAttention(nn.Module):
    """Query (B, Q), memory (B, T, M), mask (B, T) -> context (B, M), weights (B, T)."""

    def __init__(self, query: int, memory: int, units: int) -> None:
        super().__init__()
        self.W_query = nn.Linear(query, units, bias=False)
        self.W_memory = nn.Linear(memory, units, bias=False)
        self.v = nn.Linear(units, 1, bias=False)

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.tanh(self.W_query(query)[:, None] + self.W_memory(memory))
        scores = self.v(hidden)[..., 0].masked_fill(~mask, -torch.inf)
        weights = scores.softmax(-1)
        return (weights[:, None] @ memory)[:, 0], weights


class Decoder(nn.Module):
    """One token of each row, and where the cell and its attention were, to scores of the next."""

    def __init__(self, tokens: int, embedded: int, units: int, memory: int, attention: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, embedded, padding_idx=PAD)
        self.attention = BahdanauAttention(units, memory, attention)
        self.cell = nn.LSTMCell(embedded + memory, units)
        self.output = nn.Linear(units, tokens)

    def forward(
        self, token: Tensor, h: Tensor, c: Tensor, memory: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        context, weights = self.attention(h, memory, mask)
        h, c = self.cell(torch.cat([self.embedding(token), context], -1), (h, c))
        return self.output(h), h, c, weights


class Dates(nn.Module):
    """The logits (B, S, V) of all tokens when each is told the right one before it (B, S)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder(len(LETTERS), embedded=32, units=48, decoder_units=64)
        self.decoder = Decoder(len(DIGITS), embedded=16, units=64, memory=96, attention=64)

    def begin(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return h, c, memory and mask, as Decoder wants them."""
        memory, h = self.encoder(ids, lengths)
        mask = torch.arange(ids.shape[1]) < lengths[:, None]
        return h, torch.zeros_like(h), memory, mask

    def forward(self, ids: Tensor, lengths: Tensor, said: Tensor) -> Tensor:
        h, c, memory, mask = self.begin(ids, lengths)
        logits = []
        for token in said.unbind(1):
            scores, h, c, _ = self.decoder(token, h, c, memory, mask)
            logits.append(scores)
        return torch.stack(logits, 1)


def trained() -> Dates:
    """Return the module with the weights of trained_dates.safetensors."""
    return load(Dates(), "dates")


@torch.no_grad()
def normalise(module: Dates, texts: list[str]) -> list[str]:
    """Return the dates that the texts mean, as the module says, greedily."""
    h, c, memory, mask = module.begin(*padded([letters_of(text) for text in texts]))

    def step(token: Tensor) -> Tensor:
        nonlocal h, c
        scores, h, c, _ = module.decoder(token, h, c, memory, mask)
        return scores

    return ["".join(DIGITS[i] for i in row) for row in greedy(step, len(texts), MAX_LENGTH)]


# ---- Training -----------------------------------------------------------------------------------


def main() -> None:
    rng = begin(7)
    days, other_days = split(rng)
    held_out = examples(other_days, 1000, rng)
    module = Dates()

    def loss_of() -> Tensor:
        pairs = examples(days, 128, rng)
        ids, lengths = padded([letters_of(text) for text, _ in pairs])
        said, _ = padded([[START, *map(DIGITS.index, date), END] for _, date in pairs])
        logits = module(ids, lengths, said[:, :-1])
        return nn.functional.cross_entropy(logits.flatten(0, 1), said[:, 1:].flatten())

    seconds = train(module, loss_of, steps=3000, rate=6e-3)
    print(f"after {seconds:.0f} s of one core:")
    texts, dates = zip(*held_out, strict=True)
    accuracy = np.mean([a == b for a, b in zip(normalise(module, list(texts)), dates, strict=True)])
    commonest, _ = Counter(date for _, date in examples(days, 100_000, rng)).most_common(1)[0]
    baseline = np.mean([date == commonest for date in dates])
    print(f"{accuracy:.2%} of {len(dates)} held-out dates are right")
    print(f"{baseline:.2%} if the answer is always {commonest}")
    facts = {
        "accuracy": float(accuracy), "baseline": float(baseline), "letters": LETTERS,
        "tokens": DIGITS, "held_out": held_out,
    }  # fmt: skip
    save(module, "dates", facts)


if __name__ == "__main__":
    main()
