"""Reads files of word vectors: word2vec (text and binary), GloVe, fastText's .vec.

    word2vec text, .vec   a line of two counts, words and values; then lines as in GloVe, often with
                          a blank at their ends
    GloVe                 a line for each word: it, then its values, with single blanks between
    word2vec binary       the line of counts; then each word, a blank, and its values as float32,
                          little-endian; the C program sets a line's end behind, gensim none

Which it is, is told by the content. A file is mapped and gone through once from end to end; only
rows that are asked for are parsed. A word is bytes: GloVe has words with blanks in them, and older
word2vec cut words in the middle of a character.
"""

from __future__ import annotations

import codecs
import mmap
import os
import re
import sys
from collections import deque
from collections.abc import Container, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DtypeError, ModelFileError
from .arrays import shorten
from .opening import WRAPPED, reading

__all__ = ["read_vectors"]

_MAX_VALUES = 1 << 14  # of a word; the longest in use have some thousands
_MAX_WORD = 1 << 14  # bytes, in a binary file
_MAX_LINE = 1 << 24  # bytes, in a text

_NUMBER = re.compile(
    rb"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|nan|inf(?:inity)?)", re.IGNORECASE
)
_BLANK = b" \t\r\n"  # what may stand behind the last value of a line
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")  # bytes that text has not
_BYTE = re.compile(rb"\\x([89a-f][0-9a-f])")

_FOREIGN = (
    *WRAPPED,
    (b"PK\x03\x04", "a zip archive; unpack it first"),
    (b"\xba\x16\x4f\x2f", "fastText's .bin, which has vectors of parts of words; read the .vec"),
    (b"\x80", "a pickle, perhaps of gensim; save it there by save_word2vec_format"),
    (b"\x93NUMPY", "a NumPy array, which has no words; seqcore.read_weights reads it"),
    (b"\x89HDF", "HDF5, which has no words; seqcore.read_weights reads it"),
)


class _Layout(NamedTuple):
    """What is known of a file before its rows."""

    start: int  # of the rows, in bytes
    words: int | None  # how many, where a header tells it
    width: int  # values of a word
    binary: bool

    @property
    def least(self) -> int:
        """The fewest bytes of a row: a word of none, a blank, values; or blanks, digits, an end."""
        return 4 * self.width + 1 if self.binary else 2 * self.width + 1


Matrix = NDArray[np.float32]
Row = tuple[str, bytes, "list[float] | Matrix"]  # its place for messages, word, values


def read_vectors(
    path: str | os.PathLike[str], vocabulary: Iterable[str] | None = None
) -> tuple[list[str], Matrix]:
    """Read the words of a file of word vectors, and their vectors.

    Parameters
    ----------
    path : str or path-like
        word2vec, text or binary; GloVe; fastText's ``.vec``. The kind is found by content, not by
        extension. The file is mapped and must not shrink while it is read.
    vocabulary : Vocabulary or iterable of str, optional
        The words that are wanted. What is then kept in memory are their rows and not the file;
        other rows are counted, but neither parsed nor checked.

    Returns
    -------
    tokens : list of str
        The words of the file in its order, or those of the vocabulary that it has, in the order of
        the vocabulary. Each once: of a word that the file repeats, the first row counts. Bytes that
        are no UTF-8 are written as ``\\xff``, and found again under that name.
    matrix : array (len(tokens), D) of float32

    Raises
    ------
    ModelFileError
        The file is of none of these kinds, is truncated, or contradicts itself: a header that does
        not fit, a row of more or fewer values than the others, or with one that is no finite number
        of float32. Names the file, and the line or the word.
    DtypeError
        A token of the vocabulary is no string.
    OSError
        The file is missing or cannot be read.

    Examples
    --------
    >>> tokens, matrix = read_vectors("glove.6B.100d.txt", ["the", "cat"])     # doctest: +SKIP
    >>> matrix.shape                                                          # doctest: +SKIP
    (2, 100)
    """
    names = None if vocabulary is None else _names(vocabulary)
    with reading(path) as (file, size):
        if not size:
            raise ModelFileError("the file is empty")
        # Whatever is taken from the map is a copy, so that it can be closed.
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _read(data, names)


def _names(vocabulary: Iterable[str]) -> dict[bytes, str]:
    """Return the words that are wanted, by the bytes that stand for them in a file."""
    if isinstance(vocabulary, (str, bytes)) or not isinstance(vocabulary, Iterable):
        raise DtypeError(f"vocabulary: expected a list of tokens; found {shorten(vocabulary)}")
    names: dict[bytes, str] = {}
    for place, token in enumerate(vocabulary):
        if not isinstance(token, str):
            raise DtypeError(f"vocabulary: token {place} is {shorten(token)}; expected a string")
        word = token.encode("utf-8", "surrogatepass")
        names.setdefault(word, token)
        if b"\\x" in word:  # what _text made of bytes that are no UTF-8
            broken = _BYTE.sub(lambda found: bytes([int(found[1], 16)]), word)
            if _text(broken) == token:
                names.setdefault(broken, token)
    return names


def _text(word: bytes) -> str:
    return word.decode("utf-8", "backslashreplace")


def _read(data: mmap.mmap, names: dict[bytes, str] | None) -> tuple[list[str], Matrix]:
    """Read the rows of a file, of the words that are wanted or of all."""
    layout = _layout(data)
    # Of a word with blanks the first part is enough to be parsed, and then to be told apart.
    wanted = None if names is None else {word.split(b" ", 1)[0] for word in names}
    most = len(data) // layout.least + 1 if layout.words is None else layout.words
    if names is not None:
        most = min(most, len(names))
    elif layout.words is None:
        most = min(most, _count_lines(data))
    rows = (_binary_rows if layout.binary else _text_rows)(data, layout, wanted)
    matrix = np.empty((most, layout.width), np.float32)
    places: dict[str, int] = {}
    with np.errstate(over="ignore"):  # of text that is past float32, which is looked for below
        for where, word, values in rows:
            name = _text(word) if names is None else names.get(word)
            if name is None or name in places:
                continue
            row = matrix[len(places)]
            row[:] = values
            if not np.isfinite(row).all():
                raise ModelFileError(
                    f"{where}, {shorten(name)}: {row[~np.isfinite(row)][0]} among its values"
                )
            places[name] = len(places)
    if names is not None:
        tokens = [token for token in dict.fromkeys(names.values()) if token in places]
        return tokens, matrix[[places[token] for token in tokens]]
    return list(places), matrix if len(places) == most else matrix[: len(places)].copy()


def _count_lines(data: mmap.mmap) -> int:
    """Count the lines of a text, the last one too if nothing ends it."""
    starts = range(0, len(data), _MAX_LINE)
    ends = sum(data[start : start + _MAX_LINE].count(b"\n") for start in starts)
    return ends + (data[-1:] != b"\n")


# ---- Which kind it is ----------------------------------------------------------------------------


def _layout(data: mmap.mmap) -> _Layout:
    """Tell by the first lines what a file is."""
    start = len(codecs.BOM_UTF8) if data[:3] == codecs.BOM_UTF8 else 0
    end = data.find(b"\n", start, start + _MAX_LINE)
    line = (
        data[start : len(data) if end < 0 else end] if end >= 0 or len(data) <= _MAX_LINE else b""
    )
    fields = line.split()
    if len(fields) == 2 and all(field.isdigit() for field in fields):
        return _counted(data, fields, end + 1 if end >= 0 else len(data))
    values = line.rstrip(_BLANK).split(b" ")
    width = min(_trailing_numbers(values), len(values) - 1)  # a word may be a number too
    if not 1 <= width <= _MAX_VALUES or b"\0" in line:  # an archive may hold text as it is
        for magic, kind in _FOREIGN:
            if data[: len(magic)] == magic:
                raise ModelFileError(f"this seems to be {kind}")
        raise ModelFileError(
            "not a file of word vectors that is known: expected a first line of two counts, or of "
            f"a word and 1 to {_MAX_VALUES} values with single blanks between; found "
            f"{shorten(line)}"
        )
    return _Layout(start, None, width, binary=False)


def _counted(data: mmap.mmap, fields: list[bytes], start: int) -> _Layout:
    """Check the line of counts, and tell text from binary by what follows it."""
    if max(map(len, fields)) > 18:  # digits of int64
        raise ModelFileError(f"the header promises {shorten(b' '.join(fields))}")
    count, width = map(int, fields)
    if not 1 <= width <= _MAX_VALUES:
        raise ModelFileError(
            f"the header promises {width} values of each word; expected 1 to {_MAX_VALUES}"
        )
    layout = _Layout(start, count, width, binary=False)
    if not _is_text(data, layout):
        layout = layout._replace(binary=True)
    room = len(data) - start
    if count * layout.least > room + 1:  # the last line may have no end
        raise ModelFileError(
            f"the header promises {count} words of {width} values, which is at least "
            f"{count * layout.least} bytes; {room} follow"
        )
    return layout


def _is_text(data: mmap.mmap, layout: _Layout) -> bool:
    """Tell whether rows are text: the first one has as many numbers as the header promises."""
    start, width = layout.start, layout.width
    end = data.find(b"\n", start, start + _MAX_LINE)
    line = data[start : end if end >= 0 else start + _MAX_LINE]
    if _trailing_numbers(line.rstrip(_BLANK).rsplit(b" ", width)[1:]) == width:
        return True
    values = data.find(b" ", start, start + _MAX_WORD) + 1
    # Either text that is damaged, whose lines are to be named, or a few values that look like text
    return _looks_like_text(data[values : values + 4 * width]) and not _is_binary(data, layout)


def _looks_like_text(sample: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)  # which may end within a character
    except UnicodeDecodeError:
        return False
    return not _CONTROL.search(sample)


def _is_binary(data: mmap.mmap, layout: _Layout) -> bool:
    """Tell whether binary rows end where the file does."""
    try:
        deque(_binary_rows(data, layout, ()), maxlen=0)
    except ModelFileError:
        return False
    return True


def _trailing_numbers(fields: list[bytes]) -> int:
    """Count how many fields at the end are numbers."""
    count = 0
    while count < len(fields) and _NUMBER.fullmatch(fields[-1 - count]):
        count += 1
    return count


# ---- Rows ----------------------------------------------------------------------------------------


def _text_rows(data: mmap.mmap, layout: _Layout, wanted: Container[bytes] | None) -> Iterator[Row]:
    """Go through the lines, and parse those that begin with something wanted."""
    start, size = layout.start, len(data)
    number = 0 if layout.words is None else 1
    rows, limit = 0, sys.maxsize if layout.words is None else layout.words
    while start < size:
        end = data.find(b"\n", start)
        end = size if end < 0 else end
        first, start, number = start, end + 1, number + 1
        if end - first > _MAX_LINE:
            raise ModelFileError(f"line {number} is longer than {_MAX_LINE} bytes")
        cut = data.find(b" ", first, end)
        if cut <= first and not data[first:end].strip():
            continue  # a blank line is no row, wherever it stands
        rows += 1
        if rows > limit:
            raise ModelFileError(f"line {number}: the header promises {limit} words; here is more")
        if wanted is None or cut < 0 or data[first:cut] in wanted:
            where = f"line {number}"
            yield (where, *_parsed(data[first:end].rstrip(_BLANK), layout.width, where))
    if layout.words is not None and rows < limit:
        raise ModelFileError(f"the header promises {limit} words; the file has {rows}")


def _parsed(line: bytes, width: int, where: str) -> tuple[bytes, list[float]]:
    """Return word and values of a line."""
    word, *fields = line.rsplit(b" ", width)
    blanks = word.count(b" ")
    found = None
    if len(fields) < width or (blanks and _NUMBER.fullmatch(word.rpartition(b" ")[2])):
        found = f"{min(_trailing_numbers(line.split(b' ')), line.count(b' '))} values"
    elif blanks >= width:  # two rows in one line, rather than a word
        found = f"{blanks} blanks in the word"
    if found is not None:
        raise ModelFileError(f"{where}: expected a word and {width} values; found {found}")
    try:
        if b"_" in line[len(word) :]:
            raise ValueError("Python's numbers may have underscores")
        return word, list(map(float, fields))
    except ValueError:
        wrong = next((field for field in fields if not _NUMBER.fullmatch(field)), b"")
        raise ModelFileError(f"{where}, {shorten(word)}: {shorten(wrong)} is no number") from None


def _binary_rows(
    data: mmap.mmap, layout: _Layout, wanted: Container[bytes] | None
) -> Iterator[Row]:
    """Go from word to word, and take the values of those that are wanted."""
    start, length = layout.start, 4 * layout.width
    assert layout.words is not None
    for number in range(1, layout.words + 1):
        blank = data.find(b" ", start, start + _MAX_WORD)
        end = blank + 1 + length
        if blank < 0 or end > len(data):
            raise ModelFileError(
                f"word {number} of {layout.words}: expected a word, a blank and {length} bytes of "
                f"values at byte {start}; the file has {len(data)}"
            )
        word = data[start:blank].lstrip(b"\n")
        if wanted is None or word in wanted:
            yield f"word {number}", word, np.frombuffer(data[blank + 1 : end], "<f4")
        start = end
    if data[start : start + 3].strip():
        raise ModelFileError(
            f"{len(data) - start} bytes are left behind the {layout.words} words of {layout.width} "
            "values that the header promises"
        )
