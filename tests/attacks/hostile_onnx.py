"""What the attacks through ONNX files share: models that are changed, and byte by byte."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx_files import FLOAT, small

from seqcore.errors import ModelFileError
from seqcore.formats.onnx_files import read_onnx

MIB = 1 << 20


def refused(made: onnx.ModelProto | bytes, match: str, **options: Any) -> None:
    data = made if isinstance(made, bytes) else made.SerializeToString()
    with pytest.raises(ModelFileError, match=match):
        read_onnx(data, **options)


def changed(change: Callable[[onnx.ModelProto], Any]) -> onnx.ModelProto:
    made = small()
    change(made)
    return made


def refused_within(data: bytes, match: str, bound: int) -> None:
    """Refused before more than `bound` bytes are allocated."""
    tracemalloc.start()
    try:
        refused(data, match)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < bound


def with_tensor(**fields: Any) -> onnx.ModelProto:
    fields = {"name": "w", "data_type": FLOAT} | fields
    return changed(lambda m: m.graph.initializer[0].CopyFrom(TensorProto(**fields)))


def sparse(dims: Sequence[int], indices: Any, values: Any = (1.0, 2.0)) -> onnx.ModelProto:
    def change(made: onnx.ModelProto) -> None:
        made.graph.ClearField("initializer")
        part = made.graph.sparse_initializer.add(dims=dims)
        part.values.CopyFrom(numpy_helper.from_array(np.float32(values), "w"))
        part.indices.CopyFrom(numpy_helper.from_array(np.array(indices, np.int64)))

    return changed(change)


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def blob(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def with_graph(content: bytes) -> bytes:
    """A model whose graph is these bytes."""
    return b"\x08\x08" + blob(7, content) + blob(8, b"\x10\x12")
