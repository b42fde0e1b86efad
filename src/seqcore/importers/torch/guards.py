"""What torch.export took for granted of sizes that vary -> rules for a model's inputs.

A branch on a size, ``if x.shape[1] > 10``, is gone from a program: it holds the operators of one
side, and a bound or a guard beside it. Bounds, equal sizes and multiples become rules that the
model checks at every call. Any other guard must be true of all sizes, or the program is refused.
"""

from __future__ import annotations

import ast
import itertools
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...formats.torch_programs import Program, ProgramInput
from ...graph import SizeRule
from ..aten.tensors import RefusedError

__all__ = ["size_rules"]

_UNKNOWN_TO_TORCH = (
    2  # what 0 and 1 do it has not looked at, so that every size is at least 2 to it
)
_SIZE = re.compile(
    r"L((?:\[(?:\d{1,4}|'\w{1,200}')\]|\.[A-Za-z]\w{0,200}){1,9})\.size\(\)\[(\d{1,2})\]"
)
_KEY = re.compile(r"\w+")
_MULTIPLE = re.compile(r"\(?(size_\d+) % (\d{1,9})\)? == 0")
# torch tells sizes of 0 and 1 from all others, made ones like "T - 1" too; nobody meant it.
_UNIT = re.compile(r"(.*\bsize_.*) != [01]")
_MOST_GUARDS = 10_000
_MOST_CHARACTERS = 2_000
_SAMPLES = (2, 3, 4, 5, 7, 8, 11, 16, 29, 30, 64, 97, 1000)
_MOST_SAMPLES = 400
_MOST_RAISED = 20


def size_rules(program: Program) -> dict[str, SizeRule]:
    """Return the rules of the names of sizes.

    Raises
    ------
    RefusedError
        A guard that no rule can say.
    """
    names = {size for each in program.inputs for size in each.shape if isinstance(size, str)}
    bounds = {name: _bounds(program.ranges.get(name, (None, None))) for name in names}
    multiples = dict.fromkeys(names, 1)
    _read_guards(program, bounds, multiples)
    return {name: SizeRule(*bounds[name], multiples[name]) for name in names}


def _bounds(found: tuple[int | None, int | None]) -> tuple[int | None, int | None]:
    least, most = found
    return None if least is None or least <= _UNKNOWN_TO_TORCH else least, most


# ---- Guards --------------------------------------------------------------------------------------


def _read_guards(
    program: Program,
    bounds: dict[str, tuple[int | None, int | None]],
    multiples: dict[str, int],
) -> None:
    """Find out multiples, and refuse what is neither that nor always so."""
    if len(program.guards) > _MOST_GUARDS:
        raise RefusedError(f"more than {_MOST_GUARDS} guards")
    inputs = {each.name: each for each in program.inputs}
    left, units = [], []
    for guard in dict.fromkeys(program.guards):
        if len(guard) > _MOST_CHARACTERS:
            raise RefusedError("a guard of its sizes is too long to be understood")
        text, sizes = _named(guard, inputs)
        multiple = _MULTIPLE.fullmatch(text)
        if _UNIT.fullmatch(text):
            units.append((text, sizes))
        elif multiple and isinstance(sizes.get(multiple[1]), str):
            name = str(sizes[multiple[1]])
            multiples[name] = math.lcm(multiples[name], max(int(multiple[2]), 1))
        else:
            left.append((guard, text, sizes))
    for text, sizes in units:
        _lower_least(text, sizes, bounds, multiples)
    for guard, text, sizes in left:
        _raise_least(text, sizes, bounds, multiples)
        if not _always(text, sizes, bounds, multiples):
            raise RefusedError(f"it was exported for sizes of which this holds: {guard}")


def _lower_least(
    text: str,
    sizes: Mapping[str, int | str],
    bounds: dict[str, tuple[int | None, int | None]],
    multiples: Mapping[str, int],
) -> None:
    """Forget a least that only keeps a made size from being 0 or 1; guards may say another."""
    names = {size for size in sizes.values() if isinstance(size, str)}
    if len(names) != 1:
        return
    (name,) = names
    least, most = bounds[name]
    before = None if least is None else {**bounds, name: (least - 1, least - 1)}
    if before is not None and not _always(text, sizes, before, {**multiples, name: 1}):
        bounds[name] = (None, most)


def _raise_least(
    text: str,
    sizes: Mapping[str, int | str],
    bounds: dict[str, tuple[int | None, int | None]],
    multiples: Mapping[str, int],
) -> None:
    """Raise the least of one size as far as a guard needs, ``size - 3 > 2``."""
    names = sorted({size for size in sizes.values() if isinstance(size, str)})
    for more, name in itertools.product(range(_MOST_RAISED), names):
        least, most = bounds[name]
        raised = (least or _UNKNOWN_TO_TORCH) + more
        fits = most is None or raised <= most
        if fits and _always(text, sizes, {**bounds, name: (raised, most)}, multiples):
            if more:
                bounds[name] = (raised, most)
            return


def _named(guard: str, inputs: Mapping[str, ProgramInput]) -> tuple[str, dict[str, int | str]]:
    """Return a guard in names, "size_0", and what size each of them is."""
    sizes: dict[str, int | str] = {}

    def name(found: re.Match[str]) -> str:
        source, axis = _input(found[1], inputs), int(found[2])
        if source is None or axis >= len(source.shape):
            raise RefusedError(f"a guard of what is no input: {guard}")
        made = f"size_{len(sizes)}"
        sizes[made] = source.shape[axis]
        return made

    return _SIZE.sub(name, guard), sizes


def _input(place: str, inputs: Mapping[str, ProgramInput]) -> ProgramInput | None:
    """Return the input at a place among the arguments: ['states'][0] is states_0.

    None if there is none, or if that name may be that of another place.
    """
    keys = _KEY.findall(place)
    if len(keys) == 1 and keys[0] in inputs:
        return inputs[keys[0]]
    name = re.sub(r"[^a-z0-9]", "_", "_".join(keys).lower())
    taken = any(re.fullmatch(re.escape(name) + r"_\d+", each) for each in inputs)
    return None if taken else inputs.get(name)


_OPERATIONS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Eq: operator.eq,
    ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.USub: operator.neg, ast.Not: operator.not_, ast.And: all,
    ast.Or: any,
}  # fmt: skip
_OPERATED = (ast.BinOp, ast.UnaryOp, ast.BoolOp)
_FUNCTIONS = {"min": min, "max": max, "Min": min, "Max": max}


def _always(
    text: str,
    sizes: Mapping[str, int | str],
    bounds: Mapping[str, tuple[int | None, int | None]],
    multiples: Mapping[str, int],
) -> bool:
    """Tell whether a guard holds for all sizes that the rules let through, by samples of them."""
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise RefusedError(f"a guard of its sizes cannot be read: {text:.200}") from None
    names = sorted({size for size in sizes.values() if isinstance(size, str)})
    choices = [_samples(bounds[name], multiples[name]) for name in names]
    for values in itertools.islice(_mixed(choices), _MOST_SAMPLES):
        known = dict(zip(names, values, strict=True))
        here = {key: known[size] if isinstance(size, str) else size for key, size in sizes.items()}
        try:
            if not _value(tree, here):
                return False
        except (ZeroDivisionError, RecursionError, OverflowError):
            return False
    return True


def _samples(bounds: tuple[int | None, int | None], multiple: int) -> list[int]:
    least, most = bounds[0] or _UNKNOWN_TO_TORCH, bounds[1]
    near = [least + k for k in range(2 * multiple)] + [size * multiple for size in _SAMPLES]
    near += [] if most is None else [most - k for k in range(2)]
    fit = {n for n in near if n >= least and (most is None or n <= most) and n % multiple == 0}
    return sorted(fit)[:40]


def _mixed(choices: Sequence[Sequence[int]]) -> Any:
    """Yield choices of all sizes: all the same first, then every mixture."""
    for shift in range(7):
        width = max((len(choice) for choice in choices), default=0)
        for k in range(width):
            if all(choices):
                yield tuple(c[(k + shift * j) % len(c)] for j, c in enumerate(choices))
    yield from itertools.product(*choices)


def _value(node: ast.AST, sizes: Mapping[str, int]) -> Any:
    """Work out a guard; only arithmetic of whole numbers is known."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Name) and node.id in sizes:
        return sizes[node.id]
    operation = _OPERATIONS.get(type(node.op)) if isinstance(node, _OPERATED) else None
    if isinstance(node, ast.BinOp) and operation is not None:
        return operation(_value(node.left, sizes), _value(node.right, sizes))
    if isinstance(node, ast.UnaryOp) and operation is not None:
        return operation(_value(node.operand, sizes))
    if isinstance(node, ast.BoolOp) and operation is not None:
        return operation(_value(each, sizes) for each in node.values)
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _OPERATIONS:
        compared = _OPERATIONS[type(node.ops[0])]
        return compared(_value(node.left, sizes), _value(node.comparators[0], sizes))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        function = _FUNCTIONS.get(node.func.id)
        if function is not None and node.args:
            return function(*[_value(each, sizes) for each in node.args])
    raise RefusedError(f"a guard of its sizes is not understood ({ast.dump(node)[:80]})")
