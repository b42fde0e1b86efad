"""Comparisons, connectives, choices, constants and remainders, against torch and the reference.

Their results are exact: bits are compared. Rows of different lengths are compared with the same
rows alone, and steps with calls over whole sequences.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from frameworks import floats, on_every_isa, run_torch, torch_module
from stream_models import check_steps, listed
from tolerances import FLOAT32, close

import seqcore as sc
from seqcore import reference as ref
from seqcore._binding import Plan
from seqcore.layers import Compare, Constant, GetItem, Logical, Remainder, Where

INF, NAN = float("inf"), float("nan")
COMPARISONS = {
    "equal": torch.eq, "not_equal": torch.ne, "less": torch.lt, "less_equal": torch.le,
    "greater": torch.gt, "greater_equal": torch.ge,
}  # fmt: skip
CONNECTIVES = {"and": torch.logical_and, "or": torch.logical_or, "xor": torch.logical_xor}
SIZES = (1, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97)
SHAPES = [
    [(9, 17)] * 3, [(9, 17), (1, 17), (9, 1)], [(1, 17), (9, 1), (9, 17)],
    [(9, 1), (9, 17), (9, 1)], [(17,), (9, 17), (1,)], [(9, 17), (17,), (9, 17)],
    [(3, 1, 5), (2, 5), (3, 2, 1)],
    [(4, 1), (4, 1), (4, 1)], [(1,), (1,), (1,)],
    *([(n,)] * 3 for n in SIZES),
]  # fmt: skip
ODD = np.float32([0, -0.0, 1, -1, 0.1, NAN, INF, -INF])


def odd(rng, *shape):
    """Few different numbers, so that equal ones meet; zeros, infinite ones and NaN among them."""
    return rng.choice(ODD, shape)


def model_of(layer, *shapes, dtype="float32"):
    sources = [sc.Input(shape, dtype=dtype) for shape in shapes]
    return sc.Model(sources, layer(*sources))


def same(model, expected, *arrays):
    """Assert what a model gives on every instruction set, and that the reference says the same."""
    for isa, planned in on_every_isa(model):
        np.testing.assert_array_equal(planned(*arrays), expected, isa)
    given = dict(zip(model.inputs, arrays, strict=True))
    (of_reference,) = ref.run(model._graph.document, model._graph.tensors, given)
    np.testing.assert_array_equal(of_reference, expected, "reference")


def as_torch(arrays):
    """The arrays with as many axes as any: ours come behind the batch."""
    rank = max(x.ndim for x in arrays)
    return [
        torch.from_numpy(x).reshape(x.shape[:1] + (1,) * (rank - x.ndim) + x.shape[1:])
        for x in arrays
    ]


# ---- compare -------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", COMPARISONS)
def test_comparisons_of_two_values(rng, function):
    for shapes in SHAPES:
        arrays = [odd(rng, 5, *shape) for shape in shapes[:2]]
        expected = COMPARISONS[function](*as_torch(arrays)).float().numpy()
        same(model_of(Compare(function), *shapes[:2]), expected, *arrays)


@pytest.mark.parametrize("function", COMPARISONS)
def test_comparisons_with_a_number(rng, function):
    """The number is one of float32, as torch takes it: float32's 0.1 is equal to 0.1."""
    for size in SIZES:
        x = odd(rng, 3, 4, size)
        for number in (0, -0.0, 0.1, 1, INF, -INF, NAN, np.float64(-1), np.int64(1)):
            expected = COMPARISONS[function](torch.from_numpy(x), float(number)).float().numpy()
            same(model_of(Compare(function, number), (4, size)), expected, x)


NUMBERS = (
    0, 1, -1, 0.5, -0.5, 1e-310, -1e-310, 2.0**53, 2.0**63, -(2.0**63), 2.0**62, 1e30, -1e30, INF,
    -INF, NAN,
)  # fmt: skip
IDS = np.array([
    [0, 1, -1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)],
    [2**62, 2**62 + 1, 2**62 - 1, 7, -(2**63) + 1, 3, 2],
])  # fmt: skip


@pytest.mark.parametrize("function", COMPARISONS)
def test_ids_are_compared_as_the_numbers_that_they_are(function):
    """Python compares whole numbers with others without rounding them, as a float32 would."""
    python = {
        "equal": int.__eq__, "not_equal": int.__ne__, "less": int.__lt__,
        "less_equal": int.__le__, "greater": int.__gt__, "greater_equal": int.__ge__,
    }  # fmt: skip
    for number in NUMBERS:
        expected = [[_holds(python[function], n, number) for n in row] for row in IDS.tolist()]
        model = model_of(Compare(function, number), (None,), dtype="int64")
        same(model, np.float32(expected), IDS)


def _holds(comparison, n, number):
    """Of Python's float, which its int does not know: asked the other way round."""
    turned = {
        int.__eq__: float.__eq__, int.__ne__: float.__ne__, int.__lt__: float.__gt__,
        int.__le__: float.__ge__, int.__gt__: float.__lt__, int.__ge__: float.__le__,
    }  # fmt: skip
    return turned[comparison](float(number), n)


# ---- logical -------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", CONNECTIVES)
def test_connectives(rng, function):
    for shapes in SHAPES:
        arrays = [odd(rng, 5, *shape) for shape in shapes[:2]]
        expected = CONNECTIVES[function](*as_torch(arrays)).float().numpy()
        same(model_of(Logical(function), *shapes[:2]), expected, *arrays)


def test_negation(rng):
    for size in SIZES:
        x = odd(rng, 3, 4, size)
        same(model_of(Logical("not"), (4, size)), torch.from_numpy(x).logical_not().numpy(), x)


# ---- where ---------------------------------------------------------------------------------------


def test_choices(rng):
    """What is not taken may be infinite or NaN, and so may the condition, which then is true."""
    for shapes in SHAPES:
        arrays = [odd(rng, 5, *shape) for shape in shapes]
        c, a, b = as_torch(arrays)
        same(model_of(Where(), *shapes), torch.where(c != 0, a, b).numpy(), *arrays)


@pytest.mark.parametrize("number", [0, 2.5, -1e9, INF, -INF, NAN, -3.4028234663852886e38])
def test_choices_of_numbers(rng, number):
    for shapes in SHAPES:
        arrays = [odd(rng, 5, *shape) for shape in shapes[:2]]
        c, x = as_torch(arrays)
        n = torch.tensor(number, dtype=torch.float32)
        expected = torch.where(c != 0, n, x)
        same(model_of(Where(a=number), *shapes[:2]), expected.numpy(), *arrays)
        expected = torch.where(c != 0, x, n)
        same(model_of(Where(b=number), *shapes[:2]), expected.numpy(), *arrays)
        expected = torch.where(c != 0, n, torch.ones(1))
        same(
            model_of(Where(number, 1), shapes[0]),
            expected.numpy().reshape(arrays[0].shape),
            arrays[0],
        )


@pytest.mark.parametrize(
    ("layer", "axis"),
    [(sc.Softmax(), -1), (sc.Activation("softmax"), -1), (sc.Softmax(axis=1), 1)],
)
def test_softmax_of_a_row_that_is_masked_all_over_is_nan(rng, layer, axis):
    """As in torch, of as many elements as vectors take, and one more; the others are as alone."""
    for size in SIZES:
        scores, keep = sc.Input((3, size)), sc.Input((3, size))
        model = sc.Model([scores, keep], layer(Where(b=-INF)(keep, scores)))
        x, mask = floats(rng, 4, 3, size), np.float32(rng.random((4, 3, size)) < 0.6)
        mask[1], mask[2, 1], mask[0] = 0, 0, 1
        filled = torch.from_numpy(x).masked_fill(torch.from_numpy(mask) == 0, -INF)
        expected = torch.softmax(filled, axis).numpy()
        assert np.isnan(expected).any()
        for isa, planned in on_every_isa(model):
            y = planned(x, mask)
            np.testing.assert_array_equal(np.isnan(y), np.isnan(expected), isa)
            close(np.nan_to_num(y), np.nan_to_num(expected), FLOAT32[0], isa)


# ---- constant ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1,), (17,), (2, 3), (1, 16), (2, 1, 3), (2, 2, 1, 2, 3)])
def test_a_constant_is_the_same_for_every_row(rng, shape):
    array = odd(rng, *shape)
    for batch in (0, 1, 2, 17):
        expected = np.broadcast_to(array, (batch, *shape))
        same(model_of(Constant(array), (5,)), expected, np.full((batch, 5), NAN, np.float32))
        ids = rng.integers(-(2**62), 2**62, (batch, 4))
        same(model_of(Constant(array), (None,), dtype="int64"), expected, ids)
    model = model_of(Constant(array), (None, 5))
    x, lengths = np.full((3, 4, 5), NAN, np.float32), np.array([0, 4, 2])
    np.testing.assert_array_equal(model(x, lengths=lengths), np.broadcast_to(array, (3, *shape)))
    assert model.layers[0].parameters == array.size
    assert model.layers[0].output_shape == (None, *shape)


def test_a_constant_of_frames_is_one_for_each(rng):
    array = floats(rng, 3)
    model = model_of(sc.TimeDistributed(Constant(array)), (None, 5))
    same(model, np.broadcast_to(array, (2, 4, 3)), floats(rng, 2, 4, 5))
    check_steps(model, [floats(rng, 2, 4, 5)], "constant frames")


def test_a_constant_joins_sequences(rng, isa):
    """In a run, for rows of different lengths, and in steps, behind features and behind ids."""
    offset, scale = floats(rng, 17), floats(rng, 1, 17)
    x = sc.Input((None, 17))
    y = sc.Multiply()(sc.Add()(x, Constant(offset)(x)), Constant(scale)(x))
    model = sc.Model(x, y).with_options(isa=isa)
    given = floats(rng, 3, 5, 17)
    np.testing.assert_array_equal(model(given), (given + offset) * scale)
    lengths = np.array([2, 5, 0])
    kept = np.arange(5)[None, :, None] < lengths[:, None, None]
    expected = np.where(kept, (given + offset) * scale, 0)
    np.testing.assert_array_equal(model(given, lengths=lengths), expected)
    check_steps(model, [given], "joined")
    ids = sc.Input((None,), dtype="int64")
    table = floats(rng, 5, 17)
    model = sc.Model(ids, sc.Add()(sc.Embedding(table)(ids), Constant(offset)(ids)))
    given = rng.integers(0, 5, (3, 4))
    np.testing.assert_array_equal(model(given), table[given] + offset)
    check_steps(model, [given], "ids")


def test_a_constant_of_one_row_of_frames_is_no_frame(rng):
    x = sc.Input((4, 3))
    model = sc.Model(x, sc.Add(name="guilty")(x, Constant(floats(rng, 4, 3))(x)))
    assert model(floats(rng, 2, 4, 3)).shape == (2, 4, 3)
    with pytest.raises(sc.UnsupportedLayerError, match=r"'guilty'.*with what is none"):
        model.stream()


@pytest.mark.parametrize("packed", [False, True])
def test_constants_are_saved_and_loaded(rng, tmp_path, packed):
    x = sc.Input((None, 3))
    model = sc.Model(x, Where(a=-INF)(Compare("less", 0.5)(x), Constant(floats(rng, 3))(x)))
    model.save(tmp_path / "model.safetensors", packed=packed)
    loaded = sc.load(tmp_path / "model.safetensors", mmap=packed)
    given = floats(rng, 4, 5, 3)
    y = model(given)
    assert np.isinf(y).any()
    np.testing.assert_array_equal(loaded(given), y)


# ---- Initial states that are learned -------------------------------------------------------------


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize(("features", "units"), [(5, 17), (16, 33), (3, 1)])
def test_learned_initial_states(rng, kind, features, units, isa):
    """Against torch: a batch of three, whole and ragged, and stepped, in streams and in pools."""
    module = torch_module("tanh" if kind == "SimpleRNN" else kind, features, units)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    w = {name: getattr(module, name).detach().numpy() for name in names}
    W, U = w["weight_ih_l0"].T, w["weight_hh_l0"].T
    b = w["bias_ih_l0"] + w["bias_hh_l0"]
    if kind == "GRU":
        b = np.stack([w["bias_ih_l0"], w["bias_hh_l0"]])
        b[0, : 2 * units] += b[1, : 2 * units]
        b[1, : 2 * units] = 0
    states = [floats(rng, units) for _ in range(2 if kind == "LSTM" else 1)]
    source = sc.Input((None, features))
    layer = getattr(sc, kind)(W, U, b, return_sequences=True, return_state=True)
    initial = [Constant(state)(source) for state in states]
    model = sc.Model(source, list(layer(source, initial_state=initial)))
    model = model.with_options(isa=isa, threads=1)
    x, lengths = floats(rng, 3, 6, features), np.array([6, 2, 4])
    given = [np.repeat(state[None, None], 3, axis=1) for state in states]
    for ends in (None, lengths):
        expected = run_torch(module, x, given, ends)
        actual = model(x) if ends is None else model(x, lengths=ends)
        for y, e in zip(actual, [expected[0], *(s[0] for s in expected[1:])], strict=True):
            close(y, e, FLOAT32[1])
    check_steps(model, [x], kind)
    stream = model.stream(3)
    close(stream.state[0], given[0][0], 0)
    stream.step(x[:, 0])
    stream.reset()
    check_steps(model, [x], "after reset", stream)
    pool = model.pool(2)
    for _ in range(3):  # a place that is used again begins anew
        one = pool.open()
        for t in range(6):
            y = listed(pool.step([one], x[:1, t]))[0]
            np.testing.assert_array_equal(y[0], np.asarray(model(x[:1])[0])[0, t])
        pool.close(one)


def test_a_row_of_no_frame_has_the_learned_state(rng):
    state = floats(rng, 4)
    source = sc.Input((None, 3))
    layer = sc.LSTM(floats(rng, 3, 16), floats(rng, 4, 16), return_state=True)
    initial = [Constant(state)(source), Constant(state * 2)(source)]
    model = sc.Model(source, list(layer(source, initial_state=initial)))
    _, h, c = model(floats(rng, 2, 5, 3), lengths=np.array([0, 5]))
    np.testing.assert_array_equal(h[0], state)
    np.testing.assert_array_equal(c[0], state * 2)
    assert (h[1] != state).any()


def test_states_that_are_computed_are_still_refused_in_steps(rng):
    source = sc.Input((None, 3))
    state = sc.Activation("tanh")(Constant(floats(rng, 4))(source))
    layer = sc.SimpleRNN(floats(rng, 3, 4), floats(rng, 4, 4), name="guilty")
    model = sc.Model(source, layer(source, initial_state=state))
    with pytest.raises(sc.UnsupportedLayerError, match=r"'guilty'.*computed by another layer"):
        model.stream()


# ---- remainder -----------------------------------------------------------------------------------

REMAINDERS = {"floor": torch.remainder, "trunc": torch.fmod}


@pytest.mark.parametrize("rounding", REMAINDERS)
def test_remainders(rng, rounding):
    """The bits are torch's in float32, which adds the divisor in float32 too; zeros are NumPy's."""
    for shapes in SHAPES:
        a, b = (odd(rng, 5, *shape) * np.float32(1.1) for shape in shapes[:2])
        wide = 10.0 ** rng.uniform(-30, 30, a.shape).astype(np.float32)
        for x in (a, floats(rng, *a.shape) * wide):
            expected = REMAINDERS[rounding](*as_torch([x, b])).numpy()
            model = model_of(Remainder(rounding), *shapes[:2])
            signs = (np.remainder if rounding == "floor" else np.fmod)(
                *(each.numpy() for each in as_torch([x, b]))
            )
            there = ~np.isnan(expected)
            for isa, planned in on_every_isa(model):
                made = planned(x, b)
                np.testing.assert_array_equal(made, expected, isa)
                np.testing.assert_array_equal(np.signbit(made)[there], np.signbit(signs)[there])
            (of_reference,) = ref.run(
                model._graph.document, model._graph.tensors,
                dict(zip(model.inputs, (x, b), strict=True)),
            )  # fmt: skip
            close(of_reference[there], expected[there], FLOAT32[0], "reference")


# ---- Rows of different lengths, steps ------------------------------------------------------------

MODELS = {
    "compare": lambda x: Compare("less")(x, Compare("greater", 0.1)(x)),
    "logical": lambda x: Logical("xor")(Logical("not")(x), Compare("less", 0)(x)),
    "where": lambda x: Where()(Compare("less", 0)(x), x, Constant(np.ones(17))(x)),
    "remainder": lambda x: Remainder("floor")(x, Constant(np.full(17, -0.3))(x)),
    "numbers": lambda x: Where(-2, 3)(Compare("less", 0)(x)),
}


@pytest.mark.parametrize("name", MODELS)
def test_rows_and_steps(rng, name, isa):
    source = sc.Input((None, 17))
    model = sc.Model(source, MODELS[name](source)).with_options(isa=isa, threads=1)
    x, lengths = rng.choice(np.float32([0, -1, 0.1, 2]), (4, 5, 17)), np.array([5, 0, 2, 3])
    padded = x.copy()
    padded[np.arange(5) >= lengths[:, None]] = np.nan
    y = model(padded, lengths=lengths)
    for m, n in enumerate(lengths):
        np.testing.assert_array_equal(y[m, :n], model(x[m : m + 1, :n])[0])
        assert not y[m, n:].any()
    check_steps(model, [x], name)


def test_ids_that_count_keep_frames_in_steps(rng, isa):
    """torch's idiom of padding: (ids != 0), a new axis, times the vectors."""
    table = floats(rng, 5, 9)
    ids = sc.Input((None,), dtype="int64")
    keep = GetItem((..., None))(Compare("not_equal", 0)(ids))
    model = sc.Model(ids, sc.Multiply()(sc.Embedding(table)(ids), keep))
    model = model.with_options(isa=isa, threads=1)
    given = rng.integers(0, 3, (4, 6))
    np.testing.assert_array_equal(model(given), table[given] * (given != 0)[..., None])
    check_steps(model, [given], "ids")


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: Compare("same", name="guilty"),
        lambda: Compare("less", "1", name="guilty"),
        lambda: Compare("less", True, name="guilty"),
        lambda: Compare("less", 1e39, name="guilty"),
        lambda: Compare("equal", 2**53 + 1, name="guilty"),
        lambda: Compare("equal", np.int64(2**53 + 1), name="guilty"),
        lambda: Where(a=[1], name="guilty"),
        lambda: Where(b=1j, name="guilty"),
        lambda: Logical("nor", name="guilty"),
        lambda: Remainder("round", name="guilty"),
    ],
)
def test_bad_options(make):
    with pytest.raises(sc.OptionError, match="guilty"):
        make()


@pytest.mark.parametrize("array", [1.0, np.ones((1,) * 6), np.ones((2, 0)), np.ones(3, bool)])
def test_bad_constants(array):
    with pytest.raises((sc.WeightsError, sc.DtypeError), match="'guilty', weight array"):
        Constant(array, name="guilty")


def test_counts_of_values():
    x = sc.Input((3,))
    for layer, count in (
        (Compare("less"), 1), (Compare("less", 1), 2), (Where(), 2), (Where(a=1), 3),
        (Where(1, 2), 2), (Logical("and"), 1), (Logical("not"), 2), (Constant([1]), 2),
        (Remainder("floor"), 1), (Remainder("trunc"), 3),
    ):  # fmt: skip
        with pytest.raises(sc.GraphError, match="expected"):
            layer(*[x] * count)


def test_shapes_that_do_not_meet():
    for layer in (
        Compare("less", name="guilty"),
        Where(b=0, name="guilty"),
        Remainder("floor", name="guilty"),
    ):
        with pytest.raises(sc.ShapeError, match="'guilty'"):
            model_of(layer, (3,), (4,))


def test_two_values_of_ids_are_not_compared():
    with pytest.raises(sc.GraphError, match=r"'guilty'.*two values of float32"):
        model_of(Compare("less", name="guilty"), (None,), (None,), dtype="int64")
    for layer in (Where(1, 2, name="guilty"), Logical("not", name="guilty")):
        with pytest.raises(sc.GraphError, match="'guilty'"):
            model_of(layer, (None,), dtype="int64")


def plan_of(op, inputs, attrs, **more):
    node = {"op": op, "layer": "guilty", "inputs": inputs, "outputs": ["y"], "attrs": attrs} | more
    data = {"kind": "data", "dtype": "float32", "shape": [None, 3]}
    document = {
        "format": "seqcore", "version": 1, "inputs": [data | {"name": "x"}, data | {"name": "z"}],
        "nodes": [node], "outputs": [{"name": "y", "value": "y"}],
    }  # fmt: skip
    return Plan(json.dumps(document).encode(), {"W": np.ones(3, np.float32)}, shapes_only=False)


LESS = {"function": "less"}
CONSTANT = {"weights": {"W": "W"}}


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "more"),
    [
        ("compare", ["x"], LESS | {"number": None}, {}),
        ("compare", ["x", None], LESS | {"number": None}, {}),
        ("compare", ["x", "z"], LESS | {"number": 1}, {}),
        ("compare", ["x", None], LESS | {"number": 1}, {}),
        ("compare", ["x"], LESS, {}),
        ("compare", ["x"], LESS | {"number": "infinity"}, {}),
        ("compare", ["x"], LESS | {"number": True}, {}),
        ("compare", ["x"], LESS | {"number": 1e300}, {}),
        ("compare", ["x"], {"function": "is", "number": 1}, {}),
        ("logical", ["x"], {"function": "and"}, {}),
        ("logical", ["x", None], {"function": "and"}, {}),
        ("logical", ["x", "z"], {"function": "not"}, {}),
        ("logical", ["x"], {}, {}),
        ("remainder", ["x", "z"], {}, {}),
        ("remainder", ["x", "z"], {"rounding": "up"}, {}),
        ("remainder", ["x"], {"rounding": "floor"}, {}),
        ("where", ["x"], {"a": 1, "b": None}, {}),
        ("where", ["x", None], {"a": 1, "b": None}, {}),
        ("where", ["x", "z"], {"a": 1, "b": 2}, {}),
        ("where", ["x", "z"], {"a": None, "b": None}, {}),
        ("where", ["x", None, "z"], {"a": None, "b": None}, {}),
        ("where", ["x"], {"a": 1}, {}),
        ("where", ["x"], {"a": 1, "b": []}, {}),
        ("constant", ["x"], {"shape": []}, CONSTANT),
        ("constant", ["x"], {"shape": [1] * 6}, CONSTANT),
        ("constant", ["x"], {"shape": [0]}, CONSTANT),
        ("constant", ["x"], {"shape": [3, -1]}, CONSTANT),
        ("constant", ["x"], {"shape": [2**24] * 5}, CONSTANT),
        ("constant", ["x"], {"shape": 3}, CONSTANT),
        ("constant", ["x"], {}, CONSTANT),
    ],
)
def test_graphs_that_no_layer_makes(op, inputs, attrs, more):
    with pytest.raises(sc.GraphError, match="'guilty'"):
        plan_of(op, inputs, attrs, **more)


def test_constants_of_another_shape_than_their_weight():
    assert plan_of("constant", ["x"], {"shape": [3]}, **CONSTANT)
    for shape in ([4], [3, 1], [1, 3]):
        with pytest.raises(sc.WeightsError, match="'guilty'"):
            plan_of("constant", ["x"], {"shape": shape}, **CONSTANT)


def test_a_constant_is_no_state_of_another_size(rng):
    """Of a graph that says so; the row's state has room for its units alone."""
    source = sc.Input((None, 3))
    layer = sc.SimpleRNN(floats(rng, 3, 4), floats(rng, 4, 4), name="guilty")
    for size in (3, 5):
        y = layer(source, initial_state=Constant(floats(rng, size))(source))
        with pytest.raises(sc.ShapeError, match=r"'guilty'.*initial state"):
            sc.Model(source, y)
