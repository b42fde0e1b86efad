"""Makes the Keras 1 files of this folder, keras1_*.h5 and keras1_*.npz, with Keras 1's own outputs.

Keras 1 ran on Theano, and on Python up to 3.6. In an environment of its own (Python 3.6):

    pip install keras==1.2.2 theano==0.9.0 numpy==1.13.3 scipy==1.1.0 h5py==2.10.0 pyyaml==5.4.1
    python tests/golden/make_keras1.py

Each .npz holds the inputs x0, x1 ... and Keras's outputs y0, y1 ... of the .h5 of the same name.
"""

import os
import zlib
from pathlib import Path

os.environ["KERAS_BACKEND"] = "theano"
os.environ["THEANO_FLAGS"] = "device=cpu,floatX=float32"

import keras
import numpy as np
from keras import layers
from keras.models import Model, Sequential

FOLDER = Path(__file__).parent
VERSION = "1.2.2"


def features(*shape):
    return np.random.RandomState(sum(shape)).normal(size=shape).astype(np.float32)


def ids(rows, *shape):
    return np.random.RandomState(rows).randint(0, rows, shape)


def randomise(model):
    """Give every weight, biases too, a value that shows when it is used in the wrong place."""
    for variable in model.weights:
        # By name, since the order of layers is another in every run.
        rng = np.random.RandomState(zlib.crc32(variable.name.encode()))
        shape = keras.backend.get_value(variable).shape
        positive = variable.name.endswith("running_std")  # a variance, whatever its name says
        value = rng.uniform(0.5, 2, shape) if positive else rng.normal(0, 0.5, shape)
        keras.backend.set_value(variable, value.astype(np.float32))


def recurrent():
    """Every recurrent kind, one array a gate; hard_sigmoid, the default of its time; a mask."""
    model = Sequential(
        [
            layers.Masking(mask_value=0.5, input_shape=(None, 3)),
            layers.LSTM(5, return_sequences=True, dropout_W=0.2, dropout_U=0.2),
            layers.GRU(4, return_sequences=True, inner_activation="sigmoid"),
            layers.SimpleRNN(3, activation="relu"),
            layers.Dense(2, activation="softmax"),
        ]
    )
    x = features(4, 7, 3)
    x[0, 4:] = x[1, :2] = x[2, 3] = x[2, 5] = 0.5  # behind, before, holes
    return model, [x]


def convolution():
    """Convolutions with four axes, pooling, gates side by side, a layer that goes backwards."""
    model = Sequential(
        [
            layers.Embedding(9, 5, input_length=12),
            layers.Convolution1D(6, 3, border_mode="same", activation="relu"),
            layers.MaxPooling1D(pool_length=2),
            layers.Convolution1D(4, 2, subsample_length=2, bias=False),
            layers.LSTM(4, consume_less="gpu", return_sequences=True),
            layers.GRU(3, consume_less="gpu", go_backwards=True, return_sequences=True),
            layers.Flatten(),
            layers.Dense(1, activation="hard_sigmoid"),
        ]
    )
    return model, [ids(9, 4, 12)]


def functional():
    """Two inputs, Bidirectional over a mask with holes, a shared layer, merges by function."""
    words = layers.Input((6,), dtype="int32", name="words")
    extra = layers.Input((6, 4), name="extra")
    vectors = layers.Embedding(7, 4, mask_zero=True)(words)
    both = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(vectors)
    final = layers.Bidirectional(layers.GRU(2), merge_mode="sum")(both)
    shared = layers.TimeDistributed(layers.Dense(3, activation="tanh"))
    x = layers.merge([shared(extra), layers.GRU(3, return_sequences=True)(extra)], mode="mul")
    x = layers.BatchNormalization()(x)
    x = layers.GlobalAveragePooling1D()(x)
    y = layers.merge([x, layers.SimpleRNN(3)(shared(extra))], mode="sum")
    mixed = layers.merge([final, y], mode="concat")
    x = ids(7, 3, 6)
    x[0, 2:4] = x[1, 4:] = x[2, 0] = 0
    return Model([words, extra], [layers.Dense(2)(mixed), y]), [x, features(3, 6, 4)]


def branches():
    """The Merge layer of two Sequential models, the form before the functional one."""
    left = Sequential([layers.LSTM(3, input_shape=(5, 2))])
    right = Sequential([layers.Dense(4, input_shape=(6,)), layers.Activation("relu")])
    model = Sequential([layers.Merge([left, right], mode="concat"), layers.Dense(2)])
    return model, [features(3, 5, 2), features(3, 6)]


def main():
    if keras.__version__ != VERSION:
        raise SystemExit(f"expected Keras {VERSION}, found {keras.__version__}")
    for make in (recurrent, convolution, functional, branches):
        model, inputs = make()
        randomise(model)
        outputs = model.predict(inputs)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        stem = str(FOLDER / f"keras1_{make.__name__}")
        model.save(stem + ".h5")
        arrays = {f"x{k}": x for k, x in enumerate(inputs)}
        arrays.update((f"y{k}", y) for k, y in enumerate(outputs))
        np.savez_compressed(stem + ".npz", **arrays)


if __name__ == "__main__":
    main()
