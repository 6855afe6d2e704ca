"""Which job is next: one of each kind to learn from, then long chains; workers keep their site."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Mapping, Set

from patchhub.jobs.estimate import Durations, makespan
from patchhub.jobs.job import Job
from patchhub.jobs.plan import Plan

_MOVED = 0.25
"""Relative change of a mean duration after which the chains are measured again."""
_SLACK = 0.5
"""Share of the time left up to which a chain may wait while a worker goes on with its site."""
_LONGER = 1.5
"""How many times longer than a chain of the same site another must be to begin before it."""

_Site = tuple[tuple[str, str], ...]


class Schedule:
    """What is left, what runs, and what may begin.

    Args:
        plan: All jobs.
        done: Keys of those that have results.
        durations: What is known of earlier runs; learns on.
        workers: How many jobs run at once.
    """

    def __init__(self, plan: Plan, done: Set[str], durations: Durations, workers: int) -> None:
        self._plan, self._durations, self._workers = plan, durations, max(workers, 1)
        self._labels = {job.label for job in plan.jobs.values()}
        self.left = set(plan.jobs) - done
        self.running: dict[str, float] = {}
        self._counts = Counter(plan.jobs[key].label for key in self.left)
        self._waits = {
            key: sum(need in self.left for need in set(job.needs))
            for key, job in plan.jobs.items()
            if key in self.left
        }
        self._unseen = {label for label in self._counts if not durations.knows(label)}
        self._ready: set[str] = set()
        self._probes: dict[str, str] = {}
        self._places = {key: i for i, key in enumerate(plan.jobs)}
        self._seconds: dict[str, float] = {}
        self._chains: dict[str, float] = {}
        self._heaps: dict[_Site, list[tuple[float, int, str]]] = {}
        for key, n in self._waits.items():
            if n == 0:
                self._open(key)

    def begin(self, site: Mapping[str, str] | None) -> Job | None:
        """The job to begin now for a worker that served ``site`` last; None if all must wait."""
        if not self._ready:
            return None
        if self._moved():
            self._measure()
        key = self._probe(site) or self._best(site)
        self._ready.discard(key)
        self._unseen.discard(self._plan.jobs[key].label)
        self._probes.pop(self._plan.jobs[key].label, None)
        self.left.discard(key)
        self.running[key] = time.monotonic()
        return self._plan.jobs[key]

    def done(self, key: str, seconds: float) -> None:
        """A running job has its result."""
        self._over(key)
        self._durations.add(self._plan.jobs[key].label, seconds)
        for user in self._plan.users[key]:
            if user in self._waits:
                self._waits[user] -= 1
                if self._waits[user] == 0 and user in self.left:
                    self._open(user)

    def failed(self, key: str) -> set[str]:
        """A running job failed: keys of those that wait for it and were still to run."""
        self._over(key)
        lost = self._plan.dependants(key) & self.left
        self.left -= lost
        self._counts.subtract(self._plan.jobs[one].label for one in lost)
        return lost

    def remaining(self) -> float | None:
        """Seconds until all is done; None while no job of any kind was ever measured."""
        if not self._durations:
            return None
        now = time.monotonic()
        running = {key: now - begun for key, begun in self.running.items()}
        seconds = self._durations.means(self._labels)
        return makespan(self._plan, self.left, running, seconds, self._workers)

    def _over(self, key: str) -> None:
        del self.running[key]
        self._counts[self._plan.jobs[key].label] -= 1

    def _open(self, key: str) -> None:
        self._ready.add(key)
        label = self._plan.jobs[key].label
        if label in self._unseen:
            self._probes.setdefault(label, key)
        if self._chains:
            self._push(key)

    def _probe(self, site: Mapping[str, str] | None) -> str | None:
        """A job of a kind of which none has begun: what it takes makes the estimates good."""
        same = (key for key in self._probes.values() if self._plan.jobs[key].site == site)
        return next(same, None) or next(iter(self._probes.values()), None)

    def _best(self, site: Mapping[str, str] | None) -> str:
        for heap in self._heaps.values():
            while heap and heap[0][2] not in self._ready:
                heapq.heappop(heap)
        best = min(heap for heap in self._heaps.values() if heap)
        same = self._heaps.get(_site(site)) if site is not None else None
        if same and self._may_wait(-best[0][0], -same[0][0]):
            best = same
        return heapq.heappop(best)[2]

    def _may_wait(self, longest: float, same: float) -> bool:
        """Whether a worker may go on with its site although a longer chain is to begin."""
        left = sum(n * self._seconds[label] for label, n in self._counts.items())
        return longest <= max(_LONGER * same, _SLACK * left / self._workers)

    def _moved(self) -> bool:
        for label, n in self._counts.items():
            if n > 0:
                mean, used = self._durations.mean(label), self._seconds.get(label)
                if used is None or abs(mean - used) > _MOVED * used:
                    return True
        return False

    def _measure(self) -> None:
        self._seconds = self._durations.means(self._labels)
        self._chains = self._plan.chains(self._seconds)
        self._heaps = {}
        for key in self._ready:
            self._push(key)

    def _push(self, key: str) -> None:
        heap = self._heaps.setdefault(_site(self._plan.jobs[key].site), [])
        heapq.heappush(heap, (-self._chains[key], self._places[key], key))


def _site(site: Mapping[str, str]) -> _Site:
    return tuple(sorted(site.items()))
