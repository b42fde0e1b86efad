"""The index of weights that lie in several files: which file holds which tensor.

    {"metadata": {...}, "weight_map": {"encoder.weight": "model-00001-of-00002.safetensors", ...}}

Written beside the files, for safetensors and torch alike. What a file holds is not known here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import ModelFileError
from .arrays import shorten

__all__ = ["ShardIndex", "looks_like_index", "parse_index", "shard_path"]

_MAX_INDEX = 64 << 20
_MAX_SHARDS = 4096

ShardIndex = dict[str, list[str]]  # the tensors of each file


def looks_like_index(head: bytes) -> bool:
    """Whether a file could be JSON; the length with which safetensors begin has zeros."""
    return head.lstrip()[:1] == b"{" and b"\0" not in head


def parse_index(file: BinaryIO, size: int) -> ShardIndex | None:
    """The tensors of each file that an index names; None if this is no index of such files.

    Raises
    ------
    ModelFileError
        It is too large, a tensor is named twice, or a file is not one beside the index.
    """
    if size > _MAX_INDEX:
        return None
    file.seek(0)
    try:
        index = json.loads(file.read(size), object_pairs_hook=_unique)
    except ModelFileError:
        raise
    except (ValueError, RecursionError):  # no JSON, or not of this kind
        return None
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(n, str) for n in places.values()):
        return None
    shards: ShardIndex = {}
    for tensor, name in places.items():
        # On every system alike: what is a path on one of them is none on any.
        if not name or name in (".", "..") or any(c in name for c in "/\\:\0"):
            raise ModelFileError(f"shard {shorten(name)} is not the name of a file beside this one")
        shards.setdefault(name, []).append(tensor)
    if not shards:
        raise ModelFileError("this index of shards names no tensor")
    if len(shards) > _MAX_SHARDS:
        raise ModelFileError(f"{len(shards)} shards, at most {_MAX_SHARDS}")
    return shards


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ModelFileError("this JSON gives a name twice")
    return found


def shard_path(folder: Path, name: str) -> Path:
    """The path of a file of an index, which must lie in the index's folder, links followed."""
    path = folder / name
    if not path.exists():
        raise ModelFileError(f"shard {shorten(name)} is missing")
    if os.path.dirname(os.path.realpath(path)) != os.path.realpath(folder):
        raise ModelFileError(f"shard {shorten(name)} is a link to another folder")
    return path
