"""Cells in full against ONNX Runtime, torch, and the equations that others publish.

onnxruntime gets the very arrays that `from_onnx` gets. Where a framework is not here (TensorFlow's
LSTMCell and LayerNormBasicLSTMCell, TensorFlow Addons, papers) its documented equations stand in
float64, in its own gate order. What options are by definition: tests/test_cells.py.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from frameworks import SIZES, floats, lengths_of
from onnx_operator import run_onnx
from tolerances import FLOAT32, close

import seqcore as sc

KINDS = {"RNN": sc.SimpleRNN, "LSTM": sc.LSTM, "GRU": sc.GRU}
GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
STATES = {"return_sequences": True, "return_state": True}


# ---- ONNX Runtime -------------------------------------------------------------------------------

# ONNX's name and constants of an activation, and ours.
ONNX = {
    "Sigmoid": ((), "sigmoid"),
    "Tanh": ((), "tanh"),
    "Relu": ((), "relu"),
    "Softsign": ((), "softsign"),
    "Softplus": ((), "softplus"),
    "HardSigmoid": ((0.3, 0.4), sc.ActivationSpec("hard_sigmoid", 0.3, 0.4)),
    "LeakyRelu": ((0.15,), sc.ActivationSpec("leaky_relu", 0.15)),
    "Elu": ((0.7,), sc.ActivationSpec("elu", 0.7)),
    "ThresholdedRelu": ((0.1,), sc.ActivationSpec("threshold", 0.1, 0.0)),
}
# Of f (i, o and f, or z and r), g (or h of a GRU, f of an RNN) and h.
ACTIVATIONS = {
    "LSTM": [
        None, ("HardSigmoid", "Softsign", "Tanh"), ("Sigmoid", "LeakyRelu", "Elu"),
        ("HardSigmoid", "Tanh", "HardSigmoid"), ("Sigmoid", "ThresholdedRelu", "Softplus"),
    ],
    "GRU": [None, ("HardSigmoid", "Softsign"), ("Sigmoid", "Elu"), ("HardSigmoid", "LeakyRelu")],
    "RNN": [None, *((name,) for name in ONNX)],
}  # fmt: skip
DIRECTIONS = ("forward", "reverse", "bidirectional")


def onnx_attributes(activations, directions):
    """Return the attributes that say so: constants in a row, of those that have any."""
    if activations is None:
        return {}
    constants = [ONNX[name][0] for name in activations] * directions
    said = {
        "activations": list(activations) * directions,
        "activation_alpha": [each[0] for each in constants if each],
        "activation_beta": [each[1] for each in constants if len(each) > 1],
    }
    return {name: value for name, value in said.items() if value}


def our_activations(op, activations):
    if activations is None:
        return {}
    ours = [ONNX[name][1] for name in activations]
    if op == "RNN":
        return {"activation": ours[0]}
    inner = {"g": ours[1], "h": ours[2]} if op == "LSTM" else ours[1]
    return {"recurrent_activation": ours[0], "activation": inner}


def ours(op, arrays, direction, **options):
    """Return our model of the same arrays: one output, then final states by direction."""
    options |= STATES
    kind = KINDS[op]
    if direction == "forward":
        return sc.Sequential([kind.from_onnx(**arrays, **options)])
    ways = [{name: array[k] for name, array in arrays.items()} for k in range(len(arrays["W"]))]
    if direction == "reverse":  # a Bidirectional of which one direction counts
        ways = [ways[0], ways[0]]
    forward, backward = (
        kind.from_onnx(**way, **options, go_backwards=k == 1) for k, way in enumerate(ways)
    )
    return sc.Sequential([sc.Bidirectional(forward, backward)])


def agrees(rng, index, op, direction, peepholes, attributes, options):
    units, features = SIZES[index % len(SIZES)], 1 + (index * 5) % 19
    batch, time, count = 1 + index % 7, 1 + index % 5, 2 if direction == "bidirectional" else 1
    width = GATES[op] * units
    arrays = {
        "W": floats(rng, count, width, features) / np.float32(features**0.5),
        "R": floats(rng, count, width, units) / np.float32(units**0.5),
        "B": floats(rng, count, 2 * width),
    } | ({"P": floats(rng, count, 3 * units)} if peepholes else {})
    x, lengths = floats(rng, batch, time, features), lengths_of(rng, batch, time)
    states = [floats(rng, count, batch, units) for _ in range(1 + (op == "LSTM"))]
    expected, last = run_onnx(op, arrays, x, states, lengths, direction=direction, **attributes)
    ways = [s for way in range(count) for s in (state[way] for state in states)]
    ways *= 2 if direction == "reverse" else 1
    model = ours(op, arrays, direction, **options)
    y, *finals = model(x, lengths=lengths, initial_state=ways)
    if direction == "reverse":
        y, finals = y[..., units:], finals[len(states) :]
    close(y, expected.reshape(*y.shape), FLOAT32[1], f"{op} {direction} {attributes}")
    for k, final in enumerate(finals):
        close(final, last[k % len(states)][k // len(states)], FLOAT32[1], f"state {k}")


def test_onnx_lstm(rng):
    cases = itertools.product(DIRECTIONS, (False, True), (None, 0.6), (0, 1), ACTIVATIONS["LSTM"])
    for index, (direction, peepholes, clip, coupled, activations) in enumerate(cases):
        attributes = onnx_attributes(activations, 1 + (direction == "bidirectional"))
        attributes |= {"clip": clip} if clip else {}
        options = our_activations("LSTM", activations)
        options |= {"clip": clip, "input_forget": bool(coupled)}
        attributes |= {"input_forget": coupled}
        agrees(rng, index, "LSTM", direction, peepholes, attributes, options)


def test_onnx_gru(rng):
    cases = itertools.product(DIRECTIONS, (0, 1), (None, 0.6), ACTIVATIONS["GRU"])
    for index, (direction, after, clip, activations) in enumerate(cases):
        attributes = onnx_attributes(activations, 1 + (direction == "bidirectional"))
        attributes |= {"linear_before_reset": 1} if after else {}  # both sides have it false
        attributes |= {"clip": clip} if clip else {}
        options = our_activations("GRU", activations) | {"clip": clip}
        options |= {"reset_after": True} if after else {}
        agrees(rng, index, "GRU", direction, False, attributes, options)


def test_onnx_rnn(rng):
    cases = itertools.product(DIRECTIONS, (None, 0.6), ACTIVATIONS["RNN"])
    for index, (direction, clip, activations) in enumerate(cases):
        attributes = onnx_attributes(activations, 1 + (direction == "bidirectional"))
        attributes |= {"clip": clip} if clip else {}
        options = our_activations("RNN", activations) | {"clip": clip}
        agrees(rng, index, "RNN", direction, False, attributes, options)


# ---- torch --------------------------------------------------------------------------------------


class NormedLSTM(torch.nn.Module):
    """The layer-normalised cell of torch's benchmark of custom LSTMs: both products, and c."""

    def __init__(self, features, units):
        super().__init__()
        self.weight_ih = torch.nn.Parameter(torch.randn(4 * units, features) / features**0.5)
        self.weight_hh = torch.nn.Parameter(torch.randn(4 * units, units) / units**0.5)
        self.norms = torch.nn.ModuleDict(
            {
                "input": torch.nn.LayerNorm(4 * units),
                "recurrent": torch.nn.LayerNorm(4 * units),
                "state": torch.nn.LayerNorm(units),
            }
        )
        for parameter in self.norms.parameters():
            torch.nn.init.normal_(parameter)

    def forward(self, x, h, c):
        made = []
        for frame in x.unbind(1):
            sums = self.norms["input"](frame @ self.weight_ih.T)
            sums = sums + self.norms["recurrent"](h @ self.weight_hh.T)
            i, f, g, o = sums.chunk(4, dim=1)
            c = self.norms["state"](torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g))
            h = torch.sigmoid(o) * torch.tanh(c)
            made.append(h)
        return torch.stack(made, dim=1), h, c


@pytest.mark.parametrize("units", SIZES)
def test_torch_layer_norm_lstm(rng, units):
    torch.manual_seed(units)
    module = NormedLSTM(5, units)
    x, *states = floats(rng, 3, 7, 5), floats(rng, 3, units), floats(rng, 3, units)
    with torch.no_grad():
        expected = module(*map(torch.from_numpy, (x, *states)))
    weights = {
        f"{name}_{ours}": getattr(norm, theirs).detach().numpy()
        for name, norm in module.norms.items()
        for ours, theirs in (("scale", "weight"), ("offset", "bias"))
    }
    W, U = (w.detach().numpy().T for w in (module.weight_ih, module.weight_hh))
    layer = sc.LSTM(W, U, layer_norm="products", norm_state="kept", norm_weights=weights, **STATES)
    made = sc.Sequential([layer])(x, initial_state=states)
    for a, e in zip(made, expected, strict=True):
        close(a, e, FLOAT32[2])


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # slower, says torch
def test_torch_projection_with_learned_states(rng):
    """What a module that begins with parameters of its own would compute, and its clipped twin."""
    module = torch.nn.LSTM(5, 9, proj_size=4, batch_first=True)
    x, h, c = floats(rng, 3, 6, 5), floats(rng, 4), floats(rng, 9)
    with torch.no_grad():
        states = [torch.from_numpy(np.tile(s, (1, 3, 1))) for s in (h, c)]
        expected, (last_h, last_c) = module(torch.from_numpy(x), tuple(states))
    w = {name[:-3]: p.detach().numpy() for name, p in module.named_parameters()}
    b = np.stack([w["bias_ih"], w["bias_hh"]])
    arrays = w["weight_ih"].T, w["weight_hh"].T, b
    options = {"projection": w["weight_hr"].T, "initial_state": (h, c), **STATES}
    made = sc.Sequential([sc.LSTM(*arrays, **options)])(x)
    for a, e in zip(made, (expected, last_h[0], last_c[0]), strict=True):
        close(a, e, FLOAT32[1])
    once = sc.Sequential([sc.LSTM(*arrays, **options, projection_clip=0.05)])(x[:, :1])
    close(once[0], np.clip(expected[:, :1].numpy(), -0.05, 0.05), FLOAT32[1])


# ---- Published equations ------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normed(x, scale, offset, epsilon):
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
    return centred / deviation * scale + offset


def reordered(array, order):
    """Columns of gates in another order: block k here is block order[k] there."""
    blocks = np.split(array, len(order), axis=-1)
    return np.concatenate([blocks[k] for k in order], axis=-1)


I_J_F_O = [0, 2, 1, 3]  # TensorFlow 1's order; i, f, g, o of ours


@pytest.mark.parametrize("units", [1, 7, 16, 33])
def test_tensorflow_lstm_cell(rng, units):
    """tf.nn.rnn_cell.LSTMCell: use_peepholes, cell_clip, num_proj, proj_clip, forget_bias.

    Peepholes as Gers and Schmidhuber have them: o sees the new, clipped cell.
    """
    size = max(1, units // 2)
    kernel = rng.normal(size=(5 + size, 4 * units)) / 3
    bias, diagonals = rng.normal(size=4 * units), rng.normal(size=(3, units))
    projection, x = rng.normal(size=(units, size)), rng.normal(size=(3, 8, 5))
    h, c, made, forget_bias = np.zeros((3, size)), np.zeros((3, units)), [], 1.0
    w_i, w_f, w_o = diagonals
    for t in range(8):
        i, j, f, o = np.split(np.concatenate([x[:, t], h], axis=1) @ kernel + bias, 4, axis=1)
        c = sigmoid(f + forget_bias + w_f * c) * c + sigmoid(i + w_i * c) * np.tanh(j)
        c = np.clip(c, -0.5, 0.5)
        h = np.clip((sigmoid(o + w_o * c) * np.tanh(c)) @ projection, -0.3, 0.3)
        made.append(h)
    b = reordered(bias, I_J_F_O) + forget_bias * (np.arange(4 * units) // units == 1)
    W, U = np.split(reordered(kernel, I_J_F_O), [5])
    layer = sc.LSTM(
        W, U, b, projection=projection, peepholes=diagonals, cell_clip=0.5, projection_clip=0.3,
        **STATES,
    )  # fmt: skip
    for a, e in zip(sc.Sequential([layer])(x), (np.stack(made, axis=1), h, c), strict=True):
        close(a, e, FLOAT32[2])


@pytest.mark.parametrize("units", [2, 7, 16, 33])
def test_tensorflow_layer_norm_basic_lstm_cell(rng, units):
    """tf.contrib.rnn.LayerNormBasicLSTMCell: every gate and the cell alone, and no bias."""
    kernel = rng.normal(size=(5 + units, 4 * units))
    gamma, beta = rng.normal(size=(5, units)), rng.normal(size=(5, units))
    x, h, c = rng.normal(size=(3, 6, 5)), np.zeros((3, units)), np.zeros((3, units))
    made, forget_bias, epsilon = [], 1.0, 1e-12
    for t in range(6):
        gates = np.split(np.concatenate([x[:, t], h], axis=1) @ kernel, 4, axis=1)
        i, j, f, o = (normed(z, gamma[k], beta[k], epsilon) for k, z in enumerate(gates))
        c = c * sigmoid(f + forget_bias) + sigmoid(i) * np.tanh(j)
        c = normed(c, gamma[4], beta[4], epsilon)
        h = np.tanh(c) * sigmoid(o)
        made.append(h)
    offsets = beta[I_J_F_O] + forget_bias * (np.arange(4) == 1)[:, None]
    weights = {
        "gate_scale": gamma[I_J_F_O].reshape(-1), "gate_offset": offsets.reshape(-1),
        "state_scale": gamma[4], "state_offset": beta[4],
    }  # fmt: skip
    layer = sc.LSTM(
        *np.split(reordered(kernel, I_J_F_O), [5]), layer_norm="gates", norm_weights=weights,
        norm_state="kept", epsilon=epsilon, **STATES,
    )  # fmt: skip
    for a, e in zip(sc.Sequential([layer])(x), (np.stack(made, axis=1), h, c), strict=True):
        close(a, e, FLOAT32[3])


@pytest.mark.parametrize("state", ["kept", "output"])
def test_layer_norm_of_both_products(rng, state):
    """TensorFlow Addons' LayerNormLSTMCell, which keeps LN(c); Ba et al. (2016), which do not."""
    units, epsilon = 7, 1e-3
    W, U, b = (rng.normal(size=shape) for shape in ((5, 28), (7, 28), 28))
    sizes = {"input": 28, "recurrent": 28, "state": 7}
    scales, offsets = ({name: rng.normal(size=n) for name, n in sizes.items()} for _ in range(2))

    def norm(name, value):
        return normed(value, scales[name], offsets[name], epsilon)

    x, h, c, made = rng.normal(size=(3, 6, 5)), np.zeros((3, units)), np.zeros((3, units)), []
    for t in range(6):
        sums = norm("input", x[:, t] @ W) + norm("recurrent", h @ U) + b
        i, f, g, o = np.split(sums, 4, axis=1)  # Keras's order
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        c = norm("state", c) if state == "kept" else c
        h = sigmoid(o) * np.tanh(c if state == "kept" else norm("state", c))
        made.append(h)
    weights = {f"{name}_scale": array for name, array in scales.items()}
    weights |= {f"{name}_offset": array for name, array in offsets.items()}
    layer = sc.LSTM(
        W, U, b, layer_norm="products", norm_weights=weights, norm_state=state, epsilon=epsilon,
        **STATES,
    )  # fmt: skip
    for a, e in zip(sc.Sequential([layer])(x), (np.stack(made, axis=1), h, c), strict=True):
        close(a, e, FLOAT32[2])


@pytest.mark.parametrize("keeps", [True, False])
def test_both_signs_of_the_update(rng, keeps):
    """Cho et al. (2014) keep z of the state, Chung et al. (2014) 1 - z of it; r before the product.

    The second is the first with -W, -U and -b of z, as 1 - sigmoid(a) is sigmoid(-a).
    """
    W, U, b = (rng.normal(size=shape) for shape in ((5, 21), (7, 21), 21))
    x, h, made = rng.normal(size=(3, 6, 5)), np.zeros((3, 7)), []
    for t in range(6):
        x_r, x_z, x_n = np.split(x[:, t] @ W + b, 3, axis=1)
        u_r, u_z, u_n = np.split(U, 3, axis=1)
        r, z = sigmoid(x_r + h @ u_r), sigmoid(x_z + h @ u_z)
        n = np.tanh(x_n + (r * h) @ u_n)
        h = z * h + (1 - z) * n if keeps else (1 - z) * h + z * n
        made.append(h)
    arrays, sign = (W, U, b), np.where(np.arange(21) // 7 == 1, -1, 1)
    options = {"reset_after": False, "return_sequences": True}
    layer = sc.GRU(*arrays, update_keeps=keeps, **options)
    close(sc.Sequential([layer])(x), np.stack(made, axis=1), FLOAT32[1])
    turned = sc.GRU(*(sign * a for a in arrays), update_keeps=not keeps, **options)
    close(sc.Sequential([turned])(x), np.stack(made, axis=1), FLOAT32[1])
