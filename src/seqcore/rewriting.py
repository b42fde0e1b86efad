"""Lowered graphs out of lowered graphs: what a decoder's step is, and what can be computed before.

Documents in, documents out (graph.py says what one is); no arrays, no plans. A name of a value,
like that of an input, belongs to its document alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import GraphError, UnsupportedLayerError

__all__ = [
    "Divided",
    "alive",
    "batch_first",
    "count_frames",
    "divided",
    "joined",
    "prefixed",
    "show_frames",
    "stepped",
    "unused",
]

Document = dict[str, Any]
Shape = Sequence[int | None]

# What gives its input another shape, or moves elements: whole numbers stay whole numbers.
_PASS_IDS = frozenset([
    "flatten", "fold", "unfold", "reshape", "expand", "permute", "repeat", "slice", "index",
    "concat", "select", "stack", "batch_first", "batch_second",
])  # fmt: skip
_MAKE_IDS = frozenset(["argmax", "topk", "crf"])
_TURN = frozenset(["batch_second", "stack"])  # what has its batch behind others, and is no context
_RECURRENT = frozenset(["simple_rnn", "gru", "lstm"])
# What looks at several frames, and would keep some of them if it were stepped.
_LOOK_BACK = frozenset([
    "conv1d", "depthwise_conv1d", "conv1d_transpose", "max_pool1d", "avg_pool1d",
    "adaptive_pool1d", "pad1d", "global_avg_pool1d", "global_max_pool1d", "cumsum", "positions",
    "crf",
])  # fmt: skip


# ---- Small parts ---------------------------------------------------------------------------------


def _copied(document: Mapping[str, Any]) -> Document:
    return copy.deepcopy(dict(document))


def _listed_lengths(node: Mapping[str, Any]) -> list[str | None]:
    """Return the lengths of a node's inputs as a list."""
    lengths = node.get("lengths")
    return list(lengths) if isinstance(lengths, list) else [lengths]


def _renamed(document: Document, names: Mapping[str, str | None]) -> None:
    """Give values, and lengths, other names wherever they are read or made."""

    def new(name: Any) -> Any:
        return names.get(name, name) if isinstance(name, str) else name

    for spec in document["inputs"]:
        for key in ("name", "of"):
            if key in spec:
                spec[key] = new(spec[key])
    for node in document["nodes"]:
        for key in ("inputs", "outputs"):
            node[key] = [new(name) for name in node[key]]
        if "lengths" in node:
            given = node["lengths"]
            node["lengths"] = [new(n) for n in given] if isinstance(given, list) else new(given)
            if node["lengths"] is None:
                del node["lengths"]
        if "lengths_out" in node:
            node["lengths_out"] = new(node["lengths_out"])
            if "lengths" not in node:  # nothing is counted any more
                del node["lengths_out"]
    for output in document["outputs"]:
        output["value"] = new(output["value"])
        if "lengths" in output:
            output["lengths"] = new(output["lengths"])
            if output["lengths"] is None:
                del output["lengths"]
    for layer in document["layers"]:
        layer["value"] = new(layer["value"])


def _made(document: Document) -> set[str]:
    return {name for node in document["nodes"] for name in node["outputs"] if name is not None}


def _with_layers(document: Document) -> Document:
    """Leave out the layers whose values are elsewhere."""
    values = _made(document) | {spec["name"] for spec in document["inputs"]}
    document["layers"] = [entry for entry in document["layers"] if entry["value"] in values]
    return document


def _with_sizes(document: Document) -> Document:
    """Leave out the rules of inputs that are elsewhere."""
    names = {spec["name"] for spec in document["inputs"]}
    rules = []
    for rule in document.pop("sizes", []):
        axes = [axis for axis in rule["axes"] if axis[0] in names]
        if axes and rule.get("longest", axes[0][0]) in names:
            rules.append({**rule, "axes": axes})
    if rules:
        document["sizes"] = rules
    return document


def alive(document: Document, outputs: Iterable[str]) -> Document:
    """Return a document with these outputs alone, and the nodes that they need."""
    made = _copied(document)
    wanted = list(dict.fromkeys(outputs))
    by_name = {output["name"]: output for output in made["outputs"]}
    made["outputs"] = [by_name[name] for name in wanted]
    needed = {output["value"] for output in made["outputs"]}
    needed |= {output.get("lengths") for output in made["outputs"]}
    kept = []
    for node in reversed(made["nodes"]):
        if needed.intersection([*node["outputs"], node.get("lengths_out")]) - {None}:
            kept.append(node)
            needed.update([*node["inputs"], *_listed_lengths(node)])
    made["nodes"] = kept[::-1]
    for spec in made["inputs"]:
        if spec.get("next") not in wanted:  # an input is carried on from an output that there is
            spec.pop("next", None)
    return _with_layers(made)


def prefixed(
    document: Document, prefix: str, tensors: Iterable[str] = (), tensor_prefix: str = ""
) -> Document:
    """Return a document in which what nodes make, and the tensors named, begin with prefixes."""
    made = _copied(document)
    counts = {node["lengths_out"] for node in made["nodes"] if "lengths_out" in node}
    _renamed(made, {name: prefix + name for name in _made(made) | counts})
    own = set(tensors)
    for node in made["nodes"]:
        node["layer"] = prefix + node["layer"]
        node["weights"] = {
            role: tensor_prefix + name if name in own else name
            for role, name in node["weights"].items()
        }
    for entry in made["layers"]:
        entry["name"] = prefix + entry["name"]
    return made


# ---- States whose batch is not axis 0 ------------------------------------------------------------


def batch_first(document: Document, inputs: Iterable[str], outputs: Iterable[str]) -> Document:
    """Return a document whose inputs and outputs of these names have their batch in axis 0.

    torch has states as (layers, batch, units); here they become (batch, layers, units).
    """
    made = _copied(document)
    turned = set()
    for spec in made["inputs"]:
        if spec["name"] in set(inputs) and spec.get("batch_axis"):
            del spec["batch_axis"]
            turned.add(spec["name"])
    ends = {output["value"] for output in made["outputs"] if output["name"] in set(outputs)}
    nodes: list[dict[str, Any]] = []
    for node in made["nodes"]:
        own = node["outputs"][0]
        if node["op"] == "batch_first" and node["inputs"][0] in turned:
            _renamed(made, {own: node["inputs"][0]})
            continue
        if node["op"] == "select" and node["inputs"][0] in turned:
            attrs = {"axis": 1, "index": node["attrs"]["index"]}
            nodes.append({**node, "op": "index", "attrs": attrs})
        elif node["op"] == "batch_second" and own in ends:
            _renamed(made, {own: node["inputs"][0]})
        elif node["op"] == "stack" and own in ends:
            nodes += _stacked_behind_batch(node)
        else:
            nodes.append(node)
    made["nodes"] = nodes
    return made


def _stacked_behind_batch(node: dict[str, Any]) -> list[dict[str, Any]]:
    """Return nodes that make (B, n, H) of n values (B, H)."""
    plain = {key: value for key, value in node.items() if key != "lengths"}
    parts = [f"{node['outputs'][0]}:part{index}" for index in range(len(node["inputs"]))]
    expanded = [
        {**plain, "op": "expand", "inputs": [value], "outputs": [part], "attrs": {"axis": 1}}
        for value, part in zip(node["inputs"], parts, strict=True)
    ]
    return [*expanded, {**plain, "op": "concat", "inputs": parts, "attrs": {"axis": 1}}]


# ---- A step --------------------------------------------------------------------------------------


def stepped(
    document: Document,
    carry: Mapping[str, str],
    contexts: Iterable[str],
    shape_of: Callable[[str], Shape],
) -> Document:
    """Return a document whose inputs say what they are in a step.

    Parameters
    ----------
    document : dict
    carry : mapping of str to str
        Inputs, and the outputs that they are in the next step.
    contexts : iterable of str
        Inputs that a whole sequence has once.
    shape_of : function of str
        As of `divided`.

    Raises
    ------
    GraphError
        A name is none of the graph's, or stands for two things.
    """
    contexts = list(contexts)
    known = [spec["name"] for spec in document["inputs"] if spec["kind"] == "data"]
    named = [output["name"] for output in document["outputs"]]
    for name in [*carry, *contexts]:
        if name not in known:
            raise GraphError(f"{name!r} is none of the decoder's inputs {known}")
    for name in carry.values():
        if name not in named:
            raise GraphError(f"{name!r} is none of the decoder's outputs {named}")
    both = set(carry) & set(contexts)
    if both or len(set(contexts)) < len(contexts):
        raise GraphError(f"{sorted(both) or contexts}: an input is carried, or one context")
    if named and named[0] in carry.values():
        raise GraphError(
            f"the decoder's first output, {named[0]!r}, gives scores or the next vector; it cannot "
            "be carried as well; a copy can, as Activation(None) makes one"
        )
    made = batch_first(document, carry, carry.values())
    for spec in made["inputs"]:
        if spec["name"] in carry:
            spec["next"] = carry[spec["name"]]
        elif spec["name"] in contexts:
            if spec.get("batch_axis"):
                raise GraphError(
                    f"context {spec['name']!r} has its batch in axis {spec['batch_axis']}: "
                    "a context has it in axis 0"
                )
            spec["context"] = True
    anew = _begin_anew(made, contexts, shape_of, bool(carry))
    return _carrying_states(made, anew) if carry else made


def _begin_anew(
    document: Document,
    contexts: Sequence[str],
    shape_of: Callable[[str], Shape],
    carries: bool,
) -> list[dict[str, Any]]:
    """Let recurrent layers that go over a context's frames begin anew, in place; return them.

    That is with zeros, or with the initial state that they have learned. What they end with belongs
    to the step, or to the sequence; as a state it would be where the next step begins. If the graph
    `carries` something these are also those that see something of the step there: in a graph that
    is run on single frames, what has other frames has a context's.
    """
    specs = {spec["name"]: spec for spec in document["inputs"]}
    states = {name for name, spec in specs.items() if spec["kind"] == "state"}
    early, late = _parted(document, contexts)
    counts = {name for name, spec in specs.items() if spec.get("of") in contexts}
    nodes = [node for node in early if node["op"] in _RECURRENT]
    for node in late if carries else ():
        counted = counts.intersection(_listed_lengths(node))
        if counted and "lengths_out" in node:
            counts.add(node["lengths_out"])
        if node["op"] in _RECURRENT and (
            counted or shape_of(node["inputs"][0])[1] not in (1, None)
        ):
            nodes.append(node)
    for node in nodes:
        node["inputs"] = [None if name in states else name for name in node["inputs"]]
    read = {name for node in document["nodes"] for name in node["inputs"]}
    document["inputs"] = [
        spec for name, spec in specs.items() if name in read or name not in states
    ]
    return nodes


def _carrying_states(document: Document, anew: Sequence[dict[str, Any]]) -> Document:
    """Let recurrent layers whose initial states are inputs of the graph carry them on.

    A graph that carries something is run anew for each step, on a single frame. Those that begin
    `anew` in each of them carry nothing.

    Raises
    ------
    UnsupportedLayerError
        Naming the layers that look at several frames of a sequence, or that have an initial state
        of their own.
    """
    specs = {spec["name"]: spec for spec in document["inputs"]}
    free = any(
        spec["kind"] == "data" and None in spec["shape"] and not spec.get("context")
        for spec in specs.values()
    )
    _, late = _parted(document, [name for name, spec in specs.items() if spec.get("context")])
    refused = [(node["layer"], node["op"]) for node in late if node["op"] in _LOOK_BACK]
    if free and refused:
        why = "looks at several frames, and what is carried makes them come one by one"
        raise UnsupportedLayerError([(layer, f"{op}: {why}") for layer, op in refused])
    steps = [
        node for node in document["nodes"]
        if node["op"] in _RECURRENT and not any(node is other for other in anew)
    ]  # fmt: skip
    _refuse_learned(document, steps)
    for node in steps:
        count = 2 if node["op"] == "lstm" else 1
        for place, name in enumerate(node["inputs"][1 : 1 + count], start=1):
            spec = specs.get(name, {})
            if spec.get("kind") != "state" or "next" in spec:
                continue
            if node["outputs"][place] is None:
                node["outputs"][place] = f"{name}:next"
            document["outputs"].append(
                _output(node["outputs"][place], None) | {"name": f"{name}:next"}
            )
            spec.update(kind="data", dtype="float32", next=f"{name}:next")
    left = [spec["name"] for spec in specs.values() if spec["kind"] == "state"]
    if left:
        why = "an initial state that is not a recurrent layer's own cannot be carried on"
        raise UnsupportedLayerError([(name, why) for name in left])
    return document


def _refuse_learned(document: Document, nodes: Sequence[dict[str, Any]]) -> None:
    """Raise UnsupportedLayerError for layers whose first state is a constant of their own.

    Carried on, a state begins with what a caller gives, or with zeros. A constant that a user put
    there, a layer of another name, is the state of every step.
    """
    constants = {
        node["outputs"][0]: node["layer"] for node in document["nodes"] if node["op"] == "constant"
    }
    why = "it has learned its initial state, and what is carried makes its frames come one by one"
    learned = [
        node["layer"] for node in nodes
        if any(constants.get(name) == node["layer"] for name in node["inputs"][1:])
    ]  # fmt: skip
    if learned:
        raise UnsupportedLayerError([(layer, why) for layer in dict.fromkeys(learned)])


@dataclass(frozen=True)
class Divided:
    """A step, and what is computed before it.

    Attributes
    ----------
    before : dict or None
        A document whose inputs are contexts and whose outputs are contexts of the step; None if
        there is nothing to compute.
    step : dict
    lengths : mapping of str to (str or None)
        Of each context of the step: the name of its lengths, None if it has none.
    counted : mapping of str to str
        Lengths that `before` makes, and the output of it that is 1 for every frame that they
        count and 0 behind.
    """

    before: Document | None
    step: Document
    lengths: Mapping[str, str | None]
    counted: Mapping[str, str]


def divided(
    document: Document, shape_of: Callable[[str], Shape], known: Sequence[str] | None = None
) -> Divided:
    """Divide a graph into what depends on contexts alone and the rest of it.

    Parameters
    ----------
    document : dict
        As `stepped` returns it.
    shape_of : function of str
        The shape of a value, None for the batch and for sizes that are known at a call.
    known : sequence of str, optional
        The contexts of which something may be computed before; all if left out.
    """
    specs = {spec["name"]: spec for spec in document["inputs"]}
    contexts = [name for name, spec in specs.items() if spec.get("context")]
    early, late = _parted(document, contexts if known is None else known)
    if not early:
        owners = {spec["of"]: name for name, spec in specs.items() if spec["kind"] == "lengths"}
        return Divided(None, _copied(document), {c: owners.get(c) for c in contexts}, {})
    made = {name for node in early for name in node["outputs"] if name is not None}
    read: dict[str, str | None] = {}  # what the rest reads of contexts and of what they make
    for node in late:
        for name, lengths in zip(node["inputs"], _of_inputs(node), strict=True):
            if name in made or name in contexts:
                read[name] = read.get(name) or lengths
    for output in document["outputs"]:
        if output["value"] in made or output["value"] in contexts:
            read.setdefault(output["value"], output.get("lengths"))
    for name in contexts:  # lengths of their own, though nobody who reads them looks at these
        own = f"{name}:lengths"
        if name in read and own in specs:
            read[name] = own
    step = _rest(document, late, read, shape_of)
    before = _copied({**document, "nodes": early, "outputs": []})
    used = {name for node in early for name in node["inputs"] if name is not None}
    before["inputs"] = [
        {key: value for key, value in spec.items() if key != "context"}
        for spec in before["inputs"]
        if spec["name"] in used or spec.get("of") in used
    ]
    kept = [name for name in read if name in made]
    before["outputs"] = [_output(name, read[name]) for name in kept]
    counted = count_frames(before, {read[name]: name for name in kept})
    return Divided(_with_sizes(_with_layers(before)), step, read, counted)


def _of_inputs(node: Mapping[str, Any]) -> list[str | None]:
    """Return the lengths of each input: a node that has one name of them means its first."""
    given = _listed_lengths(node)
    return (given + [None] * len(node["inputs"]))[: len(node["inputs"])]


def _parted(
    document: Document, contexts: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the nodes that depend on contexts alone, and the others.

    What makes whole numbers, or moves them or the batch, stays: it costs little. Initial states of
    recurrent layers, which nobody needs to give, do not count.
    """
    specs = {spec["name"]: spec for spec in document["inputs"]}
    known = set(contexts)
    ids = {name for name in contexts if specs[name]["dtype"] == "int64"}
    masks = {spec["name"] for spec in specs.values() if spec.get("of") in known}
    states = {spec["name"] for spec in specs.values() if spec["kind"] == "state"}
    early, late = [], []
    for node in document["nodes"]:
        optional = masks | states if node["op"] in _RECURRENT else masks
        inputs = [name for name in node["inputs"] if name is not None and name not in optional]
        moves_ids = node["op"] in _PASS_IDS and any(name in ids for name in inputs)
        makes_ids = node["op"] in _MAKE_IDS or node["attrs"].get("dtype") == "int64"
        stays = moves_ids or makes_ids or node["op"] in _TURN
        if inputs and known.issuperset(inputs) and not stays:
            early.append(node)
            known.update(name for name in node["outputs"] if name is not None)
        else:
            late.append(node)
    return early, late


def _output(name: str, lengths: str | None) -> dict[str, Any]:
    return {"name": name, "value": name} | ({} if lengths is None else {"lengths": lengths})


def _rest(
    document: Document,
    nodes: Sequence[dict[str, Any]],
    read: Mapping[str, str | None],
    shape_of: Callable[[str], Shape],
) -> Document:
    """Return the step: `nodes`, and as contexts what they read that is computed before."""
    step = _copied({**document, "nodes": list(nodes)})
    gone = {spec["name"] for spec in step["inputs"] if spec.get("context")} - set(read)
    masks = [spec for spec in step["inputs"] if spec["kind"] == "mask" and spec["of"] in gone]
    _renamed(step, {spec["name"]: None for spec in masks})  # which nobody gives: all frames count
    step["inputs"] = [
        spec for spec in step["inputs"] if spec["name"] not in gone and spec.get("of") not in gone
    ]
    there = {spec["name"] for spec in step["inputs"]}
    for name, lengths in read.items():
        if name not in there:
            shape = list(shape_of(name))[1:]
            step["inputs"].append({
                "name": name, "kind": "data", "dtype": "float32", "shape": shape, "context": True,
            })  # fmt: skip
        if lengths is not None and lengths not in there:
            there.add(lengths)
            step["inputs"].append({"name": lengths, "kind": "lengths", "of": name})
    return _with_sizes(_with_layers(step))


def count_frames(document: Document, lengths: Mapping[str | None, str]) -> dict[str, str]:
    """Add outputs that count frames, and return their names by those of lengths.

    Parameters
    ----------
    document : dict
        Changed in place.
    lengths : mapping of (str or None) to str
        Lengths, and a value that has them. Those that a caller gives are left out.
    """
    given = {spec["name"] for spec in document["inputs"]}
    return {
        name: show_frames(document, value, name)
        for name, value in lengths.items()
        if name is not None and name not in given
    }


def show_frames(document: Document, value: str, lengths: str | None) -> str:
    """Add an output (B, T) that is 1 where a value has a frame, and return its name.

    A frame's number is never below 0, whatever stands in the frame; and like every output this one
    is 0 past the ends of rows.

    Parameters
    ----------
    document : dict
        Changed in place.
    value : str
    lengths : str or None
        That the value has.
    """
    places = unused(f"{value}:places", document)
    ones = unused(f"{value}:frames", document)
    for op, source, made, attrs in (
        ("positions", value, places, {}),
        ("compare", places, ones, {"function": "greater_equal", "number": 0.0}),
    ):
        node = {"op": op, "layer": value, "inputs": [source], "outputs": [made]}
        document["nodes"].append(node | {"weights": {}, "attrs": attrs})
    document["outputs"].append(_output(ones, lengths))
    return ones


def unused(name: str, document: Mapping[str, Any]) -> str:
    """Return a name like this one that no value of a document has, and no lengths."""
    taken = {spec["name"] for spec in document["inputs"]}
    for node in document["nodes"]:
        taken.update([*node["outputs"], node.get("lengths_out")])
    while name in taken:
        name += "'"
    return name


# ---- Two graphs, one behind the other ------------------------------------------------------------


def joined(first: Document, second: Document, wires: Mapping[str, str]) -> Document:
    """Return one document: `second` reads, for its inputs, outputs of `first`.

    Parameters
    ----------
    first, second : dict
        Values, layers and tensors of the two have different names.
    wires : mapping of str to str
        An output of `first` for each input of `second`. All outputs of both are outputs.
    """
    made, behind = _copied(first), _copied(second)
    sources = {output["name"]: output for output in made["outputs"]}
    names: dict[str, str | None] = {}
    for spec in behind["inputs"]:
        source = sources[wires[spec["of"] if "of" in spec else spec["name"]]]
        if spec["kind"] == "lengths":
            names[spec["name"]] = source.get("lengths")
        else:  # a mask that nobody gives is absent
            names[spec["name"]] = source["value"] if spec["kind"] == "data" else None
    _renamed(behind, names)
    for key in ("nodes", "outputs", "layers"):
        made[key] += behind[key]
    return made
