"""Cells in loops over frames, and attention, against torch: options pairwise, and flipped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pairs import pairwise
from torch import nn
from torch_matrix import Row
from torch_parts import randomise
from torch_ways import agree, differs, exported, in_ours, in_torch

import seqcore as sc

DEPTH = 3


def seeded(module: nn.Module) -> nn.Module:
    """Give a module weights by their names, smaller than those that show every slip."""
    randomise(module)
    with torch.no_grad():
        for weight in module.parameters():
            weight.mul_(0.5)
    return module.eval()


def same(module: nn.Module, example: tuple[Any, ...], *others: tuple[Any, ...]) -> sc.Model:
    model = sc.from_torch(module, example)
    for given in (example, *others):
        agree(in_ours(model, given), in_torch(module, given), DEPTH)
    return model


# ---- Cells ---------------------------------------------------------------------------------------

CELLS = {
    "kind": ("LSTMCell", "GRUCell", "tanh", "relu"),
    "bias": (True, False),
    "initial": ("none", "given", "learned"),
    "use": ("last", "all"),
}
CELL_ROWS = pairwise(CELLS)
STEPS = 4


class Looped(nn.Module):
    """A cell over the frames of x, (B, T, 3), and a second one that reads what it makes."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        kind, self.row = row["kind"], row
        options: Row = {"bias": row["bias"]}
        options |= {"nonlinearity": kind} if kind in ("tanh", "relu") else {}
        make = getattr(nn, kind if kind.endswith("Cell") else "RNNCell")
        self.first, self.second = make(3, 5, **options), make(5, 4, **options)
        self.states = 2 if kind == "LSTMCell" else 1
        self.learned = nn.Parameter(torch.zeros(self.states, 5))

    def forward(self, x: Any, states: Sequence[Any]) -> list[Any]:
        hx: Any = [None, None]
        if self.row["initial"] == "learned":
            states = [state.expand(x.shape[0], -1) for state in self.learned]
        if self.row["initial"] != "none":
            hx[0] = tuple(states) if self.states > 1 else states[0]
        made = []
        for step in range(x.shape[1]):
            hx[0] = self.first(x[:, step], hx[0])
            hx[1] = self.second(hx[0][0] if self.states > 1 else hx[0], hx[1])
            made.append(hx[1][0] if self.states > 1 else hx[1])
        finals = [s for each in hx for s in (each if self.states > 1 else [each])]
        return [torch.stack(made, 1), *finals] if self.row["use"] == "all" else made[-1:]


class AllLooped(nn.Module):
    def __init__(self, rows: Sequence[Row]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(Looped(row) for row in rows)

    def forward(self, x: Any, h: Any, c: Any) -> list[Any]:
        return [y for part in self.parts for y in part(x, [h, c][: part.states])]


def of_cells(batch: int, seed: int = 0) -> tuple[Any, ...]:
    torch.manual_seed(seed)
    return torch.randn(batch, STEPS, 3), torch.randn(batch, 5), torch.randn(batch, 5)


def test_cells(tmp_path: Path) -> None:
    module = seeded(AllLooped(CELL_ROWS))
    same(module, of_cells(3), of_cells(5, 1), of_cells(1, 2))
    model = exported(module, of_cells(3), tmp_path)
    agree(in_ours(model, of_cells(3, 3)), in_torch(module, of_cells(3, 3)), DEPTH)


@pytest.mark.parametrize("option", CELLS)
def test_options_of_cells_matter(option: str) -> None:
    values = CELLS[option]
    for value, other in zip(values, (*values[1:], values[0]), strict=True):
        rows = [row for row in CELL_ROWS if row[option] == value]
        found = [
            [
                in_torch(seeded(AllLooped([each])), of_cells(3))
                for each in (row, {**row, option: other})
            ]
            for row in rows
        ]
        assert any(differs(a, b, DEPTH) for a, b in found)


# ---- Attention -----------------------------------------------------------------------------------

ATTENTION = {
    "batch_first": (True, False),
    "bias": (True, False),
    "dims": ("same", "others"),  # kdim and vdim
    "weights": ("none", "averaged", "by head"),
    "padding": (False, True),
    "mask": ("none", "bool", "float"),
}
ATTENTION_ROWS = pairwise(ATTENTION)
WIDTH, HEADS, QUERIES, KEYS = 6, 2, 4, 5
FORBIDDEN = torch.ones(QUERIES, KEYS, dtype=torch.bool).triu(2)
BIASES = torch.linspace(-2, 1, QUERIES * KEYS).reshape(QUERIES, KEYS)


class Attends(nn.Module):
    def __init__(self, row: Row) -> None:
        super().__init__()
        self.row = row
        other = {"kdim": 3, "vdim": 7} if row["dims"] == "others" else {}
        self.attention = nn.MultiheadAttention(
            WIDTH, HEADS, dropout=0.3, bias=row["bias"], batch_first=row["batch_first"], **other
        )

    def forward(self, q: Any, k: Any, v: Any, padding: Any) -> list[Any]:
        row = self.row
        masks = {"none": None, "bool": FORBIDDEN, "float": BIASES}
        given = padding
        if row["mask"] == "float" and row["padding"]:  # torch wants both of one type
            given = torch.zeros_like(padding, dtype=torch.float32).masked_fill(padding, -torch.inf)
        if not row["batch_first"]:
            q, k, v = (x.transpose(0, 1) for x in (q, k, v))
        y, weights = self.attention(
            q, k, v, key_padding_mask=given if row["padding"] else None,
            need_weights=row["weights"] != "none", attn_mask=masks[row["mask"]],
            average_attn_weights=row["weights"] == "averaged",
        )  # fmt: skip
        y = y if row["batch_first"] else y.transpose(0, 1)
        return [y] if weights is None else [y, weights]


class AllAttend(nn.Module):
    def __init__(self, rows: Sequence[Row]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(Attends(row) for row in rows)

    def forward(self, q: Any, k: Any, v: Any, k2: Any, v2: Any, padding: Any) -> list[Any]:
        pairs = {"same": (k, v), "others": (k2, v2)}
        return [y for part in self.parts for y in part(q, *pairs[part.row["dims"]], padding)]


def of_attention(batch: int, seed: int = 0) -> tuple[Any, ...]:
    torch.manual_seed(seed)
    sizes = ((QUERIES, WIDTH), (KEYS, WIDTH), (KEYS, WIDTH), (KEYS, 3), (KEYS, 7))
    padding = torch.arange(KEYS) >= torch.randint(2, KEYS + 1, (batch, 1))
    return *(torch.randn(batch, *size) for size in sizes), padding


def test_multihead_attention(tmp_path: Path) -> None:
    module = seeded(AllAttend(ATTENTION_ROWS))
    same(module, of_attention(3), of_attention(5, 1), of_attention(1, 2))
    model = exported(module, of_attention(3), tmp_path)
    agree(in_ours(model, of_attention(3, 3)), in_torch(module, of_attention(3, 3)), DEPTH)


@pytest.mark.parametrize("option", ATTENTION)
def test_options_of_attention_matter(option: str) -> None:
    if option == "batch_first":
        return  # the wrapping module turns both ways: what they make is the same
    values = ATTENTION[option]
    for value, other in zip(values, (*values[1:], values[0]), strict=True):
        rows = [row for row in ATTENTION_ROWS if row[option] == value]
        found = [
            [
                in_torch(seeded(AllAttend([each])), of_attention(3))
                for each in (row, {**row, option: other})
            ]
            for row in rows
        ]
        assert any(differs(a, b, DEPTH) for a, b in found)


ENCODERS = {
    "norm_first": (False, True),
    "activation": ("relu", "gelu"),
    "batch_first": (True, False),
    "padding": (False, True),
    "causal": (False, True),
    "bias": (True, False),
}


class Encoders(nn.Module):
    def __init__(self, rows: Sequence[Row]) -> None:
        super().__init__()
        self.rows = rows
        names = ("norm_first", "activation", "batch_first", "bias")
        self.parts = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, HEADS, 8, **{name: row[name] for name in names})
            for row in rows
        )

    def forward(self, x: Any, padding: Any) -> list[Any]:
        results = []
        sees = nn.Transformer.generate_square_subsequent_mask(KEYS)
        far = torch.zeros_like(padding, dtype=torch.float32).masked_fill(padding, -torch.inf)
        for part, row in zip(self.parts, self.rows, strict=True):
            y = part(
                x if row["batch_first"] else x.transpose(0, 1),
                src_mask=sees if row["causal"] else None,
                src_key_padding_mask=far if row["padding"] else None,
            )
            results.append(y if row["batch_first"] else y.transpose(0, 1))
        return results


def of_encoders(batch: int, seed: int = 0) -> tuple[Any, ...]:
    inputs = of_attention(batch, seed)
    return inputs[1], inputs[-1]


def test_transformer_encoder_layers(tmp_path: Path) -> None:
    module = seeded(Encoders(pairwise(ENCODERS)))
    same(module, of_encoders(3), of_encoders(5, 1), of_encoders(1, 2))
    model = exported(module, of_encoders(3), tmp_path)
    agree(in_ours(model, of_encoders(3, 3)), in_torch(module, of_encoders(3, 3)), DEPTH)


@pytest.mark.parametrize("option", ["add_bias_kv", "add_zero_attn"])
def test_what_attention_appends(option: str) -> None:
    class Alone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, **{option: True})

        def forward(self, x: Any) -> Any:
            return self.attention(x, x, x, need_weights=False)[0]

    module, given = seeded(Alone()), of_attention(3)[1:2]
    agree(in_ours(sc.from_torch(module, given), given), in_torch(module, given), DEPTH)
