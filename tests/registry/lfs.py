"""Large patches, and the real git-lfs where this machine has it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from patchhub.canonical import sha256
from tests.registry.support import patch_files

_PATH = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
PROGRAM = shutil.which("git-lfs", path=_PATH)

with_git_lfs = pytest.mark.skipif(
    PROGRAM is None, reason="git-lfs is not on this machine (make git-lfs brings it)"
)


def large_files(text: str, bytes_: int = 200_000) -> dict[str, bytes]:
    """A patch whose payload does not compress and is too large for git."""
    lines = (sha256(f"{text} {i}".encode()) for i in range(bytes_ // 64 // 20 + 1))
    return patch_files("".join(lines))


class User:
    """A person's git, with git-lfs set up for this person or not.

    Args:
        home: Where the person's configuration lies.
        lfs: Whether ``git lfs install`` was run.
    """

    def __init__(self, home: Path, *, lfs: bool) -> None:
        home.mkdir(exist_ok=True)
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith("GIT_")
        }
        self.environment |= {
            "HOME": str(home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(home / "config"),
            "PATH": f"{Path(PROGRAM).parent}:{_PATH}" if PROGRAM else _PATH,
        }
        for key, value in (("user.name", "user"), ("user.email", "user@localhost")):
            self.git(home, "config", "--global", key, value)
        if lfs:
            self.git(home, "lfs", "install", "--skip-repo")

    def git(self, root: Path, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=root, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def become(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From here on this process is run by this person."""
        for key in ("HOME", "PATH", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM"):
            monkeypatch.setenv(key, self.environment[key])
