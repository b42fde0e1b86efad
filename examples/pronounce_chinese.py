"""How is a Chinese character read where it stands? A bidirectional LSTM over whole sentences.

    python examples/pronounce_chinese.py "然而，他红了20年以后，他竟退出了大家的视线。"
    python examples/pronounce_chinese.py --no-tone --char-split "然而，他红了20年以后。"
    python examples/pronounce_chinese.py --save chinese.safetensors
    python examples/pronounce_chinese.py --model chinese.safetensors "银行行长走得很快。"
    python examples/pronounce_chinese.py --compare

Most characters have one reading, which a dictionary knows; for the others the network looks at the
sentence. Sentences of any lengths go through it in one call. --save makes one file of network,
characters and dictionary, which --model takes in place of the package; --compare runs the package's
own NumPy code beside this, by default on 300 sentences.

Weights and dictionaries are pickles of g2pM (Apache-2.0), read without executing them:
pip install --no-deps g2pM==0.1.2.5
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from model_files import kept_by, model_file
from package_code import compare, import_package

import seqcore as sc
from seqcore.formats import read_pickle
from seqcore.layers import ArgMax

BEGIN, END = "시", "끝"  # what the vocabulary calls the two ends of a sentence
SENTENCES = ["然而，他红了20年以后，他竟退出了大家的视线。", "银行行长走得很快。"]


class Reader(NamedTuple):
    """The network and its dictionaries."""

    model: sc.Model  # character ids (B, T) -> of each the likeliest of `classes` (B, T)
    characters: sc.sequence.Vocabulary
    readings: dict[str, list[str]]  # all that a character has
    classes: list[str]


def package_file(name: str) -> Path:
    return model_file("g2pM", name, "g2pM==0.1.2.5")


def layers() -> list[sc.Layer]:
    """Read the weights by their names in PyTorch: character ids -> a logit for each reading."""
    weights = sc.read_weights(package_file("np_ckpt.pkl"))
    return [
        sc.Embedding.from_torch(weights, "embedding"),
        sc.LSTM.from_torch(weights, "lstm"),
        sc.Dense.from_torch(weights, "logit_layer.0", activation="relu"),
        sc.Dense.from_torch(weights, "logit_layer.2"),
    ]


def build() -> sc.Model:
    """Make a model that keeps all that it takes to read Chinese."""
    ids, classes = (read_pickle(package_file(f"{name}2idx.pkl")) for name in ("char", "class"))
    characters = sc.sequence.Vocabulary(
        sorted(ids, key=ids.get), unknown="<UNK>", padding="<PAD>", begin=BEGIN, end=END,
        split="characters",
    )  # fmt: skip
    return sc.Sequential([*layers(), ArgMax(-1)]).with_assets(
        characters=characters,
        readings=read_pickle(package_file("digest_cedict.pkl")),
        classes=sorted(classes, key=classes.get),
    )


def reader_of(model: sc.Model) -> Reader:
    """Take the dictionaries out of a model."""
    return Reader(model, *kept_by(model, *Reader._fields[1:]))


def load() -> Reader:
    """Read network and dictionaries from the package."""
    return reader_of(build())


def pronounce(
    reader: Reader, sentences: Sequence[str], *, tone: bool = True, char_split: bool = False
) -> list[list[str]]:
    """Return the pinyin of each sentence.

    Parameters
    ----------
    reader : Reader
    sentences : sequence of str
    tone : bool
        Whether a digit behind each reading tells its tone.
    char_split : bool
        Whether each character has a part of its own. Otherwise what is one letter long is joined
        with its neighbours that are: numbers, words of Latin letters.
    """
    ids, lengths = reader.characters.encode_batch(sentences, begin=True, end=True)
    chosen = reader.model(ids, lengths=lengths)[:, 1:]  # without BEGIN
    spoken = [list(_parts(reader, *row, tone)) for row in zip(sentences, chosen, strict=True)]
    return spoken if char_split else [_joined(parts) for parts in spoken]


def _parts(reader: Reader, sentence: str, chosen: Sequence[int], tone: bool) -> Iterator[str]:
    """Yield how each character is read, and as it stands one that has no reading."""
    for character, number in zip(sentence, chosen, strict=False):
        readings = reader.readings.get(character, [])
        reading = reader.classes[number] if len(readings) > 1 else "".join(readings)
        yield (reading if tone else reading[:-1]) if readings else character


def _joined(parts: Iterable[str]) -> list[str]:
    """Join neighbours of one letter; they are parted at a bar, which the package parts by."""
    joined: list[str] = []
    for of_letters, run in groupby(parts, key=lambda part: len(part) == 1):
        those = list(run)
        joined += "".join(those).removesuffix("|").split("|") if of_letters else those
    return joined


def some_sentences(reader: Reader, count: int) -> list[str]:
    """Make sentences to compare by: characters of the vocabulary, common ones more often."""
    known = [token for token in reader.characters if len(token) == 1]  # common ones come first
    share = 1 / np.arange(10, 10 + len(known))
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 60, count)
    return ["".join(rng.choice(known, size=n, p=share / share.sum())) for n in lengths]


def main(arguments: Sequence[str]) -> None:
    """Print how each sentence is read."""
    parser = argparse.ArgumentParser(description="Tell how Chinese sentences are read.")
    parser.add_argument("sentences", nargs="*", metavar="sentence")
    parser.add_argument("--no-tone", action="store_true", help="leave out the tones' digits")
    parser.add_argument("--char-split", action="store_true", help="join no digits and letters")
    parser.add_argument("--save", type=Path, metavar="FILE", help="answer from the model saved")
    parser.add_argument("--model", type=Path, metavar="FILE", help="a file that --save wrote")
    parser.add_argument("--compare", action="store_true", help="with the package's own code")
    options = parser.parse_args(arguments)
    model = sc.load(options.model) if options.model else build()
    if options.save:
        model.save(options.save)
        model = sc.load(options.save)
    reader = reader_of(model)
    how: dict[str, Any] = {"tone": not options.no_tone, "char_split": options.char_split}
    if options.compare:
        package = import_package("g2pM").G2pM()
        asked = options.sentences or SENTENCES + some_sentences(reader, 300)
        compare(
            "g2pM",
            asked,
            lambda sentence: package(sentence, **how),
            lambda sentences: pronounce(reader, sentences, **how),
        )
        return
    sentences = options.sentences or SENTENCES
    for sentence, spoken in zip(sentences, pronounce(reader, sentences, **how), strict=True):
        print(sentence, " ".join(spoken), sep="\n", end="\n\n")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, sc.SeqcoreError) as error:
        sys.exit(f"pronounce_chinese: {error}")
