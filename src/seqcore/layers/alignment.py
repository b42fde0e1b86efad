"""BahdanauAttention and LuongAttention: what a decoder of one token at a time looks at.

A query, a decoder's state, meets each frame of a memory, an encoder's output. Both lower to the op
of the other attentions, with projections before it; those of the memory depend on nothing else, so
that a `Generator` computes them once for a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import ArrayLike

from .. import layouts
from ..errors import OptionError, WeightsError
from ..graph import ActivationSpec, GraphBuilder, Mask, Site, Value, finite, told
from .attention import attend
from .base import Array, Layer, Shape, choice, flag, whole
from .feedforward import zeros

__all__ = ["BahdanauAttention", "LuongAttention"]


class _Alignment(Layer):
    """What both share: a query (B, Q) or (B, Tq, Q), a memory (B, T, M).

    Attributes
    ----------
    projections : dict of str to (array, array)
        W and b of the dense nodes before the op: "query" and "memory".
    v : array or None
        Of additive scores; None for products.
    """

    inputs = (2, 2)
    reads_mask = True
    projections: dict[str, tuple[Array, Array]]
    v: Array | None = None
    scale = 1.0
    _parameters = 0

    def __init__(self, return_attention_scores: bool, name: str | None) -> None:
        super().__init__(name)
        self.projections = {}
        self.return_attention_scores = flag(
            return_attention_scores, self.label, "return_attention_scores"
        )

    def _project(self, part: str, W: Array, b: Array | None = None) -> None:
        self.projections[part] = W, zeros(W.shape[1]) if b is None else b

    def _vector(self, v: ArrayLike, width: int) -> Array:
        """Return the weights of additive scores, which may be a column."""
        given = layouts.as_array(v, self.label, "v")
        flat = given.reshape(-1) if given.shape == (width, 1) else given
        return layouts.weight(flat, self.label, "v", (width,))

    @property
    def outputs(self) -> int:
        return 1 + self.return_attention_scores

    def parameters(self, shape: Shape) -> int:  # noqa: ARG002
        return self._parameters

    def mask(self, inputs: Sequence[Value]) -> Mask | None:
        return inputs[0].mask if inputs[0].rank == 3 else None

    def _projected(self, graph: GraphBuilder, site: Site, part: str, x: Value) -> Value:
        if part not in self.projections:
            return x
        W, b = self.projections[part]
        attrs = {"units": W.shape[1], "activation": ActivationSpec("linear").attr()}
        inner = site.inner(part)
        (y,) = graph.node("dense", inner, [x], weights={"W": W, "b": b}, attrs=attrs)
        return y

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        query, memory = inputs
        projected = self._projected(graph, site, "query", query)
        key = self._projected(graph, site, "memory", memory)
        additive = (
            {"score": "additive", "shared": False} if self.v is not None else {"score": "dot"}
        )
        single = query.rank == 2  # a sequence of one frame, which then goes again
        if single:
            (projected,) = graph.node(
                "expand", site, [projected], outputs=[f"{site.value}:query_frame"],
                attrs={"axis": 1}, time="gone",
            )  # fmt: skip
        end = ":frame" if single else ""
        names = (
            f"{site.value}{end}",
            f"{site.value}:scores{end}" if self.return_attention_scores else None,
        )
        made = attend(
            graph, site, [projected, memory] + ([] if key is memory else [key]),
            [None if single else query.mask, memory.mask], names,
            {} if self.v is None else {"W": self.v}, scale=self.scale, heads=0, causal=False,
            masking="zero", **additive,
        )  # fmt: skip
        return [self._frame(graph, site, value) for value in made] if single else made

    def _frame(self, graph: GraphBuilder, site: Site, value: Value) -> Value:
        """Take the only frame of what a single query gave."""
        (y,) = graph.node(
            "index", site, [replace(value, lengths=None)],
            outputs=[value.name.removesuffix(":frame")], attrs={"axis": 1, "index": 0}, time="gone",
        )  # fmt: skip
        return y


class BahdanauAttention(_Alignment):
    """Additive attention: a mean of a memory's frames, weighed by how a query matches each.

    Called on a query (B, Q) or (B, Tq, Q) and a memory (B, T, M), it gives the context, (B, M) or
    (B, Tq, M): ``softmax_t(v . tanh(query.W_query + memory_t.W_memory + b)) @ memory``.

    Parameters
    ----------
    W_query : array (Q, A)
    W_memory : array (M, A)
    v : array (A,) or (A, 1)
    b : array (A,), optional
        Where query and memory have a bias each, their sum. (One behind v changes nothing.)
    return_attention_scores : bool
        Whether the weights are returned too, (B, T) or (B, Tq, T).
    name : str, optional

    Raises
    ------
    WeightsError, DtypeError, OptionError

    Notes
    -----
    Frames past a row's end, and masked ones, have the weight 0; where a query sees no frame the
    context is 0. Source: Bahdanau, Cho, Bengio 2015, "Neural machine translation by jointly
    learning to align and translate", arXiv:1409.0473.

    Examples
    --------
    >>> import numpy as np, seqcore as sc
    >>> query, memory = sc.Input((2,)), sc.Input((None, 3))
    >>> look = sc.BahdanauAttention(np.zeros((2, 4)), np.zeros((3, 4)), np.zeros(4))
    >>> model = sc.Model([query, memory], look(query, memory))
    >>> model([[1, 2]], [[[1, 2, 3], [3, 2, 1]]]).tolist()
    [[2.0, 2.0, 2.0]]
    """

    def __init__(
        self,
        W_query: ArrayLike,
        W_memory: ArrayLike,
        v: ArrayLike,
        b: ArrayLike | None = None,
        *,
        return_attention_scores: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(return_attention_scores, name)
        query = layouts.weight(W_query, self.label, "W_query", (None, None), "(Q, A)")
        width = query.shape[1]
        memory = layouts.weight(W_memory, self.label, "W_memory", (None, width), "(M, A)")
        bias = None if b is None else layouts.weight(b, self.label, "b", (width,))
        self.v = self._vector(v, width)
        self._project("query", query)
        self._project("memory", memory, bias)
        self._parameters = query.size + memory.size + width * (1 if b is None else 2)


class LuongAttention(_Alignment):
    """Multiplicative attention: a mean of a memory's frames, weighed by how a query matches each.

    Called on a query (B, Q) or (B, Tq, Q) and a memory (B, T, M), it gives the context, (B, M) or
    (B, Tq, M), the mean of the frames with the softmax of these scores as weights.

    Parameters
    ----------
    W : array, optional
        Of score "general" (Q, M); of "concat" (Q + M, A), the query's rows first.
    v : array (A,) or (A, 1), optional
        Of score "concat".
    b : array (A,), optional
        Of score "concat".
    query_features : int, optional
        Of score "concat": Q. Half of W's rows if left out.
    score : "dot", "general" or "concat"
        ``query . memory_t``; ``query . W . memory_t``; ``v . tanh([query, memory_t].W + b)``.
    scale : float
        By which the scores of "dot" and "general" are multiplied.
    return_attention_scores, name
        As of `BahdanauAttention`.

    Raises
    ------
    WeightsError, DtypeError, OptionError

    Notes
    -----
    Frames past a row's end, and masked ones, have the weight 0; where a query sees no frame the
    context is 0. Source: Luong, Pham, Manning 2015, "Effective approaches to attention-based neural
    machine translation", arXiv:1508.04025.
    """

    def __init__(
        self,
        W: ArrayLike | None = None,
        v: ArrayLike | None = None,
        b: ArrayLike | None = None,
        *,
        query_features: int | None = None,
        score: str = "dot",
        scale: float = 1.0,
        return_attention_scores: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(return_attention_scores, name)
        self.score = choice(score, self.label, "score", ("dot", "general", "concat"))
        factor = finite(scale)
        if factor is None:
            raise OptionError(f"{self.label}: scale is a finite number; found {told(scale)}")
        self.scale = factor
        wanted = {"dot": [], "general": ["W"], "concat": ["W", "v"]}[self.score]
        given = [part for part, value in (("W", W), ("v", v), ("b", b)) if value is not None]
        if given != wanted and not (self.score == "concat" and given == ["W", "v", "b"]):
            raise WeightsError(
                f"layer {self.label!r}: score {score!r} has the weights {wanted}"
                f"{' and perhaps b' if score == 'concat' else ''}; found {given}"
            )
        if self.score != "concat" and query_features is not None:
            raise OptionError(f"{self.label}: query_features is an option of score 'concat'")
        if self.score == "concat" and self.scale != 1.0:
            raise OptionError(f"{self.label}: score 'concat' has no scale")
        if W is not None:
            both = layouts.weight(W, self.label, "W", (None, None))
            self._parameters = both.size
            if self.score == "general":
                # query.W.memory' = query.(memory.W')': once for a sequence, not at every step
                self._project("memory", layouts.weight(both.T, self.label, "W", both.T.shape))
            else:
                self._split(both, v, b, query_features)

    def _split(self, W: Array, v: Any, b: Any, query_features: int | None) -> None:
        """Keep the weights of score "concat": [query, memory].W is query.W1 + memory.W2."""
        rows, width = W.shape
        half = rows // 2 if query_features is None else query_features
        first = whole(half, self.label, "query_features")
        if first >= rows:
            raise WeightsError(
                f"layer {self.label!r}, weight W: expected more rows than the {first} of the "
                f"query; found {rows}"
            )
        bias = None if b is None else layouts.weight(b, self.label, "b", (width,))
        self.v = self._vector(v, width)
        self._project("query", layouts.weight(W[:first], self.label, "W", (first, width)))
        self._project("memory", layouts.weight(W[first:], self.label, "W", (None, width)), bias)
        self._parameters += width * (1 if b is None else 2)
