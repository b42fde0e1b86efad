"""What the examples on the repository's own models share: weights, torch beside them, a report.

tests/golden has the models: train_<name>.py made trained_<name>.safetensors, and in a .json the
tokens and rows that the training never saw. Not here: the networks, which each example builds.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from numpy.typing import NDArray
from package_code import fastest

import seqcore as sc

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden"
ALONE = 30  # rows of which each is timed by itself
WIDTH = 5  # of the beam search that is reported

Network = TypeVar("Network", sc.Seq2Seq, sc.Generator)
Answers = Callable[..., list[str]]  # of many rows; ours also with width=, of a beam search


def trained(name: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return a model's weights, named as in PyTorch, and what its .json says."""
    facts = (GOLDEN / f"trained_{name}.json").read_text(encoding="utf-8")
    return sc.read_weights(GOLDEN / f"trained_{name}.safetensors"), json.loads(facts)


def torch_script(name: str) -> ModuleType | None:
    """Return train_<name>.py as a module, its torch on one thread; None where torch is not."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    torch.set_num_threads(1)
    if str(GOLDEN) not in sys.path:
        sys.path.append(str(GOLDEN))
    return importlib.import_module(f"train_{name}")


# ---- Arguments ----------------------------------------------------------------------------------


def arguments_of(
    description: str | None, items: str, such_as: str, **options: Any
) -> argparse.ArgumentParser:
    """Return a parser of what all these examples take: `items`, with argparse's options."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument(items, nargs="*", help=f"such as {such_as}", **options)
    parser.add_argument("--check", action="store_true", help="measure it, and run torch beside it")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the model as one file")
    parser.add_argument("--model", type=Path, metavar="FILE", help="which is then read instead")
    return parser


def opened(given: argparse.Namespace, kind: type[Network], load: Callable[[], Network]) -> Network:
    """Return the model of the file that is given, or `load`'s; and save it where that is wanted."""
    model = kind.load(given.model) if given.model else load()
    if given.save:
        model.save(given.save)
    return model


# ---- A picture ----------------------------------------------------------------------------------


def heat_maps(
    made: sc.Decoded,
    tokens: sc.sequence.Vocabulary,
    sources: Sequence[Sequence[str]],
    titles: Sequence[str],
) -> Any:
    """Draw where the tokens of each row looked, one map under the other; a figure of matplotlib.

    Parameters
    ----------
    made : Decoded
        With the weights of attention as its only extra.
    tokens : Vocabulary
        Of what was made.
    sources : sequence of sequences of str
        What was read.
    titles : sequence of str
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        sys.exit("A picture needs matplotlib: pip install seqcore[plots]")
    (weights,) = made.extras.values()
    heights = 1.1 + 0.22 * made.lengths
    figure = Figure(figsize=(7.5, heights.sum()), layout="constrained")
    axes = figure.subplots(len(heights), squeeze=False, height_ratios=heights)[:, 0]
    rows = zip(made.ids, made.lengths, weights, sources, titles, axes, strict=True)
    for ids, length, looked, source, title, ax in rows:
        target = tokens.lookup_tokens(ids[:length])
        sc.plots.attention(looked[:length, : len(source)], source, target, ax=ax)
        ax.set(xlabel="", ylabel="")
        ax.set_title(title, loc="left", fontsize="medium", parse_math=False)
    return figure


# ---- A report -----------------------------------------------------------------------------------


def ratio(title: str, count: int, theirs: Callable[[], Any], ours: Callable[[], Any]) -> None:
    """Print the times of torch and of seqcore for each of `count` things."""
    slow, fast = (fastest(run)[0] / count * 1e6 for run in (theirs, ours))
    times = f"torch {slow:8,.1f} us, seqcore {fast:6,.1f} us"
    print(f"{title:<26}{times}: {slow / fast:.1f} times as fast")


def report(
    given: Sequence[Any], right: Sequence[str], ours: Answers, theirs: Answers | None
) -> None:
    """Print how many rows are answered rightly, and how torch's own module compares.

    Parameters
    ----------
    given : sequence
        Rows that the training never saw.
    right : sequence of str
        Their answers.
    ours, theirs : callable
        seqcore's answers, and torch's; None where there is no torch.
    """
    commonest, times = Counter(right).most_common(1)[0]
    found = ours(given)
    print(f"{len(right)} rows that the training never saw, right to the letter:")
    print(f"{'  greedy':<28}{share(found, right):8.2%}")
    print(f"{f'  beam search, width {WIDTH}':<28}{share(ours(given, width=WIDTH), right):8.2%}")
    print(f"{'  always the same answer':<28}{times / len(right):8.2%}  ({commonest})")
    if theirs is None:
        print("torch is not installed: there is nothing to compare with")
        return
    same = sum(a == b for a, b in zip(found, theirs(given), strict=True))
    print(f"torch's module, greedy: {same} of {len(right)} answers are the same; on one thread")
    alone = [given[i : i + 1] for i in range(ALONE)]
    ratio(
        "  one row at a time", ALONE, lambda: [theirs(row) for row in alone],
        lambda: [ours(row) for row in alone],
    )  # fmt: skip
    ratio("  all rows at once, each", len(given), lambda: theirs(given), lambda: ours(given))


def share(found: Sequence[str], right: Sequence[str]) -> float:
    """Return the part of the answers that is right."""
    return sum(a == b for a, b in zip(found, right, strict=True)) / len(right)
