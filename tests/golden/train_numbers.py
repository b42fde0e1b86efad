"""Trains trained_numbers.*: 342,017 -> three hundred and forty-two thousand and seventeen.

A bidirectional GRU reads the digits; its last states, joined, are where a second GRU begins, which
writes the words. Its
attention is multiplicative with a matrix (`general`) and is joined after the cell; what comes of
that, the attentional vector, goes back into the cell with the next token (input feeding). Luong,
Pham and Manning, 2015. Digits -> words: sequences of unequal lengths over unequal alphabets.

    python tests/golden/train_numbers.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from training import END, PAD, START, begin, greedy, load, padded, save, train

# ---- The data -----------------------------------------------------------------------------------

LETTERS = ["<pad>", ",", *"0123456789"]
UNITS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
    fifteen sixteen seventeen eighteen nineteen""".split()  # noqa: SIM905
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
WORDS = ["<pad>", "<start>", "<end>", "and", "hundred", "thousand", "million", *UNITS, *TENS]
MAX_LENGTH = 24
MOST_DIGITS = 9


def below_thousand(number: int) -> list[str]:
    """Return the words of 1 to 999."""
    hundreds, rest = divmod(number, 100)
    words = [UNITS[hundreds], "hundred"] if hundreds else []
    if hundreds and rest:
        words.append("and")
    if rest >= 20:
        words.append(TENS[rest // 10 - 2])
        rest %= 10
    return words + ([UNITS[rest]] if rest else [])


def words_of(number: int) -> list[str]:
    """Return the words of 0 to 999,999,999: those of each three digits, and their place."""
    words = []
    for place, name in ((1_000_000, ["million"]), (1000, ["thousand"]), (1, [])):
        part = number // place % 1000
        if part:
            joined = ["and"] if words and place == 1 and part < 100 else []
            words += joined + below_thousand(part) + name
    return words or ["zero"]


def sentence(words: Iterable[str]) -> str:
    """Join words as they are printed: forty-two, not forty two."""
    text, last = "", ""
    for word in words:
        joint = "-" if last in TENS and word in UNITS[1:10] else " "
        text, last = text + joint + word, word
    return text[1:]


def examples(count: int, rng: np.random.Generator) -> list[tuple[str, int]]:
    """Return `count` numbers as they are written, with and without commas, and as they are.

    The count of digits is drawn first, so that short numbers are not rare; zeros are as common
    as they are in numbers that people write.
    """
    numbers = []
    for length in rng.integers(1, MOST_DIGITS + 1, count):
        digits = rng.integers(0, 10, length) * (rng.random(length) > rng.choice([0.0, 0.5]))
        number = int("".join(map(str, digits)))
        numbers.append((f"{number:,}" if rng.random() < 0.5 else str(number), number))
    return numbers


def held_out(number: int) -> bool:
    """Tell whether a number is never trained on: every tenth one above 99, by a hash."""
    return number > 99 and number * 2654435761 % 2**32 < 2**32 // 10


def letters_of(text: str) -> list[int]:
    """Return the ids of digits and commas."""
    return [LETTERS.index(c) for c in text]


# ---- The model ----------------------------------------------------------------------------------


class Encoder(nn.Module):
    """Letters (B, T), lengths (B,) -> memory (B, T, 2 H), the last states of both ways (B, 2 H)."""

    def __init__(self, letters: int, embedded: int, units: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(letters, embedded, padding_idx=PAD)
        self.gru = nn.GRU(embedded, units, batch_first=True, bidirectional=True)

    def forward(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = pack_padded_sequence(
            self.embedding(ids), lengths, batch_first=True, enforce_sorted=False
        )
        y, h = self.gru(x)
        memory, _ = pad_packed_sequence(y, batch_first=True, total_length=ids.shape[1])
        return memory, torch.cat([h[0], h[1]], -1)


class LuongAttention(nn.Module):
    """Query (B, H), memory (B, T, M), mask (B, T) -> context (B, M), weights (B, T)."""

    def __init__(self, query: int, memory: int) -> None:
        super().__init__()
        self.W = nn.Linear(memory, query, bias=False)

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        scores = (self.W(memory) @ query[..., None])[..., 0].masked_fill(~mask, -torch.inf)
        weights = scores.softmax(-1)
        return (weights[:, None] @ memory)[:, 0], weights


class Decoder(nn.Module):
    """One token of each row and what the step before left, to scores of the next token.

    `attentional` (B, A) is tanh(W [context; h]), from which the scores are made.
    """

    def __init__(self, tokens: int, embedded: int, units: int, memory: int, joined: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, embedded, padding_idx=PAD)
        self.cell = nn.GRUCell(embedded + joined, units)
        self.attention = LuongAttention(units, memory)
        self.join = nn.Linear(memory + units, joined, bias=False)
        self.output = nn.Linear(joined, tokens)

    def forward(
        self, token: Tensor, h: Tensor, attentional: Tensor, memory: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        h = self.cell(torch.cat([self.embedding(token), attentional], -1), h)
        context, weights = self.attention(h, memory, mask)
        attentional = torch.tanh(self.join(torch.cat([context, h], -1)))
        return self.output(attentional), h, attentional, weights


class Numbers(nn.Module):
    """The logits (B, S, V) of all words when each is told the right one before it (B, S)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder(len(LETTERS), embedded=16, units=48)
        self.decoder = Decoder(len(WORDS), embedded=32, units=96, memory=96, joined=64)
        self.joined = 64

    def begin(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return h, attentional, memory and mask, as Decoder wants them."""
        memory, h = self.encoder(ids, lengths)
        mask = torch.arange(ids.shape[1]) < lengths[:, None]
        return h, h.new_zeros(len(h), self.joined), memory, mask

    def forward(self, ids: Tensor, lengths: Tensor, said: Tensor) -> Tensor:
        h, attentional, memory, mask = self.begin(ids, lengths)
        logits = []
        for token in said.unbind(1):
            scores, h, attentional, _ = self.decoder(token, h, attentional, memory, mask)
            logits.append(scores)
        return torch.stack(logits, 1)


def trained() -> Numbers:
    """Return the module with the weights of trained_numbers.safetensors."""
    return load(Numbers(), "numbers")


@torch.no_grad()
def spell(module: Numbers, texts: Sequence[str]) -> list[str]:
    """Return the words of numbers, as the module says, greedily."""
    h, attentional, memory, mask = module.begin(*padded([letters_of(text) for text in texts]))

    def step(token: Tensor) -> Tensor:
        nonlocal h, attentional
        scores, h, attentional, _ = module.decoder(token, h, attentional, memory, mask)
        return scores

    return [sentence(WORDS[i] for i in row) for row in greedy(step, len(texts), MAX_LENGTH)]


# ---- Training -----------------------------------------------------------------------------------


def main() -> None:
    rng = begin(7)
    module = Numbers()

    def loss_of() -> Tensor:
        pairs = [pair for pair in examples(150, rng) if not held_out(pair[1])]
        ids, lengths = padded([letters_of(text) for text, _ in pairs])
        said, _ = padded([[START, *map(WORDS.index, words_of(n)), END] for _, n in pairs])
        logits = module(ids, lengths, said[:, :-1])
        return nn.functional.cross_entropy(
            logits.flatten(0, 1), said[:, 1:].flatten(), ignore_index=PAD
        )

    seconds = train(module, loss_of, steps=3000, rate=5e-3)
    print(f"after {seconds:.0f} s of one core:")
    pairs = [(text, words_of(n)) for text, n in examples(30_000, rng) if held_out(n)][:1000]
    right = [sentence(words) for _, words in pairs]
    said = spell(module, [text for text, _ in pairs])
    accuracy = np.mean([a == b for a, b in zip(said, right, strict=True)])
    others = [n for _, n in examples(50_000, rng) if not held_out(n)]
    sentences = Counter(sentence(words_of(n)) for n in others).most_common(1)
    commonest, _ = Counter(word for n in others for word in words_of(n)).most_common(1)[0]
    baseline = np.mean([text == sentences[0][0] for text in right])
    words = [word for _, words in pairs for word in words]
    print(f"{accuracy:.2%} of {len(pairs)} held-out numbers are right")
    print(f"{baseline:.2%} if the answer is always {sentences[0][0]}; {commonest} alone is "
          f"{np.mean([word == commonest for word in words]):.2%} of their words")  # fmt: skip
    facts = {
        "accuracy": float(accuracy), "baseline": float(baseline), "letters": LETTERS,
        "tokens": WORDS, "held_out": [[text, r] for (text, _), r in zip(pairs, right, strict=True)],
    }  # fmt: skip
    save(module, "numbers", facts)


if __name__ == "__main__":
    main()
