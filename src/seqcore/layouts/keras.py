"""Keras's layouts: what ``get_weights()`` gives, and the weights that files of Keras 1 name.

Keras   matrices (in, G*H)   LSTM i f c o   GRU z r h   bias (G*H,); reset_after (2, 3H)
Keras 1 W, U, b of each gate LSTM i c f o   GRU z r h
CuDNN   as Keras, each gate's matrices as (H, in)       bias (2*G*H,): input, recurrent
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import OptionError, WeightsError
from .common import GATES, Array, Cell, as_array, reorder_gates, weight

# Where each canonical gate stands in Keras's order.
_KERAS_ORDER = {"SimpleRNN": [0], "LSTM": [0, 1, 2, 3], "GRU": [1, 0, 2]}
# Keras 1 by names, and where each gate of Keras 2's order stands in its get_weights().
_KERAS1_GATES = {"SimpleRNN": "", "LSTM": "icfo", "GRU": "zrh"}
_KERAS1_ORDER = {"LSTM": [0, 2, 1, 3], "GRU": [0, 1, 2]}
_KERAS1_NAME = re.compile(r"(?:.*_)?([WUb])(?:_([icfozrh]))?(?::0)?", re.DOTALL)


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
