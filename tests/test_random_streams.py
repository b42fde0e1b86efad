"""Streams of random graphs: a step's bits against whole calls, or a plan that says why not.

The graphs come from random_graphs/, as does what can be stepped. Masks that are computed are
stepped too: a masked frame keeps the state, and puts out what the frame before it did.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from random_graphs import RandomGraph, random_graph
from random_graphs.graph import draw_data
from random_graphs.steps import RECURRENT, any_time, must_be_refused
from stream_models import listed, same_bits, stream_of

import seqcore as sc
from seqcore import reference as ref

SEEDS = range(3000)
TIME = 5
# Ops that need all frames before they give one; what is drawn stands behind them all but never.
NEVER_STEPPED = {
    "positions",
    "attention", "flatten",
    "global_avg_pool1d", "global_max_pool1d", "adaptive_pool1d", "max_pool1d", "avg_pool1d",
    "conv1d_transpose",
    "mask_concat", "crf",
}  # fmt: skip


def check_graph(graph: RandomGraph, isa: str, **options: Any) -> None:
    """Compare a stream of a plan with these options with calls of a plan of one thread.

    Halfway the state goes to another stream, as bytes and as arrays in turn.
    """
    plan, rng = graph.plan(isa=isa, threads=1), np.random.default_rng(graph.seed)
    batch = int(rng.choice([1, 2, 3, 9, 50]))
    data = [spec for spec in graph.inputs if spec["kind"] == "data"]
    given = {spec["name"]: draw_data(rng, spec, batch, TIME) for spec in data}
    turned = {spec["name"] for spec in data if spec.get("batch_axis")}
    steps = graph.plan(isa=isa, **options)
    stream = stream_of(steps, batch)
    for t in range(TIME):
        if t == TIME // 2:
            before, stream = stream, stream_of(steps, batch)
            if graph.seed % 2:
                stream.load_state(before.save_state())
            else:
                stream.state = before.state
        so_far = {
            name: np.ascontiguousarray(x[: t + 1] if name in turned else x[:, : t + 1])
            for name, x in given.items()
        }
        expected = [
            (y[t] if output.kind == "turned" else y[:, t]) if y.ndim > len(port.shape) else y
            for y, output, port in zip(
                plan.run([so_far.get(spec["name"]) for spec in graph.inputs]),
                graph.outputs,
                stream.steps.outputs,
                strict=True,
            )
        ]
        frame = [x[t] if name in turned else x[:, t] for name, x in given.items()]
        actual = tuple(listed(stream.step(*frame)))
        same_bits(actual, tuple(expected), f"seed {graph.seed}, frame {t}")


def is_masked(graph: RandomGraph) -> bool:
    """Whether steps of a recurrent layer can be masked: by what is computed, not by the caller."""
    absent = {spec["name"] for spec in graph.inputs} | {None}
    return any(
        node["op"] in RECURRENT
        and not set(node["inputs"][3 if node["op"] == "lstm" else 2 :]) <= absent
        for node in graph.nodes
    )


def test_random_graphs_are_stepped_or_refused(isa: str) -> None:
    stepped, masked, ops = 0, 0, set()
    for seed in SEEDS:
        graph = random_graph(seed)
        times = {spec["shape"][0] for spec in graph.inputs if spec["kind"] == "data"}
        if 1 in times and len(times) > 1:
            continue  # an input of one frame beside longer ones does not move
        if must_be_refused(graph):
            with pytest.raises(sc.UnsupportedLayerError, match=r"layer '\w+' \(\w+\): ") as caught:
                stream_of(graph.plan(threads=1), 1)
            layer = str(caught.value).split("'")[1]
            assert layer in {node["layer"] for node in graph.nodes}
            continue
        any_time(graph)
        if must_be_refused(graph):
            continue  # what had one frame for all others is a sequence now
        check_graph(graph, isa, **({"threads": 1} if seed % 4 else {"threads": 3, "team": 3}))
        stepped += 1
        masked += is_masked(graph)
        ops |= {node["op"] for node in graph.nodes}
    assert stepped > len(SEEDS) / 5
    assert masked > len(SEEDS) / 100
    assert set(ref.OPS) - ops <= NEVER_STEPPED
