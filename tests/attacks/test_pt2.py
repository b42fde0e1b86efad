"""Attacks through torch.export's archives: graphs that are none, weights that lie, hidden pickles.

One small module is exported, then changed member by member or value by value; torch reads what it
was. Attacks on zip itself are in test_npz.py, on pickles in test_pickles.py and test_torch_archive.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import pickle
import random
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import Dim

from seqcore.errors import ModelFileError
from seqcore.formats.arrays import Budget
from seqcore.formats.json_texts import MAX_CONTAINERS, parse_json
from seqcore.formats.opening import budget_of
from seqcore.formats.pt2 import MAX_JSON, read_pt2_file
from seqcore.formats.pt2_graph import MAX_NODES
from seqcore.formats.torch_programs import Program, Ref

MIB = 1 << 20
MODEL = "archive/models/model.json"
WEIGHTS = "archive/data/weights/model_weights_config.json"
CONSTANTS = "archive/data/constants/model_constants_config.json"
Parts = dict[str, bytes]


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 2)
        self.register_buffer("scale", torch.ones(2))
        self.register_buffer("shift", torch.ones(2), persistent=False)

    def forward(self, x: Any, factor: float = 2.0) -> Any:
        out, (h, _) = self.lstm(x)
        first, rest = torch.split(out * self.scale * factor, [1, 1], -1)
        return first, rest + self.shift, h, x.shape[1] * 2, torch.zeros(x.shape[1] + 1, 2)


@pytest.fixture(scope="module")
def sound() -> Parts:
    torch.manual_seed(4)
    exported = torch.export.export(
        Small().eval(), (torch.randn(4, 3, 3), 2.0), dynamic_shapes=({1: Dim("b")}, None)
    )
    file = io.BytesIO()
    torch.export.save(exported, file)
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    program = json.loads(parts[MODEL])
    for node in program["graph_module"]["graph"]["nodes"]:
        del node["metadata"]["torch_fn"]
    parts[MODEL] = json.dumps(program).encode()
    del parts["archive/data/sample_inputs/model.pt"]
    return parts


def packed(parts: Parts) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return data.getvalue()


def read(parts: Parts | bytes) -> Program:
    data = parts if isinstance(parts, bytes) else packed(parts)
    return read_pt2_file(io.BytesIO(data), budget_of(len(data), None))


def changed(parts: Parts, member: str, change: Callable[[Any], Any]) -> Parts:
    value = json.loads(parts[member])
    result = change(value)
    return parts | {member: json.dumps(value if result is None else result).encode()}


def refused(parts: Parts | bytes, match: str) -> None:
    with pytest.raises(ModelFileError, match=match):
        read(parts)


def graph_of(program: Any) -> Any:
    return program["graph_module"]["graph"]


def node_of(program: Any, target: str) -> Any:
    return next(n for n in graph_of(program)["nodes"] if n["target"].startswith(target))


def test_the_sound_one_is_read(sound):
    program = read(sound)
    assert [node.target for node in program.nodes][-1] == "aten.zeros.default"
    assert len(program.constants) == 6


# ---- Pickles -------------------------------------------------------------------------------------


class Canary:
    """Pickled as a call that leaves a module behind."""

    def __reduce__(self) -> Any:
        return exec, ("import sys, types; sys.modules['canary_of_pt2'] = types.ModuleType('c')",)


@pytest.fixture(autouse=True)
def canary() -> Iterator[None]:
    yield
    assert "canary_of_pt2" not in sys.modules


def test_the_canary_sings():
    pickle.loads(pickle.dumps(Canary()))
    assert sys.modules.pop("canary_of_pt2")


@pytest.mark.parametrize("member", [WEIGHTS, CONSTANTS])
def test_pickled_tensors_are_refused_by_name(sound, member):
    def pickled(config):
        for entry in config["config"].values():
            entry["use_pickle"] = True

    parts = changed(sound, member, pickled)
    evil = io.BytesIO()
    torch.save(Canary(), evil)
    for name in sound:
        if name.split("/")[-1] in ("weight_0", "tensor_0"):
            parts[name] = evil.getvalue()
    path = "lstm.weight_ih_l0" if member == WEIGHTS else "shift"
    refused(parts, f"'{path}': a pickled tensor of another class")


def test_pickles_in_place_of_weights_are_bytes_at_most(sound):
    data = pickle.dumps(Canary()) + bytes(96)
    found = read(sound | {"archive/data/weights/weight_0": data}).constants["p_lstm_weight_ih_l0"]
    np.testing.assert_array_equal(found, np.frombuffer(data[:96], np.float32).reshape(8, 3))


@pytest.mark.parametrize("where", ["flat", "folder"])
@pytest.mark.parametrize("evil", ["whole", "value", "tensor"])
def test_state_dicts_of_old_layouts_run_nothing(sound, where, evil):
    state: Any = {name: torch.ones(1) for name in Small().state_dict()}
    if evil == "value":
        state["lstm.weight_ih_l0"] = Canary()
    elif evil == "tensor":
        state["lstm.weight_ih_l0"] = [Canary(), torch.ones(1)]
    saved = io.BytesIO()
    torch.save(Canary() if evil == "whole" else state, saved)
    if where == "flat":
        parts = {
            "serialized_exported_program.json": sound[MODEL],
            "serialized_state_dict.pt": saved.getvalue(),
            "serialized_constants.pt": b"",
            "version": b"8.2",
        }
    else:
        parts = {name: data for name, data in sound.items() if "/data/weights/" not in name}
        parts["archive/data/weights/model.pt"] = saved.getvalue()
    refused(parts, "dict of tensors|is no tensor")


def test_sample_inputs_are_not_read(sound):
    evil = io.BytesIO()
    torch.save(Canary(), evil)
    assert read(sound | {"archive/data/sample_inputs/model.pt": evil.getvalue()})


# ---- The archive ---------------------------------------------------------------------------------


def test_truncated_anywhere(sound):
    data = packed(sound)
    for length in range(len(data)):
        with pytest.raises(ModelFileError):
            read(data[:length])


def test_bytes_turned_anywhere(sound):
    data = bytearray(packed(sound))
    rng = random.Random(7)
    for _ in range(300):
        place, bit = rng.randrange(len(data)), 1 << rng.randrange(8)
        data[place] ^= bit
        with pytest.raises(ModelFileError) if place < 30 else _either():
            read(bytes(data))
        data[place] ^= bit


class _either:
    """A change in what nobody reads goes unseen; anything else is a ModelFileError."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        return kind is None or issubclass(kind, ModelFileError)


def test_members_that_are_missing(sound):
    needed = [name for name in sound if ".data/" not in name and not name.endswith("byteorder")]
    assert len(needed) > 10
    for name in needed:
        refused({other: data for other, data in sound.items() if other != name}, ".")


def test_members_that_occur_twice(sound):
    data = io.BytesIO(packed(sound))
    with zipfile.ZipFile(data, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(MODEL, sound[MODEL])
    refused(data.getvalue(), "twice")


def test_encrypted_members(sound):
    data = bytearray(packed(sound))
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + flags] |= 1
    refused(bytes(data), "encrypted")


@pytest.mark.parametrize(
    ("member", "content", "match"),
    [
        ("archive/archive_format", b"pt3", "expected pt2"),
        ("archive/archive_format", b"pt2" * 1000, "expected pt2"),
        ("archive/archive_version", b"1", "expected 0"),
        ("archive/byteorder", b"middle", "expected little or big"),
        ("archive/models/other.json", b"{}", r"2 programs \('model.json', 'other.json'\)"),
        ("other/models/model.json", b"{}", "another zip"),
        (MODEL, b"\xff{}", "UTF-8"),
        (MODEL, b"", "no JSON"),
        (MODEL, b"[]", "JSON list"),
        (MODEL, b"null", "JSON NoneType"),
        (MODEL, b"{}", "version None"),
        (MODEL, b'{"a": 1, "a": 2}', "repeats a key"),
        (MODEL, b'{"a": 1e999}', "past float64"),
        (MODEL, b'{"a": 9223372036854775808}', "past 64 bits"),
        (MODEL, b'{"a": ' + b"9" * 100_000 + b"}", "past 64 bits"),
        (MODEL, b"[" * 100_000, "deeper"),
        (MODEL, b'{"a":' * 101 + b"1" + b"}" * 101, "deeper"),
        (MODEL, b" " * (MAX_JSON + 1), "characters"),
        (WEIGHTS, b'{"config": []}', "'config' is a list, expected an object"),
    ],
)
def test_members_that_are_not_what_they_should_be(sound, member, content, match):
    refused(sound | {member: content}, match)


def test_compiled_programs_are_named(sound):
    parts = {name: data for name, data in sound.items() if name != MODEL}
    refused(parts | {"archive/data/aotinductor/model/a.so": b"\x7fELF"}, "AOTInductor")


@pytest.mark.parametrize(
    ("beside", "match"),
    [
        ({"range_constraints": []}, "'range_constraints' is a list"),
        ({"range_constraints": {"s0": None}}, "'s0' is null"),
        ({"range_constraints": {"s0": {"min_val": "1", "max_val": None}}}, "range of 's0'"),
        ({"range_constraints": {"s0": {"min_val": True, "max_val": None}}}, "range of 's0'"),
        ({"range_constraints": {"s0; x": {"min_val": 1, "max_val": 2}}}, "no expression"),
        ({"guards_code": "L"}, "expected a list"),
        ({"guards_code": [1]}, "expected a string"),
        ({"torch_version": 2}, "torch_version 2"),
    ],
)
def test_what_stands_beside_the_graph(sound, beside, match):
    refused(changed(sound, MODEL, lambda program: program | beside), match)


@pytest.mark.parametrize("version", [{"major": 9, "minor": 0}, {"major": 4}, 1, "8", True, None])
def test_versions_that_are_not_known(sound, version):
    parts = changed(sound, MODEL, lambda program: program | {"schema_version": version})
    number = version["major"] if isinstance(version, dict) else version
    refused(parts, f"version {number!r} of torch.export's schema; versions 5 to 8")


def test_a_bomb_is_refused_within_its_budget(sound):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sound.items():
            archive.writestr(name, bytes(32 * MIB) if name.endswith("weight_0") else content)
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match="would unpack to"):
            read_pt2_file(data, Budget(16 * MIB))
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


# ---- Weights -------------------------------------------------------------------------------------


def entry_changed(sound: Parts, **change: Any) -> Parts:
    def change_it(config):
        entry = config["config"]["lstm.weight_ih_l0"]
        for key, value in change.items():
            (entry if key in entry else entry["tensor_meta"])[key] = value

    return changed(sound, WEIGHTS, change_it)


def ints(*sizes: int) -> list[dict[str, int]]:
    return [{"as_int": size} for size in sizes]


@pytest.mark.parametrize(
    "name",
    [
        "../weight_0",
        "/etc/passwd",
        "C:/weight_0",
        "weight_0/..",
        "a\\b",
        "weight_0\0",
        "wéight",
        "",
        "_",
    ],
)
def test_paths_out_of_the_folder(sound, name):
    refused(entry_changed(sound, path_name=name), "'lstm.weight_ih_l0': its member is named")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"path_name": "weight_99"}, "weight_99' is missing"),
        ({"sizes": ints(8, 4)}, "reach element"),
        ({"sizes": ints(4, 3)}, r"the graph has shape \(8, 3\)"),
        ({"sizes": ints(1 << 40, 1 << 40)}, "overflows"),
        ({"sizes": ints(1 << 62, 3)}, "overflows"),
        ({"sizes": ints(-1, 3)}, "a size of -1"),
        ({"sizes": ints(8, 0)}, r"its weights \(8, 0\)"),
        ({"sizes": ints(*[1] * 40), "strides": ints(*[1] * 40)}, "40 sizes"),
        ({"sizes": ints(8)}, "1 sizes and 2 strides"),
        ({"strides": ints(-3, 1)}, "a size of -3"),
        ({"strides": ints(0, 1)}, "stride 0"),
        ({"strides": ints(1 << 61, 1)}, "reach element"),
        ({"strides": [{"as_expr": {"expr_str": "s0"}}, {"as_int": 1}]}, "strides"),
        ({"sizes": [{"as_expr": {"expr_str": "s0"}}, {"as_int": 1}]}, "sizes"),
        ({"storage_offset": {"as_int": 1}}, "reach element"),
        ({"storage_offset": {"as_int": 1 << 61}}, "reach element"),
        ({"storage_offset": {"as_int": -1}}, "a size of -1"),
        ({"storage_offset": {"as_int": True}}, "found a boolean"),
        ({"dtype": 8}, "reach element"),
        ({"dtype": 6}, "the graph has shape .* of float32"),
        ({"dtype": 4}, "the graph has shape .* of float32"),
        ({"dtype": 10}, "dtype complex64 is not supported"),
        ({"dtype": 29}, "dtype float8_e4m3fn is not supported"),
        ({"dtype": 0}, "dtype number 0 is not known"),
        ({"dtype": 99}, "dtype number 99"),
        ({"dtype": True}, "'dtype' is a boolean, expected an integer"),
        ({"layout": 1}, "layout sparse_coo is not supported"),
        ({"layout": 8}, "layout number 8 is not known"),
        ({"tensor_meta": None}, "'tensor_meta' is null, expected an object"),
        ({"use_pickle": 0}, "'use_pickle' is an integer, expected a boolean"),
    ],
)
def test_weights_that_lie(sound, change, match):
    refused(entry_changed(sound, **change), match)


@pytest.mark.parametrize("length", [0, 1, 95])
def test_storages_that_are_too_short(sound, length):
    name = "archive/data/weights/weight_0"
    assert len(sound[name]) == 96
    refused(sound | {name: sound[name][:length]}, "reach element")


def test_storages_may_be_longer(sound):
    name = "archive/data/weights/weight_0"
    longer = read(sound | {name: sound[name] + bytes(100)}).constants
    for key, array in read(sound).constants.items():
        np.testing.assert_array_equal(array, longer[key])


def test_weights_and_constants_that_are_not_there(sound):
    for member, path in ((WEIGHTS, "scale"), (CONSTANTS, "shift")):
        parts = changed(
            sound, member, lambda config, path=path: config["config"].pop(path) and None
        )
        refused(parts, f"'{path}' is missing")


# ---- The graph -----------------------------------------------------------------------------------


def dangling(program):
    node_of(program, "torch.ops.aten.mul")["inputs"][0]["arg"]["as_tensor"]["name"] = "nowhere"


def twice(program):
    node_of(program, "torch.ops.aten.mul")["outputs"][0]["as_tensor"]["name"] = "x"


def in_a_list(program):
    hx = node_of(program, "torch.ops.aten.lstm")["inputs"][1]["arg"]["as_tensors"]
    hx[0]["name"] = "split_with_sizes"


def of_itself(program):
    mul = node_of(program, "torch.ops.aten.mul")
    mul["inputs"][0]["arg"] = copy.deepcopy(mul["outputs"][0])


def out_of_order(program):
    graph_of(program)["nodes"].reverse()


def cyclic(program):
    nodes = graph_of(program)["nodes"]
    first = next(node for node in nodes if node["target"].startswith("torch.ops.aten.zeros"))
    first["inputs"].append({"name": "x", "arg": copy.deepcopy(nodes[-1]["outputs"][0])})


def given_twice(program):
    inputs = node_of(program, "torch.ops.aten.mul")["inputs"]
    inputs.append(copy.deepcopy(inputs[0]))


def bad_output(program):
    graph_of(program)["outputs"][0]["as_tensor"]["name"] = "gone"


def fewer_outputs(program):
    graph_of(program)["outputs"].pop()


def fewer_inputs(program):
    graph_of(program)["inputs"].pop()


def swapped_inputs(program):
    graph_of(program)["inputs"][:2] = graph_of(program)["inputs"][1::-1]


def many_nodes(program):
    nodes = graph_of(program)["nodes"]
    nodes += [{"target": "t", "inputs": [], "outputs": [], "metadata": {}}] * MAX_NODES


def long_name(program):
    node_of(program, "torch.ops.aten.mul")["outputs"][0]["as_tensor"]["name"] = "n" * 1001


def long_target(program):
    node_of(program, "torch.ops.aten.mul")["target"] = "t" * 1001


def empty_name(program):
    node_of(program, "torch.ops.aten.mul")["outputs"][0]["as_tensor"]["name"] = ""


def strange_kind(program):
    node_of(program, "torch.ops.aten.mul")["inputs"][0]["arg"] = {"as_anything": 1}


def two_kinds(program):
    node_of(program, "torch.ops.aten.mul")["inputs"][0]["arg"]["as_int"] = 1


def output_of_a_list_of_numbers(program):
    node_of(program, "torch.ops.aten.mul")["outputs"] = [{"as_ints": [1]}]


def wrong_shape(program):
    meta = graph_of(program)["tensor_values"]["p_lstm_weight_ih_l0"]
    meta["sizes"], meta["strides"] = ints(9, 3), ints(3, 1)


def no_meta_of_an_input(program):
    del graph_of(program)["tensor_values"]["x"]


def buffer_mutation(program):
    spec = {"arg": {"name": "mul"}, "buffer_name": "scale"}
    program["graph_module"]["signature"]["output_specs"][0] = {"buffer_mutation": spec}


def written_buffer(program):
    mul = node_of(program, "torch.ops.aten.mul")
    mul["target"] = "torch.ops.aten.copy_.default"
    mul["inputs"][0]["arg"]["as_tensor"]["name"] = "b_scale"


def written_input(program):
    mul = node_of(program, "torch.ops.aten.mul")
    mul["target"] = "torch.ops.aten.mul_.Tensor"
    mul["inputs"][0]["arg"]["as_tensor"]["name"] = "x"


def a_loss(program):
    spec = {"loss_output": {"arg": {"name": "mul"}}}
    program["graph_module"]["signature"]["output_specs"][0] = spec


def an_object(program):
    spec = {"custom_obj": {"arg": {"name": "o", "class_fqn": "C"}, "custom_obj_name": "o"}}
    program["graph_module"]["signature"]["input_specs"][0] = spec


def a_varying_number(program):
    spec = {"user_input": {"arg": {"as_sym_int": {"as_name": "k"}}}}
    program["graph_module"]["signature"]["input_specs"][-2] = spec


def tricky_size(program):
    size = {"as_expr": {"expr_str": "__import__('os').system('true')"}}
    graph_of(program)["tensor_values"]["x"]["sizes"][1] = size


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (dangling, r"node \d+ \('torch.ops.aten.mul.Tensor'\): argument 'self': uses 'nowhere'"),
        (twice, "'x' is made twice"),
        (in_a_list, "argument 'hx': uses 'split_with_sizes', which nothing before it makes"),
        (of_itself, "argument 'self': uses 'mul', which nothing before it makes"),
        (out_of_order, "which nothing before it makes"),
        (cyclic, "uses 'zeros_2', which nothing before it makes"),
        (given_twice, "argument 'self' is given twice"),
        (bad_output, "output 0: uses 'gone'"),
        (fewer_outputs, "4 outputs, and the signature has 5"),
        (fewer_inputs, "7 inputs, and the signature has 8"),
        (swapped_inputs, "input 0: the graph has another one than the signature's 'p_lstm_weight"),
        (many_nodes, rf"nodes; at most {MAX_NODES} are read"),
        (long_name, "a name of 1001 characters"),
        (long_target, "a name of 1001 characters"),
        (empty_name, "a name of 0 characters"),
        (strange_kind, "an argument of kind 'as_anything'"),
        (two_kinds, "an argument is an object, expected an object of one key"),
        (output_of_a_list_of_numbers, "an output of kind 'as_ints' is not supported"),
        (wrong_shape, r"the graph has shape \(9, 3\) of float32, its weights \(8, 3\)"),
        (no_meta_of_an_input, "'x' has no dtype and shape"),
        (buffer_mutation, "the module changes its own 'scale'"),
        (written_buffer, "the module changes its own 'scale' .*copy_"),
        (written_input, "the module writes into its input 'x'"),
        (a_loss, "the loss tensor of a training step"),
        (an_object, "an object of torch's own classes"),
        (a_varying_number, "'k' is a number that may vary"),
        (tricky_size, "which is no expression"),
    ],
)
def test_graphs_that_are_none(sound, change, match):
    refused(changed(sound, MODEL, change), match)


def argument_changed(sound: Parts, argument: Any) -> Any:
    def change(program):
        node_of(program, "torch.ops.aten.mul")["inputs"][1]["arg"] = argument

    mul = next(
        n for n in read(changed(sound, MODEL, change)).nodes if n.target == "aten.mul.Tensor"
    )
    return mul.arguments["other"]


X = {"name": "x"}
ROWS = "sym_size_int_1"
INNER = {"name": "g", "graph": {"nodes": [], "inputs": "not looked at"}}


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ({"as_none": True}, None),
        ({"as_optional_tensor": {"as_none": True}}, None),
        ({"as_optional_tensor": {"as_tensor": {"name": "x"}}}, Ref("x")),
        (
            {"as_optional_tensors": [{"as_none": True}, {"as_tensor": {"name": "x"}}]},
            [None, Ref("x")],
        ),
        ({"as_nested_tensors": [[{"name": "x"}], []]}, [[Ref("x")], []]),
        ({"as_float": "-Infinity"}, float("-inf")),
        ({"as_float": float("inf")}, float("inf")),
        ({"as_floats": [1.5, 2]}, [1.5, 2.0]),
        ({"as_bools": [True, False]}, [True, False]),
        ({"as_strings": ["a", ""]}, ["a", ""]),
        ({"as_ints": [-(1 << 63)]}, [-(1 << 63)]),
        ({"as_int_lists": [[1], [2, 3]]}, [[1], [2, 3]]),
        ({"as_float_lists": [[1.0]]}, [[1.0]]),
        ({"as_sym_int": {"as_int": 3}}, 3),
        ({"as_sym_float": {"as_float": "Infinity"}}, float("inf")),
        ({"as_sym_bool": {"as_bool": True}}, True),
        (
            {"as_sym_ints": [{"as_int": 3}, {"as_name": "sym_size_int_1"}]},
            [3, Ref("sym_size_int_1")],
        ),
        ({"as_layout": 7}, "strided"),
        ({"as_memory_format": 4}, "preserve_format"),
        ({"as_device": {"type": "cuda", "index": 1}}, "cuda:1"),
        ({"as_complex": {"real": 1.0, "imag": -2.0}}, 1 - 2j),
        ({"as_operator": "torch.ops.aten.add"}, "torch.ops.aten.add"),
        ({"as_graph": INNER}, "graph g"),
        ({"as_custom_obj": {"name": "o", "class_fqn": "a.B"}}, "object o of a.B"),
        ({"as_string_to_argument": {"k": {"as_int": 1}}}, "dictionary of 1"),
    ],
)
def test_every_kind_of_argument(sound, argument, expected):
    found = argument_changed(sound, argument)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "argument",
    [
        {"as_int": True},
        {"as_int": 1.0},
        {"as_int": "1"},
        {"as_float": "inf"},
        {"as_float": True},
        {"as_float": None},
        {"as_bool": 0},
        {"as_string": 1},
        {"as_ints": 1},
        {"as_ints": [[1]]},
        {"as_tensor": "x"},
        {"as_tensor": {"name": None}},
        {"as_tensors": {"name": "x"}},
        {"as_optional_tensor": {"as_int": 1}},
        {"as_sym_int": {"as_float": 1.0}},
        {"as_sym_int": {"as_name": "nowhere"}},
        {"as_scalar_type": 0},
        {"as_scalar_type": "7"},
        {"as_layout": 0},
        {"as_memory_format": 0},
        {"as_device": "cpu"},
        {"as_complex": {"real": 1.0}},
        {"as_graph": {}},
        {"as_custom_obj": {"name": "o"}},
        {"as_string_to_argument": []},
        {},
        [],
        None,
    ],
)
def test_arguments_of_the_wrong_type(sound, argument):
    with pytest.raises(ModelFileError, match=r"torch\.ops\.aten\.mul"):
        argument_changed(sound, argument)


# ---- Anything anywhere ---------------------------------------------------------------------------

STRANGE = (
    None,
    True,
    0,
    -1,
    7,
    (1 << 63) - 1,
    0.5,
    float("nan"),
    float("-inf"),
    "",
    "x",
    "mul",
    "\ud800",
    "a" * 2000,
    [],
    [[]],
    {},
    {"name": "x"},
    {"as_int": -5},
    {"as_tensor": {"name": "x"}},
    {"as_expr": {"expr_str": "Mul(Symbol('s0'), Integer(2))"}},
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container and key in a JSON value."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from places(value[key])


@pytest.mark.parametrize("member", [MODEL, WEIGHTS, CONSTANTS])
def test_any_value_anywhere(sound, member):
    """Each is a Program or a ModelFileError, whatever stands in whatever place, or is gone."""
    rng = random.Random(11)
    value = json.loads(sound[member])
    everywhere = list(places(value))
    programs = 0
    for container, key in rng.sample(everywhere, min(len(everywhere), 500)):
        kept = container[key]
        strange = [rng.choice(STRANGE), rng.choice(everywhere)[0]]
        container[key] = strange[rng.random() < 0.2]
        try:
            text = json.dumps(value)
        except ValueError:  # a value within itself
            container[key] = kept
            continue
        container[key] = kept
        with contextlib.suppress(ModelFileError):
            programs += isinstance(read(sound | {member: text.encode()}), Program)
    assert programs  # metadata and the like may be anything


def test_names_that_are_no_text(sound):
    """A lone surrogate has no UTF-8, so a message with it must not hold it as it is."""

    def change(program):
        node_of(program, "torch.ops.aten.mul")["inputs"][0]["arg"]["as_tensor"]["name"] = "\udfff"

    with pytest.raises(ModelFileError, match="dfff") as caught:
        read(changed(sound, MODEL, change))
    str(caught.value).encode()


def test_many_small_values(sound):
    small = '{"":0}'
    count = MAX_CONTAINERS + 1
    refused(sound | {MODEL: f'{{"a": [{",".join([small] * count)}]}}'.encode()}, "objects and arr")
    text = f'{{"a": [{",".join([small] * (MAX_CONTAINERS // 2 - 1))}]}}'
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError):
            parse_json(text, "here", max_length=len(text) - 1, max_depth=9)
        parse_json(text, "here", max_length=len(text), max_depth=9)
        assert tracemalloc.get_traced_memory()[1] < 256 * MIB
    finally:
        tracemalloc.stop()
