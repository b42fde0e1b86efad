"""Runs a Program with torch's own operators: what read it is right if torch's numbers come out.

Rows behind "seqcore.ragged.default" are packed for the recurrent operator and padded again, by
torch; everything else is one call of torch.ops for one node.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from seqcore.formats.torch_programs import Dtype, Node, Program, Ref

RAGGED = "seqcore.ragged.default"
UNPADDED = "seqcore.unpadded.default"  # what torch cuts to its longest row, and a program does not
_STATES = {"lstm": 2, "gru": 1, "rnn_tanh": 1, "rnn_relu": 1}


def run(program: Program, *inputs: Any) -> list[Any]:
    """Outputs of a program for the caller's tensors, as NumPy arrays where they are tensors."""
    values: dict[str, Any] = {
        name: torch.from_numpy(np.array(array)) for name, array in program.constants.items()
    }
    values |= {
        name: value.bfloat16()
        for name, value in values.items()
        if program.dtypes[name] == "bfloat16"
    }
    tensors = [given for given in program.inputs if given.dtype is not None]
    values |= {given.name: x for given, x in zip(tensors, inputs, strict=True)}
    ragged: dict[str, dict[str, Any]] = {}

    def value(argument: Any) -> Any:
        if isinstance(argument, Ref):
            return values[argument.name]
        if isinstance(argument, Dtype):
            return getattr(torch, argument.name)
        return [value(part) for part in argument] if isinstance(argument, list) else argument

    with torch.no_grad():
        for node in program.nodes:
            given = {name: value(argument) for name, argument in node.arguments.items()}
            if node.target == RAGGED:
                ragged[node.outputs[0]] = given
                result = given["x"]
            elif node.target == UNPADDED:
                result = given["x"]
            elif node.target.split(".")[1] in _STATES and node.arguments["input"].name in ragged:
                result = _packed(node, given, ragged[node.arguments["input"].name])
            else:
                result = _called(node.target, given)
            results = [result] if len(node.outputs) == 1 else result
            for name, part in zip(node.outputs, results or (), strict=True):
                names = (name,) if isinstance(name, str) else name or ()
                values |= zip(names, [part] if isinstance(name, str) else part, strict=False)
    outputs = [value(output) for output in program.outputs]
    return [out.numpy() if isinstance(out, torch.Tensor) else out for out in outputs]


def _called(target: str, given: dict[str, Any]) -> Any:
    if target.startswith("aten."):
        operator = torch.ops
        for part in target.split("."):
            operator = getattr(operator, part)
        named = {
            name: {"strided": torch.strided}.get(x, x) if name == "layout" else x
            for name, x in given.items()
        }
        return operator(**named)
    module, name = target.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)(*given.values())


def _packed(node: Node, given: dict[str, Any], rows: dict[str, Any]) -> tuple[torch.Tensor, ...]:
    name = node.target.split(".")[1]
    batch_first = rows["batch_first"]
    assert given["batch_first"] == batch_first
    packed = pack_padded_sequence(rows["x"], rows["lengths"], batch_first, enforce_sorted=False)
    order, back = packed.sorted_indices, packed.unsorted_indices
    hx = given["hx"]
    hx = [h[:, order] for h in hx] if isinstance(hx, list) else hx[:, order]
    options = ("params", "has_biases", "num_layers", "dropout", "train", "bidirectional")
    data, *states = getattr(torch, name)(
        packed.data, packed.batch_sizes, hx, *(given[option] for option in options)
    )
    steps = rows["x"].shape[1 if batch_first else 0]
    out, _ = pad_packed_sequence(
        PackedSequence(data, packed.batch_sizes, order, back), batch_first, total_length=steps
    )
    return out, *(state[:, back] for state in states)
