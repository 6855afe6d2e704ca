"""How long jobs take, learned from those that are over, and how long the rest will take."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Set

from patchhub.jobs.plan import Plan

_UNKNOWN = 1.0
"""Seconds of a job while nothing at all is known: then the number of jobs in a chain decides."""
_LATE = 0.1
"""Share of its usual time that a job still takes when it has taken longer than usual."""


class Durations:
    """Mean seconds by label."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[int, float]] = {}

    def add(self, label: str, seconds: float) -> None:
        """Learn from a job that is over."""
        n, total = self._sums.get(label, (0, 0.0))
        self._sums[label] = (n + 1, total + seconds)

    def __bool__(self) -> bool:
        return bool(self._sums)

    def knows(self, label: str) -> bool:
        """Whether a job of this label was seen."""
        return label in self._sums

    def mean(self, label: str) -> float:
        """Mean of the label's jobs; where there are none yet, the mean of the labels' means."""
        if label in self._sums:
            n, total = self._sums[label]
            return total / n
        means = [total / n for n, total in self._sums.values()]
        return sum(means) / len(means) if means else _UNKNOWN

    def means(self, labels: Set[str]) -> dict[str, float]:
        """The means of several labels."""
        return {label: self.mean(label) for label in labels}


def makespan(
    plan: Plan,
    left: Set[str],
    running: Mapping[str, float],
    seconds: Mapping[str, float],
    workers: int,
) -> float:
    """Seconds until all is done, from a simulated schedule: longest chains first.

    Args:
        plan: The jobs.
        left: Keys of those that have not begun; all that they need is done, running or left.
        running: For each running job the seconds since it began.
        seconds: Of each job by label.
        workers: How many jobs run at once.
    """
    chains = plan.chains(seconds)
    open_ = left | running.keys()
    waits = {key: sum(need in open_ for need in set(plan.jobs[key].needs)) for key in left}
    ready = [(-chains[key], key) for key, n in waits.items() if n == 0]
    heapq.heapify(ready)
    ends: list[tuple[float, str]] = []
    for key, since in running.items():
        usual = seconds[plan.jobs[key].label]
        heapq.heappush(ends, (max(usual - since, _LATE * usual), key))
    now = 0.0
    while ready or ends:
        while ready and len(ends) < max(workers, 1):
            _, key = heapq.heappop(ready)
            heapq.heappush(ends, (now + seconds[plan.jobs[key].label], key))
        now, key = heapq.heappop(ends)
        for user in plan.users[key]:
            if user in waits:
                waits[user] -= 1
                if waits[user] == 0:
                    heapq.heappush(ready, (-chains[user], user))
    return now
