"""Scaler: features of a series brought to one scale, and results brought back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arguments import array_of, ends_of
from .errors import DtypeError, ModelFileError, NotBuiltError, OptionError, ShapeError
from .graph import finite, told
from .layers.base import choice

__all__ = ["Scaler"]

Array = NDArray[Any]

_METHODS = ("standard", "min_max")
_MAX_FEATURES = 1 << 20


class Scaler:
    """``(x - offset) / scale + start``, for each feature of the last axis. It does not change.

    Parameters
    ----------
    method : "standard" or "min_max"
        What `fit` brings its features to: mean 0 and standard deviation 1 (of the frames, not an
        estimate for more of them), or `feature_range`.
    feature_range : (float, float)
        For "min_max", whose start is the first of them; that of "standard" is 0.

    Attributes
    ----------
    method : str
    feature_range : (float, float)
    offset, scale : array (F,) or () of float64
        None before `fit`. Without an axis after a series (T,), of one feature that has no axis;
        then arrays of any shape are scaled.

    Raises
    ------
    OptionError

    Examples
    --------
    >>> import numpy as np
    >>> from seqcore.sequence import Scaler
    >>> scaler = Scaler("min_max").fit(np.array([[1.0, 10.0], [3.0, 30.0]]))
    >>> scaler.transform([[2.0, 30.0]]).tolist()
    [[0.5, 1.0]]
    >>> scaler.inverse([[0.5, 1.0]]).tolist()
    [[2.0, 30.0]]
    """

    def __init__(
        self, method: str = "standard", *, feature_range: tuple[float, float] = (0.0, 1.0)
    ) -> None:
        self.method: str = choice(method, "Scaler", "method", _METHODS)
        pair = feature_range if isinstance(feature_range, (tuple, list)) else ()
        ends = [finite(end) for end in pair]
        low, high = ends if len(ends) == 2 else (None, None)
        if low is None or high is None or not 0 < high - low < np.inf:
            raise OptionError(
                "Scaler: feature_range is two numbers, the smaller one first; found "
                f"{told(feature_range)}"
            )
        self.feature_range = low, high
        self.offset: Array | None = None
        self.scale: Array | None = None

    def fit(self, x: ArrayLike, lengths: ArrayLike | None = None) -> Scaler:
        """Return a scaler of this kind with offset and scale of the frames given.

        A feature that never changes keeps its unit: it becomes 0, or the start of `feature_range`.

        Parameters
        ----------
        x : array_like (..., F) or (T,)
            All axes but the last are frames.
        lengths : array_like (B,) of integers, optional
            How many frames of each row of x (B, T, F) count; the others are padding.

        Raises
        ------
        OptionError
            A number is NaN or infinite, or the spread of a feature is; names the feature.
        ShapeError
            There are no frames.
        DtypeError
        """
        frames = _numbers(x, "x").astype(np.float64)
        if not frames.ndim:
            raise ShapeError("x: expected frames of features; found one number")
        if lengths is not None:
            if frames.ndim != 3:
                raise ShapeError(f"lengths: x is (batch, time, features); found {frames.shape}")
            ends = ends_of(lengths, frames.shape[0], frames.shape[1], "lengths")
            frames = frames[np.arange(frames.shape[1]) < ends[:, None]]
        if not frames.size:
            raise ShapeError(f"x: expected frames of features; found shape {frames.shape}")
        single = frames.ndim == 1
        frames = frames.reshape(-1, 1 if single else frames.shape[-1])
        with np.errstate(over="ignore", invalid="ignore"):
            offset, scale = self._fitted(frames)
        wrong = np.flatnonzero(~(np.isfinite(offset) & np.isfinite(scale)))
        if wrong.size:
            raise OptionError(f"x: the spread of feature {wrong[0]} is past float64's range")
        return self._with(offset[0] if single else offset, scale[0] if single else scale)

    def _fitted(self, frames: Array) -> tuple[Array, Array]:
        """Return offset and scale (F,) of frames (N, F)."""
        low, high = frames.min(axis=0), frames.max(axis=0)
        if self.method == "standard":
            # Rounding may give equal numbers another mean, and a spread.
            offset = np.where(low == high, low, frames.mean(axis=0))
            scale = np.where(low == high, 0.0, frames.std(axis=0))
            return offset, np.where(scale == 0, 1.0, scale)
        start, stop = self.feature_range
        return low, np.where(low == high, 1.0, high - low) / (stop - start)

    def _with(self, offset: Any, scale: Any) -> Scaler:
        """Return a scaler of this kind with another offset and scale."""
        result = Scaler(self.method, feature_range=self.feature_range)
        result.offset, result.scale = np.array(offset, np.float64), np.array(scale, np.float64)
        result.offset.flags.writeable = result.scale.flags.writeable = False
        return result

    @property
    def _start(self) -> float:
        return self.feature_range[0] if self.method == "min_max" else 0.0

    def _parts(self, x: Any) -> tuple[Array, Array, Array]:
        """Return offset, scale, and numbers whose last axis they fit."""
        if self.offset is None or self.scale is None:
            raise NotBuiltError("this Scaler has no scale; fit returns one that has")
        array = _numbers(x, "x")
        if self.offset.ndim and array.shape[-1:] != self.offset.shape:
            raise ShapeError(
                f"x: expected {self.offset.size} features in the last axis; found shape "
                f"{array.shape}"
            )
        return self.offset, self.scale, array

    def transform(self, x: ArrayLike) -> Array:
        """Scale numbers.

        Parameters
        ----------
        x : array_like (..., F)

        Returns
        -------
        array
            Of the shape of x; float32 where x is float32 or shorter, else float64. It is computed
            in float64.

        Raises
        ------
        NotBuiltError
            Before `fit`.
        OptionError
            A number, or a result, is NaN or infinite.
        ShapeError, DtypeError
        """
        offset, scale, array = self._parts(x)
        with np.errstate(over="ignore"):
            return _as_given((array.astype(np.float64) - offset) / scale + self._start, array)

    def inverse(self, x: ArrayLike) -> Array:
        """Bring scaled numbers back. As `transform`, the other way."""
        offset, scale, array = self._parts(x)
        with np.errstate(over="ignore"):
            return _as_given((array.astype(np.float64) - self._start) * scale + offset, array)

    def select(self, features: Any) -> Scaler:
        """Return the scaler of some of the features, for a model that puts out those alone.

        Parameters
        ----------
        features : int, slice or list of int
            With an int, the scaler of that feature without an axis.

        Raises
        ------
        NotBuiltError, OptionError
        """
        if self.offset is None or self.scale is None:
            raise NotBuiltError("this Scaler has no scale; fit returns one that has")
        try:
            offset, scale = self.offset[features], self.scale[features]
        except IndexError:
            offset = scale = np.empty(0)
        if not offset.size or offset.ndim > 1:
            raise OptionError(
                f"Scaler: {told(features)} are none of the features of shape {self.offset.shape}"
            )
        return self._with(offset, scale)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scaler) and self._described() == other._described()

    def __hash__(self) -> int:
        parts = () if self.offset is None else self.offset.ravel().tolist()
        return hash((self.method, self.feature_range, *parts))

    def __repr__(self) -> str:
        fitted = "no features yet" if self.offset is None else f"{self.offset.size} features"
        return f"<Scaler {self.method!r} of {fitted}>"

    # ---- Kept in files ---------------------------------------------------------------------------

    def _described(self) -> dict[str, Any]:
        return {
            "kind": "scaler",
            "method": self.method,
            "feature_range": list(self.feature_range),
            "offset": None if self.offset is None else self.offset.tolist(),
            "scale": None if self.scale is None else self.scale.tolist(),
        }

    def to_json(self) -> dict[str, Any]:
        """Return plain data of which `from_json` makes the same scaler, to the bit.

        Raises
        ------
        NotBuiltError
            Before `fit`.
        """
        if self.offset is None:
            raise NotBuiltError("this Scaler has no scale; fit returns one that has")
        return self._described()

    @classmethod
    def from_json(cls, data: Any, source: str) -> Scaler:
        """Make the scaler of `to_json`'s data, which is not trusted.

        Raises
        ------
        ModelFileError
            Naming `source`: it is not such data, or no scaler can be made of it.
        """
        keys = {"kind", "method", "feature_range", "offset", "scale"}
        if not isinstance(data, dict) or set(data) != keys or data["kind"] != "scaler":
            raise ModelFileError(f"{source}: expected a scaler with the keys {sorted(keys)}")
        try:
            bare = cls(data["method"], feature_range=data["feature_range"])
        except OptionError as error:
            raise ModelFileError(f"{source}: {error}") from error
        offset, scale = (_from_file(data[key], f"{source}: {key}") for key in ("offset", "scale"))
        if offset.shape != scale.shape or not np.all(scale > 0):
            raise ModelFileError(
                f"{source}: a scaler has one offset and one scale above 0 for each feature"
            )
        return bare._with(offset, scale)


def _numbers(x: Any, what: str) -> Array:
    """Return real numbers, all of them finite."""
    array = array_of(x, what)
    if array.dtype.kind not in "biuf":
        raise DtypeError(f"{what}: expected real numbers; found {array.dtype}")
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        place = tuple(wrong[0].tolist())
        raise OptionError(f"{what}: {array[place]} at {list(place)}; expected finite numbers")
    return array


def _as_given(result: Array, given: Array) -> Array:
    """Return a result in float32 where that, or less, was given."""
    short = given.dtype.kind == "f" and given.dtype.itemsize <= 4
    result = result.astype(np.float32 if short else np.float64)
    if not np.isfinite(result).all():
        raise OptionError(f"x: a result is past the range of {result.dtype}")
    return result


def _from_file(value: Any, what: str) -> Array:
    """Return a number, or a list of them, as an array."""
    numbers = value if isinstance(value, list) else [value]
    found = [finite(number) for number in numbers[: _MAX_FEATURES + 1]]
    if not 1 <= len(found) <= _MAX_FEATURES or None in found:
        raise ModelFileError(
            f"{what}: expected 1 to {_MAX_FEATURES} finite numbers; found {told(value)}"
        )
    return np.array(found if isinstance(value, list) else found[0], np.float64)
