"""What torch.export.save writes (.pt2): a graph in JSON and weights as raw bytes, in a zip archive.

    <root>/archive_format, archive_version, byteorder        "pt2", "0", "little" or "big"
    <root>/models/<model>.json                               the program: pt2_graph.py
    <root>/data/weights/<model>_weights_config.json          for each weight its member, dtype,
    <root>/data/constants/<model>_constants_config.json      sizes, strides and offset
    <root>/data/weights/weight_<n>, data/constants/tensor_<n>

Torch 2.8 wrote <model>.pt, a torch.save archive, in place of a config and its members. Before, all
lay flat: serialized_exported_program.json, serialized_state_dict.pt and serialized_constants.pt.
Both are read. No member is unpickled but by pickles.py, which runs nothing; what torch itself would
have to unpickle (tensors of other classes, objects) is refused, and sample inputs are not read.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from ..errors import ModelFileError
from .arrays import Budget, shorten
from .json_texts import parse_json
from .opening import budget_of, reading
from .pt2_graph import ExportedGraph, Lifted, read_graph
from .pt2_symbols import size_expression
from .pt2_values import TensorMeta, member, read_list, read_meta, read_string
from .torch_archive import Member, load_torch
from .torch_programs import Program
from .torch_tensors import PendingTensor, TorchDtype, TypedStorage, is_supported
from .values import settle
from .zips import MAGIC, Archive

__all__ = ["is_pt2", "read_pt2", "read_pt2_file"]

# torch.export's own version of the JSON: 5 is torch 2.4, 7 is 2.5, 8 is 2.6 to 2.13. What changed
# between them does not concern a reader, and minor numbers never do.
SCHEMAS = range(5, 9)

MAX_JSON = 8 << 20  # characters: 8,000 operators, most of it where they stand in the code
MAX_DEPTH = 100  # ten, and ten more for each graph in a graph
_NO_BOUND = 1 << 62  # torch 2.4 wrote some such number where there is none
_MAX_SMALL = 64  # bytes of archive_format and its like

_FLAT = "serialized_exported_program.json"


def is_pt2(archive: Archive) -> bool:
    """Tell whether a zip archive is one of torch.export, old or new, by its members."""
    if _FLAT in archive:
        return True
    root = _root(archive)
    return root is not None and (
        f"{root}/archive_format" in archive or f"{root}/models/model.json" in archive
    )


def read_pt2(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> Program:
    """Read a program that torch.export.save wrote. Nothing in it is executed.

    Parameters
    ----------
    path : path-like
        Of torch 2.4 or newer.
    max_bytes : int, optional
        The most bytes that the file may unpack to, all that is read on the way included. Default:
        256 MiB and 16 times its size.

    Returns
    -------
    Program

    Raises
    ------
    ModelFileError
        The file is truncated, foreign or hostile, contradicts itself, is of a version that is not
        known, or holds what is not supported.
    OSError
        The file is missing or cannot be read.
    """
    with reading(path) as (file, size):
        return read_pt2_file(file, budget_of(size, max_bytes))


def read_pt2_file(file: BinaryIO, budget: Budget) -> Program:
    """Read an open file, or one in memory, as `read_pt2` does; errors do not name it."""
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        raise ModelFileError("expected an archive of torch.export; this is no zip archive")
    archive = Archive(file, budget)
    if _FLAT in archive:
        return _Flat(archive, budget).program()
    root = _root(archive)
    if root is None or not is_pt2(archive):
        raise ModelFileError("expected an archive of torch.export; this is another zip archive")
    return _Packed(archive, root, budget).program()


def _root(archive: Archive) -> str | None:
    roots = {name.split("/")[0] for name in archive.names}
    return roots.pop() if len(roots) == 1 else None


# ---- The two layouts ----------------------------------------------------------------------------


class _Layout:
    """What both layouts share: JSON, its version, and pickled state_dicts."""

    def __init__(self, archive: Archive, budget: Budget) -> None:
        self.archive, self.budget = archive, budget

    def json(self, name: str) -> dict[str, Any]:
        if self.archive.size(name) > 4 * MAX_JSON:
            raise ModelFileError(f"{name} has {self.archive.size(name)} bytes")
        try:
            text = self.archive.read(name).decode()
        except UnicodeDecodeError as error:
            raise ModelFileError(f"{name} is no UTF-8: {error}") from error
        # As words until torch 2.4, as strings since.
        return parse_json(text, name, max_length=MAX_JSON, max_depth=MAX_DEPTH, not_finite=True)

    def graph(self, name: str) -> tuple[ExportedGraph, dict[str, Any]]:
        """The graph of a member, and what else of a Program stands beside it."""
        program = self.json(name)
        try:
            _check_version(program)
            version = program.get("torch_version", "")
            if type(version) is not str or len(version) > 100:
                raise ModelFileError(f"torch_version {shorten(version)}")
            beside = {
                "torch_version": version,
                "ranges": _ranges(member(program, "range_constraints", dict)),
                "guards": tuple(map(read_string, read_list(program.get("guards_code", [])))),
            }
            return read_graph(member(program, "graph_module", dict)), beside
        except ModelFileError as error:
            raise ModelFileError(f"{name}: {error}") from error

    def pickled(self, name: str) -> Mapping[str, Any]:
        """A dict of tensors that torch.save wrote, in a member; empty if that is."""
        data = self.archive.read(name)
        if not data:
            return {}
        try:
            inner = Archive(io.BytesIO(data), self.budget)
            root = _root(inner)
            if root is None or f"{root}/data.pkl" not in inner:
                raise ModelFileError("expected an archive of torch.save")
            found = settle(load_torch(inner, root, self.budget), keep_stubs=True)
            if not isinstance(found, dict):
                raise ModelFileError(f"holds a {type(found).__name__}, expected a dict of tensors")
        except ModelFileError as error:
            raise ModelFileError(f"{name}: {error}") from error
        return found

    def assembled(self, graph: ExportedGraph, beside: dict[str, Any], tensors: _Tensors) -> Program:
        constants = {}
        for lifted in graph.lifted:
            array = tensors.array(lifted)
            expected = graph.shapes.get(lifted.name)
            dtype = graph.dtypes.get(lifted.name)
            if expected != array.shape or _NUMPY_NAMES.get(str(dtype), dtype) != array.dtype.name:
                raise ModelFileError(
                    f"{shorten(lifted.path)}: the graph has shape {shorten(expected)} of {dtype}, "
                    f"its weights {array.shape} of {array.dtype.name}"
                )
            array.flags.writeable = False
            constants[lifted.name] = array
        return Program(
            graph.inputs,
            graph.outputs,
            graph.nodes,
            constants,
            {lifted.name: lifted.path for lifted in graph.lifted if lifted.learnt},
            graph.shapes,
            graph.dtypes,
            sizes=graph.sizes,
            **beside,
        )


def _ranges(constraints: dict[str, Any]) -> dict[str, tuple[int | None, int | None]]:
    ranges = {}
    for name in constraints:
        constraint = member(constraints, name, dict)
        bounds = [constraint.get(key) for key in ("min_val", "max_val")]
        if any(bound is not None and type(bound) is not int for bound in bounds):
            raise ModelFileError(f"the range of {shorten(name)} is not one of integers")
        least, most = (None if n is None or abs(n) >= _NO_BOUND else n for n in bounds)
        ranges[size_expression(name)] = least, most
    return ranges


_NUMPY_NAMES = {"bfloat16": "float32"}


def _check_version(program: dict[str, Any]) -> None:
    version = program.get("schema_version")
    if isinstance(version, dict):
        version = version.get("major")
    if type(version) is not int or version not in SCHEMAS:
        raise ModelFileError(
            f"written with version {shorten(version)} of torch.export's schema; versions "
            f"{SCHEMAS[0]} to {SCHEMAS[-1]} are read, which torch 2.4 to 2.13 write"
        )


class _Packed(_Layout):
    """The layout of torch 2.8 and newer, under one folder."""

    def __init__(self, archive: Archive, root: str, budget: Budget) -> None:
        super().__init__(archive, budget)
        self.root = root

    def program(self) -> Program:
        self.expect("archive_format", "pt2")
        self.expect("archive_version", "0")
        order = {"little": "<", "big": ">"}[self.expect("byteorder", "little", "big")]
        folder = f"{self.root}/models/"
        models = [name for name in self.archive.names if name.startswith(folder)]
        if len(models) != 1 or not models[0].endswith(".json"):
            if any(n.startswith(f"{self.root}/data/aotinductor/") for n in self.archive.names):
                raise ModelFileError("holds machine code of AOTInductor; save the exported program")
            listed = ", ".join(shorten(name.removeprefix(folder)) for name in models[:5])
            raise ModelFileError(f"holds {len(models)} programs ({listed}), expected one")
        name = models[0].removeprefix(folder).removesuffix(".json")
        graph, beside = self.graph(models[0])
        tensors = _Tensors(
            self.payloads("weights", name, order), self.payloads("constants", name, order)
        )
        return self.assembled(graph, beside, tensors)

    def expect(self, name: str, *values: str) -> str:
        name = f"{self.root}/{name}"
        if name not in self.archive and name.endswith("byteorder"):
            return values[0]
        found = self.archive.read(name) if self.archive.size(name) <= _MAX_SMALL else b"..."
        for value in values:
            if found.strip() == value.encode():
                return value
        raise ModelFileError(f"{name} is {shorten(found)}, expected {' or '.join(values)}")

    def payloads(self, kind: str, model: str, order: str) -> _Source:
        folder = f"{self.root}/data/{kind}"
        pickled, config = f"{folder}/{model}.pt", f"{folder}/{model}_{kind}_config.json"
        if pickled in self.archive and config not in self.archive:
            return self.pickled(pickled)
        try:
            return _Payloads(
                self.archive, self.budget, folder, member(self.json(config), "config", dict), order
            )
        except ModelFileError as error:
            raise ModelFileError(f"{config}: {error}") from error


class _Flat(_Layout):
    """The layout of torch 2.4 to 2.7."""

    def program(self) -> Program:
        graph, beside = self.graph(_FLAT)
        weights, constants = (
            self.pickled(name) for name in ("serialized_state_dict.pt", "serialized_constants.pt")
        )
        return self.assembled(graph, beside, _Tensors(weights, constants))


# ---- Weights ------------------------------------------------------------------------------------


class _Payloads(Mapping[str, np.ndarray]):
    """The tensors that a config lists, each read when it is asked for."""

    def __init__(
        self, archive: Archive, budget: Budget, folder: str, config: dict[str, Any], order: str
    ) -> None:
        self.archive, self.budget, self.folder = archive, budget, folder
        self.config, self.order = config, order
        self.storages: dict[str, TypedStorage] = {}
        # Weights that are tied are one array, as nobody writes to it.
        self.arrays: dict[tuple[str, TensorMeta], np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.config)

    def __iter__(self) -> Any:
        return iter(self.config)

    def __contains__(self, path: object) -> bool:
        return path in self.config

    def __getitem__(self, path: str) -> np.ndarray:
        entry = self.config[path]
        if member(entry, "use_pickle", bool):
            raise ModelFileError(
                "a pickled tensor of another class or an object, which is not supported"
            )
        name = member(entry, "path_name", str)
        # A member of this folder, whatever other paths zip allows.
        if not name.isascii() or not name.replace("_", "").isalnum():
            raise ModelFileError(f"its member is named {shorten(name)}")
        meta = read_meta(member(entry, "tensor_meta", dict))
        if (name, meta) not in self.arrays:
            self.arrays[name, meta] = self.read(name, meta)
        return self.arrays[name, meta]

    def read(self, name: str, meta: TensorMeta) -> np.ndarray:
        if not is_supported(meta.dtype):
            raise ModelFileError(f"dtype {meta.dtype} is not supported")
        if name not in self.storages:
            where = f"{self.folder}/{name}"
            size = self.archive.size(where)
            self.storages[name] = TypedStorage(Member(self.archive, where, size), None, 0, size)
        view = (meta.offset, meta.sizes, meta.strides)
        dtype = TorchDtype(meta.dtype)
        return PendingTensor(self.storages[name], dtype, view, self.order, self.budget).finish()


_Source = Mapping[str, Any]


class _Tensors:
    """Weights and constants by their paths."""

    def __init__(self, weights: _Source, constants: _Source) -> None:
        self.weights, self.constants = weights, constants

    def array(self, lifted: Lifted) -> np.ndarray:
        """The array of a parameter, buffer or constant; raises ModelFileError with its path."""
        source = self.weights if lifted.stored else self.constants
        if lifted.path not in source:
            kind = "weights" if lifted.stored else "constants"
            raise ModelFileError(f"{shorten(lifted.path)} is missing from the {kind}")
        try:
            array = source[lifted.path]
        except ModelFileError as error:
            raise ModelFileError(f"{shorten(lifted.path)}: {error}") from error
        if not isinstance(array, np.ndarray):
            raise ModelFileError(f"{shorten(lifted.path)} is no tensor")
        return array
