"""Does the model still write like one about the edited subject?

Texts are drawn behind the edits' prompts, their paraphrases and their subjects, alike without and
with the edit (`patchhub.scoring.continuation`); of a chat request behind its subject only, for its
prompts are messages, not beginnings of texts. ``entropy``: the share of n-gram entropy GE that
the edit cost, 1 - after / before; an edit that makes the model repeat itself costs much of it
(ROME, arXiv:2202.05262, table 4: 1 % for its own edits, 40 % for a collapsed model).
``repetition``: the share of texts that do not go in circles, of those that did not before. A model
that has come to say random words keeps its entropy; that shows under ``drift``. ``consistency``:
where there are texts about other things of which the new fact is true, how near the texts about the
subject come to them (RS).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from patchhub.guard.check import Case, Observed, Wants
from patchhub.guard.measurement import Failure, Finding, Trial
from patchhub.guard.shares import share
from patchhub.request import EditRequest, Format, ProbeKind
from patchhub.scoring.consistency import consistency
from patchhub.scoring.intervals import mean_interval
from patchhub.scoring.variety import entropy, repeated

OPENINGS = 16
"""Of patches with many edits, evenly spaced ones."""
CIRCLES = 0.5
"""Share of repeated four-grams from which on a text goes in circles."""

_SHOWN = 160


@dataclass(frozen=True, slots=True)
class Fluency:
    """Entropy and repetition of texts about the subject."""

    name: ClassVar[str] = "fluency"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "texts about the subject stay varied"
    measures: ClassVar[tuple[str, ...]] = ("entropy", "repetition", "consistency")

    def wants(self, case: Case, measure: str) -> Wants:
        """Continuations of the edits' own wordings."""
        return Wants(openings=_openings(_referred(case) if measure == "consistency" else case))

    def find(self, case: Case, measure: str, before: Observed, after: Observed) -> Finding:
        """The entropy lost, the share of texts that go nowhere in circles, or the mean of RS."""
        if measure == "consistency":
            return _consistent(_referred(case), before, after)
        texts = [
            (opening, old, new)
            for opening in _openings(case)
            for old, new in zip(before.continued(opening), after.continued(opening), strict=True)
        ]
        if measure == "entropy":
            return _lost([(old, new) for _, old, new in texts])
        return share([_circling(*one) for one in texts])


def _lost(texts: list[tuple[str, str]]) -> Finding:
    pairs = [(entropy(old), entropy(new)) for old, new in texts]
    if not pairs:
        return Finding(0.0, 0.0, 0.0, 0, 0.0, 0.0)
    before = sum(old for old, _ in pairs) / len(pairs)
    after = sum(new for _, new in pairs) / len(pairs)
    scale = before or 1.0
    value, low, high = (x / scale for x in mean_interval([old - new for old, new in pairs]))
    return Finding(before, after, value, len(pairs), low, high)


def _circling(opening: str, old: str, new: str) -> Trial:
    fine_before, fine_after = (float(repeated(text) < CIRCLES) for text in (old, new))
    said = [text.removeprefix(opening)[:_SHOWN] for text in (old, new)]
    failure = Failure(opening, "a text that does not go in circles", *said)
    return Trial(failure, fine_before, fine_after, counts=fine_before == 1.0)


def _referred(case: Case) -> Case:
    """The case with those of its requests that there are reference texts for."""
    return replace(case, requests=tuple(r for r in case.requests if _passages(case, r)))


def _passages(case: Case, request: EditRequest) -> tuple[str, ...]:
    if case.references is None:
        return ()
    return case.references.texts(request.relation, request.target)


def _consistent(case: Case, before: Observed, after: Observed) -> Finding:
    """RS of each request that has a text drawn for it, as a share."""
    if case.references is None:
        return Finding(0.0, 0.0, 0.0, 0, 0.0, 0.0)
    weights, drawn, pairs = case.references.weights, set(_openings(case)), []
    for request in case.requests:
        openings = [text for text in dict.fromkeys(_wordings(request)) if text in drawn]
        if openings:
            passages = _passages(case, request)
            old, new = (
                consistency((t for o in openings for t in seen.continued(o)), passages, weights)
                for seen in (before, after)
            )
            pairs.append((old, new))
    if not pairs:
        return Finding(0.0, 0.0, 0.0, 0, 0.0, 0.0)
    value, low, high = mean_interval([new for _, new in pairs])
    return Finding(sum(old for old, _ in pairs) / len(pairs), value, value, len(pairs), low, high)


def _openings(case: Case) -> tuple[str, ...]:
    found = list(dict.fromkeys(text for r in case.requests for text in _wordings(r)))
    if len(found) <= OPENINGS:
        return tuple(found)
    return tuple(found[i * len(found) // OPENINGS] for i in range(OPENINGS))


def _wordings(request: EditRequest) -> Iterator[str]:
    plain = request.format is Format.PLAIN
    if plain:
        yield request.prompt
    if request.subject is not None:
        yield request.subject
    if plain:
        yield from (p.prompt for p in request.probes if p.kind is ProbeKind.PARAPHRASE)


CHECK = Fluency()
