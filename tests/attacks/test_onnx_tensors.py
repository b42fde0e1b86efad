"""Attacks through tensors of ONNX: sizes that lie, paths that lead out of a folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from hostile_onnx import (
    MIB,
    refused,
    refused_within,
    sparse,
    with_tensor,
)
from onnx import TensorProto, helper
from onnx_files import FLOAT, small

from seqcore.errors import ModelFileError
from seqcore.formats import read_weights
from seqcore.formats.onnx_files import read_onnx

node = helper.make_node


# ---- Tensors -------------------------------------------------------------------------------------


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
