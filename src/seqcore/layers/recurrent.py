"""SimpleRNN, LSTM, GRU.

A recurrent layer lowers to one node per direction. `Recurrent.run` makes that node; what composes
several (stacks.py, wrappers.py) calls it too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from .. import layouts
from ..errors import OptionError, WeightsError
from ..graph import ActivationSpec, GraphBuilder, Mask, Site, Value
from .base import Array, Layer, Shape, Slot, flag, is_size, whole

if TYPE_CHECKING:
    from .stacks import RecurrentStack

__all__ = ["GRU", "LSTM", "Recurrent", "Sequencer", "SimpleRNN"]

ActivationLike = ActivationSpec | str | None


class Sequencer(Layer):
    """What runs over time in one direction: a `Recurrent` layer, or an RNN over cells.

    Attributes
    ----------
    return_sequences, return_state, go_backwards, zero_output_for_mask : bool
    """

    reads_mask = True

    def __init__(
        self,
        *,
        return_sequences: bool,
        return_state: bool,
        go_backwards: bool,
        zero_output_for_mask: bool,
        name: str | None,
    ) -> None:
        super().__init__(name)
        self.return_sequences = flag(return_sequences, self.label, "return_sequences")
        self.return_state = flag(return_state, self.label, "return_state")
        self.go_backwards = flag(go_backwards, self.label, "go_backwards")
        self.zero_output_for_mask = flag(zero_output_for_mask, self.label, "zero_output_for_mask")

    @property
    def outputs(self) -> int:
        return 1 + self.states * self.return_state

    def run(
        self,
        graph: GraphBuilder,
        site: Site,
        x: Value,
        *,
        reverse: bool,
        realign: bool,
        return_sequences: bool,
        return_state: bool,
        zero_output: bool,
    ) -> list[Value]:
        """Add the nodes of one direction; return y, and with `return_state` the final states.

        With `reverse` from the last frame on; y then stands in the order of processing or, with
        `realign`, at the frames that made it. With `zero_output` a masked frame puts out zeros.
        """
        raise NotImplementedError

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return self.run(
            graph,
            site,
            inputs[0],
            reverse=self.go_backwards,
            realign=False,
            return_sequences=self.return_sequences,
            return_state=self.return_state,
            zero_output=self.zero_output_for_mask,
        )

    def mask(self, inputs: Sequence[Value]) -> Mask | None:
        return inputs[0].mask if self.return_sequences else None


class Recurrent(Sequencer):
    """What SimpleRNN, LSTM and GRU share.

    Attributes
    ----------
    units : int
        H.
    out_features : int
        Of h and of the output: H, or P with a projection.
    weights : dict of str to (array or None)
        Canonical, by the names that the graph uses; None before there are any.
    """

    op: ClassVar[str]
    state_names: ClassVar[tuple[str, ...]] = ("h",)
    weight_names: tuple[str, ...] = ("W", "U", "b")

    def __init__(
        self,
        units: Any,
        U: ArrayLike | None,
        b: ArrayLike | None,
        *,
        activations: Mapping[str, ActivationLike],
        use_bias: bool,
        return_sequences: bool,
        return_state: bool,
        go_backwards: bool,
        zero_output_for_mask: bool,
        name: str | None,
    ) -> None:
        super().__init__(
            return_sequences=return_sequences, return_state=return_state,
            go_backwards=go_backwards, zero_output_for_mask=zero_output_for_mask, name=name,
        )  # fmt: skip
        self.use_bias = flag(use_bias, self.label, "use_bias")
        self.activations = {
            option: ActivationSpec.of(value, f"{self.label}: {option}")
            for option, value in activations.items()
        }
        self._parameters: int | None = None
        self.weights: dict[str, Array | None] = dict.fromkeys(self.weight_names)
        if is_size(units):
            if U is not None or b is not None:
                raise OptionError(f"{self.label}: U and b need W in place of units")
            self.units = self.out_features = whole(units, self.label, "units")
        else:
            self._take(units, U, b)

    def _take(self, W: ArrayLike, U: ArrayLike | None, b: ArrayLike | None) -> None:
        """Keep canonical weights."""
        gates = layouts.GATES[self.kind]
        if U is None:
            raise WeightsError(f"layer {self.label!r}: W is given and U is missing")
        if b is not None and not self.use_bias:
            raise OptionError(f"{self.label}: a bias is given and use_bias is False")
        U = layouts.as_array(U, self.label, "U")
        b = None if b is None else layouts.as_array(b, self.label, "b")
        self.units = self.out_features = U.shape[0] if U.ndim == 2 else 0
        projection = self._projections()
        width = gates * self.units
        meaning = f"({{}}, {gates}*units)" if gates > 1 else "({}, units)"
        read = "projection" if projection else "units"
        shape = (self.out_features or None, width or None)
        U = layouts.weight(U, self.label, "U", shape, meaning.format(read))
        W = layouts.weight(W, self.label, "W", (None, width), meaning.format("features"))
        self.weights.update(W=W, U=U, **self._biases(b), **projection)
        self.use_bias = b is not None
        kept = [W, U, *projection.values(), *([] if b is None else [b])]
        self._parameters = sum(array.size for array in kept)

    def _projections(self) -> dict[str, Array]:
        """Return the weight that makes h of what the units give; a kind without has none."""
        return {}

    def _biases(self, b: ArrayLike | None) -> dict[str, Array]:
        """Return the canonical biases; a layer without has zeros."""
        width = layouts.GATES[self.kind] * self.units
        given = np.zeros(width, np.float32) if b is None else b
        return {"b": layouts.weight(given, self.label, "b", (width,))}

    @classmethod
    def from_cell(cls, cell: layouts.Cell, **options: Any) -> Any:
        """Make the layer from canonical weights whose parameters a framework has counted."""
        if cell.P is not None:
            options = {**options, "projection": cell.P}
        layer = cls(cell.W, cell.U, cell.b, **options)
        layer._parameters = cell.parameters
        return layer

    @classmethod
    def from_keras(
        cls, arrays: Sequence[ArrayLike], *, cudnn: bool | None = None, **options: Any
    ) -> Any:
        """Make the layer from a Keras layer's ``get_weights()``.

        Parameters
        ----------
        arrays : sequence of arrays
            kernel, recurrent_kernel and, unless use_bias is False, bias, gates in Keras's order. Or
            the 12 of an LSTM, 9 of a GRU of Keras 1, whose recurrent_activation was a hard_sigmoid.
        cudnn : bool, optional
            Whether the layer was a CuDNNLSTM or CuDNNGRU. Left out: what the bias says.
        **options
            The constructor's. A GRU's reset_after follows from a bias: (2, 3H) has it, (3H,) has
            not.

        Raises
        ------
        WeightsError, OptionError, DtypeError
        """
        name = options.get("name") or cls.__name__
        use_bias = options.get("use_bias")
        cell = layouts.keras_recurrent(cls.__name__, arrays, name, use_bias, cudnn)
        return cls.from_cell(cell, **options)

    @classmethod
    def from_torch(
        cls,
        weights: Mapping[str, ArrayLike],
        prefix: str = "",
        *,
        return_sequences: bool = True,
        return_state: bool = False,
        activation: ActivationLike = "tanh",
        name: str | None = None,
    ) -> RecurrentStack:
        """Make all layers and directions of an nn.RNN, nn.LSTM or nn.GRU from its named weights.

        Parameters
        ----------
        weights : mapping of str to array
            A state_dict, or what `seqcore.read_weights` returns.
        prefix : str
            Of the module within `weights`, with or without the trailing dot; "" for the root.
        return_sequences : bool
            False gives the last layer's final state, forward then backward.
        return_state : bool
            Appends the final states, (B, H) each, by layer and direction; LSTM's h before its c.
            With ``proj_size`` an h is (B, proj_size).
        activation : str, ActivationSpec or None
            "relu" for an nn.RNN with that nonlinearity, which named weights cannot tell.
        name : str, optional

        Raises
        ------
        WeightsError, OptionError, DtypeError
        """
        from .stacks import RecurrentStack  # which is made of this module's classes

        found = layouts.torch_recurrent(cls.__name__, weights, prefix, name or cls.__name__)
        rows = [[cls.from_cell(cell, activation=activation) for cell in row] for row in found]
        return RecurrentStack(
            rows, return_sequences=return_sequences, return_state=return_state, name=name
        )

    @property
    def built(self) -> bool:
        return self.weights["W"] is not None

    @property
    def states(self) -> int:
        return len(self.state_names)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The features of each state, by `state_names`."""
        return (self.out_features, self.units)[: self.states]

    def input_spec(self) -> tuple[Shape, str] | None:
        W = self.weights["W"]
        return None if W is None else ((None, W.shape[0]), "float32")

    def parameters(self, shape: Shape) -> int:
        if self._parameters is not None:
            return self._parameters
        if shape[-1] is None:
            raise OptionError(f"{self.label}: the number of input features is not known")
        width = layouts.GATES[self.kind] * self.units
        return width * (shape[-1] + self.units + self._bias_rows())

    def _bias_rows(self) -> int:
        """How often the framework counts a bias of one value per gate and unit."""
        return int(self.use_bias)

    def keras_weights(self) -> list[Slot]:
        width = layouts.GATES[self.kind] * self.units
        slots = [
            Slot("kernel", (None, width), "cell"),
            Slot("recurrent_kernel", (self.units, width), "cell"),
        ]
        bias = (width,) if self._bias_rows() < 2 else (2, width)
        if self._options.get("cudnn"):
            bias = (2 * width,)
        return slots + [Slot("bias", bias, "cell")] * self.use_bias

    def as_cudnn(self) -> Recurrent:
        """Let `keras_weights` and `loaded` be those of CuDNNLSTM or CuDNNGRU."""
        self._options = {**self._options, "cudnn": True}
        return self

    def _attrs(self) -> dict[str, Any]:
        """Return the attributes of this kind of cell."""
        return {option: spec.attr() for option, spec in self.activations.items()}

    def initial(self, graph: GraphBuilder, site: Site) -> Sequence[Value | None]:
        """Return the initial states of one direction: given, new inputs of the graph, or none."""
        if site.states is None:
            return [None] * self.states
        if site.states:
            return site.states
        return [
            graph.state_input(f"{site.value}:{state}0", (size,))
            for state, size in zip(self.state_names, self.state_sizes, strict=True)
        ]

    def run(
        self,
        graph: GraphBuilder,
        site: Site,
        x: Value,
        *,
        reverse: bool,
        realign: bool,
        return_sequences: bool,
        return_state: bool,
        zero_output: bool,
    ) -> list[Value]:
        attrs = {
            "units": self.units, **self._attrs(), "reverse": reverse, "realign": realign,
            "return_sequences": return_sequences, "zero_output_for_mask": zero_output,
        }  # fmt: skip
        names = [f"{site.value}:{s}" if return_state else None for s in self.state_names]
        made = graph.node(
            self.op,
            site,
            [x, *self.initial(graph, site), graph.mask(x)],
            outputs=[site.value, *names],
            weights=self.weights,
            attrs=attrs,
            time="kept" if return_sequences else "gone",
        )
        return made if return_state else made[:1]


class SimpleRNN(Recurrent):
    """Elman network, ``h = activation(x.W + h.U + b)``, (B, T, I) to (B, H) or (B, T, H).

    Parameters
    ----------
    units : int or array (I, H)
        The number of units, or W.
    U, b : array (H, H) and array (H,), optional
        With W. Without b, there is no bias.
    activation : str, ActivationSpec or None
    use_bias : bool
    return_sequences : bool
        Every state instead of the last one.
    return_state : bool
        Appends the final state h (B, H).
    go_backwards : bool
        Processes from the last frame on; outputs come in the order of processing.
    zero_output_for_mask : bool
        What a masked frame puts out: zeros, or what the frame before it did (zeros before the first
        that counts). Its state is that of the frame before in either case.
    name : str, optional

    Raises
    ------
    OptionError, WeightsError, DtypeError
    """

    op = "simple_rnn"

    def __init__(
        self,
        units: int | ArrayLike,
        U: ArrayLike | None = None,
        b: ArrayLike | None = None,
        *,
        activation: ActivationLike = "tanh",
        use_bias: bool = True,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        zero_output_for_mask: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(
            units, U, b, activations={"activation": activation}, use_bias=use_bias,
            return_sequences=return_sequences, return_state=return_state,
            go_backwards=go_backwards, zero_output_for_mask=zero_output_for_mask, name=name,
        )  # fmt: skip


class LSTM(Recurrent):
    """Long short-term memory, (B, T, I) to (B, H) or (B, T, H).

    Parameters
    ----------
    units : int or array (I, 4H)
        The number of units, or W with gates i,f,g,o.
    U, b : array (H, 4H) and array (4H,), optional
        With W. Without b, there is no bias.
    activation, recurrent_activation : str, ActivationSpec or None
        Of g and of the output; of i, f and o.
    return_state : bool
        Appends the final states h and c, (B, H) each.
    projection : array (H, P), optional
        With W, whose U is then (P, 4H): ``h = (o * tanh(c)) . projection``, torch's ``proj_size``
        P. Outputs and h have P features, c has H. Keras's form, a number of units, has none.
    use_bias, return_sequences, go_backwards, zero_output_for_mask, name
        As in `SimpleRNN`.

    Raises
    ------
    OptionError, WeightsError, DtypeError

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
    """

    op = "lstm"
    state_names = ("h", "c")

    def __init__(
        self,
        units: int | ArrayLike,
        U: ArrayLike | None = None,
        b: ArrayLike | None = None,
        *,
        activation: ActivationLike = "tanh",
        recurrent_activation: ActivationLike = "sigmoid",
        use_bias: bool = True,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        zero_output_for_mask: bool = False,
        projection: ArrayLike | None = None,
        name: str | None = None,
    ) -> None:
        self._projection = projection
        if projection is not None:
            self.weight_names = ("W", "U", "b", "P")
            if is_size(units):
                raise OptionError(f"{name or 'LSTM'}: a projection needs W in place of units")
        activations = {"activation": activation, "recurrent_activation": recurrent_activation}
        super().__init__(
            units, U, b, activations=activations, use_bias=use_bias,
            return_sequences=return_sequences, return_state=return_state,
            go_backwards=go_backwards, zero_output_for_mask=zero_output_for_mask, name=name,
        )  # fmt: skip

    def _projections(self) -> dict[str, Array]:
        if self._projection is None:
            return {}
        shape, meaning = (None, None), "(units, projection)"
        P = layouts.weight(self._projection, self.label, "projection", shape, meaning)
        self.units, self.out_features = P.shape
        return {"P": P}

    @classmethod
    def from_keras(
        cls, arrays: Sequence[ArrayLike], *, cudnn: bool | None = None, **options: Any
    ) -> Any:
        if options.get("projection") is not None:
            raise OptionError(f"{options.get('name') or 'LSTM'}: Keras's LSTM has no projection")
        return super().from_keras(arrays, cudnn=cudnn, **options)

    def keras_weights(self) -> list[Slot]:
        if self._projection is not None:
            raise OptionError(f"{self.label}: Keras's LSTM has no projection")
        return super().keras_weights()

    def _attrs(self) -> dict[str, Any]:
        projected = self._projection is not None
        return super()._attrs() | ({"projection": self.out_features} if projected else {})


class GRU(Recurrent):
    """Gated recurrent unit, ``h = (1-z)*n + z*h``, (B, T, I) to (B, H) or (B, T, H).

    Parameters
    ----------
    units : int or array (I, 3H)
        The number of units, or W with gates r,z,n.
    U : array (H, 3H), optional
        With W.
    b : array (3H,) or (2, 3H), optional
        With W. Row 1 of (2, 3H) is the bias of the recurrent product, which reset_after keeps apart
        for n.
    reset_after : bool, optional
        Whether r applies to the recurrent product (torch, CuDNN, Keras's default) or to the state
        before it. Left out: what a given b says by its shape, (2, 3H) after and (3H,) before;
        without b, after.
    activation, recurrent_activation : str, ActivationSpec or None
        Of n; of r and z.
    use_bias, return_sequences, return_state, go_backwards, zero_output_for_mask, name
        As in `SimpleRNN`.

    Raises
    ------
    OptionError, WeightsError, DtypeError
    """

    op = "gru"

    def __init__(
        self,
        units: int | ArrayLike,
        U: ArrayLike | None = None,
        b: ArrayLike | None = None,
        *,
        activation: ActivationLike = "tanh",
        recurrent_activation: ActivationLike = "sigmoid",
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
        activations = {"activation": activation, "recurrent_activation": recurrent_activation}
        super().__init__(
            units, U, b, activations=activations, use_bias=use_bias,
            return_sequences=return_sequences, return_state=return_state,
            go_backwards=go_backwards, zero_output_for_mask=zero_output_for_mask, name=name,
        )  # fmt: skip

    def _biases(self, b: ArrayLike | None) -> dict[str, Array]:
        if not self.reset_after or np.ndim(b) != 2:  # type: ignore[arg-type]
            biases = super()._biases(b)
            if self.reset_after:
                biases["bn"] = layouts.weight(np.zeros(self.units), self.label, "bn", (self.units,))
            return biases
        both = layouts.weight(b, self.label, "b", (2, 3 * self.units))  # type: ignore[arg-type]
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
        return super()._attrs() | {"reset_after": self.reset_after}
