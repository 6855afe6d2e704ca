from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from patchhub_registry import Registry
from tests.registry.support import ISOLATED, new_registry


@pytest.fixture(autouse=True)
def isolated_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for name, value in ISOLATED.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    made = new_registry(tmp_path / "registry")
    yield made
    made.close()
