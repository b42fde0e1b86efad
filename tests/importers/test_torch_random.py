"""Random modules of torch, exported and compared; what is refused is refused by name.

A module is a list of steps, each a function of one value that is there or of two. It is run once as
it is built, to know shapes; the choices come from hypothesis. Values are sequences (batch, time,
features) or vectors (batch, features), and time first in every second module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tolerances import FLOAT32, close
from torch import nn

import seqcore as sc
from seqcore.errors import UnsupportedLayerError

QUICK = settings(
    max_examples=12,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # a smaller module is not worth minutes
    suppress_health_check=list(HealthCheck),
)
ROWS, STEPS = 3, 5
Step = Callable[..., Any]


class Steps(nn.Module):
    """Steps one after another; those whose result nobody reads are outputs."""

    def __init__(self, draw: Any) -> None:
        super().__init__()
        self.draw = draw
        self.parts = nn.ModuleList()
        self.steps: list[tuple[Step, tuple[int, ...]]] = []
        self.b = 1 if self.any_of(False, True) else 0
        self.t = 1 - self.b
        self.ids = self.any_of(True, False)
        self.told: list[str] = []

    def any_of(self, *values: Any) -> Any:
        return self.draw(st.sampled_from(values))

    def part(self, module: nn.Module) -> nn.Module:
        self.parts.append(module)
        return module

    def example(self, rows: int, steps: int, seed: int = 0) -> torch.Tensor:
        made = torch.Generator().manual_seed(seed)
        shape = (rows, steps) if self.b == 0 else (steps, rows)
        if self.ids:
            return torch.randint(0, 9, shape, generator=made)
        return torch.randn(*shape, 4, generator=made)

    def forward(self, x: torch.Tensor) -> Any:
        values = [x]
        for step, read in self.steps:
            made = step(*(values[index] for index in read))
            values.append(made)
        read_by = {index for _, read in self.steps for index in read}
        return [v for k, v in enumerate(values) if k and k not in read_by]


def sequence(m: Steps, x: Any) -> tuple[str, Step]:
    """A step from a sequence to a sequence."""
    f, t, b = x.shape[-1], m.t, m.b
    first = b == 0
    kind = m.any_of(*range(24))
    if kind <= 2:
        options = {"bidirectional": m.any_of(False, True), "num_layers": m.any_of(1, 1, 2),
                   "batch_first": first}  # fmt: skip
        rnn = m.part(m.any_of(nn.LSTM, nn.GRU, nn.RNN)(f, 3, **options))
        return f"{rnn}", lambda x: rnn(x)[0]
    if kind == 3:
        linear = m.part(nn.Linear(f, m.any_of(2, 3, 4)))
        return "linear", lambda x: linear(x)
    if kind == 4:
        width = m.any_of(1, 3)
        conv = m.part(nn.Conv1d(f, 4, width, padding=width // 2, dilation=1))
        order = (0, 2, 1) if first else (1, 2, 0)
        back = (0, 2, 1) if first else (2, 0, 1)
        return "conv", lambda x: conv(x.permute(order)).permute(back)
    if kind == 5:
        norm = m.part(m.any_of(nn.LayerNorm, nn.RMSNorm)(f))
        return f"{norm}", lambda x: norm(x)
    if kind == 6:
        norm = m.part(nn.BatchNorm1d(f))
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        return "batch norm", lambda x: norm(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    if kind == 7:
        act = m.any_of(torch.tanh, F.relu, F.gelu, F.silu, torch.sigmoid, F.softplus, torch.abs)
        return act.__name__, lambda x: act(x)
    if kind == 8:
        dim = m.any_of(-1, t)
        way = m.any_of(F.softmax, F.log_softmax, torch.cumsum, lambda x, d: F.normalize(x, dim=d))
        return f"softmax {dim}", lambda x: way(x, dim)
    if kind == 9:
        dim, keep = m.any_of(-1, t), m.any_of("mean", "amax", "sum", "std", "logsumexp", "prod")
        more = {"unbiased": False} if keep == "std" else {}
        return f"x - {keep} {dim}", lambda x: x - getattr(x, keep)(dim, keepdim=True, **more)
    if kind == 10:
        dim = m.any_of(-1, t)
        return f"cat flip {dim}", lambda x: torch.cat([x, x.flip(t)], dim)
    if kind == 11:
        a, c = m.any_of((0, 1), (1, -1), (0, -1)), m.any_of(1, 2)
        scale = torch.randn(f)
        return f"slices {a}", lambda x: torch.stack([x, x * c + 1, scale * x], -1)[
            ..., list(a)
        ].sum(-1)
    if kind == 12:
        start = m.any_of(0, 1)
        return "slice time", lambda x: x.narrow(t, start, x.shape[t] - start)
    if kind == 13:
        value, dim = m.any_of(0.0, -1.0, float("-inf")), m.any_of(-1, t)
        if value == float("-inf"):
            return "masked softmax", lambda x: x.masked_fill(x > 2, value).softmax(dim)
        return "masked", lambda x: x.masked_fill(x > 0.5, value)
    if kind == 14:
        limit = m.any_of(0.0, 0.3)
        return "where", lambda x: torch.where(x > limit, x, x.mean(t, keepdim=True))
    if kind == 15:
        linear = m.part(nn.Linear(f, f))

        def attend(x: Any) -> Any:
            x = x if first else x.transpose(0, 1)
            made = torch.bmm(F.softmax(torch.bmm(linear(x), x.transpose(1, 2)), -1), x)
            return made if first else made.transpose(0, 1)

        return "attention", attend
    if kind == 16:
        labels = ("btd,bsd->bts", "bts,bsd->btd") if first else ("tbd,sbd->bts", "bts,sbd->tbd")
        return "einsum", lambda x: torch.einsum(
            labels[1], torch.einsum(labels[0], x, x).softmax(-1), x
        )
    if kind == 17 and f % 2 == 0:
        way = m.any_of(0, 1, 2, 3)
        return f"halves {way}", (
            lambda x: F.glu(x, -1),
            lambda x: torch.cat(x.chunk(2, -1)[::-1], -1),
            lambda x: x.unflatten(-1, (2, -1)).transpose(-1, -2).flatten(2),
            lambda x: x.reshape(x.shape[0], x.shape[1], 2, -1).sum(2),
        )[way]
    if kind == 18:
        rows_first = m.part(nn.Linear(f, 3))
        return "joined", lambda x: rows_first(x.reshape(-1, x.shape[-1])).reshape(
            x.shape[0], x.shape[1], 3
        )
    if kind == 19:
        return "unbind", lambda x: torch.stack(x.unbind(-1), 0).movedim(0, -1) * 2
    if kind == 20:
        dim = m.any_of(-1, t)
        return f"argmax {dim}", lambda x: x + x.argmax(dim, keepdim=True).float()
    if kind == 21 and f > 1:
        return "topk", lambda x: x.topk(2, -1)[0]
    if kind == 22:
        return (
            "places",
            lambda x: x + torch.arange(x.shape[t]).reshape((1, -1, 1) if first else (-1, 1, 1)),
        )
    heads = m.part(nn.MultiheadAttention(f, 1, batch_first=first))
    return "heads", lambda x: heads(x, x, x, need_weights=False)[0]


def vector(m: Steps, x: Any) -> tuple[str, Step]:
    """A step from a sequence to a vector."""
    f, t = x.shape[-1], m.t
    first = m.b == 0
    kind = m.any_of(*range(7))
    if kind == 0:
        cell = m.part(m.any_of(nn.LSTMCell, nn.GRUCell, nn.RNNCell)(f, 3))

        def run(x: Any) -> Any:
            state = None
            for k in (0, -1, 0):
                state = cell(x.select(t, k), state)
            return state[0] if isinstance(state, tuple) else state

        return f"{cell}", run
    if kind == 1:
        rnn = m.part(m.any_of(nn.LSTM, nn.GRU)(f, 3, 2, bidirectional=True, batch_first=first))
        take = m.any_of(0, 1, 2)

        def states(x: Any) -> Any:
            h = rnn(x)[1]
            h = h[0] if isinstance(h, tuple) else h
            return (
                torch.cat([h[-2], h[-1]], -1),
                h.transpose(0, 1).reshape(x.shape[m.b], -1),
                h.view(2, 2, x.shape[m.b], 3)[-1].sum(0),
            )[take]

        return f"states {take}", states
    if kind == 2:
        return "last", lambda x: x.select(t, -1)
    if kind == 3:
        way = m.any_of("mean", "sum", "amax")
        return way, lambda x: getattr(x, way)(t)
    if kind == 4:
        return "max over time", lambda x: x.max(t)[0] + x.argmin(t)
    if kind == 5:
        return "topk over time", lambda x: x.topk(1, t)[0].squeeze(t)
    weigh = m.part(nn.Linear(f, 1))
    return "pooled", lambda x: (x * weigh(x).softmax(t)).sum(t)


def joined(m: Steps, v: Any, x: Any) -> tuple[str, Step]:
    """A step from a vector and a sequence."""
    t = m.t
    kind = m.any_of(0, 1, 2, 3)
    if kind == 0:
        return "v beside x", lambda v, x: torch.cat(
            [x, v.unsqueeze(t).expand(*x.shape[:2], v.shape[-1])], -1
        )
    if kind == 1:
        linear = m.part(nn.Linear(v.shape[-1], x.shape[-1]))
        return "x + v", lambda v, x: x * linear(v).unsqueeze(t)
    if kind == 2:
        query = m.part(nn.Linear(v.shape[-1], x.shape[-1]))
        return "attended", lambda v, x: (
            (x * query(v).unsqueeze(t)).sum(-1, keepdim=True).softmax(t) * x
        ).sum(t)
    rnn = m.part(nn.GRU(x.shape[-1], 3, batch_first=m.b == 0))
    start = m.part(nn.Linear(v.shape[-1], 3))
    return "decoder", lambda v, x: rnn(x, torch.tanh(start(v)).unsqueeze(0))[0]


def built(draw: Any) -> Steps:
    torch.manual_seed(draw(st.integers(0, 99)))
    m = Steps(draw)
    x = m.example(ROWS, STEPS)
    values = [x]

    def add(told: str, step: Step, *read: int) -> None:
        made = step(*(values[index] for index in read))
        m.steps.append((step, read))
        m.told.append(f"{told} of {read}")
        values.append(made)

    with torch.no_grad():
        if m.ids:
            table = m.part(nn.Embedding(9, 4))
            add("embedding", lambda x: table(x), 0)
        for _ in range(draw(st.integers(1, 5))):
            long = [k for k, v in enumerate(values) if v.dim() == 3]
            short = [k for k, v in enumerate(values) if v.dim() == 2 and (k or not m.ids)]
            one = m.any_of(*long)
            way = m.any_of(0, 0, 0, 1, 2)
            if way == 2 and short:
                two = m.any_of(*short)
                add(*joined(m, values[two], values[one]), two, one)
            elif way == 1:
                add(*vector(m, values[one]), one)
            else:
                add(*sequence(m, values[one]), one)
    return m.eval()


modules = st.composite(built)


def checked(m: Steps) -> None:
    example = m.example(ROWS, STEPS)
    model = sc.from_torch(m, example)
    for rows, steps in ((ROWS, STEPS), (2, 7), (1, 4)):
        x = m.example(rows, steps, seed=1)
        with torch.no_grad():
            wanted = m(x)
        found = model(x.numpy())
        found = found if isinstance(found, tuple) else (found,)
        assert len(found) == len(wanted)
        for ours, theirs in zip(found, wanted, strict=True):
            numbers = theirs.numpy()
            odd = ~np.isfinite(numbers)
            assert ours.shape == numbers.shape, m.told
            np.testing.assert_array_equal(ours[odd], numbers[odd])
            close(np.where(odd, 0, ours), np.where(odd, 0, numbers), FLOAT32[3], str(m.told))


@given(m=modules())
@QUICK
def test_random_module(m: Steps) -> None:
    refusal = ""
    try:
        checked(m)
    except UnsupportedLayerError as error:
        refusal = str(error)
    assert "test_torch_random.py" in (refusal or __file__)  # it says where, and what
