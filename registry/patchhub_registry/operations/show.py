"""Everything the registry says about one patch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patchhub_registry.patches import PatchRecord
    from patchhub_registry.registry import Registry
    from patchhub_registry.schema import Statement


@dataclass(frozen=True, slots=True)
class Shown:
    """One patch.

    Attributes:
        patch: Its record and manifest.
        requests: What it says, as records without probes.
        statements: What was said about it, verdicts among others.
        stacks: Names of the stacks it is in.
    """

    patch: PatchRecord
    requests: tuple[Mapping[str, Any], ...]
    statements: tuple[Statement, ...]
    stacks: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """As a JSON object."""
        return {
            "ref": self.patch.ref,
            "id": self.patch.id,
            "record": json.loads(self.patch.record.to_bytes()),
            "manifest": json.loads(self.patch.manifest.to_bytes()),
            "requests": self.requests,
            "statements": [
                {"type": one.type, "digest": one.digest, "said": json.loads(one.data)}
                for one in self.statements
            ],
            "stacks": self.stacks,
        }


def show(registry: Registry, ref: str) -> Shown:
    """One patch, every digest of its files checked.

    Raises:
        InvalidInputError: E101. NotFoundError: E102 to E104. IntegrityError: E117, E202.
    """
    found = registry.resolve(ref)
    lines = registry.read_patch_files(found.ref)["requests.jsonl"].decode().splitlines()
    return Shown(
        found,
        tuple(json.loads(line) for line in lines),
        tuple(registry.statements(found.id)),
        tuple(name for name in registry.stacks() if found.id in registry.stack(name).ids),
    )
