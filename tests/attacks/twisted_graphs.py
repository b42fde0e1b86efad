"""Random graphs, twisted, planned and run: `python twisted_graphs.py FIRST COUNT`.

A graph of random_graphs.py gets odd nodes, and often references, attributes and sizes that are
wrong. A plan may refuse it, and a call too, with an error of this package; whatever else happens is
a failure. It runs in a process of its own, as the failure looked for is a crash: the last seed
printed is the one that did it. The last line counts what happened.
"""

from __future__ import annotations

import copy
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from random_graphs import RandomGraph, Value, floats, random_graph

from seqcore._binding import Plan
from seqcore.errors import SeqcoreError

MAX_SIZE = 1000  # of an argument's axis; a larger one is cut, and then does not fit
VALUES = [
    None, 0, 1, 2, 3, -1, 1.5, "x0", "x0:lengths", "", [], {}, True, 2**24, 2**32, 2**53,
    "float32", "int64", "state", "data", "lengths",
]  # fmt: skip
REFERENCES = ("inputs", "lengths", "outputs", "lengths_out")  # entries of a node that are names
ODD_OPS = {
    "fold": 1, "unfold": 2, "flatten": 1, "select": 1, "stack": 2, "add": 2, "embedding": 1,
    "global_avg_pool1d": 2, "global_max_pool1d": 1, "max_pool1d": 1, "pad1d": 1, "concat": 2,
    "attention": 3, "batch_matmul": 2, "dot": 2, "reshape": 1, "expand": 1, "permute": 1,
    "repeat": 1, "slice": 1, "index": 1, "reduce": 1, "unary": 1, "subtract": 2, "maximum": 3,
    "masked_merge": 4, "mask_frames": 1, "mask_merge": 2, "mask_concat": 4,
}  # fmt: skip

Path = tuple[Any, ...]


def paths(tree: Any, here: Path = ()) -> Iterator[Path]:
    """Yield the way to every part of a document, as keys and indices."""
    yield here
    entries = list(enumerate(tree)) if isinstance(tree, list) else []
    for key, child in tree.items() if isinstance(tree, dict) else entries:
        yield from paths(child, (*here, key))


def at(tree: Any, path: Path) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def is_reference(path: Path) -> bool:
    if path[0] == "outputs":
        return len(path) == 3
    return path[0] == "nodes" and len(path) >= 3 and path[2] in REFERENCES


def twist(draw: random.Random, document: dict[str, Any], names: list[str]) -> None:
    """Change one to five places of a document; most of them name a value, and then another one."""
    for _ in range(draw.choice([1, 1, 1, 2, 3, 5])):
        places = [path for path in paths(document) if len(path) > 1]
        references = [path for path in places if is_reference(path)]
        named = bool(references) and draw.random() < 0.65
        path = draw.choice(references if named else places)
        parent, key, kind = at(document, path[:-1]), path[-1], draw.random()
        anyone = [*names, None]
        if named and kind < 0.5:
            parent[key] = draw.choice(anyone)
        elif named and kind < 0.65:
            parent[key] = draw.choices(anyone, k=draw.randint(0, 4))
        elif kind < 0.75 and isinstance(parent, dict):
            del parent[key]
        elif kind < 0.85 and isinstance(parent, list):
            twin = copy.deepcopy(parent[key])
            parent.insert(key, twin if draw.random() < 0.5 else draw.choice(anyone))
        elif kind < 0.9 and path[0] == "inputs" and isinstance(at(document, path[:2]), dict):
            at(document, path[:2])["batch_axis"] = draw.choice([0, 1])
        else:
            parent[key] = draw.choice(VALUES)


def accepted(graph: RandomGraph) -> bool:
    try:
        graph.plan()
    except SeqcoreError:
        return False
    return True


def odd_attrs(draw: random.Random, op: str) -> dict[str, Any]:
    """Draw attributes of an op that may fit what it reads."""
    axis, bounds = draw.choice([1, 1, 2, 3]), [None, 0, 1, 2, 5, -1, -3, 2**50, -(2**50)]
    attrs: dict[str, dict[str, Any]] = {
        "select": {"index": 0},
        "embedding": {"rows": 7, "units": 3},
        "max_pool1d": {"pool_size": 2, "strides": 1},
        "pad1d": {"left": 1, "right": -2},
        "concat": {"axis": 1},
        "reshape": {
            "keep": draw.choice([1, 1, 2, 3]),
            "sizes": draw.choice([None, None, [1], [3]]),
            "shape": draw.choice([[-1], [-1, 1], [1, -1], [], [2, -1, 1], [3], [2**32, -1]]),
        },
        "expand": {"axis": axis},
        "permute": {"dims": draw.choice([[1], [1, 2], [2, 1], [1, 3, 2], [3, 1, 2]])},
        "repeat": {"axis": axis, "repeats": draw.choice([1, 2, 3])},
        "slice": {
            "axis": axis,
            "start": draw.choice(bounds),
            "stop": draw.choice(bounds),
            "step": draw.choice([1, 1, 2, -1, -2, 2**50, 0]),
        },
        "index": {"axis": axis, "index": draw.choice([0, -1, 2, -(2**50)])},
        "reduce": {
            "function": draw.choice(["mean", "sum", "max", "min"]),
            "axes": draw.choice([[1], [2], [1, 2], [2, 1], [3, 1]]),
            "keepdims": draw.random() < 0.5,
        },
        "unary": {"function": draw.choice(["abs", "sqrt", "log"])},
        "masked_merge": {"function": draw.choice(["multiply", "maximum", "minimum"])},
        "mask_frames": {"value": 0},
        "mask_merge": {"all": draw.random() < 0.5},
        "attention": {"score": "dot", "masking": "zero", "heads": 0, "scale": 1, "causal": False},
        "dot": {"axes": [draw.choice([1, 2]), -1], "normalize": True},
    }
    padding = {"padding": draw.choice(["same", "valid", "causal"])} if "pool" in op else {}
    return attrs.get(op, {}) | padding


def add_odd_nodes(draw: random.Random, graph: RandomGraph) -> None:
    """Add ops between any values; of those that a plan refuses, a few stay."""
    graph.tensors["odd"] = np.ones((7, 3), np.float32)
    graph.tensors["numbers"] = np.ones(draw.choice([1, 3, 8]), np.float32)
    for i in range(draw.choice([1, 3, 6, 10])):
        op, name = draw.choice(list(ODD_OPS)), f"odd{i}"
        inputs: list[str | None] = [draw.choice(graph.values).name for _ in range(ODD_OPS[op])]
        if len(inputs) == 4:  # two masks, which may be absent
            inputs[2:] = [name if draw.random() < 0.5 else None for name in inputs[2:]]
        node = {
            "op": op, "layer": name, "inputs": inputs, "outputs": [name],
            "attrs": odd_attrs(draw, op), "weights": {"W": "odd"},
        }  # fmt: skip
        lengths = None
        if draw.random() < 0.5:
            node["lengths"] = draw.choice(graph.values).lengths
        if op == "attention":
            maskable = [value.name for value in graph.values] + [None] * 3
            node["inputs"] = [*inputs[: draw.choice([2, 3])], *draw.choices(maskable, k=2)]
            if draw.random() < 0.5:
                node["lengths"] = [draw.choice(graph.values).lengths for _ in node["inputs"]]
            if draw.random() < 0.5:
                additive = {"score": "additive", "shared": draw.random() < 0.5}
                node["attrs"] = node["attrs"] | additive
                node["weights"] = {"W": "numbers"}
        if draw.random() < 0.2:
            node["lengths_out"] = lengths = f"{name}:lengths"
        value = Value(name, "stack" if op == "stack" else "odd", 1, lengths=lengths)
        nodes, outputs = list(graph.nodes), list(graph.outputs)
        graph.nodes.append(node)
        if op == "stack":  # it can be nothing else
            graph.outputs.append(replace(value, lengths=None))
        if accepted(graph) or draw.random() < 0.03:
            graph.values.append(value)
        else:
            graph.nodes, graph.outputs = nodes, outputs


def odd_array(rng: np.random.Generator, spec: dict[str, Any], batch: int, time: int) -> Any:
    """An argument of about the shape that an input asks for."""
    lengths = spec["kind"] == "lengths"
    if (lengths and rng.random() < 0.2) or (spec["kind"] == "state" and rng.random() < 0.4):
        return None
    if lengths:
        return rng.integers(0, rng.choice([time + 1, 2]), batch)
    shape = [rng.choice([time, time, time, 0, 3]) if n is None else n for n in spec["shape"]]
    shape = [n if n <= MAX_SIZE else 4 for n in shape]
    shape.insert(spec.get("batch_axis", 0), batch)
    ids = spec["kind"] == "data" and spec["dtype"] == "int64"
    return rng.integers(0, 7, shape) if ids else floats(rng, *shape)


def attack(seed: int) -> list[str]:
    """Return what became of one graph: a class of error, or "ran", for the plan and each call."""
    draw, rng, graph = random.Random(seed), np.random.default_rng(seed), random_graph(seed)
    graph.outputs = [value for value in graph.outputs if value.kind == "stack"]
    add_odd_nodes(draw, graph)
    ends = [value.lengths for value in graph.values if value.lengths]
    results = [v for v in graph.values if v.kind not in ("ids", "stack")] or graph.values
    graph.outputs += [
        Value(draw.choice(results).name, "odd", 1, lengths=draw.choice([*ends, *[None] * 6]))
        for _ in range(draw.randint(1, 4))
    ]
    document = copy.deepcopy(graph.document)
    if draw.random() < 0.5:
        names = [v.name for v in graph.values] + ends + [spec["name"] for spec in graph.inputs]
        twist(draw, document, names)
    options = {"threads": draw.choice([1, 2]), "shapes_only": draw.random() < 0.03}
    try:
        plan = Plan(json.dumps(document).encode(), graph.tensors, **options)
    except (SeqcoreError, MemoryError) as error:
        return [f"plan: {type(error).__name__}"]
    found = []
    for batch in draw.choice([1, 2, 9]), draw.choice([0, 3, 17]):
        arguments = [odd_array(rng, spec, batch, graph.times[0]) for spec in document["inputs"]]
        try:
            plan.run(arguments)
            found.append("ran")
        except (SeqcoreError, MemoryError) as error:
            found.append(f"call: {type(error).__name__}")
    return found


def main(first: int, count: int) -> None:
    found: Counter[str] = Counter()
    for seed in range(first, first + count):
        print(seed, flush=True)
        found.update(attack(seed))
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
