"""Sequences that a network makes itself: the options of such a call, and what comes of it.

`Decoding` is the part of Generator and Seq2Seq (generation.py) that does not care what stands
before the first step. One call of the core makes a whole batch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._binding import decode_tokens, feed_back, read_model_file, write_model_file
from .arguments import floats, integers
from .assets import ASSETS_TEXT, SEQUENCE, Assets, checked_names
from .batches import pad
from .errors import ModelFileError, OptionError, SeqcoreError, ShapeError
from .graph import GRAPH_TEXT, finite, told
from .layers.base import choice, flag, whole
from .loading import check_regular
from .model import Model, checked_options, from_graph
from .stream import Stream
from .wiring import Beginning, Wired

__all__ = ["Decoded", "Decoding"]

Array = NDArray[Any]

D = TypeVar("D", bound="Decoding")

_OPTIONS = ("start", "end", "max_length", "scores")
_ENCODER_TEXT = f"{GRAPH_TEXT}.encoder"
_SCORES = ("logits", "probabilities", "log_probabilities")  # in the core's order
_KINDS = {"softmax": "probabilities", "log_softmax": "log_probabilities"}


# ---- Results -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decoded:
    """Sequences of tokens that a network made; N stands where several were asked for (results=).

    Attributes
    ----------
    ids : (B, [N,] T) int64
        T tokens at most; behind a sequence's end the end token, or 0 if there is none.
    lengths : (B, [N]) int64
        Tokens of each, the end token included. 0 where a beam search found fewer results.
    ended : (B, [N]) bool
        Whether the last token is the end token; False for what was cut at ``max_length``.
    scores : (B, [N]) float64
        Log-probability / length ** length_penalty, natural logarithm; -inf where there is none.
    extras : dict of str to ndarray
        Further outputs of the decoder that were asked for, (B, [N,] T, ...): what it gave when
        token t was chosen, 0 behind the end.
    states : tuple of ndarray
        If they were asked for: of every state (B, [N,] ...), when the last token was chosen, which
        has not been fed.
    end : int or None
        The end token.
    """

    ids: Array
    lengths: Array
    ended: Array
    scores: Array
    extras: Mapping[str, Array]
    states: tuple[Array, ...]
    end: int | None

    def tokens(self) -> list[Any]:
        """Return the ids as lists, of each sequence up to its end token, which is left out.

        Of several results for each row, only those that were found.
        """

        def listed(ids: Array, lengths: Array, ended: Array) -> list[Any]:
            if lengths.ndim == 0:
                kept: list[int] = ids[: int(lengths) - int(ended)].tolist()
                return kept
            rows = zip(ids, lengths, ended, strict=True)
            return [listed(*row) for row in rows if row[1].ndim or row[1]]

        return listed(self.ids, self.lengths, self.ended)

    @property
    def last(self) -> Array:
        """The last token of each sequence, (B, [N]): what a continuation is fed first."""
        at = np.maximum(self.lengths - 1, 0)[..., None]
        return np.take_along_axis(self.ids, at, axis=-1)[..., 0]


# ---- Decoding ------------------------------------------------------------------------------------


class Decoding:
    """What `Generator` and `Seq2Seq` share: all but where contexts and states come from."""

    _assets = Assets()

    def _set_up(self, wires: Wired, start: Any, end: Any, max_length: Any, scores: Any) -> None:
        self._wired = wires
        name = type(self).__name__
        self.start = None if start is None else whole(start, name, "start", least=0)
        self.end = None if end is None else whole(end, name, "end", least=0)
        self.max_length = whole(max_length, name, "max_length")
        kind = _scores_of(wires.step) if scores is None else scores
        self.scores: str = choice(kind, name, "scores", _SCORES)

    # -- what it is --

    @property
    def contexts(self) -> tuple[str, ...]:
        """Names of what a call's ``context=`` gives."""
        return self._wired.given

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the states, in the order of ``state=``."""
        return tuple(port.name for port in self._wired.steps.states)

    @property
    def extras(self) -> tuple[str, ...]:
        """Names of the outputs that come with a result on request."""
        return tuple(port.name for port in self._wired.steps.outputs[1:])

    def with_options(
        self: D, *, isa: str | None = None, threads: int | None = None, precision: str = "float32"
    ) -> D:
        """Return the same with other plans: `Model.with_options` has the options."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made._wired = self._wired.with_options(isa=isa, threads=threads, precision=precision)
        return made

    # -- as a file --

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a model file with the step, what runs before it, and how they are wired.

        `load` of this class reads it. C has the step with sc_plan_open, and what runs before it by
        the option ``part = "encoder"``.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        OSError, ModelFileError
        """
        step, before = self._wired.step._graph, self._wired.before
        texts, tensors = {GRAPH_TEXT: step.to_json()}, dict(step.tensors)
        if before is not None:
            texts[_ENCODER_TEXT] = before._graph.to_json()
            tensors |= before._graph.tensors
        texts[ASSETS_TEXT] = self._assets.changed({SEQUENCE: self._described()}).to_text()
        write_model_file(os.fspath(path), texts, tensors)

    @classmethod
    def load(
        cls: type[D],
        path: str | os.PathLike[str],
        *,
        isa: str | None = None,
        threads: int | None = None,
    ) -> D:
        """Read what `save` of this class wrote.

        Parameters
        ----------
        path : str or path-like
        isa, threads
            As in `Model.with_options`.

        Raises
        ------
        OSError
            The file cannot be opened.
        ModelFileError
            It is damaged, or holds something else.
        """
        isa, count = checked_options(isa, threads, "float32")
        name = os.fspath(path)
        check_regular(name)
        texts, tensors = read_model_file(name)
        assets = Assets.from_text(texts.get(ASSETS_TEXT, b"{}"), name)
        described = assets.own(SEQUENCE)
        if not isinstance(described, dict) or described.get("class") != cls.__name__:
            found = described.get("class") if isinstance(described, dict) else "Model"
            raise ModelFileError(f"{name}: expected a {cls.__name__}; found a {found!r:.80}")
        try:
            step, before = (
                from_graph(Model, texts[part], tensors, name, isa, count or 0)
                if part in texts
                else None
                for part in (GRAPH_TEXT, _ENCODER_TEXT)
            )
            assert step is not None  # no file is without
            return cls._restored(step, before, described, assets, name)
        except ModelFileError:
            raise
        except SeqcoreError as error:
            raise ModelFileError(f"{name}: {error}") from None

    def _described(self) -> dict[str, Any]:
        own = {key: getattr(self, key) for key in _OPTIONS}
        return {"class": type(self).__name__, **own, **self._wired.described()}

    @classmethod
    def _restored(
        cls: type[D],
        step: Model,
        before: Model | None,
        described: Mapping[str, Any],
        assets: Assets,
        source: str,
    ) -> D:
        made = object.__new__(cls)
        wires = Wired.restored(step, before, described, source)
        made._set_up(wires, **{key: described.get(key) for key in _OPTIONS})
        kept = assets.changed({SEQUENCE: None}) if assets.own(SEQUENCE) is not None else assets
        made._assets = kept
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the models, and how they are wired."""
        own = (self._wired.step, self._wired.before, self._described(), self._assets.to_text())
        return _unpickled, (type(self), *own)

    @property
    def assets(self) -> Mapping[str, Any]:
        """What is kept beside the weights, by name: `Model.assets`."""
        return self._assets

    def with_assets(self: D, /, **assets: Any) -> D:
        """Return the same with more assets: `Model.with_assets`."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made._assets = self._assets.changed(checked_names(assets))
        return made

    def summary(self) -> str:
        """Return tables of the layers: those that run once for a sequence, and those of a step."""
        parts = [] if self._wired.before is None else ["Once:\n" + self._wired.before.summary()]
        return "\n\n".join([*parts, "Every step:\n" + self._wired.step.summary()])

    def __repr__(self) -> str:
        before = "" if self._wired.before is None else f"{self._wired.before!r} before "
        return f"<{type(self).__name__}: {before}{self._wired.step!r}>"

    # -- making sequences --

    def _rows(self, begin: Beginning, batch: int | None, *others: Any) -> int:
        """Return how many rows a call has: what its arrays say, or `batch`, or 1."""
        found = begin.rows
        for array in others:
            if found is None and isinstance(array, np.ndarray) and array.ndim:
                found = array.shape[0]
        given = None if batch is None else whole(batch, type(self).__name__, "batch", least=0)
        if found is not None and given is not None and given != found:
            raise ShapeError(f"batch is {given}; what is given has {found} rows")
        return found if found is not None else 1 if given is None else given

    def _decode(
        self,
        begin: Beginning,
        state: Any,
        batch: int | None,
        search: Mapping[str, Any],
        *,
        start: ArrayLike | None = None,
        prefix: Any = None,
        max_length: int | None = None,
        extras: bool | Sequence[str] = False,
        return_state: bool = False,
        results: int | None = None,
    ) -> Decoded:
        """Make sequences of tokens; `search` is how, as `decode_tokens` takes it.

        While it runs, ids and extras have room for `max_length` tokens of every result.
        """
        name = type(self).__name__
        begin = self._wired.with_states(begin, state)
        forced, ends = _prefix(prefix)
        starts = self._start(start)
        rows = self._rows(begin, batch, starts, None if ends is None else forced)
        longest = self.max_length if max_length is None else whole(max_length, name, "max_length")
        if forced is not None and ends is None:  # of every row
            forced = np.broadcast_to(forced, (rows, forced.shape[1]))
            ends = np.full(rows, forced.shape[1])
        if forced is not None and (len(forced) != rows or forced.shape[1] > longest):
            raise ShapeError(
                f"prefix: expected {rows} rows of at most max_length = {longest} tokens; found "
                f"shape {forced.shape}"
            )
        if starts.ndim and starts.shape != (rows,):
            raise ShapeError(
                f"start: expected a token, or one for each of {rows} rows; found shape "
                f"{starts.shape}"
            )
        wanted = self._wanted(extras)
        drawing = search.get("uniforms")
        made = decode_tokens(
            self._wired.steps, begin.inputs, begin.states,
            np.ascontiguousarray(np.broadcast_to(starts, (rows,)), np.int64), longest,
            -1 if self.end is None else self.end, _SCORES.index(self.scores),
            None if forced is None else np.ascontiguousarray(forced, np.int64),
            None if ends is None else np.ascontiguousarray(ends, np.int64),
            search["width"], search.get("length_penalty", 0.0),
            1 if results is None else results,
            None if drawing is None else drawing(rows, longest),
            search.get("temperature", 1.0), search.get("top_k", 0), search.get("top_p", 1.0),
            wanted, True, flag(return_state, name, "return_state"),
        )  # fmt: skip
        return self._result(made, wanted, results is None)

    def _result(self, made: tuple[Any, ...], wanted: list[bool], single: bool) -> Decoded:
        ids, lengths, ended, scores, extras, states = made
        longest = int(lengths.max(initial=0))
        cut = longest < ids.shape[2]  # a copy then, which does not keep the room for max_length
        row: tuple[Any, ...] = (slice(None), 0) if single else (slice(None), slice(None))
        part = (*row, slice(longest))
        shown = {
            name: array[part].copy() if cut else array[part]
            for name, array, asked in zip(self.extras, extras, wanted, strict=True)
            if asked
        }
        finals = (
            ()
            if states is None
            else self._wired.outgoing([s[row] for s in states], len(row) - single)
        )
        return Decoded(
            ids[part].copy() if cut else ids[part], lengths[row], ended[row].astype(bool),
            scores[row], shown, finals, self.end,
        )  # fmt: skip

    def _beam(
        self,
        begin: Beginning,
        state: Any,
        batch: int | None,
        width: Any,
        length_penalty: Any,
        results: Any,
        options: dict[str, Any],
    ) -> Decoded:
        name = type(self).__name__
        beams = whole(width, name, "width")
        count = None if results is None else whole(results, name, "results")
        if count is not None and count > beams:
            raise OptionError(f"{name}: results is at most width, {beams}; found {count}")
        if options.get("return_state"):
            raise OptionError(f"{name}: a beam search has no final states")
        search = {"width": beams, "length_penalty": _real(length_penalty, name, "length_penalty")}
        return self._decode(begin, state, batch, search, results=count, **options)

    def _sample(
        self,
        begin: Beginning,
        state: Any,
        batch: int | None,
        drawing: tuple[Any, Any, Any, Any],
        results: Any,
        options: dict[str, Any],
    ) -> Decoded:
        name = type(self).__name__
        temperature, top_k, top_p, seed = drawing
        count = None if results is None else whole(results, name, "results")
        heat, share = _real(temperature, name, "temperature"), _real(top_p, name, "top_p")
        if not heat > 0 or not 0 < share <= 1:
            raise OptionError(
                f"{name}: temperature is above 0, and top_p above 0 and at most 1; found "
                f"{told(temperature)} and {told(top_p)}"
            )
        search = {
            "width": count or 1,
            "uniforms": _Draws(seed, count or 1),
            "temperature": heat,
            "top_k": whole(top_k, name, "top_k", least=0),
            "top_p": share,
        }
        return self._decode(begin, state, batch, search, results=count, **options)

    def _forecast(
        self,
        begin: Beginning,
        history: ArrayLike,
        steps: Any,
        lengths: ArrayLike | None,
        state: Any,
        return_state: Any,
    ) -> Any:
        name = type(self).__name__
        begin = self._wired.with_states(begin, state)
        known = floats(history, "history")
        ends = None if lengths is None else integers(lengths, "lengths")
        rows = self._rows(begin, None, known)
        if known.ndim < 2 or len(known) != rows or known.shape[1] < 1:
            raise ShapeError(
                f"history: expected ({rows}, frames, ...), one frame at least; found {known.shape}"
            )
        if ends is not None and ends.shape != (rows,):
            raise ShapeError(f"lengths: expected shape ({rows},); found {ends.shape}")
        count = whole(steps, name, "steps")
        wants = flag(return_state, name, "return_state")
        out, states = feed_back(
            self._wired.steps, begin.inputs, begin.states, known, ends, count, wants
        )
        return (out, self._wired.outgoing(states, 1)) if wants else out

    def _stream(self, begin: Beginning, state: Any, batch: int | None) -> Stream:
        begin = self._wired.with_states(begin, state)
        stream = Stream(self._wired.step, self._rows(begin, batch))
        if self._wired.steps.contexts:
            stream.set_context(begin.inputs)
        if any(array is not None for array in begin.states):
            stream.state = tuple(begin.states)
        return stream

    def _start(self, start: ArrayLike | None) -> Array:
        if start is None and self.start is None:
            raise OptionError(
                f"{type(self).__name__}: which token is a sequence begun with? give start= here or "
                "to the constructor"
            )
        given = integers(self.start if start is None else start, "start")
        return given

    def _wanted(self, extras: Any) -> list[bool]:
        """Return which of the extras are wanted."""
        if isinstance(extras, (bool, np.bool_)):
            return [bool(extras)] * len(self.extras)
        names = [extras] if isinstance(extras, str) else list(extras)
        for name in names:
            if name not in self.extras:
                raise OptionError(f"extras: {name!r} is none of {list(self.extras)}")
        return [name in names for name in self.extras]


def _unpickled(
    kind: type[D], step: Model, before: Model | None, described: Mapping[str, Any], assets: bytes
) -> D:
    source = "a pickled model"
    read = Assets.from_text(assets, source)
    return kind._restored(step, before, described, read, source)


class _Draws:
    """Uniform numbers for a sample, (rows, results, max_length), each from 0 to below 1."""

    def __init__(self, seed: Any, results: int) -> None:
        self.results = results
        self.rng = seed if isinstance(seed, np.random.Generator) else None
        if seed is None:
            self.rng = np.random.default_rng()
        if self.rng is None:
            self.seed = whole(seed, "sample", "seed", least=0)

    def __call__(self, rows: int, length: int) -> Array:
        if self.rng is not None:
            return self.rng.random((rows, self.results, length))
        made = np.empty((rows, self.results, length))
        for row in range(rows):
            for result in range(self.results):
                rng = np.random.default_rng((self.seed, row, result))
                made[row, result] = rng.random(length)
        return made


def _real(value: Any, name: str, option: str) -> float:
    number = finite(value)
    if number is None:
        raise OptionError(f"{name}: {option} is a finite number; found {told(value)}")
    return number


def _prefix(prefix: Any) -> tuple[Array | None, Array | None]:
    """Return forced tokens (B, n) and how many each row has; the latter None for every row's."""
    if prefix is None:
        return None, None
    if isinstance(prefix, np.ndarray) and prefix.ndim == 2:
        return integers(prefix, "prefix"), np.full(len(prefix), prefix.shape[1])
    if isinstance(prefix, (list, tuple)) and prefix and not np.isscalar(prefix[0]):
        rows, ends = pad([integers(row, "prefix") for row in prefix])
        return rows, ends
    row = integers(prefix, "prefix")
    if row.ndim != 1:
        raise ShapeError(
            f"prefix: expected tokens, or a row of them for each row; found shape {row.shape}"
        )
    return row[None], None


def _scores_of(step: Model) -> str:
    """Return what kind of scores a step gives, by the op that makes its first output."""
    document = step._graph.document
    makers = {node["outputs"][0]: node for node in document["nodes"]}
    value = document["outputs"][0]["value"]
    while value in makers:
        node = makers[value]
        if node["op"] in ("dense", "activation"):
            return _KINDS.get(node["attrs"]["activation"][0], "logits")
        if node["op"] == "softmax":
            return "probabilities"
        if node["op"] not in (
            "reshape",
            "expand",
            "flatten",
            "index",
            "slice",
            "permute",
            "concat",
        ):
            return "logits"
        if len(node["inputs"]) > 1:  # two distributions are none
            return "logits"
        value = node["inputs"][0]
    return "logits"
