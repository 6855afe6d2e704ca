"""Whether a foreign object is an editor, as far as that shows before it runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from patchhub.editing.editor import NEEDS, TRAINED
from patchhub.editing.profiles import PROFILE
from patchhub.manifest import Kind

_CALLS = {"moment_layers": ("base", "hparams"), "edit": ("context", "requests", "hparams")}
_LEARNING = {
    "resolved": ("base", "settings"),
    "learner": ("base", "material", "settings", "generator"),
}
"""Of methods that are trained."""


def faults(found: Any, name: str) -> Iterator[str]:
    """What ``found`` lacks to be the `Editor` called ``name``; nothing if all is well."""
    own = getattr(found, "name", None)
    if own != name:
        yield f"name is {own!r}, not {name!r}"
    version = getattr(found, "version", None)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        yield f"version is {version!r}, not a number from 1"
    for field in ("summary", "reference"):
        if not isinstance(getattr(found, field, None), str):
            yield f"{field} is not text"
    kind = getattr(found, "kind", None)
    if not isinstance(kind, Kind):
        yield f"kind is {kind!r}, not one of patchhub.manifest.Kind"
    needs = getattr(found, "needs", None)
    if not isinstance(needs, frozenset) or not needs <= NEEDS:
        yield f"needs is not a frozenset of {', '.join(sorted(NEEDS))}"
    yield from _settings_faults(getattr(found, "hparams", None))
    yield from _calls_faults(found, _CALLS)
    if isinstance(needs, frozenset) and TRAINED in needs:
        yield from _settings_faults(getattr(found, "training", None), "training")
        yield from _calls_faults(found, _LEARNING)
        if not hasattr(getattr(found, "hparams", None), TRAINED):
            yield f"hparams has no field {TRAINED}, which names the trained editor"


def _calls_faults(found: Any, calls: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for call, names in calls.items():
        try:
            inspect.signature(getattr(found, call)).bind(*names)
        except (AttributeError, TypeError, ValueError):
            yield f"{call}({', '.join(names)}) cannot be called"


def _settings_faults(hparams: Any, called: str = "hparams") -> Iterator[str]:
    frozen = is_dataclass(hparams) and getattr(hparams, "__dataclass_params__").frozen  # noqa: B009
    if not isinstance(hparams, type) or not frozen:
        yield f"{called} is not a frozen dataclass"
        return
    if PROFILE in (field.name for field in fields(hparams)):
        yield f"{called} has a field {PROFILE}, which stands for published settings"
    try:
        hparams()
    except TypeError as error:
        yield f"{called} has a field without default ({error})"
