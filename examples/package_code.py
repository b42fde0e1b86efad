"""The code that came with a trained model, run beside seqcore: is it the same, and how much faster?

Not here: where the model lies (model_files.py), and what it answers.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TypeVar
from unittest import mock

Item, Answer = TypeVar("Item"), TypeVar("Answer")

ROUNDS = 3  # of a measurement; the fastest counts


def import_package(package: str, without: Sequence[str] = ()) -> ModuleType:
    """Import a package whose model `model_file` has found.

    Parameters
    ----------
    package : str
    without : sequence of str
        Modules that it imports and that what is wanted of it does not need. Empty stand-ins take
        their place, also of installed ones: nothing is loaded or downloaded through them.
    """
    kept = {name: sys.modules.get(name) for name in without}
    sys.modules.update({name: mock.MagicMock() for name in without})
    try:
        return importlib.import_module(package)
    finally:
        for name, module in kept.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module


def fastest(run: Callable[[], Answer]) -> tuple[float, Answer]:
    """Return the seconds that the fastest of a few rounds takes, and what it returns."""
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        answer = run()
        seconds.append(time.perf_counter() - start)
    return min(seconds), answer


def compare(
    package: str,
    items: Sequence[Item],
    theirs: Callable[[Item], Answer],
    ours: Callable[[Sequence[Item]], list[Answer]],
) -> None:
    """Print how many answers are the same, and the times for an item.

    Parameters
    ----------
    package : str
        Its name.
    items : sequence
        What is asked, one at least.
    theirs : callable
        The package's code; it answers one item.
    ours : callable
        seqcore's answers to all of some items.
    """
    there, expected = fastest(lambda: [theirs(item) for item in items])
    alone, single = fastest(lambda: [ours([item])[0] for item in items])
    together, batch = fastest(lambda: ours(items))
    same = sum(a == b == c for a, b, c in zip(expected, single, batch, strict=True))
    print(f"{same:,} of {len(items):,} answers are the same")
    print(f"{f'NumPy code of {package}':<24}{there / len(items) * 1e6:10,.1f} us each")
    for title, seconds in (("seqcore, one at a time", alone), ("seqcore, all at once", together)):
        each, ratio = seconds / len(items) * 1e6, there / seconds
        print(f"{title:<24}{each:10,.1f} us each: {ratio:.1f} times as fast")
