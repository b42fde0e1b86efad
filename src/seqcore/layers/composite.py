"""Composite: a graph of layer calls used as one layer, as Keras nests models."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import GraphError
from ..graph import GraphBuilder, Site, Value, unique_names
from .base import Input, Layer, Shape, Symbol
from .lowering import Names, calls_between, lower_calls

__all__ = ["Composite"]


class Composite(Layer):
    """The layers between `inputs` and `outputs`, to be called on other values as one layer.

    It lowers to the nodes of the layers inside, whose names begin with its own and a slash.

    Parameters
    ----------
    inputs : sequence of Input
    outputs : sequence of Symbol
    name : str, optional

    Raises
    ------
    GraphError
        Outputs do not come from these inputs.
    """

    is_composite = True

    def __init__(
        self, inputs: Sequence[Input], outputs: Sequence[Symbol], *, name: str | None = None
    ) -> None:
        super().__init__(name)
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)
        self.calls = calls_between(inputs, outputs)
        self.inputs = (len(self._inputs), len(self._inputs))
        self.reads_mask = any(call.layer.reads_mask for call in self.calls)

    @property
    def layers(self) -> list[Layer]:
        """The layers inside, each once."""
        return list(dict.fromkeys(call.layer for call in self.calls))

    @property
    def built(self) -> bool:
        return all(layer.built for layer in self.layers)

    @property
    def outputs(self) -> int:
        return len(self._outputs)

    def input_spec(self) -> tuple[Shape, str] | None:
        (first, *_) = self._inputs
        return first.shape, first.dtype

    def parameters(self, shape: Shape) -> int:  # noqa: ARG002
        raise GraphError(f"{self.label}: its layers have parameters, each for itself")

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return self.apply(graph, site, inputs)

    def apply(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        for symbol, value in zip(self._inputs, inputs, strict=True):
            if symbol.dtype != value.dtype:
                raise GraphError(
                    f"{self.label}: its input {symbol.name or ''!r} is {symbol.dtype}; found "
                    f"{value.dtype} from {value.name!r}"
                )
        own = unique_names((layer.name, layer.stem) for layer in self.layers)
        names = Names(dict(zip(self.layers, own, strict=True)), site)
        given = dict(zip(self._inputs, inputs, strict=True))
        values = lower_calls(graph, self.calls, given, names)
        return [values[symbol.key] for symbol in self._outputs]
