"""What programs of torch must not be imported: it is refused, all of it, by name and place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_torch_axes import Calling, numbers
from torch import nn

import seqcore as sc
from seqcore.errors import SeqcoreError, UnsupportedLayerError
from seqcore.formats.torch_programs import Node, Program, ProgramInput, Ref
from seqcore.importers.torch.graph import model_of


def refusal(function: Callable[..., Any], *example: Any, **parts: Any) -> UnsupportedLayerError:
    module = Calling(function, **parts)
    with pytest.raises(UnsupportedLayerError) as caught:
        sc.from_torch(module, example or numbers(3, 5, 4))
    return caught.value


# ---- In place ------------------------------------------------------------------------------------


def parts_in_place(_: Any, x: Any) -> Any:
    y = x * 1
    first, second = y.split(2, -1)
    first.relu_()
    return y, second


def parts_stacked(_: Any, x: Any) -> Any:
    parts = (x * 1).unbind(2)
    parts[0].mul_(2)
    return torch.stack(parts, 2)


def view_changed(_: Any, x: Any) -> Any:
    y = x * 1
    frame = y[:, 0]
    frame += 1
    return y


def view_read(_: Any, x: Any) -> Any:
    y = x * 1
    frame = y[:, 0]
    y += 1
    return frame


def view_of_a_view(_: Any, x: Any) -> Any:
    y = x * 1
    z = y.transpose(1, 2)[:, 1:].unsqueeze(1)
    y.exp_()
    return z


def maybe_a_copy(_: Any, x: Any) -> Any:
    y = x * 1
    z = y.transpose(1, 2).contiguous()
    z.relu_()
    return y, z


def maybe_a_view(_: Any, x: Any) -> Any:
    y = x * 1
    y.reshape(y.shape[0], -1).relu_()
    return y


def constant_through_a_view(_: Any, x: Any) -> Any:
    y = torch.zeros(4)
    part = y[:2]
    part += 1
    return x + y


IN_PLACE = [
    parts_in_place, parts_stacked, view_changed, view_read, view_of_a_view, maybe_a_copy,
    maybe_a_view, constant_through_a_view,
]  # fmt: skip


@pytest.mark.parametrize("function", IN_PLACE)
def test_what_is_changed_is_also_seen_through_a_view(function):
    assert "through a view" in str(refusal(function))


def test_an_input_is_not_changed():
    assert "writes into its input" in str(refusal(lambda _, x: x.add_(1)))


# ---- What has no numbers in a graph --------------------------------------------------------------

REFUSED = {
    "a constant": lambda _, x: (x, torch.ones(3)),
    "a size": lambda _, x: (x, x.shape[1]),
    "rounded down, of numbers that are not whole": lambda _, x: torch.div(
        x, 0.1, rounding_mode="floor"
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_refused(why):
    assert why in str(refusal(REFUSED[why], gru=nn.GRU(4, 3)))


def test_numbers_of_rows_cannot_be_computed_with():
    """arange over the batch is for indexing alone; every row would need to know its place."""
    error = refusal(lambda _, x: (x + torch.arange(x.shape[0]).view(-1, 1, 1)).erfinv())
    assert "rows of the batch meet" in str(error)


# ---- Offenders -----------------------------------------------------------------------------------


class Inner(nn.Module):
    def forward(self, x: Any) -> Any:
        return torch.linalg.matrix_exp(x[:, :4]) + torch.special.i0(x[:, :4])


def test_all_offenders_are_listed_with_their_places():
    """One for an operator and a line, whatever the number of calls."""

    def forward(s: Any, x: Any) -> Any:
        y = s.inner(x) + s.deep[0](x)
        for _ in range(3):
            y = torch.erfinv(y)
        return y

    error = refusal(forward, inner=Inner(), deep=nn.Sequential(Inner()))
    assert {what.split()[0] for _, what in error.layers} >= {"linalg_matrix_exp", "special_i0"}
    assert sum("linalg_matrix_exp" in what for _, what in error.layers) == 2  # both modules
    assert sum("erfinv" in what for _, what in error.layers) <= 1
    assert {place.split()[0] for place, _ in error.layers} >= {"inner", "deep.0"}
    assert all("test_torch_refusals.py:" in place for place, _ in error.layers)


def program(*nodes: Node, shape: Any = ("b", "t", 4)) -> Program:
    given = (ProgramInput("x", "float32", shape),)
    return Program(given, (Ref("y"),), nodes, {})


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (Node("aten.relu.default", {"self": Ref("z")}, ("y",)), "'z', which nothing before"),
        (Node("aten.relu.default", {"self": Ref("x"), "n": 1}, ("y",)), "that are not supported"),
        (Node("aten.relu.default", {"self": [Ref("x")]}, ("y",)), "relu"),
        (Node("aten.sum.default", {"self": Ref("x"), "dim": ["a"]}, ("y",)), "dim varies"),
        (Node("aten.mm.default", {"self": Ref("x"), "mat2": 2.5}, ("y",)), "AttributeError"),
        (Node("mine.op.default", {"self": Ref("x")}, ("y",)), "mine.op.default is not supported"),
    ],
)
def test_arguments_that_torch_never_writes(node, why):
    with pytest.raises(SeqcoreError, match=r".") as caught:
        model_of(program(node), "x")
    assert why in str(caught.value)
