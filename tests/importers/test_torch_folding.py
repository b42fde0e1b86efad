"""Constants of torch's modules: weights that are computed, tables, masks, places; against torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tolerances import FLOAT32, close
from torch import nn

import seqcore as sc
from seqcore.errors import IdRangeError, UnsupportedLayerError

INF = float("inf")


class Held(nn.Module):
    """A module with constants of all sorts, and a forward that is given."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        torch.manual_seed(3)
        places = torch.arange(16).unsqueeze(1) * torch.exp(
            torch.arange(0, 4, 2) * (-math.log(1e4) / 4)
        )
        self.function = function
        self.register_buffer("table", torch.stack([places.sin(), places.cos()], -1).flatten(1))
        self.register_buffer("whole", torch.tensor([[3, -1, 4, 1]]))
        self.register_buffer("some", torch.tensor([True, False, True, True]))
        self.v = nn.Parameter(torch.randn(4, 4))
        self.g = nn.Parameter(torch.rand(4, 1) + 0.5)
        self.start = nn.Parameter(torch.randn(1, 1, 4))
        self.places = nn.Embedding(8, 4)

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, x)


def constants(m: Held, x: torch.Tensor) -> Any:
    rows, steps = x.shape[0], x.shape[1]
    turned = m.v.t() @ m.v
    return (
        F.linear(x, m.g * m.v / m.v.norm(dim=1, keepdim=True)),
        F.linear(x, torch._weight_norm(m.v, m.g, 0)),
        F.linear(x, turned), x @ turned, x @ m.v.t(), x @ m.v, x @ (m.v + 1), x @ (m.v + 2),
        x + m.table[4], x + m.table[2:6:2].mean(0), x * m.whole, x * m.whole[0, 2], x / m.whole,
        torch.where(m.some, x, m.whole.float()), x * m.some, x.masked_fill(~m.some, 2.0),
        x + m.start, torch.cat([m.start.expand(rows, 1, 4), x], 1), x + m.v.softmax(-1)[1],
        torch.cat([x, m.start.repeat(rows, 2, 1)], 1), m.start.expand(rows, steps, -1) * x,
        torch.cat([torch.zeros(rows, 1, 4), x, torch.ones(rows, 2, 4)], 1), x + torch.eye(4)[1],
        x + torch.full((4,), 2.5), x + x.new_zeros(4) - x.new_ones(1), x + torch.zeros_like(x),
        x * torch.full_like(x, -2.0), x + torch.arange(4), x + torch.arange(1.0, 3.0, 0.5),
        x @ torch.tril(m.v), x @ m.v.triu(1), x @ m.v.cumsum(1), x @ m.v.roll(1, 0),
        x @ m.v.flip(1),
        x @ m.v.clamp(-0.5, 0.5), x @ torch.stack(m.v.unbind(1)), x @ torch.cat(m.v.chunk(2, 1), 1),
        x * m.whole.clamp(0, 3), x * (m.whole // 2), x * (m.whole % 3), x * m.whole.sum(),
        x + m.places.weight[2], x + m.places(torch.tensor([5]))[0],
        x @ m.v.view(2, 2, 4).flatten(0, 1),
        x + m.v.std(1), x + m.v.amax(0), x * m.v.exp().log1p().sqrt().mean(0),
    )  # fmt: skip


def places(m: Held, x: torch.Tensor) -> Any:
    """What depends on how many frames there are."""
    steps = x.shape[1]
    ids = torch.arange(steps)
    scores = x @ x.mT
    return (
        x + m.places(ids), x + m.places(ids)[None], x * (ids + 1).unsqueeze(-1),
        x * ids.float().unsqueeze(-1), x + torch.arange(steps - 1, -1, -1)[:, None],
        scores.masked_fill(torch.ones(steps, steps).triu(1).bool(), -INF).softmax(-1),
        scores.masked_fill(~torch.ones(steps, steps, dtype=torch.bool).tril(), -INF).softmax(-1),
        scores + torch.full((steps, steps), -1.5).triu(1),
        scores * torch.ones(steps, steps).tril(-1),
        scores.masked_fill(ids[None] > ids[:, None], -INF).softmax(-1), x.sum(1) / steps,
        x * (2 * steps - 1), (ids[:, None] - ids[None]).abs() * scores,
    )  # fmt: skip


def same(module: nn.Module, model: sc.Model, x: torch.Tensor) -> None:
    with torch.no_grad():
        wanted = module(x)
    wanted = wanted if isinstance(wanted, (tuple, list)) else [wanted]
    found = model(x.numpy())
    found = found if isinstance(found, tuple) else (found,)
    assert len(found) == len(wanted)
    for k, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
        close(ours, theirs.numpy(), FLOAT32[1], f"output {k} of {tuple(x.shape)}")


def attempted(module: nn.Module) -> tuple[sc.Model | None, str]:
    """A model, or why there is none."""
    try:
        return sc.from_torch(module, torch.zeros(3, 5, 4)), ""
    except UnsupportedLayerError as error:
        return None, str(error)


@pytest.mark.parametrize("function", [constants, places])
def test_constants(function: Callable[..., Any]) -> None:
    module = Held(function).eval()
    model = sc.from_torch(module, torch.zeros(3, 5, 4))
    for shape in ((3, 5, 4), (2, 8, 4), (1, 1, 4)):
        same(module, model, torch.randn(shape))


def test_a_table_cut_to_the_frames_of_the_example() -> None:
    """A constant has no part that varies, so that the frames are those of the example."""
    module = Held(lambda m, x: x + m.table[: x.shape[1]]).eval()
    model = sc.from_torch(module, torch.zeros(3, 5, 4))
    same(module, model, torch.randn(2, 5, 4))
    with pytest.raises(sc.ShapeError, match="must have size 5 in axis 1"):
        model(torch.zeros(2, 6, 4).numpy())


def test_places_past_the_table() -> None:
    module = Held(lambda m, x: x + m.places(torch.arange(x.shape[1]))).eval()
    model = sc.from_torch(module, torch.zeros(3, 5, 4))
    same(module, model, torch.randn(2, 8, 4))
    with pytest.raises(IndexError):
        module(torch.zeros(2, 9, 4))
    with pytest.raises(IdRangeError):
        model(np.zeros((2, 9, 4), np.float32))


def test_constants_beside_one_another_are_not_taken_for_one() -> None:
    """Arrays that are gone leave their place in memory to others of the same size."""
    module = Held(lambda m, x: [x @ (m.v * k) for k in range(40)])
    model = sc.from_torch(module.eval(), torch.zeros(2, 3, 4))
    same(module, model, torch.randn(3, 4, 4))


def changed_by_a_view(_: Held, x: torch.Tensor) -> Any:
    made = torch.zeros(4)
    made[1:3] = 2.0
    return x + made


def changed(m: Held, x: torch.Tensor) -> Any:
    made = torch.ones(4)
    made *= 3
    made += m.v[0]
    return x + made


def changed_table(_: Held, x: torch.Tensor) -> Any:
    made = torch.zeros(4, 4)
    made.fill_diagonal_(1.0)
    return x @ made


def changed_row(_: Held, x: torch.Tensor) -> Any:
    made = torch.zeros_like(x)
    made[:, 0] = x[:, 1]
    return made + x


@pytest.mark.parametrize("function", [changed_by_a_view, changed, changed_table, changed_row])
def test_constants_changed_in_place_are_right_or_refused(function: Callable[..., Any]) -> None:
    module = Held(function).eval()
    model, refusal = attempted(module)
    if model is None:
        assert function is not changed
        assert "test_torch_folding.py" in refusal
    else:
        same(module, model, torch.randn(2, 6, 4))
