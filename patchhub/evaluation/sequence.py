"""One edit after another on the same model, and what is asked along the way.

Edits pile up as patches upon each other, or, where they are solved together, as one patch that
each new edit replaces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from patchhub.evaluation.place import Data
from patchhub.evaluation.planner import Planner
from patchhub.evaluation.reading import (
    CONFLICTING,
    KEPT,
    REPEATED,
    SUPERSEDED,
    UNDONE,
    Edit,
    Reading,
)
from patchhub.evaluation.setup import Setup, contradicted
from patchhub.evaluation.ways import Way
from patchhub.jobs.job import Job


@dataclass(frozen=True, slots=True)
class Carried:
    """What a model carries in the course of a sequence.

    Attributes:
        edits: All that were made for it, last ones last.
        cases: Places of the requests that it carries.
        jobs: Those whose patches lie on it.
    """

    edits: tuple[Edit, ...] = ()
    cases: tuple[int, ...] = ()
    jobs: tuple[Job, ...] = ()


class Making(Protocol):
    """How the edits of a sequence are made and taken back."""

    def more(self, carried: Carried, cases: Sequence[int]) -> Carried:
        """Edits of some requests, one after another."""
        ...

    def without(self, carried: Carried, cases: Sequence[int]) -> Carried:
        """Some of the edits taken back."""
        ...

    def again(self, carried: Carried, cases: Sequence[int]) -> Carried:
        """Some of the edits made a second time."""
        ...


@dataclass(frozen=True, slots=True)
class Upon:
    """Every edit is a patch of its own, computed upon all before it."""

    planner: Planner
    method: str
    seed: int

    def more(self, carried: Carried, cases: Sequence[int]) -> Carried:
        """One job for each."""
        edits = list(carried.edits)
        for case in cases:
            earlier = [edit.job for edit in edits]
            edits.append(Edit(self.planner.edit(self.method, self.seed, [case], earlier), (case,)))
        return _upon(edits)

    def without(self, carried: Carried, cases: Sequence[int]) -> Carried:
        """Their patches leave, the others stay as they are."""
        return _upon([edit for edit in carried.edits if edit.cases[0] not in cases])

    again = more


@dataclass(frozen=True, slots=True)
class Joined:
    """All edits are one patch, which every edit replaces; a job makes those of one call."""

    planner: Planner
    method: str
    seed: int

    def more(self, carried: Carried, cases: Sequence[int]) -> Carried:
        """One job for all of them."""
        job = self.planner.join(self.method, self.seed, cases, carried.jobs)
        edits = (*carried.edits, Edit(job, tuple(cases)))
        return Carried(edits, (*carried.cases, *cases), (job,))

    def without(self, carried: Carried, cases: Sequence[int]) -> Carried:
        """The others are solved anew."""
        job = self.planner.leave(self.method, self.seed, cases, carried.jobs)
        kept = tuple(case for case in carried.cases if case not in cases)
        return Carried((*carried.edits, Edit(job, tuple(cases))), kept, (job,))

    def again(self, carried: Carried, cases: Sequence[int]) -> Carried:
        """The same: a request that is made twice is in the solve once."""
        return carried


def _upon(edits: Sequence[Edit]) -> Carried:
    cases = tuple(case for edit in edits for case in edit.cases)
    return Carried(tuple(edits), cases, tuple(edit.job for edit in edits))


class Sequential:
    """The readings of one sequence.

    Args:
        planner: Makes the jobs.
        way: How edits are made.
        seed: Of the method.
        order: Number of the shuffle.
        places: Of the requests, in it.
    """

    def __init__(
        self, planner: Planner, way: Way, seed: int, order: int, places: Sequence[int]
    ) -> None:
        self._planner, self._way, self._seed, self._order = planner, way, seed, order
        self._places = tuple(places)
        self._making: Making = (Joined if way.joint else Upon)(planner, way.method, seed)

    def readings(self, data: Data, count: int, setup: Setup) -> Iterator[Reading]:
        """The state at every checkpoint, and the variants of the end.

        Args:
            data: With the requests that contradict others behind the ``count`` plain ones.
            count: Requests without those.
            setup: How it is run.
        """
        parts = range(1, setup.checkpoints + 1)
        end = Carried()
        for step in sorted({max(1, count * part // setup.checkpoints) for part in parts}):
            end = self._making.more(end, self._places[len(end.cases) : step])
            yield self._reading(end, end.cases, {})
        again = min(setup.again, count // 2)
        if again:
            yield self._undone(end, again)
            yield self._repeated(end, again)
            yield from self._conflicting(end, data, count, setup, again)

    def _undone(self, end: Carried, again: int) -> Reading:
        """Every other edit of the middle is taken back."""
        first = max(0, len(self._places) // 2 - again)
        gone = self._places[first : first + 2 * again : 2]
        left = self._making.without(end, gone)
        variants = {**dict.fromkeys(left.cases, KEPT), **dict.fromkeys(gone, UNDONE)}
        return self._reading(left, (*left.cases, *gone), variants)

    def _repeated(self, end: Carried, again: int) -> Reading:
        chosen = self._places[: again * 2 : 2]
        carried = self._making.again(end, chosen)
        return self._reading(carried, chosen, dict.fromkeys(chosen, REPEATED))

    def _conflicting(
        self, end: Carried, data: Data, count: int, setup: Setup, again: int
    ) -> Iterator[Reading]:
        plain = replace(data, requests=data.requests[:count])
        old = list(contradicted(plain, setup.again))[:again]
        others = range(count, count + len(old))
        if not old:
            return
        variants = {**dict.fromkeys(others, CONFLICTING), **dict.fromkeys(old, SUPERSEDED)}
        yield self._reading(self._making.more(end, others), (*others, *old), variants)

    def _reading(
        self, carried: Carried, asked: Sequence[int], variants: Mapping[int, str]
    ) -> Reading:
        job = self._planner.measure(carried.jobs, asked, carried.cases, each=False)
        step = len(carried.cases)
        return Reading(job, self._way, 1, self._order, self._seed, step, carried.edits, variants)
