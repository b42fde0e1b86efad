"""Opens a file that is not trusted, and puts its name before what the readers have to say.

The readers beside this file get bytes or an open file and know no paths. A folder, a pipe and a
device are refused here; what a file's content means is not known here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from ..errors import ModelFileError, OptionError
from .arrays import Budget
from .tensorflow_files import foreign_kind

__all__ = ["WRAPPED", "budget_of", "reading", "whole"]

# How files begin that hold another one, or stand for it.
WRAPPED = (
    (b"\x1f\x8b", "compressed by gzip; unpack it first"),
    (b"BZh", "compressed by bzip2; unpack it first"),
    (b"\xfd7zXZ", "compressed by xz; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd; unpack it first"),
    (b"version https://git-lfs", "a Git LFS pointer; the file itself was not fetched"),
)

# Weights hardly compress: a file that unpacks to far more than its size is a bomb, or pruned.
_FLOOR_BYTES = 256 << 20
_RATIO = 16


def budget_of(size: int, max_bytes: int | None, floor: int = _FLOOR_BYTES) -> Budget:
    """How many bytes a file of `size` may unpack to: `max_bytes`, or a multiple of its size."""
    if max_bytes is None:
        return Budget(floor + _RATIO * size)
    if type(max_bytes) is not int or max_bytes < 1:
        raise OptionError(f"max_bytes: expected a positive integer, found {max_bytes!r}")
    return Budget(max_bytes, fixed=True)


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, int]]:
    """Opens a regular file and puts its name before the message of every ModelFileError."""
    name = os.fsdecode(path)
    try:
        if os.path.isdir(path) or not os.path.exists(path):
            kind = foreign_kind(path)
            if kind is not None:
                raise ModelFileError(kind)
        # Without O_NONBLOCK, opening a pipe would wait for a writer.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ModelFileError("this is not a regular file")
            yield file, status.st_size
    except ModelFileError as error:
        raise ModelFileError(f"{name}: {error}") from error


def whole(file: BinaryIO, size: int, budget: Budget) -> bytes:
    """The bytes of an open file, charged to the budget."""
    budget.charge(size, "the file")
    file.seek(0)
    return file.read(size)
