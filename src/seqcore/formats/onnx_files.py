"""ONNX files: the bytes of a .onnx as an `OnnxProgram`, or its initialisers as named arrays.

The package `onnx` parses the protocol buffer and is trusted with nothing else. What it would make
of the bytes is bounded before it sees them (onnx_wire.py); every size, name and place is checked
here and beside: tensors in onnx_tensors.py and onnx_external.py, messages in onnx_messages.py,
names, order and functions in onnx_linking.py. Nothing in a file is executed.
"""

from __future__ import annotations

import codecs
import os
from typing import Any

from numpy.typing import NDArray

from ..errors import MissingExtraError, ModelFileError
from .arrays import Budget
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
    "check_size",
    "is_onnx",
    "read_initializers",
    "read_onnx",
]

OLDEST_IR = 3  # of October 2017, which first said which operators are meant; onnx 1.0 wrote it


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
    if len(fields) < 2 or fields[0][:2] != (1, _VARINT):
        return False
    version = fields[0][2]
    if not (isinstance(version, int) and OLDEST_IR <= version < _NO_IR):
        return False
    numbers = [number for number, _, _ in fields if number not in _REPEATED]
    return len(set(numbers)) == len(numbers) and all(
        _MODEL.get(number) == wire and (wire == _VARINT or _is_plausible(number, content))
        for number, wire, content in fields
    )


_NO_IR = 128
_VARINT, _BYTES = 0, 2
# Fields of a model, of a graph, and of what says which operators are meant, with their wire types.
_TEXTS = {2, 3, 4, 6}
_REPEATED = {8, 14, 20, 25, 26}
_MODEL = {1: _VARINT, 5: _VARINT, 7: _BYTES, **dict.fromkeys(_TEXTS | _REPEATED, _BYTES)}
_GRAPH = dict.fromkeys((1, 2, 5, 10, 11, 12, 13, 14, 15, 16), _BYTES)
_INNER = {7: _GRAPH, 8: {1: _BYTES, 2: _VARINT}, 14: {1: _BYTES, 2: _BYTES}}
_CONTROLS = set(range(32)) - set(b"\t\r\n") | {127}


def _is_plausible(number: int, content: Any) -> bool:
    """Whether the beginning of a field of a model can be what its number says."""
    if number in _INNER:
        return all(_INNER[number].get(n) == wire for n, wire, _ in leading_fields(content))
    if number not in _TEXTS:
        return True
    try:
        codecs.getincrementaldecoder("utf-8")().decode(content)
    except UnicodeDecodeError:
        return False
    return not _CONTROLS & set(content)


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
    if not isinstance(source, (bytes, bytearray, memoryview, onnx.ModelProto)) and not hasattr(
        source, "read"
    ):
        with reading(source) as (file, size):
            check_size(size)
            data = file.read(size)
            folder = os.path.dirname(os.path.abspath(os.fsdecode(source)))
            return _read(onnx, data, folder, external_data, budget_of(size, max_bytes))
    name = getattr(source, "name", None)
    try:
        data = _bytes_of(source, onnx)
        return _read(onnx, data, None, external_data, budget_of(len(data), max_bytes))
    except ModelFileError as error:
        raise ModelFileError(
            f"{name if isinstance(name, str) else 'ONNX model'}: {error}"
        ) from error


def read_initializers(
    data: bytes, folder: str, budget: Budget, *, external_data: bool
) -> dict[str, NDArray[Any]]:
    """The initialisers of a model's graph, by name; strings are left out.

    Parameters
    ----------
    data : bytes
        The file.
    folder : str
        Where it lies.
    budget : Budget
    external_data : bool
        As of `read_onnx`.

    Raises
    ------
    ModelFileError, MissingExtraError
        As of `read_onnx`. Nodes are not looked at; errors do not name the file.
    """
    model, reader = _parsed(_package(), data, folder, external_data, budget)
    found = reader.constants(model.graph)
    return {name: array for name, array in found.items() if array.dtype != object}


def check_size(size: int) -> None:
    """Raise ModelFileError for what is too large to be read at all."""
    if size > MAX_FILE:
        raise ModelFileError(f"{size} bytes; a protocol buffer has at most {MAX_FILE}")


def _package() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError(
            "reading ONNX needs the package onnx: pip install seqcore[onnx]"
        ) from error
    return onnx


def parse(onnx: Any, data: bytes) -> Any:
    """The message that bytes are, which check_wire has found to be bounded."""
    try:
        return onnx.ModelProto.FromString(data)
    except _protobuf_error() as error:
        raise ModelFileError(f"no protocol buffer of ONNX: {error}") from error


def _protobuf_error() -> Any:
    """What protobuf raises, which `onnx` brings along."""
    from google.protobuf.message import Error

    return Error


def _bytes_of(source: Any, onnx: Any) -> bytes:
    """The serialised model that is in memory, or that a file object gives."""
    if isinstance(source, onnx.ModelProto):
        try:
            return bytes(source.SerializeToString())
        except _protobuf_error() as error:
            raise ModelFileError(f"cannot be serialised: {error}") from error
    data = source.read(MAX_FILE + 1) if hasattr(source, "read") else source
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise ModelFileError(f"expected bytes, found a {type(data).__name__}")
    check_size(memoryview(data).nbytes)
    return bytes(data)


def _read(
    onnx: Any, data: bytes, folder: str | None, external_data: bool, budget: Budget
) -> OnnxProgram:
    model, reader = _parsed(onnx, data, folder, external_data, budget)
    opsets = read_opsets(model.opset_import)
    reader.add_functions(model.functions)
    graph = link(reader.graph(model.graph), reader, opsets, onnx.defs)
    names = (model.producer_name, model.producer_version)
    producer = " ".join(text_of(name, "the producer") for name in names).strip()
    return OnnxProgram(graph, opsets, producer[:100])


def _parsed(
    onnx: Any, data: bytes, folder: str | None, external_data: bool, budget: Budget
) -> tuple[Any, Reader]:
    """The model that a file's bytes are, and what reads the parts of it."""
    if not data:
        raise ModelFileError("the file is empty")
    for magic, kind in WRAPPED:
        if data.startswith(magic):
            raise ModelFileError(f"this seems to be {kind}")
    budget.charge(2 * len(data), "the file")  # and what the parser copies
    check_wire(data, onnx.ModelProto.DESCRIPTOR, budget)
    model = parse(onnx, data)
    newest = int(onnx.IR_VERSION)
    if not OLDEST_IR <= model.ir_version <= newest:
        hint = "; a newer package may know it" if model.ir_version > newest else ""
        raise ModelFileError(
            f"version {model.ir_version} of ONNX's format; with onnx {onnx.__version__} versions "
            f"{OLDEST_IR} to {newest} are read{hint}"
        )
    if not model.HasField("graph"):
        raise ModelFileError("a model without a graph")
    return model, Reader(budget, ExternalFiles(folder, external_data, budget))
