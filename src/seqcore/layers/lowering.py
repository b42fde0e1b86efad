"""From layer calls to the lowered graph.

Gathers the calls behind the outputs, names the layers, and lets each lower itself. Calls come in an
order in which every value exists before it is read, the same for the same model each time.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import GraphError
from ..graph import Graph, GraphBuilder, Site, Value, unique_names
from .base import Call, Input, Layer, Symbol

__all__ = ["lower"]


def lower(
    inputs: Sequence[Symbol], outputs: Sequence[Symbol]
) -> tuple[Graph, dict[str, tuple[Layer, str]]]:
    """Lower the graph of calls between `inputs` and `outputs`.

    Returns
    -------
    graph : Graph
    unbuilt : dict of str to (Layer, str)
        The layers without weights by name, with the name of the value that each reads.

    Raises
    ------
    GraphError
        An input is none, is given twice or is missing; an output does not come from these inputs.
    """
    given = _checked_inputs(inputs)
    calls = _ordered_calls(outputs, given)
    layers = list(dict.fromkeys(call.layer for call in calls))
    wanted = [(symbol.name, "input") for symbol in given]
    names = unique_names(wanted + [(layer.name, layer.stem) for layer in layers])
    layer_names = dict(zip(layers, names[len(given) :], strict=True))

    graph = GraphBuilder()
    values: dict[tuple[int, int], Value] = {}
    for source, name in zip(given, names, strict=False):
        values[_key(source)] = graph.data_input(name, source.shape, source.dtype)
    unbuilt: dict[str, tuple[Layer, str]] = {}
    times: dict[Layer, int] = {}
    for call in calls:
        layer, name = call.layer, layer_names[call.layer]
        times[layer] = times.get(layer, 0) + 1
        # A second call makes values of its own from the same weights.
        value = name if times[layer] == 1 else f"{name}:{times[layer]}"
        states = tuple(values[_key(symbol)] for symbol in call.states)
        taken = [values[_key(symbol)] for symbol in call.inputs]
        made = layer.apply(graph, Site(name, value, name, states), taken)
        values.update(((id(call), index), result) for index, result in enumerate(made))
        if times[layer] == 1:
            known = layer.parameters(()) if layer.built else None
            graph.layer(name, layer.kind, made[0], known)
            if not layer.built:
                unbuilt[name] = (layer, taken[0].name)
    for symbol in outputs:
        graph.output(values[_key(symbol)])
    return graph.finish(), unbuilt


def _key(symbol: Symbol) -> tuple[int, int]:
    return (id(symbol if symbol.call is None else symbol.call), symbol.index)


def _checked_inputs(inputs: Sequence[Symbol]) -> list[Input]:
    given: list[Input] = []
    for symbol in inputs:
        if not isinstance(symbol, Input):
            raise GraphError(f"a model's inputs are made by Input(...); found {symbol!r:.80}")
        if any(symbol is other for other in given):
            raise GraphError(f"{symbol!r} is given twice as an input")
        given.append(symbol)
    if not given:
        raise GraphError("a model has at least one input")
    return given


def _ordered_calls(outputs: Sequence[Symbol], inputs: Sequence[Input]) -> list[Call]:
    """Return the calls behind `outputs`, depth first; not recursive, for chains may be long."""
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
            pending.extend(reversed(item.call.inputs + item.call.states))
    return list(done)
