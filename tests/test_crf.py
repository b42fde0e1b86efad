"""CRF: the best path against all paths there are; what forbids, ties, masks, ends, bits, refusals.

Here a path is right because every other one was tried. Against pytorch-crf:
parity/test_parity_crf.py; graphs that lie: attacks/test_crf_graphs.py; in random graphs, behind
other layers: random_graphs/.
"""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from stream_models import cell, planned, same_bits
from tolerances import FLOAT32, FLOAT64, close

import seqcore as sc
from seqcore import reference as ref

INF, NAN = np.inf, np.nan
SIZES = (1, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97)
ISAS = sc.cpu_info()["isas"]


def floats(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def weights(rng, tags):
    """Transitions, start and end."""
    return floats(rng, tags, tags), floats(rng, tags), floats(rng, tags)


def model_of(W, start=None, end=None):
    """A model that gives tags and score."""
    x = sc.Input((None, len(W)), name="x")
    return sc.Model(x, list(sc.CRF(W, start, end, return_score=True, name="crf")(x)))


def on_every_isa(model):
    """Tags and score of a model for these arguments: the same bits everywhere."""

    def call(*arguments, **options):
        first, *others = (model.with_options(isa=isa)(*arguments, **options) for isa in ISAS)
        for other in others:
            same_bits(other, first)
        return first

    return call


def score_of(path, x, W, start, end):
    """What a path's score is, by its definition."""
    x, W, start, end = (np.asarray(a, np.float64) for a in (x, W, start, end))
    steps = sum(W[i, j] for i, j in pairwise(path))
    return start[path[0]] + sum(x[t, tag] for t, tag in enumerate(path)) + steps + end[path[-1]]


def best_of_all(x, *scores):
    """The best of all paths of a row; of equal ones the lowest from the end."""
    paths = list(product(range(x.shape[1]), repeat=len(x)))
    scored = [(score_of(path, x, *scores), path) for path in paths]
    best = max(score for score, _ in scored)
    return best, min((path for score, path in scored if score == best), key=lambda p: p[::-1])


def said_by_reference(x, W, start, end, **options):
    return ref.OPS["crf"](x, W=W, start=start, end=end, **options)


# ---- All paths -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("tags", "frames"), [(1, 3), (2, 1), (2, 7), (3, 5), (4, 4), (5, 3)])
def test_no_path_is_better(rng, tags, frames):
    x, scores = floats(rng, 9, frames, tags), weights(rng, tags)
    found = on_every_isa(model_of(*scores))(x)
    truth = said_by_reference(x, *scores)
    for row in range(9):
        best, path = best_of_all(x[row], *scores)
        for (paths, score), tolerance in ((found, FLOAT32[0]), (truth, FLOAT64)):
            assert tuple(paths[row]) == path
            close(score[row], best, tolerance)
    assert found[0].dtype == np.int64
    assert found[1].dtype == np.float32


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_of_equal_paths_the_lowest_from_the_end(rng, steps):
    """Scores of few whole numbers: nearly every row has several best paths."""
    x = rng.integers(0, steps, (40, 5, 3)).astype(np.float32)
    scores = [rng.integers(0, steps, shape).astype(np.float32) for shape in ((3, 3), 3, 3)]
    tags, score = on_every_isa(model_of(*scores))(x)
    truth = said_by_reference(x, *scores)
    for row in range(40):
        best, path = best_of_all(x[row], *scores)
        assert (tuple(tags[row]), score[row]) == (path, best)
        assert (tuple(truth[0][row]), truth[1][row]) == (path, best)
    if steps == 1:
        assert not tags.any()


def test_zeros_are_equal_and_denormals_are_zeros():
    x = np.float32([[[-0.0, 0.0]], [[0.0, -0.0]], [[0.0, 1e-40]], [[-1e-40, 0.0]]])
    tags, score = on_every_isa(model_of(np.zeros((2, 2))))(x)
    assert tags.tolist() == [[0]] * 4
    assert score.tolist() == [0] * 4


def test_start_and_end_are_of_the_first_and_last_tag():
    W, x = np.zeros((3, 3)), np.zeros((1, 3, 3), np.float32)
    assert model_of(W, [0, 2, 1], [0, 1, 3])(x)[0].tolist() == [[1, 0, 2]]
    assert model_of(W, end=[0, 1, 3])(x)[0].tolist() == [[0, 0, 2]]
    assert model_of(W, [0, 2, 1])(x[:, :1])[0].tolist() == [[1]]
    W[0, 1] = W[1, 2] = 1  # from the row to the column
    assert model_of(W)(x)[0].tolist() == [[0, 1, 2]]


def test_sums_of_many_frames_are_exact():
    """Float32 would lose what decides: 2^-12 beside 2^27 in the end."""
    rng = np.random.default_rng(3)
    x = np.float32(2**12) + rng.integers(0, 16, (2, 40_000, 3)).astype(np.float32) * 2**-12
    tags, score = on_every_isa(model_of(np.zeros((3, 3))))(x)
    same_bits(tags, x.argmax(axis=-1))
    same_bits(score, x.astype(np.float64).max(axis=-1).sum(axis=-1).astype(np.float32))


# ---- Every size ----------------------------------------------------------------------------------


@pytest.mark.parametrize("tags", SIZES)
def test_every_instruction_set_gives_the_bits_of_the_reference(rng, tags):
    scores, x = weights(rng, tags), floats(rng, 6, 19, tags)
    lengths, mask = np.array([19, 0, 1, 2, 18, 7]), rng.random((6, 19)) < 0.6
    x[:, :, tags // 2] += 1
    for options in ({}, {"lengths": lengths}, {"mask": mask}):
        found = on_every_isa(model_of(*scores))(x, **options)
        expected, score = said_by_reference(x, *scores, **options)
        same_bits(found, (expected, score.astype(np.float32)), str(options))


@pytest.mark.parametrize("tags", [130, 300])
def test_many_tags(rng, tags):
    scores, x = weights(rng, tags), floats(rng, 2, 12, tags)
    expected, score = said_by_reference(x, *scores)
    same_bits(on_every_isa(model_of(*scores))(x), (expected, score.astype(np.float32)))


# ---- Ends and masks ------------------------------------------------------------------------------


def test_a_row_ends_where_its_length_says(rng):
    scores, x = weights(rng, 5), floats(rng, 7, 9, 5)
    lengths = np.array([9, 0, 1, 4, 8, 2, 9])
    x[np.arange(9) >= lengths[:, None]] = NAN  # read by nobody
    call = on_every_isa(model_of(*scores))
    tags, score = call(x, lengths=lengths)
    for row, n in enumerate(lengths):
        alone = call(np.ascontiguousarray(x[row : row + 1, :n]))
        same_bits((tags[row : row + 1, :n], score[row : row + 1]), alone)
        assert not tags[row, n:].any()
    assert score[1] == 0


def test_what_a_mask_leaves_out_is_as_if_it_were_not_there(rng):
    scores, x = weights(rng, 5), floats(rng, 8, 9, 5)
    mask = rng.random((8, 9)) < 0.5
    mask[0], mask[1], mask[2] = False, True, [False] * 8 + [True]
    x[~mask] = rng.choice([NAN, INF, -INF], (~mask).sum())[:, None]  # read by nobody
    call = on_every_isa(model_of(*scores))
    tags, score = call(x, mask=mask)
    for row in range(8):
        alone = call(np.ascontiguousarray(x[row : row + 1, mask[row]]))
        same_bits((tags[row : row + 1, mask[row]], score[row : row + 1]), alone)
    assert not tags[~mask].any()
    assert score[0] == 0


def test_frames_of_nothing():
    for shape in ((0, 4, 3), (2, 0, 3), (0, 0, 3)):
        tags, score = on_every_isa(model_of(np.ones((3, 3)), np.ones(3)))(np.empty(shape, "f"))
        assert tags.shape == shape[:2]
        assert score.tolist() == [0] * shape[0]


def test_the_mask_of_an_embedding_reaches_it_and_goes_on(rng):
    """A masked word has tag 0, and so no part in what looks at the tags."""
    ids = sc.Input((None,), dtype="int64", name="ids")
    crf = sc.CRF(*weights(rng, 4))
    tags = crf(sc.Embedding(floats(rng, 9, 4), mask_zero=True)(ids))
    last = sc.GlobalAveragePooling1D()(sc.Embedding(floats(rng, 4, 3))(tags))
    words = np.array([[3, 0, 5, 1], [3, 5, 1, 0]])
    found = sc.Model(ids, [tags, last])(words)
    expected = sc.Model(ids, [tags, last])(np.array([[3, 5, 1]]))
    assert found[0].tolist() == [[*row] for row in ([*expected[0][0, :1], 0, *expected[0][0, 1:]],
                                                    [*expected[0][0], 0])]  # fmt: skip
    assert crf.keeps_mask


# ---- What is forbidden, and what is no number ----------------------------------------------------


def test_what_is_forbidden_is_never_taken(rng):
    """Tags of entities, B before I: the best of the paths that are left."""
    W, start, end = weights(rng, 3)
    W[0, 2] = start[2] = -INF  # O then I; I at the beginning
    x = floats(rng, 30, 5, 3)
    x[:, :, 2] += 2
    x[::2, 3, 2] = -INF  # here no I
    tags, score = on_every_isa(model_of(W, start, end))(x)
    assert (tags == 2).any()
    assert not ((tags[:, :-1] == 0) & (tags[:, 1:] == 2)).any()
    assert not (tags[:, 0] == 2).any()
    assert not (tags[::2, 3] == 2).any()
    for row in range(30):
        best, path = best_of_all(x[row], W, start, end)
        assert tuple(tags[row]) == path
        close(score[row], best, FLOAT32[0])


@pytest.mark.parametrize(
    ("at", "value", "score"),
    [
        ((0, slice(None)), -INF, -INF), ((2, slice(None)), -INF, -INF),
        ((3, slice(None)), -INF, -INF), ((1, 0), NAN, NAN), ((0, 2), NAN, NAN), ((3, 1), NAN, NAN),
        ((2, 1), INF, NAN), ((0, slice(None)), INF, NAN), ((slice(None), slice(None)), NAN, NAN),
    ],
)  # fmt: skip
def test_a_row_without_a_path_says_so(rng, at, value, score):
    """Tag -1, which no table has; other rows do not know of it."""
    x, scores = floats(rng, 3, 6, 3), weights(rng, 3)
    lengths, mask = np.array([6, 4, 6]), np.ones((3, 6), bool)
    mask[1, 4:] = False
    call = on_every_isa(model_of(*scores))
    good = call(x, lengths=lengths)
    x[1][at] = value
    for options in ({"lengths": lengths}, {"mask": mask}):
        tags, found = call(x, **options)
        truth = said_by_reference(x, *scores, **options)
        assert tags[1].tolist() == [-1] * 4 + [0] * 2
        np.testing.assert_array_equal(found[1], score)
        same_bits(tags, truth[0])
        np.testing.assert_array_equal(truth[1][1], score)
        same_bits((tags[::2], found[::2]), (good[0][::2], good[1][::2]))


def test_no_path_through_weights_alone():
    for W, start, end in (
        (np.full((2, 2), -INF), None, None), (np.zeros((2, 2)), [-INF] * 2, None),
        (np.zeros((2, 2)), None, [-INF] * 2),
        ([[-INF, 0], [-INF, -INF]], [0, -INF], [0, -INF]),  # 0 then 1, where nothing may end
    ):  # fmt: skip
        tags, score = on_every_isa(model_of(W, start, end))(np.zeros((1, 2, 2), np.float32))
        assert tags.tolist() == [[-1, -1]]
        assert score.tolist() == [-INF]


def test_a_tag_that_is_none_is_loud(rng):
    x = sc.Input((None, 3))
    model = sc.Model(x, sc.Embedding(floats(rng, 3, 2), name="table")(sc.CRF(np.zeros((3, 3)))(x)))
    with pytest.raises(sc.IdRangeError, match=r"'table'.*id -1 in row 0"):
        model(np.full((1, 2, 3), -INF, np.float32))


def test_the_largest_numbers():
    """Sums past float32 decide all the same; the score that is told is one."""
    x = np.float32([[[3e38, 2e38], [2e38, 3e38]], [[-3e38, -2e38], [-3e38, -2e38]]])
    tags, score = on_every_isa(model_of(np.zeros((2, 2))))(x)
    assert tags.tolist() == [[0, 1], [1, 1]]
    assert score.tolist() == [INF, -INF]


# ---- Bits ----------------------------------------------------------------------------------------


def tagger(rng):
    """BiLSTM, Dense, CRF."""
    x = sc.Input((None, 9), name="x")
    back = cell(rng, "LSTM", 9, 8, go_backwards=True)
    y = sc.Bidirectional(cell(rng, "LSTM", 9, 8), backward_layer=back)(x)
    crf = sc.CRF(*weights(rng, 17), return_score=True, name="crf")
    return sc.Model(x, list(crf(sc.Dense(floats(rng, 16, 17), name="scores")(y))))


@pytest.mark.parametrize(("threads", "team"), [(1, 1), (2, 1), (2, 2), (3, 3), (4, 2)])
def test_the_bits_of_a_row_are_its_own(rng, isa, threads, team):
    model = planned(tagger(rng), isa=isa, threads=threads, team=team)
    alone = planned(tagger(np.random.default_rng(251)), isa=isa, threads=1)
    x, lengths = floats(rng, 67, 11, 9), rng.integers(0, 12, 67)
    together = model(x, lengths=lengths)
    for row in (0, 1, 33, 66):
        n = lengths[row]
        one = alone(np.ascontiguousarray(x[row : row + 1, :n]))
        same_bits((together[0][row : row + 1, :n], together[1][row : row + 1]), one)
        assert not together[0][row, n:].any()


def test_a_part_of_a_frame_may_be_a_sequence(rng):
    """(B, T, T2, N) under TimeDistributed: then a step has a whole one."""
    x = sc.Input((None, 5, 4))
    scores, data = weights(rng, 4), floats(rng, 3, 6, 5, 4)
    model = sc.Model(x, sc.TimeDistributed(sc.CRF(*scores))(x))
    tags = model(data)
    assert tags.dtype == np.int64
    same_bits(tags, model_of(*scores)(data.reshape(18, 5, 4))[0].reshape(3, 6, 5))
    stream = model.stream(3)
    for t in range(6):
        same_bits(stream.step(data[:, t]), tags[:, t])


# ---- In a model ----------------------------------------------------------------------------------


def test_the_score_is_made_where_it_is_wanted(rng):
    scores, x = weights(rng, 4), floats(rng, 2, 5, 4)
    plain = sc.Sequential([sc.CRF(*scores, name="crf")])
    (node,) = plain._graph.document["nodes"]
    assert node["outputs"] == ["crf", None]
    both = model_of(*scores)
    assert both._graph.document["nodes"][0]["outputs"] == ["crf", "crf:score"]
    same_bits(plain(x), both(x)[0])
    source = sc.Input((None, 4))
    only = sc.Model(source, sc.CRF(*scores, return_score=True)(source)[1])
    same_bits(only(x), both(x)[1])
    out = np.empty((2, 5), np.int64)
    assert plain(x, out=out) is out
    same_bits(out, both(x)[0])
    with pytest.raises(sc.DtypeError, match="out for 'crf': expected an ndarray of int64"):
        plain(x, out=np.empty((2, 5), np.float32))


def test_what_a_model_knows_of_it(rng):
    W, start, end = weights(rng, 4)
    for given, parameters in (((W,), 16), ((W, start), 20), ((W, None, end), 20),
                              ((W, start, end), 24)):  # fmt: skip
        (layer,) = sc.Sequential([sc.CRF(*given)]).layers
        assert (layer.kind, layer.output_shape) == ("CRF", (None, None))
        assert layer.parameters == parameters
    assert sc.CRF(W).built
    assert sc.CRF(W).input_spec() == ((None, 4), "float32")
    changed = W.copy()
    layer = sc.CRF(changed)
    changed[:] = 0
    same_bits(layer.W, W)


@pytest.mark.parametrize("isa", ISAS)
def test_files(rng, isa, tmp_path):
    model, x = tagger(rng).with_options(isa=isa), floats(rng, 3, 6, 9)
    path, packed = tmp_path / "model.safetensors", tmp_path / "packed.safetensors"
    model.save(path)
    same_bits(sc.load(path, isa=isa)(x), model(x))
    model.save(packed, packed=True)
    mapped = sc.load(packed, isa=isa, mmap=True)
    assert mapped.plan["bytes_in_place"] == mapped.plan["bytes"]
    same_bits(mapped(x), model(x))


# ---- Whose weights -------------------------------------------------------------------------------


def state_dict(rng, prefix=""):
    W, start, end = weights(rng, 4)
    names = ("transitions", "start_transitions", "end_transitions")
    return {prefix + name: a for name, a in zip(names, (W, start, end), strict=True)}


def test_from_torch_by_their_names(rng):
    state = state_dict(rng, "tagger.crf.")
    layer = sc.CRF.from_torch(state | {"tagger.head.weight": np.ones(3)}, "tagger.crf", name="mine")
    for array, name in ((layer.W, ""), (layer.start, "start_"), (layer.end, "end_")):
        same_bits(array, state[f"tagger.crf.{name}transitions"])
    assert layer.name == "mine"
    assert layer.parameters(()) == 24
    assert sc.CRF.from_torch(state, "tagger.crf.", return_score=True).outputs == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start_transitions": None}, "'CRF': expected transitions, start_.*found .'end_trans"),
        ({"_constraint_mask": np.ones((6, 6))}, "'CRF': expected.*_constraint_mask"),
        ({"end_transitions": np.ones(3)}, r"'CRF', weight end: expected shape \(4,\).*\(3,\)"),
        ({"transitions": np.ones((4, 5))}, r"weight transitions: expected shape \(4, 4\) = \(tags"),
    ],
)
def test_from_torch_of_something_else(rng, change, message):
    state = {name: a for name, a in (state_dict(rng) | change).items() if a is not None}
    with pytest.raises(sc.WeightsError, match=message):
        sc.CRF.from_torch(state)


def test_boundaries_of_tensorflow_addons(rng):
    """There they are added to the first and the last frame of the scores, before anything else."""
    W, left, right = weights(rng, 5)
    x = floats(rng, 4, 6, 5)
    lengths = np.array([6, 1, 3, 5])
    energies = x.copy()
    energies[:, 0] += left
    energies[np.arange(4), lengths - 1] += right
    ours = model_of(W, left, right)(x, lengths=lengths)
    theirs = model_of(W)(energies, lengths=lengths)
    same_bits(ours[0], theirs[0])
    close(ours[1], theirs[1], FLOAT32[0])


def test_energies_are_negated(rng):
    """Where the least is the best, as in keras-contrib."""
    W, start, end = weights(rng, 3)
    x = floats(rng, 5, 4, 3)
    tags = model_of(-W, -start, -end)(-x)[0]
    for row in range(5):
        paths = product(range(3), repeat=4)
        assert tuple(tags[row]) == min(paths, key=lambda p: score_of(p, x[row], W, start, end))


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sc.CRF(3), r"'CRF', weight transitions: expected shape \(any, any\)"),
        (lambda: sc.CRF(np.ones(3), name="mine"), "'mine', weight transitions: expected shape"),
        (lambda: sc.CRF(np.ones((3, 2))), r"expected shape \(3, 3\) = .tags, tags.*\(3, 2\)"),
        (lambda: sc.CRF(np.ones((0, 0))), r"expected shape \(any, any\).*\(0, 0\)"),
        (lambda: sc.CRF(np.ones((2, 2, 2))), "weight transitions"),
        (lambda: sc.CRF([[1, 2], [3]]), "weight transitions: rows of different"),
        (lambda: sc.CRF(np.ones((2, 2)), np.ones(3)), r"weight start: expected shape \(2,\)"),
        (lambda: sc.CRF(np.ones((2, 2)), end=np.ones((1, 2))), "weight end: expected shape"),
        (lambda: sc.CRF([[0, NAN], [0, 0]]), "weight transitions: expected numbers.*found nan"),
        (lambda: sc.CRF([[0, INF], [0, 0]]), "weight transitions: expected numbers.*found inf"),
        (lambda: sc.CRF(np.ones((2, 2)), [0, NAN]), "weight start: expected numbers"),
        (lambda: sc.CRF(np.ones((2, 2)), end=[INF, 0]), "weight end: expected numbers"),
        (lambda: sc.CRF(np.full((2, 2), -1e300)), "outside of float32's range"),
    ],
)
def test_weights_that_are_none(make, message):
    with pytest.raises(sc.WeightsError, match=message):
        make()


def test_options_and_dtypes():
    with pytest.raises(sc.OptionError, match="return_score"):
        sc.CRF(np.ones((2, 2)), return_score=1)
    with pytest.raises(sc.DtypeError, match="transitions: expected floats"):
        sc.CRF(np.ones((2, 2), bool))
    with pytest.raises(sc.DtypeError, match="transitions"):
        sc.CRF(None)


def test_values_that_do_not_fit(rng):
    crf = sc.CRF(np.ones((3, 3)), name="guilty")
    for shape in ((3,), (None, 4, 3), (None, 4)):
        x = sc.Input(shape)
        with pytest.raises(sc.ShapeError, match=r"'guilty' \(crf\): input must"):
            sc.Model(x, crf(x))
    ids = sc.Input((None, 3), dtype="int64")
    with pytest.raises(sc.GraphError, match=r"'guilty'.*float32.*int64"):
        sc.Model(ids, crf(ids))
    model = sc.Sequential([crf])
    with pytest.raises(sc.ShapeError):
        model(floats(rng, 2, 5, 4))
    with pytest.raises(sc.ShapeError):
        model(floats(rng, 2, 5, 3), mask=np.ones((2, 4)))


def test_it_cannot_be_stepped(rng):
    model = tagger(rng)
    crf = sc.Sequential([sc.CRF(*weights(rng, 3), name="guilty")])
    for make in (crf.stream, lambda: crf.pool(3), lambda: crf.stream(2)):
        with pytest.raises(sc.UnsupportedLayerError, match=r"'guilty' \(crf\).*best path is known"):
            make()
    with pytest.raises(sc.UnsupportedLayerError):
        model.stream()


def test_a_decoder_has_none(rng):
    """It is stepped; where something is carried on, its frames are run by themselves."""
    token, fed = sc.Input((None,), "int64"), sc.Input((1, 4), name="fed")
    x = sc.Embedding(floats(rng, 5, 4))(token)
    y = sc.Add(name="sum")(x, fed)
    head, crf = sc.Dense(floats(rng, 4, 5)), sc.CRF(*weights(rng, 4), name="guilty")
    for inputs, outputs, carry in (
        (token, [head(x), crf(x)], {}),
        ([token, fed], [head(y), y, crf(y)], {"fed": "sum"}),
    ):
        with pytest.raises(sc.UnsupportedLayerError, match="guilty"):
            sc.Generator(sc.Model(inputs, outputs), carry=carry)


def test_the_whole_inputs_of_a_step_have_tags(rng):
    """What does not move is decoded in every step."""
    scores, fixed = weights(rng, 3), floats(rng, 2, 4, 3)
    x, whole = sc.Input((None, 3), name="x"), sc.Input((3,), name="whole")
    path = sc.CRF(*scores)(sc.Reshape((1, 3))(whole))
    model = sc.Model([x, whole], [sc.ReLU()(x), path])
    stream = model.stream(2)
    for t in range(3):
        expected = model(fixed[:, : t + 1], fixed[:, 3])
        y, tags = stream.step(fixed[:, t], fixed[:, 3])
        same_bits(y, expected[0][:, t])
        same_bits(tags, expected[1])
