"""From modules of torch to models by all ways there are, compared with torch; no test is here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tolerances import FLOAT32, close
from torch import nn

import seqcore as sc
from seqcore.errors import SeqcoreError


def flat(value: Any) -> list[np.ndarray]:
    return [leaf.numpy() for leaf in torch.utils._pytree.tree_leaves(value)]


def in_torch(module: nn.Module, given: Sequence[Any]) -> list[np.ndarray]:
    with torch.no_grad():
        return flat(module(*given))


def in_ours(model: sc.Model, given: Sequence[Any]) -> list[np.ndarray]:
    results = model(*flat(tuple(given)))
    return list(results) if isinstance(results, tuple) else [results]


def agree(
    found: Sequence[np.ndarray], wanted: Sequence[np.ndarray], depth: int, of: Sequence[Any] = ()
) -> None:
    """Assert equal outputs; `of` says what each is of."""
    assert len(found) == len(wanted)
    labels = of or range(len(found))
    for ours, theirs, label in zip(found, wanted, labels, strict=True):
        assert ours.shape == theirs.shape, f"{label}: {ours.shape}, not {theirs.shape}"
        finite = np.isfinite(theirs)
        close(np.where(finite, ours, 0), np.where(finite, theirs, 0), FLOAT32[depth], str(label))
        np.testing.assert_array_equal(ours[~finite], theirs[~finite], err_msg=str(label))


def differs(found: Sequence[np.ndarray], wanted: Sequence[np.ndarray], depth: int) -> bool:
    """Tell whether `agree` fails."""
    try:
        agree(found, wanted, depth)
    except AssertionError:
        return True
    return False


def notices(model: Any, given: Sequence[Any], wanted: Sequence[np.ndarray], depth: int) -> bool:
    """Tell whether what `model` makes gives another answer, or none."""
    try:
        return differs(in_ours(model(), given), wanted, depth)
    except SeqcoreError:
        return True


def exported(
    module: nn.Module, example: tuple[Any, ...], folder: Path, shapes: Any = None
) -> sc.Model:
    """Return the model of a .pt2; `shapes` are the dynamic_shapes of torch.export."""
    with torch.no_grad():
        program = torch.export.export(module.eval(), example, dynamic_shapes=shapes)
    torch.export.save(program, folder / "module.pt2")
    return sc.load(folder / "module.pt2")


def pickled(module: nn.Module, folder: Path, *, zipped: bool) -> sc.Model:
    path = folder / f"module-{zipped}.pt"
    torch.save(module, path, _use_new_zipfile_serialization=zipped)
    return sc.load(path)
