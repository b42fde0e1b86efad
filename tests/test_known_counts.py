"""Numbers to check by hand: parameters of well-known small models, and one forward pass."""

from __future__ import annotations

import math

import numpy as np
import pytest

import seqcore as sc


def counts(model):
    return [layer.parameters for layer in model.layers]


def test_simple_rnn_and_dense():
    model = sc.Sequential([sc.Input((4, 5)), sc.SimpleRNN(3), sc.Dense(1)])
    assert counts(model) == [3 * 5 + 3 * 3 + 3, 3 + 1]
    assert sum(counts(model)) == 31


def test_embedding_lstm_dense():
    model = sc.Sequential([sc.Embedding(1000, 64), sc.LSTM(128), sc.Dense(10)])
    assert counts(model) == [64_000, 98_816, 1_290]
    assert "Total parameters: 164,106" in model.summary()


def test_simple_rnn_of_128():
    assert counts(sc.Sequential([sc.Input((None, 32)), sc.SimpleRNN(128)])) == [20_608]


def test_bidirectional_lstm():
    model = sc.Sequential([sc.Input((10, 32)), sc.Bidirectional(sc.LSTM(64)), sc.Dense(1)])
    assert counts(model) == [49_664, 129]
    assert [layer.output_shape for layer in model.layers] == [(None, 128), (None, 1)]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (sc.GRU(7), 3 * 7 * (5 + 7) + 2 * 3 * 7),  # Keras's default: reset_after, two biases
        (sc.GRU(7, reset_after=False), 3 * 7 * (5 + 7 + 1)),
        (sc.LSTM(7, use_bias=False), 4 * 7 * (5 + 7)),
        (
            sc.LSTM(np.ones((5, 28)), np.ones((3, 28)), np.ones(28), projection=np.ones((7, 3))),
            4 * 7 * (5 + 3 + 1) + 3 * 7,
        ),
        (sc.Conv1D(6, 3), 3 * 5 * 6 + 6),
        (sc.TimeDistributed(sc.Dense(4, use_bias=False)), 20),
        (sc.MaxPooling1D(2), 0),
    ],
)
def test_layers_on_five_features(layer, expected):
    assert counts(sc.Sequential([sc.Input((9, 5)), layer])) == [expected]


def test_grouped_convolution():
    model = sc.Sequential([sc.Input((9, 6)), sc.Conv1D(4, 3, groups=2)])
    assert counts(model) == [3 * 3 * 4 + 4]


def test_eight_units_by_hand():
    # h = tanh(x*w + 0.1) for w = 0.1 .. 0.8, y = 0.05*sum(h) + 0.1
    w = np.arange(1, 9) / 10
    rnn = sc.SimpleRNN(w[None], np.zeros((8, 8)), np.full(8, 0.1), return_state=True)
    x = sc.Input((None, 1))
    out, h = rnn(x)
    y = sc.Dense(np.full((8, 1), 0.05), np.full(1, 0.1))(out)
    value, state = sc.Model(x, [y, h])(np.array([[[20.0]]]))
    assert state[0, 0] == pytest.approx(math.tanh(2.1))
    assert value.item() == pytest.approx(0.1 + 0.05 * sum(math.tanh(20 * k + 0.1) for k in w))
    assert round(value.item(), 4) == 0.4985
