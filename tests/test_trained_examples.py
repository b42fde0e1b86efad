"""The examples on the repository's own models: what they print and draw, with torch and without.

test_trained_models.py holds the models against torch.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tolerances import FLOAT32, close

import seqcore as sc

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "examples"))

import describe_digits  # noqa: E402
import normalise_dates  # noqa: E402
import package_code  # noqa: E402
import spell_numbers  # noqa: E402
import trained_here  # noqa: E402
import write_text  # noqa: E402

# ---- What the examples report --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("example", "count", "greedy", "constant"),
    [
        (normalise_dates, 1000, "100.00%", r"0\.30%  \(1992-03-22\)"),
        (describe_digits, 449, "98.44%", r"12\.47%  \(nine\)"),
        (spell_numbers, 1000, "100.00%", r"3\.20%  \(five hundred\)"),
    ],
)
def test_a_report(example, count, greedy, constant, monkeypatch, capsys):
    monkeypatch.setattr(package_code, "ROUNDS", 1)
    monkeypatch.setattr(trained_here, "ALONE", 2)
    threads = torch.get_num_threads()
    try:
        example.check(example.load())
    finally:
        torch.set_num_threads(threads)
    ratio = r" +torch +[\d,.]+ us, seqcore +[\d,.]+ us: [\d.]+ times as fast\n"
    assert re.fullmatch(
        rf"{count} rows that the training never saw, right to the letter:\n"
        rf"  greedy +{greedy}\n  beam search, width 5 +{greedy}\n"
        rf"  always the same answer +{constant}\n"
        rf"torch's module, greedy: {count} of {count} answers are the same; on one thread\n"
        rf"  one row at a time{ratio}  all rows at once, each{ratio}",
        capsys.readouterr().out,
    )


def test_a_report_on_text(monkeypatch, capsys):
    monkeypatch.setattr(package_code, "ROUNDS", 1)
    monkeypatch.setattr(write_text, "DRAWN", 5)
    threads = torch.get_num_threads()
    try:
        write_text.check(write_text.load())
    finally:
        torch.set_num_threads(threads)
    assert re.fullmatch(
        r"bits per character of 20,000 characters of Persuasion, which it never saw:\n"
        r"  how common each one is +4\.3722\n  this model +1\.9052\n"
        r"  its module in torch +1\.9052\n"
        r"on one thread, a character drawn:\n"
        r"  of one text +torch +[\d,.]+ us, seqcore +[\d,.]+ us: [\d.]+ times as fast\n",
        capsys.readouterr().out,
    )


def test_pictures_show_where_was_looked():
    for example, given, titles, seen in (
        (normalise_dates, ["3 May 1979", "$5 Oct 96"], ["3 May 1979 → 1979-05-03", None], 10),
        (spell_numbers, ["919,019"], ["nine hundred and nineteen thousand and nineteen"], 7),
    ):
        figure = example.picture(example.load(), given)
        maps = [ax for ax in figure.axes if ax.get_images()]
        assert len(maps) == len(given)
        for ax, title in zip(maps, titles, strict=True):
            assert title is None or ax.get_title(loc="left") == title
        shown = maps[0].get_images()[0].get_array()
        assert shown.shape[1] == seen
        close(shown.sum(axis=1), np.ones(len(shown)), FLOAT32[0])  # each looks at all it sees
        labels = [label.get_text() for label in maps[0].get_yticklabels()]
        assert len(labels) == len(shown)
        assert labels[-1] == "<end>"


# ---- As a user runs them, who has no torch -------------------------------------------------------

HIDING = """
import runpy, sys
from pathlib import Path
hidden, *sys.argv = sys.argv[1:]
sys.modules.update(dict.fromkeys(hidden.split()))
sys.path.insert(0, str(Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(name, *arguments, hidden="torch"):
    """Return exit code, stdout and stderr, where some packages are not installed."""
    environment = os.environ | {
        "PYTHONPATH": str(Path(sc.__file__).parents[1]), "PYTHONIOENCODING": "utf-8",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", HIDING, hidden, ROOT / "examples" / name, *arguments],
        env=environment, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


SHOWN = """\
      ==%%%%..        image 0
    ..@@##**++
    ::%%..++**        two      99.97%
        ..%%==        eight     0.01%
        ++##..        zero      0.00%
      ==@@==
    --@@@@##==--..
      ==--**@@%%..
"""


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        (
            "normalise_dates.py",
            ["3 May 1979", "The 27th of January, 2052"],
            r"3 May 1979 +1979-05-03 +99\.8\d%\nThe 27th of January, 2052 +2052-01-27 +99\.\d\d%\n",
        ),
        ("normalise_dates.py", ["", "?" * 60], r" +\S* +\S+%\n\?{60} +\S* +\S+%\n"),
        (
            "spell_numbers.py",
            ["342017", "1,000,000", "0"],
            r" +342017  three hundred and forty-two thousand and seventeen  \(99\.\d\d%\)\n"
            r" +1,000,000  one million  \(99\.\d\d%\)\n +0  zero  \(9\d\.\d\d%\)\n",
        ),
        ("describe_digits.py", ["0"], re.escape(SHOWN)),
        ("write_text.py", ["It is", "a truth", "--length", "80"], r"It is a truth(?s:.{67})\n"),
        ("write_text.py", ["It is", "--length", "3"], r"It \n"),
        ("write_text.py", ["Mr. Darcy", "--greedy", "--length", "30"], r"Mr\. Darcy[\w ,.]{21}\n"),
        ("write_text.py", ["Mr. Darcy", "--beam", "3", "--length", "30"], r"Mr\. Darcy.{21}\n"),
        (
            "normalise_dates.py",
            ["--check"],
            r"1000 rows .*\n(.+%.*\n){3}torch is not installed.*\n",
        ),
        ("describe_digits.py", ["--check"], r"449 rows .*\n(.+%.*\n){3}torch is not installed.*\n"),
        ("spell_numbers.py", ["--check"], r"1000 rows .*\n(.+%.*\n){3}torch is not installed.*\n"),
        (
            "write_text.py",
            ["--check"],
            r"bits .*\n.*4\.3722\n.*1\.9052\ntorch is not installed.*\n",
        ),
    ],
)
def test_an_example_without_torch(name, arguments, expected):
    code, out, err = run(name, *arguments)
    assert (code, err) == (0, "")
    assert re.fullmatch(expected, out), out


def test_a_seed_is_a_text():
    texts = [run("write_text.py", "--seed", seed)[1] for seed in "112"]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(
    "name", ["normalise_dates.py", "describe_digits.py", "spell_numbers.py", "write_text.py"]
)
def test_an_example_answers_from_a_file_of_its_own(name, tmp_path):
    path = tmp_path / "model.safetensors"
    expected = run(name)
    assert run(name, "--save", path) == expected
    assert run(name, "--model", path) == expected


@pytest.mark.parametrize(
    ("name", "asked"), [("normalise_dates.py", "3 May 1979"), ("spell_numbers.py", "12")]
)
def test_a_picture_is_a_file(name, asked, tmp_path):
    code, _, err = run(name, asked, "--picture", tmp_path / "picture.png")
    assert (code, err) == (0, "")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_needs_matplotlib(tmp_path):
    code, _, err = run(
        "spell_numbers.py", "12", "--picture", tmp_path / "picture.png", hidden="torch matplotlib"
    )
    assert (code, err) == (1, "A picture needs matplotlib: pip install seqcore[plots]\n")


def test_weights_need_safetensors():
    code, _, err = run("spell_numbers.py", "12", hidden="torch safetensors")
    assert code == 1
    assert err.startswith("spell_numbers: reading .safetensors needs the package safetensors")


@pytest.mark.parametrize(
    ("name", "arguments", "code", "message"),
    [
        ("spell_numbers.py", ["12a"], 1, "token 2, 'a', is none of the 12 tokens"),
        ("spell_numbers.py", ["1234567890"], 1, "numbers of 1 to 9 digits"),
        ("spell_numbers.py", [","], 1, "numbers of 1 to 9 digits"),
        ("describe_digits.py", ["449"], 2, "images have the numbers 0 to 448"),
        ("write_text.py", ["é"], 1, "token 0, 'é', is none of the 75 tokens"),
        ("write_text.py", ["--temperature", "0"], 1, "temperature is above 0"),
        ("write_text.py", ["--length", "0"], 2, "--length from 1"),
        ("write_text.py", ["--beam", "0"], 1, "width is a whole number from 1"),
        ("normalise_dates.py", ["--model", "absent"], 1, "absent"),
        ("spell_numbers.py", ["--model", "digits"], 1, "lacks digits"),
        ("write_text.py", ["--model", "digits"], 1, "expected a Generator"),
    ],
)
def test_what_an_example_cannot_use_is_said(name, arguments, code, message, tmp_path):
    describe_digits.load().save(tmp_path / "digits")
    given = [tmp_path / word if word in ("absent", "digits") else word for word in arguments]
    found, out, err = run(name, *given)
    assert (found, out) == (code, "")
    assert message in err
    assert "Traceback" not in err
