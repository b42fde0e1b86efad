"""Operators on constants alone, worked out as a program is read: weights, tables, masks.

NumPy's functions in float32, as torch would compute them. What makes tensors from sizes is here
too; a size that varies is kept as one (`Constant.sizes`), as long as the numbers are the same all
along it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .sizes import AnySize, divided, product
from .tensors import Constant, RefusedError

__all__ = ["FOLDED", "fold", "made_of_sizes", "whole_array"]

Array = NDArray[Any]

_MOST_ELEMENTS = 1 << 24  # of what is not as large as the weights that it is made of
_MOST_PRODUCTS = 1 << 31  # of a matrix product
_DTYPES = {
    "float32": np.float32, "float64": np.float32, "float16": np.float32, "bfloat16": np.float32,
    "int64": np.int64, "int32": np.int64, "int16": np.int64, "int8": np.int64, "uint8": np.int64,
    "bool": np.bool_,
}  # fmt: skip


def _dtype(dtype: Any, default: Any) -> Any:
    if dtype is None:
        return default
    name = getattr(dtype, "name", "")
    if name not in _DTYPES:
        raise RefusedError(f"of dtype {name or dtype}")
    return _DTYPES[name]


# ---- Constants from sizes ------------------------------------------------------------------------


def _filled(sizes: Sequence[AnySize], value: Any, dtype: Any) -> Constant:
    return Constant(np.full((1,) * len(sizes), value, dtype), tuple(sizes))


def _like(name: str, value: Any, given: Mapping[str, Any]) -> Constant:
    like = given["self"]
    number = given.get("fill_value", value)
    kept = _DTYPES.get(like.dtype, np.float32)
    sizes = given["size"] if name.startswith("new_") else like.sizes
    return _filled(sizes, number, _dtype(given.get("dtype"), kept))


def made_of_sizes(name: str, given: Mapping[str, Any]) -> Constant | None:
    """Return what zeros, full_like, arange and their kin make; None for another operator.

    The tensor that a ``_like`` takes is read for its shape and dtype alone.
    """
    fills = {"zeros": 0, "ones": 1, "full": None, "empty": 0, "scalar_tensor": None}
    stem = name.removeprefix("new_").removesuffix("_like")
    if name == "scalar_tensor":
        return _filled((), given["s"], _dtype(given.get("dtype"), np.float32))
    if stem in fills and stem != name:
        return _like(name, fills[stem], given)
    if stem in fills:
        value = given.get("fill_value", fills[stem])
        kind: Any = np.int64 if isinstance(value, int) and stem == "full" else np.float32
        kind = np.bool_ if isinstance(value, bool) else kind
        return _filled(given["size"], value, _dtype(given.get("dtype"), kind))
    if name in ("zero_", "fill_"):
        return None
    if name == "arange":
        start, step = given.get("start", 0), given.get("step", 1)
        bounds = (start, given["end"], step)
        if not all(isinstance(bound, (int, float)) for bound in bounds):
            return None
        whole = all(isinstance(bound, int) for bound in bounds)
        if abs(bounds[1] - start) / abs(step or 1) > _MOST_ELEMENTS:
            raise RefusedError("of too many elements")
        return Constant.of(
            np.arange(*bounds, dtype=_dtype(given.get("dtype"), np.int64 if whole else np.float32))
        )
    if name == "eye":
        if given["n"] * (given.get("m") or given["n"]) > _MOST_ELEMENTS:
            raise RefusedError("of too many elements")
        return Constant.of(np.eye(given["n"], given.get("m"), dtype=np.float32))
    return None


# ---- Operators on arrays -------------------------------------------------------------------------


def _kept(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function take and give whole arrays by torch's names."""

    def apply(given: dict[str, Any]) -> Any:
        made = function(**given)
        if isinstance(made, tuple):
            return tuple(Constant.of(_small(part)) for part in made)
        return Constant.of(_small(made))

    return apply


def _small(array: Any) -> Array:
    """float64 is NumPy's doing, not torch's."""
    made: Array = np.asarray(array)
    return made.astype(np.float32) if made.dtype == np.float64 else made


def _axes(dim: Any) -> Any:
    return None if dim is None or dim == [] else tuple(dim) if isinstance(dim, list) else dim


def _reduce(function: Callable[..., Any]) -> Callable[..., Any]:
    def apply(self: Array, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
        del dtype
        wide = self.astype(np.float64) if self.dtype.kind == "f" else self
        return function(wide, axis=_axes(dim), keepdims=keepdim)

    return _kept(apply)


def _weight_norm(v: Array, g: Array, dim: int = 0) -> Array:
    """g * v/||v||, the norm over all axes but `dim`; of -1, which is no axis, over all."""
    axes = tuple(axis for axis in range(v.ndim) if axis != dim)
    wide = v.astype(np.float64)
    made: Array = g * wide / np.sqrt((wide * wide).sum(axis=axes, keepdims=True))
    return made


def _norm(
    self: Array, p: Any = 2, ord: Any = None, dim: Any = None, keepdim: bool = False,
    dtype: Any = None,
) -> Any:  # fmt: skip
    del dtype
    order = float(p if ord is None else ord)
    if order not in (1, 2):
        raise RefusedError(f"of order {order}")
    if order == 1:
        return np.abs(self.astype(np.float64)).sum(axis=_axes(dim), keepdims=keepdim)
    return np.sqrt((self.astype(np.float64) ** 2).sum(axis=_axes(dim), keepdims=keepdim))


def _norm_except_dim(v: Array, pow: int = 2, dim: int = 0) -> Any:
    if pow != 2:
        raise RefusedError(f"of order {pow}")
    axes = tuple(axis for axis in range(v.ndim) if axis != dim)
    return np.sqrt((v.astype(np.float64) ** 2).sum(axis=axes, keepdims=dim != -1))


def _slice(self: Array, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Array:
    key = [slice(None)] * self.ndim
    key[dim] = slice(start, end, step)
    return self[tuple(key)]


def _split(
    self: Array, split_size: Any = None, split_sizes: Any = None, chunks: Any = None, dim: int = 0
) -> Any:
    total = self.shape[dim]
    sizes = split_sizes if split_sizes is not None else split_size
    if not isinstance(sizes, list):
        each = -(-total // chunks) if sizes is None else sizes
        sizes = [each] * (total // each)
    return tuple(np.split(self, np.cumsum(sizes)[: -1 if sum(sizes) == total else None], axis=dim))


def _permuted(self: Array, dims: Sequence[int]) -> Any:
    return self.transpose(dims)


def _flattened(self: Array, start_dim: int = 0, end_dim: int = -1) -> Any:
    first, last = start_dim % max(self.ndim, 1), end_dim % max(self.ndim, 1)
    return self.reshape(*self.shape[:first], -1, *self.shape[last + 1 :])


def _divide(self: Array, other: Any, rounding_mode: Any = None) -> Any:
    if rounding_mode == "floor":
        return np.floor_divide(self, other)
    if rounding_mode == "trunc":
        if self.dtype.kind == "i" and np.asarray(other).dtype.kind == "i":  # int64 is no float64
            return (self - np.fmod(self, other)) // other
        return np.trunc(self / other).astype(np.result_type(self, other))
    return np.asarray(self, np.float32) / other


def _convert(self: Array, dtype: Any = None, other: Any = None, **_: Any) -> Array:
    kind = other.dtype if other is not None else _dtype(dtype, self.dtype)
    return self.astype(kind)


def _clamp(self: Array, min: Any = None, max: Any = None) -> Any:
    return np.clip(self, min, max)


def _softmax(self: Array, dim: int = -1, dtype: Any = None, half_to_float: Any = False) -> Any:
    del dtype, half_to_float
    most = self.max(axis=dim, keepdims=True, initial=-np.inf)  # of no element too
    wide = np.exp(self.astype(np.float64) - most)
    return wide / wide.sum(axis=dim, keepdims=True)


def _masked(self: Array, mask: Array, value: Any) -> Any:
    return np.where(mask, np.asarray(value, self.dtype), self)


def _view(self: Array, size: Any = None, shape: Any = None) -> Any:
    return self.reshape(size if size is not None else shape)


def _cumsum(self: Array, dim: int, dtype: Any = None) -> Array:
    made: Array = np.cumsum(self, axis=dim, dtype=_dtype(dtype, None))
    return made


def _squeeze(self: Array, dim: Any = None) -> Array:
    dims = range(self.ndim) if dim is None else dim if isinstance(dim, list) else [dim]
    return self.squeeze(tuple(d % self.ndim for d in dims if self.shape[d] == 1))


_PADDED: Mapping[str, Any] = {
    "constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap",
}  # fmt: skip


def _pad(self: Array, pad: Any, mode: str = "constant", value: Any = None) -> Array:
    """Ends are those of the last dim first; below 0 they are cut."""
    ends = [(0, 0)] * (self.ndim - len(pad) // 2)
    ends += [(pad[k], pad[k + 1]) for k in range(len(pad) - 2, -1, -2)]
    key = tuple(
        slice(max(0, -a), max(0, n - max(0, -b)))
        for n, (a, b) in zip(self.shape, ends, strict=True)
    )
    more = [(max(0, a), max(0, b)) for a, b in ends]
    options: dict[str, Any] = {"constant_values": value or 0} if mode == "constant" else {}
    made: Array = np.pad(self[key], more, _PADDED[mode], **options)
    return made


def _tri(function: Callable[..., Any]) -> Callable[..., Any]:
    return _kept(lambda self, diagonal=0: function(self, diagonal))


def _same(self: Any = None, input: Any = None, **_: Any) -> Any:
    return input if self is None else self


def _two(function: Callable[..., Any]) -> Callable[..., Any]:
    def apply(self: Any, other: Any, alpha: Any = 1) -> Any:
        wide = other if isinstance(alpha, int) and alpha == 1 else other * alpha
        return function(self, wide)

    return _kept(apply)


FOLDED: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    **{name: _kept(_same) for name in (
        "contiguous", "clone", "detach", "detach_", "alias", "dropout", "lift_fresh_copy",
        "lift_fresh", "positive",
    )},
    "to": _kept(_convert), "_to_copy": _kept(_convert), "type_as": _kept(_convert),
    "add": _two(np.add), "sub": _two(np.subtract), "mul": _two(np.multiply),
    "div": _kept(_divide), "rsub": _two(lambda a, b: b - a), "pow": _kept(
        lambda self, exponent: np.power(self, exponent)),
    "maximum": _two(np.maximum), "minimum": _two(np.minimum), "eq": _two(np.equal),
    "ne": _two(np.not_equal), "lt": _two(np.less), "le": _two(np.less_equal),
    "gt": _two(np.greater), "ge": _two(np.greater_equal), "logical_and": _two(np.logical_and),
    "logical_or": _two(np.logical_or), "bitwise_and": _two(np.bitwise_and),
    "bitwise_or": _two(np.bitwise_or), "remainder": _two(np.remainder), "fmod": _two(np.fmod),
    "logical_xor": _two(np.logical_xor),
    **{name: _kept(lambda self, function=function: function(self)) for name, function in {
        "neg": np.negative, "abs": np.abs, "sqrt": np.sqrt, "exp": np.exp, "log": np.log,
        "sin": np.sin, "cos": np.cos, "tanh": np.tanh, "square": np.square, "floor": np.floor,
        "ceil": np.ceil, "round": np.round, "sign": np.sign, "logical_not": np.logical_not,
        "bitwise_not": np.invert, "trunc": np.trunc, "isnan": np.isnan,
        "isinf": np.isinf, "reciprocal": lambda x: 1 / x, "rsqrt": lambda x: 1 / np.sqrt(x),
        "sigmoid": lambda x: 1 / (1 + np.exp(-x.astype(np.float64))),
        "relu": lambda x: np.maximum(x, 0), "t": np.transpose, "numpy_T": np.transpose,
        "mT": lambda x: np.swapaxes(x, -1, -2),
    }.items()},
    "clamp": _kept(_clamp), "softmax": _kept(_softmax), "masked_fill": _kept(_masked),
    "where": _kept(lambda condition, self, other: np.where(condition, self, other)),
    "sum": _reduce(np.sum), "mean": _reduce(np.mean), "amax": _reduce(np.max),
    "amin": _reduce(np.min), "prod": _reduce(np.prod), "norm": _kept(_norm),
    "linalg_vector_norm": _kept(_norm),
    "norm_except_dim": _kept(_norm_except_dim), "_weight_norm": _kept(_weight_norm),
    "cumsum": _kept(_cumsum),
    "tril": _tri(np.tril), "triu": _tri(np.triu), "tril_": _tri(np.tril), "triu_": _tri(np.triu),
    "mm": _kept(lambda self, mat2: self @ mat2), "bmm": _kept(lambda self, mat2: self @ mat2),
    "matmul": _kept(lambda self, other: self @ other), "mv": _kept(lambda self, vec: self @ vec),
    "linear": _kept(lambda input, weight, bias=0: input @ weight.T + (0 if bias is None else bias)),
    "view": _kept(_view), "reshape": _kept(_view), "_unsafe_view": _kept(_view),
    "flatten": _kept(_flattened), "permute": _kept(_permuted), "squeeze": _kept(_squeeze),
    "transpose": _kept(lambda self, dim0, dim1: self.swapaxes(dim0, dim1)),
    "unsqueeze": _kept(lambda self, dim: np.expand_dims(self, dim)),
    "select": _kept(lambda self, dim, index: self.take(index, axis=dim)), "slice": _kept(_slice),
    "index_select": _kept(lambda self, dim, index: self.take(index, axis=dim)),
    "embedding": _kept(lambda weight, indices, **_: weight[indices]),
    "flip": _kept(lambda self, dims: np.flip(self, tuple(dims))),
    "unbind": _kept(lambda self, dim=0: tuple(np.moveaxis(self, dim, 0))),
    "split": _kept(_split), "split_with_sizes": _kept(_split), "chunk": _kept(_split),
    "cat": _kept(lambda tensors, dim=0: np.concatenate(tensors, axis=dim)),
    "stack": _kept(lambda tensors, dim=0: np.stack(tensors, axis=dim)),
    "repeat": _kept(lambda self, repeats: np.tile(self, repeats)),
    "pad": _kept(_pad), "constant_pad_nd": _kept(_pad),
    "roll": _kept(lambda self, shifts, dims=(): np.roll(self, tuple(shifts), tuple(dims) or None)),
}  # fmt: skip


# What treats dims alone: the same for an array that has size 1 where it repeats.
_OF_DIMS = frozenset([
    "contiguous", "clone", "detach", "alias", "to", "_to_copy", "unsqueeze", "transpose", "permute",
    "select", "unbind", "lift_fresh_copy", "dropout", "t", "numpy_T", "mT",
])  # fmt: skip
_ON_EACH = frozenset(["neg", "abs", "sqrt", "exp", "tanh", "sigmoid", "relu", "logical_not"])


def _repeating(name: str, given: Mapping[str, Any]) -> Any:
    """Return what an operator makes of a constant whose sizes vary; None if it is another one."""
    if name == "embedding":
        return _looked_up(given["weight"], given["indices"])
    constant = given.get("self", given.get("input"))
    if not isinstance(constant, Constant):
        return None
    if name in ("expand", "expand_as", "broadcast_to", "repeat", "tile"):
        return _expanded(constant, name, given)
    if all(isinstance(size, int) for size in constant.sizes):
        return None
    if name in ("view", "reshape", "_unsafe_view") and constant.array.size == 1:
        sizes = list(given.get("size", given.get("shape", [])))
        if -1 in sizes:
            left = divided(product(constant.sizes), product(s for s in sizes if s != -1))
            sizes = [left if s == -1 else s for s in sizes]
        return Constant(constant.array.reshape([1] * len(sizes)), tuple(sizes))
    if name in _ON_EACH:
        return Constant(FOLDED[name]({"self": constant.array}).array, constant.sizes)
    if name not in _OF_DIMS or (
        name in ("select", "unbind") and constant.array.shape[given.get("dim", 0)] == 1
    ):
        return None
    made = FOLDED[name]({**given, "self": constant.array})
    behind = _sizes_behind(name, given, constant.sizes)
    if isinstance(made, tuple):
        return tuple(Constant(each.array, behind) for each in made)
    return Constant(made.array, behind)


def _sizes_behind(
    name: str, given: Mapping[str, Any], sizes: tuple[AnySize, ...]
) -> tuple[AnySize, ...]:
    left = list(sizes)
    if name == "unsqueeze":
        left.insert(given["dim"] % (len(left) + 1), 1)
    elif name == "transpose":
        a, b = given["dim0"], given["dim1"]
        left[a], left[b] = left[b], left[a]
    elif name == "permute":
        left = [left[d] for d in given["dims"]]
    elif name in ("select", "unbind"):
        del left[given.get("dim", 0)]
    elif name in ("t", "numpy_T", "mT"):
        left[-2:] = left[:-3:-1]
    return tuple(left)


def _looked_up(table: Any, ids: Any) -> Constant | None:
    """Return the rows of a table for ids that repeat, such as a first token for every row."""
    if not isinstance(table, Constant) or not isinstance(ids, Constant):
        return None
    rows = table.full()
    if ids.array.dtype.kind != "i" or np.any((ids.array < 0) | (ids.array >= len(rows))):
        raise RefusedError(f"of ids that are not among {len(rows)}")
    return Constant(rows[ids.array], (*ids.sizes, *rows.shape[1:]))


def _expanded(constant: Constant, name: str, given: Mapping[str, Any]) -> Constant | None:
    """Return a constant with sizes of 1 repeated, which costs nothing."""
    repeats = name in ("repeat", "tile")
    wanted = next((given[key] for key in ("size", "repeats", "dims") if key in given), None)
    wanted = list(given["other"].sizes if wanted is None else wanted)
    more = len(wanted) - len(constant.sizes)
    own: list[AnySize] = [*[1] * more, *constant.sizes]
    if repeats and any(s != 1 and t != 1 for s, t in zip(own, wanted, strict=True)):
        return None
    if repeats:
        sizes = [t if s == 1 else s for s, t in zip(own, wanted, strict=True)]
    else:
        sizes = [o if s == -1 else s for s, o in zip(wanted, own, strict=True)]
    array = constant.array.reshape([1] * more + list(constant.array.shape))
    return Constant(array, tuple(sizes))


def fold(name: str, given: Mapping[str, Any]) -> Any:
    """Return what an operator, "add", makes of constants; NotImplemented if nobody knows here.

    Raises
    ------
    RefusedError
        It is known, and these arguments are not.
    """
    repeating = _repeating(name, given)
    if repeating is not None:
        return repeating
    if name not in FOLDED or _varies(list(given.values())):
        return NotImplemented
    arrays = {key: _arrays(value) for key, value in given.items()}
    try:
        _check_work(name, arrays)
        with np.errstate(all="ignore"):  # infinite numbers and NaN come of them as in the core
            return FOLDED[name](arrays)
    except (TypeError, ValueError, IndexError, ZeroDivisionError, MemoryError) as error:
        raise RefusedError(f"of constants ({error})") from None


def _varies(value: Any) -> bool:
    """Tell whether a constant among arguments has a size that varies."""
    if isinstance(value, Constant):
        return not all(isinstance(size, int) for size in value.sizes)
    return isinstance(value, list) and any(map(_varies, value))


def _check_work(name: str, given: Mapping[str, Any]) -> None:
    """Refuse what is not as large as what it is made of, and too large."""
    arrays = [value for value in given.values() if isinstance(value, np.ndarray)]
    own = sum(array.size for array in arrays)
    if name in ("cat", "stack"):
        made = sum(np.size(array) for array in given["tensors"])
        own = max(np.size(array) for array in given["tensors"])
    elif name in ("pad", "constant_pad_nd"):
        sizes = arrays[0].shape[::-1]
        ends = [
            max(0, a) + max(0, b)
            for a, b in zip(given["pad"][::2], given["pad"][1::2], strict=True)
        ]
        made = math.prod(n + more for n, more in itertools.zip_longest(sizes, ends, fillvalue=0))
    elif name in ("repeat", "tile"):
        made = own * math.prod(map(int, given.get("repeats", given.get("dims", ()))))
    elif name in ("embedding", "index_select"):
        table = given.get("weight", given.get("self"))
        made = table.size // max(1, len(table)) * np.size(given.get("indices", given.get("index")))
    elif name in ("mm", "bmm", "matmul", "mv", "linear") and len(arrays) > 1:
        a, b = arrays[:2]
        columns = b.shape[0 if name == "linear" else -1] if b.ndim > 1 else 1
        each = 1 if a.dtype.kind == b.dtype.kind == "f" else 16  # others are multiplied slowly
        if a.size * columns * math.prod(b.shape[:-2]) * each > _MOST_PRODUCTS:
            raise RefusedError("of too many elements")
        made = a.size // max(1, a.shape[-1]) * columns
    else:
        made = math.prod(max(sizes) for sizes in itertools.zip_longest(
            *(reversed(array.shape) for array in arrays), fillvalue=1))  # fmt: skip
    if made > max(_MOST_ELEMENTS, own):
        raise RefusedError("of too many elements")


def whole_array(constant: Constant, sizes: tuple[AnySize, ...] | None = None) -> Array:
    """Return all numbers of a constant, read-only, repeated to other sizes if these are given.

    Raises
    ------
    RefusedError
        As `Constant.full`.
    """
    return constant.full() if sizes is None else Constant(constant.array, sizes).full()


def _arrays(value: Any) -> Any:
    if isinstance(value, Constant):
        return whole_array(value)
    if isinstance(value, list):
        return [_arrays(each) for each in value]
    return value
