"""Generator and Seq2Seq: networks that are fed their own last output.

Both are models and a wiring of names (wiring.py); decoding.py has what they share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arguments import floats
from .decoding import Decoded, Decoding
from .errors import GraphError, OptionError, ShapeError
from .layers.base import flag, whole
from .model import Model
from .stream import Stream
from .wiring import wired

__all__ = ["Decoded", "Generator", "Seq2Seq", "forecast"]

Array = NDArray[Any]


class Generator(Decoding):
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
            With an int the draws of result n of row i are the same in any batch and at any length;
            they begin anew at each call, so that whoever goes on from a state gives a Generator.
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


# ---- A model that predicts its own next input ----------------------------------------------------


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


# ---- An encoder before it ------------------------------------------------------------------------


class Seq2Seq(Decoding):
    """An encoder, and a decoder that makes a sequence of what the encoder has seen.

    Parameters
    ----------
    encoder : Model
    decoder : Model
        As of `Generator`.
    connect : mapping of str to str
        What the decoder has from the encoder: inputs and states of the decoder, and an output of
        the encoder for each. A state, or an input that is carried, begins as that; any other input
        is a context. States are called as in `Model.stream` ("gru:h"), or as at a call ("gru:h0").
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

    def greedy(
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
        begin = self._wired.encode(source, lengths, initial_state, context, context_lengths)
        return self._decode(begin, state, None, {"width": 1}, **options)

    def beam(
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
        begin = self._wired.encode(source, lengths, initial_state, context, context_lengths)
        return self._beam(begin, state, None, width, length_penalty, results, options)

    def sample(
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
        begin = self._wired.encode(source, lengths, initial_state, context, context_lengths)
        return self._sample(begin, state, None, (temperature, top_k, top_p, seed), results, options)

    def forecast(
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
        begin = self._wired.encode(source, lengths, initial_state, context, context_lengths)
        if history is None:
            fed = self._wired.steps.inputs[0]
            history = np.zeros((begin.rows or 0, 1, *fed.shape[1:]), np.float32)
        return self._forecast(begin, history, steps, None, state, return_state)

    def stream(
        self,
        *source: Any,
        lengths: Any = None,
        initial_state: Any = None,
        context: Any = None,
        context_lengths: Any = None,
        state: Any = None,
    ) -> Stream:
        """Encode, and return a stream whose steps are the decoder's."""
        return self._stream(
            self._wired.encode(source, lengths, initial_state, context, context_lengths),
            state,
            None,
        )
