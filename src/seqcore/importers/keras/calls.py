"""How layers are called in functional configs: the two forms of inbound_nodes as one.

Keras 3 writes positional and named arguments with tensors in their places. Keras 2 lists the first
argument's tensors, each with the named arguments of the call; a tensor among these looks like any
other list of a name and two numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...layers import Composite, Embedding, Layer, OneHot, TimeDistributed
from .config import Config, NotSupportedError, short

__all__ = ["ONE_HOT", "KerasCall", "Node", "Reference", "calls_of", "ends_of", "references"]

ONE_HOT = "OneHot"  # the operation of Keras 3
_CONSTANT = "_CONSTANT_VALUE"  # Keras 2: a first argument that is no tensor


class Reference(NamedTuple):
    """What one call of a layer returned, or a part of it."""

    layer: str
    call: int
    output: int


@dataclass(frozen=True)
class KerasCall:
    """The arguments of a call: references, constants, and lists of them."""

    args: list[Any]
    kwargs: dict[str, Any]


@dataclass
class Node:
    """A layer of the config with its calls. Without `layer` it is an input or an operation."""

    config: Config
    layer: Layer | None = None
    calls: list[KerasCall] = field(default_factory=list)

    @property
    def is_input(self) -> bool:
        return self.config.kind == "InputLayer"

    def reads_ids(self, position: int) -> bool:
        """Whether what a call takes at a position is token ids."""
        layer = self.layer
        while isinstance(layer, TimeDistributed):
            layer = layer.layer
        if isinstance(layer, Composite):
            return layer.sources[min(position, len(layer.sources) - 1)].dtype == "int64"
        return isinstance(layer, (Embedding, OneHot)) or self.config.kind == ONE_HOT


def references(value: Any) -> Iterator[Reference]:
    """Yield the references in an argument, in their order."""
    if isinstance(value, Reference):
        yield value
    elif isinstance(value, KerasCall):
        yield from references(value.args)
        yield from references(value.kwargs)
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from references(item)


def calls_of(c: Config, known: frozenset[str]) -> list[KerasCall]:
    """Return all calls of a layer; `known` are the names of all layers."""
    nodes = c.entry.get("inbound_nodes")
    if not isinstance(nodes, list) or (nodes and c.kind == "InputLayer"):
        c.contradicts(f"inbound_nodes is {short(nodes)}")
    if c.major == 3:
        return [_call_3(node, c) for node in nodes]
    return [_call_2(node, c, known) for node in nodes]


def ends_of(c: Config, key: str) -> list[Reference]:
    """Return input_layers or output_layers: one alone, or any nesting, as Keras flattens it."""
    listed = c.values.get(key)
    if isinstance(listed, (list, dict)) and listed:
        found = list(_ends(listed, c))
    else:
        found = []
    return found or c.contradicts(f"{key} is {short(listed)}; expected a list")


def _ends(item: Any, c: Config) -> Iterator[Reference]:
    if isinstance(item, dict):
        for key in sorted(item):  # as Keras flattens dictionaries
            yield from _ends(item[key], c)
    elif isinstance(item, list) and item and not isinstance(item[0], str):
        for part in item:
            yield from _ends(part, c)
    else:
        yield _reference(item, c)


def _reference(item: Any, c: Config) -> Reference:
    if not _is_reference(item):
        c.contradicts(f"expected [layer, call, output]; found {short(item)}")
    return Reference(*item)


def _is_reference(item: Any) -> bool:
    return (
        isinstance(item, list)
        and len(item) == 3
        and isinstance(item[0], str)
        and all(type(index) is int and index >= 0 for index in item[1:])
    )


# ---- Keras 3 ------------------------------------------------------------------------------------


def _call_3(node: Any, c: Config) -> KerasCall:
    if not isinstance(node, dict) or not isinstance(node.get("args"), list):
        c.contradicts(f"a call without args: {short(node)}")
    if not isinstance(node.get("kwargs"), dict):
        c.contradicts(f"a call without kwargs: {short(node)}")
    # kwargs are names with values, whatever their own names look like
    kwargs = {name: _value_3(value, c) for name, value in node["kwargs"].items()}
    return KerasCall([_value_3(value, c) for value in node["args"]], kwargs)


def _value_3(value: Any, c: Config) -> Any:
    if isinstance(value, list):
        return [_value_3(item, c) for item in value]
    if not isinstance(value, dict):
        return value
    config = value.get("config")
    kind = value.get("class_name")
    if kind == "__keras_tensor__":
        return _reference(config.get("keras_history") if isinstance(config, dict) else None, c)
    if kind == "__slice__" and isinstance(config, dict):
        return _slice(config, c)
    if kind in ("__tensor__", "__numpy__") and isinstance(config, dict) and "value" in config:
        return config["value"]
    if kind == "__ellipsis__":
        return ...
    if kind is not None:
        raise NotSupportedError(f"called with {short(value)}")
    return {name: _value_3(item, c) for name, item in value.items()}


def _slice(ends: dict[str, Any], c: Config) -> slice:
    found = [ends.get(key) for key in ("start", "stop", "step")]
    if not all(end is None or type(end) is int for end in found):
        c.contradicts(f"a slice of whole numbers; found {short(ends)}")
    return slice(*found)


# ---- Keras 2 ------------------------------------------------------------------------------------


def _call_2(node: Any, c: Config, known: frozenset[str]) -> KerasCall:
    # An operation keeps the structure of its first argument: one tensor is not in a list.
    items = [node] if isinstance(node, list) and node and isinstance(node[0], str) else node
    if not isinstance(items, list) or not items:
        c.contradicts(f"expected a list of what a call reads; found {short(node)}")
    first, kwargs = [], {}
    for item in items:
        fits = isinstance(item, list) and 3 <= len(item) <= 4 and isinstance(item[0], str)
        if not fits or not isinstance(item[3:] or [{}], list):
            c.contradicts(f"expected [layer, call, output]; found {short(item)}")
        if len(item) == 4:
            if not isinstance(item[3], dict):
                c.contradicts(f"expected the arguments of a call; found {short(item[3])}")
            kwargs = item[3]
        first.append(item[2] if item[0] == _CONSTANT else _reference(item[:3], c))
    named = {name: _value_2(value, c, known) for name, value in kwargs.items()}
    # One list of several tensors is one argument; a layer takes it apart.
    return KerasCall([first] if items is node and len(first) > 1 else first[:1], named)


def _value_2(value: Any, c: Config, known: frozenset[str]) -> Any:
    if _is_reference(value) and value[0] in known:
        return Reference(*value)
    if isinstance(value, list):
        return [_value_2(item, c, known) for item in value]
    if isinstance(value, dict):
        if value.keys() == {"start", "stop", "step"}:
            return _slice(value, c)
        return {name: _value_2(item, c, known) for name, item in value.items()}
    return value
