"""Policy, probes and verdicts: what must be on file before a patch may enter a stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub import canonical
from patchhub.errors import GuardRefusedError
from patchhub_registry.operations import localfiles
from patchhub_registry.schema import Statement

if TYPE_CHECKING:
    from patchhub.guard.policy import Policy
    from patchhub.guard.probes import BaseProbes
    from patchhub.guard.verdict import Verdict
    from patchhub.patch import Patch

    from patchhub.loading import LoadedBase
    from patchhub.request import EditRequest
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry

GUARD = "guard"
"""Type of the statements that hold a verdict."""


def policy_of(registry: Registry, file: str | Path | None = None) -> Policy:
    """The policy in a file, else the registry's newest one, else the one PatchHub ships.

    Raises:
        NotFoundError: E109. InvalidInputError: E146.
    """
    from patchhub.guard.policy import Policy, default_policy

    if file is not None:
        return Policy.read(Path(file))
    kept = registry.policy()
    return default_policy() if kept is None else Policy.parse(kept, "registry policy")


def base_probes(
    registry: Registry, base: LoadedBase, *, progress: Progress | None = None
) -> BaseProbes:
    """The base's own locality and drift probes; sampled from the model once if nobody gave any."""
    from patchhub.guard.probes import BaseProbes

    file = localfiles.probes_file(registry, base.fingerprint.weights)
    if file.is_file():
        return BaseProbes.read(file)
    probes = BaseProbes.sample(base, progress=progress)
    probes.write(file)
    return probes


def judge(
    registry: Registry,
    base: LoadedBase,
    patch: Patch,
    requests: Sequence[EditRequest],
    *,
    stack: Sequence[Patch],
    policy: Policy,
    waive: Mapping[str, str] | None,
    progress: Progress | None,
) -> Verdict:
    """Measure a patch on top of a stack with the base's probes."""
    from patchhub.api import check

    return check(
        base,
        patch,
        requests,
        stack=stack,
        policy=policy,
        probes=base_probes(registry, base, progress=progress),
        waive=waive,
        progress=progress,
    )


def statement(verdict: Verdict) -> Statement:
    """A verdict as the registry keeps it."""
    return Statement(verdict.patch, GUARD, canonical.dumps(verdict.to_json()))


def refusal(verdict: Verdict, what: str) -> GuardRefusedError:
    """The error that says which checks said no."""
    failed = [m for m in verdict.measurements if m.outcome == "fail"]
    found = ", ".join(f"{m.check}/{m.measure} {m.after:.3f} (n = {m.n})" for m in failed)
    return GuardRefusedError(
        "E401",
        f"guard said no to {what}",
        expected=", ".join(f"{m.check}/{m.measure} {m.floor}" for m in failed) or None,
        found=found or "checks that could not be decided",
        hint='another request or method, or: --waive CHECK --reason "..." (it is recorded)',
        verdict=verdict.to_json(),
    )
