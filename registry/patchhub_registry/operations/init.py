"""Make a registry, with a policy of its own if one is given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from patchhub_registry.registry import Registry


def init(directory: str | Path, *, policy: str | Path | None = None) -> Registry:
    """Make a registry in a directory that is new or empty.

    Args:
        directory: Where.
        policy: Policy file; without one the policy that PatchHub ships is in force.

    Raises:
        ConflictError: E108, E308. NotFoundError: E109.
        InvalidInputError: E146, the policy is wrong.
    """
    from patchhub_registry.registry import Registry

    rules = None
    if policy is not None:
        from patchhub.guard.policy import Policy

        Policy.read(Path(policy))
        rules = Path(policy).read_bytes()
    return Registry.init(Path(directory), policy=rules)
