"""What all readers of values use: names, weights, nodes, and which values go together."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .graph import ACTIVATIONS, CONSTANTS, MAX_CHANNELS, RandomGraph, Value, floats


class Parts:
    """One graph in the making. A method per reader adds nodes and returns the value, or None."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.rng = np.random.default_rng(seed)
        first, second = self.draw.sample([0, 1, 2, 3, 5, 7, 12], 2)
        fixed = self.draw.random() < 0.3
        self.graph = RandomGraph(seed, (first,) if fixed else (first, second))
        self.values = self.graph.values
        self.made = 0
        self.stacked: dict[str, Any] | None = None  # an input of states, as torch has them
        self.members: dict[str, int] = {}  # of each stack
        self.exact: set[str] = set()  # values that are no sums: truths
        self.turned: dict[str, Value] = {}  # what the values are whose batch is axis 1

    def name(self) -> str:
        self.made += 1
        return f"v{self.made}"

    def channels(self) -> int:
        sizes = [1, 2, 3, 5, 16, 17, 33, 65]
        return self.draw.choice(sizes) if self.draw.random() < 0.95 else 0

    def activation_spec(self) -> list[Any]:
        return self.draw.choice(ACTIVATIONS)

    def weight(self, *shape: int, scale: float = 0.5) -> str:
        """A new tensor's name."""
        name = f"t{len(self.graph.tensors)}"
        self.graph.tensors[name] = floats(self.rng, *shape) * np.float32(scale)
        return name

    def kernel(self, *shape: int) -> dict[str, str]:
        """Weights W and b, W of the size of 1 over the root of its fan-in."""
        fan_in = int(np.prod(shape[:-1]))
        return {"W": self.weight(*shape, scale=max(fan_in, 1) ** -0.5), "b": self.weight(shape[-1])}

    def state(self, units: int, *stacked: int) -> dict[str, Any]:
        """A new state input: (B, units), or (n, B, units) with `stacked` n."""
        count = sum(spec["kind"] == "state" for spec in self.graph.inputs)
        spec = {"name": f"s{count}", "kind": "state", "shape": [*stacked, units]}
        self.graph.inputs.append(spec | ({"batch_axis": 1} if stacked else {}))
        return self.graph.inputs[-1]

    def add(
        self,
        op: str,
        inputs: Sequence[str | None],
        outputs: Sequence[str | None],
        attrs: dict[str, Any] | None = None,
        weights: dict[str, str] | None = None,
        **lengths: Any,
    ) -> None:
        self.graph.nodes.append({
            "op": op, "layer": f"layer{len(self.graph.nodes)}", "inputs": list(inputs),
            "outputs": list(outputs), "attrs": attrs or {}, "weights": weights or {}, **lengths,
        })  # fmt: skip

    @staticmethod
    def lengths(*values: Value) -> dict[str, Any]:
        """The entry `lengths` of a node that reads these values."""
        names = [None if v.kind == "frames" else v.lengths for v in values]
        if not any(names):
            return {}
        return {"lengths": names[0] if len(names) == 1 else names}

    def mapped(self, v: Value, made: Value, length: Callable[[int], int]) -> Value:
        """`made` with the frames and lengths of `v`, as `length` changes them."""
        lengths = None if v.lengths is None else f"{made.name}:lengths"
        return replace(made, frames=tuple(map(length, v.frames)), lengths=lengths)

    def add_mapped(self, op: str, v: Value, made: Value, attrs: Any, weights: Any = None) -> Value:
        """Add a node that gives its lengths on."""
        lengths = {"lengths": v.lengths, "lengths_out": made.lengths} if v.lengths else {}
        self.add(op, [v.name], [made.name], attrs, weights, **lengths)
        return made

    def of_axes(self, v: Value, axes: Sequence[int | None]) -> Value:
        """A new value with these axes behind its batch; None is the time of `v`.

        What has another axis in the place of time is a sequence too, of so many frames.
        """
        made = replace(v, name=self.name(), inner=tuple(n for n in axes[1:-1] if n is not None))
        made = replace(made, channels=axes[-1] or 0 if axes else 0)
        if len(axes) > 1:
            made = replace(made, kind="sequence" if len(axes) == 2 else "box")
            time = axes[0]
            if time is not None:
                frames = (time,) * len(self.graph.times)
                made = replace(made, frames=frames, fixed=True, lengths=None)
            return made
        if axes and axes[0] is None:
            return replace(made, kind="line")
        known = bool(axes) and made.channels <= MAX_CHANNELS
        return Value(made.name, "vector" if known else "flat", made.channels, depth=v.depth)

    def squash(self, v: Value) -> Value:
        """`v` behind an activation that keeps it near 1."""
        name, attrs = self.name(), {"activation": ["tanh", 0, 0]}
        self.add("activation", [v.name], [name], attrs, **self.lengths(v))
        return replace(v, name=name)

    def positive(self, v: Value) -> Value:
        """`v` as numbers from 0.5 to 1.5, of which there are roots, logarithms and quotients."""
        squashed, name = self.squash(v), self.name()
        number = {"c": 0, "W": 0.5, "b": 1}
        weights = {role: self.weight(1, scale=0) for role in number}
        for role, constant in number.items():
            self.graph.tensors[weights[role]] += np.float32(constant)
        self.add("affine", [squashed.name], [name], {"axes": [-1]}, weights, **self.lengths(v))
        return replace(v, name=name)

    def joined(self, v: Value, others: Sequence[Value]) -> tuple[list[Value], Value]:
        """`v` with up to two of `others`, and what is known of a value made of them."""
        joined = [v] + [self.draw.choice(others) for _ in range(self.draw.randint(0, 2))]
        depth = max(j.depth for j in joined)
        return joined, replace(v, name=self.name(), depth=depth)

    def one_hot_of(self, v: Value) -> dict[str, Any]:
        """The attribute of a node that reads ids or features; old graphs do not say that."""
        if v.kind == "ids":
            return {"one_hot": v.rows}
        return {"one_hot": 0} if self.draw.random() < 0.1 else {}

    def mask_for(self, v: Value) -> str | None:
        """A mask of the frames of `v`, or none."""
        masks = [u for u in self.values if u.kind in ("mask", "maybe") and u.frames == v.frames]
        masks = [u for u in masks if u.lengths in (None, v.lengths)]
        if not masks and v.kind == "sequence" and self.draw.random() < 0.4:
            masks.append(self.mask_frames(v))
            self.values.append(masks[0])
        return self.draw.choice(masks).name if masks and self.draw.random() < 0.8 else None

    def mask_frames(self, v: Value) -> Value:
        """(B, T); of a box one number for each part of a frame, which is no mask but features."""
        name, attrs = self.name(), {"value": self.draw.choice(CONSTANTS)}
        self.add("mask_frames", [v.name], [name], attrs, **self.lengths(v))
        if v.inner:
            return replace(self.of_axes(v, v.axes[:-1]), name=name)
        return replace(v, name=name, kind="mask", channels=0, depth=0)
