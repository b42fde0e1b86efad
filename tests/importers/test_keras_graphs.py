"""Functional graphs of Keras 3: nested, shared, masked, with operations outside of layers.

Each function makes one model; all are saved, loaded, taken over live, and compared with Keras.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
from keras import layers as L
from keras import ops
from keras_matrix import FEATURES, IDS, MASKED, TIME, Sources, randomise
from keras_ways import same_in_all_ways

import seqcore as sc

Make = Callable[[Sources], Any]


def model_of(make: Make) -> keras.Model:
    keras.utils.clear_session(free_memory=False)
    sources = Sources()
    results = make(sources)
    return randomise(keras.Model(sources.inputs, results))


def encoder(units: int = 3, **options: Any) -> keras.Model:
    """Return a model to be used as a layer."""
    x = L.Input((None, FEATURES))
    y = L.Dense(4, activation="tanh")(x)
    return keras.Model(x, L.GRU(units, return_sequences=True)(y), **options)


# ---- Models in models ---------------------------------------------------------------------------


def nested_twice(s: Sources) -> Any:
    x = L.Input((None, FEATURES))
    middle = keras.Model(x, L.Dense(2)(encoder()(L.LayerNormalization()(x))), name="middle")
    outer = keras.Sequential([L.Input((TIME, FEATURES)), middle, L.LSTM(3)])
    return L.Dense(2)(outer(s.frames()))


def called_twice(s: Sources) -> Any:
    shared = encoder()
    a, b = shared(s.frames()), shared(s.frames("masking"))
    return L.GRU(2)(L.Concatenate()([a, b]))


def of_the_same_class_and_unlike_names(s: Sources) -> Any:
    """Weights of .keras files stand by class and number, whatever the layers are called."""
    x = s.frames()
    a = encoder(3, name="second")(x)
    b = encoder(4, name="first")(x)
    return L.Dense(2, name="dense_7")(L.Dense(3, name="lstm")(L.Concatenate()([b, a])))


def several_ways_in_and_out(s: Sources) -> Any:
    x, h = L.Input((None, FEATURES)), L.Input((3,))
    y, state = L.GRU(3, return_sequences=True, return_state=True)(x, initial_state=h)
    inner = keras.Model([x, h], [state, y])
    first, sequence = inner([s.frames(), s.input(3)])
    second, _ = inner([s.frames(), first])
    return [second, L.SimpleRNN(2)(sequence)]


def a_mask_into_a_model(s: Sources) -> Any:
    """What masks the outer frames is read inside, and goes on behind."""
    y = encoder()(L.Embedding(IDS, FEATURES, mask_zero=True)(s.input(TIME, dtype="int32")))
    return [y, L.GRU(2)(y)]


def a_mask_out_of_a_model(s: Sources) -> Any:
    x = L.Input((TIME, FEATURES))
    inner = keras.Model(x, L.Dense(3)(L.Masking(MASKED)(x)))
    return L.GRU(2)(inner(s.frames()))


def an_embedding_inside(s: Sources) -> Any:
    words = L.Input((TIME,), dtype="int32")
    inner = keras.Model(words, L.LSTM(3)(L.Embedding(IDS, 4, mask_zero=True)(words)))
    a, b = inner(s.input(TIME, dtype="int32")), inner(s.input(TIME, dtype="int32"))
    return L.Dense(1)(ops.absolute(a - b))


def a_sequential_as_layer_twice(s: Sources) -> Any:
    shared = keras.Sequential([L.Dense(4, activation="relu"), L.Dropout(0.3), L.Dense(3)])
    return L.Add()([shared(s.frames()), shared(s.frames("masking"))])


def frozen_in_the_middle(s: Sources) -> Any:
    """Legacy files list what was trained before what was not."""
    norm = L.BatchNormalization()
    norm.trainable = False
    inner = keras.Sequential([L.Input((TIME, FEATURES)), L.Dense(3), norm, L.Dense(3), L.GRU(2)])
    inner.layers[2].trainable = False
    return L.Dense(2)(inner(s.frames()))


def frozen_two_models_deep(s: Sources) -> Any:
    """Legacy paths do not name the models around a layer, so that nothing but order tells."""

    def model(name: str) -> keras.Model:
        x = L.Input((TIME, FEATURES))
        return keras.Model(x, L.Dense(FEATURES, name=f"{name}_dense")(x), name=name)

    first, second = model("first"), model("second")
    x = L.Input((TIME, FEATURES))
    both = keras.Model(x, second(first(x)))
    first.trainable = False
    return both(s.frames())


def a_frozen_cell(s: Sources) -> Any:
    layer = L.RNN([L.SimpleRNNCell(FEATURES), L.SimpleRNNCell(FEATURES)])
    y = layer(s.frames())
    layer.cell.cells[0].trainable = False
    return y


# ---- Words within sentences ---------------------------------------------------------------------


def hierarchy(s: Sources) -> Any:
    """A hierarchical network: words to sentences to a document, both levels masked."""
    words = L.Input((4,), dtype="int32")
    x = L.Embedding(IDS, 3, mask_zero=True)(words)
    sentence = keras.Model(words, L.Bidirectional(L.GRU(2))(x))
    document = L.TimeDistributed(sentence)(s.input(TIME, 4, dtype="int32"))
    return L.Dense(2)(L.Bidirectional(L.LSTM(3))(document))


def hierarchy_of_attention(s: Sources) -> Any:
    words = L.Input((4,), dtype="int32")
    x = L.GRU(3, return_sequences=True)(L.Embedding(IDS, 3, mask_zero=True)(words))
    # Under a mask Keras's own layer Softmax fails.
    weights = ops.softmax(L.Dense(1, use_bias=False)(L.Dense(3, activation="tanh")(x)), axis=1)
    sentence = keras.Model(words, ops.sum(x * weights, axis=1))
    document = L.TimeDistributed(sentence)(s.input(TIME, 4, dtype="int32"))
    return L.GRU(2)(document)


def frames_within_frames(s: Sources) -> Any:
    inner = keras.Sequential([L.Input((4, FEATURES)), L.Masking(MASKED), L.LSTM(3)])
    return L.SimpleRNN(2)(L.TimeDistributed(inner)(s.input(TIME, 4, FEATURES)))


# ---- States -------------------------------------------------------------------------------------


def encoder_and_decoder(s: Sources) -> Any:
    source, target = s.frames("embedding"), s.frames("masking")
    _, *states = L.Bidirectional(L.LSTM(2, return_state=True))(source)
    h, c = L.Concatenate()(states[::2]), L.Concatenate()(states[1::2])
    y, h, c = L.LSTM(4, return_sequences=True, return_state=True)(target, initial_state=[h, c])
    return {"y": L.Dense(2, activation="softmax")(y), "h": h, "c": [c, h]}


def attention_between(s: Sources) -> Any:
    source, target = s.frames("embedding"), s.frames("masking")
    keys, state = L.GRU(3, return_sequences=True, return_state=True)(source)
    queries = L.GRU(3, return_sequences=True)(target, initial_state=state)
    context = L.Attention()([queries, keys])
    return L.Dense(2)(L.Concatenate()([queries, context]))


def states_between_bidirectionals(s: Sources) -> Any:
    both = L.Bidirectional(L.GRU(2, return_sequences=True, return_state=True))
    y, *states = both(s.frames("masking"))
    return L.Bidirectional(L.GRU(2), merge_mode="ave")(y, initial_state=states)


def a_cell_step_by_step(s: Sources) -> Any:
    cell, x, h = L.GRUCell(3), s.frames(), s.input(3)
    for step in range(3):
        y, h = cell(x[:, step], h)
    return [y, h]


# ---- Masks --------------------------------------------------------------------------------------


def a_chain_of_masked_layers(s: Sources) -> Any:
    x = s.frames("masking")
    for layer in (
        L.Dense(4), L.LayerNormalization(), L.Activation("tanh"), L.Dropout(0.2),
        L.GRU(3, return_sequences=True, go_backwards=True),
        L.Bidirectional(L.LSTM(2, return_sequences=True), "sum"),
        L.TimeDistributed(L.Dense(3)),
        L.RNN([L.GRUCell(2), L.LSTMCell(3)], return_sequences=True),
    ):  # fmt: skip
        x = layer(x)
    return [x, L.GlobalAveragePooling1D()(x), L.SimpleRNN(2)(x)]


def masks_that_meet(s: Sources) -> Any:
    a, b, c = s.frames("masking"), s.frames("embedding"), s.frames()
    x = L.Maximum()([L.Add()([a, b]), L.Multiply()([a, b])])
    y = L.Concatenate()([x, c])
    z = L.Concatenate(axis=1)([y, L.Average()([y, y])])
    return [L.GRU(2)(x), L.GRU(2)(y), L.GRU(2)(z), L.SimpleRNN(2)(L.Subtract()([a, c]))]


def masks_joined_over_time(s: Sources) -> Any:
    a, b, c = s.frames("masking"), s.frames(time=2), s.frames("embedding", time=3)
    return [
        L.GRU(2)(L.Concatenate(axis=1)([a, b, c])),
        L.GRU(2)(L.Concatenate(axis=1)([b, a, b])),
        L.GRU(2)(L.Concatenate(axis=-2)([b, b, c])),
    ]


def a_mask_given_at_a_call(s: Sources) -> Any:
    ids = s.input(TIME, dtype="int32")
    mask, x = ops.not_equal(ids, 0), L.Embedding(IDS, 4)(ids)
    y = L.LSTM(3, return_sequences=True)(x, mask=mask)
    z = L.Bidirectional(L.GRU(2))(y, mask=ops.logical_and(mask, s.mask()))
    return [z, L.GlobalAveragePooling1D()(y, mask=mask)]


def a_mask_in_place_of_another(s: Sources) -> Any:
    return L.GRU(2)(s.frames("masking"), mask=s.mask())


def masks_that_are_dropped(s: Sources) -> Any:
    x = s.frames("masking")
    y = L.Conv1D(3, 2, padding="causal")(x)
    return [L.GRU(2)(y), L.GRU(2)(L.MaxPooling1D(2)(x)), L.GRU(2)(L.Reshape((3, 6))(x))]


def masks_that_attention_takes(s: Sources) -> Any:
    """Keras takes them from the very tensors: who comes after MultiHeadAttention sees none."""
    x = s.frames("masking")
    y = L.MultiHeadAttention(2, 2, output_shape=3)(x, x)
    return [L.Attention()([x, y]), L.Add()([x, y]), y, L.Attention()([y, x])]


def masks_that_attention_takes_inside(s: Sources) -> Any:
    x, z = s.frames("masking"), L.Input((TIME, FEATURES))
    inner = keras.Model(z, L.MultiHeadAttention(2, 2, output_shape=3)(L.Dense(3)(z), z))
    y = inner(x)
    return [L.Attention()([y, x]), L.GRU(2)(L.Add()([x, y]))]


def masks_that_attention_takes_through_dropout(s: Sources) -> Any:
    """Layers that do nothing return the very tensor: taken behind one is taken before it too."""
    ends = []
    nested = keras.Sequential([L.Input((None, 3)), L.Dropout(0.1)])
    for idle in (L.Dropout(0.1), L.Activation("linear"), L.GaussianNoise(0.1), nested, _cast):
        x = L.GRU(3, return_sequences=True)(s.frames("masking"))
        y = L.MultiHeadAttention(2, 2, output_shape=3)(*[idle(x)] * 2)
        late = L.Reshape((1, 3))(L.GlobalAveragePooling1D()(y))
        ends += [L.GlobalAveragePooling1D()(L.Multiply()([x, late])), L.GRU(2)(L.Add()([x, y]))]
    return ends


def _cast(x: Any) -> Any:
    return ops.cast(x, "float32")


def masks_that_attention_takes_from_outputs(s: Sources) -> Any:
    """What leaves a model is what it was inside: without a mask, or one tensor twice."""

    def parts(*names: str) -> Any:
        z = L.Input((TIME, FEATURES))
        h = L.GRU(3, return_sequences=True)(z)
        dropped = L.Dropout(0.1)(h)
        y = L.MultiHeadAttention(2, 2, output_shape=3)(dropped, dropped)
        return keras.Model(z, [{"h": h, "y": y, "dropped": dropped}[name] for name in names])

    x = s.frames("masking")
    h, dropped = parts("h", "dropped")(x)
    y = L.MultiHeadAttention(2, 2, output_shape=3)(dropped, dropped)
    late = L.Reshape((1, 3))(L.GlobalAveragePooling1D()(y))
    ends = [*parts("h", "y", "dropped")(x), L.Multiply()([h, late])]
    return [L.GlobalAveragePooling1D()(end) for end in ends]


# ---- Operations ---------------------------------------------------------------------------------


def one_hot_vectors(s: Sources) -> Any:
    """Read by recurrent layers and a Dense, and as such; a mask of the ids is none of theirs."""
    ids = s.input(TIME, dtype="int32")
    x = ops.one_hot(ids, IDS)
    y = L.CategoryEncoding(IDS + 1, output_mode="one_hot")(ids)
    return [
        L.LSTM(3)(x), L.GRU(2, activation="relu")(x, mask=ops.not_equal(ids, 0)),
        L.Bidirectional(L.SimpleRNN(2, return_sequences=True))(y), L.Dense(3)(y), x * 2, y,
    ]  # fmt: skip


def one_hot_letters_of_words(s: Sources) -> Any:
    letters = L.Input((4,), dtype="int32")
    word = keras.Model(letters, L.GRU(3)(ops.one_hot(letters, IDS)))
    return L.LSTM(2)(L.TimeDistributed(word)(s.input(TIME, 4, dtype="int32")))


def operators(s: Sources) -> Any:
    x, y = s.frames(), s.frames()
    z = x * 2 + 1 - y / 4
    z = (1 - z) * y - 0.5
    return [-z, abs(z), x[:, -1], x[:, 1:4], x[..., 0], x[:, ::2, 1:], ops.square(x) ** 0.5]


def reductions(s: Sources) -> Any:
    x = s.frames()
    return [
        ops.mean(x, axis=1), ops.sum(x, axis=-1), ops.max(x, axis=1, keepdims=True),
        ops.min(x, axis=(1, 2)), ops.mean(x, axis=[1, 2], keepdims=True),
    ]  # fmt: skip


def shapes(s: Sources) -> Any:
    x, y = s.frames(), s.frames()
    return [
        ops.concatenate([x, y], axis=1), ops.concatenate([x, y], axis=-1),
        ops.matmul(x, ops.transpose(y, (0, 2, 1))), ops.reshape(x, (-1, 9, 2)),
        ops.expand_dims(x[:, 0], 1), ops.squeeze(x[:, :1], 1), ops.cast(x, "float32"),
    ]  # fmt: skip


def functions(s: Sources) -> Any:
    x = s.frames()
    return [
        ops.tanh(x), ops.sigmoid(x), ops.relu(x), ops.softmax(x), ops.exp(x), ops.gelu(x),
        ops.gelu(x, approximate=False), ops.softplus(x), ops.silu(x), ops.leaky_relu(x),
        ops.hard_sigmoid(x), ops.log(ops.exp(x) + 1), ops.sqrt(ops.square(x)), ops.elu(x),
        ops.maximum(x, 0), ops.log_softmax(x), ops.relu6(x), ops.selu(x), ops.softsign(x),
        ops.maximum(x, ops.negative(x)), ops.minimum(x, x * x), 1 / (ops.square(x) + 1),
    ]  # fmt: skip


def handmade_attention(s: Sources) -> Any:
    x = L.Bidirectional(L.LSTM(2, return_sequences=True))(s.frames("embedding"))
    scores = L.Dense(1)(ops.tanh(x))
    weights = L.Softmax(axis=1)(scores)
    pooled = ops.sum(weights * x, axis=1)
    weighed = L.Dot((1, 1))([weights, x])
    return [pooled, L.Flatten()(weighed)]


def one_layer_four_times(s: Sources) -> Any:
    dense, x = L.Dense(FEATURES, activation="tanh"), s.frames("masking")
    y = dense(dense(x))
    return [dense(dense(y[:, 0])), L.GRU(2)(y)]


def inputs_that_are_outputs(s: Sources) -> Any:
    x = s.frames()
    y = L.Dense(2)(x)
    return [y, L.Activation("tanh")(y), y]


GRAPHS: list[Make] = [
    nested_twice, called_twice, of_the_same_class_and_unlike_names, several_ways_in_and_out,
    a_mask_into_a_model, a_mask_out_of_a_model, an_embedding_inside, a_sequential_as_layer_twice,
    frozen_in_the_middle, frozen_two_models_deep, a_frozen_cell, hierarchy,
    hierarchy_of_attention, frames_within_frames,
    encoder_and_decoder, attention_between, states_between_bidirectionals, a_cell_step_by_step,
    a_chain_of_masked_layers, masks_that_meet, masks_joined_over_time, a_mask_given_at_a_call,
    a_mask_in_place_of_another, masks_that_are_dropped, masks_that_attention_takes,
    masks_that_attention_takes_inside, masks_that_attention_takes_through_dropout,
    masks_that_attention_takes_from_outputs, one_hot_vectors, one_hot_letters_of_words,
    operators, reductions, shapes, functions,
    handmade_attention, one_layer_four_times, inputs_that_are_outputs,
]  # fmt: skip


@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)
def test_graph(make: Make, tmp_path: Path) -> None:
    same_in_all_ways(model_of(make), tmp_path)


# ---- What Keras computes and we do not ----------------------------------------------------------

MIXED: dict[str, tuple[Make, str]] = {
    "one-hot axis": (
        lambda s: ops.one_hot(s.input(TIME, dtype="int32"), IDS, axis=1),
        "vectors with axis=1",
    ),
    "one-hot dtype": (
        lambda s: ops.one_hot(s.input(TIME, dtype="int32"), IDS, dtype="int32"),
        "dtype='int32'",
    ),
    "softmax": (lambda s: ops.softmax(s.frames(), axis=None), "softmax over axis None"),
    "ranks": (
        lambda s: ops.add(s.frames(), ops.mean(s.frames(), axis=1)),
        r"expected values of equally many axes.*\[3, 2\]",
    ),
}


@pytest.mark.parametrize(("make", "why"), MIXED.values(), ids=MIXED)
def test_operations_that_mix_rows_are_refused(make: Make, why: str, tmp_path: Path) -> None:
    """Arrays align their last axes: time would meet the batch, where both are as long."""
    model_of(make).save(tmp_path / "m.keras")
    with pytest.raises(sc.UnsupportedLayerError, match=why):
        sc.load(tmp_path / "m.keras")
