"""Networks that can be stepped, their inputs, and what a step of them must give.

A network's step is compared with calls of the whole model, which knows no streams: the frame of an
output that has a time axis, and what a call over the frames so far gives for one that has none.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import seqcore as sc
from seqcore._binding import Plan

Array = NDArray[Any]

KINDS = ("SimpleRNN", "LSTM", "LSTM-projected", "GRU-after", "GRU-before")
GATES = {"SimpleRNN": 1, "LSTM": 4, "LSTM-projected": 4, "GRU-after": 3, "GRU-before": 3}
VOCABULARY = 11


def floats(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def cell(rng: np.random.Generator, kind: str, features: int, units: int, **options: Any) -> Any:
    """Return a recurrent layer with random weights, large enough to saturate some gates."""
    width, state = GATES[kind] * units, units
    if kind == "LSTM-projected":
        state = max(1, units * 5 // 8)
        options["projection"] = floats(rng, units, state) * 1.5 / units**0.5
    weights = (
        floats(rng, features, width) / features**0.5,
        floats(rng, state, width) * 1.5 / state**0.5,
        floats(rng, *((2, width) if kind == "GRU-after" else (width,))),
    )
    return getattr(sc, kind.split("-")[0])(*weights, **{"return_sequences": True} | options)


def dense(rng: np.random.Generator, features: int, units: int, **options: Any) -> sc.Dense:
    return sc.Dense(floats(rng, features, units) / features**0.5, floats(rng, units), **options)


def conv(rng: np.random.Generator, size: int, channels: int, filters: int, **options: Any) -> Any:
    """Return a causal Conv1D."""
    part = channels // options.get("groups", 1)
    kernel = floats(rng, size, part, filters) / (size * part) ** 0.5
    return sc.Conv1D(kernel, floats(rng, filters), **{"padding": "causal"} | options)


def stream_of(plan: Any, batch: int) -> sc.Stream:
    model: Any = SimpleNamespace(plan_for_steps=lambda: plan)
    return sc.Stream(model, batch)


def planned(model: sc.Model, **options: Any) -> sc.Model:
    """Return the model with a plan of these options, ``team`` among them, which no user can set."""
    graph = model._graph
    made = object.__new__(sc.Model)
    made._set_up(Plan(graph.to_json(), dict(graph.tensors), **options), graph, {}, None, 0)
    return made


def arguments(rng: np.random.Generator, model: sc.Model, batch: int, time: int) -> list[Array]:
    """Draw a call's inputs."""
    made: list[Array] = []
    for spec in model._graph.document["inputs"]:
        if spec["kind"] == "data":
            shape = [batch, *(time if size is None else size for size in spec["shape"])]
            ids = spec["dtype"] == "int64"
            made.append(rng.integers(0, VOCABULARY, shape) if ids else floats(rng, *shape))
    return made


# ---- What a step must give -----------------------------------------------------------------------


def initial_states(rng: np.random.Generator, model: sc.Model, batch: int) -> list[Array]:
    """Draw a call's initial states."""
    specs = [spec for spec in model._graph.document["inputs"] if spec["kind"] == "state"]
    return [floats(rng, batch, *spec["shape"]) for spec in specs]


def listed(result: Any) -> list[Array]:
    return list(result) if isinstance(result, tuple) else [result]


def same_bits(actual: Any, expected: Any, where: str = "") -> None:
    """Assert that two results are equal bit by bit; +0 and -0 differ."""
    for index, (a, e) in enumerate(zip(listed(actual), listed(expected), strict=True)):
        assert a.shape == e.shape, f"{where}, array {index}: shape {a.shape}, not {e.shape}"
        assert a.tobytes() == np.ascontiguousarray(e).tobytes(), f"{where}, array {index}: bits"


def frame(stream: Any, inputs: list[Array], t: int) -> list[Array]:
    """A step's arguments: frame t of the inputs that have a time axis, and the others whole.

    What has a single frame for all of them gives it every time.
    """
    return [
        x if x.ndim == len(port.shape) else x[:, min(t, x.shape[1] - 1)]
        for x, port in zip(inputs, stream.steps.inputs, strict=True)
    ]


def expected_steps(model: sc.Model, stream: Any, inputs: list[Array]) -> list[tuple[Array, ...]]:
    """What the model gives at every frame, from calls over whole sequences."""
    moves = [x.ndim > len(p.shape) for x, p in zip(inputs, stream.steps.inputs, strict=True)]
    time = max(x.shape[1] for x, moving in zip(inputs, moves, strict=True) if moving)
    whole = listed(model(*inputs))
    has_time = [y.ndim > len(p.shape) for y, p in zip(whole, stream.steps.outputs, strict=True)]
    steps = []
    for t in range(time):
        so_far = whole
        if not all(has_time):
            so_far = listed(
                model(*(x[:, : t + 1] if m else x for x, m in zip(inputs, moves, strict=True)))
            )
        steps.append(tuple(y[:, t] if m else y for y, m in zip(so_far, has_time, strict=True)))
    return steps


def check_steps(model: sc.Model, inputs: list[Array], where: str, stream: Any = None) -> None:
    """Assert that a stream, a new one or the given, gives what the model gives, at every frame."""
    stream = model.stream(len(inputs[0])) if stream is None else stream
    for t, expected in enumerate(expected_steps(model, stream, inputs)):
        actual = stream.step(*frame(stream, inputs, t))
        same_bits(tuple(listed(actual)), expected, f"{where}, frame {t}")


def together(count: int, work: Any) -> None:
    """Run work(number) on so many threads at once, and raise what one of them raised."""
    raised: list[BaseException] = []
    gate = threading.Barrier(count)

    def run(number: int) -> None:
        gate.wait()
        try:
            work(number)
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


def attempts() -> Iterator[int]:
    """Count, letting other threads in between, until a minute has passed: tests end before."""
    end = time.monotonic() + 60
    for number in itertools.count():
        if time.monotonic() > end:
            return
        yield number
        time.sleep(1e-5)


@contextmanager
def threads_in_turns() -> Iterator[None]:
    """Let Python's threads take turns between any two of their steps."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


# ---- Networks ------------------------------------------------------------------------------------


def stack(rng: np.random.Generator) -> sc.Model:
    layers = [cell(rng, "LSTM", 5, 16), cell(rng, "GRU-after", 16, 17)]
    layers += [cell(rng, "SimpleRNN", 17, 3), dense(rng, 3, 7, activation="softmax")]
    return sc.Sequential(layers)


def last_of_two(rng: np.random.Generator) -> sc.Model:
    last = cell(rng, "GRU-before", 9, 20, return_sequences=False)
    return sc.Sequential([cell(rng, "LSTM", 5, 9), last, dense(rng, 20, 4, activation="tanh")])


def all_states(rng: np.random.Generator) -> sc.Model:
    x = sc.Input((None, 6), name="x")
    y, *states = cell(rng, "LSTM", 6, 33, return_state=True)(x)
    z, *more = cell(rng, "GRU-after", 33, 5, return_sequences=False, return_state=True)(y)
    return sc.Model(x, [z, *more, *states, y])


def tokens(rng: np.random.Generator) -> sc.Model:
    head = sc.TimeDistributed(dense(rng, 19, VOCABULARY, activation="softmax"))
    table = sc.Embedding(floats(rng, VOCABULARY, 8))
    return sc.Sequential([table, cell(rng, "GRU-before", 8, 19), head])


def one_hot_tokens(rng: np.random.Generator) -> sc.Model:
    """Ids in place of one-hot vectors, read by cells of every kind and by a Dense."""
    x = sc.Input((None,), dtype="int64", name="x")
    vectors = sc.OneHot(VOCABULARY)(x)
    cells = [cell(rng, kind, VOCABULARY, 20) for kind in KINDS]
    cells.append(cell(rng, "LSTM", VOCABULARY, 5, activation="relu"))
    joined = sc.Concatenate()(*(layer(vectors) for layer in cells))
    last = cell(rng, "LSTM", sum(layer.out_features for layer in cells), 33)(joined)
    return sc.Model(x, [last, dense(rng, VOCABULARY, 6, activation="softmax")(vectors)])


def convolutions(rng: np.random.Generator) -> sc.Model:
    layers = [conv(rng, 3, 6, 8, dilation_rate=2, groups=2, activation="relu"), conv(rng, 1, 8, 5)]
    layers += [cell(rng, "LSTM", 5, 4), conv(rng, 2, 4, 18, activation="softmax")]
    layers += [conv(rng, 1, 18, 3, padding="valid"), conv(rng, 1, 3, 3, padding="same")]
    return sc.Sequential(layers)


def branches(rng: np.random.Generator) -> sc.Model:
    x = sc.Input((None, 8), name="x")
    a, b = cell(rng, "LSTM", 8, 8)(x), cell(rng, "SimpleRNN", 8, 8, activation="relu")(x)
    c = sc.Activation("gelu")(conv(rng, 5, 8, 8, groups=4)(x))
    joined = sc.Concatenate()(sc.Add()(a, b, x), sc.Multiply()(b, c), sc.Dropout(0.1)(x))
    return sc.Model(x, [cell(rng, "GRU-after", 24, 6)(joined), joined, x, joined])


def several_inputs(rng: np.random.Generator) -> sc.Model:
    x, ids = sc.Input((None, 4), name="x"), sc.Input((None,), dtype="int64", name="ids")
    fixed = sc.Input((5,), name="fixed")
    both = sc.Concatenate()(sc.Embedding(floats(rng, VOCABULARY, 3))(ids), x)
    _, h, _c = cell(rng, "LSTM", 7, 12, return_state=True)(both)
    tail = dense(rng, 17, 6, activation="sigmoid")(sc.Concatenate()(dense(rng, 5, 5)(fixed), h))
    return sc.Model([x, fixed, ids], [tail, dense(rng, 5, 2)(fixed), both])


def one_frame_for_all(rng: np.random.Generator) -> sc.Model:
    x, bias = sc.Input((None, 4), name="x"), sc.Input((1, 4), name="bias")
    return sc.Model([x, bias], cell(rng, "LSTM", 4, 6)(sc.Add()(x, dense(rng, 4, 4)(bias))))


def no_state(rng: np.random.Generator) -> sc.Model:
    return sc.Sequential(
        [sc.Input((None, 3)), dense(rng, 3, 5, activation="elu"), dense(rng, 5, 2)]
    )


def inner_sequences(rng: np.random.Generator) -> sc.Model:
    forward = cell(rng, "LSTM", 3, 4, return_sequences=False)
    backward = cell(rng, "LSTM", 3, 4, return_sequences=False, go_backwards=True)
    both = sc.TimeDistributed(sc.Bidirectional(forward, backward_layer=backward))
    return sc.Sequential([sc.Input((None, 6, 3)), both, cell(rng, "GRU-after", 8, 5)])


def one_layer_twice(rng: np.random.Generator) -> sc.Model:
    x, layer = sc.Input((None, 5)), cell(rng, "GRU-before", 5, 5)
    y = layer(x)
    return sc.Model(x, [y, layer(y)])


def torch_layers(rng: np.random.Generator) -> sc.Model:
    weights = {}
    for layer in range(3):
        for name, size in (("ih", 4 if layer == 0 else 10), ("hh", 10)):
            weights[f"weight_{name}_l{layer}"] = floats(rng, 40, size) / 3
            weights[f"bias_{name}_l{layer}"] = floats(rng, 40)
    return sc.Sequential([sc.LSTM.from_torch(weights, return_state=True)])


def heavy(rng: np.random.Generator, **options: Any) -> sc.Model:
    """Its steps of several rows are long enough for other threads to come in between."""
    return sc.Sequential([cell(rng, "LSTM", 8, 320, **options)]).with_options(threads=1)


NETWORKS: dict[str, Callable[[np.random.Generator], sc.Model]] = {
    make.__name__: make
    for make in (
        stack, last_of_two, all_states, tokens, one_hot_tokens, convolutions, branches,
        several_inputs, one_frame_for_all, no_state, inner_sequences, one_layer_twice, torch_layers,
    )
}  # fmt: skip


def network(name: str, seed: int = 251) -> sc.Model:
    return NETWORKS[name](np.random.default_rng(seed))
