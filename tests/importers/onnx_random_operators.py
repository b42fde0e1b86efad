"""What random ONNX graphs are made of: arithmetic, logic, moves of axes, sizes, parts."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper
from onnx_random import (
    KINDS,
    SIZES,
    RandomGraph,
    broadcast,
    entry,
    fixed,
    lead_of,
    same,
    size_of,
    squash,
)


@entry(4)
def unary(g: RandomGraph) -> None:
    x = g.of()
    op = g.pick(
        [
            "Relu",
            "Tanh",
            "Sigmoid",
            "Abs",
            "Neg",
            "Softplus",
            "Softsign",
            "Elu",
            "Selu",
            "LeakyRelu",
            "HardSigmoid",
            "Erf",
            "Sin",
            "Cos",
            "Identity",
            "Floor",
            "Ceil",
            "Sign",
            "ThresholdedRelu",
            "Shrink",
            "Celu",
            "HardSwish",
            "Mish",
            "Gelu",
        ]
    )
    since = {"Celu": 12, "HardSwish": 14, "Mish": 18, "Gelu": 20}.get(op, 9)
    if g.opset < since:
        raise LookupError(op)
    g.like(g.node(op, [x]), x)


@entry(2)
def careful(g: RandomGraph) -> None:
    x = g.of()
    op = g.pick(["Exp", "Sqrt", "Log", "Reciprocal", "Pow", "Clip"])
    name = g.node("Sigmoid", [x])
    if op == "Pow":
        name = g.node("Pow", [name, g.constant(g.pick([2, 0.5, 3, [2.0], -1]), np.float32)])
    elif op == "Clip":
        ends = sorted(g.random.random(2).astype(np.float32).tolist())
        if g.opset < 11:
            name = g.node("Clip", [name], min=ends[0], max=ends[1])
        else:
            name = g.node("Clip", [name, g.constant(ends[0], np.float32),
                                   g.pick(["", g.constant(ends[1], np.float32)])])  # fmt: skip
    else:
        name = g.node(op, [name])
    g.like(name, x)


@entry(5)
def with_constant(g: RandomGraph) -> None:
    x = g.of()
    rank = int(g.random.integers(0, x.rank + 1))
    shape = [dim[0] if fixed(dim) and g.flip() else 1 for dim in x.dims[x.rank - rank :]]
    if g.flip(0.1):
        shape = [1, *shape] if len(shape) == x.rank else shape
    c = g.floats(*shape, scale=0.7)
    op = g.pick(["Add", "Sub", "Mul", "Div", "Max", "Min"])
    if op == "Div":
        c = g.constant(1 + g.random.random(shape), np.float32)
    pair = [x, c] if op == "Div" or g.flip(0.7) else [c, x]
    dims = (*[same(1)] * (len(shape) - x.rank), *x.dims)
    g.keep(g.node(op, pair), "f", dims, lead_of([x], len(dims)))


@entry(6)
def two(g: RandomGraph) -> None:
    x = g.of()
    y = g.of("f", lambda v: broadcast(x, v) is not None and v.lead is not None and (
        x.lead is None or v.rank - v.lead == x.rank - x.lead))  # fmt: skip
    dims = broadcast(x, y)
    assert dims is not None
    name = g.node(g.pick(["Add", "Sub", "Mul", "Max", "Min", "Sum", "Mean"]), [x, y])
    g.keep(squash(g, name), "f", dims, lead_of([x, y], len(dims)))


@entry(6)
def transpose(g: RandomGraph) -> None:
    x = g.of(g.pick("fffib"), lambda v: v.rank >= 2)
    perm = [int(k) for k in g.random.permutation(x.rank)]
    attributes = {"perm": perm} if g.flip(0.8) else {}
    perm = perm if attributes else list(range(x.rank))[::-1]
    lead = None if x.lead is None else perm.index(x.lead)
    g.keep(g.node("Transpose", [x], **attributes), x.kind, [x.dims[k] for k in perm], lead)


@entry(3)
def unsqueeze(g: RandomGraph) -> None:
    x = g.of(g.pick("fffib"), lambda v: v.rank <= 4)
    at = int(g.random.integers(0, x.rank + 1))
    dims = [*x.dims[:at], same(1), *x.dims[at:]]
    lead = None if x.lead is None else x.lead + (at <= x.lead)
    g.keep(g.axes("Unsqueeze", x, [at if g.opset < 11 else g.signed(at, x.rank + 1)], 13),
           x.kind, dims, lead)  # fmt: skip


@entry(2)
def squeeze(g: RandomGraph) -> None:
    x = g.of(g.pick("fffib"), lambda v: same(1) in v.dims)
    at = x.dims.index(same(1))
    lead = None if x.lead is None else x.lead - (at < x.lead)
    g.keep(g.axes("Squeeze", x, [at], 13), x.kind, [*x.dims[:at], *x.dims[at + 1 :]], lead)


@entry(4)
def join(g: RandomGraph) -> None:
    """Join two axes side by side."""
    x = g.of(g.pick("ffffi"), lambda v: v.rank >= 2)
    at = int(g.random.integers(0, x.rank - 1))
    if x.lead in (at, at + 1) and g.flip(0.5):
        raise LookupError("batch")
    how = g.pick(["minus", "shape", "zeros"])
    before, after = list(range(at)), list(range(at + 2, x.rank))
    if how == "zeros" and not after:
        target = g.constant([0] * at + [-1])
    elif how == "minus" and all(fixed(x.dims[k]) for k in (*before, *after)):
        target = g.constant([*(x.dims[k][0] for k in before), -1, *(x.dims[k][0] for k in after)])
    else:
        parts = [size_of(g, x, k) for k in before] + [g.constant([-1])] + [
            size_of(g, x, k) for k in after]  # fmt: skip
        target = parts[0] if len(parts) == 1 else g.node("Concat", parts, axis=0)
    one = tuple(a * b for a, b in zip(x.dims[at], x.dims[at + 1], strict=True))
    lead = None if x.lead is None or x.lead in (at, at + 1) else x.lead - (x.lead > at)
    g.keep(g.node("Reshape", [x, target]), x.kind, [*x.dims[:at], one, *x.dims[at + 2 :]], lead)


@entry(3)
def divide(g: RandomGraph) -> None:
    """Divide a fixed axis into two."""
    x = g.of(g.pick("ffffi"), lambda v: v.rank <= 4)
    at = g.axis(x, lambda dim: fixed(dim) and dim[0] in (4, 6, 8, 10, 12, 16))
    size = x.dims[at][0]
    first = g.pick([k for k in range(2, size) if size % k == 0])
    parts = [size_of(g, x, k) if not fixed(d) else g.constant([d[0]])
             for k, d in enumerate(x.dims)]  # fmt: skip
    parts[at] = g.constant(g.pick([[first, size // first], [first, -1], [-1, size // first]]))
    target = parts[0] if len(parts) == 1 else g.node("Concat", parts, axis=0)
    dims = [*x.dims[:at], same(first), same(size // first), *x.dims[at + 1 :]]
    lead = None if x.lead is None else x.lead + (x.lead > at)
    g.keep(g.node("Reshape", [x, target]), x.kind, dims, lead)


@entry(1)
def flatten(g: RandomGraph) -> None:
    x = g.of("f", lambda v: v.rank >= 2 and v.lead == 0)
    rest = tuple(int(np.prod([d[k] for d in x.dims[1:]])) for k in range(len(SIZES)))
    g.keep(g.node("Flatten", [x], **g.pick([{}, {"axis": 1}])), "f", [x.dims[0], rest], 0)


@entry(4)
def cut(g: RandomGraph) -> None:
    x = g.of(g.pick("fffib"), lambda v: v.rank >= 1)
    at = g.axis(x)
    step = int(g.pick([1, 1, 1, 2, -1, -1, -2, 3]))
    start, end = ((int(g.pick([0, 1, 2, -2, -3])), int(g.pick([-1, 3, 4, 1 << 40, 2**31 - 1])))
                  if step > 0 else
                  (int(g.pick([-1, -2, 3, 1 << 40, 2**31 - 1])),
                   int(g.pick([0, 1, -(1 << 40), -(2**31), -(2**31) + 1, -4]))))  # fmt: skip
    lengths = []
    for size in x.dims[at]:
        last = None if step < 0 and end < -size else end
        lengths.append(len(range(size)[start:last:step]))
    if not all(lengths):
        raise LookupError("empty")
    axis = g.signed(at, x.rank) if g.opset >= 10 else at
    if g.opset < 10:
        if step != 1:
            raise LookupError("step")
        name = g.node("Slice", [x], starts=[start], ends=[end], axes=[axis])
    else:
        more = [g.constant([step])] if step != 1 or g.flip() else []
        name = g.node("Slice", [x, g.constant([start]), g.constant([end]), g.constant([axis]),
                                *more])  # fmt: skip
    g.keep(name, x.kind, [*x.dims[:at], tuple(lengths), *x.dims[at + 1 :]], x.lead)


@entry(3)
def gather(g: RandomGraph) -> None:
    x = g.of(g.pick("ffffi"), lambda v: v.rank >= 1)
    at = g.axis(x, lambda dim: min(dim) > 1)
    least = min(x.dims[at])
    index = g.pick([0, -1, 1, [0, 1], [1], [-1, 0], [[0, 1], [1, 0]],
                    g.random.integers(-least, least, 3).tolist()])  # fmt: skip
    axis = at if g.opset < 11 else g.signed(at, x.rank)
    shape = [same(n) for n in np.shape(index)]
    lead = None if x.lead is None or x.lead == at else (
        x.lead + (len(shape) - 1) * (x.lead > at))  # fmt: skip
    g.keep(g.node("Gather", [x, g.constant(index)], axis=axis), x.kind,
           [*x.dims[:at], *shape, *x.dims[at + 1 :]], lead)  # fmt: skip


@entry(3)
def concat(g: RandomGraph) -> None:
    x = g.of()
    at = g.axis(x)
    y = g.of(
        "f",
        lambda v: (
            v.rank == x.rank
            and v.lead == x.lead
            and all(a == b for k, (a, b) in enumerate(zip(x.dims, v.dims, strict=True)) if k != at)
        ),
    )
    one = tuple(a + b for a, b in zip(x.dims[at], y.dims[at], strict=True))
    name = g.node("Concat", [x, y], axis=at if g.opset < 11 else g.signed(at, x.rank))
    g.keep(name, "f", [*x.dims[:at], one, *x.dims[at + 1 :]], x.lead)


@entry(2)
def split(g: RandomGraph) -> None:
    x = g.of()
    at = g.axis(x, lambda dim: fixed(dim) and dim[0] >= 2)
    size = x.dims[at][0]
    if size % 2 == 0 and g.flip():
        more = {"num_outputs": 2} if g.opset >= 18 else {}
        names, parts = g.node("Split", [x], 2, axis=at, **more), [size // 2] * 2
    else:
        first = int(g.random.integers(1, size))
        parts = [first, size - first]
        if g.opset >= 13:
            names = g.node("Split", [x, g.constant(parts)], 2, axis=at)
        else:
            names = g.node("Split", [x], 2, axis=at, split=parts)
    for name, part in zip(names, parts, strict=True):
        g.keep(name, "f", [*x.dims[:at], same(part), *x.dims[at + 1 :]], x.lead)


@entry(2)
def compare(g: RandomGraph) -> None:
    x = g.of(g.pick("fi"))
    if x.kind == "i":
        other: Any = g.constant(int(g.random.integers(0, 4)))
    else:
        other = g.floats()
    name = g.node(g.pick(["Greater", "Less"] + ["Equal"] * (x.kind == "i")), [x, other])
    g.like(name, x, "b")


@entry(3)
def logic(g: RandomGraph) -> None:
    x = g.of("b")
    if g.flip(0.3):
        g.like(g.node("Not", [x]), x)
        return
    y = g.of("b", lambda v: broadcast(x, v) is not None and v.lead is not None
             and x.lead is not None and v.rank - v.lead == x.rank - x.lead)  # fmt: skip
    dims = broadcast(x, y)
    assert dims is not None
    g.keep(g.node(g.pick(["And", "Or", "Xor"]), [x, y]), "b", dims, lead_of([x, y], len(dims)))


@entry(2)
def where(g: RandomGraph) -> None:
    c = g.of("b")
    x = g.of("f", lambda v: broadcast(c, v) is not None and v.lead is not None
             and c.lead is not None and v.rank - v.lead == c.rank - c.lead)  # fmt: skip
    dims = broadcast(c, x)
    assert dims is not None
    pair = [x, g.constant(-2.5, np.float32)]
    name = g.node("Where", [c, *(pair if g.flip() else pair[::-1])])
    g.keep(name, "f", dims, lead_of([c, x], len(dims)))


@entry(2)
def cast(g: RandomGraph) -> None:
    x = g.of(g.pick("fib"))
    kind = g.pick("fib")
    name = g.node("Cast", [x], to=KINDS[kind])
    g.like(name, x, kind)


@entry(4)
def whole_numbers(g: RandomGraph) -> None:
    x = g.of("i")
    op = g.pick(["Add", "Sub", "Mul", "Div", "Mod", "Neg", "Abs"])
    if op in ("Neg", "Abs"):
        g.like(g.node(op, [x]), x)
        return
    if op == "Mod" and g.opset < 10:
        raise LookupError("Mod")
    number = int(g.pick([1, 2, 3, -2, 5]))
    g.like(g.node(op, [x, g.constant(number)]), x)


@entry(2)
def sized(g: RandomGraph) -> None:
    """A size, as a number that is computed with."""
    x, y = g.of("f", lambda v: v.rank >= 1), g.of()
    at = g.axis(x)
    one = g.node("Gather", [g.node("Shape", [x]), g.constant(at)], axis=0)
    number = g.node("Cast", [one], to=TensorProto.FLOAT)
    g.like(g.node(g.pick(["Mul", "Div"]), [y, g.node("Sqrt", [number])]), y)


@entry(2)
def expand(g: RandomGraph) -> None:
    x = g.of("f", lambda v: same(1) in v.dims)
    at = x.dims.index(same(1))
    other = g.of("f", lambda v: v.rank >= 2)
    k = g.axis(other)
    parts = [g.constant([1]) if n != at else size_of(g, other, k) for n in range(x.rank)]
    target = parts[0] if len(parts) == 1 else g.node("Concat", parts, axis=0)
    if g.flip():
        name = g.node("Expand", [x, target])
    else:
        name = g.node("Tile", [x, target])
    g.keep(name, "f", [*x.dims[:at], other.dims[k], *x.dims[at + 1 :]], x.lead)


@entry(1)
def positions(g: RandomGraph) -> None:
    x = g.of("f", lambda v: v.rank >= 2)
    if g.opset < 11 or x.lead == x.rank - 1:
        raise LookupError("Range")
    limit = g.node("Gather", [g.node("Shape", [x]), g.constant(x.rank - 1)], axis=0)
    counted = g.node("Range", [g.constant(0), limit, g.constant(1)])
    number = g.node("Cast", [counted], to=TensorProto.FLOAT)
    g.like(squash(g, g.node("Add", [x, number])), x)


@entry(1)
def one_hot(g: RandomGraph) -> None:
    x = g.of("i")
    name = g.node("OneHot", [x, g.constant([4]), g.constant([0, 1], np.float32)])
    g.keep(name, "f", [*x.dims, same(4)], x.lead)


@entry(1)
def turned(g: RandomGraph) -> None:
    if g.opset < 10:
        raise LookupError("ReverseSequence")
    lengths = g.of("i", lambda v: v in g.inputs and g.shapes[v.name] == ("B",))
    x = g.of("f", lambda v: v.rank >= 2 and v.lead in (0, 1) and min(v.dims[1 - v.lead]) >= 5)
    name = g.node("ReverseSequence", [x, g.node("Add", [lengths, g.constant(1)])],
                  batch_axis=x.lead, time_axis=1 - (x.lead or 0))  # fmt: skip
    g.like(name, x)


@entry(1)
def picked(g: RandomGraph) -> None:
    if g.opset < 11:
        raise LookupError("GatherElements")
    x = g.of("f", lambda v: v.rank >= 2)
    at = g.axis(x)
    where = g.node("ArgMax", [x], axis=at, keepdims=1)
    dims = [*x.dims[:at], same(1), *x.dims[at + 1 :]]
    g.keep(g.node("GatherElements", [x, where], axis=at), "f", dims, x.lead)


@entry(1)
def branch(g: RandomGraph) -> None:
    x = g.of()
    wide = g.node("Size", [g.node("Shape", [x])])
    condition = g.node(g.pick(["Greater", "Less"]), [
        g.node("Cast", [wide], to=TensorProto.FLOAT), g.constant(2, np.float32)])  # fmt: skip
    number = g.number()
    branches = {}
    for which, op in (("then_branch", "Tanh"), ("else_branch", "Neg")):
        name = f"b{number}{which}"
        end = helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * x.rank)
        branches[which] = helper.make_graph(
            [helper.make_node(op, [x.name], [name])], which, [], [end])  # fmt: skip
    g.like(g.node("If", [condition], **branches), x)


@entry(1)
def thrown(g: RandomGraph) -> None:
    x = g.of()
    g.like(g.node("Dropout", [x]), x)


@entry(1)
def triangle(g: RandomGraph) -> None:
    if g.opset < 14:
        raise LookupError("Trilu")
    x = g.of("f", lambda v: v.rank >= 3 and v.lead not in (v.rank - 1, v.rank - 2))
    g.like(g.node("Trilu", [x, g.constant(int(g.pick([0, 1, -1])))], upper=int(g.flip())), x)
