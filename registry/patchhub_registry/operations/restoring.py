"""What comes back when a patch that stands for others leaves a stack. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from patchhub_registry.schema import Op
from patchhub_registry.stack import Change

if TYPE_CHECKING:
    from patchhub_registry.entry import StackItem
    from patchhub_registry.registry import Registry
    from patchhub_registry.stack import StackState

RESTORED = "restored"
"""Reason of the entries."""


def come_back(
    registry: Registry, before: StackState, leaving: Sequence[StackItem]
) -> tuple[Change, ...]:
    """Pushes of the patches whose place the leaving ones took in this stack.

    Each comes back in its old order and on the evidence on which it came in last.

    Args:
        registry: Where the stack is.
        before: The stack as it is.
        leaving: Patches of it.
    """
    wanted = {one for item in leaving for one in registry.resolve(item.ref).manifest.supersedes}
    if not wanted:
        return ()
    staying = set(before.ids) - {item.id for item in leaving}
    came = {
        entry.patch.id: entry
        for entry in registry.log(before.name)
        if entry.op is Op.PUSH and entry.patch is not None
    }
    return tuple(
        Change(
            Op.PUSH,
            entry.patch.ref,
            reason=RESTORED,
            policy=entry.policy,
            guard=entry.guard,
            waivers=entry.waivers,
        )
        for patch, entry in came.items()
        if entry.patch is not None and patch in wanted - staying
    )
