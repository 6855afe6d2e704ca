"""A registry, a base and a way to run commands in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from patchhub_cli.main import main

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _own_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration of the user's, no registry around the working directory."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.delenv("PATCHHUB_REGISTRY", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run() -> Run:
    """Run ``patchhub ARGUMENTS``; the result has exit_code, stdout and stderr."""

    def call(*arguments: str | Path) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return call


@pytest.fixture
def data(run: Run) -> Callable[..., Any]:
    """Run a command that must succeed with ``--json`` and return its data."""

    def call(*arguments: str | Path) -> Any:
        result = run("--json", *arguments)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)["data"]

    return call
