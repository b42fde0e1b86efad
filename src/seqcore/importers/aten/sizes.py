"""Sizes of axes as polynomials: what torch.export knows of a shape that varies.

A size that is known is an int. Any other is a `Size`, a sum of products of symbols ("s31") with
whole factors; what is no such sum (a quotient, the larger of two) is a symbol of its own, named by
what it is made of, so that equal expressions are equal sizes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Union

from ...errors import ModelFileError

__all__ = ["AnySize", "Size", "divided", "product", "quotient", "symbol"]

Term = tuple[str, ...]  # symbols in order, each as often as its power

# Far past real models; a file could square a size a thousand times.
_MOST_TERMS = 64
_MOST_FACTORS = 8
_MOST_NAME = 120
_MOST = 1 << 62


@dataclass(frozen=True)
class Size:
    """A sum of products of symbols, never a plain number.

    Attributes
    ----------
    terms : tuple of (tuple of str, int)
        Symbols of each product and its factor, in order; () is the constant's.
    """

    terms: tuple[tuple[Term, int], ...]

    def __add__(self, other: AnySize) -> AnySize:
        return _sum([*self.terms, *_terms(other)])

    __radd__ = __add__

    def __mul__(self, other: AnySize) -> AnySize:
        return _sum((tuple(sorted(a + b)), m * n) for a, m in self.terms for b, n in _terms(other))

    __rmul__ = __mul__

    def __neg__(self) -> AnySize:
        return self * -1

    def __sub__(self, other: AnySize) -> AnySize:
        return self + -other

    def __rsub__(self, other: int) -> AnySize:
        return -self + other

    def __str__(self) -> str:
        parts = ["*".join([str(n), *names] if n != 1 or not names else names)
                 for names, n in self.terms]  # fmt: skip
        return " + ".join(parts)


AnySize = Union[int, Size]  # noqa: UP007  # a name, of Python 3.10 too


def symbol(name: str) -> Size:
    """Return the size of that name."""
    if len(name) > _MOST_NAME:
        name = f"({hashlib.blake2b(name.encode(), digest_size=16).hexdigest()})"
    return Size((((name,), 1),))


def _terms(size: AnySize) -> Iterable[tuple[Term, int]]:
    return [((), size)] if isinstance(size, int) else size.terms


def _sum(terms: Iterable[tuple[Term, int]]) -> AnySize:
    total: dict[Term, int] = {}
    for names, factor in terms:
        total[names] = total.get(names, 0) + factor
    kept = sorted((names, factor) for names, factor in total.items() if factor)
    if any(abs(factor) > _MOST for _, factor in kept):
        raise ModelFileError("a size is larger than any tensor")
    if len(kept) > _MOST_TERMS or any(len(names) > _MOST_FACTORS for names, _ in kept):
        return symbol(f"({kept!r})")
    if not kept:
        return 0
    if len(kept) == 1 and kept[0][0] == ():
        return kept[0][1]
    return Size(tuple(kept))


def product(sizes: Iterable[AnySize]) -> AnySize:
    """Return the product of sizes; of none, 1."""
    total: AnySize = 1
    for size in sizes:
        total = total * size
        if isinstance(total, int) and abs(total) > _MOST:
            raise ModelFileError("a size is larger than any tensor")
    return total


def divided(size: AnySize, by: AnySize) -> AnySize | None:
    """Return size / by if that is a size, else None."""
    if size == by:
        return 1
    if by == 0:
        return None
    left, divisor = dict(_terms(size)), dict(_terms(by))
    first = max(divisor, key=_order)
    made: dict[Term, int] = {}
    while left and len(made) <= _MOST_TERMS:  # a long division: the highest term goes each time
        highest = max(left, key=_order)
        rest = _without(highest, first)
        if rest is None or left[highest] % divisor[first]:
            return None
        factor = made[rest] = left[highest] // divisor[first]
        for names, count in divisor.items():
            term = tuple(sorted(names + rest))
            left[term] = left.get(term, 0) - factor * count
            if not left[term]:
                del left[term]
    return None if left else _sum(made.items())


def _order(names: Term) -> tuple[int, Term]:
    """Order products such that a larger one stays larger, whatever both are multiplied by."""
    return len(names), names


def _without(names: Term, others: Term) -> Term | None:
    """Return a product divided by another; None if it has not all of its factors."""
    rest = list(names)
    for name in others:
        if name not in rest:
            return None
        rest.remove(name)
    return tuple(rest)


def quotient(size: AnySize, by: AnySize) -> AnySize:
    """Return size // by, as a symbol of its own where it is no polynomial."""
    if isinstance(size, int) and isinstance(by, int):
        return size // by
    exact = divided(size, by)
    return symbol(f"({size})//({by})") if exact is None else exact
