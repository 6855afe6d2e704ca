"""What replaces a file leaves the old one or the new one, and nothing beside it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patchhub.durable import replace, swap_in


@pytest.mark.parametrize("write", [replace, swap_in])
def test_a_file_is_replaced(tmp_path: Path, write: Callable[[Path, bytes], None]) -> None:
    file = tmp_path / "file"
    for data in (b"one", b"", b"three"):
        write(file, data)
        assert file.read_bytes() == data
        assert list(tmp_path.iterdir()) == [file]


def test_swapping_in_makes_the_directory(tmp_path: Path) -> None:
    swap_in(tmp_path / "a/b/file", b"data")
    assert (tmp_path / "a/b/file").read_bytes() == b"data"


def test_a_failure_leaves_the_old_content_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    swap_in(file, b"old")

    def full(*args: Any, **more: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        swap_in(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]
