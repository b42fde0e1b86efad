"""Trains trained_hyphens.*: where a word may be divided. Many to many, of equal lengths.

A bidirectional GRU of two layers scores each letter, with a hyphen before it and without; a
linear-chain CRF knows which tags follow each other, so that the best row of tags is chosen as a
whole (Lafferty, McCallum and Pereira, 2001; Huang, Xu and Yu, 2015). Its parameters are named as in
the package pytorch-crf, which is not needed.

Words are those of Debian's wamerican (SCOWL, free for any use with its notice), hyphens those of
pyphen's American patterns (Liang's of TeX, as LibreOffice has them: BSD-style). Neither is copied
but for 1,000 held-out words with their hyphens, in trained_hyphens.json. Words that begin with the
same five letters are on one side: no held-out word has a sister in training.

    apt-get install wamerican=2020.12.07-2; pip install pyphen==0.18.1
    python tests/golden/train_hyphens.py /usr/share/dict/american-english
"""

from __future__ import annotations

import re
import sys
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from training import begin, load, save, train

# ---- The data -----------------------------------------------------------------------------------

LETTERS = ["<pad>", *"abcdefghijklmnopqrstuvwxyz"]
TAGS = ["", "-"]  # what stands before a letter
BATCH = 128
KEPT = 1000  # held-out words that the file has


def hyphenated(path: Path) -> list[str]:
    """Return the plain words of a list, of 4 to 20 letters, with hyphens where they divide."""
    from pyphen import Pyphen

    patterns = Pyphen(lang="en_US", left=2, right=3)  # the ends that the patterns are made for
    words = path.read_text(encoding="utf-8").split()
    return [patterns.inserted(word) for word in words if re.fullmatch("[a-z]{4,20}", word)]


def held_out(word: str) -> bool:
    """Tell whether a word is never trained on: a tenth of all beginnings, by a hash."""
    return zlib.crc32(word.replace("-", "")[:5].encode()) % 10 == 0


def letters_of(word: str) -> list[int]:
    """Return the ids of the letters (T,)."""
    return [LETTERS.index(letter) for letter in word.replace("-", "")]


def tags_of(word: str) -> list[int]:
    """Return 1 for each letter behind a hyphen, else 0 (T,)."""
    parts = enumerate(word.split("-"))
    return [int(part > 0 and place == 0) for part, text in parts for place in range(len(text))]


def divided(word: str, tags: Iterable[int]) -> str:
    """Return a word with hyphens where its tags put them."""
    return "".join(TAGS[tag] + letter for tag, letter in zip(tags, word, strict=True))


def by_length(words: Iterable[str]) -> dict[int, list[int]]:
    """Return the places of the words of each length: batches need no padding then."""
    places = defaultdict(list)
    for place, word in enumerate(words):
        places[len(word.replace("-", ""))].append(place)
    return places


# ---- The model ----------------------------------------------------------------------------------


class CRF(nn.Module):
    """A linear-chain CRF over scores (B, T, K) of rows of one length."""

    def __init__(self, tags: int) -> None:
        super().__init__()
        self.start_transitions = nn.Parameter(torch.zeros(tags))
        self.end_transitions = nn.Parameter(torch.zeros(tags))
        self.transitions = nn.Parameter(torch.zeros(tags, tags))  # from row to column

    def forward(self, scores: Tensor, tags: Tensor) -> Tensor:
        """Return the mean negative log-likelihood of tags (B, T), over rows."""
        row = self.start_transitions[tags[:, 0]] + self.end_transitions[tags[:, -1]]
        row = row + scores.gather(2, tags[..., None]).sum((1, 2))
        row = row + self.transitions[tags[:, :-1], tags[:, 1:]].sum(1)
        # log of the sum over all rows of tags so far, by the last of them
        every = self.start_transitions + scores[:, 0]
        for frame in scores[:, 1:].unbind(1):
            every = (every[:, :, None] + self.transitions).logsumexp(1) + frame
        return ((every + self.end_transitions).logsumexp(1) - row).mean()

    def decode(self, scores: Tensor) -> Tensor:
        """Return the best tags (B, T), by Viterbi's algorithm."""
        best, came_from = self.start_transitions + scores[:, 0], []
        for frame in scores[:, 1:].unbind(1):
            best, chosen = (best[:, :, None] + self.transitions).max(1)
            best = best + frame
            came_from.append(chosen)
        tags = [(best + self.end_transitions).argmax(1)]
        for chosen in reversed(came_from):
            tags.append(chosen.gather(1, tags[-1][:, None])[:, 0])
        return torch.stack(tags[::-1], 1)


class Hyphens(nn.Module):
    """Letters (B, T), lengths (B,) or whole rows -> scores of the tags (B, T, 2); the CRF apart."""

    def __init__(self, embedded: int = 24, units: int = 64, dropout: float = 0.3) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(LETTERS), embedded, padding_idx=0)
        self.gru = nn.GRU(
            embedded, units, num_layers=2, dropout=dropout, batch_first=True, bidirectional=True
        )
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(2 * units, len(TAGS))
        self.crf = CRF(len(TAGS))

    def forward(self, ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = self.dropout(self.embedding(ids))
        if lengths is None:
            y, _ = self.gru(x)
        else:
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            y, _ = pad_packed_sequence(
                self.gru(packed)[0], batch_first=True, total_length=ids.shape[1]
            )
        return self.output(self.dropout(y))


def trained() -> Hyphens:
    """Return the module with the weights of trained_hyphens.safetensors."""
    return load(Hyphens(), "hyphens")


@torch.no_grad()
def hyphenate(module: Hyphens, words: Sequence[str], crf: bool = True) -> list[str]:
    """Return words with hyphens; without the CRF each letter's own best tag decides."""
    answers = list(words)
    for places in by_length(words).values():
        scores = module(torch.tensor([letters_of(words[place]) for place in places]))
        tags = module.crf.decode(scores) if crf else scores.argmax(-1)
        for place, row in zip(places, tags.tolist(), strict=True):
            answers[place] = divided(words[place], row)
    return answers


# ---- What it is worth ---------------------------------------------------------------------------


def exact(answers: Sequence[str], truth: Sequence[str]) -> float:
    """Return the part of the words in which every hyphen is right."""
    return float(np.mean([a == b for a, b in zip(answers, truth, strict=True)]))


def f1(answers: Sequence[str], truth: Sequence[str]) -> float:
    """Return the harmonic mean of precision and recall of hyphens."""
    pairs = [(tags_of(a), tags_of(b)) for a, b in zip(answers, truth, strict=True)]
    found, true = (np.concatenate(rows) for rows in zip(*pairs, strict=True))
    return float(2 * (found & true).sum() / (found.sum() + true.sum()))


# ---- Training -----------------------------------------------------------------------------------


def batches(words: Sequence[str], rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Draw letters and tags (B, T) for ever; lengths and words as often as there are words."""
    of_length = {
        length: [torch.tensor([make(words[i]) for i in places]) for make in (letters_of, tags_of)]
        for length, places in by_length(words).items()
    }
    lengths = list(of_length)
    shares = np.array([len(of_length[length][0]) for length in lengths]) / len(words)
    while True:
        ids, tags = of_length[int(rng.choice(lengths, p=shares))]
        rows = torch.from_numpy(rng.integers(0, len(ids), BATCH))
        yield ids[rows], tags[rows]


def main(path: Path) -> None:
    rng = begin(7)
    words = hyphenated(path)
    known = [word for word in words if not held_out(word)]
    truth = [word for word in words if held_out(word)]
    module = Hyphens()
    drawn = batches(known, rng)

    def loss_of() -> Tensor:
        ids, tags = next(drawn)
        return module.crf(module(ids), tags)

    print(f"{len(known)} words to train on, {len(truth)} held out")
    seconds = train(module, loss_of, steps=8000, rate=8e-3, decay=0.01)
    plain = [word.replace("-", "") for word in truth]
    answers, alone = hyphenate(module, plain), hyphenate(module, plain, crf=False)
    facts = {
        "exact": exact(answers, truth), "baseline": exact(plain, truth),
        "exact_without_crf": exact(alone, truth),
        "f1": f1(answers, truth), "f1_without_crf": f1(alone, truth),
    }  # fmt: skip
    print(f"after {seconds:.0f} s of one core; held-out words in which every hyphen is right:")
    print(f"{facts['exact']:.2%}, {facts['exact_without_crf']:.2%} if each letter's tag is chosen")
    print(f"alone, {facts['baseline']:.2%} if no word is divided;")
    print(f"F1 of hyphens {facts['f1']:.4f} and {facts['f1_without_crf']:.4f}")
    kept = sorted(rng.choice(len(truth), KEPT, replace=False))
    facts["tokens"] = LETTERS
    facts["held_out"] = [[plain[place], truth[place]] for place in kept]
    save(module, "hyphens", facts)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
