"""Which requests are solved together: one target per subject, and of two that disagree the later.

All requests on a subject have its key, and one key can be given one value: so one target is found
for all their prompts, and a request more or less means another target, found anew on the base.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from patchhub import canonical
from patchhub.request import EditRequest

Group = tuple[EditRequest, ...]
"""The requests on one subject, in the order of their digests."""


@dataclass(frozen=True, slots=True)
class Settled:
    """Requests that agree.

    Attributes:
        kept: What holds, each once, in the order of their digests.
        replaced: What a later request took the place of, in the order of arrival.
    """

    kept: tuple[EditRequest, ...]
    replaced: tuple[EditRequest, ...]

    @property
    def groups(self) -> tuple[Group, ...]:
        """By subject, in the order of their names."""
        found: dict[str, list[EditRequest]] = {}
        for request in self.kept:
            found.setdefault(request.subject or request.prompt, []).append(request)
        return tuple(sorted(map(tuple, found.values()), key=group_name))


def settled(requests: Iterable[EditRequest]) -> Settled:
    """Let later requests replace earlier ones on the same fact.

    The same fact is the same question or, with another target, the same subject and relation: what
    the rules of a stack call a contradiction.

    Args:
        requests: In the order in which they were made.
    """
    kept: list[EditRequest] = []
    replaced: list[EditRequest] = []
    for request in requests:
        bare = replace(request, probes=())
        gone = [one for one in kept if _same_fact(one, bare)]
        replaced += [one for one in gone if one.target != bare.target]
        kept = [one for one in kept if one not in gone] + [bare]
    return Settled(tuple(sorted(kept, key=EditRequest.digest)), tuple(replaced))


def group_name(requests: Sequence[EditRequest]) -> str:
    """Name of the target of some requests: SHA-256 over their digests."""
    return canonical.digest(sorted(request.digest() for request in requests))


def _same_fact(a: EditRequest, b: EditRequest) -> bool:
    if a.question == b.question:
        return True
    named = a.subject is not None and a.relation is not None
    return named and (a.subject, a.relation) == (b.subject, b.relation) and a.target != b.target
