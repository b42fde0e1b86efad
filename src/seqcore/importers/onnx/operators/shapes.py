"""What moves elements, and shapes as numbers."""

from __future__ import annotations

from typing import Any

from ...aten.tensors import RefusedError
from .table import Context, aten, operator, shape, sizes, vector


@operator("Identity")
def identity(context: Context, input: Any) -> Any:
    del context
    return input


@operator("Shape")
def shape_of(context: Context, data: Any, *, start: int = 0, end: int | None = None) -> Any:
    del context
    return vector(list(shape(data)[start:end]))


@operator("Reshape")
def reshape(context: Context, data: Any, shape: Any, *, allowzero: int = 0) -> Any:
    wanted = sizes(shape, "shape")
    if not allowzero:
        own = data.sizes
        if any(size == 0 and k >= len(own) for k, size in enumerate(wanted)):
            raise RefusedError(f"keeps a size of {len(own)} that is not there")
        wanted = [own[k] if size == 0 else size for k, size in enumerate(wanted)]
    return aten(context, "view", self=data, size=wanted)
