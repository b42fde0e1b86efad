"""An activation as a user says it, with its constants; docs/design.md defines the kinds.

Also how messages show a value, and which numbers are finite: what every module that checks options
needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import OptionError

__all__ = ["ActivationSpec", "finite", "told"]

# Keras 3's (alpha, beta) of the kinds that have any.
_PARAMETERS = {
    "hard_sigmoid": (1 / 6, 0.5), "leaky_relu": (0.2, 0.0), "elu": (1.0, 0.0), "celu": (1.0, 0.0),
    "hard_shrink": (0.5, 0.0), "soft_shrink": (0.5, 0.0), "squareplus": (4.0, 0.0),
    "threshold": (1.0, 0.0), "affine": (1.0, 0.0), "scaled_tanh": (1.0, 1.0),
}  # fmt: skip
_USES_BETA = frozenset(["hard_sigmoid", "threshold", "affine", "scaled_tanh"])
_NOT_NEGATIVE = frozenset(["celu", "soft_shrink", "squareplus"])  # alpha; celu divides by it
_KINDS = frozenset([
    "linear", "tanh", "sigmoid", "relu", "hard_sigmoid", "softplus", "softsign", "exponential",
    "silu", "leaky_relu", "elu", "selu", "gelu", "gelu_tanh", "relu6", "celu", "log_sigmoid",
    "mish", "hard_silu", "hard_tanh", "hard_shrink", "soft_shrink", "tanh_shrink", "threshold",
    "squareplus", "sparse_plus", "affine", "scaled_tanh", "softmax", "log_softmax",
])  # fmt: skip
_ALIASES = {"swish": "silu", "hard_swish": "hard_silu"}


def told(value: Any) -> str:
    """Return a value as messages show it."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python writes no number of more than 4300 digits
        return f"a huge {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


def finite(value: Any) -> float | None:
    """Return a finite number, Python's or NumPy's, as a float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


@dataclass(frozen=True)
class ActivationSpec:
    """An activation with its constants; docs/design.md, "Activations", defines the kinds.

    Parameters
    ----------
    kind : str
        linear, tanh, sigmoid, relu, relu6, hard_sigmoid, hard_tanh, hard_silu, softplus, softsign,
        exponential, silu, mish, leaky_relu, elu, celu, selu, gelu, gelu_tanh, log_sigmoid,
        hard_shrink, soft_shrink, tanh_shrink, threshold, squareplus, sparse_plus, affine,
        scaled_tanh, softmax or log_softmax; also swish (silu), hard_swish (hard_silu) and
        sparse_sigmoid (hard_sigmoid of 0.5 and 0.5).
    alpha, beta : float, optional
        The slope and offset of hard_sigmoid and affine; the factor (alpha) of leaky_relu, elu and
        celu; the limit (alpha) of hard_shrink and soft_shrink, that of threshold and what it gives
        up to there (beta); the constant (alpha) of squareplus; scaled_tanh's factors of the result
        (alpha) and of x (beta). Left out they are Keras 3's: hard_sigmoid 1/6 and 0.5, leaky_relu
        0.2, elu and celu 1, hard_shrink and soft_shrink 0.5, squareplus 4; threshold and affine 1
        and 0, scaled_tanh 1 and 1.

    Raises
    ------
    OptionError
        For an unknown kind, a constant that is no finite number or outside of its range, or a
        constant of a kind that has none.
    """

    kind: str
    alpha: float = None  # type: ignore[assignment]  # a float once constructed
    beta: float = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.kind == "sparse_sigmoid" and self.alpha is None and self.beta is None:
            for field_name, value in (("kind", "hard_sigmoid"), ("alpha", 0.5), ("beta", 0.5)):
                object.__setattr__(self, field_name, value)
        if not isinstance(self.kind, str) or _ALIASES.get(self.kind, self.kind) not in _KINDS:
            known = ", ".join(sorted(_KINDS))
            raise OptionError(f"activation: expected one of {known}; found {self.kind!r}")
        kind = _ALIASES.get(self.kind, self.kind)
        defaults = _PARAMETERS.get(kind, (0.0, 0.0))
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "alpha", self._constant("alpha", defaults[0], kind in _PARAMETERS))
        object.__setattr__(self, "beta", self._constant("beta", defaults[1], kind in _USES_BETA))
        if kind in _NOT_NEGATIVE and (self.alpha < 0 or (self.alpha == 0 and kind == "celu")):
            least = "above 0" if kind == "celu" else "from 0 on"
            raise OptionError(f"activation {kind}: alpha is a number {least}; found {self.alpha!r}")

    def _constant(self, which: str, default: float, used: bool) -> float:
        value = getattr(self, which)
        if value is None:
            return default
        number = finite(value)
        if number is None:
            raise OptionError(
                f"activation {self.kind}: {which} is a finite number; found {told(value)}"
            )
        if number and not used:
            raise OptionError(f"activation {self.kind} has no {which}; found {value!r}")
        return number

    @classmethod
    def of(cls, value: ActivationSpec | str | None, option: str) -> ActivationSpec:
        """Return what an option means: None is linear, a string is as in Keras 3."""
        if isinstance(value, ActivationSpec):
            return value
        if value is None:
            return cls("linear")
        if not isinstance(value, str):
            raise OptionError(
                f"{option}: expected the name of an activation, an ActivationSpec or None; found "
                f"{value!r}"
            )
        try:
            return cls(value)
        except OptionError as error:
            raise OptionError(f"{option}: {error}") from None

    def attr(self) -> list[str | float]:
        """Return the form that a graph holds, ``[kind, alpha, beta]``."""
        return [self.kind, self.alpha, self.beta]
