"""Trained layers of torch and Keras as ops of `seqcore.reference` and canonical arguments.

Written out in full, with nothing of `seqcore.layouts`, so that an error in either shows.
Not here: importers, and anything that the package itself uses.
"""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np

from seqcore import reference as ref

TANH, SIGMOID, LINEAR = ("tanh", 0, 0), ("sigmoid", 0, 0), ("linear", 0, 0)

KERAS_SPECS = {
    "tanh": TANH,
    "sigmoid": SIGMOID,
    "linear": LINEAR,
    "relu": ("relu", 0, 0),
    "softmax": ("softmax", 0, 0),
    "hard_sigmoid": ("hard_sigmoid", 1 / 6, 0.5),
    "elu": ("elu", 1, 0),
    "softsign": ("softsign", 0, 0),
}


def from_torch(module, suffix, kind):
    """Return op and canonical arguments of one layer and direction of an nn.RNN, LSTM or GRU.

    torch stores (G*H, in), LSTM gates i f g o, GRU gates r z n, and two biases.
    """

    def weight(name):
        return getattr(module, f"{name}_{suffix}").detach().numpy().astype(np.float64)

    w_ih, w_hh = weight("weight_ih"), weight("weight_hh")
    b_ih = b_hh = np.zeros(len(w_ih))
    if module.bias:
        b_ih, b_hh = weight("bias_ih"), weight("bias_hh")
    arguments = {"W": w_ih.T, "U": w_hh.T, "b": b_ih + b_hh, "activation": TANH}
    if module.proj_size:
        arguments["P"] = weight("weight_hr").T
    if kind == "GRU":
        units = module.hidden_size
        shared = np.where(np.arange(3 * units) < 2 * units, b_hh, 0)  # n keeps its b_hh apart
        arguments |= {"b": b_ih + shared, "bn": b_hh[2 * units :], "reset_after": True}
    if kind in ("GRU", "LSTM"):
        return getattr(ref, kind.lower()), arguments | {"recurrent_activation": SIGMOID}
    return ref.simple_rnn, arguments | {"activation": (kind, 0, 0)}


def torch_stack(module, kind, x, states, lengths=None):
    """Run all layers and directions of a torch module in float64: out, last states (L*D, B, H)."""
    last = [[] for _ in states]
    for layer in range(module.num_layers):
        halves = []
        for suffix in [f"l{layer}", f"l{layer}_reverse"][: 1 + module.bidirectional]:
            op, arguments = from_torch(module, suffix, kind)
            initial = [s[len(last[0])] for s in states]
            backward = suffix.endswith("reverse")
            y, *end = op(
                x, *initial, **arguments, reverse=backward, realign=backward, lengths=lengths
            )
            halves.append(y)
            for into, state in zip(last, end, strict=True):
                into.append(state)
        x = ref.concat(*halves, axis=-1)
    return x, [ref.stack(*states) for states in last]


def from_keras(layer):
    """Return the op and the canonical arguments of a Keras SimpleRNN, LSTM or GRU.

    Keras stores (in, G*H), LSTM gates i f c o, GRU gates z r h, biases (2, 3H) with reset_after.
    """
    kernel, recurrent, *bias = layer.get_weights()
    config = layer.get_config()
    units = config["units"]
    arguments = {
        "activation": KERAS_SPECS[config["activation"]],
        "reverse": config["go_backwards"],
        "return_sequences": config["return_sequences"],
    }
    if isinstance(layer, keras.layers.SimpleRNN):
        b = bias[0] if bias else np.zeros(units)
        return ref.simple_rnn, arguments | {"W": kernel, "U": recurrent, "b": b}
    arguments["recurrent_activation"] = KERAS_SPECS[config["recurrent_activation"]]
    if isinstance(layer, keras.layers.LSTM):
        b = bias[0] if bias else np.zeros(4 * units)
        return ref.lstm, arguments | {"W": kernel, "U": recurrent, "b": b}
    order = np.r_[units : 2 * units, 0:units, 2 * units : 3 * units]  # z r h -> r z n
    arguments |= {"W": kernel[:, order], "U": recurrent[:, order]}
    arguments["reset_after"] = config["reset_after"]
    b = bias[0] if bias else np.zeros((2, 3 * units) if config["reset_after"] else 3 * units)
    if config["reset_after"]:
        arguments["bn"] = b[1, 2 * units :]
        b = b[0] + np.where(np.arange(3 * units) < 2 * units, b[1], 0)
    return ref.gru, arguments | {"b": b[order]}
