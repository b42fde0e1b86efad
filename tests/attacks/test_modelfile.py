"""Attacks on model files and JSON, against the C core alone: no Python binding is needed.

Compiles the C tests (with sanitizers where the compiler has them) and a shared library, and
compares the library through ctypes with two independent readers: Python's ``json`` and the
``safetensors`` package. The refusals one by one are in tests/c/test_json.c and test_files.c.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = [
    ROOT / "src/core" / name for name in ("common.c", "json.c", "modelfile.c", "modelfile_write.c")
]
CC = os.environ.get("CC", "cc")
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
GRAPH = b'{"format": "seqcore", "version": 1}'
TEXTS = {"__graph__": GRAPH, "__graph__.part": b'{"a": 1}', "__assets__": b"any bytes \0\xff"}


def run(command: list[Any], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, **options
    )


def compile_c(sources: list[Path], output: Path, *flags: str) -> None:
    command = [CC, "-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", *flags]
    command += [
        f"-I{ROOT / 'include'}",
        f"-I{ROOT / 'src/core'}",
        *map(str, sources),
        "-o",
        str(output),
    ]
    done = run(command)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def sanitize(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The sanitizer flags; none where this compiler cannot link them."""
    folder = tmp_path_factory.mktemp("sanitize")
    (folder / "empty.c").write_text("int main(void) { return 0; }\n")
    command = [CC, *SANITIZE, str(folder / "empty.c"), "-o", str(folder / "empty")]
    return SANITIZE if run(command).returncode == 0 else ()


@pytest.mark.parametrize("name", ["test_json", "test_files"])
def test_c_program(name: str, sanitize: tuple[str, ...], tmp_path: Path) -> None:
    compile_c([ROOT / f"tests/c/{name}.c", *CORE], tmp_path / name, *sanitize)
    done = run([tmp_path / name])
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{name}: all passed" in done.stdout


def test_decimal_comma_changes_nothing(tmp_path: Path) -> None:
    if shutil.which("localedef") is None:
        pytest.skip("no localedef to make a locale with a decimal comma")
    locale = ["localedef", "-i", "de_DE", "-f", "UTF-8", str(tmp_path / "de_DE.UTF-8")]
    if run(locale).returncode != 0:
        pytest.skip("localedef cannot make de_DE.UTF-8")
    compile_c([ROOT / "tests/c/test_json.c", *CORE], tmp_path / "test_json")
    environment = {**os.environ, "LOCPATH": str(tmp_path), "LC_ALL": "de_DE.UTF-8"}
    done = run([tmp_path / "test_json"], env=environment)
    assert done.returncode == 0, done.stderr
    assert "note:" not in done.stdout, "the locale was not found"


# ---- The C library -------------------------------------------------------------------------------


class Error(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("message", ctypes.c_char * 512)]


class Tensor(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("dtype", ctypes.c_int),
        ("rank", ctypes.c_size_t),
        ("shape", ctypes.c_size_t * 6),
        ("data", ctypes.c_void_p),
    ]


class Text(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("text", ctypes.c_void_p), ("bytes", ctypes.c_size_t)]


class Json(ctypes.Structure):
    pass


Json._fields_ = [
    ("type", ctypes.c_int),
    ("key", ctypes.c_char_p),
    ("string", ctypes.c_char_p),
    ("number", ctypes.c_double),
    ("count", ctypes.c_size_t),
    ("child", ctypes.POINTER(Json)),
    ("next", ctypes.POINTER(Json)),
]

DTYPES = [np.dtype(np.float32), np.dtype(np.int64)]


class Refused(Exception):
    pass


class Library:
    def __init__(self, path: Path) -> None:
        self.c = ctypes.CDLL(str(path))
        self.c.sc_json_root.restype = ctypes.POINTER(Json)
        self.c.sc_file_texts.restype = ctypes.POINTER(Text)
        self.c.sc_file_tensors.restype = ctypes.POINTER(Tensor)

    def call(self, function: str, *arguments: Any) -> None:
        error = Error()
        if getattr(self.c, function)(*arguments, ctypes.byref(error)) != 0:
            raise Refused(error.message.decode())

    def parse(self, text: bytes) -> Any:
        document = ctypes.c_void_p()
        size = ctypes.c_size_t(len(text))
        allocator = (ctypes.c_void_p * 3)()  # zeros: the C library's
        self.call("sc_json_parse", text, size, b"the text", allocator, ctypes.byref(document))
        try:
            return python_value(self.c.sc_json_root(document).contents)
        finally:
            self.c.sc_json_free(document)

    def open(self, path: Path) -> tuple[dict[str, bytes], dict[str, np.ndarray]]:
        file, count = ctypes.c_void_p(), ctypes.c_size_t()
        self.call("sc_file_open", os.fsencode(path), ctypes.byref(file))
        try:
            found = self.c.sc_file_texts(file, ctypes.byref(count))
            texts = {
                text.name.decode(): ctypes.string_at(text.text, text.bytes)
                for text in found[: count.value]
            }
            tensors = self.c.sc_file_tensors(file, ctypes.byref(count))
            return texts, {tensors[i].name.decode(): array(tensors[i]) for i in range(count.value)}
        finally:
            self.c.sc_file_close(file)

    def write(self, path: Path, given: dict[str, bytes], arrays: dict[str, np.ndarray]) -> None:
        texts = (Text * len(given))()
        for text, (name, value) in zip(texts, given.items(), strict=True):
            text.name, text.bytes = name.encode(), len(value)
            text.text = ctypes.cast(ctypes.c_char_p(value), ctypes.c_void_p)
        tensors = (Tensor * len(arrays))()
        for tensor, (name, value) in zip(tensors, arrays.items(), strict=True):
            shape = (ctypes.c_size_t * 6)(*value.shape)
            dtype = DTYPES.index(value.dtype)
            tensor.name, tensor.dtype, tensor.rank = name.encode(), dtype, value.ndim
            tensor.shape, tensor.data = shape, value.ctypes.data
        sizes = ctypes.c_size_t(len(texts)), ctypes.c_size_t(len(arrays))
        self.call("sc_file_write_texts", os.fsencode(path), texts, sizes[0], tensors, sizes[1])


def array(tensor: Tensor) -> np.ndarray:
    shape, dtype = tuple(tensor.shape[: tensor.rank]), DTYPES[tensor.dtype]
    count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    return np.frombuffer(ctypes.string_at(tensor.data, count), dtype).reshape(shape)


def python_value(value: Json) -> Any:
    members = []
    child = value.child
    while child:
        members.append(child.contents)
        child = child.contents.next
    assert len(members) == value.count
    if value.type == 5:
        return {member.key.decode(): python_value(member) for member in members}
    kinds: list[Callable[[], Any]] = [
        lambda: None,
        lambda: bool(value.number),
        lambda: value.number,
        lambda: value.string.decode(),
        lambda: [python_value(member) for member in members],
    ]
    return kinds[value.type]()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    path = tmp_path_factory.mktemp("library") / "libfiles.so"
    compile_c(CORE, path, "-shared", "-fPIC")
    return Library(path)


# ---- JSON against Python's reader ----------------------------------------------------------------


def finite(text: str) -> float:
    value = float(text)
    if value - value != 0:
        raise ValueError(text)
    return value


def refuse_constant(text: str) -> None:
    raise ValueError(text)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("duplicate key")
    return dict(pairs)


def check_strings(value: Any) -> None:
    if isinstance(value, str):
        value.encode()  # half a surrogate pair raises UnicodeEncodeError, a ValueError
        if "\0" in value:
            raise ValueError("NUL")
    elif isinstance(value, dict):
        check_strings(list(value) + list(value.values()))
    elif isinstance(value, list):
        for item in value:
            check_strings(item)


def reference_parse(text: bytes) -> Any:
    value = json.loads(
        text.decode(),
        object_pairs_hook=unique,
        parse_float=finite,
        parse_int=finite,
        parse_constant=refuse_constant,
    )
    check_strings(value)
    return value


def damaged(data: bytes, dice: random.Random, tokens: bytes) -> bytes:
    work = bytearray(data)
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(work))
        span = dice.randint(1, 8)
        kind = dice.randrange(4)
        if kind == 0:
            work[at] = dice.choice(tokens)
        elif kind == 1:
            del work[at : at + span]
        elif kind == 2:
            work[at:at] = work[at : at + span]
        else:
            work[at] ^= 1 << dice.randrange(8)
    return bytes(work)


def test_json_agrees_with_python(library: Library) -> None:
    text = (
        '{"a": [1, -2.5e-3, true, false, null], "é\\u20ac": {"b": "\\ud83d\\ude00\\n\\"x"}, "": []}'
    ).encode()
    assert library.parse(text) == reference_parse(text)
    dice = random.Random(1)
    accepted = 0
    for _ in range(20000):
        sample = damaged(text, dice, b'{}[]",:0123456789.-+eE\\/u \t\n\x00\x1f\x80\xc3\xed\xff')
        try:
            expected = reference_parse(sample)
        except ValueError:
            with pytest.raises(Refused):
                library.parse(sample)
        else:
            assert library.parse(sample) == expected, sample
            accepted += 1
    assert 500 < accepted < 19500


def test_numbers_round_as_in_python(library: Library) -> None:
    dice = random.Random(2)
    texts: list[str] = []
    while len(texts) < 20000:
        (value,) = struct.unpack("<d", dice.randbytes(8))
        digits = "".join(dice.choices("0123456789", k=dice.randint(1, 30)))
        texts.append(f"{dice.randint(-9, 9)}.{digits}e{dice.randint(-330, 300)}")
        if value - value == 0:
            texts.append(repr(value))
    found = library.parse(f"[{','.join(texts)}]".encode())
    assert np.array(found).tobytes() == np.array([float(text) for text in texts]).tobytes()


# ---- Files against the safetensors package -------------------------------------------------------


def sample_arrays() -> dict[str, np.ndarray]:
    dice = np.random.default_rng(3)
    return {
        "lstm.W": dice.standard_normal((7, 12), dtype=np.float32),
        "ids": np.array([[-1, 2**62], [3, 4]], np.int64),
        "empty": np.zeros((3, 0), np.float32),
        "scalar": np.array(np.nan, np.float32),
        'odd "name" \\ \n é': np.arange(5, dtype=np.float32),
    }


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape), name
        assert found[name].tobytes() == value.tobytes(), name


def test_safetensors_reads_ours(library: Library, tmp_path: Path) -> None:
    import safetensors.numpy as numpy_files

    library.write(tmp_path / "a.safetensors", TEXTS, sample_arrays())
    found = numpy_files.load_file(tmp_path / "a.safetensors")
    assert {name: found.pop(name).tobytes() for name in TEXTS} == TEXTS
    assert_same(found, sample_arrays())


@pytest.mark.parametrize("metadata", [None, {"format": "seqcore", "é": "\n"}])
def test_we_read_safetensors(
    library: Library, tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    import safetensors.numpy as numpy_files

    texts = {name: np.frombuffer(text, np.uint8) for name, text in TEXTS.items()}
    numpy_files.save_file(
        {**sample_arrays(), **texts}, tmp_path / "a.safetensors", metadata=metadata
    )
    read, found = library.open(tmp_path / "a.safetensors")
    assert read == TEXTS
    assert_same(found, sample_arrays())


def test_foreign_safetensors_are_refused(library: Library, tmp_path: Path) -> None:
    import safetensors.numpy as numpy_files

    graph = np.frombuffer(GRAPH, np.uint8)
    for arrays, cause in [
        ({"a": np.zeros(3, np.float32)}, "not a seqcore model file"),
        ({"a": np.zeros(3, np.float16), "__graph__": graph}, 'tensor "a": dtype "F16"'),
        ({"a": np.zeros(3, np.float64), "__graph__": graph}, 'tensor "a": dtype "F64"'),
        ({"a": graph, "__graph__": graph}, 'tensor "a": dtype "U8"'),
        ({"__graph__": graph.view(np.int8)}, "expected dtype U8"),
        ({"__assets__": graph}, "not a seqcore model file"),
        ({"__graph__.part": graph, "__assets__": graph}, "not a seqcore model file"),
        ({"__graph__": graph, "__graph__.a/b": graph}, "letters, digits and _"),
        ({"__graph__": graph, "__graph__.part": graph[1:]}, 'graph "part": not valid JSON'),
        ({"__graph__": graph, "__graph__.part": np.zeros(2, np.float32)}, "expected dtype U8"),
        ({"__graph__": graph, "__assets__": np.zeros(2, np.int64)}, "expected dtype U8"),
        ({"__graph__": graph, "__other__": graph}, 'tensor "__other__": dtype "U8"'),
    ]:
        numpy_files.save_file(arrays, tmp_path / "a.safetensors")
        with pytest.raises(Refused, match=cause):
            library.open(tmp_path / "a.safetensors")


def test_no_laxer_than_safetensors(library: Library, tmp_path: Path) -> None:
    """A damaged file that opens here opens in safetensors, with the same tensors."""
    import safetensors.numpy as numpy_files

    path = tmp_path / "a.safetensors"
    library.write(path, TEXTS, sample_arrays())
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    dice = random.Random(4)
    opened = 0
    for _ in range(3000):
        head = damaged(whole[8:header], dice, b'{}[]",:0123456789 _\\abU8F3I64')
        head += b" " * (-len(head) % 8)  # else most are refused for their alignment alone
        damaged_file = len(head).to_bytes(8, "little") + head + whole[header:]
        path.write_bytes(damaged_file)
        try:
            texts, found = library.open(path)
        except Refused:
            continue
        expected = numpy_files.load(damaged_file)
        assert {name: expected.pop(name).tobytes() for name in texts} == texts
        assert_same(found, expected)
        opened += 1
    assert 50 < opened < 2950
