"""Target values: what a module should put out at the subject's last token, for many requests."""

from __future__ import annotations

from patchhub.editing.targets.optimiser import find_targets, find_twin_targets
from patchhub.editing.targets.problem import (
    Target,
    TargetSettings,
    TwinSettings,
    Wanted,
    only,
    wanted_for,
)

__all__ = [
    "Target",
    "TargetSettings",
    "TwinSettings",
    "Wanted",
    "find_targets",
    "find_twin_targets",
    "only",
    "wanted_for",
]
