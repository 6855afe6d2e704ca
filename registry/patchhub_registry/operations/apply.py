"""Push patches onto a stack, and bring a model directory to the stack's state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import InvalidInputError
from patchhub_registry.operations import facts, guarding
from patchhub_registry.operations.changing import Changed, change
from patchhub_registry.schema import Op
from patchhub_registry.stack import Change

if TYPE_CHECKING:
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry
    from patchhub_registry.stack import StackState


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
        ConflictError: E301, E304 to E306, E308. IntegrityError: E201, E202, E206.
    """
    wanted = (refs,) if isinstance(refs, str) else tuple(refs)
    if not wanted and model is None:
        raise InvalidInputError(
            "E101",
            "say which patch to apply",
            expected="NAME@N, or --model DIR alone to bring a directory up to date",
        )
    state = _state(registry, stack, wanted)
    policy = guarding.policy_of(registry)
    changes: list[Change] = []
    warnings: list[str] = []
    for ref in wanted:
        there = registry.preview(state, changes)
        found = registry.find(ref)
        facts.check_contradictions(registry, there, found.ref)
        evidence = guarding.evidence(registry, found, there, policy, override)
        if evidence.identity not in (None, there.identity):
            warnings.append(
                f"{found.ref} was checked on another model than {there.name}@{there.seq}; "
                f"patchhub check {found.ref} --stack {stack} measures it here"
            )
        changes.append(
            Change(
                Op.PUSH,
                found.ref,
                reason=reason,
                policy=policy.digest,
                guard=evidence.statement,
                waivers=evidence.waivers,
            )
        )
    return change(registry, state, changes, model=model, progress=progress, warnings=warnings)


def _state(registry: Registry, stack: str, refs: Sequence[str]) -> StackState:
    if not refs or stack in registry.stacks():
        return registry.stack(stack)
    return registry.stack_or_new(stack, registry.find(refs[0]).manifest.base)
