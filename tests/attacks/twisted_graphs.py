"""Random graphs, twisted, planned and run: `python twisted_graphs.py FIRST COUNT`.

A graph of random_graphs/ gets odd nodes, and often references, attributes and sizes that are
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
from stream_models import stream_of

from seqcore._binding import Plan
from seqcore.errors import SeqcoreError

MAX_SIZE = 1000  # of an argument's axis; a larger one is cut, and then does not fit
VALUES = [
    None, 0, 1, 2, 3, -1, 1.5, "x0", "x0:lengths", "x0:mask", "", [], {}, True, False, -(2**53),
    2**24, 2**31, 2**32, 2**53, 1e38, -1e39, 1e308, 1e-46, float("nan"), [1], [2, 1], [-1, 2**24],
    "float32", "int64", "state", "data", "lengths", "mask",
]  # fmt: skip
REFERENCES = ("inputs", "lengths", "outputs", "lengths_out")  # entries of a node that are names
# How many values each op reads that is put between any values; and masks behind them.
ODD_OPS = {
    "fold": 1, "unfold": 2, "flatten": 1, "select": 1, "stack": 2, "add": 2, "embedding": 1,
    "global_avg_pool1d": 1, "global_max_pool1d": 1, "max_pool1d": 1, "avg_pool1d": 1, "pad1d": 1,
    "concat": 2, "attention": 3, "batch_matmul": 2, "dot": 2, "mask_ids": 1, "mask_frames": 1,
    "masking": 1, "mask_merge": 2, "mask_concat": 2, "masked_merge": 2, "maximum": 2, "divide": 2,
    "lstm": 3, "gru": 2, "simple_rnn": 2, "reduce": 1, "unary": 1, "reshape": 1, "expand": 1,
    "permute": 1, "repeat": 1, "slice": 1, "index": 1, "affine": 1, "prelu": 1, "normalize": 1,
    "softmax": 1, "dense": 1, "conv1d": 1, "compare": 2, "logical": 2, "where": 3, "constant": 1,
    "batch_first": 1, "batch_second": 1, "argmax": 1, "topk": 1, "cast": 1, "positions": 1,
    "adaptive_pool1d": 1, "power": 1, "cumsum": 1, "crf": 1, "one_hot": 1,
    "remainder": 2,
}  # fmt: skip
MASKS = {
    "global_avg_pool1d": 1, "attention": 2, "mask_concat": 2, "masked_merge": 2, "lstm": 1,
    "gru": 1, "simple_rnn": 1, "crf": 1,
}  # fmt: skip
LINEAR, TANH = ["linear", 0, 0], ["tanh", 0, 0]

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
            role, *values = draw.choice([("batch_axis", 0, 1), ("context", True), ("next", *names)])
            at(document, path[:2])[role] = draw.choice(values)
        else:
            parent[key] = draw.choice(VALUES)


def accepted(graph: RandomGraph) -> bool:
    try:
        graph.plan()
    except SeqcoreError:
        return False
    return True


def odd_attributes(draw: random.Random, op: str) -> dict[str, Any]:
    """Attributes that an op reads, within its range or a little outside."""
    axis, axes = draw.choice([1, 1, 2, 3]), draw.choice([[1], [2], [-1], [1, 2], [-2, -1]])
    cell = {
        "units": 2, "activation": TANH, "recurrent_activation": ["sigmoid", 0, 0],
        "reverse": draw.random() < 0.5, "realign": draw.random() < 0.5,
        "return_sequences": draw.random() < 0.7, "reset_after": False,
        "zero_output_for_mask": draw.random() < 0.3,
    }  # fmt: skip
    ids = draw.choice([{}, {}, {"one_hot": draw.choice([0, 1, 3, 3, 7])}])
    cell |= ids
    bounds = [None, 0, 1, 3, -1, -2, 2**31, -(2**31), 2**53, -(2**53)]
    shape = draw.choices([-1, 1, 2, 3, 7, 2**24], k=draw.randint(0, 4))
    return {
        "select": {"index": 0},
        "embedding": {"rows": 7, "units": 3},
        "pad1d": {
            "left": draw.choice([1, 1, 5, 2**16]), "right": draw.choice([-2, 0, 3]),
            "mode": draw.choice(["zero", "constant", "reflect", "replicate", "circular"]),
            "value": draw.choice([0, "nan"]),
        },
        "adaptive_pool1d": {"function": draw.choice(["mean", "max"]), "n": draw.choice([1, 3, 99])},
        "concat": {"axis": axis},
        "dense": {"units": 2, "activation": LINEAR, **ids}, "one_hot": {"depth": 7},
        "dot": {"axes": [draw.choice([1, 2]), -1], "normalize": True},
        "mask_frames": {"value": draw.choice([0, 1, 1e38])},
        "masking": {"value": 0},
        "mask_merge": {"all": draw.random() < 0.5},
        "masked_merge": {"function": draw.choice(["multiply", "maximum", "minimum"])},
        "lstm": cell | {"projection": draw.choice([0, 1, 2, 2, 3])},
        "gru": cell, "simple_rnn": cell,
        "reduce": {
            "function": draw.choice(["mean", "max", "logsumexp", "std"]), "axes": axes,
            "keepdims": draw.random() < 0.5, "correction": 1,
        },
        "power": {"exponent": draw.choice([2, -0.5, "inf", "nan"])},
        "cumsum": {"axis": axis},
        "unary": {"function": draw.choice(["log", "rsqrt", "negative"])},
        "reshape": {"keep": draw.choice([1, 2, 3]), "sizes": None, "shape": shape},
        "expand": {"axis": axis},
        "permute": {"dims": draw.choice([[1], [1, 2], [2, 1], [1, 3, 2], [3, 1, 2]])},
        "repeat": {"axis": axis, "repeats": draw.choice([1, 2, 100])},
        "slice": {
            "axis": axis, "start": draw.choice(bounds), "stop": draw.choice(bounds),
            "step": draw.choice([1, 2, -1, 2**53, -(2**53)]),
        },
        "argmax": {
            "axis": axis, "keepdims": draw.random() < 0.5, "function": draw.choice(["max", "min"]),
        },
        "topk": {"k": draw.choice([1, 2, 3, 2**24]), "axis": axis, "largest": draw.random() < 0.5},
        "crf": {"tags": draw.choice([1, 1, 3, 3, 2, 2**24])},
        "cast": {"dtype": draw.choice(["float32", "int64"])},
        "index": {"axis": axis, "index": draw.choice([0, -1, 2, 2**31, -(2**53)])},
        "compare": {"function": "less", "number": draw.choice([None, None, 1.5, "-inf", "nan"])},
        "logical": {"function": draw.choice(["and", "xor", "not"])},
        "remainder": {"rounding": draw.choice(["floor", "trunc"])},
        "where": {"a": draw.choice([None, None, 1]), "b": draw.choice([None, None, "inf"])},
        "constant": {"shape": draw.choice([[2], [2], [3, 2], [1, 2, 1]])},
        "affine": {"axes": axes}, "prelu": {"axes": axes}, "softmax": {"axes": axes},
        "normalize": {
            "kind": draw.choice(["layer", "variance", "rms", "unit"]), "axes": axes,
            "groups": draw.choice([0, 0, 1, 2, -1]), "epsilon": draw.choice([0, 0.1]),
        },
        "attention": {
            "score": draw.choice(["dot", "additive"]), "heads": 0, "scale": 1,
            "causal": draw.random() < 0.5, "masking": draw.choice(["subtract", "replace", "zero"]),
            "shared": draw.random() < 0.5,
        },
        "conv1d": {
            "filters": 2, "kernel_size": 2, "strides": 1, "dilation": draw.choice([1, 1000]),
            "groups": 1, "padding": draw.choice(["same", "valid", "causal", [0, 1], [3, 2]]),
            "activation": LINEAR,
        },
    }.get(op, {})  # fmt: skip


def odd_weights(draw: random.Random, graph: RandomGraph, op: str, i: int) -> dict[str, str]:
    """Weights of about the shapes that an op asks for, of ranks from 0 to 3."""
    features, gates = draw.choice([1, 3, 7]), {"lstm": 8, "gru": 6, "simple_rnn": 2}.get(op, 2)
    if op in ("lstm", "gru", "simple_rnn"):
        shapes = {"W": (features, gates), "U": (2, gates), "b": (gates,)}
        if op == "lstm" and draw.random() < 0.6:
            shapes["P"] = (2, 2)
    elif op in ("affine", "prelu", "normalize", "attention"):
        sizes = [draw.choice([1, 1, 3, 5]) for _ in range(draw.choice([1, 1, 1, 2, 0, 3]))]
        shapes = dict.fromkeys(("c", "W", "b", "alpha"), tuple(sizes))
    else:
        shapes = {"W": (2, features, 2) if op == "conv1d" else (features, 2), "b": (2,)}
    if op == "constant":
        shapes["W"] = draw.choice([(2,), (2,), (3, 2), (1, 2, 1)])
    if op == "embedding":
        shapes["W"] = (7, 3)
    if op == "crf":
        shapes = {"W": (features, features), "start": (features,), "end": (features,)}
    names = {role: f"odd{i}.{role}" for role in shapes}
    for role, name in names.items():
        odd = draw.choice([-np.inf, -np.inf, np.nan]) if op == "crf" and draw.random() < 0.2 else 1
        graph.tensors[name] = np.full(shapes[role], odd, np.float32)
    return names


def add_odd_nodes(draw: random.Random, graph: RandomGraph) -> None:
    """Add ops between any values; of those that a plan refuses, a few stay."""
    for i in range(draw.choice([1, 3, 6, 10])):
        op, name = draw.choice(list(ODD_OPS)), f"odd{i}"
        inputs: list[str | None] = [draw.choice(graph.values).name for _ in range(ODD_OPS[op])]
        if op in ("compare", "logical", "where"):  # of several, not all need be there
            inputs = inputs[: draw.randint(1, ODD_OPS[op])]
        masks = [v.name for v in graph.values if v.kind in ("mask", "maybe")]
        masks += [draw.choice(graph.values).name, "x0:mask"]
        inputs += [draw.choice([*masks, None]) for _ in range(draw.randint(0, MASKS.get(op, 0)))]
        if op in ("lstm", "gru", "simple_rnn") and draw.random() < 0.6:
            inputs[1 : ODD_OPS[op]] = [None] * (ODD_OPS[op] - 1)
        padding = {
            "padding": draw.choice(["same", "valid", "causal", [1, 0], [1, 1], [0, 2]]),
            "pool_size": draw.choice([2, 2, 3]),
            "strides": draw.choice([1, 2, 5]),
            "dilation": draw.choice([1, 1, 2, 7]),
            "ceil_mode": draw.random() < 0.3,
            "count_include_pad": draw.random() < 0.3,
        }
        attrs = padding if op in ("max_pool1d", "avg_pool1d") else odd_attributes(draw, op)
        node = {
            "op": op, "layer": name, "inputs": inputs, "attrs": attrs,
            "outputs": [name, f"{name}:second"] if op in ("topk", "crf") else [name],
            "weights": odd_weights(draw, graph, op, i),
        }  # fmt: skip
        lengths = None
        if draw.random() < 0.5:
            node["lengths"] = draw.choice(graph.values).lengths
            if draw.random() < 0.3:
                node["lengths"] = [draw.choice(graph.values).lengths for _ in inputs]
        if draw.random() < 0.2:
            node["lengths_out"] = lengths = f"{name}:lengths"
        turned = op in ("stack", "batch_second")
        kind = "stack" if turned else "odd"
        value = Value(name, "mask" if "mask_" in op else kind, 1, lengths=lengths)
        nodes, outputs = list(graph.nodes), list(graph.outputs)
        graph.nodes.append(node)
        if turned:  # it can be nothing else
            graph.outputs.append(replace(value, lengths=None))
        if accepted(graph) or draw.random() < 0.01:
            graph.values += [replace(value, name=made) for made in node["outputs"]]
        else:
            graph.nodes, graph.outputs = nodes, outputs


def odd_array(rng: np.random.Generator, spec: dict[str, Any], batch: int, time: int) -> Any:
    """An argument of about the shape that an input asks for."""
    lengths = spec["kind"] == "lengths"
    if rng.random() < {"lengths": 0.2, "state": 0.4, "mask": 0.4}.get(spec["kind"], 0):
        return None
    if spec["kind"] == "mask":
        frames = rng.choice([time, time, time, time, 0, 3])
        return rng.choice(np.float32([0, 0, 1, 1, np.nan, -0.0]), (batch, frames))
    if lengths:
        return rng.integers(0, rng.choice([time + 1, 2]), batch)
    shape = [rng.choice([time, time, time, 0, 3]) if n is None else n for n in spec["shape"]]
    shape = [n if n <= MAX_SIZE else 4 for n in shape]
    shape.insert(spec.get("batch_axis", 0), batch)
    ids = spec["kind"] == "data" and spec["dtype"] == "int64"
    return rng.integers(0, 7, shape) if ids else floats(rng, *shape)


def step(plan: Plan, rng: np.random.Generator) -> str:
    """Three steps of a stream of it, where there is one."""
    try:
        stream = stream_of(plan, 3)
    except (SeqcoreError, MemoryError) as error:
        return f"stream: {type(error).__name__}"
    shapes = [
        tuple(3 if n is None else min(n, MAX_SIZE) for n in port.shape)
        for port in stream.steps.inputs
    ]
    for _ in range(3):
        frames = [
            rng.integers(0, 7, shape) if port.ids else floats(rng, *shape)
            for port, shape in zip(stream.steps.inputs, shapes, strict=True)
        ]  # fmt: skip
        try:
            stream.step(*frames)
        except (SeqcoreError, MemoryError) as error:
            return f"step: {type(error).__name__}"
    return "stepped"


def attack(seed: int) -> list[str]:
    """Return what became of one graph: a class of error, or "ran", for the plan and each call."""
    draw, rng, graph = random.Random(seed), np.random.default_rng(seed), random_graph(seed)
    graph.outputs = [value for value in graph.outputs if value.kind in ("stack", "turned")]
    add_odd_nodes(draw, graph)
    ends = [value.lengths for value in graph.values if value.lengths]
    results = [
        v for v in graph.values if v.kind not in ("stack", "turned", "maybe")
    ] or graph.values
    graph.outputs += [
        Value(draw.choice(results).name, "odd", 1, lengths=draw.choice([*ends, *[None] * 6]))
        for _ in range(draw.randint(1, 4))
    ]
    document = copy.deepcopy(graph.document)
    if draw.random() < 0.4:
        names = [v.name for v in graph.values] + ends + [spec["name"] for spec in graph.inputs]
        twist(draw, document, names)
    options = {"threads": draw.choice([1, 2]), "shapes_only": draw.random() < 0.03}
    try:
        plan = Plan(json.dumps(document).encode(), graph.tensors, **options)
    except (SeqcoreError, MemoryError) as error:
        return [f"plan: {type(error).__name__}"]
    found = []
    if draw.random() < 0.3:
        found.append(step(plan, rng))
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
