"""The command line, ``seqcore``: one function for each command, and what they share.

A command does its work through the package's public functions. What it refuses it says on stderr,
with exit status 2, as argparse does for arguments that it does not understand.
"""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ._binding import read_model_file
from .assets import ASSETS_TEXT
from .errors import ModelFileError, OptionError, SeqcoreError
from .graph import GRAPH_TEXT
from .loading import load
from .model import Model, from_graph

__all__ = ["main"]

# Reserved in C11 or in C++20; C's underscored ones are no names that anybody wants.
_KEYWORDS = frozenset(
    """alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t
    char32_t class co_await co_return co_yield compl concept const const_cast consteval constexpr
    constinit continue decltype default delete do double dynamic_cast else enum explicit export
    extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq
    nullptr operator or or_eq private protected public register reinterpret_cast requires restrict
    return short signed sizeof static static_assert static_cast struct switch template this
    thread_local throw true try typedef typeid typename union unsigned using virtual void volatile
    wchar_t while xor xor_eq""".split()  # noqa: SIM905
)
_WORDS_OF_LINE = 6
_LINES_AT_ONCE = 1 << 14


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command of the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; those of the process, otherwise.

    Returns
    -------
    int
        The exit status: 0, or 2 for what was refused.
    """
    parser = argparse.ArgumentParser(
        prog="seqcore", description="Trained recurrent networks on a CPU, without a framework."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_export_c(commands)
    chosen = parser.parse_args(arguments)
    try:
        chosen.run(chosen)
    except SeqcoreError as error:
        print(f"seqcore: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"seqcore: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


# ---- export-c -----------------------------------------------------------------------------------


def _add_export_c(commands: Any) -> None:
    parser = commands.add_parser(
        "export-c",
        help="write a model file as a header for C and C++",
        description="Write a model file as a header for C11 and C++11: an array NAME, aligned to "
        "64 bytes, and its size in bytes, NAME_size, for sc_plan_open_memory.",
    )
    parser.add_argument("model", metavar="MODEL", help="a file that Model.save wrote")
    parser.add_argument("header", metavar="HEADER", help="the file to write")
    parser.add_argument("--name", help="of the array; the header's own, otherwise")
    parser.set_defaults(run=_export_c)


def _export_c(chosen: argparse.Namespace) -> None:
    name = _checked_name(chosen.name, chosen.header)
    load(chosen.model)  # which says best what is wrong with a file
    try:
        texts, tensors = read_model_file(chosen.model)
    except ModelFileError:  # then it is a model of Keras, torch or ONNX, which `load` takes as well
        raise ModelFileError(
            f"{chosen.model}: not a seqcore model file; make it one: seqcore.load(path).save(...)"
        ) from None
    if os.path.exists(chosen.header) and os.path.samefile(chosen.model, chosen.header):
        raise OptionError(f"{chosen.header}: the header would replace the model")
    with open(chosen.model, "rb") as file:
        data = file.read()
    facts = list(_facts(chosen.model, texts, tensors))
    _replace(chosen.header, _header_text(name, chosen.model, data, facts))


def _checked_name(name: str | None, header: str) -> str:
    """Return the array's name: what was asked for, or a name made of the header's."""
    if name is None:
        stem = os.path.basename(header).partition(".")[0]
        name = re.sub(r"[^A-Za-z0-9_]", "_", stem)
        if not re.match("[A-Za-z_]", name) or name in _KEYWORDS:
            name = f"model_{name}"
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) or name in _KEYWORDS:
        raise OptionError(f"--name: expected an identifier of C and C++, found {name!r}")
    return name


def _header_text(name: str, source: str, data: bytes, facts: list[str]) -> Iterator[str]:
    """Yield the header in pieces.

    The bytes stand there as 64-bit words: a compiler takes those about five times as fast as
    single bytes, and with a third of the memory. Models run on little-endian machines only.
    """
    guard = f"SEQCORE_MODEL_{name}_H"
    lines = "\n".join(f" * {line}" for line in facts)
    yield (
        f"/* The model file {_commentable(os.path.basename(source))}, {len(data)} bytes, for\n"
        f" * sc_plan_open_memory({name}, {name}_size, ...).\n *\n{lines}\n */\n"
        f"#ifndef {guard}\n#define {guard}\n\n#include <stddef.h>\n#include <stdint.h>\n\n"
        f"static const size_t {name}_size = {len(data)};\n\n"
        "/* The file's bytes, in little-endian words */\n"
        f"#ifdef __cplusplus\nalignas(64)\n#else\n_Alignas(64)\n#endif\n"
        f"static const uint64_t {name}[] = {{\n"
    )
    words = np.frombuffer(data + bytes(-len(data) % 8), "<u8")
    step = _WORDS_OF_LINE * _LINES_AT_ONCE
    for start in range(0, len(words), step):
        part = words[start : start + step].tolist()
        yield "".join(
            ", ".join(map(hex, part[at : at + _WORDS_OF_LINE])) + ",\n"
            for at in range(0, len(part), _WORDS_OF_LINE)
        )
    yield "};\n\n#endif\n"


def _facts(source: str, texts: dict[str, bytes], tensors: dict[str, Any]) -> Iterator[str]:
    """Yield lines about what is in a file: the main graph, further ones, assets."""
    parts = {name.removeprefix(f"{GRAPH_TEXT}."): text for name, text in texts.items()}
    yield from _facts_of(from_graph(Model, parts.pop(GRAPH_TEXT), tensors, source, None, 0))
    assets = parts.pop(ASSETS_TEXT, b"")
    for part, text in parts.items():
        yield f"part    {part}, for sc_options.part"
        yield from _facts_of(from_graph(Model, text, tensors, f"{source}: {part}", None, 0))
    if assets:
        yield f"assets  {len(assets)} bytes of JSON"


def _facts_of(model: Model) -> Iterator[str]:
    """Yield a line for each input and output: kind, name, type and shape."""
    graph, plan = model._graph.document, model._plan
    for entry in graph["inputs"]:
        dtype = "int64" if entry["kind"] == "lengths" else entry.get("dtype", "float32")
        optional = "" if entry["kind"] == "data" else ", optional"
        shape = plan.value_shape(entry["name"])
        yield f"input   {_commentable(entry['name'])}: {dtype} {_shape_text(shape)}{optional}"
    for entry, dtype in zip(graph["outputs"], plan.output_dtypes, strict=True):
        shape = plan.value_shape(entry["value"])
        yield f"output  {_commentable(entry['name'])}: {dtype} {_shape_text(shape)}"


def _shape_text(shape: Sequence[int | None]) -> str:
    return f"({', '.join('?' if size is None else str(size) for size in shape)})"


def _commentable(text: str) -> str:
    """Return the text as it may stand in a comment: of ASCII, and without its end or a new line."""
    return ascii(text)[1:-1].replace("*/", "*\\/").replace("/*", "/\\*").replace("??/", "?\\?/")


def _replace(path: str, parts: Iterator[str]) -> None:
    """Write a text file: beside its place, then renamed, so that a failure loses nothing."""
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.path.isfile(target):
        raise OSError(errno.EINVAL, "not a regular file", path)
    temporary = f"{target}.{os.getpid()}.tmp"
    try:
        with open(temporary, "x", encoding="ascii") as file:
            try:
                file.writelines(parts)
                file.flush()
                os.replace(temporary, target)
            except BaseException:
                os.unlink(temporary)
                raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
