"""Packed sequences while a module is exported: padded tensors that know their lengths.

torch.export cannot follow pack_padded_sequence, since how many steps remain depends on the lengths'
values. Nothing has to be packed here: a core that knows each row's length runs padded rows, in any
order. So a mode stands between forward and torch and answers for the calls that pack, run and pad:

    pack_padded_sequence(x, lengths)     nothing is computed
    nn.LSTM, nn.GRU or nn.RNN            aten.lstm.input (...) of seqcore.ragged(x, lengths)
    pad_packed_sequence                  nothing is computed; T stays that of x

In place of a PackedSequence's tensors forward is given stand-ins, made by an operator of their own,
"seqcore.packed" and "seqcore.sorted_rows". Whatever forward does with them that is not answered
here leaves such an operator in the graph, which live.py refuses: nothing goes wrong silently.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, NoReturn

import torch
from torch.nn.modules import rnn as rnn_modules
from torch.nn.utils import rnn
from torch.overrides import TorchFunctionMode

from ...errors import UnsupportedLayerError

__all__ = ["PackedSequences"]

_FRAMES = 20
# Where torch sorts rows and puts them back.
_MOVES = (rnn.pack_padded_sequence, rnn.pad_packed_sequence, rnn_modules._apply_permutation)

# Functions of one step's features, whose first argument is the input: they may run on padded rows.
_PER_STEP = ("dropout", "embedding", "linear", "layer_norm", "relu", "gelu", "sigmoid", "tanh")


def _sizes(x: torch.Tensor, batch_first: bool) -> tuple[Any, Any]:
    """Sizes of the axes B and T."""
    return (x.shape[0], x.shape[1]) if batch_first else (x.shape[1], x.shape[0])


@torch.library.custom_op("seqcore::ragged", mutates_args=())
def _ragged(x: torch.Tensor, lengths: torch.Tensor, batch_first: bool) -> torch.Tensor:
    """x, (B, T, ...) or (T, B, ...), with zeros behind each row's length."""
    steps = torch.arange(_sizes(x, batch_first)[1], device=x.device)
    valid = steps[None, :] < lengths.to(x.device)[:, None]
    valid = valid if batch_first else valid.T
    return torch.where(valid.reshape(*valid.shape, *[1] * (x.dim() - 2)), x, torch.zeros_like(x))


@_ragged.register_fake
def _(x: torch.Tensor, lengths: torch.Tensor, batch_first: bool) -> torch.Tensor:
    torch._check(lengths.shape[0] == _sizes(x, batch_first)[0])  # type: ignore[no-untyped-call]
    return torch.empty_like(x)


def _recurrent(name: str, states: int) -> Any:
    """An operator that stands for torch's own until the graph is there.

    Of those torch finds out the results' shapes by unrolling them, which fixes T and takes seconds.
    """
    hx = "Tensor[]" if states == 2 else "Tensor"
    schema = (
        f"(Tensor input, {hx} hx, Tensor[] params, bool has_biases, int num_layers, float dropout, "
        "bool train, bool bidirectional, bool batch_first) -> "
        f"({', '.join(['Tensor'] * (1 + states))})"
    )
    function = getattr(torch._VF, name)
    operator = torch.library.custom_op(
        f"seqcore::{name}", lambda *args: function(*args), mutates_args=(), schema=schema
    )

    @operator.register_fake
    def _(x: torch.Tensor, hx: Any, *more: Any) -> tuple[torch.Tensor, ...]:
        hidden = list(hx) if states == 2 else [hx]
        _check_states(x, hidden, *more)
        units = hidden[0].shape[-1] * (2 if more[5] else 1)
        return x.new_empty((*x.shape[:-1], units)), *(torch.empty_like(state) for state in hidden)

    return operator


def _check_states(
    x: torch.Tensor, states: Sequence[torch.Tensor], params: Sequence[torch.Tensor],
    has_biases: bool, num_layers: int, dropout: float, train: bool, bidirectional: bool,
    batch_first: bool,
) -> None:  # fmt: skip
    """Have sizes of states be what they must be, which nn.LSTM leaves open for packed rows."""
    del has_biases, dropout, train
    units = [params[1].shape[1], params[0].shape[0] // 4]  # of an LSTM's h and c, else of h
    for state, size in zip(states, units, strict=False):
        wanted = (num_layers * (1 + bidirectional), _sizes(x, batch_first)[0], size)
        for own, other in zip(state.shape, wanted, strict=True):
            torch._check(own == other)  # type: ignore[no-untyped-call]


_RECURRENT = {
    "lstm": _recurrent("lstm", 2),
    "gru": _recurrent("gru", 1),
    "rnn_tanh": _recurrent("rnn_tanh", 1),
    "rnn_relu": _recurrent("rnn_relu", 1),
}


_max_pool1d = torch.library.custom_op(
    "seqcore::max_pool1d",
    lambda *args: torch.max_pool1d(*args),
    mutates_args=(),
    schema="(Tensor self, int[] kernel_size, int[] stride, int[] padding, int[] dilation) "
    "-> Tensor",
)


@_max_pool1d.register_fake
def _(
    x: torch.Tensor,
    kernel_size: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
) -> torch.Tensor:
    room = x.shape[-1] + 2 * padding[0] - dilation[0] * (kernel_size[0] - 1) - 1
    return x.new_empty((*x.shape[:-1], room // (stride or kernel_size)[0] + 1))


def _pooled(
    x: torch.Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """torch.max_pool1d, which fixes T to find out how many windows there are."""
    if ceil_mode or return_indices:
        function = torch.max_pool1d_with_indices if return_indices else torch.max_pool1d
        return function(x, kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pool1d(x, *map(_list, (kernel_size, stride or (), padding, dilation)))


def _list(value: Any) -> list[int]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


@torch.library.custom_op("seqcore::packed", mutates_args=())
def _packed(x: torch.Tensor, batch_first: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Stand-ins for a PackedSequence's data, which here has all B*T steps, and batch_sizes."""
    raise NotImplementedError("stands in a graph, and is never run")


@_packed.register_fake
def _(x: torch.Tensor, batch_first: bool) -> tuple[torch.Tensor, torch.Tensor]:
    rows, steps = _sizes(x, batch_first)
    return x.new_empty((rows * steps, *x.shape[2:])), torch.empty((steps,), dtype=torch.int64)


@torch.library.custom_op("seqcore::unpadded", mutates_args=())
def _unpadded(x: torch.Tensor, lengths: torch.Tensor, batch_first: bool) -> torch.Tensor:
    """x, where torch would return no more frames than the longest row has."""
    longest = int(lengths.max())
    return x[:, :longest].clone() if batch_first else x[:longest].clone()


@_unpadded.register_fake
def _(x: torch.Tensor, lengths: torch.Tensor, batch_first: bool) -> torch.Tensor:
    del lengths, batch_first
    return torch.empty_like(x)


@torch.library.custom_op("seqcore::sorted_rows", mutates_args=())
def _sorted_rows(lengths: torch.Tensor) -> torch.Tensor:
    """Stand-in for a PackedSequence's sorted_indices and unsorted_indices."""
    raise NotImplementedError("stands in a graph, and is never run")


@_sorted_rows.register_fake
def _(lengths: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(lengths)


@dataclass(frozen=True)
class _Rows:
    """What a stand-in for data stands for; `ended` if zeros are behind each row's length."""

    x: torch.Tensor
    lengths: torch.Tensor
    batch_first: bool
    ended: bool
    data: torch.Tensor  # held, as all stand-ins are, so that its identity is nobody else's


class PackedSequences(TorchFunctionMode):
    """Answers for packed sequences while it is entered.

    Attributes
    ----------
    refusal : UnsupportedLayerError or None
        Why forward was stopped; torch.export may raise another exception then.
    """

    def __init__(self) -> None:
        super().__init__()
        self.refusal: UnsupportedLayerError | None = None
        # By the identities of the stand-ins.
        self.rows: dict[int, _Rows] = {}
        self.batch_sizes: dict[int, tuple[torch.Tensor, _Rows]] = {}
        self.orders: dict[int, torch.Tensor] = {}

    def __enter__(self) -> PackedSequences:
        # nn.LSTM converts the number of rows to an int, which would fix it.
        vars(rnn_modules)["int"] = lambda n: n if isinstance(n, torch.SymInt) else int(n)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        del vars(rnn_modules)["int"]

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        first, last = (args[0], args[-1]) if args else (None, None)
        if name == "_pack_padded_sequence":
            return self.pack(*args, **kwargs)
        if name == "_pad_packed_sequence":
            return self.pad(*args, **kwargs)
        if name in _RECURRENT:
            packed = len(args) > 1 and id(args[1]) in self.batch_sizes
            return (
                self.run(_RECURRENT[name], *args) if packed else _RECURRENT[name](*args, **kwargs)
            )
        if name == "max_pool1d":
            return _pooled(*args, **kwargs)
        if name in _PER_STEP and id(first) in self.rows and not kwargs.get("inplace"):
            rows = self.rows[id(first)]
            return self.stand_in(func(rows.x, *args[1:], **kwargs), rows, ended=False)
        if name in ("__getitem__", "size") and id(first) in self.batch_sizes and args[1:] == (0,):
            rows = self.batch_sizes[id(first)][1]
            return _sizes(rows.x, rows.batch_first)[0 if name == "__getitem__" else 1]
        # No order is needed: each row keeps its place where torch's own code moves rows.
        if name == "sort" and _within(rnn.pack_padded_sequence):
            order = torch.ops.seqcore.sorted_rows(first)
            self.orders[id(order)] = order
            return first, order
        if name in ("to", "cpu", "empty_like", "scatter_") and id(first) in self.orders:
            return first
        if name == "arange" and _within(rnn.invert_permutation):
            return next(reversed(self.orders.values()))
        if name in ("index_select", "__getitem__") and id(last) in self.orders and _within(*_MOVES):
            return first
        return func(*args, **kwargs)

    def stand_in(self, x: torch.Tensor, like: _Rows, *, ended: bool) -> Any:
        """What forward gets in place of the data packed from `x`."""
        data, _ = torch.ops.seqcore.packed(x, like.batch_first)
        self.rows[id(data)] = replace(like, x=x, ended=ended, data=data)
        return data

    def pack(
        self, x: torch.Tensor, lengths: torch.Tensor, batch_first: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if _within(rnn.pack_sequence):
            self.refuse("pack_sequence of a list", "pad_sequence and pack_padded_sequence")
        data, batch_sizes = torch.ops.seqcore.packed(x, batch_first)
        rows = _Rows(x, lengths, batch_first, False, data)
        self.rows[id(data)] = rows
        self.batch_sizes[id(batch_sizes)] = batch_sizes, rows
        return data, batch_sizes

    def found(self, data: torch.Tensor, batch_sizes: torch.Tensor) -> _Rows:
        """What a PackedSequence stands for."""
        rows, known = self.rows.get(id(data)), self.batch_sizes.get(id(batch_sizes))
        if rows is None or known is None or rows.lengths is not known[1].lengths:
            self.refuse(
                "a PackedSequence of data that forward has changed",
                "pad_packed_sequence, change the padded tensor, and pack it again",
            )
        assert rows is not None
        return rows

    def run(
        self,
        func: Callable[..., Any],
        data: torch.Tensor,
        batch_sizes: torch.Tensor,
        *more: Any,
    ) -> tuple[torch.Tensor, ...]:
        """A recurrent layer on packed rows, as one on padded rows, which takes batch_first too."""
        rows = self.found(data, batch_sizes)
        x = torch.ops.seqcore.ragged(rows.x, rows.lengths, rows.batch_first)
        out, *states = func(x, *more, rows.batch_first)
        return self.stand_in(out, rows, ended=True), *states

    def pad(
        self,
        data: torch.Tensor,
        batch_sizes: torch.Tensor,
        batch_first: bool,
        padding_value: float,
        total: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows = self.found(data, batch_sizes)
        if padding_value != 0:
            self.refuse(f"pad_packed_sequence(padding_value={padding_value})", "padding_value=0")
        if total != _sizes(rows.x, rows.batch_first)[1]:
            self.refuse(
                "pad_packed_sequence(total_length=) of another length than what was packed",
                "no total_length, or the padded input's",
            )
        x = rows.x
        if not rows.ended:
            x = torch.ops.seqcore.ragged(x, rows.lengths, rows.batch_first)
        if not _given("total_length", rnn.pad_packed_sequence):
            x = torch.ops.seqcore.unpadded(x, rows.lengths, rows.batch_first)
        return x if rows.batch_first == batch_first else x.transpose(0, 1), rows.lengths

    def refuse(self, what: str, instead: str) -> NoReturn:
        self.refusal = UnsupportedLayerError(f"{what} is not supported; use {instead}")
        raise self.refusal


def _given(argument: str, function: Any) -> bool:
    """Whether the function that called this, not far above, was given an argument."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_FRAMES):
        if frame is None or frame.f_code is function.__code__:
            break
        frame = frame.f_back
    return frame is not None and frame.f_locals.get(argument) is not None


def _within(*functions: Any) -> bool:
    """Whether one of the functions called this, as near as modes between them let it be."""
    codes = {function.__code__ for function in functions}
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_FRAMES):
        if frame is None or frame.f_code in codes:
            return frame is not None
        frame = frame.f_back
    return False
