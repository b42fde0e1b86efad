"""The repository's own trained models that give as many numbers, or tags, as rows or frames.

The adding problem, the forecaster and the hyphens, through the examples, against Keras and torch.
tests/golden has them and the scripts that trained them. Not here: models that make sequences.
"""

from __future__ import annotations

import json
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
EXAMPLES, GOLDEN = ROOT / "examples", ROOT / "tests" / "golden"
sys.path += [str(EXAMPLES), str(GOLDEN)]

import add_numbers  # noqa: E402
import forecast_temperatures as temperatures  # noqa: E402
import hyphenate  # noqa: E402
import train_adding  # noqa: E402  (before Keras: it chooses the backend)
import train_forecaster  # noqa: E402
import train_hyphens  # noqa: E402
from trained_here import share, trained  # noqa: E402
from training import padded  # noqa: E402

# What the models reach on rows that they were not trained on, and what the tests ask of them
SQUARED_ERROR = {50: 2.5e-4, 100: 2.5e-4, 200: 2e-2}  # of sums, by frames; 200 are untrained
EXACT, F1 = 0.78, 0.87  # words with every hyphen right, and single hyphens


@pytest.fixture(autouse=True)
def threads():
    """Examples give torch one thread; others get back what they had."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def series():
    return temperatures.temperatures()


@pytest.fixture(scope="module")
def words():
    """Return held-out words, and where they divide."""
    given, right = zip(*trained("hyphens")[1]["held_out"], strict=True)
    assert len(given) == train_hyphens.KEPT
    return given, right


# ---- Many to one: the adding problem -------------------------------------------------------------


@pytest.mark.parametrize("frames", SQUARED_ERROR)
def test_sums_of_rows_that_were_not_trained_on(frames):
    x, sums = add_numbers.problem(1000, frames, np.random.default_rng(1))
    again, truth = train_adding.problem(1000, frames, np.random.default_rng(1))
    np.testing.assert_array_equal(x, again)
    np.testing.assert_array_equal(sums, truth)
    error = np.square(add_numbers.load()(x) - sums).mean()
    assert error < SQUARED_ERROR[frames] < np.square(1 - sums).mean() / 5


def test_sums_are_those_of_keras(isa):
    x, _ = add_numbers.problem(50, 100, np.random.default_rng(2))
    expected = train_adding.trained().predict_on_batch(x)
    close(add_numbers.load().with_options(isa=isa)(x), expected, FLOAT32[1])


def test_a_row_of_a_ragged_batch_has_the_sum_that_it_has_alone(isa):
    model = add_numbers.load().with_options(isa=isa)
    rows = add_numbers.hidden([0.3, 0.9])
    for row in rows:
        assert row[row[:, 1] == 1, 0].tolist() == pytest.approx([0.3, 0.9])
    together = add_numbers.add(model, rows)
    alone = np.concatenate([add_numbers.add(model, [row]) for row in rows])
    np.testing.assert_array_equal(together, alone)


def test_a_row_in_short():
    row = np.array([[0.1, 0], [0.2, 0], [0.3, 1], [0.4, 0], [0.5, 0], [0.6, 0], [0.7, 1]])
    assert add_numbers.in_short(row) == "0.10 0.20 [0.30] 0.40 (1 more) 0.60 [0.70]"


# ---- A time series: the forecaster ---------------------------------------------------------------


def test_held_out_windows_are_views_of_the_years_that_were_not_trained_on(series):
    np.testing.assert_array_equal(series, train_forecaster.temperatures())
    held_out = temperatures.held_out(series)
    begin = (train_forecaster.TEST - train_forecaster.FIRST) * train_forecaster.YEAR
    histories, truth = train_forecaster.windows(series, begin)
    np.testing.assert_array_equal(held_out.histories, histories)
    np.testing.assert_array_equal(held_out.truth, truth)
    np.testing.assert_array_equal(series[held_out.months], truth)
    assert np.shares_memory(held_out.histories, series)
    dates = temperatures.calendar(held_out.months)
    assert (str(dates[0, 0]), str(dates[-1, -1])) == ("1996-01", "2010-12")


def test_errors_are_those_that_were_measured(series):
    measured = json.loads((GOLDEN / "trained_forecaster.json").read_text())["rmse"]
    truth = temperatures.held_out(series).truth
    told = temperatures.forecasts(temperatures.load(), series)
    errors = {name: temperatures.rmse(values, truth) for name, values in told.items()}
    for name, error in errors.items():
        close(error, measured["model" if name == "the network" else name], FLOAT32[3], name)
    assert len(errors) == 4
    assert min(errors, key=errors.get) == "the network"


def test_forecasts_are_those_of_torch(series, isa):
    """As the module scales them, and as this one does, with deviations of its own."""
    model, module = temperatures.load().with_options(isa=isa), train_forecaster.trained()
    histories = temperatures.held_out(series).histories
    x = model.assets["scaler"].transform(histories)[..., None].astype(np.float32)
    with torch.no_grad():
        expected = module.forecast(torch.from_numpy(x), temperatures.HORIZON)
    close(model.forecast(x, temperatures.HORIZON), expected, FLOAT32[3])
    expected = train_forecaster.forecasts(module, histories)
    close(temperatures.forecast(model, histories), expected, FLOAT32[3])


def test_a_forecast_of_a_ragged_batch_is_that_of_the_row_alone(series, isa):
    model = temperatures.load().with_options(isa=isa)
    known = model.assets["scaler"].transform(series)[:, None].astype(np.float32)
    rows = [known[:months] for months in (60, 1, 17, 372)]
    x, lengths = sc.sequence.pad(rows)
    together = model.forecast(x, 24, lengths=lengths)
    for row, told in zip(rows, together, strict=True):
        np.testing.assert_array_equal(model.forecast(row[None], 24)[0], told)


# ---- Many to many: hyphens -----------------------------------------------------------------------


def test_hyphens_of_words_that_were_not_trained_on(words):
    given, right = words
    found = hyphenate.hyphenate(hyphenate.load(), given)
    alone = hyphenate.hyphenate(hyphenate.load(crf=False), given)
    assert share(found, right) == train_hyphens.exact(found, right)
    assert hyphenate.f1(found, right) == pytest.approx(train_hyphens.f1(found, right))
    assert share(found, right) > EXACT
    assert hyphenate.f1(found, right) > F1
    # What there is without the CRF, and without a network
    assert share(found, right) > share(alone, right) > share(given, right)
    assert hyphenate.f1(found, right) > hyphenate.f1(alone, right) > hyphenate.f1(given, right)


@pytest.mark.parametrize("crf", [True, False])
def test_hyphens_are_those_of_torch(words, crf, isa):
    model = hyphenate.load(crf).with_options(isa=isa)
    found = hyphenate.hyphenate(model, words[0])
    assert found == train_hyphens.hyphenate(train_hyphens.trained(), words[0], crf)


def test_scores_of_a_ragged_batch_are_those_of_torch_and_of_the_row_alone(words, isa):
    weights, _ = trained("hyphens")
    model = sc.Sequential(hyphenate.network(weights)).with_options(isa=isa)
    rows = [train_hyphens.letters_of(word) for word in words[0][:50]]
    ids, lengths = padded(rows)
    found = model(ids.numpy(), lengths=lengths.numpy())
    with torch.no_grad():
        expected = train_hyphens.trained()(ids, lengths).numpy()
    inside = np.arange(ids.shape[1]) < lengths.numpy()[:, None]
    close(found[inside], expected[inside], FLOAT32[2])
    for row, scores in zip(rows, found, strict=True):
        np.testing.assert_array_equal(model([row])[0], scores[: len(row)])


def test_a_word_among_others_has_the_hyphens_that_it_has_alone(words, isa):
    model = hyphenate.load().with_options(isa=isa)
    some = ["", "a", *words[0][:30], "Photosynthesis"]
    alone = [hyphenate.hyphenate(model, [word])[0] for word in some]
    assert hyphenate.hyphenate(model, some) == alone
    assert alone[-1] == "Pho-to-syn-the-sis"


# ---- As files, and as a user runs them -----------------------------------------------------------


def test_saved_models_answer_as_before(tmp_path, series, words):
    x, _ = add_numbers.problem(20, 40, np.random.default_rng(3))
    histories = temperatures.held_out(series).histories
    for example, answer in (
        (add_numbers, lambda model: model(x)),
        (temperatures, lambda model: temperatures.forecast(model, histories)),
        (hyphenate, lambda model: hyphenate.hyphenate(model, words[0])),
    ):
        model = example.load()
        model.save(tmp_path / "model")
        loaded = sc.load(tmp_path / "model")
        np.testing.assert_array_equal(answer(loaded), answer(model))
        assert loaded.assets.keys() == model.assets.keys()
    assert loaded.assets["letters"] == model.assets["letters"]


@pytest.mark.parametrize("example", [temperatures, hyphenate])
def test_an_example_answers_from_a_file_of_its_own(example, tmp_path, capsys, monkeypatch):
    path = str(tmp_path / "model.safetensors")
    example.main(["--save", path])
    expected = capsys.readouterr().out
    monkeypatch.setattr(example, "load", None)
    example.main(["--model", path])
    assert capsys.readouterr().out == expected
    sc.Sequential([sc.Dense([[1.0]])]).save(path)
    with pytest.raises(SystemExit, match=r"this one lacks (scaler|letters)"):
        example.main(["--model", path])


SPEED = r"[\d,]+\.\d+ [um]s, seqcore +[\d,]+\.\d+ [um]s: [\d,]+\.\d times as fast\n"


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        (
            add_numbers,
            r"1,000 rows of 100 frames, .*\n  the network +0\.0001\d\n  always 1 +0\.1\d+  .*\n"
            rf"Keras on torch: largest difference \d\.\de-0[67]\n(  .* Keras +{SPEED}){{2}}$",
        ),
        (
            temperatures,
            r"torch's module: largest difference \d\.\de-0[67] °C; .*\n"
            rf"(  .*torch +{SPEED}){{2}}$",
        ),
        (
            hyphenate,
            r"  GRU and CRF +78\.\d\d% +0\.87\d\d\n  GRU, .* 7[56]\.\d\d% +0\.87\d\d\n"
            r"  never a hyphen +24\.30% +0\.0000\ntorch's module: 1,000 of 1,000 .*\n"
            rf"(  .*torch +{SPEED}){{2}}$",
        ),
    ],
)
def test_an_example_checks_itself(example, expected, capsys):
    example.main(["--check"])
    out = capsys.readouterr().out
    assert re.search(expected, out), out


def test_the_forecast_is_drawn(series, tmp_path, capsys):
    model = temperatures.load()
    told = temperatures.forecasts(model, series)
    above, below = temperatures.picture(model, series).axes
    for axes, count in ((above, 3), (below, 4)):
        assert len(axes.get_lines()) == count
    drawn = {line.get_label(): line.get_ydata() for line in above.get_lines()}
    np.testing.assert_array_equal(drawn["the network"], told["the network"][-1])
    np.testing.assert_array_equal(drawn["measured"], series[-60:])
    temperatures.main(["--picture", str(tmp_path / "forecast.png")])
    assert (tmp_path / "forecast.png").read_bytes().startswith(b"\x89PNG")
    assert "2010-12" in capsys.readouterr().out


WITHOUT = """
import runpy, sys
sys.modules.update({name: None for name in %s})
sys.path.insert(0, %r)
sys.argv = %r
runpy.run_path(sys.argv[0], run_name="__main__")
assert not {"keras", "statsmodels", "torch"} & {name for name in sys.modules if sys.modules[name]}
"""


def without(packages, name, *arguments):
    """Run an example where some packages are not; return its exit code, output and errors."""
    code = WITHOUT % (packages, str(EXAMPLES), [str(EXAMPLES / name), *arguments])
    environment = {"PYTHONPATH": str(Path(sc.__file__).parents[1]), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8",
        check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", ["add_numbers", "forecast_temperatures", "hyphenate"])
def test_no_framework_is_needed(name):
    frameworks = ["keras", "torch", "pyphen"]
    assert without(frameworks, f"{name}.py")[::2] == (0, "")
    code, out, err = without(frameworks, f"{name}.py", "--check")
    assert (code, err) == (0, "")
    assert out.endswith("is not installed: there is nothing to compare with\n")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("add_numbers.py", ["0.5"], "expected two numbers between 0 and 1; found [0.5]"),
        ("add_numbers.py", ["0.5", "nan"], "expected two numbers between 0 and 1"),
        ("hyphenate.py", ["cat", "naïve"], "hyphenate: text 1: token 2, 'ï', is none of"),
        ("hyphenate.py", ["--model", "absent"], "No such file or directory: 'absent'"),
        (
            "forecast_temperatures.py",
            [],
            "the series in statsmodels==0.15.0: pip install --no-deps",
        ),
    ],
)
def test_what_an_example_cannot_use_is_said(name, arguments, message):
    code, out, err = without(["statsmodels"], name, *arguments)
    assert code != 0
    assert out == ""
    assert message in err
    assert "Traceback" not in err
