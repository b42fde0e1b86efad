"""libseqcore, built and installed by CMake as users do: what it exports, and programs that use it.

The programs come to it by find_package, by pkg-config and by add_subdirectory, and really run.
What the core computes is tested elsewhere; here is what can be lost between a source and a user.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from c_programs import BUILD, ROOT, cmake_build, compiler, flags_of, run, symbols, tool

import seqcore

CONSUMER = ROOT / "tests/cmake"
HEADER = (ROOT / "include/seqcore/seqcore.h").read_text(encoding="utf-8")
VERSION = ".".join(re.findall(r"^#define SC_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)$", HEADER, re.M))


def run_consumer(program: Path, folder: Path, **environment: str) -> dict[str, str]:
    """Run the program, which checks its numbers; return what it printed of the library."""
    printed = run([program, folder / "model.safetensors"], env={**os.environ, **environment})
    found = re.fullmatch(
        r"version (?P<version>\S+) openmp (?P<openmp>\d) isas (?P<isas>.+)\n", printed
    )
    assert found, printed
    return found.groupdict()


def needed(program: Path) -> str:
    return run([tool("readelf"), "-d", program])


def test_python_and_c_have_one_version(prefix: Path) -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'^version = "(.+)"$', pyproject, re.M)[1] == VERSION
    assert (
        re.search(r"^Version: (.+)$", (prefix / "lib/pkgconfig/seqcore.pc").read_text(), re.M)[1]
        == VERSION
    )
    assert (prefix / f"lib/libseqcore.so.{VERSION}").is_file()


def test_version_of_the_interface(prefix: Path) -> None:
    major, minor, _ = VERSION.split(".")
    name = f"libseqcore.so.{major}" if major != "0" else f"libseqcore.so.0.{minor}"
    assert f"soname: [{name}]" in needed(prefix / "lib/libseqcore.so")
    assert (prefix / "lib" / name).is_symlink()


def test_every_header_is_installed(prefix: Path) -> None:
    expected = {path.name for path in (ROOT / "include/seqcore").glob("*.h*")}
    assert {path.name for path in (prefix / "include/seqcore").iterdir()} == expected


def test_shared_library_exports_the_api_alone(prefix: Path) -> None:
    declared = set(re.findall(r"^SC_API [^(]*?(sc_\w+)\(", HEADER, re.M))
    exported = symbols(prefix / "lib/libseqcore.so", "-D")
    assert {"sc_plan_open", "sc_plan_run"} <= exported <= declared


def test_static_library_keeps_to_its_prefix(prefix: Path) -> None:
    names = symbols(prefix / "lib/libseqcore.a", "-g")
    assert "sc_plan_run" in names
    assert not {name for name in names if not name.startswith("sc_")}


def test_what_is_compiled_is_what_setup_compiles(prefix: Path) -> None:
    tables, _ = BUILD["configuration"](compiler())
    sources = [*BUILD["CORE_SOURCES"], *(f"src/core/kernels_{name}.c" for name in tables)]
    members = run([tool("ar"), "t", prefix / "lib/libseqcore.a"]).split()
    assert sorted(members) == sorted(f"{Path(source).name}.o" for source in sources)


@pytest.mark.parametrize("language", ["C", "CXX"])
def test_find_package(language: str, prefix: Path, tmp_path: Path) -> None:
    """Also from a project that is C++ alone."""
    if language == "CXX" and shutil.which(os.environ.get("CXX", "c++")) is None:
        pytest.skip("no C++ compiler")
    options = {"LANGUAGE": language, "VERSION": VERSION.rpartition(".")[0]}
    cmake_build(CONSUMER, tmp_path, CMAKE_PREFIX_PATH=prefix, **options)
    tables, openmp = BUILD["configuration"](compiler())
    isas = [name for name in seqcore.cpu_info()["isas"] if name in tables]
    shared, static = tmp_path / "seqcore__seqcore", tmp_path / "seqcore__seqcore_static"
    assert "libseqcore" in needed(shared)
    assert "libseqcore" not in needed(static)
    for program in (shared, static):
        facts = run_consumer(program, tmp_path)
        assert (facts["version"], facts["openmp"]) == (VERSION, str(int(bool(openmp))))
        assert facts["isas"].split() == isas


def test_find_package_refuses_another_interface(prefix: Path, tmp_path: Path) -> None:
    major, minor, _ = VERSION.split(".")
    newer = f"0.{int(minor) + 1}" if major == "0" else f"{int(major) + 1}.0"
    options = {"LANGUAGE": "C", "VERSION": newer, "CMAKE_PREFIX_PATH": prefix}
    with pytest.raises(AssertionError, match="compatible with requested version"):
        cmake_build(CONSUMER, tmp_path, **options)


@pytest.mark.parametrize("kind", ["shared", "static"])
def test_pkg_config(kind: str, prefix: Path, tmp_path: Path) -> None:
    """From a tree that was moved; the static one from a tree without a shared library."""
    if shutil.which("pkg-config") is None:
        pytest.skip("no pkg-config")
    moved = shutil.copytree(prefix, tmp_path / "moved tree", symlinks=True)
    if kind == "static":
        for path in moved.glob("lib/*.so*"):
            path.unlink()
    flags = flags_of(moved, *(["--static"] if kind == "static" else []))
    program = tmp_path / "consumer"
    run([*compiler(), "-std=c99", CONSUMER / "consumer.c", *flags, "-o", program])
    assert ("libseqcore" in needed(program)) == (kind == "shared")
    facts = run_consumer(program, tmp_path, LD_LIBRARY_PATH=str(moved / "lib"))
    assert facts["version"] == VERSION


def test_as_a_part_of_another_project(tmp_path: Path) -> None:
    """Static alone, one thread, and the flags of another build type."""
    printed = cmake_build(
        CONSUMER, tmp_path, LANGUAGE="C", SEQCORE_SOURCE=ROOT, SEQCORE_OPENMP="OFF",
        BUILD_SHARED_LIBS="OFF", CMAKE_BUILD_TYPE="Debug", CMAKE_EXPORT_COMPILE_COMMANDS="ON",
    )  # fmt: skip
    assert f"seqcore {VERSION}: " in printed
    commands = (tmp_path / "compile_commands.json").read_text()
    assert "-ffp-contract=off" in commands
    assert not {"-O3", "-g0", "-fopenmp"} & set(commands.split())
    assert run_consumer(tmp_path / "seqcore__seqcore", tmp_path)["openmp"] == "0"
    assert not list(tmp_path.glob("**/*.so*"))


def test_source_distribution_is_whole(tmp_path: Path) -> None:
    """Every source that either build needs is in the archive that packagers get."""
    tree = tmp_path / "tree"
    for name in ("src", "include", "cmake"):
        left_out = shutil.ignore_patterns("__pycache__", "*.so", "*.egg-info")
        shutil.copytree(ROOT / name, tree / name, ignore=left_out)
    for name in (
        "setup.py",
        "pyproject.toml",
        "MANIFEST.in",
        "CMakeLists.txt",
        "README.md",
        "LICENSE",
    ):
        shutil.copy(ROOT / name, tree)
    expected = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
    command = [sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", tmp_path]
    subprocess.run(command, cwd=tree, check=True, timeout=300)
    with tarfile.open(tmp_path / f"seqcore-{VERSION}.tar.gz") as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    assert not expected - found
