"""seqcore in processes that fork, and in those that start afresh: servers with workers, pools.

A team of OpenMP does not survive a fork, nor do the calls of other threads; the forked child must
neither wait for them nor miss what they held. Children that hang are killed and fail their test.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import pickle
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import decoding_truth as truth
import numpy as np
import pytest
from hosts import MODEL, PATIENCE, fork, has_threads, in_child, join, make_input, make_model, script

import seqcore as sc

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)
THREADS = 2 if has_threads() else 1


class Served:
    """A model with all that a child checks: a call's bits, those of steps, and of a pool."""

    def __init__(self) -> None:
        self.model = make_model().with_options(threads=THREADS)
        self.x = make_input()
        self.y = self.model(self.x)
        assert self.model.plan["last_threads"] == THREADS

    def check(self) -> None:
        assert np.array_equal(self.model(self.x), self.y)
        assert self.model.plan["last_threads"] == THREADS
        stream, pool = self.model.stream(8), self.model.pool(8)
        ids = [pool.open() for _ in range(8)]
        for t in range(3):
            frame = np.ascontiguousarray(self.x[:, t])
            assert np.array_equal(stream.step(frame), self.y[:, t])
            assert np.array_equal(pool.step(ids, frame), self.y[:, t])


@contextmanager
def busy(works: list[Callable[[], object]]) -> Iterator[None]:
    """Threads that do each work over and over."""
    done, counts = threading.Event(), [0] * len(works)

    def run(number: int) -> None:
        while not done.is_set():
            works[number]()
            counts[number] += 1

    threads = [threading.Thread(target=run, args=(k,), daemon=True) for k in range(len(works))]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a thread of the parent hangs"
    assert min(counts) > 0


# ---- Forks ---------------------------------------------------------------------------------------


@needs_fork
def test_a_child_has_a_team_of_its_own() -> None:
    """After the parent has used its team; and the parent has one again."""
    served = Served()
    for _ in range(3):
        in_child(served.check)
        served.check()


@needs_fork
def test_a_child_of_a_child() -> None:
    served = Served()

    def child() -> None:
        in_child(served.check)
        served.check()
        in_child(lambda: in_child(served.check))

    in_child(child)


@needs_fork
def test_a_fork_in_a_thread() -> None:
    """The child's only thread is not the one that had the team; both have had one, or none."""
    served, failed = Served(), []

    def work(call_first: bool) -> None:
        try:
            if call_first:
                served.check()
            in_child(served.check)
        except BaseException as error:
            failed.append(error)

    for call_first in (False, True):
        thread = threading.Thread(target=work, args=(call_first,))
        thread.start()
        thread.join()
    served.check()
    assert failed == []


@needs_fork
def test_forks_while_others_are_in_calls() -> None:
    """Whatever calls, steps and openings held when the process forked, the child can do all."""
    served = Served()
    small, x = make_model(16), make_input()
    stream, pool = served.model.stream(8), served.model.pool(64)
    frame = np.ascontiguousarray(x[:, 0])
    decoder, source = truth.luong(np.random.default_rng(0)).model, [[1, 2, 3], [4, 5, 6]]
    decoded = decoder.beam(source, width=3).ids

    def step_pool() -> None:
        ids = [pool.open() for _ in range(8)]
        pool.step(ids, frame)
        for stream_id in ids:
            pool.close(stream_id)

    def child() -> None:
        served.check()
        small(x)
        assert 0 <= len(pool) <= 8
        ids = [pool.open() for _ in range(8)]  # of a pool that may have been in use
        assert np.array_equal(pool.step(ids, frame), served.y[:, 0])
        assert np.array_equal(decoder.beam(source, width=3).ids, decoded)

    works = [
        lambda: decoder.beam(source, width=3),
        lambda: served.model(x),
        lambda: make_model(16)(x),
        lambda: small(x[:1]),
        lambda: stream.step(frame),
        step_pool,
    ]
    with busy(works):
        for _ in range(50):
            in_child(child)
    served.check()


@needs_fork
def test_a_stream_in_use_at_the_fork_is_busy_in_the_child() -> None:
    """Its state is half a step: the child is told so, every time, and does not wait."""
    model = make_model(1024).with_options(threads=1)

    def a_fork_falls_into_a_step(rows: int) -> bool:
        stream, x = model.stream(rows), make_input(rows=rows, frames=1)[:, 0]

        def child() -> None:
            status = 0
            for _ in range(3):
                try:
                    stream.step(x)
                except sc.StreamError:
                    status += 1
            os._exit(status)

        with busy([lambda: stream.step(x)]):
            for _ in range(20):
                status = os.waitstatus_to_exitcode(os.waitpid(fork(child), 0)[1])
                assert status in (0, 3)
                if status == 3:
                    return True
        return False

    # a step must take longer than a fork does, which copies the tables of all of the process's
    # pages: some 2, 10, 40, 160 ms
    assert any(map(a_fork_falls_into_a_step, (32, 128, 512, 2048)))


@needs_fork
def test_multiprocessing_with_fork() -> None:
    served = Served()
    context = multiprocessing.get_context("fork")
    with busy([lambda: served.model(served.x)] * 2):
        children = [context.Process(target=served.check) for _ in range(4)]
        for child in children:
            child.start()
        for child in children:
            child.join(PATIENCE)
            if child.is_alive():
                child.kill()
                child.join()
        assert [child.exitcode for child in children] == [0] * 4


@needs_fork
def test_a_server_that_forks_its_workers() -> None:
    """As gunicorn with preload: load once, fork, and each worker answers for itself."""
    served, workers = Served(), []

    def serve(end: socket.socket) -> None:
        with end.makefile("rw") as stream:
            for line in stream:
                rows = json.loads(line)["rows"]
                y = served.model(served.x[rows])
                print(json.dumps({"pid": os.getpid(), "y": y.tolist()}), file=stream, flush=True)
        assert served.model.plan["last_threads"] == THREADS

    for _ in range(3):
        ours, its = socket.socketpair()
        child = fork(lambda end=its: serve(end))  # type: ignore[misc]
        its.close()
        ours.settimeout(PATIENCE)
        workers.append((child, ours, ours.makefile("rw")))
    for rows in ([0], [3, 1], list(range(8))) * 3:  # the last: worth a team
        for _, _, stream in workers:
            print(json.dumps({"rows": rows}), file=stream, flush=True)
        for child, _, stream in workers:
            answer = json.loads(stream.readline())
            assert answer["pid"] == child
            assert np.array_equal(np.array(answer["y"], np.float32), served.y[rows])
    for child, end, stream in workers:
        end.shutdown(socket.SHUT_RDWR)
        stream.close()
        end.close()
        join(child)


@needs_fork
def test_a_child_that_only_inherits_the_library() -> None:
    """The parent has imported and loaded, and never called: gunicorn's usual case."""
    code = f"""{MODEL}
import os, signal
child = os.fork()
if child == 0:
    signal.alarm({PATIENCE:.0f})
    model.with_options(threads=2)(x)
    model.stream(8).step(x[:, 0])
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("done")
"""
    assert script(code) == "done\n"


def memory_of_its_own() -> int:
    """Bytes that this process alone has, and has written to."""
    text = Path("/proc/self/smaps_rollup").read_text()
    fields = dict(line.split(":") for line in text.splitlines()[1:])
    return int(fields["Private_Dirty"].split()[0]) * 1024


@needs_fork
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="no smaps_rollup")
def test_children_share_the_weights() -> None:
    """Nothing writes to weights: forked workers have one copy of them, in the parent's pages."""
    model, x = make_model(1400), make_input(rows=1, frames=3)
    expected, weights = model(x), model.plan["bytes"]
    assert weights > 30e6

    def child() -> None:
        before = memory_of_its_own()
        assert np.array_equal(model(x), expected)
        model.stream().step(x[:, 0])
        grown = memory_of_its_own() - before
        assert 0 <= grown < weights / 10, f"{grown} bytes, with {weights} of weights"
        written = b"x" * weights  # that the measure measures
        assert memory_of_its_own() - before > 0.9 * len(written)

    in_child(child)


# ---- Processes that start afresh -----------------------------------------------------------------


def predict(model: sc.Model, x: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Run in a process that has got the model as an argument."""
    return model(x), model.plan["last_threads"], os.getpid()


def step(stream: sc.Stream, x: np.ndarray) -> np.ndarray:
    return stream.step(x)


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_process_pools(method: str) -> None:
    """Models and streams travel as arguments, and what comes back has the parent's bits."""
    served = Served()
    stream = served.model.stream(8)
    stream.step(served.x[:, 0])
    context = multiprocessing.get_context(method)
    alarm = (signal.alarm, (int(2 * PATIENCE),))  # hanging processes end, and then the executor
    with ProcessPoolExecutor(2, context, *alarm) as executor:
        answers = [executor.submit(predict, served.model, served.x) for _ in range(6)]
        stepped = executor.submit(step, stream, served.x[:, 1])
        for answer in answers:
            y, threads, pid = answer.result(timeout=PATIENCE)
            assert np.array_equal(y, served.y)
            assert threads == THREADS
            assert pid != os.getpid()
        assert np.array_equal(stepped.result(timeout=PATIENCE), served.y[:, 1])
    served.check()


def globals_of(data: bytes) -> set[str]:
    """Everything that a pickle would import."""
    found = set()

    class Reader(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            found.add(f"{module}.{name}")
            return super().find_class(module, name)

    Reader(io.BytesIO(data)).load()
    return found


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_names_nothing_but_what_restores_it(protocol: int) -> None:
    """seqcore's own function and class: no other code."""
    encoded = {"_codecs.encode"} if protocol < 3 else set()  # bytes, before there was a code
    model = make_model(16)
    stream = model.stream()
    for thing, own in (
        (model, {"seqcore.model._restored", "seqcore.sequential.Sequential"}),
        (stream, {"seqcore.stream._restored", "seqcore.model._restored"}),
    ):
        names = globals_of(pickle.dumps(thing, protocol))
        assert own <= names <= {*own, "seqcore.sequential.Sequential", *encoded}


def test_a_pickle_read_by_a_process_that_has_imported_nothing() -> None:
    code = f"""{MODEL}
import multiprocessing, pickle, subprocess, sys
data = pickle.dumps(model)
other = "import pickle, sys; m = pickle.load(sys.stdin.buffer); import numpy as np;" \\
        "x = np.cos(np.arange(8 * 20 * 8, dtype=np.float32)).reshape(8, 20, 8);" \\
        "sys.stdout.buffer.write(m(x).tobytes())"
done = subprocess.run([sys.executable, "-c", other], input=data, capture_output=True, check=True)
assert done.stdout == model(x).tobytes()
print("done")
"""
    assert script(code) == "done\n"
