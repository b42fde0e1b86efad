"""Attacks on the pickle interpreter: running code, filling memory, never ending, and plain lies.

The canary is a real module on sys.path whose import and whose call leave a file behind; a positive
control shows that the standard library's unpickler does fall for it.
"""

from __future__ import annotations

import gc
import pickle
import pickletools
import struct
import sys
import tracemalloc

import numpy as np
import pytest
from canaries import SING, canary, named, stacked, text  # noqa: F401 (a fixture that all tests use)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqcore.errors import ModelFileError
from seqcore.formats import pickles, read_pickle, read_weights
from seqcore.formats.arrays import Budget
from seqcore.formats.numpy_pickles import constructors, load_pickle
from seqcore.formats.pickles import Limits, Stub, loads
from seqcore.formats.values import settle

MIB = 1 << 20


def bare(data: bytes, limits: Limits = Limits()) -> object:  # noqa: B008
    return loads(data, find_global=lambda *_: None, limits=limits)


def plain(data: bytes, total: int = 256 * MIB) -> object:
    return settle(load_pickle(data, Budget(total)), keep_stubs=False)


def test_the_canary_sings_for_pickle(canary):  # noqa: F811
    pickle.loads(b"\x80\x02" + SING["reduce"] + b".")
    assert canary.read_text() == "xx"
    canary.unlink()
    del sys.modules["seqcore_canary"]


@pytest.mark.parametrize("name", SING)
@pytest.mark.parametrize("wrap", [b"%s", b"]%sa", b"}X\x01\x00\x00\x00w%ss"])
def test_nothing_is_imported_or_called(tmp_path, name, wrap):
    data = b"\x80\x04" + wrap.replace(b"%s", SING[name]) + b"."
    (tmp_path / "a.pkl").write_bytes(data)
    try:
        loaded = load_pickle(data, Budget(MIB))
    except ModelFileError:
        pass  # some are refused at once; the others are inert until they are used
    else:
        assert loaded is not None
    if name != "defaultdict factory":  # of which the factory is dropped: an empty dict
        with pytest.raises(ModelFileError, match=r"a\.pkl"):
            read_pickle(tmp_path / "a.pkl")
    with pytest.raises(ModelFileError, match=r"a\.pkl"):
        read_weights(tmp_path / "a.pkl")


def test_os_system_is_named(tmp_path):
    data = b"\x80\x02}" + text("w") + named("os", "system") + text("true") + b"\x85Rs."
    (tmp_path / "a.pkl").write_bytes(data)
    with pytest.raises(ModelFileError, match=r"os\.system"):
        read_pickle(tmp_path / "a.pkl")
    with pytest.raises(ModelFileError, match=r"os\.system"):
        read_weights(tmp_path / "a.pkl")


def test_a_stub_keeps_what_it_was_given_and_does_nothing():
    stub = bare(b"\x80\x02" + named("os", "system") + text("true") + b"\x85R}bK\x01a.")
    assert type(stub) is Stub
    assert (stub.name, stub.arguments) == ("os.system", ("true",))
    assert (stub.states, stub.entries) == ([{}], [1])


def test_every_opcode_is_known_or_refused_by_name():
    refused = {
        "POP", "POP_MARK", "DUP", "FLOAT", "LONG", "STRING", "UNICODE", "PERSID", "DICT",
        "LIST", "GET", "PUT", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "LONG4",
        "NEWOBJ_EX", "NEXT_BUFFER", "READONLY_BUFFER",
    }  # fmt: skip
    codes = {ord(op.code): op.name for op in pickletools.opcodes}
    for code in range(256):
        with pytest.raises(ModelFileError) as caught:
            bare(b"\x80\x02" + bytes([code]))
        if code not in codes:
            assert f"opcode {hex(code)} is not allowed" in str(caught.value)
        elif codes[code] in refused:
            assert f"opcode {codes[code]} is not allowed" in str(caught.value)
        else:
            assert "not allowed" not in str(caught.value)


def test_numbers_of_python_2():
    for line, value in [(b"0", 0), (b"-7", -7), (b"140710192841344", 140710192841344)]:
        assert bare(b"\x80\x02I" + line + b"\n.") == value
        assert type(bare(b"\x80\x02I" + line + b"\n.")) is int
    for line, flag in [(b"00", False), (b"01", True)]:
        assert bare(b"\x80\x02I" + line + b"\n.") is flag
        assert pickle.loads(b"\x80\x02I" + line + b"\n.") is flag
    for line in (b"", b"-", b"1.5", b"0x1", b" 1", b"1_0", b"9" * 21, b"9" * 10_000, b"\xd9\xa1"):
        with pytest.raises(ModelFileError, match=r"INT|a line is truncated"):
            bare(b"\x80\x02I" + line + b"\n.")
    with pytest.raises(ModelFileError, match="a line is truncated"):
        bare(b"\x80\x02I1")


# The stack


@pytest.mark.parametrize(
    "body",
    [
        b"", b"K\x01K\x02", b"(", b"(K\x01", b"K\x01(", b"t", b"R", b"K\x01R", b"b", b"K\x01b",
        b"s", b"K\x01s", b"}K\x01s", b"}(K\x01u", b"](K\x01a", b"K\x01(s", b"e", b"K\x01(e",
        b"K\x01(K\x02u", b"a", b"K\x01K\x02a", b"\x85", b"(\x85", b"K\x01\x86",
        b"K\x01(K\x02\x86", b"q\x00", b"(q\x00", b"\x94", b"h\x00", b"j\xff\xff\xff\xff", b"\x93",
        b"K\x01K\x02\x93", b"Q", b")K\x01R", b")K\x01b", b"K\x01\x80\x02", b"cos", b"cos\nsystem",
        b"c\xff\n\xff\n", b"X\x01\x00\x00\x00\xff", b"X\x03\x00\x00\x00\xed\xa0\x80",
        named("a" * 300, "b"), stacked("a" * 300, "b"), b"](K\x01K\x02e.", b"}]K\x01s",
        b"}}K\x01s",
    ],
)  # fmt: skip
def test_malformed_streams(body):
    with pytest.raises(ModelFileError, match=r"pickle, byte \d+"):
        bare(b"\x80\x02" + body + b".")


@pytest.mark.parametrize("start", [b"", b"\x80\x00", b"\x80\x01", b"\x80\x06", b"K\x01", b"\x80"])
def test_protocols(start):
    with pytest.raises(ModelFileError):
        bare(start + b"N.")
    assert bare(b"\x80\x02N.") is None


def test_nothing_may_follow_the_end():
    with pytest.raises(ModelFileError, match="3 bytes follow"):
        bare(b"\x80\x02N.abc")


# Sizes that are not there


@pytest.mark.parametrize("opcode", [b"X", b"B", b"T"])
@pytest.mark.parametrize("size", [5, 2**31 - 1, 2**31, 2**32 - 1])
def test_sizes_of_four_bytes_past_the_end(opcode, size):
    assert_small(b"\x80\x02" + opcode + struct.pack("<I", size) + b"abcd", MIB)


@pytest.mark.parametrize("opcode", [b"\x8d", b"\x8e", b"\x96", b"\x95"])
@pytest.mark.parametrize("size", [5, 2**31, 2**40, 2**63 - 1, 2**63, 2**64 - 1])
def test_sizes_of_eight_bytes_past_the_end(opcode, size):
    assert_small(b"\x80\x04" + opcode + struct.pack("<Q", size) + b"abcd", MIB)


@pytest.mark.parametrize(
    "body", [b"\x8a\xff" + b"\x7f" * 254, b"U\x05abcd", b"\x8c\xffab", b"C\x09a"]
)
def test_sizes_of_one_byte_past_the_end(body):
    assert_small(b"\x80\x02" + body, MIB)


def test_huge_integers():
    value = int.from_bytes(b"\x7f" * 255, "little")
    assert plain(b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".") == value
    with pytest.raises(ModelFileError, match="LONG4 is not allowed"):
        bare(b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1))
    with pytest.raises(ModelFileError, match="very large number"):
        plain(
            b"\x80\x02" + named("numpy._core.numeric", "_frombuffer") + b"(C\x00"
            + named("numpy", "dtype") + text("<f4") + b"\x85R\x8a\xff" + b"\x7f" * 255
            + b"\x85" + text("C") + b"tR."
        )  # fmt: skip


# Memory


def assert_small(data: bytes, most: int, read=bare) -> None:
    """Refused, with less than `most` bytes in use at any time."""
    gc.collect()
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError):
            read(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most


def test_memo_bomb():
    # cpython#115952: in C, an index allocates an array of that length.
    assert_small(b"\x80\x02K\x01r\xff\xff\xff\xff", MIB)
    assert bare(b"\x80\x02K\x01r\xff\xff\xff\xffj\xff\xff\xff\xff\x86.") == (1, 1)
    with pytest.raises(ModelFileError, match="more than 100 values in the memo"):
        bare(b"\x80\x04]" + b"\x94" * 101 + b".", Limits(memo=100))


@pytest.mark.parametrize("opcode", [b"]", b"}", b"]\x85", b"]\x94", b"X\x02\x00\x00\x00ab", b"(t"])
def test_many_small_objects_are_charged(opcode):
    data = b"\x80\x04(" + opcode * (200_000 // len(opcode)) + b"t."
    assert_small(data, 20 * MIB, lambda data: bare(data, Limits(total_bytes=MIB)))


@pytest.mark.parametrize(
    ("limits", "body", "match"),
    [
        (Limits(stack=10), b"N" * 11, "11|10 values on the stack"),
        (Limits(stack=10), b"(" * 11, "10 values on the stack"),
        (Limits(stack=10), b"N(" * 6, "10 values on the stack"),
        (Limits(operations=10), b"N\x85" * 6, "more than 10 operations"),
        (Limits(string=3), b"X\x04\x00\x00\x00abcd", "string of 4 bytes"),
        (Limits(name=3), b"cabcd\nx\n", "longer than 3"),
        (Limits(keys=2), b"}(K\x01NK\x02NK\x03Nu", "more than 2 dict keys"),
        (
            Limits(total_bytes=1000),
            b"C\xff" + b"a" * 255 + b"C\xff" * 4,
            "more than 1000 bytes|trunc",
        ),
    ],
)
def test_limits(limits, body, match):
    with pytest.raises(ModelFileError, match=match):
        bare(b"\x80\x02" + body + b".", limits)


def doubled(levels: int, bottom: bytes = b"]") -> bytes:
    """A list of a list twice, of a list twice ...: 2**levels leaves."""
    body = bottom
    for _ in range(levels):
        body += b"q\x00h\x00\x86"
    return body


@pytest.mark.parametrize("levels", [30, 60, 99])
def test_exponential_lists(levels):
    with pytest.raises(ModelFileError, match="stands for more than"):
        plain(b"\x80\x02" + doubled(levels) + b".")


def test_exponential_dicts_of_arrays(tmp_path):
    array = pickle.dumps(np.ones(1), 2)[2:-1]
    body = array + b"r\x00\x00\x01\x00"
    for level in range(40):
        index = struct.pack("<I", 1000 + level)
        before = struct.pack("<I", 999 + level) if level else b"\x00\x00\x01\x00"
        body += b"}(" + text("a") + b"j" + before + text("b") + b"j" + before + b"u"
        body += b"r" + index
    data = b"\x80\x02(" + body + b"t."  # a tuple of all levels; the last is the bomb
    with pytest.raises(ModelFileError, match="stands for more than"):
        plain(data)
    data = b"\x80\x02}" + text("x") + b"(" + body + b"ts."
    (tmp_path / "a.pkl").write_bytes(data)
    with pytest.raises(ModelFileError, match=r"a\.pkl: stands for more than"):
        read_weights(tmp_path / "a.pkl")


def test_exponential_dicts_below_the_limit_are_charged(tmp_path):
    array = np.ones(1000)
    for _ in range(14):
        array = {"a": array, "b": array}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(array))
    with pytest.raises(ModelFileError, match="more than 1000000 bytes"):
        read_weights(tmp_path / "a.pkl", max_bytes=10**6)


def test_one_string_as_the_data_of_many_arrays():
    size = b"J" + struct.pack("<i", MIB) + b"\x85"
    dtype = named("numpy", "dtype") + text("|u1") + b"\x85Rq\x01"
    blob = b"B" + struct.pack("<I", MIB) + bytes(MIB) + b"q\x00"
    call = named("numpy._core.numeric", "_frombuffer")
    arrays = (call + b"(h\x00h\x01" + size + text("C") + b"tR") * 50
    # The blob and the dtype are memoised while the first array is made.
    first = call + b"(" + blob + dtype + size + text("C") + b"tR"
    data = b"\x80\x02(" + first + arrays + b"t."
    assert len(plain(data, 60 * MIB)) == 51
    assert_small(data, 12 * MIB, lambda data: plain(data, 8 * MIB))


# Never ending


@pytest.mark.parametrize(
    "body",
    [
        b"]q\x00h\x00a",
        b"}q\x00K\x01h\x00s",
        b"]q\x00(h\x00ta",
        b"]q\x00}" + text("a") + b"h\x00sa",
        named("collections", "OrderedDict") + b")Rq\x00" + text("a") + b"h\x00s",
    ],
)
def test_values_that_contain_themselves(tmp_path, body):
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02" + body + b".")
    for read in (read_pickle, read_weights):
        with pytest.raises(ModelFileError, match=r"a\.pkl: .*contains itself"):
            read(tmp_path / "a.pkl")


@pytest.mark.parametrize("body", [b")" + b"\x85" * 300_000, b"]" * 300_000 + b"a" * 299_999])
def test_deep_nesting(body):
    with pytest.raises(ModelFileError, match="nested more than 100"):
        plain(b"\x80\x02" + body + b".")


def test_depth_counts_through_shared_parts():
    # The shared part is settled once, near the top, and used again far below.
    shared = b"]" * 60 + b"a" * 59 + b"q\x00"
    with pytest.raises(ModelFileError, match="nested more than 100"):
        plain(b"\x80\x02(" + shared + b"h\x00" + b"\x85" * 60 + b"t.")


def test_hashing_never_runs_away():
    # As a key, the tuple would be hashed 2**60 times.
    with pytest.raises(ModelFileError, match="dict key of type tuple"):
        bare(b"\x80\x02}" + doubled(60, b")") + b"Ns.")


@pytest.mark.parametrize(
    "key", [b"]", b"}", named("os", "x"), b"]\x85", b"(" + b"K\x01" * 17 + b"t"]
)
def test_keys_are_flat(key):
    with pytest.raises(ModelFileError, match="dict key of type"):
        bare(b"\x80\x02}" + key + b"Ns.")


def test_colliding_keys_are_few():
    # Multiples of 2**61 - 1 hash alike.
    keys = b"".join(
        b"\x8a\x11" + (i * (2**61 - 1)).to_bytes(17, "little") + b"N" for i in range(20)
    )
    with pytest.raises(ModelFileError, match="dict keys that are not strings"):
        bare(b"\x80\x02}(" + keys + b"u.", Limits(keys=19))


# Arrays that lie


def array_pickle(shape=b"K\x03\x85", code="<f4", data=b"C\x0c" + b"\0" * 12, order="C") -> bytes:
    return (
        b"\x80\x04" + named("numpy._core.numeric", "_frombuffer") + b"(" + data
        + named("numpy", "dtype") + text(code) + b"\x85R" + shape + text(order) + b"tR."
    )  # fmt: skip


def test_the_array_of_these_attacks_is_sound():
    assert plain(array_pickle()).tolist() == [0, 0, 0]


HUGE = b"\x8a\x09" + b"\xff" * 8 + b"\x00"  # 2**64 - 1


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"shape": b"K\x04\x85"}, "takes 16 bytes, found 12"),
        ({"shape": b"K\x02\x85"}, "takes 8 bytes, found 12"),
        ({"shape": b")"}, "takes 4 bytes"),
        ({"shape": b"J\xff\xff\xff\xff\x85"}, "not a tuple of sizes"),
        ({"shape": b"J\xff\xff\xff\xffJ\xfd\xff\xff\xff\x86"}, "not a tuple of sizes"),
        ({"shape": b"\x88K\x03\x86"}, "not a tuple of sizes"),
        ({"shape": b"G" + struct.pack(">d", 3.0) + b"\x85"}, "not a tuple of sizes"),
        ({"shape": b"]"}, "not a tuple of sizes"),
        ({"shape": b"N"}, "not a tuple of sizes"),
        ({"shape": named("os", "x")}, "os.x"),
        ({"shape": HUGE + b"\x85"}, "overflows"),
        ({"shape": HUGE + HUGE + b"\x86"}, "overflows"),
        ({"shape": HUGE + b"K\x00\x86", "data": b"C\x00"}, "overflows"),
        ({"shape": b"(" + b"K\x01" * 33 + b"t"}, "33 axes"),
        ({"code": "|O8"}, "object array"),
        ({"code": "O"}, "object array"),
        ({"code": "U3"}, "not a number"),
        ({"code": "V4"}, "not a number"),
        ({"code": "f16"}, "not a number"),
        ({"code": "i4,i4"}, "not a number"),
        ({"code": "(3,)f4"}, "not a number"),
        ({"code": "f4" * 500}, "not a number"),
        ({"code": "|b1", "data": b"C\x03\x00\x01\x02"}, "neither 0 nor 1"),
        ({"order": "A"}, "order"),
        ({"data": b"N"}, "expected bytes"),
        ({"data": b"]"}, "expected bytes"),
        ({"data": text("é")}, "takes 12 bytes, found 1"),
        ({"data": named("os", "x")}, "os.x"),
    ],
)
def test_arrays_that_contradict_themselves(changes, match):
    with pytest.raises(ModelFileError, match=match):
        plain(array_pickle(**changes))


RECONSTRUCT = named("numpy.core.multiarray", "_reconstruct") + named("numpy", "ndarray")
RECONSTRUCT += b"K\x00\x85C\x01b\x87R"


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (RECONSTRUCT, "state is missing"),
        (RECONSTRUCT + b"Nb", "no state"),
        (RECONSTRUCT + b")b", "no state"),
        (RECONSTRUCT + b"}b", "no state"),
        (RECONSTRUCT + b"(NNNNNtb", "dtype or order"),
        (RECONSTRUCT + b"(NNNNNtb(NNNNNtb", "set twice"),
        (named("numpy", "dtype") + text("f4") + b"\x85RNb", "state"),
        (named("numpy", "dtype") + text("f4") + b"\x85R", r"found numpy\.dtype"),
        (named("numpy", "dtype") + b")R", "is given 0 arguments"),
        (named("numpy", "ndarray"), r"found numpy\.ndarray"),
        (named("collections", "OrderedDict") + b"]NaNa\x85R", "expected pairs"),
        (named("collections", "OrderedDict") + b"]](NNea\x85R", "expected pairs"),
        (named("collections", "Counter") + b"]\x85R", "expected a dict"),
        (named("_codecs", "encode") + text("a") + text("rot13") + b"\x86R", "rot13"),
        (named("_codecs", "encode") + text("\u0100") + text("latin1") + b"\x86R", "_codecs.encode"),
    ],
)
def test_constructors_given_nonsense(body, match):
    with pytest.raises(ModelFileError, match=match):
        plain(b"\x80\x04" + body + b".")


def bomb() -> object:
    value: object = [0]
    for _ in range(60):
        value = (value, value)
    return value


def cycle() -> list:
    value: list = []
    value.append(value)
    return value


# Made late: nobody may print them.
UNPRINTABLE = {"a bomb": bomb, "a cycle": cycle}


def made(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return type(value)(made(part) for part in value)
    return UNPRINTABLE[value]() if isinstance(value, str) and value in UNPRINTABLE else value


NONSENSE = st.recursive(
    st.sampled_from(
        [None, True, 0, 1, -1, 2**70, 1.5, float("nan"), "f4", "O", "C", "latin1", "", b"", b"ab",
         bytearray(4), (), [], {}, "a bomb", "a cycle", Stub("os.system"), Stub("a.b", (1,))]
    ),
    lambda parts: st.lists(parts, max_size=4) | st.lists(parts, max_size=5).map(tuple),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_constructors_raise_nothing_of_their_own(data):
    table = constructors(Budget(MIB))
    calls = [found for found in table.values() if isinstance(found, pickles.Constructor)]
    call = data.draw(st.sampled_from(calls))
    arguments = data.draw(st.lists(NONSENSE | st.sampled_from(list(table.values())), max_size=5))
    try:
        result = call(made(tuple(arguments)))
        if hasattr(result, "build"):
            result.build(made(data.draw(NONSENSE | st.tuples(*[NONSENSE] * 5))))
        settle(result, keep_stubs=True)
    except ModelFileError as error:
        message = str(error)
    else:
        return
    assert len(message) < 2000


# Truncation and mutation

VALUE = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.asfortranarray(np.ones((2, 2))),
    "vocabulary": {"a": 1, "b": [1.5, None, (True, b"x")]}, "n": np.float64(3), 5: 2**40,
}  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_truncation_at_every_byte(tmp_path, protocol):
    data = pickle.dumps(VALUE, protocol)
    assert plain(data)["vocabulary"] == VALUE["vocabulary"]
    for end in range(len(data)):
        with pytest.raises(ModelFileError):
            plain(data[:end])
    for end in (0, 1, 2, 3, 20, len(data) - 1):
        (tmp_path / "a.pkl").write_bytes(data[:end])
        with pytest.raises(ModelFileError, match=r"a\.pkl: "):
            read_weights(tmp_path / "a.pkl")


def is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(is_plain, value)) and all(map(is_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    kinds = (type(None), bool, int, float, complex, str, bytes, bytearray)
    return type(value) in kinds or (type(value) is np.ndarray and value.dtype.kind in "biufc")


def assert_plain_or_refused(data: bytes) -> None:
    try:
        value = plain(data)
    except ModelFileError:
        return
    assert is_plain(value)


@st.composite
def mutated(draw, valid: bytes) -> bytes:
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        kind = draw(st.sampled_from(["set", "cut", "copy", "insert"]))
        if kind == "set":
            data[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 8))]
        elif kind == "copy":
            data[at:at] = data[draw(st.integers(0, len(data) - 1)) :][: draw(st.integers(1, 40))]
        else:
            codes = [ord(op.code) for op in pickletools.opcodes]
            data[at:at] = bytes(draw(st.lists(st.sampled_from(codes), max_size=4)))
        if not data:
            return b""
    return bytes(data)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_mutation(protocol):
    valid = pickle.dumps(VALUE, protocol)

    @settings(max_examples=400, deadline=None)
    @given(mutated(valid))
    @example(valid)
    def check(data: bytes) -> None:
        assert_plain_or_refused(data)

    check()


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from([op.code.encode("latin-1") for op in pickletools.opcodes]
                                + [b"\x01", b"\x00", text("a"), named("numpy", "dtype")]),
                max_size=40))  # fmt: skip
def test_random_opcodes(parts):
    assert_plain_or_refused(b"\x80\x04" + b"".join(parts) + b".")
