"""Inputs and outputs whose batch is axis 1, as torch has them unless it is told otherwise, or more.

Against torch; and bit by bit against the same network with its batch first, which other tests know.
"""

from __future__ import annotations

import json
import pickle
import re

import numpy as np
import pytest
import torch
from frameworks import all_close, dealt, floats, lengths_of, torch_module
from stream_models import planned, same_bits, stream_of
from tolerances import FLOAT32, close

import seqcore as sc
from seqcore._binding import Plan
from seqcore.graph import GraphBuilder, Site, Value
from seqcore.layers import BatchFirst, BatchSecond, Cast, Composite, GetItem


def turned(x):
    return np.ascontiguousarray(np.swapaxes(x, 0, 1))


def pair(layers, shape, dtype="float32"):
    """The same layers over time-major arrays, and over arrays whose batch is axis 0."""
    x, z = sc.Input(shape, dtype, name="x", batch_axis=1), sc.Input(shape, dtype, name="x")
    y = layers(BatchFirst()(x))
    return sc.Model(x, BatchSecond()(y)), sc.Model(z, layers(z))


def recurrent(rng, features=5, units=17, **options):
    weights = (
        floats(rng, features, 4 * units) / features**0.5,
        floats(rng, units, 4 * units) / units**0.5,
        floats(rng, 4 * units),
    )
    return sc.LSTM(*weights, **{"return_sequences": True} | options)


def network(rng, ids):
    """Features or ids to a sequence that is 0 past its ends only where it is cleared there."""
    table, layer = sc.Embedding(floats(rng, 11, 5)), recurrent(rng)
    dense = sc.Dense(floats(rng, 17, 9) / 4, floats(rng, 9))
    return lambda x: dense(layer(table(x) if ids else x))


# ---- Whole sequences -----------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("kind", ["tanh", "LSTM", "GRU"])
def test_time_major_is_torchs(rng, kind, index):
    features, units, batch, time = dealt(2 * index)
    module = torch_module(kind, features, units, batch_first=False)
    inside = {"tanh": sc.SimpleRNN, "LSTM": sc.LSTM, "GRU": sc.GRU}[kind]
    weights = {name: w.detach().numpy() for name, w in module.named_parameters()}
    given = {"activation": "tanh"} if kind == "tanh" else {}
    layer = inside.from_torch(weights, return_sequences=True, **given)
    model, _ = pair(layer, (None, features))
    x, lengths = floats(rng, time, batch, features), lengths_of(rng, batch, time)
    with torch.no_grad():
        whole = module(torch.from_numpy(x))[0].numpy()
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            torch.from_numpy(x), torch.from_numpy(lengths), enforce_sorted=False
        )
        out, _ = torch.nn.utils.rnn.pad_packed_sequence(module(packed)[0], total_length=time)
    all_close(model, [whole], FLOAT32[1], x)
    all_close(model, [out.numpy()], FLOAT32[1], x, lengths=lengths)


@pytest.mark.parametrize(("threads", "team"), [(1, 1), (3, 1), (2, 2)])
@pytest.mark.parametrize("ids", [False, True])
def test_the_bits_are_those_of_a_batch_that_comes_first(rng, isa, ids, threads, team):
    """In blocks of many rows, of one, of none; of no frames; of rows that end anywhere."""
    layers = network(rng, ids)
    options = {"isa": isa, "threads": threads, "team": team}
    models = pair(layers, (None,) if ids else (None, 5), "int64" if ids else "float32")
    second, first = (planned(model, **options) for model in models)
    for batch, time in ((1, 7), (3, 1), (130, 4), (0, 4), (4, 0)):
        x = rng.integers(0, 11, (batch, time)) if ids else floats(rng, batch, time, 5)
        for lengths in (None, rng.integers(0, time + 1, batch)):
            if lengths is not None:
                x[np.arange(time) >= lengths[:, None]] = 10**12 if ids else np.nan
            expected = turned(first(x, lengths=lengths))
            y = second(turned(x), lengths=lengths)
            assert y.shape == (time, batch, 9)
            same_bits(y, expected, f"{batch} x {time}")
            out = np.full_like(y, np.nan)
            assert second(turned(x), lengths=lengths, out=out) is out
            same_bits(out, expected)


@pytest.mark.skipif(not sc.cpu_info()["openmp"], reason="a call has one thread here")
def test_the_threads_are_those_of_a_batch_that_comes_first(rng):
    """A call's work goes by its frames, which are another axis here."""
    second, first = (planned(model, threads=2) for model in pair(recurrent(rng), (None, 5)))
    used = []
    for batch, time in ((8, 300), (400, 2), (2, 2)):
        x = floats(rng, batch, time, 5)
        first(x)
        second(turned(x))
        used.append(second.plan["last_threads"])
        assert used[-1] == first.plan["last_threads"] == second.schedule(batch, time)["threads"]
    assert used == [2, 2, 1]


def test_more_axes_and_values_that_are_no_sequences(rng):
    """(n, B), and (n, B, ...) of six axes, of floats and of ids, there and back."""
    for shape in ((4,), (3, 2), (3, 2, 4, 1, 2)):
        for dtype in ("float32", "int64"):
            x = sc.Input(shape, dtype, batch_axis=1)
            h = BatchFirst()(x)
            model = sc.Model(x, [h, BatchSecond()(h)])
            given = rng.integers(-(2**60), 2**60, (shape[0], 5, *shape[1:]))
            given = given if dtype == "int64" else given.astype(np.float32)
            h, y = model(given)
            assert h.dtype == y.dtype == dtype
            same_bits((h, y), (turned(given), given))


@pytest.mark.parametrize("dtype", ["float32", "int64"])
@pytest.mark.parametrize(
    ("shape", "axis"), [((None, 2, 5), 2), ((None, 2, 3, 4), 3), ((None, 2, 5), 3), ((3, 2), 2)]
)
def test_a_batch_behind_several_axes(rng, isa, shape, axis, dtype):
    """(T, directions, B, F) and its like, there and back, of rows that end anywhere or have none.

    Bits are those of NumPy's axes.
    """
    x = sc.Input(shape, dtype, name="x", batch_axis=axis)
    h = BatchFirst(axis)(x)
    model = sc.Model(x, [h, BatchSecond(axis)(h)])
    model = planned(model, isa=isa, threads=2)
    for batch, time in ((1, 6), (130, 6), (5, 0), (0, 6)):
        time = shape[0] or time
        plain = rng.integers(-(2**60), 2**60, (batch, time, *shape[1:]))
        plain = plain if dtype == "int64" else floats(rng, *plain.shape)
        for lengths in (None, rng.integers(0, time + 1, batch)):
            expected = plain.copy()
            if lengths is not None:
                expected[np.arange(time) >= lengths[:, None]] = 0
            given = np.ascontiguousarray(np.moveaxis(plain, 0, axis))
            first, behind = model(given, lengths=lengths)
            same_bits(first, expected)
            same_bits(behind, np.ascontiguousarray(np.moveaxis(expected, 0, axis)))


def test_a_step_of_a_batch_behind_several_axes(rng):
    """A frame lacks the time axis, which stands first: the batch is an axis nearer."""
    x = sc.Input((None, 2, 5), name="x", batch_axis=2)
    y = sc.TimeDistributed(sc.Dense(floats(rng, 5, 3)))(BatchFirst(2)(x))
    model = sc.Model(x, BatchSecond(2)(y))
    given = floats(rng, 4, 2, 6, 5)
    expected = model(given)
    assert expected.shape == (4, 2, 6, 3)
    stream, pool = model.stream(6), model.pool(6)
    rows = [pool.open() for _ in range(6)]
    for t in range(4):
        same_bits(stream.step(given[t]), expected[t], f"frame {t}")
        same_bits(pool.step(rows, given[t]), expected[t], f"frame {t} of a pool")


@pytest.mark.parametrize("axis", [1, 2])
def test_what_is_decoded_has_no_such_axis(rng, axis):
    """What is carried from token to token, and extras, are a row's own wherever the batch was."""
    weights = floats(rng, 5, 6), floats(rng, 6, 5)

    def decoder(axis):
        token = sc.Input((), dtype="int64", name="token")
        h = sc.Input((2, 3), name="h", batch_axis=axis)
        summed = sc.Add()(
            sc.Reshape((2, 3))(sc.Embedding(weights[0])(token)), BatchFirst(axis)(h) if axis else h
        )
        scores = sc.Dense(weights[1])(sc.Flatten()(summed))
        twice = sc.Add()(summed, summed)
        ends = [BatchSecond(axis)(end) if axis else end for end in (summed, twice)]
        model = sc.Model([token, h], [scores, *ends])
        return sc.Generator(model, max_length=4, carry={"h": model.outputs[1]})

    first, behind = decoder(0), decoder(axis)
    for search in ({"width": 3, "results": 3}, {"width": 2}):
        expected, made = (
            each.beam(start=[0, 1, 2], extras=True, **search) for each in (first, behind)
        )
        assert len({*map(tuple, made.ids.reshape(-1, 4))}) > 1
        same_bits((made.ids, made.scores), (expected.ids, expected.scores))
        (extra,), (other,) = made.extras.values(), expected.extras.values()
        assert extra.any()
        same_bits(extra, other)


def test_it_is_kept_in_files_and_told(rng, tmp_path):
    x = sc.Input((None, 2, 5), name="x", batch_axis=2)
    model = sc.Model(x, BatchSecond(2, name="back")(BatchFirst(2)(x)))
    assert model.layers[-1].output_shape == (None, 2, None, 5)
    assert repr(x) == "Input((None, 2, 5), 'float32', name='x', batch_axis=2)"
    model.save(tmp_path / "model.safetensors")
    given = floats(rng, 4, 2, 6, 5)
    for other in (sc.load(tmp_path / "model.safetensors"), pickle.loads(pickle.dumps(model))):
        same_bits(other(given), given)
    with pytest.raises(sc.ShapeError, match=r"lengths of 'x': expected shape \(6,\)"):
        model(given, lengths=[1, 2, 3, 4])


@pytest.mark.parametrize(
    ("op", "attrs", "why"),
    [
        ("batch_first", {}, "batch in axis 2, not 1"),
        ("batch_first", {"axis": 1}, "batch in axis 2, not 1"),
        ("batch_first", {"axis": 3}, "batch in axis 2, not 3"),
        ("batch_first", {"axis": 0}, "attribute 'axis'"),
        ("batch_first", {"axis": 1 << 40}, "attribute 'axis'"),
        ("batch_second", {}, "another batch axis than it reads"),
        ("select", {"index": 0}, "another batch axis than it reads"),
    ],
)
def test_a_graph_that_says_another_axis(op, attrs, why):
    graph = {
        "format": "seqcore", "version": 1,
        "inputs": [{"name": "x", "kind": "data", "dtype": "float32", "shape": [None, 2, 5],
                    "batch_axis": 2}],
        "nodes": [{"op": op, "layer": "guilty", "inputs": ["x"], "outputs": ["y"],
                   "attrs": attrs}],
        "outputs": [{"name": "y", "value": "y"}],
    }  # fmt: skip
    with pytest.raises(sc.GraphError, match=f"guilty.*{why}"):
        Plan(json.dumps(graph).encode(), {})


@pytest.mark.parametrize("axis", [0, 4, 9, -1, 1.5, True, "2"])
def test_a_graph_that_turns_to_no_axis(axis):
    graph = {
        "format": "seqcore", "version": 1,
        "inputs": [{"name": "x", "kind": "data", "dtype": "float32", "shape": [None, 2, 5]}],
        "nodes": [{"op": "batch_second", "layer": "guilty", "inputs": ["x"], "outputs": ["y"],
                   "attrs": {"axis": axis}}],
        "outputs": [{"name": "y", "value": "y"}],
    }  # fmt: skip
    with pytest.raises((sc.GraphError, sc.ShapeError), match="guilty"):
        Plan(json.dumps(graph).encode(), {})


def test_a_mean_over_a_rows_own_frames(rng):
    """What comes behind reads the lengths of the input; and what is gone needs no second axis."""
    x = sc.Input((None, 6), batch_axis=1)
    model = sc.Model(x, sc.GlobalAveragePooling1D()(BatchFirst()(x)))
    given, lengths = floats(rng, 7, 4, 6), np.array([7, 0, 3, 1])
    expected = [given[:n, m].mean(axis=0) if n else np.zeros(6) for m, n in enumerate(lengths)]
    close(model(given, lengths=lengths), expected, FLOAT32[0])


def test_beside_an_input_whose_batch_comes_first(rng):
    x, z = sc.Input((None, 3), name="x", batch_axis=1), sc.Input((None, 3), name="z")
    model = sc.Model([z, x], sc.Add()(BatchFirst()(x), z))
    a, b = floats(rng, 4, 6, 3), floats(rng, 6, 4, 3)
    same_bits(model(a, b), a + turned(b))
    with pytest.raises(sc.ShapeError, match=r"'x' has a batch of 5 \(axis 1\), .* have 4"):
        model(a, floats(rng, 6, 5, 3))
    with pytest.raises(sc.ShapeError, match="lengths"):
        model(a, b, lengths={"x": [1, 2, 3, 4]})
    ends = np.array([6, 0, 2, 5])
    y = model(a, b, lengths={"x": ends, "z": ends})
    same_bits(y[2, :2], (a + turned(b))[2, :2])
    assert not y[2, 2:].any()


# ---- What is told of it --------------------------------------------------------------------------


def test_shapes_files_and_copies(rng, tmp_path):
    model, _ = pair(recurrent(rng), (None, 5))
    assert model.inputs == ("x",)
    assert [layer.output_shape for layer in model.layers] == [
        (None, None, 5), (None, None, 17), (None, None, 17),
    ]  # fmt: skip
    fixed = sc.Input((4, 5), batch_axis=1)
    turning = sc.Model(fixed, BatchSecond(name="back")(BatchFirst()(fixed)))
    assert [layer.output_shape for layer in turning.layers] == [(None, 4, 5), (4, None, 5)]
    assert re.search(r"back \(BatchSecond\) +\(4, None, 5\)", turning.summary())
    assert repr(fixed) == "Input((4, 5), 'float32', name=None, batch_axis=1)"
    assert repr(sc.Input((4,), name="a")) == "Input((4,), 'float32', name='a')"
    x = floats(rng, 6, 3, 5)
    model.save(tmp_path / "model.safetensors")
    for other in (sc.load(tmp_path / "model.safetensors"), pickle.loads(pickle.dumps(model))):
        same_bits(other(x, lengths=[2, 6, 0]), model(x, lengths=[2, 6, 0]))
    (entry, *_) = model._graph.document["inputs"]
    assert entry == {
        "name": "x", "kind": "data", "dtype": "float32", "shape": [None, 5], "batch_axis": 1,
    }  # fmt: skip
    (entry, *_) = pair(recurrent(rng), (None, 5))[1]._graph.document["inputs"]
    assert "batch_axis" not in entry


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [3, -1, 0.5, "1", None, True])
def test_an_input_has_its_batch_among_its_axes(axis):
    with pytest.raises(sc.OptionError, match="Input: batch_axis"):
        sc.Input((None, 4), batch_axis=axis)


SECOND = sc.Input((None, 4), name="x", batch_axis=1)
FIRST = sc.Input((None, 4), name="z")
STATE = sc.Input((2,), name="h0", batch_axis=1)


@pytest.mark.parametrize(
    ("sources", "build"),
    [
        (SECOND, lambda: sc.SimpleRNN(2, name="guilty")(SECOND)),
        (SECOND, lambda: sc.Dropout(0.5, name="guilty")(SECOND)),
        (SECOND, lambda: GetItem(slice(None), name="guilty")(SECOND)),
        (SECOND, lambda: BatchSecond(name="guilty")(SECOND)),
        (SECOND, lambda: Cast("int64", name="guilty")(SECOND)),
        (SECOND, lambda: sc.Bidirectional(sc.SimpleRNN(2), name="guilty")(SECOND)),
        (SECOND, lambda: sc.Reshape((-1,), name="guilty")(BatchSecond()(BatchFirst()(SECOND)))),
        (FIRST, lambda: BatchFirst(name="guilty")(FIRST)),
        ([FIRST, STATE], lambda: sc.SimpleRNN(2, name="guilty")(FIRST, initial_state=STATE)),
        ([FIRST, SECOND], lambda: sc.Add(name="guilty")(FIRST, SECOND)),
        (SECOND, lambda: Composite([FIRST], [sc.ReLU()(FIRST)], name="guilty")(SECOND)),
    ],
    ids=["rnn", "dropout", "index", "second", "cast", "bidirectional", "turned", "first", "state",
         "add", "composite"],
)  # fmt: skip
def test_a_layer_that_does_not_read_it_says_so(sources, build):
    with pytest.raises(sc.GraphError, match=r"guilty.*\b(axis [01])"):
        sc.Model(sources, build())


def test_what_stands_in_axis_1_is_an_output_and_nothing_else():
    with pytest.raises(sc.GraphError, match="'x' cannot be an output"):
        sc.Model(SECOND, SECOND)
    y = BatchSecond(name="back")(BatchFirst()(SECOND))
    with pytest.raises(sc.GraphError, match=r"'back'.*two outputs"):
        sc.Model(SECOND, [y, y])
    with pytest.raises(sc.GraphError, match=r"'back'.*is no output"):
        sc.Model(SECOND, sc.ReLU()(BatchFirst()(y)))
    inside = Composite([SECOND], [sc.ReLU()(BatchFirst()(SECOND))])
    x = floats(np.random.default_rng(0), 3, 2, 4)
    other = sc.Input((None, 4), batch_axis=1)
    same_bits(sc.Model(other, inside(other))(x), np.maximum(turned(x), 0))


def test_arguments_that_do_not_fit(rng):
    model, _ = pair(recurrent(rng), (None, 5))
    x = floats(rng, 6, 3, 5)
    with pytest.raises(sc.OptionError, match="mask of 'x': its batch is axis 1"):
        model(x, mask=np.ones((6, 3), bool))
    with pytest.raises(sc.ShapeError, match=r"lengths of 'x': expected shape \(3,\)"):
        model(x, lengths=np.ones(6, int))
    with pytest.raises(sc.ShapeError, match="lengths of 'x': expected 0 to 6, found 1 to 7"):
        model(x, lengths=[1, 7, 2])
    with pytest.raises(sc.ShapeError, match=r"expected shape \(1,\)"):
        model(np.zeros(5, np.float32), lengths=[1, 2])
    with pytest.raises(sc.ShapeError, match="'x' must have size 5 in axis 2, found 4"):
        model(x[:, :, :4])
    with pytest.raises(sc.ShapeError, match=r"\(6, 3, 17\), found \(3, 6, 17\)"):
        model(x, out=np.zeros((3, 6, 17), np.float32))


# ---- Steps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("batch", [1, 50])
def test_a_step_is_a_frame_of_the_whole(rng, isa, batch, ids):
    layers = network(rng, ids)
    model, _ = pair(layers, (None,) if ids else (None, 5), "int64" if ids else "float32")
    model = model.with_options(isa=isa)
    x = rng.integers(0, 11, (6, batch)) if ids else floats(rng, 6, batch, 5)
    expected = model(x)
    stream, pool = model.stream(batch), model.pool(batch + 2)
    assert [port.shape for port in stream.steps.inputs] == [(None,) if ids else (None, 5)]
    assert [port.shape for port in stream.steps.outputs] == [(None, 9)]
    open_ids = [pool.open() for _ in range(batch)]
    for t in range(6):
        same_bits(stream.step(x[t]), expected[t], f"frame {t}")
        order = rng.permutation(batch)
        y = pool.step([open_ids[m] for m in order], x[t][order])
        same_bits(y, expected[t][order], f"frame {t} of a pool")
    with pytest.raises(sc.ShapeError, match="found"):
        stream.step(x[:2])


def test_a_step_takes_whole_what_has_no_time(rng):
    """(n, B) goes in as it is, beside a frame of a sequence, and comes out turned or not."""
    x, z = sc.Input((None, 3), name="x", batch_axis=1), sc.Input((3,), name="z", batch_axis=1)
    vector = BatchFirst()(z)
    sequence = sc.Add()(BatchFirst()(x), vector)
    last = sc.Dense(floats(rng, 3, 2), floats(rng, 2))(GetItem((slice(None), -1))(sequence))
    model = sc.Model([x, z], [BatchSecond()(sequence), BatchSecond()(last)])
    a, b = floats(rng, 5, 4, 3), floats(rng, 3, 4)
    stream, pool = model.stream(4), model.pool(4)
    open_ids = [pool.open() for _ in range(4)]
    assert [port.shape for port in stream.steps.inputs] == [(None, 3), (3, None)]
    assert [port.shape for port in stream.steps.outputs] == [(None, 3), (2, None)]
    for t in range(5):
        moving, final = model(a[: t + 1], b)
        same_bits(stream.step(a[t], b), (moving[t], final), f"frame {t}")
        same_bits(pool.step(open_ids, a[t], b), (moving[t], final), f"frame {t} of a pool")
    with pytest.raises(sc.ShapeError, match=r"'z'.*expected 4 rows"):
        pool.step(open_ids, a[0], b[:, :3])


def test_an_initial_state_that_is_data_cannot_be_stepped(rng):
    x, h0 = sc.Input((None, 5)), sc.Input((4,), batch_axis=1)
    rnn = sc.SimpleRNN(floats(rng, 5, 4), floats(rng, 4, 4) / 2, name="guilty")
    model = sc.Model([x, h0], rnn(x, initial_state=BatchFirst()(h0)))
    a, b = floats(rng, 3, 6, 5), floats(rng, 4, 3)
    assert not np.array_equal(model(a, b), model(a, 0 * b))
    with pytest.raises(sc.UnsupportedLayerError, match=r"'guilty'.*its initial state"):
        model.stream(3)


# ---- States --------------------------------------------------------------------------------------


def stateful(rng):
    """A network whose initial states are (2, B, 4), of which it takes the second."""
    graph, units = GraphBuilder(), 4
    x = graph.data_input("x", (None, 3), "float32", batch_axis=1)
    states = graph.state_input("h0", (2, units), batch_axis=1)
    assert states.batch_axis == 1

    def node(op, name, inputs, time="gone", **more):
        (made,) = graph.node(op, Site(name, name, name), inputs, time=time, **more)
        return made

    first = node("batch_first", "states", [states])
    second = node("index", "h", [first], attrs={"axis": 1, "index": 1})
    sequence = node("batch_first", "sequence", [x], time="kept")
    weights = {"W": floats(rng, 3, 4), "U": floats(rng, 4, 4) / 2, "b": floats(rng, 4)}
    attrs = {
        "units": units, "activation": ["tanh", 0.0, 0.0], "reverse": False, "realign": False,
        "return_sequences": True,
    }  # fmt: skip
    y = node("simple_rnn", "y", [sequence, second], "kept", attrs=attrs, weights=weights)
    for value in (y, first):
        assert isinstance(value, Value)
        graph.output(value)
    return graph.finish(), weights


def test_states_are_read_whole(rng):
    """Given or absent, and in a stream, which has its own."""
    graph, weights = stateful(rng)
    plan = Plan(graph.to_json(), dict(graph.tensors))
    x, h0 = floats(rng, 5, 3, 3), floats(rng, 2, 3, 4)
    for given in (h0, None):
        y, states = plan.run([x, None, given])
        expected = np.zeros((2, 3, 4)) if given is None else given
        close(states, np.swapaxes(expected, 0, 1), 0)
        h = np.asarray(expected[1], np.float64)
        for t in range(5):
            h = np.tanh(x[t] @ weights["W"] + h @ weights["U"] + weights["b"])
            close(y[:, t], h, FLOAT32[1])
    stream, (whole, _) = stream_of(plan, 3), plan.run([x, None, None])
    for t in range(5):
        y, states = stream.step(x[t])
        same_bits(y, whole[:, t])
        assert not states.any()
