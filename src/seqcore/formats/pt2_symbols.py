"""Sizes that may vary, as torch.export writes them: expressions of SymPy, spelled as one string.

    Mul(Integer(2), Symbol('s31', positive=True, integer=True))     "2*s31"

Nothing is evaluated. Equal expressions become equal strings, as SymPy keeps the parts of a sum or
product in one order; that two different ones are equal is not found out. Files from before torch
2.8 or so may hold the short spelling, which stays.
"""

from __future__ import annotations

import re

from ..errors import ModelFileError
from .arrays import shorten

__all__ = ["size_expression"]

_MAX_LENGTH = 2000
_MAX_DEPTH = 30

_TOKEN = re.compile(r"\s*(?:([A-Za-z_]\w*)|(-?\d+)|'(\w*)'|([(),=]))")
_SHORT = re.compile(r"[\w+\-*/%(),. ]+")
_ATOM = re.compile(r"-?\w+")
_SIGNS = {"FloorDiv": "//", "CleanDiv": "//", "Mod": "%", "PythonMod": "%", "Pow": "**"}


def size_expression(text: str) -> str:
    """An expression in one spelling; a bare symbol becomes its name.

    Parameters
    ----------
    text : str
        What SymPy's ``srepr`` or ``str`` made.

    Raises
    ------
    ModelFileError
        It is neither, or too long or too deep.
    """
    if len(text) > _MAX_LENGTH:
        raise ModelFileError(f"a size is an expression of {len(text)} characters")
    if not re.search(r"\b(Symbol|Integer)\(", text):
        if not _SHORT.fullmatch(text):
            raise ModelFileError(f"a size is {shorten(text)}, which is no expression")
        return " ".join(text.split())
    reader = _Reader(text)
    result = reader.expression(0)
    if reader.peek() is not None:
        raise reader.error()
    return result


class _Reader:
    """Walks over the calls of an srepr: ``Name(argument, ..., option=value)``."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str]] = []  # kind and content, the next one last
        place = 0
        while place < len(text.rstrip()):
            match = _TOKEN.match(text, place)
            if match is None or match.lastindex is None:
                raise self.error()
            kind = ("name", "number", "text", "sign")[match.lastindex - 1]
            self.tokens.append((kind, match[match.lastindex]))
            place = match.end()
        self.tokens.reverse()

    def error(self) -> ModelFileError:
        return ModelFileError(f"a size is {shorten(self.text)}, which is no expression")

    def peek(self) -> tuple[str, str] | None:
        return self.tokens[-1] if self.tokens else None

    def take(self, kind: str, content: str | None = None) -> str:
        token = self.peek()
        if token is None or token[0] != kind or content not in (None, token[1]):
            raise self.error()
        return self.tokens.pop()[1]

    def expression(self, depth: int) -> str:
        if depth > _MAX_DEPTH:
            raise ModelFileError(f"a size is an expression more than {_MAX_DEPTH} deep")
        token = self.peek()
        if token is not None and token[0] in ("number", "text"):
            return self.tokens.pop()[1]
        name = self.take("name")
        if self.peek() != ("sign", "("):
            return name
        self.take("sign", "(")
        parts = []
        while self.peek() != ("sign", ")"):
            option = self.tokens[-2:-1] == [("sign", "=")]
            if option:
                del self.tokens[-2:]
            part = self.expression(depth + 1)
            if not option:
                parts.append(part)
            if self.peek() != ("sign", ")"):
                self.take("sign", ",")
        self.take("sign", ")")
        return self.spell(name, parts)

    def spell(self, name: str, parts: list[str]) -> str:
        if name in ("Symbol", "Integer"):
            if len(parts) != 1 or not _ATOM.fullmatch(parts[0]):
                raise self.error()
            return parts[0]
        closed = [part if _ATOM.fullmatch(part) else f"({part})" for part in parts]
        if name == "Add" and parts:
            return " + ".join(parts)
        if name == "Mul" and parts:
            return "*".join(closed)
        if name in _SIGNS and len(parts) == 2:
            return _SIGNS[name].join(closed)
        return f"{name}({', '.join(parts)})"
