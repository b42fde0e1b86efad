"""SimpleRNN, LSTM, GRU, and RecurrentStack: the layers and directions of one torch module.

A recurrent layer lowers to one node per direction. `Recurrent.run` makes that node; Bidirectional
(layers/wrappers.py) and RecurrentStack compose theirs of it too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from .. import layouts
from ..errors import OptionError, WeightsError
from ..graph import ActivationSpec, GraphBuilder, Site, Value
from .base import Array, Layer, Shape, flag, is_size, whole

__all__ = ["GRU", "LSTM", "Recurrent", "RecurrentStack", "SimpleRNN"]

ActivationLike = ActivationSpec | str | None


class Recurrent(Layer):
    """What SimpleRNN, LSTM and GRU share.

    Attributes
    ----------
    units : int
        H.
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
        name: str | None,
    ) -> None:
        super().__init__(name)
        self.use_bias = flag(use_bias, self.label, "use_bias")
        self.return_sequences = flag(return_sequences, self.label, "return_sequences")
        self.return_state = flag(return_state, self.label, "return_state")
        self.go_backwards = flag(go_backwards, self.label, "go_backwards")
        self.activations = {
            option: ActivationSpec.of(value, f"{self.label}: {option}")
            for option, value in activations.items()
        }
        self._parameters: int | None = None
        self.weights: dict[str, Array | None] = dict.fromkeys(self.weight_names)
        if is_size(units):
            if U is not None or b is not None:
                raise OptionError(f"{self.label}: U and b need W in place of units")
            self.units = whole(units, self.label, "units")
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
        self.units = U.shape[0] if U.ndim == 2 else 0
        width = gates * self.units
        meaning = f"({{}}, {gates}*units)" if gates > 1 else "({}, units)"
        U = layouts.weight(
            U, self.label, "U", (self.units or None, width or None), meaning.format("units")
        )
        W = layouts.weight(W, self.label, "W", (None, width), meaning.format("features"))
        self.weights.update(W=W, U=U, **self._biases(b))
        self.use_bias = b is not None
        self._parameters = W.size + U.size + (0 if b is None else b.size)

    def _biases(self, b: ArrayLike | None) -> dict[str, Array]:
        """Return the canonical biases; a layer without has zeros."""
        width = layouts.GATES[self.kind] * self.units
        given = np.zeros(width, np.float32) if b is None else b
        return {"b": layouts.weight(given, self.label, "b", (width,))}

    @classmethod
    def from_cell(cls, cell: layouts.Cell, **options: Any) -> Any:
        """Make the layer from canonical weights whose parameters a framework has counted."""
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
        activation : str, ActivationSpec or None
            "relu" for an nn.RNN with that nonlinearity, which named weights cannot tell.
        name : str, optional

        Raises
        ------
        WeightsError, OptionError, DtypeError
        UnsupportedLayerError
            For ``proj_size``.
        """
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
    def outputs(self) -> int:
        return 1 + self.states * self.return_state

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
            graph.state_input(f"{site.value}:{state}0", (self.units,)) for state in self.state_names
        ]

    def run(
        self,
        graph: GraphBuilder,
        site: Site,
        x: Value,
        *,
        reverse: bool = False,
        realign: bool = False,
        return_sequences: bool,
        return_state: bool,
    ) -> list[Value]:
        """Add the node of one direction; return y, and the final states when they are wanted."""
        attrs = {"units": self.units, **self._attrs(), "reverse": reverse, "realign": realign}
        names = [f"{site.value}:{s}" if return_state else None for s in self.state_names]
        made = graph.node(
            self.op,
            site,
            [x, *self.initial(graph, site)],
            outputs=[site.value, *names],
            weights=self.weights,
            attrs=attrs | {"return_sequences": return_sequences},
            time="kept" if return_sequences else "gone",
        )
        return made if return_state else made[:1]

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return self.run(
            graph,
            site,
            inputs[0],
            reverse=self.go_backwards,
            return_sequences=self.return_sequences,
            return_state=self.return_state,
        )


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
        name: str | None = None,
    ) -> None:
        super().__init__(
            units, U, b, activations={"activation": activation}, use_bias=use_bias,
            return_sequences=return_sequences, return_state=return_state,
            go_backwards=go_backwards, name=name,
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
    use_bias, return_sequences, go_backwards, name
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
        name: str | None = None,
    ) -> None:
        activations = {"activation": activation, "recurrent_activation": recurrent_activation}
        super().__init__(
            units, U, b, activations=activations, use_bias=use_bias,
            return_sequences=return_sequences, return_state=return_state,
            go_backwards=go_backwards, name=name,
        )  # fmt: skip


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
    use_bias, return_sequences, return_state, go_backwards, name
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
            go_backwards=go_backwards, name=name,
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


class RecurrentStack(Layer):
    """The layers and directions of one nn.RNN, nn.LSTM or nn.GRU, as ``LSTM.from_torch`` makes it.

    Parameters
    ----------
    rows : sequence of sequences of Recurrent
        By layer: the forward and perhaps the backward direction, all of one kind and with weights.
    return_sequences : bool
        False gives the last layer's final state, forward then backward.
    return_state : bool
        Appends the final states.
    stacked : bool
        Whether states have torch's shape (layers*directions, B, H), both those given and those
        returned, instead of being (B, H) each.
    name : str, optional
    """

    def __init__(
        self,
        rows: Sequence[Sequence[Recurrent]],
        *,
        return_sequences: bool = True,
        return_state: bool = False,
        stacked: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.rows = [tuple(row) for row in rows]
        self.cells = [cell for row in self.rows for cell in row]
        self.return_sequences = flag(return_sequences, self.label, "return_sequences")
        self.return_state = flag(return_state, self.label, "return_state")
        self.stacked = stacked

    @property
    def kind(self) -> str:
        return self.rows[0][0].kind

    @property
    def states(self) -> int:
        # stacked states come from the caller of the model alone
        return 0 if self.stacked else self.cells[0].states * len(self.cells)

    @property
    def outputs(self) -> int:
        final = self.cells[0].states * (1 if self.stacked else len(self.cells))
        return 1 + final * self.return_state

    def input_spec(self) -> tuple[Shape, str] | None:
        return self.cells[0].input_spec()

    def parameters(self, shape: Shape) -> int:
        return sum(cell.parameters(shape) for cell in self.cells)

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        initial = self._initial(graph, site)
        (y,) = inputs
        finals: list[list[Value]] = []
        for index, row in enumerate(self.rows):
            last = index == len(self.rows) - 1
            sequences = self.return_sequences or not last
            parts: list[Value] = []
            for cell, part in zip(row, (f"l{index}", f"l{index}_reverse"), strict=False):
                place = site.inner(part, initial[len(finals)])
                if last and len(row) == 1:  # what it makes is the stack's own result
                    place = replace(place, value=site.value)
                backward = len(parts) == 1
                made = cell.run(
                    graph, place, y, reverse=backward, realign=backward and sequences,
                    return_sequences=sequences, return_state=self.return_state,
                )  # fmt: skip
                parts.append(made[0])
                finals.append(made[1:])
            if len(parts) == 1:
                y = parts[0]
            else:
                place = site if last else site.inner(f"l{index}:both")
                (y,) = graph.node("concat", place, parts, attrs={"axis": -1})
        return [y, *self._final(graph, site, finals)]

    def _initial(self, graph: GraphBuilder, site: Site) -> list[tuple[Value, ...] | None]:
        """Return every cell's initial states, as `Site.states` has them."""
        count, cells = self.cells[0].states, len(self.cells)
        if not self.stacked:
            states = site.states
            return [states and states[k * count : (k + 1) * count] for k in range(cells)]
        names, shape = self.cells[0].state_names, (cells, self.cells[0].units)
        whole = [graph.state_input(f"{site.value}:{name}0", shape, batch_axis=1) for name in names]
        return [
            tuple(
                graph.node(
                    "select", site, [value], outputs=[f"{value.name}:{index}"],
                    attrs={"index": index}, time="gone",
                )[0]
                for value in whole
            )
            for index in range(cells)
        ]  # fmt: skip

    def _final(
        self, graph: GraphBuilder, site: Site, finals: Sequence[Sequence[Value]]
    ) -> list[Value]:
        """Return the final states in the form that the caller wants."""
        if not self.return_state:
            return []
        if not self.stacked:
            return [value for cell in finals for value in cell]
        names = self.cells[0].state_names
        return [
            graph.node("stack", site, values, outputs=[f"{site.value}:{name}_n"], time="gone")[0]
            for name, values in zip(names, zip(*finals, strict=True), strict=True)
        ]
