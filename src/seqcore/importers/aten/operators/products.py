"""Operators with products: linear, matrix products, einsum, attention, embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....layers import Cast, Dense, Embedding, MatMul
from ..arguments import (
    Context,
    as_traced,
    floats,
    joined_size,
    known,
    named,
    rejoined,
    traced,
)
from ..tensors import Axis, Constant, Dims, RefusedError, Traced, matched, told_sizes
from .elementwise import add, chosen, compare, divide, maximum, multiply, softmax, subtract
from .reductions import norm, reduced
from .shapes import permute, repeat_interleave, transpose, unsqueeze
from .table import operator


@operator("aten.linear")
def linear(context: Context, input: Any, weight: Any, bias: Any = None) -> Any:
    """x.W^T + b over the last dim; W is (out, in)."""
    if not isinstance(weight, Constant) or not (bias is None or isinstance(bias, Constant)):
        made = matmul(context, input, transpose(context, as_traced(context, weight)))
        return made if bias is None else add(context, made, bias)
    tensor = floats(input)
    numbers = weight.full()
    if numbers.ndim != 2:
        raise RefusedError(f"a weight of shape {numbers.shape}")
    symbol, axes = tensor.apart(tensor.dims[-1])
    offset = None if bias is None else bias.full()
    layer = context.once(
        (weight.key, None if bias is None else bias.key),
        lambda name: Dense(numbers.T, offset, use_bias=offset is not None, name=name),
        named(weight),
    )
    return rejoined(tensor, layer(symbol), axes, len(tensor.dims) - 1, numbers.shape[0])


@operator("aten.mm", "aten.matmul", "aten.bmm")
def matmul(
    context: Context, self: Any, other: Any = None, mat2: Any = None, tensor2: Any = None
) -> Any:
    right = other if other is not None else mat2 if mat2 is not None else tensor2
    ranks = [len(value.sizes) for value in (self, right)]
    if ranks[1] == 1:
        made = matmul(context, self, _unsqueezed(context, right, 1))
        return made.seen_as(made.dims[:-1])
    if ranks[0] == 1:
        made = matmul(context, _unsqueezed(context, self, 0), right)
        return made.seen_as((*made.dims[:-2], made.dims[-1]))
    if isinstance(right, Constant) and ranks[1] == 2:
        return linear(context, self, _turned(right))
    if isinstance(self, Constant) and ranks[0] == 2:
        made = linear(context, transpose(context, traced(right), -1, -2), self)
        return transpose(context, made, -1, -2)
    return _batched(as_traced(context, self), as_traced(context, right))


def _turned(constant: Constant) -> Constant:
    array = constant.full().T
    return Constant(array, array.shape, constant.name)


def _unsqueezed(context: Context, value: Any, dim: int) -> Any:
    if isinstance(value, Constant):
        return Constant.of(np.expand_dims(value.full(), dim))
    return unsqueeze(context, value, dim)


def _batched(a: Traced, b: Traced) -> Traced:
    """(..., M, K) by (..., K, N), both of the inputs."""
    (m, k), (k2, n) = a.dims[-2:], b.dims[-2:]
    inner = {size for size in map(joined_size, (k, k2)) if isinstance(size, int)}
    if len(inner) > 1:
        raise RefusedError(f"matrices of {told_sizes(a.sizes)} and {told_sizes(b.sizes)}")
    if any(axis.is_batch for axis in (*m, *k, *k2, *n)):
        raise RefusedError("rows of the batch meet other rows")
    (left, right), lead = matched([a.seen_as(a.dims[:-2]), b.seen_as(b.dims[:-2])])
    order = [axis for dim in lead for axis in dim if not axis.is_batch]
    groups = [(axis,) for axis in order]
    # float32 alone has products; ids and truth values as such do not come here
    symbol = MatMul()(left.arranged([*groups, m, k]), right.arranged([*groups, k2, n]))
    rows, columns = Axis(joined_size(m)), Axis(joined_size(n))
    return Traced(symbol, (a.batch, *order, rows, columns), (*lead, (rows,), (columns,)))


@operator("aten.addmm", "aten.baddbmm", "aten.addmm_", "aten.baddbmm_")
def addmm(
    context: Context, self: Any, mat1: Any = None, mat2: Any = None, batch1: Any = None,
    batch2: Any = None, beta: Any = 1, alpha: Any = 1,
) -> Any:  # fmt: skip
    """beta * self + alpha * (a @ b)."""
    left, right = (mat1, mat2) if mat1 is not None else (batch1, batch2)
    vector = isinstance(self, Constant) and len(self.sizes) == 1
    if beta == 1 and alpha == 1 and vector and isinstance(right, Constant):
        return linear(context, left, _turned(right), self)
    made = matmul(context, left, right)
    made = made if alpha == 1 else multiply(context, made, alpha)
    return made if beta == 0 else add(context, made, self, beta)


@operator("aten.einsum")
def einsum(context: Context, equation: str, tensors: Sequence[Any], path: Any = None) -> Any:
    """From left to right, two operands at a time; what no longer matters is summed."""
    del path
    labels, out = _spelt(equation, [len(tensor.sizes) for tensor in tensors])
    made, own = tensors[0], labels[0]
    for index, (tensor, more) in enumerate(zip(tensors[1:], labels[1:], strict=True), 2):
        later = out + "".join(labels[index:])
        kept = "".join(dict.fromkeys(label for label in own + more if label in later))
        kept = out if index == len(tensors) else kept
        made, own = _pair(context, made, own, tensor, more, kept), kept
    alone = [own.index(label) for label in own if label not in out]
    if alone:
        made = reduced(as_traced(context, made), "sum", alone)
        own = "".join(label for label in own if label in out)
    return permute(context, as_traced(context, made), [own.index(label) for label in out])


def _spelt(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """Return the labels of every operand and of the result, dots as labels of their own."""
    left, arrow, out = equation.replace(" ", "").partition("->")
    labels = left.split(",")
    if len(labels) != len(ranks):
        raise RefusedError(f"einsum {equation[:80]!r} of {len(ranks)} operands")
    spare = "".join(chr(0x3B1 + k) for k in range(24))
    dots = [rank - len(each.replace("...", "")) for each, rank in zip(labels, ranks, strict=True)]
    dots = [count if "..." in each else 0 for count, each in zip(dots, labels, strict=True)]
    most = max(dots)
    named = [each.replace("...", spare[most - n : most]) for each, n in zip(labels, dots,
             strict=True)]  # fmt: skip
    if not arrow:
        letters = sorted({c for each in named for c in each if c not in spare})
        single = [c for c in letters if sum(each.count(c) for each in named) == 1]
        out = ("..." if most else "") + "".join(single)
    out = out.replace("...", spare[:most])
    fits = all(len(each) == rank for each, rank in zip(named, ranks, strict=True))
    if not fits or "." in "".join([*named, out]) or any(
        len(set(each)) < len(each) for each in [*named, out]
    ) or not set(out) <= set("".join(named)):  # fmt: skip
        raise RefusedError(f"einsum {equation!r}")
    return named, out


def _pair(context: Context, a: Any, left: str, b: Any, right: str, out: str) -> Any:
    """Return what two operands make together, by labels."""
    shared = [label for label in left if label in right and label in out]
    summed = [label for label in left if label in right and label not in out]
    own = [[label for label in each if label not in shared + summed] for each in (left, right)]
    try:
        return _as_product(context, (a, b), (left, right), (shared, summed, own), out)
    except RefusedError:
        return _summed(context, (a, b), (left, right), out)


def _summed(context: Context, given: Sequence[Any], labels: Sequence[str], out: str) -> Any:
    """Return the products of all elements, summed: of what is no product of matrices."""
    order = "".join(dict.fromkeys(out + "".join(labels)))
    spread = []
    for value, own in zip(given, labels, strict=True):
        tensor = as_traced(context, value)
        spread.append(tensor.seen_as(
            tensor.dims[own.index(label)] if label in own else () for label in order
        ))  # fmt: skip
    made = multiply(context, *spread)
    gone = list(range(len(out), len(order)))
    return reduced(made, "sum", gone) if gone else made


def _as_product(
    context: Context, given: Sequence[Any], labels: Sequence[str],
    parts: tuple[list[str], list[str], list[list[str]]], out: str,
) -> Any:  # fmt: skip
    """Return a product of matrices, which each label of one operand alone must outlive."""
    shared, summed, own = parts
    if any(label not in out for label in own[0] + own[1]) or not summed:
        raise RefusedError("no product of matrices")
    a, b = (as_traced(context, tensor) for tensor in given)
    dims = [
        dict(zip(each, tensor.dims, strict=True))
        for each, tensor in zip(labels, (a, b), strict=True)
    ]
    x = a.seen_as([*(dims[0][s] for s in shared), _flat(dims[0], own[0]), _flat(dims[0], summed)])
    y = b.seen_as([*(dims[1][s] for s in shared), _flat(dims[1], summed), _flat(dims[1], own[1])])
    if isinstance(given[1], Constant) and not shared:
        order = [labels[1].index(label) for label in [*summed, *own[1]]]
        weights = given[1].full().transpose(order)
        weights = weights.reshape(-1, known(joined_size(_flat(dims[1], own[1])), "a size"))
        made = linear(context, x, Constant.of(weights.T))
    else:
        made = _batched(x, y)
    return _labelled(context, made, shared, own, dims, out)


def _flat(dims: dict[str, tuple[Axis, ...]], labels: Sequence[str]) -> tuple[Axis, ...]:
    return tuple(axis for label in labels for axis in dims[label])


def _labelled(
    context: Context, made: Traced, shared: Sequence[str], own: Sequence[Sequence[str]],
    dims: Sequence[dict[str, tuple[Axis, ...]]], out: str,
) -> Traced:  # fmt: skip
    """Give the dims of (shared, all of a's, all of b's) their labels' order."""
    from ..tensors import viewed

    groups: list[Dims] = [(dim,) for dim in made.dims[: len(shared)]]
    for index, labels in enumerate(own):
        dim = made.dims[len(shared) + index]
        sizes = [joined_size(dims[index][label]) for label in labels]
        inner = viewed(made.seen_as([dim]), sizes)
        made = inner.seen_as(made.dims) if inner.symbol is made.symbol else _again(made, inner, dim)
        groups.append(inner.dims)
    result = made.seen_as([dim for group in groups for dim in group])
    order = [*shared, *own[0], *own[1]]
    return permute(context, result, [order.index(label) for label in out])  # type: ignore[no-any-return]


def _again(made: Traced, inner: Traced, dim: tuple[Axis, ...]) -> Traced:
    """Return `made` with the axes into which one of its dims was divided."""
    parts = tuple(axis for each in inner.dims for axis in each)
    dims = [parts if each is dim else each for each in made.dims]
    return inner.seen_as(dims)


@operator("aten.bilinear")
def bilinear(
    context: Context, input1: Any, input2: Any, weight: Any, bias: Any = None
) -> Any:  # fmt: skip
    """x1.W.x2 for every output's W."""
    made = einsum(context, "...i,oij,...j->...o", [input1, weight, input2])
    return made if bias is None else add(context, made, bias)


@operator("aten.mv")
def mv(context: Context, self: Any, vec: Any) -> Any:
    return matmul(context, self, vec)


@operator("aten.linalg_vecdot")
def vecdot(context: Context, x: Any, y: Any, dim: int = -1) -> Any:
    return reduced(multiply(context, x, y), "sum", dim)


@operator("aten.inner")
def inner(context: Context, self: Any, other: Any) -> Any:
    """Sums of products over the last dims of both."""
    right = as_traced(context, other)
    turned = right if len(right.dims) == 1 else transpose(context, right, -1, -2)
    if len(right.dims) > 2:
        raise RefusedError(f"of {len(right.dims)} dims")
    return matmul(context, self, turned)


@operator("aten.cosine_similarity")
def cosine_similarity(context: Context, x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """The sum of the products of what was divided by its norm, or by eps if that is smaller."""
    units = [
        divide(context, x, maximum(context, norm(context, x, 2, None, dim, True), eps))
        for x in (as_traced(context, x1), as_traced(context, x2))
    ]
    return reduced(multiply(context, *units), "sum", dim)


@operator("aten.pairwise_distance")
def pairwise_distance(
    context: Context, x1: Any, x2: Any, p: float = 2, eps: float = 1e-6, keepdim: bool = False
) -> Any:
    apart = add(context, subtract(context, x1, x2), eps)
    return norm(context, apart, p, None, -1, keepdim)


# ---- Attention -----------------------------------------------------------------------------------


@operator("aten.scaled_dot_product_attention")
def attention(
    context: Context, query: Any, key: Any, value: Any, attn_mask: Any = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:  # fmt: skip
    """softmax(scale * q.k + mask) . v, over (..., T, D)."""
    if dropout_p:
        raise RefusedError("in training mode; export module.eval()")
    if enable_gqa:
        heads = known(traced(query).sizes[-3], "the number of heads")
        own = known(traced(key).sizes[-3], "the number of heads of the keys")
        key, value = (repeat_interleave(context, each, heads // own, -3) for each in (key, value))
    size = traced(query).sizes[-1]
    if scale is None:
        if not isinstance(size, int):
            raise RefusedError("of a number of features that varies")
        scale = 1 / size**0.5
    scores = matmul(context, query, transpose(context, traced(key), -1, -2))
    scores = multiply(context, scores, float(scale))
    if is_causal:
        scores = chosen(context, _sees(context, scores), scores, float("-inf"))
    if attn_mask is not None:
        if attn_mask.dtype == "bool":
            scores = chosen(context, attn_mask, scores, float("-inf"))
        else:
            scores = add(context, scores, attn_mask)
    weights = softmax(context, scores)
    if attn_mask is not None:  # who sees nobody gets zeros
        most = reduced(scores, "max", -1, keepdim=True)
        weights = chosen(context, compare(context, "equal", most, float("-inf")), 0.0, weights)
    return matmul(context, weights, value)


_MOST_SEEN = 1 << 24


def _sees(context: Context, scores: Traced) -> Any:
    """Return (Tq, Tv): frame i of the query sees frames 0 to i."""
    rows, columns = scores.sizes[-2:]
    if isinstance(rows, int) and isinstance(columns, int):
        if rows * columns > _MOST_SEEN:
            raise RefusedError(f"of {rows} frames that see {columns}")
        return Constant.of(np.tri(rows, columns, dtype=bool))
    places = [context.positions(size) for size in (rows, columns)]
    return compare(context, "greater_equal", unsqueeze(context, places[0], 1), places[1])


# ---- Embedding -----------------------------------------------------------------------------------


@operator("aten.embedding")
def embedding(
    context: Context, weight: Any, indices: Any, padding_idx: int = -1,
    scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Any:  # fmt: skip
    del padding_idx, scale_grad_by_freq, sparse  # they matter in training alone
    tensor = traced(indices)
    if not isinstance(weight, Constant):
        raise RefusedError("of a table that varies")
    if tensor.dtype != "int64":  # numbers that are whole, such as places
        tensor = Traced(Cast("int64")(tensor.symbol), tensor.axes, tensor.dims, "int64")
    numbers = weight.full()
    layer = context.once(
        (weight.key, "embedding"), lambda name: Embedding(numbers, name=name), named(weight)
    )
    made = Axis(numbers.shape[1])
    return Traced(layer(tensor.symbol), (*tensor.axes, made), (*tensor.dims, (made,)))
