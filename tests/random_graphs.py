"""Random graphs that a plan must accept, with weights and arguments for the core and the reference.

A graph is drawn layer by layer: each takes values that fit it, so that every op, option and way to
connect them turns up, also the rare ones (no frame, no channel, states through `select`, frames of
their own through `fold`). Numbers stay near 1, as trained ones do: weights shrink with their
fan-in, products are squashed, and a path has few layers with weights. What a float32 result can
then be off by is known (tolerances.py). Not here: graphs that are wrong (attacks/).
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqcore import reference as ref
from seqcore._binding import Plan

Array = NDArray[Any]
Arguments = dict[str, Array | None]

ROWS = 7  # of an embedding's table
PAST_END = 10**12  # an id that no table has: reading it past a row's end is an error
MAX_DEPTH = 3  # layers with weights on a path: the last row of tolerances.FLOAT32
MAX_CHANNELS = 200

BOUNDED = [
    ["tanh", 0, 0],
    ["sigmoid", 0, 0],
    ["softsign", 0, 0],
    ["hard_sigmoid", 0.2, 0.5],
    ["softmax", 0, 0],
]
ACTIVATIONS = [
    *BOUNDED,
    ["linear", 0, 0],
    ["relu", 0, 0],
    ["softplus", 0, 0],
    ["silu", 0, 0],
    ["leaky_relu", 0.3, 0],
    ["elu", 1.0, 0],
    ["selu", 0, 0],
    ["gelu", 0, 0],
    ["gelu_tanh", 0, 0],
    ["relu6", 0, 0],
    ["celu", 0.5, 0],
    ["log_sigmoid", 0, 0],
    ["mish", 0, 0],
    ["hard_silu", 0, 0],
    ["tanh_shrink", 0, 0],
    ["soft_shrink", 0.2, 0],
    ["squareplus", 1.0, 0],
    ["sparse_plus", 0, 0],
    ["log_softmax", 0, 0],
]
# Of a cell: log_softmax of many units is far below 0, and grows from step to step.
STEADY = [spec for spec in ACTIVATIONS if spec[0] != "log_softmax"]
GATES = {"lstm": 4, "gru": 3, "simple_rnn": 1}

# What may read a value, by its kind; a name that stands twice is drawn more often. A "flat" value
# has a size that the plan does not know, and is an output only.
ANY = ["dense", "activation", "merge", "merge", "concat", "normalize", "spread", "unary"]
READERS = {
    "ids": ["embedding"],
    "sequence": [
        *ANY, *["recurrent"] * 5, "conv1d", "conv1d", "depthwise_conv1d", "conv1d_transpose",
        "pool1d", "pad1d", "global_pool", "fold", "flatten", "repeat", "slice", "slice", "index",
        "reduce", "there_and_back", "attention", "products",
    ],
    "vector": [*ANY, "stack", "stack", "every_frame"],
    "frames": [*ANY, "unfold", "unfold", "unfold"],
    "stack": ["select"],
}  # fmt: skip


@dataclass(frozen=True)
class Value:
    """A value of a graph.

    `frames` counts its frames at each of the graph's times, `fixed` says whether the plan knows
    them, and `lengths` is where its rows end. The frames of a folded value keep all three.
    """

    name: str
    kind: str
    channels: int
    frames: tuple[int, ...] = ()
    lengths: str | None = None
    fixed: bool = False
    depth: int = 0

    def fits(self, other: Value) -> bool:
        """Whether the two differ in their channels alone."""
        return other == replace(self, name=other.name, channels=other.channels, depth=other.depth)


@dataclass
class RandomGraph:
    """A graph, its weights, and the number of frames that it can be called with."""

    seed: int
    times: tuple[int, ...]
    inputs: list[dict[str, Any]] = field(default_factory=list)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    tensors: dict[str, Array] = field(default_factory=dict)
    values: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)

    @property
    def document(self) -> dict[str, Any]:
        outputs = [
            {"name": f"output{i}", "value": v.name, "lengths": v.lengths}
            for i, v in enumerate(self.outputs)
        ]
        return {
            "format": "seqcore", "version": 1,
            "inputs": self.inputs, "nodes": self.nodes, "outputs": outputs,
        }  # fmt: skip

    def plan(self, **options: Any) -> Plan:
        return Plan(json.dumps(self.document).encode(), self.tensors, **options)

    def arguments(self, rng: np.random.Generator, batch: int, time: int) -> Arguments:
        """Draw inputs by name; past the ends of their rows stands what must not be read."""
        arguments: Arguments = {}
        for spec in self.inputs:
            shape = [time if size is None else size for size in spec.get("shape", [])]
            shape.insert(spec.get("batch_axis", 0), batch)
            if spec["kind"] == "lengths":
                array = rng.integers(0, time + 1, batch) if rng.random() < 0.7 else None
            elif spec["kind"] == "state":
                array = floats(rng, *shape) if rng.random() < 0.6 else None
            else:
                ids = spec["dtype"] == "int64"
                array = rng.integers(0, ROWS, shape) if ids else floats(rng, *shape)
            arguments[spec["name"]] = array
        lengths = arguments.get("x0:lengths")
        for spec in self.inputs:
            array = arguments[spec["name"]]
            if lengths is not None and spec["kind"] == "data" and array is not None:
                past = np.arange(time) >= lengths[:, None]
                array[past] = PAST_END if spec["dtype"] == "int64" else np.nan
        return arguments

    def row(self, arguments: Arguments, m: int) -> Arguments:
        """Row `m` of the batch, alone."""
        axes = {spec["name"]: spec.get("batch_axis", 0) for spec in self.inputs}
        return {
            name: None if array is None else np.ascontiguousarray(array.take([m], axes[name]))
            for name, array in arguments.items()
        }


def floats(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def random_graph(seed: int) -> RandomGraph:
    """Draw a graph; equal seeds give equal graphs."""
    return _Builder(seed).build()


class _Builder:
    """One graph in the making. A method per reader adds nodes and returns the new value."""

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

    def build(self) -> RandomGraph:
        self.add_inputs()
        for _ in range(self.draw.randint(1, 9)):
            value = self.draw.choice([v for v in self.values if v.kind in READERS])
            made = getattr(self, self.draw.choice(READERS[value.kind]))(value)
            if made is not None:
                self.values.append(made)
        self.choose_outputs()
        return self.graph

    def add_inputs(self) -> None:
        times = self.graph.times
        has_lengths = self.draw.random() < 0.7
        lengths = "x0:lengths" if has_lengths else None  # of every input: all have the same frames
        for i in range(self.draw.randint(1, 2)):
            name, channels = f"x{i}", self.channels()
            ids, fixed = self.draw.random() < 0.25, len(times) == 1 and self.draw.random() < 0.8
            shape = [times[0] if fixed else None] + ([] if ids else [channels])
            dtype = "int64" if ids else "float32"
            self.graph.inputs.append({"name": name, "kind": "data", "dtype": dtype, "shape": shape})
            if has_lengths and i == 0:
                self.graph.inputs.append({"name": lengths, "kind": "lengths", "of": name})
            kind = "ids" if ids else "sequence"
            self.values.append(Value(name, kind, channels, times, lengths, fixed))
        if self.draw.random() < 0.3:
            self.stacked = self.state(self.draw.choice([3, 16, 20]), 2)

    def choose_outputs(self) -> None:
        """Some values, among them often the last, and every stack, which can be nothing else."""
        stacks = [v for v in self.values if v.kind == "stack"]
        others = [v for v in self.values if v.kind not in ("stack", "ids")]
        # what stands past the end of a row is nobody's business, and folded it has no end
        others = [v for v in others if v.kind != "frames" or v.lengths is None]
        outputs = [self.draw.choice(others) for _ in range(self.draw.randint(1, 4)) if others]
        if others and self.draw.random() < 0.7:
            outputs.append(others[-1])
        self.graph.outputs = [*outputs, *stacks]
        self.draw.shuffle(self.graph.outputs)

    # ---- Parts -----------------------------------------------------------------------------------

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
    def lengths(value: Value, count: int | None = None) -> dict[str, Any]:
        """The entry `lengths` of a node that reads `value`, or `count` values with its lengths."""
        if value.lengths is None or value.kind == "frames":
            return {}
        return {"lengths": value.lengths if count is None else [value.lengths] * count}

    # ---- Readers: frame by frame -----------------------------------------------------------------

    def embedding(self, v: Value) -> Value:
        units, name = self.draw.choice([1, 4, 19]), self.name()
        attrs = {"rows": ROWS, "units": units}
        self.add(
            "embedding", [v.name], [name], attrs, {"W": self.weight(ROWS, units)}, **self.lengths(v)
        )
        return replace(v, name=name, kind="sequence", channels=units)

    def dense(self, v: Value) -> Value | None:
        if v.depth == MAX_DEPTH:
            return None
        units, name = self.channels() or 1, self.name()
        attrs = {"units": units, "activation": self.activation_spec()}
        weights = self.kernel(v.channels, units)
        self.add("dense", [v.name], [name], attrs, weights, **self.lengths(v))
        return replace(v, name=name, channels=units, depth=v.depth + 1)

    def activation(self, v: Value, spec: list[Any] | None = None) -> Value:
        name, attrs = self.name(), {"activation": spec or self.activation_spec()}
        self.add("activation", [v.name], [name], attrs, **self.lengths(v))
        return replace(v, name=name)

    def axes(self, v: Value) -> list[int]:
        """Axes of a value, ascending; those of a sequence may be time."""
        last = self.draw.choice([-1, 2 if v.kind == "sequence" else 1])
        return self.draw.choice(
            [[last], [last], [1], [-2, -1]] if v.kind == "sequence" else [[last]]
        )

    def over(self, v: Value, axes: Sequence[int], offset: float = 0) -> str:
        """A new weight over some axes: as large as the value in its channels, or of size 1."""
        rank = 3 if v.kind == "sequence" else 2
        sizes = [v.channels if axis % rank == rank - 1 else 1 for axis in axes]
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
            attrs = {"negative_slope": 0.25, "threshold": 0.5, "max_value": most}
            self.add("clipped_relu", [v.name], [name], attrs, **self.lengths(v))
            return self.activation(replace(v, name=name), ["linear", 0, 0])
        roles = {"alpha": 0.2} if op == "prelu" else {"c": 0, "W": 0.5, "b": 0}
        weights = {role: self.over(v, axes, offset) for role, offset in roles.items()}
        self.add(op, [v.name], [name], {"axes": axes}, weights, **self.lengths(v))
        return replace(v, name=name)

    def joined(self, v: Value, others: Sequence[Value]) -> tuple[list[Value], Value]:
        """`v` with up to two of `others`, and what is known of a value made of them."""
        joined = [v] + [self.draw.choice(others) for _ in range(self.draw.randint(0, 2))]
        fixed, depth = all(j.fixed for j in joined), max(j.depth for j in joined)
        return joined, replace(v, name=self.name(), fixed=fixed, depth=depth)

    def merge(self, v: Value) -> Value | None:
        joined, made = self.joined(v, [u for u in self.values if u.fits(v)])
        wide = {j.channels for j in joined} - {1}
        if len(wide) > 1:
            return None
        op = self.draw.choice(["add", "multiply", "average", "maximum", "minimum"])
        if len(joined) == 2 and self.draw.random() < 0.2:
            op = "subtract"
        lengths = self.lengths(v, len(joined))
        self.add(op, [j.name for j in joined], [made.name], **lengths)
        made = replace(made, channels=wide.pop() if wide else 1)
        return self.activation(made, self.draw.choice(BOUNDED)) if op == "multiply" else made

    def concat(self, v: Value) -> Value | None:
        if v.kind == "sequence" and v.lengths is None and self.draw.random() < 0.3:
            return self.concat_time(v)
        joined, made = self.joined(v, [u for u in self.values if u.fits(v)])
        channels = sum(j.channels for j in joined)
        if channels > MAX_CHANNELS:
            return None
        lengths = self.lengths(v, len(joined))
        self.add("concat", [j.name for j in joined], [made.name], {"axis": -1}, **lengths)
        return replace(made, channels=channels)

    def concat_time(self, v: Value) -> Value:
        alike = [u for u in self.values if u.kind == v.kind and u.channels == v.channels]
        joined, made = self.joined(v, alike)
        axis = {"axis": self.draw.choice([1, -2])}
        self.add("concat", [j.name for j in joined], [made.name], axis)
        frames = zip(*(j.frames for j in joined), strict=True)
        return replace(made, frames=tuple(sum(counts) for counts in frames))

    # ---- Readers: over time ----------------------------------------------------------------------

    def recurrent(self, v: Value) -> Value | None:
        if v.depth == MAX_DEPTH:
            return None
        op = self.draw.choice(list(GATES))
        vectors = [u.channels for u in self.values if u.kind == "vector" and u.channels]
        if self.stacked is not None:
            vectors.append(self.stacked["shape"][1])
        units = self.draw.choice([1, 3, 16, 20, 33, 70])
        if vectors and self.draw.random() < 0.5:
            units = self.draw.choice(vectors)
        states = [self.initial_state(units) for _ in range(2 if op == "lstm" else 1)]
        depth = max([v.depth] + [u.depth for u in self.values if u.name in states]) + 1
        if depth > MAX_DEPTH:
            return None
        attrs, weights = self.cell(op, v.channels, units)
        outputs = [
            self.name() if self.draw.random() < wanted else None
            for wanted in (0.85, *[0.4] * len(states))
        ]
        self.add(op, [v.name, *states], outputs, attrs, weights, **self.lengths(v))
        y, *last = outputs
        self.values.extend(Value(name, "vector", units, depth=depth) for name in last if name)
        if y is None:
            return None
        if not attrs["return_sequences"]:
            return Value(y, "vector", units, depth=depth)
        return replace(v, name=y, channels=units, depth=depth)

    def initial_state(self, units: int) -> str | None:
        """Nothing, an input, a part of the stacked input, or a value of this graph."""
        source = self.draw.choice(["none", "input", "stacked", "value", "value"])
        if source == "input":
            return self.state(units)["name"]
        if source == "stacked" and self.stacked is not None and self.stacked["shape"][1] == units:
            name = self.name()
            self.add("select", [self.stacked["name"]], [name], {"index": self.draw.randrange(2)})
            return name
        fitting = [u.name for u in self.values if u.kind == "vector" and u.channels == units]
        return self.draw.choice(fitting) if source == "value" and fitting else None

    def cell(self, op: str, channels: int, units: int) -> tuple[dict[str, Any], dict[str, str]]:
        """Attributes and weights; the recurrent ones are small enough for errors to fade."""
        width = GATES[op] * units
        weights = self.kernel(channels, width)
        weights["U"] = self.weight(units, width, scale=0.4 * units**-0.5)
        attrs = {
            "units": units,
            "activation": ["tanh", 0, 0] if self.draw.random() < 0.5 else self.draw.choice(STEADY),
            "reverse": self.draw.random() < 0.4,
            "realign": self.draw.random() < 0.5,
            "return_sequences": self.draw.random() < 0.6,
        }
        if op != "simple_rnn":
            gates = [["sigmoid", 0, 0]] * 4 + [["hard_sigmoid", 0.2, 0.5], ["softmax", 0, 0]]
            attrs["recurrent_activation"] = self.draw.choice(gates)
        if op == "gru":
            attrs["reset_after"] = self.draw.random() < 0.6
            if attrs["reset_after"]:
                weights["bn"] = self.weight(units)
        return attrs, weights

    def windows(self, v: Value, made: Value, size: int, strides: int, padding: str) -> Value:
        """`made` with the frames and lengths behind windows of `size` frames over `v`."""
        return self.mapped(v, made, lambda n: ref.window_length(n, size, strides, padding))

    def mapped(self, v: Value, made: Value, length: Callable[[int], int]) -> Value:
        """`made` with the frames and lengths of `v`, as `length` changes them."""
        lengths = None if v.lengths is None else f"{made.name}:lengths"
        return replace(made, frames=tuple(map(length, v.frames)), lengths=lengths)

    def add_mapped(self, op: str, v: Value, made: Value, attrs: Any, weights: Any = None) -> Value:
        """Add a node that gives its lengths on."""
        lengths = {"lengths": v.lengths, "lengths_out": made.lengths} if v.lengths else {}
        self.add(op, [v.name], [made.name], attrs, weights, **lengths)
        return made

    def convolved(self, v: Value, filters: int) -> tuple[Value, dict[str, Any]]:
        """The value behind a convolution, and its attributes."""
        size, strides, dilation = (self.draw.randint(1, most) for most in (4, 3, 3))
        padding = self.draw.choice(["valid", "same", "causal"])
        made = replace(v, name=self.name(), channels=filters, depth=v.depth + 1)
        attrs = {
            "kernel_size": size, "strides": strides, "dilation": dilation, "padding": padding,
            "activation": self.activation_spec(),
        }  # fmt: skip
        return self.windows(v, made, (size - 1) * dilation + 1, strides, padding), attrs

    def conv1d(self, v: Value) -> Value | None:
        if v.depth == MAX_DEPTH:
            return None
        groups = self.draw.choice([g for g in (1, 1, 1, 2, 3) if v.channels % g == 0])
        filters = groups * self.draw.choice([1, 3, 17])
        made, attrs = self.convolved(v, filters)
        weights = self.kernel(attrs["kernel_size"], v.channels // groups, filters)
        attrs |= {"filters": filters, "groups": groups}
        return self.add_mapped("conv1d", v, made, attrs, weights)

    def depthwise_conv1d(self, v: Value) -> Value | None:
        multiplier = self.draw.choice([1, 1, 2, 3])
        filters = v.channels * multiplier
        if v.depth == MAX_DEPTH or not 0 < filters <= MAX_CHANNELS:
            return None
        made, attrs = self.convolved(v, filters)
        weights = self.kernel(attrs["kernel_size"], v.channels, multiplier)
        weights["b"] = self.weight(filters)
        return self.add_mapped(
            "depthwise_conv1d", v, made, attrs | {"multiplier": multiplier}, weights
        )

    def conv1d_transpose(self, v: Value) -> Value | None:
        if v.depth == MAX_DEPTH or max(v.frames, default=0) > 100:
            return None
        size, strides, dilation = (self.draw.randint(1, most) for most in (5, 3, 3))
        dilation = dilation if strides == 1 else 1
        filters = self.draw.choice([1, 3, 17])
        attrs = {
            "filters": filters, "kernel_size": size, "strides": strides, "dilation": dilation,
            "crop": self.draw.randint(0, 4), "tail": self.draw.randint(0, 6),
            "activation": self.activation_spec(),
        }  # fmt: skip
        made = replace(v, name=self.name(), channels=filters, depth=v.depth + 1)
        made = self.mapped(v, made, lambda n: (n - 1) * strides + attrs["tail"] if n else 0)
        weights = self.kernel(size, v.channels, filters)
        return self.add_mapped("conv1d_transpose", v, made, attrs, weights)

    def pool1d(self, v: Value) -> Value:
        size, strides = self.draw.randint(1, 4), self.draw.randint(1, 3)
        padding = self.draw.choice(["valid", "same"])
        made = self.windows(v, replace(v, name=self.name()), size, strides, padding)
        attrs = {"pool_size": size, "strides": strides, "padding": padding}
        return self.add_mapped(self.draw.choice(["max_pool1d", "avg_pool1d"]), v, made, attrs)

    def pad1d(self, v: Value) -> Value:
        left, right = (self.draw.randint(-2, 3) for _ in range(2))
        made = self.mapped(v, replace(v, name=self.name()), lambda n: max(0, n + left + right))
        return self.add_mapped("pad1d", v, made, {"left": left, "right": right})

    def global_pool(self, v: Value) -> Value:
        name, op = self.name(), self.draw.choice(["global_avg_pool1d", "global_max_pool1d"])
        self.add(op, [v.name], [name], **self.lengths(v))
        return Value(name, "vector", v.channels, depth=v.depth)

    def along_time(self, v: Value, op: str, attrs: dict[str, Any]) -> Value:
        """A node that gives every row as many frames as the reference says."""
        made = self.mapped(v, replace(v, name=self.name()), lambda n: ref.LENGTHS[op](n, attrs))
        return self.add_mapped(op, v, made, attrs)

    def repeat(self, v: Value) -> Value | None:
        if max(v.frames) > 40:
            return None
        return self.along_time(v, "repeat", {"axis": 1, "repeats": self.draw.randint(1, 3)})

    def slice(self, v: Value) -> Value:
        bounds = [None, None, 0, 1, 2, 5, -1, -2, -4]
        start, stop = self.draw.choice(bounds), self.draw.choice(bounds)
        step = self.draw.choice([1, 1, 2, -1, -2])
        low, high = (start, stop) if step > 0 else (stop, start)
        if low is not None and high is not None and low < 0 <= high:
            start = stop = None  # rows of different lengths are refused
        return self.along_time(v, "slice", {"axis": 1, "start": start, "stop": stop, "step": step})

    def index(self, v: Value) -> Value | None:
        index = self.draw.choice([-1, -1, -3, 0, 2])
        if (v.lengths is None or v.fixed) and min(v.frames) < 3:
            return None
        name = self.name()
        self.add("index", [v.name], [name], {"axis": 1, "index": index}, **self.lengths(v))
        return Value(name, "vector", v.channels, depth=v.depth)

    def reduce(self, v: Value) -> Value:
        name, function = self.name(), self.draw.choice(["mean", "max", "min"])
        attrs = {"function": function, "axes": [1], "keepdims": False}
        self.add("reduce", [v.name], [name], attrs, **self.lengths(v))
        return Value(name, "vector", v.channels, depth=v.depth)

    def attention(self, v: Value) -> Value | None:
        """A query over a key of as many features, and a value that ends where the key does."""
        sequences = [u for u in self.values if u.kind == "sequence"]
        key = self.draw.choice([u for u in sequences if u.channels == v.channels])
        value = self.draw.choice([u for u in sequences if u.fits(key)])
        depth = max(v.depth, key.depth, value.depth) + 1
        if depth > MAX_DEPTH:
            return None
        parts = [
            h for h in (0, 0, 1, 2, 3) if v.channels % (h or 1) == value.channels % (h or 1) == 0
        ]
        attrs = {
            "score": self.draw.choice(["dot", "additive"]) if v.channels else "dot",
            "masking": self.draw.choice(["subtract", "replace", "zero"]),
            "heads": self.draw.choice(parts), "scale": max(v.channels, 1) ** -0.5,
            "causal": self.draw.random() < 0.4,
        }  # fmt: skip
        weights = {}
        if attrs["score"] == "additive":
            attrs |= {"heads": 0, "shared": self.draw.random() < 0.5}
            weights["W"] = self.weight(1 if attrs["shared"] else v.channels, scale=0.3)
        lengths = [u.lengths for u in (v, value, key)]
        entry = {"lengths": lengths} if any(lengths) else {}
        name, inputs = self.name(), [v.name, value.name, key.name]
        self.add("attention", inputs, [name, None], attrs, weights, **entry)
        return replace(v, name=name, channels=value.channels, depth=depth)

    def products(self, v: Value) -> Value | None:
        """The same by hand: cosines of all frames, and sums of those of the other value."""
        others = [u for u in self.values if u.kind == "sequence" and u.channels == v.channels]
        others = [u for u in others if u.fixed and u.lengths is None and u.depth < MAX_DEPTH]
        if not others or v.depth == MAX_DEPTH:
            return None
        other = self.draw.choice(others)
        cosines, name = self.name(), self.name()
        entry = {"lengths": [v.lengths, None]} if v.lengths is not None else {}
        attrs = {"axes": [self.draw.choice([2, -1]), 2], "normalize": True}
        self.add("dot", [v.name, other.name], [cosines], attrs, **entry)
        self.add("batch_matmul", [cosines, other.name], [name], **entry)
        made = replace(v, name=name, depth=max(v.depth, other.depth) + 1)
        return self.activation(made, self.draw.choice(BOUNDED))

    # ---- Readers: shapes -------------------------------------------------------------------------

    def flatten(self, v: Value) -> Value | None:
        if v.lengths is not None:
            return None
        name, size = self.name(), v.frames[0] * v.channels
        self.add("flatten", [v.name], [name])
        kind = "vector" if v.fixed and size <= MAX_CHANNELS else "flat"
        return Value(name, kind, size, depth=v.depth)

    def unary(self, v: Value) -> Value:
        name, attrs = self.name(), {"function": self.draw.choice(["abs", "negative"])}
        self.add("unary", [v.name], [name], attrs, **self.lengths(v))
        return replace(v, name=name)

    def every_frame(self, v: Value) -> Value:
        """A vector as every frame of a sequence."""
        one, name, count = self.name(), self.name(), self.draw.choice([1, 2, 5])
        self.add("expand", [v.name], [one], {"axis": 1})
        self.add("repeat", [one], [name], {"axis": 1, "repeats": count})
        frames = (count,) * len(self.graph.times)
        return Value(name, "sequence", v.channels, frames, fixed=True, depth=v.depth)

    def there_and_back(self, v: Value) -> Value | None:
        """Frames of other axes in another order, and channels again."""
        if v.channels % 2 or not v.channels:
            return None
        names = [self.name() for _ in range(3)]
        ends = [f"{name}:lengths" if v.lengths else None for name in names]
        shapes = [[-1, 2, v.channels // 2], [-1, v.channels]]
        for number, (before, after) in enumerate(zip([v.name, names[1]], names[::2], strict=True)):
            attrs = {"keep": 1, "sizes": None, "shape": shapes[number]}
            given = ends[0] if number else v.lengths
            lengths = {"lengths": given, "lengths_out": ends[2 * number]} if v.lengths else {}
            self.add("reshape", [before], [after], attrs, **lengths)
            if not number:
                given = {"lengths": ends[0]} if v.lengths else {}
                self.add("permute", [after], [names[1]], {"dims": [1, 3, 2]}, **given)
        return replace(v, name=names[2], lengths=ends[2])

    def fold(self, v: Value) -> Value:
        name = self.name()
        self.add("fold", [v.name], [name])
        return replace(v, name=name, kind="frames")

    def unfold(self, v: Value) -> Value:
        """Sequences again, like any value with as many frames and the same ends."""
        like = [u for u in self.values if u.kind in ("sequence", "ids")]
        like = [u for u in like if u.fits(replace(v, kind=u.kind))]
        name, chosen = self.name(), self.draw.choice(like)
        self.add("unfold", [v.name, chosen.name], [name])
        return replace(v, name=name, kind="sequence")

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
