"""Sequential: a model whose layers form a chain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .errors import GraphError
from .layers.base import Input, Layer
from .model import Model

__all__ = ["Sequential"]


class Sequential(Model):
    """A model whose layers form a chain.

    Parameters
    ----------
    layers : sequence of Layer
        An `Input` may come first. Left out, it follows from the first layer: token ids (None,) for
        Embedding, (None, features) for a recurrent layer or Conv1D with weights, (features,) for
        Dense with weights.

    Raises
    ------
    GraphError
        No layers, something else among them, a layer with several outputs before the last, or an
        input that cannot be told.
    ShapeError, WeightsError
        Layers do not fit together.

    Examples
    --------
    >>> import seqcore as sc
    >>> model = sc.Sequential([sc.Input((10, 32)), sc.Bidirectional(sc.LSTM(64)), sc.Dense(1)])
    >>> sum(layer.parameters for layer in model.layers)
    49793
    """

    def __init__(self, layers: Sequence[Layer | Input]) -> None:
        if not isinstance(layers, Iterable):
            raise GraphError(f"Sequential: expected a list of layers; found {layers!r:.80}")
        chain = list(layers)
        first = chain[0] if chain else None
        if isinstance(first, Layer):
            spec = first.input_spec()
            if spec is None:
                raise GraphError(
                    f"Sequential: {first.label} does not tell its input's shape; begin with "
                    "Input(shape)"
                )
            chain.insert(0, Input(*spec))
        if len(chain) < 2 or not isinstance(chain[0], Input):
            raise GraphError("Sequential: expected a list of layers, perhaps after an Input")
        value: Any = chain[0]
        for layer in chain[1:]:
            if not isinstance(layer, Layer):
                raise GraphError(f"Sequential: expected a layer, found {layer!r:.80}")
            if isinstance(value, tuple):
                raise GraphError(
                    f"Sequential: {layer.label} follows a layer with {len(value)} outputs; use "
                    "Model"
                )
            value = layer(value)
        super().__init__(chain[0], value)
