"""How long the program takes to start: every command that only looks, against a bare interpreter.

CPU seconds of the child, so that a busy machine does not count; the least of several runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

BUDGET = 0.2
"""Seconds more than a bare interpreter that these commands may take."""
RUNS = 7
START = "import sys; from patchhub_cli.main import main; main(sys.argv[1:])"


def _cpu(*command: str) -> float:
    """User and system seconds of a child process and its children."""
    before = os.times()
    subprocess.run(command, check=True, capture_output=True)
    after = os.times()
    return (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("registry")
    subprocess.run([sys.executable, "-c", START, "init", str(directory)], check=True)
    return directory


@pytest.mark.parametrize("command", ["--help", "list", "log", "status", "base list", "verify"])
def test_startup(command: str, registry: Path, benchmark: BenchmarkFixture) -> None:
    arguments = ["-C", str(registry), *command.split()]
    benchmark(_cpu, sys.executable, "-c", START, *arguments)
    ours = min(_cpu(sys.executable, "-c", START, *arguments) for _ in range(RUNS))
    bare = min(_cpu(sys.executable, "-c", "pass") for _ in range(RUNS))
    benchmark.extra_info["cpu_seconds_over_bare"] = round(ours - bare, 3)
    assert ours - bare <= BUDGET
