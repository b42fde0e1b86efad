"""What tests of seqcore inside another program share: a model, forked children, scripts.

A child or a script that hangs fails its test: the parent watches, and kills it by its id; and a
child has an alarm, should the parent be gone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import seqcore as sc

PATIENCE = 60.0  # seconds until something counts as hanging; nothing here takes more than a few

# Beginning of every script: `model`, big enough for several threads, and `x`, its input.
MODEL = """
import numpy as np, seqcore as sc
def make_model(units=256):
    numbers = np.sin(np.arange(units * 4 * units, dtype=np.float32)).reshape(units, 4 * units)
    lstm = sc.LSTM(numbers[:8] / 2, numbers / 8, np.zeros(4 * units), return_sequences=True)
    return sc.Sequential([lstm, sc.Dense(numbers[:, :3], np.zeros(3))])
model, x = make_model(), np.cos(np.arange(8 * 20 * 8, dtype=np.float32)).reshape(8, 20, 8)
"""


def make_model(units: int = 256) -> sc.Model:
    """Return LSTM and Dense, of which a call of `make_input` is worth several threads."""
    names: dict[str, Any] = {}
    exec(MODEL, names)
    return names["make_model"](units)


def make_input(rows: int = 8, frames: int = 20, features: int = 8) -> np.ndarray:
    count = rows * frames * features
    return np.cos(np.arange(count, dtype=np.float32)).reshape(rows, frames, features)


def has_threads() -> bool:
    """Tell whether a call here can have more than one thread."""
    return bool(sc.cpu_info()["openmp"]) and sc.get_num_threads() > 1


def fork(work: Callable[[], object]) -> int:
    """Do `work` in a forked child, which exits with 0 if it raises nothing; return its id."""
    with warnings.catch_warnings():
        # a fork beside other threads is the point; Python 3.12 warns
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        signal.alarm(int(2 * PATIENCE))  # whose default is death
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def join(child: int) -> None:
    """Wait for a forked child; it must not hang, nor fail."""
    end = time.monotonic() + PATIENCE
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            break
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError(f"the forked child hung for {PATIENCE} s")
        time.sleep(0.001)
    code = os.waitstatus_to_exitcode(status)
    assert code == 0, f"the forked child ended with {code}"


def in_child(work: Callable[[], object]) -> None:
    """Do `work` in a forked child; it must not hang, nor raise."""
    join(fork(work))


def script(code: str, folder: Path | None = None, **environment: str) -> str:
    """Run a Python program in a process of its own; return what it printed.

    Environment variables that limit threads are not passed on; those given are set. The program
    must end with 0 and print no error.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "KMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
        cwd=folder,
        env={**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment},
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{done.returncode}\n{done.stderr}"
    return done.stdout
