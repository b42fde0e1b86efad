"""Models wired into one that makes sequences: a step, what runs before it, and who gives what.

`wired` makes a `Wired` of a decoder and perhaps an encoder; generation.py calls it. Which part of
the decoder is computed before the first step is rewriting.py's to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._binding import Port, Steps
from .arguments import floats, integers
from .errors import GraphError, ModelFileError, ShapeError, UnsupportedLayerError
from .graph import Graph
from .model import Model, from_graph
from .rewriting import (
    Divided,
    alive,
    batch_first,
    count_frames,
    divided,
    joined,
    prefixed,
    stepped,
)

__all__ = ["Beginning", "Wired", "wired"]

Array = NDArray[Any]

_ENCODER, _DECODER = "encoder/", "decoder/"


@dataclass(frozen=True)
class Beginning:
    """What sequences begin with, as the core reads it.

    Attributes
    ----------
    inputs : list of (ndarray or None)
        By the places of the step's inputs: contexts and their lengths.
    states : list of (ndarray or None)
        By the step's states; None for zeros.
    rows : int or None
        None where nothing says how many there are.
    """

    inputs: list[Array | None]
    states: list[Array | None]
    rows: int | None


@dataclass(frozen=True)
class Wired:
    """A step, what runs before it, and where the step's contexts and states come from.

    Attributes
    ----------
    step : Model
        Its graph is that of a step.
    before : Model or None
        An encoder, or what the decoder makes of its contexts once, or both.
    encodes : bool
        Whether `before` takes a source; otherwise it takes contexts.
    contexts : mapping of str to (str or None)
        Of each context of the step the output of `before` that it is; None for one that the caller
        gives under that name.
    lengths : mapping of str to str
        Of contexts that have lengths: the input whose lengths, as the caller gives them, they are;
        or, beginning with "=", the output of `before` that counts their frames.
    states : mapping of str to str
        States of the step that an output of `before` gives.
    turned : tuple of str
        States that the caller has as (n, batch, ...).
    """

    step: Model
    before: Model | None
    encodes: bool
    contexts: Mapping[str, str | None]
    lengths: Mapping[str, str]
    states: Mapping[str, str]
    turned: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        steps = Steps(self.step.plan_for_steps())
        object.__setattr__(self, "steps", steps)
        specs = self.step._graph.document["inputs"]
        places = {spec["name"]: place for place, spec in enumerate(specs)}
        counts = {spec["of"]: spec["name"] for spec in specs if spec["kind"] == "lengths"}
        object.__setattr__(self, "places", places)
        object.__setattr__(self, "counts", {c: places[n] for c, n in counts.items()})

    steps: Steps = None  # type: ignore[assignment]  # made of the step
    places: Mapping[str, int] = None  # type: ignore[assignment]
    counts: Mapping[str, int] = None  # type: ignore[assignment]  # of a context: place of its lengths

    @property
    def given(self) -> tuple[str, ...]:
        """The names of the contexts that a caller gives."""
        own = tuple(name for name, source in self.contexts.items() if source is None)
        before = () if self.before is None or self.encodes else self.before.inputs
        return own + tuple(name for name in before if name not in own)

    def with_options(self, **options: Any) -> Wired:
        """Return the same with other plans."""
        before = None if self.before is None else self.before.with_options(**options)
        step = self.step.with_options(**options)
        given = (self.encodes, self.contexts, self.lengths, self.states, self.turned)
        return Wired(step, before, *given)

    # -- as a file keeps it --

    def described(self) -> dict[str, Any]:
        """Return what `restored` takes beside the models, as plain JSON data."""
        return {
            "encodes": self.encodes,
            "contexts": dict(self.contexts),
            "lengths": dict(self.lengths),
            "states": dict(self.states),
            "turned": list(self.turned),
        }

    @classmethod
    def restored(
        cls, step: Model, before: Model | None, described: Mapping[str, Any], source: str
    ) -> Wired:
        """Wire models as a file says.

        Raises
        ------
        ModelFileError
            It says what these models do not have; `source` is named.
        """
        steps = Steps(step.plan_for_steps())
        contexts = [port.name for port in steps.contexts]
        states = [port.name for port in steps.states]
        outputs = [] if before is None else list(before.outputs)
        if not _fits(described, contexts, states, outputs) or (described["encodes"] and not before):
            raise ModelFileError(
                f"{source}: its wiring does not fit its graphs (contexts {contexts}, states "
                f"{states}); found {described!r:.200}"
            )
        encodes, sources, lengths, starts, turned = (
            described[key] for key in ("encodes", "contexts", "lengths", "states", "turned")
        )
        return cls(step, before, encodes, sources, lengths, starts, tuple(turned))

    # -- beginning --

    def encode(
        self,
        source: tuple[Any, ...],
        lengths: Any,
        initial_state: Any,
        contexts: Any,
        context_lengths: Any,
    ) -> Beginning:
        """Run the encoder, and connect what it gives."""
        assert self.before is not None
        given, counted = self._given(contexts, context_lengths)
        results = self.before(*source, lengths=lengths, initial_state=initial_state)
        own = {} if lengths is None else _named(lengths, self.before.inputs)
        return self._connect(results, given, {**counted, **own})

    def take(self, contexts: Any, lengths: Any) -> Beginning:
        """Take contexts as a caller gives them: one array, or by name."""
        given, counted = self._given(contexts, lengths)
        results: Any = ()
        if self.before is not None:
            ends = {name: n for name, n in counted.items() if name in self.before.inputs}
            named = {name: given[name] for name in self.before.inputs}
            results = self.before(named, lengths=ends or None)
        return self._connect(results, given, counted)

    def _given(self, contexts: Any, lengths: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return the contexts that a caller gives, and their lengths, by name."""
        names = self.given
        given = {} if contexts is None else _named(contexts, names)
        if set(given) != set(names):
            raise ShapeError(f"expected the contexts {list(names)}; found {list(given)}")
        counted = {} if lengths is None else _named(lengths, names)
        foreign = [name for name in counted if name not in names]
        if foreign:
            raise ShapeError(f"lengths: {foreign[0]!r} is none of the contexts {list(names)}")
        return given, counted

    def _connect(
        self, results: Any, given: Mapping[str, Any], lengths: Mapping[str, Any]
    ) -> Beginning:
        outputs = () if self.before is None else self.before.outputs
        made = dict(
            zip(outputs, results if isinstance(results, tuple) else (results,), strict=False)
        )
        inputs: list[Array | None] = [None] * len(self.places)
        rows: int | None = None
        for port in self.steps.contexts:
            source = self.contexts[port.name]
            value = given[port.name] if source is None else made[source]
            array = (integers if port.ids else floats)(value, f"context {port.name!r}")
            inputs[self.places[port.name]] = array
            rows = array.shape[0] if array.ndim else rows
            if port.name in self.counts and lengths:
                inputs[self.counts[port.name]] = self._ends(port.name, made, lengths)
        states: list[Array | None] = [None] * len(self.steps.states)
        for place, port in enumerate(self.steps.states):
            if port.name in self.states:
                states[place] = _shaped(port, made[self.states[port.name]])
                rows = len(made[self.states[port.name]])
        if self.before is not None and rows is None and made:
            rows = len(next(iter(made.values())))
        return Beginning(inputs, states, rows)

    def _ends(
        self, name: str, made: Mapping[str, Array], lengths: Mapping[str, Any]
    ) -> Array | None:
        """Return the lengths of a context, None for rows that are whole."""
        source = self.lengths.get(name)
        if source is None:
            return None
        if source.startswith("="):
            ends: Array = made[source[1:]].sum(axis=1).astype(np.int64)
            return ends
        if lengths.get(source) is None:
            return None
        return integers(lengths[source], f"lengths of {source!r}")

    def with_states(self, begin: Beginning, states: Any) -> Beginning:
        """Put a caller's states in place of those that are there."""
        if states is None:
            return begin
        names = [port.name for port in self.steps.states]
        if isinstance(states, Mapping):
            by_name = {_state_name(name, names): value for name, value in states.items()}
        else:
            given = states if isinstance(states, (tuple, list)) else None
            if given is None or len(given) != len(names):
                found = type(states).__name__ if given is None else len(given)
                raise ShapeError(
                    f"state: expected a tuple of {len(names)} arrays {names}; found {found}"
                )
            by_name = dict(zip(names, given, strict=True))
        made, rows = list(begin.states), begin.rows
        for place, port in enumerate(self.steps.states):
            value = by_name.get(port.name)
            if value is None:
                continue
            array = floats(value, f"state {port.name!r}")
            if port.name in self.turned:
                if array.ndim < 2:
                    raise ShapeError(
                        f"state {port.name!r}: expected (n, rows, ...); found {array.shape}"
                    )
                array = np.ascontiguousarray(array.swapaxes(0, 1))
            made[place] = _shaped(port, array)
            rows = rows if rows is not None or not array.ndim else len(array)
        return Beginning(begin.inputs, made, rows)

    def outgoing(self, states: Sequence[Array], axis: int) -> tuple[Array, ...]:
        """Return final states as the caller has them; `axis` is that behind the rows'."""
        return tuple(
            np.moveaxis(array, axis, 0) if port.name in self.turned else array
            for port, array in zip(self.steps.states, states, strict=True)
        )


def _fits(
    described: Mapping[str, Any], contexts: list[str], states: list[str], outputs: list[str]
) -> bool:
    """Tell whether a wiring, of a file that may say anything, names what there is.

    Whatever stands for a name is looked up in lists, which take what cannot be hashed.
    """
    sources, lengths, starts = (described.get(key) for key in ("contexts", "lengths", "states"))
    turned = described.get("turned")
    if not (isinstance(sources, dict) and isinstance(lengths, dict) and isinstance(starts, dict)):
        return False
    counted = [f"={name}" for name in outputs]
    return (
        isinstance(described.get("encodes"), bool)
        and sorted(sources) == sorted(contexts)
        and all(source is None or source in outputs for source in sources.values())
        and all(name in contexts for name in lengths)
        and all(
            isinstance(own, str) and (own in counted or not own.startswith("="))
            for own in lengths.values()
        )
        and all(name in states for name in starts)
        and all(source in outputs for source in starts.values())
        and isinstance(turned, list)
        and all(name in states for name in turned)
    )


def _named(given: Any, names: Sequence[str]) -> Mapping[str, Any]:
    """Return what is given by name: one value is that of the first name."""
    if isinstance(given, Mapping):
        return given
    if not names:
        raise ShapeError("there is no context to give")
    return {names[0]: given}


def _shaped(port: Port, array: Array) -> Array:
    """Return a state in its shape; axes of size 1 may be left out or too many."""
    sizes = tuple(size for size in port.shape[1:] if size is not None)
    if array.ndim and array.shape[1:] != sizes:
        kept = [size for size in array.shape[1:] if size != 1]
        if kept == [size for size in sizes if size != 1]:
            return array.reshape(array.shape[0], *sizes)
        raise ShapeError(
            f"state {port.name!r}: expected shape (rows, {', '.join(map(str, sizes))}); found "
            f"{array.shape}"
        )
    return array


# ---- Wiring --------------------------------------------------------------------------------------


def _state_name(name: str, names: Sequence[str]) -> str:
    """Return which state a name means: a call's "gru:h0" is the state "gru:h" of a stream."""
    for known in (name, name.removesuffix("0"), f"{name}0"):
        if known in names:
            return known
    raise GraphError(
        f"{name!r} is neither an input nor a state of the decoder; its states are {list(names)}"
    )


def wired(
    decoder: Model,
    carry: Mapping[str, str],
    contexts: Iterable[str],
    encoder: Model | None = None,
    connect: Mapping[str, str] | None = None,
    pass_lengths: bool = True,
) -> Wired:
    """Wire a decoder, and perhaps an encoder before it.

    Parameters
    ----------
    decoder : Model
    carry : mapping of str to str
        Inputs of the decoder, and the outputs of it that they are in the next step.
    contexts : iterable of str
        Inputs of the decoder that a sequence has once, and that no encoder gives.
    encoder : Model, optional
    connect : mapping of str to str
        Inputs and states of the decoder, and the outputs of the encoder that they are (begin as).
    pass_lengths : bool
        Whether contexts from the encoder have the lengths of its outputs.

    Raises
    ------
    GraphError, UnsupportedLayerError, OptionError, NotBuiltError
    """
    for model in (decoder, *([encoder] if encoder is not None else [])):
        model.plan_for_steps()  # it has its weights
    wires = dict(connect or {})
    connected = [name for name in wires if name in decoder.inputs and name not in carry]
    contexts = [*contexts, *connected]
    if encoder is not None:
        both = [name for name in contexts if name in encoder.inputs and name not in wires]
        if both:
            raise GraphError(f"{both[0]!r} is an input of the encoder and a context of the decoder")
        for name in wires.values():
            if name not in encoder.outputs:
                raise GraphError(
                    f"{name!r} is none of the encoder's outputs {list(encoder.outputs)}"
                )
    shape_of = decoder._plan.value_shape
    document = stepped(dict(decoder._graph.document), carry, contexts, shape_of)
    turned = tuple(
        spec["name"]
        for spec in decoder._graph.document["inputs"]
        if spec.get("batch_axis") and spec["name"] in carry
    )
    early = None if encoder is None else _computed_once(encoder, wires, connected, pass_lengths)
    parts = divided(document, shape_of, early)
    _check_one_input(parts)
    if encoder is None:
        before = None if parts.before is None else _model(parts.before, decoder)
        as_it_is = parts.step == decoder._graph.document
        step = decoder if as_it_is else _model(parts.step, decoder)
        made = () if before is None else before.outputs
        sources = {name: name if name in made else None for name in parts.lengths}
        return Wired(step, before, False, sources, _counting(parts, {}, ""), {}, turned)
    tensors = list(decoder._graph.tensors)
    step = _model(_with_own_tensors(parts.step, _DECODER, tensors), decoder, _DECODER)
    prefix = _unused_prefix(encoder)
    before, sources, ends = _encoding(encoder, decoder, parts, wires, prefix)
    names = [port.name for port in Steps(step.plan_for_steps()).states]
    starts = {
        _state_name(name, names): output for name, output in wires.items() if name not in contexts
    }
    counting = _counting(parts, ends, prefix)
    if not pass_lengths:
        counting = {name: own for name, own in counting.items() if sources.get(name) is None}
    return Wired(step, before, True, sources, counting, starts, turned)


def _computed_once(
    encoder: Model, wires: Mapping[str, str], connected: Sequence[str], pass_lengths: bool
) -> list[str]:
    """Return the contexts of which the decoder's part may run behind the encoder.

    There it would see where rows end; a decoder that is not to gets them with zeros for padding.
    """
    ending = {o["name"] for o in encoder._graph.document["outputs"] if o.get("lengths") is not None}
    return [name for name in connected if pass_lengths or wires[name] not in ending]


def _check_one_input(parts: Divided) -> None:
    """A step is fed one thing: a token or a vector."""
    fed = [
        spec["name"]
        for spec in parts.step["inputs"]
        if spec["kind"] == "data" and not spec.get("context") and "next" not in spec
    ]
    if len(fed) != 1:
        raise GraphError(
            f"a step is fed one input, a token or a vector; the decoder has {fed}: which of them "
            "are contexts, which are carried on (carry=) or come from the encoder (connect=)?"
        )


def _with_own_tensors(
    document: dict[str, Any], prefix: str, tensors: Sequence[str]
) -> dict[str, Any]:
    """Return a document whose tensors' names begin with a prefix; its values' do not."""
    return prefixed(document, "", tensors, prefix)


def _model(document: dict[str, Any], source: Model, prefix: str = "") -> Model:
    """Return a model of a rewritten document, with the weights of the one that it came from."""
    used = {name for node in document["nodes"] for name in node["weights"].values()}
    tensors = {
        prefix + name: array
        for name, array in source._graph.tensors.items()
        if prefix + name in used
    }
    text = Graph(document, tensors).to_json()
    return from_graph(Model, text, tensors, "a decoder's step", source._isa, source._threads)


def _unused_prefix(encoder: Model) -> str:
    """Return what names of the decoder begin with behind an encoder, and none of its own."""
    document, prefix = encoder._graph.document, _DECODER
    names = {name for node in document["nodes"] for name in node["outputs"] if name is not None}
    names.update(entry["name"] for entry in document["layers"])
    while any(name.startswith(prefix) for name in names):
        prefix = prefix.replace("/", "'/")
    return prefix


def _encoding(
    encoder: Model, decoder: Model, parts: Divided, wires: Mapping[str, str], prefix: str
) -> tuple[Model, dict[str, str | None], dict[str, str | None]]:
    """Return the encoder with what the decoder computes once behind it.

    Also what the contexts of the step are of it, and the lengths of those that the decoder takes,
    as `Wired.lengths` has them. Names of what was the decoder's begin with `prefix` in it.
    """
    whole = batch_first(dict(encoder._graph.document), (), encoder.outputs)
    _check_masks(whole, decoder, wires)
    document = alive(whole, wires.values() or encoder.outputs[:1])
    outputs = {output["name"]: output for output in document["outputs"]}
    counted = count_frames(document, {o.get("lengths"): o["value"] for o in outputs.values()})
    ends = {
        name: f"={counted[own]}" if (own := outputs[source].get("lengths")) in counted else own
        for name, source in wires.items()
    }
    document = _with_own_tensors(document, _ENCODER, list(encoder._graph.tensors))
    tensors = {_ENCODER + name: array for name, array in encoder._graph.tensors.items()}
    sources: dict[str, str | None] = {}
    for spec in parts.step["inputs"]:
        if spec.get("context") and spec["name"] in decoder.inputs:
            sources[spec["name"]] = wires.get(spec["name"])  # else the caller gives it
    if parts.before is not None:
        behind = prefixed(parts.before, prefix, list(decoder._graph.tensors), _DECODER)
        for output in behind["outputs"]:
            sources.setdefault(output["name"], prefix + output["name"])
            output["name"] = prefix + output["name"]
        sources = {name: source for name, source in sources.items() if name in parts.lengths}
        document = joined(document, behind, wires)
        tensors |= {_DECODER + name: array for name, array in decoder._graph.tensors.items()}
    used = {name for node in document["nodes"] for name in node["weights"].values()}
    kept = {name: array for name, array in tensors.items() if name in used}
    text = Graph(document, kept).to_json()
    made = from_graph(Model, text, kept, "an encoder", encoder._isa, encoder._threads)
    return made, sources, ends


def _check_masks(encoder: dict[str, Any], decoder: Model, wires: Mapping[str, str]) -> None:
    """Refuse a mask that the encoder computes and that the decoder would look for in vain."""
    masked = {output["name"] for output in encoder["outputs"] if output.get("masked")}
    specs = decoder._graph.document["inputs"]
    read = {spec["of"] for spec in specs if spec["kind"] == "mask"}
    lost = [(name, source) for name, source in wires.items() if name in read and source in masked]
    if lost:
        raise UnsupportedLayerError(
            [
                (
                    repr(source),
                    f"the encoder computes a mask of it (mask_zero or Masking), which {name!r} of "
                    "the decoder would not see: leave it out of the encoder, and give lengths",
                )
                for name, source in lost
            ]
        )


def _counting(parts: Divided, ends: Mapping[str, str | None], prefix: str) -> dict[str, str]:
    """Return where the lengths of contexts come from, as `Wired.lengths` has it.

    Outputs of what is computed before have names that begin with `prefix`.
    """
    counting = {}
    for name, lengths in parts.lengths.items():
        if lengths is None:
            continue
        if lengths in parts.counted:
            counting[name] = f"={prefix}{parts.counted[lengths]}"
            continue
        own = lengths.removesuffix(":lengths")  # whose lengths, as the decoder sees it
        source = ends.get(own, lengths)
        if source is not None:
            counting[name] = source.removesuffix(":lengths")
    return counting
