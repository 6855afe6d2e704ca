"""PatchHub: git for model edits.

The names below are imported when they are first used, so that ``import patchhub`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from patchhub.api import check, edit, load
    from patchhub.composer.composer import Composer
    from patchhub.patch import Patch
    from patchhub.request import EditRequest
    from patchhub.trainings import train

__all__ = ["Composer", "EditRequest", "Patch", "check", "edit", "load", "train"]

_HOMES = {
    "Composer": "patchhub.composer.composer",
    "EditRequest": "patchhub.request",
    "Patch": "patchhub.patch",
    "check": "patchhub.api",
    "edit": "patchhub.api",
    "load": "patchhub.api",
    "train": "patchhub.trainings",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
