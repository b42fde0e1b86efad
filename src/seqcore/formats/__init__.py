"""Foreign files: bytes in, named arrays and configuration out. Nothing here knows a layer.

One file a format; `weights` opens a file and chooses. Nothing in a file is ever executed: pickles
go through an interpreter of their own (`pickles`), which imports nothing.
"""

from .weights import read_pickle, read_weights

__all__ = ["read_pickle", "read_weights"]
