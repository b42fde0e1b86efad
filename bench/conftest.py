"""How the benchmark runs: its options, one test for each case and installed runner, and the facts
about machine, versions and load that the report needs, put into pytest-benchmark's JSON.

The cases are in cases.py, the runners in peers.py, the measurement in test_recurrent.py.
"""

from __future__ import annotations

import os
import shlex
import sys
from typing import Any

import limits
import pytest
from cases import TABLES, Case, selection
from peers import RUNNERS, runs

import seqcore

# What caps the runners that can be capped; read when a library is loaded, so it is set before.
AVX2_ENVIRONMENT = {"SEQCORE_ISA": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}

TURNS = 3  # of each runner on each case; the report pools their rounds

_LOAD = pytest.StashKey[tuple[float, ...]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", action="store_true", help="a third of the cases, with less time for each"
    )
    parser.addoption(
        "--table",
        choices=TABLES,
        default="default",
        help="default: all cases but avx2's; avx2: those, with every runner capped to AVX2",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LOAD] = os.getloadavg()  # before the benchmark adds to it
    if config.getoption("--table") == "avx2":
        wanted = AVX2_ENVIRONMENT.items()
        if any(os.environ.get(name) != value for name, value in wanted):
            settings = " ".join(f"{name}={value}" for name, value in wanted)
            raise pytest.UsageError(f"--table avx2 needs the environment {settings}")


def _left_out() -> dict[str, list[str]]:
    """Return the runners that cannot run, with the modules they lack."""
    return {name: missing for name, runner in RUNNERS.items() if (missing := runner.missing())}


def _too_few_cores(threads: int) -> bool:
    return threads > seqcore.cpu_info()["cores"]


def _seconds(parts: list[str], quick: bool) -> float:
    """Return how long a case's rounds may take together."""
    if all(part.startswith("sweep") or part == "alone" for part in parts):
        return 0.15
    return 0.2 if quick else 0.5


def _parameters(case: Case, parts: list[str], name: str, turn: int, quick: bool) -> Any:
    return pytest.param(
        case,
        parts,
        name,
        id=f"{case.id}-{name}-{turn}",
        marks=pytest.mark.benchmark(
            group=case.id,
            # A round is a call, or as many as take min_time; the statistics are over rounds.
            min_time=0.0005,
            max_time=_seconds(parts, quick) / TURNS,
            min_rounds=2,
            warmup=True,
            warmup_iterations=3,
            disable_gc=True,
        ),
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make the tests case by case, the runners taking turns: a drift of the machine meets all."""
    quick = metafunc.config.getoption("--quick")
    left_out = _left_out()
    metafunc.parametrize(
        ("case", "parts", "runner"),
        [
            _parameters(case, parts, name, turn, quick)
            for case, parts in selection(metafunc.config.getoption("--table"), quick).items()
            if not _too_few_cores(case.threads)
            for turn in range(1, TURNS + 1)
            for name in RUNNERS
            if name not in left_out and runs(name, case, parts)
        ],
    )


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for name, missing in _left_out().items():
        terminalreporter.write_line(f"{name}: left out, {' and '.join(missing)} not installed")
    if _too_few_cores(2):
        terminalreporter.write_line("2 threads: left out, this process may use one core only")


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Add what the report needs, and the limits, measured now: the machine is warm and idle."""
    left_out = _left_out()
    cpu = seqcore.cpu_info()
    environment = [f"{n}={os.environ[n]}" for n in AVX2_ENVIRONMENT if n in os.environ]
    command = ["python", "-m", "pytest", *config.invocation_params.args]
    output_json["seqcore"] = {
        "command": " ".join([*environment, shlex.join(map(str, command))]),
        "python": sys.version.split()[0],
        "cpu": cpu,
        "load_average": config.stash[_LOAD],
        "limits": limits.measure(cpu),
        "runners": {
            name: {
                "title": runner.title,
                "version": None if name in left_out else runner.version(),
                "missing": left_out.get(name, []),
            }
            for name, runner in RUNNERS.items()
        },
    }
