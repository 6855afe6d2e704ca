"""Everything the registry says about one patch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from patchhub.errors import NotFoundError

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
        superseded: Patches it stands for: id, and ``name@n`` if the registry has it once.
    """

    patch: PatchRecord
    requests: tuple[Mapping[str, Any], ...]
    statements: tuple[Statement, ...]
    stacks: tuple[str, ...]
    superseded: tuple[tuple[str, str | None], ...] = ()

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
            "superseded": [{"id": one, "ref": ref} for one, ref in self.superseded],
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
        tuple((one, _ref(registry, one)) for one in found.manifest.supersedes),
    )


def _ref(registry: Registry, patch: str) -> str | None:
    try:
        return registry.resolve(patch).ref
    except NotFoundError:
        return None
