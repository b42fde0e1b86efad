"""A live nn.Module -> Program, by torch.export: the only module here that imports torch.

The module is exported as in eval(), with every size of its inputs varying that may, then saved to
memory and read back as a file would be (formats/pt2.py), so that there is one way in. What its
packed sequences become is told in packed.py. What an operator means is not known here.
"""

from __future__ import annotations

import io
import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ...errors import ModelFileError, UnsupportedLayerError
from ...formats.opening import budget_of
from ...formats.pt2 import read_pt2_file
from ...formats.torch_programs import Program, Ref

__all__ = ["RAGGED", "export_program"]

RAGGED = "seqcore.ragged.default"
# Operators of packed.py, which stand for torch's own until the graph is there.
_RENAMED = {
    f"seqcore.{name}.default": f"aten.{name}.input"
    for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")
}
# The operators of packed.py that must not be left, and what they make.
_STAND_INS = {
    "seqcore.packed.default": "the data or batch_sizes",
    "seqcore.sorted_rows.default": "the sorted_indices",
}

# Flags of the module, and what torch keeps for the whole process, are changed for a while.
_ONE_AT_A_TIME = threading.Lock()


def export_program(
    module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None
) -> Program:
    """Make a program of a module by running it once on stand-ins of example inputs.

    Parameters
    ----------
    module : torch.nn.Module
        It is exported as in ``eval()`` and without gradients; it is left as it was found.
    args, kwargs : tuple, dict
        Of ``forward``. Of tensors only shape and dtype matter. Every size may vary in the program
        unless the module fixes it; what is no tensor is fixed. An example of one row or of one step
        is repeated, since torch takes sizes of 1 to be fixed.

    Returns
    -------
    Program
        Packed sequences stand in it as padded ones behind "seqcore.ragged.default".

    Raises
    ------
    UnsupportedLayerError
        torch.export cannot export it (the cause is chained), the module writes to its own state, or
        it does with packed sequences what cannot be followed.
    """
    import torch

    from .packed import PackedSequences

    kwargs = dict(kwargs or {})
    _refuse_inputs(torch, (args, kwargs))
    failure: Exception | None = None
    with _ONE_AT_A_TIME, _as_evaluated(torch, module):
        for some_args, some_kwargs, dynamic in _attempts(torch, args, kwargs):
            packed = PackedSequences()
            try:
                with packed:
                    exported = _export(torch, module, some_args, some_kwargs, dynamic)
                saved = io.BytesIO()
                torch.export.save(exported, saved)
            # Of every kind: torch.export's own, and whatever forward raises.
            except Exception as error:
                if packed.refusal is not None:
                    raise packed.refusal from error
                failure = error
            else:
                return _without_stand_ins(_read(saved))
    first = next(iter(str(failure).strip().splitlines()), "")
    raise UnsupportedLayerError(
        f"the module cannot be exported by torch.export: {first or type(failure).__name__}"
    ) from failure


def _refuse_inputs(torch: Any, inputs: Any) -> None:
    rows = torch.nn.utils.rnn.PackedSequence
    leaves = torch.utils._pytree.tree_leaves(inputs, is_leaf=lambda x: isinstance(x, rows))
    if any(isinstance(leaf, rows) for leaf in leaves):
        raise UnsupportedLayerError(
            "a PackedSequence as the module's own input is not supported; wrap the module in one "
            "that takes the padded tensor and its lengths and calls pack_padded_sequence"
        )


@contextmanager
def _as_evaluated(torch: Any, module: Any) -> Iterator[None]:
    """Like module.eval() and no_grad, but every flag is put back, and nobody is told."""
    flags = [(part, part.training) for part in module.modules()]
    try:
        for part, _ in flags:
            part.training = False
        with torch.no_grad(), warnings.catch_warnings(), _silent_logs():
            warnings.simplefilter("ignore")
            yield
    finally:
        for part, training in flags:
            part.training = training


@contextmanager
def _silent_logs() -> Iterator[None]:
    """torch.export logs what it raises as well."""
    logger = logging.getLogger("torch")
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled


# ---- Sizes that may vary ------------------------------------------------------------------------


def _attempts(
    torch: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any], bool]]:
    """Inputs to export with, and whether their sizes may vary: the most general ones first.

    Which axes of size 1 are rows or steps is not known: all that may be are tried together, then
    each place alone.
    """
    ones = {
        axis
        for tensor in torch.utils._pytree.tree_leaves((args, kwargs))
        if isinstance(tensor, torch.Tensor)
        for axis, size in enumerate(tensor.shape[:2])
        if size == 1
    }
    for axes in [ones, *({axis} for axis in sorted(ones) if len(ones) > 1)]:
        yield *torch.utils._pytree.tree_map(_repeating(torch, axes), (args, kwargs)), True
    if ones:
        yield args, kwargs, True
    yield args, kwargs, False


def _repeating(torch: Any, axes: set[int]) -> Callable[[Any], Any]:
    def repeat(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        # Rows and steps unlike, lest they be taken for one.
        counts = [
            2 + axis if axis in axes and size == 1 else 1 for axis, size in enumerate(leaf.shape)
        ]
        return leaf.repeat(counts) if counts else leaf

    return repeat


def _export(
    torch: Any, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic: bool
) -> Any:
    shapes = None
    if dynamic:
        collection = torch.export.ShapesCollection()
        for tensor in torch.utils._pytree.tree_leaves((args, kwargs)):
            if isinstance(tensor, torch.Tensor) and tensor.dim():
                collection[tensor] = dict.fromkeys(range(tensor.dim()), torch.export.Dim.AUTO)
        shapes = collection.dynamic_shapes(module, args, kwargs)
    return torch.export.export(module, args, kwargs, dynamic_shapes=shapes, strict=False)


# ---- The program --------------------------------------------------------------------------------


def _read(saved: io.BytesIO) -> Program:
    size = saved.tell()
    saved.seek(0)
    try:
        return read_pt2_file(saved, budget_of(size, None))
    except ModelFileError as error:
        raise UnsupportedLayerError(str(error)) from error


def _without_stand_ins(program: Program) -> Program:
    """The program in torch's operators and "seqcore.ragged" alone.

    Raises
    ------
    UnsupportedLayerError
        Something takes a part of a PackedSequence, or lengths are not the caller's.
    """
    varying = {entry.name for entry in program.inputs if entry.dtype is not None}
    stand_ins: dict[str, str] = {}
    for node in program.nodes:
        read = _names(list(node.arguments.values()))
        made = {
            part for name in node.outputs for part in ([name] if type(name) is str else name or ())
        }
        for name in read & stand_ins.keys():
            where = f" ({node.source})" if node.source else ""
            raise UnsupportedLayerError(
                f"{stand_ins[name]} of a PackedSequence, which {node.target} takes{where}, cannot "
                "be followed; use pad_packed_sequence and change the padded tensor"
            )
        if node.target == RAGGED and node.arguments["lengths"].name not in varying:
            raise UnsupportedLayerError(
                "the lengths of a packed sequence are fixed, those of the example; make forward "
                "take them as a tensor, or compute them of its inputs"
            )
        if node.target in _STAND_INS:
            stand_ins.update(dict.fromkeys(made, _STAND_INS[node.target]))
        if read & varying:
            varying |= made
    if _names(list(program.outputs)) & stand_ins.keys():
        raise UnsupportedLayerError(
            "the module returns a PackedSequence, which is not supported; pad_packed_sequence first"
        )
    nodes = [
        replace(node, target=_RENAMED.get(node.target, node.target))
        for node in program.nodes
        if node.target not in _STAND_INS
    ]
    return replace(program, nodes=tuple(nodes))


def _each(output: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (output,) if isinstance(output, str) else output or ()


def _names(value: Any) -> set[str]:
    if isinstance(value, list):
        return {name for part in value for name in _names(part)}
    return {value.name} if isinstance(value, Ref) else set()
