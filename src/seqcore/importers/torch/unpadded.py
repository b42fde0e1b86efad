"""What torch cuts off behind the longest row: pad_packed_sequence without total_length.

Here a sequence keeps all of its frames, so that a row does not depend on others. Where every frame
is then treated alone, those behind the longest row are frames more, zeros at first. Where frames
meet (a mean, ``y[:, -1]``, attention), they would count: the model then wants inputs that are as
long as their longest row, and says so at a call.
"""

from __future__ import annotations

from typing import Any

from ...formats.torch_programs import Node, Program, Ref
from ..aten.tensors import RefusedError
from .index import Index, made, refs

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


def frames_meet(program: Program, index: Index, at: int) -> bool:
    """Tell whether what is made of the result of node `at` takes more than one frame at a time."""
    reached = set(made(program.nodes[at]))
    for number, node in enumerate(program.nodes[at + 1 :], at + 1):
        if reached.isdisjoint(index.reads[number]):
            continue
        if not _apart(node):
            return True
        reached.update(made(node))
    return False


def _apart(node: Node) -> bool:
    name = node.target.split(".")[1] if "." in node.target else node.target
    if name in _OVER_FEATURES:
        return node.arguments.get("dim") in (-1, 2)
    if name in _WITH_NUMBER:
        return not isinstance(node.arguments.get("other", node.arguments.get("exponent")), Ref)
    return name in _APART


def lengths_input(program: Program, index: Index, lengths: Any) -> str:
    """Return the input that lengths are.

    Raises
    ------
    RefusedError
        They are computed.
    """
    inputs = {each.name for each in program.inputs}
    name = lengths.name if isinstance(lengths, Ref) else ""
    for _ in range(len(program.nodes) + 1):
        if name in inputs:
            return name
        node = index.makers.get(name)
        if node is None or node.target.split(".")[1:2] not in (["to"], ["_to_copy"], ["detach"]):
            break
        (name, *_) = refs(list(node.arguments.values())) or [""]
    raise RefusedError(
        "of lengths that are computed, where frames meet afterwards; give pad_packed_sequence "
        "total_length=x.size(1)"
    )
