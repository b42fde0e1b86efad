"""Pictures of what happens inside: gates over time, saturation, attention. They need matplotlib.

Each function fills a figure of its own, or the axes or the figure of the caller, and returns the
figure: ``figure.savefig("gates.png")``. There is no pyplot in it: nothing is shown, and no state of
the process changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, NamedTuple
from unicodedata import category, east_asian_width

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arguments import floats
from .errors import DtypeError, MissingExtraError, OptionError, ShapeError
from .graph import told
from .layers.base import whole
from .trace import Trace

__all__ = ["attention", "gates", "saturation"]

Array = NDArray[Any]

_TITLES = {
    "i": "input gate i", "f": "forget gate f", "g": "candidate g", "o": "output gate o",
    "r": "reset gate r", "z": "update gate z: 1 keeps the state", "n": "candidate n",
    "c": "cell state c", "h": "output h",
}  # fmt: skip
_OPENING = frozenset("ifozr")
# Colours that the colour-blind tell apart and that keep their order in grey: from 0 on, and around
# 0. Grey itself is what is not there.
_FROM_ZERO, _AROUND_ZERO, _ABSENT, _POINT = "cividis", "PuOr", "0.8", "#0072b2"
_LONGEST = 24  # characters of a label
_SIZE, _LINE, _GAP = 10, 1.3, 2  # of labels: points, lines in sizes; pixels between two
_MANY = 0.25  # of the units; where more are at one point, their number is written there
_INCH = 72  # points
_BAR = 0.15  # inches
# Fonts that have every character, and show of none what it is.
_PLACEHOLDERS = ("Last Resort", "LastResort", "Adobe Blank", "AdobeBlank", "Adobe NotDef")


# ---- Pictures ------------------------------------------------------------------------------------


def gates(
    trace: Trace,
    row: int = 0,
    tokens: Sequence[Any] | None = None,
    gates: str | Sequence[str] | None = None,
    *,
    ax: Any = None,
    figure: Any = None,
) -> Any:
    """Draw gates or states of one row over time, a map of units by frames for each.

    Parameters
    ----------
    trace : Trace
        What ``model.trace(x)`` returned.
    row : int
        Of the batch. Frames past its end are not drawn; one that a mask leaves out is grey.
    tokens : sequence, optional
        What stands at each frame, for the axis; of a string, its characters.
    gates : str or sequence of str, optional
        Names as in ``trace[name]``. Left out, all gates, or h of a layer without.
    ax : Axes or sequence of Axes, optional
        One for each name, instead of a new figure.
    figure : Figure or SubFigure, optional
        Gets the axes, instead of a new figure.

    Returns
    -------
    Figure
        Gates that open and close are shown from 0 to 1, all else around 0.

    Raises
    ------
    OptionError, ShapeError, DtypeError
        There is no such row or name, or no frame in the row; tokens or axes are too many or too
        few.
    MissingExtraError
    """
    _check_trace(trace, "gates")
    names = _chosen(trace, gates)
    place = whole(row, "plots.gates", "row", least=0)
    if place >= len(trace.lengths):
        raise OptionError(f"plots.gates: row is one of {len(trace.lengths)}, from 0; found {place}")
    frames = int(trace.lengths[place])
    if not frames:
        raise ShapeError(f"plots.gates: row {place} has no frames")
    labels = _labels(tokens, "plots.gates: tokens", frames, trace.h.shape[1])
    size = (_room(frames, 5), 0.9 + 1.4 * len(names))
    filled, axes = _panels("gates", (len(names), 1), size, ax, figure)
    for name, panel in zip(names, axes, strict=True):
        values = trace[name][place, :frames].T
        _draw_map(panel, values, "gate" if name in _OPENING else "state")
        panel.set_title(_TITLES[name], loc="left", fontsize="medium")
        panel.set_ylabel("unit")
        _write(panel.yaxis, None)
        if ax is not None or panel is axes[-1]:  # the others of a new figure share its frames
            panel.set_xlabel("frame" if labels is None else "")
            _write(panel.xaxis, labels)
    return filled


def saturation(
    trace: Trace, low: float = 0.1, high: float = 0.9, *, ax: Any = None, figure: Any = None
) -> Any:
    """Draw how often the gates of each unit are nearly shut and nearly open, a point for each unit.

    A point far to the right is a gate that is shut at most frames, one high up a gate that is open
    at most; near the origin gates are in between, and neither keep nor drop anything whole.

    Parameters
    ----------
    trace : Trace
    low, high : float
        As of `Trace.saturation`.
    ax : Axes or sequence of Axes, optional
        One for each gate (i, f and o; r and z), instead of a new figure.
    figure : Figure or SubFigure, optional
        Gets the axes, instead of a new figure.

    Returns
    -------
    Figure
        A point is larger where several units are, and tells their number if it is more than a
        quarter of all.

    Raises
    ------
    OptionError, DtypeError, MissingExtraError
    """
    _check_trace(trace, "saturation")
    found = trace.saturation(low, high)
    size = (0.6 + 2.9 * len(found), 3.4)
    filled, axes = _panels("saturation", (1, len(found)), size, ax, figure)
    for (name, shares), panel in zip(found.items(), axes, strict=True):
        points, counts = np.unique(np.stack(shares, axis=1), axis=0, return_counts=True)
        parts, area = counts / counts.sum(), 20 + 500 * (counts - 1) / counts.sum()
        panel.plot([0, 1], [1, 0], ":", color="0.5", linewidth=1, zorder=1)
        panel.scatter(*points.T, area, color=_POINT, alpha=0.5, lw=0)
        for point, count in zip(points[parts > _MANY], counts[parts > _MANY], strict=True):
            panel.annotate(str(count), point, ha="center", va="center", fontsize="small")
        panel.set_title(_TITLES[name].partition(":")[0], fontsize="medium")
        panel.set(xlim=(-0.1, 1.1), ylim=(-0.1, 1.1), aspect="equal")
        panel.set(xticks=[0, 0.5, 1], yticks=[0, 0.5, 1], xlabel=f"frames below {low:g}")
        panel.set_ylabel(f"frames above {high:g}" if panel is axes[0] or ax is not None else "")
    return filled


def attention(
    weights: ArrayLike,
    source: Sequence[Any] | None = None,
    target: Sequence[Any] | None = None,
    *,
    ax: Any = None,
    figure: Any = None,
) -> Any:
    """Draw which frames of the source each frame of the target attends to.

    Parameters
    ----------
    weights : (Tq, Tv) array_like
        Of one row of the batch and one head: a line for each frame of the target.
    source, target : sequence, optional
        What stands at the frames, Tv and Tq labels; of a string, its characters.
    ax : Axes, optional
        To draw into, instead of a new figure.
    figure : Figure or SubFigure, optional
        Gets the axes, instead of a new figure.

    Returns
    -------
    Figure

    Raises
    ------
    ShapeError, DtypeError
        The weights are no matrix of numbers, or the labels too many or too few.
    OptionError, MissingExtraError
    """
    matrix = floats(weights, "plots.attention: weights")
    if matrix.ndim != 2 or not matrix.size:
        raise ShapeError(
            f"plots.attention: expected weights (target, source) of one row, of at least one frame "
            f"each; found shape {matrix.shape}"
        )
    below = _labels(source, "plots.attention: source", matrix.shape[1])
    beside = _labels(target, "plots.attention: target", matrix.shape[0])
    size = (
        _room(matrix.shape[1], 3.5) + (beside.inches() if beside else 0),
        _room(matrix.shape[0], 2.5) + (below.inches() if below else 0),
    )
    filled, (panel,) = _panels("attention", (1, 1), size, ax, figure)
    _draw_map(panel, matrix, "weights")
    panel.set(xlabel="source", ylabel="target")
    # Labels of one axis take room from the other.
    for axis, labels in ((panel.xaxis, below), (panel.yaxis, beside), (panel.xaxis, below)):
        _write(axis, labels)
    return filled


# ---- Arguments -----------------------------------------------------------------------------------


def _check_trace(trace: Any, function: str) -> None:
    if not isinstance(trace, Trace):
        raise DtypeError(
            f"plots.{function}: expected a Trace, as model.trace(x) returns it; found "
            f"{type(trace).__name__}"
        )


def _chosen(trace: Trace, gates: str | Sequence[str] | None) -> list[str]:
    """Return the names of what is to be drawn; `Trace` refuses others."""
    if gates is None:
        return list(trace.gates) or ["h"]
    names = [gates] if isinstance(gates, str) or not isinstance(gates, Iterable) else list(gates)
    if not names:
        raise OptionError(f"plots.gates: gates are some of {', '.join(trace.names)}; found none")
    return [name for name in names if trace[name].ndim]


class _Labels(NamedTuple):
    """What is written at an axis, and the families of the fonts that have it all."""

    texts: list[str]
    families: list[str]

    def inches(self) -> float:
        """Return the length of the longest, about."""
        letters = max(sum(1 + (east_asian_width(c) in "WF") for c in text) for text in self.texts)
        return letters * _SIZE * 0.65 / _INCH


def _labels(given: Sequence[Any] | None, what: str, *counts: int) -> _Labels | None:
    """Return as many labels as the first of `counts`; they may be as many as any of them."""
    if given is None:
        return None
    if not isinstance(given, Iterable):
        raise OptionError(f"{what}: expected a sequence of labels; found {told(given)}")
    labels = list(given)
    if len(labels) not in counts:
        raise ShapeError(f"{what}: expected {counts[0]}, one for each frame; found {len(labels)}")
    return _drawable([_visible(str(label)) for label in labels[: counts[0]]])


def _visible(label: str) -> str:
    """Return a label of which everything is seen: spaces at its ends, ends of lines, controls."""
    start, end = len(label) - len(label.lstrip()), len(label.rstrip())
    return "".join(_shown(c, outside=not start <= k < end) for k, c in enumerate(label))


def _shown(character: str, outside: bool) -> str:
    if character in "\n\t":
        return "↵" if character == "\n" else "⇥"
    if category(character) == "Zs":
        return "␣" if outside else " "
    if category(character) in ("Cc", "Cs", "Zl", "Zp"):  # which nobody can draw
        return character.encode("unicode_escape").decode()
    return character


def _drawable(labels: list[str]) -> _Labels:
    """Return labels as they can be drawn: with any font of this machine, or by number, U+4F60."""
    manager = _matplotlib().font_manager
    families = list(manager.FontProperties().get_family())
    missing = set("".join(labels))
    for family in families:
        missing -= _characters(manager.findfont(manager.FontProperties(family=[family])))
    fonts = [
        each for each in manager.fontManager.ttflist
        if each.style == "normal" and not each.name.strip(".").startswith(_PLACEHOLDERS)
    ]  # fmt: skip
    for font in sorted(fonts, key=lambda each: (each.name, each.fname)):
        found = missing and missing & _characters(font.fname)
        if found:
            families.append(font.name)
            missing -= found
    # a hint how to join or to shape other characters is nothing without them
    numbers: dict[str | int, str | int | None] = {
        c: None if category(c) in ("Cf", "Mn") else f"U+{ord(c):04X} " for c in missing
    }
    texts = [label.translate(str.maketrans(numbers)).strip() for label in labels]
    cut = [text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…" for text in texts]
    return _Labels(cut, families)


def _characters(font: Any) -> set[str]:
    """Return what a font has."""
    try:
        return set(map(chr, _matplotlib().font_manager.get_font(font).get_charmap()))
    except (OSError, RuntimeError):  # a file that is damaged, or gone
        return set()


# ---- Figures -------------------------------------------------------------------------------------


def _matplotlib() -> ModuleType:
    try:
        import matplotlib.axes
        import matplotlib.figure
        import matplotlib.font_manager
        import matplotlib.ticker
    except ImportError as error:
        raise MissingExtraError("plots need matplotlib: pip install seqcore[plots]") from error
    module: ModuleType = matplotlib
    return module


def _room(frames: int, least: float) -> float:
    """Return the inches in which so many labels have a line each, within reason."""
    return float(np.clip(1.7 + frames * _SIZE * _LINE / _INCH, least, 16))


def _panels(
    function: str, grid: tuple[int, int], size: tuple[float, float], ax: Any, figure: Any
) -> tuple[Any, list[Any]]:
    """Return a figure, and axes in it: the caller's, new ones in the caller's figure, or new ones.

    Raises
    ------
    OptionError
        Both are given, or what is given is something else, or not enough.
    """
    mpl, count = _matplotlib(), grid[0] * grid[1]
    if ax is not None and figure is not None:
        raise OptionError(f"plots.{function}: ax or figure, not both")
    if ax is not None:
        axes = [ax] if isinstance(ax, mpl.axes.Axes) else list(np.ravel(np.asarray(ax, object)))
        if len(axes) != count or not all(isinstance(each, mpl.axes.Axes) for each in axes):
            raise OptionError(
                f"plots.{function}: ax: expected {count} of matplotlib's Axes; found {told(ax)}"
            )
        return _root(axes[0]), axes
    if figure is None:
        figure = mpl.figure.Figure(figsize=size, layout="constrained")
    if not isinstance(figure, mpl.figure.FigureBase):
        raise OptionError(
            f"plots.{function}: figure: expected a Figure or a SubFigure of matplotlib; found "
            f"{told(figure)}"
        )
    axes = list(figure.subplots(*grid, squeeze=False, sharex=grid[1] == 1).flat)
    return _root(axes[0]), axes


def _draw_map(panel: Any, values: Array, what: str) -> None:
    """Draw a matrix of a "gate", a "state" or "weights" in colours, with their bar.

    A gate goes from 0 to 1, weights go from 0 on; a state, and whatever is below 0, around 0.
    """
    mpl = _matplotlib()
    finite = values[np.isfinite(values)]
    most = float(np.abs(finite).max(initial=0)) or 1.0
    around = what == "state" or bool((finite < 0).any())
    least = -most if around else 0.0
    colours = mpl.colormaps[_AROUND_ZERO if around else _FROM_ZERO].with_extremes(bad=_ABSENT)
    image = panel.imshow(
        np.ma.masked_invalid(values), cmap=colours, aspect="auto", interpolation="nearest",
        vmin=least, vmax=1.0 if what == "gate" and most <= 1 and not around else most,
    )  # fmt: skip
    # The bar is as high as the axes and as wide in every figure; matplotlib wants proportions.
    width, height = np.maximum(panel.get_window_extent().size, 1) / panel.figure.dpi / _BAR
    part = min(0.15, 1 / width)
    panel.figure.colorbar(image, ax=panel, pad=0.015, fraction=part, aspect=1.3 * height)


# ---- Axes and what is written at them ------------------------------------------------------------


def _write(axis: Any, labels: _Labels | None) -> None:
    """Write a label at each frame, or at every second, third ... if there is no room; or count."""
    if labels is None:
        axis.set_major_locator(_matplotlib().ticker.MaxNLocator("auto", integer=True))
        return
    texts, below = labels.texts, axis.axis_name == "x"

    def write(step: int, rotation: int) -> None:
        axis.set_ticks(
            range(0, len(texts), step), texts[::step], rotation=rotation,
            fontfamily=labels.families, parse_math=False,
        )  # fmt: skip

    write(1, 0)
    layout = axis.figure.get_layout_engine()
    if layout is not None:
        layout.execute(_root(axis))  # only then the axes have their size
    boxes = [label.get_window_extent().size for label in axis.get_ticklabels()]
    width, height = np.max(boxes, axis=0)
    room = max(axis.axes.get_window_extent().size[0 if below else 1], 1) / len(texts)
    upright = below and width + _GAP > room
    step = int(np.ceil((height + _GAP) / room)) if upright or not below else 1
    if upright or step > 1:
        write(step, 90 if upright else 0)


def _root(artist: Any) -> Any:
    """Return the whole figure, also of what is in a SubFigure."""
    return artist.figure.figure
