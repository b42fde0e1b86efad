"""What a file of torch says of a network: a program of operators, or a tree of modules.

A `Program` is what torch.export writes (.pt2): every operator that `forward` ran, in order. A
`ModuleTree` is what a pickled module is made of: classes, options and arrays, and no wiring. Both
are data; what an operator or a class means is the business of importers/torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Dtype", "Global", "ModuleTree", "Node", "Program", "ProgramInput", "Ref"]


@dataclass(frozen=True)
class Ref:
    """What a node made, or an input, or a constant of the program, by its name."""

    name: str


@dataclass(frozen=True)
class Dtype:
    """A dtype as an argument: "float32", "int64", "bool" ..."""

    name: str


@dataclass(frozen=True)
class Global:
    """A function or class as an option, by its name; nothing of that name was looked for."""

    name: str


# None, bool, int, float, str, Ref, Dtype, and lists of these. Layouts, devices and memory formats
# are strings.
Argument = Any


@dataclass(frozen=True)
class Node:
    """One call of an operator.

    Attributes
    ----------
    target : str
        "aten.lstm.input": namespace, name and overload; of Python's own functions on sizes
        "_operator.mul", "math.trunc" and the like.
    arguments : dict of str to Argument
        By the names of torch's schema, in their order; defaults are left out. Python's own
        functions, which have no names, have "0", "1" ...
    outputs : tuple of (str, None, or tuple of str)
        The names of what it makes: several where it returns several, a tuple where one of them is a
        list of tensors, None where nobody wants it.
    module : str
        Path of the module whose forward called it, "encoder.lstm"; "" for the whole.
    source : str
        Where in the author's code, "model.py:27"; "" where the file does not say.
    """

    target: str
    arguments: Mapping[str, Argument]
    outputs: tuple[str | tuple[str, ...] | None, ...]
    module: str = ""
    source: str = ""


@dataclass(frozen=True)
class ProgramInput:
    """An input of the program: a tensor, or a plain value that was fixed when it was exported.

    Attributes
    ----------
    name : str
    dtype : str or None
        None for what is no tensor; `value` is what it was.
    shape : tuple of (int or str)
        Sizes, and names of those that may vary: equal names are equal sizes ("s31", or an
        expression of several, "2*s31").
    value : object
    """

    name: str
    dtype: str | None
    shape: tuple[int | str, ...] = ()
    value: Argument = None


@dataclass(frozen=True)
class Program:
    """A network as operators.

    Attributes
    ----------
    inputs : tuple of ProgramInput
        The caller's, in the order of forward's arguments.
    outputs : tuple of Argument
        Refs, in order; None for an output that is None.
    nodes : tuple of Node
        In the order of execution.
    constants : dict of str to array
        Parameters, buffers and tensors that were lifted, by their names in the program, in the
        dtype of the file (bfloat16 as float32). Read-only.
    paths : dict of str to str
        What a parameter or buffer is called in the state_dict, by its name in the program.
    shapes : dict of str to tuple of (int or str)
        Of every tensor of which the file tells it.
    dtypes : dict of str to str
        Likewise.
    torch_version : str
    sizes : dict of str to (int or str)
        Of every integer that nodes compute, such as ``x.shape[0]``: its value, or an expression in
        the names of `shapes`.
    ranges : dict of str to (int or None, int or None)
        The least and the largest that each name of a size, or an expression of them, may be; None
        where the file sets no bound. Outside of it ``forward`` may do something else. Of sizes that
        were left to torch 2 is the least, as it has not found out what 0 and 1 would do.
    guards : tuple of str
        What else must hold of sizes for the nodes to be those of ``forward``, in torch's words:
        "L['x'].size()[1] % 2 == 0". Many say nothing but how tensors lie in memory.
    """

    inputs: tuple[ProgramInput, ...]
    outputs: tuple[Argument, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, np.ndarray]
    paths: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    dtypes: Mapping[str, str] = field(default_factory=dict)
    torch_version: str = ""
    sizes: Mapping[str, int | str] = field(default_factory=dict)
    ranges: Mapping[str, tuple[int | None, int | None]] = field(default_factory=dict)
    guards: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModuleTree:
    """A module as its attributes, of a pickle or of a live object.

    Attributes
    ----------
    kind : str
        Its class as the file names it, "torch.nn.modules.rnn.LSTM"; nothing of that name was looked
        for.
    options : dict of str to object
        Attributes that are plain data: ``hidden_size``, ``batch_first`` ... None, bool, int, float,
        str, bytes, Dtype, Global, and lists, tuples and dicts of these; a set is a list.
        ``training`` is left out.
    arrays : dict of str to (array or None)
        Its own parameters and buffers, also those that a state_dict leaves out; None for one that
        it was made without (``bias=False``). Weight normalisation stays in parts, ``weight_g`` and
        ``weight_v`` or a child ``parametrizations``.
    children : dict of str to (ModuleTree or None)
        In the order in which they were added.
    changed : str
        Why its forward may do something else than its class says, such as hooks; "" if not.
    """

    kind: str
    options: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray | None]
    children: Mapping[str, ModuleTree | None]
    changed: str = ""
