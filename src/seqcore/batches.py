"""Arrays that models take: rows of many lengths as one, `pad`; one series as many, `windows`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .arguments import array_of
from .errors import DtypeError, OptionError, ShapeError
from .graph import told
from .layers.base import choice, several, whole

__all__ = ["pad", "windows"]

Array = NDArray[Any]

_ENDS = ("post", "pre")


def pad(
    sequences: Iterable[Any],
    length: int | None = None,
    *,
    padding: str = "post",
    truncating: str = "post",
    value: float = 0,
    dtype: DTypeLike | None = None,
) -> tuple[Array, NDArray[np.int64]]:
    """Make one array of rows that differ in length.

    As Keras's ``pad_sequences``, which pads and cuts at the start unless it is told otherwise and
    makes int32 of whatever it gets. Here both are at the end, where `lengths=` of a model expects
    padding, and no number is changed by its dtype.

    Parameters
    ----------
    sequences : iterable of array_like (T,) or (T, F...)
        Token ids, or frames of features. A row of no frames may be an empty list.
    length : int, optional
        Of all rows; longer ones are cut. Left out, that of the longest.
    padding : "post" or "pre"
        Whether `value` stands behind a row or before it. For a model's `lengths=` it must be
        "post"; with "pre" they still tell how many frames are real, which are the last ones.
    truncating : "post" or "pre"
        Whether the end or the start of a longer row is cut off.
    value : number
    dtype : dtype, optional
        Left out, int64 for integers; for others the one that holds all rows.

    Returns
    -------
    array (B, length) or (B, length, F...)
    lengths : array (B,) of int64
        How many frames of each row are its own.

    Raises
    ------
    ShapeError
        A row has no time axis, or other features than the rows before; names the row.
    DtypeError
        A row or `value` holds what is no number, or a number that the dtype does not hold.
    OptionError
    """
    choice(padding, "pad", "padding", _ENDS)
    choice(truncating, "pad", "truncating", _ENDS)
    rows = [_row(row, f"row {place}") for place, row in enumerate(several(sequences, "pad"))]
    full = [(place, row) for place, row in enumerate(rows) if row.size or row.ndim > 1]
    features = full[0][1].shape[1:] if full else ()
    for place, row in full:
        if row.shape[1:] != features:
            raise ShapeError(
                f"row {place}: expected features {features}, as in row {full[0][0]}; found "
                f"{row.shape[1:]}"
            )
    kind = _dtype([row for _, row in full], dtype)
    fill = _cast(array_of(value, "value"), kind, "value")
    if fill.ndim:
        raise OptionError(f"pad: value is one number; found shape {fill.shape}")
    most = max(map(len, rows), default=0)
    time = most if length is None else whole(length, "pad", "length", least=0)
    result = np.full((len(rows), time, *features), fill, kind)
    lengths = np.array([min(len(row), time) for row in rows], np.int64)
    for place, row in full:
        size = lengths[place]
        kept = row[:size] if truncating == "post" else row[len(row) - size :]
        where = slice(0, size) if padding == "post" else slice(time - size, time)
        result[place, where] = _cast(kept, kind, f"row {place}")
    return result, lengths


def _row(value: Any, what: str) -> Array:
    """Return one row as an array of numbers with a time axis."""
    if not hasattr(value, "__len__") and not hasattr(value, "__array__"):
        value = list(value) if isinstance(value, Iterable) else value
    array = array_of(value, what)
    if array.ndim == 1 and not array.size:
        return array  # of no frames, and of no dtype of its own
    if array.dtype.kind not in "biuf":
        raise DtypeError(f"{what}: expected numbers; found {array.dtype}")
    if array.ndim == 0:
        raise ShapeError(f"{what}: expected a row of frames; found the number {told(array.item())}")
    return array


def _dtype(rows: list[Array], dtype: DTypeLike | None) -> np.dtype[Any]:
    """Return the dtype that is asked for, or the one that holds all rows."""
    if dtype is not None:
        try:
            found = np.dtype(dtype)
        except TypeError:
            raise DtypeError(f"pad: dtype {told(dtype)} is none") from None
        if found.kind not in "biuf":
            raise DtypeError(f"pad: expected a dtype of numbers; found {found}")
        return found
    kinds = {row.dtype for row in rows}
    if all(kind.kind in "iu" for kind in kinds):
        return np.dtype(np.int64)
    return np.result_type(*kinds)


def _cast(array: Array, dtype: np.dtype[Any], what: str) -> Array:
    """Return numbers in a dtype that holds them: floats may be rounded, nothing else may change."""
    if array.dtype.kind not in "biuf":
        raise DtypeError(f"{what}: expected numbers; found {array.dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        result = array.astype(dtype)
        if dtype.kind == "f":
            same = np.isfinite(result) | ~np.isfinite(array)
        else:
            # Compared as what both are: int64 against uint64 NumPy would compare as float64
            back = result.astype(array.dtype)
            same = (back == array) & ((result < 0) == (array < 0))
    if not np.all(same):
        wrong = array[~same].flat[0].item()
        raise DtypeError(f"{what}: {told(wrong)} does not fit in {dtype}")
    return result


def windows(
    series: ArrayLike, size: int, *, stride: int = 1, horizon: int = 0
) -> Array | tuple[Array, Array]:
    """See a series as windows that slide over it, and as what follows each of them.

    Nothing is copied: the results are views of the series, and read-only, because a frame belongs
    to several windows. A list is made an array first.

    Parameters
    ----------
    series : array_like (T,), (T, F) or (B, T, F)
        With one axis the numbers are frames.
    size : int
        Frames of a window.
    stride : int
        Frames from the start of a window to the start of the next.
    horizon : int
        Frames behind each window that are its target; with 0 there are no targets.

    Returns
    -------
    inputs : array (N, size), (N, size, F) or (B, N, size, F)
        N is ``(T - size - horizon) // stride + 1``: what is left at the end is in no window.
    targets : array (N, horizon), (N, horizon, F) or (B, N, horizon, F)
        With a horizon only. Target i is what follows window i.

    Raises
    ------
    ShapeError
        The series is shorter than one window and its horizon, or has no time axis.
    OptionError, DtypeError

    Examples
    --------
    >>> import numpy as np
    >>> from seqcore.sequence import windows
    >>> inputs, targets = windows(np.arange(6), 3, stride=2, horizon=1)
    >>> inputs.tolist(), targets.tolist()
    ([[0, 1, 2], [2, 3, 4]], [[3], [5]])
    """
    size = whole(size, "windows", "size")
    stride = whole(stride, "windows", "stride")
    horizon = whole(horizon, "windows", "horizon", least=0)
    array = array_of(series, "series")
    if array.dtype.hasobject:
        raise DtypeError(f"series: expected numbers; found {array.dtype}")
    if not 1 <= array.ndim <= 3:
        raise ShapeError(
            "series: expected (time,), (time, features) or (batch, time, features); found shape "
            f"{array.shape}"
        )
    axis = max(array.ndim - 2, 0)
    time = array.shape[axis]
    if time < size + horizon:
        raise ShapeError(
            f"series: {time} frames; a window of {size} and a horizon of {horizon} need "
            f"{size + horizon}"
        )
    inputs = _sliding(array, axis, 0, time - horizon, size, stride)
    if not horizon:
        return inputs
    return inputs, _sliding(array, axis, size, time, horizon, stride)


def _sliding(array: Array, axis: int, start: int, stop: int, size: int, stride: int) -> Array:
    """Return the windows over some of the frames, as a view."""
    before = (slice(None),) * axis
    frames, starts = (*before, slice(start, stop)), (*before, slice(None, None, stride))
    return np.moveaxis(sliding_window_view(array[frames], size, axis)[starts], -1, axis + 1)
