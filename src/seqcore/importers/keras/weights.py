"""Weights of Keras files onto layers: which array is which weight, and that it fits.

Files name weights in three ways. Lists by layer (legacy .h5) carry a path each, which ends with the
weight's role; where paths do not tell, the order does, and older files list what was trained before
what was frozen. Trees (.keras, .weights.h5) have neither role nor, before Keras 3.6, the layer's
name: groups are numbered by class, arrays by their order. A live model's weights have paths.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from ...errors import WeightsError
from ...formats.keras_trees import WeightTree
from ...layers import (
    Composite,
    Conv1D,
    Conv1DTranspose,
    DepthwiseConv1D,
    Layer,
    SeparableConv1D,
    Slot,
    TimeDistributed,
)
from .config import short

__all__ = ["Lists", "check_told_apart", "from_lists", "from_tree", "mirrored"]

Array = NDArray[Any]
Lists = Mapping[str, Sequence[tuple[str, Array]]]  # by layer: paths with their arrays
_WAYS = ("forward", "backward")


_KERNELS = ("kernel", "depthwise_kernel")
_CONVOLUTIONS = (Conv1D, DepthwiseConv1D, SeparableConv1D, Conv1DTranspose)


def mirrored(layer: Layer, arrays: Sequence[Array]) -> list[Array]:
    """Return a layer's weights with the kernels of convolutions turned round in time.

    Theano convolves, all other backends correlate.
    """
    if isinstance(layer, TimeDistributed):
        return mirrored(layer.layer, arrays)
    if isinstance(layer, Composite):
        given, turned = list(arrays), []
        for inner in layer.layers:
            count = len(inner.keras_weights())
            turned += mirrored(inner, given[:count])
            del given[:count]
        return turned
    if not isinstance(layer, _CONVOLUTIONS):
        return list(arrays)
    return [
        array[::-1] if slot.role in _KERNELS else array
        for slot, array in zip(layer.keras_weights(), arrays, strict=True)
    ]


# ---- Lists --------------------------------------------------------------------------------------


def from_lists(
    layer: Composite,
    lists: Lists,
    names: Mapping[Layer, str],
    frozen: Collection[Layer],
) -> list[Array]:
    """Return the arrays of a model's layers, each of the file's used once.

    Parameters
    ----------
    layer : Composite
        The model.
    lists : mapping
    names : mapping of Layer to str
        What the file calls the layers.
    frozen : collection of Layer
        Those that were not trained, whose weights come behind the others' in old files.

    Raises
    ------
    WeightsError
        A weight is missing, left over, or has another shape than its layer.
    """
    left = dict(lists)
    arrays: list[Array] = []
    for inner in layer.layers:
        where = f"layer {names[inner]!r}"
        arrays += _checked(_slots(inner, names, frozen), left.pop(names[inner], ()), where)
    stray = [f"{name}: {path}" for name, found in left.items() for path, _ in found]
    if stray:
        raise WeightsError(f"weights of layers that are not in the config: {_some(stray)}")
    return arrays


def _slots(
    layer: Layer, names: Mapping[Layer, str], frozen: Collection[Layer], scope: str = ""
) -> list[Slot]:
    """Return a layer's weights; those of layers inside have their layer's name before the role."""
    if isinstance(layer, TimeDistributed):
        layer = layer.layer
    if isinstance(layer, Composite):
        return [
            slot
            for inner in layer.layers
            for slot in _slots(inner, names, frozen, f"{scope}{names[inner]}/")
        ]
    trained = layer not in frozen
    return [
        replace(slot, role=scope + slot.role, trainable=slot.trainable and trained)
        for slot in layer.keras_weights()
    ]


def _checked(slots: Sequence[Slot], found: Sequence[tuple[str, Array]], where: str) -> list[Array]:
    arranged = _arranged(slots, found, where)
    for slot, (path, array) in zip(slots, arranged, strict=True):
        _check(slot, array, f"{where}, weight {short(path)} ({slot.role})")
    return [array for _, array in arranged]


def _fits(slot: Slot, array: Array) -> bool:
    return slot.shape is None or (
        array.ndim == len(slot.shape)
        and all(size in (None, n) for size, n in zip(slot.shape, array.shape, strict=True))
    )


def _check(slot: Slot, array: Array, where: str) -> None:
    if not _fits(slot, array):
        shape = slot.shape or ()
        expected = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
        raise WeightsError(f"{where}: expected shape {expected}, found {array.shape}")
    if slot.floats and array.dtype.kind != "f":
        raise WeightsError(f"{where}: expected floats, found {array.dtype}")


def _leaf(path: str, known: Collection[str]) -> str:
    """Return the last part of a path; TensorFlow 1 numbers a name that is taken."""
    leaf = re.sub(r":\d+$", "", path).split("/")[-1]
    return leaf if leaf in known else re.sub(r"_\d+$", "", leaf)


def _plain(role: str) -> str:
    return re.sub("^(forward|backward)_", "", role.split("/")[-1])


def _names(path: str, slot: Slot) -> bool:
    """Tell whether a path such as "bidirectional/forward_lstm/kernel:0" names a weight."""
    *scopes, role = slot.role.split("/")
    *parts, _ = path.split("/")
    leaf = _leaf(path, (_plain(role),))
    if leaf != _plain(role) or not set(scopes) <= set(parts):
        return False
    way = next((way for way in _WAYS if role.startswith(way + "_")), None)
    ways = {way for way in _WAYS for part in parts if part.startswith(way + "_")}
    return way is None or way in ways


def _arranged(
    slots: Sequence[Slot], found: Sequence[tuple[str, Array]], where: str
) -> list[tuple[str, Array]]:
    """Return a layer's weights in the order of its slots: by name, or as they come."""
    fitting = _fitting(slots, found)
    if len(found) == len(slots):
        by_name = [items[0] for items in fitting if len(items) == 1]
        if len({path for path, _ in by_name}) == len(slots):
            return by_name
        # Names of inner layers need not say which. Keras lists trained weights first, and so does
        # from_keras; where it did not, what it lists had no frozen weights before trained ones.
        for order in (_trained_first(slots), range(len(slots))):
            in_order = [slots[k] for k in order]
            if _in_order(in_order, found):
                placed = dict(zip(order, found, strict=True))
                return [placed[k] for k in range(len(slots))]
    roles = [slot.role for slot in slots]
    missing = [role for role, items in zip(roles, fitting, strict=True) if not items]
    lists = {id(items): items for items in fitting}  # weights of one name share theirs
    known = {path for items in lists.values() for path, _ in items}
    paths = [path for path, _ in found]
    raise WeightsError(
        f"{where}: expected the weights {_some(roles)}; found {_some(paths)} (missing "
        f"{_some(missing)}, left over {_some([path for path in paths if path not in known])})"
    )


def _some(names: Sequence[str]) -> str:
    """Return a list of names for a message, which a file cannot make as long as it likes."""
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return "[" + ", ".join(map(short, names[:8])) + "]" + more


def _fitting(
    slots: Sequence[Slot], found: Sequence[tuple[str, Array]]
) -> list[list[tuple[str, Array]]]:
    """Return the weights that each slot's name fits.

    Models inside of models have thousands: they are looked up by the name and a scope.
    """
    index: dict[tuple[str, str], list[tuple[str, Array]]] = defaultdict(list)
    for item in found:
        *scopes, last = item[0].split("/")
        leaf = _leaf(last, (last,))
        for name in {leaf, _leaf(leaf, ())}:
            for scope in {"", *scopes}:
                index[name, scope].append(item)
    by_role: dict[str, list[tuple[str, Array]]] = {}
    for slot in slots:
        if slot.role in by_role:
            continue
        *scopes, _ = slot.role.split("/")
        near = (index.get((_plain(slot.role), scope), []) for scope in ["", *scopes])
        by_role[slot.role] = [item for item in min(near, key=len) if _names(item[0], slot)]
    return [by_role[slot.role] for slot in slots]


def _trained_first(slots: Sequence[Slot]) -> list[int]:
    return sorted(range(len(slots)), key=lambda k: not slots[k].trainable)


def _in_order(slots: Sequence[Slot], found: Sequence[tuple[str, Array]]) -> bool:
    """Tell whether weights come in the order of slots, as far as their names say anything."""
    known = {_plain(slot.role) for slot in slots}
    leaves = [_leaf(path, known) for path, _ in found]
    fits = all(_fits(slot, array) for slot, (_, array) in zip(slots, found, strict=True))
    told = all(
        leaf == _plain(slot.role) or leaf == slot.role.split("/")[-1]
        for slot, leaf in zip(slots, leaves, strict=True)
    )
    return fits and (told or not set(leaves) & known)


# ---- Trees --------------------------------------------------------------------------------------


def from_tree(
    layer: Composite,
    tree: WeightTree,
    names: Mapping[Layer, str],
    stems: Mapping[Layer, str],
) -> list[Array]:
    """Return the arrays of a model's layers; parameters as in `from_lists`.

    `stems` are the layers' Keras classes in snake_case, by which a tree numbers them.
    """
    return _Tree(names, stems).model(layer, tree, "the model")


class _Tree:
    def __init__(self, names: Mapping[Layer, str], stems: Mapping[Layer, str]) -> None:
        self.names, self.stems = names, stems

    def model(self, layer: Composite, tree: WeightTree, where: str) -> list[Array]:
        container = tree.groups.get("layers", WeightTree())
        own = [name for name in tree.groups if name != "layers"]
        own += ["vars"] * bool(tree.vars or container.vars)
        if own:
            raise WeightsError(f"{where}: weights that are of no layer: {_some(own)}")
        groups = self._by_layer(layer.layers, container)
        used = {id(group) for group in groups.values()}
        stray = [name for name, group in container.groups.items() if id(group) not in used]
        if stray:
            raise WeightsError(
                f"{where}: weights of layers that are not in the config: {_some(stray)}"
            )
        arrays: list[Array] = []
        for inner in layer.layers:
            arrays += self._layer(inner, groups.get(inner, WeightTree()), self.names[inner])
        return arrays

    def _by_layer(self, layers: Iterable[Layer], container: WeightTree) -> dict[Layer, WeightTree]:
        """Return the group of each layer that has one: by its name, or by its class and number."""
        named = {group.name: group for group in container.groups.values()}
        counts: dict[str, int] = {}
        found = {}
        for layer in layers:
            stem = self.stems[layer]
            count = counts[stem] = counts.get(stem, -1) + 1
            group = f"{stem}_{count}" if count else stem
            if None not in named and len(named) == len(container.groups):
                tree = named.get(self.names[layer])
            else:
                tree = container.groups.get(group)
            if tree is not None:
                found[layer] = tree
        return found

    def _layer(self, layer: Layer, tree: WeightTree, name: str) -> list[Array]:
        where = f"layer {name!r}"
        if isinstance(layer, TimeDistributed) and isinstance(layer.layer, Composite):
            layer, tree = layer.layer, tree.groups.get("layer", WeightTree())
        if isinstance(layer, Composite):
            return self.model(layer, tree, where)
        slots = layer.keras_weights()
        homes: dict[str, list[Slot]] = defaultdict(list)
        for slot in slots:
            homes[slot.home.strip("/")].append(slot)
        arrays: list[Array] = []
        for home, own in homes.items():
            found = _at(tree, home).vars
            if len(found) != len(own):
                raise WeightsError(
                    f"{where}: expected the weights {[slot.role for slot in own]} in "
                    f"{home or 'its group'!r}; found {len(found)} arrays"
                )
            for slot, array in zip(own, found, strict=True):
                _check(slot, array, f"{where}, weight {slot.role!r}")
            arrays += found
        total = len(tree.arrays())
        if total != len(arrays):
            raise WeightsError(f"{where}: expected {len(arrays)} arrays, found {total}")
        return arrays


def _at(tree: WeightTree, home: str) -> WeightTree:
    for part in home.split("/") if home else ():
        tree = tree.groups.get(part, WeightTree())
    return tree


# ---- Models that are not of the file ------------------------------------------------------------


def check_told_apart(
    layer: Composite, arrays: Sequence[Array], names: Mapping[Layer, str], by_name: bool
) -> None:
    """Refuse weights whose layers nothing but their order tells, where there is no order.

    Of two layers of which one reads what the other made, Keras and we number that one first. The
    order of layers side by side is that of how Keras was called, which nobody knows here.

    Parameters
    ----------
    layer : Composite
        A model that was written here.
    arrays : sequence of ndarray
        Of its layers, in their order.
    names : mapping of Layer to str
    by_name : bool
        Whether the file's weights were found by names, which says something of layers that were
        given one.

    Raises
    ------
    WeightsError
    """
    bits = {part: 1 << k for k, part in enumerate(layer.layers)}
    before = _before(layer, bits)
    taken = 0
    alike: dict[tuple[Any, ...], list[Layer]] = {}
    for part in layer.layers:
        own = arrays[taken : taken + len(part.keras_weights())]
        taken += len(own)
        inner = part.layer if isinstance(part, TimeDistributed) else part
        if isinstance(inner, Composite):
            check_told_apart(inner, own, names, by_name)
        same = alike.setdefault(tuple(array.shape for array in own), []) if own else []
        for other in same:
            named = by_name and part.name is not None and other.name is not None
            if not named and not before[other] & bits[part] | before[part] & bits[other]:
                raise WeightsError(
                    f"layers {names[other]!r} and {names[part]!r} have weights of the same shapes, "
                    "and neither reads what the other makes: which is which is told by names, if "
                    "the model and the file have them; or load a file with the whole model"
                )
        same.append(part)


def _before(layer: Composite, bits: Mapping[Layer, int]) -> dict[Layer, int]:
    """Return which layers made what each layer reads, as the sum of their bits."""
    before = dict.fromkeys(layer.layers, 0)
    behind: dict[Any, int] = {None: 0}  # by call: its layer and those before it; of inputs none
    for call in layer.calls:
        made = 0
        for symbol in call.needed:
            made |= behind[symbol.call]
        before[call.layer] = before.get(call.layer, 0) | made
        behind[call] = made | bits.get(call.layer, 0)
    return before
