"""RNN, LSTM and GRU: one layer each, in one or two directions.

Where onnxruntime and ONNX's text differ, the run decides: docs/design.md, "ONNX's cells"
and "ONNX graphs: recurrent operators".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .... import layouts
from ....activation import ActivationSpec, told
from ....graph import Mask
from ....layers import GRU, LSTM, Concatenate, Layer, RecurrentStack, SimpleRNN, Symbol
from ...aten.arguments import as_traced, floats, joined_size
from ...aten.operators.elementwise import compare
from ...aten.operators.recurrent import framed, of_all_rows, sequence_axes
from ...aten.sizes import AnySize
from ...aten.tensors import Axis, Constant, RefusedError, Traced, split, told_sizes
from .table import Context, aten, operator, shape, text, weights

_CLASSES: dict[str, Any] = {"SimpleRNN": SimpleRNN, "LSTM": LSTM, "GRU": GRU}
_DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}


# ---- Activations ---------------------------------------------------------------------------------

# By the names that onnxruntime takes, in any case: our kind, and the constants that it takes from
# the lists, with what they are where a list is at its end (None: neither ONNX nor a run gives one
# that anybody could mean).
_ACTIVATIONS: dict[str, tuple[str, tuple[float | None, ...]]] = {
    "relu": ("relu", ()),
    "tanh": ("tanh", ()),
    "sigmoid": ("sigmoid", ()),
    "softsign": ("softsign", ()),
    "softplus": ("softplus", ()),
    "affine": ("affine", (None, 0.0)),
    "leakyrelu": ("leaky_relu", (0.01,)),
    "thresholdedrelu": ("threshold", (0.0,)),
    "scaledtanh": ("scaled_tanh", (None, None)),
    "hardsigmoid": ("hard_sigmoid", (0.2, 0.5)),
    "elu": ("elu", (1.0,)),
}
_USUAL = {"SimpleRNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}


def _activations(
    kind: str, directions: int, names: Any, alpha: Any, beta: Any
) -> list[tuple[ActivationSpec, ...]]:
    """Return the activations of every direction.

    Each takes of both lists what it has a use for, in the order of their names.
    """
    usual = _USUAL[kind]
    names = usual * directions if names is None else list(names)
    if len(names) != len(usual) * directions:
        raise RefusedError(f"with {len(names)} activations; expected {len(usual) * directions}")
    lists = {"alpha": iter(alpha or ()), "beta": iter(beta or ())}
    specs = [_activation(text(name), lists) for name in names]
    return [tuple(specs[k : k + len(usual)]) for k in range(0, len(specs), len(usual))]


def _activation(name: str, lists: Mapping[str, Any]) -> ActivationSpec:
    if name.lower() not in _ACTIVATIONS:
        raise RefusedError(f"with the activation {told(name)}, which ONNX does not have")
    kind, usual = _ACTIVATIONS[name.lower()]
    constants: dict[str, float] = {}
    for (which, given), default in zip(lists.items(), usual, strict=False):
        value = next(given, default)
        if value is None:
            raise RefusedError(f"with {name}, whose {which} nothing says: activation_{which}")
        constants[which] = value
    return ActivationSpec(kind, **constants)


def _by_option(kind: str, specs: Sequence[ActivationSpec]) -> dict[str, Any]:
    """Return the activations of one direction as options of its layer."""
    if kind == "SimpleRNN":
        return {"activation": specs[0]}
    if kind == "GRU":
        return {"recurrent_activation": specs[0], "activation": specs[1]}
    same = specs[1] == specs[2]
    inner = specs[1] if same else {"g": specs[1], "h": specs[2]}
    return {"recurrent_activation": specs[0], "activation": inner}


# ---- One node ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sequence:
    """What a node goes over.

    Attributes
    ----------
    tensor : Traced
    batch, time : tuple of Axis
        What the dims of these are made of.
    more : tuple of Axis
        Axes that stand beside the batch, or in its place.
    batch_first : bool
        Whether X is (B, T, I), and states are (B, D, H).
    """

    tensor: Traced
    batch: tuple[Axis, ...]
    time: tuple[Axis, ...]
    more: tuple[Axis, ...]
    batch_first: bool

    @property
    def groups(self) -> list[tuple[Axis, ...]]:
        """Axes between the batch and what a row has."""
        return [self.more] if self.more else []

    def rows(self, per_row: Sequence[Axis], tensor: Traced, dim: int) -> Symbol:
        """Return a symbol (batch, [more], one for each of `per_row`) of a tensor.

        `dim` is where its rows are.
        """
        if self.more and not self.batch and tensor.batch_dim is not None:
            raise RefusedError(
                "over rows that are none of the batch, which others of its inputs have"
            )
        own = tuple(axis for axis in tensor.dims[dim] if not axis.is_batch)
        groups = [own if joined_size(own) != 1 else self.more] if self.more else []
        return tensor.arranged([*groups, *((axis,) for axis in per_row)])


def _sequence(X: Any, batch_first: bool) -> _Sequence:
    tensor = floats(X)
    (batch, time), more = sequence_axes(tensor, batch_first)
    return _Sequence(tensor, batch, time, more, batch_first)


@dataclass(frozen=True)
class _Cells:
    """What a node does with a sequence, whichever it is.

    Attributes
    ----------
    directions : list of Recurrent
        One layer each, forward first.
    backward : bool
        Whether there is one direction, and that backward.
    key : tuple
        Equal for nodes that have the same weights and options.
    """

    directions: list[Any]
    backward: bool
    key: tuple[Any, ...]

    @property
    def units(self) -> int:
        units: int = self.directions[0].units
        return units


def _cells(
    kind: str, label: str, given: Mapping[str, Any], activations: Any, activation_alpha: Any,
    activation_beta: Any, clip: float | None, direction: Any, hidden_size: int | None,
    **options: Any,
) -> _Cells:  # fmt: skip
    """Return the layers of a node, of its weights and attributes by their names."""
    way = text(direction)
    if way not in _DIRECTIONS:
        raise RefusedError(f"with direction={told(way)}")
    specs = _activations(kind, _DIRECTIONS[way], activations, activation_alpha, activation_beta)
    arrays = {name: weights(value, name) for name, value in given.items() if value is not None}
    found = layouts.onnx_recurrent(kind, label=label, **arrays)
    if len(found) != len(specs):
        raise RefusedError(f"direction={way} with weights of {len(found)} directions")
    made = [
        _CLASSES[kind].from_cell(cell, clip=clip, **_by_option(kind, own), **options)
        for cell, own in zip(found, specs, strict=True)
    ]
    if hidden_size not in (None, made[0].units):
        raise RefusedError(
            f"with hidden_size={told(hidden_size)} and weights of {made[0].units} units"
        )
    keys = (getattr(value, "key", None) for value in given.values())
    return _Cells(made, way == "reverse", (kind, *keys, *specs, clip, way, *options.items()))


def _run(
    context: Context, kind: str, X: Any, given: Mapping[str, Any], sequence_lens: Any,
    states: Sequence[Any], *, layout: int, **attributes: Any,
) -> tuple[Any, ...]:  # fmt: skip
    """Return Y and the final states, None where nobody wants it; `given` are the weights."""
    label = context.label()
    cells = _cells(kind, label, given, **attributes)
    if layout not in (0, 1):
        raise RefusedError(f"with layout={told(layout)}")
    first = [_state(context, state, cells, layout == 1) for state in states]
    _check(X, sequence_lens, cells)
    sequence = _sequence(X, layout == 1)
    lengths = _lengths(sequence, sequence_lens)
    # Without Y what the layer gives is the last h, of both directions.
    timed, wanted = context.wanted(0), [context.wanted(1 + k) for k in range(len(states))]
    finals = any(wanted) if timed else any(wanted[1:])
    options = {
        "return_sequences": timed, "return_state": finals, "backward": cells.backward,
        "zero_output_for_mask": lengths is not None,
    }  # fmt: skip
    layer = context.once(
        (*cells.key, *options.values(), bool(sequence.more)),
        lambda name: framed(
            RecurrentStack([cells.directions], name=name, **options), sequence.more
        ),
        label,
    )
    initial = _initial(context, sequence, first, cells, lengths, any(wanted))
    y, *last = _called(context, layer, sequence, initial, lengths)
    made = [_joined(context, sequence, last[k :: len(states)], cells, timed=False)
            if finals and wanted[k] else None for k in range(len(states))]  # fmt: skip
    whole = _joined(context, sequence, [y], cells, timed=timed)
    return (whole, *made) if timed else (None, whole, *made[1:])


def _check(X: Any, sequence_lens: Any, cells: _Cells) -> None:
    """Refuse what is wrong whichever axis the batch is, before that is looked for."""
    if len(shape(X)) != 3:
        raise RefusedError(f"of {len(shape(X))} axes")
    features = len(cells.directions[0].weights["W"])
    if shape(X)[-1] != features:
        raise RefusedError(f"of {shape(X)[-1]} features, and weights of {features}")
    if sequence_lens is not None and len(shape(sequence_lens)) != 1:
        raise RefusedError("its sequence_lens is no vector")


def _called(
    context: Context, layer: Layer, sequence: _Sequence, initial: Sequence[Symbol], lengths: Any
) -> list[Symbol]:
    """Call a layer on a sequence."""
    tensor = sequence.tensor
    symbol = tensor.arranged([*sequence.groups, sequence.time, tensor.dims[-1]])
    more: dict[str, Any] = {"initial_state": list(initial)} if initial else {}
    if lengths is not None:
        more["masks"] = [Mask("value", (_mask(context, sequence, lengths),))]
    made = layer(symbol, **more)
    return list(made) if isinstance(made, tuple) else [made]


def _joined(
    context: Context, sequence: _Sequence, symbols: Sequence[Symbol], cells: _Cells, *, timed: bool
) -> Traced:
    """Return Y, or final states, of one symbol for each direction or of one with all of them.

    Directions lie beside each other, as most who read both want them.
    """
    outer = [Axis(joined_size(sequence.more))] if sequence.more else []
    rows = (*sequence.batch, *outer)
    steps = [Axis(joined_size(sequence.time))] if timed else []
    symbol = symbols[0] if len(symbols) == 1 else Concatenate(-1)(*symbols)
    count = len(cells.directions)
    features = Axis(count * cells.units)
    time = [(step,) for step in steps]
    joined = Traced(symbol, (context.batch, *outer, *steps, features), (rows, *time, (features,)))
    way: tuple[Axis, ...] = ()
    own = features
    if count > 1:
        joined, (first, own) = split(joined, features, [count, cells.units])
        way = (first,)
    dims = [rows, *time, way] if sequence.batch_first else [*time, way, rows]
    return joined.seen_as([*dims, (own,)])


# ---- Lengths -------------------------------------------------------------------------------------


def _lengths(sequence: _Sequence, given: Traced | Constant | None) -> Traced | Constant | None:
    """Return the lengths of rows, (B,); None if every row is whole."""
    if not isinstance(given, Constant):
        return given
    steps = joined_size(sequence.time)
    lengths: list[AnySize] = given.array.reshape(-1).tolist()
    if all(_is_whole(length, steps) for length in lengths):
        return None
    if len(set(lengths)) == 1:
        return Constant.of(given.array[:1])
    if sequence.batch:
        raise RefusedError("its sequence_lens differ from row to row, and the batch is free")
    return given


def _is_whole(length: AnySize, steps: AnySize) -> bool:
    known = isinstance(length, int) and isinstance(steps, int)
    return length >= steps if known else length == steps  # type: ignore[operator]


def _mask(context: Context, sequence: _Sequence, lengths: Traced | Constant) -> Symbol:
    """Return which frames a row has, (B, [more], T)."""
    own = aten(context, "unsqueeze", self=lengths, dim=1)
    if sequence.time and joined_size(sequence.time) != 1:
        place = context.positions_of(sequence.tensor, _alone(sequence.time))
        mask = compare(context, "less", place, own)
    else:
        mask = compare(context, "greater", as_traced(context, own), 0)
    return sequence.rows([*mask.dims[1]] or [Axis(1)], mask, 0)


def _alone(dim: Sequence[Axis]) -> Axis:
    real = [axis for axis in dim if axis.size != 1]
    if len(real) != 1:
        raise RefusedError("with sequence_lens, over time that is joined of several axes")
    return real[0]


# ---- States --------------------------------------------------------------------------------------


def _state(context: Context, state: Any, cells: _Cells, batch_first: bool) -> Any:
    """Return a state as (D, B, H), (D, 1, H) of one that all rows have; None of zeros."""
    if state is None or (isinstance(state, Constant) and not state.array.any()):
        return None
    if batch_first:
        state = aten(context, "transpose", self=state, dim0=0, dim1=1)
    count, units = len(cells.directions), cells.units
    if len(state.sizes) != 3 or state.sizes[0] != count or state.sizes[2] != units:
        raise RefusedError(
            f"of states {told_sizes(state.sizes)}; expected those of {count} directions and "
            f"{units} units"
        )
    return of_all_rows(state)


def _initial(
    context: Context, sequence: _Sequence, states: Sequence[Any], cells: _Cells, lengths: Any,
    wanted: bool,
) -> list[Symbol]:  # fmt: skip
    """Return every direction's initial states, (B, H); none if all are zero.

    A row of no frames ends in zeros, whatever it began with: so it begins with them, if anybody
    wants to know.
    """
    if all(state is None for state in states):
        return []
    for state in states:
        if isinstance(state, Constant) and sequence.batch and state.sizes[1] != 1:
            raise RefusedError("of states that differ from row to row, and the batch is free")
    some = None
    if lengths is not None and wanted:
        some = compare(context, "greater", as_traced(context, lengths), 0)
        some = aten(context, "unsqueeze", self=some, dim=1)
    zeros = Constant.of(np.zeros((len(cells.directions), 1, cells.units), np.float32))
    made = []
    for direction in range(len(cells.directions)):
        for state in states:
            whole = zeros if state is None else state
            one = aten(context, "select", self=whole, dim=0, index=direction)
            if some is not None:
                one = aten(context, "where", condition=some, self=one, other=0.0)
            one = as_traced(context, one)
            made.append(sequence.rows(one.dims[1], one, 0))
    return made


# ---- The operators -------------------------------------------------------------------------------


@operator("RNN")
def rnn(
    context: Context, X: Any, W: Any, R: Any, B: Any = None, sequence_lens: Any = None,
    initial_h: Any = None, *, activations: Any = None, activation_alpha: Any = None,
    activation_beta: Any = None, clip: float | None = None, direction: str = "forward",
    hidden_size: int | None = None, layout: int = 0,
) -> Any:  # fmt: skip
    return _run(
        context, "SimpleRNN", X, {"W": W, "R": R, "B": B}, sequence_lens, [initial_h],
        activations=activations, activation_alpha=activation_alpha,
        activation_beta=activation_beta, clip=clip, direction=direction, hidden_size=hidden_size,
        layout=layout,
    )  # fmt: skip


@operator("GRU")
def gru(
    context: Context, X: Any, W: Any, R: Any, B: Any = None, sequence_lens: Any = None,
    initial_h: Any = None, *, activations: Any = None, activation_alpha: Any = None,
    activation_beta: Any = None, clip: float | None = None, direction: str = "forward",
    hidden_size: int | None = None, layout: int = 0, linear_before_reset: int = 0,
) -> Any:  # fmt: skip
    return _run(
        context, "GRU", X, {"W": W, "R": R, "B": B}, sequence_lens, [initial_h],
        activations=activations, activation_alpha=activation_alpha,
        activation_beta=activation_beta, clip=clip, direction=direction, hidden_size=hidden_size,
        layout=layout, reset_after=linear_before_reset != 0,
    )  # fmt: skip


@operator("LSTM")
def lstm(
    context: Context, X: Any, W: Any, R: Any, B: Any = None, sequence_lens: Any = None,
    initial_h: Any = None, initial_c: Any = None, P: Any = None, *, activations: Any = None,
    activation_alpha: Any = None, activation_beta: Any = None, clip: float | None = None,
    direction: str = "forward", hidden_size: int | None = None, layout: int = 0,
    input_forget: int = 0,
) -> Any:  # fmt: skip
    return _run(
        context, "LSTM", X, {"W": W, "R": R, "B": B, "P": P}, sequence_lens,
        [initial_h, initial_c], activations=activations, activation_alpha=activation_alpha,
        activation_beta=activation_beta, clip=clip, direction=direction, hidden_size=hidden_size,
        layout=layout, input_forget=input_forget != 0,
    )  # fmt: skip
