"""seqcore inside other programs: the C++ interface, and the examples that embed the library.

They are built against an installed seqcore, as their READMEs say, and must compute what the Python
package computes, bit for bit.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pybind11
import pytest
from c_programs import ROOT, cmake_build, flags_of, run, symbols, tool

import seqcore as sc

STREAMER = ROOT / "examples/embed-c"
MONITOR = ROOT / "examples/embed-pybind11"
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
WIDTH = 3
PACKAGE = str(Path(sc.__file__).resolve().parents[1])  # for the programs that tests start

# ---- The C++ interface --------------------------------------------------------------------------


def static_flags(prefix: Path) -> list[str]:
    """Flags of a program that holds the library, and needs none where it runs."""
    archive = str(prefix / "lib/libseqcore.a")
    return [archive if f == "-lseqcore" else f for f in flags_of(prefix, "--static")]


@pytest.mark.parametrize("standard", ["c++17", "c++20"])
@pytest.mark.parametrize("name", ["g++", "clang++"])
def test_cpp_headers_compile_without_a_warning(name: str, standard: str) -> None:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {name}")
    flags = [f"-std={standard}", *STRICT, f"-I{ROOT / 'include'}", "-fsyntax-only"]
    run([path, *flags, ROOT / "tests/c/test_cpp.cpp"])


def test_cpp_interface(prefix: Path, tmp_path: Path) -> None:
    cxx = shutil.which("g++")
    if cxx is None:
        pytest.skip("no g++")
    sanitize = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    program = tmp_path / "test_cpp"
    source = ROOT / "tests/c/test_cpp.cpp"
    run([cxx, "-std=c++20", *sanitize, source, *static_flags(prefix), "-o", program])
    assert "test_cpp: all passed" in run([program, tmp_path / "model.safetensors"])


# ---- examples/embed-c ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def streamer(prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, with the model and the frames of its README beside it."""
    folder = tmp_path_factory.mktemp("embed-c")
    shutil.copytree(STREAMER, folder, dirs_exist_ok=True)
    where = {"PKG_CONFIG_PATH": str(prefix / "lib/pkgconfig"), "CFLAGS": " ".join(STRICT)}
    run([tool("make"), "-s"], cwd=folder, env={**os.environ, **where})
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert code is not None
    run([sys.executable, "-c", code[1]], cwd=folder, env={**os.environ, "PYTHONPATH": PACKAGE})
    return folder / "stream_model"


def readme_results(streamer: Path) -> bytes:
    frames = np.fromfile(streamer.parent / "frames.f32", np.float32).reshape(1, -1, 16)
    assert frames.shape[1] == 1000
    return sc.load(streamer.parent / "model.safetensors")(frames).tobytes()


def test_streamer_gives_what_the_model_gives(streamer: Path) -> None:
    with open(streamer.parent / "frames.f32", "rb") as frames:
        done = subprocess.run(
            [streamer, "model.safetensors"], cwd=streamer.parent, stdin=frames,
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == readme_results(streamer)


def test_streamer_answers_each_frame_at_once_in_whatever_pieces_it_comes(streamer: Path) -> None:
    frames = (streamer.parent / "frames.f32").read_bytes()
    expected = readme_results(streamer)
    command = [streamer, streamer.parent / "model.safetensors"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as done:
        assert done.stdin is not None
        assert done.stdout is not None
        for t in range(20):
            frame = frames[64 * t : 64 * t + 64]
            for piece in (frame[: 3 * t], frame[3 * t : -1], frame[-1:]):
                done.stdin.write(piece)
            assert done.stdout.read(16) == expected[16 * t : 16 * t + 16]
        done.stdin.close()
        assert done.stdout.read() == b""
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "status", "cause"),
    [
        ([], 2, "usage: stream_model MODEL"),
        (["a", "b"], 2, "usage: stream_model MODEL"),
        (["--help"], 2, "usage: stream_model MODEL"),
        (["absent.safetensors"], 3, "absent.safetensors: cannot be opened: No such file"),
        (["README.md"], 3, "README.md: not a safetensors file"),
        (["ids.safetensors"], 3, "ids.safetensors: the model must have one input, of floats"),
        (["both.safetensors"], 3, "the model cannot be stepped: layer 'bidirectional'"),
    ],
)
def test_streamer_refuses(streamer: Path, arguments: list[str], status: int, cause: str) -> None:
    random = np.random.default_rng(0)
    sc.Sequential([sc.Embedding(random.normal(size=(4, 2)))]).save(
        streamer.parent / "ids.safetensors"
    )
    lstm = sc.LSTM(random.normal(size=(2, 8)), random.normal(size=(2, 8)), return_sequences=True)
    back = sc.LSTM(
        random.normal(size=(2, 8)), random.normal(size=(2, 8)),
        return_sequences=True, go_backwards=True,
    )  # fmt: skip
    both = sc.Bidirectional(lstm, back, name="bidirectional")
    sc.Sequential([both]).save(streamer.parent / "both.safetensors")
    done = subprocess.run(
        [streamer, *arguments], cwd=streamer.parent, input=b"", capture_output=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (status, b"")
    assert cause in done.stderr.decode()


def test_streamer_tells_of_an_input_that_ends_within_a_frame(streamer: Path) -> None:
    frames = (streamer.parent / "frames.f32").read_bytes()
    command = [streamer, streamer.parent / "model.safetensors"]
    done = subprocess.run(
        command, input=frames[: 64 * 10 + 5], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 4
    assert done.stderr == b"stream_model: stdin: ends within frame 10: 5 of 64 bytes\n"
    assert done.stdout == readme_results(streamer)[: 16 * 10]


def test_streamer_tells_of_pipes_that_break(streamer: Path) -> None:
    command = [streamer, streamer.parent / "model.safetensors"]
    folder = os.open(streamer.parent, os.O_RDONLY)
    done = subprocess.run(command, stdin=folder, capture_output=True, timeout=60, check=False)
    os.close(folder)
    assert (done.returncode, done.stdout) == (4, b"")
    assert b"stdin: Is a directory" in done.stderr
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command, input=bytes(64), stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(writer)
    assert done.returncode == 5
    assert done.stderr == b"stream_model: stdout: its reader is gone\n"


def test_streamer_is_a_program_of_cpp_too(prefix: Path, tmp_path: Path) -> None:
    cxx = shutil.which(os.environ.get("CXX", "c++"))
    if cxx is None:
        pytest.skip("no C++ compiler")
    program = tmp_path / "streamer"
    source = ["-x", "c++", STREAMER / "stream_model.c", "-x", "none"]
    run([cxx, "-std=c++17", *STRICT, *source, *static_flags(prefix), "-o", program])
    done = subprocess.run([program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2


# ---- examples/embed-pybind11 --------------------------------------------------------------------


@pytest.fixture(scope="module")
def module(prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built module."""
    folder = tmp_path_factory.mktemp("embed-pybind11")
    cmake_build(
        MONITOR, folder, CMAKE_PREFIX_PATH=prefix, pybind11_DIR=pybind11.get_cmake_dir(),
        Python_EXECUTABLE=sys.executable, CMAKE_BUILD_TYPE="Debug",
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def monitor(module: Path) -> Any:
    """The module, imported into the process that also has the package."""
    (path,) = module.glob("monitor*.so")
    spec = importlib.util.spec_from_file_location("monitor", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def model(tmp_path: Path) -> sc.Model:
    """A model that predicts WIDTH values, saved as model.safetensors."""
    random = np.random.default_rng(5)
    lstm = sc.LSTM(
        random.normal(size=(WIDTH, 28)), random.normal(size=(7, 28)), random.normal(size=28),
        return_sequences=True,
    )  # fmt: skip
    made = sc.Sequential([lstm, sc.Dense(random.normal(size=(7, WIDTH)))])
    made.save(tmp_path / "model.safetensors")
    return made


def test_watch_runs(module: Path) -> None:
    where = {**os.environ, "PYTHONPATH": os.pathsep.join([str(module), PACKAGE])}
    printed = run([sys.executable, MONITOR / "watch.py"], env=where)
    assert re.fullmatch(r"(sensor \d: frame +\d+ scores \d+\.\d\d\n){5}", printed)


def test_module_keeps_its_library_to_itself(module: Path) -> None:
    (path,) = module.glob("monitor*.so")
    assert not {name for name in symbols(path, "-D") if name.startswith("sc_")}
    assert "libseqcore" not in run([tool("readelf"), "-d", path])


def test_monitor_predicts_what_the_package_predicts(
    monitor: Any, model: sc.Model, tmp_path: Path
) -> None:
    watcher = monitor.Monitor(str(tmp_path / "model.safetensors"), capacity=4)
    values = np.random.default_rng(6).normal(size=(4, 12, WIDTH)).astype(np.float32)
    expected = model(values)
    for t in range(12):
        # in changing batches, orders and types
        if t % 2 == 0:
            watcher.observe(np.array([7, -1, 2**40, 0]), values[:, t])
        else:
            watcher.observe(np.array([0, 7], np.int8), values[[3, 0], t])
            watcher.observe([2**40, -1], values[[2, 1], t].astype(float))
        for sensor, row in zip([7, -1, 2**40, 0], range(4), strict=True):
            assert watcher.predict(sensor).tobytes() == expected[row, t].tobytes()
    assert watcher.sensors == 4
    assert watcher.width == WIDTH


def test_monitor_from_two_threads(monitor: Any, model: sc.Model, tmp_path: Path) -> None:
    watcher = monitor.Monitor(str(tmp_path / "model.safetensors"), capacity=2)
    values = np.random.default_rng(7).normal(size=(2, 500, WIDTH)).astype(np.float32)
    expected = model(values)
    found = np.zeros_like(values)

    def watch(sensor: int) -> None:
        for t in range(500):
            watcher.observe([sensor], values[sensor : sensor + 1, t])
            found[sensor, t] = watcher.predict(sensor)

    threads = [threading.Thread(target=watch, args=(sensor,)) for sensor in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found.tobytes() == expected.tobytes()


def test_monitor_translates_errors_and_changes_nothing(
    monitor: Any, model: sc.Model, tmp_path: Path
) -> None:
    assert issubclass(monitor.ModelError, RuntimeError)
    with pytest.raises(monitor.ModelError, match=r"absent: cannot be opened: No such file"):
        monitor.Monitor(str(tmp_path / "absent"), 1)
    with pytest.raises(monitor.ModelError, match="must be from 1"):
        monitor.Monitor(str(tmp_path / "model.safetensors"), 0)
    sc.Sequential([sc.Dense(np.ones((2, 3)))]).save(tmp_path / "frame.safetensors")
    with pytest.raises(monitor.ModelError, match="none of its inputs has a time axis"):
        monitor.Monitor(str(tmp_path / "frame.safetensors"), 1)
    rnn = sc.SimpleRNN(np.ones((2, 3)), np.ones((3, 3)), return_sequences=True)
    sc.Sequential([rnn]).save(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="must predict as many values as it takes"):
        monitor.Monitor(str(tmp_path / "other.safetensors"), 1)

    watcher = monitor.Monitor(str(tmp_path / "model.safetensors"), capacity=2)
    values = np.random.default_rng(8).normal(size=(3, WIDTH)).astype(np.float32)
    with pytest.raises(monitor.ModelError, match="no room for another stream"):
        watcher.observe([1, 2, 3], values)
    with pytest.raises(ValueError, match="stands twice"):
        watcher.observe([1, 2, 1], values)
    with pytest.raises(ValueError, match=r"values \(count, 3\)"):
        watcher.observe([1], values)
    with pytest.raises(TypeError, match="sensors are integers"):
        watcher.observe([1.5], values[:1])
    with pytest.raises(IndexError, match="sensor 1 was never observed"):
        watcher.predict(1)
    assert watcher.sensors == 0
    assert watcher.observe([2, 1], values[:2]).tolist() == [0, 0]
    assert watcher.predict(1).tobytes() == model(values[None, 1:2])[0, 0].tobytes()
    assert watcher.forget(1)
    assert not watcher.forget(1)
    watcher.observe([9], values[2:])
    assert watcher.predict(9).tobytes() == model(values[None, 2:])[0, 0].tobytes()
