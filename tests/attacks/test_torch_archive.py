"""Attacks through torch archives: views that leave their storage, storages that lie, odd pickles.

The archives are written here member by member, so that every field can be wrong; torch itself reads
the sound one. Attacks on zip are in test_npz.py, on the opcodes in test_pickles.py.
"""

from __future__ import annotations

import collections
import gc
import io
import pickle
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqcore.errors import ModelFileError
from seqcore.formats import read_weights

MIB = 1 << 20


class Storage:
    """Pickled as a persistent id, of which every part can be a lie."""

    def __init__(self, key="0", count=24, kind=torch.FloatStorage, tag="storage", pid=None):
        self.pid = (tag, kind, key, "cpu", count) if pid is None else pid


class Call:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.pid if isinstance(value, Storage) else None


def tensor(storage=None, offset=0, size=(4, 6), stride=(6, 1), *more) -> Call:
    more = more or (False, collections.OrderedDict())
    return Call(torch._utils._rebuild_tensor_v2, storage or Storage(), offset, size, stride, *more)


def pickled(value: object) -> bytes:
    data = io.BytesIO()
    Pickler(data, 2).dump(value)
    return data.getvalue()


def archive(data_pkl: object, storages: dict | None = None, **members: bytes) -> bytes:
    if storages is None:
        storages = {"0": np.arange(24, dtype=np.float32).tobytes()}
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        raw = data_pkl if isinstance(data_pkl, bytes) else pickled(data_pkl)
        file.writestr("archive/data.pkl", raw)
        for name, content in members.items():
            file.writestr("archive/" + name, content)
        for key, content in storages.items():
            file.writestr(f"archive/data/{key}", content)
        file.writestr("archive/version", "3\n")
    return data.getvalue()


@pytest.fixture
def read(tmp_path):
    def read(data: bytes, **options) -> dict[str, np.ndarray]:
        (tmp_path / "w.pt").write_bytes(data)
        return read_weights(tmp_path / "w.pt", **options)

    return read


def test_the_archive_of_these_attacks_is_sound(read):
    data = archive({"w": tensor(size=(6, 4), stride=(1, 6))})
    expected = np.arange(24, dtype=np.float32).reshape(4, 6).T
    assert np.array_equal(torch.load(io.BytesIO(data))["w"].numpy(), expected)
    assert np.array_equal(read(data)["w"], expected)


# Views


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (24,), (1,)),
        (23, (1,), (1,)),
        (23, (1, 1), (10**15, 0)),  # an axis of length 1 never steps
        (3, (), ()),
        (24, (0,), (1,)),
        (0, (0, 5), (0, 0)),
        (1, (2, 3, 2), (2, 4, 11)),
        (0, (1, 24), (0, 1)),
    ],
)
def test_views_inside_the_storage(read, offset, size, stride):
    data = archive({"w": tensor(None, offset, size, stride)})
    own = torch.arange(24.0).as_strided(size, stride, min(offset, 23)).numpy()
    assert read(data)["w"].shape == own.shape
    assert np.array_equal(read(data)["w"], own)


@pytest.mark.parametrize(
    ("offset", "size", "stride", "match"),
    [
        (0, (25,), (1,), "reach element 24"),
        (1, (24,), (1,), "reach element 24"),
        (24, (), (), "reach element 24"),
        (0, (2,), (24,), "reach element 24"),
        (0, (4, 6), (7, 1), "reach element 26"),
        (0, (2,), (2**61,), "reach element"),
        (0, (2, 2), (2**61, 2**61), "reach element"),
        (2**61, (1,), (1,), "reach element"),
        (2**64, (1,), (1,), "offset"),
        (-1, (1,), (1,), "offset"),
        (True, (1,), (1,), "offset"),
        (0.0, (1,), (1,), "offset"),
        ("0", (1,), (1,), "offset"),
        (None, (1,), (1,), "offset"),
        (23, (3,), (-1,), "strides"),
        (0, (1,), (2**63,), "strides"),
        (0, (1,), (1.0,), "strides"),
        (0, (1,), (1, 1), "strides"),
        (0, (1,), (), "strides"),
        (0, (1,), [1], "strides"),
        (0, (1,), None, "strides"),
        (0, (10**9,), (0,), "stride 0"),
        (0, (2,), (0,), "stride 0"),
        (0, (2, 3, 4), (0, 1, 3), "stride 0"),
        (0, (20, 5), (1, 1), "storage of 24"),
        (0, (12, 12), (1, 1), "storage of 24"),
        (0, (-1,), (1,), "not a tuple of sizes"),
        (0, (2.0,), (1,), "not a tuple of sizes"),
        (0, [2], (1,), "not a tuple of sizes"),
        (0, (True,), (1,), "not a tuple of sizes"),
        (0, None, (1,), "not a tuple of sizes"),
        (0, (2**62,), (1,), "overflows"),
        (0, (2**32, 2**32), (1, 1), "overflows"),
        (0, (2**64, 0), (1, 1), "overflows"),
        (0, (2**2000,), (1,), "overflows"),
        (0, (1,) * 33, (1,) * 33, "33 axes"),
    ],
)
def test_views_that_leave_the_storage(read, offset, size, stride, match):
    with pytest.raises(ModelFileError, match=rf"w\.pt: tensor of shape .*{match}"):
        read(archive({"w": tensor(None, offset, size, stride)}))


def test_one_storage_behind_many_tensors_is_charged(read):
    one = Storage("0", MIB, torch.ByteStorage)
    views = {str(i): tensor(one, 0, (MIB,), (1,)) for i in range(100)}
    data = archive(views, {"0": bytes(MIB)})
    assert len(read(data, max_bytes=102 * MIB)) == 100
    gc.collect()
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match="more than 10485760 bytes"):
            read(data, max_bytes=10 * MIB)
        assert tracemalloc.get_traced_memory()[1] < 14 * MIB
    finally:
        tracemalloc.stop()


# Storages


@pytest.mark.parametrize(
    ("storage", "match"),
    [
        (Storage(count=25), "100 bytes expected, 96 stored"),
        (Storage(count=24, kind=torch.DoubleStorage), "192 bytes expected, 96 stored"),
        (Storage(count=24, kind=torch.HalfStorage), "48 bytes expected, 96 stored"),
        (Storage(count=2**61), "bytes expected, 96 stored"),
        (Storage(count=2**70), "elements"),
        (Storage(count=-1), "elements"),
        (Storage(count=24.0), "elements"),
        (Storage(count=True), "elements"),
        (Storage(count="24"), "elements"),
        (Storage(key="1"), "'archive/data/1' is missing"),
        (Storage(key="../data/0"), "storage key"),
        (Storage(key="/etc/passwd"), "storage key"),
        (Storage(key="0/../0"), "storage key"),
        (Storage(key=""), "storage key"),
        (Storage(key="\u0661"), "storage key"),
        (Storage(key=0), "storage key"),
        (Storage(kind=torch.ComplexFloatStorage), "torch.ComplexFloatStorage"),
        (Storage(kind=torch.Tensor), "kind of storage"),
        (Storage(kind="FloatStorage"), "kind of storage"),
        (Storage(kind=eval), "eval"),
        (Storage(tag="module"), "names no storage"),
        (Storage(pid="storage"), "names no storage"),
        (Storage(pid=("storage",)), "names no storage"),
        (Storage(pid=("storage", torch.FloatStorage, "0", "cpu", 24, 0)), "names no storage"),
        ("0", "storage or dtype"),
        ([1.0] * 24, "storage or dtype"),
        (Call(collections.OrderedDict), "storage or dtype"),
        (Call(eval, "1"), "eval"),
        (tensor(), "storage or dtype"),
    ],
)
def test_storages_that_lie(read, storage, match):
    with pytest.raises(ModelFileError, match=rf"w\.pt: .*{match}"):
        read(archive({"w": tensor(storage)}))


def test_storage_larger_than_named(read):
    with pytest.raises(ModelFileError, match="92 bytes expected, 96 stored"):
        read(archive({"w": tensor(Storage(count=23), 0, (1,), (1,))}))


def test_one_storage_of_two_sizes(read):
    both = {"a": tensor(), "b": tensor(Storage(kind=torch.DoubleStorage))}
    with pytest.raises(ModelFileError, match="storage '0' has 96 bytes, then 192"):
        read(archive(both))


def test_one_storage_of_two_kinds_of_the_same_size(read):
    both = {"a": tensor(), "b": tensor(Storage(kind=torch.IntStorage))}
    found = read(archive(both))
    assert found["b"].tobytes() == found["a"].tobytes()
    assert found["b"].dtype == np.int32


def test_booleans_that_are_neither(read):
    one = tensor(Storage("0", 2, torch.BoolStorage), 0, (2,), (1,))
    assert read(archive({"w": one}, {"0": b"\0\1"}))["w"].tolist() == [False, True]
    with pytest.raises(ModelFileError, match="neither 0 nor 1"):
        read(archive({"w": one}, {"0": b"\0\2"}))


def test_declared_storage_that_is_a_bomb(read):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        one = tensor(Storage("0", 300 * MIB, torch.ByteStorage), 0, (1,), (1,))
        file.writestr("archive/data.pkl", pickled({"w": one}))
        with file.open("archive/data/0", "w") as member:
            for _ in range(300):
                member.write(bytes(MIB))
    with pytest.raises(ModelFileError, match="zip member 'archive/data/0' needs 314572800"):
        read(data.getvalue())


@pytest.mark.parametrize("order", [b"", b"BIG", b"little ", b"\xff" * 10, b"middle"])
def test_byte_orders(read, order):
    with pytest.raises(ModelFileError, match="expected little or big"):
        read(archive({"w": tensor()}, byteorder=order))


# Constructors


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (Call(torch._utils._rebuild_tensor_v2), "is given 0 arguments"),
        (Call(torch._utils._rebuild_tensor_v2, *range(8)), "is given 8 arguments"),
        (tensor(None, 0, (1,), (1,), False, None, {"conj": True}), "marks"),
        (tensor(None, 0, (1,), (1,), False, None, {"neg": True}), "marks"),
        (Call(torch._utils._rebuild_parameter, [1.0], True, None), "a Parameter of list"),
        (Call(torch._utils._rebuild_parameter, Call(eval, "1"), True, None), "eval"),
        (
            Call(torch._utils._rebuild_tensor_v3, Storage(), 0, (1,), (1,), False, None, "f4"),
            "storage or dtype",
        ),
        (
            Call(torch._utils._rebuild_tensor_v3, Storage(), 0, (1,), (1,), 0, 0, torch.complex64),
            "torch.complex64",
        ),
        (Call(torch._utils._rebuild_device_tensor_from_numpy, 1, 2, 3, 4), "_rebuild_device"),
        (
            Call(torch._tensor._rebuild_from_type_v2, eval, torch.Tensor, ("1",), {}),
            "class 'torch.Tensor'",
        ),
        (
            Call(
                torch._tensor._rebuild_from_type_v2, torch._utils._rebuild_tensor_v2, dict, (), {}
            ),
            "dict",
        ),
        (
            Call(
                torch._tensor._rebuild_from_type_v2,
                torch._tensor._rebuild_from_type_v2,
                torch.Tensor,
                (torch._tensor._rebuild_from_type_v2, torch.Tensor, (), {}),
                {},
            ),
            "class 'torch.Tensor'",
        ),
        (Call(torch.Size, [1]), "torch.Size of list"),
    ],
)
def test_constructors_given_nonsense(read, value, match):
    with pytest.raises(ModelFileError, match=rf"w\.pt: .*{match}"):
        read(archive({"good": tensor(), "w": value}))


def test_nothing_is_run(read, tmp_path):
    sung = tmp_path / "sung"
    command = Call(eval, f"open({str(sung)!r}, 'w').write('x')")
    pickle.loads(pickled(command))
    assert sung.exists()
    sung.unlink()
    for value in ({"w": tensor(), "x": command}, {"w": tensor(), "x": [command]}):
        assert list(read(archive(value))) == ["w"]
    for value in (command, {"w": command}, {"w": tensor(command)}):
        with pytest.raises(ModelFileError, match=r"builtin.*\.eval"):
            read(archive(value))
    assert not sung.exists()


def test_nothing_is_imported(read):
    assert not {"antigravity", "this"} & set(sys.modules)
    data = b"\x80\x02}(X\x01\x00\x00\x00xcthis\ns\n)RX\x01\x00\x00\x00ycantigravity\nfly\n)Ru."
    with pytest.raises(ModelFileError, match=r"antigravity\.fly, this\.s"):
        read(archive(data))
    assert not {"antigravity", "this"} & set(sys.modules)


def test_what_is_dropped_may_be_nonsense(read):
    # An object of an unknown class is dropped whole, even when arrays inside it could not be read.
    odd = Call(eval, tensor(size=(99, 99)), tensor("no storage"), Storage(kind=eval))
    assert list(read(archive({"w": tensor(), "odd": odd}))) == ["w"]


# Names


def test_names_that_collide(read):
    with pytest.raises(ModelFileError, match=r"two arrays are named 'a\.b'"):
        read(archive({"a": {"b": tensor()}, "a.b": tensor()}))
    with pytest.raises(ModelFileError, match="two arrays are named '0'"):
        read(archive({0: tensor(), "0": tensor()}))


@pytest.mark.parametrize("key", [None, 1.5, True, b"w", ("a", 1)])
def test_names_that_are_none(read, key):
    with pytest.raises(ModelFileError, match="an array's key"):
        read(archive({key: tensor()}))
    assert list(read(archive({"w": tensor(), "x": {key: 1}}))) == ["w"]


def test_names_without_end(read):
    value: object = tensor(size=(), stride=())
    key = "k" * 300
    for _ in range(10):
        value = {key: value}
    with pytest.raises(ModelFileError, match="longer than 1000"):
        read(archive(value))


def test_checkpoint_that_contains_itself(read):
    value: dict = {"w": tensor()}
    value["self"] = value
    with pytest.raises(ModelFileError, match="contains itself"):
        read(archive(value))


@pytest.mark.parametrize("value", [{}, [], None, "x", [1, 2], {"a": 1}, {"a": [Call(eval, "1")]}])
def test_no_arrays(read, value):
    with pytest.raises(ModelFileError, match=r"w\.pt: holds no arrays"):
        read(archive(value))


# The archive


def test_two_archives_in_one(read):
    data = io.BytesIO(archive({"w": tensor()}))
    with zipfile.ZipFile(data, "a") as file:
        file.writestr("other/data.pkl", pickled({"v": 1}))
    with pytest.raises(ModelFileError, match=r"neither of torch.save nor of NumPy"):
        read(data.getvalue())


def test_data_pkl_is_missing(read):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr("archive/data/0", bytes(4))
    with pytest.raises(ModelFileError, match=r"neither of torch.save"):
        read(data.getvalue())


def saved(dtype=torch.float32) -> bytes:
    data = io.BytesIO()
    base = torch.arange(6).to(dtype)
    torch.save({"a": base.view(2, 3).t(), "n": {"b": base[2:]}}, data)
    return data.getvalue()


def test_truncation(read):
    data = saved()
    assert list(read(data)) == ["a", "n.b"]
    for end in [*range(0, len(data), 13), *range(len(data) - 60, len(data))]:
        with pytest.raises(ModelFileError):
            read(data[:end])


def test_truncated_pickle_at_every_byte(read):
    data = pickled({"w": tensor(), "v": tensor(Storage(), 3, (2, 2), (1, 5))})
    assert len(read(archive(data))) == 2
    for end in range(len(data)):
        with pytest.raises(ModelFileError):
            read(archive(data[:end]))


def assert_small_or_refused(path, most: int) -> None:
    try:
        found = read_weights(path)
    except ModelFileError as error:
        message = str(error)
    else:
        assert all(array.flags.owndata and array.size <= most for array in found.values())
        return
    assert message.startswith(str(path))


def test_mutated_pickle(tmp_path):
    valid = pickled({"w": tensor(), "v": tensor(Storage(), 3, (2, 2), (1, 5)), "n": np.ones(2)})
    path = tmp_path / "w.pt"

    @settings(max_examples=400, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, len(valid) - 1), st.integers(0, 255)), max_size=4),
        st.integers(0, 5),
    )
    def check(changes, cut):
        data = bytearray(valid)
        for at, value in changes:
            data[at] = value
        start = changes[0][0] if changes else 0
        del data[start : start + cut]
        path.write_bytes(archive(bytes(data)))
        assert_small_or_refused(path, 96)

    check()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mutated_archive(tmp_path, dtype):
    valid = saved(dtype)
    path = tmp_path / "w.pt"

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, len(valid) - 1), st.integers(0, 255)), max_size=4))
    def check(changes):
        data = bytearray(valid)
        for at, value in changes:
            data[at] = value
        path.write_bytes(data)
        assert_small_or_refused(path, 6)

    check()
