"""A program of torch.export -> Model: its nodes, one after the other."""

from __future__ import annotations

import itertools
import math
import operator as python
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ...errors import ModelFileError, SeqcoreError
from ...formats.torch_programs import Node, Program, ProgramInput, Ref
from ...graph import SizeRule
from ...layers import Input
from ...model import Model
from ..aten.operators import OPERATORS
from ..aten.reader import MALFORMED, Guess, Reader, as_size, first_model, has
from ..aten.sizes import AnySize, Size, quotient
from ..aten.tensors import Constant, RefusedError, Traced
from .guards import size_rules
from .index import Index
from .unpadded import frames_meet, lengths_input

__all__ = ["model_of"]


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
    index = Index(program)
    return first_model(
        [each for each in program.inputs if each.dtype is not None], index.last.__contains__,
        len(program.nodes), lambda guess: _Reader(program, guess, index), source,
    )  # fmt: skip


# ---- Reading -------------------------------------------------------------------------------------


class _Unknown:
    """What a node that was refused would have made."""


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


class _Reader(Reader):
    def __init__(self, program: Program, guess: Guess, index: Index) -> None:
        super().__init__([each for each in program.inputs if each.dtype is not None], guess)
        self.program, self.index = program, index
        self.node: Node | None = None
        self.at = 0  # its number
        self.names: dict[int, list[str]] = {}  # of all views of a tensor, by its root

    # ---- Inputs and outputs ----

    def read_inputs(self) -> None:
        rules = size_rules(self.program)
        self.sizes: dict[Input, dict[int, AnySize]] = {}
        for name, array in self.program.constants.items():
            self._name(name, Constant.of(array, self.program.paths.get(name)))
        for each in self.program.inputs:
            self._name(each.name, each.value if each.dtype is None else self._input(each, rules))

    def _input(self, given: ProgramInput, rules: Mapping[str, SizeRule]) -> Traced:
        source, tensor = self.take(given, given.name)
        before = 1 if self.guess[given.name] is None else 0  # a batch that torch does not have
        source.rules = tuple(
            (before + axis, rules[size])
            for axis, size in enumerate(given.shape)
            if isinstance(size, str) and size in rules
        )
        self.sizes[source] = {before + k: as_size(size) for k, size in enumerate(given.shape)}
        return tensor

    def outputs(self) -> Iterator[tuple[Any, str | None]]:
        for each in self.program.outputs:
            if each is not None:
                kind = self.program.dtypes.get(getattr(each, "name", ""))
                yield self._value(each), kind if kind == "int64" else None

    def read_nodes(self) -> None:
        for number, node in enumerate(self.program.nodes):
            self.at = number
            self._read_node(node)

    def label(self) -> str:
        assert self.node is not None
        return self.node.module

    # ---- Nodes ----

    def _read_node(self, node: Node) -> None:
        self.node = node
        name = node.target.split(".")[1] if "." in node.target else node.target
        try:
            if self.at in self.index.endless:
                raise RefusedError("of arguments without end")
            given = {key: self._value(value) for key, value in node.arguments.items()}
            if has(given, _Unknown):
                made: Any = _UNKNOWN
            elif name in _ASSERTS or (name in _OF_SIZES and not has(given, (Traced, Constant))):
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
        made = self.called(node.target, given)
        if name.endswith("_") and not name.endswith("__") and name != "detach_":
            self._changed(node, self._value(next(iter(node.arguments.values()))), made)
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
            self.hold(made)

    def _typed(self, name: str, made: Traced) -> Traced:
        """Return a tensor as of torch's dtype, where that says more than what made it."""
        wanted = self.program.dtypes.get(name)
        if wanted is None or made.dtype == "int64":
            return made
        kind = "bool" if wanted == "bool" else "float32"
        return made if made.dtype == kind else replace(made, dtype=kind)

    # ---- What operators ask ----

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


def _root(value: Any) -> int:
    """Return what is the same for all views of a tensor."""
    return id(value.root if isinstance(value, Traced) else value)


def _where(node: Node) -> str:
    place = node.module or "forward"
    return f"{place} ({node.source})" if node.source else place


def _told(target: str) -> str:
    namespace, _, rest = target.partition(".")
    return rest.rpartition(".")[0] or rest if namespace == "aten" else target
