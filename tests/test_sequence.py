"""sequence.pad against Keras's pad_sequences, sequence.windows against loops, and what they refuse.

Vocabularies and scalers have files of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import seqcore as sc
from seqcore.sequence import pad, windows

PACKAGE = str(Path(sc.__file__).resolve().parents[1])

# ---- pad ----------------------------------------------------------------------------------------

WAYS = [
    {"padding": padding, "truncating": truncating}
    for padding in ("post", "pre")
    for truncating in ("post", "pre")
]


def as_keras(rows, length, value, dtype, way):
    return keras.utils.pad_sequences(rows, length, dtype=dtype, value=value, **way)


@settings(deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(0, 99), max_size=9), min_size=1, max_size=6),
    length=st.none() | st.integers(1, 12),
    way=st.sampled_from(WAYS),
)
def test_ids_are_padded_as_keras_does(rows, length, way):
    array, lengths = pad(rows, length, value=-1, **way)
    expected = as_keras(rows, length, -1, "int64", way)
    assert array.dtype == np.int64
    assert array.tobytes() == expected.tobytes()
    assert array.shape == expected.shape
    # -1 is no id: what is none of it is a row's own
    assert lengths.dtype == np.int64
    assert lengths.tolist() == (expected != -1).sum(axis=1).tolist()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("length", [None, 1, 4, 9])
@pytest.mark.parametrize("shape", [(3,), (2, 5)])
def test_features_are_padded_as_keras_does(rng, way, length, shape):
    rows = [rng.normal(size=(size, *shape)).astype(np.float32) for size in (5, 0, 7, 1)]
    array, lengths = pad(rows, length, value=0.5, **way)
    expected = as_keras(rows, length, 0.5, "float32", way)
    assert array.dtype == np.float32
    assert array.tobytes() == expected.tobytes()
    assert lengths.tolist() == [min(len(row), array.shape[1]) for row in rows]


def test_both_ends_are_post_where_keras_has_pre():
    rows = [[1, 2, 3], [4]]
    assert pad(rows, 2)[0].tolist() == [[1, 2], [4, 0]]
    assert keras.utils.pad_sequences(rows, 2).tolist() == [[2, 3], [0, 4]]


def test_lengths_are_what_a_model_takes(rng):
    model = sc.Sequential([sc.Embedding(rng.normal(size=(9, 4))), sc.GRU(*gru(rng))])
    rows = [[1, 2, 3], [4], [5, 6]]
    ids, lengths = pad(rows)
    together = model(ids, lengths=lengths)
    for row, each in zip(rows, together, strict=True):
        assert each.tobytes() == model(np.array([row]))[0].tobytes()


def gru(rng):
    return rng.normal(size=(4, 9)), rng.normal(size=(3, 9)), np.zeros((2, 9))


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        iter,
        lambda rows: (iter(row) for row in rows),
        lambda rows: [np.array(row, np.int16) for row in rows],
        lambda rows: [np.array(row, np.uint64) for row in rows],
        lambda rows: [torch.tensor(row) for row in rows],
        lambda rows: np.array([*map(tuple, rows), None], object)[:-1],
    ],
)
def test_whatever_yields_rows_of_integers_gives_int64(make):
    array, lengths = pad(make([[1, 2], [3]]))
    assert (array.dtype, array.tolist(), lengths.tolist()) == (np.int64, [[1, 2], [3, 0]], [2, 1])


def test_an_array_is_rows_of_one_length():
    array, lengths = pad(np.arange(6).reshape(2, 3), 2)
    assert (array.tolist(), lengths.tolist()) == ([[0, 1], [3, 4]], [2, 2])


@pytest.mark.parametrize(("length", "time"), [(None, 0), (0, 0), (3, 3)])
def test_no_rows_and_rows_of_no_frames(length, time):
    array, lengths = pad([], length)
    assert (array.shape, array.dtype, lengths.shape) == ((0, time), np.int64, (0,))
    array, lengths = pad([[], []], length, value=7)
    assert array.tolist() == [[7] * time] * 2
    assert lengths.tolist() == [0, 0]
    array, lengths = pad([[], np.ones((2, 3), np.float32), np.zeros((0, 3))])
    assert (array.shape, array.dtype, lengths.tolist()) == ((3, 2, 3), np.float64, [0, 2, 0])
    assert array.sum() == 6


@pytest.mark.parametrize(
    ("rows", "dtype", "expected"),
    [
        ([[1, 2]], None, np.int64),
        ([np.ones(2, np.float32), [1, 2, 3]], None, np.float64),  # holds int64 too
        ([np.ones(2, np.float16), np.ones(1, np.float32)], None, np.float32),
        ([[True]], None, np.bool_),
        ([[1, 2]], "float32", np.float32),
        ([[1.5, np.nan, np.inf]], np.float32, np.float32),
        ([[1, 255]], "uint8", np.uint8),
        ([[1.0, 2.0]], "int32", np.int32),  # whole numbers fit
    ],
)
def test_dtype(rows, dtype, expected):
    array, _ = pad(rows, dtype=dtype)
    assert array.dtype == expected
    np.testing.assert_array_equal(array[0][: len(rows[0])], np.asarray(rows[0], expected))


@pytest.mark.parametrize(
    ("rows", "options", "match"),
    [
        ([[1.5]], {"dtype": "int64"}, "row 0: 1.5 does not fit in int64"),
        ([[1], [2, 300]], {"dtype": "uint8"}, "row 1: 300 does not fit in uint8"),
        ([[-1]], {"dtype": "uint64"}, "row 0: -1 does not fit in uint64"),
        ([np.array([2**63], np.uint64)], {}, "row 0: 9223372036854775808 does not fit in int64"),
        ([[1e300]], {"dtype": "float32"}, "row 0: 1e[+]300 does not fit in float32"),
        ([[np.nan]], {"dtype": "int32"}, "row 0: nan does not fit in int32"),
        ([[2]], {"dtype": "bool"}, "row 0: 2 does not fit in bool"),
        ([[1]], {"value": 0.5}, "value: 0.5 does not fit in int64"),
        ([[1]], {"value": "x"}, "value: expected numbers"),
        ([["a", "b"]], {}, "row 0: expected numbers; found <U1"),
        (["ab"], {}, "row 0: expected numbers"),
        ([[1j]], {}, "row 0: expected numbers; found complex128"),
        ([[1], [{}]], {}, "row 1: expected numbers; found object"),
        ("abc", {}, "pad: expected a list; found 'abc'"),
        (3, {}, "pad: expected a list; found 3"),
        ([[1]], {"dtype": "str"}, "expected a dtype of numbers"),
        ([[1]], {"dtype": "words"}, "dtype 'words' is none"),
        ([np.ma.masked_array([1, 2], [0, 1])], {}, "row 0: a masked array's mask would be lost"),
    ],
)
def test_pad_refuses_what_would_change_numbers(rows, options, match):
    with pytest.raises(sc.DtypeError, match=match):
        pad(rows, **options)


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([np.ones((2, 3)), np.ones((1, 3)), np.ones((2, 4))], r"row 2: expected features \(3,\)"),
        (
            [[], np.ones((2, 3)), np.ones(2)],
            r"row 2: expected features \(3,\), as in row 1; .*\(\)",
        ),
        ([np.ones((2, 3)), np.ones((0, 4))], r"row 1: expected features \(3,\), as in row 0"),
        ([[1], 2], "row 1: expected a row of frames; found the number 2"),
        ([[[1, 2], [3]]], "row 0: rows of different shapes"),
    ],
)
def test_ragged_features_name_the_row(rows, match):
    with pytest.raises(sc.ShapeError, match=match):
        pad(rows)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"padding": "both"}, "padding is one of 'post', 'pre'; found 'both'"),
        ({"truncating": None}, "truncating is one of"),
        ({"length": -1}, "length is a whole number from 0"),
        ({"length": 2.5}, "length is a whole number"),
        ({"value": [1, 2]}, r"value is one number; found shape \(2,\)"),
    ],
)
def test_pad_refuses_options(options, match):
    with pytest.raises(sc.OptionError, match=match):
        pad([[1, 2]], **options)


# ---- windows ------------------------------------------------------------------------------------


def by_hand(series, size, stride, horizon):
    """Windows and targets of a series (T, ...), by copying."""
    inputs, targets, start = [], [], 0
    while start + size + horizon <= len(series):
        inputs.append(series[start : start + size].copy())
        targets.append(series[start + size : start + size + horizon].copy())
        start += stride
    return np.array(inputs), np.array(targets)


@pytest.mark.parametrize("shape", [(23,), (23, 1), (23, 4)])
@pytest.mark.parametrize(
    ("size", "stride", "horizon"),
    [(1, 1, 0), (5, 1, 0), (5, 2, 1), (5, 7, 3), (4, 4, 0), (3, 40, 1), (23, 1, 0), (20, 2, 3)],
)
def test_windows_are_those_of_a_loop(rng, shape, size, stride, horizon):
    series = rng.normal(size=shape).astype(np.float32)
    found = windows(series, size, stride=stride, horizon=horizon)
    inputs, targets = found if horizon else (found, None)
    expected_inputs, expected_targets = by_hand(series, size, stride, horizon)
    np.testing.assert_array_equal(inputs, expected_inputs, strict=True)
    if horizon:
        np.testing.assert_array_equal(targets, expected_targets, strict=True)


@pytest.mark.parametrize("horizon", [0, 2])
def test_a_batch_of_series_is_each_of_them(rng, horizon):
    batch = rng.normal(size=(3, 17, 2))
    found = windows(batch, 4, stride=3, horizon=horizon)
    for k in range(3):
        alone = windows(batch[k], 4, stride=3, horizon=horizon)
        for ours, theirs in zip(
            found if horizon else (found,), alone if horizon else (alone,), strict=True
        ):
            np.testing.assert_array_equal(ours[k], theirs, strict=True)


@pytest.mark.parametrize("shape", [(9,), (9, 2), (2, 9, 2)])
def test_nothing_is_copied_and_nothing_can_be_written(rng, shape):
    series = rng.normal(size=shape)
    for view in windows(series, 3, stride=2, horizon=1):
        assert np.shares_memory(view, series)
        assert not view.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            view[...] = 0
    inputs, _ = windows(series, 3, horizon=1)
    series += 1  # a view moves with it
    np.testing.assert_array_equal(inputs[..., 0, 0], windows(series, 3, horizon=1)[0][..., 0, 0])


def test_strides_of_any_sign_and_files_are_views_too(rng, tmp_path):
    series = rng.normal(size=(40, 6))[::-2, ::3]
    assert np.shares_memory(windows(series, 4), series)
    np.testing.assert_array_equal(windows(series, 4), by_hand(series, 4, 1, 0)[0])
    np.save(tmp_path / "series.npy", series)
    mapped = np.load(tmp_path / "series.npy", mmap_mode="r")
    assert np.shares_memory(windows(mapped, 4), mapped)
    tensor = torch.arange(6)
    assert np.shares_memory(windows(tensor, 4), tensor.numpy())


def test_a_list_has_windows_and_what_is_left_over_has_none():
    assert windows([1, 2, 3, 4, 5, 6], 2, stride=2).tolist() == [[1, 2], [3, 4], [5, 6]]
    assert windows([1, 2, 3, 4, 5], 2, stride=2).tolist() == [[1, 2], [3, 4]]
    dates = np.array(["2001-01-01", "2001-01-02", "2001-01-03"], "M8[D]")
    assert windows(dates, 2)[1].tolist() == dates[1:].tolist()


def test_windows_go_into_a_model(rng):
    series = rng.normal(size=(30, 4)).astype(np.float32)
    model = sc.Sequential([sc.GRU(*gru(rng)), sc.Dense(rng.normal(size=(3, 1)))])
    inputs, _ = windows(series, 8, stride=3, horizon=1)
    np.testing.assert_array_equal(model(inputs), model(by_hand(series, 8, 3, 1)[0]))


@pytest.mark.parametrize(
    ("series", "options", "error", "match"),
    [
        (
            np.ones(4),
            {"size": 5},
            sc.ShapeError,
            "4 frames; a window of 5 and a horizon of 0 need 5",
        ),
        (np.ones((4, 9)), {"size": 3, "horizon": 2}, sc.ShapeError, "4 frames; .* need 5"),
        (np.ones((9, 4, 2)), {"size": 5}, sc.ShapeError, "4 frames"),
        (np.ones(0), {"size": 1}, sc.ShapeError, "0 frames"),
        (1.0, {"size": 1}, sc.ShapeError, r"\(batch, time, features\); found shape \(\)"),
        (np.ones((2, 3, 4, 5)), {"size": 1}, sc.ShapeError, "found shape"),
        ([[1, 2], [3]], {"size": 1}, sc.ShapeError, "rows of different shapes"),
        (np.ones(4), {"size": 0}, sc.OptionError, "size is a whole number from 1"),
        (np.ones(4), {"size": 2, "stride": 0}, sc.OptionError, "stride is a whole number from 1"),
        (np.ones(4), {"size": 2, "stride": -1}, sc.OptionError, "stride"),
        (np.ones(4), {"size": 2, "horizon": -1}, sc.OptionError, "horizon is a whole .* from 0"),
        (np.ones(4), {"size": 1.5}, sc.OptionError, "size"),
        (np.array([{}]), {"size": 1}, sc.DtypeError, "found object"),
        (np.ma.ones(4), {"size": 2}, sc.DtypeError, "masked"),
    ],
)
def test_windows_refuse(series, options, error, match):
    with pytest.raises(error, match=match):
        windows(series, **options)


# ---- The package --------------------------------------------------------------------------------


def test_the_package_imports_none_of_it_before_it_is_used():
    code = (
        "import sys, seqcore as sc\n"
        "parts = {'seqcore.' + name for name in\n"
        "         ('sequence', 'vocabulary', 'scaling', 'formats.word_vectors')}\n"
        "assert not parts & set(sys.modules)\n"
        "assert sc.sequence.pad([[1]])[1] == [1]\n"
        "assert sc.sequence is sys.modules['seqcore.sequence']\n"
        "assert 'seqcore.formats.word_vectors' not in sys.modules\n"
        "assert sc.read_vectors.__module__ == 'seqcore.formats.word_vectors'\n"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": PACKAGE}
    )


def test_public_names():
    assert sc.sequence.__all__ == ["Scaler", "Vocabulary", "pad", "windows"]
    assert {"sequence", "read_vectors"} <= set(dir(sc))
