"""What named weights of torch seem to be, in words: for the message of who has no network for them.

Names and shapes tell the kind of a module and its sizes, and not its options. Nothing is made here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["describe_weights"]

_MOST = 24  # lines
_RECURRENT = re.compile(r"(weight_ih|weight_hh|weight_hr)(?:_l(\d{1,6})(_reverse)?)?")
_KINDS = {1: ("nn.RNN", "SimpleRNN"), 3: ("nn.GRU", "GRU"), 4: ("nn.LSTM", "LSTM")}
# weight_norm in both forms: the part that has the weight's shape, and the one that has not.
_NORMED = re.compile(
    r"(?:(.*)\.)?parametrizations\.([^.]+)\.original([01])|(.*(?:weight|bias).*)_([gv])"
)

Shape = tuple[int, ...]


def describe_weights(weights: Mapping[str, Any]) -> list[str]:
    """Return a line for each module whose weights these are, with what to type for its layer.

    Parameters
    ----------
    weights : mapping of str to array
        A state_dict, or what `seqcore.read_weights` returns.

    Returns
    -------
    list of str
        In the order of the names, at most 24; what is not recognised stands in the last.

    Examples
    --------
    >>> import numpy as np
    >>> describe_weights({"head.weight": np.ones((10, 256)), "head.bias": np.ones(10)})
    ["head: nn.Linear, 256 -> 10: Dense.from_torch(weights, 'head')"]
    """
    modules: dict[str, dict[str, Shape]] = {}
    for name, array in weights.items():
        path, own = _place(name)
        if own is not None:
            modules.setdefault(path, {})[own] = tuple(array.shape)
    lines, unknown = [], []
    for path, shapes in modules.items():
        found = _module(shapes)
        if found is None:
            unknown.append(f"{path or 'the root'} ({', '.join(list(shapes)[:4])})")
            continue
        kind, layer = found
        call = f"{layer}.from_torch(weights{f', {path!r}' if path else ''}{_said(layer)})"
        lines.append(f"{path or 'the root'}: {kind}" + (f": {call}" if layer else ""))
    if len(lines) > _MOST:
        lines = [*lines[: _MOST - 1], f"and {len(lines) - _MOST + 1} more"]
    if unknown:
        more = f" and {len(unknown) - 6} more" if len(unknown) > 6 else ""
        lines.append(f"not recognised: {', '.join(unknown[:6])}{more}")
    return lines


def _said(layer: str) -> str:
    """What must be said beside the weights."""
    return ", activation='tanh' or 'relu'" if layer.startswith("SimpleRNN") else ""


def _place(name: str) -> tuple[str, str | None]:
    """The module of a weight and its name there; None for a part that has not its shape."""
    match = _NORMED.fullmatch(name)
    if match is not None and match[2]:
        return match[1] or "", match[2] if match[3] == "1" else None
    if match is not None:
        name = match[4]
        if match[5] == "g":
            return "", None
    path, _, own = name.rpartition(".")
    return path, own


def _module(shapes: Mapping[str, Shape]) -> tuple[str, str] | None:
    """The kind of a module with its sizes, and our layer ("" for none); None if it is not known."""
    if any(_RECURRENT.fullmatch(name) for name in shapes):
        return _recurrent(shapes)
    if "running_mean" in shapes and "running_var" in shapes:
        return f"nn.BatchNorm1d, {_size(shapes['running_mean'])} channels", "BatchNormalization"
    if "in_proj_weight" in shapes:
        return f"nn.MultiheadAttention, {shapes['in_proj_weight'][-1]} features", ""
    if shapes.keys() == {"transitions", "start_transitions", "end_transitions"}:
        return f"CRF of pytorch-crf, {_size(shapes['start_transitions'])} tags", "CRF"
    weight = shapes.get("weight")
    if weight is None or not shapes.keys() <= {"weight", "bias"}:
        return None
    return _affine(weight, shapes.get("bias"))


def _affine(weight: Shape, bias: Shape | None) -> tuple[str, str] | None:
    """A module of a weight and perhaps a bias."""
    without = "" if bias else ", without bias"
    if len(weight) == 1 and bias in (None, weight):
        kind = "nn.LayerNorm or nn.GroupNorm" if bias else "nn.LayerNorm, nn.RMSNorm or nn.PReLU"
        return f"{kind}, {_size(weight)} features", "LayerNormalization"
    if len(weight) == 2 and bias == weight[:1]:
        return f"nn.Linear, {weight[1]} -> {weight[0]}", "Dense"
    if len(weight) == 2 and bias is None:
        sizes = f"{weight[0]} rows of {weight[1]}, or nn.Linear without bias"
        return f"nn.Embedding, {sizes}, {weight[1]} -> {weight[0]}", "Embedding"
    if len(weight) == 3 and bias in (None, weight[:1]):
        sizes = f"{weight[1]} channels a group -> {weight[0]}, kernel_size {weight[2]}"
        return f"nn.Conv1d, {sizes}{without}", "Conv1D"
    if len(weight) in (4, 5):
        return f"nn.Conv{len(weight) - 2}d, which is not supported", ""
    return None


def _size(shape: Shape) -> int:
    return shape[0] if shape else 1


def _recurrent(shapes: Mapping[str, Shape]) -> tuple[str, str] | None:
    """All layers and directions of an nn.RNN, nn.GRU or nn.LSTM, or of a cell."""
    matches = [match for match in map(_RECURRENT.fullmatch, shapes) if match]
    is_cell = any(match[2] is None for match in matches)
    suffix = "" if is_cell else "_l0"
    inner, outer = shapes.get("weight_hh" + suffix), shapes.get("weight_ih" + suffix)
    if inner is None or outer is None or len(inner) != 2 or len(outer) != 2 or not inner[1]:
        return None
    gates, rest = divmod(inner[0], inner[1])
    proj = shapes.get("weight_hr" + suffix)
    if proj is not None and len(proj) != 2:
        return None
    if proj is not None:
        kind, layer = "nn.LSTM", "LSTM"
    elif rest or gates not in _KINDS:
        return None
    else:
        kind, layer = _KINDS[gates]
    layers = 1 + max(int(match[2] or 0) for match in matches)
    units = inner[1] if proj is None else proj[-1]
    parts = [
        kind + "Cell" * is_cell,
        f"{layers} layers" * (layers > 1),
        "bidirectional" * any(match[3] for match in matches),
        f"{outer[1]} -> {units}",
        "without bias" * ("bias_ih" + suffix not in shapes),
        f"proj_size {proj[0]}" if proj else "",
    ]
    return ", ".join(part for part in parts if part), layer + "Cell" * is_cell
