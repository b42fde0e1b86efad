"""A program of torch.export -> Model.

The batch of a program is not marked. It is found by trying: an axis is the batch if every operator
lets the rows along it alone and every output has it. So what is found is right whatever it is
called: what the program computes along an axis that is taken for the batch, it computes for each
of its rows. Of several axes that would do, the first is taken; where none does, as of a module
whose rows meet, the whole call of torch is one row here.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import math
import operator as python
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...errors import ModelFileError, SeqcoreError, UnsupportedLayerError
from ...formats.torch_programs import Node, Program, ProgramInput, Ref
from ...graph import SizeRule
from ...layers import BatchFirst, BatchSecond, Cast, Input, Layer, Positions, Rearrange, Symbol
from ...layers.shapes import reshape
from ...model import Model
from .folding import fold, made_of_sizes
from .guards import size_rules
from .index import Index
from .operators import OPERATORS
from .operators.table import as_traced
from .sizes import AnySize, Size, quotient, symbol
from .tensors import Axis, Constant, RefusedError, Traced
from .unpadded import frames_meet, lengths_input

__all__ = ["MALFORMED", "model_of"]

_MOST_GUESSES = 64
_MOST_READ = 1 << 14  # nodes, over all guesses but the first
# What folded constants may take beside those of the program: a file could double one forever.
_MOST_FOLDED = 1 << 28

# What an operator makes of arguments that torch would not have let through.
MALFORMED = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RecursionError,
    StopIteration, TypeError, ValueError,
)  # fmt: skip


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
    most = max(1, min(_MOST_GUESSES, _MOST_READ // max(1, len(program.nodes))))
    index = Index(program)
    likely = itertools.islice(_guesses(program.inputs, index), most)
    nowhere: dict[str, int | None] = {
        each.name: None for each in program.inputs if each.dtype is not None
    }
    for guess in itertools.chain(likely, [nowhere]):
        reader = _Reader(program, guess, index)
        model = reader.read()
        if model is not None:
            return model
        if best is None or len(reader.offenders) < len(best):
            best = reader.offenders
    assert best is not None  # there is a guess at least
    raise UnsupportedLayerError(dict.fromkeys(best), source)


# ---- Which axis is the batch ---------------------------------------------------------------------


def _guesses(inputs: tuple[ProgramInput, ...], index: Index) -> Iterator[dict[str, int | None]]:
    """Yield which dim of every tensor that is given is the batch, the likeliest first.

    Of a tensor that nobody reads it is any.
    """
    tensors = [each for each in inputs if each.dtype is not None]
    seen = set()
    for first in tensors[:1]:
        for place in range(min(2, len(first.shape))):
            wanted = first.shape[place]
            choices: list[list[int]] = []
            for each in tensors:
                dims = _batches(each, wanted, place)
                if each.shape and each.name not in index.last:
                    dims = [min(place, len(each.shape) - 1)]
                choices.append([place] if each is first else dims)
            for places in itertools.product(*choices):
                names = (each.name for each in tensors)
                guess: dict[str, int | None] = dict(zip(names, places, strict=True))
                if tuple(guess.items()) not in seen:
                    seen.add(tuple(guess.items()))
                    yield guess


def _batches(given: ProgramInput, wanted: int | str, place: int) -> list[int]:
    """Return which dims of an input may be the batch, whose size is `wanted` in another's `place`.

    An input that never meets the other, or is not used, has sizes of its own.
    """
    sizes = dict(enumerate(given.shape[:2]))
    same = [dim for dim, size in sizes.items() if size == wanted]
    if same:
        return same
    varying = [dim for dim, size in sizes.items() if isinstance(size, str)]
    return sorted(varying, key=lambda dim: dim != place)


# ---- Reading -------------------------------------------------------------------------------------


class _Unknown:
    """What a node that was refused would have made."""


class _Rows:
    """0, 1, 2 ... over the rows of the batch, which nothing can compute with."""


_KEEPING_ROWS = frozenset(["to", "_to_copy", "clone", "detach", "alias", "contiguous"])


_UNKNOWN = _Unknown()

# Of sizes.
_ON_SIZES: Mapping[str, Callable[..., Any]] = {
    "mul": lambda a, b: a * b, "add": lambda a, b: a + b, "sub": lambda a, b: a - b,
    "floordiv": quotient, "neg": lambda a: -a, "pos": lambda a: a, "index": lambda a: a,
    "truediv": lambda a, b: _exactly(a, b), "trunc": math.trunc, "floor": math.floor,
    "ceil": math.ceil, "sqrt": math.sqrt, "sym_sqrt": math.sqrt, "pow": lambda a, b: a**b,
    "sym_max": max, "sym_min": min, "sym_float": float, "sym_int": int, "mod": python.mod,
    "to_node": lambda a: a,
}  # fmt: skip
# What torch asserts when it runs, and comparisons of sizes, which lead to nothing else.
_ASSERTS = frozenset([
    "_assert_scalar", "_assert_tensor_metadata", "_assert_async", "sym_constrain_range",
    "sym_constrain_range_for_size", "_check",
])  # fmt: skip
_OF_SIZES = frozenset(["ge", "le", "gt", "lt", "eq", "ne", "and_", "or_", "sym_not", "not_"])


def _exactly(a: Any, b: Any) -> Any:
    if isinstance(a, Size) or isinstance(b, Size):
        raise RefusedError("a quotient of sizes that vary")
    return a / b


@dataclass
class _Reader:
    """One way to read a program: with one guess at the batch."""

    program: Program
    guess: Mapping[str, int | None]
    index: Index
    offenders: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.inputs: list[Input] = []
        self.layers: dict[Hashable, Layer] = {}
        self.taken: set[str] = set()
        self.holders: dict[AnySize, Traced] = {}
        self.node: Node | None = None
        self.at = 0  # its number
        self.rows: object = _Rows()
        self.first: Symbol | None = None
        self.names: dict[int, list[str]] = {}  # of all views of a tensor, by its root
        self.folded = 0
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
        except (RefusedError, SeqcoreError, *MALFORMED) as error:
            self.offenders.append(("forward", f"what it takes: {error}"))
            return None
        for number, node in enumerate(self.program.nodes):
            self.at = number
            self._read_node(node)
        if self.offenders:
            return None
        try:
            outputs = [self._output(each) for each in self.program.outputs if each is not None]
        except RefusedError as error:
            self.offenders.append(("forward", f"what it returns: {error}"))
            return None
        try:
            return Model(self.inputs, outputs)
        except SeqcoreError as error:
            self.offenders.append(("forward", str(error)))
            return None

    # ---- Inputs and outputs ----

    def _read_inputs(self) -> None:
        self.rules = size_rules(self.program)
        self.sizes: dict[Input, dict[int, AnySize]] = {}
        for name, array in self.program.constants.items():
            self._name(name, Constant.of(array, self.program.paths.get(name)))
        for each in self.program.inputs:
            self._name(each.name, each.value if each.dtype is None else self._input(each))

    def _input(self, given: ProgramInput) -> Traced:
        whole = given.dtype in ("int64", "int32", "int16", "int8", "uint8")
        if not whole and given.dtype not in ("float32", "float64", "float16", "bfloat16", "bool"):
            raise RefusedError(f"input {given.name!r} is {given.dtype}")
        place = self.guess[given.name]
        axes = [Axis(_size(size)) for k, size in enumerate(given.shape) if k != place]
        shape = [axis.size if isinstance(axis.size, int) else None for axis in axes]
        kind = "int64" if whole else "float32"
        source = Input(shape, kind, given.name, batch_axis=1 if place == 1 else 0)
        before = 1 if place is None else 0  # a batch that torch does not have
        source.rules = tuple(
            (before + axis, self.rules[size])
            for axis, size in enumerate(given.shape)
            if isinstance(size, str) and size in self.rules
        )
        self.sizes[source] = {before + k: _size(size) for k, size in enumerate(given.shape)}
        self.inputs.append(source)
        self.taken.add(given.name)
        symbol: Symbol = BatchFirst()(source) if place == 1 else source
        if not axes:  # values here have two axes at least
            symbol, axes = Rearrange([reshape(1, [1])])(symbol), [Axis(1)]
            dims: list[tuple[Axis, ...]] = []
        else:
            dims = [(axis,) for axis in axes]
        if place is not None:
            dims.insert(place, (self.batch,))
        dtype = "bool" if given.dtype == "bool" else kind
        self.first = self.first or symbol
        return Traced(symbol, (self.batch, *axes), tuple(dims), dtype)

    def _output(self, ref: Any) -> Symbol:
        tensor = self._value(ref)
        if isinstance(tensor, Constant):
            raise RefusedError("a constant")
        if not isinstance(tensor, Traced):
            raise RefusedError("a size")
        place = tensor.batch_dim
        if place is None and any(where is not None for where in self.guess.values()):
            raise RefusedError("a tensor without the batch")
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
            if self.at in self.index.endless:
                raise RefusedError("of arguments without end")
            given = {key: self._value(value) for key, value in node.arguments.items()}
            if _has(given, _Unknown):
                made: Any = _UNKNOWN
            elif name in _ASSERTS or (name in _OF_SIZES and not _has(given, (Traced, Constant))):
                made = None
            else:
                made = self._made(node, name, given)
            self._bind(node, made)
        except (RefusedError, SeqcoreError) as error:
            if isinstance(error, ModelFileError):
                raise
            self._refuse(node, str(error))
        except MALFORMED as error:
            found = f"{type(error).__name__}: {str(error)[:200]}"
            self._refuse(node, f"of arguments that it cannot have ({found})")

    def _refuse(self, node: Node, why: str) -> None:
        self.offenders.append((_where(node), f"{_told(node.target)} {why}"))
        self._bind(node, _UNKNOWN)

    def _value(self, value: Any) -> Any:
        if isinstance(value, Ref):
            if value.name not in self.values:
                raise RefusedError(f"of {value.name!r}, which nothing before it makes")
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
        if name == "arange" and _has(given, Size):
            return self._range(given)
        if name != "index" and _has(given, _Rows):
            if name in _KEEPING_ROWS:
                return self.rows
            raise RefusedError("computes with the numbers of the batch's rows")
        if not _has(given, Traced):
            if self.folded > _MOST_FOLDED:
                raise RefusedError("of constants: all that are worked out are too large")
            made = fold(name, given)
            if made is not NotImplemented:
                return self._counted(made)
        function = OPERATORS.get(f"{namespace}.{name}")
        if function is None:
            raise RefusedError("is not supported")
        given = self._computable(given)
        try:
            _signature(function).bind(self, **given)
        except TypeError as error:
            raise RefusedError(f"has arguments that are not supported ({error})") from None
        made = function(self, **given)
        if name.endswith("_") and not name.endswith("__"):
            self._changed(node, self._value(next(iter(node.arguments.values()))), made)
        return made

    def _computable(self, given: dict[str, Any]) -> dict[str, Any]:
        """Let what is not worked out here, of constants alone, be computed when the model runs."""
        if _has(given, Traced):
            return given
        name, first = next(iter(given.items()), ("", None))
        return given | {name: as_traced(self, first)} if isinstance(first, Constant) else given

    def _counted(self, made: Any) -> Any:
        """Return constants that were worked out, and count their bytes."""
        for each in made if isinstance(made, tuple) else [made]:
            if isinstance(each, Constant) and each.array.base is None:
                self.folded += each.array.nbytes
        return made

    def _changed(self, node: Node, first: Any, made: Any) -> None:
        """Let every name of a tensor that was changed in place mean what it is now."""
        own = next(iter(node.arguments.values()))
        if isinstance(first, Constant) and self._may_be_seen(own.name):
            raise RefusedError("changes a constant that may be seen through a view")
        if isinstance(first, Traced) and first.sizes != made.sizes:
            raise RefusedError("changes the shape of what it changes")
        for name in self.names.pop(_root(first), ()):
            value = self.values[name]
            if _root(value) != _root(first) or self.index.last.get(name, -1) <= self.at:
                continue
            if value is not first:
                raise RefusedError("changes a tensor that is also seen through a view")
            self._name(name, made)

    def _may_be_seen(self, name: str) -> bool:
        """Tell whether a constant was made as a view, or has been read by an earlier node."""
        maker = self.index.makers.get(name)
        if maker is None or self.index.first[name] < self.at:
            return True
        made_by = maker.target.split(".")[1] if "." in maker.target else maker.target
        is_new = made_by.endswith("_like") or made_by.startswith("new_") or made_by == "clone"
        return not is_new and "self" in maker.arguments

    def _range(self, given: Mapping[str, Any]) -> Any:
        start, end, step = given.get("start", 0), given["end"], given.get("step", 1)
        if not isinstance(step, int) or abs(step) != 1:
            raise RefusedError("by another step")
        count = (end - start) * step
        if count == self.batch.size:
            if start == 0 and step == 1:
                return self.rows
            raise RefusedError("computes with the numbers of the batch's rows")
        if not isinstance(count, Size):
            raise RefusedError("of sizes that vary")
        places = self.positions(count)
        if step == -1:
            places = OPERATORS["aten.mul"](self, places, -1)
        return places if start == 0 else OPERATORS["aten.add"](self, places, start)

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
        if isinstance(made, Traced):
            made = self._typed(name, made)
        self.values[name] = made
        if isinstance(made, (Traced, Constant)):
            self.names.setdefault(_root(made), []).append(name)
        if isinstance(made, Traced):
            self._hold(made)

    def _typed(self, name: str, made: Traced) -> Traced:
        """Return a tensor as of torch's dtype, where that says more than what made it."""
        wanted = self.program.dtypes.get(name)
        if wanted is None or made.dtype == "int64":
            return made
        kind = "bool" if wanted == "bool" else "float32"
        return made if made.dtype == kind else replace(made, dtype=kind)

    def _hold(self, tensor: Traced) -> None:
        for axis in tensor.axes[1:]:
            if isinstance(axis.size, Size):
                self.holders.setdefault(axis.size, tensor)

    # ---- What operators ask ----

    @property
    def like(self) -> Symbol:
        if self.first is None:
            raise RefusedError("without an input")
        return self.first

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

    def longest_is(self, size: AnySize) -> None:
        assert self.node is not None
        if not frames_meet(self.program, self.index, self.at):
            return
        name = lengths_input(self.program, self.index, self.node.arguments["lengths"])
        for source, sizes in self.sizes.items():
            for axis, own in sizes.items():
                if own == size:
                    source.rules += ((axis, SizeRule(longest=name)),)
                    return
        raise RefusedError("of another time than any input has; give total_length")

    def wanted(self, index: int) -> bool:
        assert self.node is not None
        names = self.node.outputs
        return index < len(names) and names[index] in self.index.last

    def whole(self) -> bool:
        assert self.node is not None
        (first, *_) = self.node.outputs
        kind = self.program.dtypes.get(first) if isinstance(first, str) else None
        return kind is not None and kind.startswith(("int", "uint"))

    def holder(self, size: AnySize) -> Traced | None:
        return self.holders.get(size)

    def positions(self, size: AnySize) -> Traced:
        held = self.holder(size)
        if held is None:
            raise RefusedError(f"of a size, {size}, that no tensor has")
        return self.positions_of(held, held.axis_of(size))

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


def _has(given: Any, kind: type | tuple[type, ...]) -> bool:
    """Tell whether there is a value of a kind among arguments."""
    if isinstance(given, dict):
        return any(_has(value, kind) for value in given.values())
    if isinstance(given, (list, tuple)):
        return any(_has(value, kind) for value in given)
    return isinstance(given, kind)


def _root(value: Any) -> int:
    """Return what is the same for all views of a tensor."""
    return id(value.root if isinstance(value, Traced) else value)


@functools.cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def _where(node: Node) -> str:
    place = node.module or "forward"
    return f"{place} ({node.source})" if node.source else place


def _told(target: str) -> str:
    namespace, _, rest = target.partition(".")
    return rest.rpartition(".")[0] or rest if namespace == "aten" else target
