"""Which jobs need which: their order, and how long those take that hang on one another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from patchhub.errors import InvalidInputError
from patchhub.jobs.job import Job


@dataclass(frozen=True, slots=True)
class Plan:
    """Jobs in an order in which they could run one by one.

    Attributes:
        jobs: By key; every job stands after those that it needs.
        users: For each key the jobs of the plan that need it.
        outside: Keys of needed results that no job of the plan makes.
    """

    jobs: Mapping[str, Job]
    users: Mapping[str, Sequence[str]]
    outside: frozenset[str]

    @classmethod
    def of(cls, jobs: Iterable[Job]) -> Plan:
        """The plan for jobs in any order; a job that is there twice counts once.

        Raises:
            InvalidInputError: E156, jobs need each other in a circle.
        """
        given = {job.key: job for job in reversed(list(jobs))}
        given = {key: given[key] for key in reversed(given)}
        users: dict[str, list[str]] = {key: [] for key in given}
        missing = dict.fromkeys(given, 0)
        outside = set()
        for key, job in given.items():
            for need in set(job.needs):
                if need in given:
                    users[need].append(key)
                    missing[key] += 1
                else:
                    outside.add(need)
        order = [key for key, n in missing.items() if n == 0]
        for key in order:  # grows on the way
            for user in users[key]:
                missing[user] -= 1
                if missing[user] == 0:
                    order.append(user)
        if len(order) < len(given):
            circle = [given[key].label or key[:12] for key, n in missing.items() if n > 0]
            raise InvalidInputError(
                "E156", "jobs need each other in a circle", found=", ".join(circle[:8])
            )
        return cls({key: given[key] for key in order}, users, frozenset(outside))

    def dependants(self, key: str) -> set[str]:
        """Every job that needs this one, directly or through others."""
        found: set[str] = set()
        todo = [key]
        while todo:
            fresh = set(self.users[todo.pop()]) - found
            found |= fresh
            todo += fresh
        return found

    def chains(self, seconds: Mapping[str, float]) -> dict[str, float]:
        """Seconds from the start of each job to the end of the longest chain it begins.

        Args:
            seconds: Of each job by label.
        """
        longest: dict[str, float] = {}
        for key in reversed(list(self.jobs)):
            after = max((longest[user] for user in self.users[key]), default=0.0)
            longest[key] = seconds[self.jobs[key].label] + after
        return longest
