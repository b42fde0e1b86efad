"""Operators over whole dims: norms, means, sums, largest elements and where they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....layers import (
    ArgMax,
    BatchNormalization,
    Compare,
    Cumsum,
    GroupNormalization,
    LayerNormalization,
    Power,
    Reduce,
    Rescaling,
    RMSNormalization,
    TopK,
    Unary,
)
from ..arguments import (
    Context,
    as_float,
    dim_of,
    floats,
    joined_size,
    known,
    mapped,
    named,
    rejoined,
    traced,
)
from ..tensors import Axis, Constant, RefusedError, Traced, told_sizes
from .table import operator


def _dims(tensor: Traced, dim: Any) -> list[int]:
    """Return the dims over which something goes; all of them if there are none."""
    rank = len(tensor.dims)
    given = range(rank) if dim is None or dim == [] else dim if isinstance(dim, list) else [dim]
    found = sorted({dim_of(d, rank) for d in given})
    if any(tensor.batch in tensor.dims[d] for d in found):
        raise RefusedError("over the rows of the batch")
    return found


def reduced(
    tensor: Traced, function: str, dim: Any, keepdim: bool = False, **options: Any
) -> Traced:
    """Return the mean, sum ... over dims."""
    tensor = as_float(tensor)
    over = _dims(tensor, dim)
    group = tuple(axis for d in over for axis in tensor.dims[d] if axis.size != 1)
    dims = [() if d in over else each for d, each in enumerate(tensor.dims)
            if keepdim or d not in over]  # fmt: skip
    if not group:
        return _of_single(tensor, function, **options).seen_as(dims)
    axes = [tensor.axes.index(axis) for axis in group if axis in tensor.axes]
    virtual = len(axes) < len(group)
    keeps = [axis for axis in tensor.axes if axis not in group]
    if virtual:
        order = [axis for dim in tensor.dims for axis in dim if not axis.is_batch]
        symbol = tensor.arranged([(axis,) for axis in order])
        axes = [1 + order.index(axis) for axis in group]
        keeps = [tensor.batch, *(axis for axis in order if axis not in group)]
    else:
        symbol = tensor.symbol
    alone = len(keeps) == 1
    layer = Reduce(function, tuple(sorted(axes)), keepdims=alone, **options)
    result = layer(symbol)
    if alone:  # values have two axes at least
        keeps = [*keeps, *(Axis(1) for _ in axes)]
    return Traced(result, tuple(keeps), tuple(dims))


def _of_single(tensor: Traced, function: str, correction: int = 0) -> Traced:
    """Return what a reduction makes of every element alone."""
    if function in ("norm1", "norm2"):
        return mapped(tensor, Unary("abs"))
    if function in ("var", "std"):
        if correction:
            raise RefusedError("of single elements")
        return mapped(tensor, Rescaling(0.0))
    return mapped(tensor)


def _reduction(function: str) -> Callable[..., Any]:
    def apply(
        context: Context, self: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None
    ) -> Any:
        del context, dtype
        return reduced(traced(self), function, dim, keepdim)

    return apply


operator("aten.mean")(_reduction("mean"))
operator("aten.sum")(_reduction("sum"))
operator("aten.amax")(_reduction("max"))
operator("aten.amin")(_reduction("min"))
operator("aten.logsumexp")(_reduction("logsumexp"))
operator("aten.prod")(_reduction("prod"))


def _true(tensor: Traced) -> Traced:
    """Return where a tensor is not zero."""
    if tensor.dtype == "bool":
        return tensor
    return Traced(Compare("not_equal", 0)(tensor.symbol), tensor.axes, tensor.dims, "bool")


@operator("aten.any")
def any_of(context: Context, self: Any, dim: Any = None, keepdim: bool = False) -> Any:
    del context
    made = reduced(_true(traced(self)), "max", dim, keepdim)
    return Traced(made.symbol, made.axes, made.dims, "bool")


@operator("aten.all")
def all_of(context: Context, self: Any, dim: Any = None, keepdim: bool = False) -> Any:
    del context
    made = reduced(_true(traced(self)), "min", dim, keepdim)
    return Traced(made.symbol, made.axes, made.dims, "bool")


def _extreme(function: str) -> Callable[..., Any]:
    """max and min: of all elements, with their places along a dim, or of two tensors."""

    def apply(
        context: Context, self: Any, dim: Any = None, keepdim: bool = False, other: Any = None
    ) -> Any:
        if other is not None:
            from .elementwise import maximum, minimum

            return (maximum if function == "max" else minimum)(context, self, other)
        if dim is None:
            return reduced(traced(self), function, None)
        values = reduced(traced(self), function, dim, keepdim)
        places = placed(traced(self), function, dim, keepdim) if context.wanted(1) else None
        return values, places

    return apply


operator("aten.max")(_extreme("max"))
operator("aten.min")(_extreme("min"))


def placed(tensor: Traced, function: str, dim: Any, keepdim: bool) -> Traced:
    """Return where along a dim the largest or smallest element is."""
    if dim is None:
        raise RefusedError("over all dims")
    at = dim_of(dim, len(tensor.dims))
    if tensor.batch in tensor.dims[at]:
        raise RefusedError("over the rows of the batch")
    symbol, axes = as_float(tensor).apart(tensor.dims[at])
    layer = ArgMax(-1, keepdims=len(axes) == 1, function=function)
    dims = [() if k == at else each for k, each in enumerate(tensor.dims) if keepdim or k != at]
    own = axes if len(axes) > 1 else (*axes, Axis(1))
    return Traced(layer(symbol), own, tuple(dims), "int64")


@operator("aten.argmax")
def argmax(context: Context, self: Any, dim: Any = None, keepdim: bool = False) -> Any:
    del context
    return placed(traced(self), "max", dim, keepdim)


@operator("aten.argmin")
def argmin(context: Context, self: Any, dim: Any = None, keepdim: bool = False) -> Any:
    del context
    return placed(traced(self), "min", dim, keepdim)


@operator("aten.topk")
def topk(
    context: Context,
    self: Any,
    k: Any,
    dim: int = -1,
    largest: bool = True,
    sorted: bool = True,
) -> Any:
    del context, sorted
    tensor, count = as_float(traced(self)), known(k, "k")
    at = dim_of(dim, len(tensor.dims))
    if tensor.batch in tensor.dims[at]:
        raise RefusedError("over the rows of the batch")
    symbol, axes = tensor.apart(tensor.dims[at])
    values, places = TopK(count, -1, largest=largest)(symbol)
    made = [rejoined(tensor, each, axes, at, count) for each in (values, places)]
    return made[0], Traced(made[1].symbol, made[1].axes, made[1].dims, "int64")


@operator("aten.sort")
def sort(
    context: Context, self: Any, dim: int = -1, descending: bool = False, stable: Any = None
) -> Any:
    del stable
    tensor = as_float(traced(self))
    size = known(tensor.sizes[dim_of(dim, len(tensor.dims))], "the size that is sorted")
    return topk(context, tensor, size, dim, descending)


@operator("aten.cumsum")
def cumsum(context: Context, self: Any, dim: int, dtype: Any = None) -> Any:
    del context, dtype
    tensor = as_float(traced(self))
    at = dim_of(dim, len(tensor.dims))
    if tensor.batch in tensor.dims[at]:
        raise RefusedError("over the rows of the batch")
    symbol, axes = tensor.apart(tensor.dims[at])
    return rejoined(tensor, Cumsum(-1)(symbol), axes, at)


@operator("aten.linalg_norm")
def linalg_norm(
    context: Context, self: Any, ord: Any = None, dim: Any = None, keepdim: bool = False,
    dtype: Any = None,
) -> Any:  # fmt: skip
    """Of vectors, and the root of all squares of a matrix."""
    one = isinstance(dim, int) or (isinstance(dim, list) and len(dim) == 1)
    if ord is not None and not one:
        raise RefusedError(f"of matrices, of order {ord}")
    return norm(context, self, 2, ord, dim, keepdim, dtype)


@operator("aten.norm", "aten.linalg_vector_norm")
def norm(
    context: Context, self: Any, p: Any = 2, ord: Any = None, dim: Any = None,
    keepdim: bool = False, dtype: Any = None,
) -> Any:  # fmt: skip
    del context, dtype
    order = float((2 if p is None else p) if ord is None else ord)
    names = {1.0: "norm1", 2.0: "norm2"}
    if order in names:
        return reduced(traced(self), names[order], dim, keepdim)
    sizes = mapped(traced(self), Unary("abs"))
    if math.isinf(order):
        return reduced(sizes, "max" if order > 0 else "min", dim, keepdim)
    if order <= 0:
        raise RefusedError(f"of order {order}")
    total = reduced(mapped(sizes, Power(order)), "sum", dim, keepdim)
    return mapped(total, Power(1 / order))


def _spread(function: str) -> Callable[..., Any]:
    def apply(
        context: Context, self: Any, dim: Any = None, unbiased: bool = True,
        correction: Any = None, keepdim: bool = False,
    ) -> Any:  # fmt: skip
        del context
        less = int(unbiased) if correction is None else known(correction, "correction")
        return reduced(traced(self), function, dim, keepdim, correction=less)

    return apply


deviation = operator("aten.std")(_spread("std"))
variance = operator("aten.var")(_spread("var"))


@operator("aten.std_mean")
def std_mean(context: Context, self: Any, dim: Any = None, **how: Any) -> Any:
    mean = reduced(traced(self), "mean", dim, how.get("keepdim", False))
    return deviation(context, self, dim, **how), mean


@operator("aten.var_mean")
def var_mean(context: Context, self: Any, dim: Any = None, **how: Any) -> Any:
    mean = reduced(traced(self), "mean", dim, how.get("keepdim", False))
    return variance(context, self, dim, **how), mean


@operator("aten.aminmax")
def aminmax(context: Context, self: Any, dim: Any = None, keepdim: bool = False) -> Any:
    del context
    return tuple(reduced(traced(self), name, dim, keepdim) for name in ("min", "max"))


@operator("aten.count_nonzero")
def count_nonzero(context: Context, self: Any, dim: Any = None) -> Any:
    del context
    return reduced(_true(traced(self)), "sum", dim)


@operator("aten.argsort")
def argsort(
    context: Context, self: Any, dim: int = -1, descending: bool = False, stable: Any = None
) -> Any:
    return sort(context, self, dim, descending, stable)[1]


# ---- Norms ---------------------------------------------------------------------------------------


def _numbers(weight: Any) -> Any:
    if weight is None:
        return None
    if not isinstance(weight, Constant):
        raise RefusedError("with weights that vary")
    return weight.full()


def _key(name: str, *parts: Any) -> tuple[Any, ...]:
    return (name, *(part.key if isinstance(part, Constant) else part for part in parts))


def _label(*weights: Any) -> str:
    return next((named(weight) for weight in weights if isinstance(weight, Constant)), "")


@operator("aten.layer_norm", "aten.native_layer_norm")
def layer_norm(
    context: Context, input: Any, normalized_shape: Sequence[int], weight: Any = None,
    bias: Any = None, eps: Any = 1e-5, cudnn_enable: bool = True,
) -> Any:  # fmt: skip
    del cudnn_enable
    return _normalized(context, "layer", input, normalized_shape, weight, bias, eps)


@operator("aten.rms_norm", "aten._fused_rms_norm")
def rms_norm(
    context: Context, input: Any, normalized_shape: Sequence[int], weight: Any = None,
    eps: Any = None,
) -> Any:  # fmt: skip
    least = float(np.finfo(np.float32).eps) if eps is None else eps
    return _normalized(context, "rms", input, normalized_shape, weight, None, least)


def _normalized(
    context: Context, kind: str, given: Any, shape: Sequence[int], weight: Any, bias: Any, eps: Any
) -> Traced:
    tensor = floats(given)
    count = len(shape)
    tail = tensor.dims[len(tensor.dims) - count :]
    if list(tensor.sizes[len(tensor.dims) - count :]) != list(shape):
        raise RefusedError(f"over {list(shape)} of {told_sizes(tensor.sizes)}")
    if any(tensor.batch in dim for dim in tail):
        raise RefusedError("over the rows of the batch")
    symbol, axes = tensor.apart(*tail)
    gamma, beta = _numbers(weight), _numbers(bias)
    over = tuple(range(-count, 0))

    def make(name: str | None) -> Any:
        options: dict[str, Any] = {"axis": over if count > 1 else -1, "epsilon": float(eps),
                                   "name": name}  # fmt: skip
        if kind == "rms":
            ones = np.ones(tuple(shape), np.float32) if gamma is None else gamma
            return RMSNormalization(scale=ones, **options)
        return LayerNormalization(
            center=beta is not None, scale=gamma is not None, gamma=gamma, beta=beta, **options
        )

    layer = context.once(
        _key(kind, weight, bias, float(eps), tuple(shape)), make, _label(weight, bias)
    )
    made = [Axis(joined_size(dim)) for dim in tail]
    dims = (*tensor.dims[: len(tensor.dims) - count], *((axis,) for axis in made))
    return Traced(layer(symbol), (*axes, *made), dims)


@operator("aten.batch_norm", "aten._native_batch_norm_legit_no_training",
          "aten.native_batch_norm")  # fmt: skip
def batch_norm(
    context: Context, input: Any, weight: Any = None, bias: Any = None,
    running_mean: Any = None, running_var: Any = None, training: bool = False,
    momentum: Any = 0.1, eps: Any = 1e-5, cudnn_enabled: bool = True,
) -> Any:  # fmt: skip
    del momentum, cudnn_enabled
    if training or running_mean is None or running_var is None:
        raise RefusedError("with the statistics of the batch; export module.eval()")
    tensor = floats(input)
    mean, variance = _numbers(running_mean), _numbers(running_var)
    gamma, beta = _numbers(weight), _numbers(bias)

    def make(name: str | None) -> Any:
        return BatchNormalization(
            -1, float(eps), center=beta is not None, scale=gamma is not None, gamma=gamma,
            beta=beta, moving_mean=mean, moving_variance=variance, name=name,
        )  # fmt: skip

    key = _key("batch", weight, bias, running_mean, running_var, float(eps))
    layer = context.once(key, make, _label(weight, running_mean))
    return _by_channel(tensor, layer)


def _by_channel(tensor: Traced, layer: Any) -> Traced:
    """Apply a layer of which the channels, torch's second dim, are the last axis."""
    if len(tensor.dims) < 2 or tensor.batch in tensor.dims[1]:
        raise RefusedError("of channels that are the batch, or none")
    symbol, axes = tensor.apart(tensor.dims[1])
    return rejoined(tensor, layer(symbol), axes, 1)


@operator("aten.group_norm")
def group_norm(
    context: Context, input: Any, num_groups: int, weight: Any = None,
    bias: Any = None, eps: Any = 1e-5, cudnn_enabled: bool = True,
) -> Any:  # fmt: skip
    del cudnn_enabled
    return _grouped(context, input, known(num_groups, "num_groups"), weight, bias, eps)


@operator("aten.instance_norm")
def instance_norm(
    context: Context, input: Any, weight: Any = None, bias: Any = None,
    running_mean: Any = None, running_var: Any = None, use_input_stats: bool = True,
    momentum: Any = 0.1, eps: Any = 1e-5, cudnn_enabled: bool = True,
) -> Any:  # fmt: skip
    del momentum, cudnn_enabled
    if not use_input_stats:
        return batch_norm(context, input, weight, bias, running_mean, running_var, eps=eps)
    return _grouped(context, input, -1, weight, bias, eps)


def _grouped(context: Context, given: Any, groups: int, weight: Any, bias: Any, eps: Any) -> Traced:
    tensor = floats(given)
    if tensor.batch_dim not in (0, None) or (tensor.dims and len(tensor.dims[0]) > 1):
        raise RefusedError("the batch is joined with another axis, or not the first")
    gamma, beta = _numbers(weight), _numbers(bias)

    def make(name: str | None) -> Any:
        return GroupNormalization(
            groups, -1, float(eps), center=beta is not None, scale=gamma is not None, gamma=gamma,
            beta=beta, name=name,
        )  # fmt: skip

    key = _key("group", weight, bias, float(eps), groups)
    return _by_channel(tensor, context.once(key, make, _label(weight, bias)))
