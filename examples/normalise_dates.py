"""Which day is meant? Dates as people write them become ISO dates, character by character.

    python examples/normalise_dates.py "3 May 1979" "the 27th of January, 2052"
    python examples/normalise_dates.py "Sat, 5 Oct 1996" --picture attention.png
    python examples/normalise_dates.py --check

Many to many, of unequal lengths. A bidirectional LSTM reads the letters. An LSTM cell writes the
date, and before each character it looks at what was read, by the additive attention of Bahdanau,
Cho and Bengio; the picture shows where. It knows the years 1900 to 2099 and reads 5/10 as Americans
do. tests/golden/train_dates.py trained it in PyTorch, which need not be here.

    model.save("dates.safetensors")                # all of it in one file, vocabularies too: --save
    model = sc.Seq2Seq.load("dates.safetensors")   # --model
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from model_files import kept_by
from numpy.typing import NDArray
from trained_here import arguments_of, heat_maps, opened, report, torch_script, trained

import seqcore as sc

DATES = ["3 May 1979", "the 27th of January, 2052", "10/5/96", "20240229"]
LONGEST = 12  # characters of an answer


def networks(w: dict[str, NDArray[Any]]) -> tuple[sc.Model, sc.Model]:
    """Build what reads and what writes: of letters (B, T), and of one character at a time (B,)."""
    letters = sc.Input((None,), dtype="int64", name="letters")
    x = sc.Embedding.from_torch(w, "encoder.embedding")(letters)
    lstm = sc.LSTM.from_torch(w, "encoder.lstm", return_state=True, name="read")
    read, last, _, first, _ = lstm(x)  # h and c of both directions
    bridge = sc.Dense.from_torch(w, "encoder.bridge", activation="tanh", name="bridge")
    encoder = sc.Model(letters, [read, bridge(sc.Concatenate()(last, first))])

    token = sc.Input((), dtype="int64", name="token")
    h, c = sc.Input((64,), name="h"), sc.Input((64,), name="c")
    memory = sc.Input((None, 96), name="memory")
    attention = sc.BahdanauAttention(
        w["decoder.attention.W_query.weight"].T, w["decoder.attention.W_memory.weight"].T,
        w["decoder.attention.v.weight"].T, return_attention_scores=True, name="look",
    )  # fmt: skip
    context, weights = attention(h, memory)
    x = sc.Concatenate()(sc.Embedding.from_torch(w, "decoder.embedding")(token), context)
    y, new_h, new_c = sc.LSTMCell.from_torch(w, "decoder.cell", name="cell")(x, [h, c])
    scores = sc.Dense.from_torch(w, "decoder.output")(y)
    return encoder, sc.Model([token, h, c, memory], [scores, new_h, new_c, weights])


def load() -> sc.Seq2Seq:
    """Wire the networks; the cell begins where the reading ended, and carries its state on."""
    weights, facts = trained("dates")
    letters = sc.sequence.Vocabulary(
        facts["letters"], padding="<pad>", unknown=" ", split="characters", lower=True
    )
    characters = sc.sequence.Vocabulary(
        facts["tokens"], padding="<pad>", begin="<start>", end="<end>", split="characters"
    )
    model = sc.Seq2Seq(
        *networks(weights), connect={"memory": "read", "h": "bridge"},
        carry={"h": "cell:h", "c": "cell:c"}, start=characters["<start>"], end=characters["<end>"],
        max_length=LONGEST,
    )  # fmt: skip
    return model.with_assets(letters=letters, characters=characters)


def decode(model: sc.Seq2Seq, texts: Sequence[str], width: int = 1, **options: Any) -> sc.Decoded:
    """Decode all texts in one call, by a beam search; of width 1 it is greedy."""
    (letters,) = kept_by(model, "letters")
    ids, lengths = letters.encode_batch(texts)
    return model.beam(ids, lengths=lengths, width=width, **options)


def dates(model: sc.Seq2Seq, made: sc.Decoded) -> list[str]:
    """Return what was decoded, as text."""
    (characters,) = kept_by(model, "characters")
    return characters.decode_batch(made.ids, stop_at_end=True)


def normalise(model: sc.Seq2Seq, texts: Sequence[str], width: int = 1) -> list[str]:
    """Return the ISO date of each text."""
    return dates(model, decode(model, texts, width))


def picture(model: sc.Seq2Seq, texts: Sequence[str]) -> Any:
    """Draw where each character of the answers looked; a figure of matplotlib."""
    made = decode(model, texts, extras=True)
    titles = [f"{text} → {date}" for text, date in zip(texts, dates(model, made), strict=True)]
    return heat_maps(made, model.assets["characters"], [text.lower() for text in texts], titles)


def check(model: sc.Seq2Seq) -> None:
    """Print accuracies on held-out dates, and torch's answers and speed beside it."""
    texts, right = zip(*trained("dates")[1]["held_out"], strict=True)
    script = torch_script("dates")
    theirs = script and partial(script.normalise, script.trained())
    report(texts, right, partial(normalise, model.with_options(threads=1)), theirs)


def main(arguments: Sequence[str]) -> None:
    """Print each date, and how sure the model is that it is that one."""
    parser = arguments_of(__doc__, "dates", '"3 May 1979"')
    parser.add_argument("--picture", metavar="FILE", help="draw where it looked, as .png, .svg ...")
    given = parser.parse_args(arguments)
    model = opened(given, sc.Seq2Seq, load)
    if given.check:
        check(model)
        return
    texts = given.dates or DATES
    made = decode(model, texts)
    for text, date, score in zip(texts, dates(model, made), made.scores, strict=True):
        print(f"{text:<30} {date:<12} {np.exp(score):7.2%}")
    if given.picture:
        picture(model, texts).savefig(given.picture)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, sc.SeqcoreError) as error:
        sys.exit(f"normalise_dates: {error}")
