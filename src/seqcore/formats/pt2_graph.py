"""The JSON of torch.export: a graph and its signature, as nodes, inputs and outputs of a Program.

The schema is torch's: a value that may be of several kinds is an object of one key, which names the
kind ({"as_int": 3}). A name must be made before it is used and is made once, so that what comes out
can be run in order. Where the constants' numbers lie is known to pt2.py; what an operator means is
known to nobody here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ModelFileError
from .arrays import shorten
from .pt2_values import (
    MAX_NAME,
    Json,
    TensorMeta,
    checked_name,
    describe_dictionary,
    describe_graph,
    describe_object,
    member,
    read_bool,
    read_complex,
    read_device,
    read_dtype,
    read_int,
    read_layout,
    read_list,
    read_memory_format,
    read_meta,
    read_name,
    read_none,
    read_real,
    read_size,
    read_string,
    union,
)
from .torch_programs import Argument, Dtype, Node, ProgramInput, Ref

__all__ = ["ExportedGraph", "Lifted", "read_graph"]

MAX_NODES = 1 << 14  # of a graph: five layers of a transformer have 300


@dataclass(frozen=True)
class Lifted:
    """A parameter, a buffer or a constant that the graph takes as an input.

    `path` is its name among the weights, or, unless `stored`, among the constants.
    """

    name: str
    path: str
    stored: bool
    learnt: bool  # a parameter or a buffer, which the module knows by its path


@dataclass(frozen=True)
class ExportedGraph:
    """A graph without the numbers of its constants. `sizes` are its integers that may vary."""

    inputs: tuple[ProgramInput, ...]
    outputs: tuple[Argument, ...]
    nodes: tuple[Node, ...]
    lifted: tuple[Lifted, ...]
    shapes: Mapping[str, tuple[int | str, ...]]
    dtypes: Mapping[str, str]
    sizes: Mapping[str, int | str]


def read_graph(module: Json) -> ExportedGraph:
    """Read the ``graph_module`` of an exported program.

    Raises
    ------
    ModelFileError
        A part is missing or of the wrong type; a name is used before it is made, or made twice; the
        module changes its own state; or there is what no Program can say.
    """
    graph = member(module, "graph", dict)
    signature = member(module, "signature", dict)
    reader = _Reader(graph)
    inputs, lifted = reader.inputs(
        member(graph, "inputs", list), member(signature, "input_specs", list)
    )
    nodes = reader.nodes(member(graph, "nodes", list))
    _refuse_changes(nodes, lifted, inputs)
    outputs = reader.outputs(
        member(graph, "outputs", list), member(signature, "output_specs", list)
    )
    # torch names what nobody wants as well. A lone output keeps its name: it may be written to.
    nodes = [
        node
        if len(node.outputs) < 2
        else Node(
            node.target,
            node.arguments,
            tuple(name if _wanted(name, reader.used) else None for name in node.outputs),
            node.module,
            node.source,
        )
        for node in nodes
    ]
    return ExportedGraph(
        inputs,
        outputs,
        tuple(nodes),
        lifted,
        {name: meta.sizes for name, meta in reader.metas.items()},
        {name: meta.dtype for name, meta in reader.metas.items()},
        reader.sizes,
    )


def _refuse_changes(
    nodes: list[Node], lifted: tuple[Lifted, ...], inputs: tuple[ProgramInput, ...]
) -> None:
    """Refuses a module that writes to its weights or inputs: they are the same in every call."""
    paths = {entry.name: entry.path for entry in lifted}
    given = {entry.name for entry in inputs}
    for node in nodes:
        operator = node.target.split(".")[1] if node.target.count(".") > 1 else ""
        first = next(iter(node.arguments.values()), None)
        if not operator.endswith("_") or operator in _NOT_IN_PLACE or not isinstance(first, Ref):
            continue
        where = f"{node.target} at {node.source}" if node.source else node.target
        if first.name in paths:
            raise ModelFileError(_CHANGES.format(f"{shorten(paths[first.name])} ({where})"))
        if first.name in given:
            raise ModelFileError(_WRITES.format(f"{shorten(first.name)} ({where})"))


def _wanted(name: str | tuple[str, ...] | None, used: set[str]) -> bool:
    return not used.isdisjoint([name] if isinstance(name, str) else name or ())


# ---- The graph ----------------------------------------------------------------------------------


class _Reader:
    """Reads in the order of execution, and knows which names there are so far."""

    def __init__(self, graph: Json) -> None:
        self.defined: set[str] = set()
        self.used: set[str] = set()
        self.metas: dict[str, TensorMeta] = {}
        self.sizes: dict[str, int | str] = {}
        self.tensor_values = member(graph, "tensor_values", dict)
        self.sym_int_values = member(graph, "sym_int_values", dict)
        symbolic = self.symbolic
        one: dict[str, Callable[[Json], Argument]] = {
            "tensor": self.tensor,
            "optional_tensor": self.optional_tensor,
            "int": read_int,
            "float": read_real,
            "bool": read_bool,
            "string": read_string,
            "sym_int": symbolic("as_int", read_int),
            "sym_float": symbolic("as_float", read_real),
            "sym_bool": symbolic("as_bool", read_bool),
        }
        # Every kind of argument. What no Program can say becomes a string, which no operator that
        # is understood takes.
        self.kinds: dict[str, Callable[[Json], Argument]] = {
            "as_none": read_none,
            **{f"as_{kind}": read for kind, read in one.items()},
            **{f"as_{kind}s": _listed(read) for kind, read in one.items()},
            "as_nested_tensors": _listed(_listed(self.tensor)),
            "as_int_lists": _listed(_listed(read_int)),
            "as_float_lists": _listed(_listed(read_real)),
            "as_scalar_type": lambda value: Dtype(read_dtype(value)),
            "as_layout": read_layout,
            "as_memory_format": read_memory_format,
            "as_device": read_device,
            "as_complex": read_complex,
            "as_operator": read_string,
            "as_graph": describe_graph,
            "as_custom_obj": describe_object,
            "as_string_to_argument": describe_dictionary,
        }

    # Names

    def define(self, name: str, *, tensor: bool) -> str:
        """A name that is made here; notes what the file says of it."""
        if name in self.defined:
            raise ModelFileError(f"{shorten(name)} is made twice")
        self.defined.add(name)
        if tensor and name in self.tensor_values:
            try:
                self.metas[name] = read_meta(self.tensor_values[name])
            except ModelFileError as error:
                raise ModelFileError(f"tensor {shorten(name)}: {error}") from error
        elif not tensor and name in self.sym_int_values:
            self.sizes[name] = read_size(self.sym_int_values[name])
        return name

    def ref(self, name: str) -> Ref:
        if name not in self.defined:
            raise ModelFileError(f"uses {shorten(name)}, which nothing before it makes")
        self.used.add(name)
        return Ref(name)

    # Arguments

    def argument(self, value: Json) -> Argument:
        kind, content = union(value, "an argument")
        if kind not in self.kinds:
            raise ModelFileError(f"an argument of kind {shorten(kind)}, which is not known")
        return self.kinds[kind](content)

    def tensor(self, value: Json) -> Ref:
        return self.ref(read_name(value))

    def optional_tensor(self, value: Json) -> Ref | None:
        kind, content = union(value, "an optional tensor")
        if kind == "as_none":
            return None
        if kind != "as_tensor":
            raise ModelFileError(f"an optional tensor of kind {shorten(kind)}")
        return self.tensor(content)

    def symbolic(self, plain: str, read: Callable[[Json], Any]) -> Callable[[Json], Argument]:
        """Reads a number that may be another node's."""

        def argument(value: Json) -> Argument:
            kind, content = union(value, "a number")
            if kind == "as_name":
                return self.ref(checked_name(read_string(content)))
            if kind != plain:
                raise ModelFileError(f"a number of kind {shorten(kind)}")
            return read(content)

        return argument

    # Inputs, nodes, outputs

    def inputs(
        self, arguments: list[Json], specs: list[Json]
    ) -> tuple[tuple[ProgramInput, ...], tuple[Lifted, ...]]:
        if len(arguments) != len(specs):
            raise ModelFileError(f"{len(arguments)} inputs, and the signature has {len(specs)}")
        if len(specs) > MAX_NODES:
            raise ModelFileError(f"{len(specs)} inputs; at most {MAX_NODES} are read")
        given: list[ProgramInput] = []
        lifted: list[Lifted] = []
        for place, (argument, spec) in enumerate(zip(arguments, specs, strict=True)):
            try:
                found = self.input(argument, spec, len(given))
            except ModelFileError as error:
                raise ModelFileError(f"input {place}: {error}") from error
            if isinstance(found, Lifted):
                lifted.append(found)
            else:
                given.append(found)
        return tuple(given), tuple(lifted)

    def input(self, argument: Json, spec: Json, place: int) -> ProgramInput | Lifted:
        kind, content = union(spec, "an input's specification")
        if kind in _LIFTED:
            key, learnt = _LIFTED[kind]
            path = checked_name(member(content, key, str))
            stored = kind == "parameter" or (
                kind == "buffer" and member(content, "persistent", bool)
            )
            name = self.lone_tensor(argument, read_name(member(content, "arg", dict)))
            return Lifted(name, path, stored, learnt)
        if kind == "constant_input":
            value = self.fixed(member(content, "value", dict))
            return ProgramInput(read_name(content), None, (), value)
        if kind != "user_input":
            raise ModelFileError(f"{_REFUSED_INPUTS.get(kind, shorten(kind))} is not supported")
        inner, value = union(member(content, "arg", dict), "an input")
        if inner == "as_tensor":
            name = self.lone_tensor(argument, read_name(value))
            if name not in self.metas:
                raise ModelFileError(f"{shorten(name)} has no dtype and shape")
            meta = self.metas[name]
            return ProgramInput(name, meta.dtype, meta.sizes)
        if inner.startswith("as_sym_"):
            raise ModelFileError(
                f"{shorten(next(iter(value.values())) if isinstance(value, dict) else value)} is a "
                "number that may vary, which is not supported; export it as a fixed one"
            )
        return ProgramInput(f"input_{place}", None, (), self.fixed({inner: value}))

    def lone_tensor(self, argument: Json, name: str) -> str:
        kind, content = union(argument, "an input")
        if kind != "as_tensor" or read_name(content) != name:
            raise ModelFileError(f"the graph has another one than the signature's {shorten(name)}")
        return self.define(name, tensor=True)

    def fixed(self, value: Json) -> Argument:
        kind, _ = union(value, "an input's value")
        if kind not in ("as_none", "as_int", "as_float", "as_string", "as_bool"):
            raise ModelFileError(f"an input of kind {shorten(kind)} is not supported")
        return self.argument(value)

    def nodes(self, values: list[Json]) -> list[Node]:
        if len(values) > MAX_NODES:
            raise ModelFileError(f"{len(values)} nodes; at most {MAX_NODES} are read")
        nodes = []
        for place, value in enumerate(values):
            target = checked_name(member(value, "target", str))
            try:
                nodes.append(self.node(target, value))
            except ModelFileError as error:
                raise ModelFileError(f"node {place} ({shorten(target)}): {error}") from error
        return nodes

    def node(self, target: str, value: Json) -> Node:
        arguments: dict[str, Argument] = {}
        operator = target.startswith("torch.ops.")
        for place, item in enumerate(member(value, "inputs", list)):
            name = member(item, "name", str)
            name = checked_name(name) if name and operator else str(place)
            if name in arguments:
                raise ModelFileError(f"argument {shorten(name)} is given twice")
            try:
                arguments[name] = self.argument(member(item, "arg", dict))
            except ModelFileError as error:
                raise ModelFileError(f"argument {shorten(name)}: {error}") from error
        outputs = tuple(self.made(item) for item in member(value, "outputs", list))
        metadata = member(value, "metadata", dict)
        return Node(
            target.removeprefix("torch.ops."),
            arguments,
            outputs,
            _module_path(read_string(metadata.get("nn_module_stack", ""))),
            _source(read_string(metadata.get("stack_trace", ""))),
        )

    def made(self, value: Json) -> str | tuple[str, ...] | None:
        kind, content = union(value, "an output")
        if kind == "as_none":
            return None
        if kind == "as_tensor":
            return self.define(read_name(content), tensor=True)
        if kind == "as_tensors":
            return tuple(self.define(read_name(item), tensor=True) for item in read_list(content))
        if kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
            return self.define(checked_name(member(content, "as_name", str)), tensor=False)
        raise ModelFileError(f"an output of kind {shorten(kind)} is not supported")

    def outputs(self, values: list[Json], specs: list[Json]) -> tuple[Argument, ...]:
        if len(values) != len(specs):
            raise ModelFileError(f"{len(values)} outputs, and the signature has {len(specs)}")
        outputs = []
        for place, (value, spec) in enumerate(zip(values, specs, strict=True)):
            try:
                kind, content = union(spec, "an output's specification")
                if kind in _REFUSED_OUTPUTS:
                    raise ModelFileError(_REFUSED_OUTPUTS[kind].format(_target_of(content)))
                if kind != "user_output":
                    raise ModelFileError(f"{shorten(kind)} is not supported")
                outputs.append(self.argument(value))
            except ModelFileError as error:
                raise ModelFileError(f"output {place}: {error}") from error
        return tuple(outputs)


def _listed(read: Callable[[Json], Any]) -> Callable[[Json], list[Any]]:
    return lambda value: [read(item) for item in read_list(value)]


# How the signature calls each kind's path, and whether the module knows it by that.
_LIFTED = {
    "parameter": ("parameter_name", True),
    "buffer": ("buffer_name", True),
    "tensor_constant": ("tensor_constant_name", False),
}
_REFUSED_INPUTS = {
    "custom_obj": "an object of torch's own classes (custom_obj)",
    "token": "a token of effects",
}
_CHANGES = "the module changes its own {}, which is not supported; export it in eval()"
# What ends like an operator that changes its first argument, and changes nothing.
_NOT_IN_PLACE = frozenset(["detach_", "__and__", "__or__", "__xor__", "__lshift__", "__rshift__"])
_WRITES = "the module writes into its input {}, which is not supported"
_REFUSED_OUTPUTS = {
    "buffer_mutation": _CHANGES,
    "parameter_mutation": _CHANGES,
    "user_input_mutation": _WRITES,
    "loss_output": "the loss {} of a training step is not supported",
    "gradient_to_parameter": "the gradient of {} is not supported: a training step",
    "gradient_to_user_input": "the gradient of {} is not supported: a training step",
    "token": "a token of effects is not supported",
}


def _target_of(content: Json) -> str:
    """What a specification of an output is about, for a message."""
    if isinstance(content, dict):
        for key in ("buffer_name", "parameter_name", "user_input_name"):
            if key in content:
                return shorten(content[key])
    return "tensor"


# ---- Where in the author's code -----------------------------------------------------------------

_FRAME = re.compile(r'File "([^"\n]+)", line (\d+)')
_FOREIGN_FRAME = re.compile(
    r"-packages[\\/]torch[\\/]|^torch[\\/]|importers[\\/]torch[\\/]live\.py$"
)
_FOLDERS = re.compile(r".*[\\/]")
_GETATTR = re.compile(r"getattr\(([^()]*), '([^'()]*)'\)")
_SELF = re.compile(r"^L\['\w+'\]\.?")
_CALL = re.compile(r"@\d+$")  # "lstm@1" is the second call of lstm


def _module_path(stack: str) -> str:
    """Path of the innermost module of "key,path,class;key,path,class"."""
    parts = stack.rsplit(";", 1)[-1].split(",")
    # A path may hold commas; the key, made of the path, then holds as many, unless it is a getattr.
    middle = 1 if "getattr(" in stack else (len(parts) - 1) // 2
    path = ",".join(parts[middle : -1 if middle == 1 else 2 * middle])[:MAX_NAME]
    if path.startswith("_empty_nn_module_stack"):
        return ""
    # strict=True wrote getattr(L['self'].head, '0') before torch 2.8.
    found = 1
    while found:
        path, found = _GETATTR.subn(r"\1.\2", path)
    return _CALL.sub("", _SELF.sub("", path))


def _source(trace: str) -> str:
    """File and line of the innermost frame that is neither torch's nor this library's."""
    frames = [frame for frame in _FRAME.findall(trace) if not _FOREIGN_FRAME.search(frame[0])]
    if not frames:
        return ""
    path, line = frames[-1]
    return f"{_FOLDERS.sub('', path)[:MAX_NAME]}:{line[:10]}"
