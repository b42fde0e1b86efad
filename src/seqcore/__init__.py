"""seqcore: trained recurrent networks on a CPU, without a framework. NumPy in, NumPy out."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from ._binding import cpu_info, get_num_threads, set_num_threads
from .errors import (
    DtypeError,
    GraphError,
    IdRangeError,
    MissingExtraError,
    ModelFileError,
    NotBuiltError,
    OptionError,
    ScoresError,
    SeqcoreError,
    ShapeError,
    StateError,
    StreamError,
    UnknownTokenError,
    UnsupportedLayerError,
    WeightsError,
)
from .generation import Decoded, Generator, Seq2Seq
from .graph import ActivationSpec
from .inspection import LayerInfo, LayerTime
from .layers import (
    CRF,
    ELU,
    GRU,
    LSTM,
    RNN,
    Activation,
    ActivityRegularization,
    Add,
    AdditiveAttention,
    AlphaDropout,
    Attention,
    Average,
    AveragePooling1D,
    BahdanauAttention,
    BatchNormalization,
    Bidirectional,
    Concatenate,
    Conv1D,
    Conv1DTranspose,
    Cropping1D,
    Dense,
    DepthwiseConv1D,
    Dot,
    Dropout,
    EinsumDense,
    Embedding,
    Flatten,
    GaussianDropout,
    GaussianNoise,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    GroupNormalization,
    GRUCell,
    Input,
    Layer,
    LayerNormalization,
    LeakyReLU,
    LSTMCell,
    LuongAttention,
    Masking,
    Maximum,
    MaxPooling1D,
    Minimum,
    MultiHeadAttention,
    Multiply,
    Normalization,
    OneHot,
    Permute,
    PReLU,
    ReLU,
    RepeatVector,
    Rescaling,
    Reshape,
    RMSNormalization,
    SeparableConv1D,
    SimpleRNN,
    SimpleRNNCell,
    Softmax,
    SpatialDropout1D,
    StackedRNNCells,
    Subtract,
    ThresholdedReLU,
    TimeDistributed,
    UnitNormalization,
    UpSampling1D,
    ZeroPadding1D,
)
from .loading import load
from .model import Model
from .sequential import Sequential
from .stream import Stream, StreamPool

if _TYPE_CHECKING:
    from . import plots, sequence
    from .formats import read_weights
    from .formats.word_vectors import read_vectors
    from .importers.keras import from_keras
    from .importers.onnx import from_onnx
    from .importers.torch import from_torch
    from .trace import Trace

__all__ = [
    "CRF",
    "ELU",
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "ActivationSpec",
    "ActivityRegularization",
    "Add",
    "AdditiveAttention",
    "AlphaDropout",
    "Attention",
    "Average",
    "AveragePooling1D",
    "BahdanauAttention",
    "BatchNormalization",
    "Bidirectional",
    "Concatenate",
    "Conv1D",
    "Conv1DTranspose",
    "Cropping1D",
    "Decoded",
    "Dense",
    "DepthwiseConv1D",
    "Dot",
    "Dropout",
    "DtypeError",
    "EinsumDense",
    "Embedding",
    "Flatten",
    "GRUCell",
    "GaussianDropout",
    "GaussianNoise",
    "Generator",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "GraphError",
    "GroupNormalization",
    "IdRangeError",
    "Input",
    "LSTMCell",
    "Layer",
    "LayerInfo",
    "LayerNormalization",
    "LayerTime",
    "LeakyReLU",
    "LuongAttention",
    "Masking",
    "MaxPooling1D",
    "Maximum",
    "Minimum",
    "MissingExtraError",
    "Model",
    "ModelFileError",
    "MultiHeadAttention",
    "Multiply",
    "Normalization",
    "NotBuiltError",
    "OneHot",
    "OptionError",
    "PReLU",
    "Permute",
    "RMSNormalization",
    "ReLU",
    "RepeatVector",
    "Rescaling",
    "Reshape",
    "ScoresError",
    "SeparableConv1D",
    "Seq2Seq",
    "SeqcoreError",
    "Sequential",
    "ShapeError",
    "SimpleRNN",
    "SimpleRNNCell",
    "Softmax",
    "SpatialDropout1D",
    "StackedRNNCells",
    "StateError",
    "Stream",
    "StreamError",
    "StreamPool",
    "Subtract",
    "ThresholdedReLU",
    "TimeDistributed",
    "Trace",
    "UnitNormalization",
    "UnknownTokenError",
    "UnsupportedLayerError",
    "UpSampling1D",
    "WeightsError",
    "ZeroPadding1D",
    "cpu_info",
    "from_keras",
    "from_onnx",
    "from_torch",
    "get_num_threads",
    "load",
    "plots",
    "read_vectors",
    "read_weights",
    "sequence",
    "set_num_threads",
]

# Readers of foreign files take longer to import than all the rest, and a program that loads its
# own never needs them; nor does each need what prepares text and series.
_ON_FIRST_USE = {
    "from_keras": ".importers.keras",
    "from_onnx": ".importers.onnx",
    "from_torch": ".importers.torch",
    "plots": ".plots",
    "read_vectors": ".formats.word_vectors",
    "read_weights": ".formats",
    "sequence": ".sequence",
    "Trace": ".trace",
}


def __getattr__(name: str) -> _Any:
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _import_module(_ON_FIRST_USE[name], __name__)
    value = module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
