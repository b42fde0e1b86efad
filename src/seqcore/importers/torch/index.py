"""Who makes and who reads what in a program, by its names."""

from __future__ import annotations

import math
from typing import Any

from ...formats.torch_programs import Node, Program, Ref

__all__ = ["Index", "made", "refs"]

_MOST_PARTS = 1 << 16  # of the arguments of one node
_ALWAYS = math.inf


class Index:
    """Where every name of a program is made and read.

    Attributes
    ----------
    reads : list of list of str
        What each node reads.
    makers : dict of str to Node
    first, last : dict of str to float
        Numbers of the nodes that read a name first, and last: without an end where it is returned.
    endless : set of int
        Numbers of nodes whose arguments contain themselves.
    """

    def __init__(self, program: Program) -> None:
        self.reads: list[list[str]] = []
        self.makers: dict[str, Node] = {}
        self.first: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self.endless: set[int] = set()
        for number, node in enumerate(program.nodes):
            names = refs(list(node.arguments.values()))
            if names is None:
                self.endless.add(number)
            self.reads.append(names or [])
            for name in names or ():
                self.first.setdefault(name, number)
                self.last[name] = number
            self.makers.update((name, node) for name in made(node))
        self.last |= dict.fromkeys(refs(list(program.outputs)) or (), _ALWAYS)


def made(node: Node) -> list[str]:
    """Return the names of all that a node makes."""
    names: list[str] = []
    for output in node.outputs:
        names += output if isinstance(output, tuple) else [] if output is None else [output]
    return names


def refs(value: Any) -> list[str] | None:
    """Return the names that are read in lists of lists; None if there is no end to these."""
    names, left, count = [], [value], 0
    while left:
        count += 1
        part = left.pop()
        if isinstance(part, Ref):
            names.append(part.name)
        elif isinstance(part, (list, tuple)):
            count += len(part)
            if count > _MOST_PARTS or len(left) > _MOST_PARTS:
                return None
            left.extend(reversed(part))
    return names
