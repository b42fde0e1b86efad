"""Many nodes side by side in one ONNX model, every output of which is one of the model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import helper
from onnx_models import model, run_onnxruntime
from tolerances import close

from seqcore.importers.onnx import from_onnx


class Nodes:
    """Nodes that are entered one by one: ``n("Add", "x", 2.0)``.

    Attributes
    ----------
    made : list of str
        All that the nodes make, but what was only `inner`.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, ArrayLike] = {}
        self.made: list[str] = []

    def __call__(
        self, op: str, *inputs: Any, outputs: int = 1, inner: bool = False, **attributes: Any
    ) -> Any:
        """Enter a node; return the name of what it makes, or names.

        Parameters
        ----------
        op : str
        *inputs : str, array or None
            Names, numbers that become a constant, or None for what is absent.
        outputs : int
        inner : bool
            It is there for other nodes alone.
        **attributes
        """
        number = len(self.nodes)
        names = [self._name(each, f"c{number}_{k}") for k, each in enumerate(inputs)]
        made = [f"{op}{number}_{k}" if outputs > 1 else f"{op}{number}" for k in range(outputs)]
        self.nodes.append(helper.make_node(op, names, made, name=f"the_{made[0]}", **attributes))
        if not inner:
            self.made += made
        return made[0] if outputs == 1 else made

    def _name(self, given: Any, own: str) -> str:
        if given is None or isinstance(given, str):
            return given or ""
        array = np.asarray(given)
        kind = np.float32 if array.dtype == np.float64 else array.dtype
        self.constants[own] = array.astype(kind)
        return own

    def model(self, inputs: Mapping[str, Any], opset: int = 17) -> onnx.ModelProto:
        """Return a model of all nodes; `inputs` are those of onnx_models.model."""
        return model(self.nodes, inputs, " ".join(self.made), self.constants, opset=opset)


def same_with_none(
    built: onnx.ModelProto, feeds: Mapping[str, ArrayLike], tolerance: float
) -> None:
    """Assert that a model makes what onnxruntime makes, and NaN where it does."""
    made: Sequence[Any] = from_onnx(built)(*feeds.values())
    expected = run_onnxruntime(built, feeds)
    assert len(made) == len(expected)
    for end, ours, theirs in zip(built.graph.output, made, expected, strict=True):
        assert np.array_equal(np.isnan(ours), np.isnan(theirs)), (end.name, ours, theirs)
        close(np.nan_to_num(ours, nan=0.0), np.nan_to_num(theirs, nan=0.0), tolerance, end.name)
