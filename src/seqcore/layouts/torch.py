"""torch's layouts: weights of a state_dict by their names, also what weight_norm took apart.

matrices (G*H, in)   LSTM i f g o   GRU r z n   bias_ih (G*H,) and bias_hh (G*H,)
weight_hr (P, H) with proj_size
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..errors import UnsupportedLayerError, WeightsError
from .common import GATES, Array, Cell, as_array, weight

_RECURRENT_NAME = re.compile(
    r"(weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)(?:_l(\d{1,6})(_reverse)?)?"
)
_TORCH_NAMES = {"SimpleRNN": "nn.RNN", "LSTM": "nn.LSTM", "GRU": "nn.GRU"}


def _below(weights: Mapping[str, ArrayLike], prefix: str, layer: str) -> dict[str, ArrayLike]:
    """Return the weights below `prefix`, which a dot follows, by the rest of their names."""
    if not isinstance(weights, Mapping):
        raise WeightsError(
            f"layer {layer!r}: expected a mapping of names to arrays; found "
            f"{type(weights).__name__}"
        )
    if not isinstance(prefix, str):
        raise WeightsError(f"layer {layer!r}: a prefix is a string; found {prefix!r}")
    strangers = [name for name in weights if not isinstance(name, str)]
    if strangers:
        raise WeightsError(
            f"layer {layer!r}: the names of weights are strings; found {strangers[0]!r:.80}"
        )
    if prefix and not prefix.endswith("."):
        prefix += "."
    found = {name[len(prefix) :]: weights[name] for name in weights if name.startswith(prefix)}
    if not found:
        some = ", ".join(repr(name) for name in list(weights)[:8])
        raise WeightsError(f"layer {layer!r}: no weight begins with {prefix!r}; there are {some}")
    return unparametrised(found, layer)


# Of both forms: weight_g and weight_v, parametrizations.weight.original0 and .original1.
_PARAMETRISED = re.compile(
    r"((?:weight|bias)[^.]*)_(?P<old>g|v|orig)|parametrizations\.([^.]+)\.(?P<new>.*)", re.DOTALL
)
_NORM_PARTS = {"g": 0, "v": 1, "original0": 0, "original1": 1}


def unparametrised(own: Mapping[str, ArrayLike], layer: str) -> dict[str, ArrayLike]:
    """Return a module's weights with those that weight_norm took apart put together again.

    Raises
    ------
    WeightsError
        A part is missing, or its shape is not one.
    UnsupportedLayerError
        A weight is computed in another way, as spectral_norm and pruning do.
    """
    found: dict[str, ArrayLike] = {}
    parts: dict[str, dict[int, str]] = {}  # of each weight: the names of g and v
    for name, value in own.items():
        match = _PARAMETRISED.fullmatch(name)
        if match is None:
            found[name] = value
            continue
        stem, part = match[1] or match[3], _NORM_PARTS.get(match["old"] or match["new"])
        if part is None:
            raise UnsupportedLayerError([(layer, f"{stem} is computed from {name}; {_REMOVE}")])
        if part in parts.setdefault(stem, {}):
            raise WeightsError(f"layer {layer!r}: {name} and {parts[stem][part]} are both there")
        parts[stem][part] = name
    for stem, names in parts.items():
        if len(names) < 2 or stem in found:
            there = ", ".join([*names.values(), *[stem] * (stem in found)])
            raise WeightsError(
                f"layer {layer!r}: weight_norm has two parts of {stem}, and no {stem}; found "
                f"{there}"
            )
        g, v = (as_array(own[names[part]], layer, names[part]) for part in (0, 1))
        found[stem] = _normed(g, v, layer, stem)
    return found


_REMOVE = (
    "only weight_norm is supported: call torch.nn.utils.parametrize.remove_parametrizations, "
    "remove_spectral_norm or prune.remove before the state_dict is taken"
)


def _normed(g: Array, v: Array, layer: str, name: str) -> Array:
    """Return ``g * v / ||v||`` in float64, the norm over all axes on which g has size 1."""
    wide = [axis for axis, size in enumerate(g.shape) if size != 1]
    fits = g.ndim in (0, v.ndim) and len(wide) <= 1 and all(g.shape[k] == v.shape[k] for k in wide)
    for part, array in (("g", g), ("v", v)):
        if array.dtype.kind not in "fiu" or not fits:
            raise WeightsError(
                f"layer {layer!r}, {name}: weight_norm's g {g.shape} and v {v.shape} of floats do "
                f"not belong together ({part} is {array.dtype})"
            )
    v = v.astype(np.float64)
    axes = tuple(axis for axis in range(v.ndim) if axis not in wide)
    with np.errstate(all="ignore"):  # as torch: a v of zeros makes NaN
        made: Array = g.astype(np.float64) * v / np.sqrt(np.sum(v * v, axis=axes, keepdims=True))
    return made


def torch_dense(
    weights: Mapping[str, ArrayLike], prefix: str, layer: str
) -> tuple[Array, Array | None]:
    """Return W (I, N) and b (N,) or None of the nn.Linear at `prefix`."""
    own = _below(weights, prefix, layer)
    if "weight" not in own:
        raise WeightsError(f"layer {layer!r}: {prefix!r} has no weight; it has {sorted(own)}")
    matrix = weight(own["weight"], layer, "weight", (None, None), "(out, in)")
    if "bias" not in own:
        return matrix.T, None
    return matrix.T, weight(own["bias"], layer, "bias", (len(matrix),), "(out,)")


def torch_conv1d(
    weights: Mapping[str, ArrayLike], prefix: str, layer: str
) -> tuple[Array, Array | None]:
    """Return the kernel (k, C/groups, F) and the bias (F,) or None of the nn.Conv1d at `prefix`."""
    own = _below(weights, prefix, layer)
    if "weight" not in own:
        raise WeightsError(f"layer {layer!r}: {prefix!r} has no weight; it has {sorted(own)}")
    kernel = weight(own["weight"], layer, "weight", (None,) * 3, "(out, in/groups, kernel_size)")
    if "bias" not in own:
        return kernel.transpose(2, 1, 0), None
    return kernel.transpose(2, 1, 0), weight(own["bias"], layer, "bias", (len(kernel),), "(out,)")


def torch_norm(
    weights: Mapping[str, ArrayLike], prefix: str, layer: str, needed: Sequence[str]
) -> dict[str, Array]:
    """Return what there is of weight, bias and running statistics of the norm at `prefix`.

    Raises
    ------
    WeightsError
        One of the `needed` is missing.
    """
    own = _below(weights, prefix, layer)
    names = ("weight", "bias", "running_mean", "running_var")
    found = {name: as_array(own[name], layer, name) for name in names if name in own}
    for name in needed:
        if name not in found:
            raise WeightsError(f"layer {layer!r}: {prefix!r} has no {name}; it has {sorted(own)}")
    return found


def torch_crf(weights: Mapping[str, ArrayLike], prefix: str, layer: str) -> list[ArrayLike]:
    """Return transitions (N, N), start (N,) and end (N,) of the pytorch-crf CRF at `prefix`.

    Raises
    ------
    WeightsError
        One is missing, or something else is there: other packages keep constraints in it.
    """
    own = _below(weights, prefix, layer)
    names = ("transitions", "start_transitions", "end_transitions")
    if set(own) != set(names):
        raise WeightsError(
            f"layer {layer!r}: expected {', '.join(names)} at {prefix!r}; found {sorted(own)}"
        )
    return [own[name] for name in names]


def torch_embedding(weights: Mapping[str, ArrayLike], prefix: str, layer: str) -> ArrayLike:
    """Return the table (rows, D) of the nn.Embedding at `prefix`."""
    own = _below(weights, prefix, layer)
    if "weight" not in own:
        raise WeightsError(f"layer {layer!r}: {prefix!r} has no weight; it has {sorted(own)}")
    return own["weight"]


def torch_recurrent(
    kind: str, weights: Mapping[str, ArrayLike], prefix: str, layer: str
) -> list[list[Cell]]:
    """Return all layers and directions of the nn.RNN, nn.LSTM or nn.GRU at `prefix`.

    Parameters
    ----------
    kind : "SimpleRNN", "LSTM" or "GRU"
    weights : mapping of str to array
        Named as in a state_dict: ``weight_ih_l0``, ``bias_hh_l1_reverse`` ...; or without ``_l0``,
        as a cell has it.
    prefix : str
        With or without the trailing dot; "" for the root.
    layer : str
        For messages.

    Returns
    -------
    list of list of Cell
        By layer, then forward and perhaps backward. A GRU's b is (2, 3H).

    Raises
    ------
    WeightsError
        A weight is missing, left over, or of a shape that another kind of network has.
    """
    own = _below(weights, prefix, layer)
    slots: dict[tuple[int, bool], dict[str, Array]] = {}
    for name, value in own.items():
        if match := _RECURRENT_NAME.fullmatch(name):
            array = as_array(value, layer, name)
            slot = (int(match[2] or 0), bool(match[3]))
            if match[1] in slots.setdefault(slot, {}):
                raise WeightsError(f"layer {layer!r}: {match[1]} is there with and without _l0")
            slots[slot][match[1]] = array
    if not slots:
        raise WeightsError(
            f"layer {layer!r}: {prefix!r} holds no recurrent weights (weight_ih_l0 ...); it has "
            f"{sorted(own)[:8]}"
        )
    projects = any("weight_hr" in arrays for arrays in slots.values())
    if projects and kind != "LSTM":
        raise WeightsError(
            f"layer {layer!r}: weight_hr (proj_size) is there, which only nn.LSTM has, not "
            f"{_TORCH_NAMES[kind]}"
        )
    depth = max(index for index, _ in slots) + 1
    directions = 2 if any(backward for _, backward in slots) else 1
    cells: list[list[Cell]] = []
    for index in range(min(depth, len(slots))):
        features = sum(len(cell.U) for cell in cells[-1]) if cells else None
        row: list[Cell] = []
        for backward in (False, True)[:directions]:
            suffix = f"_l{index}" + "_reverse" * backward
            arrays = slots.get((index, backward), {})
            row.append(_torch_cell(kind, arrays, suffix, features, projects, layer))
            features = len(row[0].W)
        cells.append(row)
    if len(cells) < depth:
        raise WeightsError(
            f"layer {layer!r}: layer {depth - 1} is there, layer {len(cells)} is not"
        )
    return cells


def _torch_cell(
    kind: str,
    arrays: Mapping[str, Array],
    suffix: str,
    features: int | None,
    projects: bool,
    layer: str,
) -> Cell:
    """Return one direction of one layer; its input has `features`, where that is known."""
    biases = [name for name in ("bias_ih", "bias_hh") if name in arrays]
    needed = ("weight_ih", "weight_hh", "weight_hr")[: 3 if projects else 2]
    missing = [name for name in needed if name not in arrays]
    if len(biases) == 1:
        missing += {"bias_ih", "bias_hh"} - set(biases)
    if missing:
        raise WeightsError(
            f"layer {layer!r}: {', '.join(name + suffix for name in missing)} missing"
        )
    if projects:
        return _torch_projected(arrays, suffix, features, biases, layer)
    gates = GATES[kind]
    shape = arrays["weight_hh"].shape
    if len(shape) != 2 or shape[1] == 0 or shape[0] != gates * shape[1]:
        others = [
            _TORCH_NAMES[other]
            for other, count in GATES.items()
            if len(shape) == 2 and shape[0] == count * shape[1]
        ]
        hint = f", as {others[0]} has" if others else ""
        raise WeightsError(
            f"layer {layer!r}, weight_hh{suffix}: expected shape ({gates}*units, units) of "
            f"{_TORCH_NAMES[kind]}, "
            f"found {shape}{hint}"
        )
    width = shape[0]
    W = weight(arrays["weight_ih"], layer, "weight_ih" + suffix, (width, features))
    U = weight(arrays["weight_hh"], layer, "weight_hh" + suffix, shape)
    b = _torch_bias(kind, arrays, suffix, biases, width, layer)
    parameters = W.size + U.size + len(biases) * width
    return Cell(W.T, U.T, b, parameters)


def _torch_projected(
    arrays: Mapping[str, Array],
    suffix: str,
    features: int | None,
    biases: Sequence[str],
    layer: str,
) -> Cell:
    """Return the same of an nn.LSTM with proj_size, whose sizes weight_hr tells."""
    hr = weight(
        arrays["weight_hr"], layer, "weight_hr" + suffix, (None, None), "(proj_size, units)"
    )
    size, units = hr.shape
    width, meaning = 4 * units, "(4*units, proj_size)"
    U = weight(arrays["weight_hh"], layer, "weight_hh" + suffix, (width, size), meaning)
    W = weight(arrays["weight_ih"], layer, "weight_ih" + suffix, (width, features))
    b = _torch_bias("LSTM", arrays, suffix, biases, width, layer)
    parameters = W.size + U.size + hr.size + len(biases) * width
    return Cell(W.T, U.T, b, parameters, hr.T)


def _torch_bias(
    kind: str,
    arrays: Mapping[str, Array],
    suffix: str,
    biases: Sequence[str],
    width: int,
    layer: str,
) -> Array | None:
    if not biases:
        return None
    both = [weight(arrays[name], layer, name + suffix, (width,)) for name in biases]
    # Only a GRU's n keeps its recurrent bias apart; the sum of the others is rounded once.
    return np.stack(both) if kind == "GRU" else both[0].astype(np.float64) + both[1]
