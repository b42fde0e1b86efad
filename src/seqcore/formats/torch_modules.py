"""Whole modules as torch.save pickles them: attributes of objects whose classes nobody looks for.

A module is an object whose state holds `_parameters`, `_buffers` and `_modules`. From it come its
arrays by path, as in a state_dict, or a ModuleTree. What a class or an option means is not known
here; nothing of torch is imported and no code of a file is run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ModelFileError
from .arrays import Budget, shorten
from .opening import budget_of, reading, whole
from .pickles import Stub
from .torch_archive import load_torch, torch_root
from .torch_legacy import load_legacy, looks_like_legacy
from .torch_programs import Dtype, Global, ModuleTree
from .torch_tensors import TorchDtype
from .values import MAX_DEPTH, Pending, Settling, refuse_stub
from .zips import MAGIC as ZIP_MAGIC
from .zips import Archive

__all__ = ["BOOKKEEPING", "changes", "module_arrays", "read_module"]

# nn.Module's own attributes, which are no options. (`training` is one that a model in use has not.)
BOOKKEEPING = frozenset(
    {
        "training", "forward", "_parameters", "_buffers", "_modules", "_backend",
        "_non_persistent_buffers_set", "_backward_pre_hooks", "_backward_hooks",
        "_is_full_backward_hook", "_forward_hooks", "_forward_hooks_with_kwargs",
        "_forward_hooks_always_called", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs",
        "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks",
        "_load_state_dict_post_hooks",
    }
)  # fmt: skip

_WEIGHT_NORM_HOOK = "torch.nn.utils.weight_norm.WeightNorm"
_WEIGHT_NORM = "torch.nn.utils.parametrizations._WeightNorm"
# Sets a forward of its own that calls its child's.
_COMPILED = "torch._dynamo.eval_frame.OptimizedModule"

_PARTS = ("_parameters", "_buffers", "_modules")


def changes(
    kind: str,
    attributes: Iterable[str],
    hooks: Sequence[str],
    pre_hooks: Sequence[str],
    arrays: Iterable[str],
    parametrizations: Mapping[str, ModuleTree | None],
) -> str:
    """Why a module's forward may do something else than its class says; "" if nothing tells so.

    Parameters
    ----------
    kind : str
        Its class.
    attributes : iterable of str
        Names in its ``__dict__``.
    hooks, pre_hooks : sequence of str
        What is called behind and before its forward.
    arrays : iterable of str
        Names of its parameters and buffers.
    parametrizations : mapping of str to ModuleTree
        Of the child of that name, by weight. Weight normalisation, of either form, is no change:
        its parts are among the arrays, and whoever makes a layer of them puts them together.
    """
    found = []
    if hooks:
        found.append(f"forward hooks ({', '.join(sorted(set(hooks)))})")
    normed = any(name.endswith("_g") for name in arrays)
    others = sorted({name for name in pre_hooks if name != _WEIGHT_NORM_HOOK or not normed})
    if others:
        found.append(f"forward pre-hooks ({', '.join(others)})")
    if "forward" in attributes and kind != _COMPILED:
        found.append("a forward of its own, set on the object")
    for name, entries in parametrizations.items():
        kinds = [] if entries is None else [tree.kind for tree in entries.children.values() if tree]
        if kinds != [_WEIGHT_NORM]:
            found.append(f"a parametrization of {name} ({', '.join(kinds)})")
    return "it has " + " and ".join(found) if found else ""


def _state(value: object) -> dict[str, Any] | None:
    """The attributes of a module; None if `value` is none."""
    if not isinstance(value, Stub) or value.arguments is None:
        return None
    if value.name == _COMPILED and len(value.arguments) == 2:  # the module, what compiles it
        return {"_parameters": {}, "_buffers": {}, "_modules": {"_orig_mod": value.arguments[0]}}
    if not value.states:
        return None
    state = value.states[0]
    if isinstance(state, tuple) and len(state) == 2:  # beside them, those of __slots__
        state = state[0]
    if not isinstance(state, dict) or not all(isinstance(state.get(n), dict) for n in _PARTS):
        return None
    if len(value.states) > 1:
        raise ModelFileError(f"a {shorten(value.name, 250)} whose state is set twice")
    return state


def _own(name: str, state: Mapping[str, Any], part: str) -> dict[str, Pending | None]:
    """The parameters or buffers of a module."""
    own: dict[str, Pending | None] = state[part]
    for key, value in own.items():
        refuse_stub(value, f"{key!s:.80} of a {name:.250}")
        if type(key) is not str or not (value is None or isinstance(value, Pending)):
            raise ModelFileError(
                f"a {name:.250}: {shorten(key)} in its {part} is a {type(value).__name__}"
            )
    return own


def _children(name: str, state: Mapping[str, Any]) -> dict[str, Stub | None]:
    children: dict[str, Stub | None] = state["_modules"]
    for key, child in children.items():
        if type(key) is not str or not (child is None or _state(child) is not None):
            kind = child.name if isinstance(child, Stub) else type(child).__name__
            raise ModelFileError(
                f"a {name:.250}: its child {shorten(key)} is a {kind:.250}, which is no module of "
                "parameters, buffers and children"
            )
    return children


def module_arrays(value: Stub) -> dict[str, object] | None:
    """A module's parameters, persistent buffers and children by name; None if it is no module.

    `values.settle` takes it as `expand`, and gives nested dicts as a state_dict would name them.

    Raises
    ------
    ModelFileError
        A parameter is no tensor, a child no module, or two of them have the same name.
    """
    state = _state(value)
    if state is None:
        return None
    left_out = state.get("_non_persistent_buffers_set", [])
    hidden = {n for n in left_out if type(n) is str} if isinstance(left_out, list) else set()
    buffers = _own(value.name, state, "_buffers")
    parts: list[Mapping[str, object]] = [
        _own(value.name, state, "_parameters"),
        {name: buffer for name, buffer in buffers.items() if name not in hidden},
        _children(value.name, state),
    ]
    found: dict[str, object] = {}
    for part in parts:
        for name in part.keys() & found.keys():
            raise ModelFileError(f"a {value.name:.250} has {name!r:.80} twice")
        found.update(part)
    return found


class _Plain(Settling):
    """Plain data alone: what holds an array or an object raises."""

    def __init__(self) -> None:
        super().__init__(keep_stubs=False)

    def settle(self, value: Any, depth: int) -> tuple[Any, int, int]:
        if isinstance(value, TorchDtype):
            return Dtype(value.name.removeprefix("torch.")), 1, 0
        if isinstance(value, Stub) and value.arguments is None:
            return Global(value.name), 1, 0
        return super().settle(value, depth)

    def settle_parts(self, value: Any, depth: int) -> tuple[Any, int, int]:
        settled = super().settle_parts(value, depth)
        if isinstance(settled[0], np.ndarray):
            raise ModelFileError("an array")
        return settled


class _Trees:
    """Makes ModuleTrees; an object that is met twice becomes the same tree."""

    def __init__(self) -> None:
        self.arrays, self.plain = Settling(keep_stubs=False), _Plain()
        self.done: dict[int, ModuleTree | None] = {}  # None while it is being made

    def tree(self, module: Stub, depth: int = 0) -> ModuleTree:
        if id(module) in self.done:
            known = self.done[id(module)]
            if known is None:
                raise ModelFileError(f"a {module.name:.250} that contains itself")
            return known
        if depth > MAX_DEPTH:
            raise ModelFileError(f"modules nested more than {MAX_DEPTH} deep")
        self.done[id(module)] = None
        state = _state(module)
        assert state is not None  # the caller has looked
        children = {
            name: None if child is None else self.tree(child, depth + 1)
            for name, child in _children(module.name, state).items()
        }
        own = _own(module.name, state, "_parameters") | _own(module.name, state, "_buffers")
        arrays = {name: self.arrays.settle(value, 0)[0] for name, value in own.items()}
        parametrized = children.get("parametrizations")
        tree = ModuleTree(
            module.name,
            self.options(state),
            arrays,
            children,
            changes(
                module.name,
                state,
                _hooks(state, "_forward_hooks"),
                _hooks(state, "_forward_pre_hooks"),
                arrays,
                parametrized.children if parametrized else {},
            ),
        )
        self.done[id(module)] = tree
        return tree

    def options(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Attributes that are plain data; others, such as hooks and loggers, are left out."""
        found = {}
        for name, value in state.items():
            if type(name) is str and name not in BOOKKEEPING:
                try:
                    found[name] = self.plain.settle(value, 0)[0]
                except ModelFileError:
                    continue  # no plain data
        return found


def _hooks(state: Mapping[str, Any], name: str) -> list[str]:
    """Names of what is called before or behind a module's forward."""
    hooks = state.get(name, {})
    if not isinstance(hooks, dict):
        return [type(hooks).__name__]
    return [getattr(hook, "name", type(hook).__name__) for hook in hooks.values()]


def read_module(
    path: str | os.PathLike[str], *, prefix: str = "", max_bytes: int | None = None
) -> ModuleTree:
    """Reads a module that torch.save pickled whole. Nothing in the file is executed.

    Parameters
    ----------
    path : str or path-like
        As ``torch.save(module, path)`` writes it, in either of torch's formats.
    prefix : str
        Where in the file it is: keys of dicts and names of modules, joined with '.'.
    max_bytes : int, optional
        As for `read_weights`.

    Returns
    -------
    ModuleTree
        A module that is there twice is the same ModuleTree.

    Raises
    ------
    ModelFileError
        The file is truncated, hostile, of another kind, or holds no module there.
    OSError
        The file is missing or cannot be read.
    """
    with reading(path) as (file, size):
        budget = budget_of(size, max_bytes)
        head = file.read(64)
        if head.startswith(ZIP_MAGIC):
            root = _object_of(Archive(file, budget), budget)
        elif looks_like_legacy(head):
            root = load_legacy(whole(file, size, budget), budget)
        else:
            raise ModelFileError("this is not a file that torch.save wrote")
        return _Trees().tree(_at(root, prefix.rstrip(".")))


def _object_of(archive: Archive, budget: Budget) -> object:
    root = torch_root(archive)
    if root is None or f"{root}/constants.pkl" in archive:
        raise ModelFileError(
            "this archive holds no pickled modules; TorchScript keeps their forward as code"
        )
    return load_torch(archive, root, budget)


def _at(root: object, prefix: str) -> Stub:
    """The module at a path of dicts and modules."""
    value, path = root, ""
    for key in prefix.split(".") if prefix else []:
        state = _state(value)
        parts = value if state is None else state["_modules"]
        if not isinstance(parts, dict) or key not in parts:
            where = f"below {path!r}" if path else "at the top"
            raise ModelFileError(f"there is no {key!r:.80} {where}{_choice(value, path)}")
        value, path = parts[key], f"{path}.{key}".lstrip(".")
    if isinstance(value, Stub) and _state(value) is not None:
        return value
    what = "holds no whole module" if not path else f"{path!r:.200} is no whole module"
    raise ModelFileError(f"{what}{_choice(value, path)}")


def _choice(value: object, path: str) -> str:
    """The modules of a dict, for a message."""
    if not isinstance(value, dict):
        return ""
    names = [f"{path}.{key}".lstrip(".") for key, part in value.items() if _state(part)]
    if names:
        return f"; there are modules at {', '.join(map(repr, names[:8]))}: give one as prefix"
    return ""
