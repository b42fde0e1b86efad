"""ONNX files that are in order: what `onnx` wrote comes back, and computes what it did.

Tensors are compared with onnx.numpy_helper; graphs with functions, branches and names that clash
are made models again, and ONNX Runtime runs both. Hostile files are in tests/attacks.
"""

from __future__ import annotations

import hashlib
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnxruntime
import pytest
import torch
from bits import assert_owned, assert_same
from onnx import TensorProto, helper, numpy_helper
from onnx_files import FLOAT, function, graph, model, rebuilt, small, value

from seqcore.errors import MissingExtraError, ModelFileError, OptionError
from seqcore.formats import read_weights
from seqcore.formats.onnx_files import OnnxGraph, OnnxProgram, OnnxValue, is_onnx, read_onnx

node = helper.make_node


def read(made: onnx.ModelProto) -> OnnxProgram:
    return read_onnx(made.SerializeToString())


def outputs_of(made: onnx.ModelProto, **feeds: Any) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(made.SerializeToString())
    return session.run(None, feeds)


def inlined_by_onnx(made: onnx.ModelProto, **feeds: Any) -> list[np.ndarray]:
    """ONNX Runtime alone refuses functions whose inputs or outputs are left out in a call."""
    return outputs_of(onnx.inliner.inline_local_functions(made), **feeds)


def assert_computes_the_same(
    made: onnx.ModelProto, expected_of: Callable[..., Any] = outputs_of, **feeds: Any
) -> OnnxProgram:
    program = read(made)
    again = rebuilt(program)
    onnx.checker.check_model(again)
    expected = expected_of(made, **feeds)
    for found, want in zip(outputs_of(again, **feeds), expected, strict=True):
        np.testing.assert_array_equal(found, want)
    return program


X = np.array([[-1, 2, -3], [4, -5, 6]], np.float32)


# ---- Tensors -------------------------------------------------------------------------------------

TYPES = [number for name, number in TensorProto.DataType.items() if name != "UNDEFINED"]
NUMBERS = [number for number in TYPES if number != TensorProto.STRING]
SHAPES = [(3, 5), (7,), (), (0, 3), (2, 1, 4)]


def stored(kind: int, shape: tuple[int, ...], rng: np.random.Generator) -> onnx.TensorProto:
    """A tensor of random bytes in raw_data."""
    name = TensorProto.DataType.Name(kind)
    few = re.match("U?INT([24])$|FLOAT([468])E", name)
    bits = 8 * np.dtype(helper.tensor_dtype_to_np_dtype(kind)).itemsize
    if few is not None:
        bits = int(few[1] or few[2])
    size = -(-int(np.prod(shape)) * bits // 8)
    raw = rng.integers(0, 2 if kind == TensorProto.BOOL else 256, size, np.uint8).tobytes()
    return TensorProto(name="t", data_type=kind, dims=shape, raw_data=raw)


def expected_of(tensor: onnx.TensorProto) -> np.ndarray:
    array = numpy_helper.to_array(tensor)
    if tensor.data_type in (TensorProto.INT4, getattr(TensorProto, "INT2", -1)):
        return array.astype(np.int8)
    if tensor.data_type in (TensorProto.UINT4, getattr(TensorProto, "UINT2", -1)):
        return array.astype(np.uint8)
    return array if array.dtype.isbuiltin == 1 else array.astype(np.float32)


def of_tensor(tensor: onnx.TensorProto) -> np.ndarray:
    made = graph([node("Identity", ["t"], ["y"])], [], [value("y", None, tensor.data_type)])
    made.initializer.add().CopyFrom(tensor)
    return read(model(made, ir_version=onnx.IR_VERSION)).graph.constants["t"]


@pytest.mark.parametrize("kind", NUMBERS, ids=TensorProto.DataType.Name)
def test_raw_data_of_every_type(kind, rng):
    for shape in SHAPES:
        tensor = stored(kind, shape, rng)
        found, expected = of_tensor(tensor), expected_of(tensor)
        assert found.dtype == expected.dtype
        assert found.shape == shape
        assert found.flags.owndata
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", NUMBERS, ids=TensorProto.DataType.Name)
def test_typed_fields_of_every_type(kind, rng):
    for shape in SHAPES:
        values = numpy_helper.to_array(stored(kind, shape, rng))
        tensor = helper.make_tensor("t", kind, shape, values.reshape(-1))
        assert not tensor.HasField("raw_data")
        found, expected = of_tensor(tensor), expected_of(tensor)
        assert found.dtype == expected.dtype
        assert found.shape == shape
        assert found.flags.owndata
        np.testing.assert_array_equal(found, expected)


def test_every_pattern_of_small_floats():
    for name, kind in TensorProto.DataType.items():
        if name.startswith(("FLOAT8", "FLOAT16", "BFLOAT16")):
            wide = name.endswith("16")
            patterns = np.arange(1 << 16, dtype="<u2") if wide else np.arange(256, dtype=np.uint8)
            tensor = TensorProto(
                name="t", data_type=kind, dims=patterns.shape, raw_data=patterns.tobytes()
            )
            found, expected = of_tensor(tensor), expected_of(tensor)
            np.testing.assert_array_equal(found, expected)
            finite = np.isfinite(expected)
            np.testing.assert_array_equal(np.signbit(found)[finite], np.signbit(expected)[finite])


def test_strings_are_objects():
    found = of_tensor(helper.make_tensor("t", TensorProto.STRING, (2, 1), ["a", "é"]))
    assert found.dtype == object
    assert found.tolist() == [["a"], ["é"]]


@pytest.mark.parametrize("flat", [True, False])
def test_sparse_initialisers_become_dense(flat):
    dense = np.array([[0, 1.5, 0], [2, 0, 3]], np.float32)
    places = np.flatnonzero(dense) if flat else np.argwhere(dense)
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(dense[dense != 0], "w"), numpy_helper.from_array(places), (2, 3)
    )
    made = graph([node("Add", ["x", "w"], ["y"])], ["x"], ["y"])
    made.sparse_initializer.add().CopyFrom(sparse)
    program = assert_computes_the_same(model(made), x=X)
    np.testing.assert_array_equal(program.graph.constants["w"], dense)


# ---- What a graph says ---------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["path", "bytes", "bytearray", "file", "open", "model"])
def test_a_small_model(way, tmp_path):
    made = small()
    data = made.SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with open(path, "rb") as file:
        program = read_onnx(
            {
                "path": path, "bytes": data, "bytearray": bytearray(data),
                "file": io.BytesIO(data), "open": file, "model": made,
            }[way]
        )  # fmt: skip
    assert program.producer == "hand"
    assert program.opsets == {"": 18}
    found = program.graph
    assert [(n.op, n.domain, n.name, n.inputs, n.outputs) for n in found.nodes] == [
        ("Add", "", "plus", ("x", "w"), ("sum",)),
        ("Relu", "", "", ("sum",), ("y",)),
    ]
    assert [(v.name, v.dtype, v.shape) for v in found.inputs] == [("x", "float32", (2, 3))]
    assert [(v.name, v.dtype, v.shape) for v in found.outputs] == [("y", "float32", (2, 3))]
    assert found.dtypes == {"x": "float32", "y": "float32", "w": "float32"}
    assert found.constants["w"].tolist() == [0, 1, 2]
    assert not found.constants["w"].flags.writeable


def test_every_kind_of_attribute():
    inner = graph([node("Neg", ["x"], ["n"])], [], ["n"])
    tensor = numpy_helper.from_array(np.arange(3))
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.float32([2])), numpy_helper.from_array(np.array([1])), (3,)
    )
    made = node(
        "Any", ["x"], ["y"], domain="own",
        f=1.5, i=-3, s="text", t=tensor, g=inner, fs=[1.5, 2.0], ns=[1, -2], ss=["a", "b"],
        ts=[tensor], gs=[inner, inner], sparse=sparse, sparses=[sparse],
        kind=helper.make_tensor_type_proto(TensorProto.INT64, (2, "n")),
        kinds=[helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None))],
    )  # fmt: skip
    made.attribute.add(name="none", type=onnx.AttributeProto.INTS)
    made.attribute.add(name="zero", type=onnx.AttributeProto.FLOAT)  # as proto3 writes it
    program = read(model(graph([made], ["x"], ["y"]), domains={"own": 1}))
    found = program.graph.nodes[0].attributes
    assert {name: found[name] for name in ("f", "i", "s", "fs", "ns", "ss", "none", "zero")} == {
        "f": 1.5, "i": -3, "s": "text", "fs": [1.5, 2.0], "ns": [1, -2], "ss": ["a", "b"],
        "none": [], "zero": 0.0,
    }  # fmt: skip
    assert found["t"].tolist() == found["ts"][0].tolist() == [0, 1, 2]
    assert found["sparse"].tolist() == found["sparses"][0].tolist() == [0, 2, 0]
    assert isinstance(found["g"], OnnxGraph)
    outputs = [g.outputs[0].name for g in (found["g"], *found["gs"])]
    assert outputs[0] == "n"
    assert len(set(outputs)) == 3  # unique in the program
    assert all(g.nodes[0].inputs == ("x",) for g in (found["g"], *found["gs"]))
    assert isinstance(found["kind"], OnnxValue)
    assert (found["kind"].dtype, found["kind"].shape) == ("int64", (2, "n"))
    assert (found["kinds"][0].dtype, found["kinds"][0].shape) == ("sequence", None)


def test_shapes_and_types_as_far_as_the_file_says():
    unknown = value("c", None)
    unknown.type.ClearField("tensor_type")
    minus = value("d", (4, 5))
    minus.type.tensor_type.shape.dim[0].dim_value = -1
    inputs = [value("a", (2, "time", None)), value("b", None), unknown, minus, value("e", ())]
    made = graph([node("Identity", ["a"], ["y"])], inputs, [value("y", None)])
    made.value_info.add().CopyFrom(value("a", None))
    found = read(model(made)).graph.inputs
    assert [(v.dtype, v.shape) for v in found] == [
        ("float32", (2, "time", None)), ("float32", None), (None, None), ("float32", (None, 5)),
        ("float32", ()),
    ]  # fmt: skip


def test_inputs_that_an_initialiser_gives_are_none():
    """Until version 3 of the format every initialiser had to be an input as well."""
    made = small()
    made.ir_version = 3
    made.graph.input.add().CopyFrom(value("w", (3,)))
    program = read(made)
    assert [v.name for v in program.graph.inputs] == ["x"]
    assert list(program.graph.constants) == ["w"]


def test_both_names_of_onnx_own_domain():
    made = small()
    made.opset_import[0].domain = made.graph.node[0].domain = "ai.onnx"
    program = read(made)
    assert program.opsets == {"": 18}
    assert program.graph.nodes[0].domain == ""


def test_training_and_metadata_are_not_read():
    made = small()
    made.metadata_props.add(key="k", value="v")
    made.training_info.add().algorithm.CopyFrom(graph([node("", [], ["?", "?"])], [], ["none"]))
    assert len(read(made).graph.nodes) == 2


# ---- Order and names -----------------------------------------------------------------------------


def test_nodes_are_put_in_order():
    nodes = [
        node("Sub", ["b", "a"], ["y"]),
        node("Abs", ["a"], ["b"]),
        node("Neg", ["x"], ["a"]),
        node("Relu", ["x"], ["z"]),
    ]
    program = assert_computes_the_same(model(graph(nodes, ["x"], ["y", "z"])), x=X)
    assert [n.op for n in program.graph.nodes] == ["Neg", "Abs", "Sub", "Relu"]


def branch(*nodes: Any, out: str = "y") -> onnx.GraphProto:
    return graph(nodes, [], [value(out, None)])


def test_graphs_in_graphs_read_what_is_around_and_names_stay_unique():
    """`t` is made in both branches and later around them, `y` in both and by the node itself."""
    deep = node(
        "If", ["c"], ["y"],
        then_branch=branch(node("Mul", ["t", "late"], ["y"])),
        else_branch=branch(node("Identity", ["t"], ["y"])),
    )  # fmt: skip
    outer = node(
        "If", ["c"], ["y"], "choice",
        then_branch=branch(node("Neg", ["x"], ["t"]), deep),
        else_branch=branch(node("Abs", ["x"], ["t"]), node("Exp", ["t"], ["y"])),
    )  # fmt: skip
    nodes = [
        outer,
        node("Neg", ["y"], ["t"]),
        node("Add", ["x", "x"], ["late"]),
        node("Add", ["t", "late"], ["z"]),
    ]
    made = model(graph(nodes, ["x", value("c", (), TensorProto.BOOL)], ["z"]))
    for c in (True, False):
        program = assert_computes_the_same(made, x=X, c=np.array(c))
    found: list[str] = []

    def names(of: OnnxGraph) -> None:
        for each in of.nodes:
            found.extend(each.outputs)
            for inner in each.attributes.values():
                names(inner)

    names(program.graph)
    assert len(set(found)) == len(found) == 10
    assert [n.outputs[0] for n in program.graph.nodes] == ["late", "y", "t", "z"]


# ---- Functions -----------------------------------------------------------------------------------


def leaky_function() -> onnx.FunctionProto:
    """LeakyRelu, whose alpha is called slope, and is 0.5 where none is given."""
    made = function(
        "leaky", ["a"], ["b"], [node("LeakyRelu", ["a"], ["b"])],
        attribute_protos=[helper.make_attribute("slope", 0.5)],
    )  # fmt: skip
    made.node[0].attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    return made


def test_attributes_of_functions_and_their_defaults():
    calls = [
        node("leaky", ["x"], ["m"], domain="own"),
        node("leaky", ["m"], ["y"], domain="own", slope=0.25),
    ]
    made = model(graph(calls, ["x"], ["y"]), functions=[leaky_function()], domains={"own": 1})
    program = assert_computes_the_same(made, x=X)
    assert [n.attributes["alpha"] for n in program.graph.nodes] == [0.5, 0.25]
    made.functions[0].ClearField("attribute_proto")
    made.functions[0].attribute.append("slope")
    program = assert_computes_the_same(made, x=X)
    assert [n.attributes.get("alpha") for n in program.graph.nodes] == [None, 0.25]


def test_functions_are_put_in_place():
    """Attributes, inputs that are left out, results that are nobody's, calls in
    calls and in branches, and nodes out of order."""
    leaky = leaky_function()
    both = function(
        "both", ["x", "low", "high"], ["y", "extra", "same"],
        [
            node("leaky", ["x"], ["t"], domain="own", slope=0.5),
            node("Clip", ["t", "low", "high"], ["y"], "cut"),
            node("Abs", ["t"], ["extra"]),
            node("Identity", ["x"], ["same"]),
        ],
    )  # fmt: skip
    nodes = [
        node("both", ["x", "", "limit"], ["y", "", "s"], "first", domain="own"),
        node("both", ["s"], ["t", "e"], "second", domain="own"),
        node("leaky", ["t"], ["l"], "third", domain="own", slope=0.25),
        node(
            "If", ["c"], ["i"],
            then_branch=branch(node("leaky", ["e"], ["r"], domain="own", slope=0.5), out="r"),
            else_branch=branch(node("Neg", ["l"], ["r"]), out="r"),
        ),
        node("Sum", ["y", "l", "i"], ["z"]),
    ]  # fmt: skip
    made = model(
        graph(
            nodes, ["x", value("c", (), TensorProto.BOOL)], ["z", "y", "s"],
            weights={"limit": np.float32(3)},
        ),
        functions=[leaky, both], domains={"own": 1},
    )  # fmt: skip
    for c in (True, False):
        program = assert_computes_the_same(made, inlined_by_onnx, x=X, c=np.array(c))
    assert {n.domain for n in program.graph.nodes} == {""}
    assert [n.name for n in program.graph.nodes if n.op == "Clip"] == ["first/cut", "second/cut"]
    alphas = [n.attributes["alpha"] for n in program.graph.nodes if n.op == "LeakyRelu"]
    assert alphas == [0.5, 0.5, 0.25]
    made.functions[1].node.reverse()
    assert [n.op for n in read(made).graph.nodes][:3] == ["Identity", "LeakyRelu", "Abs"]


def test_a_function_that_gives_back_what_it_is_given():
    swap = function("swap", ["a", "b"], ["b", "a"], [])
    call = node("swap", ["x", "w"], ["u", "v"], domain="own")
    made = model(
        graph([call], ["x"], ["u", "v"], weights={"w": 2 * X}), functions=[swap], domains={"own": 1}
    )
    first, second = outputs_of(rebuilt(read(made)), x=X)
    np.testing.assert_array_equal(first, 2 * X)
    np.testing.assert_array_equal(second, X)


def test_types_that_a_function_tells_of():
    inner = function("f", ["a"], ["b"], [node("Neg", ["a"], ["t"]), node("Abs", ["t"], ["b"])])
    inner.value_info.add().CopyFrom(value("t", (2, 3)))
    calls = [node("f", ["x"], ["m"], domain="own"), node("f", ["m"], ["y"], domain="own")]
    program = read(model(graph(calls, ["x"], ["y"]), functions=[inner], domains={"own": 1}))
    made = [n.outputs[0] for n in program.graph.nodes if n.op == "Neg"]
    assert [program.graph.dtypes[name] for name in made] == ["float32"] * 2


def test_functions_of_other_versions_where_an_operator_is_the_same():
    """Relu is of version 14 in both; ReduceSum changed in 13."""
    inner = function("f", ["a"], ["b"], [node("Relu", ["a"], ["b"])], opset=15)
    call = graph([node("f", ["x"], ["y"], domain="own")], ["x"], ["y"])
    program = read(model(call, functions=[inner], domains={"own": 1}))
    assert program.opsets[""] == 18
    other = function("f", ["a"], ["b"], [node("ReduceSum", ["a"], ["b"], axes=[0])], opset=11)
    with pytest.raises(ModelFileError, match=r"imports version 11 .* the model 18"):
        read(model(call, functions=[other], domains={"own": 1}))


def test_a_model_of_torch(tmp_path):
    torch.manual_seed(3)
    module = torch.nn.LSTM(4, 5, batch_first=True).eval()
    path = tmp_path / "m.onnx"
    with pytest.warns():
        torch.onnx.export(module, (torch.randn(2, 6, 4),), path, dynamo=False)
    program = read_onnx(path)
    assert program.producer.startswith("pytorch 2.")
    assert "LSTM" in [n.op for n in program.graph.nodes]
    feed = {program.graph.inputs[0].name: torch.randn(2, 6, 4).numpy()}
    expected = outputs_of(onnx.load(path), **feed)
    for found, want in zip(outputs_of(rebuilt(program), **feed), expected, strict=True):
        np.testing.assert_array_equal(found, want)


# ---- Data in other files -------------------------------------------------------------------------


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A model whose two weights lie in one file in a folder beside it."""
    weights = {"w": X, "v": np.arange(6, dtype=np.int64)}
    made = graph([node("Add", ["x", "w"], ["y"])], ["x"], ["y"], weights=weights)
    path = tmp_path / "m.onnx"
    (tmp_path / "data").mkdir()
    onnx.save(
        model(made), path, save_as_external_data=True, location="data/w.bin", size_threshold=0
    )
    assert (tmp_path / "data/w.bin").exists()
    return path


def test_external_data_where_allowed(beside):
    expected = {t.name: numpy_helper.to_array(t) for t in onnx.load(beside).graph.initializer}
    assert_same(read_weights(beside, external_data=True), expected)
    found = read_onnx(str(beside), external_data=True).graph.constants
    assert found["w"].tolist() == X.tolist()


def test_external_data_with_a_checksum(beside):
    made = onnx.load(beside, load_external_data=False)
    digest = hashlib.sha1((beside.parent / "data/w.bin").read_bytes()).hexdigest()
    for tensor in made.graph.initializer:
        tensor.external_data.add(key="checksum", value=digest)
    beside.write_bytes(made.SerializeToString())
    assert read_onnx(beside, external_data=True).graph.constants["v"].tolist() == list(range(6))


# ---- Weights, kinds of files ---------------------------------------------------------------------


def test_read_weights(tmp_path, rng):
    made = small()
    for kind in (TensorProto.BFLOAT16, TensorProto.INT4, TensorProto.BOOL):
        tensor = stored(kind, (3, 5), rng)
        tensor.name = f"scope.t{kind}"
        made.graph.initializer.add().CopyFrom(tensor)
    made.graph.initializer.add().CopyFrom(helper.make_tensor("s", TensorProto.STRING, (1,), ["a"]))
    path = tmp_path / "m"
    path.write_bytes(made.SerializeToString())
    found = read_weights(path)
    expected = {t.name: expected_of(t) for t in made.graph.initializer if t.name != "s"}
    assert_same(found, expected)
    assert_owned(found["w"])
    assert set(read_weights(path, prefix="scope")) == {name[6:] for name in expected if "." in name}


def test_is_onnx_by_content():
    assert is_onnx(small().SerializeToString()[:64])
    assert is_onnx(small().SerializeToString()[:24])
    plain = onnx.ModelProto(ir_version=8, graph=small().graph, opset_import=small().opset_import)
    assert is_onnx(plain.SerializeToString()[:64])
    long = small()
    long.doc_string = "two\nlines" * 100
    assert is_onnx(long.SerializeToString()[:64])
    buffer = io.BytesIO()
    torch.save(torch.ones(3), buffer)
    others = [
        b"",
        b"\x08",
        b"\x08\x07",
        b"\x08\x01\x12\x04tags" + bytes(50),  # TensorFlow's SavedModel
        b"\x08\x05\x12\x10\x0a\x05\x0a\x01x\x1a\x00" + bytes(50),  # Core ML: messages, no letters
        b"\x0a\x05hello\x12\x00",  # TensorFlow's graphs, Caffe
        b"\x08\x07\x10\x01",
        b"\x08\x07\x92\x01\x03abc",
        b"\x80\x04\x95",
        b"\x89HDF\r\n\x1a\n",
        b'{"a": 1}',
        buffer.getvalue()[:64],
        bytes(64),
        bytes([8]) * 64,
    ]
    assert [head for head in others if is_onnx(head)] == []
    for low in range(1 << 16):  # safetensors begin with the length of a header
        assert not is_onnx((low << 8 | 8).to_bytes(8, "little") + b'{"w": {"dtype": "F32", "shape"')
    random = np.random.default_rng(0)
    heads = (b"\x08" + random.bytes(63) for _ in range(20000))
    assert sum(map(is_onnx, heads)) <= 2


def test_the_package_is_an_extra(monkeypatch, tmp_path):
    data = small().SerializeToString()
    (tmp_path / "m.onnx").write_bytes(data)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"seqcore\[onnx\]"):
        read_onnx(data)
    with pytest.raises(MissingExtraError, match=r"seqcore\[onnx\]"):
        read_weights(tmp_path / "m.onnx")


def test_max_bytes():
    with pytest.raises(OptionError, match="max_bytes"):
        read_onnx(small(), max_bytes=0)
    with pytest.raises(ModelFileError, match="max_bytes"):
        read_onnx(small(), max_bytes=1000)
