"""Attacks through `.keras` archives and weights without a model, one test an attack.

Zip itself is attacked in test_npz.py, HDF5 in test_hdf5.py, pickle's opcodes in test_pickles.py.
Here is what an archive adds: which members are read, HDF5 in memory, trees of weights.
"""

from __future__ import annotations

import gc
import io
import json
import os
import pickle
import random
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from seqcore.errors import ModelFileError, SeqcoreError
from seqcore.formats import read_weights
from seqcore.formats.keras_archive import read_keras_archive, read_keras_weights
from seqcore.formats.keras_trees import MAX_GROUP_DEPTH

MIB = 1 << 20
GOLDEN = Path(__file__).parents[1] / "golden"
H5, NPZ = "model.weights.h5", "model.weights.npz"
READERS = [read_keras_archive, read_keras_weights, read_weights]


def h5(make: Callable[[Any], None]) -> bytes:
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        make(file)
    return data.getvalue()


def arrays(**paths: Any) -> Callable[[Any], None]:
    """Return what writes arrays; "__" in a name stands for "/"."""
    return lambda file: [file.__setitem__(k.replace("__", "/"), v) for k, v in paths.items()]


def npy(value: object) -> bytes:
    """Write a value as np.savez writes what is no array."""
    data = io.BytesIO()
    np.save(data, np.asanyarray(value, object if isinstance(value, dict) else None))
    return data.getvalue()


def npz(**members: bytes) -> bytes:
    return zipped({"__root__.npy": npy({})} | {f"{k}.npy": v for k, v in members.items()})


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return data.getvalue()


def members(**changes: bytes | None) -> dict[str, bytes]:
    """Return the members of a sound archive; others by name before the dot, None to leave out."""
    sound: dict[str, bytes | None] = {
        "metadata.json": b'{"keras_version": "3.15.1"}',
        "config.json": b'{"class_name": "Sequential"}',
        H5: h5(arrays(layers__dense__vars__0=np.ones((3, 2), "f4"))),
    }
    names = {"metadata": "metadata.json", "config": "config.json", "h5": H5, "npz": NPZ}
    sound |= {names[key]: value for key, value in changes.items()}
    return {name: content for name, content in sound.items() if content is not None}


def archive(**changes: bytes | None) -> bytes:
    return zipped(members(**changes))


def tree(make: Callable[[Any], None]) -> bytes:
    return archive(h5=h5(make))


def pickled(value: object) -> bytes:
    return archive(h5=None, npz=npz(layers=npy({"0": np.ones(2)}), **{"layers/dense": npy(value)}))


def refused(
    path: Path, data: bytes, match: str, read: Callable[[Path], object] = read_keras_archive
) -> None:
    """Assert that a file is refused for the reason given, naming it, within its budget."""
    path.write_bytes(data)
    gc.collect()
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=match) as caught:
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"{path}: ")
    assert peak < 5 * MIB + 16 * len(data)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hostile.keras"


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", ["h5", "npz"])
def test_the_archives_of_these_attacks_are_sound(
    path: Path, read: Callable[[Path], Any], kind: str
) -> None:
    path.write_bytes(archive() if kind == "h5" else pickled({"0": np.ones((3, 2), "f4")}))
    found = read(path)
    weights = found if isinstance(found, dict) else found.weights.arrays()
    (array,) = (array for name, array in weights.items() if "dense" in name)
    np.testing.assert_array_equal(array, np.ones((3, 2), "f4"), strict=True)


# ---- Members ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left_out", "match"),
    [
        ("metadata", "'metadata.json' is missing"),
        ("config", "no config.json"),
        ("h5", r"expected one of model\.weights\.h5 or model\.weights\.npz; found neither"),
    ],
)
def test_missing_members(path: Path, left_out: str, match: str) -> None:
    refused(path, archive(**{left_out: None}), match)


def test_two_kinds_of_weights(path: Path) -> None:
    """Two readers could take two models from the file."""
    refused(path, archive(npz=npz()), "found model.weights.h5 and model.weights.npz")


@pytest.mark.parametrize("name", ["metadata.json", "config.json", H5, "assets/vocabulary.txt"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_members(path: Path, name: str) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for member, content in [*members().items(), (name, b""), (name, b"{}")]:
            file.writestr(member, content)
    for read in READERS:
        refused(path, data.getvalue(), "occurs twice", read)


@pytest.mark.parametrize("name", ["/etc/x", "../config.json", "assets/../../x", "C:/x", "a\\b"])
def test_names_that_leave_the_folder(path: Path, name: str) -> None:
    for read in READERS:
        refused(path, zipped(members() | {name: b"x"}), "not a plain relative path", read)
    assert os.listdir(path.parent) == [path.name]


def test_encryption(path: Path) -> None:
    data = bytearray(archive())
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    refused(path, bytes(data), "encrypted")


def test_other_compression(path: Path) -> None:
    refused(path, zipped(members(), zipfile.ZIP_LZMA), "expected stored")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("metadata.json", "metadata.json has .* bytes; at most 65536"),
        ("config.json", "config.json has .* bytes; at most 4194304"),
        (H5, "would unpack to more than"),
    ],
)
def test_a_compression_bomb(path: Path, name: str, match: str) -> None:
    """64 MiB of blanks in 64 KiB: refused by what it declares, before it is unpacked."""
    data = zipped(members() | {name: b" " * (64 * MIB)}, zipfile.ZIP_DEFLATED)
    assert len(data) < 100_000
    refused(path, data, match)


def test_what_is_not_asked_for_is_not_unpacked(path: Path) -> None:
    data = zipped(members() | {"assets/x": bytes(64 * MIB)}, zipfile.ZIP_DEFLATED)
    path.write_bytes(data)
    tracemalloc.start()
    try:
        assert read_keras_archive(path).version == "3.15.1"
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


# ---- JSON ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("member", ["metadata", "config"])
@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"[" * 60_000, "deeper than"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "deeper than"),
        (b'{"a": 1, "a": 2}', "repeats a key"),
        (b'{"a": {"b": 1, "b": 1}}', "repeats a key"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": Infinity}', "Infinity"),
        (b'{"a": 1e999}', "float64"),
        (b'{"a": ' + b"9" * 5000 + b"}", "64 bits"),
        (b"[]", "a JSON list"),
        (b"", "no JSON"),
        (b'{"a": 1', "no JSON"),
        (b'{"a": 1} {"b": 1}', "no JSON"),
        (b"\xef\xbb\xbf{}", "no JSON"),
        (b'{"a": "\xff"}', "no UTF-8"),
        ("{}".encode("utf-16"), "no UTF-8"),
    ],
    ids=range(15),
)
def test_hostile_json(path: Path, member: str, text: bytes, match: str) -> None:
    refused(path, archive(**{member: text}), f"{member}.json .*{match}")


@pytest.mark.parametrize("version", [3, ["3.0"], {}, True])
def test_a_version_that_is_no_text(path: Path, version: object) -> None:
    metadata = json.dumps({"keras_version": version}).encode()
    refused(path, archive(metadata=metadata), "keras_version .* is no string")


# ---- HDF5 in the archive ------------------------------------------------------------------------

INNER = rf"{H5}: ".replace(".", r"\.")


@pytest.mark.parametrize(
    "link", [h5py.SoftLink("/layers"), h5py.ExternalLink("/etc/passwd", "/")], ids=str
)
@pytest.mark.parametrize("place", ["layers/x", "layers/dense/vars/1", "x"])
def test_links(path: Path, link: object, place: str) -> None:
    def make(file: Any) -> None:
        file["layers/dense/vars/0"] = np.ones(2)
        file[place] = link

    for read in READERS:
        refused(path, tree(make), INNER + ".*soft and external links are not followed", read)


def test_a_cycle_of_groups(path: Path) -> None:
    def make(file: Any) -> None:
        inner = file.create_group("layers/a/b")
        inner["a"] = file["layers/a"]

    refused(path, tree(make), INNER + ".*another link has led to")


def test_one_array_under_two_layers(path: Path) -> None:
    def make(file: Any) -> None:
        file["layers/a/vars/0"] = np.ones(1000)
        file["layers/b/vars/0"] = file["layers/a/vars/0"]

    refused(path, tree(make), INNER + ".*another link has led to")


def test_data_in_another_file(path: Path) -> None:
    def make(file: Any) -> None:
        file.create_dataset("layers/a/vars/0", (64,), "u1", external=[("/etc/passwd", 0, 64)])

    refused(path, tree(make), INNER + ".*in another file")


def test_a_virtual_dataset(path: Path) -> None:
    def make(file: Any) -> None:
        layout = h5py.VirtualLayout((64,), "u1")
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", (64,))
        file.create_virtual_dataset("layers/a/vars/0", layout)

    refused(path, tree(make), INNER + ".*virtual dataset")


@pytest.mark.parametrize("options", [{}, {"chunks": (1 << 20,)}, {"compression": "gzip"}], ids=str)
def test_a_shape_bomb(path: Path, options: dict[str, Any]) -> None:
    def make(file: Any) -> None:
        file.create_dataset("layers/a/vars/0", (1 << 34,), "f4", **options)

    refused(path, tree(make), INNER + ".*(declares|chunks)")


def test_a_compression_bomb_within_a_dataset(path: Path) -> None:
    def make(file: Any) -> None:
        file.create_dataset("layers/a/vars/0", data=np.zeros(1 << 24, "u1"), compression="gzip")

    refused(path, tree(make), INNER + ".*a bomb")


def test_groups_nested_too_deep(path: Path) -> None:
    deep = "layers/" + "/".join("x" * 40)
    refused(path, tree(arrays(**{f"{deep}/vars/0": np.ones(1)})), INNER + ".*nested deeper than")


def test_text_and_records_are_no_weights(path: Path) -> None:
    for value in ("text", np.zeros(2, [("a", "f4")]), np.zeros(2, "V2")):
        refused(path, tree(arrays(layers__a__vars__0=value)), INNER + ".*holds no numbers")


def test_a_damaged_file_in_a_sound_archive(path: Path) -> None:
    for data in (b"", b"no HDF5", members()[H5][:-1], members()[H5][:800]):
        for read in READERS:
            refused(path, archive(h5=data), INNER + ".*damaged HDF5", read)


# ---- Trees --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [["kernel"], ["1"], ["0", "2"], ["0", "01"], ["-1"], ["0", " 1"], ["0", "١"], ["0", "1.0"]],
    ids=str,
)
def test_weights_that_are_not_numbered(path: Path, names: list[str]) -> None:
    make = arrays(**{f"layers/a/vars/{name}": np.ones(1) for name in names})
    refused(path, tree(make), INNER + ".*numbered 0, 1 ...; found")
    groups = {name: np.ones(1) for name in names}
    refused(path, pickled(groups), "numbered 0, 1 ...; found")


@pytest.mark.parametrize("place", ["x", "layers/a/0", "layers/vars_/0", "layers/a/vars/b/0"])
def test_arrays_outside_of_vars(path: Path, place: str) -> None:
    refused(path, tree(arrays(**{place: np.ones(1)})), INNER + ".*in no group 'vars'")


@pytest.mark.parametrize(
    "groups",
    [
        ["layers/a/_query_dense", "layers/a/query_dense"],
        ["layers/a/_x", "layers/a/__x"],
        ["layers/a/_"],
        ["_layer_checkpoint_dependencies/a", "layers/a"],
    ],
    ids=str,
)
def test_groups_that_become_one(path: Path, groups: list[str]) -> None:
    def make(file: Any) -> None:
        for group in groups:
            file[f"{group}/vars/0"] = np.ones(1)

    refused(path, tree(make), INNER + ".*but for underscores")


def test_numbers_that_become_one(path: Path) -> None:
    old = "_layer_checkpoint_dependencies"
    make = arrays(**{f"{old}/{name}/vars/0": np.ones(1) for name in ("x", "x_5", "x_1_2")})
    refused(path, tree(make), INNER + "layers numbered twice")


@pytest.mark.parametrize("name", [7, ["a", "b"], np.ones((2, 2))], ids=str)
def test_a_name_that_is_no_text(path: Path, name: Any) -> None:
    def make(file: Any) -> None:
        file["layers/a/vars/0"] = np.ones(1)
        file["layers/a/vars"].attrs["name"] = name

    refused(path, tree(make), INNER + ".*(expected strings|expected one name)")


# ---- npz ----------------------------------------------------------------------------------------


class Call:
    """Pickled as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


@pytest.mark.parametrize("place", ["dict", "array", "weight"])
def test_nothing_in_a_pickle_is_executed(path: Path, place: str) -> None:
    canary = path.parent / "canary"
    call = Call(os.system, f"touch {canary}")
    if place == "weight":
        data = pickled({"0": call})
    else:
        head = npy({})[:128]
        value = call if place == "array" else Call(dict, [("0", call)])
        data = archive(h5=None, npz=npz(layers=head + pickle.dumps(value, 4)))
    for read in READERS:
        refused(path, data, "found an object of|expected the pickle of one object", read)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ([1, 2], "expected one object"),
        (np.ones(3), "expected one object"),
        (np.array([{}, {}]), "expected one object"),
    ],
    ids=["list", "numbers", "two"],
)
def test_members_that_are_no_lone_object(path: Path, value: object, match: str) -> None:
    refused(path, archive(h5=None, npz=npz(layers=npy(value))), match)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ({0: np.ones(1)}, "a dict of arrays by number"),
        ({"0": 1.0}, "expected an array, found 1.0"),
        ({"0": {"0": np.ones(1)}}, "expected an array, found a dict"),
        ({"0": np.array([None])}, "object"),
    ],
    ids=["key", "number", "dict", "object"],
)
def test_dicts_of_other_things(path: Path, value: dict[Any, Any], match: str) -> None:
    refused(path, pickled(value), match)


def test_a_dict_in_itself(path: Path) -> None:
    value: dict[str, Any] = {}
    value["0"] = value
    refused(path, pickled(value), "contains itself")


def test_a_shape_bomb_in_a_pickle(path: Path) -> None:
    sound = npy({"0": np.zeros(3, "f4")})
    shape, huge = b"K\x03\x85", b"J\xff\xff\xff\x7f\x85"  # (3,) and (2**31 - 1,)
    assert sound.count(shape) == 1
    data = npz(**{"layers/dense": sound.replace(shape, huge)})
    refused(path, archive(h5=None, npz=data), "takes 8589934588 bytes, found 12")


def test_a_compression_bomb_in_the_npz(path: Path) -> None:
    """An archive in an archive shares its budget."""
    inner = zipped({"__root__.npy": npy({}), "x.npy": bytes(64 * MIB)}, zipfile.ZIP_DEFLATED)
    refused(path, archive(h5=None, npz=inner), rf"{NPZ}: .*would unpack to more than")


def test_many_copies_share_one_budget(path: Path) -> None:
    """No member is a bomb; all of them together are, deflated twice."""
    weights = npy({"0": np.zeros(20_000, "u1")})
    inner = {"__root__.npy": npy({})} | {f"layers/x_{k}.npy": weights for k in range(400)}
    within = zipped(inner, zipfile.ZIP_DEFLATED)
    data = zipped(members(h5=None, npz=within), zipfile.ZIP_DEFLATED)
    refused(path, data, "would unpack to more than")


@pytest.mark.parametrize("name", ["layers//a", "layers/", "/".join("x" * (MAX_GROUP_DEPTH + 1))])
def test_paths_that_are_none(path: Path, name: str) -> None:
    refused(
        path, archive(h5=None, npz=npz(**{name: npy({"0": np.ones(1)})})), "no path of a weight"
    )


def test_an_npz_with_other_members(path: Path) -> None:
    inner = zipped({"__root__.npy": npy({}), "x.txt": b""})
    refused(path, archive(h5=None, npz=inner), r"'x\.txt' is no \.npy")


# ---- Other files, and broken ones ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "no zip archive"),
        (b"PK\x05\x06" + bytes(18), "no zip archive"),
        (b"PK\x03\x04" + bytes(100), "not a readable zip archive"),
        (zipped({"a.npy": b""}), "no config.json"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "no zip archive"),
        (b'{"weight_map": {}}', "no zip archive"),
    ],
    ids=["empty", "empty zip", "zeros", "npz", "HDF5", "JSON"],
)
def test_foreign_files(path: Path, data: bytes, match: str) -> None:
    refused(path, data, match)
    with pytest.raises(SeqcoreError, match=path.name):
        read_keras_weights(path)


@pytest.mark.parametrize(
    "name", ["keras3.0.5_stateful.keras", "keras2.15.0_nested_npz.keras"], ids=["h5", "npz"]
)
def test_truncation(path: Path, name: str) -> None:
    data = (GOLDEN / name).read_bytes()
    lengths = {*range(0, 400, 7), *range(400, len(data), 199), *range(len(data) - 30, len(data))}
    for length in sorted(lengths):
        path.write_bytes(data[:length])
        for read in READERS:
            with pytest.raises(ModelFileError) as caught:
                read(path)
            assert path.name in str(caught.value)


@pytest.mark.parametrize("member", [H5, NPZ])
def test_truncation_within_a_member(path: Path, member: str) -> None:
    """Every length at which the weights could end, in an archive that is sound."""
    name = "keras2.15.0_nested_npz.keras" if member == NPZ else "keras2.15.0_stateful.keras"
    with zipfile.ZipFile(GOLDEN / name) as file:
        whole = {entry: file.read(entry) for entry in file.namelist()}
    data = whole[member]
    for length in {*range(0, 2048, 64), *range(2048, len(data), 499), len(data) - 1}:
        path.write_bytes(zipped(whole | {member: data[:length]}))
        with pytest.raises(ModelFileError, match=member):
            read_keras_archive(path)


@pytest.mark.parametrize("member", [H5, NPZ])
def test_changed_bytes_give_weights_or_an_error_of_ours(path: Path, member: str) -> None:
    name = "keras2.15.0_nested_npz.keras" if member == NPZ else "keras2.15.0_stateful.keras"
    with zipfile.ZipFile(GOLDEN / name) as file:
        whole = {entry: file.read(entry) for entry in file.namelist()}
    rng = random.Random(5)
    messages = []
    for _ in range(300):
        changed = bytearray(whole[member])
        for _ in range(rng.randint(1, 8)):
            value = rng.choice([0, 1, 0x7F, 0xFF, rng.randrange(256)])
            changed[rng.randrange(len(changed))] = value
        path.write_bytes(zipped(whole | {member: bytes(changed)}))
        for read in READERS:
            try:
                read(path)
            except SeqcoreError as error:
                messages.append(str(error))
    assert len(messages) > 50
    assert all(message.startswith(f"{path}: ") for message in messages)


def test_a_pipe_and_a_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path):
        for read in (read_keras_archive, read_keras_weights):
            with pytest.raises(ModelFileError, match="not a regular file"):
                read(path)


def test_memory_of_the_process(tmp_path: Path) -> None:
    """What HDF5 allocates is not seen by tracemalloc: a process of its own, with a limit."""

    def bomb(file: Any) -> None:
        file.create_dataset("layers/a/vars/0", (1 << 30,), "f4", chunks=(1 << 26,))

    def name(file: Any) -> None:
        file["layers/a/vars/0"] = np.ones(1)
        file["layers/a/vars"].attrs["name"] = "x" * 60_000

    files = {"bomb": tree(bomb), "name": tree(name), "bytes": pickled({"0": np.zeros(3)})}
    for stem, data in files.items():
        (tmp_path / f"{stem}.keras").write_bytes(data)
    code = (
        "import resource, sys, h5py, seqcore.formats.keras_archive as k\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "for path in sys.argv[1:]:\n"
        "    try: k.read_keras_archive(path)\n"
        "    except k.ModelFileError: pass\n"
        "print(peak() - before)\n"
    )
    paths = [str(path) for path in sorted(tmp_path.iterdir())]
    done = subprocess.run(
        [sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True, timeout=60
    )
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 16 * MIB
