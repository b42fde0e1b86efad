"""Vocabulary: text to token ids and back. Which tokens there are is the trained model's to say.

Ids are places in a list. Nothing here learns sub-words or normalises Unicode.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arguments import ends_of, integers
from .batches import pad
from .errors import (
    DtypeError,
    IdRangeError,
    ModelFileError,
    OptionError,
    ShapeError,
    UnknownTokenError,
)
from .graph import told
from .layers.base import choice, flag, several, whole

__all__ = ["Vocabulary"]

_MAX_TOKENS = 1 << 23  # four times fastText's largest file
_SPECIAL = ("padding", "unknown", "begin", "end")
_SPLIT = ("whitespace", "characters")
_GLUE = {"whitespace": " ", "characters": ""}


class Vocabulary:
    """The tokens of a model, each of which is the id that is its place.

    Parameters
    ----------
    tokens : iterable of str
        All of them in the order of their ids, each once, special ones included.
    unknown : str, optional
        The token that stands for every other one. Without it these are an error.
    padding : str, optional
        The token that `encode_batch` fills rows with.
    begin, end : str, optional
        The tokens that `encode` sets around a text on request.
    split : "whitespace" or "characters"
        How a text becomes tokens. Lists of tokens are taken as they are.
    lower : bool
        Whether text and tokens that are to be encoded become lower case first.

    Attributes
    ----------
    tokens : tuple of str
    unknown, padding, begin, end : str or None
    split : str
    lower : bool

    Raises
    ------
    OptionError
        A token stands twice or is no text that UTF-8 can say, a special token is none of the
        tokens, or there are more than 8,388,608.
    DtypeError
        A token is no string.

    Examples
    --------
    >>> from seqcore.sequence import Vocabulary
    >>> words = Vocabulary(["<pad>", "<unk>", "the", "cat"], unknown="<unk>", padding="<pad>")
    >>> words.encode("the black cat").tolist()
    [2, 1, 3]
    >>> words.decode([2, 3, 0, 0], skip_special=True)
    'the cat'
    """

    def __init__(
        self,
        tokens: Iterable[str],
        *,
        unknown: str | None = None,
        padding: str | None = None,
        begin: str | None = None,
        end: str | None = None,
        split: str = "whitespace",
        lower: bool = False,
    ) -> None:
        self.tokens = _checked(tokens)
        self.split: str = choice(split, "Vocabulary", "split", _SPLIT)
        self.lower = flag(lower, "Vocabulary", "lower")
        self._ids = {token: place for place, token in enumerate(self.tokens)}
        if len(self._ids) < len(self.tokens):
            token, count = Counter(self.tokens).most_common(1)[0]
            raise OptionError(f"Vocabulary: the token {told(token)} stands there {count} times")
        self.unknown = self._member(unknown, "unknown")
        self.padding = self._member(padding, "padding")
        self.begin = self._member(begin, "begin")
        self.end = self._member(end, "end")

    def _member(self, token: Any, role: str) -> str | None:
        """Return a special token, which is one of the tokens or None."""
        if token is None or (isinstance(token, str) and token in self._ids):
            return None if token is None else str(token)
        raise OptionError(f"Vocabulary: {role} is one of the tokens; found {told(token)}")

    @classmethod
    def build(
        cls,
        texts: Iterable[str | Iterable[str]] | Mapping[str, int],
        *,
        size: int | None = None,
        least: int = 1,
        **options: Any,
    ) -> Vocabulary:
        """Make a vocabulary of the tokens that occur most often.

        Special tokens come first: padding (as id 0), unknown, begin, end, those of them that the
        options name. The others follow by how often they occur, equals in the order of their
        characters, so that the ids do not depend on the order of the texts.

        Parameters
        ----------
        texts : iterable of (str or list of str), or mapping of str to int
            Texts to split, lists of tokens, or the tokens with their counts.
        size : int, optional
            The most tokens that there shall be, special ones included.
        least : int
            How often a token occurs at least.
        **options
            Those of the constructor.

        Raises
        ------
        OptionError, DtypeError
        """
        bare = cls((), **{key: options[key] for key in ("split", "lower") if key in options})
        counts = bare._counted(texts)
        roles = [options.get(role) for role in _SPECIAL]
        special = dict.fromkeys(token for token in roles if token is not None)
        whole(least, "Vocabulary.build", "least")
        room = _MAX_TOKENS if size is None else whole(size, "Vocabulary.build", "size")
        if room < len(special):
            raise OptionError(
                f"Vocabulary.build: size is {room}, and {len(special)} tokens are special"
            )
        often = [t for t, count in counts.items() if count >= least and t not in special]
        often.sort(key=lambda token: (-counts[token], token))
        return cls([*special, *often[: room - len(special)]], **options)

    def _counted(self, texts: Iterable[str | Iterable[str]] | Mapping[str, int]) -> Counter[str]:
        """Count tokens, as encode would make them."""
        counts: Counter[str] = Counter()
        if not isinstance(texts, Mapping):
            for text in several(texts, "Vocabulary.build"):
                counts.update(self._split(text))
            return counts
        for token, count in texts.items():
            if isinstance(count, bool) or not isinstance(count, (int, np.integer)):
                raise DtypeError(
                    f"Vocabulary.build: the count of {told(token)} is {told(count)}; expected a "
                    "whole number"
                )
            counts[self._split([token])[0]] += int(count)
        return counts

    # ---- Looking up ------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tokens)

    def __contains__(self, token: object) -> bool:
        return isinstance(token, str) and token in self._ids

    def __getitem__(self, token: str) -> int:
        """Return the id of a token as it stands; UnknownTokenError, a KeyError, if it has none."""
        if token not in self:
            raise UnknownTokenError(f"{told(token)} is none of the {len(self)} tokens")
        return self._ids[token]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((self.tokens, self.split, self.lower))

    def __repr__(self) -> str:
        special = [f"{role}={getattr(self, role)!r}" for role in _SPECIAL if getattr(self, role)]
        return f"<Vocabulary of {', '.join([f'{len(self)} tokens', *special])}>"

    # ---- Text to ids -----------------------------------------------------------------------------

    def _split(self, text: str | Iterable[str]) -> list[str]:
        """Return the tokens of a text, or a list of tokens, in lower case if that is wanted."""
        if isinstance(text, str):
            text = text.lower() if self.lower else text
            return text.split() if self.split == "whitespace" else list(text)
        tokens = several(text, "a text, or its tokens")
        for place, token in enumerate(tokens):
            if not isinstance(token, str):
                raise DtypeError(f"token {place}: expected a string; found {told(token)}")
        return [token.lower() for token in tokens] if self.lower else tokens

    def _special(self, role: str) -> int:
        """Return the id of a special token that a call asks for."""
        token = getattr(self, role)
        if token is None:
            raise OptionError(f"this vocabulary has no {role} token; name it by {role}=")
        return self._ids[token]

    def encode(
        self, text: str | Iterable[str], *, begin: bool = False, end: bool = False
    ) -> NDArray[np.int64]:
        """Turn a text, or a list of tokens, into ids.

        Parameters
        ----------
        text : str or iterable of str
            What stands in it is looked up, words that are spelled like special tokens too.
        begin, end : bool
            Whether the token of that name is set before or behind.

        Returns
        -------
        array (T,) of int64

        Raises
        ------
        UnknownTokenError
            A token is not there and the vocabulary has no `unknown`; names token and place.
        OptionError
            The vocabulary has no `begin` or `end`.
        DtypeError
        """
        first = [self._special("begin")] if flag(begin, "encode", "begin") else []
        last = [self._special("end")] if flag(end, "encode", "end") else []
        tokens = self._split(text)
        if self.unknown is None:
            try:
                ids = [self._ids[token] for token in tokens]
            except KeyError as error:
                place = tokens.index(error.args[0])
                raise UnknownTokenError(
                    f"token {place}, {told(error.args[0])}, is none of the {len(self)} tokens, and "
                    "the vocabulary has no unknown="
                ) from None
        else:
            unknown = self._ids[self.unknown]
            ids = [self._ids.get(token, unknown) for token in tokens]
        return np.array([*first, *ids, *last], np.int64)

    def encode_batch(
        self,
        texts: Iterable[str | Iterable[str]],
        length: int | None = None,
        *,
        begin: bool = False,
        end: bool = False,
        padding: str = "post",
        truncating: str = "post",
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Turn texts into rows of ids, with their lengths, as a model takes them.

        Rows are filled with the id of `padding`, or with 0 where the vocabulary names none. The
        other arguments are those of `encode` and of `sequence.pad`; a token that `length` cuts off
        may be the end token.

        Returns
        -------
        ids : array (B, T) of int64
        lengths : array (B,) of int64

        Raises
        ------
        UnknownTokenError, OptionError, DtypeError
            As `encode`; naming the text.
        """
        rows = []
        for place, text in enumerate(several(texts, "encode_batch")):
            try:
                rows.append(self.encode(text, begin=begin, end=end))
            except (UnknownTokenError, DtypeError) as error:
                raise type(error)(f"text {place}: {error}") from None
        value = 0 if self.padding is None else self._ids[self.padding]
        return pad(
            rows, length, padding=padding, truncating=truncating, value=value, dtype=np.int64
        )

    # ---- Ids to text -----------------------------------------------------------------------------

    def lookup_tokens(
        self, ids: ArrayLike, *, skip_special: bool = False, stop_at_end: bool = False
    ) -> list[str]:
        """Turn ids into their tokens.

        Parameters
        ----------
        ids : array_like (T,) of integers
        skip_special : bool
            Whether padding, begin and end are left out. `unknown` stands for a word and stays.
        stop_at_end : bool
            Whether the end token and what follows it are left out.

        Raises
        ------
        IdRangeError
            An id is none of this vocabulary's; names id and place. What follows an end token that
            is stopped at is checked too.
        OptionError
            To stop, there must be an end token.
        DtypeError, ShapeError
        """
        array = integers(ids, "ids")
        if array.ndim != 1:
            raise ShapeError(f"ids: expected one axis, (time,); found shape {array.shape}")
        self._check(array, "")
        return self._tokens_of([array], skip_special, stop_at_end)[0]

    def _check(self, ids: NDArray[Any], where: str) -> None:
        wrong = np.flatnonzero((ids < 0) | (ids >= len(self)))
        if wrong.size:
            raise IdRangeError(
                f"{where}id {ids[wrong[0]]} at place {wrong[0]}, expected 0 to {len(self) - 1}"
            )

    def _tokens_of(self, rows: list[Any], skip_special: Any, stop_at_end: Any) -> list[list[str]]:
        """Return the tokens of rows, arrays of ids that are known to be in range."""
        end = self._special("end") if flag(stop_at_end, "decode", "stop_at_end") else None
        left_out: set[int] = set()
        if flag(skip_special, "decode", "skip_special"):
            roles = (self.padding, self.begin, self.end)
            left_out = {self._ids[token] for token in roles if token is not None}
        made = []
        for row in rows:
            places: list[int] = row.tolist()
            if end is not None and end in places:
                places = places[: places.index(end)]
            made.append([self.tokens[place] for place in places if place not in left_out])
        return made

    def decode(
        self, ids: ArrayLike, *, skip_special: bool = False, stop_at_end: bool = False
    ) -> str:
        """Turn ids into text: their tokens with blanks between, or without where `split` says so.

        Parameters and errors are those of `lookup_tokens`.
        """
        found = self.lookup_tokens(ids, skip_special=skip_special, stop_at_end=stop_at_end)
        return _GLUE[self.split].join(found)

    def decode_batch(
        self,
        ids: ArrayLike,
        lengths: ArrayLike | None = None,
        *,
        skip_special: bool = False,
        stop_at_end: bool = False,
    ) -> list[str]:
        """Turn rows of ids, each up to its length, into texts.

        Parameters
        ----------
        ids : array_like (B, T) of integers
        lengths : array_like (B,) of integers, optional
        skip_special, stop_at_end : bool
            As in `lookup_tokens`, whose errors are those of this.
        """
        rows = integers(ids, "ids")
        if rows.ndim != 2:
            raise ShapeError(f"ids: expected two axes, (batch, time); found shape {rows.shape}")
        count, time = rows.shape
        ends = ends_of([time] * count if lengths is None else lengths, count, time, "lengths")
        parts = [row[:end] for row, end in zip(rows, ends, strict=True)]
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):  # perhaps behind an end
            for place, part in enumerate(parts):
                self._check(part, f"row {place}: ")
        made = self._tokens_of(parts, skip_special, stop_at_end)
        return [_GLUE[self.split].join(tokens) for tokens in made]

    # ---- Kept in files ---------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Return plain data of which `from_json` makes the same vocabulary."""
        return {
            "kind": "vocabulary",
            "tokens": list(self.tokens),
            **{role: getattr(self, role) for role in _SPECIAL},
            "split": self.split,
            "lower": self.lower,
        }

    @classmethod
    def from_json(cls, data: Any, source: str) -> Vocabulary:
        """Make the vocabulary of `to_json`'s data, which is not trusted.

        Raises
        ------
        ModelFileError
            Naming `source`: it is not such data, or no vocabulary can be made of it.
        """
        keys = {"kind", "tokens", *_SPECIAL, "split", "lower"}
        if not isinstance(data, dict) or set(data) != keys or data["kind"] != "vocabulary":
            raise ModelFileError(f"{source}: expected a vocabulary with the keys {sorted(keys)}")
        if not isinstance(data["tokens"], list):
            raise ModelFileError(f"{source}: the tokens of a vocabulary are a list")
        options = {key: data[key] for key in (*_SPECIAL, "split", "lower")}
        try:
            return cls(data["tokens"], **options)
        except (OptionError, DtypeError) as error:
            raise ModelFileError(f"{source}: {error}") from error


def _checked(tokens: Iterable[str]) -> tuple[str, ...]:
    """Return tokens that are strings, of a number that is bounded."""
    given = several(tokens, "Vocabulary")
    if len(given) > _MAX_TOKENS:
        raise OptionError(f"Vocabulary: {len(given)} tokens; at most {_MAX_TOKENS} are held")
    found = []
    for place, token in enumerate(given):
        if not isinstance(token, str):
            raise DtypeError(f"Vocabulary: token {place}: expected a string; found {told(token)}")
        try:
            token.encode()
        except UnicodeEncodeError:
            raise OptionError(
                f"Vocabulary: token {place}, {told(token)}, holds half of a surrogate pair, which "
                "UTF-8 cannot say"
            ) from None
        found.append(str(token))  # NumPy's strings become Python's
    return tuple(found)
