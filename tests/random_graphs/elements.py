"""Readers that treat every frame alone, and merges of several values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .graph import BOUNDED, MAX_CHANNELS, MAX_DEPTH, ROWS, Value
from .parts import Parts

STEPS = ["floor", "ceil", "round", "trunc", "sign"]
SMOOTH = ["abs", "negative", "sin", "cos"]
FUNCTIONS = [
    "square", "sqrt", "rsqrt", "reciprocal", "log", "exp", "erf", "log1p", "expm1", *SMOOTH,
]  # fmt: skip
EXPONENTS = [2, 0.5, 3, -1.5]


class Elements(Parts):
    """Layers over the features of a frame, functions of elements, and merges."""

    def embedding(self, v: Value) -> Value | None:
        if not v.rows or len(v.inner) > 1:
            return None
        units, name = self.draw.choice([1, 4, 19]), self.name()
        attrs = {"rows": v.rows, "units": units}
        weights = {"W": self.weight(v.rows, units)}
        self.add("embedding", [v.name], [name], attrs, weights, **self.lengths(v))
        made = replace(v, name=name, kind="box" if v.inner else "sequence")
        return replace(made, channels=units, rows=ROWS)

    def one_hot(self, v: Value) -> Value | None:
        if not v.rows or len(v.inner) > 1:
            return None
        name = self.name()
        self.add("one_hot", [v.name], [name], {"depth": v.rows}, **self.lengths(v))
        made = replace(v, name=name, kind="box" if v.inner else "sequence")
        return replace(made, channels=v.rows, rows=ROWS)

    def dense(self, v: Value) -> Value | None:
        """Of features, or of ids for their one-hot vectors."""
        ids = v.kind == "ids"
        if v.depth == MAX_DEPTH or (ids and (not v.rows or len(v.inner) > 1)):
            return None
        units, name = self.channels() or 1, self.name()
        attrs = {"units": units, "activation": self.activation_spec(), **self.one_hot_of(v)}
        weights = self.kernel(v.rows if ids else v.channels, units)
        self.add("dense", [v.name], [name], attrs, weights, **self.lengths(v))
        made = replace(v, name=name, channels=units, depth=v.depth + 1)
        return replace(made, kind="box" if v.inner else "sequence", rows=ROWS) if ids else made

    def activation(self, v: Value, spec: list[Any] | None = None) -> Value:
        name, attrs = self.name(), {"activation": spec or self.activation_spec()}
        self.add("activation", [v.name], [name], attrs, **self.lengths(v))
        return replace(v, name=name)

    def axes(self, v: Value) -> list[int]:
        """Axes of a value, ascending; those of a sequence may be time."""
        last = self.draw.choice([-1, v.rank - 1])
        return self.draw.choice(
            [[last], [last], [1], [-2, -1]] if v.kind == "sequence" else [[last]]
        )

    def over(self, v: Value, axes: Sequence[int], offset: float = 0) -> str:
        """A new weight over some axes: as large as the value in its channels, or of size 1."""
        sizes = [v.channels if axis % v.rank == v.rank - 1 else 1 for axis in axes]
        name = self.weight(*(n if self.draw.random() < 0.7 else 1 for n in sizes), scale=0.3)
        self.graph.tensors[name] += np.float32(offset)
        return name

    def normalize(self, v: Value) -> Value | None:
        """Normalisation of any kind, or softmax. A large epsilon keeps errors from growing."""
        if v.depth == MAX_DEPTH or v.channels == 0:
            return None
        name, axes, groups = self.name(), self.axes(v), self.draw.choice([0, 0, 1, -1])
        if self.draw.random() < 0.2:
            self.add("softmax", [v.name], [name], {"axes": axes}, **self.lengths(v))
            return replace(v, name=name, depth=v.depth + 1)
        axes = [-1] if groups else axes
        kind = self.draw.choice(["layer", "variance", "rms", "unit"])
        attrs = {"kind": kind, "axes": axes, "groups": groups, "epsilon": 0.5}
        weights = {"W": self.over(v, axes, 0.5), "b": self.over(v, axes)}
        self.add("normalize", [v.name], [name], attrs, weights, **self.lengths(v))
        return replace(v, name=name, depth=v.depth + 1)

    def spread(self, v: Value) -> Value | None:
        """An elementwise op with weights that repeat, or several constants."""
        if v.channels == 0:
            return None
        name, axes, op = self.name(), self.axes(v), self.draw.choice(["affine", "prelu", "clip"])
        if op == "clip":
            most = self.draw.choice([None, 0.75])
            # It jumps at the threshold: no number at which many functions are, as 0.5.
            attrs = {"negative_slope": 0.25, "threshold": 0.4375, "max_value": most}
            self.add("clipped_relu", [v.name], [name], attrs, **self.lengths(v))
            return self.activation(replace(v, name=name), ["linear", 0, 0])
        roles = {"alpha": 0.2} if op == "prelu" else {"c": 0, "W": 0.5, "b": 0}
        weights = {role: self.over(v, axes, offset) for role, offset in roles.items()}
        self.add(op, [v.name], [name], {"axes": axes}, weights, **self.lengths(v))
        return replace(v, name=name)

    def unary(self, v: Value) -> Value:
        """Of numbers that are no sums also functions with steps, on which rounding would decide."""
        steps = STEPS if v.name.startswith("x") or v.name in self.exact else []
        function = self.draw.choice([*FUNCTIONS, *steps])
        if function in ("square", "exp", "expm1"):
            v = self.squash(v)
        elif function not in (*SMOOTH, *STEPS, "erf"):
            v = self.positive(v)
        name = self.name()
        self.add("unary", [v.name], [name], {"function": function}, **self.lengths(v))
        return replace(v, name=name)

    def power(self, v: Value) -> Value:
        v, name = self.positive(v), self.name()
        attrs = {"exponent": self.draw.choice(EXPONENTS)}
        self.add("power", [v.name], [name], attrs, **self.lengths(v))
        return self.squash(replace(v, name=name))

    # ---- Merges ----------------------------------------------------------------------------------

    def merge(self, v: Value) -> Value | None:
        """Values of the same frames; a vector, or a single frame, is there for all of them."""
        joined, made = self.joined(v, [u for u in self.values if u.fits(v)])
        if v.kind in ("sequence", "box") and self.draw.random() < 0.3:
            single = [u for u in self.values if u.kind == "vector" or self.is_single(u, v)]
            joined += self.draw.sample(single, min(len(single), 1))
            self.draw.shuffle(joined)
        wide = {j.channels for j in joined} - {1}
        if len(wide) > 1:
            return None
        ops = ["add", "multiply", "average", "maximum", "minimum"]
        op = self.draw.choice([*ops, "subtract", "divide"] if len(joined) == 2 else ops)
        if op == "divide":
            joined[1] = self.positive(joined[1])
        made = replace(made, channels=wide.pop() if wide else 1, depth=max(j.depth for j in joined))
        self.add(op, [j.name for j in joined], [made.name], **self.lengths(*joined))
        return self.activation(made, self.draw.choice(BOUNDED)) if op == "multiply" else made

    @staticmethod
    def is_single(u: Value, v: Value) -> bool:
        """Whether `u` is a single frame that can stand for all frames of `v`."""
        alike = (u.kind, u.inner) == (v.kind, v.inner)
        return alike and set(u.frames) == {1} and u.fixed and u.lengths is None

    def concat(self, v: Value) -> Value | None:
        if v.kind == "sequence" and v.lengths is None and self.draw.random() < 0.5:
            return self.concat_time(v)
        joined, made = self.joined(v, [u for u in self.values if u.fits(v)])
        channels = sum(j.channels for j in joined)
        if channels > MAX_CHANNELS:
            return None
        lengths = self.lengths(*joined)
        self.add("concat", [j.name for j in joined], [made.name], {"axis": -1}, **lengths)
        return replace(made, channels=channels)

    def concat_time(self, v: Value) -> Value:
        alike = [u for u in self.values if u.kind == v.kind and u.channels == v.channels]
        alike = [u for u in alike if u.lengths is None]
        joined, made = self.joined(v, alike)
        axis = {"axis": self.draw.choice([1, -2])}
        self.add("concat", [j.name for j in joined], [made.name], axis)
        frames = zip(*(j.frames for j in joined), strict=True)
        fixed = all(j.fixed for j in joined)
        made = replace(made, frames=tuple(sum(counts) for counts in frames), fixed=fixed)
        if len(joined) == 2 and self.draw.random() < 0.7:
            masks = [self.mask_for(j) for j in joined]
            mask = replace(made, name=self.name(), kind="mask", channels=0, depth=0)
            self.add("mask_concat", [*(j.name for j in joined), *masks], [mask.name])
            self.values.append(mask)
        return made
