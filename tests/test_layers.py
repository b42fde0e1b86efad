"""Every layer's constructor and lowering against Keras 3: same weights, same options, same numbers.

The models run on the compiled core; sizes are small, for parity/ has the large ones. Options out of
range: test_bad_input.py.
"""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import pytest
from tolerances import FLOAT32, close

import seqcore as sc
from seqcore import reference as ref

KINDS = ["SimpleRNN", "LSTM", "GRU"]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def arrays(layer, x, rng):
    """Build a Keras layer on the shape of x and give it weights far from zero, biases too."""
    layer.build(x.shape)
    given = [rng.normal(0, 0.5, w.shape).astype(np.float32) for w in layer.get_weights()]
    layer.set_weights(given)
    return given


def numpy(value):
    if isinstance(value, (tuple, list)):
        return [numpy(part) for part in value]
    return value.detach().cpu().numpy()


def model_of(layer, *inputs):
    """A model of one layer on arrays like `inputs`."""
    symbols = [sc.Input((None, *x.shape[2:]) if x.ndim > 2 else x.shape[1:]) for x in inputs]
    made = layer(*symbols)
    return sc.Model(symbols, list(made) if isinstance(made, tuple) else made)


def same(layer, reference, x, depth=1):
    ours, theirs = model_of(layer, x)(x), numpy(reference(x))
    ours = ours if isinstance(ours, tuple) else (ours,)
    theirs = theirs if isinstance(theirs, list) else [theirs]
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        close(mine, other, FLOAT32[depth])


# ---- Recurrent ----------------------------------------------------------------------------------

RECURRENT_OPTIONS = [
    {},
    {"return_sequences": True},
    {"return_sequences": True, "return_state": True},
    {"return_state": True, "go_backwards": True},
    {"return_sequences": True, "go_backwards": True},
    {"activation": "relu"},
    {"activation": "leaky_relu"},
    {"activation": None, "use_bias": False},
]


@pytest.mark.parametrize("options", RECURRENT_OPTIONS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_recurrent(kind, options, rng):
    x = rng.normal(size=(3, 6, 5)).astype(np.float32)
    theirs = getattr(keras.layers, kind)(7, **options)
    # use_bias follows from the number of arrays, and may be said as well
    ours = getattr(sc, kind).from_keras(arrays(theirs, x, rng), **options)
    same(ours, theirs, x)
    assert ours.parameters(()) == theirs.count_params()


@pytest.mark.parametrize("recurrent_activation", ["hard_sigmoid", "tanh", "softmax"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_recurrent_activation(kind, recurrent_activation, rng):
    x = rng.normal(size=(3, 6, 5)).astype(np.float32)
    theirs = getattr(keras.layers, kind)(7, recurrent_activation=recurrent_activation)
    weights = arrays(theirs, x, rng)
    same(
        getattr(sc, kind).from_keras(weights, recurrent_activation=recurrent_activation), theirs, x
    )


@pytest.mark.parametrize("use_bias", [True, False])
def test_gru_with_reset_before(use_bias, rng):
    x = rng.normal(size=(3, 6, 5)).astype(np.float32)
    theirs = keras.layers.GRU(7, reset_after=False, use_bias=use_bias, return_sequences=True)
    weights = arrays(theirs, x, rng)
    options = {} if use_bias else {"reset_after": False}
    same(sc.GRU.from_keras(weights, return_sequences=True, **options), theirs, x)


@pytest.mark.parametrize("kind", KINDS)
def test_canonical_arrays_are_the_layer(kind):
    # one unit, one feature, one step, all by hand
    gates = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}[kind]
    W, b = np.arange(1, gates + 1) / 8, np.arange(gates) / 16
    layer = getattr(sc, kind)(W[None], np.zeros((1, gates)), b)

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    a = 0.5 * W + b
    expected = {
        "SimpleRNN": lambda: np.tanh(a[0]),
        "LSTM": lambda: sigmoid(a[3]) * np.tanh(sigmoid(a[0]) * np.tanh(a[2])),
        "GRU": lambda: (1 - sigmoid(a[1])) * np.tanh(a[2]),
    }[kind]()
    close(sc.Sequential([layer])([[[0.5]]]), [[expected]], FLOAT32[1])


def projected_weights(rng, units, size, features=5):
    """W, U and b by name, and P."""
    shapes = {"W": (features, 4 * units), "U": (size, 4 * units), "b": (4 * units,)}
    drawn = [rng.normal(0, 0.5, s).astype(np.float32) for s in (*shapes.values(), (units, size))]
    return dict(zip(shapes, drawn, strict=False)), drawn[-1]


GATED = {"activation": ["tanh", 0, 0], "recurrent_activation": ["sigmoid", 0, 0]}


@pytest.mark.parametrize(
    ("options", "meaning"),
    [
        ({"return_sequences": True}, {}),
        ({"go_backwards": True, "return_sequences": True}, {"reverse": True}),
        ({"go_backwards": True}, {"reverse": True, "return_sequences": False}),
        (
            {"activation": "relu", "recurrent_activation": "softmax", "return_sequences": True},
            {"activation": ["relu", 0, 0], "recurrent_activation": ["softmax", 0, 0]},
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize(("units", "size"), [(7, 3), (7, 7), (3, 20), (1, 1)])
def test_projection(units, size, options, meaning, rng):
    weights, P = projected_weights(rng, units, size)
    x = rng.normal(size=(3, 6, 5)).astype(np.float32)
    layer = sc.LSTM(*weights.values(), projection=P, return_state=True, **options)
    expected = ref.lstm(x, **weights, P=P, **GATED | meaning)
    for mine, other in zip(model_of(layer, x)(x), expected, strict=True):
        close(mine, other, FLOAT32[1])
    assert layer.parameters(()) == sum(w.size for w in weights.values()) + P.size
    assert (layer.units, layer.out_features) == (units, size)


@pytest.mark.parametrize("merge_mode", ["concat", "sum"])
def test_projection_in_both_directions(merge_mode, rng):
    (one, P), (two, Q) = (projected_weights(rng, 7, 3) for _ in range(2))
    x = rng.normal(size=(3, 6, 5)).astype(np.float32)
    options = {"return_sequences": True}
    forward = sc.LSTM(*one.values(), projection=P, **options)
    backward = sc.LSTM(*two.values(), projection=Q, go_backwards=True, **options)
    both = sc.Bidirectional(forward, backward, merge_mode=merge_mode)
    ahead = ref.lstm(x, **one, P=P, **GATED)[0]
    back = ref.lstm(x, **two, P=Q, **GATED, reverse=True, realign=True)[0]
    joined = ahead + back if merge_mode == "sum" else np.concatenate([ahead, back], axis=-1)
    close(model_of(both, x)(x), joined, FLOAT32[1])


def test_projection_of_masked_frames(rng):
    weights, P = projected_weights(rng, 7, 3)
    x = rng.normal(size=(3, 6, 5)).astype(np.float32)
    mask = np.array([[1, 0, 1, 1, 0, 1], [0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0]], np.float32)
    for zeros in (False, True):
        for sequences in (False, True):
            kinds = {"return_sequences": sequences, "zero_output_for_mask": zeros}
            layer = sc.LSTM(*weights.values(), projection=P, **kinds)
            expected = ref.lstm(x, mask=mask, **weights, P=P, **GATED, **kinds)[0]
            close(model_of(layer, x)(x, mask=mask), expected, FLOAT32[1])


def test_projecting_cells(rng):
    (one, P), (two, Q) = projected_weights(rng, 7, 3), projected_weights(rng, 4, 6, features=3)
    cells = [sc.LSTMCell(*one.values(), projection=P), sc.LSTMCell(*two.values(), projection=Q)]
    x = rng.normal(size=(3, 6, 5)).astype(np.float32)
    y, h, c = ref.lstm(x, **one, P=P, **GATED)
    z, g, d = ref.lstm(y, **two, P=Q, **GATED)
    rnn = sc.RNN(cells, return_sequences=True, return_state=True)
    for mine, other in zip(model_of(rnn, x)(x), (z, h, c, g, d), strict=True):
        close(mine, other, FLOAT32[2])
    counted = sum(w.size for w in (*one.values(), P, *two.values(), Q))
    assert rnn.parameters((None, None, 5)) == counted
    frame = sc.Input((5,))
    made = sc.Model(frame, list(cells[0](frame)))(x[:, 0])
    _, *states = ref.lstm(x[:, :1], **one, P=P, **GATED)
    for mine, other in zip(made, (y[:, 0], *states), strict=True):
        close(mine, other, FLOAT32[1])


def test_wrong_projections_name_layer_weight_and_shapes(rng):
    weights, P = projected_weights(rng, 7, 3)
    W, U, b = weights.values()

    def made(W=W, U=U, b=b, P=P):
        return sc.LSTM(W, U, b, projection=P, name="encoder")

    for change, message in (
        (
            {"P": P.T},
            r"weight U: expected shape \(7, 12\).*\(projection, 4\*units\), found \(3, 28\)",
        ),
        ({"P": P[0]}, r"weight projection: .*\(units, projection\), found \(3,\)"),
        ({"P": P[:, :0]}, r"weight projection: .*found \(7, 0\)"),
        ({"U": np.ones((7, 28))}, r"weight U: expected shape \(3, 28\).*found \(7, 28\)"),
        ({"W": np.ones((5, 12))}, r"weight W: expected shape \(any, 28\).*found \(5, 12\)"),
        ({"b": np.ones(12)}, r"weight b: expected shape \(28,\)"),
        ({"P": None}, r"weight U: expected shape \(3, 12\)"),
    ):
        with pytest.raises(sc.WeightsError, match=rf"'encoder', (.|\n)*{message}"):
            made(**change)
    with pytest.raises(sc.DtypeError, match="'encoder', weight projection"):
        made(P=np.array([["a"]]))
    with pytest.raises(sc.OptionError, match="encoder: a projection needs W in place of units"):
        sc.LSTM(7, projection=P, name="encoder")
    with pytest.raises(sc.WeightsError, match="'encoder': W is given and U is missing"):
        made(U=None)


def test_keras_has_no_projection(rng):
    weights, P = projected_weights(rng, 3, 3)
    for make in (
        lambda: sc.LSTM.from_keras(list(weights.values()), projection=P, name="encoder"),
        lambda: sc.LSTM(*weights.values(), projection=P, name="encoder").keras_weights(),
        lambda: sc.Bidirectional.from_keras(
            2 * list(weights.values()), sc.LSTM, projection=P, name="encoder"
        ),
    ):
        with pytest.raises(sc.OptionError, match="encoder: Keras's LSTM has no projection"):
            make()


def test_the_recurrent_bias_of_a_gru_goes_through_r(rng):
    W, U, b = rng.normal(size=(2, 9)), rng.normal(size=(3, 9)), rng.normal(size=(2, 9))
    x = rng.normal(size=(4, 5, 2))
    split = sc.Sequential([sc.GRU(W, U, b)])(x)
    summed = sc.Sequential([sc.GRU(W, U, np.stack([b.sum(0), 0 * b[0]]))])(x)
    assert np.abs(split - summed).max() > 0.01
    # with nothing in n's half it does not matter where the rest stands
    b[1, 6:] = 0
    split = sc.Sequential([sc.GRU(W, U, b)])(x)
    summed = sc.Sequential([sc.GRU(W, U, np.stack([b.sum(0), 0 * b[0]]))])(x)
    close(split, summed, FLOAT32[1])


def test_reset_after_follows_from_the_bias():
    W, U = np.zeros((2, 9)), np.zeros((3, 9))
    assert sc.GRU(W, U, np.zeros((2, 9))).reset_after
    assert not sc.GRU(W, U, np.zeros(9)).reset_after
    assert sc.GRU(W, U).reset_after
    assert sc.GRU(3).reset_after
    assert sc.GRU(W, U, np.zeros(9), reset_after=True).reset_after


@pytest.mark.parametrize("kind", KINDS)
def test_initial_state_in_a_graph(kind, rng):
    x = rng.normal(size=(3, 6, 5)).astype(np.float32)
    states = [rng.normal(size=(3, 7)).astype(np.float32) for _ in range(1 + (kind == "LSTM"))]
    theirs = getattr(keras.layers, kind)(7)
    layer = getattr(sc, kind).from_keras(arrays(theirs, x, rng))
    symbol, initial = sc.Input((None, 5)), [sc.Input((7,)) for _ in states]
    model = sc.Model([symbol, *initial], layer(symbol, initial_state=initial))
    assert model.states == ()
    close(model(x, *states), numpy(theirs(x, initial_state=states)), FLOAT32[1])


def test_a_decoder_starts_from_the_encoder(rng):
    x, y = (rng.normal(size=(3, n, 5)).astype(np.float32) for n in (6, 4))
    encoder = keras.layers.LSTM(7, return_state=True)
    decoder = keras.layers.LSTM(7, return_sequences=True)
    ours = [sc.LSTM.from_keras(arrays(encoder, x, rng), return_state=True)]
    ours += [sc.LSTM.from_keras(arrays(decoder, y, rng), return_sequences=True)]
    a, b = sc.Input((None, 5)), sc.Input((None, 5))
    _, h, c = ours[0](a)
    model = sc.Model([a, b], ours[1](b, initial_state=[h, c]))
    assert len(model.states) == 2  # the encoder's own
    close(model(x, y), numpy(decoder(y, initial_state=encoder(x)[1:])), FLOAT32[2])


# ---- Wrappers -----------------------------------------------------------------------------------


def bidirectional(kind, x, rng, merge_mode, **options):
    theirs = keras.layers.Bidirectional(getattr(keras.layers, kind)(7, **options), merge_mode)
    weights = arrays(theirs, x, rng)
    half = len(weights) // 2
    make = getattr(sc, kind).from_keras
    ours = sc.Bidirectional(
        make(weights[:half], **options),
        make(weights[half:], **options, go_backwards=True),
        merge_mode=merge_mode,
    )
    return ours, theirs


@pytest.mark.parametrize("merge_mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("sequences", [True, False])
def test_bidirectional_merges(merge_mode, sequences, rng):
    x = rng.normal(size=(3, 6, 5)).astype(np.float32)
    same(*bidirectional("GRU", x, rng, merge_mode, return_sequences=sequences), x)


@pytest.mark.parametrize("kind", KINDS)
def test_bidirectional_states_follow_forward_then_backward(kind, rng):
    x = rng.normal(size=(3, 6, 5)).astype(np.float32)
    same(*bidirectional(kind, x, rng, "concat", return_sequences=True, return_state=True), x)


def test_bidirectional_initial_state_is_forward_then_backward(rng):
    x = rng.normal(size=(3, 6, 5)).astype(np.float32)
    states = [rng.normal(size=(3, 7)).astype(np.float32) for _ in range(4)]
    ours, theirs = bidirectional("LSTM", x, rng, "concat", return_sequences=True)
    expected = numpy(theirs(x, initial_state=states))
    model = model_of(ours, x)
    assert [name.rpartition(":")[2] for name in model.states] == ["h0", "c0", "h0", "c0"]
    close(model(x, initial_state=states), expected, FLOAT32[1])
    symbol, initial = sc.Input((None, 5)), [sc.Input((7,)) for _ in states]
    model = sc.Model([symbol, *initial], ours(symbol, initial_state=initial))
    close(model(x, *states), expected, FLOAT32[1])


@pytest.mark.parametrize("kind", ["Dense", "LSTM", "Conv1D"])
def test_time_distributed(kind, rng):
    x = rng.normal(size=(2, 4, 6, 5)).astype(np.float32)
    inner = {"Conv1D": lambda: keras.layers.Conv1D(3, 2)}.get(
        kind, lambda: getattr(keras.layers, kind)(3)
    )()
    theirs = keras.layers.TimeDistributed(inner)
    weights = arrays(theirs, x, rng)
    cls = getattr(sc, kind)
    ours = cls(*weights) if kind == "Conv1D" else cls.from_keras(weights)
    same(sc.TimeDistributed(ours), theirs, x)


# ---- Feedforward --------------------------------------------------------------------------------

ACTIVATIONS = [
    *("linear", "tanh", "sigmoid", "relu", "hard_sigmoid", "softplus", "softsign", "exponential"),
    *("silu", "swish", "leaky_relu", "elu", "selu", "gelu", "softmax"),
]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_dense_activations_mean_what_they_mean_in_keras(activation, rng):
    x = rng.normal(size=(3, 6, 5)).astype(np.float32)
    theirs = keras.layers.Dense(4, activation=activation)
    same(sc.Dense.from_keras(arrays(theirs, x, rng), activation=activation), theirs, x, depth=0)
    same(sc.Activation(activation), keras.layers.Activation(activation), x, depth=0)


def test_embedding(rng):
    table = rng.normal(size=(9, 4)).astype(np.float32)
    ids = rng.integers(0, 9, (3, 5))
    for layer in (sc.Embedding(table), sc.Embedding.from_keras([table])):
        assert np.array_equal(sc.Sequential([layer])(ids), table[ids])


CONVOLUTIONS = [
    {},
    {"padding": "same", "activation": "relu"},
    {"padding": "causal", "dilation_rate": 2},
    {"strides": 2, "padding": "same"},
    {"strides": 3},
    {"groups": 2, "use_bias": False},
    {"strides": (2,), "dilation_rate": [1]},
]


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_conv1d(options, rng):
    x = rng.normal(size=(3, 9, 4)).astype(np.float32)
    theirs = keras.layers.Conv1D(6, 3, **options)
    same(sc.Conv1D(*arrays(theirs, x, rng), **options), theirs, x, depth=0)


POOLS = [{}, {"strides": 1}, {"pool_size": 3, "padding": "same"}, {"pool_size": (3,), "strides": 2}]


@pytest.mark.parametrize("options", POOLS, ids=str)
def test_max_pooling(options, rng):
    x = rng.normal(size=(3, 9, 4)).astype(np.float32)
    same(sc.MaxPooling1D(**options), keras.layers.MaxPooling1D(**options), x, depth=0)


@pytest.mark.parametrize(
    "name", ["GlobalAveragePooling1D", "GlobalMaxPooling1D", "Flatten", "Dropout"]
)
def test_layers_without_weights(name, rng):
    x = rng.normal(size=(3, 9, 4)).astype(np.float32)
    theirs = getattr(keras.layers, name)(*([0.5] if name == "Dropout" else []))
    ours = getattr(sc, name)()
    shape = (9, 4)  # Flatten must know it
    symbol = sc.Input(shape)
    close(sc.Model(symbol, ours(symbol))(x), numpy(theirs(x)), FLOAT32[0])


@pytest.mark.parametrize(
    ("ours", "theirs", "shapes"),
    [
        (sc.Add(), keras.layers.Add(), [(6, 5), (6, 5), (6, 5)]),
        (sc.Add(), keras.layers.Add(), [(1, 5), (6, 1)]),
        (sc.Multiply(), keras.layers.Multiply(), [(6, 5), (6, 1)]),
        (sc.Concatenate(), keras.layers.Concatenate(), [(6, 5), (6, 2)]),
        (sc.Concatenate(1), keras.layers.Concatenate(1), [(6, 5), (2, 5)]),
        (sc.Concatenate(-2), keras.layers.Concatenate(-2), [(6, 5), (2, 5)]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_merges(ours, theirs, shapes, rng):
    values = [rng.normal(size=(3, *shape)).astype(np.float32) for shape in shapes]
    symbols = [sc.Input(shape) for shape in shapes]
    model = sc.Model(symbols, ours(symbols))
    close(model(*values), numpy(theirs(values)), FLOAT32[0])


def test_from_torch_on_dense_and_embedding(rng):
    weights = {
        "embed.weight": rng.normal(size=(9, 4)).astype(np.float32),
        "head.weight": rng.normal(size=(2, 4)).astype(np.float32),
        "head.bias": rng.normal(size=2).astype(np.float32),
    }
    layers = [sc.Embedding.from_torch(weights, "embed")]
    layers += [sc.Dense.from_torch(weights, "head", activation="relu")]
    ids = rng.integers(0, 9, (3, 5))
    product = np.float64(weights["embed.weight"][ids]) @ weights["head.weight"].T.astype(np.float64)
    expected = np.maximum(product + weights["head.bias"], 0)
    close(sc.Sequential(layers)(ids), expected, FLOAT32[0])


# ---- What a layer is ----------------------------------------------------------------------------


def test_a_layer_keeps_its_weights_when_the_callers_arrays_change(rng):
    W, b = rng.normal(size=(3, 2)).astype(np.float32), np.zeros(2, np.float32)
    model = sc.Sequential([sc.Dense(W, b)])
    before = model(np.ones((1, 3)))
    W[:] = 0
    assert np.array_equal(model(np.ones((1, 3))), before)
    assert np.array_equal(model.with_options(threads=1)(np.ones((1, 3))), before)


@pytest.mark.parametrize(
    ("layer", "shape", "dtype"),
    [
        (sc.Embedding(5, 2), (None,), "int64"),
        (sc.LSTM(np.zeros((3, 8)), np.zeros((2, 8))), (None, 3), "float32"),
        (sc.Dense(np.zeros((3, 8))), (3,), "float32"),
        (sc.Conv1D(np.zeros((2, 3, 4)), groups=2), (None, 6), "float32"),
        (sc.TimeDistributed(sc.Dense(np.zeros((3, 8)))), (None, 3), "float32"),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_what_a_first_layer_implies(layer, shape, dtype):
    assert layer.input_spec() == (shape, dtype)
    sc.Sequential([layer])


def test_shared_layers_compute_the_same(rng):
    x, y = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    W, U = rng.normal(size=(5, 3)), rng.normal(size=(3, 3))
    rnn = sc.SimpleRNN(W, U)
    a, b = sc.Input((None, 5)), sc.Input((None, 5))
    both = sc.Model([a, b], [rnn(a), rnn(b)])(x, y)
    alone = sc.Sequential([rnn])
    assert np.array_equal(both[0], alone(x))
    assert np.array_equal(both[1], alone(y))


def test_numbers_of_numpy_are_numbers():
    assert sc.Dropout(np.float32(0.25)).rate == 0.25
    assert sc.Dropout(np.int64(1)).rate == 1.0
    spec = sc.ActivationSpec("hard_sigmoid", np.float32(0.25), np.int32(1))
    assert spec.attr() == ["hard_sigmoid", 0.25, 1.0]
    assert [type(value) for value in spec.attr()] == [str, float, float]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("layer", "gates"), [(sc.SimpleRNN, 1), (sc.LSTM, 4), (sc.GRU, 3)])
def test_both_halves_of_a_keras_bidirectional(layer, gates, bias):
    rng = np.random.default_rng(5)
    shapes = [(3, gates * 2), (2, gates * 2), (gates * 2,)][: 2 + bias]
    arrays = [rng.normal(size=shape) for shape in shapes * 2]
    half = len(shapes)
    options = {"return_sequences": True, "use_bias": bias}
    both = sc.Bidirectional.from_keras(arrays, layer, merge_mode=None, **options)
    forward = layer.from_keras(arrays[:half], **options)
    backward = layer.from_keras(arrays[half:], **options)
    x = rng.normal(size=(2, 5, 3))
    found = sc.Sequential([both])(x)
    np.testing.assert_array_equal(found[0], sc.Sequential([forward])(x))
    np.testing.assert_array_equal(found[1], sc.Sequential([backward])(x[:, ::-1])[:, ::-1])
