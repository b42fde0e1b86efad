"""How is a word pronounced that no dictionary knows? An encoder and a decoder of GRUs, greedily.

    python examples/spell_words.py activationist

The encoder reads the letters of all words at once; its last state is where the decoder begins,
which then says one phoneme at a time until it says </s>. The weights are the NumPy arrays of g2p-en
(Apache-2.0), trained in PyTorch: pip install --no-deps g2p-en==2.1.0
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from model_files import model_file

import seqcore as sc

GRAPHEMES = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
PHONEMES = """<pad> <unk> <s> </s> AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0
    AY1 AY2 B CH D DH EH0 EH1 EH2 ER0 ER1 ER2 EY0 EY1 EY2 F G HH IH0 IH1 IH2 IY0 IY1 IY2 JH K L M N
    NG OW0 OW1 OW2 OY0 OY1 OY2 P R S SH T TH UH0 UH1 UH2 UW UW0 UW1 UW2 V W Y Z ZH""".split()  # noqa: SIM905
LETTERS = {letter: i for i, letter in enumerate(GRAPHEMES)}
MOST_PHONEMES = 20

# The file names one GRU's arrays in a way of its own; GRU.from_torch knows torch's names.
TORCH_NAMES = {"w_ih": "weight_ih_l0", "w_hh": "weight_hh_l0", "b_ih": "bias_ih_l0",
               "b_hh": "bias_hh_l0"}  # fmt: skip


def load() -> tuple[sc.Model, sc.Model]:
    """Build the encoder, ids (B, T) -> h (B, 256), and the decoder, ids -> logits (B, T, 74), h."""
    arrays = sc.read_weights(model_file("g2p_en", "checkpoint20.npz", "g2p-en==2.1.0"))
    for part in ("enc", "dec"):
        for own, torch_name in TORCH_NAMES.items():
            arrays[f"{part}.{torch_name}"] = arrays.pop(f"{part}_{own}")
    encoder = sc.Sequential([
        sc.Embedding(arrays["enc_emb"]),
        sc.GRU.from_torch(arrays, "enc", return_sequences=False),
    ])  # fmt: skip
    ids = sc.Input((None,), dtype="int64")
    y, h = sc.GRU.from_torch(arrays, "dec", return_state=True)(sc.Embedding(arrays["dec_emb"])(ids))
    logits = sc.Dense(arrays["fc_w"].T, arrays["fc_b"])(y)
    return encoder, sc.Model(ids, [logits, h])


def spell(encoder: sc.Model, decoder: sc.Model, words: Sequence[str]) -> list[list[str]]:
    """Return the phonemes of each word."""
    unknown, end = LETTERS["<unk>"], LETTERS["</s>"]
    letters = [[LETTERS.get(c, unknown) for c in word.lower()] + [end] for word in words]
    lengths = [len(row) for row in letters]
    ids = np.zeros((len(words), max(lengths)), np.int64)
    for row, known in zip(ids, letters, strict=True):
        row[: len(known)] = known
    h = encoder(ids, lengths=lengths)
    said = np.full((len(words), 1), PHONEMES.index("<s>"))
    steps = []
    for _ in range(MOST_PHONEMES):
        logits, h = decoder(said, initial_state=[h])
        said = logits.argmax(axis=-1)
        steps.append(said[:, 0])
    spoken = [[PHONEMES[i] for i in row] for row in np.stack(steps, axis=1)]
    return [row[: row.index("</s>")] if "</s>" in row else row for row in spoken]


def main(words: Sequence[str]) -> None:
    """Print the phonemes (ARPAbet; the digit is the stress of a vowel) of each word."""
    for word, phonemes in zip(words, spell(*load(), words), strict=True):
        print(f"{word:<20} {' '.join(phonemes)}")


if __name__ == "__main__":
    main(sys.argv[1:] or ["activationist", "seqcore", "recurrent"])
