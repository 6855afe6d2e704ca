"""A disk that is full, broken or not ours to write, at every single step of a command."""

from __future__ import annotations

import errno
import io
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from patchhub_cli.main import main
from tests.crash.world import COMMANDS, World, build, strangers
from tests.registry.support import git, status

CALLS = ("fsync", "link", "mkdir", "rename", "replace", "symlink", "unlink", "utime")
CODES = (errno.ENOSPC, errno.EIO, errno.EACCES)
STRIDE = int(os.environ.get("PATCHHUB_TEST_STRIDE", "9"))
STRIDES = {"gc": 1, "edit": 2 * STRIDE}

pytestmark = pytest.mark.slow


class Disk:
    """Fails from one step on, once or for good, as long as the body of `failing` runs."""

    def __init__(self) -> None:
        self._left: int | None = None
        self._code, self._for_good = 0, False
        self.failed = False

    @contextmanager
    def failing(self, step: int, code: int, *, for_good: bool) -> Iterator[None]:
        """Let ``step`` steps pass, then refuse with ``code``."""
        self._left, self._code, self._for_good, self.failed = step, code, for_good, False
        try:
            yield
        finally:
            self._left = None

    def wrap(self, honest: Callable[..., Any], *, opens: bool = False) -> Callable[..., Any]:
        """``honest``, counted as a step; of ``open`` only what writes."""

        def step(*arguments: Any, **more: Any) -> Any:
            mode = more.get("mode", arguments[1] if len(arguments) > 1 else "r")
            if self._left is not None and not (opens and not set("wxa+") & set(str(mode))):
                self._left -= 1
                if self._left == -1 or (self._left < 0 and self._for_good):
                    self.failed = True
                    raise OSError(self._code, os.strerror(self._code))
            return honest(*arguments, **more)

        return step


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    for name in CALLS:
        monkeypatch.setattr(os, name, made.wrap(getattr(os, name)))
    monkeypatch.setattr(io, "open", made.wrap(io.open, opens=True))
    return made


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build(tmp_path_factory.mktemp("faults") / "home")


def attempt(world: World, command: str) -> tuple[int, str]:
    """Exit status and what was said on stderr."""
    before = Path.cwd()
    os.chdir(world.root)
    try:
        result = CliRunner().invoke(main, COMMANDS[command])
    finally:
        os.chdir(before)
    return result.exit_code, result.stderr


@pytest.mark.parametrize("command", ["add", "apply", "first", "revert", "gc", "edit"])
@pytest.mark.parametrize("for_good", [False, True])
def test_any_step_may_be_refused(
    template: World, tmp_path: Path, disk: Disk, command: str, for_good: bool
) -> None:
    after = template.copy(tmp_path / "after")
    after.run(*COMMANDS[command])
    old, new = template.seen(), after.seen()
    world, stride = template.copy(tmp_path / "0"), STRIDES.get(command, STRIDE)
    for number in itertools.count(1):
        with disk.failing(number * stride - stride, CODES[number % 3], for_good=for_good):
            status_, words = attempt(world, command)
        if not disk.failed:
            break
        assert "Traceback" not in words
        assert (status_ == 0) or "error[E" in words, words
        if for_good or command == "gc":  # what cannot be removed now is removed by the next
            world.run("gc", "--now")
        seen = world.seen()
        assert seen in ((old, new) if for_good or status_ == 0 else (old,)), words
        assert for_good or status_ == 0 or strangers(world) == [], words
        assert status(world.root) == ""
        if seen != old or command == "gc":
            world = template.copy(tmp_path / str(number))
    assert number > 3
    assert world.seen() == new
    git(world.root, "fsck", "--strict", "--no-dangling")
