"""A module on sys.path whose import and calls leave a file behind, and how pickles reach for it.

`from canaries import canary` makes every test of a file fail that imports or calls it.
"""

from __future__ import annotations

import struct
import sys

import pytest

__all__ = ["SING", "canary", "named", "stacked", "text"]


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def stacked(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


@pytest.fixture(autouse=True)
def canary(tmp_path, monkeypatch):
    """A module that tells on whoever imports it or calls into it."""
    folder = tmp_path / "canary"
    folder.mkdir()
    sung = folder / "sung"
    (folder / "seqcore_canary.py").write_text(
        f"def sing(*arguments):\n    open({str(sung)!r}, 'a').write('x')\n"
        "class Bird:\n"
        "    def __init__(self, *a): sing()\n"
        "    def __setstate__(self, s): sing()\n"
        "    def __setitem__(self, k, v): sing()\n"
        "    def append(self, v): sing()\n"
        "sing()\n"
    )
    monkeypatch.syspath_prepend(folder)
    yield sung
    imported = sys.modules.pop("seqcore_canary", None)
    assert imported is None
    assert not sung.exists()


SING = {
    "reduce": named("seqcore_canary", "sing") + b")R",
    "stack_global": stacked("seqcore_canary", "sing") + b")R",
    "import alone": named("seqcore_canary", "sing"),
    "newobj": named("seqcore_canary", "Bird") + b")\x81",
    "newobj_ex": named("seqcore_canary", "Bird") + b")}\x92",
    "build": named("seqcore_canary", "Bird") + b")\x81}" + text("a") + b"K\x01sb",
    "build class": named("seqcore_canary", "Bird") + b"}" + text("a") + b"K\x01sb",
    "build slots": named("seqcore_canary", "Bird") + b")\x81N}" + text("a") + b"K\x01s\x86b",
    "inst": b"(iseqcore_canary\nsing\n",
    "obj": b"(" + named("seqcore_canary", "Bird") + b"o",
    "setitem": named("seqcore_canary", "Bird") + b")\x81K\x01K\x02s",
    "setitems": named("seqcore_canary", "Bird") + b")\x81(K\x01K\x02u",
    "append": named("seqcore_canary", "Bird") + b")\x81K\x01a",
    "appends": named("seqcore_canary", "Bird") + b")\x81(K\x01e",
    "additems": named("seqcore_canary", "Bird") + b")\x81(K\x01\x90",
    "dotted": stacked("seqcore_canary", "Bird.__init__") + b")R",
    "import by name": named("importlib", "import_module") + text("seqcore_canary") + b"\x85R",
    "eval": named("builtins", "eval") + text("__import__('seqcore_canary')") + b"\x85R",
    "getattr": named("builtins", "getattr") + named("os", "x") + text("system") + b"\x86R)R",
    "defaultdict factory": named("collections", "defaultdict")
    + named("seqcore_canary", "sing") + b"\x85R",
    "codec": named("_codecs", "encode") + text("a") + text("seqcore_canary") + b"\x86R",
    "ndarray subclass": named("numpy._core.multiarray", "_reconstruct")
    + named("seqcore_canary", "Bird") + b"K\x00\x85C\x01b\x87R",
    "dtype of a class": named("numpy", "dtype") + named("seqcore_canary", "Bird") + b"\x85R",
    "numpy loads": named("numpy", "loads") + b"C\x00\x85R",
    "persid": b"Pseqcore_canary.sing\n",
    "binpersid": text("seqcore_canary.sing") + b"Q",
    "ext1": b"\x82\x01",
    "ext4": b"\x84\x01\x00\x00\x00",
    "call a call": named("seqcore_canary", "sing") + b")R)R",
    "call an array": named("numpy", "ndarray") + b")R",
    "call a string": text("seqcore_canary") + b")R",
}  # fmt: skip
