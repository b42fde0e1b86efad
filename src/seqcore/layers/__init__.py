"""What a user builds models of: `Input` and the layers, which lower themselves into nodes.

base.py         symbols, calls, options
feedforward.py  layers without a state
recurrent.py    SimpleRNN, LSTM, GRU, RecurrentStack
wrappers.py     Bidirectional, TimeDistributed
lowering.py     calls -> Graph
"""

from .base import Input, Layer, Symbol
from .feedforward import (
    Activation,
    Add,
    Concatenate,
    Conv1D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    MaxPooling1D,
    Multiply,
)
from .recurrent import GRU, LSTM, Recurrent, RecurrentStack, SimpleRNN
from .wrappers import Bidirectional, TimeDistributed

__all__ = [
    "GRU",
    "LSTM",
    "Activation",
    "Add",
    "Bidirectional",
    "Concatenate",
    "Conv1D",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "Input",
    "Layer",
    "MaxPooling1D",
    "Multiply",
    "Recurrent",
    "RecurrentStack",
    "SimpleRNN",
    "Symbol",
    "TimeDistributed",
]
