"""OneHot: ids in place of one-hot vectors have the bits of the same layer fed the vectors.

The vectors are explicit here: rows of an identity, through an input of floats. Not here: frameworks
(parity/test_parity_one_hot.py), steps (stream_models.NETWORKS) and graphs that lie (attacks/).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stream_models import KINDS, Array, cell, dense, floats, planned, same_bits

import seqcore as sc
from seqcore.layers import ArgMax, Positions, Reshape

SIZES = (1, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97)
DEPTHS = (1, 2, 5, 11, 40)
BATCHES = (1, 2, 5, 49)  # a row alone, hoisted sums, sums within the step, several blocks

ACTIVATIONS = {
    "SimpleRNN": {"activation": "relu"},
    "LSTM": {"activation": "softsign", "recurrent_activation": "hard_sigmoid"},
    "LSTM-projected": {"activation": "softmax"},
    "GRU-after": {"activation": "elu", "recurrent_activation": "softmax"},
    "GRU-before": {"activation": "relu", "recurrent_activation": "hard_sigmoid"},
}


def pair(layer: Any, depth: int, rank: int = 1, **options: Any) -> tuple[sc.Model, sc.Model]:
    """Return a layer over ids, and the same over floats."""
    ids = sc.Input((None,) * rank, dtype="int64", name="x")
    x = sc.Input((*(None,) * rank, depth), name="x")
    models = sc.Model(ids, layer(sc.OneHot(depth)(ids))), sc.Model(x, layer(x))
    return tuple(model.with_options(**options) for model in models)  # type: ignore[return-value]


def vectors(ids: Array, depth: int) -> Array:
    return np.eye(depth, dtype=np.float32)[ids]


def ops(model: sc.Model) -> list[str]:
    return [node["op"] for node in model._graph.document["nodes"]]


def both(
    models: tuple[sc.Model, sc.Model], ids: Array, depth: int, where: str, **call: Any
) -> None:
    """Assert that the two give the same bits, and that the first makes no vectors."""
    ours, expected = models
    assert "one_hot" not in ops(ours)
    same_bits(ours(ids, **call), expected(vectors(ids, depth), **call), where)


# ---- Bits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_cells_of_every_size(isa: str, kind: str, rng: np.random.Generator) -> None:
    for number, units in enumerate(SIZES):
        depth = DEPTHS[number % len(DEPTHS)]
        options = {} if number % 3 else ACTIVATIONS[kind]
        layer = cell(rng, kind, depth, units, return_state=True, **options)
        models = pair(layer, depth, isa=isa, threads=1)
        for batch in BATCHES:
            both(models, rng.integers(0, depth, (batch, 9)), depth, f"{units} units, batch {batch}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backwards", [False, True])
def test_lengths_masks_and_states(
    isa: str, kind: str, backwards: bool, rng: np.random.Generator
) -> None:
    for sequences, options in ((True, {}), (False, ACTIVATIONS[kind])):
        layer = cell(
            rng, kind, 11, 33, return_state=True, go_backwards=backwards,
            return_sequences=sequences, **options,
        )  # fmt: skip
        models = pair(layer, 11, isa=isa, threads=1)
        for batch in (1, 6, 20):
            ids, lengths = rng.integers(0, 11, (batch, 12)), rng.integers(0, 13, batch)
            states = [floats(rng, batch, size) for size in layer.state_sizes]
            for call in (
                {"lengths": lengths}, {"mask": rng.random((batch, 12)) < 0.6},
                {"initial_state": states}, {"initial_state": states, "lengths": lengths},
            ):  # fmt: skip
                both(models, ids, 11, f"batch {batch}, {sorted(call)}", **call)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("threads", "team"), [(2, 1), (2, 2), (3, 3), (4, 2)])
def test_threads(isa: str, kind: str, threads: int, team: int, rng: np.random.Generator) -> None:
    for units, options in ((130, {}), (97, ACTIVATIONS[kind]), (20, {})):
        models = pair(cell(rng, kind, 11, units, **options), 11, isa=isa, threads=1)
        divided = planned(models[0], isa=isa, threads=threads, team=team), models[1]
        for batch in (1, 9):
            ids = rng.integers(0, 11, (batch, 5))
            both(divided, ids, 11, f"{units} units, batch {batch}", lengths=[5, *[2] * (batch - 1)])


def test_what_is_made_of_recurrent_layers(isa: str, rng: np.random.Generator) -> None:
    def one(kind: str, features: int = 7, **options: Any) -> Any:
        return cell(rng, kind, features, 16, **options)

    weights = {
        f"{name}_l{layer}{way}": floats(rng, *shape)
        for layer, features in ((0, 7), (1, 32))
        for way in ("", "_reverse")
        for name, shape in {
            "weight_ih": (48, features), "weight_hh": (48, 16), "bias_ih": (48,), "bias_hh": (48,),
        }.items()
    }  # fmt: skip
    backward = one("GRU-after", go_backwards=True)
    cells = [
        sc.LSTMCell(floats(rng, 7, 64), floats(rng, 16, 64)),
        sc.GRUCell(floats(rng, 16, 48), floats(rng, 16, 48)),
    ]
    for name, layer, called in (
        ("Bidirectional", sc.Bidirectional(one("LSTM"), backward), 2),
        ("RNN", sc.RNN(cells, return_sequences=True), 1),
        ("stack of torch's", sc.GRU.from_torch(weights, return_state=True), 2),
    ):
        models = pair(layer, 7, isa=isa)
        ids = rng.integers(0, 7, (5, 8))
        both(models, ids, 7, name, lengths=[8, 3, 0, 7, 1])
        attrs = [node["attrs"].get("one_hot", 0) for node in models[0]._graph.document["nodes"]]
        assert attrs.count(7) == called, name


@pytest.mark.parametrize("activation", [None, "tanh", "softmax", "log_softmax"])
def test_dense(isa: str, activation: str | None, rng: np.random.Generator) -> None:
    for number, units in enumerate(SIZES):
        depth = DEPTHS[number % len(DEPTHS)]
        layer = dense(rng, depth, units, activation=activation)
        for rank in (0, 1, 2):
            models = pair(layer, depth, rank, isa=isa)
            ids = rng.integers(0, depth, (5, 4, 3)[: 1 + rank])
            lengths = {"lengths": [4, 0, 1, 2, 3]} if rank else {}
            both(models, ids, depth, f"{units} units, rank {rank}", **lengths)


def test_a_frame_alone_and_frames_of_frames(isa: str, rng: np.random.Generator) -> None:
    W, U, b = floats(rng, 7, 80), floats(rng, 20, 80), floats(rng, 80)
    ids = rng.integers(0, 7, (5, 4, 6))
    step = pair(lambda x: sc.LSTMCell(W, U, b)(x), 7, 0, isa=isa)
    both(step, ids[:, 0, 0], 7, "a cell")
    states = [floats(rng, 5, 20), floats(rng, 5, 20)]
    both(step, ids[:, 0, 0], 7, "a cell with states", initial_state=states)
    inner = pair(sc.TimeDistributed(sc.LSTM(W, U, b)), 7, 2, isa=isa)
    both(inner, ids, 7, "frames of frames")
    both(inner, ids, 7, "frames of frames, ragged", lengths=[4, 0, 2, 1, 3])


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_with_a_sign_and_denormals(isa: str, kind: str, rng: np.random.Generator) -> None:
    """A vector's zeros make 0 of -0, but where all weights of a column have a sign too."""
    tiny = np.float32(1e-40)
    layer = cell(rng, kind, 6, 20, activation="linear" if kind == "SimpleRNN" else "tanh")
    zeros = np.array([-0.0, 0.0, -tiny, tiny], np.float32)
    for name in ("W", "b", "bn"):
        if name in layer.weights:
            shape = layer.weights[name].shape
            layer.weights[name] = rng.choice(zeros, shape)
    layer.weights["W"][:, ::3] = -0.0
    layer.weights["b"][::2] = -0.0
    # a state of which every product with U is lost below the smallest number, with its sign
    layer.weights["U"] = np.full_like(layer.weights["U"], -1e-30)
    models = pair(layer, 6, isa=isa)
    state = [np.full((6, size), 1e-30, np.float32) for size in layer.state_sizes]
    ids = np.arange(6)[:, None] + [[0, 1, 2]]
    both(models, ids % 6, 6, "", initial_state=state)
    if kind == "SimpleRNN" and isa != "scalar":  # whose multiply-add rounds twice, -0 + 0 at last
        signs = np.signbit(models[0](ids % 6, initial_state=state))
        assert signs.any()
        assert not signs.all()


def test_weights_that_are_not_finite_count_for_their_own_ids(isa: str) -> None:
    """With vectors 0 * inf is NaN in every row; a row of W that has none gives numbers."""
    W = np.array([[1.0], [np.inf], [np.nan], [-2.0]], np.float32)
    models = pair(sc.SimpleRNN(W, np.zeros((1, 1)), activation=None), 4, isa=isa)
    ids = np.arange(4)[:, None]
    assert np.isnan(models[1](vectors(ids, 4))).all()
    np.testing.assert_array_equal(models[0](ids), W)
    head = pair(sc.Dense(W, [0.5]), 4, 0, isa=isa)
    np.testing.assert_array_equal(head[0](ids[:, 0]), W + np.float32(0.5))


# ---- What makes vectors --------------------------------------------------------------------------


def test_others_read_vectors(isa: str, rng: np.random.Generator) -> None:
    """They are made once, for all who read them as such; who reads ids, still does."""
    ids = sc.Input((None,), dtype="int64")
    hot = sc.OneHot(7)(ids)
    lstm = cell(rng, "LSTM", 7, 9)
    outputs = [lstm(hot), sc.Activation("relu")(hot), sc.Rescaling(2.0)(hot), hot]
    model = sc.Model(ids, outputs).with_options(isa=isa)
    assert sorted(ops(model)) == ["activation", "affine", "lstm", "one_hot"]
    x = rng.integers(0, 7, (3, 5))
    y, *made = model(x, lengths=[5, 0, 2])
    same_bits(y, pair(lstm, 7, isa=isa)[0](x, lengths=[5, 0, 2]))
    expected = vectors(x, 7)
    expected[1], expected[2, 2:] = 0, 0
    for values, scale in zip(made, (1, 2, 1), strict=True):
        np.testing.assert_array_equal(values, scale * expected)


def test_a_mask_of_vectors_and_a_state_are_read_as_vectors(rng: np.random.Generator) -> None:
    ids = sc.Input((None,), dtype="int64")
    layer = cell(rng, "GRU-after", 7, 9)
    masked = sc.Model(ids, layer(sc.Masking()(sc.OneHot(7)(ids))))
    assert ops(masked).count("one_hot") == 1
    x = rng.integers(0, 7, (3, 5))
    same_bits(masked(x), pair(layer, 7)[1](vectors(x, 7)))
    first = sc.Input((), dtype="int64")
    other = cell(rng, "GRU-after", 7, 7)
    model = sc.Model([ids, first], other(sc.OneHot(7)(ids), initial_state=sc.OneHot(7)(first)))
    assert ops(model).count("one_hot") == 1
    expected = pair(other, 7)[1](vectors(x, 7), initial_state=[vectors(x[:, 0], 7)])
    same_bits(model(x, x[:, 0].copy()), expected)


def test_views_that_vectors_alone_have(rng: np.random.Generator) -> None:
    """A new last axis, or another shape: there the vectors are read; where frames stand, not."""
    ids = sc.Input((4,), dtype="int64")
    x = rng.integers(0, 7, (3, 4))
    hot = sc.OneHot(7)(ids)
    wide = sc.Model(ids, Reshape((4, 7, 1))(hot))
    np.testing.assert_array_equal(wide(x), vectors(x, 7)[..., None])
    flat = sc.Model(ids, sc.Flatten()(hot))
    np.testing.assert_array_equal(flat(x), vectors(x, 7).reshape(3, 28))
    places = sc.Model(ids, Positions()(hot))
    assert ops(places) == ["positions"]
    assert places(x).tolist() == [[0, 1, 2, 3]] * 3


# ---- What a model tells --------------------------------------------------------------------------


def test_shapes_and_parameters_are_those_of_vectors() -> None:
    layers = [sc.OneHot(30), sc.Dropout(0.5), sc.Bidirectional(sc.LSTM(64)), sc.Dense(1)]
    model = sc.Sequential(layers)
    shapes = [layer.output_shape for layer in model.layers]
    assert shapes == [(None, None, 30), (None, None, 30), (None, 128), (None, 1)]
    assert [layer.parameters for layer in model.layers] == [0, 0, 2 * 4 * 64 * (30 + 64 + 1), 129]
    with pytest.raises(sc.NotBuiltError):
        model([[1, 2]])


def test_files_keep_ids(isa: str, rng: np.random.Generator, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    layers = [sc.OneHot(11), cell(rng, "GRU-before", 11, 20), cell(rng, "LSTM", 20, 20)]
    model = sc.Sequential(layers).with_options(isa=isa)
    ids = rng.integers(0, 11, (3, 6))
    for packed in (False, True):
        model.save(path, packed=packed)
        loaded = sc.load(path, isa=isa, mmap=True)
        assert loaded.plan["bytes_in_place"] == (loaded.plan["bytes"] if packed else 0)
        assert loaded.summary() == model.summary()
        same_bits(loaded(ids), model(ids))


def test_layers_with_the_same_weights_share_a_table(rng: np.random.Generator) -> None:
    """A cell that is called for every frame has the memory of one; with another bias, its own."""
    ids = [sc.Input((), dtype="int64") for _ in range(3)]
    W, U, b = floats(rng, 50, 12), floats(rng, 4, 12), floats(rng, 12)
    step = sc.GRUCell(W, U, b)
    once = sc.Model(ids[0], step(sc.OneHot(50)(ids[0]))[0])
    h = step(sc.OneHot(50)(ids[0]))[1]
    for x in ids[1:]:
        h = step(sc.OneHot(50)(x), h)[1]
    thrice = sc.Model(ids, h)
    assert thrice.plan["bytes"] == once.plan["bytes"]
    other = sc.GRUCell(step.layer.weights["W"], step.layer.weights["U"], floats(rng, 12))
    graph = sc.Model(ids[:2], [step(sc.OneHot(50)(ids[0]))[0], other(sc.OneHot(50)(ids[1]))[0]])
    assert graph.plan["bytes"] > 1.9 * once.plan["bytes"]
    x = rng.integers(0, 50, (2, 5))
    for y, layer, given in zip(graph(*x), (step, other), x, strict=True):
        same_bits(y, pair(lambda v, layer=layer: layer(v)[0], 50, 0)[1](vectors(given, 50)))


# ---- Ids that are none ---------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [-1, 7, 2**62, -(2**63)])
def test_an_id_that_is_none_is_named(bad: int, rng: np.random.Generator) -> None:
    """Whoever reads it, also where a mask leaves it out; past the end of a row it is nobody's."""
    ids = sc.Input((None,), dtype="int64")
    hot = sc.OneHot(7, name="letters")(ids)
    lstm, head = cell(rng, "LSTM", 7, 9, name="lstm"), dense(rng, 7, 3, name="head")
    x = rng.integers(0, 7, (3, 5))
    good, x[1, 3] = x.copy(), bad
    for output, name in (
        (hot, r"'letters' \(one_hot\)"), (lstm(hot), r"'lstm' \(lstm\)"),
        (head(hot), r"'head' \(dense\)"),
    ):  # fmt: skip
        model = sc.Model(ids, output)
        message = rf"layer {name}: id {bad} in row 1, expected 0 to 6"
        calls: list[dict[str, Any]] = [{}, {"lengths": [5, 4, 5]}]
        calls += [{"mask": x == good}] if output.call.layer is lstm else []
        for call in calls:
            with pytest.raises(sc.IdRangeError, match=message):
                model(x, **call)
        same_bits(model(x, lengths=[5, 3, 0]), model(good, lengths=[5, 3, 0]))


def test_ids_in_folded_frames_end_where_the_frames_do(rng: np.random.Generator) -> None:
    """A frame that is a sequence of ids is a row of its own, also for a model inside."""
    x = rng.integers(0, 7, (3, 4, 5))
    good, x[0, 3], x[1] = x.copy(), -5, 2**40
    lstm, table = cell(rng, "LSTM", 7, 9, return_sequences=False), sc.Embedding(floats(rng, 7, 7))
    word = sc.Input((None,), dtype="int64")
    inside = sc.layers.Composite([word], [lstm(table(word))])
    words = sc.Input((None, None), dtype="int64")
    for output in (
        sc.TimeDistributed(lstm)(sc.OneHot(7)(words)), sc.TimeDistributed(inside)(words),
    ):  # fmt: skip
        model = sc.Model(words, output)
        assert ops(model)[0] == "fold"
        same_bits(model(x, lengths=[3, 0, 4]), model(good, lengths=[3, 0, 4]))
        for call in ({}, {"lengths": [4, 0, 4]}):
            with pytest.raises(sc.IdRangeError, match="id -5 in row 0"):
                model(x, **call)


@pytest.mark.parametrize("threads", [1, 3])
def test_ids_that_a_layer_makes(isa: str, threads: int, rng: np.random.Generator) -> None:
    """The class of each frame, of which the vectors have too few: found where it is read."""
    x = sc.Input((None, 9), name="x")
    layer = cell(rng, "GRU-after", 7, 40, name="reader")
    model = sc.Model(x, layer(sc.OneHot(7)(ArgMax(2)(x)))).with_options(isa=isa, threads=threads)
    assert ops(model) == ["argmax", "gru"]
    values = floats(rng, 5, 6, 9)
    values[..., 7:] -= 100
    expected = pair(layer, 7, isa=isa)[1](vectors(values.argmax(2), 7))
    same_bits(model(values), expected)
    values[2, 4, 8] = 200
    with pytest.raises(sc.IdRangeError, match=r"'reader' \(gru\): id 8 in row 2, expected 0 to 6"):
        model(values)
    same_bits(model(values, lengths=[6, 6, 4, 6, 6])[:2], expected[:2])


@pytest.mark.parametrize("made", [False, True])
def test_a_step_with_an_id_that_is_none_changes_nothing(
    made: bool, rng: np.random.Generator
) -> None:
    x = sc.Input((None, 9) if made else (None,), dtype="float32" if made else "int64", name="x")
    layer = cell(rng, "LSTM", 7, 20)
    model = sc.Model(x, layer(sc.OneHot(7)(ArgMax(2)(x) if made else x)))
    ids = rng.integers(0, 7, (4, 3))
    given = np.eye(9, dtype=np.float32)[ids] if made else ids
    stream = model.stream(4)
    stream.step(given[:, 0])
    bad = given[:, 1].copy()
    bad[2] = np.eye(9)[8] if made else 8
    where = "layer 'lstm'" if made else "input 'x'"
    with pytest.raises(sc.IdRangeError, match=f"{where}.*id 8 in row 2, expected 0 to 6"):
        stream.step(bad)
    same_bits(stream.step(given[:, 1]), model(given[:, :2].copy())[:, 1])


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, -1, 1.5, None, True, "7", 2**31])
def test_depths_that_are_none(depth: Any) -> None:
    with pytest.raises(sc.OptionError, match="OneHot: depth is a whole number from 1"):
        sc.OneHot(depth)


def test_vectors_of_floats_or_of_another_width(rng: np.random.Generator) -> None:
    x, ids = sc.Input((None, 3)), sc.Input((None,), dtype="int64")
    with pytest.raises(sc.GraphError, match=r"'one_hot' \(one_hot\): expected int64.*Input\("):
        sc.Model(x, sc.OneHot(7)(x))
    for layer in (cell(rng, "LSTM", 6, 9), dense(rng, 6, 4)):
        with pytest.raises(sc.WeightsError, match=r"weight 'W' must be float32 of shape \(7, "):
            sc.Model(ids, layer(sc.OneHot(7)(ids)))
    frames = sc.Input((None, None), dtype="int64")
    with pytest.raises(sc.ShapeError, match=r"'lstm' \(lstm\): input must be ids \(batch, time\)"):
        sc.Model(frames, cell(rng, "LSTM", 7, 9)(sc.OneHot(7)(frames)))
    deep = sc.Input((1,) * 5, dtype="int64")
    with pytest.raises(sc.ShapeError, match=r"'one_hot' \(one_hot\): ids have 6 axes"):
        sc.Model(deep, sc.OneHot(7)(deep))


def test_vectors_beyond_memory_are_refused() -> None:
    model = sc.Sequential([sc.OneHot(2**24)])
    ids = np.lib.stride_tricks.as_strided(np.zeros(1, np.int64), (2**40, 2**10), (0, 0))
    with pytest.raises((sc.ShapeError, MemoryError)):
        model._plan.run([ids])
