"""What programs of torch do to axes, dtypes and tensors in place, against torch itself.

Every case is a module that torch runs too, on other sizes than the example's. What must be refused
is in test_torch_refusals.py.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tolerances import FLOAT32, close
from torch import nn
from torch.nn import functional as F

import seqcore as sc
from seqcore.errors import SeqcoreError


class Calling(nn.Module):
    """A module whose forward is a function of its weights and its inputs."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *args: Any) -> Any:
        return self.function(self, *args)


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def same(module: nn.Module, model: Any, *inputs: Any) -> None:
    """Model and module give the same numbers, shapes and whole numbers."""
    with torch.no_grad():
        wanted = torch.utils._pytree.tree_leaves(module(*(x.clone() for x in inputs)))
    found = model(*(x.numpy() for x in inputs))
    found = found if isinstance(found, tuple) else (found,)
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.shape == tuple(theirs.shape)
        assert (ours.dtype == np.int64) == (not theirs.is_floating_point()
                                            and theirs.dtype != torch.bool)  # fmt: skip
        close(np.asarray(ours, np.float64), theirs.numpy().astype(np.float64), FLOAT32[3])


def static(module: nn.Module, *example: Any) -> bytes:
    """A file in which every size is the example's."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(module.eval(), example, strict=False), file)
    return file.getvalue()


SEQUENCES = [(2, 7, 4), (1, 1, 4), (4, 4, 4)]
GRU = nn.GRU(4, 3, batch_first=True).eval()
TABLE = nn.Embedding(9, 3)
WEIGHTS = [nn.Parameter(numbers(4, 4) + k) for k in range(5)]


def wide(x: Any) -> Any:
    """An axis that torch only repeats."""
    return x.unsqueeze(2).expand(-1, -1, 6, -1)


def again(x: Any) -> Any:
    """The same, as long as time."""
    return x[:, :1].expand(-1, x.shape[1], -1)


def products(weights: Any, x: Any, turned: bool) -> Any:
    for weight in weights:
        x = torch.tanh(x @ (weight.t() if turned else weight) / 4)
    return x


# Of (B, T, 4), all of them.
AXES = {
    "sum of a repeated axis": lambda _, x: wide(x).sum(2),
    "softmax of it": lambda _, x: wide(x).softmax(2),
    "argmax of it": lambda _, x: wide(x).argmax(2),
    "a slice of it": lambda _, x: wide(x)[:, :, 1:6:2].sum(2),
    "one of it": lambda _, x: wide(x)[:, :, -2],
    "it joined": lambda _, x: torch.cat([wide(x), x.unsqueeze(2)], 2),
    "it viewed": lambda _, x: wide(x).reshape(x.shape[0], x.shape[1], 12, 2),
    "it beside time": lambda _, x: wide(x).reshape(x.shape[0], -1, 4),
    "a repeated time": lambda _, x: again(x).cumsum(1),
    "a slice of repeated time": lambda _, x: again(x)[:, 1:],
    "the sum of that": lambda _, x: again(x)[:, 1:].sum(1),
    "it joined with time": lambda _, x: torch.cat([x, again(x)[:, 1:]], 1),
    "the last of repeated time": lambda _, x: again(x)[:, -1],
    "repeats": lambda _, x: x.repeat(1, 2, 3),
    "repeats, taken apart": lambda _, x: x.repeat(1, 1, 2).view(*x.shape[:2], 2, 4).sum(2),
    "repeats in a layer": lambda s, x: s.gru(x.repeat(1, 2, 1))[0],
    "repeats as a time": lambda _, x: x.mean(1, keepdim=True).repeat(1, x.shape[1], 1),
    "batch and time joined": lambda _, x: x.reshape(-1, 4).relu().reshape(x.shape),
    "time and batch joined": lambda _, x: (
        (x.transpose(0, 1).reshape(-1, 4) * 2).view(x.shape[1], x.shape[0], 4).transpose(0, 1)
    ),
    "softmax over time": lambda _, x: x.reshape(-1, 4)[:, 0].view(x.shape[0], -1).softmax(1),
    "time first": lambda s, x: s.gru(x)[0].transpose(0, 1),
    "overlapping halves": lambda _, x: x[:, :-1] * x[:, 1:],
    "a square": lambda _, x: (x @ x.transpose(1, 2)).softmax(-1) @ x,
    "a copy": lambda _, x: (x.clone().add_(1), x),
    "a copy that stays": lambda _, x: (lambda y: (y.clone(), y.relu_()))(x * 1),
    "in place twice": lambda _, x: (x * 1).sub_(1).mul_(2).clamp_(-1, 1).masked_fill_(x < 0, 0.5),
    "in place, other names": lambda _, x: (lambda y: (y.exp_(), y, y + 1))(x * 1),
    "in place behind dropout": lambda _, x: F.relu(F.dropout(x * 1, 0.5, False), inplace=True),
    "clamp": lambda _, x: x.clamp(-0.5, 0.5) + x.clamp(-1, 2).clamp(0, 1),
    "many scalars": lambda _, x: (
        torch.maximum(x, torch.tensor(3.0)) * torch.minimum(x, torch.tensor(-2.0))
    ),
    "many vectors": lambda _, x: (
        x * torch.tensor([1.0, 2, 3, 4])
        + torch.tensor([4.0, 3, 2, 1]) * torch.tensor([0.0, 1, 0, 1])
    ),
    "many weights": lambda s, x: products(s.parameters(recurse=False), x, False),
    "many turned weights": lambda s, x: products(s.parameters(recurse=False), x, True),
    "one weight twice": lambda s, x: products([s.w0, s.w1, s.w0], x, True),
    "any of numbers": lambda _, x: torch.stack([x.floor().any(1), (x * 0 - 1).any(1)]).all(0),
    "all of numbers": lambda _, x: (x * 0 - 1).all(1),
    "sums of truths": lambda _, x: ((x > 0) + (x > -1)).sum(1),
    "products of truths": lambda _, x: ((x > 0) * (x < 1)) + (x > 2),
    "truths and numbers": lambda _, x: torch.cat([x > 0, x], 1) + torch.cat([x > 1, x], 1),
    "whole numbers": lambda _, x: (x.argmax(-1) + 1, (x > 0).sum(1), (x * 5).long() * 2),
    "whole numbers in place": lambda s, x: s.table((x * 3).long().mul_(2).clamp(0, 8)),
    "whole quotients": lambda _, x: torch.div((x * 9).long(), 3, rounding_mode="floor"),
    "quotients to zero": lambda _, x: torch.div((x * 9).long(), 3, rounding_mode="trunc"),
    "the same twice": lambda _, x: (lambda y: (y, y.transpose(1, 2), y, x, x))(x.relu()),
}  # fmt: skip


TOGETHER = 6  # how many of them are one module: an export takes its time


@pytest.mark.parametrize("first", range(0, len(AXES), TOGETHER), ids=list(AXES)[::TOGETHER])
def test_axes(first):
    functions = list(AXES.values())[first : first + TOGETHER]
    parts = {f"w{k}": weight for k, weight in enumerate(WEIGHTS)}
    module = Calling(
        lambda s, x: [function(s, x) for function in functions], gru=GRU, table=TABLE, **parts
    ).eval()
    model = sc.from_torch(module, numbers(3, 5, 4))
    for shape in SEQUENCES:
        same(module, model, numbers(*shape))


def test_frames_counted_from_the_end():
    """x[rows, n] takes n below 0, which a row of length 0 has, for the last frame."""
    module = Calling(lambda _, x, n: x[torch.arange(x.shape[0]), n - 1])
    model = sc.from_torch(module, (numbers(3, 5, 4), torch.tensor([1, 5, 2])))
    for n in ([0, 7], [3, -6], [1, 1]):
        same(module, model, numbers(2, 7, 4), torch.tensor(n))


def test_of_a_nan_and_a_number_fmax_takes_the_number():
    nan = float("nan")
    x = torch.tensor([[[nan, 1.0, 2, nan], [1, nan, nan, nan]]])
    for function in (torch.fmax, torch.fmin, torch.maximum, torch.minimum):
        module = Calling(lambda _, x, function=function: function(x, x.flip(2)))
        model = sc.from_torch(module, numbers(3, 5, 4))
        assert np.array_equal(model(x.numpy()), module(x).numpy(), equal_nan=True)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_packed_rows_are_zero_past_their_ends(kind):
    """A state that goes on past a row's end would not be."""

    def forward(s: Any, x: Any, n: Any) -> Any:
        pack = nn.utils.rnn.pack_padded_sequence(x, n, batch_first=True, enforce_sorted=False)
        y, state = s.rnn(pack)
        pad = nn.utils.rnn.pad_packed_sequence
        return pad(y, batch_first=True, total_length=x.shape[1])[0], state

    module = Calling(forward, rnn=getattr(nn, kind)(4, 3, 2, batch_first=True))
    model = sc.from_torch(module, (numbers(3, 5, 4), torch.tensor([5, 1, 2])))
    same(module, model, numbers(4, 7, 4), torch.tensor([1, 7, 3, 3]))
    found = model(numbers(2, 6, 4).numpy(), np.array([2, 6]))[0]
    assert not found[0, 2:].any()
    assert found[1].all()


# ---- Which axis is the batch ---------------------------------------------------------------------

# Files in which all sizes are fixed and alike: the first axis along which rows are alone.
ALIKE = [
    (lambda s, x: s.linear(x), (4, 4, 4), (2, 4, 4)),
    (lambda s, x: s.first(x)[0], (4, 4, 4), (2, 4, 4)),
    (lambda s, x: s.second(x)[0], (4, 4, 4), (4, 2, 4)),
    (lambda _, x: torch.bmm(x, x.transpose(1, 2)).softmax(-1), (4, 4, 4), (2, 4, 4)),
    (lambda _, x: x + x.transpose(1, 2), (4, 4, 4), (3, 4, 4)),
    (lambda _, x: x - x.mean(0), (4, 4, 4), (4, 3, 4)),
    (lambda s, x: s.first(x)[0][:, 0], (1, 1, 4), (5, 1, 4)),
]


@pytest.mark.parametrize("case", range(len(ALIKE)))
def test_sizes_that_are_alike(case, tmp_path):
    function, shape, other = ALIKE[case]
    module = Calling(
        function, linear=nn.Linear(4, 4), first=nn.LSTM(4, 4, batch_first=True),
        second=nn.LSTM(4, 4),
    ).eval()  # fmt: skip
    path = tmp_path / "x.pt2"
    path.write_bytes(static(module, numbers(*shape)))
    model = sc.load(path)
    same(module, model, numbers(*shape))
    same(module, model, numbers(*other))


# What mixes the rows of every axis: the whole call is one row of the model.
ROWS_MEET = {
    "softmax": lambda _, x: x.flatten().softmax(0),
    "a mean": lambda _, x: x - x.mean(),
    "a product": lambda _, x: x.transpose(0, 1) @ x @ x.transpose(0, 1),
    "a tensor without the batch": lambda _, x: (x, torch.arange(x.shape[1]) * 2.0),
    "an axis that has gone": lambda _, x: x.sum((0, 1)),
    "final states": lambda s, x: s.gru(x)[1].flatten(),
    "outputs, and frames": lambda s, x: (s.gru(x)[0].mean((0, 1)), s.gru(x.transpose(0, 1))[0]),
}


@pytest.mark.parametrize("name", ROWS_MEET)
def test_rows_that_meet(name):
    """Another axis in front of torch's own: several calls in one; torch's own is an error."""
    gru = nn.GRU(2, 3, bidirectional=True, batch_first=True)
    module = Calling(ROWS_MEET[name], gru=gru).eval()
    deep = name in ("an axis that has gone", "final states", "outputs, and frames")
    example = numbers(3, 5, 2) if deep else numbers(3, 5)
    model = sc.from_torch(module, example)
    with pytest.raises(SeqcoreError, match="axes"):
        model(example.numpy())
    found = model(np.stack([example.numpy(), 2 * example.numpy()]))
    found = found if isinstance(found, tuple) else (found,)
    for row, x in enumerate((example, 2 * example)):
        wanted = module(x)
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        for ours, theirs in zip(found, wanted, strict=True):
            close(ours[row], theirs.detach().numpy(), FLOAT32[3])


def test_the_features_of_a_matrix_may_be_its_batch():
    """(T, F) of which every feature is on its own: F is the batch, and numbers are torch's."""
    module = Calling(lambda _, x: (x - x.mean(0)).cumsum(0))
    model = sc.from_torch(module, numbers(5, 3))
    for shape in ((5, 3), (2, 7), (1, 1)):
        same(module, model, numbers(*shape))


def test_one_row_in_a_file_stays_one(tmp_path):
    """What drops an axis of one row has no batch left: the axis is no batch."""
    module = Calling(lambda s, x: s.gru(x)[0].squeeze(0), gru=GRU)
    path = tmp_path / "x.pt2"
    path.write_bytes(static(module, numbers(1, 5, 4)))
    model = sc.load(path)
    with pytest.raises(SeqcoreError, match="axes"):
        model(numbers(1, 5, 4).numpy())
    close(model(numbers(2, 1, 5, 4).numpy())[1], module(numbers(2, 1, 5, 4)[1]).detach().numpy(),
          FLOAT32[3])  # fmt: skip


def test_an_input_that_nobody_reads():
    module = Calling(lambda _, x, _y: x + 1)
    model = sc.from_torch(module, (numbers(3, 5, 4), numbers(6, 2)))
    same(module, model, numbers(2, 3, 4), numbers(2, 2))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_inputs_of_few_axes(shape, tmp_path):
    """Numbers, one a row, and vectors: called, into arrays, and saved."""
    module = Calling(lambda _, x: x * 2 + 1)
    model = sc.from_torch(module, numbers(*shape))
    x = numbers(*(shape or (4,)))
    assert np.array_equal(model(x.numpy()), module(x).numpy())
    out = np.zeros(x.shape, np.float32)
    model(x.numpy(), out=out)
    assert np.array_equal(out, module(x).numpy())
    model.save(tmp_path / "m.seqcore")
    assert np.array_equal(sc.load(tmp_path / "m.seqcore")(x.numpy()), out)
    assert "Rescaling" in str(model.summary())


def test_large_modules(monkeypatch):
    """What a module may need grows with what it holds, not with where its file was left."""
    from seqcore.formats.opening import budget_of
    from seqcore.importers.torch import live

    monkeypatch.setattr(live, "budget_of", lambda size, most: budget_of(size, most, floor=0))
    module = Calling(lambda s, x: s.linear(x), linear=nn.Linear(300, 300))
    same(module, sc.from_torch(module, numbers(2, 300)), numbers(3, 300))
