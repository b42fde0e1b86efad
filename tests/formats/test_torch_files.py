"""Every kind of file that torch writes, against torch itself: streams, archives, TorchScript.

Whole modules as trees are in test_torch_modules.py, files of old versions of torch in
test_torch_versions.py, hostile ones in tests/attacks.
"""

from __future__ import annotations

import collections
import io
import tarfile
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from bits import as_numpy, assert_same
from torch_modules_here import Everything, Nested
from torch_streams import SYSTEM, legacy, stored, tensor

from seqcore.errors import ModelFileError, OptionError
from seqcore.formats import read_weights

LEGACY = {"_use_new_zipfile_serialization": False}
DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.uint16, torch.uint32, torch.uint64,
]  # fmt: skip


def state_of(module) -> dict:
    return {name: as_numpy(value) for name, value in module.state_dict().items()}


def below(prefix, arrays) -> dict:
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


# The stream of before 1.6


@pytest.mark.parametrize("dtype", DTYPES)
def test_legacy_dtypes(tmp_path, dtype):
    values = (torch.arange(24).reshape(2, 3, 4) * 7 % 101).to(dtype)
    tensors = {"w": values, "t": values.permute(2, 0, 1), "s": values[1, 1:, 2]}
    torch.save(tensors, tmp_path / "w.pt", **LEGACY)  # torch cannot load its own uint16 so
    assert_same(read_weights(tmp_path / "w.pt"), {k: as_numpy(v) for k, v in tensors.items()})


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_legacy_protocols(tmp_path, protocol):
    model = torch.nn.LSTM(3, 4, 2, bidirectional=True)
    optimizer = torch.optim.Adam(model.parameters())
    checkpoint = {"epoch": 7, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(checkpoint, tmp_path / "w.pt", pickle_protocol=protocol, **LEGACY)
    assert_same(read_weights(tmp_path / "w.pt"), below("model", state_of(model)))


def test_legacy_tensors_share_storages(tmp_path):
    base = torch.arange(60.0)
    tensors = {
        "a": base, "b": base[7:19], "c": base.view(6, 10).t(), "d": base[3::5], "e": base[5:5],
        "p": torch.nn.Parameter(base[:6]), "other": torch.ones(2, dtype=torch.int16),
        "none": torch.zeros(0, 3),
    }  # fmt: skip
    torch.save(tensors, tmp_path / "w.pt", **LEGACY)
    own = torch.load(tmp_path / "w.pt", weights_only=False)
    assert_same(read_weights(tmp_path / "w.pt"), {k: as_numpy(v) for k, v in own.items()})


def read_both(path, data: bytes) -> dict:
    """What torch reads, after comparing it with what is read here."""
    own = torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)
    path.write_bytes(data)
    assert_same(read_weights(path), {k: as_numpy(v) for k, v in own.items()})
    return own


@pytest.mark.parametrize("little", [True, False])
@pytest.mark.parametrize("long", [4, 8])
def test_legacy_numbers_are_little_endian_whatever_the_system_was(tmp_path, little, long):
    system = SYSTEM | {"little_endian": little, "type_sizes": {"short": 2, "int": 4, "long": long}}
    own = read_both(tmp_path / "w.pt", legacy({"w": tensor()}, system=system))
    assert own["w"].flatten().tolist() == list(range(24))


@pytest.mark.parametrize("location", ["cuda:0", "cuda:7", "mps:0", "hpu", "xpu:1", b"cuda:0"])
def test_locations_do_not_matter(tmp_path, location):
    (tmp_path / "w.pt").write_bytes(legacy({"w": tensor(stored(location=location))}))
    expected = {"w": np.arange(24, dtype=np.float32).reshape(4, 6)}
    assert_same(read_weights(tmp_path / "w.pt"), expected)
    torch.save({"w": torch.arange(24.0).view(4, 6)}, tmp_path / "z.pt")
    text = f"X{chr(len(location))}\0\0\0".encode() + (
        location if isinstance(location, bytes) else location.encode()
    )
    with ZipFile(tmp_path / "z.pt") as old, ZipFile(tmp_path / "new.pt", "w") as new:
        for name in old.namelist():
            assert not name.endswith("data.pkl") or b"X\3\0\0\0cpu" in old.read(name)
            new.writestr(name, old.read(name).replace(b"X\3\0\0\0cpu", text))
    assert_same(read_weights(tmp_path / "new.pt"), expected)


def test_legacy_views_of_storages(tmp_path):
    # Until 0.4 a storage could be a part of another: (key of the view, offset, size).
    whole, part = stored(), stored(view=("1", 6, 12))
    tensors = {
        "whole": tensor(whole),
        "part": tensor(part, 0, (3, 4), (4, 1)),
        "inner": tensor(part, 2, (2, 2), (1, 5)),
        "other": tensor(stored(view=("2", 23, 1)), 0, (1,), (1,)),
    }
    own = read_both(tmp_path / "w.pt", legacy(tensors))
    assert own["part"].flatten().tolist() == list(range(6, 18))
    for bad in [("1", 6, 19), ("1", -1, 2), ("1", 0, 2**63), ("1", 6), "1", ("1", 6, 1.0)]:
        (tmp_path / "w.pt").write_bytes(legacy({"w": tensor(stored(view=bad), 0, (1,), (1,))}))
        with pytest.raises(ModelFileError, match=r"w\.pt: a view of"):
            read_weights(tmp_path / "w.pt")
    beyond = tensor(part, 0, (13,), (1,))
    (tmp_path / "w.pt").write_bytes(legacy({"w": beyond}))
    with pytest.raises(ModelFileError, match="reach element 12 of a storage of 12"):
        read_weights(tmp_path / "w.pt")


def test_tar_files_of_the_oldest_torch_are_told_apart(tmp_path):
    with tarfile.open(tmp_path / "w.pt", "w") as file:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            file.addfile(tarfile.TarInfo(name))
    with pytest.raises(ModelFileError, match=r"tar archive of torch 0\.1.*state_dict"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: torch.ones(2, dtype=torch.complex64), "ComplexFloatStorage"),
        (lambda: torch.ones(3, 3).to_sparse(), "_rebuild_sparse_tensor"),
        (lambda: torch.ones(2, device="meta"), "_rebuild_meta_tensor_no_storage"),
        (lambda: torch.ones(4)[:1].expand(4), "stride 0"),
    ],
)
def test_legacy_kinds_that_would_come_out_wrong_are_refused(tmp_path, make, match):
    torch.save({"good": torch.ones(1), "w": make()}, tmp_path / "w.pt", **LEGACY)
    with pytest.raises(ModelFileError, match=match):
        read_weights(tmp_path / "w.pt")


def test_a_storage_on_the_meta_device_has_no_numbers(tmp_path):
    (tmp_path / "w.pt").write_bytes(legacy({"w": tensor(stored(location="meta"))}, {}))
    with pytest.raises(ModelFileError, match="meta device has no values"):
        read_weights(tmp_path / "w.pt")


# Whole modules as weights

WAYS = [{}, LEGACY, {"pickle_protocol": 4}, {"pickle_protocol": 5, **LEGACY}]


@pytest.mark.filterwarnings("ignore")  # torch calls the old weight_norm deprecated
@pytest.mark.parametrize("way", WAYS)
def test_whole_modules_give_their_state_dict(tmp_path, way):
    module = Everything()
    expected = state_of(module)
    assert "hidden" not in expected
    torch.save(module, tmp_path / "m.pt", **way)
    assert_same(read_weights(tmp_path / "m.pt"), expected)
    checkpoint = {"epoch": 3, "models": {"ema": module}, "extra": torch.ones(2)}
    torch.save(checkpoint, tmp_path / "m.pt", **way)
    expected = below("models.ema", expected) | {"extra": np.ones(2, np.float32)}
    assert_same(read_weights(tmp_path / "m.pt"), expected)


def test_modules_around_modules(tmp_path):
    inner = torch.nn.Linear(2, 3)
    for wrapped in (torch.nn.DataParallel(inner), torch.compile(inner)):
        torch.save(wrapped, tmp_path / "m.pt")
        assert_same(read_weights(tmp_path / "m.pt"), state_of(wrapped))


def test_a_module_that_is_shared_has_both_names(tmp_path):
    inner = torch.nn.Linear(2, 3)
    module = torch.nn.ModuleDict({"a": inner, "b": torch.nn.Sequential(inner, inner)})
    torch.save(module, tmp_path / "m.pt")
    found = read_weights(tmp_path / "m.pt")
    assert len(found) == 6
    assert_same(found, state_of(module))


# TorchScript


@pytest.mark.filterwarnings("ignore")  # torch calls TorchScript deprecated
def test_torchscript(tmp_path):
    module = Nested().eval()
    ids = torch.zeros(2, 3, dtype=torch.long)
    for made in (torch.jit.script(module), torch.jit.trace(module, ids)):
        made.save(str(tmp_path / "m.pt"))
        expected = state_of(made)
        assert {"scale", "stack.1.weight", "rnn.bias_hh_l0_reverse", "tied.weight"} <= set(expected)
        assert "attribute" not in expected
        assert_same(read_weights(tmp_path / "m.pt"), expected)


@pytest.mark.filterwarnings("ignore")
def test_torchscript_whose_numbers_are_constants(tmp_path):
    module = torch.jit.freeze(torch.jit.script(torch.nn.Linear(2, 3).eval()))
    torch.jit.save(module, tmp_path / "m.pt")
    with pytest.raises(ModelFileError, match=r"m\.pt: .*no arrays"):
        read_weights(tmp_path / "m.pt")


@pytest.mark.filterwarnings("ignore")
def test_torchscript_of_quantised_weights_is_refused(tmp_path):
    module = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(torch.nn.Linear(2, 3)))
    torch.jit.save(torch.jit.script(module), tmp_path / "m.pt")
    with pytest.raises(ModelFileError, match=r"LinearPackedParamsBase.*not supported"):
        read_weights(tmp_path / "m.pt")


# Prefixes


def test_a_prefix_is_taken_off(tmp_path):
    module = torch.nn.Linear(2, 3)
    state = {f"_orig_mod.module.{name}": value for name, value in module.state_dict().items()}
    checkpoint = {"state_dict": {"model." + k: v for k, v in state.items()}, "mode": torch.ones(1)}
    torch.save(checkpoint, tmp_path / "c.ckpt")
    expected = state_of(module)
    for prefix in ("state_dict.model._orig_mod.module", "state_dict.model._orig_mod.module."):
        assert_same(read_weights(tmp_path / "c.ckpt", prefix=prefix), expected)
    found = read_weights(tmp_path / "c.ckpt", prefix="state_dict")
    assert_same(found, below("model._orig_mod.module", expected))
    assert len(read_weights(tmp_path / "c.ckpt")) == 3
    for wrong in ("model", "mod", "state_dict.model._orig_mod.module.weight", "state_dict.model.."):
        with pytest.raises(ModelFileError, match=r"c\.ckpt: .*there are 'state_dict\.model\._orig"):
            read_weights(tmp_path / "c.ckpt", prefix=wrong)
    with pytest.raises(OptionError, match="prefix"):
        read_weights(tmp_path / "c.ckpt", prefix=None)


def test_a_prefix_where_there_is_none(tmp_path):
    np.savez(tmp_path / "w.npz", w=np.ones(2))
    with pytest.raises(ModelFileError, match=r"no weight has the prefix 'a\.'; no name has one"):
        read_weights(tmp_path / "w.npz", prefix="a")


# Checkpoints of training


def test_lightning_checkpoint(tmp_path):
    model = torch.nn.ModuleDict({"net": torch.nn.GRU(2, 3)})
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    checkpoint = {
        "epoch": 1, "global_step": 9, "pytorch-lightning_version": "2.4.0",
        "state_dict": model.state_dict(), "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"EarlyStopping{'monitor': 'x'}": {"best_score": torch.tensor(0.5)}},
        "optimizer_states": [optimizer.state_dict()], "lr_schedulers": [],
        "hparams_name": "kwargs", "hyper_parameters": AttributeDict(units=3, cell=torch.nn.GRU),
    }  # fmt: skip
    for way in ({}, LEGACY):
        torch.save(checkpoint, tmp_path / "c.ckpt", **way)
        assert_same(
            read_weights(tmp_path / "c.ckpt", prefix="state_dict.net"), state_of(model["net"])
        )
        found = read_weights(tmp_path / "c.ckpt")
        assert len(found) == 5  # the callback's score too; what stands in lists is left out


class AttributeDict(dict):
    """As Lightning has one: a dict of a class of its own."""


def test_ordered_dicts_and_metadata(tmp_path):
    state = collections.OrderedDict(b=torch.ones(1), a=torch.zeros(2))
    state._metadata = collections.OrderedDict(version=1)
    for way in ({}, LEGACY):
        torch.save(state, tmp_path / "w.pt", **way)
        assert list(read_weights(tmp_path / "w.pt")) == ["b", "a"]
