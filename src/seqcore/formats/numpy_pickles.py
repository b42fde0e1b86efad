"""The constructors of NumPy's pickles, and those of the standard library's containers.

NumPy writes an array as a call of `_reconstruct` whose state is set afterwards (protocols 2 to 4),
or as one call of `_frombuffer` (protocol 5). Both are read as (bytes, dtype, shape, order).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ModelFileError
from .arrays import Budget, array_from, parse_dtype, shorten
from .pickles import Constructor, Limits, Stub, loads
from .values import Pending, Unreadable, refuse_stub


class Inert:
    """A known class used as a value: `numpy.ndarray`, a dtype, a kind of storage."""

    def __init__(self, name: str) -> None:
        self.name = name


NDARRAY = Inert("numpy.ndarray")


class PendingDtype:
    """`numpy.dtype(code, align, copy)`; its state carries the byte order."""

    name = "numpy.dtype"

    def __init__(self, code: object, *_: object) -> None:
        self.code = code
        self.order: object = "="
        self.plain = True

    def build(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 5:
            raise ModelFileError(f"numpy.dtype: state {shorten(state)} is not one")
        self.order = state[1]
        # Subdtype, field names, fields: an array of records or of arrays.
        self.plain = all(part is None for part in state[2:5])

    def dtype(self, what: str) -> np.dtype:
        if not self.plain or not isinstance(self.code, str):
            raise ModelFileError(f"{what}: records are not supported")
        if not isinstance(self.order, str) or self.order not in ("<", ">", "=", "|"):
            raise ModelFileError(f"{what}: byte order {shorten(self.order)}")
        return parse_dtype(self.order + self.code.lstrip("<>=|"), what)


class PendingArray(Pending):
    """An ndarray; `content` is (shape, dtype, fortran, data) once its state is known."""

    def __init__(self, budget: Budget, content: tuple[Any, ...] | None = None) -> None:
        self.budget, self.content = budget, content

    def build(self, state: object) -> None:
        if self.content is not None or not isinstance(state, tuple) or len(state) != 5:
            raise ModelFileError("numpy.ndarray: its state is set twice, or is no state")
        self.content = state[1:]

    def finish(self) -> Any:
        if self.content is None:
            raise ModelFileError("numpy.ndarray: its state is missing")
        shape, dtype, fortran, data = self.content
        for part in self.content:
            refuse_stub(part, "a part of a NumPy array")
        what = f"array of shape {shorten(shape)}"
        if not isinstance(dtype, PendingDtype) or type(fortran) is not bool:
            raise ModelFileError(f"{what}: its dtype or order is not one")
        resolved = dtype.dtype(what)  # first, so that an object array is called that
        if isinstance(data, str):  # a str of Python 2 that happened to be ASCII
            data = data.encode("latin-1", "replace")
        if not isinstance(data, (bytes, bytearray)):
            raise ModelFileError(f"{what}: its data is a {type(data).__name__}, expected bytes")
        return array_from(data, resolved, shape, what, self.budget, fortran=fortran)


class PendingScalar(PendingArray):
    """A NumPy scalar, which becomes a Python number."""

    def finish(self) -> Any:
        return super().finish().item()


def _encode(text: object, encoding: object = "utf-8") -> bytes:
    """`_codecs.encode`, by which protocol 2 spells bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ModelFileError(f"_codecs.encode of {shorten(text)} as {shorten(encoding)}")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise ModelFileError(f"_codecs.encode: {error.reason}") from error


def _ordered_dict(pairs: object = ()) -> dict[str, Any]:
    result = {}
    for pair in pairs if isinstance(pairs, (list, tuple)) else [pairs]:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not isinstance(pair[0], str):
            raise ModelFileError(f"OrderedDict of {type(pair).__name__}, expected pairs")
        result[pair[0]] = pair[1]
    return result


def _counter(counts: object = None) -> object:
    if counts is not None and type(counts) is not dict:
        raise ModelFileError("collections.Counter: expected a dict")
    return {} if counts is None else counts


def _set(values: object = ()) -> object:
    """A set becomes a list, as where it has an opcode of its own."""
    if not isinstance(values, (list, tuple)):
        raise ModelFileError(f"a set of {type(values).__name__}, expected a list")
    return values


def constructors(budget: Budget) -> dict[tuple[str, str], object]:
    """The table for `find_global`: NumPy's arrays, dtypes and scalars, and dict's relatives."""

    def reconstruct(kind: object, shape: object, code: object) -> object:
        if isinstance(kind, Stub):  # a subclass of ndarray: dropped, or refused by name, as such
            return Stub(kind.name, (shape, code))
        if kind is not NDARRAY:
            raise ModelFileError(f"_reconstruct of {type(kind).__name__}, expected numpy.ndarray")
        return PendingArray(budget)

    def from_buffer(data: object, dtype: object, shape: object, order: object) -> object:
        if order not in ("C", "F"):
            raise ModelFileError(f"numpy array of order {shorten(order)}, expected 'C' or 'F'")
        return PendingArray(budget, (shape, dtype, order == "F", data))

    def scalar(dtype: object, data: object) -> object:
        return PendingScalar(budget, ((), dtype, False, data))

    table: dict[tuple[str, str], object] = {
        ("numpy", "ndarray"): NDARRAY,
        ("numpy", "dtype"): Constructor("numpy.dtype", PendingDtype, 1, 3),
        ("_codecs", "encode"): Constructor("_codecs.encode", _encode, 1, 2),
        # Protocol 2 spells b"" so.
        ("__builtin__", "bytes"): Constructor("bytes", bytes, 0, 0),
        ("collections", "OrderedDict"): Constructor("OrderedDict", _ordered_dict, 0, 1),
        ("collections", "defaultdict"): Constructor("defaultdict", lambda *_: {}, 0, 1),
        ("collections", "Counter"): Constructor("Counter", _counter, 0, 1),
    }
    for builtins in ("__builtin__", "builtins"):  # protocol 2, and those of Python 3
        for name in ("set", "frozenset"):
            table[builtins, name] = Constructor(name, _set, 0, 1)
    for core in ("numpy.core", "numpy._core"):  # before and since NumPy 2
        table[core + ".multiarray", "_reconstruct"] = Constructor("_reconstruct", reconstruct, 3, 3)
        table[core + ".multiarray", "scalar"] = Constructor("scalar", scalar, 2, 2)
        table[core + ".numeric", "_frombuffer"] = Constructor("_frombuffer", from_buffer, 4, 4)
    return table


def find_in(table: dict[tuple[str, str], object], module: str, name: str) -> object | None:
    """`find_global` over a table; torch's ways to make a tensor that are not in it are refused."""
    found = table.get((module, name))
    if found is None and module.partition(".")[0] == "torch" and name.startswith("_rebuild"):
        reason = f"a tensor made by {module}.{name} is not supported"
        return Constructor(name, lambda *_: Unreadable(reason), 0, 1 << 20)
    return found


def load_pickle(data: bytes, budget: Budget) -> object:
    """The object of a pickle of plain data and NumPy arrays; not settled."""
    table = constructors(budget)
    return loads(
        data,
        find_global=lambda module, name: find_in(table, module, name),
        limits=Limits(total_bytes=budget.total),
    )


def load_object_array(data: bytes, what: str, budget: Budget) -> object:
    """The one element, not settled, of a pickled object array: np.savez writes a dict so.

    Raises
    ------
    ModelFileError
        It is anything else.
    """
    array = load_pickle(data, budget)
    content = array.content if isinstance(array, PendingArray) else None
    if content is not None:
        shape, dtype, _, elements = content
        lone = isinstance(elements, list) and len(elements) == 1 and shape == ()
        if lone and isinstance(dtype, PendingDtype) and dtype.code in ("O8", "O"):
            element: object = elements[0]
            return element
    raise ModelFileError(f"{what}: expected the pickle of one object in an array")
