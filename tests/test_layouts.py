"""Gate orders and layouts against the frameworks' own modules, computed in float64 by reference.py.

Weights are multiples of 2**-10, which float32 holds exactly and whose sums it does too: what is
left is the layout.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import pytest
import torch
from tolerances import FLOAT32, FLOAT64, close

import seqcore as sc
from seqcore import layouts, reference
from seqcore.formats.keras_archive import read_keras_weights

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
    H = cell.W.shape[1] // layouts.GATES[kind]
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


# ---- Projections --------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
def test_projections_of_torch(bias):
    rng = np.random.default_rng(10)
    module = torch_module("LSTM", rng, num_layers=2, bidirectional=True, bias=bias, proj_size=3)
    rows = layouts.torch_recurrent("LSTM", module.state_dict(), "", "LSTM")
    y = x = rng.normal(size=(3, 6, 5))
    for forward, backward in rows:
        ahead = run_cell("LSTM", forward, y, P=forward.P)[0]
        back = run_cell("LSTM", backward, y, P=backward.P, reverse=True, realign=True)[0]
        y = np.concatenate([ahead, back], axis=-1)
    close(y, module(torch.from_numpy(x))[0].detach(), FLOAT64)
    counted = sum(cell.parameters for row in rows for cell in row)
    assert counted == sum(p.numel() for p in module.parameters())


def projected(change):
    module = torch.nn.LSTM(5, 7, num_layers=2, bidirectional=True, proj_size=3)
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    change(weights)
    return weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("weight_hr_l0"), "weight_hr_l0 missing"),
        (lambda w: w.pop("weight_hr_l1_reverse"), "weight_hr_l1_reverse missing"),
        (lambda w: w.update(weight_hr_l0=np.zeros(7)), r"weight_hr_l0: .*\(proj_size, units\)"),
        (lambda w: w.update(weight_hr_l0=np.zeros((3, 8))), r"weight_hh_l0: .*\(32, 3\)"),
        (lambda w: w.update(weight_hr_l1=np.zeros((4, 7))), r"weight_hh_l1: .*\(28, 4\).*found"),
        (lambda w: w.update(weight_hh_l1=np.zeros((28, 7))), r"weight_hh_l1: .*found \(28, 7\)"),
        (lambda w: w.update(weight_ih_l1=np.zeros((28, 14))), r"weight_ih_l1: .*\(28, 6\)"),
        (lambda w: w.update(bias_ih_l0=np.zeros(12)), r"bias_ih_l0: expected shape \(28,\)"),
    ],
)
def test_wrong_projections_name_what_is_wrong(change, message):
    with pytest.raises(sc.WeightsError, match=message):
        layouts.torch_recurrent("LSTM", projected(change), "", "encoder")


@pytest.mark.parametrize("kind", ["SimpleRNN", "GRU"])
def test_only_an_lstm_has_a_projection(kind):
    weights = torch_module(kind, np.random.default_rng(11)).state_dict()
    weights["weight_hr_l0"] = np.zeros((3, 7))
    with pytest.raises(sc.WeightsError, match=r"'encoder'.*proj_size.*which only nn.LSTM has"):
        layouts.torch_recurrent(kind, weights, "", "encoder")


@pytest.mark.parametrize(
    ("kind", "shapes", "message"),
    [
        ("LSTM", [(5, 28)], "found 1 arrays"),
        ("LSTM", [(5, 28), (7, 28), (28,), (1,)], "found 4 arrays"),
        ("LSTM", [(5, 28), (7, 21), (28,)], "recurrent_kernel"),
        ("LSTM", [(5, 27), (7, 28), (28,)], "kernel: expected"),
        ("LSTM", [(5, 28), (7, 28), (57,)], r"bias: expected shape \(28,\)"),
        (
            "LSTM",
            [(5, 7), (7, 7), (7,)] * 3 + [(5, 7), (7, 7), (6,)],
            r"b_o: expected shape \(7,\)",
        ),
        ("GRU", [(5, 7), (7, 7), (7,)] * 2 + [(5, 7), (7, 6), (7,)], r"U_h: expected shape"),
        ("GRU", [(5, 7), (7, 7), (7,)] * 4, "or Keras 1's 9 of its gates.*found 12"),
        ("SimpleRNN", [(5, 7), (7, 7), (7,)] * 3, "found 9 arrays"),
        ("GRU", [(5, 21), (7, 21), (3, 21)], r"bias: expected shape \(2, 21\)"),
        ("SimpleRNN", [(5, 7), (7, 7), (14,)], r"bias: expected shape \(7,\)"),
        ("SimpleRNN", [(5, 7), (0, 0)], "recurrent_kernel|kernel"),
    ],
)
def test_wrong_keras_weights_name_what_is_wrong(kind, shapes, message):
    with pytest.raises(sc.WeightsError, match=message):
        layouts.keras_recurrent(kind, [np.zeros(shape) for shape in shapes], "encoder")


# ---- CuDNN and Keras 1 --------------------------------------------------------------------------

HARD_SIGMOID = sc.ActivationSpec("hard_sigmoid", 0.2, 0.5)  # as before Keras 3


def golden(name):
    """Return weights by layer, inputs and outputs of a file that another Keras wrote."""
    path = Path(__file__).parent / "golden" / name
    with np.load(f"{path}.npz") as arrays:
        inputs, outputs = ([arrays[key] for key in sorted(arrays) if key[0] == k] for k in "xy")
    return read_keras_weights(f"{path}.h5").weights, inputs, outputs


def arrays_of(pairs):
    return [array for _, array in pairs]


def test_cudnn_layers_are_the_plain_ones_of_keras_2():
    """The outputs are those of the LSTM and the GRU into which Keras 2.2.4 loaded this file."""
    weights, (x,), (expected,) = golden("keras2.2.4_cudnn")
    lstm, gru = (arrays_of(pairs) for pairs in weights.values() if pairs)
    for option in ({}, {"cudnn": True}):
        both = sc.Bidirectional.from_keras(lstm, sc.LSTM, return_sequences=True, **option)
        model = sc.Sequential([both, sc.GRU.from_keras(gru, **option)])
        close(model(x), expected, FLOAT32[2])
    assert both.parameters((None, 3)) == sum(array.size for array in lstm)


def test_cudnn_is_told_by_the_bias_or_by_the_caller():
    rng = np.random.default_rng(5)
    arrays = [exact(rng, 3, 8), exact(rng, 2, 8), exact(rng, 16)]
    cell = layouts.keras_recurrent("LSTM", arrays, "l")
    for k in range(4):
        block = arrays[0][:, 2 * k : 2 * k + 2]
        np.testing.assert_array_equal(cell.W[:, 2 * k : 2 * k + 2], block.reshape(2, 3).T)
        block = arrays[1][:, 2 * k : 2 * k + 2]
        np.testing.assert_array_equal(cell.U[:, 2 * k : 2 * k + 2], block.T)
    np.testing.assert_array_equal(cell.b, arrays[2][:8] + arrays[2][8:])
    with pytest.raises(sc.WeightsError, match=r"bias: expected shape \(8,\)"):
        layouts.keras_recurrent("LSTM", arrays, "l", cudnn=False)
    with pytest.raises(sc.WeightsError, match=r"bias: expected shape \(16,\)"):
        layouts.keras_recurrent("LSTM", [*arrays[:2], arrays[2][:8]], "l", cudnn=True)
    with pytest.raises(sc.WeightsError, match="there is none"):
        layouts.keras_recurrent("LSTM", arrays[:2], "l", cudnn=True)
    with pytest.raises(sc.OptionError, match="no CuDNN layer"):
        layouts.keras_recurrent("SimpleRNN", [np.ones((2, 2))] * 2, "l", cudnn=True)
    with pytest.raises(sc.OptionError, match="cudnn: expected"):
        layouts.keras_recurrent("LSTM", arrays, "l", cudnn="yes")


@pytest.mark.parametrize("named", [False, True])
def test_gates_of_keras_1(named):
    """One array a gate, in an order of its own. The last row is the one without a mask."""
    weights, (x,), (expected,) = golden("keras1_recurrent")

    def layer(kind, name, **options):
        if named:
            cell = layouts.keras1_recurrent(kind.__name__, dict(weights[name]), name)
            return kind.from_cell(cell, **options)
        return kind.from_keras(arrays_of(weights[name]), **options)

    model = sc.Sequential(
        [
            layer(sc.LSTM, "lstm_1", recurrent_activation=HARD_SIGMOID, return_sequences=True),
            layer(sc.GRU, "gru_1", return_sequences=True),
            layer(sc.SimpleRNN, "simplernn_1", activation="relu"),
            sc.Dense.from_keras(arrays_of(weights["dense_1"]), activation="softmax"),
        ]
    )
    close(model(x[3:]), expected[3:], FLOAT32[3])


def test_gates_of_keras_1_side_by_side():
    """`consume_less="gpu"`: the three arrays of Keras 2 by other names."""
    weights = golden("keras1_convolution")[0]
    for kind in ("LSTM", "GRU"):
        (pairs,) = (pairs for name, pairs in weights.items() if name.startswith(kind.lower()))
        cell = layouts.keras1_recurrent(kind, dict(reversed(pairs)), kind)
        expected = layouts.keras_recurrent(kind, arrays_of(pairs), kind)
        for found, wanted in zip(cell, expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("W_i U_i b_i", "expected the weights W_i, U_i, b_i, W_c"),
        ("W U", "expected the weights W, U, b; found U, W"),
        ("W U b b_i", "found U, W, b, b_i"),
        ("W U b kernel:0", "'kernel:0' is no weight of Keras 1's LSTM"),
        ("a_W b_W", "'b_W' is no weight"),
        ("", "found none"),
    ],
)
def test_names_that_are_not_keras_1(names, message):
    with pytest.raises(sc.WeightsError, match=message):
        layouts.keras1_recurrent("LSTM", {name: np.ones((1, 1)) for name in names.split()}, "l")


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
