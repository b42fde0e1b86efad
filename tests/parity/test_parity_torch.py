"""seqcore against torch: nn.RNN, nn.LSTM and nn.GRU with everything that they offer.

Weights come over by `from_torch` and `Layer.from_torch`. On every instruction set.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from frameworks import (
    SIZES,
    TORCH_KINDS,
    dealt,
    floats,
    lengths_of,
    outputs,
    run_torch,
    torch_module,
)
from tolerances import FLOAT32, close

import seqcore as sc

# layers, bidirectional, bias
DEPTHS = ((1, False, True), (1, True, True), (2, False, True), (1, False, False), (3, True, True))


@pytest.mark.parametrize("index", range(len(SIZES)))
@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_module(rng, isa, kind, index):
    features, units, batch, time = dealt(index)
    layers, bidirectional, bias = DEPTHS[index % len(DEPTHS)]
    module = torch_module(
        kind, features, units, num_layers=layers, bidirectional=bidirectional, bias=bias
    )
    model = sc.from_torch(module, return_state=True).with_options(isa=isa)
    x = floats(rng, batch, time, features)
    actual, expected = model(x), run_torch(module, x)
    for a, e in zip(actual, expected, strict=True):
        close(a, e, FLOAT32[layers])
    close(sc.from_torch(module).with_options(isa=isa)(x), expected[0], FLOAT32[layers])


@pytest.mark.parametrize("index", range(1, len(SIZES), 2))
@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_lengths_and_states(rng, isa, kind, index):
    features, units, batch, time = dealt(index)
    layers, bidirectional, bias = DEPTHS[(index + 1) % len(DEPTHS)]
    module = torch_module(
        kind, features, units, num_layers=layers, bidirectional=bidirectional, bias=bias
    )
    model = sc.from_torch(module, return_state=True).with_options(isa=isa)
    x, lengths = floats(rng, batch, time, features), lengths_of(rng, batch, time)
    shape = (layers * (1 + bidirectional), batch, units)
    states = tuple(floats(rng, *shape) for _ in model.states)
    for initial in (states, ()):
        for ends in (lengths, None):
            actual = model(x, lengths=ends, initial_state=initial or None)
            expected = run_torch(module, x, initial, ends)
            for a, e in zip(actual, expected, strict=True):
                close(a, e, FLOAT32[layers])


# units and proj_size, which is below, at and above the vectors' widths and their multiples
PROJECTED = (
    (2, 1), (9, 7), (16, 8), (17, 9), (33, 15), (32, 16), (64, 17), (33, 31), (65, 32), (97, 33),
    (65, 63), (97, 64), (70, 65), (130, 97), (131, 129),
)  # fmt: skip


@cache
def projected(index):
    """Return a model, its layers, and calls of it: arguments and what torch gives."""
    (units, size), rng = PROJECTED[index], np.random.default_rng(index)
    features, _, batch, time = dealt(index)
    time = min(time, 20)
    layers, bidirectional, bias = DEPTHS[index % len(DEPTHS)]
    module = torch_module(
        "LSTM", features, units, num_layers=layers, bidirectional=bidirectional, bias=bias,
        proj_size=size,
    )  # fmt: skip
    x, lengths = floats(rng, batch, time, features), lengths_of(rng, batch, time)
    count = layers * (1 + bidirectional)
    states = floats(rng, count, batch, size), floats(rng, count, batch, units)
    ways = [(states, lengths), ((), None), ((), lengths)]
    calls = [(x, given, ends, run_torch(module, x, given, ends)) for given, ends in ways]
    return sc.from_torch(module, return_state=True), layers, calls


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # slower, says torch
@pytest.mark.parametrize("index", range(len(PROJECTED)))
def test_projection(isa, index):
    model, layers, calls = projected(index)
    model = model.with_options(isa=isa)
    for x, states, lengths, expected in calls:
        actual = model(x, lengths=lengths, initial_state=states or None)
        for a, e in zip(actual, expected, strict=True):
            close(a, e, FLOAT32[layers])


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(("kind", "options"), [("GRU", {}), ("LSTM", {"proj_size": 3})])
def test_it_is_batch_first_whatever_the_module_is(rng, batch_first, kind, options):
    module = torch_module(kind, 5, 7, batch_first=batch_first, **options)
    x = floats(rng, 3, 4, 5)
    feed = torch.from_numpy(x if batch_first else x.transpose(1, 0, 2).copy())
    with torch.no_grad():
        expected = module(feed)[0].numpy()
    expected = expected if batch_first else expected.transpose(1, 0, 2)
    close(sc.from_torch(module)(x), expected, FLOAT32[1])


class Tagger(torch.nn.Module):
    """Ids to classes at every frame: the shape of many a trained model."""

    def __init__(self, kind):
        super().__init__()
        self.embed = torch.nn.Embedding(41, 12)
        self.encoder = getattr(torch.nn, kind)(12, 33, 2, batch_first=True, bidirectional=True)
        self.head = torch.nn.Linear(66, 9)

    def forward(self, ids):
        return torch.softmax(self.head(self.encoder(self.embed(ids))[0]), -1)


CLASSES = {"RNN": sc.SimpleRNN, "LSTM": sc.LSTM, "GRU": sc.GRU}


@pytest.mark.parametrize("kind", CLASSES)
def test_layers_from_a_state_dict(rng, isa, kind):
    torch.manual_seed(1)
    module = Tagger(kind).eval()
    weights = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    model = sc.Sequential([
        sc.Embedding.from_torch(weights, "embed"),
        CLASSES[kind].from_torch(weights, "encoder"),
        sc.Dense.from_torch(weights, "head.", activation="softmax"),
    ]).with_options(isa=isa)  # fmt: skip
    ids = rng.integers(0, 41, (6, 19))
    with torch.no_grad():
        close(model(ids), module(torch.from_numpy(ids)).numpy(), FLOAT32[2])


@pytest.mark.parametrize("kind", CLASSES)
def test_return_sequences_false_is_the_final_state(rng, isa, kind):
    torch.manual_seed(2)
    module = getattr(torch.nn, kind)(6, 17, 2, batch_first=True, bidirectional=True)
    weights = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    layer = CLASSES[kind].from_torch(weights, return_sequences=False, return_state=True)
    model = sc.Sequential([layer]).with_options(isa=isa)
    x, lengths = floats(rng, 9, 11, 6), lengths_of(rng, 9, 11)
    for ends in (None, lengths):
        y, *states = outputs(model(x, lengths=ends))
        _, *last = run_torch(module, x, lengths=ends)
        close(y, np.concatenate([last[0][-2], last[0][-1]], -1), FLOAT32[2])
        # by layer and direction, an LSTM's h before its c
        for k, state in enumerate(states):
            close(state, last[k % len(last)][k // len(last)], FLOAT32[2])


def test_a_relu_network_from_named_weights(rng, isa):
    module = torch_module("relu", 8, 31)
    weights = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    x = floats(rng, 5, 9, 8)
    model = sc.Sequential([sc.SimpleRNN.from_torch(weights, activation="relu")])
    close(model.with_options(isa=isa)(x), run_torch(module, x)[0], FLOAT32[1])


@pytest.mark.parametrize(
    ("spec", "module"),
    [
        ("tanh", torch.nn.Tanh()), ("sigmoid", torch.nn.Sigmoid()), ("relu", torch.nn.ReLU()),
        ("softplus", torch.nn.Softplus()), ("softsign", torch.nn.Softsign()),
        ("silu", torch.nn.SiLU()), ("swish", torch.nn.SiLU()),
        ("hard_sigmoid", torch.nn.Hardsigmoid()), ("elu", torch.nn.ELU()),
        ("selu", torch.nn.SELU()), ("gelu", torch.nn.GELU()), ("softmax", torch.nn.Softmax(-1)),
        ("gelu_tanh", torch.nn.GELU("tanh")), ("linear", torch.nn.Identity()),
        (None, torch.nn.Identity()),
        (sc.ActivationSpec("leaky_relu", 0.01), torch.nn.LeakyReLU()),
        (sc.ActivationSpec("elu", 0.5), torch.nn.ELU(0.5)),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("units", [1, 7, 16, 33, 65])
def test_activation(rng, isa, spec, module, units):
    x = 6 * floats(rng, 4, 5, units)
    source = sc.Input((None, units))
    model = sc.Model(source, sc.Activation(spec)(source)).with_options(isa=isa)
    close(model(x), module(torch.from_numpy(x)).numpy(), FLOAT32[0])
