"""What a user asks of a method, and whether figures show it. Torch-free.

A share must reach its floor with the lower end of its 95 % interval, a cost keep its limit with the
upper end. What no figure shows is unknown, and unknown is never met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from patchhub.evaluation.advice.evidence import (
    GENERALIZATION,
    LOCALITY,
    RELIABILITY,
    REMOVAL,
    Evidence,
    Figure,
    State,
)
from patchhub.scoring.protocols import Protocol

DAY = 86_400
"""Seconds in which a day's edits must be made."""

GONE = 0.9
"""Share of old answers that must be gone where that is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """What a user asks; None and False ask nothing.

    Attributes:
        reliability_floor: Share of edits that take.
        generalization_floor: Share of paraphrases that follow.
        locality_floor: Share of other answers that stay, on the worst rung.
        seconds_per_edit: At most.
        bytes_per_edit: Of the patch, at most.
        memory: Bytes held at most.
        latency: Answer time with a patch by that without, at most.
        remove_any: A patch may leave from the middle of a stack.
        edits_per_day: So many requests a day: judged where the model carries about as many.
        unlearning: The old answers are gone, under generation whatever the protocol.
    """

    reliability_floor: float | None = None
    generalization_floor: float | None = None
    locality_floor: float | None = None
    seconds_per_edit: float | None = None
    bytes_per_edit: float | None = None
    memory: float | None = None
    latency: float | None = None
    remove_any: bool = False
    edits_per_day: int | None = None
    unlearning: bool = False


class Standing(StrEnum):
    """Whether a constraint is met."""

    MET = "met"
    MISSED = "missed"
    UNKNOWN = "unknown"
    """Nothing shows it either way."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What figures say to a constraint.

    Attributes:
        constraint: Its name.
        limit: Floor or limit; None where a kind of patch has it or not.
        floor: Whether at least the limit is wanted, not at most.
        standing: What that makes.
        figure: The figure; None where there is none.
    """

    constraint: str
    limit: float | None
    floor: bool
    standing: Standing
    figure: Figure | None


def findings(
    constraints: Constraints,
    evidence: Evidence,
    method: str,
    state: State | None,
    removable: Callable[[str], bool | None],
) -> Iterator[Finding]:
    """What the results say to each constraint.

    Args:
        constraints: What is asked.
        evidence: The results.
        method: A method in them.
        state: How it is used; None where it was not measured so.
        removable: Whether any patch of a method may leave a stack; None where nobody knows.
    """

    def share(check: str, protocol: str | None = None) -> Figure | None:
        return evidence.quality(method, state, check, protocol)

    floors = (
        (RELIABILITY, constraints.reliability_floor, share(RELIABILITY)),
        (GENERALIZATION, constraints.generalization_floor, share(GENERALIZATION)),
        (LOCALITY, constraints.locality_floor, share(LOCALITY)),
        (
            "unlearning",
            GONE if constraints.unlearning else None,
            share(REMOVAL, Protocol.GENERATION.value),
        ),
    )
    for name, limit, figure in floors:
        if limit is not None:
            yield Finding(name, limit, True, _at_least(figure, limit), figure)
    seconds = evidence.seconds(method, state)
    daily = None if constraints.edits_per_day is None else DAY / constraints.edits_per_day
    limits = (
        ("seconds per edit", constraints.seconds_per_edit, seconds),
        ("bytes per edit", constraints.bytes_per_edit, evidence.size(method, state)),
        ("memory", constraints.memory, evidence.memory(method, state)),
        ("latency", constraints.latency, evidence.latency(method)),
        ("edits per day", daily, seconds),
    )
    for name, limit, figure in limits:
        if limit is not None:
            yield Finding(name, limit, False, _at_most(figure, limit), figure)
    if constraints.remove_any:
        yield Finding("remove any", None, True, _standing(removable(method)), None)


def _at_least(figure: Figure | None, limit: float) -> Standing:
    return _standing(None if figure is None else figure.low >= limit)


def _at_most(figure: Figure | None, limit: float) -> Standing:
    return _standing(None if figure is None else figure.high <= limit)


def _standing(met: bool | None) -> Standing:
    if met is None:
        return Standing.UNKNOWN
    return Standing.MET if met else Standing.MISSED
