"""What random ONNX graphs are made of: layers, products, windows and reductions."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto
from onnx_random import RandomGraph, Value, entry, fixed, same, size_of, squash


@entry(2)
def embed(g: RandomGraph) -> None:
    x = g.of("i", lambda v: v in g.inputs)
    if g.flip(0.7):
        made = g.node("Gather", [g.floats(6, 4), x])
        g.keep(made, "f", [*x.dims, same(4)], x.lead)
    else:
        made = g.node("Gather", [g.floats(3, 6), x], axis=1)
        lead = None if x.lead is None else x.lead + 1
        g.keep(made, "f", [same(3), *x.dims], lead)


@entry(3)
def reduce(g: RandomGraph) -> None:
    x = g.of(g.pick("ffffi"), lambda v: v.rank >= 2)
    op = g.pick(["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceL1",
                 "ReduceSumSquare", "ReduceLogSumExp", "ReduceProd"])  # fmt: skip
    if x.kind == "i":
        op = g.pick(["ReduceSum", "ReduceMean"])
    dims = sorted({g.axis(x), g.axis(x)} if g.flip(0.3) else {g.axis(x)})
    keep = int(g.flip())
    axes = dims if g.opset < 11 else [g.signed(k, x.rank) for k in dims]
    name = g.axes(op, x, axes, 13 if op == "ReduceSum" else 18, keepdims=keep)
    left = [same(1) if k in dims else d for k, d in enumerate(x.dims) if keep or k not in dims]
    lead = None if x.lead is None or x.lead in dims else x.lead - (
        0 if keep else sum(k < x.lead for k in dims))  # fmt: skip
    if op in ("ReduceSumSquare", "ReduceSum", "ReduceL1") and x.kind == "f":
        name = squash(g, name)
    g.keep(name, x.kind, left, lead)


@entry(2)
def softmax(g: RandomGraph) -> None:
    x = g.of("f", lambda v: v.rank >= 2)
    at = g.axis(x)
    axis = at if g.opset < 11 else g.signed(at, x.rank)
    g.like(g.node(g.pick(["Softmax", "LogSoftmax"]), [x], axis=axis), x)


@entry(2)
def norm(g: RandomGraph) -> None:
    x = g.of("f", lambda v: v.rank >= 2 and fixed(v.dims[-1]))
    size = x.dims[-1][0]
    if g.opset < 17:
        raise LookupError("norm")
    b = [g.floats(size)] if g.flip() else []
    g.like(g.node("LayerNormalization", [x, g.floats(size), *b]), x)


@entry(2)
def channels_norm(g: RandomGraph) -> None:
    x = g.of("f", lambda v: v.rank >= 3 and fixed(v.dims[1]) and v.lead != 1)
    size = x.dims[1][0]
    op = g.pick(["InstanceNormalization", "BatchNormalization"])
    more = [] if op[0] == "I" else [g.floats(size),
                                    g.constant(1 + g.random.random(size), np.float32)]  # fmt: skip
    if op[0] == "I" and min(int(np.prod([d[k] for d in x.dims[2:]])) for k in range(3)) < 3:
        raise LookupError("few")
    g.like(g.node(op, [x, g.floats(size), g.floats(size), *more]), x)


@entry(2)
def running(g: RandomGraph) -> None:
    x = g.of(g.pick("ffi"), lambda v: v.rank >= 2)
    if g.opset < 11:
        raise LookupError("CumSum")
    at = g.axis(x)
    g.like(g.node("CumSum", [x, g.constant(at)], exclusive=int(g.flip(0.3)),
                  reverse=int(g.flip(0.3))), x)  # fmt: skip


@entry(2)
def places(g: RandomGraph) -> None:
    x = g.of("f", lambda v: v.rank >= 2)
    at = g.axis(x)
    keep = int(g.flip())
    name = g.node(g.pick(["ArgMax", "ArgMin"]), [x], axis=at, keepdims=keep)
    left = [same(1) if k == at else d for k, d in enumerate(x.dims) if keep or k != at]
    lead = None if x.lead is None or x.lead == at else x.lead - (not keep and at < x.lead)
    g.keep(name, "i", left, lead)


@entry(1)
def topk(g: RandomGraph) -> None:
    x = g.of("f", lambda v: v.rank >= 2)
    at = g.axis(x, lambda dim: min(dim) >= 2)
    if g.opset < 11:
        raise LookupError("TopK")
    values, where = g.node("TopK", [x, g.constant([2])], 2, axis=at, largest=int(g.flip()))
    dims = [*x.dims[:at], same(2), *x.dims[at + 1 :]]
    g.keep(values, "f", dims, x.lead)
    g.keep(where, "i", dims, x.lead)


@entry(4)
def product(g: RandomGraph) -> None:
    x = g.of("f", lambda v: v.rank >= 2 and fixed(v.dims[-1]))
    size, out = x.dims[-1][0], int(g.pick([1, 4, 6]))
    shape = g.pick([(size, out), (size, out), (1, size, out)])
    if len(shape) > x.rank:
        raise LookupError("rank")
    g.keep(squash(g, g.node("MatMul", [x, g.floats(*shape)])), "f", [*x.dims[:-1], same(out)],
           x.lead)  # fmt: skip


@entry(2)
def product_from_left(g: RandomGraph) -> None:
    x = g.of("f", lambda v: v.rank >= 2 and fixed(v.dims[-2]))
    size = x.dims[-2][0]
    name = g.node("MatMul", [g.floats(3, size), x])
    g.keep(squash(g, name), "f", [*x.dims[:-2], same(3), x.dims[-1]], x.lead)


@entry(2)
def product_of_two(g: RandomGraph) -> None:
    x = g.of("f", lambda v: v.rank >= 3)
    y = g.of("f", lambda v: v.rank == x.rank and v.dims[:-2] == x.dims[:-2]
             and v.dims[-2] == x.dims[-1] and v.lead == x.lead)  # fmt: skip
    g.keep(squash(g, g.node("MatMul", [x, y])), "f", [*x.dims[:-1], y.dims[-1]], x.lead)


@entry(1)
def attend(g: RandomGraph) -> None:
    x = g.of("f", lambda v: v.rank == 3 and v.lead == 0)
    turned = g.node("Transpose", [x], perm=[0, 2, 1])
    scores = g.node("MatMul", [x, turned])
    weights = g.node("Softmax", [scores], axis=2)
    g.keep(g.node("MatMul", [weights, x]), "f", x.dims, 0)


@entry(1)
def einsum(g: RandomGraph) -> None:
    if g.opset < 12:
        raise LookupError("Einsum")
    x = g.of("f", lambda v: v.rank == 3)
    equation = g.pick(["abc->acb", "abc->ab", "abc,abc->ab", "abc,abd->acd", "abc,adc->abd",
                       "abc,abc->abc", "...c->...", "abc->bca"])  # fmt: skip
    terms, out = equation.split("->")
    ids = dict(zip("abc", x.dims, strict=True))
    ids["d"] = ids["c"] if equation == "abc,abd->acd" else ids["b"]
    dims = list(x.dims[:-1]) if "." in out else [ids[c] for c in out]
    where = "abc"[x.lead] if x.lead is not None else "?"
    lead = x.lead if "." in out else out.index(where) if where in out else None
    name = g.node("Einsum", [x] * (1 + terms.count(",")), equation=equation)
    g.keep(squash(g, name), "f", dims, lead)


@entry(1)
def gemm(g: RandomGraph) -> None:
    x = g.of("f", lambda v: v.rank == 2)
    turned = x.lead == 1
    inner = x.dims[0] if turned else x.dims[1]
    if not fixed(inner):
        raise LookupError("inner")
    to = int(g.flip())
    w = g.floats(*((3, inner[0]) if to else (inner[0], 3)))
    c = [g.floats(*g.pick([(3,), (1, 3), (1,), (), (1, 1)]))] if g.flip() or g.opset < 11 else []
    name = g.node("Gemm", [x, w, *c], transA=int(turned), transB=to, alpha=0.5, beta=1.5)
    g.keep(squash(g, name), "f", [x.dims[1] if turned else x.dims[0], same(3)], 0)


@entry(4)
def convolution(g: RandomGraph) -> None:
    x = g.of("f", lambda v: v.rank in (3, 4) and fixed(v.dims[1]) and v.lead != 1)
    channels, groups = x.dims[1][0], 1
    if channels % 2 == 0 and g.flip(0.2):
        groups = int(g.pick([2, channels]))
    filters = groups * int(g.pick([1, 2, 3]))
    count = x.rank - 2
    kernel = [int(g.pick([1, 2, 3])) for _ in range(count)]
    step = [int(g.pick([1, 1, 2])) for _ in range(count)]
    spread = [int(g.pick([1, 1, 2])) for _ in range(count)]
    pads = [int(g.pick([0, 1, 2])) for _ in range(2 * count)]
    dims = []
    for k in range(count):
        reach = spread[k] * (kernel[k] - 1) + 1
        out = tuple((n + pads[k] + pads[count + k] - reach) // step[k] + 1 for n in x.dims[2 + k])
        if min(out) < 1 or min(
            n + pads[k] + pads[count + k] - reach for n in x.dims[2 + k]) < 0:  # fmt: skip
            raise LookupError("short")
        dims.append(out)
    b = [g.floats(filters)] if g.flip() else []
    name = g.node(
        "Conv", [x, g.floats(filters, channels // groups, *kernel, scale=0.4), *b], group=groups,
        strides=step, dilations=spread, pads=pads,
    )  # fmt: skip
    g.keep(squash(g, name), "f", [x.dims[0], same(filters), *dims], x.lead if x.lead == 0 else None)


@entry(2)
def convolution_back(g: RandomGraph) -> None:
    x = g.of("f", lambda v: v.rank == 3 and fixed(v.dims[1]) and v.lead == 0)
    channels = x.dims[1][0]
    kernel, step = int(g.pick([1, 2, 3])), int(g.pick([1, 2, 3]))
    more = int(g.random.integers(0, step))
    w = g.floats(channels, 2, kernel, scale=0.4)
    name = g.node("ConvTranspose", [x, w], strides=[step], output_padding=[more])
    out = tuple((n - 1) * step + kernel + more for n in x.dims[2])
    g.keep(squash(g, name), "f", [x.dims[0], same(2), out], 0)


@entry(2)
def pool(g: RandomGraph) -> None:
    x = g.of("f", lambda v: v.rank in (3, 4) and v.lead in (0, 1))
    count = x.rank - 2
    kernel = [int(g.pick([1, 2, 3])) for _ in range(count)]
    step = [int(g.pick([1, 2])) for _ in range(count)]
    pads = [int(g.random.integers(0, k)) for k in kernel] * 2
    op = g.pick(["MaxPool", "AveragePool"])
    more: dict[str, Any] = {"count_include_pad": int(g.flip())} if op[0] == "A" else {}
    dims = []
    for k in range(count):
        room = [n + pads[k] + pads[count + k] - kernel[k] for n in x.dims[2 + k]]
        if min(room) < 0:
            raise LookupError("short")
        dims.append(tuple(r // step[k] + 1 for r in room))
    name = g.node(op, [x], kernel_shape=kernel, strides=step, pads=pads, **more)
    g.keep(name, "f", [*x.dims[:2], *dims], x.lead)


@entry(1)
def pool_all(g: RandomGraph) -> None:
    x = g.of("f", lambda v: v.rank >= 3 and v.lead in (0, 1))
    dims = [*x.dims[:2], *[same(1)] * (x.rank - 2)]
    g.keep(g.node(g.pick(["GlobalAveragePool", "GlobalMaxPool"]), [x]), "f", dims, x.lead)


@entry(2)
def pad(g: RandomGraph) -> None:
    x = g.of("f", lambda v: v.rank >= 2)
    at = g.axis(x)
    mode = g.pick(["constant", "constant", "reflect", "edge"])
    ends = [int(g.random.integers(0, min(3, min(x.dims[at])))) for _ in range(2)]
    if mode == "constant" and g.flip(0.2) and min(x.dims[at]) > 2:
        ends[0] = -1
    pads = [0] * (2 * x.rank)
    pads[at], pads[x.rank + at] = ends
    if g.opset >= 11:
        name = g.node("Pad", [x, g.constant(pads)], mode=mode)
    else:
        name = g.node("Pad", [x], pads=pads, mode=mode)
    dims = [*x.dims[:at], tuple(n + sum(ends) for n in x.dims[at]), *x.dims[at + 1 :]]
    g.keep(name, "f", dims, x.lead)


@entry(7)
def recurrent(g: RandomGraph) -> None:
    x = g.of("f", lambda v: v.rank == 3 and fixed(v.dims[2]) and v.lead != 2)
    if x.lead == 0 and g.flip(0.8):
        name = g.node("Transpose", [x], perm=[1, 0, 2])
        x = g.keep(name, "f", [x.dims[1], x.dims[0], x.dims[2]], 1)
    op, gates = g.pick([("RNN", 1), ("LSTM", 4), ("GRU", 3)])
    way = g.pick(["forward", "reverse", "bidirectional"])
    count, units, features = 1 + (way == "bidirectional"), int(g.pick([2, 4])), x.dims[2][0]
    more: dict[str, Any] = {"direction": way, "hidden_size": units}
    inputs: list[Any] = [
        x, g.floats(count, gates * units, features, scale=0.5),
        g.floats(count, gates * units, units, scale=0.5),
        g.floats(count, 2 * gates * units, scale=0.5) if g.flip(0.8) else "", "", "",
    ]  # fmt: skip
    lengths = [v for v in g.inputs if v.kind == "i" and g.shapes[v.name] == ("B",)]
    if lengths and g.flip(0.7):
        whole = g.node("Cast", [g.node("Add", [lengths[0], g.constant(1)])], to=TensorProto.INT32)
        inputs[4] = whole
    if g.flip(0.3) and x.lead == 1:  # of the inputs, or zeros as exporters expand them
        batch = size_of(g, x, 1)
        wide = g.node("Concat", [g.constant([count]), batch, g.constant([units])], axis=0)
        inputs[5] = g.node("Expand", [g.floats(count, 1, units), wide])
    if op == "GRU":
        more["linear_before_reset"] = int(g.flip())
    if op == "LSTM":
        more["input_forget"] = 0
        if g.flip(0.3):
            inputs += [inputs[5], g.floats(count, 3 * units, scale=0.5)]
    if g.flip(0.2):
        more["clip"] = 1.5
    if g.flip(0.2):
        names = {"RNN": ["Relu"], "GRU": ["HardSigmoid", "Tanh"],
                 "LSTM": ["Sigmoid", "Softsign", "Tanh"]}[op]  # fmt: skip
        more["activations"] = names * count
    made = g.node(op, inputs, 3 if op == "LSTM" else 2, **more)
    seen = [x.dims[0], same(count), x.dims[1], same(units)]
    lead = 2 if x.lead == 1 else None
    if g.flip(0.8):
        y = Value(made[0], "f", tuple(seen), lead)
        how = g.pick(["squeeze", "join", "keep"])
        if how == "squeeze" and count == 1:
            g.keep(g.axes("Squeeze", y, [1], 13), "f", [seen[0], *seen[2:]], lead and 1)
        elif how != "keep":
            turned = g.node("Transpose", [y], perm=[0, 2, 1, 3])
            name = g.node("Reshape", [turned, g.constant([0, 0, -1])])
            g.keep(name, "f", [seen[0], seen[2], same(count * units)], lead and 1)
        else:
            g.values.append(y)
    for name in made[1:]:
        if g.flip():
            g.keep(name, "f", seen[1:], lead and 1)
