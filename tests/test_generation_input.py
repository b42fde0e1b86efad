"""What Generator and Seq2Seq refuse, and what they do where nothing sensible was asked for."""

from __future__ import annotations

from typing import Any

import decoding_truth as truth
import numpy as np
import pytest
from decoding_truth import END, LONGEST, START, VOCABULARY

import seqcore as sc


@pytest.fixture
def dates(rng: np.random.Generator) -> Any:
    return truth.bahdanau(rng).model


@pytest.fixture
def text(rng: np.random.Generator) -> Any:
    return truth.text(rng).model


def table(rows: Any, **options: Any) -> sc.Generator:
    """Return a generator whose scores after token k are rows[k]."""
    token = sc.Input((None,), dtype="int64")
    return sc.Generator(sc.Model(token, sc.Embedding(np.array(rows))(token)), **options)


SOURCE = np.array([[3, 4, 5], [6, 7, 8]])


# ---- Calls ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "error", "says"), [
    ({"prefix": [[1] * (LONGEST + 1)] * 2}, sc.ShapeError, "max_length = 9"),
    ({"prefix": [[1], [2], [3]]}, sc.ShapeError, "2 rows"),
    ({"prefix": [[VOCABULARY], [1]]}, sc.IdRangeError, "row 0 has token 11, expected 0 to 10"),
    ({"prefix": [[1], [-1]]}, sc.IdRangeError, "row 1 has token -1"),
    ({"prefix": [[0.5], [1]]}, sc.DtypeError, "prefix"),
    ({"prefix": 3}, sc.ShapeError, "prefix"),
    ({"prefix": [[1, 2, 3, 4]] * 2, "max_length": 3}, sc.ShapeError, "max_length = 3"),
    ({"start": VOCABULARY}, sc.IdRangeError, "start of row 0 is 11"),
    ({"start": [1, 2, 3]}, sc.ShapeError, "2 rows"),
    ({"start": 1.5}, sc.DtypeError, "start"),
    ({"max_length": 0}, sc.OptionError, "max_length"),
    ({"max_length": 1 << 62}, sc.OptionError, "max_length"),
    ({"extras": ["h"]}, sc.OptionError, "look:scores"),
    ({"lengths": [4, 1]}, sc.ShapeError, "0 to 3"),
    ({"lengths": [1]}, sc.ShapeError, "lengths"),
    ({"state": {"nothing": np.zeros((2, 17))}}, sc.GraphError, "'nothing'"),
    ({"state": {"h": np.zeros((2, 16))}}, sc.ShapeError, "'h'"),
    ({"state": {"h": np.zeros((3, 17))}}, sc.ShapeError, "'h'"),
    ({"state": (np.zeros((2, 17)),)}, sc.ShapeError, "2 arrays"),
    ({"context": np.zeros((2, 4))}, sc.ShapeError, "context"),
    ({"return_state": 1}, sc.OptionError, "return_state"),
])  # fmt: skip
def test_calls_are_checked(
    dates: Any, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        dates(SOURCE, **options)


@pytest.mark.parametrize(("options", "says"), [
    ({"width": 0}, "width"), ({"width": 3, "results": 4}, "results"), ({"results": 0}, "results"),
    ({"length_penalty": float("nan")}, "length_penalty"), ({"return_state": True}, "final states"),
    ({"width": 2.5}, "width"),
])  # fmt: skip
def test_searches_are_checked(dates: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(sc.OptionError, match=says):
        dates.beam(SOURCE, **options)


@pytest.mark.parametrize(("options", "says"), [
    ({"temperature": 0}, "temperature"), ({"temperature": -1.0}, "temperature"),
    ({"temperature": float("inf")}, "temperature"), ({"top_p": 0.0}, "top_p"),
    ({"top_p": 1.5}, "top_p"), ({"top_k": -1}, "top_k"), ({"seed": -1}, "seed"),
    ({"seed": "x"}, "seed"), ({"results": 0}, "results"),
])  # fmt: skip
def test_samples_are_checked(dates: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(sc.OptionError, match=says):
        dates.sample(SOURCE, **options)


def test_contexts_are_checked(rng: np.random.Generator) -> None:
    decoder = sc.Model(*_decoder(rng))
    model = sc.Generator(decoder, start=0, context="memory", max_length=3)
    assert model.contexts == ("memory",)
    memory = rng.normal(size=(2, 4, 5))
    assert model.greedy(memory).ids.shape == (2, 3)
    for context, options, error, says in (
        (None, {}, sc.ShapeError, "memory"),
        ({"other": memory}, {}, sc.ShapeError, "memory"),
        (memory[:, :, :4], {}, sc.ShapeError, "memory"),
        (memory[0], {}, sc.ShapeError, "memory"),
        (memory, {"lengths": [5, 1]}, sc.ShapeError, "0 to 4"),
        (memory, {"lengths": {"other": [1, 1]}}, sc.ShapeError, "other"),
        (memory, {"batch": 3}, sc.ShapeError, "batch is 3"),
        (memory.astype(complex), {}, sc.DtypeError, "memory"),
        (memory, {"start": 10}, sc.IdRangeError, "start"),
    ):
        with pytest.raises(error, match=says):
            model.greedy(context, **options)


def _decoder(rng: np.random.Generator) -> tuple[list[Any], Any]:
    w, _ = truth.draw(rng, {
        "t": (6, 5), **truth.recurrent("gru", "g", 5, 5), "head": (10, 6), "W": (5, 5), "v": (5,),
    })  # fmt: skip
    token, memory = sc.Input((None,), "int64", "token"), sc.Input((None, 5), name="memory")
    y = sc.GRU(*truth.taken(w, "g"), reset_after=False, return_sequences=True, name="gru")(
        sc.Embedding(w["t"])(token)
    )
    context = sc.BahdanauAttention(w["W"], w["W"], w["v"])(y, memory)
    return [token, memory], sc.Dense(w["head"])(sc.Concatenate()(y, context))


def test_a_start_must_be_said() -> None:
    model = table(np.eye(3))
    with pytest.raises(sc.OptionError, match="start"):
        model.greedy()
    assert model.greedy(start=[0, 2], max_length=2).ids.tolist() == [[0, 0], [2, 2]]


def test_histories_are_checked(rng: np.random.Generator) -> None:
    w, _ = truth.draw(rng, {**truth.recurrent("gru", "g", 3, 3)})
    gru = sc.GRU(*truth.taken(w, "g"), reset_after=False, return_sequences=True)
    model = sc.Sequential([gru])
    x = rng.normal(size=(2, 4, 3))
    for history, options, error, says in (
        (x[:, :0], {}, sc.ShapeError, "one frame at least"),
        (x[0], {}, sc.ShapeError, "history"),
        (x[:, :, :2], {}, sc.ShapeError, "history"),
        (x, {"lengths": [0, 1]}, sc.ShapeError, "row 0 has length 0, expected 1 to 4"),
        (x, {"lengths": [5, 1]}, sc.ShapeError, "expected 1 to 4"),
        (x, {"lengths": [1]}, sc.ShapeError, "lengths"),
        (x, {"window": 5}, sc.ShapeError, "5 frames"),
        (x, {"window": 2, "lengths": [4, 4]}, sc.OptionError, "window"),
        (x, {"window": 0}, sc.OptionError, "window"),
    ):
        with pytest.raises(error, match=says):
            model.forecast(history, 2, **options)
    with pytest.raises(sc.OptionError, match="steps"):
        model.forecast(x, 0)
    wider = sc.Sequential([gru, sc.Dense(np.ones((3, 4)))])
    with pytest.raises(sc.UnsupportedLayerError, match="own output"):
        wider.forecast(x, 2)
    with pytest.raises(sc.ShapeError, match="no frame of its input"):
        wider.forecast(x, 2, window=3)


# ---- Scores that are no choice -------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("search", ["greedy", "beam", "sample"])
def test_scores_that_are_no_numbers_are_refused(bad: float, search: str) -> None:
    model = table([[0, 1, 0], [0, 0, bad], [0, 0, 1]], start=0, max_length=4)
    with pytest.raises(sc.ScoresError, match=r"row 0, token 1: .*'embedding'"):
        getattr(model, search)(prefix=[1])
    assert isinstance(sc.ScoresError("x"), ArithmeticError)


@pytest.mark.parametrize("search", ["greedy", "beam", "sample"])
def test_tokens_may_be_ruled_out_but_not_all(search: str) -> None:
    out = -np.inf
    model = table([[out, 1, out], [out, out, out], [0, 0, 0]], start=0, max_length=2)
    assert getattr(model, search)(max_length=1).ids.tolist() == [[1]]
    with pytest.raises(sc.ScoresError, match="token 1"):
        getattr(model, search)()


@pytest.mark.parametrize("rows", [[[0.5, -0.5], [1, 0]], [[0, 0], [0, 1]]])
def test_probabilities_that_are_none_are_refused(rows: Any) -> None:
    model = table(rows, start=0, max_length=2, scores="probabilities")
    with pytest.raises(sc.ScoresError, match="row 0, token 0"):
        model.beam(width=2)


# ---- Ends ----------------------------------------------------------------------------------------


def test_an_end_that_never_comes() -> None:
    never = table(np.eye(3), start=0, end=2, max_length=5)
    made = never.greedy()
    assert made.ids.tolist() == [[0] * 5]
    assert not made.ended.any()
    assert made.lengths.tolist() == [5]
    assert made.tokens() == [[0] * 5]


def test_a_short_result_does_not_keep_room_for_a_long_one() -> None:
    made = table([[0, 1], [1, 0]], start=0, end=1, max_length=100_000).greedy(batch=1)
    assert made.ids.tolist() == [[1]]
    assert (made.ids if made.ids.base is None else made.ids.base).nbytes < 1000


def test_a_beam_wider_than_the_vocabulary_finds_all_there_are() -> None:
    model = table(np.zeros((2, 2)), start=0, end=1, max_length=2)
    made = model.beam(width=7, results=7)
    assert made.lengths.tolist() == [[1, 2, 2, 0, 0, 0, 0]]
    assert made.ids[0, :3].tolist() == [[1, 1], [0, 0], [0, 1]]
    np.testing.assert_allclose(made.scores[0, :3], np.log([0.5, 0.25, 0.25]), rtol=1e-6)
    assert (made.scores[0, 3:] == -np.inf).all()
    assert not made.ended[0, 3:].any()
    assert made.tokens() == [[[], [0, 0], [0]]]  # of those that there are, without the end


def test_a_vocabulary_of_one_token() -> None:
    model = table([[0.5]], start=0, max_length=3)
    for made in (model.greedy(), model.beam(width=3), model.sample(seed=0)):
        assert made.ids.tolist() == [[0, 0, 0]]
        assert made.scores.tolist() == [0.0]


def test_an_end_outside_of_the_vocabulary_is_refused() -> None:
    with pytest.raises(sc.IdRangeError, match="end is 3, expected 0 to 2"):
        table(np.eye(3), start=0, end=3).greedy()


def test_a_decoder_that_says_what_it_does_not_hear_is_refused() -> None:
    with pytest.raises(sc.UnsupportedLayerError, match="scores of 5 tokens, and takes 3"):
        table(np.zeros((3, 5)), start=0).greedy()


def test_no_rows(dates: Any, text: Any) -> None:
    with pytest.raises(sc.SeqcoreError, match="rows"):
        text.greedy(batch=0)
    with pytest.raises(sc.SeqcoreError, match="rows"):
        dates(np.zeros((0, 3), np.int64))


def test_empty_sources_are_decoded_from_nothing(dates: Any) -> None:
    made = dates(SOURCE, lengths=[0, 3], extras=True)
    none = dates(np.zeros((1, 0), np.int64), extras=True)
    assert made.scores[0].tobytes() == none.scores[0].tobytes()
    assert not made.extras["look:scores"][0].any()


# ---- Wiring --------------------------------------------------------------------------------------


def test_wiring_is_checked(rng: np.random.Generator) -> None:
    inputs, scores = _decoder(rng)
    decoder = sc.Model(inputs, scores)
    x = sc.Input((None, 5), name="x")
    encoder = sc.Model(x, sc.Activation("tanh", name="out")(x))
    for error, says, make in (
        (sc.GraphError, "which of them are contexts", lambda: sc.Generator(decoder)),
        (
            sc.GraphError,
            "'other' is none of the decoder's inputs",
            lambda: sc.Generator(decoder, context="other"),
        ),
        (sc.GraphError, "'none'", lambda: sc.Generator(decoder, carry={"memory": "none"})),
        (sc.GraphError, "first output", lambda: sc.Generator(decoder, carry={"memory": "dense"})),
        (
            sc.GraphError,
            "encoder's outputs",
            lambda: sc.Seq2Seq(encoder, decoder, connect={"memory": "no"}),
        ),
        (
            sc.GraphError,
            "neither an input nor a state",
            lambda: sc.Seq2Seq(encoder, decoder, connect={"memory": "out", "h": "out"}),
        ),
        (sc.GraphError, "mapping", lambda: sc.Seq2Seq(encoder, decoder, connect="memory")),
        (sc.OptionError, "scores", lambda: sc.Generator(decoder, context="memory", scores="odds")),
        (sc.OptionError, "end", lambda: sc.Generator(decoder, context="memory", end=-2)),
    ):
        with pytest.raises(error, match=says):
            make()


def test_a_decoder_that_looks_ahead_is_refused(rng: np.random.Generator) -> None:
    token = sc.Input((None,), "int64")
    w, _ = truth.draw(rng, {
        "t": (5, 4), **truth.recurrent("gru", "a", 4, 3), **truth.recurrent("gru", "b", 4, 3),
    })  # fmt: skip
    parts = [sc.GRU(*truth.taken(w, n), reset_after=False, return_sequences=True) for n in "a"]
    back = sc.GRU(*truth.taken(w, "b"), reset_after=False, return_sequences=True, go_backwards=True)
    y = sc.Bidirectional(parts[0], back)(sc.Embedding(w["t"])(token))
    with pytest.raises(sc.UnsupportedLayerError, match="bidirectional"):
        sc.Generator(sc.Model(token, y))


def test_models_without_weights_are_refused() -> None:
    token = sc.Input((None,), "int64")
    decoder = sc.Model(
        token, sc.Dense(5)(sc.GRU(4, return_sequences=True)(sc.Embedding(5, 3)(token)))
    )
    with pytest.raises(sc.NotBuiltError):
        sc.Generator(decoder)


def test_what_looks_back_cannot_stand_beside_what_is_carried(rng: np.random.Generator) -> None:
    token, fed = sc.Input((None,), "int64"), sc.Input((1, 4), name="fed")
    x = sc.Conv1D(rng.normal(size=(2, 4, 4)), padding="causal", name="conv")(
        sc.Embedding(rng.normal(size=(5, 4)))(token)
    )
    y = sc.Add(name="sum")(x, fed)
    decoder = sc.Model([token, fed], [sc.Dense(rng.normal(size=(4, 5)))(y), y])
    with pytest.raises(sc.UnsupportedLayerError, match="conv"):
        sc.Generator(decoder, carry={"fed": "sum"})


def test_masks_that_the_encoder_computes_are_not_lost_in_silence(rng: np.random.Generator) -> None:
    w, _ = truth.draw(rng, {"t": (9, 5), **truth.recurrent("gru", "g", 5, 5)})
    x = sc.Input((None,), "int64")
    gru = sc.GRU(*truth.taken(w, "g"), reset_after=False, return_sequences=True, name="memory")
    decoder = sc.Model(*_decoder(rng))
    wires: Any = {"connect": {"memory": "memory"}, "start": 0}
    plain = sc.Model(x, gru(sc.Embedding(w["t"])(x)))
    assert sc.Seq2Seq(plain, decoder, **wires)([[1, 2]], max_length=2).ids.shape == (1, 2)
    masked = sc.Model(x, gru(sc.Embedding(w["t"], mask_zero=True)(x)))
    with pytest.raises(sc.UnsupportedLayerError, match=r"mask.*lengths"):
        sc.Seq2Seq(masked, decoder, **wires)


def test_calls_go_on_while_others_run(rng: np.random.Generator) -> None:
    from concurrent.futures import ThreadPoolExecutor

    model = truth.luong(rng).model
    sources = [rng.integers(0, VOCABULARY, (1 + k % 3, 5)) for k in range(24)]
    expected = [model.beam(s, width=3).ids for s in sources]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda s: model.beam(s, width=3).ids, sources))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert START != END
