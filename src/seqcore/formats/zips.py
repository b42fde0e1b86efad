"""Reads members of a zip archive by name, into memory. Shared by .npz and torch archives.

Nothing is ever extracted to a disk. Whatever can make two readers see different files (duplicate or
odd names, overlapping members, sizes that disagree) is refused before the first member is read, and
no member is unpacked past its declared size, which is charged to the budget beforehand.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from typing import BinaryIO

from ..errors import ModelFileError
from .arrays import Budget

MAGIC = b"PK\x03\x04"

_MAX_MEMBERS = 1 << 17
# General purpose flags: 0 encrypted, 5 patch data, 6 strong encryption, 13 masked headers.
_UNREADABLE_FLAGS = 0x1 | 0x20 | 0x40 | 0x2000
_LOCAL_HEADER_SIZE = 30

# What zipfile is known to raise over a damaged archive, besides its own BadZipFile.
_DAMAGE = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    OverflowError,
    ValueError,
    struct.error,
    zlib.error,
)


class Archive:
    """The members of a zip archive.

    Parameters
    ----------
    file : binary file
        Open and seekable; it must stay open.
    budget : Budget
        Charged with the size of every member that is read.

    Raises
    ------
    ModelFileError
        The archive is damaged, or one of its members could not be trusted.
    """

    def __init__(self, file: BinaryIO, budget: Budget) -> None:
        self._budget = budget
        try:
            self._zip = zipfile.ZipFile(file)
        except _DAMAGE as error:
            raise ModelFileError(f"not a readable zip archive: {error}") from error
        infos = self._zip.infolist()
        if len(infos) > _MAX_MEMBERS:
            raise ModelFileError(f"zip archive of {len(infos)} members, at most {_MAX_MEMBERS}")
        self._members: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            _check_member(info)
            if info.filename in self._members:
                raise ModelFileError(f"zip member {info.filename!r} occurs twice")
            self._members[info.filename] = info
        _check_overlap(infos)

    @property
    def names(self) -> list[str]:
        """Names of all members but folders, in the order of the archive's directory."""
        return [name for name in self._members if not name.endswith("/")]

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def size(self, name: str) -> int:
        """Unpacked size in bytes that the archive declares for a member."""
        if name not in self._members:
            raise ModelFileError(f"zip member {name!r} is missing")
        return self._members[name].file_size

    def read(self, name: str) -> bytes:
        """One member, whole; its length is the declared size and its checksum is right."""
        size = self.size(name)
        self._budget.charge(size, f"zip member {name!r}")
        try:
            with self._zip.open(self._members[name]) as member:
                # One byte more, so that the end is reached and the checksum is compared.
                data = member.read(size + 1)
        except _DAMAGE as error:
            raise ModelFileError(f"zip member {name!r} is damaged: {error}") from error
        if len(data) != size:
            raise ModelFileError(f"zip member {name!r}: {size} bytes declared, {len(data)} found")
        return data


def _check_member(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    shown = repr(name[:200])
    # A drive is "C:/..."; "kernel:0" is a name that TensorFlow gives.
    absolute = name.startswith("/") or name[1:3] == ":/"
    if not name or absolute or "\0" in name or "\\" in name or ".." in name.split("/"):
        raise ModelFileError(f"zip member {shown}: the name is not a plain relative path")
    if info.flag_bits & _UNREADABLE_FLAGS:
        raise ModelFileError(f"zip member {shown} is encrypted or a patch")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ModelFileError(
            f"zip member {shown}: compression method {info.compress_type}, "
            "expected stored (0) or deflated (8)"
        )
    if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        raise ModelFileError(
            f"zip member {shown} is stored, yet takes {info.compress_size} bytes for "
            f"{info.file_size}"
        )


def _check_overlap(infos: list[zipfile.ZipInfo]) -> None:
    """Refuses members that share bytes: the way to make gigabytes of one small block.

    So are bytes before the first one: an archive in a truncated archive is not what was written.
    """
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if end == 0 and info.header_offset > 0:
            raise ModelFileError(f"zip archive with {info.header_offset} bytes before its members")
        if info.header_offset < end:
            raise ModelFileError(f"zip member {info.filename[:200]!r} overlaps another")
        # The extra field of the local header is not known here: a lower bound is enough.
        end = info.header_offset + _LOCAL_HEADER_SIZE + info.compress_size
