"""What "correct" means: every op of the lowered graph (docs/design.md), in float64 NumPy.

One function per op, written as its equation, and `run`, which evaluates a whole graph with them.
All of it is slow on purpose, shares no code with what it is compared with (trace.py, float64 too,
takes its activations), and checks little: a caller gives what the design page says. Arrays are
canonical: LSTM gates i,f,g,o; GRU gates r,z,n.

Wherever an op takes ``lengths`` (B,), row i comes out exactly as if it were alone with its first
``lengths[i]`` frames; what stands past an end never matters, and time-shaped outputs are 0 there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .attention import attention, batch_matmul, dot
from .common import ACTIVATIONS, Array, activate, moved, zero_past
from .crf import crf
from .frames import activation, dense, embedding, one_hot
from .indices import argmax, cast, topk
from .logic import compare, constant, logical, where
from .masks import mask_concat, mask_frames, mask_ids, mask_merge, masking
from .merges import (
    add,
    average,
    cumsum,
    divide,
    masked_merge,
    maximum,
    minimum,
    multiply,
    power,
    reduce,
    remainder,
    subtract,
    unary,
)
from .norms import affine, clipped_relu, normalize, prelu, softmax
from .places import positions
from .recurrent import gru, lstm, simple_rnn
from .shapes import (
    batch_first,
    batch_second,
    concat,
    expand,
    flatten,
    fold,
    index,
    permute,
    repeat,
    repeat_length,
    reshape,
    select,
    slice,
    slice_length,
    stack,
    unfold,
)
from .windows import (
    adaptive_pool1d,
    avg_pool1d,
    conv1d,
    conv1d_length,
    conv1d_transpose,
    depthwise_conv1d,
    global_avg_pool1d,
    global_max_pool1d,
    max_pool1d,
    pad1d,
    pad1d_length,
    pool1d_length,
    transpose_length,
    window_length,
)

__all__ = ["ACTIVATIONS", "LENGTHS", "OPS", "activate", "run", "window_length", "zero_past"]

OPS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        embedding, one_hot, dense, activation, simple_rnn, lstm, gru, conv1d, depthwise_conv1d,
        conv1d_transpose, max_pool1d, avg_pool1d, global_avg_pool1d, global_max_pool1d, pad1d,
        flatten, concat, add, multiply, average, fold, unfold, select, stack,
        mask_ids, mask_frames, masking, mask_merge,
        affine, prelu, clipped_relu, normalize, softmax,
        attention, batch_matmul, dot,
        mask_concat, subtract, divide, remainder, maximum, minimum, masked_merge, unary,
        reduce,
        reshape, expand, permute, repeat, slice, index, compare, logical, where, constant,
        batch_first, batch_second, argmax, topk, cast,
        adaptive_pool1d, power, cumsum, positions, crf,
    )
}  # fmt: skip

# Ops whose rows end somewhere; the others keep whatever stands past an end, which nobody reads.
WITH_LENGTHS = frozenset((
    "embedding", "one_hot", "dense", "activation", "simple_rnn", "lstm", "gru", "conv1d",
    "depthwise_conv1d", "conv1d_transpose", "max_pool1d", "avg_pool1d", "global_avg_pool1d",
    "global_max_pool1d", "adaptive_pool1d", "pad1d", "flatten",
    "affine", "prelu", "clipped_relu", "normalize", "softmax",
    "attention", "crf",
    "reshape", "slice", "index", "reduce", "argmax",
))  # fmt: skip
# Of the ops that change the time axis: a row's frames behind the op, from those before and attrs.
LENGTHS: dict[str, Callable[[int, Mapping[str, Any]], int]] = {
    "conv1d": conv1d_length,
    "depthwise_conv1d": conv1d_length,
    "conv1d_transpose": transpose_length,
    "max_pool1d": pool1d_length,
    "avg_pool1d": pool1d_length,
    "pad1d": pad1d_length,
    "repeat": repeat_length,
    "reshape": lambda length, _: length,
    "slice": slice_length,
}
# What they make has its batch in axis 1.
BATCH_SECOND = frozenset(("stack", "batch_second"))
# Sizes that the weights' shapes already tell.
SIZES = frozenset(("units", "projection", "rows", "filters", "kernel_size", "multiplier", "tags"))


def run(
    graph: Mapping[str, Any],
    tensors: Mapping[str, ArrayLike],
    inputs: Mapping[str, ArrayLike | None],
) -> list[Array]:
    """Evaluate a lowered graph.

    Parameters
    ----------
    graph : mapping
        The graph's JSON (docs/design.md, "The lowered graph") as Python objects.
    tensors : mapping
        Weights by the names that the nodes use.
    inputs : mapping
        Inputs by name. Those of kind ``lengths``, ``mask`` and ``state`` may be absent or None.

    Returns
    -------
    list of ndarray
        float64, or int64 of whole numbers, in the order of ``graph["outputs"]``; an output with
        lengths is 0 past each end.

    Raises
    ------
    ValueError
        An input of kind ``data`` is absent, or an input is none of the graph's.
    """
    values: dict[str, Any] = {spec["name"]: inputs.get(spec["name"]) for spec in graph["inputs"]}
    absent = [
        s["name"] for s in graph["inputs"] if s["kind"] == "data" and values[s["name"]] is None
    ]
    foreign = sorted(set(inputs) - set(values))
    if absent or foreign:
        raise ValueError(f"inputs: absent {absent}, not of this graph {foreign}")
    for spec in graph["inputs"]:
        if spec["kind"] == "state" and values[spec["name"]] is None:
            values[spec["name"]] = _zeros(spec, graph, values)
    for node in graph["nodes"]:
        _evaluate(node, tensors, values)
    axes = {
        name: node.get("attrs", {}).get("axis", 1)
        for node in graph["nodes"]
        if node["op"] in BATCH_SECOND
        for name in node["outputs"]
    }
    results = []
    for output in graph["outputs"]:
        y, lengths = moved(values[output["value"]]), _value(values, output.get("lengths"))
        axis = axes.get(output["value"], 0)
        if y.ndim:  # an absent mask has no axes
            y = np.moveaxis(zero_past(np.moveaxis(y, axis, 0), lengths), 0, axis)
        results.append(y)
    return results


def _zeros(spec: Mapping[str, Any], graph: Mapping[str, Any], values: Mapping[str, Any]) -> Array:
    """Return what an absent state is, for the rows of the first input."""
    first = next(s for s in graph["inputs"] if s["kind"] == "data")
    shape = list(spec["shape"])
    batch = np.shape(values[first["name"]])[first.get("batch_axis", 0)]
    shape.insert(spec.get("batch_axis", 0), batch)
    return np.zeros(shape)


def _value(values: Mapping[str, Any], name: str | list[str | None] | None) -> Any:
    """Return a value; of a list of names, which lengths of several inputs are, a list."""
    if isinstance(name, list):
        return [_value(values, each) for each in name]
    return None if name is None else values[name]


def _evaluate(
    node: Mapping[str, Any], tensors: Mapping[str, ArrayLike], values: dict[str, Any]
) -> None:
    """Compute one node's outputs, and the lengths that it gives on, into `values`."""
    op, attrs = node["op"], node.get("attrs", {})
    arguments = {name: tensors[tensor] for name, tensor in node.get("weights", {}).items()}
    arguments.update((name, value) for name, value in attrs.items() if name not in SIZES)
    if op in WITH_LENGTHS:
        arguments["lengths"] = _value(values, node.get("lengths"))
    result = OPS[op](*(_value(values, name) for name in node["inputs"]), **arguments)
    results = result if isinstance(result, tuple) else (result,)
    for name, value in zip(node["outputs"], results, strict=True):
        if name is not None:
            values[name] = value
    if node.get("lengths_out") is not None:
        lengths = _value(values, node["lengths"])
        values[node["lengths_out"]] = None if lengths is None else _mapped(op, lengths, attrs)


def _mapped(op: str, lengths: ArrayLike, attrs: Mapping[str, Any]) -> Array:
    """Return the lengths (B,) behind an op that changes the time axis."""
    return np.array([LENGTHS[op](int(n), attrs) for n in np.asarray(lengths)], np.int64)
