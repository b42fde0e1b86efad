"""What each operator of ONNX means, in files by kind; the table in which they are entered."""

from . import (
    activations,
    branches,
    convolutions,
    elementwise,
    making,
    picking,
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
    activations, branches, convolutions, elementwise, making, picking, products, quantised,
    recurrent, reductions, shapes, windows,
)  # fmt: skip
