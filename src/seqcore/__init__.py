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
    SeqcoreError,
    ShapeError,
    StateError,
    StreamError,
    UnsupportedLayerError,
    WeightsError,
)
from .graph import ActivationSpec
from .layers import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Add,
    Average,
    Bidirectional,
    Concatenate,
    Conv1D,
    Dense,
    Dropout,
    EinsumDense,
    Embedding,
    Flatten,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    GRUCell,
    Input,
    Layer,
    LSTMCell,
    Masking,
    Maximum,
    MaxPooling1D,
    Minimum,
    Multiply,
    Permute,
    RepeatVector,
    Reshape,
    SimpleRNN,
    SimpleRNNCell,
    StackedRNNCells,
    Subtract,
    TimeDistributed,
    UpSampling1D,
)
from .loading import load
from .model import LayerInfo, LayerTime, Model, Sequential
from .stream import Stream, StreamPool

if _TYPE_CHECKING:
    from .formats import read_weights
    from .importers.torch import from_torch

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "ActivationSpec",
    "Add",
    "Average",
    "Bidirectional",
    "Concatenate",
    "Conv1D",
    "Dense",
    "Dropout",
    "DtypeError",
    "EinsumDense",
    "Embedding",
    "Flatten",
    "GRUCell",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "GraphError",
    "IdRangeError",
    "Input",
    "LSTMCell",
    "Layer",
    "LayerInfo",
    "LayerTime",
    "Masking",
    "MaxPooling1D",
    "Maximum",
    "Minimum",
    "MissingExtraError",
    "Model",
    "ModelFileError",
    "Multiply",
    "NotBuiltError",
    "OptionError",
    "Permute",
    "RepeatVector",
    "Reshape",
    "SeqcoreError",
    "Sequential",
    "ShapeError",
    "SimpleRNN",
    "SimpleRNNCell",
    "StackedRNNCells",
    "StateError",
    "Stream",
    "StreamError",
    "StreamPool",
    "Subtract",
    "TimeDistributed",
    "UnsupportedLayerError",
    "UpSampling1D",
    "WeightsError",
    "cpu_info",
    "from_torch",
    "get_num_threads",
    "load",
    "read_weights",
    "set_num_threads",
]

# Readers of foreign files take longer to import than all the rest, and a program that loads its
# own never needs them.
_ON_FIRST_USE = {"from_torch": ".importers.torch", "read_weights": ".formats"}


def __getattr__(name: str) -> _Any:
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_import_module(_ON_FIRST_USE[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
