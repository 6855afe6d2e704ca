"""Patches on checkpoint directories: generations, switched by one atomic rename.

The names below are imported when they are first used; those that only read need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from patchhub.checkpoint.change import Generation, materialise
    from patchhub.checkpoint.drift import Drift, verify_directory
    from patchhub.checkpoint.files import directory_digest
    from patchhub.checkpoint.garbage import Garbage
    from patchhub.checkpoint.journal import Ledger
    from patchhub.checkpoint.reading import identify, read_state
    from patchhub.checkpoint.records import Identity, StackItem, State
    from patchhub.checkpoint.recovery import gc, recover

__all__ = [
    "Drift",
    "Garbage",
    "Generation",
    "Identity",
    "Ledger",
    "StackItem",
    "State",
    "directory_digest",
    "gc",
    "identify",
    "materialise",
    "read_state",
    "recover",
    "verify_directory",
]

_HOMES = {
    "Drift": "drift",
    "Garbage": "garbage",
    "Generation": "change",
    "Identity": "records",
    "Ledger": "journal",
    "StackItem": "records",
    "State": "records",
    "directory_digest": "files",
    "gc": "recovery",
    "identify": "reading",
    "materialise": "change",
    "read_state": "reading",
    "recover": "recovery",
    "verify_directory": "drift",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
