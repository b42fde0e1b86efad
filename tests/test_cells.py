"""Cells with every option that they have: constructors, lowering, streams, files, refusals.

Numbers are held against the float64 reference, told by tests/cells.py; frameworks and published
equations are in parity/test_parity_cells.py, traces in test_trace.py.
"""

from __future__ import annotations

import inspect
import pickle

import numpy as np
import pytest
from cells import CASES, Case, arrays_of, definition, floats, gru, layer_of, lstm, rnn
from tolerances import FLOAT32, close

import seqcore as sc
from seqcore import layouts
from seqcore.errors import OptionError, UnsupportedLayerError, WeightsError

SIZES = (1, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97)
STATES = {"return_sequences": True, "return_state": True}
by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def sized(index):
    """Return features, units, batch and time; the sizes of all cases straddle the vectors."""
    units = SIZES[index % len(SIZES)]
    return 98 - SIZES[(index * 5) % len(SIZES)], units, 1 + index % 9, 1 + (index * 3) % 8


def node_of(layer):
    """Return the node that a layer becomes."""
    source = sc.Input((None, layer.weights["W"].shape[0]))
    made = layer(source)
    model = sc.Model(source, list(made) if isinstance(made, tuple) else made)
    (node,) = (node for node in model._graph.document["nodes"] if node["op"] != "constant")
    return node


def outputs(model, *inputs, **options):
    made = model(*inputs, **options)
    return list(made) if isinstance(made, tuple) else [made]


def same(actual, expected, tolerance=FLOAT32[1]):
    for a, e in zip(actual, expected, strict=True):
        close(a, e, tolerance)


def same_bits(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, e)


# ---- Numbers ------------------------------------------------------------------------------------


@by_name
def test_every_case_is_its_definition(rng, case, isa):
    index = CASES.index(case)
    for more in (0, 5, 7):
        features, units, batch, time = sized(index + more)
        arrays = arrays_of(rng, case, features, units)
        model = sc.Sequential([layer_of(case, arrays, **STATES)]).with_options(isa=isa)
        x = floats(rng, batch, time, features)
        same(outputs(model, x), definition(case, arrays, x))
        lengths = rng.integers(0, time + 1, batch)
        same(outputs(model, x, lengths=lengths), definition(case, arrays, x, lengths=lengths))
        mask = rng.random((batch, time)) < 0.6
        same(outputs(model, x, mask=mask), definition(case, arrays, x, mask=mask))


@by_name
def test_a_row_has_the_same_bits_alone_cut_and_in_steps(rng, case):
    features, units, _, time = sized(CASES.index(case) + 3)
    arrays, x = arrays_of(rng, case, features, units), floats(rng, 18, time, features)
    model = sc.Sequential([layer_of(case, arrays, **STATES)])
    whole, *last = outputs(model, x)
    for row in (0, 7, 17):
        same_bits(outputs(model, x[[row]]), [whole[[row]], *(state[[row]] for state in last)])
    ends = 1 + np.arange(18) % time
    cut, *last = outputs(model, x, lengths=ends)
    for row in (4, 17):
        end = ends[row]
        alone = outputs(model, x[[row], :end])
        same_bits(alone, [cut[[row], :end], *(state[[row]] for state in last)])
    stream = sc.Sequential([layer_of(case, arrays, return_sequences=True)]).stream(2)
    for t in range(time):
        np.testing.assert_array_equal(stream.step(x[:2, t]), whole[:2, t])


@by_name
def test_a_file_and_a_pickle_keep_the_cell(rng, case, tmp_path):
    features, units, batch, time = sized(CASES.index(case) + 1)
    model = sc.Sequential([layer_of(case, arrays_of(rng, case, features, units), **STATES)])
    x = floats(rng, batch, time, features)
    model.save(tmp_path / "cell.safetensors", packed=True)
    for again in (sc.load(tmp_path / "cell.safetensors"), pickle.loads(pickle.dumps(model))):
        same_bits(outputs(again, x), outputs(model, x))
        assert [layer.parameters for layer in again.layers] == [model.layers[0].parameters]


@by_name
def test_ids_in_place_of_one_hot_vectors(rng, case):
    features, units, batch, time = sized(CASES.index(case) + 2)
    arrays, source = arrays_of(rng, case, features, units), sc.Input((None,), dtype="int64")
    made = layer_of(case, arrays, **STATES)(sc.OneHot(features)(source))
    ids = rng.integers(0, features, (batch, time))
    same(
        outputs(sc.Model(source, list(made)), ids), definition(case, arrays, np.eye(features)[ids])
    )


@pytest.mark.parametrize("case", CASES[::3], ids=lambda case: case.name)
def test_backwards_and_as_a_direction(rng, case):
    features, units, batch, time = sized(CASES.index(case) + 4)
    first, second = (arrays_of(rng, case, features, units) for _ in range(2))
    x, ends = floats(rng, batch, time, features), rng.integers(0, time + 1, batch)
    layers = layer_of(case, first, **STATES), layer_of(case, second, **STATES, go_backwards=True)
    back = definition(case, second, x, reverse=True, lengths=ends)
    same(outputs(sc.Sequential([layers[1]]), x, lengths=ends), back)
    there = definition(case, first, x, lengths=ends)
    back = definition(case, second, x, reverse=True, realign=True, lengths=ends)
    both = outputs(sc.Sequential([sc.Bidirectional(*layers)]), x, lengths=ends)
    same(both, [np.concatenate([there[0], back[0]], axis=-1), *there[1:], *back[1:]])


# ---- Options say something ----------------------------------------------------------------------

# Each option turned, in a cell of arrays that fit with it and without.
TURNED = {
    "peepholes": lstm(peepholes=True),
    "clip": lstm(clip=0.5),
    "cell_clip": lstm(cell_clip=0.3),
    "projection_clip": lstm(projects=True, projection_clip=0.1),
    "input_forget": lstm(input_forget=True),
    "layer_norm": lstm(layer_norm="gates"),
    "norm_weights": lstm(layer_norm="products"),
    "norm_state": lstm(layer_norm="gates", norm_state="output"),
    "epsilon": lstm(layer_norm="gates", epsilon=0.5),
    "initial_state": gru(learned=True),
    "update_keeps": gru(update_keeps=False),
    "clip of a GRU": gru(clip=0.5),
    "clip of a SimpleRNN": rnn(clip=0.5),
}
# What stands and falls with another option.
WITH = {"norm_state": ("state_scale", "state_offset"), "layer_norm": ("norm_weights",)}


@pytest.mark.parametrize("option", TURNED)
def test_an_option_changes_the_numbers(rng, option):
    case, name = TURNED[option], option.partition(" ")[0]
    arrays, x = arrays_of(rng, case, 9, 17), floats(rng, 3, 12, 9)
    left = {k: v for k, v in arrays.items() if k not in (name, *WITH.get(name, ()))}
    if name == "norm_state":
        left["norm_weights"] = {k: v for k, v in arrays["norm_weights"].items() if "state" not in k}
    plain = Case(
        case.kind, {k: v for k, v in case.options.items() if k != name}, biases=case.biases
    )
    turned, without = (
        sc.Sequential([layer_of(each, given)])(x) for each, given in ((case, arrays), (plain, left))
    )
    with pytest.raises(AssertionError):
        close(turned, without, FLOAT32[1])


def test_every_option_of_a_cell_is_turned_here():
    plain = {"SimpleRNN", "LSTM", "GRU"}
    known = {
        "units", "U", "b", "activation", "recurrent_activation", "use_bias", "return_sequences",
        "return_state", "go_backwards", "zero_output_for_mask", "projection", "reset_after", "name",
    }  # fmt: skip
    options = {name for kind in plain for name in inspect.signature(getattr(sc, kind)).parameters}
    assert options - known == {name.partition(" ")[0] for name in TURNED}


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_a_plain_cell_says_nothing_new(rng, kind):
    """Not with the new options' own defaults either, nor with all gates of one activation."""
    case = Case(kind, biases=2)
    arrays = arrays_of(rng, case, 3, 4)
    said = {"activation", "units", "reverse", "realign", "return_sequences", "zero_output_for_mask"}
    said |= {"recurrent_activation"} if kind != "SimpleRNN" else set()
    said |= {"reset_after"} if kind == "GRU" else set()
    options = [{"clip": None, "initial_state": None}]
    if kind == "LSTM":
        options += [
            {"peepholes": False, "input_forget": False, "layer_norm": None, "norm_weights": None},
            {"activation": {"g": "relu", "h": "relu"}, "recurrent_activation": {}},
        ]
    if kind == "GRU":
        options += [{"activation": {"n": "relu"}, "update_keeps": True}]
    for given in options:
        node = node_of(layer_of(case, arrays, **given))
        assert set(node["attrs"]) == said
        assert set(node["weights"]) == {"W", "U", "b"} | ({"bn"} if kind == "GRU" else set())
        assert node["attrs"]["activation"][0] == ("relu" if "activation" in given else "tanh")


def test_what_a_norm_is_not_given_is_one_and_zero(rng):
    case = lstm(layer_norm="products", norm_state="kept")
    arrays, x = arrays_of(rng, case, 5, 7), floats(rng, 2, 6, 5)
    given = arrays["norm_weights"]
    for left in ("recurrent_scale", "input_offset", "state_scale", "state_offset"):
        plain = (np.ones_like if left.endswith("scale") else np.zeros_like)(given[left])
        some = {name: array for name, array in given.items() if name != left}
        made = sc.Sequential([layer_of(case, arrays | {"norm_weights": some}, **STATES)])
        same(
            outputs(made, x), definition(case, arrays | {"norm_weights": given | {left: plain}}, x)
        )


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(
    "case",
    [
        lstm(clip=0.5, cell_clip=0.7, input_forget=True, learned=True),
        lstm(recurrent_activation={"f": "hard_sigmoid"}, activation={"g": "relu"}),
        rnn(clip=0.5, learned=True),
        gru(biases=1, reset_after=False, update_keeps=False, clip=0.5),
    ],
    ids=lambda case: case.name,
)
def test_weights_laid_on_keep_the_options(rng, case, both):
    """A layer without weights gets them as Keras has them, and is the cell that it was said."""
    arrays, x = arrays_of(rng, case, 5, 7), floats(rng, 2, 6, 5)
    learned = {k: v for k, v in arrays.items() if k == "initial_state"}
    empty = getattr(sc, case.kind)(7, **case.options, **learned, return_sequences=True)
    given = _first(arrays)
    if case.kind == "GRU":  # z r h
        given = [np.concatenate([np.split(a, 3, -1)[k] for k in (1, 0, 2)], -1) for a in given]
    there = definition(case, arrays, x)[0]
    if both:
        made = sc.Bidirectional(empty).loaded(given * 2)
        back = definition(case, arrays, x, reverse=True, realign=True)[0]
        there = np.concatenate([there, back], axis=-1)
    else:
        made = empty.loaded(given)
    same(outputs(sc.Sequential([made]), x), [there])


# ---- Initial states -----------------------------------------------------------------------------


def test_a_call_overrides_learned_states(rng):
    case = lstm(learned=True)
    arrays, x = arrays_of(rng, case, 5, 7), floats(rng, 3, 4, 5)
    source, h, c = sc.Input((None, 5)), sc.Input((7,)), sc.Input((7,))
    layer = layer_of(case, arrays, **STATES)
    model = sc.Model([source, h, c], list(layer(source, initial_state=[h, c])))
    states = floats(rng, 3, 7), floats(rng, 3, 7)
    same(outputs(model, x, *states), definition(case, arrays, x, states))


def test_streams_and_pools_begin_with_learned_states(rng):
    case = lstm(learned=True, peepholes=True, projects=True)
    arrays = arrays_of(rng, case, 5, 9)
    model = sc.Sequential([layer_of(case, arrays, return_sequences=True)])
    x = floats(rng, 2, 4, 5)
    whole, stream = model(x), model.stream(2)
    for _ in range(2):
        for part, learned in zip(stream.state, arrays["initial_state"], strict=True):
            np.testing.assert_array_equal(part, [learned] * 2)
        for t in range(4):
            np.testing.assert_array_equal(stream.step(x[:, t]), whole[:, t])
        stream.reset()
    pool = model.pool(3)
    for row in range(2):  # the second one in memory that the first one left
        place = pool.open()
        for t in range(4):
            np.testing.assert_array_equal(pool.step([place], x[[row], t]), whole[[row], t])
        pool.close(place)


def test_learned_states_of_cells_and_stacks(rng):
    """Every cell has its own: over time, on single frames, in torch's stacks, on folded frames."""
    first, second = lstm(learned=True), gru(learned=True)
    one, two = arrays_of(rng, first, 5, 7), arrays_of(rng, second, 7, 3)
    x = floats(rng, 2, 6, 5)
    y, *last = definition(first, one, x)
    z, *rest = definition(second, two, y)
    cells = [
        sc.LSTMCell(*_first(one), **_rest(one)), sc.GRUCell(*_first(two), **_rest(two)),
    ]  # fmt: skip
    same(outputs(sc.Sequential([sc.RNN(cells, **STATES)]), x), [z, *last, *rest], FLOAT32[2])
    frame = sc.Input((5,))
    once = sc.Model(frame, list(cells[0](frame)))
    (_, *states), frames = definition(first, one, x[:, :1]), y[:, 0]
    same(outputs(once, x[:, 0]), [frames, *states])
    deeper = arrays_of(rng, first, 7, 7)
    rows = [[layer_of(first, one)], [layer_of(first, deeper)]]
    for stacked in (False, True):
        stack = sc.layers.RecurrentStack(rows, return_sequences=False, stacked=stacked)
        made = sc.Sequential([stack])
        assert made.states == ()
        expected = definition(first, deeper, y, return_sequences=False)[0]
        same(outputs(made, x), [expected], FLOAT32[2])
    inside = sc.TimeDistributed(layer_of(first, one))
    folded = floats(rng, 2, 3, 6, 5)
    expected = definition(first, one, folded.reshape(6, 6, 5), return_sequences=False)[0]
    same(outputs(sc.Sequential([inside]), folded), [expected.reshape(2, 3, 7)])


def _first(arrays):
    return [arrays[name] for name in ("W", "U", "b")]


def _rest(arrays):
    return {name: array for name, array in arrays.items() if name not in ("W", "U", "b")}


def decoder(rng, layer, carries=False):
    """Return a model of tokens 0 to 3 and their scores, with a vector carried on or without."""
    ids, h = sc.Input((None,), dtype="int64", name="ids"), sc.Input((6,), name="h")
    x = sc.Embedding(floats(rng, 4, 4))(ids)
    y = layer(x)
    scores = sc.Dense(floats(rng, 6, 4))
    if not carries:
        return sc.Model(ids, scores(y))
    again = sc.GRU(floats(rng, 6, 18), floats(rng, 6, 18), return_sequences=True, return_state=True)
    y, state = again(y, initial_state=h)
    return sc.Model([ids, h], [scores(y), state])


def test_a_decoder_begins_each_sequence_with_its_learned_state(rng):
    case = gru(learned=True)
    model = decoder(rng, layer_of(case, arrays_of(rng, case, 4, 6), return_sequences=True))
    made = sc.Generator(model, start=0, max_length=6).greedy(batch=2)
    taken = [0]
    for _ in range(6):
        taken.append(int(model(np.array([taken]))[0, -1].argmax()))
    assert made.ids.tolist() == [taken[1:]] * 2


def test_a_learned_state_is_refused_where_states_are_carried(rng):
    """Constants that a user puts there are every step's, as they say, and are not refused."""
    case = gru(learned=True)
    arrays = arrays_of(rng, case, 4, 6)
    own = layer_of(case, arrays, return_sequences=True, name="cell")
    model = decoder(rng, own, carries=True)
    carry = {"h": model.outputs[1]}
    with pytest.raises(UnsupportedLayerError, match=r"cell.*learned its initial state"):
        sc.Generator(model, carry=carry, start=0, max_length=3)
    plain = layer_of(gru(), {k: v for k, v in arrays.items() if k != "initial_state"},
                     return_sequences=True)  # fmt: skip
    constant = sc.layers.Constant(arrays["initial_state"][0])
    model = decoder(rng, lambda x: plain(x, initial_state=constant(x)), carries=True)
    sc.Generator(model, carry={"h": model.outputs[1]}, start=0, max_length=3).greedy()


# ---- Parameters ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ({"peepholes": True}, 3 * 7),
        ({"layer_norm": "products"}, 4 * 4 * 7),
        ({"layer_norm": "gates", "norm_state": "kept"}, 2 * 4 * 7 + 2 * 7),
        ({"initial_state": [np.ones(7), np.ones(7)]}, 2 * 7),
        ({"clip": 1.0, "cell_clip": 2.0, "input_forget": True}, 0),
    ],
)
def test_parameters_of_a_layer_without_weights(options, more):
    model = sc.Sequential([sc.Input((9, 5)), sc.LSTM(7, **options)])
    assert model.layers[0].parameters == 4 * 7 * (5 + 7 + 1) + more


def test_parameters_are_those_that_were_given(rng):
    ones = np.ones
    W, U, b = ones((5, 28)), ones((7, 28)), ones(28)
    kept = {"layer_norm": "products", "norm_state": "kept"}
    counts = {
        sc.LSTM(W, U, b, peepholes=ones((3, 7))): 28 * 13 + 21,
        sc.LSTM(W, U, ones((2, 28))): 28 * 14,
        sc.LSTM(W, U, **kept): 28 * 12,
        sc.LSTM(W, U, **kept, norm_weights={"input_scale": ones(28)}): 28 * 13,
        sc.LSTM.from_keras([W, U, b], initial_state=[ones(7), ones(7)]): 28 * 13 + 14,
        sc.LSTM.from_onnx(*onnx_arrays(rng, "LSTM", 5, 7), clip=3.0): 28 * 14 + 21,
        sc.GRU(ones((5, 21)), ones((7, 21)), initial_state=ones(7)): 21 * 12 + 7,
        sc.GRU.from_onnx(*onnx_arrays(rng, "GRU", 5, 7)): 21 * 14,
    }
    for layer, count in counts.items():
        assert sc.Sequential([layer]).layers[0].parameters == count


# ---- ONNX's arrays ------------------------------------------------------------------------------


def onnx_arrays(rng, kind, features, units, directions=1, lead=True):
    """Draw W, R, B and, of an LSTM, P."""
    width = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}[kind] * units
    shapes = [(width, features), (width, units), (2 * width,), (3 * units,)]
    drawn = [floats(rng, directions, *shape) for shape in shapes[: 3 + (kind == "LSTM")]]
    return drawn if lead else [array[0] for array in drawn]


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_onnx_gates_one_by_one(rng, kind):
    """Every gate of every array goes where its letter says, spelled out."""
    order = {"SimpleRNN": [""], "LSTM": ["i", "o", "f", "g"], "GRU": ["z", "r", "n"]}[kind]
    ours = {"SimpleRNN": [""], "LSTM": ["i", "f", "g", "o"], "GRU": ["r", "z", "n"]}[kind]
    W, R, B, *P = onnx_arrays(rng, kind, 3, 2, directions=2)
    for k, cell in enumerate(layouts.onnx_recurrent(kind, W, R, B, *P, label="cell")):
        for at, letter in enumerate(ours):
            there = order.index(letter)
            to, source = slice(2 * at, 2 * at + 2), slice(2 * there, 2 * there + 2)
            np.testing.assert_array_equal(cell.W[:, to], W[k, source].T)
            np.testing.assert_array_equal(cell.U[:, to], R[k, source].T)
            both = B[k, : B.shape[1] // 2][source], B[k, B.shape[1] // 2 :][source]
            if kind == "GRU":
                np.testing.assert_array_equal(cell.b[:, to], both)
            else:
                np.testing.assert_array_equal(cell.b[to], both[0].astype(float) + both[1])
        for at, there in enumerate((0, 2, 1)[: 3 * len(P)]):
            np.testing.assert_array_equal(cell.peepholes[at], P[0][k, 2 * there : 2 * there + 2])
    assert cell.parameters == sum(array.size // 2 for array in (W, R, B, *P))


def test_onnx_arrays_without_the_axis_of_directions(rng):
    x = floats(rng, 2, 4, 3)
    for kind in (sc.SimpleRNN, sc.LSTM, sc.GRU):
        arrays = onnx_arrays(rng, kind.__name__, 3, 5)
        models = [
            sc.Sequential([kind.from_onnx(*given)])(x)
            for given in (arrays, [array[0] for array in arrays])
        ]
        np.testing.assert_array_equal(*models)


W, R, B, P = (np.ones(shape) for shape in ((1, 8, 3), (1, 8, 2), (1, 16), (1, 6)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sc.LSTM.from_onnx(W, None), "LSTM has no R"),
        (
            lambda: sc.LSTM.from_onnx(W, R[:, :6]),
            r"weight R: expected shape \(directions, 4\*units",
        ),
        (lambda: sc.GRU.from_onnx(W, R), r"weight R.*found \(1, 8, 2\), as LSTM has"),
        (lambda: sc.LSTM.from_onnx(W, R[0, 0]), "weight R"),
        (lambda: sc.LSTM.from_onnx(W, np.ones((3, 8, 2))), "weight R.*1 or 2 directions"),
        (lambda: sc.LSTM.from_onnx(W, np.ones((1, 0, 0))), "weight R"),
        (lambda: sc.LSTM.from_onnx(W[0], R), r"weight W: expected shape \(1, 8, any\)"),
        (lambda: sc.LSTM.from_onnx(W[:, :7], R), r"weight W: expected shape \(1, 8, any\)"),
        (lambda: sc.LSTM.from_onnx(W[:, :, :0], R), "weight W"),
        (
            lambda: sc.LSTM.from_onnx(W, R, B[:, :8], name="c"),
            r"'c', weight B: .*\(1, 16\).*\(1, 8",
        ),
        (lambda: sc.LSTM.from_onnx(W, R, B, P[:, :5]), r"weight P: expected shape \(1, 6\)"),
        (lambda: sc.LSTM.from_onnx(np.tile(W, (2, 1, 1)), R), "weight W"),
        (lambda: sc.LSTM.from_onnx(*(np.concatenate([a, a]) for a in (W, R, B))), "one direction"),
        (lambda: sc.SimpleRNN.from_onnx(W[:, :2], R[:, :2], None, P), "P is there"),
        (lambda: sc.LSTM.from_onnx([[1], [1, 2]], R), "weight W: rows of different"),
    ],
)
def test_onnx_arrays_that_do_not_fit(call, message):
    with pytest.raises(WeightsError, match=message):
        call()


# ---- Refusals -----------------------------------------------------------------------------------

w, u = np.ones((3, 8)), np.ones((2, 8))
NUMBERS = [0, -1, float("nan"), float("inf"), "1", True, 1e-39, 1e39, 10**400, [1.0], None]


def refused(option, value):
    options = {option: value} | ({"projection": np.ones((2, 2))} if "proj" in option else {})
    return lambda: sc.LSTM(w, u, **options)


REFUSED = [
    *(
        (refused(option, value), option)
        for option in ("clip", "cell_clip", "projection_clip")
        for value in NUMBERS[:-1]
    ),
    *((lambda v=v: sc.LSTM(w, u, layer_norm="gates", epsilon=v), "epsilon")
      for v in (-1e-9, *NUMBERS[2:6], *NUMBERS[7:])),
    (lambda: sc.GRU(2, clip=0), "clip"),
    (lambda: sc.SimpleRNN(2, clip=-1), "clip"),
    (lambda: sc.LSTM(2, input_forget=1), "input_forget"),
    (lambda: sc.GRU(2, update_keeps="no"), "update_keeps"),
    (lambda: sc.LSTM(2, layer_norm="all"), "layer_norm"),
    (lambda: sc.LSTM(2, layer_norm="gates", norm_state="c"), "norm_state"),
    (lambda: sc.LSTM(2, layer_norm=["gates"]), "layer_norm"),
    (lambda: sc.LSTM(2, norm_state="kept"), "norm_state is given and layer_norm is None"),
    (lambda: sc.LSTM(w, u, norm_weights={}), "norm_weights is given"),
    (lambda: sc.LSTM(2, epsilon=1e-3), "epsilon is given"),
    (lambda: sc.LSTM(w, u, layer_norm="gates", norm_weights=[1]), "mapping"),
    (lambda: sc.LSTM(2, layer_norm="gates", norm_weights={}), "norm_weights need W"),
    (lambda: sc.LSTM(w, u, layer_norm="gates", peepholes=np.ones((3, 2))), "exclude each other"),
    (lambda: sc.LSTM(2, layer_norm="gates", peepholes=True), "exclude each other"),
    (lambda: sc.LSTM(w, u, layer_norm="products", input_forget=True), "input_forget"),
    (lambda: sc.LSTM(w, u, projection_clip=1.0), "there is no projection"),
    (lambda: sc.LSTM(2, projection_clip=1.0), "there is no projection"),
    (lambda: sc.LSTM(w, u, peepholes=True), "peepholes are True with units"),
    (lambda: sc.LSTM(2, peepholes=np.ones((3, 2))), "peepholes are True with units"),
    (lambda: sc.LSTM.from_onnx(W, R, B, P, peepholes=P.reshape(3, 2)), "peepholes is given, and"),
    (lambda: sc.LSTM(2, activation={"i": "tanh"}), "activation has the gates g, h; found 'i'"),
    (lambda: sc.LSTM(2, recurrent_activation={"g": "tanh"}), "has the gates i, f, o; found 'g'"),
    (lambda: sc.LSTM(2, recurrent_activation={"if": "tanh"}), "found 'if'"),
    (lambda: sc.LSTM(2, recurrent_activation={1: "tanh"}), "found 1"),
    (lambda: sc.GRU(2, recurrent_activation={"n": "tanh"}), "has the gates r, z"),
    (lambda: sc.GRU(2, recurrent_activation={"z": "tan"}), "recurrent_activation of z"),
    (lambda: sc.SimpleRNN(2, activation={"h": "tanh"}), "has no gates"),
    (lambda: sc.SimpleRNN(2, activation={}), "has no gates"),
    (lambda: sc.LSTM(2, input_forget=True, recurrent_activation={"f": "tanh"}), "f is 1 - i"),
    (lambda: sc.LSTM(2, initial_state=np.ones(2)), "arrays of h, c"),
    (lambda: sc.LSTM(2, initial_state=[np.ones(2)]), "arrays of h, c; found 1 of them"),
    (lambda: sc.LSTM(2, initial_state="zeros"), "arrays of h, c"),
    (lambda: sc.GRUCell(2, return_sequences=True, initial_state=np.ones(2)), "a cell has no"),
    (lambda: sc.LSTM(2, peepholes=True).keras_weights(), "no peepholes"),
    (lambda: sc.LSTM(2, layer_norm="gates").keras_weights(), "no layer_norm"),
    (
        lambda: sc.layers.RecurrentStack(
            [[sc.GRU(2)], [sc.GRU(2, initial_state=np.ones(2))]], stacked=True
        ),
        "some cells have an initial_state",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_options_out_of_range_and_contradictions(call, message):
    with pytest.raises(OptionError, match=message) as caught:
        call()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sc.LSTM(w, u, peepholes=np.ones((2, 3))), r"peepholes: expected shape \(3, 2\)"),
        (lambda: sc.LSTM(w, u, peepholes=np.ones(6)), r"weight peepholes.*found \(6,\)"),
        (lambda: sc.LSTM(w, u, np.ones((2, 7))), r"weight b: expected shape \(2, 8\)"),
        (lambda: sc.SimpleRNN(w, np.ones((8, 8)), np.ones((1, 8))), "weight b"),
        (
            lambda: sc.LSTM(w, u, layer_norm="gates", norm_weights={"gate_scale": np.ones(2)}),
            r"weight gate_scale: expected shape \(8,\), found \(2,\)",
        ),
        (
            lambda: sc.LSTM(w, u, layer_norm="gates", norm_weights={"input_scale": np.ones(8)}),
            "norm_weights has 'input_scale'; expected gate_scale, gate_offset",
        ),
        (
            lambda: sc.LSTM(w, u, layer_norm="gates", norm_weights={"state_scale": np.ones(2)}),
            "norm_weights has 'state_scale'",
        ),
        (lambda: sc.GRU(2, initial_state=np.ones(3)), r"weight h0: expected shape \(2,\)"),
        (lambda: sc.GRU(2, initial_state=np.ones((1, 2))), "weight h0"),
        (lambda: sc.LSTM(w, u, initial_state=[np.ones(2), np.ones(3)]), "weight c0"),
        (
            lambda: sc.LSTM(
                w, u[:1], projection=np.ones((2, 1)), initial_state=[np.ones(2), np.ones(2)]
            ),
            r"weight h0: expected shape \(1,\)",
        ),
    ],
)
def test_weights_of_other_shapes(call, message):
    with pytest.raises(WeightsError, match=message):
        call()
