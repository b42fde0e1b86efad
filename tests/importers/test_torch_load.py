"""load: programs and whole modules of torch in files; what it says of files that hold neither.

What comes of them is a model like any other: saved and loaded, stepped, in pools, from C.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tolerances import FLOAT32, close
from torch import nn

import seqcore as sc

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's, while it exports

AUTO = torch.export.Dim.AUTO
GOLDEN = Path(__file__).resolve().parents[1] / "golden"


class Tagger(nn.Module):
    """Words to scores of tags, causal: (B, T) ids to (B, T, 5)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 6)
        self.lstm = nn.LSTM(6, 17, num_layers=2, batch_first=True, dropout=0.5)
        self.head = nn.Linear(17, 5)

    def forward(self, ids: Any) -> Any:
        return self.head(torch.relu(self.lstm(self.embed(ids))[0]))


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    torch.manual_seed(0)
    return Tagger().eval()


@pytest.fixture(scope="module")
def exported(tagger: Tagger, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "tagger.pt2"
    ids = torch.zeros(2, 11, dtype=torch.int64)  # an LSTM fixes the time when it is exported
    torch.export.save(
        torch.export.export(tagger, (ids,), dynamic_shapes=({0: AUTO, 1: AUTO},)), path
    )
    return path


IDS = np.random.default_rng(0).integers(0, 20, (3, 11))


def torchs(module: nn.Module, *inputs: Any) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(module(*map(torch.from_numpy, inputs)))


# ---- What is loaded ------------------------------------------------------------------------------


def test_a_program_gives_what_torch_gives(tagger, exported):
    model = sc.load(exported)
    for rows in (3, 1, 7):
        ids = np.random.default_rng(rows).integers(0, 20, (rows, 11))
        close(model(ids), torchs(tagger, ids), FLOAT32[3])
    with pytest.raises(sc.ShapeError, match="must have size 11 in axis 1, found 4"):
        model(IDS[:, :4])


def test_time_varies_where_torch_lets_it(tmp_path):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv1d(3, 17, 2), nn.ReLU(), nn.Conv1d(17, 5, 3, groups=1)).eval()
    rows = ({0: AUTO, 2: AUTO},)
    torch.export.save(
        torch.export.export(module, (torch.zeros(2, 3, 9),), dynamic_shapes=rows),
        tmp_path / "m.pt2",
    )
    model = sc.load(tmp_path / "m.pt2")
    for shape in ((2, 3, 9), (1, 3, 31), (5, 3, 6)):
        x = np.random.default_rng(shape[0]).normal(size=shape).astype(np.float32)
        close(model(x), torchs(module, x), FLOAT32[0])


WAYS: list[dict[str, Any]] = [{}, {"_use_new_zipfile_serialization": False}]


@pytest.mark.parametrize("way", WAYS, ids=["zip", "stream"])
@pytest.mark.parametrize("name", ["m.pt", "m.safetensors", "m"])  # names mean nothing
def test_whole_modules_of_torchs_own_classes(way, name, tmp_path):
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Embedding(20, 6), nn.Sequential(nn.Dropout(), nn.Linear(6, 17)), nn.Hardtanh(-0.1, 0.2)
    )
    torch.save(module, tmp_path / name, **way)
    close(sc.load(tmp_path / name)(IDS), torchs(module.eval(), IDS), FLOAT32[0])
    gru = nn.GRU(3, 17, num_layers=2, bidirectional=True, batch_first=True)
    torch.save(nn.DataParallel(gru), tmp_path / name, **way)
    x = np.random.default_rng(1).normal(size=(3, 9, 3)).astype(np.float32)
    close(sc.load(tmp_path / name)(x), gru(torch.from_numpy(x))[0].detach().numpy(), FLOAT32[2])


def test_torch_is_not_imported(exported, tmp_path):
    torch.save(nn.Sequential(nn.Linear(3, 4)), tmp_path / "m.pt")
    program = (
        "import sys, seqcore; [seqcore.load(path) for path in sys.argv[1:]]; "
        "assert not {'torch', 'h5py', 'safetensors'} & set(sys.modules)"
    )
    environment = {"PYTHONPATH": str(Path(sc.__file__).parents[1])}
    command = [sys.executable, "-c", program, exported, tmp_path / "m.pt"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# ---- Options -------------------------------------------------------------------------------------


def test_options_of_load(exported, tmp_path):
    chain = tmp_path / "m.pt"
    torch.save(nn.Sequential(nn.Linear(3, 4)), chain)
    for path in (exported, chain):
        assert sc.load(path).plan["isa"] == sc.cpu_info()["isa"]
        for isa in sc.cpu_info()["isas"]:
            assert sc.load(path, isa=isa).plan["isa"] == isa
        assert sc.load(path, threads=3).plan["threads"] == 3
        assert sc.load(path, precision="float32").plan
        with pytest.raises(sc.OptionError, match="precision"):
            sc.load(path, precision="float16")
        with pytest.raises(sc.OptionError, match="isa"):
            sc.load(path, isa="sse")
        with pytest.raises(sc.OptionError, match=r"mmap=True is for files that Model\.save wrote"):
            sc.load(path, mmap=True)


# ---- A model like any other ----------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_saved_and_loaded_it_gives_the_same_bits(exported, packed, tmp_path):
    model = sc.load(exported)
    model.save(tmp_path / "tagger.safetensors", packed=packed)
    again = sc.load(tmp_path / "tagger.safetensors", mmap=packed)
    assert again.inputs == model.inputs
    assert again.outputs == model.outputs
    assert again.summary() == model.summary()
    np.testing.assert_array_equal(again(IDS), model(IDS))


def test_stepped_it_gives_the_bits_of_the_whole(exported, tmp_path):
    model = sc.load(exported)
    model.save(tmp_path / "tagger.safetensors")
    whole = model(IDS)
    for made in (model, sc.load(tmp_path / "tagger.safetensors")):
        stream = made.stream(3)
        steps = [stream.step(IDS[:, t]) for t in range(IDS.shape[1])]
        np.testing.assert_array_equal(np.stack(steps, axis=1), whole)
        pool = made.pool(capacity=4)
        live = [pool.open() for _ in range(3)]
        steps = [pool.step(live[::-1], IDS[::-1, t]) for t in range(IDS.shape[1])]
        np.testing.assert_array_equal(np.stack(steps, axis=1)[::-1], whole)


def test_a_live_module_and_its_file_give_the_same_bits(tagger, exported):
    live = sc.from_torch(tagger, torch.zeros(2, 3, dtype=torch.int64))
    np.testing.assert_array_equal(live(IDS), sc.load(exported)(IDS))
    lengths = [11, 2, 5]
    scores = live(IDS, lengths=lengths)
    for row, n in enumerate(lengths):
        np.testing.assert_array_equal(scores[row : row + 1, :n], live(IDS[row : row + 1, :n]))


def test_time_first_is_saved_and_loaded(tmp_path):
    torch.manual_seed(0)
    module = nn.LSTM(3, 17)
    x, h, c = torch.randn(9, 2, 3), torch.randn(1, 2, 17), torch.randn(1, 2, 17)
    model = sc.from_torch(module, (x, (h, c)))
    expected = torch.utils._pytree.tree_leaves(module(x, (h, c)))
    model.save(tmp_path / "m.safetensors")
    for made in (model, sc.load(tmp_path / "m.safetensors")):
        for ours, theirs in zip(made(x.numpy(), h.numpy(), c.numpy()), expected, strict=True):
            close(ours, theirs.detach().numpy(), FLOAT32[1])


# ---- What is no network --------------------------------------------------------------------------


def message_of(path: Path) -> str:
    with pytest.raises(sc.ModelFileError) as caught:
        sc.load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize("way", WAYS, ids=["zip", "stream"])
def test_weights_alone_are_told_with_what_to_type(way, tmp_path, tagger):
    path = tmp_path / "w.pt"
    torch.save(tagger.state_dict(), path, **way)
    first, *parts = message_of(path).splitlines()
    assert first.startswith(
        "holds no whole module. It holds weights and no network; use weights = "
    )
    assert f"seqcore.read_weights({str(path)!r})" in first
    assert [part.split(":")[0].strip() for part in parts] == ["embed", "lstm", "head"]
    assert parts[1].endswith("nn.LSTM, 2 layers, 6 -> 17: LSTM.from_torch(weights, 'lstm')")


def test_a_checkpoint_that_holds_a_module_below_a_key(tmp_path):
    module = nn.Sequential(nn.Linear(3, 4))
    torch.save({"epoch": 1, "net": module, "optimizer": {}}, tmp_path / "c.ckpt")
    text = message_of(tmp_path / "c.ckpt")
    assert "there are modules at 'net': give one as prefix" in text
    assert "\n  net.0: nn.Linear, 3 -> 4: Dense.from_torch(weights, 'net.0')" in text
    weights = sc.read_weights(tmp_path / "c.ckpt", prefix="net")
    np.testing.assert_array_equal(weights["0.weight"], module[0].weight.detach().numpy())
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    model = sc.load(tmp_path / "c.ckpt", prefix="net")
    close(model(x), torchs(module, x), FLOAT32[0])
    with pytest.raises(sc.ModelFileError, match="'epoch' is no whole module"):
        sc.load(tmp_path / "c.ckpt", prefix="epoch")


def test_torchscript_is_told_from_a_module(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Sequential(nn.Linear(3, 4))), tmp_path / "s.pt")
    text = message_of(tmp_path / "s.pt")
    assert "TorchScript keeps their forward as code" in text
    assert "Dense.from_torch(weights, '0')" in text


def test_a_class_of_ones_own_says_what_is_inside(tagger, tmp_path):
    torch.save(tagger, tmp_path / "m.pt")
    with pytest.raises(sc.UnsupportedLayerError) as caught:
        sc.load(tmp_path / "m.pt")
    ((name, why),) = caught.value.layers
    assert name.endswith(".Tagger")
    assert "from_torch(module, example_input=...) or a .pt2" in why
    assert why.endswith("inside are embed: nn.Embedding, lstm: nn.LSTM, head: nn.Linear")


def test_safetensors_and_shards(tmp_path):
    from safetensors.numpy import save_file

    # Headers of every size: the first bytes of some look like those of a pickle.
    for length in range(1, 200, 7):
        save_file({"w" * length: np.zeros((2, 3), np.float32)}, tmp_path / "w.safetensors")
        assert message_of(tmp_path / "w.safetensors").startswith("a safetensors file without")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"' + "w" * length + '": "w.safetensors"}}')
    assert message_of(index).startswith("JSON, an index of files. It holds weights and no network")


def test_archives_of_the_oldest_torch(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"sys_info".ljust(1024, b"\0"))
    assert "tar archive of torch 0.1" in message_of(tmp_path / "w.pt")


def test_weights_of_a_program_are_loads(exported):
    for path in (exported, GOLDEN / "torch2.4.1_export.pt2"):
        with pytest.raises(
            sc.ModelFileError, match=r"\(\.pt2\): seqcore\.load makes a model of it"
        ):
            sc.read_weights(path)
