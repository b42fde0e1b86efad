"""Modules of torch for tests of files: in a file of their own, for torch.jit reads their source."""

from __future__ import annotations

import torch
from torch import nn


class Everything(nn.Module):
    """A child of every sort, parameters and buffers of its own, attributes that are no options."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4, padding_idx=2)
        self.rnn = nn.RNN(4, 3, nonlinearity="relu", batch_first=True, bias=False)
        self.lstm = nn.LSTM(3, 2, num_layers=2, bidirectional=True, dropout=0.25)
        self.cell = nn.GRUCell(2, 3)
        self.conv = nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2)
        self.norm = nn.BatchNorm1d(6, eps=1e-3)
        self.plain = nn.BatchNorm1d(6, affine=False, track_running_stats=False)
        self.layer_norm = nn.LayerNorm([6], eps=1e-6)
        self.attention = nn.MultiheadAttention(4, 2)
        self.list = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2, bias=False)])
        self.dict = nn.ModuleDict({"relu": nn.ReLU(), "up": nn.Upsample(3)})
        self.parameters_ = nn.ParameterList([torch.ones(2), torch.zeros(1)])
        self.normed = nn.utils.weight_norm(nn.Linear(3, 4))
        self.nothing = None
        self.absent: nn.Module | None
        self.register_module("absent", None)
        self.scale = nn.Parameter(torch.full((2,), 3.0))
        self.register_parameter("without", None)
        self.register_buffer("kept", torch.arange(3, dtype=torch.bfloat16))
        self.register_buffer("hidden", torch.arange(4), persistent=False)
        self.units, self.sizes, self.names = 7, (1, 2), {"a"}
        self.dtype, self.function, self.shape = torch.float16, nn.functional.relu, torch.Size([4])
        self.object, self.tensor, self.nested = object(), torch.ones(2), {"x": [torch.ones(2)]}


class Nested(nn.Module):
    """What torch.jit can script and trace."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.rnn = nn.LSTM(3, 2, bidirectional=True)
        self.norm = nn.BatchNorm1d(3)
        self.stack = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4, bias=False)])
        self.tied = self.embed
        self.scale = nn.Parameter(torch.ones(4))
        self.register_buffer("shift", torch.arange(4.0))
        self.register_buffer("hidden", torch.arange(4.0), persistent=False)
        self.attribute = torch.full((4,), 7.0)
        self.sizes = [1, 2]

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        y, _ = self.rnn(self.norm(self.embed(ids)) + self.tied(ids))
        for layer in self.stack:
            y = layer(y)
        return y * self.scale + self.shift + self.hidden + self.attribute
