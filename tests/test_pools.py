"""Pools: streams that come and go, stepped together, against streams on their own.

What a step computes is in test_streams.py; the core's own interface is in c/.
"""

from __future__ import annotations

import copy
import pickle
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
    floats,
    frame,
    heavy,
    listed,
    network,
    planned,
    same_bits,
    threads_in_turns,
    together,
)

import seqcore as sc

# ---- Schedules -----------------------------------------------------------------------------------


class Schedule:
    """A pool, and beside each of its streams one on its own that is given the same."""

    def __init__(self, model: sc.Model, pool_model: sc.Model, capacity: int, seed: int) -> None:
        self.model, self.pool = model, pool_model.pool(capacity)
        self.rng = np.random.default_rng(seed)
        self.alone: dict[int, sc.Stream] = {}
        self.closed: list[int] = []

    def some(self) -> list[int]:
        """Draw some of the open streams, in any order."""
        count = self.rng.integers(0, len(self.alone) + 1)
        return self.rng.permutation(np.array(list(self.alone), np.uint64))[:count].tolist()

    def one(self) -> int:
        return int(self.rng.choice(np.array(list(self.alone), np.uint64)))

    def open(self) -> None:
        if len(self.alone) == self.pool.capacity:
            with pytest.raises(sc.StreamError, match=f"capacity is {self.pool.capacity}"):
                self.pool.open()
            return
        number = self.pool.open()
        assert number > 0
        assert number not in self.alone
        assert number not in self.closed
        self.alone[number] = self.model.stream()

    def close(self) -> None:
        number = self.one()
        self.pool.close(number)
        self.closed.append(number)
        del self.alone[number]

    def step(self) -> None:
        ids = self.some()
        inputs = arguments(self.rng, self.model, len(ids), 1)
        given = frame(self.pool, inputs, 0)
        form: Any = [list, tuple, np.int64, np.uint64, iter][self.rng.integers(5)]
        numbers = np.array(ids, form) if form in (np.int64, np.uint64) else form(ids)
        together = listed(self.pool.step(numbers, *given))
        for row, number in enumerate(ids):
            lone = listed(self.alone[number].step(*(x[row : row + 1] for x in given)))
            for y, expected, port in zip(together, lone, self.pool.steps.outputs, strict=True):
                axis = port.shape.index(None)
                same_bits(np.take(y, [row], axis), expected, f"stream {number}")

    def reset(self) -> None:
        number = self.one()
        self.pool.reset(number)
        self.alone[number].reset()

    def exchange(self) -> None:
        """Let a stream take up another's state: saved in the pool or alone, or read and set."""
        here, there = self.one(), self.one()
        way = self.rng.integers(3)
        if way == 0:
            self.pool.load_state(here, self.alone[there].save_state())
        elif way == 1:
            self.pool.load_state(here, self.pool.save_state(there))
        else:
            self.pool.set_state(here, self.pool.state(there))
        self.alone[here].load_state(self.pool.save_state(there))

    def stale(self) -> None:
        """An id of a closed stream in the middle of good ones: nothing advances."""
        if not self.closed:
            return
        number = int(self.rng.choice(np.array(self.closed, np.uint64)))
        ids = self.some()
        ids.insert(len(ids) // 2, number)
        given = frame(self.pool, arguments(self.rng, self.model, len(ids), 1), 0)
        with pytest.raises(sc.StreamError):
            self.pool.step(ids, *given)
        calls = [self.pool.close, self.pool.reset, self.pool.save_state]
        calls += [self.pool.state] if self.pool.states else []
        for call in calls:
            with pytest.raises(sc.StreamError, match=f"no stream {number}"):
                call(number)

    def run(self, rounds: int) -> None:
        actions = [self.open, self.open, self.close, self.reset, self.exchange, self.stale]
        actions += [self.step] * 6
        for _ in range(rounds):
            action = actions[self.rng.integers(len(actions))] if self.alone else self.open
            action()
            assert len(self.pool) == len(self.alone)
        for number, stream in self.alone.items():
            assert self.pool.save_state(number) == stream.save_state()
            same_bits(self.pool.state(number), stream.state)
        assert self.pool.states == self.model.stream().states


@pytest.mark.parametrize("name", NETWORKS)
def test_schedules(isa: str, name: str) -> None:
    model = network(name).with_options(isa=isa, threads=1)
    for capacity in (1, 3, 17):
        Schedule(model, model, capacity, capacity).run(150)


@pytest.mark.parametrize("name", ["all_states", "convolutions", "branches"])
@pytest.mark.parametrize(("threads", "team"), [(2, 1), (2, 2), (3, 3)])
def test_schedules_of_teams(name: str, threads: int, team: int) -> None:
    model = network(name)
    Schedule(model, planned(model, threads=threads, team=team), 9, 5).run(120)


@pytest.mark.parametrize("kind", KINDS)
def test_many_streams(isa: str, kind: str, rng: np.random.Generator) -> None:
    """More than a block of rows; every part of the open ones, whose rows lie anywhere."""
    model = sc.Sequential([cell(rng, kind, 7, 33)]).with_options(isa=isa)
    pool, batch = model.pool(200), model.stream(200)
    ids = np.array([pool.open() for _ in range(200)], np.uint64)
    ids = rng.permutation(ids)
    for _ in range(4):
        (x,) = arguments(rng, model, 200, 1)
        expected = batch.step(x[:, 0])
        begin = 0
        for count in (130, 49, 20, 1):
            part = slice(begin, begin + count)
            same_bits(pool.step(ids[part], x[part, 0]), expected[part])
            begin += count


def test_stacked_states_of_a_part() -> None:
    """Outputs (layers, n, units), whose rows are as far apart as the step has streams."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(5)
    model = sc.from_torch(torch.nn.GRU(4, 6, num_layers=2), return_state=True)
    Schedule(model, model, 7, 3).run(100)


# ---- Bounds --------------------------------------------------------------------------------------


def test_capacity_and_length() -> None:
    pool = network("stack").pool(5)
    ids = [pool.open() for _ in range(5)]
    assert len(set(ids)) == len(pool) == 5
    with pytest.raises(sc.StreamError, match="capacity is 5"):
        pool.open()
    pool.close(ids[2])
    assert len(pool) == 4
    fresh = pool.open()
    assert fresh not in ids
    assert len(pool) == 5
    assert "5 of 5" in repr(pool)


def test_an_opened_stream_begins_anew(rng: np.random.Generator) -> None:
    model = network("convolutions")
    (x,) = arguments(rng, model, 1, 6)
    pool, expected = model.pool(1), model(x)
    for _ in range(20):
        number = pool.open()
        for t in range(6):
            same_bits(pool.step([number], x[:, t]), expected[:, t])
        pool.close(number)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_does_not_grow(rng: np.random.Generator) -> None:
    model = sc.Sequential([cell(rng, "LSTM", 3, 8)]).with_options(threads=1)
    pool, x = model.pool(64), floats(rng, 8, 3)
    out = np.empty((8, 8), np.float32)

    def pages() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    def work(rounds: int) -> None:
        for _ in range(rounds):
            ids = [pool.open() for _ in range(8)]
            pool.step(ids, x, out=out)
            for number in ids:
                pool.close(number)

    work(500)
    before = pages()
    work(12_500)
    assert len(pool) == 0
    assert pages() - before < 256  # 1 MiB; a leak of 16 bytes a stream would be 400 pages
    before = pages()
    for _ in range(300):
        model.stream(40)
        model.pool(40)
    assert pages() - before < 512


# ---- Arguments -----------------------------------------------------------------------------------

NOT_IDS = [-1, 2**64, 2**70, 1.0, 1.5, np.float64(2), "1", None, [1], b"1", 1j]
NO_STREAMS = [0, 1, 2, 2**32, 2**32 + 1, 2**32 + 9, 2**33, 2**63, 2**64 - 1, True]


@pytest.mark.parametrize("wrong", [*NOT_IDS, *NO_STREAMS], ids=repr)
def test_wrong_ids(wrong: Any, rng: np.random.Generator) -> None:
    model = network("stack")
    pool = model.pool(4)
    pool.close(pool.open())  # 2**32 + 1 is its id no more
    good = pool.open()
    pool.step([good], floats(rng, 1, 5))
    before = pool.save_state(good)
    errors = (sc.StreamError, TypeError)
    calls: list[Any] = [
        lambda: pool.step([good, wrong], floats(rng, 2, 5)),
        lambda: pool.step([wrong, good], floats(rng, 2, 5)),
        lambda: pool.close(wrong),
        lambda: pool.reset(wrong),
        lambda: pool.state(wrong),
        lambda: pool.set_state(wrong, pool.state(good)),
        lambda: pool.save_state(wrong),
        lambda: pool.load_state(wrong, before),
    ]
    for call in calls:
        with pytest.raises(errors):
            call()
    assert pool.save_state(good) == before
    assert len(pool) == 1


def test_an_id_that_became_a_float_is_none(rng: np.random.Generator) -> None:
    """An id that is rounded may be another stream's."""
    pool = network("stack").pool(2)
    number = pool.open()
    for call in (pool.close, pool.reset, pool.state, pool.save_state):
        with pytest.raises(TypeError):
            call(float(number))  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            call(number + 0.5)  # type: ignore[arg-type]
    with pytest.raises(sc.DtypeError):
        pool.step(np.array([number], np.float64), floats(rng, 1, 5))
    assert len(pool) == 1


def test_wrong_lists_of_ids(rng: np.random.Generator) -> None:
    model = network("stack")
    pool, other = model.pool(4), model.pool(8)
    a, b = pool.open(), pool.open()
    foreign = [other.open() for _ in range(5)][-1]  # this pool has no fifth place
    before = pool.save_state(a)
    x = floats(rng, 2, 5)
    for ids, error in (
        ([a, a], sc.StreamError), ([a] * 5, sc.StreamError), ([a, foreign], sc.StreamError),
        (np.array([[a, b]]), sc.DtypeError), ([[a, b]], sc.DtypeError), ("ab", sc.DtypeError),
        (np.array([a, b], float), sc.DtypeError), (np.array([a, b], object), sc.DtypeError),
        (np.array([-1, a]), sc.StreamError), (a, TypeError), (None, TypeError),
        ([a], sc.ShapeError), ([], sc.ShapeError), ([a, b, a], sc.ShapeError),
    ):  # fmt: skip
        rows = x if not isinstance(ids, list) or len(ids) != 5 else floats(rng, 5, 5)
        with pytest.raises(error):
            pool.step(ids, rows)  # type: ignore[arg-type]
    for wrong in (floats(rng, 5), floats(rng, 2, 4), floats(rng, 2, 1, 5), np.float32(1)):
        with pytest.raises(sc.ShapeError):
            pool.step([a, b], wrong)
    with pytest.raises(sc.ShapeError, match=r"\(2, 7\)"):
        pool.step([a, b], x, out=np.empty((3, 7), np.float32))
    assert pool.save_state(a) == before
    same_bits(pool.step([b, a], x), model(x[:, None])[:, 0])


def test_a_step_of_nobody() -> None:
    """It checks what it is given as any other does."""
    pool = network("stack").pool(3)
    nobody = np.zeros((0, 5), np.float32)
    assert pool.step([], nobody).shape == (0, 7)
    out = np.empty((0, 7), np.float32)
    assert pool.step(np.array([], np.uint64), nobody, out=out) is out
    with pytest.raises(sc.ShapeError, match=r"\(0, 5\)"):
        pool.step([], np.zeros((0, 4), np.float32))
    with pytest.raises(sc.ShapeError, match=r"\(0, 7\)"):
        pool.step([], nobody, out=np.empty((3, 7), np.float32))


def test_out_may_not_be_the_ids(rng: np.random.Generator) -> None:
    """The ids are needed until the end of the step: overwritten, they would name no place."""
    model = sc.Sequential([cell(rng, "SimpleRNN", 3, 2)])
    pool = model.pool(4)
    ids = np.array([pool.open() for _ in range(4)], np.uint64)
    kept, x = ids.copy(), floats(rng, 4, 3)
    out = ids.view(np.float32).reshape(4, 2)
    with pytest.raises(sc.ShapeError, match="overlaps"):
        pool.step_arrays(ids, [x], [out])
    assert (ids == kept).all()
    try:
        pool.step(ids, x, out=out)
    except sc.ShapeError:
        pool.step(ids, x)
    same_bits(pool.step(kept, x), model(np.stack([x, x], axis=1))[:, 1])


def test_wrong_ids_of_tokens() -> None:
    model = network("tokens")
    pool = model.pool(3)
    streams = [pool.open() for _ in range(3)]
    pool.step(streams, [1, 2, 3])
    before = [pool.save_state(number) for number in streams]
    with pytest.raises(sc.IdRangeError, match="id 99 in row 1"):
        pool.step(streams, [1, 99, 2])
    assert [pool.save_state(number) for number in streams] == before


def test_saved_states_of_a_pool_are_checked(rng: np.random.Generator) -> None:
    model = sc.Sequential([cell(rng, "LSTM", 3, 2)])
    pool = model.pool(2)
    number = pool.open()
    pool.step([number], floats(rng, 1, 3))
    saved = pool.save_state(number)
    damaged = [saved[:-1], b"", saved + b"\0", model.stream(2).save_state()]
    for place in range(len(saved)):
        damaged.append(saved[:place] + bytes([saved[place] ^ 16]) + saved[place + 1 :])
    for data in damaged:
        with pytest.raises(sc.StateError):
            pool.load_state(number, data)
    for wrong in ((), None, (None,), (np.zeros((2, 2)), None), (np.zeros(2), None)):
        with pytest.raises(sc.ShapeError):
            pool.set_state(number, wrong)  # type: ignore[arg-type]
    assert pool.save_state(number) == saved
    pool.set_state(number, (None, None))
    assert not any(array.any() for array in pool.state(number))


def test_a_pool_is_not_copied() -> None:
    pool = network("stack").pool(2)
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(pool)


# ---- Threads -------------------------------------------------------------------------------------


def lone_results(model: sc.Model, x: Any, count: int) -> tuple[list[bytes], bytes]:
    """What a stream gives that gets one frame again and again, and its state after that."""
    stream = model.stream()
    return [stream.step(x).tobytes() for _ in range(count)], stream.save_state()


def test_threads_step_streams_of_their_own(rng: np.random.Generator) -> None:
    """Nobody is refused, and all are as alone."""
    model = heavy(rng)
    pool, x = model.pool(24), floats(rng, 24, 8)
    got: list[list[list[bytes]]] = []

    def work(number: int) -> None:
        own = [pool.open() for _ in range(1 + number)]
        results: list[list[bytes]] = [[] for _ in own]
        for turn in range(60):
            y = pool.step(own[::-1] if turn % 2 else own, x[: len(own)][:: -1 if turn % 2 else 1])
            for row, result in enumerate(results):
                result.append(y[-1 - row if turn % 2 else row].tobytes())
        got.append(results)
        for stream in own:
            pool.close(stream)

    together(5, work)
    expected = [lone_results(model, x[row : row + 1], 60)[0] for row in range(5)]
    assert sorted(map(len, got)) == [1, 2, 3, 4, 5]
    assert all(results == expected[: len(results)] for results in got)
    assert len(pool) == 0


def test_threads_step_streams_that_they_share(rng: np.random.Generator) -> None:
    """Who is refused has moved nobody; the others' frames are those of lone streams, each once."""
    model = heavy(rng)
    pool, x = model.pool(10), floats(rng, 10, 8)
    ids = [pool.open() for _ in range(10)]
    results: list[list[bytes]] = [[] for _ in ids]
    refused: list[str] = []

    def work(number: int) -> None:
        draw = np.random.default_rng(number)
        for turn in attempts():
            if turn >= 120 and refused:
                break
            rows = draw.permutation(10)[: draw.integers(1, 5)]
            try:
                y = pool.step([ids[row] for row in rows], x[rows])
            except sc.StreamError as error:
                refused.append(str(error))
                continue
            for row, frame_ in zip(rows, y, strict=True):
                results[row].append(frame_.tobytes())

    together(5, work)
    assert refused
    assert all("in use" in message for message in refused)
    for row, result in enumerate(results):
        expected, state = lone_results(model, x[row : row + 1], len(result))
        assert sorted(result) == sorted(expected)
        assert pool.save_state(ids[row]) == state


def test_streams_are_closed_while_others_step(rng: np.random.Generator) -> None:
    """A close is refused, or its stream is stepped no more; who comes next begins anew."""
    model = heavy(rng)
    pool, x = model.pool(4), floats(rng, 4, 8)
    first_frame = [model.stream().step(x[row : row + 1]).tobytes() for row in range(4)]
    current = [pool.open() for _ in range(4)]
    counts = {"stepped": 0, "step refused": 0, "closed": 0, "close refused": 0}
    begun: list[bool] = []

    def step() -> None:
        try:
            pool.step(list(current), x)
            counts["stepped"] += 1
        except sc.StreamError:
            counts["step refused"] += 1

    def replace(row: int) -> None:
        try:
            pool.close(current[row])
            counts["closed"] += 1
        except sc.StreamError:
            counts["close refused"] += 1
            return
        fresh = pool.open()
        begun.append(pool.step([fresh], x[row : row + 1]).tobytes() == first_frame[row])
        current[row] = fresh

    def work(number: int) -> None:
        for k in attempts():
            if counts["closed"] >= 60 and counts["close refused"] and counts["stepped"]:
                break
            step() if number else replace(k % 4)

    together(2, work)
    assert counts["stepped"] * counts["close refused"] > 0
    assert len(begun) >= 60
    assert all(begun)


def test_threads_open_and_close(rng: np.random.Generator) -> None:
    """As many threads as there are places: nobody who holds at most one is ever refused."""
    model = network("stack")
    pool, x = model.pool(4), floats(rng, 1, 5)
    expected = model.stream().step(x).tobytes()
    seen: list[int] = []

    def work(number: int) -> None:
        for _ in range(400):
            stream = pool.open()
            assert number < 4
            assert len(pool) <= 4
            assert pool.step([stream], x).tobytes() == expected
            pool.close(stream)
            seen.append(stream)

    with threads_in_turns():
        together(4, work)
    assert len(set(seen)) == 1600
    assert len(pool) == 0
