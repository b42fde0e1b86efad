"""Ops that make whole numbers: argmax and topk; and cast."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .common import Array, row_lengths


def argmax(
    x: ArrayLike,
    *,
    axis: int,
    keepdims: bool,
    function: str,
    lengths: ArrayLike | None = None,
) -> Array:
    """Where the greatest ("max") or least ("min") element of an axis is; the first of equal ones.

    A NaN is further out than every number. Along axis 1 of each row's own frames, 0 of none.
    """
    x = np.asarray(x, np.float64)
    find = np.argmax if function == "max" else np.argmin  # of NumPy too, the first NaN is it
    shape = [n for d, n in enumerate(x.shape) if d != axis]
    if axis > 1 or lengths is None:
        y = find(x, axis=axis) if x.shape[axis] else np.zeros(shape, np.int64)
    else:
        y = np.zeros(shape, np.int64)
        for i, n in enumerate(row_lengths(x, lengths)):
            if n:
                y[i] = find(x[i, :n], axis=0)
    return np.expand_dims(y, axis) if keepdims else np.asarray(y)


def topk(x: ArrayLike, *, k: int, axis: int, largest: bool) -> tuple[Array, Array]:
    """The k greatest elements of an axis, or the least, in order, and where they are.

    A NaN is the greatest; equal elements stay in order.
    """
    x = np.moveaxis(np.asarray(x, np.float64), axis, -1)
    nan = np.isnan(x)
    key = np.where(nan, 0, -x if largest else x)
    # the last key counts most: NaN or not, and then the number; np.lexsort is stable
    indices = np.lexsort((key, ~nan if largest else nan), axis=-1)[..., :k]
    values = np.take_along_axis(x, indices, -1)
    return np.moveaxis(values, -1, axis), np.moveaxis(indices, -1, axis)


def cast(x: ArrayLike, *, dtype: str) -> Array:
    """Floats as whole numbers, towards zero, 0 of NaN and of what int64 does not hold; or back."""
    x = np.asarray(x)
    if dtype == "float32" or x.dtype.kind in "iu":
        return x.astype(np.float64 if dtype == "float32" else np.int64)
    held = (x >= -(2.0**63)) & (x < 2.0**63)  # no NaN
    return np.where(held, x, 0).astype(np.int64)
