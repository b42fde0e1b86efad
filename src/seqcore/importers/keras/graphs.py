"""Configs of whole models: how layers are called, as one `Composite` of layers without weights.

Calls are calls.py's, what one layer means classes.py's, operations outside of layers are
operations.py's. A model inside a model is a Composite too. Everything that is not supported is
collected, so that one error lists it all.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ...errors import GraphError, ModelFileError, UnsupportedLayerError
from ...graph import Mask
from ...layers import Activation, Composite, Input, Layer, Symbol, TimeDistributed, snake_case
from .booleans import Boolean, mask_of
from .calls import KerasCall, Node, Reference, calls_of, ends_of, references
from .classes import CLASSES, layer_of
from .config import (
    MODELS,
    Config,
    NotSupportedError,
    Option,
    Version,
    ignored,
    only,
    plain,
    short,
)
from .operations import is_known, is_operation, name_of, reads_ids, run
from .taken_masks import TakenMasks, Tensors

__all__ = ["INPUT_OPTIONS", "ModelReader"]

_INPUT_DTYPES = frozenset(
    ["float32", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"]
)


def _input_dtype(_c: Config, option: str, value: Any) -> None:
    if isinstance(value, dict):
        config = value.get("config")
        value = config.get("name") if isinstance(config, dict) else value
    if value is not None and not (isinstance(value, str) and value in _INPUT_DTYPES):
        raise NotSupportedError(f"an input of {option} {short(value)} is not supported")


INPUT_OPTIONS = {
    "dtype": Option(", ".join(sorted(_INPUT_DTYPES)), _input_dtype, None, kept=False),
    "type_spec": only(None, "inputs are dense arrays"),
    "input_tensor": ignored("it is the graph's own"),
}


class _CollectedError(NotSupportedError):
    """What is not supported is on the list already."""


class ModelReader:
    """The configs of one file on their way to layers.

    Parameters
    ----------
    source : str
        The file, for messages.
    version : Version
        Keras's.

    Attributes
    ----------
    names, stems : dict of Layer to str
        What the file calls a layer, and its class in snake_case.
    frozen : set of Layer
        Layers that were not trained.
    """

    def __init__(self, source: str, version: Version) -> None:
        self.source = source
        self.version = version
        self.unsupported: list[tuple[str, str]] = []
        self.names: dict[Layer, str] = {}
        self.stems: dict[Layer, str] = {}
        self.frozen: set[Layer] = set()
        self.tensors: dict[Layer, Tensors] = {}  # of models inside others
        self.scope = ""  # of the model that is being read

    def refuse(self, why: str) -> NoReturn:
        raise ModelFileError(f"{self.source}: {why}")

    def read(self, entry: Any) -> Composite:
        """Return a whole model, without weights.

        Raises
        ------
        UnsupportedLayerError
            Listing all that is not supported.
        ModelFileError
            The config contradicts itself.
        """
        kind = entry.get("class_name") if isinstance(entry, dict) else None
        if kind not in MODELS:
            why = f"the model's class {short(kind)} is not Sequential or Functional"
            raise UnsupportedLayerError([("model", why)], self.source)
        c = Config(self.source, self.version, entry, nested=self._nested)
        try:
            return self._model(c, top=True)
        except _CollectedError:
            pass
        except NotSupportedError as reason:
            self.unsupported.append((c.label, str(reason)))
        raise UnsupportedLayerError(self.unsupported, self.source)

    def _nested(self, c: Config) -> Composite:
        outer = self.scope
        self.scope = f"{outer}{plain(c.name)}/"
        try:
            return self._model(c, top=False)
        finally:
            self.scope = outer

    def _collect(self, c: Config, reason: NotSupportedError) -> None:
        if not isinstance(reason, _CollectedError):
            self.unsupported.append((self.scope + c.label, str(reason)))

    def _collect_operations(self, nodes: Mapping[str, Node]) -> None:
        """Note operations that are not known: those behind something else were never run."""
        listed = {label for label, _ in self.unsupported}
        for node in nodes.values():
            c = node.config
            if is_operation(c) and not is_known(c) and self.scope + c.label not in listed:
                why = f"the operation {short(name_of(c))} is not supported"
                self._collect(c, NotSupportedError(why))

    # ---- Models

    def _model(self, c: Config, top: bool) -> Composite:
        if c.entry.get("registered_name") not in (None, *MODELS):
            raise NotSupportedError(f"{short(c.entry['registered_name'])} is a class of the user's")
        entries = c.values.get("layers")
        if not isinstance(entries, list) or not entries:
            self.refuse(f"{short(c.name)}: expected a list of layers; found {short(entries)}")
        chain = c.kind == "Sequential"
        before = len(self.unsupported)
        nodes = self._nodes(c, self._with_input(c, entries, top) if chain else entries, chain)
        names = list(nodes)
        if chain:
            inputs, outputs = [Reference(names[0], 0, 0)], [Reference(names[-1], 0, 0)]
        else:
            inputs, outputs = ends_of(c, "input_layers"), ends_of(c, "output_layers")
        if len(self.unsupported) > before:
            self._collect_operations(nodes)
            raise _CollectedError
        outputs = self._renumber(nodes, outputs)
        made = self._made(nodes, {reference.layer for reference in inputs})
        taken = self._call_all(nodes, made, outputs)
        if len(self.unsupported) > before:
            self._collect_operations(nodes)
            raise _CollectedError
        if chain:
            self._check_chain(nodes, made)
            outputs = [Reference(names[-1], 0, k) for k in range(len(made[names[-1], 0]))]
        ends = [self._symbol(made, end) for end in outputs]
        if not top:
            bare = [taken.is_taken(end) for end in outputs]
            ends = [_without_mask(end) if b else end for end, b in zip(ends, bare, strict=True)]
        sources = [self._symbol(made, end) for end in inputs]
        if not all(isinstance(symbol, Input) for symbol in sources):
            self.refuse(f"{short(c.name)}: input_layers lists a layer that is no InputLayer")
        layers = [node.layer for node in nodes.values() if node.layer is not None]
        composite = Composite(sources, ends, layers=layers, name=c.name)
        self.tensors[composite] = taken.tensors(inputs, outputs)
        return composite

    def _renumber(self, nodes: Mapping[str, Node], outputs: Sequence[Reference]) -> list[Reference]:
        """Count calls of models from 0: Keras counts the making of a model as the first.

        Keras 3 does so in output_layers alone, and not of a Sequential.
        """
        if self.version.major == 3:
            return [
                end._replace(call=end.call - 1)
                if end.layer in nodes and nodes[end.layer].config.kind in ("Functional", "Model")
                else end
                for end in outputs
            ]
        read = defaultdict(set)
        for reference in (*outputs, *(r for n in nodes.values() for r in references(n.calls))):
            read[reference.layer].add(reference.call)
        first = {
            name: 1
            for name, node in nodes.items()
            if isinstance(node.layer, Composite)
            and read[name] == set(range(1, len(node.calls) + 1))
        }

        def renumbered(value: Any) -> Any:
            if isinstance(value, Reference):
                return value._replace(call=value.call - first.get(value.layer, 0))
            if isinstance(value, list):
                return [renumbered(item) for item in value]
            if isinstance(value, dict):
                return {name: renumbered(item) for name, item in value.items()}
            return value

        for node in nodes.values() if first else ():
            node.calls = [
                KerasCall(renumbered(call.args), renumbered(call.kwargs)) for call in node.calls
            ]
        return [renumbered(reference) for reference in outputs]

    def _check_chain(self, nodes: Mapping[str, Node], made: Mapping[Any, Any]) -> None:
        several = [node for name, node in nodes.items() if len(made[name, 0]) > 1]
        for node in several:
            if node is not list(nodes.values())[-1]:
                self._collect(node.config, NotSupportedError("several outputs within a Sequential"))
                raise _CollectedError

    def _with_input(self, c: Config, entries: list[Any], top: bool) -> list[Any]:
        """Return a chain as the functional graph that it is, an InputLayer first."""
        first = c.child(entries[0])
        if first.kind == "InputLayer":
            return entries
        inner = first
        while inner.kind in MODELS and isinstance(inner.values.get("layers"), list):
            inner = c.child(next(iter(inner.values["layers"]), None))
        keys = ("batch_input_shape", "batch_shape")
        shapes = [inner.values.get(key) for key in keys] + [c.values.get("build_input_shape")]
        shape = next((shape for shape in shapes if shape is not None), None)
        # Of a model inside another one, the outer one's values have the shape.
        shape = [None, None] if shape is None and not top else shape
        values = {"name": f"{first.name}_input", "batch_shape": shape, "dtype": "float32"}
        return [{"class_name": "InputLayer", "config": values}, *entries]

    def _nodes(self, c: Config, entries: list[Any], chain: bool) -> dict[str, Node]:
        """Translate every layer, and note what cannot be."""
        configs = []
        for entry in entries:
            own = entry.get("name") if isinstance(entry, dict) and not chain else None
            configs.append(c.child(entry, own))
        known = frozenset(config.name for config in configs)
        if len(known) < len(configs):
            counts = Counter(config.name for config in configs)
            self.refuse(f"two layers are named {short(counts.most_common(1)[0][0])}")
        nodes: dict[str, Node] = {}
        for before, config in zip([None, *configs], configs, strict=False):
            node = nodes[config.name] = Node(config)
            try:
                if not chain:
                    node.calls = calls_of(config, known)
                elif before is not None:
                    if config.kind == "InputLayer":
                        config.contradicts("an InputLayer behind other layers of a Sequential")
                    node.calls = [KerasCall([Reference(before.name, 0, 0)], {})]
                self._translate(node)
            except NotSupportedError as reason:
                self._collect(config, reason)
        return nodes

    def _translate(self, node: Node) -> None:
        c = node.config
        if c.kind == "InputLayer":
            c.check_origin()
            c.options(INPUT_OPTIONS)
        elif not is_operation(c):
            node.layer = layer_of(c, **self._call_options(node))
        if node.layer is not None:
            self.names[node.layer] = c.name
            self.stems[node.layer] = snake_case(c.kind)
            if c.values.get("trainable") is False:
                self._freeze(node.layer)

    def _freeze(self, layer: Layer) -> None:
        self.frozen.add(layer)
        inner = layer.layer if isinstance(layer, TimeDistributed) else layer
        for part in inner.layers if isinstance(inner, Composite) else ():
            self._freeze(part)

    def _call_options(self, node: Node) -> dict[str, Any]:
        """Take the arguments of calls that are options of our layer: the same at every call."""
        known = CLASSES[node.config.kind].calls if node.config.kind in CLASSES else ()
        found = []
        for call in node.calls:
            given = {name: call.kwargs.pop(name) for name in known if name in call.kwargs}
            found.append({name: value for name, value in given.items() if value is not None})
        if any(options != found[0] for options in found):
            raise NotSupportedError(f"called in different ways: {short(found)}")
        return found[0] if found else {}

    # ---- Calls

    def _made(self, nodes: Mapping[str, Node], inputs: set[str]) -> dict[tuple[str, int], Any]:
        """Return the inputs, which are token ids where somebody reads them as such."""
        ids = set()
        for node in nodes.values():
            for call in node.calls:
                for position, reference in enumerate(references(call.args)):
                    if node.reads_ids(position):
                        ids.add(reference.layer)
        comparing = {
            reference.layer
            for node in nodes.values()
            if reads_ids(node.config)
            for call in node.calls
            for reference in references(call)
        }
        otherwise = {
            reference.layer
            for node in nodes.values()
            if not reads_ids(node.config)
            for call in node.calls
            for reference in references(call)
        }
        made: dict[tuple[str, int], Any] = {}
        for name, node in nodes.items():
            if node.is_input and (name in inputs or not node.calls):
                is_int = "int" in str(node.config.values.get("dtype"))
                compared = name in comparing - otherwise and is_int
                made[name, 0] = (self._input(node.config, name in ids or compared),)
        return made

    def _input(self, c: Config, ids: bool) -> Input:
        shape = c.values.get("batch_shape", c.values.get("batch_input_shape"))
        if not isinstance(shape, list) or len(shape) < 2:
            c.contradicts(f"expected the shape of its input with the batch; found {short(shape)}")
        return Input(shape[1:], dtype="int64" if ids else "float32", name=c.name)

    def _call_all(
        self,
        nodes: Mapping[str, Node],
        made: dict[tuple[str, int], Any],
        ends: Sequence[Reference],
    ) -> TakenMasks:
        """Make every call that the outputs need, each when all that it reads is there."""
        needed = self._needed(nodes, ends)
        taken = TakenMasks(nodes, needed if self.version.strips_masks else (), ends, self.tensors)
        waiting: dict[tuple[str, int], int] = {}
        readers: dict[tuple[str, int], list[tuple[str, int]]] = defaultdict(list)
        for name, index in needed:
            if (name, index) in made:
                continue
            sources = {reference[:2] for reference in references(nodes[name].calls[index])}
            waiting[name, index] = len(sources)
            for source in sources:
                readers[source].append((name, index))
        ready = deque([*made, *(key for key, count in waiting.items() if not count)])
        while ready:
            key = ready.popleft()
            if key not in made:
                call = nodes[key[0]].calls[key[1]]
                made[key] = self._called(nodes[key[0]], call, made, taken.lost.get(key, set()))
            for reader in readers[key]:
                waiting[reader] -= 1
                if not waiting[reader]:
                    ready.append(reader)
        stuck = sorted({name for name, index in waiting if (name, index) not in made})
        if stuck:
            self.refuse(
                f"layers that read each other, or something that is not there: {short(stuck[:5])}"
            )
        return taken

    def _needed(
        self, nodes: Mapping[str, Node], ends: Sequence[Reference]
    ) -> dict[tuple[str, int], None]:
        """Return the calls behind `ends`: Keras 3 writes masks that nobody reads."""
        needed: dict[tuple[str, int], None] = {}
        pending = [reference[:2] for reference in ends]
        while pending:
            key = pending.pop()
            if key in needed:
                continue
            name, index = key
            node = nodes.get(name)
            if node is None or not 0 <= index < (1 if node.is_input else len(node.calls)):
                self.refuse(f"there is no call {index} of a layer {short(name)}")
            needed[key] = None
            if not node.is_input:
                pending += [r[:2] for r in references(node.calls[index])]
        return needed

    def _called(
        self,
        node: Node,
        call: KerasCall,
        made: Mapping[tuple[str, int], Any],
        stripped: set[Reference],
    ) -> Sequence[Any]:
        """Return what a call gives; `stripped` are the inputs without the masks that they had."""
        try:
            args, kwargs = self._resolved([call.args, call.kwargs], made)
            if node.layer is None:
                return run(node.config, args, kwargs)
            bare = [self._symbol(made, reference) for reference in stripped]
            return self._layer_called(node, args, dict(kwargs), bare)
        except NotSupportedError as reason:
            self._collect(node.config, reason)
        except GraphError as error:
            self._collect(node.config, NotSupportedError(str(error)))
        return _Unsupported()

    def _layer_called(
        self, node: Node, args: list[Any], kwargs: dict[str, Any], bare: Sequence[Any]
    ) -> Sequence[Any]:
        assert node.layer is not None
        takes = CLASSES[node.config.kind].takes if node.config.kind in CLASSES else "many"
        given = list(_flat(args))
        states = list(_flat([kwargs.pop("initial_state", None), kwargs.pop("states", None)]))
        if takes == "states":
            given, states = given[:1], given[1:] + states
        elif not isinstance(takes, str):
            given += [
                kwargs.pop(name) for name in takes[len(given) :] if kwargs.get(name) is not None
            ]
        masks = self._masks(kwargs.pop("mask", None), len(given))
        for option, value in kwargs.items():
            if value is not None and not (option == "training" and value in (False, 0)):
                raise NotSupportedError(f"called with {option}={short(value)}")
        for value in given + states:
            if not isinstance(value, Symbol):
                what = "a mask" if isinstance(value, Boolean) else f"the constant {short(value)}"
                raise NotSupportedError(f"called with {what}")
        if node.config.kind == "MultiHeadAttention" and not self.version.attends_masks:
            masks = [None] * len(given)
        if masks is None and any(value in bare for value in given):
            masks = [None if value in bare else Mask("of", (value,)) for value in given]
        options: dict[str, Any] = {"initial_state": states} if states else {}
        if states and node.config.major == 3 and masks is None:
            options["masked"] = False  # Keras 3 finds no mask for one of two arguments
        result = node.layer(*given, masks=masks, **options)
        return result if isinstance(result, tuple) else (result,)

    def _masks(self, given: Any, count: int) -> list[Mask | None] | None:
        """Return the masks that a call is given, of its inputs; None without any."""
        if given is None:
            return None
        masks = given if isinstance(given, list) else [given]
        if len(masks) > count:
            raise NotSupportedError(f"called with {len(masks)} masks for {count} inputs")
        return [None if mask is None else mask_of(mask) for mask in masks]

    def _resolved(self, value: Any, made: Mapping[tuple[str, int], Any]) -> Any:
        if isinstance(value, Reference):
            return self._symbol(made, value)
        if isinstance(value, list):
            return [self._resolved(item, made) for item in value]
        if isinstance(value, dict):
            return {name: self._resolved(item, made) for name, item in value.items()}
        return value

    def _symbol(self, made: Mapping[tuple[str, int], Any], reference: Reference) -> Any:
        symbols = made.get((reference.layer, reference.call), ())
        if isinstance(symbols, _Unsupported):
            raise _CollectedError
        if reference.output >= len(symbols):
            self.refuse(
                f"there is no output {reference.output} of call {reference.call} of a layer "
                f"{short(reference.layer)}"
            )
        return symbols[reference.output]


def _without_mask(symbol: Any) -> Any:
    return Activation("linear")(symbol, masks=[None])


class _Unsupported(tuple[()]):
    """What a call gives that is not supported."""

    __slots__ = ()


def _flat(value: Any) -> Any:
    """Yield what an argument holds, None skipped."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _flat(item)
    elif value is not None:
        yield value
