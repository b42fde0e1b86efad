"""PyTorch -> Model: live modules, exported programs (.pt2), whole modules in files.

live.py       a live module -> a program of operators, by torch.export: all that imports torch
packed.py     packed sequences while it is exported
graph.py      a program -> Model, in the words of aten/; index.py who makes and reads what
guards.py     what torch took for granted of sizes; unpadded.py what it cuts off
trees.py      a live module as a tree of modules
modules.py    a tree of torch's own modules -> a program; refused.py those that never will be one
described.py  what a state_dict seems to hold

Bytes are formats/; gate orders layouts/. Weights by name, from a state_dict or a file, are the
business of ``LSTM.from_torch(weights, prefix)`` and the like.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ...errors import ModelFileError, OptionError, UnsupportedLayerError
from ...model import Model
from .graph import model_of
from .modules import from_tree
from .trees import module_tree

__all__ = ["from_torch", "load_module", "load_pt2", "weights_alone"]


def from_torch(module: Any, example_input: Any = None, *, return_state: bool = False) -> Model:
    """Make a model of a live PyTorch module.

    Parameters
    ----------
    module : torch.nn.Module
        It is taken as in ``module.eval()``, and left as it is. Its weights are copied.
    example_input : tensor or array, tuple of them, or dict by argument, optional
        What ``module(...)`` can be called with: forward's arguments. Of tensors only shape and
        dtype matter. It is needed for any module but nn.RNN, nn.LSTM, nn.GRU and an nn.Sequential
        of torch's own modules, which say themselves what they do.
    return_state : bool
        Of an nn.RNN, nn.LSTM or nn.GRU without example. False: the model returns out. True: (out,
        h_n), or (out, h_n, c_n) of an LSTM.

    Returns
    -------
    Model
        With an example: inputs and outputs are the module's own, in its layout (time first, if it
        has it so), and every size that torch.export can leave open is. Lengths that the module
        gives to ``pack_padded_sequence`` are an input like any other, whole numbers (B,); outputs
        keep all of x's frames, zero past a row's end. A module that takes one sequence without a
        batch is given a batch of them, and so is one whose rows meet, or that returns a tensor
        without the batch: a call of torch is a row then. Floats are float32, whole numbers int64
        (exact up to 2^24 where they are computed with), truth values floats of 0 and 1.

        An nn.RNN, nn.LSTM or nn.GRU without example: batch first, whatever its batch_first, (B, T,
        input_size) to (B, T, directions*hidden_size). States, those returned and
        ``initial_state=(h_0[, c_0])``, have torch's shape (layers*directions, B, hidden_size). With
        ``proj_size`` that stands in place of hidden_size, but in c.

    Raises
    ------
    UnsupportedLayerError
        Listing every operator or module that is not supported and where it is; or the module
        cannot be exported, or has hooks that could change results.
    WeightsError
        Weights that are not there (the meta device), or outside of float32's range.
    OptionError
        An example that is none, or `return_state` beside one.

    Examples
    --------
    >>> import numpy as np, torch, seqcore as sc
    >>> lstm = torch.nn.LSTM(8, 16, num_layers=2, bidirectional=True)
    >>> model = sc.from_torch(lstm, return_state=True)
    >>> [array.shape for array in model(np.zeros((3, 5, 8)))]
    [(3, 5, 32), (4, 3, 16), (4, 3, 16)]
    >>> class Last(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.gru, self.head = torch.nn.GRU(8, 16), torch.nn.Linear(16, 2)
    ...
    ...     def forward(self, x):  # (T, B, 8)
    ...         return self.head(self.gru(x)[0][-1]).softmax(-1)
    >>> model = sc.from_torch(Last(), example_input=torch.zeros(5, 3, 8))
    >>> model(np.zeros((7, 4, 8))).shape
    (4, 2)
    """
    name = type(module).__name__
    if example_input is None:
        return from_tree(module_tree(module), name, return_state=return_state)
    if return_state:
        raise OptionError("from_torch: with an example, what is returned is what forward returns")
    from .live import export_program  # it imports torch, whose user has it

    args, kwargs = _arguments(example_input)
    # What divides by the number of features, say, needs it to be a number; and a branch on a size
    # that no bound can tell makes it the example's.
    error: UnsupportedLayerError | None = None
    for fixed in ("nothing", "features", "all"):
        try:
            return model_of(export_program(module, args, kwargs, fixed=fixed), name)
        except UnsupportedLayerError as found:
            error = found
    assert error is not None
    raise error


def _arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return forward's arguments, arrays as tensors."""
    if isinstance(example, dict):
        return (), {name: _tensor(value) for name, value in example.items()}
    if isinstance(example, tuple):
        return tuple(_tensor(value) for value in example), {}
    made = _tensor(example)
    if not hasattr(made, "detach"):
        raise OptionError(
            "from_torch: example_input is a tensor or array, a tuple of forward's arguments, or a "
            f"dict of them; found {type(example).__name__}"
        )
    return (made,), {}


def _tensor(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    import torch

    try:
        return torch.from_numpy(np.ascontiguousarray(value))
    except TypeError:
        raise OptionError(f"from_torch: an example array of dtype {value.dtype}") from None


def load_pt2(path: str | os.PathLike[str]) -> Model:
    """Load what ``torch.export.save`` wrote; as `from_torch` with an example.

    Raises
    ------
    UnsupportedLayerError
        Listing every operator that is not supported and where it is.
    ModelFileError
        The file is damaged, hostile, or of a torch that is too new.
    """
    from ...formats.pt2 import read_pt2

    return model_of(read_pt2(path), os.fsdecode(path))


def load_module(path: str | os.PathLike[str], *, prefix: str = "") -> Model:
    """Load a whole module that ``torch.save(module, path)`` wrote, if it is torch's own.

    `prefix` says where in a checkpoint it is: keys and names of modules, joined with dots.

    Raises
    ------
    UnsupportedLayerError
        Its forward is code, which a file does not hold; or listing every module that is not
        supported.
    ModelFileError
        The file is damaged or hostile, or holds weights and no module; then it says which.
    """
    from ...formats.torch_modules import read_module

    name = os.fsdecode(path)
    try:
        tree = read_module(path, prefix=prefix)
    except ModelFileError as error:
        if prefix:
            raise
        why = str(error).removeprefix(f"{name}: ")
        raise ModelFileError(f"{name}: {weights_alone(path, why)}") from None
    return from_tree(tree, name)


def weights_alone(path: str | os.PathLike[str], what: str) -> str:
    """Tell what a file holds that is weights without a network, and how to make layers of them.

    Parameters
    ----------
    path : path-like
    what : str
        What the file is.

    Raises
    ------
    ModelFileError
        It cannot be read, or holds no weights either.
    """
    from ...formats import read_weights
    from .described import describe_weights

    name = os.fsdecode(path)
    parts = describe_weights(read_weights(path))
    how = f"weights = seqcore.read_weights({name!r}), then layers, LSTM.from_torch(weights, prefix)"
    return "\n  ".join([f"{what}. It holds weights and no network; use {how} ...", *parts])
