"""What a user builds models of: `Input` and the layers, which lower themselves into nodes.

base.py         symbols, calls, options
feedforward.py  layers that treat every frame alone
activations.py  activations that are layers
norms.py        normalisation and rescaling
training.py     what does nothing when a network runs
einsum.py       EinsumDense
arithmetic.py   Unary, Power, Reduce, Cumsum, Constant
logic.py        comparisons, connectives, choices
merges.py       several values into one
attention.py    attention, of one head and of several
alignment.py    BahdanauAttention, LuongAttention: what a decoder looks at
shapes.py       moving values
indices.py      ArgMax, TopK, Cast
one_hot.py      OneHot
convolution.py  convolution over time
windows.py      pooling over time, padding and cropping
recurrent.py    SimpleRNN; gru.py lstm.py GRU, LSTM; cells.py what options of their cells mean
stacks.py       cells, RNN over them, RecurrentStack
masking.py      Masking
crf.py          CRF
wrappers.py     Bidirectional, TimeDistributed
lowering.py     calls -> Graph
"""

from .activations import ELU, LeakyReLU, PReLU, ReLU, Softmax, ThresholdedReLU
from .alignment import BahdanauAttention, LuongAttention
from .arithmetic import Constant, Cumsum, MatMul, Power, Reduce, Unary
from .attention import AdditiveAttention, Attention, MultiHeadAttention
from .base import Input, Layer, Slot, Symbol, snake_case
from .composite import Composite
from .convolution import Conv1D, Conv1DTranspose, DepthwiseConv1D, SeparableConv1D
from .crf import CRF
from .einsum import EinsumDense
from .feedforward import Activation, Dense, Embedding
from .gru import GRU
from .indices import ArgMax, Cast, TopK
from .logic import Compare, Logical, Where
from .lstm import LSTM
from .masking import Masking
from .merges import (
    Add,
    Average,
    Concatenate,
    Divide,
    Dot,
    Maximum,
    Minimum,
    Multiply,
    Remainder,
    Subtract,
)
from .norms import (
    BatchNormalization,
    GroupNormalization,
    LayerNormalization,
    Normalization,
    Rescaling,
    RMSNormalization,
    UnitNormalization,
)
from .one_hot import OneHot
from .places import Positions
from .recurrent import Recurrent, Sequencer, SimpleRNN
from .shapes import (
    BatchFirst,
    BatchSecond,
    Flatten,
    GetItem,
    Permute,
    Rearrange,
    RepeatVector,
    Reshape,
    UpSampling1D,
)
from .stacks import (
    RNN,
    Cell,
    GRUCell,
    LSTMCell,
    RecurrentStack,
    SimpleRNNCell,
    StackedRNNCells,
    Step,
)
from .training import (
    ActivityRegularization,
    AlphaDropout,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    SpatialDropout1D,
)
from .windows import (
    AdaptiveAveragePooling1D,
    AdaptiveMaxPooling1D,
    AveragePooling1D,
    Cropping1D,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    MaxPooling1D,
    Padding1D,
    ZeroPadding1D,
)
from .wrappers import Bidirectional, TimeDistributed

__all__ = [
    "CRF",
    "ELU",
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "ActivityRegularization",
    "AdaptiveAveragePooling1D",
    "AdaptiveMaxPooling1D",
    "Add",
    "AdditiveAttention",
    "AlphaDropout",
    "ArgMax",
    "Attention",
    "Average",
    "AveragePooling1D",
    "BahdanauAttention",
    "BatchFirst",
    "BatchNormalization",
    "BatchSecond",
    "Bidirectional",
    "Cast",
    "Cell",
    "Compare",
    "Composite",
    "Concatenate",
    "Constant",
    "Conv1D",
    "Conv1DTranspose",
    "Cropping1D",
    "Cumsum",
    "Dense",
    "DepthwiseConv1D",
    "Divide",
    "Dot",
    "Dropout",
    "EinsumDense",
    "Embedding",
    "Flatten",
    "GRUCell",
    "GaussianDropout",
    "GaussianNoise",
    "GetItem",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "GroupNormalization",
    "Input",
    "LSTMCell",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "Logical",
    "LuongAttention",
    "Masking",
    "MatMul",
    "MaxPooling1D",
    "Maximum",
    "Minimum",
    "MultiHeadAttention",
    "Multiply",
    "Normalization",
    "OneHot",
    "PReLU",
    "Padding1D",
    "Permute",
    "Positions",
    "Power",
    "RMSNormalization",
    "ReLU",
    "Rearrange",
    "Recurrent",
    "RecurrentStack",
    "Reduce",
    "Remainder",
    "RepeatVector",
    "Rescaling",
    "Reshape",
    "SeparableConv1D",
    "Sequencer",
    "SimpleRNN",
    "SimpleRNNCell",
    "Slot",
    "Softmax",
    "SpatialDropout1D",
    "StackedRNNCells",
    "Step",
    "Subtract",
    "Symbol",
    "ThresholdedReLU",
    "TimeDistributed",
    "TopK",
    "Unary",
    "UnitNormalization",
    "UpSampling1D",
    "Where",
    "ZeroPadding1D",
    "snake_case",
]
