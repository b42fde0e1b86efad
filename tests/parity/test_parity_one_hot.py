"""Ids in place of one-hot vectors against torch and Keras, which are given the vectors.

On every instruction set. Bits against our own layers over vectors are in test_one_hot.py.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch
from frameworks import (
    SIZES,
    TORCH_KINDS,
    all_close,
    dealt,
    filled,
    lengths_of,
    run_keras,
    run_torch,
    torch_module,
)
from tolerances import FLOAT32
from torch.nn import functional as F

import seqcore as sc

K = keras.layers
DEPTHS = ((1, False), (1, True), (2, True))  # layers, bidirectional


def one_hot(ids, depth):
    return F.one_hot(torch.from_numpy(ids), depth).float().numpy()


@pytest.mark.parametrize("index", range(len(SIZES)))
@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_torch(rng, kind, index):
    depth, units, batch, time = dealt(index)
    layers, bidirectional = DEPTHS[index % len(DEPTHS)]
    module = torch_module(kind, depth, units, num_layers=layers, bidirectional=bidirectional)
    options = {"activation": kind} if kind in ("tanh", "relu") else {}
    cell = sc.SimpleRNN if options else getattr(sc, kind)
    stack = cell.from_torch(module.state_dict(), return_state=True, **options)
    model = sc.Sequential([sc.OneHot(depth), stack])
    ids, lengths = rng.integers(0, depth, (batch, time)), lengths_of(rng, batch, time)
    for ends in (None, lengths):
        out, *_ = run_torch(module, one_hot(ids, depth), lengths=ends)
        first = sc.Sequential([sc.OneHot(depth), cell.from_torch(module.state_dict(), **options)])
        all_close(first, [out], FLOAT32[layers], ids, lengths=ends)
    states = run_torch(module, one_hot(ids, depth))[1:]
    finals = [s[k] for k in range(len(states[0])) for s in states]
    out, *_ = run_torch(module, one_hot(ids, depth))
    all_close(model, [out, *finals], FLOAT32[layers], ids)


@pytest.mark.parametrize("units", [1, 15, 16, 33, 65])
def test_torch_projection(rng, units):
    module = torch_module("LSTM", 11, units + 3, proj_size=units)
    model = sc.Sequential([sc.OneHot(11), sc.LSTM.from_torch(module.state_dict())])
    ids = rng.integers(0, 11, (9, 20))
    all_close(model, run_torch(module, one_hot(ids, 11))[:1], FLOAT32[1], ids)


@pytest.mark.parametrize("reset_after", [False, True])
@pytest.mark.parametrize("units", [1, 16, 33, 65])
def test_keras_gru(rng, units, reset_after):
    """With a mask too, which Keras is given as such."""
    options = {"return_sequences": True, "reset_after": reset_after, "go_backwards": units == 33}
    theirs = filled(rng, K.GRU(units, activation="softsign", **options), (None, None, 11))
    ours = sc.GRU.from_keras(theirs.get_weights(), activation="softsign", **options)
    model = sc.Sequential([sc.OneHot(11), ours])
    ids, mask = rng.integers(0, 11, (7, 12)), rng.random((7, 12)) < 0.6
    all_close(model, run_keras(theirs, one_hot(ids, 11)), FLOAT32[1], ids)
    expected = run_keras(theirs, one_hot(ids, 11), mask=torch.from_numpy(mask))
    all_close(model, expected, FLOAT32[1], ids, mask=mask)


@pytest.mark.parametrize("units", SIZES)
def test_linear(rng, units):
    module = torch.nn.Linear(11, units)
    model = sc.Sequential([sc.OneHot(11), sc.Dense.from_torch(module.state_dict())])
    ids = rng.integers(0, 11, (4, 5))
    with torch.no_grad():
        expected = module(torch.from_numpy(one_hot(ids, 11))).numpy()
    all_close(model, [expected], FLOAT32[0], ids)


def test_vectors_themselves(rng):
    ids = rng.integers(0, 13, (4, 3, 5))
    model = sc.Sequential([sc.Input((3, 5), dtype="int64"), sc.OneHot(13)])
    all_close(model, [one_hot(ids, 13)], 0.0, ids)


def test_a_large_vocabulary(rng):
    """A table past the caches, of which calls read few rows."""
    module = torch_module("LSTM", 5000, 64)
    model = sc.Sequential([sc.OneHot(5000), sc.LSTM.from_torch(module.state_dict())])
    ids = rng.integers(0, 5000, (3, 7))
    all_close(model, run_torch(module, one_hot(ids, 5000))[:1], FLOAT32[1], ids)
    x = np.full((1, 2), 4999)
    all_close(model, run_torch(module, one_hot(x, 5000))[:1], FLOAT32[1], x)
