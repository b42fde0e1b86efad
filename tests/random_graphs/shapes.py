"""Readers that move, pick, repeat or drop elements and axes, fold frames and stack states."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from .graph import MAX_CHANNELS, MAX_DEPTH, Value
from .parts import Parts

MOST_FRAMES = 60
REDUCTIONS = [
    "mean", "sum", "max", "min", "prod", "norm1", "norm2", "logsumexp", "var", "std",
]  # fmt: skip


class Shapes(Parts):
    """Values under other shapes."""

    def flatten(self, v: Value) -> Value | None:
        if v.lengths is not None:
            return None
        name, size = self.name(), v.frames[0] * v.channels
        self.add("flatten", [v.name], [name])
        kind = "vector" if v.fixed and size <= MAX_CHANNELS else "flat"
        return Value(name, kind, size, depth=v.depth)

    def fold(self, v: Value) -> Value:
        name = self.name()
        self.add("fold", [v.name], [name])
        return replace(v, name=name, kind="frames")

    def unfold(self, v: Value) -> Value:
        """Sequences again, like any value with as many frames and the same ends."""
        timed = [u for u in self.values if u.kind in ("sequence", "ids", "box")]
        ends = (v.frames, v.fixed, v.lengths)
        like = [u for u in timed if (u.frames, u.fixed, u.lengths) == ends]
        name, chosen = self.name(), self.draw.choice(like)
        self.add("unfold", [v.name, chosen.name], [name])
        return replace(v, name=name, kind="box" if v.inner else "sequence")

    def stack(self, v: Value) -> Value:
        alike = [u for u in self.values if u.kind == "vector" and u.channels == v.channels]
        joined, made = self.joined(v, alike)
        self.add("stack", [j.name for j in joined], [made.name])
        self.members[made.name] = len(joined)
        return replace(made, kind="stack")

    def select(self, v: Value) -> Value:
        name = self.name()
        index = self.draw.randrange(self.members[v.name])
        self.add("select", [v.name], [name], {"index": index})
        return replace(v, name=name, kind="vector")

    # ---- Axes ------------------------------------------------------------------------------------

    def reshape(self, v: Value) -> Value | None:
        """A frame's features in another shape; of what has no lengths and a known time, all."""
        size = math.prod([*v.inner, v.channels])
        divisors = [n for n in (1, 2, 3, 5, 11, 13, 16) if size and size % n == 0] or [1]
        a = self.draw.choice(divisors)
        shapes = [[size], [a, size // a], [size // a, a], [a, 1, size // a]]
        shape = self.draw.choice([shape for shape in shapes if all(shape)] or [[]])
        if not shape:  # no size is 0
            return None
        told = shape.copy()
        if self.draw.random() < 0.4:
            told[self.draw.randrange(len(told))] = -1
        keep, time, axes = 2, [], [None, *shape]
        if self.draw.random() < 0.4:
            keep = 1
            time, told = (
                ([-1], shape) if self.draw.random() < 0.5 or not v.fixed else (v.frames[:1], told)
            )
            if not all(time):
                return None
            if v.fixed and v.lengths is None and v.frames[0] and self.draw.random() < 0.4:
                time, told, axes = [], [-1], [v.frames[0] * size]
        attrs = {"keep": keep, "sizes": None, "shape": [*time, *told]}
        if (
            all([*v.inner, v.channels])
            and (keep == 2 or (v.fixed and v.frames[0]))
            and self.draw.random() < 0.5
        ):
            sizes = [*v.inner, v.channels]
            attrs["sizes"] = sizes if keep == 2 else [v.frames[0], *sizes]
        made = self.of_axes(v, axes)
        self.add("reshape", [v.name], [made.name], attrs, **self.lengths(v))
        return made

    def expand(self, v: Value) -> Value | None:
        """A new axis of size 1; in the place of time only where there are no lengths."""
        if v.rank > 4:
            return None
        first = 1 if v.kind == "vector" else 2
        if v.lengths is None and v.fixed and v.kind in ("line", "mask"):
            first = 1
        axis = self.draw.randint(first, v.rank)
        axes = list(v.axes)
        if axis == 1 and v.kind != "vector":
            axes[0] = v.frames[0]
        axes.insert(axis - 1, 1)
        made = self.of_axes(v, axes)
        self.add("expand", [v.name], [made.name], {"axis": axis}, **self.lengths(v))
        return made

    def permute(self, v: Value) -> Value | None:
        dims = list(range(1, v.rank))
        self.draw.shuffle(dims)
        axes = v.axes
        if dims[0] != 1:
            if not v.fixed or v.lengths is not None or v.frames[0] > MAX_CHANNELS:
                dims = [1, *(d for d in dims if d != 1)]
            elif v.axes[0] is None:
                axes = [v.frames[0], *v.axes[1:]]
        made = self.of_axes(v, [axes[d - 1] for d in dims])
        self.add("permute", [v.name], [made.name], {"dims": dims}, **self.lengths(v))
        return made

    def repeat(self, v: Value) -> Value | None:
        axis, repeats = self.draw.randrange(1, v.rank), self.draw.choice([1, 2, 3])
        return self.along(v, "repeat", {"axis": axis, "repeats": repeats}, lambda n: n * repeats)

    def slice(self, v: Value) -> Value | None:
        bounds = [None, 0, 1, 2, 4, 100, -1, -2, -4, -100]
        start, stop = self.draw.choice(bounds), self.draw.choice(bounds)
        step = self.draw.choice([1, 1, 1, 2, 3, -1, -1, -2])
        axis = self.draw.randrange(1, v.rank)
        low, high = (start, stop) if step > 0 else (stop, start)
        if (
            axis == 1
            and v.lengths
            and low is not None
            and low < 0
            and high is not None
            and high >= 0
        ):
            return None  # a shorter row could give more frames
        attrs = {"axis": axis, "start": start, "stop": stop, "step": step}
        return self.along(
            v, "slice", attrs, lambda n: len(range(*slice(start, stop, step).indices(n)))
        )

    def along(self, v: Value, op: str, attrs: dict[str, Any], size: Any) -> Value | None:
        """An op that changes how long one axis is, as `size` tells."""
        axis = attrs["axis"]
        if axis == 1 and v.axes[0] is None:
            made = self.mapped(v, replace(v, name=self.name()), size)
            if max(made.frames) > MOST_FRAMES:
                return None
            return self.add_mapped(op, v, made, attrs)
        axes = list(v.axes)
        axes[axis - 1] = size(axes[axis - 1])
        if math.prod(n for n in axes if n is not None) > MAX_CHANNELS:
            return None
        made = self.of_axes(v, axes)
        self.add(op, [v.name], [made.name], attrs, **self.lengths(v))
        return made

    def index(self, v: Value) -> Value | None:
        """One position of an axis; of time only one that every row has, or that has lengths."""
        axis, index = self.draw.randrange(1, v.rank), self.draw.choice([0, 0, 1, 2, -1, -1, -1, -3])
        axes = list(v.axes)
        size = axes.pop(axis - 1)
        least = min(v.frames) if size is None else size
        free = size is None and v.lengths is not None and not v.fixed
        if not -least <= index < least and not free:
            return None
        made = self.of_axes(v, axes)
        self.add("index", [v.name], [made.name], {"axis": axis, "index": index}, **self.lengths(v))
        return made

    def reduce(self, v: Value) -> Value | None:
        """Over some axes, which go or become 1."""
        axes = [axis for axis in range(1, v.rank) if self.draw.random() < 0.5]
        if not axes:
            return None
        keepdims = self.draw.random() < 0.4
        function = self.draw.choice(REDUCTIONS)
        if function == "prod" and v.kind in ("sequence", "vector", "box"):
            v = self.squash(v)
            self.values.append(v)
        left = [1 if d in axes else n for d, n in enumerate(v.axes, 1) if keepdims or d not in axes]
        made = self.of_axes(v, left)
        named = [axis - v.rank if self.draw.random() < 0.3 else axis for axis in axes]
        attrs = {"function": function, "axes": named, "keepdims": keepdims}
        if function in ("var", "std"):  # of one element less than none is NaN
            several = math.prod(v.axes[axis - 1] or 0 for axis in axes) > 1
            attrs["correction"] = self.draw.choice([0, 1]) if several else 0
        self.add("reduce", [v.name], [made.name], attrs, **self.lengths(v))
        return (
            self.squash(made)
            if function not in ("mean", "max", "min") and made.kind in ("sequence", "vector", "box")
            else made
        )

    def cumsum(self, v: Value) -> Value:
        name, axis = self.name(), self.draw.randrange(1, v.rank)
        self.add("cumsum", [v.name], [name], {"axis": axis}, **self.lengths(v))
        return self.squash(replace(v, name=name))

    def gram(self, v: Value) -> Value | None:
        """Products of the parts of a frame, by batch_matmul over its last two axes."""
        if v.depth == MAX_DEPTH or len(v.inner) != 1 or v.inner[0] > 40:
            return None
        turned, name = self.name(), self.name()
        other = replace(
            v, name=turned, lengths=None
        )  # it cannot say that its rows end as the first's do
        self.add("permute", [v.name], [turned], {"dims": [1, 3, 2]}, **self.lengths(v))
        self.add("batch_matmul", [v.name, turned], [name], **self.lengths(v, other))
        return self.squash(replace(v, name=name, channels=v.inner[0], depth=v.depth + 1))
