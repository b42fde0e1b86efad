"""A program of ONNX -> Model: its nodes, one after the other, in the words of aten/.

What a name means is a `Traced`, or a `Constant`, whose array is one of objects where it holds sizes
that vary: ``Shape(x)`` is such a vector, and arithmetic on it makes others (shape_values.py).
"""

from __future__ import annotations

import functools
import inspect
from collections import ChainMap, Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ModelFileError, SeqcoreError, UnsupportedLayerError
from ...formats.onnx_programs import OnnxGraph, OnnxNode, OnnxProgram, OnnxValue
from ...model import Model
from ..aten.arguments import as_traced
from ..aten.reader import MALFORMED, WHOLE, Guess, Reader, first_model, has
from ..aten.tensors import Constant, RefusedError, Traced
from .operators import OPERATORS
from .operators.table import NotKnownError
from .shape_values import of_sizes

__all__ = ["model_of"]

_OLDEST, _NEWEST = 9, 28  # opsets
_MOST_BRANCHES = 32  # If within If
# Operators that give the dtype of their first tensor that is none of 0 and 1.
_KEEPING_DTYPE = frozenset([
    "Abs", "Add", "Clip", "Concat", "CumSum", "Div", "Dropout", "Expand", "Flatten", "Gather",
    "Identity", "Max", "MaxPool", "Min", "Mod", "Mul", "Neg", "PRelu", "Pad", "Pow", "ReduceL1",
    "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
    "ReduceSumSquare", "Relu", "Reshape", "Sign", "Slice", "Split", "Squeeze", "Sub", "Sum", "Tile",
    "TopK", "Transpose", "Unsqueeze", "Where",
])  # fmt: skip


@dataclass(frozen=True)
class _Given:
    """An input that the caller gives, every size of which has a value or a name."""

    name: str
    dtype: str | None
    shape: tuple[int | str, ...]


def model_of(
    program: OnnxProgram, source: str, constants: Mapping[str, NDArray[Any]] | None = None
) -> Model:
    """Make a model of a program.

    Parameters
    ----------
    program : OnnxProgram
    source : str
        What it comes from, for messages.
    constants : mapping of str to array, optional
        What inputs shall be fixed to.

    Raises
    ------
    UnsupportedLayerError
        Listing every node that is not supported, with operator and opset.
    ModelFileError
        Of opsets that nobody here knows.
    """
    opset = program.opsets.get("", _NEWEST)
    if not _OLDEST <= opset <= _NEWEST:
        raise ModelFileError(f"{source}: opset {opset}; {_OLDEST} to {_NEWEST} are known")
    fixed = dict(constants or {})
    graph = program.graph
    known = {name: _constant(array, name) for name, array in {**graph.constants, **fixed}.items()}
    inputs = [_given(each, number) for number, each in enumerate(graph.inputs)
              if each.name not in fixed]  # fmt: skip
    reads = Counter(name for node in graph.nodes for name in _read_by(node))
    return first_model(
        inputs, reads.__contains__, len(graph.nodes),
        lambda guess: _Reader(program, inputs, known, reads, guess), source,
    )  # fmt: skip


def _given(value: OnnxValue, number: int) -> _Given:
    if value.shape is None:
        why = "its rank is not said; name its numbers, constants={...}, or export it with a shape"
        raise UnsupportedLayerError([(f"input {value.name!r}", why)])
    if 0 in value.shape:
        why = "it has no elements; fix it, constants={...}"
        error = UnsupportedLayerError([(f"input {value.name!r}", why)])
        error.inputs = [value.name]
        raise error
    names = (f"{number}.{k}" if size is None else size for k, size in enumerate(value.shape))
    return _Given(value.name, value.dtype, tuple(names))


def _read_by(node: OnnxNode) -> Iterator[str]:
    """Yield all names that a node reads, in its branches too."""
    yield from filter(None, node.inputs)
    for value in node.attributes.values():
        if isinstance(value, OnnxGraph):
            for inner in value.nodes:
                yield from _read_by(inner)
            yield from (each.name for each in value.outputs)


def _constant(array: NDArray[Any], name: str | None = None) -> Constant:
    """Return an array as a constant of float32, int64 or bool."""
    array = np.asarray(array)
    if array.dtype.kind in "iu":
        return Constant.of(array.astype(np.int64, copy=False), name)
    if array.dtype.kind == "b":
        return Constant.of(array, name)
    if array.dtype.kind != "f":
        raise ModelFileError(f"{name!r}: numbers of dtype {array.dtype}")
    made = _as_float32(array)
    if np.isinf(made).sum() != np.isinf(array).sum():
        raise ModelFileError(f"{name!r}: numbers outside of float32's range")
    return Constant.of(made, name)


def _as_float32(array: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False)


class _Reader(Reader):
    whole_call = "graph"

    def __init__(
        self, program: OnnxProgram, inputs: Sequence[_Given], known: Mapping[str, Constant],
        reads: Mapping[str, int], guess: Guess,
    ) -> None:  # fmt: skip
        super().__init__(inputs, guess)
        self.program, self.given, self.known, self.reads = program, inputs, known, reads
        self.opset = program.opsets.get("", _NEWEST)
        self.scopes: ChainMap[str, Any] = ChainMap()  # of graphs within graphs
        self.values = self.scopes
        self.whole_names: set[str] = set()  # of values that are whole numbers to ONNX
        self.names: dict[Any, list[str]] = {}  # of values and their views, by symbol
        self.node: OnnxNode | None = None
        self.needed: dict[str, None] = {}  # inputs whose numbers must be known

    # ---- Inputs and outputs ----

    def read_inputs(self) -> None:
        self.values.update(self.known)
        self.whole_names.update(n for n, c in self.known.items() if c.array.dtype.kind == "i")
        for each in self.given:
            _, self.values[each.name] = self.take(each, _own_name(each.name))
            if each.dtype in WHOLE:
                self.whole_names.add(each.name)
            self.hold(self.values[each.name])

    def outputs(self) -> Iterator[tuple[Any, str | None]]:
        in_rows = any(place is not None for place in self.guess.values())
        for each in self.program.graph.outputs:
            value = self.values[each.name]
            if isinstance(value, Constant) and not in_rows:
                value = as_traced(self, value)
            whole = each.dtype in WHOLE or (each.dtype is None and each.name in self.whole_names)
            yield value, "int64" if whole else None

    def error(self, source: str) -> UnsupportedLayerError:
        error = super().error(source)
        error.inputs = list(self.needed)
        return error

    # ---- Nodes ----

    def read_nodes(self) -> None:
        self._read_all(self.program.graph)

    def _read_all(self, graph: OnnxGraph) -> None:
        for node in graph.nodes:
            self._read_node(node)

    def _read_node(self, node: OnnxNode) -> None:
        before, self.node = self.node, node
        try:
            given = [self.values[name] if name else None for name in node.inputs]
            made = _UNKNOWN if _UNKNOWN in given else self._made(node, given)
        except (RefusedError, SeqcoreError) as error:
            if isinstance(error, ModelFileError):
                raise
            made = self._refused(node, str(error))
            if isinstance(error, NotKnownError):
                self._need(node, error.value)
        except MALFORMED as error:
            found = f"{type(error).__name__}: {str(error)[:200]}"
            made = self._refused(node, f"of arguments that it cannot have ({found})")
        self._bind(node, made)
        self.node = before

    def _refused(self, node: OnnxNode, why: str) -> Any:
        operator = f"{node.domain}.{node.op}" if node.domain else node.op
        version = self.program.opsets.get(node.domain, self.opset)
        name = f"node {node.name!r}" if node.name else f"the node that makes {node.outputs[0]!r}"
        self.offenders.append((f"{name}, {operator}, opset {version}", why))
        return _UNKNOWN

    def _need(self, node: OnnxNode, value: Any) -> None:
        for name in node.inputs:
            if self.values.get(name) is value and any(name == each.name for each in self.given):
                self.needed[name] = None

    def _made(self, node: OnnxNode, given: list[Any]) -> Any:
        function = OPERATORS.get(f"{node.domain}.{node.op}" if node.domain else node.op)
        if function is None:
            raise RefusedError("is not supported")
        if not has(given, Traced):
            made = of_sizes(node.op, given, node.attributes)
            if made is not NotImplemented:
                return made
        try:
            _signature(function).bind(self, *given, **node.attributes)
        except TypeError as error:
            raise RefusedError(f"has arguments that are not supported ({error})") from None
        return function(self, *given, **node.attributes)

    def _bind(self, node: OnnxNode, made: Any) -> None:
        parts = made if isinstance(made, tuple) else (made,) * (
            len(node.outputs) if made is _UNKNOWN else 1)  # fmt: skip
        for index, (name, part) in enumerate(zip(node.outputs, parts, strict=False)):
            if not name or (part is None and not self.wanted(index)):
                continue
            if part is None:
                part = self._refused(node, f"its output {name!r} is not supported")
            self.values[name] = part
            if self._is_whole(node, part):
                self.whole_names.add(name)
            if isinstance(part, Traced):
                self.hold(part)
                self.names.setdefault(part.symbol.key, []).append(name)

    def _is_whole(self, node: OnnxNode, made: Any) -> bool:
        if isinstance(made, Constant) and made.array.dtype != object:
            return made.array.dtype.kind == "i"
        if isinstance(made, Traced) and made.dtype == "int64":
            return True
        if node.op == "Cast":
            return node.attributes.get("to") in _WHOLE_TYPES
        if isinstance(made, Constant) and node.op not in _KEEPING_DTYPE:
            return True  # sizes that vary
        return node.op in _KEEPING_DTYPE and self._first_is_whole(node)

    def _first_is_whole(self, node: OnnxNode) -> bool:
        names = node.inputs[1:] if node.op == "Where" else node.inputs
        return bool(names) and names[0] in self.whole_names

    # ---- What operators ask ----

    def label(self) -> str:
        """Return what the exporter called it, "lstm" of "/lstm/LSTM_1"."""
        if self.node is None:  # a constant that is given back
            return ""
        path = self.node.name.strip("/").split("/")
        if len(path) > 1 and path[-1].startswith(self.node.op):
            path.pop()
        return "/".join(path) or self.node.op

    def wanted(self, index: int) -> bool:
        assert self.node is not None
        outputs = self.node.outputs
        return index < len(outputs) and (
            outputs[index] in self.reads or outputs[index] in self.final
        )

    @functools.cached_property
    def final(self) -> frozenset[str]:
        """Names of all that is given back."""
        return frozenset(each.name for each in self.program.graph.outputs)

    def reads_alone(self, tensor: Traced) -> bool:
        names = self.names.get(tensor.symbol.key, [])
        return all(self.reads[name] == 1 and name not in self.final for name in names)

    def whole(self) -> bool:
        """Tell whether what the node at hand takes first, and makes, is whole numbers."""
        assert self.node is not None
        return self._first_is_whole(self.node)

    def declared(self, index: int) -> str | None:
        """Return the dtype that the file says an input of the node at hand has."""
        assert self.node is not None
        return self.program.graph.dtypes.get(self.node.inputs[index])

    def read_branch(self, graph: OnnxGraph) -> tuple[Any, ...]:
        """Read a graph that an attribute holds, and return what it makes."""
        if len(self.scopes.maps) > _MOST_BRANCHES:
            raise RefusedError(f"more than {_MOST_BRANCHES} deep")
        self.scopes = self.values = self.scopes.new_child()
        try:
            self.values.update({n: _constant(array, n) for n, array in graph.constants.items()})
            self._read_all(graph)
            return tuple(self.values[each.name] for each in graph.outputs)
        finally:
            self.scopes = self.values = self.scopes.parents


class _Unknown:
    """What a node that was refused would have made."""


_UNKNOWN = _Unknown()
_WHOLE_TYPES = frozenset(
    [2, 3, 4, 5, 6, 7, 12, 13]
)  # of TensorProto: uint8 to int64, uint32, uint64


def _own_name(name: str) -> str:
    """Return a name for an input of ours: a ":" is never a user's; ":0" is TensorFlow's."""
    return name.removesuffix(":0").replace(":", "_")


@functools.cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)
