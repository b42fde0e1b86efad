"""What every layer shares: symbols, calls on them, and the checking of options.

Calling a layer on symbols computes nothing. It records a `Call`; `Model` gathers the calls behind
its outputs and lets each layer lower itself into nodes (layers/lowering.py). Shapes are inferred by
the core, not here.
"""

from __future__ import annotations

import functools
import inspect
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DtypeError, GraphError, OptionError
from ..graph import GraphBuilder, Mask, Site, SizeRule, Value, finite, told

__all__ = ["Call", "Input", "Key", "Layer", "Plain", "Slot", "Symbol", "snake_case"]

Array = NDArray[Any]
Shape = tuple[int | None, ...]

_MAX_RANK = 6  # SC_MAX_RANK, the batch included
_MAX_SIZE = 2**31 - 1
_MAX_FLOAT = float(np.finfo(np.float32).max)

# ---- Options ------------------------------------------------------------------------------------


def whole(value: Any, layer: str, option: str, least: int = 1) -> int:
    """Return an option that is a whole number, or a sequence of one, of at least `least`."""
    if isinstance(value, (tuple, list)) and len(value) == 1:
        (value,) = value
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, (bool, np.bool_)) or not least <= number <= _MAX_SIZE:
        raise OptionError(
            f"{layer}: {option} is a whole number from {least} to {_MAX_SIZE}; found {told(value)}"
        )
    return number


def flag(value: Any, layer: str, option: str) -> bool:
    """Return an option that is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise OptionError(f"{layer}: {option} is True or False; found {told(value)}")
    return bool(value)


def pair(value: Any, layer: str, option: str) -> tuple[int, int]:
    """Return an option that is one count for both ends, or one for each."""
    counts = tuple(value) if isinstance(value, (tuple, list)) and len(value) == 2 else (value,) * 2
    first, last = (whole(count, layer, option, least=0) for count in counts)
    return first, last


def padding_of(value: Any, layer: str, names: Sequence[str]) -> str | list[int]:
    """Return an option that says how windows are padded: a name, or frames at start and end."""
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return list(pair(value, layer, "padding"))
    if value in names if isinstance(value, str) else False:
        return str(value)
    listed = ", ".join(repr(name) for name in names)
    raise OptionError(
        f"{layer}: padding is one of {listed}, or a pair of frames added at the start and the end; "
        f"found {told(value)}"
    )


def fraction(value: Any, layer: str, option: str) -> float:
    """Return an option that is a number from 0 to 1."""
    number = finite(value)
    if number is None or not 0 <= number <= 1:
        raise OptionError(f"{layer}: {option} is a number from 0 to 1; found {told(value)}")
    return number


def real(value: Any, layer: str, option: str) -> float | str:
    """Return an option that is any number of float32, as attributes of a graph hold it.

    Infinite ones and NaN, which JSON has not, are "inf", "-inf" and "nan".
    """
    number = finite(value)
    if number is None and isinstance(value, (float, np.floating)):
        return str(float(value))  # as Python writes them
    exact = isinstance(value, (float, np.floating)) or (number is not None and int(value) == number)
    if number is None or not exact or abs(number) > _MAX_FLOAT:
        raise OptionError(
            f"{layer}: {option} is a number of float32, infinite ones and NaN too, and a whole one "
            f"has no more digits than a float64 holds; found {told(value)}"
        )
    return number


def choice(value: Any, layer: str, option: str, choices: Sequence[str | None]) -> Any:
    """Return an option that is one of `choices`."""
    if not (value is None or isinstance(value, str)) or value not in choices:
        listed = ", ".join(repr(known) for known in choices)
        raise OptionError(f"{layer}: {option} is one of {listed}; found {told(value)}")
    return value


def several(values: Any, what: str) -> list[Any]:
    """Return what must be several values, in a list or anything else that yields them."""
    # A string yields its characters, which is hardly ever meant.
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise DtypeError(f"{what}: expected a list; found {told(values)}")
    return list(values)


def axes_of(value: Any, layer: str, option: str = "axis") -> tuple[int, ...]:
    """Return an option that names an axis or several, in ascending order; never the batch.

    All count from the start (1 is the axis after the batch) or all from the end (-1 is the last),
    because a layer does not know how many there are.
    """
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    axes = sorted(whole(axis, layer, option, least=1 - _MAX_RANK) for axis in given)
    if 0 in axes:
        raise OptionError(f"{layer}: {option} 0 is the batch, whose rows stay apart")
    if not axes or len(set(axes)) < len(axes) or axes[-1] >= _MAX_RANK or axes[0] < 0 < axes[-1]:
        raise OptionError(
            f"{layer}: {option} names different axes, all counted from the start or all from the "
            f"end; found {told(value)}"
        )
    return tuple(axes)


def checked_axis(shape: Shape, axis: int, layer: str) -> int:
    """Return the size of an axis of a shape, batch included, which has to be known."""
    size = shape[axis] if -len(shape) < axis < len(shape) else None
    if size is None:
        raise OptionError(f"{layer}: the size of axis {axis} is not known")
    return size


def is_size(value: Any) -> bool:
    """Tell a constructor's size (Keras's form) from an array of weights."""
    # NumPy makes no array of rows of different shapes, which must get as far as a message.
    return not isinstance(value, (list, tuple)) and np.ndim(value) == 0


def checked_name(name: Any) -> str | None:
    """Return the name of a layer or input, or None for one that the model will name."""
    if name is None:
        return None
    if not isinstance(name, str) or not 0 < len(name) <= 200 or ":" in name:
        raise OptionError(
            f"a name is a string of 1 to 200 characters without a colon; found {name!r:.80}"
        )
    if not name.isprintable():
        raise OptionError(f"a name has printable characters only; found {name!r}")
    return name


def snake_case(name: str) -> str:
    """Return the name of a class as Keras writes it in the names of layers."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    return re.sub(r"(?<=[A-Z])(?=[A-Z][a-z])", "_", words).lower()


# ---- Symbols ------------------------------------------------------------------------------------


Key = tuple[int, int]


class Symbol:
    """A value that a model will compute: an `Input`, or an output of a layer called on symbols."""

    __slots__ = ("call", "index")

    def __init__(self, call: Call | None, index: int = 0) -> None:
        self.call = call
        self.index = index

    @property
    def key(self) -> Key:
        """The same for all symbols of one value."""
        return (id(self if self.call is None else self.call), self.index)

    def __repr__(self) -> str:
        return f"<output {self.index} of {self.call.layer!r}>" if self.call else "<input>"


class Input(Symbol):
    """An input of a model.

    Parameters
    ----------
    shape : tuple of (int or None)
        Without the batch: ``(None, 64)`` for sequences of 64 features of any length, ``(None,)``
        for token ids, ``()`` for one number a row.
    dtype : "float32", "int64" or "int32"
        Integers are token ids; both kinds are int64 inside.
    name : str, optional
        For ``model({name: array})``. Left out, the model chooses ``input``, ``input_1`` ...
    batch_axis : int
        Behind how many axes of `shape` the batch stands: 1 as in torch's (T, B, F), which is
        ``Input((None, F), batch_axis=1)``. Such an input is read by `layers.BatchFirst` alone; it
        may have lengths, and no mask.

    Raises
    ------
    OptionError

    Examples
    --------
    >>> import seqcore as sc
    >>> x = sc.Input((None, 8))
    >>> model = sc.Model(x, sc.Dense(1)(sc.LSTM(16)(x)))
    >>> model.layers[0].output_shape
    (None, 16)
    """

    __slots__ = ("batch_axis", "dtype", "name", "rules", "shape")

    def __init__(
        self,
        shape: Sequence[int | None],
        dtype: str = "float32",
        name: str | None = None,
        batch_axis: int = 0,
    ) -> None:
        super().__init__(None)
        if not isinstance(shape, (tuple, list)) or not len(shape) < _MAX_RANK:
            raise OptionError(
                f"Input: shape is a tuple of 0 to {_MAX_RANK - 1} sizes, without the batch; "
                f"found {shape!r}"
            )
        self.shape: Shape = tuple(
            None if size is None else whole(size, "Input", "a size in shape") for size in shape
        )
        choice(dtype, "Input", "dtype", ("float32", "int64", "int32"))
        self.dtype = "float32" if dtype == "float32" else "int64"
        self.name = checked_name(name)
        self.batch_axis = whole(batch_axis, "Input", "batch_axis", least=0)
        if self.batch_axis > len(self.shape):
            raise OptionError(
                f"Input: batch_axis is at most {len(self.shape)}, the axes of shape; "
                f"found {told(batch_axis)}"
            )
        self.rules: tuple[tuple[int, SizeRule], ...] = ()  # for importers: of axes, batch included

    def __repr__(self) -> str:
        second = f", batch_axis={self.batch_axis}" if self.batch_axis else ""
        return f"Input({self.shape}, {self.dtype!r}, name={self.name!r}{second})"


@dataclass(frozen=True)
class Slot:
    """A weight as Keras lists it.

    Attributes
    ----------
    role : str
        How its path ends: "kernel", of a Bidirectional "forward_lstm/kernel".
    shape : tuple of (int or None), or None
        None for a size that follows from the layer's input, or for any shape.
    home : str
        Where a .keras archive keeps it below the layer: "cell".
    trainable : bool
    floats : bool
    """

    role: str
    shape: Shape | None
    home: str = ""
    trainable: bool = True
    floats: bool = True


# Options that a layer's weights tell: those that stand before a constructor's named ones.
_SIZES = frozenset(["units", "filters", "kernel_size", "input_dim", "output_dim"])


@dataclass(frozen=True, eq=False)
class Call:
    """A layer applied to symbols.

    Attributes
    ----------
    layer : Layer
    inputs : tuple of Symbol
    states : tuple of Symbol
        Initial states, () when no symbols give them.
    masks : tuple of (Mask or None), or None
        Of the inputs, in place of those that they have; their sources are symbols.
    masked : bool
        Whether the layer sees masks; its result has the mask that it would have in any case.
    """

    layer: Layer
    inputs: tuple[Symbol, ...]
    states: tuple[Symbol, ...]
    masks: tuple[Mask | None, ...] | None = None
    masked: bool = True

    @property
    def needed(self) -> tuple[Symbol, ...]:
        """All symbols that must have been computed."""
        return (
            self.inputs
            + self.states
            + tuple(
                symbol
                for mask in _parts(self.masks or ())
                for symbol in mask.sources
                if isinstance(symbol, Symbol)
            )
        )


def _parts(masks: Iterable[Any]) -> list[Mask]:
    """Return masks and all masks that they are made of, each once."""
    found: dict[Mask, None] = {}
    pending = list(masks)
    while pending:
        mask = pending.pop()
        if isinstance(mask, Mask) and mask not in found:
            found[mask] = None
            pending += mask.sources
    return list(found)


def _symbols(values: Iterable[Any], label: str) -> tuple[Symbol, ...]:
    """Flatten symbols and lists of them; everything else is an error."""
    flat: list[Symbol] = []
    for value in values:
        if isinstance(value, Symbol):
            flat.append(value)
        elif isinstance(value, (tuple, list)):
            flat.extend(_symbols(value, label))
        else:
            raise GraphError(
                f"{label}: a layer is called on Input(...) or on what another layer returned; "
                f"found {type(value).__name__} (arrays go to a Model)"
            )
    return tuple(flat)


# ---- Layers -------------------------------------------------------------------------------------


class Layer:
    """Base of all layers. A layer is immutable, and shares its weights wherever it is called.

    Attributes
    ----------
    name : str or None
        None for a layer that its model names.
    built : bool
        Whether it has all its weights.
    """

    inputs = (1, 1)  # fewest and most values that a call takes
    framewise = False  # it treats each frame alone already: TimeDistributed changes nothing
    is_composite = False  # a model's list shows the layers inside, not it
    reads_mask = False  # what it computes depends on its input's mask
    keeps_mask = False  # its first input's mask is its result's, as in Keras (supports_masking)
    batch_axis = 0  # of the values that it takes

    def __init__(self, name: str | None = None) -> None:
        self.name = checked_name(name)

    # What a kind of layer says about itself.

    @property
    def kind(self) -> str:
        """The name of its class."""
        return type(self).__name__

    @property
    def label(self) -> str:
        """How messages call it."""
        return self.name or self.kind

    @property
    def built(self) -> bool:
        return True

    @property
    def states(self) -> int:
        """How many initial states a call takes."""
        return 0

    @property
    def outputs(self) -> int:
        """How many values a call returns."""
        return 1

    def input_spec(self) -> tuple[Shape, str] | None:
        """Return shape and dtype of the `Input` that this layer implies, or None."""
        return None

    def parameters(self, shape: Shape) -> int:  # noqa: ARG002
        """Count parameters as the framework that the layer comes from.

        Parameters
        ----------
        shape : tuple of (int or None)
            Of the layer's first input, batch included; read only by a layer without weights.
        """
        return 0

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        """Add this layer's nodes to a graph and return its outputs.

        Whoever needs a mask asks ``graph.mask(inputs[0])``; masks of the outputs are `mask`'s.
        """
        raise NotImplementedError

    def mask(self, inputs: Sequence[Value]) -> Mask | None:
        """Return the mask of the first output; the others have none."""
        return inputs[0].mask if self.keeps_mask else None

    def apply(
        self, graph: GraphBuilder, site: Site, inputs: Sequence[Value], *, masked: bool = True
    ) -> list[Value]:
        """Lower the layer, and give its result the mask that belongs to it.

        Raises
        ------
        GraphError
            A value has its batch in another axis than this layer reads.
        """
        graph.layer_name = site.layer
        for value in (*inputs, *(site.states or ())):
            if value.batch_axis != self.batch_axis:
                hint = " (BatchFirst makes that of it)" if value.batch_axis else ""
                raise GraphError(
                    f"layer {site.layer!r}: expected values whose batch is axis {self.batch_axis}"
                    f"{hint}; that of {value.name!r} is axis {value.batch_axis}"
                )
        seen = inputs if masked else [replace(value, mask=None) for value in inputs]
        first, *rest = self.lower(graph, site, seen)
        return [replace(first, mask=self.mask(inputs)), *rest]

    # What Keras keeps of it.

    def keras_weights(self) -> list[Slot]:
        """Return its weights as Keras lists them; sizes may be those of a layer without weights."""
        return []

    def loaded(self, arrays: Sequence[Array]) -> Layer:
        """Return the same layer with weights, given in the order of `keras_weights`."""
        if not self.keras_weights():
            return self
        options = {name: given for name, given in self.options.items() if name not in _SIZES}
        made: Layer = type(self).from_keras(arrays, **options)  # type: ignore[attr-defined]
        return made

    @property
    def options(self) -> dict[str, Any]:
        """What its constructor was given, by name."""
        names = list(inspect.signature(type(self).__init__).parameters)[1:]
        return {**dict(zip(names, self._given, strict=False)), **self._options}

    # What all layers do.

    _given: tuple[Any, ...] = ()
    _options: Mapping[str, Any] = {}

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Let the constructor remember what it is given, with the signature that it has."""
        super().__init_subclass__(**keywords)
        if "__init__" not in cls.__dict__:
            return
        init = cls.__init__

        @functools.wraps(init)
        def remembering(self: Layer, *given: Any, **options: Any) -> None:
            if "_given" not in self.__dict__:  # not yet by the class that is being made
                self._given, self._options = given, options
            init(self, *given, **options)

        cls.__init__ = remembering  # type: ignore[method-assign]

    @property
    def stem(self) -> str:
        """What the names that models give it begin with: its class in snake_case."""
        return snake_case(self.kind)

    def __call__(
        self,
        *inputs: Any,
        initial_state: Any = None,
        masks: Sequence[Mask | None] | None = None,
        masked: bool = True,
    ) -> Any:
        """Apply the layer to symbols.

        Parameters
        ----------
        *inputs : Symbol, or list of Symbol
        initial_state : Symbol or list of Symbol, optional
            Of a recurrent layer: h, or [h, c]; of Bidirectional forward's, then backward's.
        masks : sequence of (Mask or None), optional
            Of the inputs, in place of those that they have: what importers found in a file.
        masked : bool
            False: the layer sees no mask, though its result keeps it, as Keras 3 has it where a
            recurrent layer is given initial states.

        Returns
        -------
        Symbol, or tuple of Symbol
            A tuple when the layer has several outputs (return_state).
        """
        symbols = _symbols(inputs, self.label)
        least, most = self.inputs
        if not least <= len(symbols) <= most:
            expected = str(least) if least == most else f"{least} or more"
            raise GraphError(f"{self.label}: expected {expected} inputs, found {len(symbols)}")
        given = () if initial_state is None else _symbols([initial_state], self.label)
        if initial_state is not None and len(given) != self.states:
            raise GraphError(
                f"{self.label}: expected {self.states} initial states, found {len(given)}"
            )
        call = Call(self, symbols, given, None if masks is None else tuple(masks), masked)
        made = tuple(Symbol(call, index) for index in range(self.outputs))
        return made[0] if len(made) == 1 else made

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name!r}>" if self.name else f"<{self.kind}>"


class Plain(Layer):
    """A layer that is one op without weights or options."""

    op: str
    time = "gone"

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return graph.node(self.op, site, inputs, time=self.time)
