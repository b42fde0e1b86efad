"""The command line: what it writes compiles and holds the model, and what it refuses it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from c_programs import ROOT, compiler, flags_of, run

import seqcore as sc
from seqcore.cli import main

# Opens the model of model.h, and writes what it makes of ROWS sequences of FRAMES frames, which it
# reads, as raw floats.
PROGRAM = """
#include "model.h"
#include "other.h"
#include <seqcore/seqcore.h>
#include <stdio.h>
#include <string.h>

static float x[ROWS * FRAMES * 5], y[ROWS * FRAMES * 3];

int main(void)
{
    sc_plan *plan = NULL;
    sc_array in[5], out; /* lengths, mask and initial states are left out */
    sc_error error;
    memset(in, 0, sizeof in);
    in[0].data = x;
    in[0].rank = 3;
    in[0].shape[0] = ROWS;
    in[0].shape[1] = FRAMES;
    in[0].shape[2] = 5;
    out = in[0];
    out.data = y;
    out.shape[2] = 3;
    if ((size_t)net % 64 != 0 || other_size == 0 || (const void *)net == (const void *)other ||
        fread(x, 1, sizeof x, stdin) != sizeof x) {
        return 1;
    }
    if (sc_plan_open_memory(net, net_size, NULL, &plan, &error) != SC_OK ||
        sc_plan_inputs(plan) != 5 || sc_plan_run(plan, in, &out, &error) != SC_OK) {
        fprintf(stderr, "%s\\n", error.message);
        return 1;
    }
    sc_plan_free(plan);
    return fwrite(y, 1, sizeof y, stdout) != sizeof y;
}
"""


@pytest.fixture
def model(tmp_path: Path) -> sc.Model:
    """(batch, time, 5) -> (batch, time, 3), saved as model.safetensors."""
    random = np.random.default_rng(3)
    lstm = sc.LSTM(
        random.normal(size=(5, 36)), random.normal(size=(9, 36)), random.normal(size=36),
        return_sequences=True,
    )  # fmt: skip
    x = sc.Input((None, 5), name="*/ \\x /*")
    made = sc.Model(x, sc.Dense(random.normal(size=(9, 3)), name="y")(lstm(x)))
    made.save(tmp_path / "model.safetensors")
    return made


def same_words(header: Path) -> bytes:
    """Return the bytes that the header's words stand for."""
    text = header.read_text(encoding="ascii")
    words = re.findall(r"0x([0-9a-f]+)", text[text.index("{") :])
    return b"".join(int(word, 16).to_bytes(8, "little") for word in words)


@pytest.mark.parametrize("language", ["c", "c++"])
def test_header_in_a_program(language: str, model: sc.Model, prefix: Path, tmp_path: Path) -> None:
    cc = compiler()
    if language == "c++":
        path = shutil.which(os.environ.get("CXX", "c++"))
        if path is None:
            pytest.skip("no C++ compiler")
        cc = [path]
    paths = [str(tmp_path / "model.safetensors"), str(tmp_path / "model.h")]
    assert main(["export-c", *paths, "--name", "net"]) == 0
    assert main(["export-c", paths[0], str(tmp_path / "other.h")]) == 0
    (tmp_path / "program.c").write_text(PROGRAM)
    standard = "-std=c11" if language == "c" else "-std=c++11"
    source = ["-x", language, tmp_path / "program.c", "-x", "none"]
    warnings = ["-Wall", "-Wextra", "-pedantic", "-Werror", "-DROWS=2", "-DFRAMES=7"]
    archive = prefix / "lib/libseqcore.a"
    flags = [archive if f == "-lseqcore" else f for f in flags_of(prefix, "--static")]
    run([*cc, standard, *warnings, *source, *flags, "-o", tmp_path / "program"])
    x = np.random.default_rng(4).normal(size=(2, 7, 5)).astype(np.float32)
    done = subprocess.run(
        [tmp_path / "program"], input=x.tobytes(), capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == model(x).tobytes()


def test_header_says_what_the_model_is(model: sc.Model, tmp_path: Path) -> None:
    assert (
        main(["export-c", str(tmp_path / "model.safetensors"), str(tmp_path / "1-net.v2.h")]) == 0
    )
    header = tmp_path / "1-net.v2.h"
    data = (tmp_path / "model.safetensors").read_bytes()
    text = header.read_text(encoding="ascii")
    assert f"static const size_t model_1_net_size = {len(data)};" in text
    assert same_words(header) == data + bytes(-len(data) % 8)
    comment = text[: text.index("*/")]
    assert r" * input   *\/ \\x /\*: float32 (?, ?, 5)" in comment
    assert " * input   lstm:h0: float32 (?, 9), optional\n" in comment
    assert " * output  y: float32 (?, ?, 3)\n" in comment
    assert model.outputs == ("y",)
    assert header.stat().st_mode & 0o777 == (tmp_path / "model.safetensors").stat().st_mode & 0o777


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("name", ["", "1st", "a-b", "int", "constexpr", "é", "a b", "x;y", "x\n"])
def test_name_that_is_no_identifier(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, header = str(tmp_path / "model.safetensors"), tmp_path / "out.h"
    assert main(["export-c", model, str(header), f"--name={name}"]) == 2
    assert "expected an identifier of C and C++" in capsys.readouterr().err
    assert not header.exists()


@pytest.mark.parametrize("name", ["int.h", "7.h", ".h", "größe.h", "a-b.h"])
def test_names_made_of_any_header_are_identifiers(
    name: str, model: sc.Model, tmp_path: Path
) -> None:
    assert model.outputs == ("y",)
    assert main(["export-c", str(tmp_path / "model.safetensors"), str(tmp_path / name)]) == 0
    found = re.search(r"^static const uint64_t (\w+)\[", (tmp_path / name).read_text(), re.M)
    assert found is not None
    assert found[1].isascii()
    assert found[1] != "int"


@pytest.mark.usefixtures("model")
def test_what_is_no_model_leaves_the_header_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (tmp_path / "model.safetensors").read_bytes()
    header = tmp_path / "model.h"
    header.write_text("before")
    bad = tmp_path / "bad"
    for content, cause in [
        (b"", "truncated"),
        (whole[:-1], "truncated"),
        (re.sub(rb'("version": *)1', rb"\g<1>9", whole), "newer seqcore"),
        (b"PK\3\4" + bytes(100), "zip archive"),
        (b"\x02\0\0\0\0\0\0\0{}", "__graph__"),
    ]:
        bad.write_bytes(content)
        assert main(["export-c", str(bad), str(header)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("seqcore: ")
        assert cause in error
        assert error.count("\n") == 1
    assert main(["export-c", str(tmp_path / "absent"), str(header)]) == 2
    assert capsys.readouterr().err == f"seqcore: {tmp_path / 'absent'}: No such file or directory\n"
    assert header.read_text() == "before"


def test_keras_model_is_sent_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = sorted((ROOT / "tests/golden").glob("**/*.h5"))
    for path in golden:
        try:
            sc.load(path)
        except sc.SeqcoreError:
            continue
        assert main(["export-c", str(path), str(tmp_path / "model.h")]) == 2
        assert "not a seqcore model file; make it one" in capsys.readouterr().err
        break
    else:
        pytest.fail(f"none of {golden} can be loaded")


@pytest.mark.usefixtures("model")
def test_headers_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model.safetensors"
    data = model.read_bytes()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(model)
    for header, cause in [
        (tmp_path / "absent/model.h", "absent/model.h: No such file or directory"),
        (tmp_path, "not a regular file"),
        (tmp_path / "fifo", "not a regular file"),
        (model, "would replace the model"),
        (tmp_path / "link", "would replace the model"),
    ]:
        assert main(["export-c", str(model), str(header)]) == 2
        assert cause in capsys.readouterr().err
    assert model.read_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fifo", "link", "model.safetensors"]


def test_as_a_module() -> None:
    command = [sys.executable, "-m", "seqcore"]
    env = {**os.environ, "PYTHONPATH": str(Path(sc.__file__).resolve().parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=env)
    assert done.returncode == 2
    assert "usage: seqcore" in done.stderr
    assert "export-c" in run([*command, "--help"], env=env)


def test_what_torch_wrote_is_sent_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4))
    program = torch.export.export(module, (torch.zeros(2, 3),))
    torch.export.save(program, tmp_path / "m.pt2")
    torch.save(module, tmp_path / "m.pt")
    for name in ("m.pt2", "m.pt"):
        assert main(["export-c", str(tmp_path / name), str(tmp_path / "model.h")]) == 2
        assert capsys.readouterr().err == (
            f"seqcore: {tmp_path / name}: not a seqcore model file; make it one: "
            "seqcore.load(path).save(...)\n"
        )
    torch.save(module.state_dict(), tmp_path / "w.pt")
    assert main(["export-c", str(tmp_path / "w.pt"), str(tmp_path / "model.h")]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(
        f"seqcore: {tmp_path / 'w.pt'}: holds no whole module. It holds weights"
    )
    assert second == "  0: nn.Linear, 3 -> 4: Dense.from_torch(weights, '0')"
    assert not (tmp_path / "model.h").exists()
    sc.load(tmp_path / "m.pt").save(tmp_path / "m.safetensors")
    header = tmp_path / "model.h"
    assert main(["export-c", str(tmp_path / "m.safetensors"), str(header)]) == 0
    stored = (tmp_path / "m.safetensors").read_bytes()
    assert same_words(header)[: len(stored)] == stored
