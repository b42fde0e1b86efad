"""BahdanauAttention and LuongAttention against their equations in float64, and torch's layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tolerances import FLOAT32, close

import seqcore as sc

Q, M, A, H = 7, 6, 5, 6
SCORES = ("bahdanau", "dot", "general", "concat")


def weights(rng: np.random.Generator, *shapes: tuple[int, ...]) -> list[Any]:
    return [(0.7 * rng.normal(size=shape)).astype(np.float32) for shape in shapes]


def layer(rng: np.random.Generator, score: str) -> tuple[sc.Layer, Any]:
    """Return a layer and the scores of a query and a memory's frames, in float64."""
    options: Any = {"return_attention_scores": True, "name": "look"}
    if score == "dot":
        return sc.LuongAttention(scale=0.5, **options), lambda q, m: 0.5 * (m @ q)
    if score == "general":
        (W,) = weights(rng, (Q, M))
        exact = W.astype(np.float64)
        return sc.LuongAttention(W, score=score, **options), lambda q, m: m @ (q @ exact)
    if score == "concat":
        W, v, b = weights(rng, (Q + M, A), (A,), (A,))
        made: sc.Layer = sc.LuongAttention(W, v, b, score=score, query_features=Q, **options)
        first, second, end = (x.astype(np.float64) for x in (W, v, b))
        return (
            made,
            lambda q, m: (
                np.tanh(np.concatenate([np.tile(q, (len(m), 1)), m], 1) @ first + end) @ second
            ),
        )
    W1, W2, v, b = weights(rng, (Q, A), (M, A), (A, 1), (A,))
    made = sc.BahdanauAttention(W1, W2, v, b, **options)
    first, other, second, end = (x.astype(np.float64) for x in (W1, W2, v[:, 0], b))
    return made, lambda q, m: np.tanh(q @ first + m @ other + end) @ second


def attend(scores: Any, q: Any, m: Any) -> tuple[Any, Any]:
    """Return context and weights of one query over frames; zeros over none."""
    if not len(m):
        return np.zeros(m.shape[1]), np.zeros(0)
    e = scores(q, m)
    w = np.exp(e - e.max())
    w /= w.sum()
    return w @ m, w


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("frames", [None, 1, 3])
@pytest.mark.parametrize("lengths", [None, (9, 0, 4, 1)])
def test_what_a_query_sees(
    rng: np.random.Generator, isa: str, score: str, frames: int | None, lengths: Any
) -> None:
    width = M if score == "dot" else Q
    shape = (width,) if frames is None else (None, width)
    query, memory = sc.Input(shape, name="query"), sc.Input((None, M), name="memory")
    look, scores = layer(rng, score)
    model = sc.Model([query, memory], look(query, memory)).with_options(isa=isa)
    assert model.outputs == ("look", "look:scores")
    q = rng.normal(size=(4, width) if frames is None else (4, frames, width)).astype(np.float32)
    m = rng.normal(size=(4, 9, M)).astype(np.float32)
    context, found = model(q, m, lengths=None if lengths is None else {"memory": lengths})
    assert context.shape == (*q.shape[:-1], M)
    assert found.shape == (*q.shape[:-1], 9)
    for row in range(4):
        n = 9 if lengths is None else lengths[row]
        for t in range(frames or 1):
            at = (row,) if frames is None else (row, t)
            y, w = attend(scores, q[at].astype(np.float64), m[row, :n].astype(np.float64))
            close(context[at], y, FLOAT32[1])
            close(found[at][:n], w, FLOAT32[1])
            assert not found[at][n:].any()


@pytest.mark.parametrize("score", SCORES)
def test_masked_frames_are_not_seen(rng: np.random.Generator, score: str) -> None:
    width = M if score == "dot" else Q
    query, memory = sc.Input((width,), name="query"), sc.Input((None, M), name="memory")
    look, scores = layer(rng, score)
    model = sc.Model([query, memory], look(query, memory))
    q = rng.normal(size=(3, width)).astype(np.float32)
    m = rng.normal(size=(3, 5, M)).astype(np.float32)
    mask = np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)
    context, found = model(q, m, mask={"memory": mask})
    for row in range(3):
        y, w = attend(scores, q[row].astype(np.float64), m[row, mask[row]].astype(np.float64))
        close(context[row], y, FLOAT32[1])
        close(found[row, mask[row]], w, FLOAT32[1])
        assert not found[row, ~mask[row]].any()


def test_additive_attention_is_what_torch_makes_of_linear_layers() -> None:
    torch.manual_seed(0)
    query, memory, v = torch.nn.Linear(Q, A), torch.nn.Linear(M, A), torch.nn.Linear(A, 1)
    look = sc.BahdanauAttention(
        query.weight.T.detach().numpy(), memory.weight.T.detach().numpy(),
        v.weight.detach().numpy()[0], (query.bias + memory.bias).detach().numpy(),
    )  # fmt: skip
    a, b = sc.Input((Q,)), sc.Input((None, M))
    model = sc.Model([a, b], look(a, b))
    q, m = torch.randn(3, Q), torch.randn(3, 8, M)
    with torch.no_grad():
        e = v(torch.tanh(query(q).unsqueeze(1) + memory(m))).squeeze(-1)
        expected = torch.bmm(e.softmax(-1).unsqueeze(1), m).squeeze(1)
    close(model(q.numpy(), m.numpy()), expected.numpy(), FLOAT32[1])
    assert sum(info.parameters for info in model.layers) == Q * A + M * A + A + A


def test_a_query_alone_has_the_bits_of_a_frame(rng: np.random.Generator, isa: str) -> None:
    look, _ = layer(rng, "bahdanau")
    one, many = sc.Input((Q,)), sc.Input((None, Q))
    memory = sc.Input((None, M))
    single = sc.Model([one, memory], look(one, memory)).with_options(isa=isa)
    several = sc.Model([many, memory], look(many, memory)).with_options(isa=isa)
    q = rng.normal(size=(2, 20, Q)).astype(np.float32)
    m = rng.normal(size=(2, 13, M)).astype(np.float32)
    whole = several(q, m)[0]
    for t in range(20):
        assert single(q[:, t], m)[0].tobytes() == np.ascontiguousarray(whole[:, t]).tobytes()


def ones(*shape: int) -> Any:
    return np.ones(shape)


Luong, Bahdanau = sc.LuongAttention, sc.BahdanauAttention
REFUSED: list[tuple[Any, tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    (Luong, (), {"score": "cosine"}, sc.OptionError, "score"),
    (Luong, (ones(2, 2),), {}, sc.WeightsError, "'dot' has the weights"),
    (Luong, (), {"score": "general"}, sc.WeightsError, "'W'"),
    (Luong, (ones(4, 2),), {"score": "concat"}, sc.WeightsError, "'v'"),
    (Luong, (ones(2, 2), None, ones(2)), {"score": "general"}, sc.WeightsError, "'b'"),
    (Luong, (ones(4, 2), ones(3)), {"score": "concat"}, sc.WeightsError, "weight v"),
    (Luong, (ones(4, 2), ones(2)), {"score": "concat", "scale": 2.0}, sc.OptionError, "scale"),
    (Luong, (ones(4, 2), ones(2)), {"score": "concat", "query_features": 4}, sc.WeightsError,
     "rows"),
    (Luong, (), {"query_features": 2}, sc.OptionError, "query_features"),
    (Luong, (), {"scale": float("nan")}, sc.OptionError, "scale"),
    (Bahdanau, (ones(2, 3), ones(2, 4), ones(3)), {}, sc.WeightsError, "W_memory"),
    (Bahdanau, (ones(2, 3), ones(2, 3), ones(4)), {}, sc.WeightsError, "weight v"),
    (Bahdanau, (ones(2, 3), ones(2, 3), ones(3), ones(2)), {}, sc.WeightsError, "weight b"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "weights", "options", "error", "says"), REFUSED)
def test_weights_and_options_are_checked(
    make: Any, weights: Any, options: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        make(*weights, **options)


def test_a_query_of_another_width_is_refused(rng: np.random.Generator) -> None:
    look, _ = layer(rng, "concat")
    a, b = sc.Input((Q + 1,)), sc.Input((None, M))
    with pytest.raises(sc.SeqcoreError, match="look"):
        sc.Model([a, b], look(a, b))
