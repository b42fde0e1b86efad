"""Pictures: what is in their axes, what is written at them, and what they leave alone."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from fontTools import ttLib
from matplotlib import font_manager, rcParams
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import seqcore as sc

FEATURES, H, T = 4, 6, 40
WORDS = [f"word{t}" if t % 3 else "incomprehensibilities"[: 1 + t % 20] for t in range(T)]


@pytest.fixture(autouse=True)
def loud():
    """A character that no font has, or a layout that does not fit, is a warning of matplotlib."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def model_of(rng, kind=sc.LSTM, gates=4):
    W, U = rng.normal(size=(FEATURES, gates * H)), rng.normal(size=(H, gates * H))
    return sc.Sequential([kind(W, U, np.zeros(gates * H))])


@pytest.fixture
def trace(rng):
    """Of three rows: T frames, 5, none."""
    return model_of(rng).trace(rng.normal(size=(3, T, FEATURES)), lengths=[T, 5, 0])


def panels(figure):
    """The axes without their colour bars."""
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


def boxes(axis):
    """The places of labels, drawn, that are not empty."""
    axis.figure.figure.draw_without_rendering()
    return [t.get_window_extent() for t in axis.get_ticklabels() if t.get_text()]


def is_clean(figure):
    """Assert that no two labels of an axis overlap, and that nothing is cut off."""
    figure.draw_without_rendering()
    whole = figure.bbox.padded(1)
    for ax in panels(figure):
        for axis in (ax.xaxis, ax.yaxis):
            found = [box for box in boxes(axis) if axis.axes.get_visible()]
            for a, b in pairwise(found):
                assert not a.overlaps(b), (a, b)
        tight = ax.get_tightbbox()
        assert whole.x0 <= tight.x0
        assert whole.y0 <= tight.y0
        assert tight.x1 <= whole.x1
        assert tight.y1 <= whole.y1


def written(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


# ---- Gates ---------------------------------------------------------------------------------------


def test_gates_are_drawn_as_they_are(trace):
    figure = sc.plots.gates(trace, tokens=WORDS)
    assert type(figure) is Figure
    for name, ax in zip("ifgo", panels(figure), strict=True):
        (image,) = ax.images
        assert np.array_equal(image.get_array(), trace[name][0].T)
        most = np.abs(trace["g"][0]).max()
        assert image.get_clim() == ((0, 1) if name != "g" else (-most, most))
        assert image.get_cmap().name == ("PuOr" if name == "g" else "cividis")
        assert f" {name}" in ax.get_title(loc="left")
        assert image.colorbar is not None
    assert written(panels(figure)[-1].xaxis) == WORDS
    is_clean(figure)


def test_states_have_zero_in_the_middle(trace):
    figure = sc.plots.gates(trace, gates=["c", "h"])
    for name, ax in zip("ch", panels(figure), strict=True):
        most = np.abs(trace[name][0]).max()
        assert ax.images[0].get_clim() == (-most, most)
    assert panels(figure)[-1].get_xlabel() == "frame"
    is_clean(figure)


def test_a_row_ends_where_it_ends(trace):
    for tokens in ("seven", "seven" + " " * (T - 5), None):
        (ax,) = panels(sc.plots.gates(trace, 1, tokens, "f"))
        assert np.array_equal(ax.images[0].get_array(), trace["f"][1, :5].T)
        if tokens is not None:
            assert written(ax.xaxis) == list("seven")


def test_frames_that_do_not_count_are_grey(rng):
    x, mask = rng.normal(size=(1, 8, FEATURES)), np.array([[1, 1, 0, 1, 1, 0, 0, 1]], bool)
    trace = model_of(rng).trace(x, mask=mask)
    figure = sc.plots.gates(trace, gates="f")
    (image,) = panels(figure)[0].images
    assert np.array_equal(np.ma.getmaskarray(image.get_array()), np.tile(~mask, (H, 1)))
    colours = image.to_rgba(image.get_array())[0]
    assert np.allclose(colours[~mask[0], :3], to_rgb("0.8"))


def test_gates_that_are_not_between_0_and_1(rng):
    W, U = 9 * rng.normal(size=(FEATURES, 3 * H)), np.zeros((H, 3 * H))
    for kind, map_name in (("relu", "cividis"), (None, "PuOr")):
        gru = sc.GRU(W, U, recurrent_activation=kind)
        trace = sc.Sequential([gru]).trace(rng.normal(size=(1, 5, FEATURES)))
        (ax,) = panels(sc.plots.gates(trace, gates="r"))
        most = np.abs(trace["r"]).max()
        assert ax.images[0].get_clim() == ((0 if kind else -most), most)
        assert ax.images[0].get_cmap().name == map_name


def test_what_is_drawn_if_nothing_is_said(rng):
    x = rng.normal(size=(1, 3, FEATURES))
    gru, plain = (
        sc.plots.gates(model_of(rng, *each).trace(x)) for each in ((sc.GRU, 3), (sc.SimpleRNN, 1))
    )
    assert [ax.get_title(loc="left") for ax in panels(gru)] == [
        "reset gate r", "update gate z: 1 keeps the state", "candidate n",
    ]  # fmt: skip
    assert [ax.get_title(loc="left") for ax in panels(plain)] == ["output h"]


@pytest.mark.parametrize("frames", [1, 17, 40, 300])
@pytest.mark.parametrize("token", ["W", "a fairly long token"])
def test_labels_never_overlap(rng, frames, token):
    trace = model_of(rng).trace(rng.normal(size=(1, frames, FEATURES)))
    figure = sc.plots.gates(trace, tokens=[token] * frames, gates=["f", "g"])
    is_clean(figure)
    shown = written(panels(figure)[-1].xaxis)
    assert set(shown) == {token}
    assert len(shown) == frames or (frames > 40 and len(shown) > 20)


# ---- Saturation ----------------------------------------------------------------------------------


def test_saturation_has_a_point_for_each_unit(trace):
    figure = sc.plots.saturation(trace, 0.2, 0.7)
    found = trace.saturation(0.2, 0.7)
    for (name, shares), ax in zip(found.items(), panels(figure), strict=True):
        (points,) = ax.collections
        expected = {tuple(point) for point in np.stack(shares, axis=1)}
        assert {tuple(point) for point in points.get_offsets()} == expected
        assert ax.get_title().endswith(f" {name}")
        assert ax.get_xlabel() == "frames below 0.2"
    assert panels(figure)[0].get_ylabel() == "frames above 0.7"
    is_clean(figure)


def test_units_at_one_point_are_counted():
    b = np.concatenate([np.full(H, 9.0), np.full(H, -9.0), np.zeros(2 * H)])
    lstm = sc.LSTM(np.zeros((1, 4 * H)), np.zeros((H, 4 * H)), b)
    trace = sc.Sequential([lstm]).trace(np.zeros((1, 3, 1)))
    figure = sc.plots.saturation(trace)
    for ax, point in zip(panels(figure), ([0, 1], [1, 0], [0, 0]), strict=True):
        (points,) = ax.collections
        assert points.get_offsets().tolist() == [point]
        assert [text.get_text() for text in ax.texts] == [str(H)]
    is_clean(figure)


# ---- Attention -----------------------------------------------------------------------------------


def test_attention_is_drawn_as_it_is(rng):
    weights = rng.dirichlet(np.ones(T), 12).astype(np.float32)
    figure = sc.plots.attention(weights, WORDS, "22 November\n")
    (ax,) = panels(figure)
    assert np.array_equal(ax.images[0].get_array(), weights)
    assert ax.images[0].get_clim() == (0, weights.max())
    assert written(ax.xaxis) == WORDS
    assert written(ax.yaxis) == list("22␣November↵")
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first of the target on top
    is_clean(figure)
    is_clean(sc.plots.attention(np.eye(T), WORDS, WORDS))
    is_clean(sc.plots.attention(np.eye(120), ["word"] * 120, ["word"] * 120))
    assert written(panels(sc.plots.attention(np.eye(3)))[0].xaxis)


# ---- Labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (" the", "␣the"), ("New York", "New York"), ("  ", "␣␣"), ("\n", "↵"), ("a\tb", "a⇥b"),
        ("\u00a0x\u3000", "␣x␣"), ("\0", "\\x00"), ("\u2028", "\\u2028"), ("\ud800", "\\ud800"),
        ("$x$", "$x$"), ("$", "$"), ("$\\frac$", "$\\frac$"), ("", ""), (7, "7"), (b"a", "b'a'"),
        ("x" * 100, "x" * 23 + "…"), ("снег", "снег"), ("λόγος", "λόγος"), ("שלום", "שלום"),
        ("他", "U+4ED6"), ("红了", "U+7EA2 U+4E86"), ("a\U000e0001", "a"),
    ],
)  # fmt: skip
def test_labels_show_everything(token, shown, monkeypatch):
    """With the fonts that matplotlib brings along, none of which has Han characters."""
    own = str(Path(font_manager.__file__).parent)
    fonts = [font for font in font_manager.fontManager.ttflist if font.fname.startswith(own)]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", fonts)
    figure = sc.plots.attention(np.eye(1), [token], [token])
    (ax,) = panels(figure)
    assert written(ax.xaxis) == written(ax.yaxis) == [shown]
    figure.savefig(io.BytesIO(), format="png")


def test_a_font_of_the_machine_joins_for_what_the_usual_one_lacks(tmp_path, monkeypatch):
    with ttLib.TTFont(font_manager.findfont("DejaVu Sans")) as font:
        for table in font["cmap"].tables:
            table.cmap = {0x4ED6: "A", 0x7EA2: "B"}
        for record in font["name"].names:
            record.string = "Test Han"
        font.save(tmp_path / "han.ttf")
    broken = tmp_path / "a.ttf"
    broken.write_bytes(b"no font")
    manager = font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", list(manager.ttflist))
    manager.addfont(tmp_path / "han.ttf")
    manager.ttflist.append(font_manager.FontEntry(fname=str(broken), name="A broken one"))
    figure = sc.plots.attention(np.eye(2), ["他", "红 y"])
    (ax,) = panels(figure)
    assert written(ax.xaxis) == ["他", "红 y"]
    label, _ = ax.get_xticklabels()
    assert label.get_fontfamily() == [*rcParams["font.family"], "Test Han"]
    figure.savefig(io.BytesIO(), format="png")  # where a missing character would be a warning


# ---- Axes and figures of the caller --------------------------------------------------------------


def test_axes_of_the_caller(trace):
    figure = Figure(figsize=(12, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    assert sc.plots.gates(trace, 0, WORDS, ["f", "c"], ax=axes[0]) is figure
    assert sc.plots.attention(np.eye(3), "abc", ax=axes[1, 0]) is figure
    assert sc.plots.gates(trace, gates="o", ax=[axes[1, 1]]) is figure
    assert [len(ax.images) for ax in axes.flat] == [1] * 4
    assert written(axes[0, 0].xaxis) == written(axes[0, 1].xaxis) != []
    is_clean(figure)
    three = Figure().subplots(1, 3)
    sc.plots.saturation(trace, ax=three)
    assert all(ax.collections for ax in three)


def test_figures_of_the_caller(trace):
    figure = Figure(figsize=(14, 10), layout="constrained")
    left, right = figure.subfigures(1, 2)
    assert sc.plots.gates(trace, tokens=WORDS, figure=left) is figure
    assert sc.plots.attention(np.eye(3), figure=right) is figure
    assert [len(panels(left)), len(panels(right))] == [4, 1]
    is_clean(figure)
    assert len(panels(sc.plots.saturation(trace, figure=Figure()))) == 3


def test_labels_of_one_axis_leave_less_room_for_the_other():
    figure = Figure(figsize=(4, 4), layout="constrained")
    sc.plots.attention(
        np.eye(18), ["three words"] * 18, ["a long line of text"] * 18, figure=figure
    )
    is_clean(figure)
    figure = Figure(figsize=(4, 4), layout="constrained")
    sc.plots.attention(np.eye(18), ["W"] * 18, ["a long line of text"] * 18, figure=figure)
    is_clean(figure)


def test_nothing_of_the_process_changes():
    """No pyplot, no backend chosen, no options set; a picture comes out all the same."""
    code = """
import io, sys
import matplotlib
import numpy as np
import seqcore as sc
before = matplotlib.rcParams.copy()
lstm = sc.LSTM(np.ones((1, 8)), np.ones((2, 8)), np.zeros(8))
assert "matplotlib.figure" not in sys.modules  # only who draws needs it
trace = sc.Sequential([lstm]).trace(np.ones((1, 3, 1)))
for figure in (
    sc.plots.gates(trace, tokens="abc"), sc.plots.saturation(trace), sc.plots.attention(np.eye(2)),
):
    file = io.BytesIO()
    figure.savefig(file)
    assert file.getvalue().startswith(b"\\x89PNG")
assert "matplotlib.pyplot" not in sys.modules
assert dict.__eq__(before, matplotlib.rcParams)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- Bad input -----------------------------------------------------------------------------------


def test_what_cannot_be_drawn_is_said(trace, rng):
    def fails(kind, message, function, *arguments, **options):
        with pytest.raises(kind, match=message):
            getattr(sc.plots, function)(*arguments, **options)

    fails(sc.DtypeError, "gates: expected a Trace.*found ndarray", "gates", np.eye(3))
    fails(sc.DtypeError, "saturation: expected a Trace.*found int", "saturation", 3)
    for row in (3, -1, 0.5, None):
        fails(sc.OptionError, "row is", "gates", trace, row)
    fails(sc.ShapeError, "row 2 has no frames", "gates", trace, 2)
    fails(
        sc.ShapeError,
        "tokens: expected 5, one for each frame; found 6",
        "gates",
        trace,
        1,
        "abcdef",
    )
    fails(sc.OptionError, "tokens: expected a sequence of labels; found 5", "gates", trace, 1, 5)
    fails(sc.OptionError, "'lstm': there is no 'r'", "gates", trace, gates=["f", "r"])
    fails(sc.OptionError, "there is no 5; a LSTM", "gates", trace, gates=5)
    fails(sc.OptionError, "some of i, f, g, o, c, h; found none", "gates", trace, gates=[])
    fails(sc.OptionError, "low < high", "saturation", trace, 0.9, 0.1)
    plain = model_of(rng, sc.SimpleRNN, 1).trace(np.zeros((1, 2, FEATURES)))
    fails(sc.OptionError, "has no gates", "saturation", plain)

    fails(sc.ShapeError, r"one row.*found shape \(1, 2, 2\)", "attention", np.ones((1, 2, 2)))
    fails(sc.ShapeError, r"found shape \(0, 2\)", "attention", np.ones((0, 2)))
    fails(sc.ShapeError, "weights", "attention", [[1, 2], [3]])
    fails(sc.DtypeError, "real numbers; found complex128", "attention", np.ones((2, 2)) * 1j)
    fails(sc.ShapeError, "source: expected 3", "attention", np.ones((2, 3)), "ab")
    fails(sc.ShapeError, "target: expected 2", "attention", np.ones((2, 3)), "abc", "abc")

    ax = Figure().subplots()
    both = {"ax": ax, "figure": Figure()}
    for function, first in (("gates", trace), ("saturation", trace), ("attention", np.eye(2))):
        fails(sc.OptionError, "ax or figure, not both", function, first, **both)
        fails(sc.OptionError, "expected a Figure", function, first, figure=ax)
        fails(sc.OptionError, "ax: expected [134] of", function, first, ax=[ax, ax])
        fails(sc.OptionError, "ax: expected [134] of", function, first, ax="axes")
        fails(sc.OptionError, "ax: expected [134] of", function, first, ax=Figure())


def test_numbers_that_are_none_are_drawn():
    """NaN and infinite weights are grey, also where there is nothing else."""
    for weights in ([[np.nan, np.inf], [0.5, -np.inf]], [[np.nan] * 2]):
        (ax,) = panels(sc.plots.attention(weights))
        shown = ax.images[0].get_array()
        assert np.array_equal(np.ma.getmaskarray(shown), ~np.isfinite(weights))
        assert np.isfinite(ax.images[0].get_clim()).all()


def test_without_matplotlib_the_extra_is_named(trace, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in (
        lambda: sc.plots.gates(trace), lambda: sc.plots.saturation(trace),
        lambda: sc.plots.attention(np.eye(2)),
    ):  # fmt: skip
        with pytest.raises(sc.MissingExtraError, match=r"pip install seqcore\[plots\]"):
            draw()
