"""From layer calls to the lowered graph.

Gathers the calls behind the outputs, names the layers, and lets each lower itself. Calls come in an
order in which every value exists before it is read, the same for the same model each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import GraphError
from ..graph import Graph, GraphBuilder, Mask, Site, Value, seen_shape, unique_names
from .base import Call, Input, Key, Layer, Symbol

__all__ = ["Names", "calls_between", "lower", "lower_calls"]

Values = dict[Key, Value]


def lower(
    inputs: Sequence[Symbol],
    outputs: Sequence[Symbol],
    called: Sequence[str | None] | None = None,
) -> tuple[Graph, dict[str, tuple[Layer, dict[str, Any]]]]:
    """Lower the graph of calls between `inputs` and `outputs`.

    Parameters
    ----------
    inputs, outputs : sequence of Symbol
    called : sequence of (str or None), optional
        Names of the outputs; those of their values, otherwise.

    Returns
    -------
    graph : Graph
    unbuilt : dict of str to (Layer, dict)
        The layers without weights by name, with what tells the shape that each reads.

    Raises
    ------
    GraphError
        An input is none, is given twice or is missing; an output does not come from these inputs.
    """
    given = _checked_inputs(inputs)
    calls = calls_between(given, outputs)
    layers = list(dict.fromkeys(call.layer for call in calls))
    wanted = [(symbol.name, "input") for symbol in given]
    taken = unique_names(wanted + [(layer.name, layer.stem) for layer in layers])
    graph = GraphBuilder()
    sources = {
        source: graph.data_input(name, source.shape, source.dtype, source.batch_axis, source.rules)
        for source, name in zip(given, taken, strict=False)
    }
    names = Names(dict(zip(layers, taken[len(given) :], strict=True)))
    values = lower_calls(graph, calls, sources, names)
    for symbol, name in zip(outputs, called or [None] * len(outputs), strict=True):
        graph.output(values[symbol.key], name)
    return graph.finish(), graph.unbuilt


class Names:
    """What the layers of one graph of calls are called in the lowered graph.

    Parameters
    ----------
    layers : dict of Layer to str
    inside : Site, optional
        Of the layer of which this graph is the inside.
    """

    def __init__(self, layers: Mapping[Layer, str], inside: Site | None = None) -> None:
        self.layers = layers
        self.inside = inside
        self.times: dict[Layer, int] = {}

    def site(self, call: Call, states: tuple[Value, ...]) -> Site:
        """Return the place of the next call of a layer."""
        own = self.layers[call.layer]
        times = self.times[call.layer] = self.times.get(call.layer, 0) + 1
        # A second call makes values of its own from the same weights.
        value = own if times == 1 else f"{own}:{times}"
        if self.inside is None:
            return Site(own, value, own, states)
        outer = self.inside
        given = None if outer.states is None and not states else states
        return Site(
            f"{outer.layer}/{own}", f"{outer.value}/{value}", f"{outer.tensor}/{own}", given
        )


def lower_calls(
    graph: GraphBuilder, calls: Sequence[Call], inputs: Mapping[Input, Value], names: Names
) -> Values:
    """Lower calls in their order; return every value that they make, and the inputs."""
    values: Values = {symbol.key: value for symbol, value in inputs.items()}
    known: dict[Mask, Mask | None] = {}  # masks of symbols as masks of values
    for call in calls:
        states = tuple(values[symbol.key] for symbol in call.states)
        taken = [values[symbol.key] for symbol in call.inputs]
        for index, mask in enumerate(call.masks or ()):
            taken[index] = replace(taken[index], mask=_resolved(mask, values, known))
        site = names.site(call, states)
        graph.call(site)
        made = call.layer.apply(graph, site, taken, masked=call.masked)
        values.update((Symbol(call, index).key, result) for index, result in enumerate(made))
        if names.times[call.layer] == 1 and not call.layer.is_composite:
            count = call.layer.parameters(()) if call.layer.built else None
            graph.layer(site.layer, call.layer.kind, made[0], count)
            if not call.layer.built:
                graph.unbuilt[site.layer] = (call.layer, seen_shape(taken[0]))
    return values


def _resolved(mask: Mask | None, values: Values, known: dict[Mask, Mask | None]) -> Mask | None:
    """Return a mask of symbols as one of values; each part that several share once."""
    if mask is None:
        return None
    if mask in known:
        return known[mask]
    if mask.kind == "of":
        (symbol,) = mask.sources
        assert isinstance(symbol, Symbol)
        made = values[symbol.key].mask
    else:
        sources = [
            values[source.key].name
            if isinstance(source, Symbol)
            else _resolved(source, values, known)
            for source in mask.sources
        ]
        made = replace(mask, sources=tuple(sources))
    known[mask] = made
    return made


def _checked_inputs(inputs: Sequence[Symbol]) -> list[Input]:
    given: dict[Input, None] = {}
    for symbol in inputs:
        if not isinstance(symbol, Input):
            raise GraphError(f"a model's inputs are made by Input(...); found {symbol!r:.80}")
        if symbol in given:
            raise GraphError(f"{symbol!r} is given twice as an input")
        given[symbol] = None
    if not given:
        raise GraphError("a model has at least one input")
    return list(given)


def calls_between(inputs: Sequence[Input], outputs: Sequence[Symbol]) -> list[Call]:
    """Return the calls behind `outputs`, depth first; not recursive, for chains may be long.

    Raises
    ------
    GraphError
        There is no output, or one needs another input than these.
    """
    if not outputs:
        raise GraphError("a model has at least one output")
    known = {id(symbol) for symbol in inputs}
    done: dict[Call, None] = {}
    pending: list[Symbol | Call] = list(reversed(outputs))
    while pending:
        item = pending.pop()
        if isinstance(item, Call):
            done[item] = None
        elif not isinstance(item, Symbol):
            raise GraphError(
                f"a model's outputs are what layers return for Input(...); found {item!r:.80}"
            )
        elif item.call is None:
            if id(item) not in known:
                raise GraphError(f"{item!r} is needed and not among the model's inputs")
        elif item.call not in done:
            pending.append(item.call)
            pending.extend(reversed(item.call.needed))
    return list(done)
