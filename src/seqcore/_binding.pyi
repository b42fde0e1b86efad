# Types of the compiled module; the functions themselves are in _binding.pyx.
from os import PathLike
from typing import Any

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
    ) -> None: ...
    def value_shape(self, value: str) -> tuple[int | None, ...]: ...
    last_threads: int
    def schedule(self, batch: int, time: int) -> tuple[int, int]: ...
    def run_one(self, x: Any, out: Any = None) -> Array | None: ...
    def node_layers(self) -> list[str]: ...
    def run(
        self,
        inputs: list[Array | None],
        out: list[Array] | None = None,
        seconds: Array | None = None,
    ) -> list[Array]: ...

def cpu_info() -> dict[str, Any]: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def read_model_file(path: str | PathLike[str]) -> tuple[bytes, dict[str, Array]]: ...
def write_model_file(
    path: str | PathLike[str], graph: bytes, tensors: dict[str, Array]
) -> None: ...
