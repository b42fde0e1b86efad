"""Attacks through zip and .npy: names, sizes and members that lie, bombs, headers, truncation.

The zip checks are shared with torch archives; here they are driven through .npz.
"""

from __future__ import annotations

import gc
import io
import struct
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqcore.errors import ModelFileError
from seqcore.formats import read_weights
from seqcore.formats.arrays import Budget
from seqcore.formats.numpy_files import parse_npy, read_npz
from seqcore.formats.zips import Archive

MIB = 1 << 20


def npy(array: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


GOOD = npy(np.arange(3, dtype=np.float32))


def read(data: bytes, total: int = 256 * MIB) -> dict[str, np.ndarray]:
    budget = Budget(total)
    return read_npz(Archive(io.BytesIO(data), budget), budget)


def raw_zip(members: Iterable[tuple[str, bytes, dict]]) -> bytes:
    """A zip written field by field. The dict of a member overrides fields of its two headers.

    Keys: flags, method, crc, packed, size, offset, and local_/central_ before any of them, or
    before name and extra.
    """
    body, directory, count = b"", b"", 0
    for name, data, changes in members:
        raw = name.encode()
        fields = {
            "flags": 0, "method": 0, "crc": zlib.crc32(data), "packed": len(data),
            "size": len(data), "offset": len(body), "name": raw, "extra": b"",
        }  # fmt: skip

        def field(where: str, key: str, fields=fields, changes=changes):
            return changes.get(where + key, changes.get(key, fields[key]))

        def common(where: str, field=field) -> bytes:
            return struct.pack(
                "<HHHHHIIIHH", 20, field(where, "flags"), field(where, "method"), 0, 33,
                field(where, "crc"), field(where, "packed"), field(where, "size"),
                len(field(where, "name")), len(field(where, "extra")),
            )  # fmt: skip

        directory += b"PK\x01\x02" + struct.pack("<H", 20) + common("central_")
        directory += struct.pack("<HHHII", 0, 0, 0, 0, field("central_", "offset"))
        directory += field("central_", "name") + field("central_", "extra")
        if not changes.get("no_body"):
            body += b"PK\x03\x04" + common("local_") + field("local_", "name")
            body += field("local_", "extra") + data
        count += 1
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end


def deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def assert_small(data: bytes, most: int, match: str) -> None:
    gc.collect()
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=match):
            read(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most


def test_the_zip_of_these_attacks_is_sound():
    data = raw_zip([("a.npy", GOOD, {}), ("b.npy", deflate(GOOD), {"method": 8, **sizes(GOOD)})])
    found = read(data)
    assert found["a"].tolist() == found["b"].tolist() == [0, 1, 2]
    with np.load(io.BytesIO(data)) as own:
        assert own.files == ["a", "b"]


def sizes(data: bytes) -> dict:
    return {"size": len(data), "crc": zlib.crc32(data)}


# Names


@pytest.mark.parametrize(
    "name",
    [
        "/etc/w.npy",
        "../w.npy",
        "a/../../w.npy",
        "..\\w.npy",
        "a\\w.npy",
        "C:/w.npy",
        "a/..",
        "x\0.npy",
    ],
)
def test_names_that_leave_the_folder(tmp_path, name):
    (tmp_path / "w.npz").write_bytes(raw_zip([("a.npy", GOOD, {}), (name, GOOD, {})]))
    with pytest.raises(ModelFileError, match=r"w\.npz: zip member .* not a plain relative path"):
        read_weights(tmp_path / "w.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["w.npz"]


def test_empty_name():
    with pytest.raises(ModelFileError, match="plain relative path"):
        read(raw_zip([("", GOOD, {})]))


def test_names_with_a_null_hide_nothing():
    # zipfile cuts a name at its first null: two readers would see two names.
    with pytest.raises(ModelFileError, match="plain relative path"):
        read(raw_zip([("a.npy\0.txt", GOOD, {})]))


def test_bytes_before_the_first_member():
    # An archive inside of a truncated one would be read in place of it.
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("inner.npz", raw_zip([("a.npy", GOOD, {})]))
    cut = outer.getvalue()[: outer.getvalue().index(b"PK\x05\x06") + 22]
    assert zipfile.ZipFile(io.BytesIO(cut)).namelist() == ["a.npy"]
    with pytest.raises(ModelFileError, match="39 bytes before its members"):
        read(cut)


def test_names_that_differ_between_headers():
    with pytest.raises(ModelFileError, match=r"'a.npy' is damaged"):
        read(raw_zip([("a.npy", GOOD, {"local_name": b"b.npy"})]))


def test_names_that_are_not_text():
    with pytest.raises(ModelFileError):
        read(raw_zip([("a.npy", GOOD, {"name": b"\xff\xfe.npy", "flags": 0x800})]))


def test_duplicates(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
            archive.writestr("a.npy", GOOD)
            archive.writestr("a.npy", npy(np.ones(3)))
    with pytest.raises(ModelFileError, match=r"w\.npz: zip member 'a\.npy' occurs twice"):
        read_weights(tmp_path / "w.npz")


# Kinds of member


@pytest.mark.parametrize("flags", [0x1, 0x20, 0x40, 0x41, 0x2000])
def test_encrypted(flags):
    with pytest.raises(ModelFileError, match="encrypted"):
        read(raw_zip([("a.npy", GOOD, {"flags": flags})]))


@pytest.mark.parametrize("method", [1, 9, 12, 14, 93, 95, 99, 0xFFFF])
def test_other_compression(method):
    with pytest.raises(ModelFileError, match=f"compression method {method}"):
        read(raw_zip([("a.npy", GOOD, {"method": method})]))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_zipfile_would_read(method):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        archive.writestr("a.npy", GOOD)
    with pytest.raises(ModelFileError, match="expected stored"):
        read(data.getvalue())


def test_patched_and_wrong_checksum():
    with pytest.raises(ModelFileError, match=r"'a.npy' is damaged"):
        read(raw_zip([("a.npy", GOOD, {"crc": 1})]))
    packed = deflate(GOOD)
    with pytest.raises(ModelFileError, match=r"'a.npy' is damaged"):
        read(raw_zip([("a.npy", packed, {"method": 8, "size": len(GOOD), "crc": 1})]))
    with pytest.raises(ModelFileError, match=r"'a.npy' is damaged"):
        read(raw_zip([("a.npy", b"\xff" * 40, {"method": 8, **sizes(GOOD)})]))


# Sizes


def test_declared_size_past_the_bound():
    for size in (257 * MIB, 2**31, 2**32 - 2):
        member = {"method": 8, "size": size}
        assert_small(raw_zip([("a.npy", deflate(GOOD), member)]), MIB, "more than 268435456 bytes")


def test_bomb(tmp_path):
    # 300 MiB of zeros in 300 KiB: true to its word, and refused unless asked for.
    packer, packed = zlib.compressobj(1, zlib.DEFLATED, -15), b""
    header = npy(np.zeros(0, np.uint8)).replace(b"(0,), }        ", b"(314572800,), }")
    assert len(header) == 128
    crc = zlib.crc32(header)
    packed += packer.compress(header)
    for _ in range(300):
        crc = zlib.crc32(bytes(MIB), crc)
        packed += packer.compress(bytes(MIB))
    packed += packer.flush()
    member = {"method": 8, "size": 128 + 300 * MIB, "crc": crc}
    data = raw_zip([("a.npy", packed, member)])
    assert len(data) < 2 * MIB
    assert_small(data, 4 * MIB, "pass a larger max_bytes")
    (tmp_path / "w.npz").write_bytes(data)
    with pytest.raises(ModelFileError, match=r"w\.npz: zip member 'a\.npy' needs"):
        read_weights(tmp_path / "w.npz")


def test_many_members_share_one_budget():
    one = raw_zip([(f"{i}.npy", GOOD, {}) for i in range(20)])
    assert len(read(one)) == 20
    with pytest.raises(ModelFileError, match="more than 2000 bytes"):
        read(one, 2000)


def test_more_data_than_declared():
    # Nothing is unpacked past the declared size.
    packed = deflate(GOOD + bytes(50 * MIB))
    member = {"method": 8, **sizes(GOOD)}
    data = raw_zip([("a.npy", packed, member)])
    gc.collect()
    tracemalloc.start()
    try:
        assert read(data)["a"].tolist() == [0, 1, 2]
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()
    with pytest.raises(ModelFileError, match="takes 12 bytes, found"):
        read(raw_zip([("a.npy", deflate(GOOD + b"x"), {"method": 8, **sizes(GOOD + b"x")})]))


def test_less_data_than_declared():
    with pytest.raises(ModelFileError, match=r"bytes declared|damaged"):
        read(raw_zip([("a.npy", deflate(GOOD), {"method": 8, "size": len(GOOD) + 1})]))
    with pytest.raises(ModelFileError, match="stored, yet takes"):
        read(raw_zip([("a.npy", GOOD, {"size": len(GOOD) - 1})]))
    huge = {"packed": 2**31, "size": 2**31}
    assert_small(raw_zip([("a.npy", GOOD, huge)]), MIB, "max_bytes")
    with pytest.raises(ModelFileError):
        read(raw_zip([("a.npy", GOOD, {"packed": MIB, "size": MIB})]))


def zip64(size: int, packed: int, offset: int | None = None) -> bytes:
    body = struct.pack("<QQ", size, packed) + (b"" if offset is None else struct.pack("<Q", offset))
    return struct.pack("<HH", 1, len(body)) + body


FULL = 2**32 - 1


@pytest.mark.parametrize(
    ("size", "packed", "offset"),
    [(2**63, 2**63, None), (2**64 - 1, 2**64 - 1, None), (2**40, 140, None), (140, 2**40, None),
     (140, 140, 2**63), (140, 140, 2**64 - 1), (140, 140, 5)],
)  # fmt: skip
def test_zip64_lies(size, packed, offset):
    changes = {"central_extra": zip64(size, packed, offset), "central_packed": FULL}
    changes["central_size"] = FULL
    if offset is not None:
        changes["central_offset"] = FULL
    assert_small(raw_zip([("a.npy", GOOD, changes)]), MIB, "zip|needs")
    deflated = raw_zip([("a.npy", deflate(GOOD), changes | {"method": 8})])
    assert_small(deflated, MIB, "zip|needs")


def test_zip64_that_is_true_is_read():
    changes = {
        "central_extra": zip64(len(GOOD), len(GOOD), 0),
        "central_packed": FULL, "central_size": FULL, "central_offset": FULL,
    }  # fmt: skip
    assert read(raw_zip([("a.npy", GOOD, changes)]))["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "extra", [b"\x01\x00\x10\x00", b"\x01\x00\xff\xff", b"\x01\x00\x00\x00", b"\x01"]
)
def test_zip64_extra_that_is_cut(extra):
    changes = {"central_extra": extra, "central_size": FULL, "central_packed": FULL}
    with pytest.raises(ModelFileError):
        read(raw_zip([("a.npy", GOOD, changes)]))


def test_members_that_share_bytes():
    shared = raw_zip([("a.npy", GOOD, {}), ("b.npy", GOOD, {"no_body": True, "offset": 0})])
    with pytest.raises(ModelFileError, match="overlaps"):
        read(shared)


def test_members_within_members():
    # The outer member's data holds the inner one, header and all: Fifield's quoted bomb.
    inner = raw_zip([("b.npy", GOOD, {})])
    outer = raw_zip(
        [("a.npy", inner, {}), ("b.npy", GOOD, {"no_body": True, "offset": 30 + len("a.npy")})]
    )
    with pytest.raises(ModelFileError, match="overlaps"):
        read(outer)


@pytest.mark.parametrize("offset", [1, 29, 10**6, 2**31, 2**32 - 2])
def test_offsets_that_point_elsewhere(offset):
    with pytest.raises(ModelFileError):
        read(raw_zip([("a.npy", GOOD, {"offset": offset})]))


@pytest.mark.parametrize("field", [8, 10, 12, 16, 20])
@pytest.mark.parametrize("value", [0xFFFF, 0x7FFF, 1])
def test_end_records_that_lie(field, value):
    data = bytearray(raw_zip([("a.npy", GOOD, {})]))
    struct.pack_into("<H", data, len(data) - 22 + field, value)
    try:
        found = read(bytes(data))
    except ModelFileError:
        return
    # Harmless: the directory says itself where it ends, and a comment is not read.
    assert field in (8, 10, 20)
    assert found["a"].tolist() == [0, 1, 2]


def test_too_many_members(monkeypatch):
    monkeypatch.setattr("seqcore.formats.zips._MAX_MEMBERS", 3)
    with pytest.raises(ModelFileError, match="4 members"):
        read(raw_zip([(f"{i}.npy", GOOD, {}) for i in range(4)]))


# .npy


def npy_with(header: str, body: bytes = bytes(12), version: bytes = b"\x01\x00") -> bytes:
    width = "<H" if version == b"\x01\x00" else "<I"
    raw = header.encode("latin-1")
    return b"\x93NUMPY" + version + struct.pack(width, len(raw)) + raw + body


def header(descr="'<f4'", order="False", shape="(3,)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


def parse(data: bytes) -> np.ndarray | None:
    return parse_npy(data, "array 'a'", Budget(MIB))


def test_the_npy_of_these_attacks_is_sound():
    assert parse(npy_with(header())).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"descr": "'|O'"}, "object array"),
        ({"descr": "'O8'"}, "object array"),
        ({"descr": "[('a', '<f4')]"}, "header"),
        ({"descr": "'V4'"}, "not a number"),
        ({"descr": "'<f16'"}, "not a number"),
        ({"descr": "'<f4,<f4'"}, "not a number"),
        ({"descr": "'<f3'"}, "not a number"),
        ({"descr": "'" + "<" * 30 + "f4'"}, "header"),
        ({"descr": "__import__('os')"}, "header"),
        ({"shape": "(4,)"}, "takes 16 bytes, found 12"),
        ({"shape": "(2,)"}, "takes 8 bytes, found 12"),
        ({"shape": "()"}, "takes 4 bytes, found 12"),
        ({"shape": "(-3,)"}, "header"),
        ({"shape": "(3.0,)"}, "header"),
        ({"shape": "(1e9,)"}, "header"),
        ({"shape": "3"}, "header"),
        ({"shape": "(True,)"}, "header"),
        ({"shape": "(9999999999999999999,)"}, "overflows"),
        ({"shape": "(4611686018427387904, 4)"}, "overflows"),
        ({"shape": "(4294967296, 4294967296)"}, "overflows"),
        ({"shape": "(0, 4294967296, 4294967296)"}, "overflows"),
        ({"shape": "(" + "9" * 5000 + ",)"}, "header"),
        ({"shape": "(" + "1," * 33 + ")"}, "33 axes"),
        ({"shape": "(" * 5000 + ")" * 5000}, "header"),
        ({"shape": "(" + " " * 60000 + "3"}, "header"),
        ({"order": "1"}, "header"),
        ({"order": "True, 'x': 1"}, "header"),
        ({"order": "True, 'shape': (3,)"}, "header"),
    ],
)
def test_npy_headers_that_lie(changes, match):
    with pytest.raises(ModelFileError, match=rf"^array 'a': .*{match}"):
        parse(npy_with(header(**changes)))


@pytest.mark.parametrize(
    "text",
    ["", "{", "{}", "[]", "None", "{'descr': '<f4'}", "{'descr': '<f4', 'fortran_order': False}",
     "{'shape': (3,), 'shape': (3,), 'shape': (3,)}", "{" * 60000, "{'descr'" + " " * 60000 + "}"],
)  # fmt: skip
def test_npy_headers_that_are_none(text):
    with pytest.raises(ModelFileError, match="header"):
        parse(npy_with(text))


@pytest.mark.parametrize("version", [b"\x00\x00", b"\x01\x01", b"\x04\x00", b"\xff\xff"])
def test_npy_versions(version):
    with pytest.raises(ModelFileError, match="version"):
        parse(npy_with(header(), version=version))


@pytest.mark.parametrize("length", [0xFFFFFFFF, 1 << 31, (1 << 16) + 1, 1000])
def test_npy_header_lengths_that_lie(length):
    data = b"\x93NUMPY\x02\x00" + struct.pack("<I", length) + header().encode() + bytes(12)
    with pytest.raises(ModelFileError, match="header"):
        parse(data)


def test_npy_booleans():
    assert parse(npy_with(header("'|b1'", shape="(2,)"), b"\0\1")).tolist() == [False, True]
    with pytest.raises(ModelFileError, match="neither 0 nor 1"):
        parse(npy_with(header("'|b1'", shape="(2,)"), b"\0\2"))


def test_object_arrays_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "w.npz", good=np.ones(2), bad=np.array([{}], object))
    with pytest.raises(ModelFileError, match=r"w\.npz: array 'bad': an object array"):
        read_weights(tmp_path / "w.npz")


# Truncation and mutation


def small_npz(save) -> bytes:
    data = io.BytesIO()
    save(data, a=np.arange(3, dtype=np.float32), b=np.zeros((2, 2), ">i2", order="F"))
    return data.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_truncation_at_every_byte(save):
    data = small_npz(save)
    assert list(read(data)) == ["a", "b"]
    for end in range(len(data)):
        with pytest.raises(ModelFileError):
            read(data[:end])


def test_npy_truncation_at_every_byte():
    for end in range(len(GOOD)):
        with pytest.raises(ModelFileError):
            parse(GOOD[:end])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_mutation(save):
    valid = small_npz(save)

    @settings(max_examples=400, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, len(valid) - 1), st.integers(0, 255)), max_size=4),
        st.integers(0, 3),
    )
    def check(changes, cut):
        data = bytearray(valid)
        for at, value in changes:
            data[at] = value
        start = changes[0][0] if changes else 0
        del data[start : start + cut]
        try:
            found = read(bytes(data))
        except ModelFileError:
            return
        assert all(array.flags.owndata and array.size <= 4 for array in found.values())

    check()
