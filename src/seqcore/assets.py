"""Assets: what a model keeps beside its weights, and the JSON text in which a model file has it.

A vocabulary, a scaler, or plain JSON data. Here is what they have in common; what one of them means
its own module knows. An asset is an object with ``to_json()``, which returns a dict of plain JSON
data whose "kind" is in `_KINDS`, and with a class method ``from_json(data, source)``, which makes
it again out of such a dict and raises `ModelFileError`, naming `source`, where it cannot.

Names that begin with "__" are the package's own: with them it keeps what a model is part of.
"""

from __future__ import annotations

import copy
import importlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from .errors import ModelFileError, OptionError
from .formats.json_texts import parse_json

__all__ = ["ASSETS_TEXT", "SEQUENCE", "Asset", "Assets", "checked_names", "is_reserved"]

SEQUENCE = "__sequence__"  # what Generator and Seq2Seq keep of themselves
ASSETS_TEXT = "__assets__"  # the name of the text in a model file
_PLAIN = "json"  # the kind of plain data, which is its "value"
# A module is imported when one of its kind is met.
_KINDS = {"vocabulary": (".vocabulary", "Vocabulary"), "scaler": (".scaling", "Scaler")}

# For some millions of words, each of which may have a bracket and commas; the core has the same
# bound of bytes. A text at all of these bounds makes about a GB of Python's objects.
_MAX_BYTES = 1 << 28
_MAX_VALUES = 1 << 23
_MAX_CONTAINERS = 1 << 21
_MAX_DEPTH = 64


class Asset(Protocol):
    """What a model can keep."""

    def to_json(self) -> dict[str, Any]: ...

    @classmethod
    def from_json(cls, data: dict[str, Any], source: str) -> Asset: ...


def is_reserved(name: str) -> bool:
    """Tell whether a name is the package's own."""
    return name.startswith("__")


def checked_names(assets: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a user adds.

    Raises
    ------
    OptionError
        A name is the package's own.
    """
    for name in assets:
        if is_reserved(name):
            raise OptionError(f"with_assets: names with '__' are the package's; found {name!r}")
    return assets


class Assets(Mapping[str, Any]):
    """Assets by name; they do not change. As a mapping it has all but the package's own.

    Plain data comes out as a copy each time. Other assets are immutable themselves.

    Parameters
    ----------
    given : mapping of str to asset or plain JSON data, optional

    Raises
    ------
    OptionError
        One of them is neither, or they are too large for a model file.
    """

    __slots__ = ("_items", "_text")

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        given = given or {}
        written = {name: _written(name, value) for name, value in given.items()}
        entries = b",".join(_text_of(name, entry) for name, entry in written.items())
        self._text = b"{" + entries + b"}"
        # What is kept of plain data is what the text has, and nobody else.
        read = _parsed(self._text, "assets", OptionError)
        for name, entry in written.items():
            if read[name] != entry:
                raise OptionError(f"asset {name!r}: {_EXPECTED}; it changes when it is written")
        self._items = {
            name: entry if entry["kind"] == _PLAIN else given[name] for name, entry in read.items()
        }

    @classmethod
    def from_text(cls, text: bytes, source: str) -> Assets:
        """Read the text of a model file or of a pickle.

        Raises
        ------
        ModelFileError
            It is no text of assets; `source` is named.
        """
        assets = cls.__new__(cls)
        assets._text = text
        read = _parsed(text, f"{source}: the assets", ModelFileError)
        assets._items = {name: _made(name, entry, source) for name, entry in read.items()}
        return assets

    def to_text(self) -> bytes:
        """Return the JSON of which `from_text` makes the same assets; UTF-8."""
        return self._text

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to keep, of the package's own neither."""
        return not self._items

    def changed(self, changes: Mapping[str, Any]) -> Assets:
        """Return these assets, the package's own too, and others; what is None goes.

        Raises
        ------
        OptionError
        """
        merged = {name: _value(item) for name, item in self._items.items()}
        for name, value in changes.items():
            if value is not None:
                merged[name] = value
            elif merged.pop(name, merged) is merged:
                raise OptionError(f"there is no asset {name!r} to take away; found {list(self)}")
        return Assets(merged)

    def own(self, name: str) -> Any:
        """Return one of the package's own, or None."""
        return _given(self._items.get(name))

    def __getitem__(self, name: str) -> Any:
        if is_reserved(name):
            raise KeyError(name)
        return _given(self._items[name])

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._items if not is_reserved(name))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<assets {list(self)}>"


def _value(item: Any) -> Any:
    """Return what an item stands for; of plain data it is not to be changed."""
    return item["value"] if isinstance(item, dict) else item


def _given(item: Any) -> Any:
    """Return what an item stands for; plain data as a copy."""
    return copy.deepcopy(item["value"]) if isinstance(item, dict) else item


_EXPECTED = (
    "expected a Vocabulary, a Scaler, or plain data as JSON has it: dicts with strings for keys, "
    "lists, strings, finite numbers (whole ones of 64 bits), True, False and None"
)


def _written(name: str, value: Any) -> dict[str, Any]:
    """Return the entry of an asset in the text."""
    if not hasattr(value, "to_json"):
        return {"kind": _PLAIN, "value": value}
    data: Any = value.to_json()
    kind = data.get("kind") if isinstance(data, dict) else None
    if isinstance(kind, str) and kind in _KINDS and isinstance(value, _class_of(kind)):
        return dict(data)
    raise OptionError(f"asset {name!r}: {_EXPECTED}; found {type(value).__name__}")


def _class_of(kind: str) -> Any:
    module, name = _KINDS[kind]
    return getattr(importlib.import_module(module, __package__), name)


def _made(name: str, entry: Any, source: str) -> Any:
    """Return what an entry of a text says."""
    kind = entry.get("kind") if isinstance(entry, dict) else None
    if not isinstance(kind, str):
        raise ModelFileError(f"{source}: asset {name!r}: expected an object with a kind")
    if kind == _PLAIN:
        if set(entry) != {"kind", "value"}:
            raise ModelFileError(
                f"{source}: asset {name!r}: expected kind and value; found {sorted(entry)!r:.80}"
            )
        return entry
    if kind not in _KINDS:
        raise ModelFileError(
            f"{source}: asset {name!r} is of kind {kind!r:.80}; known are {[_PLAIN, *_KINDS]}"
        )
    return _class_of(kind).from_json(entry, f"{source}: asset {name!r}")


def _text_of(name: str, entry: dict[str, Any]) -> bytes:
    """Return a member of the text's object."""
    try:
        text = json.dumps({name: entry}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text[1:-1].encode()
    except RecursionError:
        raise OptionError(f"asset {name!r} is nested deeper than {_MAX_DEPTH}") from None
    except (TypeError, ValueError) as error:  # NaN, arrays, half a surrogate pair, circles
        raise OptionError(f"asset {name!r}: {_EXPECTED}; {error}") from None


def _parsed(text: bytes, what: str, failure: type[Exception]) -> dict[str, Any]:
    """Return what a text says, within bounds."""
    if len(text) > _MAX_BYTES:
        raise failure(f"{what} have {len(text)} bytes as JSON; at most {_MAX_BYTES} are read")
    try:
        return parse_json(
            text.decode(),
            f"{what}: their JSON",
            max_length=_MAX_BYTES,
            max_depth=_MAX_DEPTH,
            max_containers=_MAX_CONTAINERS,
            max_values=_MAX_VALUES,
        )
    except UnicodeDecodeError as error:
        raise failure(f"{what} are not UTF-8: {error}") from None
    except ModelFileError as error:
        raise failure(str(error)) from None
