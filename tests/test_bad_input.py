"""Wrong arguments, one case each: which error, and that its message names what is wrong.

Hostile model files have tests of their own (attacks/); here are files of the wrong kind.
"""

from __future__ import annotations

import os
import zipfile

import numpy as np
import pytest
import torch

import seqcore as sc

FEATURES, H = 5, 7
W, U, B = np.ones((FEATURES, 4 * H)), np.ones((H, 4 * H)), np.ones(4 * H)
ONES = np.ones((2, 3, FEATURES), np.float32)
RAGGED = [[1.0, 2.0], [3.0]]
HUGE = 10**5000  # as a float it overflows, and Python does not write it either


def refused(error, message, call):
    with pytest.raises(error, match=message or None) as caught:
        call()
    assert isinstance(caught.value, sc.SeqcoreError)


# ---- Constructors -------------------------------------------------------------------------------

OPTIONS = {
    "units": [
        lambda: sc.LSTM(HUGE),
        lambda: sc.LSTM(0),
        lambda: sc.LSTM(-3),
        lambda: sc.LSTM(2.5),
        lambda: sc.LSTM(True),
        lambda: sc.LSTM("8"),
        lambda: sc.LSTM(None),
        lambda: sc.Dense(2**31),
        lambda: sc.GRU(float("nan")),
    ],
    "return_sequences": [lambda: sc.LSTM(2, return_sequences=1)],
    "return_state": [lambda: sc.GRU(2, return_state="yes")],
    "go_backwards": [lambda: sc.SimpleRNN(2, go_backwards=None)],
    "reset_after": [lambda: sc.GRU(2, reset_after=1)],
    "use_bias": [
        lambda: sc.Dense(2, use_bias=0),
        lambda: sc.Dense(np.ones((2, 3)), np.ones(3), use_bias=False),
        lambda: sc.LSTM(W, U, B, use_bias=False),
    ],
    "activation": [
        lambda: sc.Dense(2, activation="Relu"),
        lambda: sc.ActivationSpec("elu", 10**400),
        lambda: sc.ActivationSpec("elu", HUGE),
        lambda: sc.ActivationSpec("elu", np.float32("nan")),
        lambda: sc.ActivationSpec("elu", np.bool_(True)),
        lambda: sc.Activation(np.tanh),
        lambda: sc.LSTM(2, activation=["tanh", 0, 0]),
        lambda: sc.GRU(2, recurrent_activation="sigmoid6"),
    ],
    "merge_mode": [
        lambda: sc.Bidirectional(sc.LSTM(2), merge_mode="average"),
        lambda: sc.Bidirectional(sc.LSTM(2), merge_mode=["concat"]),
    ],
    "padding": [
        lambda: sc.Conv1D(2, 3, padding="SAME"),
        lambda: sc.Conv1D(2, 3, padding=None),
        lambda: sc.MaxPooling1D(2, padding="causal"),
    ],
    "strides": [lambda: sc.Conv1D(2, 3, strides=0), lambda: sc.MaxPooling1D(2, strides=(1, 2))],
    "dilation_rate": [lambda: sc.Conv1D(2, 3, dilation_rate=-1)],
    "groups": [lambda: sc.Conv1D(4, 3, groups=3), lambda: sc.Conv1D(4, 3, groups=0)],
    "kernel_size": [lambda: sc.Conv1D(4), lambda: sc.Conv1D(4, np.ones(4))],
    "pool_size": [lambda: sc.MaxPooling1D(0)],
    "axis": [
        lambda: sc.Concatenate(0),
        lambda: sc.Concatenate(1.0),
        lambda: sc.Concatenate(None),
    ],
    "rate": [lambda: sc.Dropout(HUGE), lambda: sc.Dropout(np.float32(1.5))],
    "rate is a number": [
        lambda: sc.Dropout(1.5),
        lambda: sc.Dropout(float("nan")),
        lambda: sc.Dropout("a"),
    ],
    "input_dim": [lambda: sc.Embedding(0, 3)],
    "output_dim": [lambda: sc.Embedding(3), lambda: sc.Embedding(np.ones((3, 2)), 2)],
    "shape": [
        lambda: sc.Input(64),
        lambda: sc.Input((None, 0)),
        lambda: sc.Input((1,) * 6),
        lambda: sc.Input((2.5,)),
    ],
    "dtype": [lambda: sc.Input((3,), "float64"), lambda: sc.Input((3,), np.float32)],
    "name": [
        lambda: sc.LSTM(3, name=""),
        lambda: sc.LSTM(3, name=3),
        lambda: sc.LSTM(3, name="a:b"),
        lambda: sc.LSTM(3, name="a\0b"),
        lambda: sc.LSTM(3, name="\ud800"),
        lambda: sc.Input((3,), name="x" * 201),
    ],
    "forward|recurrent|weights|SimpleRNN|go_backwards|return_sequences|return_state": [
        lambda: sc.Bidirectional(sc.Dense(2)),
        lambda: sc.Bidirectional(sc.LSTM(2, go_backwards=True)),
        lambda: sc.Bidirectional(sc.LSTM(W, U, B)),
        lambda: sc.Bidirectional(sc.LSTM(2), sc.LSTM(2)),
        lambda: sc.Bidirectional(sc.LSTM(2), sc.Dense(2)),
        lambda: sc.Bidirectional(sc.LSTM(2), sc.LSTM(2, go_backwards=True, return_sequences=True)),
    ],
    "layer is SimpleRNN, LSTM or GRU": [
        lambda: sc.Bidirectional.from_keras([W, U, W, U], "LSTM"),
        lambda: sc.Bidirectional.from_keras([W, U, W, U], sc.Dense),
    ],
    "one input and one output": [
        lambda: sc.TimeDistributed(3),
        lambda: sc.TimeDistributed(sc.Add()),
        lambda: sc.TimeDistributed(sc.LSTM(2, return_state=True)),
    ],
    "W|kernel": [
        lambda: sc.LSTM(3, U),
        lambda: sc.Dense(3, np.ones(3)),
    ],
}


@pytest.mark.parametrize(
    ("option", "make"),
    [(option, make) for option, cases in OPTIONS.items() for make in cases],
)
def test_an_option_out_of_range_is_named(option, make):
    refused(sc.OptionError, option, make)


def test_an_unknown_option_is_an_error_of_python():
    with pytest.raises(TypeError, match="zero_mask"):
        sc.Embedding(3, 2, zero_mask=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sc.LSTM(W), "U is missing"),
        (lambda: sc.LSTM(W, U[:, :-1]), r"'LSTM', weight U: expected shape \(7, 28\)"),
        (
            lambda: sc.LSTM(W[:, :-1], U),
            r"weight W: expected shape \(any, 28\) = \(features, 4\*un",
        ),
        (lambda: sc.LSTM(W[0], U), "weight W"),
        (lambda: sc.LSTM(W, U[0]), "weight U"),
        (lambda: sc.LSTM(W, U, B[:-1]), r"weight b: expected shape \(28,\), found \(27,\)"),
        (lambda: sc.LSTM(W, U, np.ones((3, 28))), r"weight b: expected shape \(2, 28\)"),
        (lambda: sc.LSTM(W[:0], U), "weight W"),
        (lambda: sc.GRU(np.ones((FEATURES, 21)), np.ones((H, 21)), np.ones((3, 21))), "weight b"),
        (
            lambda: sc.GRU.from_keras(
                [np.ones((FEATURES, 21)), np.ones((H, 21)), np.ones((2, 21))], reset_after=False
            ),
            r"weight b: expected shape \(21,\).*, found \(2, 21\)",
        ),
        (lambda: sc.Dense(np.ones(3)), "weight kernel"),
        (lambda: sc.Dense(np.ones((3, 2)), np.ones(3)), r"'Dense', weight bias.*\(2,\).*\(3,\)"),
        (lambda: sc.Conv1D(np.ones((3, 2))), "weight kernel"),
        (lambda: sc.Embedding(np.ones((3, 2, 1))), "weight table"),
        (lambda: sc.Embedding(np.ones((0, 2))), "weight table"),
        (lambda: sc.Dense.from_keras([]), "found 0 arrays"),
        (lambda: sc.Embedding.from_keras([W, W]), "found 2"),
        (lambda: sc.Dense.from_torch({"a.bias": B}, "a", name="head"), "'head'.*has no weight"),
        (lambda: sc.Embedding.from_torch({"a.w": B}, "a"), "has no weight"),
        (lambda: sc.LSTM.from_torch({}, "a"), "no weight begins with 'a.'"),
        (lambda: sc.LSTM.from_torch([B], "a"), "mapping"),
        (lambda: sc.LSTM.from_torch({"a": B}, 3), "prefix"),
        (lambda: sc.LSTM.from_torch({"weight": B}), "no recurrent weights"),
        (lambda: sc.LSTM.from_torch({3: B}), "strings; found 3"),
        (lambda: sc.Dense.from_torch({"weight": W, None: B}), "strings; found None"),
        (lambda: sc.LSTM.from_torch({f"weight_ih_l{'7' * 5000}": B}), "no recurrent weights"),
        (lambda: sc.LSTM.from_keras(None), "'LSTM'.*get_weights.*NoneType"),
        (lambda: sc.Dense.from_keras({"kernel": W}), "'Dense'.*get_weights.*dict"),
        (lambda: sc.Embedding.from_keras(None, name="table"), "'table'.*get_weights"),
        (lambda: sc.LSTM.from_keras([W, U], use_bias=True), "'LSTM': use_bias=True"),
        (lambda: sc.GRU.from_keras([W, U], use_bias=True, name="a"), "'a': use_bias=True"),
        (lambda: sc.Dense.from_keras([W], use_bias=np.True_), "'Dense': use_bias=True"),
        (lambda: sc.LSTM(W, RAGGED), "'LSTM', weight U: rows of different"),
        (lambda: sc.LSTM(RAGGED, U), "'LSTM', weight W: rows of different"),
        (lambda: sc.GRU(W, U, RAGGED, name="g"), "'g', weight b: rows of different"),
        (lambda: sc.Dense(RAGGED), "'Dense', weight kernel: rows of different"),
        (lambda: sc.Conv1D(W[None], RAGGED), "'Conv1D', weight bias: rows of different"),
        (lambda: sc.LSTM.from_keras([W, RAGGED]), "weight recurrent_kernel: rows of different"),
        (lambda: sc.Dense.from_torch({"weight": RAGGED}), "weight weight: rows of different"),
        (lambda: sc.Dense(torch.ones(2, 2, device="meta")), "kernel: it is on the meta device"),
        (lambda: sc.Bidirectional.from_keras([W, U, B], sc.LSTM), "both directions, 4 or 6; fo"),
    ],
)
def test_wrong_weights_are_named(make, message):
    refused(sc.WeightsError, message, make)


class Unreadable:
    """An array of another library that cannot become one of NumPy's."""

    ndim = 2

    def __init__(self, error):
        self.error = error

    def __array__(self, *_, **__):
        raise self.error("no NumPy here")


@pytest.mark.parametrize("error", [TypeError, RuntimeError])
def test_arrays_that_numpy_cannot_read(rnn, error):
    array = Unreadable(error)
    refused(sc.DtypeError, "'Dense', weight kernel.*no NumPy here", lambda: sc.Dense(array))
    refused(sc.DtypeError, "'LSTM', weight U.*no NumPy here", lambda: sc.LSTM(W, array))
    refused(sc.DtypeError, "input 'x'.*no NumPy here", lambda: rnn(array))


def test_tensors_that_numpy_cannot_read(rnn):
    grad = torch.ones(2, 3, FEATURES, requires_grad=True)
    for x in (grad, torch.ones(2, 3, FEATURES, dtype=torch.bfloat16)):
        refused(sc.DtypeError, r"input 'x'.*\.detach\(\)", lambda x=x: rnn(x))
    sparse = torch.eye(3).to_sparse()
    refused(sc.DtypeError, "'Dense', weight kernel", lambda: sc.Dense(sparse))


@pytest.mark.parametrize("dtype", [complex, object, str, bool, "M8[s]"])
def test_weights_are_real_numbers(dtype):
    refused(sc.DtypeError, "kernel", lambda: sc.Dense(np.zeros((2, 2), dtype)))


# ---- Models -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "list of layers"),
        ([sc.Input((3,))], "list of layers"),
        ([sc.LSTM(3)], r"LSTM.*Input\(shape\)"),
        ([sc.Dense(3)], r"Dense.*Input\(shape\)"),
        ([sc.Dropout(), sc.Dense(3)], "Dropout"),
        ([3], "list of layers"),
        (None, "list of layers; found None"),
        (sc.Dense(3), "list of layers; found <Dense>"),
        ([sc.Input((3,)), sc.Dense(2), sc.Input((3,))], "found Input"),
        ([sc.Input((3,)), sc.Dense], "found <class"),
        ([sc.Input((3, 2)), sc.LSTM(2, return_state=True), sc.Dense(2)], "3 outputs; use Model"),
        ([sc.Input((3, 2)), sc.Add()], "Add: expected 2 or more inputs"),
    ],
)
def test_a_chain_that_is_none(layers, message):
    refused(sc.GraphError, message, lambda: sc.Sequential(layers))


@pytest.mark.parametrize(
    "call",
    [
        lambda _: sc.Dense(2)(np.ones((2, 3))),
        lambda x: sc.Dense(2)(x, x),
        lambda _: sc.Dense(2)(),
        lambda x: sc.LSTM(2)(x, initial_state=[x]),
        lambda x: sc.Dense(2)(x, initial_state=[x]),
        lambda x: sc.Model(x, sc.Dense(2)),
        lambda x: sc.Model(x, x)(x),
        lambda x: sc.Model(sc.Dense(2)(x), sc.Dense(2)(x)),
    ],
)
def test_calls_on_what_is_no_symbol(call):
    refused(sc.GraphError, "", lambda: call(sc.Input((3,))))


@pytest.mark.parametrize(
    ("layers", "error", "name"),
    [
        ([sc.Dense(np.ones((4, 2)), name="head")], sc.WeightsError, "head"),
        ([sc.LSTM(W[:4], U, B, name="rnn")], sc.WeightsError, "rnn"),
        ([sc.LSTM(W, U, B), sc.LSTM(W, U, B, name="second")], sc.ShapeError, "second"),
        ([sc.LSTM(W, U, B), sc.Dense(np.ones((8, 1)), name="head")], sc.WeightsError, "head"),
        ([sc.Conv1D(np.ones((2, 3, 4)), name="conv")], sc.WeightsError, "conv"),
        ([sc.GlobalMaxPooling1D(), sc.GlobalMaxPooling1D(name="again")], sc.ShapeError, "again"),
    ],
)
def test_layers_that_do_not_fit_are_named(layers, error, name):
    refused(error, f"'{name}'", lambda: sc.Sequential([sc.Input((None, FEATURES)), *layers]))


# ---- Calls --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rnn():
    return sc.Sequential([sc.Input((None, FEATURES), name="x"), sc.LSTM(W, U, B, name="rnn")])


@pytest.fixture(scope="module")
def tokens():
    table = np.arange(18).reshape(9, 2)
    return sc.Sequential(
        [sc.Input((None,), "int64", name="ids"), sc.Embedding(table, name="embed")]
    )


@pytest.fixture(scope="module")
def two():
    a, b = sc.Input((3,), name="a"), sc.Input((3,), name="b")
    return sc.Model([a, b], [sc.Add()(a, b), sc.Multiply()(a, b)])


@pytest.mark.parametrize(
    "x",
    [
        np.ones((2, FEATURES)),
        np.ones((2, 3, FEATURES, 1)),
        np.ones((2, 3, FEATURES + 1)),
        np.ones((2, 3, 0)),
        np.float32(1),
        [],
        [[1, 2], [3]],
        np.ones((1,) * 9),
    ],
    ids=lambda x: str(getattr(x, "shape", x)),
)
def test_features_of_a_wrong_shape(rnn, x):
    refused(sc.ShapeError, "", lambda: rnn(x))


@pytest.mark.parametrize("dtype", [complex, object, "U3", "S3", "M8[s]", "m8[s]", [("a", "f4")]])
def test_features_of_a_wrong_dtype(rnn, dtype):
    refused(sc.DtypeError, "input 'x'", lambda: rnn(np.zeros((2, 3, FEATURES), dtype)))


@pytest.mark.parametrize("x", [None, "text", {1, 2}, object()])
def test_features_that_are_no_numbers(rnn, x):
    refused(sc.DtypeError, "input 'x'", lambda: rnn(x))


def test_a_masked_array_would_lose_its_mask(rnn):
    refused(sc.DtypeError, "lengths=", lambda: rnn(np.ma.masked_less(ONES, 0)))
    masked = np.ma.masked_less(np.ones((3, 4)), 0)
    refused(sc.DtypeError, "weight kernel", lambda: sc.Dense(masked, np.zeros(4)))


@pytest.mark.parametrize(
    ("ids", "error"),
    [
        ([[1.0, 2.0]], sc.DtypeError),
        ([[True, False]], sc.DtypeError),
        ([["a"]], sc.DtypeError),
        (np.array([[2**63]], np.uint64), sc.DtypeError),
        ([[1, -1]], sc.IdRangeError),
        ([[1, 9]], sc.IdRangeError),
        ([[2**62]], sc.IdRangeError),
        ([1, 2], sc.ShapeError),
        ([[[1], [2]]], sc.ShapeError),
    ],
)
def test_wrong_ids(tokens, ids, error):
    refused(error, "", lambda: tokens(ids))


def test_an_id_out_of_range_names_the_layer_and_is_an_index_error(tokens):
    with pytest.raises(IndexError, match=r"'embed'.*9"):
        tokens([[0, 9]])


@pytest.mark.parametrize(
    ("lengths", "error"),
    [
        ([1], sc.ShapeError),
        ([1, 2, 3], sc.ShapeError),
        ([[1], [2]], sc.ShapeError),
        (2, sc.ShapeError),
        ([1, 4], sc.ShapeError),
        ([-1, 2], sc.ShapeError),
        ([1.0, 2.0], sc.DtypeError),
        ([True, False], sc.DtypeError),
        (["1", "2"], sc.DtypeError),
        (np.array([1, 2**63], np.uint64), sc.DtypeError),
        ({"y": [1, 2]}, sc.ShapeError),
    ],
)
def test_wrong_lengths(rnn, lengths, error):
    refused(error, "lengths", lambda: rnn(ONES, lengths=lengths))


def test_lengths_of_an_input_without_time(two):
    x = np.ones((2, 3))
    refused(sc.ShapeError, "no time axis", lambda: two(x, x, lengths=[1, 1]))
    refused(sc.ShapeError, "no time axis", lambda: two(x, x, lengths={"b": [1, 1]}))


def test_lengths_of_an_array_of_the_wrong_rank(rnn):
    for x in (np.float32(1), np.ones(3)):
        refused(sc.ShapeError, "", lambda x=x: rnn(x, lengths=[1]))


@pytest.mark.parametrize("layer", [sc.Flatten(name="it"), sc.Concatenate(1, name="it")])
def test_layers_that_refuse_lengths_are_named(layer):
    x = sc.Input((4, FEATURES))
    model = sc.Model(x, layer(x, x) if isinstance(layer, sc.Concatenate) else layer(x))
    given = np.ones((2, 4, FEATURES))
    model(given)
    with pytest.raises((sc.ShapeError, sc.UnsupportedLayerError), match="'it'"):
        model(given, lengths=[1, 4])


def test_merged_sequences_must_have_the_same_lengths():
    a, b = sc.Input((None, 2), name="a"), sc.Input((None, 2), name="b")
    model = sc.Model([a, b], sc.Add(name="sum")(a, b))
    x = np.ones((2, 3, 2))
    model(x, x, lengths={"a": [1, 2], "b": [1, 2]})
    for lengths in ({"a": [1, 2], "b": [2, 1]}, {"a": [1, 2]}):
        refused(sc.ShapeError, "'sum'", lambda lengths=lengths: model(x, x, lengths=lengths))


STATE = np.ones((2, H), np.float32)


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (STATE, sc.ShapeError),
        ([STATE], sc.ShapeError),
        ([STATE] * 3, sc.ShapeError),
        ([STATE, STATE[:1]], sc.ShapeError),
        ([STATE, STATE[:, :-1]], sc.ShapeError),
        ([STATE, STATE[0]], sc.ShapeError),
        ([STATE, STATE[None]], sc.ShapeError),
        ([STATE, STATE * 1j], sc.DtypeError),
        ("hc", sc.ShapeError),
    ],
)
def test_wrong_states(rnn, state, error):
    refused(error, "", lambda: rnn(ONES, initial_state=state))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((), "expected 2 inputs"),
        ((np.ones((2, 3)),), "expected 2 inputs"),
        ((np.ones((2, 3)),) * 3, "found 3"),
        (({"a": np.ones((2, 3))},), "found .'a'."),
        (({"a": 1, "b": 1, "c": 1},), "'c'"),
        ((np.ones((2, 3)), np.ones((3, 3))), ""),
        ((np.ones((2, 3)), np.ones((1, 3))), ""),
    ],
)
def test_wrong_sets_of_inputs(two, inputs, message):
    refused(sc.ShapeError, message, lambda: two(*inputs))


def read_only(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("out", "error"),
    [
        (np.zeros((2, H)), sc.DtypeError),
        (np.zeros((2, H), ">f4"), sc.DtypeError),
        ([[0] * H] * 2, sc.ShapeError),
        (3, sc.DtypeError),
        (np.zeros((2, H - 1), "f4"), sc.ShapeError),
        (np.zeros((1, H), "f4"), sc.ShapeError),
        (np.zeros((2, H, 1), "f4"), sc.ShapeError),
        (np.zeros((H, 2), "f4").T, sc.ShapeError),
        (np.zeros((2, 2 * H), "f4")[:, ::2], sc.ShapeError),
        (read_only(np.zeros((2, H), "f4")), sc.ShapeError),
        (np.zeros(2 * H * 4 + 1, "u1")[1:].view("f4").reshape(2, H), sc.ShapeError),
        ((), sc.ShapeError),
        ((np.zeros((2, H), "f4"),) * 2, sc.ShapeError),
    ],
)
def test_wrong_outputs(rnn, out, error):
    refused(error, "out", lambda: rnn(ONES, out=out))


def test_an_output_must_not_overlap_an_input(rnn):
    buffer = np.ones(2 * 3 * FEATURES + 2 * H, np.float32)
    x = buffer[: 2 * 3 * FEATURES].reshape(2, 3, FEATURES)
    for start in (0, 2 * 3 * FEATURES - 1):
        out = buffer[start : start + 2 * H].reshape(2, H)
        refused(sc.ShapeError, "overlaps", lambda out=out: rnn(x, out=out))
    rnn(x, out=buffer[2 * 3 * FEATURES :].reshape(2, H))  # side by side is apart


def test_an_output_must_not_overlap_what_was_converted_from(rnn):
    buffer = np.ones((2, 3, 2 * FEATURES), np.float32)
    out = buffer.reshape(-1)[: 2 * H].reshape(2, H)
    refused(sc.ShapeError, "overlaps", lambda: rnn(buffer[:, :, ::2], out=out))


def test_an_output_must_not_overlap_a_state_or_another_output(rnn, two):
    h, c = np.zeros((2, 2, H), np.float32)
    refused(sc.ShapeError, "overlaps", lambda: rnn(ONES, initial_state=(h, c), out=c))
    x, out = np.ones((2, 3)), np.zeros((3, 3), np.float32)
    refused(sc.ShapeError, "overlaps", lambda: two(x, x, out=(out[:2], out[1:])))


# ---- Options and files --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "int8"},
        {"precision": None},
        {"isa": "sse9"},
        {"isa": 3},
        {"threads": -1},
        {"threads": 1.5},
        {"threads": True},
    ],
)
def test_wrong_options_of_a_model(rnn, options, tmp_path):
    (option,) = options
    refused(sc.OptionError, option, lambda: rnn.with_options(**options))
    rnn.save(tmp_path / "m")
    refused(sc.OptionError, option, lambda: sc.load(tmp_path / "m", **options))


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2", None])
def test_a_wrong_number_of_threads(threads):
    before = sc.get_num_threads()
    refused(sc.OptionError, "", lambda: sc.set_num_threads(threads))
    assert sc.get_num_threads() == before


def torch_file(path):
    torch.save({"weight": torch.zeros(2)}, path)


def torch_legacy(path):
    torch.save({"weight": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)


def zip_of(*members):
    def make(path):
        with zipfile.ZipFile(path, "w") as archive:
            for member in members:
                archive.writestr(member, b"{}")

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (torch_file, "read_weights.*LSTM.from_torch"),
        (torch_legacy, "read_weights.*LSTM.from_torch"),
        (zip_of("a.npy"), "zip archive"),
        (lambda path: path.write_bytes(b"PK\3\4 and nothing more"), "damaged zip"),
        (lambda path: np.save(path.open("wb"), np.zeros(3)), "NumPy array"),
        (lambda path: path.write_bytes(b""), ""),
        (lambda path: path.write_bytes(b"\0" * 100), ""),
        (lambda path: path.write_text("hello, this is text"), ""),
        (lambda path: os.mkfifo(path), "not a regular file"),
        (lambda path: path.mkdir(), "not a regular file"),
    ],
)
def test_files_of_other_kinds_are_refused_by_name(make, message, tmp_path):
    path = tmp_path / "model.h5"
    make(path)
    refused(sc.ModelFileError, message, lambda: sc.load(path))
    with pytest.raises(sc.ModelFileError, match=r"model\.h5"):
        sc.load(str(path))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        sc.load(tmp_path / "nowhere")


def test_a_model_file_whose_graph_is_wrong_names_the_file(rnn, tmp_path):
    import safetensors.numpy as safetensors

    path = tmp_path / "model.safetensors"
    rnn.save(path)
    tensors = safetensors.load_file(path)
    text = tensors["__graph__"].tobytes()
    changes = [
        (b'"op":"lstm"', b'"op":"lstm2"'),
        (b'"units":7', b'"units":8'),
        (b'"rnn.U"', b'"rnn.V"'),
        (b'"version":1', b'"version":2'),
        (b'"value":"rnn","parameters"', b'"value":"rn","parameters"'),
        (b'"parameters":', b'"depth":0,"parameters":'),
        (b"}", b""),
    ]
    for old, new in changes:
        assert old in text
        tensors["__graph__"] = np.frombuffer(text.replace(old, new, 1), np.uint8)
        safetensors.save_file(tensors, path)
        with pytest.raises((sc.ModelFileError, sc.UnsupportedLayerError)) as caught:
            sc.load(path)
        if not isinstance(caught.value, sc.UnsupportedLayerError):
            assert "model.safetensors" in str(caught.value)


def test_weights_in_safetensors_are_no_model(tmp_path):
    """That it lacks a graph is told before what the reader of models thinks of F16."""
    path = tmp_path / "weights.safetensors"
    header = b'{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    refused(
        sc.ModelFileError, "weights.safetensors: .*__graph__.*read_weights", lambda: sc.load(path)
    )
    named = header.replace(b'"a"', b'"__graph__"')
    path.write_bytes(len(named).to_bytes(8, "little") + named + bytes(4))
    with pytest.raises(sc.ModelFileError) as caught:
        sc.load(path)
    assert "read_weights" not in str(caught.value)
