"""From bytes to arrays: dtypes, shapes and the memory that a file may claim.

Every reader of this package makes its arrays here, so that each check exists once. The results are
C-contiguous, native-endian, writable, and own their memory. Nothing here knows a file format.
"""

from __future__ import annotations

import math
import re

import numpy as np

from ..errors import ModelFileError

# NumPy 1 has 32, NumPy 2 has 64; no weight has more than a handful.
MAX_RANK = 32
# Products of sizes stay exact in Py_ssize_t, with room for offsets.
_MAX_BYTES = 1 << 62

_DTYPE = re.compile(r"([<>=|]?)(b1|\?|[iu][1248]|f[248]|c8|c16)")


class Budget:
    """How many bytes one file may still unpack to.

    Parameters
    ----------
    total : int
        Bytes, for everything together: members, strings and arrays.
    fixed : bool
        Whether it is the caller's word, which other files that belong to this one do not raise.
    """

    def __init__(self, total: int, *, fixed: bool = False) -> None:
        self.total = total
        self.left = total
        self.fixed = fixed

    def charge(self, count: int, what: str) -> None:
        """Takes `count` bytes for `what`, or raises ModelFileError before they are allocated."""
        if count > self.left:
            raise ModelFileError(
                f"{what} needs {count} bytes; with what was read before, the file would unpack to "
                f"more than {self.total} bytes. If it is trusted, pass a larger max_bytes"
            )
        self.left -= count

    def allow(self, count: int) -> None:
        """Adds `count` bytes, for another file that belongs to this one."""
        if not self.fixed:
            self.total += count
            self.left += count


def shorten(value: object, length: int = 80) -> str:
    """A value out of a file, for a message. Only flat values are shown, so that it always ends."""
    if isinstance(value, (str, bytes)):
        return repr(value) if len(value) <= length else repr(value[:length]) + "..."
    if isinstance(value, tuple) and all(type(part) is int for part in value):
        text = repr(value[:8])
        return text if len(text) <= 4 * length else "a tuple of very large numbers"
    if isinstance(value, (int, float, type(None))):
        text = repr(value)
        return text if len(text) <= length else "a very large number"
    return f"a {type(value).__name__}"


def parse_dtype(text: object, what: str) -> np.dtype:
    """The dtype named by NumPy's short code, such as ``<f4``; numbers and booleans only."""
    match = _DTYPE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        if isinstance(text, str) and text.lstrip("<>=|").startswith("O"):
            raise ModelFileError(f"{what}: an object array holds a pickle instead of numbers")
        raise ModelFileError(f"{what}: dtype {shorten(text)} is not a number or a boolean")
    return np.dtype(match[0])


def count_of(shape: object, itemsize: int, what: str) -> int:
    """Number of elements of a shape that came out of a file.

    Raises
    ------
    ModelFileError
        The shape is no tuple of sizes, has too many axes, or the product of its sizes, an axis of
        length 0 counted as 1, overflows.
    """
    if not isinstance(shape, tuple) or any(type(n) is not int or n < 0 for n in shape):
        raise ModelFileError(f"{what}: shape {shorten(shape)} is not a tuple of sizes")
    if len(shape) > MAX_RANK:
        raise ModelFileError(f"{what}: {len(shape)} axes, at most {MAX_RANK}")
    if math.prod(max(n, 1) for n in shape) * itemsize > _MAX_BYTES:
        raise ModelFileError(f"{what}: shape {shorten(shape)} overflows")
    return math.prod(shape)


def array_from(
    raw: bytes | bytearray | memoryview,
    dtype: np.dtype,
    shape: object,
    what: str,
    budget: Budget,
    *,
    fortran: bool = False,
) -> np.ndarray:
    """An array of exactly these bytes.

    Parameters
    ----------
    raw : bytes-like
        All elements, in C order or, with `fortran`, in Fortran order.
    dtype : np.dtype
        Of the bytes, in their byte order.
    shape : object
        As found in the file; checked.
    what : str
        Names the array in messages.
    budget : Budget
        Charged with the size of the result.

    Raises
    ------
    ModelFileError
        The shape is not one, the number of bytes differs from it, or a boolean is neither 0 nor 1.
    """
    expected = count_of(shape, dtype.itemsize, what) * dtype.itemsize
    if len(raw) != expected:
        raise ModelFileError(
            f"{what}: shape {shorten(shape)} of {dtype.name} takes {expected} bytes, "
            f"found {len(raw)}"
        )
    budget.charge(expected, what)
    flat: np.ndarray = np.ndarray((expected // dtype.itemsize,), dtype, buffer=raw)
    return own(flat.reshape(shape, order="F" if fortran else "C"), what)  # type: ignore[call-overload]


def own(view: np.ndarray, what: str) -> np.ndarray:
    """A C-contiguous, native-endian, writable copy."""
    if view.dtype == np.bool_ and view.size and view.view(np.uint8).max() > 1:
        raise ModelFileError(f"{what}: a boolean is neither 0 nor 1")
    return np.array(view, dtype=view.dtype.newbyteorder("="), order="C", copy=True)


def widen_bfloat16(bits: np.ndarray) -> np.ndarray:
    """float32 from the uint16 patterns of bfloat16: its upper half, so the value is exact."""
    result = np.empty(bits.shape, np.float32)
    pattern = result.view(np.uint32)
    pattern[...] = bits
    pattern <<= 16
    return result
