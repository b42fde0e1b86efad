"""Attention, AdditiveAttention and MultiHeadAttention, with Keras's constructors.

What Keras takes at a call, `use_causal_mask` and `return_attention_scores`, are options of the
layer here. All are one op; several heads have projections around it, which are dense.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import layouts
from ..errors import GraphError, OptionError, WeightsError
from ..graph import ActivationSpec, GraphBuilder, Mask, Site, Value
from .base import Array, Layer, Shape, Slot, choice, flag, fraction, is_size, whole
from .feedforward import features

__all__ = ["AdditiveAttention", "Attention", "MultiHeadAttention", "attend"]


def _number(value: ArrayLike, layer: str, name: str) -> float:
    """Return a weight that is one number."""
    number = float(layouts.weight(value, layer, name, ()))
    if not math.isfinite(number):
        raise WeightsError(f"layer {layer!r}, weight {name}: expected a finite number")
    return number


def attend(
    graph: GraphBuilder,
    site: Site,
    inputs: Sequence[Value],
    masks: Sequence[Mask | None],
    outputs: tuple[str, str | None],
    weights: dict[str, Array | None] | None = None,
    **attrs: Any,
) -> list[Value]:
    """Add the op, whose result ends where the query does.

    `inputs` are query, value and perhaps key; `masks` those of the query and of the value.
    """
    query, value, *key = inputs
    read = [graph.mask(replace(query, mask=mask)) for mask in masks]
    made = graph.node(
        "attention",
        site,
        [query, value, key[0] if key else None, *read],
        outputs=outputs,
        weights=weights,
        attrs=attrs,
    )
    made[0] = replace(made[0], lengths=query.lengths)
    if outputs[1] is None:
        return made[:1]
    return [made[0], replace(made[1], rank=4 if attrs["heads"] else 3)]


# Options that the weights tell.
_TOLD = frozenset([
    "use_scale", "concat_score_weight", "num_heads", "key_dim", "value_dim", "output_shape",
])  # fmt: skip


class _Attention(Layer):
    """What all three share."""

    inputs = (2, 3)
    keeps_mask = True
    reads_mask = True

    def _take(self, dropout: float, use_causal_mask: bool, return_attention_scores: bool) -> None:
        self.dropout = fraction(dropout, self.label, "dropout")
        self.use_causal_mask = flag(use_causal_mask, self.label, "use_causal_mask")
        self.return_attention_scores = flag(
            return_attention_scores, self.label, "return_attention_scores"
        )

    @property
    def outputs(self) -> int:
        return 1 + self.return_attention_scores

    def loaded(self, arrays: Sequence[Array]) -> Layer:
        if not self.keras_weights():
            return self
        options = {name: given for name, given in self.options.items() if name not in _TOLD}
        made: Layer = type(self).from_keras(arrays, **options)  # type: ignore[attr-defined]
        return made

    def _names(self, site: Site) -> tuple[str, str | None]:
        """Return the names of the result and of the scores."""
        return site.value, f"{site.value}:scores" if self.return_attention_scores else None


class Attention(_Attention):
    """Each frame of a query takes a mean of a value's frames, weighed by how they match.

    Called on (query, value) or (query, value, key): (B, Tq, D), (B, Tv, Dv) and (B, Tv, D) give
    ``softmax(scores) @ value`` (B, Tq, Dv). Without a key, it is the value.

    Parameters
    ----------
    use_scale : bool or array ()
        Whether scores are scaled, or by what.
    concat_score_weight : array (), optional
        Of score_mode "concat".
    score_mode : "dot" or "concat"
        ``scale * q @ k``, or ``concat_score_weight * sum(tanh(scale * (q + k)))``.
    dropout : float
        From 0 to 1; nothing, when a trained network runs.
    use_causal_mask : bool
        Frame i of the query sees frames 0 to i of the value.
    return_attention_scores : bool
        Whether the weights (B, Tq, Tv) are returned too.
    name : str, optional

    Raises
    ------
    OptionError, WeightsError, DtypeError

    Notes
    -----
    Where the query's mask is 0 the result is 0. Where the value's is 0, the score is less by 1e9:
    a query that sees nothing gets the mean of all values.
    """

    def __init__(
        self,
        use_scale: bool | ArrayLike = False,
        concat_score_weight: ArrayLike | None = None,
        *,
        score_mode: str = "dot",
        dropout: float = 0.0,
        use_causal_mask: bool = False,
        return_attention_scores: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self._take(dropout, use_causal_mask, return_attention_scores)
        self.score_mode = choice(score_mode, self.label, "score_mode", ("dot", "concat"))
        self.scale: float | None = None
        if isinstance(use_scale, (bool, np.bool_)):
            self.use_scale = bool(use_scale)
        else:
            self.use_scale, self.scale = True, _number(use_scale, self.label, "scale")
        self.W: Array | None = None
        if concat_score_weight is not None:
            if score_mode != "concat":
                raise OptionError(f"{self.label}: score_mode 'dot' has no concat_score_weight")
            weight = layouts.weight(concat_score_weight, self.label, "concat_score_weight", ())
            self.W = weight.reshape(1)

    @classmethod
    def from_keras(cls, arrays: Sequence[ArrayLike], **options: Any) -> Attention:
        """Make the layer from a Keras Attention's ``get_weights()``: scale, concat_score_weight.

        Which of them there are, follows from their number and from `score_mode`.
        """
        name = options.get("name") or cls.__name__
        given = layouts.keras_arrays(arrays, name, ("scale", "concat_score_weight"))
        concat = 1 if options.get("score_mode") == "concat" else 0
        use_scale = options.pop("use_scale", len(given) > concat)
        if len(given) != concat + bool(use_scale):
            raise WeightsError(
                f"layer {name!r}: expected {concat + bool(use_scale)} arrays; found {len(given)}"
            )
        weight = given[-1] if concat else None
        return cls(given[0] if use_scale else False, weight, **options)

    @property
    def built(self) -> bool:
        scaled = self.scale is not None or not self.use_scale
        return scaled and (self.W is not None or self.score_mode == "dot")

    def parameters(self, shape: Shape) -> int:  # noqa: ARG002
        return len(self.keras_weights())

    def keras_weights(self) -> list[Slot]:
        concat = [Slot("concat_score_weight", ())] if self.score_mode == "concat" else []
        return [Slot("scale", ())] * self.use_scale + concat

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        dot = self.score_mode == "dot"
        return attend(
            graph,
            site,
            inputs,
            [value.mask for value in inputs[:2]],
            self._names(site),
            {} if dot else {"W": self.W},
            score="dot" if dot else "additive",
            masking="subtract",
            heads=0,
            scale=1.0 if self.scale is None else self.scale,
            causal=self.use_causal_mask,
            **({} if dot else {"shared": True}),
        )


class AdditiveAttention(_Attention):
    """`Attention` whose scores are ``sum(scale * tanh(q + k))``.

    Parameters
    ----------
    use_scale : bool or array (D,)
        Whether each feature has a weight, or the weights.
    dropout, use_causal_mask, return_attention_scores, name
        As in `Attention`.

    Raises
    ------
    OptionError, WeightsError, DtypeError
    """

    def __init__(
        self,
        use_scale: bool | ArrayLike = True,
        *,
        dropout: float = 0.0,
        use_causal_mask: bool = False,
        return_attention_scores: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self._take(dropout, use_causal_mask, return_attention_scores)
        self.use_scale = True
        self.W: Array | None = None
        if not isinstance(use_scale, (bool, np.bool_)):
            self.W = layouts.weight(use_scale, self.label, "scale", (None,), "(features,)")
        elif not use_scale:
            self.use_scale = False
            self.W = np.ones(1, np.float32)
            self.W.flags.writeable = False

    @classmethod
    def from_keras(cls, arrays: Sequence[ArrayLike], **options: Any) -> AdditiveAttention:
        """Make the layer from a Keras AdditiveAttention's ``get_weights()``: scale, or nothing."""
        name = options.get("name") or cls.__name__
        given = layouts.keras_arrays(arrays, name, ("scale",))
        use_scale = options.pop("use_scale", bool(given))
        if len(given) != bool(use_scale):
            raise WeightsError(
                f"layer {name!r}: expected {int(bool(use_scale))} arrays; found {len(given)}"
            )
        return cls(given[0] if given else False, **options)

    @property
    def built(self) -> bool:
        return self.W is not None

    def parameters(self, shape: Shape) -> int:
        if not self.use_scale:
            return 0
        return features(shape[-1], self.label) if self.W is None else len(self.W)

    def keras_weights(self) -> list[Slot]:
        return [Slot("scale", (None,))] * self.use_scale

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return attend(
            graph,
            site,
            inputs,
            [value.mask for value in inputs[:2]],
            self._names(site),
            {"W": self.W},
            score="additive",
            masking="subtract",
            heads=0,
            scale=1.0,
            causal=self.use_causal_mask,
            shared=not self.use_scale,
        )


_PARTS = ("query", "key", "value", "attention_output")
_HOMES = ("query_dense", "key_dense", "value_dense", "output_dense")


class MultiHeadAttention(_Attention):
    """Attention in several heads, each over projections of its own, and a projection of them all.

    Called on (query, value) or (query, value, key): (B, Tq, D), (B, Tv, Dv) and (B, Tv, Dk) give
    (B, Tq, output_shape). Without a key, it is the value.

    Parameters
    ----------
    num_heads : int, or list of four or eight arrays
        The number of heads h; or the kernels, each followed by its bias if there are any, in the
        order of Keras's ``get_weights()``: query (D, h, d) and (h, d), key (Dk, h, d) and (h, d),
        value (Dv, h, v) and (h, v), output (h, v, E) and (E,).
    key_dim : int, optional
        Features d of a head's queries and keys; left out when arrays are given.
    value_dim : int, optional
        Features v of a head's values; `key_dim` by default.
    output_shape : int, optional
        Features E of the result. A layer without weights must say it before it is in a model.
    use_bias : bool
    dropout : float
        From 0 to 1. Nothing, when a trained network runs, but see the notes.
    use_causal_mask, return_attention_scores, name
        As in `Attention`; the scores are (B, h, Tq, Tv).

    Raises
    ------
    OptionError, WeightsError, DtypeError

    Notes
    -----
    A frame of the query that is masked, or all of whose value's frames are, gets the mean of all
    values, as from Keras's fused attention. With `dropout` or `return_attention_scores` Keras takes
    another way, and gives zeros there; so does this layer.
    """

    def __init__(
        self,
        num_heads: int | Sequence[ArrayLike],
        key_dim: int | None = None,
        value_dim: int | None = None,
        *,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: int | Sequence[int] | None = None,
        use_causal_mask: bool = False,
        return_attention_scores: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self._take(dropout, use_causal_mask, return_attention_scores)
        self.use_bias = flag(use_bias, self.label, "use_bias")
        self.output_shape: int | None = None
        self.weights: dict[str, tuple[Array, Array]] = {}
        if is_size(num_heads):
            self.num_heads = whole(num_heads, self.label, "num_heads")
            self.key_dim = whole(key_dim, self.label, "key_dim")
            given = key_dim if value_dim is None else value_dim
            self.value_dim = whole(given, self.label, "value_dim")
            if output_shape is not None:
                self.output_shape = whole(output_shape, self.label, "output_shape")
        elif not (key_dim is None and value_dim is None and output_shape is None):
            raise OptionError(f"{self.label}: arrays are given; they tell the sizes themselves")
        else:
            self._read(num_heads)

    def _read(self, arrays: Any) -> None:
        """Keep weights, as matrices (D, h*d) and rows (h*d,)."""
        names = [f"{part} {kind}" for part in _PARTS for kind in ("kernel", "bias")]
        given = layouts.keras_arrays(arrays, self.label, names if len(arrays) == 8 else _PARTS)
        if len(given) not in (4, 8):
            raise WeightsError(
                f"layer {self.label!r}: expected four kernels, or each with a bias; found "
                f"{len(given)} arrays"
            )
        biased = len(given) == 8
        if biased and not self.use_bias:
            raise OptionError(f"{self.label}: biases are given and use_bias is False")
        self.use_bias = biased
        kernels = dict(zip(_PARTS, given[::2] if biased else given, strict=True))
        biases = dict(zip(_PARTS, given[1::2], strict=True)) if biased else {}

        def take(part: str, *shape: int | None) -> tuple[int, ...]:
            """Keep one kernel of this shape, and its bias, and return the whole shape."""
            kernel = layouts.weight(kernels[part], self.label, f"{part} kernel", shape)
            joined = 2 if part == "attention_output" else 1  # axes that are multiplied
            W = kernel.reshape(math.prod(kernel.shape[:joined]), -1)
            b = np.zeros(W.shape[1], np.float32)
            if biased:
                sizes = kernel.shape[joined:]
                b = layouts.weight(biases[part], self.label, f"{part} bias", sizes).reshape(-1)
            b.flags.writeable = False
            self.weights[part] = W, b
            return kernel.shape

        _, self.num_heads, self.key_dim = take("query", None, None, None)
        take("key", None, self.num_heads, self.key_dim)
        _, _, self.value_dim = take("value", None, self.num_heads, None)
        *_, self.output_shape = take("attention_output", self.num_heads, self.value_dim, None)

    @classmethod
    def from_keras(cls, arrays: Sequence[ArrayLike], **options: Any) -> MultiHeadAttention:
        """Make the layer from a Keras MultiHeadAttention's ``get_weights()``.

        Sizes among the options are checked against the arrays.
        """
        name = options.get("name") or cls.__name__
        given = layouts.keras_arrays(arrays, name, _PARTS)
        if options.get("use_bias") is True and len(given) == 4:
            raise WeightsError(f"layer {name!r}: use_bias=True, but there are four arrays alone")
        sizes = ("num_heads", "key_dim", "value_dim", "output_shape")
        wanted = {option: options.pop(option, None) for option in sizes}
        layer = cls(given, **options)
        for option, size in wanted.items():
            if size is not None and whole(size, name, option) != getattr(layer, option):
                raise WeightsError(
                    f"layer {name!r}: {option} is {size}, the weights have {getattr(layer, option)}"
                )
        return layer

    @property
    def built(self) -> bool:
        return bool(self.weights)

    def parameters(self, shape: Shape) -> int:
        h, d, v = self.num_heads, self.key_dim, self.value_dim
        if self.weights:
            sizes = [len(self.weights[part][0]) for part in _PARTS[:3]]
        else:  # key and value are taken to be like the query: theirs are known in a file alone
            sizes = [features(shape[-1], self.label)] * 3
        out = self.output_shape or sizes[0]
        return (
            h * d * (sizes[0] + self.use_bias)
            + h * d * (sizes[1] + self.use_bias)
            + h * v * (sizes[2] + self.use_bias)
            + out * (h * v + self.use_bias)
        )

    def keras_weights(self) -> list[Slot]:
        h, d, v = self.num_heads, self.key_dim, self.value_dim
        kernels: list[Shape] = [(None, h, d), (None, h, d), (None, h, v), (h, v, self.output_shape)]
        slots = []
        for part, home, kernel in zip(_PARTS, _HOMES, kernels, strict=True):
            slots.append(Slot(f"{part}/kernel", kernel, home))
            if self.use_bias:
                bias = kernel[2:] if part == _PARTS[3] else kernel[1:]
                slots.append(Slot(f"{part}/bias", bias, home))
        return slots

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        query, value, *rest = inputs
        key = rest[0] if rest else value
        if self.output_shape is None:
            raise GraphError(f"{self.label}: a layer without weights must have an output_shape")
        both = value.mask or key.mask
        if value.mask and key.mask and value.mask != key.mask:
            both = Mask("all", (value.mask, key.mask))
        key_width, value_width = self.num_heads * self.key_dim, self.num_heads * self.value_dim
        projected = [
            self._dense(graph, site, "query", query, key_width),
            self._dense(graph, site, "value", value, value_width),
            self._dense(graph, site, "key", key, key_width),
        ]
        attended, *scores = attend(
            graph,
            site,
            projected,
            [query.mask, both],
            (f"{site.value}:attention", self._names(site)[1]),
            score="dot",
            masking="zero" if self.dropout > 0 or self.return_attention_scores else "replace",
            heads=self.num_heads,
            scale=1 / math.sqrt(self.key_dim),
            causal=self.use_causal_mask,
        )
        y = self._dense(graph, site, "attention_output", attended, self.output_shape)
        return [y, *scores]

    def _dense(self, graph: GraphBuilder, site: Site, part: str, x: Value, units: int) -> Value:
        """Add a projection; the last one is the layer's result."""
        W, b = self.weights.get(part, (None, None))
        inner = site.inner(part)
        (y,) = graph.node(
            "dense",
            inner,
            [x],
            outputs=[site.value if part == _PARTS[3] else inner.value],
            weights={"W": W, "b": b},
            attrs={"units": units, "activation": ActivationSpec("linear").attr()},
        )
        return y
