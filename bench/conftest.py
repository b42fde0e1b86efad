"""How the benchmark runs: ``--quick``, one test for each case and installed runner, and the facts
about machine, versions and load that the report needs, put into pytest-benchmark's JSON.

The cases are in cases.py, the runners in peers.py, the measurement in test_recurrent.py.
"""

from __future__ import annotations

import os
import shlex
import sys
from typing import Any

import pytest
from cases import CASES
from peers import RUNNERS

import seqcore

_LOAD = pytest.StashKey[tuple[float, ...]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", action="store_true", help="a third of the cases, with less time for each"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LOAD] = os.getloadavg()  # before the benchmark adds to it


def _left_out() -> dict[str, list[str]]:
    """Return the runners that cannot run, with the modules they lack."""
    return {name: missing for name, runner in RUNNERS.items() if (missing := runner.missing())}


def _too_few_cores(threads: int) -> bool:
    return threads > seqcore.cpu_info()["cores"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make the tests case by case, so that a case's runners are measured within the same minute."""
    quick = metafunc.config.getoption("--quick")
    pairs = [
        pytest.param(
            case,
            name,
            id=f"{case.id}-{name}",
            marks=pytest.mark.benchmark(
                group=case.id,
                # A round is a call, or as many as take min_time; the statistics are over rounds.
                min_time=0.0005,
                max_time=0.2 if quick else 0.5,
                min_rounds=5,
                warmup=True,
                warmup_iterations=3,
                disable_gc=True,
            ),
        )
        for case in CASES
        if (case.quick or not quick) and not _too_few_cores(case.threads)
        for name in RUNNERS
        if name not in _left_out()
    ]
    metafunc.parametrize(("case", "runner"), pairs)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for name, missing in _left_out().items():
        terminalreporter.write_line(f"{name}: left out, {' and '.join(missing)} not installed")
    if _too_few_cores(2):
        terminalreporter.write_line("2 threads: left out, this process may use one core only")


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    left_out = _left_out()
    output_json["seqcore"] = {
        "command": "python -m pytest " + shlex.join(config.invocation_params.args),
        "python": sys.version.split()[0],
        "cpu": seqcore.cpu_info(),
        "load_average": config.stash[_LOAD],
        "runners": {
            name: {
                "title": runner.title,
                "version": None if name in left_out else runner.version(),
                "missing": left_out.get(name, []),
            }
            for name, runner in RUNNERS.items()
        },
    }
