"""ONNX through `load` and `from_onnx`: told by content, options, the names of files in errors."""

from __future__ import annotations

import io
import struct

import numpy as np
import onnx
import pytest
from onnx_models import model, node

import seqcore as sc
from seqcore import cli, loading
from seqcore.graph import GRAPH_TEXT

X = np.arange(8, dtype=np.float32).reshape(2, 4) - 3


def rectified():
    return model([node("Relu", "x", "y")], {"x": ("n", 4)}, "y")


def shaped():
    inputs = {"x": ("n", 4), "to": ((2,), "int64")}
    return model([node("Reshape", "x to", "y")], inputs, {"y": "float32"})


@pytest.mark.parametrize("name", ["m.onnx", "m", "m.h5", "m.safetensors"])
def test_a_file_is_told_by_its_content(name, tmp_path):
    onnx.save(rectified(), tmp_path / name)
    np.testing.assert_array_equal(sc.load(tmp_path / name)(X), np.maximum(X, 0))


def test_all_ways_in_give_the_same(tmp_path):
    built = rectified()
    path = tmp_path / "m.onnx"
    onnx.save(built, path)
    data = built.SerializeToString()
    for source in (built, data, io.BytesIO(data), path, str(path)):
        np.testing.assert_array_equal(sc.from_onnx(source)(X), np.maximum(X, 0))


def test_what_is_loaded_is_saved_and_loaded_again(tmp_path):
    onnx.save(rectified(), tmp_path / "m.onnx")
    sc.load(tmp_path / "m.onnx").save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(sc.load(tmp_path / "m.safetensors")(X), np.maximum(X, 0))


def test_inputs_and_outputs_have_the_names_of_the_graph(tmp_path):
    nodes = [node("Relu", "x:0", "y:0"), node("Add", "x:0 x:0", "a:b"), node("Relu", "x:0", "y")]
    built = model(nodes, {"x:0": ("n", 4)}, "y:0 a:b y x:0")
    onnx.save(built, tmp_path / "m.onnx")
    found = sc.load(tmp_path / "m.onnx")
    assert found.inputs == ("x",)
    assert found.outputs == ("y", "a_b", "y_1", "x")
    for ours, expected in zip(found(X), [X.clip(0), 2 * X, X.clip(0), X], strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_options_of_the_plan(tmp_path):
    onnx.save(rectified(), tmp_path / "m.onnx")
    plan = sc.load(tmp_path / "m.onnx", isa="scalar", threads=1).plan
    assert (plan["isa"], plan["threads"]) == ("scalar", 1)


def test_inputs_are_fixed_by_constants(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(shaped(), path)
    with pytest.raises(sc.UnsupportedLayerError, match=r"m\.onnx: .*Reshape, opset 17") as caught:
        sc.load(path)
    assert caught.value.inputs == ["to"]
    found = sc.load(path, constants={"to": [-1, 4]})
    assert found.inputs == ("x",)
    np.testing.assert_array_equal(found(X), X)
    with pytest.raises(sc.OptionError, match=r"m\.onnx: constants name 'of'; its inputs are \['x'"):
        sc.load(path, constants={"of": [-1, 4]})


def test_weights_beside_the_file_are_read_when_that_is_asked_for(tmp_path):
    built = model([node("Add", "x w", "y")], {"x": ("n", 4)}, "y", {"w": np.ones(4, np.float32)})
    path = tmp_path / "m.onnx"
    onnx.save_model(built, path, save_as_external_data=True, location="m.data", size_threshold=0)
    assert (tmp_path / "m.data").exists()
    with pytest.raises(sc.ModelFileError, match="external_data"):
        sc.load(path)
    np.testing.assert_array_equal(sc.load(path, external_data=True)(X), X + 1)


@pytest.mark.parametrize("option", [{"constants": {}}, {"external_data": True}])
def test_options_of_onnx_are_for_no_other_file(option, tmp_path):
    path = tmp_path / "m.safetensors"
    sc.Sequential([sc.Dense(np.eye(4))]).save(path)
    (name,) = option
    with pytest.raises(sc.OptionError, match=rf"m\.safetensors: {name}= is for ONNX files"):
        sc.load(path, **option)


@pytest.mark.parametrize(
    ("option", "words"), [({"mmap": True}, "mmap=True is for files"), ({"prefix": "a"}, "prefix")]
)
def test_options_of_other_files_are_not_for_onnx(option, words, tmp_path):
    onnx.save(rectified(), tmp_path / "m.onnx")
    with pytest.raises(sc.OptionError, match=words):
        sc.load(tmp_path / "m.onnx", **option)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "m.onnx"
    data = rectified().SerializeToString()
    path.write_bytes(data[:-7])
    with pytest.raises(sc.ModelFileError, match=r"m\.onnx"):
        sc.load(path)


def test_a_model_of_our_own_is_none_whatever_its_header_is_long(tmp_path):
    """Its first bytes are a length, and may read as the fields that an ONNX file begins with."""
    path = tmp_path / "m.safetensors"
    network = sc.Sequential([sc.Dense(np.eye(4))])
    wanted = int.from_bytes(b"\x08\x08\x12", "little")  # version 8, then who wrote it, in 0 letters
    network.save(path)
    size, rest = struct.unpack("<Q", path.read_bytes()[:8])[0], path.read_bytes()[8:]
    padded = rest[:size] + b" " * (wanted - size) + rest[size:]
    path.write_bytes(struct.pack("<Q", wanted) + padded)
    assert GRAPH_TEXT.encode() in padded
    assert loading.load(path)(X).tolist() == X.tolist()


def test_a_model_file_is_what_export_c_takes(tmp_path, capsys):
    onnx.save(rectified(), tmp_path / "m.onnx")
    assert cli.main(["export-c", str(tmp_path / "m.onnx"), str(tmp_path / "m.h")]) == 2
    assert "make it one: seqcore.load(path).save(...)" in capsys.readouterr().err
    sc.load(tmp_path / "m.onnx").save(tmp_path / "m.safetensors")
    assert cli.main(["export-c", str(tmp_path / "m.safetensors"), str(tmp_path / "m.h")]) == 0
