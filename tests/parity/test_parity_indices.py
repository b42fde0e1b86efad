"""int64 values that a network computes: argmax, topk and cast against torch, and where they go on.

Orders are exact, so that nothing here has a tolerance: equal elements, zeros of both signs,
denormals, infinities and NaN are where libraries differ. Random graphs have the rest.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from frameworks import SIZES, floats, on_every_isa
from stream_models import planned, same_bits

import seqcore as sc
from seqcore import reference as ref
from seqcore.layers import ArgMax, BatchFirst, Cast, GetItem, Positions, TopK

NAN, INF = np.nan, np.inf
ODD = np.array([0.0, -0.0, 1e-40, -1e-40, 1.0, -1.0, INF, -INF, NAN, -NAN, 3e38, 1e-45], np.float32)


def odd(rng, *shape):
    """Numbers of which many are equal, or strange."""
    x = np.where(rng.random(shape) < 0.5, rng.choice(ODD, shape), rng.integers(-2, 3, shape))
    x = np.where(rng.random(shape) < 0.5, np.where(np.isnan(x), 0, x), x)
    return np.asarray(x, np.float32)


def of(layer, *shape, dtype="float32"):
    x = sc.Input(shape, dtype)
    made = layer(x)
    return sc.Model(x, list(made) if isinstance(made, tuple) else made)


def said_by_reference(model, x):
    graph = model._graph
    return ref.run(graph.document, graph.tensors, {model.inputs[0]: x})


# ---- Against torch -------------------------------------------------------------------------------


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("function", ["max", "min"])
def test_argmax_is_torchs(rng, function, keepdims):
    """torch names no position among equal elements; NumPy takes the first, as here."""
    for n in SIZES:
        x = odd(rng, 4, 3, n)
        x[3] = floats(rng, 3, n)  # all different
        for axis in (1, 2, -1):
            model = of(ArgMax(axis, keepdims=keepdims, function=function), None, n)
            find = getattr(np, f"arg{function}")
            exact = np.where(np.isnan(x), NAN, x)
            expected = find(exact.astype(np.float64), axis=axis, keepdims=keepdims)
            theirs = getattr(torch, f"arg{function}")(torch.from_numpy(x), axis, keepdims).numpy()
            assert (theirs[3] == expected[3]).all()
            theirs = np.take_along_axis(
                x, theirs if keepdims else np.expand_dims(theirs, axis), axis
            )
            ours = np.take_along_axis(
                x, expected if keepdims else np.expand_dims(expected, axis), axis
            )
            np.testing.assert_array_equal(ours, theirs)
            same_bits(said_by_reference(model, x)[0], expected)
            for isa, chosen in on_every_isa(model):
                y = chosen(x)
                assert y.dtype == np.int64
                same_bits(y, expected, f"{isa}, {n}, axis {axis}")


@pytest.mark.parametrize("largest", [True, False])
def test_topk_is_torchs(rng, largest):
    for n in SIZES:
        x = odd(rng, 5, 3, n)
        x[4] = rng.permutation(3 * n).reshape(3, n)  # all different
        for k in sorted({1, min(n, 5), (n + 1) // 2, n}):
            model = of(TopK(k, largest=largest), None, n)
            expected, theirs = torch.topk(torch.from_numpy(x), k, -1, largest)
            wanted = said_by_reference(model, x)
            for isa, chosen in on_every_isa(model):
                values, indices = chosen(x)
                assert (values.dtype, indices.dtype) == (np.float32, np.int64)
                np.testing.assert_array_equal(values, expected.numpy(), f"{isa}, {k} of {n}")
                same_bits(indices[4], theirs[4].numpy())
                same_bits(indices, wanted[1], f"{isa}, {k} of {n}")
                same_bits(values, np.take_along_axis(x, indices, -1))
        turned = np.ascontiguousarray(x[:, :, None].transpose(0, 3, 1, 2))  # axis 1 of four
        values, indices = of(TopK(n, 1, largest=largest), n, 3, 1)(turned)
        same_bits(indices[:, :, :, 0].transpose(0, 2, 1), wanted[1])
        same_bits(values, np.take_along_axis(turned, indices, 1))


def test_cast_is_torchs_where_that_is_defined(rng):
    x = np.concatenate([floats(rng, 200) * 100, np.float32([0.99999994, -0.0, 2**62, -(2.0**63)])])
    x = x.astype(np.float32)[None]
    whole = of(Cast("int64"), 204)
    same_bits(whole(x), torch.from_numpy(x).to(torch.int64).numpy())
    same_bits(whole(x), said_by_reference(whole, x)[0])
    lost = np.float32([[NAN, INF, -INF, 2.0**63, -(2.0**64), 1e-40]])
    assert of(Cast("int64"), 6)(lost).tolist() == [[0] * 6]
    assert said_by_reference(of(Cast("int64"), 6), lost)[0].tolist() == [[0] * 6]
    ids = np.array([[0, -5, 2**24 + 1, 2**62 + 1, -(2**63), 2**63 - 1]])
    floating = of(Cast("float32"), 6, dtype="int64")
    same_bits(floating(ids), torch.from_numpy(ids).to(torch.float32).numpy())
    same_bits(of(Cast("int64"), 6, dtype="int64")(ids), ids)
    same_bits(of(Cast("float32"), 6)(lost), lost)


# ---- Rows of different lengths -------------------------------------------------------------------


@pytest.mark.parametrize("function", ["max", "min"])
def test_argmax_over_time_sees_a_rows_own_frames(rng, function):
    x, lengths = floats(rng, 5, 7, 17), np.array([7, 0, 1, 4, 6])
    x[np.arange(7) >= lengths[:, None]] = NAN
    model = of(ArgMax(1, function=function), None, 17)
    y = model(x, lengths=lengths)
    for m, n in enumerate(lengths):
        same_bits(y[m : m + 1], model(np.ascontiguousarray(x[m : m + 1, :n])))
    assert not y[1].any()
    framed = of(ArgMax(-1, function=function), None, 17)
    y = framed(x, lengths=lengths)
    same_bits(y[3, :4], getattr(np, f"arg{function}")(x[3, :4], axis=-1))
    assert y.shape == (5, 7)
    assert not y[3, 4:].any()


def test_argmax_of_nothing_is_0():
    assert of(ArgMax(1), None, 3)(np.zeros((2, 0, 3), np.float32)).tolist() == [[0] * 3] * 2
    assert of(ArgMax(-1), None, None)(np.zeros((2, 4, 0), np.float32)).tolist() == [[0] * 4] * 2


def test_topk_over_time_refuses_lengths(rng):
    model, x = of(TopK(2, 1, name="best"), None, 3), floats(rng, 2, 4, 3)
    same_bits(model(x)[0], np.sort(x, axis=1)[:, :1:-1])
    with pytest.raises(sc.UnsupportedLayerError, match=r"'best' \(topk\).*different lengths"):
        model(x, lengths=[4, 2])
    values, indices = of(TopK(2, name="best"), None, 3)(x, lengths=[4, 2])
    assert values[1, :2].all()
    assert not values[1, 2:].any()
    assert indices[1, :2].any()
    assert not indices[1, 2:].any()


# ---- Where they go on ----------------------------------------------------------------------------


def greedy(rng, rows=9):
    """The class of every frame, fed back as an embedding; and the class itself."""
    x = sc.Input((None, 9), name="x")
    first = sc.LSTM(floats(rng, 9, 36) / 3, floats(rng, 9, 36) / 3, floats(rng, 36),
                    return_sequences=True)  # fmt: skip
    second = sc.LSTM(floats(rng, 5, 68), floats(rng, 17, 68) / 4, floats(rng, 68),
                     return_sequences=True)  # fmt: skip
    best = ArgMax(-1)(first(x))
    y = second(sc.Embedding(floats(rng, 9, 5)[:rows], name="table")(best))
    return sc.Model(x, [y, best])


@pytest.mark.parametrize(("threads", "team"), [(1, 1), (2, 1), (2, 2)])
def test_the_bits_of_a_row_are_its_own(rng, isa, threads, team):
    model = planned(greedy(rng), isa=isa, threads=threads, team=team)
    alone = planned(greedy(np.random.default_rng(251)), isa=isa, threads=1)
    x, lengths = floats(rng, 67, 6, 9), rng.integers(0, 7, 67)
    y, best = model(x, lengths=lengths)
    for m in (0, 1, 33, 66):
        n = lengths[m]
        row, row_best = alone(np.ascontiguousarray(x[m : m + 1, :n]))
        same_bits((y[m : m + 1, :n], best[m : m + 1, :n]), (row, row_best))
        assert not best[m, n:].any()


def test_an_id_that_is_no_row_is_named(rng):
    """In a call, in which lengths may hide it; and in a step, which then has not happened."""
    model, x = greedy(rng, rows=6), floats(rng, 20, 40, 9)
    best = greedy(np.random.default_rng(251))(x)[1]
    ends = (best >= 6).argmax(axis=1)  # the first frame of each row that is none of the table
    chosen = np.argsort(ends)[[-2, -5, -1]]
    x, best, ends = x[chosen], best[chosen], ends[chosen]
    first, last = 1, 2
    assert 0 < ends[first] < ends[last]
    with pytest.raises(sc.IdRangeError, match=r"'table' \(embedding\): id [678] in row [012]"):
        model(x)
    assert model(x, lengths=ends)[0].shape == (3, 40, 17)
    found = f"'table' .embedding.: id {best[1, ends[1]]} in row 1, expected 0 to 5"
    with pytest.raises(sc.IdRangeError, match=found):
        model(x, lengths=ends + np.array([0, 1, 0]))
    stream, pool = model.stream(1), model.pool(2)
    pair = [pool.open(), pool.open()]
    for t in range(ends[first]):
        same_bits(stream.step(x[first, t][None])[0], pool.step(pair, x[[last, first], t])[0][1:])
    t, before, states = ends[first], stream.state, [pool.state(number) for number in pair]
    with pytest.raises(sc.IdRangeError, match="in row 0"):
        stream.step(x[first, t][None])
    with pytest.raises(sc.IdRangeError, match="in row 1"):
        pool.step(pair, x[[last, first], t])
    same_bits(stream.state, before)
    for number, state in zip(pair, states, strict=True):
        same_bits(pool.state(number), state)
    pool.step(pair[:1], x[last, t][None])
    assert pool.state(pair[0])[0].tobytes() != states[0][0].tobytes()


@pytest.mark.parametrize(
    "moves",
    [
        lambda x: GetItem((slice(None), slice(None, None, -1)))(x),
        lambda x: GetItem((..., 1))(x),
        lambda x: sc.Permute((1, 2))(x),
        lambda x: sc.Concatenate()([x, x]),
        lambda x: Cast("int64")(x),
    ],
    ids=["slice", "index", "permute", "concat", "cast"],
)
def test_ids_that_moved_are_checked_where_they_are_read(rng, moves):
    """Only those that are read: the other column may be of a larger table."""
    x = sc.Input((None, 2), dtype="int64")
    table = floats(rng, 5, 3)
    model = sc.Model(x, sc.Embedding(table, name="table")(moves(x)))
    ids = rng.integers(0, 5, (4, 6, 2))
    shown = sc.Model(x, moves(x))(ids)
    assert shown.dtype == np.int64
    same_bits(model(ids), table[shown])
    ids[2, 3, 1] = -7
    with pytest.raises(sc.IdRangeError, match=r"'table'.*id -7 in row 2, expected 0 to 4"):
        model(ids)
    ids[2, 3] = [99, 1]
    if shown.ndim == 2:
        same_bits(model(ids), table[ids[..., 1]])
    else:
        with pytest.raises(sc.IdRangeError, match="id 99 in row 2"):
            model(ids)


def test_ids_of_an_input_whose_batch_is_axis_1(rng):
    x = sc.Input((None,), dtype="int64", batch_axis=1)
    table = floats(rng, 5, 3)
    model = sc.Model(x, sc.Embedding(table, name="table")(BatchFirst()(x)))
    ids = rng.integers(0, 5, (6, 4))
    same_bits(model(ids), table[ids.T])
    ids[4, 3] = 5
    with pytest.raises(sc.IdRangeError, match=r"'table'.*id 5 in row 3, expected 0 to 4"):
        model(ids)
    model(ids, lengths=[6, 6, 6, 4])
    stream = model.stream(4)
    stream.step(ids[3])
    with pytest.raises(sc.IdRangeError, match="id 5 in row 3"):
        stream.step(ids[4])


# ---- Outputs of int64 ----------------------------------------------------------------------------


def test_an_output_of_int64_in_the_callers_memory(rng):
    model, x = of(ArgMax(-1), None, 9), floats(rng, 3, 5, 9)
    out = np.empty((3, 5), np.int64)
    assert model(x, out=out) is out
    same_bits(out, x.argmax(axis=-1))
    for wrong in (np.empty((3, 5), np.float32), np.empty((3, 5), np.int32), ([[0] * 5] * 3,)):
        with pytest.raises(sc.DtypeError, match="out for 'arg_max': expected an ndarray of int64"):
            model(x, out=wrong)
    with pytest.raises(sc.DtypeError, match="float32"):
        of(sc.ReLU(), 9)(x[0], out=np.empty((5, 9), np.int64))
    stream, out = model.stream(3), np.empty(3, np.int64)
    assert stream.step(x[:, 0], out=out) is out
    same_bits(out, x[:, 0].argmax(axis=-1))
    assert stream.step(x[:, 1]).dtype == np.int64
    with pytest.raises(sc.DtypeError, match="out for 'arg_max': expected an ndarray of int64"):
        stream.step(x[:, 1], out=np.empty(3, np.float32))
    pool = model.pool(2)
    same_bits(pool.step([pool.open(), pool.open()], x[:2, 2]), x[:2, 2].argmax(axis=-1))
    assert model._plan.output_dtypes == (np.dtype(np.int64),)
    assert [port.ids for port in stream.steps.outputs] == [True]


def test_files_and_headers_tell_the_dtype(rng, tmp_path):
    from seqcore.cli import main

    model, x = of(TopK(3), None, 9), floats(rng, 3, 5, 9)
    path, header = tmp_path / "m.safetensors", tmp_path / "m.h"
    model.save(path)
    same_bits(sc.load(path)(x), model(x))
    assert main(["export-c", str(path), str(header)]) == 0
    assert "output  top_k: float32 (?, ?, 3)" in header.read_text()
    assert "output  top_k:indices: int64 (?, ?, 3)" in header.read_text()


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ArgMax(0), "axis"), (lambda: ArgMax(2, name="mine"), "mine: axis"),
        (lambda: ArgMax(-3), "axis"), (lambda: ArgMax(1.5), "axis"), (lambda: ArgMax("1"), "axis"),
        (lambda: ArgMax(1, keepdims=1), "keepdims"), (lambda: ArgMax(1, function="mean"), "functi"),
        (lambda: TopK(0), "k is"), (lambda: TopK(True), "k is"), (lambda: TopK(1, 0), "axis"),
        (lambda: TopK(1, -2), "axis"), (lambda: TopK(1, largest=None), "largest"),
        (lambda: Cast("int32"), "dtype"), (lambda: Cast(None), "dtype"),
    ],
)  # fmt: skip
def test_options_out_of_range(build, message):
    with pytest.raises(sc.OptionError, match=message):
        of(build(), 4)


def test_more_than_there_are(rng):
    with pytest.raises(sc.ShapeError, match=r"'best' \(topk\): axis 1 has 4 elements.*takes 5"):
        of(TopK(5, name="best"), 4)
    model = of(TopK(5, 1, name="best"), None, 2)
    with pytest.raises(sc.ShapeError, match=r"'best' \(topk\): axis 1 has 4 elements.*takes 5"):
        model(floats(rng, 1, 4, 2))
    assert model(floats(rng, 1, 5, 2))[0].shape == (1, 5, 2)


def test_layers_that_compute_refuse_ids(rng):
    x = sc.Input((None, 4))
    best = ArgMax(-1, name="best")(x)
    for layer in (sc.Dense(2, name="guilty"), ArgMax(1, name="guilty"), TopK(1, name="guilty"),
                  sc.ReLU(name="guilty"), sc.GlobalMaxPooling1D(name="guilty")):  # fmt: skip
        with pytest.raises(sc.GraphError, match=r"'guilty'.*float32.*int64 from 'best'"):
            sc.Model(x, layer(best))
    with pytest.raises(sc.GraphError, match=r"'guilty'.*float32"):
        sc.Model(x, sc.Concatenate(name="guilty")([x, TopK(4)(x)[1]]))
    with pytest.raises(sc.GraphError, match=r"'guilty'.*int64.*float32"):
        sc.Model(x, sc.Embedding(floats(rng, 4, 2), name="guilty")(x))


# ---- Positions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "int64"])
@pytest.mark.parametrize("features", [(), (3,), (2, 5)])
def test_positions_of_frames(features, dtype):
    """Every instruction set, rank and dtype; what is in the frames does not matter."""

    model = of(Positions(), None, *features, dtype=dtype)
    for _, on_isa in on_every_isa(model):
        for steps in (0, 1, 7, 8, 9, 16, 17, 33):
            x = np.full((3, steps, *features), NAN if dtype == "float32" else -7, dtype)
            found = on_isa(x)
            assert found.dtype == np.float32
            same_bits(found, np.tile(np.arange(steps, dtype=np.float32), (3, 1)))
            assert np.array_equal(found, said_by_reference(model, x)[0])


def test_positions_go_on_past_a_rows_end():
    model = of(Positions(), None, 4)
    found = model(np.zeros((3, 5, 4), np.float32), lengths=[5, 0, 2])
    same_bits(found, np.tile(np.arange(5, dtype=np.float32), (3, 1)))


def test_positions_of_frames_that_are_rows():
    model = of(sc.TimeDistributed(Positions()), None, None, 4)
    for _, on_isa in on_every_isa(model):
        for outer, inner in ((3, 5), (1, 17), (9, 1), (2, 0), (0, 2)):
            found = on_isa(np.full((2, outer, inner, 4), NAN, np.float32))
            same_bits(found, np.tile(np.arange(inner, dtype=np.float32), (2, outer, 1)))


def test_positions_have_no_step():
    with pytest.raises(sc.SeqcoreError, match="positions"):
        of(Positions(), None, 4).stream()
