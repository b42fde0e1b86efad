"""Which domain names did malware make up? A trained Keras model, from its .h5 file, with no Keras.

    python examples/classify_domains.py microsoft.com wikipedia.com vlurgpeddygdy.com

The network, Embedding -> Conv1D -> MaxPooling1D -> LSTM -> Dense, was trained in Keras 2 by the
authors of dgaintel (MIT licence): pip install --no-deps dgaintel==2.3
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from model_files import model_file
from numpy.typing import NDArray

import seqcore as sc

ALPHABET = {character: i for i, character in enumerate("-.0123456789_abcdefghijklmnopqrstuvwxyz")}
OTHER = 1  # what the model was trained to see for any other character
WIDTH = 82  # characters that the model takes


def load() -> sc.Model:
    """Load the model: the layers, their options and their weights are all in the file."""
    return sc.load(model_file("dgaintel", "domain_classifier_model.h5", "dgaintel==2.3"))


def encode(domains: Sequence[str]) -> NDArray[np.int64]:
    """Return ids (B, 82), filled up with zeros, as the model was trained."""
    ids = np.zeros((len(domains), WIDTH), np.int64)
    for row, domain in zip(ids, domains, strict=True):
        if len(domain) > WIDTH:
            sys.exit(f"{domain!r} has {len(domain)} characters; the model takes {WIDTH}")
        row[: len(domain)] = [ALPHABET.get(character, OTHER) for character in domain.lower()]
    return ids


def main(domains: Sequence[str]) -> None:
    """Print the probability that each name is machine-made."""
    model = load()
    print(model.summary(), end="\n\n")
    for domain, (probability,) in zip(domains, model(encode(domains)), strict=True):
        verdict = "machine-made" if probability >= 0.5 else "genuine"
        print(f"{domain:<24} {probability:10.7f}  {verdict}")


if __name__ == "__main__":
    main(sys.argv[1:] or ["microsoft.com", "wikipedia.com", "vlurgpeddygdy.com"])
