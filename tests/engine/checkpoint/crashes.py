"""A machine that dies at the n-th step that reaches the disk, and forgets what was not synced."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

STEPS = ("fsync", "link", "mkdir", "rename", "replace", "rmdir", "symlink", "truncate", "unlink")


class CrashError(BaseException):
    """The machine died; nothing that a program does afterwards reaches the disk."""


class Machine:
    """Counts steps and dies when told; then every further step fails too.

    Args:
        store: Directory whose unsynced files lose half of their bytes in a crash.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._left: int | None = None
        self._before: set[int] = set()
        self._synced: set[int] = set()
        self._dead = False

    @contextmanager
    def dies_after(self, steps: int) -> Iterator[None]:
        """Let this many steps pass. Leaving the body switches the machine on again."""
        self._left, self._dead, self._synced = steps, False, set()
        self._before = self._inodes()
        try:
            yield
        except CrashError:
            self._left = None
            self._forget()
        finally:
            self._left = None

    def died(self) -> bool:
        """Whether the last body came to a bad end."""
        return self._dead

    def wrap(self, name: str, honest: Callable[..., Any]) -> Callable[..., Any]:
        """``honest``, counted as a step."""

        def step(*args: Any, **more: Any) -> Any:
            if self._left is not None:
                if self._left == 0:
                    self._dead = True
                    raise CrashError
                self._left -= 1
            if name == "fsync":
                self._synced.add(os.fstat(args[0]).st_ino)
            return honest(*args, **more)

        return step

    def _inodes(self) -> set[int]:
        files = self._store.rglob("*") if self._store.is_dir() else ()
        return {path.lstat().st_ino for path in files}

    def _forget(self) -> None:
        for path in self._store.rglob("*"):
            stat = path.lstat()
            known = stat.st_ino in self._before | self._synced or stat.st_nlink > 1
            if path.is_file() and not path.is_symlink() and not known and path.name != "lock":
                with path.open("r+b") as stream:
                    stream.truncate(stat.st_size // 2)


def machine(store: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine whose steps are the calls of `os` that change a disk."""
    made = Machine(store)
    for name in STEPS:
        monkeypatch.setattr(os, name, made.wrap(name, getattr(os, name)))
    return made
