"""``.keras`` archives, and the files that hold a Keras model's weights alone.

    metadata.json                            keras_version
    config.json                              the model, as nested configs
    model.weights.h5 or model.weights.npz    the weights, as a tree (keras_trees.py)

Members are read by name into memory, and nothing else in an archive is looked at. Which layer a
weight belongs to is not known here.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import ModelFileError
from .arrays import Budget, shorten
from .hdf5 import Array, H5Reader, LayerWeights, opened, opened_bytes, parse_config
from .keras_trees import WeightTree, h5_tree, is_npz, npz_paths, npz_tree
from .opening import budget_of, reading, whole
from .zips import MAGIC as ZIP_MAGIC
from .zips import Archive

__all__ = [
    "KerasArchive",
    "KerasWeights",
    "archive_arrays",
    "is_keras_archive",
    "read_keras_archive",
    "read_keras_weights",
]

Found = TypeVar("Found")

CONFIG, METADATA = "config.json", "metadata.json"
WEIGHTS_H5, WEIGHTS_NPZ = "model.weights.h5", "model.weights.npz"
_WEIGHTS = (WEIGHTS_H5, WEIGHTS_NPZ)

_MAX_CONFIG = 4 << 20  # bytes, as of a model_config in HDF5
_MAX_METADATA = 1 << 16
# Keras stores members as they are, so even a deflated archive unpacks to little more.
_FLOOR_BYTES = 4 << 20


@dataclass(frozen=True)
class KerasArchive:
    """A ``.keras`` archive, before anything in it is understood.

    Attributes
    ----------
    source : str
        The file, for messages.
    version : str or None
        Keras's, such as "3.15.1" or "2.15.0"; None when the file does not say.
    config : dict
        ``config.json``, parsed.
    weights : WeightTree
    """

    source: str
    version: str | None
    config: dict[str, Any]
    weights: WeightTree


@dataclass(frozen=True)
class KerasWeights:
    """The weights of a Keras model that came without the model, or of which only they are wanted.

    Attributes
    ----------
    source : str
        The file, for messages.
    version : str or None
        Keras's; ``.weights.h5`` does not say.
    weights : WeightTree or LayerWeights
        A tree (``.keras``, ``.weights.h5``, ``model.weights.npz``), or lists by layer (legacy
        ``.h5``, whole models too).
    """

    source: str
    version: str | None
    weights: WeightTree | LayerWeights


def read_keras_archive(
    path: str | os.PathLike[str], *, max_bytes: int | None = None
) -> KerasArchive:
    """Read a model that Keras 2 or 3 saved with ``model.save("x.keras")``.

    Parameters
    ----------
    path : path-like
    max_bytes : int, optional
        The most bytes that the file may unpack to, all that is read on the way included. Default:
        4 MiB and 16 times its size.

    Returns
    -------
    KerasArchive
        The optimizer's state, metrics and assets are not read.

    Raises
    ------
    ModelFileError
        The file is truncated, foreign or hostile, contradicts itself, or lacks a member.
    MissingExtraError
        h5py is needed and not installed.
    OSError
        The file is missing or cannot be read.
    """
    with reading(path) as (file, size):
        budget = budget_of(size, max_bytes, _FLOOR_BYTES)
        if file.read(4) != ZIP_MAGIC:
            raise ModelFileError("expected a .keras archive; this is no zip archive")
        return _archive(Archive(file, budget), os.fsdecode(path), budget)


def read_keras_weights(
    path: str | os.PathLike[str], *, max_bytes: int | None = None
) -> KerasWeights:
    """Read the weights of a Keras model, whichever kind of file the content says it is.

    Parameters
    ----------
    path : path-like
        ``.weights.h5``, a legacy ``.h5`` (of ``save_weights`` or ``save``), ``.keras``, or the
        ``model.weights.npz`` of an archive.
    max_bytes : int, optional
        As for `read_keras_archive`; HDF5 has bounds of its own.

    Returns
    -------
    KerasWeights

    Raises
    ------
    ModelFileError, MissingExtraError, OSError
        As for `read_keras_archive`.
    """
    source = os.fsdecode(path)
    with reading(path) as (file, size):
        magic = file.read(4)
        budget = budget_of(size, max_bytes, _FLOOR_BYTES)
        if magic == ZIP_MAGIC:
            archive = Archive(file, budget)
            if is_npz(archive):
                return KerasWeights(source, None, npz_tree(archive, budget))
            found = _archive(archive, source, budget)
            return KerasWeights(source, found.version, found.weights)
        if magic[:1] == b"{":
            _refuse_shards(whole(file, size, budget))
    with opened(path) as reader:
        layers = reader.keras_layers()
        if layers is not None:
            return KerasWeights(source, *layers)
        return KerasWeights(source, None, h5_tree(reader))


def is_keras_archive(archive: Archive) -> bool:
    """Tell whether a zip archive is one of Keras, by the members that it must have."""
    return CONFIG in archive and any(name in archive for name in (METADATA, *_WEIGHTS))


def archive_arrays(archive: Archive, budget: Budget) -> dict[str, Array]:
    """Read the arrays of a ``.keras`` archive by their paths, as an HDF5 file has them.

    Raises
    ------
    ModelFileError, MissingExtraError
    """
    return _weights(archive, budget, H5Reader.arrays, npz_paths)


def _weights(
    archive: Archive,
    budget: Budget,
    from_h5: Callable[[H5Reader], Found],
    from_npz: Callable[[Archive, Budget], Found],
) -> Found:
    """Read the weights of an archive by one of two functions, whichever kind they are."""
    found = [name for name in _WEIGHTS if name in archive]
    if len(found) != 1:
        listed = " and ".join(found) if found else "neither"
        raise ModelFileError(f"expected one of {' or '.join(_WEIGHTS)}; found {listed}")
    data = archive.read(found[0])
    if found == [WEIGHTS_H5]:
        with opened_bytes(data, WEIGHTS_H5) as reader:
            return from_h5(reader)
    try:
        return from_npz(Archive(io.BytesIO(data), budget), budget)
    except ModelFileError as error:
        raise ModelFileError(f"{WEIGHTS_NPZ}: {error}") from error


def _archive(archive: Archive, source: str, budget: Budget) -> KerasArchive:
    if CONFIG not in archive:
        raise ModelFileError(f"expected a .keras archive; this zip archive has no {CONFIG}")
    metadata = parse_config(_text(archive, METADATA, _MAX_METADATA), METADATA)
    version = metadata.get("keras_version")
    if version is not None and not isinstance(version, str):
        raise ModelFileError(f"{METADATA}: keras_version {shorten(version)} is no string")
    config = parse_config(_text(archive, CONFIG, _MAX_CONFIG), CONFIG)
    return KerasArchive(source, version, config, _weights(archive, budget, h5_tree, npz_tree))


def _text(archive: Archive, member: str, limit: int) -> str:
    size = archive.size(member)
    if size > limit:
        raise ModelFileError(f"{member} has {size} bytes; at most {limit} are read")
    try:
        return archive.read(member).decode()
    except UnicodeDecodeError as error:
        raise ModelFileError(f"{member} is no UTF-8: {error}") from error


def _refuse_shards(data: bytes) -> None:
    """Tell what to do with the index that ``save_weights(..., max_shard_size=)`` writes."""
    if b'"weight_map"' in data[:_MAX_CONFIG]:
        raise ModelFileError(
            "this is the index of weights that Keras split into several files, which is not "
            "supported; load them in Keras and write one: model.save_weights('x.weights.h5')"
        )
    raise ModelFileError("this seems to be JSON; expected weights in HDF5, or an archive")
