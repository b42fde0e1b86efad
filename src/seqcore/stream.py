"""Stream and StreamPool: sequences whose frames arrive one at a time.

`Model.stream` and `Model.pool` make them. A step's fast way is in the compiled core; here are the
arguments that have to be converted, and the state as arrays and bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._binding import PoolCore, Port, Steps, StreamCore
from .arguments import floats, integers, is_writable_result, listed, unfit_out
from .errors import DtypeError, ShapeError

if TYPE_CHECKING:
    from .model import Model

__all__ = ["Stream", "StreamPool"]

Array = NDArray[Any]


# ---- Arguments -----------------------------------------------------------------------------------


def _shape(port: Port, rows: int) -> tuple[int, ...]:
    return tuple(rows if size is None else size for size in port.shape)


def _dtype(port: Port) -> np.dtype[Any]:
    return np.dtype(np.int64 if port.ids else np.float32)


def _inputs(steps: Steps, given: tuple[Any, ...]) -> list[Array]:
    """Return a step's inputs as the core reads them."""
    names = [port.name for port in steps.inputs]
    if len(given) == 1 and isinstance(given[0], Mapping):
        named = given[0]
        if set(named) != set(names):
            raise ShapeError(f"expected the inputs {names}; found {list(named)}")
        given = tuple(named[name] for name in names)
    if len(given) != len(names):
        raise ShapeError(f"expected {len(names)} inputs {names}; found {len(given)}")
    return [
        (integers if port.ids else floats)(value, f"input {port.name!r}")
        for port, value in zip(steps.inputs, given, strict=True)
    ]


def _outputs(
    steps: Steps, out: Any, rows: int, shape_of: Callable[[int], tuple[int, ...]] | None = None
) -> list[Array]:
    """Return where a step's outputs go: the caller's arrays, or fresh ones.

    `shape_of` tells the shape of an output of a number, where contexts decide about it.
    """
    if out is None:
        return [
            np.empty(_shape(port, rows) if shape_of is None else shape_of(k), _dtype(port))
            for k, port in enumerate(steps.outputs)
        ]
    results = listed(out)
    if len(results) != len(steps.outputs):
        names = [port.name for port in steps.outputs]
        raise ShapeError(f"out: expected {len(names)} arrays {names}; found {len(results)}")
    for port, result in zip(steps.outputs, results, strict=True):
        if not is_writable_result(result, _dtype(port)):
            raise unfit_out(port.name, result, _dtype(port))
    return results


def _state_arrays(steps: Steps, state: Any, rows: int) -> list[Array]:
    """Return a whole state as the core reads it, of the right shapes."""
    names = [port.name for port in steps.states]
    if not isinstance(state, (tuple, list)) or len(state) != len(names):
        found = len(state) if isinstance(state, (tuple, list)) else type(state).__name__
        raise ShapeError(f"state: expected a tuple of {len(names)} arrays {names}; found {found}")
    arrays = []
    for port, value in zip(steps.states, state, strict=True):
        shape = _shape(port, rows)
        array = np.zeros(shape, np.float32) if value is None else floats(value, port.name)
        if array.shape != shape:
            raise ShapeError(f"state {port.name!r}: expected shape {shape}; found {array.shape}")
        arrays.append(array)
    return arrays


def _result(results: list[Array]) -> Any:
    return results[0] if len(results) == 1 else tuple(results)


# ---- Streams -------------------------------------------------------------------------------------


class Stream(StreamCore):
    """Sequences that advance together, one frame at a time: ``model.stream()``.

    ``step`` returns what the model gives at the newest frame of the sequence so far, bit for bit.
    A stream belongs to one thread at a time: a second one gets `StreamError`.

    Parameters
    ----------
    model : Model
    batch_size : int
        Sequences.

    Raises
    ------
    UnsupportedLayerError
        A layer needs frames that are still to come (Bidirectional, pooling over time, ...); the
        message names it.

    Examples
    --------
    >>> import numpy as np, seqcore as sc
    >>> rnn = sc.SimpleRNN(np.eye(2), np.eye(2), activation=None, return_sequences=True)
    >>> stream = sc.Sequential([rnn]).stream()
    >>> stream.step([[1, 2]]).tolist(), stream.step([[3, 4]]).tolist()
    ([[1.0, 2.0]], [[4.0, 6.0]])
    >>> stream.states, stream.state[0].tolist()
    (('simple_rnn:h',), [[4.0, 6.0]])
    """

    def step_any(self, inputs: tuple[Any, ...], out: Any) -> Any:
        """Take a step on arguments that may have to be converted: what `step` falls back to."""
        arrays = _inputs(self.steps, inputs)
        results = _outputs(
            self.steps, out, self.rows, self.output_shape if self.steps.contexts else None
        )
        self.step_arrays(arrays, results)
        return _result(results)

    @property
    def batch_size(self) -> int:
        """Sequences."""
        return self.rows

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the state's arrays: a layer's, then ``:h``, ``:c`` or ``:frames``."""
        return tuple(port.name for port in self.steps.states)

    @property
    def state(self) -> tuple[Array, ...]:
        """A copy of the state, one array for each of `states`.

        (batch, units) for h and c; (batch, frames, channels) for the last frames that a causal
        convolution has seen, oldest first. Setting it takes such a tuple; None is zeros.
        """
        arrays = [np.empty(_shape(port, self.rows), np.float32) for port in self.steps.states]
        self.get_arrays(arrays)
        return tuple(arrays)

    @state.setter
    def state(self, state: Sequence[ArrayLike | None]) -> None:
        self.set_arrays(_state_arrays(self.steps, state, self.rows))

    _context: list[Array | None] | None = None

    def set_context(self, inputs: Sequence[Array | None]) -> None:
        """Give what a whole sequence has once: `Generator.stream` does.

        Parameters
        ----------
        inputs : sequence of (ndarray or None)
            Contexts and their lengths, at their places among the inputs of the model's graph.
        """
        given = [None if array is None else array.copy() for array in inputs]
        self.set_context_arrays(given)
        self._context = given

    def copy(self) -> Stream:
        """Return another stream of the same model, in the same state."""
        return _restored(self.model, self.rows, self.save_state(), self._context)

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> Stream:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the model, and the state as bytes."""
        return _restored, (self.model, self.rows, self.save_state(), self._context)

    def __repr__(self) -> str:
        return f"<Stream of {self.rows} x {self.model!r}>"


def _restored(
    model: Model, rows: int, state: bytes, context: Sequence[Array | None] | None = None
) -> Stream:
    stream = Stream(model, rows)
    if context is not None:
        stream.set_context(context)
    stream.load_state(state)
    return stream


# ---- Pools ---------------------------------------------------------------------------------------


class StreamPool(PoolCore):
    """Many sequences that come, advance and go one by one: ``model.pool(capacity)``.

    A step takes the streams that have a frame now as one batch, so that the weights are read once
    for all; each gives what it would give alone, bit for bit. The memory for `capacity` streams is
    taken at once and never grows. Any number of threads may use a pool: steps of different streams
    run side by side, a stream that is in use raises `StreamError`.

    Parameters
    ----------
    model : Model
    capacity : int
        Streams that can be open at once.

    Raises
    ------
    UnsupportedLayerError
        As for `Stream`.

    Examples
    --------
    >>> import numpy as np, seqcore as sc
    >>> rnn = sc.SimpleRNN(np.eye(2), np.eye(2), activation=None, return_sequences=True)
    >>> pool = sc.Sequential([rnn]).pool(capacity=100)
    >>> first, second = pool.open(), pool.open()
    >>> pool.step([first, second], [[1, 2], [3, 4]]).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    >>> pool.step([second], [[1, 1]]).tolist()
    [[4.0, 5.0]]
    >>> pool.close(first)
    >>> len(pool)
    1
    """

    def step(self, ids: Iterable[int] | Array, *inputs: Any, out: Any = None) -> Any:
        """Take the next frame of some streams.

        Parameters
        ----------
        ids : (n,) integers
            Streams, each once.
        *inputs : array_like
            As of `Stream.step`, with n rows: row i is the next frame of ``ids[i]``.
        out : ndarray, or tuple of them, optional
            As of `Stream.step`.

        Returns
        -------
        ndarray, or tuple of ndarray
            float32, int64 of indices, (n, ...).

        Raises
        ------
        StreamError
            A stream is closed, in use by another thread, or stands twice in `ids`. No stream has
            advanced then.
        ShapeError, DtypeError, IdRangeError
        """
        numbers = _ids(ids)
        arrays = _inputs(self.steps, inputs)
        results = _outputs(self.steps, out, len(numbers))
        for port, array in zip(self.steps.inputs, arrays, strict=True):
            axis = port.shape.index(None)  # of what is given whole, 1 too
            if array.ndim <= axis or array.shape[axis] != len(numbers):
                raise ShapeError(
                    f"input {port.name!r}: expected {len(numbers)} rows, one for each id; found "
                    f"shape {array.shape}"
                )
        self.step_arrays(numbers, arrays, results)
        return _result(results)

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the state's arrays, as of `Stream`."""
        return tuple(port.name for port in self.steps.states)

    def state(self, stream: int) -> tuple[Array, ...]:
        """Return a copy of a stream's state, one (1, ...) array for each of `states`."""
        arrays = [np.empty(_shape(port, 1), np.float32) for port in self.steps.states]
        self.get_arrays(stream, arrays)
        return tuple(arrays)

    def set_state(self, stream: int, state: Sequence[ArrayLike | None]) -> None:
        """Set a stream's state; None is zeros."""
        self.set_arrays(stream, _state_arrays(self.steps, state, 1))

    def __repr__(self) -> str:
        return f"<StreamPool of {len(self)} of {self.capacity} x {self.model!r}>"


def _ids(ids: Any) -> Array:
    """Return a copy, which no other thread can change while the core works with it."""
    if not isinstance(ids, np.ndarray):
        ids = list(ids)
        if not all(isinstance(i, (int, np.integer)) and 0 <= i < 2**64 for i in ids):
            raise DtypeError("ids: expected the integers that open() returned")
    array = np.asarray(ids, np.uint64) if not isinstance(ids, np.ndarray) else ids
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise DtypeError(f"ids: expected (n,) integers; found {array.dtype}, {array.ndim} axes")
    return np.array(array, np.uint64, order="C")
