"""Reads foreign .safetensors through the `safetensors` package, and turns bfloat16 into float32.

The package checks the header: its length, the offsets, that the data neither overlaps nor has
holes. seqcore's own model files are safetensors too; the C core reads those.
"""

from __future__ import annotations

import numpy as np

from ..errors import MissingExtraError, ModelFileError
from .arrays import Budget, array_from, shorten, widen_bfloat16

_MAX_HEADER = 100 << 20

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip


def looks_like_safetensors(head: bytes, size: int) -> bool:
    """Whether a file of `size` bytes begins with a header length that fits and an open brace."""
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 2 <= length <= min(_MAX_HEADER, size - 8)


def read_safetensors(data: bytes, budget: Budget) -> dict[str, np.ndarray]:
    """Every tensor of a .safetensors file, by name.

    Raises
    ------
    MissingExtraError
        The package `safetensors` is not installed.
    ModelFileError
        The file contradicts itself, or a tensor is of a dtype that NumPy has not.
    """
    try:
        import safetensors
    except ImportError as error:
        raise MissingExtraError(
            "reading .safetensors needs the package safetensors: pip install seqcore[safetensors]"
        ) from error
    budget.charge(len(data), "the file's tensors")
    try:
        tensors = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise ModelFileError(f"not a readable safetensors file: {error}") from error
    arrays: dict[str, np.ndarray] = {}
    while tensors:
        # Popped, so that the package's copy of a tensor goes before the next one is made.
        name, tensor = tensors.pop()
        what = f"tensor {shorten(name)}"
        if tensor["dtype"] not in _DTYPES:
            raise ModelFileError(f"{what}: dtype {tensor['dtype']} is not supported")
        array = array_from(
            tensor["data"], np.dtype(_DTYPES[tensor["dtype"]]), tuple(tensor["shape"]), what, budget
        )
        arrays[name] = widen_bfloat16(array) if tensor["dtype"] == "BF16" else array
    return dict(sorted(arrays.items()))
