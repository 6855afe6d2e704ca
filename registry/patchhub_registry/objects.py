"""Reading git objects through one long-lived ``git cat-file --batch``."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from patchhub.errors import IntegrityError, InvalidInputError
from patchhub_registry.git import Git, pipes
from patchhub_registry.names import shown

BATCH = 100
"""Objects asked for at once: their ids fit into any pipe, so that neither side can block, and
their contents into memory."""


@dataclass(frozen=True, slots=True)
class GitObject:
    """One object: its id (hex), type and content."""

    id: str
    type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One line of a tree: mode as git writes it (``100644``, ``40000``) and object id."""

    mode: str
    id: str

    @property
    def is_tree(self) -> bool:
        """Whether it is a directory."""
        return self.mode == "40000"


class Objects:
    """Objects of one repository by id or by ``commit:path``."""

    def __init__(self, git: Git) -> None:
        self._git = git
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._guard = threading.Lock()

    def get(self, spec: str) -> GitObject | None:
        """The object that a revision expression names; None if there is none."""
        return next(self.many([spec]))

    def many(self, specs: Sequence[str]) -> Iterator[GitObject | None]:
        """Objects in the order asked for.

        Raises:
            InvalidInputError: E101, one has a line break in it.
            IntegrityError: E204, git cannot read one of them.
        """
        for spec in specs:
            if "\n" in spec:
                raise InvalidInputError("E101", f"not a git object name: {shown(spec)}")
        for start in range(0, len(specs), BATCH):
            part = specs[start : start + BATCH]
            with self._guard:
                found = self._ask(part)
            yield from found

    def tree(self, spec: str) -> dict[str, TreeEntry]:
        """Entries of a tree by name; empty if it does not exist."""
        found = self.get(spec)
        if found is None:
            return {}
        if found.type != "tree":
            raise IntegrityError("E204", f"{spec} is a {found.type}, not a directory")
        return dict(parse_tree(found.data, len(found.id) // 2))

    def close(self) -> None:
        """End the git process; the next read starts another."""
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            _end(process)

    def _ask(self, specs: Sequence[str]) -> list[GitObject | None]:
        process = self._running()
        questions, answers, _ = pipes(process)
        try:
            questions.write("".join(f"{spec}\n" for spec in specs).encode())
            questions.flush()
            return [_read(answers) for _ in specs]
        except (BrokenPipeError, EOFError) as error:
            complaint = pipes(process)[2].read()
            self.close()
            raise IntegrityError(
                "E204",
                "git cannot read an object of the registry",
                found=complaint.decode(errors="replace").strip()[:500] or None,
                hint="git fsck says more; a clone of the registry may still have it",
            ) from error
        except BaseException:  # interrupted: answers still to come would pass for those of the next
            self.close()
            raise

    def _running(self) -> subprocess.Popen[bytes]:
        # a forked child must not share the pipe with its parent
        if self._process is None or self._owner != os.getpid():
            self._process = self._git.start("cat-file", "--batch")
            self._owner = os.getpid()
            weakref.finalize(self, _end, self._process)
        return self._process


def parse_tree(data: bytes, width: int) -> Iterator[tuple[str, TreeEntry]]:
    """Lines of a tree object.

    Args:
        data: The object's content.
        width: Bytes of an object id (20 for SHA-1).
    """
    position = 0
    while position < len(data):
        space = data.index(b" ", position)
        end = data.index(b"\0", space)
        oid = data[end + 1 : end + 1 + width].hex()
        name = os.fsdecode(data[space + 1 : end])
        yield name, TreeEntry(data[position:space].decode(), oid)
        position = end + 1 + width


def _read(stream: IO[bytes]) -> GitObject | None:
    head = stream.readline().decode(errors="replace")
    if not head.endswith("\n"):
        raise EOFError
    if head.endswith((" missing\n", " ambiguous\n")):
        return None
    oid, kind, size = head.split()
    data = stream.read(int(size))
    if len(data) != int(size) or stream.read(1) != b"\n":
        raise EOFError
    return GitObject(oid, kind, data)


def _end(process: subprocess.Popen[bytes]) -> None:
    for stream in pipes(process):
        with contextlib.suppress(BrokenPipeError):
            stream.close()
    process.wait()
