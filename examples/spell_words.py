"""How is a word pronounced that no dictionary knows? An encoder and a decoder, as one Seq2Seq.

    python examples/spell_words.py activationist
    python examples/spell_words.py --beam 5 activationist
    python examples/spell_words.py --save spell.safetensors activationist
    python examples/spell_words.py --model spell.safetensors activationist
    python examples/spell_words.py --compare

The encoder, a GRU, reads the letters; its last state is where the decoder begins, another, which
then says one phoneme at a time until it says </s>. All words are one call. --beam has the best few
that a beam search finds, with the natural logarithms of their probabilities; --save makes one file
of networks and vocabularies, which --model takes in place of the package; --compare runs the
package's own NumPy code beside this, by default on 1,000 words.

The weights are the NumPy arrays of g2p-en (Apache-2.0), trained in PyTorch:
pip install --no-deps g2p-en==2.1.0
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from model_files import kept_by, model_file
from package_code import compare, import_package

import seqcore as sc

INSTALL = "g2p-en==2.1.0"
GRAPHEMES = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
PHONEMES = """<pad> <unk> <s> </s> AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0
    AY1 AY2 B CH D DH EH0 EH1 EH2 ER0 ER1 ER2 EY0 EY1 EY2 F G HH IH0 IH1 IH2 IY0 IY1 IY2 JH K L M N
    NG OW0 OW1 OW2 OY0 OY1 OY2 P R S SH T TH UH0 UH1 UH2 UW UW0 UW1 UW2 V W Y Z ZH""".split()  # noqa: SIM905
MOST_PHONEMES = 20

# The file names one GRU's arrays in a way of its own; GRU.from_torch knows torch's names.
TORCH_NAMES = {"w_ih": "weight_ih_l0", "w_hh": "weight_hh_l0", "b_ih": "bias_ih_l0",
               "b_hh": "bias_hh_l0"}  # fmt: skip
# What the package asks for to find words in text and in a dictionary.
NOT_NEEDED = ["nltk", "nltk.corpus", "nltk.tokenize", "inflect"]


def networks() -> tuple[sc.Model, sc.Model]:
    """Build the encoder, ids (B, T) -> h (B, 256), and the decoder, ids -> logits (B, T, 74).

    They were trained with an Embedding before each GRU. There are so few letters and phonemes that
    the product of each one's vector with the GRU's weights is made here, once: OneHot picks it.
    """
    arrays = sc.read_weights(model_file("g2p_en", "checkpoint20.npz", INSTALL))
    for part in ("enc", "dec"):
        for own, torch_name in TORCH_NAMES.items():
            arrays[f"{part}.{torch_name}"] = arrays.pop(f"{part}_{own}")
        vectors, name = arrays[f"{part}_emb"].astype(np.float64), f"{part}.weight_ih_l0"
        arrays[name] = (arrays[name] @ vectors.T).astype(np.float32)
    encoder = sc.Sequential([
        sc.OneHot(len(GRAPHEMES)),
        sc.GRU.from_torch(arrays, "enc", return_sequences=False, name="heard"),
    ])  # fmt: skip
    decoder = sc.Sequential([
        sc.OneHot(len(PHONEMES)),
        sc.GRU.from_torch(arrays, "dec", name="said"),
        sc.Dense(arrays["fc_w"].T, arrays["fc_b"]),
    ])  # fmt: skip
    return encoder, decoder


def load() -> sc.Seq2Seq:
    """Make one model of the networks, with its letters and phonemes."""
    letters = sc.sequence.Vocabulary(
        GRAPHEMES, padding="<pad>", unknown="<unk>", end="</s>", split="characters", lower=True
    )
    phonemes = sc.sequence.Vocabulary(PHONEMES, begin="<s>", end="</s>")
    model = sc.Seq2Seq(
        *networks(), connect={"said:h": "heard"}, start=phonemes["<s>"], end=phonemes["</s>"],
        max_length=MOST_PHONEMES,
    )  # fmt: skip
    return model.with_assets(letters=letters, phonemes=phonemes)


def spell(model: sc.Seq2Seq, words: Sequence[str]) -> list[list[str]]:
    """Return the phonemes of each word."""
    letters, phonemes = kept_by(model, "letters", "phonemes")
    ids, lengths = letters.encode_batch(words, end=True)
    return [phonemes.lookup_tokens(said) for said in model(ids, lengths=lengths).tokens()]


def best(
    model: sc.Seq2Seq, words: Sequence[str], width: int
) -> list[list[tuple[float, list[str]]]]:
    """Return of each word what a beam search finds, the best first: scores and phonemes."""
    letters, phonemes = kept_by(model, "letters", "phonemes")
    ids, lengths = letters.encode_batch(words, end=True)
    made = model.beam(ids, lengths=lengths, width=width, results=width)
    return [
        [
            (float(score), phonemes.lookup_tokens(said))
            for score, said in zip(*row, strict=False)  # there may be fewer than were asked for
        ]
        for row in zip(made.scores, made.tokens(), strict=True)
    ]


def some_words(count: int) -> list[str]:
    """Choose words to compare by: those that g2p-en ships, and of Python's manual for the rest."""
    from pydoc_data.topics import topics

    lines = model_file("g2p_en", "homographs.en", INSTALL).read_text(encoding="utf-8").splitlines()
    shipped = [line.partition("|")[0].lower() for line in lines if not line.startswith("#")]
    manual = " ".join(topics.values())
    # Words of the text: no names with dots or underscores, no calls
    found = set(re.findall(r"(?<![\w.])[a-z]{4,}(?![\w(])", manual)) - set(shipped)
    rest = max(count - len(shipped), 0)
    spread = sorted(found)[:: max(len(found) // rest, 1)] if rest else []
    return [*shipped, *spread][:count]


def main(arguments: Sequence[str]) -> None:
    """Print the phonemes (ARPAbet; the digit is the stress of a vowel) of each word."""
    parser = argparse.ArgumentParser(description="Tell how words are pronounced.")
    parser.add_argument("words", nargs="*", metavar="word")
    parser.add_argument("--beam", type=int, metavar="N", help="the N best, with their scores")
    parser.add_argument("--save", type=Path, metavar="FILE", help="answer from the model saved")
    parser.add_argument("--model", type=Path, metavar="FILE", help="a file that --save wrote")
    parser.add_argument("--compare", action="store_true", help="with the package's own code")
    options = parser.parse_args(arguments)
    model = sc.Seq2Seq.load(options.model) if options.model else load()
    if options.save:
        model.save(options.save)
        model = sc.Seq2Seq.load(options.save)
    if options.compare:
        predict = import_package("g2p_en", NOT_NEEDED).G2p().predict
        words = [word.lower() for word in options.words] or some_words(1000)
        compare("g2p-en", words, predict, lambda words: spell(model, words))
        return
    words = options.words or ["activationist", "seqcore", "recurrent"]
    if options.beam is None:
        for word, phonemes in zip(words, spell(model, words), strict=True):
            print(f"{word:<20} {' '.join(phonemes)}")
        return
    for word, found in zip(words, best(model, words, options.beam), strict=True):
        for score, phonemes in found:
            print(f"{word:<20} {score:8.3f}  {' '.join(phonemes)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, sc.SeqcoreError) as error:
        sys.exit(f"spell_words: {error}")
