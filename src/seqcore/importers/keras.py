"""Whole Keras models in HDF5 (Keras 2, tf.keras 2, Keras 3's legacy .h5) -> Model.

Here is how a file's layers are called and become a graph. Bytes are formats/hdf5.py's; what one
layer means is keras_layers.py's. Three passes: every layer is translated into a `Recipe`, so that
one error can list all that is unsupported; then each recipe gets its weights; then the layers are
called.
"""

from __future__ import annotations

import itertools
import os
import re
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ..errors import (
    DtypeError,
    GraphError,
    ModelFileError,
    OptionError,
    ShapeError,
    UnsupportedLayerError,
    WeightsError,
)
from ..formats.hdf5 import KerasH5, read_keras_h5
from ..layers import Input, Layer, Symbol
from ..model import Model
from .keras_layers import (
    Config,
    NotSupportedError,
    Recipe,
    check_input,
    checked_weights,
    recipe_of,
    short,
)

__all__ = ["load_h5"]

Reference = tuple[str, int, int]  # layer, which of its calls, which of the call's outputs


def load_h5(path: str | os.PathLike[str]) -> Model:
    """Load a whole model that Keras 2 or 3 saved with ``model.save("x.h5")``.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Model
        Inputs and outputs in Keras's order. An input that an Embedding reads takes integer ids,
        whatever dtype the file gives it. Weights stored as float16 or float64 are converted to
        float32, as Keras does on loading.

    Raises
    ------
    UnsupportedLayerError
        Listing every layer that is not supported, or has an option that is not.
    WeightsError
        A weight is missing, left over, or has another shape than the config says.
    ModelFileError
        The file is damaged, contradicts itself, carries no config, or is not by Keras 2 or 3.
    MissingExtraError
        h5py is not installed.
    """
    file = read_keras_h5(path)
    try:
        return _Importer(file).model()
    except (OptionError, GraphError, ShapeError, DtypeError) as error:
        raise ModelFileError(f"{file.source}: {error}") from error
    except WeightsError as error:
        raise WeightsError(f"{file.source}: {error}") from error


# ---- Calls --------------------------------------------------------------------------------------


def _references(node: Any, major: int, c: Config) -> list[Reference]:
    """Return what one call of a layer reads; refuse arguments that change results."""
    found: list[Reference] = []
    if major == 3:
        if not isinstance(node, dict) or not isinstance(node.get("args"), list):
            c.contradicts(f"a call without args: {short(node)}")
        if not isinstance(node.get("kwargs"), dict):
            c.contradicts(f"a call without kwargs: {short(node)}")
        arguments = dict(node["kwargs"])
        found = _tensors([node["args"], arguments.pop("initial_state", None)], c)
        _check_arguments(arguments)
        return found
    for item in node if isinstance(node, list) else [node]:
        if isinstance(item, list) and len(item) == 4 and isinstance(item[3], dict):
            _check_arguments(item[3])
            item = item[:3]
        found.append(_reference(item, c))
    return found


def _tensors(arguments: Any, c: Config) -> list[Reference]:
    """Return the tensors among a Keras 3 call's arguments: lists flattened, None skipped."""
    if arguments is None:
        return []
    if isinstance(arguments, list):
        return [reference for item in arguments for reference in _tensors(item, c)]
    if isinstance(arguments, dict) and arguments.get("class_name") == "__keras_tensor__":
        config = arguments.get("config")
        return [_reference(config.get("keras_history") if isinstance(config, dict) else None, c)]
    raise NotSupportedError(f"called with the constant {short(arguments)}")


def _reference(item: Any, c: Config) -> Reference:
    fits = isinstance(item, list) and len(item) == 3 and isinstance(item[0], str)
    if not fits or not all(type(index) is int and index >= 0 for index in item[1:]):
        c.contradicts(f"expected [layer, call, output]; found {short(item)}")
    return (item[0], item[1], item[2])


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    for option, value in arguments.items():
        if value is not None and not (option == "training" and value is False):
            raise NotSupportedError(f"called with {option}={short(value)}")


# ---- The model ----------------------------------------------------------------------------------


@dataclass
class _Node:
    """A layer of the config with its calls: an `Input`, or a recipe from which a layer is built."""

    config: Config
    recipe: Recipe | None
    calls: list[list[Reference]]


class _Importer:
    """One file on its way to a model."""

    def __init__(self, file: KerasH5) -> None:
        self.file = file
        self.source = file.source
        self.major = self._major()
        self.unsupported: list[tuple[str, str]] = []

    def refuse(self, why: str) -> NoReturn:
        raise ModelFileError(f"{self.source}: {why}")

    def _major(self) -> int:
        match = re.match(r"(\d+)\.", self.file.version or "")
        if not match or match[1] not in ("2", "3"):
            told = (
                "does not say" if self.file.version is None else f"says {short(self.file.version)}"
            )
            self.refuse(f"expected a file of Keras 2 or 3; its keras_version {told}")
        return int(match[1])

    def model(self) -> Model:
        kind, config = self.file.config.get("class_name"), self.file.config.get("config")
        if kind == "Sequential":
            return self._sequential(config)
        if kind not in ("Functional", "Model"):
            why = f"the model's class {short(kind)} is not Sequential or Functional"
            raise UnsupportedLayerError([("model", why)], self.source)
        if not isinstance(config, dict):
            self.refuse("the model has no config")
        nodes = self._nodes(config.get("layers"), functional=True)
        ends = [self._ends(config, key, nodes) for key in ("input_layers", "output_layers")]
        made = self._made(nodes)
        return self._model(*([self._symbol(made, reference) for reference in end] for end in ends))

    def _sequential(self, config: Any) -> Model:
        """Import a chain as the functional graph that it is."""
        entries = config if isinstance(config, list) else None  # a list alone before Keras 2.2.3
        built = None
        if isinstance(config, dict):
            entries, built = config.get("layers"), config.get("build_input_shape")
        if not isinstance(entries, list) or not entries:
            self.refuse("a Sequential without layers")
        first = Config(self.source, self.major, entries[0])
        if first.kind != "InputLayer":
            shape = first.values.get("batch_input_shape", first.values.get("batch_shape", built))
            name = f"{first.name}_input"
            values = {"name": name, "batch_shape": shape, "dtype": "float32"}
            entries = [{"class_name": "InputLayer", "config": values}, *entries]
        nodes = self._nodes(entries, functional=False)
        names = list(nodes)
        for before, name in itertools.pairwise(names):
            if nodes[name].recipe is None:
                nodes[name].config.contradicts("an InputLayer behind other layers of a Sequential")
            nodes[name].calls = [[(before, 0, 0)]]
        made = self._made(nodes)
        several = [
            (f"{name} ({nodes[name].config.kind})", "several outputs within a Sequential")
            for name in names[:-1]
            if len(made[name, 0]) > 1
        ]
        if several:
            raise UnsupportedLayerError(several, self.source)
        return self._model(made[names[0], 0], made[names[-1], 0])

    def _nodes(self, entries: Any, functional: bool) -> dict[str, _Node]:
        """Translate every layer; raise UnsupportedLayerError for all that cannot be."""
        if not isinstance(entries, list):
            self.refuse(f"expected a list of layers; found {short(entries)}")
        nodes: dict[str, _Node] = {}
        unsupported = []
        for entry in entries:
            own = entry.get("name") if isinstance(entry, dict) and functional else None
            config = Config(self.source, self.major, entry, own)
            if config.name in nodes:
                self.refuse(f"two layers are named {config.name!r}")
            node = nodes[config.name] = _Node(config, None, [])
            try:
                if config.kind == "InputLayer":
                    check_input(config)
                else:
                    node.recipe = recipe_of(config)
                if functional:
                    node.calls = self._calls(config)
            except NotSupportedError as reason:
                unsupported.append((f"{config.name} ({config.kind})", str(reason)))
        if unsupported:
            raise UnsupportedLayerError(unsupported, self.source)
        return nodes

    def _calls(self, config: Config) -> list[list[Reference]]:
        calls = config.entry.get("inbound_nodes")
        if not isinstance(calls, list) or (calls and config.kind == "InputLayer"):
            config.contradicts(f"inbound_nodes is {short(calls)}")
        return [_references(call, self.major, config) for call in calls]

    def _ends(
        self, config: Mapping[str, Any], key: str, nodes: Mapping[str, _Node]
    ) -> list[Reference]:
        """Return input_layers or output_layers: a list of references, or one alone."""
        listed = config.get(key)
        if isinstance(listed, dict):
            raise UnsupportedLayerError(
                [("model", f"{key} is a dictionary, not a list")], self.source
            )
        if not isinstance(listed, list) or not listed:
            self.refuse(f"{key} is {short(listed)}; expected a list")
        owner = next(iter(nodes.values())).config if nodes else self.refuse("no layers")
        return [
            _reference(item, owner) for item in ([listed] if isinstance(listed[0], str) else listed)
        ]

    def _made(self, nodes: Mapping[str, _Node]) -> dict[tuple[str, int], Sequence[Symbol]]:
        """Build and call every layer; return what each call of each layer returned."""
        readers: dict[str, list[str]] = defaultdict(list)
        for name, node in nodes.items():
            for reference in (reference for call in node.calls for reference in call):
                readers[reference[0]].append(name)
        made: dict[tuple[str, int], Sequence[Symbol]] = {}
        for name, node in nodes.items():
            if node.recipe is None:
                ids = any(recipe.ids for r in readers[name] if (recipe := nodes[r].recipe))
                made[name, 0] = (self._input(node.config, ids),)
        self._call_all(nodes, self._built(nodes), made)
        return made

    def _model(self, inputs: Sequence[Symbol], outputs: Sequence[Symbol]) -> Model:
        if not all(isinstance(symbol, Input) for symbol in inputs):
            self.refuse("input_layers lists a layer that is no InputLayer")
        try:
            return Model(inputs, outputs)  # type: ignore[arg-type]
        except (GraphError, ShapeError) as error:
            # What the plan says of one layer is about what Keras runs and this library does not:
            # merges of unequal ranks, token ids read by another layer than Embedding.
            found = re.fullmatch(r"layer '(.+?)' \((\w+)\): (.+)", str(error), re.DOTALL)
            if not found:
                raise
            reason = (f"{found[1]} ({found[2]})", found[3])
            raise UnsupportedLayerError([reason], self.source) from error

    def _built(self, nodes: Mapping[str, _Node]) -> dict[str, Layer]:
        """Build every layer; each array of the file is used once."""
        weights = dict(self.file.weights)
        built: dict[str, Layer] = {}
        for name, node in nodes.items():
            found = weights.pop(name, [])
            recipe = node.recipe or Recipe(lambda _: Layer())
            arrays = checked_weights(recipe, found, f"layer {name!r}")
            if node.recipe is not None:
                built[name] = recipe.build(arrays)
        left_over = [f"{name}: {path}" for name, found in weights.items() for path, _ in found]
        if left_over:
            raise WeightsError(f"weights of layers that are not in the config: {left_over[:5]}")
        return built

    def _call_all(
        self,
        nodes: Mapping[str, _Node],
        built: Mapping[str, Layer],
        made: dict[tuple[str, int], Sequence[Symbol]],
    ) -> None:
        """Call every layer as often as the file does, each call when all that it reads is there."""
        waiting: dict[tuple[str, int], int] = {}
        readers: dict[tuple[str, int], list[tuple[str, int]]] = defaultdict(list)
        for name, node in nodes.items():
            for index, call in enumerate(node.calls):
                sources = {(reference[0], reference[1]) for reference in call}
                waiting[name, index] = len(sources)
                for source in sources:
                    readers[source].append((name, index))
        ready = deque(made)
        while ready:
            for key in readers[ready.popleft()]:
                waiting[key] -= 1
                if not waiting[key]:
                    call = nodes[key[0]].calls[key[1]]
                    symbols = [self._symbol(made, reference) for reference in call]
                    made[key] = self._called(built[key[0]], nodes[key[0]].recipe, symbols)
                    ready.append(key)
        stuck = sorted({name for name, index in waiting if (name, index) not in made})
        if stuck:
            self.refuse(f"layers that read each other, or something that is not there: {stuck[:5]}")

    def _called(
        self, layer: Layer, recipe: Recipe | None, symbols: Sequence[Symbol]
    ) -> Sequence[Symbol]:
        states = symbols[1:] if recipe and recipe.recurrent else []
        given = symbols[: len(symbols) - len(states)]
        result = layer(*given, initial_state=list(states)) if states else layer(*given)
        return result if isinstance(result, tuple) else (result,)

    def _symbol(
        self, made: Mapping[tuple[str, int], Sequence[Symbol]], reference: Reference
    ) -> Symbol:
        name, call, output = reference
        symbols = made.get((name, call), ())
        if output >= len(symbols):
            self.refuse(f"there is no output {output} of call {call} of a layer {name!r}")
        return symbols[output]

    def _input(self, c: Config, ids: bool) -> Input:
        shape = c.values.get("batch_shape", c.values.get("batch_input_shape"))
        if not isinstance(shape, list) or len(shape) < 2:
            c.contradicts(f"expected the shape of its input with the batch; found {short(shape)}")
        return Input(shape[1:], dtype="int64" if ids else "float32", name=c.name)
