"""How a decoder's graph is divided and joined: the same numbers as from the whole."""

from __future__ import annotations

from typing import Any

import decoding_truth as truth
import numpy as np
import pytest
import torch
from tolerances import FLOAT32, close

import seqcore as sc
from seqcore._binding import Plan
from seqcore.graph import Graph
from seqcore.layers import Constant
from seqcore.rewriting import alive, batch_first, count_frames, divided, joined, stepped

RNG_SIZE = {"t": (7, 5), "W": (5, 5), "v": (5,), "head": (10, 7), "conv": (2, 5, 5)}


def weights(rng: np.random.Generator) -> dict[str, Any]:
    return truth.draw(rng, {**RNG_SIZE, **truth.recurrent("gru", "g", 5, 5)})[0]


def decoder(w: dict[str, Any], memory: Any, seen: Any) -> sc.Model:
    """Return a decoder that looks at `seen`, made of the input `memory`."""
    token = sc.Input((None,), "int64", "token")
    gru = sc.GRU(*truth.taken(w, "g"), reset_after=False, return_sequences=True, name="gru")
    y = gru(sc.Embedding(w["t"])(token))
    look = sc.BahdanauAttention(w["W"], w["W"], w["v"], return_attention_scores=True, name="look")
    context, scores = look(y, seen)
    logits = sc.Dense(w["head"], name="logits")(sc.Concatenate()(y, context))
    return sc.Model([token, memory], [logits, scores])


def by_hand(model: sc.Model, steps: int, **given: Any) -> Any:
    """Decode greedily by calls of the whole decoder on all tokens so far."""
    lengths = given.pop("lengths", None)
    rows = len(next(iter(given.values())))
    fed = np.zeros((rows, 1), np.int64)
    for _ in range(steps):
        logits = model({"token": fed, **given}, lengths=lengths)
        logits = logits[0] if isinstance(logits, tuple) else logits
        fed = np.concatenate([fed, logits[:, -1:].argmax(-1)], axis=1)
    return fed[:, 1:]


def ops(document: Any) -> list[str]:
    return [node["op"] for node in document["nodes"]]


# ---- How many frames there are -------------------------------------------------------------------


def test_frames_are_counted_behind_what_changes_their_number() -> None:
    """Also where a value has the name that the count would take."""
    x = sc.Input((None, 2), name="x")
    y = sc.MaxPooling1D(3, padding="same", name="pool")(x)
    each = sc.TimeDistributed(sc.RepeatVector(2), name="pool_1")(y)
    document = dict(sc.Model(x, each)._graph.document)
    renamed = {"pool_1:frames": "pool:frames", "pool_1:folded": "pool:places"}
    for node in document["nodes"]:
        for key in ("inputs", "outputs"):
            node[key] = [renamed.get(name, name) for name in node[key]]
    counted = count_frames(document, {"pool:lengths": "pool", "x:lengths": "x", None: "x"})
    assert list(counted) == ["pool:lengths"]
    plan = Plan(Graph(document, {}).to_json(), {})
    given = {"x": np.full((3, 7, 2), np.nan, np.float32), "x:lengths": np.array([7, 0, 4])}
    names = [spec["name"] for spec in document["inputs"]]
    results = plan.run([given.get(name) for name in names])
    outputs = [output["name"] for output in document["outputs"]]
    ones = results[outputs.index(counted["pool:lengths"])]
    np.testing.assert_array_equal(ones, [[1, 1, 1], [0, 0, 0], [1, 1, 0]])


# ---- What is computed before ---------------------------------------------------------------------


def test_what_depends_on_contexts_alone_is_computed_once(rng: np.random.Generator) -> None:
    w = weights(rng)
    memory = sc.Input((None, 5), name="memory")
    whole = decoder(w, memory, sc.Dense(w["W"], activation="tanh", name="first")(memory))
    model = sc.Generator(whole, start=0, context="memory", max_length=4)
    before, step = (m._graph.document for m in (model._wired.before, model._wired.step))
    assert ops(before) == ["dense", "dense"]  # the layer's, and the projection of the attention
    assert ops(step).count("dense") == 2  # that of the query, and the logits
    assert [spec["name"] for spec in step["inputs"] if spec.get("context")] == [
        "first",
        "look:memory",
    ]
    x = rng.normal(size=(3, 6, 5)).astype(np.float32)
    expected = by_hand(whole, 4, memory=x)
    np.testing.assert_array_equal(model.greedy(x).ids, expected)
    ends = {"memory": [6, 2, 4]}
    expected = by_hand(whole, 4, memory=x, lengths=ends)
    np.testing.assert_array_equal(model.greedy(x, lengths=ends).ids, expected)


def test_ids_may_be_a_context(rng: np.random.Generator) -> None:
    w = weights(rng)
    source = sc.Input((None,), "int64", "source")
    whole = decoder(w, source, sc.Embedding(w["t"], name="again")(source))
    model = sc.Generator(whole, start=0, context="source", max_length=4)
    x = rng.integers(0, 7, (3, 6))
    np.testing.assert_array_equal(model.greedy(x).ids, by_hand(whole, 4, source=x))
    with pytest.raises(sc.IdRangeError, match="again"):
        model.greedy(x + 5)
    with pytest.raises(sc.DtypeError, match="source"):
        model.greedy(x + 0.5)


@pytest.mark.parametrize("rows", [(6, 2, 5), None])
def test_lengths_that_a_layer_makes_go_along(rng: np.random.Generator, rows: Any) -> None:
    w = weights(rng)
    memory = sc.Input((None, 5), name="memory")
    conv = sc.Conv1D(w["conv"], strides=2, padding="valid", name="conv")
    whole = decoder(w, memory, conv(memory))
    x = rng.normal(size=(3, 6, 5)).astype(np.float32)
    ends = None if rows is None else {"memory": list(rows)}
    expected = by_hand(whole, 4, memory=x, lengths=ends)
    # of the decoder's own,
    model = sc.Generator(whole, start=0, context="memory", max_length=4)
    np.testing.assert_array_equal(model.greedy(x, lengths=ends).ids, expected)
    # and of an encoder's
    source, seen = sc.Input((None, 5), name="x"), sc.Input((None, 5), name="seen")
    both = sc.Seq2Seq(
        sc.Model(source, conv(source)), decoder(w, seen, seen), connect={"seen": "conv"}, start=0,
        max_length=4,
    )  # fmt: skip
    np.testing.assert_array_equal(both(x, lengths=rows).ids, expected)


def test_a_context_may_be_an_extra_too(rng: np.random.Generator) -> None:
    token, memory = sc.Input((None,), "int64", "token"), sc.Input((3,), name="memory")
    seen = sc.Dense(rng.normal(size=(3, 4)), name="seen")(memory)
    y = sc.Embedding(rng.normal(size=(5, 4)))(token)
    whole = sc.Model([token, memory], [sc.Dense(rng.normal(size=(4, 5)))(sc.Add()(y, seen)), seen])
    model = sc.Generator(whole, start=0, context="memory", max_length=3)
    x = rng.normal(size=(2, 3)).astype(np.float32)
    made = model.greedy(x, extras=True)
    np.testing.assert_array_equal(made.ids, by_hand(whole, 3, memory=x))
    expected = whole(np.zeros((2, 1), np.int64), x)[1]
    for t in range(3):
        close(made.extras["seen"][:, t], expected, FLOAT32[0])


def test_contexts_that_no_encoder_gives_come_from_the_caller(rng: np.random.Generator) -> None:
    token, h = sc.Input((), "int64", "token"), sc.Input((4,), name="h")
    speaker, seen = sc.Input((2,), name="speaker"), sc.Input((3,), name="seen")
    w, _ = truth.draw(rng, {**truth.recurrent("gru", "g", 9, 4), "t": (6, 4), "head": (4, 6)})
    read = sc.Concatenate()(sc.Embedding(w["t"])(token), speaker, seen)
    y, new_h = sc.GRUCell(*truth.taken(w, "g"), reset_after=False, name="cell")(read, h)
    whole = sc.Model([token, h, speaker, seen], [sc.Dense(w["head"])(y), new_h])
    x = sc.Input((3,), name="x")
    encoder = sc.Model(x, sc.Dense(np.eye(3), name="out")(x))
    model = sc.Seq2Seq(
        encoder, whole, connect={"seen": "out"}, carry={"h": "cell:h"}, context="speaker", start=0,
        max_length=5,
    )  # fmt: skip
    assert model.contexts == ("speaker",)
    a, b = rng.normal(size=(2, 3)), rng.normal(size=(2, 2))
    plain = sc.Generator(
        whole, carry={"h": "cell:h"}, context=["speaker", "seen"], start=0, max_length=5
    )
    expected = plain.greedy({"speaker": b, "seen": a.astype(np.float32)})
    np.testing.assert_array_equal(model(a, context=b).ids, expected.ids)
    np.testing.assert_array_equal(model.beam(a, context={"speaker": b}, width=2).ids.shape, (2, 5))
    with pytest.raises(sc.ShapeError, match="speaker"):
        model(a)


# ---- States whose batch is axis 1 ----------------------------------------------------------------


def test_stacked_states_are_carried_as_torch_has_them(rng: np.random.Generator) -> None:
    class Step(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = torch.nn.Embedding(9, 6), torch.nn.Linear(7, 9)
            self.lstm = torch.nn.LSTM(6, 7, num_layers=2, batch_first=True)

        def forward(self, token: Any, h: Any, c: Any) -> Any:
            y, (h, c) = self.lstm(self.embed(token), (h, c))
            return self.head(y), h, c

    torch.manual_seed(0)
    module = Step().eval()
    example = (torch.zeros(2, 1, dtype=torch.long), torch.zeros(2, 2, 7), torch.zeros(2, 2, 7))
    whole = sc.from_torch(module, example)
    _, h_name, c_name = whole.outputs
    model = sc.Generator(whole, start=3, carry={"h": h_name, "c": c_name}, max_length=6)
    first = [rng.normal(size=(2, 4, 7)).astype(np.float32) for _ in range(2)]
    made = model.greedy(state=tuple(first), return_state=True)
    token = torch.full((4, 1), 3)
    h, c = map(torch.from_numpy, first)
    with torch.no_grad():
        for t in range(6):
            logits, h, c = module(token, h, c)
            token = logits[:, -1].argmax(-1, keepdim=True)
            assert token[:, 0].tolist() == made.ids[:, t].tolist()
    for found, expected in zip(made.states, (h, c), strict=True):
        close(found, expected.numpy(), FLOAT32[2])


# ---- Documents -----------------------------------------------------------------------------------


def test_documents_are_not_changed(rng: np.random.Generator) -> None:
    w = weights(rng)
    memory = sc.Input((None, 5), name="memory")
    whole = decoder(w, memory, sc.Dense(w["W"])(memory))
    text = whole._graph.to_json()
    step = stepped(whole._graph.document, {}, ["memory"], whole._plan.value_shape)
    divided(step, whole._plan.value_shape)
    alive(whole._graph.document, ["logits"])
    batch_first(whole._graph.document, ["memory"], ["logits"])
    assert whole._graph.to_json() == text


def test_only_what_outputs_need_stays_alive() -> None:
    x = sc.Input((3,))
    a, b = sc.Dense(np.ones((3, 2)), name="a"), sc.Dense(np.ones((3, 4)), name="b")
    model = sc.Model(x, [a(x), b(x)])
    made = alive(model._graph.document, ["b"])
    assert [node["layer"] for node in made["nodes"]] == ["b"]
    assert [layer["name"] for layer in made["layers"]] == ["b"]


def test_graphs_are_joined_one_behind_the_other() -> None:
    x, y = sc.Input((None, 3), name="x"), sc.Input((None, 2), name="y")
    first = sc.Model(x, sc.Dense(np.ones((3, 2)), name="a")(x))
    second = sc.Model(y, sc.Activation("tanh", name="t")(y))
    made = joined(first._graph.document, second._graph.document, {"y": "a"})
    assert [node["inputs"] for node in made["nodes"]] == [["x"], ["a"]]
    assert [node["lengths"] for node in made["nodes"]] == ["x:lengths", "x:lengths"]
    assert [output["name"] for output in made["outputs"]] == ["a", "t"]


def test_constants_that_every_row_has_are_no_context(rng: np.random.Generator) -> None:
    token = sc.Input((None,), "int64", "token")
    first = Constant(rng.normal(size=(4,)).astype(np.float32))(token)
    y = sc.Add()(sc.Embedding(rng.normal(size=(5, 4)))(token), first)
    whole = sc.Model(token, sc.Dense(rng.normal(size=(4, 5)))(y))
    model = sc.Generator(whole, start=0, max_length=3)
    fed = np.zeros((1, 1), np.int64)
    for t in range(3):
        chosen = whole(fed[:, -1:])[:, -1].argmax(-1)
        assert model.greedy().ids[0, t] == chosen[0]
        fed = np.concatenate([fed, chosen[:, None]], axis=1)
