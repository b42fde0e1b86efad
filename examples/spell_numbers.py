"""How is a number said? Digits become English words.

    python examples/spell_numbers.py 342017 1,000,000
    python examples/spell_numbers.py 919,019 --picture attention.png
    python examples/spell_numbers.py --check

Many to many, of unequal lengths. A bidirectional GRU reads the digits; its last states are where a
GRU cell begins, which writes the words. Behind the cell is the attention of Luong, Pham and
Manning ("general": a matrix between what is said and what was read). What comes of both, the
attentional vector, makes the scores, and goes back into the cell with the next word: input feeding.
It was trained on up to nine digits, with commas or without, by tests/golden/train_numbers.py in
PyTorch, which need not be here.

    model.save("numbers.safetensors")               # all of it in one file, its words too: --save
    model = sc.Seq2Seq.load("numbers.safetensors")  # --model
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from model_files import kept_by
from numpy.typing import NDArray
from trained_here import arguments_of, heat_maps, opened, report, torch_script, trained

import seqcore as sc

NUMBERS = ["7", "342017", "1,000,000", "90,060,013"]
DIGITS, LONGEST = 9, 24  # of a number at most; words of an answer


def networks(w: dict[str, NDArray[Any]]) -> tuple[sc.Model, sc.Model]:
    """Build what reads and what writes: of digits (B, T), and of one word at a time (B,)."""
    digits = sc.Input((None,), dtype="int64", name="digits")
    gru = sc.GRU.from_torch(w, "encoder.gru", return_state=True, name="read")
    read, last, first = gru(sc.Embedding.from_torch(w, "encoder.embedding")(digits))
    encoder = sc.Model(digits, [read, sc.Concatenate(name="ends")(last, first)])

    word = sc.Input((), dtype="int64", name="word")
    h, fed = sc.Input((96,), name="h"), sc.Input((64,), name="fed")
    memory = sc.Input((None, 96), name="memory")
    x = sc.Concatenate()(sc.Embedding.from_torch(w, "decoder.embedding")(word), fed)
    y, new_h = sc.GRUCell.from_torch(w, "decoder.cell", name="cell")(x, h)
    attention = sc.LuongAttention(
        w["decoder.attention.W.weight"], score="general", return_attention_scores=True, name="look"
    )
    context, weights = attention(y, memory)
    join = sc.Dense.from_torch(w, "decoder.join", activation="tanh", name="joined")
    joined = join(sc.Concatenate()(context, y))
    scores = sc.Dense.from_torch(w, "decoder.output")(joined)
    return encoder, sc.Model([word, h, fed, memory], [scores, new_h, joined, weights])


def load() -> sc.Seq2Seq:
    """Wire the networks; state and attentional vector are carried from step to step."""
    weights, facts = trained("numbers")
    digits = sc.sequence.Vocabulary(facts["letters"], padding="<pad>", split="characters")
    words = sc.sequence.Vocabulary(facts["tokens"], padding="<pad>", begin="<start>", end="<end>")
    model = sc.Seq2Seq(
        *networks(weights), connect={"memory": "read", "h": "ends"},
        carry={"h": "cell:h", "fed": "joined"}, start=words["<start>"], end=words["<end>"],
        max_length=LONGEST,
    )  # fmt: skip
    return model.with_assets(digits=digits, words=words)


def decode(model: sc.Seq2Seq, numbers: Sequence[str], width: int = 1, **options: Any) -> sc.Decoded:
    """Decode all numbers in one call, by a beam search; of width 1 it is greedy."""
    (digits,) = kept_by(model, "digits")
    ids, lengths = digits.encode_batch(numbers)
    return model.beam(ids, lengths=lengths, width=width, **options)


def said(model: sc.Seq2Seq, made: sc.Decoded) -> list[str]:
    """Return what was decoded as it is printed: forty-two, not forty two."""
    (words,) = kept_by(model, "words")
    hyphen = re.compile(r"ty (?=(one|two|three|four|five|six|seven|eight|nine)\b)")
    texts = words.decode_batch(made.ids, stop_at_end=True)
    return [hyphen.sub("ty-", text) for text in texts]


def spell(model: sc.Seq2Seq, numbers: Sequence[str], width: int = 1) -> list[str]:
    """Return the words of each number."""
    return said(model, decode(model, numbers, width))


def picture(model: sc.Seq2Seq, numbers: Sequence[str]) -> Any:
    """Draw at which digits each word looked; a figure of matplotlib."""
    made = decode(model, numbers, extras=True)
    return heat_maps(made, model.assets["words"], numbers, said(model, made))


def check(model: sc.Seq2Seq) -> None:
    """Print accuracies on held-out numbers, and torch's answers and speed beside it."""
    numbers, right = zip(*trained("numbers")[1]["held_out"], strict=True)
    script = torch_script("numbers")
    theirs = script and partial(script.spell, script.trained())
    report(numbers, right, partial(spell, model.with_options(threads=1)), theirs)


def main(arguments: Sequence[str]) -> None:
    """Print each number in words, and how sure the model is of them."""
    parser = arguments_of(__doc__, "numbers", "342017")
    parser.add_argument("--picture", metavar="FILE", help="draw where it looked, as .png, .svg ...")
    given = parser.parse_args(arguments)
    model = opened(given, sc.Seq2Seq, load)
    if given.check:
        check(model)
        return
    numbers = given.numbers or NUMBERS
    for number in numbers:
        if not 0 < len(number.replace(",", "")) <= DIGITS:
            sys.exit(f"{number!r}: the model has learned numbers of 1 to {DIGITS} digits")
    made = decode(model, numbers)
    for number, words, score in zip(numbers, said(model, made), made.scores, strict=True):
        print(f"{number:>11}  {words}  ({np.exp(score):.2%})")
    if given.picture:
        picture(model, numbers).savefig(given.picture)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, sc.SeqcoreError) as error:
        sys.exit(f"spell_numbers: {error}")
