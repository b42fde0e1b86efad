"""Runs the programs of tests/c: kernels between guard pages, what a call costs, the C API of plans.

Also that the core builds without a warning under every compiler here, with and without OpenMP, and
with sanitizers.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from c_programs import build_core, build_program, run

SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
WRAPPED = ["malloc", "calloc", "realloc", "aligned_alloc", "GOMP_parallel"]


@pytest.fixture(scope="session")
def core(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return build_core(tmp_path_factory.mktemp("core"))


def test_kernels_stay_in_bounds(core: list[str], tmp_path: Path) -> None:
    printed = run([build_program(core, "test_kernels", tmp_path)])
    assert "test_kernels: all passed" in printed


def test_plans(core: list[str], tmp_path: Path) -> None:
    printed = run([build_program(core, "test_plan", tmp_path), tmp_path / "model.safetensors"])
    assert "test_plan: all passed" in printed


def test_a_call_allocates_nothing_per_step(tmp_path: Path) -> None:
    """Always with gcc: GOMP_parallel, which the program counts, is the name in gcc's runtime."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("no gcc, whose OpenMP calls the program counts")
    link = build_core(tmp_path, cc=[gcc])
    wraps = [f"-Wl,--wrap={name}" for name in WRAPPED]
    printed = run([build_program(link, "test_counts", tmp_path, *wraps)])
    assert "test_counts: all passed, 12 regions" in printed


@pytest.mark.parametrize("name", ["gcc", "clang"])
def test_core_without_openmp_under_sanitizers(name: str, tmp_path: Path) -> None:
    """One thread, portable kernels; -Werror in the build, so that no compiler warns."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {name}")
    flags = SANITIZE if name == "gcc" else []
    link = build_core(tmp_path, cc=[path], tables=["scalar"], openmp=False, extra=flags)
    for program in ("test_kernels", "test_plan"):
        arguments = [tmp_path / "model.safetensors"] if program == "test_plan" else []
        assert f"{program}: all passed" in run([build_program(link, program, tmp_path), *arguments])


def test_all_tables_build_under_clang(tmp_path: Path) -> None:
    path = shutil.which("clang")
    if path is None:
        pytest.skip("no clang")
    link = build_core(tmp_path, cc=[path])
    assert "all passed" in run([build_program(link, "test_kernels", tmp_path)])


@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512"])
def test_vector_math(isa: str, tmp_path: Path) -> None:
    """The stated bounds over every 997th float and all special ones; test-slow runs all of them."""
    check_vector_math(isa, "quick", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512"])
def test_vector_math_over_every_float(isa: str, tmp_path: Path) -> None:
    check_vector_math(isa, "exhaustive", tmp_path)


def check_vector_math(isa: str, how: str, folder: Path) -> None:
    from c_programs import BUILD, INCLUDES, ROOT, compiler

    import seqcore

    if isa not in seqcore.cpu_info()["isas"]:
        pytest.skip(f"this processor has no {isa}")
    program = folder / "test_vecmath"
    flags = [*BUILD["COMMON_FLAGS"], *BUILD["TABLES"][isa], f"-DSC_ISA_{isa}", "-Werror", *INCLUDES]
    run([*compiler(), *flags, ROOT / "tests/c/test_vecmath.c", "-o", program, "-lm", "-lpthread"])
    print(run([program, how], timeout=3600))
