"""Gate traces of layers as a user makes them: what is in a trace, and what it answers.

Random graphs are traced in test_random_traces.py; pictures are in test_plots.py.
"""

from __future__ import annotations

import copy
import pickle
import re
import threading

import numpy as np
import pytest
import torch
from cells import CASES, arrays_of, gru
from cells import layer_of as layer_of_case
from gates_by_hand import ACTIVATIONS, row_by_hand
from tolerances import FLOAT32, FLOAT64, close

import seqcore as sc
from seqcore import trace as tracing
from seqcore.graph import Graph
from seqcore.model import from_graph

FEATURES, H, P = 5, 7, 4
SIZES = (1, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97)
GATES = {sc.LSTM: 4, sc.GRU: 3, sc.SimpleRNN: 1}


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def floats(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def layer_of(rng, kind, features=FEATURES, units=H, projection=0, after=True, **options):
    """Return a layer with weights, biases among them."""
    width, out = GATES[kind] * units, projection or units
    bias = (2, width) if kind is sc.GRU and after else (width,)
    if projection:
        options["projection"] = floats(rng, units, projection) / units**0.5
    W, U = floats(rng, features, width) / features**0.5, floats(rng, out, width) / out**0.5
    return kind(W, U, floats(rng, *bias), **options)


def by_hand(model, name, x, states=(), lengths=None, mask=None):
    """Return gates, c and h of what `name` reads, by hand; NaN past the ends of rows."""
    node = tracing.recurrent_nodes(model._graph.document)[name]
    weights = {key: model._graph.tensors[tensor] for key, tensor in node["weights"].items()}
    rows = []
    for row, frames in enumerate(x):
        end = len(frames) if lengths is None else lengths[row]
        counts = np.ones(end, bool) if mask is None else mask[row, :end]
        initial = [s[row] for s in states] or [None, None]
        made = row_by_hand(node["op"], weights, node["attrs"], frames[:end], initial, counts)
        past = ((0, len(frames) - end), (0, 0))
        rows.append({k: np.pad(v, past, constant_values=np.nan) for k, v in made.items()})
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def agrees(trace, expected, tolerance=FLOAT32[1]):
    assert set(trace.names) == set(expected)
    for name in trace.names:
        assert trace[name].dtype == np.float32
        there = ~np.isnan(expected[name])
        assert np.array_equal(there, ~np.isnan(trace[name])), name
        close(trace[name][there], expected[name][there], tolerance, name)


# ---- Gates of each kind of layer -----------------------------------------------------------------

LAYERS = [
    (sc.LSTM, {}),
    (sc.LSTM, {"projection": P}),
    (sc.LSTM, {"go_backwards": True}),
    (sc.LSTM, {"projection": 9, "go_backwards": True}),
    (sc.LSTM, {"activation": "relu", "recurrent_activation": "hard_sigmoid"}),
    (sc.LSTM, {"activation": None, "recurrent_activation": "softmax"}),
    (sc.GRU, {"after": True}),
    (sc.GRU, {"after": False}),
    (sc.GRU, {"after": True, "go_backwards": True}),
    (sc.GRU, {"after": False, "go_backwards": True}),
    (sc.GRU, {"after": True, "activation": "softsign", "recurrent_activation": "softmax"}),
    (sc.GRU, {"after": False, "activation": sc.ActivationSpec("elu", 0.5)}),
    (sc.SimpleRNN, {}),
    (sc.SimpleRNN, {"activation": "relu", "go_backwards": True}),
]


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize(("kind", "options"), LAYERS)
def test_gates_are_those_by_hand(rng, kind, options, final, isa):
    layer = layer_of(rng, kind, **options, return_sequences=not final, name="cell")
    model = sc.Sequential([layer]).with_options(isa=isa)
    x, lengths = floats(rng, 3, 9, FEATURES), [4, 9, 1]
    states = [floats(rng, 3, size) for size in layer.state_sizes]
    for given, initial, ends in (((), None, None), (states, states, lengths)):
        trace = model.trace(x, lengths=ends, initial_state=initial)
        assert (trace.layer, trace.kind) == ("cell", kind.__name__)
        assert trace.lengths.tolist() == (ends or [9] * 3)
        assert np.array_equal(trace.counts, np.arange(9) < trace.lengths[:, None])
        agrees(trace, by_hand(model, "cell", x, given, ends))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gates_of_cells_in_full(rng, case):
    units = SIZES[CASES.index(case) % len(SIZES)]
    arrays = arrays_of(rng, case, FEATURES, units)
    for backwards in (False, True):
        layer = layer_of_case(case, arrays, name="cell", go_backwards=backwards)
        model, x, ends = sc.Sequential([layer]), floats(rng, 3, 8, FEATURES), [5, 8, 1]
        first = [np.tile(state, (3, 1)) for state in layer.initial_state]
        agrees(model.trace(x), by_hand(model, "cell", x, first))
        agrees(model.trace(x, lengths=ends), by_hand(model, "cell", x, first, ends))
        mask = rng.random((3, 8)) < 0.6
        agrees(model.trace(x, mask=mask), by_hand(model, "cell", x, first, mask=mask))


def test_memory_of_a_gru_whose_z_replaces(rng):
    case = gru(update_keeps=False)
    arrays, x = arrays_of(rng, case, FEATURES, H), floats(rng, 3, 8, FEATURES)
    trace = sc.Sequential([layer_of_case(case, arrays)]).trace(x)
    assert trace.update_keeps is False
    close(trace.memory(), 1 / trace["z"].astype(np.float64).mean(axis=(0, 1)), FLOAT32[1])


@pytest.mark.parametrize("kind", [sc.LSTM, sc.GRU])
@pytest.mark.parametrize("units", SIZES)
def test_gates_of_every_size(rng, kind, units):
    features, batch, time = 98 - units, 1 + units % 9, 1 + units % 7
    model = sc.Sequential([layer_of(rng, kind, features, units)])
    x = floats(rng, batch, time, features)
    agrees(model.trace(x), by_hand(model, kind.__name__.lower(), x))


@pytest.mark.parametrize("kind", sorted(ACTIVATIONS))
def test_h_and_n_follow_from_the_gates_for_every_activation(rng, kind):
    """The kernel's own state is what the equations make of the gates that are traced."""
    frames = 1 if kind == "exponential" else 3  # the next ones are infinite
    spec, x = sc.ActivationSpec(kind), floats(rng, 2, frames, FEATURES)
    bounded = kind in ("softmax", "hard_sigmoid", "softsign", "hard_tanh", "tanh")
    recurrent = spec if bounded else "sigmoid"
    lstm = layer_of(rng, sc.LSTM, activation=spec, recurrent_activation=recurrent)
    trace = sc.Sequential([lstm]).trace(x)
    shown = ACTIVATIONS[kind](torch.from_numpy(trace.c), spec.alpha, spec.beta).numpy()
    close(trace["o"] * shown, trace.h, FLOAT32[2], "LSTM")
    gru = layer_of(rng, sc.GRU, activation=spec)
    trace = sc.Sequential([gru]).trace(x)
    before = np.concatenate([np.zeros((2, 1, H)), trace.h[:, :-1]], axis=1)
    close((1 - trace["z"]) * trace["n"] + trace["z"] * before, trace.h, FLOAT32[2], "GRU")


def test_torch_lstm_by_its_cell(rng):
    torch.manual_seed(3)
    module, cell = torch.nn.LSTM(FEATURES, H, batch_first=True), torch.nn.LSTMCell(FEATURES, H)
    cell.load_state_dict({key[:-3]: value for key, value in module.state_dict().items()})
    x = floats(rng, 2, 8, FEATURES)
    trace = sc.Sequential([sc.LSTM.from_torch(module.state_dict())]).trace(x)
    h = c = torch.zeros(2, H)
    with torch.no_grad():
        for t, frame in enumerate(torch.from_numpy(x).unbind(1)):
            sums = frame @ cell.weight_ih.T + cell.bias_ih + h @ cell.weight_hh.T + cell.bias_hh
            i, f, g, o = sums.chunk(4, dim=1)
            gates = {"i": i.sigmoid(), "f": f.sigmoid(), "g": g.tanh(), "o": o.sigmoid()}
            h, c = cell(frame, (h, c))
            for name, expected in (*gates.items(), ("h", h), ("c", c)):
                close(trace[name][:, t], expected, FLOAT32[1], f"{name}, frame {t}")


def test_torch_gru_by_its_cell(rng):
    torch.manual_seed(4)
    module, cell = torch.nn.GRU(FEATURES, H, batch_first=True), torch.nn.GRUCell(FEATURES, H)
    cell.load_state_dict({key[:-3]: value for key, value in module.state_dict().items()})
    x = floats(rng, 2, 8, FEATURES)
    trace = sc.Sequential([sc.GRU.from_torch(module.state_dict())]).trace(x)
    h = torch.zeros(2, H)
    with torch.no_grad():
        for t, frame in enumerate(torch.from_numpy(x).unbind(1)):
            share = (frame @ cell.weight_ih.T + cell.bias_ih).chunk(3, dim=1)
            recurrent = (h @ cell.weight_hh.T + cell.bias_hh).chunk(3, dim=1)
            r, z = ((a + b).sigmoid() for a, b in zip(share[:2], recurrent[:2], strict=True))
            n = (share[2] + r * recurrent[2]).tanh()
            h = cell(frame, h)
            for name, expected in (("r", r), ("z", z), ("n", n), ("h", h)):
                close(trace[name][:, t], expected, FLOAT32[1], f"{name}, frame {t}")


@pytest.mark.parametrize("projection", [0, P])
def test_the_cell_state_ends_where_the_kernels_does(rng, projection):
    lstm = layer_of(rng, sc.LSTM, projection=projection, return_state=True, name="lstm")
    x = sc.Input((None, FEATURES))
    model = sc.Model(x, list(lstm(x)))
    frames, lengths = floats(rng, 3, 200, FEATURES), np.array([200, 1, 77])
    _, h, c = model(frames, lengths=lengths)
    trace = model.trace(frames, lengths=lengths)
    last = np.arange(3), lengths - 1
    assert trace.h[last].tobytes() == h.tobytes()
    close(trace.c[last], c, FLOAT32[2])


# ---- Bits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "options"), LAYERS)
def test_h_has_the_bits_of_the_output(rng, kind, options, isa):
    layer = layer_of(rng, kind, **options, return_sequences=True)
    model = sc.Sequential([layer]).with_options(isa=isa)
    x, lengths = floats(rng, 4, 11, FEATURES), [11, 3, 0, 7]
    y = model(x, lengths=lengths)
    trace = model.trace(x, lengths=lengths)
    for row, end in enumerate(lengths):
        expected = y[row, :end][:: -1 if options.get("go_backwards") else 1]
        assert trace.h[row, :end].tobytes() == expected.tobytes()


def test_both_directions_have_the_bits_of_the_output(rng):
    first, last = (
        sc.Bidirectional(
            layer_of(rng, kind, size, return_sequences=whole),
            layer_of(rng, kind, size, return_sequences=whole, go_backwards=True),
            name=name,
        )
        for kind, size, whole, name in (
            (sc.LSTM, FEATURES, True, "both"),
            (sc.GRU, 2 * H, False, "last"),
        )
    )
    model = sc.Sequential([first, last])
    x, lengths = floats(rng, 3, 8, FEATURES), [8, 5, 2]
    names = ["both:forward", "both:backward", "last:forward", "last:backward"]
    forward, backward, *ends = (model.trace(x, layer=n, lengths=lengths).h for n in names)
    middle = sc.Sequential([first])(x, lengths=lengths)
    y = model(x, lengths=lengths)
    for row, end in enumerate(lengths):
        both = np.concatenate([forward[row, :end], backward[row, :end]], axis=1)
        assert both.tobytes() == middle[row, :end].tobytes()
        # of both directions the state at the end of its way
        ended = np.concatenate([ends[0][row, end - 1], ends[1][row, 0]])
        assert ended.tobytes() == y[row].tobytes()


# ---- Where a layer can be ------------------------------------------------------------------------


def test_names_of_stacks_parts_and_calls(rng):
    torch.manual_seed(5)
    module = torch.nn.GRU(FEATURES, H, num_layers=2, batch_first=True)
    both = torch.nn.LSTM(H, H, num_layers=2, bidirectional=True, batch_first=True)
    again = layer_of(rng, sc.SimpleRNN, 2 * H, 2 * H, return_sequences=True, name="again")
    model = sc.Sequential([
        sc.GRU.from_torch(module.state_dict(), name="gru"),
        sc.LSTM.from_torch(both.state_dict(), name="both"),
        again, sc.Dense(floats(rng, 2 * H, 2 * H), activation="tanh"), again,
        sc.RNN([
            sc.LSTMCell(*layer_of(rng, sc.LSTM, 2 * H).weights.values()),
            sc.GRUCell(*map(layer_of(rng, sc.GRU, H).weights.get, "WU")),
        ], name="cells"),
    ])  # fmt: skip
    names = [
        "gru:l0", "gru", "both:l0", "both:l0_reverse", "both:l1", "both:l1_reverse",
        "again", "again:2", "cells:cell0", "cells",
    ]  # fmt: skip
    assert list(tracing.recurrent_nodes(model._graph.document)) == names
    x = floats(rng, 2, 6, FEATURES)
    traces = {name: model.trace(x, layer=name) for name in names}
    assert [t.kind for t in traces.values()] == ["GRU"] * 2 + ["LSTM"] * 4 + [
        "SimpleRNN", "SimpleRNN", "LSTM", "GRU"
    ]  # fmt: skip
    with torch.no_grad():
        lower = torch.nn.GRU(FEATURES, H, batch_first=True)
        lower.load_state_dict({k: v for k, v in module.state_dict().items() if "l0" in k})
        expected, out = lower(torch.from_numpy(x))[0], module(torch.from_numpy(x))[0]
        second, _ = both(out)
    close(traces["gru:l0"].h, expected, FLOAT32[1])
    close(traces["gru"].h, out, FLOAT32[2])
    halves = traces["both:l1"].h, traces["both:l1_reverse"].h
    close(np.concatenate(halves, axis=2), second, FLOAT32[3])
    agrees(traces["gru"], by_hand(model, "gru", traces["gru:l0"].h), FLOAT32[1])
    agrees(traces["cells"], by_hand(model, "cells", traces["cells:cell0"].h), FLOAT32[1])
    close(traces["cells"].h[:, -1], model(x), FLOAT32[0])
    called = np.tanh(traces["again"].h @ model._graph.tensors["dense.W"])
    agrees(traces["again:2"], by_hand(model, "again:2", called), FLOAT32[2])


def test_a_layer_inside_of_a_model_and_one_whose_state_another_made(rng):
    """An encoder in a model of its own, whose final states the decoder begins with."""
    a, b = sc.Input((None, FEATURES), name="a"), sc.Input((None,), dtype="int64", name="b")
    read = layer_of(rng, sc.LSTM, return_state=True, name="read")
    masked = sc.Embedding(floats(rng, 9, FEATURES), mask_zero=True)
    write = layer_of(rng, sc.LSTM, return_sequences=True, name="write")
    from seqcore.layers.composite import Composite

    source = sc.Input((None, FEATURES))
    encoder = Composite([source], list(read(source)), name="encoder")
    _, h, c = encoder(a)
    model = sc.Model([a, b], sc.Dense(floats(rng, H, 2))(write(masked(b), initial_state=[h, c])))
    x, ids = floats(rng, 3, 5, FEATURES), rng.integers(0, 9, (3, 7))
    ids[0, :3] = 0
    first = model.trace(x, ids, layer="encoder/read", lengths=[5, 2, 3])
    agrees(first, by_hand(model, "encoder/read", x, lengths=[5, 2, 3]))
    ends = np.arange(3), first.lengths - 1
    second = model.trace({"b": ids, "a": x}, layer="write", lengths={"a": [5, 2, 3]})
    embedded = model._graph.tensors["embedding.W"][ids]
    states = first.h[ends], first.c[ends]
    agrees(second, by_hand(model, "write", embedded, states, mask=ids != 0), FLOAT32[2])
    assert np.array_equal(second.counts, ids != 0)
    assert np.array_equal(second.h[0, 2], first.h[0, -1])  # no frame has counted yet


def test_lengths_are_those_behind_layers_that_change_them(rng):
    model = sc.Sequential([
        sc.Embedding(floats(rng, 6, 3)),
        sc.Conv1D(floats(rng, 3, 3, FEATURES), padding="valid", strides=2),
        sc.MaxPooling1D(2, padding="same"),
        layer_of(rng, sc.LSTM, name="lstm"),
    ])  # fmt: skip
    ids, lengths = rng.integers(0, 6, (4, 31)), [31, 3, 2, 12]
    trace = model.trace(ids, lengths=lengths)
    # conv: (n - 3)//2 + 1 frames, of fewer than 3 none; pool: ceil(n / 2)
    assert trace.lengths.tolist() == [8, 1, 0, 3]
    for row, end in enumerate(lengths):
        alone = model.trace(ids[row : row + 1, :end])
        frames = alone.h.shape[1]
        assert alone.lengths.tolist() == [frames] == [trace.lengths[row]]
        for name in trace.names:
            close(trace[name][row, :frames], alone[name][0], FLOAT32[0])
            assert np.isnan(trace[name][row, frames:]).all()
    rows, y = [0, 1, 3], model(ids, lengths=lengths)
    assert trace.h[rows, trace.lengths[rows] - 1].tobytes() == y[rows].tobytes()


def test_inside_time_distributed_frames_are_rows(rng):
    inner = layer_of(rng, sc.LSTM, name="inner")
    model = sc.Sequential([
        sc.Input((None, 6, FEATURES)), sc.TimeDistributed(inner, name="each"),
        layer_of(rng, sc.GRU, H, name="outer"),
    ])  # fmt: skip
    x = floats(rng, 2, 3, 6, FEATURES)
    trace = model.trace(x, layer="each", lengths=[3, 1])
    rows = x.reshape(6, 6, FEATURES)
    lengths = [6, 6, 6, 6, 0, 0]  # the second row's frames end behind its first
    agrees(trace, by_hand(model, trace.layer, rows, lengths=lengths))
    assert trace.lengths.tolist() == lengths
    assert model.trace(x, layer="outer", lengths=[3, 1]).lengths.tolist() == [3, 1]


@pytest.mark.parametrize("kind", [sc.LSTM, sc.GRU])
def test_states_over_ids_are_the_layer_s_own(rng, kind, isa):
    layer = layer_of(rng, kind, return_sequences=True, name="cell")
    letters = sc.Input((None,), dtype="int64")
    model = sc.Model(letters, layer(sc.OneHot(FEATURES)(letters))).with_options(isa=isa)
    ids = rng.integers(0, FEATURES, (3, 9))
    vectors = np.eye(FEATURES, dtype=np.float32)[ids]
    trace = model.trace(ids, lengths=[4, 9, 1])
    agrees(trace, by_hand(sc.Sequential([layer]), "cell", vectors, (), [4, 9, 1]))
    y = model(ids, lengths=[4, 9, 1])
    assert trace.h[trace.counts].tobytes() == y[trace.counts].tobytes()


def test_time_distributed_twice(rng):
    inner = sc.TimeDistributed(layer_of(rng, sc.SimpleRNN))
    model = sc.Sequential([sc.Input((None, 2, 4, FEATURES)), sc.TimeDistributed(inner)])
    x = floats(rng, 2, 3, 2, 4, FEATURES)
    trace = model.trace(x, lengths=[2, 3])
    assert trace.lengths.tolist() == [4] * 4 + [0] * 2 + [4] * 6
    close(trace.h[:4, -1], model(x)[0, :2].reshape(4, H), FLOAT32[0])


@pytest.mark.parametrize("kind", [sc.LSTM, sc.GRU, sc.SimpleRNN])
def test_ids_in_place_of_one_hot_vectors(rng, kind):
    layer = layer_of(rng, kind, name="rnn")
    model = sc.Sequential([sc.OneHot(FEATURES), layer])
    ids, lengths = rng.integers(0, FEATURES, (3, 6)), [6, 2, 0]
    ids[1, 2:] = ids[2] = 10**12  # which nobody reads
    trace = model.trace(ids, lengths=lengths)
    vectors = (ids[..., None] == np.arange(FEATURES)).astype(np.float32)
    explicit = sc.Sequential([layer])
    assert trace.h.tobytes() == explicit.trace(vectors, lengths=lengths).h.tobytes()
    agrees(trace, by_hand(explicit, "rnn", vectors, lengths=lengths))
    with pytest.raises(sc.IdRangeError, match=rf"id {FEATURES}\b"):
        model.trace([[0, FEATURES]])


def test_weights_that_two_layers_share(rng):
    one = layer_of(rng, sc.LSTM)
    x = sc.Input((None, FEATURES))
    both = [sc.LSTM(*one.weights.values(), name=name) for name in ("first", "second")]
    tail = sc.Concatenate()([both[0](x), both[1](sc.Activation("tanh")(x))])
    model, frames = sc.Model(x, tail), floats(rng, 2, 5, FEATURES)
    agrees(model.trace(frames, layer="second"), by_hand(model, "second", np.tanh(frames)))


def test_a_module_of_torch_in_its_own_layout():
    torch.manual_seed(6)
    module = torch.nn.LSTM(FEATURES, H, num_layers=2)  # time first, and states in one array
    model = sc.from_torch(module, example_input=torch.zeros(4, 3, FEATURES))
    x = torch.randn(6, 2, FEATURES)
    with torch.no_grad():
        out, _ = module(x)
    nodes = tracing.recurrent_nodes(model._graph.document)
    assert len(nodes) == 2
    trace = model.trace(x.numpy(), layer=list(nodes)[-1])
    close(trace.h, out.transpose(0, 1), FLOAT32[2])


def test_what_a_wiring_carries_is_given(rng):
    """A graph in which an input is the output of the step before: the output is not traced."""
    model = sc.Sequential([sc.Input((None, FEATURES), name="x"), layer_of(rng, sc.GRU)])
    document = copy.deepcopy(dict(model._graph.document))
    document["inputs"].append({
        "name": "last", "kind": "data", "dtype": "float32", "shape": [H], "next": "gru",
    })  # fmt: skip
    text = Graph(document, {}).to_json()
    wired = from_graph(sc.Model, text, dict(model._graph.tensors), "a test", None, 0)
    x = floats(rng, 2, 4, FEATURES)
    assert wired.trace(x, floats(rng, 2, H)).h.tobytes() == model.trace(x).h.tobytes()


def test_a_graph_of_a_file_may_take_lengths_and_names_from_anywhere(rng):
    """Lengths that were mapped for another value, and names that a trace would take itself."""
    a, b = sc.Input((None, FEATURES), name="a"), sc.Input((None, 2), name="b")
    y = layer_of(rng, sc.LSTM, name="lstm")(a)
    z = sc.Conv1D(floats(rng, 2, 2, 3), strides=2, name="conv")(b)
    model = sc.Model([a, b], [y, sc.GlobalMaxPooling1D()(z)])
    renamed = {"conv": "lstm:states", "global_max_pooling1d": "a:frames"}

    def node_of(node):
        names = {k: [renamed.get(v, v) for v in node[k]] for k in ("inputs", "outputs")}
        return {**node, **names} | ({"lengths": "conv:lengths"} if node["op"] == "lstm" else {})

    nodes = sorted(map(node_of, model._graph.document["nodes"]), key=lambda n: n["op"] == "lstm")
    outputs = [{"name": "y", "value": "a:frames"}]
    document = {**model._graph.document, "nodes": nodes, "outputs": outputs, "layers": []}
    text = Graph(document, {}).to_json()
    read = from_graph(sc.Model, text, dict(model._graph.tensors), "a test", None, 0)
    x, other = floats(rng, 2, 4, FEATURES), floats(rng, 2, 8, 2)
    trace = read.trace(x, other, lengths={"b": [8, 5]})
    assert trace.lengths.tolist() == [4, 2]
    agrees(trace, by_hand(model, "lstm", x, lengths=[4, 2]))


def test_no_rows_and_no_frames(rng):
    for kind in GATES:
        model = sc.Sequential([layer_of(rng, kind)])
        for shape in ((0, 4), (3, 0), (0, 0)):
            trace = model.trace(np.zeros((*shape, FEATURES)))
            assert {trace[name].shape for name in trace.names} == {(*shape, H)}
            assert trace.lengths.tolist() == [shape[1]] * shape[0]


# ---- Masks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_masked_frame_has_no_gates_and_the_state_that_goes_past_it(rng, backwards, zeros):
    layer = layer_of(
        rng, sc.LSTM, go_backwards=backwards, return_sequences=True, zero_output_for_mask=zeros,
        name="lstm",
    )  # fmt: skip
    model, x = sc.Sequential([layer]), floats(rng, 3, 6, FEATURES)
    mask = np.array([[0, 1, 1, 0, 0, 1], [1, 1, 0, 1, 0, 0], [0] * 6], bool)
    x[~mask] = np.nan
    states = floats(rng, 3, H), floats(rng, 3, H)
    trace = model.trace(x, mask=mask, initial_state=states)
    agrees(trace, by_hand(model, "lstm", x, states, mask=mask))
    assert np.array_equal(trace.counts, mask)
    assert trace.lengths.tolist() == [6, 6, 6]
    before, after = (0, 1) if not backwards else (5, 4)
    if not backwards:
        assert trace.h[0, before].tobytes() == states[0][0].tobytes()
        assert trace.c[0, before].tobytes() == states[1][0].tobytes()
        assert trace.h[0, 3].tobytes() == trace.h[0, 2].tobytes()
    else:
        assert trace.h[1, before].tobytes() == states[0][1].tobytes() == trace.h[1, after].tobytes()
    assert (trace.h[2] == states[0][2]).all()


def test_a_mask_that_the_model_makes_and_lengths(rng):
    model = sc.Sequential([
        sc.Input((None, FEATURES)), sc.Masking(0.0), layer_of(rng, sc.GRU, name="gru"),
    ])  # fmt: skip
    x = floats(rng, 2, 7, FEATURES)
    x[0, [1, 5]] = 0
    trace = model.trace(x, lengths=[6, 7])
    assert trace.lengths.tolist() == [6, 7]
    mask = (x != 0).any(axis=2)
    agrees(trace, by_hand(model, "gru", x, lengths=[6, 7], mask=mask))


# ---- What a trace answers ------------------------------------------------------------------------


def test_memory_is_how_much_is_kept_in_sum():
    """An impulse in an LSTM and in a GRU whose gates are the same at every frame."""
    forget = np.array([-2.0, 0.0, 1.0, 3.0, 4.5])
    units, time = len(forget), 4000
    shut, none = np.full(units, -200.0), np.zeros((units, units))
    b = np.concatenate([shut, forget, np.zeros(units), np.zeros(units)])
    lstm = sc.LSTM(np.zeros((1, 4 * units)), np.tile(none, 4), b)
    ones, x = np.ones((1, units)), np.zeros((1, time, 1))
    trace = sc.Sequential([lstm]).trace(x, initial_state=[None, ones])
    close(1 + trace.c.sum(axis=1, dtype=np.float64)[0], trace.memory(), FLOAT32[3])

    gru = sc.GRU(
        np.zeros((1, 3 * units)), np.tile(none, 3), np.concatenate([shut, forget, 0 * forget])
    )
    trace = sc.Sequential([gru]).trace(x, initial_state=[ones])
    close(1 + trace.h.sum(axis=1, dtype=np.float64)[0], trace.memory(), FLOAT32[3])


def made_trace(kind="LSTM", counts=((1, 1, 1), (1, 0, 1)), **gates):
    """Return a trace of these gates, lists (B, T) of the one unit."""
    counts = np.array(counts, bool)
    arrays = {k: np.array(v, np.float32)[..., None] for k, v in gates.items()}
    arrays = {k: np.where(counts[..., None], v, np.nan) for k, v in arrays.items()}
    h = np.zeros((*counts.shape, 1), np.float32)
    return sc.Trace("made", kind, arrays, h, h, np.full(len(counts), counts.shape[1]), counts)


def test_memory_takes_the_mean_of_the_frames_that_count():
    trace = made_trace(f=[[0.5, 0.75, 1.0], [0.25, 99, 0.5]])
    close(trace.memory(), [1 / (1 - 3 / 5)], FLOAT32[0])
    assert made_trace(f=[[1, 1, 1], [1, 0, 1]]).memory().tolist() == [np.inf]
    assert made_trace(f=[[2, 1, 1], [1, 0, 1]]).memory().tolist() == [np.inf]  # of no sigmoid
    assert made_trace("GRU", z=[[0, 0, 0], [0, 9, 0]], f=[[1] * 3] * 2).memory().tolist() == [1]
    assert np.isnan(made_trace(counts=[[0, 0]], f=[[1, 1]]).memory()).all()
    overflown = made_trace(f=[[0.5, np.nan, 0.5], [0.5, 9, 0.5]])
    assert np.isnan(overflown.memory()).all()  # a model's own NaN is not left out


def test_independent_gates_keep_their_mean_on_average():
    """The sum over k of what is left after k frames, over all sequences of two gates, in full."""
    gates, length = (0.25, 0.5), 12
    left = [1.0]
    for k in range(1, length + 1):
        every = np.array(np.meshgrid(*[gates] * k)).reshape(k, -1)
        left.append(every.prod(axis=0).mean())
    beyond = left[-1] * left[1] / (1 - left[1])  # each further frame keeps the same share
    trace = made_trace(counts=[[1, 1]], f=[list(gates)])
    close(trace.memory(), [sum(left) + beyond], FLOAT32[0])


def test_saturation_counts_frames(rng):
    model = sc.Sequential([layer_of(rng, sc.LSTM, units=H)])
    trace = model.trace(8 * floats(rng, 4, 9, FEATURES), lengths=[9, 3, 0, 6])
    found = trace.saturation(0.2, 0.7)
    assert list(found) == ["i", "f", "o"]
    frames = [(row, t) for row, n in enumerate((9, 3, 0, 6)) for t in range(n)]
    for name, (left, right) in found.items():
        for unit in range(H):
            gates = [trace[name][row, t, unit] for row, t in frames]
            close(left[unit], sum(g < 0.2 for g in gates) / 18, FLOAT64)
            close(right[unit], sum(g > 0.7 for g in gates) / 18, FLOAT64)
    gru = sc.Sequential([layer_of(rng, sc.GRU)]).trace(np.zeros((1, 2, FEATURES)))
    assert list(gru.saturation()) == ["r", "z"]
    empty = model.trace(np.zeros((2, 0, FEATURES))).saturation()
    assert np.isnan(empty["f"].left).all()
    defaults = made_trace(f=[[0.0, 0.1, 0.11], [0.9, 0, 0.91]]).saturation()["f"]
    assert (defaults.left.tolist(), defaults.right.tolist()) == ([1 / 5], [1 / 5])


# ---- Plans ---------------------------------------------------------------------------------------


def test_a_plan_is_made_once_for_a_layer(rng, monkeypatch):
    made, plan = [], tracing.Plan

    def counted(*arguments, **options):
        made.append(options)
        return plan(*arguments, **options)

    monkeypatch.setattr(tracing, "Plan", counted)
    ways = layer_of(rng, sc.GRU), layer_of(rng, sc.GRU, go_backwards=True)
    model = sc.Sequential([sc.Bidirectional(*ways)])
    for name in ("forward", "backward", "forward"):
        model.trace(floats(rng, 1, 3, FEATURES), layer=f"bidirectional:{name}")
    assert len(made) == 2
    other = model.with_options(isa="scalar", threads=1)
    other.trace(floats(rng, 1, 3, FEATURES), layer="bidirectional:forward")
    assert made[-1] == {"isa": "scalar", "threads": 1}
    assert len(made) == 3


def test_files_pickles_and_loaded_weights(rng, tmp_path):
    model = sc.Sequential([layer_of(rng, sc.LSTM)])
    x = floats(rng, 2, 5, FEATURES)
    expected = model.trace(x)
    model.save(tmp_path / "m.safetensors", packed=True)
    others = [
        sc.load(tmp_path / "m.safetensors"), sc.load(tmp_path / "m.safetensors", mmap=True),
        pickle.loads(pickle.dumps(model)), copy.deepcopy(model),
    ]  # fmt: skip
    for other in others:
        found = other.trace(x)
        for name in expected.names:
            assert found[name].tobytes() == expected[name].tobytes()


def test_threads_trace_one_model(rng):
    model, x = sc.Sequential([layer_of(rng, sc.LSTM)]), floats(rng, 2, 30, FEATURES)
    expected, found = model.with_options(threads=1).trace(x), []
    threads = [threading.Thread(target=lambda: found.append(model.trace(x))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(trace.h.tobytes() == expected.h.tobytes() for trace in found)


# ---- Bad input -----------------------------------------------------------------------------------


def test_what_cannot_be_traced_is_said(rng):
    x = floats(rng, 1, 3, FEATURES)

    def fails(kind, message, model, *inputs, **options):
        with pytest.raises(kind, match=re.escape(message)):
            model.trace(*inputs, **options)

    dense = sc.Sequential([sc.Dense(floats(rng, FEATURES, 2))])
    fails(sc.OptionError, "trace: the model has no recurrent layer", dense, np.zeros((1, FEATURES)))
    unbuilt = sc.Sequential([sc.Input((None, FEATURES)), sc.LSTM(3, name="memory")])
    fails(sc.NotBuiltError, "'memory'; there is nothing to trace", unbuilt, x)

    one = sc.Sequential([layer_of(rng, sc.LSTM, name="memory")])
    fails(sc.OptionError, "no recurrent layer 'lstm'; there is 'memory'", one, x, layer="lstm")
    fails(sc.OptionError, "layer is a name; found 0", one, x, layer=0)
    fails(sc.ShapeError, "expected 1 inputs ['input'], found 2", one, x, "memory")
    fails(sc.ShapeError, "size 5 in axis 2, found 6", one, np.zeros((1, 3, 6)))
    fails(sc.ShapeError, "must have 3 axes", one, np.zeros((3, FEATURES)))
    fails(sc.ShapeError, "expected 0 to 3", one, x, lengths=[4])
    fails(sc.OptionError, "lengths and mask", one, x, lengths=[2], mask=np.ones((1, 3)))
    fails(sc.ShapeError, "tuple of 2 arrays", one, x, initial_state=[x])
    states = [np.zeros((1, 8)), None]
    fails(sc.ShapeError, "'memory:h0' must have size 7", one, x, initial_state=states)
    fails(sc.DtypeError, "real numbers", one, np.full((1, 3, FEATURES), "a"))

    ways = layer_of(rng, sc.GRU), layer_of(rng, sc.GRU, go_backwards=True)
    both = sc.Sequential([sc.Bidirectional(*ways, name="both")])
    listed = "'both:forward', 'both:backward'"
    fails(sc.OptionError, f"the model has several; layer= is one of {listed}", both, x)
    fails(sc.OptionError, f"layer 'both' has several; layer= is one of {listed}", both, x,
          layer="both")  # fmt: skip
    fails(sc.OptionError, f"no recurrent layer 'both:'; there are {listed}", both, x, layer="both:")

    rnn = layer_of(rng, sc.SimpleRNN, FEATURES, FEATURES, return_sequences=True, name="rnn")
    many = sc.Sequential([rnn] * 30)
    fails(sc.OptionError, "'rnn:19', 'rnn:20' and 10 more", many, x, layer="other")


def test_other_inputs_are_checked_too(rng):
    a, b = sc.Input((None, FEATURES), name="a"), sc.Input((3,), name="b")
    model = sc.Model([a, b], sc.Concatenate()([layer_of(rng, sc.LSTM)(a), b]))
    x = floats(rng, 2, 4, FEATURES)
    assert model.trace(x, np.zeros((2, 3))).h.shape == (2, 4, H)
    with pytest.raises(sc.ShapeError, match="'b'"):
        model.trace(x, np.zeros((2, 4)))


def test_wrong_questions_are_refused(rng):
    x = floats(rng, 1, 3, FEATURES)
    trace = sc.Sequential([layer_of(rng, sc.LSTM, name="memory")]).trace(x)
    with pytest.raises(sc.OptionError, match=r"'memory'.*no 'r'; a LSTM has i, f, g, o, c, h"):
        trace["r"]
    for low, high in ((0.9, 0.1), (0.5, 0.5), (np.nan, 1), ("a", 1), (None, 1)):
        with pytest.raises(sc.OptionError, match="saturation: expected numbers low < high"):
            trace.saturation(low, high)
    plain = sc.Sequential([layer_of(rng, sc.SimpleRNN)]).trace(x)
    assert plain.names == ("h",)
    with pytest.raises(sc.OptionError, match="no 'c'; a SimpleRNN has h"):
        plain["c"]
    for method in ("memory", "saturation"):
        with pytest.raises(sc.OptionError, match=f"{method}: layer 'simple_rnn' is a SimpleRNN"):
            getattr(plain, method)()
