"""Policy, probes and verdicts: what must be on file before a patch may enter a stack."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patchhub import canonical
from patchhub.errors import DeniedError, GuardRefusedError
from patchhub_registry.operations import localfiles, probing
from patchhub_registry.schema import GUARD, Statement

if TYPE_CHECKING:
    from patchhub.guard.measurement import Measurement
    from patchhub.guard.policy import Policy
    from patchhub.guard.verdict import Verdict
    from patchhub.loading import LoadedBase
    from patchhub.patch import Patch
    from patchhub.request import EditRequest
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.patches import PatchRecord
    from patchhub_registry.registry import Registry
    from patchhub_registry.stack import StackState


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


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict and what goes on file with it.

    Attributes:
        verdict: The verdict.
        statements: The verdict first, then the probes behind it.
    """

    verdict: Verdict
    statements: tuple[Statement, ...]


def judge(
    registry: Registry,
    base: LoadedBase,
    patch: Patch,
    requests: Sequence[EditRequest],
    *,
    stack: Sequence[Patch],
    policy: Policy,
    waive: Mapping[str, str] | None,
    texts: Sequence[str] | None = None,
    known: Mapping[str, Sequence[EditRequest]] | None = None,
    progress: Progress | None,
) -> Judged:
    """Measure a patch on top of a stack with the base's probes, or with texts of one's own.

    ``known`` are requests with probes of patches in the stack that the registry does not have yet.
    """
    from patchhub.api import check

    probes = probing.base_probes(registry, base, progress=progress)
    if texts is not None:
        probes = replace(probes, texts=tuple(texts))
    verdict = check(
        base,
        patch,
        requests,
        stack=stack,
        policy=policy,
        probes=probes,
        known={**probing.known_requests(registry, stack), **(known or {})},
        waive=waive,
        cache=localfiles.answers_cache(registry),
        progress=progress,
    )
    word = Statement(verdict.patch, GUARD, canonical.dumps(verdict.to_json()))
    # Only the base's own probes are for the next check too.
    own = probes if texts is None else None
    asked = probing.probe_statements(base, own, patch, requests)
    return Judged(verdict, (word, *asked))


class RefusedError(GuardRefusedError):
    """The guard's no, with everything it measured.

    Args:
        verdict: The verdict.
        what: The patch, for the message.
    """

    def __init__(self, verdict: Verdict, what: str) -> None:
        blocking = verdict.blocking
        names = ", ".join(one.name for one in blocking)
        super().__init__(
            "E401",
            f"guard said no to {what}: {names}",
            found="; ".join(map(_measured, blocking)),
            expected="; ".join(map(_wanted, blocking)),
            hint='change the request or the method, or: --waive CHECK --reason "..." (on record)',
            checks=[one.name for one in blocking],
        )
        self.verdict = verdict


class SomeRefusedError(GuardRefusedError):
    """The guard's no to some of several patches.

    Args:
        refused: Name and verdict of each.
        kept: How many others were committed.
        written: Whether all went into directories, whatever the guard says.
    """

    def __init__(
        self, refused: Sequence[tuple[str, Verdict]], *, kept: int, written: bool = False
    ) -> None:
        names = [name for name, _ in refused]
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if names[5:] else "")
        super().__init__(
            "E401",
            f"guard said no to {shown}; {_rest(kept, written)}",
            hint='change the requests or the method, or: --waive CHECK --reason "..." (on record)',
            patches=names,
        )


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an entry names as the reason why a patch may enter a stack.

    Attributes:
        statement: Digest of the verdict's statement; None when there is none.
        identity: Identity of the model the verdict was measured on.
        waivers: Checks waived, and a verdict overridden, each with the reason.
    """

    statement: str | None
    identity: str | None
    waivers: Mapping[str, str]


def evidence(
    registry: Registry,
    patch: PatchRecord,
    state: StackState,
    policy: Policy,
    override: str | None,
) -> Evidence:
    """The verdict that lets a patch into a stack: passed, by the policy in force.

    Where some were measured on this very stack, only those count: a yes from elsewhere does not
    outweigh a no from here. Of several that pass the last by digest is taken.

    Args:
        registry: Where statements lie.
        patch: The patch.
        state: The stack it shall enter.
        policy: The policy in force.
        override: Reason for doing without a passing verdict.

    Raises:
        DeniedError: E403, there is no passing verdict; E402, the policy allows no override.
    """
    said = {
        one.digest: _fields(one.data) for one in registry.statements(patch.id) if one.type == GUARD
    }
    ruled = {digest: one for digest, one in said.items() if one.get("policy") == policy.digest}
    here = {d: one for d, one in ruled.items() if one["identity_before"] == state.identity} or ruled
    passed = {digest: one for digest, one in here.items() if one["passed"]}
    if passed:
        best = max(passed)
        return Evidence(best, passed[best]["identity_before"], dict(passed[best]["waived"]))
    if override is None:
        raise _no_verdict(patch, said, here)
    if not policy.override:
        raise DeniedError(
            "E402",
            "the policy lets no patch in without a passing verdict",
            expected="override = true in the policy",
            found=f"override = false in {policy.source}",
        )
    failed = max(here) if here else None
    return Evidence(failed, None, {"verdict": override})


def _no_verdict(
    patch: PatchRecord, said: Mapping[str, object], here: Mapping[str, object]
) -> DeniedError:
    if here:
        found = "the guard said no"
    elif said:
        found = "verdicts by other policies only"
    else:
        found = "no verdict"
    return DeniedError(
        "E403",
        f"{patch.ref} has no passing verdict by the policy in force",
        expected="a verdict that passed, or was waived with a reason",
        found=found,
        hint=f"patchhub check {patch.ref} --stack STACK --requests FILE",
    )


def _rest(kept: int, written: bool) -> str:
    """What became of several patches beside those that were refused."""
    if written:
        return "all are written, none is committed"
    others = {0: "nothing is kept", 1: "the other one is kept"}
    return others.get(kept, f"the {kept} others are kept")


def _measured(one: Measurement) -> str:
    return f"{one.name} {one.value:.3f} [{one.low:.3f}, {one.high:.3f}] (n = {one.n})"


def _wanted(one: Measurement) -> str:
    signs = {"rate": "≥", "ceiling": "≤"}
    return f"{one.name} {signs.get(one.rule, one.rule)} {one.floor}".strip()


def _fields(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(data)
    return found
