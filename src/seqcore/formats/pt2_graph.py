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
from .arrays import MAX_RANK, shorten
from .pt2_symbols import size_expression
from .torch_programs import Argument, Dtype, Node, ProgramInput, Ref

__all__ = ["DTYPES", "ExportedGraph", "Lifted", "TensorMeta", "read_graph", "read_meta"]

MAX_NODES = 1 << 15  # of a graph: five layers of a transformer have 300
MAX_NAME = 1000
_MAX_SIZE = 1 << 62

Json = Any

# ScalarType, Layout and MemoryFormat of torch's schema.
DTYPES = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    9: "complex32",
    10: "complex64",
    11: "complex128",
    12: "bool",
    13: "bfloat16",
    28: "uint16",
    29: "float8_e4m3fn",
    30: "float8_e5m2",
    31: "float8_e4m3fnuz",
    32: "float8_e5m2fnuz",
    33: "float8_e8m0fnu",
    34: "uint32",
    35: "uint64",
}
_LAYOUTS = {
    1: "sparse_coo",
    2: "sparse_csr",
    3: "sparse_csc",
    4: "sparse_bsr",
    5: "sparse_bsc",
    6: "_mkldnn",
    7: "strided",
}
_MEMORY_FORMATS = {
    1: "contiguous_format",
    2: "channels_last",
    3: "channels_last_3d",
    4: "preserve_format",
}
# JSON has no such numbers: torch writes them as strings.
_NOT_FINITE = {"Infinity": float("inf"), "-Infinity": float("-inf"), "NaN": float("nan")}


@dataclass(frozen=True)
class TensorMeta:
    """What the file says of a tensor: dtype, sizes (ints and expressions), strides, offset."""

    dtype: str
    sizes: tuple[int | str, ...]
    strides: tuple[int | str, ...]
    offset: int | str


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


def _wanted(name: str | tuple[str, ...] | None, used: set[str]) -> bool:
    return not used.isdisjoint([name] if isinstance(name, str) else name or ())


# ---- JSON values of a known type ----------------------------------------------------------------


def member(value: Json, key: str, kind: type) -> Any:
    """The member `key` of an object, which must be of the type `kind`."""
    if not isinstance(value, dict):
        raise ModelFileError(f"expected an object with {key!r}, found {_kind(value)}")
    if key not in value:
        raise ModelFileError(f"{key!r} is missing")
    if type(value[key]) is not kind:
        raise ModelFileError(f"{key!r} is {_kind(value[key])}, expected {_KINDS[kind]}")
    return value[key]


def union(value: Json, what: str) -> tuple[str, Json]:
    """Kind and content of an object that has one key."""
    if not isinstance(value, dict) or len(value) != 1:
        raise ModelFileError(f"{what} is {_kind(value)}, expected an object of one key")
    return next(iter(value.items()))


_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    type(None): "null",
}


def _kind(value: Json) -> str:
    return _KINDS[type(value)]


def _plain(kind: type) -> Callable[[Json], Any]:
    def read(value: Json) -> Any:
        if type(value) is not kind:
            raise ModelFileError(f"expected {_KINDS[kind]}, found {_kind(value)}")
        return value

    return read


_boolean, _integer, _string, _items = (_plain(kind) for kind in (bool, int, str, list))


def _real(value: Json) -> float:
    if type(value) in (int, float):
        return float(value)
    if type(value) is str and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    raise ModelFileError(f"expected a number, found {_kind(value)}")


def _none(_: Json) -> None:
    return None


def _name(value: Json) -> str:
    name = member(value, "name", str)
    return checked_name(name)


def checked_name(name: str) -> str:
    """A name of a file, which must not be empty or endless."""
    if not 0 < len(name) <= MAX_NAME:
        raise ModelFileError(f"a name of {len(name)} characters, expected 1 to {MAX_NAME}")
    return name


def _numbered(table: Mapping[int, str], what: str) -> Callable[[Json], str]:
    def read(value: Json) -> str:
        if type(value) is not int or value not in table:
            raise ModelFileError(f"{what} {shorten(value)} is not known")
        return table[value]

    return read


_dtype = _numbered(DTYPES, "dtype number")
_layout = _numbered(_LAYOUTS, "layout number")
_memory_format = _numbered(_MEMORY_FORMATS, "memory format number")


def _device(value: Json) -> str:
    kind = member(value, "type", str)
    index = value.get("index")
    if index is None:
        return checked_name(kind)
    return f"{checked_name(kind)}:{_integer(index)}"


def _complex(value: Json) -> complex:
    if not isinstance(value, dict) or value.keys() != {"real", "imag"}:
        raise ModelFileError("a complex number without real and imag")
    return complex(_real(value["real"]), _real(value["imag"]))


def _graph(value: Json) -> str:
    return f"graph {_name(value)}"


def _object(value: Json) -> str:
    return f"object {_name(value)} of {checked_name(member(value, 'class_fqn', str))}"


def _dictionary(value: Json) -> str:
    return f"dictionary of {len(_plain(dict)(value))}"


def _size(value: Json) -> int | str:
    """A size, stride or offset: a number, or an expression."""
    kind, content = union(value, "a size")
    if kind == "as_int":
        if not 0 <= _integer(content) <= _MAX_SIZE:
            raise ModelFileError(f"a size of {shorten(content)}")
        return _integer(content)
    if kind == "as_expr":
        return size_expression(member(content, "expr_str", str))
    raise ModelFileError(f"a size of kind {shorten(kind)}")


def read_meta(value: Json) -> TensorMeta:
    """Read what the file says of a tensor; raises ModelFileError for a layout but strided."""
    layout = _layout(member(value, "layout", int))
    if layout != "strided":
        raise ModelFileError(f"layout {layout} is not supported, only strided")
    sizes = tuple(_size(size) for size in member(value, "sizes", list))
    strides = tuple(_size(size) for size in member(value, "strides", list))
    if len(sizes) > MAX_RANK or len(sizes) != len(strides):
        raise ModelFileError(f"{len(sizes)} sizes and {len(strides)} strides, at most {MAX_RANK}")
    offset = _size(member(value, "storage_offset", dict))
    return TensorMeta(_dtype(member(value, "dtype", int)), sizes, strides, offset)


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
            "int": _integer,
            "float": _real,
            "bool": _boolean,
            "string": _string,
            "sym_int": symbolic("as_int", _integer),
            "sym_float": symbolic("as_float", _real),
            "sym_bool": symbolic("as_bool", _boolean),
        }
        # Every kind of argument. What no Program can say becomes a string, which no operator that
        # is understood takes.
        self.kinds: dict[str, Callable[[Json], Argument]] = {
            "as_none": _none,
            **{f"as_{kind}": read for kind, read in one.items()},
            **{f"as_{kind}s": _listed(read) for kind, read in one.items()},
            "as_nested_tensors": _listed(_listed(self.tensor)),
            "as_int_lists": _listed(_listed(_integer)),
            "as_float_lists": _listed(_listed(_real)),
            "as_scalar_type": lambda value: Dtype(_dtype(value)),
            "as_layout": _layout,
            "as_memory_format": _memory_format,
            "as_device": _device,
            "as_complex": _complex,
            "as_operator": _string,
            "as_graph": _graph,
            "as_custom_obj": _object,
            "as_string_to_argument": _dictionary,
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
            self.sizes[name] = _size(self.sym_int_values[name])
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
        return self.ref(_name(value))

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
                return self.ref(checked_name(_string(content)))
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
        given, lifted = [], []
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
            name = self.lone_tensor(argument, _name(member(content, "arg", dict)))
            return Lifted(name, path, stored, learnt)
        if kind == "constant_input":
            value = self.fixed(member(content, "value", dict))
            return ProgramInput(_name(content), None, (), value)
        if kind != "user_input":
            raise ModelFileError(f"{_REFUSED_INPUTS.get(kind, shorten(kind))} is not supported")
        inner, value = union(member(content, "arg", dict), "an input")
        if inner == "as_tensor":
            name = self.lone_tensor(argument, _name(value))
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
        if kind != "as_tensor" or _name(content) != name:
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
            _module_path(_string(metadata.get("nn_module_stack", ""))),
            _source(_string(metadata.get("stack_trace", ""))),
        )

    def made(self, value: Json) -> str | tuple[str, ...] | None:
        kind, content = union(value, "an output")
        if kind == "as_none":
            return None
        if kind == "as_tensor":
            return self.define(_name(content), tensor=True)
        if kind == "as_tensors":
            return tuple(self.define(_name(item), tensor=True) for item in _items(content))
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
    return lambda value: [read(item) for item in _items(value)]


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
_REFUSED_OUTPUTS = {
    "buffer_mutation": _CHANGES,
    "parameter_mutation": _CHANGES,
    "user_input_mutation": "the module writes into its input {}, which is not supported",
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
