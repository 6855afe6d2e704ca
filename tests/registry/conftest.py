from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from patchhub_registry import Registry
from tests.registry.support import copied, isolate, new_registry


@pytest.fixture(autouse=True)
def isolated_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    isolate(monkeypatch)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with one base, made once by git itself."""
    root = tmp_path_factory.mktemp("template") / "registry"
    with pytest.MonkeyPatch.context() as patched:
        isolate(patched)
        new_registry(root).close()
    return root


@pytest.fixture
def registry(template: Path, tmp_path: Path) -> Iterator[Registry]:
    with copied(template, tmp_path / "registry") as made:
        yield made
