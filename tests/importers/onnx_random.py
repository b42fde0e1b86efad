"""Random ONNX graphs, which are in order: chains and diamonds of what exporters write.

    graph = RandomGraph(seed)
    built, sizes = graph.model, graph.sizes  # a ModelProto, and some sizes of its free axes

Operators are in onnx_random_operators.py and onnx_random_layers.py, which enter themselves when
they are imported. A value is known by its dtype and by its shape at every one of `sizes`, so that
whatever is entered is right at all of them. Numbers stay small: what grows is squashed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZES = ({"B": 3, "T": 7, "S": 4}, {"B": 1, "T": 5, "S": 2}, {"B": 2, "T": 11, "S": 9})
KINDS = {"f": TensorProto.FLOAT, "i": TensorProto.INT64, "b": TensorProto.BOOL}
_WHOLE = {"f": np.float32, "i": np.int64, "b": np.bool_}
Dim = tuple[int, ...]  # a size, at each of the sizes


@dataclass(frozen=True)
class Value:
    name: str
    kind: str  # f, i or b
    dims: tuple[Dim, ...]
    lead: int | None = None  # which dim is the batch, as far as it is followed

    @property
    def rank(self) -> int:
        return len(self.dims)


def fixed(dim: Dim) -> bool:
    return len(set(dim)) == 1


def same(size: int) -> Dim:
    return (size,) * len(SIZES)


class RandomGraph:
    """One graph.

    Attributes
    ----------
    model : ModelProto
    sizes : tuple of dict
        Sizes of its free axes, by name.
    """

    def __init__(self, seed: int, most: int = 14) -> None:
        self.random = np.random.default_rng(seed)
        self.opset = int(self.random.integers(9, 25))
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.values: list[Value] = []
        self.inputs: list[Value] = []
        self.sizes = SIZES
        self._take_inputs()
        for _ in range(int(self.random.integers(2, most))):
            self._enter()
        self.model = self._finished()

    # ---- Building blocks ----

    def number(self) -> int:
        return len(self.nodes) + len(self.constants)

    def pick(self, choices: Sequence[Any]) -> Any:
        return choices[int(self.random.integers(len(choices)))]

    def flip(self, chance: float = 0.5) -> bool:
        return bool(self.random.random() < chance)

    def constant(self, array: Any, kind: Any = np.int64) -> str:
        """Enter an array as an initialiser or as a Constant; return its name."""
        tensor = numpy_helper.from_array(np.asarray(array, kind), f"c{self.number()}")
        if self.flip(0.8):
            self.constants.append(tensor)
        else:
            name = tensor.name
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        return tensor.name

    def floats(self, *shape: int, scale: float = 1.0) -> str:
        return self.constant(self.random.standard_normal(shape) * scale, np.float32)

    def node(self, op: str, inputs: Sequence[Any], count: int = 1, **attributes: Any) -> Any:
        names = [each.name if isinstance(each, Value) else each for each in inputs]
        number = self.number()
        made = [f"{op}{number}_{k}" for k in range(count)]
        self.nodes.append(helper.make_node(op, names, made, name=f"n{number}", **attributes))
        return made if count > 1 else made[0]

    def keep(self, name: str, kind: str, dims: Sequence[Dim], lead: int | None = None) -> Value:
        value = Value(name, kind, tuple(dims), lead)
        self.values.append(value)
        return value

    def like(self, name: str, value: Value, kind: str | None = None) -> Value:
        return self.keep(name, kind or value.kind, value.dims, value.lead)

    def axes(self, op: str, value: Any, axes: Sequence[int], since: int, **more: Any) -> str:
        """Enter a node whose axes were an attribute before an opset."""
        wanted = [int(axis) for axis in axes]
        if self.opset >= since:
            return self.node(op, [value, self.constant(wanted)], **more)  # type: ignore[no-any-return]
        return self.node(op, [value], axes=wanted, **more)  # type: ignore[no-any-return]

    def of(self, kind: str = "f", test: Callable[[Value], bool] = lambda _: True) -> Value:
        """Return a value, rather one of the last."""
        fitting = [value for value in self.values if value.kind == kind and test(value)]
        if not fitting:
            raise LookupError(kind)
        return fitting[-1] if self.flip(0.5) else self.pick(fitting)

    def axis(self, value: Value, test: Callable[[Dim], bool] = lambda _: True) -> int:
        """Return an axis, rarely the batch."""
        fitting = [k for k, dim in enumerate(value.dims) if test(dim)]
        others = [k for k in fitting if k != value.lead]
        chosen = others if others and not self.flip(0.03) else fitting
        if not chosen:
            raise LookupError("axis")
        return int(self.pick(chosen))

    def signed(self, axis: int, rank: int) -> int:
        return axis - rank if self.flip(0.3) else axis

    def _take_inputs(self) -> None:
        def dim(name: str | int) -> Dim:
            return same(name) if isinstance(name, int) else tuple(s[name] for s in SIZES)

        shapes = [("B", "T", 4), ("B", 4, "T"), ("T", "B", 4), ("B", 6), ("B", "T"), ("B", 5, 6),
                  ("B", "T", 2, 3), ("B", 1, "T", 4)]  # fmt: skip
        self.shapes: dict[str, tuple[Any, ...]] = {}
        kinds: list[tuple[str, Any]] = [("f", self.pick(shapes)) for _ in range(
            int(self.random.integers(1, 3)))]  # fmt: skip
        if self.flip(0.3):
            kinds.append(("i", self.pick([("B", "T"), ("B", 5), ("T", "B"), ("B",)])))
        if self.flip(0.15):
            kinds.append(("b", self.pick([("B", "T"), ("B", 4), ("T", "B")])))
        if self.flip(0.1):
            kinds.append(("f", self.pick([("B", "S", 4), ("B", "S")])))
        for number, (kind, shape) in enumerate(kinds):
            name = f"x{number}"
            self.shapes[name] = shape
            value = self.keep(name, kind, [dim(each) for each in shape], shape.index("B"))
            self.inputs.append(value)

    def _enter(self) -> None:
        for _ in range(20):
            nodes, constants, values = len(self.nodes), len(self.constants), len(self.values)
            try:
                self.pick(ENTRIES)(self)
            except LookupError:  # there is no value for it
                del self.nodes[nodes:], self.constants[constants:], self.values[values:]
                continue
            return

    def _finished(self) -> onnx.ModelProto:
        read = {name for node in self.nodes for name in node.input}
        ends = [v for v in self.values if v.name not in read and v not in self.inputs]
        more = [v for v in self.values if v in ends or (v not in self.inputs and self.flip(0.1))]
        unnamed = self.flip(0.2)
        inputs = [
            helper.make_tensor_value_info(
                value.name, KINDS[value.kind],
                [None if unnamed and each != "B" and isinstance(each, str) else each
                 for each in self.shapes[value.name]],
            )
            for value in self.inputs
        ]  # fmt: skip
        outputs = [
            helper.make_tensor_value_info(value.name, KINDS[value.kind], [None] * value.rank)
            for value in (more or self.values[-1:])
        ]
        graph = helper.make_graph(self.nodes, "g", inputs, outputs, self.constants)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=max(
            7, helper.find_min_ir_version_for(opsets)))  # fmt: skip

    def feeds(self, sizes: dict[str, int], seed: int = 0) -> dict[str, Any]:
        random = np.random.default_rng(seed)
        feeds: dict[str, Any] = {}
        for value in self.inputs:
            shape = [sizes.get(each, each) for each in self.shapes[value.name]]
            made = random.standard_normal(shape)
            if value.kind == "i":
                made = random.integers(0, 5, shape)
            feeds[value.name] = (made > 0) if value.kind == "b" else made.astype(
                _WHOLE[value.kind])  # fmt: skip
        return feeds


# ---- What operators share ------------------------------------------------------------------------

ENTRIES: list[Callable[[RandomGraph], Any]] = []


def entry(weight: int = 1) -> Callable[[Any], Any]:
    def enter(function: Any) -> Any:
        ENTRIES.extend([function] * weight)
        return function

    return enter


def broadcast(a: Value, b: Value) -> tuple[Dim, ...] | None:
    """Return the shape of two values together, None if they have none."""
    made: list[Dim] = []
    for k in range(1, max(a.rank, b.rank) + 1):
        x = a.dims[-k] if k <= a.rank else same(1)
        y = b.dims[-k] if k <= b.rank else same(1)
        if x != y and x != same(1) and y != same(1):
            return None
        made.insert(0, y if x == same(1) else x)
    return tuple(made)


def lead_of(values: Sequence[Value], rank: int) -> int | None:
    found = [v.lead + rank - v.rank for v in values if v.lead is not None]
    return found[0] if found else None


def squash(g: RandomGraph, name: str) -> str:
    return g.node("Tanh", [name]) if g.flip(0.7) else g.node("Sigmoid", [name])  # type: ignore[no-any-return]


def size_of(g: RandomGraph, x: Value, at: int) -> str:
    """Enter the arithmetic that gives a size as a vector of one."""
    shape = g.node("Shape", [x])
    if g.flip(0.3):
        return g.node("Gather", [shape, g.constant([at])], axis=0)  # type: ignore[no-any-return]
    one = g.node("Gather", [shape, g.constant(g.pick([at, at - x.rank]))], axis=0)
    return g.axes("Unsqueeze", one, [0], 13)
