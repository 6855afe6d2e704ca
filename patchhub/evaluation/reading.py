"""What experiments are made of: edits, and states of edited models that are asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from patchhub.evaluation.ways import Way
from patchhub.jobs.job import Job

CONFLICTING, SUPERSEDED, REPEATED = "conflicting", "superseded", "repeated"
UNDONE, KEPT = "undone", "kept"
"""Variants of the end of a sequence. Conflicting: edited anew with another answer; superseded: the
edits that those replace. Repeated: edited a second time. Undone: taken back out of the middle;
kept: the edits that stay."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A job that edits, and the places of its requests."""

    job: Job
    cases: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """A state of an edited model that is asked.

    Attributes:
        job: Asks it.
        way: How it was edited.
        size: Requests per edit.
        order: Number of the shuffle.
        seed: Of the method.
        step: Requests edited; of batches their size, also of a last one that is smaller.
        edits: What was edited for it, last ones last.
        variants: Of cases that are no part of the plain run.
    """

    job: Job
    way: Way
    size: int
    order: int
    seed: int
    step: int
    edits: tuple[Edit, ...]
    variants: Mapping[int, str] = field(default_factory=dict)

    @property
    def variant(self) -> str:
        """Of the state as a whole."""
        return next(iter(self.variants.values()), "")
