"""Runs the programs of tests/c: kernels between guard pages, what calls cost, the C API, races.

Also that the core builds without a warning under every compiler here, with and without OpenMP, and
with sanitizers.
"""

from __future__ import annotations

import shutil
from os.path import samefile
from pathlib import Path

import pytest
from c_programs import BUILD, build_core, build_program, compiler, run

KERNELS = ["test_kernels", "test_cells"]
DECODING = ["test_decode", "test_decode_streams", "test_decode_calls", "test_contexts"]
# -O1 in place of setup.py's level: compiled in half the time, and less is optimised away unseen
SANITIZE = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
WRAPPED = ["malloc", "calloc", "realloc", "aligned_alloc", "GOMP_parallel"]
WRAPPED_TOO = ["free", "posix_memalign", "strdup", "pthread_mutex_lock", "pthread_rwlock_rdlock",
               "pthread_rwlock_wrlock", "pthread_cond_wait", "pthread_cond_signal",
               "pthread_cond_broadcast"]  # fmt: skip


@pytest.fixture(scope="session")
def gcc_core(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """For programs that count GOMP_parallel, the name in the runtime of gcc alone."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("no gcc, whose OpenMP calls the program counts")
    return build_core(tmp_path_factory.mktemp("gcc_core"), cc=[gcc])


@pytest.fixture(scope="session")
def core(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    names = [shutil.which(name) for name in (*compiler(), "gcc")]
    if len(names) == 2 and names[0] and names[1] and samefile(names[0], names[1]):
        return request.getfixturevalue("gcc_core")  # the same compiler: once is enough
    return build_core(tmp_path_factory.mktemp("core"))


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_stay_in_bounds(name: str, core: list[str], tmp_path: Path) -> None:
    assert f"{name}: all passed" in run([build_program(core, name, tmp_path)])


def test_plans(core: list[str], tmp_path: Path) -> None:
    printed = run([build_program(core, "test_plan", tmp_path), tmp_path / "model.safetensors"])
    assert "test_plan: all passed" in printed


@pytest.mark.parametrize("name", ["test_streams", "test_memory", *DECODING])
def test_embedding(name: str, core: list[str], tmp_path: Path) -> None:
    printed = run([build_program(core, name, tmp_path), tmp_path / "model.safetensors"])
    assert f"{name}: all passed" in printed


def test_a_call_allocates_nothing_per_step(gcc_core: list[str], tmp_path: Path) -> None:
    wraps = [f"-Wl,--wrap={name}" for name in WRAPPED]
    printed = run([build_program(gcc_core, "test_counts", tmp_path, *wraps)])
    assert "test_counts: all passed, 12 regions" in printed


def test_a_step_costs_nothing_but_arithmetic(gcc_core: list[str], tmp_path: Path) -> None:
    """No allocation, lock, OpenMP or system call; and all memory is the caller's allocator's."""
    wraps = [f"-Wl,--wrap={name}" for name in WRAPPED + WRAPPED_TOO]
    program = build_program(gcc_core, "test_realtime", tmp_path, *wraps)
    # what the program does not count must not be there to be called
    used = set(run(["nm", "-u", *(part for part in gcc_core if part.endswith(".o"))]).split())
    assert {name for name in used if name.startswith("GOMP_")} == {"GOMP_parallel"}
    locks = {name for name in used if name.startswith(("pthread_mutex", "pthread_rw", "mtx_"))}
    assert locks | {name for name in used if name.startswith(("pthread_cond", "sem_"))} == set()
    allocators = {"malloc", "calloc", "realloc", "aligned_alloc", "free", "mmap", "strndup", "sbrk"}
    assert "aligned_alloc" in used & allocators <= {*WRAPPED, *WRAPPED_TOO}
    printed = run([program, tmp_path / "model.safetensors"])
    assert "test_realtime: all passed" in printed
    if "seccomp is not available" in printed:
        pytest.skip("no seccomp here: that a step makes no system call was not tested")


def test_control_groups(core: list[str], tmp_path: Path) -> None:
    printed = run([build_program(core, "test_cgroup", tmp_path), tmp_path])
    assert "test_cgroup: all passed" in printed


def test_no_two_threads_race(tmp_path: Path) -> None:
    """ThreadSanitizer: silent over claims, and over a plan, a stream and a pool that threads share.

    It knows no OpenMP: teams are the program's own threads, in place of sc_parallel.
    """
    gcc = shutil.which("gcc")
    probe = "int main(void) { return 0; }"
    if gcc is None or not BUILD["compiles"]([gcc], probe, ["-fsanitize=thread"]):
        pytest.skip("no gcc with ThreadSanitizer")
    flags = ["-O1", "-g", "-fsanitize=thread"]
    link = build_core(tmp_path, cc=[gcc], tables=["scalar"], openmp=False, extra=flags)
    for program, wraps in (("test_threads", []), ("test_races", ["-Wl,--wrap=sc_parallel"])):
        assert f"{program}: all passed" in run([build_program(link, program, tmp_path, *wraps)])


def test_callers_do_not_multiply_threads(gcc_core: list[str], tmp_path: Path) -> None:
    """With the threads of a process busy, a call takes one: regions never have more at once."""
    program = build_program(gcc_core, "test_callers", tmp_path, "-Wl,--wrap=GOMP_parallel")
    assert "test_callers: all passed" in run([program])


@pytest.mark.parametrize("name", ["gcc", "clang"])
def test_core_without_openmp_under_sanitizers(name: str, tmp_path: Path) -> None:
    """One thread, portable kernels; -Werror in the build, so that no compiler warns."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {name}")
    flags = SANITIZE if name == "gcc" else []
    link = build_core(tmp_path, cc=[path], tables=["scalar"], openmp=False, extra=flags)
    for program in (*KERNELS, "test_plan", "test_streams", "test_memory", *DECODING):
        arguments = [tmp_path / "model.safetensors"] if program not in KERNELS else []
        assert f"{program}: all passed" in run([build_program(link, program, tmp_path), *arguments])


def test_all_tables_build_under_clang(tmp_path: Path) -> None:
    path = shutil.which("clang")
    if path is None:
        pytest.skip("no clang")
    link = build_core(tmp_path, cc=[path])
    for program in KERNELS:
        assert "all passed" in run([build_program(link, program, tmp_path)])


@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512"])
def test_vector_math(isa: str, tmp_path: Path) -> None:
    """The stated bounds over every 997th float and all special ones; test-slow runs all of them."""
    check_vector_math(isa, "quick", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512"])
def test_vector_math_over_every_float(isa: str, tmp_path: Path) -> None:
    check_vector_math(isa, "exhaustive", tmp_path)


def check_vector_math(isa: str, how: str, folder: Path) -> None:
    from c_programs import INCLUDES, ROOT

    import seqcore

    if isa not in seqcore.cpu_info()["isas"]:
        pytest.skip(f"this processor has no {isa}")
    program = folder / "test_vecmath"
    flags = [*BUILD["COMMON_FLAGS"], *BUILD["TABLES"][isa], f"-DSC_ISA_{isa}", "-Werror", *INCLUDES]
    run([*compiler(), *flags, ROOT / "tests/c/test_vecmath.c", "-o", program, "-lm", "-lpthread"])
    print(run([program, how], timeout=3600))
