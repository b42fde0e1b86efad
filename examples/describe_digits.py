"""Which digit is on the image? Its name, letter by letter, from one vector.

    python examples/describe_digits.py 0 3 11
    python examples/describe_digits.py --check

One to many: 64 pixels give the state in which a GRU begins; from there on it sees nothing but the
letters that it has written. The arguments are numbers of images that the training never saw, 0 to
448. Beside each image stand the likeliest names, as a beam search finds them, with their
probabilities. tests/golden/train_captions.py trained it in PyTorch, which need not be here; the
images are the 8 x 8 digits of Alpaydin and Kaynak (UCI, 1998, CC BY 4.0).

    model.save("digits.safetensors")               # all of it in one file, its letters too: --save
    model = sc.Seq2Seq.load("digits.safetensors")  # --model
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from itertools import zip_longest

import numpy as np
from model_files import kept_by
from numpy.typing import ArrayLike, NDArray
from trained_here import arguments_of, opened, report, torch_script, trained

import seqcore as sc

SIDE = 8
LEVELS = "0123456789abcdefg"  # of grey, as the .json writes them: 0 is the paper, g the ink
SHADES = " ..::--==++**##%@"  # as they are shown
LONGEST = 8  # letters of a name


def load() -> sc.Seq2Seq:
    """Build what looks and what writes; the GRU begins as what looks puts out."""
    w, facts = trained("captions")
    image = sc.Input((SIDE * SIDE,), name="image")
    begin = sc.Dense.from_torch(w, "encoder.linear", activation="tanh", name="begin")
    encoder = sc.Model(image, begin(image))
    decoder = sc.Sequential([
        sc.Embedding.from_torch(w, "decoder.embedding"),
        sc.GRU.from_torch(w, "decoder.cell", name="gru"),  # keeps its state from letter to letter
        sc.Dense.from_torch(w, "decoder.output"),
    ])  # fmt: skip
    letters = sc.sequence.Vocabulary(
        facts["tokens"], padding="<pad>", begin="<start>", end="<end>", split="characters"
    )
    model = sc.Seq2Seq(
        encoder, decoder, connect={"gru:h": "begin"}, start=letters["<start>"],
        end=letters["<end>"], max_length=LONGEST,
    )  # fmt: skip
    return model.with_assets(letters=letters)


def held_out() -> tuple[NDArray[np.int64], list[str]]:
    """Return images that the training never saw, (N, 64) of greys from 0 to 16, and their names."""
    images, names = zip(*trained("captions")[1]["held_out"], strict=True)
    return np.array([[LEVELS.index(level) for level in image] for image in images]), list(names)


def describe(model: sc.Seq2Seq, images: ArrayLike, width: int = 1) -> list[str]:
    """Return the name of the digit on each image, by a beam search; of width 1 it is greedy."""
    (letters,) = kept_by(model, "letters")
    made = model.beam(np.asarray(images) / 16, width=width)
    return letters.decode_batch(made.ids, stop_at_end=True)


def likeliest(
    model: sc.Seq2Seq, images: ArrayLike, count: int = 3
) -> list[list[tuple[str, float]]]:
    """Return for each image the likeliest names and their probabilities, the best first."""
    (letters,) = kept_by(model, "letters")
    made = model.beam(np.asarray(images) / 16, width=2 * count, results=count)
    return [
        [(letters.decode(ids), np.exp(score)) for ids, score in zip(row, scores, strict=False)]
        for row, scores in zip(made.tokens(), made.scores, strict=True)
    ]


def drawn(image: NDArray[np.int64]) -> list[str]:
    """Return the lines of an image, as characters."""
    return ["".join(2 * SHADES[grey] for grey in row) for row in image.reshape(SIDE, SIDE)]


def check(model: sc.Seq2Seq) -> None:
    """Print accuracies on held-out images, and torch's answers and speed beside it."""
    script = torch_script("captions")
    theirs = script and partial(script.describe, script.trained())
    report(*held_out(), partial(describe, model.with_options(threads=1)), theirs)


def main(arguments: Sequence[str]) -> None:
    """Print images with what is on them."""
    images, _ = held_out()
    parser = arguments_of(__doc__, "images", "0 3 11", type=int)
    given = parser.parse_args(arguments)
    numbers = given.images or [0, 3, 11]
    if not all(0 <= number < len(images) for number in numbers):
        parser.error(f"images have the numbers 0 to {len(images) - 1}")
    model = opened(given, sc.Seq2Seq, load)
    if given.check:
        check(model)
        return
    for number, names in zip(numbers, likeliest(model, images[numbers]), strict=True):
        beside = [f"image {number}", "", *(f"{name:<8}{p:7.2%}" for name, p in names)]
        for line, words in zip_longest(drawn(images[number]), beside, fillvalue=""):
            print(f"  {line}    {words}".rstrip())


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, sc.SeqcoreError) as error:
        sys.exit(f"describe_digits: {error}")
