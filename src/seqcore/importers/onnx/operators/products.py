"""Products: Gemm, MatMul, Einsum."""

from __future__ import annotations

import copy
import string
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ....layers.feedforward import Affine
from ...aten.arguments import as_float, as_traced
from ...aten.tensors import Constant, RefusedError, Traced
from .table import Context, aten, operator, text

_MOST_DIAGONAL = 1 << 12
_SPELT = frozenset(string.ascii_letters + ".,->")


def _floats(value: Any) -> Any:
    """Return an input as float32: whole numbers are computed with as such."""
    if isinstance(value, Constant):
        array = value.array
        if array.dtype == object:
            raise RefusedError("of sizes that vary")
        return value if array.dtype == np.float32 else Constant(
            array.astype(np.float32), value.sizes, value.name)  # fmt: skip
    return as_float(value)


# ---- Gemm and MatMul -----------------------------------------------------------------------------


@operator("Gemm")
def gemm(
    context: Context, A: Any, B: Any, C: Any = None, *, alpha: float = 1.0, beta: float = 1.0,
    transA: int = 0, transB: int = 0, broadcast: int = 1,
) -> Any:  # fmt: skip
    """alpha * A' B' + beta * C."""
    del broadcast  # of opset 6: whether C may be
    a, b = _floats(A), _floats(B)
    if len(a.sizes) != 2 or len(b.sizes) != 2:
        raise RefusedError(f"of inputs of {len(a.sizes)} and {len(b.sizes)} axes")
    a = aten(context, "t", self=a) if transA else a
    bias = None if C is None or beta == 0 else _scaled(context, _floats(C), beta)
    if isinstance(b, Constant) and isinstance(a, Traced):
        b = _scaled(context, b, alpha)
        weight = b if transB else aten(context, "t", self=b)  # (N, K), which a view of b is
        offset = _vector(bias, weight.sizes[0])
        made = aten(context, "linear", input=a, weight=weight, bias=offset)
        return made if offset is not None else _plus(context, made, bias)
    b = aten(context, "t", self=b) if transB else b
    made = _scaled(context, aten(context, "matmul", self=a, other=b), alpha)
    return _plus(context, made, bias)


def _scaled(context: Context, value: Any, factor: float) -> Any:
    return value if factor == 1 else aten(context, "mul", self=value, other=float(factor))


def _plus(context: Context, made: Any, bias: Any) -> Any:
    return made if bias is None else aten(context, "add", self=made, other=bias)


def _vector(value: Any, width: Any) -> Constant | None:
    """Return a constant that is the same in all rows as one row; None if it is no such."""
    if not isinstance(value, Constant) or len(value.sizes) > 2 or not isinstance(width, int):
        return None
    if any(size != 1 for size in value.sizes[:-1]):
        return None
    row = value.array.reshape(-1)
    if len(row) == width:
        return Constant.of(row, value.name)
    return Constant.of(np.repeat(row, width), value.name) if len(row) == 1 else None


@operator("MatMul")
def matmul(context: Context, A: Any, B: Any) -> Any:
    a, b = _floats(A), _floats(B)
    if not a.sizes or not b.sizes:
        raise RefusedError("of a single number")
    if isinstance(b, Constant) and len(b.sizes) <= len(a.sizes):
        while len(b.sizes) > 2 and b.sizes[0] == 1:  # one matrix for all
            b = Constant(b.array[0], b.sizes[1:], b.name)
    return aten(context, "matmul", self=a, other=b)


def with_bias(context: Context, a: Any, b: Any) -> Traced | None:
    """Return the sum of what a layer of products makes and of a constant, as the layer's bias.

    None unless the layer has none yet, and nobody reads what it makes without. Exporters write the
    bias of a product of three axes, and of a convolution in two, as an Add behind it.
    """
    tensor, other = (a, b) if isinstance(a, Traced) else (b, a)
    if not isinstance(tensor, Traced) or not isinstance(other, Constant):
        return None
    call, bias = tensor.symbol.call, _of_last_axis(tensor, other)
    if call is None or bias is None or not isinstance(call.layer, Affine):
        return None
    layer: Any = call.layer
    plain = not layer.use_bias and layer.activation.kind == "linear"
    if not plain or not context.reads_alone(tensor):
        return None

    def make(name: str | None) -> Affine:
        made: Affine = copy.copy(layer)
        made.b, made.use_bias = bias, True
        made.name, layer.name = layer.name, name  # the other one is hardly ever left
        return made

    symbol = context.once(("bias", layer, other.key), make)(*call.inputs)
    return replace(tensor, symbol=symbol, root=object())


def _of_last_axis(tensor: Traced, other: Constant) -> Any:
    """Return a constant that differs along the last axis of a value alone, as a vector."""
    last, rank = tensor.axes[-1], len(tensor.dims)
    at = next((k for k, dim in enumerate(tensor.dims) if last in dim), None)
    if at is None or len(other.sizes) > rank or other.array.dtype != np.float32:
        return None
    sizes = (*[1] * (rank - len(other.sizes)), *other.sizes)
    alone = all(axis is last or axis.size == 1 for axis in tensor.dims[at])
    if not alone or other.array.size != last.size or sizes[at] != last.size:
        return None
    if any(size != 1 for k, size in enumerate(sizes) if k != at):
        return None
    vector = np.array(other.array, np.float32).reshape(-1)
    vector.flags.writeable = False
    return vector


# ---- Einsum --------------------------------------------------------------------------------------


@operator("Einsum")
def einsum(context: Context, *Inputs: Any, equation: str) -> Any:
    spelt = text(equation).replace(" ", "")
    left, arrow, out = spelt.partition("->")
    terms = left.split(",")
    if set(spelt) - _SPELT:
        raise RefusedError(f"with equation={equation[:80]!r}")
    if len(terms) != len(Inputs):
        raise RefusedError(f"{equation[:80]!r} of {len(Inputs)} inputs")
    tensors = [as_traced(context, _floats(each)) for each in Inputs]
    if not arrow:
        out = _implied(terms)
    pairs = [_diagonal(context, *pair) for pair in zip(tensors, terms, strict=True)]
    tensors, terms = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return aten(context, "einsum", equation=f"{','.join(terms)}->{out}", tensors=tensors)


def _implied(terms: Sequence[str]) -> str:
    """Return the result's labels where none are written: those that occur once, in order."""
    letters = "".join(terms).replace(".", "")
    dots = "..." if any("..." in term for term in terms) else ""
    return dots + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))


def _diagonal(context: Context, tensor: Traced, term: str) -> tuple[Traced, str]:
    """Return a tensor with the diagonal of dims of one label as one dim."""
    for label in dict.fromkeys(term.replace(".", "")):
        while term.count(label) > 1:
            first, last = term.index(label), term.rindex(label)
            dims = [_dim(term, place, len(tensor.dims)) for place in (first, last)]
            size = tensor.sizes[dims[0]]
            if not isinstance(size, int) or size > _MOST_DIAGONAL or size != tensor.sizes[dims[1]]:
                raise RefusedError(f"of a diagonal of {size} by {tensor.sizes[dims[1]]}")
            shape = [size if k in dims else 1 for k in range(len(tensor.dims))]
            eye = Constant.of(np.eye(size, dtype=np.bool_).reshape(shape))
            kept = aten(context, "where", condition=eye, self=tensor, other=0.0)
            tensor = aten(context, "sum", self=kept, dim=[dims[1]])
            term = term[:last] + term[last + 1 :]
    return tensor, term


def _dim(term: str, place: int, rank: int) -> int:
    """Return the dim of the label at a place of a term."""
    dots = term.find("...")
    return place if dots < 0 or place < dots else rank - (len(term) - place)
