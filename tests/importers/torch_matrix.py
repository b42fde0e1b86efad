"""Recurrent modules of torch by options, in modules that use them: what test_torch_matrix.py runs.

An export takes long, so many rows of options stand in one module. Modules of torch's own that are
not recurrent are in torch_parts.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from pairs import pairwise
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

Row = dict[str, Any]
FEATURES, HIDDEN = 3, 5  # straddle no vector width: kernels have tests of their own

KINDS: Mapping[str, tuple[type[nn.RNNBase], Row]] = {
    "LSTM": (nn.LSTM, {}),
    "GRU": (nn.GRU, {}),
    "tanh": (nn.RNN, {"nonlinearity": "tanh"}),
    "relu": (nn.RNN, {"nonlinearity": "relu"}),
    "projected": (nn.LSTM, {"proj_size": 2}),
}
MODULE = {
    "kind": tuple(KINDS),
    "num_layers": (1, 2),
    "bidirectional": (False, True),
    "bias": (True, False),
    "batch_first": (True, False),
}
CALL = {
    "lengths": ("none", "ordered", "any"),
    "initial": ("none", "given", "learned"),
    "use": ("all", "out", "h_n", "c_n", "last", "h[-1]", "both"),
}


def has_cells(kind: str) -> bool:
    return kind in ("LSTM", "projected")


def fits(row: Row) -> bool:
    return row["use"] != "c_n" or has_cells(row["kind"])


ROWS = pairwise({**MODULE, **CALL}, fits)


def recurrent(row: Row) -> nn.RNNBase:
    """Make the module of these options; their weights are the same wherever they have one shape."""
    torch.manual_seed(3)
    cls, more = KINDS[row["kind"]]
    names = ("num_layers", "bidirectional", "bias", "batch_first")
    module = cls(FEATURES, HIDDEN, dropout=0.3 * (row["num_layers"] > 1),
                 **{name: row[name] for name in names}, **more)  # fmt: skip
    for name, weight in module.named_parameters():
        torch.manual_seed(sum(name.encode()))
        nn.init.uniform_(weight, -0.7, 0.7)
    return module


def state_sizes(row: Row) -> list[tuple[int, int]]:
    """Return (cells, features) of each state."""
    cells = row["num_layers"] * (2 if row["bidirectional"] else 1)
    if not has_cells(row["kind"]):
        return [(cells, HIDDEN)]
    return [(cells, 2 if row["kind"] == "projected" else HIDDEN), (cells, HIDDEN)]


class Used(nn.Module):
    """One recurrent module, called and used as a row says."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        self.rnn = recurrent(row)
        self.row = row
        torch.manual_seed(4)
        learned = [torch.randn(n, 1, size) for n, size in state_sizes(row)]
        self.learned = nn.ParameterList(learned if row["initial"] == "learned" else [])

    def forward(self, x: Any, lengths: Any, states: Sequence[Any]) -> list[Any]:
        """Return what is used of x, (B, T, F) or (T, B, F)."""
        row, first = self.row, self.row["batch_first"]
        rows, steps = x.shape[:2] if first else (x.shape[1], x.shape[0])
        hx = [state.expand(-1, rows, -1).contiguous() for state in self.learned] or list(states)
        given = () if not hx else (tuple(hx) if len(hx) > 1 else hx[0],)
        if row["lengths"] == "none":
            out, final = self.rnn(x, *given)
        else:
            ordered = row["lengths"] == "ordered"
            packed = pack_padded_sequence(x, lengths, first, enforce_sorted=ordered)
            out, final = self.rnn(packed, *given)
            out, _ = pad_packed_sequence(out, first, total_length=None if ordered else steps)
        finals = final if isinstance(final, tuple) else (final,)
        return self.used(out, finals)

    def used(self, out: Any, finals: Sequence[Any]) -> list[Any]:
        use, h = self.row["use"], finals[0]
        if use == "all":
            return [out, *finals]
        return [{
            "out": lambda: out,
            "h_n": lambda: h,
            "c_n": lambda: finals[-1],
            "last": lambda: out[:, -1] if self.row["batch_first"] else out[-1],
            "h[-1]": lambda: h[-1],
            "both": lambda: torch.cat([h[-2], h[-1]], -1) if len(h) > 1 else h.squeeze(0),
        }[use]()]  # fmt: skip


class Several(nn.Module):
    """Rows that agree in batch_first side by side; their states are given one after another."""

    def __init__(self, rows: Sequence[Row]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(Used(row) for row in rows)

    def forward(self, x: Any, ordered: Any, lengths: Any, *states: Any) -> list[Any]:
        left, results = list(states), []
        for part in self.parts:
            count = len(state_sizes(part.row)) if part.row["initial"] == "given" else 0
            own, left = left[:count], left[count:]
            results += part(x, ordered if part.row["lengths"] == "ordered" else lengths, own)
        return results


def owners(rows: Sequence[Row]) -> list[Row]:
    """Return the row of each of the results of `Several`."""
    counts = [1 + len(state_sizes(row)) if row["use"] == "all" else 1 for row in rows]
    return [row for row, count in zip(rows, counts, strict=True) for _ in range(count)]


def inputs(rows: Sequence[Row], batch: int, time: int, seed: int = 0) -> tuple[Any, ...]:
    """Return inputs of `Several`: x, lengths in order and in any order, states.

    The longest row has all frames, as torch cuts off what no row has.
    """
    torch.manual_seed(seed)
    shape = (batch, time) if rows[0]["batch_first"] else (time, batch)
    x, lengths = torch.randn(*shape, FEATURES), torch.randint(1, time + 1, (batch,))
    lengths[batch // 2] = time
    states = []
    for row in rows:
        if row["initial"] == "given":
            torch.manual_seed(seed)
            states += [torch.randn(n, batch, size) for n, size in state_sizes(row)]
    return x, lengths.sort(descending=True)[0], lengths, *states


def groups(chosen: Sequence[Row], size: int = 9) -> Iterator[list[Row]]:
    """Yield all rows, those together that can stand in one module."""
    for first in MODULE["batch_first"]:
        rows = [row for row in chosen if row["batch_first"] == first]
        for start in range(0, len(rows), size):
            yield rows[start : start + size]
