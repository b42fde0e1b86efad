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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from typing import Any

from ...errors import ModelFileError, UnsupportedLayerError
from ...formats.opening import budget_of
from ...formats.pt2 import read_pt2_file
from ...formats.torch_programs import Program
from .index import made, refs

__all__ = ["RAGGED", "export_program"]

RAGGED = "seqcore.ragged.default"
# Operators of packed.py, which stand for torch's own until the graph is there.
_RENAMED = {
    f"seqcore.{name}.default": f"aten.{name}.input"
    for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")
} | {"seqcore.max_pool1d.default": "aten.max_pool1d.default"}
# The operators of packed.py that must not be left, and what they make.
_STAND_INS = {
    "seqcore.packed.default": "the data or batch_sizes",
    "seqcore.sorted_rows.default": "the sorted_indices",
}

# Flags of the module, and what torch keeps for the whole process, are changed for a while.
_ONE_AT_A_TIME = threading.Lock()


def export_program(
    module: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    *,
    fixed: str = "nothing",
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
    fixed : "nothing", "features" or "all"
        Which sizes are the example's for ever: of floats the last axis, or every size.

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
                    exported = _export(torch, module, some_args, some_kwargs, dynamic, fixed)
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
    """torch.export logs what it raises, and every size that is fixed; this thread's is left out."""
    thread = threading.get_ident()
    loggers = [
        logger
        for name, logger in list(logging.root.manager.loggerDict.items())
        if name.split(".")[0] == "torch" and isinstance(logger, logging.Logger)
    ]
    handlers = [handler for logger in loggers for handler in logger.handlers]

    def of_others(record: logging.LogRecord) -> bool:
        return record.thread != thread

    for handler in handlers:
        handler.addFilter(of_others)
    try:
        with redirect_stderr(io.StringIO()):  # where it prints the graph that it has so far
            yield
    finally:
        for handler in handlers:
            handler.removeFilter(of_others)


# ---- Sizes that may vary ------------------------------------------------------------------------


def _attempts(
    torch: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any], bool]]:
    """Inputs to export with, and whether their sizes may vary: the most general ones first."""
    leaves, tree = torch.utils._pytree.tree_flatten((args, kwargs))
    tried = set()
    for way in (*_WAYS, None):
        repeated = [_repeated(torch, leaf, place, way) for place, leaf in enumerate(leaves)]
        shapes = tuple(getattr(leaf, "shape", None) for leaf in repeated)
        if shapes not in tried:
            tried.add(shapes)
            yield *torch.utils._pytree.tree_unflatten(repeated, tree), True
    yield args, kwargs, False


# How often axes 0 and 1 of size 1 are repeated: rows twice, steps three times, lest they be taken
# for one another. First for a tensor of one axis, then for sequences, then for states, which are
# tensors of three axes but the first input. Which a tensor is nobody says, so all are tried.
_WAYS: tuple[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]], ...] = (
    ((2,), (2, 3), (2, 3)),
    ((2,), (2, 3), (1, 2)),
    ((2,), (3, 2), (3, 2)),
    ((2,), (3, 2), (1, 2)),
    ((2,), (2, 1), (2, 1)),
    ((2,), (2, 1), (1, 2)),
    ((2,), (1, 2), (1, 2)),
)


def _repeated(torch: Any, leaf: Any, place: int, way: tuple[tuple[int, ...], ...] | None) -> Any:
    """A tensor whose axes of size 1 are longer; what it holds does not matter."""
    if way is None or not isinstance(leaf, torch.Tensor) or 1 not in leaf.shape[:2]:
        return leaf
    counts = way[0 if leaf.dim() == 1 else 2 if leaf.dim() == 3 and place else 1]
    ones = [count if size == 1 else 1 for size, count in zip(leaf.shape, counts, strict=False)]
    return leaf.repeat(*ones, *[1] * (leaf.dim() - len(ones)))


def _export(
    torch: Any,
    module: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    dynamic: bool,
    fixed: str,
) -> Any:
    shapes = None
    if dynamic and fixed != "all":
        collection = torch.export.ShapesCollection()
        for tensor in torch.utils._pytree.tree_leaves((args, kwargs)):
            if isinstance(tensor, torch.Tensor) and tensor.dim():
                features = fixed == "features" and tensor.dim() > 1 and tensor.is_floating_point()
                axes = range(tensor.dim() - features)
                collection[tensor] = dict.fromkeys(axes, torch.export.Dim.AUTO)
        shapes = collection.dynamic_shapes(module, args, kwargs)
    exported = torch.export.export(module, args, kwargs, dynamic_shapes=shapes, strict=False)
    # How arguments and results nest is not wanted, and not every class of them can be saved.
    for entry in exported.module_call_graph:
        entry.signature = None
    exported.example_inputs = None
    return exported


# ---- The program --------------------------------------------------------------------------------


def _read(saved: io.BytesIO) -> Program:
    try:
        return read_pt2_file(saved, budget_of(saved.getbuffer().nbytes, None))
    except ModelFileError as error:
        # Without the member of an archive that nobody has seen.
        raise UnsupportedLayerError(str(error).split("model.json: ", 1)[-1]) from error


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
        read = set(refs(list(node.arguments.values())) or ())
        own = set(made(node))
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
            stand_ins.update(dict.fromkeys(own, _STAND_INS[node.target]))
        if read & varying:
            varying |= own
    if set(refs(list(program.outputs)) or ()) & stand_ins.keys():
        raise UnsupportedLayerError(
            "the module returns a PackedSequence, which is not supported; pad_packed_sequence first"
        )
    nodes = [
        replace(node, target=_RENAMED.get(node.target, node.target))
        for node in program.nodes
        if node.target not in _STAND_INS
    ]
    return replace(program, nodes=tuple(nodes))
