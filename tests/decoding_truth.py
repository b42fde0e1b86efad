"""Networks that make sequences, each twice: of seqcore's layers, and as equations in float64.

`Truth` decodes one row at a time, by lists, as plainly as it can be said: what include/seqcore.h
and docs/design.md define, and nothing of how the core does it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import seqcore as sc

Array = NDArray[Any]
State = dict[str, Array]

VOCABULARY, END, START, LONGEST = 11, 2, 1, 9


# ---- Equations -----------------------------------------------------------------------------------


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max())
    return e / e.sum()


def log_softmax(x: Array) -> Array:
    return x - x.max() - math.log(np.exp(x - x.max()).sum())


def lstm(x: Array, h: Array, c: Array, w: State, name: str) -> tuple[Array, Array]:
    z = x @ w[f"{name}.W"] + h @ w[f"{name}.U"] + w[f"{name}.b"]
    i, f, g, o = np.split(z, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(x: Array, h: Array, w: State, name: str) -> Array:
    """Return the next state; the reset gate acts before the product."""
    W, U, b = (np.split(w[f"{name}.{part}"], 3, axis=-1) for part in "WUb")
    r, z = (sigmoid(x @ W[k] + h @ U[k] + b[k]) for k in (0, 1))
    n = np.tanh(x @ W[2] + (r * h) @ U[2] + b[2])
    return (1 - z) * n + z * h


def run_gru(xs: Array, w: State, name: str, backward: bool = False) -> Array:
    h, made = np.zeros(w[f"{name}.U"].shape[0]), []
    for x in xs[::-1] if backward else xs:
        h = gru(x, h, w, name)
        made.append(h)
    return np.reshape(made[::-1] if backward else made, (len(xs), h.size))


# ---- Networks ------------------------------------------------------------------------------------


@dataclass
class Network:
    """`model` of seqcore's; `begin(source)` and `step(token, state)` of float64."""

    model: Any
    begin: Callable[[Any], State]
    step: Callable[[int, State], tuple[Array, State, Array | None]]
    source: Callable[[np.random.Generator, int, int], Array] | None  # (rng, rows, frames)
    start: int = START
    end: int = END
    longest: int = LONGEST


def draw(rng: np.random.Generator, shapes: dict[str, tuple[int, ...]]) -> tuple[State, State]:
    """Return weights in float32, and the same numbers in float64."""
    single = {name: (0.6 * rng.normal(size=s)).astype(np.float32) for name, s in shapes.items()}
    return single, {name: array.astype(np.float64) for name, array in single.items()}


def ids(rng: np.random.Generator, rows: int, frames: int) -> Array:
    return rng.integers(0, VOCABULARY, (rows, frames))


def recurrent(cell: str, name: str, I: int, H: int) -> dict[str, tuple[int, ...]]:  # noqa: E741
    gates = {"lstm": 4, "gru": 3}[cell]
    return {f"{name}.W": (I, gates * H), f"{name}.U": (H, gates * H), f"{name}.b": (gates * H,)}


def taken(w: State, name: str) -> list[Array]:
    return [w[f"{name}.{part}"] for part in "WUb"]


def bahdanau(rng: np.random.Generator, H: int = 17, V: int = VOCABULARY) -> Network:
    """A bidirectional GRU; an LSTM cell whose input has an additive attention's context."""
    E, M, A = 6, 10, 9
    w, d = draw(rng, {
        "source": (V, E), "target": (V, E), **recurrent("gru", "forward", E, 5),
        **recurrent("gru", "backward", E, 5), "begin.W": (M, H), "begin.b": (H,),
        "query": (H, A), "memory": (M, A), "v": (A,), "b": (A,),
        **recurrent("lstm", "cell", E + M, H), "head.W": (H, V), "head.b": (V,),
    })  # fmt: skip
    x = sc.Input((None,), dtype="int64", name="source")
    both = sc.Bidirectional(
        sc.GRU(*taken(w, "forward"), reset_after=False, return_sequences=True, return_state=True),
        sc.GRU(
            *taken(w, "backward"), reset_after=False, return_sequences=True, return_state=True,
            go_backwards=True,
        ),
        name="memory",
    )  # fmt: skip
    memory, first, last = both(sc.Embedding(w["source"])(x))
    h0 = sc.Dense(w["begin.W"], w["begin.b"], activation="tanh", name="h0")
    encoder = sc.Model(x, [memory, h0(sc.Concatenate()(first, last))])
    token, seen = sc.Input((), "int64", "token"), sc.Input((None, M), name="memory")
    h, c = sc.Input((H,), name="h"), sc.Input((H,), name="c")
    look = sc.BahdanauAttention(
        w["query"], w["memory"], w["v"], w["b"], return_attention_scores=True, name="look"
    )
    context, weights = look(h, seen)
    read = sc.Concatenate()(sc.Embedding(w["target"])(token), context)
    y, new_h, new_c = sc.LSTMCell(*taken(w, "cell"), name="cell")(read, [h, c])
    scores = sc.Dense(w["head.W"], w["head.b"], name="scores")(y)
    decoder = sc.Model([token, h, c, seen], [scores, new_h, new_c, weights])
    model = sc.Seq2Seq(
        encoder, decoder, connect={"memory": "memory", "h": "h0"}, start=START, end=END,
        carry={"h": "cell:h", "c": "cell:c"}, max_length=LONGEST,
    )  # fmt: skip

    def begin(source: Array) -> State:
        xs = d["source"][source]
        there, back = run_gru(xs, d, "forward"), run_gru(xs, d, "backward", backward=True)
        ends = [there[-1], back[0]] if len(source) else [np.zeros(5)] * 2
        h = np.tanh(np.concatenate(ends) @ d["begin.W"] + d["begin.b"])
        return {"memory": np.concatenate([there, back], 1), "h": h, "c": np.zeros(H)}

    def step(token: int, s: State) -> tuple[Array, State, Array]:
        weights, context = np.zeros(0), np.zeros(M)
        if len(s["memory"]):
            seen = np.tanh(s["h"] @ d["query"] + s["memory"] @ d["memory"] + d["b"])
            weights = softmax(seen @ d["v"])
            context = weights @ s["memory"]
        h, c = lstm(np.concatenate([d["target"][token], context]), s["h"], s["c"], d, "cell")
        return h @ d["head.W"] + d["head.b"], {**s, "h": h, "c": c}, weights

    return Network(model, begin, step, ids)


def luong(rng: np.random.Generator, H: int = 12, V: int = VOCABULARY) -> Network:
    """GRU before, and GRU over a sequence of tokens, joined behind with what it looks at."""
    E, M = 6, 7
    w, d = draw(rng, {
        "source": (V, E), "target": (V, E), **recurrent("gru", "encoder", E, M),
        **recurrent("gru", "decoder", E, H), "general": (H, M), "join.W": (H + M, H),
        "join.b": (H,), "head.W": (H, V), "head.b": (V,), "begin": (M, H),
    })  # fmt: skip
    x = sc.Input((None,), dtype="int64", name="source")
    layer = sc.GRU(
        *taken(w, "encoder"), reset_after=False, return_sequences=True, return_state=True,
        name="memory",
    )  # fmt: skip
    memory, final = layer(sc.Embedding(w["source"])(x))
    encoder = sc.Model(x, [memory, sc.Dense(w["begin"], name="begin")(final)])
    token, seen = sc.Input((None,), "int64", "token"), sc.Input((None, M), name="memory")
    y = sc.GRU(*taken(w, "decoder"), reset_after=False, return_sequences=True, name="gru")(
        sc.Embedding(w["target"])(token)
    )
    look = sc.LuongAttention(
        w["general"], score="general", return_attention_scores=True, name="look"
    )
    context, weights = look(y, seen)
    joined = sc.Dense(w["join.W"], w["join.b"], activation="tanh")(sc.Concatenate()(y, context))
    probabilities = sc.Dense(w["head.W"], w["head.b"], activation="softmax")(joined)
    decoder = sc.Model([token, seen], [probabilities, weights])
    model = sc.Seq2Seq(
        encoder, decoder, connect={"memory": "memory", "gru:h": "begin"}, start=START, end=END,
        max_length=LONGEST,
    )  # fmt: skip

    def begin(source: Array) -> State:
        memory = run_gru(d["source"][source], d, "encoder")
        final = memory[-1] if len(source) else np.zeros(M)
        return {"memory": memory, "h": final @ d["begin"]}

    def step(token: int, s: State) -> tuple[Array, State, Array]:
        h = gru(d["target"][token], s["h"], d, "decoder")
        weights, context = np.zeros(0), np.zeros(M)
        if len(s["memory"]):
            weights = softmax(s["memory"] @ (h @ d["general"]))
            context = weights @ s["memory"]
        joined = np.tanh(np.concatenate([h, context]) @ d["join.W"] + d["join.b"])
        return joined @ d["head.W"] + d["head.b"], {**s, "h": h}, weights

    return Network(model, begin, step, ids)


def feeding(rng: np.random.Generator, H: int = 8, V: int = VOCABULARY) -> Network:
    """Input feeding: what joined state and context is carried on, the GRU's own state too."""
    E, M = 5, 8
    w, d = draw(rng, {
        "source": (V, E), "target": (V, E), **recurrent("gru", "encoder", E, M),
        **recurrent("gru", "decoder", E + H, H), "join.W": (H + M, H), "head.W": (H, V),
    })  # fmt: skip
    x = sc.Input((None,), dtype="int64", name="source")
    layer = sc.GRU(*taken(w, "encoder"), reset_after=False, return_sequences=True, name="memory")
    encoder = sc.Model(x, layer(sc.Embedding(w["source"])(x)))
    token, seen = sc.Input((1,), "int64", "token"), sc.Input((None, M), name="memory")
    fed = sc.Input((1, H), name="fed")
    read = sc.Concatenate()(sc.Embedding(w["target"])(token), fed)
    gru_layer = sc.GRU(*taken(w, "decoder"), reset_after=False, return_sequences=True, name="gru")
    y = gru_layer(read)
    look = sc.LuongAttention(return_attention_scores=True, name="look")
    context, weights = look(y, seen)
    joined = sc.Dense(w["join.W"], activation="tanh", name="joined")(sc.Concatenate()(y, context))
    scores = sc.Dense(w["head.W"], activation="log_softmax", name="scores")(joined)
    decoder = sc.Model([token, fed, seen], [scores, joined, weights])
    model = sc.Seq2Seq(
        encoder, decoder, connect={"memory": "memory"}, carry={"fed": "joined"}, start=START,
        end=END, max_length=LONGEST,
    )  # fmt: skip

    def begin(source: Array) -> State:
        memory = run_gru(d["source"][source], d, "encoder")
        return {"memory": memory, "h": np.zeros(H), "fed": np.zeros(H)}

    def step(token: int, s: State) -> tuple[Array, State, Array]:
        h = gru(np.concatenate([d["target"][token], s["fed"]]), s["h"], d, "decoder")
        weights, context = np.zeros(0), np.zeros(M)
        if len(s["memory"]):
            weights = softmax(s["memory"] @ h)
            context = weights @ s["memory"]
        fed = np.tanh(np.concatenate([h, context]) @ d["join.W"])
        return fed @ d["head.W"], {**s, "h": h, "fed": fed}, weights

    return Network(model, begin, step, ids)


def text(rng: np.random.Generator, H: int = 16, V: int = VOCABULARY) -> Network:
    """Two LSTMs that nothing stands before."""
    E = 6
    w, d = draw(rng, {
        "target": (V, E), **recurrent("lstm", "one", E, H), **recurrent("lstm", "two", H, H),
        "head.W": (H, V), "head.b": (V,),
    })  # fmt: skip
    token = sc.Input((None,), "int64", "token")
    y = sc.Embedding(w["target"])(token)
    for name in ("one", "two"):
        y = sc.LSTM(*taken(w, name), return_sequences=True, name=name)(y)
    decoder = sc.Model(token, sc.Dense(w["head.W"], w["head.b"])(y))
    model = sc.Generator(decoder, start=START, end=END, max_length=LONGEST)

    def begin(source: Any) -> State:
        del source
        return {name: np.zeros(H) for name in ("h1", "c1", "h2", "c2")}

    def step(token: int, s: State) -> tuple[Array, State, None]:
        h1, c1 = lstm(d["target"][token], s["h1"], s["c1"], d, "one")
        h2, c2 = lstm(h1, s["h2"], s["c2"], d, "two")
        return h2 @ d["head.W"] + d["head.b"], {"h1": h1, "c1": c1, "h2": h2, "c2": c2}, None

    return Network(model, begin, step, None)


def caption(rng: np.random.Generator, H: int = 14, V: int = VOCABULARY) -> Network:
    """One vector: it is where the state begins, and joined with every token."""
    E, F = 4, 5
    w, d = draw(rng, {
        "target": (V, E), "begin.W": (F, H), "begin.b": (H,), "look": (F, 3),
        **recurrent("gru", "cell", E + 3, H), "head.W": (H, V),
    })  # fmt: skip
    x = sc.Input((F,), name="image")
    start = sc.Dense(w["begin.W"], w["begin.b"], activation="tanh", name="begin")(x)
    encoder = sc.Model(x, [start, sc.Dense(np.eye(F), name="same")(x)])
    token, h = sc.Input((), "int64", "token"), sc.Input((H,), name="h")
    image = sc.Input((F,), name="image_again")
    read = sc.Concatenate()(sc.Embedding(w["target"])(token), sc.Dense(w["look"])(image))
    cell = sc.GRUCell(*taken(w, "cell"), reset_after=False, name="cell")
    y, new_h = cell(read, h)
    decoder = sc.Model([token, h, image], [sc.Dense(w["head.W"])(y), new_h])
    model = sc.Seq2Seq(
        encoder, decoder, connect={"h": "begin", "image_again": "same"}, carry={"h": "cell:h"},
        start=START, end=END, max_length=LONGEST,
    )  # fmt: skip

    def begin(source: Array) -> State:
        exact = source.astype(np.float64)
        return {"h": np.tanh(exact @ d["begin.W"] + d["begin.b"]), "seen": exact @ d["look"]}

    def step(token: int, s: State) -> tuple[Array, State, None]:
        h = gru(np.concatenate([d["target"][token], s["seen"]]), s["h"], d, "cell")
        return h @ d["head.W"], {**s, "h": h}, None

    def source(rng: np.random.Generator, rows: int, frames: int) -> Array:
        del frames
        return rng.normal(size=(rows, F)).astype(np.float32)

    return Network(model, begin, step, source)


NETWORKS = {f.__name__: f for f in (bahdanau, luong, feeding, text, caption)}


# ---- Decoding, one row at a time -----------------------------------------------------------------


@dataclass
class Made:
    ids: list[int]
    total: float
    score: float
    ended: bool
    extras: list[Array | None]


def greedy(
    net: Network, source: Any, forced: tuple[int, ...] = (), longest: int | None = None
) -> Made:
    state, token = net.begin(source), net.start
    made, total, extras = [], 0.0, []
    while len(made) < (longest or net.longest) and token != net.end:
        scores, state, extra = net.step(token, state)
        logs = log_softmax(scores)
        token = forced[len(made)] if len(made) < len(forced) else int(np.argmax(logs))
        made.append(token)
        total += logs[token]
        extras.append(extra)
    return Made(made, total, total, token == net.end, extras)


def beam(
    net: Network, source: Any, width: int, penalty: float = 0.0, forced: tuple[int, ...] = ()
) -> list[Made]:
    """Return all results that a search finds, the best first."""
    alive: list[tuple[float, list[int], State, list[Any]]] = [(0.0, [], net.begin(source), [])]
    results: list[Made] = []
    for t in range(net.longest):
        candidates = []
        for order, (total, made, state, extras) in enumerate(alive):
            scores, after, extra = net.step(made[-1] if made else net.start, state)
            logs = log_softmax(scores)
            choices = [forced[t]] if t < len(forced) else range(len(logs))
            candidates += [
                (total + logs[k], order, k, [*made, k], after, [*extras, extra]) for k in choices
            ]
        candidates.sort(key=lambda c: (-c[0], c[1], c[2]))
        for total, _, k, made, _, extras in candidates[:width]:
            if k == net.end:
                results.append(Made(made, total, total / len(made) ** penalty, True, extras))
        going = [c for c in candidates if c[2] != net.end][:width]
        alive = [(total, made, state, extras) for total, _, _, made, state, extras in going]
        if t + 1 == net.longest:
            results += [
                Made(made, total, total / len(made) ** penalty, False, extras)
                for total, made, _, extras in alive
            ]
    results.sort(key=lambda made: -made.score)
    return results[:width]


def drawn(
    net: Network, source: Any, uniforms: Array, heat: float, top_k: int, top_p: float
) -> list[int]:
    """Return the tokens that these uniform numbers draw."""
    state, token, made = net.begin(source), net.start, []
    while len(made) < net.longest and token != net.end:
        scores, state, _ = net.step(token, state)
        p = softmax(log_softmax(scores) / heat)
        order = np.lexsort((np.arange(len(p)), -p))
        kept = order[: top_k or len(p)]
        share = np.cumsum(p[kept]) / p[kept].sum()
        kept = np.sort(kept[: int(np.searchsorted(share, top_p) + 1)] if top_p < 1 else kept)
        bounds = np.cumsum(p[kept]) / p[kept].sum()
        token = int(kept[np.searchsorted(bounds, uniforms[len(made)], side="right")])
        made.append(token)
    return made
