"""The example plugin, built and installed from its own project into a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = Path(__file__).parent / "onestep"

Python = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the installed plugin and its metadata; no network."""
    target = tmp_path_factory.mktemp("plugins")
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--no-compile")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", target, PROJECT],
        check=True,
        capture_output=True,
    )
    return target


@pytest.fixture
def python(plugins: Path, tmp_path: Path) -> Python:
    """Run python in another process that sees the plugin, and further folders of plugins."""

    def run(*arguments: str | Path, beside: Path | None = None) -> subprocess.CompletedProcess[str]:
        folders = [str(folder) for folder in (plugins, beside) if folder is not None]
        variables = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(folders),
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            capture_output=True,
            text=True,
            env=variables,
            cwd=tmp_path,
        )

    return run


def distribution(folder: Path, name: str, module: str, source: str, *points: str) -> None:
    """An installed distribution, made by hand: one module, its metadata and its entry points."""
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nSummary: made by a test\n"
    )
    (info / "entry_points.txt").write_text("[patchhub.editors]\n" + "\n".join(points) + "\n")
