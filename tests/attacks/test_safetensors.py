"""Attacks through foreign .safetensors: one test a lie of the header, truncation, mutation."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqcore.errors import ModelFileError
from seqcore.formats import read_weights


def file_of(header: object, body: bytes = bytes(24)) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + body


def tensor(dtype="F32", shape=(6,), offsets=(0, 24)) -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.fixture
def read(tmp_path):
    def read(data: bytes) -> dict[str, np.ndarray]:
        (tmp_path / "w.safetensors").write_bytes(data)
        return read_weights(tmp_path / "w.safetensors")

    return read


def test_the_file_of_these_attacks_is_sound(read):
    assert read(file_of({"w": tensor()}))["w"].tolist() == [0] * 6


@pytest.mark.parametrize(
    "header",
    [
        {"w": tensor(shape=(7,))},
        {"w": tensor(shape=(5,))},
        {"w": tensor(shape=(-6,))},
        {"w": tensor(shape=(6.5,))},
        {"w": tensor(shape=(2**63, 2))},
        {"w": tensor(shape=(2**32, 2**32))},
        {"w": tensor(shape=(2**64,))},
        {"w": tensor(offsets=(0, 28))},
        {"w": tensor(offsets=(0, 20), shape=(5,))},
        {"w": tensor(offsets=(4, 28))},
        {"w": tensor(offsets=(24, 0))},
        {"w": tensor(offsets=(0, 2**64 - 1))},
        {"w": tensor(offsets=(-4, 24))},
        {"w": tensor("F33")},
        {"w": tensor("F8_E4M3", (24,))},
        {"a": tensor(), "b": tensor()},
        {"a": tensor(shape=(3,), offsets=(0, 12)), "b": tensor(shape=(2,), offsets=(16, 24))},
        {"a": tensor(shape=(4,), offsets=(0, 16)), "b": tensor(shape=(4,), offsets=(8, 24))},
        {"w": tensor(), "__metadata__": {"a": 1}},
        {"w": {"dtype": "F32", "shape": [6]}},
        {"w": None},
        [],
        b"{" + b" " * 50,
        b'{"a":' * 5000,
        b"{\xff}",
        b'{"w":' + json.dumps(tensor()).encode() + b"} x",
    ],
)
def test_headers_that_lie(read, header):
    with pytest.raises(ModelFileError, match=r"w\.safetensors: "):
        read(file_of(header))


@pytest.mark.parametrize("length", [0, 1, 90, 10**6, 2**31, 2**63, 2**64 - 1])
def test_header_lengths_that_lie(read, length):
    data = file_of({"w": tensor()})
    with pytest.raises(ModelFileError):
        read(struct.pack("<Q", length) + data[8:])


def test_booleans(read):
    header = {"w": tensor("BOOL", (2,), (0, 2))}
    assert read(file_of(header, b"\0\1"))["w"].tolist() == [False, True]
    with pytest.raises(ModelFileError, match="tensor 'w': a boolean is neither"):
        read(file_of(header, b"\0\2"))


def test_rank(read):
    with pytest.raises(ModelFileError, match="40 axes"):
        read(file_of({"w": tensor(shape=(1,) * 40, offsets=(0, 4))}, bytes(4)))


def test_truncation_at_every_byte(read):
    data = file_of({"w": tensor()})
    for end in range(len(data)):
        with pytest.raises(ModelFileError):
            read(data[:end])
    with pytest.raises(ModelFileError):
        read(data + b"x")


def test_mutation(tmp_path):
    valid = file_of({"a": tensor("BF16", (3, 2), (0, 12)), "b": tensor("I16", (6,), (12, 24))})
    path = tmp_path / "w.safetensors"

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, len(valid) - 1), st.integers(0, 255)), max_size=3))
    def check(changes):
        data = bytearray(valid)
        for at, value in changes:
            data[at] = value
        path.write_bytes(data)
        try:
            found = read_weights(path)
        except ModelFileError:
            return
        assert all(array.flags.owndata and array.size <= 24 for array in found.values())

    check()
