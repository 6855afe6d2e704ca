"""Run jobs until each has its result: what is done is skipped, what fails stops nothing else."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from patchhub.errors import NotFoundError, PatchHubError
from patchhub.jobs.backend import Backend, Failure, Task
from patchhub.jobs.estimate import Durations
from patchhub.jobs.job import Job
from patchhub.jobs.plan import Plan
from patchhub.jobs.schedule import Schedule
from patchhub.jobs.store import JobStore

Progress = Callable[[str, int, int], None]
Remaining = Callable[[float], None]

_PAUSE = 0.5
"""Seconds between two estimates, at least; they also take no more than a hundredth of the time."""
_SHOWN = 8


class JobsFailedError(PatchHubError):
    """Jobs failed (E155); all that do not need them have their results.

    Its data has ``failed``, a list of {key, label, error, trace}, and ``not_run``, a number.

    Args:
        plan: The jobs.
        failures: By key.
        not_run: Keys of those that need them.

    Attributes:
        kinds: Label and words of failures, and the keys of the jobs that failed so.
        lost: Keys of all jobs without a result.
    """

    def __init__(
        self, plan: Plan, failures: Mapping[str, Failure], not_run: frozenset[str]
    ) -> None:
        labels = {key: plan.jobs[key].label or key[:12] for key in failures}
        kinds: dict[tuple[str, str], list[str]] = {}
        for key, one in failures.items():
            kinds.setdefault((labels[key], one.text), []).append(key)
        most = Counter({kind: len(keys) for kind, keys in kinds.items()}).most_common(_SHOWN)
        lines = [
            f"{label}: {text}" + (f" ({n} times)" if n > 1 else "") for (label, text), n in most
        ]
        more = "" if len(kinds) <= _SHOWN else f"; and {len(kinds) - _SHOWN} more kinds"
        waited = f", {len(not_run)} that need them were not run" if not_run else ""
        super().__init__(
            "E155",
            f"{len(failures)} of {len(plan.jobs)} jobs failed{waited}",
            found="; ".join(lines) + more,
            hint="the other results are kept; run it again to try only these",
            failed=[
                {"key": key, "label": labels[key], "error": one.text, "trace": one.trace}
                for key, one in failures.items()
            ],
            not_run=len(not_run),
        )
        self.kinds = kinds
        self.lost = frozenset(failures) | not_run


def run_jobs(
    jobs: Sequence[Job],
    store: JobStore,
    backend: Backend,
    *,
    progress: Progress | None = None,
    remaining: Remaining | None = None,
) -> None:
    """Give every job its result.

    Jobs that have one are skipped, so that a run which was killed is resumed by the same call.

    Args:
        jobs: In any order; a needed result that none of them makes must be in the store.
        store: Takes the results.
        backend: Does the work. Its workers stay alive for the next run; the caller closes it.
        progress: Called with the label of a job that has just begun or ended ("" at first), how
            many of the jobs have results, and how many there are.
        remaining: Called now and then with the seconds that the rest will take.

    Raises:
        JobsFailedError: E155, jobs failed; all that do not need them have their results.
        InvalidInputError: E156, jobs need each other in a circle.
        NotFoundError: E109, a needed result is neither in the store nor made by a job.
        BusyError: E501, another run has the store.
    """
    plan = Plan.of(jobs)
    with store.running():
        store.sweep()
        done = {key for key in plan.jobs if store.find(key) is not None}
        for key in plan.outside:
            if store.find(key) is None:
                raise _unknown(plan, key)
        run = _Run(plan, store, backend, done, progress, remaining)
        try:
            run.go()
        except BaseException:
            backend.close()
            store.sweep()
            raise
    if run.failures:
        raise JobsFailedError(plan, run.failures, frozenset(run.not_run))


class _Run:
    def __init__(
        self,
        plan: Plan,
        store: JobStore,
        backend: Backend,
        done: set[str],
        progress: Progress | None,
        remaining: Remaining | None,
    ) -> None:
        self._plan, self._store, self._backend = plan, store, backend
        self._done = len(done)
        self._progress, self._remaining = progress, remaining
        durations = Durations()
        if len(done) < len(plan.jobs):
            for label, seconds in store.durations():
                durations.add(label, seconds)
        self._schedule = Schedule(plan, done, durations, backend.workers)
        self._next_estimate = 0.0
        self.failures: dict[str, Failure] = {}
        self.not_run: set[str] = set()

    def go(self) -> None:
        """Until nothing is left that can run."""
        self._say("")
        while self._begin():
            over = self._backend.finished()
            if over.failure is None:
                self._done += 1
                self._schedule.done(over.key, over.seconds)
            else:
                self.failures[over.key] = over.failure
                self.not_run |= self._schedule.failed(over.key)
            self._say(self._plan.jobs[over.key].label)

    def _begin(self) -> bool:
        """Begin what can begin; whether anything runs."""
        while vacant := self._backend.vacant():
            job = self._schedule.begin(vacant[0])
            if job is None:
                break
            needed = {key: self._store.result(key) for key in job.needs}
            self._backend.submit(Task(job, self._store.directory, needed))
            self._say(job.label)
        return bool(self._schedule.running)

    def _say(self, label: str) -> None:
        if self._progress is not None:
            self._progress(label, self._done, len(self._plan.jobs))
        now = time.monotonic()
        if self._remaining is not None and now >= self._next_estimate:
            seconds = self._schedule.remaining()
            if seconds is not None:
                self._remaining(seconds)
            took = time.monotonic() - now
            self._next_estimate = now + max(_PAUSE, 100 * took)


def _unknown(plan: Plan, key: str) -> NotFoundError:
    user = next(job for job in plan.jobs.values() if key in job.needs)
    return NotFoundError(
        "E109",
        f"a result that job {user.label or user.key[:12]!r} needs is not there",
        expected="made by one of the jobs, or in the store",
        found=key,
    )
