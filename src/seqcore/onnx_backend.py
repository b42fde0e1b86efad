"""The Backend API of the package onnx, for programs and tests that run models through it.

    import seqcore.onnx_backend as backend

    outputs = backend.prepare(model).run([x, lengths])

What differs from `from_onnx` is at the edges. Outputs have the graph's own dtypes; where one call
of the graph is one row of the model, the axis of rows is added and taken off; and inputs whose
numbers decide what the model is, a shape or weights, are bound when it is run. It needs onnx.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import (
    MissingExtraError,
    OptionError,
    SeqcoreError,
    ShapeError,
    UnsupportedLayerError,
)
from .formats.onnx_files import read_onnx
from .formats.onnx_programs import OnnxProgram
from .importers.onnx import checked_constants
from .importers.onnx.graph import model_of
from .model import Model

try:
    import onnx
    from onnx.backend.base import Backend, BackendRep, namedtupledict
except ImportError as error:
    raise MissingExtraError(
        "seqcore.onnx_backend needs the package onnx: pip install seqcore[onnx]"
    ) from error

__all__ = [
    "SeqcoreBackend", "SeqcoreRep", "is_compatible", "prepare", "run", "run_model", "run_node",
    "supports_device",
]  # fmt: skip

_KEPT = 8  # models of one graph, each for other numbers of its bound inputs
_SOURCE = "the ONNX model"
_NOTHING = np.zeros((), np.float32)  # what a model of constants alone takes, to count its rows

Array = NDArray[Any]
_Bound = tuple[tuple[str, str, tuple[int, ...], bytes], ...]  # name, dtype, shape, numbers


class _Kept(NamedTuple):
    """A model, and how the graph's inputs go into it."""

    model: Model
    free: tuple[str, ...]  # those that it takes, as the graph names them
    is_row: bool  # a call of the graph is a row: every array has an axis more


class SeqcoreRep(BackendRep):
    """A model that is ready to run, on the arrays that its graph takes.

    Made by `prepare`. It may be called from any number of threads.
    """

    def __init__(self, program: OnnxProgram, constants: Mapping[str, ArrayLike]) -> None:
        graph = program.graph
        self._program = program
        self._constants = checked_constants(program, constants, _SOURCE)
        self._inputs = [each.name for each in graph.inputs if each.name not in self._constants]
        self._needed: tuple[str, ...] = ()  # inputs whose numbers decide what the model is
        self._kept = functools.lru_cache(maxsize=_KEPT)(self._read)
        self._tuple = namedtupledict("Outputs", [each.name for each in graph.outputs])
        try:
            self._kept(())
        except UnsupportedLayerError as error:
            if not error.inputs:
                raise
            self._needed = tuple(error.inputs)

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Run the graph.

        Parameters
        ----------
        inputs : sequence of array_like, mapping of array_like by input name, or an array
            Of the graph's inputs, in its order, with its shapes.

        Returns
        -------
        tuple of ndarray
            With the graph's dtypes and shapes; also by the names of its outputs.

        Raises
        ------
        UnsupportedLayerError
            With the numbers of its inputs known, it is not supported.
        ShapeError, DtypeError, IdRangeError, OptionError
        """
        if kwargs:
            raise OptionError(f"run: there are no options; found {sorted(kwargs)}")
        given = self._by_name(inputs)
        kept = self._model(given)
        arrays = [given[name] for name in kept.free] or [_NOTHING]
        found = kept.model(*(array[None] for array in arrays) if kept.is_row else arrays)
        values = found if isinstance(found, tuple) else (found,)
        if kept.is_row:
            values = tuple(each[0] for each in values)
        outputs = self._program.graph.outputs
        typed = (_typed(each, out.dtype) for each, out in zip(values, outputs, strict=True))
        made: tuple[Any, ...] = self._tuple(*typed)
        return made

    def _by_name(self, inputs: Any) -> dict[str, Array]:
        if isinstance(inputs, Mapping):
            wrong = set(inputs) ^ set(self._inputs)
            if wrong:
                raise ShapeError(f"{_SOURCE}: inputs are {self._inputs}; found {list(inputs)}")
            return {name: _plain(inputs[name]) for name in self._inputs}
        arrays = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
        if len(arrays) != len(self._inputs):
            raise ShapeError(f"{_SOURCE}: inputs are {self._inputs}; found {len(arrays)} arrays")
        return {name: _plain(array) for name, array in zip(self._inputs, arrays, strict=True)}

    def _model(self, given: Mapping[str, Array]) -> _Kept:
        """Return the model for these numbers."""
        while True:
            needed = self._needed
            try:
                return self._kept(tuple(_bound(name, given[name]) for name in needed))
            except UnsupportedLayerError as error:
                more = [name for name in error.inputs if name not in needed]
                if not more:
                    raise
                self._needed = (*needed, *more)

    def _read(self, bound: _Bound) -> _Kept:
        fixed = self._constants | {
            name: np.frombuffer(numbers, dtype).reshape(shape)
            for name, dtype, shape, numbers in bound
        }
        free = [each for each in self._program.graph.inputs if each.name not in fixed]
        model = model_of(self._program, _SOURCE, fixed)
        rank = len(model._plan.value_shape(model.inputs[0]))
        is_row = not free or rank > len(free[0].shape or ())
        return _Kept(model, tuple(each.name for each in free), is_row)


def _plain(array: Any) -> Array:
    """Return an array of a dtype of NumPy's own: others are of onnx's smaller numbers."""
    made = np.asarray(array)
    if made.dtype.isbuiltin != 2:
        return made
    return made.astype(np.int64 if "int" in made.dtype.name else np.float32)


def _bound(name: str, array: Array) -> tuple[str, str, tuple[int, ...], bytes]:
    return name, array.dtype.str, array.shape, array.tobytes()


def _typed(array: Array, dtype: str | None) -> Array:
    """Return an output in the graph's dtype; the model's own where the graph does not say it."""
    if dtype is None:
        return array
    if dtype == "bool":
        return np.asarray(array != 0)
    return array.astype(_dtypes()[dtype], copy=False)


@functools.cache
def _dtypes() -> dict[str, np.dtype[Any]]:
    """Return the dtypes that onnx has arrays of, by name."""
    kinds = map(onnx.helper.tensor_dtype_to_np_dtype, onnx.helper.get_all_tensor_dtypes())
    return {kind.name: kind for kind in map(np.dtype, kinds)}


class SeqcoreBackend(Backend):
    """seqcore as a backend of onnx. All methods are functions of this module as well."""

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Tell whether models run there: on "CPU"."""
        return device in ("CPU", "CPU:0")

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Tell whether `prepare` takes a model."""
        try:
            cls.prepare(model, device, **kwargs)
        except SeqcoreError:
            return False
        return True

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> SeqcoreRep:
        """Make a model ready to run.

        Parameters
        ----------
        model : onnx.ModelProto, bytes or path
        device : "CPU"
        constants : mapping of str to array, optional
            Inputs that are fixed to these numbers, and no longer given to `SeqcoreRep.run`.
        external_data : bool
            As in `from_onnx`.

        Raises
        ------
        UnsupportedLayerError
            Whatever its inputs are, it is not supported.
        ModelFileError, OptionError
        """
        if not cls.supports_device(device):
            raise OptionError(f"device: expected 'CPU'; found {device!r}")
        constants = kwargs.pop("constants", None) or {}
        external_data = kwargs.pop("external_data", False)
        if kwargs:
            raise OptionError(f"prepare: there is no option {', '.join(sorted(kwargs))}")
        return SeqcoreRep(read_onnx(model, external_data=external_data), constants)

    @classmethod
    def run_model(
        cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any
    ) -> tuple[Any, ...]:
        """Run a model once; `prepare` it to run it again."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls, node: onnx.NodeProto, inputs: Any, device: str = "CPU", outputs_info: Any = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:  # fmt: skip
        """Run an operator by itself.

        Parameters
        ----------
        node : onnx.NodeProto
        inputs : sequence of array_like, or mapping of them by name
            Of the inputs that the node names, in its order.
        device : "CPU"
        outputs_info : sequence of (dtype, shape), optional
            What dtypes the outputs have; of onnx's own inference, otherwise.
        opset_version : int
            Of which version the operator is; the newest, otherwise.
        """
        version = kwargs.pop("opset_version", onnx.defs.onnx_opset_version())
        names = list(dict.fromkeys(name for name in node.input if name))
        given = list(inputs.values()) if isinstance(inputs, Mapping) else list(inputs)
        if len(given) != len(names):
            raise ShapeError(f"{node.op_type}: inputs are {names}; found {len(given)} arrays")
        arrays = [np.asarray(array) for array in given]
        taken = [_value_info(name, a.dtype, a.shape) for name, a in zip(names, arrays, strict=True)]
        made = [_value_info(name) for name in node.output if name]
        for value, (dtype, shape) in zip(made, outputs_info or (), strict=False):
            value.CopyFrom(_value_info(value.name, np.dtype(dtype), shape))
        graph = onnx.helper.make_graph([node], node.op_type, taken, made)
        imports = [onnx.helper.make_opsetid(node.domain, version)]
        model = onnx.helper.make_model(graph, opset_imports=imports)
        model = onnx.shape_inference.infer_shapes(model)
        return cls.run_model(model, arrays, device, **kwargs)


def _value_info(name: str, dtype: Any = None, shape: Any = None) -> onnx.ValueInfoProto:
    if dtype is None:
        return onnx.helper.make_empty_tensor_value_info(name)
    code = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    return onnx.helper.make_tensor_value_info(name, code, shape)


supports_device = SeqcoreBackend.supports_device
is_compatible = SeqcoreBackend.is_compatible
prepare = SeqcoreBackend.prepare
run_model = run = SeqcoreBackend.run_model
run_node = SeqcoreBackend.run_node
