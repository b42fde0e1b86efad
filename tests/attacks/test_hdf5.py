"""Attacks on the HDF5 reader, one test an attack. Only errors of seqcore may come out.

Not here: configs that are honest and not supported (tests/importers/test_keras_h5.py).
"""

from __future__ import annotations

import json
import mmap
import os
import random
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from seqcore.errors import ModelFileError, SeqcoreError
from seqcore.formats import hdf5, hdf5_strings
from seqcore.formats.hdf5 import parse_config, read_h5_arrays, read_keras_h5
from seqcore.importers.keras import load_h5

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("keras2_*.h5"))
SMALL = next(path for path in GOLDEN if path.stem == "keras2_hard_sigmoid")
WEIGHT = "dense/dense/kernel:0"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copy(SMALL, tmp_path / "model.h5"))


def made(path: Path, make: Callable[[Any], None]) -> Path:
    with h5py.File(path, "w") as file:
        make(file)
    return path


def refused(path: Path, match: str, read: Callable[[Path], object] = read_h5_arrays) -> None:
    """Assert that a file is refused for the reason given, and that the message names the file."""
    with pytest.raises(ModelFileError, match=match) as caught:
        read(path)
    assert path.name in str(caught.value)


# ---- Links --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "link",
    [
        h5py.SoftLink("/model_weights/dense/dense/bias:0"),
        h5py.SoftLink("/nowhere"),
        h5py.ExternalLink("other.h5", "/secret"),
    ],
    ids=["soft", "dangling", "external"],
)
@pytest.mark.parametrize("place", [WEIGHT, "dense", "extra"])
def test_links_are_not_followed(model: Path, link: object, place: str) -> None:
    made(model.parent / "other.h5", lambda file: file.update(secret=np.ones((3, 2), "f4")))
    with h5py.File(model, "a") as file:
        if place in file["model_weights"]:
            del file["model_weights"][place]
        file["model_weights"][place] = link
    for read in (read_keras_h5, read_h5_arrays, load_h5):
        refused(model, "soft and external links", read)


def test_the_group_of_weights_is_no_link_either(model: Path) -> None:
    with h5py.File(model, "a") as file:
        file.move("model_weights", "elsewhere")
        file["model_weights"] = h5py.SoftLink("/elsewhere")
    refused(model, "soft and external links", read_keras_h5)


def test_a_cycle_of_groups(tmp_path: Path) -> None:
    def make(file: Any) -> None:
        inner = file.create_group("a/b")
        inner["a"] = file["a"]

    refused(made(tmp_path / "cycle.h5", make), "another link has led to")


def test_one_dataset_under_many_names(tmp_path: Path) -> None:
    """A thousand hard links would make a thousand arrays of one."""

    def make(file: Any) -> None:
        file["x0"] = np.ones(1000)
        file["x1"] = file["x0"]

    refused(made(tmp_path / "twice.h5", make), "another link has led to")


@pytest.mark.parametrize(
    "name", ["../../secret", "/secret", "./dense/kernel:0", "dense//kernel:0", "."]
)
def test_names_are_no_paths(model: Path, name: str) -> None:
    with h5py.File(model, "a") as file:
        file["secret"] = np.ones((3, 2), np.float32)
        file["model_weights/dense"].attrs["weight_names"] = [name, "dense/bias:0"]
    refused(model, "is no dataset", read_keras_h5)


# ---- Sizes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [None, (1 << 10,)])
def test_a_shape_bomb(tmp_path: Path, chunks: tuple[int, ...] | None) -> None:
    """A shape costs nothing to declare: without data HDF5 would make it up of fill values."""
    path = tmp_path / "bomb.h5"
    shape = (1 << 40,) if chunks is None else (1 << 24,)
    made(path, lambda file: file.create_dataset("x", shape, "f4", chunks=chunks))
    assert path.stat().st_size < 10_000
    refused(path, "declares|chunks")


def test_a_chunk_that_is_not_there(tmp_path: Path) -> None:
    def make(file: Any) -> None:
        file.create_dataset("x", (64,), "f4", chunks=(16,))[:48] = 1

    refused(made(tmp_path / "hole.h5", make), "has 4 chunks and stores 3")


def test_more_declared_than_the_file_holds(model: Path) -> None:
    """Datasets may lie over each other in a file; then their sum exceeds it."""
    with h5py.File(model) as file:
        sizes = [array.nbytes for array in read_h5_arrays(model).values()]
        with open(model, "rb") as raw:
            data = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)
        reader = hdf5.H5Reader(h5py, file, str(model), data)
        reader.bytes_left = sum(sizes) - 1
        datasets = reader.walk(file.id)[1]
        with pytest.raises(ModelFileError, match="more than the file holds"):
            [reader.array(name, dataset) for name, dataset in datasets.items()]


def test_a_compression_bomb_within_its_shape(tmp_path: Path) -> None:
    def make(file: Any) -> None:
        file.create_dataset("x", (1 << 26,), "u1", chunks=(1 << 23,), compression="gzip")[:] = 0

    path = made(tmp_path / "bomb.h5", make)
    assert path.stat().st_size < 200_000
    refused(path, "a bomb")


def test_a_chunk_that_inflates_past_its_size(tmp_path: Path) -> None:
    def make(file: Any) -> None:
        data = file.create_dataset("x", (1 << 16,), "u1", chunks=(1 << 16,), compression="gzip")
        data.id.write_direct_chunk((0,), zlib.compress(bytes(1 << 24)))

    refused(made(tmp_path / "bomb.h5", make), "inflates to more: a bomb")


def test_a_damaged_chunk(tmp_path: Path) -> None:
    def make(file: Any) -> None:
        data = file.create_dataset("x", (1 << 10,), "u1", chunks=(1 << 10,), compression="gzip")
        data.id.write_direct_chunk((0,), b"no deflate stream")

    refused(made(tmp_path / "damaged.h5", make), "a damaged chunk")


def test_a_chunk_far_larger_than_its_dataset(tmp_path: Path) -> None:
    """HDF5 allocates a whole chunk to read one element of it."""

    def make(file: Any) -> None:
        data = file.create_dataset(
            "x", (1,), "u1", maxshape=(None,), chunks=(1 << 30,), compression="gzip"
        )
        data.id.write_direct_chunk((0,), zlib.compress(b"x"))

    refused(made(tmp_path / "chunk.h5", make), "a bomb")


@pytest.mark.parametrize("options", [{"compression": "lzf"}, {"scaleoffset": 4}], ids=str)
def test_other_filters_are_not_run(tmp_path: Path, options: dict[str, Any]) -> None:
    def make(file: Any) -> None:
        file.create_dataset("x", data=np.arange(100), chunks=(10,), **options)

    refused(made(tmp_path / "filter.h5", make), "only gzip, shuffle and fletcher32")


@pytest.mark.parametrize("bound", ["MAX_OBJECTS", "MAX_LINK_DEPTH", "MAX_CHUNKS"])
def test_counts_are_bounded(tmp_path: Path, bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(file: Any) -> None:
        file.create_dataset("a/b/c/d/e/f/g/h/x", data=np.ones(64), chunks=(2,))

    path = made(tmp_path / "many.h5", make)
    assert read_h5_arrays(path)
    monkeypatch.setattr(hdf5, bound, 8)
    refused(path, "more than 8|deeper than 8")


# ---- Data in other places -----------------------------------------------------------------------


def test_external_storage(tmp_path: Path) -> None:
    """CVE-2026-1669: a dataset whose bytes are another file's, /etc/passwd for one."""
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(range(64)))

    def make(file: Any) -> None:
        file.create_dataset("x", (64,), "u1", external=[(str(secret), 0, 64)])

    refused(made(tmp_path / "external.h5", make), "in another file")


def test_virtual_datasets(tmp_path: Path) -> None:
    made(tmp_path / "source.h5", lambda file: file.update(data=np.ones(10)))

    def make(file: Any) -> None:
        layout = h5py.VirtualLayout((10,), np.float64)
        layout[:] = h5py.VirtualSource(str(tmp_path / "source.h5"), "data", (10,))
        file.create_virtual_dataset("x", layout)

    refused(made(tmp_path / "virtual.h5", make), "virtual")


# ---- Attributes and the config ------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [3.5, np.ones(1000), np.array([["a"], ["b"]], "S"), ["a", "b"], np.bytes_(b"\xff\xfe")],
    ids=["number", "numbers", "matrix", "two", "no text"],
)
def test_a_config_that_is_no_text(model: Path, value: object) -> None:
    with h5py.File(model, "a") as file:
        file.attrs["model_config"] = value
    refused(model, "model_config", read_keras_h5)


def patched(path: Path, change: Callable[[bytearray, int], None]) -> Path:
    """Change a file that has one heap; `change` gets its bytes and where the heap is."""
    data = bytearray(path.read_bytes())
    heap = data.index(b"GCOL")
    assert data.count(b"GCOL") == 1
    change(data, heap)
    path.write_bytes(data)
    return path


@pytest.fixture
def strings(tmp_path: Path) -> Path:
    """A file with a long string, and a list of short ones."""

    def make(file: Any) -> None:
        file.attrs["model_config"] = json.dumps({"text": "x" * 3000})
        file.create_group("model_weights").attrs["layer_names"] = ["a", "bcd", "ef"]
        for name in ("a", "bcd", "ef"):
            file["model_weights"].create_group(name).attrs["weight_names"] = np.array([], "f8")

    path = made(tmp_path / "strings.h5", make)
    assert list(read_keras_h5(path).weights) == ["a", "bcd", "ef"]
    return path


def references(heap: int, *pairs: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("<IQI", length, heap, index) for length, index in pairs)


@pytest.mark.parametrize("length", [4, 9, 1 << 20, 0xFF00_0003, 0xFFFF_FFFF])
def test_a_string_longer_than_what_the_heap_holds(strings: Path, length: int) -> None:
    """HDF5 2.0 allocates what the reference says."""

    def change(data: bytearray, heap: int) -> None:
        at = data.index(references(heap, (3, 3)))
        data[at : at + 16] = references(heap, (length, 3))

    refused(patched(strings, change), "bytes of a string of 3", read_keras_h5)


@pytest.mark.parametrize("target", [(3, 9), (3, 0), (3, 0xFFFF_FFFF)])
def test_a_string_that_is_not_in_the_heap(strings: Path, target: tuple[int, int]) -> None:
    def change(data: bytearray, heap: int) -> None:
        at = data.index(references(heap, (3, 3)))
        data[at : at + 16] = references(heap, target)

    refused(patched(strings, change), "has no object", read_keras_h5)


@pytest.mark.parametrize("address", [0, 8, 1 << 40, (1 << 64) - 1])
def test_a_heap_that_is_elsewhere(strings: Path, address: int) -> None:
    def change(data: bytearray, heap: int) -> None:
        at = data.index(references(heap, (3, 3)))
        data[at : at + 16] = references(address, (3, 3))

    refused(patched(strings, change), "no heap at|past the end", read_keras_h5)


def test_strings_that_share_one_long_string(strings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """References are 16 bytes each, and may all be to the same megabyte."""

    def change(data: bytearray, heap: int) -> None:
        (length,) = struct.unpack_from("<Q", data, heap + 16 + 8)
        assert length > 3000
        at = data.index(references(heap, (3, 3))) - 16  # the second of three
        data[at : at + 48] = references(heap, *[(length, 1)] * 3)

    monkeypatch.setattr(hdf5, "MAX_STRING_BYTES", 8000)
    refused(patched(strings, change), "its strings are too long", read_keras_h5)


def test_free_space_of_no_size(strings: Path) -> None:
    """HDF5 2.0 loops for ever in such a heap. Free space is last, so here nothing is lost."""

    def change(data: bytearray, heap: int) -> None:
        (size,) = struct.unpack_from("<Q", data, heap + 8)
        at = heap + 16
        while struct.unpack_from("<H", data, at)[0]:
            at += 16 + -(-struct.unpack_from("<Q", data, at + 8)[0] // 8) * 8
        assert at < heap + size
        struct.pack_into("<Q", data, at + 8, 0)

    assert list(read_keras_h5(patched(strings, change)).weights) == ["a", "bcd", "ef"]


def test_an_object_past_the_end_of_its_heap(strings: Path) -> None:
    def change(data: bytearray, heap: int) -> None:
        struct.pack_into("<Q", data, heap + 16 + 8, 1 << 62)

    refused(patched(strings, change), "has an object of", read_keras_h5)


def test_an_object_header_that_goes_on_in_itself(
    strings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5_strings, "_MAX_HEADER", 100)
    refused(strings, "an object header of more than 100 bytes", read_keras_h5)
    header = struct.pack("<BxHII4x", 1, 1, 1, 24)
    loop = header + struct.pack("<HHB3xQQ", 0x10, 16, 0, 16, 24)
    (strings.parent / "loop").write_bytes(loop)
    with open(strings.parent / "loop", "rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with data, pytest.raises(ValueError, match="more than 100 bytes"):
        hdf5_strings.HeapStrings(data, 0).read(0, b"x", 1, 10)


def test_too_many_names(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "MAX_NAMES", 2)
    refused(model, "at most 2 strings", read_keras_h5)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[" * 200_000, "deeper than"),
        ('{"a":' * 100 + "1" + "}" * 100, "deeper than"),
        ("[" * 100 + "]" * 100, "deeper than"),
        ("[[],[]]", "a JSON list"),
        ("3", "a JSON int"),
        ("", "no JSON"),
        ("{'a': 1}", "no JSON"),
        ('{"a": 1, "a": 2}', "repeats a key"),
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "Infinity"),
        ('{"a": 1e999}', "float64"),
        ('{"a": ' + "9" * 5000 + "}", "64 bits"),
        ('{"a": "' + "x" * hdf5.MAX_CONFIG_BYTES + '"}', "characters"),
        ('{"a": 1} {"b": 2}', "no JSON"),
    ],
    ids=range(14),
)
def test_hostile_json(text: str, match: str) -> None:
    with pytest.raises(ModelFileError, match=f"here: model_config .*{match}"):
        parse_config(text, "here: model_config")


def test_the_config_of_a_file_goes_through_the_same_bounds(model: Path) -> None:
    with h5py.File(model, "a") as file:
        file.attrs["model_config"] = "[" * 60_000
    refused(model, "deeper than", read_keras_h5)


def test_lists_and_groups_must_agree(model: Path, tmp_path: Path) -> None:
    def damaged(change: Callable[[Any], None]) -> Path:
        copy = Path(shutil.copy(model, tmp_path / "damaged.h5"))
        with h5py.File(copy, "a") as file:
            change(file["model_weights"])
        return copy

    def names(*values: str) -> Callable[[Any], None]:
        return lambda group: group["dense"].attrs.__setitem__("weight_names", list(values))

    def layers(*values: str) -> Callable[[Any], None]:
        return lambda group: group.attrs.__setitem__("layer_names", list(values))

    kernel, bias = "dense/kernel:0", "dense/bias:0"
    refused(damaged(names(kernel)), "no layer lists", read_keras_h5)
    refused(damaged(names(kernel, bias, bias)), "listed twice", read_keras_h5)
    refused(damaged(names(kernel, bias, "dense/x")), "no dataset", read_keras_h5)
    refused(damaged(names(kernel, bias, "dense")), "no dataset", read_keras_h5)
    refused(damaged(layers("dense", "dense")), "twice", read_keras_h5)
    refused(damaged(layers("dense", "nobody")), "no group", read_keras_h5)
    refused(damaged(layers("dense")), "no layer lists", read_keras_h5)
    refused(damaged(lambda group: group.attrs.pop("layer_names")), "no attribute", read_keras_h5)

    def textual(group: Any) -> None:
        del group[WEIGHT]
        group[WEIGHT] = "text"

    refused(damaged(textual), "no numbers", read_keras_h5)


def test_no_weights_at_all(model: Path) -> None:
    with h5py.File(model, "a") as file:
        del file["model_weights"]
    refused(model, "no group 'model_weights'", read_keras_h5)
    with h5py.File(model, "a") as file:
        file["model_weights"] = np.ones(3)
    refused(model, "is no group", read_keras_h5)


# ---- Broken files -------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"PK\3\4 no HDF5", bytes(5000)])
def test_foreign_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign.h5"
    path.write_bytes(content)
    for read in (read_keras_h5, read_h5_arrays):
        refused(path, "foreign, truncated or damaged", read)


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    """A FIFO without a writer would wait for ever."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path):
        refused(path, "regular file", read_keras_h5)


def test_truncation(model: Path) -> None:
    data = model.read_bytes()
    for length in [*range(0, 2048, 16), *range(2048, len(data), 509), len(data) - 1]:
        model.write_bytes(data[:length])
        for read in (read_keras_h5, read_h5_arrays):
            refused(model, "expected|truncated|declares", read)


def test_changed_bytes_give_a_model_or_an_error_of_ours(model: Path) -> None:
    """Most changes hit weights or free space; none may bring out an error of another kind."""
    data = model.read_bytes()
    rng = random.Random(5)
    messages = []
    for _ in range(400):
        changed = bytearray(data)
        for _ in range(rng.randint(1, 8)):
            changed[rng.randrange(len(data))] = rng.choice([0, 1, 0x7F, 0xFF, rng.randrange(256)])
        model.write_bytes(changed)
        try:
            load_h5(model)
        except SeqcoreError as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert all(model.name in message for message in messages)


def test_changed_configs_give_a_model_or_an_error_of_ours(model: Path) -> None:
    """Every value of the config replaced by one of another type, one at a time."""
    with h5py.File(model) as file:
        config = json.loads(file.attrs["model_config"])
    weights = read_keras_h5(model).weights
    paths = list(_paths(config))
    assert len(paths) > 100
    messages = []
    for path in paths:
        for value in (None, -1, 1 << 40, 0.5, "x", [], [1, 2], {}, True):
            changed = _replaced(config, path, value)
            file = hdf5.KerasH5("model.h5", "2.15.0", changed, weights)
            try:
                hdf5_model(file)
            except SeqcoreError as error:
                messages.append(str(error))
    assert len(messages) > len(paths)
    assert all("model.h5" in message for message in messages)


def hdf5_model(file: hdf5.KerasH5) -> object:
    """Import what was read, without a file."""
    patch = pytest.MonkeyPatch()
    with patch.context() as context:
        context.setattr("seqcore.importers.keras.read_keras_h5", lambda _: file)
        return load_h5("model.h5")


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Any:
    if path:
        yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        yield from _paths(item, (*path, key))


def _replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = _replaced(value[path[0]], path[1:], new)
    return copy
