"""ONNX's layout: the weights of its operators RNN, LSTM and GRU, all directions in one array.

    W (D, G*H, I)   R (D, G*H, H)   LSTM i o f c   GRU z r h
    B (D, 2*G*H)    Wb, then Rb     P (D, 3*H) peepholes of i o f

D is the number of directions, forward first. Both values of the attribute `layout` have these.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..errors import WeightsError
from .common import GATES, Array, Cell, as_array, reorder_gates, weight

# Where each canonical gate stands in ONNX's order, and each canonical peephole.
_ORDER = {"SimpleRNN": [0], "LSTM": [0, 2, 3, 1], "GRU": [1, 0, 2]}
_PEEPHOLES = [0, 2, 1]
_OPERATORS = {"SimpleRNN": "RNN", "LSTM": "LSTM", "GRU": "GRU"}


def onnx_recurrent(
    kind: str,
    W: ArrayLike,
    R: ArrayLike,
    B: ArrayLike | None = None,
    P: ArrayLike | None = None,
    label: str | None = None,
) -> list[Cell]:
    """Return the canonical weights of every direction of an ONNX operator.

    Parameters
    ----------
    kind : "SimpleRNN", "LSTM" or "GRU"
    W, R : array (D, G*H, I) and array (D, G*H, H)
        D, of one direction, may be left out, in all arrays alike.
    B : array (D, 2*G*H), optional
        The biases of both products. A GRU's cell has both, (2, 3H), as only `linear_before_reset`
        tells whether n's stay apart; of the others it has their sum, rounded once.
    P : array (D, 3*H), optional
        The peepholes of an LSTM.
    label : str, optional
        Of the layer, for messages.

    Returns
    -------
    list of Cell
        One or two, forward first. Their parameters are counted as they stand in the arrays.

    Raises
    ------
    WeightsError, DtypeError
        Naming layer and weight, what was expected and what was found.
    """
    layer, gates = label or kind, GATES[kind]
    given = {"W": W, "R": R, "B": B, "P": P}
    arrays = {n: as_array(array, layer, n) for n, array in given.items() if array is not None}
    missing = [name for name in ("W", "R") if name not in arrays]
    if missing:
        raise WeightsError(f"layer {layer!r}: {_OPERATORS[kind]} has no {' and no '.join(missing)}")
    if P is not None and kind != "LSTM":
        raise WeightsError(
            f"layer {layer!r}: P is there, which LSTM has and {_OPERATORS[kind]} not"
        )
    if arrays["R"].ndim == 2:
        arrays = {name: array[None] for name, array in arrays.items()}
    directions, units = _sizes(arrays["R"], gates, layer)
    width = gates * units
    shapes: dict[str, tuple[Sequence[int | None], str]] = {
        "W": ((directions, width, None), f"(directions, {gates}*units, features)"),
        "R": ((directions, width, units), f"(directions, {gates}*units, units)"),
        "B": ((directions, 2 * width), f"(directions, 2*{gates}*units)"),
        "P": ((directions, 3 * units), "(directions, 3*units)"),
    }
    checked = {name: weight(array, layer, name, *shapes[name]) for name, array in arrays.items()}
    return [
        _cell(kind, {name: array[k] for name, array in checked.items()}) for k in range(directions)
    ]


def _sizes(R: Array, gates: int, layer: str) -> tuple[int, int]:
    """Return the directions and units that R tells."""
    fits = R.ndim == 3 and R.shape[0] in (1, 2) and R.shape[2] > 0
    if not fits or R.shape[1] != gates * R.shape[2]:
        hint = next(
            (
                f", as {_OPERATORS[kind]} has"
                for kind, count in GATES.items()
                if fits and R.shape[1] == count * R.shape[2]
            ),
            "",
        )
        raise WeightsError(
            f"layer {layer!r}, weight R: expected shape (directions, {gates}*units, units) of 1 or "
            f"2 directions, found {R.shape}{hint}"
        )
    return R.shape[0], R.shape[2]


def _cell(kind: str, arrays: dict[str, Array]) -> Cell:
    """Return one direction, of arrays without that axis."""
    order = _ORDER[kind]
    W, U = (reorder_gates(arrays[name].T, order) for name in ("W", "R"))
    b = peepholes = None
    if "B" in arrays:
        both = reorder_gates(arrays["B"].reshape(2, -1), order)
        b = both if kind == "GRU" else both[0].astype(np.float64) + both[1]
    if "P" in arrays:
        peepholes = arrays["P"].reshape(3, -1)[_PEEPHOLES]
    parameters = sum(array.size for array in arrays.values())
    return Cell(W, U, b, parameters, peepholes=peepholes)
