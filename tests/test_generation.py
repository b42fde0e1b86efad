"""Generator and Seq2Seq: what they decode against equations in float64, and a row's bits.

How a graph is divided is in test_rewriting.py, bad input in test_generation_input.py, PyTorch's
decoders in test_generation_torch.py, and the core's own interface in c/test_decode.c.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import decoding_truth as truth
import numpy as np
import pytest
from decoding_truth import END, LONGEST, NETWORKS, START, VOCABULARY, Network
from tolerances import FLOAT32, close

import seqcore as sc

LENGTHS = (7, 3, 1, 0, 7, 5)


@pytest.fixture(params=NETWORKS)
def net(request: pytest.FixtureRequest, rng: np.random.Generator) -> Network:
    return NETWORKS[request.param](rng)


def given(
    net: Network, rng: np.random.Generator, rows: int
) -> tuple[Any, dict[str, Any], list[Any]]:
    """Return a call's arguments, and each row's own source."""
    if net.source is None:
        return (), {"batch": rows}, [None] * rows
    source = net.source(rng, rows, max(LENGTHS))
    if source.dtype != np.int64:
        return (source,), {}, list(source)
    lengths = [LENGTHS[row % len(LENGTHS)] for row in range(rows)]
    return (source,), {"lengths": lengths}, [x[:n] for x, n in zip(source, lengths, strict=True)]


def same_row(made: sc.Decoded, row: Any, expected: truth.Made) -> None:
    n = int(made.lengths[row])
    assert made.ids[row][:n].tolist() == expected.ids
    assert bool(made.ended[row]) is expected.ended
    assert (made.ids[row][n:] == END).all()
    close(made.scores[row], expected.score, FLOAT32[3])
    for extras in made.extras.values():
        for found, true in zip(extras[row], expected.extras, strict=False):
            assert true is not None
            weights = np.zeros(found.size)
            weights[: len(true)] = true
            close(found.reshape(-1), weights, FLOAT32[3])
        assert not extras[row][n:].any()


# ---- Against the equations -----------------------------------------------------------------------


def test_greedy_is_what_the_equations_choose(
    net: Network, rng: np.random.Generator, isa: str
) -> None:
    source, options, rows = given(net, rng, 6)
    made = net.model.with_options(isa=isa).greedy(*source, **options, extras=True)
    for row, own in enumerate(rows):
        same_row(made, row, truth.greedy(net, own))
    assert made.ids.shape[1] == made.lengths.max()


@pytest.mark.parametrize(
    ("width", "penalty"), [(2, 0.0), (4, 1.0), (4, -0.5), (VOCABULARY + 3, 0.0)]
)
def test_a_search_finds_what_the_plain_one_finds(
    net: Network, rng: np.random.Generator, width: int, penalty: float
) -> None:
    source, options, rows = given(net, rng, 4)
    made = net.model.beam(
        *source, **options, width=width, length_penalty=penalty, results=width, extras=True
    )
    assert made.ids.shape[:2] == (4, width)
    for row, own in enumerate(rows):
        expected = truth.beam(net, own, width, penalty)
        assert (made.lengths[row] > 0).sum() == len(expected)
        assert (made.scores[row][len(expected) :] == -np.inf).all()
        for number, true in enumerate(expected):
            same_row(made, (row, number), true)
    best = net.model.beam(*source, **options, width=width, length_penalty=penalty, extras=True)
    assert best.scores.shape == (4,)
    np.testing.assert_array_equal(best.scores, made.scores[:, 0])


@pytest.mark.parametrize(
    ("heat", "top_k", "top_p"), [(1.0, 0, 1.0), (0.5, 4, 1.0), (2.0, 0, 0.7), (1.3, 6, 0.5)]
)
def test_samples_follow_the_uniform_numbers(
    net: Network, rng: np.random.Generator, heat: float, top_k: int, top_p: float
) -> None:
    source, options, rows = given(net, rng, 5)
    made = net.model.sample(
        *source, **options, temperature=heat, top_k=top_k, top_p=top_p, seed=3, results=2
    )
    for row, own in enumerate(rows):
        for number in range(2):
            uniforms = np.random.default_rng((3, row, number)).random(LONGEST)
            expected = truth.drawn(net, own, uniforms, heat, top_k, top_p)
            assert made.tokens()[row][number] == [k for k in expected if k != END]
    again = net.model.sample(
        *source, **options, temperature=heat, top_k=top_k, top_p=top_p, seed=3, max_length=4
    )
    assert (again.ids == made.ids[:, 0, : again.ids.shape[1]]).all()


def test_samples_are_as_frequent_as_they_are_probable(rng: np.random.Generator) -> None:
    net = truth.text(rng)
    p = truth.softmax(net.step(START, net.begin(None))[0])
    count = 20_000
    made = net.model.sample(results=count, max_length=1, seed=np.random.default_rng(5))
    found = np.bincount(made.ids[0, :, 0], minlength=VOCABULARY) / count
    assert (np.abs(found - p) < 5 * np.sqrt(p * (1 - p) / count) + 1e-9).all()


def test_tokens_can_be_forced(net: Network, rng: np.random.Generator) -> None:
    source, options, rows = given(net, rng, 3)
    prefix = [[4, 5], [], [6, 0, 3]]
    made = net.model.greedy(*source, **options, prefix=prefix, extras=True)
    search = net.model.beam(*source, **options, prefix=prefix, width=3, results=3, extras=True)
    for row, (own, forced) in enumerate(zip(rows, prefix, strict=True)):
        same_row(made, row, truth.greedy(net, own, tuple(forced)))
        for number, true in enumerate(truth.beam(net, own, 3, forced=tuple(forced))):
            same_row(search, (row, number), true)
    every = net.model.greedy(*source, **options, prefix=[4, 5])
    np.testing.assert_array_equal(every.ids[:, :2], [[4, 5]] * 3)
    alone = net.model.greedy(*source, **options, prefix=np.array([[4, 5]] * 3))
    np.testing.assert_array_equal(every.ids, alone.ids)


def test_a_forced_end_ends(net: Network, rng: np.random.Generator) -> None:
    source, options, _ = given(net, rng, 2)
    for made in (
        net.model.greedy(*source, **options, prefix=[4, END]),
        net.model.beam(*source, **options, prefix=[4, END], width=3),
    ):
        assert made.tokens() == [[4], [4]]
        assert made.ended.all()


# ---- Bits ----------------------------------------------------------------------------------------


def test_a_row_has_the_same_bits_alone_and_with_any_threads(
    net: Network, rng: np.random.Generator, isa: str
) -> None:
    source, options, _ = given(net, rng, 70)
    calls = {
        "greedy": {"extras": True}, "beam": {"width": 3, "results": 3, "extras": True},
        "sample": {"seed": 1, "results": 2, "extras": True},
    }  # fmt: skip
    for name, more in calls.items():
        whole = getattr(net.model.with_options(isa=isa, threads=2), name)(
            *source, **options, **more
        )
        for row in (0, 3, 69):
            own = {k: [v[row]] for k, v in options.items() if k == "lengths"}
            part = [x[row : row + 1] for x in source]
            if name == "sample" and row:
                continue  # the draws of another row are others
            alone = getattr(net.model.with_options(isa=isa, threads=1), name)(*part, **own, **more)
            assert alone.scores[0].tobytes() == whole.scores[row].tobytes()
            n = alone.ids.shape[-1]
            np.testing.assert_array_equal(alone.ids[0], whole.ids[row][..., :n])
            for one, other in zip(alone.extras.values(), whole.extras.values(), strict=True):
                rows = other[row][..., :n, :] if other[row].ndim > 1 else other[row]
                assert one[0].tobytes() == np.ascontiguousarray(rows).tobytes()


def test_a_source_ends_where_its_length_says(rng: np.random.Generator) -> None:
    for make in (truth.bahdanau, truth.luong, truth.feeding):
        net = make(rng)
        source, options, rows = given(net, rng, 6)
        whole = net.model(*source, **options)
        for row, own in enumerate(rows):
            if not len(own):
                continue  # an empty source is compared with the equations
            alone = net.model(own[None])
            assert alone.scores[0].tobytes() == whole.scores[row].tobytes()


def test_what_was_made_can_be_continued(net: Network, rng: np.random.Generator) -> None:
    source, options, _ = given(net, rng, 4)
    whole = net.model.greedy(*source, **options)
    for first in (1, 4):
        begun = net.model.greedy(*source, **options, max_length=first, return_state=True)
        assert len(begun.states) == len(net.model.states)
        state = dict(zip(net.model.states, begun.states, strict=True))
        goes_on = [row for row in range(4) if not begun.ended[row]]
        again = net.model.greedy(
            *source, **options, state=state, start=begun.last, max_length=LONGEST - first
        )
        for row in goes_on:
            n = int(again.lengths[row])
            both = begun.ids[row, :first].tolist() + again.ids[row, :n].tolist()
            assert both == whole.ids[row, : first + n].tolist()


def test_a_stream_gives_the_scores_of_every_step(net: Network, rng: np.random.Generator) -> None:
    source, options, _ = given(net, rng, 3)
    stream = net.model.stream(*source, **options)
    made = net.model.greedy(*source, **options, extras=True, max_length=4)
    token, sums = np.full(3, START), np.zeros(3)
    going = np.ones(3, bool)
    for t in range(made.ids.shape[1]):
        result = stream.step(token.reshape(3, *stream.steps.inputs[0].shape[1:]))
        scores, *extras = result if isinstance(result, tuple) else (result,)
        scores = scores.reshape(3, VOCABULARY).astype(np.float64)
        if net.model.scores == "probabilities":
            scores = np.log(scores)
        for row in np.flatnonzero(going):
            logs = truth.log_softmax(scores[row])
            assert int(np.argmax(logs)) == made.ids[row, t]
            sums[row] += logs[made.ids[row, t]]
            for one, other in zip(extras, made.extras.values(), strict=True):
                assert one[row].tobytes() == other[row, t].tobytes()
        token = made.ids[:, t]
        going &= token != END
    close(sums, made.scores, FLOAT32[2])


def test_streams_with_contexts_are_copied_and_pickled(rng: np.random.Generator) -> None:
    net = truth.bahdanau(rng)
    source, options, _ = given(net, rng, 3)
    stream = net.model.stream(*source, **options)
    stream.step([1, 2, 3])
    others = [stream.copy(), copy.deepcopy(stream), pickle.loads(pickle.dumps(stream))]
    expected = stream.step([4, 5, 6])
    for other in others:
        for one, two in zip(expected, other.step([4, 5, 6]), strict=True):
            assert one.tobytes() == two.tobytes()


def test_a_stream_without_its_context_is_refused(rng: np.random.Generator) -> None:
    net = truth.bahdanau(rng)
    stream = sc.Stream(net.model._wired.step, 1)
    with pytest.raises(sc.StateError, match="memory"):
        stream.step([1])
    with pytest.raises(sc.UnsupportedLayerError, match="context"):
        net.model._wired.step.pool(3)


# ---- What a decoder ends in ----------------------------------------------------------------------


@pytest.mark.parametrize("ends", [None, "softmax", "log_softmax"])
@pytest.mark.parametrize("how", ["dense", "activation", "layer"])
def test_kinds_of_scores_are_told_by_how_a_decoder_ends(
    rng: np.random.Generator, ends: str | None, how: str
) -> None:
    w, _ = truth.draw(rng, {"table": (5, 4), "head": (4, 5)})
    token = sc.Input((None,), "int64")
    x = sc.Embedding(w["table"])(token)
    y = sc.Dense(w["head"], activation=ends if how == "dense" else None)(x)
    if how == "activation" and ends:
        y = sc.Activation(ends)(y)
    if how == "layer" and ends:
        y = sc.Softmax()(y) if ends == "softmax" else sc.Activation("log_softmax")(y)
    made = sc.Generator(sc.Model(token, y), start=0, max_length=3)
    plain = sc.Model(token, sc.Dense(w["head"])(x))
    expected = sc.Generator(plain, start=0, max_length=3).beam(width=3, results=3)
    assert made.scores == {None: "logits", "softmax": "probabilities"}.get(
        ends, "log_probabilities"
    )
    found = made.beam(width=3, results=3)
    np.testing.assert_array_equal(found.ids, expected.ids)
    close(found.scores, expected.scores, FLOAT32[0])


def test_two_distributions_are_none(rng: np.random.Generator) -> None:
    w, _ = truth.draw(rng, {"table": (6, 4), "head": (4, 3)})
    token = sc.Input((None,), "int64")
    x = sc.Embedding(w["table"])(token)
    parts = [sc.Dense(part, activation="softmax")(x) for part in (w["head"], -w["head"])]
    made = sc.Generator(sc.Model(token, sc.Concatenate()(*parts)), start=0, max_length=3)
    assert made.scores == "logits"


# ---- Vectors -------------------------------------------------------------------------------------


def test_vectors_are_fed_back(rng: np.random.Generator, isa: str) -> None:
    w, _ = truth.draw(rng, {**truth.recurrent("lstm", "cell", 3, 17), "head": (17, 3)})
    layers = [sc.LSTM(*truth.taken(w, "cell"), return_sequences=True), sc.Dense(w["head"])]
    model = sc.Sequential(layers).with_options(isa=isa)
    history = rng.normal(size=(5, 6, 3)).astype(np.float32)
    lengths = [6, 1, 3, 6, 2]
    found = model.forecast(history, 4, lengths=lengths)
    assert found.shape == (5, 4, 3)
    for row, n in enumerate(lengths):
        x = history[row : row + 1, :n]
        for t in range(4):
            y = model(x)[:, -1:]
            assert y[0, 0].tobytes() == found[row, t].tobytes()
            x = np.concatenate([x, y], axis=1)
    whole = model.forecast(history, 4)
    assert whole[0].tobytes() == found[0].tobytes()
    out, states = sc.Generator(model).forecast(history, 2, return_state=True)
    more = sc.Generator(model).forecast(out[:, -1:], 2, state=states)
    assert np.concatenate([out, more], axis=1).tobytes() == whole.tobytes()


def test_a_window_moves_along_with_the_predictions(rng: np.random.Generator) -> None:
    w, _ = truth.draw(rng, {
        **truth.recurrent("gru", "cell", 2, 9), **truth.recurrent("gru", "back", 2, 9),
        "head": (9, 2),
    })  # fmt: skip
    both = sc.Bidirectional(
        sc.GRU(*truth.taken(w, "cell"), reset_after=False),
        sc.GRU(*truth.taken(w, "back"), reset_after=False, go_backwards=True),
        merge_mode="sum",
    )
    model = sc.Sequential([both, sc.Dense(w["head"])])
    history = rng.normal(size=(3, 8, 2)).astype(np.float32)
    with pytest.raises(sc.UnsupportedLayerError, match="bidirectional"):
        model.forecast(history, 3)
    found = model.forecast(history, 3, window=4)
    x = history
    for t in range(3):
        y = model(x[:, -4:])
        assert y.tobytes() == np.ascontiguousarray(found[:, t]).tobytes()
        x = np.concatenate([x, y[:, None]], axis=1)


def test_an_encoder_may_stand_before_a_decoder_of_vectors(rng: np.random.Generator) -> None:
    w, d = truth.draw(rng, {
        **truth.recurrent("gru", "encoder", 3, 9), **truth.recurrent("gru", "decoder", 2, 9),
        "head": (9, 2),
    })  # fmt: skip
    x, fed = sc.Input((None, 3)), sc.Input((None, 2))
    encoder = sc.Model(x, sc.GRU(*truth.taken(w, "encoder"), reset_after=False, name="h")(x))
    gru = sc.GRU(*truth.taken(w, "decoder"), reset_after=False, return_sequences=True, name="gru")
    model = sc.Seq2Seq(
        encoder, sc.Model(fed, sc.Dense(w["head"])(gru(fed))), connect={"gru:h": "h"}
    )
    source = rng.normal(size=(4, 5, 3)).astype(np.float32)
    begun = rng.normal(size=(4, 2, 2)).astype(np.float32)
    for history in (None, begun):
        found = model.forecast(source, steps=3, history=history)
        for row in range(4):
            h = truth.run_gru(source[row].astype(np.float64), d, "encoder")[-1]
            known = np.zeros((1, 2)) if history is None else history[row].astype(np.float64)
            made: list[Any] = []
            while len(made) < 3:
                for frame in known if not made else made[-1:]:
                    h = truth.gru(frame, h, d, "decoder")
                made.append(h @ d["head"])
            close(found[row], made, FLOAT32[2])
