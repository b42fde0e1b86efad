"""The runners: seqcore and its peers, each set up the way that suits it best.

A runner is a context manager that takes a case and yields a `Prepared`: a call without arguments,
which is what gets timed, and a function that turns what the call returned into y (B, T, D*H).
Inputs are put into the runner's own type and layout beforehand, so that no peer pays for a
conversion that its users could avoid. Frameworks are imported inside their runner: any of them may
be absent.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import numpy as np
from cases import GATES, Array, Case

import seqcore


class Prepared(NamedTuple):
    """What is timed, and how its result becomes y (B, T, D*H)."""

    call: Callable[[], Any]
    to_array: Callable[[Any], Array]


class Runner(NamedTuple):
    """A library under test: its title in the report, what it needs, and how a case is set up."""

    title: str
    modules: tuple[str, ...]
    prepare: Callable[[Case], AbstractContextManager[Prepared]]

    def missing(self) -> list[str]:
        """Return the modules that are not installed."""
        return [name for name in self.modules if importlib.util.find_spec(name) is None]

    def version(self) -> str:
        """Return the version of the library itself, the first of `modules`."""
        try:
            return importlib.metadata.version(self.modules[0])
        except importlib.metadata.PackageNotFoundError:
            return "(source tree)"


# ---- seqcore ------------------------------------------------------------------------------------


@contextmanager
def _seqcore(case: Case) -> Iterator[Prepared]:
    layer = {"LSTM": seqcore.LSTM, "GRU": seqcore.GRU, "RNN": seqcore.SimpleRNN}[case.cell]
    network = seqcore.Sequential([layer.from_torch(case.weights())])
    model = network.with_options(threads=case.threads)
    x = case.input()
    yield Prepared(lambda: model(x), lambda y: y)


# ---- Frameworks, whose own order is time-major --------------------------------------------------


def _time_major(case: Case) -> Array:
    """Return x (T, B, I)."""
    return np.ascontiguousarray(case.input().swapaxes(0, 1))


@contextmanager
def _torch(case: Case) -> Iterator[Prepared]:
    import torch

    module = getattr(torch.nn, case.cell)(case.inputs, case.units, bidirectional=case.bidirectional)
    module.load_state_dict({name: torch.from_numpy(w) for name, w in case.weights().items()})
    module.eval()
    x = torch.from_numpy(_time_major(case))
    before = torch.get_num_threads()
    torch.set_num_threads(case.threads)
    try:
        with torch.inference_mode():
            yield Prepared(lambda: module(x)[0], lambda y: y.numpy().swapaxes(0, 1))
    finally:
        torch.set_num_threads(before)


@contextmanager
def _onnxruntime(case: Case) -> Iterator[Prepared]:
    import onnx_models
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = case.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        onnx_models.build(case), options, providers=["CPUExecutionProvider"]
    )
    feed = {"x": _time_major(case)}
    yield Prepared(lambda: session.run(["y"], feed)[0], lambda y: _batch_major(y, case))


def _batch_major(y: Array, case: Case) -> Array:
    """Return (B, T, D*H) from ONNX's (T, D, B, H)."""
    return y.transpose(2, 0, 1, 3).reshape(case.batch, case.time, -1)


@contextmanager
def _openvino(case: Case) -> Iterator[Prepared]:
    import onnx_models
    import openvino

    core = openvino.Core()
    options = {
        "INFERENCE_NUM_THREADS": case.threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # else bf16 wherever the processor has it
    }
    network = core.read_model(onnx_models.build(case))
    request = core.compile_model(network, "CPU", options).create_infer_request()
    x = _time_major(case)
    request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
    result = request.get_output_tensor()
    yield Prepared(request.infer, lambda _: _batch_major(result.data, case))


# ---- NumPy: what one writes without a library ---------------------------------------------------


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _scan(case: Case, x: Array, weights: dict[str, Array], suffix: str) -> Array:
    """Return y (B, T, H) of one direction, in the order of x."""
    W, U = weights[f"weight_ih_l0{suffix}"].T, weights[f"weight_hh_l0{suffix}"].T
    b, bu = weights[f"bias_ih_l0{suffix}"], weights[f"bias_hh_l0{suffix}"]
    gates = (case.batch, GATES[case.cell], case.units)
    projected = x @ W + b  # (B, T, G*H), one product for all frames
    h = np.zeros((case.batch, case.units), np.float32)
    c = np.zeros_like(h)
    y = np.empty((case.batch, case.time, case.units), np.float32)
    for t in range(case.time):
        recurrent = h @ U + bu
        if case.cell == "RNN":
            h = np.tanh(projected[:, t] + recurrent)
        elif case.cell == "GRU":
            xr, xz, xn = projected[:, t].reshape(gates).swapaxes(0, 1)
            hr, hz, hn = recurrent.reshape(gates).swapaxes(0, 1)
            z = _sigmoid(xz + hz)
            h = (1 - z) * np.tanh(xn + _sigmoid(xr + hr) * hn) + z * h
        else:
            i, f, g, o = (projected[:, t] + recurrent).reshape(gates).swapaxes(0, 1)
            c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
            h = _sigmoid(o) * np.tanh(c)
        y[:, t] = h
    return y


def naive(case: Case, x: Array, weights: dict[str, Array]) -> Array:
    """Return y (B, T, D*H) by float32 matrix products in a Python loop over time."""
    forward = _scan(case, x, weights, "")
    if not case.bidirectional:
        return forward
    backward = _scan(case, x[:, ::-1], weights, "_reverse")[:, ::-1]
    return np.concatenate([forward, backward], axis=2)


@contextmanager
def _numpy(case: Case) -> Iterator[Prepared]:
    import threadpoolctl

    x, weights = case.input(), case.weights()
    with threadpoolctl.threadpool_limits(case.threads, user_api="blas"):
        yield Prepared(lambda: naive(case, x, weights), lambda y: y)


RUNNERS = {
    "seqcore": Runner("seqcore", ("seqcore",), _seqcore),
    "torch": Runner("torch", ("torch",), _torch),
    "onnxruntime": Runner("ONNX Runtime", ("onnxruntime", "onnx"), _onnxruntime),
    "openvino": Runner("OpenVINO", ("openvino", "onnx"), _openvino),
    "numpy": Runner("NumPy", ("numpy", "threadpoolctl"), _numpy),
}
