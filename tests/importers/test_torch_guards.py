"""Branches on sizes: what torch.export takes for granted is checked at every call, or refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tolerances import FLOAT32, close
from torch import nn

import seqcore as sc
from seqcore.formats.torch_programs import Node, Program, ProgramInput, Ref
from seqcore.importers.torch.graph import model_of


class Branch(nn.Module):
    def __init__(self, test):
        super().__init__()
        self.test = test

    def forward(self, x):
        return x * 2 if self.test(x.shape[1]) else x + 1


def example(time, rows=2):
    return torch.randn(rows, time, 4)


@pytest.mark.parametrize(
    ("test", "inside", "outside", "told"),
    [
        (lambda T: T > 10, [11, 30], [10, 3], "at least 11"),
        (lambda T: T <= 10, [3, 10], [11, 30], "at most 10"),
        (lambda T: T % 3 == 0, [3, 30], [4, 31], "a multiple of 3"),
    ],
)
def test_the_other_side_of_a_branch_is_no_answer(test, inside, outside, told, tmp_path):
    module = Branch(test)
    model = sc.from_torch(module, example(inside[0]))
    model.save(tmp_path / "m")
    for each in (model, sc.load(tmp_path / "m")):
        for time in inside:
            x = example(time, 3)
            close(each(x.numpy()), module(x).numpy(), FLOAT32[1])
        for time in outside:
            with pytest.raises(
                sc.ShapeError, match=f"'x' must have {told} in axis 1, found {time}"
            ):
                each(example(time).numpy())


def test_a_branch_that_no_bound_can_say_fixes_the_size():
    module = Branch(lambda T: T % 3 == 1)
    model = sc.from_torch(module, example(7))
    x = example(7, 5)
    close(model(x.numpy()), module(x).numpy(), FLOAT32[1])
    with pytest.raises(sc.ShapeError, match="must have size 7 in axis 1"):
        model(example(8).numpy())


def test_sizes_that_were_equal_must_be():
    class Same(nn.Module):
        def forward(self, x, y):
            mean = y.mean(1, keepdim=True)
            return x * 2 + mean if x.shape[1] == y.shape[1] else x + mean

    model = sc.from_torch(Same(), (example(5), example(5)))
    x, y = example(6, 3), example(6, 3)
    close(model(x.numpy(), y.numpy()), Same()(x, y).numpy(), FLOAT32[1])
    with pytest.raises(sc.ShapeError, match="they must be the same"):
        model(x.numpy(), example(7, 3).numpy())


def test_a_window_needs_its_frames():
    module = nn.Sequential(nn.Conv1d(4, 3, 5), nn.MaxPool1d(2))
    model = sc.from_torch(module.eval(), torch.randn(2, 4, 30))
    for time in (31, 30, 12):
        x = torch.randn(3, 4, time)
        with torch.no_grad():
            close(model(x.numpy()), module(x).numpy(), FLOAT32[1])
    with pytest.raises(sc.ShapeError, match="at least"):
        model(np.zeros((2, 4, 4), np.float32))


def program(**sizes):
    nodes = (Node("aten.relu.default", {"self": Ref("x")}, ("y",)),)
    return Program((ProgramInput("x", "float32", ("b", "t", 4)),), (Ref("y"),), nodes, {}, **sizes)


@pytest.mark.parametrize(
    "sizes",
    [
        {"guards": ("L['x'].size()[1]*L['x'].size()[0] > 100",)},
        {"guards": ("L['x'].size()[1] % 3 == 1",)},
        {"guards": ("L['z'].size()[1] == 3",)},
        {"guards": ("L['x'].size()[7] == 3",)},
        {"guards": ("L['x'].size()[1] ==",)},
        {"guards": ("__import__('os').getpid() > 0",)},
        {"guards": ("().__class__ == 1",)},
        {"guards": ("(" * 500 + "1" + ")" * 500 + " == 1",)},
        {"guards": ("9**9**9**9 == 1",)},
        {"guards": ("1 == 1 " * 1000,)},
    ],
)
def test_what_cannot_be_a_rule_is_refused(sizes):
    with pytest.raises(sc.UnsupportedLayerError):
        model_of(program(**sizes), "program")


@pytest.mark.parametrize(
    ("sizes", "rows", "others"),
    [
        ({"ranges": {"b": (8, None)}}, [8, 9], [7, 2]),
        ({"ranges": {"b": (2, 16)}}, [2, 16], [17]),
        ({"guards": ("(L['x'].size()[0] % 2) == 0",)}, [2, 16], [3, 17]),
        ({"guards": ("L['x'].size()[0] // (L['x'].size()[0] - 3) > 0",)}, [4, 9], [3, 2]),
    ],
)
def test_a_batch_that_is_bounded_is_one_size_of_others(sizes, rows, others):
    model = model_of(program(**sizes), "program")
    for count in rows:
        assert model(np.ones((count, 5, 4), np.float32)).shape == (count, 5, 4)
    for count in others:
        with pytest.raises(sc.ShapeError):
            model(np.ones((count, 5, 4), np.float32))


@pytest.mark.parametrize(
    "guard",
    [
        "min(L['x'].size()[2], L['x'].size()[1]*L['x'].size()[2]) == L['x'].size()[2]",
        "L['x'].size()[1] >= 1",
        "not L['x'].size()[1] == 1",
        "(L['x'].size()[1] == 1 or L['x'].size()[1] > 1) and 4 == L['x'].size()[2]",
    ],
)
def test_what_is_always_so_bounds_nothing(guard):
    model = model_of(program(guards=(guard,)), "program")
    for time in (1, 2, 17):
        assert model(np.ones((3, time, 4), np.float32)).shape == (3, time, 4)
