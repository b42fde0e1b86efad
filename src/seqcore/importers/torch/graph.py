"""A program of torch.export -> Model.

The batch of a program is not marked. It is found by trying: an axis is the batch if every operator
lets the rows along it alone. So what is found is right whatever it is called; of several axes that
would do, the first is taken.
"""

from __future__ import annotations

import inspect
import itertools
import math
import operator as python
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import ModelFileError, SeqcoreError, UnsupportedLayerError
from ...formats.torch_programs import Dtype, Node, Program, ProgramInput, Ref
from ...layers import BatchFirst, BatchSecond, Cast, Input, Layer, Positions, RowLengths, Symbol
from ...model import Model
from .folding import fold, made_of_sizes
from .operators import OPERATORS
from .sizes import AnySize, Size, product, quotient, symbol
from .tensors import Axis, Constant, RefusedError, Traced

__all__ = ["model_of"]

_MOST_GUESSES = 64


def model_of(program: Program, source: str) -> Model:
    """Make a model of a program.

    Parameters
    ----------
    program : Program
    source : str
        What it comes from, for messages.

    Raises
    ------
    UnsupportedLayerError
        Listing every operator that is not supported, with where it is.
    """
    best: list[tuple[str, str]] | None = None
    for guess in itertools.islice(_guesses(program.inputs), _MOST_GUESSES):
        reader = _Reader(program, guess)
        model = reader.read()
        if model is not None:
            return model
        if best is None or len(reader.offenders) < len(best):
            best = reader.offenders
    assert best is not None  # there is a guess at least
    raise UnsupportedLayerError(best, source)


# ---- Which axis is the batch ---------------------------------------------------------------------


def _guesses(inputs: tuple[ProgramInput, ...]) -> Iterator[dict[str, int | None]]:
    """Yield which dim of every tensor that is given is the batch, the likeliest first."""
    tensors = [each for each in inputs if each.dtype is not None]
    seen = set()
    for first in tensors[:1]:
        for place in range(min(2, len(first.shape))):
            wanted = first.shape[place]
            choices = []
            for each in tensors:
                dims = [dim for dim, size in enumerate(each.shape[:2]) if size == wanted]
                choices.append([place] if each is first else dims)
            for dims in itertools.product(*choices):
                guess = dict(zip((each.name for each in tensors), dims, strict=True))
                if tuple(guess.items()) not in seen:
                    seen.add(tuple(guess.items()))
                    yield guess
    yield {each.name: None for each in tensors}


# ---- Reading -------------------------------------------------------------------------------------


class _Unknown:
    """What a node that was refused would have made."""


_UNKNOWN = _Unknown()

# Of sizes. Comparisons of sizes are what torch asserts when it runs.
_ON_SIZES: Mapping[str, Callable[..., Any]] = {
    "mul": lambda a, b: a * b, "add": lambda a, b: a + b, "sub": lambda a, b: a - b,
    "floordiv": quotient, "neg": lambda a: -a, "pos": lambda a: a, "index": lambda a: a,
    "truediv": lambda a, b: _exactly(a, b), "trunc": math.trunc, "floor": math.floor,
    "ceil": math.ceil, "sqrt": math.sqrt, "sym_sqrt": math.sqrt, "pow": lambda a, b: a**b,
    "sym_max": max, "sym_min": min, "sym_float": float, "sym_int": int, "mod": python.mod,
    "to_node": lambda a: a,
}  # fmt: skip
_ASSERTS = frozenset([
    "_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range", "_assert_async",
    "sym_constrain_range_for_size", "ge", "le", "gt", "lt", "eq", "ne", "and_", "or_", "sym_not",
    "not_", "_check",
])  # fmt: skip


def _exactly(a: Any, b: Any) -> Any:
    if isinstance(a, Size) or isinstance(b, Size):
        raise RefusedError("a quotient of sizes that vary")
    return a / b


@dataclass
class _Reader:
    """One way to read a program: with one guess at the batch."""

    program: Program
    guess: Mapping[str, int | None]
    offenders: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.inputs: list[Input] = []
        self.layers: dict[Hashable, Layer] = {}
        self.taken: set[str] = set()
        self.holders: dict[AnySize, Traced] = {}
        self.node: Node | None = None
        self.used = _used(self.program)
        self.batch = Axis(self._batch_size(), is_batch=True)

    def _batch_size(self) -> AnySize:
        for each in self.program.inputs:
            place = self.guess.get(each.name)
            if place is not None:
                return _size(each.shape[place])
        return 1

    def read(self) -> Model | None:
        """Return the model; None if there are offenders."""
        try:
            self._read_inputs()
        except RefusedError as error:
            self.offenders.append(("forward", str(error)))
            return None
        for node in self.program.nodes:
            self._read_node(node)
        if self.offenders:
            return None
        try:
            outputs = [self._output(each) for each in self.program.outputs if each is not None]
        except RefusedError as error:
            self.offenders.append(("forward", f"what it returns: {error}"))
            return None
        return Model(self.inputs, outputs)

    # ---- Inputs and outputs ----

    def _read_inputs(self) -> None:
        for name, array in self.program.constants.items():
            self.values[name] = Constant.of(array, self.program.paths.get(name))
        lengths = [each for each in self.program.inputs if self._is_lengths(each)]
        for each in self.program.inputs:
            if each.dtype is None:
                self.values[each.name] = each.value
            elif each not in lengths:
                self.values[each.name] = self._input(each)
        for each in lengths:
            self.values[each.name] = self._lengths(each)

    def _is_lengths(self, given: ProgramInput) -> bool:
        """Tell whether an input is the lengths of another one: whole numbers (B,), so used."""
        return (
            given.dtype in ("int64", "int32")
            and len(given.shape) == 1
            and self.guess[given.name] == 0
            and _leads_to(self.program, given.name, "seqcore.ragged")
        )

    def _input(self, given: ProgramInput) -> Traced:
        whole = given.dtype in ("int64", "int32", "int16", "int8", "uint8")
        if not whole and given.dtype not in ("float32", "float64", "float16", "bfloat16", "bool"):
            raise RefusedError(f"input {given.name!r} is {given.dtype}")
        place = self.guess[given.name]
        axes = [Axis(_size(size)) for k, size in enumerate(given.shape) if k != place]
        shape = [axis.size if isinstance(axis.size, int) else None for axis in axes]
        kind = "int64" if whole else "float32"
        if not shape:
            raise RefusedError(f"input {given.name!r} has no axis but the batch")
        source = Input(shape, kind, given.name, batch_axis=1 if place == 1 else 0)
        self.inputs.append(source)
        symbol: Symbol = BatchFirst()(source) if place == 1 else source
        dims = [(axis,) for axis in axes]
        if place is not None:
            dims.insert(place, (self.batch,))
        dtype = "bool" if given.dtype == "bool" else kind
        made = Traced(symbol, (self.batch, *axes), tuple(dims), dtype)
        self._hold(made)
        return made

    def _lengths(self, given: ProgramInput) -> Traced:
        """Make lengths a property of the first sequence: `lengths=` at a call, no input."""
        for name, tensor in self.values.items():
            ranked = isinstance(tensor, Traced) and name in self.guess
            if ranked and len(tensor.axes) >= (2 if tensor.dtype == "int64" else 3):
                bare, lengths = RowLengths()(tensor.symbol)
                made = Traced(bare, tensor.axes, tensor.dims, tensor.dtype)
                self.values[name] = made
                self.holders = {size: made if held is tensor else held
                                for size, held in self.holders.items()}  # fmt: skip
                return Traced(lengths, (self.batch, Axis(1)), ((self.batch,),))
        raise RefusedError(f"input {given.name!r} has lengths of no sequence")

    def _output(self, ref: Any) -> Symbol:
        tensor = self.values[ref.name] if isinstance(ref, Ref) else ref
        if isinstance(tensor, Constant):
            raise RefusedError("a constant")
        if not isinstance(tensor, Traced):
            raise RefusedError("a size")
        place = tensor.batch_dim
        if place is not None and place > 1:
            raise RefusedError(f"the batch is dim {place}")
        dims = tensor.without_batch()
        made = tensor.arranged(dims)
        wanted = self.program.dtypes.get(ref.name)
        if wanted == "int64" and tensor.dtype != "int64":
            made = Cast("int64")(made)
        return BatchSecond()(made) if place == 1 else made

    # ---- Nodes ----

    def _read_node(self, node: Node) -> None:
        self.node = node
        name = node.target.split(".")[1] if "." in node.target else node.target
        try:
            given = {key: self._value(value) for key, value in node.arguments.items()}
            if _has(given, _Unknown):
                made: Any = _UNKNOWN
            elif name in _ASSERTS and not _has(given, Traced):
                made = None
            else:
                made = self._made(node, name, given)
        except (RefusedError, SeqcoreError) as error:
            if isinstance(error, ModelFileError):
                raise
            self.offenders.append((_where(node), f"{_told(node.target)} {error}"))
            made = _UNKNOWN
        self._bind(node, made)

    def _value(self, value: Any) -> Any:
        if isinstance(value, Ref):
            return self.values[value.name]
        if isinstance(value, list):
            return [self._value(each) for each in value]
        return value

    def _made(self, node: Node, name: str, given: dict[str, Any]) -> Any:
        namespace = node.target.split(".")[0]
        if namespace in ("_operator", "math", "torch") or name.startswith("sym_"):
            if name == "sym_size":
                return OPERATORS["aten.sym_size"](self, **given)
            if name in ("getitem",):
                return given["0"][given["1"]]
            if name in _ON_SIZES:
                return _ON_SIZES[name](*given.values())
        if not _has(given, Traced) or name.endswith("_like") or name.startswith("new_"):
            made = made_of_sizes(name, given)
            if made is not None:
                return made
        if name == "arange" and isinstance(given.get("end"), Size):
            return self._range(given)
        if not _has(given, Traced):
            made = fold(name, given)
            if made is not NotImplemented:
                return made
        function = OPERATORS.get(f"{namespace}.{name}")
        if function is None:
            raise RefusedError("is not supported")
        try:
            inspect.signature(function).bind(self, **given)
        except TypeError as error:
            raise RefusedError(f"has arguments that are not supported ({error})") from None
        made = function(self, **given)
        if name.endswith("_") and not name.endswith("__"):
            self._changed(node, given, made)
        return made

    def _changed(self, node: Node, given: Mapping[str, Any], made: Any) -> None:
        """Let every name of a tensor that was changed in place mean what it is now."""
        (first, *_) = given.values()
        for name, value in self.values.items():
            if value is first:
                self.values[name] = made
            elif isinstance(value, Traced) and value.root is getattr(first, "root", None):
                if _read_later(self.program, node, name):
                    raise RefusedError("changes a tensor that is also seen through a view")

    def _range(self, given: Mapping[str, Any]) -> Any:
        if given.get("start", 0) != 0 or given.get("step", 1) != 1:
            raise RefusedError("from another start or by another step")
        return self.positions(given["end"])

    def _bind(self, node: Node, made: Any) -> None:
        names = node.outputs
        parts = [made] if len(names) == 1 or not isinstance(made, (tuple, list)) else list(made)
        if len(names) == 1 and isinstance(names[0], tuple):
            parts = [made]
        if made is _UNKNOWN or made is None:
            parts = [made] * len(names)
        for name, part in zip(names, parts, strict=False):
            if isinstance(name, tuple):
                for each, one in zip(name, part if part is not _UNKNOWN else itertools.repeat(part),
                                     strict=False):  # fmt: skip
                    self._name(each, one)
            elif name is not None:
                self._name(name, part)

    def _name(self, name: str, made: Any) -> None:
        self.values[name] = made
        if isinstance(made, Traced):
            self._hold(made)

    def _hold(self, tensor: Traced) -> None:
        for axis in tensor.axes[1:]:
            if isinstance(axis.size, Size):
                self.holders.setdefault(axis.size, tensor)

    # ---- What operators ask ----

    @property
    def like(self) -> Symbol:
        for value in self.values.values():
            if isinstance(value, Traced):
                return value.symbol
        raise RefusedError("without an input")

    def once(self, key: Hashable, make: Callable[[str | None], Layer], name: str = "") -> Layer:
        if key not in self.layers:
            assert self.node is not None
            self.layers[key] = make(self._free(name or self.node.module))
        return self.layers[key]

    def _free(self, wanted: str) -> str | None:
        """Return a name that no layer has, like the one that is wanted."""
        wanted = wanted.replace(":", "_")[:180]
        if not wanted or not wanted.isprintable():
            return None
        name = next(n for n in _numbered(wanted) if n not in self.taken)
        self.taken.add(name)
        return name

    def wanted(self, index: int) -> bool:
        assert self.node is not None
        names = self.node.outputs
        return index < len(names) and names[index] in self.used

    def holder(self, size: AnySize) -> Traced | None:
        return self.holders.get(size)

    def positions(self, size: AnySize) -> Traced:
        held = self.holder(size)
        if held is None:
            raise RefusedError(f"of a size, {size}, that no tensor has")
        axis = next(each for each in held.axes[1:] if each.size == size)
        return self.positions_of(held, axis)

    def positions_of(self, tensor: Traced, axis: Axis) -> Traced:
        rest = [(each,) for each in tensor.axes[1:] if each is not axis and each.size != 1]
        symbol = Positions()(tensor.arranged([(axis,), *rest]))
        made = Axis(axis.size, holder=tensor)
        return Traced(symbol, (self.batch, made), ((made,),))


def _numbered(name: str) -> Iterator[str]:
    yield name
    for number in itertools.count(1):
        yield f"{name}_{number}"


def _size(size: int | str) -> AnySize:
    return symbol(size) if isinstance(size, str) else size


def _has(given: Any, kind: type) -> bool:
    """Tell whether there is a value of a kind among arguments."""
    if isinstance(given, dict):
        return any(_has(value, kind) for value in given.values())
    if isinstance(given, (list, tuple)):
        return any(_has(value, kind) for value in given)
    return isinstance(given, kind)


def _refs(value: Any) -> Iterator[str]:
    if isinstance(value, Ref):
        yield value.name
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _refs(each)


def _used(program: Program) -> set[str]:
    """Return the names that a node reads, or that are returned."""
    names = set(_refs(list(program.outputs)))
    for node in program.nodes:
        names.update(_refs(list(node.arguments.values())))
    return names


def _leads_to(program: Program, name: str, target: str) -> bool:
    """Tell whether an input gets to an operator by nothing but conversions and arithmetic."""
    reached = {name}
    for node in program.nodes:
        if any(ref in reached for ref in _refs(list(node.arguments.values()))):
            if node.target.startswith(target):
                return True
            reached.update(each for each in node.outputs if isinstance(each, str))
    return False


def _read_later(program: Program, node: Node, name: str) -> bool:
    after = program.nodes[program.nodes.index(node) + 1 :]
    later = [ref for each in after for ref in _refs(list(each.arguments.values()))]
    return name in later or name in set(_refs(list(program.outputs)))


def _where(node: Node) -> str:
    place = node.module or "forward"
    return f"{place} ({node.source})" if node.source else place


def _told(target: str) -> str:
    namespace, _, rest = target.partition(".")
    return rest.rpartition(".")[0] or rest if namespace == "aten" else target


__all__ += ["Dtype", "np", "product"]
