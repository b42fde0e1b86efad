"""Reads what torch.save writes since torch 1.6: a zip archive of one pickle and raw storages.

    <root>/data.pkl     the pickle; a storage stands in it as a persistent id
    <root>/data/<key>   the bytes of one storage
    <root>/byteorder    "little" or "big"; absent before torch 2.1, when it was little

TorchScript keeps its tensors in the same way; what its objects are is in torch_script.
"""

from __future__ import annotations

from ..errors import ModelFileError
from .arrays import Budget, shorten
from .pickles import Limits, loads
from .torch_tensors import Storage, Tensors
from .zips import Archive

__all__ = ["Member", "archive_tensors", "load_torch", "torch_root"]


class Member(Storage):
    """One member of raw bytes, read when a tensor needs it, then kept."""

    def __init__(self, archive: Archive, member: str, nbytes: int) -> None:
        self._archive, self._member, self.nbytes = archive, member, nbytes
        self._data: bytes | None = None

    def read(self) -> bytes:
        if self._data is None:
            stored = self._archive.size(self._member)
            if stored != self.nbytes:
                raise ModelFileError(
                    f"storage {self._member!r}: {self.nbytes} bytes expected, {stored} stored"
                )
            self._data = self._archive.read(self._member)
        return self._data


def torch_root(archive: Archive) -> str | None:
    """The one folder of an archive of torch, which holds data.pkl; None if it is none."""
    roots = {name.split("/")[0] for name in archive.names if "/" in name}
    if len(roots) != 1:
        return None
    (root,) = roots
    return root if f"{root}/data.pkl" in archive else None


def _order(archive: Archive, root: str) -> str:
    member = f"{root}/byteorder"
    text = b"little" if member not in archive else archive.read(member)
    if text not in (b"little", b"big"):
        raise ModelFileError(f"{member}: {shorten(text)}, expected little or big")
    return "<" if text == b"little" else ">"


def archive_tensors(archive: Archive, root: str, budget: Budget) -> Tensors:
    """The constructors of tensors whose storages are members below `root`."""
    return Tensors(
        _order(archive, root),
        budget,
        lambda name, nbytes: Member(archive, f"{root}/data/{name}", nbytes),
    )


def load_torch(archive: Archive, root: str, budget: Budget) -> object:
    """The object of a torch archive, with a Pending for each tensor; not settled.

    Parameters
    ----------
    archive : Archive
    root : str
        The folder that holds data.pkl.
    budget : Budget
        Charged for the pickle, for storages when they are read, and for the arrays.

    Raises
    ------
    ModelFileError
        The archive contradicts itself or uses what is not supported.
    """
    tensors = archive_tensors(archive, root, budget)

    def persistent_load(key: object) -> object:
        if not isinstance(key, tuple) or len(key) != 5 or key[0] != "storage":
            raise ModelFileError(f"persistent id of type {type(key).__name__} names no storage")
        return tensors.storage(*key[1:])

    return loads(
        archive.read(f"{root}/data.pkl"),
        find_global=tensors.find_global,
        persistent_load=persistent_load,
        limits=Limits(total_bytes=budget.total),
    )
