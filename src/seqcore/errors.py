"""Every exception that seqcore raises on purpose.

Each class is also the built-in exception that a caller would expect, so that `except ValueError`
goes on working. A message names the layer or the file, what was expected and what was found.
Programming errors inside seqcore are not here: they stay what Python makes of them.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "DtypeError",
    "GraphError",
    "IdRangeError",
    "MissingExtraError",
    "ModelFileError",
    "NotBuiltError",
    "OptionError",
    "ScoresError",
    "SeqcoreError",
    "ShapeError",
    "StateError",
    "StreamError",
    "UnknownTokenError",
    "UnsupportedLayerError",
    "WeightsError",
]


class SeqcoreError(Exception):
    """Base of every exception of this package."""


class ModelFileError(SeqcoreError, ValueError):
    """A file is truncated, foreign, hostile or contradicts itself. The message names the file."""


class UnsupportedLayerError(SeqcoreError, NotImplementedError):
    """Layers that this library does not run, all of them at once.

    Parameters
    ----------
    layers : iterable of (name, reason), or str
        Every offending layer with why it is not supported; or a message alone, where no layer can
        be named.
    source : str, optional
        What they come from, a file or a module; it opens the message.

    Attributes
    ----------
    layers : list of (str, str)
        The pairs given; empty for a message alone.
    inputs : list of str
        Inputs of an ONNX graph whose numbers would have to be known, ``load(constants=...)``.
    """

    layers: list[tuple[str, str]]
    inputs: list[str]

    def __init__(self, layers: Iterable[tuple[str, str]] | str, source: str | None = None) -> None:
        # A lone message is also the form in which the exception comes back out of a pickle:
        # BaseException hands over args, then restores .layers from __dict__.
        self.inputs = []
        self.layers = [] if isinstance(layers, str) else [(name, reason) for name, reason in layers]
        if isinstance(layers, str):
            message = layers
        else:
            message = "unsupported: " + "; ".join(f"{name} ({why})" for name, why in self.layers)
        super().__init__(f"{source}: {message}" if source else message)


class WeightsError(SeqcoreError, ValueError):
    """A weight is missing or has the wrong shape. Names layer, weight, expected and found."""


class ShapeError(SeqcoreError, ValueError):
    """Rank, features, batch or lengths of an input or an output are wrong."""


class DtypeError(SeqcoreError, TypeError):
    """Float ids, ids too large for int64, complex or object arrays."""


class OptionError(SeqcoreError, ValueError):
    """An option of a constructor or of a call is outside its range."""


class IdRangeError(SeqcoreError, IndexError):
    """A token id is negative, or not below the size of the vocabulary."""


class UnknownTokenError(SeqcoreError, KeyError):
    """A token is not in a vocabulary, which has none that stands for such."""

    __str__ = Exception.__str__  # a KeyError would show the message in quotes


class GraphError(SeqcoreError, ValueError):
    """A graph of layers is not one: a cycle, a foreign symbol, a name given twice."""


class StreamError(SeqcoreError, RuntimeError):
    """A stream that another thread is using, one that was closed, or one too many for its pool."""


class StateError(SeqcoreError, ValueError):
    """A saved state is damaged, or belongs to another model."""


class ScoresError(SeqcoreError, ArithmeticError):
    """Scores among which no token can be chosen: NaN, +inf, or nothing above -inf."""


class NotBuiltError(SeqcoreError, RuntimeError):
    """A model without weights was called."""


class MissingExtraError(SeqcoreError, ImportError):
    """An optional package is needed. The message names the extra, as in seqcore[keras]."""
