"""Reading a program of operators into a model, whichever framework wrote it.

The batch of a program is not marked. It is found by trying: an axis is the batch if every operator
lets the rows along it alone and every output has it. So what is found is right whatever it is
called: what the program computes along an axis that is taken for the batch, it computes for each
of its rows. Of several axes that would do, the first is taken; where none does, as of a module
whose rows meet, one call of the program is one row here.
"""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import (
    Callable,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
)
from typing import Any, Protocol

from ...errors import SeqcoreError, UnsupportedLayerError
from ...layers import BatchFirst, BatchSecond, Cast, Input, Layer, Positions, Rearrange, Symbol
from ...layers.shapes import reshape
from ...model import Model
from .arguments import as_traced
from .folding import fold, made_of_sizes
from .operators import OPERATORS
from .sizes import AnySize, Size, symbol
from .tensors import Axis, Constant, RefusedError, Traced

__all__ = [
    "MALFORMED",
    "WHOLE",
    "Given",
    "Guess",
    "Reader",
    "as_size",
    "first_model",
    "has",
    "numbered",
]  # fmt: skip

_MOST_GUESSES = 64
_MOST_READ = 1 << 14  # nodes, over all guesses but the first

# What an operator makes of arguments that no framework would have let through.
MALFORMED = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RecursionError,
    StopIteration, TypeError, ValueError,
)  # fmt: skip

WHOLE = frozenset(["int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64"])
_OTHERS = frozenset(["float32", "float64", "float16", "bfloat16", "bool"])


class Given(Protocol):
    """A tensor that the caller gives."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str | None: ...
    @property
    def shape(self) -> tuple[int | str, ...]:
        """Sizes, and names of those that may vary: equal names are equal sizes."""


Guess = Mapping[str, int | None]  # which dim of every input is the batch


def first_model(
    inputs: Sequence[Given], used: Callable[[str], bool], nodes: int,
    attempt: Callable[[Guess], Reader], source: str, deepest: int = 2,
) -> Model:  # fmt: skip
    """Return the model of the first guess at the batch that can be read.

    Parameters
    ----------
    inputs : sequence of Given
        Tensors alone.
    used : function of a name
        Whether any operator reads that input.
    nodes : int
        How many operators there are to read.
    attempt : function
        Makes a `Reader` for a guess.
    source : str
        What the program comes from, for messages.
    deepest : int
        How many dims of an input may be the batch; from the third on, those that vary.

    Raises
    ------
    UnsupportedLayerError
        Listing every operator that is not supported, with where it is, of the guess at which the
        fewest were.
    """
    best: Reader | None = None
    most = max(1, min(_MOST_GUESSES, _MOST_READ // max(1, nodes)))
    likely = itertools.islice(_guesses(inputs, used, deepest), most)
    nowhere: Guess = {each.name: None for each in inputs}
    for guess in itertools.chain(likely, [nowhere]):
        reader = attempt(guess)
        model = reader.read()
        if model is not None:
            return model
        if best is None or len(reader.offenders) < len(best.offenders):
            best = reader
    assert best is not None  # there is a guess at least
    raise best.error(source)


# ---- Which axis is the batch ---------------------------------------------------------------------


def _guesses(
    tensors: Sequence[Given], used: Callable[[str], bool], deepest: int
) -> Iterator[Guess]:
    """Yield which dim of every tensor that is given is the batch, the likeliest first.

    Sizes of one name are the same: axes of all that have such a one come first. Of a tensor that
    nobody reads it is any.
    """
    seen = set()
    names = [each.name for each in tensors]
    for same, first in itertools.product((True, False), tensors[:1]):
        for place, wanted in _places(first, deepest):
            choices: list[list[int]] = []
            for each in tensors:
                dims = _batches(each, wanted, place, deepest, same=same)
                if each.shape and not used(each.name):
                    dims = dims[:1] or [min(place, len(each.shape) - 1)]
                choices.append([place] if each is first else dims)
            if same and not isinstance(wanted, str):
                continue
            for places in itertools.product(*choices):
                guess: dict[str, int | None] = dict(zip(names, places, strict=True))
                if tuple(guess.items()) not in seen and not _contradicts(tensors, places):
                    seen.add(tuple(guess.items()))
                    yield guess


def _contradicts(tensors: Sequence[Given], places: Sequence[int]) -> bool:
    """Tell whether batches of several sizes would tie one of them to what is another in the file.

    They may be one by different names, but not if a name is that of an axis that is no batch too.
    """
    batches = {each.shape[at] for each, at in zip(tensors, places, strict=True) if each.shape}
    others = {
        size for each, at in zip(tensors, places, strict=True)
        for k, size in enumerate(each.shape) if k != at and isinstance(size, str)
    }  # fmt: skip
    return len(batches) > 1 and not batches.isdisjoint(others)


def _places(given: Given, deepest: int) -> list[tuple[int, int | str]]:
    """Return the dims of an input that may be the batch, and their sizes."""
    dims = enumerate(given.shape[:deepest])
    return [(dim, size) for dim, size in dims if dim < 2 or isinstance(size, str)]


def _batches(given: Given, wanted: int | str, place: int, deepest: int, *, same: bool) -> list[int]:
    """Return which dims of an input may be the batch, whose size is `wanted` in another's `place`.

    Unless it must be the `same`, an input that never meets the other has sizes of its own.
    """
    sizes = dict(_places(given, deepest))
    equal = [dim for dim, size in sizes.items() if size == wanted]
    if equal or same:
        return equal
    varying = [dim for dim, size in sizes.items() if isinstance(size, str)]
    return sorted(varying, key=lambda dim: dim != place)


# ---- Reading -------------------------------------------------------------------------------------


# What folded constants may take beside those of the program: a file could double one forever.
_MOST_FOLDED = 1 << 28
_KEEPING_ROWS = frozenset(["to", "_to_copy", "clone", "detach", "alias", "contiguous"])


class Rows:
    """0, 1, 2 ... over the rows of the batch, which nothing can compute with."""


class Reader:
    """One way to read a program: with one guess at the batch. It is its operators' `Context`.

    Attributes
    ----------
    offenders : list of (str, str)
        Where something is that is not supported, and why.
    values : dict of str to object
        What every name of the program means: Traced, Constant or something of the framework's own.
    """

    whole_call = "forward"  # where what concerns no single operator is

    def __init__(self, inputs: Sequence[Given], guess: Guess) -> None:
        self.guess = guess
        self.offenders: list[tuple[str, str]] = []
        self.values: MutableMapping[str, Any] = {}
        self.inputs: list[Input] = []
        self.layers: dict[Hashable, Layer] = {}
        self.taken: set[str] = set()
        self.holders: dict[AnySize, Traced] = {}
        self.first: Symbol | None = None
        self.rows: object = Rows()
        self.folded = 0  # bytes of constants that were worked out
        sizes = (each.shape[place] for each in inputs if (place := guess[each.name]) is not None)
        self.batch = Axis(as_size(next(sizes, 1)), is_batch=True)

    # ---- What a framework's own reader is made of ----

    def read_inputs(self) -> None:
        """Name what the caller gives, and the constants."""
        raise NotImplementedError

    def read_nodes(self) -> None:
        """Read all operators, in order; those that are not supported become offenders."""
        raise NotImplementedError

    def outputs(self) -> Iterable[tuple[Any, str | None]]:
        """Return what is given back, and its dtype if the program tells it."""
        raise NotImplementedError

    def output_names(self) -> Sequence[str] | None:
        """Return what outputs are called, each once; None for the names of their layers."""
        return None

    def label(self) -> str:
        """Return what a layer of the operator at hand may be called; "" for a name of its own."""
        raise NotImplementedError

    def error(self, source: str) -> UnsupportedLayerError:
        """Return the error that tells all offenders."""
        return UnsupportedLayerError(list(dict.fromkeys(self.offenders)), source)

    # ---- The whole ----

    def read(self) -> Model | None:
        """Return the model; None if there are offenders."""
        try:
            self.read_inputs()
        except (RefusedError, SeqcoreError, *MALFORMED) as error:
            self.offenders.append((self.whole_call, f"what it takes: {error}"))
            return None
        self.read_nodes()
        if self.offenders:
            return None
        try:
            outputs = [self._output(value, dtype) for value, dtype in self.outputs()]
        except (RefusedError, SeqcoreError) as error:
            self.offenders.append((self.whole_call, f"what it returns: {error}"))
            return None
        try:
            names = self.output_names()
            ends = outputs if names is None else dict(zip(names, outputs, strict=True))
            return Model(self.inputs, ends)
        except SeqcoreError as error:
            self.offenders.append((self.whole_call, str(error)))
            return None

    def take(self, given: Given, name: str) -> tuple[Input, Traced]:
        """Make an input of the model, of that name, and return it with its tensor."""
        whole = given.dtype in WHOLE
        if not whole and given.dtype not in _OTHERS:
            raise RefusedError(f"input {given.name!r} is {given.dtype}")
        place = self.guess[given.name]
        axes = [Axis(as_size(size)) for k, size in enumerate(given.shape) if k != place]
        shape = [axis.size if isinstance(axis.size, int) else None for axis in axes]
        kind = "int64" if whole else "float32"
        source = Input(shape, kind, name, batch_axis=place or 0)
        self.inputs.append(source)
        self.taken.add(name)
        made: Symbol = BatchFirst(place)(source) if place else source
        if not axes:  # values here have two axes at least
            made, axes = Rearrange([reshape(1, [1])])(made), [Axis(1)]
            dims: list[tuple[Axis, ...]] = []
        else:
            dims = [(axis,) for axis in axes]
        if place is not None:
            dims.insert(place, (self.batch,))
        dtype = "bool" if given.dtype == "bool" else kind
        self.first = self.first or made
        return source, Traced(made, (self.batch, *axes), tuple(dims), dtype)

    def _output(self, tensor: Any, wanted: str | None) -> Symbol:
        in_rows = any(where is not None for where in self.guess.values())
        if isinstance(tensor, Constant):
            raise RefusedError("a constant")
        if not isinstance(tensor, Traced):
            raise RefusedError("a size")
        place = tensor.batch_dim
        if place is None and in_rows:
            raise RefusedError("a tensor without the batch")
        made = tensor.arranged(tensor.without_batch())
        if wanted in WHOLE and tensor.dtype != "int64":
            made = Cast("int64")(made)
        return BatchSecond(place)(made) if place else made

    def hold(self, tensor: Traced) -> None:
        """Remember which tensor tells a size that varies."""
        for axis in tensor.axes[1:]:
            if isinstance(axis.size, Size):
                self.holders.setdefault(axis.size, tensor)

    # ---- Operators ----

    def called(self, target: str, given: dict[str, Any]) -> Any:
        """Return what an operator, "aten.add", makes of its arguments by name.

        Of constants alone it is worked out here, if folding.py knows how.

        Raises
        ------
        RefusedError
        """
        name = target.split(".")[1]
        if not has(given, Traced) or name.endswith("_like") or name.startswith("new_"):
            made = made_of_sizes(name, given)
            if made is not None:
                return made
        if name == "arange" and has(given, Size):
            return self._range(given)
        if name != "index" and has(given, Rows):
            if name in _KEEPING_ROWS:
                return self.rows
            raise RefusedError("computes with the numbers of the batch's rows")
        if not has(given, Traced):
            if self.folded > _MOST_FOLDED:
                raise RefusedError("of constants: all that are worked out are too large")
            made = fold(name, given)
            if made is not NotImplemented:
                return self._counted(made)
        function = OPERATORS.get(f"{target.split('.')[0]}.{name}")
        if function is None:
            raise RefusedError("is not supported")
        given = self._computable(given)
        try:
            _signature(function).bind(self, **given)
        except TypeError as error:
            raise RefusedError(f"has arguments that are not supported ({error})") from None
        return function(self, **given)

    def _computable(self, given: dict[str, Any]) -> dict[str, Any]:
        """Let what is not worked out here, of constants alone, be computed when the model runs."""
        if has(given, Traced):
            return given
        name, first = next(iter(given.items()), ("", None))
        return given | {name: as_traced(self, first)} if isinstance(first, Constant) else given

    def _counted(self, made: Any) -> Any:
        """Return constants that were worked out, and count their bytes."""
        for each in made if isinstance(made, tuple) else [made]:
            if isinstance(each, Constant) and each.array.base is None:
                self.folded += each.array.nbytes
        return made

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

    # ---- What operators ask ----

    @property
    def like(self) -> Symbol:
        if self.first is None:
            raise RefusedError("without an input")
        return self.first

    def once(self, key: Hashable, make: Callable[[str | None], Layer], name: str = "") -> Layer:
        if key not in self.layers:
            self.layers[key] = make(self._free(name or self.label()))
        return self.layers[key]

    def _free(self, wanted: str) -> str | None:
        """Return a name that no layer has, like the one that is wanted."""
        wanted = wanted.replace(":", "_")[:180]
        if not wanted or not wanted.isprintable():
            return None
        name = next(n for n in numbered(wanted) if n not in self.taken)
        self.taken.add(name)
        return name

    def holder(self, size: AnySize) -> Traced | None:
        return self.holders.get(size)

    def positions(self, size: AnySize) -> Traced:
        held = self.holder(size)
        if held is None:
            raise RefusedError(f"of a size, {size}, that no tensor has")
        return self.positions_of(held, held.axis_of(size))

    def positions_of(self, tensor: Traced, axis: Axis) -> Traced:
        rest = [(each,) for each in tensor.axes[1:] if each is not axis and each.size != 1]
        made = Axis(axis.size, holder=tensor)
        symbol = Positions()(tensor.arranged([(axis,), *rest]))
        return Traced(symbol, (self.batch, made), ((made,),))

    def longest_is(self, size: AnySize) -> None:
        raise RefusedError(f"cuts a sequence of {size} to its longest row")

    def whole(self) -> bool:
        raise NotImplementedError

    def wanted(self, index: int) -> bool:
        raise NotImplementedError


def numbered(name: str) -> Iterator[str]:
    """Yield a name, then the name with numbers."""
    yield name
    for number in itertools.count(1):
        yield f"{name}_{number}"


def has(given: Any, kind: type | tuple[type, ...]) -> bool:
    """Tell whether there is a value of a kind among arguments."""
    if isinstance(given, dict):
        return any(has(value, kind) for value in given.values())
    if isinstance(given, (list, tuple)):
        return any(has(value, kind) for value in given)
    return isinstance(given, kind)


@functools.cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def as_size(size: int | str) -> AnySize:
    """Return a size as it is written in a shape: a number, or the name of one that varies."""
    return symbol(size) if isinstance(size, str) else size
