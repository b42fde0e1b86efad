"""From the start of a process to its first prediction, with the file in the page cache.

Each child prints the monotonic clock, which all processes share, at its prediction, and then what
the system says of its memory: `getrusage` would report the parent's greatest size where that is
larger, because a child begins as its copy.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from cases import Case
from peers import RUNNERS, layer

import seqcore

CASES = (Case("LSTM", 1, 10, 64, 64), Case("LSTM", 1, 10, 1024, 1024))

# What a user would write, and no more; `_files` makes the paths.
CHILDREN = {
    "numpy": "import numpy",
    "seqcore": """
import numpy as np, seqcore
model = seqcore.load({plain!r}, threads=1)
model(np.zeros((1, {time}, {inputs}), np.float32))""",
    "mapped": """
import numpy as np, seqcore
model = seqcore.load({packed!r}, threads=1, mmap=True)
model(np.zeros((1, {time}, {inputs}), np.float32))""",
    "onnxruntime": """
import numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession({onnx!r}, options, providers=["CPUExecutionProvider"])
session.run(None, {{"x": np.zeros(({time}, 1, {inputs}), np.float32)}})""",
    "torch": """
import torch
torch.set_num_threads(1)
model = torch.nn.LSTM({inputs}, {units})
model.load_state_dict(torch.load({torch!r}, weights_only=True))
with torch.inference_mode():
    model(torch.zeros({time}, 1, {inputs}))""",
}
PRINTS = """
import time
print(time.clock_gettime_ns(time.CLOCK_MONOTONIC))
"""
TITLES = {
    "numpy": "Python, `import numpy`",
    "seqcore": "seqcore, file read",
    "mapped": "seqcore, packed file mapped",
    "c": "C, file read",
    "c mapped": "C, packed file mapped",
    "onnxruntime": "ONNX Runtime, .onnx",
    "torch": "torch, state_dict",
}
# Any process can read this of itself, and it begins anew with every program.
STATUS = Path("/proc/self/status")
SIZES = {"VmHWM": "peak", "RssAnon": "private"}  # KiB


def _files(case: Case, folder: Path) -> dict[str, str]:
    """Write the case's weights in every form that a runner here reads; return paths."""
    paths = {name: str(folder / f"{case.id}.{name}") for name in ("plain", "packed")}
    model = seqcore.Sequential([layer(case)])
    model.save(paths["plain"])
    model.save(paths["packed"], packed=True)
    if not RUNNERS["onnxruntime"].missing():
        import onnx_models

        paths["onnx"] = str(folder / f"{case.id}.onnx")
        Path(paths["onnx"]).write_bytes(onnx_models.build(case))
    if not RUNNERS["torch"].missing():
        import torch

        paths["torch"] = str(folder / f"{case.id}.pt")
        weights = {name: torch.from_numpy(array) for name, array in case.weights().items()}
        torch.save(weights, paths["torch"])
    return paths


def _commands(case: Case, folder: Path, program: Path | None) -> dict[str, list[str]]:
    """Return the children's command lines, in the order of TITLES."""
    values = {"time": case.time, "inputs": case.inputs, "units": case.units}
    values |= _files(case, folder)
    commands = {}
    for name in TITLES:
        if name in CHILDREN and (name == "mapped" or not RUNNERS[name].missing()):
            code = CHILDREN[name].format(**values) + PRINTS
            if STATUS.exists():
                code += f"print(open({str(STATUS)!r}).read())"
            commands[name] = [sys.executable, "-c", code]
        elif name not in CHILDREN and program is not None:
            file, in_place = ("packed", "1") if name == "c mapped" else ("plain", "0")
            sizes = [str(values[size]) for size in ("time", "inputs", "units")]
            commands[name] = [str(program), str(values[file]), in_place, *sizes]
    return commands


def _run(command: list[str]) -> dict[str, float]:
    """Return seconds to the prediction and to the exit, and MiB where the child can tell."""
    start = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    end = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    first, *status = done.stdout.splitlines()
    found = {"first": (int(first) - start) * 1e-9, "whole": (end - start) * 1e-9}
    for line in status:
        key, _, value = line.partition(":")
        if key in SIZES:
            found[SIZES[key]] = int(value.split()[0]) / 1024
    return found


def _of(case: Case, folder: Path, program: Path | None, count: int) -> dict[str, Any]:
    commands = _commands(case, folder, program)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for turn in range(1 + count):
        for name, command in commands.items():
            found = _run(command)
            if turn:  # the first one has filled the page cache
                runs[name].append(found)
    return {
        "title": f"{case.cell} {case.inputs}→{case.units}",
        "children": [
            {"title": TITLES[name]}
            | {key: float(np.median([run[key] for run in found])) for key in found[0]}
            for name, found in runs.items()
        ],
    }


def measure(quick: bool, program: Path | None, folder: Path) -> dict[str, Any]:
    """Return each size's children; those in C are left out where there is no program."""
    count = 3 if quick else 10
    return {
        "runs": count,
        "time": CASES[0].time,
        "cases": [_of(case, folder, program, count) for case in CASES],
    }
