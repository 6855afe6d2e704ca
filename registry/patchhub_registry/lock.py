"""The registry's lock.

A git child that inherits the descriptor keeps the lock until it too has ended, also when this
process is killed: whoever gets the lock next knows that no git of ours is still running.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from patchhub import lock


def locked(path: Path, timeout: float) -> AbstractContextManager[int]:
    """Hold the lock while the body runs; see `patchhub.lock.locked`.

    Args:
        path: Lock file; made when missing, never removed.
        timeout: Seconds to wait.

    Returns:
        A context that gives the lock's file descriptor.

    Raises:
        BusyError: E501, another process holds it; E502, the file system has no such locks.
    """
    return lock.locked(path, timeout, "the registry")
