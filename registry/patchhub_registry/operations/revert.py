"""Take patches out of a stack, from anywhere in it, and out of a model directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import InvalidInputError, PatchHubError
from patchhub_registry.operations import intent
from patchhub_registry.operations.changing import Changed, change
from patchhub_registry.operations.rechecking import dependants, recheck
from patchhub_registry.schema import Op

if TYPE_CHECKING:
    from patchhub_registry.operations.intent import Intent
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
    rollback up or hides that it was made.

    Args:
        registry: The registry.
        refs: Patches of the stack.
        stack: The stack.
        model: A model directory of PatchHub's that follows in the same step.
        reason: Code for the entries.
        alone: Nothing comes back: what a patch stands for leaves with it.
        check: Ask the guard about those others; without it, or where it cannot be asked, they are
            named in the warnings.
        device: Where the guard's model computes.
        progress: Called with the phase, units done, units in all.

    Raises:
        NotFoundError: E102 to E104, E107. ConflictError: E303, E304, E305, E307, E308.
        InvalidInputError: E152, the guard cannot be asked on such a device.
        IntegrityError: E201, E202, E206.
    """
    wanted = (refs,) if isinstance(refs, str) else tuple(refs)
    if not wanted:
        raise InvalidInputError("E101", "say which patch to revert", expected="NAME@N")
    intended = intent.take_out(registry, wanted, stack=stack, reason=reason, alone=alone)
    intended.require()
    return carry_out(registry, intended, model=model, check=check, device=device, progress=progress)


def carry_out(
    registry: Registry,
    intended: Intent,
    *,
    model: str | Path | None,
    check: bool,
    device: str,
    progress: Progress | None,
) -> Changed:
    """Do what takes patches out, then ask the guard about what was computed on top of them.

    Arguments and errors as for `revert`, but for what the intent has settled.
    """
    before, told = intended.before, intended.conflicts
    gone = {before.item(one.ref).id for one in intended.changes if one.op is Op.REVERT}
    left = dependants(registry, registry.preview(before, intended.changes), gone) if check else ()
    if left:
        from patchhub.loading import check_device

        check_device(device)  # while nothing has happened yet
    changed = change(
        registry,
        before,
        intended.changes,
        model=model,
        progress=progress,
        warnings=[each.text for each in told],
        policy=intended.policy,
    )
    if not left:
        return changed
    try:
        again = recheck(registry, changed.after, left, device=device, progress=progress)
    except PatchHubError as error:  # the patches are out all the same
        why = f"not checked again: {error.code} {error.what}"
        return replace(changed, warnings=(*changed.warnings, why))
    others = tuple(each.text for each in told if each.rule != "K8")
    return replace(changed, warnings=others, rechecked=again)
