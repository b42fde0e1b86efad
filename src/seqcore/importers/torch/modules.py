"""Trees of modules -> programs, where torch itself says what their forward does.

A pickled or live nn.Sequential of torch's own modules is a chain that needs no example: each module
is the operators that it calls. What only forward of somebody's own class knows is refused, with
what is inside of it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ... import layouts
from ...errors import SeqcoreError, UnsupportedLayerError
from ...formats.torch_programs import ModuleTree, Node, Program, ProgramInput, Ref
from ...layers import GRU, LSTM, Input, Recurrent, RecurrentStack, SimpleRNN
from ...model import Model
from ..aten.reader import MALFORMED
from .graph import model_of
from .refused import REFUSED

__all__ = ["MODULES", "from_tree", "short_kind", "without_wrappers"]

RECURRENT: Mapping[str, type[Recurrent]] = {"RNN": SimpleRNN, "LSTM": LSTM, "GRU": GRU}
_WRAPPERS = {"DataParallel": "module", "DistributedDataParallel": "module",
             "OptimizedModule": "_orig_mod"}  # fmt: skip
_MOST_MODULES = 10_000
_MOST_NESTED = 100
_DIRECTIONS = ("", "_reverse")


def short_kind(tree: ModuleTree) -> str:
    """Return "nn.LSTM" of torch's own classes, the full name of all others."""
    name = tree.kind.rpartition(".")[2]
    return f"nn.{name}" if _is_torchs(tree) else tree.kind


def _is_torchs(tree: ModuleTree) -> bool:
    return tree.kind.startswith("torch.")


def _class(tree: ModuleTree) -> str:
    return tree.kind.rpartition(".")[2] if _is_torchs(tree) else ""


def without_wrappers(tree: ModuleTree) -> ModuleTree:
    """Return the module inside of DataParallel, torch.compile and the like."""
    for _ in range(10):
        inside = tree.children.get(_WRAPPERS.get(_class(tree), ""))
        if inside is None:
            break
        tree = inside
    return tree


# ---- What each module calls ----------------------------------------------------------------------

Step = tuple[str, dict[str, Any]]  # an operator, and its arguments but the tensor
Maker = Callable[["_Chain", ModuleTree, str], Iterable[Step]]


def _calls(
    target: str, *options: str, fixed: Mapping[str, Any] | None = None, **renamed: str
) -> Maker:
    """Return the maker of one call, with options by the names that torch's module has for them."""

    def make(chain: _Chain, tree: ModuleTree, path: str) -> Iterator[Step]:
        del chain, path
        given = {name: tree.options[name] for name in options if name in tree.options}
        given |= {name: tree.options[own] for name, own in renamed.items() if own in tree.options}
        yield target, {**given, **(fixed or {})}

    return make


def _nothing(chain: _Chain, tree: ModuleTree, path: str) -> Iterable[Step]:
    del chain, tree, path
    return ()


def _weights(target: str, *names: str, options: Iterable[str] = ()) -> Maker:
    """Return the maker of a call with weights and options."""

    def make(chain: _Chain, tree: ModuleTree, path: str) -> Iterator[Step]:
        given = {name: chain.weight(tree, path, name) for name in names}
        given |= {name: tree.options[name] for name in options}
        yield target, given

    return make


def _embedding(chain: _Chain, tree: ModuleTree, path: str) -> Iterator[Step]:
    if tree.options.get("max_norm") is not None:
        raise _NotKnownError(f"max_norm={tree.options['max_norm']}, which changes the weights")
    yield "aten.embedding.default", {"weight": chain.weight(tree, path, "weight")}


def _conv(target: str) -> Maker:
    def make(chain: _Chain, tree: ModuleTree, path: str) -> Iterator[Step]:
        mode = tree.options.get("padding_mode", "zeros")
        padding: Any = tree.options["padding"]
        if mode != "zeros":
            both = list(tree.options["_reversed_padding_repeated_twice"])
            yield "aten.pad.default", {"pad": both, "mode": mode}
            padding = [0]
        given: dict[str, Any] = {
            "weight": chain.weight(tree, path, "weight"), "bias": chain.weight(tree, path, "bias"),
            "stride": _list(tree.options["stride"]), "dilation": _list(tree.options["dilation"]),
            "groups": tree.options["groups"],
            "padding": padding if isinstance(padding, str) else _list(padding),
        }  # fmt: skip
        if "transpose" in target:
            given["output_padding"] = _list(tree.options["output_padding"])
        yield target, given

    return make


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (tuple, list)) else [value]


def _recurrent(chain: _Chain, tree: ModuleTree, path: str) -> Iterator[Step]:
    kind, options = _class(tree), tree.options
    target = {"LSTM": "lstm", "GRU": "gru"}.get(kind) or f"rnn_{options['nonlinearity']}"
    biased, depth = bool(options["bias"]), options["num_layers"]
    both = bool(options["bidirectional"])
    names = ["weight_ih", "weight_hh"] + ["bias_ih", "bias_hh"] * biased
    names += ["weight_hr"] * bool(options.get("proj_size"))
    params = [
        chain.weight(tree, path, f"{name}_l{layer}{suffix}")
        for layer in range(depth)
        for suffix in _DIRECTIONS[: 1 + both]
        for name in names
    ]
    zero = chain.zero_states(1 + (kind == "LSTM"))
    yield f"aten.{target}.input", {
        "hx": zero if kind == "LSTM" else zero[0], "params": params, "has_biases": biased,
        "num_layers": depth, "dropout": 0.0, "train": False, "bidirectional": both,
        "batch_first": bool(options["batch_first"]),
    }  # fmt: skip


def _batch_norm(chain: _Chain, tree: ModuleTree, path: str) -> Iterator[Step]:
    given = {name: chain.weight(tree, path, name)
             for name in ("weight", "bias", "running_mean", "running_var")}  # fmt: skip
    yield "aten.batch_norm.default", {**given, "training": False, "eps": tree.options["eps"]}


def _instance_norm(chain: _Chain, tree: ModuleTree, path: str) -> Iterator[Step]:
    given = {name: chain.weight(tree, path, name)
             for name in ("weight", "bias", "running_mean", "running_var")}  # fmt: skip
    uses = given["running_mean"] is None
    yield "aten.instance_norm.default", {
        **given, "use_input_stats": uses, "eps": tree.options["eps"]
    }  # fmt: skip


def _layer_norm(chain: _Chain, tree: ModuleTree, path: str) -> Iterator[Step]:
    given = {"weight": chain.weight(tree, path, "weight")}
    shape, eps = list(tree.options["normalized_shape"]), tree.options["eps"]
    if _class(tree) == "RMSNorm":
        yield "aten.rms_norm.default", {"normalized_shape": shape, **given, "eps": eps}
        return
    given["bias"] = chain.weight(tree, path, "bias")
    yield "aten.layer_norm.default", {"normalized_shape": shape, **given, "eps": eps}


def _softsign(chain: _Chain, tree: ModuleTree, path: str) -> Iterator[Step]:
    del chain, tree, path
    yield "seqcore.activation", {"kind": "softsign"}


def _pad(mode: str) -> Maker:
    def make(chain: _Chain, tree: ModuleTree, path: str) -> Iterator[Step]:
        del chain, path
        value = tree.options.get("value", 0.0) if mode == "constant" else None
        yield "aten.pad.default", {
            "pad": _list(tree.options["padding"]), "mode": mode, "value": value
        }  # fmt: skip

    return make


def _unflatten(chain: _Chain, tree: ModuleTree, path: str) -> Iterator[Step]:
    del chain, path
    sizes = list(tree.options["unflattened_size"])
    yield "aten.unflatten.int", {"dim": tree.options["dim"], "sizes": sizes}


def _upsample(chain: _Chain, tree: ModuleTree, path: str) -> Iterator[Step]:
    if tree.options.get("mode") != "nearest":
        raise _NotKnownError(f"mode {tree.options.get('mode')!r}")
    del chain, path
    factor = tree.options.get("scale_factor")
    factors = None if factor is None else [_list(factor)[0]]
    yield "aten.upsample_nearest1d.vec", {
        "output_size": tree.options.get("size"), "scale_factors": factors
    }  # fmt: skip


def _values(pool: Maker) -> Maker:
    """Return the maker of a pooling that gives its values alone, not where they were as well."""

    def make(chain: _Chain, tree: ModuleTree, path: str) -> Iterable[Step]:
        if tree.options.get("return_indices"):
            raise _NotKnownError("return_indices=True")
        return pool(chain, tree, path)

    return make


_POOL = ("kernel_size", "stride", "padding", "ceil_mode")

MODULES: Mapping[str, Maker] = {
    "Linear": _weights("aten.linear.default", "weight", "bias"),
    "Embedding": _embedding,
    "Conv1d": _conv("aten.conv1d.default"),
    "ConvTranspose1d": _conv("aten.conv_transpose1d.default"),
    **dict.fromkeys(RECURRENT, _recurrent),
    "LayerNorm": _layer_norm,
    "RMSNorm": _layer_norm,
    "BatchNorm1d": _batch_norm,
    "InstanceNorm1d": _instance_norm,
    "GroupNorm": _weights(
        "aten.group_norm.default", "weight", "bias", options=("num_groups", "eps")
    ),
    "MaxPool1d": _values(_calls("aten.max_pool1d.default", *_POOL, "dilation")),
    "AvgPool1d": _calls("aten.avg_pool1d.default", *_POOL, "count_include_pad"),
    "AdaptiveAvgPool1d": _calls("aten.adaptive_avg_pool1d.default", "output_size"),
    "AdaptiveMaxPool1d": _values(_calls("aten.adaptive_max_pool1d.default", "output_size")),
    "ConstantPad1d": _pad("constant"),
    "ZeroPad1d": _pad("constant"),
    "ReflectionPad1d": _pad("reflect"),
    "ReplicationPad1d": _pad("replicate"),
    "CircularPad1d": _pad("circular"),
    "Upsample": _upsample,
    "Flatten": _calls("aten.flatten.using_ints", "start_dim", "end_dim"),
    "Unflatten": _unflatten,
    **dict.fromkeys(
        ("Identity", "Dropout", "Dropout1d", "AlphaDropout", "FeatureAlphaDropout"), _nothing
    ),
    "ReLU": _calls("aten.relu.default"),
    "ReLU6": _calls("aten.hardtanh.default", fixed={"min_val": 0.0, "max_val": 6.0}),
    "Tanh": _calls("aten.tanh.default"),
    "Sigmoid": _calls("aten.sigmoid.default"),
    "LeakyReLU": _calls("aten.leaky_relu.default", "negative_slope"),
    "ELU": _calls("aten.elu.default", "alpha"),
    "SELU": _calls("aten.selu.default"),
    "CELU": _calls("aten.celu.default", "alpha"),
    "GELU": _calls("aten.gelu.default", "approximate"),
    "SiLU": _calls("aten.silu.default"),
    "Mish": _calls("aten.mish.default"),
    "Softplus": _calls("aten.softplus.default", "beta", "threshold"),
    "Softsign": _softsign,
    "Hardtanh": _calls("aten.hardtanh.default", "min_val", "max_val"),
    "Hardsigmoid": _calls("aten.hardsigmoid.default"),
    "Hardswish": _calls("aten.hardswish.default"),
    "Hardshrink": _calls("aten.hardshrink.default", "lambd"),
    "Softshrink": _calls("aten.softshrink.default", "lambd"),
    "Tanhshrink": _calls("seqcore.activation", fixed={"kind": "tanh_shrink"}),
    "LogSigmoid": _calls("aten.log_sigmoid.default"),
    "Threshold": _calls("aten.threshold.default", "threshold", "value"),
    "PReLU": _weights("aten.prelu.default", "weight"),
    "GLU": _calls("aten.glu.default", "dim"),
    "Softmax": _calls("aten.softmax.int", "dim"),
    "LogSoftmax": _calls("aten.log_softmax.int", "dim"),
}

# Under which name an operator takes the tensor.
_TENSOR = {
    "linear": "input", "embedding": "indices", "conv1d": "input", "conv_transpose1d": "input",
    "lstm": "input", "gru": "input", "rnn_tanh": "input", "rnn_relu": "input",
    "layer_norm": "input", "rms_norm": "input", "batch_norm": "input", "instance_norm": "input",
    "group_norm": "input", "upsample_nearest1d": "input",
}  # fmt: skip


_WITH_INDICES = frozenset(["aten.adaptive_max_pool1d.default"])  # which nobody uses here


class _NotKnownError(Exception):
    """What a module is told to do is not supported; the message says what."""


def _whole(tree: ModuleTree, where: str) -> Mapping[str, Any]:
    """Return the arrays of a module by the names that they have without weight_norm."""
    own: dict[str, Any] = {k: array for k, array in tree.arrays.items() if array is not None}
    computed = tree.children.get("parametrizations")
    for name, entry in computed.children.items() if computed else ():
        for part, array in entry.arrays.items() if entry else ():
            own[f"parametrizations.{name}.{part}"] = array
    return layouts.unparametrised(own, where)


# ---- A chain of modules as a program -------------------------------------------------------------


@dataclass
class _Chain:
    """Collects the nodes of a Sequential."""

    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    offenders: list[tuple[str, str]] = field(default_factory=list)
    value: Any = field(default_factory=lambda: Ref("input"))
    results: tuple[Any, ...] = ()
    whole: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    count: int = 0

    def weight(self, tree: ModuleTree, path: str, name: str) -> Ref | None:
        """Return a weight of a module as an argument; None for one that it was made without."""
        array = self.arrays_of(tree, path).get(name)
        if array is None:
            return None
        own = f"{path}.{name}".lstrip(".")
        label = f"p_{len(self.constants)}"
        self.constants[label], self.paths[label] = array, own
        return Ref(label)

    def arrays_of(self, tree: ModuleTree, path: str) -> Mapping[str, Any]:
        """Return a module's weights, those together that weight_norm took apart."""
        if id(tree) not in self.whole:
            self.whole[id(tree)] = _whole(tree, path or short_kind(tree))
        return self.whole[id(tree)]

    def zero_states(self, count: int) -> list[Ref]:
        import numpy as np

        self.constants.setdefault("zero", np.zeros((1, 1, 1), np.float32))
        return [Ref("zero")] * count

    def add(self, tree: ModuleTree, path: str) -> None:
        """Add a module behind those that there are."""
        self.count += 1
        if self.count > _MOST_MODULES or path.count(".") > _MOST_NESTED:
            what = f"more than {_MOST_MODULES} modules, or nested more than {_MOST_NESTED} deep"
            raise UnsupportedLayerError([(path[:80], what)])
        name = _class(tree)
        if tree.changed:
            self.offenders.append((_told(tree, path), tree.changed))
        elif name == "Sequential" or name in _WRAPPERS:
            for key, child in tree.children.items():
                if child is not None:
                    self.add(child, f"{path}.{key}".lstrip("."))
        elif name not in MODULES:
            self.offenders.append((_told(tree, path), _why_not(tree)))
        elif self.results:
            self.offenders.append((_told(tree, path), "it would take the tuple of what is before"))
        else:
            self._call(tree, path, name)

    def _call(self, tree: ModuleTree, path: str, name: str) -> None:
        try:
            for target, given in MODULES[name](self, tree, path):
                self._node(target, given, path, tuple_of=_results(name))
        except (_NotKnownError, *MALFORMED) as error:
            why = f"option {error} is missing" if isinstance(error, KeyError) else str(error)
            self.offenders.append((_told(tree, path), why))

    def _node(self, target: str, given: dict[str, Any], path: str, tuple_of: int) -> None:
        own = _TENSOR.get(target.split(".")[1], "self")
        names = tuple(f"v{len(self.nodes)}_{k}" for k in range(max(tuple_of, 1)))
        arguments = {own: self.value, **given}
        more = (None,) * (target in _WITH_INDICES)
        self.nodes.append(Node(target, arguments, (*names, *more), path))
        self.value = Ref(names[0])
        if tuple_of:
            self.results = tuple(Ref(name) for name in names)

    def program(self, shape: tuple[int | str, ...], dtype: str) -> Program:
        outputs = self.results or (self.value,)
        return Program(
            (ProgramInput("input", dtype, shape),), outputs, tuple(self.nodes), self.constants,
            self.paths,
        )  # fmt: skip


def _results(name: str) -> int:
    return {"LSTM": 3, "GRU": 2, "RNN": 2}.get(name, 0)


def _told(tree: ModuleTree, path: str) -> str:
    return f"{path} ({short_kind(tree)})" if path else short_kind(tree)


def _why_not(tree: ModuleTree) -> str:
    if not _is_torchs(tree):
        return (
            "its forward is code, which no file holds: from_torch(module, example_input=...) or a "
            ".pt2 of torch.export has what it does"
        )
    return REFUSED.get(
        _class(tree), "in a chain of modules it is not supported; from_torch takes an example_input"
    )


def from_tree(tree: ModuleTree, source: str, *, return_state: bool = False) -> Model:
    """Make a model of a module that torch itself can run: a chain, or one recurrent module.

    Parameters
    ----------
    tree : ModuleTree
    source : str
        For messages.
    return_state : bool
        Of a recurrent module alone: whether (out, h_n[, c_n]) is returned.

    Raises
    ------
    UnsupportedLayerError
        Listing every module that is not supported.
    """
    tree = without_wrappers(tree)
    try:
        return _from_tree(tree, source, return_state)
    except MALFORMED as error:
        if isinstance(error, SeqcoreError):
            raise
        why = f"option {error} is missing" if isinstance(error, KeyError) else str(error)
        told = f"options that it cannot have: {why[:200]}"
        raise UnsupportedLayerError([(short_kind(tree), told)], source) from error


def _from_tree(tree: ModuleTree, source: str, return_state: bool) -> Model:
    if _class(tree) in RECURRENT:
        return _lone(tree, source, return_state)
    chain = _Chain()
    chain.add(tree, "")
    if chain.offenders:
        raise UnsupportedLayerError(_unrolled(tree, chain.offenders), source)
    if not chain.nodes:
        raise UnsupportedLayerError([(short_kind(tree), "it does nothing")], source)
    error: UnsupportedLayerError | None = None
    for dtype, shape in _shapes(tree):
        try:
            return model_of(chain.program(shape, dtype), source)
        except UnsupportedLayerError as found:
            error = error or found
    if error is None:
        why = "the shape of its input does not follow from it: from_torch takes an example_input"
        raise UnsupportedLayerError([(short_kind(tree), why)], source)
    raise error


def _unrolled(tree: ModuleTree, offenders: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Say of a class of somebody's own what is inside of it, which layers can be made of."""
    if _is_torchs(tree) or len(offenders) != 1:
        return offenders
    named = itertools.islice(_named(tree, "", set()), 12)
    parts = [f"{path}: {short_kind(part)}" for path, part in named]
    (name, why), *_ = offenders
    return [(name, f"{why}; inside are {', '.join(parts)}" if parts else why)]


def _named(tree: ModuleTree, path: str, seen: set[int]) -> Iterator[tuple[str, ModuleTree]]:
    for key, child in tree.children.items():
        if child is None or id(child) in seen:
            continue
        seen.add(id(child))
        own = f"{path}.{key}".lstrip(".")
        if _is_torchs(child) and _class(child) not in ("ModuleList", "ModuleDict", "Sequential"):
            yield own, child
        else:
            yield from _named(child, own, seen)


def _flat(tree: ModuleTree) -> Iterator[ModuleTree]:
    if _class(tree) in MODULES:
        yield tree
        return
    for child in tree.children.values():
        if child is not None:
            yield from _flat(child)


def _shapes(tree: ModuleTree) -> list[tuple[str, tuple[int | str, ...]]]:
    """Return the inputs that the first module that tells may take, the likeliest first."""
    for part in _flat(tree):
        name, options = _class(part), part.options
        if name == "Embedding":
            return [("int64", ("batch", "time"))]
        if name in RECURRENT:
            size = options["input_size"]
            shape = ("batch", "time", size) if options["batch_first"] else ("time", "batch", size)
            return [("float32", shape)]
        if name == "Linear":
            size = options["in_features"]
            return [("float32", ("batch", size)), ("float32", ("batch", "time", size))]
        if name in ("Conv1d", "ConvTranspose1d"):
            return [("float32", ("batch", options["in_channels"], "time"))]
        if name in ("BatchNorm1d", "InstanceNorm1d", "GroupNorm"):
            size = options.get("num_features", options.get("num_channels"))
            return [("float32", ("batch", size, "time")), ("float32", ("batch", size))]
        if name in ("LayerNorm", "RMSNorm"):
            sizes = tuple(options["normalized_shape"])
            return [("float32", ("batch", *sizes)), ("float32", ("batch", "time", *sizes))]
        if not re.fullmatch(r"Identity|.*Dropout.*|.*ReLU.*|Tanh|Sigmoid|.*ELU|SiLU|Mish", name):
            return []
    return []


def _lone(tree: ModuleTree, source: str, return_state: bool) -> Model:
    """Make a model of one recurrent module; batch first, whatever its batch_first."""
    if tree.changed:
        raise UnsupportedLayerError([(short_kind(tree), tree.changed)], source)
    name = _class(tree)
    layer = RECURRENT[name]
    label = layer.__name__
    activation = tree.options["nonlinearity"] if name == "RNN" else "tanh"
    arrays = _whole(tree, short_kind(tree))
    rows = [
        [layer.from_cell(cell, activation=activation) for cell in row]
        for row in layouts.torch_recurrent(label, arrays, "", label)
    ]
    stack = RecurrentStack(rows, return_state=return_state, stacked=True)
    x = Input((None, tree.options["input_size"]))
    return Model(x, stack(x))
