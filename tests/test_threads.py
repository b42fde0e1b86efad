"""seqcore among the threads of a host: many callers of one model, the GIL, and how many threads a
call takes, whoever limits them. What the C core does under a race detector is in test_c.py."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hosts import MODEL, PATIENCE, has_threads, make_input, make_model, script
from stream_models import KINDS, cell, check_steps, floats, planned, same_bits

import seqcore as sc

ROOT = Path(__file__).resolve().parents[1]
LINUX = sys.platform.startswith("linux")
CORES = len(os.sched_getaffinity(0)) if LINUX else 1

several_threads = pytest.mark.skipif(not has_threads(), reason="a call has one thread here")
several_cores = pytest.mark.skipif(
    CORES < 2 or not has_threads(), reason="affinity needs Linux and two cores"
)


def in_threads(count: int, work: Callable[[int], object]) -> None:
    """Run work(0), work(1), ... at once; whatever one raises is raised here."""
    start, errors = threading.Barrier(count), []

    def run(number: int) -> None:
        try:
            start.wait()
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(k,), daemon=True) for k in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


# ---- Many callers --------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [0, 1, 2, 3])
def test_many_threads_share_a_model(threads: int) -> None:
    """Batches of all sizes, with lengths and without, at once: the bits of a call alone."""
    model = make_model(96).with_options(threads=threads)
    x = make_input(rows=40, frames=30)
    lengths = np.arange(40) % 31
    shapes = [(B, T) for B in (1, 2, 7, 40) for T in (1, 5, 30)]
    alone = [model(x[:B, :T].copy()) for B, T in shapes]
    cut = model(x, lengths=lengths)

    def work(seed: int) -> None:
        for k in np.random.default_rng(seed).integers(len(shapes) + 1, size=25):
            if k == len(shapes):
                assert np.array_equal(model(x, lengths=lengths), cut)
            else:
                B, T = shapes[k]
                assert np.array_equal(model(x[:B, :T].copy()), alone[k])

    in_threads(12, work)


def test_threads_share_a_pool_and_have_streams() -> None:
    """Each thread steps streams of its own, of one pool and alone, beside calls of the model."""
    model = make_model(64)
    x = make_input(rows=12, frames=15)
    whole = model(x)
    pool = model.pool(capacity=12)

    def work(number: int) -> None:
        own = [pool.open() for _ in range(2)]
        rows = [2 * number, 2 * number + 1]
        stream = model.stream(2)
        for t in range(x.shape[1]):
            frames = np.ascontiguousarray(x[rows, t])
            assert np.array_equal(pool.step(own, frames), whole[rows, t])
            assert np.array_equal(stream.step(frames), whole[rows, t])
            assert np.array_equal(model(x), whole)
        for stream_id in own:
            pool.close(stream_id)

    in_threads(6, work)
    assert len(pool) == 0


def test_a_stream_belongs_to_one_thread_at_a_time() -> None:
    """Steps of several threads are refused or taken whole: the state is that of those taken."""
    model = make_model(256)
    stream, x = model.stream(8), make_input(frames=1)[:, 0]
    taken = [0] * 6

    def work(number: int) -> None:
        while taken[number] < 5:
            try:
                stream.step(x)
            except sc.StreamError:
                continue
            taken[number] += 1

    in_threads(6, work)
    other = model.stream(8)
    for _ in range(sum(taken)):
        other.step(x)
    assert stream.save_state() == other.save_state()


# ---- The GIL -------------------------------------------------------------------------------------


def long_works() -> dict[str, Callable[[], object]]:
    model, x = make_model(512).with_options(threads=1), make_input(rows=64, frames=4)
    stream, pool = model.stream(64), model.pool(64)
    ids = np.array([pool.open() for _ in range(64)], np.uint64)
    frame, out = np.ascontiguousarray(x[:, 0]), np.empty((64, 3), np.float32)
    return {
        "call": lambda: model(x),
        "call with lengths": lambda: model(x, lengths=np.full(64, 4)),
        "step": lambda: stream.step(frame, out=out),
        "pool step": lambda: pool.step(ids, frame, out=out),
        "plan": lambda: model.with_options(threads=2),
    }


@pytest.mark.parametrize("what", ["call", "call with lengths", "step", "pool step", "plan"])
def test_gil_is_released(what: str) -> None:
    """Only this thread counts, so a count that moves during a call shows that both ran.

    Nobody is made to give up the GIL, so that without a release the count can never move. With one,
    a busy machine may not run this thread within a short call: there are many.
    """
    work, ticks, during = long_works()[what], 0, 0

    def call() -> None:
        nonlocal during
        end = time.monotonic() + PATIENCE
        while during < 100 and time.monotonic() < end:
            before = ticks
            work()
            during += ticks - before

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e3)
    try:
        thread = threading.Thread(target=call)
        thread.start()
        while thread.is_alive():
            ticks += 1
            if ticks % 1000 == 0:
                thread.join(1e-4)  # lets the thread take the GIL to begin, and to end
    finally:
        sys.setswitchinterval(interval)
    # Python work between two looks at the count does not move it either: it holds the GIL
    assert during >= 100


def test_the_extension_needs_no_gil(tmp_path: Path) -> None:
    """A free-threaded CPython is told so, and leaves its GIL off."""
    path = tmp_path / "_binding.c"
    source = ROOT / "src/seqcore/_binding.pyx"
    command = [sys.executable, "-m", "cython", "-3", f"-I{ROOT / 'src'}", source, "-o", path]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    text = path.read_text(encoding="utf-8")
    assert "{Py_mod_gil, __Pyx_FREETHREADING_COMPATIBLE}" in text
    defined = "#define __Pyx_FREETHREADING_COMPATIBLE "
    directive = text[text.index(defined) - 200 : text.index(defined) + 80]
    assert f"{defined}Py_MOD_GIL_NOT_USED" in directive
    if getattr(sys, "_is_gil_enabled", lambda: True)() is False:
        script("import sys, seqcore\nassert sys._is_gil_enabled() is False")


# ---- How many threads ----------------------------------------------------------------------------


@several_threads
def test_callers_do_not_multiply_threads() -> None:
    """A crowd leaves no more threads behind than one call does."""
    code = f"""{MODEL}
import os, threading, time
def tasks():
    return len(os.listdir("/proc/self/task"))
sc.set_num_threads(3)
before = tasks()
expected = model(x)
assert model.plan["last_threads"] in (2, 3)
alone, most = tasks(), []
assert before < alone <= before + 2
def work():
    for _ in range(20):
        assert np.array_equal(model(x), expected)
        most.append(model.plan["last_threads"])
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(most) == 160 and 1 <= min(most) and max(most) <= 3
end = time.monotonic() + 30 # a team ends with its thread, a little later
while tasks() > alone and time.monotonic() < end: time.sleep(0.01)
assert tasks() <= alone, (tasks(), alone)
model(x)
assert model.plan["last_threads"] in (2, 3)
print("done")
"""
    if not LINUX:
        pytest.skip("tasks are counted in /proc")
    assert script(code) == "done\n"


@several_threads
def test_threadpoolctl_sees_and_limits_the_threads() -> None:
    code = f"""{MODEL}
from threadpoolctl import threadpool_info, threadpool_limits
found = [pool for pool in threadpool_info() if pool["user_api"] == "openmp"]
assert len(found) == 1, found
many = sc.get_num_threads()
assert many > 1
expected = model(x)
assert model.plan["last_threads"] > 1
with threadpool_limits(1):
    assert sc.get_num_threads() == 1
    assert np.array_equal(model(x), expected)
    assert model.plan["last_threads"] == 1
    assert model.schedule(8, 20)["threads"] == 1
with threadpool_limits(1, user_api="openmp"):
    sc.set_num_threads(5)
    assert sc.get_num_threads() == 1
assert sc.get_num_threads() == 5
sc.set_num_threads(many)
with threadpool_limits(1, user_api="blas"):
    assert sc.get_num_threads() == many
model(x)
assert sc.get_num_threads() == many and model.plan["last_threads"] > 1
print("done")
"""
    assert script(code) == "done\n"


@several_threads
def test_a_limit_from_before_the_first_call() -> None:
    code = f"""
from threadpoolctl import threadpool_limits
import seqcore
with threadpool_limits(1):
{"".join("    " + line + chr(10) for line in MODEL.splitlines())}
    assert sc.get_num_threads() == 1
    model(x)
    assert model.plan["last_threads"] == 1
assert sc.get_num_threads() > 1
model(x)
assert model.plan["last_threads"] > 1
print("done")
"""
    assert script(code) == "done\n"


@several_threads
@pytest.mark.parametrize(
    ("value", "expected"),
    [("1", 1), ("2", 2), ("3", 3), ("3,2", 3), ("4 , 1", 4), ("0", 0), ("-2", 0), ("many", 0)],
)
def test_omp_num_threads(value: str, expected: int) -> None:
    """The environment says how many; 0 here: it says nothing that makes sense, nor does it bind."""
    code = f"""{MODEL}
n = sc.get_num_threads()
assert n == ({expected} or sc.cpu_info()["cores"]), n
model(x)
assert 1 <= model.plan["last_threads"] <= n and (model.plan["last_threads"] > 1) == (n > 1)
import os
os.environ["OMP_NUM_THREADS"] = "7" # read once
assert sc.get_num_threads() == n
sc.set_num_threads(2)
assert sc.get_num_threads() == 2
sc.set_num_threads(1)
model(x)
assert model.plan["last_threads"] == 1
print("done")
"""
    if expected == 0:  # the runtime complains of it on its own
        code = "import os, sys; os.dup2(os.open(os.devnull, os.O_WRONLY), 2)\n" + code
        kept = {**os.environ, "OMP_NUM_THREADS": value, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=kept,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "done\n")
    else:
        assert script(code, OMP_NUM_THREADS=value) == "done\n"


@several_threads
@pytest.mark.parametrize("name", ["OMP_THREAD_LIMIT", "OMP_DYNAMIC"])
def test_openmp_may_give_fewer_threads_than_asked_for(name: str) -> None:
    """A team of one, or of what the load allows: the bits are the same."""
    code = f"""{MODEL}
expected = model.with_options(threads=1)(x)
for asked in (0, 2, 3, 5):
    other = model.with_options(threads=asked)
    assert np.array_equal(other(x), expected)
    assert other.plan["last_threads"] == 1 or "{name}" == "OMP_DYNAMIC"
    assert other.schedule(8, 20)["threads"] > 1 # what it asks for
print("done")
"""
    value = "1" if name == "OMP_THREAD_LIMIT" else "true"
    assert script(code, **{name: value}) == "done\n"


@several_cores
def test_affinity_of_the_process() -> None:
    """Bound to one core before the start, as taskset does: one thread, unless told otherwise."""
    code = f"""
import os
one = {{min(os.sched_getaffinity(0))}}
os.sched_setaffinity(0, one)
{MODEL}
assert sc.cpu_info()["cores"] == sc.get_num_threads() == 1
model(x)
assert model.plan["last_threads"] == 1
sc.set_num_threads(2)
model(x)
assert sc.get_num_threads() == 2 and model.plan["last_threads"] == 2
assert os.sched_getaffinity(0) == one
print("done")
"""
    assert script(code) == "done\n"


@several_cores
def test_affinity_of_one_thread() -> None:
    """A thread that is bound to a core takes one; the others are as before."""
    code = f"""{MODEL}
import os, threading
n, found = sc.get_num_threads(), []
assert n > 1
def bound():
    os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
    model(x)
    found.extend((sc.get_num_threads(), model.plan["last_threads"]))
thread = threading.Thread(target=bound)
thread.start()
thread.join()
assert found == [1, 1], found
model(x)
assert sc.get_num_threads() == n and model.plan["last_threads"] > 1
print("done")
"""
    assert script(code) == "done\n"


@several_cores
def test_cores_are_within_affinity() -> None:
    assert 1 <= sc.cpu_info()["cores"] <= CORES


@pytest.mark.parametrize("calls", [lambda m, x: m(x), lambda m, x: m.stream(8).step(x[:, 0])])
def test_a_call_without_enough_work_wakes_nobody(calls: Callable[..., Any]) -> None:
    model = make_model(16).with_options(threads=4)
    calls(model, make_input(frames=1))
    assert model.plan["last_threads"] == 1


# ---- Teams and masks -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("team", [2, 3])
def test_a_team_divides_a_masked_layer(
    isa: str, kind: str, team: int, rng: np.random.Generator
) -> None:
    """The bits of one thread, also where a whole row is masked, stepped, and from the end."""
    ways: list[tuple[int, dict[str, Any]]] = [
        (130, {}),
        (97, {"return_sequences": False}),
        (70, {"go_backwards": True}),
        (210, {"zero_output_for_mask": True}),
    ]
    for units, options in ways:
        layer = cell(rng, kind, 12, units, return_state=True, **options)
        model = sc.Sequential([sc.Input((None, 12)), sc.Masking(), layer])
        divided = planned(model, isa=isa, threads=team, team=team)
        alone = model.with_options(isa=isa, threads=1)
        for batch in (1, 9):
            x = floats(rng, batch, 14, 12)
            x[rng.random((batch, 14)) < 0.3] = 0
            x[5:7] = 0
            same_bits(divided(x), alone(x), f"{units} units, {options}, batch {batch}")
            if has_threads():
                assert divided.plan["last_threads"] == team
            if "go_backwards" not in options:
                check_steps(alone, [x], f"{units} units, {options}", divided.stream(batch))
