"""Does my Keras model give the same numbers here, and how fast? Keras and seqcore side by side.

    python examples/compare_with_keras.py model.keras

takes a .keras or .h5 file. Without one, a small model that nobody trained is made and saved first:
masked words through a bidirectional LSTM and attention. It needs Keras 3 with any of its backends.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import seqcore as sc

os.environ.setdefault("KERAS_BACKEND", "torch")
try:
    import keras
except ImportError:
    sys.exit("this compares with Keras: pip install keras torch")

BATCH, FRAMES, CALLS = 4, 20, 5  # Keras may take a second for each call


def small_model() -> keras.Model:
    """Return words of which 0 is padding -> BiLSTM -> attention -> one score."""
    words = keras.Input((None,), dtype="int32", name="words")
    x = keras.layers.Embedding(1000, 32, mask_zero=True)(words)
    x = keras.layers.Bidirectional(keras.layers.LSTM(32, return_sequences=True))(x)
    x = keras.layers.MultiHeadAttention(2, 16)(x, x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    return keras.Model(words, keras.layers.Dense(1, activation="sigmoid")(x))


def inputs_of(model: keras.Model) -> list[NDArray[Any]]:
    """Return random values for a model's inputs.

    Where any are ids, all are small whole numbers that every vocabulary has: floats may be, too.
    """
    rng = np.random.default_rng(0)
    layers = model._flatten_layers()
    vocabularies = [layer.input_dim for layer in layers if hasattr(layer, "embeddings")]
    shapes = [
        (BATCH, *(FRAMES if size is None else size for size in value.shape[1:]))
        for value in model.inputs
    ]
    if vocabularies:
        return [rng.integers(0, min(vocabularies), shape) for shape in shapes]
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def milliseconds(call: Callable[[], Any]) -> float:
    """Return the median time of a warm call."""
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def compare(path: str | os.PathLike[str]) -> None:
    """Print the largest difference between Keras's outputs and ours, and both times."""
    model = sc.load(path)
    print(model.summary(), end="\n\n")
    try:
        trained = keras.saving.load_model(path, compile=False)
    except (TypeError, ValueError) as error:  # such as an LSTM of Keras 2
        sys.exit(f"Keras {keras.__version__} does not load this file: {str(error).splitlines()[0]}")
    inputs = inputs_of(trained)
    given = keras.tree.pack_sequence_as(trained.input, inputs)
    expected = keras.tree.flatten(trained.predict_on_batch(given))
    found = keras.tree.flatten(model(*inputs))
    for name, ours, theirs in zip(model.outputs, found, expected, strict=True):
        print(f"{name}: largest difference {np.abs(ours - theirs).max():.1e}")
    slow = milliseconds(lambda: trained.predict_on_batch(given))
    fast = milliseconds(lambda: model(*inputs))
    print(f"Keras {slow:.2f} ms, seqcore {fast:.2f} ms: {slow / fast:.1f} times as fast")


def main(arguments: Sequence[str]) -> None:
    """Compare the model of a file, or the small one."""
    if arguments:
        compare(arguments[0])
        return
    keras.utils.set_random_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.keras"
        small_model().save(path)
        compare(path)


if __name__ == "__main__":
    main(sys.argv[1:])
