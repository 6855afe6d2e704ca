"""Measure a patch of the registry on a stack and put the verdict on file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub_registry.operations import guarding, models

if TYPE_CHECKING:
    from patchhub.guard.verdict import Verdict
    from patchhub.request import EditRequest
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.patches import PatchRecord
    from patchhub_registry.registry import Registry


@dataclass(frozen=True, slots=True)
class Checked:
    """A patch and its verdict; ``statement`` is the digest under which it lies in the registry."""

    patch: PatchRecord
    verdict: Verdict
    statement: str


def check(
    registry: Registry,
    ref: str,
    *,
    stack: str | None = None,
    requests: str | Path | Sequence[EditRequest] | None = None,
    policy: str | Path | None = None,
    waive: Mapping[str, str] | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Checked:
    """Measure a patch on top of a stack; the verdict is committed, whatever it says.

    Args:
        registry: The registry.
        ref: The patch.
        stack: The stack below it; if the patch is in the stack, what lies there without it.
        requests: The patch's requests with probes (the registry keeps them without).
        policy: Policy file; else the registry's.
        waive: Checks that may fail, each with the reason, which is recorded.
        device: Where the model computes.
        progress: Called with the phase, units done, units in all.

    Raises:
        NotFoundError: E102 to E107, E109. InvalidInputError: E13x, E146.
        IntegrityError: E201, E202.
    """
    from patchhub.request import load_requests

    found = registry.find(ref)
    rules = guarding.policy_of(registry, policy)
    patch = models.read_patch(registry, found.ref)
    if requests is None:
        wanted: Sequence[EditRequest] = patch.requests
    elif isinstance(requests, str | Path):
        wanted = load_requests(Path(requests))
    else:
        wanted = requests
    base = models.base_with(registry, patch.manifest.base, found.ref)
    below = models.stack_patches(registry, models.stack_state(registry, stack))
    loaded = models.load(registry, base, device=device, progress=progress)
    verdict = guarding.judge(
        registry,
        loaded,
        patch,
        wanted,
        stack=[each for each in below if each.id != patch.id],
        policy=rules,
        waive=waive,
        progress=progress,
    )
    word = guarding.statement(verdict)
    registry.add_statements([word])
    return Checked(found, verdict, word.digest)
