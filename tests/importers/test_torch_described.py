"""What a file of weights is said to hold, against the modules that it came from."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import torchcrf
from torch import nn

import seqcore as sc
from seqcore.importers.torch.described import describe_weights

pytestmark = pytest.mark.filterwarnings("ignore")  # torch calls the old weight_norm deprecated


def told(module) -> list[str]:
    return describe_weights(module.state_dict())


MODULES = [
    (
        lambda: nn.LSTM(64, 128, 2, bidirectional=True),
        "nn.LSTM, 2 layers, bidirectional, 64 -> 128: LSTM",
    ),
    (lambda: nn.GRU(5, 7), "nn.GRU, 5 -> 7: GRU"),
    (lambda: nn.GRU(7, 7, bias=False), "nn.GRU, 7 -> 7, without bias: GRU"),
    (lambda: nn.RNN(5, 7), "nn.RNN, 5 -> 7: SimpleRNN"),
    (lambda: nn.LSTMCell(5, 7), "nn.LSTMCell, 5 -> 7: LSTMCell"),
    (lambda: nn.RNNCell(5, 7), "nn.RNNCell, 5 -> 7: SimpleRNNCell"),
    (lambda: nn.LSTM(5, 7, proj_size=2), "nn.LSTM, 5 -> 7, proj_size 2: LSTM"),
    (lambda: nn.Linear(256, 10), "nn.Linear, 256 -> 10: Dense"),
    (
        lambda: nn.Linear(256, 10, bias=False),
        "nn.Embedding, 10 rows of 256, or nn.Linear without bias, 256 -> 10: Embedding",
    ),
    (lambda: nn.Conv1d(4, 6, 3), "nn.Conv1d, 4 channels a group -> 6, kernel_size 3: Conv1D"),
    (
        lambda: nn.Conv1d(4, 6, 3, groups=2, bias=False),
        "nn.Conv1d, 2 channels a group -> 6, kernel_size 3, without bias: Conv1D",
    ),
    (lambda: nn.BatchNorm1d(9), "nn.BatchNorm1d, 9 channels: BatchNormalization"),
    (lambda: nn.LayerNorm(9), "nn.LayerNorm or nn.GroupNorm, 9 features: LayerNormalization"),
    (lambda: torchcrf.CRF(5), "CRF of pytorch-crf, 5 tags: CRF"),
    (lambda: nn.Conv2d(4, 6, 3), "nn.Conv2d, which is not supported"),
    (lambda: nn.utils.weight_norm(nn.Linear(3, 4)), "nn.Linear, 3 -> 4: Dense"),
    (
        lambda: nn.utils.parametrizations.weight_norm(nn.LSTM(3, 4), "weight_hh_l0"),
        "nn.LSTM, 3 -> 4: LSTM",
    ),
]


@pytest.mark.parametrize(("make", "line"), MODULES)
def test_modules(make, line):
    module = make()
    calls = ".from_torch(weights, 'a.b')" if "not supported" not in line else ""
    said = ", activation='tanh' or 'relu')" if "SimpleRNN" in line else ")"
    assert told(nn.ModuleDict({"a": nn.ModuleDict({"b": module})})) == [
        f"a.b: {line}{calls.replace(')', said)}"
    ]
    assert told(module) == [f"the root: {line}{calls.replace(', ' + repr('a.b') + ')', said)}"]


def test_attention_is_named():
    lines = told(nn.MultiheadAttention(6, 2))
    assert lines[0] == "the root: nn.MultiheadAttention, 6 features"
    assert lines[1] == "out_proj: nn.Linear, 6 -> 6: Dense.from_torch(weights, 'out_proj')"


def test_every_line_can_be_typed():
    modules = {
        "embed": nn.Embedding(9, 4), "rnn": nn.LSTM(4, 5, 2), "conv": nn.Conv1d(5, 6, 3),
        "norm": nn.LayerNorm(6), "batch": nn.BatchNorm1d(6), "head": nn.Linear(6, 2),
        "crf": torchcrf.CRF(2),
    }  # fmt: skip
    weights = {k: v.numpy() for k, v in nn.ModuleDict(modules).state_dict().items()}
    lines = describe_weights(weights)
    assert [line.split(":")[0] for line in lines] == list(modules)
    for line in lines:
        call = re.fullmatch(r".*: (\w+)\.from_torch\(weights, '(\w+)'\)", line)
        assert getattr(sc, call[1]).from_torch(weights, call[2]).built


def test_what_is_not_recognised_is_named():
    weights = {
        "odd.thing": np.ones(3),
        "scale": np.ones(()),
        "x.weight": np.ones((2, 2, 2, 2, 2, 2)),
    }
    assert describe_weights(weights) == [
        "not recognised: odd (thing), the root (scale), x (weight)"
    ]
    weights |= {f"state.{k}.exp_avg": np.ones(2) for k in range(20)}
    assert describe_weights(weights)[-1].endswith(" and 17 more")
    assert describe_weights({}) == []


def test_long_lists_end():
    weights = {f"l{k}.weight": np.ones((2, 3)) for k in range(100)}
    lines = describe_weights(weights)
    assert len(lines) == 24
    assert lines[-1] == "and 77 more"


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 0), (7, 3), (2, 3, 4)])
def test_odd_shapes_are_no_trouble(shape):
    names = ("weight_hh_l0", "weight_ih_l0", "weight_hr_l0", "weight", "running_mean")
    for name in names:
        weights = {f"a.{other}": np.ones((3, 3)) for other in names} | {"a." + name: np.ones(shape)}
        assert len(describe_weights(weights)) == 1


def test_load_says_what_is_in_a_file_of_weights(tmp_path):
    module = nn.ModuleDict({"encoder": nn.LSTM(3, 4), "head": nn.Linear(4, 2)})
    state = {"state_dict": module.state_dict(), "epoch": 3}
    torch.save(state, tmp_path / "new.pt")
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.jit.save(torch.jit.script(nn.Linear(4, 2)), tmp_path / "script.pt")
    for name in ("new.pt", "old.pt"):
        with pytest.raises(sc.ModelFileError, match="no network") as caught:
            sc.load(tmp_path / name)
        message = str(caught.value)
        assert message.startswith(str(tmp_path / name))
        assert "\n  state_dict.encoder: nn.LSTM, 3 -> 4: LSTM.from_torch(weights, " in message
        assert "\n  state_dict.head: nn.Linear, 4 -> 2: Dense.from_torch(" in message
    with pytest.raises(sc.ModelFileError, match=r"the root: nn\.Linear, 4 -> 2"):
        sc.load(tmp_path / "script.pt")
