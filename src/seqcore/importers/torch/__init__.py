"""Live torch modules -> Model. Nothing here imports torch; the caller's module has done that.

Weights by name, from a state_dict or a file, are the business of ``LSTM.from_torch(weights,
prefix)`` and the like.
"""

from __future__ import annotations

from typing import Any

from ... import layouts
from ...errors import UnsupportedLayerError
from ...layers import GRU, LSTM, Input, Recurrent, RecurrentStack, SimpleRNN
from ...model import Model

__all__ = ["from_torch"]

_KINDS: dict[str, type[Recurrent]] = {"RNN": SimpleRNN, "LSTM": LSTM, "GRU": GRU}


def from_torch(module: Any, *, return_state: bool = False) -> Model:
    """Make a model of an nn.RNN, nn.LSTM or nn.GRU: all its layers and directions.

    Parameters
    ----------
    module : torch.nn.RNN, torch.nn.LSTM or torch.nn.GRU
        Its weights are copied. Dropout between layers is left out, as in ``module.eval()``.
    return_state : bool
        False: the model returns out. True: (out, h_n), or (out, h_n, c_n) of an LSTM.

    Returns
    -------
    Model
        Batch first, whatever the module's batch_first: (B, T, input_size) to (B, T,
        directions*hidden_size). States, those returned and ``initial_state=(h_0[, c_0])``, have
        torch's shape (layers*directions, B, hidden_size). With ``proj_size`` that stands in place
        of hidden_size, but in c.

    Raises
    ------
    UnsupportedLayerError
        Another class (a subclass too, whose forward may differ), or hooks that could change
        results.
    WeightsError
        Weights that are not there (the meta device), or outside of float32's range.

    Examples
    --------
    >>> import numpy as np, torch, seqcore as sc
    >>> lstm = torch.nn.LSTM(8, 16, num_layers=2, bidirectional=True)
    >>> model = sc.from_torch(lstm, return_state=True)
    >>> [array.shape for array in model(np.zeros((3, 5, 8)))]
    [(3, 5, 32), (4, 3, 16), (4, 3, 16)]
    """
    kind = type(module)
    layer = _KINDS.get(kind.__name__)
    if layer is None or not kind.__module__.startswith("torch.nn."):
        name = f"{kind.__module__}.{kind.__qualname__}"
        raise UnsupportedLayerError([(name, "expected an nn.RNN, an nn.LSTM or an nn.GRU")])
    if module._forward_hooks or module._forward_pre_hooks:
        raise UnsupportedLayerError([(f"nn.{kind.__name__}", "it has forward hooks")])
    label = layer.__name__
    activation = module.nonlinearity if kind.__name__ == "RNN" else "tanh"
    rows = [
        [layer.from_cell(cell, activation=activation) for cell in row]
        for row in layouts.torch_recurrent(label, module.state_dict(), "", label)
    ]
    stack = RecurrentStack(rows, return_state=return_state, stacked=True)
    x = Input((None, module.input_size))
    return Model(x, stack(x))
