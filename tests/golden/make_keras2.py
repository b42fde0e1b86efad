"""Makes the Keras 2 files of this folder, keras2_*.h5 and keras2_*.npz, with Keras 2's own outputs.

Keras 2 cannot be installed beside Keras 3, so these are kept. In an environment of its own
(Python 3.11):

    pip install tensorflow-cpu==2.15.1 h5py==3.16.0 numpy==1.26.4
    python tests/golden/make_keras2.py

Each .npz holds the inputs x0, x1 ... and Keras's outputs y0, y1 ... of the .h5 of the same name.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"

import keras
import numpy as np
from keras import layers

FOLDER = Path(__file__).parent
VERSION = "2.15.0"


def features(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def ids(rows: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(rows).integers(0, rows, shape)


def randomise(model: keras.Model) -> None:
    """Give every weight, biases too, a value that shows when it is used in the wrong place."""
    rng = np.random.default_rng(7)
    model.set_weights(
        [rng.normal(scale=0.5, size=w.shape).astype(np.float32) for w in model.get_weights()]
    )


def hard_sigmoid() -> tuple[keras.Model, list[np.ndarray]]:
    """Every recurrent kind in a Sequential; Keras 2's hard_sigmoid, clip(0.2*x + 0.5, 0, 1)."""
    model = keras.Sequential(
        [
            layers.LSTM(
                5,
                recurrent_activation="hard_sigmoid",
                return_sequences=True,
                dropout=0.2,
                input_shape=(None, 4),
            ),
            layers.GRU(4, recurrent_activation="hard_sigmoid", return_sequences=True),
            layers.SimpleRNN(3, activation="relu", go_backwards=True),
            layers.Dropout(0.5),
            layers.Dense(2, activation="softmax"),
        ]
    )
    return model, [features(3, 9, 4)]


def bidirectional() -> tuple[keras.Model, list[np.ndarray]]:
    """Two inputs, two outputs; BiGRUs of both kinds of reset, merged three ways; a shared layer."""
    words = keras.Input((None,), dtype="int32", name="words")
    extra = keras.Input((None, 3), name="extra")
    vectors = layers.Embedding(11, 6)(words)
    joined = layers.Concatenate()([vectors, extra])
    after = layers.Bidirectional(layers.GRU(4, return_sequences=True))(joined)
    before = layers.Bidirectional(
        layers.GRU(4, return_sequences=True, reset_after=False), merge_mode="sum"
    )(joined)
    shared = layers.Dense(4, activation=layers.LeakyReLU(0.1))
    mixed = layers.Add()([shared(after), before, shared(after)])
    return keras.Model([words, extra], [mixed, after]), [ids(11, 3, 8), features(3, 8, 3)]


def convolution() -> tuple[keras.Model, list[np.ndarray]]:
    """The text classifiers of the time_major years: embedding, convolution, pooling, LSTM."""
    text = keras.Input((12,))  # float32, as Keras lets it be for ids
    x = layers.Embedding(9, 5, input_length=12)(text)
    x = layers.SpatialDropout1D(0.3)(x)
    x = layers.Conv1D(6, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling1D(2, padding="same")(x)
    x = layers.Conv1D(4, 2, padding="causal", dilation_rate=2, activation="elu")(x)
    x = layers.LSTM(4, return_sequences=True, time_major=False, unroll=True)(x)
    pooled = [
        layers.GlobalAveragePooling1D()(x),
        layers.GlobalMaxPooling1D()(x),
        layers.Flatten()(x),
    ]
    x = layers.ReLU(negative_slope=0.25)(layers.Concatenate(axis=1)(pooled))
    return keras.Model(text, layers.Dense(1, activation="sigmoid")(x)), [ids(9, 4, 12)]


def states() -> tuple[keras.Model, list[np.ndarray]]:
    """An encoder whose final states begin a decoder; a Bidirectional of two unlike layers."""
    source = keras.Input((None, 3), name="source")
    target = keras.Input((None, 2), name="target")
    _, h, c = layers.LSTM(4, return_state=True)(source)
    decoded, *_ = layers.LSTM(4, return_sequences=True, return_state=True)(
        target, initial_state=[h, c]
    )
    backward = layers.LSTM(2, go_backwards=True, use_bias=False)
    both = layers.Bidirectional(layers.LSTM(3), backward_layer=backward)(
        layers.TimeDistributed(layers.Dense(3, activation="gelu"))(decoded)
    )
    return keras.Model([source, target], [both, h]), [features(2, 6, 3), features(2, 5, 2)]


def main() -> None:
    if keras.__version__ != VERSION:
        raise SystemExit(f"expected Keras {VERSION}, found {keras.__version__}")
    for make in (hard_sigmoid, bidirectional, convolution, states):
        keras.backend.clear_session()
        model, inputs = make()
        randomise(model)
        outputs = model.predict(inputs, verbose=0)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        stem = FOLDER / f"keras2_{make.__name__}"
        model.save(f"{stem}.h5", include_optimizer=False)
        arrays = {f"x{k}": x for k, x in enumerate(inputs)}
        arrays |= {f"y{k}": y for k, y in enumerate(outputs)}
        np.savez_compressed(f"{stem}.npz", **arrays)


if __name__ == "__main__":
    main()
