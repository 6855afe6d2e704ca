"""The ``git`` program, hardened: no hooks, no prompts, no foreign environment, no shell."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import IO, cast

from patchhub.errors import PatchHubError

_OLDEST = (2, 31)
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.autocrlf=false",
    "core.quotePath=false",
    "core.fsync=committed,reference",
    "core.fsyncMethod=batch",
    "core.compression=1",
    "gc.auto=0",
    "maintenance.auto=false",
    "protocol.allow=never",
    # what PatchHub writes is what shall lie there: git-lfs has no part in it
    "filter.lfs.process=",
    "filter.lfs.clean=",
    "filter.lfs.smudge=",
    "filter.lfs.required=false",
)
_OPTIONS = tuple(part for setting in _SETTINGS for part in ("-c", setting))
# What of a user's GIT_* variables may reach git: who commits, and which user file is read.
_KEPT = frozenset(
    ["GIT_CONFIG_GLOBAL"]
    + [f"GIT_{role}_{what}" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")]
)
_FALLBACK = {"user.name": "PatchHub", "user.email": "patchhub@localhost"}


class Git:
    """Runs git in one repository.

    Args:
        root: Top directory of the work tree.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment: Mapping[str, str] = _environment(root)
        self._inherit: tuple[int, ...] = ()
        self._identity: Mapping[str, str] | None = None
        self._places: tuple[Path, Path] | None = None

    def derived(self, variables: Mapping[str, str], inherit: Sequence[int]) -> Git:
        """The same repository with further variables and descriptors for every command."""
        other = copy(self)
        other.environment = {**self.environment, **variables}
        other._inherit = (*self._inherit, *inherit)
        return other

    @property
    def places(self) -> tuple[Path, Path]:
        """This work tree's git directory, and the one it shares with other work trees.

        Raises:
            PatchHubError: E702.
        """
        if self._places is None:
            own = self.root / ".git"
            self._places = (own, own)
            if not own.is_dir():  # a linked work tree
                self._places = (self._absolute("--git-dir"), self._absolute("--git-common-dir"))
        return self._places

    def _absolute(self, which: str) -> Path:
        output = self.run("rev-parse", "--path-format=absolute", which)
        return Path(os.fsdecode(output.removesuffix(b"\n")))

    def run(
        self,
        *arguments: str,
        data: bytes = b"",
        variables: Mapping[str, str] | None = None,
        inherit: Sequence[int] = (),
        accept: Sequence[int] = (0,),
    ) -> bytes:
        """Run one command and return its standard output.

        Args:
            *arguments: Command and arguments; never built from unchecked data.
            data: Standard input.
            variables: Further environment variables.
            inherit: File descriptors the child keeps open (a lock that it must hold on to).
            accept: Exit statuses that are not an error.

        Raises:
            PatchHubError: E701, no git; E702, git failed.
        """
        with self.start(*arguments, variables=variables, inherit=inherit) as process:
            output, complaint = process.communicate(data)
        if process.returncode not in accept:
            raise self.failure(arguments[0], process.returncode, complaint)
        return output

    def start(
        self,
        *arguments: str,
        variables: Mapping[str, str] | None = None,
        inherit: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """Start one command with pipes; the caller ends it.

        Raises:
            PatchHubError: E701, no git.
        """
        try:
            return subprocess.Popen(
                ["git", *_OPTIONS, *arguments],
                cwd=self.root,
                env={**self.environment, **(variables or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(*self._inherit, *inherit),
            )
        except FileNotFoundError as error:
            if not self.root.is_dir():
                raise PatchHubError("E702", f"{self.root} is gone") from error
            raise PatchHubError(
                "E701",
                "git is not installed or not on PATH",
                expected=f"git {_OLDEST[0]}.{_OLDEST[1]} or newer",
            ) from error

    def failure(self, command: str, status: int, complaint: bytes) -> PatchHubError:
        """The error for a command that failed; an old git is named as the likely cause."""
        words = complaint.decode(errors="replace").strip()[:500]
        try:
            self.check_version()
        except PatchHubError as error:
            return error
        if status < 0:
            words = f"killed by signal {-status}; {words}".rstrip("; ")
        return PatchHubError("E702", f"git {command} failed", found=words or f"status {status}")

    def check_version(self) -> None:
        """Refuse a git that lacks what is used here.

        Raises:
            PatchHubError: E701.
        """
        with self.start("version") as process:
            output, _ = process.communicate()
        words = output.decode(errors="replace").split()
        numbers = words[2].split(".")[:2] if len(words) > 2 else []
        if not all(part.isdecimal() for part in numbers) or len(numbers) < 2:
            raise PatchHubError("E701", "git does not say its version", found=" ".join(words)[:80])
        if (int(numbers[0]), int(numbers[1])) < _OLDEST:
            raise PatchHubError(
                "E701", "git is too old", expected=".".join(map(str, _OLDEST)), found=words[2]
            )

    def identity(self) -> Mapping[str, str]:
        """Environment that names author and committer where the user's configuration does not."""
        if self._identity is None:
            pattern = r"^user\.(name|email)$"
            known = self.run("config", "-z", "--get-regexp", pattern, accept=(0, 1)).split(b"\0")
            found = {line.split(b"\n")[0].decode() for line in known if line}
            self._identity = {
                f"GIT_{role}_{key.partition('.')[2].upper()}": value
                for key, value in _FALLBACK.items()
                for role in ("AUTHOR", "COMMITTER")
                if key not in found
            }
        return {key: self.environment.get(key, value) for key, value in self._identity.items()}


def pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
    """Input, output and error stream of a process that `Git.start` started."""
    return cast(
        "tuple[IO[bytes], IO[bytes], IO[bytes]]", (process.stdin, process.stdout, process.stderr)
    )


def _environment(root: Path) -> dict[str, str]:
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("GIT_") or key in _KEPT
    }
    return kept | {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        # a registry whose .git is gone must not be taken for a part of a repository around it
        "GIT_CEILING_DIRECTORIES": str(root.parent),
        "LC_ALL": "C",
    }
