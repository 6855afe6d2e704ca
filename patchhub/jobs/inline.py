"""Jobs in this very process, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from patchhub.jobs.backend import Finished, Task, carry_out


class Inline:
    """Does a task when it is waited for."""

    workers = 1

    def __init__(self) -> None:
        self._task: Task | None = None
        self._site: Mapping[str, str] | None = None

    def vacant(self) -> Sequence[Mapping[str, str] | None]:
        """One place while nothing is submitted."""
        return [self._site] if self._task is None else []

    def submit(self, task: Task) -> None:
        """Keep the task for `finished`."""
        self._task = task

    def finished(self) -> Finished:
        """Do the task."""
        task = self._task
        if task is None:
            raise RuntimeError("nothing was submitted")
        try:
            return carry_out(task)
        finally:
            self._task, self._site = None, task.job.site

    def close(self) -> None:
        """Forget the task."""
        self._task = None
