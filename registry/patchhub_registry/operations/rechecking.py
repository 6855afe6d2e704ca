"""Ask the guard again about patches that were computed on what has left their stack."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from patchhub.errors import DeniedError, GuardRefusedError, InvalidInputError
from patchhub_registry.operations import guarding, models, probing
from patchhub_registry.schema import Op

if TYPE_CHECKING:
    from patchhub.guard.policy import Policy
    from patchhub.guard.verdict import Verdict
    from patchhub_registry.entry import StackItem
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry
    from patchhub_registry.schema import Statement
    from patchhub_registry.stack import StackState


@dataclass(frozen=True, slots=True)
class Rechecked:
    """A patch and its verdict on the stack as it is now.

    Attributes:
        ref: The patch.
        verdict: The verdict.
    """

    ref: str
    verdict: Verdict


class DependantsError(GuardRefusedError):
    """Patches were taken out, and the guard now says no to others that were computed on them.

    Args:
        stack: The stack.
        refused: The others.
    """

    def __init__(self, stack: str, refused: Sequence[Rechecked]) -> None:
        refs = [one.ref for one in refused]
        super().__init__(
            "E401",
            f"reverted, and the guard now says no to {', '.join(refs)}",
            found="; ".join(f"{m.name} of {o.ref}" for o in refused for m in o.verdict.blocking),
            hint=f"patchhub revert {' '.join(refs)} --stack {stack}, or edit anew on it",
            patches=refs,
        )


def dependants(
    registry: Registry, after: StackState, gone: Collection[str]
) -> tuple[StackItem, ...]:
    """What in a stack was computed on patches that left it.

    Args:
        registry: Where the patches lie.
        after: The stack without them.
        gone: Their ids.
    """
    return tuple(
        item for item in after.items if set(registry.resolve(item.ref).manifest.onto) & set(gone)
    )


def recheck(
    registry: Registry,
    state: StackState,
    items: Sequence[StackItem],
    *,
    device: str,
    progress: Progress | None,
) -> tuple[Rechecked, ...]:
    """Measure patches on the rest of their stack; the verdicts are committed.

    The registry's policy judges; what was waived when a patch entered the stack stays waived, as
    far as that policy has such a check and lets it be waived.

    Args:
        registry: The registry.
        state: The stack.
        items: Which of its patches.
        device: Where the model computes.
        progress: Called with the phase, units done, units in all.

    Raises:
        NotFoundError: E106, E109, the base is not on this machine. IntegrityError: E201, E202.
    """
    if not items:
        return ()
    base = models.base_with(registry, state.base, f"stack {state.name!r}")
    loaded = models.load(registry, base, device=device, progress=progress)
    patches = {patch.id: patch for patch in models.stack_patches(registry, state)}
    policy, waived = guarding.policy_of(registry), _waived(registry, state)
    known = probing.known_requests(registry, list(patches.values()))
    found: list[Rechecked] = []
    statements: list[Statement] = []
    for item in items:
        patch = patches[item.id]
        judged = guarding.judge(
            registry,
            loaded,
            patch,
            probing.merged((*patch.requests, *known[patch.id])),
            stack=[other for other in patches.values() if other.id != patch.id],
            policy=policy,
            waive=_valid(policy, waived.get(item.ref, {})),
            progress=progress,
        )
        found.append(Rechecked(item.ref, judged.verdict))
        statements += judged.statements
    registry.add_statements(list(dict.fromkeys(statements)))
    return tuple(found)


def _waived(registry: Registry, state: StackState) -> dict[str, Mapping[str, str]]:
    """Checks waived for each patch when it last entered; an overridden verdict is no waiver."""
    return {
        entry.patch.ref: {c: why for c, why in entry.waivers.items() if c != "verdict"}
        for entry in registry.log(state.name)
        if entry.op is Op.PUSH and entry.patch is not None
    }


def _valid(policy: Policy, waived: Mapping[str, str]) -> dict[str, str]:
    """The waivers that mean something to a policy, which may be newer than they are."""
    from patchhub.guard.judging import check_waivers

    found: dict[str, str] = {}
    for name, reason in waived.items():
        try:
            check_waivers(policy, {name: reason})
        except (DeniedError, InvalidInputError):
            continue
        found[name] = reason
    return found
