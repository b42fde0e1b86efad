"""Cells with every option, and what they are by definition; no test is here.

A `Case` says the options of a layer as a user does. `definition` says the same to the float64
reference, written out here, so that an option which the layer loses or turns round shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

import seqcore as sc
from seqcore import reference as ref

GATES = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}
OPS = {"SimpleRNN": ref.simple_rnn, "LSTM": ref.lstm, "GRU": ref.gru}
HARD = sc.ActivationSpec("hard_sigmoid", 0.3, 0.4)
LEAKY = sc.ActivationSpec("leaky_relu", 0.1)
NORM_SIZES = {
    "input_scale": 4, "input_offset": 4, "recurrent_scale": 4, "recurrent_offset": 4,
    "gate_scale": 4, "gate_offset": 4, "state_scale": 1, "state_offset": 1,
}  # fmt: skip


@dataclass
class Case:
    """A kind of layer with options; arrays among them are said by what they are for."""

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    peepholes: bool = False
    projects: bool = False
    learned: bool = False  # its initial states
    biases: int = 1  # 0, 1 or 2 rows

    @property
    def name(self):
        said = [f"{k}={getattr(v, 'kind', v)}" for k, v in self.options.items()]
        flags = [n for n in ("peepholes", "projects", "learned") if getattr(self, n)]
        return "-".join([self.kind, *flags, *said, f"{self.biases}b"]).replace(" ", "")[:90]


def lstm(**options):
    own = {k: options.pop(k) for k in ("peepholes", "projects", "learned") if k in options}
    return Case("LSTM", options, biases=options.pop("biases", 1), **own)


def gru(biases=2, learned=False, **options):
    return Case("GRU", options, biases=biases, learned=learned)


def rnn(biases=1, learned=False, **options):
    return Case("SimpleRNN", options, biases=biases, learned=learned)


CASES = [
    lstm(),
    lstm(biases=2),
    lstm(biases=0, learned=True),
    lstm(peepholes=True),
    lstm(peepholes=True, clip=0.6),
    lstm(clip=0.5),
    lstm(clip=0.5, activation={"g": "tanh", "h": "linear"}),
    lstm(cell_clip=0.4),
    lstm(peepholes=True, cell_clip=0.4, learned=True),
    lstm(projects=True, projection_clip=0.1),
    lstm(projects=True, peepholes=True, clip=0.8, cell_clip=0.5, projection_clip=0.2, learned=True),
    lstm(input_forget=True),
    lstm(input_forget=True, peepholes=True, clip=0.7, biases=2),
    lstm(recurrent_activation={"f": "hard_sigmoid", "o": HARD}),
    lstm(recurrent_activation={"i": "softmax"}, peepholes=True),
    lstm(activation={"g": LEAKY, "h": "softsign"}, recurrent_activation=HARD),
    lstm(activation={"h": "softmax"}, clip=0.9),
    *(
        lstm(layer_norm=where, norm_state=state)
        for where in ("products", "gates")
        for state in ("none", "kept", "output")
    ),
    lstm(layer_norm="products", norm_state="kept", clip=0.6, cell_clip=0.9, epsilon=0.1),
    lstm(layer_norm="products", norm_state="output", projects=True, projection_clip=0.3, biases=0),
    lstm(layer_norm="gates", norm_state="output", cell_clip=0.3, clip=0.8, epsilon=0.1),
    lstm(layer_norm="gates", norm_state="kept", input_forget=True, learned=True, biases=2),
    lstm(layer_norm="gates", activation={"h": "relu"}, recurrent_activation={"f": HARD}),
    gru(),
    gru(update_keeps=False),
    gru(update_keeps=False, reset_after=False, biases=1),
    gru(reset_after=False),
    gru(clip=0.4),
    gru(clip=0.4, reset_after=False, update_keeps=False, learned=True),
    gru(recurrent_activation={"r": "hard_sigmoid"}, activation="softsign"),
    gru(recurrent_activation={"z": HARD}, reset_after=False, biases=1, learned=True),
    gru(recurrent_activation={"z": "softmax"}, activation={"n": LEAKY}, clip=0.7),
    gru(recurrent_activation={"r": "softmax"}, reset_after=False, update_keeps=False, biases=0),
    rnn(biases=2),
    rnn(clip=0.3, learned=True),
    rnn(clip=0.5, activation=LEAKY, biases=0),
    rnn(clip=0.5, activation="softmax"),
]  # fmt: skip


def floats(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def arrays_of(rng, case, features, units):
    """Draw the arrays of a case, by the names of constructors."""
    width, out = GATES[case.kind] * units, max(1, units // 2) if case.projects else units
    made = {
        "W": floats(rng, features, width) / np.float32(features**0.5),
        "U": floats(rng, out, width) / np.float32(out**0.5),
    }
    if case.biases:
        made["b"] = floats(rng, *[2] * (case.biases - 1), width)
    if case.projects:
        made["projection"] = floats(rng, units, out) / np.float32(units**0.5)
    if case.peepholes:
        made["peepholes"] = floats(rng, 3, units)
    norms = [{"products": ("input", "recurrent"), "gates": ("gate",)}.get(_norm(case), ())]
    norms.append(("state",) if case.options.get("norm_state", "none") != "none" else ())
    names = [f"{part}_{what}" for parts in norms for part in parts for what in ("scale", "offset")]
    if names:
        made["norm_weights"] = {name: floats(rng, NORM_SIZES[name] * units) for name in names}
    if case.learned:
        made["initial_state"] = [floats(rng, out), floats(rng, units)][: 1 + (case.kind == "LSTM")]
    return made


def _norm(case):
    return case.options.get("layer_norm")


def layer_of(case, arrays, **options):
    """Return the layer as a user makes it."""
    given = dict(arrays)
    first = [given.pop(name, None) for name in ("W", "U", "b")]
    return getattr(sc, case.kind)(*first, **given, **case.options, **options)


def definition(case, arrays, x, states=(), **options):
    """Evaluate a case on x, (B, T, I), by the reference: y, then the final states.

    States that nobody gives are the learned ones, or zeros.
    """
    units = arrays["W"].shape[1] // GATES[case.kind]
    said = {k: v for k, v in case.options.items() if k not in ("reset_after",)}
    arguments = {k: np.float64(arrays[k]) for k in ("W", "U")} | _biases(case, arrays, units)
    for ours, theirs in (("projection", "P"), ("peepholes", "peepholes")):
        if ours in arrays:
            arguments[theirs] = arrays[ours]
    arguments |= arrays.get("norm_weights", {})
    arguments |= _activations(case.kind, said)
    if case.options.get("layer_norm"):
        said = {"epsilon": 1e-5, "norm_state": "none"} | said
    if not states and case.learned:
        states = [np.tile(s, (len(x), 1)) for s in arrays["initial_state"]]
    return OPS[case.kind](x, *states, **arguments, **said, **options)


def _biases(case, arrays, units):
    width = GATES[case.kind] * units
    b = np.zeros((2, width))
    b[: case.biases] = arrays.get("b", 0)
    if case.kind != "GRU":
        return {"b": b.sum(axis=0)}
    after = case.options.get("reset_after", case.biases != 1)
    if not after:
        return {"b": b.sum(axis=0), "reset_after": False}
    apart = np.where(np.arange(width) < 2 * units, b[1], 0)
    return {"b": b[0] + apart, "bn": b[1, 2 * units :], "reset_after": True}


def _activations(kind, said):
    """Take activations out of what is said, and return them as the reference has them."""
    found, own = {}, {}
    options = ("activation", "recurrent_activation")[: 1 + (kind != "SimpleRNN")]
    for option, default in zip(options, ("tanh", "sigmoid"), strict=False):
        value = said.pop(option, default)
        if isinstance(value, dict):
            own |= {letter: _spec(each) for letter, each in value.items()}
            value = default
        found[option] = _spec(value)
    return found | ({"gate_activations": own} if own else {})


def _spec(value):
    spec = value if isinstance(value, sc.ActivationSpec) else sc.ActivationSpec(value)
    return [spec.kind, spec.alpha, spec.beta]
