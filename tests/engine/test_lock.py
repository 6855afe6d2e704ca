"""The kernel lock: one holder, who is named; and file systems that have none."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from patchhub.errors import BusyError
from patchhub.lock import locked


def test_one_holder_at_a_time_who_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, 0, "the thing"):
        with (
            pytest.raises(BusyError, match="the thing is busy") as caught,
            locked(path, 0, "the thing"),
        ):
            pass
        assert (caught.value.code, caught.value.exit) == ("E501", 6)
        assert caught.value.data["pid"] == os.getpid()
    assert path.read_bytes() == b""
    with locked(path, 0, "the thing"):
        pass


def test_a_body_that_raises_gives_the_lock_back(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "lock", 0, "it"):
        raise ZeroDivisionError
    with locked(tmp_path / "lock", 0, "it"):
        pass


def test_a_holder_without_a_note_is_reported_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, 0, "it"):
        path.write_bytes(b"{")
        with pytest.raises(BusyError, match="another process"), locked(path, 0, "it"):
            pass


def test_file_systems_without_locks_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", missing)
    with pytest.raises(BusyError, match="E502") as caught, locked(tmp_path / "lock", 0, "it"):
        pass
    assert caught.value.found == "No locks available"
