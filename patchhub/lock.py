"""A kernel lock on a file: it dies with its owner, and a note in the file says who that is."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from patchhub.errors import BusyError

_PAUSE = 0.02


@contextmanager
def locked(path: Path, timeout: float, what: str) -> Iterator[int]:
    """Hold the lock while the body runs.

    Args:
        path: Lock file; made when missing, never removed.
        timeout: Seconds to wait.
        what: What the lock guards, for messages ("the model directory").

    Yields:
        The lock's file descriptor; a child process that inherits it keeps the lock until it ends.

    Raises:
        BusyError: E501, another process holds it; E502, the file system has no such locks.
    """
    path.parent.mkdir(exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _acquire(descriptor, path, timeout, what)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, _owner(), 0)
        try:
            yield descriptor
        finally:
            os.ftruncate(descriptor, 0)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, timeout: float, what: str) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EINTR):
                raise BusyError(
                    "E502",
                    "this file system does not support locks",
                    found=error.strerror,
                    hint=f"keep {what} on a local disk",
                    lock=str(path),
                ) from error
        if time.monotonic() >= deadline:
            raise _busy(os.pread(descriptor, 4096, 0), path, timeout, what)
        time.sleep(_PAUSE)


def _owner() -> bytes:
    since = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200] if sys.argv else ""
    note = {"pid": os.getpid(), "host": socket.gethostname(), "command": command, "since": since}
    return json.dumps(note).encode()


def _busy(note: bytes, path: Path, timeout: float, what: str) -> BusyError:
    try:
        owner = json.loads(note)
        who = (
            f"pid {owner['pid']} on host {owner['host']} holds the lock since {owner['since']} "
            f'("{owner["command"]}")'
        )
        data = {key: owner[key] for key in ("pid", "host", "command", "since")}
    except (ValueError, KeyError, TypeError):  # the owner is just writing, or was killed
        who, data = "another process holds the lock", {}
    return BusyError(
        "E501",
        f"{what} is busy: {who}",
        found=f"waited {timeout:g} s",
        hint="run it again when the other one is done",
        lock=str(path),
        **data,
    )
