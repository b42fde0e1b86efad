"""The lowered graph: the one vocabulary of Python, C and the model file.

Here are `Graph` (a checked, immutable document with its tensors) and `GraphBuilder`, through which
layers lower themselves. The builder decides where lengths go and which names values get. Nothing
here knows layers, infers shapes or looks into an array.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from .activation import ActivationSpec, finite, told
from .errors import GraphError, ModelFileError

__all__ = [
    "GRAPH_TEXT", "PACKED", "ActivationSpec", "Graph", "GraphBuilder", "Mask", "Site", "SizeRule",
    "Value", "finite", "seen_shape", "told", "unique_names",
]  # fmt: skip

Array = NDArray[Any]

GRAPH_TEXT = "__graph__"  # the name of a graph's text in a model file
PACKED = "__packed__."  # begins the names of tensors that plans made, not layers
_FILES_OWN = (f"{GRAPH_TEXT}.", PACKED)  # begin the names of what a model file has besides weights

# ---- The graph ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Graph:
    """A lowered graph: its JSON as Python objects, not to be changed, and its tensors by name."""

    document: Mapping[str, Any]
    tensors: Mapping[str, Array]

    def to_json(self) -> bytes:
        """Return the document as UTF-8 text; the same graph always gives the same bytes."""
        text = json.dumps(self.document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()

    @classmethod
    def from_json(cls, text: bytes, tensors: Mapping[str, Array], source: str) -> Graph:
        """Read a graph that a plan has accepted; check the list of layers, which plans ignore.

        Of the tensors it keeps those that nodes name: a model file may have others.

        Raises
        ------
        ModelFileError
            Naming `source`.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelFileError(f"{source}: the graph is not readable ({error})") from None
        values = {spec["name"] for spec in document["inputs"]}
        values.update(name for node in document["nodes"] for name in node["outputs"])
        layers = document.setdefault("layers", [])
        if not isinstance(layers, list):
            raise ModelFileError(f"{source}: the graph's layers are no list")
        for layer in layers:
            if not isinstance(layer, dict):
                raise ModelFileError(f"{source}: a layer in the graph's list is no object")
            name, kind, value = (layer.get(key) for key in ("name", "class", "value"))
            count = layer.get("parameters")
            depth = layer.get("depth", 1)
            if (
                not all(isinstance(text, str) for text in (name, kind, value))
                or value not in values
            ):
                raise ModelFileError(
                    f"{source}: layer {name!r}: expected a name, a class and the name of a value; "
                    f"found class {kind!r} and value {value!r}"
                )
            if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                raise ModelFileError(f"{source}: layer {name!r} has {count!r} parameters")
            if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
                raise ModelFileError(f"{source}: layer {name!r} gives vectors of {depth!r}")
        named = set(_named_tensors(document["nodes"]))
        return cls(document, {name: tensors[name] for name in tensors if name in named})


def _named_tensors(nodes: Iterable[dict[str, Any]]) -> Iterator[str]:
    for node in nodes:
        weights = node.get("weights")  # of an op that has none it may be anything
        if isinstance(weights, dict):
            yield from (name for name in weights.values() if isinstance(name, str))


# Far past real models; a file can share models inside of models until a few names mean 2**60 calls.
_MAX_CALLS = 10_000  # MAX_NODES of the core
_MAX_NAMES = 4 << 20  # characters of all of them
_MAX_MASK_DEPTH = 100


@dataclass(frozen=True, eq=False, repr=False)
class Mask:
    """Which frames of a value count, as an expression: it costs nothing until an op reads it.

    Attributes
    ----------
    kind : str
        "input": what the caller of the model gives for the input `sources`, all frames if nothing.
        "value": the value of that name. "ids": where ids are not 0. "frames": where a feature of a
        frame is not `number`. "any" and "all" of several masks. "concat": of two sequences end to
        end.
    sources : tuple of str, or of Mask
        Names of values; of "any" and "all", masks; of "concat", two sequences, each the name of a
        value or a mask itself, and their masks, None for one whose frames all count. Before a layer
        is lowered, symbols stand for names, and there is one more kind, "of": a symbol's mask.
    number : float
    optional : bool
        Whether it is nothing but what a caller may give.

    Raises
    ------
    GraphError
        Masks of masks of masks, past all real models.

    Notes
    -----
    Masks share parts, so that to walk through all that one is made of can take for ever. What is
    asked of it is worked out as it is made: `digest` is the same for equal masks.
    """

    kind: str
    sources: tuple[Any, ...]
    number: float = 0.0
    optional: bool = field(init=False)
    depth: int = field(init=False)
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        masks = [source for source in self.sources if isinstance(source, Mask)]
        depth = 1 + max((mask.depth for mask in masks), default=0)
        if depth > _MAX_MASK_DEPTH:
            raise GraphError(f"masks are made of masks more than {_MAX_MASK_DEPTH} deep")
        optional = len(masks) == len(self.sources) and all(mask.optional for mask in masks)
        # a symbol is itself alone
        parts = [
            source.digest if isinstance(source, Mask)
            else source if source is None or isinstance(source, str)
            else id(source)
            for source in self.sources
        ]  # fmt: skip
        text = repr((self.kind, parts, self.number)).encode()
        object.__setattr__(self, "depth", depth)
        object.__setattr__(self, "optional", self.kind == "input" or optional)
        object.__setattr__(self, "digest", hashlib.blake2b(text, digest_size=32).digest())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mask) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<mask {self.kind}>"


def _turned(op: str, ops: frozenset[str], attrs: Mapping[str, Any]) -> int:
    """Return where the batch is in what an op of these reads, or makes; 0 of any other."""
    place: int = attrs.get("axis", 1) if op in ops else 0
    return place


@dataclass(frozen=True)
class Value:
    """A value of a graph in the making: its name and dtype, the name of its lengths, its mask.

    `rank` counts its axes, the batch among them; None where nobody can tell. `batch_axis` is
    not 0 for an input that says so, such as torch's (layers, batch, units), and for what
    `batch_second` makes.
    `ids` are those of which it is the one-hot vectors, of `depth` numbers each: no node makes it
    before one reads it that cannot do with the ids.
    """

    name: str
    dtype: str = "float32"
    lengths: str | None = None
    mask: Mask | None = None
    rank: int | None = None
    batch_axis: int = 0
    ids: Value | None = None
    depth: int = 0


@dataclass(frozen=True, eq=False)
class SizeRule:
    """How long axes of inputs may be; axes that have the same rule are equally long.

    Attributes
    ----------
    least, most : int or None
    multiple : int
        Of which the size is a multiple.
    longest : str or None
        An input of whole numbers (B,), of which the greatest is the size.
    """

    least: int | None = None
    most: int | None = None
    multiple: int = 1
    longest: str | None = None

    def bounds(self) -> dict[str, int | str]:
        """Return what is bounded, as a graph has it."""
        found = {"min": self.least, "max": self.most, "longest": self.longest}
        made = {key: value for key, value in found.items() if value is not None}
        return made | ({"multiple": self.multiple} if self.multiple > 1 else {})


@dataclass(frozen=True)
class Site:
    """Where in the graph a layer lowers itself.

    Attributes
    ----------
    layer : str
        The user's name of the layer, for messages.
    value : str
        The name of its result; what else it makes has this name and a part behind a colon.
    tensor : str
        What the names of its weights begin with. A layer that is called twice has two values and
        one tensor.
    states : tuple of Value, or None
        Initial states that the call was given; empty, and they become inputs of the graph; None
        inside TimeDistributed, where a row is a frame and nobody could give any.
    """

    layer: str
    value: str
    tensor: str
    states: tuple[Value, ...] | None = ()

    def inner(self, part: str, states: tuple[Value, ...] | None = ()) -> Site:
        """Return the place of a layer inside of this one."""
        return Site(self.layer, f"{self.value}:{part}", f"{self.tensor}.{part}", states)


# Ops that take several values with lengths of their own; a node of theirs lists the lengths of each
# input.
_ELEMENTWISE = frozenset([
    "add", "multiply", "average", "subtract", "divide", "remainder", "maximum", "minimum",
    "masked_merge", "compare", "logical", "where",
])  # fmt: skip
_MERGES = _ELEMENTWISE | {"concat", "attention", "batch_matmul", "dot"}
# Ops that give their input another shape and read none of it, and those that only move elements:
# ids pass through them too. The latter take no mixture.
_VIEWS = frozenset(["flatten", "fold", "unfold", "reshape", "expand"])
_READ_IDS = frozenset(["embedding", "one_hot"])
# Ops that read ids as well as numbers.
_ANY_DTYPE = _VIEWS | {"compare", "constant", "positions"}
_CARRIERS = frozenset([
    "permute", "repeat", "slice", "index", "concat", "select", "stack", "batch_first",
    "batch_second", "cast",
])  # fmt: skip
# Ops that read ids in place of the one-hot vectors of them; those that read no numbers of an input;
# and views that ids have as their vectors do.
_READ_ONE_HOT = frozenset(["simple_rnn", "gru", "lstm", "dense"])
_READ_NO_NUMBERS = {"constant": 0, "positions": 0, "unfold": 1}
_VIEWS_OF_IDS = frozenset(["expand", "fold"])
# The ops that read, and that make, values whose batch is axis 1, or what their `axis` says.
_READ_SECOND = frozenset(["select", "batch_first"])
_MAKE_SECOND = frozenset(["stack", "batch_second"])
# How many axes the first result of an op has, and how many more than its first input; the ops that
# are not here give as many as they take.
_RANKS = {
    "positions": 2, "flatten": 2, "global_avg_pool1d": 2, "global_max_pool1d": 2, "select": 2,
    "stack": 3, "crf": 2,
}  # fmt: skip
_MORE_AXES = {"embedding": 1, "one_hot": 1, "expand": 1, "unfold": 1, "fold": -1, "index": -1}


def _dtype(op: str, inputs: Sequence[Value | None], attrs: Mapping[str, Any]) -> str:
    """Return the dtype of the first result of a node."""
    if op == "cast":
        return str(attrs["dtype"])
    if op in _VIEWS | _CARRIERS and inputs[0] is not None:
        return inputs[0].dtype
    return "int64" if op in ("argmax", "crf") else "float32"


def _rank(op: str, inputs: Sequence[Value | None], attrs: Mapping[str, Any]) -> int | None:
    """Return how many axes the first result of a node has."""
    ranks = [value.rank for value in inputs if value is not None]
    if op in _RANKS:
        return _RANKS[op]
    if op in _ELEMENTWISE:
        known = [rank for rank in ranks if rank is not None]
        return max(known) if len(known) == len(ranks) else None
    if op == "dot":
        return max(2, sum(ranks) - 3) if None not in ranks else None  # type: ignore[arg-type]
    if attrs.get("return_sequences") is False:
        return 2
    if op == "constant":
        return 1 + len(attrs["shape"])
    if op == "reshape":
        return int(attrs["keep"]) + len(attrs["shape"])
    gone = 0
    if op in ("reduce", "argmax") and not attrs["keepdims"]:
        gone = len(attrs["axes"]) if op == "reduce" else 1
    return None if not ranks or ranks[0] is None else ranks[0] + _MORE_AXES.get(op, 0) - gone


def seen_shape(value: Value) -> dict[str, Any]:
    """Return what tells the shape of a value, as an entry of the graph's layers has it.

    That of one-hot vectors, which may not be there, is that of their ids and `depth`.
    """
    if value.ids is None:
        return {"value": value.name}
    return {"value": value.ids.name, "depth": value.depth}


@dataclass
class GraphBuilder:
    """Collects inputs, nodes, weights and outputs in order of execution for a `Graph`."""

    _inputs: list[dict[str, Any]] = field(default_factory=list)
    _nodes: list[dict[str, Any]] = field(default_factory=list)
    _outputs: list[dict[str, Any]] = field(default_factory=list)
    _layers: list[dict[str, Any]] = field(default_factory=list)
    _tensors: dict[str, Array | None] = field(default_factory=dict)
    _masks: dict[Mask, Value] = field(default_factory=dict)
    _arrays: dict[int, str] = field(default_factory=dict)
    _sizes: dict[SizeRule, list[tuple[str, int]]] = field(default_factory=dict)
    _vectors: dict[str, tuple[Site, Value, int]] = field(default_factory=dict)  # not made yet
    unbuilt: dict[str, tuple[Any, dict[str, Any]]] = field(default_factory=dict)  # what it reads
    layer_name: str = ""  # of the layer that is being lowered: who first reads a mask makes it
    _calls: int = 0
    _characters: int = 0

    def call(self, site: Site) -> None:
        """Count one call of a layer: a graph has no more than a plan takes.

        Raises
        ------
        GraphError
        """
        self._calls += 1
        self._characters += len(site.value)
        if self._calls > _MAX_CALLS or self._characters > _MAX_NAMES:
            raise GraphError(
                f"layers are called more than {_MAX_CALLS} times, those inside of models included, "
                f"or their names have more than {_MAX_NAMES} characters ({told(site.layer)})"
            )

    def data_input(
        self,
        name: str,
        shape: Sequence[int | None],
        dtype: str,
        batch_axis: int = 0,
        rules: Sequence[tuple[int, SizeRule]] = (),
    ) -> Value:
        """Add a data input, and its lengths if it has a time axis: ids, or features of rank 3.

        `shape` leaves out the batch; `rules` are of axes, with the batch. So many of its
        axes as `batch_axis` says stand before the batch; behind any, nobody gives a mask.
        """
        entry = {"name": name, "kind": "data", "dtype": dtype, "shape": list(shape)}
        self._inputs.append(entry | ({"batch_axis": batch_axis} if batch_axis else {}))
        for axis, rule in rules:
            self._sizes.setdefault(rule, []).append((name, axis))
        rank = 1 + len(shape)
        if len(shape) < (1 if dtype == "int64" else 2):
            return Value(name, dtype, rank=rank, batch_axis=batch_axis)
        lengths = f"{name}:lengths"
        self._inputs.append({"name": lengths, "kind": "lengths", "of": name})
        mask = None if batch_axis else Mask("input", (name,))
        return Value(name, dtype, lengths, mask, rank, batch_axis)

    def mask(self, value: Value) -> Value | None:
        """Return the mask of `value`, (B, T) of 0 and 1, as a value for ops; None without one."""
        return None if value.mask is None else self._mask(value.mask)

    def _mask(self, mask: Mask) -> Value:
        """Add what computes a mask, once for all who read it."""
        if mask in self._masks:
            return self._masks[mask]
        if mask.kind == "value":
            made = Value(str(mask.sources[0]))
        elif mask.kind == "input":
            made = self._mask_input(str(mask.sources[0]))
        elif mask.kind in ("any", "all"):
            parts = [self._mask(part) for part in mask.sources if isinstance(part, Mask)]
            made = self._mask_node("mask_merge", parts, {"all": mask.kind == "all"})
        elif mask.kind == "concat":
            made = self._mask_node("mask_concat", [self._source(part) for part in mask.sources], {})
        else:
            (name,) = mask.sources
            op, attrs = (
                ("mask_ids", {}) if mask.kind == "ids" else ("mask_frames", {"value": mask.number})
            )
            made = self._mask_node(op, [Value(str(name))], attrs)
        self._masks[mask] = made
        return made

    def _source(self, source: str | Mask | None) -> Value | None:
        if isinstance(source, Mask):
            return self._mask(source)
        return None if source is None else Value(source)

    def _mask_input(self, name: str) -> Value:
        self._inputs.append({"name": f"{name}:mask", "kind": "mask", "of": name})
        return Value(f"{name}:mask", rank=2)

    def _mask_node(
        self, op: str, inputs: Sequence[Value | None], attrs: Mapping[str, Any]
    ) -> Value:
        made = Value(f"{self.layer_name}:mask{len(self._masks)}", rank=2)
        self._nodes.append({
            "op": op, "layer": self.layer_name,
            "inputs": [self._read(value) for value in inputs],
            "outputs": [made.name], "weights": {}, "attrs": dict(attrs),
        })  # fmt: skip
        return made

    def one_hot(self, site: Site, ids: Value, depth: int) -> Value:
        """Return the one-hot vectors of ids, which become a node where they are read as such."""
        self._check_inputs("one_hot", site, [ids], {})
        self._vectors[site.value] = (site, ids, depth)
        rank = None if ids.rank is None else ids.rank + 1
        return Value(site.value, lengths=ids.lengths, rank=rank, ids=ids, depth=depth)

    def _read(self, value: Value | None) -> str | None:
        """Return the name by which a node reads a value, which now must be there."""
        if value is not None and value.name in self._vectors:
            site, ids, depth = self._vectors.pop(value.name)
            self.node("one_hot", site, [ids], attrs={"depth": depth})
        return None if value is None else value.name

    def _without_vectors(
        self, op: str, inputs: Sequence[Value | None], attrs: dict[str, Any]
    ) -> list[Value | None]:
        """Put ids in the place of their one-hot vectors, where an op can do with them."""
        taken = list(inputs)
        at = _READ_NO_NUMBERS.get(op, 0)
        value = taken[at] if at < len(taken) else None
        if value is None or value.ids is None:
            return taken
        if op in _READ_ONE_HOT:
            attrs["one_hot"] = value.depth
            taken[at] = value.ids
        elif op in _READ_NO_NUMBERS and (op != "positions" or (value.ids.rank or 0) > 1):
            taken[at] = value.ids
        return taken

    def state_input(self, name: str, shape: Sequence[int], batch_axis: int = 0) -> Value:
        """Add an optional initial state; shape leaves out the batch, which stands at batch_axis."""
        entry = {"name": name, "kind": "state", "shape": list(shape)}
        self._inputs.append(entry | ({"batch_axis": batch_axis} if batch_axis else {}))
        return Value(name, rank=1 + len(shape), batch_axis=batch_axis)

    def node(
        self,
        op: str,
        site: Site,
        inputs: Sequence[Value | None],
        *,
        outputs: Sequence[str | None] | None = None,
        weights: Mapping[str, Array | None] | None = None,
        attrs: Mapping[str, Any] | None = None,
        time: str = "kept",
    ) -> list[Value]:
        """Add a node and return its outputs, of which only the first has lengths and a dtype.

        Parameters
        ----------
        op, attrs
            As in docs/design.md.
        site : Site
        inputs : sequence of Value or None
            None for an absent state.
        outputs : sequence of (str or None), optional
            Names; None for one that nobody wants. Left out: one, the site's value.
        weights : mapping of str to (array or None), optional
            By their names in docs/design.md; None for weights that do not exist yet.
        time : "kept", "mapped" or "gone"
            What the op does to the time axis, hence to lengths.
        """
        outputs = [site.value] if outputs is None else outputs
        attrs = dict(attrs or {})
        view = self._view_of_ids(op, site, inputs, str(outputs[0]), attrs, time)
        if view is not None:
            return [view]
        given_inputs, inputs = inputs, self._without_vectors(op, inputs, attrs)
        self._check_inputs(op, site, inputs, attrs)
        if len(self._nodes) >= _MAX_CALLS:
            raise GraphError(f"the graph has more than {_MAX_CALLS} nodes ({told(site.layer)})")
        node: dict[str, Any] = {"op": op, "layer": site.layer}
        node["inputs"] = [self._read(value) for value in inputs]
        given = [None if value is None else value.lengths for value in inputs]
        lengths = next((name for name in given if name is not None), None)
        if lengths is not None:
            node["lengths"] = given if op in _MERGES else lengths
        if lengths is not None and time == "mapped":
            lengths = node["lengths_out"] = f"{outputs[0]}:lengths"
        node["outputs"] = list(outputs)
        node["weights"] = {
            name: self._tensor(f"{site.tensor}.{name}", array, site)
            for name, array in (weights or {}).items()
        }
        node["attrs"] = attrs
        self._nodes.append(node)
        first, *rest = (name for name in outputs)
        result = Value(
            first or "",
            _dtype(op, inputs, attrs),
            None if time == "gone" else lengths,
            rank=_rank(op, given_inputs, attrs),
            batch_axis=_turned(op, _MAKE_SECOND, attrs),
        )
        return [result] + [Value(name or "", rank=2) for name in rest]

    def _view_of_ids(
        self, op: str, site: Site, inputs: Sequence[Value | None], name: str,
        attrs: Mapping[str, Any], time: str,
    ) -> Value | None:  # fmt: skip
        """Return a view of one-hot vectors as those of a view of their ids, where it is one."""
        value = inputs[0]
        if value is None or value.ids is None or value.rank is None or op not in _VIEWS_OF_IDS:
            return None
        ids = value.ids
        if op == "expand" and not 0 < attrs["axis"] < value.rank:
            return None
        # Folded rows do not know where they end: ids that no call gives would be read behind it.
        if op == "fold" and ids.lengths is not None and not self._is_given(ids):
            return None
        (seen,) = self.node(op, site, [ids], outputs=[f"{name}:ids"], attrs=attrs, time=time)
        return self.one_hot(replace(site, value=name), seen, value.depth)

    def _is_given(self, value: Value) -> bool:
        return any(spec["name"] == value.name for spec in self._inputs)

    @staticmethod
    def _check_inputs(
        op: str, site: Site, inputs: Sequence[Value | None], attrs: Mapping[str, Any]
    ) -> None:
        """Raise GraphError for values of another dtype, or batch axis, than an op takes."""
        given = [value for value in inputs if value is not None]
        wanted = "int64" if op in _READ_IDS else "float32"
        if op in _CARRIERS:
            wanted = given[0].dtype
        for value in given[1:] if attrs.get("one_hot") else given:
            place = _turned(op, _READ_SECOND, attrs)
            if value.batch_axis != place:
                raise GraphError(
                    f"layer {site.layer!r} ({op}): {value.name!r} has its batch in axis "
                    f"{value.batch_axis}; expected {place}"
                )
            if value.dtype != wanted and op not in _ANY_DTYPE:
                hint = ' (Input(..., dtype="int64"))' if op in _READ_IDS else ""
                raise GraphError(
                    f"layer {site.layer!r} ({op}): expected {wanted} values{hint}; "
                    f"found {value.dtype} from {value.name!r}"
                )

    def _tensor(self, name: str, array: Array | None, site: Site) -> str:
        """Name a weight. An array has one name, whoever uses it."""
        if array is not None:
            known = self._arrays.setdefault(id(array), name)
            if known != name and name not in self._tensors:
                return known
        if name.startswith(_FILES_OWN):
            raise GraphError(f"layer {site.layer!r}: model files use that name; choose another")
        if name in self._tensors and self._tensors[name] is not array:
            raise GraphError(
                f"layer {site.layer!r}: another layer's weights are named {name!r} too"
            )
        self._tensors[name] = array
        return name

    def layer(self, name: str, kind: str, value: Value, parameters: int | None) -> None:
        """Note a layer as the user knows it; `parameters` is None for one without weights."""
        entry = {"name": name, "class": kind, **seen_shape(value), "parameters": parameters}
        self._layers.append(entry)

    def output(self, value: Value, name: str | None = None) -> None:
        """Make a value an output of the graph, of its own name if it is given no other."""
        entry: dict[str, Any] = {"name": name or value.name, "value": self._read(value)}
        if value.lengths is not None:
            entry["lengths"] = value.lengths
        if value.mask is not None and not value.mask.optional:
            entry["masked"] = True  # by the model itself: who reads it elsewhere must know
        self._outputs.append(entry)

    def finish(self) -> Graph:
        """Return the graph. Weights that do not exist are named by nodes alone."""
        document: dict[str, Any] = {
            "format": "seqcore",
            "version": 1,
            "inputs": self._inputs,
            "nodes": self._nodes,
            "outputs": self._outputs,
            "layers": self._layers,
        }
        if self._sizes:
            document["sizes"] = [
                {"axes": [list(axis) for axis in axes], **rule.bounds()}
                for rule, axes in self._sizes.items()
            ]
        tensors = {name: array for name, array in self._tensors.items() if array is not None}
        return Graph(document, tensors)


def unique_names(wanted: Iterable[tuple[str | None, str]]) -> list[str]:
    """Give every item a name: its own, or else a stem, numbered from its second use on.

    Parameters
    ----------
    wanted : iterable of (name or None, stem)

    Raises
    ------
    GraphError
        Two items have the same own name.
    """
    items = list(wanted)
    taken: set[str] = set()
    for name, _ in items:
        if name in taken:
            raise GraphError(f"two layers or inputs of one graph are named {name!r}")
        if name is not None:
            taken.add(name)
    names = []
    counters: dict[str, int] = {}
    for name, stem in items:
        while name is None:
            count = counters.get(stem, 0)
            counters[stem] = count + 1
            candidate = f"{stem}_{count}" if count else stem
            if candidate not in taken:
                name = candidate
                taken.add(name)
        names.append(name)
    return names
