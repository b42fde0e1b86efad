"""What is drawn: a graph, its values, and arguments to call it with."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    ["affine", 0.5, -0.25],
    ["scaled_tanh", 1.5, 0.5],
    ["log_softmax", 0, 0],
]
PADS = ([0, 0], [1, 0], [0, 2], [1, 1], [2, 3])  # explicit ones, beside the named
CONSTANTS = (0, 0.5)  # what all features of a frame may be: mask_frames and masking look for it

# The kinds of value, behind the batch: ids (T,); sequence (T, C); box (T, ..., C); vector (C,);
# line (T,) of numbers; mask (T,), and maybe: one that is absent where its inputs are; frames (C,),
# folded; stack; turned: one whose batch is axis 1; flat: an output and nothing else, as its size is
# not known, or it may be NaN. Of whole numbers: ids (T, ...) and places (...).


@dataclass(frozen=True)
class Value:
    """A value of a graph.

    `frames` counts its frames at each of the graph's times, `fixed` says whether the plan knows
    them, and `lengths` is where its rows end. The frames of a folded value keep all three. `inner`
    are the axes between time and channels, or all but time of whole numbers, which are ids of
    `rows` rows, or of none.
    """

    name: str
    kind: str
    channels: int
    frames: tuple[int, ...] = ()
    lengths: str | None = None
    fixed: bool = False
    depth: int = 0
    inner: tuple[int, ...] = ()
    rows: int = ROWS

    def fits(self, other: Value) -> bool:
        """Whether the two differ in their channels alone."""
        return other == replace(self, name=other.name, channels=other.channels, depth=other.depth)

    @property
    def axes(self) -> list[int | None]:
        """The axes behind the batch; None is time."""
        time: list[int | None] = [] if self.kind in ("vector", "frames", "places") else [None]
        numbers = ("ids", "places", "line", "mask", "maybe")
        last = [] if self.kind in numbers else [self.channels]
        return [*time, *self.inner, *last]

    @property
    def rank(self) -> int:
        return 1 + len(self.axes)


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
            if spec["kind"] == "lengths":
                array = rng.integers(0, time + 1, batch) if rng.random() < 0.7 else None
            elif spec["kind"] == "mask":
                array = draw_mask(rng, batch, time) if rng.random() < 0.7 else None
            elif spec["kind"] == "state":
                shape = list(spec["shape"])
                shape.insert(spec.get("batch_axis", 0), batch)
                array = floats(rng, *shape) if rng.random() < 0.6 else None
            else:
                array = draw_data(rng, spec, batch, time)
            arguments[spec["name"]] = array
        lengths = arguments.get("x0:lengths")
        for spec in self.inputs:
            array = arguments[spec["name"]]
            if lengths is not None and spec["kind"] in ("data", "mask") and array is not None:
                past = np.arange(time) >= lengths[:, None]
                past = past.T if spec.get("batch_axis") else past
                array[past] = PAST_END if spec.get("dtype") == "int64" else np.nan
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


def draw_mask(rng: np.random.Generator, batch: int, time: int) -> Array:
    """Zeros and ones (B, T): holes anywhere, and rows of which all or no frames count."""
    share = rng.choice([0.0, 0.3, 0.7, 1.0], (batch, 1))
    return np.asarray(rng.random((batch, time)) < share, np.float32)


def draw_data(rng: np.random.Generator, spec: dict[str, Any], batch: int, time: int) -> Array:
    """Features, of which some frames are the same number all over; or ids, many of them 0."""
    shape = [time if size is None else size for size in spec["shape"]]
    shape.insert(spec.get("batch_axis", 0), batch)
    if spec["dtype"] == "int64":
        ids = rng.integers(0, ROWS, shape)
        return np.asarray(np.where(rng.random(shape) < 0.3, 0, ids))
    x = floats(rng, *shape)
    if rng.random() < 0.6:
        x[rng.random(shape[:2]) < 0.3] = rng.choice(CONSTANTS)
    return x
