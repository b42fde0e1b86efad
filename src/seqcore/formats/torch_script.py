"""Reads the parameters and buffers of a TorchScript archive, which torch.jit.save writes.

    <root>/data.pkl                   the module: an object of a class of the archive's own
    <root>/code/__torch__/a/b.py      the classes' code, for __torch__.a.b.C
    <root>/data/<key>, byteorder      as torch.save writes them

An object is its attributes and names its class. The code is text here: two lines of each class say
which of the attributes are parameters and buffers; nothing else of it is read, and nothing is run.
"""

from __future__ import annotations

import re

from ..errors import ModelFileError
from .arrays import Budget, shorten
from .pickles import Stub
from .torch_archive import load_torch
from .values import Expand, Pending, refuse_stub
from .zips import Archive

__all__ = ["is_script", "load_script"]

# Before torch 1.5 the line of buffers was not there.
_CLASS = re.compile(
    r"^class (\w+)\((\w+)\):\n"
    r"(?:  __parameters__ = \[(.*)\]\n)?(?:  __buffers__ = \[(.*)\]\n)?",
    re.MULTILINE,
)
_NAME = re.compile(r'"([^"\\]*)"')


def is_script(archive: Archive, root: str) -> bool:
    """Whether an archive is TorchScript's."""
    code = f"{root}/code/"
    return f"{root}/constants.pkl" in archive or any(n.startswith(code) for n in archive.names)


class _Classes:
    """The classes of the archive's code, each file read when it is needed."""

    def __init__(self, archive: Archive, root: str) -> None:
        self.archive, self.root = archive, root
        self.files: dict[str, dict[str, re.Match[str]]] = {}

    def find(self, name: str) -> re.Match[str]:
        module, _, last = name.rpartition(".")
        member = f"{self.root}/code/{module.replace('.', '/')}.py"
        if member not in self.files:
            if member not in self.archive:
                raise ModelFileError(f"an object of {name:.250}, whose class the archive lacks")
            text = self.archive.read(member).decode("utf-8", "replace")
            self.files[member] = {match[1]: match for match in _CLASS.finditer(text)}
        found = self.files[member].get(last)
        if found is None:
            raise ModelFileError(f"an object of {name:.250}, whose class is not in {member!r:.250}")
        return found

    def arrays(self, value: Stub) -> dict[str, object] | None:
        """A module's parameters, buffers and children by name; None for any other object."""
        if value.arguments is None or not value.name.startswith("__torch__."):
            return None
        if value.name.startswith("__torch__.torch.classes."):
            raise ModelFileError(f"an object of {value.name:.250} is not supported")
        found = self.find(value.name)
        if found[2] != "Module":
            return None
        state = value.states[0] if len(value.states) == 1 else None
        if not isinstance(state, dict):
            raise ModelFileError(f"an object of {value.name:.250} is not made of its attributes")
        parameters = _NAME.findall(found[3] or "")
        if found[4] is not None:
            buffers = _NAME.findall(found[4])
        else:
            rest = (name for name, part in state.items() if isinstance(part, Pending))
            buffers = [name for name in rest if name not in parameters]
        arrays: dict[str, object] = {}
        for name in [*parameters, *buffers]:
            if name not in state:
                raise ModelFileError(f"an object of {value.name:.250} has no {name!r:.80}")
            refuse_stub(state[name], f"{name!r:.80} of {value.name:.250}")
            if state[name] is not None and not isinstance(state[name], Pending):
                raise ModelFileError(
                    f"{name!r:.80} of {value.name:.250} is {shorten(state[name])}, expected a "
                    "tensor"
                )
            arrays[name] = state[name]
        children = {name: part for name, part in state.items() if isinstance(part, Stub)}
        return arrays | {name: part for name, part in children.items() if name not in arrays}


def load_script(archive: Archive, root: str, budget: Budget) -> tuple[object, Expand]:
    """The object of a TorchScript archive, and what `values.settle` needs to expand its modules.

    Raises
    ------
    ModelFileError
        The archive contradicts itself or uses what is not supported.
    """
    return load_torch(archive, root, budget), _Classes(archive, root).arrays
