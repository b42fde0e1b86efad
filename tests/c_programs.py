"""Compiles the core as setup.py does, or by CMake, and C programs against it.

The lists of sources and flags are setup.py's own, so that a test runs what a user gets.
"""

from __future__ import annotations

import os
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WARNINGS = "-Wall -Wextra -Werror"
INCLUDES = [f"-I{ROOT / 'include'}", f"-I{ROOT / 'src/core'}"]
BUILD: dict[str, Any] = runpy.run_path(str(ROOT / "setup.py"))


def compiler() -> list[str]:
    """The C compiler, as CC names it."""
    return shlex.split(os.environ.get("CC", "cc"))


def run(command: Sequence[Any], timeout: float = 300, **options: Any) -> str:
    """Run a command and return what it printed; it must succeed and print no error."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        **options,
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def build_core(
    folder: Path,
    *,
    cc: Sequence[str] = (),
    tables: Sequence[str] | None = None,
    openmp: bool = True,
    extra: Sequence[str] = (),
) -> list[str]:
    """Compile the core into objects.

    Parameters
    ----------
    folder : Path
        Where the objects go.
    cc : sequence of str
        The compiler; CC's, otherwise.
    tables : sequence of str, optional
        The instruction sets; all that the compiler has, otherwise.
    openmp : bool
        Whether to use OpenMP where the compiler has it.
    extra : sequence of str
        Flags behind setup.py's own.

    Returns
    -------
    list of str
        A command that compiles and links a program against the objects, but for the program.
    """
    cc = list(cc) or compiler()
    found, openmp_flags = BUILD["configuration"](cc)
    chosen = [name for name in found if tables is None or name in tables]
    team = openmp_flags if openmp else []
    macros = [f"-DSC_HAVE_{name.upper()}=1" for name in chosen if name != "scalar"]
    jobs = [(source, team) for source in BUILD["CORE_SOURCES"]]
    jobs += [(f"src/core/kernels_{name}.c", BUILD["TABLES"][name]) for name in chosen]

    def compile_one(job: tuple[str, list[str]]) -> str:
        source, flags = job
        target = str(folder / f"{Path(source).stem}.o")
        own = [*BUILD["COMMON_FLAGS"], "-Werror", *flags, *macros, *extra]
        run([*cc, *own, *INCLUDES, "-c", ROOT / source, "-o", target])
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # the largest first, so that no core waits for it at the end
        objects = list(pool.map(compile_one, reversed(jobs)))
    return [*cc, "-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", *macros, *team, *extra,
            *INCLUDES, *objects, "-lm", "-lpthread"]  # fmt: skip


def build_program(link: Sequence[str], name: str, folder: Path, *flags: str) -> Path:
    """Compile tests/c/<name>.c with the command that `build_core` returned."""
    # the program must stand before the libraries
    run([link[0], str(ROOT / f"tests/c/{name}.c"), *link[1:], *flags, "-o", folder / name])
    return folder / name


def tool(name: str) -> Path:
    """A program of this environment, or else of the system."""
    beside = Path(sys.executable).parent
    path = shutil.which(name, path=os.pathsep.join([str(beside), os.environ.get("PATH", "")]))
    assert path is not None, f"no {name}: requirements/test.txt names what the tests need"
    return Path(path)


def cmake_build(source: Path, folder: Path, **definitions: str | Path) -> str:
    """Configure and build without a warning; return what configuring printed."""
    options = [f"-D{name}={value}" for name, value in definitions.items()]
    generate = [tool("cmake"), "-G", "Unix Makefiles", "-S", source, "-B", folder, *options]
    printed = run(generate, env={**os.environ, "CFLAGS": WARNINGS, "CXXFLAGS": WARNINGS})
    run([tool("cmake"), "--build", folder, "--parallel", str(os.cpu_count() or 1)])
    return printed


def symbols(library: Path, *options: str) -> set[str]:
    """Names of the symbols that the library defines for others."""
    lines = run([tool("nm"), *options, "--defined-only", library]).splitlines()
    return {line.split()[-1] for line in lines if len(line.split()) == 3}


def flags_of(prefix: Path, *options: str) -> list[str]:
    """What pkg-config says that a program needs of the seqcore that is installed there."""
    where = {**os.environ, "PKG_CONFIG_PATH": str(prefix / "lib/pkgconfig")}
    return shlex.split(run(["pkg-config", "--cflags", "--libs", *options, "seqcore"], env=where))
