"""Masks that a functional config computes by operations of its own, as expressions.

Keras 3 writes every mask of a functional model into its graph: NotEqual, Any, LogicalOr and what
Concatenate needs. Here such nodes become `Mask` expressions over symbols; nothing else may read
them. Element by element there are more booleans than frames, so there are four forms:

    Frames     (B, T), or (B, T, 1) after ExpandDims: a mask
    Constant   all True or all False, of the shape of something
    Elements   (B, T, F): x != number
    Joined     (B, T, F): several of the first two, side by side or one after the other
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...graph import Mask
from ...layers import Symbol
from .config import NotSupportedError, short

__all__ = ["BOOLEANS", "Boolean", "mask_of"]


@dataclass(frozen=True)
class Frames:
    mask: Mask
    expanded: bool = False


@dataclass(frozen=True)
class Constant:
    value: bool
    like: Symbol | Mask | None = None  # what has its frames


@dataclass(frozen=True)
class Elements:
    x: Symbol
    number: float


@dataclass(frozen=True)
class Joined:
    parts: tuple[Frames | Constant, ...]
    along_time: bool


Boolean = Frames | Constant | Elements | Joined


def mask_of(value: Any) -> Mask | None:
    """Return the mask that a node stands for; None when every frame counts."""
    if isinstance(value, Frames) and not value.expanded:
        return value.mask
    if isinstance(value, Constant) and value.value:
        return None
    raise NotSupportedError("a mask that is not computed as Keras's layers compute it")


def _not_equal(is_ids: bool, x: Any, number: Any) -> Boolean:
    if (
        not isinstance(x, Symbol)
        or isinstance(number, bool)
        or not isinstance(number, (int, float))
    ):
        raise NotSupportedError(f"compares with {short(number)}")
    if not is_ids:
        return Elements(x, float(number))
    if number != 0:
        raise NotSupportedError(f"compares token ids with {short(number)}, not 0")
    return Frames(Mask("ids", (x,)))


def _any(_ids: bool, x: Any, axis: Any = None, keepdims: Any = False) -> Boolean:
    last = axis in (-1, [-1], 2, [2])
    if isinstance(x, Elements) and last:
        return Frames(Mask("frames", (x.x,), x.number), bool(keepdims))
    if isinstance(x, Joined) and last and not keepdims:
        if x.along_time:
            return _one_after_the_other(x.parts)
        if any(isinstance(part, Constant) and part.value for part in x.parts):
            return _with_frames(Constant(True), *x.parts)
        masks = [part.mask for part in x.parts if isinstance(part, Frames)]
        return Frames(_merged("any", masks)) if masks else Constant(False)
    if isinstance(x, Frames) and x.expanded and last:
        return replace(x, expanded=False)
    return _unsupported("any")


def _one_after_the_other(parts: Sequence[Frames | Constant]) -> Boolean:
    sequences: list[tuple[Any, Mask | None]] = []
    for part in parts:
        if isinstance(part, Frames):
            sequences.append((part.mask, part.mask))  # a mask has its own frames
        elif part.value and part.like is not None:
            sequences.append((part.like, None))
        else:
            return _unsupported("masks of which one is a constant, joined over time")
    (so_far, mask), *others = sequences
    for sequence, other in others:
        so_far = mask = Mask("concat", (so_far, sequence, mask, other))
    return Constant(True) if mask is None else Frames(mask)


def _unsupported(what: str) -> Boolean:
    raise NotSupportedError(f"{what} of values that are no masks of frames")


def _merged(kind: str, masks: Sequence[Mask]) -> Mask:
    """Return masks as one, equal ones once: a stack of Adds says the same again and again."""
    different = tuple(dict.fromkeys(masks))
    return different[0] if len(different) == 1 else Mask(kind, different)


def _with_frames(found: Frames | Constant, *sources: Frames | Constant) -> Boolean:
    """Return a constant with something that has its frames, which a place behind may want."""
    if isinstance(found, Frames) or found.like is not None:
        return found
    known = (s.mask if isinstance(s, Frames) else s.like for s in sources)
    return replace(found, like=next((like for like in known if like is not None), None))


def _merge(kind: str) -> Callable[..., Boolean]:
    def merged(_ids: bool, a: Any, b: Any) -> Boolean:
        for one, other in ((a, b), (b, a)):
            if isinstance(one, Constant) and isinstance(other, (Frames, Constant)):
                # False or m, True and m: m; else the constant
                found = other if one.value == (kind == "all") else one
                return _with_frames(found, one, other)
        if isinstance(a, Frames) and isinstance(b, Frames) and a.expanded == b.expanded:
            return Frames(_merged(kind, [a.mask, b.mask]), a.expanded)
        return _unsupported("a logical operation")

    return merged


def _expand_dims(_ids: bool, x: Any, axis: Any = None) -> Boolean:
    if axis in (-1, 2, [-1], [2]):
        if isinstance(x, Constant):
            return x
        if isinstance(x, Frames) and not x.expanded:
            return replace(x, expanded=True)
    return _unsupported("a new axis")


def _squeeze(_ids: bool, x: Any, axis: Any = None) -> Boolean:
    if isinstance(x, Frames) and x.expanded and axis in (None, -1, 2, [-1], [2]):
        return replace(x, expanded=False)
    return _unsupported("an axis less")


def _concatenate(_ids: bool, xs: Any, axis: Any = 0) -> Boolean:
    parts = tuple(xs) if isinstance(xs, Sequence) else ()
    if parts and all(isinstance(part, (Frames, Constant)) for part in parts):
        if axis in (-1, 2):
            return Joined(parts, along_time=False)
        if axis in (1, -2):  # of (B, T, F), as Keras makes masks before it joins them
            return Joined(parts, along_time=True)
    return _unsupported("a concatenation")


def _like(value: bool) -> Callable[..., Boolean]:
    def made(_ids: bool, x: Any, dtype: Any = None) -> Boolean:
        if dtype != "bool":
            return _unsupported("a constant")
        return Constant(value, x if isinstance(x, Symbol) else None)

    return made


def _same(_ids: bool, x: Any, dtype: Any = None, **_layout: Any) -> Boolean:
    if isinstance(x, Boolean) and dtype in (None, "bool"):
        return x
    return _unsupported("a conversion")


# Names of Keras 3 and of TensorFlow's functions. Each takes whether its first argument is token
# ids, then the operation's arguments.
BOOLEANS: Mapping[str, Callable[..., Boolean]] = {
    "NotEqual": _not_equal,
    "math.not_equal": _not_equal,
    "Any": _any,
    "math.reduce_any": _any,
    "LogicalOr": _merge("any"),
    "math.logical_or": _merge("any"),
    "LogicalAnd": _merge("all"),
    "math.logical_and": _merge("all"),
    "ExpandDims": _expand_dims,
    "Squeeze": _squeeze,
    "Concatenate": _concatenate,
    "ZerosLike": _like(False),
    "OnesLike": _like(True),
    "ConvertToTensor": _same,
    "Cast": _same,
}
