"""What `apply` or `revert` would do, said before it is done. Reads no tensor, needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import InvalidInputError, NotFoundError, PatchHubError
from patchhub_registry.entry import StackItem
from patchhub_registry.operations import intent
from patchhub_registry.operations.conflicts import Conflict
from patchhub_registry.operations.models import base_with
from patchhub_registry.operations.patchfinder import PatchFinder
from patchhub_registry.operations.touched import Touched, differing

if TYPE_CHECKING:
    from patchhub.checkpoint.forecast import Forecast
    from patchhub_registry.operations.intent import Intent
    from patchhub_registry.registry import Registry
    from patchhub_registry.stack import StackState

PUSH = "fact-update"
REVERT = "rollback"


@dataclass(frozen=True, slots=True)
class Target:
    """A model directory that would follow.

    Attributes:
        directory: Where it is or will be.
        forecast: What would be written there.
        holds: The patches it holds now.
        current: Whether it has the state already.
    """

    directory: Path
    forecast: Forecast
    holds: tuple[StackItem, ...]
    current: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """A change of a stack and of a model directory that was not made.

    Attributes:
        op: ``apply``, ``revert``, or ``catch-up`` for a directory alone.
        intent: The operations, with what speaks for and against them.
        after: The stack they lead to.
        touched: Tensors whose bytes change, of the directory or else of the stack.
        target: The directory, if one was named and can be planned.
        directory: The directory named, whether or not it can be planned.
        override: The reason given for doing without a verdict.
        refused: What refuses the change; none if it can be made.
    """

    op: str
    intent: Intent
    after: StackState
    touched: tuple[Touched, ...]
    target: Target | None
    directory: Path | None
    override: str | None
    refused: PatchHubError | None

    @property
    def before(self) -> StackState:
        """The stack as it is."""
        return self.intent.before

    @property
    def begins(self) -> bool:
        """Whether the stack begins with this."""
        return self.before.seq == 0 and self.after.seq > 0

    @property
    def pending(self) -> bool:
        """Whether anything would change."""
        return bool(self.intent.changes) or not (self.target is None or self.target.current)

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        """What is to be known, and what refuses the change."""
        return self.intent.conflicts


def plan(
    registry: Registry,
    refs: str | Sequence[str] = (),
    *,
    stack: str | None = None,
    model: str | Path | None = None,
    revert: bool = False,
    alone: bool = False,
    override: str | None = None,
    reason: str | None = None,
) -> Plan:
    """Say what `apply` (or `revert`) with the same arguments would do; nothing is changed.

    What would refuse the change is told, not raised; only names that mean nothing raise.

    Args:
        registry: The registry.
        refs: Patches to push or to take out; none with ``model`` brings the directory up to date.
        stack: The stack; not needed when there is only one, or when the directory follows one.
        model: A model directory of PatchHub's, or a name not taken yet.
        revert: Take the patches out instead of pushing them.
        alone: With ``revert``: nothing comes back for them.
        override: Push in spite of a missing or failing verdict, for this reason.
        reason: Code for the entries.

    Raises:
        InvalidInputError: E101, a name; or neither patch nor directory is named.
        NotFoundError: E102 to E107. ConflictError: E307, not in the stack.
        IntegrityError: E2xx, the registry is damaged.
    """
    wanted = (refs,) if isinstance(refs, str) else tuple(refs)
    if not wanted and (model is None or revert):
        raise InvalidInputError(
            "E101",
            "say which change to plan",
            expected="NAME@N, or --model DIR alone to bring a directory up to date",
        )
    where = None if model is None else Path(model)
    name = stack if stack is not None else _stack_of(registry, where)
    if revert:
        why = reason or REVERT
        meant = intent.take_out(registry, wanted, stack=name, reason=why, alone=alone)
    else:
        meant = intent.push(registry, wanted, stack=name, override=override, reason=reason or PUSH)
    op = "revert" if revert else "apply" if wanted else "catch-up"
    return _made(registry, op, meant, where, override)


def _made(
    registry: Registry, op: str, meant: Intent, where: Path | None, override: str | None
) -> Plan:
    after = registry.preview(meant.before, meant.changes)
    refused = next((each.error for each in meant.conflicts if each.error is not None), None)
    finder = PatchFinder(registry)
    now: Sequence[StackItem] = meant.before.items
    target = None
    if where is not None:
        try:
            target = _target(finder, where, after)
        except PatchHubError as error:
            refused = refused or error
        else:
            now = target.holds
    touched = differing(finder, now, after.items)
    return Plan(op, meant, after, touched, target, where, override, refused)


def _target(finder: PatchFinder, where: Path, after: StackState) -> Target:
    from patchhub.checkpoint.forecast import forecast

    registry = finder.registry
    base = base_with(registry, after.base, f"stack {after.name!r}")
    directory = registry.base_path(base.name)
    found = forecast(where, directory, base.fingerprint, finder.ids_by_tensor(after.items))
    state = found.state
    holds = () if state is None else tuple(StackItem(i.name, i.id) for i in state.stack)
    current = state is not None and state.identity == after.identity and state.pending is None
    return Target(where, found, holds, current)


def _stack_of(registry: Registry, model: Path | None) -> str:
    """The stack that is meant when none is named."""
    names = registry.stacks()
    if len(names) > 1 and model is not None and model.is_dir():
        from patchhub_registry.operations.directory import places, said_by

        names = [place.stack for place in places(registry, said_by(model).identity)] or names
    if len(names) != 1:
        raise NotFoundError(
            "E107",
            "say which stack",
            found=", ".join(names) or "no stacks",
            hint="--stack NAME",
        )
    return names[0]
