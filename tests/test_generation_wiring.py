"""What a decoder sees of its contexts: steps against plain loops of calls of the whole models.

How graphs are divided and joined is in test_rewriting.py; here are the numbers that come of it.
"""

from __future__ import annotations

from typing import Any

import decoding_truth as truth
import numpy as np
import pytest
import torch
from tolerances import FLOAT32, close
from torch import nn

import seqcore as sc

V, E, M, STEPS = 11, 5, 6, 5


def drawn(rng: np.random.Generator) -> dict[str, Any]:
    shapes: dict[str, tuple[int, ...]] = {
        "source": (V, E), "target": (V, E), "key": (M, M), "key.b": (M,), "head": (2 * M, V),
    }  # fmt: skip
    recurrent = truth.recurrent
    shapes |= recurrent("gru", "encoder", E, M) | recurrent("gru", "over", M, M)
    shapes |= recurrent("gru", "cell", E + M, M) | recurrent("gru", "gru", E, M)
    shapes |= recurrent("lstm", "long", M, M)
    return truth.draw(rng, shapes)[0]


def gru(w: Any, weights: str, **options: Any) -> Any:
    own = truth.taken(w, weights)
    return sc.GRU(*own, reset_after=False, return_sequences=True, **{"name": weights, **options})


def by_hand(
    decoder: sc.Model, contexts: dict[str, Any], rows: int, carry: dict[str, str]
) -> tuple[Any, Any, list[dict[str, Any]]]:
    """Decode greedily by a call of the decoder for each token, all that it carries from zeros."""
    token, scores, gave = np.ones(rows, np.int64), np.zeros(rows), []
    carried = {name: np.zeros((rows, M), np.float32) for name in carry}
    ids = []
    for _ in range(STEPS):
        made = decoder({"token": token, **contexts, **carried})
        outputs = dict(zip(decoder.outputs, made, strict=True))
        logs = [truth.log_softmax(row.astype(np.float64)) for row in made[0]]
        token = np.argmax(logs, axis=1)
        scores += np.max(logs, axis=1)
        carried = {name: outputs[source] for name, source in carry.items()}
        ids.append(token)
        gave.append(outputs)
    return np.stack(ids, axis=1), scores, gave


def same(made: sc.Decoded, expected: tuple[Any, Any, Any]) -> None:
    np.testing.assert_array_equal(made.ids, expected[0])
    close(made.scores, expected[1], FLOAT32[2])


# ---- Recurrent layers over contexts --------------------------------------------------------------


@pytest.mark.parametrize("layer", ["over", "long", "both ways", "two"])
def test_a_recurrent_layer_over_a_context_begins_anew(rng: np.random.Generator, layer: str) -> None:
    """Beside what is carried: its last state is no state of the sequence."""
    w = drawn(rng)
    token, h = sc.Input((), "int64", "token"), sc.Input((M,), name="h")
    memory = sc.Input((None, M), name="memory")
    if layer == "over":
        _, seen = gru(w, "over", return_state=True)(memory)
    elif layer == "long":
        _, seen, _ = sc.LSTM(*truth.taken(w, "long"), return_state=True)(memory)
    elif layer == "both ways":
        ways = (gru(w, "over", name=None, go_backwards=back) for back in (False, True))
        both = sc.Bidirectional(*ways, merge_mode="sum")(memory)
        seen = sc.GlobalAveragePooling1D()(both)
    else:
        first = sc.Dense(w["key"])(gru(w, "over", name="first")(memory))
        _, seen = gru(w, "over", return_state=True)(first)
    read = sc.Concatenate()(sc.Embedding(w["target"])(token), seen)
    y, new_h = sc.GRUCell(*truth.taken(w, "cell"), reset_after=False, name="cell")(read, h)
    decoder = sc.Model([token, memory, h], [sc.Dense(w["head"][:M])(y), new_h])
    model = sc.Generator(
        decoder, carry={"h": "cell:h"}, context="memory", start=1, max_length=STEPS
    )
    assert model.states == ("h",)
    x = rng.normal(size=(3, 7, M)).astype(np.float32)
    same(model.greedy(x), by_hand(decoder, {"memory": x}, 3, {"h": "cell:h"}))
    ends = [7, 2, 4]
    made = model.greedy(x, lengths=ends)
    for row, end in enumerate(ends):
        alone = by_hand(decoder, {"memory": x[row : row + 1, :end]}, 1, {"h": "cell:h"})
        np.testing.assert_array_equal(made.ids[row], alone[0][0])
        close(made.scores[row], alone[1][0], FLOAT32[2])


@pytest.mark.parametrize("frames", [None, 7])
def test_a_recurrent_layer_may_go_over_a_context_in_every_step(
    rng: np.random.Generator, frames: int | None
) -> None:
    """Each time from zeros, with what the step has, joined to every frame."""
    w = drawn(rng)
    token, h = sc.Input((), "int64", "token"), sc.Input((M,), name="h")
    memory = sc.Input((frames, M), name="memory")
    _, seen = gru(w, "over", return_state=True)(sc.MaxPooling1D(2)(sc.Add()(memory, h)))
    read = sc.Concatenate()(sc.Embedding(w["target"])(token), seen)
    y, new_h = sc.GRUCell(*truth.taken(w, "cell"), reset_after=False, name="cell")(read, h)
    decoder = sc.Model([token, memory, h], [sc.Dense(w["head"][:M])(y), new_h])
    model = sc.Generator(
        decoder, carry={"h": "cell:h"}, context="memory", start=1, max_length=STEPS
    )
    x = rng.normal(size=(3, 7, M)).astype(np.float32)
    same(model.greedy(x), by_hand(decoder, {"memory": x}, 3, {"h": "cell:h"}))


def test_a_context_may_look_at_itself(rng: np.random.Generator) -> None:
    """A layer whose optional inputs are absent runs once, and has nothing of the step."""
    w = drawn(rng)
    token, h = sc.Input((), "int64", "token"), sc.Input((M,), name="h")
    memory = sc.Input((None, M), name="memory")
    seen = sc.LuongAttention(name="self")(memory, memory)
    context = sc.LuongAttention(name="look")(h, seen)
    read = sc.Concatenate()(sc.Embedding(w["target"])(token), context)
    y, new_h = sc.GRUCell(*truth.taken(w, "cell"), reset_after=False, name="cell")(read, h)
    decoder = sc.Model([token, memory, h], [sc.Dense(w["head"][:M])(y), new_h])
    model = sc.Generator(
        decoder, carry={"h": "cell:h"}, context="memory", start=1, max_length=STEPS
    )
    x = rng.normal(size=(3, 7, M)).astype(np.float32)
    same(model.greedy(x), by_hand(decoder, {"memory": x}, 3, {"h": "cell:h"}))


@pytest.mark.parametrize("name", ["decoder/key", "decoder'/key"])
def test_an_encoder_may_have_any_names(rng: np.random.Generator, name: str) -> None:
    """Also such as the decoder's part behind it would have: a nested model called decoder."""
    w = drawn(rng)
    x = sc.Input((None, M), name="x")
    y = sc.Dense(w["key"].T, name="decoder/key")(x)
    encoder = sc.Model(x, sc.Dense(w["key"].T, name="last" if name == "decoder/key" else name)(y))
    token, h = sc.Input((), "int64", "token"), sc.Input((M,), name="h")
    memory = sc.Input((None, M), name="memory")
    seen = sc.Dense(w["key"], w["key.b"], name="key")(memory)
    read = sc.Concatenate()(sc.Embedding(w["target"])(token), sc.LuongAttention()(h, seen))
    cell = sc.GRUCell(*truth.taken(w, "cell"), reset_after=False, name="cell")
    out, new_h = cell(read, h)
    decoder = sc.Model([token, memory, h], [sc.Dense(w["head"][:M])(out), new_h])
    model = sc.Seq2Seq(
        encoder, decoder, connect={"memory": encoder.outputs[0]}, carry={"h": "cell:h"}, start=1,
        max_length=STEPS,
    )  # fmt: skip
    source = rng.normal(size=(2, 7, M)).astype(np.float32)
    expected = by_hand(decoder, {"memory": encoder(source)}, 2, {"h": "cell:h"})
    same(model(source), expected)


# ---- Outputs -------------------------------------------------------------------------------------


def test_a_context_that_is_an_output_alone_comes_back(rng: np.random.Generator) -> None:
    """The step reads only what is made of it."""
    w = drawn(rng)
    token, h = sc.Input((), "int64", "token"), sc.Input((M,), name="h")
    image = sc.Input((M,), name="image")
    read = sc.Concatenate()(sc.Embedding(w["target"])(token), sc.Dense(w["key"])(image))
    y, new_h = sc.GRUCell(*truth.taken(w, "cell"), reset_after=False, name="cell")(read, h)
    decoder = sc.Model([token, image, h], [sc.Dense(w["head"][:M])(y), new_h, image])
    x = sc.Input((M,), name="x")
    encoder = sc.Model(x, sc.Dense(np.eye(M), name="same")(x))
    options: dict[str, Any] = {"carry": {"h": "cell:h"}, "start": 1, "max_length": STEPS}
    images = rng.normal(size=(2, M)).astype(np.float32)
    expected = by_hand(decoder, {"image": images}, 2, {"h": "cell:h"})
    for model in (
        sc.Generator(decoder, context="image", **options),
        sc.Seq2Seq(encoder, decoder, connect={"image": "same"}, **options),
    ):
        made = model.greedy(images, extras=True)
        same(made, expected)
        np.testing.assert_array_equal(made.extras["image"], np.repeat(images[:, None], STEPS, 1))


class Twice(nn.Module):
    """A stack of two GRUs whose states (2, B, M) come out once more, doubled."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.out = nn.Embedding(V, M), nn.Linear(M, V)
        self.gru = nn.GRU(M, M, num_layers=2, batch_first=True)

    def forward(self, token: Any, hidden: Any) -> Any:
        y, hidden = self.gru(self.embedding(token), hidden)
        return self.out(y), hidden, 2 * hidden


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_extras_have_their_rows_first(rows: int) -> None:
    """Also those whose batch is axis 1."""
    torch.manual_seed(3)
    module = Twice().eval()
    example = (torch.zeros(2, 1, dtype=torch.long), torch.zeros(2, 2, M))
    decoder = sc.from_torch(module, example)
    _, state, extra = decoder.outputs
    model = sc.Generator(decoder, carry={"hidden": state}, start=1, max_length=STEPS)
    begin = torch.randn(2, rows, M)
    made = model.greedy(state={"hidden": begin.numpy()}, extras=True)
    assert made.extras[extra].shape == (rows, STEPS, 2, M)
    token, hidden = torch.ones(rows, 1, dtype=torch.long), begin
    for t in range(STEPS):
        with torch.no_grad():
            logits, hidden, twice = module(token, hidden)
        token = logits[:, -1].argmax(-1, keepdim=True)
        assert token[:, 0].tolist() == made.ids[:, t].tolist()
        close(made.extras[extra][:, t], twice.permute(1, 0, 2).numpy(), FLOAT32[2])
    found = model.beam(state={"hidden": begin.numpy()}, width=3, results=2, extras=extra)
    assert found.extras[extra].shape == (rows, 2, STEPS, 2, M)


class Looking(nn.Module):
    """A stack of GRUs goes over the memory; its states (2, B, M) come out, and begin another."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.out = nn.Embedding(V, M), nn.Linear(M, V)
        self.over = nn.GRU(M, M, num_layers=2, batch_first=True)
        self.gru = nn.GRU(M, M, batch_first=True)

    def forward(self, token: Any, hidden: Any, memory: Any) -> Any:
        _, ends = self.over(memory)
        y, hidden = self.gru(self.embedding(token), hidden + ends[-1:])
        return self.out(y), hidden, ends


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_states_that_a_context_leaves_are_computed_once(rows: int) -> None:
    """Their batch is axis 1, which no context has."""
    torch.manual_seed(4)
    module = Looking().eval()
    example = (torch.zeros(2, 1, dtype=torch.long), torch.zeros(1, 2, M), torch.zeros(2, 4, M))
    decoder = sc.from_torch(module, example)
    _, state, extra = decoder.outputs
    model = sc.Generator(
        decoder, carry={"hidden": state}, context="memory", start=1, max_length=STEPS
    )
    memory = torch.randn(rows, 7, M)
    made = model.greedy(memory.numpy(), extras=True, return_state=True)
    assert made.ids.shape == (rows, STEPS)
    assert made.extras[extra].shape == (rows, STEPS, 2, M)
    token, hidden = torch.ones(rows, 1, dtype=torch.long), torch.zeros(1, rows, M)
    for t in range(STEPS):
        with torch.no_grad():
            logits, hidden, ends = module(token, hidden, memory)
        token = logits[:, -1].argmax(-1, keepdim=True)
        assert token[:, 0].tolist() == made.ids[:, t].tolist()
        close(made.extras[extra][:, t], ends.permute(1, 0, 2).numpy(), FLOAT32[2])
    close(made.states[0], hidden.numpy(), FLOAT32[2])


# ---- Padding that is to be seen ------------------------------------------------------------------


def test_what_is_made_of_padding_is_seen_too(rng: np.random.Generator) -> None:
    """pass_lengths=False: the decoder's part that runs once must not know where rows end."""
    w = drawn(rng)
    source = sc.Input((None,), "int64", "source")
    encoder = sc.Model(source, gru(w, "encoder")(sc.Embedding(w["source"])(source)))
    token, memory = sc.Input((), "int64", "token"), sc.Input((None, M), name="memory")
    h = sc.Input((M,), name="h")
    keys = sc.Dense(w["key"], w["key.b"])(memory)  # not 0 where the memory is
    context, weights = sc.LuongAttention(return_attention_scores=True, name="look")(h, keys)
    read = sc.Concatenate()(sc.Embedding(w["target"])(token), context)
    y, new_h = sc.GRUCell(*truth.taken(w, "cell"), reset_after=False, name="cell")(read, h)
    decoder = sc.Model([token, memory, h], [sc.Dense(w["head"][:M])(y), new_h, weights])
    model = sc.Seq2Seq(
        encoder, decoder, connect={"memory": "encoder"}, carry={"h": "cell:h"}, start=1,
        max_length=STEPS, pass_lengths=False,
    )  # fmt: skip
    ids, ends = rng.integers(0, V, (3, 6)), [6, 2, 4]
    made = model(ids, lengths=ends, extras=True)
    padded = encoder(ids, lengths=ends)
    expected = by_hand(decoder, {"memory": padded}, 3, {"h": "cell:h"})
    same(made, expected)
    (name,) = model.extras
    for t, outputs in enumerate(expected[2]):
        close(made.extras[name][:, t], outputs[name], FLOAT32[2])
