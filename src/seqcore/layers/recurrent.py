"""What recurrent layers share, and SimpleRNN; gru.py lstm.py: the others, cells.py: their options.

A recurrent layer lowers to one node per direction. `Recurrent.run` makes that node; what composes
several (stacks.py, wrappers.py) calls it too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import EllipsisType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from .. import layouts
from ..errors import OptionError, WeightsError
from ..graph import GraphBuilder, Mask, Site, Value
from .base import Array, Layer, Shape, Slot, flag, is_size, whole
from .cells import ActivationLike, GateActivations, GateActivationsLike, first_states, limit

if TYPE_CHECKING:
    from .stacks import RecurrentStack

__all__ = ["Recurrent", "Sequencer", "SimpleRNN"]


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
    initial_state : tuple of array
        The learned states that every row begins with; () for none.
    """

    op: ClassVar[str]
    gate_letters: ClassVar[Mapping[str, str]] = {"activation": ""}  # by option
    state_names: ClassVar[tuple[str, ...]] = ("h",)
    weight_names: tuple[str, ...] = ("W", "U", "b")

    def __init__(
        self,
        units: Any,
        U: ArrayLike | None,
        b: ArrayLike | None,
        *,
        activations: Mapping[str, GateActivationsLike],
        clip: float | None,
        initial_state: Any,
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
        self.activations = GateActivations(activations, self.gate_letters, self.label)
        self.clip = limit(clip, self.label, "clip")
        self._parameters: int | None = None
        self.weights: dict[str, Array | None] = dict.fromkeys(self.weight_names)
        if is_size(units):
            if U is not None or b is not None:
                raise OptionError(f"{self.label}: U and b need W in place of units")
            self.units = self.out_features = whole(units, self.label, "units")
        else:
            self._take(units, U, b)
        self.initial_state = first_states(
            initial_state, self.state_names, self.state_sizes, self.label
        )
        if self._parameters is not None:
            self._parameters += sum(state.size for state in self.initial_state)

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
        inner, counted = self._inner_weights()
        self.weights.update(W=W, U=U, **self._biases(b), **projection, **inner)
        self.use_bias = b is not None
        kept = [W, U, *projection.values(), *([] if b is None else [b])]
        self._parameters = sum(array.size for array in kept) + counted

    def _projections(self) -> dict[str, Array]:
        """Return the weight that makes h of what the units give; a kind without has none."""
        return {}

    def _inner_weights(self) -> tuple[dict[str, Array], int]:
        """Return what else the cell multiplies or adds, and how many numbers were given of it."""
        return {}, 0

    def _inner_parameters(self) -> int:
        """How many numbers the same are of a layer without weights."""
        return 0

    def _biases(self, b: Array | None) -> dict[str, Array]:
        """Return the canonical biases; a layer without has zeros, and of two rows the sum."""
        width = layouts.GATES[self.kind] * self.units
        given = np.zeros(width, np.float32) if b is None else b
        if given.ndim == 2:
            both = layouts.weight(given, self.label, "b", (2, width))
            given = both[0].astype(np.float64) + both[1]  # rounded once
        return {"b": layouts.weight(given, self.label, "b", (width,))}

    @classmethod
    def from_cell(cls, cell: layouts.Cell, **options: Any) -> Any:
        """Make the layer from canonical weights whose parameters a framework has counted."""
        for option, array in (("projection", cell.P), ("peepholes", cell.peepholes)):
            if array is None:
                continue
            if options.get(option) is not None:
                label = options.get("name") or cls.__name__
                raise OptionError(f"{label}: {option} is given, and is among the arrays too")
            options = {**options, option: array}
        layer = cls(cell.W, cell.U, cell.b, **options)
        own = (cell.W, cell.U, cell.b, cell.P, cell.peepholes)
        # What options added counts as it is.
        layer._parameters = (
            layer.parameters(()) + cell.parameters - sum(a.size for a in own if a is not None)
        )
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
        after = options.get("reset_after")
        if cell.b is not None and cell.b.ndim == 2 and after is not None and not after:
            raise WeightsError(
                f"layer {name!r}, weight b: expected shape {cell.b.shape[1:]} with "
                f"reset_after=False, found {cell.b.shape}, which Keras has with reset_after=True"
            )
        return cls.from_cell(cell, **options)

    @classmethod
    def from_onnx(
        cls,
        W: ArrayLike,
        R: ArrayLike,
        B: ArrayLike | None = None,
        P: ArrayLike | None = None,
        **options: Any,
    ) -> Any:
        """Make the layer from the arrays of one direction of ONNX's RNN, LSTM or GRU.

        Parameters
        ----------
        W, R : array (1, G*H, I) and array (1, G*H, H)
            With gates in ONNX's order: i,o,f,c of an LSTM, z,r,h of a GRU. The first axis may be
            left out, in all arrays alike.
        B : array (1, 2*G*H), optional
            The biases of both products, W's before R's.
        P : array (1, 3*H), optional
            An LSTM's peepholes, of i,o,f.
        **options
            The constructor's. ONNX's ``direction="reverse"`` is a backward layer of Bidirectional:
            go_backwards alone puts out the frames in the order of processing.

        Raises
        ------
        WeightsError, OptionError, DtypeError

        Notes
        -----
        ONNX's ``clip``, ``input_forget`` and ``linear_before_reset`` are clip, input_forget and a
        GRU's reset_after; one of its activations with its constants is an `ActivationSpec`.
        """
        name = options.get("name") or cls.__name__
        cells = layouts.onnx_recurrent(cls.__name__, W, R, B, P, name)
        if len(cells) > 1:
            raise WeightsError(
                f"layer {name!r}: expected the arrays of one direction; found those of 2, which "
                "are two layers in a Bidirectional"
            )
        return cls.from_cell(cells[0], **options)

    @classmethod
    def from_torch(
        cls,
        weights: Mapping[str, ArrayLike],
        prefix: str = "",
        *,
        return_sequences: bool = True,
        return_state: bool = False,
        activation: ActivationLike | EllipsisType = ...,
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
            The ``nonlinearity`` of an nn.RNN, "tanh" or "relu", which named weights do not tell: it
            must be given. Left out, an LSTM or GRU has tanh, as torch's always have.
        name : str, optional

        Raises
        ------
        WeightsError, OptionError, DtypeError
        """
        from .stacks import RecurrentStack  # which is made of this module's classes

        label = name or cls.__name__
        found = layouts.torch_recurrent(cls.__name__, weights, prefix, label)
        if activation is ...:
            if cls is SimpleRNN:
                raise OptionError(
                    f"{label}: the weights at {prefix!r} do not say their nonlinearity: "
                    "activation='tanh' (torch's default) or 'relu'"
                )
            activation = "tanh"
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
        learned = sum(state.size for state in self.initial_state) + self._inner_parameters()
        return width * (shape[-1] + self.units + self._bias_rows()) + learned

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
        return self.activations.attrs() | ({} if self.clip is None else {"clip": self.clip})

    def initial(self, graph: GraphBuilder, site: Site, x: Value) -> Sequence[Value | None]:
        """Return the initial states of one direction: given, learned, new inputs, or none."""
        if site.states:
            return site.states
        if self.initial_state:
            return [
                graph.node(
                    "constant", site.inner(f"{name}0"), [x], weights={"W": state},
                    attrs={"shape": list(state.shape)}, time="gone",
                )[0]
                for name, state in zip(self.state_names, self.initial_state, strict=True)
            ]  # fmt: skip
        if site.states is None:
            return [None] * self.states
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
            [x, *self.initial(graph, site, x), graph.mask(x)],
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
    U, b : array (H, H) and array (H,) or (2, H), optional
        With W. Without b, there is no bias; of two rows the sum is one.
    activation : str, ActivationSpec or None
    clip : float, optional
        The activation's input is clipped to ``-clip .. clip``.
    initial_state : array (H,), optional
        The state that every row begins with, in place of zeros, where a call gives none.
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
        clip: float | None = None,
        initial_state: ArrayLike | None = None,
        use_bias: bool = True,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        zero_output_for_mask: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(
            units, U, b, activations={"activation": activation}, clip=clip,
            initial_state=initial_state, use_bias=use_bias,
            return_sequences=return_sequences, return_state=return_state,
            go_backwards=go_backwards, zero_output_for_mask=zero_output_for_mask, name=name,
        )  # fmt: skip
