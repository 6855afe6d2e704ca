"""An experiment on one base: its jobs, and what their results say as records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from patchhub.evaluation import measuring, work
from patchhub.evaluation.experiments import readings
from patchhub.evaluation.place import Data
from patchhub.evaluation.planner import Planner
from patchhub.evaluation.reading import Edit, Reading
from patchhub.evaluation.records import (
    COLLAPSED,
    UNEDITED,
    Failed,
    Known,
    Prepared,
    Refusal,
    Row,
    Spent,
)
from patchhub.evaluation.setup import Setup
from patchhub.evaluation.ways import Way
from patchhub.jobs.job import Job
from patchhub.jobs.store import JobStore

_LATENCY_EDITS = 5
"""First edits of a method, one of which should have a patch to take the time of."""


@dataclass(frozen=True, eq=False)
class Run:
    """An experiment on one base.

    Attributes:
        experiment: Its name.
        planner: Makes its jobs.
        data: What is asked, with the requests that contradict others at the end.
        count: Requests without those.
        setup: How it is run.
        store: Holds the results; everything but `jobs` may be asked when the run is over.
        lost: Keys of jobs that have none, because they or what they need failed.
    """

    experiment: str
    planner: Planner
    data: Data
    count: int
    setup: Setup
    store: JobStore
    lost: frozenset[str] = frozenset()

    @cached_property
    def readings(self) -> tuple[Reading, ...]:
        """Everything that is asked of edited models."""
        return tuple(readings(self.experiment, self.planner, self.data, self.count, self.setup))

    @property
    def jobs(self) -> Iterator[Job]:
        """All jobs, some of them more than once."""
        yield from (self._unedited, self._collapse)
        if any(reading.size == 1 for reading in self.readings) and self.experiment == "batch":
            yield self.planner.unedited(True)  # these are the jobs of single edits
        for way in self.setup.ways(self.experiment):
            for seed in self.setup.seeds:
                yield self.planner.prepare(way.method, seed)
        for reading in self.readings:
            yield from (edit.job for edit in reading.edits)
            yield reading.job
        yield from self._latencies.values()

    def rows(self) -> Iterator[Row]:
        """The numbers, of the unedited and the collapsed model first."""
        start = (self.experiment, self.planner.name)
        for method, job in ((UNEDITED, self._unedited), (COLLAPSED, self._collapse)):
            for found in self._read(job, measuring.ROWS) if self._done(job) else ():
                yield Row(*start, method, 1, 0, 0, 0, "", *found)
        for reading in self.readings:
            if reading.way not in self._makers or not self._done(reading.job):
                continue  # nothing of the method's own would be shown
            for found in self._read(reading.job, measuring.ROWS):
                variant = reading.variant if found[0] < 0 else reading.variants.get(found[0], "")
                yield Row(
                    *start, reading.way.name, reading.size, reading.order, reading.seed,
                    reading.step, variant, *found,
                )  # fmt: skip

    def known(self) -> Iterator[Known]:
        """What the unedited model knew."""
        done = self._done(self._unedited)
        for found in self._read(self._unedited, measuring.KNOWN) if done else ():
            yield Known(self.planner.name, *found)

    def refusals(self) -> Iterator[Refusal]:
        """Each reason once, with all the requests it kept from being edited."""
        groups: dict[tuple[Any, ...], list[int]] = {}
        for reading, edit in self._made:
            run = (reading.way.name, reading.size, reading.order, reading.seed)
            reasons = self._read(edit.job, work.MADE)["refused"]
            for case, reason in zip(edit.cases, reasons, strict=True):
                if reason is not None:
                    group = groups.setdefault((*run, *reason, reading.variant), [reading.step])
                    group.append(case)
        for (method, size, order, seed, code, said, variant), (step, *cases) in groups.items():
            yield Refusal(
                self.experiment, self.planner.name, method, size, order, seed,
                step, tuple(cases), code, said, variant,
            )  # fmt: skip

    def spent(self) -> Iterator[Spent]:
        """What each edit took."""
        for reading, edit in self._made:
            size = 1 if reading.way.joint else len(edit.cases)
            for seen in work.seen_of(self.store.result(edit.job.key)):
                yield Spent(
                    self.experiment, self.planner.name, reading.way.name, size,
                    seen["seconds"], seen["peak_bytes"], seen["patch_bytes"],
                )  # fmt: skip

    def prepared(self) -> Iterator[Prepared]:
        """What each method took once, and what its patches add to answer times."""
        for way, job in self._latencies.items():
            once = self.planner.prepare(way.method, self.setup.seeds[0])
            if not (self._done(once) and self._done(job)):
                continue
            took = self._observed(once)
            latency = self._observed(job)["latency"]
            yield Prepared(
                self.planner.name, way.name, took["seconds"], took["peak_bytes"],
                float("nan") if latency is None else latency,
            )  # fmt: skip

    def failures(self, kinds: Mapping[tuple[str, str], Sequence[str]]) -> Iterator[Failed]:
        """What failed of its jobs: the keys of all that did, by label and words."""
        own = {job.key for job in self.jobs}
        for (label, said), keys in sorted(kinds.items()):
            count = len(own.intersection(keys))
            if count:
                name = self.planner.name
                yield Failed(self.experiment, name, label.removeprefix(f"{name}: "), said, count)

    @property
    def _unedited(self) -> Job:
        return self.planner.unedited(self.experiment == "single")

    @property
    def _collapse(self) -> Job:
        return self.planner.collapse(self.experiment == "single")

    @cached_property
    def _latencies(self) -> dict[Way, Job]:
        first: dict[Way, list[Job]] = {}
        for reading, edit in self._edits:
            first.setdefault(reading.way, []).append(edit.job)
        return {way: self.planner.latency(jobs[:_LATENCY_EDITS]) for way, jobs in first.items()}

    @cached_property
    def _edits(self) -> list[tuple[Reading, Edit]]:
        """Every edit with the first reading it is made for."""
        found: dict[tuple[str, tuple[int, ...]], tuple[Reading, Edit]] = {}
        for reading in self.readings:
            for edit in reading.edits:
                found.setdefault((edit.job.key, edit.cases), (reading, edit))
        return list(found.values())

    @cached_property
    def _makers(self) -> set[Way]:
        """Ways that edit this base at all."""
        return {r.way for r, edit in self._made if self._path(edit.job, work.PATCH).is_dir()}

    @property
    def _made(self) -> Iterator[tuple[Reading, Edit]]:
        """Of `_edits` those that came to an end."""
        return ((reading, edit) for reading, edit in self._edits if self._done(edit.job))

    def _done(self, job: Job) -> bool:
        return job.key not in self.lost

    def _path(self, job: Job, name: str) -> Path:
        return self.store.result(job.key) / name

    def _read(self, job: Job, name: str) -> Any:
        return json.loads(self._path(job, name).read_bytes())

    def _observed(self, job: Job) -> dict[str, Any]:
        return work.read(self._path(job, work.OBSERVED))
