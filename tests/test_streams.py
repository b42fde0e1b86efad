"""Streams: a step's bits against whole calls, a step's arguments, models that cannot be stepped.

Random graphs are in test_random_streams.py; the state, saved or set, and threads that share a
stream in test_stream_state.py, pools in test_pools.py, and the core's own interface in c/.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from stream_models import (
    KINDS,
    NETWORKS,
    VOCABULARY,
    arguments,
    cell,
    check_steps,
    conv,
    dense,
    floats,
    frame,
    network,
    planned,
    same_bits,
    stream_of,
)

import seqcore as sc
from seqcore._binding import Plan

SIZES = (1, 7, 15, 16, 17, 33, 64, 65, 97)
BATCHES = (1, 2, 5, 49, 130)  # on both sides of a block of rows, and of three
ACTIVATIONS = (
    None, "tanh", "sigmoid", "relu", "hard_sigmoid", "softplus", "softsign", "silu", "leaky_relu",
    "elu", "selu", "gelu", "gelu_tanh", "relu6", "celu", "log_sigmoid", "mish", "hard_silu",
    "hard_tanh", "hard_shrink", "soft_shrink", "tanh_shrink", "threshold", "squareplus",
    "sparse_plus", "sparse_sigmoid", "affine", "scaled_tanh", "softmax", "log_softmax",
)  # fmt: skip


# ---- Bits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_cells_of_every_size(isa: str, kind: str, rng: np.random.Generator) -> None:
    """Sequences and last states; 9 frames, so that a whole call computes some ahead of time."""
    for number, units in enumerate(SIZES):
        features = SIZES[(2 * number + 3) % len(SIZES)]
        for sequences in (True, False):
            layer = cell(rng, kind, features, units, return_sequences=sequences, return_state=True)
            model = sc.Sequential([layer]).with_options(isa=isa, threads=1)
            for batch in (1, BATCHES[1 + number % 4]):
                x = arguments(rng, model, batch, 9)
                check_steps(model, x, f"{units} units, {features} features, batch {batch}")


@pytest.mark.parametrize("kind", KINDS)
def test_cells_of_every_activation(isa: str, kind: str, rng: np.random.Generator) -> None:
    for number, activation in enumerate(ACTIVATIONS):
        options: dict[str, Any] = {"activation": activation}
        if kind != "SimpleRNN":
            options["recurrent_activation"] = ACTIVATIONS[-1 - number]
        for units in (5, 33):
            model = sc.Sequential([cell(rng, kind, 6, units, **options)])
            model = model.with_options(isa=isa, threads=1)
            for batch in (1, 3):
                check_steps(model, arguments(rng, model, batch, 5), f"{options}, batch {batch}")


def test_causal_convolutions(isa: str, rng: np.random.Generator) -> None:
    """More frames than the window is long, so that the ring of past frames goes round."""
    for size in (1, 2, 3, 7):
        for dilation, groups, filters in ((1, 1, 5), (2, 1, 17), (3, 2, 6), (1, 6, 36)):
            layer = conv(rng, size, 6, filters, dilation_rate=dilation, groups=groups)
            model = sc.Sequential([layer]).with_options(isa=isa, threads=1)
            for batch in (1, 5):
                where = f"kernel {size}, dilation {dilation}, {groups} groups, batch {batch}"
                check_steps(model, arguments(rng, model, batch, 2 * size * dilation + 3), where)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(isa: str, name: str, rng: np.random.Generator) -> None:
    model = network(name).with_options(isa=isa, threads=1)
    for batch in BATCHES:
        check_steps(model, arguments(rng, model, batch, 6), f"{name}, batch {batch}")


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("threads", "team"), [(2, 0), (2, 1), (2, 2), (3, 3), (4, 2)])
def test_threads(name: str, threads: int, team: int, rng: np.random.Generator) -> None:
    model = network(name)
    divided = planned(model, threads=threads, team=team)
    for batch in (1, 5, 130):
        x = arguments(rng, model, batch, 4)
        stream = divided.stream(batch)
        check_steps(model.with_options(threads=1), x, f"{name}, batch {batch}", stream)
        if team and sc.cpu_info()["openmp"]:
            stream.step(*frame(stream, x, 0))
            assert divided.plan["last_threads"] == threads


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("team", [1, 2, 3])
def test_teams_divide_wide_cells(isa: str, kind: str, team: int, rng: np.random.Generator) -> None:
    """Every member has units of its own, also those that are no whole vector."""
    for units, sequences in ((130, True), (97, False), (210, True)):
        layer = cell(rng, kind, 12, units, return_sequences=sequences, return_state=True)
        model = sc.Sequential([layer])
        divided = planned(model, isa=isa, threads=team, team=team)
        for batch in (1, 9):
            x = arguments(rng, model, batch, 5)
            check_steps(model.with_options(isa=isa, threads=1), x, "", divided.stream(batch))


def test_weights_past_the_caches(rng: np.random.Generator) -> None:
    """Weights that come slowly lie and are swept in other orders, and blocks have more rows."""
    model = sc.Sequential([cell(rng, "LSTM", 64, 900), cell(rng, "GRU-before", 900, 48)])
    model = model.with_options(threads=1)
    assert model.plan["bytes"] > 12 << 20
    for batch in (1, 3, 49):
        check_steps(model, arguments(rng, model, batch, 4), f"batch {batch}")


def test_long_sequence(rng: np.random.Generator) -> None:
    model = network("torch_layers")
    check_steps(model, arguments(rng, model, 1, 1500), "1500 frames")


def test_a_state_that_is_moved_from_a_constant(rng: np.random.Generator) -> None:
    """A stream begins with what a view of it shows, and with nothing that is reordered."""
    x, layer = sc.Input((None, 5)), cell(rng, "GRU-after", 5, 6)
    constant = sc.layers.Constant(floats(rng, 6))(x)
    for state in (constant, sc.Flatten()(constant), sc.Reshape((6,))(constant)):
        model = sc.Model(x, layer(x, initial_state=state))
        check_steps(model, arguments(rng, model, 3, 4), str(state))
    model = sc.Model(x, layer(x, initial_state=sc.Permute((1,))(constant)))
    with pytest.raises(sc.UnsupportedLayerError, match="its initial state is computed"):
        model.stream()


def test_a_layer_with_a_state_reads_the_one_frame_for_all(rng: np.random.Generator) -> None:
    x, single = sc.Input((None, 4), name="x"), sc.Input((1, 4), name="single")
    state = cell(rng, "LSTM", 4, 6)(single)
    model = sc.Model([x, single], sc.Add()(cell(rng, "LSTM", 4, 6)(x), state))
    check_steps(model, arguments(rng, model, 2, 5), "one frame for all")


# ---- Arguments -----------------------------------------------------------------------------------


def test_frames_of_any_layout_and_dtype(rng: np.random.Generator) -> None:
    model = network("stack")
    x = rng.integers(-9, 9, (3, 40, 5))
    stream = model.stream(3)
    expected = model(x)
    whole, fortran = x.astype(np.float32), np.asfortranarray(x.astype(np.float32))
    wide = np.zeros((3, 40, 10), np.float32)
    wide[..., ::2] = x
    unaligned = np.zeros(3 * 5 * 4 + 1, np.uint8)[1:].view(np.float32).reshape(3, 5)
    frozen = whole.copy()
    frozen.setflags(write=False)

    def shifted(t: int) -> Any:
        unaligned[:] = x[:, t]
        return unaligned

    forms = [
        lambda t: whole[:, t], lambda t: fortran[:, t], lambda t: whole[:, t].copy(),
        lambda t: np.asfortranarray(whole[:, t]), lambda t: x[:, t].astype(np.float64),
        lambda t: x[:, t].tolist(), lambda t: x[:, t], lambda t: x[:, t].astype(np.int8),
        lambda t: x[:, t].astype(">f4"), lambda t: x[:, t].astype(">i2"), lambda t: wide[:, t, ::2],
        lambda t: x[:, t].astype(np.float16), shifted, lambda t: frozen[:, t],
        lambda t: whole[::-1, t][::-1], lambda t: {model.inputs[0]: whole[:, t]},
    ]  # fmt: skip
    for t in range(40):
        same_bits(stream.step(forms[t % len(forms)](t)), expected[:, t], f"frame {t}")


def test_ids_of_any_dtype(rng: np.random.Generator) -> None:
    model = network("tokens")
    ids = rng.integers(0, VOCABULARY, (4, 12))
    stream, expected = model.stream(4), model(ids)
    for t, dtype in enumerate((*"bBhHiIlLqQ", ">i8", ">u2")):
        same_bits(stream.step(ids[:, t].astype(dtype)), expected[:, t], dtype)


def test_out_is_written_and_returned(rng: np.random.Generator, tmp_path: Any) -> None:
    model = network("stack")
    (x,) = arguments(rng, model, 3, 4)
    stream, expected = model.stream(3), model(x)
    plain = np.full((3, 7), np.nan, np.float32)
    memory = np.memmap(tmp_path / "y", np.float32, "w+", shape=(3, 7))
    outs = (plain, memory, [plain], (memory,))
    for t, out in enumerate(outs):
        frame_t: Any = x[:, t] if t % 2 else x[:, t].copy()
        (into,) = out if isinstance(out, (list, tuple)) else (out,)
        assert stream.step(frame_t, out=out) is into
        same_bits(np.asarray(into), expected[:, t], f"out {t}")


def test_outputs_of_several_go_where_they_are_asked(rng: np.random.Generator) -> None:
    model = network("branches")
    (x,) = arguments(rng, model, 2, 1)
    out = tuple(np.empty_like(y[:, 0]) for y in model(x))
    result = model.stream(2).step(x[:, 0], out=out)
    assert all(a is b for a, b in zip(result, out, strict=True))
    same_bits(result, tuple(y[:, 0] for y in model(x)))


F32 = np.float32
PARTS = np.zeros((2, 80), F32)
frozen_out = np.zeros((2, 7), F32)
frozen_out.setflags(write=False)
WRONG_STEPS: list[tuple[str, type[Exception], str, Any, dict[str, Any]]] = [
    # network, error, message, arguments, options
    ("stack", sc.ShapeError, r"\(2, 5\).*\(2, 4\)", [np.zeros((2, 4), F32)], {}),
    ("stack", sc.ShapeError, r"\(2, 5\).*\(1, 5\)", [np.zeros((1, 5), F32)], {}),
    ("stack", sc.ShapeError, r"\(2, 5\).*\(3, 5\)", [np.zeros((3, 5))], {}),
    ("stack", sc.ShapeError, r"\(2, 5\).*\(0, 5\)", [np.zeros((0, 5), F32)], {}),
    ("stack", sc.ShapeError, r"\(2, 5\).*\(10,\)", [np.zeros(10, F32)], {}),
    ("stack", sc.ShapeError, r"\(2, 5\).*\(2, 1, 5\)", [np.zeros((2, 1, 5), F32)], {}),
    ("stack", sc.ShapeError, r"\(2, 5\).*\(\)", [3.0], {}),
    ("stack", sc.ShapeError, "9 axes", [np.zeros((1,) * 9, F32)], {}),
    ("stack", sc.ShapeError, "different shapes", [[[1, 2, 3, 4, 5], [1, 2]]], {}),
    ("stack", sc.ShapeError, "1 inputs.*found 2", [np.zeros((2, 5)), np.zeros((2, 5))], {}),
    ("stack", sc.ShapeError, "inputs", [{"nobody": np.zeros((2, 5))}], {}),
    ("stack", sc.DtypeError, "complex", [np.zeros((2, 5), complex)], {}),
    ("stack", sc.DtypeError, "real numbers", [np.full((2, 5), "a")], {}),
    ("stack", sc.DtypeError, "object", [None], {}),
    ("stack", sc.DtypeError, "masked", [np.ma.zeros((2, 5))], {}),
    ("stack", sc.ShapeError, r"\(2, 7\).*\(2, 8\)", [PARTS[:, :5]], {"out": np.zeros((2, 8), F32)}),
    ("stack", sc.ShapeError, r"\(2, 7\).*\(14,\)", [PARTS[:, :5]], {"out": np.zeros(14, F32)}),
    ("stack", sc.ShapeError, "writeable", [PARTS[:, :5]], {"out": frozen_out}),
    ("stack", sc.ShapeError, "contiguous", [PARTS[:, :5]], {"out": np.zeros((2, 14), F32)[:, ::2]}),
    ("stack", sc.DtypeError, "float32", [PARTS[:, :5]], {"out": np.zeros((2, 7))}),
    ("stack", sc.DtypeError, "float32", [PARTS[:, :5]], {"out": np.zeros((2, 7), ">f4")}),
    ("stack", sc.DtypeError, "float32", [PARTS[:, :5]], {"out": ([[0.0] * 7] * 2,)}),
    ("stack", sc.ShapeError, "1 arrays", [PARTS[:, :5]], {"out": (frozen_out, frozen_out)}),
    ("tokens", sc.IdRangeError, f"id -1 in row 1, expected 0 to {VOCABULARY - 1}", [[0, -1]], {}),
    ("tokens", sc.IdRangeError, f"id {VOCABULARY} in row 0", [[VOCABULARY, 0]], {}),
    ("tokens", sc.IdRangeError, f"id {2**63 - 1} ", [np.array([2**63 - 1, 0])], {}),
    ("tokens", sc.IdRangeError, f"id {-(2**63)} ", [np.array([-(2**63), 0])], {}),
    ("tokens", sc.DtypeError, "int64", [np.array([2**63, 0], np.uint64)], {}),
    ("tokens", sc.DtypeError, "integers", [np.zeros(2)], {}),
    ("tokens", sc.DtypeError, "integers", [np.zeros(2, bool)], {}),
    ("tokens", sc.ShapeError, r"\(2,\).*\(2, 1\)", [np.zeros((2, 1), int)], {}),
]


@pytest.mark.parametrize("number", range(len(WRONG_STEPS)))
def test_a_wrong_step_changes_nothing(number: int, rng: np.random.Generator) -> None:
    name, error, message, given, options = WRONG_STEPS[number]
    model = network(name)
    x = arguments(rng, model, 2, 3)
    stream = model.stream(2)
    expected = model(*x)
    same_bits(stream.step(x[0][:, 0]), expected[:, 0])
    before = stream.save_state()
    with pytest.raises(error, match=message):
        stream.step(*given, **options)
    assert stream.save_state() == before
    for t in (1, 2):
        same_bits(stream.step(x[0][:, t].copy()), expected[:, t], f"frame {t}")


def test_out_that_overlaps_is_refused(rng: np.random.Generator) -> None:
    model = sc.Sequential([cell(rng, "LSTM", 6, 6)])
    memory = floats(rng, 3, 24).reshape(-1)
    stream = model.stream(2)
    before = stream.save_state()
    x = memory[:12].reshape(2, 6)
    for start in (0, 1, 11):
        with pytest.raises(sc.ShapeError, match="overlaps"):
            stream.step(x, out=memory[start : start + 12].reshape(2, 6))
    assert stream.save_state() == before
    expected = model(x[:, None])[:, 0]
    same_bits(stream.step(x, out=memory[12:24].reshape(2, 6)), expected)
    two = network("one_layer_twice")
    shared = np.zeros(19, np.float32)
    with pytest.raises(sc.ShapeError, match="overlap"):
        two.stream(2).step(
            floats(rng, 2, 5), out=(shared[:10].reshape(2, 5), shared[9:].reshape(2, 5))
        )


def test_several_inputs_are_named_when_they_are_wrong() -> None:
    stream = network("several_inputs").stream(2)
    good = [np.zeros((2, 4)), np.zeros((2, 5)), np.zeros(2, int)]
    before = stream.save_state()
    for number, name in enumerate(("x", "fixed", "ids")):
        wrong: list[Any] = list(good)
        wrong[number] = np.zeros((3, *good[number].shape[1:]), good[number].dtype)
        with pytest.raises(sc.ShapeError, match=f"'{name}'"):
            stream.step(*wrong)
    with pytest.raises(sc.ShapeError, match="3 inputs"):
        stream.step(*good[:2])
    assert stream.save_state() == before


# ---- Models that cannot be stepped ---------------------------------------------------------------


def refused_models() -> dict[str, tuple[Any, str]]:
    """By name: a model, and what the message says of the layer."""
    rng = np.random.default_rng(5)
    x, whole = sc.Input((None, 4), name="x"), sc.Input((3,), name="whole")
    ten = sc.Input((10, 4), name="ten")
    back = cell(rng, "LSTM", 4, 3, go_backwards=True)
    both = sc.Bidirectional(cell(rng, "LSTM", 4, 3), backward_layer=back, name="guilty")
    rnn = cell(rng, "LSTM", 4, 3, name="guilty")

    def conv1d(**options: Any) -> sc.Conv1D:
        return conv(rng, 3, 4, 4, name="guilty", **options)

    state = dense(rng, 3, 3)(whole)
    return {
        "bidirectional": (sc.Model(x, both(x)), "from the end"),
        "go_backwards": (
            sc.Model(x, cell(rng, "GRU-after", 4, 3, go_backwards=True, name="guilty")(x)),
            "from the end",
        ),
        "average": (sc.Model(x, sc.GlobalAveragePooling1D(name="guilty")(x)), "pools"),
        "maximum": (sc.Model(x, sc.GlobalMaxPooling1D(name="guilty")(x)), "pools"),
        "crf": (sc.Model(x, sc.CRF(np.eye(4), name="guilty")(x)), "best path"),
        "max_pooling": (sc.Model(x, sc.MaxPooling1D(2, name="guilty")(x)), "pools"),
        "max_pooling_of_one": (sc.Model(x, sc.MaxPooling1D(1, name="guilty")(x)), "pools"),
        "flatten": (sc.Model(ten, sc.Flatten(name="guilty")(ten)), "joins all frames"),
        "same": (sc.Model(x, conv1d(padding="same")(x)), "not causal"),
        "valid": (sc.Model(x, conv1d(padding="valid")(x)), "not causal"),
        "strides": (sc.Model(x, conv1d(strides=2)(x)), "strides"),
        "concat_time": (sc.Model(x, sc.Concatenate(1, name="guilty")(x, x)), "end to end"),
        "concat_time_from_the_end": (
            sc.Model(x, sc.Concatenate(-2, name="guilty")(x, x)), "end to end",
        ),
        "computed_state": (
            sc.Model([x, whole], rnn(x, initial_state=[state, state])), "initial state",
        ),
        "state_of_another": (
            sc.Model(
                x, rnn(x, initial_state=list(cell(rng, "LSTM", 4, 3, return_state=True)(x)[1:]))
            ),
            "initial state",
        ),
        "after_good_layers": (
            sc.Sequential([cell(rng, "LSTM", 4, 4), conv(rng, 2, 4, 4), conv1d(padding="same"),
                           cell(rng, "LSTM", 4, 2)]),
            "not causal",
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", refused_models())
def test_refusals_name_layer_and_reason(name: str) -> None:
    model, reason = refused_models()[name]
    for make in (model.stream, lambda: model.stream(3), lambda: model.pool(3)):
        with pytest.raises(sc.UnsupportedLayerError, match=f"'guilty.*{reason}"):
            make()


def test_a_model_without_time_or_weights_is_refused(rng: np.random.Generator) -> None:
    still = sc.Sequential([dense(rng, 4, 2)])
    for make in (still.stream, lambda: still.pool(2)):
        with pytest.raises(sc.UnsupportedLayerError, match="time axis"):
            make()
    empty = sc.Sequential([sc.Input((None, 4)), sc.LSTM(3, name="empty")])
    for make in (empty.stream, lambda: empty.pool(2)):
        with pytest.raises(sc.NotBuiltError, match="'empty'"):
            make()


@pytest.mark.parametrize("size", [0, -1, 1.5, "2", None, True, 2**31, 2**70])
def test_wrong_sizes_are_refused(size: Any) -> None:
    model = network("no_state")
    with pytest.raises(sc.OptionError, match="batch_size"):
        model.stream(size)
    with pytest.raises(sc.OptionError, match="capacity"):
        model.pool(size)


# ---- Graphs that no layers make ------------------------------------------------------------------


def folds(features: int, *nodes: tuple[str, list[str], str, dict[str, Any]]) -> Any:
    """A plan of nodes without weights over x (batch, time, features) and one (batch, 1)."""
    document = {
        "format": "seqcore",
        "version": 1,
        "inputs": [
            {"name": "x", "kind": "data", "dtype": "float32", "shape": [None, features]},
            {"name": "one", "kind": "data", "dtype": "float32", "shape": [1]},
        ],
        "nodes": [
            {"op": op, "layer": name, "inputs": i, "outputs": [name], "attrs": a, "weights": {}}
            for op, i, name, a in nodes
        ],
        "outputs": [{"name": nodes[-1][2], "value": nodes[-1][2], "lengths": None}],
    }
    return Plan(json.dumps(document).encode(), {}, threads=1)


SOFTMAX = {"activation": ["softmax", 0, 0]}


@pytest.mark.parametrize(
    "plan",
    [
        # time becomes the last axis, over which softmax would go
        folds(1, ("fold", ["x"], "a", {}), ("fold", ["a"], "b", {}),
              ("unfold", ["b", "x"], "c", {}), ("activation", ["c"], "y", SOFTMAX)),
        folds(1, ("fold", ["x"], "a", {}), ("fold", ["a"], "b", {}),
              ("unfold", ["b", "x"], "c", {}), ("stack", ["c", "c"], "y", {})),
        # frames that are rows of the output
        folds(3, ("fold", ["x"], "y", {})),
        # an axis before time
        folds(3, ("unfold", ["x", "one"], "y", {})),
    ],
)  # fmt: skip
def test_what_turns_time_into_something_else_is_refused(plan: Any) -> None:
    plan.run([np.ones((1, 1, plan.value_shape("x")[-1]), np.float32), np.ones((1, 1), np.float32)])
    with pytest.raises(sc.UnsupportedLayerError, match="cannot be stepped: layer"):
        stream_of(plan, 3)


def test_what_stands_after_the_last_frame_is_no_row(rng: np.random.Generator) -> None:
    """Folded, it would be written as as many rows as it has units."""
    graph = sc.Sequential([cell(rng, "LSTM", 3, 33, return_sequences=False)])._graph
    document = dict(graph.document)
    (node,) = document["nodes"]
    state = node["outputs"][0]
    folded = {"op": "fold", "layer": "f", "inputs": [state], "outputs": ["f"], "attrs": {}}
    document["nodes"] = [node, {**folded, "weights": {}}]
    document["outputs"] = [{"name": "f", "value": "f", "lengths": None}]
    plan = Plan(json.dumps(document).encode(), dict(graph.tensors), threads=1)
    with pytest.raises(sc.UnsupportedLayerError, match=r"layer 'f' \(fold\)"):
        stream_of(plan, 60)
