"""Makes the files keras2.2.4_* to keras3.0.5_* of this folder, with each Keras's own outputs.

One version of Keras at a time, each in an environment of its own:

    Python 3.6    pip install keras==2.2.4 tensorflow==1.12.3 numpy==1.16.6 h5py==2.10.0
    Python 3.11   pip install tensorflow-cpu==2.13.1
    Python 3.11   pip install tensorflow-cpu==2.15.1 h5py==3.10.0 numpy==1.26.4
    Python 3.11   pip install keras==3.0.5 torch==2.13.0 h5py==3.16.0

    python tests/golden/make_keras_versions.py

Each .npz holds the inputs x0, x1 ... and Keras's outputs y0, y1 ... of the model file or weights of
the same name; again0, again1 ... are the outputs of the next call where states are kept.
"""

import os
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ["KERAS_BACKEND"] = "tensorflow"
try:
    import torch  # noqa: F401

    os.environ["KERAS_BACKEND"] = "torch"
except ImportError:
    pass

import keras
import numpy as np
from keras import layers

FOLDER = Path(__file__).parent
VERSION = keras.__version__
OLD = VERSION == "2.2.4"


def features(*shape):
    return np.random.RandomState(sum(shape)).normal(size=shape).astype(np.float32)


def ids(rows, *shape):
    return np.random.RandomState(rows).randint(0, rows, shape)


def randomise(model):
    """Give every weight, biases too, a value that shows when it is used in the wrong place."""
    rng = np.random.RandomState(7)
    for variable in model.weights:  # get_weights() has another order in 2.2.4
        shape = tuple(int(size) for size in variable.shape)
        positive = "variance" in getattr(variable, "path", variable.name)
        value = rng.uniform(0.5, 2, shape) if positive else rng.normal(0, 0.5, shape)
        if VERSION[0] == "2":
            keras.backend.set_value(variable, value.astype(np.float32))
        else:
            variable.assign(value.astype(np.float32))


def gru(units, **options):
    """A GRU of either kind; 2.2.4 and 3 have other defaults."""
    options.setdefault("reset_after", True)
    return layers.GRU(units, **options)


def masks():
    """Masks with holes from mask_zero and Masking, through Bidirectional and both kinds of GRU."""
    words = layers.Input((None,), name="words")
    frames = layers.Input((None, 3), name="frames")
    x = layers.Embedding(7, 4, mask_zero=True)(words)
    both = layers.Bidirectional(layers.LSTM(2, return_sequences=True))(x)
    y = layers.Masking(0.5)(frames)
    y = gru(3, return_sequences=True)(y)
    y = gru(2, return_sequences=True, reset_after=False, go_backwards=True)(y)
    last = gru(2, reset_after=False)(both)
    w, v = ids(7, 4, 6), features(4, 6, 3)
    w[0, 2:4] = w[1, 3:] = w[2, :2] = 0
    v[0, 1] = v[0, 4] = v[1, 4:] = v[2, :3] = v[3] = 0.5  # the last row has no frame that counts
    return keras.models.Model([words, frames], [both, y, last]), [w, v]


def cells():
    """Cells stacked under a mask, backwards; the recurrent_activation that is the default."""
    x = inputs = layers.Input((None, 3))
    x = x if OLD else layers.Masking()(x)  # 2.2.4 masks no cells of several sizes
    stack = [layers.GRUCell(3), layers.LSTMCell(2), layers.SimpleRNNCell(4, activation="relu")]
    x = layers.RNN(stack, return_sequences=True)(x)
    x = layers.RNN(layers.LSTMCell(3, recurrent_activation="hard_sigmoid"), go_backwards=True)(x)
    x = layers.Subtract()([x, layers.Multiply()([x, x])])
    v = features(3, 5, 3)
    v[0, 1:3] = v[1, 3:] = 0
    return keras.models.Model(inputs, x), [v]


def nested():
    """A model called twice, frozen weights in its middle, several merges, misleading names."""
    norm = layers.BatchNormalization()
    norm.trainable = False
    inner = keras.models.Sequential(
        [layers.Dense(4, input_shape=(None, 3)), norm, layers.LSTM(3, return_sequences=True)]
        if OLD
        else [layers.Input((None, 3)), layers.Dense(4), norm, layers.LSTM(3, return_sequences=True)]
    )
    left, right = layers.Input((5, 3), name="left"), layers.Input((5, 3), name="right")
    a, b = inner(left), inner(right)
    dense = layers.TimeDistributed(layers.Dense(3, activation="tanh"), name="lstm")
    x = layers.Add()([a, b, dense(left)])
    y = layers.Average()([layers.Maximum()([a, b]), dense(right)])
    y = layers.Dense(2, name="dense_2")(layers.Concatenate()([x, y]))
    y = layers.Dense(2, name="dense_1")(y)
    return keras.models.Model([left, right], [y, x]), [features(2, 5, 3), features(2, 5, 3) - 1]


def attention():
    """Parts of a layer that Keras 2 kept in private attributes."""
    x = inputs = layers.Input((None, 3))
    x = layers.MultiHeadAttention(2, 2)(x, layers.LSTM(3, return_sequences=True)(x))
    return keras.models.Model(inputs, layers.LayerNormalization()(x)), [features(2, 4, 3)]


def stateful():
    """States that are kept from call to call, of a batch of fixed size."""
    x = inputs = layers.Input(batch_shape=(2, 3, 4))
    x = layers.LSTM(3, stateful=True, return_sequences=True)(x)
    x = gru(2, stateful=True)(x)
    return keras.models.Model(inputs, x), [features(2, 3, 4)]


def write(name, model, inputs):
    """Write inputs and outputs."""
    arrays = {f"x{k}": x for k, x in enumerate(inputs)}
    for key in ("y", "again") if "stateful" in name else ("y",):
        outputs = model.predict(inputs, batch_size=len(inputs[0]), verbose=0)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        arrays.update((f"{key}{k}", y) for k, y in enumerate(outputs))
    np.savez_compressed(str(FOLDER / f"keras{VERSION}_{name}.npz"), **arrays)


def save(kind, *names):
    """Save models as files of one kind."""
    for name in names:
        keras.backend.clear_session()
        model, inputs = globals()[name]()
        randomise(model)
        stem = str(FOLDER / f"keras{VERSION}_{name}")
        if kind == "h5":
            model.save(stem + ".h5", include_optimizer=False)
        elif kind == "keras":
            model.save(stem + ".keras")
        elif kind == "npz":  # by an argument that the public function has not
            from keras.src.saving import saving_lib

            name += "_npz"
            saving_lib._SAVING_V3_ENABLED.value = True
            saving_lib.save_model(model, stem + "_npz.keras", weights_format="npz")
        else:
            name += "_only"
            model.save_weights(stem + "_only" + kind)
        write(name, model, inputs)


def save_cudnn():
    """CuDNN's layers, written by Keras; outputs by the plain layers that Keras loads them into.

    They can be built without a GPU, but neither run nor have variables: their numbers are drawn
    where Keras would fetch them.
    """
    from keras.engine import saving

    def model(lstm, gru):
        x = inputs = layers.Input((None, 3))
        x = layers.Bidirectional(lstm(4, return_sequences=True))(x)
        return keras.models.Model(inputs, gru(2)(x))

    def drawn(variables):
        return [rng.normal(0, 0.5, keras.backend.int_shape(v)).astype("f4") for v in variables]

    rng = np.random.RandomState(7)
    keras.backend.clear_session()
    path = str(FOLDER / "keras2.2.4_cudnn.h5")
    fetch, saving.K.batch_get_value = saving.K.batch_get_value, drawn
    model(layers.CuDNNLSTM, layers.CuDNNGRU).save(path, include_optimizer=False)
    saving.K.batch_get_value = fetch
    keras.backend.clear_session()
    plain = model(
        lambda n, **options: layers.LSTM(n, recurrent_activation="sigmoid", **options),
        lambda n: layers.GRU(n, recurrent_activation="sigmoid", reset_after=True),
    )
    plain.load_weights(path)
    write("cudnn", plain, [features(3, 5, 3)])


def main():
    if VERSION == "2.2.4":
        save("h5", "masks", "cells", "nested", "stateful")
        save(".h5", "nested")
        save_cudnn()
    elif VERSION == "2.13.1":
        save("keras", "nested")
    elif VERSION == "2.15.0":
        save("keras", "masks", "cells", "nested", "stateful", "attention")
        save("npz", "nested")
        save(".weights.h5", "nested")
    elif VERSION == "3.0.5":
        save("keras", "masks", "cells", "nested", "stateful", "attention")
        save(".weights.h5", "masks")
    else:
        raise SystemExit(f"Keras {VERSION} is none of the versions above")


if __name__ == "__main__":
    main()
