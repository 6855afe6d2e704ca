"""The survey's three experiments as jobs: one edit at a time, batches, and a long sequence.

Source: Yao et al. 2023, arXiv:2305.13172, sections 4 and 5; sequences with retention after
Hartvigsen et al. 2023, arXiv:2211.11031.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from patchhub.evaluation.place import Data
from patchhub.evaluation.planner import Planner
from patchhub.evaluation.setup import Setup, contradicted
from patchhub.jobs.job import Job

CONFLICTING, SUPERSEDED, REPEATED = "conflicting", "superseded", "repeated"
UNDONE, KEPT = "undone", "kept"
"""Variants of the end of a sequence. Conflicting: edited anew with another answer; superseded: the
edits that those replace. Repeated: edited a second time. Undone: taken back out of the middle;
kept: the edits that stay."""


@dataclass(frozen=True, slots=True)
class Edit:
    """An edit job and the places of its requests."""

    job: Job
    cases: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """A state of an edited model that is asked.

    Attributes:
        job: Asks it.
        method: Of the edits.
        size: Requests per edit.
        order: Number of the shuffle.
        seed: Of the method.
        step: Requests edited; of batches their size, also of a last one that is smaller.
        edits: What was edited for it, last ones last.
        variants: Of cases that are no part of the plain run.
    """

    job: Job
    method: str
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


def extended(experiment: str, data: Data, setup: Setup) -> Data:
    """The data with the requests that contradict others of a sequence behind them."""
    if experiment != "sequential":
        return data
    return replace(data, requests=(*data.requests, *contradicted(data, setup.again).values()))


def readings(
    experiment: str, planner: Planner, data: Data, count: int, setup: Setup
) -> Iterator[Reading]:
    """Everything that is asked of edited models.

    Args:
        experiment: ``single``, ``batch`` or ``sequential``.
        planner: Makes the jobs.
        data: What `extended` made.
        count: Requests without those that contradict others.
        setup: How it is run.
    """
    for method in setup.methods:
        for seed in setup.seeds:
            if experiment == "sequential":
                for order in range(setup.orders):
                    run = _Sequence(planner, method, seed, order, setup.order(order, count))
                    yield from run.readings(data, count, setup)
            else:
                fitting = tuple(size for size in setup.sizes if size <= count) or (count,)
                sizes = (1,) if experiment == "single" else fitting
                yield from _batches(planner, method, seed, sizes, count, setup)


def _batches(
    planner: Planner, method: str, seed: int, sizes: Sequence[int], count: int, setup: Setup
) -> Iterator[Reading]:
    for size in sizes:
        for order in range(setup.orders if size > 1 else 1):
            places = setup.order(order, count)
            for start in range(0, count, size):
                cases = tuple(places[start : start + size])
                edit = Edit(planner.edit(method, seed, cases, ()), cases)
                job = planner.measure([edit.job], cases, cases, each=size == 1)
                yield Reading(job, method, size, order, seed, size, (edit,))


class _Sequence:
    """One edit after another on the same model, and what is asked along the way."""

    def __init__(
        self, planner: Planner, method: str, seed: int, order: int, places: Sequence[int]
    ) -> None:
        self._planner = planner
        self._method, self._seed, self._order = method, seed, order
        self._edits: list[Edit] = []
        for place in places:
            self._edits.append(self._next(place, self._edits))

    def readings(self, data: Data, count: int, setup: Setup) -> Iterator[Reading]:
        parts = range(1, setup.checkpoints + 1)
        for step in sorted({max(1, count * part // setup.checkpoints) for part in parts}):
            edits = self._edits[:step]
            yield self._reading(edits, edits, {})
        again = min(setup.again, count // 2)
        if again:
            yield self._undone(again)
            yield self._repeated(again)
            yield from self._conflicting(data, count, setup, again)

    def _undone(self, again: int) -> Reading:
        """Every other edit of the middle is taken back."""
        first = max(0, len(self._edits) // 2 - again)
        gone = self._edits[first : first + 2 * again : 2]
        kept = [edit for edit in self._edits if edit not in gone]
        variants = {**_cases(kept, KEPT), **_cases(gone, UNDONE)}
        return self._reading(kept, [*kept, *gone], variants)

    def _repeated(self, again: int) -> Reading:
        chosen = self._edits[: again * 2 : 2]
        chain = list(self._edits)
        for edit in chosen:
            chain.append(self._next(edit.cases[0], chain))
        return self._reading(chain, chosen, _cases(chosen, REPEATED))

    def _conflicting(self, data: Data, count: int, setup: Setup, again: int) -> Iterator[Reading]:
        plain = replace(data, requests=data.requests[:count])
        old = list(contradicted(plain, setup.again))[:again]
        others = range(count, count + len(old))
        if not old:
            return
        chain = list(self._edits)
        for place in others:
            chain.append(self._next(place, chain))
        asked = [Edit(chain[0].job, (i,)) for i in (*others, *old)]
        variants = {**dict.fromkeys(others, CONFLICTING), **dict.fromkeys(old, SUPERSEDED)}
        yield self._reading(chain, asked, variants)

    def _next(self, place: int, earlier: Sequence[Edit]) -> Edit:
        jobs = [edit.job for edit in earlier]
        return Edit(self._planner.edit(self._method, self._seed, [place], jobs), (place,))

    def _reading(
        self, chain: Sequence[Edit], asked: Sequence[Edit], variants: Mapping[int, str]
    ) -> Reading:
        job = self._planner.measure(
            [edit.job for edit in chain],
            [i for edit in asked for i in edit.cases],
            [i for edit in chain for i in edit.cases],
            each=False,
        )
        step = len(chain)
        return Reading(job, self._method, 1, self._order, self._seed, step, tuple(chain), variants)


def _cases(edits: Sequence[Edit], variant: str) -> dict[int, str]:
    return {i: variant for edit in edits for i in edit.cases}
