"""Writes the tables of docs/keras.md from the tables of the importer, and from layers themselves.

    python docs/keras_page.py

pages.py says how. What masks and streams do is found out by making each layer and asking it, so
that the page cannot say otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pages import code, empty_folder, grouped, table, tables_of, write

import seqcore as sc
from seqcore.graph import ActivationSpec, GraphBuilder, Mask, Site, Value
from seqcore.importers.keras.booleans import BOOLEANS
from seqcore.importers.keras.classes import CLASSES, KerasClass, layer_of
from seqcore.importers.keras.config import ACTIVATIONS, COMMON, Config, Option, Version
from seqcore.importers.keras.graphs import INPUT_OPTIONS
from seqcore.importers.keras.keras1 import _CLASSES as KERAS_1
from seqcore.importers.keras.operations import COMPARISONS, OPERATIONS
from seqcore.importers.keras.refused import REFUSED

PAGE = Path(__file__).with_name("keras.md")
SIZE = 4  # of everything in the layers that are made here, so that any weight's shape is known


def versions(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


# ---- What files may say -------------------------------------------------------------------------

_TAKES = {
    "one": "one value",
    "many": "several values",
    "states": "one value, and initial states",
}


def layers() -> str:
    """Return every class with its options; classes that share all of that, together."""
    same = grouped((kind, _said(known)) for kind, known in CLASSES.items())
    return "\n".join(f"**{'**, **'.join(kinds)}**.{said}" for said, kinds in same.items())


def _said(known: KerasClass) -> str:
    takes = _TAKES[known.takes] if isinstance(known.takes, str) else code(known.takes)
    note = f" {known.note}" if known.note else ""
    lines = [f" Keras {versions(known.keras)}. Takes {takes}.{note}"]
    free = [
        f"`{name}`: {option.told}{_default(option)}"
        for name, option in known.options.items()
        if option.kept
    ]
    lines += [f"- {'; '.join(free)}"] if free else []
    if known.calls:
        lines.append(f"- at a call: {code(known.calls)}")
    fixed = {name: option.told for name, option in known.options.items() if not option.kept}
    for told, names in grouped(fixed.items()).items():
        lines.append(f"- {code(names)}: {told}")
    return "\n".join(lines) + "\n"


def _default(option: Option) -> str:
    """Return what a file without the option means."""
    default = option.default
    if isinstance(default, (bool, int, float, str, list, tuple)):
        return f" (`{json.dumps(default)}`)"
    return "" if default is None else " (required)"


def common() -> str:
    rows = [[code(names), told] for told, names in _told(COMMON)]
    return table(["option", "may be"], rows)


def inputs() -> str:
    return table(
        ["option", "may be"], [[code(names), told] for told, names in _told(INPUT_OPTIONS)]
    )


def _told(options: Mapping[str, Option]) -> Iterator[tuple[str, list[str]]]:
    yield from grouped((name, option.told) for name, option in options.items()).items()


def refused() -> str:
    rows = [[code(sorted(kinds)), why] for why, kinds in grouped(REFUSED.items()).items()]
    return table(["class", "why"], rows)


def keras_1() -> str:
    """Return the classes and options of Keras 1 that have another name in Keras 2."""
    rows = []
    for kind, (now, options) in KERAS_1.items():
        renamed = ", ".join(f"`{old}` `{new}`" for old, new in options.items())
        rows.append([f"`{kind}`", f"`{now}`", renamed])
    return table(["Keras 1", "Keras 2", "options: then, now"], rows)


def activations() -> str:
    """Return every activation by name, with what it is in each version."""
    names = list(dict.fromkeys(name for known in ACTIVATIONS.values() for name in known))
    rows = []
    for name in names:
        specs = [ACTIVATIONS[major].get(name) for major in ACTIVATIONS]
        rows.append([f"`{name}`", *map(_spec, specs)])
    return table(["name", *(f"Keras {major}" for major in ACTIVATIONS)], rows)


def _spec(spec: ActivationSpec | None) -> str:
    if spec is None:
        return ""
    kind, *numbers = spec.attr()
    return f"{kind} {', '.join(f'{number:.4g}' for number in numbers)}" if any(numbers) else kind


def operations() -> str:
    """Return the operations outside of layers, by the names of Keras 3 and of TensorFlow."""
    rows = [_both(names) for names in grouped(OPERATIONS.items()).values()]
    return table(["Keras 3", "TensorFlow"], rows)


def booleans() -> str:
    return f"{code(BOOLEANS)}. Token ids may go into {code(COMPARISONS)}.\n"


def _both(names: Sequence[str]) -> list[str]:
    """Part the names of an operation by whose they are: Keras 3 has classes."""
    keras = [name for name in names if name[:1].isupper()]
    return [code(keras), code(name for name in names if name not in keras)]


# ---- What is refused as a whole -----------------------------------------------------------------


def foreign() -> str:
    """Make a file or folder of each kind that `load` knows and refuses, and let it say so."""
    kinds: dict[str, tuple[str, Callable[[Path], Any]]] = {
        "SavedModel": ("saved", lambda path: _folder(path, "saved_model.pb")),
        "TensorFlow checkpoint": ("model.ckpt", lambda path: _beside(path, ".index")),
        "TensorFlow graph": ("frozen.pb", lambda path: path.write_bytes(b"\n\x05")),
        "folder of `model.save(..., zipped=False)`": (
            "model.keras", lambda path: _folder(path, "config.json", "metadata.json")
        ),
        "index of `save_weights(..., max_shard_size=)`": (
            "weights.json", lambda path: path.write_text('{"weight_map": {}}')
        ),
    }  # fmt: skip
    rows = []
    with empty_folder():
        for kind, (name, make) in kinds.items():
            make(Path(name))
            rows.append([kind, _refusal(name)])
    return table(["kind", "what is said"], rows)


def _folder(path: Path, *members: str) -> None:
    path.mkdir()
    for member in members:
        (path / member).write_bytes(b"{}")


def _beside(path: Path, ending: str) -> None:
    path.with_name(path.name + ending).write_bytes(b"")


def _refusal(name: str) -> str:
    model = sc.Sequential([sc.Input((None, SIZE)), sc.LSTM(SIZE)])
    try:
        model.load_weights(name) if name.endswith("json") else sc.load(name)
    except sc.ModelFileError as error:
        return str(error).removeprefix(f"{name}: ")
    raise AssertionError(f"{name} is not refused")


# ---- Asking layers ------------------------------------------------------------------------------

_DENSE = {"class_name": "Dense", "config": {"units": SIZE}}
_LSTM = {"class_name": "LSTM", "config": {"units": SIZE, "return_sequences": True}}
_LSTM_CELL = {"class_name": "LSTMCell", "config": {"units": SIZE}}


def _each(kinds: str, options: Any) -> dict[str, Any]:
    return dict.fromkeys(kinds.split(), options)


# The options without which a layer cannot be made. Values are (B, T, 4), or ids (B, T).
_NEEDED: Mapping[str, Mapping[str, Any]] = {
    **_each("SimpleRNN LSTM GRU CuDNNLSTM CuDNNGRU", {"units": SIZE}),
    **_each("SimpleRNNCell LSTMCell GRUCell Dense", {"units": SIZE}),
    "StackedRNNCells": {"cells": [_LSTM_CELL]},
    "RNN": {"cell": _LSTM_CELL},
    "Bidirectional": {"layer": _LSTM, "merge_mode": "concat"},
    "TimeDistributed": {"layer": _DENSE},
    "Embedding": {"input_dim": SIZE, "output_dim": SIZE},
    "CategoryEncoding": {"num_tokens": SIZE, "output_mode": "one_hot"},
    "Activation": {"activation": "tanh"},
    "LeakyReLU": {"negative_slope": 0.3, "alpha": 0.3},
    "ELU": {"alpha": 1.0},
    "ThresholdedReLU": {"theta": 1.0},
    **_each("Conv1D SeparableConv1D Conv1DTranspose", {"filters": SIZE, "kernel_size": 2}),
    "DepthwiseConv1D": {"kernel_size": 2},
    **_each("MaxPooling1D AveragePooling1D", {"pool_size": 2}),
    "Cropping1D": {"cropping": [1, 1]},
    "ZeroPadding1D": {"padding": [1, 1]},
    "UpSampling1D": {"size": 2},
    "Reshape": {"target_shape": [-1, 2, 2]},
    "Permute": {"dims": [2, 1]},
    "RepeatVector": {"n": 2},
    "Concatenate": {"axis": -1},
    "Dot": {"axes": 2},
    "EinsumDense": {"equation": "abc,cd->abd", "output_shape": [None, SIZE]},
    "GroupNormalization": {"groups": 2},
    "Rescaling": {"scale": 2.0},
    "PReLU": {"shared_axes": [1]},
    "MultiHeadAttention": {"num_heads": 1, "key_dim": SIZE},
}
# Options that change what a mask or a stream meets.
_VARIANTS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    **_each(
        "SimpleRNN LSTM GRU CuDNNLSTM CuDNNGRU RNN",
        [{"return_sequences": True}, {"go_backwards": True}],
    ),
    "Embedding": [{"mask_zero": True}],
    **_each("Conv1D DepthwiseConv1D SeparableConv1D", [{"padding": "causal"}]),
    "Cropping1D": [{"cropping": [0, 0]}],
    "Reshape": [{"target_shape": [SIZE, -1]}],
    "Concatenate": [{"axis": 1}],
    "Softmax": [{"axis": 1}],
    **_each("LayerNormalization RMSNormalization UnitNormalization", [{"axis": [1, 2]}]),
}
_VALUES = {"many": 2, "one": 1, "states": 1}


@dataclass(frozen=True)
class Case:
    """A class of Keras with options."""

    kind: str
    version: tuple[int, int, int]  # of Keras
    options: Mapping[str, Any]

    @property
    def title(self) -> str:
        told = ", ".join(f"{name}={_short(value)}" for name, value in self.options.items())
        return f"{self.kind}({told})" if told else self.kind

    @property
    def values(self) -> int:
        takes = CLASSES[self.kind].takes
        return _VALUES[takes] if isinstance(takes, str) else 2

    @property
    def takes_vector(self) -> bool:
        return self.kind.endswith(("Cell", "Cells")) or self.kind == "RepeatVector"

    def inputs(self) -> list[sc.Input]:
        """Return what a call of the layer takes."""
        if self.kind in ("Embedding", "CategoryEncoding"):
            return [sc.Input((None,), dtype="int64")]
        shape = (SIZE,) if self.takes_vector else (None, SIZE)
        return [sc.Input(shape) for _ in range(self.values)]

    def layer(self) -> sc.Layer:
        """Return the layer, with weights of zeros."""
        config = {**_NEEDED.get(self.kind, {}), **self.options}
        entry = {"class_name": self.kind, "config": config}
        made = layer_of(Config("docs/keras.md", Version(self.version), entry, "layer"))
        return made.loaded([_zeros(slot.shape) for slot in made.keras_weights()])


def _short(value: Any) -> str:
    return value["class_name"] if isinstance(value, dict) else repr(value)


def _cases() -> Iterator[Case]:
    for kind, known in CLASSES.items():
        for options in ({}, *_VARIANTS.get(kind, ())):
            yield Case(kind, (known.keras[-1], 99, 0), options)  # the last of its major version


def _answers(cases: Iterable[Case], ask: Callable[[Case], Any]) -> dict[Any, list[str]]:
    """Group layers by what they answer; options are told where they make a difference."""
    found = {}
    plain: dict[str, Any] = {}
    for case in cases:
        answer = ask(case)
        if not case.options or answer != plain[case.kind]:
            found[case.title] = answer
        if not case.options:
            plain[case.kind] = answer
    return grouped(found.items())


# ---- Masks --------------------------------------------------------------------------------------


def masks() -> str:
    """Return what layers of one value do with its mask."""
    found = _answers([case for case in _cases() if case.values == 1], _of_one)
    rows = [[reads, gives, code(titles)] for (gives, reads), titles in found.items()]
    return table(["reads it", "its result has", "layers"], rows)


def merges() -> str:
    """Return the masks of what reads two values, where both have one and where only the first."""
    rows = []
    several = [case for case in _cases() if case.values > 1]
    for case in several:
        cells = []
        for version in ((3, 3, 0), (3, 4, 0)):
            for given in ((_given(0), _given(1)), (_given(0), None)):
                made, reads = _lowered(replace(case, version=version), given)
                cells.append(_mask(made[0].mask, given) + (", reads" if reads else ""))
        rows.append([f"`{case.title}`", *cells])
    return table(["layer", "before 3.4, two masks", "one", "since 3.4, two masks", "one"], rows)


def _of_one(case: Case) -> tuple[str, str]:
    given = (_given(0),)
    made, reads = _lowered(case, given)
    return _mask(made[0].mask, given), "yes" if reads else "no"


def _given(number: int) -> Mask:
    return Mask("value", (f"mask{number}",))


def _lowered(case: Case, given: Sequence[Mask | None]) -> tuple[list[Value], bool]:
    """Return what a layer makes of values with these masks, and whether it reads one of them."""
    graph = GraphBuilder()
    values = [
        replace(graph.data_input(f"x{number}", symbol.shape, symbol.dtype), mask=mask)
        for number, (symbol, mask) in enumerate(zip(case.inputs(), given, strict=True))
    ]
    made = case.layer().apply(graph, Site("layer", "layer", "layer"), values)
    names = {mask.sources[0] for mask in given if mask is not None}
    nodes = json.loads(graph.finish().to_json())["nodes"]
    return made, any(name in names for node in nodes for name in node["inputs"])


def _mask(mask: Mask | None, given: Sequence[Mask | None]) -> str:
    """Say in words where a mask comes from."""
    if mask is None:
        return "none"
    if mask in given:
        return (
            "the same mask"
            if len(given) == 1
            else f"the {('first', 'second')[given.index(mask)]}'s"
        )
    told = {"any": "frames of any", "all": "frames of all", "concat": "one behind the other"}
    return told.get(mask.kind, "a mask of its own")


# ---- Streams ------------------------------------------------------------------------------------


def streams() -> str:
    """Return which layers can be stepped, and what the others say."""
    found = _answers(_cases(), _stepped)
    return table(["in a stream", "layers"], [[why, code(titles)] for why, titles in found.items()])


# What makes a vector of a sequence
_LAST = sc.LSTM(np.zeros((SIZE, 4 * SIZE)), np.zeros((SIZE, 4 * SIZE)))


def _stepped(case: Case) -> str:
    inputs = case.inputs()
    before: Sequence[sc.Symbol] = inputs
    if case.takes_vector:
        sequence = sc.Input((None, SIZE))
        inputs, before = [sequence], [_LAST(sequence)]
    made = case.layer()(*before)
    model = sc.Model(inputs, made[0] if isinstance(made, tuple) else made)
    try:
        model.stream()
    except sc.UnsupportedLayerError as error:
        return re.sub(r"^.*?: (layer '.*?' \(\w+\): )?", "", str(error))
    return "steps"


def _zeros(shape: Sequence[int | None] | None) -> Any:
    sizes = (1, SIZE) if shape is None else shape  # PReLU: T shared
    return np.zeros([SIZE if size is None else size for size in sizes], np.float32)


TABLES = tables_of(
    foreign, inputs, layers, common, refused, activations, operations, booleans, masks, merges,
    streams, keras_1,
)  # fmt: skip

if __name__ == "__main__":
    write(PAGE, TABLES)
