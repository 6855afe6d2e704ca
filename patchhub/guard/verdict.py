"""What the guard says about a patch: numbers, how they were got, and yes or no. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from patchhub import canonical
from patchhub.errors import GuardRefusedError
from patchhub.guard.measurement import Effect, Measurement

SCHEMA = 1


@dataclass(frozen=True)
class Verdict:
    """The statement of the guard; the same inputs give the same bytes, whenever and wherever.

    Attributes:
        patch: Id of the patch.
        base: Digest of the base's weights.
        identity_before: Identity of the model without the patch (base and stack).
        identity_after: Identity with it.
        stack: Ids of the patches below, bottom first.
        requests: Digests of the patch's requests.
        policy: Digest of the policy.
        policy_version: The policy's own number.
        probes: Digest of the base's probes; "" without.
        questions: Digest of everything that was asked, the requests' probes included.
        settings: What else the answers depend on: dtype, longest answer.
        checks: Version of every check that ran.
        not_run: Checks there are that the policy does not name.
        measurements: The numbers.
        waived: Check (or check.measure) to the reason given.
    """

    patch: str
    base: str
    identity_before: str
    identity_after: str
    stack: tuple[str, ...]
    requests: tuple[str, ...]
    policy: str
    policy_version: int
    probes: str
    questions: str
    settings: Mapping[str, str | int]
    checks: Mapping[str, int]
    not_run: tuple[str, ...]
    measurements: tuple[Measurement, ...]
    waived: Mapping[str, str]

    @property
    def passed(self) -> bool:
        """Whether nothing stands in the way."""
        return not self.blocking

    @property
    def outcome(self) -> str:
        """``pass`` or ``fail``."""
        return "pass" if self.passed else "fail"

    @property
    def blocking(self) -> tuple[Measurement, ...]:
        """Measurements that refuse the edit."""
        return tuple(m for m in self.measurements if m.effect is Effect.BLOCK)

    @property
    def warnings(self) -> tuple[Measurement, ...]:
        """Measurements that let it pass with a doubt."""
        return tuple(m for m in self.measurements if m.effect is Effect.WARN)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical statement."""
        return canonical.digest(self.to_json())

    def to_json(self) -> dict[str, canonical.Json]:
        """The statement: no time, no host, no person."""
        return {
            "schema": SCHEMA,
            "type": "verdict",
            "patch": self.patch,
            "base": self.base,
            "identity_before": self.identity_before,
            "identity_after": self.identity_after,
            "stack": list(self.stack),
            "requests": list(self.requests),
            "policy": self.policy,
            "policy_version": self.policy_version,
            "probes": self.probes,
            "questions": self.questions,
            "settings": dict(self.settings),
            "checks": dict(self.checks),
            "not_run": list(self.not_run),
            "measurements": [measurement.to_json() for measurement in self.measurements],
            "waived": dict(self.waived),
            "passed": self.passed,
        }

    def ensure_passed(self) -> None:
        """Raise unless the verdict is yes.

        Raises:
            GuardRefusedError: E401, naming the measurements in the way.
        """
        if self.passed:
            return
        raise GuardRefusedError(
            "E401",
            f"guard said no to ph:{self.patch[:12]}",
            expected="; ".join(f"{m.name}: {_wanted(m)}" for m in self.blocking),
            found="; ".join(f"{m.name}: {m.value:.4g} of n = {m.n}" for m in self.blocking),
            hint='another request or method, or: --waive CHECK --reason "..." (it is recorded)',
        )


def _wanted(measurement: Measurement) -> str:
    return f"{measurement.rule} {measurement.floor}".strip()
