"""Normalisation with Keras's names and options, and what rescales elements by fixed numbers.

The statistics of BatchNormalization and Normalization are fixed when a network runs: they, and
Rescaling, are one affine node. The others take statistics of what they are given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import layouts
from ..errors import OptionError, WeightsError
from ..graph import GraphBuilder, Site, Value, finite, told
from .base import Array, Layer, Shape, Slot, axes_of, checked_axis, flag, whole

__all__ = [
    "BatchNormalization",
    "GroupNormalization",
    "LayerNormalization",
    "Normalization",
    "RMSNormalization",
    "Rescaling",
    "UnitNormalization",
]

_LEAST_DEVIATION = 1e-7  # keras.backend.epsilon(), which Normalization divides by at least


def _fixed(array: ArrayLike, rank: int = 1) -> Array:
    """Return a read-only float32 array of at least `rank` axes, new ones in front."""
    made = np.array(array, np.float32)
    made = made.reshape((1,) * (rank - made.ndim) + made.shape)
    made.flags.writeable = False
    return made


def _epsilon(value: Any, layer: str) -> float:
    number = finite(value)
    if number is None or not 0 <= number <= float(np.finfo(np.float32).max):
        raise OptionError(f"{layer}: epsilon is a number from 0 on; found {told(value)}")
    return number


class Normalized(Layer):
    """Weights over some axes of the input, each of which an option may leave out."""

    keeps_mask = True

    def __init__(self, axis: int | Sequence[int], name: str | None) -> None:
        super().__init__(name)
        self.axes = axes_of(axis, self.label)
        self.framewise = self.axes == (-1,)  # each frame by itself, folded or not
        self.weights: dict[str, Array | None] = {}

    def _take(self, given: Mapping[str, ArrayLike | None], wanted: Mapping[str, bool]) -> None:
        """Keep the weights given to a constructor: all that are wanted, or none yet.

        Of the arrays gamma and beta, one that is left out beside others is not wanted.
        """
        some = any(array is not None for array in given.values())
        shape: tuple[int | None, ...] = (None,) * len(self.axes)
        for name, array in given.items():
            if array is not None and not wanted[name]:
                raise OptionError(f"{self.label}: {name} is given and an option leaves it out")
            if array is not None:
                kept = layouts.weight(array, self.label, name, shape)
                shape, self.weights[name] = kept.shape, kept
            elif wanted[name] and (not some or name not in ("gamma", "beta")):
                self.weights[name] = None
        if some and not self.built:
            missing = ", ".join(name for name, array in self.weights.items() if array is None)
            raise WeightsError(f"layer {self.label!r}: {missing} is missing beside other weights")

    @classmethod
    def _from_keras(
        cls, arrays: Sequence[ArrayLike], names: Sequence[str], options: Mapping[str, Any]
    ) -> Any:
        """Make the layer from weights in this order."""
        label = options.get("name") or cls.__name__
        given = layouts.keras_arrays(arrays, label, names)
        if len(given) != len(names):
            raise WeightsError(
                f"layer {label!r}: expected {', '.join(names) or 'no arrays'}; found {len(given)} "
                f"arrays"
            )
        weights: dict[str, Any] = dict(zip(names, given, strict=True))
        return cls(**weights, **options)

    @property
    def built(self) -> bool:
        return all(array is not None for array in self.weights.values())

    def keras_weights(self) -> list[Slot]:
        shape = (None,) * len(self.axes)
        return [Slot(role, shape, trainable="moving" not in role) for role in self.weights]

    def input_spec(self) -> tuple[Shape, str] | None:
        first = next(iter(self.weights.values()), None)
        return ((first.shape[0],), "float32") if first is not None and self.axes == (-1,) else None

    def parameters(self, shape: Shape) -> int:
        sizes = [array.size for array in self.weights.values() if array is not None]
        if len(sizes) == len(self.weights):
            return int(sum(sizes))
        each = math.prod(checked_axis(shape, axis, self.label) for axis in self.axes)
        return each * len(self.weights)


def _gamma_beta(options: Mapping[str, Any]) -> list[str]:
    """Return which of the two weights a layer with these options has, in Keras's order."""
    wanted = {"gamma": options.get("scale", True), "beta": options.get("center", True)}
    return [name for name, value in wanted.items() if value]


class BatchNormalization(Normalized):
    """``(x - moving_mean) / sqrt(moving_variance + epsilon) * gamma + beta`` along one axis.

    Parameters
    ----------
    axis : int
        Whose elements have statistics of their own; 1 is the axis after the batch.
    epsilon : float
    center, scale : bool
        Whether there are beta and gamma.
    gamma, beta, moving_mean, moving_variance : array (C,), optional
        The weights, if they are known; gamma or beta left out, there is none.
    name : str, optional

    Raises
    ------
    OptionError, WeightsError, DtypeError

    Examples
    --------
    >>> import numpy as np, seqcore as sc
    >>> layer = sc.BatchNormalization(moving_mean=[1, 2], moving_variance=[4, 9], epsilon=0)
    >>> sc.Sequential([layer])(np.array([[3, 5]])).tolist()
    [[1.0, 1.0]]
    """

    def __init__(
        self,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        *,
        gamma: ArrayLike | None = None,
        beta: ArrayLike | None = None,
        moving_mean: ArrayLike | None = None,
        moving_variance: ArrayLike | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(axis, name)
        if len(self.axes) != 1:
            raise OptionError(f"{self.label}: axis is one axis; found {told(axis)}")
        self.epsilon = _epsilon(epsilon, self.label)
        wanted = {
            "gamma": flag(scale, self.label, "scale"),
            "beta": flag(center, self.label, "center"),
            "moving_mean": True,
            "moving_variance": True,
        }
        given = {
            "gamma": gamma,
            "beta": beta,
            "moving_mean": moving_mean,
            "moving_variance": moving_variance,
        }
        self._take(given, wanted)
        self.c = self.weights["moving_mean"]
        self.W, self.b = self._scale(), self.weights.get("beta")
        if self.built and self.b is None:
            self.b = _fixed([0])

    def _scale(self) -> Array | None:
        """Return gamma / sqrt(moving_variance + epsilon)."""
        variance = self.weights["moving_variance"]
        if variance is None:
            return None
        if np.any(variance < 0):
            raise WeightsError(
                f"layer {self.label!r}, weight moving_variance: a variance is negative"
            )
        gamma = self.weights.get("gamma")
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # as Keras: infinity
            deviation = np.sqrt(variance.astype(np.float64) + self.epsilon)
            return _fixed((1 if gamma is None else gamma.astype(np.float64)) / deviation)

    @classmethod
    def from_keras(cls, arrays: Sequence[ArrayLike], **options: Any) -> BatchNormalization:
        """Make the layer from a Keras BatchNormalization's ``get_weights()``."""
        made: BatchNormalization = cls._from_keras(
            arrays, [*_gamma_beta(options), "moving_mean", "moving_variance"], options
        )
        return made

    @classmethod
    def from_torch(
        cls,
        weights: Mapping[str, ArrayLike],
        prefix: str = "",
        *,
        epsilon: float = 1e-5,
        axis: int = -1,
        name: str | None = None,
    ) -> BatchNormalization:
        """Make the layer from an nn.BatchNorm1d's running statistics, weight and bias.

        Parameters
        ----------
        weights : mapping of str to array
            A state_dict, or what `seqcore.read_weights` returns.
        prefix : str
            Of the module within `weights`, with or without the trailing dot; "" for the root.
        epsilon : float
            The module's ``eps``, which named weights do not tell; by default torch's own.
        axis : int
            That of the channels, which are last here and second in torch.
        name : str, optional

        Raises
        ------
        WeightsError, OptionError, DtypeError
            Also for a module without running statistics, which needs a batch.
        """
        needed = ("running_mean", "running_var")
        found = layouts.torch_norm(weights, prefix, name or cls.__name__, needed)
        return cls(
            axis,
            epsilon,
            gamma=found.get("weight"),
            beta=found.get("bias"),
            moving_mean=found["running_mean"],
            moving_variance=found["running_var"],
            name=name,
        )

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        weights = {"c": self.c, "W": self.W, "b": self.b}
        attrs = {"axes": list(self.axes)}
        return graph.node("affine", site, inputs, weights=weights, attrs=attrs)


class StatisticsOfInput(Normalized):
    """Normalisation by what the input itself is: one node `normalize`."""

    norm: str  # its kind in docs/design.md
    groups = 0
    epsilon: float

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        attrs = {
            "kind": self.norm,
            "axes": list(self.axes),
            "groups": self.groups,
            "epsilon": self.epsilon,
        }
        weights = {"W": self.W, "b": self.b}
        return graph.node("normalize", site, inputs, weights=weights, attrs=attrs)

    def _finish(self, gamma: str = "gamma") -> None:
        """Set W and b: the weights, None for those to come, ones and zeros for those left out."""
        rank = len(self.axes)
        self.W = self.weights[gamma] if gamma in self.weights else _fixed([1], rank)
        self.b = self.weights["beta"] if "beta" in self.weights else _fixed([0], rank)


class LayerNormalization(StatisticsOfInput):
    """``(x - mean) / sqrt(variance + epsilon) * gamma + beta``, mean and variance over some axes.

    Parameters
    ----------
    axis : int or sequence of int
        Over which the statistics run; 1 is the axis after the batch. With lengths, an axis that is
        time ends where its row does.
    epsilon : float
    center, scale : bool
        Whether there are beta and gamma.
    rms_scaling : bool
        ``x / sqrt(variance + epsilon) * gamma`` instead, as Keras means it.
    gamma, beta : array, optional
        With the axes named; one that is left out beside the other is not there.
    name : str, optional

    Raises
    ------
    OptionError, WeightsError, DtypeError
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        rms_scaling: bool = False,
        *,
        gamma: ArrayLike | None = None,
        beta: ArrayLike | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(axis, name)
        self.epsilon = _epsilon(epsilon, self.label)
        self.norm = "variance" if flag(rms_scaling, self.label, "rms_scaling") else "layer"
        centred, scaled = flag(center, self.label, "center"), flag(scale, self.label, "scale")
        wanted = {"gamma": scaled or rms_scaling, "beta": centred and not rms_scaling}
        self._take({"gamma": gamma, "beta": beta}, wanted)
        self._finish()

    @classmethod
    def from_keras(cls, arrays: Sequence[ArrayLike], **options: Any) -> LayerNormalization:
        """Make the layer from a Keras LayerNormalization's ``get_weights()``."""
        names = ["gamma"] if options.get("rms_scaling") else _gamma_beta(options)
        made: LayerNormalization = cls._from_keras(arrays, names, options)
        return made

    @classmethod
    def from_torch(
        cls,
        weights: Mapping[str, ArrayLike],
        prefix: str = "",
        *,
        epsilon: float = 1e-5,
        name: str | None = None,
    ) -> LayerNormalization:
        """Make the layer from an nn.LayerNorm's weight and bias, over as many axes as these have.

        Parameters
        ----------
        weights : mapping of str to array
            A state_dict, or what `seqcore.read_weights` returns.
        prefix : str
            Of the module within `weights`, with or without the trailing dot; "" for the root.
        epsilon : float
            The module's ``eps``, which named weights do not tell; by default torch's own.
        name : str, optional

        Raises
        ------
        WeightsError, OptionError, DtypeError
        """
        found = layouts.torch_norm(weights, prefix, name or cls.__name__, ("weight",))
        axes = tuple(range(-found["weight"].ndim, 0)) or -1
        return cls(axes, epsilon, gamma=found["weight"], beta=found.get("bias"), name=name)


class RMSNormalization(StatisticsOfInput):
    """``x / sqrt(mean(x**2) + epsilon) * scale``, the mean over some axes.

    Parameters
    ----------
    axis : int or sequence of int
        As in `LayerNormalization`.
    epsilon : float
    scale : array, optional
        With the axes named.
    name : str, optional

    Raises
    ------
    OptionError, WeightsError, DtypeError
    """

    norm = "rms"
    keeps_mask = False  # Keras's layer does not support masking

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-6,
        *,
        scale: ArrayLike | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(axis, name)
        self.epsilon = _epsilon(epsilon, self.label)
        self._take({"scale": scale}, {"scale": True})
        self._finish("scale")

    @classmethod
    def from_keras(cls, arrays: Sequence[ArrayLike], **options: Any) -> RMSNormalization:
        """Make the layer from a Keras RMSNormalization's ``get_weights()``."""
        made: RMSNormalization = cls._from_keras(arrays, ["scale"], options)
        return made


class GroupNormalization(StatisticsOfInput):
    """`LayerNormalization` over all axes but the batch, in groups of channels.

    Parameters
    ----------
    groups : int
        Which divides the channels; -1: each channel is a group (instance normalisation).
    axis : int
        That of the channels. Where it is the first, lengths are refused at a call.
    epsilon : float
    center, scale : bool
        Whether there are beta and gamma.
    gamma, beta : array (C,), optional
        One that is left out beside the other is not there.
    name : str, optional

    Raises
    ------
    OptionError, WeightsError, DtypeError
    """

    norm = "layer"

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        *,
        gamma: ArrayLike | None = None,
        beta: ArrayLike | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(axis, name)
        self.framewise = False
        if len(self.axes) != 1:
            raise OptionError(f"{self.label}: axis is one axis; found {told(axis)}")
        self.groups = -1 if groups == -1 else whole(groups, self.label, "groups")
        self.epsilon = _epsilon(epsilon, self.label)
        wanted = {
            "gamma": flag(scale, self.label, "scale"),
            "beta": flag(center, self.label, "center"),
        }
        self._take({"gamma": gamma, "beta": beta}, wanted)
        for array in self.weights.values():
            if array is not None and self.groups > 0 and array.size % self.groups:
                raise OptionError(
                    f"{self.label}: {array.size} channels do not divide into {self.groups} groups"
                )
        self._finish()

    @classmethod
    def from_keras(cls, arrays: Sequence[ArrayLike], **options: Any) -> GroupNormalization:
        """Make the layer from a Keras GroupNormalization's ``get_weights()``."""
        made: GroupNormalization = cls._from_keras(arrays, _gamma_beta(options), options)
        return made


class UnitNormalization(StatisticsOfInput):
    """``x / max(norm, epsilon)``, the Euclidean norm over some axes.

    Parameters
    ----------
    axis : int or sequence of int
        As in `LayerNormalization`.
    epsilon : float
        Keras 3's is 1e-12, Keras 2's 1e-6.
    name : str, optional

    Raises
    ------
    OptionError
    """

    norm = "unit"

    def __init__(
        self, axis: int | Sequence[int] = -1, epsilon: float = 1e-12, *, name: str | None = None
    ) -> None:
        super().__init__(axis, name)
        self.epsilon = _epsilon(epsilon, self.label)
        self._finish()


class Normalization(Normalized):
    """``(x - mean) / max(sqrt(variance), 1e-7)`` with fixed statistics.

    Parameters
    ----------
    axis : int, sequence of int or None
        Whose elements have statistics of their own; None: all elements share them.
    mean, variance : array, optional
        With the axes named, or broadcast to them; numbers for all.
    invert : bool
        ``x * max(sqrt(variance), 1e-7) + mean`` instead.
    name : str, optional

    Raises
    ------
    OptionError, WeightsError, DtypeError
    """

    def __init__(
        self,
        axis: int | Sequence[int] | None = -1,
        mean: ArrayLike | None = None,
        variance: ArrayLike | None = None,
        invert: bool = False,
        *,
        name: str | None = None,
    ) -> None:
        shared = axis is None or (isinstance(axis, (tuple, list)) and not axis)
        super().__init__(-1 if axis is None or shared else axis, name)
        self.framewise = self.framewise or shared
        self.invert = flag(invert, self.label, "invert")
        self.shared, self.adapted = shared, mean is None
        if (mean is None) != (variance is None):
            raise WeightsError(f"layer {self.label!r}: mean and variance come together")
        self.weights = {"mean": None, "variance": None}
        self.c: Array | None = None
        self.W: Array | None = None
        self.b: Array | None = None
        if mean is not None and variance is not None:
            self._fix(mean, variance)

    def _fix(self, mean: ArrayLike, variance: ArrayLike) -> None:
        rank = 0 if self.shared else len(self.axes)
        found = layouts.as_array(mean, self.label, "mean").ndim
        if found > rank:
            raise WeightsError(
                f"layer {self.label!r}, weight mean: expected at most {rank} axes; found {found}"
            )
        first = layouts.weight(mean, self.label, "mean", (None,) * found)
        second = layouts.weight(variance, self.label, "variance", first.shape)
        if np.any(second < 0):
            raise WeightsError(f"layer {self.label!r}, weight variance: a variance is negative")
        self.weights = {"mean": first, "variance": second}
        deviation = np.maximum(np.sqrt(second.astype(np.float64)), _LEAST_DEVIATION)
        zero, rank = _fixed(0, max(1, rank)), max(1, rank)
        if self.invert:
            self.c, self.W, self.b = zero, _fixed(deviation, rank), _fixed(first, rank)
        else:
            self.c, self.W, self.b = _fixed(first, rank), _fixed(1 / deviation, rank), zero

    @classmethod
    def from_keras(cls, arrays: Sequence[ArrayLike], **options: Any) -> Normalization:
        """Make the layer from an adapted Keras Normalization's ``get_weights()``.

        They are mean, variance and a count of what they were adapted to.
        """
        label = options.get("name") or cls.__name__
        given = layouts.keras_arrays(arrays, label, ("mean", "variance", "count"))
        if len(given) != 3:
            raise WeightsError(
                f"layer {label!r}: expected mean, variance and count; found {len(given)} arrays"
            )
        made = cls(**options, mean=given[0], variance=given[1])
        made.adapted = True
        return made

    def keras_weights(self) -> list[Slot]:
        if not self.adapted:
            return []  # numbers of the configuration
        shape = () if self.shared else (None,) * len(self.axes)
        count = Slot("count", (), trainable=False, floats=False)
        return [Slot(role, shape, trainable=False) for role in self.weights] + [count]

    def input_spec(self) -> tuple[Shape, str] | None:
        mean = self.weights["mean"]
        return super().input_spec() if mean is not None and mean.size > 1 else None

    def parameters(self, shape: Shape) -> int:
        if not self.adapted:
            return 0  # numbers of the configuration
        mean = self.weights["mean"]
        if mean is not None:
            return 2 * int(mean.size) + 1
        return 3 if self.shared else super().parameters(shape) + 1

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        weights = {"c": self.c, "W": self.W, "b": self.b}
        attrs = {"axes": list(self.axes)}
        return graph.node("affine", site, inputs, weights=weights, attrs=attrs)


class Rescaling(Layer):
    """``x * scale + offset``.

    Parameters
    ----------
    scale, offset : float or array
        Arrays are broadcast as in NumPy, their last axis being the input's.
    name : str, optional

    Raises
    ------
    OptionError, WeightsError, DtypeError
    """

    keeps_mask = True

    def __init__(
        self, scale: ArrayLike, offset: ArrayLike = 0.0, *, name: str | None = None
    ) -> None:
        super().__init__(name)
        made = []
        for option, value in (("scale", scale), ("offset", offset)):
            rank = layouts.as_array(value, self.label, option).ndim
            if rank > 5:
                raise WeightsError(
                    f"layer {self.label!r}, weight {option}: expected at most 5 axes; found {rank}"
                )
            made.append(layouts.weight(value, self.label, option, (None,) * rank))
        rank = max(1, made[0].ndim, made[1].ndim)
        self.W, self.b, self.c = _fixed(made[0], rank), _fixed(made[1], rank), _fixed(0, rank)
        self.framewise = rank == 1

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        weights = {"c": self.c, "W": self.W, "b": self.b}
        attrs = {"axes": list(range(-self.W.ndim, 0))}
        return graph.node("affine", site, inputs, weights=weights, attrs=attrs)
