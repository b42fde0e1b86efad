"""CRF against pytorch-crf, with its weights, on every instruction set.

It sums in float32 from the first frame to the last, so that of scores which are nearly equal it may
take the worse; the sequences here are short enough for that not to happen.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchcrf
from frameworks import SIZES, dealt, floats, lengths_of, on_every_isa
from stream_models import same_bits
from tolerances import FLOAT32, close

import seqcore as sc


def theirs_and_ours(tags, scale=1.0, **options):
    """A CRF of pytorch-crf, and a model of its weights."""
    torch.manual_seed(tags)
    crf = torchcrf.CRF(tags, batch_first=True)
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.copy_(torch.randn(parameter.shape) * scale)
    x = sc.Input((None, tags), name="x")
    made = sc.CRF.from_torch(crf.state_dict(), **options)(x)
    return crf, sc.Model(x, list(made) if isinstance(made, tuple) else made)


def decoded(crf, x, lengths):
    """Their tags, zeros past the ends."""
    counts = np.arange(x.shape[1]) < lengths[:, None]
    tags = np.zeros(x.shape[:2], np.int64)
    paths = crf.decode(torch.from_numpy(x), torch.from_numpy(counts))
    for row, path in enumerate(paths):
        tags[row, : lengths[row]] = path
    return tags


@pytest.mark.parametrize("index", range(len(SIZES)))
def test_tags(rng, index):
    _, tags, batch, time = dealt(index)
    for scale in (0.1, 3.0):  # as it begins to learn, and where transitions decide
        crf, model = theirs_and_ours(tags, scale)
        x, lengths = floats(rng, batch, time, tags), lengths_of(rng, batch, time)
        with torch.no_grad():
            expected = decoded(crf, x, lengths)
            whole = decoded(crf, x, np.full(batch, time))
        mask = np.arange(time) < lengths[:, None]
        for isa, ours in on_every_isa(model):
            same_bits(ours(x, lengths=lengths), expected, f"{isa}, lengths")
            same_bits(ours(x, mask=mask), expected, f"{isa}, mask")
            same_bits(ours(x), whole, f"{isa}, whole")


def test_score_is_that_of_the_likelihood(rng):
    """A path's likelihood is its score less the logarithm of a sum over all: that they share."""
    crf, model = theirs_and_ours(4, return_score=True)
    x = floats(rng, 6, 5, 4)
    tags, score = model(x)
    other = np.roll(tags, 1, axis=1)
    mask = torch.ones(6, 5, dtype=torch.bool)

    def likelihood(paths):
        with torch.no_grad():
            given = torch.from_numpy(x), torch.from_numpy(paths)
            return crf(*given, mask, reduction="none").numpy()

    best, theirs = likelihood(tags), likelihood(other)
    assert (best >= theirs).all()
    names = ("transitions", "start_transitions", "end_transitions")
    W, start, end = (crf.state_dict()[name].numpy() for name in names)

    def summed(paths):
        rows = np.arange(6)[:, None], np.arange(5), paths
        steps = W[paths[:, :-1], paths[:, 1:]].sum(axis=1)
        return start[paths[:, 0]] + x[rows].sum(axis=1) + steps + end[paths[:, -1]]

    close(score - best, summed(other) - theirs, FLOAT32[1])


def test_a_tagger_whole(rng):
    """BiLSTM, linear, CRF, of one state_dict."""

    class Tagger(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(50, 12)
            self.lstm = torch.nn.LSTM(12, 16, bidirectional=True, batch_first=True)
            self.head = torch.nn.Linear(32, 9)
            self.crf = torchcrf.CRF(9, batch_first=True)

        def forward(self, ids, mask):
            lengths = mask.sum(dim=1)
            rows = torch.nn.utils.rnn.pack_padded_sequence(
                self.embed(ids), lengths, batch_first=True, enforce_sorted=False
            )
            out, _ = torch.nn.utils.rnn.pad_packed_sequence(
                self.lstm(rows)[0], batch_first=True, total_length=ids.shape[1]
            )
            return self.crf.decode(self.head(out), mask)

    torch.manual_seed(0)
    module = Tagger().eval()
    with torch.no_grad():
        module.crf.transitions.copy_(torch.randn(9, 9))
    state = module.state_dict()
    model = sc.Sequential([
        sc.Embedding.from_torch(state, "embed"), sc.LSTM.from_torch(state, "lstm"),
        sc.Dense.from_torch(state, "head"), sc.CRF.from_torch(state, "crf"),
    ])  # fmt: skip
    ids, lengths = rng.integers(0, 50, (8, 20)), lengths_of(rng, 8, 20)
    mask = np.arange(20) < lengths[:, None]
    with torch.no_grad():
        expected = module(torch.from_numpy(ids), torch.from_numpy(mask))
    for isa, ours in on_every_isa(model):
        tags = ours(ids, lengths=lengths)
        for row, path in enumerate(expected):
            assert tags[row, : len(path)].tolist() == path, isa
            assert not tags[row, len(path) :].any()
