"""What each operator of ONNX means, in files by kind; the table in which they are entered."""

from . import (
    activations,
    convolutions,
    elementwise,
    products,
    quantised,
    recurrent,
    reductions,
    shapes,
    windows,
)
from .table import OPERATORS

__all__ = ["OPERATORS"]

del (
    activations, convolutions, elementwise, products, quantised, recurrent, reductions, shapes,
    windows,
)  # fmt: skip
