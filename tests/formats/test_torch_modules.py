"""Whole modules as trees, from files and live, against the modules themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bits import as_numpy
from torch import nn
from torch.nn.utils import prune
from torch_modules_here import Everything

from seqcore.errors import GraphError, ModelFileError, UnsupportedLayerError, WeightsError
from seqcore.formats.torch_modules import read_module
from seqcore.formats.torch_programs import Dtype, Global
from seqcore.importers.torch.trees import module_tree

pytestmark = pytest.mark.filterwarnings("ignore")  # torch calls the old weight_norm deprecated

LEGACY = {"_use_new_zipfile_serialization": False}
WAYS = [{}, LEGACY, {"pickle_protocol": 4}, {"pickle_protocol": 5, **LEGACY}]


def hook(*_):
    return None


def assert_tree(tree, module) -> None:
    """The tree of a module: its class, every parameter and buffer, and its children in order."""
    kind = type(module)
    assert tree.kind == f"{kind.__module__}.{kind.__qualname__}"
    own = {**module._parameters, **module._buffers}
    assert list(tree.arrays) == list(own)
    for name, value in own.items():
        if value is None:
            assert tree.arrays[name] is None
        else:
            array = tree.arrays[name]
            assert array.dtype == as_numpy(value).dtype
            assert np.array_equal(array, as_numpy(value))
    assert list(tree.children) == list(module._modules)
    for name, child in module._modules.items():
        if child is None:
            assert tree.children[name] is None
        else:
            assert_tree(tree.children[name], child)


def same_trees(one, other) -> None:
    assert (one.kind, one.options, one.changed) == (other.kind, other.options, other.changed)
    assert list(one.arrays) == list(other.arrays)
    for name, array in one.arrays.items():
        assert (array is None) == (other.arrays[name] is None)
        assert array is None or array.dtype == other.arrays[name].dtype
        assert np.array_equal(array, other.arrays[name])
    assert list(one.children) == list(other.children)
    for name, child in one.children.items():
        if child is not None:
            same_trees(child, other.children[name])


@pytest.mark.parametrize("way", WAYS)
def test_files_and_live_modules_give_the_same_trees(tmp_path, way):
    module = Everything()
    torch.save(module, tmp_path / "m.pt", **way)
    tree = read_module(tmp_path / "m.pt")
    assert_tree(tree, module)
    same_trees(tree, module_tree(module))
    assert tree.arrays["hidden"].tolist() == [0, 1, 2, 3]
    assert tree.arrays["without"] is None
    assert tree.children["absent"] is None


def test_options_are_those_of_the_module():
    tree = module_tree(Everything())
    part = tree.children
    assert part["embed"].options["padding_idx"] == 2
    assert part["rnn"].options["mode"] == "RNN_RELU"
    assert part["rnn"].options["nonlinearity"] == "relu"
    assert part["rnn"].options["batch_first"] is True
    assert part["rnn"].options["bias"] is False
    options = {"input_size": 3, "hidden_size": 2, "num_layers": 2, "dropout": 0.25, "proj_size": 0}
    assert part["lstm"].options.items() >= (options | {"bidirectional": True}).items()
    options = {"kernel_size": (3,), "stride": (2,), "padding": (1,), "dilation": (1,), "groups": 2}
    assert part["conv"].options.items() >= (options | {"padding_mode": "zeros"}).items()
    assert part["norm"].options["eps"] == 1e-3
    assert part["plain"].options["track_running_stats"] is False
    assert part["layer_norm"].options["normalized_shape"] == (6,)
    assert part["attention"].options["num_heads"] == 2
    assert part["dict"].children["up"].options["size"] == 3
    expected = {
        "units": 7, "sizes": (1, 2), "names": ["a"], "dtype": Dtype("float16"), "nothing": None,
        "function": Global("torch.nn.functional.relu"), "shape": (4,),
    }  # fmt: skip
    assert tree.options == expected  # no object, no tensor, and not `training`


def test_a_module_that_is_there_twice_is_one_tree(tmp_path):
    inner = nn.Linear(2, 3)
    module = nn.Sequential(inner, nn.ReLU(), nn.ModuleDict({"again": inner}))
    torch.save(module, tmp_path / "m.pt")
    for tree in (read_module(tmp_path / "m.pt"), module_tree(module)):
        assert tree.children["0"] is tree.children["2"].children["again"]
        assert tree.children["0"].arrays["weight"].flags.owndata


def test_a_tensor_that_is_there_twice_is_one_array(tmp_path):
    one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    other.weight = one.weight
    module = nn.Sequential(one, other)
    torch.save(module, tmp_path / "m.pt")
    for tree in (read_module(tmp_path / "m.pt"), module_tree(module)):
        assert tree.children["0"].arrays["weight"] is tree.children["1"].arrays["weight"]


def test_modules_around_modules(tmp_path):
    inner = nn.Linear(2, 3)
    for wrapped, name in ((nn.DataParallel(inner), "module"), (torch.compile(inner), "_orig_mod")):
        torch.save(wrapped, tmp_path / "m.pt")
        for tree in (read_module(tmp_path / "m.pt"), module_tree(wrapped)):
            assert_tree(tree, wrapped)
            assert list(tree.children) == [name]
            assert tree.changed == ""


def test_options_that_share_parts_or_contain_themselves():
    module = nn.Linear(2, 2)
    shared: list = [1]
    for _ in range(60):
        shared = [shared, shared]
    loop: list = []
    loop += [loop, loop]
    module.shared, module.loop, module.after = shared, loop, [loop]
    options = module_tree(module).options
    assert {"in_features", "out_features", "shared"} == options.keys()
    assert options["shared"][0] is options["shared"][1]


# What may change what a module does


def changed(make, tmp_path) -> str:
    """Of the module, live and in a file."""
    module = make(nn.Linear(3, 3))
    live = module_tree(module).changed
    torch.save(module, tmp_path / "m.pt")
    assert read_module(tmp_path / "m.pt").changed == live
    return live


def hooked(register, *arguments, **options):
    def make(module):
        getattr(module, register)(*arguments, **options)
        return module

    return make


def replaced(module):
    module.forward = hook
    return module


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda module: module, ""),
        (nn.utils.weight_norm, ""),
        (lambda module: nn.utils.weight_norm(module, dim=None), ""),
        (hooked("register_full_backward_hook", hook), ""),
        (hooked("register_forward_hook", hook), "forward hooks (test_torch_modules.hook)"),
        (hooked("register_forward_pre_hook", hook), "forward pre-hooks (test_torch_modules.hook)"),
        (nn.utils.spectral_norm, "SpectralNorm"),
        (lambda module: prune.l1_unstructured(module, "weight", 1), "pre-hooks"),
        (replaced, "a forward of its own"),
    ],
)
def test_changes_are_told(make, match, tmp_path):
    found = changed(make, tmp_path)
    assert match in found
    assert bool(found) == bool(match)


def test_parametrizations_of_live_modules():
    # torch does not pickle these.
    normed = nn.utils.parametrizations.weight_norm(nn.LSTM(2, 3), "weight_hh_l0")
    tree = module_tree(normed)
    assert (tree.kind, tree.changed) == ("torch.nn.modules.rnn.LSTM", "")
    inner = tree.children["parametrizations"].children["weight_hh_l0"]
    assert inner.arrays["original0"].shape == (12, 1)
    other = module_tree(nn.utils.parametrizations.spectral_norm(nn.Linear(2, 3)))
    assert other.kind == "torch.nn.modules.linear.Linear"
    assert "parametrization of weight (torch.nn.utils.parametrizations._SpectralNorm)" in (
        other.changed
    )
    twice = nn.utils.parametrizations.weight_norm(
        nn.utils.parametrizations.orthogonal(nn.Linear(3, 3))
    )
    assert "parametrization of weight" in module_tree(twice).changed


# Where in the file


def test_a_prefix_chooses(tmp_path):
    module = nn.Sequential(nn.Linear(2, 3), nn.GRU(3, 4))
    torch.save({"ema": {"model": module}, "epoch": 3}, tmp_path / "m.pt")
    assert_tree(read_module(tmp_path / "m.pt", prefix="ema.model"), module)
    assert_tree(read_module(tmp_path / "m.pt", prefix="ema.model.1."), module[1])
    for prefix, match in [
        ("", "holds no whole module"),
        ("ema", "'ema' is no whole module; there are modules at 'ema.model'"),
        ("model", "there is no 'model' at the top"),
        ("ema.model.2", "there is no '2' below 'ema.model'"),
        ("ema.model.1.weight_ih_l0", "there is no 'weight_ih_l0' below"),
        ("epoch", "'epoch' is no whole module"),
    ]:
        with pytest.raises(ModelFileError, match=rf"m\.pt: {match}"):
            read_module(tmp_path / "m.pt", prefix=prefix)
    torch.save(module.state_dict(), tmp_path / "w.pt")
    with pytest.raises(ModelFileError, match=r"no whole module$"):
        read_module(tmp_path / "w.pt")


def test_files_of_other_kinds(tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(2, 3)), tmp_path / "s.pt")
    with pytest.raises(ModelFileError, match=r"s\.pt: .*TorchScript"):
        read_module(tmp_path / "s.pt")
    (tmp_path / "x").write_bytes(b"hello")
    with pytest.raises(ModelFileError, match=r"x: .*torch\.save"):
        read_module(tmp_path / "x")


# Refusals


def test_what_is_no_module_is_refused():
    with pytest.raises(UnsupportedLayerError, match="int"):
        module_tree(3)
    with pytest.raises(UnsupportedLayerError, match="TorchScript"):
        module_tree(torch.jit.script(nn.Linear(2, 3)))


def test_a_live_module_that_contains_itself_is_refused():
    module = nn.Sequential(nn.Linear(2, 2))
    module[0].add_module("back", module)
    with pytest.raises(GraphError, match=r"'0\.back' contains itself"):
        module_tree(module)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: nn.Linear(2, 3, device="meta"), "'weight': it is on the meta device"),
        (lambda: nn.Linear(2, 3, dtype=torch.complex64), "complex64 is not supported"),
        (lambda: nn.LazyLinear(3), "'weight': NumPy cannot read it"),
    ],
)
def test_weights_without_numbers_are_refused(make, match):
    with pytest.raises(WeightsError, match=match):
        module_tree(make())
