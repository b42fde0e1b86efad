"""Attention and products of values: against Keras 3 (torch backend), and against the reference.

Masks are of any pattern, with holes and with rows of which nothing counts. Every comparison is made
on every instruction set.
"""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import torch
from frameworks import FEATURES, SIZES, all_close, filled, floats, on_every_isa
from keras.src.backend import set_keras_mask
from tolerances import FLOAT32, close

import seqcore as sc
from seqcore import reference as ref
from seqcore._binding import Plan

K = keras.layers
ROWS = 6


def some_mask(rng, batch, time):
    """A mask with holes, whose row 0 is empty and whose row 1 is whole."""
    mask = rng.random((batch, time)) < 0.6
    mask[0], mask[1] = False, True
    return mask


def on_keras(layer, values, masks, **options):
    """Return what a Keras layer makes of values that have these masks (None for none)."""
    feed = [torch.from_numpy(value) for value in values]
    for value, mask in zip(feed, masks, strict=False):
        if mask is not None:
            set_keras_mask(value, torch.from_numpy(mask))
    with torch.no_grad():
        several = isinstance(layer, K.MultiHeadAttention)
        results = layer(*feed, **options) if several else layer(feed, **options)
    results = results if isinstance(results, (tuple, list)) else [results]
    return [keras.ops.convert_to_numpy(result) for result in results]


def model_of(layer, values):
    """Return a model of one call of `layer`, whose inputs are "0", "1" ..."""
    inputs = [sc.Input((None, v.shape[2]), name=str(k)) for k, v in enumerate(values)]
    made = layer(*inputs)
    return sc.Model(inputs, list(made) if isinstance(made, tuple) else made)


def compare(theirs, ours, values, masks, tolerance=FLOAT32[1], **options):
    expected = on_keras(theirs, values, masks, **options)
    given = {str(k): mask for k, mask in enumerate(masks) if mask is not None}
    all_close(model_of(ours, values), expected, tolerance, *values, mask=given or None)


def dealt(index):
    """Return the index-th (Tq, Tv, D, Dv): a dozen cover the vector widths and the chunks of 64."""
    frames = (1, 7, 15, 16, 17, 31, 33, 63, 64, 65, 130, 8)
    return frames[index % 12], frames[(5 * index + 3) % 12], FEATURES[index % 11], SIZES[index % 12]


# ---- Layers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("score_mode", ["dot", "concat"])
@pytest.mark.parametrize("index", range(12))
def test_attention(rng, index, score_mode, causal):
    queries, frames, features, width = dealt(index)
    use_scale, with_key = index % 2 == 0, index % 3 > 0
    values = [floats(rng, ROWS, queries, features), floats(rng, ROWS, frames, features)]
    if with_key:
        values = [values[0], floats(rng, ROWS, frames, width), values[1]]
    theirs = K.Attention(use_scale=use_scale, score_mode=score_mode)
    filled(rng, theirs, [v.shape for v in values])
    ours = sc.Attention.from_keras(
        theirs.get_weights(),
        score_mode=score_mode,
        use_causal_mask=causal,
        return_attention_scores=True,
    )
    assert ours.parameters((None, None, features)) == theirs.count_params()
    options = {"use_causal_mask": causal, "return_attention_scores": True}
    query_mask, value_mask = some_mask(rng, ROWS, queries), some_mask(rng, ROWS, frames)
    for masks in [(None, None), (query_mask, None), (None, value_mask), (query_mask, value_mask)]:
        compare(theirs, ours, values, masks, **options)


@pytest.mark.parametrize("index", range(6))
def test_additive_attention(rng, index):
    queries, frames, features, _ = dealt(index)
    use_scale, causal = index % 2 == 0, index % 3 == 0
    values = [floats(rng, ROWS, queries, features), floats(rng, ROWS, frames, features)]
    theirs = K.AdditiveAttention(use_scale=use_scale)
    filled(rng, theirs, [v.shape for v in values])
    ours = sc.AdditiveAttention.from_keras(theirs.get_weights(), use_causal_mask=causal)
    assert ours.parameters((None, None, features)) == theirs.count_params()
    query_mask, value_mask = some_mask(rng, ROWS, queries), some_mask(rng, ROWS, frames)
    for masks in [(None, None), (query_mask, value_mask)]:
        compare(theirs, ours, values, masks, use_causal_mask=causal)


# Keras computes with these options another way, which gives zeros where nothing is seen.
WAYS = {
    "fused": ({}, {}),
    "dropout": ({"dropout": 0.5}, {}),
    "scores": ({}, {"return_attention_scores": True}),
}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("index", range(6))
def test_multi_head_attention(rng, index, way, causal):
    queries, frames, features, width = dealt(index)
    made, called = WAYS[way]
    values = [floats(rng, ROWS, queries, features), floats(rng, ROWS, frames, width)]
    if index % 2:
        values.append(floats(rng, ROWS, frames, 9))
    options = {"use_bias": index % 3 > 0} | made
    theirs = K.MultiHeadAttention(
        (1, 2, 3)[index % 3], (5, 16, 33)[index % 3], (None, 7)[index % 2],
        output_shape=(None, 17)[index % 2], **options,
    )  # fmt: skip
    theirs.build(*[v.shape for v in values])
    theirs.set_weights(
        [
            floats(rng, *w.shape) / (w.shape[0] if w.ndim > 2 else 8) ** 0.5
            for w in theirs.get_weights()
        ]
    )
    ours = sc.MultiHeadAttention.from_keras(
        theirs.get_weights(), use_causal_mask=causal, **options, **called
    )
    assert ours.parameters((None, None, features)) == theirs.count_params()
    query_mask, value_mask = some_mask(rng, ROWS, queries), some_mask(rng, ROWS, frames)
    patterns = [(None, None), (query_mask, None), (query_mask, value_mask)]
    if index % 2:
        patterns.append((None, value_mask, rng.random((ROWS, frames)) < 0.5))
    for masks in patterns:
        compare(theirs, ours, values, masks, FLOAT32[2], use_causal_mask=causal, **called)


def test_self_attention_reads_the_mask_of_its_input(rng):
    """One input is query, value and key; its mask is the result's, and a later layer's."""
    theirs = K.MultiHeadAttention(2, 8)
    theirs.build((None, None, 9), (None, None, 9))
    ours = sc.MultiHeadAttention.from_keras(theirs.get_weights())
    lstm = filled(rng, K.LSTM(7), (None, None, 9))
    source = sc.Input((None, 9))
    model = sc.Model(source, sc.LSTM.from_keras(lstm.get_weights())(ours(source, source)))
    x, mask = floats(rng, ROWS, 12, 9), some_mask(rng, ROWS, 12)
    masked = torch.from_numpy(x)
    set_keras_mask(masked, torch.from_numpy(mask))
    with torch.no_grad():
        expected = lstm(theirs(masked, masked)).numpy()
    all_close(model, [expected], FLOAT32[2], x, mask=mask)


@pytest.mark.parametrize("kind", ["dot", "additive", "heads"])
def test_lengths_are_rows_alone(rng, kind):
    """Of the query and of the value, each by itself; a row without a value's frame gives zeros."""
    if kind == "heads":
        shapes = [(9, 2, 8), (2, 8), (5, 2, 8), (2, 8), (5, 2, 8), (2, 8), (2, 8, 4), (4,)]
        layer = sc.MultiHeadAttention([floats(rng, *s) / 3 for s in shapes])
        values = [floats(rng, ROWS, 8, 9), floats(rng, ROWS, 70, 5)]
    else:
        layer = sc.Attention() if kind == "dot" else sc.AdditiveAttention(floats(rng, 9))
        values = [floats(rng, ROWS, 8, 9), floats(rng, ROWS, 70, 9)]
    ends = {"0": np.array([8, 1, 5, 3, 0, 2]), "1": np.array([70, 3, 64, 1, 5, 65])}
    for _, model in on_every_isa(model_of(layer, values)):
        for lengths in ({"0": ends["0"]}, {"1": ends["1"]}, ends):
            whole = model(*values, lengths=lengths)
            for i in range(ROWS):
                cut = [
                    v[i : i + 1, : lengths[str(k)][i] if str(k) in lengths else None]
                    for k, v in enumerate(values)
                ]
                n = cut[0].shape[1]
                np.testing.assert_array_equal(whole[i, :n], model(*cut)[0])
                if "0" in lengths:
                    assert not whole[i, n:].any()
        nothing = model(*values, lengths={"1": np.zeros(ROWS, np.int64)})
        bias = layer.weights["attention_output"][1] if kind == "heads" else 0
        np.testing.assert_array_equal(nothing, np.zeros_like(nothing) + bias)


DOTS = [
    ((5,), (5,), 1), ((5,), (5,), -1), ((7, 5), (5,), (2, 1)), ((5, 7), (5,), (1, -1)),
    ((5,), (7, 5), (1, 2)), ((5,), (5, 7), (-1, 1)), ((7, 5), (9, 5), 2), ((7, 5), (9, 5), -1),
    ((5, 7), (5, 9), 1), ((5, 7), (9, 5), (1, 2)), ((7, 5), (5, 9), (-1, -2)),
    ((70, 33), (66, 33), 2), ((33, 70), (33, 1), 1),
]  # fmt: skip


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(("a", "b", "axes"), DOTS)
def test_dot(rng, a, b, axes, normalize):
    values = [floats(rng, ROWS, *a), floats(rng, ROWS, *b)]
    values[0][2] = 0  # has no direction
    inputs = [sc.Input(a), sc.Input(b)]
    model = sc.Model(inputs, sc.Dot(axes, normalize)(*inputs))
    theirs = K.Dot(axes, normalize)
    with torch.no_grad():
        expected = theirs([torch.from_numpy(v) for v in values]).numpy()
    all_close(model, [expected], FLOAT32[1], *values)


def test_dot_keeps_the_lengths_of_its_first_value(rng):
    x, memory, lengths = floats(rng, 3, 5, 4), floats(rng, 3, 4), np.array([5, 2, 0])
    inputs = [sc.Input((None, 4), name="x"), sc.Input((4,), name="memory")]
    model = sc.Model(inputs, sc.Dot(axes=(2, 1))(*inputs))
    y = model(x, memory, lengths=lengths)
    for row, n in enumerate(lengths):
        np.testing.assert_array_equal(y[row, :n], model(x, memory)[row, :n])
        assert not y[row, n:].any()


@pytest.mark.parametrize("axes", [1, 2])
def test_dot_refuses_lengths_that_it_cannot_keep(rng, axes):
    inputs = [sc.Input((None, 5), name="x"), sc.Input((None, 5), name="y")]
    model = sc.Model(inputs, sc.Dot(axes)(*inputs))
    x = floats(rng, 2, 5, 5)
    assert model(x, x).shape == (2, 5, 5)
    with pytest.raises(sc.UnsupportedLayerError, match=r"dot.*different lengths"):
        model(x, x, lengths={"y": [5, 2]})
    if axes == 1:
        with pytest.raises(sc.UnsupportedLayerError, match=r"dot.*different lengths"):
            model(x, x, lengths={"x": [5, 2]})


# ---- The ops ----------------------------------------------------------------------------------


def graph_of(op, shapes, attrs, outputs=1, **node):
    """Return a graph of one node that reads inputs "0", "1" ...; a shape of None is none."""
    names = [None if shape is None else str(k) for k, shape in enumerate(shapes)]
    inputs = [
        {"name": str(k), "kind": "data", "dtype": "float32", "shape": list(shape)}
        for k, shape in enumerate(shapes)
        if shape is not None
    ]
    made = outputs if isinstance(outputs, list) else [f"y{k}" for k in range(outputs)]
    return {
        "format": "seqcore", "version": 1, "inputs": inputs, "layers": [],
        "nodes": [{"op": op, "layer": "it", "inputs": names, "outputs": made, "weights": {},
                   "attrs": attrs} | node],
        "outputs": [{"name": name, "value": name} for name in made if name],
    }  # fmt: skip


def run_graph(graph, values, tensors=None, **options):
    return Plan(json.dumps(graph).encode(), tensors or {}, **options).run(values)


ATTENTION = {"score": "dot", "masking": "replace", "heads": 0, "scale": 1.0, "causal": False}


@pytest.mark.parametrize("masking", ["subtract", "replace", "zero"])
@pytest.mark.parametrize("score", ["dot", "additive", "shared"])
def test_the_op_is_the_reference(rng, isa, score, masking):
    """Every option with every other, masks as values that another op could have made."""
    for heads, causal, has_key in [
        (0, False, True),
        (0, True, False),
        (1, False, True),
        (3, True, True),
    ]:
        if score != "dot" and heads:
            continue
        D, Dv = 3 * 11, 3 * 6 if has_key else 3 * 11
        shapes = [(9, D), (21, Dv), (21, D) if has_key else None, (9,), (21,)]
        attrs = ATTENTION | {"masking": masking, "heads": heads, "causal": causal, "scale": 0.3}
        tensors, weights = {}, {}
        if score != "dot":
            attrs |= {"score": "additive", "shared": score == "shared"}
            tensors = {"W": floats(rng, 1 if score == "shared" else D)}
            weights = {"W": "W"}
        graph = graph_of("attention", shapes, attrs, outputs=2, weights=weights)
        values = [floats(rng, ROWS, *shape) for shape in shapes[:3] if shape is not None]
        values += [some_mask(rng, ROWS, n).astype(np.float32) for n in (9, 21)]
        arguments = {spec["name"]: v for spec, v in zip(graph["inputs"], values, strict=True)}
        found = run_graph(graph, values, tensors, isa=isa)
        for a, e in zip(found, ref.run(graph, tensors, arguments), strict=True):
            close(a, e, FLOAT32[1], f"{score} {masking} {heads}")


@pytest.mark.parametrize("shapes", [
    ((7, 5), (5, 9)), ((2, 7, 5), (2, 5, 1)), ((1, 1), (1, 1)), ((2, 3, 66, 17), (2, 3, 17, 65)),
    ((3, 0), (0, 4)), ((0, 3), (3, 4)), ((2, 4, 3), (2, 3, 0)),
])  # fmt: skip
def test_batch_matmul(rng, isa, shapes):
    values = [floats(rng, 3, *shape) for shape in shapes]
    (found,) = run_graph(graph_of("batch_matmul", shapes, {}), values, isa=isa)
    close(found, np.matmul(values[0].astype(np.float64), values[1]), FLOAT32[1])
    close(found, ref.batch_matmul(*values), FLOAT32[1])


@pytest.mark.parametrize("options", [{"threads": 2, "team": 1}, {"threads": 2, "team": 2}])
@pytest.mark.parametrize("op", ["attention", "batch_matmul"])
def test_a_row_has_the_same_bits_in_any_batch_and_on_any_thread(rng, isa, op, options):
    shapes = ((70, 24), (33, 24)) if op == "attention" else ((70, 24), (24, 33))
    attrs = ATTENTION | {"heads": 3, "causal": True} if op == "attention" else {}
    graph = graph_of(op, shapes, attrs)
    values = [floats(rng, 50, *shape) for shape in shapes]
    (whole,) = run_graph(graph, values, isa=isa, **options)
    alone = Plan(json.dumps(graph).encode(), {}, isa=isa, threads=1)
    for i in range(50):
        np.testing.assert_array_equal(
            whole[i : i + 1], alone.run([v[i : i + 1] for v in values])[0]
        )


def check_alone(plan, query, value, axis, *, of_scores=1):
    """Few frames of a query multiply the value as it lies, many a packed copy: to the same bits."""
    whole = plan.run([query, value])
    for some in (1, 3, 7, 8, 9):
        parts = np.split(query, range(some, query.shape[axis], some), axis=axis)
        made = [plan.run([np.ascontiguousarray(part), value]) for part in parts]
        for y, *frames, along in zip(whole, *made, (1, of_scores), strict=False):
            np.testing.assert_array_equal(np.concatenate(frames, axis=along), y)


@pytest.mark.parametrize("features", [1, 7, 16, 17, 33])
@pytest.mark.parametrize("attrs", [
    {}, {"scale": 0.3}, {"heads": 3, "masking": "zero"}, {"score": "additive", "shared": False},
])  # fmt: skip
def test_frames_of_a_query_have_the_bits_that_they_have_among_others(rng, isa, attrs, features):
    heads = attrs.get("heads", 0)
    features *= max(heads, 1)
    shapes, weights = ((None, features),) * 2, {"W": floats(rng, features)}
    graph = graph_of("attention", shapes, ATTENTION | attrs, outputs=2, weights={"W": "W"})
    plan = Plan(json.dumps(graph).encode(), weights, isa=isa)
    query, value = floats(rng, 2, 20, features), floats(rng, 2, 37, features)
    check_alone(plan, query, value, 1, of_scores=2 if heads else 1)


@pytest.mark.parametrize("features", [1, 7, 16, 17, 33])
@pytest.mark.parametrize("axes", [None, (2, 1), (1, -1), (2, 2), (1, 1)])
def test_vectors_of_a_product_have_the_bits_that_they_have_among_others(rng, isa, axes, features):
    shapes, attrs = ((None, None), (None, None)), {"axes": axes, "normalize": True}
    graph = graph_of("dot" if axes else "batch_matmul", shapes, attrs if axes else {})
    a, b = axes or (2, 1)
    query = floats(rng, 2, 20, features) if a == 2 else floats(rng, 2, features, 20)
    value = floats(rng, 2, features, 37) if b == 1 else floats(rng, 2, 37, features)
    plan = Plan(json.dumps(graph).encode(), {}, isa=isa)
    check_alone(plan, query, value, 1 if a == 2 else 2)


@pytest.mark.parametrize("frames", [(0, 5), (5, 0), (0, 0)])
def test_nothing_to_look_at_gives_zeros(rng, isa, frames):
    shapes = [(None, 4), (None, 4)]
    attrs = ATTENTION | {"heads": 2}
    values = [floats(rng, 2, n, 4) for n in frames]
    y, scores = run_graph(graph_of("attention", shapes, attrs, outputs=2), values, isa=isa)
    assert y.shape == (2, frames[0], 4)
    assert not y.any()
    assert scores.shape == (2, 2, *frames)


# ---- Steps ------------------------------------------------------------------------------------


def test_a_query_moves_over_a_value_that_stands(rng):
    """A memory of a single frame beside a sequence is one for all of its frames."""
    query, memory = sc.Input((None, 8), name="query"), sc.Input((1, 8), name="memory")
    model = sc.Model([query, memory], sc.Attention()(query, memory))
    x, m = floats(rng, 3, 6, 8), floats(rng, 3, 1, 8)
    stream = model.stream(batch_size=3)
    steps = [stream.step(x[:, t], m) for t in range(6)]
    np.testing.assert_array_equal(np.stack(steps, axis=1), model(x, m))


@pytest.mark.parametrize(("layer", "why"), [
    (sc.Attention(), "it looks at the whole sequence"),
    (sc.Dot(2), "it takes the whole sequence"),
])  # fmt: skip
def test_a_sequence_that_attends_to_itself_is_not_stepped(layer, why):
    x = sc.Input((None, 8))
    with pytest.raises(sc.UnsupportedLayerError, match=why):
        sc.Model(x, layer(x, x)).stream()


# ---- What is wrong ----------------------------------------------------------------------------

BAD_LAYERS = {
    "score_mode": lambda: sc.Attention(score_mode="cosine"),
    "concat_score_weight": lambda: sc.Attention(concat_score_weight=1.0),
    "dropout": lambda: sc.Attention(dropout=2),
    "use_causal_mask": lambda: sc.Attention(use_causal_mask=1),
    "return_attention_scores": lambda: sc.AdditiveAttention(return_attention_scores=None),
    "num_heads": lambda: sc.MultiHeadAttention(0, 3),
    "key_dim": lambda: sc.MultiHeadAttention(2),
    "value_dim": lambda: sc.MultiHeadAttention(2, 3, 0),
    "output_shape": lambda: sc.MultiHeadAttention(2, 3, output_shape=(2, 3)),
    "arrays": lambda: sc.MultiHeadAttention([np.ones((2, 1, 1))] * 4, 3),
    "biases": lambda: sc.MultiHeadAttention([np.ones((2, 1, 1))] * 8, use_bias=False),
    "axes": lambda: sc.Dot(0),
    "axes are": lambda: sc.Dot((1, 3)),
    "normalize": lambda: sc.Dot(1, normalize=2),
    "two of them": lambda: sc.Dot((1, 2, 1)),
}


@pytest.mark.parametrize("option", BAD_LAYERS)
def test_an_option_out_of_range_is_named(option):
    with pytest.raises(sc.OptionError, match=option):
        BAD_LAYERS[option]()


MHA = [
    np.ones(s) for s in [(5, 2, 3), (2, 3), (6, 2, 3), (2, 3), (6, 2, 4), (2, 4), (2, 4, 5), (5,)]
]
BAD_WEIGHTS = {
    "expected 1 arrays; found 2": lambda: sc.Attention.from_keras([1.0, 1.0], use_scale=True),
    "expected 2 arrays; found 1": lambda: sc.Attention.from_keras(
        [1.0], use_scale=True, score_mode="concat"
    ),
    r"scale: expected shape \(\)": lambda: sc.Attention.from_keras([np.ones(3)]),
    "finite": lambda: sc.Attention.from_keras([np.inf]),
    "expected 1 arrays; found 0": lambda: sc.AdditiveAttention.from_keras([], use_scale=True),
    r"scale: expected shape \(any,\)": lambda: sc.AdditiveAttention.from_keras([np.ones((2, 2))]),
    "found 7 arrays": lambda: sc.MultiHeadAttention.from_keras(MHA[:7]),
    "key kernel: expected": lambda: sc.MultiHeadAttention.from_keras(
        [*MHA[:2], np.ones((6, 2, 4)), *MHA[3:]]
    ),
    "value bias: expected": lambda: sc.MultiHeadAttention.from_keras(
        [*MHA[:5], np.ones(8), *MHA[6:]]
    ),
    "output kernel: expected": lambda: sc.MultiHeadAttention.from_keras(
        [*MHA[:6], np.ones((2, 3, 5)), MHA[7]]
    ),
    "use_bias=True": lambda: sc.MultiHeadAttention.from_keras(MHA[::2], use_bias=True),
    "num_heads is 3": lambda: sc.MultiHeadAttention.from_keras(MHA, num_heads=3),
}


@pytest.mark.parametrize("message", BAD_WEIGHTS)
def test_wrong_weights_are_named(message):
    with pytest.raises(sc.WeightsError, match=message):
        BAD_WEIGHTS[message]()


def test_layers_without_weights_tell_their_parameters(rng):
    x = sc.Input((None, 6))
    for layer, theirs in [
        (sc.Attention(True, score_mode="concat"), K.Attention(True, score_mode="concat")),
        (sc.AdditiveAttention(), K.AdditiveAttention()),
        (sc.MultiHeadAttention(2, 3, output_shape=5), K.MultiHeadAttention(2, 3, output_shape=5)),
    ]:
        model = sc.Model(x, layer(x, x))
        feed = torch.from_numpy(floats(rng, 1, 2, 6))
        if isinstance(theirs, K.MultiHeadAttention):
            theirs(feed, feed)
        else:
            theirs([feed, feed])
        assert model.layers[0].parameters == theirs.count_params()
        slots = layer.keras_weights()
        assert [slot.role for slot in slots] == [w.path.split("/", 1)[1] for w in theirs.weights]
        for slot, weight in zip(slots, theirs.weights, strict=True):
            fits = [
                size in (None, found) for size, found in zip(slot.shape, weight.shape, strict=True)
            ]
            assert all(fits)
        filled(rng, theirs, None)
        x32 = floats(rng, 2, 3, 6)
        loaded = sc.Model(x, layer.loaded(theirs.get_weights())(x, x))
        all_close(loaded, on_keras(theirs, [x32, x32], []), FLOAT32[1], x32)
        with pytest.raises(sc.NotBuiltError):
            model(np.zeros((1, 2, 6)))
    with pytest.raises(sc.GraphError, match="output_shape"):
        sc.Model(x, sc.MultiHeadAttention(2, 3)(x, x))


BAD_SHAPES = [
    ("query must be", [(8,), (3, 8)], {}),
    ("value must be", [(3, 8), (3, 8, 8)], {}),
    ("query has 8 features, its key 9", [(3, 8), (4, 9)], {}),
    ("key has 5 frames, expected 4", [(3, 8), (4, 9), (5, 8)], {}),
    ("query mask has 4 frames, expected 3", [(3, 8), (4, 8), None, (4,)], {}),
    ("value mask must be", [(3, 8), (4, 8), None, None, (4, 1)], {}),
    ("do not divide into 3 heads", [(3, 8), (4, 8)], {"heads": 3}),
]


@pytest.mark.parametrize(("message", "shapes", "attrs"), BAD_SHAPES)
def test_shapes_that_do_not_fit_are_named(message, shapes, attrs):
    with pytest.raises(sc.ShapeError, match=message):
        run_graph(graph_of("attention", shapes, ATTENTION | attrs), [])


ADDITIVE = ATTENTION | {"score": "additive", "shared": True}
BAD_GRAPHS = [
    ("attention", [(3, 8), (3, 8)], ATTENTION | {"score": "cosine"}, {}),
    ("attention", [(3, 8), (3, 8)], ATTENTION | {"masking": None}, {}),
    ("attention", [(3, 8), (3, 8)], ATTENTION | {"heads": 2**25}, {}),
    ("attention", [(3, 8), (3, 8)], ATTENTION | {"heads": -1}, {}),
    ("attention", [(3, 8), (3, 8)], ATTENTION | {"scale": 1e39}, {}),
    ("attention", [(3, 8), (3, 8)], ATTENTION | {"causal": 0}, {}),
    ("attention", [(3, 8), (3, 8)], ADDITIVE, {}),
    ("attention", [(3, 8), (3, 8)], ADDITIVE | {"shared": 1}, {"weights": {"W": "W"}}),
    ("attention", [(3, 8), (3, 8)], ADDITIVE | {"heads": 1}, {"weights": {"W": "W"}}),
    ("attention", [(3, None), (3, None)], ADDITIVE, {"weights": {"W": "W"}}),
    ("attention", [(3, 2**32), (3, 2**32)], ADDITIVE, {"weights": {"W": "W"}}),
    ("attention", [(3, 8)], ATTENTION, {}),
    ("attention", [(3, 8), None], ATTENTION, {}),
    ("attention", [(3, 8), (3, 8)], ATTENTION, {"outputs": [None, "y0"]}),
    ("attention", [(3, 8), (3, 8)], ATTENTION, {"outputs": ["y0", "y1", "y2"]}),
    ("dot", [(3, 8), (3, 8)], {"normalize": True}, {}),
    ("dot", [(3, 8), (3, 8)], {"axes": [0, 1], "normalize": True}, {}),
    ("dot", [(3, 8), (3, 8)], {"axes": [1.5, 1], "normalize": True}, {}),
    ("dot", [(3, 8), (3, 8)], {"axes": [1, 1, 1], "normalize": True}, {}),
    ("dot", [(3, 8), (3, 8)], {"axes": [1, 1], "normalize": 1}, {}),
]


@pytest.mark.parametrize(("op", "shapes", "attrs", "node"), BAD_GRAPHS)
def test_graphs_that_are_wrong_are_refused(op, shapes, attrs, node):
    with pytest.raises(sc.GraphError, match=r"^(layer 'it'|it:)"):
        run_graph(graph_of(op, shapes, attrs, **node), [], {"W": np.ones(1, np.float32)})


@pytest.mark.parametrize(("op", "shapes", "attrs"), [
    ("batch_matmul", [(8,), (8,)], {}),
    ("batch_matmul", [(3, 8), (2, 8, 3)], {}),
    ("batch_matmul", [(3, 8), (3, 8)], {}),
    ("batch_matmul", [(2, 3, 8), (3, 8, 3)], {}),
    ("dot", [(2, 3, 8), (2, 3, 8)], {"axes": [1, 1], "normalize": False}),
    ("dot", [(8,), (8,)], {"axes": [2, 1], "normalize": False}),
    ("dot", [(8,), (8,)], {"axes": [-2, 1], "normalize": False}),
    ("dot", [(3, 8), (3, 7)], {"axes": [2, 2], "normalize": False}),
])  # fmt: skip
def test_products_that_do_not_fit_are_refused(op, shapes, attrs):
    with pytest.raises(sc.ShapeError, match="'it'"):
        run_graph(graph_of(op, shapes, attrs), [])


def test_lengths_of_another_value_are_refused(rng):
    graph = graph_of("attention", [(None, 4), (None, 4)], ATTENTION)
    graph["inputs"].append({"name": "n", "kind": "lengths", "of": "1"})
    values = [floats(rng, 2, 3, 4), floats(rng, 2, 9, 4), np.array([9, 4])]
    for lengths in ("n", ["n"], ["n", "n"], [None, None, "n"], [None] * 5 + ["n"]):
        graph["nodes"][0]["lengths"] = lengths
        with pytest.raises(sc.ShapeError, match="are not those of its input"):
            run_graph(graph, values)
    graph["nodes"][0]["lengths"] = [None, "n"]
    assert run_graph(graph, values)[0].shape == (2, 3, 4)
