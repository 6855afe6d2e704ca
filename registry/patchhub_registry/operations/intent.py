"""What a command means to do to a stack, with everything that speaks for and against it.

`plan` shows it; `apply` and `revert` refuse it or carry it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from patchhub.errors import DeniedError
from patchhub_registry.operations import guarding
from patchhub_registry.operations.conflicts import Conflict, Rules
from patchhub_registry.operations.guarding import Evidence
from patchhub_registry.operations.restoring import come_back
from patchhub_registry.schema import Op
from patchhub_registry.stack import Change

if TYPE_CHECKING:
    from patchhub_registry.patches import PatchRecord
    from patchhub_registry.registry import Registry
    from patchhub_registry.stack import StackState


@dataclass(frozen=True, slots=True)
class Intent:
    """Operations on a stack that are not done yet.

    Attributes:
        before: The stack as it is.
        changes: The operations, in order; those that cannot follow the others are left out.
        conflicts: What is to be known, and what refuses them.
        warnings: What the user should know if they are done.
        policy: Number of the policy they were judged by, 0 for the shipped one; None if by none.
    """

    before: StackState
    changes: tuple[Change, ...]
    conflicts: tuple[Conflict, ...] = ()
    warnings: tuple[str, ...] = ()
    policy: int | None = None

    def require(self) -> None:
        """Pass if nothing refuses the operations.

        Raises:
            PatchHubError: The first thing that does.
        """
        for conflict in self.conflicts:
            if conflict.error is not None:
                raise conflict.error


def push(
    registry: Registry, refs: Sequence[str], *, stack: str, override: str | None, reason: str
) -> Intent:
    """Push patches onto a stack, which begins with its first patch; none leaves it as it is.

    Raises:
        InvalidInputError: E101. NotFoundError: E102 to E104, E107.
    """
    before = _stack(registry, stack, refs)
    number = max(registry.policies(), default=0)  # first: a later one is then noticed
    policy = guarding.policy_of(registry)
    rules = Rules(registry)
    changes: list[Change] = []
    conflicts: list[Conflict] = []
    warnings: list[str] = []
    for patch in map(registry.resolve, refs):
        there = registry.preview(before, changes)
        found = rules.on_push(there, patch)
        conflicts += found
        warnings += [each.text for each in found if each.error is None and each.rule == "K5"]
        if any(each.error is not None and each.rule in ("K2", "K6") for each in found):
            continue
        evidence = Evidence(None, None, {})
        try:
            evidence = guarding.evidence(registry, patch, there, policy, override)
        except DeniedError as error:
            conflicts.append(Conflict.refusal("guard", patch.ref, error))
        if evidence.identity not in (None, there.identity):
            warnings.append(_elsewhere(patch, there))
        changes.append(_pushed(patch, reason, policy.digest, evidence))
    return Intent(before, tuple(changes), tuple(conflicts), tuple(warnings), number)


def take_out(
    registry: Registry, refs: Sequence[str], *, stack: str, reason: str, alone: bool = False
) -> Intent:
    """Take patches out of a stack; those whose place they took in it come back.

    Args:
        registry: Where the stack is.
        refs: Patches of the stack.
        stack: Its name.
        reason: Code for the entries.
        alone: Nothing comes back.

    Raises:
        InvalidInputError: E101. NotFoundError: E104, E107. ConflictError: E307.
    """
    before = registry.stack(stack)
    items = [before.item(ref) for ref in refs]
    changes = [Change(Op.REVERT, item.ref, reason=reason) for item in items]
    rules = Rules(registry)
    conflicts: list[Conflict] = []
    again = f"patchhub revert {' '.join(refs)} --stack {stack}"
    for back in () if alone else come_back(registry, before, items):
        found = rules.on_push(registry.preview(before, changes), registry.resolve(back.ref))
        for each in found:
            if each.error is not None:  # what stands in its way here came after it had left
                each.error.hint = f"{again} --alone: nothing comes back"
        conflicts += [each for each in found if each.error is not None or each.rule == "K5"]
        if not any(each.rule in ("K2", "K6") for each in found if each.error is not None):
            changes.append(back)
    after = registry.preview(before, changes)
    conflicts += [each for item in items for each in rules.on_revert(after, item)]
    return Intent(before, tuple(changes), tuple(conflicts))


def _stack(registry: Registry, stack: str, refs: Sequence[str]) -> StackState:
    if not refs or stack in registry.stacks():
        return registry.stack(stack)
    return registry.stack_or_new(stack, registry.resolve(refs[0]).manifest.base)


def _pushed(patch: PatchRecord, reason: str, policy: str, evidence: Evidence) -> Change:
    return Change(
        Op.PUSH,
        patch.ref,
        reason=reason,
        policy=policy,
        guard=evidence.statement,
        waivers=evidence.waivers,
    )


def _elsewhere(patch: PatchRecord, there: StackState) -> str:
    return (
        f"{patch.ref} was checked on another model than {there.name}@{there.seq}; "
        f"patchhub check {patch.ref} --stack {there.name} measures it here"
    )
