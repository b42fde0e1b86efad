"""The tree in which Keras keeps weights since 2.12: ``model.weights.h5`` and ``model.weights.npz``.

    HDF5   layers/lstm/cell/vars/0, 1 ...; the group `vars` may carry the layer's name
    npz    a member "layers/lstm/cell", the pickle of a dict {"0": array, ...}; "__root__" for ""

Groups are named by class and number in the order of the model's layers, not by the layers' names.
Here every version's tree gets one form; which layer a group belongs to is not known here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelFileError
from .arrays import Budget, shorten
from .hdf5 import H5Reader
from .numpy_files import npy_pickle
from .numpy_pickles import load_object_array
from .values import refuse_stub, settle
from .zips import Archive

__all__ = ["WeightTree", "h5_tree", "is_npz", "npz_paths", "npz_tree"]

Array = NDArray[Any]

MAX_GROUP_DEPTH = 32  # Keras nests two levels per layer
_TRAINING = ("optimizer", "metrics")  # groups of the root that inference has no use for
# How Keras called `layers` up to 2.13. It counted a layer with weights twice there.
_OLD_LAYERS = "_layer_checkpoint_dependencies"
_NUMBERED = re.compile(r"(.*?)(?:_([1-9][0-9]{0,8}))?", re.DOTALL)


@dataclass
class WeightTree:
    """The weights of one Keras object, and the objects below it.

    Attributes
    ----------
    vars : list of ndarray
        Its own, in Keras's order.
    name : str or None
        The object's name, which newer versions of Keras 3 record.
    groups : dict of str to WeightTree
        By attribute or, in a container such as `layers`, by class: "lstm", "lstm_1" ...

    Notes
    -----
    One form for all versions: ``_layer_checkpoint_dependencies`` is `layers`, numbered as
    later versions do; attributes have no leading underscore (`_query_dense` is `query_dense`);
    what has no array in itself or below is left out.
    """

    vars: list[Array] = field(default_factory=list)
    name: str | None = None
    groups: dict[str, WeightTree] = field(default_factory=dict)

    @property
    def is_named(self) -> bool:
        """Whether all layers of this model, and of the models inside, have their names."""
        layers = self.groups.get("layers", WeightTree()).groups.values()
        return all(layer.name is not None and layer.is_named for layer in layers)

    def arrays(self, prefix: str = "") -> dict[str, Array]:
        """Return all arrays by path: "layers/lstm/cell/0"."""
        found = {f"{prefix}{k}": array for k, array in enumerate(self.vars)}
        for name, group in self.groups.items():
            found |= group.arrays(f"{prefix}{name}/")
        return found


def h5_tree(reader: H5Reader) -> WeightTree:
    """Read the tree of an open HDF5 file; what training alone needs is not looked at.

    Raises
    ------
    ModelFileError
        An array is outside of `vars`, or they are not numbered 0, 1 ...
    """
    root = reader.file.id
    groups, datasets = reader.walk(root, skip=[name.encode() for name in _TRAINING])
    own: dict[str, dict[str, Array]] = defaultdict(dict)
    for path, dataset in datasets.items():
        where, _, number = path.rpartition("/")
        owner, _, last = where.rpartition("/")
        if last != "vars":
            reader.refuse(f"{path!r} is in no group 'vars', as Keras keeps weights")
        array = reader.array(path, dataset)
        if array is None:
            reader.refuse(f"{path!r} holds no numbers")
        own[owner][number] = array
    names = {}
    for owner in own.keys() | {path.rpartition("/")[0] for path in groups if _is_vars(path)}:
        path = f"{owner}/vars" if owner else "vars"
        if name := reader.strings(groups[path], "name", path):
            if len(name) > 1:
                reader.refuse(f"attribute 'name' of {path!r}: expected one name; found {len(name)}")
            names[owner] = name[0]
    try:
        return _tree(own, names)
    except ModelFileError as error:
        reader.refuse(str(error))


def is_npz(archive: Archive) -> bool:
    """Tell whether an .npz holds a tree: Keras begins with the root."""
    return "__root__.npy" in archive


def npz_tree(archive: Archive, budget: Budget) -> WeightTree:
    """Read the tree of an .npz; what training alone needs is not looked at.

    Raises
    ------
    ModelFileError
        As for `npz_paths`; or arrays are not numbered 0, 1 ...
    """
    return _tree(_npz_arrays(archive, budget, _TRAINING), {})


def npz_paths(archive: Archive, budget: Budget) -> dict[str, Array]:
    """Read all arrays of an .npz by their paths, as the HDF5 form has them: "layers/dense/vars/0".

    Raises
    ------
    ModelFileError
        A member is no pickled dict of NumPy arrays by number. Keras 3 pickles its backend's
        variables, which it cannot load again itself.
    """
    own = _npz_arrays(archive, budget, ())
    return {
        f"{path}/vars/{key}" if path else f"vars/{key}": array
        for path, arrays in own.items()
        for key, array in arrays.items()
    }


def _npz_arrays(
    archive: Archive, budget: Budget, skip: Collection[str]
) -> dict[str, Mapping[str, Array]]:
    """Read arrays by owner and number. No pickle is executed."""
    own: dict[str, Mapping[str, Array]] = {}
    for member in archive.names:
        path = member.removesuffix(".npy")
        if path == member:
            raise ModelFileError(f"member {shorten(member)} is no .npy, as in an .npz")
        if path.split("/")[0] in skip:
            continue
        what = shorten(path)
        loaded = load_object_array(npy_pickle(archive.read(member), what), what, budget)
        found = settle(loaded, keep_stubs=True)
        if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
            raise ModelFileError(f"{what}: expected a dict of arrays by number")
        for key, array in found.items():
            if not isinstance(array, np.ndarray):
                _refuse_value(array, f"{what}, {shorten(key)}")
        own["" if path == "__root__" else path] = found
    return own


def _refuse_value(value: object, what: str) -> NoReturn:
    try:
        refuse_stub(value, "a NumPy array")
    except ModelFileError as error:
        raise ModelFileError(
            f"{what}: {error}. Keras 3 cannot load such a file either; save the model once more "
            "with weights_format='h5'"
        ) from None
    raise ModelFileError(f"{what}: expected an array, found {shorten(value)}")


def _is_vars(path: str) -> bool:
    return path == "vars" or path.endswith("/vars")


def _tree(own: Mapping[str, Mapping[str, Array]], names: Mapping[str, str]) -> WeightTree:
    """Make a tree of arrays by owner and number, and of the owners' names."""
    root = WeightTree()
    for path in sorted(own.keys() | names.keys()):
        parts = path.split("/") if path else []
        if len(parts) > MAX_GROUP_DEPTH or not all(parts):
            raise ModelFileError(f"{shorten(path)} is no path of a weight")
        node = root
        for part in parts:
            node = node.groups.setdefault(part, WeightTree())
        node.vars = _in_order(own.get(path, {}), shorten(path) if path else "the root")
        node.name = names.get(path)
    _settle_names(root)
    return root


def _in_order(arrays: Mapping[str, Array], what: str) -> list[Array]:
    numbers = [str(k) for k in range(len(arrays))]
    if arrays.keys() != set(numbers):
        found = ", ".join(shorten(name) for name in sorted(arrays)[:8])
        raise ModelFileError(f"{what}: expected weights numbered 0, 1 ...; found {found}")
    return [arrays[number] for number in numbers]


def _settle_names(node: WeightTree) -> bool:
    """Bring the names below a node to one form; return whether there is any array."""
    settled: dict[str, WeightTree] = {}
    for name, group in node.groups.items():
        if name == _OLD_LAYERS:  # before those without weights go, which are numbered too
            group.groups = _renumbered(group.groups)
        if not _settle_names(group):
            continue
        name = "layers" if name == _OLD_LAYERS else name.lstrip("_")
        if not name or name in settled:
            raise ModelFileError(f"two groups are called {name!r} but for underscores")
        settled[name] = group
    node.groups = settled
    return bool(node.vars or settled)


def _renumbered(groups: Mapping[str, WeightTree]) -> dict[str, WeightTree]:
    """Close the gaps in the numbers of each class: dense, dense_2 become dense, dense_1."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for name in groups:
        kind, number = _NUMBERED.fullmatch(name).groups()  # type: ignore[union-attr]
        numbers[kind].append(int(number or 0))
    renumbered = {
        f"{kind}_{k}" if k else kind: groups[f"{kind}_{number}" if number else kind]
        for kind, found in numbers.items()
        for k, number in enumerate(sorted(found))
    }
    if len(renumbered) < len(groups):
        raise ModelFileError("layers numbered twice, as in lstm_1_2")
    return renumbered
