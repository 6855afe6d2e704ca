"""Push patches onto a stack, and bring a model directory to the stack's state."""

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


def apply(
    registry: Registry,
    refs: str | Sequence[str] = (),
    *,
    stack: str,
    model: str | Path | None = None,
    override: str | None = None,
    reason: str = "fact-update",
    progress: Progress | None = None,
) -> Changed:
    """Push patches onto a stack; the model directory follows in the same step.

    Args:
        registry: The registry.
        refs: Patches in order; none with ``model`` only brings the directory up to date.
        stack: The stack; it begins with its first patch.
        model: A model directory of PatchHub's, or a name not taken yet.
        override: Push in spite of a missing or failing verdict, for this reason, where the policy
            allows it; recorded.
        reason: Code for the entries.
        progress: Called with the phase, units done, units in all.

    Raises:
        NotFoundError: E102 to E107. DeniedError: E402, E403.
        ConflictError: E301, E302, E304 to E306, E308. IntegrityError: E201, E202, E206.
    """
    wanted = (refs,) if isinstance(refs, str) else tuple(refs)
    if not wanted and model is None:
        raise InvalidInputError(
            "E101",
            "say which patch to apply",
            expected="NAME@N, or --model DIR alone to bring a directory up to date",
        )
    intended = intent.push(registry, wanted, stack=stack, override=override, reason=reason)
    intended.require()
    return change(
        registry,
        intended.before,
        intended.changes,
        model=model,
        progress=progress,
        warnings=intended.warnings,
        policy=intended.policy,
    )
