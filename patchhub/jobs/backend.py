"""What carries out jobs: the protocol between a run and its workers."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from patchhub.errors import PatchHubError
from patchhub.jobs.job import Job, Work
from patchhub.jobs.store import JobStore


@dataclass(frozen=True, slots=True)
class Task:
    """A job that can run now; it can be sent to another process.

    Attributes:
        job: What to do.
        store: Directory of the store that takes the result.
        needed: Directories of the results that it reads, by key.
    """

    job: Job
    store: Path
    needed: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job has no result.

    Attributes:
        text: What the error says, with its code or type.
        trace: Where it was raised.
    """

    text: str
    trace: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """The failure that an exception is."""
        if isinstance(error, PatchHubError):
            found = "" if error.found is None else f" (found: {error.found})"
            text = f"{error.code} {error.what}{found}"
        else:
            text = f"{type(error).__name__}: {error}"
        return cls(text, "".join(traceback.format_exception(error)))


@dataclass(frozen=True, slots=True)
class Finished:
    """A task that is over.

    Attributes:
        key: Of the job.
        seconds: That it took.
        failure: None when the result is in the store.
    """

    key: str
    seconds: float
    failure: Failure | None = None


class Backend(Protocol):
    """Carries out tasks, some of them at once, by calling `carry_out` somewhere.

    A run submits no more tasks than there are vacancies.
    """

    @property
    def workers(self) -> int:
        """How many tasks run at once at most."""

    def vacant(self) -> Sequence[Mapping[str, str] | None]:
        """For each task that can start now the site its worker served last, None for any."""

    def submit(self, task: Task) -> None:
        """Start a task, best where its site was served last."""

    def finished(self) -> Finished:
        """Wait until one of the started tasks is over."""

    def close(self) -> None:
        """Stop whatever runs and free everything; a later `submit` begins anew."""


def carry_out(task: Task) -> Finished:
    """Do a job where we are, unless its result is there already; never raises for its faults."""
    job, store = task.job, JobStore(task.store)
    begun = time.perf_counter()
    failure = None
    try:
        if store.find(job.key) is None:
            with store.draft() as out:
                needed = {key: task.needed[key] for key in job.needs}
                _function(job.run)(Work(job.inputs, job.site, needed, out))
                store.keep(job, out, time.perf_counter() - begun)
    except (Exception, SystemExit) as error:
        failure = Failure.of(error)
    return Finished(job.key, time.perf_counter() - begun, failure)


def _function(name: str) -> Callable[[Work], None]:
    module, _, function = name.partition(":")
    return cast("Callable[[Work], None]", getattr(import_module(module), function))
