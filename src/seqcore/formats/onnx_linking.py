"""Names, order and functions of an ONNX model: from messages, one for one, to a program.

Every name that is read is made once, before: nodes are put in such an order, as ONNX Runtime does,
and what has none is refused. A graph in an attribute reads what the graphs around it have made by
then. A call of a local function becomes the function's nodes. Names stay as they are in the model's
own graph; those of other graphs and of functions get a number where they are taken, so that they
are unique in the program.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import ModelFileError
from .arrays import shorten
from .onnx_messages import Function, FunctionKey, Reader, Reference, label, within
from .onnx_programs import OnnxGraph, OnnxNode, OnnxValue

__all__ = ["MAX_DEPTH", "MAX_PARTS", "link"]

# Functions that call functions twice double the nodes with each level: nodes, their inputs, outputs
# and attributes, constants ... of the whole program. A node has 6, a model of 2000 nodes 12,000.
MAX_PARTS = 1 << 20
_PART_BYTES = 128
_CALL_PARTS = 16  # what a call takes besides: time, if its function is empty
# Calls in graphs in calls; exporters that make functions of modules have a dozen.
MAX_DEPTH = 64
_MAX_PATH = 200  # characters of a node's name with those of the calls around it
_MAX_STEM = 64  # characters that are kept of a name that gets a number


def link(graph: OnnxGraph, reader: Reader, opsets: dict[str, int], defs: Any) -> OnnxGraph:
    """Put a model's graph in order, with its functions in place.

    Parameters
    ----------
    graph : OnnxGraph
        As Reader.graph gives it.
    reader : Reader
        Knows the functions, and the budget.
    opsets : dict
        Of the model; gets those that only functions import.
    defs : module
        onnx.defs, which tells whether two versions of an operator are one.

    Raises
    ------
    ModelFileError
        A name is made twice, or read and not made; nodes read each other in a circle; a function
        calls itself, or functions would make more than MAX_PARTS of the graph.
    """
    names = [value.name for value in graph.outputs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ModelFileError(f"two outputs are named {shorten(twice)}")
    linker = _Linker(reader, opsets, defs)
    linker.used.update(_made_by(graph))
    return linker.graph(graph, _Scope(None, keeps=True), _Place(opsets))


@dataclass
class _Scope:
    """Names of a graph or function and what they are called in the program, as far as made.

    Attributes
    ----------
    parent : _Scope or None
        Of the graph around, whose names can be read.
    keeps : bool
        Whether names stay as they are: those of the model's own graph.
    wanted : dict
        What is to be called so once it is made: outputs of a function, as its caller calls them.
    """

    parent: _Scope | None
    keeps: bool = False
    names: dict[str, str] = field(default_factory=dict)
    wanted: dict[str, str] = field(default_factory=dict)

    def resolve(self, name: str) -> str | None:
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.parent
        return None


@dataclass(frozen=True)
class _Place:
    """Where in the file nodes stand.

    Attributes
    ----------
    opsets : dict
        Of the model or function.
    attributes : dict or None
        Of the call of the function; None in the model's own graphs.
    calls : tuple of FunctionKey
        The functions around, the outermost first.
    path : str
        What goes before nodes' names.
    depth : int
        Graphs and functions around.
    """

    opsets: dict[str, int]
    attributes: dict[str, Any] | None = None
    calls: tuple[FunctionKey, ...] = ()
    path: str = ""
    depth: int = 0

    def below(self) -> _Place:
        if self.depth >= MAX_DEPTH:
            raise ModelFileError(f"graphs and functions nested more than {MAX_DEPTH} deep")
        return replace(self, depth=self.depth + 1)


@dataclass
class _Body:
    """What was made so far of a graph's nodes."""

    nodes: list[OnnxNode] = field(default_factory=list)
    dtypes: dict[str, str] = field(default_factory=dict)


class _Linker:
    """One program in the making."""

    def __init__(self, reader: Reader, opsets: dict[str, int], defs: Any) -> None:
        self.reader, self.opsets, self.defs = reader, opsets, defs
        self.used: set[str] = set()  # names of the program
        self.last = 0  # the last number that made a name unique
        self.parts = 0
        # By id, of graphs that the reader's result holds: what they read of those around.
        self.free_names: dict[int, frozenset[str]] = {}
        self.since: dict[tuple[str, int], int | None] = {}

    def count(self, parts: int) -> None:
        self.parts += parts
        if self.parts > MAX_PARTS:
            raise ModelFileError(f"has more than {MAX_PARTS} parts, those of functions included")
        self.reader.budget.charge(_PART_BYTES * parts, "the graph")

    # Names

    def define(self, name: str, scope: _Scope) -> str:
        """What a name that is made here is called in the program."""
        if scope.resolve(name) is not None:
            raise ModelFileError(f"{shorten(name)} is made twice")
        final = name if scope.keeps else scope.wanted.pop(name, "") or self.unused(name)
        scope.names[name] = final
        return final

    def unused(self, name: str) -> str:
        stem = final = name if len(name) <= _MAX_STEM else name[:_MAX_STEM]
        while final in self.used:
            self.last += 1
            final = f"{stem}__{self.last}"
        self.used.add(final)
        return final

    # Graphs

    def graph(self, graph: OnnxGraph, scope: _Scope, place: _Place) -> OnnxGraph:
        """A graph in order; `scope` is empty, and its parent that of the graph around."""
        self.count(len(graph.inputs) + len(graph.outputs) + len(graph.constants))
        inputs = tuple(replace(v, name=self.define(v.name, scope)) for v in graph.inputs)
        constants = {}
        for name, array in graph.constants.items():
            array.flags.writeable = False
            constants[self.define(name, scope)] = array
        body = _Body()
        self.nodes(graph.nodes, scope, place, body)
        outputs = []
        for value in graph.outputs:
            final = scope.resolve(value.name)
            if not final:
                raise ModelFileError(f"output {shorten(value.name)} is made by nothing")
            outputs.append(replace(value, name=final))
        self.count(len(graph.dtypes))
        for name, dtype in graph.dtypes.items():
            if name in scope.names:
                body.dtypes[scope.names[name]] = dtype
        return OnnxGraph(
            graph.name, inputs, tuple(outputs), tuple(body.nodes), constants, body.dtypes
        )

    def nodes(self, nodes: Sequence[OnnxNode], scope: _Scope, place: _Place, body: _Body) -> None:
        for node in self.in_order(nodes, scope):
            with within(label(node)):
                self.node(node, scope, place, body)

    def node(self, node: OnnxNode, scope: _Scope, place: _Place, body: _Body) -> None:
        self.count(1 + len(node.inputs) + len(node.outputs) + len(node.attributes))
        inputs = tuple(self.read(name, scope) for name in node.inputs)
        attributes = _substituted(node.attributes, place)
        key = node.domain, node.op
        if key in self.reader.functions:
            self.call(key, node, inputs, attributes, scope, place, body)
            return
        self.check_version(node, place)
        attributes = {
            name: self.attribute(value, scope, place) for name, value in attributes.items()
        }
        outputs = tuple(self.define(name, scope) if name else "" for name in node.outputs)
        body.nodes.append(
            replace(
                node,
                name=_joined(place.path, node.name),
                inputs=inputs,
                outputs=outputs,
                attributes=attributes,
            )
        )

    def read(self, name: str, scope: _Scope) -> str:
        final = scope.resolve(name) if name else ""
        if final is None:  # in_order has found every name that is made in this graph
            raise ModelFileError(f"reads {shorten(name)}, which nothing makes")
        return final

    def attribute(self, value: Any, scope: _Scope, place: _Place) -> Any:
        if isinstance(value, OnnxGraph):
            with within(f"graph {shorten(value.name)}"):
                return self.graph(value, _Scope(scope), place.below())
        if isinstance(value, list):
            if any(isinstance(item, OnnxGraph) for item in value):
                return [self.attribute(item, scope, place) for item in value]
            if any(isinstance(item, np.ndarray) for item in value):
                return [self.attribute(item, scope, place) for item in value]
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
        return value

    # Order

    def in_order(self, nodes: Sequence[OnnxNode], scope: _Scope) -> Sequence[OnnxNode]:
        """The nodes of a graph or function so that each reads what was made before."""
        makers: dict[str, int] = {}
        for at, node in enumerate(nodes):
            for name in node.outputs:
                if name and (name in makers or scope.resolve(name) is not None):
                    raise ModelFileError(f"{label(node)}: {shorten(name)} is made twice")
                makers[name] = at
        makers.pop("", None)
        needed = [{makers[n] for n in self.reads(node) if n in makers} for node in nodes]
        if all(at > max(those, default=-1) for at, those in enumerate(needed)):
            return nodes
        return [nodes[at] for at in _sorted(needed, nodes)]

    def reads(self, node: OnnxNode) -> Iterator[str]:
        """Names of its graph, or of those around, that a node and the graphs in it read."""
        yield from node.inputs
        for graph in _graphs(node):
            yield from self.free(graph)

    def free(self, graph: OnnxGraph) -> frozenset[str]:
        """Names that a graph reads and does not make."""
        if id(graph) not in self.free_names:
            read = {value.name for value in graph.outputs}
            for node in graph.nodes:
                read.update(self.reads(node))
            self.free_names[id(graph)] = frozenset(read - _made_by(graph) - {""})
        return self.free_names[id(graph)]

    # Functions

    def call(
        self,
        key: FunctionKey,
        node: OnnxNode,
        inputs: tuple[str, ...],
        attributes: dict[str, Any],
        scope: _Scope,
        place: _Place,
        body: _Body,
    ) -> None:
        """Put a function's nodes in the place of its call."""
        if key in place.calls:
            raise ModelFileError("a function that calls itself")
        function = self.reader.function(key)
        formal = len(function.inputs) + len(function.outputs) + len(function.dtypes)
        self.count(_CALL_PARTS + formal)
        _check_call(function, node, attributes)
        inside = _Scope(None)
        inside.names = dict.fromkeys(function.inputs, "")
        inside.names.update(zip(function.inputs, inputs, strict=False))
        given = zip(function.outputs, node.outputs, strict=False)
        results = {inner: self.define(outer, scope) for inner, outer in given if outer}
        inside.wanted = dict(results)
        within_call = replace(
            place.below(),
            opsets=function.opsets,
            attributes={**function.defaults, **attributes},
            calls=(*place.calls, key),
            path=_joined(place.path, node.name),
        )
        self.nodes(function.nodes, inside, within_call, body)
        for inner, outer in results.items():
            made = inside.resolve(inner)
            if not made:
                raise ModelFileError(f"output {shorten(inner)} is made by nothing")
            if made != outer:  # it is an input
                body.nodes.append(OnnxNode("Identity", "", within_call.path, (made,), (outer,), {}))
        for name, dtype in function.dtypes.items():
            if inside.names.get(name):
                body.dtypes[inside.names[name]] = dtype

    def check_version(self, node: OnnxNode, place: _Place) -> None:
        """A function may import other versions than the model, where they mean the same."""
        domain = node.domain
        if domain not in place.opsets:
            raise ModelFileError(
                f"imports no version of the operators of {shorten(domain or 'ai.onnx')}"
            )
        version = place.opsets[domain]
        known = self.opsets.setdefault(domain, version)
        if version != known:
            since = [self.since_version(node, each) for each in (version, known)]
            if since[0] is None or since[0] != since[1]:
                raise ModelFileError(
                    f"a function imports version {version} of the operators of "
                    f"{shorten(domain or 'ai.onnx')}, the model {known}, and they differ in this"
                )

    def since_version(self, node: OnnxNode, version: int) -> int | None:
        """Since which version an operator is as it is in this one; None of what is not known."""
        if node.domain != "" or version > self.defs.onnx_opset_version():
            return None
        if (node.op, version) not in self.since:
            found = None
            if self.defs.has(node.op, ""):
                try:
                    found = int(self.defs.get_schema(node.op, version, "").since_version)
                except self.defs.SchemaError:  # it is newer
                    found = None
            self.since[node.op, version] = found
        return self.since[node.op, version]


def _made_by(graph: OnnxGraph) -> set[str]:
    made = {value.name for value in graph.inputs} | set(graph.constants)
    return made.union(*(node.outputs for node in graph.nodes)) - {""}


def _graphs(node: OnnxNode) -> Iterator[OnnxGraph]:
    for value in node.attributes.values():
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, OnnxGraph):
                yield item


def _sorted(needed: list[set[int]], nodes: Sequence[OnnxNode]) -> list[int]:
    """Places of nodes, each after those that it needs and else as they stand in the file."""
    readers: list[list[int]] = [[] for _ in needed]
    missing = [len(those) for those in needed]
    for at, those in enumerate(needed):
        for maker in those:
            readers[maker].append(at)
    ready = [at for at, count in enumerate(missing) if count == 0]
    order = []
    while ready:
        order.append(heapq.heappop(ready))
        for reader in readers[order[-1]]:
            missing[reader] -= 1
            if missing[reader] == 0:
                heapq.heappush(ready, reader)
    if len(order) < len(needed):
        # Back from any that is left, over what it waits for: sooner or later in the circle.
        at = next(place for place, count in enumerate(missing) if count)
        seen: set[int] = set()
        while at not in seen:
            seen.add(at)
            at = min(maker for maker in needed[at] if missing[maker])
        raise ModelFileError(f"{label(nodes[at])} reads, over others, what it makes: a circle")
    return order


def _joined(path: str, name: str) -> str:
    """A node's name with those of the calls around, the end of it if that is long."""
    joined = f"{path}/{name}" if path and name else path or name
    return joined if not path or len(joined) <= _MAX_PATH else "..." + joined[-_MAX_PATH:]


# What each kind of attribute is here, by its number in the standard.
_TYPES: dict[int, type] = {
    1: float, 2: int, 3: str, 4: np.ndarray, 6: float, 7: int, 8: str, 9: np.ndarray,
    11: np.ndarray, 12: np.ndarray, 13: OnnxValue, 14: OnnxValue,
}  # fmt: skip


def _substituted(attributes: dict[str, Any], place: _Place) -> dict[str, Any]:
    """A node's attributes, those of its function's call in the place of references to them."""
    found = {}
    for name, value in attributes.items():
        if isinstance(value, Reference):
            given = (place.attributes or {}).get(value.name)
            if place.attributes is None:
                raise ModelFileError(f"attribute {shorten(name)} is a function's, outside of one")
            if given is None:  # not given to the call either
                continue
            items = given if isinstance(given, list) else [given]
            expected = _TYPES.get(value.kind)
            if expected is None or not all(isinstance(item, expected) for item in items):
                raise ModelFileError(
                    f"attribute {shorten(name)} is of another kind than the function's "
                    f"{shorten(value.name)}"
                )
            value = given
        found[name] = value
    return found


def _check_call(function: Function, node: OnnxNode, attributes: dict[str, Any]) -> None:
    for kind, given, taken in (
        ("inputs", node.inputs, function.inputs),
        ("outputs", node.outputs, function.outputs),
    ):
        if len(given) > len(taken):
            raise ModelFileError(f"{len(given)} {kind}, and its function has {len(taken)}")
    unknown = sorted(set(attributes) - function.attributes)
    if unknown:
        raise ModelFileError(f"attribute {shorten(unknown[0])}, which its function has not")
    if any(True for _ in _graphs(replace(node, attributes=attributes))):
        raise ModelFileError("a graph as an attribute of a function's call is not supported")
