"""Layers from named weights of torch, against torch: weight_norm, convolutions, normalisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tolerances import FLOAT32, close
from torch import nn
from torch.nn.utils import prune

import seqcore as sc

pytestmark = pytest.mark.filterwarnings("ignore")  # torch calls the old weight_norm deprecated

OLD, NEW = nn.utils.weight_norm, nn.utils.parametrizations.weight_norm


def randomised(module, seed=0):
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.5)
    return module.eval()


def arrays(module, prefix="") -> dict[str, np.ndarray]:
    return {prefix + name: value.numpy() for name, value in module.state_dict().items()}


def run(module, x):
    with torch.no_grad():
        y = module(torch.from_numpy(x))
    return (y[0] if isinstance(y, tuple) else y).numpy()


def features(*shape):
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


# weight_norm


@pytest.mark.parametrize("norm", [OLD, NEW])
@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize("sizes", [(7, 5), (7, 1), (1, 6), (1, 1)])
def test_dense(norm, dim, sizes):
    module = randomised(norm(nn.Linear(*sizes), dim=dim))
    layer = sc.Dense.from_torch(arrays(module, "a.b."), "a.b")
    x = features(4, sizes[0])
    close(sc.Sequential([layer])(x), run(module, x), FLOAT32[1])


@pytest.mark.parametrize("norm", [OLD, NEW])
@pytest.mark.parametrize("dim", [0, 1, 2, None])
def test_convolution(norm, dim):
    module = randomised(norm(nn.Conv1d(4, 6, 3, groups=2), dim=dim))
    layer = sc.Conv1D.from_torch(arrays(module), groups=2)
    x = features(2, 9, 4)
    expected = run(module, x.swapaxes(1, 2).copy()).swapaxes(1, 2)
    close(sc.Sequential([layer])(x), expected, FLOAT32[1])


@pytest.mark.parametrize("norm", [OLD, NEW])
def test_embedding(norm):
    module = randomised(norm(nn.Embedding(5, 3)))
    ids = np.arange(5)[None]
    model = sc.Sequential([sc.Embedding.from_torch(arrays(module))])
    close(model(ids), run(module, ids), FLOAT32[1])


@pytest.mark.parametrize("norm", [OLD, NEW])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_recurrent(norm, kind):
    module = getattr(nn, kind)(5, 7, 2, batch_first=True, bidirectional=True)
    for name in [n for n, _ in module.named_parameters() if n != "weight_ih_l1"]:
        module = norm(module, name, dim=None if name.startswith("bias") else 0)
    module = randomised(module)
    said = {"activation": "tanh"} if kind == "RNN" else {}
    layer = {"LSTM": sc.LSTM, "GRU": sc.GRU, "RNN": sc.SimpleRNN}[kind].from_torch(
        arrays(module, "rnn."), "rnn", **said
    )
    x = features(3, 6, 5)
    close(sc.Sequential([layer])(x), run(module, x), FLOAT32[2])


def test_the_product_is_rounded_once():
    rng = np.random.default_rng(1)
    g, v = rng.normal(size=(9, 1)).astype(np.float16), rng.normal(size=(9, 33)).astype(np.float16)
    layer = sc.Dense.from_torch({"weight_g": g, "weight_v": v})
    wide = v.astype(np.float64)
    exact = g.astype(np.float64) * wide / np.sqrt((wide * wide).sum(axis=1, keepdims=True))
    assert np.array_equal(layer.W, exact.astype(np.float32).T)


def test_what_is_not_named_below_the_module_is_left_alone():
    # The parts of another module, deeper, are none of this one's.
    weights = {"weight": np.ones((2, 3)), "deep.weight_g": np.ones(2), "bias_of_mine": np.ones(2)}
    assert sc.Dense.from_torch(weights).units == 2


G, V = np.ones((4, 1)), np.ones((4, 3))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"weight_g": G}, "two parts of weight.*found weight_g"),
        ({"weight_v": V}, "two parts of weight.*found weight_v"),
        ({"weight_g": G, "weight_v": V, "weight": V}, "and no weight; found .*, weight"),
        ({"parametrizations.weight.original0": G}, "two parts of weight"),
        (
            {"weight_g": G, "weight_v": V, "parametrizations.weight.original0": G},
            "weight_g.*are both there|original0.*are both there",
        ),
        ({"weight_g": np.ones((3, 1)), "weight_v": V}, r"g \(3, 1\) and v \(4, 3\)"),
        ({"weight_g": np.ones(4), "weight_v": V}, r"g \(4,\) and v \(4, 3\)"),
        ({"weight_g": np.ones((4, 3)), "weight_v": V}, r"g \(4, 3\) and v"),
        ({"weight_g": G > 0, "weight_v": V}, "g is bool"),
        ({"weight_g": G, "weight_v": V * 1j}, "v is complex"),
    ],
)
def test_parts_that_do_not_belong_together(weights, message):
    with pytest.raises(sc.WeightsError, match=message):
        sc.Dense.from_torch(weights)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.utils.spectral_norm(nn.Linear(3, 2)),
        lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2)),
        lambda: nn.utils.parametrizations.orthogonal(nn.Linear(3, 3)),
        lambda: prune.l1_unstructured(nn.Linear(3, 2), "weight", 1),
        lambda: nn.utils.parametrizations.spectral_norm(NEW(nn.Linear(3, 2))),
    ],
)
def test_other_ways_to_compute_a_weight_are_refused(make):
    with pytest.raises(sc.UnsupportedLayerError, match=r"weight is computed from .*remove_"):
        sc.Dense.from_torch(arrays(make(), "head."), "head")


# Convolutions


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2},
        {"dilation": 3},
        {"groups": 2},
        {"bias": False},
        {"padding": "same"},
        {"padding": "same", "dilation": 3},
        {"padding": "valid"},
        {"padding": 1},
        {"padding": 3, "dilation": 3},
        {"padding": (1,), "stride": (1,)},
    ],
)
def test_convolutions(options):
    module = randomised(nn.Conv1d(4, 6, 3, **options))
    names = {"stride": "strides", "dilation": "dilation_rate"}
    said = {names.get(name, name): value for name, value in options.items() if name != "bias"}
    layer = sc.Conv1D.from_torch(arrays(module, "c."), "c", **said)
    x = features(2, 11, 4)
    expected = run(module, x.swapaxes(1, 2).copy()).swapaxes(1, 2)
    close(sc.Sequential([layer])(x), expected, FLOAT32[1])


@pytest.mark.parametrize("size", [2, 4])
def test_same_padding_of_even_kernels(size):
    module = randomised(nn.Conv1d(4, 6, size, padding="same"))
    layer = sc.Conv1D.from_torch(arrays(module), padding="same")
    x = features(2, 11, 4)
    expected = run(module, x.swapaxes(1, 2).copy()).swapaxes(1, 2)
    close(sc.Sequential([layer])(x), expected, FLOAT32[1])


def test_other_paddings_are_a_layer_in_front():
    module = randomised(nn.Conv1d(4, 6, 3, padding=2, stride=2))
    with pytest.raises(sc.OptionError, match=r"c: padding=2 .*ZeroPadding1D\(2\)"):
        sc.Conv1D.from_torch(arrays(module), padding=2, strides=2, name="c")
    layer = sc.Conv1D.from_torch(arrays(module), strides=2)
    model = sc.Sequential([sc.Input((None, 4)), sc.ZeroPadding1D(2), layer])
    x = features(2, 11, 4)
    expected = run(module, x.swapaxes(1, 2).copy()).swapaxes(1, 2)
    close(model(x), expected, FLOAT32[1])


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"padding": -1}, "padding"),
        ({"padding": "causal"}, "padding"),
        ({"padding": None}, "padding"),
        ({"padding": 2}, "ZeroPadding1D"),
        ({"padding": "same", "strides": 2}, "strides=1"),
        ({"strides": 0}, "strides"),
        ({"dilation_rate": "x"}, "dilation_rate"),
        ({"groups": 4}, "groups"),
    ],
)
def test_options_of_convolutions_are_checked(said, message):
    with pytest.raises(sc.OptionError, match=message):
        sc.Conv1D.from_torch({"weight": np.ones((6, 4, 3))}, **said)


def test_groups_that_do_not_fit_are_found_by_the_input():
    layer = sc.Conv1D.from_torch(arrays(nn.Conv1d(4, 6, 3, groups=2)))
    with pytest.raises(sc.WeightsError, match=r"shape \(3, 4, 6\), found \(3, 2, 6\)"):
        sc.Model(x := sc.Input((None, 4)), layer(x))


def test_kernels_of_other_convolutions_are_refused():
    with pytest.raises(sc.WeightsError, match="kernel_size"):
        sc.Conv1D.from_torch(arrays(nn.Conv2d(4, 6, 3)))


# Normalisation


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"eps": 0.5}])
@pytest.mark.parametrize("shape", [(5,), (4, 5)])
def test_layer_norm(options, shape):
    module = randomised(nn.LayerNorm(shape, **options))
    said = {"epsilon": options["eps"]} if "eps" in options else {}
    layer = sc.LayerNormalization.from_torch(arrays(module, "n."), "n.", **said)
    x = features(3, 4, 5)
    close(sc.Sequential([sc.Input((4, 5)), layer])(x), run(module, x), FLOAT32[1])


@pytest.mark.parametrize("options", [{}, {"affine": False}, {"eps": 0.5}])
def test_batch_norm(options):
    module = randomised(nn.BatchNorm1d(5, **options))
    module.running_mean.copy_(torch.arange(5.0))
    module.running_var.copy_(torch.arange(1.0, 6.0))
    said = {"epsilon": options["eps"]} if "eps" in options else {}
    weights = arrays(module, "n.")
    x = features(3, 4, 5)
    expected = run(module, x.swapaxes(1, 2).copy()).swapaxes(1, 2)
    layer = sc.BatchNormalization.from_torch(weights, "n", **said)
    close(sc.Sequential([sc.Input((None, 5)), layer])(x), expected, FLOAT32[1])
    layer = sc.BatchNormalization.from_torch(weights, "n", axis=1, **said)
    model = sc.Sequential([sc.Input((5, None)), layer])
    close(model(x.swapaxes(1, 2)), expected.swapaxes(1, 2), FLOAT32[1])


def test_norms_without_what_they_need_are_refused():
    weights = arrays(nn.BatchNorm1d(5, track_running_stats=False), "a.")
    with pytest.raises(sc.WeightsError, match=r"'n': 'a' has no running_mean; it has \['bias'"):
        sc.BatchNormalization.from_torch(weights, "a", name="n")
    with pytest.raises(sc.WeightsError, match="has no weight"):
        sc.LayerNormalization.from_torch({"a.bias": G}, "a")
