"""Models around one Keras layer each, by options: what test_keras_matrix.py runs through.

A family is a class with values for all that changes its results; masks, initial states and what
else a call takes are options as well. The families of masks and merges are here too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import torch
from keras import layers as L
from keras import ops

Row = dict[str, Any]
BATCH, TIME, FEATURES, IDS = 5, 6, 3, 7
MASKED = 0.5  # what Masking looks for

# Whole, ended early, begun late, with holes, nothing at all.
PATTERN = np.array(
    [[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]], bool
)  # fmt: skip


def pattern(time: int, turn: int) -> np.ndarray:
    """Return (B, time) booleans; those of another input stand at other rows."""
    return np.roll(np.tile(PATTERN, time // 4 + 1)[:, :time], turn, axis=0)


class Sources:
    """The inputs of a model that is being made, and symbols made of them."""

    def __init__(self) -> None:
        self.inputs: list[Any] = []

    def input(self, *shape: int | None, dtype: str = "float32") -> Any:
        self.inputs.append(L.Input(shape, dtype=dtype))
        return self.inputs[-1]

    def frames(
        self, mask: str | None = None, features: int = FEATURES, time: int | None = TIME
    ) -> Any:
        """Return (B, time, features), masked by Masking or by an Embedding, or not."""
        if mask == "embedding":
            return L.Embedding(IDS, features, mask_zero=True)(self.input(time, dtype="int32"))
        x = self.input(time, features)
        return L.Masking(MASKED)(x) if mask == "masking" else x

    def mask(self, time: int = TIME) -> Any:
        """Return a mask to be given at a call."""
        return ops.not_equal(self.input(time, dtype="int32"), 0)


def arrays_for(model: keras.Model, seed: int = 0) -> list[np.ndarray]:
    """Return inputs with masked frames: ids of 0, features of `MASKED`."""
    rng = np.random.default_rng(seed)
    arrays: list[np.ndarray] = []
    for turn, source in enumerate(model.inputs):
        shape = (BATCH, *(TIME if size is None else size for size in source.shape[1:]))
        if "int" in source.dtype:
            x: np.ndarray = rng.integers(1, IDS, shape).astype(np.int32)
        else:
            x = rng.normal(size=shape).astype(np.float32)
        if len(shape) > 1 + ("int" not in source.dtype):
            empty = 0 if "int" in source.dtype else MASKED
            x[~pattern(shape[1], turn)] = empty
            if len(shape) == 4 and "int" not in source.dtype:  # frames within frames
                x[0, 1, :2] = x[2, -1, 1:] = MASKED
        arrays.append(x)
    return arrays


def randomise(model: keras.Model, seed: int = 1) -> keras.Model:
    """Give every weight a value that shows where it is misplaced; variances are positive."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if "count" in weight.path or "seed_generator" in weight.path:
            continue
        if "/normalization" in f"/{weight.path}":  # which adapted to data, and keeps 1/sqrt
            continue
        positive = "variance" in weight.path
        value = rng.uniform(0.5, 2, weight.shape) if positive else rng.normal(0, 0.5, weight.shape)
        weight.assign(value.astype(np.float32))
    return model


def flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [item for key in sorted(value) for item in flat(value[key])]
    if isinstance(value, (list, tuple)):
        return [item for part in value for item in flat(part)]
    return [value]


def run(model: keras.Model, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return Keras's outputs, flattened."""
    feed = [torch.from_numpy(np.ascontiguousarray(x)) for x in arrays]
    with torch.no_grad():
        results = model(feed if len(feed) > 1 else feed[0])
    return [ops.convert_to_numpy(y) for y in flat(results)]


@dataclass(frozen=True)
class Family:
    """One class of layers.

    Attributes
    ----------
    kind : str
    options : mapping of str to sequence
        Values of each, none of which gives the same numbers as another one.
    calls : callable
        (sources, options) -> symbols: the layer called.
    fits : callable
        Whether Keras makes a layer of these options.
    apart : frozenset of str
        Options of the class in the importer's table that no value here stands for, since today's
        Keras does not write them, or only as another option.
    tail : bool
        Whether a recurrent layer reads every sequence, and so the mask that belongs to it.
    """

    kind: str
    options: Mapping[str, Sequence[Any]]
    calls: Callable[[Sources, Row], Any]
    fits: Callable[[Row], bool] = lambda _: True
    apart: frozenset[str] = frozenset()
    tail: bool = True
    name: str = field(default="")

    @property
    def label(self) -> str:
        return self.name or self.kind

    def model(self, row: Row) -> keras.Model:
        """Make the model of these options; the same names each time."""
        keras.utils.clear_session(free_memory=False)
        sources = Sources()
        results = flat(self.calls(sources, dict(row)))
        ends = list(results)
        if self.tail:
            # weights are drawn anew anyway, and an orthogonal matrix takes its time
            tail = {"recurrent_initializer": "zeros"}
            ends += [L.SimpleRNN(2, **tail)(y) for y in results if len(y.shape) == 3]
        return keras.Model(sources.inputs, ends)


def plain(kind: str) -> Callable[[Sources, Row], Any]:
    """Call a layer of these options on frames."""

    def calls(s: Sources, o: Row) -> Any:
        x = s.frames(o.pop("mask", None))
        return getattr(L, kind)(**o)(x)

    return calls


def sized(kind: str, time: int, features: int) -> Callable[[Sources, Row], Any]:
    def calls(s: Sources, o: Row) -> Any:
        x = s.frames(o.pop("mask", None), features, time)
        return getattr(L, kind)(**o)(x)

    return calls


MASKS = {"mask": (None, "masking")}
BIAS = {"use_bias": (True, False)}

# ---- Recurrent ----------------------------------------------------------------------------------

STATES = {"SimpleRNN": 1, "GRU": 1, "LSTM": 2}
OVER_TIME = {
    "return_sequences": (False, True),
    "return_state": (False, True),
    "go_backwards": (False, True),
    "zero_output_for_mask": (False, True),
    "mask": (None, "masking", "embedding", "call"),
    "initial": (False, True),
}
CELL = {"units": (3, 4), "activation": ("tanh", "softsign"), **BIAS}
GATED = {**CELL, "recurrent_activation": ("sigmoid", "hard_sigmoid")}
OPTIONS = {
    "SimpleRNN": CELL,
    "LSTM": GATED,
    "GRU": {**GATED, "reset_after": (True, False)},
}


def call_over_time(s: Sources, layer: Any, mask: str | None, states: Sequence[Any]) -> Any:
    """Call a layer on masked frames, with initial states of these sizes."""
    x = s.frames(mask)
    given: dict[str, Any] = {"mask": s.mask()} if mask == "call" else {}
    if states:
        given["initial_state"] = vectors(s, states)
    return layer(x, **given)


def vectors(s: Sources, sizes: Sequence[Any]) -> Any:
    """Return one input for each size; Keras wants those of stacked cells cell by cell."""
    return [s.input(n) if isinstance(n, int) else vectors(s, n) for n in sizes]


def recurrent(kind: str) -> Callable[[Sources, Row], Any]:
    def calls(s: Sources, o: Row) -> Any:
        mask, initial = o.pop("mask"), o.pop("initial")
        states = [o["units"]] * STATES[kind] if initial else []
        return call_over_time(s, getattr(L, kind)(**o), mask, states)

    return calls


CELLS: dict[str, tuple[Callable[[], Any], list[Any]]] = {
    "simple": (lambda: L.SimpleRNNCell(3, activation="relu"), [3]),
    "gru": (lambda: L.GRUCell(2, reset_after=False), [2]),
    "lstm": (lambda: L.LSTMCell(4, recurrent_activation="hard_sigmoid"), [4, 4]),
    "stacked": (lambda: L.StackedRNNCells([L.LSTMCell(3), L.GRUCell(2)]), [[3, 3], [2]]),
    "turned": (lambda: L.StackedRNNCells([L.GRUCell(2), L.LSTMCell(3)]), [[2], [3, 3]]),
}


def rnn(s: Sources, o: Row) -> Any:
    make, sizes = CELLS[o.pop("cell")]
    mask, initial = o.pop("mask"), o.pop("initial")
    return call_over_time(s, L.RNN(make(), **o), mask, sizes if initial else [])


def called_cell(kind: str) -> Callable[[Sources, Row], Any]:
    def calls(s: Sources, o: Row) -> Any:
        cell = getattr(L, kind)(**o)
        count = STATES[kind.removesuffix("Cell")]
        return cell(s.input(FEATURES), [s.input(o["units"]) for _ in range(count)])

    return calls


def stacked(s: Sources, o: Row) -> Any:
    make, sizes = CELLS[o["cells"]]
    cells = make()
    y, states = cells(s.input(FEATURES), vectors(s, sizes))
    return [y, states]


def bidirectional(s: Sources, o: Row) -> Any:
    kind, other, mask = o.pop("layer"), o.pop("backward_layer"), o.pop("mask")
    initial, merge_mode = o.pop("initial"), o.pop("merge_mode")
    units = {"SimpleRNN": 3, "GRU": 3, "LSTM": 3, "RNN": 3}

    def half(name: str, **more: Any) -> Any:
        if name == "RNN":
            return L.RNN(L.GRUCell(3), **o, **more)
        return getattr(L, name)(units[name], **o, **more)

    backward = half(other, go_backwards=True) if other else None
    layer = L.Bidirectional(half(kind), merge_mode=merge_mode, backward_layer=backward)
    count = {"RNN": 1, **STATES}
    states = [3] * (count[kind] + count[other or kind]) if initial else []
    return call_over_time(s, layer, mask, states)


BOTH_WAYS = ("return_sequences", "return_state", "mask", "initial")


def as_many_states(o: Row) -> bool:
    """Keras loses count of what a layer returns whose directions return different states."""
    counts = {STATES.get(kind, 1) for kind in (o["layer"], o["backward_layer"] or o["layer"])}
    return not o["return_state"] or len(counts) == 1


INNER: dict[str, Callable[[], Any]] = {
    "dense": lambda: L.Dense(4, activation="tanh"),
    "lstm": lambda: L.LSTM(4),
    "gru": lambda: L.GRU(4, return_sequences=True, go_backwards=True),
    "both": lambda: L.Bidirectional(L.GRU(2, return_sequences=True)),
    "conv": lambda: L.Conv1D(4, 2, padding="same"),
    "norm": lambda: L.LayerNormalization(),
    "average": lambda: L.GlobalAveragePooling1D(),
    "model": lambda: keras.Sequential(
        [L.Input((4, FEATURES)), L.Masking(MASKED), L.LSTM(3, return_sequences=True), L.GRU(2)]
    ),
}


def time_distributed(s: Sources, o: Row) -> Any:
    x = s.input(TIME, 4, FEATURES)
    if o["mask"]:
        x = L.Masking(MASKED)(x)
    return L.TimeDistributed(INNER[o["layer"]]())(x)


# Keras makes no cell with zero_output_for_mask, and RNN takes no layer as cell.
RECURRENT = [
    *(Family(kind, {**OPTIONS[kind], **OVER_TIME}, recurrent(kind)) for kind in OPTIONS),
    *(
        Family(f"{kind}Cell", OPTIONS[kind], called_cell(f"{kind}Cell"))
        for kind in OPTIONS
    ),
    Family("RNN", {"cell": tuple(CELLS), **OVER_TIME}, rnn),
    Family("StackedRNNCells", {"cells": ("stacked", "turned")}, stacked),
    Family(
        "Bidirectional",
        {
            "layer": ("LSTM", "GRU", "SimpleRNN", "RNN"),
            "backward_layer": (None, "GRU", "LSTM"),
            "merge_mode": ("concat", "sum", "mul", "ave", None),
            **{name: OVER_TIME[name] for name in BOTH_WAYS},
        },
        bidirectional,
        as_many_states,
    ),
    Family("TimeDistributed", {"layer": tuple(INNER), **MASKS}, time_distributed, tail=False),
    Family(
        "TimeDistributed",
        {"layer": ("dense", "norm"), "mask": (None, "masking", "embedding")},
        lambda s, o: L.TimeDistributed(INNER[o["layer"]]())(s.frames(o["mask"])),
        name="TimeDistributed-frames",
    ),
]  # fmt: skip

# ---- Each frame by itself -----------------------------------------------------------------------


def embedding(s: Sources, o: Row) -> Any:
    return L.Embedding(**o)(s.input(TIME, dtype="int32"))


def encoding(s: Sources, o: Row) -> Any:
    return L.CategoryEncoding(output_mode="one_hot", **o)(s.input(TIME, dtype="int32"))


def masking(s: Sources, o: Row) -> Any:
    return L.Masking(**o)(s.frames())


FRAMES = [
    Family(
        "Dense",
        {"units": (3, 4), "activation": ("linear", "softmax", "gelu"), **BIAS, **MASKS},
        plain("Dense"),
    ),
    Family(
        "Embedding",
        {"input_dim": (IDS, IDS + 2), "output_dim": (3, 4), "mask_zero": (False, True)},
        embedding,
    ),
    Family("CategoryEncoding", {"num_tokens": (IDS, IDS + 2)}, encoding),
    Family("Masking", {"mask_value": (MASKED, 0.25)}, masking),
    Family("Activation", {"activation": ("relu", "tanh", "softmax"), **MASKS}, plain("Activation")),
    Family(
        "ReLU",
        {"max_value": (None, 0.7), "negative_slope": (0.0, 0.3), "threshold": (0.0, 0.25), **MASKS},
        plain("ReLU"),
    ),
    Family(
        "LeakyReLU",
        {"negative_slope": (0.3, 0.1), **MASKS},
        plain("LeakyReLU"),
        apart=frozenset(["alpha"]),
    ),
    Family("ELU", {"alpha": (1.0, 0.6), **MASKS}, plain("ELU")),
    # Under a mask Keras's own Softmax fails: it wants one of the scores' shape.
    Family("Softmax", {"axis": (-1, 1, [1, 2])}, plain("Softmax")),
    Family("PReLU", {"shared_axes": (None, [1], [2], [1, 2]), **MASKS}, sized("PReLU", 4, 4)),
]  # fmt: skip

# ---- Windows ------------------------------------------------------------------------------------

WINDOW = {
    "kernel_size": (3, 2), "strides": (1, 2), "dilation_rate": (1, 2),
    "activation": ("linear", "relu"), **BIAS, **MASKS,
}  # fmt: skip
PADDINGS = {"padding": ("valid", "same", "causal")}
SAME = {"padding": ("valid", "same")}


def one_of_two(o: Row) -> bool:
    return o["strides"] == 1 or o["dilation_rate"] == 1


def transposed(o: Row) -> bool:
    padding = o["output_padding"]
    return one_of_two(o) and (padding is None or padding < o["strides"])


POOLING = {"pool_size": (2, 3), "strides": (None, 1, 2), **SAME, **MASKS}
PAIRS = (1, (1, 2), (2, 1), (0, 2))
WINDOWS = [
    Family(
        "Conv1D",
        {"filters": (4, 6), "groups": (1, 2), **WINDOW, **PADDINGS},
        sized("Conv1D", 9, 4),
        one_of_two,
    ),
    Family(
        "DepthwiseConv1D", {**WINDOW, **SAME, "depth_multiplier": (1, 2)},
        sized("DepthwiseConv1D", 9, 3), one_of_two,
    ),
    Family(
        "SeparableConv1D",
        {"filters": (4, 6), **WINDOW, **SAME, "depth_multiplier": (1, 2)},
        sized("SeparableConv1D", 9, 3),
        one_of_two,
    ),
    Family(
        "Conv1DTranspose",
        {"filters": (4, 6), **WINDOW, **SAME, "strides": (1, 2, 3), "output_padding": (None, 0, 1)},
        sized("Conv1DTranspose", 5, 3),
        transposed,
    ),
    Family("MaxPooling1D", POOLING, sized("MaxPooling1D", 9, 3)),
    Family("AveragePooling1D", POOLING, sized("AveragePooling1D", 9, 3)),
    Family("GlobalMaxPooling1D", {"keepdims": (False, True), **MASKS}, plain("GlobalMaxPooling1D")),
    Family(
        "GlobalAveragePooling1D",
        {"keepdims": (False, True), "mask": (None, "masking", "embedding", "call")},
        lambda s, o: L.GlobalAveragePooling1D(keepdims=o["keepdims"])(
            s.frames(o["mask"]), **({"mask": s.mask()} if o["mask"] == "call" else {})
        ),
    ),
    Family("Cropping1D", {"cropping": PAIRS, **MASKS}, plain("Cropping1D")),
    Family("ZeroPadding1D", {"padding": PAIRS, **MASKS}, plain("ZeroPadding1D")),
    Family("UpSampling1D", {"size": (1, 2, 3), **MASKS}, plain("UpSampling1D")),
]  # fmt: skip

# ---- Shapes and merges --------------------------------------------------------------------------


def merge(kind: str) -> Callable[[Sources, Row], Any]:
    def calls(s: Sources, o: Row) -> Any:
        shapes = {"same": (TIME, 3), "narrow": (TIME, 1), "short": (1, 3)}
        a = s.frames(o.pop("mask_a"))
        time, features = shapes[o.pop("second", "same")]
        b = s.frames(o.pop("mask_b"), features, time)
        if o.pop("twice", False):
            a = getattr(L, kind)(**o)([b, a])
            b = s.frames("embedding")
        return getattr(L, kind)(**o)([a, b])

    return calls


TWO_MASKS = {
    "mask_a": (None, "masking", "embedding"),
    "mask_b": (None, "masking", "embedding"),
}


def either(o: Row) -> bool:
    # Keras joins masks by OR over their frames, which have to be as many.
    return o["second"] != "short" or not (o["mask_a"] or o["mask_b"])


def dot(s: Sources, o: Row) -> Any:
    a, b = s.frames(o.pop("mask_a"), 4, 4), s.frames(o.pop("mask_b"), 4, 4)
    return L.Dot(**o)([a, b])


def einsum(s: Sources, o: Row) -> Any:
    equation, output_shape, axes = EQUATIONS[o.pop("equation")]
    bias = axes if o.pop("bias_axes") else None
    x = s.frames(o.pop("mask"))
    return L.EinsumDense(equation, output_shape, bias_axes=bias, **o)(x)


EQUATIONS: dict[str, tuple[str, Any, str]] = {
    "dense": ("abc,cd->abd", (None, 4), "d"),
    "split": ("abc,cde->abde", (None, 2, 2), "de"),
    "elided": ("...x,xy->...y", (4,), "y"),
    "all": ("abc,bcd->ad", (4,), "d"),
}
MERGES = ("Add", "Multiply", "Average", "Maximum", "Minimum")
SHAPES = [
    Family("Flatten", MASKS, plain("Flatten")),
    Family(
        "Reshape",
        {"target_shape": ((9, 2), (2, 9), (-1, 3), (18,), (3, 3, 2)), **MASKS},
        plain("Reshape"),
    ),
    Family("Permute", {"dims": ((2, 1), (1, 2)), **MASKS}, sized("Permute", 4, 4)),
    Family("RepeatVector", {"n": (2, 3)}, lambda s, o: L.RepeatVector(**o)(s.input(3))),
    *(
        Family(
            kind,
            {"second": ("same", "narrow", "short"), **TWO_MASKS, "twice": (False, True)},
            merge(kind),
            either,
        )
        for kind in MERGES
    ),
    Family(
        "Subtract",
        {"second": ("same", "narrow", "short"), **TWO_MASKS},
        merge("Subtract"),
        either,
    ),
    Family(
        "Concatenate", {"axis": (-1, 1), **TWO_MASKS, "twice": (False, True)}, merge("Concatenate")
    ),
    Family(
        "Dot", {"axes": (1, 2, (1, 2), (2, 1), -1), "normalize": (False, True), **TWO_MASKS}, dot
    ),
    Family(
        "EinsumDense",
        {
            "equation": tuple(EQUATIONS),
            "bias_axes": (True, False),
            "activation": ("linear", "tanh"),
            **MASKS,
        },
        einsum,
        apart=frozenset(["output_shape"]),
    ),
]  # fmt: skip

# ---- Normalisation ------------------------------------------------------------------------------

EPSILON = {"epsilon": (1e-3, 0.1)}
SCALED = {"center": (True, False), "scale": (True, False), **MASKS}


def normalization(s: Sources, o: Row) -> Any:
    rng = np.random.default_rng(5)
    given, axis = o.pop("mean"), o["axis"]
    if given:
        shape = () if axis is None else 4
        mean, variance = rng.normal(size=shape), rng.uniform(0.5, 2, shape)
        o |= {"mean": mean.tolist(), "variance": variance.tolist()}
    layer = L.Normalization(**o)
    if not given:
        layer.adapt(rng.normal(1, 2, (8, 4, 4)).astype(np.float32))
    return layer(s.frames(None, 4, 4))


# LayerNormalization and RMSNormalization over other axes are in tests/parity: Keras's torch backend
# takes the last ones whatever it is told.
NORMS = [
    Family(
        "BatchNormalization",
        {"axis": (-1, 1), **EPSILON, **SCALED},
        sized("BatchNormalization", 4, 4),
    ),
    Family(
        "LayerNormalization",
        {"axis": (-1, [1, 2]), **EPSILON, **SCALED, "rms_scaling": (False, True)},
        sized("LayerNormalization", 4, 4),
    ),
    Family(
        "GroupNormalization",
        {"groups": (2, 1, -1), "axis": (-1, 1), **EPSILON, **SCALED},
        sized("GroupNormalization", 4, 4),
    ),
    Family(
        "RMSNormalization",
        {"axis": (-1, [1, 2]), **EPSILON, **MASKS},
        sized("RMSNormalization", 4, 4),
    ),
    Family(
        "UnitNormalization",
        {"axis": (-1, 1, [1, 2]), **MASKS},
        sized("UnitNormalization", 4, 4),
    ),
    Family(
        "Normalization",
        {"axis": (-1, 1, None), "mean": (True, False), "invert": (False, True)},
        normalization,
        apart=frozenset(["variance"]),
    ),
    Family("Rescaling", {"scale": (2.0, 0.5), "offset": (0.0, 1.0), **MASKS}, plain("Rescaling")),
]  # fmt: skip

# ---- Attention ----------------------------------------------------------------------------------


def attention(kind: str) -> Callable[[Sources, Row], Any]:
    def calls(s: Sources, o: Row) -> Any:
        masks, with_key = [o.pop("mask_a"), o.pop("mask_b")], o.pop("key")
        names = ("use_causal_mask", "return_attention_scores")
        call = {name: o.pop(name) for name in names}
        query, value = s.frames(masks[0], 4), s.frames(masks[1], 4, 5)
        key = [s.frames(None, 4, 5)] if with_key else []
        if kind == "MultiHeadAttention":
            return L.MultiHeadAttention(**o)(query, value, *key, **call)
        if o.pop("mask"):
            call["mask"] = [s.mask(), s.mask(5)]
        return getattr(L, kind)(**o)([query, value, *key], **call)

    return calls


ATTENDS = {
    "use_causal_mask": (False, True), "return_attention_scores": (False, True),
    "key": (False, True), **TWO_MASKS,
}  # fmt: skip
CAUSAL = frozenset(["causal"])
ATTENTION = [
    Family(
        "Attention",
        {
            "use_scale": (False, True), "score_mode": ("dot", "concat"), "mask": (False, True),
            "dropout": (0.0, 0.3), **ATTENDS,
        },
        attention("Attention"),
        apart=CAUSAL,
    ),
    Family(
        "AdditiveAttention",
        {"use_scale": (True, False), "mask": (False, True), "dropout": (0.0, 0.3), **ATTENDS},
        attention("AdditiveAttention"),
        apart=CAUSAL,
    ),
    Family(
        "MultiHeadAttention",
        {
            "num_heads": (2, 3), "key_dim": (2, 4), "value_dim": (None, 3), **BIAS,
            "output_shape": (None, 5), "dropout": (0.0, 0.3), **ATTENDS,
        },
        attention("MultiHeadAttention"),
        apart=frozenset(["attention_axes"]),
    ),
]  # fmt: skip

# ---- What trains alone --------------------------------------------------------------------------

RATES = {"Dropout": 0.4, "SpatialDropout1D": 0.4, "GaussianDropout": 0.4, "GaussianNoise": 1.0,
         "AlphaDropout": 0.4}  # fmt: skip
TRAINING = [
    *(
        Family(kind, MASKS, lambda s, o, k=kind, r=rate: getattr(L, k)(r)(s.frames(o["mask"])))
        for kind, rate in RATES.items()
    ),
    Family(
        "ActivityRegularization", MASKS,
        lambda s, o: L.ActivityRegularization(l1=0.3)(s.frames(o["mask"])),
    ),
    Family("Identity", MASKS, plain("Identity")),
]  # fmt: skip

FAMILIES = [*RECURRENT, *FRAMES, *WINDOWS, *SHAPES, *NORMS, *ATTENTION, *TRAINING]
