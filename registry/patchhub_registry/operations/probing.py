"""Probes as evidence: the questions behind a verdict, kept in the registry by digest.

A clone on another machine asks the same questions of the same base; and a patch that enters a stack
later is measured on every wording known of the edits below. Patches themselves hold no probes, so
they lie in statements of type ``probes``: about the base's weights, or about a patch's requests
file. Personal edits do not come into a registry at all, so neither do their probes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from patchhub import canonical
from patchhub_registry.operations import localfiles
from patchhub_registry.schema import Statement

if TYPE_CHECKING:
    from patchhub.guard.probes import BaseProbes
    from patchhub.loading import LoadedBase
    from patchhub.patch import Patch
    from patchhub.request import EditRequest
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry

PROBES = "probes"
"""Type of the statements that hold probes."""

_SCHEMA = 1


def base_probes(
    registry: Registry, base: LoadedBase, *, progress: Progress | None = None
) -> BaseProbes:
    """The base's own locality and drift probes.

    Those of a user's file on this machine, else those the registry has, else samples of the model,
    drawn once.
    """
    from patchhub.guard.probes import BaseProbes

    weights = base.fingerprint.weights
    file = localfiles.probes_file(registry, weights)
    if file.is_file():
        return BaseProbes.read(file)
    kept = _kept(registry, weights)
    if kept:
        probes = BaseProbes.from_json(kept[-1]["probes"], f"probes of {weights[:12]}")
    else:
        probes = BaseProbes.sample(base, progress=progress)
    probes.write(file)
    return probes


def known_requests(
    registry: Registry, patches: Sequence[Patch]
) -> dict[str, tuple[EditRequest, ...]]:
    """By patch id, the requests of patches with all probes that were ever given for them."""
    from patchhub.request import EditRequest

    return {
        patch.id: merged(
            EditRequest.from_json(one, what=f"probes of {patch.short}")
            for said in _kept(registry, _subject(patch))
            for one in said["requests"]
        )
        for patch in patches
    }


def merged(requests: Iterable[EditRequest]) -> tuple[EditRequest, ...]:
    """Each request once, in the order they first come in, with every probe of its doubles.

    Two requests are the same if their digests are, which probes are no part of.
    """
    found: dict[str, EditRequest] = {}
    for one in requests:
        digest = one.digest()
        first = found.setdefault(digest, one)
        probes = tuple(dict.fromkeys((*first.probes, *one.probes)))
        if probes != first.probes:
            found[digest] = replace(first, probes=probes)
    return tuple(found.values())


def probe_statements(
    base: LoadedBase,
    probes: BaseProbes | None,
    patch: Patch,
    requests: Sequence[EditRequest],
) -> list[Statement]:
    """What was asked in a check, as statements about the base and about the patch's requests."""
    found = []
    if probes is not None:
        found.append(_statement(base.fingerprint.weights, "probes", probes.to_json()))
    if any(request.probes for request in requests):
        asked = [request.to_json() for request in requests]
        found.append(_statement(_subject(patch), "requests", list(asked)))
    return found


def _subject(patch: Patch) -> str:
    return patch.manifest.files["requests.jsonl"].sha256


def _statement(subject: str, name: str, value: canonical.Json) -> Statement:
    fields: Mapping[str, canonical.Json] = {"schema": _SCHEMA, "type": PROBES, name: value}
    return Statement(subject, PROBES, canonical.dumps(fields))


def _kept(registry: Registry, subject: str) -> list[dict[str, Any]]:
    """Statements of our schema about a digest, in an order that every clone has."""
    said = [json.loads(s.data) for s in registry.statements(subject) if s.type == PROBES]
    known = (one for one in said if one.get("schema") == _SCHEMA)
    return sorted(known, key=canonical.digest)
