"""Where may a word be divided? A bidirectional GRU scores letters, a CRF chooses the whole row.

    python examples/hyphenate.py recurrent bidirectional photosynthesis
    python examples/hyphenate.py --check

Many to many, of equal lengths: each letter gets a tag, hyphen before it or none. Words of any
lengths go through the network in one call. The CRF knows which tags follow each other, and finds
the best row of tags by Viterbi's algorithm; --check also tells what it is worth.
tests/golden/train_hyphens.py trained both in PyTorch, which need not be here, on the hyphens of
TeX's American patterns.

    model.save("hyphens.safetensors")       # all of it in one file, its letters too: --save
    model = sc.load("hyphens.safetensors")  # --model
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from model_files import kept_by
from numpy.typing import NDArray
from trained_here import ALONE, arguments_of, ratio, share, torch_script, trained

import seqcore as sc
from seqcore.layers import ArgMax

WORDS = ["recurrent", "bidirectional", "network", "photosynthesis", "understanding", "cat"]


def network(w: Mapping[str, NDArray[Any]]) -> list[sc.Layer]:
    """Make the layers of letters (B, T) -> scores of both tags (B, T, 2)."""
    return [
        sc.Embedding.from_torch(w, "embedding"),
        sc.GRU.from_torch(w, "gru"),  # two layers, both of them in both directions
        sc.Dense.from_torch(w, "output"),
    ]


def load(crf: bool = True) -> sc.Model:
    """Build the model: letters (B, T) -> tags (B, T); without the CRF each letter's likeliest."""
    w, facts = trained("hyphens")
    letters = sc.sequence.Vocabulary(
        facts["tokens"], padding="<pad>", split="characters", lower=True
    )
    model = sc.Sequential([*network(w), sc.CRF.from_torch(w, "crf") if crf else ArgMax(-1)])
    return model.with_assets(letters=letters, tags=["", "-"])  # what stands before a letter


def hyphenate(model: sc.Model, words: Sequence[str]) -> list[str]:
    """Return the words with their hyphens; all of them are one call."""
    letters, tags = kept_by(model, "letters", "tags")
    ids, lengths = letters.encode_batch(words)
    chosen = model(ids, lengths=lengths)
    return [
        "".join(tags[tag] + letter for tag, letter in zip(row, word, strict=False))
        for row, word in zip(chosen, words, strict=True)  # behind a word's end its row goes on
    ]


def places(word: str) -> set[int]:
    """Return how many letters stand before each hyphen."""
    return set(np.cumsum([len(part) for part in word.split("-")[:-1]]).tolist())


def f1(found: Sequence[str], right: Sequence[str]) -> float:
    """Return the harmonic mean of precision and recall, of single hyphens."""
    pairs = [(places(a), places(b)) for a, b in zip(found, right, strict=True)]
    all_of_both = sum(len(a) + len(b) for a, b in pairs)
    return 2 * sum(len(a & b) for a, b in pairs) / all_of_both


def check(model: sc.Model) -> None:
    """Print accuracies on held-out words, and torch's answers and speed beside it."""
    words, right = zip(*trained("hyphens")[1]["held_out"], strict=True)
    model = model.with_options(threads=1)
    found = hyphenate(model, words)
    print(f"{len(words):,} words that the training never saw, nor any of the same first letters:")
    print(f"{'':<28}{'all hyphens right':>18}{'F1 of hyphens':>16}")
    for title, answers in (
        ("  GRU and CRF", found),
        ("  GRU, each letter by itself", hyphenate(load(crf=False), words)),
        ("  never a hyphen", words),
    ):
        print(f"{title:<28}{share(answers, right):18.2%}{f1(answers, right):16.4f}")
    script = torch_script("hyphens")
    if script is None:
        print("torch is not installed: there is nothing to compare with")
        return
    theirs, ours = partial(script.hyphenate, script.trained()), partial(hyphenate, model)
    same = sum(a == b for a, b in zip(found, theirs(words), strict=True))
    print(f"torch's module: {same:,} of {len(words):,} answers are the same; on one thread")
    alone = [words[i : i + 1] for i in range(ALONE)]
    ratio(
        "  one word at a time", ALONE, lambda: [theirs(word) for word in alone],
        lambda: [ours(word) for word in alone],
    )  # fmt: skip
    ratio("  all words at once, each", len(words), lambda: theirs(words), lambda: ours(words))


def main(arguments: Sequence[str]) -> None:
    """Print each word with hyphens where it may be divided."""
    given = arguments_of(__doc__, "words", "photosynthesis").parse_args(arguments)
    model = sc.load(given.model) if given.model else load()
    if given.save:
        model.save(given.save)
    if given.check:
        check(model)
        return
    for word in hyphenate(model, given.words or WORDS):
        print(word)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, sc.SeqcoreError) as error:
        sys.exit(f"hyphenate: {error}")
