"""How would it go on? A model of the next character continues a text, in Jane Austen's manner.

    python examples/write_text.py "It is a truth" --length 300 --seed 4
    python examples/write_text.py "Mr. Darcy" --temperature 0.5 --top-k 10
    python examples/write_text.py "Mr. Darcy" --greedy           (or --beam 5)
    python examples/write_text.py --check

Generation: an LSTM is fed its own last character. It is drawn by its probability; a temperature
below 1, --top-k and --top-p leave the unlikely ones aside. The text appears piece by piece: every
piece goes on from the state that the one before left, and is what one long call would have made.
tests/golden/train_text.py trained it in PyTorch, which need not be here, on five of her novels;
--check measures it on the sixth.

    model.save("text.safetensors")                 # all of it in one file, characters too: --save
    model = sc.Generator.load("text.safetensors")  # --model
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from model_files import kept_by
from trained_here import arguments_of, opened, ratio, torch_script, trained

import seqcore as sc

BEGINNING, LENGTH = "It is a truth", 300
PIECE = 50  # characters of a call
DRAWN = 500  # characters, where their time is measured


def load() -> sc.Generator:
    """Build the model: character ids (B, T) -> logits of the next ones. A line break begins it."""
    w, facts = trained("text")
    characters = sc.sequence.Vocabulary(facts["tokens"], split="characters")
    model = sc.Sequential([
        sc.Embedding.from_torch(w, "embedding"),
        sc.LSTM.from_torch(w, "lstm", name="lstm"),
        sc.Dense.from_torch(w, "output"),
    ])  # fmt: skip
    return sc.Generator(model, start=characters["\n"]).with_assets(characters=characters)


def written(
    model: sc.Generator, beginning: str, length: int, call: Callable[..., sc.Decoded]
) -> Iterator[str]:
    """Yield a text of `length` characters, which starts with `beginning`, piece by piece.

    `call` is ``model.greedy``, or ``model.sample`` with its options. As its seed it has a generator
    of random numbers, which goes on from piece to piece; a number would begin anew.
    """
    (characters,) = kept_by(model, "characters")
    prefix = characters.encode(beginning)[:length]
    start, state = model.start, None
    while length > 0:
        made = call(
            start=start, state=state, prefix=prefix, return_state=True,
            max_length=min(length, max(PIECE, len(prefix))),
        )  # fmt: skip
        yield characters.decode(made.ids[0])
        start, state, prefix = made.last, made.states, prefix[:0]
        length -= int(made.lengths[0])


def best(model: sc.Generator, beginning: str, length: int, width: int) -> str:
    """Return the likeliest text that a beam search finds."""
    (characters,) = kept_by(model, "characters")
    made = model.beam(prefix=characters.encode(beginning)[:length], max_length=length, width=width)
    return characters.decode(made.ids[0])


def bits(model: sc.Generator, text: str) -> float:
    """Return how many bits the model needs for each character of a text.

    The text is forced upon it: then its score is the text's own log-probability.
    """
    (characters,) = kept_by(model, "characters")
    ids = characters.encode(text)
    made = model.greedy(prefix=ids, max_length=len(ids))
    return float(-made.scores[0] / len(ids) / math.log(2))


# ---- Measured -----------------------------------------------------------------------------------


def entropy(text: str) -> float:
    """Return the bits per character of who knows how common each is in this very text, no more."""
    shares = [count / len(text) for count in Counter(text).values()]
    return -sum(share * math.log2(share) for share in shares)


def torch_samples(module: Any, length: int) -> list[int]:
    """Return characters drawn by torch, each fed to the module with the state before."""
    import torch

    state, token, drawn = None, torch.zeros(1, 1, dtype=torch.int64), []
    with torch.no_grad():
        for _ in range(length):
            logits, state = module(token, state)
            token = torch.multinomial(logits[:, -1].softmax(-1), 1)
            drawn.append(int(token))
    return drawn


def check(model: sc.Generator) -> None:
    """Print bits per character of a novel that it never saw, and torch's, and both speeds."""
    text = trained("text")[1]["held_out"]
    model = model.with_options(threads=1)  # as torch has
    print(f"bits per character of {len(text):,} characters of Persuasion, which it never saw:")
    print(f"{'  how common each one is':<28}{entropy(text):8.4f}")
    print(f"{'  this model':<28}{bits(model, text):8.4f}")
    script = torch_script("text")
    if script is None:
        print("torch is not installed: there is nothing to compare with")
        return
    module = script.trained()
    print(f"{'  its module in torch':<28}{script.measure(module, script.ids_of(text))[0]:8.4f}")
    print("on one thread, a character drawn:")
    ratio(
        "  of one text", DRAWN, lambda: torch_samples(module, DRAWN),
        lambda: model.sample(max_length=DRAWN),
    )  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Print a text as it is made."""
    parser = arguments_of(__doc__, "beginning", f'"{BEGINNING}"')
    parser.add_argument("--length", type=int, default=LENGTH, help="characters in all")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--top-k", type=int, default=0)
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0, help="the same one gives the same text")
    parser.add_argument("--greedy", action="store_true", help="always the likeliest character")
    parser.add_argument("--beam", type=int, metavar="N", help="the likeliest text, of width N")
    given = parser.parse_args(arguments)
    if given.seed < 0 or given.length < 1:
        parser.error("--seed is a whole number from 0, --length from 1")
    model = opened(given, sc.Generator, load)
    if given.check:
        check(model)
        return
    beginning = " ".join(given.beginning) or BEGINNING
    if given.beam is not None:
        print(best(model, beginning, given.length, given.beam))
        return
    options = {name: getattr(given, name) for name in ("temperature", "top_k", "top_p")}
    sample = partial(model.sample, seed=np.random.default_rng(given.seed), **options)
    call = model.greedy if given.greedy else sample
    for piece in written(model, beginning, given.length, call):
        print(piece, end="", flush=True)
    print()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, sc.SeqcoreError) as error:
        sys.exit(f"write_text: {error}")
