"""Round trips: what a framework wrote must come back bit for bit, as that framework reads it.

Every file is made here by torch.save, NumPy, safetensors or pickle, but for the real ones at the
end. Hostile files are in tests/attacks.
"""

from __future__ import annotations

import collections
import importlib.util
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from bits import as_numpy, assert_same

from seqcore.errors import MissingExtraError, ModelFileError, OptionError
from seqcore.formats import read_pickle, read_weights


def every_dtype() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    arrays = {
        code: (rng.standard_normal((3, 4)) * 50).astype(code)
        for code in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", ">f4", ">f8", ">i2", ">f2")
    }
    arrays |= {code: rng.integers(0, 200, (2, 5)).astype(code) for code in ("u8", "u4", "u2", "u1")}
    arrays["bool"] = rng.random((4, 4)) > 0.5
    arrays["complex"] = np.array([1 + 2j, 3j])
    arrays["scalar"] = np.array(3.5, np.float32)
    arrays["empty"] = np.zeros((0, 7), np.float32)
    arrays["special"] = np.array([np.nan, -0.0, np.inf, 1e-45], np.float32)
    arrays["fortran"] = np.asfortranarray(np.arange(24.0).reshape(2, 3, 4))
    arrays["strided"] = np.arange(60).reshape(6, 10)[::2, 1::3]
    return arrays


# NumPy


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    arrays = every_dtype() | {"lstm/kernel:0": np.ones(3), "a.b c": np.zeros(2)}
    save(tmp_path / "w.npz", **arrays)
    with np.load(tmp_path / "w.npz") as own:
        assert_same(read_weights(tmp_path / "w.npz"), {name: own[name] for name in own.files})


def test_npz_leaves_text_and_dates_out(tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, w=np.ones(2), s=np.array(["x"]), b=np.array([b"x"]), d=np.array(0, "M8[ns]"))
    assert list(read_weights(path)) == ["w"]


def test_npy_is_named_by_its_stem(tmp_path):
    np.save(tmp_path / "kernel.npy", np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    assert_same(read_weights(tmp_path / "kernel.npy"), {"kernel": np.arange(6.0).reshape(2, 3)})


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy_versions(tmp_path, version):
    array = np.arange(12, dtype=">i4").reshape(3, 4)
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, array, version=version)
    assert_same(read_weights(tmp_path / "a.npy"), {"a": array})


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3L,), }",  # Python 2
        "{'shape':(3,),'descr':'<f4','fortran_order':False}",  # other writers
    ],
)
def test_npy_headers_of_other_writers(tmp_path, header):
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + b"\0" * 12
    (tmp_path / "a.npy").write_bytes(data)
    assert_same(read_weights(tmp_path / "a.npy"), {"a": np.zeros(3, np.float32)})


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickled_arrays(tmp_path, protocol):
    arrays = every_dtype()
    nested = {"model": collections.OrderedDict(arrays), "epoch": 3, "note": "x", "list": [1.5]}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(nested, protocol))
    assert_same(read_weights(tmp_path / "w.pkl"), {f"model.{k}": v for k, v in arrays.items()})


def test_pickles_of_numpy_1(tmp_path):
    data = pickle.dumps({"w": np.arange(5.0)}, 3).replace(b"numpy._core.", b"numpy.core.")
    (tmp_path / "w.pkl").write_bytes(data)
    assert_same(read_weights(tmp_path / "w.pkl"), {"w": np.arange(5.0)})


@pytest.mark.parametrize("bits", [b"\0\0\x80\x3f", b"\x00\x41\x42\x43"])
def test_pickles_of_python_2(tmp_path, bits):
    # Python 2 writes str, here the names and the data, as SHORT_BINSTRING.
    data = (
        b"\x80\x02}U\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x01\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89U\x04" + bits + b"tbs."
    )
    (tmp_path / "w.pkl").write_bytes(data)
    assert pickle.loads(data, encoding="latin1")["w"].tobytes() == bits
    assert_same(read_weights(tmp_path / "w.pkl"), {"w": np.frombuffer(bits, "<f4")})


def test_one_array_under_two_names_is_two_arrays(tmp_path):
    shared = np.ones(4)
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"a": shared, "b": shared}))
    assert_same(read_weights(tmp_path / "w.pkl"), {"a": shared, "b": shared})


# Plain data


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_read_pickle_gives_plain_data(tmp_path, protocol):
    value = {
        "text": "grüße 漢字", "bytes": b"\x00\xff" * 300, "none": None, "yes": True, "no": False,
        "ints": [0, -1, 255, 256, 65535, 65536, -(2**31), 2**31, 2**63, -(2**200)],
        "floats": (0.5, -0.0, float("inf")), 7: {"tuple": ((), (1,), (1, 2), (1, 2, 3), (1,) * 5)},
        ("a", 1): [[]], 1.5: {}, "long": "x" * 70000, "many": list(range(3000)),
    }  # fmt: skip
    (tmp_path / "v.pkl").write_bytes(pickle.dumps(value, protocol))
    assert read_pickle(tmp_path / "v.pkl") == value
    assert repr(read_pickle(tmp_path / "v.pkl")) == repr(value)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_read_pickle_containers_and_scalars(tmp_path, protocol):
    value = [
        collections.OrderedDict(b=1, a=2), collections.Counter("aab"),
        collections.defaultdict(list, x=[1]), np.float32(0.1), np.int64(7), np.bool_(True),
        {"a"}, frozenset([3]), set(),
    ]  # fmt: skip
    (tmp_path / "v.pkl").write_bytes(pickle.dumps(value, protocol))
    found = read_pickle(tmp_path / "v.pkl")
    assert found == [
        {"b": 1, "a": 2},
        {"a": 2, "b": 1},
        {"x": [1]},
        float(np.float32(0.1)),
        7,
        True,
        ["a"],
        [3],
        [],
    ]
    assert [type(part) for part in found[:6]] == [dict, dict, dict, float, int, bool]


def test_read_pickle_keeps_sharing(tmp_path):
    shared = ["x"]
    (tmp_path / "v.pkl").write_bytes(pickle.dumps([shared, shared]))
    found = read_pickle(tmp_path / "v.pkl")
    assert found[0] is found[1]


def test_read_pickle_names_the_class_that_it_refuses(tmp_path):
    (tmp_path / "v.pkl").write_bytes(pickle.dumps({"p": Path("x")}))
    with pytest.raises(ModelFileError, match=r"v\.pkl: expected plain data.*pathlib"):
        read_pickle(tmp_path / "v.pkl")


# safetensors


def test_safetensors(tmp_path):
    from safetensors.torch import load_file, save_file

    torch.manual_seed(0)
    tensors = {
        str(dtype).removeprefix("torch."): (torch.randn(3, 5) * 50).to(dtype)
        for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64,
                      torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
    }  # fmt: skip
    tensors |= {"scalar": torch.tensor(2.0), "empty": torch.zeros(0, 3)}
    save_file(tensors, tmp_path / "w.safetensors", metadata={"format": "pt"})
    own = load_file(tmp_path / "w.safetensors")
    assert_same(
        read_weights(tmp_path / "w.safetensors"), {k: as_numpy(own[k]) for k in sorted(own)}
    )


def test_safetensors_dtype_without_numpy(tmp_path):
    from safetensors.torch import save_file

    save_file({"w": torch.ones(2).to(torch.float8_e4m3fn)}, tmp_path / "w.safetensors")
    with pytest.raises(ModelFileError, match=r"w\.safetensors: tensor 'w': dtype F8_E4M3"):
        read_weights(tmp_path / "w.safetensors")


def test_safetensors_missing_package(tmp_path, monkeypatch):
    from safetensors.numpy import save_file

    save_file({"w": np.ones(2)}, tmp_path / "w.safetensors")
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    with pytest.raises(MissingExtraError, match=r"seqcore\[safetensors\]"):
        read_weights(tmp_path / "w.safetensors")


# torch


def save(path: Path, value: object) -> dict:
    torch.save(value, path)
    return torch.load(path, weights_only=False)


TORCH_DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.uint16, torch.uint32, torch.uint64,
]  # fmt: skip


@pytest.mark.parametrize("dtype", TORCH_DTYPES)
def test_torch_dtypes(tmp_path, dtype):
    values = (torch.arange(24).reshape(2, 3, 4) * 7 % 101).to(dtype)
    own = save(tmp_path / "w.pt", {"w": values, "t": values.permute(2, 0, 1)})
    assert_same(read_weights(tmp_path / "w.pt"), {k: as_numpy(v) for k, v in own.items()})


def test_torch_views_share_a_storage(tmp_path):
    base = torch.arange(120.0)
    views = {
        "base": base, "offset": base[7:19], "step": base[3::5], "matrix": base.view(10, 12),
        "transposed": base.view(10, 12).t(), "block": base.view(10, 12)[2:5, 1::4],
        "permuted": base.view(2, 5, 12).permute(2, 0, 1), "scalar": base[17],
        "none": base[5:5], "empty": base.view(10, 12)[:0], "one": base.view(120, 1)[3:4].t(),
        "unit": base[4:5].expand(1, 1), "parameter": torch.nn.Parameter(base[:6]),
    }  # fmt: skip
    own = save(tmp_path / "w.pt", views)
    with zipfile.ZipFile(tmp_path / "w.pt") as archive:
        assert sum("/data/" in name for name in archive.namelist()) == 1
    assert_same(read_weights(tmp_path / "w.pt"), {k: as_numpy(v) for k, v in own.items()})


def test_torch_checkpoint_is_flattened(tmp_path):
    model = torch.nn.Sequential(torch.nn.LSTM(3, 4, 2, bidirectional=True), torch.nn.BatchNorm1d(8))
    optimizer = torch.optim.Adam(model.parameters())
    state = model.state_dict()
    assert state._metadata
    checkpoint = {
        "epoch": 7, "state_dict": state, "optimizer": optimizer.state_dict(), "loss": 0.5,
        "args": collections.namedtuple, "shape": torch.Size([1, 2]), "path": Path("x"),
        "device": torch.device("cpu"), "dtype": torch.float32, "history": [torch.ones(2)],
        "np": np.float64(2), "rng": {"t": torch.ByteTensor([1, 2])},
    }  # fmt: skip
    own = save(tmp_path / "c.ckpt", checkpoint)
    expected = {f"state_dict.{k}": as_numpy(v) for k, v in own["state_dict"].items()}
    expected["rng.t"] = np.array([1, 2], np.uint8)
    assert_same(read_weights(tmp_path / "c.ckpt"), expected)


def test_torch_optimizer_state_has_integer_keys(tmp_path):
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([weight])
    weight.sum().backward()
    optimizer.step()
    own = save(tmp_path / "o.pt", optimizer.state_dict())
    found = read_weights(tmp_path / "o.pt")
    assert list(found) == ["state.0.step", "state.0.exp_avg", "state.0.exp_avg_sq"]
    assert_same(found, {f"state.0.{k}": as_numpy(v) for k, v in own["state"][0].items()})


def test_torch_tensor_attributes_and_numpy_values(tmp_path):
    tensor, parameter = torch.ones(3), torch.nn.Parameter(torch.zeros(2))
    tensor.note, parameter.note = "a", "b"
    array = np.arange(6.0).reshape(2, 3).T
    save(tmp_path / "w.pt", {"t": tensor, "p": parameter, "a": array})
    assert_same(
        read_weights(tmp_path / "w.pt"),
        {"t": np.ones(3, np.float32), "p": np.zeros(2, np.float32), "a": array},
    )


def test_torch_tied_weights_and_lone_tensor(tmp_path):
    tied = torch.arange(4.0)
    save(tmp_path / "w.pt", {"a": tied, "b": tied, "c": tied.view(2, 2)})
    values = np.arange(4, dtype=np.float32)
    assert_same(
        read_weights(tmp_path / "w.pt"), {"a": values, "b": values, "c": values.reshape(2, 2)}
    )
    save(tmp_path / "lone.pt", tied)
    assert_same(read_weights(tmp_path / "lone.pt"), {"lone": values})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int16, torch.bool])
def test_torch_big_endian(tmp_path, dtype):
    tensor = (torch.arange(12).view(3, 4) % 5).to(dtype)
    save(tmp_path / "little.pt", {"w": tensor.t()})
    size = tensor.element_size()
    with (
        zipfile.ZipFile(tmp_path / "little.pt") as little,
        zipfile.ZipFile(tmp_path / "big.pt", "w") as big,
    ):
        for name in little.namelist():
            data = little.read(name)
            if name.endswith("/byteorder"):
                data = b"big"
            if "/data/" in name:
                data = b"".join(data[i : i + size][::-1] for i in range(0, len(data), size))
            big.writestr(name, data)
    assert torch.equal(torch.load(tmp_path / "big.pt")["w"], tensor.t())
    assert_same(read_weights(tmp_path / "big.pt"), {"w": as_numpy(tensor.t())})


@pytest.mark.filterwarnings("ignore")  # torch calls quantised tensors deprecated
@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: torch.ones(2, dtype=torch.complex64), "ComplexFloatStorage"),
        (lambda: torch.ones(2).to(torch.float8_e5m2), "float8_e5m2"),
        (lambda: torch.ones(3, 3).to_sparse(), "_rebuild_sparse_tensor"),
        (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "_rebuild_qtensor"),
        (lambda: torch.ones(2, device="meta"), "_rebuild_meta_tensor_no_storage"),
        (lambda: torch.ones(4)[:1].expand(4), "stride 0"),
        (lambda: torch.arange(5.0).as_strided((4, 2), (1, 1)), "reach element 4 of a storage of 5"),
        (lambda: torch.ones(2)._neg_view(), "the marks"),
    ],
)  # fmt: skip
def test_torch_kinds_that_would_come_out_wrong_are_refused(tmp_path, make, match):
    torch.save({"good": torch.ones(1), "w": make()}, tmp_path / "w.pt")
    with pytest.raises(ModelFileError, match=match):
        read_weights(tmp_path / "w.pt")


# What the file is


def test_torch_export(tmp_path):
    program = torch.export.export(torch.nn.Linear(2, 3), (torch.ones(1, 2),))
    torch.export.save(program, tmp_path / "w.pt2")
    with pytest.raises(ModelFileError, match=r"program of torch\.export"):
        read_weights(tmp_path / "w.pt2")


def test_saved_model_and_folder(tmp_path):
    with pytest.raises(ModelFileError, match="a folder"):
        read_weights(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(ModelFileError, match="SavedModel"):
        read_weights(tmp_path)
    with pytest.raises(ModelFileError, match=r"SavedModel.*load_model\(.*\.save\('model\.keras'\)"):
        read_weights(tmp_path / "saved_model.pb")


def test_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for read in (read_weights, read_pickle):
        with pytest.raises(ModelFileError, match="pipe: this is not a regular file"):
            read(tmp_path / "pipe")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_weights(tmp_path / "absent.pt")


def zip_of(**members: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "the file is empty"),
        (b"\x1f\x8b\x08" + bytes(20), "gzip"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"<!DOCTYPE html>", "web page"),
        (b'{"a": 1}', "JSON"),
        (b"\x1c\0\0\0TFL3" + bytes(20), "TensorFlow Lite"),
        (b"\x00" * 100, "begins with 00 00"),
        (b"(lp0\n.", "begins with 28"),
        (b"\x80\x01K\x01.", "begins with 80 01"),
        (zip_of(**{"word/document.xml": b"x"}), "neither of torch.save nor of NumPy"),
        (b"\x08\x01", "protocol buffer"),
        (zip_of(**{"a.npy": b"x", "b.txt": b"x"}), "neither of torch.save nor of NumPy"),
        (b"PK\x05\x06" + bytes(18), "empty zip"),
    ],
)
def test_foreign_files_are_named(tmp_path, data, match):
    path = tmp_path / "model.pt"
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=rf"model\.pt: .*{match}"):
        read_weights(path)


def test_kind_is_found_by_content(tmp_path):
    np.savez(tmp_path / "w.npz", w=np.ones(2))
    (tmp_path / "w.npz").rename(tmp_path / "w.safetensors")
    assert_same(read_weights(str(tmp_path / "w.safetensors")), {"w": np.ones(2)})


def test_hdf5(tmp_path):
    import h5py

    with h5py.File(tmp_path / "w.pt", "w") as file:
        file["lstm/kernel"] = np.arange(6.0).reshape(2, 3)
    assert_same(read_weights(tmp_path / "w.pt"), {"lstm/kernel": np.arange(6.0).reshape(2, 3)})


@pytest.mark.parametrize("bad", [0, -1, 1.5, "1", True])
def test_max_bytes_is_checked(tmp_path, bad):
    np.savez(tmp_path / "w.npz", w=np.ones(2))
    with pytest.raises(OptionError, match="max_bytes"):
        read_weights(tmp_path / "w.npz", max_bytes=bad)


@pytest.mark.parametrize("suffix", ["npz", "npy", "pkl", "pt", "safetensors"])
def test_max_bytes_bounds_every_kind(tmp_path, suffix):
    from safetensors.numpy import save_file

    array, path = np.zeros(100_000, np.float32), tmp_path / f"w.{suffix}"
    write = {
        "npz": lambda: np.savez_compressed(path, w=array),
        "npy": lambda: np.save(path, array),
        "pkl": lambda: path.write_bytes(pickle.dumps({"w": array})),
        "pt": lambda: torch.save({"w": torch.from_numpy(array)}, path),
        "safetensors": lambda: save_file({"w": array}, path),
    }
    write[suffix]()
    with pytest.raises(ModelFileError, match=r"more than 300000 bytes"):
        read_weights(path, max_bytes=300_000)
    assert next(iter(read_weights(path, max_bytes=3_000_000).values())).shape == array.shape


# Real files


def packaged(package: str, name: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"{package} is a test requirement: requirements/data.txt"
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / name


def test_real_npz():
    path = packaged("g2p_en", "checkpoint20.npz")
    with np.load(path) as own:
        assert len(own.files) == 12
        assert_same(read_weights(path), {name: own[name] for name in own.files})


@pytest.mark.parametrize("name", ["char2idx.pkl", "class2idx.pkl", "digest_cedict.pkl"])
def test_real_vocabularies(name):
    path = packaged("g2pM", name)
    own = pickle.loads(path.read_bytes())
    assert own
    assert read_pickle(path) == own


def test_real_pickled_weights():
    path = packaged("g2pM", "np_ckpt.pkl")
    own = pickle.loads(path.read_bytes())
    assert own["lstm.weight_ih_l0"].shape == (128, 64)
    assert_same(read_weights(path), own)
    assert_same(read_pickle(path), own)
