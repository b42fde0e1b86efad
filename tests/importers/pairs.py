"""All-pairs coverage: few rows in which every two values of two options stand together."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = dict[str, Any]
_TRIES = 200


def pairwise(
    options: Mapping[str, Sequence[Any]], fits: Callable[[Row], bool] = lambda _: True
) -> list[Row]:
    """Return rows that hold every pair of values of different options that fits; always the same.

    The first row has the first value of each option.
    """
    random_ = random.Random(251)
    names = list(options)
    first = {name: options[name][0] for name in names}
    assert fits(first), first
    rows = [first]
    # Values are told apart by their places: True == 1, and a list has no hash.
    places = {name: range(len(options[name])) for name in names}
    left = {
        ((a, i), (b, j))
        for a, b in itertools.combinations(names, 2)
        for i in places[a]
        for j in places[b]
    } or {((name, i),) for name in names for i in places[name]}

    def held(row: Mapping[str, int]) -> set[Any]:
        return {pair for pair in left if all(row[name] == i for name, i in pair)}

    def values(row: Mapping[str, int]) -> Row:
        return {name: options[name][row[name]] for name in names}

    left -= held(dict.fromkeys(names, 0))
    for pair in sorted(left):
        if pair not in left:
            continue
        tried = [
            {name: random_.choice(places[name]) for name in names} | dict(pair)
            for _ in range(_TRIES)
        ]
        fitting = [row for row in tried if fits(values(row))][:20]
        if not fitting:
            left.discard(pair)
            continue
        best = max(fitting, key=lambda row: len(held(row)))
        rows.append(values(best))
        left -= held(best)
    return rows
