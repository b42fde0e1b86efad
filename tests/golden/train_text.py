"""Trains trained_text.*: the next character of Jane Austen's novels, by an LSTM.

The novels are in the public domain (she died in 1817); a package of Debian has them as data of R,
which this script reads by itself, so that R need not be there:

    apt-get download r-cran-janeaustenr && dpkg-deb -x r-cran-janeaustenr_*.deb austen
    python tests/golden/train_text.py austen/usr/lib/R/site-library/janeaustenr/data/Rdata.rdb

Five novels are trained on. The sixth, Persuasion, is held out whole; trained_text.json has its
first chapters. A paragraph is one line, so a line break begins a text and ends it.
"""

from __future__ import annotations

import string
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from training import begin, load, save, train

# ---- The data -----------------------------------------------------------------------------------

CHARACTERS = ["\n", *" !\"'(),-.:;?", *string.digits, *string.ascii_letters]
BREAK = 0  # the id of what begins and ends a paragraph
NOVELS = ["Emma", "Mansfield Park", "Northanger Abbey", "Persuasion", "Pride and Prejudice",
          "Sense and Sensibility"]  # fmt: skip
HELD_OUT, EXCERPT = "Persuasion", 20_000  # and so many characters of it are kept
STREAMS, STEPS = 32, 64  # rows of a batch, which go on where they were, and characters of each


def lines_of(serialized: bytes) -> list[str]:
    """Return the strings of R's vector of them (serialisation 3, big-endian)."""
    (encoding,) = struct.unpack_from(">I", serialized, 14)
    at = 18 + encoding
    kind, count = struct.unpack_from(">II", serialized, at)
    if serialized[:2] != b"X\n" or kind != 16:
        raise SystemExit(f"expected a vector of strings, found kind {kind}")
    at += 8
    lines = []
    for _ in range(count):
        _, size = struct.unpack_from(">II", serialized, at)
        at += 8 + size
        lines.append(serialized[at - size : at].decode())
    return lines


def novels(path: Path) -> dict[str, str]:
    """Return the novels of the package's file, each paragraph as one line."""
    data = path.read_bytes()
    texts = {}
    for name in NOVELS:
        stream = zlib.decompressobj()
        lines = lines_of(stream.decompress(data[4:]))  # behind the size that it has unpacked
        data = stream.unused_data
        if not lines[0].lower().startswith(name.lower()):
            raise SystemExit(f"expected {name}, found {lines[0]!r}")
        paragraphs = "\n".join(line.strip() for line in lines).split("\n\n")
        kept = (" ".join(paragraph.split()) for paragraph in paragraphs)
        text = "\n".join(paragraph for paragraph in kept if paragraph) + "\n"
        texts[name] = "".join(c for c in text if c in CHARACTERS)
    return texts


def ids_of(text: str) -> np.ndarray:
    """Return the ids (T,) of a text; what is not in CHARACTERS is left out."""
    places = {c: i for i, c in enumerate(CHARACTERS)}
    return np.array([places[c] for c in text if c in places])


# ---- The model ----------------------------------------------------------------------------------


class Text(nn.Module):
    """Characters (B, T), states (1, B, H) -> logits of the next ones (B, T, V), states."""

    def __init__(self, embedded: int = 32, units: int = 160) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(CHARACTERS), embedded)
        self.lstm = nn.LSTM(embedded, units, batch_first=True)
        self.output = nn.Linear(units, len(CHARACTERS))

    def forward(
        self, ids: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y, state = self.lstm(self.embedding(ids), state)
        return self.output(y), state


def trained() -> Text:
    """Return the module with the weights of trained_text.safetensors."""
    return load(Text(), "text")


@torch.no_grad()
def measure(module: Text, ids: np.ndarray) -> tuple[float, float]:
    """Return bits per character, and how often the likeliest one is right; one stream, from zeros.

    A line break comes before the first character.
    """
    state, bits, right = None, 0.0, 0
    said = np.concatenate([[BREAK], ids])
    for at in range(0, len(ids), 1000):
        wanted = torch.from_numpy(ids[at : at + 1000])
        logits, state = module(torch.from_numpy(said[at : at + len(wanted)])[None], state)
        bits += nn.functional.cross_entropy(logits[0], wanted, reduction="sum").item() / np.log(2)
        right += int((logits[0].argmax(-1) == wanted).sum())
    return bits / len(ids), right / len(ids)


def measurements(module: Text, ids: np.ndarray, held_out: str) -> dict[str, object]:
    """Return the facts for trained_text.json; `ids` are what the module was trained on.

    The baselines are the answers of one who knows how common each character is, and no more.
    """
    frequencies = np.bincount(ids, minlength=len(CHARACTERS)) + 1
    shares = frequencies / frequencies.sum()
    commonest = int(shares.argmax())
    other_ids = ids_of(held_out)
    bits, accuracy = measure(module, other_ids)
    excerpt_bits, excerpt_accuracy = measure(module, other_ids[:EXCERPT])
    return {
        "bits": bits, "baseline_bits": float(-np.log2(shares[other_ids]).mean()),
        "accuracy": accuracy, "baseline": float((other_ids == commonest).mean()),
        "commonest": CHARACTERS[commonest], "excerpt_bits": excerpt_bits,
        "excerpt_accuracy": excerpt_accuracy, "tokens": CHARACTERS, "held_out": held_out[:EXCERPT],
    }  # fmt: skip


# ---- Training -----------------------------------------------------------------------------------


def main(path: Path) -> None:
    begin(7)
    texts = novels(path)
    ids = np.concatenate([ids_of(texts[name]) for name in NOVELS if name != HELD_OUT])
    module = Text()
    rounds = (len(ids) - 1) // (STREAMS * STEPS)
    length = rounds * STEPS
    rows = torch.from_numpy(np.stack([ids[i * length :][: length + 1] for i in range(STREAMS)]))
    state, at = None, 0

    def loss_of() -> Tensor:
        nonlocal state, at
        if at == length:
            state, at = None, 0
        part = rows[:, at : at + STEPS + 1]
        at += STEPS
        logits, (h, c) = module(part[:, :-1], state)
        state = h.detach(), c.detach()
        return nn.functional.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten())

    seconds = train(module, loss_of, steps=6 * rounds, rate=5e-3)
    print(f"after {seconds:.0f} s of one core:")
    facts = measurements(module, ids, texts[HELD_OUT])
    print("{bits:.3f} bits per character of Persuasion; {baseline_bits:.3f} if all characters are "
          "as likely as they are common".format(**facts))  # fmt: skip
    print("{accuracy:.2%} of its characters are the likeliest; {baseline:.2%} if the answer is "
          "always {commonest!r}".format(**facts))  # fmt: skip
    save(module, "text", facts)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
