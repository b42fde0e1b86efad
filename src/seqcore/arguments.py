"""The arguments of a call as the core reads them: dtype, order, alignment.

What shapes mean is the plan's business; nothing here knows a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from .errors import DtypeError, GraphError, OptionError, ShapeError
from .layers.base import Symbol

__all__ = [
    "Arguments",
    "DataInput",
    "array_of",
    "booleans",
    "checked_out",
    "data_inputs",
    "ends_of",
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


def array_of(value: Any, what: str) -> Array:
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
    array = array_of(value, what)
    if array.dtype.kind not in "fiub":
        raise DtypeError(f"{what}: expected real numbers; found {array.dtype}")
    return np.require(array, _FLOAT, ["C", "A"])


def integers(value: Any, what: str) -> Array:
    """Return ids or lengths as the core reads them. Floats are refused: 3.7 is no token."""
    if _is_ready(value, _IDS):
        return cast(Array, value)
    array = array_of(value, what)
    if array.dtype.kind not in "iu" and array.size:
        raise DtypeError(f"{what}: expected integers; found {array.dtype}")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise DtypeError(f"{what}: {array.max()} does not fit in int64")
    return np.require(array, _IDS, ["C", "A"])


def ends_of(value: Any, rows: int, time: int | None, what: str) -> Array:
    """Return lengths as the core reads them, one for each row; without a time axis none fit."""
    ends = integers(value, what)
    if time is None or ends.shape != (rows,):
        raise ShapeError(f"{what}: expected shape ({rows},), one for each row; found {ends.shape}")
    if ends.size and not (ends.min() >= 0 and ends.max() <= time):
        raise ShapeError(f"{what}: expected 0 to {time}, found {ends.min()} to {ends.max()}")
    return ends


def booleans(value: Any, what: str) -> Array:
    """Return a mask as the core reads it: float32, 1 where True. Numbers must be 0 or 1."""
    array = array_of(value, what)
    if array.dtype.kind in "iuf" and not np.isin(array, (0, 1)).all():
        raise DtypeError(f"{what}: expected booleans, or 0 and 1; found other numbers")
    if array.dtype.kind not in "biuf":
        raise DtypeError(f"{what}: expected booleans; found {array.dtype}")
    return np.require(array, _FLOAT, ["C", "A"])


def unfit_out(name: str, result: Any, dtype: np.dtype[Any]) -> ShapeError | DtypeError:
    """Return the error for an ``out=`` that the core cannot write into where it is."""
    if not isinstance(result, np.ndarray) or result.dtype != dtype:
        found = getattr(result, "dtype", type(result).__name__)
        return DtypeError(f"out for {name!r}: expected an ndarray of {dtype}; found {found}")
    return ShapeError(f"out for {name!r}: expected a writeable, aligned, C-contiguous ndarray")


class DataInput(NamedTuple):
    """A required input: its place in the plan's list, its lengths' and mask's, how it is read.

    Its time axis, if it has one, is the first but its batch.
    """

    name: str
    place: int
    lengths: int | None
    mask: int | None
    convert: Callable[[Any, str], Array]
    batch_axis: int


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
            spec.get("batch_axis", 0),
        )
        for index, spec in enumerate(specs)
        if spec["kind"] == "data"
    ]


def listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (tuple, list)) else [value]


def is_writable_result(value: Any, dtype: np.dtype[Any]) -> bool:
    """Tell whether the core can write a result of this dtype into a value."""
    return (
        isinstance(value, np.ndarray)  # a memmap too
        and value.dtype == dtype
        and value.flags.num & _READY == _READY
        and bool(value.flags.writeable)
    )


def checked_out(
    out: Any, names: Sequence[str], dtypes: Sequence[np.dtype[Any]], given: Sequence[Any]
) -> list[Array]:
    """Return the caller's outputs as a list; their shapes are checked by the plan.

    `given` is what they must not overlap: the plan's arguments, and the caller's, of which some
    were converted.
    """
    arguments = {id(a): a for a in given if isinstance(a, np.ndarray)}
    results = listed(out)
    if len(results) != len(names):
        raise ShapeError(f"out: expected {len(names)} arrays {list(names)}, found {len(results)}")
    for name, dtype, result in zip(names, dtypes, results, strict=True):
        if not is_writable_result(result, dtype):
            raise unfit_out(name, result, dtype)
        for other in arguments.values():
            if np.may_share_memory(result, other) and np.shares_memory(result, other):
                raise ShapeError(f"out for {name!r} overlaps an input or an output")
        arguments[id(result)] = result
    return results


class Arguments:
    """What the inputs of a graph take, and how a call's arguments become the plan's.

    Attributes
    ----------
    names : tuple of str
        Of the data inputs, in the order of a call.
    states : tuple of str
        Of the initial states.
    is_one : bool
        Whether there is one data input, the first of the graph's.
    """

    def __init__(self, specs: Sequence[Mapping[str, Any]]) -> None:
        self._data = data_inputs(specs)
        self._states = [
            (spec["name"], k) for k, spec in enumerate(specs) if spec["kind"] == "state"
        ]
        # A call's arguments start as a copy of this list.
        self._absent: list[Array | None] = [None] * len(specs)
        self.names = tuple(data.name for data in self._data)
        self.states = tuple(name for name, _ in self._states)
        self.is_one = len(self._data) == 1 and self._data[0].place == 0

    def read(
        self, inputs: tuple[Any, ...], lengths: Any, mask: Any, initial_state: Any
    ) -> tuple[list[Array | None], Sequence[Any]]:
        """Return the plan's arguments, and the caller's data of which some were converted."""
        arrays = self._absent.copy()
        given = self._by_input(inputs)
        for data, value in zip(self._data, given, strict=True):
            arrays[data.place] = data.convert(value, f"input {data.name!r}")
        if lengths is not None and mask is not None:
            raise OptionError("lengths and mask: one or the other")
        if lengths is not None:
            self._set_lengths(arrays, lengths)
        if mask is not None:
            self._set_masks(arrays, mask)
        if initial_state is not None:
            self._set_states(arrays, initial_state)
        return arrays, given

    def _by_input(self, inputs: tuple[Any, ...]) -> Sequence[Any]:
        """Return the data arguments in the graph's order."""
        if len(inputs) == 1 and isinstance(inputs[0], Mapping):
            named = inputs[0]
            if set(named) != set(self.names):
                raise ShapeError(
                    f"expected the inputs {list(self.names)}, found {sorted(map(str, named))}"
                )
            return [named[name] for name in self.names]
        if len(inputs) != len(self._data):
            raise ShapeError(
                f"expected {len(self._data)} inputs {list(self.names)}, found {len(inputs)}"
            )
        return inputs

    def _named(self, option: str, given: Any) -> dict[str, tuple[DataInput, Any]]:
        """Return what an option gives for inputs, by name: one value is the first input's."""
        by_name = given if isinstance(given, Mapping) else {self._data[0].name: given}
        known = {data.name: data for data in self._data}
        foreign = [name for name in by_name if name not in known]
        if foreign:
            raise ShapeError(f"{option}: {foreign[0]!r} is none of the inputs {list(self.names)}")
        return {name: (known[name], value) for name, value in by_name.items()}

    def _set_masks(self, arrays: list[Array | None], masks: Any) -> None:
        """Put checked masks among the arguments."""
        for name, (data, value) in self._named("mask", masks).items():
            if data.batch_axis:
                raise OptionError(
                    f"mask of {name!r}: its batch is axis {data.batch_axis}, and masks are of "
                    "inputs whose batch is axis 0"
                )
            if data.mask is None:
                raise OptionError(f"mask of {name!r}: no layer of this model reads it")
            array = booleans(value, f"mask of {name!r}")
            x = arrays[data.place]
            assert x is not None
            if x.ndim < 2 or array.shape != x.shape[:2]:
                raise ShapeError(
                    f"mask of {name!r}: expected shape {x.shape[:2]}, one for each frame; found "
                    f"{array.shape}"
                )
            arrays[data.mask] = array

    def _set_lengths(self, arrays: list[Array | None], lengths: Any) -> None:
        """Put checked lengths among the arguments."""
        for name, (data, value) in self._named("lengths", lengths).items():
            if data.lengths is None:
                raise ShapeError(f"lengths: input {name!r} has no time axis")
            x = arrays[data.place]
            assert x is not None
            axis = data.batch_axis
            rows = x.shape[axis] if x.ndim > axis else 1
            time = x.shape[0 if axis else 1] if x.ndim > 1 else None
            arrays[data.lengths] = ends_of(value, rows, time, f"lengths of {name!r}")

    def _set_states(self, arrays: list[Array | None], states: Any) -> None:
        """Put initial states among the arguments."""
        if not isinstance(states, (tuple, list)) or len(states) != len(self._states):
            found = len(states) if isinstance(states, (tuple, list)) else type(states).__name__
            raise ShapeError(
                f"initial_state: expected a tuple of {len(self._states)} arrays "
                f"{list(self.states)}; "
                f"found {found}"
            )
        for (name, index), value in zip(self._states, states, strict=True):
            if value is not None:
                arrays[index] = floats(value, f"initial state {name!r}")
