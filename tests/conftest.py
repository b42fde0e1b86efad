"""What several test files share: every instruction set, random numbers, what is dear to make."""

from __future__ import annotations

import fcntl
import gc
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_programs import ROOT, cmake_build, run, tool

import seqcore as sc
from seqcore.graph import Graph, GraphBuilder, Value


def pytest_collection_finish() -> None:
    """Give torch one thread: workers with as many as there are cores wait for each other."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="module", autouse=True)
def little_to_collect() -> None:
    """Keep the collector from walking all frameworks, and what earlier files left, in each test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=sc.cpu_info()["isas"])
def isa(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(251)


@pytest.fixture(autouse=True)
def ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test lowers: layers and core agree how many axes a layer's result has."""
    known: dict[str, int | None] = {}
    note, finish, set_up = GraphBuilder.layer, GraphBuilder.finish, sc.Model._set_up

    def layer(self: Any, name: str, kind: str, value: Value, parameters: int | None) -> None:
        there = value.ids or value  # of one-hot vectors, which may never be made, their ids are
        if value.ids is not None and None not in (value.rank, there.rank):
            assert value.rank == there.rank + 1
        self.__dict__.setdefault("ranks", {})[there.name] = there.rank
        note(self, name, kind, value, parameters)

    def finished(self: Any) -> Graph:
        known.clear()
        known.update(self.__dict__.get("ranks", {}))
        return finish(self)

    def check(self: sc.Model, plan: Any, *rest: Any, **options: Any) -> None:
        for value, rank in known.items():
            found = len(plan.value_shape(value))
            assert rank in (None, found), f"{value!r} has {found} axes, not {rank}"
        known.clear()
        set_up(self, plan, *rest, **options)

    monkeypatch.setattr(GraphBuilder, "layer", layer)
    monkeypatch.setattr(GraphBuilder, "finish", finished)
    monkeypatch.setattr(sc.Model, "_set_up", check)


@pytest.fixture(scope="session")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed seqcore, elsewhere than where it was configured to be; one for all workers."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of the whole run
    made = folder / "cmake/prefix"
    with open(folder / "cmake.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        if not (folder / "cmake/done").exists():
            cmake_build(ROOT, folder / "cmake/build", CMAKE_INSTALL_LIBDIR="lib")
            run([tool("cmake"), "--install", folder / "cmake/build", "--prefix", made])
            (folder / "cmake/done").touch()
    return made
