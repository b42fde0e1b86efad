"""Writes the tables of docs/pytorch.md from the tables and the code of the importer.

    python docs/pytorch_page.py

pages.py says how. It needs torch: files are written and loaded, modules exported, and what happens
is what the page says. The arguments of an operator are those of its function, and what it refuses
is read out of it, from every `RefusedError` that it or a helper of its file raises
(operator_tables.py).
"""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from operator_tables import described, title, told_of
from pages import code, empty_folder, grouped, table, tables_of, write
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import seqcore as sc
from seqcore.formats.torch_programs import Program
from seqcore.importers.aten import arguments, folding, operators, reader, tensors
from seqcore.importers.aten.operators import OPERATORS
from seqcore.importers.torch import graph
from seqcore.importers.torch.live import export_program
from seqcore.importers.torch.modules import MODULES, _Chain
from seqcore.importers.torch.refused import REFUSED
from seqcore.importers.torch.trees import module_tree

PAGE = Path(__file__).with_name("pytorch.md")
SIZE = 4  # of features and channels in the modules that are made here
GOLDEN = Path(__file__).parents[1] / "tests" / "golden"


# ---- Files ---------------------------------------------------------------------------------------


class Tagger(nn.Module):
    """A module of somebody's own, whose forward is code."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(SIZE, SIZE, batch_first=True)

    def forward(self, x: Any) -> Any:
        return self.lstm(x)[0]


def _export(module: Any, path: str) -> None:
    rows = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    example = (torch.zeros(2, 3, SIZE),)
    torch.export.save(torch.export.export(module, example, dynamic_shapes=(rows,)), path)


def _old_export(path: str) -> None:
    Path(path).write_bytes((GOLDEN / "torch2.4.1_export.pt2").read_bytes())


def _safetensors(path: str) -> None:
    from safetensors.torch import save_file

    save_file(_chain().state_dict(), path)


def _index(path: str) -> None:
    _safetensors("shard.safetensors")
    places = dict.fromkeys(_chain().state_dict(), "shard.safetensors")
    Path(path).write_text(json.dumps({"metadata": {}, "weight_map": places}))


def _tar(path: str) -> None:
    Path(path).write_bytes(b"sys_info".ljust(1024, b"\0"))


def _chain() -> Any:
    return nn.Sequential(nn.Linear(SIZE, SIZE), nn.Tanh())


_LEGACY: dict[str, Any] = {"_use_new_zipfile_serialization": False}
_FILES: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "program of torch.export, of torch 2.8 and later": ("m.pt2", lambda p: _export(Tagger(), p)),
    "the same, of torch 2.4 to 2.7, for a batch of at most 1000": ("m.pt2", _old_export),
    "whole module, of torch's own classes": ("m.pt", lambda p: torch.save(_chain(), p)),
    "the same, as torch wrote before 1.6": ("m.pt", lambda p: torch.save(_chain(), p, **_LEGACY)),
    "whole module, of a class of one's own": ("m.pt", lambda p: torch.save(Tagger(), p)),
    "state_dict": ("w.pt", lambda p: torch.save(Tagger().state_dict(), p)),
    "state_dict, as torch wrote before 1.6": ("w.pt", lambda p: torch.save(
        Tagger().state_dict(), p, **_LEGACY)),
    "checkpoint: a dict with a state_dict in it": ("w.ckpt", lambda p: torch.save(
        {"state_dict": Tagger().state_dict(), "epoch": 3}, p)),
    "checkpoint: a dict with a module in it": ("w.ckpt", lambda p: torch.save(
        {"net": _chain(), "epoch": 3}, p)),
    "TorchScript": ("m.pt", lambda p: torch.jit.save(torch.jit.script(_chain()), p)),
    "safetensors": ("w.safetensors", _safetensors),
    "shards: the index of files of weights": ("w.index.json", _index),
    "tar archive of torch 0.1": ("w.pt", _tar),
}  # fmt: skip


def files() -> str:
    """Write a file of each kind, load it and read its weights; tell what comes of it."""
    rows = []
    with warnings.catch_warnings(), empty_folder():
        warnings.simplefilter("ignore")  # of torch.jit, that it is old
        for kind, (name, make) in _FILES.items():
            make(name)
            rows.append([kind, _result(sc.load, name), _result(sc.read_weights, name)])
    return table(["file", "`load`", "`read_weights`"], rows)


def _result(read: Callable[[str], Any], name: str) -> str:
    try:
        found = read(name)
    except sc.SeqcoreError as error:
        said = str(error).removeprefix(f"{name}: ").split("\n")[0]
        return "refused: " + said.replace(Tagger.__module__, "yours")
    if isinstance(found, sc.Model):
        return "a model"
    names = list(found)
    return code(names[:2]) + (" ..." if len(names) > 2 else "")


# ---- Layers from weights by name -----------------------------------------------------------------


def from_weights() -> str:
    """Return the layers that have `from_torch`, and what they must be told besides."""
    rows = []
    for name in sorted(sc.__all__, key=str.lower):
        make = getattr(getattr(sc, name), "from_torch", None)
        if make is None or not issubclass(getattr(sc, name), sc.Layer):
            continue
        told = inspect.signature(make).parameters
        options = [
            f"`{option}`" + ("" if given.default is ... else f" ({given.default!r})")
            for option, given in told.items()
            if option not in ("weights", "prefix", "name") and given.kind is given.KEYWORD_ONLY
        ]
        rows.append([f"`{name}`", ", ".join(options) or "nothing; other options of the layer"])
    return table(["layer", "what the weights do not tell"], rows)


# ---- Modules -------------------------------------------------------------------------------------


class _Watched(dict[str, Any]):
    """Options of a module, and which of them have been asked for."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self.asked: dict[str, None] = {}

    def __getitem__(self, name: str) -> Any:
        self.asked[name] = None
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.asked[str(name)] = None
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.asked[name] = None
        return super().get(name, default)


# What torch's classes want to be made; those that are not here want nothing.
_NEEDED: Mapping[str, tuple[Any, ...]] = {
    **dict.fromkeys(("Linear", "Embedding", "LSTM", "GRU", "RNN"), (SIZE, SIZE)),
    **dict.fromkeys(("LSTMCell", "GRUCell", "RNNCell"), (SIZE, SIZE)),
    **dict.fromkeys(("Conv1d", "ConvTranspose1d"), (SIZE, SIZE, 2)),
    **dict.fromkeys(("LayerNorm", "RMSNorm", "BatchNorm1d", "InstanceNorm1d"), (SIZE,)),
    **dict.fromkeys(("BatchNorm2d", "BatchNorm3d", "InstanceNorm2d", "InstanceNorm3d"), (SIZE,)),
    **dict.fromkeys(("MaxPool1d", "AvgPool1d", "AdaptiveAvgPool1d", "AdaptiveMaxPool1d"), (2,)),
    **dict.fromkeys(("ZeroPad1d", "ReflectionPad1d", "ReplicationPad1d", "CircularPad1d"), (1,)),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Softmin", "GLU"), (-1,)),
    **dict.fromkeys(("SyncBatchNorm",), (SIZE,)),
    "LPPool1d": (2, 2),
    "Bilinear": (SIZE, SIZE, 3),
    "GroupNorm": (2, SIZE),
    "ConstantPad1d": (1, 0.5),
    "Threshold": (0.1, 20.0),
    "Unflatten": (1, (2, 2)),
    "MultiheadAttention": (SIZE, 2),
    **dict.fromkeys(("TransformerEncoderLayer", "TransformerDecoderLayer"), (SIZE, 2, SIZE)),
}


def module_of(name: str) -> Any:
    """Return a module of torch's, of small sizes."""
    if name == "TransformerEncoder":
        return nn.TransformerEncoder(
            module_of("TransformerEncoderLayer"), 1, enable_nested_tensor=False
        )
    if name == "Transformer":
        return nn.Transformer(SIZE, 2, 1, 1, SIZE, batch_first=True)
    if name == "TransformerDecoder":
        layer = nn.TransformerDecoderLayer(*_NEEDED["TransformerDecoderLayer"])
        return _Attending(nn.TransformerDecoder(layer, 1))
    made = getattr(nn, name)(*_NEEDED.get(name, ()))
    return _Attending(made) if name == "TransformerDecoderLayer" else made


class _Attending(nn.Module):
    """A decoder that attends to its own input, which has the same rows."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, x: Any) -> Any:
        return self.decoder(x, x.flip(0))


def modules() -> str:
    """Return what each module of a chain calls, and the options that it reads."""
    rows = []
    for name, maker in MODULES.items():
        tree = module_tree(module_of(name))
        options = _Watched(tree.options)
        object.__setattr__(tree, "options", options)
        calls = [short(target) for target, _ in maker(_Chain(), tree, "")]
        asked = [option for option in options.asked if not option.startswith("_")]
        rows.append((f"nn.{name}", (code(calls) or "nothing", code(asked))))
    same = grouped(rows)
    return table(
        ["modules", "operators", "options read"],
        [[code(names), calls, asked] for (calls, asked), names in same.items()],
    )


def short(target: str) -> str:
    """Return "lstm" of "aten.lstm.input"."""
    space, _, rest = target.partition(".")
    return rest.split(".")[0] if space == "aten" else target.removesuffix(".default")


_FRAMES, _VECTOR, _IMAGE = (2, 3, SIZE), (2, SIZE), (2, SIZE, 3, 5)
# Of modules that come through from_torch with an example: the shapes of one.
EXAMPLES: Mapping[str, tuple[tuple[int, ...], ...]] = {
    **dict.fromkeys(("LSTMCell", "GRUCell", "RNNCell"), (_VECTOR,)),
    "MultiheadAttention": (_FRAMES,) * 3,
    **dict.fromkeys(("TransformerEncoderLayer", "TransformerEncoder"), (_FRAMES,)),
    **dict.fromkeys(("TransformerDecoderLayer", "TransformerDecoder"), (_FRAMES,)),
    "Transformer": (_FRAMES, (2, 5, SIZE)),
    **dict.fromkeys(("Bilinear", "CosineSimilarity", "PairwiseDistance"), (_VECTOR, _VECTOR)),
    **dict.fromkeys(("RReLU", "Softmin"), (_VECTOR,)),
    **dict.fromkeys(("Dropout2d", "BatchNorm2d", "InstanceNorm2d", "Softmax2d"), (_IMAGE,)),
    **dict.fromkeys(("Dropout3d", "BatchNorm3d", "InstanceNorm3d"), ((*_IMAGE, 2),)),
    "SyncBatchNorm": ((2, SIZE, 3),),
    "LPPool1d": ((2, SIZE, 6),),
}
# What holds modules: an nn.Sequential is a chain, the others are for a forward of one's own.
CONTAINERS = frozenset(["Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict"])
WRAPPERS = frozenset(["DataParallel"])


@cache
def exported(name: str) -> tuple[Any, Program]:
    """Return a module, and the program that an example gives."""
    torch.manual_seed(0)
    module = module_of(name).eval()
    return module, export_program(module, tuple(map(torch.zeros, EXAMPLES[name])))


def with_example() -> str:
    """Export each module with an example; return the operators of its program."""
    found = {}
    for name in EXAMPLES:
        _, program = exported(name)
        calls = dict.fromkeys(short(node.target) for node in program.nodes)
        found[f"nn.{name}"] = code(
            call for call in calls if f"aten.{call}" in OPERATORS and call != "sym_size"
        )
    rows = [[code(names), calls] for calls, names in grouped(found.items()).items()]
    return table(["modules", "operators"], rows)


def refused_modules() -> str:
    rows = [[code(sorted(names)), why] for why, names in grouped(REFUSED.items()).items()]
    return table(["modules", "why"], rows)


# ---- Operators -----------------------------------------------------------------------------------


def operator_files() -> str:
    """Return a table for every file of operators, in the order of their page."""
    parts = []
    for name in _FILES_OF_OPERATORS:
        module = getattr(operators, name)
        parts.append(f"**{title(module)}**\n\n{_operators(module)}")
    return "\n".join(parts)


_FILES_OF_OPERATORS = (
    "recurrent", "products", "windows", "elementwise", "reductions", "shapes", "picking",
)  # fmt: skip


def _operators(module: ModuleType) -> str:
    """Return the operators that a file defines; those of one code in one row."""
    rows = []
    for each in described(module, OPERATORS):
        told = code(each.arguments) + (f" (any: {code(each.ignored)})" if each.ignored else "")
        names = code(dict.fromkeys(map(short, each.names)))
        rows.append([names, told, "; ".join(each.refused)])
    return table(["operators", "arguments", "refused"], rows)


def anywhere() -> str:
    """Return what may be said of any operator: by what they share."""
    told = {
        "arguments": arguments, "axes": tensors, "constants": folding, "the program": reader,
        "the graph": graph,
    }  # fmt: skip
    rows = []
    for what, module in told.items():
        if said := told_of(module):
            rows.append([what, "; ".join(said)])
    return table(["of", "refused"], rows)


# ---- Layouts -------------------------------------------------------------------------------------


class Calling(nn.Module):
    """A module whose forward is a function of it and its inputs."""

    def __init__(self, forward: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: Any) -> Any:
        return self.function(self, *inputs)


def _packed(self: Any, x: Any, lengths: Any) -> Any:
    rows = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(self.lstm(rows)[0], batch_first=True, total_length=x.shape[1])[0]


def layouts() -> str:
    """Import modules of every layout; return shapes of inputs and outputs, and the batch's axis."""
    x, ids = torch.zeros(2, 3, SIZE), torch.zeros(3, dtype=torch.int64)
    lstm = nn.LSTM(SIZE, 5, batch_first=True)
    state = torch.zeros(1, 2, 5)
    cases: list[tuple[str, Any, Any]] = [
        ("`nn.LSTM(4, 5)`, without an example", nn.LSTM(SIZE, 5), None),
        ("`nn.LSTM(4, 5)`, an example of (3, 2, 4)", nn.LSTM(SIZE, 5), x.transpose(0, 1)),
        ("`nn.LSTM(4, 5, batch_first=True)`, an example of (2, 3, 4)", lstm, x),
        (
            "forward(x, h, c), which gives the states",
            Calling(lambda m, x, h, c: m.lstm(x, (h, c)), lstm=lstm), (x, state, state.clone()),
        ),
        (
            "forward(x, lengths), which packs x",
            Calling(_packed, lstm=lstm), (x, torch.tensor([3, 2])),
        ),
        ("`nn.Conv1d(4, 5, 2)`: channels before time", nn.Conv1d(SIZE, 5, 2), x.mT),
        (
            "forward(ids) of one row, (3,)",
            Calling(lambda m, ids: m.lstm(m.embedding(ids))[0], lstm=lstm,
                    embedding=nn.Embedding(9, SIZE)), ids,
        ),
    ]  # fmt: skip
    rows = []
    for what, module, example in cases:
        document, plan = _imported(module, example)
        inputs = [
            f"({_shape(plan.value_shape(each['name']))}) {_axis(each)}".strip()
            for each in document["inputs"]
            if each["kind"] == "data" or (example is None and each["kind"] == "state")
        ]
        outputs = [f"({_shape(plan.value_shape(each['value']))})" for each in document["outputs"]]
        rows.append([what, "; ".join(inputs), "; ".join(outputs)])
    return table(["module", "inputs", "outputs"], rows)


def _imported(module: Any, example: Any) -> tuple[Any, Any]:
    model = sc.from_torch(module.eval(), example)
    return model._graph.document, model._plan


def _shape(sizes: Iterable[int | None]) -> str:
    return ", ".join("?" if size is None else str(size) for size in sizes)


def _axis(entry: Mapping[str, Any]) -> str:
    told = entry["kind"] if entry["kind"] == "state" else entry.get("dtype", "float32")
    return told + (", batch in axis 1" if entry.get("batch_axis") else "")


TABLES = tables_of(
    files, layouts, from_weights, modules, with_example, refused_modules, operator_files, anywhere
)

if __name__ == "__main__":
    write(PAGE, TABLES)
