"""Layers that move values and compute nothing: Flatten, Reshape, Permute, RepeatVector,
UpSampling1D; GetItem, which is indexing; BatchFirst and BatchSecond.

None of them has a mask behind it, as in Keras.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from ..errors import OptionError, ShapeError
from ..graph import GraphBuilder, Site, Value, told
from .base import _MAX_RANK, Layer, Plain, whole

__all__ = [
    "BatchFirst", "BatchSecond", "Flatten", "GetItem", "Permute", "Rearrange", "RepeatVector",
    "Reshape", "UpSampling1D", "expand", "reshape",
]  # fmt: skip

Step = tuple[str, dict[str, Any], str]  # an op, its attributes, what it does to time


def chain(graph: GraphBuilder, site: Site, x: Value, steps: Sequence[Step]) -> list[Value]:
    """Add one node behind the other; the last makes the site's value."""
    for number, (op, attrs, time) in enumerate(steps, 1):
        name = site.value if number == len(steps) else f"{site.value}:part{number}"
        (x,) = graph.node(op, site, [x], outputs=[name], attrs=attrs, time=time)
    return [x]


def reshape(keep: int, shape: Sequence[int], sizes: Sequence[int] | None = None) -> Step:
    """Return the step that gives the axes from `keep` on, of these `sizes`, another shape."""
    attrs = {"keep": keep, "sizes": None if sizes is None else list(sizes), "shape": list(shape)}
    return "reshape", attrs, "mapped"


def expand(axis: int) -> Step:
    """Return the step that inserts an axis of size 1."""
    return "expand", {"axis": axis}, "gone" if axis == 1 else "kept"


def check_rank(layer: Layer, x: Value, rank: int, axes: str) -> None:
    """Raise ShapeError for an input that is known to have another number of axes."""
    if x.rank is not None and x.rank != rank:
        raise ShapeError(f"layer {layer.label!r}: input must be {axes}, found {x.rank} axes")


class Flatten(Plain):
    """All axes but the batch in one, (B, ...) to (B, n). Refuses lengths at a call."""

    op = "flatten"


class Reshape(Layer):
    """Another shape for every row; the elements keep their order.

    Parameters
    ----------
    target_shape : tuple of int
        Without the batch; one size may be -1, which is what is left.
    name : str, optional

    Raises
    ------
    OptionError

    Notes
    -----
    Rows of different lengths are served where frames stay as they are: the target begins with the
    time axis, as (-1, 4, 2) for frames of 8.
    """

    def __init__(self, target_shape: Sequence[int], *, name: str | None = None) -> None:
        super().__init__(name)
        if not isinstance(target_shape, (tuple, list)) or not 1 <= len(target_shape) < _MAX_RANK:
            raise OptionError(
                f"{self.label}: target_shape is a tuple of 1 to {_MAX_RANK - 1} sizes; found "
                f"{told(target_shape)}"
            )
        sizes = [whole(n, self.label, "a size in target_shape", least=-1) for n in target_shape]
        if 0 in sizes or sizes.count(-1) > 1:
            raise OptionError(
                f"{self.label}: target_shape has sizes from 1, and -1 at most once; found "
                f"{told(target_shape)}"
            )
        self.target_shape = tuple(sizes)

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return chain(graph, site, inputs[0], [reshape(1, self.target_shape)])


class Permute(Layer):
    """The axes of every row in another order.

    Parameters
    ----------
    dims : tuple of int
        Which axis of the input each axis of the output is; 1 is the one after the batch.
    name : str, optional

    Raises
    ------
    OptionError
    """

    def __init__(self, dims: Sequence[int], *, name: str | None = None) -> None:
        super().__init__(name)
        known = isinstance(dims, (tuple, list))
        self.dims = tuple(whole(d, self.label, "an axis in dims") for d in dims) if known else ()
        if not self.dims or sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise OptionError(f"{self.label}: dims has every axis from 1 once; found {told(dims)}")

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        check_rank(self, inputs[0], 1 + len(self.dims), f"of {1 + len(self.dims)} axes")
        time = "kept" if self.dims[0] == 1 else "gone"
        return chain(graph, site, inputs[0], [("permute", {"dims": list(self.dims)}, time)])


class RepeatVector(Layer):
    """The same vector as every frame of a sequence, (B, F) to (B, n, F).

    Parameters
    ----------
    n : int
    name : str, optional

    Raises
    ------
    OptionError
    """

    def __init__(self, n: int, *, name: str | None = None) -> None:
        super().__init__(name)
        self.n = whole(n, self.label, "n")

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        check_rank(self, inputs[0], 2, "(batch, features)")
        steps = [expand(1), ("repeat", {"axis": 1, "repeats": self.n}, "kept")]
        return chain(graph, site, inputs[0], steps)


class UpSampling1D(Layer):
    """Every frame `size` times, (B, T, C) to (B, size * T, C).

    Parameters
    ----------
    size : int
    name : str, optional

    Raises
    ------
    OptionError
    """

    def __init__(self, size: int = 2, *, name: str | None = None) -> None:
        super().__init__(name)
        self.size = whole(size, self.label, "size")

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        check_rank(self, inputs[0], 3, "(batch, time, channels)")
        return chain(
            graph, site, inputs[0], [("repeat", {"axis": 1, "repeats": self.size}, "mapped")]
        )


class GetItem(Layer):
    """Indexing, as NumPy writes it: ``x[key]``. For importers.

    Parameters
    ----------
    key : tuple
        Of slices, whole numbers, None and at most one Ellipsis. The batch is taken whole: the key
        begins with ``:`` or ``...``.
    name : str, optional

    Raises
    ------
    OptionError

    Notes
    -----
    Along time every row counts from its own end. A row without the frame that a whole number names
    gives zeros, as does a whole batch of too few frames.
    """

    def __init__(self, key: Any, *, name: str | None = None) -> None:
        super().__init__(name)
        parts = list(key) if isinstance(key, (tuple, list)) else [key]
        self.key = tuple(self._part(part) for part in parts)
        if sum(part is Ellipsis for part in self.key) > 1:
            raise OptionError(f"{self.label}: key has one Ellipsis at most; found {told(key)}")
        if Ellipsis not in self.key:
            self.key += (Ellipsis,)
        if self.key[0] not in (Ellipsis, slice(None)):
            raise OptionError(
                f"{self.label}: rows of the batch stay together, key begins with ':' or '...'; "
                f"found {told(key)}"
            )

    def _part(self, part: Any) -> Any:
        if part is None or part is Ellipsis:
            return part
        if isinstance(part, slice):
            bounds = [self._number(bound) for bound in (part.start, part.stop, part.step)]
            start, stop, step = bounds
            if step == 0:
                raise OptionError(f"{self.label}: a slice's step is not 0")
            # What Python takes as it is: one name for what is the same, for the check of the batch.
            whole_axis = step in (None, 1) and start in (None, 0) and stop is None
            return slice(None) if whole_axis else slice(start, stop, 1 if step is None else step)
        return self._number(part)

    def _number(self, value: Any) -> int | None:
        """Return a whole number, or None; what lies past all arrays is as good at 2**40."""
        if value is None:
            return None
        try:
            number = operator.index(value)
        except TypeError:
            number = None
        if number is None or isinstance(value, bool):
            raise OptionError(
                f"{self.label}: key has slices, whole numbers, None and Ellipsis; found "
                f"{told(value)}"
            )
        return max(-(2**40), min(2**40, number))

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        steps = self._steps(inputs[0])
        return chain(graph, site, inputs[0], steps) if steps else list(inputs)

    def _steps(self, x: Value) -> list[Step]:
        """Return what each part of the key does, from the first axis on."""
        middle = self.key.index(Ellipsis)
        after = self.key[middle + 1 :]
        axes = sum(part is not None for part in self.key) - 1
        if after and x.rank is None:
            raise OptionError(
                f"{self.label}: the number of axes of its input is not known; a key that goes on "
                "behind ... needs it"
            )
        rank = axes if x.rank is None else x.rank
        if axes > rank:
            raise ShapeError(f"layer {self.label!r}: {axes} axes are indexed, found {x.rank}")
        full = [slice(None)] * (rank - axes)
        steps: list[Step] = []
        axis = 0  # of the value so far; axis 1 is time while it has lengths
        for part in (*self.key[:middle], *full, *after):
            if part is None:
                if axis == 0:
                    raise OptionError(f"{self.label}: no axis stands before the batch")
                steps.append(expand(axis))
            elif part == slice(None):
                pass
            elif axis == 0:
                raise OptionError(f"{self.label}: rows of the batch stay together")
            elif isinstance(part, slice):
                bounds = {"start": part.start, "stop": part.stop, "step": part.step}
                time = "mapped" if axis == 1 else "kept"
                steps.append(("slice", {"axis": axis} | bounds, time))
            else:
                time = "gone" if axis == 1 else "kept"
                steps.append(("index", {"axis": axis, "index": part}, time))
                axis -= 1
            axis += 1
        return steps


class Rearrange(Layer):
    """Steps that only move elements: one op behind the other. For importers.

    Parameters
    ----------
    steps : sequence of (str, dict, str)
        An op of docs/design.md, its attributes, and what it does to time: "kept", "mapped" or
        "gone".
    name : str, optional
    """

    def __init__(self, steps: Sequence[Step], *, name: str | None = None) -> None:
        super().__init__(name)
        self.steps = tuple(steps)

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return chain(graph, site, inputs[0], self.steps)


class BatchFirst(Layer):
    """The batch as axis 0, (n, B, ...) to (B, n, ...). For importers.

    It reads an `Input` whose ``batch_axis`` is `axis`, of floats or ids, and keeps its lengths.
    """

    def __init__(self, axis: int = 1, *, name: str | None = None) -> None:
        super().__init__(name)
        self.batch_axis = whole(axis, self.label, "axis")

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return graph.node("batch_first", site, inputs, attrs=_behind(self.batch_axis))


class BatchSecond(Layer):
    """The batch as axis 1, (B, n, ...) to (n, B, ...), or `axis`. For importers.

    Its result is an output of the model and nothing else; lengths stay.
    """

    def __init__(self, axis: int = 1, *, name: str | None = None) -> None:
        super().__init__(name)
        self.axis = whole(axis, self.label, "axis")

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return graph.node("batch_second", site, inputs, attrs=_behind(self.axis))


def _behind(axis: int) -> dict[str, Any]:
    return {"axis": axis} if axis > 1 else {}
