"""Options of cells: activations of each gate, limits, normalisation, the states to begin with.

What a recurrent layer is told besides its matrices and its way through time: checked, and as the
attributes and weights of a node. The equations are in docs/design.md, "Cells in full".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import layouts
from ..errors import OptionError, WeightsError
from ..graph import ActivationSpec, finite, told
from .base import Array, choice

__all__ = [
    "ActivationLike",
    "GateActivations",
    "GateActivationsLike",
    "Norm",
    "first_states",
    "limit",
]

ActivationLike = ActivationSpec | str | None
GateActivationsLike = ActivationLike | Mapping[str, ActivationLike]

_FLOAT = np.finfo(np.float32)
_MAX_FLOAT, _MIN_FLOAT = float(_FLOAT.max), float(_FLOAT.tiny)
_DEFAULTS = {"activation": "tanh", "recurrent_activation": "sigmoid"}


# ---- Numbers ------------------------------------------------------------------------------------


def limit(value: Any, layer: str, option: str) -> float | None:
    """Return an option that is a normal number of float32 above 0, or None for no limit."""
    if value is None:
        return None
    number = finite(value)
    if number is None or not _MIN_FLOAT <= number <= _MAX_FLOAT:
        raise OptionError(
            f"{layer}: {option} is a normal number of float32 above 0, or None for no limit; found "
            f"{told(value)}"
        )
    return number


# ---- Activations --------------------------------------------------------------------------------


class GateActivations:
    """The activations of a cell: one of each option, and those of gates that have another.

    Parameters
    ----------
    given : mapping of str to (ActivationLike, or mapping of str to ActivationLike)
        By option, "activation" and "recurrent_activation". A mapping names gates; one that it does
        not name has the option's default.
    letters : mapping of str to str
        Of every option: its gates, "" for a cell without any.
    layer : str

    Raises
    ------
    OptionError
    """

    def __init__(
        self, given: Mapping[str, GateActivationsLike], letters: Mapping[str, str], layer: str
    ) -> None:
        self.named: set[str] = set()  # gates that a mapping names
        self.options: dict[str, ActivationSpec] = {}
        self.gates: dict[str, ActivationSpec] = {}  # those that differ from their option's
        for option, value in given.items():
            if isinstance(value, Mapping):
                self._take(option, value, letters[option], layer)
            else:
                self.options[option] = ActivationSpec.of(value, f"{layer}: {option}")

    def _take(
        self, option: str, value: Mapping[str, ActivationLike], letters: str, layer: str
    ) -> None:
        strangers = [gate for gate in value if gate not in tuple(letters)]
        if strangers or not letters:
            found = told(strangers[0]) if strangers else "a mapping"
            gates = f"has the gates {', '.join(letters)}" if letters else "has no gates"
            raise OptionError(f"{layer}: {option} {gates}; found {found}")
        own = {
            gate: ActivationSpec.of(value[gate], f"{layer}: {option} of {gate}") for gate in value
        }
        self.named |= set(own)
        default = ActivationSpec(_DEFAULTS[option])
        if len(own) == len(letters) and len(set(own.values())) == 1:
            default = next(iter(own.values()))
        self.options[option] = default
        self.gates.update((gate, spec) for gate, spec in own.items() if spec != default)

    def attrs(self) -> dict[str, Any]:
        """Return them as a node has them."""
        made: dict[str, Any] = {option: spec.attr() for option, spec in self.options.items()}
        if self.gates:
            made["gate_activations"] = {gate: spec.attr() for gate, spec in self.gates.items()}
        return made


# ---- Layer normalisation ------------------------------------------------------------------------

_EPSILON = 1e-5
# What is multiplied by scales and has offsets added, and how many numbers each has for every unit.
_NORMED: dict[str | None, dict[str, int]] = {
    None: {},
    "products": {"input": 4, "recurrent": 4},
    "gates": {"gate": 4},
}


@dataclass(frozen=True)
class Norm:
    """Layer normalisation within an LSTM.

    Attributes
    ----------
    where : "products", "gates" or None
    state : "none", "kept" or "output"
    epsilon : float
    """

    where: str | None
    state: str
    epsilon: float

    @classmethod
    def of(cls, where: Any, state: Any, epsilon: Any, weights: Any, layer: str) -> Norm:
        """Return what the options of a constructor mean.

        Raises
        ------
        OptionError
            One is out of range, or says something of a normalisation that there is not.
        """
        choice(where, layer, "layer_norm", tuple(_NORMED))
        choice(state, layer, "norm_state", ("none", "kept", "output"))
        number = finite(epsilon)
        if number is None or not 0 <= number <= _MAX_FLOAT:
            raise OptionError(f"{layer}: epsilon is a number from 0 on; found {told(epsilon)}")
        said = {"norm_state": state != "none", "norm_weights": weights is not None,
                "epsilon": number != _EPSILON}  # fmt: skip
        if where is None and any(said.values()):
            option = next(name for name, there in said.items() if there)
            raise OptionError(f"{layer}: {option} is given and layer_norm is None")
        return cls(where, state, number)

    @property
    def sizes(self) -> dict[str, int]:
        """How many numbers each weight has for every unit, by the names that the graph uses."""
        parts = _NORMED[self.where] | ({"state": 1} if self.state != "none" else {})
        return {f"{p}_{w}": count for p, count in parts.items() for w in ("scale", "offset")}

    def weights(self, given: Any, units: int, layer: str) -> tuple[dict[str, Array], int]:
        """Return all weights, and how many numbers were given of them.

        What is not given is a scale of ones or an offset of zeros.

        Raises
        ------
        OptionError, WeightsError, DtypeError
        """
        sizes = {name: count * units for name, count in self.sizes.items()}
        if given is None:
            given = {}
        if not isinstance(given, Mapping):
            raise OptionError(
                f"{layer}: norm_weights is a mapping of names to arrays; found {told(given)}"
            )
        strangers = [name for name in given if name not in sizes]
        if strangers:
            raise WeightsError(
                f"layer {layer!r}: norm_weights has {told(strangers[0])}; expected "
                f"{', '.join(sizes)}"
            )
        made = {}
        for name, size in sizes.items():
            plain = np.full(size, float(name.endswith("scale")))
            made[name] = layouts.weight(given.get(name, plain), layer, name, (size,))
        return made, sum(sizes[name] for name in given)

    def attrs(self) -> dict[str, Any]:
        """Return it as a node has it."""
        if self.where is None:
            return {}
        return {"layer_norm": self.where, "epsilon": self.epsilon, "norm_state": self.state}


# ---- States -------------------------------------------------------------------------------------


def first_states(
    given: Any, names: Sequence[str], sizes: Sequence[int], layer: str
) -> tuple[Array, ...]:
    """Return the states that every row begins with; () for none.

    Parameters
    ----------
    given : array (size,), or sequence of as many arrays as there are states; or None
    names, sizes : sequence
        Of the states.
    layer : str

    Raises
    ------
    OptionError, WeightsError, DtypeError
    """
    if given is None:
        return ()
    # A single state stands alone or in a list; several are a list, or the rows of an array.
    listed = isinstance(given, (list, tuple))
    states: Sequence[ArrayLike] = given if listed else []
    if len(names) == 1 and not (len(states) == 1 and layouts.as_array(states[0], layer, "h0").ndim):
        states = [given]
    elif not listed:
        array = layouts.as_array(given, layer, "initial_state")
        states = list(array) if array.ndim > 1 else []
    if len(states) != len(names):
        raise OptionError(
            f"{layer}: initial_state is the arrays of {', '.join(names)}; found "
            f"{f'{len(states)} of them' if states else told(given)}"
        )
    return tuple(
        layouts.weight(state, layer, f"{name}0", (size,))
        for state, name, size in zip(states, names, sizes, strict=True)
    )
