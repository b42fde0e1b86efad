"""Gate orders and layouts of the frameworks: named or listed arrays in, canonical arrays out.

common.py   canonical cells, checked weights
keras.py    Keras 1 to 3, CuDNN
torch.py    torch, weight_norm
onnx.py     ONNX

Canonical (docs/design.md, "Canonical weights"): LSTM gates i,f,g,o; GRU gates r,z,n; W (I, G*H), U
(H, G*H), b (G*H,), and (2, 3H) for a GRU with two biases, whose row 1 is the recurrent bias. An
LSTM with a projection P (H, P) has U (P, 4H), one with peepholes has these (3, H) for i,f,o. Pure
functions; no layers, no files.
"""

from .common import GATES, Cell, as_array, reorder_gates, weight
from .keras import check_bias, keras1_recurrent, keras_affine, keras_arrays, keras_recurrent
from .onnx import onnx_recurrent
from .torch import (
    torch_conv1d,
    torch_crf,
    torch_dense,
    torch_embedding,
    torch_norm,
    torch_recurrent,
    unparametrised,
)

__all__ = [
    "GATES",
    "Cell",
    "as_array",
    "check_bias",
    "keras1_recurrent",
    "keras_affine",
    "keras_arrays",
    "keras_recurrent",
    "onnx_recurrent",
    "reorder_gates",
    "torch_conv1d",
    "torch_crf",
    "torch_dense",
    "torch_embedding",
    "torch_norm",
    "torch_recurrent",
    "unparametrised",
    "weight",
]
