"""Tensors whose numbers lie in files beside an ONNX model: read only if asked, only from there.

A tensor names its file by `location`, a path relative to the model's folder, with `offset` and
`length` in bytes and perhaps a SHA-1 of the whole file. Numbers are read, not mapped: who changes
the file afterwards changes no weight.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any

from ..errors import ModelFileError
from .arrays import Budget, shorten
from .onnx_tensors import text_of
from .opening import reading

__all__ = ["ExternalFiles"]

MAX_FILES = 4096
_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)
_CHUNK = 1 << 20
# 2 bytes of bfloat16 are read, copied and become 4; 1 of int4 becomes 2, and 2 again.
_RATIO = 8
_PARTS = ("location", "offset", "length", "checksum")  # others are notes of whoever wrote it


class ExternalFiles:
    """Reads what tensors have in other files; to be called as onnx_tensors.External.

    Parameters
    ----------
    folder : str, optional
        Where the model's file lies; None where it has no place, in memory.
    allowed : bool
        Whether other files are read at all.
    budget : Budget
        Charged with each tensor; a file that is read adds to it.
    """

    def __init__(self, folder: str | None, allowed: bool, budget: Budget) -> None:
        self.folder, self.allowed, self.budget = folder, allowed, budget
        self.checked: dict[str, str | None] = {}  # by location: the SHA-1, once it was asked for

    def __call__(self, tensor: Any, size: int, what: str) -> bytes:
        """The `size` bytes of a tensor.

        Raises
        ------
        ModelFileError
            Files are not allowed, or the place is not one in a file beside the model.
        """
        parts = self.parts(tensor, what)
        location = parts.get("location", "")
        if not self.allowed:
            raise ModelFileError(
                f"{what}: its numbers lie in another file, {shorten(location)}; if that is trusted "
                "and lies beside the model, pass external_data=True"
            )
        if self.folder is None:
            raise ModelFileError(
                f"{what}: its numbers lie in another file, {shorten(location)}, and a model that "
                "is not read from a path has none beside it"
            )
        path = self.path(self.folder, location, what)
        offset = _number(parts.get("offset", "0"), f"{what}: offset")
        try:
            with reading(path) as (file, there):
                self.check_file(location, file, there, parts.get("checksum"))
                length = _number(parts["length"], "length") if "length" in parts else there - offset
                if length != size:
                    raise ModelFileError(f"its shape takes {size} bytes, its length is {length}")
                if offset + length > there:
                    raise ModelFileError(
                        f"ends at byte {offset + length} of a file of {there} bytes"
                    )
                self.budget.charge(size, what)
                file.seek(offset)
                data = file.read(size)
        except (ModelFileError, OSError) as error:
            raise ModelFileError(f"{what}: {error}") from error
        if len(data) != size:
            raise ModelFileError(f"{what}: {shorten(location)} became shorter while it was read")
        return data

    def parts(self, tensor: Any, what: str) -> dict[str, str]:
        parts: dict[str, str] = {}
        for entry in tensor.external_data:
            key = text_of(entry.key, f"{what}: external_data")
            if key in parts:
                raise ModelFileError(f"{what}: external_data gives {shorten(key)} twice")
            if key in _PARTS:
                parts[key] = text_of(entry.value, f"{what}: {key}")
        return parts

    def path(self, folder: str, location: str, what: str) -> str:
        """The path of a file in the folder or below it, links followed."""
        steps = location.split("/")
        # On every system alike: what is a path on one of them is none on any.
        if any(step in ("", ".", "..") for step in steps) or any(c in location for c in "\\:\0"):
            raise ModelFileError(
                f"{what}: location {shorten(location)} is not the path of a file beside the model"
            )
        path = os.path.join(folder, *steps)
        if not os.path.lexists(path):
            raise ModelFileError(f"{what}: the file {shorten(location)} is missing")
        root, real = os.path.realpath(folder), os.path.realpath(path)
        if os.path.commonpath((root, real)) != root:
            raise ModelFileError(
                f"{what}: location {shorten(location)} is a link out of the model's folder"
            )
        return path

    def check_file(self, location: str, file: Any, size: int, checksum: str | None) -> None:
        """Note a file when it is first read, and compare its checksum wherever one is given."""
        if location not in self.checked:
            if len(self.checked) >= MAX_FILES:
                raise ModelFileError(f"more than {MAX_FILES} files beside the model")
            self.checked[location] = None
            self.budget.allow(_RATIO * size)
        if checksum is None:
            return
        found = self.checked[location]
        if found is None:
            digest = hashlib.sha1(usedforsecurity=False)
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
            found = self.checked[location] = digest.hexdigest()
        if found != checksum.lower():
            raise ModelFileError(f"its SHA-1 is {found}, the model expects {shorten(checksum)}")


def _number(text: str, what: str) -> int:
    if _NUMBER.fullmatch(text) is None:
        raise ModelFileError(f"{what} is {shorten(text)}, expected a number of bytes")
    return int(text)
