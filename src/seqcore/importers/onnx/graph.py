"""A program of ONNX -> Model: its nodes, one after the other, in the words of aten/.

What a name means is a `Traced`, or a `Constant`, whose array is one of objects where it holds sizes
that vary: ``Shape(x)`` is such a vector, and arithmetic on it makes others (shape_values.py).
"""

from __future__ import annotations

import functools
import inspect
from collections import ChainMap, Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from ...activation import told
from ...errors import ModelFileError, SeqcoreError, UnsupportedLayerError
from ...formats.onnx_programs import OnnxGraph, OnnxNode, OnnxProgram, OnnxValue
from ...formats.onnx_tensors import dtype_name
from ...graph import SizeRule
from ...layers import Input
from ...model import Model
from ..aten.arguments import as_traced
from ..aten.reader import MALFORMED, WHOLE, Guess, Reader, Rows, first_model, has, numbered
from ..aten.sizes import AnySize, symbol
from ..aten.tensors import Constant, RefusedError, Traced
from .older import read_as
from .operators import OPERATORS
from .operators.table import NotKnownError, numbers_of
from .shape_values import of_sizes
from .sorting import Order, common_order, of_orders, sorted_rows

__all__ = ["NEWEST", "OLDEST", "model_of"]

OLDEST, NEWEST = 9, 28  # opsets
_NO_TENSORS = frozenset(["sequence", "map", "optional", "sparse_tensor", "opaque"])
# Dtypes of weights, which no caller has arrays of.
_SMALL = frozenset([
    "float4_e2m1fn", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz",
    "float8_e8m0fnu", "int2", "int4", "uint2", "uint4",
])  # fmt: skip
_ROWS = "rows"  # an input of who takes none: as many numbers as there are rows
_EXACT = 1 << 24  # whole numbers are floats in the end
_DEEPEST = 4  # dims that may be the batch: of an RNN's result, (T, directions, B, H), the third
_MOST_BRANCHES = 32  # If within If
_MOST_VALUES = 10_000  # each is a call of a layer, of which a model has no more
# Operators that give the dtype of their first tensor that is none of 0 and 1.
_KEEPING_DTYPE = frozenset([
    "Abs", "Add", "Clip", "Concat", "ConcatFromSequence", "CumSum", "Div", "Dropout", "Einsum",
    "Expand", "Flatten", "Gather", "GatherElements", "Gemm", "Identity", "MatMul", "Max", "MaxPool",
    "Min", "Mod", "Mul", "Neg", "OneHot", "PRelu", "Pad", "Pow", "Range", "ReduceL1", "ReduceL2",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu",
    "Reshape", "ReverseSequence", "SequenceAt", "SequenceConstruct", "Sign", "Slice", "Split",
    "Squeeze", "Sub", "Sum", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "Where",
])  # fmt: skip
_TELLING = {"Where": 1, "OneHot": 2}  # which input tells the dtype, where it is not the first


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
    opset = read_as(program, OLDEST, NEWEST, source)
    fixed = dict(constants or {})
    graph = program.graph
    known = {name: numbers_of(array, name) for name, array in {**graph.constants, **fixed}.items()}
    inputs = [_given(each, number, source) for number, each in enumerate(graph.inputs)
              if each.name not in fixed] or [_Given(_ROWS, "float32", ())]  # fmt: skip
    reads = Counter(name for node in graph.nodes for name in _read_by(node))
    while True:
        settled: dict[str, int] = {}
        attempt = functools.partial(_Reader, program, opset, inputs, known, reads, settled)
        try:
            return first_model(
                inputs, reads.__contains__, len(graph.nodes), attempt, source, _DEEPEST
            )
        except UnsupportedLayerError:
            if not settled:
                raise
        inputs = [_with_sizes(each, settled) for each in inputs]


def _with_sizes(given: _Given, settled: Mapping[str, int]) -> _Given:
    """Return an input some of whose names of sizes are numbers."""
    sizes = (settled.get(size, size) if isinstance(size, str) else size for size in given.shape)
    return replace(given, shape=tuple(sizes))


def _given(value: OnnxValue, number: int, source: str) -> _Given:
    """Return an input that is given at a call.

    Raises
    ------
    UnsupportedLayerError
        It cannot be; if it can be fixed, its name is in the error's `inputs`.
    """
    what = f"input {value.name!r}"
    if value.dtype in _NO_TENSORS:
        raise UnsupportedLayerError([(what, f"it is no tensor ({value.dtype})")], source)
    if value.shape is not None and 0 not in value.shape and value.dtype not in _SMALL:
        names = (f"{number}.{k}" if size is None else size for k, size in enumerate(value.shape))
        return _Given(value.name, value.dtype, tuple(names))
    why = f"it is {value.dtype}" if value.dtype in _SMALL else "it has no elements"
    if value.shape is None:
        why = "its rank is not said: export it with a shape"
    error = UnsupportedLayerError([(what, f"{why}; or fix it, constants={{...}}")], source)
    error.inputs = [value.name]
    raise error


def _read_by(node: OnnxNode) -> Iterator[str]:
    """Yield all names that a node reads, in its branches too."""
    yield from filter(None, node.inputs)
    for value in node.attributes.values():
        if isinstance(value, OnnxGraph):
            for inner in value.nodes:
                yield from _read_by(inner)
            yield from (each.name for each in value.outputs)


class _Reader(Reader):
    whole_call = "graph"

    def __init__(
        self, program: OnnxProgram, opset: int, inputs: Sequence[_Given],
        known: Mapping[str, Constant], reads: Mapping[str, int], settled: dict[str, int],
        guess: Guess,
    ) -> None:  # fmt: skip
        super().__init__(inputs, guess)
        self.program, self.given, self.known, self.reads = program, inputs, known, reads
        self.opset = opset
        self.scopes: ChainMap[str, Any] = ChainMap()  # of graphs within graphs
        self.values = self.scopes
        self.whole_names: set[str] = set()  # of values that are whole numbers to ONNX
        self.orders: dict[str, Order] = {}  # of values whose rows are sorted
        self.names: dict[Any, list[str]] = {}  # of values and their views, by symbol
        self.node: OnnxNode | None = None
        self.needed: dict[str, None] = {}  # inputs whose numbers must be known
        self.traced_back: set[str] = set()  # names of which is noted which inputs they come from
        self.bounds: dict[str, tuple[int, int | None]] = {}  # of sizes, by name
        self.settled = settled  # names of sizes that have one value only
        self.same: dict[str, str] = {}  # names of sizes that must be those of another name

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
        self._rule_sizes()
        for each in self.program.graph.outputs:
            value = self.values[each.name]
            if isinstance(value, list):
                raise RefusedError(f"{each.name!r}, a sequence of tensors")
            if each.name in self.orders:
                raise RefusedError(f"{each.name!r}, whose rows are sorted")
            if isinstance(value, Constant):
                value = self._of_every_row(value)
            whole = each.dtype in WHOLE or (each.dtype is None and each.name in self.whole_names)
            yield value, "int64" if whole else None

    def _of_every_row(self, value: Constant) -> Any:
        """Return a constant as a tensor, of which a dim is the batch if that is how long it is.

        Its rows must be equal: then it is that row for any number of rows.
        """
        array = value.array
        if array.dtype.kind == "i" and ((array > _EXACT) | (array < -_EXACT)).any():
            raise RefusedError("a constant of whole numbers beyond 2^24")
        if all(place is None for place in self.guess.values()):
            return as_traced(self, value)
        for at, size in enumerate(value.sizes):
            one = value.array[(slice(None),) * at + (slice(1),)]
            if size == self.batch.size and (value.array == one).all():
                rest = (*value.sizes[:at], 1, *value.sizes[at + 1 :])
                made = as_traced(self, Constant(one, rest))
                return made.seen_as([*made.dims[:at], (self.batch,), *made.dims[at + 1 :]])
        return value

    def output_names(self) -> list[str]:
        names: dict[str, None] = {}
        for each in self.program.graph.outputs:
            wanted = _own_name(each.name)[:180]
            usable = wanted if wanted.isprintable() and wanted else "output"
            names[next(name for name in numbered(usable) if name not in names)] = None
        return list(names)

    def _rule_sizes(self) -> None:
        """Let calls keep to what was taken for granted of sizes, and to equal names."""
        where: dict[str, list[tuple[Input, int]]] = {}
        for source, given in zip(self.inputs, self.given, strict=True):
            place = self.guess[given.name]
            for k, size in enumerate(given.shape):
                if isinstance(size, str):
                    where.setdefault(self._first_name(size), []).append(
                        (source, k + (place is None)))  # fmt: skip
        for name, axes in where.items():
            rows = all(axis == source.batch_axis for source, axis in axes)
            if name in self.bounds or (len(axes) > 1 and not rows):
                rule = SizeRule(*self.bounds.get(name, (None, None)))
                for source, axis in axes:
                    source.rules += ((axis, rule),)

    def hold(self, tensor: Traced) -> None:
        """Let a call be refused in which sizes differ that are equal to what reads them.

        One might be 1 and the other not: then the result's would be another than it is taken for.
        """
        super().hold(tensor)
        for axis in tensor.axes:
            alike = self.size_names.intersection(map(str, (axis.size, *axis.alike)))
            first, *others = sorted({*map(self._first_name, alike)}) or [""]
            for name in others:
                self.same[name] = first
                self.bound(symbol(first), *self.bounds.pop(name, (0, None)))

    def _first_name(self, name: str) -> str:
        while name in self.same:
            name = self.same[name]
        return name

    def bound(self, size: AnySize, least: int, most: int | None = None) -> bool:
        if isinstance(size, int):
            return least <= size and (most is None or size <= most)
        terms = dict(size.terms)
        offset = terms.pop((), 0)
        ((names, factor),) = [*terms.items()][:1] if len(terms) == 1 else [((), 0)]
        if len(names) != 1 or factor < 1 or names[0] not in self.size_names:
            return False
        name = self._first_name(names[0])
        before, highest = self.bounds.get(name, (0, None))
        least = max(before, -((offset - least) // factor))
        if most is not None:
            own = (most - offset) // factor
            highest = own if highest is None else min(own, highest)
        if highest is not None and least > highest:
            raise RefusedError(f"{size} would have to be of different sizes at once")
        if least > 0 or highest is not None:
            self.bounds[name] = (least, highest)
        return True

    def settle(self, size: AnySize, value: int) -> None:
        """Read the program anew with the size of inputs at which one that varies is a number.

        Exporters leave sizes of their example in a graph, whose inputs they call free. Where the
        size is no multiple of one name, and some more, nothing happens.
        """
        terms = {} if isinstance(size, int) else dict(size.terms)
        offset = terms.pop((), 0)
        for names, factor in terms.items():
            whole, left = divmod(value - offset, factor)
            if len(terms) == len(names) == 1 and names[0] in self.size_names and not left:
                self.settled.setdefault(names[0], whole)

    @functools.cached_property
    def size_names(self) -> frozenset[str]:
        """Names of sizes that inputs have."""
        return frozenset(
            size for each in self.given for size in each.shape if isinstance(size, str)
        )

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
            if len(self.names) > _MOST_VALUES:
                raise RefusedError(f"more than {_MOST_VALUES} values are computed")
            given = [self.values[name] if name else None for name in node.inputs]
            made = _UNKNOWN if _UNKNOWN in given else self._made_in_order(node, given)
            for part in made if isinstance(made, tuple) else [made]:
                if isinstance(part, Traced):
                    self.hold(part)
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
        """Note which inputs a value comes from that must be known."""
        given = {each.name for each in self.given}
        ahead = [name for name in node.inputs if self.values.get(name) is value]
        seen = self.traced_back  # of nodes before too: what they come from is noted
        ahead = [name for name in ahead if name not in seen]
        seen.update(ahead)
        while ahead:
            name = ahead.pop()
            if name in given:
                self.needed[name] = None
            for before in _read_by(self.makers[name]) if name in self.makers else ():
                if before not in seen and isinstance(self.values.get(before), Traced):
                    seen.add(before)
                    ahead.append(before)

    @functools.cached_property
    def makers(self) -> dict[str, OnnxNode]:
        """Nodes of the graph by what they make."""
        return {name: each for each in self.program.graph.nodes for name in each.outputs}

    def _made_in_order(self, node: OnnxNode, given: list[Any]) -> Any:
        """Return what a node makes, and note in which order its rows are."""
        order = common_order([
            self.orders.get(name)
            for name, value in zip(node.inputs, given, strict=True)
            if isinstance(value, (Traced, list))
        ])  # fmt: skip
        made = sorted_rows(node, given, self.batch) if order is None else None
        if made is not None:
            order = made[1]
        elif has(given, (Order, Rows)):
            made, order = of_orders(node, given, order, self.batch)
        else:
            made = self._made(node, given)
        if order is not None:
            self.orders.update(dict.fromkeys(filter(None, node.outputs), order))
        return made

    def _made(self, node: OnnxNode, given: list[Any]) -> Any:
        function = OPERATORS.get(f"{node.domain}.{node.op}" if node.domain else node.op)
        if function is None:
            raise RefusedError("is not supported")
        if not has(given, Traced):
            made = of_sizes(node.op, given, node.attributes, self.bound)
            if made is not NotImplemented:
                return made
        try:
            _signature(function).bind(self, *given, **node.attributes)
        except TypeError as error:
            raise RefusedError(f"has arguments that are not supported ({error})") from None
        parameters = _signature(function).parameters
        for name, value in node.attributes.items():
            _check_kind(name, value, parameters[name].default)
        return function(self, *given, **node.attributes)

    def _bind(self, node: OnnxNode, made: Any) -> None:
        parts = made if isinstance(made, tuple) else (made,) * (
            len(node.outputs) if made is _UNKNOWN else 1)  # fmt: skip
        parts = (*parts, *[None] * (len(node.outputs) - len(parts)))  # it has more than there are
        for index, (name, part) in enumerate(zip(node.outputs, parts, strict=False)):
            if not name or (part is None and not self.wanted(index)):
                continue
            if part is None:
                part = self._refused(node, f"its output {name!r} is not supported")
            self.values[name] = part
            if self._is_whole(node, part):
                self.whole_names.add(name)
            if isinstance(part, Traced):
                self.names.setdefault(part.symbol.key, []).append(name)

    def _is_whole(self, node: OnnxNode, made: Any) -> bool:
        if made is _UNKNOWN:
            return False
        if isinstance(made, Constant) and made.array.dtype != object:
            return made.array.dtype.kind == "i"
        if isinstance(made, Traced) and made.dtype == "int64":
            return True
        if node.op == "Cast":
            return node.attributes.get("to") in _WHOLE_TYPES
        if node.op == "QuantizeLinear":
            return True
        if isinstance(made, Constant) and node.op not in _KEEPING_DTYPE:
            return True  # sizes that vary
        return node.op in _KEEPING_DTYPE and self._first_is_whole(node)

    def _first_is_whole(self, node: OnnxNode) -> bool:
        names = node.inputs[_TELLING.get(node.op, 0) :]
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

    @property
    def made(self) -> int:
        assert self.node is not None
        return len(self.node.outputs)

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
        """Return the dtype that the file, or the Cast that makes it, says an input has."""
        assert self.node is not None
        name = self.node.inputs[index]
        told = self.program.graph.dtypes.get(name)
        maker = self.makers.get(name)
        if told is None and maker is not None and maker.op == "Cast":
            return dtype_name(maker.attributes.get("to", 0), name)
        return told

    def read_branch(self, graph: OnnxGraph) -> tuple[Any, ...]:
        """Read a graph that an attribute holds, and return what it makes."""
        if len(self.scopes.maps) > _MOST_BRANCHES:
            raise RefusedError(f"more than {_MOST_BRANCHES} deep")
        self.scopes = self.values = self.scopes.new_child()
        try:
            self.values.update({n: numbers_of(array, n) for n, array in graph.constants.items()})
            self._read_all(graph)
            assert self.node is not None
            for outer, inner in zip(self.node.outputs, graph.outputs, strict=False):
                if inner.name in self.whole_names:
                    self.whole_names.add(outer)
            if any(each.name in self.orders for each in graph.outputs):
                raise RefusedError("of rows that are sorted")
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


def _check_kind(name: str, value: Any, default: Any) -> None:
    """Refuse an attribute that is of another kind than its default, if that is not None."""
    for kind, also in ((str, ()), (int, ()), (float, (int,))):
        if isinstance(default, kind) and not isinstance(value, (kind, *also)):
            raise RefusedError(f"with {name}={told(value)}; expected {kind.__name__}")


@functools.cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)
