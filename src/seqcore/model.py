"""Model: a graph with its plan, called on arrays.

The only module that knows both `Graph` and plans. Files are read in loading.py. What a call is
given is converted in arguments.py; shapes and ids are checked by the plan, which knows the layers.
What a model tells of its layers is put together in inspection.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._binding import Plan, cpu_info, get_num_threads, write_model_file
from .arguments import Arguments, checked_out, listed
from .assets import ASSETS_TEXT, Assets, checked_names
from .errors import NotBuiltError, OptionError
from .graph import GRAPH_TEXT, PACKED, Graph, unique_names
from .inspection import LayerInfo, LayerTime, layer_table, layer_times
from .layers.base import Input, Layer, Symbol, checked_name, whole
from .layers.composite import Composite
from .layers.lowering import lower
from .stream import Stream, StreamPool

if TYPE_CHECKING:
    from .trace import Trace, Tracer

__all__ = ["Model", "checked_options", "from_graph"]

Array = NDArray[Any]


# ---- Models -------------------------------------------------------------------------------------


class Model:
    """A network ready to run: immutable, and free to be called from any number of threads.

    Parameters
    ----------
    inputs : Input or list of Input
    outputs : Symbol, list of Symbol, or dict of Symbol by name
        What layers returned. Without names of their own, outputs have those of their layers.

    Raises
    ------
    GraphError
        Outputs do not come from these inputs, or two layers have one name.
    ShapeError, WeightsError
        Layers do not fit together.
    OptionError
        An output's name is none: a string of 1 to 200 printable characters without a colon.

    Examples
    --------
    >>> import numpy as np, seqcore as sc
    >>> x = sc.Input((None, 2), name="x")
    >>> rnn = sc.SimpleRNN(np.eye(2), np.zeros((2, 2)), activation=None)
    >>> model = sc.Model(x, rnn(x))
    >>> model(np.array([[[1, 2], [3, 4]]])).tolist()
    [[3.0, 4.0]]
    >>> model(np.array([[[1, 2], [3, 4]]]), lengths=[1]).tolist()
    [[1.0, 2.0]]
    """

    def __init__(
        self,
        inputs: Input | Sequence[Input],
        outputs: Symbol | Sequence[Symbol] | Mapping[str, Symbol],
    ) -> None:
        names = [checked_name(name) for name in outputs] if isinstance(outputs, Mapping) else None
        ends = list(outputs.values()) if isinstance(outputs, Mapping) else listed(outputs)
        graph, unbuilt = lower(listed(inputs), ends, names)
        self._symbols = (listed(inputs), ends) if unbuilt else None
        tensors = dict(graph.tensors)
        plan = Plan(graph.to_json(), tensors, isa=None, threads=0, shapes_only=bool(unbuilt))
        self._set_up(plan, graph, unbuilt, isa=None, threads=0)

    _symbols: tuple[list[Any], list[Any]] | None = None  # of a model that was made without weights
    _assets = Assets()

    def _set_up(
        self,
        plan: Plan,
        graph: Graph,
        unbuilt: Mapping[str, tuple[Layer, dict[str, Any]]],
        isa: str | None,
        threads: int,
    ) -> None:
        """Work out once what every call needs. `isa` and `threads` are what was asked for."""
        self._plan = plan
        self._graph, self._isa, self._threads = graph, isa, threads
        self._arguments = Arguments(graph.document["inputs"])
        self._outputs = tuple(output["name"] for output in graph.document["outputs"])
        self._run_one, self._run = plan.run_one, plan.run
        self._tracers: dict[str, Tracer] = {}
        # Last: what another thread calls while weights are loaded has a plan that runs.
        self._unbuilt = unbuilt
        self._is_simple = self._arguments.is_one and len(self._outputs) == 1 and not unbuilt

    # -- calling --

    def __call__(
        self,
        *inputs: Any,
        lengths: ArrayLike | Mapping[str, ArrayLike] | None = None,
        mask: ArrayLike | Mapping[str, ArrayLike] | None = None,
        initial_state: Sequence[ArrayLike | None] | None = None,
        out: Array | Sequence[Array] | None = None,
    ) -> Any:
        """Run the network.

        Parameters
        ----------
        *inputs : array_like, or one dict of array_like by input name
            (batch, ...) with the shapes of the model's inputs, or (n, batch, ...) where an `Input`
            says so. Features of any real dtype convert to float32; ids must be integers. A list is
            one array.
        lengths : (B,) integers, or a dict of them by input name, optional
            Frames of each row, 0..T; of the first input. Row i comes out as if it were ``x[i:i+1,
            :lengths[i]]``, and outputs with a time axis are 0 past its end.
        mask : (B, T) booleans, or a dict of them by input name, optional
            False for frames that do not count, in any pattern; of the first input. It means what
            Keras's ``mask`` means: recurrent layers keep their state over such a frame, other
            layers compute it like any other. Not together with `lengths`.
        initial_state : sequence of array_like, optional
            One for each name in `states`, (B, units) floats; None for zeros.
        out : ndarray, or tuple of them, optional
            Where results go: C-contiguous, of exactly the dtype and the shape, overlapping no
            input.

        Returns
        -------
        ndarray, or tuple of ndarray
            float32, or int64 where an output is of indices, in the order of `outputs`; `out` itself
            where it is given.

        Raises
        ------
        ShapeError, DtypeError, IdRangeError, OptionError
        NotBuiltError
            Layers have no weights.
        """
        plain = lengths is None and mask is None and initial_state is None
        if plain and self._is_simple and len(inputs) == 1:
            y = self._run_one(inputs[0], out)
            if y is not None:
                return y
        self._check_built("this model gives summary() only")
        arrays, given = self._arguments.read(inputs, lengths, mask, initial_state)
        if out is None:
            results = self._run(arrays)
        else:
            results = checked_out(out, self._outputs, self._plan.output_dtypes, [*arrays, *given])
            self._run(arrays, results)
        return results[0] if len(results) == 1 else tuple(results)

    # -- what it is --

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in the order of a call's arguments."""
        return self._arguments.names

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, in the order in which a call returns them."""
        return self._outputs

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the initial states, in the order of ``initial_state=``."""
        return self._arguments.states

    @property
    def layers(self) -> tuple[LayerInfo, ...]:
        """The layers in order of execution."""
        infos = []
        for entry in self._graph.document["layers"]:
            count = entry["parameters"]
            if count is None:
                layer, read = self._unbuilt[entry["name"]]
                count = layer.parameters(self._shape(read))
            infos.append(LayerInfo(entry["name"], entry["class"], self._shape(entry), count))
        return tuple(infos)

    def _shape(self, entry: Mapping[str, Any]) -> tuple[int | None, ...]:
        """Return the shape of the value of an entry of the graph's layers (`seen_shape`)."""
        shape = tuple(self._plan.value_shape(entry["value"]))
        return (*shape, entry["depth"]) if "depth" in entry else shape

    @property
    def plan(self) -> dict[str, Any]:
        """What was chosen, and what the last call did.

        ``isa``; ``threads``, the most that a call uses; ``bytes`` of packed weights;
        ``bytes_in_place``, those of them that are shared with other processes (``load`` with
        ``mmap=True``); ``last_threads``, the threads that took part in the last call that ended (0
        before the first).
        How a call of a certain size is spread over threads is `schedule`'s answer.
        """
        return {
            "isa": self._plan.isa,
            "threads": self._threads or get_num_threads(),
            "bytes": self._plan.nbytes,
            "bytes_in_place": self._plan.nbytes_in_place,
            "last_threads": self._plan.last_threads,
        }

    def schedule(self, batch: int = 1, time: int = 1) -> dict[str, int]:
        """Tell how a call would be spread over threads.

        Parameters
        ----------
        batch, time : int
            Rows, and frames of the longest sequence.

        Returns
        -------
        dict
            ``threads`` that the call uses, in teams of ``team``: the teams divide the rows, the
            members of a team divide the units of each layer, or the layer's directions.

        Raises
        ------
        OptionError
            `batch` or `time` is negative or no whole number.
        """
        rows = whole(batch, "schedule", "batch", least=0)
        frames = whole(time, "schedule", "time", least=0)
        threads, team = self._plan.schedule(rows, frames)
        return {"threads": threads, "team": team}

    def stream(self, batch_size: int = 1) -> Stream:
        """Return a stream: sequences whose frames arrive one at a time.

        Parameters
        ----------
        batch_size : int
            Sequences that advance together.

        Returns
        -------
        Stream

        Raises
        ------
        UnsupportedLayerError
            A layer needs frames that are still to come; the message names it.
        NotBuiltError, OptionError
        """
        return Stream(self, whole(batch_size, "stream", "batch_size", least=1))

    def pool(self, capacity: int) -> StreamPool:
        """Return a pool of streams that come, advance and go one by one, and are stepped together.

        Parameters
        ----------
        capacity : int
            Streams that can be open at once.

        Returns
        -------
        StreamPool

        Raises
        ------
        UnsupportedLayerError
            A layer needs frames that are still to come; the message names it.
        NotBuiltError, OptionError
        """
        return StreamPool(self, whole(capacity, "pool", "capacity", least=1))

    def forecast(
        self,
        history: ArrayLike,
        steps: int,
        *,
        lengths: ArrayLike | None = None,
        window: int | None = None,
    ) -> Array:
        """Predict what follows a sequence, from what is known and then from the predictions.

        Parameters
        ----------
        history : (B, T, F) array_like
            At least one frame of each row.
        steps : int
            Frames to predict.
        lengths : (B,) integers, optional
            Frames of each row that are known, 1..T.
        window : int, optional
            Frames that the model sees for every prediction, the newest ones, as a model that was
            trained on windows did. Left out, the model sees everything since the first frame: it is
            stepped, and its state goes on.

        Returns
        -------
        ndarray (B, steps, F)

        Raises
        ------
        ShapeError
            Its output is no frame of its input.
        UnsupportedLayerError
            Without `window`: a layer needs frames that are still to come.
        DtypeError, OptionError, NotBuiltError

        Examples
        --------
        >>> import numpy as np, seqcore as sc
        >>> rnn = sc.SimpleRNN(np.eye(1) / 2, np.zeros((1, 1)), activation=None)
        >>> sc.Sequential([rnn]).forecast([[[8.0]]], 3).tolist()
        [[[4.0], [2.0], [1.0]]]
        """
        from .generation import forecast  # which is made of models

        return forecast(self, history, steps, lengths, window)

    def plan_for_steps(self) -> Plan:
        """Return the plan of which streams and pools are made.

        Raises
        ------
        NotBuiltError
        """
        self._check_built("it cannot be stepped")
        return self._plan

    def profile(
        self,
        *inputs: Any,
        lengths: ArrayLike | Mapping[str, ArrayLike] | None = None,
        mask: ArrayLike | Mapping[str, ArrayLike] | None = None,
        initial_state: Sequence[ArrayLike | None] | None = None,
        repeat: int = 20,
    ) -> list[LayerTime]:
        """Measure what each layer takes of a call, on one thread.

        Parameters
        ----------
        *inputs, lengths, mask, initial_state
            As in a call.
        repeat : int
            Calls of which the median is taken, behind one that only warms up.

        Returns
        -------
        list of LayerTime
            In the order of execution; layers that compute nothing are left out.

        Raises
        ------
        ShapeError, DtypeError, IdRangeError, NotBuiltError
        OptionError
            `repeat` is no whole number from 1.
        """
        rounds = whole(repeat, "profile", "repeat", least=1)
        self._check_built("there is nothing to measure")
        arrays, _ = self._arguments.read(inputs, lengths, mask, initial_state)
        kinds = {entry["name"]: entry["class"] for entry in self._graph.document["layers"]}
        return layer_times(self._plan, kinds, arrays, rounds)

    def trace(
        self,
        *inputs: Any,
        layer: str | None = None,
        lengths: ArrayLike | Mapping[str, ArrayLike] | None = None,
        mask: ArrayLike | Mapping[str, ArrayLike] | None = None,
        initial_state: Sequence[ArrayLike | None] | None = None,
    ) -> Trace:
        """Look into a recurrent layer: its gates and states at every frame.

        Parameters
        ----------
        *inputs, lengths, mask, initial_state
            As in a call.
        layer : str, optional
            Left out, the only one there is. A layer of several parts names them behind a colon:
            ``"bidirectional:backward"``, ``"lstm:l0"`` of a stack (its last layer has the name
            itself), ``"lstm:2"`` where the layer is called again. A wrong name lists all.

        Returns
        -------
        Trace
            Inside TimeDistributed each frame of the outer sequence is a row.

        Raises
        ------
        OptionError
            The model has no recurrent layer, none of that name, or several to choose from.
        ShapeError, DtypeError, IdRangeError, NotBuiltError

        Notes
        -----
        The first trace of a layer makes a plan that ends there, which the model keeps.
        """
        from .trace import Tracer, recurrent_nodes, traced_name  # only who looks inside needs it

        self._check_built("there is nothing to trace")
        name = traced_name(recurrent_nodes(self._graph.document), layer)
        arrays, _ = self._arguments.read(inputs, lengths, mask, initial_state)
        if name not in self._tracers:
            self._tracers[name] = Tracer(self._graph, name, self._isa, self._threads)
        return self._tracers[name](arrays)

    def summary(self) -> str:
        """Return a table of the layers: output shapes and numbers of parameters."""
        return layer_table(self.layers)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._graph.document['layers'])} layers>"

    # -- what becomes of it --

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy as graph, weights and what was asked for; a plan is made anew.

        The weights go as bytes, which the plan checks: a pickle of a model names `_restored` and
        the class, and nothing else that could run.

        Raises
        ------
        NotBuiltError
            Layers have no weights.
        """
        self._check_built("there is nothing to pickle or to copy")
        graph = self._graph
        weights = {
            name: (array.dtype.str, array.shape, array.tobytes())
            for name, array in graph.tensors.items()
        }
        state = (graph.to_json(), weights, self._isa, self._threads, self._assets.to_text())
        return _restored, (type(self), *state)

    def _check_built(self, consequence: str) -> None:
        if self._unbuilt:
            names = ", ".join(repr(name) for name in self._unbuilt)
            raise NotBuiltError(f"layers without weights: {names}; {consequence}")

    def save(self, path: str | os.PathLike[str], *, packed: bool = False) -> None:
        """Write a model file (safetensors, the graph inside), which `load` and the C library read.

        Parameters
        ----------
        path : str or path-like
        packed : bool
            Whether to add the weights as this model's instruction set lays them out, which about
            doubles the file: processes that ``load(path, mmap=True)`` then share one copy of them.

        Raises
        ------
        NotBuiltError
            Layers have no weights.
        OSError, ModelFileError
            The file cannot be written. What was there before is then still there.
        """
        self._check_built("there is nothing to save")
        tensors = dict([self._plan.packed()] if packed else []) | dict(self._graph.tensors)
        texts = {GRAPH_TEXT: self._graph.to_json()}
        if not self._assets.is_empty:
            texts[ASSETS_TEXT] = self._assets.to_text()
        write_model_file(os.fspath(path), texts, tensors)

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Take weights from a Keras file that has no network: a model without becomes one with.

        Parameters
        ----------
        path : str or path-like
            ``.weights.h5``, or a legacy ``.h5`` of ``save_weights`` or ``save``; also ``.keras``.
            Layers are found by their names, or in their order. Of layers side by side that have
            weights of the same shapes, only names tell.

        Raises
        ------
        OptionError
            The model has its weights, and does not change any more.
        WeightsError
            A weight is missing, left over, or of another shape, or nothing tells whose it is.
        ModelFileError, MissingExtraError

        Notes
        -----
        Call it before other threads have the model. A legacy file lists the weights of a layer's
        frozen cells behind those of its others; `load` reads that from the file's network, which
        says what was frozen, and layers written here do not.

        Examples
        --------
        >>> import seqcore as sc
        >>> model = sc.Sequential([sc.Input((None, 8)), sc.LSTM(64), sc.Dense(1)])
        >>> model.load_weights("lstm.weights.h5")                       # doctest: +SKIP
        """
        from .importers.keras import load_weights  # readers are imported on first use

        if not self._unbuilt:
            raise OptionError("load_weights: this model has its weights; make it without them")
        isa, threads = self._isa, self._threads
        loaded = load_weights(self, path)
        if isa is not None or threads:
            loaded = loaded.with_options(isa=isa, threads=threads)
        self._set_up(loaded._plan, loaded._graph, {}, isa, threads)

    def network(self) -> tuple[Composite, dict[Layer, str]]:
        """Return the layers of a model without weights as one, and the name of each."""
        assert self._symbols is not None
        composite = Composite(*self._symbols)
        wanted = [(symbol.name, "input") for symbol in composite.sources]
        stems = [(layer.name, layer.stem) for layer in composite.layers]
        names = unique_names(wanted + stems)[len(wanted) :]
        return composite, dict(zip(composite.layers, names, strict=True))

    @property
    def assets(self) -> Mapping[str, Any]:
        """What the model keeps beside its weights, by name: vocabularies, scalers, plain data.

        The mapping does not change, nor do vocabularies and scalers; plain data (dicts, lists,
        strings, numbers) comes out as a copy each time.
        """
        return self._assets

    def with_assets(self, /, **assets: Any) -> Model:
        """Return the same model with more assets.

        It shares the plan. `save`, pickles, copies, `with_options` and `load_weights` keep assets.

        Parameters
        ----------
        **assets : Vocabulary, Scaler, plain JSON data, or None
            By name; None takes away what the model has under that name.

        Returns
        -------
        Model
            Of the class of this one.

        Raises
        ------
        OptionError
            A name begins with "__", which is the package's; there is nothing to take away; or an
            asset is none, or too large (256 MiB of JSON, some millions of values).

        Examples
        --------
        >>> import numpy as np, seqcore as sc
        >>> model = sc.Sequential([sc.Dense(np.eye(2))]).with_assets(labels=["cat", "dog"])
        >>> model.assets["labels"]
        ['cat', 'dog']
        """
        return self.with_all_assets(self._assets.changed(checked_names(assets)))

    def with_all_assets(self, assets: Assets) -> Model:
        """Return the same model, with the same plan and these assets alone; for the package."""
        model = object.__new__(type(self))
        model.__dict__.update(self.__dict__)
        model._assets = assets
        return model

    def with_options(
        self, *, isa: str | None = None, threads: int | None = None, precision: str = "float32"
    ) -> Model:
        """Return the same model with another plan.

        Parameters
        ----------
        isa : str, optional
            One of ``cpu_info()["isas"]``. Left out, as it is.
        threads : int, optional
            The most threads that a call uses; 0 for what `set_num_threads` says. Left out, as it
            is.
        precision : "float32"

        Raises
        ------
        OptionError
        """
        isa, threads = checked_options(isa, threads, precision)
        isa = self._isa if isa is None else isa
        threads = self._threads if threads is None else threads
        unbuilt, tensors = self._unbuilt, dict(self._graph.tensors)
        plan = Plan(
            self._graph.to_json(), tensors, isa=isa, threads=threads, shapes_only=bool(unbuilt)
        )
        model = object.__new__(Model)
        model._symbols, model._assets = self._symbols, self._assets
        model._set_up(plan, self._graph, unbuilt, isa, threads)
        return model


def checked_options(isa: Any, threads: Any, precision: Any) -> tuple[str | None, int | None]:
    if precision != "float32":
        raise OptionError(f"precision: only 'float32' is available; found {precision!r}")
    known = list(cpu_info()["isas"])
    if isa is not None and (not isinstance(isa, str) or isa not in known):
        raise OptionError(f"isa: this processor has {known}; found {isa!r}")
    return isa, None if threads is None else whole(threads, "options", "threads", least=0)


# ---- Models out of graphs ------------------------------------------------------------------------


def from_graph(
    kind: type[Model],
    text: bytes,
    tensors: dict[str, Array],
    source: str,
    isa: str | None,
    threads: int,
    in_place: bool = False,
    assets: Assets | None = None,
) -> Model:
    """Return the model of a graph and its tensors; `source` is for messages.

    With `in_place`, packed weights among the tensors are used where they lie. Tensors that the
    graph does not name are left alone.
    """
    # The plan checks the text first, in C and strictly; only then does Python's reader see it.
    plan = Plan(text, tensors, isa=isa, threads=threads, in_place=in_place)
    weights = {name: array for name, array in tensors.items() if not name.startswith(PACKED)}
    model = object.__new__(kind)
    model._set_up(plan, Graph.from_json(text, weights, source), {}, isa, threads)
    model._assets = Assets() if assets is None else assets
    return model


def _restored(
    kind: type[Model],
    text: bytes,
    weights: dict[str, tuple[str, tuple[int, ...], bytes]],
    isa: str | None,
    threads: int,
    assets: bytes = b"{}",
) -> Model:
    """Return a model out of a pickle (`Model.__reduce__`)."""
    tensors = {
        name: np.frombuffer(data, dtype).reshape(shape)
        for name, (dtype, shape, data) in weights.items()
    }
    source = "a pickled model"
    read = Assets.from_text(assets, source)
    return from_graph(kind, text, tensors, source, isa, threads, assets=read)
