"""Calling a model: arguments, conversions, lengths, states, out=; files, options, summary.

What layers compute is tested in test_layers.py and parity/; wrong arguments in test_bad_input.py.
"""

from __future__ import annotations

import copy
import doctest
import importlib
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from tolerances import FLOAT32, close

import seqcore as sc
from seqcore import reference

FEATURES, H = 5, 7


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def lstm(rng, **options):
    W, U, b = (
        rng.normal(size=(FEATURES, 4 * H)),
        rng.normal(size=(H, 4 * H)),
        rng.normal(size=4 * H),
    )
    return sc.LSTM(W, U, b, **options)


def tagger(rng):
    """Sequences in, sequences and final states out."""
    x = sc.Input((None, FEATURES), name="x")
    y, h, c = lstm(rng, return_sequences=True, return_state=True, name="lstm")(x)
    return sc.Model(x, [sc.Dense(rng.normal(size=(H, 3)), name="head")(y), h, c])


def two_inputs(rng):
    a, b = sc.Input((None, FEATURES), name="a"), sc.Input((3,), name="b")
    joined = sc.Concatenate()([lstm(rng)(a), b])
    return sc.Model([a, b], sc.Dense(rng.normal(size=(H + 3, 2)))(joined))


def evaluate(model, inputs):
    """The model by the float64 reference."""
    return reference.run(model._graph.document, model._graph.tensors, inputs)


# ---- Arguments ----------------------------------------------------------------------------------


def test_the_result_is_the_reference(rng):
    model = tagger(rng)
    x = rng.normal(size=(4, 6, FEATURES)).astype(np.float32)
    made = model(x)
    assert isinstance(made, tuple)
    for mine, exact in zip(made, evaluate(model, {"x": x}), strict=True):
        assert mine.dtype == np.float32
        close(mine, exact, FLOAT32[1])


@pytest.mark.parametrize("dtype", ["f2", "f8", ">f4", ">f8", "i1", "i8", "u2", "?", "g"])
def test_features_of_every_real_dtype_convert(dtype, rng):
    model = sc.Sequential([lstm(rng)])
    given = rng.integers(0, 2, (3, 4, FEATURES)).astype(dtype)
    assert np.array_equal(model(given), model(given.astype(np.float32)))


@pytest.mark.parametrize(
    "arrange",
    [
        lambda x: x.tolist(),
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, axis=2)[:, :, ::2],
        lambda x: x[:, ::-1][:, ::-1],
        lambda x: np.frombuffer(b"0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape),
        lambda x: x.view(np.recarray),
    ],
    ids=["list", "fortran", "strided", "twice reversed", "misaligned", "subclass"],
)
def test_features_of_every_layout_convert(arrange, rng):
    model = sc.Sequential([lstm(rng)])
    x = rng.normal(size=(3, 4, FEATURES)).astype(np.float32)
    assert np.array_equal(model(arrange(x)), model(x))


def test_an_input_is_neither_changed_nor_made_writeable(rng):
    model = sc.Sequential([lstm(rng)])
    x = rng.normal(size=(3, 4, FEATURES)).astype(np.float32)
    x.flags.writeable = False
    before = x.copy()
    model(x, lengths=[1, 2, 3])
    assert np.array_equal(x, before)
    assert not x.flags.writeable


@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", ">i8", "u8", "i8"])
def test_ids_of_every_integer_dtype_convert(dtype, rng):
    table = rng.normal(size=(9, 2)).astype(np.float32)
    ids = rng.integers(0, 9, (3, 4))
    assert np.array_equal(sc.Sequential([sc.Embedding(table)])(ids.astype(dtype)), table[ids])


def test_several_inputs_by_position_and_by_name(rng):
    model = two_inputs(rng)
    a, b = rng.normal(size=(4, 6, FEATURES)), rng.normal(size=(4, 3))
    assert model.inputs == ("a", "b")
    close(model(a, b), evaluate(model, {"a": np.float32(a), "b": np.float32(b)})[0], FLOAT32[1])
    assert np.array_equal(model(a, b), model({"b": b, "a": a}))


def test_a_list_is_one_array():
    model = sc.Sequential([sc.Dense(np.ones((2, 1)))])
    assert model([[1, 2], [3, 4]]).tolist() == [[3], [7]]


# ---- Lengths ------------------------------------------------------------------------------------


def test_a_row_with_a_length_is_the_row_alone(rng):
    model = tagger(rng)
    x = rng.normal(size=(4, 6, FEATURES)).astype(np.float32)
    lengths = [6, 1, 0, 3]
    x[1, 1:], x[2] = np.nan, np.inf  # what stands past an end is never looked at
    y, h, c = model(x, lengths=lengths)
    for i, n in enumerate(lengths):
        alone = model(x[i : i + 1, :n])
        assert np.array_equal(y[i : i + 1, :n], alone[0])
        assert not y[i, n:].any()
        assert np.array_equal(h[i : i + 1], alone[1])
        assert np.array_equal(c[i : i + 1], alone[2])


def test_lengths_reach_around_layers_of_single_frames(rng):
    x = sc.Input((None, 3, FEATURES))
    model = sc.Model(x, sc.TimeDistributed(lstm(rng))(x))
    given = rng.normal(size=(2, 4, 3, FEATURES)).astype(np.float32)
    y = model(given, lengths=[1, 4])
    assert np.array_equal(y[0, :1], model(given[:1, :1])[0])
    assert not y[0, 1:].any()
    assert np.array_equal(y[1], model(given)[1])


def test_lengths_pass_through_windows(rng):
    kernel = rng.normal(size=(3, FEATURES, 4))
    gru = sc.GRU(rng.normal(size=(4, 6)), rng.normal(size=(2, 6)), return_sequences=True)
    model = sc.Sequential([sc.Conv1D(kernel, strides=2), sc.MaxPooling1D(2), gru])
    x = rng.normal(size=(3, 20, FEATURES)).astype(np.float32)
    lengths = [20, 11, 2]  # the last is shorter than a window
    y = model(x, lengths=lengths)
    for i, n in enumerate(lengths):
        alone = model(x[i : i + 1, :n])[0]
        assert np.array_equal(y[i, : len(alone)], alone)
        assert not y[i, len(alone) :].any()


def test_lengths_of_a_named_input(rng):
    ids, other = sc.Input((None,), "int64", name="ids"), sc.Input((None, 2), name="other")
    table = rng.normal(size=(9, 2))
    pooled = [sc.GlobalMaxPooling1D()(v) for v in (sc.Embedding(table)(ids), other)]
    model = sc.Model([ids, other], pooled)
    a, b = rng.integers(0, 9, (2, 4)), rng.normal(size=(2, 3, 2))
    first, second = model(a, b, lengths={"other": [1, 3]})
    assert np.array_equal(first, model(a, b)[0])
    close(second[0], np.float32(b[0, 0]), FLOAT32[0])
    assert np.array_equal(model(a, b, lengths=[2, 4])[0], model(a, b, lengths={"ids": [2, 4]})[0])


def test_ids_past_a_rows_end_are_not_read(rng):
    model = sc.Sequential([sc.Embedding(rng.normal(size=(3, 2))), sc.GlobalMaxPooling1D()])
    ids = np.array([[0, 1, -7], [2, 99, 99]])
    assert np.array_equal(model(ids, lengths=[2, 1]), model(np.array([[0, 1, 1], [2, 2, 2]])))


# ---- States -------------------------------------------------------------------------------------


def test_states_carried_over_continue_a_sequence(rng):
    model = tagger(rng)
    assert model.states == ("lstm:h0", "lstm:c0")
    x = rng.normal(size=(4, 6, FEATURES)).astype(np.float32)
    whole = model(x)
    head, *state = model(x[:, :2])
    tail, *state = model(x[:, 2:], initial_state=state)
    assert np.array_equal(np.concatenate([head, tail], axis=1), whole[0])
    assert np.array_equal(state, whole[1:])


def test_an_absent_state_is_zero(rng):
    model = tagger(rng)
    x, h = rng.normal(size=(2, 3, FEATURES)), rng.normal(size=(2, H))
    with_none = model(x, initial_state=(h, None))
    with_zero = model(x, initial_state=(h, np.zeros((2, H))))
    assert np.array_equal(with_none[0], with_zero[0])
    assert not np.array_equal(with_none[0], model(x)[0])


@pytest.mark.parametrize("shape", [(0, 4, FEATURES), (3, 0, FEATURES), (0, 0, FEATURES)])
def test_empty_batches_and_sequences(shape, rng):
    model = tagger(rng)
    state = rng.normal(size=(2, shape[0], H)).astype(np.float32)
    y, h, c = model(np.zeros(shape), initial_state=tuple(state))
    assert y.shape == (*shape[:2], 3)
    if shape[1] == 0:
        assert np.array_equal(h, state[0])
        assert np.array_equal(c, state[1])
    else:
        assert h.shape == c.shape == (0, H)


# ---- out= ---------------------------------------------------------------------------------------


def test_out_is_filled_and_returned(rng):
    model = sc.Sequential([lstm(rng)])
    x = rng.normal(size=(4, 6, FEATURES))
    out = np.full((4, H), np.nan, np.float32)
    assert model(x, out=out) is out
    assert np.array_equal(out, model(x))


def test_out_of_several_outputs_is_a_tuple(rng):
    model = tagger(rng)
    x = rng.normal(size=(4, 6, FEATURES))
    expected = model(x)
    out = tuple(np.full_like(value, np.nan) for value in expected)
    made = model(x, out=out)
    for mine, given, other in zip(made, out, expected, strict=True):
        assert mine is given
        assert np.array_equal(given, other)


def test_out_may_be_a_part_of_a_larger_array(rng):
    model = sc.Sequential([lstm(rng)])
    x = rng.normal(size=(4, 6, FEATURES))
    buffer = np.zeros((3, 4, H), np.float32)
    model(x, out=buffer[1])
    assert np.array_equal(buffer[1], model(x))
    assert not buffer[::2].any()


def test_results_of_two_calls_are_different_arrays(rng):
    model = sc.Sequential([lstm(rng)])
    x = rng.normal(size=(4, 6, FEATURES))
    first = model(x)
    kept = first.copy()
    model(2 * x)
    assert np.array_equal(first, kept)


# ---- Graphs whose ends are unusual --------------------------------------------------------------


def test_an_input_and_a_value_twice_may_be_outputs():
    x = sc.Input((2,))
    y = sc.Dense(np.ones((2, 1)))(x)
    a, b, c, d = sc.Model(x, [y, x, y, sc.Dropout()(x)])([[1, 2]])
    assert a.tolist() == c.tolist() == [[3]]
    assert b.tolist() == d.tolist() == [[1, 2]]
    assert not np.shares_memory(a, c)


def test_outputs_have_the_names_that_they_are_given(tmp_path):
    x = sc.Input((2,), name="x")
    y = sc.Dense(np.ones((2, 1)), name="dense")(x)
    model = sc.Model(x, {"sum": y, "x": x, "again": y})
    assert model.outputs == ("sum", "x", "again")
    model.save(tmp_path / "m.safetensors")
    for each in (model, sc.load(tmp_path / "m.safetensors"), model.with_options(threads=1)):
        assert each.outputs == ("sum", "x", "again")
        assert [value.tolist() for value in each([[1, 2]])] == [[[3]], [[1, 2]], [[3]]]


@pytest.mark.parametrize("name", ["", "a:b", "a" * 201, "a\nb", 3])
def test_an_output_has_no_name_that_is_none(name):
    x = sc.Input((2,))
    with pytest.raises(sc.OptionError, match="a name"):
        sc.Model(x, {name: sc.ReLU()(x)})


def test_a_value_may_be_an_output_and_be_used_further(rng):
    x = sc.Input((None, FEATURES), name="x")
    h = lstm(rng, return_sequences=True)(x)
    model = sc.Model(x, [h, sc.GlobalAveragePooling1D()(h)])
    given = rng.normal(size=(2, 4, FEATURES)).astype(np.float32)
    for mine, exact in zip(model(given), evaluate(model, {"x": given}), strict=True):
        close(mine, exact, FLOAT32[1])


# ---- Weights that do not exist ------------------------------------------------------------------


def test_a_model_without_weights_has_a_summary_and_nothing_else(tmp_path):
    x = sc.Input((None, 3), name="x")
    model = sc.Model(x, sc.Dense(2, name="head")(sc.LSTM(4, name="rnn")(x)))
    assert [layer.output_shape for layer in model.layers] == [(None, 4), (None, 2)]
    assert "Total parameters: 138" in model.summary()
    for use in (lambda: model(np.zeros((1, 2, 3))), lambda: model.save(tmp_path / "m")):
        with pytest.raises(sc.NotBuiltError, match="'rnn', 'head'"):
            use()
    assert not list(tmp_path.iterdir())
    with pytest.raises(sc.NotBuiltError):
        model.with_options(threads=1)(np.zeros((1, 2, 3)))


def test_one_layer_without_weights_is_named():
    model = sc.Sequential([sc.Dense(np.ones((2, 3))), sc.Dense(4, name="new")])
    with pytest.raises(sc.NotBuiltError, match="'new'"):
        model(np.zeros((1, 2)))


def test_the_summary_is_a_table():
    model = sc.Sequential([sc.Input((None, 32)), sc.LSTM(128), sc.Dense(10, name="head")])
    assert model.summary().splitlines() == [
        "Layer (type)  Output shape  Parameters",
        "--------------------------------------",
        "lstm (LSTM)   (None, 128)       82,432",
        "head (Dense)  (None, 10)         1,290",
        "--------------------------------------",
        "Total parameters: 83,722",
    ]


# ---- Files and options --------------------------------------------------------------------------


def test_a_saved_model_is_the_same_model(tmp_path, rng):
    model = tagger(rng)
    path = tmp_path / "model.safetensors"
    model.save(path)
    loaded = sc.load(path)
    x, state = rng.normal(size=(4, 6, FEATURES)), tuple(rng.normal(size=(2, 4, H)))
    for options in ({}, {"lengths": [1, 2, 3, 4]}, {"initial_state": state}):
        for mine, other in zip(loaded(x, **options), model(x, **options), strict=True):
            assert np.array_equal(mine, other)
    assert loaded.summary() == model.summary()
    assert (loaded.inputs, loaded.outputs, loaded.states) == (
        model.inputs,
        model.outputs,
        model.states,
    )
    again = tmp_path / "again"
    loaded.save(str(again))
    assert again.read_bytes() == path.read_bytes()


def test_a_model_may_be_saved_over_the_file_it_came_from(tmp_path, rng):
    path = tmp_path / "model"
    sc.Sequential([lstm(rng)]).save(path)
    loaded, x = sc.load(path), rng.normal(size=(2, 3, FEATURES))
    before = loaded(x)
    loaded.save(path)
    assert np.array_equal(sc.load(path)(x), before)
    assert np.array_equal(loaded.with_options(threads=1)(x), before)


def test_options(tmp_path, rng):
    model = tagger(rng)
    assert set(model.plan) == {"isa", "threads", "bytes", "bytes_in_place", "last_threads"}
    assert model.plan["threads"] == sc.get_num_threads()
    x = rng.normal(size=(4, 6, FEATURES))
    exact = evaluate(model, {"x": np.float32(x)})
    model.save(tmp_path / "m")
    for isa in sc.cpu_info()["isas"]:
        for other in (model.with_options(isa=isa), sc.load(tmp_path / "m", isa=isa, threads=1)):
            assert other.plan["isa"] == isa
            assert other.inputs == model.inputs
            for mine, value in zip(other(x), exact, strict=True):
                close(mine, value, FLOAT32[1])
    one = model.with_options(threads=1)
    assert one.plan["threads"] == 1
    assert one.with_options(isa=sc.cpu_info()["isas"][-1]).plan["threads"] == 1
    assert one.with_options(threads=0).plan["threads"] == sc.get_num_threads()


def test_the_number_of_threads_is_the_processes(rng):
    model, before = tagger(rng), sc.get_num_threads()
    try:
        sc.set_num_threads(1)
        assert sc.get_num_threads() == model.plan["threads"] == 1
    finally:
        sc.set_num_threads(before)


def test_one_model_runs_in_many_threads(rng):
    model = tagger(rng)
    inputs = [rng.normal(size=(3, 4 + k, FEATURES)).astype(np.float32) for k in range(8)]
    expected = [model(x) for x in inputs]
    wrong = []

    def work(k):
        for _ in range(50):
            made = model(inputs[k])
            if not all(np.array_equal(a, b) for a, b in zip(made, expected[k], strict=True)):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    "module",
    [
        "model",
        "batches",
        "scaling",
        "vocabulary",
        "layers.base",
        "layers.feedforward",
        "layers.lstm",
        "layers.wrappers",
        "trace",
        "importers.torch",
    ],
)
def test_examples_in_docstrings_run(module):
    failed, tried = doctest.testmod(importlib.import_module(f"seqcore.{module}"))
    assert tried
    assert not failed


# ---- Pickles ------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_model_out_of_a_pickle_is_the_same(rng, protocol):
    model = two_inputs(rng).with_options(isa=sc.cpu_info()["isas"][-1], threads=2)
    again = pickle.loads(pickle.dumps(model, protocol))
    a, b = rng.normal(size=(4, 6, FEATURES)), rng.normal(size=(4, 3))
    np.testing.assert_array_equal(
        again(a, b, lengths=[1, 6, 2, 3]), model(a, b, lengths=[1, 6, 2, 3])
    )
    assert (again.plan, again.layers) == (model.plan, model.layers)
    assert (again.inputs, again.outputs, again.states) == (
        model.inputs,
        model.outputs,
        model.states,
    )


def test_copies(rng):
    chain = sc.Sequential([lstm(rng), sc.Dense(rng.normal(size=(H, 2)))])
    x = rng.normal(size=(2, 3, FEATURES))
    for again in (copy.copy(chain), copy.deepcopy(chain), pickle.loads(pickle.dumps(chain))):
        assert type(again) is sc.Sequential
        np.testing.assert_array_equal(again(x), chain(x))


def test_a_loaded_model_outlives_its_file_in_a_pickle(rng, tmp_path):
    path = tmp_path / "model"
    tagger(rng).save(path)
    model = sc.load(path)
    text = pickle.dumps(model)
    x = rng.normal(size=(2, 3, FEATURES))
    expected = model(x)
    del model
    path.unlink()
    for found, wanted in zip(pickle.loads(text)(x), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_pickle_in_a_fresh_process(rng, tmp_path):
    """As multiprocessing with "spawn" hands models over."""
    model, x = tagger(rng), rng.normal(size=(2, 3, FEATURES))
    (tmp_path / "task").write_bytes(pickle.dumps((model, x)))
    program = (
        "import pickle, sys; m, x = pickle.load(open(sys.argv[1], 'rb')); "
        "pickle.dump(m(x), open(sys.argv[2], 'wb'))"
    )
    paths = [str(tmp_path / name) for name in ("task", "result")]
    subprocess.run([sys.executable, "-c", program, *paths], check=True)
    for found, wanted in zip(
        pickle.loads((tmp_path / "result").read_bytes()), model(x), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


def test_a_model_without_weights_is_not_pickled():
    model = sc.Sequential([sc.Input((None, 3)), sc.LSTM(2, name="rnn")])
    for call in (pickle.dumps, copy.deepcopy):
        with pytest.raises(sc.NotBuiltError, match="'rnn'"):
            call(model)


# ---- Where time goes ----------------------------------------------------------------------------


def test_profile_names_the_layers_that_compute(rng):
    W, U, b = (rng.normal(size=s).astype(np.float32) for s in ((5, 28), (7, 28), (28,)))
    network = sc.Sequential([
        sc.Bidirectional(
            sc.LSTM(W, U, b, return_sequences=True),
            sc.LSTM(W, U, b, return_sequences=True, go_backwards=True),
        ),
        sc.Dropout(0.5),
        sc.Dense(rng.normal(size=(14, 3)).astype(np.float32), name="head"),
    ])  # fmt: skip
    x = rng.normal(size=(4, 20, 5))
    times = network.profile(x, lengths=[20, 3, 0, 7], repeat=3)
    kinds = [layer.kind for layer in network.layers if layer.kind != "Dropout"]
    assert [layer.kind for layer in times] == kinds
    assert times[-1].name == "head"
    assert sum(layer.share for layer in times) == pytest.approx(1)
    assert all(layer.seconds > 0 for layer in times)


@pytest.mark.parametrize("repeat", [0, -1, 1.5, True, "3"])
def test_profile_refuses_a_wrong_repeat(repeat):
    network = sc.Sequential([sc.Dense(np.eye(2))])
    with pytest.raises(sc.OptionError, match="repeat"):
        network.profile(np.ones((1, 2)), repeat=repeat)


def test_profile_refuses_what_a_call_refuses():
    network = sc.Sequential([sc.Dense(np.eye(2))])
    with pytest.raises(sc.ShapeError, match="size 2"):
        network.profile(np.ones((1, 3)))


def test_schedule_takes_threads_where_there_is_work():
    if not sc.cpu_info()["openmp"]:
        pytest.skip("this build has one thread")
    U = np.zeros((512, 2048), np.float32)
    network = sc.Sequential([sc.LSTM(U, U, return_sequences=True)])
    one, two = (network.with_options(threads=n) for n in (1, 2))
    assert one.schedule(batch=64, time=100) == {"threads": 1, "team": 1}
    assert two.schedule(batch=1, time=100) == {"threads": 2, "team": 2}
    assert two.schedule(batch=64, time=100)["threads"] == 2
    assert sc.Sequential([sc.Dense(np.eye(2))]).schedule() == {"threads": 1, "team": 1}
    undivided = sc.Sequential([sc.LSTM(U, U, activation="softmax", return_sequences=True)])
    assert undivided.with_options(threads=2).schedule(batch=1, time=100)["threads"] == 1
    for wrong in (-1, 0.5, "1"):
        with pytest.raises(sc.OptionError, match="batch"):
            two.schedule(batch=wrong)
    two(np.zeros((1, 20, 512)))
    assert two.plan["last_threads"] == 2


def test_any_64_bit_integers_are_ids_and_lengths(rng):
    """NumPy has two of them on most systems, equal in all but their number."""
    network = sc.Sequential(
        [sc.Embedding(rng.normal(size=(9, 3))), sc.LSTM(np.ones((3, 8)), np.ones((2, 8)))]
    )
    ids = rng.integers(0, 9, (2, 5))
    expected = network(ids, lengths=[5, 2])
    assert np.array_equal(
        network(ids.astype(np.longlong), lengths=np.array([5, 2], np.longlong)), expected
    )
    assert np.array_equal(network(ids.astype(np.longlong)), network(ids))
