"""CRF: the best path of tags through a sequence of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import layouts
from ..errors import WeightsError
from ..graph import GraphBuilder, Site, Value
from .base import Array, Layer, Shape, flag

__all__ = ["CRF"]


class CRF(Layer):
    """Decodes a linear-chain conditional random field: the best path of tags, by Viterbi.

    Called on a score for every tag of every frame ("emissions"), (B, T, N) to int64 (B, T). The
    score of a path is ``start[y[0]] + sum(x[t, y[t]]) + sum(transitions[y[t-1], y[t]]) +
    end[y[-1]]``; of equal paths the one with the lowest last tag is taken, then with the lowest tag
    before it, and so on.

    Parameters
    ----------
    transitions : array (N, N)
        From tag i, the row, to tag j. -inf forbids.
    start, end : array (N,), optional
        Of a path's first and last tag; zeros.
    return_score : bool
        Whether the score of the best path, float32 (B,), is returned too.
    name : str, optional

    Raises
    ------
    OptionError, WeightsError, DtypeError

    Notes
    -----
    With lengths, a row is its own frames; tags past its end are 0. Frames that a mask leaves out
    are no part of the path, wherever they stand: what is before joins what is behind, and their tag
    is 0. A row of no frames has score 0.

    -inf forbids a tag at a frame. A row of which every path is forbidden, score -inf, has the tag
    -1 at all of its frames, and so has one that holds NaN or +inf, whose score is NaN.

    Sums are made in double precision, so that tags and score are the same on every instruction set.

    pytorch-crf takes masks whose frames that count are the first ones, and nothing else; then they
    mean the same here (`from_torch`). Weights of TensorFlow Addons, also below keras-crf, are
    ``Dense(kernel, bias)`` and behind it ``CRF(chain_kernel, left_boundary, right_boundary)``.
    Those of keras-contrib are energies, of which the least is the best: negate them all, `kernel`
    and `bias` too; without a mask its own decoding treats the last frame as if another followed,
    which this layer does not.

    Examples
    --------
    >>> import numpy as np, seqcore as sc
    >>> stay = sc.CRF([[0, -3], [-3, 0]])  # to change the tag costs 3
    >>> model = sc.Sequential([sc.Input((None, 2)), stay])
    >>> model(np.array([[[2, 0], [0, 1], [2, 0], [0, 9]]])).tolist()
    [[0, 0, 0, 1]]
    """

    keeps_mask = True
    reads_mask = True

    def __init__(
        self,
        transitions: ArrayLike,
        start: ArrayLike | None = None,
        end: ArrayLike | None = None,
        *,
        return_score: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.return_score = flag(return_score, self.label, "return_score")
        given = layouts.as_array(transitions, self.label, "transitions")
        tags = given.shape[0] if given.ndim and given.size else None
        self.W = self._scores(given, "transitions", (tags, tags), "(tags, tags)")
        self.tags = len(self.W)
        none = np.zeros(self.tags)
        self.start, self.end = (
            self._scores(none if row is None else row, which, (self.tags,), "(tags,)")
            for which, row in (("start", start), ("end", end))
        )
        self._parameters = self.W.size + self.tags * ((start is not None) + (end is not None))

    def _scores(
        self, array: ArrayLike, which: str, shape: Sequence[int | None], meaning: str
    ) -> Array:
        """Return a weight of numbers and -inf."""
        scores = layouts.weight(array, self.label, which, shape, meaning)
        wrong = scores[~(scores < np.inf)]
        if wrong.size:
            raise WeightsError(
                f"layer {self.label!r}, weight {which}: expected numbers, or -inf for what is "
                f"forbidden; found {wrong[0]}"
            )
        return scores

    @classmethod
    def from_torch(cls, weights: Mapping[str, ArrayLike], prefix: str = "", **options: Any) -> CRF:
        """Make the layer from a pytorch-crf CRF's weights.

        Parameters
        ----------
        weights : mapping of str to array
            A state_dict with ``<prefix>.transitions``, ``.start_transitions`` and
            ``.end_transitions``.
        prefix : str
            With or without the trailing dot; "" for the root.
        **options
            As of the constructor.

        Raises
        ------
        WeightsError
            One of the three is missing, or something else is there, which may change the result.
        """
        return cls(*layouts.torch_crf(weights, prefix, options.get("name") or "CRF"), **options)

    @property
    def outputs(self) -> int:
        return 1 + self.return_score

    def input_spec(self) -> tuple[Shape, str]:
        return (None, self.tags), "float32"

    def parameters(self, shape: Shape) -> int:  # noqa: ARG002
        return self._parameters

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        score = f"{site.value}:score" if self.return_score else None
        tags, last = graph.node(
            "crf",
            site,
            [inputs[0], graph.mask(inputs[0])],
            outputs=[site.value, score],
            weights={"W": self.W, "start": self.start, "end": self.end},
            attrs={"tags": self.tags},
        )
        return [tags] if score is None else [tags, replace(last, rank=1)]
