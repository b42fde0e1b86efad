"""Attacks through ONNX files: protocol buffers that swell, paths that lead elsewhere, graphs that
are none. One test an attack; files in order are in tests/formats/test_onnx_files.py.

Models are made by the package `onnx`, which checks nothing of what is changed here, or byte by
byte.
"""

from __future__ import annotations

import os
import random
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import FLOAT, function, graph, model, small, value

from seqcore.errors import ModelFileError
from seqcore.formats import onnx_files, onnx_linking, onnx_wire, read_weights
from seqcore.formats.onnx_files import read_onnx

node = helper.make_node
MIB = 1 << 20


def refused(made: onnx.ModelProto | bytes, match: str, **options: Any) -> None:
    data = made if isinstance(made, bytes) else made.SerializeToString()
    with pytest.raises(ModelFileError, match=match):
        read_onnx(data, **options)


def changed(change: Callable[[onnx.ModelProto], Any]) -> onnx.ModelProto:
    made = small()
    change(made)
    return made


# ---- Protocol buffers ----------------------------------------------------------------------------


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def blob(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def with_graph(content: bytes) -> bytes:
    """A model whose graph is these bytes."""
    return b"\x08\x08" + blob(7, content) + blob(8, b"\x10\x12")


def refused_within(data: bytes, match: str, bound: int) -> None:
    """Refused before more than `bound` bytes are allocated."""
    tracemalloc.start()
    try:
        refused(data, match)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < bound


@pytest.fixture
def unparsed(monkeypatch):
    """The walk must refuse a bomb: what the parser allocates, no tracer of Python sees."""
    monkeypatch.setattr(onnx_files, "parse", lambda *_: pytest.fail("the parser was reached"))


@pytest.mark.usefixtures("unparsed")
def test_the_parser_is_where_the_walk_guards_it():
    with pytest.raises(pytest.fail.Exception, match="was reached"):
        read_onnx(small().SerializeToString())


@pytest.mark.parametrize(
    "inner",
    [blob(1, b""), blob(11, b""), blob(1, blob(5, b""))],
    ids=["nodes", "values", "attributes"],
)
@pytest.mark.usefixtures("unparsed")
def test_millions_of_empty_messages(inner):
    refused(with_graph(inner * (onnx_wire.MAX_FIELDS + 1)), "more than .* fields|max_bytes")


@pytest.mark.usefixtures("unparsed")
def test_messages_within_max_bytes():
    data = with_graph(blob(1, b"") * 100_000)
    refused(data, "max_bytes", max_bytes=20 * MIB)


@pytest.mark.parametrize("number", [5, 7, 11])
@pytest.mark.usefixtures("unparsed")
def test_packed_numbers_of_a_byte(number):
    """16 bytes each as the parser's list grows."""
    data = with_graph(blob(5, blob(number, bytes(60 * MIB))))
    with pytest.raises(ModelFileError, match="the numbers of the file"):
        read_onnx(data, max_bytes=512 * MIB)


@pytest.mark.usefixtures("unparsed")
def test_unpacked_numbers_of_a_byte():
    refused(with_graph(blob(5, b"\x38\x00" * (onnx_wire.MAX_FIELDS + 1))), "more than .* fields")


@pytest.mark.usefixtures("unparsed")
def test_millions_of_unknown_fields():
    refused(with_graph(b"\xf8\x07\x00" * (onnx_wire.MAX_FIELDS + 1)), "more than .* fields")


@pytest.mark.usefixtures("unparsed")
def test_nested_messages():
    data = b""
    for _ in range(5000):  # sequences of sequences
        data = blob(4, blob(1, data))
    refused(with_graph(blob(11, blob(2, data))), "nested more than 64 deep")


@pytest.mark.usefixtures("unparsed")
def test_nested_groups():
    refused(with_graph(b"\x0b" * 5000), "wire type 3")


def test_a_file_of_more_than_2_gib(tmp_path):
    path = tmp_path / "m.onnx"
    with open(path, "wb") as file:
        file.write(small().SerializeToString())
        file.truncate((2 << 30) + 1)  # a hole
    for read in (read_onnx, read_weights):
        with pytest.raises(ModelFileError, match="a protocol buffer has at most"):
            read(path)


@pytest.mark.usefixtures("unparsed")
def test_lengths_that_overflow():
    for length in (1 << 31, 1 << 32, (1 << 63) - 1, (1 << 64) - 1):
        refused(b"\x08\x08\x3a" + varint(length) + bytes(20), "truncated")


@pytest.mark.usefixtures("unparsed")
def test_a_varint_without_end():
    refused(b"\x08" + b"\xff" * 40, "over 64 bits")
    refused(b"\x08" + b"\xff" * 5, "has no end")


@pytest.mark.usefixtures("unparsed")
def test_field_numbers_that_are_none():
    refused(b"\x08\x08\x02\x00", "a field numbered 0")
    refused(b"\x08\x08" + varint(1 << 32 << 3 | 2) + b"\0", "a field numbered")


def test_truncated_at_every_byte():
    data = small().SerializeToString()
    for end in range(len(data)):
        # Whole fields may be missing at the end: the operators' version comes last.
        refused(data[:end], ".")


@pytest.mark.parametrize("garbage", [b"\0", bytes(64), b"\xff" * 64, b"\x3a"])
def test_trailing_garbage(garbage):
    refused(small().SerializeToString() + garbage, "protocol buffer|truncated|numbered")


@pytest.mark.usefixtures("unparsed")
def test_two_models_in_one_file():
    """Protobuf would join them to one graph."""
    refused(small().SerializeToString() * 2, "given twice")


@pytest.mark.usefixtures("unparsed")
def test_a_graph_that_is_given_twice():
    part = small().graph.SerializeToString()
    refused(with_graph(part) + blob(7, part), "field 7 is given twice")


def test_names_that_are_no_utf8():
    data = small().SerializeToString().replace(b"sum", b"s\xffm")
    refused(data, "no UTF-8")


def test_names_of_megabytes():
    refused(changed(lambda m: m.graph.node.add(op_type="x" * MIB)), "characters")


def test_other_files_by_what_they_are():
    refused(b"", "empty")
    refused(b"\x1f\x8b\x08" + bytes(20), "compressed by gzip")
    refused(b"version https://git-lfs.github.com/spec/v1\n", "Git LFS")
    refused(b"PK\x03\x04" + bytes(40), "protocol buffer|truncated|numbered")


def test_byte_flips():
    """ModelFileError or a program, and in little memory."""
    inner = function("f", ["a"], ["b"], [node("Neg", ["a"], ["b"])])
    branches = {
        name: graph([node("f", ["x"], ["r"], domain="own")], [], [value("r", None)])
        for name in ("then_branch", "else_branch")
    }
    made = model(
        graph(
            [
                node("Add", ["x", "w"], ["s"], alpha=[1, 2], text="abc"),
                node("If", ["c"], ["i"], **branches),
                node("Mul", ["s", "i"], ["y"]),
            ],
            ["x", value("c", (), TensorProto.BOOL)],
            ["y"],
            weights={"w": np.arange(6, dtype=np.float32).reshape(2, 3)},
        ),
        functions=[inner],
        domains={"own": 1},
    )
    data = made.SerializeToString()
    generator = random.Random(17)
    programs = 0
    for _ in range(2000):
        bad = bytearray(data)
        for _ in range(generator.randint(1, 3)):
            bad[generator.randrange(len(bad))] = generator.randrange(256)
        try:
            programs += bool(read_onnx(bytes(bad), max_bytes=MIB).graph.nodes)
        except ModelFileError:
            continue
    assert programs > 100


# ---- Versions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 2, -1, onnx.IR_VERSION + 1, 1 << 40])
def test_versions_of_the_format_that_are_not_known(version):
    refused(changed(lambda m: setattr(m, "ir_version", version)), f"version {version} of ONNX")


@pytest.mark.parametrize("version", [0, -3, 1 << 31, 1 << 62])
def test_versions_of_operators_that_are_none(version):
    refused(changed(lambda m: setattr(m.opset_import[0], "version", version)), "imports version")


def test_operators_without_a_version():
    refused(changed(lambda m: m.ClearField("opset_import")), "imports no operators")
    refused(changed(lambda m: setattr(m.graph.node[0], "domain", "x")), "imports no version .* 'x'")


def test_operators_of_two_versions():
    refused(changed(lambda m: m.opset_import.add(domain="ai.onnx", version=9)), "twice")


# ---- Tensors -------------------------------------------------------------------------------------


def with_tensor(**fields: Any) -> onnx.ModelProto:
    fields = {"name": "w", "data_type": FLOAT} | fields
    return changed(lambda m: m.graph.initializer[0].CopyFrom(TensorProto(**fields)))


@pytest.mark.parametrize(
    "dims",
    [[1 << 32, 1 << 32], [1 << 62, 4], [(1 << 63) - 1] * 3, [3, 1 << 61], [0, 1 << 40, 1 << 40]],
)
def test_shapes_that_overflow(dims):
    refused(with_tensor(dims=dims, raw_data=bytes(12)), "tensor 'w': .*overflows")


def test_shapes_below_zero():
    refused(with_tensor(dims=[-1, -3], raw_data=bytes(12)), "tensor 'w': shape")


def test_shapes_of_a_hundred_axes():
    refused(with_tensor(dims=[1] * 100, raw_data=bytes(4)), "100 axes")


@pytest.mark.parametrize("dims", [[4], [1 << 40], [1 << 30, 1 << 30], []])
def test_shapes_of_other_sizes_than_the_data(dims):
    bound = 8 * MIB
    data = with_tensor(dims=dims, raw_data=bytes(12)).SerializeToString()
    refused_within(data, "takes .* bytes, found 12", bound)
    data = with_tensor(dims=dims, float_data=[1, 2, 3]).SerializeToString()
    refused_within(data, "takes .* numbers of float_data, found 3", bound)


@pytest.mark.parametrize("size", [0, 1, 11, 13, 24])
def test_raw_data_too_short_or_too_long(size):
    refused(with_tensor(dims=[3], raw_data=bytes(size)), f"takes 12 bytes, found {size}")


@pytest.mark.parametrize("kind", ["INT4", "UINT4", "FLOAT4E2M1", "UINT2", "FLOAT6E2M3"])
def test_packed_raw_data_too_short_or_too_long(kind):
    number = TensorProto.DataType.Value(kind)
    for size in (0, 1, 5):
        refused(with_tensor(dims=[7], data_type=number, raw_data=bytes(size)), "bytes, found")
    refused(with_tensor(dims=[1 << 50], data_type=number, raw_data=bytes(4)), "bytes, found")


def test_initialisers_without_numbers():
    refused(with_tensor(dims=[3]), "found 0")


def test_numbers_in_two_places():
    both = with_tensor(dims=[3], raw_data=bytes(12), float_data=[1, 2, 3])
    refused(both, "float_data and in raw_data")


def test_numbers_in_a_field_of_another_type():
    refused(with_tensor(dims=[3], int64_data=[1, 2, 3]), "lie in float_data, not in int64_data")


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [("INT8", [128]), ("UINT8", [-1]), ("BOOL", [2]), ("FLOAT16", [1 << 16]), ("INT4", [256]),
     ("FLOAT8E5M2", [-1]), ("BFLOAT16", [1 << 20])],
)  # fmt: skip
def test_numbers_outside_of_their_type(kind, numbers):
    number = TensorProto.DataType.Value(kind)
    refused(with_tensor(dims=[1], data_type=number, int32_data=numbers), "none of")


def test_booleans_that_are_neither():
    refused(with_tensor(dims=[2], data_type=TensorProto.BOOL, raw_data=b"\1\2"), "neither 0 nor 1")


@pytest.mark.parametrize("number", [0, 29, 1000, -1])
def test_types_that_are_not_known(number):
    data = with_tensor(dims=[3], raw_data=bytes(12))
    data.graph.initializer[0].data_type = number
    refused(data, "not known")


def test_segments():
    made = with_tensor(dims=[3], raw_data=bytes(12))
    made.graph.initializer[0].segment.begin = 1
    refused(made, "segment")


def sparse(dims: Sequence[int], indices: Any, values: Any = (1.0, 2.0)) -> onnx.ModelProto:
    def change(made: onnx.ModelProto) -> None:
        made.graph.ClearField("initializer")
        part = made.graph.sparse_initializer.add(dims=dims)
        part.values.CopyFrom(numpy_helper.from_array(np.float32(values), "w"))
        part.indices.CopyFrom(numpy_helper.from_array(np.array(indices, np.int64)))

    return changed(change)


def test_a_sparse_tensor_that_is_huge_when_dense():
    refused_within(sparse([1 << 34], [0, 1]).SerializeToString(), "max_bytes", 8 * MIB)
    refused(sparse([1 << 40, 1 << 40], [0, 1]), "overflows")


@pytest.mark.parametrize("indices", [[0, 3], [-1, 2], [[0, 0], [1, 0]], [0], [1 << 62, -(1 << 62)]])
def test_sparse_indices_outside(indices):
    refused(sparse([3], indices), "outside|indices of shape")


def test_sparse_indices_outside_of_an_axis():
    """Flat, both would be inside."""
    refused(sparse([2, 3], [[0, 1], [0, 4]]), "outside")


@pytest.mark.parametrize("indices", [[1, 1], [2, 0]])
def test_sparse_indices_that_do_not_ascend(indices):
    refused(sparse([3], indices), "ascend")


def test_strings_without_bounds():
    made = with_tensor(dims=[1 << 40], data_type=TensorProto.STRING, string_data=[b"a"])
    refused_within(made.SerializeToString(), "strings, found 1", 8 * MIB)


# ---- Data in other files -------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "model"
    inside.mkdir()
    (inside / "w.bin").write_bytes(np.arange(3, dtype="<f4").tobytes())
    (tmp_path / "secret").write_bytes(bytes(12))
    return inside


def beside(folder: Path, **entries: str) -> Path:
    made = with_tensor(dims=[3], data_location=TensorProto.EXTERNAL)
    for key, text in entries.items():
        made.graph.initializer[0].external_data.add(key=key, value=text)
    path = folder / "m.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def refused_beside(match: str, folder: Path, **entries: str) -> None:
    path = beside(folder, **entries)
    for read in (read_onnx, read_weights):
        with pytest.raises(ModelFileError, match=match) as caught:
            read(path, external_data=True)
        assert str(caught.value).startswith(str(path))


def test_external_data_that_is_sound(folder):
    path = beside(folder, location="w.bin")
    assert read_onnx(path, external_data=True).graph.constants["w"].tolist() == [0, 1, 2]


def test_external_data_is_off(folder, monkeypatch):
    path = beside(folder, location="w.bin")
    monkeypatch.setattr("seqcore.formats.onnx_external.reading", None)  # no file is touched
    for read in (read_onnx, read_weights):
        with pytest.raises(ModelFileError, match=r"'w'.*'w\.bin'.*external_data=True"):
            read(path)


def test_external_data_of_a_model_without_a_place(folder):
    data = beside(folder, location="w.bin").read_bytes()
    refused(data, "read from a path has none", external_data=True)
    with open(folder / "m.onnx", "rb") as file, pytest.raises(ModelFileError, match="from a path"):
        read_onnx(file, external_data=True)


@pytest.mark.parametrize(
    "location",
    ["../secret", "a/../../secret", "..", ".", "", "./w.bin", "a//w.bin", "w.bin/", "..\\secret",
     "C:secret", "w.bin\0", "//secret"],
)  # fmt: skip
def test_paths_that_are_none_of_a_file_beside(folder, location):
    refused_beside("location .* is not the path", folder, location=location)


def test_absolute_paths(folder):
    refused_beside("is not the path", folder, location=str(folder.parent / "secret"))
    refused_beside("is not the path", folder, location=str(folder / "w.bin"))


def test_links_out_of_the_folder(folder):
    (folder / "link").symlink_to(folder.parent / "secret")
    refused_beside("a link out of", folder, location="link")


def test_folders_that_are_links_out(folder):
    (folder / "data").symlink_to(folder.parent)
    refused_beside("a link out of", folder, location="data/secret")


def test_a_folder_whose_name_goes_on(folder):
    """/model-other begins like /model."""
    other = folder.parent / "model-other"
    other.mkdir()
    (other / "w").write_bytes(bytes(12))
    (folder / "link").symlink_to(other / "w")
    refused_beside("a link out of", folder, location="link")


def test_links_in_a_circle(folder):
    (folder / "link").symlink_to(folder / "link")
    refused_beside("link|levels", folder, location="link")


def test_devices(folder):
    (folder / "zero").symlink_to("/dev/zero")
    refused_beside("a link out of", folder, location="zero")


def test_pipes(folder):
    os.mkfifo(folder / "pipe")  # to open it would wait for a writer
    refused_beside("regular file", folder, location="pipe")


def test_folders_as_files(folder):
    (folder / "data").mkdir()
    refused_beside("regular file|folder|directory", folder, location="data")


def test_files_that_are_missing(folder):
    refused_beside("is missing", folder, location="none")
    refused_beside("is not the path", folder)


@pytest.mark.parametrize("offset", ["-4", "1e1", "", " 4", "0x4", "٤", "9" * 30, "4"])
def test_offsets(folder, offset):
    refused_beside("offset|ends at byte", folder, location="w.bin", offset=offset, length="12")


@pytest.mark.parametrize("length", ["-12", "11", "13", str(1 << 62), "x"])
def test_lengths(folder, length):
    refused_beside("length", folder, location="w.bin", length=length)


def test_a_file_that_is_longer_and_no_length(folder):
    (folder / "w.bin").write_bytes(bytes(16))
    refused_beside("its length is 16", folder, location="w.bin")


def test_dims_of_more_than_the_file(folder):
    path = beside(folder, location="w.bin", length=str(4 << 40))
    made = onnx.load(path, load_external_data=False)
    made.graph.initializer[0].dims[0] = 1 << 40
    path.write_bytes(made.SerializeToString())
    with pytest.raises(ModelFileError, match="ends at byte"):
        read_onnx(path, external_data=True)


def test_a_checksum_of_something_else(folder):
    refused_beside("SHA-1", folder, location="w.bin", checksum="0" * 40)


def test_external_data_and_data(folder):
    path = beside(folder, location="w.bin")
    made = onnx.load(path, load_external_data=False)
    made.graph.initializer[0].raw_data = bytes(12)
    path.write_bytes(made.SerializeToString())
    with pytest.raises(ModelFileError, match="raw_data and in external_data"):
        read_onnx(path, external_data=True)


def test_two_locations(folder):
    path = beside(folder, location="w.bin")
    made = onnx.load(path, load_external_data=False)
    made.graph.initializer[0].external_data.add(key="location", value="../secret")
    path.write_bytes(made.SerializeToString())
    with pytest.raises(ModelFileError, match="'location' twice"):
        read_onnx(path, external_data=True)


def test_many_tensors_of_one_file(folder):
    """Each is as large as the file: together they are more than it allows."""
    (folder / "w.bin").write_bytes(bytes(4 * MIB))
    made = small()
    for place in range(200):
        tensor = made.graph.initializer.add(name=f"t{place}", data_type=FLOAT, dims=[MIB])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="w.bin")
    path = folder / "m.onnx"
    path.write_bytes(made.SerializeToString())
    with pytest.raises(ModelFileError, match="max_bytes"):
        read_onnx(path, external_data=True, max_bytes=32 * MIB)


def test_attributes_in_other_files(folder):
    """Not only initialisers are tensors."""
    made = small()
    tensor = TensorProto(data_type=FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../secret")
    made.graph.node.append(node("Constant", [], ["k"], value=tensor))
    path = folder / "m.onnx"
    path.write_bytes(made.SerializeToString())
    with pytest.raises(ModelFileError, match="external_data=True"):
        read_onnx(path)
    with pytest.raises(ModelFileError, match="is not the path"):
        read_onnx(path, external_data=True)


# ---- Graphs --------------------------------------------------------------------------------------


def of_nodes(*nodes: Any, outputs: Sequence[str] = ("y",)) -> onnx.ModelProto:
    return model(graph(nodes, ["x"], list(outputs)))


def test_cycles():
    refused(
        of_nodes(
            node("Neg", ["x"], ["y"]),
            node("Add", ["x", "c"], ["a"], "first"),
            node("Neg", ["a"], ["b"], "second"),
            node("Neg", ["b"], ["c"], "third"),
            node("Neg", ["c"], ["d"], "outside"),
        ),
        "node '(first|second|third)' .*: a circle",
    )


def test_a_node_that_reads_itself():
    refused(of_nodes(node("Add", ["x", "y"], ["y"], "self")), "node 'self' .*: a circle")


def test_a_cycle_through_a_branch():
    branches = {
        name: graph([node("Neg", ["y"], ["r"])], [], [value("r")])
        for name in ("then_branch", "else_branch")
    }
    refused(of_nodes(node("If", ["x"], ["y"], "choice", **branches)), "'choice' .*: a circle")


def test_dangling_names():
    refused(of_nodes(node("Add", ["x", "none"], ["y"], "sum")), "'sum' .*'none', which nothing")


def test_dangling_names_in_a_branch():
    """What one branch makes, the other does not see."""
    made = {
        "then_branch": graph([node("Neg", ["x"], ["r"])], [], [value("r")]),
        "else_branch": graph([node("Neg", ["r"], ["s"])], [], [value("s")]),
    }
    refused(of_nodes(node("If", ["x"], ["y"], **made)), "'r', which nothing")


def test_dangling_names_of_what_a_branch_makes():
    branches = {
        name: graph([node("Neg", ["x"], ["r"])], [], [value("r")])
        for name in ("then_branch", "else_branch")
    }
    nodes = [node("If", ["x"], ["z"], **branches), node("Neg", ["r"], ["y"], "out")]
    refused(of_nodes(*nodes), "'out' .*'r', which nothing")


def test_dangling_names_in_a_function():
    """A function does not see the graph that calls it."""
    inner = function("f", ["a"], ["b"], [node("Add", ["a", "x"], ["b"])])
    call = graph([node("f", ["x"], ["y"], domain="own")], ["x"], ["y"])
    refused(model(call, functions=[inner], domains={"own": 1}), "'x', which nothing")


def test_missing_initialisers():
    refused(changed(lambda m: m.graph.ClearField("initializer")), "'w', which nothing")


def test_outputs_that_nothing_makes():
    refused(of_nodes(node("Neg", ["x"], ["z"])), "output 'y' is made by nothing")


def test_outputs_twice():
    refused(of_nodes(node("Neg", ["x"], ["y"]), outputs=("y", "y")), "two outputs are named 'y'")


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Neg", ["x"], ["y"]), node("Abs", ["x"], ["y"])],
        [node("Split", ["x"], ["y", "y"])],
        [node("Neg", ["x"], ["x"]), node("Neg", ["x"], ["y"])],
    ],
    ids=["nodes", "outputs", "input"],
)
def test_names_that_are_made_twice(nodes):
    refused(of_nodes(*nodes), "made twice")


def test_inputs_twice():
    refused(changed(lambda m: m.graph.input.add().CopyFrom(value("x"))), "'x' is made twice")


def test_initialisers_twice():
    made = small()
    made.graph.initializer.add().CopyFrom(made.graph.initializer[0])
    refused(made, "two initialisers are named 'w'")


def test_initialisers_twice_one_of_them_sparse():
    made = sparse([3], [0, 1])
    made.graph.initializer.add().CopyFrom(small().graph.initializer[0])
    refused(made, "two initialisers are named 'w'")


def test_initialisers_that_a_node_makes():
    refused(changed(lambda m: m.graph.node.append(node("Neg", ["x"], ["w"]))), "made twice")


def test_an_initialiser_of_another_shape_than_its_input():
    refused(changed(lambda m: m.graph.input.add().CopyFrom(value("w", (4,)))), "'w' has shape")


def test_a_branch_that_makes_a_name_of_the_graph_around():
    """ONNX Runtime refuses it too; which of the two is meant?"""
    branches = {
        name: graph([node("Neg", ["x"], ["t"])], [], [value("t")])
        for name in ("then_branch", "else_branch")
    }
    nodes = [node("Abs", ["x"], ["t"]), node("If", ["t"], ["y"], **branches)]
    refused(of_nodes(*nodes), "'t' is made twice")


def test_nameless_initialisers_and_values():
    refused(changed(lambda m: setattr(m.graph.initializer[0], "name", "")), "without a name")
    refused(changed(lambda m: setattr(m.graph.input[0], "name", "")), "without a name")


def test_a_node_without_an_operator():
    refused(changed(lambda m: m.graph.node[0].ClearField("op_type")), "no operator")


def test_a_model_without_a_graph():
    refused(changed(lambda m: m.ClearField("graph")), "without a graph")


def test_a_long_chain_in_reverse():
    """No recursion, and no square of its length."""
    count = 10_000
    nodes = [node("Neg", [f"v{at}"], [f"v{at + 1}"]) for at in reversed(range(count))]
    made = model(graph(nodes, ["v0"], [f"v{count}"]))
    found = read_onnx(made).graph.nodes
    assert [n.inputs[0] for n in found] == [f"v{at}" for at in range(count)]


def test_branches_in_branches():
    """ONNX Runtime and protobuf itself would follow a hundred."""
    inner = graph([node("Neg", ["x"], ["r"])], [], [value("r")])
    for _ in range(30):
        inner = graph([node("If", ["x"], ["r"], then_branch=inner)], [], [value("r")])
    refused(of_nodes(node("If", ["x"], ["y"], then_branch=inner)), "nested more than 64 deep")


# ---- Attributes ----------------------------------------------------------------------------------


def with_attribute(**fields: Any) -> onnx.ModelProto:
    return changed(lambda m: m.graph.node[0].attribute.add(**{"name": "k"} | fields))


@pytest.mark.parametrize("kind", [0, 15, 99])
def test_attributes_of_no_kind(kind):
    made = with_attribute(i=1)
    made.graph.node[0].attribute[0].ClearField("type")
    data = made.SerializeToString()
    refused(data, "of kind 0")
    # protobuf drops numbers that its enumeration has not
    refused(
        with_graph(blob(1, blob(4, b"A") + blob(5, blob(1, b"k") + b"\xa0\1" + varint(kind)))),
        "of kind 0",
    )


def test_attributes_of_two_kinds():
    refused(with_attribute(type=onnx.AttributeProto.INT, i=1, f=2.0), "'k': has a value in f")


def test_attributes_without_a_value():
    refused(with_attribute(type=onnx.AttributeProto.TENSOR), "'k': has no value")
    refused(with_attribute(type=onnx.AttributeProto.GRAPH), "'k': has no value")


def test_attributes_twice():
    made = with_attribute(type=onnx.AttributeProto.INT, i=1)
    made.graph.node[0].attribute.add().CopyFrom(made.graph.node[0].attribute[0])
    refused(made, "'k' is given twice")


def test_references_outside_of_functions():
    refused(with_attribute(type=onnx.AttributeProto.INT, ref_attr_name="z"), "outside of one")


# ---- Functions -----------------------------------------------------------------------------------


def calling(*functions: onnx.FunctionProto, **attributes: Any) -> onnx.ModelProto:
    """A graph that calls the last one."""
    call = node(functions[-1].name, ["x"], ["y"], domain="own", **attributes)
    return model(graph([call], ["x"], ["y"]), functions=functions, domains={"own": 1})


def test_functions_that_call_themselves():
    refused(
        calling(function("f", ["a"], ["b"], [node("f", ["a"], ["b"], domain="own")])),
        "calls itself",
    )


def test_functions_that_call_each_other():
    pair = [
        function(f, ["a"], ["b"], [node(g, ["a"], ["b"], domain="own")])
        for f, g in (("f", "g"), ("g", "f"))
    ]
    refused(calling(*pair), "calls itself")


def test_functions_that_call_themselves_in_a_branch():
    inner = graph([node("f", ["a"], ["r"], domain="own")], [], [value("r")])
    body = [node("If", ["a"], ["b"], then_branch=inner, else_branch=inner)]
    refused(calling(function("f", ["a"], ["b"], body)), "calls itself")


def doubling(levels: int, first: onnx.FunctionProto) -> list[onnx.FunctionProto]:
    functions = [first]
    for level in range(levels):
        last = functions[-1].name
        body = [node(last, ["a"], ["t"], domain="own"), node(last, ["t"], ["b"], domain="own")]
        functions.append(function(f"f{level}", ["a"], ["b"], body))
    return functions


def test_functions_that_double(monkeypatch):
    """Memory and time end with the bound: 2^40 nodes in 2 KB."""
    monkeypatch.setattr(onnx_linking, "MAX_PARTS", 1 << 14)
    functions = doubling(40, function("leaf", ["a"], ["b"], [node("Neg", ["a"], ["b"])]))
    refused_within(calling(*functions).SerializeToString(), "more than 16384 parts", 20 * MIB)


def test_empty_functions_that_double(monkeypatch):
    """Calls that leave no node behind take time all the same."""
    monkeypatch.setattr(onnx_linking, "MAX_PARTS", 1 << 14)
    functions = [function("leaf", [], [], [])]
    for level in range(40):
        call = node(functions[-1].name, [], [], domain="own")
        functions.append(function(f"f{level}", [], [], [call, call]))
    refused_within(
        calling_nothing(functions).SerializeToString(), "more than 16384 parts", 20 * MIB
    )


def calling_nothing(functions: list[onnx.FunctionProto]) -> onnx.ModelProto:
    call = node(functions[-1].name, [], [], domain="own")
    made = graph([call, node("Neg", ["x"], ["y"])], ["x"], ["y"])
    return model(made, functions=functions, domains={"own": 1})


def test_long_names_that_double():
    """Names with numbers are cut: 4000 characters a copy would be gigabytes."""
    long = "n" * 4000
    leaf = function(
        "leaf", ["a"], ["b"], [node("Neg", ["a"], [long], long), node("Abs", [long], ["b"])]
    )
    functions = doubling(8, leaf)
    tracemalloc.start()
    try:
        assert len(read_onnx(calling(*functions)).graph.nodes) == 512
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


def test_functions_in_functions():
    functions = [function("f0", ["a"], ["b"], [node("Neg", ["a"], ["b"])])]
    for level in range(1, 200):
        body = [node(f"f{level - 1}", ["a"], ["b"], domain="own")]
        functions.append(function(f"f{level}", ["a"], ["b"], body))
    refused(calling(*functions), "nested more than 64 deep")


def test_functions_twice():
    same = function("f", ["a"], ["b"], [node("Neg", ["a"], ["b"])])
    refused(calling(same, same), "two functions are named 'f'")


def test_calls_with_too_much():
    leaf = function("f", ["a"], ["b"], [node("Neg", ["a"], ["b"])])
    made = calling(leaf)
    made.graph.node[0].input.append("x")
    refused(made, "2 inputs, and its function has 1")
    made = calling(leaf)
    made.graph.node[0].output.append("z")
    refused(made, "2 outputs, and its function has 1")
    refused(calling(leaf, alpha=1.0), "'alpha', which its function has not")


def test_attributes_of_another_kind_than_the_function_says():
    leaf = function("f", ["a"], ["b"], [node("Elu", ["a"], ["b"])], attributes=["k"])
    leaf.node[0].attribute.add(name="alpha", ref_attr_name="k", type=onnx.AttributeProto.FLOAT)
    refused(calling(leaf, k="text"), "another kind")


def test_outputs_of_functions_that_nothing_makes():
    refused(calling(function("f", ["a"], ["b"], [node("Neg", ["a"], ["c"])])), "'b' is made by")


def test_inputs_of_functions_that_are_made_again():
    refused(calling(function("f", ["a"], ["b"], [node("Neg", ["b"], ["a"])])), "made twice")


def test_functions_with_inputs_of_one_name():
    refused(calling(function("f", ["a", "a"], ["b"], [node("Neg", ["a"], ["b"])])), "the same name")
