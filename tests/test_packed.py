"""Packed weights in a model file, mapped: the same bits, one copy for all processes, and never
used where they do not fit.
"""

from __future__ import annotations

import json
import mmap
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import seqcore as sc

MIB = 1 << 20


def layers(rng: np.random.Generator) -> list[sc.Layer]:
    """One layer of every kind that packs something."""

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(scale=0.3, size=shape).astype(np.float32)

    return [
        sc.Embedding(weights(11, 6)),
        sc.Conv1D(weights(3, 6, 8), weights(8), padding="causal"),
        sc.LSTM(weights(8, 80), weights(20, 80), weights(80), return_sequences=True),
        sc.LSTM(
            weights(20, 56),
            weights(20, 56),
            weights(56),
            projection=weights(14, 20),
            return_sequences=True,
        ),
        sc.GRU(
            weights(20, 51),
            weights(17, 51),
            weights(2, 51),
            return_sequences=True,
            reset_after=True,
        ),
        sc.GRU(
            weights(17, 27), weights(9, 27), weights(27), return_sequences=True, reset_after=False
        ),
        sc.SimpleRNN(weights(9, 5), weights(5, 5), weights(5), return_sequences=True),
        sc.Dense(weights(5, 4), weights(4)),
    ]


@pytest.fixture(scope="module")
def model() -> sc.Model:
    return sc.Sequential(layers(np.random.default_rng(7)))


@pytest.fixture(scope="module")
def ids() -> np.ndarray:
    return np.random.default_rng(8).integers(0, 11, (3, 20))


@pytest.fixture
def path(model: sc.Model, tmp_path: Path) -> Path:
    file = tmp_path / "packed.safetensors"
    model.save(file, packed=True)
    return file


@pytest.mark.parametrize("isa", sc.cpu_info()["isas"])
def test_mapped_weights_give_the_same_bits_on_their_instruction_set(
    isa: str, model: sc.Model, ids: np.ndarray, tmp_path: Path
) -> None:
    file = tmp_path / "packed.safetensors"
    model.with_options(isa=isa).save(file, packed=True)
    for other in sc.cpu_info()["isas"]:
        loaded = sc.load(file, isa=other, mmap=True)
        info = loaded.plan
        assert info["bytes_in_place"] == (info["bytes"] if other == isa else 0)
        expected = model.with_options(isa=other)(ids)
        assert loaded(ids).tobytes() == expected.tobytes()
        stream = loaded.stream(3)
        assert stream.step(ids[:, 0]).tobytes() == expected[:, 0].tobytes()


def test_read_and_not_mapped_they_are_ignored(path: Path, model: sc.Model, ids: np.ndarray) -> None:
    loaded = sc.load(path)
    assert loaded.plan["bytes_in_place"] == 0
    assert loaded(ids).tobytes() == model(ids).tobytes()


def test_a_plain_file_can_be_mapped(model: sc.Model, ids: np.ndarray, tmp_path: Path) -> None:
    model.save(tmp_path / "plain.safetensors")
    loaded = sc.load(tmp_path / "plain.safetensors", mmap=True)
    assert loaded.plan["bytes_in_place"] == 0
    assert loaded(ids).tobytes() == model(ids).tobytes()


def test_what_becomes_of_a_mapped_model(path: Path, ids: np.ndarray, tmp_path: Path) -> None:
    loaded = sc.load(path, mmap=True)
    expected = loaded(ids).tobytes()
    path.unlink()  # the mapping stays
    assert loaded(ids).tobytes() == expected
    assert pickle.loads(pickle.dumps(loaded))(ids).tobytes() == expected
    assert loaded.with_options(threads=1)(ids).tobytes() == expected
    loaded.save(tmp_path / "again.safetensors")
    again = sc.load(tmp_path / "again.safetensors")
    assert again(ids).tobytes() == expected
    stream = again.stream(3)
    stream.load_state(loaded.stream(3).save_state())  # the same model, for saved states too


def header_of(data: bytes) -> tuple[dict[str, dict[str, list[int]]], int]:
    """The header of a safetensors file, and where the data begin."""
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), 8 + size


def packed_range(data: bytes) -> tuple[int, int]:
    header, start = header_of(data)
    (entry,) = [entry for name, entry in header.items() if name.startswith("__packed__.")]
    begin, end = entry["data_offsets"]
    return start + begin, start + end


def test_they_begin_a_line_of_the_cache(path: Path) -> None:
    assert packed_range(path.read_bytes())[0] % 64 == 0


def test_changed_weights_are_packed_anew(path: Path, model: sc.Model, ids: np.ndarray) -> None:
    """As by a tool that edits tensors and knows nothing of packed ones."""
    data = bytearray(path.read_bytes())
    header, start = header_of(bytes(data))
    name = next(name for name in header if name.endswith(".W") and "lstm" in name)
    begin = start + header[name]["data_offsets"][0]
    data[begin : begin + 4] = np.float32(3.25).tobytes()
    path.write_bytes(data)
    mapped, read = sc.load(path, mmap=True), sc.load(path)
    assert mapped.plan["bytes_in_place"] == 0
    assert mapped(ids).tobytes() == read(ids).tobytes() != model(ids).tobytes()


def test_damaged_ones_are_never_used(path: Path, model: sc.Model, ids: np.ndarray) -> None:
    good = path.read_bytes()
    begin, end = packed_range(good)
    expected = model(ids).tobytes()
    places = [*range(begin, begin + 64), *np.linspace(begin + 64, end - 1, 40).astype(int)]
    for place in places:
        data = bytearray(good)
        data[place] ^= 0x10
        path.write_bytes(data)
        loaded = sc.load(path, mmap=True)
        assert loaded.plan["bytes_in_place"] == 0, place - begin
        assert loaded(ids).tobytes() == expected


def test_truncated_files_are_refused(path: Path) -> None:
    good = path.read_bytes()
    for size in [0, 7, 8, 100, *np.linspace(101, len(good) - 1, 30).astype(int)]:
        path.write_bytes(good[:size])
        with pytest.raises(sc.ModelFileError, match=path.name):
            sc.load(path, mmap=True)


def test_only_own_files_are_mapped(tmp_path: Path) -> None:
    golden = Path(__file__).parent / "golden/keras2_states.h5"
    with pytest.raises(sc.OptionError, match=r"keras2_states\.h5: mmap"):
        sc.load(golden, mmap=True)
    with pytest.raises(OSError, match="none"):
        sc.load(tmp_path / "none.safetensors", mmap=True)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="no smaps_rollup here")
def test_processes_share_one_copy(tmp_path: Path) -> None:
    """Each process adds far less private memory than the weights; without mmap all of it."""
    rng = np.random.default_rng(0)
    units = 512
    w, u = (rng.normal(scale=0.02, size=(units, 4 * units)).astype(np.float32) for _ in range(2))
    model = sc.Sequential([sc.LSTM(w, u, np.zeros(4 * units, np.float32))])
    file = tmp_path / "large.safetensors"
    model.save(file, packed=True)
    script = f"""
import sys
import numpy as np
import seqcore as sc
x = np.ones((1, 2, {units}), np.float32)
def private():
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))
sc.Sequential([sc.LSTM(np.eye(4, 16), np.eye(4, 16), np.zeros(16))])(np.ones((1, 2, 4), np.float32))
before = private()
model = sc.load({str(file)!r}, mmap=sys.argv[1] == "map", threads=1)
y = model(x)
print(private() - before, y.tobytes().hex())
"""
    workers = {
        (how, i): subprocess.Popen(
            [sys.executable, "-c", script, how],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for how in ("map", "read")
        for i in range(2)
    }
    grown, results = {}, set()
    for key, worker in workers.items():
        printed, _ = worker.communicate(timeout=120)
        assert worker.returncode == 0
        size, result = printed.split()
        grown[key] = int(size)
        results.add(result)
    assert len(results) == 1
    assert max(grown["map", i] for i in range(2)) < MIB < 8 * MIB < grown["read", 0]


def test_a_mapping_is_given_back(path: Path) -> None:
    def mapped() -> int:
        return Path("/proc/self/maps").read_text().count(str(path))

    loaded = sc.load(path, mmap=True)
    assert mapped() == 1
    del loaded
    assert mapped() == 0
    assert mmap.PAGESIZE > 64  # alignment within the file is alignment in memory
