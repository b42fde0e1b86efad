"""Every example as a user runs it: from a shell, with and without arguments."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tolerances import FLOAT32

import seqcore as sc
from seqcore import reference as ref

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
GOLDEN = Path(__file__).resolve().parent / "golden"
sys.path.insert(0, str(EXAMPLES))

import classify_domains  # noqa: E402
import compare_with_torch  # noqa: E402
from model_files import model_file  # noqa: E402

SENTENCE = "然而，他红了20年以后，他竟退出了大家的视线。"
READ = (
    "ran2 er2 ， ta1 hong2 le5 20 nian2 yi3 hou4 ， "
    "ta1 jing4 tui4 chu1 le5 da4 jia1 de5 shi4 xian4 。"
)
SPELT = "AE2 K T IH0 V EY1 SH AH0 N IH0 S T"


ALONE = {"OMP_NUM_THREADS": "1"}  # Keras's threads would wait for those of other tests


def run(name, *arguments, **variables):
    """Return exit code, stdout and stderr; `variables` are of the environment."""
    environment = os.environ | {
        "PYTHONPATH": str(Path(sc.__file__).parents[1]),
        "PYTHONIOENCODING": "utf-8",  # also where the locale is C
        **variables,
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
        (
            "spell_words.py",
            ["--beam", "3", "activationist", "a"],
            r"^(activationist +-\d+\.\d{3}  [A-Z0-2 ]+\n){3}(a +-\d+\.\d{3}  [A-Z0-2 ]+\n){3}$",
        ),
        ("pronounce_chinese.py", [SENTENCE], f"^{SENTENCE}\n{READ}\n\n$"),
        ("pronounce_chinese.py", ["", "abc"], r"^\n\n\nabc\nabc\n\n$"),
        ("pronounce_chinese.py", ["--no-tone", "他20"], r"^他20\nta 20\n\n$"),
        ("pronounce_chinese.py", ["--char-split", "他20"], r"^他20\nta1 2 0\n\n$"),
        (
            "add_numbers.py",
            ["0.25", "0.75"],
            r"^( *\d+ frames: .*\[0\.25\] .*\[0\.75\].*\n"
            r" +sum: 1\.000; the network says (0\.9|1\.0)\d\d\n\n){4}$",
        ),
        ("hyphenate.py", ["Recurrent", "", "understanding"], "^Re-cur-rent\n\nun-der-stand-ing\n$"),
        (
            "forecast_temperatures.py",
            [],
            r"^month .*\n2009-01 +24\.39 +24\.89 +24\.23\n(20.*\n){22}2010-12 .*\n\n"
            r"root .* 157 forecasts .*\n.*\n.*\nthe network +1\.260 .*\nmean of the month +1\.298 ",
        ),
    ],
)  # fmt: skip
def test_example_says_what_is_expected(name, arguments, expected):
    code, out, err = run(name, *arguments)
    assert (code, err) == (0, "")
    assert re.search(expected, out), out


def test_there_are_examples_with_defaults_for_all_arguments(tmp_path):
    names = sorted(path.name for path in EXAMPLES.glob("*.py"))
    assert names == [
        "add_numbers.py", "classify_domains.py", "compare_with_keras.py", "compare_with_torch.py",
        "describe_digits.py", "forecast_temperatures.py", "hyphenate.py", "look_inside.py",
        "model_files.py", "normalise_dates.py", "onnx_streaming.py", "package_code.py",
        "pronounce_chinese.py", "spell_numbers.py", "spell_words.py", "trained_here.py",
        "write_text.py",
    ]  # fmt: skip
    elsewhere = {  # run so by other tests, here and in test_trained_examples.py
        "compare_with_keras.py", "describe_digits.py", "forecast_temperatures.py",
        "normalise_dates.py", "pronounce_chinese.py", "spell_numbers.py", "spell_words.py",
        "write_text.py",
    }  # fmt: skip
    for name in set(names) - elsewhere:
        code, out, err = run(name, TMPDIR=str(tmp_path))
        assert (code, err) == (0, "")
        assert out or name in ("model_files.py", "package_code.py", "trained_here.py")


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("spell_words.py", ["Activationist", "recurrent", "o'clock"]),
        ("pronounce_chinese.py", [SENTENCE, "都", "--no-tone"]),
    ],
)
def test_the_code_of_the_package_runs_beside(name, asked):
    code, out, err = run(name, "--compare", *asked)
    assert (code, err) == (0, "")
    count = sum(not word.startswith("--") for word in asked)
    row = r" +[\d,]+\.\d us each"
    assert re.fullmatch(
        rf"{count} of {count} answers are the same\nNumPy code of g2p\S+{row}\n"
        rf"seqcore, one at a time{row}: [\d.]+ times as fast\n"
        rf"seqcore, all at once{row}: [\d.]+ times as fast\n",
        out,
    ), out


@pytest.mark.parametrize("name", ["spell_words.py", "pronounce_chinese.py"])
def test_an_example_answers_from_a_file_of_its_own(name, tmp_path):
    path = tmp_path / "model.safetensors"
    expected = run(name)
    assert run(name, "--save", path) == expected
    for package in ("g2p_en", "g2pM"):  # in front of the real ones, and without a model
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    places = f"{tmp_path}{os.pathsep}{Path(sc.__file__).parents[1]}"
    assert run(name, "--model", path, PYTHONPATH=places) == expected
    code, _, err = run(name, PYTHONPATH=places)
    assert code == 1
    assert "needs the trained model" in err


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("spell_words.py", ["--beam", "0", "a"], "width is a whole number"),
        ("spell_words.py", ["--model", "absent"], "absent"),
        ("spell_words.py", ["--model", "bare"], "expected a Seq2Seq"),
        ("pronounce_chinese.py", ["--model", "absent"], "absent"),
        ("pronounce_chinese.py", ["--model", "bare"], "lacks characters"),
    ],
)
def test_what_an_example_cannot_use_is_said(name, arguments, message, tmp_path):
    sc.Sequential([sc.Dense([[1.0]])]).save(tmp_path / "bare")
    given = [tmp_path / word if word in ("absent", "bare") else word for word in arguments]
    code, out, err = run(name, *given)
    assert (code, out) == (1, "")
    assert message in err
    assert "Traceback" not in err


def test_what_a_real_lstm_keeps(tmp_path):
    """Its forget gates at each pair of characters, by the float64 definitions of its layers."""
    picture, domain = tmp_path / "gates.png", "vlurgpeddygdy.com"
    code, out, err = run("look_inside.py", domain, "--picture", picture)
    assert (code, err) == (0, "")
    assert f"{domain}: machine-made with probability 0.9760\n" in out
    model = classify_domains.load()
    graph, tensors = model._graph.document, model._graph.tensors
    outputs = [{"name": "x", "value": "max_pooling1d_4"}, {"name": "h", "value": "lstm_4"}]
    nodes = graph["nodes"][:4]  # up to the LSTM
    nodes[3] = {**nodes[3], "attrs": {**nodes[3]["attrs"], "return_sequences": True}}
    ids = {"domain_input": classify_domains.encode([domain])}
    (x,), (h,) = ref.run({**graph, "nodes": nodes, "outputs": outputs}, tensors, ids)
    W, U, b = (tensors[f"lstm_4.{name}"][..., 64:128] for name in "WUb")
    before = np.concatenate([np.zeros((1, 64)), h[:-1]])
    forget = (1 / (1 + np.exp(-(x @ W + before @ U + b)))).mean(axis=1)
    shown = re.search(r"^  forget gate (.*)$", out, re.MULTILINE)[1].split()
    expected = [*forget[:9], forget[9:].mean()]
    assert shown == [f"{f:.2f}" for f in expected]
    assert re.search(
        r"^  characters +vl +ur +gp +ed +dy +gd +y\. +co +m padding$", out, re.MULTILINE
    )
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert out.endswith(f"picture: {picture}\n")


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        (None, ["dense"]),
        ("keras3.0.5_attention.keras", None),
        ("keras3.0.5_masks.keras", ["bidirectional", "gru_1", "gru_2"]),
    ],
)
def test_keras_gives_the_same_numbers(name, outputs):
    code, out, err = run("compare_with_keras.py", *([GOLDEN / name] if name else []), **ALONE)
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
    code, out, err = run("compare_with_keras.py", GOLDEN / "keras2_states.h5", **ALONE)
    assert code == 1
    assert "Total parameters" in out  # seqcore has it
    assert re.search(r"Keras 3\.\S+ does not load this file: .", err)


@pytest.mark.parametrize("chunk", [1, 3, 16])
def test_chunks_of_an_onnx_model_are_the_whole_and_onnxruntimes(chunk, tmp_path):
    path = tmp_path / "kept.onnx"
    code, out, err = run("onnx_streaming.py", "--check", "--chunk", str(chunk), "--save", path)
    assert (code, err) == (0, "")
    assert f"400 frames in chunks of {chunk} give the same bits as all at once\n" in out
    found = re.search(r"^largest difference from ONNX Runtime: (\S+)$", out, re.MULTILINE)
    assert float(found[1]) < 1e-5
    assert len(re.findall(r"^\d+ frames a call: .*: [\d.]+ times as fast$", out, re.MULTILINE)) == 2
    assert sc.load(path).inputs == ("frames", "cache", "h0")


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
