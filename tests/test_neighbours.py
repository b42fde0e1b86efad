"""seqcore beside other libraries in one process: torch, scikit-learn, onnxruntime, and NumPy with
its BLAS, imported and used before and after it. And what importing and calling leave untouched.

The neighbours compute on whole numbers, whose sums are exact in any order: their results too must
have the same bits, whoever works beside them.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hosts import MODEL, PATIENCE, has_threads, script

LINUX = sys.platform.startswith("linux")

several_threads = pytest.mark.skipif(not has_threads(), reason="a call has one thread here")

# Each library as a function that works and returns bytes.
WORK = {
    "seqcore": MODEL
    + """
def work():
    return model(x).tobytes() + model.stream(8).step(x[:, 0]).tobytes()
""",
    "numpy": """
import numpy as np
a = (np.arange(400 * 400, dtype=np.float32) % 7).reshape(400, 400)
def work():
    return (a @ a).tobytes() + np.tanh(a).tobytes()
""",
    "torch": """
import torch
torch.set_num_threads(2)
t = (torch.arange(400 * 400, dtype=torch.float32) % 7).reshape(400, 400)
def work():
    return (t @ t).numpy().tobytes() + torch.exp(t).numpy().tobytes()
""",
    "sklearn": """
import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin
points = (np.arange(4000 * 4) * 7919 % 101).astype(np.float64).reshape(4000, 4)
def work():
    fitted = KMeans(4, init=points[:4], n_init=1, max_iter=1, algorithm="lloyd").fit(points)
    nearest = pairwise_distances_argmin(points, points[:500])
    return fitted.cluster_centers_.tobytes() + nearest.tobytes()
""",
    "onnxruntime": """
import numpy as np, onnx, onnxruntime
from onnx import TensorProto, helper
value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [300, 300]) for n in "ab"]
nodes = [helper.make_node("MatMul", ["a", "a"], ["m"]), helper.make_node("Relu", ["m"], ["b"])]
made = helper.make_model(helper.make_graph(nodes, "g", value[:1], value[1:]), ir_version=8,
                         opset_imports=[helper.make_opsetid("", 17)])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 2
session = onnxruntime.InferenceSession(made.SerializeToString(), options,
                                       providers=["CPUExecutionProvider"])
whole = (np.arange(300 * 300, dtype=np.float32) % 7).reshape(300, 300)
def work():
    return session.run(None, {"a": whole})[0].tobytes()
""",
}
NEIGHBOURS = [name for name in WORK if name != "seqcore"]

HASH = "import hashlib\ndef digest(data): return hashlib.sha256(data).hexdigest()\n"


def program(names: tuple[str, ...], then: str) -> str:
    """Return a program in which each library has its own names, imported in this order."""
    parts = [HASH, "workers = {}"]
    for name in names:
        parts.append(f"scope = {{}}\nexec({WORK[name]!r}, scope)\nworkers[{name!r}] = scope")
    return "\n".join([*parts, then])


def quiet(code: str) -> str:
    """Run a program; what libraries write to standard error when imported is not looked at."""
    return script("import os\nos.dup2(os.open(os.devnull, os.O_WRONLY), 2)\n" + code)


@pytest.fixture(scope="module")
def alone() -> dict[str, str]:
    """The digest of what each library works out in a process of its own."""
    found = {}

    def digest(name: str) -> str:
        if name not in found:
            found[name] = quiet(program((name,), f"print(digest(workers[{name!r}]['work']()))"))
        return found[name]

    return {
        name: digest(name).strip()
        for name in WORK
        if name == "seqcore" or importlib.util.find_spec(name) is not None
    }


def test_scripts_differ(alone: dict[str, str]) -> None:
    """That the digests tell something."""
    assert len(set(alone.values())) == len(alone) == len(WORK)


@pytest.mark.parametrize("neighbour", NEIGHBOURS)
@pytest.mark.parametrize("first", [True, False])
def test_beside_one_library(neighbour: str, first: bool, alone: dict[str, str]) -> None:
    """Imported before or after it; both work in turn, and in two threads at once."""
    names = ("seqcore", neighbour) if first else (neighbour, "seqcore")
    then = """
import threading
results = {name: [] for name in workers}
def run(name):
    results[name].append(digest(workers[name]["work"]()))
for _ in range(3):
    for name in workers: run(name)
for _ in range(3):
    threads = [threading.Thread(target=run, args=(name,)) for name in workers]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
for name in workers: print(name, *sorted(set(results[name])))
assert all(len(found) == 6 for found in results.values())
"""
    assert quiet(program(names, then)).splitlines() == [f"{n} {alone[n]}" for n in names]


def test_beside_all_of_them(alone: dict[str, str]) -> None:
    names = tuple(WORK)[::-1]
    then = """
for _ in range(2):
    for name in workers: print(name, digest(workers[name]["work"]()))
"""
    assert quiet(program(names, then)).splitlines() == [f"{n} {alone[n]}" for n in names] * 2


# ---- Several OpenMP runtimes ---------------------------------------------------------------------


@several_threads
@pytest.mark.parametrize(
    "names", [("seqcore", "sklearn", "torch"), ("torch", "sklearn", "seqcore")]
)
def test_forks_beside_other_openmp(names: tuple[str, ...], alone: dict[str, str]) -> None:
    """Each brings an OpenMP of its own, or shares one; all have been used when the process forks.

    What torch and scikit-learn do in the child is theirs to say: seqcore computes, with threads.
    """
    then = f"""
import os, signal
for name in workers: workers[name]["work"]()
from threadpoolctl import threadpool_info
found = [pool["filepath"] for pool in threadpool_info() if pool["user_api"] == "openmp"]
runtimes = len(set(found))
own = workers["seqcore"]
own["work"]()
for _ in range(3):
    child = os.fork()
    if child == 0:
        signal.alarm({PATIENCE:.0f})
        good = digest(own["work"]()) == {alone["seqcore"]!r}
        own["model"](own["x"])
        os._exit(0 if good and own["model"].plan["last_threads"] > 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
for name in workers: print(name, digest(workers[name]["work"]()))
print(runtimes)
"""
    *lines, runtimes = quiet(program(names, then)).splitlines()
    assert lines == [f"{n} {alone[n]}" for n in names]
    if int(runtimes) < 2:
        pytest.skip("all of them share one OpenMP here: that two get on was not tested")


@several_threads
@pytest.mark.parametrize(
    "names", [("torch", "seqcore"), ("seqcore", "torch"), ("sklearn", "seqcore")]
)
def test_a_fork_before_seqcore_has_worked(names: tuple[str, ...], alone: dict[str, str]) -> None:
    """The team that does not survive the fork is the neighbour's, and may be seqcore's too."""
    then = f"""
import os, signal
for name in workers:
    if name != "seqcore": workers[name]["work"]()
child = os.fork()
if child == 0:
    signal.alarm({PATIENCE:.0f})
    os._exit(0 if digest(workers["seqcore"]["work"]()) == {alone["seqcore"]!r} else 1)
assert os.waitpid(child, 0)[1] == 0
print("done")
"""
    assert quiet(program(names, then)) == "done\n"


# ---- What the host has set stays as it is --------------------------------------------------------


@pytest.mark.skipif(not LINUX, reason="names of glibc")
@pytest.mark.parametrize("threads", [1, 2])
def test_the_floating_point_mode_of_the_host(threads: int) -> None:
    """Rounding upwards and with traps, by import, calls and steps: theirs, and not our bits.

    Among the numbers are infinities and such that overflow on their way: nothing may trap.
    """
    code = f"""
import ctypes
libm = ctypes.CDLL("libm.so.6")
assert libm.fegetround() == 0 and libm.fegetexcept() == 0
{MODEL}
assert libm.fegetround() == 0 and libm.fegetexcept() == 0
model = model.with_options(threads={threads})
x[0, 0, 0], x[1, 2, 3], x[2], x[3] = np.inf, np.nan, 3e38, 1e-42
expected, out = model(x), np.empty((8, 20, 3), np.float32)
stream, frame, stepped = model.stream(8), x[:, 0].copy(), np.empty((8, 3), np.float32)
for rounding in (0x400, 0x800, 0xC00): # down, up, towards zero: of both units on x86
    assert libm.fesetround(rounding) == 0
    model(x, out=out)
    stream.step(frame, out=stepped)
    found = libm.fegetround()
    libm.fesetround(0)
    assert found == rounding
    assert np.array_equal(out, expected, equal_nan=True)
    assert np.array_equal(stepped, expected[:, 0], equal_nan=True)
    stream.reset()
trapped = 1 | 4 | 8 # invalid, division by zero, overflow
libm.feenableexcept(trapped)
out[:] = 0
model(x, out=out)
stream.step(frame, out=stepped)
found = libm.fegetexcept()
libm.fedisableexcept(trapped)
assert found == trapped
assert np.array_equal(out, expected, equal_nan=True)
assert np.array_equal(stepped, expected[:, 0], equal_nan=True)
print("done")
"""
    if os.uname().machine not in ("x86_64", "i686"):
        pytest.skip("numbers of x86")
    assert script(code) == "done\n"


def test_nothing_of_the_process_changes() -> None:
    """By import, a model, calls, a file: environment, signals, locale, errors, warnings, ..."""
    code = f"""
import locale, os, random, signal, sys, tempfile, threading, warnings
import numpy as np
def status():
    names = ("SigBlk", "SigIgn", "SigCgt", "Seccomp", "NoNewPrivs", "Cpus_allowed_list")
    path = "/proc/thread-self/status"
    lines = open(path).read().splitlines() if os.path.exists(path) else []
    return [line for line in lines if line.split(":")[0] in names]
def state():
    mask = os.umask(0)
    os.umask(mask)
    return {{
        "environment": dict(os.environ), "locale": locale.setlocale(locale.LC_ALL),
        "signals": [signal.getsignal(number) for number in sorted(signal.valid_signals())],
        "alarm": signal.getitimer(signal.ITIMER_REAL), "status": status(),
        "numpy": (np.geterr(), np.geterrcall(), np.get_printoptions()),
        "warnings": list(warnings.filters), "shown": warnings.showwarning,
        "folder": os.getcwd(), "umask": mask, "path": list(sys.path), "hooks": list(sys.meta_path),
        "recursion": sys.getrecursionlimit(), "switch": sys.getswitchinterval(),
        "excepthook": (sys.excepthook, threading.excepthook), "random": random.getstate(),
        "numpy random": str(np.random.get_state()), "dlopen": sys.getdlopenflags(),
        "affinity": os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None,
        "threads": [thread.name for thread in threading.enumerate()],
        "files": sorted(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else [],
    }}
before = state()
import seqcore
imported = state()
{MODEL}
model(x)
model.stream(8).step(x[:, 0])
model.pool(8).open()
try:
    model(x[0])
except ValueError: pass
with tempfile.TemporaryDirectory() as folder:
    model.save(folder + "/m.safetensors")
    seqcore.load(folder + "/m.safetensors")(x)
used = state()
for name in before:
    assert before[name] == imported[name], (name, before[name], imported[name])
    # tempfile draws its names from a generator of its own
    assert before[name] == used[name], (name, before[name], used[name])
print("done")
"""
    assert script(code) == "done\n"


def test_importing_is_light() -> None:
    """No thread, nothing heavy; and what NumPy and the standard library bring is not ours."""
    code = f"""
import os, sys
import numpy
def tasks():
    return len(os.listdir("/proc/self/task")) if os.path.exists("/proc/self/task") else 0
before, count = set(sys.modules), tasks()
import seqcore
heavy = {{"torch", "keras", "tensorflow", "h5py", "threadpoolctl", "safetensors", "scipy", "onnx",
         "sklearn", "pandas", "multiprocessing", "asyncio", "setuptools", "unittest"}}
brought = {{name.split(".")[0] for name in set(sys.modules) - before}}
assert not heavy & brought, heavy & brought
foreign = brought - sys.stdlib_module_names - {{"seqcore", "numpy"}}
assert all("cython" in name for name in foreign), foreign
assert tasks() == count
{MODEL}
model.with_options(threads=1)(x)
seqcore.get_num_threads()
assert tasks() == count # one thread is nobody more
print("done")
"""
    assert script(code) == "done\n"


@pytest.fixture(scope="module")
def comma_locale(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A locale whose decimal point is a comma."""
    folder = tmp_path_factory.mktemp("locales")
    try:
        subprocess.run(
            ["localedef", "-i", "de_DE", "-f", "UTF-8", folder / "de_DE.UTF-8"],
            capture_output=True,
            check=True,
            timeout=PATIENCE,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no localedef, or no de_DE for it")
    return folder


def test_a_locale_with_decimal_commas(comma_locale: Path, tmp_path: Path) -> None:
    """Numbers in graphs have points: 0.25 is read as such, from memory and from a file."""
    code = f"""{MODEL}
import locale
from seqcore.graph import ActivationSpec
leaky_relu = ActivationSpec("leaky_relu", 0.25)
def leaky():
    return sc.Sequential([sc.Dense(np.eye(2), np.zeros(2), activation=leaky_relu)])
here = leaky()
y = here(np.float32([[-1, 2]]))
assert y.tolist() == [[-0.25, 2.0]], y
locale.setlocale(locale.LC_ALL, "de_DE.UTF-8")
assert locale.localeconv()["decimal_point"] == ","
assert np.array_equal(leaky()(np.float32([[-1, 2]])), y)
leaky().save("m.safetensors")
assert np.array_equal(sc.load("m.safetensors")(np.float32([[-1, 2]])), y)
locale.setlocale(locale.LC_ALL, "C")
assert np.array_equal(sc.load("m.safetensors")(np.float32([[-1, 2]])), y)
print("done")
"""
    assert script(code, folder=tmp_path, LOCPATH=str(comma_locale)) == "done\n"
