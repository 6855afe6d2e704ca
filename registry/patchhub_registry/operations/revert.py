"""Take patches out of a stack, from anywhere in it, and out of a model directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import InvalidInputError
from patchhub_registry.operations import intent
from patchhub_registry.operations.changing import Changed, change

if TYPE_CHECKING:
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry


def revert(
    registry: Registry,
    refs: str | Sequence[str],
    *,
    stack: str,
    model: str | Path | None = None,
    reason: str = "rollback",
    progress: Progress | None = None,
) -> Changed:
    """Take patches out of a stack; the model is then exactly the one without them.

    Args:
        registry: The registry.
        refs: Patches of the stack.
        stack: The stack.
        model: A model directory of PatchHub's that follows in the same step.
        reason: Code for the entries.
        progress: Called with the phase, units done, units in all.

    Raises:
        NotFoundError: E102 to E104, E107. ConflictError: E303, E304, E305, E307, E308.
        IntegrityError: E201, E202, E206.
    """
    wanted = (refs,) if isinstance(refs, str) else tuple(refs)
    if not wanted:
        raise InvalidInputError("E101", "say which patch to revert", expected="NAME@N")
    intended = intent.take_out(registry, wanted, stack=stack, reason=reason)
    intended.require()
    return change(
        registry,
        intended.before,
        intended.changes,
        model=model,
        progress=progress,
        warnings=[each.text for each in intended.conflicts],
    )
