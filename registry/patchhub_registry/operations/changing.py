"""One change of a stack and, with it, of a model directory: both happen or neither.

The order is fixed: everything is checked, the whole new generation is written (invisible), the
entry is committed, the directory is switched. Whoever sees the new model finds it in the registry.
The commit alone decides: `patchhub.checkpoint.journal` says what a crash at each moment means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub_registry.operations import localfiles, models
from patchhub_registry.operations.known import remember
from patchhub_registry.operations.ledger import ledger

if TYPE_CHECKING:
    from patchhub.checkpoint import Generation, Ledger
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.operations.rechecking import Rechecked
    from patchhub_registry.registry import Registry
    from patchhub_registry.stack import Change, StackState


@dataclass(frozen=True, slots=True)
class Changed:
    """A stack after a change.

    Attributes:
        before: The state the change was made on.
        after: The state now.
        directory: The model directory that now has this state, if one was named.
        generation: Its generation.
        warnings: What the user should know.
        rechecked: Patches of the stack that the guard was asked about again, and its word.
    """

    before: StackState
    after: StackState
    directory: Path | None
    generation: Generation | None
    warnings: tuple[str, ...] = ()
    rechecked: tuple[Rechecked, ...] = ()


def change(
    registry: Registry,
    before: StackState,
    changes: Sequence[Change],
    *,
    model: str | Path | None,
    progress: Progress | None,
    warnings: Sequence[str] = (),
    policy: int | None = None,
) -> Changed:
    """Commit entries, and with ``model`` make that directory equal to the new state.

    Args:
        registry: The registry.
        before: The state the changes were checked against; if it moved meanwhile, nothing happens.
        changes: Operations in order; none brings a directory up to date.
        model: Model directory; a link that PatchHub owns, or a name not taken yet.
        progress: Called with the phase, units done, units in all.
        warnings: Passed on.
        policy: Number of the policy that the changes were judged by; if it is no longer the newest,
            nothing happens.

    Raises:
        ConflictError: E304, E305 the stack or the policy moved meanwhile; E306 to E308.
        IntegrityError: E201, E202, E206. BusyError: E501.
    """
    planned = registry.preview(before, changes)
    commit = partial(registry.change, before, changes, policy=policy)
    generation = None
    if model is None:
        commit()
    else:
        record = ledger(registry, before, planned, commit)
        generation = _materialise(registry, planned, Path(model), record, progress)
    where = None if model is None else Path(model)
    return Changed(before, planned, where, generation, tuple(warnings))


def _materialise(
    registry: Registry,
    state: StackState,
    target: Path,
    record: Ledger,
    progress: Progress | None,
) -> Generation:
    from patchhub.checkpoint import materialise

    base = models.base_with(registry, state.base, f"stack {state.name!r}")
    directory, fingerprint = localfiles.base_directory(registry, base, progress=progress)
    remember(registry, target)
    return materialise(
        target,
        directory,
        fingerprint,
        [models.read_patch(registry, item.ref) for item in state.items],
        names=[item.ref for item in state.items],
        progress=localfiles.phase(progress, "write model"),
        ledger=record,
    )
