"""What "correct" means: every op of the lowered graph (docs/design.md), in float64 NumPy.

One function per op, written as its equation, and `run`, which evaluates a whole graph with them.
All of it is slow on purpose, shares no code with the rest of the package, and checks little: a
caller gives what the design page says. Arrays are canonical: LSTM gates i,f,g,o; GRU gates r,z,n.

Wherever an op takes ``lengths`` (B,), row i comes out exactly as if it were alone with its first
``lengths[i]`` frames; what stands past an end never matters, and time-shaped outputs are 0 there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .common import ACTIVATIONS, Array, activate, zero_past
from .frames import activation, dense, embedding
from .masks import mask_frames, mask_ids, mask_merge, masking
from .merges import add, average, multiply
from .norms import affine, clipped_relu, normalize, prelu, softmax
from .recurrent import gru, lstm, simple_rnn
from .shapes import concat, flatten, fold, select, stack, unfold
from .windows import (
    conv1d,
    conv1d_length,
    global_avg_pool1d,
    global_max_pool1d,
    max_pool1d,
    pool1d_length,
    window_length,
)

__all__ = ["ACTIVATIONS", "LENGTHS", "OPS", "activate", "run", "window_length", "zero_past"]

OPS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        embedding, dense, activation, simple_rnn, lstm, gru, conv1d, max_pool1d, global_avg_pool1d,
        global_max_pool1d, flatten, concat, add, multiply, average, fold, unfold, select, stack,
        affine, prelu, clipped_relu, normalize, softmax,
