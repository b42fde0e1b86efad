# Types of the compiled module; the functions themselves are in _binding.pyx.
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

class Plan:
    isa: str
    nbytes: int
    def __init__(
        self,
        graph: bytes,
        tensors: dict[str, Array],
        *,
        isa: str | None = None,
        threads: int = 0,
        team: int = 0,
        shapes_only: bool = False,
        in_place: bool = False,
    ) -> None: ...
    def value_shape(self, value: str) -> tuple[int | None, ...]: ...
    last_threads: int
    nbytes_in_place: int
    output_dtypes: tuple[np.dtype[Any], ...]
    def packed(self) -> tuple[str, Array]: ...
    def schedule(self, batch: int, time: int) -> tuple[int, int]: ...
    def run_one(self, x: Any, out: Any = None) -> Array | None: ...
    def node_layers(self) -> list[str]: ...
    def run(
        self,
        inputs: list[Array | None],
        out: list[Array] | None = None,
        seconds: Array | None = None,
    ) -> list[Array]: ...

class Port:
    name: str
    shape: tuple[int | None, ...]
    ids: bool

class Steps:
    inputs: list[Port]
    outputs: list[Port]
    states: list[Port]
    contexts: list[Port]
    def __init__(self, plan: Plan) -> None: ...

class StreamCore:
    model: Any
    steps: Steps
    rows: int
    def __init__(self, model: Any, batch_size: int = 1) -> None: ...
    def step(self, x: Any, *others: Any, out: Any = None) -> Any: ...
    def step_any(self, inputs: tuple[Any, ...], out: Any) -> Any: ...
    def step_arrays(self, inputs: list[Array], out: list[Array]) -> None: ...
    def set_context_arrays(self, inputs: list[Array | None]) -> None: ...
    def output_shape(self, output: int) -> tuple[int, ...]: ...
    def reset(self) -> None: ...
    def get_arrays(self, to: list[Array]) -> None: ...
    def set_arrays(self, source: list[Array]) -> None: ...
    def save_state(self) -> bytes: ...
    def load_state(self, data: bytes | bytearray | memoryview) -> None: ...

class PoolCore:
    model: Any
    steps: Steps
    capacity: int
    def __init__(self, model: Any, capacity: int) -> None: ...
    def __len__(self) -> int: ...
    def open(self) -> int: ...
    def close(self, id_: int) -> None: ...
    def reset(self, id_: int) -> None: ...
    def step_arrays(self, ids: Array, inputs: list[Array], out: list[Array]) -> None: ...
    def get_arrays(self, id_: int, to: list[Array]) -> None: ...
    def set_arrays(self, id_: int, source: list[Array]) -> None: ...
    def save_state(self, id_: int) -> bytes: ...
    def load_state(self, id_: int, data: bytes | bytearray | memoryview) -> None: ...

def decode_tokens(
    steps: Steps,
    contexts: list[Array | None],
    states: list[Array | None] | None,
    start: Array,
    max_length: int,
    end: int,
    scores: int,
    prefix: Array | None,
    prefix_lengths: Array | None,
    width: int,
    length_penalty: float,
    results: int,
    uniforms: Array | None,
    temperature: float,
    top_k: int,
    top_p: float,
    extras: list[bool],
    with_scores: bool,
    with_states: bool,
) -> tuple[Any, ...]: ...
def feed_back(
    steps: Steps,
    contexts: list[Array | None],
    states: list[Array | None] | None,
    history: Array,
    lengths: Array | None,
    count: int,
    with_states: bool,
) -> tuple[Array, Any]: ...
def cpu_info() -> dict[str, Any]: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def read_model_file(
    path: str | PathLike[str], mapped: bool = False
) -> tuple[dict[str, bytes], dict[str, Array]]: ...
def write_model_file(
    path: str | PathLike[str], texts: dict[str, bytes], tensors: dict[str, Array]
) -> None: ...
