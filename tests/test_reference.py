"""The float64 reference against torch and SciPy, in float64; lengths; whole graphs.

Not here: Keras (test_reference_keras.py), and the compiled core, which tests/parity compares.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import pytest
import scipy.special
import torch
from canonical import SIGMOID, TANH, from_torch, torch_stack
from tolerances import FLOAT64, close

from seqcore import reference as ref

LENGTHS = np.array([5, 9, 1, 0, 4])
B, T, IN, H = 5, 9, 6, 7


@pytest.fixture
def rng():
    return np.random.default_rng(20)


def as_torch(x):
    return torch.from_numpy(np.ascontiguousarray(x))


# ---- Activations ---------------------------------------------------------------------------------


def as_numpy(x):
    return keras.ops.convert_to_tensor(x).detach().numpy()


ACTIVATIONS = [
    (("linear", 0, 0), lambda x: x),
    (("tanh", 0, 0), lambda x: 2 * scipy.special.expit(2 * x) - 1),
    (("sigmoid", 0, 0), scipy.special.expit),
    (("relu", 0, 0), lambda x: as_numpy(torch.relu(as_torch(x)))),
    # torch switches to x itself above 20, where the difference is 2e-9: nothing in float32
    (("softplus", 0, 0), lambda x: -scipy.special.log_expit(-x)),
    (("softsign", 0, 0), lambda x: as_numpy(keras.activations.softsign(as_torch(x)))),
    (("exponential", 0, 0), lambda x: scipy.special.expm1(x) + 1),
    (("silu", 0, 0), lambda x: as_numpy(keras.activations.silu(as_torch(x)))),
    (("hard_sigmoid", 1 / 6, 0.5), lambda x: as_numpy(keras.activations.hard_sigmoid(as_torch(x)))),
    (
        ("hard_sigmoid", 1 / 6, 0.5),
        lambda x: as_numpy(torch.nn.functional.hardsigmoid(as_torch(x))),
    ),
    (("hard_sigmoid", 0.2, 0.5), lambda x: np.interp(x, [-2.5, 2.5], [0, 1])),
    (("leaky_relu", 0.2, 0), lambda x: as_numpy(keras.activations.leaky_relu(as_torch(x)))),
    (("leaky_relu", 0.01, 0), lambda x: as_numpy(torch.nn.functional.leaky_relu(as_torch(x)))),
    (("elu", 1.0, 0), lambda x: as_numpy(keras.activations.elu(as_torch(x)))),
    (("elu", 0.7, 0), lambda x: as_numpy(torch.nn.functional.elu(as_torch(x), 0.7))),
    (("selu", 0, 0), lambda x: as_numpy(torch.selu(as_torch(x)))),
    (("gelu", 0, 0), lambda x: x * scipy.special.ndtr(x)),
    (
        ("gelu_tanh", 0, 0),
        lambda x: as_numpy(torch.nn.functional.gelu(as_torch(x), approximate="tanh")),
    ),
    (("relu6", 0, 0), lambda x: as_numpy(torch.nn.functional.relu6(as_torch(x)))),
    (("celu", 0.7, 0), lambda x: as_numpy(torch.nn.functional.celu(as_torch(x), 0.7))),
    (("log_sigmoid", 0, 0), lambda x: scipy.special.log_expit(x)),
    (("mish", 0, 0), lambda x: x * np.tanh(-scipy.special.log_expit(-x))),
    (("hard_silu", 0, 0), lambda x: as_numpy(torch.nn.functional.hardswish(as_torch(x)))),
    (("hard_tanh", 0, 0), lambda x: as_numpy(torch.nn.functional.hardtanh(as_torch(x)))),
    (("hard_shrink", 0.7, 0), lambda x: as_numpy(torch.nn.functional.hardshrink(as_torch(x), 0.7))),
    (("soft_shrink", 0.7, 0), lambda x: as_numpy(torch.nn.functional.softshrink(as_torch(x), 0.7))),
    (("tanh_shrink", 0, 0), lambda x: as_numpy(torch.nn.functional.tanhshrink(as_torch(x)))),
    (
        ("threshold", 0.7, -2),
        lambda x: as_numpy(torch.nn.functional.threshold(as_torch(x), 0.7, -2)),
    ),
    (("squareplus", 3, 0), lambda x: as_numpy(keras.ops.squareplus(as_torch(x), 3.0))),
    (("sparse_plus", 0, 0), lambda x: as_numpy(keras.activations.sparse_plus(as_torch(x)))),
    (("affine", -0.7, 0.3), lambda x: np.polyval([-0.7, 0.3], x)),
    (
        ("scaled_tanh", 1.7159, 2 / 3),
        lambda x: 1.7159 * (2 * scipy.special.expit(4 / 3 * x) - 1),
    ),
    (("softmax", 0, 0), lambda x: scipy.special.softmax(x, axis=-1)),
    (("log_softmax", 0, 0), lambda x: scipy.special.log_softmax(x, axis=-1)),
]


@pytest.mark.parametrize(
    ("spec", "expected"), ACTIVATIONS, ids=[f"{s[0]}-{i}" for i, (s, _) in enumerate(ACTIVATIONS)]
)
def test_activation(spec, expected):
    x = np.concatenate([np.linspace(-30, 30, 601), [-2.5, 2.5, -3.0, 3.0, -1e-9, 1e-9]])
    close(ref.activate(x, spec), expected(x), FLOAT64)
    close(ref.activation(x.reshape(1, -1), activation=spec)[0], expected(x), FLOAT64)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("sigmoid", scipy.special.expit),
        ("gelu", lambda x: x * scipy.special.ndtr(x)),
        ("softplus", lambda x: -scipy.special.log_expit(-x)),
        ("silu", lambda x: x * scipy.special.expit(x)),
    ],
)
def test_the_far_tail_keeps_its_relative_accuracy(kind, expected):
    x = np.linspace(-35, -1, 200)
    close(ref.activate(x, (kind, 0, 0)) / expected(x), np.ones_like(x), FLOAT64)


def test_no_activation_overflows_for_large_arguments():
    x = np.array([-1e4, 1e4])
    with np.errstate(over="raise", invalid="raise"):
        for kind in ("sigmoid", "tanh", "softplus", "silu", "softmax", "gelu", "gelu_tanh", "selu"):
            assert np.isfinite(ref.activate(x, (kind, 0, 0))).all(), kind
        close(ref.activate(x, ("elu", 2, 0)), np.array([-2, 1e4]), FLOAT64)


def test_every_activation_of_the_design_is_compared():
    assert {spec[0] for spec, _ in ACTIVATIONS} == set(ref.ACTIVATIONS)


# ---- Normalisation -------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [[2], [-2, -1]])
def test_layer_and_rms_normalization(axes, rng):
    x = rng.normal(size=(B, T, IN))
    shape = x.shape[-len(axes) :]
    W, b = rng.normal(size=shape), rng.normal(size=shape)
    options = {"W": W, "axes": axes, "groups": 0, "epsilon": 0.3}
    layer = torch.nn.functional.layer_norm(as_torch(x), shape, as_torch(W), as_torch(b), 0.3)
    close(ref.OPS["normalize"](x, b=b, kind="layer", **options), layer.numpy(), FLOAT64)
    rms = torch.nn.functional.rms_norm(as_torch(x), shape, as_torch(W), 0.3)
    close(ref.OPS["normalize"](x, b=0 * b, kind="rms", **options), rms.numpy(), FLOAT64)


@pytest.mark.parametrize("groups", [1, 3, -1])
def test_group_normalization(groups, rng):
    x, W, b = rng.normal(size=(B, IN, T)), rng.normal(size=IN), rng.normal(size=IN)
    expected = torch.nn.functional.group_norm(
        as_torch(x), IN if groups == -1 else groups, as_torch(W), as_torch(b), 0.3
    )
    y = ref.OPS["normalize"](x, W=W, b=b, kind="layer", axes=[1], groups=groups, epsilon=0.3)
    close(y, expected.numpy(), FLOAT64)


def test_unit_normalization_and_softmax(rng):
    x, one, zero = rng.normal(size=(B, T, IN)), np.ones(1), np.zeros(1)
    y = ref.OPS["normalize"](x, W=one, b=zero, kind="unit", axes=[1], groups=0, epsilon=2.5)
    expected = torch.nn.functional.normalize(as_torch(x), dim=1, eps=2.5)
    close(y, expected.numpy(), FLOAT64)
    for axes in ([1], [-2, -1]):
        expected = scipy.special.softmax(x, axis=tuple(axes))
        close(ref.OPS["softmax"](x, axes=axes), expected, FLOAT64)


def test_batch_normalization_and_prelu(rng):
    x, weights = rng.normal(size=(B, IN, T)), rng.uniform(0.5, 2, size=(4, IN))
    mean, variance, gamma, beta = weights
    expected = torch.nn.functional.batch_norm(
        *(as_torch(a) for a in (x, mean, variance, gamma, beta)), eps=0.3
    )
    W = gamma / np.sqrt(variance + 0.3)
    close(ref.OPS["affine"](x, c=mean, W=W, b=beta, axes=[1]), expected.numpy(), FLOAT64)
    expected = torch.nn.functional.prelu(as_torch(x), as_torch(mean))
    close(ref.OPS["prelu"](x, alpha=mean, axes=[1]), expected.numpy(), FLOAT64)


@pytest.mark.parametrize("op", ["layer", "time", "group", "softmax", "affine"])
def test_normalisation_ends_with_its_row(op, rng):
    x, one = rng.normal(size=(B, T, IN)), np.ones(1)
    options = {"W": one, "b": one, "kind": "layer", "epsilon": 0.3, "groups": 0}
    function, options = {
        "layer": ("normalize", options | {"axes": [1, 2], "W": one[None], "b": one[None]}),
        "time": ("normalize", options | {"axes": [1]}),
        "group": ("normalize", options | {"axes": [2], "groups": 2}),
        "softmax": ("softmax", {"axes": [1]}),
        "affine": ("affine", {"c": one, "W": one, "b": one, "axes": [1]}),
    }[op]
    y = ref.OPS[function](x, lengths=LENGTHS, **options)
    for i, n in enumerate(LENGTHS):
        if n:
            close(y[i, :n], ref.OPS[function](x[i : i + 1, :n], **options)[0], FLOAT64)
        assert not y[i, n:].any()


# ---- torch ---------------------------------------------------------------------------------------


def torch_module(kind, **options):
    torch.manual_seed(3)
    if kind in ("tanh", "relu"):
        return torch.nn.RNN(
            IN, H, nonlinearity=kind, batch_first=True, dtype=torch.float64, **options
        )
    return getattr(torch.nn, kind)(IN, H, batch_first=True, dtype=torch.float64, **options)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (1, True), (3, True)])
@pytest.mark.parametrize("kind", ["tanh", "relu", "LSTM", "GRU"])
def test_torch_recurrent(rng, kind, layers, bidirectional, ragged, bias):
    module = torch_module(kind, num_layers=layers, bidirectional=bidirectional, bias=bias)
    x = rng.normal(size=(B, T, IN))
    shape = (layers * (1 + bidirectional), B, H)
    states = [rng.normal(size=shape) for _ in range(2 if kind == "LSTM" else 1)]
    keep = np.flatnonzero(LENGTHS) if ragged else np.arange(B)  # torch refuses rows of length 0
    lengths = LENGTHS[keep] if ragged else None
    x, states = x[keep], [s[:, keep] for s in states]
    out, last = torch_stack(module, kind, x, states, lengths)

    feed = as_torch(x)
    if ragged:
        feed = torch.nn.utils.rnn.pack_padded_sequence(
            feed, torch.from_numpy(lengths), batch_first=True, enforce_sorted=False
        )
    initial = tuple(as_torch(s) for s in states)
    with torch.no_grad():
        expected, end = module(feed, initial if kind == "LSTM" else initial[0])
    if ragged:
        expected, _ = torch.nn.utils.rnn.pad_packed_sequence(
            expected, batch_first=True, total_length=T
        )
    close(out, expected.numpy(), FLOAT64)
    for state, wanted in zip(last, end if kind == "LSTM" else [end], strict=True):
        close(state, wanted.numpy(), FLOAT64)


RECURRENT = {
    "simple_rnn": (ref.simple_rnn, 1, {"activation": TANH}),
    "lstm": (ref.lstm, 4, {"activation": TANH, "recurrent_activation": SIGMOID}),
    "gru": (
        ref.gru,
        3,
        {"activation": TANH, "recurrent_activation": SIGMOID, "reset_after": False},
    ),
    "gru_after": (
        ref.gru,
        3,
        {"activation": TANH, "recurrent_activation": SIGMOID, "reset_after": True},
    ),
}


def random_cell(rng, name):
    op, gates, options = RECURRENT[name]
    shapes = {"W": (IN, gates * H), "U": (H, gates * H), "b": (gates * H,)}
    weights = {key: rng.normal(size=shape) / 2 for key, shape in shapes.items()}
    if options.get("reset_after"):
        weights["bn"] = rng.normal(size=H)
    return op, weights | options, 2 if name == "lstm" else 1


@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize(("reverse", "realign"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("name", RECURRENT)
def test_a_ragged_row_is_the_row_alone(rng, name, reverse, realign, return_sequences):
    op, arguments, states = random_cell(rng, name)
    arguments |= {"reverse": reverse, "realign": realign, "return_sequences": return_sequences}
    x = rng.normal(size=(B, T, IN))
    initial = [rng.normal(size=(B, H)) for _ in range(states)]
    for i, n in enumerate(LENGTHS):
        x[i, n:] = np.nan
    y, *last = op(x, *initial, **arguments, lengths=LENGTHS)
    for i, n in enumerate(LENGTHS):
        row, *end = op(x[i : i + 1, :n], *(s[i : i + 1] for s in initial), **arguments)
        if return_sequences:
            close(y[i, :n], row[0], FLOAT64)
            assert not y[i, n:].any()
        else:
            close(y[i], row[0], FLOAT64)
        for state, wanted in zip(last, end, strict=True):
            close(state[i], wanted[0], FLOAT64)
    close(last[0][3], initial[0][3], FLOAT64)  # the row of length 0


# ---- Layers of one frame, shapes, merges ---------------------------------------------------------


def test_dense_and_embedding(rng):
    W, b, table = rng.normal(size=(IN, 4)), rng.normal(size=4), rng.normal(size=(11, IN))
    ids = rng.integers(0, 11, size=(B, T))
    x = ref.embedding(ids, W=table)
    close(x, torch.nn.functional.embedding(as_torch(ids), as_torch(table)).numpy(), FLOAT64)
    expected = torch.relu(
        torch.nn.functional.linear(as_torch(x), as_torch(W.T), as_torch(b))
    ).numpy()
    close(ref.dense(x, W=W, b=b, activation=("relu", 0, 0)), expected, FLOAT64)
    for op, value, arguments in (
        (ref.embedding, ids, {"W": table}),
        (ref.activation, x, {"activation": SIGMOID}),
        (ref.dense, x, {"W": W, "b": b, "activation": SIGMOID}),
    ):
        y = op(value, **arguments, lengths=LENGTHS)
        for i, n in enumerate(LENGTHS):
            close(y[i, :n], op(value[i : i + 1, :n], **arguments)[0], FLOAT64)
            assert not y[i, n:].any()


@pytest.mark.parametrize("bad", [-1, 11])
def test_embedding_refuses_an_id_unless_it_is_past_the_end(rng, bad):
    table, ids = rng.normal(size=(11, 2)), np.zeros((2, 3), np.int64)
    ids[1, 2] = bad
    with pytest.raises(IndexError, match="11 rows"):
        ref.embedding(ids, W=table)
    with pytest.raises(IndexError, match="11 rows"):
        ref.embedding(ids, W=table, lengths=[1, 3])
    assert not ref.embedding(ids, W=table, lengths=[3, 2])[1, 2].any()


def test_one_hot_vectors_and_who_reads_ids_for_them(rng):
    ids, W, b = rng.integers(0, 11, (B, T)), rng.normal(size=(11, 4)), rng.normal(size=4)
    x = torch.nn.functional.one_hot(as_torch(ids), 11).double().numpy()
    close(ref.one_hot(ids, depth=11), x, FLOAT64)
    cut = ref.one_hot(ids, depth=11, lengths=LENGTHS)
    for i, n in enumerate(LENGTHS):
        close(cut[i, :n], x[i, :n], FLOAT64)
        assert not cut[i, n:].any()
    given = {"W": W, "b": b, "activation": SIGMOID}
    expected = torch.sigmoid(torch.nn.functional.linear(as_torch(x), as_torch(W.T), as_torch(b)))
    close(ref.dense(ids, one_hot=11, **given), expected.numpy(), FLOAT64)
    for op, gates in ((ref.simple_rnn, 1), (ref.lstm, 4), (ref.gru, 3)):
        cell = {
            "W": rng.normal(size=(11, gates * H)), "U": rng.normal(size=(H, gates * H)),
            "b": rng.normal(size=gates * H), "activation": TANH,
        }  # fmt: skip
        cell |= {} if gates == 1 else {"recurrent_activation": SIGMOID}
        cell |= {"reset_after": False} if gates == 3 else {}
        for lengths in (None, LENGTHS):
            made = zip(op(ids, one_hot=11, lengths=lengths, **cell),
                       op(x, lengths=lengths, **cell), strict=True)  # fmt: skip
            for actual, wanted in made:
                close(actual, wanted, FLOAT64)


@pytest.mark.parametrize("bad", [-1, 11])
def test_one_hot_refuses_an_id_unless_it_is_past_the_end(bad):
    ids = np.zeros((2, 3), np.int64)
    ids[1, 2] = bad
    for lengths in (None, [1, 3]):
        with pytest.raises(IndexError, match="vectors have 11"):
            ref.one_hot(ids, depth=11, lengths=lengths)
    assert not ref.one_hot(ids, depth=11, lengths=[3, 2])[1, 2].any()


def test_select_undoes_stack(rng):
    values = [rng.normal(size=(B, H)) for _ in range(3)]
    for index, value in enumerate(values):
        close(ref.select(ref.stack(*values), index=index), value, FLOAT64)
    assert ref.select(None, index=1) is None


def test_a_window_longer_than_its_sequence_gives_none():
    x = np.ones((2, 2, 3))
    assert ref.conv1d(x, W=np.ones((3, 3, 4)), b=np.ones(4)).shape == (2, 0, 4)
    assert ref.max_pool1d(x, pool_size=3, strides=1).shape == (2, 0, 3)


# ---- Whole graphs --------------------------------------------------------------------------------


def bidirectional_graph():
    """Both directions of an LSTM over packed states, as a torch module is lowered."""
    attrs = {
        "units": H,
        "activation": TANH,
        "recurrent_activation": SIGMOID,
        "return_sequences": True,
    }
    nodes = []
    for state in "hc":
        for index, half in enumerate("fb"):
            nodes.append(
                {
                    "op": "select",
                    "inputs": [f"{state}0"],
                    "outputs": [f"{half}:{state}0"],
                    "attrs": {"index": index},
                }
            )
    for half in "fb":
        nodes.append(
            {
                "op": "lstm",
                "inputs": ["x", f"{half}:h0", f"{half}:c0"],
                "lengths": "x:lengths",
                "outputs": [half, f"{half}:h", f"{half}:c"],
                "weights": {n: f"{half}.{n}" for n in "WUb"},
                "attrs": attrs | {"reverse": half == "b", "realign": half == "b"},
            }
        )
    nodes.append(
        {
            "op": "concat",
            "inputs": ["f", "b"],
            "lengths": ["x:lengths", "x:lengths"],
            "outputs": ["y"],
            "attrs": {"axis": -1},
        }
    )
    nodes += [{"op": "stack", "inputs": [f"f:{s}", f"b:{s}"], "outputs": [f"{s}_n"]} for s in "hc"]
    return {
        "inputs": [
            {"name": "x", "kind": "data", "dtype": "float32", "shape": [None, IN]},
            {"name": "x:lengths", "kind": "lengths", "of": "x"},
            {"name": "h0", "kind": "state", "shape": [2, H], "batch_axis": 1},
            {"name": "c0", "kind": "state", "shape": [2, H], "batch_axis": 1},
        ],
        "nodes": nodes,
        "outputs": [
            {"name": "y", "value": "y", "lengths": "x:lengths"},
            {"name": "h_n", "value": "h_n"},
            {"name": "c_n", "value": "c_n"},
        ],
    }


@pytest.mark.parametrize("with_states", [True, False])
@pytest.mark.parametrize("ragged", [True, False])
def test_run_is_torch(rng, ragged, with_states):
    module = torch_module("LSTM", bidirectional=True)
    tensors = {
        f"{half}.{name}": from_torch(module, suffix, "LSTM")[1][name]
        for half, suffix in (("f", "l0"), ("b", "l0_reverse"))
        for name in "WUb"
    }
    lengths = np.array([5, 9, 1, 4, 2])
    x, h0, c0 = rng.normal(size=(B, T, IN)), rng.normal(size=(2, B, H)), rng.normal(size=(2, B, H))
    inputs = {"x": x}
    if ragged:
        inputs["x:lengths"] = lengths
    if with_states:
        inputs |= {"h0": h0, "c0": c0}
    feed = as_torch(x)
    if ragged:
        feed = torch.nn.utils.rnn.pack_padded_sequence(
            feed, torch.from_numpy(lengths), batch_first=True, enforce_sorted=False
        )
    with torch.no_grad():
        expected, end = module(feed, (as_torch(h0), as_torch(c0)) if with_states else None)
    if ragged:
        expected, _ = torch.nn.utils.rnn.pad_packed_sequence(
            expected, batch_first=True, total_length=T
        )
    actual = ref.run(bidirectional_graph(), tensors, inputs)
    for a, e in zip(actual, (expected, *end), strict=True):
        close(a, e.numpy(), FLOAT64)


def windows_graph():
    """Ids through embedding, conv1d, max_pool1d and gru: lengths follow the time axis."""
    return {
        "inputs": [
            {"name": "x", "kind": "data", "dtype": "int64", "shape": [None]},
            {"name": "x:lengths", "kind": "lengths", "of": "x"},
        ],
        "nodes": [
            {
                "op": "embedding",
                "inputs": ["x"],
                "outputs": ["e"],
                "lengths": "x:lengths",
                "weights": {"W": "e.W"},
                "attrs": {"rows": 11, "units": IN},
            },
            {
                "op": "conv1d",
                "inputs": ["e"],
                "outputs": ["k"],
                "lengths": "x:lengths",
                "lengths_out": "k:lengths",
                "weights": {"W": "k.W", "b": "k.b"},
                "attrs": {
                    "filters": IN,
                    "kernel_size": 2,
                    "strides": 1,
                    "dilation": 2,
                    "groups": 1,
                    "padding": "valid",
                    "activation": ("relu", 0, 0),
                },
            },
            {
                "op": "max_pool1d",
                "inputs": ["k"],
                "outputs": ["p"],
                "lengths": "k:lengths",
                "lengths_out": "p:lengths",
                "attrs": {"pool_size": 3, "strides": 2, "padding": "same"},
            },
            {
                "op": "gru",
                "inputs": ["p", None],
                "outputs": ["y", "h"],
                "lengths": "p:lengths",
                "weights": {n: f"g.{n}" for n in ("W", "U", "b", "bn")},
                "attrs": {
                    "units": H,
                    "activation": TANH,
                    "recurrent_activation": SIGMOID,
                    "reset_after": True,
                    "reverse": True,
                    "realign": False,
                    "return_sequences": True,
                },
            },
        ],
        "outputs": [
            {"name": "y", "value": "y", "lengths": "p:lengths"},
            {"name": "h", "value": "h"},
        ],
    }


def test_run_maps_lengths_through_windows(rng):
    _, cell, _ = random_cell(rng, "gru_after")
    tensors = {f"g.{n}": cell[n] for n in ("W", "U", "b", "bn")}
    tensors |= {
        "e.W": rng.normal(size=(11, IN)),
        "k.W": rng.normal(size=(2, IN, IN)),
        "k.b": rng.normal(size=IN),
    }
    ids = rng.integers(0, 11, size=(B, T))
    graph = windows_graph()
    y, h = ref.run(graph, tensors, {"x": ids, "x:lengths": LENGTHS})
    whole, _ = ref.run(graph, tensors, {"x": ids, "x:lengths": None})
    assert whole.shape == y.shape == (B, 4, H)  # 9 ids, 7 windows, 4 pools
    for i, n in enumerate(LENGTHS):
        row, end = ref.run(graph, tensors, {"x": ids[i : i + 1, :n]})
        assert row.shape[1] == -(-max(0, n - 2) // 2)
        close(y[i, : row.shape[1]], row[0], FLOAT64)
        assert not y[i, row.shape[1] :].any()
        close(h[i], end[0], FLOAT64)
    assert np.abs(y - whole).max() > FLOAT64


def test_run_wants_its_data_and_no_others():
    with pytest.raises(ValueError, match="absent"):
        ref.run(windows_graph(), {}, {})
    with pytest.raises(ValueError, match="mask"):
        ref.run(windows_graph(), {}, {"x": np.zeros((1, 1), np.int64), "mask": np.zeros(1)})


def test_an_output_is_zero_past_its_end_whatever_stands_there(rng):
    graph = {
        "inputs": [
            {"name": "x", "kind": "data", "dtype": "float32", "shape": [None, IN]},
            {"name": "x:lengths", "kind": "lengths", "of": "x"},
        ],
        "nodes": [
            {
                "op": "add",
                "inputs": ["x", "x"],
                "outputs": ["y"],
                "lengths": ["x:lengths", "x:lengths"],
            }
        ],
        "outputs": [{"name": "y", "value": "y", "lengths": "x:lengths"}],
    }
    x = rng.normal(size=(B, T, IN))
    (y,) = ref.run(graph, {}, {"x": x, "x:lengths": LENGTHS})
    for i, n in enumerate(LENGTHS):
        close(y[i, :n], 2 * x[i, :n], FLOAT64)
        assert not y[i, n:].any()


def test_every_op_of_the_design_is_here():
    page = (Path(__file__).parents[1] / "docs" / "design.md").read_text(encoding="utf-8")
    table = page.split("| op | inputs -> outputs |")[1].split("| --- |\n")[1]
    rows = itertools.takewhile(lambda line: line.startswith("|"), table.splitlines())
    assert set(ref.OPS) == {op for row in rows for op in row.split("|")[1].strip().split(", ")}
