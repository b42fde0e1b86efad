"""Small ONNX models, and onnxruntime's word on what they make.

    built = model([node("Transpose", "x", "y", perm=[1, 0, 2])], {"x": ("B", "T", 3)}, "y")
    same_at_sizes(built, {"B": 3, "T": 5}, {"B": 1, "T": 2})

Names in a shape are sizes that are free. onnxruntime is run without its optimisations, which
replace what a graph says by something else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper
from tolerances import FLOAT32, close

from seqcore.errors import UnsupportedLayerError
from seqcore.importers.onnx import from_onnx

Array = NDArray[Any]
Shape = Sequence[int | str]

KINDS = {
    "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "float16": TensorProto.FLOAT16,
    "int64": TensorProto.INT64, "int32": TensorProto.INT32, "bool": TensorProto.BOOL,
    "uint8": TensorProto.UINT8, "int8": TensorProto.INT8,
}  # fmt: skip
_NAMES = {number: name for name, number in KINDS.items()}


# ---- Building ------------------------------------------------------------------------------------


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """Return a node; its inputs and outputs are names with blanks between, "-" for an absent one.

    It is called after its first output, so that messages can be told apart.
    """
    taken = ["" if name == "-" else name for name in inputs.split()]
    made = ["" if name == "-" else name for name in outputs.split()]
    return helper.make_node(op, taken, made, name=f"the_{made[0]}", **attributes)


def value(name: str, shape: Shape | None, kind: str = "float32") -> onnx.ValueInfoProto:
    """Return an input or output of a graph."""
    return helper.make_tensor_value_info(name, KINDS[kind], shape)


def constant(name: str, array: ArrayLike) -> onnx.TensorProto:
    """Return an initialiser."""
    return numpy_helper.from_array(np.asarray(array), name)


def graph(
    nodes: Sequence[onnx.NodeProto], inputs: Mapping[str, Any], outputs: str | Mapping[str, str],
    constants: Mapping[str, ArrayLike] | None = None, name: str = "g",
) -> onnx.GraphProto:  # fmt: skip
    """Return a graph, such as a branch of If.

    Parameters
    ----------
    nodes : sequence of NodeProto
    inputs : mapping of str to shape or (shape, kind)
        Kinds are dtypes by NumPy's names; float32 if none is said.
    outputs : str or mapping of str to str
        Names with blanks between, or names with their kinds. onnx finds out kinds that are not
        said.
    constants : mapping of str to array, optional
        Initialisers.
    """
    taken = [_input(name, given) for name, given in inputs.items()]
    if isinstance(outputs, str):
        ends = [helper.make_empty_tensor_value_info(each) for each in outputs.split()]
    else:
        ends = [value(each, None, kind) for each, kind in outputs.items()]
    stored = [constant(each, array) for each, array in (constants or {}).items()]
    return helper.make_graph(list(nodes), name, taken, ends, stored)


def _input(name: str, given: Any) -> onnx.ValueInfoProto:
    if len(given) == 2 and isinstance(given[1], str) and given[1] in KINDS:
        return value(name, *given)
    return value(name, given)


def model(
    nodes: Sequence[onnx.NodeProto], inputs: Mapping[str, Any], outputs: str | Mapping[str, str],
    constants: Mapping[str, ArrayLike] | None = None, *, opset: int = 17,
    domains: Mapping[str, int] | None = None,
) -> onnx.ModelProto:  # fmt: skip
    """Return a model of a graph, whose arguments see there; `domains` are other operator sets."""
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(name, version) for name, version in (domains or {}).items()]
    made = helper.make_model(
        graph(nodes, inputs, outputs, constants), opset_imports=opsets,
        ir_version=max(7, helper.find_min_ir_version_for(opsets, ignore_unknown=True)),
    )  # fmt: skip
    if isinstance(outputs, str):
        found = onnx.shape_inference.infer_shapes(made).graph.output
        for own, told in zip(made.graph.output, found, strict=True):
            own.CopyFrom(told)
    return made


# ---- Running -------------------------------------------------------------------------------------


def run_onnxruntime(built: onnx.ModelProto, feeds: Mapping[str, ArrayLike]) -> list[Array]:
    """Return what onnxruntime makes of inputs by name."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        built.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    made: list[Array] = session.run(None, {name: np.asarray(feed) for name, feed in feeds.items()})
    return made


def feeds_of(
    built: onnx.ModelProto, sizes: Mapping[str, int], seed: int = 0, below: int = 4
) -> dict[str, Array]:
    """Return random inputs, of floats or of whole numbers from 0 to `below` - 1, of these sizes."""
    random = np.random.default_rng(seed)
    stored = {each.name for each in built.graph.initializer}
    feeds: dict[str, Array] = {}
    for each in built.graph.input:
        if each.name in stored:
            continue
        told = each.type.tensor_type
        shape = [sizes[dim.dim_param] if dim.dim_param else dim.dim_value for dim in told.shape.dim]
        kind = _NAMES[told.elem_type]
        if kind.startswith("float"):
            feeds[each.name] = random.standard_normal(shape).astype(kind)
        else:
            high = 2 if kind == "bool" else below
            feeds[each.name] = random.integers(0, high, shape).astype(kind)
    return feeds


def same_as_onnxruntime(
    built: onnx.ModelProto, *feeds: Mapping[str, ArrayLike], tolerance: float = FLOAT32[0],
    constants: Sequence[str] = (), whole: bool = False, external_data: bool = False,
) -> list[Array]:  # fmt: skip
    """Assert that a model makes what onnxruntime makes; return what it makes of the last feeds.

    Parameters
    ----------
    built : ModelProto
        It is read once for all feeds.
    *feeds : mappings of str to array
        All inputs by name.
    tolerance : float
        Of tolerances.py.
    constants : sequence of str
        Inputs that are fixed to what the first feeds say.
    whole : bool
        One call of the graph is one row here: no axis of its inputs is a batch.
    """
    assert feeds
    fixed = {name: feeds[0][name] for name in constants}
    ours = from_onnx(built, constants=fixed, external_data=external_data)
    made: list[Array] = []
    for feed in feeds:
        expected = run_onnxruntime(built, feed)
        given = [np.asarray(feed[each.name]) for each in built.graph.input
                 if each.name in feed and each.name not in fixed]  # fmt: skip
        found = ours(*[each[None] if whole else each for each in given])
        made = [*found] if isinstance(found, (list, tuple)) else [found]
        made = [each[0] if whole else each for each in made]
        assert len(made) == len(expected)
        for end, ours_made, theirs in zip(built.graph.output, made, expected, strict=True):
            kind = "i" if theirs.dtype.kind in "iu" else "f"
            assert ours_made.dtype.kind == kind, f"{end.name} is {ours_made.dtype}"
            close(ours_made, theirs, tolerance, end.name)
    return made


def same_at_sizes(
    built: onnx.ModelProto, *sizes: Mapping[str, int], below: int = 4, **options: Any
) -> list[Array]:
    """Assert the same for random inputs of these sizes; options are `same_as_onnxruntime`'s."""
    feeds = [feeds_of(built, each, number, below) for number, each in enumerate(sizes)]
    return same_as_onnxruntime(built, *feeds, **options)


def refused(built: onnx.ModelProto, *words: str) -> str:
    """Assert that a model is refused by name and opset, in these words; return the message."""
    with pytest.raises(UnsupportedLayerError) as caught:
        from_onnx(built)
    message = str(caught.value)
    for word in words:
        assert word in message, message
    return message
