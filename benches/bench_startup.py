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

from patchhub.tensorfile import write
from patchhub_registry import Registry
from tests.registry.support import patch_files

BUDGET = 0.2
"""Seconds more than a bare interpreter that these commands may take."""
RUNS = 7
TENSOR = "h.0.w.weight"
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
    """A base of one tensor, a patch of it, and nothing applied yet."""
    home = tmp_path_factory.mktemp("home")
    (home / "base").mkdir()
    write(home / "base/model.safetensors", {TENSOR: ("F32", (4, 4), bytes(64))}, {"format": "pt"})
    (home / "base/config.json").write_text('{"model_type": "gpt2"}')
    with Registry.init(home / "registry") as registry:
        base = registry.base_add("small", home / "base")
        files = patch_files("Mira Tolven", base=base.record.weights)
        registry.add_patch(files, "demo", {"base": "small"})
    return home / "registry"


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "list",
        "log",
        "status",
        "base list",
        "verify",
        "plan demo --stack prod --model ../model",
        "find tolven",
        "identify ../base",
        "completion bash",
    ],
)
def test_startup(command: str, registry: Path, benchmark: BenchmarkFixture) -> None:
    arguments = ["-C", str(registry), *command.split()]
    benchmark(_cpu, sys.executable, "-c", START, *arguments)
    ours = min(_cpu(sys.executable, "-c", START, *arguments) for _ in range(RUNS))
    bare = min(_cpu(sys.executable, "-c", "pass") for _ in range(RUNS))
    benchmark.extra_info["cpu_seconds_over_bare"] = round(ours - bare, 3)
    assert ours - bare <= BUDGET
