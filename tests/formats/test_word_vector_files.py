"""Files of word vectors that are in order: those of gensim, and what other programs write.

Files that lie are in attacks/test_word_vectors.py.
"""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seqcore as sc
from seqcore.formats import word_vectors
from seqcore.sequence import Vocabulary

GOLDEN = Path(__file__).parents[1] / "golden"
EXPECTED = np.load(GOLDEN / "gensim4.4.0_words.npz")
FILES = {
    "txt": "words.txt", "bin": "words.bin", "glove": "words.glove",
    "repeated_txt": "repeated.txt", "repeated_bin": "repeated.bin",
}  # fmt: skip


def golden(kind):
    path = GOLDEN / f"gensim4.4.0_{FILES[kind]}"
    return path, EXPECTED[f"{kind}_tokens"].tolist(), EXPECTED[f"{kind}_vectors"]


def as_text(words, vectors, *, header=True, blank=b"", end=b"\n"):
    """A file as GloVe, word2vec and fastText write it; words are bytes or text."""
    lines = [f"{len(words)} {vectors.shape[1]}".encode()] if header else []
    for word, vector in zip(words, vectors, strict=True):
        values = b" ".join(repr(float(value)).encode() for value in vector)
        lines.append((word if isinstance(word, bytes) else word.encode()) + b" " + values + blank)
    return end.join(lines) + end


def as_binary(words, vectors, *, end=b""):
    data = f"{len(words)} {vectors.shape[1]}\n".encode()
    for word, vector in zip(words, vectors, strict=True):
        name = word if isinstance(word, bytes) else word.encode()
        data += name + b" " + vector.astype("<f4").tobytes() + end
    return data


FORMS = {
    "word2vec": as_text,
    "fastText": lambda words, vectors: as_text(words, vectors, blank=b" "),
    "GloVe": lambda words, vectors: as_text(words, vectors, header=False),
    "CRLF": lambda words, vectors: as_text(words, vectors, end=b"\r\n"),
    "no last end": lambda words, vectors: as_text(words, vectors, header=False)[:-1],
    "blank lines": lambda words, vectors: as_text(words, vectors) + b"\n \n\r\n",
    "byte order mark": lambda words, vectors: b"\xef\xbb\xbf" + as_text(words, vectors),
    "word2vec.c": lambda words, vectors: as_binary(words, vectors, end=b"\n"),
    "gensim": as_binary,
}
TEXT = [name for name, form in FORMS.items() if name not in ("word2vec.c", "gensim")]


@pytest.fixture
def vectors(rng):
    return rng.normal(size=(6, 5)).astype(np.float32)


def saved(tmp_path, data):
    path = tmp_path / "vectors"
    path.write_bytes(data)
    return path


def check(found, tokens, vectors):
    assert found[0] == list(tokens)
    assert found[1].dtype == np.float32
    assert found[1].flags.c_contiguous
    assert found[1].flags.writeable
    assert found[1].shape == vectors.shape
    assert found[1].tobytes() == vectors.tobytes()


# ---- All words ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FILES)
def test_files_are_read_as_gensim_reads_them(kind):
    path, tokens, vectors = golden(kind)
    check(sc.read_vectors(path), tokens, vectors)
    check(sc.read_vectors(str(path)), tokens, vectors)


@pytest.mark.parametrize("form", FORMS)
def test_what_programs_write(tmp_path, form, vectors):
    words = ["the", "naïve", "日本", "0.5", "x\u00a0y", "\u2028"]
    check(sc.read_vectors(saved(tmp_path, FORMS[form](words, vectors))), words, vectors)


@pytest.mark.parametrize("form", TEXT)
def test_words_with_blanks_in_them(tmp_path, form, vectors):
    words = ["a", ". . .", "at name@domain.com", "at", " ", ""]
    path = saved(tmp_path, FORMS[form](words, vectors))
    check(sc.read_vectors(path), words, vectors)
    for chosen in ([". . ."], ["at"], ["at name@domain.com", "a"], ["", " "], ["."]):
        rows = [words.index(word) for word in chosen if word in words]
        check(sc.read_vectors(path, chosen), [words[row] for row in rows], vectors[rows])


@pytest.mark.parametrize("width", [1, 2, 3, 300])
@pytest.mark.parametrize("form", FORMS)
def test_widths(tmp_path, rng, form, width):
    vectors = rng.normal(size=(3, width)).astype(np.float32)
    words = ["a", "b", "c"]
    check(sc.read_vectors(saved(tmp_path, FORMS[form](words, vectors))), words, vectors)


@pytest.mark.parametrize("form", FORMS)
def test_numbers_of_every_size_and_whole_ones(tmp_path, form):
    least, most = np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max
    vectors = np.float32([[0, -0.0, 1], [most, -most, least], [1e-10, 2e7, -3]])
    check(sc.read_vectors(saved(tmp_path, FORMS[form]("abc", vectors))), "abc", vectors)


def test_numbers_as_c_writes_them(tmp_path):
    path = saved(tmp_path, b"a 1 -2. +.5 1e2 1E-2\nb 0 0 0 0 00\n")
    check(sc.read_vectors(path), "ab", np.float32([[1, -2, 0.5, 100, 0.01], [0] * 5]))


@pytest.mark.parametrize("form", FORMS)
def test_the_first_row_of_a_repeated_word_counts(tmp_path, form, vectors):
    words = ["a", "b", "a", "c", "b", "d"]
    path = saved(tmp_path, FORMS[form](words, vectors))
    check(sc.read_vectors(path), "abcd", vectors[[0, 1, 3, 5]])
    check(sc.read_vectors(path, ["d", "b", "b", "a"]), "dba", vectors[[5, 1, 0]])


@pytest.mark.parametrize("form", FORMS)
def test_words_that_are_no_utf8_are_found_by_the_name_that_they_get(tmp_path, form, vectors):
    words = [b"caf\xe9", "café", b"\xff", b"\xe6\x97", b"\\xe6\\x97\\xa5", "日"]
    names = ["caf\\xe9", "café", "\\xff", "\\xe6\\x97", "\\xe6\\x97\\xa5", "日"]
    path = saved(tmp_path, FORMS[form](words, vectors))
    check(sc.read_vectors(path), names, vectors)
    check(sc.read_vectors(path, names[::-1]), names[::-1], vectors[::-1])
    assert list(Vocabulary(names)) == names  # which JSON can keep
    assert sc.read_vectors(path, ["caf", "\udce9", "caf\udce9"])[0] == []


@pytest.mark.parametrize("data", [b"0 5\n", b"0 5", b"0 5\n\n"])
def test_no_words(tmp_path, data):
    for vocabulary in (None, ["a"], []):
        tokens, matrix = sc.read_vectors(saved(tmp_path, data), vocabulary)
        assert (tokens, matrix.shape, matrix.dtype) == ([], (0, 5), np.float32)


def test_text_is_told_from_binary_by_what_follows_the_header(tmp_path):
    # Values whose bytes are digits, blanks and ends of lines
    values = np.frombuffer(b"1.50 2\n3 4.5\n \n 1 2 3", "<f4", count=5)
    vectors = np.stack([values, values[::-1]])
    path = saved(tmp_path, as_binary(["one", "two"], vectors))
    assert path.read_bytes().isascii()
    check(sc.read_vectors(path), ["one", "two"], vectors)
    vectors[0, 4] = -1.5
    path = saved(tmp_path, as_binary(["one", "two"], vectors))
    check(sc.read_vectors(path), ["one", "two"], vectors)


CHARACTERS = st.characters(exclude_characters="\0\n\r\t ", exclude_categories=["Cs"])


@settings(deadline=None, max_examples=60)
@given(
    words=st.lists(
        st.text(CHARACTERS, min_size=1),
        unique=True, min_size=1, max_size=5,
    ),
    width=st.integers(2, 9),  # one value of four bytes may be text as well as binary
    form=st.sampled_from(sorted(FORMS)),
    seed=st.integers(0, 999),
)  # fmt: skip
def test_any_words_come_back(tmp_path_factory, words, width, form, seed):
    vectors = np.random.default_rng(seed).normal(size=(len(words), width)).astype(np.float32)
    path = saved(tmp_path_factory.mktemp("any"), FORMS[form](words, vectors))
    check(sc.read_vectors(path), words, vectors)
    check(sc.read_vectors(path, words[::-1]), words[::-1], vectors[::-1])


# ---- Words of a vocabulary ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", FILES)
def test_rows_have_the_order_of_the_vocabulary(kind, rng):
    path, tokens, vectors = golden(kind)
    order = rng.permutation(len(tokens))[:6]
    wanted = ["absent", *(tokens[k] for k in order), "THE"]
    check(sc.read_vectors(path, wanted), wanted[1:-1], vectors[order])
    check(sc.read_vectors(path, Vocabulary(wanted)), wanted[1:-1], vectors[order])
    check(sc.read_vectors(path, iter(wanted)), wanted[1:-1], vectors[order])
    assert sc.read_vectors(path, ["absent"])[1].shape == (0, vectors.shape[1])


@pytest.mark.parametrize("block", [64, 1000])
@pytest.mark.parametrize("form", FORMS)
def test_lines_are_counted_in_pieces(tmp_path, rng, monkeypatch, form, block):
    monkeypatch.setattr(word_vectors, "_MAX_LINE", block)
    words = [f"w{k}" * (k % 3 + 1) for k in range(80)]
    vectors = rng.integers(-9, 9, (80, 3)).astype(np.float32)
    path = saved(tmp_path, FORMS[form](words, vectors))
    check(sc.read_vectors(path), words, vectors)
    check(sc.read_vectors(path, words[::-7]), words[::-7], vectors[::-7])


@pytest.mark.parametrize("form", ["GloVe", "gensim"])
def test_a_large_file_is_not_taken_into_memory(tmp_path, rng, form):
    words = [f"word{k}" for k in range(4000)]
    vectors = rng.normal(size=(4000, 200)).astype(np.float32)
    path = saved(tmp_path, FORMS[form](words, vectors))
    assert path.stat().st_size > 3_000_000
    tracemalloc.start()
    try:
        found = sc.read_vectors(path, ["word3999", "word17"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    check(found, ["word3999", "word17"], vectors[[3999, 17]])
    assert peak < 600_000


def test_rows_that_are_not_wanted_are_not_parsed(tmp_path):
    path = saved(tmp_path, b"3 2\na 1 2\nb 1 2 3\nc 3 4\n")
    check(sc.read_vectors(path, ["c"]), "c", np.float32([[3, 4]]))
    with pytest.raises(sc.ModelFileError, match="line 3: expected a word and 2 values; found 3"):
        sc.read_vectors(path, ["b"])


# ---- Embedding ----------------------------------------------------------------------------------

WORDS = ["<pad>", "<unk>", "the", "gone", "café"]
NONE = np.zeros(7, np.float32)
VOCABULARY = Vocabulary(WORDS, padding="<pad>", unknown="<unk>")


def rows_of(kind):
    _, tokens, vectors = golden(kind)
    return vectors[tokens.index("the")], vectors[tokens.index("café")]


@pytest.mark.parametrize("kind", FILES)
def test_an_embedding_has_a_row_for_each_token(kind):
    path = golden(kind)[0]
    the, cafe = rows_of(kind)
    layer = sc.Embedding.from_vectors(path, VOCABULARY, mask_zero=True, name="words")
    assert (layer.name, layer.mask_zero, layer.W.shape) == ("words", True, (5, 7))
    expected = np.stack([NONE, NONE, the, NONE, cafe])
    assert layer.W.tobytes() == expected.tobytes()
    assert layer.missing == ("<unk>", "gone")
    ids, _ = VOCABULARY.encode_batch(["the café", "the"])
    model = sc.Sequential([layer])
    np.testing.assert_array_equal(model(ids), expected[ids])


def test_what_missing_tokens_get():
    path = golden("txt")[0]
    the, cafe = rows_of("txt")
    mean = ((the.astype(np.float64) + cafe) / 2).astype(np.float32)
    own = np.arange(7)
    for missing, expected in (("zeros", NONE), ("mean", mean), (own, own), (list(own), own)):
        layer = sc.Embedding.from_vectors(path, VOCABULARY, missing=missing)
        table = np.stack([NONE, expected, the, expected, cafe]).astype(np.float32)
        np.testing.assert_array_equal(layer.W, table, strict=True)
        assert layer.missing == ("<unk>", "gone")


def test_padding_is_never_missing_and_is_not_the_mean():
    path = golden("txt")[0]
    words = Vocabulary(["the", "-"], padding="-")
    layer = sc.Embedding.from_vectors(path, words, missing="error")
    assert layer.missing == ()
    assert not layer.W[1].any()
    with pytest.raises(sc.WeightsError, match=r"has no vectors of 1 of 2 tokens: '-'$"):
        sc.Embedding.from_vectors(path, list(words), missing="error")  # a list has no padding


def test_padding_that_the_file_has_is_a_row():
    path, tokens, vectors = golden("txt")
    words = Vocabulary(["the", "5"], padding="5")
    layer = sc.Embedding.from_vectors(path, words)
    np.testing.assert_array_equal(layer.W[1], vectors[tokens.index("5")])


def test_without_a_vocabulary_the_table_is_the_files():
    path, tokens, vectors = golden("glove")
    layer = sc.Embedding.from_vectors(path)
    np.testing.assert_array_equal(layer.W, vectors, strict=True)
    assert layer.missing == ()
    assert len(Vocabulary(tokens)) == layer.input_dim
    assert sc.Embedding(3, 2).missing == ()


def test_a_list_may_repeat_a_token():
    path = golden("txt")[0]
    the, cafe = rows_of("txt")
    layer = sc.Embedding.from_vectors(path, iter(["the", "no", "café", "the", "no"]))
    np.testing.assert_array_equal(layer.W, np.stack([the, NONE, cafe, the, NONE]))
    assert layer.missing == ("no",)


@pytest.mark.parametrize(
    ("vocabulary", "options", "error", "match"),
    [
        (WORDS, {"missing": "error"}, sc.WeightsError,
         r"words.txt has no vectors of 3 of 5 tokens: '<pad>', '<unk>', 'gone'$"),
        (["the", *map(str, range(10, 30))], {"missing": "error"}, sc.WeightsError,
         "of 20 of 21 tokens: '10', .*'17', ...$"),
        (WORDS, {"missing": "random"}, sc.OptionError, "missing is 'zeros', 'mean', 'error' or"),
        (WORDS, {"missing": None}, sc.DtypeError, "missing"),
        (WORDS, {"missing": [1, 2]}, sc.WeightsError, r"expected shape \(7,\), found \(2,\)"),
        (["gone"], {}, sc.ModelFileError, "words.txt: has no vector of any of the 1 tokens"),
        ([], {}, sc.ModelFileError, "has no vector of any of the 0 tokens"),
        ("the", {}, sc.DtypeError, "vocabulary: expected a list; found 'the'"),
        (5, {}, sc.DtypeError, "vocabulary: expected a list; found 5"),
        (["the", 5], {}, sc.DtypeError, "vocabulary: token 1 is 5; expected a string"),
        (WORDS, {"mask_zero": 1}, sc.OptionError, "mask_zero is True or False"),
    ],
)  # fmt: skip
def test_embedding_refuses(vocabulary, options, error, match):
    with pytest.raises(error, match=match):
        sc.Embedding.from_vectors(golden("txt")[0], vocabulary, **options)


@pytest.mark.parametrize("vocabulary", ["the", b"the", 5])
def test_a_vocabulary_is_several_tokens(vocabulary):
    with pytest.raises(sc.DtypeError, match="vocabulary: expected a list of tokens"):
        sc.read_vectors(golden("txt")[0], vocabulary)
    with pytest.raises(sc.DtypeError, match="vocabulary: token 0 is None"):
        sc.read_vectors(golden("txt")[0], [None])


def test_the_words_of_a_file_make_a_vocabulary_that_json_keeps():
    tokens, _ = sc.read_vectors(golden("bin")[0])
    words = Vocabulary(tokens)
    assert Vocabulary.from_json(json.loads(json.dumps(words.to_json())), "file") == words
