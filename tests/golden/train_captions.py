"""Trains trained_captions.*: an image of a digit -> its name, letter by letter. One to many.

The image, as one vector, gives the state in which a GRU cell begins; from there on the cell sees
nothing but its own letters. The images are the 8 x 8 digits of scikit-learn (Alpaydin and Kaynak,
Optical recognition of handwritten digits, UCI, 1998, CC BY 4.0).

    pip install scikit-learn
    python tests/golden/train_captions.py
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from torch import Tensor, nn
from training import END, PAD, START, begin, greedy, load, padded, save, train

# ---- The data -----------------------------------------------------------------------------------

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
LETTERS = ["<pad>", "<start>", "<end>", *sorted(set("".join(NAMES)))]
MAX_LENGTH = 8
SIDE = 8
LEVELS = "0123456789abcdefg"  # of grey: 0 is the paper, 16 the ink


def split(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return images (N, 64), 0 to 16, and digits (N,) to train on; a quarter of each held out."""
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    order = rng.permutation(len(images))
    held_out, rest = np.split(order, [len(order) // 4])
    return images[rest], digits[rest], images[held_out], digits[held_out]


def vectors(images: np.ndarray) -> Tensor:
    """Return images (N, 64), 0 to 16, as what the module takes: float32, 0 to 1."""
    return torch.from_numpy((images / 16).astype(np.float32))


def shifted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return images (N, 64), each moved by at most one pixel across and down, paper coming in."""
    square = np.pad(images.reshape(-1, SIDE, SIDE), [(0, 0), (1, 1), (1, 1)])
    rows, columns = rng.choice(3, (2, len(images), 1, 1), p=[0.15, 0.7, 0.15])
    steps = np.arange(SIDE)
    places = np.arange(len(images))[:, None, None]
    return square[places, rows + steps[:, None], columns + steps].reshape(-1, SIDE * SIDE)


# ---- The model ----------------------------------------------------------------------------------


class Encoder(nn.Module):
    """Images (B, 64) -> the state (B, H) in which the decoder begins."""

    def __init__(self, pixels: int, units: int) -> None:
        super().__init__()
        self.linear = nn.Linear(pixels, units)

    def forward(self, image: Tensor) -> Tensor:
        return torch.tanh(self.linear(image))


class Decoder(nn.Module):
    """One letter of each row (B,) and the state (B, H) -> logits of the next (B, V), the state."""

    def __init__(self, letters: int, embedded: int, units: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(letters, embedded, padding_idx=PAD)
        self.cell = nn.GRUCell(embedded, units)
        self.output = nn.Linear(units, letters)

    def forward(self, token: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = self.cell(self.embedding(token), h)
        return self.output(h), h


class Captions(nn.Module):
    """The logits (B, S, V) of all letters when each is told the right one before it (B, S)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder(SIDE * SIDE, units=96)
        self.decoder = Decoder(len(LETTERS), embedded=16, units=96)

    def forward(self, image: Tensor, said: Tensor) -> Tensor:
        h = self.encoder(image)
        logits = []
        for token in said.unbind(1):
            scores, h = self.decoder(token, h)
            logits.append(scores)
        return torch.stack(logits, 1)


def trained() -> Captions:
    """Return the module with the weights of trained_captions.safetensors."""
    return load(Captions(), "captions")


@torch.no_grad()
def describe(module: Captions, images: np.ndarray) -> list[str]:
    """Return the names that the module gives images (N, 64), 0 to 16, greedily."""
    h = module.encoder(vectors(images))

    def step(token: Tensor) -> Tensor:
        nonlocal h
        scores, h = module.decoder(token, h)
        return scores

    return ["".join(LETTERS[i] for i in row) for row in greedy(step, len(images), MAX_LENGTH)]


# ---- Training -----------------------------------------------------------------------------------


def main() -> None:
    rng = begin(7)
    images, digits, other_images, other_digits = split(rng)
    module = Captions()
    spelt = [[START, *map(LETTERS.index, name), END] for name in NAMES]

    def loss_of() -> Tensor:
        rows = rng.choice(len(images), 64, replace=False)
        said, _ = padded([spelt[digits[row]] for row in rows])
        logits = module(vectors(shifted(images[rows], rng)), said[:, :-1])
        return nn.functional.cross_entropy(
            logits.flatten(0, 1), said[:, 1:].flatten(), ignore_index=PAD
        )

    seconds = train(module, loss_of, steps=3000, rate=5e-3, decay=0.01)
    print(f"after {seconds:.0f} s of one core:")
    names = [NAMES[digit] for digit in other_digits]
    said = describe(module, other_images)
    accuracy = np.mean([a == b for a, b in zip(said, names, strict=True)])
    commonest, _ = Counter(NAMES[digit] for digit in digits).most_common(1)[0]
    baseline = np.mean([name == commonest for name in names])
    print(f"{accuracy:.2%} of {len(names)} held-out images are right")
    print(f"{baseline:.2%} if the answer is always {commonest}")
    pictures = ["".join(LEVELS[int(level)] for level in image) for image in other_images]
    facts = {
        "accuracy": float(accuracy), "baseline": float(baseline), "tokens": LETTERS,
        "levels": LEVELS, "held_out": list(zip(pictures, names, strict=True)),
    }  # fmt: skip
    save(module, "captions", facts)


if __name__ == "__main__":
    main()
