"""Gate traces: what a recurrent layer does inside, frame by frame. `Model.trace` makes them.

A gate of frame t is a function of the layer's input x_t and of its state before, which is the
output of the frame before. So the graph is rewritten, document to document, to end in that layer
and to put out what it reads and its whole sequence; the kernels run it as ever, h is theirs to the
bit, and the sums of all gates follow in float64 as one product. Only the cell state has a loop.

Here are that rewriting, the equations and `Trace`. Pictures of it: plots.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._binding import Plan
from .errors import OptionError
from .graph import Graph, finite, told
from .reference import activate
from .rewriting import alive, show_frames, unused

__all__ = ["Saturation", "Trace", "Tracer", "recurrent_nodes", "traced_name"]

Array = NDArray[Any]
Node = Mapping[str, Any]

_KINDS = {"simple_rnn": "SimpleRNN", "gru": "GRU", "lstm": "LSTM"}
_STATES = {"simple_rnn": 1, "gru": 1, "lstm": 2}  # h, and c
_OPENING = ("i", "f", "o", "r", "z")  # gates that open and close; g and n are what passes them
_FORGETTING = {"LSTM": "f", "GRU": "z"}  # what the state before is multiplied by
_ONLY_OUTPUTS = ("stack", "batch_second")  # what they make, also where somebody reads it
_MOST_NAMES = 20  # in a message


class Saturation(NamedTuple):
    """How often each unit of a gate is nearly shut, and nearly open: shares of the frames, (H,)."""

    left: Array
    right: Array


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """Gates and states of one recurrent layer at every frame of a batch: `Model.trace`.

    Frame t is the layer's input frame t, also where the layer goes backward: h there is the state
    after that frame was read. A frame that a mask leaves out has no gates, NaN, and the state that
    goes past it, which is the initial one before the first frame that counts. Past the end of a row
    everything is NaN, so that no mean takes it for a number.

    Attributes
    ----------
    layer : str
        The name that ``model.trace(x, layer=...)`` takes.
    kind : str
        "LSTM", "GRU" or "SimpleRNN".
    gates : dict of str to (B, T, H) float32
        LSTM: i, f, g, o, with ``c = f*c + i*g`` and ``h = o*act(c)``. GRU: r, z, n, with
        ``h = (1-z)*n + z*h``. SimpleRNN: none. All behind their activations. What else a cell does
        (peepholes, limits, normalisation) is in them.
    h : (B, T, H) float32
        The output, as the kernels compute it; (B, T, P) with a projection.
    c : (B, T, H) float32, or None
        The cell state of an LSTM, as it is kept: clipped or normalised where the cell says so.
    lengths : (B,) int64
        Frames of each row.
    counts : (B, T) bool
        Where there are gates: frames within their row that no mask leaves out.
    update_keeps : bool
        Of a GRU: whether z is the share of h that is kept; else it is that of n, and
        ``h = (1-z)*h + z*n``.

    Examples
    --------
    >>> import numpy as np, seqcore as sc
    >>> rng = np.random.default_rng(0)
    >>> W, U, b = rng.normal(size=(3, 8)), rng.normal(size=(2, 8)), np.zeros(8)
    >>> model = sc.Sequential([sc.LSTM(W, U, b), sc.Dense(rng.normal(size=(2, 1)))])
    >>> trace = model.trace(rng.normal(size=(1, 6, 3)))
    >>> trace
    <Trace of 'lstm' (LSTM): i, f, g, o, c, h of 1 x 6 frames>
    >>> trace["f"].shape, trace.memory().shape
    ((1, 6, 2), (2,))
    """

    layer: str
    kind: str
    gates: Mapping[str, Array]
    h: Array
    c: Array | None
    lengths: Array
    counts: Array
    update_keeps: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """What ``trace[name]`` gives: the gates, c where there is one, h."""
        return (*self.gates, *(() if self.c is None else ("c",)), "h")

    def __getitem__(self, name: str) -> Array:
        if not isinstance(name, str) or name not in self.names:
            raise OptionError(
                f"trace of layer {self.layer!r}: there is no {told(name)}; a {self.kind} has "
                f"{', '.join(self.names)}"
            )
        if name in self.gates:
            return self.gates[name]
        return self.h if self.c is None or name == "h" else self.c

    def __repr__(self) -> str:
        rows, time = self.counts.shape
        names = ", ".join(self.names)
        return f"<Trace of {self.layer!r} ({self.kind}): {names} of {rows} x {time} frames>"

    def saturation(self, low: float = 0.1, high: float = 0.9) -> dict[str, Saturation]:
        """Tell how often each gate of each unit is nearly shut or nearly open.

        Parameters
        ----------
        low, high : float
            Below and above which a gate is said to be saturated.

        Returns
        -------
        dict of str to Saturation
            For i, f and o of an LSTM, r and z of a GRU: `left`, of every unit the share of the
            frames that count at which the gate is below `low`, and `right`, at which it is above
            `high`; (H,) float64. NaN if no frame counts.

        Raises
        ------
        OptionError
            `low` is not below `high`, or the layer has no gates.
        """
        limits = finite(low), finite(high)
        if limits[0] is None or limits[1] is None or not limits[0] < limits[1]:
            raise OptionError(
                f"saturation: expected numbers low < high; found {told(low)} and {told(high)}"
            )
        self._check_gates("saturation")
        return {
            name: Saturation(self._mean(gate < limits[0]), self._mean(gate > limits[1]))
            for name, gate in self.gates.items()
            if name in _OPENING
        }

    def memory(self) -> Array:
        """Estimate for how many frames each unit remembers.

        Returns
        -------
        (H,) ndarray of float64
            ``1 / (1 - mean f)``, the mean over all frames that count; f is the forget gate of an
            LSTM, and of a GRU z or, if z is the share of n, 1 - z: what the state before is
            multiplied by. Infinite where the mean is 1 or more, NaN if no frame counts.

        Raises
        ------
        OptionError
            The layer has no gates.

        Notes
        -----
        After k frames a unit still has ``f_1 * f_2 * ... * f_k`` of what it held. Of gates that are
        independent of each other that is ``mean(f)**k`` on average, and its sum over k = 0, 1, ...
        is this number: 1 for a unit that forgets at once, 100 for one that keeps 99% per frame. It
        says nothing of what h shows: an output gate may hide a memory, a reset gate disregard it.
        Nor of what becomes of c behind the gates, where it is normalised or clipped.
        """
        self._check_gates("memory")
        kept = self._mean(self.gates[_FORGETTING[self.kind]])
        if not self.update_keeps:
            kept = 1 - kept
        with np.errstate(divide="ignore"):
            return np.where(kept >= 1, np.inf, 1 / (1 - kept))

    def _mean(self, values: Array) -> Array:
        """Return the mean (H,) of (B, T, H) over the frames that count."""
        counted = values[self.counts]
        if not len(counted):
            return np.full(counted.shape[1:], np.nan)
        return np.asarray(counted.mean(axis=0, dtype=np.float64))

    def _check_gates(self, method: str) -> None:
        if not self.gates:
            raise OptionError(
                f"{method}: layer {self.layer!r} is a {self.kind}, which has no gates; those of an "
                "LSTM or a GRU have one"
            )


# ---- Which layers there are ----------------------------------------------------------------------


def recurrent_nodes(document: Mapping[str, Any]) -> dict[str, Node]:
    """Return the nodes that can be traced, by the names of their results."""
    return {
        next(filter(None, node["outputs"])): node
        for node in document["nodes"]
        if node["op"] in _KINDS and any(node["outputs"])
    }


def traced_name(nodes: Mapping[str, Node], layer: str | None) -> str:
    """Return the key of the node that a caller means: its own name, or that of its only layer.

    Raises
    ------
    OptionError
        Nothing can be traced, `layer` is no name of what can, or it stands for several.
    """
    if not nodes:
        raise OptionError("trace: the model has no recurrent layer")
    if layer is not None and not isinstance(layer, str):
        raise OptionError(f"trace: layer is a name; found {told(layer)}")
    if layer in nodes:
        return str(layer)
    meant = [name for name, node in nodes.items() if layer in (None, node["layer"])]
    if len(meant) == 1:
        return meant[0]
    if not meant:
        known = "there is" if len(nodes) == 1 else "there are"
        raise OptionError(
            f"trace: there is no recurrent layer {told(layer)}; {known} {_listed(nodes)}"
        )
    which = "the model" if layer is None else f"layer {layer!r}"
    raise OptionError(f"trace: {which} has several; layer= is one of {_listed(meant)}")


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    rest = len(every) - _MOST_NAMES
    shown = ", ".join(repr(name) for name in every[:_MOST_NAMES])
    return f"{shown} and {rest} more" if rest > 0 else shown


# ---- The graph that ends in one of them ----------------------------------------------------------


class _Ending:
    """A document rewritten to end in one of its recurrent nodes, with its whole sequence.

    Attributes
    ----------
    document : dict
        Of the same inputs; its outputs are what is found under the names below.
    states : str
        h behind every frame.
    x, mask : int or str, or None for no mask
        What the node reads: the place of an input of the graph, or the name of an output.
    initial : list of (int, str or None)
        h0, and c0 of an LSTM, likewise.
    sequences : list of str
        Ones where a frame exists: of the sequence whose frames were folded into rows, if the layer
        is in a TimeDistributed, and last of the layer's own.
    """

    def __init__(self, document: Mapping[str, Any], node: Node) -> None:
        places = {spec["name"]: place for place, spec in enumerate(document["inputs"])}
        count = _STATES[node["op"]]
        read = [*node["inputs"], None, None, None][: count + 2]
        self.states = unused(f"{node['layer']}:states", document)
        self.x, *self.initial, self.mask = (places.get(name, name) for name in read)
        # Each output at the frame that made it; those of masked frames nobody reads.
        attrs = {**node["attrs"], "return_sequences": True, "realign": node["attrs"]["reverse"]}
        last = {**node, "outputs": [self.states, *[None] * count], "attrs": attrs}
        nodes = [last if each is node else each for each in document["nodes"]]
        outputs = [
            self.states,
            *dict.fromkeys(name for name in read if name not in (None, *places)),
        ]
        self.document = _ending_in({**document, "nodes": nodes}, outputs)
        around = [
            (fold["inputs"][0], fold) for fold in _folds_around(self.document["nodes"], read[0])
        ]
        self.sequences = [
            show_frames(self.document, value, _lengths(reader))
            for value, reader in (*around, (read[0], node))
        ]


def _ending_in(document: Mapping[str, Any], values: Sequence[str]) -> dict[str, Any]:
    """Return a document with these values as outputs, and what they need."""
    outputs = [{"name": value, "value": value} for value in values]
    ending = alive({**document, "outputs": outputs}, values)
    for node in ending["nodes"]:
        (first, *_) = node["outputs"]
        if node["op"] in _ONLY_OUTPUTS and first not in values:
            ending["outputs"].append({"name": first, "value": first})
    return ending


def _lengths(node: Node) -> str | None:
    lengths = node.get("lengths")
    return lengths[0] if isinstance(lengths, list) else lengths


def _folds_around(nodes: Sequence[Node], value: str) -> tuple[Node, ...]:
    """Return the nodes that made rows of frames and have not been undone, from the outside in."""
    around: dict[str | None, tuple[Node, ...]] = {}
    for node in nodes:
        inside = max((around.get(name, ()) for name in node["inputs"]), key=len, default=())
        if node["op"] == "fold":
            inside = (*around.get(node["inputs"][0], ()), node)
        elif node["op"] == "unfold":
            inside = around.get(node["inputs"][0], ())[:-1]
        around.update(dict.fromkeys(node["outputs"], inside))
    return around.get(value, ())


# ---- Running it ----------------------------------------------------------------------------------


class Tracer:
    """The plan that traces one layer of a graph, and what turns its results into a `Trace`.

    Parameters
    ----------
    graph : Graph
    name : str
        Of one of its `recurrent_nodes`.
    isa, threads
        As of the model, so that h has the bits that the model computes.
    """

    def __init__(self, graph: Graph, name: str, isa: str | None, threads: int) -> None:
        self._name = name
        self._node = recurrent_nodes(graph.document)[name]
        self._ending = ending = _Ending(graph.document, self._node)
        self._outputs = [output["name"] for output in ending.document["outputs"]]
        self._weights = {
            key: np.asarray(graph.tensors[tensor], np.float64)
            for key, tensor in self._node["weights"].items()
        }
        text = Graph(ending.document, {}).to_json()
        self._plan = Plan(text, dict(graph.tensors), isa=isa, threads=threads)

    def __call__(self, arrays: list[Array | None]) -> Trace:
        """Run the plan on the arguments of the model's own, and work out the gates."""
        ending = self._ending
        results = dict(zip(self._outputs, self._plan.run(arrays), strict=True))

        def value(place: int | str | None) -> Array | None:
            if place is None:
                return None
            return results[place] if isinstance(place, str) else arrays[place]

        x = value(ending.x)
        assert x is not None
        exists = _existing([results[name] for name in ending.sequences])
        counts = exists if ending.mask is None else exists & _is_true(value(ending.mask), exists)
        initial = [value(place) for place in ending.initial]
        turn = -1 if self._node["attrs"]["reverse"] else 1  # into the order of processing, and back
        parts = self._states_and_gates(
            x[:, ::turn], results[ending.states][:, ::turn], initial, counts[:, ::turn]
        )
        parts = {name: np.ascontiguousarray(part[:, ::turn]) for name, part in parts.items()}
        for part in parts.values():
            part[~exists] = np.nan
        h, c = parts.pop("h"), parts.pop("c", None)
        kind = _KINDS[self._node["op"]]
        keeps = self._node["attrs"].get("update_keeps", True)
        return Trace(self._name, kind, parts, h, c, exists.sum(axis=1), counts, keeps)

    def _states_and_gates(
        self, x: Array, y: Array, initial: Sequence[Array | None], counts: Array
    ) -> dict[str, Array]:
        """Return gates, c and h by name, float32; all in the order of processing.

        The state that a frame meets is that behind the last frame before it that counts.
        """
        op, time = self._node["op"], counts.shape[1]
        first = np.zeros((len(y), 1, y.shape[2]), np.float32)
        if initial[0] is not None:
            first[:, 0] = initial[0]
        states = np.concatenate([first, y], axis=1)
        behind = np.maximum.accumulate(np.where(counts, np.arange(1, time + 1), 0), axis=1)
        before = np.zeros_like(behind)
        before[:, 1:] = behind[:, :-1]
        met = np.take_along_axis(states, before[:, :, None], axis=1)
        with np.errstate(all="ignore"):  # infinities are the model's own
            w, attrs = self._weights, self._node["attrs"]
            read = x[counts], met[counts].astype(np.float64), w, attrs
            if op == "lstm":
                parts = _lstm(_lstm_sums(*read), w, attrs, initial[1], counts)
            else:
                gates = _gru(*read) if op == "gru" else {}
                parts = {name: _placed(gate, counts, np.nan) for name, gate in gates.items()}
            parts = {name: part.astype(np.float32) for name, part in parts.items()}
        return parts | {"h": np.take_along_axis(states, behind[:, :, None], axis=1)}


def _existing(sequences: Sequence[Array]) -> Array:
    """Return where the frames of the last sequence exist; those before it hold its rows."""
    exists: Array = sequences[0] != 0
    for inner in sequences[1:]:
        exists = (inner != 0) & exists.reshape(-1, 1)
    return exists


def _is_true(mask: Array | None, like: Array) -> Array:
    """Return where a mask counts, as the core reads it: denormals are 0, NaN is not."""
    if mask is None:
        return np.ones_like(like)
    denormal: Array = np.abs(mask) < np.finfo(np.float32).tiny
    return ~denormal


def _placed(values: Array, counts: Array, other: float) -> Array:
    """Return values (N, H) of the frames that count at their places (B, T, H)."""
    placed = np.full((*counts.shape, values.shape[1]), other)
    placed[counts] = values
    return placed


# ---- Equations: frames (N, I) and the states (N, P) that they meet -> gates (N, H) ---------------


def _share(x: Array, w: Mapping[str, Array]) -> Array:
    """``x.W``; of ids (N,) in place of one-hot vectors, which pick rows of W."""
    picked: Array = w["W"][x] if x.ndim == 1 else x.astype(np.float64) @ w["W"]
    return picked


def _normed(a: Array, epsilon: float, w: Mapping[str, Array], part: str) -> Array:
    """``(a - mean)/sqrt(variance + epsilon) * scale + offset``, over each row of scale's size."""
    scale, offset = w[f"{part}_scale"], w[f"{part}_offset"]
    apart = a - a.mean(axis=-1, keepdims=True)
    made: Array = apart / np.sqrt(a.var(axis=-1, keepdims=True) + epsilon) * scale + offset
    return made


def _within(a: Array, limit: float | None) -> Array:
    """Return a, or a clipped to ``-limit .. limit``."""
    return a if limit is None else np.clip(a, -limit, limit)


def _gate(name: str, sums: Array, attrs: Node) -> Array:
    """Return a gate, of the activation that it has by its name or else by its option."""
    option = "activation" if name in "gn" else "recurrent_activation"
    kind = attrs.get("gate_activations", {}).get(name, attrs[option])
    return activate(_within(sums, attrs.get("clip")), kind)


def _lstm_sums(x: Array, h: Array, w: Mapping[str, Array], attrs: Node) -> Array:
    """``x.W + h.U + b``, (N, 4H), with the products or the gates of it normalised."""
    products, norm = [_share(x, w), h @ w["U"]], attrs.get("layer_norm")
    if norm == "products":
        parts = zip(products, ("input", "recurrent"), strict=True)
        products = [_normed(product, attrs["epsilon"], w, part) for product, part in parts]
    sums = products[0] + w["b"] + products[1]
    if norm == "gates":
        gates = sums.reshape(len(sums), 4, sums.shape[1] // 4)
        by_gate = {name: array.reshape(4, -1) for name, array in w.items() if "gate_" in name}
        sums = _normed(gates, attrs["epsilon"], by_gate, "gate").reshape(sums.shape)
    return sums


def _lstm(
    sums: Array, w: Mapping[str, Array], attrs: Node, c0: Array | None, counts: Array
) -> dict[str, Array]:
    """Return the gates, NaN at frames that do not count, and c, (B, T, H) each.

    ``i, f, o = act_r(sums + p*c)``, ``g = act(sums)``, ``c = f*c + i*g``; f may be 1 - i, and c
    normalised and clipped before it is kept.
    """
    placed = _placed(sums, counts, 0.0)
    rows, time, units = *counts.shape, sums.shape[1] // 4
    looking, epsilon = w.get("peepholes"), attrs.get("epsilon", 0.0)
    made = {name: np.full((rows, time, units), np.nan) for name in "ifgoc"}
    c = np.zeros((rows, units)) if c0 is None else c0.astype(np.float64)
    for t in range(time):
        z = dict(zip("ifgo", np.split(placed[:, t], 4, axis=1), strict=True))
        if looking is not None:
            z["i"], z["f"] = z["i"] + looking[0] * c, z["f"] + looking[1] * c
        gates = {name: _gate(name, z[name], attrs) for name in "ifg"}
        if attrs.get("input_forget"):
            gates["f"] = 1 - gates["i"]
        new = gates["f"] * c + gates["i"] * gates["g"]
        if attrs.get("norm_state") == "kept":
            new = _normed(new, epsilon, w, "state")
        new = _within(new, attrs.get("cell_clip"))
        if looking is not None:
            z["o"] = z["o"] + looking[2] * new
        gates["o"] = _gate("o", z["o"], attrs)
        counted = counts[:, t]
        for name, gate in gates.items():
            made[name][counted, t] = gate[counted]
        c = made["c"][:, t] = np.where(counted[:, None], new, c)
    return made


def _gru(x: Array, h: Array, w: Mapping[str, Array], attrs: Node) -> dict[str, Array]:
    """``r, z = act_r(x.W + h.U + b)``, and n with r before or after the recurrent product.

    Before: ``n = act(x.W + (r*h).U + b)``; after: ``n = act(x.W + b + r*(h.U + bn))``.
    """
    x_r, x_z, x_n = np.split(_share(x, w) + w["b"], 3, axis=1)
    U_r, U_z, U_n = np.split(w["U"], 3, axis=1)
    r, z = _gate("r", x_r + h @ U_r, attrs), _gate("z", x_z + h @ U_z, attrs)
    h_n = r * (h @ U_n + w["bn"]) if attrs["reset_after"] else (r * h) @ U_n
    return {"r": r, "z": z, "n": _gate("n", x_n + h_n, attrs)}
