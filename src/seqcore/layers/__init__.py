"""What a user builds models of: `Input` and the layers, which lower themselves into nodes.

base.py         symbols, calls, options
feedforward.py  layers that treat every frame alone
einsum.py       EinsumDense
arithmetic.py   Unary, Reduce
merges.py       several values into one
shapes.py       moving values
windows.py      convolution and pooling over time
recurrent.py    SimpleRNN, LSTM, GRU
stacks.py       cells, RNN over them, RecurrentStack
masking.py      Masking
wrappers.py     Bidirectional, TimeDistributed
lowering.py     calls -> Graph
"""

from .arithmetic import Reduce, Unary
from .base import Input, Layer, Symbol
from .einsum import EinsumDense
from .feedforward import Activation, Dense, Dropout, Embedding
from .masking import Masking
from .merges import Add, Average, Concatenate, Divide, Maximum, Minimum, Multiply, Subtract
from .recurrent import GRU, LSTM, Recurrent, Sequencer, SimpleRNN
from .shapes import Flatten, GetItem, Permute, RepeatVector, Reshape, UpSampling1D
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
    "Average",
    "Bidirectional",
    "Concatenate",
    "Conv1D",
    "Dense",
    "Divide",
    "Dropout",
    "EinsumDense",
    "Embedding",
    "Flatten",
    "GRUCell",
    "GetItem",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "Input",
    "LSTMCell",
    "Layer",
    "Masking",
    "MaxPooling1D",
    "Maximum",
    "Minimum",
    "Multiply",
    "Permute",
    "Recurrent",
    "RecurrentStack",
    "Reduce",
    "RepeatVector",
    "Reshape",
    "Sequencer",
    "SimpleRNN",
    "SimpleRNNCell",
    "StackedRNNCells",
    "Subtract",
    "Symbol",
    "TimeDistributed",
    "Unary",
    "UpSampling1D",
]
