"""Draws a graph: inputs, nodes that read what is there, and outputs."""

from __future__ import annotations

from .graph import RandomGraph, Value
from .indices import Indices
from .masks import Masks
from .sequences import Sequences
from .shapes import Shapes
from .truth import Truth

# What may read a value, by its kind; a name that stands twice is drawn more often. A "flat" value
# is an output only, a "turned" one is turned back, and a mask that may be absent is read as a mask
# alone.
ANY = [
    "dense", "activation", *["merge"] * 4, "concat", "concat", "normalize", "spread", "unary",
    "compare", "logical", "where", "constant", "power",
    "remainder",
]  # fmt: skip
AXES = ["expand", "repeat", "slice", "index", "reduce", "reduce", "cumsum"]
ORDER = ["argmax", "topk", "truncate", "batch_second"]
READERS = {
    "ids": [
        *["embedding"] * 2, "one_hot", *["recurrent"] * 2, "dense", *["mask_ids"] * 2,
        *["move_ids"] * 2, "to_floats", "batch_second", "compare", "constant", "positions",
    ],
    "places": ["embed_places", "to_floats"],
    "turned": ["batch_first"],
    "sequence": [
        *ANY, *AXES, *["recurrent"] * 11, "conv1d", "conv1d", "depthwise_conv1d",
        "conv1d_transpose", *["pool1d"] * 2, "adaptive_pool1d", *["pad1d"] * 3,
        *["global_pool"] * 2, "fold", "flatten", *["attention"] * 2, "products",
        *["mask_frames"] * 2, "masking", *["masked_merge"] * 2, "reshape", "permute", *ORDER,
        "positions", *["crf"] * 2,
    ],
    "box": [
        *ANY, *AXES, "fold", "masking", "mask_frames", "masked_merge", *["reshape"] * 2, "permute",
        *["gram"] * 2, *ORDER,
    ],
    "vector": [*ANY, "stack", "stack", "cosine", *AXES, *ORDER],
    "frames": [*ANY, "unfold", "unfold", "unfold"],
    "stack": ["select"],
    "line": ["expand", "reduce", "unary", "where"],
    "mask": [*["mask_merge"] * 3, "expand", "reduce", "compare", "logical", "where"],
    "maybe": ["mask_merge"],
}  # fmt: skip


def random_graph(seed: int) -> RandomGraph:
    """Draw a graph; equal seeds give equal graphs."""
    return _Builder(seed).build()


class _Builder(Sequences, Masks, Shapes, Truth, Indices):
    def build(self) -> RandomGraph:
        self.add_inputs()
        for _ in range(self.draw.randint(1, 11)):
            readable = [v for v in self.values if v.kind in READERS]
            rich = [v for v in readable if v.kind not in ("ids", "places", "mask", "maybe")]
            value = self.draw.choice(rich if rich and self.draw.random() < 0.8 else readable)
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
            inner = (2,) if ids and self.draw.random() < 0.2 else ()
            shape = [times[0] if fixed else None, *inner, *([] if ids else [channels])]
            dtype = "int64" if ids else "float32"
            spec = {"name": name, "kind": "data", "dtype": dtype, "shape": shape}
            turned = self.draw.random() < 0.2
            self.graph.inputs.append(spec | ({"batch_axis": 1} if turned else {}))
            if has_lengths and i == 0:
                self.graph.inputs.append({"name": lengths, "kind": "lengths", "of": name})
            kind = "ids" if ids else "sequence"
            made = Value(name, kind, channels, times, lengths, fixed, inner=inner)
            if turned:
                self.turned[name] = made
                made = self.batch_first(made)
            self.values.append(made)
            if not turned and self.draw.random() < 0.5:
                mask = f"{name}:mask"
                self.graph.inputs.append({"name": mask, "kind": "mask", "of": name})
                self.values.append(Value(mask, "maybe", 0, times, lengths, fixed))
        if self.draw.random() < 0.3:
            self.stacked = self.state(self.draw.choice([3, 16, 20]), 2)

    def choose_outputs(self) -> None:
        """Some values, among them often the last, and those that can be nothing else."""
        stacks = [v for v in self.values if v.kind in ("stack", "turned")]
        others = [v for v in self.values if v.kind not in ("stack", "turned", "maybe")]
        others = [v for v in others if v.kind != "ids" or self.draw.random() < 0.3]
        # what stands past the end of a row is nobody's business, and folded it has no end
        others = [v for v in others if v.kind != "frames" or v.lengths is None]
        outputs = [self.draw.choice(others) for _ in range(self.draw.randint(1, 4)) if others]
        if others and self.draw.random() < 0.7:
            outputs.append(others[-1])
        self.graph.outputs = [*outputs, *stacks]
        self.draw.shuffle(self.graph.outputs)
