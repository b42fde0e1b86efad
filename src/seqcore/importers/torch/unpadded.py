"""What torch cuts off behind the longest row: pad_packed_sequence without total_length.

Here a sequence keeps all of its frames, so that a row does not depend on others. Where every frame
is then treated alone, those behind the longest row are frames more, zeros at first. Where frames
meet (a mean, ``y[:, -1]``, attention), they would count: the model then wants inputs that are as
long as their longest row, and says so at a call.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...formats.torch_programs import Node, Program, Ref
from .tensors import RefusedError

__all__ = ["frames_meet", "lengths_input"]

# Of tensors (B, T, F) and (T, B, F): every frame alone, whatever their arguments.
_APART = frozenset([
    "linear", "dropout", "feature_dropout", "alpha_dropout", "relu", "relu_", "tanh", "sigmoid",
    "gelu", "silu", "mish", "selu", "elu", "leaky_relu", "hardtanh", "hardsigmoid", "hardswish",
    "softplus", "log_sigmoid", "exp", "log", "neg", "abs", "square", "sqrt", "clone", "contiguous",
    "detach", "to", "_to_copy", "transpose", "layer_norm", "rms_norm", "prelu", "clamp",
])  # fmt: skip
# Likewise if `dim` is the last.
_OVER_FEATURES = frozenset(["softmax", "log_softmax", "argmax", "topk", "max", "amax"])
# Likewise with a number.
_WITH_NUMBER = frozenset(["add", "sub", "mul", "div", "pow"])


def frames_meet(program: Program, node: Node) -> bool:
    """Tell whether anything that is made of a node's result takes more than one frame at a time."""
    reached = set(_names(node.outputs))
    for each in program.nodes[program.nodes.index(node) + 1 :]:
        read = set(_refs(list(each.arguments.values())))
        if not read & reached:
            continue
        if not _apart(each):
            return True
        reached.update(_names(each.outputs))
    return False


def _apart(node: Node) -> bool:
    name = node.target.split(".")[1] if "." in node.target else node.target
    if name in _OVER_FEATURES:
        return node.arguments.get("dim") in (-1, 2)
    if name in _WITH_NUMBER:
        return not isinstance(node.arguments.get("other", node.arguments.get("exponent")), Ref)
    return name in _APART


def lengths_input(program: Program, lengths: Any) -> str:
    """Return the input that lengths are.

    Raises
    ------
    RefusedError
        They are computed.
    """
    makers = {name: node for node in program.nodes for name in _names(node.outputs)}
    name = lengths.name if isinstance(lengths, Ref) else ""
    for _ in range(len(program.nodes) + 1):
        if any(each.name == name for each in program.inputs):
            return name
        node = makers.get(name)
        moved = node is not None and node.target.split(".")[1:2] in (
            ["to"],
            ["_to_copy"],
            ["detach"],
        )
        if node is None or not moved:
            break
        (name, *_) = _refs(list(node.arguments.values()))
    raise RefusedError(
        "of lengths that are computed, where frames meet afterwards; give pad_packed_sequence "
        "total_length=x.size(1)"
    )


def _names(outputs: Any) -> Iterator[str]:
    for each in outputs:
        if isinstance(each, tuple):
            yield from each
        elif each is not None:
            yield each


def _refs(value: Any) -> Iterator[str]:
    if isinstance(value, Ref):
        yield value.name
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _refs(each)
