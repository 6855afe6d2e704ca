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
    from patchhub.checkpoint.reading import read_state
    from patchhub.checkpoint.records import State
    from patchhub.checkpoint.recovery import gc, recover
    from patchhub.identityfile import Identity, StackItem, identify

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
    "Drift": "checkpoint.drift",
    "Garbage": "checkpoint.garbage",
    "Generation": "checkpoint.change",
    "Identity": "identityfile",
    "Ledger": "checkpoint.journal",
    "StackItem": "identityfile",
    "State": "checkpoint.records",
    "directory_digest": "checkpoint.files",
    "gc": "checkpoint.recovery",
    "identify": "identityfile",
    "materialise": "checkpoint.change",
    "read_state": "checkpoint.reading",
    "recover": "checkpoint.recovery",
    "verify_directory": "checkpoint.drift",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"patchhub.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
