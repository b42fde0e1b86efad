"""Operators and options that are easily taken for others: each against torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tolerances import FLOAT32, close
from torch import nn

import seqcore as sc

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's, while it exports


class Calling(nn.Module):
    """A module whose forward is a function of its inputs."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


def test_rms_norm_is_no_layer_norm():
    torch.manual_seed(0)
    x = torch.randn(3, 5, 7) + 2  # of another mean than zero
    for options in ({}, {"eps": 0.5}, {"elementwise_affine": False}):
        module = nn.RMSNorm(7, **options)
        for weight in module.parameters():
            weight.data = torch.randn(7)
        expected = module(x).detach().numpy()
        close(sc.from_torch(module, x)(x.numpy()), expected, FLOAT32[3])
        chain = nn.Sequential(nn.Linear(7, 7), module)
        expected = chain(x[0]).detach().numpy()
        close(sc.from_torch(chain)(x[0].numpy()), expected, FLOAT32[3])


def test_rms_norm_without_eps_has_float32s():
    x = torch.randn(3, 5, 7) * 1e-4
    module = nn.RMSNorm(7)
    assert module.eps is None
    close(sc.from_torch(module, x)(x.numpy()), module(x).detach().numpy(), FLOAT32[3])


JOINS = [
    ("hstack", torch.hstack, (2, 3, 4)),
    ("vstack", lambda parts: torch.vstack([part.transpose(0, 1) for part in parts]), (2, 3, 4)),
    ("stack", lambda parts: torch.stack(parts, 2), (2, 3, 4)),
    ("reversed", lambda parts: parts[0].transpose(0, 2).T * parts[1], (5, 6, 5)),
]


@pytest.mark.parametrize(("name", "join", "shape"), JOINS, ids=[join[0] for join in JOINS])
def test_joined_along_the_axis_that_torch_means(name, join, shape):
    del name
    torch.manual_seed(0)
    module = Calling(lambda x: join([x, x * 2]))
    x = torch.randn(shape)
    expected = module(x).numpy()
    close(sc.from_torch(module, x)(x.numpy()), expected, FLOAT32[3])


def test_fmax_takes_the_number_where_the_other_is_none():
    x = torch.tensor([[1.0, float("nan"), 3.0, float("nan")]])
    y = torch.tensor([[2.0, 5.0, float("nan"), float("nan")]])
    for function in (torch.fmax, torch.fmin, torch.maximum, torch.minimum):
        model = sc.from_torch(Calling(function), (x, y))
        np.testing.assert_array_equal(model(x.numpy(), y.numpy()), function(x, y).numpy())


def test_not_of_numbers_turns_their_bits():
    x = torch.randn(2, 3)
    model = sc.from_torch(Calling(lambda x: (~(x > 0)) * 1.0), x)
    close(model(x.numpy()), (~(x > 0)).float().numpy(), FLOAT32[3])
    ids = torch.tensor([[0, 1, 5], [-1, 7, 2]])
    np.testing.assert_array_equal(
        sc.from_torch(Calling(lambda ids: ~ids), ids)(ids.numpy()), (~ids).numpy()
    )


REFUSED = [
    (lambda: nn.Embedding(5, 3, max_norm=1.0), "0 (nn.Embedding)", "max_norm=1.0"),
    (lambda: nn.MaxPool1d(2, return_indices=True), "0 (nn.MaxPool1d)", "return_indices=True"),
    (
        lambda: nn.AdaptiveMaxPool1d(2, return_indices=True),
        "0 (nn.AdaptiveMaxPool1d)", "return_indices=True",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("make", "where", "why"), REFUSED, ids=[case[1] for case in REFUSED])
def test_options_that_change_results_are_refused(make, where, why):
    with pytest.raises(sc.UnsupportedLayerError) as caught:
        sc.from_torch(nn.Sequential(make()))
    ((found, reason),) = caught.value.layers
    assert found == where
    assert why in reason


def test_a_recurrent_module_with_an_example_keeps_its_layout():
    gru = nn.GRU(3, 4)
    x = torch.randn(5, 2, 3)
    found = sc.from_torch(gru, x)(x.numpy())
    for ours, theirs in zip(found, gru(x), strict=True):
        close(ours, theirs.detach().numpy(), FLOAT32[3])
