"""What a user builds models of: `Input` and the layers, which lower themselves into nodes.

base.py         symbols, calls, options
feedforward.py  layers that treat every frame alone
activations.py  activations that are layers
norms.py        normalisation and rescaling
training.py     what does nothing when a network runs
merges.py       several values into one
shapes.py       moving values
windows.py      convolution and pooling over time
recurrent.py    SimpleRNN, LSTM, GRU, RecurrentStack
wrappers.py     Bidirectional, TimeDistributed
lowering.py     calls -> Graph
"""

from .activations import ELU, LeakyReLU, PReLU, ReLU, Softmax, ThresholdedReLU
from .base import Input, Layer, Symbol
from .feedforward import Activation, Dense, Embedding
from .merges import Add, Concatenate, Multiply
from .norms import (
    BatchNormalization,
    GroupNormalization,
    LayerNormalization,
    Normalization,
    Rescaling,
    RMSNormalization,
    UnitNormalization,
)
from .recurrent import GRU, LSTM, Recurrent, RecurrentStack, SimpleRNN
from .shapes import Flatten
from .training import (
    ActivityRegularization,
    AlphaDropout,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    SpatialDropout1D,
)
from .windows import Conv1D, GlobalAveragePooling1D, GlobalMaxPooling1D, MaxPooling1D
from .wrappers import Bidirectional, TimeDistributed

__all__ = [
    "ELU",
    "GRU",
    "LSTM",
    "Activation",
    "ActivityRegularization",
    "Add",
    "AlphaDropout",
    "BatchNormalization",
    "Bidirectional",
    "Concatenate",
    "Conv1D",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "GroupNormalization",
    "Input",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "MaxPooling1D",
    "Multiply",
    "Normalization",
    "PReLU",
    "RMSNormalization",
    "ReLU",
    "Recurrent",
    "RecurrentStack",
    "Rescaling",
    "SimpleRNN",
    "Softmax",
    "SpatialDropout1D",
    "Symbol",
    "ThresholdedReLU",
    "TimeDistributed",
    "UnitNormalization",
]
