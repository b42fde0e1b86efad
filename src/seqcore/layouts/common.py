"""Canonical cells, and arrays as weights: what the layouts of all frameworks share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DtypeError, WeightsError

__all__ = ["GATES", "Array", "Cell", "as_array", "reorder_gates", "weight"]

Array = NDArray[Any]

# How many gates each kind has.
GATES = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}
_LINE = 16  # floats of a line of the cache


class Cell(NamedTuple):
    """Canonical weights of one direction, and the parameters that its framework counts."""

    W: Array
    U: Array
    b: Array | None
    parameters: int
    P: Array | None = None
    peepholes: Array | None = None


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
            converted = _copied(given)
    except FloatingPointError:
        raise WeightsError(
            f"layer {layer!r}, weight {name}: a value is outside of float32's range"
        ) from None
    converted.flags.writeable = False
    return converted


def _copied(given: Array) -> Array:
    """Return a copy of float32 whose rows are contiguous.

    A transposed matrix is copied by lines of the cache, of which NumPy would write one number each
    time that it comes by: 5 ms in place of 31 for (1024, 4096).
    """
    if given.ndim != 2 or given.strides[0] >= given.strides[1]:
        return np.array(given, np.float32, order="C", copy=True)
    made = np.empty(given.shape, np.float32)
    for first in range(0, given.shape[1], _LINE):
        made[:, first : first + _LINE] = given[:, first : first + _LINE]
    return made


def reorder_gates(array: Array, order: Sequence[int]) -> Array:
    """Reorder the blocks of the last axis: block k of the result is block ``order[k]`` here."""
    blocks = np.split(array, len(order), axis=-1)
    return np.concatenate([blocks[k] for k in order], axis=-1)
