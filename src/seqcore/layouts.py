"""Gate orders and layouts of the frameworks: named or listed arrays in, canonical arrays out.

Canonical (docs/design.md, "Canonical weights"): LSTM gates i,f,g,o; GRU gates r,z,n; W (I, G*H), U
(H, G*H), b (G*H,), and (2, 3H) for a reset-after GRU, whose row 1 is the recurrent bias. An LSTM
with a projection P (H, P) has U (P, 4H). Pure functions; no layers, no files.

    Keras   matrices (in, G*H)   LSTM i f c o   GRU z r h   bias (G*H,); reset_after (2, 3H)
    Keras 1 W, U, b of each gate LSTM i c f o   GRU z r h
    CuDNN   as Keras, each gate's matrices as (H, in)       bias (2*G*H,): input, recurrent
    torch   matrices (G*H, in)   LSTM i f g o   GRU r z n   bias_ih (G*H,) and bias_hh (G*H,)
            weight_hr (P, H) with proj_size
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import DtypeError, OptionError, UnsupportedLayerError, WeightsError

__all__ = [
    "Cell",
    "as_array",
    "check_bias",
    "keras1_recurrent",
    "keras_affine",
    "keras_arrays",
    "keras_recurrent",
    "torch_conv1d",
    "torch_crf",
    "torch_dense",
    "torch_norm",
    "torch_recurrent",
    "weight",
]

Array = NDArray[Any]

# Of each kind: how many gates, and where each canonical gate stands in Keras's order.
GATES = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}
_KERAS_ORDER = {"SimpleRNN": [0], "LSTM": [0, 1, 2, 3], "GRU": [1, 0, 2]}
# Keras 1 by names, and where each gate of Keras 2's order stands in its get_weights().
_KERAS1_GATES = {"SimpleRNN": "", "LSTM": "icfo", "GRU": "zrh"}
_KERAS1_ORDER = {"LSTM": [0, 2, 1, 3], "GRU": [0, 1, 2]}
_KERAS1_NAME = re.compile(r"(?:.*_)?([WUb])(?:_([icfozrh]))?(?::0)?", re.DOTALL)


class Cell(NamedTuple):
    """Canonical weights of one direction, and the parameters that its framework counts."""

    W: Array
    U: Array
    b: Array | None
    parameters: int
    P: Array | None = None


def as_array(value: Any, layer: str, name: str) -> Array:
    """Return a weight as an array of whatever dtype and shape it has.

    A torch tensor of any device and float dtype, with or without a gradient, is an array too; NumPy
    alone reads few of them.

    Raises
    ------
    WeightsError, DtypeError
        Naming layer and weight.
    """
    where = f"layer {layer!r}, weight {name}"
    if getattr(value, "is_meta", False) is True:
        raise WeightsError(f"{where}: it is on the meta device and has no values")
    if isinstance(value, np.ma.MaskedArray):
        raise DtypeError(f"{where}: a masked array's mask would be lost; give .filled(value)")
    try:
        if callable(getattr(value, "detach", None)):
            value = value.detach().cpu()
            if value.is_floating_point() and value.element_size() < 4:
                value = value.float()  # NumPy has no bfloat16
        return np.asarray(value)
    except ValueError as error:
        raise WeightsError(f"{where}: rows of different shapes make no array ({error})") from None
    except (TypeError, RuntimeError, AttributeError) as error:
        raise DtypeError(
            f"{where}: NumPy cannot read a {type(value).__name__} ({error}); give a NumPy array"
        ) from None


def weight(
    array: ArrayLike, layer: str, name: str, shape: Sequence[int | None], meaning: str = ""
) -> Array:
    """Return a weight as a read-only, C-contiguous float32 array.

    Always a copy, so that the caller's later changes do not reach the layer: a read-only array may
    be a view of a writeable one.

    Parameters
    ----------
    array : array_like of float or integer
    layer, name : str
        For messages.
    shape : sequence of (int or None)
        Expected; None for any size of at least 1.
    meaning : str, optional
        What the expected shape stands for, such as "(units, 4*units)".

    Raises
    ------
    WeightsError, DtypeError
    """
    given = as_array(array, layer, name)
    if given.dtype.kind not in "fiu":
        raise DtypeError(f"layer {layer!r}, weight {name}: expected floats; found {given.dtype}")
    fits = given.ndim == len(shape) and all(
        found == size or (size is None and found > 0)
        for found, size in zip(given.shape, shape, strict=True)
    )
    if not fits:
        expected = "(" + ", ".join("any" if n is None else str(n) for n in shape)
        expected += (",)" if len(shape) == 1 else ")") + (f" = {meaning}" if meaning else "")
        raise WeightsError(
            f"layer {layer!r}, weight {name}: expected shape {expected}, found {given.shape}"
        )
    try:
        with np.errstate(over="raise"):
            converted = np.array(given, np.float32, order="C", copy=True)
    except FloatingPointError:
        raise WeightsError(
            f"layer {layer!r}, weight {name}: a value is outside of float32's range"
        ) from None
    converted.flags.writeable = False
    return converted


def reorder_gates(array: Array, order: Sequence[int]) -> Array:
    """Reorder the blocks of the last axis: block k of the result is block ``order[k]`` here."""
    blocks = np.split(array, len(order), axis=-1)
    return np.concatenate([blocks[k] for k in order], axis=-1)


# ---- Keras --------------------------------------------------------------------------------------


def keras_arrays(arrays: Any, layer: str, names: Sequence[str]) -> list[Array]:
    """Return what ``get_weights()`` gave as arrays; `names` are the weights, for messages."""
    if not isinstance(arrays, (list, tuple, np.ndarray)):
        raise WeightsError(
            f"layer {layer!r}: expected a list of arrays, as get_weights() returns it; found "
            f"{type(arrays).__name__}"
        )
    return [
        as_array(array, layer, names[k] if k < len(names) else str(k))
        for k, array in enumerate(arrays)
    ]


def check_bias(arrays: Sequence[Array], full: int, use_bias: Any, layer: str) -> None:
    """Refuse one array less than the `full` number where the caller says that there is a bias."""
    if isinstance(use_bias, (bool, np.bool_)) and use_bias and len(arrays) == full - 1:
        raise WeightsError(
            f"layer {layer!r}: use_bias=True, but there is no bias among the {len(arrays)} arrays"
        )


def keras_affine(
    arrays: Any, roles: Sequence[str], options: Mapping[str, Any], kind: str
) -> list[Array]:
    """Return the ``get_weights()`` of a layer whose last weight is a bias that it may lack.

    Parameters
    ----------
    arrays : list of arrays
    roles : sequence of str
        What they are, the bias last.
    options : mapping
        Of the layer's constructor, of which name and use_bias matter.
    kind : str
        The layer's class, for messages about one without a name.

    Raises
    ------
    WeightsError, DtypeError
    """
    layer = options.get("name") or kind
    given = keras_arrays(arrays, layer, roles)
    check_bias(given, len(roles), options.get("use_bias"), layer)
    if not len(roles) - 1 <= len(given) <= len(roles):
        needed = " and ".join(roles[:-1])
        raise WeightsError(
            f"layer {layer!r}: expected {needed} and perhaps {roles[-1]}; found {len(given)} arrays"
        )
    return given


def keras_recurrent(
    kind: str,
    given: Sequence[ArrayLike],
    layer: str,
    use_bias: Any = None,
    cudnn: bool | None = None,
) -> Cell:
    """Return a Keras recurrent layer's ``get_weights()`` in canonical order.

    Parameters
    ----------
    kind : "SimpleRNN", "LSTM" or "GRU"
    given : list of arrays
        kernel (I, G*H), recurrent_kernel (H, G*H) and, unless use_bias is False, bias (G*H,) or,
        for a GRU with reset_after, (2, 3H). Or Keras 1's 12 (LSTM) or 9 (GRU): W (I, H), U (H, H)
        and b (H,) of each gate, in the order i,c,f,o or z,r,h.
    layer : str
        For messages.
    use_bias : bool, optional
        True: a bias must be there.
    cudnn : bool, optional
        Whether this is the layout of CuDNNLSTM or CuDNNGRU. Left out: a bias (2*G*H,), which
        nothing else has, says so.

    Raises
    ------
    WeightsError, OptionError
        For another number of arrays, or shapes that do not belong together.
    """
    gates = GATES[kind]
    arrays = keras_arrays(given, layer, ("kernel", "recurrent_kernel", "bias"))
    check_bias(arrays, 3, use_bias, layer)
    if gates > 1 and len(arrays) == 3 * gates and not cudnn:
        arrays = _joined_gates(kind, arrays, layer)
    if not 2 <= len(arrays) <= 3:
        per_gate = f" (or Keras 1's {3 * gates} of its gates)" if gates > 1 else ""
        raise WeightsError(
            f"layer {layer!r}: expected kernel, recurrent_kernel and perhaps bias{per_gate}; found "
            f"{len(arrays)} arrays"
        )
    units = arrays[1].shape[0] if arrays[1].ndim == 2 else None
    width = None if units is None else gates * units
    parameters = sum(array.size for array in arrays)
    kernel = weight(arrays[0], layer, "kernel", (None, width), f"(features, {gates}*units)")
    recurrent = weight(
        arrays[1], layer, "recurrent_kernel", (units, width), f"(units, {gates}*units)"
    )
    if _is_cudnn(kind, arrays, width, layer, cudnn):
        both = weight(arrays[2], layer, "bias", (2 * len(recurrent) * gates,), "CuDNN's two biases")
        kernel, recurrent = _from_cudnn(kernel, gates), _from_cudnn(recurrent, gates)
        rows = both.reshape(2, -1)
        # Only a GRU's candidate keeps its recurrent bias apart; the sum of the others is rounded
        # once.
        arrays[2] = rows if kind == "GRU" else rows[0].astype(np.float64) + rows[1]
    order = _KERAS_ORDER[kind]
    matrices = [reorder_gates(kernel, order), reorder_gates(recurrent, order)]
    bias = None
    if len(arrays) == 3:
        double = kind == "GRU" and arrays[2].ndim == 2
        shape = (2, width) if double else (width,)
        bias = reorder_gates(weight(arrays[2], layer, "bias", shape), order)
    return Cell(matrices[0], matrices[1], bias, parameters)


def _is_cudnn(
    kind: str, arrays: Sequence[Array], width: int | None, layer: str, cudnn: bool | None
) -> bool:
    """Tell whether a layer's arrays are CuDNN's, by what the caller says or else by the bias."""
    if cudnn not in (None, True, False):
        raise OptionError(f"{layer}: cudnn: expected True, False or None; found {cudnn!r}")
    if cudnn and kind == "SimpleRNN":
        raise OptionError(f"{layer}: there is no CuDNN layer of this kind")
    if cudnn and len(arrays) < 3:
        raise WeightsError(f"layer {layer!r}: a CuDNN layer has a bias, and there is none")
    if cudnn is not None or width is None or len(arrays) < 3 or kind == "SimpleRNN":
        return bool(cudnn)
    return arrays[2].shape == (2 * width,)


def _from_cudnn(matrix: Array, gates: int) -> Array:
    """Return (in, G*H) of Keras from CuDNN's: each gate's numbers are those of (H, in)."""
    blocks = np.split(matrix, gates, axis=-1)
    return np.concatenate([block.reshape(block.shape[::-1]).T for block in blocks], axis=-1)


def _joined_gates(kind: str, arrays: Sequence[Array], layer: str) -> list[Array]:
    """Return Keras 2's three arrays from Keras 1's, which are W, U and b of one gate by another."""
    units = arrays[1].shape[0] if arrays[1].ndim == 2 else None
    features = arrays[0].shape[0] if arrays[0].ndim == 2 else None
    shapes = {"W": (features, units), "U": (units, units), "b": (units,)}
    names = [f"{part}_{gate}" for gate in _KERAS1_GATES[kind] for part in shapes]
    checked = [
        weight(array, layer, name, shapes[name[0]], "by gate, as in Keras 1")
        for name, array in zip(names, arrays, strict=True)
    ]
    return [
        np.concatenate([checked[3 * gate + part] for gate in _KERAS1_ORDER[kind]], axis=-1)
        for part in range(3)
    ]


def keras1_recurrent(kind: str, weights: Mapping[str, ArrayLike], layer: str) -> Cell:
    """Return the canonical weights of a layer in a file of Keras 1, found by their names.

    Parameters
    ----------
    kind : "SimpleRNN", "LSTM" or "GRU"
    weights : mapping of str to array
        ``lstm_1_W_i``, ``lstm_1_U_i:0`` ...; or ``lstm_1_W``, ``lstm_1_U``, ``lstm_1_b`` with all
        gates side by side, as ``consume_less="gpu"`` and SimpleRNN have them.
    layer : str
        For messages.

    Raises
    ------
    WeightsError
        A weight is missing, left over, or of a shape that does not belong to the others.
    """
    found: dict[str, ArrayLike] = {}
    for name, array in weights.items():
        match = _KERAS1_NAME.fullmatch(name)
        key = match and match[1] + (f"_{match[2]}" if match[2] else "")
        if not key or key in found:
            raise WeightsError(f"layer {layer!r}: {name!r} is no weight of Keras 1's {kind}")
        found[key] = array
    gates = _KERAS1_GATES[kind] if "W" not in found else ""
    names = [f"{part}_{gate}" for gate in gates for part in "WUb"] or ["W", "U", "b"]
    if found.keys() != set(names):
        raise WeightsError(
            f"layer {layer!r}: expected the weights {', '.join(names)}; found "
            f"{', '.join(sorted(found)) or 'none'}"
        )
    return keras_recurrent(kind, [found[name] for name in names], layer, cudnn=False)


# ---- torch --------------------------------------------------------------------------------------

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
