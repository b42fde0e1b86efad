"""What a user builds models of: `Input` and the layers, which lower themselves into nodes.

base.py         symbols, calls, options
feedforward.py  layers that treat every frame alone
merges.py       several values into one
attention.py    attention, of one head and of several
shapes.py       moving values
windows.py      convolution and pooling over time
recurrent.py    SimpleRNN, LSTM, GRU, RecurrentStack
wrappers.py     Bidirectional, TimeDistributed
lowering.py     calls -> Graph
"""

from .attention import AdditiveAttention, Attention, MultiHeadAttention
from .base import Input, Layer, Symbol
from .feedforward import Activation, Dense, Dropout, Embedding
from .merges import Add, Concatenate, Dot, Multiply
from .recurrent import GRU, LSTM, Recurrent, RecurrentStack, SimpleRNN
from .shapes import Flatten
from .windows import Conv1D, GlobalAveragePooling1D, GlobalMaxPooling1D, MaxPooling1D
from .wrappers import Bidirectional, TimeDistributed

__all__ = [
    "GRU",
    "LSTM",
    "Activation",
    "Add",
    "AdditiveAttention",
    "Attention",
    "Bidirectional",
    "Concatenate",
    "Conv1D",
    "Dense",
    "Dot",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "Input",
    "Layer",
    "MaxPooling1D",
    "MultiHeadAttention",
    "Multiply",
    "Recurrent",
    "RecurrentStack",
    "SimpleRNN",
    "Symbol",
    "TimeDistributed",
]
