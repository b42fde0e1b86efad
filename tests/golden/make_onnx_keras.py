"""Writes onnx/keras2_*.onnx and onnx/keras3_*.onnx: what tf2onnx makes of Keras's models.

tf2onnx writes sequences time first behind transposes, one-dimensional convolutions as
two-dimensional ones, shapes as arithmetic, and recurrent layers as LSTM and GRU where it knows
their loops; others stay a Loop, which is refused: one such file is kept, keras3_gru.onnx.

    pip install tensorflow-cpu tf_keras tf2onnx onnxruntime
    python tests/golden/make_onnx_keras.py
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras as keras3
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx
import tf_keras as keras2

HERE = Path(__file__).parent / "onnx"
LOOP = "keras3_gru.onnx"


def models(keras: Any) -> dict[str, Any]:
    layers, sequential = keras.layers, keras.Sequential
    x = keras.Input((None, 4))
    y = layers.Conv1D(6, 3, padding="causal", activation="relu")(x)
    y = layers.BatchNormalization()(layers.MaxPooling1D(2)(y))
    y = layers.Bidirectional(layers.LSTM(5, return_sequences=True))(y)
    front = keras.Model(x, layers.Dense(3, activation="softmax")(y))
    h = keras.Input((6,))
    y, state = layers.GRU(6, return_sequences=True, return_state=True)(x, initial_state=h)
    stepping = keras.Model([x, h], [layers.TimeDistributed(layers.Dense(2))(y), state])
    return {
        "lstm": sequential([keras.Input((None, 4)), layers.LSTM(5, return_sequences=True),
                            layers.LSTM(6), layers.Dense(2)]),
        "gru": sequential([keras.Input((None, 4)), layers.GRU(5, return_sequences=True),
                           layers.GRU(6, reset_after=False), layers.Dense(2, "sigmoid")]),
        "rnn": sequential([keras.Input((None, 4)), layers.SimpleRNN(5, activation="relu")]),
        "embedding": sequential([keras.Input((None,), dtype="int32"), layers.Embedding(11, 4),
                                 layers.Bidirectional(layers.GRU(5)), layers.Dense(3)]),
        "front": front,
        "stepping": stepping,
        "pooled": sequential([keras.Input((None, 4)), layers.SeparableConv1D(6, 3, padding="same"),
                              layers.LayerNormalization(), layers.LSTM(5, return_sequences=True),
                              layers.GlobalAveragePooling1D(), layers.Dense(2)]),
        "shapes": sequential([
            keras.Input((6, 4)), layers.Permute((2, 1)),
            layers.LSTM(5, go_backwards=True, return_sequences=True),
            layers.Reshape((10, 2)), layers.Flatten(), layers.RepeatVector(3),
            layers.LSTM(2, recurrent_activation="hard_sigmoid"),
        ]),
    }  # fmt: skip


def export(model: Any, path: Path) -> str:
    given = [
        tf.TensorSpec([None, *each.shape[1:]], each.dtype, name=f"x{k}")
        for k, each in enumerate(model.inputs)
    ]

    @tf.function(input_signature=given)
    def call(*inputs: Any) -> Any:
        return model(list(inputs) if len(inputs) > 1 else inputs[0])

    made, _ = tf2onnx.convert.from_function(call, input_signature=given, opset=17)
    made.ClearField("doc_string")
    made.graph.ClearField("doc_string")
    for node in made.graph.node:
        node.ClearField("doc_string")
    looping = any(node.op_type == "Loop" for node in made.graph.node)
    if looping and path.name != LOOP:
        return "a Loop: not kept"
    onnx.save(made, path)
    rng = np.random.default_rng(0)
    feeds = {}
    for spec in given:
        sizes = [n or (3 if k == 0 else 8) for k, n in enumerate(spec.shape)]
        whole = spec.dtype.is_integer
        array = rng.integers(0, 11, sizes) if whole else rng.normal(size=sizes)
        feeds[spec.name] = array.astype(spec.dtype.as_numpy_dtype)
    session = onnxruntime.InferenceSession(made.SerializeToString())
    wanted = call(*feeds.values())
    wanted = wanted if isinstance(wanted, (list, tuple)) else [wanted]
    got = session.run(None, {i.name: feeds[i.name.split(":")[0]] for i in session.get_inputs()})
    off = max(float(np.abs(a - b.numpy()).max()) for a, b in zip(got, wanted, strict=True))
    counts = Counter(node.op_type for node in made.graph.node)
    return f"{path.stat().st_size} bytes, {off:.1e} from Keras, {dict(counts)}"


def main() -> None:
    HERE.mkdir(exist_ok=True)
    for number, keras in ((2, keras2), (3, keras3)):
        keras.utils.set_random_seed(1)
        for name, model in models(keras).items():
            path = HERE / f"keras{number}_{name}.onnx"
            try:
                said = export(model, path)
            except Exception as error:  # what tf2onnx cannot do is no file, and said
                said = f"not exported: {type(error).__name__}: {str(error)[:200]}"
            print(f"{path.name}: {said}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
