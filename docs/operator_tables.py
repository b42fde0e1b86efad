"""What the code of operators says of them: their arguments, what they refuse, what they call.

For pytorch_page.py and onnx_page.py, whose operators are functions of a context in tables by name.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

Operators = Mapping[str, Callable[..., Any]]


class Described(NamedTuple):
    """Operators of one code."""

    names: list[str]
    functions: list[Any]
    arguments: list[str]
    ignored: list[str]  # arguments that may be anything
    refused: list[str]


def described(module: ModuleType, operators: Operators) -> Iterator[Described]:
    """Yield the operators that a file defines; those of one code together."""
    by_code: dict[Any, list[str]] = {}
    for name, function in operators.items():
        if function.__module__ == module.__name__:
            by_code.setdefault(function.__code__, []).append(name)
    entered = frozenset(made.__code__ for made in operators.values())
    for names in by_code.values():
        functions = [operators[name] for name in names]
        taken, ignored = _arguments(functions[0])
        told = [_said(_tree(each)) for each in reached(functions[0], entered)]
        refused = list(dict.fromkeys(word for said in told for word in said))
        yield Described(names, functions, taken, ignored, refused)


def title(module: ModuleType) -> str:
    """Return the first line of a file's text."""
    return (module.__doc__ or "").strip().splitlines()[0].rstrip(".")


def told_of(module: ModuleType) -> list[str]:
    """Return all that a file refuses."""
    return list(dict.fromkeys(_said(ast.parse(inspect.getsource(module)))))


def _arguments(function: Callable[..., Any]) -> tuple[list[str], list[str]]:
    """Return the arguments that a function reads, and those that it deletes unread."""
    deleted = {
        name.id
        for node in ast.walk(_tree(function))
        if isinstance(node, ast.Delete)
        for name in node.targets
        if isinstance(name, ast.Name)
    }
    names = [
        name for name, given in inspect.signature(function).parameters.items()
        if name != "context" and given.kind is not given.VAR_KEYWORD
    ]  # fmt: skip
    return [n for n in names if n not in deleted], [n for n in names if n in deleted]


@cache
def _tree(function: Callable[..., Any]) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


def reached(
    function: Any, entered: frozenset[Any], seen: frozenset[Any] = frozenset()
) -> Iterator[Any]:
    """Yield a function, and the helpers of its file that it calls, which are no operators."""
    yield function
    for node in ast.walk(_tree(function)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called = function.__globals__.get(node.func.id)
            if (
                isinstance(called, FunctionType)
                and called.__module__ == function.__module__
                and called.__code__ not in entered | seen
            ):
                yield from reached(called, entered, seen | {called.__code__})


def _said(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "RefusedError":
            yield from _words(node.args[0])


def _words(node: ast.expr) -> Iterator[str]:
    """Yield a message with dots in place of what it is told of the case; of a choice, both.

    One that is passed on is told by whom it comes from.
    """
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        yield "".join(map(str, parts))
    elif isinstance(node, ast.IfExp):
        yield from _words(node.body)
        yield from _words(node.orelse)
    elif not isinstance(node, ast.Call):
        raise AssertionError(f"a message that is no string: {ast.dump(node)}")


def texts_given(function: Any, called: Collection[str]) -> Iterator[str]:
    """Yield the texts that a function gives second to one of these, ``aten(context, "add", ...)``.

    A name is looked up in what is around the function; of what is computed nothing is known.
    """
    around = inspect.getclosurevars(function).nonlocals
    for node in ast.walk(_tree(function)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in called:
            given = node.args[1]
            value = given.value if isinstance(given, ast.Constant) else None
            value = around.get(given.id) if isinstance(given, ast.Name) else value
            if isinstance(value, str):
                yield value
