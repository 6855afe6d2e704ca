"""Which method to use here: a proposal from results and constraints.

The rule, the same for every method and independent of the others: most constraints met; then the
most of reliability, generalization and locality known; then the harmonic mean of the lower ends of
their 95 % intervals; then the fewest seconds per edit; then the name. A method is judged in each
way it was used (single edits, batches, a sequence). What comes first is proposed if it meets every
constraint, and is only the nearest otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from patchhub.errors import GuardRefusedError, PatchHubError
from patchhub.evaluation.advice.constraints import Constraints, Finding, Standing, findings
from patchhub.evaluation.advice.evidence import (
    GENERALIZATION,
    LOCALITY,
    RELIABILITY,
    Evidence,
    Figure,
    State,
)
from patchhub.evaluation.advice.sources import Source
from patchhub.evaluation.ways import Way
from patchhub.scoring.intervals import harmonic_mean

QUALITIES = (RELIABILITY, GENERALIZATION, LOCALITY)

Removable = Callable[[str], bool | None]


@dataclass(frozen=True)
class Assessment:
    """A method in one way of using it.

    Attributes:
        method: Its name.
        state: How it is used; None where it was not measured so.
        findings: One per constraint.
        quality: Figures of `QUALITIES`, in their order.
        seconds: Per edit.
        once: Seconds for what is done once for the base.
        refused: Requests it left out; they count as failures.
    """

    method: str
    state: State | None
    findings: tuple[Finding, ...]
    quality: tuple[Figure | None, ...]
    seconds: Figure | None
    once: Figure | None
    refused: int

    def having(self, standing: Standing) -> tuple[Finding, ...]:
        """Those of the findings that stand so."""
        return tuple(one for one in self.findings if one.standing is standing)

    @property
    def meets_all(self) -> bool:
        """Whether every constraint is met, and something is known at all."""
        known = any(figure is not None for figure in self.quality)
        return known and len(self.having(Standing.MET)) == len(self.findings)

    @property
    def score(self) -> float:
        """Harmonic mean of the lower ends of the known qualities; 0 if none is known."""
        return harmonic_mean([figure.low for figure in self.quality if figure is not None])

    @property
    def name(self) -> str:
        """The method and how it is used."""
        return self.method if self.state is None else f"{self.method} ({self.state})"

    @property
    def rank(self) -> tuple[int, int, float, float, str, str]:
        """The rule; the least is the best."""
        met = len(self.having(Standing.MET))
        known = sum(figure is not None for figure in self.quality)
        seconds = inf if self.seconds is None else self.seconds.value
        return -met, -known, -self.score, seconds, self.method, str(self.state)


@dataclass(frozen=True)
class Advice:
    """What follows from the results.

    Attributes:
        model: Name of the base.
        protocol: How questions were asked.
        constraints: What was asked.
        ranking: Every method in every way, the best first.
        unedited: What the unedited model does: figures of `QUALITIES`, where the first was.
        notes: What the results do not hold.
    """

    model: str
    protocol: str
    constraints: Constraints
    ranking: tuple[Assessment, ...]
    unedited: tuple[Figure | None, ...]
    notes: tuple[str, ...]

    @property
    def proposal(self) -> Assessment | None:
        """The best of those that meet every constraint."""
        return next((one for one in self.ranking if one.meets_all), None)

    @property
    def nearest(self) -> Assessment | None:
        """The first of the ranking."""
        return self.ranking[0] if self.ranking else None

    def refusal(self) -> PatchHubError | None:
        """What there is to say where nothing meets every constraint (E405)."""
        if self.proposal is not None:
            return None
        near = self.nearest
        if near is None:
            what = "these results hold no method"
            return GuardRefusedError("E405", what, hint="patchhub bench single --methods A,B")
        missed = [f.constraint for f in near.having(Standing.MISSED)]
        unknown = [f.constraint for f in near.having(Standing.UNKNOWN)]
        parts = (("misses", missed), ("nothing shows", unknown))
        lacks = "; ".join(f"{word}: {', '.join(some)}" for word, some in parts if some)
        return GuardRefusedError(
            "E405",
            f"no method meets every constraint; the nearest is {near.name}",
            expected=f"{len(near.findings)} constraints met",
            found=lacks or "nothing known of its quality",
            hint="ask for less, or measure more: patchhub bench",
            nearest=near.method,
            missed=missed,
            unknown=unknown,
        )


def advise(
    sources: Sequence[Source],
    constraints: Constraints,
    *,
    model: str | None = None,
    protocol: str = "generation",
    rungs: Sequence[str] = (),
    removable: Removable | None = None,
) -> Advice:
    """Rank the methods in some results by what is wanted.

    Args:
        sources: From `patchhub.evaluation.advice.sources.read_sources`.
        constraints: What is asked.
        model: Name of the base, where the results are about several.
        protocol: How questions were asked; teacher forcing flatters.
        rungs: Measures of locality that count; all if empty.
        removable: Whether a method's patches may leave from the middle of a stack, None where
            nobody knows; without it the kinds are asked.

    Raises:
        NotFoundError: E106. InvalidInputError: E155, some of the work on the base failed; E159.
    """
    evidence = Evidence(sources, model=model, protocol=protocol, rungs=rungs)
    leaves = removable or leaves_anywhere
    found = [
        _assessed(evidence, constraints, method, state, leaves)
        for method in evidence.methods
        for state in fitting(evidence.states(method), constraints.edits_per_day)
    ]
    ranking = tuple(sorted(found, key=lambda one: one.rank))
    used = ranking[0].state.experiment if ranking and ranking[0].state else ""
    unedited = tuple(evidence.unedited(used, check) for check in QUALITIES)
    notes = tuple(_notes(evidence))
    return Advice(evidence.model, protocol, constraints, ranking, unedited, notes)


def fitting(states: Sequence[State], edits: int | None) -> tuple[State | None, ...]:
    """The states in which a method is judged: one of each way of using it; None for none.

    Without a number of edits single ones count, or where there are none the fewest. With it, of
    each way the state that carries so many or the next more; where there is none, the most, if it
    is at least half as many.
    """
    if edits is None:
        single = [one for one in states if one.experiment == "single"]
        return (min(single or states, key=lambda one: (one.step, one), default=None),)
    ways: dict[tuple[str, int], list[State]] = {}
    for one in states:
        if one.experiment != "single" or edits == 1:
            way = (one.experiment, 0 if one.experiment == "batch" else one.size)
            ways.setdefault(way, []).append(one)
    found = [_nearest(some, edits) for some in ways.values()]
    return tuple(one for one in found if one is not None) or (None,)


def leaves_anywhere(method: str) -> bool | None:
    """Whether patches of a method may leave a stack from its middle, as their kind has it."""
    from patchhub.editing.catalog import load_editor
    from patchhub.kinds import kind_of

    try:
        return kind_of(load_editor(Way.named(method).method).kind).algebra.on_weights
    except PatchHubError:  # results may come from where there are more methods, or more kinds
        return None


def _nearest(states: Sequence[State], edits: int) -> State | None:
    more = [one for one in states if one.step >= edits]
    if more:
        return min(more, key=lambda one: one.step)
    most = max(states, key=lambda one: one.step)
    return most if 2 * most.step >= edits else None


def _assessed(
    evidence: Evidence,
    constraints: Constraints,
    method: str,
    state: State | None,
    leaves: Removable,
) -> Assessment:
    return Assessment(
        method,
        state,
        tuple(findings(constraints, evidence, method, state, leaves)),
        tuple(evidence.quality(method, state, check) for check in QUALITIES),
        evidence.seconds(method, state),
        evidence.once(method),
        evidence.refused(method, state),
    )


def _notes(evidence: Evidence) -> list[str]:
    found = []
    if evidence.protocol not in evidence.protocols:
        others = ", ".join(evidence.protocols) or "nothing"
        found.append(f"nothing was asked by {evidence.protocol}; these results hold {others}")
    return found
