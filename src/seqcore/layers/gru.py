"""GRU, in both of its forms and both conventions; recurrent.py: what recurrent layers share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from .. import layouts
from .base import Array, flag
from .cells import GateActivationsLike
from .recurrent import Recurrent

__all__ = ["GRU"]


class GRU(Recurrent):
    """Gated recurrent unit, ``h = (1-z)*n + z*h``, (B, T, I) to (B, H) or (B, T, H).

    ``r, z = act_r(x.W + h.U + b)``; ``n = act(x.W + r*(h.U + b1) + b0)``, or with reset_after=False
    ``n = act(x.W + (r*h).U + b)``.

    Parameters
    ----------
    units : int or array (I, 3H)
        The number of units, or W with gates r,z,n.
    U : array (H, 3H), optional
        With W.
    b : array (3H,) or (2, 3H), optional
        With W. Row 1 of (2, 3H) is the bias of the recurrent product, which reset_after keeps apart
        for n; everything else takes the sum of both.
    reset_after : bool, optional
        Whether r applies to the recurrent product (torch, CuDNN, Keras's default) or to the state
        before it. Left out: what a given b says by its shape, (2, 3H) after and (3H,) before;
        without b, after.
    activation, recurrent_activation : str, ActivationSpec, None, or mapping of str to these
        Of n; of r and z, or of each by its letter: ``{"r": "hard_sigmoid"}``. What a mapping does
        not name has tanh or sigmoid.
    update_keeps : bool
        True: z is the share of h that is kept (Keras, torch, ONNX). False:
        ``h = (1-z)*h + z*n``, as Chung et al. (2014) write it.
    clip : float, optional
        The inputs of all activations are clipped to ``-clip .. clip``.
    initial_state, use_bias, return_sequences, return_state, go_backwards
        As in `SimpleRNN`.
    zero_output_for_mask, name
        As in `SimpleRNN`.

    Raises
    ------
    OptionError, WeightsError, DtypeError
    """

    op = "gru"
    gate_letters: ClassVar[Mapping[str, str]] = {"activation": "n", "recurrent_activation": "rz"}

    def __init__(
        self,
        units: int | ArrayLike,
        U: ArrayLike | None = None,
        b: ArrayLike | None = None,
        *,
        activation: GateActivationsLike = "tanh",
        recurrent_activation: GateActivationsLike = "sigmoid",
        update_keeps: bool = True,
        clip: float | None = None,
        initial_state: ArrayLike | None = None,
        use_bias: bool = True,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        zero_output_for_mask: bool = False,
        reset_after: bool | None = None,
        name: str | None = None,
    ) -> None:
        if b is not None:
            b = layouts.as_array(b, name or "GRU", "b")
        if reset_after is None:
            reset_after = b is None or b.ndim == 2
        self.reset_after = flag(reset_after, name or "GRU", "reset_after")
        if self.reset_after:
            self.weight_names = ("W", "U", "b", "bn")
        self.update_keeps = flag(update_keeps, name or "GRU", "update_keeps")
        activations = {"activation": activation, "recurrent_activation": recurrent_activation}
        super().__init__(
            units, U, b, activations=activations, clip=clip, initial_state=initial_state,
            use_bias=use_bias,
            return_sequences=return_sequences, return_state=return_state,
            go_backwards=go_backwards, zero_output_for_mask=zero_output_for_mask, name=name,
        )  # fmt: skip

    @classmethod
    def from_onnx(
        cls,
        W: ArrayLike,
        R: ArrayLike,
        B: ArrayLike | None = None,
        P: ArrayLike | None = None,
        *,
        reset_after: bool = False,
        **options: Any,
    ) -> Any:
        """Make the layer from the arrays of one direction of ONNX's GRU.

        Parameters
        ----------
        W, R, B, P, **options
            As of the other layers' `from_onnx`; a GRU has no P.
        reset_after : bool
            ONNX's ``linear_before_reset``, whose default is 0.

        Raises
        ------
        WeightsError, OptionError, DtypeError
        """
        return super().from_onnx(W, R, B, P, reset_after=reset_after, **options)

    def _biases(self, b: Array | None) -> dict[str, Array]:
        if not self.reset_after or b is None or b.ndim != 2:
            biases = super()._biases(b)
            if self.reset_after:
                biases["bn"] = layouts.weight(np.zeros(self.units), self.label, "bn", (self.units,))
            return biases
        both = layouts.weight(b, self.label, "b", (2, 3 * self.units))
        # Both biases of r and z are added to the same sum; only n's recurrent bias is multiplied by
        # r first.
        once = both[0].astype(np.float64)
        once[: 2 * self.units] += both[1, : 2 * self.units]
        return {
            "b": layouts.weight(once, self.label, "b", (3 * self.units,)),
            "bn": layouts.weight(both[1, 2 * self.units :], self.label, "bn", (self.units,)),
        }

    def _bias_rows(self) -> int:
        return self.use_bias * (2 if self.reset_after else 1)

    def _attrs(self) -> dict[str, Any]:
        keeps = {} if self.update_keeps else {"update_keeps": False}
        return super()._attrs() | {"reset_after": self.reset_after} | keeps
