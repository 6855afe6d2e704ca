"""A fictional world, its text, and small models trained to know it the way large models know facts.

The names below are imported when first used: the world itself needs no torch.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import NotFoundError

if TYPE_CHECKING:
    from patchhub.sandbox.probes import edit_requests, request_for
    from patchhub.sandbox.tasks import choice_items
    from patchhub.sandbox.text import texts
    from patchhub.sandbox.world import Fact, World

__all__ = [
    "choice_items",
    "edit_requests",
    "facts",
    "load_world",
    "model_path",
    "request_for",
    "texts",
]

_HOMES = {
    "choice_items": "patchhub.sandbox.tasks",
    "edit_requests": "patchhub.sandbox.probes",
    "request_for": "patchhub.sandbox.probes",
    "texts": "patchhub.sandbox.text",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


@cache
def load_world(profile: str = "default") -> World:
    """The world of a profile; always the same one.

    Raises:
        NotFoundError: E109, there is no such profile.
    """
    from patchhub.sandbox.world import PROFILES, build_world

    if profile not in PROFILES:
        raise NotFoundError(
            "E109", "no such sandbox world", expected=", ".join(PROFILES), found=profile
        )
    return build_world(PROFILES[profile])


def facts(profile: str = "default") -> tuple[Fact, ...]:
    """All facts of a world, in a fixed order."""
    return load_world(profile).facts


def model_path(name: str = "sandbox-gpt2") -> Path:
    """Directory of a shipped model, as `from_pretrained` reads it.

    Raises:
        NotFoundError: E109, there is no such model.
    """
    folder = Path(__file__).parent / "models"
    if not (folder / name / "model.safetensors").is_file():
        raise NotFoundError(
            "E109",
            "no such sandbox model",
            expected=", ".join(sorted(p.parent.name for p in folder.glob("*/model.safetensors")))
            or "a trained model",
            found=name,
            hint="`make sandbox` trains it",
        )
    return folder / name
