"""Attacks by programs and trees of modules as data: whatever the readers of files let through.

A program that was exported is changed at random, or made to be endless: what comes out is a Model
or an error of seqcore's, soon and in little memory. Bytes of files are the business of test_pt2.py
and test_torch_attacks.py.
"""

from __future__ import annotations

import random
import tracemalloc
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seqcore import Model
from seqcore.errors import SeqcoreError
from seqcore.formats.torch_programs import (
    Dtype,
    Global,
    ModuleTree,
    Node,
    Program,
    ProgramInput,
    Ref,
)
from seqcore.importers.torch.graph import model_of
from seqcore.importers.torch.live import export_program
from seqcore.importers.torch.modules import MODULES, from_tree
from seqcore.importers.torch.trees import module_tree

MIB = 1 << 20


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.norm = nn.Embedding(9, 4), nn.LayerNorm(6)
        self.lstm = nn.LSTM(4, 3, 2, bidirectional=True, batch_first=True)
        self.cell, self.head = nn.GRUCell(6, 5), nn.Linear(5, 2)

    def forward(self, ids: Any, n: Any) -> Any:
        y, (h, _) = self.lstm(self.embedding(ids))
        mask = torch.arange(ids.shape[1])[None] < n[:, None]
        y = self.norm(y) * mask.unsqueeze(-1)
        last = y[torch.arange(ids.shape[0]), n - 1]
        state = self.cell(last, torch.zeros(ids.shape[0], 5))
        return self.head(state).softmax(-1), h.transpose(0, 1).flatten(1), mask


class Views(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(6, 8, 3, padding=1), nn.BatchNorm1d(8)

    def forward(self, x: Any) -> Any:
        y = F.max_pool1d(F.relu(self.norm(self.conv(x.transpose(1, 2)))), 2, 1)
        y = F.pad(y, (1, 0)).transpose(1, 2)
        heads = y.view(y.shape[0], y.shape[1], 2, 4).transpose(1, 2)
        y = F.scaled_dot_product_attention(heads, heads, heads)
        y = torch.cat([y[:, :1], y.flip(2)[:, 1:]], 1).transpose(1, 2).reshape(x.shape[0], -1, 8)
        a, b = y.chunk(2, -1)
        y = torch.where(a > 0, a, b.clamp(-1, 1)) + torch.einsum("btf,btf->bt", a, b).unsqueeze(2)
        values, places = torch.topk(y, 2, -1)
        return values.mean(1), places, F.one_hot(places, 4), y.cumsum(1).amax(1), y.std(1)


class Constants(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(4, 4))

    def forward(self, x: Any) -> Any:
        w = torch.cat([self.w.t()[:2] * 2, self.w[2:]], 0).clone()
        w = w.masked_fill(torch.tril(torch.ones(4, 4)) == 0, 0.5) + torch.arange(4).repeat(4, 1)
        h = torch.zeros(x.shape[0], 4).expand(-1, -1)
        for step in x.unbind(1):
            h = torch.addmm(h, step, w.softmax(0)).tanh_()
        return h, x @ w.flip(0), torch.stack([h, h.sigmoid()], 1)


@lru_cache(maxsize=1)
def programs() -> list[Program]:
    return [
        export_program(Mixed(), (torch.zeros(3, 7, dtype=torch.int64), torch.tensor([7, 2, 4]))),
        export_program(Views(), (torch.randn(3, 7, 6),)),
        export_program(Constants(), (torch.randn(3, 2, 4),), fixed="features"),
    ]


def read(program: Program) -> Model | None:
    """Import a program that may be anything."""
    try:
        return model_of(program, "x")
    except SeqcoreError:
        return None


def test_the_programs_are_sound():
    assert all(isinstance(model_of(program, "x"), Model) for program in programs())


# ---- Mutations -----------------------------------------------------------------------------------

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, -2, 7, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63),
    10**30, 0.0, 0.5, -1.5, float("nan"), float("inf"), "", "mean", "valid", "ij,jk->ik",
    Dtype("x"),
    Dtype("int64"), Dtype("bool"), Dtype("float32"), [], [0], [1], [-1], [0, 0], [1, 2], [2, 1, 0],
    [1 << 40], [-1, -1], [None], [[]], list(range(9)), [1] * 9, Ref("nowhere"), "x" * 500,
]  # fmt: skip


class Mutations:
    """Changes of a program, drawn at random."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)

    def value(self, program: Program) -> Any:
        """An argument of any kind: a value, a name of the program, a list of these."""
        names = [*program.constants, *(given.name for given in program.inputs)]
        for node in program.nodes:
            for output in node.outputs:
                names += output if isinstance(output, tuple) else [output]
        kind = self.draw.random()
        if kind < 0.5:
            return self.draw.choice(VALUES)
        if kind < 0.9:
            return Ref(str(self.draw.choice(names)))
        return [self.value(program) for _ in range(self.draw.randrange(4))]

    def node(self, program: Program, node: Node) -> Node:
        given = dict(node.arguments)
        way = self.draw.randrange(6)
        key = self.draw.choice(list(given)) if given else "self"
        if way < 3:
            given[key] = self.value(program)
        elif way == 3:
            given.pop(key, None)
        elif way == 4:
            other = self.draw.choice(self.draw.choice(programs()).nodes)
            given = {name: self.value(program) for name in other.arguments}
            return replace(node, target=other.target, arguments=given)
        else:
            given[self.draw.choice(["dim", "other", "x", "0", "index"])] = self.value(program)
        return replace(node, arguments=given)

    def program(self, program: Program) -> Program:
        for _ in range(self.draw.randrange(1, 4)):
            way, nodes = self.draw.randrange(10), list(program.nodes)
            at = self.draw.randrange(len(nodes))
            if way < 6:
                nodes[at] = self.node(program, nodes[at])
                program = replace(program, nodes=tuple(nodes))
            elif way == 6:
                del nodes[at]
                program = replace(program, nodes=tuple(nodes) or program.nodes)
            elif way == 7:
                inputs = list(program.inputs)
                place = self.draw.randrange(len(inputs))
                shape = list(inputs[place].shape)
                size = self.draw.choice([0, 1, 4, -3, 1 << 40, "s9", "2*s1", 10**20])
                shape[self.draw.randrange(len(shape))] = size
                more = shape * self.draw.choice([1, 1, 1, 3, 30])
                dtype = self.draw.choice(["float32", "int64", "bool", None, "complex64"])
                inputs[place] = replace(inputs[place], shape=tuple(more), dtype=dtype)
                program = replace(program, inputs=tuple(inputs))
            elif way == 8:
                outputs = [*program.outputs, self.value(program)]
                self.draw.shuffle(outputs)
                program = replace(program, outputs=tuple(outputs[: self.draw.randrange(4)]))
            else:
                name = self.draw.choice(list(program.constants))
                shape = [self.draw.randrange(5) for _ in range(self.draw.randrange(5))]
                kind = self.draw.choice(["f4", "f8", "i8", "?"])
                constants = {**program.constants, name: np.ones(shape, kind)}
                program = replace(program, constants=constants)
        return program


def attack(seed: int) -> Model | None:
    changes = Mutations(seed)
    return read(changes.program(changes.draw.choice(programs())))


def test_changed_programs():
    """Some are imported all the same, most are refused."""
    made = [attack(seed) for seed in range(150)]
    assert any(made)
    assert not all(made)


# ---- Without end ---------------------------------------------------------------------------------


def chain(
    *nodes: tuple[str, dict[str, Any]], shape: Any = ("s0", "s1", 4), **constants: Any
) -> Any:
    """A program of nodes v0, v1 ..., of which the last is returned."""
    made = [
        Node(f"aten.{name}.default", given, (f"v{k}",)) for k, (name, given) in enumerate(nodes)
    ]
    given = (ProgramInput("x", "float32", shape),)
    return Program(given, (Ref(f"v{len(nodes) - 1}"),), tuple(made), constants)


def last(k: int) -> Ref:
    return Ref(f"v{k - 1}") if k else Ref("x")


HUGE = 1 << 40
WEIGHT = np.ones((4, 4), np.float32)


def doubled(name: str, **given: Any) -> Any:
    return chain(*[(name, {"tensors": [last(k), last(k)], **given}) for k in range(60)])


def of_constants(*nodes: tuple[str, dict[str, Any]]) -> Any:
    """The same of what begins with a constant, which is added to the input at the end."""
    own = [(name, {key: Ref("w") if value == Ref("x") else value for key, value in given.items()})
           for name, given in nodes]  # fmt: skip
    added = ("add", {"self": Ref("x"), "other": last(len(nodes))})
    return chain(*own, added, w=WEIGHT)


def below(depth: int) -> Any:
    """A list in a list in a list."""
    made: Any = [Ref("x")]
    for _ in range(depth):
        made = [made]
    return made


def shared(depth: int) -> Any:
    made: Any = [Ref("x")]
    for _ in range(depth):
        made = [made, made]
    return made


def cyclic() -> Any:
    made: Any = [Ref("x")]
    made.append(made)
    return made


ENDLESS = {
    "cat": doubled("cat", dim=1),
    "stack": doubled("stack", dim=1),
    "repeat": chain(*[("repeat", {"self": last(k), "repeats": [1, 2, 1]}) for k in range(60)]),
    "repeat far": chain(("repeat", {"self": Ref("x"), "repeats": [1, 1, HUGE]})),
    "repeat_interleave": chain(
        ("repeat_interleave", {"self": Ref("x"), "repeats": HUGE, "dim": 2})
    ),
    "expand": chain(("unsqueeze", {"self": Ref("x"), "dim": 3}),
                    ("expand", {"self": Ref("v0"), "size": [-1, -1, -1, HUGE]}),
                    ("contiguous", {"self": Ref("v1")}), ("sum", {"self": Ref("v2"), "dim": [3]})),
    "pad": chain(("pad", {"self": Ref("x"), "pad": [HUGE, HUGE]})),
    "stride 0": chain(("conv1d", {"input": Ref("x"), "weight": Ref("w"), "stride": [0]}),
                      w=np.ones((2, 4, 3), np.float32), shape=("s0", 4, "s1")),
    "conv far": chain(("conv1d", {"input": Ref("x"), "weight": Ref("w"), "padding": [HUGE],
                                  "dilation": [HUGE]}), w=np.ones((2, 4, 3), np.float32),
                      shape=("s0", 4, "s1")),
    "topk": chain(("topk", {"self": Ref("x"), "k": -1})),
    "topk far": chain(("topk", {"self": Ref("x"), "k": HUGE})),
    "split": chain(("split", {"self": Ref("x"), "split_size": 0, "dim": -1})),
    "split below": chain(("split", {"self": Ref("x"), "split_size": -4, "dim": -1})),
    "split far": chain(("split", {"self": Ref("x"), "split_size": 1, "dim": 1}),
                       shape=("s0", HUGE, 4)),
    "chunk": chain(("chunk", {"self": Ref("x"), "chunks": 0, "dim": -1})),
    "unbind": chain(("unbind", {"self": Ref("x"), "dim": 1}), shape=("s0", HUGE, 4)),
    "one_hot": chain(("one_hot", {"self": Ref("x"), "num_classes": HUGE})),
    "gather": chain(("argmax", {"self": Ref("x"), "dim": 1, "keepdim": True}),
                    ("gather", {"self": Ref("x"), "dim": 1, "index": Ref("v0")}),
                    shape=("s0", HUGE, 4)),
    "attention": chain(("scaled_dot_product_attention", {
        "query": Ref("x"), "key": Ref("x"), "value": Ref("x"), "is_causal": True}),
        shape=("s0", HUGE, 4)),
    "roll": chain(("roll", {"self": Ref("x"), "shifts": [HUGE + 1], "dims": [2]})),
    "einsum": chain(("einsum", {"equation": "".join(map(chr, range(200, 50200))) + ",a->a",
                                "tensors": [Ref("x"), Ref("x")]})),
    "permute": chain(("permute", {"self": Ref("x"), "dims": list(range(100_000))})),
    "view": chain(("view", {"self": Ref("x"), "size": [-1] + [1] * 100_000})),
    "view of views": chain(*[("view", {"self": last(k), "size": [-1, 1, 1 + k % 2, 4 - 2 * (k % 2),
                                                                1]}) for k in range(150)]),
    "unsqueeze": chain(*[("unsqueeze", {"self": last(k), "dim": 0}) for k in range(150)]),
    "flatten of a product": chain(*[("mul", {"self": last(k), "other": last(k)})
                                    for k in range(300)]),
    "deep lists": chain(("cat", {"tensors": below(100_000)})),
    "shared lists": chain(("cat", {"tensors": shared(60)})),
    "cyclic lists": chain(("cat", {"tensors": cyclic()})),
    "many lists": chain(("cat", {"tensors": [Ref("x")] * 100_000})),
    "constant repeat": of_constants(
        *[("repeat", {"self": last(k), "repeats": [2, 2]}) for k in range(60)]),
    "constant far": of_constants(("repeat", {"self": Ref("x"), "repeats": [HUGE, HUGE]})),
    "constant cat": of_constants(
        *[("cat", {"tensors": [last(k)] * 8, "dim": 0}) for k in range(20)]),
    "constant expand": of_constants(
        ("unsqueeze", {"self": Ref("x"), "dim": 0}),
        ("expand", {"self": Ref("v0"), "size": [1 << 30, 4, 4]}),
        ("contiguous", {"self": Ref("v1")}),
        ("neg", {"self": Ref("v2")})),
    "constant product": of_constants(
        ("repeat", {"self": Ref("x"), "repeats": [1000, 1000]}),
        ("mm", {"self": Ref("v0"), "mat2": Ref("v0")})),
    "constant outer": of_constants(
        ("arange", {"end": 1 << 22}), ("unsqueeze", {"self": Ref("v0"), "dim": 1}),
        ("mul", {"self": Ref("v0"), "other": Ref("v1")})),
    "constant eye": of_constants(("eye", {"n": 1 << 20})),
    "constant arange": of_constants(("arange", {"start": 0, "end": 1, "step": 1e-300})),
    "constant zeros": of_constants(
        ("zeros", {"size": [HUGE, HUGE]}), ("tril", {"self": Ref("v0")})),
    "constants in all": of_constants(
        ("arange", {"end": 1 << 23}), *[("neg", {"self": Ref("v0")}) for _ in range(200)]),
    "constant embedding": of_constants(
        ("zeros", {"size": [1 << 22], "dtype": Dtype("int64")}),
        ("embedding", {"weight": Ref("w"), "indices": Ref("v0")})),
    "sizes": chain(*[("repeat", {"self": last(k), "repeats": [1, HUGE, 1]}) for k in range(100)]),
    "no inputs": replace(chain(("arange", {"end": 3})), inputs=()),
    "inputs": replace(chain(("relu", {"self": Ref("x")})), inputs=tuple(
        ProgramInput(f"x{k}" if k else "x", "float32", ("s", "s", "s")) for k in range(300))),
    "nodes": chain(*[("relu", {"self": last(k)}) for k in range(300)]),
    "offenders": chain(*[("flying", {"self": Ref("x")}) for k in range(300)]),
    "offenders by axis": chain(*[("sum", {"self": Ref("x"), "dim": [k % 3]}) for k in range(300)]),
    "in place": chain(("clone", {"self": Ref("x")}),
                      *[("relu_", {"self": Ref("v0")}) for k in range(300)]),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDLESS)
def test_what_has_no_end(name):
    """A Model or an error, in bounded memory; what took time without end would not come back."""
    tracemalloc.start()
    try:
        read(ENDLESS[name])
        assert tracemalloc.get_traced_memory()[1] < 1200 * MIB
    finally:
        tracemalloc.stop()


# ---- Trees ---------------------------------------------------------------------------------------


def trees() -> list[ModuleTree]:
    return [
        module_tree(nn.Sequential(nn.Embedding(9, 4), nn.LSTM(4, 3, 2, batch_first=True))),
        module_tree(nn.LSTM(4, 3, 2, bidirectional=True, proj_size=2)),
        module_tree(nn.GRU(4, 3)),
        module_tree(nn.RNN(4, 3, nonlinearity="relu")),
        module_tree(nn.Sequential(
            nn.Conv1d(4, 6, 3, padding=1, padding_mode="circular"), nn.BatchNorm1d(6), nn.PReLU(6),
            nn.MaxPool1d(2), nn.InstanceNorm1d(6, affine=True), nn.ConstantPad1d(1, 2.0),
            nn.ConvTranspose1d(6, 4, 3), nn.Upsample(scale_factor=2), nn.AdaptiveAvgPool1d(3),
            nn.Flatten(), nn.Linear(12, 8), nn.GELU(), nn.LayerNorm(8), nn.Unflatten(1, (2, 4)),
            nn.GLU(), nn.Softmax(-1),
        )),
    ]  # fmt: skip


OPTIONS = [
    *VALUES, Global("os.system"), {}, {"a": 1}, (), (1,), (-1, 2), b"x", cyclic(), shared(60),
    below(2000), "same", "reflect", "nearest", (1 << 40,),
]  # fmt: skip


def changed(tree: ModuleTree, draw: random.Random) -> ModuleTree:
    """The tree with something else somewhere."""
    if tree.children and draw.random() < 0.8:
        key = draw.choice(list(tree.children))
        child, way = tree.children[key], draw.randrange(12)
        new: Any = None if way == 0 or child is None else tree if way == 1 else changed(child, draw)
        return replace(tree, children={**tree.children, key: new})
    way, options, arrays = draw.randrange(8), dict(tree.options), dict(tree.arrays)
    if way < 4 and options:
        options[draw.choice(list(options))] = draw.choice(OPTIONS)
    elif way == 4 and options:
        del options[draw.choice(list(options))]
    elif way == 5 and arrays:
        del arrays[draw.choice(list(arrays))]
    elif way == 6 and arrays:
        shape = [draw.randrange(5) for _ in range(draw.randrange(5))]
        array = draw.choice(
            [np.ones(shape, "f4"), np.ones(shape, "i8"), None, np.full((4, 4), np.nan)]
        )
        arrays[draw.choice(list(arrays))] = array
    else:
        name = draw.choice([*MODULES, "Sequential", "DataParallel", "ModuleList"])
        return replace(tree, kind=f"torch.nn.modules.x.{name}", options=options, arrays=arrays)
    return replace(tree, options=options, arrays=arrays)


def read_tree(tree: ModuleTree) -> Model | None:
    try:
        return from_tree(tree, "x")
    except SeqcoreError:
        return None


def attack_tree(seed: int) -> Model | None:
    draw = random.Random(seed)
    tree = draw.choice(trees())
    for _ in range(draw.randrange(1, 3)):
        tree = changed(tree, draw)
    return read_tree(tree)


def test_the_trees_are_sound():
    assert all(isinstance(from_tree(tree, "x"), Model) for tree in trees())


def test_changed_trees():
    made = [attack_tree(seed) for seed in range(150)]
    assert any(made)
    assert not all(made)


def test_trees_without_end():
    """Children that are shared 2^60 times, or contain themselves."""
    tree = module_tree(nn.Sequential(nn.Linear(4, 4)))
    cycle = replace(tree, children={"0": None})
    cycle.children["0"] = cycle  # type: ignore[index]
    mine = replace(tree, kind="mine.Net", children={})
    own = replace(cycle, kind="mine.Net", children={})
    own.children["0"] = own  # type: ignore[index]
    for _ in range(60):
        tree = replace(tree, children={"0": tree, "1": tree})
        mine = replace(mine, children={"0": mine, "1": mine})
    for endless in (tree, cycle, mine, own):
        with pytest.raises(SeqcoreError):
            from_tree(endless, "x")
