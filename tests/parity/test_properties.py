"""What holds to the last bit, per instruction set, of networks drawn by hypothesis.

A row's result does not depend on the batch that it comes in, its place there, the threads, whether
it ends by `lengths` or by its array, or whether time runs in one call or in pieces.
"""

from __future__ import annotations

import numpy as np
import pytest
from frameworks import floats, outputs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import seqcore as sc

KINDS = ("SimpleRNN", "LSTM", "LSTM-projected", "GRU-after", "GRU-before")
GATES = {"SimpleRNN": 1, "LSTM": 4, "LSTM-projected": 4, "GRU-after": 3, "GRU-before": 3}
SIZES = st.sampled_from([1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 48, 63, 64, 65, 97])
# The same examples in every run; a nightly search may turn that off.
check = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def cell(rng, kind, features, units, **options):
    """Return a recurrent layer with random weights, large enough to saturate some gates."""
    width, state = GATES[kind] * units, units
    if kind == "LSTM-projected":
        state = max(1, units * 5 // 8)
        options["projection"] = floats(rng, units, state) * 1.5 / units**0.5
    shape = (2, width) if kind == "GRU-after" else (width,)
    weights = [
        floats(rng, features, width) / features**0.5,
        floats(rng, state, width) * 1.5 / state**0.5,
        floats(rng, *shape),
    ]
    return getattr(sc, kind.split("-")[0])(*weights, **options)


@st.composite
def networks(draw, forward_only=False):
    """Draw (description, model): one recurrent layer, perhaps Bidirectional, among other layers.

    Every output has a row per row of the input: sequences or the last state, and the states.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind, features, units = draw(st.sampled_from(KINDS)), draw(SIZES), draw(SIZES)
    options = {"return_sequences": forward_only or draw(st.booleans()), "return_state": True}
    # relu takes the path of cells that are not finished in registers
    if kind != "SimpleRNN" and draw(st.booleans()):
        options["recurrent_activation"] = draw(st.sampled_from(["hard_sigmoid", "softmax"]))
    direction = "forward" if forward_only else draw(st.sampled_from(["forward", "go", "both"]))
    if direction == "go":
        options["go_backwards"] = True
    layer = cell(rng, kind, features, units, **options)
    if direction == "both":
        back = cell(rng, kind, features, units, **options, go_backwards=True)
        layer = sc.Bidirectional(layer, back)
    source = sc.Input((None, features))
    value, around = source, "none"
    if not forward_only:
        around = draw(st.sampled_from(["none", "conv", "pool", "dense"]))
    if around == "conv":
        padding = draw(st.sampled_from(["valid", "same", "causal"]))
        kernel = floats(rng, 3, features, features) / features**0.5
        value = sc.Conv1D(kernel, floats(rng, features), padding=padding, strides=2)(value)
    elif around == "pool":
        value = sc.MaxPooling1D(2, padding="same")(value)
    elif around == "dense":
        value = sc.Dense(floats(rng, features, features), activation="tanh")(value)
    y, *states = layer(value)
    if around == "dense":
        one = layer.forward if direction == "both" else layer
        width = one.out_features * (2 if direction == "both" else 1)
        y = sc.Dense(floats(rng, width, 5), floats(rng, 5), activation="softmax")(y)
    return features, sc.Model(source, [y, *states])


def same_bits(actual, expected, where=""):
    """Assert that two lists of arrays are equal bit by bit; +0 and -0 differ."""
    for index, (a, e) in enumerate(zip(actual, expected, strict=True)):
        a, e = np.ascontiguousarray(a), np.ascontiguousarray(e)
        assert a.shape == e.shape, f"{where}, output {index}"
        different = int((a.view(np.int32) != e.view(np.int32)).sum())
        assert not different, f"{where}, output {index}: {different} of {a.size} values differ"


def inputs_of(draw_seed, batch, time, features):
    return floats(np.random.default_rng(draw_seed), batch, time, features)


SEEDS = st.integers(0, 2**32 - 1)
BATCHES, TIMES = st.integers(1, 33), st.integers(1, 40)


@check
@given(network=networks(), batch=BATCHES, time=TIMES, seed=SEEDS)
def test_a_row_does_not_see_its_batch(isa, network, batch, time, seed):
    features, model = network
    model = model.with_options(isa=isa)
    x = inputs_of(seed, batch, time, features)
    whole = outputs(model(x))
    for row in {0, batch // 2, batch - 1}:
        alone = outputs(model(x[row : row + 1]))
        same_bits(alone, [y[row : row + 1] for y in whole], f"row {row} alone")
    order = np.random.default_rng(seed).permutation(batch)
    same_bits(outputs(model(x[order])), [y[order] for y in whole], "permuted")


@check
@given(network=networks(), batch=BATCHES, time=TIMES, seed=SEEDS)
def test_lengths_are_rows_alone(isa, network, batch, time, seed):
    features, model = network
    model = model.with_options(isa=isa)
    x = inputs_of(seed, batch, time, features)
    lengths = np.random.default_rng(seed).integers(0, time + 1, batch)
    for row, end in enumerate(lengths):
        x[row, end:] = np.nan
    together = outputs(model(x, lengths=lengths))
    for row in {0, batch // 3, batch - 1, int(lengths.argmin()), int(lengths.argmax())}:
        alone = outputs(model(x[row : row + 1, : lengths[row]]))
        for index, (a, t) in enumerate(zip(alone, together, strict=True)):
            whole = t[row : row + 1]
            if t.ndim == 3:
                assert not whole[:, a.shape[1] :].any(), f"row {row} is not 0 past its end"
                whole = whole[:, : a.shape[1]]
            same_bits([a], [whole], f"row {row}, length {lengths[row]}, output {index}")


@check
@given(network=networks(), batch=st.integers(2, 33), time=TIMES, seed=SEEDS)
def test_full_lengths_are_none(isa, network, batch, time, seed):
    features, model = network
    model = model.with_options(isa=isa)
    x = inputs_of(seed, batch, time, features)
    same_bits(outputs(model(x, lengths=[time] * batch)), outputs(model(x)))


@check
@given(
    network=networks(forward_only=True),
    batch=BATCHES,
    pieces=st.lists(st.integers(1, 13), min_size=2, max_size=6),
    with_state=st.booleans(),
    seed=SEEDS,
)
def test_time_in_pieces(isa, network, batch, pieces, with_state, seed):
    features, model = network
    model = model.with_options(isa=isa)
    x = inputs_of(seed, batch, sum(pieces), features)
    rng = np.random.default_rng(seed)
    initial = None
    if with_state:
        specs = [spec for spec in model._graph.document["inputs"] if spec["kind"] == "state"]
        initial = [floats(rng, batch, *spec["shape"]) for spec in specs]
    whole = outputs(model(x, initial_state=initial))
    parts, state, begin = [], initial, 0
    for piece in pieces:
        y, *state = outputs(model(x[:, begin : begin + piece], initial_state=state))
        parts.append(y)
        begin += piece
    same_bits([np.concatenate(parts, axis=1), *state], whole)


@settings(check, max_examples=12)
@given(network=networks(), batch=st.integers(8, 33), time=st.integers(20, 60), seed=SEEDS)
def test_threads(isa, network, batch, time, seed):
    features, model = network
    x = inputs_of(seed, batch, time, features)
    lengths = np.random.default_rng(seed).integers(0, time + 1, batch)
    one, two, five = (model.with_options(isa=isa, threads=n) for n in (1, 2, 5))
    for ends in (None, lengths):
        expected = outputs(one(x, lengths=ends))
        for more in (two, five):
            same_bits(outputs(more(x, lengths=ends)), expected, "threads")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("units", [90, 300])
def test_rows_of_wide_layers_are_as_alone(isa, kind, units):
    """Weights past L1 lie in another order in memory, and blocks of rows go by their size."""
    rng = np.random.default_rng(8)
    model = sc.Sequential([cell(rng, kind, 20, units, return_sequences=True)])
    model = model.with_options(isa=isa, threads=1)
    x = floats(rng, 100, 4, 20)
    whole = model(x)
    for row in (0, 1, 50, 99):
        same_bits([whole[row : row + 1]], [model(x[row : row + 1])])
    for batch in (2, 3, 4, 5, 6, 7, 9):
        same_bits([whole[:batch]], [model(x[:batch])])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 2, 7, 33])
def test_threads_of_a_call_that_surely_uses_them(isa, kind, batch):
    rng = np.random.default_rng(7)
    model = sc.Sequential([cell(rng, kind, 64, 257, return_sequences=True)])
    one, two = (model.with_options(isa=isa, threads=n) for n in (1, 2))
    x = floats(rng, batch, 60, 64)
    same_bits([two(x)], [one(x)])
    assert one.plan["last_threads"] == 1
    assert two.plan["last_threads"] == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("units", [9, 64])
def test_every_split_of_a_batch(isa, kind, units):
    """Workers and blocks of unequal rows: 15 rows are 8 and 7, which the core runs differently."""
    rng = np.random.default_rng(9)
    layer = cell(rng, kind, 16, units, return_sequences=True, return_state=True)
    model = sc.Sequential([layer])
    x = floats(rng, 40, 50, 16)
    alone = model.with_options(isa=isa, threads=1)
    single = [outputs(alone(row[None])) for row in x]
    expected = [np.concatenate(rows) for rows in zip(*single, strict=True)]
    for threads in (1, 2, 3):
        planned = model.with_options(isa=isa, threads=threads)
        for batch in range(1, 41):
            wanted = [y[:batch] for y in expected]
            same_bits(outputs(planned(x[:batch])), wanted, f"{threads} threads, batch {batch}")


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_has_the_same_bits(isa, kind, tmp_path):
    rng = np.random.default_rng(8)
    model = sc.Sequential([cell(rng, kind, 17, 33, return_sequences=True, return_state=True)])
    model.save(tmp_path / "model.safetensors")
    loaded = sc.load(tmp_path / "model.safetensors", isa=isa)
    x = floats(rng, 5, 9, 17)
    same_bits(outputs(loaded(x)), outputs(model.with_options(isa=isa)(x)))
