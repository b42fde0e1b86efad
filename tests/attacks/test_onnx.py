"""Attacks through ONNX files as protocol buffers: ones that swell, are cut off, or lie of versions.

One test an attack. Tensors and other files are in test_onnx_tensors.py, graphs and functions in
test_onnx_graphs.py, files in order in tests/formats/test_onnx_files.py.
"""

from __future__ import annotations

import random

import numpy as np
import onnx
import pytest
from hostile_onnx import (
    MIB,
    blob,
    changed,
    refused,
    varint,
    with_graph,
)
from onnx import TensorProto, helper
from onnx_files import function, graph, model, small, value

from seqcore.errors import ModelFileError
from seqcore.formats import onnx_files, onnx_wire, read_weights
from seqcore.formats.onnx_files import read_onnx

node = helper.make_node


# ---- Protocol buffers ----------------------------------------------------------------------------


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
