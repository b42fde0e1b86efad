"""Random functional graphs, built and saved by Keras, loaded and compared; and refused by name.

Values are sequences (time, features) or vectors; each step calls a layer or an operation on values
that are there, and everything that nobody reads is an output. The choices come from hypothesis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from keras import layers as L
from keras import ops
from keras_matrix import TIME, Sources, flat, randomise
from keras_ways import same_in_all_ways

import seqcore as sc
from seqcore.errors import UnsupportedLayerError

Pick = Callable[[Any], Any]  # hypothesis's draw
QUICK = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # a smaller graph is not worth minutes
    suppress_health_check=list(HealthCheck),
)


class Graph:
    """Values so far, and which of them are read."""

    def __init__(self, pick: Pick) -> None:
        self.pick = pick
        self.sources = Sources()
        self.values: list[Any] = []
        self.read: set[int] = set()

    def any_of(self, *values: Any) -> Any:
        return self.pick(st.sampled_from(values))

    def flag(self) -> bool:
        return bool(self.pick(st.booleans()))

    def value(self, rank: int, like: Any = None) -> Any:
        """Return a value of a rank, or None; of the same shape as another one."""
        fitting = [
            v for v in self.values
            if len(v.shape) == rank and (like is None or v.shape == like.shape)
        ]  # fmt: skip
        if not fitting:
            return None
        found = self.pick(st.sampled_from(fitting))
        self.read.add(id(found))
        return found

    def add(self, made: Any) -> None:
        self.values += flat(made)

    def model(self) -> keras.Model:
        ends = [v for v in self.values if id(v) not in self.read]
        return randomise(keras.Model(self.sources.inputs, ends))


def recurrent(g: Graph, **options: Any) -> Any:
    kind = g.any_of(L.SimpleRNN, L.GRU, L.LSTM, "cells")
    options |= {"zero_output_for_mask": g.flag()}
    if kind == "cells":
        return L.RNN([L.GRUCell(2), L.LSTMCell(3, activation="relu")], **options)
    if kind is L.GRU:
        options["reset_after"] = g.flag()
    return kind(3, **options)


def to_sequence(g: Graph, x: Any) -> Any:
    """A layer from a sequence to a sequence."""
    choice = g.pick(st.integers(0, 14))
    if choice <= 2:
        backwards = g.flag()
        return recurrent(g, return_sequences=True, go_backwards=backwards)(x)
    if choice == 3:
        inner = recurrent(g, return_sequences=True)
        return L.Bidirectional(inner, merge_mode=g.any_of("concat", "sum", "mul", "ave"))(x)
    if choice == 4:
        return L.Conv1D(3, g.any_of(1, 2, 3), padding=g.any_of("same", "causal"))(x)
    if choice == 5:
        return g.any_of(L.LayerNormalization, L.BatchNormalization, L.UnitNormalization)()(x)
    if choice == 6:
        return L.TimeDistributed(L.Dense(g.any_of(2, 3), activation="tanh"))(x)
    if choice == 7:
        return g.any_of(L.MaxPooling1D, L.AveragePooling1D)(2)(x) if x.shape[1] > 2 else x * 0.5
    if choice == 8:
        other = g.value(3, like=x)
        merge = g.any_of(L.Add, L.Multiply, L.Subtract, L.Maximum, L.Average)
        return merge()([x, other])
    if choice == 9:
        return L.Concatenate(axis=g.any_of(-1, 1))([x, g.value(3, like=x)])
    if choice == 10:
        causal = g.flag()
        return L.Attention(use_scale=g.flag())([x, g.value(3, like=x)], use_causal_mask=causal)
    if choice == 11:
        return L.MultiHeadAttention(2, 2, output_shape=3)(x, g.value(3))
    if choice == 12:
        return x * g.any_of(2.0, -0.5) + 1
    if choice == 13:
        return x[:, g.any_of(0, 1) : g.any_of(None, -1)]
    return L.Dense(g.any_of(2, 3), activation=g.any_of("relu", "tanh", "softmax"))(x)


def to_vector(g: Graph, x: Any) -> Any:
    """A layer from a sequence to a vector; last of all a recurrent one, with its states."""
    choice = g.pick(st.integers(0, 5))
    if choice == 0:
        return ops.mean(x, axis=1)
    if choice == 1:
        return L.Flatten()(x)
    if choice == 2:
        return x[:, -1]
    if choice == 3:
        return L.Bidirectional(recurrent(g), merge_mode=g.any_of("concat", "ave"))(x)
    if choice == 4:
        return recurrent(g, return_state=True)(x)
    return recurrent(g, go_backwards=g.flag())(x)


def from_vector(g: Graph, x: Any) -> Any:
    choice = g.pick(st.integers(0, 4))
    if choice == 0:
        return L.RepeatVector(TIME)(x)
    if choice == 1:
        return L.Concatenate()([x, g.value(2)])
    if choice == 2:
        return x - g.value(2, like=x) * 0.5
    if choice == 3:
        decoded = g.value(3)
        if decoded is not None and x.shape[-1] <= 4:
            return L.GRU(x.shape[-1], return_sequences=True)(decoded, initial_state=x)
    return L.Dense(3, activation="tanh")(x)


def nested(g: Graph, x: Any) -> Any:
    """A model of some steps, called on one value or on two."""
    inside = Graph(g.pick)
    source = L.Input(tuple(x.shape[1:]))
    inside.values.append(source)
    y = source
    for _ in range(g.pick(st.integers(1, 2))):
        y = to_sequence(inside, y)
        inside.add(y)
    model = keras.Model(source, y)
    other = g.value(3, like=x)
    if other is not x and g.flag():
        g.add(model(other))
    return model(x)


@st.composite
def graphs(draw: Any) -> Graph:
    keras.utils.clear_session(free_memory=False)
    g = Graph(draw)
    for _ in range(draw(st.integers(1, 2))):
        g.add(g.sources.frames(g.any_of(None, "masking", "embedding")))
    for _ in range(draw(st.integers(1, 5))):
        step = g.any_of(to_sequence, to_sequence, to_sequence, to_vector, from_vector, nested)
        x = g.value(2 if step is from_vector else 3)
        if x is not None:
            g.add(step(g, x))
    return g


@given(g=graphs())
@QUICK
def test_random_graph(g: Graph, tmp_path_factory: pytest.TempPathFactory) -> None:
    same_in_all_ways(g.model(), tmp_path_factory.mktemp("graph"))


# ---- Refused ------------------------------------------------------------------------------------

OFFENDERS: dict[str, Callable[[Any, str], Any]] = {
    "Lambda": lambda x, name: L.Lambda(lambda v: v, name=name)(x),
    "Sin": lambda x, name: named(ops.sin(x), name),
    "Cumsum": lambda x, name: named(ops.cumsum(x, axis=1), name),
    "Dense": lambda x, name: L.Dense(3, dtype="float64", name=name)(x),
    "GlobalMaxPooling1D": lambda x, name: L.RepeatVector(TIME)(
        L.GlobalMaxPooling1D(data_format="channels_first", name=name)(x)
    ),
}


def named(x: Any, name: str) -> Any:
    """Name the operation that made a value."""
    x._keras_history.operation.name = name
    return x


@given(g=graphs(), picked=st.lists(st.sampled_from(sorted(OFFENDERS)), min_size=1, max_size=3))
@settings(QUICK, max_examples=20)
def test_what_is_not_supported_is_listed_and_nothing_else(
    g: Graph, picked: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    wanted = []
    for k, kind in enumerate(picked):
        x = next(v for v in reversed(g.values) if len(v.shape) == 3)
        g.read.add(id(x))
        g.add(OFFENDERS[kind](x, f"offender_{k}"))
        wanted.append(f"offender_{k} ({kind})")
    model = g.model()
    folder = tmp_path_factory.mktemp("refused")
    for name in ("m.keras", "m.h5"):
        model.save(folder / name)
        with pytest.raises(UnsupportedLayerError) as caught:
            sc.load(folder / name)
        assert sorted(label for label, _ in caught.value.layers) == sorted(wanted)
        assert all(reason for _, reason in caught.value.layers)
    with pytest.raises(UnsupportedLayerError):
        sc.from_keras(model)
