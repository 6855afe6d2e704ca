"""The requests a model carries, each with those of its probes that are still true of it.

Where a model carries many edits, what one of them must leave alone may be what another changes. A
probe of that sort is no test of either and is left out, by the same rule for every method.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from patchhub.request import LOCALITY, EditRequest, Probe, ProbeKind
from patchhub.scoring import answers

_SAME_RELATION = frozenset({ProbeKind.NEIGHBOURHOOD, ProbeKind.DISTRACTOR})
"""Kinds that ask for the edit's own relation."""


def standing(carried: Sequence[EditRequest]) -> list[EditRequest]:
    """The requests without probes that another of them may have made untrue.

    A chain goes where one of its other links names the subject of another request that it does not
    need. A locality probe goes where it names the subject of another request and, if it asks for
    its own request's relation (a neighbour), that one is about it too or does not say about which.
    """
    named = _Named(carried)
    return [
        replace(request, probes=tuple(p for p in request.probes if not named.by(p, request)))
        for request in carried
    ]


class _Named:
    """Finds requests by the words of their subjects, without comparing all with all."""

    def __init__(self, carried: Sequence[EditRequest]) -> None:
        self._about: dict[tuple[str, ...], list[EditRequest]] = defaultdict(list)
        for request in carried:
            if request.subject is not None:
                self._about[answers.words(request.subject)].append(request)
        self._lengths = sorted({len(subject) for subject in self._about})

    def by(self, probe: Probe, own: EditRequest) -> bool:
        """Whether another request may have changed what the probe asks for, or stands on."""
        if probe.kind not in LOCALITY:
            return any(
                other is not own and other.id not in probe.needs
                for link in probe.given
                for other in self._in(answers.words(link.prompt))
            )
        near = probe.kind in _SAME_RELATION
        asked = answers.words(probe.prompt)
        if probe.kind is ProbeKind.DISTRACTOR:  # it states the edit itself in front
            asked = asked[len(answers.words(f"{own.prompt} {own.target}")) :]
        return any(
            other is not own and not (near and _different(other.relation, own.relation))
            for other in self._in(asked)
        )

    def _in(self, words: tuple[str, ...]) -> Iterator[EditRequest]:
        """The requests whose subjects stand in a text."""
        for size in self._lengths:
            for start in range(len(words) - size + 1):
                yield from self._about.get(words[start : start + size], ())


def _different(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one != other
