"""A tour stays in the registry it stands in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from patchhub_cli.session import Session
from patchhub_cli.tour import Tour
from patchhub_registry import Registry


def test_no_registry_of_the_users_is_touched(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = Registry.init(tmp_path / "theirs")
    monkeypatch.setenv("PATCHHUB_REGISTRY", str(theirs.root))
    shown: Any = Tour(Session(json=True)).run("status").data
    assert (shown["root"], shown["patches"]) == (registry, 1)
