"""What several test files share: every instruction set, random numbers, what is dear to make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from c_programs import ROOT, cmake_build, run, tool

import seqcore as sc


@pytest.fixture(params=sc.cpu_info()["isas"])
def isa(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(251)


@pytest.fixture(scope="session")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed seqcore, elsewhere than where it was configured to be."""
    folder = tmp_path_factory.mktemp("cmake")
    cmake_build(ROOT, folder / "build", CMAKE_INSTALL_LIBDIR="lib")
    run([tool("cmake"), "--install", folder / "build", "--prefix", folder / "prefix"])
    return folder / "prefix"
