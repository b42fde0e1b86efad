"""Sizes, random weights and framework layers, as the parity tests use them; no test is here."""

from __future__ import annotations

import keras
import numpy as np
import torch
from tolerances import close

import seqcore as sc

# Straddle the vector widths 8 and 16 and the panels of 64 columns.
SIZES = (1, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97)
BATCHES = (1, 33, 2, 8, 7, 3, 16, 9, 5, 17, 4, 32)
TIMES = (1, 50, 2, 7, 31, 3, 12, 20, 5)
FEATURES = (17, 1, 33, 8, 64, 5, 16, 97, 3, 31, 12)


def dealt(index):
    """Return the index-th (features, units, batch, time); a dozen in a row cover every size."""
    return tuple(values[index % len(values)] for values in (FEATURES, SIZES, BATCHES, TIMES))


def floats(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def lengths_of(rng, batch, time):
    """Return lengths (B,) of 1..T among which T is, as torch and ONNX want them."""
    lengths = rng.integers(1, time + 1, batch)
    lengths[rng.integers(batch)] = time
    return lengths


# ---- torch ---------------------------------------------------------------------------------------

TORCH_KINDS = ("tanh", "relu", "LSTM", "GRU")


def torch_module(kind, features, units, **options):
    """Return an nn.RNN of this nonlinearity, an nn.LSTM or an nn.GRU, with torch's weights."""
    torch.manual_seed(features + 100 * units)
    options = {"batch_first": True} | options
    if kind in ("tanh", "relu"):
        return torch.nn.RNN(features, units, nonlinearity=kind, **options)
    return getattr(torch.nn, kind)(features, units, **options)


def run_torch(module, x, states=(), lengths=None):
    """Return out, then the final states, of a batch-first module; rows end at their lengths."""
    feed = torch.from_numpy(x)
    if lengths is not None:
        feed = torch.nn.utils.rnn.pack_padded_sequence(
            feed, torch.from_numpy(lengths), batch_first=True, enforce_sorted=False
        )
    initial = tuple(torch.from_numpy(s) for s in states) or None
    if initial and not isinstance(module, torch.nn.LSTM):
        (initial,) = initial
    with torch.no_grad():
        out, last = module(feed, initial)
    if lengths is not None:
        out, _ = torch.nn.utils.rnn.pad_packed_sequence(
            out, batch_first=True, total_length=x.shape[1]
        )
    return [v.numpy() for v in (out, *(last if isinstance(last, tuple) else (last,)))]


# ---- Keras ---------------------------------------------------------------------------------------


def filled(rng, layer, shape):
    """Build a Keras layer for inputs of this shape and give it weights (biases among them)."""
    if not layer.built:
        layer.build(shape)
    layer.set_weights([
        (rng.standard_normal(w.shape) / max(1, w.shape[-2] if w.ndim > 1 else 4) ** 0.5)
        .astype(np.float32) for w in layer.get_weights()
    ])  # fmt: skip
    return layer


def run_keras(layer, *inputs, **options):
    """Return a Keras layer's or model's outputs as a list of arrays."""
    feed = [torch.from_numpy(x) for x in inputs]
    with torch.no_grad():
        results = layer(feed[0] if len(feed) == 1 else feed, **options)
    results = results if isinstance(results, (tuple, list)) else [results]
    return [keras.ops.convert_to_numpy(r) for r in results]


def outputs(results):
    """Return what one of our models returned as a list."""
    return list(results) if isinstance(results, tuple) else [results]


def on_every_isa(model):
    """Yield (name, model) for every instruction set of this processor."""
    for isa in sc.cpu_info()["isas"]:
        yield isa, model.with_options(isa=isa)


def all_close(model, expected, tolerance, *inputs, **options):
    """Assert that a model of ours gives these outputs on every instruction set."""
    for isa, planned in on_every_isa(model):
        actual = outputs(planned(*inputs, **options))
        assert len(actual) == len(expected), isa
        for index, (a, e) in enumerate(zip(actual, expected, strict=True)):
            close(a, e, tolerance, f"{isa}, output {index}")
