"""LSTM, with all that its cell may have; recurrent.py: what recurrent layers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from .. import layouts
from ..errors import OptionError
from .base import Array, Slot, flag, is_size
from .cells import GateActivationsLike, Norm, limit
from .recurrent import Recurrent

__all__ = ["LSTM"]


class LSTM(Recurrent):
    """Long short-term memory, (B, T, I) to (B, H) or (B, T, H).

    ``i, f, o = act_r(x.W + h.U + b)``, ``g = act(x.W + h.U + b)``, ``c = f*c + i*g``,
    ``h = o * act(c)``.

    Parameters
    ----------
    units : int or array (I, 4H)
        The number of units, or W with gates i,f,g,o.
    U, b : array (H, 4H) and array (4H,) or (2, 4H), optional
        With W. Without b, there is no bias; of two rows the sum is one.
    activation, recurrent_activation : str, ActivationSpec, None, or mapping of str to these
        Of g and of the output; of i, f and o. Or of each by its letter, where "h" is what c goes
        through: ``activation={"g": "tanh", "h": "relu"}``. What a mapping does not name has tanh or
        sigmoid.
    return_state : bool
        Appends the final states h and c, (B, H) each.
    projection : array (H, P), optional
        With W, whose U is then (P, 4H): ``h = (o * act(c)) . projection``, torch's ``proj_size``
        P. Outputs and h have P features, c has H. Keras's form, a number of units, has none.
    peepholes : array (3, H) or True, optional
        Of i, f and o, whose sums see the cell: i's and f's ``p*c[t-1]`` more, o's ``p*c[t]``. True
        with a number of units.
    clip : float, optional
        The inputs of the gates' activations, peepholes included, are clipped to ``-clip .. clip``.
    cell_clip : float, optional
        c is clipped after its update: what is kept, and goes into h.
    projection_clip : float, optional
        With a projection: h is clipped.
    input_forget : bool
        Coupled gates, ``f = 1 - i``. W, U and b have a part for f, and peepholes a row, that
        nobody reads.
    layer_norm : "products", "gates" or None
        Layer normalisation, LN(a) = (a - mean)/sqrt(variance + epsilon): of both products over all
        4H numbers, ``LN(x.W)*input_scale + input_offset + LN(h.U)*recurrent_scale +
        recurrent_offset + b``; or of every gate over its H numbers,
        ``LN(x.W + h.U + b)*gate_scale + gate_offset``.
    norm_weights : mapping of str to array, optional
        These scales and offsets, (4H,) with gates i,f,g,o, and those of norm_state, state_scale and
        state_offset (H,). A scale that is not given is 1, an offset 0.
    norm_state : "none", "kept" or "output"
        Of layer_norm: whether the cell is normalised too, as what is kept and goes into h,
        ``c = LN(f*c + i*g)*state_scale + state_offset``; or in h alone,
        ``h = o * act(LN(c)*state_scale + state_offset)``.
    epsilon : float
        Of layer_norm.
    initial_state : sequence of array, optional
        h (H,), with a projection (P,), and c (H,) that every row begins with, in place of zeros,
        where a call gives none.
    use_bias, return_sequences, go_backwards, zero_output_for_mask, name
        As in `SimpleRNN`.

    Raises
    ------
    OptionError, WeightsError, DtypeError

    Notes
    -----
    Peepholes are those of Gers and Schmidhuber (2000), the projection that of Sak, Senior and
    Beaufays (2014); cell_clip and projection_clip are TensorFlow's LSTMCell's cell_clip and
    proj_clip, clip and input_forget ONNX's. Layer normalisation is that of Ba, Kiros and Hinton
    (2016): the paper's own cell is "products" with norm_state "output"; torch's benchmark and
    TensorFlow Addons keep the normalised cell, "products" and "kept"; TensorFlow 1's
    LayerNormBasicLSTMCell is "gates" and "kept".

    Examples
    --------
    >>> import numpy as np, seqcore as sc
    >>> rng = np.random.default_rng(0)
    >>> W, U, b = rng.normal(size=(3, 8)), rng.normal(size=(2, 8)), np.zeros(8)
    >>> model = sc.Sequential([sc.LSTM(W, U, b, return_sequences=True)])
    >>> model(rng.normal(size=(4, 10, 3))).shape
    (4, 10, 2)
    >>> small = sc.LSTM(W, U[:1], b, projection=rng.normal(size=(2, 1)), return_sequences=True)
    >>> sc.Sequential([small])(rng.normal(size=(4, 10, 3))).shape
    (4, 10, 1)
    >>> looking = sc.LSTM(W, U, b, peepholes=np.ones((3, 2)), initial_state=[[0, 0], [1, -1]])
    >>> sc.Sequential([looking])(rng.normal(size=(4, 10, 3))).shape
    (4, 2)
    """

    op = "lstm"
    gate_letters: ClassVar[Mapping[str, str]] = {
        "activation": "gh", "recurrent_activation": "ifo",
    }  # fmt: skip
    state_names = ("h", "c")

    def __init__(
        self,
        units: int | ArrayLike,
        U: ArrayLike | None = None,
        b: ArrayLike | None = None,
        *,
        activation: GateActivationsLike = "tanh",
        recurrent_activation: GateActivationsLike = "sigmoid",
        use_bias: bool = True,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        zero_output_for_mask: bool = False,
        projection: ArrayLike | None = None,
        peepholes: ArrayLike | bool | None = None,
        clip: float | None = None,
        cell_clip: float | None = None,
        projection_clip: float | None = None,
        input_forget: bool = False,
        layer_norm: str | None = None,
        norm_weights: Mapping[str, ArrayLike] | None = None,
        norm_state: str = "none",
        epsilon: float = 1e-5,
        initial_state: Sequence[ArrayLike] | None = None,
        name: str | None = None,
    ) -> None:
        label = name or "LSTM"
        self._projection = projection
        absent = isinstance(peepholes, (bool, np.bool_)) and not peepholes
        self._peepholes = None if absent else peepholes
        self._norm_weights = norm_weights
        self.norm = Norm.of(layer_norm, norm_state, epsilon, norm_weights, label)
        self.cell_clip = limit(cell_clip, label, "cell_clip")
        self.projection_clip = limit(projection_clip, label, "projection_clip")
        self.input_forget = flag(input_forget, label, "input_forget")
        self._check_together(is_size(units), label)
        self.weight_names = (
            "W", "U", "b", *(["P"] if projection is not None else []),
            *(["peepholes"] if self._peepholes is not None else []), *self.norm.sizes,
        )  # fmt: skip
        activations = {"activation": activation, "recurrent_activation": recurrent_activation}
        super().__init__(
            units, U, b, activations=activations, clip=clip, initial_state=initial_state,
            use_bias=use_bias,
            return_sequences=return_sequences, return_state=return_state,
            go_backwards=go_backwards, zero_output_for_mask=zero_output_for_mask, name=name,
        )  # fmt: skip
        if self.input_forget and "f" in self.activations.named:
            raise OptionError(
                f"{self.label}: recurrent_activation of f is given; with input_forget f is 1 - i"
            )

    def _check_together(self, sized: bool, label: str) -> None:
        """Refuse options that contradict each other; `sized`: a number of units stands for W."""
        projects, looks = self._projection is not None, self._peepholes is not None
        every = isinstance(self._peepholes, (bool, np.bool_))
        rules = {
            "a projection needs W in place of units": projects and sized,
            "peepholes are True with units, and an array (3, units) with W": (
                looks and every != sized
            ),
            "projection_clip is given and there is no projection": (
                self.projection_clip is not None and not projects
            ),
            "layer_norm and peepholes exclude each other": looks and self.norm.where is not None,
            "input_forget leaves no gate f that layer_norm='products' would normalise": (
                self.input_forget and self.norm.where == "products"
            ),
            "norm_weights need W in place of units": sized and self._norm_weights is not None,
        }
        for rule, broken in rules.items():
            if broken:
                raise OptionError(f"{label}: {rule}")

    def _projections(self) -> dict[str, Array]:
        if self._projection is None:
            return {}
        shape, meaning = (None, None), "(units, projection)"
        P = layouts.weight(self._projection, self.label, "projection", shape, meaning)
        self.units, self.out_features = P.shape
        return {"P": P}

    def _inner_weights(self) -> tuple[dict[str, Array], int]:
        made, counted = self.norm.weights(self._norm_weights, self.units, self.label)
        if self._peepholes is not None:
            shape, meaning = (3, self.units), "(3, units) of i, f and o"
            looking = layouts.weight(self._peepholes, self.label, "peepholes", shape, meaning)
            made["peepholes"] = looking
            counted += looking.size
        return made, counted

    def _inner_parameters(self) -> int:
        looking = 0 if self._peepholes is None else 3
        return self.units * (looking + sum(self.norm.sizes.values()))

    @classmethod
    def from_keras(
        cls, arrays: Sequence[ArrayLike], *, cudnn: bool | None = None, **options: Any
    ) -> Any:
        if options.get("projection") is not None:
            raise OptionError(f"{options.get('name') or 'LSTM'}: Keras's LSTM has no projection")
        return super().from_keras(arrays, cudnn=cudnn, **options)

    def keras_weights(self) -> list[Slot]:
        foreign = {
            "projection": self._projection, "peepholes": self._peepholes,
            "layer_norm": self.norm.where,
        }  # fmt: skip
        for option, value in foreign.items():
            if value is not None:
                raise OptionError(f"{self.label}: Keras's LSTM has no {option}")
        return super().keras_weights()

    def _attrs(self) -> dict[str, Any]:
        said = {
            "projection": None if self._projection is None else self.out_features,
            "cell_clip": self.cell_clip,
            "projection_clip": self.projection_clip,
            "input_forget": self.input_forget or None,
        }
        said = {option: value for option, value in said.items() if value is not None}
        return super()._attrs() | said | self.norm.attrs()
