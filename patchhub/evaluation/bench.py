"""Run an experiment and write down what it found."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from patchhub.errors import InvalidInputError, PatchHubError
from patchhub.evaluation import place
from patchhub.evaluation.collecting import Run
from patchhub.evaluation.datasets import Dataset
from patchhub.evaluation.experiments import extended
from patchhub.evaluation.place import Data
from patchhub.evaluation.planner import Planner
from patchhub.evaluation.records import CaseRecord
from patchhub.evaluation.results import PROVENANCE, RESULTS, Provenance, Results
from patchhub.evaluation.setup import EXPERIMENTS, Setup
from patchhub.jobs.backend import Backend
from patchhub.jobs.run import JobsFailedError, run_jobs
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
        JobsFailedError: E155, jobs failed; all others are done and kept, and the results are those
            of them, with what failed; finished ones of an earlier run with the same models, data
            and settings stay instead.
    """
    if experiment not in EXPERIMENTS:
        raise InvalidInputError(
            "E142", "no such experiment", expected=", ".join(EXPERIMENTS), found=experiment
        )
    began = time.perf_counter()
    probes = setup.spread(dataset.probes)
    given = Data(dataset.requests, probes, dataset.texts, dataset.references)
    data, count = extended(experiment, given, setup), len(given.requests)
    path = data.write(out / DATA)
    store = JobStore(out / JOBS)
    runs = [
        Run(experiment, Planner(model, data, count, path, setup), data, count, setup, store)
        for model in setup.models
    ]
    place.forget()  # the last of them; where the work is done, it is loaded when it is needed
    _check_names([run.planner.name for run in runs])
    jobs = {job.key: job for run in runs for job in run.jobs}
    failed = None
    try:
        run_jobs(list(jobs.values()), store, backend, progress=progress, remaining=remaining)
    except JobsFailedError as error:
        failed, runs = error, [replace(run, lost=error.lost) for run in runs]
    results = _results(experiment, dataset, data, setup, runs, failed)
    folder = out / experiment
    if failed is None or not _finished_before(folder, results):
        results.write(folder / RESULTS)
        _provenance(command, setup, runs, began).write(folder / PROVENANCE)
    if failed is not None:
        raise failed
    return results


def _results(
    experiment: str,
    dataset: Dataset,
    data: Data,
    setup: Setup,
    runs: Sequence[Run],
    failed: JobsFailedError | None,
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
        tuple(row for run in runs for row in run.rows()),
        tuple(known for run in runs for known in run.known()),
        tuple(refusal for run in runs for refusal in run.refusals()),
        tuple(one for run in runs for one in run.failures(failed.kinds)) if failed else (),
    )


def _finished_before(folder: Path, results: Results) -> bool:
    """Whether results of the same experiment lie there, and none of their work failed."""
    try:
        there = Results.read(folder)
    except PatchHubError:  # none, or a file that nobody can read
        return False
    same = ("experiment", "models", "data", "settings", "cases")
    return not there.failures and all(getattr(there, n) == getattr(results, n) for n in same)


def _provenance(command: str, setup: Setup, runs: Sequence[Run], began: float) -> Provenance:
    return Provenance(
        command,
        datetime.now(UTC).isoformat(timespec="seconds"),
        _machine(setup),
        {name: version(name) for name in _LIBRARIES},
        time.perf_counter() - began,
        tuple(one for run in runs for one in run.spent()),
        tuple(one for run in runs for one in run.prepared()),
    )


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
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
        "device": _device(setup.device),
        "threads": setup.threads,
    }


def _device(name: str) -> str:
    """The device by its own name, where it has one."""
    device = torch.device(name)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else name
