"""Several recurrent layers as one: RNN over cells, and RecurrentStack, one torch module.

A cell is a recurrent layer that was not told how to go through time: `Cell.layer` holds its weights
and its equations, and RNN runs that. Cells can also be called on a single frame and its states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import EllipsisType
from typing import Any, ClassVar

from numpy.typing import ArrayLike

from ..errors import OptionError, WeightsError
from ..graph import GraphBuilder, Mask, Site, Value, unique_names
from .base import Array, Layer, Shape, Slot, flag
from .cells import ActivationLike
from .gru import GRU
from .lstm import LSTM
from .recurrent import Recurrent, Sequencer, SimpleRNN

__all__ = [
    "RNN",
    "Cell",
    "GRUCell",
    "LSTMCell",
    "RecurrentStack",
    "SimpleRNNCell",
    "StackedRNNCells",
    "Step",
]


# ---- Cells --------------------------------------------------------------------------------------


class Step(Layer):
    """What takes one frame (B, F) and states: a cell, or cells of which each reads the one before.

    Attributes
    ----------
    cells : tuple of Cell
    """

    cells: tuple[Cell, ...]

    @property
    def built(self) -> bool:
        return all(cell.layer.built for cell in self.cells)

    @property
    def states(self) -> int:
        return sum(cell.layer.states for cell in self.cells)

    @property
    def outputs(self) -> int:
        return 1 + self.states

    def input_spec(self) -> tuple[Shape, str] | None:
        W = self.cells[0].layer.weights["W"]
        return None if W is None else ((W.shape[0],), "float32")

    def parameters(self, shape: Shape) -> int:
        total = 0
        for cell in self.cells:
            total += cell.layer.parameters(shape)
            shape = (*shape[:-1], cell.layer.out_features)
        return total

    def __call__(self, *inputs: Any, initial_state: Any = None, **options: Any) -> Any:
        """Apply it to a frame.

        Parameters
        ----------
        *inputs : Symbol, and perhaps Symbol or list of Symbol
            The frame (B, F) and, as Keras writes it, the states.
        initial_state : Symbol or list of Symbol, optional
            The states (B, H): h, or h and c, of every cell. Left out, the model's caller can give
            them.

        Returns
        -------
        tuple of Symbol
            The output (B, H) and the new states.
        """
        if len(inputs) == 2 and initial_state is None:
            *inputs, initial_state = inputs  # type: ignore[assignment]
        return super().__call__(*inputs, initial_state=initial_state, **options)

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        """Run over a sequence of the one frame."""
        name = [f"{site.value}:frame"]
        (x,) = graph.node("expand", site, inputs, outputs=name, attrs={"axis": 1}, time="gone")
        return RNN(self, return_state=True).lower(graph, site, [x])


class Cell(Step):
    """One step of a recurrent layer: what SimpleRNNCell, LSTMCell and GRUCell share.

    Parameters
    ----------
    units : int or array
    *weights : array
        U and b, as in the layer of that kind.
    name : str, optional
    **options
        Of the layer of that kind, but for those that are about time: activations, use_bias,
        reset_after, peepholes, layer_norm ... An initial_state is that of whoever gives none.

    Raises
    ------
    OptionError, WeightsError, DtypeError
    """

    of: ClassVar[type[Recurrent]]
    layer: Recurrent
    trainable = True  # False for one that a file says was frozen: its weights come last there

    def __init__(
        self,
        units: int | ArrayLike,
        *weights: ArrayLike | None,
        name: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name)
        make: Any = self.of
        timed = sorted({*_TIMED} & set(options))
        if timed:
            raise OptionError(f"{self.label}: a cell has no {timed[0]}; RNN has")
        self.layer = make(units, *weights, name=name, **options)
        self.cells = (self,)

    def keras_weights(self) -> list[Slot]:
        return [
            replace(slot, home="", trainable=self.trainable) for slot in self.layer.keras_weights()
        ]

    @classmethod
    def from_keras(cls, arrays: Sequence[ArrayLike], **options: Any) -> Any:
        """Make the cell from a Keras cell's ``get_weights()``; options as in the constructor."""
        cell = cls(1, name=options.get("name"))
        cell.layer = cls.of.from_keras(arrays, **options)
        return cell

    @classmethod
    def from_torch(
        cls,
        weights: Mapping[str, ArrayLike],
        prefix: str = "",
        *,
        activation: ActivationLike | EllipsisType = ...,
        name: str | None = None,
    ) -> Any:
        """Make the cell from the named weights of an nn.RNNCell, nn.LSTMCell or nn.GRUCell.

        Parameters
        ----------
        weights, prefix, activation, name
            As in `Recurrent.from_torch`. The one layer of an nn.LSTM, which has the names of a cell
            and ``_l0`` behind each, is taken too.

        Raises
        ------
        WeightsError, OptionError, DtypeError
        """
        cell = cls(1, name=name)
        made = cls.of.from_torch(weights, prefix, activation=activation, name=cell.label)
        if len(made.cells) > 1:
            raise WeightsError(
                f"layer {cell.label!r}: a cell has one layer and one direction; {prefix!r} holds "
                f"{len(made.rows)} and {len(made.rows[0])}"
            )
        (cell.layer,) = made.cells
        return cell


_TIMED = ("return_sequences", "return_state", "go_backwards", "zero_output_for_mask")


class SimpleRNNCell(Cell):
    """One step of a `SimpleRNN`: `Cell` tells how it is made."""

    of = SimpleRNN


class LSTMCell(Cell):
    """One step of an `LSTM`: `Cell` tells how it is made."""

    of = LSTM


class GRUCell(Cell):
    """One step of a `GRU`: `Cell` tells how it is made."""

    of = GRU


class StackedRNNCells(Step):
    """Cells of which each reads the output of the one before.

    Parameters
    ----------
    cells : sequence of Cell or StackedRNNCells
    name : str, optional

    Raises
    ------
    OptionError
    """

    def __init__(self, cells: Sequence[Step], *, name: str | None = None) -> None:
        super().__init__(name)
        given = list(cells) if isinstance(cells, (list, tuple)) else []
        if not given or not all(isinstance(part, Step) for part in given):
            raise OptionError(f"{self.label}: expected a list of cells; found {cells!r:.80}")
        self.cells = tuple(cell for part in given for cell in part.cells)

    def keras_weights(self) -> list[Slot]:
        homes = unique_names((None, cell.stem) for cell in self.cells)
        return [
            replace(slot, home=f"cells/{home}")
            for home, cell in zip(homes, self.cells, strict=True)
            for slot in cell.keras_weights()
        ]

    def loaded(self, arrays: Sequence[Array]) -> StackedRNNCells:
        cells, given = [], list(arrays)
        for cell in self.cells:
            count = len(cell.keras_weights())
            cells.append(cell.loaded(given[:count]))
            del given[:count]
        return StackedRNNCells(cells, name=self.name)  # type: ignore[arg-type]


# ---- RNN ----------------------------------------------------------------------------------------


class RNN(Sequencer):
    """Cells over time, (B, T, I) to (B, H) or (B, T, H).

    Parameters
    ----------
    cell : Cell, StackedRNNCells, or list of them
    return_sequences, return_state, go_backwards, zero_output_for_mask : bool
        As in `SimpleRNN`. The final states are those of every cell, in their order.
    name : str, optional

    Raises
    ------
    OptionError

    Examples
    --------
    >>> import seqcore as sc
    >>> rnn = sc.RNN([sc.LSTMCell(4), sc.GRUCell(3)], return_sequences=True)
    >>> sc.Sequential([sc.Input((None, 2)), rnn]).layers[0].output_shape
    (None, None, 3)
    """

    def __init__(
        self,
        cell: Step | Sequence[Step],
        *,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        zero_output_for_mask: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(
            return_sequences=return_sequences, return_state=return_state,
            go_backwards=go_backwards, zero_output_for_mask=zero_output_for_mask, name=name,
        )  # fmt: skip
        if isinstance(cell, (list, tuple)):
            cell = StackedRNNCells(cell)
        if not isinstance(cell, (Cell, StackedRNNCells)):
            raise OptionError(
                f"{self.label}: expected a cell or a list of cells; found {cell!r:.80}"
            )
        self.cell = cell

    @property
    def built(self) -> bool:
        return self.cell.built

    @property
    def states(self) -> int:
        return self.cell.states

    def input_spec(self) -> tuple[Shape, str] | None:
        spec = self.cell.input_spec()
        return None if spec is None else ((None, *spec[0]), spec[1])

    def parameters(self, shape: Shape) -> int:
        return self.cell.parameters(shape)

    def keras_weights(self) -> list[Slot]:
        return [
            replace(slot, home=f"cell/{slot.home}".rstrip("/"))
            for slot in self.cell.keras_weights()
        ]

    def loaded(self, arrays: Sequence[Array]) -> RNN:
        cell: Any = self.cell.loaded(arrays)
        options = {name: given for name, given in self.options.items() if name != "cell"}
        return RNN(cell, **options)

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
        y, cells, taken = x, self.cell.cells, 0
        finals: list[Value] = []
        for index, cell in enumerate(cells):
            last = index == len(cells) - 1
            own = site.states and site.states[taken : taken + cell.layer.states]
            taken += cell.layer.states
            place = site.inner(f"cell{index}" if len(cells) > 1 else "cell", own)
            # Whoever reads a frame finds it where it was, in whatever order the frames are taken.
            made = cell.layer.run(
                graph, replace(place, value=site.value) if last else place,
                replace(y, mask=x.mask),
                reverse=reverse, realign=realign or not last,
                return_sequences=return_sequences or not last, return_state=return_state,
                zero_output=zero_output and last,
            )  # fmt: skip
            y = made[0]
            finals += made[1:]
        return [y, *finals]


# ---- torch --------------------------------------------------------------------------------------


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
        returned, instead of being (B, H) each. With a projection an h has P features, a c has H.
        Where the cells have learned initial states, none are given.
    zero_output_for_mask : bool
        Whether a masked frame gives zeros, as it always does in two directions, instead of the
        output before.
    backward : bool
        Whether rows of one direction go backward: from the last frame on, outputs stand at the
        frames that made them.
    name : str, optional
    """

    reads_mask = True

    def __init__(
        self,
        rows: Sequence[Sequence[Recurrent]],
        *,
        return_sequences: bool = True,
        return_state: bool = False,
        stacked: bool = False,
        zero_output_for_mask: bool = False,
        backward: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.rows = [tuple(row) for row in rows]  # its label may be theirs
        self.zero_output_for_mask = flag(zero_output_for_mask, self.label, "zero_output_for_mask")
        self.cells = [cell for row in self.rows for cell in row]
        self.return_sequences = flag(return_sequences, self.label, "return_sequences")
        self.return_state = flag(return_state, self.label, "return_state")
        self.stacked = stacked
        self.backward = flag(backward, self.label, "backward")
        learned = [bool(cell.initial_state) for cell in self.cells]
        if stacked and any(learned) and not all(learned):
            raise OptionError(
                f"{self.label}: some cells have an initial_state and some have not, and the states "
                "that a caller gives are stacked"
            )

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
                backward = len(parts) == 1 or self.backward
                made = cell.run(
                    graph, place, replace(y, mask=inputs[0].mask),
                    reverse=backward, realign=backward and sequences,
                    return_sequences=sequences, return_state=self.return_state,
                    zero_output=sequences and (len(row) == 2 or self.zero_output_for_mask),
                )  # fmt: skip
                parts.append(made[0])
                finals.append(made[1:])
            if len(parts) == 1:
                y = parts[0]
            else:
                place = site if last else site.inner(f"l{index}:both")
                (y,) = graph.node("concat", place, parts, attrs={"axis": -1})
        return [y, *self._final(graph, site, finals)]

    def mask(self, inputs: Sequence[Value]) -> Mask | None:
        return inputs[0].mask if self.return_sequences else None

    def _initial(self, graph: GraphBuilder, site: Site) -> list[tuple[Value, ...] | None]:
        """Return every cell's initial states, as `Site.states` has them."""
        count, cells = self.cells[0].states, len(self.cells)
        if not self.stacked:
            states = site.states
            return [states and states[k * count : (k + 1) * count] for k in range(cells)]
        if self.cells[0].initial_state:
            return [()] * cells
        first = self.cells[0]
        whole = [
            graph.state_input(f"{site.value}:{name}0", (cells, size), batch_axis=1)
            for name, size in zip(first.state_names, first.state_sizes, strict=True)
        ]
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
