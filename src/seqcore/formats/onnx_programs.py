"""What an ONNX file says of a network: values, nodes and graphs, as plain data.

What an operator means is the business of importers/onnx; how bytes become this, of onnx_files.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

__all__ = ["OnnxGraph", "OnnxNode", "OnnxProgram", "OnnxValue"]


@dataclass(frozen=True, eq=False)
class OnnxValue:
    """An input or output of a graph.

    Attributes
    ----------
    name : str
    dtype : str or None
        "float32", "int64", "bool", "bfloat16", "float8_e4m3fn" ...; "string", "sequence", "map",
        "optional", "sparse_tensor" and "opaque" for what is no tensor of numbers. None where the
        file does not say.
    shape : tuple of (int, str or None), or None
        Sizes, and names of those that may vary: equal names are equal sizes. None in it is a size
        of which nothing is said; None in its place, a rank of which nothing is said.
    """

    name: str
    dtype: str | None
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True, eq=False)
class OnnxNode:
    """One call of an operator.

    Attributes
    ----------
    op : str
        "LSTM"; with an overload "name:overload".
    domain : str
        "" is ONNX's own, which files also call "ai.onnx".
    name : str
        For messages; of a node out of a function, the call's name and its own, "layer/lstm".
    inputs : tuple of str
        "" is an input that is not given.
    outputs : tuple of str
        "" is an output that nobody wants.
    attributes : dict of str to object
        int, float, str, lists of these, an array (a tensor, read-only; strings in one of objects),
        an OnnxGraph, an OnnxValue without a name (a type), and lists of these. Not to be changed.
    """

    op: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass(frozen=True, eq=False)
class OnnxGraph:
    """Nodes in an order in which all is made before it is read.

    Names are unique in the whole program, those of graphs in attributes included: such a graph can
    be put in the place of its node as it stands. It may read what the graphs around it make.

    Attributes
    ----------
    name : str
    inputs : tuple of OnnxValue
        Without those that an initialiser gives a value.
    outputs : tuple of OnnxValue
        What a node makes, an input, a constant, or, in an attribute, a value of a graph around it.
    nodes : tuple of OnnxNode
    constants : dict of str to array
        The initialisers, read-only. Each dtype is the file's own where NumPy has it: bfloat16 and
        smaller floats are float32, integers of 2 and 4 bits of 8, strings objects.
    dtypes : dict of str to str
        Of values, as `OnnxValue.dtype`, where the file says so.
    """

    name: str
    inputs: tuple[OnnxValue, ...]
    outputs: tuple[OnnxValue, ...]
    nodes: tuple[OnnxNode, ...]
    constants: dict[str, NDArray[Any]]
    dtypes: dict[str, str]


@dataclass(frozen=True, eq=False)
class OnnxProgram:
    """A whole model, its functions put in place.

    Attributes
    ----------
    graph : OnnxGraph
    opsets : dict of str to int
        The version of each domain's operators; "" is ONNX's own.
    producer : str
        What wrote the file, "pytorch 2.13.0", for messages.
    """

    graph: OnnxGraph
    opsets: dict[str, int]
    producer: str
