"""What a user builds models of: `Input` and the layers, which lower themselves into nodes.

base.py         symbols, calls, options
feedforward.py  layers that treat every frame alone
merges.py       several values into one
shapes.py       moving values
convolution.py  convolution over time
windows.py      pooling over time, padding and cropping
recurrent.py    SimpleRNN, LSTM, GRU
stacks.py       cells, RNN over them, RecurrentStack
masking.py      Masking
wrappers.py     Bidirectional, TimeDistributed
lowering.py     calls -> Graph
"""

from .base import Input, Layer, Symbol
from .convolution import Conv1D, Conv1DTranspose, DepthwiseConv1D, SeparableConv1D
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
from .windows import (
    AveragePooling1D,
    Cropping1D,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    MaxPooling1D,
    ZeroPadding1D,
)
from .wrappers import Bidirectional, TimeDistributed

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "Add",
    "AveragePooling1D",
    "Bidirectional",
    "Concatenate",
    "Conv1D",
    "Conv1DTranspose",
    "Cropping1D",
    "Dense",
    "DepthwiseConv1D",
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
    "SeparableConv1D",
    "Sequencer",
    "SimpleRNN",
    "SimpleRNNCell",
    "StackedRNNCells",
    "Symbol",
    "TimeDistributed",
    "ZeroPadding1D",
]
