"""Does my PyTorch module give the same numbers here, and how fast? torch and seqcore side by side.

    python examples/compare_with_torch.py model.py:make_model 3 20 64
    python examples/compare_with_torch.py model.pt2

takes a function or class of a Python file that makes a module, with the shape of an example input
(of floats; "3 20 int64" for token ids, which are then 0 and 1), or a .pt2 of torch.export. Without
arguments a small tagger is made that nobody trained. Both run on one thread. It needs torch.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import seqcore as sc

try:
    import torch
    from torch import nn
except ImportError:
    sys.exit("this compares with torch: pip install torch")

CALLS, LIMIT = 7, 0.5  # of a measurement: calls, and seconds after which they are enough
OTHERS = (1, 2, 7, 33)  # sizes that are tried in place of those of the example that may vary


class Tagger(nn.Module):
    """Words -> two LSTMs, both ways -> scores of tags."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(1000, 32)
        self.lstm = nn.LSTM(32, 48, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(96, 9)

    def forward(self, ids: Any) -> Any:
        return self.head(self.lstm(self.embed(ids))[0])


def module_of(place: str) -> Any:
    """Return what a function or class of a file makes: "file.py:make_model"."""
    file, _, name = place.rpartition(":")
    if not Path(file).is_file():
        sys.exit(f"{place}: expected FILE.py:NAME, or a .pt2; there is no file {file!r}")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    if spec is None or spec.loader is None:
        sys.exit(f"{file}: not a file of Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(Path(file).resolve().parent))
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        sys.exit(f"{file}: there is no {name!r}")
    return getattr(module, name)()


def example_of(words: Sequence[str]) -> NDArray[Any]:
    """Return an input of the shape that is given: "3 20 64", or "3 20 int64"."""
    whole = words[-1:] == ["int64"]
    try:
        shape = [int(word) for word in words[: len(words) - whole]]
    except ValueError:
        shape = []
    if not shape or min(shape) < 1:
        sys.exit(f"expected the shape of an example input, as in 3 20 64; found {' '.join(words)}")
    return values(shape, "int64" if whole else "float32")


def values(shape: Sequence[int], dtype: str) -> NDArray[Any]:
    """Return random numbers; ids are 0 or 1, which every vocabulary has."""
    rng = np.random.default_rng(0)
    if dtype == "int64":
        return rng.integers(0, 2, shape)
    return rng.normal(size=shape).astype(np.float32)


def shapes_of(inputs: Sequence[NDArray[Any]], sizes: Sequence[Any]) -> Iterator[list[list[int]]]:
    """Yield shapes of all inputs: the example's, then with one size changed, wherever it stands.

    Parameters
    ----------
    inputs : sequence of array
        The example.
    sizes : sequence of sequences of (int or str)
        Of every input as the program has them: a name for a size that may vary.
    """
    first = [list(each.shape) for each in inputs]
    yield first
    for name in dict.fromkeys(size for shape in sizes for size in shape if isinstance(size, str)):
        for other in OTHERS:
            changed = [
                [
                    other if size == name else own
                    for own, size in zip(each.shape, shape, strict=True)
                ]
                for each, shape in zip(inputs, sizes, strict=True)
            ]
            if changed != first:
                yield changed


def difference(ours: Any, theirs: Any) -> float:
    """Return the largest difference between all outputs."""
    found = ours if isinstance(ours, tuple) else (ours,)
    expected = [leaf for leaf in torch.utils._pytree.tree_leaves(theirs) if leaf is not None]
    worst = 0.0
    for one, other in zip(found, expected, strict=True):
        if one.shape != tuple(other.shape):
            sys.exit(f"outputs have other shapes: {one.shape}, torch {tuple(other.shape)}")
        gap = np.abs(one.astype(np.float64) - other.double().numpy())
        worst = max(worst, float(gap.max(initial=0.0)))
    return worst


def microseconds(call: Callable[[], Any]) -> float:
    """Return the median time of a warm call."""
    times: list[float] = []
    call()
    while len(times) < CALLS or (sum(times) < LIMIT / 10 and len(times) < 1000):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
        if sum(times) > LIMIT:
            break
    return 1e6 * statistics.median(times)


def compare(
    module: Any, model: sc.Model, inputs: Sequence[NDArray[Any]], sizes: Sequence[Any]
) -> None:
    """Print the largest difference and both times for every shape that both take."""
    print(model.summary(), end="\n\n")
    model = model.with_options(threads=1)
    torch.set_num_threads(1)
    print(f"{'inputs':<28}  difference  torch {torch.__version__.split('+')[0]:<8}  seqcore")
    for shapes in shapes_of(inputs, sizes):
        given = [values(s, str(each.dtype)) for s, each in zip(shapes, inputs, strict=True)]
        tensors = [torch.from_numpy(each) for each in given]
        told = ", ".join(str(tuple(shape)) for shape in shapes)
        with torch.no_grad():
            try:
                expected = module(*tensors)
            except (RuntimeError, AssertionError, ValueError, IndexError):
                continue  # this size does not vary
            try:
                gap = difference(model(*given), expected)
            except sc.ShapeError as error:
                print(f"{told:<28}  seqcore refuses it: {error}")
                continue
            slow = microseconds(lambda tensors=tensors: module(*tensors))  # type: ignore[misc]
        fast = microseconds(lambda given=given: model(*given))  # type: ignore[misc]
        print(f"{told:<28}  {gap:10.1e}  {slow:11,.0f} us  {fast:,.0f} us ({slow / fast:.1f} x)")


def sizes_of(program: Any, count: int) -> list[list[Any]]:
    """Return the sizes of every input of an exported program, names for those that vary."""
    nodes = {node.name: node for node in program.graph.nodes}
    names = program.graph_signature.user_inputs[:count]
    return [
        [size if isinstance(size, int) else str(size) for size in nodes[name].meta["val"].shape]
        for name in names
    ]


def compare_program(path: str) -> None:
    """Compare a .pt2 with torch's own run of it."""
    program = torch.export.load(path)
    model = sc.load(path)
    names = program.graph_signature.user_inputs
    nodes = {node.name: node for node in program.graph.nodes}
    sizes = sizes_of(program, len(names))
    inputs = [
        values(
            [int(size) if isinstance(size, int) else 8 for size in shape],
            "float32" if nodes[name].meta["val"].is_floating_point() else "int64",
        )
        for name, shape in zip(names, sizes, strict=True)
    ]
    compare(program.module(), model, inputs, sizes)


def compare_module(module: Any, example: NDArray[Any]) -> None:
    """Compare a live module; every size of the example is changed where the module lets it."""
    module = module.eval()
    model = sc.from_torch(module, example)
    compare(module, model, [example], [[f"size {axis}" for axis in range(example.ndim)]])


def main(arguments: Sequence[str]) -> None:
    """Compare a module of a file, a .pt2, or the small tagger."""
    warnings.simplefilter("ignore")  # of torch.export
    torch.manual_seed(0)
    try:
        if not arguments:
            compare_module(Tagger(), values((3, 20), "int64"))
        elif len(arguments) == 1 and arguments[0].endswith(".pt2"):
            compare_program(arguments[0])
        else:
            module = module_of(arguments[0])
            compare_module(module, example_of(arguments[1:]))
    except sc.SeqcoreError as error:
        sys.exit(f"seqcore: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
