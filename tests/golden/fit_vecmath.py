"""Derives the polynomial and rational coefficients of src/core/vecmath.h and activations.h.

Each fit minimises the largest relative error of the finished function (Lawson's reweighted least
squares on Chebyshev nodes), then rounds the coefficients to float32 one by one from the most
important, fitting the rest again after each. Prints the C constants and the error that is left with
the rounded ones. Not run by the tests.
"""

from __future__ import annotations

from collections.abc import Sequence

import mpmath
import numpy as np

NODES = 1500
ROUNDS = 400


def chebyshev_nodes(low: float, high: float) -> np.ndarray:
    """Nodes in [low, high], dense towards both ends."""
    unit = np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)
    return 0.5 * (low + high) + 0.5 * (high - low) * unit


def lawson(columns: np.ndarray, target: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Coefficients c that minimise max |scale * (columns @ c - target)|."""
    weights = np.full(len(target), 1.0 / len(target))
    best, best_error = np.zeros(columns.shape[1]), np.inf
    for _ in range(ROUNDS):
        root = np.sqrt(weights) * scale
        solution = np.linalg.lstsq(columns * root[:, None], target * root, rcond=None)[0]
        residual = np.abs(scale * (columns @ solution - target))
        if residual.max() < best_error:
            best, best_error = solution, residual.max()
        weights = weights * residual
        weights /= weights.sum()
    return best


def fit(
    columns: np.ndarray, target: np.ndarray, scale: np.ndarray, order: Sequence[int]
) -> np.ndarray:
    """Minimax coefficients that are float32 numbers; `order` says which to round first."""
    fixed: dict[int, float] = {}
    for index in order:
        free = [i for i in range(columns.shape[1]) if i not in fixed]
        rest = target - sum(
            (columns[:, i] * value for i, value in fixed.items()), np.zeros_like(target)
        )
        solution = lawson(columns[:, free], rest, scale)
        fixed[index] = float(np.float32(solution[free.index(index)]))
    return np.array([fixed[i] for i in range(columns.shape[1])])


def report(name: str, coefficients: np.ndarray, error: float) -> None:
    """Prints one set of constants."""
    print(f"{name}: relative error {error:.2e} = 2^{np.log2(error):.1f}")
    for index, value in enumerate(coefficients):
        print(f"    c{index} = {np.float32(value)!s}f")


def polynomial(name: str, x: np.ndarray, target: np.ndarray, scale: np.ndarray, terms: int) -> None:
    """Fits target(x) by a polynomial of `terms` coefficients, least absolute `scale` * error."""
    columns = np.vander(x, terms, increasing=True)
    coefficients = fit(columns, target, scale, range(terms))
    report(name, coefficients, np.abs(scale * (columns @ coefficients - target)).max())


def fit_exp(terms: int) -> None:
    """exp(r) = 1 + r + r^2 P(r) for |r| <= ln(2)/2, with a little to spare."""
    r = chebyshev_nodes(-0.3467, 0.3467)
    target = np.array([float((mpmath.exp(v) - 1 - v) / v**2) for v in map(mpmath.mpf, r)])
    polynomial(f"exp, {terms} terms", r, target, r * r / np.exp(r), terms)


def fit_log1p(terms: int) -> None:
    """log1p(u) = 2 atanh(w), w = u/(2 + u) in [0, 1/3]; atanh(w) = w + w^3 P(w^2)."""
    square = chebyshev_nodes(1e-9, 1 / 9)
    w = np.sqrt(square)
    target = np.array([float((mpmath.atanh(v) - v) / v**3) for v in map(mpmath.mpf, w)])
    polynomial(f"log1p, {terms} terms", square, target, w**3 / np.arctanh(w), terms)


def fit_normal_tail(upper: int, lower: int) -> None:
    """Phi(-a) = exp(-a^2/2) P(a)/Q(a) for a in [0, 13.3].

    P has `upper` coefficients; Q has `lower`, the first of which is 1.
    """
    a = chebyshev_nodes(0.0, 13.3)
    ratio = np.array(
        [
            float(mpmath.exp(v * v / 2) * mpmath.erfc(v / mpmath.sqrt(2)) / 2)
            for v in map(mpmath.mpf, a)
        ]
    )
    columns = np.hstack(
        [np.vander(a, upper, increasing=True), -ratio[:, None] * np.vander(a, lower, True)[:, 1:]]
    )
    scale = 1 / ratio
    for _ in range(8):  # the error of the linear form, divided by Q, is the error of the quotient
        solution = lawson(columns, ratio, scale)
        denominator = np.vander(a, lower, increasing=True) @ np.concatenate(
            [[1.0], solution[upper:]]
        )
        scale = 1 / (ratio * denominator)
    order = [
        i
        for pair in zip(range(upper), range(upper, upper + lower), strict=False)
        for i in pair
        if i < upper + lower - 1
    ]
    order += [i for i in range(upper + lower - 1) if i not in order]
    coefficients = fit(columns, ratio, scale, order)
    numerator = np.vander(a, upper, increasing=True) @ coefficients[:upper]
    denominator = np.vander(a, lower, increasing=True) @ np.concatenate(
        [[1.0], coefficients[upper:]]
    )
    report(
        f"normal tail, P then Q from c1, {upper}/{lower}",
        coefficients,
        np.abs(numerator / denominator / ratio - 1).max(),
    )


def fit_tanh(terms: int, limit: float) -> None:
    """tanh(x) = x + x^3 P(x^2) for |x| <= limit."""
    square = chebyshev_nodes(1e-9, limit * limit)
    x = np.sqrt(square)
    target = np.array([float((mpmath.tanh(v) - v) / v**3) for v in map(mpmath.mpf, x)])
    polynomial(f"tanh, {terms} terms to {limit}", square, target, x**3 / np.tanh(x), terms)


def fit_tanh_shrink(terms: int, limit: float) -> None:
    """x - tanh(x) = x^3 P(x^2) for |x| <= limit."""
    square = chebyshev_nodes(1e-9, limit * limit)
    x = np.sqrt(square)
    target = np.array([float((v - mpmath.tanh(v)) / v**3) for v in map(mpmath.mpf, x)])
    polynomial(f"tanh_shrink, {terms} terms to {limit}", square, target, 1 / target, terms)


def main() -> None:
    """Prints every fit."""
    mpmath.mp.dps = 40
    for terms in (4, 5):
        fit_exp(terms)
    for terms in (5, 6):
        fit_log1p(terms)
    for terms in (4, 5):
        fit_tanh(terms, 0.55)
    for terms in (6, 7):
        fit_tanh_shrink(terms, 1.0)
    for upper, lower in ((4, 5), (5, 6), (6, 7)):
        fit_normal_tail(upper, lower)


if __name__ == "__main__":
    main()
