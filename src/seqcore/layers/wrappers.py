"""Bidirectional and TimeDistributed: layers around a layer, which lower to its nodes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import ArrayLike

from .. import layouts
from ..errors import GraphError, OptionError, WeightsError
from ..graph import GraphBuilder, Mask, Site, Value
from .base import Array, Layer, Shape, Slot, choice, flag
from .recurrent import Recurrent, Sequencer

__all__ = ["Bidirectional", "TimeDistributed"]

_MERGE_OPS = {"sum": "add", "mul": "multiply", "ave": "average"}


class Bidirectional(Layer):
    """A recurrent layer forward in time and another one backward.

    Parameters
    ----------
    layer : SimpleRNN, LSTM, GRU or RNN
        The forward direction.
    backward_layer : SimpleRNN, LSTM, GRU or RNN, optional
        With go_backwards=True. Left out, it is made like `layer`, which then has no weights yet.
    merge_mode : "concat", "sum", "mul", "ave" or None
        How the two outputs become one; None gives both. The backward output stands at the frames
        that made it.
    zero_output_for_mask : bool
        Whether, with return_sequences, a masked frame puts out zeros in both directions whatever
        they were told, as in Keras 3 and TensorFlow 2; False for what each direction says, as
        before.
    name : str, optional

    Raises
    ------
    OptionError

    Notes
    -----
    With return_state, the forward states follow the output, then the backward ones. A direction's
    initial_state is its own.
    """

    reads_mask = True

    def __init__(
        self,
        layer: Sequencer,
        backward_layer: Sequencer | None = None,
        *,
        merge_mode: str | None = "concat",
        zero_output_for_mask: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.zero_output_for_mask = flag(zero_output_for_mask, self.label, "zero_output_for_mask")
        choices = ("concat", "sum", "mul", "ave", None)
        self.merge_mode = choice(merge_mode, self.label, "merge_mode", choices)
        if not isinstance(layer, Sequencer):
            raise OptionError(
                f"{self.label}: expected a SimpleRNN, LSTM, GRU or RNN; found {layer!r:.80}"
            )
        if layer.go_backwards:
            raise OptionError(f"{self.label}: the forward layer has go_backwards=True")
        if backward_layer is None:
            backward_layer = self._mirrored(layer)
        elif not isinstance(backward_layer, Sequencer) or not backward_layer.go_backwards:
            raise OptionError(
                f"{self.label}: backward_layer is a recurrent layer with go_backwards=True; "
                f"found {backward_layer!r:.80}"
            )
        for option in ("return_sequences", "return_state"):
            if getattr(layer, option) != getattr(backward_layer, option):
                raise OptionError(f"{self.label}: the two directions differ in {option}")
        self.forward, self.backward = layer, backward_layer

    @classmethod
    def from_keras(
        cls,
        arrays: Sequence[ArrayLike],
        layer: type[Recurrent],
        *,
        merge_mode: str | None = "concat",
        name: str | None = None,
        **options: Any,
    ) -> Bidirectional:
        """Make both directions from a Keras Bidirectional's ``get_weights()``.

        Parameters
        ----------
        arrays : list of four or six arrays
            The forward layer's, then the backward layer's.
        layer : type
            SimpleRNN, LSTM or GRU: the class of both directions.
        merge_mode, name
            As in the constructor.
        **options
            Of both directions, as in `layer`.

        Raises
        ------
        WeightsError, OptionError, DtypeError

        Examples
        --------
        >>> import numpy as np, seqcore as sc
        >>> half = [np.ones((3, 8)), np.ones((2, 8)), np.ones(8)]
        >>> both = sc.Bidirectional.from_keras(half + half, sc.LSTM, return_sequences=True)
        >>> sc.Sequential([both])(np.ones((1, 5, 3))).shape
        (1, 5, 4)
        """
        label = name or cls.__name__
        if not isinstance(layer, type) or not issubclass(layer, Recurrent) or layer is Recurrent:
            raise OptionError(
                f"{label}: layer is SimpleRNN, LSTM or GRU, the class; found {layer!r:.80}"
            )
        if "go_backwards" in options:
            raise OptionError(f"{label}: go_backwards is what tells the two directions apart")
        given = layouts.keras_arrays(arrays, label, ())
        if len(given) not in (4, 6):
            raise WeightsError(
                f"layer {label!r}: expected the arrays of both directions, 4 or 6; found "
                f"{len(given)}"
            )
        half = len(given) // 2
        forward = layer.from_keras(given[:half], name=name, **options)
        backward = layer.from_keras(given[half:], name=name, go_backwards=True, **options)
        return cls(forward, backward, merge_mode=merge_mode, name=name)

    def _mirrored(self, layer: Sequencer) -> Sequencer:
        if layer.built:
            raise OptionError(
                f"{self.label}: a layer with weights needs a backward_layer with its own"
            )
        mirrored = copy.copy(layer)
        mirrored.go_backwards = True
        mirrored._options = {**layer._options, "go_backwards": True}
        return mirrored

    @property
    def built(self) -> bool:
        return self.forward.built and self.backward.built

    @property
    def states(self) -> int:
        return self.forward.states + self.backward.states

    @property
    def outputs(self) -> int:
        merged = 2 if self.merge_mode is None else 1
        return merged + self.states * self.forward.return_state

    def input_spec(self) -> tuple[Shape, str] | None:
        return self.forward.input_spec()

    def parameters(self, shape: Shape) -> int:
        return self.forward.parameters(shape) + self.backward.parameters(shape)

    def keras_weights(self) -> list[Slot]:
        ways = (("forward", self.forward), ("backward", self.backward))
        return [
            replace(slot, role=f"{way}_{slot.role}", home=f"{way}_layer/{slot.home}")
            for way, layer in ways
            for slot in layer.keras_weights()
        ]

    def loaded(self, arrays: Sequence[Array]) -> Bidirectional:
        half = len(self.forward.keras_weights())
        forward, backward = self.forward.loaded(arrays[:half]), self.backward.loaded(arrays[half:])
        assert isinstance(forward, Sequencer)
        assert isinstance(backward, Sequencer)
        return Bidirectional(
            forward, backward, merge_mode=self.merge_mode,
            zero_output_for_mask=self.zero_output_for_mask, name=self.name,
        )  # fmt: skip

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        results: list[Value] = []
        finals: list[Value] = []
        for part, layer in (("forward", self.forward), ("backward", self.backward)):
            first = 0 if part == "forward" else self.forward.states
            own = site.states and site.states[first : first + layer.states]
            made = layer.run(
                graph,
                site.inner(part, own),
                inputs[0],
                reverse=layer.go_backwards,
                realign=layer.go_backwards and layer.return_sequences,
                return_sequences=layer.return_sequences,
                return_state=layer.return_state,
                zero_output=layer.zero_output_for_mask
                if not self.zero_output_for_mask
                else layer.return_sequences,
            )
            results.append(made[0])
            finals += made[1:]
        if self.merge_mode == "concat":
            results = graph.node("concat", site, results, attrs={"axis": -1})
        elif self.merge_mode is not None:
            results = graph.node(_MERGE_OPS[self.merge_mode], site, results)
        return results + finals

    def mask(self, inputs: Sequence[Value]) -> Mask | None:
        return inputs[0].mask if self.forward.return_sequences else None

    def apply(
        self, graph: GraphBuilder, site: Site, inputs: Sequence[Value], *, masked: bool = True
    ) -> list[Value]:
        made = super().apply(graph, site, inputs, masked=masked)
        if self.merge_mode is None:  # two outputs of the same frames
            made[1] = replace(made[1], mask=made[0].mask)
        return made


class TimeDistributed(Layer):
    """A layer applied to every frame by itself, (B, T, ...) to (B, T, ...).

    The mask of its input is its result's; the layer inside sees none.

    Parameters
    ----------
    layer : Layer
        With one input and one output.
    name : str, optional

    Raises
    ------
    OptionError
    """

    def __init__(self, layer: Layer, *, name: str | None = None) -> None:
        super().__init__(name)
        if not isinstance(layer, Layer) or layer.inputs != (1, 1) or layer.outputs != 1:
            raise OptionError(
                f"{self.label}: expected a layer with one input and one output; found {layer!r:.80}"
            )
        self.layer = layer
        self.framewise = layer.framewise
        self.is_composite = layer.is_composite

    @property
    def built(self) -> bool:
        return self.layer.built

    def input_spec(self) -> tuple[Shape, str] | None:
        spec = self.layer.input_spec()
        return None if spec is None else ((None, *spec[0]), spec[1])

    def parameters(self, shape: Shape) -> int:
        return self.layer.parameters(shape[:1] + shape[2:])

    def keras_weights(self) -> list[Slot]:
        return [replace(slot, home=f"layer/{slot.home}") for slot in self.layer.keras_weights()]

    def loaded(self, arrays: Sequence[Array]) -> TimeDistributed:
        return TimeDistributed(self.layer.loaded(arrays), name=self.name)

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        if self.layer.framewise:
            return self.layer.lower(graph, site, inputs)
        (x,) = inputs
        if self._masked_inside(x):
            return self._lower_masked(graph, site, x)
        if self.layer.reads_mask and x.mask is not None and not x.mask.optional:
            raise GraphError(
                f"{self.label}: a mask of its frames reaches it, and {self.layer.label} would read "
                "it as one of its own frames"
            )
        return self._folded(graph, site, x, None)

    def inside(self, graph: GraphBuilder, site: Site) -> Site:
        """Return the place of the layer inside, which nobody can give states there."""
        del graph
        return Site(site.layer, f"{site.value}:frames", site.tensor, states=None)

    def _folded(self, graph: GraphBuilder, site: Site, x: Value, mask: Mask | None) -> list[Value]:
        """Apply the layer to every frame as a row of its own, with the mask that it has there."""
        inside = self.inside(graph, site)
        (folded,) = graph.node("fold", site, [x], outputs=[f"{site.value}:folded"], time="gone")
        made = self.layer.apply(graph, inside, [replace(folded, mask=mask)])
        names = [site.value, *(f"{site.value}:{index}" for index in range(1, len(made)))]
        return [
            graph.node("unfold", site, [y, x], outputs=[name])[0]
            for y, name in zip(made, names, strict=True)
        ]

    @staticmethod
    def _masked_inside(x: Value) -> bool:
        """Whether the mask says which frames of a frame count: (B, T, T2) of (B, T, T2, F)."""
        made = x.mask is not None and not x.mask.optional
        return made and x.rank is not None and x.rank > 3

    def _lower_masked(self, graph: GraphBuilder, site: Site, x: Value) -> list[Value]:
        mask = graph.mask(x)
        assert mask is not None
        name = f"{site.value}:mask"
        (folded,) = graph.node("fold", site, [mask], outputs=[name], time="gone")
        return self._folded(graph, site, x, Mask("value", (folded.name,)))

    def mask(self, inputs: Sequence[Value]) -> Mask | None:
        # Keras 3 hands on a mask of frames of frames, which nothing behind it can read.
        return None if self._masked_inside(inputs[0]) else inputs[0].mask
