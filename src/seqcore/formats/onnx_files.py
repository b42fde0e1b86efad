"""ONNX files: the bytes of a .onnx as an `OnnxProgram`, or its initialisers as named arrays.

The package `onnx` parses the protocol buffer and is trusted with nothing else. What it would make
of the bytes is bounded before it sees them (onnx_wire.py); every size, name and place is checked
here and beside: tensors in onnx_tensors.py and onnx_external.py, messages in onnx_messages.py,
names, order and functions in onnx_linking.py. Nothing in a file is executed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

from numpy.typing import NDArray

from ..errors import MissingExtraError, ModelFileError
from .arrays import shorten
from .onnx_external import ExternalFiles
from .onnx_linking import link
from .onnx_messages import Reader, read_opsets
from .onnx_programs import OnnxGraph, OnnxNode, OnnxProgram, OnnxValue
from .onnx_tensors import text_of
from .onnx_wire import MAX_FILE, check_wire, leading_fields
from .opening import WRAPPED, budget_of, reading

__all__ = [
    "OnnxGraph",
    "OnnxNode",
    "OnnxProgram",
    "OnnxValue",
    "is_onnx",
    "read_initializers",
    "read_onnx",
]

OLDEST_IR = 3  # of October 2017, which first said which operators are meant; onnx 1.0 wrote it

_T = TypeVar("_T")


def is_onnx(head: bytes) -> bool:
    """Tell whether a file begins as ONNX does, which has no magic number.

    Writers put fields in the order of their numbers: first the version, then what wrote the file,
    in letters. Others of that kind have version 1 (TensorFlow) or no letters there (Core ML).

    Parameters
    ----------
    head : bytes
        The first 64 bytes or so.
    """
    fields = leading_fields(head)
    if not fields or fields[0][:2] != (1, _VARINT):
        return False
    version = fields[0][2]
    if not (isinstance(version, int) and OLDEST_IR <= version < 128) or len(fields) < 2:
        return False
    if any(_HEAD_FIELDS.get(number) != wire for number, wire, _ in fields):
        return False
    texts = [content for number, _, content in fields if number in _TEXTS]
    return all(isinstance(text, bytes) and not _CONTROLS & set(text) for text in texts)


_VARINT, _BYTES = 0, 2
# Of a model: those that are letters, and all, by number, with their wire type.
_TEXTS = {2, 3, 4, 6}
_HEAD_FIELDS = {1: _VARINT, 5: _VARINT, **dict.fromkeys((2, 3, 4, 6, 7, 8, 14, 20, 25, 26), _BYTES)}
_CONTROLS = set(range(32)) - set(b"\t\r\n") | {127}


def read_onnx(
    source: Any, *, external_data: bool = False, max_bytes: int | None = None
) -> OnnxProgram:
    """Read an ONNX model: its graph, with local functions put in place of their calls.

    Parameters
    ----------
    source : path-like, bytes, binary file or onnx.ModelProto
    external_data : bool
        Whether numbers that lie in other files beside the model, in its folder or below, are read;
        for a path only.
    max_bytes : int, optional
        The most bytes that the file may unpack to. Default: 256 MiB and 16 times its size, and
        8 times that of the files beside it.

    Returns
    -------
    OnnxProgram

    Raises
    ------
    ModelFileError
        The file is truncated, foreign or hostile, contradicts itself, or is newer than the
        installed package.
    MissingExtraError
        The package `onnx` is not installed.
    OptionError
        max_bytes is no positive integer.
    OSError
        The file is missing or cannot be read.
    """
    onnx = _package()
    if isinstance(source, onnx.ModelProto):
        data = _serialized(source)
        return _named("ONNX model", lambda: _read(onnx, data, None, external_data, max_bytes))
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
        return _named("ONNX model", lambda: _read(onnx, data, None, external_data, max_bytes))
    if hasattr(source, "read"):
        data = source.read(MAX_FILE + 1)
        name = getattr(source, "name", None)
        name = name if isinstance(name, str) else "ONNX model"
        return _named(name, lambda: _read(onnx, data, None, external_data, max_bytes))
    with reading(source) as (file, size):
        data = _whole(file, size)
        folder = os.path.dirname(os.path.abspath(os.fsdecode(source)))
        return _read(onnx, data, folder, external_data, max_bytes)


def read_initializers(
    file: BinaryIO, size: int, folder: str, max_bytes: int | None, *, external_data: bool
) -> dict[str, NDArray[Any]]:
    """The initialisers of an open model's graph, by name; strings are left out.

    Raises
    ------
    ModelFileError, MissingExtraError, OptionError
        As of `read_onnx`. Of nodes nothing is read.
    """
    onnx = _package()
    data = _whole(file, size)
    model, reader = _parsed(onnx, data, folder, external_data, max_bytes)
    found = reader.constants(model.graph)
    return {name: array for name, array in found.items() if array.dtype != object}


def _package() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError(
            "reading ONNX needs the package onnx: pip install seqcore[onnx]"
        ) from error
    return onnx


def _protobuf_error() -> Any:
    """What protobuf raises, which `onnx` brings along."""
    from google.protobuf.message import Error

    return Error


def _named(name: str, read: Callable[[], _T]) -> _T:
    try:
        return read()
    except ModelFileError as error:
        raise ModelFileError(f"{name}: {error}") from error


def _serialized(model: Any) -> bytes:
    try:
        return bytes(model.SerializeToString())
    except _protobuf_error() as error:
        raise ModelFileError(f"ONNX model: cannot be serialised: {error}") from error


def _whole(file: BinaryIO, size: int) -> bytes:
    if size > MAX_FILE:
        raise ModelFileError(f"{size} bytes; a protocol buffer has at most {MAX_FILE}")
    file.seek(0)
    return file.read(size)


def _read(
    onnx: Any, data: bytes, folder: str | None, external_data: bool, max_bytes: int | None
) -> OnnxProgram:
    model, reader = _parsed(onnx, data, folder, external_data, max_bytes)
    opsets = read_opsets(model.opset_import)
    reader.add_functions(model.functions)
    graph = link(reader.graph(model.graph), reader, opsets, onnx.defs)
    names = (model.producer_name, model.producer_version)
    producer = " ".join(text_of(name, "the producer") for name in names).strip()
    return OnnxProgram(graph, opsets, producer[:100])


def _parsed(
    onnx: Any, data: bytes, folder: str | None, external_data: bool, max_bytes: int | None
) -> tuple[Any, Reader]:
    """The model that a file's bytes are, and what reads the parts of it."""
    budget = budget_of(len(data), max_bytes)
    _check_kind(data)
    budget.charge(2 * len(data), "the file")  # and what the parser copies
    check_wire(data, onnx.ModelProto.DESCRIPTOR, budget)
    try:
        model = onnx.ModelProto.FromString(data)
    except _protobuf_error() as error:
        raise ModelFileError(f"no protocol buffer of ONNX: {error}") from error
    newest = int(onnx.IR_VERSION)
    if not OLDEST_IR <= model.ir_version <= newest:
        hint = "; a newer package may" if model.ir_version > newest else ""
        raise ModelFileError(
            f"version {model.ir_version} of ONNX's format; versions {OLDEST_IR} to {newest} are "
            f"read with onnx {shorten(onnx.__version__)}{hint}"
        )
    if not model.HasField("graph"):
        raise ModelFileError("a model without a graph")
    files = ExternalFiles(folder, external_data, budget, grows=max_bytes is None)
    return model, Reader(budget, files)


def _check_kind(data: bytes) -> None:
    if not isinstance(data, bytes):
        raise ModelFileError(f"expected bytes, found a {type(data).__name__}")
    if not data:
        raise ModelFileError("the file is empty")
    for magic, kind in WRAPPED:
        if data.startswith(magic):
            raise ModelFileError(f"this seems to be {kind}")
