"""Parses JSON that is not trusted, within bounds of size and depth.

What the values mean is the caller's to check; here is only what makes two readers of one text
disagree (a key that is repeated, a number that no machine holds) and what makes one of them fall
over (depth, size).
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from ..errors import ModelFileError

__all__ = ["parse_json"]

# Of objects and arrays: an empty one takes thirty times the memory of its text, and as much time.
MAX_CONTAINERS = 1 << 18
_INT64 = range(-(1 << 63), 1 << 63)


def parse_json(
    text: str,
    what: str,
    *,
    max_length: int,
    max_depth: int,
    max_containers: int = MAX_CONTAINERS,
    max_values: int | None = None,
    not_finite: bool = False,
) -> dict[str, Any]:
    """Parse a JSON object.

    Parameters
    ----------
    text : str
    what : str
        Names the text in messages.
    max_length : int
        Of the text, in characters.
    max_depth : int
        Of objects and arrays in one another.
    max_containers, max_values : int, optional
        Of objects and arrays, and of commas; those in strings count too.
    not_finite : bool, optional
        Whether the words NaN, Infinity and -Infinity, which are no JSON, stand for numbers.

    Raises
    ------
    ModelFileError
        It is no JSON object, is too large or too deep, has too many parts, repeats a key, or holds
        a number past float64's range or an integer past 64 bits.
    """

    def refuse(why: str) -> NoReturn:
        raise ModelFileError(f"{what} {why}")

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            refuse("repeats a key in one object")
        return found

    def integer(digits: str) -> int:
        # The length first: Python takes quadratic time over digits, and refuses some thousands.
        if len(digits) > 20 or int(digits) not in _INT64:
            refuse("holds an integer past 64 bits")
        return int(digits)

    def real(digits: str) -> float:
        value = float(digits)
        return value if math.isfinite(value) else refuse("holds a number past float64's range")

    def constant(name: str) -> float:
        return float(name) if not_finite else refuse(f"holds {name}, which is no JSON")

    if len(text) > max_length:
        refuse(f"has {len(text)} characters; at most {max_length} are read")
    parts = text.count("[") + text.count("{")  # those in strings too, which are few
    if parts > max_containers:
        refuse(f"has {parts} objects and arrays; at most {max_containers} are read")
    if max_values is not None and (values := text.count(",")) > max_values:
        refuse(f"has {values} values; at most {max_values} are read")
    try:
        value = json.loads(
            text,
            object_pairs_hook=members,
            parse_int=integer,
            parse_float=real,
            parse_constant=constant,
        )
    except RecursionError:
        refuse(f"is nested deeper than {max_depth}")
    except json.JSONDecodeError as error:
        refuse(f"is no JSON: {error}")
    level = [value]
    for _ in range(max_depth):
        containers = [item for item in level if isinstance(item, (dict, list))]
        level = [
            x for item in containers for x in (item.values() if isinstance(item, dict) else item)
        ]
    if level:
        refuse(f"is nested deeper than {max_depth}")
    if not isinstance(value, dict):
        refuse(f"is a JSON {type(value).__name__}; expected an object")
    return value
