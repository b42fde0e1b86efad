"""Attacks through the files that torch writes beside plain archives of weights.

Streams of before 1.6, whole modules and TorchScript, written piece by piece. Plain archives are in
test_torch_archive.py, the opcodes in test_pickles.py, indexes of shards in tests/formats.
"""

from __future__ import annotations

import gc
import io
import sys
import tracemalloc
import zipfile
from contextlib import suppress

import numpy as np
import pytest
import torch
from canaries import SING, canary, named, text  # noqa: F401 (a fixture that all tests use)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_streams import SYSTEM, Storage, archive, legacy, pickled, stored, tensor

import seqcore as sc
from seqcore.errors import ModelFileError, SeqcoreError
from seqcore.formats import read_weights
from seqcore.formats.torch_modules import read_module

MIB = 1 << 20
READERS = [read_weights, read_module, sc.load]


@pytest.fixture
def read(tmp_path):
    def read(data: bytes, reader=read_weights, **options):
        (tmp_path / "w.pt").write_bytes(data)
        return reader(tmp_path / "w.pt", **options)

    return read


def peak(function) -> int:
    """The most bytes that a call holds at once."""
    gc.collect()
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# Bytes of a module, of which each part can be anything


def module(parameters=b"}", buffers=b"}", children=b"}", more=b"", kind="Linear") -> bytes:
    """A module on the stack, by its opcodes."""
    parts = text("_parameters") + parameters + text("_buffers") + buffers
    return (
        named("torch.nn.modules.linear", kind)
        + b")\x81}("
        + parts
        + text("_modules")
        + children
        + more
        + b"ub"
    )


def in_dict(**values: bytes) -> bytes:
    return b"}(" + b"".join(text(name) + value for name, value in values.items()) + b"u"


def stream(value: bytes) -> bytes:
    return b"\x80\x04" + value + b"."


# The storage of an archive, whose persistent id has no views
ARCHIVED = Storage("storage", torch.FloatStorage, "0", "cpu", 24)
LEGACY_TENSOR, ARCHIVE_TENSOR = (pickled(tensor(s))[2:-1] for s in (None, ARCHIVED))  # as opcodes
CODE = 'class M(Module):\n  __parameters__ = ["w", ]\n  __buffers__ = []\n  w : Tensor\n'


def script(data_pkl: bytes, code: str = CODE, **members: bytes) -> bytes:
    return archive(
        data_pkl, **{"constants.pkl": b"\x80\x02).", "code/__torch__.py": code.encode()} | members
    )


def object_of(name: str = "M", state: bytes | None = None) -> bytes:
    """An object of TorchScript on the stack."""
    state = in_dict(w=ARCHIVE_TENSOR) if state is None else state
    return named("__torch__", name) + b")\x81" + state + b"b"


def test_the_files_of_these_attacks_are_sound(read):
    values = np.arange(24, dtype=np.float32).reshape(4, 6)
    whole = module(in_dict(weight=LEGACY_TENSOR, bias=b"N"))
    for data, name in [
        (legacy({"w": tensor()}), "w"),
        (legacy(stream(whole)), "weight"),
        (archive(stream(whole.replace(LEGACY_TENSOR, ARCHIVE_TENSOR))), "weight"),
        (script(stream(object_of())), "w"),
    ]:
        found = read(data)
        assert list(found) == [name]
        assert np.array_equal(found[name], values)
    loaded = torch.load(io.BytesIO(legacy({"w": tensor()})))["w"]
    assert np.array_equal(loaded.numpy(), values)


# Nothing is imported and nothing is called

PLACES = {
    "the value": lambda sing: sing,
    "in a dict": lambda sing: in_dict(w=sing),
    "a parameter": lambda sing: module(in_dict(w=sing)),
    "a buffer": lambda sing: module(buffers=in_dict(w=sing)),
    "a child": lambda sing: module(children=in_dict(a=sing)),
    "a child's": lambda sing: module(children=in_dict(a=module(in_dict(w=sing)))),
    "an option": lambda sing: module(more=text("units") + sing),
    "a hook": lambda sing: module(more=text("_forward_hooks") + in_dict(x=sing)),
    "the state": lambda sing: named("torch.nn", "Linear") + b")\x81" + sing + b"b",
    "a dimension": lambda sing: LEGACY_TENSOR.replace(b"K\x04K\x06\x86", sing + b"K\x06\x86", 1),
}
FORMS = {
    "zip": lambda value: archive(stream(value.replace(LEGACY_TENSOR, ARCHIVE_TENSOR))),
    "legacy": lambda value: legacy(stream(value), None if LEGACY_TENSOR in value else {}),
    "torchscript": lambda value: script(stream(object_of(state=in_dict(w=value)))),
    "torchscript's object": lambda value: script(stream(value)),
    "constants": lambda value: script(stream(object_of()), **{"constants.pkl": stream(value)}),
    "magic": lambda value: stream(value) + legacy({"w": tensor()})[15:],
    "system": lambda value: _with_system(stream(value)),
    "keys": lambda value: _with_keys(stream(value)),
}


def _with_system(data: bytes) -> bytes:
    sound = legacy({"w": tensor()})
    return sound.replace(pickled(SYSTEM), data)


def _with_keys(data: bytes) -> bytes:
    return legacy({"w": tensor()}).replace(pickled(["0"]), data)


def test_the_canary_sings_for_torch(canary):  # noqa: F811
    data = legacy(stream(in_dict(w=SING["reduce"])), {})
    torch.load(io.BytesIO(data), weights_only=False)
    assert canary.read_text() == "xx"
    canary.unlink()
    del sys.modules["seqcore_canary"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_imported_or_called(read, form, place):
    for sing in SING.values():
        data = FORMS[form](PLACES[place](sing))
        for reader in READERS:
            with suppress(SeqcoreError):  # some are inert, and never asked for
                read(data, reader)
        assert "seqcore_canary" not in sys.modules


# Streams that lie


@pytest.mark.parametrize(
    ("storages", "match"),
    [
        ({"0": (25, bytes(100))}, "96 bytes expected, 25 elements of 4 stored"),
        ({"0": (23, bytes(92))}, "96 bytes expected, 23 elements"),
        ({"0": (-24, bytes(96))}, "96 bytes expected, -24 elements"),
        ({"0": (2**62, bytes(96))}, "96 bytes expected, 4611686018427387904 elements"),
        ({"0": (24, bytes(95))}, "truncated: storage '0' of 96 bytes, 95 left"),
        ({"0": (24, b"")}, "truncated: storage '0' of 96 bytes, 0 left"),
        ({"0": (24, bytes(97))}, "1 bytes follow the last storage"),
        ({}, "storage '0' is missing from the file"),
        ({"1": (24, bytes(96))}, "storage '1' is there twice, or is no tensor's"),
        ({"0": (24, bytes(96)), "1": (1, bytes(4))}, "storage '1' is there twice, or is no"),
    ],
)
def test_storages_that_lie(read, storages, match):
    with pytest.raises(ModelFileError, match=rf"w\.pt: .*{match}"):
        read(legacy({"w": tensor()}, storages))


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        (["0", "0"], "storage '0' is there twice"),
        ([0], "storage 0 is there twice, or is no tensor's"),
        ([None], "storage None"),
        ([["0"]], "storage a list"),
        ({"0": 1}, "keys are a dict, expected a list"),
        ("0", "expected a list"),
        ([], "104 bytes follow the last storage"),
    ],
)
def test_keys_that_lie(read, keys, match):
    with pytest.raises(ModelFileError, match=match):
        read(legacy({"w": tensor()}, keys=keys))


def test_claims_are_compared_with_the_file_before_memory_is_asked_for(read):
    def attack(count):
        huge = tensor(stored(count=count), 0, (count,), (1,))
        with pytest.raises(ModelFileError, match=r"truncated: storage '0'|overflows|elements"):
            read(legacy({"w": huge}, {"0": (count, bytes(96))}), max_bytes=1 << 60)

    for count in (2**30, 2**40, 2**61, 2**62):
        assert peak(lambda count=count: attack(count)) < 2 * MIB


def test_two_sizes_of_one_storage(read):
    both = {"a": tensor(), "b": tensor(stored(kind=torch.DoubleStorage))}
    with pytest.raises(ModelFileError, match="storage '0' has 96 bytes, then 192"):
        read(legacy(both))
    both = {"a": tensor(), "b": tensor(stored(kind=torch.HalfStorage, count=48), 0, (48,), (1,))}
    with pytest.raises(ModelFileError, match="'0' has elements of two sizes"):
        read(legacy(both))


@pytest.mark.parametrize(
    ("offset", "size", "stride", "match"),
    [
        (0, (25,), (1,), "reach element 24"),
        (2**61, (1,), (1,), "reach element"),
        (0, (2, 2), (2**61, 2**61), "reach element"),
        (23, (3,), (-1,), "strides"),
        (0, (4,), (0,), "stride 0"),
        (-1, (1,), (1,), "offset"),
        (0, (2**62,), (1,), "overflows"),
        (0, (-1,), (1,), "not a tuple of sizes"),
    ],
)
def test_views_that_leave_a_storage_of_a_stream(read, offset, size, stride, match):
    with pytest.raises(ModelFileError, match=match):
        read(legacy({"w": tensor(None, offset, size, stride)}))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"version": 1000}, "torch's protocol 1000, expected 1001"),
        ({"version": "x"}, "torch's protocol 'x'"),
        ({"magic": [1]}, "pickle"),  # taken for a pickle of something else
    ],
)
def test_heads_that_lie(read, options, match):
    with pytest.raises(ModelFileError, match=match):
        read(legacy({"w": tensor()}, **options))


@pytest.mark.parametrize(
    "pid",
    [
        ("storage", torch.FloatStorage, "0", "cpu", 24),
        ("storage", torch.FloatStorage, "../0", "cpu", 24, None),
        ("storage", torch.FloatStorage, "0", "cpu", -24, None),
        ("storage", torch.FloatStorage, "0", "cpu", 2**70, None),
        ("storage", "FloatStorage", "0", "cpu", 24, None),
        ("storage",),
        "storage",
        ("module", torch.nn.Linear),
    ],
)
def test_persistent_ids_that_lie(read, pid):
    with pytest.raises(ModelFileError, match=r"w\.pt: "):
        read(legacy({"w": tensor(Storage(*pid) if isinstance(pid, tuple) else Storage(pid))}))


def test_streams_without_end(read):
    # Only five pickles are read, of however many; and one of them ends where its limit is.
    sound = legacy({"w": tensor()})
    with pytest.raises(ModelFileError, match="1500000 bytes follow the last storage"):
        read(sound + b"\x80\x02N." * 375_000)
    head = sound[: sound.index(pickled(SYSTEM))]
    with pytest.raises(ModelFileError, match="the storages' keys are None, expected a list"):
        read(head + b"\x80\x02N." * 375_000)
    with pytest.raises(ModelFileError, match="truncated: it has no end"):
        read(head + b"\x80\x02" + b"N" * 100_000)
    with pytest.raises(ModelFileError, match="values on the stack"):
        read(head + b"\x80\x02" + b"N" * 1_000_001)


# Memory and depth


def test_calls_of_what_the_memo_holds_are_charged(read):
    # A list of a million parts, given to what copies it a hundred thousand times.
    pairs = b"](" + (text("a") + b"K\x01\x86") * 20_000 + b"eq\x01"
    for name in ("OrderedDict", "Counter"):
        data = b"](" + pairs + (named("collections", name) + b"h\x01\x85R") * 5_000 + b"e"
        with pytest.raises(ModelFileError, match=r"unpacks to more than|expected a dict"):
            read(archive(stream(data)), max_bytes=64 * MIB)
    data = b"](" + pairs + (named("builtins", "set") + b"h\x01\x85R") * 5_000 + b"e"
    with pytest.raises(ModelFileError, match="unpacks to more than"):
        read(archive(stream(data)), max_bytes=64 * MIB)


def nested(depth: int, leaf: bytes) -> bytes:
    """Modules in modules, whose states are set when their children are done."""
    start = named("torch.nn", "A") + b")\x81}(" + text("_parameters") + b"}" + text("_buffers")
    start += b"}" + text("_modules") + b"}" + text("a")
    return start * depth + leaf + b"sub" * depth


@pytest.mark.parametrize("depth", [101, 5_000, 30_000])
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_modules_nested_without_end(read, depth, form):
    data = FORMS[form](nested(depth, module(in_dict(w=LEGACY_TENSOR))))
    for reader in READERS:
        with pytest.raises(ModelFileError, match="nested more than 100 deep"):
            read(data, reader, **({} if reader is sc.load else {"max_bytes": 1 << 30}))


def test_modules_nested_within_bounds(read):
    data = FORMS["zip"](nested(90, module(in_dict(w=LEGACY_TENSOR))))
    assert list(read(data)) == [".".join("a" * 90) + ".w"]
    tree = read(data, read_module)
    for _ in range(90):
        tree = tree.children["a"]
    assert tree.arrays["w"].shape == (4, 6)


def test_a_module_that_contains_itself(read):
    inside = module(children=b"}q\x07").replace(b")\x81", b")\x81q\x05", 1)
    data = in_dict(m=inside) + text("x") + b"h\x07" + text("back") + b"h\x05ss"
    with pytest.raises(ModelFileError, match="contains itself"):
        read(archive(stream(data)))
    with pytest.raises(ModelFileError, match="contains itself"):
        read(archive(stream(data)), read_module, prefix="m")


def test_modules_that_are_shared_without_end(read):
    value = torch.nn.Sequential(torch.nn.Linear(1, 1))
    for _ in range(40):
        value = torch.nn.Sequential(value, value)
    data = io.BytesIO()
    torch.save(value, data)
    with pytest.raises(ModelFileError, match="more than"):
        read(data.getvalue())
    tree = read(data.getvalue(), read_module)
    assert tree.children["0"] is tree.children["1"]


# Modules that are none


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (module(in_dict(w=b"]")), "'w' in its _parameters is a list"),
        (module(in_dict(w=b"K\x01")), "'w' in its _parameters is a int"),
        (module(b"}(K\x01" + LEGACY_TENSOR + b"u"), "1 in its _parameters"),
        (module(in_dict(w=named("os", "system"))), r"expected w of a .*os\.system"),
        (module(children=in_dict(a=b"]")), "its child 'a' is a list, which is no module"),
        (module(children=in_dict(a=LEGACY_TENSOR)), "its child 'a' is a PendingTensor"),
        (module(children=in_dict(a=named("os", "system") + b")R")), r"'a' is a os\.system"),
        (module(children=b"}(K\x01" + module() + b"u"), "its child 1 is"),
        (module(in_dict(a=LEGACY_TENSOR), in_dict(a=LEGACY_TENSOR)), "has 'a' twice"),
        (module(in_dict(a=LEGACY_TENSOR), children=in_dict(a=module())), "has 'a' twice"),
        (module() + b"}b", "whose state is set twice"),
        (module(b"]"), "no arrays|arrays by name"),
        (named("torch.nn", "Linear") + b")\x81}b", "arrays by name"),
        (named("torch.nn", "Linear"), "arrays by name"),
    ],
)
def test_modules_that_are_none(read, value, match):
    for form in ("zip", "legacy"):
        with pytest.raises(ModelFileError, match=rf"w\.pt: .*({match})"):
            read(FORMS[form](value))
        if "has 'a' twice" not in match:  # a tree has both apart
            with pytest.raises(ModelFileError, match=r"w\.pt: "):
                read(FORMS[form](value), read_module)


def test_options_may_be_nonsense(read):
    loop = b"]q\x01h\x01a"
    more = text("loop") + loop + text("deep") + b"]" * 300 + b"a" * 299 + text("units") + b"K\x07"
    tree = read(FORMS["zip"](module(more=more)), read_module)
    assert tree.options == {"units": 7}
    # and what cannot be told to be hooks says so
    for hooks in (b"]", b"K\x01", named("os", "system")):
        data = FORMS["zip"](module(more=text("_forward_hooks") + hooks))
        assert "forward hooks" in read(data, read_module).changed


# TorchScript that lies


@pytest.mark.parametrize(
    ("value", "code", "match"),
    [
        (object_of("N"), CODE, r"__torch__\.N, whose class is not in"),
        (object_of(), "", r"__torch__\.M, whose class is not in"),
        (named("__torch__.a.b", "M") + b")\x81}b", CODE, r"__torch__\.a\.b\.M, whose class the"),
        (object_of(state=in_dict(x=ARCHIVE_TENSOR)), CODE, "has no 'w'"),
        (object_of(state=in_dict(w=b"K\x01")), CODE, "'w' of __torch__.M is 1, expected a tensor"),
        (object_of(state=in_dict(w=object_of())), CODE, r"expected 'w' of __torch__\.M"),
        (object_of(state=b"]"), CODE, "not made of its attributes"),
        (object_of() + b"}b", CODE, "not made of its attributes"),
        (named("__torch__", "M") + b")\x81", CODE, "not made of its attributes"),
        (named("__torch__", "M"), CODE, "arrays by name"),
        (object_of(), CODE.replace("Module", "object"), "arrays by name"),
        (
            object_of(),
            CODE.replace('"w"', r'"\"w"'),
            "parameters of __torch__.M are not understood",
        ),
        (object_of(), CODE.replace('"w", ', '"w"'), "are not understood"),
        (named("__torch__.torch.classes.q", "P") + b")\x81", CODE, "is not supported"),
    ],
)
def test_torchscript_that_lies(read, value, code, match):
    with pytest.raises(ModelFileError, match=rf"w\.pt: .*{match}"):
        read(script(stream(value), code))


def test_torchscript_nested_without_end(read):
    one = named("__torch__", "M") + b")\x81}" + text("a")
    code = CODE.replace('"w", ', "")
    for depth in (101, 20_000):
        data = one * depth + object_of(state=b"}") + b"sb" * depth
        with pytest.raises(ModelFileError, match="nested more than 100 deep"):
            read(script(stream(data), code), max_bytes=1 << 30)
    loop = named("__torch__", "M") + b")\x81q\x01}" + text("a") + b"h\x01sb"
    with pytest.raises(ModelFileError, match="contains itself"):
        read(script(stream(loop), code))


def test_code_that_is_a_bomb(read):
    data = io.BytesIO(script(stream(object_of()), ""))
    with zipfile.ZipFile(data) as sound, zipfile.ZipFile(out := io.BytesIO(), "w", 8) as file:
        for name in sound.namelist():
            padding = b"#" * (300 * MIB) if name.endswith(".py") else b""
            file.writestr(name, sound.read(name) + padding)
    with pytest.raises(ModelFileError, match=r"code/__torch__\.py' needs 314572800 bytes"):
        read(out.getvalue())


# Archives and truncation


@pytest.mark.filterwarnings("ignore")  # zipfile warns of the name
@pytest.mark.parametrize("member", ["archive/data.pkl", "archive/code/__torch__.py"])
def test_members_that_occur_twice(read, member):
    data = io.BytesIO(script(stream(object_of())))
    with zipfile.ZipFile(data, "a") as file:
        file.writestr(member, b"x")
    with pytest.raises(ModelFileError, match=f"{member}' occurs twice"):
        read(data.getvalue())


@pytest.mark.parametrize("reader", READERS)
def test_encrypted_members(read, reader):
    data = bytearray(script(stream(object_of())))
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    with pytest.raises(ModelFileError, match="encrypted"):
        read(bytes(data), reader)


def small_module() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3, affine=False))


@pytest.fixture(scope="module")
def sound() -> dict[str, bytes]:
    made = {}
    for name, value, way in [
        ("state", small_module().state_dict(), {}),
        ("module", small_module(), {}),
        ("legacy state", small_module().state_dict(), {"_use_new_zipfile_serialization": False}),
        ("legacy module", small_module(), {"_use_new_zipfile_serialization": False}),
    ]:
        torch.save(value, data := io.BytesIO(), **way)
        made[name] = data.getvalue()
    torch.jit.save(torch.jit.script(small_module()), data := io.BytesIO())
    made["torchscript"] = data.getvalue()
    return made


KINDS = ["state", "module", "legacy state", "legacy module", "torchscript"]


@pytest.mark.filterwarnings("ignore")  # torch calls TorchScript deprecated
@pytest.mark.parametrize("kind", KINDS)
def test_truncation_at_every_byte(read, sound, kind):
    data = sound[kind]
    assert len(read(data)) == 5
    # An archive without its end is none at all, wherever it was cut, and most of a module in a
    # stream is the text of its classes.
    step = {"legacy state": 1, "legacy module": 61}.get(kind, 13)
    for end in sorted({*range(0, len(data), step), *range(len(data) - 200, len(data))}):
        with pytest.raises(ModelFileError):
            read(data[:end])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["module", "torchscript"])
def test_truncated_pickles_in_archives(read, sound, kind):
    with zipfile.ZipFile(io.BytesIO(sound[kind])) as file:
        members = {name: file.read(name) for name in file.namelist()}
    (pkl,) = [name for name in members if name.endswith("/data.pkl")]
    for end in range(0, len(members[pkl]), 3):
        with zipfile.ZipFile(data := io.BytesIO(), "w") as file:
            for name, content in members.items():
                file.writestr(name, content[:end] if name == pkl else content)
        with pytest.raises(ModelFileError):
            read(data.getvalue())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_mutations(tmp_path, sound, kind):
    valid, path = sound[kind], tmp_path / "w.pt"

    @settings(max_examples=120, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, len(valid) - 1), st.integers(0, 255)), max_size=4),
        st.integers(0, 3),
    )
    def check(changes, cut):
        data = bytearray(valid)
        for at, value in changes:
            data[at] = value
        start = changes[0][0] if changes else 0
        del data[start : start + cut]
        path.write_bytes(data)
        for reader in (read_weights, read_module):
            try:
                found = reader(path)
            except ModelFileError:
                continue
            if reader is read_weights:
                assert all(array.flags.owndata and array.size <= 16 for array in found.values())

    check()


def test_numbers_in_names_of_prefixes(read):
    # A prefix is text to compare, never a path or a pattern.
    data = archive({"a.*": {"b": tensor(ARCHIVED)}})
    assert list(read(data, prefix="a.*")) == ["b"]
    for prefix in (".*", "a..", "../a", "[a]"):
        with pytest.raises(ModelFileError, match="no weight has the prefix"):
            read(data, prefix=prefix)
