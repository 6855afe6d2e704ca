"""What comes back when a patch that stands for others leaves a stack. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from patchhub_registry.schema import Op
from patchhub_registry.stack import Change

if TYPE_CHECKING:
    from patchhub_registry.entry import Entry, StackItem
    from patchhub_registry.registry import Registry
    from patchhub_registry.stack import StackState

LEAVES, ENTERS = "superseded", "joint-solve"
"""Reasons of the entries: of patches that leave for one that stands for them, and of that one."""
RESTORED = "restored"
"""Reason of the entries with which they come back."""


def come_back(
    registry: Registry, before: StackState, leaving: Sequence[StackItem]
) -> tuple[Change, ...]:
    """Pushes of the patches whose place the leaving ones took in this stack.

    Those are the ones that left right before it entered, and no others that it stands for: those
    were taken out by somebody, or were never here. Each comes back in its old order and on the
    evidence on which it came in last.

    Args:
        registry: Where the stack is.
        before: The stack as it is.
        leaving: Patches of it.
    """
    if not any(registry.resolve(item.ref).manifest.supersedes for item in leaving):
        return ()
    log = registry.log(before.name)
    staying = set(before.ids) - {item.id for item in leaving}
    came = {one.patch.id: one for one in log if one.op is Op.PUSH and one.patch is not None}
    wanted = dict.fromkeys(one for item in leaving for one in _displaced(log, item))
    return tuple(
        Change(
            Op.PUSH,
            gone.ref,
            reason=RESTORED,
            policy=came[gone.id].policy,
            guard=came[gone.id].guard,
            waivers=came[gone.id].waivers,
        )
        for gone in wanted
        if gone.id not in staying
    )


def _displaced(log: Sequence[Entry], item: StackItem) -> list[StackItem]:
    """What left for a patch when it entered; that it came back since does not count as entering."""
    found: list[StackItem] = []
    pushes = [
        place
        for place, one in enumerate(log)
        if one.op is Op.PUSH and one.patch == item and one.reason != RESTORED
    ]
    if not pushes or log[pushes[-1]].reason != ENTERS:
        return found
    for one in reversed(log[: pushes[-1]]):
        if one.op is Op.REVERT and one.reason == LEAVES and one.patch is not None:
            found.insert(0, one.patch)
        elif one.op is not Op.CHECKPOINT:
            break
    return found
