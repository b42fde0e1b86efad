"""Builds the core: a static library per instruction set, each under its own flags, one extension.

What the compiler cannot do is left out, not fatal: without OpenMP the core runs on one thread,
without AVX flags it has fewer tables. Sources and flags stand in src/core/build.json, which every
other build reads too (CMakeLists.txt; tests/c_programs.py through the names below).
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext

BUILD_FILE = "src/core/build.json"
BUILD = json.loads((Path(__file__).resolve().parent / BUILD_FILE).read_text(encoding="utf-8"))
CORE_SOURCES = [f"src/core/{name}" for name in BUILD["sources"]]
COMMON_FLAGS = [*BUILD["flags"], *BUILD["release"]]
TABLES = {name: table["flags"] for name, table in BUILD["tables"].items()}
INCLUDES = ["include", "src/core"]


def compiles(compiler: list[str], source: str, flags: list[str]) -> bool:
    """Tell whether a whole program with these flags compiles and links."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "probe.c")
        with open(path, "w") as file:
            file.write(source)
        command = [*compiler, *flags, path, "-o", os.path.join(folder, "probe")]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def configuration(compiler: list[str]) -> tuple[list[str], list[str]]:
    """Return the tables to build and OpenMP's flags: what this compiler and machine have."""

    def has(feature: dict) -> bool:
        return "probe" not in feature or compiles(compiler, feature["probe"], feature["flags"])

    openmp = BUILD["openmp"]
    wanted = os.environ.get("SEQCORE_OPENMP", "1") != "0"
    tables = [name for name, table in BUILD["tables"].items() if has(table)]
    return tables, openmp["flags"] if wanted and has(openmp) else []


class BuildLibraries(build_clib):
    """Fills in the flags once the compiler is known."""

    def build_libraries(self, libraries):
        tables, openmp = configuration(list(self.compiler.compiler))
        macros = [(f"SC_HAVE_{name.upper()}", "1") for name in tables if name != "scalar"]
        done = []
        for name, info in libraries:
            table = name.removeprefix("seqcore_")
            if table in TABLES and table not in tables:
                continue
            flags = COMMON_FLAGS + TABLES.get(table, openmp)
            done.append((name, {**info, "macros": macros, "cflags": flags}))
        self.distribution.seqcore = [name for name, _ in done], openmp
        super().build_libraries(done)


class BuildExtension(build_ext):
    """Links the libraries that were built."""

    def run(self):
        self.run_command("build_clib")
        names, openmp = self.distribution.seqcore
        # setuptools puts the libraries of the distribution in front of the extension's own
        self.distribution.libraries = [(n, i) for n, i in self.distribution.libraries if n in names]
        for extension in self.extensions:
            extension.extra_link_args += openmp
        super().run()


def core_files(ending: str) -> list[str]:
    return [f"src/core/{name}" for name in sorted(os.listdir("src/core")) if name.endswith(ending)]


def library(sources: list[str]) -> dict:
    depends = [BUILD_FILE, *core_files(".h"), "include/seqcore/seqcore.h"]
    return {
        "sources": sources,
        "include_dirs": INCLUDES,
        "obj_deps": {"": depends, **dict.fromkeys(sources, depends)},
    }


def extension() -> Extension:
    import numpy

    return Extension(
        "seqcore._binding",
        ["src/seqcore/_binding.pyx"],
        include_dirs=[*INCLUDES, numpy.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        extra_compile_args=["-O2", "-g0", "-std=c11", "-fvisibility=hidden"],
        # the libraries are linked in: whatever changes them makes another extension
        depends=[
            "include/seqcore/seqcore.h",
            "src/seqcore/_streams.pxi",
            "src/seqcore/_decoding.pxi",
            BUILD_FILE,
            *core_files(".c"),
            *core_files(".h"),
        ],
    )


if __name__ == "__main__":
    if sys.platform == "win32":
        sys.exit("seqcore builds on POSIX systems: its model files are mapped with mmap")
    from Cython.Build import cythonize

    setup(
        libraries=[("seqcore_core", library(CORE_SOURCES))]
        + [(f"seqcore_{name}", library([f"src/core/kernels_{name}.c"])) for name in TABLES],
        ext_modules=cythonize([extension()], include_path=["src"], build_dir="build"),
        cmdclass={"build_clib": BuildLibraries, "build_ext": BuildExtension},
    )
