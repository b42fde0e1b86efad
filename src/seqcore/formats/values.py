"""What a pickle built, made safe to hand on: plain values, or arrays by name.

The interpreter's result may contain itself, or share one list so often that walking it would never
end. `settle` walks it once, finishes what stands for an array, and refuses such shapes. `flatten`
names the arrays of nested dicts. Nothing here reads bytes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ModelFileError
from .arrays import Budget, shorten
from .pickles import Stub

# Far above any checkpoint or vocabulary; a settled value can be walked by plain recursion.
MAX_DEPTH = 100
MAX_VALUES = 5_000_000
_MAX_NAME = 1000
# A dict entry, its string and an array's header, roughly.
_ENTRY_BYTES = 256

_SCALARS = (type(None), bool, int, float, str, bytes, bytearray)


class Pending(ABC):
    """Stands for an array or a number until the whole stream is read.

    Checks are made in `finish`, so that what a file holds beside the arrays that are wanted, inside
    an object that is dropped, cannot make it unreadable.
    """

    @abstractmethod
    def finish(self) -> Any:
        """The array or number; raises ModelFileError where the file contradicts itself."""


class Unreadable(Pending):
    """An array of a kind that is not supported; to drop it silently would lose a weight."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def finish(self) -> Any:
        raise ModelFileError(self.reason)


def refuse_stub(value: object, expected: str) -> None:
    """Raises where data was expected and `value` is, or was made by, an unknown global."""
    if isinstance(value, Stub):
        raise ModelFileError(
            f"expected {expected}, found an object of {shorten(value.name, 250)}: "
            "classes and functions named in a file are not run"
        )


Expand = Callable[[Stub], "dict[str, object] | None"]


def settle(root: object, *, keep_stubs: bool, expand: Expand | None = None) -> Any:
    """A copy of `root` of plain containers, with every Pending finished.

    Parameters
    ----------
    root : object
        From `pickles.loads`.
    keep_stubs : bool
        Whether Stubs and other inert objects stay in place, or raise.
    expand : callable, optional
        Gives the dict in whose place a Stub stands, such as that of a module's arrays, or None.

    Raises
    ------
    ModelFileError
        A container contains itself, is nested too deeply, or is shared so often that it stands for
        more than MAX_VALUES values.
    """
    return Settling(keep_stubs, expand).settle(root, 0)[0]


class Settling:
    """`settle` for several values that may share parts: what they share is finished once."""

    def __init__(self, keep_stubs: bool, expand: Expand | None = None) -> None:
        self.keep_stubs, self.expand = keep_stubs, expand
        # By identity: the result, how many values it stands for, and how deep it is. None while
        # its parts are being settled.
        self.done: dict[int, tuple[Any, int, int] | None] = {}

    def settle(self, value: Any, depth: int) -> tuple[Any, int, int]:
        kind = type(value)
        if kind in _SCALARS:
            return value, 1, 0
        if id(value) not in self.done:
            container = self.container(value)
            if container is None:
                self.check_inert(value)
                return value, 1, 0
            self.done[id(value)] = None
            self.done[id(value)] = self.settle_parts(container, depth)
        known = self.done[id(value)]
        if known is None:
            raise ModelFileError(f"a {kind.__name__} that contains itself")
        if depth + known[2] > MAX_DEPTH:
            raise ModelFileError(f"values nested more than {MAX_DEPTH} deep")
        return known

    def container(self, value: Any) -> Any:
        """What is settled in the place of a value; None for one that has no parts."""
        if type(value) in (list, tuple, dict) or isinstance(value, Pending):
            return value
        return self.expand(value) if type(value) is Stub and self.expand is not None else None

    def check_inert(self, value: Any) -> None:
        if not self.keep_stubs:
            refuse_stub(value, "plain data")
            raise ModelFileError(
                f"expected plain data, found {getattr(value, 'name', type(value).__name__)}"
            )

    def settle_parts(self, value: Any, depth: int) -> tuple[Any, int, int]:
        if isinstance(value, Pending):
            return value.finish(), 1, 0
        if depth >= MAX_DEPTH:
            raise ModelFileError(f"values nested more than {MAX_DEPTH} deep")
        parts = value.values() if isinstance(value, dict) else value
        settled = [self.settle(part, depth + 1) for part in parts]
        size = 1 + sum(part[1] for part in settled)
        if size > MAX_VALUES:
            raise ModelFileError(f"stands for more than {MAX_VALUES} values")
        results = [part[0] for part in settled]
        height = 1 + max((part[2] for part in settled), default=0)
        if isinstance(value, dict):
            return dict(zip(value, results, strict=True)), size, height
        return (tuple(results) if isinstance(value, tuple) else results), size, height


def flatten(root: Any, stem: str, budget: Budget) -> dict[str, np.ndarray]:
    """The arrays of nested dicts, named by their keys joined with '.'.

    Parameters
    ----------
    root : object
        Settled. A lone array is named `stem`.
    stem : str
    budget : Budget
        Charged for the copies: no two names share memory.

    Raises
    ------
    ModelFileError
        Two arrays get the same name, a key is neither a string nor an integer, or there is no
        array.
    """
    arrays: dict[str, np.ndarray] = {}
    seen: set[int] = set()
    barren: set[int] = set()  # dicts without arrays, which may be shared a million times

    def visit(value: Any, path: tuple[Any, ...]) -> None:
        if isinstance(value, dict) and id(value) not in barren:
            before = len(arrays)
            for key, part in value.items():
                visit(part, (*path, key))
            if len(arrays) == before:
                barren.add(id(value))
        elif isinstance(value, np.ndarray):
            name = _name(path) if path else stem
            if name in arrays:
                raise ModelFileError(f"two arrays are named {shorten(name)}")
            budget.charge(_ENTRY_BYTES + len(name), "the arrays' names")
            if id(value) in seen:
                budget.charge(value.nbytes, f"array {shorten(name)}")
                value = value.copy()
            seen.add(id(value))
            arrays[name] = value

    visit(root, ())
    if not arrays:
        refuse_stub(root, "arrays by name")
        found = sorted({stub.name for stub in _stubs(root)})[:5]
        hint = f"; objects of {', '.join(found)} are not run" if found else ""
        raise ModelFileError(f"holds no arrays in dicts{hint}")
    return arrays


def _name(path: tuple[Any, ...]) -> str:
    for key in path:
        if type(key) not in (str, int):
            raise ModelFileError(f"an array's key is {shorten(key)}, expected a string")
    if sum(len(key) for key in path if isinstance(key, str)) > _MAX_NAME:
        raise ModelFileError(f"an array's name is longer than {_MAX_NAME} characters")
    return ".".join(map(str, path))


def _stubs(root: Any) -> list[Stub]:
    found, seen, rest = [], set(), [root]
    while rest:
        value = rest.pop()
        if isinstance(value, Stub):
            found.append(value)
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            rest.extend(value.values() if isinstance(value, dict) else value)
    return found
