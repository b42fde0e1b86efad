"""torch.export's files as Programs: every node, argument, shape and number is torch's own.

The graph is compared with the ExportedProgram that was saved, and run with torch (which
tests/programs_in_torch.py does) against the module. Files that lie are in
tests/attacks/test_pt2.py; live modules in tests/importers/test_torch_live.py.
"""

from __future__ import annotations

import io
import operator
import shutil
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from programs_in_torch import run
from tolerances import FLOAT32, close
from torch import nn
from torch.export import Dim

from seqcore.errors import ModelFileError, OptionError
from seqcore.formats.opening import budget_of
from seqcore.formats.pt2 import read_pt2, read_pt2_file
from seqcore.formats.pt2_symbols import size_expression
from seqcore.formats.torch_programs import Dtype, Program, Ref

GOLDEN = Path(__file__).parents[1] / "golden"
VERSIONS = ("2.4.1", "2.5.1", "2.6.0", "2.7.1", "2.8.0")


class Tagger(nn.Module):
    """Weights of every kind: tied, in one storage, of another layout, persistent and not."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 4)
        self.head = nn.Linear(4, 9, bias=False)
        self.head.weight = self.embedding.weight
        self.mix = nn.Linear(6, 4)
        self.mix.weight = nn.Parameter(torch.randn(6, 4).T)
        self.register_buffer("scale", torch.randn(4).bfloat16(), persistent=False)
        self.register_buffer("every", torch.arange(20.0)[1:17:4])
        self.register_buffer("same", self.every[1:])
        self.register_buffer("empty", torch.empty(0, 3))
        self.register_buffer("one", torch.tensor(3))
        self.register_buffer("small", torch.randn(4).half())
        self.register_buffer("keep", torch.tensor([True, False, True, True]))

    def forward(self, ids: Any, more: Any, *, power: float = 2.0, flag: Any = None) -> Any:
        rows, steps = ids.shape if flag is None else (1, 1)
        x = self.embedding(ids) * self.scale.float() * self.every + self.small.float()
        x = self.mix(torch.cat([x, more["a"].expand(rows, steps, 2)], -1)) ** power
        x = x.masked_fill(~self.keep, float("-inf")).clamp(min=-5.0)
        first, rest = torch.split(x, [1, 3], -1)
        flat = x.reshape(rows * 2, -1, 4).to(torch.float64)
        top = torch.topk(x, 2)
        return {
            "out": self.head(x) + torch.tensor([0.5] * 9),
            "parts": [first, rest * self.same, flat],
            "none": None,
            "top": top.indices,
            "rows": rows * 2,
            "one": self.one,
            "shape": torch.zeros(rows * 2 + 1, steps),
        }


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({"lstm": nn.LSTM(5, 3, 2, bidirectional=True, proj_size=2)})
        self.gru = nn.GRU(4, 3, bias=False)
        self.cells = nn.ModuleList([nn.RNNCell(3, 4)])

    def forward(self, x: Any, h: Any, c: Any) -> Any:
        out, (_, c) = self.parts["lstm"](x, (h, c))
        out, h = self.gru(out)
        return self.cells[0](out[-1]), c


class Made(NamedTuple):
    module: nn.Module
    inputs: tuple[Any, ...]
    exported: Any
    data: bytes
    program: Program


def made(module: nn.Module, args: tuple, kwargs: dict, tensors: tuple, dynamic: Any) -> Made:
    exported = torch.export.export(module.eval(), args, kwargs, dynamic_shapes=dynamic)
    file = io.BytesIO()
    torch.export.save(exported, file)
    return Made(module, tensors, exported, file.getvalue(), read(file.getvalue()))


def read(data: bytes) -> Program:
    return read_pt2_file(io.BytesIO(data), budget_of(len(data), None))


@pytest.fixture(scope="module")
def tagger() -> Made:
    torch.manual_seed(5)
    ids, a = torch.randint(0, 9, (3, 4)), torch.randn(2)
    kwargs = {"power": 2.0, "flag": None}
    sizes = {"ids": {0: Dim("b"), 1: Dim("t", max=99) * 2}, "more": {"a": None}}
    dynamic = sizes | {"power": None, "flag": None}
    return made(Tagger(), (ids, {"a": a}), kwargs, (ids, a), dynamic)


@pytest.fixture(scope="module")
def recurrent() -> Made:
    torch.manual_seed(6)
    tensors = (torch.randn(7, 3, 5), torch.randn(4, 3, 2), torch.randn(4, 3, 3))
    return made(Recurrent(), tensors, {}, tensors, None)


@pytest.fixture(params=["tagger", "recurrent"])
def case(request: pytest.FixtureRequest) -> Made:
    return request.getfixturevalue(request.param)


# ---- The graph, against torch's own --------------------------------------------------------------


def expected_argument(value: Any) -> Any:
    if isinstance(value, torch.fx.Node):
        return Ref(value.name)
    if isinstance(value, torch.dtype):
        return Dtype(str(value).removeprefix("torch."))
    if isinstance(value, (torch.device, torch.layout)):
        return str(value).removeprefix("torch.")
    return [expected_argument(part) for part in value] if isinstance(value, list) else value


def expected_nodes(exported: Any) -> list[tuple[str, list[Any], list[str]]]:
    """Target, arguments and names of the results of each call, as torch.fx has them."""
    nodes = []
    for node in exported.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        target = str(node.target) if isinstance(node.target, torch._ops.OpOverload) else ""
        name = target or f"{node.target.__module__}.{node.target.__name__}"
        arguments = [expected_argument(part) for part in (*node.args, *node.kwargs.values())]
        parts = {user.args[1]: user for user in node.users if user.target is operator.getitem}
        read = [user.name if user.users else None for _, user in sorted(parts.items())]
        nodes.append((name, arguments, read or [node.name]))
    return nodes


def test_nodes_are_torchs(case):
    found, expected = case.program.nodes, expected_nodes(case.exported)
    assert [node.target for node in found] == [target for target, _, _ in expected]
    for node, (_, arguments, results) in zip(found, expected, strict=True):
        assert list(node.arguments.values()) == arguments, node.target
        flat = [
            part
            for name in node.outputs
            for part in (name if isinstance(name, tuple) else (name,))
            if part is not None
        ]
        assert set(filter(None, results)) <= set(flat) or not node.outputs, node.target


def test_arguments_have_the_names_of_torchs_schema(recurrent):
    (lstm,) = (node for node in recurrent.program.nodes if node.target == "aten.lstm.input")
    assert list(lstm.arguments) == [
        argument.name for argument in torch.ops.aten.lstm.input._schema.arguments
    ]
    assert [type(x).__name__ for x in lstm.arguments.values()] == (
        ["Ref", "list", "list", "bool", "int", "float", "bool", "bool", "bool"]
    )
    assert len(lstm.arguments["params"]) == 2 * 2 * 5  # proj_size has a fifth array


def test_functions_of_python_have_numbers_for_names(tagger):
    (times,) = (node for node in tagger.program.nodes if node.target == "_operator.add")
    assert list(times.arguments) == ["0", "1"]
    assert times.arguments["1"] == 1


def test_results_that_nobody_wants_have_no_name(recurrent):
    outputs = {node.target: node.outputs for node in recurrent.program.nodes}
    wanted = [name is not None for name in outputs["aten.lstm.input"]]
    assert wanted == [True, False, True]  # out and c
    assert outputs["aten.gru.input"][1] is None


def test_shapes_and_dtypes_are_torchs(case):
    known = 0
    for node in case.exported.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor) and node.name in case.program.shapes:
            sizes = tuple(n if type(n) is int else str(n) for n in value.shape)
            assert case.program.shapes[node.name] == sizes
            assert case.program.dtypes[node.name] == str(value.dtype).removeprefix("torch.")
            known += 1
    assert known == len(case.program.shapes)


def test_sizes_are_expressions(tagger):
    rows, steps = tagger.program.inputs[0].shape
    assert rows.startswith("s")
    assert "*" in steps  # twice a symbol
    assert steps.startswith("2*s")
    assert set(tagger.program.sizes.values()) >= {rows, f"2*{rows}", f"2*{rows} + 1"}
    shapes = tagger.program.shapes.values()
    assert (f"2*{rows} + 1", steps) in shapes


def test_ranges_and_guards(tagger):
    rows, steps = (size.removeprefix("2*") for size in tagger.program.inputs[0].shape)
    expected = {
        str(symbol): (int(limits.lower), None if "oo" in str(limits.upper) else int(limits.upper))
        for symbol, limits in tagger.exported.range_constraints.items()
    }
    assert tagger.program.ranges == expected
    assert tagger.program.ranges[steps][1] == 99
    assert tagger.program.ranges[rows][1] is None
    assert list(tagger.program.guards) == tagger.exported._guards_code


def test_inputs_and_outputs(tagger):
    ids, a, power, flag = tagger.program.inputs
    assert (ids.name, ids.dtype, len(ids.shape)) == ("ids", "int64", 2)
    assert (a.dtype, a.shape, a.value) == ("float32", (2,), None)
    assert (power.dtype, power.value, flag.value) == (None, 2.0, None)
    outputs = tagger.program.outputs
    assert [type(out) for out in outputs] == [Ref, Ref, Ref, Ref, type(None), Ref, Ref, Ref, Ref]
    assert outputs[7].name in tagger.program.constants  # a buffer, as it is
    assert tagger.program.torch_version == torch.__version__


def test_modules_and_lines(recurrent, tagger):
    where = {node.target: (node.module, node.source) for node in recurrent.program.nodes}
    start = Recurrent.forward.__code__.co_firstlineno
    assert where["aten.lstm.input"] == ("parts.lstm", f"test_pt2_files.py:{start + 1}")
    assert where["aten.gru.input"] == ("gru", f"test_pt2_files.py:{start + 2}")
    assert where["aten.rnn_tanh_cell.default"] == ("cells.0", f"test_pt2_files.py:{start + 3}")
    linear = [node.module for node in tagger.program.nodes if node.target == "aten.linear.default"]
    assert linear == ["mix", "head"]
    topk = next(node for node in tagger.program.nodes if node.target == "aten.topk.default")
    assert topk.module == ""


# ---- Numbers -------------------------------------------------------------------------------------


def test_constants_are_the_state_dict(case):
    state = dict(case.module.state_dict()) | dict(case.module.named_buffers())
    names = {path: name for name, path in case.program.paths.items()}
    shared = {"embedding.weight", "head.weight"}  # one input stands for both
    assert names.keys() | shared == state.keys() | shared
    for path in names:
        array = case.program.constants[names[path]]
        tensor = state[path]
        widened = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        np.testing.assert_array_equal(array, widened.detach().numpy(), err_msg=path)
        assert array.dtype == widened.detach().numpy().dtype
        assert not array.flags.writeable
        assert array.flags.c_contiguous


def test_constants_that_were_lifted_have_no_path(tagger):
    lifted = tagger.program.constants.keys() - tagger.program.paths.keys()
    (array,) = (tagger.program.constants[name] for name in lifted)
    np.testing.assert_array_equal(array, np.full(9, 0.5, np.float32))


def test_torch_runs_it(case):
    expected = torch.utils._pytree.tree_leaves(
        case.module(*case.inputs)
        if len(case.inputs) == 3
        else case.module(case.inputs[0], {"a": case.inputs[1]})
    )
    found = run(case.program, *case.inputs)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        if isinstance(theirs, torch.Tensor):
            close(ours, theirs.detach().numpy(), FLOAT32[2])  # weights lie otherwise in memory
        else:
            assert ours == theirs


# ---- Other layouts -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_files_of_older_torch(version):
    program = read_pt2(GOLDEN / f"torch{version}_export.pt2")
    with np.load(GOLDEN / f"torch{version}_export.npz") as arrays:
        known = dict(arrays)
    rows = program.inputs[0].shape[0]
    assert program.ranges == {rows: (2, 1000)}
    assert [given.shape for given in program.inputs] == [(rows, 4), (rows, 4)]
    paths = {path: program.constants[name] for name, path in program.paths.items()}
    assert paths.keys() == {n.removeprefix("state/") for n in known if "/" in n} | {"shift"}
    for path, array in paths.items():
        expected = known[f"state/{path}"] if path != "shift" else np.arange(2, 10, 2, np.float32)
        np.testing.assert_array_equal(array, expected)
    (lstm,) = (node for node in program.nodes if node.target == "aten.lstm.input")
    assert (lstm.module, lstm.source[:22]) == ("lstm", "make_torch_export.py:3")
    (linear,) = (node for node in program.nodes if node.target == "aten.linear.default")
    assert linear.module == "head.0"
    outputs = run(program, *(torch.from_numpy(known[name]) for name in ("x0", "x1")))
    for place, out in enumerate(outputs):
        close(out, known[f"y{place}"], FLOAT32[2])


def test_weights_of_the_other_byte_order(recurrent):
    data = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(recurrent.data)) as old, zipfile.ZipFile(data, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.rsplit("/", 1)[1].startswith("weight_"):
                content = np.frombuffer(content, "<f4").astype(">f4").tobytes()
            new.writestr(name, b"big" if name.endswith("byteorder") else content)
    program = read(data.getvalue())
    for name, array in program.constants.items():
        np.testing.assert_array_equal(array, recurrent.program.constants[name])


def test_by_path_under_any_name_and_within_a_budget(recurrent, tmp_path):
    path = tmp_path / "model.zip"
    path.write_bytes(recurrent.data)
    shutil.copy(path, tmp_path / "model.pt2")
    assert read_pt2(path).nodes == read_pt2(tmp_path / "model.pt2").nodes == recurrent.program.nodes
    with pytest.raises(ModelFileError, match=r"model\.zip: .*max_bytes"):
        read_pt2(path, max_bytes=10_000)
    with pytest.raises(OptionError, match="max_bytes"):
        read_pt2(path, max_bytes=0)


# ---- Sizes ---------------------------------------------------------------------------------------

S, B = "Symbol('s0', positive=True, integer=True)", "Symbol('s1', integer=True)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (S, "s0"),
        ("s0", "s0"),
        ("2*s0  + 1", "2*s0 + 1"),
        (f"Mul(Integer(2), {S})", "2*s0"),
        (f"Add(Mul(Integer(-1), {S}), {B}, Integer(3))", "-1*s0 + s1 + 3"),
        (f"Mul(Integer(2), Add({S}, Integer(1)))", "2*(s0 + 1)"),
        (f"FloorDiv(Add({S}, Integer(1)), Integer(2))", "(s0 + 1)//2"),
        (f"Mod({S}, Integer(4))", "s0%4"),
        (f"Pow({S}, Integer(2))", "s0**2"),
        (f"Max(Integer(1), {S})", "Max(1, s0)"),
        (f"Mul({S}, Mul({S}, {B}))", "s0*(s0*s1)"),
    ],
)
def test_spelling_of_sizes(text, expected):
    assert size_expression(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Symbol()",
        "Symbol('a b')",
        "Symbol('s0'",
        "Symbol('s0'))",
        "Integer(1.5)",
        "Symbol('s0'); import os",
        "__import__('os')",
        "Add(Integer(1) Integer(2))",
        "Symbol('s0', positive=)",
        "Integer(" * 5000 + ")" * 5000,
        "Max(" * 40 + "Integer(1)" + ")" * 40,
        "s" * 5000,
    ],
)
def test_what_is_no_size(text):
    with pytest.raises(ModelFileError, match="expression"):
        size_expression(text)
