"""Messages of ONNX as plain data, one for one: graphs, nodes, attributes, types, functions.

What stands in one message is checked here. Names are taken as they stand; whether anything makes
what is read, and in which order, is onnx_linking.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ..errors import ModelFileError
from .arrays import MAX_RANK, Budget, shorten
from .onnx_programs import OnnxGraph, OnnxNode, OnnxValue
from .onnx_tensors import External, dtype_name, read_sparse, read_tensor, text_of

__all__ = ["Function", "FunctionKey", "Reader", "Reference", "label", "read_opsets", "within"]

MAX_OPSET = 1 << 31  # ONNX's own is at 28, others count as they like
MAX_DOMAINS = 1024
_MAX_MESSAGE = 600  # characters: functions in functions could make it thousands
_NUMBER_BYTES = 48  # a Python number and its place in a list

FunctionKey = tuple[str, str]  # domain and name, with ":overload" where there is one


@dataclass(frozen=True)
class Reference:
    """An attribute of a node in a function that is one of the function's."""

    name: str
    kind: int  # AttributeProto.AttributeType


@dataclass(frozen=True, eq=False)
class Function:
    """A local function: a body for an operator."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: frozenset[str]  # that a call may give
    defaults: dict[str, Any]
    nodes: tuple[OnnxNode, ...]
    dtypes: dict[str, str]
    opsets: dict[str, int]


def domain_of(value: Any) -> str:
    """A domain of operators; ONNX's own has two names."""
    domain = text_of(value, "a domain")
    return "" if domain == "ai.onnx" else domain


def label(node: OnnxNode) -> str:
    """What a node is called in messages."""
    kind = shorten(f"{node.domain}.{node.op}" if node.domain else node.op)[1:-1]
    return f"node {shorten(node.name)} ({kind})" if node.name else f"a node ({kind})"


@contextmanager
def within(what: str) -> Iterator[None]:
    """Puts a part of the file before what is wrong with it, as long as that stays readable."""
    try:
        yield
    except ModelFileError as error:
        if len(str(error)) > _MAX_MESSAGE:
            raise
        raise ModelFileError(f"{what}: {error}") from error


class Reader:
    """Reads the parts of one model.

    Parameters
    ----------
    budget : Budget
    external : callable
        Reads the numbers of tensors that lie in other files.
    """

    def __init__(self, budget: Budget, external: External) -> None:
        self.budget, self.external = budget, external
        self.functions: dict[FunctionKey, Any] = {}  # messages, read when they are first called
        self.read_functions: dict[FunctionKey, Function] = {}
        # By number, as the standard's AttributeType has them: the field, and what reads one.
        self.kinds: dict[int, tuple[str, Callable[[Any], Any]]] = {
            1: ("f", float),
            2: ("i", int),
            3: ("s", _attribute_text),
            4: ("t", self.tensor),
            5: ("g", self.graph),
            6: ("floats", float),
            7: ("ints", int),
            8: ("strings", _attribute_text),
            9: ("tensors", self.tensor),
            10: ("graphs", self.graph),
            11: ("sparse_tensor", self.sparse),
            12: ("sparse_tensors", self.sparse),
            13: ("tp", self.type_of),
            14: ("type_protos", self.type_of),
        }

    # Graphs

    def graph(self, graph: Any) -> OnnxGraph:
        """A graph whose nodes stand as in the file, and whose names are its own."""
        constants = self.constants(graph)
        inputs = [self.value(value) for value in graph.input]
        for given in inputs:
            if given.name in constants:
                _check_default(given, constants[given.name])
        outputs = tuple(self.value(value) for value in graph.output)
        said = [self.value(value) for value in graph.value_info]
        dtypes = {value.name: value.dtype for value in (*said, *outputs, *inputs)}
        stored = {tensor.name: tensor.data_type for tensor in graph.initializer}
        stored |= {
            sparse.values.name: sparse.values.data_type for sparse in graph.sparse_initializer
        }
        dtypes |= {name: dtype_name(number, name) for name, number in stored.items()}
        return OnnxGraph(
            text_of(graph.name, "the graph's name"),
            tuple(value for value in inputs if value.name not in constants),
            outputs,
            tuple(self.node(node, place) for place, node in enumerate(graph.node)),
            constants,
            {name: dtype for name, dtype in dtypes.items() if dtype is not None},
        )

    def constants(self, graph: Any) -> dict[str, NDArray[Any]]:
        """The initialisers of a graph by name, dense and sparse."""
        found: dict[str, NDArray[Any]] = {}
        dense = ((tensor.name, tensor, self.tensor) for tensor in graph.initializer)
        sparse = ((part.values.name, part, self.sparse) for part in graph.sparse_initializer)
        for some in (dense, sparse):
            for given, message, read in some:
                name = text_of(given, "an initialiser's name")
                if not name:
                    raise ModelFileError("an initialiser without a name")
                if name in found:
                    raise ModelFileError(f"two initialisers are named {shorten(name)}")
                found[name] = read(message)
        return found

    def tensor(self, tensor: Any) -> NDArray[Any]:
        name = text_of(tensor.name, "a tensor's name")
        what = f"tensor {shorten(name)}" if name else "a tensor"
        return read_tensor(tensor, what, self.budget, self.external)

    def sparse(self, sparse: Any) -> NDArray[Any]:
        name = text_of(sparse.values.name, "a tensor's name")
        what = f"sparse tensor {shorten(name)}" if name else "a sparse tensor"
        return read_sparse(sparse, what, self.budget, self.external)

    # Values and types

    def value(self, value: Any) -> OnnxValue:
        name = text_of(value.name, "a value's name")
        if not name:
            raise ModelFileError("a value without a name")
        return self.type_of(value.type, name)

    def type_of(self, kind: Any, name: str = "") -> OnnxValue:
        which = kind.WhichOneof("value")
        if which != "tensor_type":
            return OnnxValue(name, None if which is None else which.removesuffix("_type"), None)
        what = f"value {shorten(name)}" if name else "a type"
        dtype = dtype_name(kind.tensor_type.elem_type, what)
        if not kind.tensor_type.HasField("shape"):
            return OnnxValue(name, dtype, None)
        sizes = kind.tensor_type.shape.dim
        if len(sizes) > MAX_RANK:
            raise ModelFileError(f"{what}: {len(sizes)} axes, at most {MAX_RANK}")
        return OnnxValue(name, dtype, tuple(_size(size, what) for size in sizes))

    # Nodes and attributes

    def node(self, node: Any, place: int) -> OnnxNode:
        name = text_of(node.name, "a node's name")
        op = text_of(node.op_type, "an operator")
        where = f"node {shorten(name) if name else place} ({shorten(op)[1:-1]})"
        with within(where):
            if not op:
                raise ModelFileError("has no operator")
            return OnnxNode(
                _overloaded(op, node.overload),
                domain_of(node.domain),
                name,
                tuple(text_of(value, "an input's name") for value in node.input),
                tuple(text_of(value, "an output's name") for value in node.output),
                self.attributes(node.attribute),
            )

    def attributes(self, attributes: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for attribute in attributes:
            name = text_of(attribute.name, "an attribute's name")
            if not name or name in found:
                raise ModelFileError(
                    f"attribute {shorten(name)} is given twice" if name else "an unnamed attribute"
                )
            with within(f"attribute {shorten(name)}"):
                found[name] = self.attribute(attribute)
        return found

    def attribute(self, attribute: Any) -> Any:
        if attribute.type not in self.kinds:
            raise ModelFileError(f"is of kind {attribute.type}, which is not known")
        field, read = self.kinds[attribute.type]
        there = {part.name for part, _ in attribute.ListFields()} - _ABOUT_ATTRIBUTES
        if attribute.ref_attr_name:
            if there:
                raise ModelFileError("is the function's, and has a value of its own")
            return Reference(text_of(attribute.ref_attr_name, "the name of"), attribute.type)
        if there - {field}:
            raise ModelFileError(f"has a value in {min(there - {field})}, expected it in {field}")
        value = getattr(attribute, field)
        if attribute.type in _LISTS:
            self.budget.charge(_NUMBER_BYTES * len(value), "the attributes")
            return [read(item) for item in value]
        # Writers may leave a number or a string out that is zero or empty.
        if field not in ("f", "i", "s") and field not in there:
            raise ModelFileError("has no value")
        return read(value)

    # Functions

    def add_functions(self, functions: Any) -> None:
        """Note the local functions of a model, which are read once something calls them."""
        for function in functions:
            name = text_of(function.name, "a function's name")
            key = domain_of(function.domain), _overloaded(name, function.overload)
            if not name or key in self.functions:
                raise ModelFileError(f"two functions are named {shorten(name)}")
            self.functions[key] = function

    def function(self, key: FunctionKey) -> Function:
        if key not in self.read_functions:
            self.read_functions[key] = self.read_function(self.functions[key])
        return self.read_functions[key]

    def read_function(self, function: Any) -> Function:
        inputs = tuple(text_of(name, "an input's name") for name in function.input)
        outputs = tuple(text_of(name, "an output's name") for name in function.output)
        for names in (inputs, outputs):
            if "" in names or len(set(names)) < len(names):
                raise ModelFileError("has inputs or outputs of the same name, or of none")
        said = [self.value(value) for value in function.value_info]
        defaults = self.attributes(function.attribute_proto)
        taken = {text_of(name, "an attribute's name") for name in function.attribute}
        return Function(
            inputs,
            outputs,
            frozenset(taken | set(defaults)),
            defaults,
            tuple(self.node(node, place) for place, node in enumerate(function.node)),
            {value.name: value.dtype for value in said if value.dtype is not None},
            read_opsets(function.opset_import),
        )


_ABOUT_ATTRIBUTES = {"name", "type", "doc_string", "ref_attr_name"}
_LISTS = {6, 7, 8, 9, 10, 12, 14}  # kinds of attributes


def _attribute_text(value: bytes) -> str:
    return text_of(value, "the string", len(value))


def _overloaded(op: str, overload: Any) -> str:
    return f"{op}:{text_of(overload, 'an overload')}" if overload else op


def _size(size: Any, what: str) -> int | str | None:
    """A size of a type; some writers have -1, or an empty name, where they know nothing of it."""
    if size.HasField("dim_value"):
        return int(size.dim_value) if size.dim_value >= 0 else None
    return text_of(size.dim_param, f"{what}: size") or None


def _check_default(given: OnnxValue, array: NDArray[Any]) -> None:
    """An initialiser must be of the shape of the input to which it gives a value."""
    shape = given.shape
    if shape is not None and (
        len(shape) != array.ndim
        or any(
            isinstance(size, int) and size != there
            for size, there in zip(shape, array.shape, strict=True)
        )
    ):
        raise ModelFileError(
            f"input {shorten(given.name)} has shape {_shown(shape)}, its initialiser "
            f"{shorten(array.shape)}"
        )


def _shown(shape: tuple[int | str | None, ...]) -> str:
    return "(" + ", ".join(shorten(size, 20) for size in shape) + ")"


def read_opsets(imports: Any) -> dict[str, int]:
    """The version of each domain's operators that a model or a function imports."""
    found: dict[str, int] = {}
    if not imports:
        raise ModelFileError("imports no operators: which version of them is meant?")
    if len(imports) > MAX_DOMAINS:
        raise ModelFileError(f"imports operators of {len(imports)} domains")
    for entry in imports:
        domain = domain_of(entry.domain)
        of = shorten(domain or "ai.onnx")
        if domain in found:
            raise ModelFileError(f"imports operators of {of} twice")
        if not 1 <= entry.version < MAX_OPSET:
            raise ModelFileError(f"imports version {entry.version} of the operators of {of}")
        found[domain] = entry.version
    return found
