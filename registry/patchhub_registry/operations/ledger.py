"""The registry as the ledger of a model directory's changes: a stack's entry says what counts."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes, urlsplit

from patchhub.canonical import sha256
from patchhub.errors import ConflictError, PatchHubError
from patchhub_registry import paths
from patchhub_registry.lock import locked
from patchhub_registry.settings import Settings

if TYPE_CHECKING:
    from patchhub.checkpoint import Ledger
    from patchhub_registry.registry import Registry
    from patchhub_registry.stack import StackState

Claim = Mapping[str, str]


def ledger(
    registry: Registry, before: StackState, planned: StackState, record: Callable[[], object]
) -> Ledger:
    """The ledger for a change of a directory that goes with a change of a stack, or follows one.

    Args:
        registry: Where the stack lies.
        before: The stack's state that the change was planned on.
        planned: Its state afterwards; the last entry is the record. An entry holds no time, so its
            digest is known before it is written. The same as ``before`` when the directory follows.
        record: Commits the entries.
    """
    from patchhub.checkpoint import Ledger

    fresh, asked = partial(_unmoved, registry, before), partial(holds, registry, wait=True)
    if planned.head == before.head:
        return Ledger({}, lambda: None, asked, fresh)
    claim = {
        "registry": registry.root.as_uri(),
        "id": _id(registry.root) or "",
        "stack": planned.name,
        "seq": str(planned.seq),
        "entry": planned.head,
    }
    return Ledger(claim, record, asked, fresh)


def _unmoved(registry: Registry, before: StackState) -> None:
    """Pass if the stack is as it was; else a directory could go back to an older state of it."""
    now = registry.stack_or_new(before.name, before.base)
    if now.head != before.head:
        raise ConflictError(
            "E304",
            f"the plan is stale: made at {before.name}@{before.seq}, now at {now.name}@{now.seq}",
            hint="run it again on the stack as it is now",
            expected_seq=before.seq,
            found_seq=now.seq,
        )


def holds(registry: Registry, claim: Claim, *, wait: bool) -> bool:
    """Whether the entry that a claim names is in the registry it names.

    Args:
        registry: The registry at hand; asked if it is the one, wherever it lies by now.
        claim: As `ledger` made it.
        wait: Wait for the registry's lock first. A git child that outlived its process holds on to
            it, and may be about to move the branch.

    Returns:
        False also where the named registry is gone: nobody can say that the change was recorded.

    Raises:
        BusyError: E501.
    """
    from patchhub_registry.registry import Registry

    if claim.get("id") == _id(registry.root):
        return _has(registry, claim, wait)
    root = Path(os.fsdecode(unquote_to_bytes(urlsplit(claim.get("registry", "")).path)))
    if _id(root) != claim.get("id"):
        return False
    with Registry(root) as other:
        return _has(other, claim, wait)


def _has(registry: Registry, claim: Claim, wait: bool) -> bool:
    if wait:
        with locked(registry.root / paths.PRIVATE / "lock", registry.lock_timeout):
            return _has(registry, claim, wait=False)
    store = registry.at()
    data = store.file(paths.entry_file(claim.get("stack", ""), int(claim.get("seq", "0"))))
    return data is not None and sha256(data) == claim.get("entry")


def _id(root: Path) -> str | None:
    """The id of the registry at a place; None if there is none."""
    try:
        return Settings.from_bytes((root / paths.SETTINGS).read_bytes()).id
    except (OSError, PatchHubError):
        return None
