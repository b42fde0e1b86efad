"""Generator and Seq2Seq: sequences that a network makes itself, fed its own last output.

Both are models and a wiring of names (wiring.py); one call of the core makes a whole batch. Here
are the options of such a call, and what comes of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._binding import decode_tokens, feed_back
from .arguments import floats, integers
from .errors import DtypeError, GraphError, OptionError, ShapeError
from .graph import finite, told
from .layers.base import choice, flag, whole
from .model import Model
from .sequence import pad
from .stream import Stream
from .wiring import Beginning, Wired, wired

__all__ = ["Decoded", "Generator", "Seq2Seq"]

Array = NDArray[Any]

_SCORES = ("logits", "probabilities", "log_probabilities")  # in the core's order
_KINDS = {"softmax": "probabilities", "log_softmax": "log_probabilities"}
_MOST = 2**31 - 1


# ---- Results --------------------------------------------------------------------------------------


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
        Log-probability / length ** length_penalty, natural logarithm. -inf where there is no result.
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
        """Return the ids as lists, of each sequence up to its end token, which is left out."""

        def listed(ids: Array, lengths: Array, ended: Array) -> list[Any]:
            if lengths.ndim == 0:
                kept: list[int] = ids[: int(lengths) - int(ended)].tolist()
                return kept
            return [listed(*row) for row in zip(ids, lengths, ended, strict=True)]

        return listed(self.ids, self.lengths, self.ended)

    @property
    def last(self) -> Array:
        """The last token of each sequence, (B, [N]): what a continuation is fed first."""
        at = np.maximum(self.lengths - 1, 0)[..., None]
        return np.take_along_axis(self.ids, at, axis=-1)[..., 0]


# ---- Generators -----------------------------------------------------------------------------------


class Generator:
    """A decoder that is fed its own last output: token by token, or vector by vector.

    Parameters
    ----------
    decoder : Model
        Takes one token of a row, (B,) ids or a sequence (B, T) of them, or a vector, (B, F) or
        (B, T, F); beside it contexts and what is carried. Its first output gives the scores of
        all tokens, or the next vector. Further ones are carried, or extras.
    start : int, optional
        The token that a sequence is begun with; it is no part of the result. Left out, every call
        says it.
    end : int, optional
        The token that ends a sequence.
    max_length : int
        Tokens of a result at most.
    carry : mapping of str to str, optional
        Inputs of the decoder, and the output of it that each is in the next step.
    context : str or sequence of str
        Inputs that a whole sequence has once: what an attention looks at.
    scores : "logits", "probabilities" or "log_probabilities", optional
        What the first output gives. Left out, it follows from how the decoder ends: in softmax, in
        log_softmax, or otherwise.

    Raises
    ------
    GraphError
        A name is none of the decoder's, or a step would be fed more than one thing.
    UnsupportedLayerError
        A layer needs frames that are still to come.
    OptionError, NotBuiltError

    Notes
    -----
    What depends on contexts alone is computed once for a sequence. A row's result depends neither
    on the other rows nor on threads, bit for bit, and rows that have ended cost nothing.

    Examples
    --------
    >>> import numpy as np, seqcore as sc
    >>> token = sc.Input((None,), dtype="int64")
    >>> next_one = np.array([[0, 5, 1], [0, 1, 5], [5, 0, 1]])  # of 0: 1, of 1: 2, of 2: 0
    >>> letters = sc.Model(token, sc.Embedding(next_one)(token))
    >>> sc.Generator(letters, start=0, max_length=4).greedy().ids.tolist()
    [[1, 2, 0, 1]]
    """

    def __init__(
        self,
        decoder: Model,
        *,
        start: int | None = None,
        end: int | None = None,
        max_length: int = 100,
        carry: Mapping[str, str] | None = None,
        context: str | Sequence[str] = (),
        scores: str | None = None,
    ) -> None:
        contexts = [context] if isinstance(context, str) else list(context)
        self._set_up(wired(decoder, dict(carry or {}), contexts), start, end, max_length, scores)

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
        self, *, isa: str | None = None, threads: int | None = None, precision: str = "float32"
    ) -> Any:
        """Return the same with other plans: `Model.with_options` has the options."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made._wired = self._wired.with_options(isa=isa, threads=threads, precision=precision)
        return made

    def summary(self) -> str:
        """Return tables of the layers: those that run once for a sequence, and those of a step."""
        parts = [] if self._wired.before is None else ["Once:\n" + self._wired.before.summary()]
        return "\n\n".join([*parts, "Every step:\n" + self._wired.step.summary()])

    def __repr__(self) -> str:
        before = "" if self._wired.before is None else f"{self._wired.before!r} before "
        return f"<{type(self).__name__}: {before}{self._wired.step!r}>"

    # -- tokens --

    def greedy(
        self,
        context: Any = None,
        *,
        lengths: Any = None,
        state: Any = None,
        batch: int | None = None,
        **options: Any,
    ) -> Decoded:
        """Take the best token of every step.

        Parameters
        ----------
        context : array_like, or mapping of str to array_like
            For each of `contexts` (B, ...).
        lengths : (B,) integers, or mapping of str to them, optional
            Frames of each row of the first context, or of those named.
        state : tuple or mapping of (B, ...) arrays, optional
            One for each of `states`, None for zeros; or some by name.
        batch : int, optional
            Rows, where nothing else tells how many there are; then 1.
        start : int or (B,) ints, optional
            In place of the generator's own.
        prefix : (B, n) ints, or list of lists of ints, optional
            Tokens that every result begins with; a list of ints is every row's.
        max_length : int, optional
        extras : bool or sequence of str
            Which of `extras` come with the result.
        return_state : bool
            Whether the final states come with it.

        Returns
        -------
        Decoded

        Raises
        ------
        ShapeError, DtypeError, IdRangeError, OptionError
        ScoresError
            The decoder gave scores that are no choice: NaN, +inf, or nothing above -inf.
        """
        begin = self._wired.take(context, lengths)
        return self._decode(begin, state, batch, {"width": 1}, **options)

    def beam(
        self,
        context: Any = None,
        *,
        lengths: Any = None,
        state: Any = None,
        batch: int | None = None,
        width: int = 5,
        length_penalty: float = 0.0,
        results: int | None = None,
        **options: Any,
    ) -> Decoded:
        """Search for the most probable sequences.

        Parameters
        ----------
        context, lengths, state, batch, **options
            As of `greedy`, without ``return_state``.
        width : int
            Sequences that go on side by side, of each row.
        length_penalty : float
            Results are ranked by log-probability / length ** length_penalty: 0 prefers short ones,
            1 ranks by the mean of the tokens'.
        results : int, optional
            How many of each row come back, the best first; the best alone, without an axis N, if
            left out.

        Returns
        -------
        Decoded

        Raises
        ------
        ShapeError, DtypeError, IdRangeError, OptionError, ScoresError
        """
        begin = self._wired.take(context, lengths)
        return self._beam(begin, state, batch, width, length_penalty, results, options)

    def sample(
        self,
        context: Any = None,
        *,
        lengths: Any = None,
        state: Any = None,
        batch: int | None = None,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | np.random.Generator | None = None,
        results: int | None = None,
        **options: Any,
    ) -> Decoded:
        """Draw tokens by their probabilities.

        Parameters
        ----------
        context, lengths, state, batch, **options
            As of `greedy`.
        temperature : float
            Probabilities are p ** (1 / temperature): below 1 likely tokens become likelier.
        top_k : int
            Only the k likeliest tokens of a step are drawn; 0 for all.
        top_p : float
            Only the fewest likeliest tokens that make up this share of the probability are drawn.
        seed : int or numpy Generator, optional
            With an int the draws of result n of row i are the same in any batch and at any length.
        results : int, optional
            How many sequences are drawn for each row; one, without an axis N, if left out.

        Returns
        -------
        Decoded

        Raises
        ------
        ShapeError, DtypeError, IdRangeError, OptionError, ScoresError
        """
        begin = self._wired.take(context, lengths)
        drawing = (temperature, top_k, top_p, seed)
        return self._sample(begin, state, batch, drawing, results, options)

    # -- vectors --

    def forecast(
        self,
        history: ArrayLike,
        steps: int,
        *,
        lengths: ArrayLike | None = None,
        context: Any = None,
        context_lengths: Any = None,
        state: Any = None,
        return_state: bool = False,
    ) -> Any:
        """Feed a sequence of vectors, then the predictions themselves.

        Parameters
        ----------
        history : (B, T, F...) array_like
            What is known; at least one frame.
        steps : int
            Frames to predict.
        lengths : (B,) integers, optional
            Frames of each row that are known, 1..T.
        context, context_lengths, state
            As ``context``, ``lengths`` and ``state`` of `greedy`.
        return_state : bool
            Whether the final states are returned too, when the last frame has been made, which then
            has not been fed.

        Returns
        -------
        ndarray (B, steps, F...), or that and a tuple of states

        Raises
        ------
        UnsupportedLayerError
            A step's first output is no vector of its input's size.
        ShapeError, DtypeError, OptionError
        """
        begin = self._wired.take(context, context_lengths)
        return self._forecast(begin, history, steps, lengths, state, return_state)

    # -- by hand --

    def stream(
        self,
        context: Any = None,
        *,
        lengths: Any = None,
        state: Any = None,
        batch: int | None = None,
    ) -> Stream:
        """Return a stream whose steps are the decoder's, for choosing tokens in Python.

        Parameters
        ----------
        context, lengths, state, batch
            As of `greedy`.

        Returns
        -------
        Stream
            ``step(tokens)`` gives the scores, and the extras.
        """
        return self._stream(self._wired.take(context, lengths), state, batch)

    # -- what all share --

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
        """Make sequences of tokens; `search` is how, as `decode_tokens` takes it."""
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
            raise ShapeError(f"start: expected a token, or one for each of {rows} rows; found shape {starts.shape}")
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
        row = (slice(None), 0) if single else (slice(None), slice(None))
        shown = {
            name: array[(*row, slice(longest))]
            for name, array, asked in zip(self.extras, extras, wanted, strict=True)
            if asked
        }
        finals = () if states is None else self._wired.outgoing([s[row] for s in states], len(row) - single)
        return Decoded(
            ids[(*row, slice(longest))], lengths[row], ended[row].astype(bool), scores[row], shown,
            finals, self.end,
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
        out, states = feed_back(self._wired.steps, begin.inputs, begin.states, known, ends, count, wants)
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
        return pad([integers(row, "prefix") for row in prefix])
    row = integers(prefix, "prefix")
    if row.ndim != 1:
        raise ShapeError(f"prefix: expected tokens, or a row of them for each row; found shape {row.shape}")
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
        if node["op"] not in ("reshape", "expand", "flatten", "index", "slice", "permute", "concat"):
            return "logits"
        value = node["inputs"][0]
    return "logits"


# ---- A model that predicts its own next input -------------------------------------------------------


def forecast(
    model: Model, history: ArrayLike, steps: int, lengths: ArrayLike | None, window: int | None
) -> Array:
    """Let a model predict what follows: `Model.forecast`."""
    if window is None:
        made: Array = Generator(model).forecast(history, steps, lengths=lengths)
        return made
    known = floats(history, "history")
    size, count = whole(window, "forecast", "window"), whole(steps, "forecast", "steps")
    if known.ndim < 3 or known.shape[1] < size:
        raise ShapeError(
            f"history: expected (rows, frames, features), {size} frames (window) at least; found "
            f"{known.shape}"
        )
    if lengths is not None:
        raise OptionError("forecast: with window, every row has its last frames: no lengths")
    frames = known.copy()
    for _ in range(count):
        y = model(frames[:, -size:])
        if isinstance(y, tuple):
            raise ShapeError(f"forecast: expected a model of one output; found {len(y)}")
        y = y[:, -1] if y.ndim == frames.ndim else y
        if y.shape != frames[:, 0].shape:
            raise ShapeError(
                f"forecast: the model's output {y.shape} is no frame of its input, "
                f"{frames[:, 0].shape}"
            )
        frames = np.concatenate([frames, y[:, None]], axis=1)
    return np.ascontiguousarray(frames[:, known.shape[1] :])


# ---- An encoder before it -------------------------------------------------------------------------


class Seq2Seq(Generator):
    """An encoder, and a decoder that makes a sequence of what the encoder has seen.

    Parameters
    ----------
    encoder : Model
    decoder : Model
        As of `Generator`.
    connect : mapping of str to str
        What the decoder has from the encoder: inputs and states of the decoder, and an output of the
        encoder for each. A state, or an input that is carried, begins as that; any other input is a
        context. States are called as in `Model.stream` ("gru:h"), or as at a call ("gru:h0").
    start, end, max_length, carry, scores
        As of `Generator`.
    context : str or sequence of str
        Further contexts, which the caller gives.
    pass_lengths : bool
        Whether what the decoder looks at ends where the source does, so that each row is as if
        alone. False for a decoder that leaves out padding itself, by a mask that it is given as a
        context, or that is to see it.

    Raises
    ------
    GraphError, UnsupportedLayerError, OptionError, NotBuiltError

    Examples
    --------
    >>> import numpy as np, seqcore as sc
    >>> words = sc.Input((None,), dtype="int64")
    >>> encoder = sc.Model(words, sc.GRU(*weights)(sc.Embedding(table)(words)))  # doctest: +SKIP
    >>> model = sc.Seq2Seq(encoder, decoder, connect={"gru:h": "gru"}, start=2, end=3)
    ...                                                              # doctest: +SKIP
    >>> model([[7, 8, 9]]).ids, model.beam([[7, 8, 9]], width=5).ids  # doctest: +SKIP
    """

    def __init__(
        self,
        encoder: Model,
        decoder: Model,
        *,
        connect: Mapping[str, str],
        start: int | None = None,
        end: int | None = None,
        max_length: int = 100,
        carry: Mapping[str, str] | None = None,
        context: str | Sequence[str] = (),
        pass_lengths: bool = True,
        scores: str | None = None,
    ) -> None:
        if not isinstance(connect, Mapping):
            raise GraphError(f"Seq2Seq: connect is a mapping of names; found {connect!r:.80}")
        contexts = [context] if isinstance(context, str) else list(context)
        passes = flag(pass_lengths, "Seq2Seq", "pass_lengths")
        wires = wired(decoder, dict(carry or {}), contexts, encoder, connect, passes)
        self._set_up(wires, start, end, max_length, scores)

    def __call__(self, *source: Any, **options: Any) -> Decoded:
        """Encode, and take the best token of every step: `greedy`."""
        return self.greedy(*source, **options)

    def greedy(  # type: ignore[override]
        self,
        *source: Any,
        lengths: Any = None,
        initial_state: Any = None,
        context: Any = None,
        context_lengths: Any = None,
        state: Any = None,
        **options: Any,
    ) -> Decoded:
        """Encode, and take the best token of every step.

        Parameters
        ----------
        *source : array_like, or one dict of array_like by input name
            Of the encoder.
        lengths : (B,) integers, or a dict of them by input name, optional
            Frames of each row of the source.
        initial_state : sequence of array_like, optional
            Of the encoder.
        context, context_lengths : optional
            Contexts that the encoder does not give, and their lengths.
        state : mapping of str to array_like, optional
            Of the decoder, in place of what the encoder gives or of zeros.
        **options
            start, prefix, max_length, extras, return_state: as of `Generator.greedy`.

        Returns
        -------
        Decoded
        """
        begin = self._wired.encode(
            source, lengths, initial_state, context, context_lengths
        )
        return self._decode(begin, state, None, {"width": 1}, **options)

    def beam(  # type: ignore[override]
        self,
        *source: Any,
        lengths: Any = None,
        initial_state: Any = None,
        context: Any = None,
        context_lengths: Any = None,
        state: Any = None,
        width: int = 5,
        length_penalty: float = 0.0,
        results: int | None = None,
        **options: Any,
    ) -> Decoded:
        """Encode, and search for the most probable sequences: as `greedy` and `Generator.beam`."""
        begin = self._wired.encode(
            source, lengths, initial_state, context, context_lengths
        )
        return self._beam(begin, state, None, width, length_penalty, results, options)

    def sample(  # type: ignore[override]
        self,
        *source: Any,
        lengths: Any = None,
        initial_state: Any = None,
        context: Any = None,
        context_lengths: Any = None,
        state: Any = None,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | np.random.Generator | None = None,
        results: int | None = None,
        **options: Any,
    ) -> Decoded:
        """Encode, and draw tokens by their probabilities: as `greedy` and `Generator.sample`."""
        begin = self._wired.encode(
            source, lengths, initial_state, context, context_lengths
        )
        return self._sample(begin, state, None, (temperature, top_k, top_p, seed), results, options)

    def forecast(  # type: ignore[override]
        self,
        *source: Any,
        steps: int,
        history: ArrayLike | None = None,
        lengths: Any = None,
        initial_state: Any = None,
        context: Any = None,
        context_lengths: Any = None,
        state: Any = None,
        return_state: bool = False,
    ) -> Any:
        """Encode, and let the decoder make vectors.

        Parameters
        ----------
        *source, lengths, initial_state, state
            As of `greedy`.
        steps : int
            Frames to make.
        history : (B, n, F...) array_like, optional
            What the decoder is fed first; one frame of zeros if left out.
        return_state : bool

        Returns
        -------
        ndarray (B, steps, F...), or that and a tuple of states
        """
        begin = self._wired.encode(
            source, lengths, initial_state, context, context_lengths
        )
        if history is None:
            fed = self._wired.steps.inputs[0]
            history = np.zeros((begin.rows or 0, 1, *fed.shape[1:]), np.float32)
        return self._forecast(begin, history, steps, None, state, return_state)

    def stream(  # type: ignore[override]
        self,
        *source: Any,
        lengths: Any = None,
        initial_state: Any = None,
        context: Any = None,
        context_lengths: Any = None,
        state: Any = None,
    ) -> Stream:
        """Encode, and return a stream whose steps are the decoder's."""
        return self._stream(self._wired.encode(
            source, lengths, initial_state, context, context_lengths
        ), state, None)
