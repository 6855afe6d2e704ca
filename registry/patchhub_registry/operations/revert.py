"""Take patches out of a stack, from anywhere in it, and out of a model directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import InvalidInputError, NotFoundError
from patchhub_registry.operations import intent
from patchhub_registry.operations.changing import Changed, change
from patchhub_registry.operations.rechecking import dependants, recheck

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
    alone: bool = False,
    check: bool = True,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Changed:
    """Take patches out of a stack; the model is then exactly the one without them.

    A patch that took the place of others in this stack, because they were solved together, makes
    room for them again.

    Patches that were computed on top of them stay, and the guard is asked about those again once
    the others are out: nothing it says, and nothing that keeps it from being asked, holds a
    rollback up.

    Args:
        registry: The registry.
        refs: Patches of the stack.
        stack: The stack.
        model: A model directory of PatchHub's that follows in the same step.
        reason: Code for the entries.
        alone: Nothing comes back: what a patch stands for leaves with it.
        check: Ask the guard about those others; without it, or where the base is not on this
            machine, they are named in the warnings.
        device: Where the guard's model computes.
        progress: Called with the phase, units done, units in all.

    Raises:
        NotFoundError: E102 to E104, E107. ConflictError: E303, E304, E305, E307, E308.
        IntegrityError: E201, E202, E206.
    """
    wanted = (refs,) if isinstance(refs, str) else tuple(refs)
    if not wanted:
        raise InvalidInputError("E101", "say which patch to revert", expected="NAME@N")
    intended = intent.take_out(registry, wanted, stack=stack, reason=reason, alone=alone)
    intended.require()
    changed = change(
        registry,
        intended.before,
        intended.changes,
        model=model,
        progress=progress,
        warnings=[each.text for each in intended.conflicts],
    )
    if not check:
        return changed
    gone = {intended.before.item(ref).id for ref in wanted}
    left = dependants(registry, changed.after, gone)
    try:
        again = recheck(registry, changed.after, left, device=device, progress=progress)
    except NotFoundError:  # no base here to ask: the warnings stand
        return changed
    return replace(changed, warnings=(), rechecked=again)
