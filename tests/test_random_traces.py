"""Every recurrent layer of random graphs, traced: gates, cells and states by hand, bits as before.

The graphs come from random_graphs/. What a layer reads, and how long its rows are, is what the
float64 reference gives; frame by frame from there goes gates_by_hand.py.
"""

from __future__ import annotations

import json

import numpy as np
from gates_by_hand import row_by_hand
from random_graphs import ACTIVATIONS, random_graph
from tolerances import FLOAT32, close

import seqcore as sc
from seqcore import reference as ref
from seqcore._binding import Plan
from seqcore.graph import Graph
from seqcore.trace import Tracer, recurrent_nodes

SEEDS = range(1200)
LAST = FLOAT32[3]  # the deepest of these graphs


def calls(isa):
    """Yield seed, graph, name and node of a recurrent layer, and arguments of a call.

    All for the best instruction set, a third for any other.
    """
    best = isa == sc.cpu_info()["isas"][0]
    for seed in SEEDS if best else SEEDS[::3]:
        graph, rng = random_graph(seed), np.random.default_rng(seed)
        for name, node in recurrent_nodes(graph.document).items():
            batch, time = int(rng.choice([1, 2, 5, 9])), int(rng.choice(graph.times))
            yield seed, graph, name, node, graph.arguments(rng, batch, time)


def traced(graph, name, call, isa=None, threads=1):
    tracer = Tracer(Graph({**graph.document, "layers": []}, graph.tensors), name, isa, threads)
    return tracer(list(call.values()))


def read_by(graph, node, call):
    """Return x, the initial states, mask and lengths that a node reads, by the reference."""
    ids = [None if name in call and call[name] is None else name for name in node["inputs"]]
    given = node.get("lengths")
    if call.get("x0:lengths") is None:
        given = None
    wanted = [name for name in (*ids, given) if name is not None]
    outputs = [{"name": str(i), "value": name} for i, name in enumerate(wanted)]
    with np.errstate(all="ignore"):  # past the ends
        found = ref.run({**graph.document, "outputs": outputs}, graph.tensors, call)
    # A mask that is made of absent ones is absent too.
    values = {n: v if v.ndim else None for n, v in zip(wanted, found, strict=True)}
    x, *rest = (None if name is None else values[name] for name in ids)
    states = 2 if node["op"] == "lstm" else 1
    mask = rest[states] if len(rest) > states else None
    return x, [*rest, None][:states], mask, None if given is None else values[given]


def test_gates_and_states_are_those_by_hand(isa):
    seen, options = 0, set()
    for seed, graph, name, node, call in calls(isa):
        x, initial, mask, lengths = read_by(graph, node, call)
        trace = traced(graph, name, call, isa)
        weights = {key: graph.tensors[tensor] for key, tensor in node["weights"].items()}
        ends = np.full(len(x), x.shape[1]) if lengths is None else lengths.astype(int)
        assert np.array_equal(trace.lengths, ends), f"seed {seed}, {name}"
        for row in {0, len(x) // 2, len(x) - 1} if len(x) else ():
            end = ends[row]
            counts = np.ones(end, bool) if mask is None else mask[row, :end] != 0
            states = [None if s is None else s[row] for s in initial]
            hand = row_by_hand(node["op"], weights, node["attrs"], x[row, :end], states, counts)
            assert np.array_equal(trace.counts[row, :end], counts)
            assert not trace.counts[row, end:].any()
            for part in trace.names:
                where = f"seed {seed}, {name}, {part}, row {row}"
                found, expected = trace[part][row], hand[part]
                assert np.isnan(found[end:]).all(), where
                there = ~np.isnan(expected)
                assert np.array_equal(there, ~np.isnan(found[:end])), where
                close(found[:end][there], expected[there], LAST, where)
            seen += counts.sum()
            options.add((node["op"], node["attrs"]["reverse"], mask is None, lengths is None))
            options.add(("first states", initial[0] is None))
            options.add(node["attrs"]["activation"][0])
            options.add(("after", node["attrs"].get("reset_after")))
            options.add(("projected", bool(node["attrs"].get("projection"))))
            options.add(("ids", bool(node["attrs"].get("one_hot"))))
    assert seen > 1000
    if isa != sc.cpu_info()["isas"][0]:
        return
    for op in ("lstm", "gru", "simple_rnn"):
        for flags in np.ndindex(2, 2, 2):
            assert (op, *map(bool, flags)) in options
    for option in ("first states", "after", "projected", "ids"):
        assert {(option, True), (option, False)} <= options
    assert {kind for kind, *_ in ACTIVATIONS} <= options


def test_states_have_the_bits_of_the_layer_in_the_graph(isa):
    """Where its sequence or its last state is a value of the graph."""
    compared = set()
    for seed, graph, name, node, call in calls(isa):
        y, *_ = node["outputs"]
        if y is None:
            continue
        outputs = [*graph.document["outputs"], {"name": "y", "value": y}]
        text = json.dumps({**graph.document, "outputs": outputs}).encode()
        expected = Plan(text, graph.tensors, isa=isa).run(list(call.values()))[-1]
        trace = traced(graph, name, call, isa, threads=2)
        attrs, where = node["attrs"], f"seed {seed}, {name}"
        for row, (end, counts) in enumerate(zip(trace.lengths, trace.counts, strict=True)):
            h = trace.h[row]
            frames = np.flatnonzero(counts)[:: -1 if attrs["reverse"] else 1]
            if not attrs["return_sequences"]:
                last = h[frames[-1:]]
                if len(frames) and counts[0 if attrs["reverse"] else end - 1]:
                    assert last.tobytes() == expected[row].tobytes(), where
                    compared.add(("last", attrs["reverse"]))
                continue
            places = frames
            if attrs["reverse"] and not attrs["realign"]:
                places = end - 1 - frames  # in the order of processing
            assert h[frames].tobytes() == expected[row][places].tobytes(), where
            compared.add(("all", attrs["reverse"], attrs["realign"]))
    assert len(compared) == 6
