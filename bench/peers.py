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

import naive
import numpy as np
from cases import Array, Case

import seqcore


class Prepared(NamedTuple):
    """What is timed, and how its result becomes y (B, T, D*H)."""

    call: Callable[[], Any]
    to_array: Callable[[Any], Array]


class Runner(NamedTuple):
    """A library under test.

    Attributes
    ----------
    title : str
        In the report.
    modules : tuple of str
        What it needs; the first is the library itself.
    prepare : callable
        How a case is set up.
    naive : bool
        Whether it is a loop in Python, which says what a library is worth; left out of sweeps.
    avx2 : bool
        Whether the environment can cap it to AVX2: bench/README.md.
    """

    title: str
    modules: tuple[str, ...]
    prepare: Callable[[Case], AbstractContextManager[Prepared]]
    naive: bool = False
    avx2: bool = False

    def missing(self) -> list[str]:
        """Return the modules that are not installed."""
        return [name for name in self.modules if importlib.util.find_spec(name) is None]

    def version(self) -> str:
        """Return the version of the library itself."""
        try:
            return importlib.metadata.version(self.modules[0])
        except importlib.metadata.PackageNotFoundError:
            return "(source tree)"


# ---- seqcore ------------------------------------------------------------------------------------


def layer(case: Case) -> seqcore.Layer:
    weights = case.weights()
    if not case.reset_after:  # which torch's names cannot say
        return seqcore.GRU(
            weights["weight_ih_l0"].T,
            weights["weight_hh_l0"].T,
            weights["bias_ih_l0"] + weights["bias_hh_l0"],
            reset_after=False,
            return_sequences=True,
        )
    kind: Any = {"LSTM": seqcore.LSTM, "GRU": seqcore.GRU, "RNN": seqcore.SimpleRNN}[case.cell]
    return kind.from_torch(weights, activation="tanh")


@contextmanager
def _seqcore(case: Case) -> Iterator[Prepared]:
    model = seqcore.Sequential([layer(case)]).with_options(threads=case.threads)
    x = case.input()
    if case.ragged:
        lengths = case.lengths()
        yield Prepared(lambda: model(x, lengths=lengths), lambda y: y)
    elif case.counts is not None:
        mask = case.mask()
        yield Prepared(lambda: model(x, mask=mask), lambda y: y)
    elif case.out:
        result = np.empty_like(model(x))
        yield Prepared(lambda: model(x, out=result), lambda y: y)
    else:
        yield Prepared(lambda: model(x), lambda y: y)


# ---- Frameworks, whose own order is time-major --------------------------------------------------


def _time_major(case: Case) -> Array:
    """Return x (T, B, I)."""
    return np.ascontiguousarray(case.input().swapaxes(0, 1))


@contextmanager
def _torch(case: Case) -> Iterator[Prepared]:
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    module = getattr(torch.nn, case.cell)(
        case.inputs, case.units, num_layers=case.layers, bidirectional=case.bidirectional
    )
    module.load_state_dict({name: torch.from_numpy(w) for name, w in case.weights().items()})
    module.eval()
    x: Any = torch.from_numpy(_time_major(case))
    if case.ragged:  # packed beforehand, and unpacked behind the timing
        x = pack_padded_sequence(x, torch.from_numpy(case.lengths()), enforce_sorted=False)
    before = torch.get_num_threads()
    torch.set_num_threads(case.threads)
    try:
        with torch.inference_mode():
            yield Prepared(
                lambda: module(x)[0],
                lambda y: (pad_packed_sequence(y)[0] if case.ragged else y).numpy().swapaxes(0, 1),
            )
    finally:
        torch.set_num_threads(before)


def _feed(case: Case) -> dict[str, Any]:
    """Return the inputs of the ONNX model."""
    lengths = {"lengths": case.lengths().astype(np.int32)} if case.ragged else {}
    return {"x": _time_major(case), **lengths}


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
    feed, names = _feed(case), [session.get_outputs()[0].name]
    yield Prepared(lambda: session.run(names, feed)[0], lambda y: _batch_major(y, case))


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
    feed = _feed(case)
    for name, array in feed.items():
        request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
    result = request.get_output_tensor()
    yield Prepared(request.infer, lambda _: _batch_major(result.data, case))


# ---- Without a library --------------------------------------------------------------------------


def _naive(product: naive.MakeProduct) -> Callable[[Case], AbstractContextManager[Prepared]]:
    @contextmanager
    def prepare(case: Case) -> Iterator[Prepared]:
        import threadpoolctl

        x, weights = case.input(), case.weights()
        with threadpoolctl.threadpool_limits(case.threads, user_api="blas"):
            yield Prepared(lambda: naive.run(case, x, weights, product), lambda y: y)

    return prepare


RUNNERS = {
    "seqcore": Runner("seqcore", ("seqcore",), _seqcore, avx2=True),
    "torch": Runner("torch", ("torch",), _torch, avx2=True),
    "onnxruntime": Runner("ONNX Runtime", ("onnxruntime", "onnx"), _onnxruntime),
    "openvino": Runner("OpenVINO", ("openvino", "onnx"), _openvino, avx2=True),
    "numpy": Runner("NumPy", ("numpy", "threadpoolctl"), _naive(naive.numpy_product), naive=True),
    "scipy": Runner(
        "SciPy BLAS", ("scipy", "threadpoolctl"), _naive(naive.blas_product), naive=True
    ),
}


def runs(name: str, case: Case, parts: list[str]) -> bool:
    """Tell whether a runner can do a case and has a place in one of these parts of the report."""
    runner = RUNNERS[name]
    if case.out or case.counts is not None or parts == ["alone"]:
        return name == "seqcore"
    if name == "torch" and not case.reset_after:
        return False
    if "avx2" in parts:
        return runner.avx2
    return not runner.naive or any(not part.startswith("sweep") for part in parts)
