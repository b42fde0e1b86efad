"""ONNX -> Model: files and live ModelProtos.

graph.py         a program -> Model, in the words of aten/
operators/       what each operator means
shape_values.py  arithmetic on shapes
sorting.py       rows that are sorted and put back
older.py         opsets before those that are known

Bytes are formats/onnx_files.py; gate orders layouts/.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import OptionError
from ...formats.onnx_files import read_onnx
from ...formats.onnx_programs import OnnxProgram
from ...model import Model
from .graph import model_of

__all__ = ["checked_constants", "from_onnx", "load_onnx"]


def from_onnx(
    model: Any, *, constants: Mapping[str, ArrayLike] | None = None, external_data: bool = False
) -> Model:
    """Make a model of an ONNX one.

    Parameters
    ----------
    model : onnx.ModelProto, bytes, path or file
    constants : mapping of str to array, optional
        Inputs that shall be fixed to these numbers, because what the model is depends on them: a
        shape, axes, or weights that are given at every call.
    external_data : bool
        Whether weights may be read from other files in the model's folder.

    Returns
    -------
    Model
        Inputs and outputs are the graph's own, in its layout, and every size that the graph leaves
        open is; a ``:`` in a name is ``_`` (and TensorFlow's ``:0`` goes). The batch is found, and
        is free even where the graph fixes it; where rows meet, or an output has no batch, one call
        of the graph is a row here, and all inputs and outputs have one axis more in front; a graph
        that takes nothing takes ``rows`` (B,) here, of which only the number counts. Floats
        are float32, whole numbers int64 (exact up to 2^24 where they are computed with), truth
        values floats of 0 and 1.

    Raises
    ------
    ModelFileError
        It is damaged, hostile, or of an opset before 9 or after those that are known.
    UnsupportedLayerError
        Listing every node that is not supported, with its operator and opset. `inputs` of the error
        names inputs that would have to be `constants`.
    OptionError
        Constants that no input has the name of.
    MissingExtraError
        The package onnx is needed and not installed.
    """
    source = os.fspath(model) if isinstance(model, (str, os.PathLike)) else "the ONNX model"
    program = read_onnx(model, external_data=external_data)
    return model_of(program, str(source), checked_constants(program, constants or {}, str(source)))


def load_onnx(path: str | os.PathLike[str], **options: Any) -> Model:
    """Make a model of a file; options as of `from_onnx`."""
    return from_onnx(path, **options)


def checked_constants(
    program: OnnxProgram, constants: Mapping[str, ArrayLike], source: str
) -> dict[str, NDArray[Any]]:
    """Return what inputs shall be fixed to, as arrays; each must be an input of the graph."""
    names = [each.name for each in program.graph.inputs]
    for name in constants:
        if name not in names:
            raise OptionError(f"{source}: constants name {name!r}; its inputs are {names}")
    return {name: np.asarray(array) for name, array in constants.items()}
