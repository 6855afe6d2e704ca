"""Run an experiment and write down what it found."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from patchhub.errors import InvalidInputError
from patchhub.evaluation import measuring, work
from patchhub.evaluation.datasets import Dataset
from patchhub.evaluation.experiments import Reading, extended, readings
from patchhub.evaluation.place import Data
from patchhub.evaluation.planner import Planner
from patchhub.evaluation.records import (
    COLLAPSED,
    UNEDITED,
    CaseRecord,
    Known,
    Prepared,
    Refusal,
    Row,
    Spent,
)
from patchhub.evaluation.results import PROVENANCE, RESULTS, Provenance, Results
from patchhub.evaluation.setup import EXPERIMENTS, Setup
from patchhub.jobs.backend import Backend
from patchhub.jobs.job import Job
from patchhub.jobs.run import run_jobs
from patchhub.jobs.store import JobStore

JOBS, DATA = "jobs", "data"
_LIBRARIES = ("patchhub", "torch", "transformers", "tokenizers", "numpy")


def bench(
    experiment: str,
    dataset: Dataset,
    setup: Setup,
    out: Path,
    backend: Backend,
    *,
    command: str = "",
    progress: Callable[[str, int, int], None] | None = None,
    remaining: Callable[[float], None] | None = None,
) -> Results:
    """Run an experiment to its end; what an earlier run finished is not done again.

    Args:
        experiment: ``single``, ``batch`` or ``sequential``.
        dataset: The requests.
        setup: Models, methods and how they are measured.
        out: Directory; finished pieces of work lie in it and are shared between experiments, and
            results and provenance in a directory named after the experiment.
        backend: Where the work is done.
        command: The command line, for the record.
        progress: Told a label, jobs done, jobs in all.
        remaining: Told the seconds that are probably left.

    Raises:
        InvalidInputError: E142, a setting; E140, E143, a model that cannot be asked.
        NotFoundError: E109, E141, E151. BusyError: E501, another run works in ``out``.
        PatchHubError: E155, jobs failed; all others are done and kept.
    """
    if experiment not in EXPERIMENTS:
        raise InvalidInputError(
            "E142", "no such experiment", expected=", ".join(EXPERIMENTS), found=experiment
        )
    began = time.perf_counter()
    probes = setup.spread(dataset.probes)
    given = Data(dataset.requests, probes, dataset.texts, dataset.references)
    data = extended(experiment, given, setup)
    path = data.write(out / DATA)
    store = JobStore(out / JOBS)
    runs = [
        _Run(experiment, Planner(model, data, path, setup), data, len(given.requests), setup)
        for model in setup.models
    ]
    _check_names([run.planner.name for run in runs])
    jobs = {job.key: job for run in runs for job in run.jobs}
    run_jobs(list(jobs.values()), store, backend, progress=progress, remaining=remaining)
    results = _results(experiment, dataset, data, setup, runs, store)
    place = out / experiment
    results.write(place / RESULTS)
    spent = tuple(one for run in runs for one in run.spent(store))
    prepared = tuple(one for run in runs for one in run.prepared(store))
    Provenance(
        command,
        datetime.now(UTC).isoformat(timespec="seconds"),
        _machine(setup),
        {name: version(name) for name in _LIBRARIES},
        time.perf_counter() - began,
        spent,
        prepared,
    ).write(place / PROVENANCE)
    return results


def _results(
    experiment: str,
    dataset: Dataset,
    data: Data,
    setup: Setup,
    runs: Sequence[_Run],
    store: JobStore,
) -> Results:
    return Results(
        experiment,
        {run.planner.name: run.planner.weights for run in runs},
        {
            "name": dataset.name,
            "digest": dataset.digest,
            "records": len(dataset.requests),
            "skipped": len(dataset.skipped),
        },
        setup.to_json(),
        tuple(
            CaseRecord(
                r.id, r.prompt, r.subject or "", r.target, r.target_old or "", r.relation or ""
            )
            for r in data.requests
        ),
        tuple(row for run in runs for row in run.rows(store)),
        tuple(known for run in runs for known in run.known(store)),
        tuple(refusal for run in runs for refusal in run.refusals(store)),
    )


@dataclass(frozen=True, eq=False)
class _Run:
    """An experiment on one base."""

    experiment: str
    planner: Planner
    data: Data
    count: int
    setup: Setup

    @cached_property
    def readings(self) -> tuple[Reading, ...]:
        """Everything that is asked of edited models."""
        return tuple(readings(self.experiment, self.planner, self.data, self.count, self.setup))

    @property
    def each(self) -> bool:
        return self.experiment == "single"

    @property
    def jobs(self) -> Iterator[Job]:
        planner = self.planner
        yield from (planner.unedited(self.each), planner.collapse(self.each))
        if any(reading.size == 1 for reading in self.readings) and self.experiment == "batch":
            yield planner.unedited(True)  # these are the jobs of single edits
        for method in self.setup.methods:
            for seed in self.setup.seeds:
                yield planner.prepare(method, seed)
        for reading in self.readings:
            yield from (edit.job for edit in reading.edits)
            yield reading.job
        yield from self._latencies.values()

    @property
    def _latencies(self) -> dict[str, Job]:
        """By method, on its first edit."""
        first = {reading.method: reading.edits[0].job for reading in reversed(self.readings)}
        return {method: self.planner.latency(job) for method, job in first.items()}

    def rows(self, store: JobStore) -> Iterator[Row]:
        model, experiment = self.planner.name, self.experiment
        planner = self.planner
        plain = ((UNEDITED, planner.unedited(self.each)), (COLLAPSED, planner.collapse(self.each)))
        for method, job in plain:
            for found in _read(store, job, measuring.ROWS):
                if found[0] < self.count:
                    yield Row(experiment, model, method, 1, 0, 0, 0, "", *found)
        for reading in self.readings:
            if not self._edits(store, reading.method):
                continue  # nothing of the method's own would be shown
            run = (reading.method, reading.size, reading.order, reading.seed, reading.step)
            whole = next(iter(reading.variants.values()), "") if reading.variants else ""
            for found in _read(store, reading.job, measuring.ROWS):
                variant = whole if found[0] < 0 else reading.variants.get(found[0], "")
                yield Row(experiment, model, *run, variant, *found)

    def known(self, store: JobStore) -> Iterator[Known]:
        for found in _read(store, self.planner.unedited(self.each), measuring.KNOWN):
            yield Known(self.planner.name, *found)

    def refusals(self, store: JobStore) -> Iterator[Refusal]:
        """Each reason once, with all the requests it kept from being edited."""
        groups: dict[tuple[Any, ...], list[int]] = {}
        for reading, edit in self._all_edits():
            run = (reading.method, reading.size, reading.order, reading.seed)
            reasons = _read(store, edit.job, work.MADE)["refused"]
            for case, reason in zip(edit.cases, reasons, strict=True):
                if reason is not None:
                    groups.setdefault((*run, *reason), []).append(case)
        for (method, size, order, seed, code, message), cases in groups.items():
            yield Refusal(
                self.experiment, self.planner.name, method, size, order, seed,
                len(cases), tuple(cases), code, message,
            )  # fmt: skip

    def spent(self, store: JobStore) -> Iterator[Spent]:
        for reading, edit in self._all_edits():
            seen = _observed(store, edit.job)
            if seen:
                yield Spent(
                    self.experiment, self.planner.name, reading.method, len(edit.cases),
                    seen["seconds"], seen["peak_bytes"], seen["patch_bytes"],
                )  # fmt: skip

    def prepared(self, store: JobStore) -> Iterator[Prepared]:
        for method, job in self._latencies.items():
            took = _observed(store, self.planner.prepare(method, self.setup.seeds[0]))
            latency = _observed(store, job)["latency"]
            yield Prepared(
                self.planner.name, method, took["seconds"], took["peak_bytes"],
                float("nan") if latency is None else latency,
            )  # fmt: skip

    def _all_edits(self) -> Iterator[tuple[Reading, Any]]:
        seen = set()
        for reading in self.readings:
            for edit in reading.edits:
                if edit.job.key not in seen:
                    seen.add(edit.job.key)
                    yield reading, edit

    def _edits(self, store: JobStore, method: str) -> bool:
        """Whether the method edits this base at all."""
        return any(
            _path(store, edit.job, work.PATCH).is_dir()
            for reading, edit in self._all_edits()
            if reading.method == method
        )


def _path(store: JobStore, job: Job, name: str) -> Path:
    found = store.find(job.key)
    if found is None:
        raise InvalidInputError("E155", f"the result of {job.label} is gone", found=job.key)
    return found / name


def _read(store: JobStore, job: Job, name: str) -> Any:
    return json.loads(_path(store, job, name).read_bytes())


def _observed(store: JobStore, job: Job) -> dict[str, Any]:
    path = _path(store, job, work.OBSERVED)
    return work.read(path) if path.is_file() else {}


def _check_names(names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        raise InvalidInputError(
            "E142",
            "two models have one name",
            expected="directories of different names",
            found=", ".join(names),
        )


def _machine(setup: Setup) -> dict[str, str | int]:
    return {
        "processors": os.cpu_count() or 0,
        "architecture": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "device": setup.device,
        "threads": setup.threads,
    }
