"""The table of operators, and what they ask of their arguments.

An operator is a function of a `Context`, of its inputs in ONNX's order (`Traced`, `Constant`, or
None for one that is absent) and of its attributes by name, which returns what ONNX's makes: a
value, or a tuple of them. Its parameters are those of all opsets: what was an attribute before it
became an input, ``axes`` of Squeeze, is one parameter, which is called by position or by name.
Defaults are ONNX's. Attributes that it does not name are refused, for nobody knows that they do not
matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ....errors import ModelFileError
from ....formats.onnx_programs import OnnxGraph
from ...aten import arguments
from ...aten.folding import whole_array
from ...aten.operators.table import entering
from ...aten.sizes import AnySize
from ...aten.tensors import Constant, RefusedError, Traced

__all__ = [
    "OPERATORS", "Context", "NotKnownError", "aten", "ints", "number", "numbers_of", "operator",
    "shape", "sizes", "text", "vector", "weights",
]  # fmt: skip


class Context(arguments.Context, Protocol):
    """What an operator may ask of the program that it is in."""

    opset: int  # of ai.onnx

    @property
    def size_names(self) -> frozenset[str]:
        """Names of sizes that inputs have; of two that meet, a rule says that they are equal."""

    def declared(self, index: int) -> str | None:
        """Return the dtype that the file says an input of the node at hand has."""

    @property
    def made(self) -> int:
        """How many outputs the node at hand has."""

    def bound(self, size: AnySize, least: int, most: int | None = None) -> bool:
        """Let a call be refused in which a size is below or above what an operator takes it for.

        False where no rule of the inputs' sizes can say so.
        """

    def settle(self, size: AnySize, value: int) -> None:
        """Note that a size that varies can only be this one, should the program be refused."""

    def label(self) -> str:
        """Return what the exporter called the node at hand."""

    def called(self, target: str, given: dict[str, Any]) -> Any:
        """Return what an operator of ATen makes of its arguments by name."""

    def reads_alone(self, tensor: Traced) -> bool:
        """Tell whether nobody but the node at hand reads a value, or a view of it."""

    def read_branch(self, graph: OnnxGraph) -> tuple[Any, ...]:
        """Read a graph that an attribute holds, and return what it makes."""


class NotKnownError(RefusedError):
    """An input whose numbers must be known is not a constant."""

    def __init__(self, what: str, value: Any) -> None:
        super().__init__(
            f"its {what} must be known, and is no constant; what an input gives can be fixed: "
            "constants={name: array}"
        )
        self.value = value


OPERATORS: dict[str, Callable[..., Any]] = {}
operator = entering(OPERATORS)  # names of other domains have theirs: "com.microsoft.Gelu"


def aten(context: Context, name: str, **given: Any) -> Any:
    """Return what ATen's operator of that name makes of its arguments, worked out of constants."""
    return context.called(f"aten.{name}", given)


def numbers_of(array: NDArray[Any], name: str | None = None) -> Constant:
    """Return an array of a file as a constant of float32, int64 or bool.

    Raises
    ------
    ModelFileError
        It holds no numbers, or some that float32 or int64 has not.
    """
    array = np.asarray(array)
    if array.dtype.name == "bfloat16":  # of ml_dtypes, of which NumPy knows no more
        array = array.astype(np.float32)
    if array.dtype == np.uint64 and (array >> 63).any():
        raise ModelFileError(f"{name or 'a constant'!r}: whole numbers outside of int64's range")
    if array.dtype.kind in "iu":
        return Constant.of(array.astype(np.int64, copy=False), name)
    if array.dtype.kind == "b":
        return Constant.of(array, name)
    if array.dtype.kind != "f":
        raise ModelFileError(f"{name or 'a constant'!r}: numbers of dtype {array.dtype}")
    with np.errstate(over="ignore"):
        made = array.astype(np.float32, copy=False)
    if np.isinf(made).sum() != np.isinf(array).sum():
        raise ModelFileError(f"{name or 'a constant'!r}: numbers outside of float32's range")
    return Constant.of(made, name)


# ---- Arguments -----------------------------------------------------------------------------------


def weights(value: Any, what: str) -> NDArray[Any]:
    """Return the numbers of an input that must be known, whole."""
    if not isinstance(value, Constant):
        raise NotKnownError(what, value)
    if value.array.dtype == object:
        raise RefusedError(f"its {what} is a size that varies")
    return whole_array(value)


def sizes(value: Any, what: str) -> list[AnySize]:
    """Return a vector of whole numbers, some of which may be sizes that vary."""
    if isinstance(value, list):
        return value
    if not isinstance(value, Constant):
        raise NotKnownError(what, value)
    array = whole_array(value)
    if array.dtype.kind not in "iO" or array.ndim > 1:
        raise RefusedError(f"its {what} is no vector of whole numbers")
    made: list[AnySize] = array.reshape(-1).tolist()
    return made


def ints(value: Any, what: str) -> list[int]:
    """Return a vector of whole numbers that do not vary, of an attribute or of an input."""
    return [arguments.known(size, what) for size in sizes(value, what)]


def number(value: Any, what: str) -> float:
    """Return the one number of an attribute or of an input."""
    if isinstance(value, (int, float)):
        return value
    array = weights(value, what)
    if array.size != 1:
        raise RefusedError(f"its {what} is {array.size} numbers")
    made: float = array.reshape(()).item()
    return made


def text(value: Any) -> str:
    """Return an attribute that is a string."""
    if not isinstance(value, str):
        raise RefusedError(f"an attribute is {type(value).__name__} and not a string")
    return value


def shape(value: Any) -> tuple[AnySize, ...]:
    """Return ONNX's shape of a value."""
    if not isinstance(value, (Traced, Constant)):
        raise RefusedError("an input is absent")
    return value.sizes


def vector(entries: list[AnySize]) -> Constant:
    """Return whole numbers, some of which may be sizes that vary, as a constant (n,)."""
    if all(isinstance(entry, int) for entry in entries):
        return Constant.of(np.array(entries, np.int64))
    array = np.empty(len(entries), object)
    array[:] = entries
    return Constant.of(array)
