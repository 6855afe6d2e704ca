"""Target values: what a module should put out at the subject's last token, for many requests."""

from __future__ import annotations

from patchhub.editing.targets.optimiser import find_targets
from patchhub.editing.targets.problem import Target, TargetSettings, Wanted, wanted_for

__all__ = ["Target", "TargetSettings", "Wanted", "find_targets", "wanted_for"]
