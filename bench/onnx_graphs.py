"""ONNX graphs, loaded by seqcore, beside ONNX Runtime on the same bytes: what a user gets.

    python bench/onnx_graphs.py [--threads N] [--seconds S] [name ...]

Whole sequences of 1 and of 16 rows; and, of graphs with states in and out, chunk by chunk, the
states fed back. Sizes are open in the graph, as exporters leave them. Results are compared before
anything is timed. Turns alternate, so that a drift of the machine meets both; threads are pinned
alike. Medians.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from modules import median_us
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import seqcore as sc

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

from onnx_streaming import streaming_graph

TOLERANCE = 1e-5
FRAMES, ROWS, CHUNK = 200, (1, 16), 10

Array = NDArray[Any]
node = helper.make_node


class Graph(NamedTuple):
    """A model, and what it is called with."""

    proto: onnx.ModelProto
    frames: tuple[int | str, ...]  # shape of its first input; "batch" and "time" may vary
    states: int = 0  # inputs behind the first, which are outputs behind the first


# ---- The graphs ----------------------------------------------------------------------------------


def _random(shapes: Mapping[str, Sequence[int]]) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(0, shape[-1] ** -0.5, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def _cell(name: str, gates: int, units: int, inputs: int, ways: int = 1) -> dict[str, list[int]]:
    return {
        f"{name}.W": [ways, gates * units, inputs],
        f"{name}.R": [ways, gates * units, units],
        f"{name}.B": [ways, 2 * gates * units],
    }


def _model(
    nodes: Sequence[onnx.NodeProto], inputs: Mapping[str, Sequence[int | str]],
    outputs: Sequence[str], constants: Mapping[str, Array],
) -> onnx.ModelProto:  # fmt: skip
    taken = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    arrays = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(list(nodes), "graph", taken, made, arrays)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def stack() -> Graph:
    """Two LSTMs, 64 to 128 to 128, time first, with their states."""
    frames = ("time", "batch", 64)
    inputs: dict[str, Sequence[int | str]] = {"x": frames}
    nodes, y = [], "x"
    for k in (0, 1):
        given = [y, f"l{k}.W", f"l{k}.R", f"l{k}.B", "", f"h{k}", f"c{k}"]
        nodes.append(
            node("LSTM", given, [f"y{k}", f"h_out{k}", f"c_out{k}"], hidden_size=128)
        )  # fmt: skip
        nodes.append(node("Squeeze", [f"y{k}", "one"], [f"x{k}"]))
        inputs |= {f"h{k}": (1, "batch", 128), f"c{k}": (1, "batch", 128)}
        y = f"x{k}"
    weights = _random(_cell("l0", 4, 128, 64) | _cell("l1", 4, 128, 128))
    outputs = [y, "h_out0", "c_out0", "h_out1", "c_out1"]
    return Graph(_model(nodes, inputs, outputs, weights | {"one": np.array([1])}), frames, 4)


def bidirectional() -> Graph:
    """A bidirectional GRU, 64 to 2 x 128, and a dense layer; batch first, as torch exports it."""
    frames = ("batch", "time", 64)
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        node("GRU", ["t", "g.W", "g.R", "g.B"], ["y"], hidden_size=128, direction="bidirectional",
             linear_before_reset=1),
        node("Transpose", ["y"], ["p"], perm=[0, 2, 1, 3]),
        node("Reshape", ["p", "joined"], ["r"]),
        node("Transpose", ["r"], ["b"], perm=[1, 0, 2]),
        node("MatMul", ["b", "d.W"], ["m"]),
        node("Add", ["m", "d.b"], ["z"]),
    ]  # fmt: skip
    weights = _random(_cell("g", 3, 128, 64, 2) | {"d.W": [256, 30], "d.b": [30]})
    constants = weights | {"joined": np.array([0, 0, -1])}
    return Graph(_model(nodes, {"x": frames}, ["z"], constants), frames)


def convolutions() -> Graph:
    """Two convolutions and a pooling over 40 bands, an LSTM of 128, its last state to 10 scores."""
    frames = ("batch", "time", 40)
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
        node("Conv", ["t", "c0.W", "c0.b"], ["c0"], kernel_shape=[5], pads=[2, 2]),
        node("Relu", ["c0"], ["r0"]),
        node("Conv", ["r0", "c1.W", "c1.b"], ["c1"], kernel_shape=[3], pads=[1, 1]),
        node("Relu", ["c1"], ["r1"]),
        node("MaxPool", ["r1"], ["p"], kernel_shape=[2], strides=[2]),
        node("Transpose", ["p"], ["s"], perm=[2, 0, 1]),
        node("LSTM", ["s", "l.W", "l.R", "l.B"], ["", "h"], hidden_size=128),
        node("Squeeze", ["h", "zero"], ["q"]),
        node("Gemm", ["q", "d.W", "d.b"], ["z"], transB=1),
        node("Softmax", ["z"], ["scores"], axis=-1),
    ]
    weights = _random({
        "c0.W": [64, 40, 5], "c0.b": [64], "c1.W": [64, 64, 3], "c1.b": [64],
        **_cell("l", 4, 128, 64), "d.W": [10, 128], "d.b": [10],
    })  # fmt: skip
    return Graph(
        _model(nodes, {"x": frames}, ["scores"], weights | {"zero": np.array([0])}), frames
    )


def streaming() -> Graph:
    """The graph of examples/onnx_streaming.py: a convolution and a GRU, with their states."""
    return Graph(streaming_graph(), ("batch", "time", 40), 2)


GRAPHS: dict[str, Callable[[], Graph]] = {
    "streaming": streaming, "stack": stack, "bidirectional": bidirectional,
    "convolutions": convolutions,
}  # fmt: skip


# ---- Side by side --------------------------------------------------------------------------------


def session_of(proto: onnx.ModelProto, threads: int) -> Callable[..., list[Array]]:
    """Return ONNX Runtime's call."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_inputs()]
    return lambda *arrays: session.run(None, dict(zip(names, arrays, strict=True)))


def sized(shape: Sequence[int | str], rows: int, frames: int) -> tuple[int, ...]:
    known = {"batch": rows, "time": frames}
    return tuple(known[size] if isinstance(size, str) else size for size in shape)


def shapes_of_states(graph: Graph, rows: int) -> list[tuple[int, ...]]:
    """Return the shapes of the inputs behind the first."""
    dims = [each.type.tensor_type.shape.dim for each in graph.proto.graph.input][1:]
    return [sized([d.dim_param or d.dim_value for d in dim], rows, 0) for dim in dims]


def chunked(run: Callable[..., Any], chunks: Sequence[Array], states: Sequence[Array]) -> Any:
    """Return what all chunks give; the states of one are the next one's."""
    made = []
    for chunk in chunks:
        y, *states = run(chunk, *states)
        made.append(y)
    return [*made, *states]


def check(ours: Any, theirs: Any) -> None:
    found = ours if isinstance(ours, (tuple, list)) else [ours]
    for one, other in zip(found, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE, strict=True)


def measure(name: str, threads: int, seconds: float) -> Iterator[str]:
    """Yield a line for each way to call a graph."""
    graph = GRAPHS[name]()
    model = sc.from_onnx(graph.proto).with_options(threads=threads)
    session = session_of(graph.proto, threads)
    rng = np.random.default_rng(1)
    for rows in ROWS:
        x = rng.normal(size=sized(graph.frames, rows, FRAMES)).astype(np.float32)
        states = [np.zeros(shape, np.float32) for shape in shapes_of_states(graph, rows)]
        check(model(x, *states), session(x, *states))
        whole = [lambda run=run, x=x, s=states: run(x, *s) for run in (model, session)]  # type: ignore[misc]
        yield _line(name, rows, FRAMES, median_us(whole, seconds))
        if graph.states and rows == 1:
            axis = graph.frames.index("time")
            chunks = [np.ascontiguousarray(c) for c in np.split(x, FRAMES // CHUNK, axis)]
            calls = [
                lambda run=run, c=chunks, s=states: chunked(run, c, s)  # type: ignore[misc]
                for run in (model, session)
            ]
            check(calls[0](), calls[1]())
            times = [each / len(chunks) for each in median_us(calls, seconds)]
            yield _line(name, rows, CHUNK, times)


def _line(name: str, rows: int, frames: int, times: Sequence[float]) -> str:
    ours, theirs = times
    return f"| {name} | {rows} | {frames} | {ours:,.0f} | {theirs:,.0f} | {theirs / ours:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(GRAPHS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each call")
    options = parser.parse_args()
    versions = f"ONNX Runtime {onnxruntime.__version__}, {sc.cpu_info()['isa']}"
    print(f"{versions}, {options.threads} thread(s); microseconds of a call, medians\n")
    print("| graph | rows | frames | seqcore | ONNX Runtime | x ONNX Runtime |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in options.names or GRAPHS:
        for line in measure(name, options.threads, options.seconds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
