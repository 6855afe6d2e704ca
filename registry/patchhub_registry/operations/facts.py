"""Which facts patches speak about. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from patchhub.canonical import sha256
from patchhub.errors import IntegrityError

if TYPE_CHECKING:
    from patchhub_registry.patches import PatchRecord
    from patchhub_registry.registry import Registry

REQUESTS = "requests.jsonl"

Key = tuple[str, str]


def requests(registry: Registry, patch: PatchRecord) -> list[dict[str, Any]]:
    """What a patch was asked for, as records without probes; its tensors are not read.

    Raises:
        IntegrityError: E117, E202: the file is missing or is not the manifest's.
    """
    path, entry = f"{patch.path}/{REQUESTS}", patch.manifest.files.get(REQUESTS)
    data = registry.at().file(path)
    if entry is None or data is None:
        raise IntegrityError("E117", f"{path} is missing")
    if sha256(data) != entry.sha256:
        raise IntegrityError(
            "E202",
            f"{path} does not match its manifest",
            expected=entry.sha256,
            found=sha256(data),
        )
    return [json.loads(line) for line in data.splitlines()]


def facts(registry: Registry, patch: PatchRecord) -> dict[Key, str]:
    """What a patch says: (subject, relation), or else the prompt, to target."""
    return dict(map(said, requests(registry, patch)))


def shared(a: dict[Key, str], b: dict[Key, str]) -> Iterator[tuple[Key, str, str]]:
    """Facts that both speak about, with what each says."""
    for key in sorted(a.keys() & b.keys()):
        yield key, a[key], b[key]


def said(request: Mapping[str, Any]) -> tuple[Key, str]:
    """The fact and the target of a request."""
    subject, relation = request.get("subject"), request.get("relation")
    if subject and relation:
        return (str(subject), str(relation)), str(request["target"])
    return (str(request["prompt"]), ""), str(request["target"])
