"""What several test files share that is dear to make."""

from __future__ import annotations

from pathlib import Path

import pytest
from c_programs import ROOT, cmake_build, run, tool


@pytest.fixture(scope="session")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed seqcore, elsewhere than where it was configured to be."""
    folder = tmp_path_factory.mktemp("cmake")
    cmake_build(ROOT, folder / "build", CMAKE_INSTALL_LIBDIR="lib")
    run([tool("cmake"), "--install", folder / "build", "--prefix", folder / "prefix"])
    return folder / "prefix"
