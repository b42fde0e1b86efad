"""HDF5 files that are what they should be: every name and array comes out as h5py itself reads it.

Hostile and broken files are in tests/attacks/test_hdf5.py; what the layers mean in tests/importers.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from seqcore.errors import MissingExtraError, ModelFileError
from seqcore.formats import read_weights
from seqcore.formats.hdf5 import read_h5_arrays, read_keras_h5

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("keras2_*.h5"))


def everything(path: Path) -> dict[str, np.ndarray]:
    """Return all datasets as h5py finds them."""
    found: dict[str, np.ndarray] = {}

    def keep(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(keep)
    return found


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copy(GOLDEN[0], tmp_path / "model.h5"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_keras_model_comes_out_whole(path: Path) -> None:
    model = read_keras_h5(path)
    expected = everything(path)
    with h5py.File(path) as file:
        assert model.config == json.loads(file.attrs["model_config"])
        assert list(model.weights) == list(file["model_weights"].attrs["layer_names"])
        for layer, weights in model.weights.items():
            names = file["model_weights"][layer].attrs["weight_names"]
            assert [name for name, _ in weights] == list(names)
    assert model.version == "2.15.0"
    assert model.source == str(path)
    assert sum(map(len, model.weights.values())) == len(expected) > 4
    for layer, weights in model.weights.items():
        for name, array in weights:
            np.testing.assert_array_equal(array, expected[f"model_weights/{layer}/{name}"])


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_all_arrays_by_their_paths(path: Path) -> None:
    expected = everything(path)
    for found in (read_h5_arrays(path), read_weights(path)):
        assert sorted(found) == sorted(expected)
        for name, array in found.items():
            np.testing.assert_array_equal(array, expected[name])
            assert array.flags.owndata
            assert array.flags.writeable


def test_optimizer_slots_are_left_alone(copied: Path) -> None:
    before = read_keras_h5(copied)
    with h5py.File(copied, "a") as file:
        file["optimizer_weights/Adam/m:0"] = np.ones(3)
        file["optimizer_weights/link"] = h5py.SoftLink("/model_weights")
    assert read_keras_h5(copied).weights.keys() == before.weights.keys()


def test_names_split_into_numbered_attributes(copied: Path) -> None:
    """Past 64,512 bytes Keras writes name0, name1 ... in place of name."""
    before = read_keras_h5(copied)
    with h5py.File(copied, "a") as file:
        groups = [file["model_weights"]]
        groups += [group for group in groups[0].values() if len(group.attrs["weight_names"])]
        for group in groups:
            key = "layer_names" if "layer_names" in group.attrs else "weight_names"
            names = [name.encode() for name in group.attrs[key]]
            del group.attrs[key]
            for number, part in enumerate((names[:1], names[1:2], names[2:])):
                if part:
                    group.attrs[f"{key}{number}"] = part
    after = read_keras_h5(copied)
    assert [(layer, [name for name, _ in found]) for layer, found in after.weights.items()] == [
        (layer, [name for name, _ in found]) for layer, found in before.weights.items()
    ]


def test_strings_of_fixed_length(copied: Path) -> None:
    """h5py 2 wrote bytes, h5py 3 writes strings of variable length."""
    before = read_keras_h5(copied)
    with h5py.File(copied, "a") as file:
        file.attrs["keras_version"] = np.bytes_("2.2.4-tf")
        text = file.attrs["model_config"].encode()[:60000]
        names = [name.encode() for name in file["model_weights"].attrs["layer_names"]]
        file.attrs["model_config"] = np.bytes_(text)
        file["model_weights"].attrs["layer_names"] = np.array(names, "S")
    after = read_keras_h5(copied)
    assert (after.version, after.config) == ("2.2.4-tf", before.config)
    assert list(after.weights) == list(before.weights)


def test_a_version_beside_the_weights_alone(copied: Path) -> None:
    with h5py.File(copied, "a") as file:
        del file.attrs["keras_version"]
    assert read_keras_h5(copied).version == "2.15.0"
    with h5py.File(copied, "a") as file:
        del file["model_weights"].attrs["keras_version"]
    assert read_keras_h5(copied).version is None


def test_all_kinds_of_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "f2": rng.normal(size=(3, 4)).astype("<f2"),
        "big": rng.normal(size=(5, 2)).astype(">f8"),
        "i8": np.arange(-3, 3),
        "u1": np.arange(7, dtype=np.uint8),
        "bool": np.array([True, False]),
        "scalar": np.float32(3.5),
        "empty": np.zeros((0, 3), np.float32),
        "deep/er/f4": rng.normal(size=(2, 3, 4)).astype(np.float32),
    }
    path = tmp_path / "numbers.h5"
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file["text"] = "no number"
        file["texts"] = ["a", "bc"]
        file["complex"] = np.ones(2, np.complex64)
        file["nothing"] = h5py.Empty("f4")
        file["kind"] = np.dtype("f4")
    found = read_h5_arrays(path)
    assert sorted(found) == sorted(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype.newbyteorder("=")
        assert found[name].dtype.isnative
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (7, 5)},
        {"chunks": (7, 5), "compression": "gzip"},
        {"chunks": (7, 5), "compression": "gzip", "shuffle": True, "fletcher32": True},
        {"chunks": (64, 64), "maxshape": (None, 100), "compression": "gzip"},
        {"chunks": True, "fletcher32": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("zeros", [False, True])
def test_chunks_and_compression(tmp_path: Path, options: dict, zeros: bool) -> None:
    array = np.random.default_rng(1).normal(size=(40, 33)).astype(np.float32) * (not zeros)
    with h5py.File(tmp_path / "chunks.h5", "w") as file:
        file.create_dataset("x", data=array, **options)
    np.testing.assert_array_equal(read_h5_arrays(tmp_path / "chunks.h5")["x"], array)


def test_bfloat16_as_keras_3_stores_it(tmp_path: Path) -> None:
    """A dataset of two opaque bytes an element, with the attribute dtype = "bfloat16"."""
    import torch

    values = torch.randn(5, 3).to(torch.bfloat16)
    raw = values.view(torch.int16).numpy().view("V2")
    with h5py.File(tmp_path / "bf16.h5", "w") as file:
        file["tagged"] = raw
        file["tagged"].attrs["dtype"] = "bfloat16"
        file["untagged"] = raw
    found = read_h5_arrays(tmp_path / "bf16.h5")
    assert list(found) == ["tagged"]
    assert found["tagged"].dtype == np.float32
    np.testing.assert_array_equal(found["tagged"], values.float().numpy())


@pytest.mark.parametrize(
    "options",
    [{}, {"libver": "latest"}, {"libver": "v108"}, {"userblock_size": 512}, {"track_order": True}],
    ids=str,
)
def test_strings_of_variable_length_in_all_forms_of_a_file(tmp_path: Path, options: dict) -> None:
    """Read from the file's bytes (hdf5_strings.py), here against h5py's own reading."""
    path = tmp_path / "model.h5"
    names = [f"layer_{k}" * (1 + k % 5) for k in range(40)]
    config = json.dumps({"config": {"text": "xyzß" * 20_000, "empty": ""}})
    with h5py.File(path, "w", **options) as file:
        file.attrs["backend"] = "tensorflow"
        file.attrs["keras_version"] = "2.9.0"
        file.attrs["training_config"] = "0123456" * 9000
        file.attrs["model_config"] = config
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = names
        for name in names:
            weights.create_group(name).attrs["weight_names"] = [f"{name}/kernel:0", f"{name}/ä:0"]
            weights[f"{name}/{name}/kernel:0"] = np.ones(2)
            weights[f"{name}/{name}/ä:0"] = np.ones(2)
    model = read_keras_h5(path)
    with h5py.File(path) as file:
        assert list(model.weights) == list(file["model_weights"].attrs["layer_names"])
        assert json.dumps(model.config) == file.attrs["model_config"] == config
    assert model.version == "2.9.0"
    for name, weights in model.weights.items():
        assert [key for key, _ in weights] == [f"{name}/kernel:0", f"{name}/ä:0"]


def test_weights_without_a_config_say_so(copied: Path) -> None:
    with h5py.File(copied, "a") as file:
        del file.attrs["model_config"]
    with pytest.raises(ModelFileError, match=r"model\.h5: .*no model_config.*read_weights"):
        read_keras_h5(copied)


def test_h5py_is_an_extra(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"seqcore\[keras\]"):
        read_keras_h5(copied)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_keras_h5(tmp_path / "none.h5")
