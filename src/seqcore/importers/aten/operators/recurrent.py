"""Recurrent operators: whole sequences, cells, and rows of their own lengths.

A row of ``pack_padded_sequence`` is a row with a mask: `seqcore.ragged` stands for it in programs
of live modules (packed.py), because torch.export cannot say it itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .... import layouts
from ....graph import GraphBuilder, Mask, Site
from ....layers import (
    GRU,
    LSTM,
    Concatenate,
    GRUCell,
    Layer,
    LSTMCell,
    Rearrange,
    RecurrentStack,
    SimpleRNN,
    SimpleRNNCell,
    Symbol,
    TimeDistributed,
)
from ....layers.shapes import expand
from ..arguments import Context, as_traced, floats, joined_size, named, traced
from ..tensors import Axis, Constant, RefusedError, Traced
from .elementwise import compare
from .shapes import select, unsqueeze
from .table import operator

_KINDS: dict[str, Any] = {"SimpleRNN": SimpleRNN, "LSTM": LSTM, "GRU": GRU}
_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")


def _weights(params: Sequence[Any], has_biases: bool, layers: int, directions: int) -> Any:
    """Return the flat list of weights by the names that a state_dict gives them."""
    count = layers * directions
    each, left = divmod(len(params), count)
    names = [*_NAMES[:2], *(_NAMES[2:4] if has_biases else ())]
    if left or each not in (len(names), len(names) + 1):
        raise RefusedError(f"{len(params)} weights of {count} cells")
    names += [_NAMES[4]] * (each - len(names))
    arrays = {}
    for index, weight in enumerate(params):
        if not isinstance(weight, Constant):
            raise RefusedError("with weights that vary")
        cell, part = divmod(index, each)
        suffix = "_reverse" if cell % directions else ""
        arrays[f"{names[part]}_l{cell // directions}{suffix}"] = weight.full()
    return arrays


class Frames(TimeDistributed):
    """A recurrent layer on every frame of frames: all of its results.

    Its states are those of the layer, (B, T, H) each.
    """

    def __init__(self, layer: Layer) -> None:
        Layer.__init__(self, layer.name)
        self.layer, self.framewise, self.is_composite = layer, False, False

    @property
    def outputs(self) -> int:
        return self.layer.outputs

    @property
    def states(self) -> int:
        return self.layer.states

    def inside(self, graph: GraphBuilder, site: Site) -> Site:
        folded = [
            graph.node("fold", site, [state], outputs=[f"{site.value}:state{k}"], time="gone")[0]
            for k, state in enumerate(site.states or ())
        ]
        return replace(super().inside(graph, site), states=tuple(folded) or None)


def framed(layer: Layer, more: Sequence[Axis]) -> Layer:
    """Return a layer, or one on every frame, where axes stand beside the batch."""
    return Frames(layer) if more else layer


def _run(
    context: Context, kind: str, input: Any, states: Sequence[Any], params: Sequence[Any],
    has_biases: bool, num_layers: int, bidirectional: bool, batch_first: bool, activation: str,
) -> Any:  # fmt: skip
    tensor, directions = floats(input), 2 if bidirectional else 1
    label = named(params[0]) if isinstance(params[0], Constant) else ""
    arrays = _weights(params, has_biases, num_layers, directions)
    found = layouts.torch_recurrent(kind, arrays, "", label or kind)
    initial = _initial(context, states, num_layers * directions)
    sequences, finals = context.wanted(0), any(context.wanted(1 + k) for k in range(len(states)))
    options = {
        "return_sequences": sequences, "return_state": finals,
        "zero_output_for_mask": tensor.mask is not None,
    }  # fmt: skip

    (batch, time), more = sequence_axes(tensor, batch_first)
    if more and (tensor.mask is not None or initial):
        raise RefusedError("over frames of frames, with lengths or states of their own")

    def make(name: str | None) -> Layer:
        rows = [
            [_KINDS[kind].from_cell(cell, activation=activation) for cell in row] for row in found
        ]
        return framed(RecurrentStack(rows, name=name, **options), more)

    key = (kind, *(weight.key for weight in params), activation, *options.values(), bool(more))
    layer = context.once(key, make, label)
    symbol = tensor.arranged([*([more] if more else []), time, tensor.dims[-1]])
    given: dict[str, Any] = {"initial_state": initial} if initial else {}
    if tensor.mask is not None:
        given["masks"] = [Mask("value", (tensor.mask,))]
    made = layer(symbol, **given)
    symbols = list(made) if isinstance(made, tuple) else [made]
    outer = [Axis(joined_size(more))] if more else []
    steps = Axis(joined_size(time))
    width = sum(len(cell.U) for cell in found[-1])
    y = None
    if sequences:
        features = Axis(width)
        dims = [(*batch, *outer), (steps,)] if batch_first else [(steps,), (*batch, *outer)]
        dims = dims if len(tensor.dims) == 3 else [(steps,)]
        y = Traced(symbols[0], (context.batch, *outer, steps, features), (*dims, (features,)))
    if not finals:
        return (y, *(None for _ in states))
    per, first = len(states), found[0][0]
    units = [len(first.U), first.U.shape[1] // layouts.GATES[kind]]  # of h, of c
    rank = len(tensor.dims)
    lasts = [
        _stacked(context, symbols[1 + k :: per], units[k], batch, outer, rank) for k in range(per)
    ]
    return (y, *lasts)


def sequence_axes(tensor: Traced, batch_first: bool) -> Any:
    """Return ((the batch's dim, time's), the axes that stand beside the batch)."""
    if len(tensor.dims) == 2:
        batch: tuple[Axis, ...] = ()
        time = tensor.dims[0]
    else:
        batch, time = tensor.dims[:2] if batch_first else (tensor.dims[1], tensor.dims[0])
    if tensor.batch in time or tensor.batch in tensor.dims[-1]:
        raise RefusedError("over the rows of the batch")
    if tensor.batch_dim is None:
        return ((), time), tuple(axis for axis in batch if axis.size != 1)
    if tensor.batch not in batch:
        raise RefusedError("over the rows of the batch")
    more = tuple(axis for axis in batch if not axis.is_batch and axis.size != 1)
    if more and batch[0] is not tensor.batch:
        raise RefusedError("the batch is joined with another axis")
    return ((tensor.batch,), time), more


def _initial(context: Context, states: Sequence[Any], cells: int) -> list[Symbol]:
    """Return every cell's initial states; none if all are zero."""
    if _zero(states):
        return []
    made = []
    for cell in range(cells):
        for state in states:
            one = select(context, as_traced(context, of_all_rows(state)), 0, cell)
            made.append(_vector(one))
    return made


def _zero(states: Sequence[Any]) -> bool:
    """Tell whether all states are zero, which is what they are if nobody gives any."""
    return all(isinstance(state, Constant) and not state.array.any() for state in states)


def of_all_rows(state: Any) -> Any:
    """Return a learned state (..., B, H) that was repeated for as many rows as the example had."""
    if not isinstance(state, Constant) or state.array.ndim < 2:
        return state
    one = state.array[..., :1, :]
    if not np.array_equal(np.broadcast_to(one, state.array.shape), state.array):
        return state
    return Constant(one, (*state.sizes[:-2], 1, state.sizes[-1]))


def _vector(state: Traced) -> Symbol:
    """Return a state (B, H), or (H,) of all rows."""
    return state.arranged([state.dims[-1]])


def _stacked(
    context: Context, symbols: Sequence[Symbol], units: int, batch: Sequence[Axis],
    outer: Sequence[Axis], rank: int,
) -> Traced:  # fmt: skip
    """Return final states as torch gives them, (cells, B, H), of one symbol (B, H) each."""
    place = 1 + len(outer)
    frames = [Rearrange([expand(place)])(symbol) for symbol in symbols]
    cells, features = Axis(len(symbols)), Axis(units)
    symbol = frames[0] if len(frames) == 1 else Concatenate(place)(*frames)
    rows = (*batch, *outer)
    dims = ((cells,), rows, (features,)) if rank == 3 else ((cells,), (features,))
    return Traced(symbol, (context.batch, *outer, cells, features), dims)


def _gates(kind: str, activation: str = "tanh") -> Any:
    def apply(
        context: Context, input: Any, hx: Any, params: Any, has_biases: bool,
        num_layers: int, dropout: float, train: bool, bidirectional: bool, batch_first: bool,
    ) -> Any:  # fmt: skip
        if train and dropout:
            raise RefusedError("in training mode; export module.eval()")
        states = hx if isinstance(hx, list) else [hx]
        return _run(
            context, kind, input, states, params, has_biases, num_layers, bidirectional,
            batch_first, activation,
        )  # fmt: skip

    return apply


operator("aten.lstm")(_gates("LSTM"))
operator("aten.gru")(_gates("GRU"))
operator("aten.rnn_tanh")(_gates("SimpleRNN"))
operator("aten.rnn_relu")(_gates("SimpleRNN", "relu"))


# ---- Cells ---------------------------------------------------------------------------------------


def _frame(context: Context, value: Any) -> Traced:
    """Return what a cell takes; a constant must be the same for all rows of the batch."""
    if not isinstance(value, Constant):
        return floats(value)
    one = as_traced(context, of_all_rows(value))
    if len(value.sizes) != 2 or one.dims[0] or value.sizes[0] != context.batch.size:
        raise RefusedError("of a constant")
    return one.seen_as(((context.batch,), one.dims[-1]))


_CELLS: dict[str, Any] = {"SimpleRNN": SimpleRNNCell, "LSTM": LSTMCell, "GRU": GRUCell}


def _cell(kind: str, activation: str = "tanh") -> Any:
    def apply(
        context: Context, input: Any, hx: Any, w_ih: Any, w_hh: Any,
        b_ih: Any = None, b_hh: Any = None,
    ) -> Any:  # fmt: skip
        frame, states = _frame(context, input), hx if isinstance(hx, list) else [hx]
        params = [weight for weight in (w_ih, w_hh, b_ih, b_hh) if weight is not None]
        arrays = _weights(params, b_ih is not None, 1, 1)
        label = named(w_ih)
        ((found,),) = layouts.torch_recurrent(kind, arrays, "", label or kind)

        def make(name: str | None) -> Layer:
            cell: Layer = _CELLS[kind](1, name=name)
            cell.layer = _KINDS[kind].from_cell(found, activation=activation)  # type: ignore[attr-defined]
            return cell

        layer = context.once((kind, *(p.key for p in params), activation), make, label)
        if frame.batch_dim not in (0, None) or len(frame.dims[0]) != 1:
            raise RefusedError("the batch is joined with another axis")
        given = (
            []
            if _zero(states)
            else [_vector(as_traced(context, of_all_rows(state))) for state in states]
        )
        made = layer(frame.arranged([frame.dims[-1]]), initial_state=given or None)
        lead = frame.dims[:-1]
        results = []
        for symbol in made[1:]:
            units = Axis(len(found.U))
            results.append(Traced(symbol, (context.batch, units), (*lead, (units,))))
        return results[0] if kind != "LSTM" else tuple(results)

    return apply


operator("aten.lstm_cell")(_cell("LSTM"))
operator("aten.gru_cell")(_cell("GRU"))
operator("aten.rnn_tanh_cell")(_cell("SimpleRNN"))
operator("aten.rnn_relu_cell")(_cell("SimpleRNN", "relu"))


# ---- Rows of their own lengths -------------------------------------------------------------------


@operator("seqcore.unpadded")
def unpadded(context: Context, x: Any, lengths: Any, batch_first: bool) -> Any:
    """Return a sequence that torch would cut to its longest row."""
    del lengths
    tensor = floats(x)
    (_, time), _ = sequence_axes(tensor, batch_first)
    context.longest_is(joined_size(time))
    return tensor


@operator("seqcore.ragged")
def ragged(context: Context, x: Any, lengths: Any, batch_first: bool) -> Any:
    """Return a sequence of which the recurrent layer behind it sees each row's own frames."""
    tensor = floats(x)
    (_, time), more = sequence_axes(tensor, batch_first)
    if more or len(time) != 1:
        raise RefusedError("of frames of frames")
    place = context.positions_of(tensor, time[0])
    own = unsqueeze(context, traced(lengths), 1)
    mask = compare(context, "less", place, own)
    symbol = mask.arranged([mask.dims[-1]])
    return replace(tensor, mask=symbol)
