"""Attacks through files of word vectors: headers that lie, ragged and damaged rows, other files.

Whatever a file holds, the result is a ModelFileError that names it, or finite numbers of words that
differ. Files that are in order are in formats/test_word_vector_files.py.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seqcore as sc
from seqcore.formats import word_vectors

GOLDEN = Path(__file__).parents[1] / "golden"
ROWS = b"a 1.25 2.5 3\nb 4 5 6.75\nc 7 8.125 9\n"
BINARY = b"".join(word + b" " + struct.pack("<3f", 1, 2.5, -3) for word in (b"a", b"b", b"c"))


def saved(folder, data):
    path = folder / "vectors.txt"
    path.write_bytes(data)
    return path


def refused(folder, data, match, vocabulary=None):
    path = saved(folder, data)
    with pytest.raises(sc.ModelFileError, match=match) as caught:
        sc.read_vectors(path, vocabulary)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < len(str(path)) + 500


def attempt(path, vocabulary=None):
    """Read a file of any content: its words and vectors, or None where it is refused."""
    try:
        tokens, matrix = sc.read_vectors(path, vocabulary)
    except sc.ModelFileError:
        return None
    assert len(set(tokens)) == len(tokens)
    assert matrix.shape[0] == len(tokens)
    assert np.isfinite(matrix).all()
    return dict(zip(tokens, matrix.tolist(), strict=True))


def test_what_the_damaged_files_are_made_of_is_in_order(tmp_path):
    for data in (ROWS, b"3 3\n" + ROWS, b"3 3\n" + BINARY):
        assert list(attempt(saved(tmp_path, data))) == ["a", "b", "c"]


# ---- Headers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "match"),
    [
        (b"4 3", "the header promises 4 words; the file has 3"),
        (b"2 3", "line 4: the header promises 2 words; here is more"),
        (b"0 3", "line 2: the header promises 0 words; here is more"),
        (b"3 2", "line 2: expected a word and 2 values; found 3 values"),
        (b"3 4", "line 2: expected a word and 4 values; found 3 values"),
        (b"3 0", "the header promises 0 values of each word; expected 1 to 16384"),
        (b"3 1000000000", "promises 1000000000 values of each word"),
        (b"3 16384", "promises 3 words of 16384 values, which is at least"),
        (b"1000000000000 3", "promises 1000000000000 words of 3 values, which is at least"),
        (b"9" * 18 + b" 3", "words of 3 values, which is at least"),
        (b"9" * 30 + b" 3", "the header promises b'9999"),
        (b"3 " + b"9" * 30, "the header promises b'3 999"),
        (b"9" * 9999 + b" 3", "the header promises b'9999"),
        (b"-3 3", "line 2: expected a word and 1 values; found 3"),
        (b"3 3 3", "line 2: expected a word and 2 values; found 3"),
        (b"3.0 3", "line 2: expected a word and 1 values; found 3"),
        (b"\xd9\xa3 3", "line 2: expected a word and 1 values"),  # a digit, yet not ASCII
        (b"3_0 3", "line 2: expected a word and 1 values"),
        (b"3", "not a file of word vectors that is known"),
        (b"", "not a file of word vectors that is known"),
    ],
)
def test_headers_of_text(tmp_path, header, match):
    refused(tmp_path, header + b"\n" + ROWS, match)


@pytest.mark.parametrize(
    ("header", "match"),
    [
        (b"4 3", "promises 4 words of 3 values, which is at least 52 bytes; 42 follow"),
        (b"2 3", "14 bytes are left behind the 2 words of 3 values that the header promises"),
        (b"3 2", "bytes are left behind the 3 words of 2 values"),
        (b"3 4", "promises 3 words of 4 values, which is at least 51 bytes; 42 follow"),
        (b"2 4", "3 bytes are left behind the 2 words of 4 values"),
        (b"2 5", "word 2 of 2: expected a word, a blank and 20 bytes of values at byte"),
        (b"3 1000000000", "promises 1000000000 values"),
        (b"1000000000 3", "promises 1000000000 words"),
    ],
)
def test_headers_of_binary(tmp_path, header, match):
    refused(tmp_path, header + b"\n" + BINARY, match)


def test_a_header_makes_nobody_ask_for_memory(tmp_path):
    header = b"%d 16384\n"
    path = saved(tmp_path, header % 2**31 + ROWS * 1000)
    tracemalloc.start()
    try:
        with pytest.raises(sc.ModelFileError, match="at least"):
            sc.read_vectors(path)
        with pytest.raises(sc.ModelFileError, match="at least"):
            sc.read_vectors(path, ["a"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_blank_lines_make_nobody_ask_for_memory(tmp_path):
    path = saved(tmp_path, b"a" + b" 0" * 5000 + b"\n" * 200_000)
    tracemalloc.start()
    try:
        assert list(attempt(path)) == ["a"]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * path.stat().st_size


# ---- Rows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [b"", b"3 3\n"])
@pytest.mark.parametrize("row", [0, 1, 2])
@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (b"x 1 2", "expected a word and 3 values; found 2 values"),
        (b"x 1 2 3 4", "expected a word and 3 values; found 4 values"),
        (b"x 1 2 3x 4 5 6", "expected a word and 3 values; found 3 blanks in the word"),
        (b"x", "expected a word and 3 values; found 0 values"),
        (b"1 2 3", "expected a word and 3 values; found 2 values"),
        (b"x 1 2 3 4 5 6 7 8", "found 8 values"),
        (b"x  1 2", "b'x': b'' is no number"),
        (b"x 1  3", "b'' is no number"),
        (b"x\t1\t2\t3", "expected a word and 3 values; found 0 values"),
        (b"x 1 2 3,", "b'3,' is no number"),
        (b"x 1,0 2 3", "b'1,0' is no number"),
        (b"x 1_0 2 3", "b'1_0' is no number"),
        (b"x 0x1 2 3", "b'0x1' is no number"),
        (b"x 1 2 \xd9\xa3", "is no number"),
        (b"x 1 2 --3", "b'--3' is no number"),
        (b"x 1 nan 3", "'x': nan among its values"),
        (b"x 1 2 -inf", "'x': -inf among its values"),
        (b"x 1 2 infinity", "'x': inf among its values"),
        (b"x 1 2 1e39", "'x': inf among its values"),
        (b"x 1 2 -1e999", "'x': -inf among its values"),
        (b"x 1 2 " + b"9" * 5000, "'x': inf among its values"),
    ],
)
def test_rows_of_text(tmp_path, header, row, bad, match):
    lines = ROWS.splitlines()
    lines[row] = bad
    number = row + 1 + bool(header)
    data = header + b"\n".join(lines) + b"\n"
    if row or header:
        refused(tmp_path, data, f"line {number}.*{match}")
        refused(tmp_path, data, f"line {number}.*{match}", ["a", "x", "1", "b"])
    else:  # the first row also tells how many values there are
        refused(tmp_path, data, "line [12]|not a file of word vectors that is known")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_of_binary_that_are_no_numbers(tmp_path, value):
    data = bytearray(b"3 3\n" + BINARY)
    data[-4:] = struct.pack("<f", value)
    refused(tmp_path, bytes(data), f"word 3, 'c': {value} among its values")
    refused(tmp_path, bytes(data), "word 3, 'c'", ["b", "c"])
    assert list(attempt(saved(tmp_path, bytes(data)), ["a", "b"])) == ["a", "b"]


@pytest.mark.parametrize("header", [b"", b"3 3\n"])
@pytest.mark.parametrize("byte", [b"\0", b"\x1b", b"\xff"])
def test_bytes_that_text_has_not(tmp_path, header, byte):
    for place in range(len(ROWS)):
        data = header + ROWS[:place] + byte + ROWS[place + 1 :]
        found = attempt(saved(tmp_path, data))  # within a word they are the word's
        assert (found is None) == (
            ROWS[place : place + 1] not in b"abc" or (not header and place == 0 and byte == b"\0")
        )


def test_lines_and_words_have_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr(word_vectors, "_MAX_LINE", 64)
    monkeypatch.setattr(word_vectors, "_MAX_WORD", 16)
    refused(tmp_path, ROWS + b"x" * 100 + b" 1 2 3\n", "line 4 is longer than 64 bytes")
    refused(tmp_path, b"x" * 100 + b" 1 2 3\n" + ROWS, "not a file of word vectors that is known")
    refused(
        tmp_path, b"4 3\n" + BINARY + b"\n" + b"x" * 40 + b" " + bytes(12), "word 4 of 4: expec"
    )
    refused(tmp_path, b"4 3\n" + BINARY + b"x" * 40, "word 4 of 4: expected a word, a blank")


def test_a_word_of_megabytes_is_shown_in_part(tmp_path):
    refused(
        tmp_path, ROWS + b"x" * 10**6 + b" 1 2 no\n", r"line 4, b'xxx.*'\.\.\.: b'no' is no num"
    )
    refused(tmp_path, ROWS + b"x 1 2 " + b"y" * 10**6, r"line 4, b'x': b'yyy.*'\.\.\. is no number")
    refused(tmp_path, b"x" * 10**6, "is known: .* found b'xxx")


# ---- Truncated, changed, made up ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["words.bin", "repeated.bin"])
def test_a_binary_file_that_ends_early(tmp_path, name):
    data = (GOLDEN / f"gensim4.4.0_{name}").read_bytes()
    end = len(data) - data.endswith(b"\n")
    for size in range(end):
        assert attempt(saved(tmp_path, data[:size])) is None, size
        assert attempt(saved(tmp_path, data[:size]), ["the", "5"]) is None, size
    assert attempt(saved(tmp_path, data[:end])) is not None


@pytest.mark.parametrize("name", ["words.txt", "repeated.txt"])
def test_a_text_file_that_ends_early(tmp_path, name):
    data = (GOLDEN / f"gensim4.4.0_{name}").read_bytes()
    last = data.rstrip().rfind(b" ") + 1  # a last number may have lost its last digits
    for size in range(last):
        assert attempt(saved(tmp_path, data[:size])) is None, size


def test_text_without_a_header_that_ends_early_has_whole_rows_or_is_refused(tmp_path):
    data = (GOLDEN / "gensim4.4.0_words.glove").read_bytes()
    all_rows = list(attempt(saved(tmp_path, data)).items())
    lines = data.count(b"\n")
    for size in range(data.index(b"\n"), len(data)):
        found = attempt(saved(tmp_path, data[:size]))
        started = data[:size].count(b"\n") + (data[size - 1 : size] != b"\n")
        if found is not None:
            assert len(found) == started <= lines
            assert list(found.items())[:-1] == all_rows[: started - 1]


@settings(deadline=None, max_examples=300)
@given(
    name=st.sampled_from(["words.txt", "words.bin", "words.glove", "repeated.txt", "repeated.bin"]),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=5),
)
def test_changed_bytes(tmp_path_factory, name, changes):
    data = bytearray((GOLDEN / f"gensim4.4.0_{name}").read_bytes())
    for place, value in changes:
        data[place % len(data)] = value
    path = saved(tmp_path_factory.mktemp("changed"), bytes(data))
    attempt(path)
    attempt(path, ["the", "café", "5", "absent"])


@settings(deadline=None, max_examples=300)
@given(
    data=st.one_of(
        st.binary(max_size=200),
        st.lists(
            st.sampled_from([b" ", b"\n", b"a", b"1", b"-2.5", b"1e9", b"\0", b"\xff", b"2 2\n"]),
            max_size=40,
        ).map(b"".join),
    ),
    header=st.sampled_from([b"", b"2 3\n", b"1 1\n", b"3 1\n", b"9 9\n"]),
)
def test_any_bytes(tmp_path_factory, data, header):
    path = saved(tmp_path_factory.mktemp("any"), header + data)
    tokens = attempt(path)
    chosen = attempt(path, ["a", "1", ""])
    if tokens is not None and chosen is not None:
        assert chosen == {token: tokens[token] for token in ("a", "1", "") if token in tokens}


# ---- Other files --------------------------------------------------------------------------------


def npy():
    data = io.BytesIO()
    np.save(data, np.ones((3, 4)))
    return data.getvalue()


def zipped():
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("glove.txt", ROWS)
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "the file is empty"),
        (b"\n\n\n", "not a file of word vectors that is known: .*; found b''"),
        (b"\x1f\x8b\x08\0\0", "this seems to be compressed by gzip; unpack it first"),
        (b"BZh91AY&SY", "compressed by bzip2"),
        (b"\xfd7zXZ\0", "compressed by xz"),
        (b"\x28\xb5\x2f\xfd\0", "compressed by zstd"),
        (zipped(), "a zip archive; unpack it first"),
        (struct.pack("<ii", 793712314, 12) + bytes(99), r"fastText's \.bin, .* read the \.vec"),
        (pickle.dumps({"a": [1, 2]}), "a pickle, perhaps of gensim"),
        (npy(), "a NumPy array, which has no words"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5, which has no words"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"<html>\n<p>404</p>", "not a file of word vectors that is known"),
        (b'{"a": [1, 2]}', "not a file of word vectors that is known"),
        (b"the,0.1,0.2\n", "not a file of word vectors that is known"),
        (b"the\t0.1\t0.2\n", "not a file of word vectors that is known"),
        (b"Once upon a time\nthere was a 1 2 3\n", "not a file of word vectors that is known"),
        (bytes(1000), "not a file of word vectors that is known"),
        (b"3 3\n" + bytes(1000), "word 1 of 3: expected a word, a blank"),
    ],
)
def test_other_files_are_told_what_they_seem_to_be(tmp_path, data, match):
    refused(tmp_path, data, match)
    refused(tmp_path, data, match, ["a"])


def test_what_begins_like_another_file_may_be_words(tmp_path):
    for word in (b"BZh", b"\x80"):
        assert len(attempt(saved(tmp_path, word + b" 1 2 3\n" + ROWS))) == 4


def test_folders_pipes_and_files_that_are_not_there(tmp_path):
    with pytest.raises(sc.ModelFileError, match="this is a folder"):
        sc.read_vectors(tmp_path)
    with pytest.raises(FileNotFoundError):
        sc.read_vectors(tmp_path / "absent")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(sc.ModelFileError, match="pipe: this is not a regular file"):
        sc.read_vectors(tmp_path / "pipe")


def test_a_file_that_was_refused_is_closed(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    for data in (b"", b"x", b"3 3\n" + ROWS[:-8], b"3 3\n" + BINARY[:-1], ROWS + b"x 1\n"):
        refused(tmp_path, data, "vectors")
    assert len(os.listdir("/proc/self/fd")) == before
