"""The journal: what a commit is about to do, so that the next command can clean up after it."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Intent:
    """One commit under way.

    Attributes:
        file: The journal file.
        old: Commit before; empty when the branch has none.
        new: Commit after.
        ref: The branch, e.g. ``refs/heads/main``.
        git: Process id of the git child that moves the branch.
    """

    file: Path
    old: str
    new: str
    ref: str
    git: int

    @classmethod
    def begin(cls, directory: Path, old: str, new: str, ref: str, git: int) -> Intent:
        """Write a new journal file, durably."""
        directory.mkdir(parents=True, exist_ok=True)
        intent = cls(directory / f"{time.time_ns():020d}-{os.getpid()}.json", old, new, ref, git)
        intent._write()
        return intent

    def done(self) -> None:
        """Nothing is left to clean up."""
        self.file.unlink(missing_ok=True)

    def _write(self) -> None:
        body = {key: value for key, value in asdict(self).items() if key != "file"}
        from patchhub.durable import sync_directory  # readers do without it

        temporary = self.file.with_name("writing")
        try:
            with temporary.open("wb") as stream:
                stream.write(json.dumps(body).encode())
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(self.file)
            sync_directory(self.file.parent)  # on the disk before the branch moves
        except BaseException:
            temporary.unlink(missing_ok=True)
            self.file.unlink(missing_ok=True)
            raise


def pending(directory: Path) -> list[Path]:
    """Journal files that a crash left, oldest first."""
    try:
        names = sorted(os.listdir(directory))  # noqa: PTH208  # half the cost of iterdir at start-up
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [directory / name for name in names if name.endswith(".json")]


def read(file: Path) -> Intent | None:
    """A journal file's content; None if it is not readable (it was never finished)."""
    try:
        body = json.loads(file.read_bytes())
        return Intent(file, **{key: body[key] for key in ("old", "new", "ref", "git")})
    except (ValueError, KeyError, TypeError):
        return None
