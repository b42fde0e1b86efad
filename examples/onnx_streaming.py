"""An ONNX model that hears in chunks: convolutions, a GRU, and their states in and out.

    python examples/onnx_streaming.py [--check] [--chunk FRAMES] [--save FILE]

makes a graph as exporters write those of speech recognition: frames of 40 bands go through a
convolution, whose last frames come in and go out as a state ("cache"), and through a GRU with its
h0, to log-probabilities of 29 letters. It has random weights; what matters is that chunks give what
the whole sequence gives. --check holds it against ONNX Runtime and times both on one thread. It
needs onnx: pip install seqcore[onnx].
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from package_code import fastest

import seqcore as sc

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError:
    sys.exit("this makes an ONNX file: pip install seqcore[onnx]")

BANDS, CHANNELS, UNITS, LETTERS = 40, 64, 128, 29
WIDTH = 5  # frames that a convolution sees; WIDTH - 1 of them are from before
FRAMES = 400
NAMES = ("frames", "cache", "h0")  # what the graph takes; it gives scores, and the states after

Array = NDArray[Any]
Run = Callable[[Array, Array, Array], tuple[Array, ...]]


# ---- The model -----------------------------------------------------------------------------------


def weights() -> dict[str, Array]:
    """Return weights as large as training leaves them, in ONNX's layout."""
    rng = np.random.default_rng(8)
    scales = {
        "conv.W": ((CHANNELS, BANDS, WIDTH), BANDS * WIDTH),
        "conv.B": ((CHANNELS,), 100),
        "gru.W": ((1, 3 * UNITS, CHANNELS), CHANNELS),
        "gru.R": ((1, 3 * UNITS, UNITS), UNITS),
        "gru.B": ((1, 6 * UNITS), 100),
        "head.W": ((UNITS, LETTERS), UNITS),
        "head.b": ((LETTERS,), 100),
    }
    return {
        name: rng.normal(0, count**-0.5, shape).astype(np.float32)
        for name, (shape, count) in scales.items()
    }


def streaming_graph() -> onnx.ModelProto:
    """Return the graph: (batch, time, bands) and states to (batch, time, letters) and states."""
    node = helper.make_node
    whole = {"start": [-(WIDTH - 1)], "end": [np.iinfo(np.int64).max], "last": [2], "way": [1]}
    nodes = [
        node("Transpose", ["frames"], ["bands"], perm=[0, 2, 1]),
        node("Concat", ["cache", "bands"], ["seen"], axis=2),
        node("Slice", ["seen", "start", "end", "last"], ["cache_out"]),
        node("Conv", ["seen", "conv.W", "conv.B"], ["conv"], kernel_shape=[WIDTH]),
        node("Relu", ["conv"], ["relu"]),
        node("Transpose", ["relu"], ["steps"], perm=[2, 0, 1]),  # the GRU has time first
        node("GRU", ["steps", "gru.W", "gru.R", "gru.B", "", "h0"], ["y", "h"],
             hidden_size=UNITS, linear_before_reset=1),
        node("Squeeze", ["y", "way"], ["kept"]),
        node("Transpose", ["kept"], ["rows"], perm=[1, 0, 2]),
        node("MatMul", ["rows", "head.W"], ["product"]),
        node("Add", ["product", "head.b"], ["sums"]),
        node("LogSoftmax", ["sums"], ["scores"], axis=-1),
    ]  # fmt: skip
    constants = weights() | {name: np.array(value, np.int64) for name, value in whole.items()}
    inputs = {
        "frames": ["batch", "time", BANDS],
        "cache": ["batch", BANDS, WIDTH - 1],
        "h0": [1, "batch", UNITS],
    }
    outputs = {
        "scores": ["batch", "time", LETTERS],
        "cache_out": inputs["cache"],
        "h": inputs["h0"],
    }
    infos = [
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in of.items()
        ]
        for of in (inputs, outputs)
    ]
    made = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "hearing", *infos, made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


# ---- Running it ----------------------------------------------------------------------------------


def first_states(batch: int) -> tuple[Array, Array]:
    """Return what the states are before anything was heard."""
    return (
        np.zeros((batch, BANDS, WIDTH - 1), np.float32),
        np.zeros((1, batch, UNITS), np.float32),
    )


def in_chunks(run: Run, frames: Array, chunk: int) -> Array:
    """Return the scores of all frames, of which a few come at a time; the states go round."""
    states = first_states(len(frames))
    scores = []
    for start in range(0, frames.shape[1], chunk):
        part, *after = run(np.ascontiguousarray(frames[:, start : start + chunk]), *states)
        states = (after[0], after[1])
        scores.append(part)
    return np.concatenate(scores, axis=1)


def onnxruntime_run(path: Path) -> Run:
    """Return ONNX Runtime's call of a file, on one thread."""
    try:
        import onnxruntime
    except ImportError:
        sys.exit("--check compares with ONNX Runtime: pip install onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda *given: tuple(session.run(None, dict(zip(NAMES, given, strict=True))))


def compare(ours: Run, theirs: Run, frames: Array, chunk: int) -> None:
    """Print the largest difference from ONNX Runtime, and both times."""
    expected = in_chunks(theirs, frames, chunk)
    difference = float(np.abs(in_chunks(ours, frames, chunk) - expected).max())
    print(f"largest difference from ONNX Runtime: {difference:.1e}")
    if not difference < 1e-5:
        sys.exit("that is more than 1e-5")
    for size in (chunk, frames.shape[1]):
        slow, fast = (
            fastest(lambda run=run, size=size: in_chunks(run, frames, size))[0] * 1e6  # type: ignore[misc]
            for run in (theirs, ours)
        )
        count = -(-frames.shape[1] // size)
        each = f"{size} frames a call: ONNX Runtime {slow / count:,.0f} us, seqcore"
        print(f"{each} {fast / count:,.0f} us: {slow / fast:.1f} times as fast")


def main() -> None:
    """Make the file, load it, and hear."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="run ONNX Runtime beside it")
    parser.add_argument("--chunk", type=int, default=16, metavar="FRAMES", help="of one call (16)")
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep the .onnx file")
    given = parser.parse_args()
    if given.chunk < 1:
        sys.exit("--chunk: expected a number of frames from 1")
    frames = np.random.default_rng(0).normal(size=(1, FRAMES, BANDS)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hearing.onnx"
        onnx.save(streaming_graph(), path)
        model = sc.load(path, threads=1)
        print(model.summary(), end="\n\n")
        whole, *_ = model(frames, *first_states(1))
        same = np.array_equal(in_chunks(model, frames, given.chunk), whole)
        told = "the same bits" if same else "other numbers"
        print(f"{FRAMES} frames in chunks of {given.chunk} give {told} as all at once")
        if given.check:
            compare(model, onnxruntime_run(path), frames, given.chunk)
        if given.save:
            shutil.copy(path, given.save)


if __name__ == "__main__":
    main()
