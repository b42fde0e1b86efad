"""The arguments of a call as the core reads them: dtype, order, alignment.

What shapes mean is the plan's business; nothing here knows a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from .errors import DtypeError, GraphError, ShapeError
from .layers.base import Symbol

__all__ = [
    "DataInput",
    "booleans",
    "data_inputs",
    "floats",
    "integers",
    "is_writable_result",
    "listed",
    "unfit_out",
]

Array = NDArray[Any]

_FLOAT, _IDS = np.dtype(np.float32), np.dtype(np.int64)
_READY = (
    0x101  # NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED: the core can read the array where it is
)


def _is_ready(value: Any, dtype: np.dtype[Any]) -> bool:
    """Tell whether the core can read a value where it is."""
    return type(value) is np.ndarray and value.dtype == dtype and value.flags.num & _READY == _READY


def _array(value: Any, what: str) -> Array:
    """Return any array_like as an array, of whatever dtype it has."""
    if isinstance(value, Symbol):
        raise GraphError(f"{what}: a model is called on arrays; found {value!r}")
    if isinstance(value, np.ma.MaskedArray):
        raise DtypeError(f"{what}: a masked array's mask would be lost; give lengths= or mask=")
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ShapeError(f"{what}: rows of different shapes make no array ({error})") from None
    except (TypeError, RuntimeError) as error:  # torch tensors with a gradient or of bfloat16
        raise DtypeError(
            f"{what}: NumPy cannot read a {type(value).__name__} ({error}); give a NumPy array, of "
            "a torch tensor .detach().cpu().float().numpy()"
        ) from None


def floats(value: Any, what: str) -> Array:
    """Return features or states as the core reads them; every real number converts."""
    if _is_ready(value, _FLOAT):
        return cast(Array, value)
    array = _array(value, what)
    if array.dtype.kind not in "fiub":
        raise DtypeError(f"{what}: expected real numbers; found {array.dtype}")
    return np.require(array, _FLOAT, ["C", "A"])


def integers(value: Any, what: str) -> Array:
    """Return ids or lengths as the core reads them. Floats are refused: 3.7 is no token."""
    if _is_ready(value, _IDS):
        return cast(Array, value)
    array = _array(value, what)
    if array.dtype.kind not in "iu" and array.size:
        raise DtypeError(f"{what}: expected integers; found {array.dtype}")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise DtypeError(f"{what}: {array.max()} does not fit in int64")
    return np.require(array, _IDS, ["C", "A"])


def booleans(value: Any, what: str) -> Array:
    """Return a mask as the core reads it: float32, 1 where True. Numbers must be 0 or 1."""
    array = _array(value, what)
    if array.dtype.kind in "iuf" and not np.isin(array, (0, 1)).all():
        raise DtypeError(f"{what}: expected booleans, or 0 and 1; found other numbers")
    if array.dtype.kind not in "biuf":
        raise DtypeError(f"{what}: expected booleans; found {array.dtype}")
    return np.require(array, _FLOAT, ["C", "A"])


def unfit_out(name: str, result: Any) -> ShapeError | DtypeError:
    """Return the error for an ``out=`` that the core cannot write into where it is."""
    if not isinstance(result, np.ndarray) or result.dtype != _FLOAT:
        found = getattr(result, "dtype", type(result).__name__)
        return DtypeError(f"out for {name!r}: expected a float32 ndarray; found {found}")
    return ShapeError(f"out for {name!r}: expected a writeable, aligned, C-contiguous ndarray")


class DataInput(NamedTuple):
    """A required input: its place in the plan's list, its lengths' and mask's, how it is read."""

    name: str
    place: int
    lengths: int | None
    mask: int | None
    convert: Callable[[Any, str], Array]


def data_inputs(specs: Sequence[Mapping[str, Any]]) -> list[DataInput]:
    lengths, masks = (
        {spec["of"]: k for k, spec in enumerate(specs) if spec["kind"] == kind}
        for kind in ("lengths", "mask")
    )
    return [
        DataInput(
            spec["name"],
            index,
            lengths.get(spec["name"]),
            masks.get(spec["name"]),
            integers if spec["dtype"] == "int64" else floats,
        )
        for index, spec in enumerate(specs)
        if spec["kind"] == "data"
    ]


def listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (tuple, list)) else [value]


def is_writable_result(value: Any) -> bool:
    """Tell whether the core can write a result into a value."""
    return (
        isinstance(value, np.ndarray)  # a memmap too
        and value.dtype == _FLOAT
        and value.flags.num & _READY == _READY
        and bool(value.flags.writeable)
    )
