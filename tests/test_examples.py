"""Every example as a user runs it: from a shell, with and without arguments."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tolerances import FLOAT32

import seqcore as sc

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
GOLDEN = Path(__file__).resolve().parent / "golden"
sys.path.insert(0, str(EXAMPLES))

import compare_with_torch  # noqa: E402
from model_files import model_file  # noqa: E402

SENTENCE = "然而，他红了20年以后，他竟退出了大家的视线。"
READ = (
    "ran2 er2 ， ta1 hong2 le5 20 nian2 yi3 hou4 ， "
    "ta1 jing4 tui4 chu1 le5 da4 jia1 de5 shi4 xian4 。"
)
SPELT = "AE2 K T IH0 V EY1 SH AH0 N IH0 S T"


def run(name, *arguments):
    """Return exit code, stdout and stderr."""
    environment = os.environ | {
        "PYTHONPATH": str(Path(sc.__file__).parents[1]),
        "PYTHONIOENCODING": "utf-8",  # also where the locale is C
    }
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments], env=environment, capture_output=True,
        encoding="utf-8", check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        (
            "classify_domains.py",
            ["MICROSOFT.com", "vlurgpeddygdy.com"],
            r"Total parameters: 103,745\n\nMICROSOFT\.com +0\.0005085  genuine\n"
            r"vlurgpeddygdy\.com +0\.976009\d  machine-made\n$",
        ),
        ("spell_words.py", ["activationist"], f"^activationist +{SPELT}\n$"),
        ("spell_words.py", ["", "x" * 40], r"^ +.*\nx+ .*\n$"),
        ("pronounce_chinese.py", [SENTENCE], f"^{SENTENCE}\n{READ}\n\n$"),
        ("pronounce_chinese.py", ["", "abc"], r"^\n\n\nabc\nabc\n\n$"),
    ],
)  # fmt: skip
def test_example_says_what_is_expected(name, arguments, expected):
    code, out, err = run(name, *arguments)
    assert (code, err) == (0, "")
    assert re.search(expected, out), out


def test_there_are_examples_with_defaults_for_all_arguments():
    names = sorted(path.name for path in EXAMPLES.glob("*.py"))
    assert names == [
        "classify_domains.py", "compare_with_keras.py", "compare_with_torch.py", "model_files.py",
        "pronounce_chinese.py", "spell_words.py",
    ]  # fmt: skip
    for name in names:
        code, out, err = run(name)
        assert (code, err) == (0, "")
        assert out or name == "model_files.py"


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        (None, ["dense"]),
        ("keras3.0.5_attention.keras", None),
        ("keras3.0.5_masks.keras", ["bidirectional", "gru_1", "gru_2"]),
    ],
)
def test_keras_gives_the_same_numbers(name, outputs):
    code, out, err = run("compare_with_keras.py", *([GOLDEN / name] if name else []))
    assert (code, err) == (0, "")
    found = re.findall(r"^(\w+): largest difference (\S+)$", out, re.MULTILINE)
    assert outputs is None or [output for output, _ in found] == outputs
    assert found
    assert all(float(difference) < FLOAT32[3] for _, difference in found)
    assert re.search(r"\nKeras [\d.]+ ms, seqcore [\d.]+ ms: [\d.]+ times as fast\n$", out)


def torch_rows(out):
    """Return differences by shapes."""
    return dict(re.findall(r"^(\(.*?\)) +(\S+) +[\d,]+ us +[\d,]+ us \(", out, re.MULTILINE))


def test_a_file_that_keras_cannot_load_is_said_to_be_one():
    code, out, err = run("compare_with_keras.py", GOLDEN / "keras2_states.h5")
    assert code == 1
    assert "Total parameters" in out  # seqcore has it
    assert re.search(r"Keras 3\.\S+ does not load this file: .", err)


MAKERS = """
from torch import nn

def convolutions():
    return nn.Sequential(nn.Conv1d(4, 8, 3), nn.ReLU(), nn.BatchNorm1d(8))

def image():
    return nn.Conv2d(3, 4, 2)
"""


@pytest.mark.parametrize(
    ("arguments", "shapes"),
    [
        ([], ["(3, 20)", "(1, 20)", "(33, 20)", "(3, 1)", "(3, 33)"]),
        (["makers.py:convolutions", "2", "4", "9"], ["(2, 4, 9)", "(1, 4, 9)", "(2, 4, 33)"]),
        (["m.pt2"], ["(8, 4)", "(1, 4)", "(33, 4)"]),
    ],
)
def test_torch_gives_the_same_numbers(arguments, shapes, tmp_path, capsys):
    (tmp_path / "makers.py").write_text(MAKERS)
    rows = ({0: torch.export.Dim.AUTO},)
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh())
    program = torch.export.export(module, (torch.zeros(2, 4),), dynamic_shapes=rows)
    torch.export.save(program, tmp_path / "m.pt2")
    threads = torch.get_num_threads()
    try:
        places = [str(tmp_path / each) for each in arguments[:1]]
        compare_with_torch.main([*places, *arguments[1:]])
    finally:
        torch.set_num_threads(threads)
    out = capsys.readouterr().out
    found = torch_rows(out)
    assert set(shapes) <= set(found)
    assert all(float(difference) < FLOAT32[3] for difference in found.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["makers.py:image", "2", "3", "8", "8"], "seqcore: Conv2d: unsupported: "),
        (["makers.py:image"], "expected the shape of an example input"),
        (["makers.py:absent", "2"], "there is no 'absent'"),
        (["absent.py:image", "2"], "there is no file"),
    ],
)
def test_what_cannot_be_compared_is_said(arguments, message, tmp_path):
    (tmp_path / "makers.py").write_text(MAKERS)
    with pytest.raises(SystemExit, match=re.escape(message)):
        compare_with_torch.main([str(tmp_path / arguments[0]), *arguments[1:]])


def test_too_long_domain_is_refused():
    code, out, err = run("classify_domains.py", "a" * 83)
    assert code == 1
    assert "83 characters; the model takes 82" in err
    assert "genuine" not in out


def test_missing_package_is_named():
    with pytest.raises(SystemExit, match=r"pip install --no-deps absent==1\.0"):
        model_file("no_such_package", "model.h5", "absent==1.0")
