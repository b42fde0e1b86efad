"""Markdown of pages whose tables are written from code: keras_page.py, pytorch_page.py.

The text of such a page is written by hand, in the page. What stands between a line
`<!-- table: name -->` and the next `<!-- end -->` is the result of the function of that name.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Tables = Mapping[str, Callable[[], str]]  # in the page's order


def tables_of(*functions: Callable[[], str]) -> Tables:
    """Return tables by the names of the functions that write them."""
    return {function.__name__: function for function in functions}


def filled(text: str, tables: Tables) -> str:
    """Return a page with its tables as they are now."""
    return PLACE.sub(lambda found: f"{found[1]}{tables[found[2]]()}{found[3]}", text)


def write(path: Path, tables: Tables) -> None:
    path.write_text(filled(path.read_text(encoding="utf-8"), tables), encoding="utf-8")


def code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a bar within a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )


def grouped(pairs: Iterable[tuple[str, Any]]) -> dict[Any, list[str]]:
    """Return the names that have the same value, in the order of their first."""
    found = defaultdict(list)
    for name, value in pairs:
        found[value].append(name)
    return dict(found)


@contextmanager
def empty_folder() -> Iterator[None]:
    """Work in a folder of one's own, so that files have plain names in what is said of them."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)
