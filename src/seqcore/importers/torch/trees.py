"""A live torch module as a ModuleTree, the form in which files of whole modules come too.

Nothing here imports torch: a module is what has `_modules`, `_parameters` and `_buffers`. What a
class or an option means is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import GraphError, UnsupportedLayerError, WeightsError
from ...formats.torch_modules import BOOKKEEPING, changes
from ...formats.torch_programs import Dtype, Global, ModuleTree

__all__ = ["module_tree"]

_PARTS = ("_parameters", "_buffers", "_modules")
_MAX_DEPTH = 100
_PARAMETRIZED = "Parametrized"


def module_tree(module: Any) -> ModuleTree:
    """Return a module's classes, options and arrays, the same as `read_module` of its file gives.

    Parameters
    ----------
    module : torch.nn.Module
        Its arrays are copied, from whatever device. bfloat16 becomes float32.

    Returns
    -------
    ModuleTree
        A module that is there twice is the same ModuleTree. The class of a parametrised module is
        the one that it had before; its child ``parametrizations`` says what was done.

    Raises
    ------
    UnsupportedLayerError
        It is no module, or one of TorchScript.
    GraphError
        A module contains itself.
    WeightsError
        A weight is on the meta device, sparse, quantised or complex, or not initialised yet.
    """
    return _Trees().tree(module, "", 0)


def _is_module(value: Any) -> bool:
    own = getattr(value, "__dict__", {})
    return all(isinstance(own.get(part), dict) for part in _PARTS)


def _kind(module: Any) -> str:
    """The class as pickle would name it; torch gives a parametrised module one of its own."""
    kind: type = type(module)
    if "parametrizations" in module._modules and kind.__name__.startswith(_PARAMETRIZED):
        kind = kind.__bases__[0]
    return f"{kind.__module__}.{kind.__qualname__}"


class _Trees:
    def __init__(self) -> None:
        self.done: dict[int, ModuleTree | None] = {}  # None while it is being made
        self.arrays: dict[int, np.ndarray] = {}

    def tree(self, module: Any, path: str, depth: int) -> ModuleTree:
        if not _is_module(module):
            name = f"{type(module).__module__}.{type(module).__qualname__}"
            reason = "a module of TorchScript; give the module that it was made of"
            if not name.startswith("torch.jit."):
                reason = "expected a torch.nn.Module"
            raise UnsupportedLayerError([(path or name, f"{name}: {reason}")])
        if id(module) in self.done:
            known = self.done[id(module)]
            if known is None:
                raise GraphError(f"module {path!r} contains itself")
            return known
        if depth > _MAX_DEPTH:
            raise GraphError(f"modules nested more than {_MAX_DEPTH} deep")
        self.done[id(module)] = None
        below = path + "." if path else ""
        children = {
            name: None if child is None else self.tree(child, below + name, depth + 1)
            for name, child in module._modules.items()
        }
        own = {**module._parameters, **module._buffers}
        arrays = {name: self.array(value, below + name) for name, value in own.items()}
        parametrized = children.get("parametrizations")
        kind = _kind(module)
        tree = ModuleTree(
            kind,
            _options(vars(module)),
            arrays,
            children,
            changes(
                kind,
                vars(module),
                [_hook(hook) for hook in module._forward_hooks.values()],
                [_hook(hook) for hook in module._forward_pre_hooks.values()],
                arrays,
                parametrized.children if parametrized else {},
            ),
        )
        self.done[id(module)] = tree
        return tree

    def array(self, tensor: Any, path: str) -> np.ndarray | None:
        """A copy of a parameter or buffer, one for all places where it stands."""
        if tensor is None:
            return None
        if id(tensor) not in self.arrays:
            self.arrays[id(tensor)] = _array(tensor, path)
        return self.arrays[id(tensor)]


def _array(tensor: Any, path: str) -> np.ndarray:
    if getattr(tensor, "is_meta", False) is True:
        raise WeightsError(f"weight {path!r}: it is on the meta device and has no values")
    try:
        value = tensor.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()  # NumPy has no bfloat16
        array = np.array(value.numpy(), order="C", copy=True)
    except (TypeError, RuntimeError, ValueError, AttributeError) as error:
        raise WeightsError(f"weight {path!r}: NumPy cannot read it ({error})") from None
    if array.dtype.kind not in "fiub":
        raise WeightsError(f"weight {path!r}: {array.dtype} is not supported")
    return array


def _hook(hook: Any) -> str:
    """What is called, by the name that pickle would give it."""
    known = hook if hasattr(hook, "__qualname__") else type(hook)
    return f"{getattr(known, '__module__', None)}.{known.__qualname__}"


class _NotPlain(Exception):
    """An attribute that is no plain data."""


def _options(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes that are plain data, as a file would have them."""
    found, plain = {}, _Plain()
    for name, value in attributes.items():
        if name not in BOOKKEEPING:
            try:
                found[name] = plain.convert(value, 0)
            except _NotPlain:
                continue
    return found


class _Plain:
    def __init__(self) -> None:
        self.done: dict[int, Any] = {}
        self.begun: set[int] = set()  # and not done: contains itself, or what is not plain

    def convert(self, value: Any, depth: int) -> Any:
        """Plain data as a file would have it, or _NotPlain."""
        kind = type(value)
        if kind in (type(None), bool, int, float, str, bytes, bytearray):
            return value
        name = f"{kind.__module__}.{kind.__qualname__}"
        if isinstance(value, dict) or name == "torch.Size" or kind in _CONTAINERS:
            if id(value) not in self.done:
                if id(value) in self.begun or depth > _MAX_DEPTH:
                    raise _NotPlain
                self.begun.add(id(value))
                self.done[id(value)] = self.container(value, depth + 1)
            return self.done[id(value)]
        if isinstance(value, np.generic) and value.dtype.kind in "fiub":
            return value.item()
        if name == "torch.dtype":
            return Dtype(str(value).removeprefix("torch."))
        # Functions and classes as pickle names them: by a path that leads to them from outside.
        module, place = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
        named = isinstance(module, str) and isinstance(place, str) and "<" not in place
        if named and callable(value) and not hasattr(value, "_modules"):
            return Global(f"{module}.{place}")
        raise _NotPlain

    def container(self, value: Any, depth: int) -> Any:
        if isinstance(value, dict):
            return {key: self.convert(part, depth) for key, part in value.items()}
        parts = [self.convert(part, depth) for part in value]
        return tuple(parts) if isinstance(value, tuple) else parts


_CONTAINERS = (list, tuple, set, frozenset)
