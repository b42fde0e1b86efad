"""Scalers against scikit-learn's StandardScaler and MinMaxScaler, their JSON, what they refuse."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from tolerances import FLOAT32, FLOAT64, SCALED, close

import seqcore as sc
from seqcore.sequence import Scaler

WAYS = [
    (Scaler(), StandardScaler),
    (Scaler("min_max"), MinMaxScaler),
    (
        Scaler("min_max", feature_range=(-1, 1)),
        lambda: MinMaxScaler(feature_range=(-1, 1)),
    ),
    (
        Scaler("min_max", feature_range=(0.25, 700)),
        lambda: MinMaxScaler(feature_range=(0.25, 700)),
    ),
]


def fresh(scaler):
    return Scaler(scaler.method, feature_range=scaler.feature_range)


def frames_of(rng, count=50):
    """Features of very different sizes, one of which never changes and one of which is integers."""
    x = rng.normal(size=(count, 5)) * [1, 1e-3, 1e6, 0, 1] + [0, 3, -4e6, 0.1, 0]
    x[:, 4] = rng.integers(-9, 9, count)
    return x


# ---- Numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("way", "other"), WAYS)
def test_numbers_are_scikit_learns(rng, way, other):
    train, test = frames_of(rng), frames_of(rng, 20)
    ours, theirs = fresh(way).fit(train), other().fit(train)
    close(ours.transform(train), theirs.transform(train), SCALED)
    close(ours.transform(test), theirs.transform(test), SCALED)
    scaled = rng.normal(size=(20, 5))
    close(ours.inverse(scaled), theirs.inverse_transform(scaled), FLOAT64)
    if way.method == "standard":
        close(ours.offset, theirs.mean_, FLOAT64)
        close(ours.scale, theirs.scale_, FLOAT64)


@pytest.mark.parametrize(("way", "other"), WAYS)
def test_all_axes_but_the_last_are_frames(rng, way, other):
    batch = frames_of(rng).reshape(5, 10, 5)
    ours, theirs = fresh(way).fit(batch), other().fit(batch.reshape(50, 5))
    expected = theirs.transform(batch.reshape(50, 5)).reshape(5, 10, 5)
    close(ours.transform(batch), expected, SCALED)
    close(ours.transform(batch[0, 0]), expected[0, 0], SCALED)
    close(ours.inverse(ours.transform(batch)), batch, FLOAT64)


@pytest.mark.parametrize(("way", "other"), WAYS)
def test_padding_does_not_count_where_lengths_say_so(rng, way, other):
    rows = [frames_of(rng, count) for count in (7, 1, 4)]
    padded, lengths = sc.sequence.pad(rows, value=1e9)
    ours, theirs = fresh(way).fit(padded, lengths), other().fit(np.concatenate(rows))
    for row, scaled in zip(rows, ours.transform(padded), strict=True):
        close(scaled[: len(row)], theirs.transform(row), SCALED)


@pytest.mark.parametrize(("way", "other"), WAYS)
def test_a_series_without_features_scales_arrays_of_any_shape(rng, way, other):
    series = rng.normal(size=40) * 3 + 10
    ours, theirs = fresh(way).fit(series), other().fit(series[:, None])
    assert ours.offset.shape == ours.scale.shape == ()
    seen = sc.sequence.windows(series, 6)
    expected = theirs.transform(seen.reshape(-1, 1)).reshape(seen.shape)
    close(ours.transform(seen), expected, FLOAT64)
    close(ours.inverse(expected), seen, FLOAT64)
    close(ours.transform(series[3]), theirs.transform(series[3:4, None])[0, 0], FLOAT64)


@pytest.mark.parametrize(
    ("way", "value"), [(WAYS[0][0], 0.0), (WAYS[1][0], 0.0), (WAYS[2][0], -1.0)]
)
@pytest.mark.parametrize("constant", [0.1, 0.0, -1e30, 1e-310, 3, 12345.678])
def test_what_never_changes_becomes_zero_or_the_start(way, value, constant):
    x = np.full((7, 2), constant)
    x[:, 1] = range(7)
    scaler = fresh(way).fit(x)
    assert scaler.scale[0] == (1 if value == 0 else 0.5)
    assert scaler.offset[0] == constant
    scaled = scaler.transform(x)
    np.testing.assert_array_equal(scaled[:, 0], np.full(7, value))
    np.testing.assert_array_equal(scaler.inverse(scaled)[:, 0], x[:, 0])


def test_the_ends_of_a_range_are_hit():
    scaler = Scaler("min_max").fit([[0.1, -3e7], [0.7, 1e7], [0.3, 2e-9]])
    scaled = scaler.transform([[0.1, 1e7], [0.7, -3e7]])
    assert scaled.tolist() == [[0.0, 1.0], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64),
        (np.int64, np.float64), (np.uint8, np.float64), (bool, np.float64),
    ],
)  # fmt: skip
def test_dtypes(rng, dtype, expected):
    x = rng.integers(0, 2, (9, 3)).astype(dtype)
    scaler = Scaler().fit(x)
    assert scaler.offset.dtype == scaler.scale.dtype == np.float64
    assert scaler.transform(x).dtype == expected
    assert scaler.inverse(x).dtype == expected
    close(scaler.transform(x), StandardScaler().fit_transform(x.astype(np.float64)), FLOAT32[0])


def test_neither_input_nor_scaler_can_be_changed_by_the_other(rng):
    x = rng.normal(size=(6, 2))
    before = x.copy()
    scaler = Scaler().fit(x)
    scaler.transform(x)[...] = 0
    np.testing.assert_array_equal(x, before)
    with pytest.raises(ValueError, match="read-only"):
        scaler.scale[0] = 2


def test_fit_returns_another_scaler(rng):
    first, second = rng.normal(size=(6, 2)), rng.normal(size=(6, 3))
    empty = Scaler("min_max", feature_range=(1, 2))
    scaler = empty.fit(first)
    assert (scaler.method, scaler.feature_range) == ("min_max", (1, 2))
    again = scaler.fit(second)
    assert again == empty.fit(second) != scaler
    assert hash(again) == hash(empty.fit(second))
    assert scaler == empty.fit(first)
    assert empty.offset is None


def test_some_features_have_a_scaler_of_their_own(rng):
    x = rng.normal(size=(20, 4)) * [1, 10, 100, 1000]
    scaler = Scaler("min_max").fit(x)
    scaled = scaler.transform(x)
    close(scaler.select(2).inverse(scaled[:, 2]), x[:, 2], FLOAT64)
    close(scaler.select(-1).inverse(scaled[:8, 3].reshape(2, 4)), x[:8, 3].reshape(2, 4), FLOAT64)
    close(scaler.select([3, 1]).inverse(scaled[:, [3, 1]]), x[:, [3, 1]], FLOAT64)
    close(scaler.select(slice(1, 3)).inverse(scaled[:, 1:3]), x[:, 1:3], FLOAT64)
    assert scaler.select(0).method == "min_max"


# ---- Refused ------------------------------------------------------------------------------------

WIDE = Scaler().fit([0.0, 1e10])
FITTED = Scaler().fit([[1.0, 2.0], [3.0, 5.0]])
BIG = np.finfo(np.float64).max


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: Scaler("minmax"), sc.OptionError, "method is one of 'standard', 'min_max'"),
        (lambda: Scaler(feature_range=(1, 0)), sc.OptionError, "the smaller one first"),
        (lambda: Scaler(feature_range=(0, 0)), sc.OptionError, "feature_range is two numbers"),
        (lambda: Scaler(feature_range=(0, np.inf)), sc.OptionError, "feature_range"),
        (lambda: Scaler(feature_range=(0,)), sc.OptionError, "feature_range"),
        (lambda: Scaler(feature_range=1), sc.OptionError, "feature_range"),
        (lambda: Scaler(feature_range=(-BIG, BIG)), sc.OptionError, "feature_range"),
        (lambda: Scaler().fit([[1, np.nan]]), sc.OptionError, r"x: nan at \[0, 1\]; expected fin"),
        (lambda: Scaler().fit([-np.inf]), sc.OptionError, r"x: -inf at \[0\]"),
        (lambda: Scaler().fit([[1, -BIG], [1, BIG]]), sc.OptionError, "spread of feature 1 is"),
        (lambda: Scaler("min_max").fit([-BIG, BIG]), sc.OptionError, "feature 0 is past float64"),
        (lambda: Scaler().fit([]), sc.ShapeError, "expected frames of features"),
        (lambda: Scaler().fit(np.ones((0, 3))), sc.ShapeError, "expected frames"),
        (lambda: Scaler().fit(np.ones((3, 0))), sc.ShapeError, "expected frames"),
        (lambda: Scaler().fit(3.0), sc.ShapeError, "found one number"),
        (lambda: Scaler().fit([[1], [2, 3]]), sc.ShapeError, "rows of different shapes"),
        (lambda: Scaler().fit([["a"]]), sc.DtypeError, "expected real numbers"),
        (lambda: Scaler().fit([[1j]]), sc.DtypeError, "expected real numbers; found complex"),
        (lambda: Scaler().fit(np.ones((2, 3)), [1, 2]), sc.ShapeError, "lengths: x is"),
        (lambda: Scaler().fit(np.ones((2, 3, 4)), [1]), sc.ShapeError, r"lengths: .* \(2,\)"),
        (lambda: Scaler().fit(np.ones((2, 3, 4)), [1, 4]), sc.ShapeError, "lengths: expected 0 to"),
        (lambda: Scaler().fit(np.ones((2, 3, 4)), [0, 0]), sc.ShapeError, "expected frames"),
        (lambda: Scaler().fit(np.ones((2, 3, 4)), [0.5, 1]), sc.DtypeError, "lengths: exp"),
        (lambda: FITTED.transform([1.0, 2.0, 3.0]), sc.ShapeError, "expected 2 features"),
        (lambda: FITTED.inverse(np.ones((2, 1))), sc.ShapeError, r"found shape \(2, 1\)"),
        (lambda: FITTED.transform(1.0), sc.ShapeError, r"found shape \(\)"),
        (lambda: FITTED.transform([[1.0, np.nan]]), sc.OptionError, r"nan at \[0, 1\]"),
        (lambda: FITTED.inverse([[np.inf, 1.0]]), sc.OptionError, r"inf at \[0, 0\]"),
        (lambda: WIDE.inverse([BIG]), sc.OptionError, "a result is past the range of fl"),
        (lambda: Scaler().fit([0.0, 1e-9]).transform(BIG), sc.OptionError, "a result is past"),
        (lambda: FITTED.select(2), sc.OptionError, "2 are none of the features"),
        (lambda: FITTED.select("a"), sc.OptionError, "'a' are none of the features"),
        (lambda: FITTED.select(None), sc.OptionError, "None are none of the features"),
        (lambda: FITTED.select([[0]]), sc.OptionError, "are none of the features"),
        (lambda: FITTED.select([]), sc.OptionError, "are none of the features"),
        (lambda: Scaler().fit([1.0, 2.0]).select(0), sc.OptionError, "none of the features"),
        (lambda: Scaler().transform([1.0]), sc.NotBuiltError, "has no scale; fit returns one"),
        (lambda: Scaler().inverse([1.0]), sc.NotBuiltError, "has no scale; fit returns one"),
        (lambda: Scaler().select(0), sc.NotBuiltError, "has no scale; fit returns one"),
        (lambda: Scaler().to_json(), sc.NotBuiltError, "has no scale; fit returns one"),
    ],
)  # fmt: skip
def test_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_a_result_past_float32_is_refused_in_float32():
    scaler = Scaler().fit([0.0, 1e-30])
    assert np.isfinite(scaler.transform(np.array([1e20]))).all()
    with pytest.raises(sc.OptionError, match="past the range of float32"):
        scaler.transform(np.array([1e20], np.float32))


# ---- JSON ---------------------------------------------------------------------------------------

NUMBERS = st.floats(-1e100, 1e100)


@settings(deadline=None)
@given(
    x=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=8),
    method=st.sampled_from(["standard", "min_max"]),
    single=st.booleans(),
)
def test_json_brings_back_every_bit(x, method, single):
    frames = np.array(x)
    scaler = Scaler(method).fit(frames[:, 0] if single else frames)
    again = Scaler.from_json(json.loads(json.dumps(scaler.to_json())), "file")
    assert again == scaler
    assert again.offset.tobytes() == scaler.offset.tobytes()
    assert again.scale.tobytes() == scaler.scale.tobytes()
    assert again.offset.shape == scaler.offset.shape
    assert (again.method, again.feature_range) == (scaler.method, scaler.feature_range)
    assert pickle.loads(pickle.dumps(scaler)) == scaler


def test_a_model_keeps_it(tmp_path, rng):
    scaler = Scaler("min_max").fit(rng.normal(size=(9, 3)))
    model = sc.Sequential([sc.Dense(np.ones((3, 2)))]).with_assets(scaler=scaler)
    model.save(tmp_path / "model.safetensors")
    again = sc.load(tmp_path / "model.safetensors").assets["scaler"]
    assert again == scaler
    assert again.scale.tobytes() == scaler.scale.tobytes()
    with pytest.raises(sc.NotBuiltError):
        model.with_assets(scaler=Scaler())  # of which nothing could be kept


GOOD = FITTED.to_json()


def test_json_is_plain():
    assert GOOD["kind"] == "scaler"
    data = Scaler("min_max", feature_range=(np.float32(0.5), np.int64(2))).fit([[1.0], [2.0]])
    text = json.dumps(data.to_json(), allow_nan=False)
    assert Scaler.from_json(json.loads(text), "file") == data
    assert Scaler() != FITTED
    assert FITTED != 3


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"method": "robust"}, "method is one of"),
        ({"method": None}, "method is one of"),
        ({"method": ["standard"]}, "method is one of"),
        ({"feature_range": [1, 0]}, "feature_range"),
        ({"feature_range": [0, "1"]}, "feature_range"),
        ({"feature_range": {"0": 1}}, "feature_range"),
        ({"feature_range": [False, True]}, "feature_range"),
        ({"offset": [1.0]}, "one offset and one scale above 0 for each feature"),
        ({"offset": 1.0}, "one offset and one scale"),
        ({"offset": [1.0, None]}, "offset: expected 1 to 1048576 finite numbers"),
        ({"offset": [1.0, float("nan")]}, "offset: expected"),
        ({"offset": [1.0, 10**400]}, "offset: expected"),
        ({"offset": [1.0, "2"]}, "offset: expected"),
        ({"offset": [1.0, True]}, "offset: expected"),
        ({"offset": [[1.0], [2.0]]}, "offset: expected"),
        ({"offset": None}, "offset: expected"),
        ({"offset": {}, "scale": {}}, "offset: expected"),
        ({"offset": [], "scale": []}, "offset: expected"),
        ({"scale": [1.0, 0.0]}, "one scale above 0"),
        ({"scale": [1.0, -1.0]}, "one scale above 0"),
        ({"scale": [1.0, float("inf")]}, "scale: expected"),
        ({"kind": "vocabulary"}, "expected a scaler with the keys"),
        ({"mean": 1}, "expected a scaler with the keys"),
        ({"offset": [0] * (2**20 + 1), "scale": [1] * (2**20 + 1)}, "1 to 1048576 finite numbers"),
    ],
)
def test_json_that_lies(changed, match):
    with pytest.raises(sc.ModelFileError, match=rf"^model\.safetensors: .*{match}") as caught:
        Scaler.from_json({**GOOD, **changed}, "model.safetensors")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("missing", sorted(GOOD))
def test_json_that_lacks_a_part(missing):
    data = {key: value for key, value in GOOD.items() if key != missing}
    with pytest.raises(sc.ModelFileError, match=r"^file: expected a scaler with the keys"):
        Scaler.from_json(data, "file")
    for other in (None, [], "scaler", 3, {}):
        with pytest.raises(sc.ModelFileError, match=r"^file: expected a scaler"):
            Scaler.from_json(other, "file")
