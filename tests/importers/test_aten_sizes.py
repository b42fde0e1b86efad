"""Sizes that vary as polynomials: sums, products, and exact quotients of them."""

from __future__ import annotations

import itertools

import numpy as np

from seqcore.importers.aten.sizes import AnySize, divided, product, symbol

A, B, T = symbol("a"), symbol("b"), symbol("t")
SUMS: list[AnySize] = [
    2, 3, A, T, A + 1, T - 1, 2 * T + 3, A * B, A * A + B, A * B + T + 1, B * B + A * T - 2, -1 * T,
]  # fmt: skip


def test_what_was_multiplied_divides() -> None:
    for a, b in itertools.product(SUMS, repeat=2):
        assert divided(a * b, a) == b, f"{a} * {b}"
        for c in SUMS[2:]:
            assert divided(product([a, b, c]), a * c) == b, f"{a} * {b} * {c}"


def test_what_does_not_divide() -> None:
    for size, by in [(A, 2), (A, B), (A + 1, A), (T, T + 1), (A * B + 1, A + 1), (3 * A + 2, 2),
                     (A * A - 2, A - 1), (5, A), (7, 2), (T, 0)]:  # fmt: skip
        assert divided(size, by) is None, f"{size} / {by}"


def test_quotients_are_those_of_numbers() -> None:
    random = np.random.default_rng(0)
    for a, b in itertools.product(SUMS, repeat=2):
        made = divided(a, b)
        if made is None:
            continue
        numbers = {"a": int(random.integers(2, 90)), "b": int(random.integers(2, 90)), "t": 91}
        assert value(made, numbers) * value(b, numbers) == value(a, numbers), f"{a} / {b}"


def value(size: AnySize, numbers: dict[str, int]) -> int:
    if isinstance(size, int):
        return size
    return sum(
        factor * int(np.prod([numbers[name] for name in names])) for names, factor in size.terms
    )
