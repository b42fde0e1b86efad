"""Where the time of three trained models goes, layer by layer: `Model.profile`, one thread.

    python bench/profile_models.py [--output page.md]

The models are those of examples/, out of the packages in requirements/data.txt. Peers are not
timed here: no framework loads all three.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

import classify_domains
import pronounce_chinese
import spell_words

import seqcore as sc

BATCHES = (1, 64)
SENTENCE = "然而，他红了20年以后，他竟退出了大家的视线。"


def calls(batch: int) -> Iterator[tuple[str, sc.Model, NDArray[np.int64]]]:
    """Yield a title, a model and its input of so many equal rows."""
    rows = [0] * batch
    yield (
        "dgaintel, 82 letters",
        classify_domains.load(),
        classify_domains.encode(["vlurgpeddygdy.com"])[rows],
    )
    encoder, decoder = spell_words.networks()
    assets = spell_words.load().assets
    letters = assets["letters"].encode("activationist", end=True)
    yield f"g2p-en encoder, {len(letters)} letters", encoder, letters[None][rows]
    begin = assets["phonemes"].encode([], begin=True)
    yield "g2p-en decoder, one step", decoder, begin[None][rows]
    reader = pronounce_chinese.load()
    characters = reader.characters.encode(SENTENCE)
    title = f"g2pM, {len(characters)} characters"
    yield title, reader.model, characters[None][rows]


def page() -> str:
    """Return one table as Markdown."""
    lines = [
        "| model | batch | call, us | shares of its layers |",
        "| --- | ---: | ---: | --- |",
    ]
    for batch in BATCHES:
        for title, model, ids in calls(batch):
            times = model.with_options(threads=1).profile(ids, repeat=100)
            total = sum(layer.seconds for layer in times) * 1e6
            shares = ", ".join(f"{layer.kind} {layer.share:.1%}" for layer in times)
            lines.append(f"| {title} | {batch} | {total:,.1f} | {shares} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Profile trained models layer by layer.")
    parser.add_argument("--output", type=Path, help="a file for the table, besides printing it")
    options = parser.parse_args()
    text = page()
    print(text, end="")
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text("# Real models, one thread\n\n" + text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
