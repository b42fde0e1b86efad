"""Which masks MultiHeadAttention takes away, since Keras 3.8.

Keras keeps a mask on the tensor itself, and MultiHeadAttention takes it from the tensors that it
reads: every call that comes later in Keras's order sees none. A layer that does nothing when a
model runs returns the very tensor that it was given, so that what is taken behind it is taken
before it too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...layers import Activation, Composite, Layer
from ...layers.training import TrainingOnly
from .calls import Node, Reference, references
from .operations import returns_its_input

__all__ = ["TakenMasks", "Tensors"]

Key = tuple[str, int]  # a layer and one of its calls


@dataclass(frozen=True)
class Tensors:
    """What a model does with tensors of the model that calls it.

    Attributes
    ----------
    takes : frozenset of int
        Inputs that lose their masks.
    passes : dict of int to int
        Outputs that are an input's very tensor, and that input.
    same : dict of int to int
        Outputs that are another output's, and the first of these.
    """

    takes: frozenset[int]
    passes: Mapping[int, int]
    same: Mapping[int, int]


class TakenMasks:
    """The masks that are taken in one model.

    Parameters
    ----------
    nodes : dict of str to Node
    needed : iterable of (str, int)
        The calls that are made.
    ends : sequence of Reference
        The model's outputs.
    models : dict of Layer to Tensors
        The models inside.

    Attributes
    ----------
    lost : dict of (str, int) to set of Reference
        What each call reads whose mask was taken before.
    """

    def __init__(
        self,
        nodes: Mapping[str, Node],
        needed: Iterable[Key],
        ends: Sequence[Reference],
        models: Mapping[Layer, Tensors],
    ) -> None:
        self._nodes, self._models = nodes, models
        self._found: dict[Reference, Reference] = {}
        self.lost: dict[Key, set[Reference]] = {}
        takers: dict[Reference, list[Key]] = defaultdict(list)
        reads: dict[Key, list[Reference]] = {}
        for key in needed:
            node = nodes[key[0]]
            if not node.is_input:
                call = node.calls[key[1]]
                named = dict(sorted(call.kwargs.items()))  # as Keras flattens dictionaries
                reads[key] = list(references([call.args, named]))
                for reference in self._takes(key):
                    takers[self._tensor(reference)].append(key)
        self._taken = frozenset(takers)
        if takers:
            order = _order(reads, ends)
            first = {tensor: min(order[key] for key in keys) for tensor, keys in takers.items()}
            for key, found in reads.items():
                taken = {r: first.get(self._tensor(r)) for r in found}
                self.lost[key] = {
                    r for r, at in taken.items() if at is not None and at < order[key]
                }

    def is_taken(self, reference: Reference) -> bool:
        """Whether the mask is gone in the end."""
        return self._tensor(reference) in self._taken

    def tensors(self, inputs: Sequence[Reference], outputs: Sequence[Reference]) -> Tensors:
        places = {end: k for k, end in enumerate(inputs)}
        passes: dict[int, int] = {}
        same: dict[int, int] = {}
        first: dict[Reference, int] = {}
        for k, end in enumerate(outputs):
            tensor = self._tensor(end)
            if tensor in places:
                passes[k] = places[tensor]
            elif first.setdefault(tensor, k) != k:
                same[k] = first[tensor]
        takes = frozenset(k for k, end in enumerate(inputs) if end in self._taken)
        return Tensors(takes, passes, same)

    def _takes(self, key: Key) -> Iterator[Reference]:
        """Yield what a call takes the masks of."""
        node = self._nodes[key[0]]
        call = node.calls[key[1]]
        if node.config.kind == "MultiHeadAttention":
            yield from references(call)
        elif isinstance(node.layer, Composite):
            given = references(call.args)
            takes = self._models[node.layer].takes
            yield from (reference for k, reference in enumerate(given) if k in takes)

    def _tensor(self, reference: Reference) -> Reference:
        """Return where a call's output comes from as the very same tensor."""
        passed: list[Reference] = []
        while reference not in self._found:
            self._found[reference] = (
                reference  # until more is known; and an end for layers in a ring
            )
            passed.append(reference)
            reference = self._source(reference) or reference
        found = self._found[reference]
        self._found.update(dict.fromkeys(passed, found))
        return found

    def _source(self, reference: Reference) -> Reference | None:
        """Return what a call returns as it was given it, or an earlier output that is the same."""
        node = self._nodes[reference.layer]
        if node.is_input:
            return None
        layer = node.layer
        given = list(references(node.calls[reference.call].args))
        if isinstance(layer, Composite):
            model = self._models[layer]
            if reference.output in model.same:
                return reference._replace(output=model.same[reference.output])
            place = model.passes.get(reference.output, len(given))
        else:
            idle = (
                isinstance(layer, TrainingOnly)
                or (isinstance(layer, Activation) and layer.activation.kind == "linear")
                or returns_its_input(node.config)
            )
            place = 0 if idle else len(given)
        return given[place] if place < len(given) else None


def _order(
    reads: Mapping[tuple[str, int], Sequence[Reference]], ends: Sequence[Reference]
) -> dict[tuple[str, int], tuple[int, int]]:
    """Return what calls are sorted by where Keras 3 computes them one after the other.

    First by their distance from the outputs, the farthest first; a layer's calls are no nearer than
    the one that was seen before. Then as they are met from the last output on (`map_graph`).
    """
    entered: set[tuple[str, int]] = set()
    finished: list[tuple[str, int]] = []
    for end in ends:
        pending = [(end[:2], False)]
        while pending:
            key, is_finished = pending.pop()
            if is_finished:
                finished.append(key)
            elif key not in entered:
                entered.add(key)
                pending.append((key, True))
                pending += [(r[:2], False) for r in reversed(reads.get(key, ()))]
    depth: dict[tuple[str, int], int] = {}
    of_layer: dict[str, int] = defaultdict(int)
    for key in reversed(finished):
        own = max(depth.get(key, 0), of_layer[key[0]])
        of_layer[key[0]] = depth[key] = own
        for reference in reads.get(key, ()):
            depth[reference[:2]] = max(depth.get(reference[:2], 0), own + 1)
    return {key: (-found, place) for place, (key, found) in enumerate(depth.items())}
