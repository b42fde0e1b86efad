"""Composite: a graph of layer calls used as one layer, as Keras nests models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import GraphError
from ..graph import GraphBuilder, Mask, Site, Value, unique_names
from .base import Array, Call, Input, Layer, Shape, Slot, Symbol
from .lowering import Names, calls_between, lower_calls

__all__ = ["Composite"]


class Composite(Layer):
    """The layers between `sources` and `results`, to be called on other values as one layer.

    It lowers to the nodes of the layers inside, whose names begin with its own and a slash.

    Parameters
    ----------
    sources : sequence of Input
    results : sequence of Symbol
    layers : iterable of Layer, optional
        The layers inside in an order of the caller's, that of `keras_weights`. Left out: as they
        are called.
    name : str, optional

    Raises
    ------
    GraphError
        Results do not come from these sources.
    """

    is_composite = True

    def __init__(
        self,
        sources: Sequence[Input],
        results: Sequence[Symbol],
        *,
        layers: Iterable[Layer] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.sources, self.results = tuple(sources), tuple(results)
        self.calls = calls_between(sources, results)
        called = dict.fromkeys(call.layer for call in self.calls)
        self.layers = list(called if layers is None else layers)
        # Operations of a file are called, and have no weights to be listed.
        self._named = list(dict.fromkeys([*self.layers, *called]))
        self.inputs = (len(self.sources), len(self.sources))
        self.reads_mask = any(layer.reads_mask for layer in called)

    @property
    def built(self) -> bool:
        return all(layer.built for layer in self.layers)

    @property
    def outputs(self) -> int:
        return len(self.results)

    def input_spec(self) -> tuple[Shape, str] | None:
        (first, *_) = self.sources
        return first.shape, first.dtype

    def parameters(self, shape: Shape) -> int:  # noqa: ARG002
        raise GraphError(f"{self.label}: its layers have parameters, each for itself")

    def keras_weights(self) -> list[Slot]:
        return [slot for layer in self.layers for slot in layer.keras_weights()]

    def loaded(self, arrays: Sequence[Array]) -> Composite:
        given, made = list(arrays), {}
        for layer in self.layers:
            count = len(layer.keras_weights())
            made[layer] = layer.loaded(given[:count])
            del given[:count]
        return self._remade(made)

    def _remade(self, made: Mapping[Layer, Layer]) -> Composite:
        """Return the same graph of other layers."""
        symbols: dict[Any, Symbol] = {source.key: source for source in self.sources}
        masks_made: dict[Mask, Mask] = {}

        def new(symbol: Symbol) -> Symbol:
            return symbols[symbol.key]

        def mask_of(mask: Mask | None) -> Mask | None:
            if mask is None:
                return None
            if mask not in masks_made:
                sources = (
                    new(source) if isinstance(source, Symbol) else mask_of(source)
                    for source in mask.sources
                )
                masks_made[mask] = replace(mask, sources=tuple(sources))
            return masks_made[mask]

        for call in self.calls:
            masks = None if call.masks is None else tuple(map(mask_of, call.masks))
            remade = Call(
                made.get(call.layer, call.layer), tuple(map(new, call.inputs)),
                tuple(map(new, call.states)), masks, call.masked,
            )  # fmt: skip
            for index in range(call.layer.outputs):
                symbols[Symbol(call, index).key] = Symbol(remade, index)
        layers = [made[layer] for layer in self.layers]
        return Composite(self.sources, list(map(new, self.results)), layers=layers, name=self.name)

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return self.apply(graph, site, inputs)

    def apply(
        self,
        graph: GraphBuilder,
        site: Site,
        inputs: Sequence[Value],
        *,
        masked: bool = True,  # noqa: ARG002
    ) -> list[Value]:
        for symbol, value in zip(self.sources, inputs, strict=True):
            if symbol.dtype != value.dtype:
                raise GraphError(
                    f"{self.label}: its input {symbol.name or ''!r} is {symbol.dtype}; found "
                    f"{value.dtype} from {value.name!r}"
                )
            if symbol.batch_axis != value.batch_axis:
                raise GraphError(
                    f"{self.label}: its input {symbol.name or ''!r} has its batch in axis "
                    f"{symbol.batch_axis}; that of {value.name!r} is axis {value.batch_axis}"
                )
        own = unique_names((layer.name, layer.stem) for layer in self._named)
        names = Names(dict(zip(self._named, own, strict=True)), site)
        given = dict(zip(self.sources, inputs, strict=True))
        values = lower_calls(graph, self.calls, given, names)
        return [values[symbol.key] for symbol in self.results]
