"""OneHot: a vector for each token id, which who reads ids instead never sees."""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import GraphBuilder, Site, Value
from .base import Layer, Shape, whole

__all__ = ["OneHot"]


class OneHot(Layer):
    """A vector of zeros and a single one for each token id, (B, ...) int64 to (B, ..., depth).

    A recurrent layer or `Dense` behind it picks a row of its W by the id, and the vectors are never
    made. The result is the same, bit for bit, but where W is not finite: no zero is multiplied by
    an infinite number or a NaN, so that a row of W without any gives numbers.

    Parameters
    ----------
    depth : int
        The size of the vocabulary.
    name : str, optional

    Raises
    ------
    OptionError
        And at a call IdRangeError for an id below 0 or not below `depth`.

    Examples
    --------
    >>> import numpy as np, seqcore as sc
    >>> sc.Sequential([sc.OneHot(3)])([[2, 0]]).tolist()
    [[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]]
    >>> W, U = np.array([[0.5], [1.0], [2.0]]), np.zeros((1, 1))
    >>> model = sc.Sequential([sc.OneHot(3), sc.SimpleRNN(W, U, activation=None)])
    >>> model([[2, 0], [0, 1]]).tolist()
    [[0.5], [1.0]]
    """

    framewise = True
    keeps_mask = True

    def __init__(self, depth: int, *, name: str | None = None) -> None:
        super().__init__(name)
        self.depth = whole(depth, self.label, "depth")

    def input_spec(self) -> tuple[Shape, str]:
        return (None,), "int64"

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return [graph.one_hot(site, inputs[0], self.depth)]
