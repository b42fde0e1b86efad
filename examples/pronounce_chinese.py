"""How is a Chinese character read where it stands? A bidirectional LSTM over whole sentences.

    python examples/pronounce_chinese.py "然而，他红了20年以后，他竟退出了大家的视线。"

Most characters have one reading, which a dictionary knows; for the others the network looks at the
sentence. Sentences of any lengths go through it in one call. Weights and dictionaries are pickles
of g2pM (Apache-2.0), read without executing them: pip install --no-deps g2pM==0.1.2.5
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from model_files import model_file

import seqcore as sc
from seqcore.formats import read_pickle

BEGIN, END = "시", "끝"  # what the vocabulary calls the two ends of a sentence


class Reader(NamedTuple):
    """The network and its dictionaries."""

    model: sc.Model  # character ids (B, T) -> logits (B, T, 876), one for each reading
    ids: dict[str, int]  # of characters
    readings: dict[str, list[str]]  # all that a character has
    classes: list[str]  # the reading that each logit stands for


def load() -> Reader:
    """Read the weights by their names in PyTorch, and the dictionaries."""

    def file(name: str) -> Path:
        return model_file("g2pM", name, "g2pM==0.1.2.5")

    weights = sc.read_weights(file("np_ckpt.pkl"))
    model = sc.Sequential([
        sc.Embedding.from_torch(weights, "embedding"),
        sc.LSTM.from_torch(weights, "lstm"),
        sc.Dense.from_torch(weights, "logit_layer.0", activation="relu"),
        sc.Dense.from_torch(weights, "logit_layer.2"),
    ])  # fmt: skip
    ids, classes = read_pickle(file("char2idx.pkl")), read_pickle(file("class2idx.pkl"))
    return Reader(
        model, ids, read_pickle(file("digest_cedict.pkl")), sorted(classes, key=classes.get)
    )


def pronounce(reader: Reader, sentences: Sequence[str]) -> list[list[str]]:
    """Return pinyin with tones for each sentence; what has no reading is joined as it stands."""
    marked = [[BEGIN, *sentence, END] for sentence in sentences]
    lengths = [len(row) for row in marked]
    batch = np.zeros((len(marked), max(lengths)), np.int64)
    for row, characters in zip(batch, marked, strict=True):
        row[: len(characters)] = [reader.ids.get(c, reader.ids["<UNK>"]) for c in characters]
    chosen = reader.model(batch, lengths=lengths).argmax(axis=-1)[:, 1:]  # without BEGIN
    return [_join(reader, *pair) for pair in zip(sentences, chosen, strict=True)]


def _join(reader: Reader, sentence: str, chosen: Sequence[int]) -> list[str]:
    spoken: list[str] = []
    plain = False  # whether the last part is text without a reading, such as a number
    for character, number in zip(sentence, chosen, strict=False):
        readings = reader.readings.get(character, [])
        if len(readings) > 1:
            spoken.append(reader.classes[number])
        elif readings or not plain:
            spoken.append(readings[0] if readings else character)
        else:
            spoken[-1] += character
        plain = not readings
    return spoken


def main(sentences: Sequence[str]) -> None:
    """Print how each sentence is read."""
    for sentence, spoken in zip(sentences, pronounce(load(), sentences), strict=True):
        print(sentence, " ".join(spoken), sep="\n", end="\n\n")


if __name__ == "__main__":
    main(sys.argv[1:] or ["然而，他红了20年以后，他竟退出了大家的视线。", "银行行长走得很快。"])
