"""What moves, merges and reduces values, against Keras or NumPy, and against the reference.

Every instruction set must give the expected numbers; rows of different lengths are compared bit by
bit with the same rows alone, and steps with calls over whole sequences.
"""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import torch
from frameworks import all_close, filled, floats, on_every_isa, outputs, run_keras
from stream_models import arguments, check_steps
from tolerances import FLOAT32, close

import seqcore as sc
from seqcore import reference as ref
from seqcore.layers import Divide, GetItem, Reduce, Unary

K = keras.layers
LENGTHS = np.array([7, 0, 3, 1, 6, 2])


def model_of(layer, *shapes):
    """A model of one layer over inputs of these shapes, without the batch."""
    sources = [sc.Input(shape) for shape in shapes]
    return sc.Model(sources, layer(*sources))


def agrees(model, expected, *arrays, tolerance=FLOAT32[0]):
    """Assert what a model gives on every instruction set, and that the reference says the same."""
    all_close(model, [expected], tolerance, *arrays)
    graph = model._graph
    given = dict(zip(model.inputs, arrays, strict=True))
    (reference,) = ref.run(graph.document, graph.tensors, given)
    close(reference, expected, tolerance, "reference")


def rows_are_alone(model, x, *others, lengths=LENGTHS):
    """Assert that each row comes out as if it were alone, bit by bit; zeros stand past its end.

    Others are given to the model beside the sequence, a row each.
    """
    x = x.copy()
    x[np.arange(x.shape[1]) >= lengths[:, None]] = np.nan
    for isa, planned in on_every_isa(model):
        graph = model._graph
        given = dict(zip(model.inputs, (x, *others), strict=True))
        given[f"{model.inputs[0]}:lengths"] = lengths
        expected = ref.run(graph.document, graph.tensors, given)
        both = outputs(planned(x, *others, lengths=lengths))
        for y, of_reference in zip(both, expected, strict=True):
            close(y, of_reference, FLOAT32[1], f"{isa}, reference")
        for m, n in enumerate(lengths):
            alone = outputs(planned(x[m : m + 1, :n], *(o[m : m + 1] for o in others)))
            for y, single in zip(both, alone, strict=True):
                kept = y[m : m + 1, : single.shape[1]]
                assert kept.tobytes() == single.tobytes(), f"{isa}, row {m}"
                assert not y[m, single.shape[1] :].any(), f"{isa}, past the end of row {m}"


# ---- Moving values -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "target"),
    [
        ((7, 12), (-1, 4, 3)), ((7, 12), (84,)), ((7, 12), (12, 7)), ((7, 12), (3, -1)),
        ((12,), (3, 2, 2)), ((3, 4, 5), (4, 15)), ((7, 12), (7, 3, -1)), ((5,), (1, 1, 5)),
    ],
)  # fmt: skip
def test_reshape(rng, shape, target):
    x = floats(rng, 5, *shape)
    model = model_of(sc.Reshape(target), shape)
    agrees(model, run_keras(K.Reshape(target), x)[0], x)
    assert model.layers[0].output_shape[1:] == tuple(model(x).shape[1:])


def test_reshape_of_sequences_of_any_length(rng):
    x = floats(rng, 5, 6, 12)
    agrees(model_of(sc.Reshape((-1, 4, 3)), (None, 12)), x.reshape(5, 6, 4, 3), x)
    agrees(model_of(sc.Reshape((-1, 8)), (None, 12)), x.reshape(5, 9, 8), x)
    agrees(model_of(sc.Reshape((9, 8)), (None, 12)), x.reshape(5, 9, 8), x)
    with pytest.raises(sc.ShapeError, match=r"'odd'.*\(6, 12\)"):
        model_of(sc.Reshape((7, -1), name="odd"), (None, 12))(x)
    with pytest.raises(sc.ShapeError, match="'odd'"):
        model_of(sc.Reshape((7, 11), name="odd"), (6, 12))


@pytest.mark.parametrize("dims", [*itertools.permutations((1, 2, 3)), (2, 1), (1,)])
def test_permute(rng, dims):
    shape = (4, 5, 17)[: len(dims)]
    x = floats(rng, 3, *shape)
    agrees(model_of(sc.Permute(dims), shape), run_keras(K.Permute(dims), x)[0], x)
    with pytest.raises(sc.ShapeError, match="'turned'"):
        model_of(sc.Permute((*dims, len(dims) + 1), name="turned"), shape)


@pytest.mark.parametrize("n", [1, 2, 9])
def test_repeat_vector_and_up_sampling(rng, n):
    for channels in (1, 7, 33):
        vector, sequence = floats(rng, 5, channels), floats(rng, 5, 6, channels)
        agrees(
            model_of(sc.RepeatVector(n), (channels,)), run_keras(K.RepeatVector(n), vector)[0],
            vector,
        )  # fmt: skip
        agrees(
            model_of(sc.UpSampling1D(n), (None, channels)),
            run_keras(K.UpSampling1D(n), sequence)[0], sequence,
        )  # fmt: skip


def key(*parts):
    return (slice(None), *parts)


KEYS = [
    key(-1), key(0), key(2), (..., 3), (..., -1), (..., slice(1, None)), key(slice(None, None, 2)),
    key(slice(None, None, -1)), key(slice(1, -1)), key(slice(-3, None)), key(slice(5, 1, -2)),
    key(slice(None), 2), key(slice(None), slice(-4, 100)), key(None), key(slice(None), None),
    (..., None), (..., None, slice(None)), key(-2, None), key(slice(2), slice(3, None), None),
    key(slice(4, 2)), key(slice(-100, 3)), key(0, 1), (slice(None), ..., 0), (..., slice(None)),
    key(slice(None, None, 10**30)), key(slice(-3, 5)), key(slice(5, -3, -1)), key(),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(KEYS)))
@pytest.mark.parametrize("time", [7, None])
def test_get_item(rng, number, time):
    item = KEYS[number]
    for shape in ((time, 6), (time, 6, 5)):
        x = floats(rng, 4, *(7 if n is None else n for n in shape))
        agrees(model_of(GetItem(item), shape), x[item], x)


def test_an_index_that_is_not_there(rng):
    """Of a known axis it is an error; of time, zeros: what a row of that length would be."""
    x = floats(rng, 3, 2, 6)
    for item, shape in ((key(4), (2, 6)), (key(-3), (2, 6)), ((..., 6), (None, 6))):
        with pytest.raises(sc.ShapeError, match="'gone'"):
            model_of(GetItem(item, name="gone"), shape)
    assert not model_of(GetItem(key(4)), (None, 6))(x).any()
    assert model_of(GetItem(key(-1)), (None, 6))(x[:, :0]).tolist() == np.zeros((3, 6)).tolist()
    transposed = sc.Input((None, 6))
    gone = GetItem(key(slice(None), 4), name="gone")(sc.Permute((2, 1))(transposed))
    with pytest.raises(sc.ShapeError, match="'gone'"):
        sc.Model(transposed, gone)(x)


def test_ids_take_another_shape(rng):
    """What only moves carries ids to an embedding, and a wrong one is found behind it."""
    ids = sc.Input((None,), dtype="int64")
    table = floats(rng, 9, 4)
    model = sc.Model(ids, sc.Embedding(table)(sc.Reshape((-1, 1))(ids)))
    given = rng.integers(0, 9, (5, 6))
    agrees(model, table[given][:, :, None], given)
    given[2, 3] = 9
    with pytest.raises(sc.IdRangeError, match="id 9 in row 2"):
        model(given)
    ends = np.array([6, 6, 3, 6, 6])
    assert np.array_equal(model(given, lengths=ends)[2, :3, 0], table[given[2, :3]])


# ---- Rows of different lengths -------------------------------------------------------------------

KEEPS_TIME = {
    "reshape": lambda x: sc.Reshape((-1, 3, 2))(x),
    "permute": lambda x: sc.Permute((1, 3, 2))(sc.Reshape((-1, 3, 2))(x)),
    "up_sampling": lambda x: sc.UpSampling1D(3)(x),
    "features": lambda x: GetItem((..., slice(4, 1, -1)))(x),
    "one_feature": lambda x: GetItem((..., None))(GetItem((..., 2))(x)),
    "from_the_end": lambda x: GetItem(key(slice(-3, None)))(x),
    "but_the_ends": lambda x: GetItem(key(slice(1, -1)))(x),
    "backwards": lambda x: GetItem(key(slice(None, None, -2)))(x),
    "the_last_two_backwards": lambda x: GetItem(key(slice(-1, -3, -1)))(x),
    "upwards": lambda x: GetItem(key(slice(None, 4)))(x),
    "new_axis": lambda x: GetItem((..., None, slice(None)))(x),
    "reduce": lambda x: Reduce("max", -1, keepdims=True)(x),
    "chain": lambda x: sc.UpSampling1D(2)(GetItem(key(slice(1, None)))(sc.UpSampling1D(2)(x))),
    "unary": lambda x: Unary("square")(x),
    "divide": lambda x: Divide()(x, Reduce("max", -1, keepdims=True)(Unary("abs")(x))),
    "minus_the_mean": lambda x: sc.Subtract()(x, Reduce("mean", 1, keepdims=True)(x)),
    "minus_the_last": lambda x: sc.Subtract()(x, GetItem(key(-1))(x)),
    "einsum": lambda x: sc.EinsumDense("...x,xyz->...yz", np.ones((6, 2, 3)) / 4)(x),
    "then_a_cell": lambda x: sc.SimpleRNN(np.eye(6) / 2, np.eye(6) / 3, return_sequences=True)(
        sc.UpSampling1D(2)(x)
    ),
}
LOSES_TIME = {
    "last": lambda x: GetItem(key(-1))(x),
    "third": lambda x: GetItem(key(2))(x),
    "sum": lambda x: Reduce("sum", 1)(x),
    "mean": lambda x: Reduce("mean", (1, 2))(sc.Reshape((-1, 3, 2))(x)),
    "min": lambda x: Reduce("min", (1, 3))(sc.Reshape((-1, 3, 2))(x)),
    "max": lambda x: Reduce("max", 1, keepdims=True)(x),
}
REFUSES_LENGTHS = {
    "joined": lambda x: sc.Reshape((-1, 12), name="guilty")(x),
    "turned": lambda x: sc.Permute((2, 1), name="guilty")(x),
    "front": lambda x: GetItem(key(None), name="guilty")(x),
    "crossed": lambda x: GetItem(key(slice(-3, 5)), name="guilty")(x),
    "crossed_backwards": lambda x: GetItem(key(slice(5, -3, -1)), name="guilty")(x),
}


@pytest.mark.parametrize("name", [*KEEPS_TIME, *LOSES_TIME])
def test_rows_of_different_lengths(rng, name):
    source = sc.Input((None, 6))
    model = sc.Model(source, (KEEPS_TIME | LOSES_TIME)[name](source))
    x = floats(rng, 6, 7, 6)
    if name in LOSES_TIME:
        x = np.abs(x) + 1  # a row without frames has zeros, and none other
    rows_are_alone(model, x)
    if name in LOSES_TIME:
        y = model(x, lengths=LENGTHS).reshape(6, -1)
        assert (y.any(axis=1) == ((2 if name == "third" else 0) < LENGTHS)).all()


@pytest.mark.parametrize("name", REFUSES_LENGTHS)
def test_what_cannot_serve_lengths_says_so(rng, name):
    source = sc.Input((None, 6))
    model = sc.Model(source, REFUSES_LENGTHS[name](source))
    x = floats(rng, 6, 8, 6)
    assert model(x).shape[0] == 6
    with pytest.raises(sc.UnsupportedLayerError, match=r"'guilty'.*different lengths"):
        model(x, lengths=LENGTHS)


# ---- Steps ---------------------------------------------------------------------------------------

STEPPED = {
    "reshape": lambda x: sc.Reshape((-1, 3, 2))(x),
    "permute": lambda x: sc.Permute((1, 3, 2))(sc.Reshape((-1, 3, 2))(x)),
    "features": lambda x: GetItem((..., slice(4, 1, -1)))(x),
    "last": lambda x: GetItem(key(-1))(x),
    "softmax": lambda x: Divide()(
        sc.Activation("exponential")(x),
        Reduce("sum", -1, keepdims=True)(sc.Activation("exponential")(x)),
    ),
    "einsum": lambda x: sc.EinsumDense(
        "abcd,cde->abe", np.linspace(-1, 1, 30).reshape(3, 2, 5), activation="tanh"
    )(sc.Reshape((-1, 3, 2))(x)),
    "repeat": lambda x: sc.RepeatVector(3)(GetItem(key(-1))(x)),
    "merges": lambda x: sc.Maximum()(sc.Subtract()(x, Unary("square")(x)), sc.Minimum()(x, x)),
    "masked": lambda x: sc.Multiply()(sc.Masking()(x), x),
}


# What stands after the last frame is told by calls over fewer frames.
SIZES = [(name, time) for name in STEPPED for time in (5, None) if (name, time) not in (
    ("last", 5), ("repeat", 5),
)]  # fmt: skip


@pytest.mark.parametrize(("name", "time"), SIZES)
def test_steps(rng, name, time, isa):
    source = sc.Input((time, 6))
    rnn = sc.SimpleRNN(floats(rng, 6, 6) / 3, floats(rng, 6, 6) / 3, return_sequences=True)
    model = sc.Model(source, STEPPED[name](rnn(source))).with_options(isa=isa, threads=1)
    for batch in (1, 3):
        check_steps(model, arguments(rng, model, batch, 5), f"{name}, batch {batch}")


def test_steps_of_a_vector_and_a_sequence(rng, isa):
    """A vector that is given whole joins every frame; one that stands after the last does not."""
    x, vector = sc.Input((None, 6)), sc.Input((6,))
    rnn = sc.SimpleRNN(np.eye(6) / 2, np.eye(6) / 3, return_sequences=True)
    model = sc.Model([x, vector], rnn(sc.Average()(vector, x))).with_options(isa=isa, threads=1)
    for batch in (1, 3):
        check_steps(model, arguments(rng, model, batch, 5), f"batch {batch}")
    last = sc.Model(x, sc.Add(name="guilty")(x, GetItem(key(-1))(x)))
    frames = sc.Model(x, sc.Add(name="guilty")(x, sc.Reshape((-1, 2, 6))(rnn_of_two(x))))
    for refused in (last, frames):
        with pytest.raises(sc.UnsupportedLayerError, match=r"'guilty'.*with what is none"):
            refused.stream()


def rnn_of_two(x):
    return sc.Dense(np.ones((6, 12)))(x)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (sc.Reshape((2, -1), name="guilty"), "joins or divides"),
        (sc.Permute((2, 1), name="guilty"), "moves the time axis"),
        (sc.UpSampling1D(2, name="guilty"), "more frames"),
        (GetItem(key(slice(-1, None)), name="guilty"), "some frames"),
        (GetItem(key(0), name="guilty"), "not the last"),
        (GetItem(key(None), name="guilty"), "moves the time axis"),
        (Reduce("mean", 1, name="guilty"), "whole sequence"),
        (GetItem((..., 0), name="guilty"), "no axis but batch and time"),
    ],
)
def test_steps_that_are_refused(layer, reason):
    with pytest.raises(sc.UnsupportedLayerError, match=f"'guilty'.*{reason}"):
        model_of(layer, (8, 6)).stream()


# ---- Merges --------------------------------------------------------------------------------------

SHAPES = [
    [(9, 17)] * 3, [(9, 17), (1, 17), (9, 1)], [(1, 17), (9, 1)], [(17,), (1,), (17,)],
    [(9, 17), (17,)], [(17,), (9, 17)], [(1,), (9, 17), (4, 9, 17)], [(9, 1), (17,), (17,)],
    [(3, 1, 5), (2, 5)],
]  # fmt: skip


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("name", ["Add", "Multiply", "Average", "Maximum", "Minimum", "Subtract"])
def test_merge(rng, name, shapes):
    shapes = shapes[:2] if name == "Subtract" else shapes
    arrays = [floats(rng, 5, *shape) for shape in shapes]
    model = model_of(getattr(sc, name)(), *shapes)
    agrees(model, run_keras(getattr(K, name)(), *arrays)[0], *arrays)


@pytest.mark.parametrize("shapes", SHAPES)
def test_divide(rng, shapes):
    a, b = (floats(rng, 5, *shape) for shape in shapes[:2])
    b += 2 * np.sign(b)
    rank = max(a.ndim, b.ndim)
    wide = [v.reshape(5, *[1] * (rank - v.ndim), *v.shape[1:]) for v in (a, b)]
    agrees(model_of(Divide(), *shapes[:2]), wide[0] / wide[1], a, b)


@pytest.mark.parametrize("name", ["Maximum", "Minimum"])
def test_a_nan_of_either_stays(name):
    a = np.array([[np.nan, 1, np.nan, -np.inf, 2] * 7], np.float32)
    b = np.array([[1, np.nan, np.nan, 3, np.inf] * 7], np.float32)
    expected = run_keras(getattr(K, name)(), a, b)[0]
    for isa, model in on_every_isa(model_of(getattr(sc, name)(), (35,), (35,))):
        np.testing.assert_array_equal(model(a, b), expected, err_msg=isa)


def test_merges_of_unequal_shapes_are_refused():
    for shapes in ([(9, 17), (16,)], [(9, 17), (8, 17)], [(4, 9, 17), (4, 17)]):
        for layer in (sc.Add(name="it"), sc.Subtract(name="it")):
            with pytest.raises(sc.ShapeError, match=r"'it'.*do not fit"):
                model_of(layer, *shapes)


def test_a_vector_joins_sequences_of_different_lengths(rng):
    x, vector = floats(rng, 6, 7, 5), floats(rng, 6, 5)
    a, b = sc.Input((None, 5)), sc.Input((5,))
    for joined in (sc.Add()(a, b), sc.Subtract()(b, a), sc.Maximum()(b, a, a)):
        rows_are_alone(sc.Model([a, b], joined), x, vector)


def test_a_sequence_of_fewer_axes_has_no_lengths(rng):
    """Its frames would be another axis of the result."""
    a, b = sc.Input((None, 5)), sc.Input((4, 7, 5))
    for joined in (sc.Add(name="it")(a, b), sc.Add(name="it")(b, a)):
        model = sc.Model([a, b], joined)
        arrays = floats(rng, 6, 7, 5), floats(rng, 6, 4, 7, 5)
        close(model(*arrays), arrays[0][:, None] + arrays[1], FLOAT32[0])
        with pytest.raises((sc.UnsupportedLayerError, sc.ShapeError), match="'it'"):
            model(*arrays, lengths={model.inputs[0]: LENGTHS})


# ---- Masks ---------------------------------------------------------------------------------------


def masked_arrays(rng, count):
    """Sequences with masked frames in any pattern, all or none among them."""
    arrays = [floats(rng, 6, 7, 5) for _ in range(count)]
    for x in arrays:
        x[rng.random((6, 7)) < 0.5] = 0
        x[0] = 0
        x[1] = floats(rng, 7, 5)
    arrays[-1][0, 3:] = 1
    return arrays


@pytest.mark.parametrize("masked", [(1, 1), (1, 0), (0, 1), (1, 1, 1), (1, 0, 1), (0, 1, 1)])
@pytest.mark.parametrize("name", ["Add", "Multiply", "Maximum", "Minimum", "Average"])
def test_masked_merges(rng, name, masked):
    """The values themselves, and the mask behind them by what a recurrent layer makes of it."""
    ours, theirs = masked_models(rng, getattr(sc, name)(), getattr(K, name)(), masked)
    arrays = [
        x + 0.25 * (not m) for x, m in zip(masked_arrays(rng, len(masked)), masked, strict=True)
    ]
    all_close(ours, run_keras(theirs, *arrays), FLOAT32[1], *arrays)


@pytest.mark.parametrize("masked", [(1, 1), (1, 0), (0, 1), (1, 0, 1), (0, 0)])
@pytest.mark.parametrize("axis", [1, 2, -1, -2])
def test_masked_concatenate(rng, axis, masked):
    ours, theirs = masked_models(rng, sc.Concatenate(axis), K.Concatenate(axis=axis), masked)
    arrays = masked_arrays(rng, len(masked))
    all_close(ours, run_keras(theirs, *arrays), FLOAT32[1], *arrays)


def masked_models(rng, ours, theirs, masked):
    """A merge of inputs, masked or not, and a recurrent layer behind it: our model and Keras's."""
    sources = [keras.Input((7, 5)) for _ in masked]
    merged = theirs([K.Masking()(x) if m else x for x, m in zip(sources, masked, strict=True)])
    rnn = K.SimpleRNN(4, return_sequences=True)
    their_model = keras.Model(sources, [merged, rnn(merged)])
    filled(rng, rnn, merged.shape)
    inputs = [sc.Input((7, 5)) for _ in masked]
    joined = ours(*(sc.Masking()(x) if m else x for x, m in zip(inputs, masked, strict=True)))
    ours_rnn = sc.SimpleRNN.from_keras(rnn.get_weights(), return_sequences=True)
    return sc.Model(inputs, [joined, ours_rnn(joined)]), their_model


@pytest.mark.parametrize("name", ["Add", "Multiply", "Maximum", "Concatenate"])
@pytest.mark.parametrize("masked", [(1, 1), (1, 0), (0, 1)])
def test_masks_of_keras_2(rng, name, masked):
    """Values are merged as they are, and a frame counts where all masks say so."""
    merge = getattr(sc, name)(mask_rule="keras2")
    arrays = [x + 0.25 * (not m) for x, m in zip(masked_arrays(rng, 2), masked, strict=True)]
    plain = {"Add": np.add, "Multiply": np.multiply, "Maximum": np.maximum}
    joined = plain[name](*arrays) if name in plain else np.concatenate(arrays, axis=-1)
    counts = np.all([x.any(axis=-1) for x, m in zip(arrays, masked, strict=True) if m], axis=0)
    rnn = filled(rng, K.SimpleRNN(4, return_sequences=True), joined.shape)
    with torch.no_grad():
        expected = rnn(torch.from_numpy(joined), mask=torch.from_numpy(counts)).numpy()
    inputs = [sc.Input((7, 5)) for _ in masked]
    made = merge(*(sc.Masking()(x) if m else x for x, m in zip(inputs, masked, strict=True)))
    ours = sc.SimpleRNN.from_keras(rnn.get_weights(), return_sequences=True)
    all_close(sc.Model(inputs, [made, ours(made)]), [joined, expected], FLOAT32[1], *arrays)


@pytest.mark.parametrize("name", ["Multiply", "Minimum"])
def test_a_mask_that_a_caller_gives(rng, name):
    """Given at a call or absent; and a vector beside a masked sequence."""
    x, y, vector = floats(rng, 6, 7, 5), floats(rng, 6, 7, 5), floats(rng, 6, 5)
    mask, other = rng.random((2, 6, 7)) < 0.5
    a, b, c = sc.Input((None, 5)), sc.Input((None, 5)), sc.Input((5,))
    layer = getattr(sc, name)()
    plain = {"Multiply": np.multiply, "Minimum": np.minimum}[name]
    none = 0 if name == "Multiply" else x
    model = sc.Model([a, b, c], [layer(a, b), layer(c, a)])
    first, second = model.inputs[:2]
    m, o = mask[..., None], other[..., None]
    one, both = plain(x, y), plain(vector[:, None], x)
    for isa, planned in on_every_isa(model):
        for given, expected in (
            ({}, (one, both)),
            ({first: mask}, (np.where(m, one, y), np.where(m, both, vector[:, None]))),
            ({second: other}, (np.where(o, one, x), both)),
            ({first: mask, second: other}, (
                np.where(m & o, one, np.where(m, x, np.where(o, y, none))),
                np.where(m, both, vector[:, None]),
            )),
        ):  # fmt: skip
            made = planned(x, y, vector, mask=given) if given else planned(x, y, vector)
            for actual, wanted in zip(made, expected, strict=True):
                close(actual, wanted, FLOAT32[0], f"{isa}, masks of {list(given)}")


# ---- Arithmetic ----------------------------------------------------------------------------------

NUMPY = {"mean": np.mean, "sum": np.sum, "max": np.max, "min": np.min}


@pytest.mark.parametrize("axes", [1, 2, 3, -1, (1, 2), (2, 3), (1, 3), (-1, 1), (1, 2, 3), (-2,)])
@pytest.mark.parametrize("function", NUMPY)
def test_reduce(rng, function, axes):
    for shape in ((4, 3, 2), (7, 5, 67), (1, 130, 1), (33, 1, 65)):
        x = floats(rng, 5, *shape)
        for keepdims in (False, True):
            expected = NUMPY[function](x.astype(np.float64), axis=axes, keepdims=keepdims)
            model = model_of(Reduce(function, axes, keepdims=keepdims), shape)
            agrees(model, expected, x, tolerance=2e-7)


def test_sums_are_exact_and_the_same_everywhere(rng):
    """A long sum of large numbers that cancel, rounded once; the same bits in any batch."""
    x = floats(rng, 9, 4000, 3) * 1e6
    x[:, 2000:] = -x[:, :2000] + floats(rng, 9, 2000, 3)
    model = model_of(Reduce("sum", 1), (None, 3))
    exact = x.astype(np.longdouble).sum(axis=1).astype(np.float32)
    for isa, planned in on_every_isa(model):
        y = planned(x)
        np.testing.assert_array_max_ulp(y, exact, 1)
        assert planned(x[4:5]).tobytes() == y[4:5].tobytes(), isa


@pytest.mark.parametrize("function", ["max", "min"])
def test_reduce_keeps_nan(function):
    x = np.array([[[1, np.nan], [np.nan, 2], [3, 3]]], np.float32)
    assert np.isnan(model_of(Reduce(function, 1), (3, 2))(x)).all()
    x[0, :2] = -np.inf if function == "max" else np.inf
    assert np.array_equal(model_of(Reduce(function, 1), (3, 2))(x), [[3, 3]])


FUNCTIONS = {
    "abs": np.abs, "negative": np.negative, "square": np.square, "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x), "reciprocal": lambda x: 1 / x, "log": np.log,
}  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS)
def test_unary(rng, function):
    x = np.exp(rng.uniform(-80, 80, (3, 700))).astype(np.float32)
    x[0] = np.linspace(0.5, 2, 700)
    if function in ("abs", "negative", "square", "reciprocal"):
        x[1] *= -1
    if function == "square":
        x = np.clip(x, -1e18, 1e18)
        x[np.abs(x) < 1e-18] = 1
    expected = FUNCTIONS[function](x.astype(np.float64)).astype(np.float32)
    for isa, model in on_every_isa(model_of(Unary(function), (700,))):
        y = model(x)
        np.testing.assert_array_max_ulp(y, expected, 2)
        alone = model.with_options(isa=isa)
        assert alone(x[1:2]).tobytes() == y[1:2].tobytes(), isa
    special = np.array([[0, np.inf, np.nan, 1]], np.float32)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(
            model_of(Unary(function), (4,))(special), FUNCTIONS[function](special)
        )


# ---- EinsumDense ---------------------------------------------------------------------------------

EQUATIONS = [
    ("ab,bc->ac", (17,), 33, "c"), ("abc,cd->abd", (6, 17), (None, 9), "d"),
    ("...x,xy->...y", (6, 17), 9, None), ("...x,xyz->...yz", (6, 17), (3, 4), "yz"),
    ("ab,bcd->acd", (17,), (3, 4), "d"), ("abcd,cde->abe", (6, 3, 4), (None, 5), "e"),
    ("abcd,cdef->abef", (6, 3, 4), (None, 5, 2), "e"), ("abc,dc->abd", (6, 17), (None, 9), "d"),
    ("abcd,edc->abe", (6, 3, 4), (6, 5), None), ("ab,bcd->adc", (17,), (3, 4), "dc"),
    ("...xy,xyz->...z", (6, 3, 4), 5, "z"),
]  # fmt: skip


@pytest.mark.parametrize("activation", [None, "tanh", "softmax"])
@pytest.mark.parametrize("number", range(len(EQUATIONS)))
def test_einsum_dense(rng, number, activation):
    equation, shape, output_shape, bias_axes = EQUATIONS[number]
    options = {"bias_axes": bias_axes, "activation": activation}
    theirs = K.EinsumDense(equation, output_shape, **options)
    filled(rng, theirs, (None, *shape))
    x = floats(rng, 5, *shape)
    layer = sc.EinsumDense(equation, *theirs.get_weights(), **options)
    model = model_of(layer, shape)
    agrees(model, run_keras(theirs, x)[0], x, tolerance=FLOAT32[1])
    assert model.layers[0].parameters == theirs.count_params()
    unbuilt = model_of(sc.EinsumDense(equation, output_shape, **options), shape)
    assert unbuilt.layers[0].parameters == theirs.count_params()
    assert unbuilt.layers[0].output_shape == model.layers[0].output_shape


@pytest.mark.parametrize(
    "equation",
    ["abc,bd->adc", "abc,cd->adb", "abc,abd->acd", "ab,b->a", "ab...,bc->ac...", "aab,bc->aac",
     "abc,cd->abe", "abc,cd", "...ab,bc->ac", "abc, cd->abd", "ab,ba->ab", 5, None, "", "a,ab->b"],
)  # fmt: skip
def test_equations_that_are_no_dense_are_refused(equation):
    with pytest.raises(sc.OptionError, match="equation"):
        sc.EinsumDense(equation, 3)


def test_einsum_checks_every_axis(rng):
    """Axes that are joined to one must each have the kernel's size, not their product alone."""
    layer = sc.EinsumDense("abcd,cde->abe", floats(rng, 3, 4, 5), name="it")
    with pytest.raises(sc.ShapeError, match="'it'"):
        model_of(layer, (6, 4, 3))
    with pytest.raises(sc.ShapeError, match="'it'"):
        model_of(layer, (6, 12))
    for options in ({"bias_axes": "b"}, {"bias_axes": ""}, {"bias_axes": 5}):
        with pytest.raises(sc.OptionError, match="bias_axes"):
            sc.EinsumDense("abc,cd->abd", 5, **options)
    for shape in ((3, 4, 5), None, "x", (None, None), (None, 0), (None, 2.5)):
        with pytest.raises((sc.OptionError, sc.WeightsError, sc.DtypeError)):
            sc.EinsumDense("abc,cd->abd", shape)
    with pytest.raises(sc.WeightsError, match="bias"):
        sc.EinsumDense("abc,cd->abd", np.ones((2, 3)), np.ones(4), bias_axes="d")
    with pytest.raises(sc.OptionError, match="bias"):
        sc.EinsumDense("abc,cd->abd", np.ones((2, 3)), np.ones(3))


# ---- Bad options ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: sc.Reshape(()), lambda: sc.Reshape((0, 2)), lambda: sc.Reshape((-1, -1)),
        lambda: sc.Reshape(5), lambda: sc.Reshape((2, 1.5)), lambda: sc.Reshape((1,) * 6),
        lambda: sc.Permute((0, 1)), lambda: sc.Permute((1, 3)), lambda: sc.Permute((1, 1)),
        lambda: sc.Permute(()), lambda: sc.Permute(2), lambda: sc.RepeatVector(0),
        lambda: sc.RepeatVector(1.5), lambda: sc.UpSampling1D(-1), lambda: sc.UpSampling1D(True),
        lambda: GetItem(0), lambda: GetItem((None, ...)), lambda: GetItem((slice(1, None), 0)),
        lambda: GetItem((..., 1, ...)), lambda: GetItem((slice(None), 1.5)),
        lambda: GetItem((slice(None), slice(None, None, 0))), lambda: GetItem((..., True)),
        lambda: GetItem((slice(None), [1, 2])), lambda: GetItem((slice(None), slice("a"))),
        lambda: Reduce("median", 1), lambda: Reduce("mean", ()), lambda: Reduce("mean", 1.5),
        lambda: Reduce("mean", 1, keepdims=1), lambda: Unary("cosh"), lambda: Unary(None),
        lambda: sc.Add(mask_rule="keras4"), lambda: sc.Concatenate(mask_rule=None),
        lambda: model_of(Reduce("mean", 0), (3, 4)), lambda: model_of(Reduce("mean", 3), (3, 4)),
        lambda: model_of(Reduce("mean", (1, -2)), (3, 4)),
        lambda: model_of(Reduce("mean", -3), (3, 4)),
        lambda: model_of(GetItem((..., 1, slice(None), slice(None))), (3, 4)),
        lambda: model_of(GetItem((..., None, slice(None), slice(None), slice(None))), (3, 4)),
    ],
)  # fmt: skip
def test_options_that_are_refused(make):
    with pytest.raises(sc.OptionError):
        make()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (sc.RepeatVector(2, name="it"), (3, 4)), (sc.UpSampling1D(2, name="it"), (3,)),
        (sc.UpSampling1D(2, name="it"), (3, 4, 5)), (GetItem((..., 1, 2, 3), name="it"), (3,)),
    ],
)  # fmt: skip
def test_ranks_that_are_refused(layer, shape):
    with pytest.raises(sc.ShapeError, match="'it'"):
        model_of(layer, shape)
