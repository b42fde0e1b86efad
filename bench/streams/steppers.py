"""How each runner takes a step with its state carried, in each form that it offers.

A form is a context manager that takes a model and yields a function that starts a stream, so that
several callers can share one model. Frames are put into the form's own type beforehand, as in
../peers.py. All on one thread. Frameworks are imported inside their form.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np
from cases import Array

from streams.models import Streamed


class Stepper(NamedTuple):
    """One stream: its step, the frames for it, and how a result becomes an array (1, N)."""

    step: Callable[[Any], Any]
    frames: list[Any]
    to_array: Callable[[Any], Array]


Start = Callable[[], Stepper]


class Form(NamedTuple):
    """One way to step in one runner: the runner's name in ../peers.py, and which way."""

    runner: str
    name: str
    prepare: Callable[[Streamed], AbstractContextManager[Start]]


def _row(result: Any) -> Array:
    """Return a copy (1, N), which the next step does not change."""
    return np.array(result, np.float32).reshape(1, -1)


# ---- seqcore ------------------------------------------------------------------------------------


@contextmanager
def _seqcore(model: Streamed) -> Iterator[Start]:
    shared, frames = model.build(), model.frames()
    yield lambda: Stepper(shared.stream().step, frames, _row)


@contextmanager
def _seqcore_out(model: Streamed) -> Iterator[Start]:
    shared, frames = model.build(), model.frames()

    def start() -> Stepper:
        step, result = shared.stream().step, np.empty_like(shared.stream().step(frames[0]))
        return Stepper(lambda x: step(x, out=result), frames, _row)

    yield start


# ---- ONNX Runtime -------------------------------------------------------------------------------


def _session(model: Streamed) -> tuple[Any, Any, list[Array]]:
    """Return the step, a session of one thread, and the frames."""
    import onnxruntime

    from streams import onnx_steps

    made = onnx_steps.build(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(made.model, options, providers=["CPUExecutionProvider"])
    return made, session, [frame.reshape(made.frame) for frame in model.frames()]


def _names(made: Any) -> list[str]:
    """Return the outputs, the states' first and in their order."""
    return list(dict.fromkeys([*(f"{name}_next" for name in made.states), made.output]))


@contextmanager
def _onnx_run(model: Streamed) -> Iterator[Start]:
    made, session, frames = _session(model)
    names = _names(made)
    states, at = list(made.states), names.index(made.output)

    def start() -> Stepper:
        feed = {name: np.zeros(shape, np.float32) for name, shape in made.states.items()}

        def step(x: Array) -> Array:
            feed["x"] = x
            results = session.run(names, feed)
            feed.update(zip(states, results, strict=False))  # y may be one more
            return results[at]

        return Stepper(step, frames, _row)

    yield start


@contextmanager
def _onnx_bound(model: Streamed) -> Iterator[Start]:
    """Bind all memory once; the states change places from step to step."""
    import onnxruntime

    made, session, frames = _session(model)

    def start() -> Stepper:
        frame = np.zeros_like(frames[0])
        places = [
            {name: np.zeros(shape, np.float32) for name, shape in made.states.items()}
            for _ in range(2)
        ]
        results = {"y": np.zeros((1, 1, model.classes), np.float32)} if model.classes else {}

        def bind(now: dict[str, Array], following: dict[str, Array]) -> tuple[Any, Array]:
            binding = session.io_binding()
            outputs = {f"{name}_next": array for name, array in following.items()} | results
            value = onnxruntime.OrtValue.ortvalue_from_numpy  # on a CPU, the array's own memory
            for name, array in {"x": frame, **now}.items():
                binding.bind_ortvalue_input(name, value(array))
            for name in _names(made):
                binding.bind_ortvalue_output(name, value(outputs[name]))
            return binding, outputs[made.output]

        turns = itertools.cycle([bind(*places), bind(*reversed(places))])

        def step(x: Array) -> Array:
            binding, result = next(turns)
            frame[...] = x
            session.run_with_iobinding(binding)
            return result

        return Stepper(step, frames, _row)

    yield start


# ---- torch --------------------------------------------------------------------------------------


def _torch_front(model: Streamed, shape: tuple[int, ...]) -> Callable[[], Any]:
    """Return what makes the function before the recurrent part, one for each stream; it makes None
    where there is nothing. `shape` is how the recurrent part wants its input."""
    import torch
    from torch.nn.functional import conv1d

    if model.rows:
        embedding = torch.nn.Embedding.from_pretrained(torch.from_numpy(model.embedding()))
        return lambda: embedding
    if not model.kernel:
        return lambda: None
    kernel, bias = map(torch.from_numpy, model.convolution())

    def make() -> Any:
        frames = torch.zeros(1, model.channels, model.kernel - 1)

        def convolve(x: Any) -> Any:
            nonlocal frames
            window = torch.cat((frames, x), 2)
            frames = window[:, :, 1:]
            return conv1d(window, kernel, bias).relu_().view(shape)

        return convolve

    return make


def _torch_head(model: Streamed) -> Any:
    """Return the function behind the recurrent part; None where there is nothing."""
    import torch

    if not model.classes:
        return None
    dense = torch.nn.Linear(model.cell.units, model.classes)
    kernel, bias = map(torch.from_numpy, model.dense())
    dense.load_state_dict({"weight": kernel, "bias": bias})
    return lambda y: torch.softmax(dense(y), -1)


def _torch_frames(model: Streamed, shape: tuple[int, ...]) -> list[Any]:
    """Return tensors: ids and features as the recurrent part wants them, channels (1, C, 1)."""
    import torch

    if model.rows:
        shape = shape[:-1]
    elif model.kernel:
        shape = (1, -1, 1)
    return [torch.from_numpy(np.ascontiguousarray(f)).reshape(shape) for f in model.frames()]


def _torch_module(model: Streamed) -> Any:
    """Return a function of x (1, 1, I) and the state: nn.LSTM or nn.GRU, all its layers."""
    import torch

    cell = model.cell
    module = getattr(torch.nn, cell.cell)(cell.inputs, cell.units, num_layers=cell.layers)
    module.load_state_dict({name: torch.from_numpy(w) for name, w in cell.weights().items()})
    return module.eval()


def _torch_cells(model: Streamed) -> Any:
    """Return the same of x (1, I): nn.LSTMCell or nn.GRUCell, one for each layer."""
    import torch

    cell, weights = model.cell, model.cell.weights()
    cells = []
    for layer, inputs in enumerate(cell.layer_inputs):
        one = getattr(torch.nn, f"{cell.cell}Cell")(inputs, cell.units)
        own = {name: torch.from_numpy(weights[f"{name}_l{layer}"]) for name in one.state_dict()}
        one.load_state_dict(own)
        cells.append(one.eval())

    def run(x: Any, states: Any) -> Any:
        following = []
        for one, state in zip(cells, states or [None] * len(cells), strict=True):
            state = one(x, state)
            following.append(state)
            x = state[0] if type(state) is tuple else state
        return x, following

    return run


def _torch(make_body: Callable[[Streamed], Any], shape: tuple[int, ...]) -> Any:
    @contextmanager
    def prepare(model: Streamed) -> Iterator[Start]:
        import torch

        make_front, head = _torch_front(model, shape), _torch_head(model)
        body, frames = make_body(model), _torch_frames(model, shape)

        def start() -> Stepper:
            front, state = make_front(), None

            def step(x: Any) -> Any:
                nonlocal state
                if front is not None:
                    x = front(x)
                y, state = body(x, state)
                return y if head is None else head(y)

            return Stepper(step, frames, _row)

        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                yield start
        finally:
            torch.set_num_threads(before)

    return prepare


def thread_context(runner: str) -> AbstractContextManager[Any]:
    """Return what a thread of its own must be in: torch keeps its modes by thread."""
    if runner != "torch":
        return nullcontext()
    import torch

    torch.set_num_threads(1)
    return torch.inference_mode()


# The first of a runner's forms is the one that its documentation begins with.
FORMS = (
    Form("seqcore", "step(x)", _seqcore),
    Form("seqcore", "step(x, out=)", _seqcore_out),
    Form("onnxruntime", "run", _onnx_run),
    Form("onnxruntime", "io_binding", _onnx_bound),
    Form("torch", "nn.LSTM, nn.GRU", _torch(_torch_module, (1, 1, -1))),
    Form("torch", "nn.LSTMCell, nn.GRUCell", _torch(_torch_cells, (1, -1))),
)
