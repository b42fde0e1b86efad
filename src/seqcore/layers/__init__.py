"""What a user builds models of: `Input` and the layers, which lower themselves into nodes.

base.py         symbols, calls, options
feedforward.py  layers that treat every frame alone
merges.py       several values into one
shapes.py       moving values
windows.py      convolution and pooling over time
recurrent.py    SimpleRNN, LSTM, GRU
stacks.py       cells, RNN over them, RecurrentStack
masking.py      Masking
wrappers.py     Bidirectional, TimeDistributed
lowering.py     calls -> Graph
"""

from .base import Input, Layer, Symbol
from .feedforward import Activation, Dense, Dropout, Embedding
from .masking import Masking
from .merges import Add, Concatenate, Multiply
from .recurrent import GRU, LSTM, Recurrent, Sequencer, SimpleRNN
from .shapes import Flatten
from .stacks import (
    RNN,
    GRUCell,
    LSTMCell,
    RecurrentStack,
    SimpleRNNCell,
    StackedRNNCells,
)
from .windows import Conv1D, GlobalAveragePooling1D, GlobalMaxPooling1D, MaxPooling1D
from .wrappers import Bidirectional, TimeDistributed

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "Add",
    "Bidirectional",
    "Concatenate",
    "Conv1D",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GRUCell",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "Input",
    "LSTMCell",
    "Layer",
    "Masking",
    "MaxPooling1D",
    "Multiply",
    "Recurrent",
    "RecurrentStack",
    "Sequencer",
    "SimpleRNN",
    "SimpleRNNCell",
    "StackedRNNCells",
    "Symbol",
    "TimeDistributed",
]
