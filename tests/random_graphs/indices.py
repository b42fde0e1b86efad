"""Readers that make or move whole numbers, and those that turn the batch to axis 1 and back.

What is compared or cut off must be exact, or the reference would choose another element: these ops
read what only moved since it was an input.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from .graph import MAX_CHANNELS, ROWS, Value
from .parts import Parts

MOVES = frozenset([
    "slice", "index", "permute", "repeat", "reshape", "expand", "concat", "fold", "unfold",
    "batch_first", "batch_second", "topk",
])  # fmt: skip
MOST_FRAMES = 60


class Indices(Parts):
    """argmax, topk, cast, crf; ids that move; batch_first and batch_second."""

    def is_moved(self, name: str) -> bool:
        """Whether a value holds elements of inputs and nothing that was computed."""
        pending, makers = [name], {o: n for n in self.graph.nodes for o in n["outputs"]}
        while pending:
            node = makers.get(pending.pop())
            if node is not None:
                if node["op"] not in MOVES:
                    return False
                pending += node["inputs"]
        return True

    def whole(self, v: Value, axes: list[int | None], rows: int) -> Value:
        """A new value of whole numbers below `rows`; with rows 0 of any. None is the time of v."""
        name, inner = self.name(), tuple(n for n in axes if n is not None)
        if axes and axes[0] is None:
            return replace(v, name=name, kind="ids", channels=0, depth=0, inner=inner, rows=rows)
        return Value(name, "places", 0, inner=inner, rows=rows)

    # ---- Made of floats --------------------------------------------------------------------------

    def argmax(self, v: Value) -> Value | None:
        """Over any axis; over time of a row's own frames."""
        if not self.is_moved(v.name):
            return None
        axis, keepdims = self.draw.randrange(1, v.rank), self.draw.random() < 0.4
        axes = list(v.axes)
        size = axes[axis - 1]
        axes[axis - 1 : axis] = [1] if keepdims else []
        made = self.whole(v, axes, max(1, *v.frames) if size is None else max(size, 1))
        function = self.draw.choice(["max", "min"])
        attrs = {"axis": axis, "keepdims": keepdims, "function": function}
        self.add("argmax", [v.name], [made.name], attrs, **self.lengths(v))
        return made

    def topk(self, v: Value) -> Value | None:
        """Of features; of time where no row ends before the others."""
        axis = self.draw.choice([v.rank - 1, v.rank - 1, 1])
        axes = list(v.axes)
        size = axes[axis - 1] if axes[axis - 1] is not None else min(v.frames)
        if not self.is_moved(v.name) or not size or (axis == 1 and v.lengths is not None):
            return None
        axes[axis - 1] = k = self.draw.choice([1, size, self.draw.randint(1, size)])
        values = self.of_axes(v, axes)
        indices = self.whole(v, axes, max(size, *v.frames, 1))
        wanted = self.draw.choice(["both", "both", "values", "indices"])
        outputs = [
            values.name if wanted != "indices" else None,
            indices.name if wanted != "values" else None,
        ]
        attrs = {"k": k, "axis": axis, "largest": self.draw.random() < 0.5}
        self.add("topk", [v.name], outputs, attrs, **self.lengths(v))
        if wanted == "indices":
            return indices
        if wanted == "both":
            self.values.append(indices)
        return values

    def truncate(self, v: Value) -> Value | None:
        """Numbers near 0 as whole ones, some of them negative."""
        if not self.is_moved(v.name):
            return None
        made = self.whole(v, v.axes, 0)
        self.add("cast", [v.name], [made.name], {"dtype": "int64"}, **self.lengths(v))
        return made

    def crf(self, v: Value) -> Value | None:
        """Tags of the best path. Some steps are forbidden, never all: tag 0 may follow itself."""
        if not self.is_moved(v.name) or not v.channels:
            return None
        shapes = {"W": (v.channels, v.channels), "start": (v.channels,), "end": (v.channels,)}
        weights = {role: self.weight(*shape) for role, shape in shapes.items()}
        for name in weights.values():
            scores = self.graph.tensors[name]
            forbidden = self.rng.random(scores.shape) < self.draw.choice([0, 0.3])
            forbidden.flat[0] = False
            scores[forbidden] = -np.inf
        tags, score = self.whole(v, [None], v.channels), Value(self.name(), "flat", 0)
        wanted = self.draw.choice(["both", "both", "tags", "score"])
        outputs = [
            tags.name if wanted != "score" else None,
            score.name if wanted != "tags" else None,
        ]
        mask, attrs = self.mask_for(v), {"tags": v.channels}
        inputs = [v.name, mask] if mask else [v.name]
        self.add("crf", inputs, outputs, attrs, weights, **self.lengths(v))
        if wanted == "both":
            self.values.append(score)
        return score if wanted == "score" else tags

    def positions(self, v: Value) -> Value | None:
        """Where frames stand, as a sequence of one feature; past a row's end too."""
        if v.lengths is not None or not v.axes or v.axes[0] is not None:
            return None
        place, whole, made = self.name(), self.name(), self.of_axes(v, [None, 1])
        function = self.draw.choice(["floor", "ceil", "trunc", "round", "square", "negative"])
        self.add("positions", [v.name], [place])
        self.add("unary", [place], [whole], {"function": function})
        self.add("expand", [whole], [made.name], {"axis": 2})
        return self.squash(made)

    # ---- Of whole numbers ------------------------------------------------------------------------

    def to_floats(self, v: Value) -> Value | None:
        if not v.axes or math.prod(v.inner) > MAX_CHANNELS:
            return None
        if v.kind == "ids":
            made = self.of_axes(v, v.axes)
        else:
            made = Value(self.name(), "vector" if len(v.inner) == 1 else "flat", v.inner[-1])
        self.add("cast", [v.name], [made.name], {"dtype": "float32"}, **self.lengths(v))
        return self.squash(replace(made, rows=ROWS))

    def move_ids(self, v: Value) -> Value | None:
        """Some of the ids, all of them several times or in another order, or two of them joined."""
        op = self.draw.choice(["slice", "repeat", "index", "permute", "concat", "cast"])
        axis, axes = self.draw.randrange(1, v.rank), list(v.axes)
        size = axes[axis - 1]
        if op in ("slice", "repeat"):
            return self.along_ids(op, v, axis)
        if op == "cast":
            made = self.whole(v, axes, v.rows)
            self.add("cast", [v.name], [made.name], {"dtype": "int64"}, **self.lengths(v))
            return made
        if op == "permute":
            dims = [1, *self.draw.sample(range(2, v.rank), v.rank - 2)]
            made = self.whole(v, [axes[d - 1] for d in dims], v.rows)
            self.add("permute", [v.name], [made.name], {"dims": dims}, **self.lengths(v))
            return made
        if op == "index":
            least = min(v.frames) if size is None else size
            index = self.draw.choice([0, -1, 1])
            if not -least <= index < least:
                return None
            made = self.whole(v, [n for d, n in enumerate(axes, 1) if d != axis], v.rows)
            attrs = {"axis": axis, "index": index}
            self.add("index", [v.name], [made.name], attrs, **self.lengths(v))
            return made
        alike = [u for u in self.values if u.kind == "ids" and replace(v, rows=u.rows).fits(u)]
        other = self.draw.choice([v, *alike])
        rows = max(v.rows, other.rows) if v.rows and other.rows else 0
        if v.inner:
            made = self.whole(v, [*axes[:-1], v.inner[-1] * 2], rows)
            axis = -1
        elif v.lengths is None:
            made = replace(self.whole(v, axes, rows), frames=tuple(2 * n for n in v.frames))
            axis = 1
        else:
            return None
        lengths = self.lengths(v, other)
        self.add("concat", [v.name, other.name], [made.name], {"axis": axis}, **lengths)
        return made

    def along_ids(self, op: str, v: Value, axis: int) -> Value | None:
        step = self.draw.choice([1, 2, -1])
        attrs = {"axis": axis, "start": None, "stop": None, "step": step}
        if op == "repeat":
            attrs = {"axis": axis, "repeats": 2}

        def size(n: int) -> int:
            return 2 * n if op == "repeat" else len(range(n)[::step])

        if axis == 1:
            made = self.mapped(v, self.whole(v, v.axes, v.rows), size)
            return self.add_mapped(op, v, made, attrs) if max(made.frames) <= MOST_FRAMES else None
        axes = list(v.axes)
        axes[axis - 1] = size(axes[axis - 1] or 0)
        made = self.whole(v, axes, v.rows)
        self.add(op, [v.name], [made.name], attrs, **self.lengths(v))
        return made

    def embed_places(self, v: Value) -> Value | None:
        """A table's rows for whole numbers without a time axis: a vector's is a sequence.

        Or their one-hot vectors, or what a layer makes of these.
        """
        if not v.rows or len(v.inner) > 1:
            return None
        op = self.draw.choice(["embedding", "one_hot", "dense"])
        units = self.draw.choice([1, 4, 19])
        made = self.of_axes(
            Value("", "vector", 0), [*v.inner, v.rows if op == "one_hot" else units]
        )
        attrs: dict[str, Any] = {"rows": v.rows, "units": units}
        weights = {"W": self.weight(v.rows, units)}
        if op == "one_hot":
            attrs, weights = {"depth": v.rows}, {}
        elif op == "dense":
            attrs = {"one_hot": v.rows, "units": units, "activation": self.activation_spec()}
            made, weights = replace(made, depth=1), self.kernel(v.rows, units)
        self.add(op, [v.name], [made.name], attrs, weights)
        return made

    # ---- The batch as axis 1 ---------------------------------------------------------------------

    def batch_first(self, v: Value) -> Value:
        made = replace(self.turned[v.name], name=self.name())
        self.add("batch_first", [v.name], [made.name], **self.lengths(v))
        return made

    def batch_second(self, v: Value) -> Value:
        made = replace(v, name=self.name(), kind="turned")
        self.turned[made.name] = v
        self.add("batch_second", [v.name], [made.name], **self.lengths(v))
        return made
