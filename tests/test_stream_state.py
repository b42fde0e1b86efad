"""The state of a stream: read, set, saved, copied, damaged, and shared by threads.

What a step computes is in test_streams.py, the saved states of pools are in test_pools.py.
"""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stream_models import (
    KINDS,
    NETWORKS,
    arguments,
    attempts,
    cell,
    check_steps,
    conv,
    expected_steps,
    floats,
    frame,
    heavy,
    initial_states,
    listed,
    network,
    same_bits,
    threads_in_turns,
    together,
)

import seqcore as sc


def stepped(model: sc.Model, inputs: list[Any], frames: int) -> sc.Stream:
    stream = model.stream(len(inputs[0]))
    for t in range(frames):
        stream.step(*frame(stream, inputs, t))
    return stream


def continues(stream: sc.Stream, model: sc.Model, inputs: list[Any], begin: int) -> None:
    """Assert that a stream gives the model's frames from `begin` on."""
    for t, expected in list(enumerate(expected_steps(model, stream, inputs)))[begin:]:
        actual = tuple(listed(stream.step(*frame(stream, inputs, t))))
        same_bits(actual, expected, f"frame {t}")


# ---- Read and set --------------------------------------------------------------------------------

STATES: dict[str, dict[str, tuple[int, ...]]] = {
    "stack": {
        "lstm:h": (2, 16), "lstm:c": (2, 16), "gru:h": (2, 17), "simple_rnn:h": (2, 3),
    },
    "convolutions": {
        "conv1d:frames": (2, 4, 6), "lstm:h": (2, 4), "lstm:c": (2, 4), "conv1d_2:frames": (2, 1, 4)
    },
    "one_layer_twice": {"gru:h": (2, 5), "gru:2:h": (2, 5)},
    "inner_sequences": {"gru:h": (2, 5)},
    "no_state": {},
}  # fmt: skip


@pytest.mark.parametrize("name", STATES)
def test_names_and_shapes(name: str) -> None:
    stream = network(name).stream(2)
    assert stream.batch_size == 2
    found = dict(zip(stream.states, (s.shape for s in stream.state), strict=True))
    assert found == STATES[name]
    assert all(s.dtype == np.float32 and not s.any() for s in stream.state)


@pytest.mark.parametrize("name", NETWORKS)
def test_names_are_unique(name: str) -> None:
    states = network(name).stream().states
    assert len(set(states)) == len(states)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("batch", [1, 5, 49])
def test_a_state_moves_to_another_stream(name: str, batch: int, rng: np.random.Generator) -> None:
    """Half-way through, by every way that there is; the first goes on as if nothing had been."""
    model = network(name)
    x = arguments(rng, model, batch, 9)
    first = stepped(model, x, 5)
    by_set, by_load = model.stream(batch), stepped(model, x, 7)
    by_set.state = first.state
    by_load.load_state(first.save_state())
    others = [by_set, by_load, first.copy(), copy.copy(first), copy.deepcopy(first)]
    others.append(pickle.loads(pickle.dumps(first)))
    again = model.stream(batch)
    again.state = [s.astype(np.float64).tolist() for s in first.state]
    for other in [*others, again]:
        assert other.save_state() == first.save_state()
        continues(other, model, x, 5)
    assert others[-1].batch_size == batch
    assert all(o.save_state() != first.save_state() for o in others if o.states)
    continues(first, model, x, 5)


def test_what_was_read_is_a_copy(rng: np.random.Generator) -> None:
    model = network("convolutions")
    x = arguments(rng, model, 2, 6)
    stream = stepped(model, x, 3)
    given = stream.state
    stream.state = given
    for array in given:
        array.fill(np.nan)
    continues(stream, model, x, 3)


def test_none_and_reset_are_zeros(rng: np.random.Generator) -> None:
    model = network("convolutions")
    x = arguments(rng, model, 3, 6)
    stream = stepped(model, x, 5)
    stream.state = (None,) * 4
    continues(stream, model, x, 0)
    stream.reset()
    assert stream.save_state() == model.stream(3).save_state()
    continues(stream, model, x, 0)
    mixed = stream.state
    stream.state = (None, *mixed[1:])
    same_bits(stream.state, (np.zeros_like(mixed[0]), *mixed[1:]))


@pytest.mark.parametrize("kind", KINDS)
def test_an_initial_state_is_a_streams_state(isa: str, kind: str, rng: np.random.Generator) -> None:
    for units, sequences in ((33, True), (7, False)):
        layer = cell(rng, kind, 5, units, return_state=True, return_sequences=sequences)
        model = sc.Sequential([layer]).with_options(isa=isa)
        (x,) = arguments(rng, model, 4, 8)
        initial = initial_states(rng, model, 4)
        y, *final = model(x, initial_state=initial)
        stream = model.stream(4)
        stream.state = initial
        for t in range(8):
            last, *_ = stream.step(x[:, t])
            if sequences:
                same_bits(last, y[:, t], f"frame {t}")
        same_bits(last, y[:, -1] if sequences else y)
        same_bits(stream.state, tuple(final))
        y, *_ = model(x, initial_state=stream.state)
        same_bits(
            stream.step(x[:, 0])[0], listed(model(x[:, :1], initial_state=final))[0].reshape(4, -1)
        )


def test_states_of_torch_layers(rng: np.random.Generator) -> None:
    """By layer in a stream, in one array for all of them at a call."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(5)
    model = sc.from_torch(torch.nn.LSTM(5, 12, num_layers=3), return_state=True)
    (x,) = arguments(rng, model, 2, 6)
    initial = [floats(rng, 3, 2, 12) for _ in range(2)]
    y, *final = model(x, initial_state=initial)
    stream = model.stream(2)
    stream.state = [state[layer] for layer in range(3) for state in initial]
    for t in range(6):
        last, *states = stream.step(x[:, t])
        same_bits(last, y[:, t])
    same_bits(tuple(states), tuple(final))
    same_bits((np.stack(stream.state[::2]), np.stack(stream.state[1::2])), tuple(final))


def test_frames_of_a_convolution_are_the_last_ones(rng: np.random.Generator) -> None:
    model = sc.Sequential([conv(rng, 3, 4, 5, dilation_rate=2)])
    (x,) = arguments(rng, model, 2, 11)
    stream = model.stream(2)
    padded = np.concatenate([np.zeros((2, 4, 4), np.float32), x], axis=1)
    for t in range(11):
        same_bits(stream.state[0], padded[:, t : t + 4], f"before frame {t}")
        stream.step(x[:, t])


def test_a_stream_outlives_its_model(rng: np.random.Generator) -> None:
    model = network("stack")
    x = arguments(rng, model, 1, 5)
    expected, stream = model(*x), stepped(model, x, 2)
    stream._model = None  # type: ignore[assignment]
    del model
    gc.collect()
    same_bits(stream.step(x[0][:, 2]), expected[:, 2])


WRONG_STATES: list[tuple[type[Exception], str, Any]] = [
    (sc.ShapeError, "2 arrays", ()),
    (sc.ShapeError, "2 arrays", (None,)),
    (sc.ShapeError, "2 arrays", None),
    (sc.ShapeError, "2 arrays", np.zeros((2, 2, 3), np.float32)),
    (sc.ShapeError, r"lstm:c.*\(2, 3\).*\(1, 3\)", (np.ones((2, 3)), np.ones((1, 3)))),
    (sc.ShapeError, r"lstm:c.*\(2, 3\).*\(6,\)", (np.ones((2, 3)), np.ones(6))),
    (sc.ShapeError, "different shapes", (np.ones((2, 3)), [[1, 2, 3], [1]])),
    (sc.DtypeError, "complex", (np.ones((2, 3)), np.ones((2, 3), complex))),
    (sc.DtypeError, "object", (np.ones((2, 3)), object())),
]


@pytest.mark.parametrize("number", range(len(WRONG_STATES)))
def test_a_wrong_state_changes_nothing(number: int, rng: np.random.Generator) -> None:
    error, message, state = WRONG_STATES[number]
    model = sc.Sequential([cell(rng, "LSTM", 2, 3)])
    stream = stepped(model, arguments(rng, model, 2, 3), 3)
    before = stream.save_state()
    with pytest.raises(error, match=message):
        stream.state = state
    assert stream.save_state() == before


# ---- Saved ---------------------------------------------------------------------------------------


def test_saved_states_are_of_every_instruction_set(rng: np.random.Generator) -> None:
    """The arrays are the same to the last bit, and each set goes on as its own model does."""
    models = [network("all_states").with_options(isa=isa) for isa in sc.cpu_info()["isas"]]
    (x,) = arguments(rng, models[0], 3, 8)
    for source in models:
        saved = stepped(source, [x], 4)
        for target in models:
            stream = target.stream(3)
            stream.load_state(saved.save_state())
            same_bits(stream.state, saved.state)
            initial = [saved.state[saved.states.index(n[:-1])] for n in target.states]
            same_bits(
                tuple(listed(stream.step(x[:, 4]))[-1:]),
                target(x[:, 4:5], initial_state=initial)[-1][:, 0],
            )


OTHER_PROCESS = """
import sys
import numpy as np
import seqcore as sc
model = sc.load(sys.argv[1])
stream = model.stream(3)
stream.load_state(open(sys.argv[2], "rb").read())
x = np.load(sys.argv[3])
np.save(sys.argv[4], np.stack([stream.step(x[:, t]) for t in range(4, 9)], axis=1))
open(sys.argv[2], "wb").write(stream.save_state())
"""


def test_another_process_goes_on(rng: np.random.Generator, tmp_path: Path) -> None:
    """With the model out of its file; and what it saves is taken up here."""
    model = network("convolutions")
    (x,) = arguments(rng, model, 3, 12)
    files = [str(tmp_path / name) for name in ("m.safetensors", "state", "x.npy", "y.npy")]
    model.save(files[0])
    Path(files[1]).write_bytes(stepped(model, [x], 4).save_state())
    np.save(files[2], x)
    subprocess.run([sys.executable, "-c", OTHER_PROCESS, *files], check=True, timeout=60)
    same_bits(np.load(files[3]), model(x)[:, 4:9])
    stream = model.stream(3)
    stream.load_state(bytearray(Path(files[1]).read_bytes()))
    continues(stream, model, [x], 9)


def test_states_of_other_models_are_refused() -> None:
    def lstm(seed: int, **options: Any) -> sc.Model:
        return sc.Sequential([cell(np.random.default_rng(seed), "LSTM", 2, 3, **options)])

    model = lstm(1)
    saved = model.stream(2).save_state()
    layer = cell(np.random.default_rng(1), "LSTM", 2, 3)
    W = layer.weights["W"].copy()
    W.view(np.uint32)[0, 0] ^= 1
    slightly = sc.Sequential(
        [sc.LSTM(W, layer.weights["U"], layer.weights["b"], return_sequences=True)]
    )
    others = {
        "weights": lstm(2), "a bit of a weight": slightly, "option": lstm(1, activation="relu"),
        "sequences": lstm(1, return_sequences=False), "name": lstm(1, name="other"),
    }  # fmt: skip
    for what, other in others.items():
        with pytest.raises(sc.StateError, match="another model"):
            other.stream(2).load_state(saved)
        with pytest.raises(sc.StateError, match="another model"):
            model.stream(2).load_state(other.stream(2).save_state())
        assert what
    for rows in (1, 3):
        with pytest.raises(sc.StateError, match=f"2 rows, expected {rows}"):
            model.stream(rows).load_state(saved)
    lstm(1).with_options(threads=2).stream(2).load_state(saved)


def test_damaged_states_are_refused(rng: np.random.Generator) -> None:
    """Every bit, every length, every byte left out or put in, every two words swapped."""
    model = sc.Sequential([cell(rng, "LSTM", 2, 3)])
    stream = stepped(model, arguments(rng, model, 2, 3), 3)
    saved = stream.save_state()
    stream.reset()
    before = stream.save_state()
    damaged = [saved[:size] for size in range(len(saved))]
    damaged += [saved + b"\0", saved + saved, b"\0" * len(saved), saved[::-1], before + saved]
    for place in range(len(saved)):
        for bit in range(8):
            flipped = bytearray(saved)
            flipped[place] ^= 1 << bit
            damaged.append(bytes(flipped))
        damaged.append(saved[:place] + saved[place + 1 :] + b"\0")
        damaged.append(saved[:place] + b"\x01" + saved[place:-1])
    words = np.frombuffer(saved, np.uint32)
    for i in range(len(words)):
        for k in range(i):
            swapped = words.copy()
            swapped[[i, k]] = swapped[[k, i]]
            damaged.append(swapped.tobytes())
    for data in damaged:
        if data != saved:
            with pytest.raises(sc.StateError):
                stream.load_state(data)
    for wrong in (None, "text", 7, [1, 2], np.zeros(9)):
        with pytest.raises((TypeError, ValueError)):
            stream.load_state(wrong)  # type: ignore[arg-type]
    assert stream.save_state() == before
    stream.load_state(np.frombuffer(saved, np.uint8).data)
    assert stream.save_state() == saved


# ---- Threads -------------------------------------------------------------------------------------


def test_two_threads_on_one_stream(rng: np.random.Generator) -> None:
    """With one frame again and again, every step that succeeds is another of the lone results."""
    model, x = heavy(rng, return_state=True), floats(rng, 16, 8)
    stream, alone = model.stream(16), model.stream(16)
    results: list[bytes] = []
    saved: list[bytes] = []
    refused: list[str] = []

    def work(number: int) -> None:
        out = tuple(np.empty((16, 320), np.float32) for _ in range(3))
        for _ in attempts():
            if len(results) >= 150 and refused:
                break
            try:
                if number == 2:
                    saved.append(stream.save_state())
                else:
                    stream.step(x, out=out)
                    results.append(b"".join(y.tobytes() for y in out))
            except sc.StreamError as error:
                refused.append(str(error))

    together(3, work)
    expected, states = [], {alone.save_state()}
    for _ in results:
        expected.append(b"".join(y.tobytes() for y in alone.step(x)))
        states.add(alone.save_state())
    assert len(results) >= 150
    assert sorted(results) == sorted(expected)
    assert stream.save_state() == alone.save_state()
    assert set(saved) <= states
    assert set(refused) == {"another thread is using the stream"}


def test_a_state_is_read_as_a_whole(rng: np.random.Generator) -> None:
    """h and c belong to one frame, also when another thread steps between any two of Python's."""
    model = sc.Sequential([cell(rng, "LSTM", 8, 4)]).with_options(threads=1)
    stream, x = model.stream(2), floats(rng, 3, 2, 8)
    steps, read = 30_000, set()
    done = threading.Event()

    def work(number: int) -> None:
        for t in range(steps) if number == 0 else ():
            stream.step(x[t % 3])
        while number == 1 and not done.is_set():
            read.add(tuple(s.tobytes() for s in stream.state))
        done.set()

    with threads_in_turns():
        together(2, work)
    alone, possible = model.stream(2), set()
    for t in range(steps + 1):
        possible.add(tuple(s.tobytes() for s in alone.state))
        alone.step(x[t % 3])
    assert len(read) > 1
    assert read <= possible


# ---- Denormals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_states_that_decay(isa: str, threads: int, rng: np.random.Generator) -> None:
    """Through numbers that count as zero, stepped as run; the caller's arithmetic keeps them."""
    units = 20
    bias = np.concatenate([np.full(units, -20.0), np.full(units, -2.0), np.zeros(2 * units)])
    lstm = sc.LSTM(np.zeros((4, 80)), np.zeros((units, 80)), bias, return_sequences=True)
    rnn = sc.SimpleRNN(
        np.zeros((4, units)), np.eye(units) / 10, activation=None, return_sequences=True
    )
    tiny = np.float32(1e-40)
    for layer in (lstm, rnn):
        layer.return_state = True
        model = sc.Sequential([layer]).with_options(isa=isa, threads=threads)
        x = np.full((3, 60, 4), tiny)
        initial = [np.ones((3, units), np.float32) * rng.uniform(0.1, 1, (3, units))] * len(
            model.states
        )
        y, *final = model(x, initial_state=initial)
        stream = model.stream(3)
        stream.state = initial
        for t in range(60):
            same_bits(stream.step(x[:, t])[0], y[:, t], f"frame {t}")
            assert tiny * np.float32(1) != 0
            assert (x[:, t] + x[:, t] > 0).all()
        same_bits(stream.state, tuple(final))
        stream.state = [np.full((3, units), tiny) for _ in initial]
        assert (stream.state[0] == tiny).all()
        other, *_ = model(x, initial_state=stream.state)
        same_bits(stream.step(x[:, 0])[0], other[:, 0])
    smallest = np.abs(y[y != 0]).min()
    assert smallest < 1e-36
    check_steps(model, [x * 0], "zeros")
