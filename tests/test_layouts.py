"""Gate orders and layouts against the frameworks' own modules, computed in float64 by reference.py.

Weights are multiples of 2**-10, which float32 holds exactly and whose sums it does too: what is
left is the layout.
"""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import pytest
import torch
from tolerances import FLOAT64, close

import seqcore as sc
from seqcore import layouts, reference

KINDS = {"SimpleRNN": torch.nn.RNN, "LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU}
ACTIVATIONS = {"activation": ["tanh", 0, 0]}
GATED = ACTIVATIONS | {"recurrent_activation": ["sigmoid", 0, 0]}


@pytest.fixture
def keras_in_float64(monkeypatch):
    """Keras over torch computes some ops in float32, whatever the dtype, unless told so."""
    monkeypatch.setitem(keras.src.backend.common.dtypes.BIT64_TO_BIT32_DTYPE, "float64", "float64")
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(before)


def exact(rng, *shape):
    return rng.integers(-1024, 1024, shape) / 1024


def torch_module(kind, rng, features=5, units=7, **options):
    module = KINDS[kind](features, units, batch_first=True, dtype=torch.float64, **options)
    for parameter in module.parameters():
        parameter.data = torch.from_numpy(exact(rng, *parameter.shape))
    return module


def run_cell(kind, cell, x, **options):
    """Evaluate canonical weights by their definition."""
    H = len(cell.U)
    b = np.zeros(layouts.GATES[kind] * H) if cell.b is None else np.float64(cell.b)
    if kind == "SimpleRNN":
        return reference.simple_rnn(x, W=cell.W, U=cell.U, b=b, **ACTIVATIONS, **options)
    if kind == "LSTM":
        return reference.lstm(x, W=cell.W, U=cell.U, b=b, **GATED, **options)
    bn = None
    if b.ndim == 2:
        bn = b[1, 2 * H :]
        b = b[0] + np.r_[b[1, : 2 * H], np.zeros(H)]
    after = cell.b is None or bn is not None
    return reference.gru(x, W=cell.W, U=cell.U, b=b, bn=bn, reset_after=after, **GATED, **options)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_torch_single_layer(kind, bias):
    rng = np.random.default_rng(1)
    module = torch_module(kind, rng, bias=bias)
    ((cell,),) = layouts.torch_recurrent(kind, module.state_dict(), "", kind)
    x = rng.normal(size=(3, 6, 5))
    close(run_cell(kind, cell, x)[0], module(torch.from_numpy(x))[0].detach(), FLOAT64)
    assert cell.parameters == sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_torch_layers_and_directions(kind):
    rng = np.random.default_rng(2)
    module = torch_module(kind, rng, num_layers=2, bidirectional=True)
    weights = {f"encoder.rnn.{name}": value for name, value in module.state_dict().items()}
    rows = layouts.torch_recurrent(kind, weights, "encoder.rnn", kind)
    y = x = rng.normal(size=(3, 6, 5))
    for forward, backward in rows:
        ahead = run_cell(kind, forward, y)[0]
        back = run_cell(kind, backward, y, reverse=True, realign=True)[0]
        y = np.concatenate([ahead, back], axis=-1)
    close(y, module(torch.from_numpy(x))[0].detach(), FLOAT64)


@pytest.mark.parametrize(
    ("kind", "options"),
    [(kind, options) for kind in KINDS for options in ({}, {"use_bias": False})]
    + [("GRU", {"reset_after": False})],
)
@pytest.mark.usefixtures("keras_in_float64")
def test_keras(kind, options):
    rng = np.random.default_rng(3)
    layer = getattr(keras.layers, kind)(7, return_sequences=True, dtype="float64", **options)
    layer.build((None, None, 5))
    arrays = [exact(rng, *array.shape) for array in layer.get_weights()]
    layer.set_weights(arrays)
    cell = layouts.keras_recurrent(kind, arrays, kind)
    x = rng.normal(size=(3, 6, 5))
    close(run_cell(kind, cell, x)[0], layer(x).detach().numpy(), FLOAT64)
    assert cell.parameters == layer.count_params()


def test_torch_linear_and_embedding():
    linear = torch.nn.Linear(3, 2)
    W, b = layouts.torch_dense(
        {"head.weight": linear.weight.detach(), "head.bias": linear.bias.detach()}, "head", "d"
    )
    x = np.random.default_rng(4).normal(size=(5, 3)).astype(np.float32)
    expected = linear.double()(torch.from_numpy(x).double()).detach()
    close(np.float64(x) @ np.float64(W) + np.float64(b), expected, FLOAT64)


def test_reordering_moves_whole_gates():
    z_r_h = np.repeat([[10.0, 20.0, 30.0]], 2, axis=1).reshape(1, 6)
    assert layouts.reorder_gates(z_r_h, [1, 0, 2]).tolist() == [[20, 20, 10, 10, 30, 30]]


# ---- Prefixes and names -------------------------------------------------------------------------


def lstm_weights(rng, prefix=""):
    module = torch_module("LSTM", rng)
    return {prefix + name: value.numpy() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("prefix", ["encoder", "encoder."])
def test_a_prefix_may_end_with_a_dot(prefix):
    weights = lstm_weights(np.random.default_rng(5), "encoder.") | {"encoder2.weight_ih_l0": 3}
    ((cell,),) = layouts.torch_recurrent("LSTM", weights, prefix, "LSTM")
    assert np.array_equal(cell.W, weights["encoder.weight_ih_l0"].T)


def test_names_of_a_cell_have_no_layer():
    weights = lstm_weights(np.random.default_rng(6))
    short = {name.removesuffix("_l0"): value for name, value in weights.items()}
    ((cell,),) = layouts.torch_recurrent("LSTM", short, "", "LSTM")
    assert np.array_equal(cell.U, weights["weight_hh_l0"].T)


def wrong(change):
    weights = lstm_weights(np.random.default_rng(7), "a.")
    change(weights)
    return weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("a.weight_ih_l0"), "weight_ih_l0 missing"),
        (lambda w: w.pop("a.bias_hh_l0"), "bias_hh_l0 missing"),
        (lambda w: w.update({"a.weight_ih_l1": 0}), "weight_hh_l1 missing"),
        (lambda w: w.update({"a.weight_ih_l2": 0}), "weight_ih_l1.*missing"),
        (lambda w: w.update({"a.weight_ih_l0_reverse": 0}), "weight_hh_l0_reverse missing"),
        (lambda w: w.update({"a.weight_ih": 0}), "with and without _l0"),
        (lambda w: w.update({"a.weight_hh_l0": np.zeros((21, 7))}), r"found \(21, 7\), as nn.GRU"),
        (lambda w: w.update({"a.weight_hh_l0": np.zeros((7, 7))}), "as nn.RNN has"),
        (lambda w: w.update({"a.weight_hh_l0": np.zeros(7)}), "weight_hh_l0: expected shape"),
        (lambda w: w.update({"a.weight_hh_l0": np.zeros((0, 0))}), "weight_hh_l0: expected shape"),
        (lambda w: w.update({"a.weight_ih_l0": np.zeros((27, 5))}), r"weight_ih_l0.*\(28, any\)"),
        (lambda w: w.update({"a.bias_ih_l0": np.zeros(27)}), r"bias_ih_l0: expected shape \(28,\)"),
        (lambda w: w.clear(), "no weight begins with 'a.'"),
    ],
)
def test_wrong_torch_weights_name_what_is_wrong(change, message):
    with pytest.raises(sc.WeightsError, match=message) as caught:
        layouts.torch_recurrent("LSTM", wrong(change), "a", "encoder")
    assert "'encoder'" in str(caught.value)


def test_a_layer_must_take_what_the_one_before_gives():
    rng = np.random.default_rng(8)
    weights = {
        name: value.numpy()
        for name, value in torch_module("GRU", rng, num_layers=2).state_dict().items()
    }
    weights["weight_ih_l1"] = np.zeros((21, 8))
    with pytest.raises(sc.WeightsError, match=r"weight_ih_l1: expected shape \(21, 7\), found"):
        layouts.torch_recurrent("GRU", weights, "", "GRU")


def test_projections_are_refused():
    weights = torch.nn.LSTM(4, 6, proj_size=3).state_dict()
    with pytest.raises(sc.UnsupportedLayerError, match="proj_size") as caught:
        layouts.torch_recurrent("LSTM", weights, "", "encoder")
    assert caught.value.layers[0][0] == "encoder"


@pytest.mark.parametrize(
    ("kind", "shapes", "message"),
    [
        ("LSTM", [(5, 28)], "found 1 arrays"),
        ("LSTM", [(5, 28), (7, 28), (28,), (1,)], "found 4 arrays"),
        ("LSTM", [(5, 28), (7, 21), (28,)], "recurrent_kernel"),
        ("LSTM", [(5, 27), (7, 28), (28,)], "kernel: expected"),
        ("LSTM", [(5, 28), (7, 28), (56,)], "CuDNNLSTM"),
        ("GRU", [(5, 21), (7, 21), (42,)], "CuDNNGRU"),
        ("GRU", [(5, 21), (7, 21), (3, 21)], r"bias: expected shape \(2, 21\)"),
        ("SimpleRNN", [(5, 7), (7, 7), (14,)], r"bias: expected shape \(7,\)"),
        ("SimpleRNN", [(5, 7), (0, 0)], "recurrent_kernel|kernel"),
    ],
)
def test_wrong_keras_weights_name_what_is_wrong(kind, shapes, message):
    with pytest.raises(sc.WeightsError, match=message):
        layouts.keras_recurrent(kind, [np.zeros(shape) for shape in shapes], "encoder")


# ---- weight() -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f4", "f8", "i4", "u1"])
def test_a_weight_becomes_native_float32(dtype):
    given = np.arange(12, dtype=dtype).reshape(3, 4)[:, ::2]
    made = layouts.weight(given, "layer", "W", (3, None))
    assert made.dtype == np.float32
    assert made.flags.c_contiguous
    assert not made.flags.writeable
    assert np.array_equal(made, given)


def test_a_weight_is_a_read_only_copy():
    given = np.ones((2, 2), np.float32)
    made = layouts.weight(given, "layer", "W", (2, 2))
    given[0, 0] = 5
    assert made[0, 0] == 1
    view = given.view()
    view.flags.writeable = False
    made = layouts.weight(view, "layer", "W", (2, 2))
    given[:] = 7
    assert made[0, 0] == 5
    assert not made.flags.writeable


def test_a_weight_beyond_float32_is_refused():
    with pytest.raises(sc.WeightsError, match="float32's range"):
        layouts.weight(np.array([1e300]), "layer", "b", (1,))


@pytest.mark.parametrize("dtype", [complex, object, str, bool])
def test_a_weight_is_made_of_real_numbers(dtype):
    with pytest.raises(sc.DtypeError, match="'layer', weight b"):
        layouts.weight(np.array([1], dtype), "layer", "b", (1,))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_torch_tensors_of_any_float_dtype(dtype):
    """A state_dict and named_parameters, which need a gradient, as they are."""
    torch.manual_seed(0)
    module = torch.nn.LSTM(3, 2).to(getattr(torch, dtype))
    for named in (module.state_dict(), dict(module.named_parameters())):
        ((cell,),) = layouts.torch_recurrent("LSTM", named, "", "LSTM")
        np.testing.assert_array_equal(cell.W, module.weight_ih_l0.detach().float().numpy().T)
    table = torch.nn.Embedding(4, 3, dtype=getattr(torch, dtype))
    layer = sc.Embedding.from_torch(dict(table.named_parameters()))
    np.testing.assert_array_equal(layer.W, table.weight.detach().float().numpy())


def test_torch_tensors_in_keras_order_and_as_arguments():
    arrays = [torch.rand(3, 6, requires_grad=True), torch.rand(2, 6), torch.rand(2, 6)]
    plain = [array.detach().numpy() for array in arrays]
    x = np.ones((1, 4, 3), np.float32)
    for make in (lambda given: sc.GRU(*given), sc.GRU.from_keras):
        layers = make(arrays), make(plain)
        found, expected = (sc.Sequential([layer]) for layer in layers)
        np.testing.assert_array_equal(found(x), expected(x))
        assert found.layers[0].parameters == 3 * 6 + 2 * 6 + 2 * 6
