"""Reads .npy and .npz.

    .npy   "\\x93NUMPY" major minor, header length (u16, from version 2 on u32), header, elements
    .npz   a zip archive of .npy members

The header is the text of a Python dict with three known keys; it is matched, never evaluated.
Object arrays are refused: they hold a pickle. Text and dates are no weights and are left out.
"""

from __future__ import annotations

import re

import numpy as np

from ..errors import ModelFileError
from .arrays import Budget, array_from, parse_dtype, shorten
from .zips import Archive

NPY_MAGIC = b"\x93NUMPY"

_MAX_HEADER = 1 << 16
_ENTRY = re.compile(
    r"\s*'(?:(descr)'\s*:\s*'([^']{1,20})'"
    r"|(fortran_order)'\s*:\s*(True|False)"
    r"|(shape)'\s*:\s*\(((?:\s*[0-9]{1,19}L?\s*,)*(?:\s*[0-9]{1,19}L?)?)\s*\))\s*(,|$)"
)
# Kinds of dtype that NumPy writes and that are no numbers: bytes, text, dates, time spans.
_NO_TENSOR = re.compile(r"[<>=|]?[SUMma][0-9]*(\[.{0,12}\])?")


def read_npz(archive: Archive, budget: Budget) -> dict[str, np.ndarray]:
    """Every numeric array of an .npz archive, by its name without ``.npy``."""
    arrays = {}
    for member in archive.names:
        if not member.endswith(".npy"):
            raise ModelFileError(f"zip member {member!r} is no .npy, as in an .npz")
        array = parse_npy(archive.read(member), f"array {member[:-4]!r}", budget)
        if array is not None:
            arrays[member[:-4]] = array
    return arrays


def parse_npy(data: bytes, what: str, budget: Budget) -> np.ndarray | None:
    """The array of one .npy, or None where it holds text or dates.

    Raises
    ------
    ModelFileError
        The header is not one, the elements are objects or records, or there are more or fewer
        bytes than the shape needs.
    """
    descr, fortran, shape, body = _opened(data, what)
    if _NO_TENSOR.fullmatch(descr):
        return None
    return array_from(body, parse_dtype(descr, what), shape, what, budget, fortran=fortran)


def npy_pickle(data: bytes, what: str) -> bytes:
    """The pickle that stands for the elements of one .npy of a single object; it is not read.

    Raises
    ------
    ModelFileError
        The header is not one, or is not that of a lone object.
    """
    descr, _, shape, body = _opened(data, what)
    if descr != "|O" or shape != ():
        raise ModelFileError(f"{what}: expected one object, found {descr!r} of shape {shape}")
    return bytes(body)


def _opened(data: bytes, what: str) -> tuple[str, bool, tuple[int, ...], memoryview]:
    """The code of the dtype, whether in Fortran order, shape, and elements of one .npy."""
    if data[:6] != NPY_MAGIC or len(data) < 10:
        raise ModelFileError(f"{what}: not a .npy, or truncated in its first bytes")
    version = data[6], data[7]
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ModelFileError(f"{what}: .npy version {version}, known are (1, 0) to (3, 0)")
    start = 10 if version == (1, 0) else 12
    length = int.from_bytes(data[8:start], "little")
    if length > _MAX_HEADER:
        raise ModelFileError(f"{what}: .npy header of {length} bytes, at most {_MAX_HEADER}")
    if start + length > len(data):
        raise ModelFileError(f"{what}: truncated within the .npy header")
    header = _parse_header(data[start : start + length], what)
    return *header, memoryview(data)[start + length :]


def _parse_header(header: bytes, what: str) -> tuple[str, bool, tuple[int, ...]]:
    text = header.decode("latin-1").strip()
    if not (text.startswith("{") and text.endswith("}")):
        raise ModelFileError(f"{what}: .npy header {shorten(text)} is not a dict")
    text = text[1:-1].rstrip()
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        entry = _ENTRY.match(text, position)
        if entry is None or len(found) == 3:
            raise ModelFileError(
                f"{what}: .npy header {shorten(text)}; expected descr (of one number), "
                "fortran_order and shape"
            )
        key = entry[1] or entry[3] or entry[5]
        found[key] = (entry[2] or "") + (entry[4] or "") + (entry[6] or "")
        position = entry.end()
    if len(found) != 3:
        raise ModelFileError(f"{what}: .npy header lacks descr, fortran_order or shape")
    sizes = [size.strip().rstrip("L") for size in found["shape"].split(",")]
    shape = tuple(int(size) for size in sizes if size)
    return found["descr"], found["fortran_order"] == "True", shape
