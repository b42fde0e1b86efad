"""Files that old versions of torch wrote: the same numbers as theirs, and the same outputs.

golden/make_torch_versions.py made them. 1.4.0 ran on Python 2, whose strings and numbers its files
hold; its zip and TorchScript archives are laid out in other ways than today's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bits import assert_same
from tolerances import FLOAT32, close

import seqcore as sc
from seqcore.formats import read_weights
from seqcore.formats.torch_modules import read_module

GOLDEN = Path(__file__).parent.parent / "golden"
VERSIONS = ["1.4.0", "1.13.1"]


def file(version: str, name: str) -> Path:
    return GOLDEN / f"torch{version}_{name}.pt"


def expected(version: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"torch{version}_files.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def state_of(version: str) -> dict[str, np.ndarray]:
    return {name: a for name, a in expected(version).items() if name not in ("x", "y")}


def in_order(arrays: dict) -> dict:
    return dict(sorted(arrays.items()))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["stream", "zip"])
def test_checkpoints(version, kind):
    found = read_weights(file(version, f"{kind}_checkpoint"))
    momenta = [name for name in found if name.startswith("optimizer.state.")]
    assert len(momenta) == 3
    assert len(found) == 3 + len(state_of(version))
    found = read_weights(file(version, f"{kind}_checkpoint"), prefix="model")
    assert_same(in_order(found), in_order(state_of(version)))


@pytest.mark.parametrize("version", VERSIONS)
def test_dtypes_in_streams(version):
    found = read_weights(file(version, "stream_dtypes"))
    state = state_of(version)
    assert found["f16"].dtype == np.float16
    assert np.array_equal(found["f16"], state["rnn.weight_ih_l0"].astype(np.float16))
    assert found["bf16"].dtype == np.float32
    bits = state["embed.weight"].view(np.uint32)
    nearest = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000  # ties to even
    assert np.array_equal(found["bf16"].view(np.uint32), nearest)
    assert np.array_equal(found["view"], state["rnn.weight_hh_l0"].T[:, 1:7:2])
    assert np.array_equal(found["ids"], expected(version)["x"])


@pytest.mark.parametrize("version", VERSIONS)
def test_whole_modules(version):
    found = read_weights(file(version, "zip_module"))
    assert_same(in_order(found), in_order(state_of(version)))
    tree = read_module(file(version, "zip_module"))
    assert (tree.kind, tree.changed) == ("__main__.Tagger", "")
    assert sorted(tree.children) == ["embed", "norm", "rnn", "stack"]
    assert tree.children["embed"].options["padding_idx"] == 0
    options = tree.children["rnn"].options
    assert options.items() >= {"mode": "LSTM", "num_layers": 2, "bidirectional": True}.items()
    assert tree.children["norm"].options["eps"] == 1e-5
    assert tree.children["stack"].children["1"].arrays["bias"] is None

    stack = read_module(file(version, "stream_module"))
    assert stack.kind == "torch.nn.modules.container.ModuleList"
    assert stack.children["0"].options.items() >= {"in_features": 4, "out_features": 4}.items()
    inner = {k[6:]: v for k, v in state_of(version).items() if k.startswith("stack.")}
    assert_same(in_order(read_weights(file(version, "stream_module"))), in_order(inner))


@pytest.mark.parametrize(
    ("version", "kind"), [("1.4.0", "trace"), ("1.13.1", "trace"), ("1.13.1", "script")]
)
def test_torchscript(version, kind):
    assert_same(in_order(read_weights(file(version, kind))), in_order(state_of(version)))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["zip_module", "trace"])
def test_outputs(version, kind):
    weights = read_weights(file(version, kind))
    model = sc.Sequential(
        [
            sc.Embedding.from_torch(weights, "embed"),
            sc.LSTM.from_torch(weights, "rnn"),
            sc.LayerNormalization.from_torch(weights, "norm"),
            sc.Dense.from_torch(weights, "stack.0", activation="tanh"),
            sc.Dense.from_torch(weights, "stack.1", activation="tanh"),
        ]
    )
    truth = expected(version)
    close(model(truth["x"]) * weights["scale"], truth["y"], FLOAT32[3])
