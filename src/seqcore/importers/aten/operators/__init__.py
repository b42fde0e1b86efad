"""What torch's operators mean, by their names; `OPERATORS` is the table.

table.py        the table, and what operators have in common
shapes.py       what moves elements
elementwise.py  what treats every element alone
products.py     linear, matrix products, attention, embedding
recurrent.py    whole sequences, cells, lengths
windows.py      convolutions, pooling, padding
reductions.py   norms, means, largest elements
picking.py      frames by computed numbers, parts by constant ones
"""

from . import elementwise, picking, products, recurrent, reductions, shapes, windows
from .table import OPERATORS

__all__ = [
    "OPERATORS", "elementwise", "picking", "products", "recurrent", "reductions", "shapes",
    "windows",
]  # fmt: skip
