"""Vocabularies: text to ids and back, built from texts, kept as JSON; and JSON that lies.

scikit-learn counts the same tokens; what ids mean is written out by hand.
"""

from __future__ import annotations

import json
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer

import seqcore as sc
from seqcore import vocabulary as module
from seqcore.sequence import Vocabulary, pad

SPECIAL = {"padding": "<pad>", "unknown": "<unk>", "begin": "<s>", "end": "</s>"}
WORDS = Vocabulary([*SPECIAL.values(), "the", "cat", "sat", "."], **SPECIAL)
LETTERS = Vocabulary(list("abc é"), split="characters")
TEXTS = [
    "The cat sat . the dog sat on the mat .",
    "a\tcat  is\nno dog ; The END",
    "",
    "naïve cats — naïve cats",
]

# ---- Text to ids and back -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options", "ids"),
    [
        ("the cat sat", {}, [4, 5, 6]),
        ("  the\tcat\n", {}, [4, 5]),
        ("the black cat", {}, [4, 1, 5]),
        ("The", {}, [1]),
        ("", {}, []),
        ("", {"begin": True, "end": True}, [2, 3]),
        ("cat", {"begin": True}, [2, 5]),
        ("cat", {"end": True}, [5, 3]),
        (["the", "", "cat"], {}, [4, 1, 5]),
        (iter(["the", "cat sat"]), {}, [4, 1]),
        (np.array(["cat", "."]), {}, [5, 7]),
        ("</s> cat", {}, [3, 5]),  # spelled like a special token
    ],
)
def test_encode(text, options, ids):
    found = WORDS.encode(text, **options)
    assert (found.dtype, found.shape, found.tolist()) == (np.int64, (len(ids),), ids)


def test_characters():
    assert LETTERS.encode("cab é").tolist() == [2, 0, 1, 3, 4]
    assert LETTERS.decode([2, 0, 1, 3, 4]) == "cab é"
    with pytest.raises(sc.UnknownTokenError, match="token 1, 'd', is none of the 5 tokens"):
        LETTERS.encode("ad")


def test_lower_case_is_of_what_is_encoded():
    words = Vocabulary(["the", "The"], lower=True)
    assert words.encode("The THE").tolist() == [0, 0]
    assert words.encode(["The"]).tolist() == [0]
    assert words["The"] == 1
    assert words.decode([1, 0]) == "The the"


@pytest.mark.parametrize(
    ("ids", "options", "text"),
    [
        ([4, 5, 6], {}, "the cat sat"),
        ([2, 4, 1, 3, 0], {}, "<s> the <unk> </s> <pad>"),
        ([2, 4, 1, 3, 0], {"skip_special": True}, "the <unk>"),
        ([2, 4, 3, 5, 3], {"stop_at_end": True}, "<s> the"),
        ([2, 4, 3, 5], {"skip_special": True, "stop_at_end": True}, "the"),
        ([4, 5], {"stop_at_end": True}, "the cat"),
        ([], {}, ""),
        (np.array([3], np.uint8), {"stop_at_end": True}, ""),
    ],
)
def test_decode(ids, options, text):
    assert WORDS.decode(ids, **options) == text
    assert WORDS.lookup_tokens(ids, **options) == text.split()


@settings(deadline=None)
@given(tokens=st.lists(st.sampled_from(WORDS.tokens)))
def test_tokens_come_back(tokens):
    assert WORDS.lookup_tokens(WORDS.encode(tokens)) == tokens
    assert WORDS.decode(WORDS.encode(" ".join(tokens))) == " ".join(tokens)


@pytest.mark.parametrize("way", [{}, {"padding": "pre"}, {"truncating": "pre", "length": 2}])
def test_batches_are_rows_that_are_padded(way):
    ids, lengths = WORDS.encode_batch(["the cat sat", "cat"], end=True, **way)
    expected, expected_lengths = pad([[4, 5, 6, 3], [5, 3]], value=0, **way)
    np.testing.assert_array_equal(ids, expected, strict=True)
    np.testing.assert_array_equal(lengths, expected_lengths, strict=True)


def test_rows_are_filled_with_the_padding_token_wherever_it_stands():
    words = Vocabulary(["a", "b", "-"], padding="-")
    assert words.encode_batch(["a b", "", "b"])[0].tolist() == [[0, 1], [2, 2], [1, 2]]
    none = Vocabulary(["a", "b"])
    ids, lengths = none.encode_batch(["b b", "b"])
    assert (ids.tolist(), lengths.tolist()) == ([[1, 1], [1, 0]], [2, 1])


def test_a_batch_comes_back_up_to_its_lengths():
    ids, lengths = WORDS.encode_batch(["the cat sat", "cat .", ""])
    assert WORDS.decode_batch(ids, lengths) == ["the cat sat", "cat .", ""]
    assert WORDS.decode_batch(ids)[1] == "cat . <pad>"
    assert WORDS.decode_batch(ids, skip_special=True)[1] == "cat ."
    ended, _ = WORDS.encode_batch(["the cat", "sat"], end=True)
    assert WORDS.decode_batch(ended, stop_at_end=True) == ["the cat", "sat"]
    assert WORDS.decode_batch(np.full((2, 3), -1), [0, 0]) == ["", ""]  # nothing is looked at
    assert WORDS.decode_batch(ids[:0]) == []


def test_looking_up():
    assert len(WORDS) == 8
    assert list(WORDS) == [*SPECIAL.values(), "the", "cat", "sat", "."]
    assert "cat" in WORDS
    assert "dog" not in WORDS
    assert 5 not in WORDS
    assert WORDS["cat"] == 5
    with pytest.raises(KeyError):
        WORDS["dog"]  # the unknown token is for texts
    with pytest.raises(sc.UnknownTokenError, match=r"^'dog' is none of the 8 tokens$"):
        WORDS["dog"]
    assert repr(WORDS).startswith("<Vocabulary of 8 tokens, padding='<pad>', unknown='<unk>'")


def test_empty_strings_are_tokens_as_keras_has_them():
    words = Vocabulary(["", "[UNK]", "a"], padding="", unknown="[UNK]")
    assert words.encode_batch(["a b", "a"])[0].tolist() == [[2, 1], [2, 0]]


# ---- What texts make ----------------------------------------------------------------------------


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize(("split", "analyzer"), [("whitespace", "word"), ("characters", "char")])
def test_tokens_are_counted_as_scikit_learn_does(lower, split, analyzer):
    # Its words are separated by whatever \S is not, its characters know one kind of white space
    texts = TEXTS if split == "whitespace" else [" ".join(text.split()) for text in TEXTS]
    pattern = {"token_pattern": r"\S+"} if split == "whitespace" else {}
    counter = CountVectorizer(analyzer=analyzer, lowercase=lower, **pattern)
    counts = counter.fit_transform(texts).toarray()
    theirs = dict(zip(counter.get_feature_names_out(), counts.sum(axis=0).tolist(), strict=True))
    words = Vocabulary.build(texts, split=split, lower=lower)
    assert set(words) == set(theirs)
    assert [theirs[token] for token in words] == sorted(theirs.values(), reverse=True)
    for text, row in zip(texts, counts, strict=True):
        ours = np.bincount(words.encode(text), minlength=len(words))
        names = counter.get_feature_names_out()
        assert {words.tokens[k]: n for k, n in enumerate(ours) if n} == {
            names[k]: n for k, n in enumerate(row) if n
        }


def test_build_sorts_by_count_then_by_character():
    words = Vocabulary.build(["b a c", "b ä", ["c", "b b"]], **SPECIAL)
    assert words.tokens[4:] == ("b", "c", "a", "b b", "ä")
    assert words.tokens[:4] == ("<pad>", "<unk>", "<s>", "</s>")
    assert Vocabulary.build([["c", "b b"], "b ä", "b a c"], **SPECIAL) == words


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["b", "a", "c"]),
        ({"size": 2}, ["b", "a"]),
        ({"size": 99}, ["b", "a", "c"]),
        ({"least": 2}, ["b", "a"]),
        ({"least": 4}, []),
        ({"size": 2, "unknown": "?"}, ["?", "b"]),
        ({"size": 1, "unknown": "?"}, ["?"]),
        ({"unknown": "a"}, ["a", "b", "c"]),  # a word may be special
        ({"begin": "|", "end": "|"}, ["|", "b", "a", "c"]),
    ],
)
def test_build_has_bounds(options, expected):
    texts = ["a b b", "b a c"]
    assert list(Vocabulary.build(texts, **options)) == expected
    counts = {"c": 1, "a": np.int64(2), "b": 3}
    assert list(Vocabulary.build(counts, **options)) == expected
    assert list(Vocabulary.build(Counter(counts), **options)) == expected
    assert list(Vocabulary.build((text for text in texts), **options)) == expected


def test_counts_become_lower_case_too():
    assert Vocabulary.build({"The": 2, "the": 2, "a": 3}, lower=True).tokens == ("the", "a")


# ---- Refused ------------------------------------------------------------------------------------

HALF = "\ud800"


@pytest.mark.parametrize(
    ("tokens", "options", "error", "match"),
    [
        (["a", "b", "a"], {}, sc.OptionError, "the token 'a' stands there 2 times"),
        (["a", 3], {}, sc.DtypeError, "token 1: expected a string; found 3"),
        (["a", b"b"], {}, sc.DtypeError, "token 1: expected a string; found b'b'"),
        (["a", None], {}, sc.DtypeError, "token 1: expected a string; found None"),
        (["a", HALF], {}, sc.OptionError, "token 1, .* holds half of a surrogate pair"),
        ("ab", {}, sc.DtypeError, "Vocabulary: expected a list; found 'ab'"),
        (7, {}, sc.DtypeError, "Vocabulary: expected a list; found 7"),
        (["a"], {"unknown": "b"}, sc.OptionError, "unknown is one of the tokens; found 'b'"),
        (["a"], {"padding": 0}, sc.OptionError, "padding is one of the tokens; found 0"),
        (["a"], {"begin": ["a"]}, sc.OptionError, "begin is one of the tokens"),
        (["a"], {"end": ""}, sc.OptionError, "end is one of the tokens; found ''"),
        (["a"], {"split": "words"}, sc.OptionError, "split is one of"),
        (["a"], {"lower": 1}, sc.OptionError, "lower is True or False; found 1"),
    ],
)
def test_what_is_no_vocabulary(tokens, options, error, match):
    with pytest.raises(error, match=match):
        Vocabulary(tokens, **options)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda v: v.encode("a x"), sc.UnknownTokenError, "^token 1, 'x', is none of the 2 tokens"),
        (lambda v: v.encode_batch(["a", "b x"]), sc.UnknownTokenError, "^text 1: token 1, 'x', is"),
        (lambda v: v.encode_batch(["a", ["b", 1]]), sc.DtypeError, "text 1: token 1: expec"),
        (lambda v: v.encode_batch("a b"), sc.DtypeError, "encode_batch: expected a list"),
        (lambda v: v.encode(b"a"), sc.DtypeError, "a text, or its tokens: expected a list"),
        (lambda v: v.encode(5), sc.DtypeError, "found 5"),
        (lambda v: v.encode("a", end=True), sc.OptionError, "has no end token; name it by end="),
        (lambda v: v.encode("a", begin=True), sc.OptionError, "has no begin token"),
        (lambda v: v.encode("a", begin=1), sc.OptionError, "begin is True or False"),
        (lambda v: v.encode_batch(["a"], padding="left"), sc.OptionError, "padding is one of"),
        (lambda v: v.decode([0, 2]), sc.IdRangeError, "id 2 at place 1, expected 0 to 1"),
        (lambda v: v.decode([-1]), sc.IdRangeError, "id -1 at place 0"),
        (lambda v: v.decode([0.0]), sc.DtypeError, "expected integers; found float64"),
        (lambda v: v.decode([[0]]), sc.ShapeError, r"one axis, \(time,\); found shape \(1, 1\)"),
        (lambda v: v.decode([0], stop_at_end=True), sc.OptionError, "has no end token"),
        (lambda v: v.decode([0], skip_special=None), sc.OptionError, "skip_special is True or"),
        (lambda v: v.decode_batch([0]), sc.ShapeError, "two axes"),
        (lambda v: v.decode_batch([[9], [2]], [0, 1]), sc.IdRangeError, "^row 1: id 2 at place 0,"),
        (lambda v: v.decode_batch([[0, -1]]), sc.IdRangeError, "^row 0: id -1 at place 1"),
        (lambda v: v.decode_batch([[0]], [2]), sc.ShapeError, "lengths: expected 0 to 1, found 2"),
        (lambda v: v.decode_batch([[0]], [1, 1]), sc.ShapeError, r"lengths: expected shape \(1,\)"),
        (lambda v: v.build("a b"), sc.DtypeError, "Vocabulary.build: expected a list"),
        (lambda v: v.build([3]), sc.DtypeError, "found 3"),
        (lambda v: v.build({"a": 1.5}), sc.DtypeError, "the count of 'a' is 1.5"),
        (lambda v: v.build({"a": True}), sc.DtypeError, "the count of 'a' is True"),
        (lambda v: v.build({1: 1}), sc.DtypeError, "token 0: expected a string; found 1"),
        (lambda v: v.build(["a"], size=0), sc.OptionError, "size is a whole number from 1"),
        (lambda v: v.build(["a"], least=0), sc.OptionError, "least is a whole number from 1"),
        (
            lambda v: v.build(["a"], size=1, unknown="?", padding="_"),
            sc.OptionError, "size is 1, and 2 tokens are special",
        ),
    ],
)  # fmt: skip
def test_what_is_no_call(call, error, match):
    with pytest.raises(error, match=match):
        call(Vocabulary(["a", "b"]))


def test_an_unknown_token_is_a_key_error_and_survives_a_pickle():
    with pytest.raises(KeyError) as caught:
        LETTERS.encode("x")
    assert isinstance(caught.value, sc.SeqcoreError)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert not str(again).startswith("'")


# ---- JSON ---------------------------------------------------------------------------------------

ALL = [
    WORDS,
    LETTERS,
    Vocabulary([]),
    Vocabulary(["", "[UNK]", '"', "\\", "\0", "\n", "\U0001f600", "e\u0301", "é"], padding=""),
    Vocabulary(["İ", "ß"], lower=True, unknown="ß"),
]


@pytest.mark.parametrize("words", ALL)
@pytest.mark.parametrize("ascii_only", [False, True])
def test_json_and_pickles_bring_it_back(words, ascii_only):
    text = json.dumps(words.to_json(), ensure_ascii=ascii_only)
    text.encode()  # whatever is written, is UTF-8
    again = Vocabulary.from_json(json.loads(text), "model.safetensors")
    for other in (again, pickle.loads(pickle.dumps(words))):
        assert other == words
        assert hash(other) == hash(words)
        assert other.tokens == words.tokens
        assert other.encode(words.tokens).tolist() == words.encode(words.tokens).tolist()
        for part in ("unknown", "padding", "begin", "end", "split", "lower"):
            assert getattr(other, part) == getattr(words, part)


def test_a_model_keeps_it(tmp_path):
    model = sc.Sequential([sc.Embedding(np.ones((len(WORDS), 2)))])
    model.with_assets(words=WORDS, letters=LETTERS).save(tmp_path / "model.safetensors")
    assets = sc.load(tmp_path / "model.safetensors").assets
    assert (assets["words"], assets["letters"]) == (WORDS, LETTERS)
    assert type(assets["words"]) is Vocabulary


def test_json_is_plain_and_its_own():
    words = Vocabulary(np.array(["a", "b"]), unknown=np.str_("b"))
    data = words.to_json()
    assert data["kind"] == "vocabulary"
    assert {type(value) for value in [*data["tokens"], data["unknown"]]} == {str}
    data["tokens"].append("c")
    assert len(words) == 2
    assert words != Vocabulary(["a", "b"])
    assert words != 3


GOOD = WORDS.to_json()


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"tokens": ["a", "a"], **dict.fromkeys(SPECIAL)}, "the token 'a' stands there 2 times"),
        ({"tokens": [*WORDS, 3]}, "token 8: expected a string; found 3"),
        ({"tokens": [*WORDS, ["a"]]}, "token 8: expected a string"),
        ({"tokens": [*WORDS, None]}, "token 8"),
        ({"tokens": [*WORDS, HALF]}, "token 8, .* surrogate"),
        ({"tokens": "abc"}, "the tokens of a vocabulary are a list"),
        ({"tokens": {"a": 0}}, "the tokens of a vocabulary are a list"),
        ({"tokens": None}, "are a list"),
        ({"tokens": list(WORDS)[1:]}, "padding is one of the tokens; found '<pad>'"),
        ({"unknown": 1}, "unknown is one of the tokens; found 1"),
        ({"end": {"a": []}}, "end is one of the tokens"),
        ({"split": "pickle"}, "split is one of"),
        ({"split": ["whitespace"]}, "split is one of"),
        ({"split": {}}, "split is one of"),
        ({"lower": "yes"}, "lower is True or False"),
        ({"lower": 1}, "lower is True or False"),
        ({"kind": "scaler"}, "expected a vocabulary with the keys"),
        ({"kind": ["vocabulary"]}, "expected a vocabulary"),
        ({"stem": True}, "expected a vocabulary with the keys"),
    ],
)
def test_json_that_lies(changed, match):
    with pytest.raises(sc.ModelFileError, match=rf"^model\.safetensors: .*{match}"):
        Vocabulary.from_json({**GOOD, **changed}, "model.safetensors")


@pytest.mark.parametrize("missing", sorted(GOOD))
def test_json_that_lacks_a_part(missing):
    data = {key: value for key, value in GOOD.items() if key != missing}
    with pytest.raises(sc.ModelFileError, match=r"^file: expected a vocabulary with the keys"):
        Vocabulary.from_json(data, "file")


@pytest.mark.parametrize("data", [None, [], ["kind"], "vocabulary", 3, {}])
def test_json_of_another_kind(data):
    with pytest.raises(sc.ModelFileError, match=r"^file: expected a vocabulary"):
        Vocabulary.from_json(data, "file")


def test_the_number_of_tokens_is_bounded(monkeypatch):
    assert module._MAX_TOKENS >= 2_000_000  # those of fastText's files
    monkeypatch.setattr(module, "_MAX_TOKENS", 8)
    assert Vocabulary.from_json(GOOD, "file") == WORDS
    with pytest.raises(sc.ModelFileError, match=r"^file: Vocabulary: 9 tokens; at most 8 are held"):
        Vocabulary.from_json({**GOOD, "tokens": [*WORDS, "a"]}, "file")
    with pytest.raises(sc.OptionError, match="9 tokens; at most 8"):
        Vocabulary(str(k) for k in range(9))


def test_messages_are_short_whatever_the_file_holds():
    with pytest.raises(sc.ModelFileError) as caught:
        Vocabulary.from_json({**GOOD, "tokens": ["x" * 10**6] * 2}, "file")
    assert len(str(caught.value)) < 300
    with pytest.raises(sc.ModelFileError) as caught:
        Vocabulary.from_json({**GOOD, "split": "x" * 10**6}, "file")
    assert len(str(caught.value)) < 300
