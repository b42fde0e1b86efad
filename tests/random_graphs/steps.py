"""Whether a graph can be stepped, read off the graph alone: what a plan must refuse, and only that.

A value of a random graph moves with the frames, is folded, whole, or none of these: then it stands
after the last frame. Whole is what constants alone make: all else that does not depend on the
frames are states, and the graphs that are stepped have no input of one frame beside longer ones.
"""

from __future__ import annotations

import math
from typing import Any

from .graph import RandomGraph, Value

FRAMELESS = ("line", "vector")  # no axis but batch and time, where they move: only masks may
VIEWS = ("flatten", "fold", "unfold", "reshape", "expand")
RECURRENT = ("simple_rnn", "gru", "lstm")
MERGES = (
    "add",
    "multiply",
    "average",
    "subtract",
    "divide",
    "remainder",
    "maximum",
    "minimum",
    "concat",
    "stack",
    "compare",
    "logical",
    "where",
)


def any_time(graph: RandomGraph) -> None:
    """Make a graph's fixed times free, so that it can be called on the frames so far."""
    for spec in graph.inputs:
        if spec["kind"] == "data":
            spec["shape"][0] = None


def must_be_refused(graph: RandomGraph) -> bool:
    """Whether a sequence meets what cannot be stepped."""
    values = {value.name: value for value in graph.values}
    kinds = {spec["name"]: "moving" for spec in graph.inputs if spec["kind"] in ("data", "mask")}
    states = {spec["name"] for spec in graph.inputs if spec["kind"] == "state"}
    constants: set[str] = set()  # and views of them
    known = any(spec["shape"][0] is not None for spec in graph.inputs if spec["kind"] == "data")
    for node in graph.nodes:
        op, attrs, outputs = node["op"], node["attrs"], node["outputs"]
        read = [None if name is None else kinds.get(name, "") for name in node["inputs"]]
        if op in ("select", "batch_first", "index") and node["inputs"][0] in states:
            states.update(outputs)
        if (op == "constant" and read[0] != "folded") or (
            op in VIEWS and node["inputs"][0] in constants
        ):
            constants.update(outputs)
        if _refused(op, attrs, read):
            return True
        if op in MERGES and "moving" in read and _differs_by_frame(values, node, read):
            return True
        if op in RECURRENT and read[0] == "moving":
            given = node["inputs"][1 : 3 if op == "lstm" else 2]
            if any(state is not None and state not in states | constants for state in given):
                return True
        if op == "reduce" and read[0] == "moving":
            rank = values[node["inputs"][0]].rank
            if any(axis % rank == 1 for axis in attrs["axes"]):
                return True
        if op == "reshape" and read[0] == "moving" and _joins_frames(values, node, known):
            return True
        made = _made(op, attrs, read)
        for number, name in enumerate(outputs):
            kinds[name] = "" if op in RECURRENT and number > 0 and read[0] == "moving" else made
        if made == "moving" and outputs[0] in values and values[outputs[0]].kind in FRAMELESS:
            return True
    return any(kinds.get(v.name) == "folded" or _has_rows_of_its_own(v) for v in graph.outputs)


def _made(op: str, attrs: dict[str, Any], read: list[str | None]) -> str:
    """What becomes of the first output."""
    first = read[0] or ""
    if op == "constant":
        return "folded" if first == "folded" else "whole"
    if op in MERGES and "moving" in read:
        return "moving"
    if first in ("", "whole"):
        return "whole" if set(read) <= {"whole", None} else ""
    if op in RECURRENT and not attrs["return_sequences"] and first == "moving":
        return ""
    if op == "index" and attrs["axis"] == 1 and first == "moving":
        return ""
    if op == "fold" and first == "moving":
        return "folded"
    if op == "unfold" and first == "folded":
        return "moving"
    return first


def _refused(op: str, attrs: dict[str, Any], read: list[str | None]) -> bool:
    """Whether the op alone says so, of inputs that move or do not."""
    moving = read[0] == "moving"
    if op == "positions":
        return True
    if op in MERGES or op == "mask_merge":
        repeats = "moving" in read and op not in ("concat", "stack", "mask_merge")
        kinds = {kind for kind in read if kind != "whole"} | ({""} if "whole" in read else set())
        mixed = len(kinds - {""} if repeats and "" not in read else kinds) > 1
        return mixed or (op == "concat" and moving and attrs["axis"] != -1)
    if op == "masked_merge":
        return len({kind for kind in read if kind is not None}) > 1
    if op in ("mask_concat", "dot", "attention"):
        return "moving" in read
    if op == "batch_matmul":
        return read[0] != read[1]
    if op == "unfold":
        return (read[0] == "folded") != (read[1] == "moving")
    if op in RECURRENT:
        mask = read[3 if op == "lstm" else 2 :]
        return (moving and attrs["reverse"]) or (mask not in ([], [None]) and mask[0] != read[0])
    if op in ("global_avg_pool1d", "crf"):
        return "moving" in read
    return moving and _looks_around(op, attrs)


def _looks_around(op: str, attrs: dict[str, Any]) -> bool:
    """Whether an op of one input makes no frame from a frame, or what comes is still to come."""
    if "pool1d" in op or op in ("conv1d_transpose", "flatten"):
        return True
    if op == "pad1d":
        return bool(attrs["left"] or attrs["right"])
    if op in ("conv1d", "depthwise_conv1d"):
        past = (attrs["kernel_size"] - 1) * attrs["dilation"]
        named = isinstance(attrs["padding"], str)
        wide = attrs["padding"] not in ("causal", [past, 0]) and (past > 0 or not named)
        return bool(attrs["strides"] > 1 or wide)
    if op in ("normalize", "softmax"):
        return bool(attrs.get("groups") or not {1, -2}.isdisjoint(attrs["axes"]))
    if op in ("repeat", "slice", "expand", "cumsum", "argmax", "topk"):
        return bool(attrs["axis"] == 1)
    if op == "index":
        return bool(attrs["axis"] == 1 and attrs["index"] != -1)
    return bool(op == "permute" and attrs["dims"][0] != 1)


def _joins_frames(values: dict[str, Value], node: dict[str, Any], known: bool) -> bool:
    keep, (time, *rest) = node["attrs"]["keep"], node["attrs"]["shape"]
    read = values[node["inputs"][0]]
    known = known and read.fixed
    same = -1 not in rest and math.prod(rest) == math.prod([*read.inner, read.channels])
    return keep == 1 and not (time == -1 and same) and not (known and time == read.frames[0])


def _has_rows_of_its_own(v: Value) -> bool:
    """Whether a folded value has other rows than the batch, though it does not move."""
    return v.kind == "frames" and set(v.frames) != {1}


def _differs_by_frame(
    values: dict[str, Value], node: dict[str, Any], read: list[str | None]
) -> bool:
    """Whether what does not move has frames of its own, and not one for all or none."""
    whole = [values[n] for n, kind in zip(node["inputs"], read, strict=True) if kind == "whole"]
    return any(v.kind != "vector" and set(v.frames) != {1} for v in whole)
