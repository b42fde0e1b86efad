"""Live torch modules and named weights against torch: directions, states, packed sequences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from tolerances import FLOAT32, close

import seqcore as sc

FEATURES, H = 5, 7
KINDS = {"RNN": sc.SimpleRNN, "LSTM": sc.LSTM, "GRU": sc.GRU}
# What named weights do not tell
SAID = {"RNN": {"activation": "tanh"}, "LSTM": {}, "GRU": {}}


def module_of(kind, seed=0, **options):
    torch.manual_seed(seed)
    module = getattr(torch.nn, kind)(FEATURES, H, **{"batch_first": True, **options})
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return module.eval()


def features(*shape):
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def run_torch(module, x, state=None):
    """Return out, h_n and perhaps c_n as arrays."""
    if state is not None:
        state = tuple(map(torch.from_numpy, state))
        state = state if isinstance(module, torch.nn.LSTM) else state[0]
    with torch.no_grad():
        out, final = module(torch.from_numpy(x), state)
    final = final if isinstance(final, tuple) else (final,)
    return [value.numpy() for value in (out, *final)]


def same(ours, theirs, depth):
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        close(mine, other, FLOAT32[depth])


@pytest.mark.parametrize(
    ("kind", "layers", "both", "bias"),
    list(itertools.product(KINDS, [1, 3], [False, True], [False, True])),
)
def test_module(kind, layers, both, bias):
    module = module_of(kind, num_layers=layers, bidirectional=both, bias=bias)
    x = features(4, 6, FEATURES)
    expected = run_torch(module, x)
    same(sc.from_torch(module, return_state=True)(x), expected, layers)
    alone = sc.from_torch(module)
    same([alone(x)], expected[:1], layers)
    counted = sum(layer.parameters for layer in alone.layers)
    assert counted == sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_torchs_initial_state_is_taken_and_survives_a_file(kind, both, tmp_path):
    module = module_of(kind, num_layers=2, bidirectional=both)
    x, count = features(3, 6, FEATURES), 4 if both else 2
    state = [features(count, 3, H) + k for k in range(1 + (kind == "LSTM"))]
    expected = run_torch(module, x, state)
    model = sc.from_torch(module, return_state=True)
    same(model(x, initial_state=state), expected, 2)
    model.save(tmp_path / "m")
    same(sc.load(tmp_path / "m")(x, initial_state=state), expected, 2)


def test_the_batch_of_a_state_is_its_second_axis():
    model = sc.from_torch(module_of("GRU", num_layers=2))
    with pytest.raises(sc.ShapeError):
        model(features(3, 6, FEATURES), initial_state=[features(3, 2, H)])
    with pytest.raises(sc.ShapeError):
        model(features(3, 6, FEATURES), initial_state=[features(3, H)])


def test_a_state_carried_over_continues_a_sequence():
    model = sc.from_torch(module_of("LSTM", num_layers=2), return_state=True)
    x = features(3, 6, FEATURES)
    whole = model(x)
    head, *state = model(x[:, :4])
    tail, *state = model(x[:, 4:], initial_state=state)
    assert np.array_equal(np.concatenate([head, tail], axis=1), whole[0])
    assert np.array_equal(state[0], whole[1])
    assert np.array_equal(state[1], whole[2])


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_are_packed_sequences(kind):
    module = module_of(kind, num_layers=2, bidirectional=True)
    x, lengths = features(4, 6, FEATURES), [6, 1, 3, 5]
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        torch.from_numpy(x), lengths, batch_first=True, enforce_sorted=False
    )
    with torch.no_grad():
        out, final = module(packed)
    out = torch.nn.utils.rnn.pad_packed_sequence(out, batch_first=True)[0]
    final = final if isinstance(final, tuple) else (final,)
    ours = sc.from_torch(module, return_state=True)(x, lengths=lengths)
    same(ours, [value.numpy() for value in (out, *final)], 2)


def test_relu_comes_from_the_module_and_must_be_said_for_weights():
    module = module_of("RNN", nonlinearity="relu", num_layers=2)
    x = features(3, 6, FEATURES)
    expected = run_torch(module, x)[:1]
    same([sc.from_torch(module)(x)], expected, 2)
    weights = module.state_dict()
    layer = sc.SimpleRNN.from_torch(weights, activation="relu")
    same([sc.Sequential([layer])(x)], expected, 2)
    tanh = sc.Sequential([sc.SimpleRNN.from_torch(weights, activation="tanh")])(x)
    assert np.abs(tanh - expected[0]).max() > 0.1
    with pytest.raises(sc.OptionError, match=r"the weights at '' do not say .*'tanh'.*'relu'"):
        sc.SimpleRNN.from_torch(weights)
    with pytest.raises(sc.OptionError, match=r"rnn: the weights at 'a\.b' do not say"):
        sc.SimpleRNN.from_torch({"a.b." + k: v for k, v in weights.items()}, "a.b", name="rnn")


def test_a_model_is_batch_first_whatever_the_module_is():
    module = module_of("GRU", batch_first=False)
    x = features(4, 6, FEATURES)
    expected = run_torch(module, np.ascontiguousarray(x.swapaxes(0, 1)))[0].swapaxes(0, 1)
    same([sc.from_torch(module)(x)], [expected], 1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_other_precisions_convert(dtype):
    module = module_of("LSTM").to(dtype)
    model = sc.from_torch(module)
    x = features(2, 3, FEATURES)
    same([model(x)], run_torch(module.float(), x)[:1], 1)


def test_later_changes_of_the_module_do_not_matter():
    module, x = module_of("GRU"), features(2, 3, FEATURES)
    model = sc.from_torch(module)
    before = model(x)
    with torch.no_grad():
        module.weight_hh_l0.zero_()
    assert np.array_equal(model.with_options(threads=1)(x), before)


def test_dropout_between_layers_is_left_out():
    module = module_of("LSTM", num_layers=2, dropout=0.5).train()
    x = features(2, 3, FEATURES)
    model = sc.from_torch(module)
    same([model(x)], run_torch(module.eval(), x)[:1], 2)


# ---- Projections --------------------------------------------------------------------------------

P = 3
projections = pytest.mark.filterwarnings("ignore:LSTM with projections")  # slower, says torch


@projections
@pytest.mark.parametrize(
    ("layers", "both", "bias"), list(itertools.product([1, 3], [False, True], [False, True]))
)
def test_a_module_with_proj_size(layers, both, bias, tmp_path):
    module = module_of("LSTM", num_layers=layers, bidirectional=both, bias=bias, proj_size=P)
    x, count = features(4, 6, FEATURES), layers * (1 + both)
    state = [features(count, 4, P), features(count, 4, H) + 1]
    model = sc.from_torch(module, return_state=True)
    model.save(tmp_path / "m")
    model.save(tmp_path / "packed", packed=True)
    loaded = [sc.load(tmp_path / "m"), sc.load(tmp_path / "packed", mmap=True)]
    for given in (state, None):
        expected = run_torch(module, x, given)
        found = model(x, initial_state=given)
        same(found, expected, layers)
        for other in loaded:
            for a, b in zip(other(x, initial_state=given), found, strict=True):
                assert np.array_equal(a, b)
    assert loaded[1].plan["bytes_in_place"] == loaded[1].plan["bytes"]
    counted = sum(layer.parameters for layer in model.layers)
    assert counted == sum(parameter.numel() for parameter in module.parameters())
    for wrong in ([features(count, 4, H), state[1]], [state[0], features(count, 4, P)]):
        with pytest.raises(sc.ShapeError):
            model(x, initial_state=wrong)


@projections
@pytest.mark.parametrize("both", [False, True])
def test_named_weights_with_proj_size(both):
    module = module_of("LSTM", num_layers=2, bidirectional=both, proj_size=P)
    weights = {f"rnn.{name}": value for name, value in module.state_dict().items()}
    x, lengths = features(4, 6, FEATURES), [6, 1, 3, 5]
    out, *final = run_torch(module, x)
    each = [value for states in zip(*final, strict=True) for value in states]
    layer = sc.LSTM.from_torch(weights, "rnn", return_state=True)
    same(sc.Sequential([layer])(x), [out, *each], 2)
    last = sc.Sequential([sc.LSTM.from_torch(weights, "rnn", return_sequences=False)])
    same([last(x)], [np.concatenate(list(final[0][-1 - both :]), axis=-1)], 2)
    cut = last(x, lengths=lengths)
    for k, n in enumerate(lengths):
        assert np.array_equal(cut[k], last(x[k : k + 1, :n])[0])


@projections
def test_streams_with_proj_size():
    module = module_of("LSTM", num_layers=2, proj_size=P)
    model = sc.Sequential([sc.LSTM.from_torch(module.state_dict(), name="rnn")])
    assert model.states == ("rnn:l0:h0", "rnn:l0:c0", "rnn:h0", "rnn:c0")
    x = features(3, 6, FEATURES)
    whole, stream = model(x), model.stream(3)
    assert [state.shape for state in stream.state] == [(3, P), (3, H), (3, P), (3, H)]
    for t in range(6):
        assert np.array_equal(stream.step(x[:, t]), whole[:, t])
        other = model.stream(3)
        other.load_state(stream.save_state())
        stream = other
    _, h_n, c_n = run_torch(module, x)
    same(stream.state, [h_n[0], c_n[0], h_n[1], c_n[1]], 2)


# ---- Named weights ------------------------------------------------------------------------------


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_layer_from_named_weights(kind, both):
    module = module_of(kind, num_layers=2, bidirectional=both)
    weights = {f"encoder.rnn.{name}": value for name, value in module.state_dict().items()}
    x = features(4, 6, FEATURES)
    out, *final = run_torch(module, x)
    layer = KINDS[kind].from_torch(
        weights, "encoder.rnn", return_state=True, name="rnn", **SAID[kind]
    )
    symbol = sc.Input((None, FEATURES))
    ours = sc.Model(symbol, list(layer(symbol)))(x)
    # one (B, H) for each cell, an LSTM's h before its c
    each = [value for states in zip(*final, strict=True) for value in states]
    same(ours, [out, *each], 2)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_without_sequences_it_is_the_last_layers_final_state(kind, both):
    module = module_of(kind, num_layers=2, bidirectional=both)
    x, lengths = features(4, 6, FEATURES), np.array([6, 2, 1, 4])
    h_n = run_torch(module, x)[1]
    directions = 1 + both
    layer = KINDS[kind].from_torch(module.state_dict(), return_sequences=False, **SAID[kind])
    model = sc.Sequential([layer])
    same([model(x)], [np.concatenate(list(h_n[-directions:]), axis=-1)], 2)
    for k, n in enumerate(lengths):
        assert np.array_equal(model(x, lengths=lengths)[k], model(x[k : k + 1, :n])[0])


def test_states_of_named_weights_are_one_for_each_cell():
    module = module_of("LSTM", num_layers=2)
    model = sc.Sequential([sc.LSTM.from_torch(module.state_dict(), name="rnn")])
    assert model.states == ("rnn:l0:h0", "rnn:l0:c0", "rnn:h0", "rnn:c0")
    x, state = features(3, 6, FEATURES), features(2, 2, 3, H)
    ours = model(x, initial_state=[state[0, 0], state[1, 0], state[0, 1], state[1, 1]])
    same([ours], run_torch(module, x, list(state))[:1], 2)


def test_states_may_come_from_the_graph():
    module = module_of("GRU", num_layers=2, bidirectional=True)
    layer = sc.GRU.from_torch(module.state_dict())
    symbol, initial = sc.Input((None, FEATURES)), [sc.Input((H,)) for _ in range(4)]
    model = sc.Model([symbol, *initial], layer(symbol, initial_state=initial))
    x, state = features(3, 6, FEATURES), features(4, 3, H)
    same([model(x, *state)], run_torch(module, x, [state])[:1], 2)


def test_every_frame_of_a_frame_is_a_sequence():
    module = module_of("LSTM", num_layers=2, bidirectional=True)
    layer = sc.LSTM.from_torch(module.state_dict(), return_sequences=False)
    model = sc.Sequential([sc.TimeDistributed(layer)])
    x = features(2, 4, 6, FEATURES)
    h_n = run_torch(module, x.reshape(8, 6, FEATURES))[1]
    same([model(x)], [np.concatenate([h_n[2], h_n[3]], axis=-1).reshape(2, 4, 2 * H)], 2)
    assert model.states == ()


def test_a_cells_names_have_no_layer():
    torch.manual_seed(1)
    cell = torch.nn.LSTMCell(FEATURES, H)
    x = features(3, 1, FEATURES)
    with torch.no_grad():
        h, _ = cell(torch.from_numpy(x[:, 0]))
    model = sc.Sequential([sc.LSTM.from_torch(cell.state_dict(), return_sequences=False)])
    same([model(x)], [h.numpy()], 1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("kind", "torch_kind", "options"),
    [
        ("LSTMCell", "LSTMCell", {}),
        ("GRUCell", "GRUCell", {}),
        ("SimpleRNNCell", "RNNCell", {}),
        ("SimpleRNNCell", "RNNCell", {"activation": "relu"}),
    ],
)
def test_a_cell_is_a_cell_here(kind, torch_kind, options, bias):
    torch.manual_seed(1)
    said = {"nonlinearity": options.get("activation", "tanh")} if kind == "SimpleRNNCell" else {}
    cell = getattr(torch.nn, torch_kind)(FEATURES, H, bias=bias, **said)
    given = {"activation": said["nonlinearity"]} if said else {}
    weights = torch.nn.ModuleDict({"cell": cell}).state_dict()
    made = getattr(sc, kind).from_torch(weights, "cell", **given, name="a_cell")
    x, states = features(5, FEATURES), [features(5, H) for _ in range(made.states)]
    frame, before = sc.Input((FEATURES,)), [sc.Input((H,)) for _ in states]
    y, *after = made(frame, before)
    model = sc.Model([frame, *before], [y, *after])
    with torch.no_grad():
        old = tuple(map(torch.from_numpy, states))
        new = cell(torch.from_numpy(x), old if len(old) > 1 else old[0])
    expected = [t.numpy() for t in (new if len(old) > 1 else [new])]
    found = model(x, *states)
    same(found, [expected[0], *expected], 1)
    assert sum(layer.parameters for layer in model.layers) == sum(
        p.numel() for p in cell.parameters()
    )
    assert made.name == "a_cell"


def test_weights_of_several_layers_are_no_cell():
    for options, found in (({"num_layers": 3}, "3 and 1"), ({"bidirectional": True}, "1 and 2")):
        weights = {f"a.{k}": v for k, v in torch.nn.GRU(4, 6, **options).state_dict().items()}
        with pytest.raises(sc.WeightsError, match=f"GRUCell.*one direction; 'a' holds {found}"):
            sc.GRUCell.from_torch(weights, "a")
    one = torch.nn.GRU(4, 6)
    assert sc.GRUCell.from_torch(one.state_dict()).layer.units == 6
    with pytest.raises(sc.WeightsError, match=r"'LSTMCell', weight_hh_l0: .* as nn\.GRU has"):
        sc.LSTMCell.from_torch(one.state_dict())
    with pytest.raises(sc.OptionError, match=r"SimpleRNNCell: .* nonlinearity"):
        sc.SimpleRNNCell.from_torch(torch.nn.RNNCell(4, 6).state_dict())


# ---- Refusals -----------------------------------------------------------------------------------


class Own(torch.nn.LSTM):
    """A subclass, whose forward may do anything."""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.nn.LSTMCell(4, 6), "LSTMCell"),
        (lambda: Own(4, 6), "Own"),
        (lambda: torch.nn.Sequential(Own(4, 6)), "Own"),
        (lambda: 3, "int"),
    ],
)
def test_other_modules_are_refused_by_name(make, message):
    with pytest.raises(sc.UnsupportedLayerError, match=message) as caught:
        sc.from_torch(make())
    assert len(caught.value.layers) == 1


def test_hooks_are_refused_for_they_may_change_results():
    module = torch.nn.LSTM(4, 6)
    module.register_forward_hook(lambda *_: None)
    with pytest.raises(sc.UnsupportedLayerError, match="hooks"):
        sc.from_torch(module)


def test_weights_that_are_not_there_are_refused():
    with pytest.raises(sc.WeightsError, match="meta"):
        sc.from_torch(torch.nn.LSTM(4, 6, device="meta"))


def test_a_module_with_weight_norm_has_its_product():
    module = module_of("LSTM")
    torch.nn.utils.parametrizations.weight_norm(module, "weight_hh_l0")
    with torch.no_grad():
        module.parametrizations.weight_hh_l0.original0.mul_(1.5)
    x = features(2, 3, FEATURES)
    same([sc.from_torch(module)(x)], run_torch(module, x)[:1], 1)


def test_any_other_parametrization_is_refused():
    module = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(4, 6))
    with pytest.raises(sc.UnsupportedLayerError, match="parametrization of weight"):
        sc.from_torch(module)


def test_weights_outside_of_float32_are_refused():
    module = torch.nn.LSTM(3, 2, dtype=torch.float64)
    with torch.no_grad():
        module.weight_hh_l0[0, 0] = 1e300
    for make in (lambda: sc.from_torch(module), lambda: sc.LSTM.from_torch(module.state_dict())):
        with pytest.raises(sc.WeightsError, match=r"weight_hh_l0: .*float32's range"):
            make()
