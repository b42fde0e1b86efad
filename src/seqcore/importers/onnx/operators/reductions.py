"""What goes over whole axes: reductions, places of extremes, running sums, Softmax, norms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....layers import Cast
from ...aten.arguments import as_float, as_traced, dim_of, is_bool, mapped, traced
from ...aten.folding import whole_array
from ...aten.sizes import AnySize, product
from ...aten.tensors import Constant, RefusedError, Traced
from .elementwise import computed
from .table import Context, aten, ints, operator, shape, weights

# ---- Reductions ----------------------------------------------------------------------------------

_WHAT = {  # the reduction, what comes before it and behind it
    "ReduceSum": ("sum", "", ""), "ReduceMean": ("mean", "", ""), "ReduceMax": ("amax", "", ""),
    "ReduceMin": ("amin", "", ""), "ReduceProd": ("prod", "", ""), "ReduceL1": ("sum", "abs", ""),
    "ReduceL2": ("norm", "", ""), "ReduceSumSquare": ("sum", "square", ""),
    "ReduceLogSum": ("sum", "", "log"), "ReduceLogSumExp": ("logsumexp", "", ""),
}  # fmt: skip
# Of no element, where it is not 0. The mean of none is 0 to onnxruntime, and undefined to ONNX.
_OF_NONE = {
    "ReduceMax": -math.inf, "ReduceMin": math.inf, "ReduceProd": 1.0, "ReduceLogSum": -math.inf,
    "ReduceLogSumExp": -math.inf,
}  # fmt: skip


def _dims(data: Any, axes: Any, noop: int) -> list[int]:
    """Return the dims that are reduced: all, if none is named."""
    rank = len(shape(data))
    named = [] if axes is None else ints(axes, "axes")
    if not named:
        return [] if noop else list(range(rank))
    dims = sorted(dim_of(axis, rank) for axis in named)
    if len(set(dims)) < len(dims) or not rank:
        raise RefusedError(f"over axes {named} of {rank}")
    return dims


def _reduction(op: str) -> Callable[..., Any]:
    name, before, behind = _WHAT[op]

    def apply(
        context: Context, data: Any, axes: Any = None, *, keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Any:  # fmt: skip
        dims = _dims(data, axes, noop_with_empty_axes)
        whole = context.whole()
        if whole and op in ("ReduceLogSum", "ReduceLogSumExp"):
            raise RefusedError("of whole numbers")
        if 0 in shape(data):
            return _of_none(op, data, dims, bool(keepdims), whole)
        if name in ("amax", "amin"):  # of nothing these are infinite, and not 0
            for dim in dims:
                context.bound(shape(data)[dim], 1)
        made = computed(context, before, self=data) if before else data
        if not dims:  # of single elements
            made = computed(context, "abs", self=made) if name == "norm" else made
        elif name == "mean" and whole:
            total = aten(context, "sum", self=made, dim=dims, keepdim=bool(keepdims))
            count = product(shape(data)[dim] for dim in dims)
            return computed(context, "div", self=total, other=count, rounding_mode="trunc")
        else:
            made = computed(context, name, self=made, dim=dims, keepdim=bool(keepdims))
        made = computed(context, behind, self=made) if behind else made
        return computed(context, "trunc", self=made) if whole and name == "norm" else made

    return apply


for _name in _WHAT:
    operator(_name)(_reduction(_name))


def _of_none(op: str, data: Any, dims: Sequence[int], keepdims: bool, whole: bool) -> Constant:
    """Return what a reduction makes of no element: the same everywhere, if anything is left."""
    left = [1 if at in dims else size for at, size in enumerate(shape(data))
            if keepdims or at not in dims]  # fmt: skip
    number = _OF_NONE.get(op, 0.0)
    if whole and math.isinf(number) and 0 not in left:  # it is an end of the dtype
        raise RefusedError("of whole numbers over an axis of size 0")
    made = np.asarray(number, np.int64 if whole else np.float32)
    if is_bool(data):
        made = np.asarray(number > 0)
    return Constant(made.reshape([1] * len(left)), tuple(left))


def _place(name: str) -> Callable[..., Any]:
    def apply(
        context: Context, data: Any, *, axis: int = 0, keepdims: int = 1,
        select_last_index: int = 0,
    ) -> Any:  # fmt: skip
        tensor = as_traced(context, data)
        if not select_last_index:
            return aten(context, name, self=tensor, dim=axis, keepdim=bool(keepdims))
        turned = aten(context, "flip", self=tensor, dims=[axis])
        place = aten(context, name, self=turned, dim=axis, keepdim=bool(keepdims))
        size = tensor.sizes[dim_of(axis, len(tensor.dims))]
        last = computed(context, "sub", self=size, other=1)
        return _as_whole(computed(context, "sub", self=last, other=place))

    return apply


operator("ArgMax")(_place("argmax"))
operator("ArgMin")(_place("argmin"))


def _as_whole(value: Any) -> Any:
    return mapped(value, Cast("int64"), dtype="int64") if isinstance(value, Traced) else value


@operator("TopK")
def topk(
    context: Context, X: Any, K: Any = None, *, k: int = 0, axis: int = -1, largest: int = 1,
    sorted: int = 1,
) -> Any:  # fmt: skip
    """In order, even if it may be any; before opset 10 k is an attribute."""
    del sorted
    (count,) = [k] if K is None else ints(K, "K")
    return aten(
        context, "topk", self=as_traced(context, X), k=count, dim=axis, largest=bool(largest)
    )


@operator("CumSum")
def cumsum(context: Context, x: Any, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Any:
    (at,) = ints(axis, "axis")
    at = dim_of(at, len(shape(x)))
    made = aten(context, "flip", self=x, dims=[at]) if reverse else x
    made = aten(context, "cumsum", self=made, dim=at)
    if exclusive:
        made = _later(context, made, at)
    return aten(context, "flip", self=made, dims=[at]) if reverse else made


def _later(context: Context, value: Any, at: int) -> Any:
    """Return elements one place on: a zero in front of them, and not the last."""
    sizes = shape(value)
    zero = Constant.of(np.zeros((1,) * len(sizes), np.float32))
    if sizes[at] == 1:
        return computed(context, "mul", self=zero, other=value)
    kept = aten(context, "slice", self=value, dim=at, start=0, end=sizes[at] - 1)
    if isinstance(value, Constant):
        width = [(int(k == at), 0) for k in range(len(sizes))]
        return Constant.of(np.pad(kept.full(), width))
    return aten(context, "cat", tensors=[zero, kept], dim=at)


# ---- Softmax -------------------------------------------------------------------------------------


def _softmax(name: str) -> Callable[..., Any]:
    def apply(context: Context, input: Any, *, axis: int | None = None) -> Any:
        """Over one axis; before opset 13 over all from that one on."""
        rank = len(shape(input))
        if context.opset >= 13:
            return aten(context, name, self=input, dim=-1 if axis is None else axis)
        first = dim_of(1 if axis is None else axis, rank)
        dims = list(range(first, rank))
        if len(dims) == 1:
            return aten(context, name, self=input, dim=first)
        most = aten(context, "amax", self=input, dim=dims, keepdim=True)
        less = computed(context, "sub", self=input, other=most)
        grown = computed(context, "exp", self=less)
        total = aten(context, "sum", self=grown, dim=dims, keepdim=True)
        if name == "softmax":
            return computed(context, "div", self=grown, other=total)
        return computed(context, "sub", self=less, other=computed(context, "log", self=total))

    return apply


operator("Softmax")(_softmax("softmax"))
operator("LogSoftmax")(_softmax("log_softmax"))


# ---- Norms ---------------------------------------------------------------------------------------


def _tail(X: Any, axis: int) -> list[int]:
    rank = len(shape(X))
    return list(range(dim_of(axis, rank), rank))


def _fitting(value: Any, wanted: Sequence[AnySize]) -> Constant | None:
    """Return weights of this shape, repeated if need be; None if they are none that a layer has."""
    if not isinstance(value, Constant) or not all(isinstance(size, int) for size in wanted):
        return None
    if value.sizes == tuple(wanted):
        return None if value.array.shape != value.sizes else value
    try:
        return Constant.of(np.array(whole_array(value, tuple(wanted))), value.name)
    except ValueError:  # they do not fit, or are more than what is normalised
        return None


def _scaled(context: Context, value: Any, scale: Any, offset: Any) -> Any:
    if scale is not None:
        value = computed(context, "mul", self=value, other=scale)
    return value if offset is None else computed(context, "add", self=value, other=offset)


def _of_channels(context: Context, value: Any, rank: int) -> Any:
    """Return a number for each channel, in axis 1 of `rank`."""
    return aten(context, "view", self=value, size=[*shape(value), *[1] * (rank - 2)])


def _standard(context: Context, X: Any, dims: list[int], epsilon: float) -> tuple[Any, Any, Any]:
    """Return (X - mean) / sqrt(variance + epsilon), the mean, and one over the root."""
    mean = aten(context, "mean", self=X, dim=dims, keepdim=True)
    variance = aten(context, "var", self=X, dim=dims, correction=0, keepdim=True)
    inverse = computed(context, "rsqrt", self=computed(
        context, "add", self=variance, other=float(epsilon)))  # fmt: skip
    less = computed(context, "sub", self=X, other=mean)
    return computed(context, "mul", self=less, other=inverse), mean, inverse


def _in_float32(stash_type: int) -> None:
    if stash_type != 1:
        raise RefusedError(f"with stash_type={stash_type}")


@operator("LayerNormalization")
def layer_normalization(
    context: Context, X: Any, Scale: Any = None, B: Any = None, *, axis: int = -1,
    epsilon: float = 1e-5, stash_type: int = 1,
) -> Any:  # fmt: skip
    """Return what is normalised, and the mean and the inverse deviation that it was with."""
    _in_float32(stash_type)
    tensor = as_float(as_traced(context, X))
    dims = _tail(tensor, axis)
    statistics = context.wanted(1) or context.wanted(2)
    tail = tensor.sizes[dims[0] :]
    gamma, beta = _fitting(Scale, tail), _fitting(B, tail)
    if statistics or gamma is None or (B is not None and beta is None):
        made, *rest = _standard(context, tensor, dims, epsilon)
        return (_scaled(context, made, Scale, B), *rest)
    return (aten(
        context, "layer_norm", input=tensor, normalized_shape=list(tail), weight=gamma, bias=beta,
        eps=float(epsilon),
    ),)  # fmt: skip


@operator("RMSNormalization")
def rms_normalization(
    context: Context, X: Any, scale: Any, *, axis: int = -1, epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Any:  # fmt: skip
    _in_float32(stash_type)
    tensor = as_float(as_traced(context, X))
    dims = _tail(tensor, axis)
    tail = tensor.sizes[dims[0] :]
    gamma = _fitting(scale, tail)
    if gamma is not None:
        return aten(
            context, "rms_norm", input=tensor, normalized_shape=list(tail), weight=gamma,
            eps=float(epsilon),
        )  # fmt: skip
    squares = computed(context, "square", self=tensor)
    mean = aten(context, "mean", self=squares, dim=dims, keepdim=True)
    inverse = computed(context, "rsqrt", self=computed(
        context, "add", self=mean, other=float(epsilon)))  # fmt: skip
    return _scaled(context, computed(context, "mul", self=tensor, other=inverse), scale, None)


@operator("BatchNormalization")
def batch_normalization(
    context: Context, X: Any, scale: Any, B: Any, input_mean: Any, input_var: Any, *,
    epsilon: float = 1e-5, momentum: float = 0.9, training_mode: int = 0, spatial: int = 1,
) -> Any:  # fmt: skip
    """With statistics that are known; those of the batch would let its rows meet."""
    del momentum
    if training_mode or any(context.wanted(index) for index in range(1, 5)):
        raise RefusedError("in training mode")
    if not spatial:
        raise RefusedError("with spatial=0")
    own = (scale, B, input_mean, input_var)
    if not all(isinstance(value, Constant) and _is_known(value) for value in own):
        return (_of_statistics(context, X, *own, epsilon),)
    return (aten(
        context, "batch_norm", input=as_traced(context, X), weight=scale, bias=B,
        running_mean=input_mean, running_var=input_var, eps=float(epsilon),
    ),)  # fmt: skip


def _is_known(value: Constant) -> bool:
    return all(isinstance(size, int) for size in value.sizes)


def _of_statistics(
    context: Context, x: Any, scale: Any, offset: Any, mean: Any, variance: Any, epsilon: float
) -> Any:
    """(x - mean)/sqrt(variance + epsilon)*scale + offset, of channels in axis 1."""
    scale, offset, mean, variance = (
        _of_channels(context, each, len(shape(x))) for each in (scale, offset, mean, variance)
    )
    deviation = computed(
        context, "sqrt", self=computed(context, "add", self=variance, other=float(epsilon))
    )
    centred = computed(context, "sub", self=x, other=mean)
    made = computed(context, "div", self=centred, other=deviation)
    return _scaled(context, made, scale, offset)


def _leads(tensor: Traced) -> bool:
    """Tell whether the batch is the first dim, alone."""
    return tensor.batch_dim == 0 and len(tensor.dims[0]) == 1


@operator("InstanceNormalization")
def instance_normalization(
    context: Context, input: Any, scale: Any, B: Any, *, epsilon: float = 1e-5
) -> Any:
    """Of each channel alone, over all axes behind it."""
    tensor = as_traced(context, input)
    rank = len(tensor.dims)
    if rank < 3:
        raise RefusedError(f"of {rank} axes")
    if isinstance(scale, Constant) and isinstance(B, Constant) and _leads(tensor):
        gamma = Constant.of(weights(scale, "scale"), scale.name)
        beta = Constant.of(weights(B, "B"), B.name)
        return aten(
            context, "instance_norm", input=tensor, weight=gamma, bias=beta, eps=float(epsilon)
        )
    made, _, _ = _standard(context, tensor, list(range(2, rank)), epsilon)
    return _scaled(context, made, *(_of_channels(context, each, rank) for each in (scale, B)))


@operator("GroupNormalization")
def group_normalization(
    context: Context, X: Any, scale: Any, bias: Any, *, num_groups: int, epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Any:  # fmt: skip
    """Before opset 21 there is one scale for each group, then one for each channel."""
    _in_float32(stash_type)
    gamma, beta = weights(scale, "scale"), weights(bias, "bias")
    channels = shape(X)[1]
    if context.opset < 21:
        if not isinstance(channels, int) or num_groups < 1 or channels % num_groups:
            raise RefusedError(f"of {channels} channels in {num_groups} groups")
        wide = (num_groups, channels // num_groups)
        gamma, beta = (
            whole_array(Constant.of(each.reshape(num_groups, 1)), wide).reshape(-1)
            for each in (gamma, beta)
        )
    return aten(
        context, "group_norm", input=traced(X), num_groups=num_groups, weight=Constant.of(gamma),
        bias=Constant.of(beta), eps=float(epsilon),
    )  # fmt: skip


@operator("LpNormalization")
def lp_normalization(context: Context, input: Any, *, axis: int = -1, p: int = 2) -> Any:
    """Return the input over its norm; zeros where that is 0."""
    if p not in (1, 2):
        raise RefusedError(f"with p={p}")
    norm = computed(context, "norm", self=input, p=p, dim=[axis], keepdim=True)
    made = computed(context, "div", self=input, other=norm)
    none = computed(context, "eq", self=norm, other=0.0)
    return computed(context, "where", condition=none, self=0.0, other=made)


@operator("MeanVarianceNormalization")
def mean_variance_normalization(
    context: Context, X: Any, *, axes: Sequence[int] = (0, 2, 3)
) -> Any:
    """(X - mean) / (deviation + 1e-9)."""
    dims = _dims(X, list(axes), 0)
    mean = aten(context, "mean", self=X, dim=dims, keepdim=True)
    deviation = aten(context, "std", self=X, dim=dims, correction=0, keepdim=True)
    less = computed(context, "sub", self=X, other=mean)
    return computed(
        context, "div", self=less, other=computed(context, "add", self=deviation, other=1e-9)
    )
